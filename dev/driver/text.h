/*
text.h - lines of standard input.
*/
#ifndef TEXT_H
#define TEXT_H

#include "data.h"
#include "json.h"
#include "tasks.h"

#include <errno.h>
#include <unistd.h>

/* Standard input, and the lines of it that are being answered. */
typedef struct {
    char *bytes; /* read and not answered: bytes[start] .. bytes[end-1]; no newline before seen */
    size_t start, seen, end, room;
    int ended;
    size_t number; /* of the last line, from 1 */
    Line *lines;   /* (n) */
    int n;
    BertEncoding e; /* of the lines */
    BertEncodeOptions how;
    int unfinished;   /* the last line has more windows */
    int pair, lost;   /* plain lines are two texts; told of one that is not UTF-8 */
    size_t cut, tabs; /* lines that were cut, that have a tab in a single text */
    char why[400];    /* what is wrong with the line behind them, or empty */
    const Options *o;
    const Bert *model;
    Data data; /* the lines, as a file's */
} Input;

/* ------------------------------------------------------------------------------------------------
   Text: lines of standard input become a Data in memory, a batch at a time. Whatever is there is
   answered before more is waited for, so that a person at a terminal, or a program behind two
   pipes, gets each line's answer. */

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
    if (in->data.task == BERT_QA) return "{\"question\": \"...\", \"context\": \"...\"}";
    if (!in->o->json) return in->pair ? "two texts with a tab between" : "a text";
    return in->data.task == BERT_NER
               ? "{\"text\": \"...\"}"
               : "{\"text\": \"...\"} or {\"text\": \"...\", \"text_pair\": \"...\"}";
}

