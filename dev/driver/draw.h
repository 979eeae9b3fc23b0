/*
draw.h - all that is drawn of data: the order of examples, pairs of sentences, masks. Each draw is a
function of the seed, the epoch and what it is for, so that a run that goes on where another was
stopped draws the same.
*/
#ifndef DRAW_H
#define DRAW_H

#include "data.h"

/* ------------------------------------------------------------------------------------------------
   Chance */

enum { FOR_ORDER, FOR_PAIRS, FOR_MASKS, FOR_SHARDS };
enum { FOR_SCRATCH = 1, FOR_REINIT }; /* a whole model, some layers: of the seed itself */

static uint64_t random_at(uint64_t key, uint64_t i)
{
    return bert_mix64(key + i * 0x9E3779B97F4A7C15u); /* splitmix64's stream */
}

static uint64_t random_key(uint64_t purpose, uint64_t seed, uint64_t epoch)
{
    return random_at(random_at(purpose, seed), epoch);
}

typedef struct {
    uint64_t key, draws;
} Stream;

static size_t draw_below(Stream *s, size_t n)
{
    uint64_t r;
    do {
        r = random_at(s->key, s->draws++);
    } while (r >= UINT64_MAX - UINT64_MAX % n); /* beyond it, r % n would favour low values */
    return (size_t)(r % n);
}

static double draw_share(Stream *s)
{
    return (double)(random_at(s->key, s->draws++) >> 11) / 9007199254740992.0;
}

/* Fisher and Yates */
static void shuffle(size_t *order, size_t n, uint64_t key)
{
    Stream s = {key, 0};
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t last = order[i - 1], other = draw_below(&s, i);
        order[i - 1] = order[other];
        order[other] = last;
    }
}

/* ------------------------------------------------------------------------------------------------
   Sentence pairs */

/* Two stretches of sentences, which become [CLS] a [SEP] b [SEP]; their tokens are neighbours in
   the file. */
typedef struct {
    size_t a, a_end, b, b_end;
    int random; /* b is of another document, not what follows a */
} Pair;

/* Cuts the longer of the two, at its front or its back, until both are n tokens. */
static void cut_pair(Pair *p, size_t n, Stream *s)
{
    while (p->a_end - p->a + p->b_end - p->b > n) {
        int first = p->a_end - p->a > p->b_end - p->b;
        if (draw_share(s) < 0.5) ++*(first ? &p->a : &p->b);
        else --*(first ? &p->a_end : &p->b_end);
    }
}

/* b: from some sentence of another document on, until it has want tokens. Ten tries find another
   document; a file of few may yield the same one. */
static void draw_next(Pair *p, const Data *d, size_t document, size_t want, Stream *s)
{
    size_t other = document, at;
    for (int i = 0; i < 10 && other == document; i++) other = draw_below(s, (size_t)d->G);
    at = d->groups[other] + draw_below(s, d->groups[other + 1] - d->groups[other]);
    p->random = 1;
    p->b = d->offsets[at];
    do {
        p->b_end = d->offsets[++at];
    } while (at < d->groups[other + 1] && p->b_end - p->b < want);
}

/* All pairs of a document, as create_instances_from_document of google-research/bert's
   create_pretraining_data.py: sentences are gathered until they have target tokens (all there is
   room for or, in a share of documents, fewer); they are parted at random into a and b, or b is
   drawn and the sentences behind a go into the next pair. Returns how many. */
static size_t draw_document(Pair *pairs, const Data *d, size_t document, double short_share,
                            Stream *s)
{
    size_t room = (size_t)d->max_length - 3, target = room, n = 0;
    size_t end = d->groups[document + 1], from = d->groups[document];
    if (draw_share(s) < short_share) target = 2 + draw_below(s, room - 1);
    for (size_t to = from + 1; to <= end; to++) {
        if (to < end && d->offsets[to] - d->offsets[from] < target) continue;
        size_t count = to - from, parted = from + 1;
        Pair p = {d->offsets[from], 0, 0, d->offsets[to], 0};
        if (count >= 2) parted += draw_below(s, count - 1);
        p.a_end = p.b = d->offsets[parted];
        if (count == 1 || draw_share(s) < 0.5) {
            size_t length = p.a_end - p.a;
            draw_next(&p, d, document, target > length ? target - length : 0, s);
            to = parted;
        }
        cut_pair(&p, room, s);
        pairs[n++] = p;
        from = to;
    }
    return n;
}

/* ------------------------------------------------------------------------------------------------
   Masks */

/* Which of an example's T tokens are predicted, as DataCollatorForLanguageModeling chooses them: a
   share of all but the special ones; eight of ten of them become [MASK], one any word, one stays.
   Their places, counted from first, go to rows, what they were to labels; returns how many. */
static int draw_masks(int *rows, int *labels, int *tokens, int T, int first, double share,
                      const BertTokenizer *t, uint64_t key)
{
    const int32_t *id = t->settings;
    int R = 0;
    for (int i = 0; i < T; i++) {
        uint64_t r = random_at(key, (uint64_t)i);
        int special = 0, token = tokens[i];
        for (int j = BERT_ID_PAD; j <= BERT_ID_MASK; j++) special |= token == id[j];
        if (special || (double)(r >> 32) >= share * 4294967296.0) continue;
        rows[R] = first + i;
        labels[R++] = token;
        if (r % 10 < 8) tokens[i] = id[BERT_ID_MASK];
        if (r % 10 == 8) tokens[i] = (int)(random_at(r, 0) % t->vocabulary.count);
    }
    return R;
}

/* The [MASK]s that an example has, to be filled. */
static int find_masks(int *rows, const int *tokens, int T, int first, const BertTokenizer *t)
{
    int R = 0;
    for (int i = 0; i < T; i++)
        if (tokens[i] == t->settings[BERT_ID_MASK]) rows[R++] = first + i;
    return R;
}

#endif
