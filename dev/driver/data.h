/*
data.h - data.bin, which tokenizer.py writes: its byte table, and its only reader in C. All of a
file is checked here, and nothing after.

Little endian: a header of 256 int32, unused words zero; a directory; the sections. "u64" takes two
words, the low one first.

    word      field
    0         magic 0x44545242, the bytes "BRTD"
    1         version: 2
    2         task, as in model.bin
    3         problem type, as in model.bin: 1 is multi-label
    4         K: label names
    5         labels present: 0, 1 (mlm, pretraining: 0, masks are drawn in training)
    6..7      n: examples, u64
    8..9      N: tokens, u64
    10        tokens of the longest example
    11        V: every token id is below it
    12..13    tokenizer hash of the model it was made with, u64
    14        max_length it was cut at; pretraining: that pairs of its sentences are built for
    15        qa: doc_stride, the tokens that neighbouring windows share
    16        qa: 1 where there may be questions without an answer (SQuAD v2), else 0
    17        G: groups of examples; multiple_choice: each has as many
    18..19    A: gold answers, u64
    20        sections
    30..31    bytes of the whole file, u64

The directory has six words a section: its kind, its element (1 uint64, 2 int32, 3 float32, 4 byte),
how many there are, u64, and where they begin, counted from the file's start, u64. The sections
follow in the directory's order, each padded with zero bytes to a multiple of 8. A kind has one
meaning, and the table below says which data has it.

An example is a text or pair of texts; a sentence (ner; pretraining: without [CLS] and [SEP]); a
window, [CLS] question [SEP] a stretch of the context [SEP] (qa); a line or, of lines joined, a
block of max_length tokens (mlm); a text and one of its choices (multiple_choice). A group is a
question's windows (qa), a document's sentences (pretraining) or a text's choices (multiple_choice).
*/
#ifndef DATA_H
#define DATA_H

#include "report.h"

#include <sys/stat.h>

enum { DATA_MAGIC = 0x44545242, DATA_VERSION = 2, HEADER = 1024, HEADER_WORDS = 256, ENTRY = 24 };

typedef struct {
    const char *path;
    int task, multi_label, labelled, longest, V, max_length, sections;
    int may_lack, pairs; /* qa: questions without an answer; some example has a second segment */
    int K, G;            /* label names, groups */
    size_t n, N, A, choices; /* examples, tokens, gold answers; choices of each text, or 1 */
    uint64_t hash;           /* of the tokenizer */
    char *memory; /* the sections'; what follows points into it, or is NULL: it has none */

    BertStrings names;   /* (K): of labels */
    uint64_t *offsets;   /* (n+1): example i is tokens[offsets[i]] .. tokens[offsets[i+1]-1] */
    int32_t *tokens;     /* (N), with [CLS] and [SEP] (pretraining: without) */
    int32_t *segments;   /* (n): the example's tokens from this index on have type 1 */
    int32_t *labels;     /* classification (n); multiple_choice (G): the right choice, from 0 */
    uint64_t *sets;      /* multi-label (n+1): example i has set_labels[sets[i]] .., */
    int32_t *set_labels; /* which rise */
    float *targets;      /* regression (n) */
    int32_t *tags;       /* ner (N): the word's label on its first piece; -1, none, on others */
    int32_t *positions;  /* qa (n,2): first and last token of the answer, counted in the window;
                            0 0: this window does not hold it, or there is none */
    BertStrings texts;   /* ner (n): the sentence's words, one blank between two, none inside one;
                            qa (G): the question's context; multiple_choice (n): the choice */
    int32_t *spans;      /* ner, qa (N,2): a token's first character (not byte) in its text, and
                            the one behind its last; -1 -1: [CLS], [SEP], the question */
    int32_t *words;      /* ner (N): the token's word; -1: [CLS], [SEP]. A word may have no token */
    uint64_t *groups;    /* (G+1), of tasks that have some: group g is examples groups[g] .. */
    BertStrings ids, questions; /* qa (G) */
    uint64_t *answers; /* qa (G+1): of question g the right ones are golds[answers[g]] .. */
    BertStrings golds; /* (A) */
} Data;

/* Are masked tokens what it predicts? */
static int has_masks(int task) { return (bert_task(task)->reads & BERT_READS_MASKED) != 0; }

/* Is it trained on pairs of its sentences, which are drawn? */
static int draws_pairs(int task) { return bert_task(task)->reads == BERT_READS_BOTH; }

/* What groups of examples a task has, or NULL: none. */
static const char *const group_names[BERT_NUM_TASKS] = {
    [BERT_QA] = "questions", [BERT_PRETRAINING] = "documents", [BERT_MULTIPLE_CHOICE] = "texts"};

typedef unsigned long long Wide; /* what printf knows, as uint64_t is not */
enum { U64 = 1, I32, F32, BYTE };
static const size_t element_sizes[] = {0, 8, 4, 4, 1};

