/*
evaluate.h - the loss and the metrics of a model on all that a loader has.

    Evaluation e = {.rules = ...};
    evaluation_room(&e, l.data);
    if (evaluate(&m, &l, &e, NULL) != DONE) ...
*/
#ifndef EVALUATE_H
#define EVALUATE_H

#include "agree.h"
#include "answering.h"
#include "tasks.h"

enum { DONE, FAILED = 1 /* what fail() returns */, STOPPED };

/* Masks and pairs of an evaluation never change: they are those of this epoch, with seed 0. */
static const Place evaluation_place = {.epoch = UINT64_MAX};

/* This process's batches of a step: each one's outputs, packed, at their place among all. */
static int infer_step(Bert *m, const Loader *l, Packed *packed)
{
    packed_room(packed, m, l->all, l->G);
    for (size_t i = 0; i < l->num_batches; i++) {
        const BertBatch *x = &l->batches[i];
        BertActs acts = {0};
        if (infer(m, x)) return fail("%s: %s", l->data->path, bert_error(m));
        pack_outputs(&acts, packed->all + packed->begins[x - l->all], m, x, 1);
    }
    return 0;
}

/* Takes in the outputs of a step, of all processes. */
static void collect_step(Evaluation *e, LossSum *loss, const Bert *m, const Loader *l)
{
    for (size_t i = 0; i < l->G; i++) {
        const BertBatch *x = &l->all[i];
        BertActs acts = m->acts;
        pack_outputs(&acts, e->packed.all + e->packed.begins[i], m, x, 0);
        add_losses(loss, &acts, m, x);
        collect_batch(e, m, l->data, x, &acts, l->first + (size_t)x->place);
    }
}

/* Mean loss and metrics, without class weights and label smoothing, so that runs compare. STOPPED,
   without any, where *stop is set meanwhile; NULL: nothing stops it. Each rank has the outputs of
   all. */
static int evaluate(Bert *m, Loader *l, Evaluation *e, const volatile sig_atomic_t *stop)
{
    const Data *data = l->data;
    double start = seconds(), rows = 0, none = 0;
    LossSum loss = {0, 0};
    size_t done = 0;
    evaluation_clear(e, data);
    loader_seek(l, evaluation_place);
    do {
        if (loader_step(l, 0) || infer_step(m, l, &e->packed)) return FAILED;
        if (same_step(l, stop ? (int)*stop : 0, &none, 0)) return FAILED;
        ranks_gather(e->packed.all, e->packed.sizes, l->G);
        collect_step(e, &loss, m, l);
        rows += l->rows, done += l->step_items;
        progress("eval", done, l->items, start);
        if (stop && ranks_stop(*stop)) return STOPPED;
    } while (!l->ended);
    live_clear();
    e->loss = ratio(loss.rows, rows) + ratio(loss.next, (double)done);
    if (rows == 0) warn_unlabelled(data->path, data->task, "measured");
    if (!isfinite(e->loss))
        return fail("%s: the loss is %g: the model's parameters are damaged", data->path, e->loss);
    tasks[data->task].measure(e, data);
    return DONE;
}

#endif
