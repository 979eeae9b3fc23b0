/*
answers.h - predictions as JSON, one object for each example, as Hugging Face's pipelines have them.
*/
#ifndef ANSWERS_H
#define ANSWERS_H

#include "tasks.h"

/* The end of a prediction: the raw outputs, of ner a row for each token. */
static void put_end(const Output *out)
{
    const int K = out->m->config.K, ner = out->m->config.task == BERT_NER;
    if (out->o->logits) printf(ner ? ", \"logits\": [[" : ", \"logits\": [");
    const size_t n = (size_t)K * (ner ? (size_t)out->T : 1);
    for (size_t i = 0; out->o->logits && i < n; i++)
        printf("%s%.9g", i == 0 ? "" : ner && i % (size_t)K == 0 ? "], [" : ", ", out->logits[i]);
    if (out->o->logits) printf(ner ? "]]" : "]");
    puts("}");
}

/* What pipeline("text-classification") gives: the softmax, or each label's sigmoid. */
static void classification_predict(const Output *out)
{
    const BertStrings *names = &out->m->labels;
    const int K = out->m->config.K, multi = out->d->multi_label;
    const float *logits = out->logits, *sigmoids = out->m->acts.probs + (size_t)out->b * K;
    double sum = 0;
    int best, written = 0, highest[BERT_MOST_ANSWERS];
    int n = bert_top_k(highest, NULL, logits, K, (int)out->o->top_k);
    bert_top_k(&best, NULL, logits, K, 1);
    for (int k = 0; k < K; k++) sum += exp((double)logits[k] - logits[best]);
    if (multi) {
        printf("{\"labels\": [");
        for (int k = 0; k < K; k++)
            if (logits[k] > 0) put_label(written++ ? ", " : "", names, (size_t)k);
        printf("]");
    } else {
        put_label("{\"label\": ", names, (size_t)best);
        put_float(", \"score\": ", 1 / sum);
    }
    for (int i = 0; i < (n ? n : K); i++) { /* all in their order, or the best */
        int k = n ? highest[i] : i;
        put_label(i ? ", " : ", \"scores\": {", names, (size_t)k);
        put_float(": ", multi ? sigmoids[k] : exp((double)logits[k] - logits[best]) / sum);
    }
    putchar('}');
    put_end(out);
}

static void regression_predict(const Output *out)
{
    const int sigmoid = out->m->config.activation_out == BERT_OUT_SIGMOID; /* a cross-encoder */
    put_float("{\"value\": ", sigmoid ? 1.0 / (1.0 + exp(-(double)*out->logits)) : *out->logits);
    put_end(out);
}

/* An entity's tokens as the pipeline joins them, as WordPiece's decoder does, but for an [UNK],
   which is the text it stands for: ## goes on, no blank before . ? ! and the comma. */
static void put_word(const Output *out, const BertEntity *e)
{
    const BertTokenizer *t = &out->m->tokenizer;
    printf(", \"word\": \"");
    for (int i = e->first; i <= e->last; i++) {
        int id = out->x->tokens[out->first + i];
        if ((size_t)id >= t->vocabulary.count) continue;
        BertText piece = bert_string(&t->vocabulary, (size_t)id);
        if (id == t->words[BERT_ID_UNK])
            piece = text_part(out->d, out->item, out->spans[2 * i], out->spans[2 * i + 1]);
        int goes_on = i > e->first && piece.size > 2 && !memcmp(piece.bytes, "##", 2);
        if (goes_on) piece.bytes += 2, piece.size -= 2;
        else if (i > e->first && !(piece.size && strchr(".?!,", piece.bytes[0]))) putchar(' ');
        put_text(stdout, piece);
    }
    putchar('"');
}

