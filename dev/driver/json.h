/*
json.h - JSON in: the fields of one object, taken apart where it stands.
*/
#ifndef JSON_H
#define JSON_H

#include "report.h"

static int is_one_of(char letter, const char *letters)
{
    return letter && strchr(letters, letter) != NULL;
}

/* \uXXXX, or 0 where there is none */
static int json_unit(const char *at, const char *end, uint32_t *c)
{
    char hex[5] = "";
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return 0;
    memcpy(hex, at + 2, 4);
    *c = (uint32_t)strtoul(hex, NULL, 16);
    return strspn(hex, "0123456789abcdefABCDEF") == 4;
}

/* A string, from behind its first quote: its escapes are undone in place. Returns what follows it,
   or NULL. */
static char *json_string(char *at, char *end, BertText *out)
{
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char *to = at;
    out->bytes = at;
    while (at < end && *at != '"') {
        const char *escape = *at == '\\' && at + 1 < end ? memchr(escapes, at[1], 8) : NULL;
        uint32_t c, low;
        if ((unsigned char)*at < ' ') return NULL; /* JSON wants them escaped */
        if (*at != '\\') {
            *to++ = *at++;
        } else if (escape) {
            *to++ = meant[escape - escapes];
            at += 2;
        } else {
            if (!json_unit(at, end, &c)) return NULL;
            at += 6;
            if (c >> 10 == 0x36 && json_unit(at, end, &low) && low >> 10 == 0x37) {
                c = 0x10000 + ((c & 0x3FF) << 10) + (low & 0x3FF);
                at += 6;
            }
            to += bert_put_utf8_(to, c >> 11 == 0x1B ? 0xFFFD : c); /* half a pair */
        }
    }
    out->size = (size_t)(to - out->bytes);
    return at < end ? at + 1 : NULL;
}

/* A value that is no string, as it stands. Returns what follows it; NULL: it has no end. */
static char *json_other(char *at, char *end, BertText *out)
{
    BertText ignored;
    int depth = 0;
    out->bytes = at;
    while (at && at < end && (depth || !is_one_of(*at, ",} \t\r\n"))) {
        depth += (*at == '[' || *at == '{') - (*at == ']' || *at == '}');
        at = *at == '"' ? json_string(at + 1, end, &ignored) : at + 1;
    }
    if (!at || at == end || at == out->bytes) return NULL;
    out->size = (size_t)(at - out->bytes);
    return at;
}

/* Behind the blanks at at, and the character c, which has to follow them. */
static char *json_skip(char *at, char *end, char c)
{
    while (at && at < end && is_one_of(*at, " \t\r\n")) at++;
    if (!at || !c) return at;
    return at < end && *at == c ? at + 1 : NULL;
}

/* The values of a JSON object's fields that have one of n names (NULL: none), the last where one
   comes twice, as in Python: the first few are strings, the others strings or numbers; strings -1:
   all are what they are. null is no value, nor is what else there is; in place of a string it
   leaves size 1 without bytes. 0: not JSON. */
static int json_fields(char *at, char *end, const char *const *names, int n, int strings,
                       BertText *values)
{
    char *next = json_skip(at, end, '{'), *last = json_skip(next, end, '}');
    while (!last) {
        BertText key, value;
        at = json_skip(next, end, '"');
        if (at) at = json_skip(json_string(at, end, &key), end, ':');
        at = json_skip(at, end, 0);
        if (!at || at == end) return 0;
        int quoted = *at == '"';
        at = quoted ? json_string(at + 1, end, &value) : json_other(at, end, &value);
        if (!at) return 0;
        int null = !quoted && same_text(value, text_of("null"));
        int number = !quoted && strspn(value.bytes, "+-.0123456789eE") >= value.size;
        for (int i = 0; i < n; i++) {
            if (!names[i] || !same_text(key, text_of(names[i]))) continue;
            BertText none = {NULL, i < strings && !null};
            values[i] = quoted || (strings < 0 ? !null : i >= strings && number) ? value : none;
        }
        next = json_skip(at, end, ',');
        last = json_skip(at, end, '}');
    }
    return json_skip(last, end, 0) == end;
}

#endif
