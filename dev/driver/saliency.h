/*
saliency.h - what a model predicts for one text, and which of its tokens that hangs on: as JSON that
stands in HTML, for inspect.h.

    ... i->x is the text, and m's last forward was of it ...
    if (put_prediction(&i)) ...
*/
#ifndef SALIENCY_H
#define SALIENCY_H

#include "answering.h"
#include "html.h"

enum { MOST_WORDS = 5, MOST_TARGETS = 8, MOST_LABELS = 20 };

typedef struct {
    /* What is wanted, to be set before. */
    Bert *m;
    const char *path, *text, *output_file; /* of the model; text NULL: a line of standard input */
    Input in;                              /* model, model_path, json, wants_pairs, max_length */
    Rules rules;                           /* qa */

    FILE *f;          /* the JSON so far */
    int task, T;      /* of the model, as it came; tokens */
    int offsets[2];   /* {0, T} */
    BertSpan *spans;  /* (T) */
    BertBatch x;      /* the text, the first window of a context, or one of several choices */
    char about[1000]; /* the prediction, for the terminal */
} Inspection;

/* ------------------------------------------------------------------------------------------------
   Names, and the forward */

static BertText piece_of(const Bert *m, int id)
{
    static char number[32];
    if ((size_t)id < m->tokenizer.vocabulary.count)
        return bert_string(&m->tokenizer.vocabulary, (size_t)id);
    snprintf(number, sizeof number, "#%d", id); /* V may exceed the vocabulary */
    return text_of(number);
}

/* One of the sequences that were encoded is the one to look into. */
static void one_sequence(Inspection *i, int b)
{
    const BertEncoding *e = &i->in.e;
    const int from = e->offsets[b];
    i->T = i->offsets[1] = e->offsets[b + 1] - from, i->spans = e->spans + from;
    i->x = (BertBatch){.B = 1,
                       .tokens = e->tokens + from,
                       .types = e->types + from,
                       .offsets = i->offsets,
                       .divisor = 1};
}

static int forward(const Inspection *i, const BertBatch *x, int training)
{
    int layer = -1;
    Bert *m = i->m;
    if (bert_forward(m, x, training)) return fail("%s: %s", i->path, bert_error(m));
    if (!bert_not_finite(m, &layer)) return 0;
    tell_not_finite(m);
    return fail("%s: its parameters are damaged", i->path);
}

/* ------------------------------------------------------------------------------------------------
   Saliency: gradient times input (Shrikumar et al. 2016) of what is predicted. The model is linear
   enough near x that x . d y / d x is about what the token adds to y. The input is the token's word
   embedding; that of its position and type stay as they are. */

/* scale times a loss, -log p of its labels or targets, is y; of is what y is called. */
static int put_target(Inspection *i, int first, const BertBatch *x, float scale, const char *of)
{
    Bert *m = i->m;
    const size_t C = (size_t)m->config.C;
    float *saliency = take((size_t)i->T, sizeof *saliency, "saliency");
    if (bert_forward(m, x, 1) || bert_backward(m, scale))
        return free(saliency), fail("%s: %s", i->path, bert_error(m));
    const float *demb = m->acts.spare1; /* (T,C), and of the word embeddings the same */
    for (int t = 0; t < i->T; t++) {
        const float *word = m->params.wte + (size_t)x->tokens[t] * C;
        double sum = 0;
        for (size_t c = 0; c < C; c++) sum += (double)demb[(size_t)t * C + c] * word[c];
        saliency[t] = (float)sum;
    }
    html_string(i->f, first ? "{\"of\": " : ",\n{\"of\": ", text_of(of));
    html_floats(i->f, ", \"saliency\": [", saliency, i->T), fputs("}", i->f);
    free(saliency);
    return 0;
}

/* What a target is called. */
static const char *name_of(const char *format, ...)
{
    static char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}
#define SHORT(text) (int)zmin((text).size, 200), (text).bytes /* for %.*s */

/* ------------------------------------------------------------------------------------------------
   Predictions: lists of names and scores; then the targets, of which saliency is shown */

static void begin_list(const Inspection *i, const char *before, const char *title)
{
    html_string(i->f, before, text_of(title));
    fputs(", \"rows\": [", i->f);
}
#define FIRST_LIST ",\n\"prediction\": [{\"title\": "
#define NEXT_LIST "]},\n{\"title\": "
#define TARGETS "]}],\n\"targets\": ["

/* The first of the rows goes to the terminal too. */
static void put_row(Inspection *i, int first, BertText name, double score)
{
    html_item(i->f, first, name, score);
    if (first && !i->about[0])
        snprintf(i->about, sizeof i->about, "%.*s%s%.4f", (int)zmin(name.size, 900), name.bytes,
                 name.size ? "  " : "", score);
}

