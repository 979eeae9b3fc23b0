/*
report.h - what the driver says: messages, the live line, results as JSON and as text.

Results go to stdout, everything about them to stderr.
*/
#ifndef REPORT_H
#define REPORT_H

#include "../../bert.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* -- messages -- */

static int live_width; /* columns of the live line that is on the terminal now */

static void live_clear(void)
{
    if (live_width) fprintf(stderr, "\r%*s\r", live_width, "");
    live_width = 0;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A line that the next one overwrites: only on a terminal, at most five times a second. */
static void live(const char *format, ...)
{
    static double last;
    double now = seconds();
    va_list args;
    if (now - last < 0.2 || !isatty(STDERR_FILENO)) return;
    last = now;
    live_clear();
    va_start(args, format);
    live_width = vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
}

/* Every failure is told once, where it is found, and callers pass the 1 on. */
static int fail(const char *format, ...)
{
    va_list args;
    live_clear();
    fflush(stdout); /* keeps the order where both go to one place */
    fputs("train_bert: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
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
    size_t n = bert_plus_(need, bert_plus_(need / 2, 64)), bytes = bert_times_(n, size);
    void *grown = bytes < SIZE_MAX ? realloc(memory, bytes) : NULL;
    if (!grown) exit(fail("out of memory: %zu x %zu bytes for %s", n, size, what));
    *room = n;
    return grown;
}

/* -- JSON, always valid: bytes that are not UTF-8 become U+FFFD as Python's errors="replace" has it,
   numbers that are not finite null -- */

/* Text with JSON's escapes, without the quotes; returns its characters. */
static int put_text(FILE *f, BertText text)
{
    int characters = 0;
    for (size_t at = 0, from = 0; at < text.size; from = at, characters++) {
        uint32_t c = bert_utf8_(text.bytes, text.size, &at);
        if (c == 0xFFFD) fputs("\xEF\xBF\xBD", f);
        else if (c < 0x20 || c == 0x7F) fprintf(f, "\\u%04x", (unsigned)c);
        else {
            if (c == '"' || c == '\\') fputc('\\', f);
            fwrite(text.bytes + from, 1, at - from, f);
        }
    }
    return characters;
}

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

static BertText string_at(const BertStrings *s, size_t i)
{
    BertText text = {s->bytes + s->offsets[i], (size_t)(s->offsets[i + 1] - s->offsets[i])};
    return text;
}

static BertText text_of(const char *string)
{
    BertText text = {string, strlen(string)};
    return text;
}

static int same_text(BertText a, BertText b)
{
    return a.size == b.size && !memcmp(a.bytes, b.bytes, a.size);
}

/* A label's name; LABEL_0, LABEL_1, ... where the model's have none, as Hugging Face has it. */
static void put_label(const char *before, const BertStrings *names, size_t k)
{
    if (names->count) put_string(before, string_at(names, k));
    else printf("%s\"LABEL_%zu\"", before, k);
}

/* For people: no quotes, and blanks behind it up to width. Returns the columns it takes. */
static int print_name(FILE *f, BertText name, int width)
{
    int columns = put_text(f, name);
    if (columns < width) fprintf(f, "%*s", width - columns, "");
    return bert_max_(columns, width);
}

/* The first 20, and with counts how often each stands in the data. */
static void print_names(FILE *f, const BertStrings *names, const double *counts)
{
    for (size_t i = 0; i < names->count && i < 20; i++) {
        if (i) fputs(", ", f);
        print_name(f, string_at(names, i), 0);
        if (counts) fprintf(f, " %.0f", counts[i]);
    }
    fputs(names->count > 20 ? ", ...\n" : names->count ? "\n" : "(none)\n", f);
}

static int same_names(const BertStrings *a, const BertStrings *b)
{
    if (a->count != b->count) return 0;
    for (size_t i = 0; i < a->count; i++)
        if (!same_text(string_at(a, i), string_at(b, i))) return 0;
    return 1;
}

static int generic_names(const BertStrings *names)
{
    char name[32];
    for (size_t i = 0; i < names->count; i++) {
        snprintf(name, sizeof name, "LABEL_%zu", i);
        if (!same_text(string_at(names, i), text_of(name))) return 0;
    }
    return 1;
}

#endif
