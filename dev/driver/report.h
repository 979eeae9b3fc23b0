/*
report.h - what the driver says: messages, the live line, results as JSON and as text.

Results go to stdout, everything about them to stderr.
*/
#ifndef REPORT_H
#define REPORT_H

#include "columns.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int imin(int a, int b) { return a < b ? a : b; }
static int imax(int a, int b) { return a > b ? a : b; }

/* Sizes: where no size_t holds a sum or product, the largest. */
static size_t zmin(size_t a, size_t b) { return a < b ? a : b; }
static size_t zadd(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }
static size_t zmul(size_t a, size_t b) { return b && a > SIZE_MAX / b ? SIZE_MAX : a * b; }

/* Where several processes work together all but one are silent. Why such a one failed is held until
   it is known who tells (ranks.h). */
static struct {
    int on;
    char who[80], text[16384];
} held;

/* -- lines for people, which never wrap on a terminal -- */

/* Columns of the terminal that fd is, as it is now; 0: it is none. */
static int terminal_columns(int fd)
{
    struct winsize size = {0};
    const char *columns = getenv("COLUMNS");
    if (!isatty(fd)) return 0;
    if (!ioctl(fd, TIOCGWINSZ, &size) && size.ws_col) return size.ws_col;
    return columns && atoi(columns) > 0 ? atoi(columns) : 80;
}

/* Lines of text. On a terminal the long ones are broken at blanks and behind |, and go on
   indented. */
static void put_lines(FILE *f, const char *text, int indent)
{
    const int width = terminal_columns(fileno(f));
    if (!width) {
        fputs(text, f);
        return;
    }
    indent = imin(indent, width / 4);
    for (const char *end; *text; text = end) {
        BertText line = {text, strcspn(text, "\n")};
        int room = width, used;
        end = text + line.size + (text[line.size] == '\n');
        for (size_t n; (n = fitting(line, room, &used)) < line.size; room = width - indent) {
            size_t cut = n;
            while (cut && line.bytes[cut] != ' ' && line.bytes[cut - 1] != '|') cut--;
            if (!cut && !(cut = n)) break; /* not even a letter fits */
            fprintf(f, "%.*s\n%*s", (int)cut, line.bytes, indent, "");
            cut += strspn(line.bytes + cut, " ");
            line.bytes += cut, line.size = (size_t)(end - line.bytes) - (end[-1] == '\n');
        }
        fwrite(line.bytes, 1, (size_t)(end - line.bytes), f);
    }
}

/* What is to be put as lines in the end, and is written piece by piece before. */
typedef struct {
    FILE *f;
    char *text;
    size_t size;
} Page;

static int fail(const char *format, ...);

static FILE *page_begin(Page *p)
{
    p->f = open_memstream(&p->text, &p->size);
    if (!p->f) exit(fail("out of memory"));
    return p->f;
}

/* What was written, which the caller frees. */
static char *page_text(Page *p)
{
    if (fclose(p->f) || !p->text) exit(fail("out of memory"));
    return p->text;
}

enum { TEXT_COLUMN = 11 }; /* a report's lines begin with a name, and go on under what follows it */

static void page_end(Page *p, FILE *f, int indent)
{
    put_lines(f, page_text(p), indent);
    free(p->text);
}

/* -- the live line, which the next one overwrites. The cursor waits at its beginning: what a
   terminal that is made narrower wraps of it is then behind the cursor, and is cleared too -- */

#define CLEAR_BEHIND "\r\033[J"
static volatile sig_atomic_t live_shown;

static void live_clear(void)
{
    if (live_shown) fputs(CLEAR_BEHIND, stderr);
    live_shown = 0;
}

/* Until the next one comes, which may take a step of training. */
static void on_resize(int number)
{
    const int error = errno;
    (void)number;
    if (live_shown && write(STDERR_FILENO, CLEAR_BEHIND, strlen(CLEAR_BEHIND)) < 0) live_shown = 0;
    errno = error;
}

enum { LIVE_ROOM = 128 }; /* bytes that the line may have beyond its text */

/* Fields with tabs between, in the order of their weight: the first, a bar that is full to its
   share (below 0: no bar), and of the others those that there is room for. */
