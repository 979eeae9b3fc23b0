/* What the driver says (dev/driver/report.h, columns.h): columns of text, lines on a terminal. */
#define _XOPEN_SOURCE 700 /* posix_openpt */
#include "test.h"
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function" /* of a room that is included alone */
#endif
#define BERT_IMPLEMENTATION
#include "dev/driver/report.h"

#include "terminal.h"

static int text_columns(const char *text) { return put_part(NULL, text_of(text), INT_MAX); }

static void test_columns(void)
{
    static const struct {
        const char *text;
        int columns;
    } texts[] = {
        {"", 0},
        {"plain", 5},
        {"\xe8\xa8\x93\xe7\xb7\xb4", 4}, /* two Chinese characters */
        {"cafe\xcc\x81", 4},             /* a combining accent */
        {"\xed\x95\x9c", 2},             /* Hangul, one syllable */
        {"\xe1\x84\x92\xe1\x85\xa1", 2}, /* the same as two letters */
        {"\xf0\x9f\x98\x80", 2},         /* an emoji */
        {"\xe0\xb8\x81\xe0\xb8\xb4", 1}, /* Thai with a vowel above */
        {"\xef\xbc\xa1", 2},             /* fullwidth A */
        {"\xef\xbd\xb1", 1},             /* halfwidth Katakana */
        {"a\xe2\x80\x8b"
         "b",
         2},             /* a space of no width between */
        {"\xff\xfe", 2}, /* not UTF-8: two U+FFFD */
        {"\"\\", 4},     /* as JSON escapes them */
        {"\x01\x7f", 12},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect(text_columns(texts[i].text) == texts[i].columns, "'%s' takes %d columns, not %d",
               texts[i].text, text_columns(texts[i].text), texts[i].columns);
    done("columns: East Asian letters, marks, emoji, escapes");
}

/* A row of print_name in a memory file */
static void expect_name(const char *name, int least, int most, const char *want)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    int columns = print_name(f, text_of(name), least, most);
    fclose(f);
    expect(!strcmp(text, want) && columns >= least && columns <= imax(least, most),
           "'%s' in %d to %d: '%s', %d columns", name, least, most, text, columns);
    free(text);
}

static void test_names(void)
{
    expect_name("ab", 6, 9, "ab    ");
    expect_name("\xe8\xa8\x93\xe7\xb7\xb4", 6, 9, "\xe8\xa8\x93\xe7\xb7\xb4  ");
    expect_name("\xe8\xa8\x93\xe7\xb7\xb4\xe8\xa8\x93", 5, 5, "\xe8\xa8\x93.. ");
    expect_name("cafe\xcc\x81", 4, 4, "cafe\xcc\x81");
    expect_name("abcdefghij", 4, 8, "abcdef..");
    expect_name("\x01"
                "abcdefghij",
                9, 9, "\\u0001a..");
    done("columns: names are filled up, and cut where two dots say so");
}

/* What a training says at that width */
static const char *line_of(int width)
{
    static char line[512];
    live_line(line, width, 0.25,
              "1200/7953\t1:02:10 left\t1343 tok/s\tloss 0.6912\t\xe8\xa8\x93\xe7\xb7\xb4\tend");
    return line;
}

static void test_live_line(void)
{
    for (int width = 0; width < 220; width++)
        expect(text_columns(line_of(width)) <= width, "%d columns: '%s'", width, line_of(width));
    expect(!strcmp(line_of(39), "1200/7953 [>  ] 1:02:10 left 1343 tok/s"), "'%s'", line_of(39));
    expect(!strcmp(line_of(20), "1200/7953 [==>     ]"), "'%s'", line_of(20));
    expect(!strcmp(line_of(7), "1200/79"), "'%s'", line_of(7));
    expect(strstr(line_of(79), "=>") && strstr(line_of(79), "]  1:02:10 left  1343 tok/s  loss") &&
               strstr(line_of(79), "  end"),
           "'%s'", line_of(79));
    char line[256];
    live_line(line, 80, 2, "a\nb\x1b[2Jc");
    expect(!strcmp(line, "a\nb\x1b[2Jc [==============================]") ||
               !strcmp(line, "a?b?[2Jc [==============================]"),
           "'%s'", line);
    for (int width = 0; width < 40; width++) { /* no bar, which would make room */
        live_line(line, width, -1, "step 5\tloss 0.5\tlr 1e-5");
        expect(text_columns(line) <= width, "%d columns: '%s'", width, line);
    }
    live_line(line, INT_MAX, -1, "a\tb");
    expect(!strcmp(line, "a  b"), "'%s'", line);
    done("live line: never wider than the terminal, with a bar, time and speed in 40 columns");
}

