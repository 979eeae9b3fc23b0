/*
train_bert.c - fine-tune BERT, measure it, and predict with it.

    ./train_bert train   --model model.bin --train_file train.bin --output_dir out
    ./train_bert eval    --model out/best.bin --eval_file test.bin
    ./train_bert predict --model out/best.bin --predict_file test.bin
    ./train_bert predict --model out/best.bin < lines.txt      (embed, encode: the same)

Everything that BERT computes is in bert.h. Here is what stands around it, to be read downwards:
flags - chance - batches - metrics - tasks - evaluation - saving - from scratch - training - text -
commands. Messages, JSON, data files and the command line are in dev/driver. Flags have the names,
defaults and meaning of Hugging Face's TrainingArguments. A task is one row of the table "tasks" in
the middle of the file.
*/
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* files beyond 2 GiB where off_t has 32 bits by default */

#define BERT_IMPLEMENTATION
#include "bert.h"

#include "dev/driver/data.h"
#include "dev/driver/flags.h"
#include "dev/driver/json.h"
#include "dev/driver/report.h"
#include "dev/driver/save.h"
#include "dev/driver/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <glob.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
   The flags: this table declares struct Options, and parsing, checks and help go by it.
   name, kind, default, commands that take it, commands that need it, help (CHOICE: the choices) */

enum { TRAIN = 1, EVAL = 2, PREDICT = 4, EMBED = 8, ENCODE = 16 };
enum { ANSWER = TRAIN | EVAL | PREDICT, ANY = ANSWER | EMBED, TEXT = PREDICT | EMBED | ENCODE };

#define FLAGS(X)                                                                                   \
    X(model, PATH, "", ANY | ENCODE, TEXT | EVAL,                                                  \
      "model file, of dev/export_hf.py or an earlier run")                                         \
    X(init, PATH, "", TRAIN, 0, "config.json: from scratch, in place of --model")                  \
    X(tokenizer, PATH, "", TRAIN, 0, "with --init: a model file whose vocabulary is taken")        \
    X(train_file, PATH, "", TRAIN, TRAIN,                                                          \
      "data to learn from, of tokenizer.py; shards: 'c-*.bin'")                                    \
    X(eval_file, PATH, "", TRAIN | EVAL, EVAL, "data file to measure on")                          \
    X(predict_file, PATH, "", PREDICT | EMBED, 0, "data file; without: lines of standard input")   \
    X(pair, SWITCH, "", TEXT, 0, "a line is two texts with a tab between [as in training]")        \
    X(json, SWITCH, "", TEXT, 0, "a line is {\"text\"}, {\"text\", \"text_pair\"}")                \
    X(max_length, COUNT, "", TEXT, 0,                                                              \
      "tokens a line is cut at [as the model was trained, or its tokenizer cuts; qa: 384]")        \
    X(output_dir, PATH, "", TRAIN, TRAIN, "folder for model.bin (last) and best.bin")              \
    X(overwrite_output_dir, SWITCH, "", TRAIN, 0,                                                  \
      "an earlier run's are removed there [kept as earlier-*.bin]")                                \
    X(num_train_epochs, POSITIVE, "3", TRAIN, 0, "passes over the data, or a fraction of one")     \
    X(max_steps, STEPS, "-1", TRAIN, 0, "where above 0: optimizer steps, in place of epochs")      \
    X(per_device_train_batch_size, COUNT, "8", TRAIN, 0, "examples in a batch of training")        \
    X(per_device_eval_batch_size, COUNT, "8", ANY, 0, "examples in a batch otherwise")             \
    X(gradient_accumulation_steps, COUNT, "1", TRAIN, 0, "batches in an optimizer step")           \
    X(learning_rate, NUMBER, "5e-5", TRAIN, 0, "its highest value")                                \
    X(lr_scheduler_type, CHOICE, "linear", TRAIN, 0,                                               \
      "linear|cosine|constant|constant_with_warmup")                                               \
    X(warmup_steps, NUMBER, "0", TRAIN, 0, "steps it rises for; below 1: their share of all")      \
    X(warmup_ratio, SHARE, "0", TRAIN, 0, "that share, as transformers 4 named it")                \
    X(weight_decay, NUMBER, "0", TRAIN, 0, "of matrices; biases and LayerNorm have none")          \
    X(adam_beta1, SHARE, "0.9", TRAIN, 0, "decay of the gradients' mean")                          \
    X(adam_beta2, SHARE, "0.999", TRAIN, 0, "decay of the squared gradients' mean")                \
    X(adam_epsilon, NUMBER, "1e-8", TRAIN, 0, "added to the latter's root")                        \
    X(max_grad_norm, NUMBER, "1", TRAIN, 0, "longer gradients are scaled to this norm; 0: never")  \
    X(hidden_dropout_prob, SHARE, "", TRAIN, 0, "in place of the model's own")                     \
    X(attention_probs_dropout_prob, SHARE, "", TRAIN, 0, "in place of the model's own")            \
    X(classifier_dropout, SHARE, "", TRAIN, 0, "in place of the model's own")                      \
    X(label_smoothing_factor, SHARE, "0", TRAIN, 0, "classification, ner, mlm: spread over all")   \
    X(class_weights, PATH, "", TRAIN, 0, "classification, ner: balanced, or a list: 1,2.5,1")      \
    X(mlm_probability, SHARE, "0.15", ANSWER, 0, "mlm, pretraining: share of tokens to predict")   \
    X(short_seq_prob, SHARE, "0.1", TRAIN | EVAL, 0, "pretraining: share of shorter pairs")        \
    X(version_2_with_negative, SWITCH, "", ANSWER, 0,                                              \
      "qa: maybe no answer [v2 data, or a model of it: yes]")                                      \
    X(null_score_diff_threshold, REAL, "0", ANSWER, 0, "qa: no answer where [CLS] leads by more")  \
    X(n_best_size, BEST, "20", ANSWER, 0, "qa: spans to choose from")                              \
    X(max_answer_length, COUNT, "", ANSWER, 0, "qa: tokens of the longest answer [30; text: 15]")  \
    X(train_sampling_strategy, CHOICE, "random", TRAIN, 0, "random|sequential")                    \
    X(freeze_layers, STEPS, "0", TRAIN, 0, "the first so many layers are not trained")             \
    X(freeze_embeddings, SWITCH, "", TRAIN, 0, "nor are the embeddings")                           \
    X(seed, SEED, "42", TRAIN, 0, "of the order, masks, dropout and a new head")                   \
    X(logging_steps, COUNT, "500", TRAIN, 0, "steps between two lines of the log")                 \
    X(logging_dir, PATH, "", TRAIN, 0, "folder for log.jsonl, which a new run replaces")           \
    X(top_k, BEST, "", PREDICT, 0, "the best so many labels, words [5], answers from text [1]")    \
    X(logits, SWITCH, "", PREDICT, 0, "classification, regression, ner: the raw outputs too")      \
    X(pooling, CHOICE, "model", EMBED, 0, "model|mean|cls|pooler")                                 \
    X(normalize, SWITCH, "", EMBED, 0, "vectors of length 1")

#define FLAG_FIELD(name, kind, ...) kind##_t name;
typedef struct {
    FLAGS(FLAG_FIELD)
} Options;

/* ------------------------------------------------------------------------------------------------
   Chance. All that is drawn is a function of the seed, the epoch, and what it is for. */

enum { FOR_ORDER, FOR_PAIRS, FOR_MASKS, FOR_SHARDS, FOR_EVAL };

static uint64_t random_at(uint64_t key, uint64_t i)
{
    return bert_mix64(key + i * 0x9E3779B97F4A7C15u); /* splitmix64's stream */
}

static uint64_t random_key(uint64_t purpose, uint64_t seed, uint64_t epoch)
{
    return random_at(random_at(purpose, seed), epoch);
}

typedef struct {
    uint64_t key, draws;
} Stream;

static size_t draw_below(Stream *s, size_t n)
{
    uint64_t r;
    do {
        r = random_at(s->key, s->draws++);
    } while (r >= UINT64_MAX - UINT64_MAX % n); /* beyond it, r % n would favour low values */
    return (size_t)(r % n);
}

static double draw_share(Stream *s)
{
    return (double)(random_at(s->key, s->draws++) >> 11) / 9007199254740992.0;
}

/* Fisher and Yates */
static void shuffle(size_t *order, size_t n, uint64_t key)
{
    Stream s = {key, 0};
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t last = order[i - 1], other = draw_below(&s, i);
        order[i - 1] = order[other];
        order[other] = last;
    }
}

/* Two stretches of sentences, which become [CLS] a [SEP] b [SEP]; their tokens are neighbours in
   the file. */
typedef struct {
    size_t a, a_end, b, b_end;
    int random; /* b is of another document, not what follows a */
} Pair;

/* Cuts the longer of the two, at its front or its back, until both are n tokens. */
static void cut_pair(Pair *p, size_t n, Stream *s)
{
    while (p->a_end - p->a + p->b_end - p->b > n) {
        int first = p->a_end - p->a > p->b_end - p->b;
        if (draw_share(s) < 0.5) ++*(first ? &p->a : &p->b);
        else --*(first ? &p->a_end : &p->b_end);
    }
}

/* b: from some sentence of another document on, until it has want tokens. Ten tries find another
   document; a file of few may yield the same one. */
static void draw_next(Pair *p, const Data *d, size_t document, size_t want, Stream *s)
{
    size_t other = document, at;
    for (int i = 0; i < 10 && other == document; i++) other = draw_below(s, (size_t)d->Q);
    at = d->documents[other] + draw_below(s, d->documents[other + 1] - d->documents[other]);
    p->random = 1;
    p->b = d->offsets[at];
    do {
        p->b_end = d->offsets[++at];
    } while (at < d->documents[other + 1] && p->b_end - p->b < want);
}

/* All pairs of a document, as create_instances_from_document of google-research/bert's
   create_pretraining_data.py: sentences are gathered until they have target tokens (all there is
   room for or, in a share of documents, fewer); they are parted at random into a and b, or b is
   drawn and the sentences behind a go into the next pair. Returns how many. */
static size_t draw_document(Pair *pairs, const Data *d, size_t document, double short_share,
                            Stream *s)
{
    size_t room = (size_t)d->max_length - 3, target = room, n = 0;
    size_t end = d->documents[document + 1], from = d->documents[document];
    if (draw_share(s) < short_share) target = 2 + draw_below(s, room - 1);
    for (size_t to = from + 1; to <= end; to++) {
        if (to < end && d->offsets[to] - d->offsets[from] < target) continue;
        size_t count = to - from, parted = from + 1;
        Pair p = {d->offsets[from], 0, 0, d->offsets[to], 0};
        if (count >= 2) parted += draw_below(s, count - 1);
        p.a_end = p.b = d->offsets[parted];
        if (count == 1 || draw_share(s) < 0.5) {
            size_t length = p.a_end - p.a;
            draw_next(&p, d, document, target > length ? target - length : 0, s);
            to = parted;
        }
        cut_pair(&p, room, s);
        pairs[n++] = p;
        from = to;
    }
    return n;
}

/* ------------------------------------------------------------------------------------------------
   Batches: examples end to end, as bert_forward takes them, in memory that is taken once. */

/* What one time through a file consists of. Items are examples; in pretraining pairs, as many as
   were drawn. */
typedef struct {
    size_t n;       /* items */
    size_t *order;  /* (n), or NULL: the file's */
    Pair *pairs;    /* pretraining (n) */
    uint64_t masks; /* mlm, pretraining: their key; where share is 0, the rows of [MASK] */
    double share;   /* of tokens to predict */
    const BertTokenizer *tokenizer;
} Pass;

static void pass_room(Pass *p, const Data *d, int shuffled)
{
    free(p->order), free(p->pairs);
    p->order = shuffled ? take(d->n, sizeof *p->order, "the order of examples") : NULL;
    p->pairs = d->task == BERT_PRETRAINING ? take(d->n, sizeof *p->pairs, "pairs") : NULL;
}

/* The epoch's items and their order. shard: 0, or which file of several. */
static void pass_start(Pass *p, const Data *d, uint64_t seed, uint64_t epoch, uint64_t shard,
                       double short_share)
{
    Stream s = {random_at(random_key(FOR_PAIRS, seed, epoch), shard), 0};
    uint64_t order = random_key(FOR_ORDER, seed, epoch);
    p->n = d->task == BERT_PRETRAINING ? 0 : d->n;
    for (size_t i = 0; d->task == BERT_PRETRAINING && i < (size_t)d->Q; i++)
        p->n += draw_document(p->pairs + p->n, d, i, short_share, &s);
    p->masks = random_at(random_key(FOR_MASKS, seed, epoch), shard);
    if (p->order) shuffle(p->order, p->n, shard ? random_at(order, shard) : order);
}

/* The arrays of a batch of B examples and N tokens: type, name, elements. floats: of each example,
   as many as it has targets (1 or K), or numbers of its vector. */
