/*
batch.h - the arrays that an optimizer step's micro-batches lie in, one behind the other, and what
is put into them.
*/
#ifndef BATCH_H
#define BATCH_H

#include "data.h"

/* The arrays of a step's micro-batches: type, name, and where in the array those of the next one
   begin, behind G of them with together B examples and N tokens. labels: of each token, of each
   example one, or in qa two; an example has so many targets. */
#define STEP_ARRAYS(X)                                                                             \
    X(int, tokens, N)                                                                              \
    X(int, types, N)                                                                               \
    X(int, rows, N)                                                                                \
    X(int, labels, N + 2 * B)                                                                      \
    X(int, next, B)                                                                                \
    X(int, offsets, B + G)                                                                         \
    X(float, targets, B *floats)

#define ARRAY_POINTER(type, name, begins) type *name;
typedef struct {
    STEP_ARRAYS(ARRAY_POINTER)
} StepArrays;

/* Adds tokens to the batch's end N; returns its new end. */
static int put_tokens(StepArrays *b, int N, const int32_t *tokens, size_t n, int type)
{
    for (size_t i = 0; i < n; i++, N++) b->tokens[N] = tokens[i], b->types[N] = type;
    return N;
}

/* The item's labels: those of its tokens, or its own. */
static void put_labels(StepArrays *b, const Data *d, size_t item, int i)
{
    const int N = b->offsets[i], T = b->offsets[i + 1] - N;
    if (d->labels && item % d->choices == 0)
        b->labels[(size_t)i / d->choices] = d->labels[item / d->choices];
    if (d->targets) b->targets[i] = d->targets[item];
    for (int t = 0; d->tags && t < T; t++)
        b->labels[N + t] = d->tags[d->offsets[item] + (uint64_t)t];
    for (size_t j = 0; d->positions && j < 2; j++)
        b->labels[2 * (size_t)i + j] = d->positions[2 * item + j];
    if (!d->sets) return;
    float *targets = b->targets + (size_t)i * (size_t)d->K;
    memset(targets, 0, (size_t)d->K * sizeof *targets);
    for (uint64_t j = d->sets[item]; j < d->sets[item + 1]; j++) targets[d->set_labels[j]] = 1;
}

#endif
