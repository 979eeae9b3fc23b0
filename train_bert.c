/*
train_bert.c - fine-tune BERT, measure it, and predict with it.

    ./train_bert train   --model model.bin --train_file train.bin --output_dir out
    ./train_bert eval    --model out/best.bin --eval_file test.bin
    ./train_bert predict --model out/best.bin --predict_file test.bin

Everything that BERT computes is in bert.h. Here is what stands around it, to be read downwards:
flags - messages - JSON - data files - batches - tasks - evaluation - saving - training - commands.
Flags have the names, defaults and meaning of Hugging Face's TrainingArguments. A task is one struct
of functions in the middle of the file: classification now, others join it there.
*/
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* files beyond 2 GiB where off_t has 32 bits by default */

#define BERT_IMPLEMENTATION
#include "bert.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
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
#ifdef _OPENMP
#include <omp.h>
#endif

/* ------------------------------------------------------------------------------------------------
   The flags: this table declares struct Options, and parsing, checks and help go by it.
   name, kind, default, commands that take it, commands that need it, help (CHOICE: the choices) */

enum { TRAIN = 1, EVAL = 2, PREDICT = 4, ANY = TRAIN | EVAL | PREDICT };

#define FLAGS(X)                                                                                   \
    X(model, PATH, "", ANY, ANY, "model file, of dev/export_hf.py or an earlier run")              \
    X(train_file, PATH, "", TRAIN, TRAIN, "data file to learn from, of tokenizer.py")              \
    X(eval_file, PATH, "", TRAIN | EVAL, EVAL, "data file to measure on")                          \
    X(predict_file, PATH, "", PREDICT, 0, "data file to predict, labelled or not")                 \
    X(output_dir, PATH, "", TRAIN, TRAIN, "folder for model.bin (last) and best.bin")              \
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
    X(train_sampling_strategy, CHOICE, "random", TRAIN, 0, "random|sequential")                    \
    X(seed, SEED, "42", TRAIN, 0, "of the order, dropout and a new head")                          \
    X(logging_steps, COUNT, "500", TRAIN, 0, "steps between two lines of the log")                 \
    X(logging_dir, PATH, "", TRAIN, 0, "folder for log.jsonl, which a new run replaces")           \
    X(logits, SWITCH, "", PREDICT, 0, "write the raw outputs too")

typedef const char *PATH_t, *CHOICE_t;        /* NULL: not given */
typedef double NUMBER_t, POSITIVE_t, SHARE_t; /* -1: not given and no default */
typedef long long COUNT_t, STEPS_t, SEED_t, SWITCH_t;

#define FLAG_FIELD(name, kind, ...) kind##_t name;
typedef struct {
    FLAGS(FLAG_FIELD)
} Options;

/* ------------------------------------------------------------------------------------------------
   Messages. Results go to stdout, everything about them to stderr. */

static int live_width; /* columns of the live line that is on the terminal now */

