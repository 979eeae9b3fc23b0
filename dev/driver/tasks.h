/*
tasks.h - what the driver does for each task: what it collects of a model's outputs, measures and
reports.

    Evaluation e = {.rules = {.n_best = 20, .longest = 30}};
    evaluation_room(&e, &data);
    evaluation_clear(&e, &data);
    ... bert_forward(&m, &batch, 0), pack_outputs(&acts, packed, &m, &batch, 1),
        collect_batch(&e, &m, &data, &batch, &acts, 0) for each batch ...
    tasks[data.task].measure(&e, &data);
    evaluation_free(&e);
*/
#ifndef TASKS_H
#define TASKS_H

#include "outputs.h"
#include "squad.h"

/* ------------------------------------------------------------------------------------------------
   An evaluation */

enum { MAX_METRICS = 8, MOST_COLUMNS = 20 };

/* Questions of one kind: how many, and the sums of their scores. */
typedef struct {
    double n, exact, f1;
} SquadSum;

/* What an evaluation counts, and the metrics that come of it. */
typedef struct {
    double loss;        /* the mean */
    LabelCount *counts; /* (K): of each label; ner: of each type, at the first label that has it */
    size_t confusion[MOST_COLUMNS][MOST_COLUMNS]; /* true label, predicted one */
    double *values;                               /* regression (n) */
    Tag *tags;                                    /* ner (K) */
    Tally labelled;                    /* ner: words that have a label; multiple_choice: examples */
    SquadSum answerable, unanswerable; /* qa */
    Tally masks, pairs[2];             /* mlm; b follows a, b is another document's */

    Packed packed; /* the outputs of a step's batches */

    Rules rules;         /* qa: to be set before */
    BertAnswers answers; /* of the question whose windows are being read */

    int num_metrics;
    struct {
        const char *name;
        double value;
    } metrics[MAX_METRICS]; /* best.bin goes by the first one: higher is better */
} Evaluation;

static void add_metric(Evaluation *e, const char *name, double value)
{
    e->metrics[e->num_metrics].name = name;
    e->metrics[e->num_metrics++].value = value;
}

/* Memory for what an evaluation of this data counts. */
static void evaluation_room(Evaluation *e, const Data *d)
{
    e->counts = take((size_t)d->K, sizeof *e->counts, "the counts of labels");
    if (d->tags) e->tags = tags_of(&d->names);
    if (d->targets) e->values = take(d->n, sizeof *e->values, "predictions");
}

/* Nothing is counted yet. */
static void evaluation_clear(Evaluation *e, const Data *d)
{
    const Evaluation empty = {.counts = e->counts,
                              .values = e->values,
                              .tags = e->tags,
                              .packed = e->packed,
                              .rules = e->rules};
    *e = empty;
    memset(e->counts, 0, (size_t)d->K * sizeof *e->counts);
}

static void evaluation_free(Evaluation *e)
{
    free(e->counts), free(e->tags), free(e->values);
    free(e->packed.all), free(e->packed.sizes), free(e->packed.begins);
}

/* ------------------------------------------------------------------------------------------------
   The tasks */

enum { WIDEST_NAME = 40 };

static int name_width(const BertStrings *names)
{
    int width = 12;
    for (size_t k = 0; k < names->count; k++)
        width = imax(width, put_part(NULL, bert_string(names, k), WIDEST_NAME));
    return width;
}

/* A row for each label or type: how well it is found, how often it is true. */
static void print_counts(FILE *f, BertText name, int width, LabelCount c)
{
    print_name(f, name, width, width);
    fprintf(f, "  %.4f     %.4f  %.4f  %-6.0f", precision(c), recall(c), f1_score(c), c.truth);
}

/* -- classification: softmax and cross-entropy over K labels; multi-label: each by itself -- */

static void classification_collect(Evaluation *e, const Output *out)
{
    const int K = out->m->config.K;
    if (out->d->multi_label) {
        count_labels(e->counts, out->x->targets + (size_t)out->b * (size_t)K, out->logits, K);
        return;
    }
    const int truth = out->x->labels[out->b], predicted = bert_argmax(out->logits, K);
    count_label(e->counts, truth, predicted);
    if (K <= MOST_COLUMNS) e->confusion[truth][predicted]++;
}

static void add_micro(Evaluation *e, size_t K)
{
    const LabelCount sum = sum_counts(e->counts, K);
    add_metric(e, "f1", f1_score(sum));
    add_metric(e, "precision", precision(sum));
    add_metric(e, "recall", recall(sum));
}

