/*
answers.h - predictions as JSON, one object for each example, as Hugging Face's pipelines have them.

    Answers a = {.rules = {.n_best = 20, .longest = 30}};
    ... bert_forward(&m, &batch, 0), answer_batch(&a, &m, &data, NULL, &batch, 0) for each batch ...
    answers_free(&a);
*/
#ifndef ANSWERS_H
#define ANSWERS_H

#include "found.h"
#include "outputs.h"

typedef struct {
    /* What is wanted, to be set before the first. */
    Rules rules;
    int top_k;  /* labels, words, answers; 0: all labels, 5 words, no list of answers from text */
    int logits; /* the raw outputs too */

    /* qa: of the question whose windows are being read */
    BertAnswers spans;
    Found found; /* text: in all windows so far */

    /* multiple_choice: of the example whose choices are being read */
    float *choices; /* logits */
    BertText *texts;
    size_t num_choices, choices_room, texts_room;
} Answers;

static void answers_free(Answers *a)
{
    found_free(&a->found);
    free(a->choices), free(a->texts);
}

/* n raw outputs, if they are wanted; in rows of so many, 0: in one list. */
static void put_logits(const Answers *a, const float *logits, size_t n, size_t row)
{
    if (!a->logits) return;
    printf(row ? ", \"logits\": [[" : ", \"logits\": [");
    for (size_t i = 0; i < n; i++)
        printf("%s%.9g", i == 0 ? "" : row && i % row == 0 ? "], [" : ", ", logits[i]);
    printf(row ? "]]" : "]");
}

/* The end of a prediction of K raw outputs. */
static void put_end(const Answers *a, const Output *out)
{
    put_logits(a, out->logits, (size_t)out->m->config.K, 0);
    puts("}");
}

/* ------------------------------------------------------------------------------------------------
   Texts */

/* A label's name; LABEL_0, LABEL_1, ... where the model's have none, as Hugging Face has it. */
static BertText label_of(const BertStrings *names, int k)
{
    static char number[32];
    if (names->count) return bert_string(names, (size_t)k);
    snprintf(number, sizeof number, "LABEL_%d", k);
    return text_of(number);
}

/* In double, as the pipelines' scores have more digits than a float's. */
static void softmax(double *scores, const float *logits, int n)
{
    const float top = logits[bert_argmax(logits, n)];
    double sum = 0;
    for (int i = 0; i < n; i++) sum += scores[i] = exp((double)logits[i] - top);
    for (int i = 0; i < n; i++) scores[i] /= sum;
}

/* What pipeline("text-classification") gives: the softmax, or each label's sigmoid. */
static void classification_predict(Answers *a, const Output *out)
{
    const BertStrings *names = &out->m->labels;
    const int K = out->m->config.K, best = bert_argmax(out->logits, K);
    const float *sigmoids = out->m->acts.probs + (size_t)out->b * (size_t)K;
    double *scores = take((size_t)K, sizeof *scores, "scores");
    int written = 0, highest[BERT_MOST_ANSWERS];
    const int n = bert_top_k(highest, NULL, out->logits, K, a->top_k);
    if (out->d->multi_label) {
        for (int k = 0; k < K; k++) scores[k] = sigmoids[k];
        printf("{\"labels\": [");
        for (int k = 0; k < K; k++)
            if (out->logits[k] > 0) put_string(written++ ? ", " : "", label_of(names, k));
        printf("]");
    } else {
        softmax(scores, out->logits, K);
        put_string("{\"label\": ", label_of(names, best));
        put_float(", \"score\": ", scores[best]);
    }
    for (int i = 0; i < (n ? n : K); i++) { /* all in their order, or the best */
        const int k = n ? highest[i] : i;
        put_string(i ? ", " : ", \"scores\": {", label_of(names, k));
        put_float(": ", scores[k]);
    }
    putchar('}');
    free(scores);
    put_end(a, out);
}

/* The value; of a cross-encoder's single logit, which the pipeline takes for a label's, that label
   and its sigmoid. */
static void regression_predict(Answers *a, const Output *out)
{
    const double value = *out->logits;
    if (out->m->config.activation_out == BERT_OUT_SIGMOID) {
        put_string("{\"label\": ", label_of(&out->m->labels, 0));
        put_float(", \"score\": ", 1.0 / (1.0 + exp(-value)));
    } else put_float("{\"value\": ", value);
    put_end(a, out);
}

