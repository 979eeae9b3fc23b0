/*
data.h - data.bin, which tokenizer.py writes: its byte table, and its only reader in C. All of a
file is checked here, and nothing after. Words, strings and padding are bert.h's (Model files).

    word      field
    0         magic 0x44545242, the bytes "BRTD"
    1         version: 1
    2         task, as in model.bin
    3         problem type, as in model.bin
    4         K: label names (0 for tasks 2, 4, 5, 6 and where the data has no labels)
    5         labels present: 0, 1 (0 for tasks 5, 6, whose masks are drawn in training)
    6..7      n: examples, u64
    8..9      N: tokens, u64
    10        tokens of the longest example
    11        V: every token id is below it
    12..13    tokenizer hash of the model it was made with, u64
    14        max_length it was cut at; pretraining: that pairs of its sentences are built for
    15..16    bytes of section 1, u64, before padding (as all sizes below)
    17..18    bytes of section 5, u64
    19..20    bytes of section 6, u64
    21        doc_stride: tokens that neighbouring windows share (qa)
    22        Q: questions (qa); D: documents (pretraining); else 0
    23..24    bytes of section 9, u64
    25        qa: 1 where there may be questions without an answer (SQuAD v2), else 0
    30..31    bytes of the whole file, u64
    section
    1         label names, strings (nothing where K is 0)
    2         offsets, u64 (n+1): example i is tokens[offsets[i]] .. tokens[offsets[i+1]-1]
    3         tokens, int32 (N), with [CLS] and [SEP] (pretraining: without)
    4         segments, int32 (n): the example's tokens from this index on have type 1
    5         labels, where word 5 is 1:
              classification int32 (n), a label's index; multi-label: offsets, u64 (n+1), then
              the label indices of each example, int32, rising
              regression f32 (n)
              ner int32 (N): the word's label on its first piece; -1, none, on all other tokens
              qa int32 (n,2): first and last token of the answer, counted in the window; 0 0:
              this window does not hold it, or there is none
    6         texts, strings. ner (n): the sentence's words, one blank between two, none inside one.
              qa (Q): the contexts
    7         spans, int32 (N,2), ner and qa: first character of a token in its text, and the one
              behind its last; characters, not bytes. -1 -1: [CLS], [SEP], the question
    8         ner int32 (N): which word a token belongs to; -1: [CLS], [SEP]. A word may have none
              qa int32 (n): which question a window belongs to, rising; each has one at least
              pretraining u64 (D+1): document d is sentences doc[d] .. doc[d+1]-1
    9         qa: gold answers of each question, int32 (Q), padded to a multiple of 8; then strings
              (2Q + all answers): of each question its id, its text, its gold answers

    An example is a text or pair of texts; a sentence (ner; pretraining: without [CLS] and [SEP]);
    a window, [CLS] question [SEP] a stretch of the context [SEP] (qa); a line or, of lines joined,
    a block of max_length tokens (mlm).
*/
#ifndef DATA_H
#define DATA_H

#include "report.h"

#include <sys/stat.h>

enum { HEADER = 1024, DATA_MAGIC = 0x44545242, SECTIONS = 9 };

typedef struct {
    const char *path;
    int task, multi_label, K, labelled, longest, V, max_length;
    int may_lack;                /* qa: questions without an answer */
    int pairs;                   /* some example has a second segment */
    int Q;                       /* qa: questions; pretraining: documents */
    size_t n, N, A;              /* examples, tokens; all gold answers, or multi-label's labels */
    uint64_t hash;               /* of the tokenizer */
    size_t sizes[SECTIONS];      /* bytes of each */
    char *memory, *at[SECTIONS]; /* the file behind its header; what follows points into it */
    BertStrings names;           /* (K) */
    uint64_t *offsets;           /* (n+1) */
    int32_t *tokens;             /* (N) */
    int32_t *segments;           /* (n) */
    int32_t *labels;             /* classification (n), multi-label (sets[n]), ner (N), qa (n,2) */
    uint64_t *sets;              /* multi-label (n+1): example i has labels[sets[i]] .. */
    float *targets;              /* regression (n) */
    BertStrings texts;           /* ner (n): sentences; qa (Q): contexts */
    int32_t *spans;              /* ner, qa (N,2): characters in the text */
    int32_t *words;              /* ner (N): the token's word; qa (n): the window's question */
    uint64_t *documents;         /* pretraining (Q+1): document d is sentences documents[d] .. */
    int32_t *num_golds;          /* qa (Q) */
    BertStrings golds;           /* qa (2Q+A): id, question, gold answers, of each question */
    const struct Line *lines;    /* where it is text, not a file: in place of texts and golds */
    int goes_on, unfinished;     /* and windows of its first, last line are in other Data */
} Data;

