/*
text.h - lines of standard input, which become a Data in memory, a batch at a time. Whatever is
there is answered before more is waited for, so that a person at a terminal, or a program behind two
pipes, gets each line's answer.

    Input in = {.model = &m, .model_path = "model.bin"};
    if (text_start(&in, BERT_CLASSIFICATION, 0)) ...
    while (read_lines(&in)) text_data(&in) ... what in.data has is for a batch ...
    return text_end(&in);
*/
#ifndef TEXT_H
#define TEXT_H

#include "choices.h"
#include "data.h"

#include <errno.h>
#include <unistd.h>

typedef struct {
    BertText text; /* that answers are part of: qa: the context */
    JsonField id;  /* of the JSON object */
    int end;       /* its last sequence, and one: it may have windows or choices */
} Line;

/* The lines that are being answered. */
typedef struct {
    Line *line; /* (n) */
    int n;
    Choices choices;
    int goes_on, unfinished; /* windows of the first, last one are in other batches */
} Lines;

typedef struct {
    /* What is wanted, to be set before the first call. */
    const Bert *model;
    const char *model_path;
    int json, wants_pairs; /* lines are objects; two texts with a tab between */
    int max_length;        /* 0: as the model says */

    char *bytes; /* read and not answered: bytes[start] .. bytes[end-1]; no newline before seen */
    size_t start, seen, end, room;
    int ended;
    size_t number; /* of the last line, from 1 */
    Lines lines;
    BertEncoding e; /* of the lines */
    BertEncodeOptions how;
    BertText parts[2]; /* the text and its pair that were encoded last */
    int pair, lost;    /* plain lines are two texts; told of one that is not UTF-8 */
    size_t cut, tabs;  /* lines that were cut, that have a tab in a single text */
    char why[400];     /* what is wrong with the line behind them, or empty */
    Data data;         /* the lines, as a file's */
} Input;

enum { MOST_LINES = 64, MOST_TOKENS = 2048 }; /* a batch ends at either */

/* The stride of the pipeline: windows share 128 tokens of the context, or half of max_length. Where
   a question is so long that they would go on by less than an eighth of what they hold, they share
   less: else a window is computed for almost each token of the context. And how many of them are
   made at once. Returns what is wrong, or NULL. */
static const char *windows_of(Input *in, const BertText *question)
{
    const BertEncodeOptions alone = {.truncation = BERT_DO_NOT_TRUNCATE, .no_special = 1};
    BertEncoding *e = &in->e;
    const int B = e->B, N = e->N, most = in->how.max_length;
    if (bert_encode_texts(in->model, e, question, 1, NULL, 0, &alone)) return e->message;
    const int room = most - 3 - (e->N - N);
    e->B = B, e->N = N;
    in->how.stride = imin(imin(most / 2, 128), room - 1 - room / 8);
    if (in->how.stride < 0) in->how.stride = 0; /* there is no room, which bert_encode tells */
    in->how.at_once = imax(1, (MOST_TOKENS - N) / most);
    return NULL;
}

/* Tasks whose examples are a text or a pair of texts. */
static int of_texts(int task) { return task == BERT_CLASSIFICATION || task == BERT_REGRESSION; }

static int reads_pairs(const BertConfig *c, int task)
{
    return of_texts(task) && c->trained_pairs == 2 && c->S > 1;
}

/* What a line looks like. */
static const char *line_form(const Input *in)
{
    if (in->how.windows) return "{\"question\": \"...\", \"context\": \"...\"}";
    if (in->data.task == BERT_MULTIPLE_CHOICE)
        return in->json ? "{\"text\": \"...\", \"choices\": [\"...\", \"...\"]}"
                        : "a text and its choices with tabs between";
    if (!in->json) return in->pair ? "two texts with a tab between" : "a text";
    return in->data.task == BERT_NER
               ? "{\"text\": \"...\"}"
               : "{\"text\": \"...\"} or {\"text\": \"...\", \"text_pair\": \"...\"}";
}