static void live_line(char *out, int width, double share, const char *text)
{
    enum { LEAST = 3, MOST = 30 };
    const int gap = width < 60 ? 1 : 2;
    BertText first = {text, strcspn(text, "\t")};
    int used, more, bar = 0, n = (int)fitting(first, width, &used);
    const char *rest = text + first.size, *end = rest;
    if (share >= 0 && used + LEAST + 3 <= width) bar = LEAST, used += LEAST + 3;
    while (*end) {
        BertText field = {end + 1, strcspn(end + 1, "\t")};
        if (fitting(field, width, &more) < field.size || used + gap + more > width) break;
        used += gap + more;
        end = field.bytes + field.size;
    }
    out += sprintf(out, "%.*s", n, text);
    if (bar) {
        bar = imin(MOST, bar + width - used);
        int done = (int)(fmin(share, 1) * bar);
        out += sprintf(out, " [");
        for (int i = 0; i < bar; i++) *out++ = i < done ? '=' : i == done ? '>' : ' ';
        *out++ = ']';
    }
    for (; rest < end; rest++)
        if (*rest == '\t') out += sprintf(out, "%*s", gap, "");
        else *out++ = (unsigned char)*rest < ' ' || *rest == 127 ? '?' : *rest;
    *out = '\0';
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Shows such fields: only on a terminal that can clear, at most five times a second. */
static void live(double share, const char *format, ...)
{
    static double last;
    const char *kind = getenv("TERM");
    char text[512], line[sizeof text + LIVE_ROOM];
    double now = seconds();
    va_list args;
    if (now - last < 0.2 || held.on || !isatty(STDERR_FILENO) || !kind || !*kind ||
        !strcmp(kind, "dumb"))
        return;
#ifdef SIGWINCH
    struct sigaction resize = {.sa_handler = on_resize, .sa_flags = SA_RESTART};
    if (last == 0) sigaction(SIGWINCH, &resize, NULL);
#endif
    last = now;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    live_shown = 1;
    live_line(line, terminal_columns(STDERR_FILENO) - 1, share, text); /* the last one may wrap */
    fprintf(stderr, CLEAR_BEHIND "%s\r", line);
}

/* 1:02:03 or 2:03 */
static const char *clock_text(double time)
{
    static char text[32];
    const double most = 1e9; /* seconds */
    const long long s = (long long)(time < most ? time : most);
    if (s < 3600) snprintf(text, sizeof text, "%lld:%02lld", s / 60, s % 60);
    else snprintf(text, sizeof text, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    return text;
}

/* -- messages -- */

static void message(const char *kind, const char *format, va_list args)
{
    char text[8192];
    int n = snprintf(text, sizeof text, "train_bert: %s%s", held.who, kind);
    live_clear();
    fflush(stdout); /* keeps the order where both go to one place */
    vsnprintf(text + n, sizeof text - (size_t)n - 1, format, args);
    strcat(text, "\n");
    if (!held.on) put_lines(stderr, text, 2);
    else if (!*kind) strncat(held.text, text, sizeof held.text - strlen(held.text) - 1);
}

/* Every failure is told once, where it is found, and callers pass the 1 on. */
static int fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    message("", format, args);
    va_end(args);
    return 1;
}

static void warn(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    message("warning: ", format, args);
    va_end(args);
}

/* Memory for n elements, zero. Where there is none the program ends: nothing could go on. */
static void *take(size_t n, size_t size, const char *what)
{
    void *memory = n < SIZE_MAX ? calloc(n + 1, size) : NULL; /* n 0: no null pointer */
    if (!memory) exit(fail("out of memory: %zu x %zu bytes for %s", n, size, what));
    return memory;
}

/* Room for that many elements in memory that take or more gave (or NULL); what is there stays. */
static void *more(void *memory, size_t *room, size_t need, size_t size, const char *what)
{
    if (need <= *room) return memory;
    size_t n = zadd(need, zadd(need / 2, 64)), bytes = zmul(n, size);
    void *grown = bytes < SIZE_MAX ? realloc(memory, bytes) : NULL;
    if (!grown) exit(fail("out of memory: %zu x %zu bytes for %s", n, size, what));
    *room = n;
    return grown;
}

/* -- JSON, always valid: bytes that are not UTF-8 become U+FFFD as Python's errors="replace" has
   it, numbers that are not finite null -- */

/* Text with JSON's escapes, without the quotes, as far as it fits into most columns; returns those
   that it takes. f NULL: only that. */
static int put_part(FILE *f, BertText text, int most)
{
    int columns = 0;
    for (size_t at = 0, from = 0; at < text.size; from = at) {
        uint32_t c = bert_utf8(text.bytes, text.size, &at);
        const int escaped = c == '"' || c == '\\', control = c < 0x20 || c == 0x7F;
        const int more = control ? 6 : escaped + letter_columns(c);
        if (more > most - columns) break;
        columns += more;
        if (!f) continue;
        if (escaped) fputc('\\', f);
        if (c == 0xFFFD) fputs("\xEF\xBF\xBD", f);
        else if (control) fprintf(f, "\\u%04x", (unsigned)c);
        else fwrite(text.bytes + from, 1, at - from, f);
    }
    return columns;
}

static void put_text(FILE *f, BertText text) { put_part(f, text, INT_MAX); }

static void put_string(const char *before, BertText text)
{
    printf("%s\"", before);
    put_text(stdout, text);
    putchar('"');
}

/* The shortest decimal that reads back as the same float (digits 9) or double (17). */
static void put_number(FILE *f, double value, int digits)
{
    char text[40];
    int d = 6;
    do {
        snprintf(text, sizeof text, "%.*g", d, value);
    } while (d++ < digits &&
             (digits == 9 ? strtof(text, NULL) != (float)value : strtod(text, NULL) != value));
    fputs(isfinite(value) ? text : "null", f);
}

static void put_float(const char *before, double value)
{
    fputs(before, stdout);
    put_number(stdout, value, 9);
}

/* -- strings and label names -- */

static BertText text_of(const char *string)
{
    BertText text = {string, strlen(string)};
    return text;
}

static int same_text(BertText a, BertText b)
{
    return a.size == b.size && (!a.size || !memcmp(a.bytes, b.bytes, a.size));
}

static int is_one_of(char letter, const char *letters)
{
    return letter && strchr(letters, letter) != NULL;
}

/* For people: no quotes; of what is beyond most columns two dots are left, and blanks fill it up to
   least. Returns the columns it takes. */
static int print_name(FILE *f, BertText name, int least, int most)
{
    int columns = put_part(NULL, name, INT_MAX);
    if (columns <= most) put_part(f, name, most);
    else columns = put_part(f, name, most - 2) + fprintf(f, "..");
    if (columns < least) fprintf(f, "%*s", least - columns, "");
    return imax(columns, least);
}

/* The first 20, and with counts how often each stands in the data. */
static void print_names(FILE *f, const BertStrings *names, const double *counts)
{
    for (size_t i = 0; i < names->count && i < 20; i++) {
        if (i) fputs(", ", f);
        put_text(f, bert_string(names, i));
        if (counts) fprintf(f, " %.0f", counts[i]);
    }
    fputs(names->count > 20 ? ", ...\n" : names->count ? "\n" : "(none)\n", f);
}

#endif
