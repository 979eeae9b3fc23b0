/*
html.h - JSON that stands in an HTML page.
*/
#ifndef HTML_H
#define HTML_H

#include "report.h"

/* A string; its < are escaped, so that none of it ends the script that holds it. */
static void html_string(FILE *f, const char *before, BertText text)
{
    fprintf(f, "%s\"", before);
    for (const char *cut; (cut = memchr(text.bytes, '<', text.size)) != NULL;) {
        const BertText part = {text.bytes, (size_t)(cut - text.bytes)};
        put_text(f, part), fputs("\\u003c", f);
        text.bytes = cut + 1, text.size -= part.size + 1;
    }
    put_text(f, text), fputc('"', f);
}

static void html_ints(FILE *f, const char *name, const int *x, int n)
{
    fprintf(f, ",\n\"%s\": [", name);
    for (int i = 0; i < n; i++) fprintf(f, "%s%d", i ? "," : "", x[i]);
    fputs("]", f);
}

static void html_floats(FILE *f, const char *before, const float *x, int n)
{
    for (int i = 0; i < n; i++) fputs(i ? "," : before, f), put_number(f, x[i], 9);
    fputs("]", f);
}

/* The item of a list: a name and how much. */
static void html_item(FILE *f, int first, BertText name, double value)
{
    html_string(f, first ? "[" : ",[", name);
    fputs(",", f), put_number(f, value, 9), fputs("]", f);
}

#endif