/* Are masked tokens what it predicts? */
static int has_masks(int task) { return (bert_task(task)->reads & BERT_READS_MASKED) != 0; }

static size_t padded(size_t bytes) { return (bytes + 7) / 8 * 8; }

/* Bytes of each section: what the counts make of it or, where strings and sets decide, what the
   header says, and whoever reads the section checks that. */
static int section_sizes(Data *d, const int32_t *w, unsigned long long bytes)
{
    static const int words[SECTIONS] = {15, 0, 0, 0, 17, 19, 0, 0, 23}; /* of the header */
    const unsigned long long n = d->n, N = d->N,
                             of_labels[BERT_NUM_TASKS] = {0, 4 * n, 4 * n, 4 * N, 8 * n, 0, 0};
    const int ner = d->task == BERT_NER, qa = d->task == BERT_QA;
    unsigned long long said[SECTIONS], sizes[SECTIONS] = {0, 8 * (n + 1), 4 * N, 4 * n}, total = 0;
    for (int i = 0; i < SECTIONS; i++) said[i] = words[i] ? bert_u64_(w + words[i]) : 0;
    sizes[0] = said[0];
    if (d->labelled) sizes[4] = d->multi_label ? said[4] : of_labels[d->task];
    if (ner || qa) sizes[5] = said[5], sizes[6] = 8 * N, sizes[7] = ner ? 4 * N : 4 * n;
    if (d->task == BERT_PRETRAINING) sizes[7] = 8 * (d->Q + 1ull);
    if (qa) sizes[8] = said[8];
    for (int i = 0; i < SECTIONS; i++) {
        if (sizes[i] > bytes || (words[i] && sizes[i] != said[i]))
            return fail("%s: section %d cannot have %llu bytes: make the file again", d->path,
                        i + 1, words[i] ? said[i] : sizes[i]);
        d->sizes[i] = (size_t)sizes[i];
        total += padded(d->sizes[i]);
    }
    if (d->K ? sizes[0] / 8 <= (unsigned)d->K : sizes[0] > 0)
        return fail("%s: %d label names in %llu bytes", d->path, d->K, sizes[0]);
    if (HEADER + total != bytes || bert_u64_(w + 30) != bytes)
        return fail("%s: is %llu bytes long; its header says %llu, and its arrays take %llu",
                    d->path, bytes, (unsigned long long)bert_u64_(w + 30), HEADER + total);
    return 0;
}

/* Checks the header against itself and the file's length, before memory is taken. */
static int data_header(Data *d, const int32_t *w, unsigned long long bytes)
{
    enum { CLASSES = 1 << BERT_CLASSIFICATION, NER = 1 << BERT_NER, QA = 1 << BERT_QA };
    enum {
        LABELLED = CLASSES | NER | QA | 1 << BERT_REGRESSION,
        PAIRS = 1 << BERT_PRETRAINING,
        ALL = ~0
    };
    const struct {
        int word, low, high, tasks, *field; /* of other tasks it is 0 */
        const char *name;
    } fields[] = {{2, 1, BERT_NUM_TASKS - 1, ALL, &d->task, "task"},
                  {3, 0, 1, CLASSES, &d->multi_label, "problem type"},
                  {4, 0, INT_MAX, CLASSES | NER, &d->K, "the count of label names"},
                  {5, 0, 1, LABELLED, &d->labelled, "labels present"},
                  {10, 0, INT_MAX, ALL, &d->longest, "the longest example"},
                  {11, 1, INT_MAX, ALL, &d->V, "V"},
                  {14, 0, INT_MAX, ALL, &d->max_length, "max_length"},
                  {22, 0, INT_MAX, QA | PAIRS, &d->Q, "questions or documents"},
                  {25, 0, 1, QA, &d->may_lack, "no-answer questions"}};
    if (w[0] != DATA_MAGIC)
        return fail("%s: not a data file, which tokenizer.py makes: it begins with %08X", d->path,
                    (unsigned)w[0]);
    if (w[1] != 1) return fail("%s: version is %d, not 1: make it again", d->path, w[1]);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        int value = *fields[i].field = w[fields[i].word];
        int has = fields[i].tasks == ALL || fields[i].tasks & 1 << d->task;
        int high = has ? fields[i].high : 0;
        if (value < fields[i].low || value > high)
            return fail("%s: %s is %d, not %d to %d", d->path, fields[i].name, value, fields[i].low,
                        high);
    }
    for (int i = 26; i < HEADER / 4; i++)
        if (w[i] != 0 && i != 30 && i != 31)
            return fail("%s: header word %d is %d, not zero", d->path, i, w[i]);
    d->n = (size_t)bert_u64_(w + 6), d->N = (size_t)bert_u64_(w + 8), d->hash = bert_u64_(w + 12);
    /* No array is larger than the file, so no sum from here on can overflow. */
    if (bert_u64_(w + 6) > bytes || bert_u64_(w + 8) > bytes || bytes > SIZE_MAX / 64)
        return fail("%s: %zu examples, %zu tokens are not in a file of %llu bytes", d->path, d->n,
                    d->N, bytes);
    return section_sizes(d, w, bytes);
}