typedef struct {
    int kind, element, has;
    const char *name;
    size_t field;    /* where the pointer to it is in Data */
    long long count; /* of elements; ANY_COUNT: as the offsets before it say */
    long long low, high;
    Wide begin; /* in the file, from its start; 0: it is not there */
} Section;

enum { NUM_SECTIONS = 23, ANY_COUNT = -1, NEXT = -1 };
#define FIELD(name) #name, offsetof(Data, name)
/* clang-format off */
#define STRINGS(kind, has, name, count)                                                            \
    {kind, U64, has, FIELD(name.offsets), (count) + 1, 0, NEXT, 0},                                \
    {kind + 1, BYTE, has, FIELD(name.bytes), ANY_COUNT, 0, 0, 0}

/* A row a section: its kind and element, whether this data has it, its name in Data, how many
   elements, limits. Of int32 these are the lowest and the highest; of uint64, which are offsets
   into another section and begin with 0, how much they rise at least, and where they end, NEXT:
   with the next row's section. Strings are offsets (count + 1) and bytes in UTF-8. */
static void data_sections(Section *rows, const Data *d)
{
    const int task = d->task, named = bert_task(task)->most_K > 1, grouped = !!group_names[task];
    const int ner = task == BERT_NER, qa = task == BERT_QA, labelled = d->labelled;
    const int multi = labelled && d->multi_label, choice = task == BERT_MULTIPLE_CHOICE;
    const int single = labelled && ((task == BERT_CLASSIFICATION && !multi) || choice);
    const long long n = (long long)d->n, N = (long long)d->N, A = (long long)d->A, G = d->G;
    const long long last = choice ? (long long)d->choices - 1 : d->K - 1;
    const Section now[NUM_SECTIONS] = {
        STRINGS(1, named, names, (long long)d->K),
        {3, U64, 1, FIELD(offsets), n + 1, 1, N, 0},
        {4, I32, 1, FIELD(tokens), N, 0, d->V - 1, 0},
        {5, I32, 1, FIELD(segments), n, 0, d->longest, 0},
        {6, I32, single, FIELD(labels), choice ? G : n, 0, last, 0},
        {7, U64, multi, FIELD(sets), n + 1, 0, NEXT, 0},
        {8, I32, multi, FIELD(set_labels), ANY_COUNT, 0, last, 0},
        {9, F32, labelled && task == BERT_REGRESSION, FIELD(targets), n, 0, 0, 0},
        {10, I32, labelled && ner, FIELD(tags), N, -1, last, 0},
        {11, I32, labelled && qa, FIELD(positions), 2 * n, 0, d->longest - 1, 0},
        STRINGS(12, ner || qa || choice, texts, qa ? G : n),
        {14, I32, ner || qa, FIELD(spans), 2 * N, -1, INT_MAX, 0},
        {15, I32, ner, FIELD(words), N, -1, INT_MAX, 0},
        {16, U64, grouped, FIELD(groups), G + 1, 1, n, 0},
        STRINGS(17, qa, ids, G),
        STRINGS(19, qa, questions, G),
        {21, U64, qa, FIELD(answers), G + 1, 0, A, 0},
        STRINGS(22, qa, golds, A)};
    memcpy(rows, now, sizeof now);
}
/* clang-format on */

static Wide wide(const int32_t *w) { return (Wide)(uint32_t)w[1] << 32 | (uint32_t)w[0]; }

/* The file's numbers of size bytes as this machine has them: on a big-endian one turned round. */
static void little_endian(void *numbers, size_t count, size_t size)
{
    const uint16_t one = 1;
    char *p = numbers, byte;
    for (size_t i = 0; !*(const char *)&one && i < count * size; i++) {
        const size_t other = i - i % size + (size - 1 - i % size);
        if (i < other) byte = p[i], p[i] = p[other], p[other] = byte;
    }
}

#define OF_TEXT "; of a text: python3 tokenizer.py TASK %s OUT.bin --model MODEL.bin makes one"

/* Checks the header against itself and the file's length. No array is larger than the file, so no
   sum behind it can overflow. */