/* Of a file's sentence, one blank between two words: a tag for each that has tokens, else null. */
static void put_tags(const Output *out, const int32_t *words)
{
    const BertText sentence = bert_string(&out->d->texts, out->item);
    const int K = out->m->config.K;
    int count = sentence.size > 0, t = 0, label;
    for (size_t i = 0; i < sentence.size; i++) count += sentence.bytes[i] == ' ';
    printf("], \"tags\": [");
    for (int word = 0; word < count; word++) {
        while (t < out->T && words[t] < word) t++;
        if (word) printf(", ");
        if (t < out->T && words[t] == word) {
            bert_top_k(&label, NULL, out->logits + (size_t)t * K, K, 1);
            put_label("", &out->m->labels, (size_t)label);
        } else printf("null");
    }
}

/* What pipeline("token-classification", aggregation_strategy="simple") gives. */
static void ner_predict(const Output *out)
{
    const BertStrings *names = &out->m->labels;
    const int T = out->T, K = out->m->config.K;
    const int32_t *words = out->d->words ? out->d->words + out->d->offsets[out->item] : NULL;
    BertEntity *found = take((size_t)T, sizeof *found, "entities");
    int n = bert_entities(found, out->logits, out->spans, T, K, names);
    printf("{\"entities\": [");
    for (int i = 0; i < n; i++) {
        const BertText name = bert_tag(names, found[i].label).name;
        printf(i ? ", {\"entity_group\": " : "{\"entity_group\": ");
        if (name.bytes) put_string("", name);
        else put_label("", names, (size_t)found[i].label);
        put_float(", \"score\": ", found[i].score);
        put_word(out, &found[i]);
        printf(", \"start\": %d, \"end\": %d}", found[i].start, found[i].end);
    }
    free(found);
    if (words) put_tags(out, words); /* text has none */
    printf("]");
    put_end(out);
}

static void put_span(const char *before, const Data *d, int question, BertAnswer span)
{
    printf("%s\"answer\": ", before);
    put_string("", text_part(d, (size_t)question, span.start, span.end));
    put_float(", \"score\": ", span.score);
    printf(", \"start\": %d, \"end\": %d", span.start, span.end);
}

/* The answer and, where n is 0 or more, a list of n. */
static void put_answers(const Data *d, int question, BertAnswer answer, const BertAnswer *best,
                        int n)
{
    put_span("", d, question, answer);
    if (n >= 0) printf(", \"nbest\": [");
    for (int i = 0; i < n; i++) put_span(i ? "}, {" : "{", d, question, best[i]);
    if (n >= 0) printf(n ? "}]" : "]");
}

/* Are two texts the same in lower case? */
static int same_lower(const BertTokenizer *t, BertText a, BertText b)
{
    uint32_t x[3] = {0}, y[3] = {0};
    size_t i = 0, j = 0;
    int same = 1;
    while (same && i < a.size && j < b.size) {
        int n = lower_case(t, x, 0, bert_utf8(a.bytes, a.size, &i), 0);
        same = n == lower_case(t, y, 0, bert_utf8(b.bytes, b.size, &j), 0) &&
               !memcmp(x, y, (size_t)n * sizeof *x);
    }
    return same && i == a.size && j == b.size;
}

/* Where an answer of these words is among those found, or the empty slot where it would be. */
static size_t *found_slot(const Output *out, BertText text)
{
    const Evaluation *e = out->e;
    uint64_t hash = 0;
    uint32_t letters[3];
    for (size_t at = 0; at < text.size;) {
        int n =
            lower_case(&out->m->tokenizer, letters, 0, bert_utf8(text.bytes, text.size, &at), 0);
        for (int i = 0; i < n; i++) hash = bert_mix64(hash ^ letters[i]);
    }
    size_t i = (size_t)hash & (e->num_slots - 1);
    while (e->slots[i] && !same_lower(&out->m->tokenizer, text, e->found[e->slots[i] - 1].text))
        i = (i + 1) & (e->num_slots - 1);
    return &e->slots[i];
}

