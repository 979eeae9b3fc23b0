/*
answering.h - what predict, embed and encode do: with a file, or with lines of standard input as
long as there are any.
*/
#ifndef ANSWERING_H
#define ANSWERING_H

#include "answers.h"
#include "head.h"
#include "log.h"
#include "text.h"
#include "threads.h"

static int infer(Bert *m, const BertBatch *x)
{
    threads_begin(x->offsets[x->B] <= 256);
    int error = bert_forward(m, x, 0);
    threads_end(x->offsets[x->B]);
    return error;
}

/* What the model made of examples from first on. */
static int check_finite(const Data *data, size_t first, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return fail("%s: examples from %zu on: the model's output is %g: its parameters are "
                        "damaged",
                        data->path, first, x[i]);
    return 0;
}

typedef struct {
    /* What is wanted, to be set before. */
    Bert *m;
    const char *path, *predict_file; /* of the model; of the data, NULL: lines */
    const char *pooling;             /* embed: model, mean, cls or pooler; NULL: predict */
    int normalize;
    Input in;        /* model, model_path, json, wants_pairs, max_length: of lines */
    Answers answers; /* rules, top_k, logits */
    Loader l;        /* batch: of a file */

    float *vectors; /* embed (batch, C) */
} Answering;

static int predict_batch(Answering *a, const BertBatch *x)
{
    const Data *data = a->l.data;
    const Lines *lines = data == &a->in.data ? &a->in.lines : NULL;
    const size_t first = a->l.first + (size_t)x->place;
    Bert *m = a->m;
    size_t numbers =
        bert_head_rows(m->config.task, (size_t)x->B, (size_t)x->offsets[x->B], (size_t)x->R) *
        bert_head_cols(&m->config);
    if (infer(m, x)) return fail("%s: %s", data->path, bert_error(m));
    if (check_finite(data, first, m->acts.logits, numbers)) return 1;
    answer_batch(&a->answers, m, data, lines, x, first);
    return fflush(stdout) || ferror(stdout); /* bert_main tells */
}

static int embed_batch(Answering *a, const BertBatch *x)
{
    Bert *m = a->m;
    const char *pooling = a->pooling, *path = a->l.data->path;
    size_t C = (size_t)m->config.C, n = (size_t)x->B * C;
    /* model: what sentence-transformers' modules made of it, or the mean */
    int own = !strcmp(pooling, "model"), mean = !strcmp(pooling, "mean"), normal = own ? -1 : 0;
    int kind = !strcmp(pooling, "cls") ? BERT_POOL_CLS : BERT_POOL_POOLER;
    kind = own ? BERT_POOL_DEFAULT : mean ? BERT_POOL_MEAN : kind;
    if (infer(m, x) || bert_embed(m, a->vectors, kind, a->normalize ? 1 : normal))
        return fail("%s: %s", path, bert_error(m));
    if (check_finite(a->l.data, a->l.first + (size_t)x->place, a->vectors, n)) return 1;
    for (size_t i = 0; i < n; i++) {
        put_float(i % C ? ", " : "{\"embedding\": [", a->vectors[i]);
        if (i % C == C - 1) puts("]}");
    }
    return fflush(stdout) || ferror(stdout);
}

/* All that the loader has: a file, or lines that were read. */
static int answer_all(Answering *a)
{
    Loader *l = &a->l;
    double start = seconds();
    do {
        int failed = loader_step(l, 0);
        for (size_t i = 0; i < l->num_batches && !failed; i++)
            failed = a->pooling ? embed_batch(a, &l->batches[i]) : predict_batch(a, &l->batches[i]);
        if (failed) return 1;
        if (l->data == &l->files.data && l->num_batches && !isatty(STDOUT_FILENO))
            progress(a->pooling ? "embed" : "predict", l->first + l->step_items, l->n, start);
    } while (!l->ended);
    return 0;
}

static int answer_lines(Answering *a)
{
    while (read_lines(&a->in)) {
        text_data(&a->in);
        loader_lines(&a->l, &a->in.data);
        if (answer_all(a)) return 1;
    }
    return text_end(&a->in);
}

/* Is the model one that can answer, and memory for its batches. */
static int answer_start(Answering *a)
{
    const int text = !a->predict_file, embed = a->pooling != NULL;
    Bert *m = a->m;
    Loader *l = &a->l;
    if (!text && (a->in.json || a->in.wants_pairs || a->in.max_length))
        return fail("--json, --pair and --max_length go with text on standard input, not with "
                    "--predict_file");
    const int task = embed ? BERT_NONE : predicted_task(&m->config);
    if (text ? text_start(&a->in, task, embed) : loader_file(l, a->predict_file)) return 1;
    const Data *data = text ? &a->in.data : l->data;
    if (draws_pairs(data->task))
        return fail("%s: sentences to be paired are no inputs: make data for mlm", data->path);
    if (embed && bert_set_task(m, BERT_NONE, 0, 0, NULL, 0)) return fail("%s", bert_error(m));
    if (!embed && check_head(m, a->path, data)) return 1;
    if (a->answers.logits && bert_task(data->task)->cols != BERT_COLS_K)
        return fail("--logits goes with classification, regression, ner and multiple_choice");
    if (text && has_masks(data->task) && m->tokenizer.settings[BERT_ID_MASK] < 0)
        return fail("%s: its vocabulary has no [MASK]", a->path);
    if (text) l->batch = MOST_LINES, l->most_tokens = MOST_TOKENS;
    else l->batch = zmin(l->batch, data->n);
    if (embed) a->vectors = take(zmul(l->batch, (size_t)m->config.C), sizeof(float), "vectors");
    return loader_room(l, l->batch, (size_t)(text ? a->in.how.max_length : data->longest),
                       SIZE_MAX);
}

static int answer(Answering *a)
{
    a->l.model = a->m, a->l.group = 1, a->l.predicting = 1;
    int result = answer_start(a);
    if (!result) result = a->predict_file ? answer_all(a) : answer_lines(a);
    loader_free(&a->l), input_free(&a->in), answers_free(&a->answers);
    free(a->vectors);
    return result;
}

/* encode: the ids of lines. */
static int encode_lines(Input *in)
{
    const BertEncoding *e = &in->e;
    int failed = text_start(in, BERT_NONE, 0);
    while (!failed && read_lines(in)) {
        for (int b = 0; b < e->B; b++)
            for (int t = e->offsets[b]; t < e->offsets[b + 1]; t++)
                printf("%d%c", e->tokens[t], t + 1 < e->offsets[b + 1] ? ' ' : '\n');
        failed = fflush(stdout) || ferror(stdout);
    }
    if (!failed) failed = text_end(in);
    input_free(in);
    return failed;
}
#endif
