/*
weights.h - what a label counts in the loss: --class_weights.
*/
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "loader.h"

#include <float.h>

/* A list, or balanced as scikit-learn has it, n / (K count); multi-label: how many lack the label
   for each that has it, BCE's pos_weight. A label that never occurs counts 1. They are set for all
   batches of the loader, which has been through its data; the caller frees *weights. */
static int set_class_weights(Loader *l, float **weights, const char *list)
{
    const Data *d = l->data;
    const char *at = list;
    const int K = d->K, balanced = !strcmp(list, "balanced");
    const BertTask *task = bert_task(d->task);
    double all = 0;
    if (task->cols != BERT_COLS_K || task->loss != BERT_LOSS_CROSSENTROPY)
        return fail("--class_weights goes with classification and ner, not with %s", task->name);
    *weights = take((size_t)K, sizeof **weights, "class weights");
    for (int k = 0; k < K; k++) all += d->multi_label ? 0 : l->label_counts[k];
    for (int k = 0; k < K; k++) {
        double count = l->label_counts[k], weight = 1;
        char *end = NULL;
        if (balanced && count > 0)
            weight = d->multi_label ? ((double)l->items - count) / count : all / (K * count);
        if (!balanced) weight = strtod(at, &end);
        if (end == at || !(weight >= 0 && weight <= FLT_MAX) ||
            (end && *end != (k < K - 1 ? ',' : '\0')))
            return fail("--class_weights %s: not balanced, nor %d numbers >= 0 with commas between",
                        list, K);
        if (end) at = end + 1;
        (*weights)[k] = (float)weight;
    }
    l->like.class_weights = *weights;
    return 0;
}

#endif
