/*
json.h - lines in: whether they are text at all, and of a JSON object the fields, taken apart where
it stands.
*/
#ifndef JSON_H
#define JSON_H

#include "report.h"

/* Where a line stands; 0: it is no line, but was given on the command line. */
static const char *line_place(size_t number)
{
    static char place[40];
    snprintf(place, sizeof place, number ? "stdin:%zu" : "the text", number);
    return place;
}

/* What line number of standard input is where it is no text at all, or NULL. Letters that are lost
   are told once. */
static const char *not_text(const char *bytes, size_t n, size_t number, int *told)
{
    size_t at = 0, from;
    uint32_t c;
    if (number == 1 && n >= 8 && !memcmp(bytes, "BRT", 3) && is_one_of(bytes[3], "DM") && !bytes[5])
        return bytes[3] == 'D' ? "a data file, not text: --predict_file takes it"
                               : "a model file, not text: --model takes it";
    if (number == 1 && n >= 2 && (!memcmp(bytes, "\xFF\xFE", 2) || !memcmp(bytes, "\xFE\xFF", 2)))
        return "UTF-16: 'iconv -f UTF-16 -t UTF-8' makes text of it";
    while (!*told && at < n) {
        from = at;
        c = bert_utf8(bytes, n, &at);
        if (c && (c != 0xFFFD || (at - from == 3 && !memcmp(bytes + from, "\xEF\xBF\xBD", 3))))
            continue;
        warn("%s: %s: letters of it are lost (iconv makes UTF-8 of a file)", line_place(number),
             c ? "not UTF-8" : "has NUL bytes");
        *told = 1;
    }
    return NULL;
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
            to += bert_put_utf8(to, c >> 11 == 0x1B ? 0xFFFD : c); /* half a pair */
        }
    }
    out->size = (size_t)(to - out->bytes);
    return at < end ? at + 1 : NULL;
}

/* Behind the blanks at at, and the character c, which has to follow them (0: none has to). */
static char *json_skip(char *at, char *end, char c)
{
    while (at && at < end && is_one_of(*at, " \t\r\n")) at++;
    if (!at || !c) return at;
    return at < end && *at == c ? at + 1 : NULL;
}

/* Behind the digits at at; NULL: there is none. */
static char *json_digits(char *at, char *end)
{
    char *from = at;
    while (at && at < end && *at >= '0' && *at <= '9') at++;
    return at == from ? NULL : at;
}

/* Behind a number, null, true or false; NULL: it is none of them. */
static char *json_plain(char *at, char *end)
{
    static const char *const words[] = {"null", "true", "false"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(end - at) >= n && !memcmp(at, words[i], n)) return at + n;
    }
    if (at < end && *at == '-') at++;
    at = at < end && *at == '0' ? at + 1 : json_digits(at, end);
    if (at && at < end && *at == '.') at = json_digits(at + 1, end);
    if (at && at < end && is_one_of(*at, "eE")) {
        at++;
        at = json_digits(at < end && is_one_of(*at, "+-") ? at + 1 : at, end);
    }
    return at;
}

/* Behind any value, which may hold others. NULL: it is none, or so deep that Python's json gives
   up too. */
static char *json_value(char *at, char *end, int depth)
{
    BertText ignored;
    at = json_skip(at, end, 0);
    if (!at || at == end || depth > 900) return NULL;
    if (*at == '"') return json_string(at + 1, end, &ignored);
    if (*at != '[' && *at != '{') return json_plain(at, end);
    const char object = *at == '{', close = object ? '}' : ']';
    char *next = at + 1, *last = json_skip(next, end, close);
    while (!last) {
        at = next;
        if (object && (at = json_skip(at, end, '"')) != NULL)
            at = json_skip(json_string(at, end, &ignored), end, ':');
        if (at) at = json_value(at, end, depth + 1);
        if (!at) return NULL;
        last = json_skip(at, end, close);
        next = json_skip(at, end, ',');
        if (!last && !next) return NULL;
    }
    return last;
}

/* A JSON object's next field, from behind its { or the comma: what follows it, or NULL where there
   is none. quoted: the value is a string. */
static char *json_field(char *at, char *end, BertText *key, BertText *value, int *quoted)
{
    at = json_skip(at, end, '"');
    if (at) at = json_skip(json_string(at, end, key), end, ':');
    at = json_skip(at, end, 0);
    if (!at || at == end) return NULL;
    *quoted = *at == '"';
    value->bytes = at;
    at = *quoted ? json_string(at + 1, end, value) : json_value(at, end, 1);
    if (at && !*quoted) value->size = (size_t)(at - value->bytes);
    return at;
}

/* What a field has. A number and what else there is, true, false, a list, an object, are as they
   stand there; null is nothing. */
enum { JSON_NOTHING, JSON_STRING, JSON_NUMBER, JSON_OTHER };
typedef struct {
    int kind;
    BertText text;
} JsonField;

/* The fields of a JSON object that have one of n names (NULL: none), the last where one comes
   twice, as in Python. 0: not JSON. */
static int json_fields(char *at, char *end, const char *const *names, int n, JsonField *fields)
{
    char *next = json_skip(at, end, '{'), *last = json_skip(next, end, '}');
    while (!last) {
        BertText key;
        JsonField field = {JSON_NOTHING, {NULL, 0}};
        at = json_skip(next, end, '"');
        if (at) at = json_skip(json_string(at, end, &key), end, ':');
        at = json_skip(at, end, 0);
        if (!at || at == end) return 0;
        char *from = at;
        const int string = *from == '"', number = is_one_of(*from, "-0123456789");
        at = string ? json_string(at + 1, end, &field.text) : json_value(at, end, 1);
        if (!at) return 0;
        if (*from != 'n') field.kind = string ? JSON_STRING : number ? JSON_NUMBER : JSON_OTHER;
        if (!string && field.kind) field.text.bytes = from, field.text.size = (size_t)(at - from);
        for (int i = 0; i < n; i++)
            if (names[i] && same_text(key, text_of(names[i]))) fields[i] = field;
        next = json_skip(at, end, ',');
        last = json_skip(at, end, '}');
    }
    return json_skip(last, end, 0) == end;
}

/* A line that is an object: its text, a second one, which it may have to have, and an id, a string
   or a number; of these names. Returns the name of what is no string, "" where the line is no
   object, or NULL. */
static const char *json_texts(char *bytes, size_t n, const char *const names[3], int both,
                              BertText texts[2], JsonField *id)
{
    JsonField found[3] = {{JSON_NOTHING, {NULL, 0}}};
    if (!json_fields(bytes, bytes + n, names, 3, found)) return "";
    if (found[0].kind != JSON_STRING) return names[0];
    if (found[1].kind != JSON_STRING && (both || found[1].kind != JSON_NOTHING)) return names[1];
    texts[0] = found[0].text, texts[1] = found[1].text;
    if (found[2].kind != JSON_OTHER) *id = found[2];
    return NULL;
}

#endif