static void live_clear(void)
{
    if (live_width) fprintf(stderr, "\r%*s\r", live_width, "");
    live_width = 0;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A line that the next one overwrites: only on a terminal, at most five times a second. */
static void live(const char *format, ...)
{
    static double last;
    double now = seconds();
    va_list args;
    if (now - last < 0.2 || !isatty(STDERR_FILENO)) return;
    last = now;
    live_clear();
    va_start(args, format);
    live_width = vfprintf(stderr, format, args);
    va_end(args);
    fflush(stderr);
}

/* Every failure is told once, where it is found, and callers pass the 1 on. */
static int fail(const char *format, ...)
{
    va_list args;
    live_clear();
    fflush(stdout); /* keeps the order where both go to one place */
    fputs("train_bert: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return 1;
}

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* ------------------------------------------------------------------------------------------------
   JSON, always valid: bytes that are not UTF-8 become U+FFFD as Python's errors="replace" has it,
   numbers that are not finite null. */

/* Bytes of the UTF-8 character at s (of n > 0 bytes), or minus the bytes of a damaged one. */
static int utf8_length(const unsigned char *s, size_t n)
{
    int need = s[0] < 0x80 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    /* the second byte's range keeps out overlong forms, surrogates, and what is above U+10FFFF */
    int low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    int high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if ((s[0] >= 0x80 && s[0] < 0xC2) || s[0] > 0xF4) return -1;
    for (int i = 1; i < need; i++, low = 0x80, high = 0xBF)
        if ((size_t)i >= n || s[i] < low || s[i] > high) return -i;
    return need;
}

/* Text with JSON's escapes, without the quotes; returns its characters. */
static int put_text(FILE *f, const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    int characters = 0, length;
    for (size_t i = 0; i < n; i += (size_t)abs(length), characters++) {
        length = utf8_length(s + i, n - i);
        if (length < 0) {
            fputs("\xEF\xBF\xBD", f);
        } else if (s[i] < 0x20 || s[i] == 0x7F) {
            fprintf(f, "\\u%04x", s[i]);
        } else {
            if (s[i] == '"' || s[i] == '\\') fputc('\\', f);
            fwrite(s + i, 1, (size_t)length, f);
        }
    }
    return characters;
}

/* The shortest decimal that reads back as the same float (digits 9) or double (17). */
static void put_number(FILE *f, double value, int digits)
{
    char text[40];
    int d = 6;
    do {
        snprintf(text, sizeof text, "%.*g", d, value);
    } while (d++ < digits &&
             (digits == 9 ? strtof(text, NULL) != (float)value : strtod(text, NULL) != value));
    fputs(isfinite(value) ? text : "null", f);
}

/* Label names. Those of a model without names are LABEL_0, LABEL_1, ..., as Hugging Face has it. */

static size_t name_bytes(const BertStrings *names, size_t i)
{
    return (size_t)(names->offsets[i + 1] - names->offsets[i]);
}

static void put_name(FILE *f, const BertStrings *names, size_t i)
{
    if (!names->count) {
        fprintf(f, "\"LABEL_%zu\"", i);
        return;
    }
    fputc('"', f);
    put_text(f, names->bytes + names->offsets[i], name_bytes(names, i));
    fputc('"', f);
}

/* For people: no quotes, and blanks behind it up to width. */
static void print_name(FILE *f, const BertStrings *names, size_t i, int width)
{
    int columns = put_text(f, names->bytes + names->offsets[i], name_bytes(names, i));
    if (columns < width) fprintf(f, "%*s", width - columns, "");
}

static void print_names(FILE *f, const BertStrings *names)
{
    for (size_t i = 0; i < names->count && i < 20; i++) {
        if (i) fputs(", ", f);
        print_name(f, names, i, 0);
    }
    fputs(names->count > 20 ? ", ...\n" : names->count ? "\n" : "(none)\n", f);
}

static int same_names(const BertStrings *a, const BertStrings *b)
{
    if (a->count != b->count || a->count == 0) return a->count == b->count;
    return !memcmp(a->offsets, b->offsets, (a->count + 1) * sizeof *a->offsets) &&
           !memcmp(a->bytes, b->bytes, (size_t)a->offsets[a->count]);
}

static int generic_names(const BertStrings *names)
{
    char name[32];
    for (size_t i = 0; i < names->count; i++)
        if ((size_t)snprintf(name, sizeof name, "LABEL_%zu", i) != name_bytes(names, i) ||
            memcmp(names->bytes + names->offsets[i], name, name_bytes(names, i)))
            return 0;
    return 1;
}

/* ------------------------------------------------------------------------------------------------
   Data files, as the byte table in bert.h has them: all is checked here, and nothing after. */

typedef struct {
    const char *path;
    int task, multi_label, K, labelled, longest, V;
    int pairs;         /* some example has a second segment */
    size_t n, N;       /* examples, tokens */
    uint64_t hash;     /* of the tokenizer */
    char *memory;      /* the file behind its header; what follows points into it */
    BertStrings names; /* (K) */
    uint64_t *offsets; /* (n+1) */
    int32_t *tokens;   /* (N) */
    int32_t *segments; /* (n) */
    void *labels;      /* (n) int32_t for classification; NULL: unlabelled */
} Data;

enum { HEADER = 1024, DATA_MAGIC = 0x44545242 };

static unsigned long long word_pair(const int32_t *w, int at)
{
    return (uint32_t)w[at] | (unsigned long long)(uint32_t)w[at + 1] << 32;
}

static size_t padded(size_t bytes) { return (bytes + 7) / 8 * 8; }

/* Checks the header against itself and the file's length, before memory is taken. */
static int data_header(Data *d, const int32_t *w, unsigned long long bytes)
{
    static const struct {
        int word, low, high;
        const char *name;
    } fields[] = {{2, 1, BERT_NUM_TASKS - 1, "task"},          {3, 0, 1, "problem type"},
                  {4, 0, INT_MAX, "the count of label names"}, {5, 0, 1, "labels present"},
                  {10, 0, INT_MAX, "the longest example"},     {11, 1, INT_MAX, "V"}};
    unsigned long long n = word_pair(w, 6), N = word_pair(w, 8), names = word_pair(w, 15), total;
    if (w[0] != DATA_MAGIC)
        return fail("%s: not a data file: its magic is 0x%08X, not 0x%08X", d->path, (unsigned)w[0],
                    (unsigned)DATA_MAGIC);
    if (w[1] != 1) return fail("%s: version is %d, not 1: make it again", d->path, w[1]);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (w[fields[i].word] < fields[i].low || w[fields[i].word] > fields[i].high)
            return fail("%s: %s is %d, not %d to %d", d->path, fields[i].name, w[fields[i].word],
                        fields[i].low, fields[i].high);
    for (int i = 17; i < HEADER / 4; i++)
        if (w[i] != 0 && i != 30 && i != 31)
            return fail("%s: header word %d is %d, not zero", d->path, i, w[i]);
    /* No array is larger than the file, so no sum below can overflow. */
    if (n > bytes || N > bytes || names > bytes || bytes > SIZE_MAX / 32)
        return fail("%s: %llu examples, %llu tokens and %llu bytes of label names are not in a "
                    "file of %llu bytes",
                    d->path, n, N, names, bytes);
    if (w[4] ? names < 8 * ((unsigned long long)w[4] + 1) : names > 0)
        return fail("%s: %d label names in %llu bytes", d->path, w[4], names);
    total = HEADER + padded(names) + 8 * (n + 1) + padded(4 * N) + padded(4 * n) * (w[5] ? 2 : 1);
    if (total != bytes || word_pair(w, 30) != bytes)
        return fail("%s: is %llu bytes long; its header says %llu, and its arrays take %llu",
                    d->path, bytes, word_pair(w, 30), total);
    d->task = w[2];
    d->multi_label = w[3];
    d->K = w[4];
    d->labelled = w[5];
    d->n = (size_t)n;
    d->N = (size_t)N;
    d->longest = w[10];
    d->V = w[11];
    d->hash = word_pair(w, 12);
    return 0;
}

/* Finds the arrays in memory and checks what they hold, but for the labels: the task's business. */
static int data_arrays(Data *d, size_t names_bytes)
{
    size_t longest = 0, K = (size_t)d->K;
    char *at = d->memory + padded(names_bytes);
    d->names.count = K;
    d->names.offsets = (uint64_t *)(void *)d->memory;
    d->names.bytes = d->memory + 8 * (K + 1);
    d->offsets = (uint64_t *)(void *)at;
    d->tokens = (int32_t *)(void *)(at += 8 * (d->n + 1));
    d->segments = (int32_t *)(void *)(at += padded(4 * d->N));
    d->labels = d->labelled ? at + padded(4 * d->n) : NULL;
    for (size_t k = 0; k < K; k++)
        if (d->names.offsets[0] != 0 || d->names.offsets[k] > d->names.offsets[k + 1] ||
            d->names.offsets[K] != names_bytes - 8 * (K + 1))
            return fail("%s: the offsets of the label names are damaged at %zu", d->path, k);
    if (d->offsets[0] != 0 || d->offsets[d->n] != d->N)
        return fail("%s: offsets run from %zu to %zu, not from 0 to %zu", d->path,
                    (size_t)d->offsets[0], (size_t)d->offsets[d->n], d->N);
    for (size_t i = 0; i < d->n; i++) {
        size_t from = (size_t)d->offsets[i], to = (size_t)d->offsets[i + 1], T = to - from;
        if (to <= from || to > d->N)
            return fail("%s: example %zu: its tokens are %zu up to %zu of %zu; offsets must rise",
                        d->path, i, from, to, d->N);
        if (d->segments[i] < 0 || (size_t)d->segments[i] > T)
            return fail("%s: example %zu: its second segment is at %d, not 0 to %zu", d->path, i,
                        d->segments[i], T);
        for (size_t t = from; t < to; t++)
            if (d->tokens[t] < 0 || d->tokens[t] >= d->V)
                return fail("%s: example %zu: token id %d, not 0 to %d", d->path, i, d->tokens[t],
                            d->V - 1);
        d->pairs |= (size_t)d->segments[i] < T;
        if (T > longest) longest = T;
    }
    if (longest != (size_t)d->longest)
        return fail("%s: the longest example has %zu tokens, its header says %d", d->path, longest,
                    d->longest);
    return 0;
}

static int data_read(Data *d, FILE *f)
{
    int32_t words[HEADER / 4];
    struct stat info;
    size_t bytes, done = 0, got;
    if (fstat(fileno(f), &info) || !S_ISREG(info.st_mode))
        return fail("%s: not a regular file", d->path);
    if (info.st_size < HEADER || fread(words, 1, HEADER, f) != HEADER)
        return fail("%s: not a data file: %lld bytes, its header alone has %d", d->path,
                    (long long)info.st_size, HEADER);
    if (data_header(d, words, (unsigned long long)info.st_size)) return 1;
    bytes = (size_t)info.st_size - HEADER;
    d->memory = malloc(bytes);
    if (!d->memory) return fail("%s: out of memory: it takes %zu bytes", d->path, bytes);
    /* in pieces: some systems read no more than 2 GiB at once */
    for (; done < bytes; done += got) {
        got = fread(d->memory + done, 1, min_size(bytes - done, (size_t)1 << 30), f);
        if (got == 0) return fail("%s: cannot be read: %s", d->path, strerror(errno));
    }
    return data_arrays(d, (size_t)word_pair(words, 15));
}

/* ------------------------------------------------------------------------------------------------
   Batches: examples end to end, as bert_forward takes them, in memory that is taken once. */

typedef struct {
    int *tokens, *types, *offsets, *labels;
} Batch;

static int batch_room(Batch *b, size_t B, size_t longest)
{
    size_t N = B * (longest + 1) <= INT_MAX ? B * longest : 0; /* longest < 2^31, B < 2^31 */
    if (B && !N) return fail("a batch of %zu x %zu tokens is too large", B, longest);
    b->tokens = malloc((2 * N + 2 * B + 1) * sizeof *b->tokens);
    if (!b->tokens) return fail("out of memory for a batch of %zu tokens", N);
    b->types = b->tokens + N;
    b->offsets = b->types + N;
    b->labels = b->offsets + B + 1;
    return 0;
}

/* Examples order[first] .. order[first+B-1], or in the file's order where order is NULL. */
static BertBatch batch_fill(Batch *b, const Data *d, const size_t *order, size_t first, size_t B)
{
    BertBatch out = {0};
    int N = 0;
    for (size_t i = 0; i < B; i++) {
        size_t e = order ? order[first + i] : first + i;
        b->offsets[i] = N;
        for (size_t t = d->offsets[e]; t < d->offsets[e + 1]; t++, N++) {
            b->tokens[N] = d->tokens[t];
            b->types[N] = N - b->offsets[i] >= d->segments[e];
        }
        if (d->labels) b->labels[i] = ((const int32_t *)d->labels)[e];
    }
    b->offsets[B] = N;
    out.B = (int)B;
    out.tokens = b->tokens;
    out.types = b->types;
    out.offsets = b->offsets;
    out.labels = d->labels ? b->labels : NULL;
    return out;
}

/* splitmix64 (Steele, Lea and Flood 2014): number i of a stream is a hash of its place. */
static uint64_t random_at(uint64_t key, uint64_t i)
{
    uint64_t x = key + (i + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* The epoch's order is a function of (seed, epoch) alone. Fisher and Yates. */
static void shuffle(size_t *order, size_t n, uint64_t seed, uint64_t epoch)
{
    uint64_t key = random_at(random_at(0, seed), epoch), draws = 0, r;
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t last = order[i - 1];
        do {
            r = random_at(key, draws++);
        } while (r >= UINT64_MAX - UINT64_MAX % i); /* beyond it, r % i would favour low values */
        order[i - 1] = order[r % i];
        order[r % i] = last;
    }
}

/* ------------------------------------------------------------------------------------------------
   Tasks */

enum { MAX_METRICS = 8 };

typedef struct {
    size_t n;       /* examples */
    double loss;    /* their mean */
    int *predicted; /* (n) classification: the label with the highest logit */
    int num_metrics;
    struct {
        const char *name;
        double value;
    } metrics[MAX_METRICS]; /* best.bin goes by the first one: higher is better */
} Evaluation;

typedef struct {
    int (*check)(const Data *d);                                 /* the labels */
    void (*show)(const Data *d);                                 /* their counts */
    void (*collect)(Evaluation *e, const Bert *m, size_t first); /* what metrics need of a batch */
    int (*measure)(Evaluation *e, const Data *d);                /* the metrics */
    void (*report)(const Evaluation *e, const Data *d);          /* details, at the end */
    void (*predict)(FILE *f, const Bert *m, int b);              /* a JSON object, left open */
} Task;

static void add_metric(Evaluation *e, const char *name, double value)
{
    e->metrics[e->num_metrics].name = name;
    e->metrics[e->num_metrics++].value = value;
}

/* x / y, or 0 where y is 0: scikit-learn's zero_division. */
static double ratio(double x, double y) { return y == 0 ? 0 : x / y; }

/* -- classification: softmax and cross-entropy over K labels -- */

static int classification_check(const Data *d)
{
    const int32_t *labels = d->labels;
    if (d->multi_label) return fail("%s: multi-label data is not supported yet", d->path);
    if (labels && d->K == 0) return fail("%s: has labels, but no label names", d->path);
    for (size_t i = 0; labels && i < d->n; i++)
        if (labels[i] < 0 || labels[i] >= d->K)
            return fail("%s: example %zu: label %d, not 0 to %d", d->path, i, labels[i], d->K - 1);
    return 0;
}

/* What every metric is made of: how often label k is true, is predicted, and is both. */
typedef struct {
    double truth, predicted, both;
} LabelCount;

static LabelCount *count_labels(const Evaluation *e, const Data *d)
{
    const int32_t *truth = d->labels;
    LabelCount *counts = calloc((size_t)d->K, sizeof *counts);
    if (!counts) fail("out of memory for the counts of %d labels", d->K);
    for (size_t i = 0; counts && i < d->n; i++) {
        counts[truth[i]].truth++;
        if (!e) continue;
        counts[e->predicted[i]].predicted++;
        counts[truth[i]].both += truth[i] == e->predicted[i];
    }
    return counts;
}

static double f1_score(LabelCount c) { return ratio(2 * c.both, c.truth + c.predicted); }

static void classification_show(const Data *d)
{
    LabelCount *counts = count_labels(NULL, d);
    for (int k = 0; counts && k < d->K && k < 20; k++) {
        fputs(k ? ", " : "           ", stdout);
        print_name(stdout, &d->names, (size_t)k, 0);
        printf(" %.0f", counts[k].truth);
    }
    puts(d->K > 20 ? ", ..." : "");
    free(counts);
}

static int argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static void classification_collect(Evaluation *e, const Bert *m, size_t first)
{
    for (int b = 0; b < m->B; b++)
        e->predicted[first + (size_t)b] = argmax(m->acts.logits + b * m->config.K, m->config.K);
}

/* scikit-learn's accuracy_score, f1_score(average="macro"), f1_score (of the second of two labels)
   and matthews_corrcoef. macro: a label neither true nor predicted anywhere does not count. */
static int classification_measure(Evaluation *e, const Data *d)
{
    LabelCount *counts = count_labels(e, d);
    double n = (double)d->n, right = 0, f1 = 0, present = 0, tp = 0, tt = 0, pp = 0;
    if (!counts) return 1;
    for (int k = 0; k < d->K; k++) {
        LabelCount c = counts[k];
        right += c.both;
        f1 += f1_score(c);
        present += c.truth + c.predicted > 0;
        tp += c.truth * c.predicted;
        tt += c.truth * c.truth;
        pp += c.predicted * c.predicted;
    }
    add_metric(e, "accuracy", ratio(right, n));
    add_metric(e, "macro_f1", ratio(f1, present));
    if (d->K == 2) add_metric(e, "f1", f1_score(counts[1]));
    add_metric(e, "matthews_correlation", ratio(right * n - tp, sqrt((n * n - tt) * (n * n - pp))));
    free(counts);
    return 0;
}

/* A row for each label: how well it is found and, where K columns can be read, taken for what. */
static void classification_report(const Evaluation *e, const Data *d)
{
    enum { MOST = 20 };
    size_t matrix[MOST][MOST] = {{0}}, K = (size_t)d->K;
    int width = 12, wide = K <= MOST;
    LabelCount *counts = count_labels(e, d);
    for (size_t i = 0; wide && i < d->n; i++)
        matrix[((const int32_t *)d->labels)[i]][e->predicted[i]]++;
    for (size_t k = 0; k < K; k++)
        if ((int)min_size(40, name_bytes(&d->names, k)) > width)
            width = (int)min_size(40, name_bytes(&d->names, k));
    printf("\n%-*s  precision  recall  f1      count%s\n%-*s", width, "true label",
           wide ? "   confusion matrix: predicted as" : "", wide ? width + 37 : 0, "");
    for (size_t k = 0; wide && k < K; k++) {
        printf("  ");
        print_name(stdout, &d->names, k, 6);
    }
    if (wide) printf("\n");
    for (size_t k = 0; counts && k < K; k++) {
        LabelCount c = counts[k];
        print_name(stdout, &d->names, k, width);
        printf("  %.4f     %.4f  %.4f  %-6.0f", ratio(c.both, c.predicted), ratio(c.both, c.truth),
               f1_score(c), c.truth);
        for (size_t j = 0; wide && j < K; j++)
            printf("  %-*zu", (int)(name_bytes(&d->names, j) > 6 ? name_bytes(&d->names, j) : 6),
                   matrix[k][j]);
        printf("\n");
    }
    free(counts);
}

/* The softmax, as pipeline("text-classification") gives it. */
static void classification_predict(FILE *f, const Bert *m, int b)
{
    int K = m->config.K;
    const float *logits_b = m->acts.logits + b * K;
    int best = argmax(logits_b, K);
    double sum = 0;
    for (int k = 0; k < K; k++) sum += exp((double)logits_b[k] - logits_b[best]);
    fputs("{\"label\": ", f);
    put_name(f, &m->labels, (size_t)best);
    fputs(", \"score\": ", f);
    put_number(f, 1 / sum, 9);
    for (int k = 0; k < K; k++) {
        fputs(k ? ", " : ", \"scores\": {", f);
        put_name(f, &m->labels, (size_t)k);
        fputs(": ", f);
        put_number(f, exp((double)logits_b[k] - logits_b[best]) / sum, 9);
    }
    fputc('}', f);
}

static const char *const task_names[BERT_NUM_TASKS] = {
    "none", "classification", "regression", "ner", "qa", "mlm", "pretraining"};

static const Task tasks[BERT_NUM_TASKS] = {
    [BERT_CLASSIFICATION] = {classification_check, classification_show, classification_collect,
                             classification_measure, classification_report, classification_predict},
};

/* ------------------------------------------------------------------------------------------------
   What a command works with. bert_main frees it. */

typedef struct {
    Options o;
    Bert model;
    Data data, eval_data; /* data: train_file or predict_file */
    Batch batch;
    Evaluation result;
    size_t *order; /* (n) the epoch's order; NULL: the file's */
    FILE *log;     /* log.jsonl, or NULL */
    int log_open;  /* a line was begun */

    size_t micro_batch, micro_batches;           /* examples in one; of them in an epoch */
    long long total, warmup, step;               /* optimizer steps: all, of the warmup, done */
    double epoch;                                /* done, with the fraction */
    double rate, norm;                           /* of the last step */
    double line_loss, line_tokens, line_seconds; /* sums since the last log line */
    double run_loss, run_examples, run_seconds;  /* sums since the start */
    long long line_step, saved_step, best_step;  /* of the last line, model.bin, best.bin */
    double best;
} Driver;

static volatile sig_atomic_t stop_signal; /* SIGINT or SIGTERM: finish the step, save, leave */

/* Loads a data file, and checks that the model can read it, whatever its head. */
static int load_data(const Bert *m, Data *d, const char *path, int labelled)
{
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    d->path = path;
    int failed = data_read(d, f);
    fclose(f);
    if (failed) return 1;
    if (!tasks[d->task].check)
        return fail("%s: task %s is not supported yet", path, task_names[d->task]);
    if (tasks[d->task].check(d)) return 1;
    if (labelled && !d->labelled) return fail("%s: is unlabelled, labels are needed here", path);
    if (labelled && d->n == 0) return fail("%s: has no examples", path);
    if (d->hash != m->tokenizer.hash)
        return fail("%s: was made with another vocabulary or other tokenizer settings than this "
                    "model's: make it again with tokenizer.py --model THIS_MODEL",
                    path);
    if (d->V > m->config.V)
        return fail("%s: token ids up to %d, the model has %d", path, d->V - 1, m->config.V);
    if (d->longest > m->config.P)
        return fail("%s: an example has %d tokens, the model reads %d: make it again with "
                    "tokenizer.py --max_length %d",
                    path, d->longest, m->config.P, m->config.P);
    if (d->pairs && m->config.S < 2)
        return fail("%s: has pairs of texts, the model has one token type only", path);
    return 0;
}

static int check_names(const BertStrings *names, const char *whose, const Data *d, const char *help)
{
    if (same_names(names, &d->names)) return 0;
    fail("%s: its labels are not those of %s. %s", d->path, whose, help);
    fprintf(stderr, "  %s: ", d->path);
    print_names(stderr, &d->names);
    fprintf(stderr, "  %s: ", whose);
    print_names(stderr, names);
    return 1;
}

/* eval and predict: the head must be there. */
static int check_head(const Bert *m, const char *path, const Data *d)
{
    if (m->config.task == BERT_NONE)
        return fail("%s: has no head for %s: fine-tune it first (train_bert train)", path,
                    task_names[d->task]);
    if (m->config.task != d->task || m->config.multi_label != d->multi_label)
        return fail("%s: is a model for %s%s, %s is data for %s%s", path,
                    m->config.multi_label ? "multi-label " : "", task_names[m->config.task],
                    d->path, d->multi_label ? "multi-label " : "", task_names[d->task]);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   Evaluation */

/* Room for all batches and for an evaluation's predictions. */
static int make_room(Driver *d, size_t train_batch)
{
    const Data *eval = &d->eval_data;
    size_t B = min_size((size_t)d->o.per_device_eval_batch_size, eval->n);
    int longest = d->data.longest > eval->longest ? d->data.longest : eval->longest;
    d->result.predicted = malloc((eval->n + 1) * sizeof *d->result.predicted);
    if (!d->result.predicted) return fail("out of memory for %zu predictions", eval->n);
    return batch_room(&d->batch, B > train_batch ? B : train_batch, (size_t)longest);
}

static void progress(const char *what, size_t done, size_t n, double start)
{
    live("%s %zu/%zu, %.0f s left", what, done, n,
         (seconds() - start) * (double)(n - done) / (double)done);
}

/* Mean loss and metrics over eval_data. Interrupted: 1, with stop_signal set. */
static int evaluate(Driver *d)
{
    const Data *data = &d->eval_data;
    Evaluation *e = &d->result;
    Bert *m = &d->model;
    double start = seconds(), loss = 0;
    for (size_t first = 0, B; first < data->n; first += B) {
        B = min_size((size_t)d->o.per_device_eval_batch_size, data->n - first);
        BertBatch x = batch_fill(&d->batch, data, NULL, first, B);
        if (bert_forward(m, &x, 0)) return fail("%s: %s", data->path, bert_error(m));
        for (size_t b = 0; b < B; b++) loss += m->acts.losses[b];
        tasks[data->task].collect(e, m, first);
        progress("eval", first + B, data->n, start);
        if (stop_signal) return 1;
    }
    live_clear();
    e->n = data->n;
    e->loss = loss / (double)data->n;
    e->num_metrics = 0;
    if (!isfinite(e->loss))
        return fail("%s: the loss is %g: the model's parameters are damaged", data->path, e->loss);
    return tasks[data->task].measure(e, data);
}

/* ------------------------------------------------------------------------------------------------
   Saving. A file gets its name only when it is whole and on the disk: a full disk, or killing the
   program at any moment, leaves the old one. */

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY), failed;
    if (fd < 0) return -1;
    failed = fsync(fd);
    close(fd);
    return failed;
}

static int save_model(Driver *d, const char *name)
{
    char path[PATH_MAX], temporary[PATH_MAX]; /* make_folder saw that both fit */
    Bert *m = &d->model;
    int error;
    snprintf(path, sizeof path, "%s/%s", d->o.output_dir, name);
    snprintf(temporary, sizeof temporary, "%s/%s.tmp", d->o.output_dir, name);
    for (size_t i = 0; i < m->num_parameters; i++)
        if (!isfinite(m->params_memory[i]))
            return fail("%s: not saved: parameters are no longer finite numbers", path);
    error = bert_save(m, temporary);
    if (error) {
        fail("%s", bert_error(m));
    } else if (sync_path(temporary) || rename(temporary, path)) {
        error = fail("%s: cannot be saved: %s", path, strerror(errno));
    } else {
        sync_path(d->o.output_dir); /* the rename too; not every file system can */
    }
    if (error) remove(temporary);
    if (!error) d->saved_step = d->step;
    return error != 0;
}

/* mkdir -p, and whether files can be made there: before the work, not after it. */
static int make_folder(const char *flag, const char *folder)
{
    char path[PATH_MAX];
    size_t n = strlen(folder);
    if (n + 32 > sizeof path) return fail("%s: the name is too long", flag);
    memcpy(path, folder, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (folder[i] != '/' && folder[i] != '\0') continue;
        path[i] = '\0';
        if (mkdir(path, 0777) && errno != EEXIST)
            return fail("%s: cannot make the folder %s: %s", flag, path, strerror(errno));
        path[i] = folder[i];
    }
    path[n] = '/'; /* access then fails where it is not a folder */
    path[n + 1] = '\0';
    if (access(path, W_OK | X_OK))
        return fail("%s: cannot write into %s: %s", flag, folder, strerror(errno));
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
    fail("warning: the log cannot be written: %s; going on without it", strerror(errno));
    fclose(d->log);
    d->log = NULL;
}

/* ------------------------------------------------------------------------------------------------
   Training */

/* How many steps, as Trainer counts them (set_initial_training_values of transformers 5). */
static int plan(Driver *d)
{
    const Options *o = &d->o;
    double per_epoch, total, warmup = floor(o->warmup_steps);
    d->micro_batch = min_size((size_t)o->per_device_train_batch_size, d->data.n);
    d->micro_batches = (d->data.n + d->micro_batch - 1) / d->micro_batch;
    per_epoch = ceil((double)d->micro_batches / (double)o->gradient_accumulation_steps);
    total = o->max_steps > 0 ? (double)o->max_steps : ceil(o->num_train_epochs * per_epoch);
    if (o->warmup_steps < 1)
        warmup = ceil(total * (o->warmup_steps > 0 ? o->warmup_steps : o->warmup_ratio));
    if (total > INT_MAX || warmup > INT_MAX) /* bert_adamw counts steps in an int */
        return fail("%.0f steps, %.0f of warmup: the most is %d", total, warmup, INT_MAX);
    d->total = (long long)total;
    d->warmup = strcmp(o->lr_scheduler_type, "constant") ? (long long)warmup : 0;
    if (d->warmup >= d->total && d->warmup > 0)
        fail("warning: %lld warmup steps in a run of %lld: the learning rate only rises, to %g",
             d->warmup, d->total, o->learning_rate * (total - 1) / warmup);
    if (d->warmup != (long long)warmup)
        fail("warning: constant has no warmup; --lr_scheduler_type constant_with_warmup has");
    return 0;
}

/* The learning rate's share for the next step (in a warmup the first has 0): as transformers'
   optimization.py, in double as there. */
static double schedule(const Driver *d)
{
    const char *type = d->o.lr_scheduler_type;
    double left = (double)(d->total - d->step) / (double)(d->total - d->warmup);
    if (d->step < d->warmup) return (double)d->step / (double)d->warmup;
    if (!strcmp(type, "linear")) return left;
    return strcmp(type, "cosine") ? 1 : 0.5 * (1 + cos(3.14159265358979323846 * (1 - left)));
}

/* The head for the data's task: as it is, renamed to the data's labels, or drawn anew. */
static int train_head(Driver *d)
{
    Bert *m = &d->model;
    const Data *data = &d->data;
    size_t old[BERT_NUM_TENSORS];
    int same = m->config.task == data->task && m->config.K == data->K &&
               m->config.multi_label == data->multi_label;
    printf("head       %s, %d labels: ", task_names[data->task], data->K);
    print_names(stdout, &data->names);
    if (same && same_names(&m->labels, &data->names)) return 0;
    if (same && !generic_names(&m->labels))
        return check_names(&m->labels, d->o.model, data,
                           "To go on with this head, make the data with the model's labels "
                           "(tokenizer.py --labels); for a new head, export the model with --task "
                           "none.");
    for (int i = 0; i < BERT_NUM_TENSORS; i++) old[i] = m->tensors[i].size;
    if (bert_set_task(m, data->task, data->K, data->multi_label, &data->names, (uint64_t)d->o.seed))
        return fail("%s: %s", d->o.model, bert_error(m));
    printf("           %s",
           same ? "its labels had no names, and get the data's" : "drawn anew, to be trained:");
    for (int i = 0; i < BERT_NUM_TENSORS; i++)
        if (m->tensors[i].size && m->tensors[i].size != old[i]) printf(" %s", m->tensors[i].key);
    printf("\n");
    return 0;
}

static void show_data(const char *what, const Data *d)
{
    printf("%-10s %s: %zu examples, %zu tokens, the longest %d\n", what, d->path, d->n, d->N,
           d->longest);
    tasks[d->task].show(d);
}

static void show_run(const Driver *d)
{
    const BertConfig *c = &d->model.config;
    const Options *o = &d->o;
    int threads = 1;
#ifdef _OPENMP
    threads = omp_get_max_threads();
#endif
    show_data("train", &d->data);
    if (o->eval_file) show_data("eval", &d->eval_data);
    printf("dropout    hidden %g, attention %g, classifier %g\n", c->hidden_dropout, c->att_dropout,
           c->cls_dropout < 0 ? c->hidden_dropout : c->cls_dropout);
    printf("run        %lld steps of %lld x %zu examples; %s learning rate %g, %lld warmup; "
           "threads: %d\n\n",
           d->total, o->gradient_accumulation_steps, d->micro_batch, o->lr_scheduler_type,
           o->learning_rate, d->warmup, threads);
    fflush(stdout);
}

static int train_load(Driver *d)
{
    Options *o = &d->o;
    Bert *m = &d->model;
    BertConfig *c = &m->config;
    if (make_folder("--output_dir", o->output_dir)) return 1;
    if (bert_load(m, o->model)) return fail("%s", bert_error(m));
    if (load_data(m, &d->data, o->train_file, 1)) return 1;
    if (o->eval_file) {
        if (load_data(m, &d->eval_data, o->eval_file, 1)) return 1;
        if (d->eval_data.task != d->data.task || d->eval_data.multi_label != d->data.multi_label)
            return fail("%s: is data for another task than %s", o->eval_file, o->train_file);
        if (check_names(&d->data.names, o->train_file, &d->eval_data,
                        "Make it again with tokenizer.py --like TRAIN.bin."))
            return 1;
    }
    printf("model      %s: %zu parameters\n           %d layers, %d heads, hidden %d, "
           "intermediate %d, positions %d, vocabulary %d\n",
           o->model, m->num_parameters, c->L, c->NH, c->C, c->F, c->P, c->V);
    if (train_head(d)) return 1;
    if (o->hidden_dropout_prob >= 0) c->hidden_dropout = (float)o->hidden_dropout_prob;
    if (o->classifier_dropout >= 0) c->cls_dropout = (float)o->classifier_dropout;
    if (o->attention_probs_dropout_prob >= 0)
        c->att_dropout = (float)o->attention_probs_dropout_prob;
    if (plan(d) || make_room(d, d->micro_batch) || log_start(d)) return 1;
    if (!strcmp(o->train_sampling_strategy, "random")) {
        d->order = malloc(d->data.n * sizeof *d->order);
        if (!d->order) return fail("out of memory for the order of %zu examples", d->data.n);
    }
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

/* One optimizer step, on examples first .. end-1 of the epoch's order. Its loss is their mean, so
   that 2 x 4 examples are the same step as 1 x 8. (Trainer of transformers 5.23 adds up the means
   of this model's micro-batches: its loss and gradient norm grow with the accumulation.) */
static int train_step(Driver *d, size_t first, size_t end)
{
    const Options *o = &d->o;
    Bert *m = &d->model;
    double start = seconds(), loss = 0, spent;
    for (size_t at = first, B; at < end; at += B) {
        B = min_size(d->micro_batch, end - at);
        BertBatch x = batch_fill(&d->batch, &d->data, d->order, at, B);
        float share = (float)((double)B / (double)(end - first));
        x.seed = (uint64_t)o->seed;
        x.step = (uint64_t)d->step;
        x.place = (int)(at - first);
        if (bert_forward(m, &x, 1)) return fail("%s: %s", d->data.path, bert_error(m));
        if (!isfinite(m->loss)) return diverged(d, "loss", m->loss);
        if (bert_backward(m, share)) return fail("%s", bert_error(m));
        loss += (double)m->loss * share;
        d->line_tokens += x.offsets[B];
    }
    d->norm = bert_grad_norm(m);
    if (!isfinite(d->norm)) return diverged(d, "gradient norm", d->norm);
    d->rate = o->learning_rate * schedule(d);
    if (bert_adamw(m, (float)d->rate, (float)o->adam_beta1, (float)o->adam_beta2,
                   (float)o->adam_epsilon, (float)o->weight_decay, (int)d->step + 1,
                   bert_clip_scale((float)d->norm, (float)o->max_grad_norm)))
        return fail("%s", bert_error(m));
    spent = seconds() - start;
    d->step++;
    d->line_loss += loss;
    d->line_seconds += spent;
    d->run_loss += loss;
    d->run_seconds += spent;
    d->run_examples += (double)(end - first);
    return 0;
}

/* A line every logging_steps, and one at the end: short runs have theirs too. */
static void train_log(Driver *d)
{
    double loss = d->line_loss / (double)(d->step - d->line_step);
    long long left = (long long)(d->run_seconds / (double)d->step * (double)(d->total - d->step));
    char line[256];
    snprintf(line, sizeof line,
             "step %lld/%lld  epoch %.2f  loss %.4f  lr %.2e  norm %.3f  "
             "%.0f tokens/s  %lld:%02lld:%02lld left",
             d->step, d->total, d->epoch, loss, d->rate, d->norm, d->line_tokens / d->line_seconds,
             left / 3600, left / 60 % 60, left % 60);
    if (d->step % d->o.logging_steps != 0 && d->step != d->total) {
        live("%s", line);
        return;
    }
    live_clear();
    puts(line);
    fflush(stdout);
    log_number(d, "", "loss", loss, 9);
    log_number(d, "", "grad_norm", d->norm, 9);
    log_number(d, "", "learning_rate", d->rate, 9);
    log_end(d);
    d->line_loss = d->line_tokens = d->line_seconds = 0;
    d->line_step = d->step;
}

static int end_of_epoch(Driver *d)
{
    Evaluation *e = &d->result;
    double start = seconds();
    int better;
    if (!d->o.eval_file) return save_model(d, "model.bin");
    if (evaluate(d)) return 1;
    start = seconds() - start;
    better = d->best_step == 0 || e->metrics[0].value > d->best;
    printf("eval       epoch %.2f  loss %.4f", d->epoch, e->loss);
    log_number(d, "eval_", "loss", e->loss, 17);
    for (int i = 0; i < e->num_metrics; i++) {
        printf("  %s %.4f", e->metrics[i].name, e->metrics[i].value);
        log_number(d, "eval_", e->metrics[i].name, e->metrics[i].value, 17);
    }
    puts(better ? "  best so far" : "");
    fflush(stdout);
    log_number(d, "eval_", "runtime", start, 6);
    log_number(d, "eval_", "samples_per_second", (double)e->n / start, 6);
    log_end(d);
    if (save_model(d, "model.bin")) return 1;
    if (!better) return 0;
    if (save_model(d, "best.bin")) return 1;
    d->best = e->metrics[0].value;
    d->best_step = d->step;
    return 0;
}

static int train_epochs(Driver *d)
{
    size_t group = (size_t)d->o.gradient_accumulation_steps;
    for (uint64_t epoch = 0; d->step < d->total; epoch++) {
        if (d->order) shuffle(d->order, d->data.n, (uint64_t)d->o.seed, epoch);
        for (size_t at = 0, to; at < d->micro_batches && d->step < d->total; at = to) {
            to = min_size(at + group, d->micro_batches); /* the last ones may be fewer */
            if (train_step(d, at * d->micro_batch, min_size(to * d->micro_batch, d->data.n)))
                return 1;
            d->epoch = (double)epoch + (double)to / (double)d->micro_batches;
            train_log(d);
            if (stop_signal) return 0;
        }
        if (end_of_epoch(d)) return !stop_signal;
    }
    return 0;
}

static int train_end(Driver *d, double runtime)
{
    const char *folder = d->o.output_dir;
    live_clear();
    if (stop_signal) {
        if (d->saved_step != d->step && save_model(d, "model.bin")) return 1;
        fail("stopped by a signal; %s/model.bin is the model after step %lld of %lld", folder,
             d->step, d->total);
        return 128 + (int)stop_signal;
    }
    log_number(d, "train_", "runtime", runtime, 6);
    log_number(d, "train_", "samples_per_second", d->run_examples / runtime, 6);
    log_number(d, "train_", "steps_per_second", (double)d->step / runtime, 6);
    log_number(d, "train_", "loss", d->run_loss / (double)d->step, 17);
    log_end(d);
    if (d->o.eval_file) tasks[d->data.task].report(&d->result, &d->eval_data);
    printf("\n%lld steps in %.1f s. %s/model.bin is the last model", d->step, runtime, folder);
    if (d->best_step)
        printf(", best.bin the one of step %lld (%s %.4f)", d->best_step, d->result.metrics[0].name,
               d->best);
    printf("\n");
    return 0;
}

static void on_signal(int number) { stop_signal = number; }

static int command_train(Driver *d)
{
    static const int signals[] = {SIGINT, SIGTERM};
    struct sigaction stop, old[2];
    double start;
    int result;
    if (train_load(d)) return 1;
    start = seconds();
    stop_signal = 0;
    memset(&stop, 0, sizeof stop);
    stop.sa_handler = on_signal;
    stop.sa_flags = SA_RESTART | (int)SA_RESETHAND; /* the second Ctrl-C ends it at once */
    for (int i = 0; i < 2; i++) {
        sigaction(signals[i], NULL, &old[i]);
        if (old[i].sa_handler != SIG_IGN) sigaction(signals[i], &stop, NULL); /* nohup stays */
    }
    result = train_epochs(d);
    if (!result) result = train_end(d, seconds() - start);
    for (int i = 0; i < 2; i++) sigaction(signals[i], &old[i], NULL);
    stop_signal = 0;
    return result;
}

/* ------------------------------------------------------------------------------------------------
   eval and predict */

static int command_eval(Driver *d)
{
    const Bert *m = &d->model;
    Data *data = &d->eval_data;
    if (bert_load(&d->model, d->o.model)) return fail("%s", bert_error(m));
    if (load_data(m, data, d->o.eval_file, 1) || check_head(m, d->o.model, data)) return 1;
    if (m->config.K != data->K || !generic_names(&m->labels)) {
        if (check_names(&m->labels, d->o.model, data,
                        "Make the data with the model's labels (tokenizer.py --labels)."))
            return 1;
    } else if (!same_names(&m->labels, &data->names)) {
        fail("warning: %s: its labels have no names; they are taken to be the data's, in order",
             d->o.model);
    }
    if (make_room(d, 0) || evaluate(d)) return 1;
    printf("%-22s %zu\n%-22s %.6f\n", "examples", data->n, "loss", d->result.loss);
    for (int i = 0; i < d->result.num_metrics; i++)
        printf("%-22s %.6f\n", d->result.metrics[i].name, d->result.metrics[i].value);
    tasks[data->task].report(&d->result, data);
    return 0;
}

static int predict_batch(Driver *d, size_t first, size_t B)
{
    const Data *data = &d->data;
    Bert *m = &d->model;
    BertBatch x = batch_fill(&d->batch, data, NULL, first, B);
    size_t K = (size_t)m->config.K;
    x.labels = NULL;
    if (bert_forward(m, &x, 0)) return fail("%s: %s", data->path, bert_error(m));
    for (size_t i = 0; i < B * K; i++)
        if (!isfinite(m->acts.logits[i]))
            return fail("%s: example %zu: the model's output is %g: its parameters are damaged",
                        data->path, first + i / K, m->acts.logits[i]);
    for (size_t b = 0; b < B; b++) {
        tasks[data->task].predict(stdout, m, (int)b);
        for (size_t k = 0; d->o.logits && k < K; k++)
            printf("%s%.9g", k ? ", " : ", \"logits\": [", m->acts.logits[b * K + k]);
        puts(d->o.logits ? "]}" : "}");
    }
    return ferror(stdout); /* bert_main tells */
}

static int command_predict(Driver *d)
{
    Data *data = &d->data;
    size_t batch = (size_t)d->o.per_device_eval_batch_size;
    double start;
    if (!d->o.predict_file)
        return fail("predict needs --predict_file: text on standard input will be read once the "
                    "tokenizer is in C.\n  Until then: python3 tokenizer.py classification "
                    "lines.tsv lines.bin --unlabelled --model %s",
                    d->o.model);
    if (bert_load(&d->model, d->o.model)) return fail("%s", bert_error(&d->model));
    if (load_data(&d->model, data, d->o.predict_file, 0)) return 1;
    if (check_head(&d->model, d->o.model, data)) return 1;
    if (batch_room(&d->batch, min_size(batch, data->n), (size_t)data->longest)) return 1;
    start = seconds();
    for (size_t first = 0, B; first < data->n; first += B) {
        B = min_size(batch, data->n - first);
        if (predict_batch(d, first, B)) return 1;
        if (!isatty(STDOUT_FILENO)) progress("predict", first + B, data->n, start);
    }
    return 0;
}

static const struct {
    const char *name, *help;
    int bit;
    int (*run)(Driver *d);
} commands[] = {
    {"train", "fine-tune a model on labelled data", TRAIN, command_train},
    {"eval", "loss, metrics and confusion matrix of a fine-tuned model", EVAL, command_eval},
    {"predict", "a JSON object a line for each example, in order", PREDICT, command_predict},
};
enum { NUM_COMMANDS = sizeof commands / sizeof commands[0] };

/* ------------------------------------------------------------------------------------------------
   Parsing the flags */

typedef enum { PATH, CHOICE, SWITCH, COUNT, STEPS, SEED, NUMBER, POSITIVE, SHARE } Kind;

static const struct {
    const char *value, *wants;
    double low, high;
} kinds[] = {
    {"PATH", "a path", 0, 0},
    {"WORD", "one of ", 0, 0},
    {"", "", 0, 0},
    {"N", "a whole number from 1 to 2147483647", 1, INT_MAX},
    {"N", "a whole number from -1 to 2147483647", -1, INT_MAX},
    {"N", "a whole number from 0 to 4294967295", 0, 4294967295.0},
    {"X", "a number >= 0", 0, FLT_MAX},
    {"X", "a number > 0", FLT_MIN, FLT_MAX},
    {"X", "a number >= 0 and < 1", 0, 0.99999994}, /* the last float below 1 */
};

#define FLAG_ROW(name, kind, value, takes, needs, help)                                            \
    {#name, kind, offsetof(Options, name), value, takes, needs, help},
static const struct {
    const char *name;
    Kind kind;
    size_t field; /* in Options */
    const char *value;
    int takes, needs; /* commands */
    const char *help;
} flags[] = {FLAGS(FLAG_ROW)};
enum { NUM_FLAGS = sizeof flags / sizeof flags[0] };

/* What else TrainingArguments of transformers 5.23 has: known, so that the message can say so. */
static const char trainer_flags[] =
    " accelerator_config activation_checkpointing activation_checkpointing_kwargs "
    "auto_find_batch_size average_tokens_across_devices batch_eval_metrics bf16 bf16_full_eval "
    "data_seed dataloader_drop_last dataloader_in_order dataloader_multiprocessing_context "
    "dataloader_num_workers dataloader_persistent_workers dataloader_pin_memory "
    "dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb "
    "ddp_find_unused_parameters ddp_static_graph ddp_timeout debug deepspeed disable_tqdm "
    "do_eval do_predict do_train enable_jit_checkpoint eval_accumulation_steps eval_delay "
    "eval_do_concat_batches eval_on_start eval_steps eval_strategy eval_use_gather_object fp16 "
    "fp16_full_eval fsdp fsdp_config full_determinism gradient_checkpointing "
    "gradient_checkpointing_kwargs greater_is_better hub_always_push hub_model_id "
    "hub_private_repo hub_revision hub_strategy hub_token ignore_data_skip include_for_metrics "
    "include_num_input_tokens_seen label_names label_smoothing_factor length_column_name "
    "liger_kernel_config load_best_model_at_end local_rank log_level log_level_replica "
    "log_on_each_node logging_first_step logging_nan_inf_filter logging_strategy "
    "lr_scheduler_kwargs metric_for_best_model neftune_noise_alpha optim optim_args "
    "optim_target_modules parallelism_config prediction_loss_only project push_to_hub "
    "remove_unused_columns report_to restore_callback_states_from_checkpoint "
    "resume_from_checkpoint run_name save_on_each_node save_only_model save_steps save_strategy "
    "save_total_limit skip_memory_metrics tf32 torch_compile torch_compile_backend "
    "torch_compile_mode torch_empty_cache_steps trackio_bucket_id trackio_space_id "
    "trackio_static_space_id use_cache use_cpu use_liger_kernel ";

/* Is word in the list, between separators or its ends? */
static int in_list(const char *list, const char *word, char separator)
{
    size_t n = strlen(word);
    for (const char *at = list; n && (at = strstr(at, word)) != NULL; at++)
        if ((at == list || at[-1] == separator) && (at[n] == separator || !at[n])) return 1;
    return 0;
}

/* Stores a value in its field; 0 where it is none of the flag's kind. */
static int set_flag(Options *o, int i, const char *text)
{
    Kind kind = flags[i].kind;
    char *field = (char *)o + flags[i].field, *end;
    if (kind == PATH || kind == CHOICE) {
        memcpy(field, &text, sizeof text);
        return *text && (kind == PATH || (!strchr(text, '|') && in_list(flags[i].help, text, '|')));
    }
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= kinds[kind].low && number <= kinds[kind].high)) return 0;
    if (kind >= NUMBER) {
        memcpy(field, &number, sizeof number);
        return 1;
    }
    long long whole = (long long)number;
    memcpy(field, &whole, sizeof whole);
    return (double)whole == number;
}

static void set_defaults(Options *o)
{
    const double absent = -1;
    memset(o, 0, sizeof *o);
    for (int i = 0; i < NUM_FLAGS; i++) {
        if (flags[i].value[0]) set_flag(o, i, flags[i].value);
        if (!flags[i].value[0] && flags[i].kind >= NUMBER)
            memcpy((char *)o + flags[i].field, &absent, sizeof absent);
    }
}

/* Levenshtein's distance between two words of less than 64 characters. */
static int distance(const char *a, const char *b)
{
    int row[64], n = (int)strlen(b);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int change = corner + (a[i - 1] != b[j - 1]);
            int other = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            corner = row[j];
            row[j] = change < other ? change : other;
        }
    }
    return row[n];
}