#define BATCH(X)                                                                                   \
    X(int, tokens, N)                                                                              \
    X(int, types, N)                                                                               \
    X(int, rows, N)                                                                                \
    X(int, labels, N > 2 * B ? N : 2 * B) /* ner, mlm (N); classification (B), qa (B,2) */         \
    X(int, next, B)                                                                                \
    X(int, offsets, B + 1)                                                                         \
    X(float, targets, bert_times_(B, floats))

#define BATCH_POINTER(type, name, count) type *name;
typedef struct {
    BATCH(BATCH_POINTER)
} Batch;

static void batch_free(Batch *b)
{
#define BATCH_FREE(type, name, count) free(b->name);
    BATCH(BATCH_FREE)
}

static int batch_room(Batch *b, size_t B, size_t longest, size_t floats)
{
    size_t N = bert_times_(B, longest);
    if (bert_plus_(N, B) > INT_MAX) /* bert_forward counts in ints */
        return fail("a batch of %zu x %zu tokens is too large", B, longest);
#define BATCH_TAKE(type, name, count) b->name = take(count, sizeof(type), "a batch");
    BATCH(BATCH_TAKE)
    return 0;
}

/* Adds tokens to the batch's end N; returns its new end. */
static int put_tokens(Batch *b, int N, const int32_t *tokens, size_t n, int type)
{
    for (size_t i = 0; i < n; i++, N++) b->tokens[N] = tokens[i], b->types[N] = type;
    return N;
}

static int put_item(Batch *b, const Data *d, const Pass *p, size_t item, int i, int N)
{
    if (d->task == BERT_PRETRAINING) {
        const Pair *pair = &p->pairs[item];
        const int32_t *id = p->tokenizer->words;
        N = put_tokens(b, N, id + BERT_ID_CLS, 1, 0);
        N = put_tokens(b, N, d->tokens + pair->a, pair->a_end - pair->a, 0);
        N = put_tokens(b, N, id + BERT_ID_SEP, 1, 0);
        N = put_tokens(b, N, d->tokens + pair->b, pair->b_end - pair->b, 1);
        b->next[i] = pair->random;
        return put_tokens(b, N, id + BERT_ID_SEP, 1, 1);
    }
    const int32_t *tokens = d->tokens + d->offsets[item];
    size_t T = (size_t)(d->offsets[item + 1] - d->offsets[item]), first = (size_t)d->segments[item];
    N = put_tokens(b, N, tokens, first, 0);
    return put_tokens(b, N, tokens + first, T - first, 1);
}

/* The item's labels: those of its tokens, or its own. */
static void put_labels(Batch *b, const Data *d, size_t item, int i)
{
    const int N = b->offsets[i], T = b->offsets[i + 1] - N;
    if (d->task == BERT_CLASSIFICATION && !d->multi_label) b->labels[i] = d->labels[item];
    if (d->task == BERT_REGRESSION) b->targets[i] = d->targets[item];
    for (int t = 0; d->task == BERT_NER && t < T; t++)
        b->labels[N + t] = d->labels[d->offsets[item] + (uint64_t)t];
    for (size_t j = 0; d->task == BERT_QA && j < 2; j++)
        b->labels[2 * (size_t)i + j] = d->labels[2 * item + j];
    if (!d->multi_label) return;
    float *targets = b->targets + (size_t)i * (size_t)d->K;
    memset(targets, 0, (size_t)d->K * sizeof *targets);
    for (uint64_t j = d->sets[item]; j < d->sets[item + 1]; j++) targets[d->labels[j]] = 1;
}

/* Which tokens are predicted, as DataCollatorForLanguageModeling chooses them: a share of all but
   the special ones; eight of ten of them become [MASK], one any word, one stays. Returns R. */
static int put_masks(Batch *b, const Pass *p, size_t item, int i, int R)
{
    const int32_t *id = p->tokenizer->words;
    uint64_t key = random_at(p->masks, item);
    for (int n = b->offsets[i]; n < b->offsets[i + 1]; n++) {
        uint64_t r = random_at(key, (uint64_t)(n - b->offsets[i]));
        int special = 0, token = b->tokens[n];
        for (int j = BERT_ID_PAD; j <= BERT_ID_MASK; j++) special |= token == id[j];
        if (p->share > 0 ? special || (double)(r >> 32) >= p->share * 4294967296.0
                         : token != id[BERT_ID_MASK])
            continue;
        b->rows[R] = n;
        b->labels[R++] = token;
        if (p->share > 0 && r % 10 < 8) b->tokens[n] = id[BERT_ID_MASK];
        if (p->share > 0 && r % 10 == 8)
            b->tokens[n] = (int)(random_at(r, 0) % p->tokenizer->vocabulary.count);
    }
    return R;
}

/* Items first .. first+B-1 of the pass. */
static BertBatch batch_fill(Batch *b, const Data *d, const Pass *p, size_t first, size_t B)
{
    BertBatch out = {0};
    int N = 0, masked = bert_has_mlm_(d->task);
    for (int i = 0; i < (int)B; i++) {
        size_t item = p->order ? p->order[first + (size_t)i] : first + (size_t)i;
        b->offsets[i] = N;
        b->offsets[i + 1] = N = put_item(b, d, p, item, i, N);
        if (d->labelled) put_labels(b, d, item, i);
        if (masked) out.R = put_masks(b, p, item, i, out.R);
    }
    out.B = (int)B;
    out.tokens = b->tokens, out.types = b->types, out.offsets = b->offsets;
    if (masked) out.rows = b->rows;
    if (d->task == BERT_PRETRAINING) out.next = b->next;
    if (d->task == BERT_REGRESSION || d->multi_label) out.targets = d->labelled ? b->targets : NULL;
    else out.labels = masked || d->labelled ? b->labels : NULL;
    return out;
}

/* ------------------------------------------------------------------------------------------------
   Metrics, each equal to the library's that people compare with (dev/check/metrics.py) */

enum { MAX_METRICS = 8, MOST_COLUMNS = 20 };

/* A line of standard input. */
typedef struct Line {
    BertText text; /* that answers are part of: qa: the context */
    BertText id;   /* of the JSON object, or empty */
    int end;       /* its last sequence, and one: qa has windows, the others one sequence */
} Line;

/* An answer to a question of standard input. */
typedef struct {
    BertAnswer span;
    BertText text;
} Found;

/* What counting metrics are made of: how often a label (or entities of a type) is true, is
   predicted, and is both. */
typedef struct {
    double truth, predicted, both;
} LabelCount;

/* A label of ner: its letter, and the type of its entities: the first label of that type. */
typedef struct {
    char letter;
    int type;
} Tag;

typedef struct {
    double loss;        /* the mean */
    LabelCount *counts; /* (K): of each label; ner: of each type, at the first label that has it */
    size_t confusion[MOST_COLUMNS][MOST_COLUMNS]; /* true label, predicted one */
    Tag *tags;                                    /* ner (K) */
    double *values;                               /* regression (n) */
    BertAnswers answers; /* qa: of the question that windows are being read of */
    int question;        /* qa: whose strings begin at golds[strings] */
    size_t strings;
    Found *found; /* qa, text: its answers so far */
    size_t num_found, found_room;
    size_t *slots, num_slots; /* answer i, as i + 1, at the hash of its words, or behind it */
    double sums[3][3]; /* ner: right words, words; qa: has no answer, has: F1, exact, count; right,
                          loss, n: of masks, of pairs whose b follows, of other documents' */
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

/* x / y, or 0 where y is 0: scikit-learn's zero_division. */
static double ratio(double x, double y) { return y == 0 ? 0 : x / y; }

static double f1_score(LabelCount c) { return ratio(2 * c.both, c.truth + c.predicted); }

static void micro_metrics(Evaluation *e, size_t K)
{
    LabelCount sum = {0};
    for (size_t k = 0; k < K; k++) {
        sum.truth += e->counts[k].truth;
        sum.predicted += e->counts[k].predicted;
        sum.both += e->counts[k].both;
    }
    add_metric(e, "f1", f1_score(sum));
    add_metric(e, "precision", ratio(sum.both, sum.predicted));
    add_metric(e, "recall", ratio(sum.both, sum.truth));
}

/* scikit-learn's accuracy_score, f1_score(average="macro"), f1_score (of the second of two labels)
   and matthews_corrcoef. macro: a label neither true nor predicted anywhere does not count. */
static void class_metrics(Evaluation *e, size_t K)
{
    double n = 0, right = 0, f1 = 0, present = 0, tp = 0, tt = 0, pp = 0;
    for (size_t k = 0; k < K; k++) {
        LabelCount c = e->counts[k];
        n += c.truth;
        right += c.both;
        f1 += f1_score(c);
        present += c.truth + c.predicted > 0;
        tp += c.truth * c.predicted;
        tt += c.truth * c.truth;
        pp += c.predicted * c.predicted;
    }
    add_metric(e, "accuracy", ratio(right, n));
    add_metric(e, "macro_f1", ratio(f1, present));
    if (K == 2) add_metric(e, "f1", f1_score(e->counts[1]));
    add_metric(e, "matthews_correlation",
               ratio(right * n - tp, sqrt(n * n - tt) * sqrt(n * n - pp)));
}

/* scipy's pearsonr; NaN where x or y is constant, as there. */
static double pearson(const double *x, const double *y, size_t n)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    int constant_x = 1, constant_y = 1;
    for (size_t i = 0; i < n; i++) mx += x[i] / (double)n, my += y[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
        constant_x &= x[i] == x[0], constant_y &= y[i] == y[0];
    }
    if (n < 2 || constant_x || constant_y) return NAN;
    return fmax(-1, fmin(1, xy / (sqrt(xx) * sqrt(yy))));
}

typedef struct {
    double value;
    size_t at;
} Ranked;

static int by_value(const void *a, const void *b)
{
    double x = ((const Ranked *)a)->value, y = ((const Ranked *)b)->value;
    return (x > y) - (x < y);
}

/* Ranks from 1 in place of values; equal values share the mean of theirs. */
static void rank(double *x, size_t n)
{
    Ranked *r = take(n, sizeof *r, "ranks");
    for (size_t i = 0; i < n; i++) r[i].value = x[i], r[i].at = i;
    qsort(r, n, sizeof *r, by_value);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && r[j].value == r[i].value;) j++;
        for (size_t k = i; k < j; k++) x[r[k].at] = (double)(i + 1 + j) / 2;
    }
    free(r);
}

/* Pearson, MSE and, as x and y turn into their ranks, scipy's spearmanr. */
static void regression_metrics(Evaluation *e, double *x, double *y, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (x[i] - y[i]) * (x[i] - y[i]);
    add_metric(e, "pearson", pearson(x, y, n));
    rank(x, n), rank(y, n);
    add_metric(e, "spearmanr", pearson(x, y, n));
    add_metric(e, "mse", squares / (double)n);
}

/* -- entities, as seqeval's default mode finds them in BIO, IOB1 and BIOES tags -- */

/* seqeval splits B-LOC at the first dash behind the letter; a tag without one has type _. */
static BertText tag_type(const BertStrings *names, int k)
{
    BertText name = bert_string(names, (size_t)k), type = {"_", 1};
    const char *dash = name.size > 1 ? memchr(name.bytes + 1, '-', name.size - 1) : NULL;
    const char *from = dash ? dash + 1 : name.bytes + 1;
    if (from < name.bytes + name.size)
        type.bytes = from, type.size = (size_t)(name.bytes + name.size - from);
    return type;
}

typedef struct {
    BertText text;
    int at;
} Placed;

