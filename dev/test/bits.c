/*
bits.c - the same bits, everywhere: a training run is a function of its inputs.

    dev/test/bits                   the fast product against the plain loops, and every task's hash
                                    against dev/fixtures/hashes.txt: threads, micro-batches, memory;
                                    of a NAME that ends in .bf16 against hashes.bf16.txt beside it
    dev/test/bits --print [NAME ..] the hashes, a line each (dev/check/hash.py compares them)
    dev/test/bits --real MODEL      micro-batches of 1 to 32 of a real encoder's step, every task
*/
#include "test.h"
#undef BERT_MALLOC
#undef BERT_CALLOC
#undef BERT_FREE
#define BERT_MALLOC(size) skewed_calloc(1, size)
#define BERT_CALLOC(n, size) skewed_calloc(n, size)
#define BERT_FREE(p) skewed_free(p)
static void *skewed_calloc(size_t n, size_t size);
static void skewed_free(void *p);

#define BERT_STATIC
#define BERT_IMPLEMENTATION
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "bert.h"
#include "batch.h"
#include <pthread.h>

/* An allocator whose memory starts skew bytes behind where malloc's does. */
static size_t skew;

static void *skewed_calloc(size_t n, size_t size)
{
    if (size && n > (SIZE_MAX - 128) / size) return NULL;
    char *p = (char *)calloc(1, n * size + 128);
    if (!p) return NULL;
    memcpy(p + skew + 8, &p, sizeof p);
    return p + skew + 16;
}

static void skewed_free(void *p)
{
    void *start;
    if (!p) return;
    memcpy(&start, (char *)p - 8, sizeof start);
    free(start);
}

static void use_threads(int n)
{
#ifdef _OPENMP
    omp_set_dynamic(0);
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

/* ------------------------------------------------------------------------------------------------
   The product */

/* Numbers with all their bits in use, of mixed signs. */
static void numbers(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(2.0 * uniform() - 1.0);
}

/* Any bits at all: NaN, infinities, denormals, and sums that end below the least normal number. */
static int wild;

static void wild_numbers(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)bert_mix64(bert_mix64((uint64_t)wild) ^ i);
        if (wild % 3) bits = (bits & 0x83FFFFFFu) | (wild % 3 == 1 ? 0x1C000000u : 0x20000000u);
        if (bits % 5 == 0) bits &= 0x80FFFFFFu;
        memcpy(&x[i], &bits, 4);
    }
    wild++;
}

/* Without AMX, where there is some; the product in bfloat16 is then plain C. */
static void use_amx(int yes)
{
#ifdef BERT_AMX_
    bert_amx_known_ = yes ? 0 : 1;
#else
    (void)yes;
#endif
}

static int same_floats(const float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&x[i], &y[i], 4) && !(isnan(x[i]) && isnan(y[i]))) return 0;
    return 1;
}

/* One shape, in tiles and in plain loops, in float32; one of four in bfloat16 with AMX besides, one
   without. kind: how c begins, which operand lies which way, and how far apart rows are. */