static int data_header(Data *d, const int32_t *w, Wide bytes)
{
    if (w[0] != DATA_MAGIC)
        return fail("%s: not a data file, it begins with %08X" OF_TEXT, d->path, (unsigned)w[0],
                    d->path);
    const int task = w[2] > 0 && w[2] < BERT_NUM_TASKS ? w[2] : BERT_NONE, qa = task == BERT_QA;
    const int pairs = draws_pairs(task), names = bert_task(task)->most_K > 1;
    const char *groups = group_names[task];
    if (w[1] != DATA_VERSION)
        return fail("%s: version is %d, not %d: make it again: python3 tokenizer.py %s INPUT %s "
                    "--model MODEL.bin --max_length %d",
                    d->path, w[1], DATA_VERSION, bert_task(task)->name, d->path, w[14]);
    const struct {
        int word, low, high, *field;
        const char *name;
    } fields[] = {{2, 1, BERT_NUM_TASKS - 1, &d->task, "task"},
                  {3, 0, task == BERT_CLASSIFICATION, &d->multi_label, "problem type"},
                  {5, 0, !has_masks(task), &d->labelled, "labels present"},
                  {4, names && w[5], names ? INT_MAX : 0, &d->K, "the count of label names"},
                  {10, 0, INT_MAX, &d->longest, "the longest example"},
                  {11, 1, INT_MAX, &d->V, "V"},
                  {14, pairs ? 5 : 0, INT_MAX, &d->max_length, "max_length"},
                  {16, 0, qa, &d->may_lack, "no-answer questions"},
                  {17, pairs ? 2 : 0, groups ? INT_MAX : 0, &d->G, groups ? groups : "groups"},
                  {20, 0, NUM_SECTIONS, &d->sections, "sections"}};
    const Wide n = wide(w + 6), N = wide(w + 8), A = wide(w + 18);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        int value = *fields[i].field = w[fields[i].word];
        if (value < fields[i].low || value > fields[i].high)
            return fail("%s: %s is %d, not %d to %d", d->path, fields[i].name, value, fields[i].low,
                        fields[i].high);
    }
    if (n > bytes || N > bytes || A > (qa ? bytes : 0) || bytes > SIZE_MAX / 64)
        return fail("%s: %llu examples, %llu tokens, %llu gold answers in %llu bytes", d->path, n,
                    N, A, bytes);
    d->n = (size_t)n, d->N = (size_t)N, d->A = (size_t)A, d->hash = wide(w + 12);
    d->choices = task == BERT_MULTIPLE_CHOICE && d->G ? d->n / (size_t)d->G : 1;
    for (int i = 21; i < HEADER_WORDS; i++)
        if (w[i] != 0 && i != 30 && i != 31)
            return fail("%s: header word %d is %d, not zero", d->path, i, w[i]);
    if (wide(w + 30) == bytes) return 0;
    return fail("%s: is %llu bytes long; its header says %llu", d->path, bytes, wide(w + 30));
}

/* The directory, in one loop: an entry is a row of the table that this data has, once, with its
   element and count; it begins where the one before ends, and ends in the file. None is missing. */
static int data_directory(const Data *d, Section *rows, const int32_t *w, Wide bytes)
{
    const char *path = d->path;
    Wide at = HEADER + ENTRY * (Wide)d->sections;
    for (int i = 0; i < d->sections; i++, w += ENTRY / 4) {
        const Wide count = wide(w + 2), begin = wide(w + 4);
        Section *s = rows;
        while (s < rows + NUM_SECTIONS && (s->kind != w[0] || !s->has)) s++;
        if (s == rows + NUM_SECTIONS)
            return fail("%s: section %d is of kind %d, which such %s data cannot have", path, i + 1,
                        w[0], bert_task(d->task)->name);
        if (s->begin) return fail("%s: section %s is there twice", path, s->name);
        if (w[1] != s->element)
            return fail("%s: section %s: element is %d, not %d", path, s->name, w[1], s->element);
        if (begin != at)
            return fail("%s: section %s begins at byte %llu, not at %llu, behind the one before it",
                        path, s->name, begin, at);
        if (at > bytes || count > (bytes - at) / element_sizes[s->element])
            return fail("%s: section %s: %llu elements go beyond the file's %llu bytes", path,
                        s->name, count, bytes);
        if (s->count != ANY_COUNT && count != (Wide)s->count)
            return fail("%s: section %s: %llu elements, not %lld by the header", path, s->name,
                        count, s->count);
        s->begin = at, s->count = (long long)count;
        at += (count * element_sizes[s->element] + 7) / 8 * 8;
    }
    for (int k = 0; k < NUM_SECTIONS; k++)
        if (rows[k].has && !rows[k].begin) return fail("%s: has no section %s", path, rows[k].name);
    if (at == bytes) return 0;
    return fail("%s: is %llu bytes long, and its sections end at %llu", path, bytes, at);
}

/* Are the section's elements within the limits of its row? */
static int check_section(const char *path, const Section *s, const void *elements)
{
    const uint64_t *offsets = elements;
    const int32_t *numbers = elements;
    const float *floats = elements;
    for (long long i = 0; i < s->count && s->element != BYTE; i++) {
        long long x = 0, low = s->low, high = s->high;
        if (s->element == I32) x = numbers[i];
        if (s->element == U64) {
            x = (long long)offsets[i];
            low = i ? (long long)offsets[i - 1] + low : 0;
            if (i + 1 == s->count && low < high) low = high;
            if (i == 0) high = 0;
        }
        if (s->element == F32 && !isfinite(floats[i]))
            return fail("%s: section %s, element %lld: %g, not finite", path, s->name, i,
                        floats[i]);
        if (x < low || x > high)
            return fail("%s: section %s, element %lld: %lld, not %lld to %lld", path, s->name, i, x,
                        low, high);
    }
    return 0;
}