/* Takes a line apart and encodes it. 1: why says what is wrong with it. */
static int take_line(Input *in, char *bytes, size_t n)
{
    const int qa = in->data.task == BERT_QA;
    const char *names[3] = {qa ? "question" : "text", qa ? "context" : "text_pair", "id"};
    BertText parts[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    const char *what = not_text(bytes, n, in->number, &in->lost), *field = "";
    const char *tab = memchr(bytes, '\t', n);
    const int of_pairs = reads_pairs(&in->model->config, in->data.task);
    if (what) return snprintf(in->why, sizeof in->why, "%s", what), 1;
    if (in->data.task == BERT_NER) names[1] = NULL;
    if (qa || in->o->json) {
        if (json_skip(bytes, bytes + n, 0) == bytes + n) return 0; /* blank: no object */
        if (!json_fields(bytes, bytes + n, names, 3, 2, parts))
            what = "not a JSON object: a line is ", field = line_form(in);
        else if (!parts[0].bytes) what = "no string in field ", field = names[0];
        else if (!parts[1].bytes && (qa || parts[1].size))
            what = "no string in field ", field = names[1];
        else if (!parts[1].bytes && of_pairs)
            what = "no field text_pair: the model was trained on pairs of texts";
    } else {
        parts[0].bytes = bytes, parts[0].size = in->pair && tab ? (size_t)(tab - bytes) : n;
        if (in->pair && tab)
            parts[1].bytes = tab + 1, parts[1].size = (size_t)(bytes + n - tab - 1);
        if (in->pair && !tab)
            what = in->o->pair ? "no tab, --pair expects one between the two texts"
                               : "no tab between two texts: the model was trained on pairs of them";
        if (!in->pair && tab && of_texts(in->data.task) && !in->tabs++)
            warn("stdin:%zu: its tab is a blank: %s", in->number,
                 in->model->config.trained_pairs ? "the model was trained on single texts"
                                                 : "--pair makes two texts of such a line");
    }
    if (!what && parts[1].bytes && in->model->config.S < 2)
        what = "a pair of texts, the model has one token type only";
    if (!what && qa) what = windows_of(in, &parts[0]);
    if (!what && bert_encode_texts(in->model, &in->e, &parts[0], 1,
                                   parts[1].bytes ? &parts[1] : NULL, 1, &in->how))
        what = in->e.message;
    if (what) return snprintf(in->why, sizeof in->why, "%s%s", what, field), 1;
    if (!qa && in->e.cut > 0 && in->cut++ == 0)
        warn("stdin:%zu: cut at %d of %d tokens, and later lines likewise (--max_length; the model "
             "reads %d)",
             in->number, in->how.max_length, in->how.max_length + in->e.cut, in->model->config.P);
    Line line = {parts[qa], parts[2], in->e.B};
    in->lines[in->n++] = line;
    in->unfinished = qa && in->e.cut > 0;
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
        if (in->ended || in->n) return NULL;
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

/* The lines of the next batch; how many. A damaged one waits for the others' answers. */
static int read_lines(Input *in)
{
    char *line;
    size_t n;
    bert_encoding_clear(&in->e);
    in->data.goes_on = in->unfinished;
    if (in->unfinished) { /* no other line before all its windows are answered */
        in->lines[0] = in->lines[in->n - 1];
        in->n = 1;
        if (bert_encode_more(in->model, &in->e))
            return snprintf(in->why, sizeof in->why, "%s", in->e.message), 0;
        in->lines[0].end = in->e.B;
        in->unfinished = in->e.cut > 0;
        return in->n;
    }
    in->n = 0;
    while (!in->why[0] && !in->unfinished && in->n < MOST_LINES && in->e.N < MOST_TOKENS) {
        line = next_line(in, &n);
        if (!line || take_line(in, line, n)) break;
    }
    return in->n;
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

static int text_start(Input *in, const Options *o, const Bert *m, int task, int embed)
{
    const BertConfig *c = &m->config;
    BertEncodeOptions *how = &in->how;
    in->o = o, in->model = m;
    if (!in->model->tokenizer.lookup)
        return fail("%s: has no tokenizer, which text needs: make it again with dev/export_hf.py "
                    "from a folder with vocab.txt",
                    in->o->model);
    if (in->o->pair && (in->o->json || task == BERT_QA || task == BERT_NER))
        return fail("--pair goes with plain lines of two texts, not with JSON, qa or ner");
    in->data.path = "standard input";
    in->data.task = task;
    in->data.multi_label = c->multi_label;
    how->max_length =
        in->o->max_length ? (int)in->o->max_length : imin(text_length(c, task, embed), c->P);
    in->pair = in->o->pair || (reads_pairs(c, task) && !in->o->json);
    if (how->max_length > c->P)
        return fail("--max_length is %d, the model reads %d", how->max_length, c->P);
    if (task == BERT_QA) {
        how->truncation = BERT_ONLY_SECOND;
        how->windows = 1;
    }
    in->room = 65536;
    in->bytes = take(in->room, 1, "lines");
    in->lines = take(MOST_LINES, sizeof *in->lines, "lines");
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "reading lines, each %s; Ctrl-D ends\n", line_form(in));
    return 0;
}

/* Where each token of a sequence is in its text: answers (qa) are whole words, so there it is its
   word as far as the sequence has it; characters, and behind all those of the batch bytes. */
static void text_spans(const BertEncoding *e, int from, int to, int qa, int32_t *spans)
{
    const BertSpan *s = e->spans;
    int32_t *bytes = spans + 2 * (size_t)e->N;
    for (size_t t = (size_t)from; t < (size_t)to; t++) {
        int own = s[t].text == qa, same = qa && (int)t > from && s[t - 1].text == 1;
        spans[2 * t] = own ? s[t].char_start : -1, bytes[2 * t] = s[t].start;
        spans[2 * t + 1] = own ? s[t].char_end : -1, bytes[2 * t + 1] = s[t].end;
        if (own && same && s[t - 1].word == s[t].word)
            spans[2 * t] = spans[2 * t - 2], bytes[2 * t] = bytes[2 * t - 2];
    }
    for (size_t t = (size_t)to; qa && t-- > (size_t)from + 1;)
        if (s[t].text == 1 && s[t - 1].text == 1 && s[t - 1].word == s[t].word)
            spans[2 * t - 1] = spans[2 * t + 1], bytes[2 * t - 1] = bytes[2 * t + 1];
}

/* The lines as Data. */
static void text_data(Input *in)
{
    Data *data = &in->data;
    const BertEncoding *e = &in->e;
    const size_t n = (size_t)e->B, N = (size_t)e->N, lines = (size_t)in->n;
    free(data->memory);
    data->memory = take(n + 1 + lines + 1 + 2 * N + n, 8, "sequences");
    data->n = n, data->N = N, data->G = in->n, data->lines = in->lines;
    data->unfinished = in->unfinished;
    data->offsets = (uint64_t *)(void *)data->memory;
    data->groups = data->offsets + n + 1; /* each line's sequences */
    data->spans = (int32_t *)(void *)(data->groups + lines + 1);
    data->segments = data->spans + 4 * N;
    data->tokens = e->tokens;
    data->offsets[n] = N;
    for (int i = 0; i < e->B; i++) {
        int from = e->offsets[i], to = e->offsets[i + 1], second = 0;
        data->offsets[i] = (uint64_t)from;
        for (int t = from; t < to; t++) second += e->types[t];
        text_spans(e, from, to, data->task == BERT_QA, data->spans);
        data->segments[i] = to - from - second;
    }
    for (size_t i = 0; i < lines; i++) data->groups[i + 1] = (uint64_t)in->lines[i].end;
}

static void input_free(Input *in)
{
    bert_encoding_free(&in->e);
    free(in->bytes), free(in->lines), free(in->data.memory);
}

#endif