static int inspect_labels(Inspection *i)
{
    Bert *m = i->m;
    const int K = m->config.K, multi = m->config.multi_label;
    int order[MOST_LABELS], failed = 0;
    const int n = bert_top_k(order, NULL, m->acts.logits, K, MOST_LABELS);
    float *p = take((size_t)K, sizeof *p, "probabilities");
    memcpy(p, m->acts.probs, (size_t)K * sizeof *p);
    begin_list(i, FIRST_LIST, multi ? "labels, each by itself" : "label");
    for (int j = 0; j < n; j++) put_row(i, !j, label_of(&m->labels, order[j]), p[order[j]]);
    fputs(TARGETS, i->f);
    for (int j = 0; j < imin(n, MOST_TARGETS) && !failed; j++) {
        BertBatch x = i->x;
        const int k = order[j];
        const BertText name = label_of(&m->labels, k);
        const float kept = p[k];
        if (multi) x.targets = p, p[k] = 1; /* the others are what they should be: no gradient */
        else x.labels = &order[j];
        failed = put_target(i, !j, &x, multi ? (float)-K : -1, name_of("log p(%.*s)", SHORT(name)));
        p[k] = kept;
    }
    free(p);
    return failed;
}

/* The gradient of a logit, from that of (logit - target)^2, 2 (logit - target). */
static int put_logit(Inspection *i, const char *of)
{
    const float target = *i->m->acts.logits - 0.5f;
    BertBatch x = i->x;
    x.targets = &target;
    return put_target(i, 1, &x, 1, of);
}

static int inspect_value(Inspection *i)
{
    const double value = *i->m->acts.logits;
    const int sigmoid = i->m->config.activation_out == BERT_OUT_SIGMOID;
    begin_list(i, FIRST_LIST, sigmoid ? "label" : "value");
    if (sigmoid) put_row(i, 1, label_of(&i->m->labels, 0), 1 / (1 + exp(-value)));
    else put_row(i, 1, text_of(""), value);
    fputs(TARGETS, i->f);
    return put_logit(i, sigmoid ? "the logit" : "the value");
}

/* multiple_choice: the best of the choices is looked into, as a text with a value. */
static int inspect_choices(Inspection *i)
{
    Bert *m = i->m;
    const int n = i->in.e.B, best = bert_argmax(m->acts.logits, n);
    const BertText *texts = i->in.lines.choices.all;
    double *scores = take((size_t)n, sizeof *scores, "scores");
    softmax(scores, m->acts.logits, n);
    begin_list(i, FIRST_LIST, "choice");
    put_row(i, 1, texts[best], scores[best]);
    for (int b = 0; b < n; b++)
        if (b != best) put_row(i, 0, texts[b], scores[b]);
    fputs(TARGETS, i->f);
    free(scores);
    one_sequence(i, best);
    i->in.parts[1] = i->in.lines.choices.all[best];
    if (bert_set_task(m, BERT_REGRESSION, 1, 0, NULL, 0))
        return fail("%s: %s", i->path, bert_error(m));
    return forward(i, &i->x, 0) || put_logit(i, "the logit of the choice");
}

/* Each token's label; then the entities, of which the saliency is, or of all tokens' labels. */
static int inspect_entities(Inspection *i)
{
    Bert *m = i->m;
    const int T = i->T, K = m->config.K;
    int *best = take((size_t)T, sizeof *best, "labels"),
        *labels = take((size_t)T, sizeof *labels, "");
    BertEntity *found = take((size_t)T, sizeof *found, "entities");
    const int n = bert_entities(found, m->acts.logits, i->in.data.spans, T, K, &m->labels);
    const BertText text = i->in.lines.line[0].text;
    BertBatch x = i->x;
    int failed = 0;
    x.labels = labels;
    for (int t = 0; t < T; t++) {
        best[t] = bert_argmax(m->acts.logits + (size_t)t * (size_t)K, K);
        fputs(t ? "," : ",\n\"tags\": [", i->f);
        html_item(i->f, 1, label_of(&m->labels, best[t]),
                  m->acts.probs[(size_t)t * (size_t)K + (size_t)best[t]]);
    }
    begin_list(i, "]" FIRST_LIST, n ? "entities" : "no entity");
    for (int j = 0; j < n; j++) {
        const BertText word = text_part(text, found[j].start, found[j].end);
        const BertText kind = entity_kind(&m->labels, found[j].label);
        put_row(i, !j, text_of(name_of("%.*s: %.*s", SHORT(kind), SHORT(word))), found[j].score);
    }
    fputs(TARGETS, i->f);
    for (int j = 0; j < imax(1, imin(n, MOST_TARGETS)) && !failed; j++) {
        const int first = n ? found[j].first : 1, last = n ? found[j].last : T - 2;
        const BertText kind = n ? entity_kind(&m->labels, found[j].label) : text_of("all labels");
        for (int t = 0; t < T; t++) labels[t] = t >= first && t <= last ? best[t] : -1;
        failed = put_target(i, !j, &x, -1,
                            name_of("log p(%.*s), token %d to %d", SHORT(kind), first, last));
    }
    free(best), free(labels), free(found);
    return failed;
}