static void check_product(int M, int N, int K, int kind)
{
    static const int hows[] = {BERT_START_, BERT_START_, BERT_ADD_, BERT_GO_ON_};
    enum { BEHIND = 8192 };
    static BertScratch scratch; /* with floats behind it that nobody may write */
    const int how = hows[kind & 3], apart = kind >> 4 & 3;
    const size_t a_wide = (size_t)(kind & 4 ? M : K) + apart;
    const size_t b_wide = (size_t)(kind & 8 ? K : N) + apart, ldc = (size_t)N + apart;
    size_t mark = num_gotten;
    float *a = get((kind & 4 ? K : M) * a_wide, 4), *b = get((kind & 8 ? N : K) * b_wide, 4);
    float *c = get((size_t)M * ldc, 4), *want = get((size_t)M * ldc, 4), *start = get(N, 4);
    float *before = get((size_t)M * ldc, 4);
    int *offsets = get(K + 2, sizeof *offsets);
    void (*const fill)(float *, size_t) = wild ? wild_numbers : numbers;
    if (scratch.threads != bert_threads()) {
        free(scratch.memory);
        scratch.threads = bert_threads();
        scratch.memory = (float *)malloc((bert_scratch_size(scratch.threads) + BEHIND) * 4);
        for (int i = 0; i < BEHIND; i++)
            scratch.memory[bert_scratch_size(scratch.threads) + i] = 7.0f;
    }
    fill(a, (kind & 4 ? K : M) * a_wide);
    fill(b, (kind & 8 ? N : K) * b_wide);
    fill(before, (size_t)M * ldc);
    fill(start, N);
    for (int s = 0; offsets[s] < K; s++) offsets[s + 1] = bert_min_(K, offsets[s] + 1 + below(70));
    BertMatrix_ x = kind & 4 ? bert_matrix_(a, 1, a_wide) : bert_matrix_(a, a_wide, 1);
    BertMatrix_ y = kind & 8 ? bert_matrix_(b, 1, b_wide) : bert_matrix_(b, b_wide, 1);
    float *from = kind & 1 && how == BERT_START_ ? start : NULL;
    for (int bf16 = wild != 0; bf16 < 3; bf16++) { /* 2: without AMX */
        BertScratch slow = {0};
        if (!wild && bf16 && ((M + N + K) & 3) != bf16) continue;
        slow.bf16 = scratch.bf16 = bf16 != 0;
        slow.offsets = scratch.offsets = kind & 16 ? offsets : NULL;
        use_amx(bf16 == 1);
        memcpy(c, before, (size_t)M * ldc * sizeof *c);
        memcpy(want, before, (size_t)M * ldc * sizeof *c);
        bert_matmul_(c, ldc, x, y, M, N, K, from, how, &scratch);
        bert_matmul_(want, ldc, x, y, M, N, K, from, how, bf16 ? &slow : NULL);
        expect(same_floats(c, want, (size_t)M * ldc), "(%d, %d, %d), kind %d, %s: other bits", M, N,
               K, kind,
               bf16 == 2 ? "bfloat16 without AMX"
               : bf16    ? "bfloat16"
                         : "float32");
    }
    use_amx(1);
    for (int i = 0; i < BEHIND; i++)
        expect(scratch.memory[bert_scratch_size(scratch.threads) + i] == 7.0f,
               "(%d, %d, %d), kind %d: wrote behind its memory", M, N, K, kind);
    release(mark);
}

/* Whatever a float's bits may be: bfloat16 has a rule for each. */
static void test_wild(void)
{
    for (wild = 1; wild < 2000;)
        check_product(1 + below(40), 1 + below(40), 1 + below(70), below(64));
    wild = 0;
    static const uint32_t rounded[][2] = {
        {0x3F808000u, 0x3F800000u}, {0x3F818000u, 0x3F820000u}, {0x3F808001u, 0x3F810000u},
        {0x7F7FFFFFu, 0x7F800000u}, {0xFF800000u, 0xFF800000u}, {0x807FFFFFu, 0x80000000u},
        {0x00800000u, 0x00800000u}, {0x7F800001u, 0x7FC00000u}, {0xFFE49200u, 0xFFE40000u}};
    for (int i = 0; i < 9; i++)
        expect(bert_to_bf16_(bert_of_bits_(rounded[i][0])) == rounded[i][1],
               "%08x is rounded to %08x", rounded[i][0],
               bert_to_bf16_(bert_of_bits_(rounded[i][0])));
    done("bfloat16: NaN, infinities, denormals, ties and sums that underflow: AMX as plain loops");
}

static void test_product(void)
{
    static const int some[] = {1, 5, 8, 17, 33, 48, 70};
    const int by = TEST_EVERY > 1 ? 4 : 2;
    int kind = 0;
    use_threads(1);
    for (int i = 1; i <= 70; i++)
        for (int j = 1 + i % TEST_EVERY; j <= 70; j += TEST_EVERY, kind += 7) {
            int k = some[(i + 3 * j) % 7];
            check_product(i, j, k, kind & 63);
            check_product(i, k, j, (kind + 21) & 63);
            check_product(k, i, j, (kind + 42) & 63);
        }
    for (int i = 170; i <= 200; i++) /* around the most strips that are copied at once */
        for (int j = 0; j < 4; j++, kind += 7) check_product(i, 50, 384 + j, kind & 63);
    for (int i = 0; i < 64; i++)
        check_product(0, 70, 20, i), check_product(70, 0, 20, i), check_product(0, 0, 20, i);
    done("the fast product has the plain loops' bits: every shape to 70");
    use_threads(3);
    static const int large[] = {3, 16, 49, 193, 257, 300, 383, 384, 385, 600, 769};
    for (int i = 0; i < 11; i++) /* each size in each place, and each kind */
        for (int j = i % by; j < 11; j += by, kind += 7)
            check_product(large[i], 1 + large[j] / 3, large[(i + 2 * j) % 11], kind & 63),
                check_product(1 + large[j] / 4, large[i], large[(2 * i + j) % 11],
                              (kind + 29) & 63);
    done("the fast product has the plain loops' bits: beyond its blocks, on 3 threads");
}

