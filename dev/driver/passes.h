/*
passes.h - the loader's state, and its passes through the data: files, what there is in them, the
order of an epoch. loader.h makes steps of them.
*/
#ifndef PASSES_H
#define PASSES_H

#include "batch.h"
#include "draw.h"
#include "shards.h"

/* ------------------------------------------------------------------------------------------------
   The loader */

/* Where a run stands: what its next step begins with. It is the same however a step is cut. */
typedef struct {
    uint64_t epoch;
    uint64_t shard; /* counted in the epoch's order of them */
    uint64_t item;  /* of the shard, in its order: an example, a pair, a text with its choices */
    uint64_t steps; /* of the epoch so far, over all shards */
} Place;

typedef struct {
    /* What is wanted, to be set before the first call. */
    const Bert *model;
    size_t batch, group; /* items in a micro-batch, micro-batches in a step of one process */
    size_t rank, ranks;  /* this process's number, and how many share each step; 0 of 0: alone */
    size_t most_tokens;  /* in a micro-batch of several items; 0: as many as there are */
    int shuffled;        /* else the files' own order */
    int predicting;      /* no labels are read, and what is predicted is the text's own [MASK]s */
    uint64_t seed;
    double mlm_probability, short_seq_prob;
    BertBatch like; /* class_weights, label_smoothing and seed, which all batches have in common */

    /* Where examples come from, and what loader_scan found there. */
    Shards files;
    const Data *data;                /* of the files, or lines of text */
    size_t items, steps;             /* of an epoch */
    size_t examples, tokens, groups; /* of all files; a group: a question, a document */
    size_t choices;                  /* multiple_choice: the most that an item has */
    size_t pass_tokens, widest;      /* of an epoch; of the largest micro-batch that there may be */
    int longest, max_length, pairs, may_lack;
    double *label_counts; /* (K) */

    /* The pass through the open one. */
    int ready;
    size_t n, each;      /* its items, the sequences of one */
    size_t *order;       /* (n) of them; NULL: the file's */
    size_t *shard_order; /* (files.count) */
    Pair *pair_of_item;  /* pretraining (n) */
    uint64_t masks;      /* their key */
    Place place;         /* of the next step */

    /* The step that loader_step made: this process's batches of it, and of all processes' ... */
    BertBatch *batches;
    size_t num_batches;
    size_t first, step_items; /* its first sequence, batch b's is first + b->place; its items */
    double rows;              /* how many have a label: tokens, or examples */
    double epoch;             /* how many are done with it, with the fraction */
    int ended;                /* it is the epoch's last */

    StepArrays arrays;
    size_t floats, G, B, N; /* of arrays: targets a sequence; batches, sequences, tokens so far */
    BertBatch *all;         /* all processes' */
} Loader;

/* ------------------------------------------------------------------------------------------------
   Passes */

static int open_shard(Loader *l, size_t shard)
{
    const Data *d = l->data = &l->files.data;
    int failed = shards_open(&l->files, l->model, shard, !l->predicting);
    if (failed) return failed > 0;
    free(l->order), free(l->pair_of_item);
    l->order = l->shuffled ? take(d->n, sizeof *l->order, "the order of examples") : NULL;
    l->pair_of_item = draws_pairs(d->task) ? take(d->n, sizeof *l->pair_of_item, "pairs") : NULL;
    return 0;
}

/* One file, or all those of a pattern: the first is loaded. */
static int loader_file(Loader *l, const char *path)
{
    shards_one(&l->files, path);
    return open_shard(l, 0);
}

static int loader_files(Loader *l, const char *pattern)
{
    return shards_find(&l->files, pattern) || open_shard(l, 0);
}

/* Items of an optimizer step, over all processes. */
static size_t step_size(const Loader *l)
{
    return zmul(zmul(l->batch, l->group), l->ranks ? l->ranks : 1);
}

/* The items of a shard in an epoch, and their order. */
static void draw_pass(Loader *l, uint64_t epoch, size_t shard)
{
    const Data *d = l->data;
    Stream s = {random_at(random_key(FOR_PAIRS, l->seed, epoch), shard), 0};
    uint64_t order = random_key(FOR_ORDER, l->seed, epoch);
    l->each = l->predicting ? 1 : d->choices; /* predicted, each choice is an item */
    l->n = l->pair_of_item ? 0 : d->n / l->each;
    for (size_t i = 0; l->pair_of_item && i < (size_t)d->G; i++)
        l->n += draw_document(l->pair_of_item + l->n, d, i, l->short_seq_prob, &s);
    l->masks = random_at(random_key(FOR_MASKS, l->seed, epoch), shard);
    if (l->order) shuffle(l->order, l->n, shard ? random_at(order, shard) : order);
}

