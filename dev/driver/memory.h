/*
memory.h - how much memory a training needs, known before its first step.

It is what bert.h's tables and the loader say of it, without the system's own: the program, stacks,
what malloc keeps. Of gradients and AdamW's means a system gives the pages that are written: those
of what is trained, and of wte only those of words that the data has. That last is not counted on.
*/
#ifndef MEMORY_H
#define MEMORY_H

#include "plan.h"

#include <sys/stat.h>

typedef struct {
    double parameters, gradients, moments; /* bytes; moments: AdamW's m and v */
    double training, evaluation;           /* activations, which share one memory */
    double data, all;
} Memory;

/* Activations of a batch of B sequences, N tokens, R of them masked. */
static double activation_bytes(const Bert *m, size_t B, size_t N, size_t R, int training)
{
    size_t sizes[BERT_NUM_ACTS + 1];
    Bert like = *m;
    like.B = (int)B, like.N = (int)N, like.R = (int)R, like.training = training;
    like.act_copies = training && !m->checkpointing ? m->config.L : 1;
    bert_layer_acts(&like, 0, sizes);
    return (double)sizes[BERT_NUM_ACTS] * sizeof(float);
}

/* The same of the largest micro-batch that a loader may make. Masks are drawn: four deviations more
   than their mean. */
static double loader_activations(const Bert *m, const Loader *l, int training)
{
    const double N = (double)l->widest, p = l->mlm_probability;
    const double masks = ceil(fmin(N, N * p + 4 * sqrt(N * p * (1 - p))));
    return activation_bytes(m, l->batch * l->choices, l->widest,
                            has_masks(m->config.task) ? (size_t)masks : 0, training);
}

/* The files are in memory one at a time; beside them the order of their examples. */
static double loader_bytes(const Loader *l)
{
    double largest = 0;
    struct stat info;
    for (size_t i = 0; i < l->files.count; i++)
        if (!stat(l->files.all[i].path, &info)) largest = fmax(largest, (double)info.st_size);
    return largest + (double)(l->items * sizeof *l->order);
}

/* How many parameters get a gradient. */
static double trained_parameters(const Bert *m)
{
    double n = 0;
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *t = &m->tensors[i];
        const int layers = t->group == BERT_GROUP_LAYER;
        const int frozen = t->group == BERT_GROUP_EMBEDDINGS && m->freeze_embeddings;
        if (t->size && t->used && !frozen)
            n +=
                (double)((t->layers - (layers ? (size_t)m->freeze_layers : 0)) * t->rows * t->cols);
    }
    return n;
}

/* eval NULL: nothing is evaluated. */
static Memory memory_of(const Bert *m, const Loader *train, const Loader *eval)
{
    Memory x = {.parameters = (double)m->num_parameters * sizeof(float),
                .gradients = trained_parameters(m) * sizeof(float),
                .training = loader_activations(m, train, 1),
                .data = loader_bytes(train)};
    x.moments = 2 * x.gradients;
    if (eval) x.evaluation = loader_activations(m, eval, 0), x.data += loader_bytes(eval);
    x.data += (double)bert_scratch_size(bert_threads()) * sizeof(float); /* of products */
    x.all = x.parameters + x.gradients + x.moments + fmax(x.training, x.evaluation) + x.data;
    return x;
}

static void show_memory(FILE *f, const Memory *x)
{
    const double MB = 1e-6;
    fprintf(f, "memory     %.0f MB: parameters %.0f, gradients %.0f, m and v %.0f, ", MB * x->all,
            MB * x->parameters, MB * x->gradients, MB * x->moments);
    fprintf(f, "activations %.0f", MB * x->training);
    if (x->evaluation > 0) fprintf(f, " (evaluation: %.0f in their place)", MB * x->evaluation);
    fprintf(f, ", data %.0f\n", MB * x->data);
}

/* What this machine has, or of it this process may have (cgroup v2); 0: nobody knows. */
static double memory_there(void)
{
    double all = 0, limit;
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "r");
#ifdef _SC_PHYS_PAGES
    all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
#endif
    if (f && fscanf(f, "%lf", &limit) == 1 && limit < all) all = limit;
    if (f) fclose(f);
    return fmax(0, all);
}

static void check_memory(const Memory *x, double there)
{
    if (there > 0 && x->all > there)
        warn("this takes %.1f GB of memory, and there are %.1f: smaller batches with more "
             "--gradient_accumulation_steps, --max_tokens_per_batch or --gradient_checkpointing "
             "need less, for the same result",
             1e-9 * x->all, 1e-9 * there);
}

#endif