/* An answer joins those found before; the same words found again add to the score. */
static void add_found(const Output *out, BertAnswer span, BertText text)
{
    Evaluation *e = out->e;
    if (2 * e->num_found >= e->num_slots) {
        e->num_slots = e->num_slots ? 2 * e->num_slots : 256;
        free(e->slots);
        e->slots = take(e->num_slots, sizeof *e->slots, "answers");
        for (size_t i = 0; i < e->num_found; i++) *found_slot(out, e->found[i].text) = i + 1;
    }
    size_t *slot = found_slot(out, text);
    if (*slot) {
        e->found[*slot - 1].span.score += span.score;
        return;
    }
    e->found = more(e->found, &e->found_room, e->num_found + 1, sizeof *e->found, "answers");
    e->found[e->num_found].span = span;
    e->found[e->num_found++].text = text;
    *slot = e->num_found;
}

/* Nothing is found yet. */
static void clear_found(Evaluation *e)
{
    if (e->num_found < e->num_slots / 16) { /* not for one long line's sake with every line */
        free(e->slots);
        e->slots = NULL, e->num_slots = 0;
    } else if (e->slots) memset(e->slots, 0, e->num_slots * sizeof *e->slots);
    e->num_found = 0;
}

/* Where starts and ends are a softmax each: top has the highest logits, sum those of exp. */
static double span_share(BertAnswer span, const float *top, const double *sum)
{
    return exp((double)span.start_logit - top[0]) / sum[0] *
           (exp((double)span.end_logit - top[1]) / sum[1]);
}

/* A window as the question-answering pipeline of transformers 4 reads it: the softmax is over the
   context's tokens and [CLS]; the best top_k products are answers. */
static void qa_text_window(const Output *out, BertText context, int top_k)
{
    const float *logits = out->logits;
    const int32_t *spans = out->spans, *bytes = spans + 2 * out->d->N;
    const int T = out->T;
    const int longest = out->o->max_answer_length ? (int)out->o->max_answer_length : 15;
    BertAnswers *a = &out->e->answers;
    BertAnswer none = {logits[0], logits[1], 0, 0, 0};
    double sum[2] = {0, 0};
    float top[2] = {logits[0], logits[1]};
    for (int t = 1; t < T; t++)
        for (int j = 0; j < 2 && spans[2 * t] >= 0; j++)
            if (logits[2 * t + j] > top[j]) top[j] = logits[2 * t + j];
    for (int t = 0; t < T; t++)
        for (int j = 0; j < 2 && (t == 0 || spans[2 * t] >= 0); j++)
            sum[j] += exp((double)logits[2 * t + j] - top[j]);
    a->none.score = fmin(a->none.score, span_share(none, top, sum));
    a->count = 0;
    for (int s = 1; s < T; s++)
        for (int e = s; e < T && e - s < longest; e++) {
            BertAnswer tokens = {logits[2 * s], logits[2 * e + 1], s, e, 0};
            if (spans[2 * s] >= 0 && spans[2 * e] >= 0) bert_answer_insert_(a, tokens, top_k);
        }
    for (int i = 0; i < a->count; i++) {
        BertAnswer span = a->best[i];
        int from = bytes[2 * span.start], to = bytes[2 * span.end + 1];
        BertText text = {context.bytes + from, (size_t)(to - from)};
        span.start = spans[2 * span.start], span.end = spans[2 * span.end + 1];
        span.score = span_share(span, top, sum);
        add_found(out, span, text);
    }
}

/* The answer or, with top_k, all of them beside it; with version_2_with_negative (the pipeline's
   handle_impossible_answer) an empty one is among them. */