/* The flag's index, or -1 with a message that helps. */
static int find_flag(const char *name, int command)
{
    int nearest = 0, least = INT_MAX;
    const char *owner = "";
    for (int i = 0; i < NUM_FLAGS; i++) {
        int takes = flags[i].takes & commands[command].bit, steps = distance(name, flags[i].name);
        if (steps == 0 && takes) return i;
        for (int c = 0; c < NUM_COMMANDS && steps == 0; c++)
            if (flags[i].takes & commands[c].bit) owner = commands[c].name;
        if (!takes || steps >= least) continue;
        least = steps;
        nearest = i;
    }
    if (*owner) {
        fail("--%s is a flag of %s, not of %s", name, owner, commands[command].name);
    } else if (!strchr(name, ' ') && in_list(trainer_flags, name, ' ')) {
        fail("--%s is a Trainer flag that train_bert does not have", name);
    } else if (least <= 3 + (int)strlen(name) / 4) {
        fail("--%s: no such flag. Did you mean --%s?", name, flags[nearest].name);
    } else {
        fail("--%s: no such flag; 'train_bert help %s' lists them", name, commands[command].name);
    }
    return -1;
}

/* Takes --name value, --name=value or --switch; returns how many arguments, 0 for an error. */
static int parse_flag(Options *o, int command, char **argv, int left)
{
    const char *text = argv[0] + 2, *equals = strchr(text, '='), *value;
    char name[64];
    size_t n = min_size(equals ? (size_t)(equals - text) : strlen(text), sizeof name - 1);
    for (size_t i = 0; i < n; i++) name[i] = text[i] == '-' ? '_' : text[i]; /* --max-steps too */
    name[n] = '\0';
    int i = find_flag(name, command);
    if (i < 0) return 0;
    Kind kind = flags[i].kind;
    const char *choices = kind == CHOICE ? flags[i].help : "";
    if (kind == SWITCH) {
        const SWITCH_t on = 1;
        memcpy((char *)o + flags[i].field, &on, sizeof on);
        return equals ? fail("--%s takes no value", name), 0 : 1;
    }
    value = equals ? equals + 1 : left > 1 && strncmp(argv[1], "--", 2) ? argv[1] : NULL;
    if (!value) return fail("--%s needs a value: %s%s", name, kinds[kind].wants, choices), 0;
    if (!set_flag(o, i, value))
        return fail("--%s: '%s' is not %s%s", name, value, kinds[kind].wants, choices), 0;
    return equals ? 1 : 2;
}