/* Memory for the batches of a step, of at most so many sequences, together so many tokens. */
static int loader_room(Loader *l, size_t sequences, size_t longest, size_t tokens)
{
    const BertConfig *c = &l->model->config;
    const size_t choices = l->choices ? l->choices : 1, batch = zmul(l->batch, choices);
    const size_t one = zmin(sequences, batch), B = zmin(sequences, zmul(step_size(l), choices));
    const size_t N = zmin(tokens, zmul(B, longest));
    const size_t G = l->most_tokens ? B : zmin(B, step_size(l) / l->batch);
    if (zadd(zmul(one, longest), one) > INT_MAX) /* bert_forward counts in ints */
        return fail("a batch of %zu x %zu tokens is too large", one, longest);
    if (B > INT_MAX) /* their places are ints */
        return fail("a step of %zu x %zu examples is too large", G, one);
    l->floats = bert_has_targets(c) && !l->predicting ? (size_t)c->K : 0;
#define ARRAY_TAKE(type, name, begins) l->arrays.name = take(begins, sizeof(type), "a batch");
    const size_t floats = l->floats;
    STEP_ARRAYS(ARRAY_TAKE)
    l->all = take(G, sizeof *l->all, "the batches of a step");
    return 0;
}

/* Tokens of the item at a place of the pass. */
static size_t item_tokens(const Loader *l, size_t at)
{
    const Data *d = l->data;
    const size_t item = l->order ? l->order[at] : at;
    if (!l->pair_of_item)
        return (size_t)(d->offsets[(item + 1) * l->each] - d->offsets[item * l->each]);
    const Pair *pair = &l->pair_of_item[item];
    return 3 + pair->a_end - pair->a + pair->b_end - pair->b; /* [CLS] [SEP] [SEP] */
}

/* Takes in the tokens of a pass, and of its longest items together, as many as a micro-batch has:
   the order may bring them together. Another epoch may draw longer pairs. */
static void measure_pass(Loader *l)
{
    const size_t longest = (size_t)longest_input(l->data) * l->each;
    size_t *counts = take(longest + 1, sizeof *counts, "the lengths of examples"), tokens = 0;
    for (size_t i = 0; i < l->n; i++) {
        const size_t T = item_tokens(l, i);
        counts[T]++, l->pass_tokens += T;
    }
    for (size_t left = zmin(l->batch, l->n), T = longest; left > 0; left -= counts[T--]) {
        counts[T] = l->pair_of_item ? left : zmin(counts[T], left);
        tokens += counts[T] * T;
    }
    if (l->most_tokens) tokens = zmin(tokens, l->most_tokens > longest ? l->most_tokens : longest);
    if (tokens > l->widest) l->widest = tokens;
    free(counts);
}

/* Looks through all files: are they fit to be trained on together, and how much is there? */
static int loader_scan(Loader *l)
{
    const Data *d = l->data;
    size_t most = 0, room = 0, largest = 0;
    l->label_counts = take((size_t)d->K, sizeof *l->label_counts, "the counts of labels");
    l->shard_order = take(l->files.count, sizeof *l->shard_order, "the order of shards");
    for (size_t i = 0; i < l->files.count; i++) {
        if (open_shard(l, i)) return 1;
        l->files.all[i].n = d->n, l->files.all[i].N = d->N,
        l->files.all[i].longest = longest_input(d);
        const int32_t *labels = d->sets ? d->set_labels : d->tags ? d->tags : d->labels;
        size_t count = d->sets ? d->sets[d->n] : d->tags ? d->N : d->n;
        for (size_t j = 0; labels && d->K && j < count; j++)
            if (labels[j] >= 0) l->label_counts[labels[j]]++;
        draw_pass(l, l->place.epoch, i);
        measure_pass(l);
        l->items += l->n;
        l->examples += d->n / d->choices, l->tokens += d->N, l->groups += (size_t)d->G;
        l->steps += l->n / step_size(l) + (l->n % step_size(l) > 0);
        if (l->n > most) most = l->n;
        if (d->choices > l->choices) l->choices = d->choices;
        if (d->n > room) room = d->n; /* another epoch may draw more pairs */
        if (d->N > largest) largest = d->N;
        if (l->pair_of_item) largest = SIZE_MAX;
        l->longest = imax(l->longest, longest_input(d));
        l->max_length = imax(l->max_length, d->max_length);
        l->pairs |= d->pairs || l->pair_of_item;
        l->may_lack |= d->may_lack;
    }
    l->batch = zmin(l->batch, most);
    return loader_room(l, room, (size_t)l->longest, largest);
}

#endif
