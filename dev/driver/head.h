/*
head.h - the head that a model has, and the one that data needs: drawn, kept, named, checked.
*/
#ifndef HEAD_H
#define HEAD_H

#include "loader.h"

/* Where it holds nothing that a loss is taken of: that loss is 0. */
static void warn_unlabelled(const char *path, int task, const char *done)
{
    warn("%s: %s, so nothing was %s", path,
         has_masks(task) ? "no token was masked" : "no token has a label", done);
}

/* The head's K for this data. */
static int head_size(const Data *d) { return bert_task(d->task)->most_K == 1 ? 1 : d->K; }

/* The head's tensors that were drawn, as they had another size; or those that were kept. Returns
   how many there are. */
static int list_head(FILE *f, const Bert *m, const size_t *old, int drawn)
{
    int n = 0;
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *x = &m->tensors[i];
        if (!x->size || !x->used || (x->size != old[i]) != drawn || x->group != BERT_GROUP_HEAD)
            continue;
        if (!n++) fprintf(f, "           %s:", drawn ? "drawn anew, to be trained" : "kept");
        fprintf(f, " %s", x->key);
    }
    if (n) fprintf(f, "\n");
    return n;
}

/* The head for the data's task, of the model at path: as it is, renamed to the data's labels, or
   drawn anew. */
static int train_head(Bert *m, const char *path, const Data *data, uint64_t seed)
{
    size_t old[BERT_NUM_TENSORS];
    int same = m->config.task == data->task && m->config.K == head_size(data) &&
               m->config.multi_label == data->multi_label;
    Page page;
    FILE *f = page_begin(&page);
    fprintf(f, "head       %s", bert_task(data->task)->name);
    if (data->K) fprintf(f, ", %d labels: ", data->K), print_names(f, &data->names, NULL);
    else fprintf(f, "\n");
    page_end(&page, stdout, 11);
    if (m->config.activation_out == BERT_OUT_SIGMOID) /* until remember() */
        printf("           to be trained on values: predict shows them, and no sigmoid any more\n");
    if (same && same_names(&m->labels, &data->names)) return 0;
    if (same && !generic_names(&m->labels))
        return check_names(&m->labels, path, data,
                           "To go on with this head, make the data with the model's labels "
                           "(tokenizer.py --labels); for a new head, export the model with --task "
                           "none.");
    for (int i = 0; i < BERT_NUM_TENSORS; i++) old[i] = m->tensors[i].size;
    if (bert_set_task(m, data->task, head_size(data), data->multi_label, &data->names, seed))
        return fail("%s: %s", path, bert_error(m));
    f = page_begin(&page);
    if (same) fprintf(f, "           its labels had no names, and get the data's\n");
    else if (!list_head(f, m, old, 1)) list_head(f, m, old, 0);
    page_end(&page, stdout, 11);
    return 0;
}

/* Draws the top layers anew, and the pooler where the task has a use for it: a pretrained model's
   are the most given to what it was pretrained for (Zhang et al. 2021). */
static int reinit_layers(Bert *m, int top, uint64_t seed)
{
    Bert drawn = {0};
    BertConfig c = m->config;
    const size_t below = (size_t)(c.L - top);
    const int pooler = m->tensors[BERT_TENSOR_poolw].size && m->tensors[BERT_TENSOR_poolw].used;
    c.L = top;
    c.V = c.P = c.S = 1, c.padding_idx = -1, c.model_max_length = 0; /* which nobody needs */
    int failed = bert_build(&drawn, c) || bert_init(&drawn, seed);
    if (failed) fail("%s", bert_error(&drawn));
    for (int i = 0; !failed && i < BERT_NUM_TENSORS; i++) {
        const BertTensor *from = &drawn.tensors[i], *to = &m->tensors[i];
        const int layers = to->group == BERT_GROUP_LAYER;
        if (!layers && (!pooler || (i != BERT_TENSOR_poolw && i != BERT_TENSOR_poolb))) continue;
        memcpy(m->params_memory + to->offset + (layers ? below * to->rows * to->cols : 0),
               drawn.params_memory + from->offset, from->size * sizeof(float));
    }
    bert_free(&drawn);
    if (failed) return 1;
    printf("           drawn anew, to be trained: the last %d of %zu layers%s\n", top,
           below + (size_t)top, pooler ? ", and the pooler" : "");
    return 0;
}

/* What the model is to remember of the data it learns from, for lines of text to come. */
static void remember(BertConfig *c, const Loader *l)
{
    c->trained_length = imin(l->max_length, c->P);
    c->trained_pairs = 1 + l->pairs;
    c->may_lack = l->may_lack;
    c->activation_out = BERT_OUT_VALUE; /* as Hugging Face sets problem_type */
}

/* A share of the label for all others: where one of several labels is right. */
static int check_smoothing(double factor, const Data *data)
{
    const BertTask *task = bert_task(data->task);
    const int one = task->reads != BERT_READS_BOTH && !data->multi_label;
    if (factor == 0 || (one && task->loss == BERT_LOSS_CROSSENTROPY) ||
        task->loss == BERT_LOSS_CHOICE)
        return 0;
    return fail("--label_smoothing_factor goes with classification, ner, mlm and multiple_choice, "
                "not with %s%s",
                data->multi_label ? "multi-label " : "", task->name);
}

/* What is predicted with its head: that of pretraining has mlm's in it. */
static int predicted_task(const BertConfig *c)
{
    return c->task == BERT_PRETRAINING ? BERT_MLM : c->task;
}

/* eval and predict: the head must be there. */
static int check_head(Bert *m, const char *path, const Data *d)
{
    if (m->config.task != d->task && predicted_task(&m->config) == d->task &&
        bert_set_task(m, d->task, 0, 0, NULL, 0))
        return fail("%s: %s", path, bert_error(m));
    if (m->config.task == BERT_NONE)
        return fail("%s: has no head%s%s: fine-tune it first (train_bert train)", path,
                    d->task ? " for " : "", d->task ? bert_task(d->task)->name : "");
    if (m->config.task != d->task || m->config.multi_label != d->multi_label)
        return fail("%s: is a model for %s%s, %s is data for %s%s", path,
                    m->config.multi_label ? "multi-label " : "", bert_task(m->config.task)->name,
                    d->path, d->multi_label ? "multi-label " : "", bert_task(d->task)->name);
    return 0;
}

/* The first array of the model, in the order of its computing, that has a NaN or an infinity. */
static void tell_not_finite(const Bert *m)
{
    int layer = -1;
    const char *name = bert_not_finite(m, &layer);
    if (name && layer >= 0) fail("the first that is not finite is %s of layer %d", name, layer);
    else if (name) fail("the first that is not finite is %s", name);
}

/* eval: its labels are the data's. */
static int check_labels(const Bert *m, const char *path, const Data *data)
{
    if (m->config.K != head_size(data) || !generic_names(&m->labels))
        return check_names(&m->labels, path, data,
                           "Make the data with the model's labels (tokenizer.py --labels).");
    if (!same_names(&m->labels, &data->names))
        warn("%s: its labels have no names; they are taken to be the data's, in order", path);
    return 0;
}

#endif