static const char *expected(const Input *in, const char *found)
{
    static char what[200];
    snprintf(what, sizeof what, "%s: a line is %s", found, line_form(in));
    return what;
}

/* Takes a line apart; its parts are a text and its pair. Returns what is wrong, or NULL. */
static const char *object_parts(Input *in, char *bytes, size_t n, BertText *parts, JsonField *id)
{
    static char what[200];
    const int task = in->data.task, qa = in->how.windows;
    const char *pair = qa ? "context" : task == BERT_NER ? NULL : "text_pair";
    const char *names[3] = {qa ? "question" : "text", pair, "id"};
    const char *lacks = json_texts(bytes, n, names, qa, parts, id);
    if (lacks && !*lacks) return expected(in, "not a JSON object");
    if (lacks) return snprintf(what, sizeof what, "no string in field %s", lacks), what;
    if (!parts[1].bytes && reads_pairs(&in->model->config, task))
        return "no field text_pair: the model was trained on pairs of texts";
    return NULL;
}

static const char *plain_parts(Input *in, const char *bytes, size_t n, BertText *parts)
{
    const char *tab = memchr(bytes, '\t', n);
    parts[0].bytes = bytes, parts[0].size = n;
    if (in->pair && !tab)
        return in->wants_pairs ? "no tab, --pair expects one between the two texts"
                               : "no tab between two texts: the model was trained on pairs of them";
    if (in->pair) {
        parts[0].size = (size_t)(tab - bytes);
        parts[1].bytes = tab + 1, parts[1].size = n - parts[0].size - 1;
    } else if (tab && of_texts(in->data.task) && !in->tabs++)
        warn("%s: its tab is a blank: %s", line_place(in->number),
             in->model->config.trained_pairs ? "the model was trained on single texts"
                                             : "--pair makes two texts of such a line");
    return NULL;
}

static const char *encode_parts(Input *in, const BertText *parts)
{
    const BertText *pair = parts[1].bytes ? &parts[1] : NULL;
    const char *what = NULL;
    if (pair && in->model->config.S < 2)
        return "a pair of texts, the model has one token type only";
    if (in->how.windows) what = windows_of(in, &parts[0]);
    if (!what && bert_encode_texts(in->model, &in->e, &parts[0], 1, pair, 1, &in->how))
        what = in->e.message;
    return what;
}

/* multiple_choice: encodes the text with each choice. */
static const char *take_choices(Input *in, char *bytes, size_t n)
{
    Choices *c = &in->lines.choices;
    int cut = 0, B = in->e.B, N = in->e.N;
    size_t i = c->n = (size_t)B;
    const char *what = choices_of(c, in->json, bytes, n, &in->parts[0]);
    if (what) return expected(in, what);
    for (; i < c->n && !what; cut = imax(cut, in->e.cut))
        in->parts[1] = c->all[i++], what = encode_parts(in, in->parts);
    in->e.cut = cut;
    if (what) in->e.B = B, in->e.N = N;
    return what;
}

/* Takes a line apart and encodes it. 1: why says what is wrong with it. */
static int take_line(Input *in, char *bytes, size_t n)
{
    const int qa = in->how.windows, object = qa || in->json;
    BertText *parts = memset(in->parts, 0, sizeof in->parts);
    JsonField id = {JSON_NOTHING, {NULL, 0}};
    const char *what = not_text(bytes, n, in->number, &in->lost);
    if (!what && object && json_skip(bytes, bytes + n, 0) == bytes + n) return 0; /* blank */
    if (!what && in->data.task == BERT_MULTIPLE_CHOICE) what = take_choices(in, bytes, n);
    else if (!what) {
        what = object ? object_parts(in, bytes, n, parts, &id) : plain_parts(in, bytes, n, parts);
        if (!what) what = encode_parts(in, parts);
    }
    if (what) return snprintf(in->why, sizeof in->why, "%s", what), 1;
    if (!qa && in->e.cut > 0 && in->cut++ == 0)
        warn("stdin:%zu: cut at %d of %d tokens, and later lines likewise (--max_length; the model "
             "reads %d)",
             in->number, in->how.max_length, in->how.max_length + in->e.cut, in->model->config.P);
    const Line line = {parts[qa], id, in->e.B};
    in->lines.line[in->lines.n++] = line;
    in->lines.unfinished = qa && in->e.cut > 0;
    return 0;
}

