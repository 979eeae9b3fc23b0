/*
outputs.h - what a model made of a batch, example by example, and the windows of a question taken
together; tasks.h measures it, answers.h shows it.

    Output out = {.m = &m, .acts = &m.acts, .d = &data, .x = &batch, .item = 0};
    while (next_output(&out)) ... out.logits ...
*/
#ifndef OUTPUTS_H
#define OUTPUTS_H

#include "text.h"

/* An example of a batch, and what the model made of it. */
typedef struct {
    const Bert *m;
    const BertActs *acts; /* what it made of the batch */
    const Data *d;
    const Lines *lines; /* where the data is lines of text; NULL: it is a file */
    const BertBatch *x;
    size_t item;          /* its place in the data */
    int b, first, T;      /* and in the batch; its first token there, and how many it has */
    int row, end_row;     /* of the batch's masked rows those that are its own */
    const float *logits;  /* its rows: (1,K), ner (T,K), qa (T,2), mlm (end_row-row,V); in
                             multiple_choice an example is a choice: (1,1) */
    const int32_t *spans; /* ner, qa (T,2): where its tokens are in ... */
    BertText text;        /* the sentence, context or choice */
    size_t question;      /* qa, multiple_choice: whose window or choice it is */
    int begins, ends;     /* it is the first, the last one of it */
} Output;

/* The group that an example is of. */
static size_t group_of(const Data *d, size_t example)
{
    size_t low = 0, high = (size_t)d->G;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (d->groups[middle] <= example) low = middle;
        else high = middle;
    }
    return low;
}

/* Its text, and of which question or line it is a window or choice. */
static void find_text(Output *out)
{
    const Data *d = out->d;
    const Lines *lines = out->lines;
    const size_t i = out->item, group = d->groups ? group_of(d, i) : i;
    if (d->spans) out->spans = d->spans + 2 * d->offsets[i];
    if (d->task == BERT_MULTIPLE_CHOICE) /* each has a text, not all of a group one */
        out->text = lines ? lines->choices.all[i] : bert_string(&d->texts, i);
    else out->text = lines ? lines->line[group].text : bert_string(&d->texts, group);
    if (!d->groups) return;
    out->question = group;
    out->begins = i == d->groups[group] && !(lines && lines->goes_on && group == 0);
    out->ends = i + 1 == d->groups[group + 1] && !(lines && lines->unfinished && i + 1 == d->n);
}

/* The next example of the batch that an Output was begun with; 0: there is none. */
static int next_output(Output *out)
{
    const BertBatch *x = out->x;
    const int reads = bert_task(out->m->config.task)->reads;
    const int of_tokens = reads & BERT_READS_TOKENS, of_masks = reads & BERT_READS_MASKED;
    if (out->T) out->b++, out->item++;
    if (out->b == x->B) return 0;
    out->first = x->offsets[out->b];
    out->T = x->offsets[out->b + 1] - out->first;
    out->row = out->end_row;
    while (out->end_row < x->R && x->rows[out->end_row] < out->first + out->T) out->end_row++;
    const int row = of_tokens ? out->first : of_masks ? out->row : out->b;
    out->logits = out->acts->logits + (size_t)row * bert_head_cols(&out->m->config);
    if (out->lines || out->d->texts.offsets) find_text(out);
    return 1;
}

/* ------------------------------------------------------------------------------------------------
   The loss: a sum of the rows' losses, one after the other in the order of examples, which is the
   same however they are cut into batches (a batch's own loss is rounded to a float) */

typedef struct {
    double rows, next; /* next: NSP's */
} LossSum;

static void add_losses(LossSum *sum, const BertActs *acts, const Bert *m, const BertBatch *x)
{
    const size_t n = bert_count_losses(&m->config, x), next = x->next ? (size_t)x->B : 0;
    for (size_t r = 0; r < n; r++) sum->rows += (double)acts->losses[r];
    for (size_t b = 0; b < next; b++) sum->next += (double)acts->nsplosses[b];
}

/* ------------------------------------------------------------------------------------------------
   What metrics read of a batch's outputs, in one array: ranks send it each other. Of mlm's logits
   it is only whether the highest is the right word's */

#define PACKED(X) X(logits, H *O) X(losses, losses) X(nsp, 2 * next) X(nsplosses, next)

/* Makes acts those that are at at. copied: they are brought there from the model's last forward.
   Returns how many floats there are; at NULL: only that. */
static size_t pack_outputs(BertActs *acts, float *at, const Bert *m, const BertBatch *x, int copied)
{
    const size_t B = (size_t)x->B, next = x->next ? B : 0, V = (size_t)m->config.V;
    const int task = m->config.task, masked = has_masks(task);
    const size_t H = bert_head_rows(task, B, (size_t)x->offsets[x->B], (size_t)x->R);
    const size_t O = masked ? 1 : bert_head_cols(&m->config);
    const size_t losses = bert_count_losses(&m->config, x);
    size_t n = 0;
#define PACKED_PART(name, count)                                                                   \
    if (at) acts->name = at + n;                                                                   \
    if (copied && (count) > 0) memcpy(at + n, m->acts.name, (count) * sizeof(float));              \
    n += count;
    PACKED(PACKED_PART)
    for (size_t r = 0; r < H && masked && copied; r++)
        acts->logits[r] = bert_argmax(m->acts.logits + r * V, (int)V) == x->labels[r];
    return n;
}

/* Those of several batches. */
typedef struct {
    float *all;
    size_t *sizes, *begins; /* of each batch, in floats; where in all they begin */
    size_t room, num, num_begins;
} Packed;

static void packed_room(Packed *p, const Bert *m, const BertBatch *x, size_t G)
{
    size_t n = 0;
    p->sizes = more(p->sizes, &p->num, G, sizeof *p->sizes, "outputs");
    p->begins = more(p->begins, &p->num_begins, G, sizeof *p->begins, "outputs");
    for (size_t i = 0; i < G; n += p->sizes[i++]) {
        p->begins[i] = n;
        p->sizes[i] = pack_outputs(NULL, NULL, m, &x[i], 0);
    }
    p->all = more(p->all, &p->room, n + 1, sizeof *p->all, "outputs"); /* never NULL */
}

/* ------------------------------------------------------------------------------------------------
   Questions, of files and of lines of text */

/* How questions are answered. */
typedef struct {
    int n_best, longest; /* spans to choose from, tokens of the longest */
    int may_lack;        /* though the data does not say so */
    double threshold;    /* no answer where [CLS] leads by more */
} Rules;

/* Characters start .. end-1 of a text */
static BertText text_part(BertText text, int start, int end)
{
    size_t at = 0, from = 0;
    for (int c = 0; c < end && at < text.size; c++) {
        if (c == start) from = at;
        bert_utf8(text.bytes, text.size, &at);
    }
    BertText part = {text.bytes + from, at > from && start < end ? at - from : 0};
    return part;
}

/* Takes a window into the search for its question's answers. 1: it was the last. */
static int add_window(BertAnswers *a, const Rules *rules, const Output *out)
{
    if (out->begins) {
        memset(a, 0, sizeof *a);
        a->n_best = rules->n_best, a->max_tokens = rules->longest;
        a->may_lack = rules->may_lack || out->d->may_lack;
        a->by_window = out->lines != NULL;
    }
    bert_answers_add(a, out->logits, out->spans, out->T);
    return out->ends;
}

#endif
