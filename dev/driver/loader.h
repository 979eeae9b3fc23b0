/*
loader.h - what a model is given, step by step: files, passes through them, batches.

    Loader l = {.model = &m, .batch = 4, .group = 2, .shuffled = 1, .seed = 42};
    if (loader_files(&l, "part-*.bin") || loader_scan(&l)) ...
    do {
        if (loader_step(&l, step)) ...
        for (size_t i = 0; i < l.num_batches; i++) ... bert_forward(&m, &l.batches[i], 1) ...
    } while (!l.ended);
    loader_free(&l);

loader_step fills all micro-batches of an optimizer step at once, as their divisors are known only
then. All that is drawn is a function of the seed, the epoch and what it is for: a run that was
stopped needs one stored Place to go on with the batches that it would have had.
*/
#ifndef LOADER_H
#define LOADER_H

#include "passes.h"

/* Epochs up to the place, with the fraction. */
static double epochs_done(const Loader *l)
{
    return (double)l->place.epoch + fmin(1, (double)l->place.steps / (double)l->steps);
}

/* The next step is that of another place. */
static void loader_seek(Loader *l, Place place)
{
    l->place = place;
    l->ready = 0;
}

/* Lines of text, in place of a file. */
static void loader_lines(Loader *l, const Data *lines)
{
    const Place start = {0, 0, 0, 0};
    l->data = lines;
    loader_seek(l, start);
}

static int start_pass(Loader *l)
{
    const Place *at = &l->place;
    size_t shard = (size_t)at->shard;
    if (l->shuffled) {
        shuffle(l->shard_order, l->files.count, random_key(FOR_SHARDS, l->seed, at->epoch));
        shard = l->shard_order[shard];
    }
    if (l->files.count && open_shard(l, shard)) return 1;
    draw_pass(l, at->epoch, shard);
    l->ready = 1;
    return 0;
}

/* Goes on at a place that was stored. 1: there is no such place. */
static int loader_resume(Loader *l)
{
    l->epoch = epochs_done(l);
    return l->place.shard >= l->files.count || start_pass(l) || l->place.item >= l->n;
}

/* Example i of a batch, which begins at token N; returns where it ends. */
static int put_item(StepArrays *b, const Loader *l, size_t item, int i, int N)
{
    const Data *d = l->data;
    if (l->pair_of_item) {
        const Pair *pair = &l->pair_of_item[item];
        const int32_t *id = l->model->tokenizer.settings;
        N = put_tokens(b, N, id + BERT_ID_CLS, 1, 0);
        N = put_tokens(b, N, d->tokens + pair->a, pair->a_end - pair->a, 0);
        N = put_tokens(b, N, id + BERT_ID_SEP, 1, 0);
        N = put_tokens(b, N, d->tokens + pair->b, pair->b_end - pair->b, 1);
        b->next[i] = pair->random;
        return put_tokens(b, N, id + BERT_ID_SEP, 1, 1);
    }
    const int32_t *tokens = d->tokens + d->offsets[item];
    size_t T = (size_t)(d->offsets[item + 1] - d->offsets[item]), first = (size_t)d->segments[item];
    N = put_tokens(b, N, tokens, first, 0);
    return put_tokens(b, N, tokens + first, T - first, 1);
}

/* The example's masks: drawn, or those that it has. */
static int put_masks(StepArrays *b, const Loader *l, size_t item, int i, int R)
{
    const int N = b->offsets[i], T = b->offsets[i + 1] - N;
    const BertTokenizer *t = &l->model->tokenizer;
    if (l->predicting) return R + find_masks(b->rows + R, b->tokens + N, T, N, t);
    return R + draw_masks(b->rows + R, b->labels + R, b->tokens + N, T, N, l->mlm_probability, t,
                          random_at(l->masks, item));
}

/* The next micro-batch of the step, in the arrays behind those that are there: of at most batch
   items and most_tokens, but for one item that has more. */
static void fill_batch(Loader *l)
{
    const Data *d = l->data;
    const int masked = has_masks(l->model->config.task);
    const size_t G = l->G, B = l->B, N = l->N, floats = l->floats, each = l->each;
    BertBatch *x = &l->all[G];
    StepArrays b;
#define ARRAY_FROM(type, name, begins) b.name = l->arrays.name + (begins);
    STEP_ARRAYS(ARRAY_FROM)
    *x = l->like;
    x->place = (int)B;
    b.offsets[0] = 0;
    for (int end = 0; (size_t)x->B < l->batch * each && l->B < l->step_items * each; l->B++) {
        const size_t at = l->first + l->B;
        if (l->most_tokens && x->B > 0 && at % each == 0 &&
            (size_t)end + item_tokens(l, at / each) > l->most_tokens)
            break;
        const size_t item = l->order ? l->order[at / each] * each + at % each : at;
        const int i = x->B++;
        b.offsets[i + 1] = end = put_item(&b, l, item, i, end);
        if (d->labelled) put_labels(&b, d, item, i);
        if (masked) x->R = put_masks(&b, l, item, i, x->R);
    }
    l->N += (size_t)b.offsets[x->B];
    l->G++;
    x->tokens = b.tokens, x->types = b.types, x->offsets = b.offsets;
    if (masked) x->rows = b.rows;
    if (l->pair_of_item) x->next = b.next;
    if (each > 1) x->choices = (int)each;
    if (masked ? !l->predicting : d->labelled && !floats) x->labels = b.labels;
    if (d->labelled && floats) x->targets = b.targets;
}

/* Fills all micro-batches of the next step, and keeps this process's. step: how many the run has
   made, which with the place in the step keys dropout. A loss is the mean over all that has a label
   in the step, so that 2 x 4 examples are the same step as 1 x 8. (Trainer of transformers 5.23
   adds up the means of this model's micro-batches: its loss and gradient norm grow with the
   accumulation.) */
static int loader_step(Loader *l, uint64_t step)
{
    const size_t ranks = l->ranks ? l->ranks : 1;
    double divisor = 0;
    if (!l->ready && start_pass(l)) return 1;
    l->first = (size_t)l->place.item * l->each, l->like.step = step;
    l->G = l->B = l->N = 0, l->rows = 0;
    l->step_items = zmin(step_size(l), l->n - (size_t)l->place.item);
    while (l->B < l->step_items * l->each) fill_batch(l);
    for (size_t i = 0; i < l->G; i++) {
        BertBatch plain = l->all[i];
        plain.class_weights = NULL; /* rows, not their weights */
        l->rows += bert_divisor(l->model, &plain);
        divisor += bert_divisor(l->model, &l->all[i]);
    }
    for (size_t i = 0; i < l->G; i++)
        l->all[i].divisor = divisor, l->all[i].next_divisor = (double)l->step_items;
    const size_t from = l->G * l->rank / ranks, to = l->G * (l->rank + 1) / ranks;
    l->batches = l->all + from, l->num_batches = to - from;

    Place *at = &l->place;
    at->item += l->step_items, at->steps++;
    l->ready = at->item < l->n;
    if (!l->ready) at->item = 0, at->shard++;
    l->ended = !l->ready && at->shard >= l->files.count;
    if (l->ended) at->epoch++, at->shard = at->steps = 0;
    l->epoch = epochs_done(l);
    return 0;
}

static void loader_free(Loader *l)
{
#define ARRAY_FREE(type, name, begins) free(l->arrays.name);
    STEP_ARRAYS(ARRAY_FREE)
    free(l->order), free(l->pair_of_item), free(l->shard_order), free(l->label_counts),
        free(l->all);
    shards_free(&l->files);
}

#endif