static void classification_measure(Evaluation *e, const Data *d)
{
    const size_t K = (size_t)d->K;
    if (d->multi_label) {
        add_micro(e, K);
        return;
    }
    add_metric(e, "accuracy", recall(sum_counts(e->counts, K)));
    add_metric(e, "macro_f1", macro_f1(e->counts, K));
    if (K == 2) add_metric(e, "f1", f1_score(e->counts[1])); /* of the second label */
    add_metric(e, "matthews_correlation", matthews_correlation(e->counts, K));
}

/* With the confusion matrix, where its K columns can be read, and a terminal has room for them. */
static void classification_report(FILE *f, const Evaluation *e, const Data *d)
{
    const int terminal = terminal_columns(STDOUT_FILENO), widest = 16;
    size_t K = (size_t)d->K;
    int width = name_width(&d->names), matrix = K <= MOST_COLUMNS && !d->multi_label, wide = 35;
    int columns[MOST_COLUMNS];
    for (size_t k = 0; matrix && k < K; k++) {
        columns[k] = imax(6, put_part(NULL, bert_string(&d->names, k), widest));
        wide += 2 + columns[k];
    }
    if (matrix && terminal && width + wide > terminal) {
        fprintf(f, "\nThe confusion matrix needs a terminal of %d columns, or a pipe.",
                width + wide);
        matrix = 0;
    }
    fprintf(f, "\n%-*s  precision  recall  f1      count%s\n", width, "true label",
            matrix ? "   confusion matrix: predicted as" : "");
    for (size_t k = 0; matrix && k < K; k++) {
        fprintf(f, "%*s", k ? 2 : width + 37, "");
        print_name(f, bert_string(&d->names, k), columns[k], columns[k]);
    }
    if (matrix) fprintf(f, "\n");
    for (size_t k = 0; k < K; k++) {
        print_counts(f, bert_string(&d->names, k), width, e->counts[k]);
        for (size_t j = 0; matrix && j < K; j++)
            fprintf(f, "  %-*zu", columns[j], e->confusion[k][j]);
        fprintf(f, "\n");
    }
}

/* -- regression: one number -- */

static void regression_collect(Evaluation *e, const Output *out)
{
    e->values[out->item] = *out->logits;
}

static void regression_measure(Evaluation *e, const Data *d)
{
    double *truth = take(d->n, sizeof *truth, "values");
    for (size_t i = 0; i < d->n; i++) truth[i] = d->targets[i];
    add_metric(e, "pearson", pearson(e->values, truth, d->n));
    add_metric(e, "spearmanr", spearman(e->values, truth, d->n));
    add_metric(e, "mse", mean_squared_error(e->values, truth, d->n));
    free(truth);
}

/* -- ner: a label for each word, on its first piece -- */

static void ner_collect(Evaluation *e, const Output *out)
{
    const int K = out->m->config.K, T = out->T, *truth = out->x->labels + out->first;
    int *predicted = take((size_t)T, sizeof *predicted, "predictions");
    for (int t = 0; t < T; t++) {
        predicted[t] = bert_argmax(out->logits + (size_t)t * (size_t)K, K);
        if (truth[t] >= 0) tally(&e->labelled, truth[t] == predicted[t], 0);
    }
    count_entities(e->counts, e->tags, truth, predicted, (size_t)T);
    free(predicted);
}

static void ner_measure(Evaluation *e, const Data *d)
{
    add_micro(e, (size_t)d->K);
    add_metric(e, "accuracy", ratio(e->labelled.right, e->labelled.n));
}

static void ner_report(FILE *f, const Evaluation *e, const Data *d)
{
    int width = name_width(&d->names);
    fprintf(f, "\n%-*s  precision  recall  f1      count\n", width, "true entity");
    for (int k = 0; k < d->K; k++) {
        if (e->counts[k].truth + e->counts[k].predicted == 0) continue;
        print_counts(f, bert_tag(&d->names, k).type, width, e->counts[k]);
        fprintf(f, "\n");
    }
}

/* -- qa: a span of the context, over all its windows -- */

static void qa_collect(Evaluation *e, const Output *out)
{
    const Data *d = out->d;
    BertText text = {"", 0};
    if (!add_window(&e->answers, &e->rules, out)) return;
    int answer = bert_answers_end(&e->answers, e->rules.threshold);
    size_t first = d->answers[out->question], count = d->answers[out->question + 1] - first;
    if (answer >= 0) {
        const BertAnswer *span = &e->answers.best[answer];
        text = text_part(out->text, span->start, span->end);
    }
    SquadScore score = squad_score(&out->m->tokenizer, text, &d->golds, first, count, d->may_lack);
    SquadSum *sum = count ? &e->answerable : &e->unanswerable;
    sum->n++, sum->exact += score.exact, sum->f1 += score.f1;
}