/* The next line, or NULL: there is no more, or it is waited for only when none is unanswered. */
static char *next_line(Input *in, size_t *n)
{
    for (;;) {
        char *line = in->bytes + in->start, *end = in->bytes + in->end;
        char *newline =
            in->seen < in->end ? memchr(in->bytes + in->seen, '\n', in->end - in->seen) : NULL;
        in->seen = newline ? (size_t)(newline - in->bytes) + 1 : in->end;
        if (newline || (in->ended && line < end)) {
            *n = (size_t)((newline ? newline : end) - line);
            in->start = in->seen;
            if (in->number++ == 0 && *n >= 3 && !memcmp(line, "\xEF\xBB\xBF", 3))
                line += 3, *n -= 3; /* a byte order mark is no text, as in tokenizer.py */
            return line;
        }
        if (in->ended || in->lines.n) return NULL;
        memmove(in->bytes, line, (size_t)(end - line)); /* no line points into it now */
        in->end = in->seen -= in->start;
        in->start = 0;
        if (in->end == in->room)
            in->bytes = more(in->bytes, &in->room, in->room + 1, 1, "a line of standard input");
        ssize_t got = read(STDIN_FILENO, in->bytes + in->end, in->room - in->end);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return snprintf(in->why, sizeof in->why, "cannot be read: %s", strerror(errno)), NULL;
        in->ended = got == 0;
        in->end += (size_t)got;
    }
}

/* More windows of a line that has them: no other is read before all are answered. */
static int more_windows(Input *in)
{
    Lines *lines = &in->lines;
    lines->line[0] = lines->line[lines->n - 1];
    lines->n = 1, lines->goes_on = 1;
    if (bert_encode_more(in->model, &in->e))
        return snprintf(in->why, sizeof in->why, "%s", in->e.message), 0;
    lines->line[0].end = in->e.B;
    lines->unfinished = in->e.cut > 0;
    return 1;
}

/* The lines of the next batch; how many. A damaged one waits for the others' answers. */
static int read_lines(Input *in)
{
    Lines *lines = &in->lines;
    char *line;
    size_t n;
    bert_encoding_clear(&in->e);
    if (lines->unfinished) return more_windows(in);
    lines->n = lines->goes_on = 0;
    while (!in->why[0] && !lines->unfinished && lines->n < MOST_LINES && in->e.N < MOST_TOKENS) {
        line = next_line(in, &n);
        if (!line || take_line(in, line, n)) break;
    }
    return lines->n;
}

static int text_end(const Input *in)
{
    if (in->cut > 1) warn("%zu of %zu lines were cut", in->cut, in->number);
    if (!in->why[0]) return 0;
    if (!in->number) return fail("standard input: %s", in->why); /* no line of it was read */
    return fail("stdin:%zu: %s", in->number, in->why);
}

/* Tokens of a sequence where --max_length does not say: as sentence-transformers cuts for embed;
   else as in training, or as Hugging Face's pipelines: at the tokenizer's length. */
static int text_length(const BertConfig *c, int task, int embed)
{
    if (embed && c->max_seq_length) return c->max_seq_length;
    if (c->trained_length) return c->trained_length;
    return task == BERT_QA ? 384 : c->model_max_length ? c->model_max_length : c->P;
}