/* The most likely of an example's choices, counted from 0, once all of them were computed. */
static void choice_predict(Answers *a, const Output *out)
{
    const size_t i = out->begins ? 0 : a->num_choices, n = a->num_choices = i + 1;
    a->choices = more(a->choices, &a->choices_room, n, sizeof *a->choices, "choices");
    a->texts = more(a->texts, &a->texts_room, n, sizeof *a->texts, "choices");
    a->choices[i] = *out->logits, a->texts[i] = out->text;
    if (!out->ends) return;
    const int best = bert_argmax(a->choices, (int)n);
    double *scores = take(n, sizeof *scores, "scores");
    softmax(scores, a->choices, (int)n);
    printf("{\"choice\": %d", best);
    put_string(", \"text\": ", a->texts[best]);
    put_float(", \"score\": ", scores[best]);
    for (size_t k = 0; k < n; k++) put_float(k ? ", " : ", \"scores\": [", scores[k]);
    printf("]");
    put_logits(a, a->choices, n, 0);
    puts("}");
    free(scores);
}

/* ------------------------------------------------------------------------------------------------
   Entities */

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
        if (id == t->settings[BERT_ID_UNK])
            piece = text_part(out->text, out->spans[2 * i], out->spans[2 * i + 1]);
        int goes_on = i > e->first && piece.size > 2 && !memcmp(piece.bytes, "##", 2);
        if (goes_on) piece.bytes += 2, piece.size -= 2;
        else if (i > e->first && !(piece.size && strchr(".?!,", piece.bytes[0]))) putchar(' ');
        put_text(stdout, piece);
    }
    putchar('"');
}

/* Of a file's sentence, one blank between two words: a tag for each that has tokens, else null. */
static void put_tags(const Output *out)
{
    const int32_t *words = out->d->words + out->d->offsets[out->item];
    const size_t K = (size_t)out->m->config.K;
    int count = out->text.size > 0, t = 0;
    for (size_t i = 0; i < out->text.size; i++) count += out->text.bytes[i] == ' ';
    printf("], \"tags\": [");
    for (int word = 0; word < count; word++) {
        while (t < out->T && words[t] < word) t++;
        if (word) printf(", ");
        if (t < out->T && words[t] == word)
            put_string("",
                       label_of(&out->m->labels, bert_argmax(out->logits + (size_t)t * K, (int)K)));
        else printf("null");
    }
}

/* Of an entity: what the pipeline shows for its label. */
static BertText entity_kind(const BertStrings *names, int label)
{
    const BertText name = bert_tag(names, label).name;
    return name.bytes ? name : label_of(names, label);
}

/* What pipeline("token-classification", aggregation_strategy="simple") gives. */
static void ner_predict(Answers *a, const Output *out)
{
    const BertStrings *names = &out->m->labels;
    const size_t T = (size_t)out->T, K = (size_t)out->m->config.K;
    BertEntity *found = take(T, sizeof *found, "entities");
    int n = bert_entities(found, out->logits, out->spans, out->T, (int)K, names);
    printf("{\"entities\": [");
    for (int i = 0; i < n; i++) {
        put_string(i ? ", {\"entity_group\": " : "{\"entity_group\": ",
                   entity_kind(names, found[i].label));
        put_float(", \"score\": ", found[i].score);
        put_word(out, &found[i]);
        printf(", \"start\": %d, \"end\": %d}", found[i].start, found[i].end);
    }
    free(found);
    if (!out->lines) put_tags(out);
    printf("]");
    put_logits(a, out->logits, T * K, K);
    puts("}");
}

/* ------------------------------------------------------------------------------------------------
   Answers to questions. Both ways of Hugging Face go through one search, add_window's. Of a file:
   run_qa's, which SQuAD's scores are counted of. Of lines: those of the question-answering
   pipeline of transformers 4, which people compare a single answer with: its scores are
   probabilities over the whole text, and the same words found twice count together. */

/* How many characters the first bytes of a text are. */
static int characters(BertText text, int bytes)
{
    int n = 0;
    for (size_t at = 0; at < (size_t)bytes && at < text.size; n++)
        bert_utf8(text.bytes, text.size, &at);
    return n;
}

static void put_span(const char *before, const Output *out, BertAnswer span)
{
    const int in_bytes = out->lines != NULL;
    printf("%s\"answer\": ", before);
    put_string("",
               in_bytes ? found_text(out->text, span) : text_part(out->text, span.start, span.end));
    put_float(", \"score\": ", span.score);
    printf(", \"start\": %d, \"end\": %d",
           in_bytes ? characters(out->text, span.start) : span.start,
           in_bytes ? characters(out->text, span.end) : span.end);
}

/* The answer and, where n is 0 or more, a list of n. */
static void put_answers(const Output *out, BertAnswer answer, const BertAnswer *best, int n)
{
    put_span("", out, answer);
    if (n >= 0) printf(", \"nbest\": [");
    for (int i = 0; i < n; i++) put_span(i ? "}, {" : "{", out, best[i]);
    if (n >= 0) printf(n ? "}]" : "]");
}

/* The answer or, with top_k, all of them beside it; where there may be none (the pipeline's
   handle_impossible_answer) an empty one is among them. */
