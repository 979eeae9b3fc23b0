/*
choices.h - multiple_choice: a line of standard input is a text and its choices, with tabs between,
or an object, {"text": "...", "choices": ["...", ...]}.
*/
#ifndef CHOICES_H
#define CHOICES_H

#include "json.h"

typedef struct {
    BertText *all; /* of the lines so far, one a sequence */
    size_t n, room;
    char *copy; /* of a line; its text is there */
    size_t copy_room;
} Choices;

static void choices_free(Choices *c) { free(c->all), free(c->copy); }

static void choices_add(Choices *c, const char *bytes, size_t size)
{
    const BertText text = {bytes, size};
    if (c->n == c->room) c->all = more(c->all, &c->room, c->n + 1, sizeof *c->all, "choices");
    c->all[c->n++] = text;
}

/* The text is what is before the first tab. */
static void choices_of_plain(Choices *c, const char *bytes, size_t n, BertText *text)
{
    for (int i = 0;; i++) {
        const char *tab = n ? memchr(bytes, '\t', n) : NULL;
        const size_t size = tab ? (size_t)(tab - bytes) : n;
        if (i) choices_add(c, bytes, size);
        else text->bytes = bytes, text->size = size;
        if (!tab) return;
        bytes = tab + 1, n -= size + 1;
    }
}

/* The strings of a list, in place; 0: it is no list of strings. */
static int choices_of_list(Choices *c, char *at, char *end)
{
    char *next = json_skip(at, end, '['), *last = json_skip(next, end, ']');
    while (!last) {
        BertText text;
        at = json_skip(next, end, '"');
        if (at) at = json_string(at, end, &text);
        if (!at) return 0;
        choices_add(c, text.bytes, text.size);
        next = json_skip(at, end, ','), last = json_skip(at, end, ']');
    }
    return 1;
}

/* As json_fields undoes the escapes in lists too, it is given a copy, which tells where the list
   begins. Returns what is wrong, or NULL. */
static const char *choices_of_object(Choices *c, char *bytes, size_t n, BertText *text)
{
    static const char *const names[] = {"text", "choices"};
    JsonField found[2] = {{JSON_NOTHING, {NULL, 0}}};
    char *copy = c->copy = more(c->copy, &c->copy_room, n, 1, "a line");
    memcpy(copy, bytes, n);
    if (!json_fields(copy, copy + n, names, 2, found)) return "not a JSON object";
    if (found[0].kind != JSON_STRING) return "no string in field text";
    *text = found[0].text;
    if (found[1].kind != JSON_OTHER ||
        !choices_of_list(c, bytes + (found[1].text.bytes - copy), bytes + n))
        return "no list of strings in field choices";
    return NULL;
}

/* Takes a line of n bytes apart. Returns what is wrong with it, or NULL. */
static const char *choices_of(Choices *c, int json, char *bytes, size_t n, BertText *text)
{
    const size_t before = c->n;
    const char *what = json ? choices_of_object(c, bytes, n, text) : NULL;
    if (!json) choices_of_plain(c, bytes, n, text);
    return what || c->n >= before + 2 ? what : "fewer than two choices";
}

#endif