/* Offsets rise from 0 to the end by one at least, or where empty is allowed by none. */
static int check_offsets(const Data *d, const uint64_t *offsets, size_t n, size_t end, int empty,
                         const char *whose, const char *what)
{
    if (offsets[0] != 0 || offsets[n] != end)
        return fail("%s: %s: offsets of %s run from %zu to %zu, not from 0 to %zu", d->path, whose,
                    what, (size_t)offsets[0], (size_t)offsets[n], end);
    for (size_t i = 0; i < n; i++)
        if (offsets[i + 1] + (unsigned)empty <= offsets[i] || offsets[i + 1] > end)
            return fail("%s: %s %zu: its %s are %zu up to %zu of %zu; offsets must rise", d->path,
                        whose, i, what, (size_t)offsets[i], (size_t)offsets[i + 1], end);
    return 0;
}

/* Strings inside the file: count + 1 rising offsets, then the bytes they point into. */
static int find_strings(const Data *d, BertStrings *s, char *at, size_t count, size_t bytes,
                        const char *what)
{
    if (count + bytes == 0) return 0;
    if (!count || count >= bytes / 8)
        return fail("%s: %zu %s in %zu bytes", d->path, count, what, bytes);
    s->count = count;
    s->offsets = (uint64_t *)(void *)at;
    s->bytes = at + 8 * (count + 1);
    return check_offsets(d, s->offsets, count, bytes - 8 * (count + 1), 1, what, "bytes");
}

static int check_range(const Data *d, const int32_t *x, size_t n, int low, int high,
                       const char *whose, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (x[i] < low || x[i] > high)
            return fail("%s: %s %zu: %s %d, not %d to %d", d->path, whose, i, what, x[i], low,
                        high);
    return 0;
}

static int check_examples(Data *d)
{
    size_t longest = 0;
    if (check_offsets(d, d->offsets, d->n, d->N, 0, "example", "tokens") ||
        check_range(d, d->tokens, d->N, 0, d->V - 1, "token", "token id"))
        return 1;
    for (size_t i = 0; i < d->n; i++) {
        size_t T = (size_t)(d->offsets[i + 1] - d->offsets[i]);
        if (d->segments[i] < 0 || (size_t)d->segments[i] > T)
            return fail("%s: example %zu: its second segment is at %d, not 0 to %zu", d->path, i,
                        d->segments[i], T);
        d->pairs |= (size_t)d->segments[i] < T;
        if (T > longest) longest = T;
    }
    if (longest == (size_t)d->longest) return 0;
    return fail("%s: the longest example has %zu tokens, its header says %d", d->path, longest,
                d->longest);
}

/* n labels, low .. K-1 */
static int check_labels(const Data *d, size_t n, int low, const char *whose)
{
    if (!d->labelled) return 0;
    if (d->K == 0) return fail("%s: has labels, but no label names", d->path);
    return check_range(d, d->labels, n, low, d->K - 1, whose, "label");
}

static int check_spans(const Data *d)
{
    for (size_t t = 0; t < d->N; t++) {
        int start = d->spans[2 * t], end = d->spans[2 * t + 1];
        if (start < -1 || end < start || (start < 0) != (end < 0))
            return fail("%s: token %zu: characters %d to %d", d->path, t, start, end);
    }
    return 0;
}

/* multi-label: sets of rising labels */
static int check_classification(Data *d)
{
    if (!d->multi_label || !d->labelled) return check_labels(d, d->n, 0, "example");
    if (d->sizes[4] < d->sizes[1] || d->sizes[4] % 4)
        return fail("%s: label sets of %zu bytes", d->path, d->sizes[4]);
    d->sets = (uint64_t *)(void *)d->labels;
    d->labels = (int32_t *)(void *)(d->sets + d->n + 1);
    d->A = (d->sizes[4] - d->sizes[1]) / 4;
    if (check_offsets(d, d->sets, d->n, d->A, 1, "example", "labels")) return 1;
    for (size_t i = 0; i < d->n; i++)
        for (size_t j = d->sets[i] + 1; j < d->sets[i + 1]; j++)
            if (d->labels[j] <= d->labels[j - 1])
                return fail("%s: example %zu: its labels do not rise", d->path, i);
    return check_labels(d, d->A, 0, "label");
}