static int parse(Options *o, int command, int argc, char **argv)
{
    set_defaults(o);
    for (int i = 0, taken; i < argc; i += taken) {
        if (strncmp(argv[i], "--", 2))
            return fail("'%s' is not a flag; 'train_bert help %s' lists them", argv[i],
                        commands[command].name);
        taken = parse_flag(o, command, argv + i, argc - i);
        if (!taken) return 1;
    }
    for (int i = 0; i < NUM_FLAGS; i++) {
        const char *value;
        memcpy(&value, (char *)o + flags[i].field, sizeof value); /* only paths are needed */
        if (flags[i].needs & commands[command].bit && !value)
            return fail("%s needs --%s: %s", commands[command].name, flags[i].name, flags[i].help);
    }
    return 0;
}

static void usage(FILE *f)
{
    fputs("train_bert: fine-tune BERT, measure it, and predict with it\n\n"
          "  train_bert train   --model M --train_file D --output_dir O [--eval_file D] [...]\n"
          "  train_bert eval    --model M --eval_file D [...]\n"
          "  train_bert predict --model M --predict_file D [...]\n"
          "  train_bert help COMMAND\n\n",
          f);
    for (int c = 0; c < NUM_COMMANDS; c++)
        fprintf(f, "  %-10s %s\n", commands[c].name, commands[c].help);
    fputs("\nModels come from dev/export_hf.py, data files from tokenizer.py; OMP_NUM_THREADS sets "
          "the threads.\n",
          f);
}