static int by_text(const void *a, const void *b)
{
    const Placed *x = a, *y = b;
    int order = memcmp(x->text.bytes, y->text.bytes, bert_zmin_(x->text.size, y->text.size));
    if (!order) order = (x->text.size > y->text.size) - (x->text.size < y->text.size);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static Tag *tags_of(const BertStrings *names)
{
    const int K = (int)names->count;
    Tag *tags = take(names->count, sizeof *tags, "tags");
    Placed *types = take(names->count, sizeof *types, "tags"); /* equal ones side by side */
    for (int k = 0; k < K; k++) {
        BertText name = bert_string(names, (size_t)k);
        tags[k].letter = name.size ? name.bytes[0] : 'O';
        types[k].text = tag_type(names, k), types[k].at = k;
    }
    qsort(types, names->count, sizeof *types, by_text);
    for (int k = 0, first = 0; k < K; k++) {
        if (!same_text(types[k].text, types[first].text)) first = k;
        tags[types[k].at].type = types[first].at;
    }
    free(types);
    return tags;
}

/* Does an entity end before the second tag, does one start with it? A stray I- or E- opens one. */
static int entity_ends(Tag before, Tag tag)
{
    return is_one_of(before.letter, "ES") ||
           (is_one_of(before.letter, "BI") && is_one_of(tag.letter, "BSO")) ||
           (!is_one_of(before.letter, "O.") && before.type != tag.type);
}

static int entity_starts(Tag before, Tag tag)
{
    return is_one_of(tag.letter, "BS") ||
           (is_one_of(before.letter, "ESO") && is_one_of(tag.letter, "EI")) ||
           (!is_one_of(tag.letter, "O.") && before.type != tag.type);
}

/* Counts a sentence's entities by type; a token whose true label is below 0 is no word. */
static void count_entities(LabelCount *counts, const Tag *tags, const int32_t *truth,
                           const int *predicted, size_t T)
{
    const Tag outside = {'O', -1};
    Tag before[2] = {outside, outside};
    size_t start[2] = {0, 0};
    for (size_t t = 0; t <= T; t++) {
        if (t < T && truth[t] < 0) continue;
        Tag now[2] = {t < T ? tags[truth[t]] : outside, t < T ? tags[predicted[t]] : outside};
        int type[2]; /* of the entity that ends here, or -1 */
        for (int p = 0; p < 2; p++) type[p] = entity_ends(before[p], now[p]) ? before[p].type : -1;
        if (type[0] >= 0) counts[type[0]].truth++;
        if (type[1] >= 0) counts[type[1]].predicted++;
        if (type[0] >= 0 && type[0] == type[1] && start[0] == start[1]) counts[type[0]].both++;
        for (int p = 0; p < 2; p++) {
            if (entity_starts(before[p], now[p])) start[p] = t;
            before[p] = now[p];
        }
    }
}

/* -- exact match and F1 of answers, as the official SQuAD scripts count them. They are Python: what
   its str knows of Unicode is taken from the tokenizer's table, which has no categories for marks
   that take space (Mc) nor for some numbers (No): beside those an article is not one here. -- */

/* Python's str.isspace beyond ASCII */
static int is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* A letter or number: part of a word, but for marks and connecting punctuation. */
static int is_alnum(const BertTokenizer *t, uint32_t c)
{
    if (c < 128) return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
    if (c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE)) return 1;
    return bert_is_alnum(t, c);
}

/* str.lower of one code point: its letters, at most 3 (Unicode has no more). Sigma is the final one
   behind a letter and before none; Python looks past marks and apostrophes there, this does not. */
static int lower_case(const BertTokenizer *t, uint32_t out[3], uint32_t before, uint32_t c,
                      uint32_t after)
{
    out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
    int n = c >= 128 ? bert_lower_case(t, c, out) : 0;
    if (c == 0x3A3 && is_alnum(t, before) && !is_alnum(t, after)) out[0] = 0x3C2;
    return n ? n : 1;
}

/* normalize_answer: lower case, no ASCII punctuation, no articles, one blank between words. out
   has room for 3n + 1; returns its length. */
static size_t normalize_answer(const BertTokenizer *t, uint32_t *out, BertText text)
{
    static const uint32_t articles[][3] = {{'a'}, {'a', 'n'}, {'t', 'h', 'e'}}; /* by length */
    size_t length = 0, kept = 0, end;
    uint32_t before = 0, c, after, lower[3];
    for (size_t at = 0, ahead; at < text.size; before = c) {
        c = bert_utf8(text.bytes, text.size, &at);
        ahead = at;
        after = at < text.size ? bert_utf8(text.bytes, text.size, &ahead) : 0;
        int m = lower_case(t, lower, before, c, after);
        for (int i = 0; i < m; i++)
            if (lower[i] >= 128 || is_alnum(t, lower[i]) || lower[i] <= ' ' || lower[i] == 127)
                out[length++] = lower[i];
    }
    /* a run of letters and numbers that is a, an or the becomes a blank; so does white space */
    for (size_t i = 0, n; i < length; i = end) {
        int word = is_alnum(t, out[i]);
        for (end = i + 1; word && end < length && is_alnum(t, out[end]);) end++;
        n = end - i;
        if (is_space(out[i]) || (n <= 3 && !memcmp(out + i, articles[n - 1], n * sizeof *out))) {
            if (kept && out[kept - 1] != ' ') out[kept++] = ' ';
        } else {
            for (size_t j = i; j < end; j++) out[kept++] = out[j];
        }
    }
    return kept && out[kept - 1] == ' ' ? kept - 1 : kept;
}

/* The words of a normalized answer in the order of their bytes; how many in n. */
static Placed *sorted_words(const uint32_t *s, size_t length, size_t *n)
{
    Placed *words = take(length / 2 + 1, sizeof *words, "the words of an answer");
    *n = 0;
    for (size_t at = 0, end; at < length; at = end + 1) {
        for (end = at; end < length && s[end] != ' ';) end++;
        words[*n].text.bytes = (const char *)(s + at);
        words[(*n)++].text.size = (end - at) * sizeof *s;
    }
    qsort(words, *n, sizeof *words, by_text);
    return words;
}

/* F1 of the words: those that both have, each as often as both have it. */
static double word_f1(const uint32_t *a, size_t a_length, const uint32_t *b, size_t b_length)
{
    size_t na, nb, shared = 0;
    Placed *x = sorted_words(a, a_length, &na), *y = sorted_words(b, b_length, &nb);
    for (size_t i = 0, j = 0; i < na && j < nb;) {
        int same = same_text(x[i].text, y[j].text), first = same || by_text(&x[i], &y[j]) < 0;
        shared += (size_t)same;
        i += (size_t)first, j += (size_t)(same || !first);
    }
    free(x), free(y);
    return ratio(2 * (double)shared, (double)(na + nb));
}

/* The highest exact match and F1 over the gold answers (first .. first+count-1 of golds). v2.0's
   script leaves out golds that are empty when normalized, takes "" where none is left, and gives F1
   1 to empty on empty; v1.1's gives it 0. */
static void squad_scores(const BertTokenizer *t, BertText text, const BertStrings *golds,
                         size_t first, size_t count, int v2, double *exact, double *f1)
{
    size_t room = text.size, used = 0;
    for (size_t i = 0; i < count; i++) room += bert_string(golds, first + i).size;
    uint32_t *answer = take(3 * room + 2, sizeof *answer, "an answer");
    uint32_t *gold = answer + 3 * text.size + 1;
    size_t na = normalize_answer(t, answer, text);
    *exact = *f1 = 0;
    for (size_t i = 0; i < count; i++) {
        size_t ng = normalize_answer(t, gold, bert_string(golds, first + i));
        if (v2 && ng == 0) continue;
        used++;
        *exact = fmax(*exact, na == ng && !memcmp(answer, gold, na * sizeof *gold));
        if (na && ng) *f1 = fmax(*f1, word_f1(answer, na, gold, ng));
    }
    if (v2 && !used) *exact = *f1 = na == 0;
    free(answer);
}

/* ------------------------------------------------------------------------------------------------
   Tasks */

/* An example of a batch, and what the model made of it. */
typedef struct {
    const Options *o;
    const Bert *m;
    const Data *d;
    const BertBatch *x;
    Evaluation *e;
    size_t item;          /* its place in the pass */
    int b, first, T;      /* and in the batch; its first token there, and how many it has */
    int row, end_row;     /* of the batch's masked rows those that are its own */
    const float *logits;  /* its rows: (1,K), ner (T,K), qa (T,2), mlm (end_row-row,V) */
    const int32_t *spans; /* ner, qa (T,2) */
} Output;

typedef struct {
    int (*check)(Data *d);                         /* what the file holds, or NULL */
    void (*collect)(const Output *out);            /* what metrics need of an example */
    void (*measure)(Evaluation *e, const Data *d); /* the metrics */
    void (*report)(FILE *f, const Evaluation *e, const Data *d); /* details, or NULL */
    void (*predict)(const Output *out); /* writes a JSON object, or none yet */
} Task;

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

enum { WIDEST_NAME = 40 };

static int name_width(const BertStrings *names)
{
    int width = 12;
    for (size_t k = 0; k < names->count; k++)
        width = bert_max_(width, put_part(NULL, bert_string(names, k), WIDEST_NAME));
    return width;
}

/* A row for each label or type: how well it is found, how often it is true. */
static void print_counts(FILE *f, BertText name, int width, LabelCount c)
{
    print_name(f, name, width, width);
    fprintf(f, "  %.4f     %.4f  %.4f  %-6.0f", ratio(c.both, c.predicted), ratio(c.both, c.truth),
            f1_score(c), c.truth);
}

/* -- classification: softmax and cross-entropy over K labels; multi-label: each by itself -- */

static void classification_collect(const Output *out)
{
    Evaluation *e = out->e;
    const int K = out->m->config.K, multi = out->d->multi_label;
    const float *targets = multi ? out->x->targets + (size_t)out->b * K : NULL;
    int best = -1;
    if (!multi) bert_top_k(&best, NULL, out->logits, K, 1);
    for (int k = 0; k < K; k++) {
        int truth = multi ? targets[k] > 0 : k == out->x->labels[out->b];
        int predicted = multi ? out->logits[k] > 0 : k == best; /* above one half */
        e->counts[k].truth += truth;
        e->counts[k].predicted += predicted;
        e->counts[k].both += truth && predicted;
    }
    if (!multi && K <= MOST_COLUMNS) e->confusion[out->x->labels[out->b]][best]++;
}

static void classification_measure(Evaluation *e, const Data *d)
{
    if (d->multi_label) micro_metrics(e, (size_t)d->K);
    else class_metrics(e, (size_t)d->K);
}