static int inspect_answer(Inspection *i)
{
    Bert *m = i->m;
    const float *logits = m->acts.logits;
    const int32_t *spans = i->in.data.spans;
    BertAnswers a = {
        .n_best = 1, .max_tokens = i->rules.longest, .may_lack = i->rules.may_lack, .by_window = 1};
    bert_answers_add(&a, logits, spans, i->T);
    const int none = !a.count || (a.may_lack && a.none.score > a.best[0].score);
    const BertAnswer answer = none ? a.none : a.best[0];
    const BertText text = none ? text_of("") : found_text(i->in.lines.line[0].text, answer);
    int labels[2] = {0, 0}; /* [CLS]: no answer */
    for (int t = i->T - 1; t > 0 && !none; t--) {
        if (spans[2 * t] == answer.start && logits[2 * t] == answer.start_logit) labels[0] = t;
        if (spans[2 * t + 1] == answer.end && logits[2 * t + 1] == answer.end_logit) labels[1] = t;
    }
    BertBatch x = i->x;
    x.labels = labels;
    begin_list(i, FIRST_LIST, none ? "no answer" : "answer");
    put_row(i, 1, text, answer.score);
    fputs(TARGETS, i->f);
    return put_target(
        i, 1, &x, -2,
        name_of("log p(begins at token %d) + log p(ends at token %d)", labels[0], labels[1]));
}

/* The words that the head puts in each token's place; and in the place of each [MASK]. */
static int inspect_words(Inspection *i)
{
    Bert *m = i->m;
    const int T = i->T, V = m->config.V, mask = m->tokenizer.settings[BERT_ID_MASK];
    int *ids = take((size_t)T * MOST_WORDS, sizeof *ids, "words"), n = 0, masks = 0, failed = 0;
    float *p = take((size_t)T * MOST_WORDS, sizeof *p, "their probabilities");
    for (int t = 0; t < T; t++) {
        n = bert_top_k(ids + t * MOST_WORDS, p + t * MOST_WORDS,
                       m->acts.logits + (size_t)t * (size_t)V, V, MOST_WORDS);
        fputs(t ? "],\n[" : ",\n\"words\": [[", i->f);
        for (int j = 0; j < n; j++)
            html_item(i->f, !j, piece_of(m, ids[t * MOST_WORDS + j]), p[t * MOST_WORDS + j]);
    }
    fputs("]]", i->f);
    for (int t = 0; t < T; t++) {
        if (i->x.tokens[t] != mask) continue;
        begin_list(i, masks++ ? NEXT_LIST : FIRST_LIST, name_of("[MASK], token %d", t));
        for (int j = 0; j < n; j++)
            put_row(i, !j, piece_of(m, ids[t * MOST_WORDS + j]), p[t * MOST_WORDS + j]);
    }
    if (!masks) begin_list(i, FIRST_LIST, "no [MASK] in the text");
    fputs(TARGETS, i->f);
    for (int t = 0, k = 0; t < T && k < MOST_TARGETS && !failed; t++) {
        if (i->x.tokens[t] != mask) continue;
        const BertText word = piece_of(m, ids[t * MOST_WORDS]);
        BertBatch x = i->x;
        x.R = 1, x.rows = &t, x.labels = &ids[t * MOST_WORDS];
        failed = put_target(i, !k++, &x, -1, name_of("log p(%.*s) at token %d", SHORT(word), t));
    }
    free(ids), free(p);
    return failed;
}

static int (*const inspect_of[BERT_NUM_TASKS])(Inspection *i) = {
    [BERT_CLASSIFICATION] = inspect_labels,
    [BERT_REGRESSION] = inspect_value,
    [BERT_NER] = inspect_entities,
    [BERT_QA] = inspect_answer,
    [BERT_MLM] = inspect_words,
    [BERT_MULTIPLE_CHOICE] = inspect_choices,
};

/* What the head says of the text: predict's answer, and the saliency of it. */
static int put_prediction(Inspection *i)
{
    Bert *m = i->m;
    BertBatch x = i->x;
    const int choices = i->task == BERT_MULTIPLE_CHOICE, masked = has_masks(m->config.task);
    int *rows = take((size_t)i->T, sizeof *rows, "rows");
    for (int t = 0; t < i->T; t++) rows[t] = t;
    if (masked) x.R = i->T, x.rows = rows; /* words for each token, not for [MASK] alone */
    if (choices)
        x.B = i->in.e.B, x.tokens = i->in.e.tokens, x.types = i->in.e.types,
        x.offsets = i->in.e.offsets;
    text_data(&i->in);
    const int failed = forward(i, &x, 0) || inspect_of[m->config.task](i);
    fputs("]", i->f);
    free(rows);
    return failed;
}

#endif