static int text_start(Input *in, int task, int embed)
{
    const BertConfig *c = &in->model->config;
    BertEncodeOptions *how = &in->how;
    if (!in->model->tokenizer.lookup)
        return fail("%s: has no tokenizer, which text needs: make it again with dev/export_hf.py "
                    "from a folder with vocab.txt",
                    in->model_path);
    if (in->wants_pairs && (in->json || (task && !of_texts(task) && !has_masks(task))))
        return fail("--pair goes with plain lines of two texts, not with JSON, qa, ner or "
                    "multiple_choice");
    in->data.path = "standard input";
    in->data.task = task, in->data.multi_label = c->multi_label;
    how->max_length = in->max_length ? in->max_length : imin(text_length(c, task, embed), c->P);
    in->pair = in->wants_pairs || (reads_pairs(c, task) && !in->json);
    if (how->max_length > c->P)
        return fail("--max_length is %d, the model reads %d", how->max_length, c->P);
    how->windows = task == BERT_QA; /* a line is a question and its context */
    if (how->windows) how->truncation = BERT_ONLY_SECOND;
    in->bytes = more(NULL, &in->room, 65536, 1, "lines");
    in->lines.line = take(MOST_LINES, sizeof *in->lines.line, "lines");
    if (!in->ended && isatty(STDIN_FILENO))
        fprintf(stderr, "reading lines, each %s; Ctrl-D ends\n", line_form(in));
    return 0;
}

/* Where the tokens of a sequence are in its text, in characters. */
static void token_spans(int32_t *spans, const BertSpan *s, int T)
{
    for (int t = 0; t < T; t++) {
        spans[2 * t] = s[t].text == 0 ? s[t].char_start : -1;
        spans[2 * t + 1] = s[t].text == 0 ? s[t].char_end : -1;
    }
}

static int of_one_word(const BertSpan *a, const BertSpan *b)
{
    return a->text == 1 && b->text == 1 && a->word == b->word;
}

/* qa: where the words of a window's tokens are in the context, as far as the window has them, as
   the pipeline's answers are whole words. In bytes: long contexts have many windows, and to find a
   character each time is work that grows by the square. */
static void word_spans(int32_t *spans, const BertSpan *s, int T)
{
    for (int t = 0; t < T; t++) {
        const int goes_on = t > 0 && of_one_word(&s[t - 1], &s[t]);
        spans[2 * t] = s[t].text != 1 ? -1 : goes_on ? spans[2 * t - 2] : s[t].start;
        spans[2 * t + 1] = s[t].text == 1 ? s[t].end : -1;
    }
    for (int t = T - 2; t >= 0; t--)
        if (of_one_word(&s[t], &s[t + 1])) spans[2 * t + 1] = spans[2 * t + 3];
}

/* The lines as Data; a group is a line's sequences. */
static void text_data(Input *in)
{
    Data *data = &in->data;
    const BertEncoding *e = &in->e;
    const size_t n = (size_t)e->B, N = (size_t)e->N, lines = (size_t)in->lines.n;
    void (*const spans_of)(int32_t * spans, const BertSpan *s, int T) =
        in->how.windows ? word_spans : token_spans;
    free(data->memory);
    data->memory = take(n + 1 + lines + 1 + N + n, 8, "sequences");
    data->n = n, data->N = N, data->G = in->lines.n;
    data->offsets = (uint64_t *)(void *)data->memory;
    data->groups = data->offsets + n + 1;
    data->spans = (int32_t *)(void *)(data->groups + lines + 1);
    data->segments = data->spans + 2 * N;
    data->tokens = e->tokens;
    data->offsets[n] = N;
    for (int i = 0; i < e->B; i++) {
        int from = e->offsets[i], to = e->offsets[i + 1], second = 0;
        data->offsets[i] = (uint64_t)from;
        for (int t = from; t < to; t++) second += e->types[t];
        spans_of(data->spans + 2 * (size_t)from, e->spans + from, to - from);
        data->segments[i] = to - from - second;
    }
    for (size_t i = 0; i < lines; i++) data->groups[i + 1] = (uint64_t)in->lines.line[i].end;
}

static void input_free(Input *in)
{
    bert_encoding_free(&in->e);
    choices_free(&in->lines.choices);
    free(in->bytes), free(in->lines.line), free(in->data.memory);
}

#endif