static void command_usage(int command)
{
    printf("train_bert %s: %s\n\n", commands[command].name, commands[command].help);
    for (int i = 0; i < NUM_FLAGS; i++) {
        char left[64];
        if (!(flags[i].takes & commands[command].bit)) continue;
        snprintf(left, sizeof left, "--%s %s", flags[i].name, kinds[flags[i].kind].value);
        printf("  %-36s %s", left, flags[i].help);
        if (flags[i].value[0]) printf(" [%s]", flags[i].value);
        puts(flags[i].needs & commands[command].bit ? " (needed)" : "");
    }
    puts("\nNames, meaning and [defaults] are those of Hugging Face's TrainingArguments.");
}

static int run(Driver *d, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    int command = -1, help = in_list("help|--help|-h", word, '|');
    for (int c = 0; c < NUM_COMMANDS; c++)
        if (argc > 1 + help && !strcmp(argv[1 + help], commands[c].name)) command = c;
    for (int i = 2; i < argc; i++) help |= in_list("--help|-h", argv[i], '|');
    if (argc < 2) return usage(stderr), 1;
    if (!strcmp(word, "--version"))
        return puts("train_bert for model files and data files of version 1"), 0;
    if (help && command >= 0) return command_usage(command), 0;
    if (help && argc == 2) return usage(stdout), 0;
    if (command < 0)
        return fail("'%s': no such command; try 'train_bert --help'", help ? argv[2] : word);
    return parse(&d->o, command, argc - 2, argv + 2) ? 1 : commands[command].run(d);
}

/* The exit code: 0; 1 for an error, told on stderr; 128 + n where signal n stopped the training. */
static int bert_main(int argc, char **argv)
{
    static const Driver empty;
    Driver d = empty;
    clearerr(stdout);
    errno = 0;
    int result = run(&d, argc, argv);
    live_clear();
    if (fflush(stdout) || ferror(stdout)) result = fail("standard output: %s", strerror(errno));
    bert_free(&d.model);
    free(d.data.memory);
    free(d.eval_data.memory);
    free(d.batch.tokens);
    free(d.result.predicted);
    free(d.order);
    if (d.log) fclose(d.log);
    return result;
}

#ifndef TESTING
int main(int argc, char **argv) { return bert_main(argc, argv); }
#endif