/* ------------------------------------------------------------------------------------------------
   Training */

/* Sequences of an example. */
static int choices_of(const Bert *m) { return m->config.task == BERT_MULTIPLE_CHOICE ? 3 : 1; }

/* A batch of so many examples that every task could have; memory is the test's. */
static BertBatch make_batch(const Bert *m, int examples, int longest)
{
    const BertConfig *c = &m->config;
    BertBatch x = {0};
    const int B = examples * choices_of(m);
    int *offsets = get(B + 1, sizeof *offsets), N = 0, K = c->K > 1 ? c->K : 2;
    for (int b = 0; b < B; b++) N = offsets[b + 1] = N + 1 + below(bert_min_(longest, c->P));
    int *tokens = get(N, sizeof *tokens), *types = get(N, sizeof *types);
    int *labels = get(2 * B + N, sizeof *labels), *rows = get(N, sizeof *rows);
    int *next = get(B, sizeof *next);
    float *targets = get((size_t)B * K, sizeof *targets), *weights = get(K, sizeof *weights);
    for (int n = 0; n < N; n++) {
        tokens[n] = below(4) ? below(c->V) : below(bert_min_(c->V, 6)); /* some of them often */
        types[n] = below(c->S);
        labels[n] = c->task == BERT_NER ? below(c->K + 1) - 1 : 0;
        if (below(5) == 0) rows[x.R++] = n;
    }
    for (int b = 0; b < B; b++) {
        int T = offsets[b + 1] - offsets[b];
        next[b] = below(2);
        for (int k = 0; k < c->K; k++) targets[b * c->K + k] = (float)uniform();
        if (c->task == BERT_CLASSIFICATION) labels[b] = below(c->K);
        if (c->task == BERT_MULTIPLE_CHOICE) labels[b] = below(x.choices = choices_of(m));
        if (c->task == BERT_QA) labels[2 * b] = below(T), labels[2 * b + 1] = below(T);
    }
    for (int k = 0; k < K; k++) weights[k] = 0.5f + (float)uniform();
    x.B = B, x.tokens = tokens, x.types = types, x.offsets = offsets, x.seed = 7;
    if (bert_task(c->task)->reads & BERT_READS_MASKED) {
        for (int r = 0; r < x.R; r++) labels[r] = below(c->V);
        x.rows = rows;
    } else x.R = 0;
    if (c->task == BERT_PRETRAINING) x.next = next;
    if (bert_has_targets(c)) x.targets = targets;
    else x.labels = labels;
    if (c->task == BERT_CLASSIFICATION || c->task == BERT_NER) x.class_weights = weights;
    if (c->task == BERT_NER || c->task == BERT_MLM) x.label_smoothing = 0.1f;
    x.divisor = bert_divisor(m, &x), x.next_divisor = B;
    return x;
}

static void must(Bert *m, int error)
{
    if (!error) return;
    fprintf(stderr, "bits: %s\n", bert_error(m));
    exit(2);
}

/* Forward and backward of a step, cut into parts of so many examples, again and again (0 ends). */
static void gradients(Bert *m, BertBatch x, const int *sizes)
{
    for (int at = 0, i = 0; at < x.B; i = sizes[i + 1] ? i + 1 : 0) {
        int to = bert_min_(x.B, at + sizes[i] * choices_of(m));
        BertBatch part = part_of(m, x, at, to);
        must(m, bert_forward(m, &part, 1));
        if (part.labels || part.targets || part.next) must(m, bert_backward(m, 1));
        at = to;
    }
}

static uint64_t hash_of(const float *x, size_t n)
{ /* FNV-1a; of a word's bytes the low one first, on every machine */
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++) {
        uint32_t word;
        memcpy(&word, &x[i], 4);
        for (int k = 0; k < 4; k++, word >>= 8) hash = (hash ^ (word & 255)) * 0x100000001B3u;
    }
    return hash;
}