static void line_predict(Answers *a, const Output *out)
{
    const JsonField id = out->lines->line[out->question].id;
    const Rules rules = {.n_best = a->top_k ? a->top_k : 1, .longest = a->rules.longest};
    BertAnswer best[BERT_MOST_ANSWERS] = {{0}};
    const BertTokenizer *t = &out->m->tokenizer;
    if (out->begins) found_clear(&a->found);
    const int last = add_window(&a->spans, &rules, out);
    for (int i = 0; i < a->spans.count; i++) found_add(&a->found, t, out->text, a->spans.best[i]);
    if (!last) return;
    if (a->rules.may_lack) found_add(&a->found, t, out->text, a->spans.none);
    printf("{");
    if (id.kind == JSON_STRING) put_string("\"id\": ", id.text);
    if (id.kind == JSON_NUMBER) printf("\"id\": "), fwrite(id.text.bytes, 1, id.text.size, stdout);
    if (id.kind) printf(", ");
    const int n = found_best(&a->found, best, rules.n_best);
    put_answers(out, best[0], best, a->top_k ? n : -1);
    puts("}");
}

static void qa_predict(Answers *a, const Output *out)
{
    BertAnswer best = {0};
    if (out->lines) {
        line_predict(a, out);
        return;
    }
    if (!add_window(&a->spans, &a->rules, out)) return;
    const int answer = bert_answers_end(&a->spans, a->rules.threshold), n = a->spans.count;
    for (int i = n - 1; i >= 0 && answer < 0; i--)
        if (a->spans.best[i].end == 0) best = a->spans.best[i]; /* none has a score too */
    if (answer >= 0) best = a->spans.best[answer];
    put_string("{\"id\": ", bert_string(&out->d->ids, out->question));
    printf(", ");
    put_answers(out, best, a->spans.best, n);
    puts("}");
}

/* ------------------------------------------------------------------------------------------------
   Words behind masks */

/* A row's best words: each by itself, and in the text, whose tokens are given. */
static void put_fillings(const Answers *a, const Output *out, int r, int *tokens, int single)
{
    const Bert *m = out->m;
    const int V = m->config.V;
    const size_t room = 512 * (size_t)out->T; /* no piece is longer than a word of 100 characters */
    char *text = take(room, 1, "the text of an example");
    int ids[BERT_MOST_ANSWERS], *token = tokens + (out->x->rows[r] - out->first), mask = *token;
    float probs[BERT_MOST_ANSWERS];
    const float *logits = out->logits + (size_t)(r - out->row) * (size_t)V;
    int n = bert_top_k(ids, probs, logits, V, a->top_k ? a->top_k : 5);
    for (int i = 0; i < n; i++) {
        put_float(i ? "}, {\"score\": " : "{\"score\": ", probs[i]);
        *token = ids[i];
        bert_decode(m, text, room, token, 1, 0, 0); /* too long: empty */
        printf(", \"token\": %d", ids[i]);
        put_string(", \"token_str\": ", text_of(text));
        bert_decode(m, text, room, tokens, out->T, single, 0);
        put_string(", \"sequence\": ", text_of(text));
    }
    if (n) printf("}");
    *token = mask;
    free(text);
}

/* What pipeline("fill-mask") gives, for each [MASK]; of an input without one: an empty list. */
static void masked_predict(Answers *a, const Output *out)
{
    const int T = out->T, mask = out->m->tokenizer.settings[BERT_ID_MASK];
    int *tokens = take((size_t)T, sizeof *tokens, "tokens"), masks = 0;
    memcpy(tokens, out->x->tokens + out->first, (size_t)T * sizeof *tokens);
    for (int t = 0; t < T; t++) masks += tokens[t] == mask;
    printf("{\"masks\": [");
    for (int r = out->row; r < out->end_row; r++) {
        printf(r > out->row ? ", [" : "[");
        put_fillings(a, out, r, tokens, masks == 1);
        printf("]");
    }
    free(tokens);
    printf("]");
    puts("}");
}

/* Writes a JSON object for an example, or none yet; NULL: the task has none. */
static void (*const predict_of[BERT_NUM_TASKS])(Answers *a, const Output *out) = {
    [BERT_CLASSIFICATION] = classification_predict,
    [BERT_REGRESSION] = regression_predict,
    [BERT_NER] = ner_predict,
    [BERT_QA] = qa_predict,
    [BERT_MLM] = masked_predict,
    [BERT_MULTIPLE_CHOICE] = choice_predict,
};

/* A batch that the model's last forward was of; its first example is that one of the data. lines:
   where the data is lines of text, else NULL. */
static void answer_batch(Answers *a, const Bert *m, const Data *data, const Lines *lines,
                         const BertBatch *x, size_t first)
{
    Output out = {.m = m, .acts = &m->acts, .d = data, .lines = lines, .x = x, .item = first};
    while (next_output(&out)) predict_of[data->task](a, &out);
}

#endif
