/*
loader.h - what a model is given, step by step: shards, order, sentence pairs, masks, batches.
*/
#ifndef LOADER_H
#define LOADER_H

#include "data.h"

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
    int N = 0, masked = bert_task(d->task)->reads & BERT_READS_MASKED;
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
   Data for a model */

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

/* What a file of a task has to hold. */
static int (*const checks[BERT_NUM_TASKS])(Data *d) = {
    [BERT_CLASSIFICATION] = check_classification,
    [BERT_REGRESSION] = check_regression,
    [BERT_NER] = check_ner,
    [BERT_QA] = check_qa,
    [BERT_PRETRAINING] = check_pretraining,
};

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
    if (failed || (checks[d->task] && checks[d->task](d))) return 1;
    int masked = bert_task(d->task)->reads & BERT_READS_MASKED;
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

#endif
