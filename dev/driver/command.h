/*
command.h - the command line that was given: looked at, and written again for a run that goes on.
*/
#ifndef COMMAND_H
#define COMMAND_H

#include "report.h"

/* A word as a shell reads it (f NULL: nothing); returns how many bytes that are. */
static int put_shell_word(FILE *f, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+=./,:@%";
    const int quoted = !*word || word[strspn(word, plain)];
    int n = 2 * quoted;
    if (f && quoted) fputc('\'', f);
    for (; *word; word++) {
        const char one[] = {*word, '\0'}, *as = *word == '\'' ? "'\\''" : one;
        if (f) fputs(as, f);
        n += (int)strlen(as);
    }
    if (f && quoted) fputc('\'', f);
    return n;
}

/* Is a word of the command line this flag? */
static int is_flag(const char *word, const char *name)
{
    const size_t n = strlen(name);
    return !strncmp(word, "--", 2) && !strncmp(word + 2, name, n) &&
           (!word[2 + n] || word[2 + n] == '=');
}

static int is_given(int argc, char **argv, const char *name)
{
    int i = 0;
    while (i < argc && !is_flag(argv[i], name)) i++;
    return i < argc;
}

/* A command line behind a launcher's, with another value (NULL: none) of a flag, which stands at
   its end. On a terminal a line that goes on ends in a backslash. */
static void put_command(FILE *f, const char *launcher, int argc, char **argv, const char *flag,
                        const char *value)
{
    const int width = terminal_columns(fileno(f));
    char end[64];
    int at = fprintf(f, *launcher ? "    %s" : "   %s", launcher);
    snprintf(end, sizeof end, "--%s", flag);
    for (int i = 0; i <= argc + (value != NULL); i++) {
        const char *word = i < argc ? argv[i] : i == argc ? end : value;
        if (i < argc && is_flag(word, flag)) {
            if (!strchr(word, '=') && i + 1 < argc && strncmp(argv[i + 1], "--", 2)) i++;
            continue;
        }
        const int more = 1 + put_shell_word(NULL, word);
        if (width && i && at + more > width - 2) { /* long words begin at its left */
            at = 7 + more > width - 2 ? 0 : 7;
            fprintf(f, " \\\n%*s", at, "");
        }
        fputc(' ', f);
        put_shell_word(f, word);
        at += more;
    }
    fputs("\n", f);
}

#endif