/* Lines on a terminal of so many columns; its driver makes \r\n of \n. */
static void expect_lines(int columns, const char *text, const char *want)
{
    if (!terminal_open(columns)) return;
    put_lines(stdout, text, 4);
    const char *got = terminal_close();
    expect(!strcmp(got, want), "%d columns: '%s', not '%s'", columns, got, want);
}

static void test_lines(void)
{
    expect_lines(20, "short\n", "short\r\n");
    expect_lines(20, "one two three four five six seven\nx\n",
                 "one two three four\r\n    five six seven\r\nx\r\n");
    expect_lines(8, "one two\n\nthree four\n", "one two\r\n\r\nthree\r\n  four\r\n");
    expect_lines(8, "one two|three|four|x\n", "one two|\r\n  three|\r\n  four|x\r\n");
    expect_lines(8, "abcdefghijklmnop q", "abcdefgh\r\n  ijklmn\r\n  op q");
    expect_lines(8, "\xe8\xa8\x93\xe7\xb7\xb4\xe8\xa8\x93\xe7\xb7\xb4\xe8\xa8\x93\n",
                 "\xe8\xa8\x93\xe7\xb7\xb4\xe8\xa8\x93\xe7\xb7\xb4\r\n  \xe8\xa8\x93\r\n");
    expect_lines(1, "\xe8\xa8\x93 a\n", "\xe8\xa8\x93 a\r\n"); /* no room for one letter */
    if (terminal_open(20)) {
        int failed_one = fail("%s", "one two three four");
        warn("%d", 5);
        const char *got = terminal_close();
        expect(failed_one == 1 && !strcmp(got, "train_bert: one two\r\n  three four\r\n"
                                               "train_bert: warning:\r\n  5\r\n"),
               "'%s'", got);
    }
    held.on = 1; /* as in one process of several, that fails */
    fail("%d", 7), warn("%d", 8);
    held.on = 0;
    expect(!strcmp(held.text, "train_bert: 7\n"), "held: '%s'", held.text);
    done("terminal: long lines are broken at blanks, by columns");
}

static void test_live(void)
{
    setenv("TERM", "xterm", 1);
    if (!terminal_open(40)) return;
    live(0.5, "%s\t%s", "5/10", "x");
    live(0.5, "%s", "too soon");
    raise(SIGWINCH);
    const int shown = live_shown != 0;
    live_clear(), live_clear();
    const char *got = terminal_close();
    expect(shown && !strcmp(got, "\r\033[J5/10 [===============>              ] x\r"
                                 "\r\033[J\r\033[J"),
           "'%s'", got);
    setenv("TERM", "dumb", 1);
    nanosleep(&(struct timespec){0, 210000000}, NULL);
    if (!terminal_open(40)) return;
    live(0.5, "%s", "5/10");
    got = terminal_close();
    expect(!*got, "dumb: '%s'", got);
    unsetenv("COLUMNS");
    if (!terminal_open(0)) return;
    int none = terminal_columns(1);
    setenv("COLUMNS", "33", 1);
    int said = terminal_columns(1);
    terminal_close();
    expect(none == 80 && said == 33, "%d, %d", none, said);
    expect(!strcmp(clock_text(59.9), "0:59") && !strcmp(clock_text(3600 + 125), "1:02:05") &&
               !strcmp(clock_text(INFINITY), "277777:46:40"),
           "clock");
    done("live line: cleared by a resize, and not there on a dumb terminal");
}

int main(void)
{
    test_columns();
    test_names();
    test_live_line();
    test_lines();
    test_live();
    return finish();
}