/* With the confusion matrix, where its K columns can be read, and a terminal has room for them. */
static void classification_report(FILE *f, const Evaluation *e, const Data *d)
{
    const int terminal = terminal_columns(STDOUT_FILENO), widest = 16;
    size_t K = (size_t)d->K;
    int width = name_width(&d->names), matrix = K <= MOST_COLUMNS && !d->multi_label, wide = 35;
    int columns[MOST_COLUMNS];
    for (size_t k = 0; matrix && k < K; k++) {
        columns[k] = bert_max_(6, put_part(NULL, bert_string(&d->names, k), widest));
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

/* -- regression: one number -- */

static void regression_collect(const Output *out) { out->e->values[out->item] = *out->logits; }

static void regression_measure(Evaluation *e, const Data *d)
{
    double *truth = take(d->n, sizeof *truth, "values");
    for (size_t i = 0; i < d->n; i++) truth[i] = d->targets[i];
    regression_metrics(e, e->values, truth, d->n);
    free(truth);
}

static void regression_predict(const Output *out)
{
    const int sigmoid = out->m->config.activation_out == BERT_OUT_SIGMOID; /* a cross-encoder */
    put_float("{\"value\": ", sigmoid ? 1.0 / (1.0 + exp(-(double)*out->logits)) : *out->logits);
    put_end(out);
}

/* -- ner: a label for each word, on its first piece -- */

static void ner_collect(const Output *out)
{
    Evaluation *e = out->e;
    const int K = out->m->config.K, T = out->T, *truth = out->x->labels + out->first;
    int *predicted = take((size_t)T, sizeof *predicted, "predictions");
    for (int t = 0; t < T; t++) {
        bert_top_k(&predicted[t], NULL, out->logits + (size_t)t * K, K, 1);
        e->sums[0][0] += truth[t] == predicted[t]; /* never where there is no label */
        e->sums[0][1] += truth[t] >= 0;
    }
    count_entities(e->counts, e->tags, truth, predicted, (size_t)T);
    free(predicted);
}

static void ner_measure(Evaluation *e, const Data *d)
{
    micro_metrics(e, (size_t)d->K);
    add_metric(e, "accuracy", ratio(e->sums[0][0], e->sums[0][1]));
}

static void ner_report(FILE *f, const Evaluation *e, const Data *d)
{
    int width = name_width(&d->names);
    fprintf(f, "\n%-*s  precision  recall  f1      count\n", width, "true entity");
    for (int k = 0; k < d->K; k++) {
        if (e->counts[k].truth + e->counts[k].predicted == 0) continue;
        print_counts(f, tag_type(&d->names, k), width, e->counts[k]);
        fprintf(f, "\n");
    }
}

/* Characters start .. end-1 of text i */
static BertText text_part(const Data *d, size_t i, int start, int end)
{
    BertText text = d->lines ? d->lines[i].text : bert_string(&d->texts, i);
    size_t at = 0, from = 0;
    for (int c = 0; c < end && at < text.size; c++) {
        if (c == start) from = at;
        bert_utf8(text.bytes, text.size, &at);
    }
    BertText part = {text.bytes + from, at > from && start < end ? at - from : 0};
    return part;
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
        BertText name = {"", 0};
        if (names->count) name = bert_string(names, (size_t)found[i].label);
        const char *dash = memchr(name.bytes, '-', name.size);
        printf(i ? ", {\"entity_group\": " : "{\"entity_group\": ");
        if (dash) {
            BertText type = {dash + 1, name.size - (size_t)(dash + 1 - name.bytes)};
            put_string("", type);
        } else put_label("", names, (size_t)found[i].label);
        put_float(", \"score\": ", found[i].score);
        put_word(out, &found[i]);
        printf(", \"start\": %d, \"end\": %d}", found[i].start, found[i].end);
    }
    free(found);
    if (words) put_tags(out, words); /* text has none */
    printf("]");
    put_end(out);
}

/* -- qa: a span of the context, over all its windows -- */

/* The question of the window that is so many behind this one, or -1. */
static int question_of(const Output *out, int behind)
{
    size_t window = out->item + (size_t)behind;
    return window < out->d->n ? out->d->words[window] : -1;
}

/* Takes in a window. Returns its question where it was the last of it, or -1. */
static int qa_window(const Output *out, int may_lack)
{
    const int question = question_of(out, 0);
    BertAnswers *a = &out->e->answers;
    if (question_of(out, -1) != question) {
        memset(a, 0, sizeof *a);
        a->n_best = (int)out->o->n_best_size;
        a->max_tokens = out->o->max_answer_length ? (int)out->o->max_answer_length : 30;
        a->may_lack = may_lack || out->d->may_lack || out->o->version_2_with_negative;
    }
    bert_answers_add(a, out->logits, out->spans, out->T);
    return question_of(out, 1) != question ? question : -1;
}

/* Where a question's strings begin: its id, itself, its gold answers. Questions are asked for in
   their order. */
static size_t qa_strings(Evaluation *e, const Data *d, int question)
{
    if (question < e->question) e->question = 0, e->strings = 0; /* again from the first */
    while (e->question < question) e->strings += 2 + (size_t)d->num_golds[e->question++];
    return e->strings;
}

static void qa_collect(const Output *out)
{
    const Data *d = out->d;
    const int question = qa_window(out, 0);
    BertText text = {"", 0};
    double exact, f1;
    if (question < 0) return;
    int answer = bert_answers_end(&out->e->answers, out->o->null_score_diff_threshold);
    size_t first = qa_strings(out->e, d, question) + 2, count = (size_t)d->num_golds[question];
    if (answer >= 0) {
        const BertAnswer *span = &out->e->answers.best[answer];
        text = text_part(d, (size_t)question, span->start, span->end);
    }
    squad_scores(&out->m->tokenizer, text, &d->golds, first, count, d->may_lack, &exact, &f1);
    double *sums = out->e->sums[count > 0];
    sums[0] += f1, sums[1] += exact, sums[2]++;
}

/* In percent, as the scripts print them. */
static void qa_measure(Evaluation *e, const Data *d)
{
    double(*s)[3] = e->sums, n = s[0][2] + s[1][2];
    add_metric(e, "f1", 100 * ratio(s[0][0] + s[1][0], n));
    add_metric(e, "exact_match", 100 * ratio(s[0][1] + s[1][1], n));
    for (int has = 1; has >= 0 && d->may_lack; has--) {
        add_metric(e, has ? "HasAns_f1" : "NoAns_f1", 100 * ratio(s[has][0], s[has][2]));
        add_metric(e, has ? "HasAns_exact" : "NoAns_exact", 100 * ratio(s[has][1], s[has][2]));
    }
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
    a->count = bert_min_(top_k, (int)e->num_found);
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
    put_string("{\"id\": ", bert_string(&d->golds, qa_strings(out->e, d, question)));
    printf(", ");
    put_answers(d, question, best, a->best, a->count);
    put_end(out);
}

/* -- mlm and pretraining: words behind masks; does the second text follow the first? -- */

static void masked_collect(const Output *out)
{
    const BertActs *a = &out->m->acts;
    const BertBatch *x = out->x;
    const int V = out->m->config.V, b = out->b;
    double *masks = out->e->sums[0];
    for (int r = out->row, best; r < out->end_row; r++) {
        bert_top_k(&best, NULL, a->logits + (size_t)r * (size_t)V, V, 1);
        masks[0] += best == x->labels[r], masks[1] += a->losses[r], masks[2]++;
    }
    if (!x->next) return;
    double *pairs = out->e->sums[1 + x->next[b]];
    pairs[0] += (a->nsp[2 * b + 1] > a->nsp[2 * b]) == x->next[b];
    pairs[1] += a->nsplosses[b], pairs[2]++;
}

static void masked_measure(Evaluation *e, const Data *d)
{
    double(*s)[3] = e->sums, pairs = s[1][2] + s[2][2];
    double mlm = ratio(s[0][1], s[0][2]), nsp = ratio(s[1][1] + s[2][1], pairs);
    e->loss = mlm + nsp;
    add_metric(e, "masked_accuracy", ratio(s[0][0], s[0][2]));
    add_metric(e, "perplexity", exp(mlm));
    if (d->task != BERT_PRETRAINING) return;
    add_metric(e, "mlm_loss", mlm);
    add_metric(e, "nsp_loss", nsp);
    add_metric(e, "nsp_accuracy", ratio(s[1][0] + s[2][0], pairs));
}

/* The mean of the two recalls is 0.5 for a model that has learned nothing, whatever it answers. */
static void pretraining_report(FILE *f, const Evaluation *e, const Data *d)
{
    static const char *const names[2] = {"follows", "random"};
    (void)d;
    fprintf(f, "\n%-11s  precision  recall  f1      count\n", "second text");
    for (int k = 0; k < 2; k++) {
        const double *is = e->sums[1 + k], *other = e->sums[2 - k];
        LabelCount counts = {is[2], is[0] + other[2] - other[0], is[0]};
        print_counts(f, text_of(names[k]), 11, counts);
        fprintf(f, "\n");
    }
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

static const Task tasks[BERT_NUM_TASKS] = {
    [BERT_CLASSIFICATION] = {check_classification, classification_collect, classification_measure,
                             classification_report, classification_predict},
    [BERT_REGRESSION] = {check_regression, regression_collect, regression_measure, NULL,
                         regression_predict},
    [BERT_NER] = {check_ner, ner_collect, ner_measure, ner_report, ner_predict},
    [BERT_QA] = {check_qa, qa_collect, qa_measure, NULL, qa_predict},
    [BERT_MLM] = {NULL, masked_collect, masked_measure, NULL, masked_predict},
    [BERT_PRETRAINING] = {check_pretraining, masked_collect, masked_measure, pretraining_report,
                          NULL},
};

/* ------------------------------------------------------------------------------------------------
   What a command works with. bert_main frees it. */

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
} Input;

typedef struct {
    size_t n, N;
    int longest;
} ShardSize;

/* What training adds up. */
typedef struct {
    double steps, loss, items, tokens, seconds;
    double rows; /* that have a label */
} Sums;

typedef struct {
    Options o;
    Bert model;
    Data data, eval_data; /* data: train_file's shard, predict_file, or lines of text */
    Pass pass, eval_pass;
    Batch batch;
    Evaluation result;
    Input input;
    FILE *log;    /* log.jsonl, or NULL */
    int log_open; /* a line was begun */

    Lock lock;            /* of output_dir */
    glob_t shards;        /* train_file's */
    ShardSize *scanned;   /* of each shard */
    size_t *shard_order;  /* of the epoch */
    size_t shard;         /* the one in data, counted from 1 */
    double *counts;       /* (K) of each label, over all shards */
    float *class_weights; /* (K) or NULL */

    int longest;                              /* input of training */
    size_t micro_batch, micro_batches, items; /* examples in one; of them, and items, an epoch */
    size_t steps_an_epoch;                    /* optimizer steps */
    long long total, warmup, step;            /* optimizer steps: all, of the warmup, done */
    double epoch;                             /* done, with the fraction */
    double rate, norm;                        /* of the last step */
    Sums run, line;                           /* so far, and at the last log line */
    long long saved_step, best_step;          /* of model.bin, best.bin */
    int saved;                                /* an earlier run's models are out of the way */
    double best, best_loss;
} Driver;

static volatile sig_atomic_t stop_signal; /* SIGINT or SIGTERM: finish the step, save, leave */

/* Loads a data file, and checks that the model can read it, whatever its head. labelled: its labels
   are needed; else they are not read. */
static int load_data(const Bert *m, Data *d, const char *path, int labelled)
{
    const BertTokenizer *t = &m->tokenizer;
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    d->path = path;
    int failed = data_read(d, f);
    fclose(f);
    if (failed || (tasks[d->task].check && tasks[d->task].check(d))) return 1;
    int masked = bert_has_mlm_(d->task);
    d->labelled &= labelled;
    if (labelled && !d->labelled && !masked)
        return fail("%s: is unlabelled, labels are needed here", path);
    if (labelled && d->n == 0) return fail("%s: has no examples", path);
    if (d->hash != t->hash)
        return fail("%s: was made with another vocabulary or other tokenizer settings than this "
                    "model's: make it again with tokenizer.py --model THIS_MODEL",
                    path);
    if (masked && (!t->vocabulary.count || t->words[BERT_ID_MASK] < 0))
        return fail("%s: masks need a vocabulary with [MASK]: this model has none", path);
    if (d->V > m->config.V)
        return fail("%s: token ids up to %d, the model has %d", path, d->V - 1, m->config.V);
    if (longest_input(d) > m->config.P)
        return fail("%s: an example has %d tokens, the model reads %d: make it again with "
                    "tokenizer.py --max_length %d",
                    path, longest_input(d), m->config.P, m->config.P);
    if ((d->pairs || d->task == BERT_PRETRAINING) && m->config.S < 2)
        return fail("%s: has pairs of texts, the model has one token type only", path);
    return 0;
}

static int check_names(const BertStrings *names, const char *whose, const Data *d, const char *help)
{
    Page page;
    if (same_names(names, &d->names)) return 0;
    fail("%s: its labels are not those of %s. %s", d->path, whose, help);
    FILE *f = page_begin(&page);
    fprintf(f, "  %s: ", d->path);
    print_names(f, &d->names, NULL);
    fprintf(f, "  %s: ", whose);
    print_names(f, names, NULL);
    page_end(&page, stderr, 4);
    return 1;
}

/* The head's K for this data. */
static int head_size(const Data *d) { return d->task == BERT_REGRESSION ? 1 : d->K; }

/* eval and predict: the head must be there. That of pretraining has mlm's in it. */
static int check_head(Bert *m, const char *path, const Data *d)
{
    if (m->config.task == BERT_PRETRAINING && d->task == BERT_MLM &&
        bert_set_task(m, BERT_MLM, 0, 0, NULL, 0))
        return fail("%s: %s", path, bert_error(m));
    if (m->config.task == BERT_NONE)
        return fail("%s: has no head%s%s: fine-tune it first (train_bert train)", path,
                    d->task ? " for " : "", d->task ? task_names[d->task] : "");
    if (m->config.task != d->task || m->config.multi_label != d->multi_label)
        return fail("%s: is a model for %s%s, %s is data for %s%s", path,
                    m->config.multi_label ? "multi-label " : "", task_names[m->config.task],
                    d->path, d->multi_label ? "multi-label " : "", task_names[d->task]);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   Evaluation */

/* Readies the passes over eval_data, whose masks and pairs never change, and memory for all
   batches, of training too, and for what an evaluation counts. */
static int make_room(Driver *d)
{
    const Data *eval = &d->eval_data;
    Evaluation *e = &d->result;
    Pass *p = &d->eval_pass;
    p->tokenizer = &d->model.tokenizer;
    p->share = d->o.mlm_probability;
    pass_room(p, eval, 0);
    pass_start(p, eval, 0, UINT64_MAX, 0, d->o.short_seq_prob);
    if (eval->task == BERT_NER) e->tags = tags_of(&eval->names);
    if (eval->task == BERT_REGRESSION) e->values = take(eval->n, sizeof *e->values, "predictions");
    e->counts = take((size_t)eval->K, sizeof *e->counts, "the counts of labels");
    size_t B = bert_zmin_((size_t)d->o.per_device_eval_batch_size, p->n);
    return batch_room(&d->batch, B > d->micro_batch ? B : d->micro_batch,
                      (size_t)bert_max_(d->longest, longest_input(eval)),
                      bert_has_targets(&d->model.config) ? (size_t)d->model.config.K : 0);
}

static void progress(const char *what, size_t done, size_t n, double start)
{
    const double time = seconds() - start;
    live((double)done / (double)n, "%s %zu/%zu\t%s left\t%.0f a second", what, done, n,
         clock_text(time * (double)(n - done) / (double)done), (double)done / time);
}

/* Calls a task's function for each example of a batch, the first of which is that item. */
static void each_output(Driver *d, const Data *data, const BertBatch *x, size_t item,
                        void (*use)(const Output *out))
{
    const Bert *m = &d->model;
    const int task = m->config.task, of_tokens = task == BERT_NER || task == BERT_QA;
    Output out = {.o = &d->o, .m = m, .d = data, .x = x, .e = &d->result, .item = item};
    for (; out.b < x->B; out.b++, out.item++) {
        out.first = x->offsets[out.b];
        out.T = x->offsets[out.b + 1] - out.first;
        out.row = out.end_row;
        while (out.end_row < x->R && x->rows[out.end_row] < out.first + out.T) out.end_row++;
        int row = of_tokens ? out.first : bert_has_mlm_(task) ? out.row : out.b;
        out.logits = m->acts.logits + (size_t)row * bert_head_cols(&m->config);
        if (of_tokens) out.spans = data->spans + 2 * data->offsets[out.item];
        use(&out);
    }
}

/* Where it holds nothing that a loss is taken of: that loss is 0. */
static void warn_unlabelled(const char *path, int task, const char *done)
{
    warn("%s: %s, so nothing was %s", path,
         bert_has_mlm_(task) ? "no token was masked" : "no token has a label", done);
}

static int infer(Bert *m, const BertBatch *x)
{
    threads_begin();
    int error = bert_forward(m, x, 0);
    threads_end(x->offsets[x->B]);
    return error;
}

/* Mean loss and metrics over eval_data, without class weights and label smoothing, so that runs
   compare. Interrupted: 1, with stop_signal set. */
static int evaluate(Driver *d)
{
    const Data *data = &d->eval_data;
    Evaluation *e = &d->result;
    Bert *m = &d->model;
    double start = seconds(), loss = 0, rows = 0, divisor;
    memset(e->sums, 0, sizeof e->sums);
    memset(e->counts, 0, (size_t)data->K * sizeof *e->counts);
    memset(e->confusion, 0, sizeof e->confusion);
    for (size_t first = 0, B; first < d->eval_pass.n; first += B) {
        B = bert_zmin_((size_t)d->o.per_device_eval_batch_size, d->eval_pass.n - first);
        BertBatch x = batch_fill(&d->batch, data, &d->eval_pass, first, B);
        if (infer(m, &x)) return fail("%s: %s", data->path, bert_error(m));
        divisor = bert_divisor(m, &x);
        loss += (double)m->loss * divisor;
        rows += divisor;
        each_output(d, data, &x, first, tasks[data->task].collect);
        progress("eval", first + B, d->eval_pass.n, start);
        if (stop_signal) return 1;
    }
    live_clear();
    e->loss = ratio(loss, rows);
    if (rows == 0) warn_unlabelled(data->path, data->task, "measured");
    e->num_metrics = 0;
    if (!isfinite(e->loss))
        return fail("%s: the loss is %g: the model's parameters are damaged", data->path, e->loss);
    tasks[data->task].measure(e, data);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   Saving, and the log */
static int save_model(Driver *d, const char *name)
{
    static const char *const names[] = {"model.bin", "best.bin"};
    Bert *m = &d->model;
    Whole file;
    for (size_t i = 0; i < m->num_parameters; i++)
        if (!isfinite(m->params_memory[i]))
            return fail("%s/%s: not saved: parameters are no longer finite numbers",
                        d->o.output_dir, name);
    if (access(d->o.output_dir, F_OK) && errno == ENOENT) {
        warn("%s: is gone, and made again", d->o.output_dir);
        if (make_folder("--output_dir", d->o.output_dir)) return 1;
    }
    if (whole_begin(&file, d->o.output_dir, name)) return 1;
    int failed = bert_save(m, file.temporary) ? fail("%s", bert_error(m)) : 0;
    if (!failed && !d->saved) /* now there is something in their place */
        failed = set_aside(d->o.output_dir, names, 2, d->o.overwrite_output_dir != 0),
        d->saved = !failed; /* should this save fail, the next must not set that aside again */
    if (whole_end(&file, failed)) return 1;
    d->saved_step = d->step;
    return 0;
}

/* The log: log.jsonl, an object a line under Trainer's names. A new run replaces it, as Trainer's
   trainer_state.json has the history of one run: two in one file could not be told apart. */
static int log_start(Driver *d)
{
    char path[PATH_MAX];
    if (!d->o.logging_dir) return 0;
    if (make_folder("--logging_dir", d->o.logging_dir)) return 1;
    snprintf(path, sizeof path, "%s/log.jsonl", d->o.logging_dir);
    d->log = fopen(path, "w");
    return d->log ? 0 : fail("%s: cannot be written: %s", path, strerror(errno));
}

static void log_number(Driver *d, const char *prefix, const char *name, double value, int digits)
{
    if (!d->log) return;
    fprintf(d->log, "%s\"%s%s\": ", d->log_open ? ", " : "{", prefix, name);
    put_number(d->log, value, digits);
    d->log_open = 1;
}

/* A log that cannot be written costs the log, not the training. */
static void log_end(Driver *d)
{
    log_number(d, "", "epoch", d->epoch, 17);
    log_number(d, "", "step", (double)d->step, 17);
    if (!d->log) return;
    fputs("}\n", d->log);
    d->log_open = 0;
    if (!fflush(d->log) && !ferror(d->log)) return;
    warn("the log cannot be written: %s; going on without it", strerror(errno));
    fclose(d->log);
    d->log = NULL;
}

/* ------------------------------------------------------------------------------------------------
   A model from scratch: --init config.json */

/* Sizes have to be there. What would make another network is refused, as in dev/export_hf.py. */
static int read_config(BertConfig *c, const char *path)
{
    const struct {
        const char *key;
        int *size;
        float *number, otherwise;
        const char *only;
    } fields[] = {
        {"vocab_size", .size = &c->V},
        {"hidden_size", .size = &c->C},
        {"num_hidden_layers", .size = &c->L},
        {"num_attention_heads", .size = &c->NH},
        {"intermediate_size", .size = &c->F},
        {"max_position_embeddings", .size = &c->P},
        {"type_vocab_size", .size = &c->S},
        {"layer_norm_eps", .number = &c->eps, .otherwise = 1e-12f},
        {"hidden_dropout_prob", .number = &c->hidden_dropout, .otherwise = 0.1f},
        {"attention_probs_dropout_prob", .number = &c->att_dropout, .otherwise = 0.1f},
        {"classifier_dropout", .number = &c->cls_dropout, .otherwise = -1},
        {"initializer_range", .number = &c->init_range, .otherwise = 0.02f},
        {"model_type", .only = "bert"},
        {"position_embedding_type", .only = "absolute"},
        {"is_decoder", .only = "false"},
        {"add_cross_attention", .only = "false"},
        {"pad_token_id", .only = NULL}, /* the last two: see below */
        {"hidden_act", .only = NULL},
    };
    static const struct {
        const char *name;
        int act;
    } acts[] = {{"gelu", BERT_GELU},
                {"gelu_new", BERT_GELU_TANH},
                {"gelu_pytorch_tanh", BERT_GELU_TANH},
                {"gelu_python", BERT_GELU},
                {"relu", BERT_RELU}};
    enum { KEYS = sizeof fields / sizeof fields[0], ACTS = sizeof acts / sizeof acts[0] };
    static char json[1 << 20];
    const char *keys[KEYS];
    BertText values[KEYS] = {{NULL, 0}}, name;
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    size_t n = fread(json, 1, sizeof json - 1, f);
    fclose(f);
    for (int i = 0; i < KEYS; i++) keys[i] = fields[i].key;
    values[KEYS - 2] = text_of("0"); /* null, which is no row, leaves nothing there */
    int whole = json_fields(json, json + n, keys, KEYS, -1, values), act = 0;
    for (int i = 0; i < KEYS; i++) {
        char *end = NULL;
        const BertText value = values[i];
        double number = value.size ? strtod(value.bytes, &end) : fields[i].otherwise;
        if (value.size && end != value.bytes + value.size) number = NAN;
        if (fields[i].size && !(number >= 1 && number <= INT_MAX && number == floor(number)))
            return fail("%s: not a BERT config.json: \"%s\" is missing or not 1 to %d", path,
                        keys[i], INT_MAX);
        if (fields[i].size) *fields[i].size = (int)number;
        else if (!whole) return fail("%s: not a JSON object", path);
        if (fields[i].number) *fields[i].number = (float)number;
        if (fields[i].number && isnan(number))
            return fail("%s: %s is %.*s, not a number", path, keys[i], (int)value.size,
                        value.bytes);
        if (fields[i].only && value.bytes && !same_text(value, text_of(fields[i].only)))
            return fail("%s: %s is %.*s, not %s: this BERT has no other", path, keys[i],
                        (int)value.size, value.bytes, fields[i].only);
    }
    const BertText pad = values[KEYS - 2];
    char *end = NULL;
    const double row = pad.size ? strtod(pad.bytes, &end) : -1;
    if (pad.size &&
        (end != pad.bytes + pad.size || !(row >= -c->V && row < c->V && row == floor(row))))
        return fail("%s: pad_token_id is %.*s, not %d to %d", path, (int)pad.size, pad.bytes, -c->V,
                    c->V - 1);
    c->padding_idx = (int)row + (pad.size && row < 0 ? c->V : 0); /* counted from the end */
    name = values[KEYS - 1].bytes ? values[KEYS - 1] : text_of(acts[0].name); /* hidden_act */
    while (act < ACTS && !same_text(name, text_of(acts[act].name))) act++;
    if (act == ACTS)
        return fail("%s: hidden_act %.*s is not gelu, gelu_new or relu", path, (int)name.size,
                    name.bytes);
    c->act = acts[act].act;
    return 0;
}

/* All tensors as BertPreTrainedModel._init_weights draws them; padding_idx's row of wte is zero.
   The tokenizer is another model's. */
static int init_model(Driver *d)
{
    Bert *m = &d->model, fresh = {0};
    BertConfig config = {0};
    if (!d->o.tokenizer)
        return fail("--init needs --tokenizer: a model file whose vocabulary is taken "
                    "(dev/export_hf.py)");
    if (read_config(&config, d->o.init)) return 1;
    if (bert_load(m, d->o.tokenizer)) return fail("%s", bert_error(m));
    if (m->tokenizer.vocabulary.count > (size_t)config.V)
        return fail("%s: vocab_size is %d, %s has %zu words", d->o.init, config.V, d->o.tokenizer,
                    m->tokenizer.vocabulary.count);
    if (bert_build(&fresh, config)) return fail("%s: %s", d->o.init, bert_error(&fresh));
    bert_init(&fresh, random_at((uint64_t)d->o.seed, 1));
    fresh.tokenizer = m->tokenizer;
    memset(&m->tokenizer, 0, sizeof m->tokenizer);
    bert_free(m);
    *m = fresh;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   Training */

/* The files that --train_file names, sorted. A file of just that name is it, though its letters be
   a pattern's: data[1].bin. A folder that cannot be read may have some of them. */
static int find_shards(Driver *d)
{
    const char *pattern = d->o.train_file;
    struct stat info;
    char *name = take(2 * strlen(pattern) + 1, 1, "a path"), *to = name;
    int literal = !stat(pattern, &info);
    for (const char *at = pattern; *at; *to++ = *at++)
        if (literal) *to++ = '\\';
    int error = glob(name, GLOB_NOCHECK | GLOB_ERR, NULL, &d->shards);
    free(name);
    if (error == GLOB_NOSPACE) return fail("%s: no memory for the names of its files", pattern);
    return error ? fail("%s: its folder cannot be read: %s", pattern, strerror(errno)) : 0;
}

/* Loads a shard in place of the last one: no two are in memory. */
static int open_shard(Driver *d, size_t shard)
{
    if (d->shard == shard + 1) return 0;
    free(d->data.memory);
    memset(&d->data, 0, sizeof d->data);
    d->shard = 0;
    if (load_data(&d->model, &d->data, d->shards.gl_pathv[shard], 1)) return 1;
    d->shard = shard + 1;
    pass_room(&d->pass, &d->data, !strcmp(d->o.train_sampling_strategy, "random"));
    return 0;
}

/* Is this data for the head that training has given the model? */
static int check_like(const Bert *m, const Data *d, const char *train_file)
{
    if (d->task != m->config.task || d->multi_label != m->config.multi_label)
        return fail("%s: is data for another task than %s", d->path, train_file);
    return check_names(&m->labels, train_file, d,
                       "Make it again with tokenizer.py --like TRAIN.bin.");
}

/* The same once more: the file may have been replaced since scan_shards saw it, and memory was
   taken by what that was. */
static int reopen_shard(Driver *d, size_t shard)
{
    const Data *data = &d->data;
    const ShardSize *was = &d->scanned[shard];
    if (open_shard(d, shard) || check_like(&d->model, data, d->shards.gl_pathv[0])) return 1;
    if (data->n == was->n && data->N == was->N && longest_input(data) == was->longest) return 0;
    return fail("%s: was changed while it is being trained on: it had %zu examples, %zu tokens, "
                "the longest %d; now %zu, %zu, %d",
                data->path, was->n, was->N, was->longest, data->n, data->N, longest_input(data));
}

/* What the model is to remember of the data it learns from, for lines of text to come. */
static void remember(BertConfig *c, const Data *data)
{
    const int pairs = data->pairs || data->task == BERT_QA || data->task == BERT_PRETRAINING;
    c->trained_length = bert_max_(c->trained_length, bert_min_(data->max_length, c->P));
    c->trained_pairs = bert_max_(c->trained_pairs, 1 + pairs);
    c->may_lack |= data->task == BERT_QA && data->may_lack;
}

/* Looks through all shards: are they fit to be trained on together, and how much is there? */
static int scan_shards(Driver *d)
{
    const Options *o = &d->o;
    const Data *data = &d->data;
    size_t batch = (size_t)o->per_device_train_batch_size, largest = 0;
    size_t group = (size_t)o->gradient_accumulation_steps, batches;
    d->pass.tokenizer = &d->model.tokenizer;
    d->pass.share = o->mlm_probability;
    d->counts = take((size_t)data->K, sizeof *d->counts, "the counts of labels");
    d->scanned = take(d->shards.gl_pathc, sizeof *d->scanned, "the sizes of shards");
    d->model.config.trained_length = d->model.config.trained_pairs = d->model.config.may_lack = 0;
    d->model.config.activation_out = BERT_OUT_VALUE;
    for (size_t i = 0; i < d->shards.gl_pathc; i++) {
        if (open_shard(d, i) || check_like(&d->model, data, d->shards.gl_pathv[0])) return 1;
        d->scanned[i] = (ShardSize){data->n, data->N, longest_input(data)};
        size_t labels = data->task == BERT_NER ? data->N : data->multi_label ? data->A : data->n;
        for (size_t j = 0; j < labels && data->K; j++)
            if (data->labels[j] >= 0) d->counts[data->labels[j]]++;
        pass_start(&d->pass, data, (uint64_t)o->seed, 0, i, o->short_seq_prob);
        batches = (d->pass.n + batch - 1) / batch;
        d->items += d->pass.n;
        d->micro_batches += batches;
        d->steps_an_epoch += (batches + group - 1) / group;
        if (d->pass.n > largest) largest = d->pass.n;
        d->longest = bert_max_(d->longest, longest_input(data));
        remember(&d->model.config, data);
    }
    d->micro_batch = bert_zmin_(batch, largest);
    if (bert_zmin_(bert_times_(d->micro_batch, group), largest) >
        INT_MAX) /* their places are ints */
        return fail("a step of %zu x %zu examples is too large", group, d->micro_batch);
    return 0;
}

/* How many steps, as Trainer counts them (set_initial_training_values of transformers 5). */
static int plan(Driver *d)
{
    const Options *o = &d->o;
    double total = ceil(o->num_train_epochs * (double)d->steps_an_epoch);
    double warmup = floor(o->warmup_steps);
    if (o->max_steps > 0) total = (double)o->max_steps;
    if (o->warmup_steps < 1)
        warmup = ceil(total * (o->warmup_steps > 0 ? o->warmup_steps : o->warmup_ratio));
    if (total > INT_MAX || warmup > INT_MAX) /* bert_adamw counts steps in an int */
        return fail("%.0f steps, %.0f of warmup: the most is %d", total, warmup, INT_MAX);
    d->total = (long long)total;
    d->warmup = strcmp(o->lr_scheduler_type, "constant") ? (long long)warmup : 0;
    if (d->warmup >= d->total && d->warmup > 0)
        warn("%lld warmup steps in a run of %lld: the learning rate only rises, to %g", d->warmup,
             d->total, o->learning_rate * (total - 1) / warmup);
    if (d->warmup != (long long)warmup)
        warn("constant has no warmup; --lr_scheduler_type constant_with_warmup has");
    return 0;
}

/* The learning rate's share for the next step (in a warmup the first has 0): as transformers'
   optimization.py, in double as there. */
static double schedule(const Driver *d)
{
    const char *type = d->o.lr_scheduler_type;
    double linear = bert_linear_schedule((long)d->step, (long)d->warmup, (long)d->total);
    if (d->step < d->warmup || !strcmp(type, "linear")) return linear;
    return strcmp(type, "cosine") ? 1 : 0.5 * (1 + cos(3.14159265358979323846 * (1 - linear)));
}

/* --class_weights: a list, or balanced as scikit-learn has it, n / (K count); multi-label: how many
   lack the label for each that has it, BCE's pos_weight. A label that never occurs counts 1. */
static int set_class_weights(Driver *d)
{
    const char *list = d->o.class_weights;
    const int K = d->data.K, task = d->data.task;
    double all = 0;
    if (!list) return 0;
    if (task != BERT_CLASSIFICATION && task != BERT_NER)
        return fail("--class_weights goes with classification and ner, not with %s",
                    task_names[task]);
    d->class_weights = take((size_t)K, sizeof *d->class_weights, "class weights");
    for (int k = 0; k < K; k++) all += d->data.multi_label ? 0 : d->counts[k];
    for (int k = 0, balanced = !strcmp(list, "balanced"); k < K; k++) {
        double count = d->counts[k], weight = 1;
        char *end = NULL;
        if (balanced && count > 0)
            weight = d->data.multi_label ? ((double)d->items - count) / count : all / (K * count);
        if (!balanced) weight = strtod(list, &end);
        if (end == list || !(weight >= 0 && weight <= FLT_MAX) ||
            (end && *end != (k < K - 1 ? ',' : '\0')))
            return fail("--class_weights %s: not balanced, nor %d numbers >= 0 with commas between",
                        d->o.class_weights, K);
        if (end) list = end + 1;
        d->class_weights[k] = (float)weight;
    }
    return 0;
}

/* A share of the label for all others: where one of several labels is right. */
static int check_smoothing(const Driver *d)
{
    const int task = d->data.task;
    if (d->o.label_smoothing_factor == 0 || task == BERT_NER || task == BERT_MLM ||
        (task == BERT_CLASSIFICATION && !d->data.multi_label))
        return 0;
    return fail("--label_smoothing_factor goes with classification, ner and mlm, not with %s%s",
                d->data.multi_label ? "multi-label " : "", task_names[task]);
}

/* The head for the data's task: as it is, renamed to the data's labels, or drawn anew. */
static int train_head(Driver *d)
{
    Bert *m = &d->model;
    const Data *data = &d->data;
    const char *path = d->o.model ? d->o.model : d->o.init;
    size_t old[BERT_NUM_TENSORS];
    int same = m->config.task == data->task && m->config.K == head_size(data) &&
               m->config.multi_label == data->multi_label;
    Page page;
    FILE *f = page_begin(&page);
    fprintf(f, "head       %s", task_names[data->task]);
    if (data->K) fprintf(f, ", %d labels: ", data->K), print_names(f, &data->names, NULL);
    else fprintf(f, "\n");
    page_end(&page, stdout, 11);
    if (m->config.activation_out == BERT_OUT_SIGMOID) {
        printf("           to be trained on values: predict shows them, and no sigmoid any more\n");
        m->config.activation_out = BERT_OUT_VALUE; /* as Hugging Face sets problem_type then */
    }
    if (same && same_names(&m->labels, &data->names)) return 0;
    if (same && !generic_names(&m->labels))
        return check_names(&m->labels, path, data,
                           "To go on with this head, make the data with the model's labels "
                           "(tokenizer.py --labels); for a new head, export the model with --task "
                           "none.");
    for (int i = 0; i < BERT_NUM_TENSORS; i++) old[i] = m->tensors[i].size;
    if (bert_set_task(m, data->task, head_size(data), data->multi_label, &data->names,
                      (uint64_t)d->o.seed))
        return fail("%s: %s", path, bert_error(m));
    f = page_begin(&page);
    fprintf(f, "           %s",
            same ? "its labels had no names, and get the data's" : "drawn anew, to be trained:");
    for (int i = 0; i < BERT_NUM_TENSORS; i++)
        if (m->tensors[i].size && m->tensors[i].size != old[i])
            fprintf(f, " %s", m->tensors[i].key);
    fprintf(f, "\n");
    page_end(&page, stdout, 11);
    return 0;
}

static void show_data(FILE *f, const char *what, const Data *d, const double *counts)
{
    fprintf(f, "%-10s %s: %zu examples, %zu tokens, the longest %d\n", what, d->path, d->n, d->N,
            d->longest);
    if (d->Q)
        fprintf(f, "           %d %s\n", d->Q, d->task == BERT_QA ? "questions" : "documents");
    if (!counts || !d->K) return;
    fprintf(f, "           ");
    print_names(f, &d->names, counts);
}

static void show_run(const Driver *d)
{
    const BertConfig *c = &d->model.config;
    const Options *o = &d->o;
    Page page;
    FILE *f = page_begin(&page);
    show_data(f, "train", &d->data, d->counts);
    if (d->shards.gl_pathc > 1) fprintf(f, "           and %zu more\n", d->shards.gl_pathc - 1);
    if (o->eval_file) show_data(f, "eval", &d->eval_data, NULL);
    fprintf(f, "dropout    hidden %g, attention %g, classifier %g\n", c->hidden_dropout,
            c->att_dropout, c->cls_dropout < 0 ? c->hidden_dropout : c->cls_dropout);
    if (o->freeze_layers || o->freeze_embeddings)
        fprintf(f, "frozen     %sthe first %lld layers of %d\n",
                o->freeze_embeddings ? "the embeddings and " : "", o->freeze_layers, c->L);
    fprintf(f,
            "run        %lld steps of %lld x %zu of %zu inputs; %s learning rate %g, %lld warmup; "
            "threads: %d%s\n\n",
            d->total, o->gradient_accumulation_steps, d->micro_batch, d->items,
            o->lr_scheduler_type, o->learning_rate, d->warmup, bert_threads(), threads_note());
    page_end(&page, stdout, 11);
    fflush(stdout);
}

static int train_load(Driver *d)
{
    Options *o = &d->o;
    Bert *m = &d->model;
    BertConfig *c = &m->config;
    Page page;
    if (!o->model == !o->init)
        return fail("train needs --model, or in its place --init config.json and --tokenizer");
    if (o->tokenizer && !o->init)
        return fail("--tokenizer goes with --init; %s has its own", o->model);
    if (make_folder("--output_dir", o->output_dir) ||
        lock_folder(&d->lock, "--output_dir", o->output_dir))
        return 1;
    if (o->init && init_model(d)) return 1;
    if (find_shards(d)) return 1;
    if (open_shard(d, 0)) return 1;
    if (o->eval_file && load_data(m, &d->eval_data, o->eval_file, 1)) return 1;
    FILE *f = page_begin(&page);
    fprintf(f,
            "model      %s: %zu parameters\n           %d layers, %d heads, hidden %d, "
            "intermediate %d, positions %d, vocabulary %d\n",
            o->model ? o->model : o->init, m->num_parameters, c->L, c->NH, c->C, c->F, c->P, c->V);
    page_end(&page, stdout, 11);
    if (o->freeze_layers < 0 || o->freeze_layers > c->L)
        return fail("--freeze_layers is %lld: the model has %d layers, 0 to %d can be frozen",
                    o->freeze_layers, c->L, c->L);
    if (train_head(d) || scan_shards(d) ||
        (o->eval_file && check_like(m, &d->eval_data, o->train_file)))
        return 1;
    m->freeze_layers = (int)o->freeze_layers;
    m->freeze_embeddings = o->freeze_embeddings != 0;
    if (o->hidden_dropout_prob >= 0) c->hidden_dropout = (float)o->hidden_dropout_prob;
    if (o->classifier_dropout >= 0) c->cls_dropout = (float)o->classifier_dropout;
    if (o->attention_probs_dropout_prob >= 0)
        c->att_dropout = (float)o->attention_probs_dropout_prob;
    d->shard_order = take(d->shards.gl_pathc, sizeof *d->shard_order, "the order of shards");
    if (check_smoothing(d) || set_class_weights(d) || plan(d) || make_room(d) || log_start(d))
        return 1;
    show_run(d);
    return 0;
}

static int diverged(const Driver *d, const char *what, double value)
{
    fail("step %lld: the %s is %g: training cannot go on. A lower --learning_rate (%g now) or more "
         "--warmup_steps may help.",
         d->step + 1, what, value, d->o.learning_rate);
    if (!d->saved_step) return fail("nothing was saved");
    return fail("%s/model.bin is the model after step %lld", d->o.output_dir, d->saved_step);
}

static BertBatch train_batch(Driver *d, size_t at, size_t B)
{
    BertBatch x = batch_fill(&d->batch, &d->data, &d->pass, at, B);
    x.class_weights = d->class_weights;
    x.label_smoothing = (float)d->o.label_smoothing_factor;
    x.seed = (uint64_t)d->o.seed;
    x.step = (uint64_t)d->step;
    return x;
}

/* One optimizer step, on items first .. end-1 of the pass. Its loss is the mean over all that has a
   label in them, so that 2 x 4 examples are the same step as 1 x 8. (Trainer of transformers 5.23
   adds up the means of this model's micro-batches: its loss and gradient norm grow with the
   accumulation.) */
static int train_step(Driver *d, size_t first, size_t end)
{
    const Options *o = &d->o;
    Bert *m = &d->model;
    double start = seconds(), divisor = 0, tokens = d->run.tokens;
    threads_begin();
    for (size_t at = first; at < end && end - first > d->micro_batch; at += d->micro_batch) {
        BertBatch x = train_batch(d, at, bert_zmin_(d->micro_batch, end - at));
        divisor += bert_divisor(m, &x);
    }
    for (size_t at = first, B; at < end; at += B) {
        B = bert_zmin_(d->micro_batch, end - at);
        BertBatch x = train_batch(d, at, B);
        x.place = (int)(at - first);
        x.divisor = divisor; /* 0: its own */
        x.next_divisor = (double)(end - first);
        if (bert_forward(m, &x, 1)) return fail("%s: %s", d->data.path, bert_error(m));
        if (!isfinite(m->loss)) return diverged(d, "loss", m->loss);
        if (bert_backward(m, 1)) return fail("%s", bert_error(m));
        x.class_weights = NULL; /* rows, not their weights */
        d->run.loss += (double)m->loss;
        d->run.rows += bert_divisor(m, &x);
        d->run.tokens += x.offsets[B];
    }
    d->norm = bert_grad_norm(m);
    if (!isfinite(d->norm)) return diverged(d, "gradient norm", d->norm);
    d->rate = o->learning_rate * schedule(d);
    if (bert_adamw(m, (float)d->rate, (float)o->adam_beta1, (float)o->adam_beta2,
                   (float)o->adam_epsilon, (float)o->weight_decay, (int)d->step + 1,
                   bert_clip_scale((float)d->norm, (float)o->max_grad_norm)))
        return fail("%s", bert_error(m));
    threads_end(3 * (d->run.tokens - tokens)); /* backward: twice the forward's work */
    d->step++;
    d->run.steps++;
    d->run.items += (double)(end - first);
    d->run.seconds += seconds() - start;
    return 0;
}

/* A line every logging_steps, and one at the end: short runs have theirs too. */
static void train_log(Driver *d)
{
    const Sums *run = &d->run, *line = &d->line;
    const int columns = terminal_columns(STDOUT_FILENO);
    double loss = (run->loss - line->loss) / (run->steps - line->steps);
    double rate = (run->tokens - line->tokens) / (run->seconds - line->seconds);
    const char *left = clock_text(run->seconds / run->steps * (double)(d->total - d->step));
    char fields[256], text[sizeof fields + LIVE_ROOM];
    if (d->step % d->o.logging_steps != 0 && d->step != d->total) {
        live((double)d->step / (double)d->total,
             "%lld/%lld\t%s left\t%.0f tok/s\tloss %.4f\tepoch %.2f\tlr %.2e\tnorm %.3f", d->step,
             d->total, left, rate, loss, d->epoch, d->rate, d->norm);
        return;
    }
    snprintf(fields, sizeof fields,
             "step %lld/%lld\tepoch %.2f\tloss %.4f\tlr %.2e\tnorm %.3f\t%.0f tokens/s\t%s left",
             d->step, d->total, d->epoch, loss, d->rate, d->norm, rate, left);
    live_clear();
    live_line(text, columns ? columns : INT_MAX, -1, fields);
    puts(text);
    fflush(stdout);
    log_number(d, "", "loss", loss, 9);
    log_number(d, "", "grad_norm", d->norm, 9);
    log_number(d, "", "learning_rate", d->rate, 9);
    log_end(d);
    d->line = d->run;
}

/* By the first metric; of equal ones the lower loss. A metric that is none (NaN) is below all. */
static int is_better(const Driver *d)
{
    const double metric = d->result.metrics[0].value;
    if (d->best_step == 0 || isnan(d->best) != isnan(metric))
        return !d->best_step || isnan(d->best);
    if (isnan(metric) || metric == d->best) return d->result.loss < d->best_loss;
    return metric > d->best;
}

static int end_of_epoch(Driver *d)
{
    Evaluation *e = &d->result;
    double start = seconds();
    Page page;
    int better;
    if (d->run.rows == 0) warn_unlabelled(d->o.train_file, d->data.task, "learned from it");
    if (!d->o.eval_file) return save_model(d, "model.bin");
    if (evaluate(d)) return 1;
    start = seconds() - start;
    better = is_better(d);
    FILE *f = page_begin(&page);
    fprintf(f, "eval       epoch %.2f  loss %.4f", d->epoch, e->loss);
    log_number(d, "eval_", "loss", e->loss, 17);
    for (int i = 0; i < e->num_metrics; i++) {
        fprintf(f, "  %s %.4f", e->metrics[i].name, e->metrics[i].value);
        log_number(d, "eval_", e->metrics[i].name, e->metrics[i].value, 17);
    }
    fputs(better ? "  best so far\n" : "\n", f);
    page_end(&page, stdout, 11);
    fflush(stdout);
    log_number(d, "eval_", "runtime", start, 6);
    log_number(d, "eval_", "samples_per_second", (double)d->eval_pass.n / start, 6);
    log_end(d);
    if (save_model(d, "model.bin")) return 1;
    if (!better) return 0;
    if (save_model(d, "best.bin")) return 1;
    d->best = e->metrics[0].value;
    d->best_loss = e->loss;
    d->best_step = d->step;
    return 0;
}

/* A shard's steps; done counts the epoch's batches. The last step of a shard may be smaller. */
static int train_shard(Driver *d, uint64_t epoch, size_t *done)
{
    size_t group = bert_times_(d->micro_batch, (size_t)d->o.gradient_accumulation_steps);
    for (size_t at = 0, to; at < d->pass.n && d->step < d->total; at = to) {
        to = bert_zmin_(bert_plus_(at, group), d->pass.n);
        if (train_step(d, at, to)) return 1;
        *done += (to - at + d->micro_batch - 1) / d->micro_batch;
        /* pretraining draws more pairs in one epoch than in another: at most a whole one */
        d->epoch = (double)epoch + fmin(1, (double)*done / (double)d->micro_batches);
        train_log(d);
        if (stop_signal) return 0;
    }
    return 0;
}

static int train_epochs(Driver *d)
{
    const uint64_t seed = (uint64_t)d->o.seed;
    const size_t shards = d->shards.gl_pathc;
    for (uint64_t epoch = 0; d->step < d->total; epoch++) {
        size_t done = 0;
        if (d->pass.order) shuffle(d->shard_order, shards, random_key(FOR_SHARDS, seed, epoch));
        for (size_t i = 0; i < shards && d->step < d->total; i++) {
            size_t shard = d->pass.order ? d->shard_order[i] : i;
            if (reopen_shard(d, shard)) return 1;
            pass_start(&d->pass, &d->data, seed, epoch, shard, d->o.short_seq_prob);
            if (train_shard(d, epoch, &done)) return 1;
            if (stop_signal) return 0;
        }
        if (end_of_epoch(d)) return !stop_signal;
    }
    return 0;
}

static int train_end(Driver *d, double runtime)
{
    const char *folder = d->o.output_dir;
    Page page;
    live_clear();
    if (stop_signal) {
        if (d->saved_step != d->step && save_model(d, "model.bin")) return 1;
        fail("stopped by a signal; %s/model.bin is the model after step %lld of %lld", folder,
             d->step, d->total);
        return 128 + (int)stop_signal;
    }
    log_number(d, "train_", "runtime", runtime, 6);
    log_number(d, "train_", "samples_per_second", d->run.items / runtime, 6);
    log_number(d, "train_", "steps_per_second", (double)d->step / runtime, 6);
    log_number(d, "train_", "loss", d->run.loss / d->run.steps, 17);
    log_end(d);
    FILE *f = page_begin(&page);
    if (d->o.eval_file && tasks[d->data.task].report)
        tasks[d->data.task].report(f, &d->result, &d->eval_data);
    fprintf(f, "\n%lld steps in %.1f s. %s/model.bin is the last model", d->step, runtime, folder);
    if (d->best_step)
        fprintf(f, ", best.bin the one of step %lld (%s %.4f)", d->best_step,
                d->result.metrics[0].name, d->best);
    fprintf(f, "\n");
    page_end(&page, stdout, 2);
    return 0;
}

static void on_signal(int number) { stop_signal = number; }

static int command_train(Driver *d)
{
    static const int signals[] = {SIGINT, SIGTERM};
    struct sigaction old[2],
        stop = {.sa_handler = on_signal,
                .sa_flags = SA_RESTART | (int)SA_RESETHAND}; /* the second Ctrl-C ends it at once */
    if (train_load(d)) return 1;
    double start = seconds();
    stop_signal = 0;
    for (int i = 0; i < 2; i++) {
        sigaction(signals[i], NULL, &old[i]);
        if (old[i].sa_handler != SIG_IGN) sigaction(signals[i], &stop, NULL); /* nohup stays */
    }
    int result = train_epochs(d);
    if (!result) result = train_end(d, seconds() - start);
    for (int i = 0; i < 2; i++) sigaction(signals[i], &old[i], NULL);
    stop_signal = 0;
    return result;
}

/* ------------------------------------------------------------------------------------------------
   Text: lines of standard input become a Data in memory, a batch at a time. Whatever is there is
   answered before more is waited for, so that a person at a terminal, or a program behind two
   pipes, gets each line's answer. */

enum { MOST_LINES = 64, MOST_TOKENS = 2048 }; /* a batch ends at either */

/* The stride of the pipeline: windows share 128 tokens of the context, or half of max_length. Where
   a question is so long that they would go on by less than an eighth of what they hold, they share
   less: else a window is computed for almost each token of the context. And how many of them are
   made at once. Returns what is wrong, or NULL. */
static const char *windows_of(Driver *d, const BertText *question)
{
    const BertEncodeOptions alone = {.truncation = BERT_DO_NOT_TRUNCATE, .no_special = 1};
    Input *in = &d->input;
    BertEncoding *e = &in->e;
    const int B = e->B, N = e->N, most = in->how.max_length;
    if (bert_encode_texts(&d->model, e, question, 1, NULL, 0, &alone)) return e->message;
    const int room = most - 3 - (e->N - N);
    e->B = B, e->N = N;
    in->how.stride = bert_min_(bert_min_(most / 2, 128), room - 1 - room / 8);
    if (in->how.stride < 0) in->how.stride = 0; /* there is no room, which bert_encode tells */
    in->how.at_once = bert_max_(1, (MOST_TOKENS - N) / most);
    return NULL;
}

/* Tasks whose examples are a text or a pair of texts. */
static int of_texts(int task) { return task == BERT_CLASSIFICATION || task == BERT_REGRESSION; }

static int reads_pairs(const BertConfig *c, int task)
{
    return of_texts(task) && c->trained_pairs == 2 && c->S > 1;
}

/* What a line looks like. */
static const char *line_form(const Driver *d)
{
    if (d->data.task == BERT_QA) return "{\"question\": \"...\", \"context\": \"...\"}";
    if (!d->o.json) return d->input.pair ? "two texts with a tab between" : "a text";
    return d->data.task == BERT_NER
               ? "{\"text\": \"...\"}"
               : "{\"text\": \"...\"} or {\"text\": \"...\", \"text_pair\": \"...\"}";
}

/* Takes a line apart and encodes it. 1: why says what is wrong with it. */
static int take_line(Driver *d, char *bytes, size_t n)
{
    Input *in = &d->input;
    const int qa = d->data.task == BERT_QA;
    const char *names[3] = {qa ? "question" : "text", qa ? "context" : "text_pair", "id"};
    BertText parts[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    const char *what = not_text(bytes, n, in->number, &in->lost), *field = "";
    const char *tab = memchr(bytes, '\t', n);
    const int of_pairs = reads_pairs(&d->model.config, d->data.task);
    if (what) return snprintf(in->why, sizeof in->why, "%s", what), 1;
    if (d->data.task == BERT_NER) names[1] = NULL;
    if (qa || d->o.json) {
        if (json_skip(bytes, bytes + n, 0) == bytes + n) return 0; /* blank: no object */
        if (!json_fields(bytes, bytes + n, names, 3, 2, parts))
            what = "not a JSON object: a line is ", field = line_form(d);
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
            what = d->o.pair ? "no tab, --pair expects one between the two texts"
                             : "no tab between two texts: the model was trained on pairs of them";
        if (!in->pair && tab && of_texts(d->data.task) && !in->tabs++)
            warn("stdin:%zu: its tab is a blank: %s", in->number,
                 d->model.config.trained_pairs ? "the model was trained on single texts"
                                               : "--pair makes two texts of such a line");
    }
    if (!what && parts[1].bytes && d->model.config.S < 2)
        what = "a pair of texts, the model has one token type only";
    if (!what && qa) what = windows_of(d, &parts[0]);
    if (!what && bert_encode_texts(&d->model, &in->e, &parts[0], 1,
                                   parts[1].bytes ? &parts[1] : NULL, 1, &in->how))
        what = in->e.message;
    if (what) return snprintf(in->why, sizeof in->why, "%s%s", what, field), 1;
    if (!qa && in->e.cut > 0 && in->cut++ == 0)
        warn("stdin:%zu: cut at %d of %d tokens, and later lines likewise (--max_length; the model "
             "reads %d)",
             in->number, in->how.max_length, in->how.max_length + in->e.cut, d->model.config.P);
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
static int read_lines(Driver *d)
{
    Input *in = &d->input;
    char *line;
    size_t n;
    bert_encoding_clear(&in->e);
    d->data.goes_on = in->unfinished;
    if (in->unfinished) { /* no other line before all its windows are answered */
        in->lines[0] = in->lines[in->n - 1];
        in->n = 1;
        if (bert_encode_more(&d->model, &in->e))
            return snprintf(in->why, sizeof in->why, "%s", in->e.message), 0;
        in->lines[0].end = in->e.B;
        in->unfinished = in->e.cut > 0;
        return in->n;
    }
    in->n = 0;
    while (!in->why[0] && !in->unfinished && in->n < MOST_LINES && in->e.N < MOST_TOKENS) {
        line = next_line(in, &n);
        if (!line || take_line(d, line, n)) break;
    }
    return in->n;
}

static int text_end(const Driver *d)
{
    const Input *in = &d->input;
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

static int text_start(Driver *d, int task, int embed)
{
    const BertConfig *c = &d->model.config;
    Input *in = &d->input;
    BertEncodeOptions *how = &in->how;
    if (!d->model.tokenizer.lookup)
        return fail("%s: has no tokenizer, which text needs: make it again with dev/export_hf.py "
                    "from a folder with vocab.txt",
                    d->o.model);
    if (d->o.pair && (d->o.json || task == BERT_QA || task == BERT_NER))
        return fail("--pair goes with plain lines of two texts, not with JSON, qa or ner");
    d->data.path = "standard input";
    d->data.task = task;
    d->data.multi_label = c->multi_label;
    how->max_length =
        d->o.max_length ? (int)d->o.max_length : bert_min_(text_length(c, task, embed), c->P);
    in->pair = d->o.pair || (reads_pairs(c, task) && !d->o.json);
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
        fprintf(stderr, "reading lines, each %s; Ctrl-D ends\n", line_form(d));
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
static void text_data(Driver *d)
{
    Data *data = &d->data;
    const BertEncoding *e = &d->input.e;
    const size_t n = (size_t)e->B, N = (size_t)e->N;
    const int qa = data->task == BERT_QA;
    free(data->memory);
    data->memory = take(n + 1 + 2 * N + n, 8, "sequences");
    data->n = n, data->N = N, data->lines = d->input.lines;
    data->unfinished = d->input.unfinished;
    data->offsets = (uint64_t *)(void *)data->memory;
    data->spans = (int32_t *)(void *)(data->offsets + n + 1);
    data->segments = data->spans + 4 * N;
    data->words = qa ? data->segments + n : NULL;
    data->tokens = e->tokens;
    data->offsets[n] = N;
    for (int i = 0, line = 0; i < e->B; i++) {
        int from = e->offsets[i], to = e->offsets[i + 1], second = 0;
        data->offsets[i] = (uint64_t)from;
        for (int t = from; t < to; t++) second += e->types[t];
        text_spans(e, from, to, qa, data->spans);
        data->segments[i] = to - from - second;
        if (i >= d->input.lines[line].end) line++;
        if (qa) data->words[i] = line;
    }
}

/* ------------------------------------------------------------------------------------------------
   eval, predict, embed and encode */

static int command_eval(Driver *d)
{
    Bert *m = &d->model;
    Data *data = &d->eval_data;
    Page page;
    if (load_data(m, data, d->o.eval_file, 1) || check_head(m, d->o.model, data)) return 1;
    if (m->config.K != head_size(data) || !generic_names(&m->labels)) {
        if (check_names(&m->labels, d->o.model, data,
                        "Make the data with the model's labels (tokenizer.py --labels)."))
            return 1;
    } else if (!same_names(&m->labels, &data->names)) {
        warn("%s: its labels have no names; they are taken to be the data's, in order", d->o.model);
    }
    if (make_room(d) || evaluate(d)) return 1;
    FILE *f = page_begin(&page);
    fprintf(f, "%-22s %zu\n%-22s %.6f\n", "examples", d->eval_pass.n, "loss", d->result.loss);
    for (int i = 0; i < d->result.num_metrics; i++)
        fprintf(f, "%-22s %.6f\n", d->result.metrics[i].name, d->result.metrics[i].value);
    if (tasks[data->task].report) tasks[data->task].report(f, &d->result, data);
    page_end(&page, stdout, 2);
    return 0;
}

/* What the model made of examples from first on. */
static int check_finite(const Driver *d, size_t first, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return fail("%s: examples from %zu on: the model's output is %g: its parameters are "
                        "damaged",
                        d->data.path, first, x[i]);
    return 0;
}

static int predict_batch(Driver *d, size_t first, size_t B)
{
    const Data *data = &d->data;
    Bert *m = &d->model;
    BertBatch x = batch_fill(&d->batch, data, &d->pass, first, B);
    size_t numbers = bert_head_rows(m->config.task, B, (size_t)x.offsets[B], (size_t)x.R) *
                     bert_head_cols(&m->config);
    x.labels = NULL;
    x.targets = NULL;
    if (infer(m, &x)) return fail("%s: %s", data->path, bert_error(m));
    if (check_finite(d, first, m->acts.logits, numbers)) return 1;
    each_output(d, data, &x, first, tasks[data->task].predict);
    return fflush(stdout) || ferror(stdout); /* bert_main tells */
}

static int embed_batch(Driver *d, size_t first, size_t B)
{
    Bert *m = &d->model;
    BertBatch x = batch_fill(&d->batch, &d->data, &d->pass, first, B);
    const char *pooling = d->o.pooling;
    size_t C = (size_t)m->config.C;
    x.labels = NULL, x.targets = NULL, x.rows = NULL, x.R = 0;
    /* model: what sentence-transformers' modules made of it, or the mean */
    int own = !strcmp(pooling, "model"), mean = !strcmp(pooling, "mean"), normal = own ? -1 : 0;
    int kind = !strcmp(pooling, "cls") ? BERT_POOL_CLS : BERT_POOL_POOLER;
    kind = own ? BERT_POOL_DEFAULT : mean ? BERT_POOL_MEAN : kind;
    if (infer(m, &x) || bert_embed(m, d->batch.targets, kind, d->o.normalize ? 1 : normal))
        return fail("%s: %s", d->data.path, bert_error(m));
    if (check_finite(d, first, d->batch.targets, B * C)) return 1;
    for (size_t i = 0; i < B * C; i++) {
        put_float(i % C ? ", " : "{\"embedding\": [", d->batch.targets[i]);
        if (i % C == C - 1) puts("]}");
    }
    return fflush(stdout) || ferror(stdout);
}

/* predict, and where task is BERT_NONE embed: batch by batch in order, of a file, or of the lines
   of standard input as long as there are any. */
static int read_through(Driver *d, int embed)
{
    const Options *o = &d->o;
    Data *data = &d->data;
    Bert *m = &d->model;
    const int text = !o->predict_file;
    size_t most = text ? MOST_LINES : (size_t)o->per_device_eval_batch_size;
    double start = seconds();
    if (!text && (o->json || o->pair || o->max_length))
        return fail("--json, --pair and --max_length go with text on standard input, not with "
                    "--predict_file");
    int task = embed ? BERT_NONE : m->config.task == BERT_PRETRAINING ? BERT_MLM : m->config.task;
    if (text ? text_start(d, task, embed) : load_data(m, data, o->predict_file, 0)) return 1;
    if (data->task == BERT_PRETRAINING)
        return fail("%s: sentences to be paired are no inputs: make data for mlm", data->path);
    if (embed && bert_set_task(m, BERT_NONE, 0, 0, NULL, 0)) return fail("%s", bert_error(m));
    if (!embed && check_head(m, o->model, data)) return 1;
    if (o->logits && (data->task == BERT_QA || data->task == BERT_MLM))
        return fail("--logits goes with classification, regression and ner");
    if (text && data->task == BERT_MLM && m->tokenizer.words[BERT_ID_MASK] < 0)
        return fail("%s: its vocabulary has no [MASK]", o->model);
    if (batch_room(&d->batch, text ? most : bert_zmin_(most, data->n),
                   (size_t)(text ? d->input.how.max_length : data->longest),
                   embed ? (size_t)m->config.C : 0))
        return 1;
    d->pass.tokenizer = &m->tokenizer; /* share 0: no masks but those in the text */
    do {
        if (text && !read_lines(d)) return text_end(d);
        if (text) text_data(d);
        for (size_t first = 0, B; first < data->n; first += B) {
            for (B = 1; B < most && first + B < data->n; B++)
                if (text && data->offsets[first + B] - data->offsets[first] >= MOST_TOKENS) break;
            if (embed ? embed_batch(d, first, B) : predict_batch(d, first, B)) return 1;
            if (!text && !isatty(STDOUT_FILENO))
                progress(embed ? "embed" : "predict", first + B, data->n, start);
        }
    } while (text);
    return 0;
}

static int command_predict(Driver *d) { return read_through(d, 0); }
static int command_embed(Driver *d) { return read_through(d, 1); }

static int command_encode(Driver *d)
{
    const BertEncoding *e = &d->input.e;
    if (text_start(d, BERT_NONE, 0)) return 1;
    while (read_lines(d)) {
        for (int b = 0; b < e->B; b++)
            for (int t = e->offsets[b]; t < e->offsets[b + 1]; t++)
                printf("%d%c", e->tokens[t], t + 1 < e->offsets[b + 1] ? ' ' : '\n');
        if (fflush(stdout) || ferror(stdout)) return 1;
    }
    return text_end(d);
}

/* name, bit, usage, help */
#define COMMANDS(X)                                                                                \
    X(train, TRAIN, "--model M --train_file D --output_dir O [--eval_file D] [...]",               \
      "fine-tune a model on labelled data, or pretrain one")                                       \
    X(eval, EVAL, "--model M --eval_file D [...]", "loss and metrics of a fine-tuned model")       \
    X(predict, PREDICT, "--model M [...] < lines.txt      (or --predict_file D)",                  \
      "a JSON object a line for each example, in order")                                           \
    X(embed, EMBED, "--model M [...] < lines.txt      (or --predict_file D)",                      \
      "a vector a line for each example, in order")                                                \
    X(encode, ENCODE, "--model M [...] < lines.txt", "the token ids of each line of standard input")

#define FLAG_ROW(name, kind, value, takes, needs, help)                                            \
    {#name, kind, offsetof(Options, name), value, takes, needs, help},
#define COMMAND_ROW(name, bit, usage, help) {#name, usage, help, bit},
#define COMMAND_RUN(name, ...) command_##name,
static const Flag flags[] = {FLAGS(FLAG_ROW)};
static const Command commands[] = {COMMANDS(COMMAND_ROW)};
static int (*const run_command[])(Driver *d) = {COMMANDS(COMMAND_RUN)};
enum { NUM_COMMANDS = sizeof commands / sizeof commands[0] };
static const Program program = {flags, sizeof flags / sizeof flags[0], commands, NUM_COMMANDS};

static int run(Driver *d, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    int command = -1, first = in_list("help|--help|-h", word, '|') != NULL, help = first;
    for (int c = 0; c < NUM_COMMANDS; c++)
        if (argc > 1 + first && !strcmp(argv[1 + first], commands[c].name)) command = c;
    for (int i = 2; i < argc; i++) help |= in_list("--help|-h", argv[i], '|') != NULL;
    if (argc < 2) return usage(&program, stderr), 1;
    if (!strcmp(word, "--version"))
        return puts("train_bert for model files of versions 1 and 2, data files of version 1"), 0;
    if (help && command >= 0) return command_usage(&program, command), 0;
    if (help && argc == 2) return usage(&program, stdout), 0;
    if (command < 0)
        return fail("'%s': no such command; try 'train_bert --help'", first ? argv[2] : word);
    if (parse(&program, &d->o, command, argc - 2, argv + 2)) return 1;
    if (d->o.model && bert_load(&d->model, d->o.model)) return fail("%s", bert_error(&d->model));
    return run_command[command](d);
}

static void driver_free(Driver *d)
{
    bert_free(&d->model);
    bert_encoding_free(&d->input.e);
    globfree(&d->shards);
    batch_free(&d->batch);
    unlock_folder(&d->lock);
    void *memory[] = {d->scanned,       d->data.memory,   d->eval_data.memory, d->result.found,
                      d->input.lines,   d->pass.order,    d->pass.pairs,       d->eval_pass.pairs,
                      d->result.tags,   d->result.values, d->shard_order,      d->counts,
                      d->class_weights, d->result.counts, d->input.bytes,      d->result.slots};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
    if (d->log) fclose(d->log);
}

/* The exit code: 0; 1 for an error, told on stderr; 128 + n where signal n stopped the training. */
static int bert_main(int argc, char **argv)
{
    Driver d = {0};
    open_standard();
    clearerr(stdout);
    errno = 0;
    int result = run(&d, argc, argv);
    live_clear();
    if (fflush(stdout) || ferror(stdout)) /* head has had enough: no more to say */
        result = errno == EPIPE ? 1 : fail("standard output: %s", strerror(errno));
    driver_free(&d);
    return result;
}

#ifndef TESTING
int main(int argc, char **argv)
{
    threads_start();
    return bert_main(argc, argv);
}
#endif