/* 20 steps with everything that training has: dropout, warmup, decay, clipping that bites. */
static int checkpointing;
static uint64_t train(const char *name, const int *sizes)
{
    Bert m = {0};
    char path[80];
    const char *dot = strchr(name, '.');
    snprintf(path, sizeof path, "dev/fixtures/%.*s.model.bin", (int)strcspn(name, "."), name);
    must(&m, bert_load(&m, path));
    m.bf16 = dot && !strcmp(dot, ".bf16");
    m.config.hidden_dropout = m.config.att_dropout = m.config.cls_dropout = 0.1f;
    m.checkpointing = checkpointing;
    for (size_t i = 0; i < m.num_parameters; i++) /* a reference drawn by Python is not enough */
        if (m.params_memory[i] == 0.0f) m.params_memory[i] = 0.02f * bert_normal_(3, i);
    state = 5;
    for (int step = 0; step < 20; step++) {
        size_t mark = num_gotten;
        BertBatch x = make_batch(&m, 7, 30);
        x.step = (uint64_t)step;
        gradients(&m, x, sizes);
        must(&m, bert_adamw(&m, (float)(2e-3 * bert_linear_schedule(step + 1, 5, 21)), 0.9f, 0.999f,
                            1e-8f, 0.1f, step + 1, bert_clip_scale(bert_grad_norm(&m), 0.05f)));
        release(mark);
    }
    uint64_t hash = hash_of(m.params_memory, m.num_parameters);
    bert_free(&m);
    return hash;
}

static const char *const names[] = {
    "awkward",  "onehead",         "relu", "tiles", "longsum",     "weights",         "multi",
    "ner",      "regression",      "qa",   "mlm",   "pretraining", "multiple_choice", "tiles.bf16",
    "ner.bf16", "pretraining.bf16"};
enum { NAMES = sizeof names / sizeof *names };

/* The committed hash, or 0. */
static uint64_t committed(const char *name)
{
    char word[80];
    unsigned long long hash, found = 0;
    const char *bf16 = strchr(name, '.');
    FILE *f = fopen(bf16 ? "dev/fixtures/hashes.bf16.txt" : "dev/fixtures/hashes.txt", "r");
    while (f && fscanf(f, "%79s %llx", word, &hash) == 2)
        if (!strcmp(word, name)) found = hash;
    if (f) fclose(f);
    return found;
}

static void test_hashes(void)
{
    static const struct {
        int threads, cut[4];
    } runs[] = {{1, {7}}, {3, {7}}, {2, {1}}, {1, {2}}, {4, {3}}, {1, {4, 1, 2}}};
    for (int i = 0; i < NAMES; i++) {
        uint64_t want = committed(names[i]), got;
        for (int t = 0; t < 6; t++) {
            use_threads(runs[t].threads);
            skew = t % 4 * 16 + (t & 1) * 8;
            use_amx(t != 1 && t != 4);
            got = train(names[i], runs[t].cut);
            expect(got == want, "%016llx, not %016llx: %d threads, parts of %d",
                   (unsigned long long)got, (unsigned long long)want, runs[t].threads,
                   runs[t].cut[0]);
        }
        use_amx(1);
        done("%s: the same parameters after 20 steps, to the last bit", names[i]);
    }
}

/* Gradient checkpointing, whole and cut; two backwards of one forward; what bert-base saves. */
static void test_checkpointing(void)
{
    static const int cuts[][4] = {{4, 1, 2}, {7}};
    use_threads(2);
    checkpointing = 1;
    for (int i = 0; i < NAMES; i++)
        expect(train(names[i], cuts[i % 2]) == committed(names[i]), "%s: other bits", names[i]);
    checkpointing = 0;
    uint64_t twice[2];
    for (int on = 0; on < 2; on++) {
        Bert m = {0};
        must(&m, bert_load(&m, "dev/fixtures/tiles.model.bin"));
        m.checkpointing = on, m.config.hidden_dropout = m.config.att_dropout = 0.1f;
        state = 5;
        BertBatch x = make_batch(&m, 7, 30);
        must(&m, bert_forward(&m, &x, 1) || bert_backward(&m, 1) || bert_backward(&m, 0.5f));
        twice[on] = hash_of(m.grads_memory, m.num_parameters);
        bert_free(&m), release(0);
    }
    expect(twice[0] == twice[1], "a second backward has other bits");
    Bert base = {0};
    size_t floats[2], sizes[BERT_NUM_ACTS + 1];
    base.config.C = 768, base.config.L = 12, base.config.NH = 12, base.config.F = 3072;
    base.config.task = BERT_CLASSIFICATION, base.config.K = 2;
    base.training = 1, base.B = 8, base.N = 8 * 512;
    for (int on = 0; on < 2; on++) {
        base.act_copies = on ? 1 : 12;
        bert_layer_acts(&base, 0, sizes);
        floats[on] = sizes[BERT_NUM_ACTS];
    }
    expect(floats[1] * 3 < floats[0], "%zu floats, not a third of %zu", floats[1], floats[0]);
    done("gradient checkpointing: the same parameters; bert-base, 8 x 512: %.0f MB, not %.0f",
         4e-6 * (double)floats[1], 4e-6 * (double)floats[0]);
}

