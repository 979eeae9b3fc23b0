/*
found.h - answers found in the windows of a text: the same words found again, whatever their case,
are one answer, whose scores add up, as in Hugging Face's question-answering pipeline.
*/
#ifndef FOUND_H
#define FOUND_H

#include "squad.h"

typedef struct {
    BertAnswer *answers; /* (n); start and end are bytes of the text */
    size_t n, room;
    size_t *slots, num_slots; /* answer i, as i + 1, at the hash of its words, or behind it */
} Found;

static BertText found_text(BertText text, BertAnswer span)
{
    BertText part = {text.bytes + span.start, (size_t)(span.end - span.start)};
    return part;
}

/* Are two texts the same in lower case? */
static int same_lower(const BertTokenizer *t, BertText a, BertText b)
{
    uint32_t x[3] = {0}, y[3] = {0};
    size_t i = 0, j = 0;
    int same = 1;
    while (same && i < a.size && j < b.size) {
        int n = lower_case(t, x, 0, bert_utf8(a.bytes, a.size, &i), 0);
        same = n == lower_case(t, y, 0, bert_utf8(b.bytes, b.size, &j), 0) &&
               !memcmp(x, y, (size_t)n * sizeof *x);
    }
    return same && i == a.size && j == b.size;
}

/* Where an answer of these words is, or the empty slot where it would be. */
static size_t *found_slot(const Found *f, const BertTokenizer *t, BertText text, BertText words)
{
    uint64_t hash = 0;
    uint32_t letters[3];
    for (size_t at = 0; at < words.size;) {
        int n = lower_case(t, letters, 0, bert_utf8(words.bytes, words.size, &at), 0);
        for (int i = 0; i < n; i++) hash = bert_mix64(hash ^ letters[i]);
    }
    size_t i = (size_t)hash & (f->num_slots - 1);
    while (f->slots[i] && !same_lower(t, words, found_text(text, f->answers[f->slots[i] - 1])))
        i = (i + 1) & (f->num_slots - 1);
    return &f->slots[i];
}

static void found_add(Found *f, const BertTokenizer *t, BertText text, BertAnswer span)
{
    if (2 * f->n >= f->num_slots) {
        f->num_slots = f->num_slots ? 2 * f->num_slots : 256;
        free(f->slots);
        f->slots = take(f->num_slots, sizeof *f->slots, "answers");
        for (size_t i = 0; i < f->n; i++)
            *found_slot(f, t, text, found_text(text, f->answers[i])) = i + 1;
    }
    size_t *slot = found_slot(f, t, text, found_text(text, span));
    if (*slot) {
        f->answers[*slot - 1].score += span.score;
        return;
    }
    f->answers = more(f->answers, &f->room, f->n + 1, sizeof *f->answers, "answers");
    f->answers[f->n++] = span;
    *slot = f->n;
}

/* Empties it for the next text. */
static void found_clear(Found *f)
{
    if (f->n < f->num_slots / 16) { /* not for one long line's sake with every line */
        free(f->slots);
        f->slots = NULL, f->num_slots = 0;
    } else if (f->slots) memset(f->slots, 0, f->num_slots * sizeof *f->slots);
    f->n = 0;
}

/* The best, most at most; of equals the first. Their scores are gone then. */
static int found_best(Found *f, BertAnswer *best, int most)
{
    const int n = imin(most, (int)f->n);
    for (int i = 0; i < n; i++) {
        size_t highest = 0;
        for (size_t j = 1; j < f->n; j++)
            if (f->answers[j].score > f->answers[highest].score) highest = j;
        best[i] = f->answers[highest];
        f->answers[highest].score = -1;
    }
    return n;
}

static void found_free(Found *f) { free(f->answers), free(f->slots); }

#endif