static int check_regression(Data *d)
{
    for (size_t i = 0; d->labelled && i < d->n; i++)
        if (!isfinite(d->targets[i]))
            return fail("%s: example %zu: its value is %g", d->path, i, d->targets[i]);
    return 0;
}

static int check_ner(Data *d)
{
    return check_range(d, d->words, d->N, -1, INT_MAX, "token", "word") ||
           check_labels(d, d->N, -1, "token") || check_spans(d) ||
           find_strings(d, &d->texts, d->at[5], d->n, d->sizes[5], "texts");
}

static int check_windows(const Data *d)
{
    for (size_t i = 0; i < d->n; i++) {
        int before = i ? d->words[i - 1] : -1, T = (int)(d->offsets[i + 1] - d->offsets[i]);
        const int32_t *label = d->labelled ? d->labels + 2 * i : NULL;
        if (d->words[i] < 0 || d->words[i] < before || d->words[i] > before + 1)
            return fail("%s: example %zu: question %d after %d", d->path, i, d->words[i], before);
        if (label && (label[0] < 0 || label[1] < label[0] || label[1] >= T))
            return fail("%s: example %zu: its answer is tokens %d to %d of %d", d->path, i,
                        label[0], label[1], T);
    }
    if (d->Q != (d->n ? d->words[d->n - 1] + 1 : 0))
        return fail("%s: %d questions, not all have examples", d->path, d->Q);
    return 0;
}

static int check_qa(Data *d)
{
    const size_t Q = (size_t)d->Q, counts = padded(4 * Q), bytes = d->sizes[8];
    d->num_golds = (int32_t *)(void *)d->at[8];
    if (counts > bytes) return fail("%s: %zu questions in %zu bytes", d->path, Q, bytes);
    if (check_range(d, d->num_golds, Q, 0, INT_MAX, "question", "answers") || check_windows(d) ||
        check_spans(d) || find_strings(d, &d->texts, d->at[5], Q, d->sizes[5], "texts"))
        return 1;
    for (size_t i = 0; i < Q && d->A <= bytes; i++) d->A += (size_t)d->num_golds[i];
    return find_strings(d, &d->golds, d->at[8] + counts, 2 * Q + d->A, bytes - counts,
                        "questions and answers");
}

static int check_pretraining(Data *d)
{
    if (d->max_length < 5)
        return fail("%s: max_length is %d, not 5 or more", d->path, d->max_length);
    if (d->Q < 2)
        return fail("%s: %d documents: another one is needed to draw from (blank lines part them)",
                    d->path, d->Q);
    return check_offsets(d, d->documents, (size_t)d->Q, d->n, 0, "document", "sentences");
}

/* Reads the file, and finds its arrays in memory. */
static int data_read(Data *d, FILE *f)
{
    int32_t words[HEADER / 4];
    struct stat info;
    if (fstat(fileno(f), &info) || !S_ISREG(info.st_mode))
        return fail("%s: not a regular file", d->path);
    if (info.st_size < HEADER || fread(words, 1, HEADER, f) != HEADER)
        return fail("%s: not a data file, which tokenizer.py makes: it has %lld bytes", d->path,
                    (long long)info.st_size);
    if (data_header(d, words, (unsigned long long)info.st_size)) return 1;
    size_t bytes = (size_t)info.st_size - HEADER;
    char *at = d->memory = take(bytes, 1, d->path);
    /* in pieces: some systems read no more than 2 GiB at once */
    for (size_t done = 0, got; done < bytes; done += got) {
        got = fread(at + done, 1, zmin(bytes - done, (size_t)1 << 30), f);
        if (got == 0)
            return fail("%s: cannot be read: %s", d->path, feof(f) ? "cut off" : strerror(errno));
    }
    for (int i = 0; i < SECTIONS; at += padded(d->sizes[i++])) d->at[i] = at;
    d->offsets = (uint64_t *)(void *)d->at[1];
    d->tokens = (int32_t *)(void *)d->at[2];
    d->segments = (int32_t *)(void *)d->at[3];
    d->labels = (int32_t *)(void *)d->at[4];
    d->targets = (float *)(void *)d->at[4];
    d->spans = (int32_t *)(void *)d->at[6];
    d->words = (int32_t *)(void *)d->at[7];
    d->documents = (uint64_t *)(void *)d->at[7];
    return find_strings(d, &d->names, d->at[0], (size_t)d->K, d->sizes[0], "label names") ||
           check_examples(d);
}

/* Tokens of the longest input. */
static int longest_input(const Data *d)
{
    return d->task == BERT_PRETRAINING ? d->max_length : d->longest;
}

#endif