/* The manual's word: 64 KB of stack are enough. */
static void *train_awkward(void *hash)
{
    static const int cut[] = {3, 0};
    *(uint64_t *)hash = train("awkward", cut);
    return NULL;
}

static void test_small_stack(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    uint64_t hash = 0;
    use_threads(1);
    pthread_attr_init(&attributes);
    expect(!pthread_attr_setstacksize(&attributes, 64 << 10), "no such stack");
    if (expect(!pthread_create(&thread, &attributes, train_awkward, &hash), "no thread"))
        pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    expect(hash == train("awkward", (const int[]){7, 0}), "other bits");
    done("a thread with 64 KB of stack trains to the same parameters");
}

/* ------------------------------------------------------------------------------------------------
   A real model: MiniLM's encoder under every head */

static void test_real(const char *path)
{
    static const char *const tasks[] = {
        "",    "classification", "regression",      "ner",        "qa",
        "mlm", "pretraining",    "multiple choice", "multi-label"};
    static const int cuts[][2] = {{32, 0}, {1, 0}, {2, 0}, {4, 0}, {8, 0}};
    for (int t = 1; t <= BERT_NUM_TASKS; t++) {
        const int multi = t == BERT_NUM_TASKS, task = multi ? BERT_CLASSIFICATION : t;
        const int most = bert_task(task)->most_K, K = most < 3 ? most : 3;
        uint64_t want = 0;
        for (int i = 0; i < 5; i++) {
            Bert m = {0};
            must(&m, bert_load(&m, path));
            must(&m, bert_set_task(&m, task, K, multi, NULL, 1));
            state = 5;
            BertBatch x = make_batch(&m, 32, 40);
            gradients(&m, x, cuts[i]);
            uint64_t hash = hash_of(m.grads_memory, m.num_parameters);
            must(&m, bert_adamw(&m, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 1,
                                bert_clip_scale(bert_grad_norm(&m), 1)));
            hash = hash * 31 + hash_of(m.params_memory, m.num_parameters);
            if (i == 0) want = hash;
            expect(hash == want, "micro-batches of %d: other bits", cuts[i][0]);
            bert_free(&m), release(0);
        }
        done("%s: gradients and parameters of 32, in parts of 1, 2, 4, 8 and whole", tasks[t]);
    }
}

/* Whether multiply-adds are fused: rounded, e * e would be 1 + 2 epsilon. */
static int fused(void)
{
    const float e = 1 + FLT_EPSILON;
    return bert_fma_(e, e, -1 - 2 * FLT_EPSILON) != 0;
}

int main(int argc, char **argv)
{
    static const int whole[] = {7, 0};
    if (argc >= 2 && !strcmp(argv[1], "--print")) {
        for (int i = 0; i < (argc > 2 ? argc - 2 : NAMES); i++) {
            const char *name = argc > 2 ? argv[i + 2] : names[i];
            printf("%s %016llx\n", name, (unsigned long long)train(name, whole));
        }
        release(0), free(gotten);
        return 0;
    }
    if (argc == 3 && !strcmp(argv[1], "--real")) {
        test_real(argv[2]);
        return finish();
    }
    test_product();
    test_wild();
    test_small_stack();
    if (fused()) test_hashes(), test_checkpointing();
    else done("hashes: skipped, this processor (or -march) has no fused multiply-add");
    return finish();
}
