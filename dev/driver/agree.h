/*
agree.h - what all ranks of a training have to have in common: the model, and each step's tokens.
*/
#ifndef AGREE_H
#define AGREE_H

#include "loader.h"
#include "ranks.h"

/* Do all ranks have the same parameters? A machine that computes otherwise is found so, too. */
static int same_model(const Bert *m)
{
    double none = 0;
    return ranks_share(0, ranks_hash(m->params_memory, m->num_parameters, 1), "model", &none, 0);
}

/* The same for a step's batches; adds up n sums over all ranks, and tells them of a signal. */
static int same_step(const Loader *l, int stop, double *sums, size_t n)
{
    uint64_t hash = l->G;
    for (size_t i = 0; i < l->G; i++)
        hash = ranks_hash(l->all[i].tokens, (size_t)l->all[i].offsets[l->all[i].B], hash);
    return ranks_share(stop, hash, "data set", sums, n);
}

#endif