/* What no row of the table can say. */
static int check_examples(Data *d)
{
    const char *path = d->path;
    size_t longest = 0;
    for (size_t i = 0; i < d->n; i++) {
        const size_t T = (size_t)(d->offsets[i + 1] - d->offsets[i]);
        const int32_t *answer = d->positions ? d->positions + 2 * i : NULL, first = d->segments[i];
        longest = T > longest ? T : longest;
        d->pairs |= (size_t)first < T;
        if ((size_t)first > T)
            return fail("%s: section segments, element %zu: %d, not 0 to %zu", path, i, first, T);
        if (answer && (answer[1] < answer[0] || (size_t)answer[1] >= T))
            return fail("%s: section positions, example %zu: tokens %d to %d of %zu", path, i,
                        answer[0], answer[1], T);
        for (uint64_t j = 1; d->sets && j + d->sets[i] < d->sets[i + 1]; j++)
            if (d->set_labels[d->sets[i] + j] <= d->set_labels[d->sets[i] + j - 1])
                return fail("%s: section set_labels, example %zu: labels must rise", path, i);
    }
    for (size_t t = 0; d->spans && t < d->N; t++) {
        const int start = d->spans[2 * t], end = d->spans[2 * t + 1];
        if (end < start || (start < 0) != (end < 0))
            return fail("%s: section spans, token %zu: characters %d to %d", path, t, start, end);
    }
    for (size_t g = 0; d->task == BERT_MULTIPLE_CHOICE && g < (size_t)d->G; g++) {
        const Wide many = d->groups[g + 1] - d->groups[g];
        if (many != d->choices || many < 2)
            return fail("%s: text %zu has %llu choices, expected %zu, as many as each", path, g,
                        many, d->choices < 2 ? 2 : d->choices);
    }
    if (longest == (size_t)d->longest) return 0;
    return fail("%s: the longest example has %zu tokens, not %d", path, longest, d->longest);
}

/* Reads the file, and finds its sections in memory. */
static int data_read(Data *d, FILE *f)
{
    int32_t w[HEADER_WORDS + NUM_SECTIONS * ENTRY / 4];
    Section rows[NUM_SECTIONS];
    struct stat info;
    if (fstat(fileno(f), &info) || !S_ISREG(info.st_mode))
        return fail("%s: not a regular file", d->path);
    const Wide bytes = (Wide)info.st_size;
    if (bytes < HEADER || fread(w, 1, HEADER, f) != HEADER)
        return fail("%s: not a data file, it has %llu bytes" OF_TEXT, d->path, bytes, d->path);
    little_endian(w, HEADER_WORDS, 4);
    if (data_header(d, w, bytes)) return 1;
    const size_t entries = (size_t)d->sections, first = HEADER + entries * ENTRY;
    if (fread(w + HEADER_WORDS, ENTRY, entries, f) != entries)
        return fail("%s: cut off: %llu bytes are too few for a directory of %zu sections", d->path,
                    bytes, entries);
    little_endian(w + HEADER_WORDS, entries * ENTRY / 4, 4);
    data_sections(rows, d);
    if (data_directory(d, rows, w + HEADER_WORDS, bytes)) return 1;
    const size_t size = (size_t)bytes - first;
    d->memory = take(size, 1, d->path);
    /* in pieces: some systems read no more than 2 GiB at once */
    for (size_t done = 0, got; done < size; done += got) {
        got = fread(d->memory + done, 1, zmin(size - done, (size_t)1 << 30), f);
        if (got == 0)
            return fail("%s: cannot be read: %s", d->path, feof(f) ? "cut off" : strerror(errno));
    }
    for (Section *s = rows; s < rows + NUM_SECTIONS; s++) {
        if (!s->begin) continue;
        char *at = d->memory + (s->begin - first);
        memcpy((char *)d + s->field, &at, sizeof at);
        little_endian(at, (size_t)s->count, element_sizes[s->element]);
        if (s->element == U64 && s->high == NEXT) s->high = s[1].count;
        if (check_section(d->path, s, at)) return 1;
    }
    d->names.count = (size_t)d->K, d->golds.count = d->A;
    d->texts.count = d->answers ? (size_t)d->G : d->n;
    d->ids.count = d->questions.count = (size_t)d->G;
    return check_examples(d);
}

/* Tokens of the longest input. */
static int longest_input(const Data *d)
{
    return draws_pairs(d->task) ? d->max_length : d->longest;
}

#endif