static void qa_text_predict(const Output *out)
{
    const Data *d = out->d;
    Evaluation *e = out->e;
    const int question = question_of(out, 0), top_k = out->o->top_k ? (int)out->o->top_k : 1;
    const BertText id = d->lines[question].id, context = d->lines[question].text;
    const BertText empty = {context.bytes, 0};
    const BertAnswer nothing = {0};
    BertAnswers *a = &e->answers;
    int first = question_of(out, -1) != question && !(out->item == 0 && d->goes_on);
    int last = question_of(out, 1) != question && !(out->item + 1 == d->n && d->unfinished);
    if (first) {
        clear_found(e);
        a->none.score = 1; /* of the windows the lowest counts */
    }
    qa_text_window(out, context, top_k);
    if (!last) return;
    if (out->o->version_2_with_negative || out->m->config.may_lack) add_found(out, a->none, empty);
    printf("{");
    if (id.size && id.bytes[-1] == '"') put_string("\"id\": ", id);
    else if (id.size) printf("\"id\": "), fwrite(id.bytes, 1, id.size, stdout); /* a number */
    if (id.size) printf(", ");
    a->count = imin(top_k, (int)e->num_found);
    for (int i = 0; i < a->count; i++) {
        size_t best = 0;
        for (size_t j = 1; j < e->num_found; j++)
            if (e->found[j].span.score > e->found[best].span.score) best = j;
        a->best[i] = e->found[best].span;
        e->found[best].span.score = -1; /* taken */
    }
    put_answers(d, question, a->count ? a->best[0] : nothing, a->best,
                out->o->top_k ? a->count : -1);
    put_end(out);
}

static void qa_predict(const Output *out)
{
    const Data *d = out->d;
    BertAnswers *a = &out->e->answers;
    BertAnswer best = {0};
    if (d->lines) {
        qa_text_predict(out);
        return;
    }
    const int question = qa_window(out, out->m->config.may_lack);
    if (question < 0) return;
    int answer = bert_answers_end(a, out->o->null_score_diff_threshold);
    for (int i = a->count - 1; i >= 0 && answer < 0; i--)
        if (a->best[i].end == 0) best = a->best[i]; /* that there is none has a score too */
    if (answer >= 0) best = a->best[answer];
    put_string("{\"id\": ", bert_string(&d->ids, (size_t)question));
    printf(", ");
    put_answers(d, question, best, a->best, a->count);
    put_end(out);
}

/* What pipeline("fill-mask") gives, for each [MASK]; of an input without one: an empty list. */
static void masked_predict(const Output *out)
{
    const Bert *m = out->m;
    const int T = out->T, V = m->config.V, most = out->o->top_k ? (int)out->o->top_k : 5;
    const size_t room = 512 * (size_t)T; /* no piece is longer than a word of 100 characters */
    int ids[BERT_MOST_ANSWERS], *tokens = take((size_t)T, sizeof *tokens, "tokens"), masks = 0;
    float probs[BERT_MOST_ANSWERS];
    char *text = take(room, 1, "the text of an example");
    memcpy(tokens, out->x->tokens + out->first, (size_t)T * sizeof *tokens);
    for (int t = 0; t < T; t++) masks += tokens[t] == m->tokenizer.words[BERT_ID_MASK];
    printf("{\"masks\": [");
    for (int r = out->row; r < out->end_row; r++) {
        int *token = tokens + (out->x->rows[r] - out->first), mask = *token;
        int n = bert_top_k(ids, probs, m->acts.logits + (size_t)r * (size_t)V, V, most);
        printf(r > out->row ? ", [" : "[");
        for (int i = 0; i < n; i++) {
            put_float(i ? "}, {\"score\": " : "{\"score\": ", probs[i]);
            *token = ids[i];
            bert_decode(m, text, room, token, 1, 0, 0); /* too long: empty */
            printf(", \"token\": %d", ids[i]);
            put_string(", \"token_str\": ", text_of(text));
            bert_decode(m, text, room, tokens, T, masks == 1, 0);
            put_string(", \"sequence\": ", text_of(text));
        }
        printf(n ? "}]" : "]");
        *token = mask;
    }
    free(tokens), free(text);
    printf("]");
    put_end(out);
}

/* Writes a JSON object for an example, or none yet; NULL: the task has none. */
static void (*const predict_of[BERT_NUM_TASKS])(const Output *out) = {
    [BERT_CLASSIFICATION] = classification_predict,
    [BERT_REGRESSION] = regression_predict,
    [BERT_NER] = ner_predict,
    [BERT_QA] = qa_predict,
    [BERT_MLM] = masked_predict,
};

#endif