/* In percent, as the scripts print them. */
static void add_squad(Evaluation *e, const char *f1, const char *exact, SquadSum s)
{
    add_metric(e, f1, 100 * ratio(s.f1, s.n));
    add_metric(e, exact, 100 * ratio(s.exact, s.n));
}

static void qa_measure(Evaluation *e, const Data *d)
{
    const SquadSum has = e->answerable, no = e->unanswerable;
    const SquadSum all = {no.n + has.n, no.exact + has.exact, no.f1 + has.f1};
    add_squad(e, "f1", "exact_match", all);
    if (!d->may_lack) return;
    add_squad(e, "HasAns_f1", "HasAns_exact", has);
    add_squad(e, "NoAns_f1", "NoAns_exact", no);
}

/* -- mlm and pretraining: words behind masks; does the second text follow the first? -- */

static void masked_collect(Evaluation *e, const Output *out)
{
    const BertActs *a = out->acts;
    const BertBatch *x = out->x;
    const int b = out->b;
    for (int r = out->row; r < out->end_row; r++) tally(&e->masks, a->logits[r] != 0, a->losses[r]);
    if (x->next)
        tally(&e->pairs[x->next[b]], (a->nsp[2 * b + 1] > a->nsp[2 * b]) == x->next[b],
              a->nsplosses[b]);
}

static void masked_measure(Evaluation *e, const Data *d)
{
    const Tally masks = e->masks, pairs = tally_sum(e->pairs[0], e->pairs[1]);
    const double mlm = ratio(masks.loss, masks.n), nsp = ratio(pairs.loss, pairs.n);
    e->loss = mlm + nsp;
    add_metric(e, "masked_accuracy", ratio(masks.right, masks.n));
    add_metric(e, "perplexity", exp(mlm));
    if (!draws_pairs(d->task)) return;
    add_metric(e, "mlm_loss", mlm);
    add_metric(e, "nsp_loss", nsp);
    add_metric(e, "nsp_accuracy", ratio(pairs.right, pairs.n));
}

/* The mean of the two recalls is 0.5 for a model that has learned nothing, whatever it answers. */
static void pretraining_report(FILE *f, const Evaluation *e, const Data *d)
{
    static const char *const names[2] = {"follows", "random"};
    (void)d;
    fprintf(f, "\n%-11s  precision  recall  f1      count\n", "second text");
    for (int k = 0; k < 2; k++) {
        const Tally is = e->pairs[k], other = e->pairs[1 - k];
        const LabelCount counts = {is.n, is.right + other.n - other.right, is.right};
        print_counts(f, text_of(names[k]), 11, counts);
        fprintf(f, "\n");
    }
}

/* -- multiple choice: whole examples are in a batch, so their logits stand side by side -- */

static void choice_collect(Evaluation *e, const Output *out)
{
    const int n = out->x->choices;
    if (!out->begins) return;
    tally(&e->labelled, bert_argmax(out->logits, n) == out->x->labels[out->b / n], 0);
}

static void choice_measure(Evaluation *e, const Data *d)
{
    (void)d;
    add_metric(e, "accuracy", ratio(e->labelled.right, e->labelled.n));
}

typedef struct {
    void (*collect)(Evaluation *e, const Output *out); /* what metrics need of an example */
    void (*measure)(Evaluation *e, const Data *d);     /* the metrics */
    void (*report)(FILE *f, const Evaluation *e, const Data *d); /* details, or NULL */
} Task;

static const Task tasks[BERT_NUM_TASKS] = {
    [BERT_CLASSIFICATION] = {classification_collect, classification_measure, classification_report},
    [BERT_REGRESSION] = {regression_collect, regression_measure, NULL},
    [BERT_NER] = {ner_collect, ner_measure, ner_report},
    [BERT_QA] = {qa_collect, qa_measure, NULL},
    [BERT_MLM] = {masked_collect, masked_measure, NULL},
    [BERT_PRETRAINING] = {masked_collect, masked_measure, pretraining_report},
    [BERT_MULTIPLE_CHOICE] = {choice_collect, choice_measure, NULL},
};

/* The packed outputs of a batch, whose first example is that one of the data. */
static void collect_batch(Evaluation *e, const Bert *m, const Data *data, const BertBatch *x,
                          const BertActs *acts, size_t first)
{
    Output out = {.m = m, .acts = acts, .d = data, .x = x, .item = first};
    while (next_output(&out)) tasks[data->task].collect(e, &out);
}

#endif
