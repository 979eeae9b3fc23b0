/* What of bert.h no other test looks at: found by changing it, and seeing no test turn red. */
#define BERT_IMPLEMENTATION
#include "test.h"
#include "../../bert.h"
#ifdef __linux__
#include <dirent.h>
#include <unistd.h>
#endif

static void must(const Bert *m, int error) { expect(!error, "%d: %s", error, bert_error(m)); }

/* ------------------------------------------------------------------------------------------------
   Answers */

enum { T = 6 };

/* A window whose spans 1..T-1 are text, token t from character 10 t on; 0 is [CLS]. */
static BertAnswers answers_of(const float *starts, const float *ends, int n_best, int may_lack)
{
    BertAnswers a;
    float logits[2 * T];
    int spans[2 * T] = {-1, -1};
    memset(&a, 0, sizeof a);
    a.n_best = n_best, a.max_tokens = 30, a.may_lack = may_lack;
    for (int t = 0; t < T; t++) {
        logits[2 * t] = starts[t], logits[2 * t + 1] = ends[t];
        if (t) spans[2 * t] = 10 * t, spans[2 * t + 1] = 10 * t + 9;
    }
    bert_answers_add(&a, logits, spans, T);
    return a;
}

static void expect_scores(const BertAnswers *a)
{
    double sum = 0, all = 0;
    for (int i = 0; i < a->count; i++)
        all += exp((double)a->best[i].start_logit + a->best[i].end_logit);
    for (int i = 0; i < a->count; i++) {
        double want = exp((double)a->best[i].start_logit + a->best[i].end_logit) / all;
        sum += a->best[i].score;
        expect(fabs(a->best[i].score - want) < 1e-12, "answer %d has score %g, not %g", i,
               a->best[i].score, want);
        expect(!i || a->best[i].score <= a->best[i - 1].score, "answer %d is out of order", i);
    }
    expect(fabs(sum - 1) < 1e-12, "the scores' sum is %g", sum);
}

static void test_answers(void)
{
    static const float starts[T] = {2, 0, 3, 1, 0, 0}, ends[T] = {2.5f, 0, 1, 4, 0, 0};
    BertAnswers a = answers_of(starts, ends, 3, 0);
    int best = bert_answers_end(&a, 0);
    expect(best == 0 && a.count == 3 && a.best[0].start == 20 && a.best[0].end == 39,
           "answer %d of %d: %d to %d", best, a.count, a.best[0].start, a.best[0].end);
    expect(a.best[1].start == 30 && a.best[1].end == 39 && a.best[2].start == 20 &&
               a.best[2].end == 29,
           "the others");
    expect_scores(&a);
    float high_starts[T], high_ends[T]; /* exp(900) is beyond a double */
    for (int t = 0; t < T; t++)
        high_starts[t] = starts[t] + (t ? 900 : -900), high_ends[t] = ends[t] + (t ? 900 : -900);
    BertAnswers b = answers_of(high_starts, high_ends, 3, 0);
    expect(bert_answers_end(&b, 0) == 0, "the first is not the best");
    for (int i = 0; i < 3; i++)
        expect(fabs(b.best[i].score - a.best[i].score) < 1e-12, "answer %d of 900: %g, not %g", i,
               b.best[i].score, a.best[i].score);
    done("answers: the best spans in order, with their shares of the softmax");

    /* [CLS] has 4.5: between the first span's 7 and the second's 5, or below all, or above. */
    static const struct {
        float cls;
        double threshold;
        int n_best, answer, count, at; /* at: where "no answer" stands in the list */
    } rows[] = {
        /* clang-format off */
        {4.5f, 0, 3, 0, 3, 2},    {4.5f, 0, 2, 0, 2, 1}, /* below the best: among the n best */
        {-50, 0, 3, 0, 4, 3},     {-50, -60, 3, -1, 4, 3}, /* below all: behind them */
        {4, 0, 3, 0, 4, 3},       /* as the last one: behind it too, neither is lost */
        {8, 0, 3, -1, 3, 0},      {8, 1.5, 3, 1, 3, 0}, /* above by 1: a threshold may allow it */
        {8, 1, 3, 1, 3, 0},       {8, 0.99, 3, -1, 3, 0},
        {6.5f, 0, 3, 0, 3, 1},    {6.5f, -0.6, 3, -1, 3, 1},
        /* clang-format on */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float first[T], last[T];
        memcpy(first, starts, sizeof first), memcpy(last, ends, sizeof last);
        first[0] = rows[i].cls, last[0] = 0;
        a = answers_of(first, last, rows[i].n_best, 1);
        best = bert_answers_end(&a, rows[i].threshold);
        int at = 0;
        while (at < a.count && a.best[at].end) at++;
        expect(best == rows[i].answer && at == rows[i].at && a.count == rows[i].count &&
                   a.none.start_logit == rows[i].cls,
               "row %zu: answer %d of %d, none is %d", i, best, a.count, at);
        expect(a.best[at].start == 0 && a.best[at].start_logit == rows[i].cls, "row %zu: none", i);
        expect_scores(&a);
    }
    done("answers that may lack: [CLS] against the best, the threshold, and its place");

    /* Two windows: none is the lower one's, and neither is in the list twice. */
    float logits[2 * T] = {-1, -1, 9, 0, 0, 9};
    int spans[2 * T] = {-1, -1, 5, 6, 7, 8, -1, -1, -1, -1, -1, -1};
    a = answers_of(starts, ends, 5, 1);
    bert_answers_add(&a, logits, spans, 3);
    best = bert_answers_end(&a, 0);
    expect(best == 0 && a.best[0].start == 5 && a.best[0].end == 8, "answer %d", best);
    expect(a.none.start_logit == -1 && a.windows == 2, "none has %g", a.none.start_logit);
    expect_scores(&a);
    memset(&a, 0, sizeof a);
    expect(bert_answers_end(&a, 0) == -1, "an answer of nothing");
    a.may_lack = 1, a.n_best = 20, a.max_tokens = 30;
    spans[2] = spans[3] = spans[4] = spans[5] = -1;
    bert_answers_add(&a, logits, spans, 3); /* no token is text */
    expect(bert_answers_end(&a, 0) == -1 && a.count == 1 && a.best[0].score == 1, "only none");
    a.may_lack = 0, a.count = a.windows = 0;
    bert_answers_add(&a, logits, spans, 3);
    expect(bert_answers_end(&a, 0) == -1 && a.count == 0, "no span, and none may not lack");
    done("answers: two windows, no window, no text");

    for (int cls = -1; cls < 2; cls++) { /* none is below all, among them, above */
        float first[T];
        memcpy(first, starts, sizeof first), first[0] = cls < 0 ? -50 : cls ? 50 : 4;
        a = answers_of(first, ends, 3, 1);
        best = bert_answers_end(&a, 0), b = a;
        expect(bert_answers_end(&b, 0) == best && b.count == a.count, "%d, then %d", a.count,
               b.count);
        for (int i = 0; i < a.count && i < b.count; i++)
            expect(!memcmp(&a.best[i], &b.best[i], sizeof *a.best), "answer %d", i);
    }
    done("answers scored twice");

    /* By windows: all pairs, among them starts and ends that are not the highest; each window's
       shares are of its text's tokens and [CLS]. Token 3 is no text. */
    enum { W = 4 };
    const float window[2 * W] = {1, 2, 3, 0, 2, 4, 9, 9}, next[2 * W] = {3, 1, 0, 0, 0, 0, 0, 0};
    const int places[2 * W] = {-1, -1, 5, 6, 7, 8, -1, -1};
    const double s = exp(1) + exp(3) + exp(2), e = exp(2) + exp(0) + exp(4);
    memset(&a, 0, sizeof a);
    a.n_best = 2, a.max_tokens = 30, a.by_window = 1;
    bert_answers_add(&a, window, places, W);
    expect(a.count == 2 && a.best[0].start == 5 && a.best[0].end == 8 && a.best[1].start == 7,
           "%d answers, the first %d to %d", a.count, a.best[0].start, a.best[0].end);
    expect(fabs(a.best[0].score - exp(3) / s * exp(4) / e) < 1e-12 &&
               fabs(a.best[1].score - exp(2) / s * exp(4) / e) < 1e-12 &&
               fabs(a.none.score - exp(1) / s * exp(2) / e) < 1e-12,
           "scores %g, %g; none %g", a.best[0].score, a.best[1].score, a.none.score);
    const double lower = a.none.score;
    float high[2 * W]; /* exp(900) is beyond a double */
    for (int i = 0; i < 2 * W; i++) high[i] = window[i] + (i / 2 % 3 ? 900 : -900);
    memset(&b, 0, sizeof b);
    b.n_best = 2, b.max_tokens = 30, b.by_window = 1;
    bert_answers_add(&b, high, places, W);
    expect(fabs(b.best[0].score - exp(3) / (s - exp(1)) * exp(4) / (e - exp(2))) < 1e-12,
           "a score of logits beyond 900: %g", b.best[0].score);
    a.max_tokens = 1;
    bert_answers_add(&a, next, places, W);
    expect(a.count == 2 && a.best[0].end == 6 && a.best[1].end == 8 && a.none.score == lower,
           "the next window: %d answers, none has %g", a.count, a.none.score);
    done("answers of each window by itself, as the pipeline has them");
}

/* Labels as data sets have them, and odd ones: what the pipeline (get_tag, and split("-", 1)[-1])
   and seqeval (tag[1:].split("-", 1)[-1] or "_") make of them. */
static void test_tags(void)
{
    static const struct {
        const char *label;
        char letter;
        int begins;
        const char *kind, *name, *type;
    } rows[] = {{"O", 'O', 0, "O", "O", "_"},
                {"B-LOC", 'B', 1, "LOC", "LOC", "LOC"},
                {"I-LOC", 'I', 0, "LOC", "LOC", "LOC"},
                {"I-X-Y", 'I', 0, "X-Y", "X-Y", "X-Y"},
                {"E-LOC", 'E', 0, "E-LOC", "LOC", "LOC"},
                {"LOC", 'L', 0, "LOC", "LOC", "OC"},
                {"B", 'B', 0, "B", "B", "_"},
                {"B-", 'B', 1, "", "", "_"},
                {"BE-LOC", 'B', 0, "BE-LOC", "LOC", "LOC"},
                {"-LOC", '-', 0, "-LOC", "LOC", "LOC"},
                {"", 'O', 0, "", "", "_"}};
    enum { ROWS = sizeof rows / sizeof rows[0] };
    char bytes[128] = "";
    uint64_t offsets[ROWS + 1] = {0};
    BertStrings labels = {ROWS, offsets, bytes};
    for (int i = 0; i < ROWS; i++) strcat(bytes, rows[i].label), offsets[i + 1] = strlen(bytes);
    for (int i = 0; i < ROWS; i++) {
        const BertTag tag = bert_tag(&labels, i);
        const BertText parts[3] = {tag.kind, tag.name, tag.type};
        const char *const wants[3] = {rows[i].kind, rows[i].name, rows[i].type};
        expect(tag.letter == rows[i].letter && tag.begins == rows[i].begins, "%s: %c, %d",
               rows[i].label, tag.letter, tag.begins);
        for (int k = 0; k < 3; k++)
            expect(parts[k].size == strlen(wants[k]) &&
                       !memcmp(parts[k].bytes, wants[k], parts[k].size),
                   "%s: part %d is '%.*s'", rows[i].label, k, (int)parts[k].size, parts[k].bytes);
    }
    labels.count = 0;
    expect(!bert_tag(&labels, 1).kind.bytes && !bert_tag(NULL, 1).name.bytes, "without names");
    done("labels of ner, taken apart");
}

/* Hugging Face's pipeline drops special tokens before it joins: an entity goes on behind a [SEP],
   which its mean does not count. */
static void test_entities(void)
{
    const float logits[] = {9, 0, 0, 1, 0, 9, 0, 2, 9, 0, 0, 3}; /* the labels: O, X */
    const int spans[] = {-1, -1, 0, 3, -1, -1, 4, 7, 8, 9, 9, 10};
    char bytes[] = "OX";
    uint64_t offsets[] = {0, 1, 2};
    BertStrings labels = {2, offsets, bytes};
    BertEntity found[6];
    const int n = bert_entities(found, logits, spans, 6, 2, &labels);
    const double mean = (1 / (1 + exp(-1)) + 1 / (1 + exp(-2))) / 2;
    expect(n == 2 && fabs(found[1].score - 1 / (1 + exp(-3))) < 1e-6, "the second with %g",
           found[1].score);
    expect(n == 2 && found[0].first == 1 && found[0].last == 3 && found[0].start == 0 &&
               found[0].end == 7 && fabs(found[0].score - mean) < 1e-6,
           "%d entities, the first %d to %d with %g, not %g", n, found[0].start, found[0].end,
           found[0].score, mean);
    done("an entity with a [SEP] inside");
}

/* ------------------------------------------------------------------------------------------------
   Layers and the batch */

static void test_residual(void)
{
    enum { N = 3, C = 40 };
    float x[N * C], branch[N * C], in_place[N * C], out[N * C];
    uint64_t rows[N] = {1, 2, 3};
    for (int p = 0; p < 2; p++) {
        BertDropout drop = {p ? 0.3f : 0, bert_dropout_key(1, 2, 3, 4), rows};
        fill(x, N * C, 0, 1), fill(branch, N * C, 5, 1), fill(out, N * C, 0, 1);
        memcpy(in_place, branch, sizeof branch);
        bert_residual_forward(out, x, branch, N, C, drop);
        bert_residual_forward(in_place, x, in_place, N, C, drop);
        expect(!memcmp(out, in_place, sizeof out), "out other than branch, dropout %g", drop.p);
        int dropped = 0;
        for (int i = 0; i < N * C; i++) {
            dropped += out[i] == x[i];
            expect(p || out[i] == x[i] + branch[i], "element %d", i);
        }
        expect(p ? dropped > 10 && dropped < 80 : !dropped, "%d dropped", dropped);
    }
    done("residual: out other than branch");
}

static Bert tiny(int task, int K, int multi_label)
{
    Bert m = {0};
    BertConfig c = {0};
    c.V = 20, c.C = 8, c.L = c.NH = c.S = 1, c.F = 8, c.P = 16, c.K = K, c.task = task;
    c.pooler = 1, c.eps = 1e-12f, c.cls_dropout = -1, c.multi_label = multi_label;
    c.padding_idx = -1;
    must(&m, bert_build(&m, c));
    state = 1;
    fill(m.params_memory, m.num_parameters, 0.1, 0.5);
    return m;
}

/* Between forward and backward the batch's arrays are overwritten: all of them were copied. */
static void test_kept_batch(void)
{
    for (int task = BERT_CLASSIFICATION; task < BERT_NUM_TASKS + 1; task++) {
        const int multi = task == BERT_NUM_TASKS, kind = multi ? BERT_CLASSIFICATION : task;
        const int floats = multi || task == BERT_REGRESSION;
        const int weighs = kind == BERT_CLASSIFICATION || kind == BERT_NER;
        const int mlm = task == BERT_MLM || task == BERT_PRETRAINING;
        const int most = bert_task(kind)->most_K, K = most < 3 ? most : 3;
        float *grads = NULL;
        for (int spoiled = 0; spoiled < 2; spoiled++) {
            Bert m = tiny(kind, K, multi);
            int tokens[7] = {3, 1, 4, 1, 5, 9, 2}, types[7] = {0}, offsets[3] = {0, 4, 7};
            int labels[7] = {1, 0, 2, 1, 0, 2, 1}, rows[2] = {1, 5}, next[2] = {0, 1};
            float targets[6] = {0.5f, 1, 0, 0.25f, 1, 1}, weights[3] = {1, 2, 0.5f};
            BertBatch x = {0};
            x.B = 2, x.tokens = tokens, x.types = types, x.offsets = offsets;
            if (floats) x.targets = targets;
            else x.labels = labels;
            if (mlm) x.rows = rows, x.R = 2;
            if (task == BERT_PRETRAINING) x.next = next;
            if (weighs) x.class_weights = weights;
            if (task == BERT_MULTIPLE_CHOICE) x.choices = 2;
            must(&m, bert_forward(&m, &x, 1));
            if (spoiled) {
                memset(tokens, 0x7f, sizeof tokens), memset(types, 0x7f, sizeof types);
                memset(offsets, 0x7f, sizeof offsets), memset(labels, 0x7f, sizeof labels);
                memset(targets, 0x7f, sizeof targets), memset(rows, 0x7f, sizeof rows);
                memset(weights, 0x7f, sizeof weights), memset(next, 0x7f, sizeof next);
            }
            must(&m, bert_backward(&m, 1));
            size_t bytes = m.num_parameters * sizeof *grads;
            if (!grads) memcpy(grads = get(1, bytes), m.grads_memory, bytes);
            else
                expect(!memcmp(grads, m.grads_memory, bytes),
                       "task %d: the backward reads the caller's arrays", task);
            expect(bert_grad_norm(&m) > 0, "task %d: no gradient", task);
            bert_free(&m);
        }
        release(0);
    }
    done("each task's batch is copied for the backward");
}

/* ------------------------------------------------------------------------------------------------
   Model files */

static void test_wide_sizes(void)
{
    int32_t h[4] = {0, 0, 0, 0}, want[2] = {(int32_t)0x9ABCDEF0u, 0x12345678};
    bert_put_u64_(h + 1, 0x123456789ABCDEF0u);
    expect(!memcmp(h + 1, want, sizeof want) && !h[0] && !h[3], "%08x %08x", (unsigned)h[1],
           (unsigned)h[2]);
    expect(bert_u64_(h + 1) == 0x123456789ABCDEF0u, "read back: %llx",
           (unsigned long long)bert_u64_(h + 1));
    done("sizes beyond 4 GiB: both words");
}

/* A file that bert_save writes has the bytes of the one that was read, whatever the machine's order
   of bytes; this one was written by Python. */
static void test_same_file(void)
{
    enum { ROOM = 1 << 20 };
    const char *tmp = getenv("TMPDIR");
    char path[256], *files[2] = {get(1, ROOM), get(1, ROOM)};
    size_t sizes[2] = {0, 0};
    Bert m = {0};
    snprintf(path, sizeof path, "%s/library.%p.bin", tmp ? tmp : "/tmp", (void *)files[0]);
    must(&m, bert_load(&m, "dev/fixtures/text.model.bin"));
    must(&m, bert_save(&m, path));
    for (int i = 0; i < 2; i++) {
        FILE *f = fopen(i ? path : "dev/fixtures/text.model.bin", "rb");
        if (f) sizes[i] = fread(files[i], 1, ROOM, f), fclose(f);
    }
    expect(sizes[0] > 10000 && sizes[0] == sizes[1] && !memcmp(files[0], files[1], sizes[0]),
           "%zu bytes read, %zu written, or other ones", sizes[0], sizes[1]);
    uint64_t hash = m.tokenizer.hash;
    must(&m, bert_load(&m, path));
    expect(m.tokenizer.hash == hash && hash, "the tokenizer's hash");
    remove(path);
    expect(bert_load(&m, "dev/fixtures") == BERT_EFILE &&
               (strstr(bert_error(&m), "is it a folder?") || strstr(bert_error(&m), "open")),
           "'%s'", bert_error(&m));
    bert_free(&m);
    done("a file is written as it was read; a folder is none");
}

/* What a caller may get wrong, and what a failure leaves behind. */
static void test_misuse(void)
{
    Bert m = {0};
    BertEncoding e = {0};
    BertEncodeOptions o = {.max_length = 4, .windows = 1, .at_once = 1}, bad = {.truncation = 9};
    uint64_t at[] = {0, 5, 10};
    char bytes[] = "B-LOCI-LOC";
    const BertStrings names = {2, at, bytes};
    int tokens[] = {1, 2, 3}, types[] = {0, 0, 0}, offsets[] = {0, 3}, labels[] = {1, 1 << 20, -1};
    float weights[] = {1, 2}, vector[64];
    uint32_t lower[3];
    BertBatch x = {0};
    expect(bert_tag(&names, 1).letter == 'I' && bert_tag(&names, 2).letter == 'O' &&
               bert_tag(&names, -1).letter == 'O',
           "tags of no label");
    expect(bert_set_task(&m, BERT_NONE, 0, 0, NULL, 1) == BERT_EINPUT &&
               strstr(bert_error(&m), "empty"),
           "'%s'", bert_error(&m));

    must(&m, bert_load(&m, "dev/fixtures/text.model.bin"));
    expect(!bert_is_alnum(&m.tokenizer, UINT32_MAX) && bert_is_alnum(&m.tokenizer, 'a') &&
               !bert_lower_case(&m.tokenizer, 0x110000, lower),
           "beyond Unicode");
    expect(!bert_encode(&m, &e, "a good film, a dull one", NULL, &o) && e.cut > 0, "no windows");
    expect(bert_encode(&m, &e, "a", NULL, &bad) == BERT_EINPUT && !e.cut &&
               bert_encode_more(&m, &e) == BERT_EINPUT,
           "a refused text's windows are those of the text before");
    bert_free(&m), bert_encoding_free(&e);

    m = tiny(BERT_NER, 2, 0);
    x.B = 1, x.tokens = tokens, x.types = types, x.offsets = offsets;
    x.labels = labels, x.class_weights = weights;
    expect(bert_divisor(&m, &x) == 2, "divisor %g", bert_divisor(&m, &x));
    expect(bert_forward(&m, &x, 1) == BERT_EINPUT, "a label beyond K");
    labels[1] = 0;
    must(&m, bert_forward(&m, &x, 1));
    for (int k = 1; k < 4; k++) { /* of seen, gradients, m and v the first k are there */
        fail_at = k;
        expect(bert_training_room(&m) == BERT_EMEMORY, "%d of 4", k);
        fail_at = -1;
        expect(bert_adamw(&m, 0.1f, 0.9f, 0.999f, 1e-8f, 0, 1, 1) == BERT_EINPUT, "AdamW, %d", k);
        Bert next = tiny(BERT_NER, 2, 0);
        bert_free(&m), m = next;
        must(&m, bert_forward(&m, &x, 0));
    }
    expect(bert_embed(&m, vector, BERT_POOL_POOLER + 1, 0) == BERT_EINPUT, "pooling 4");
    must(&m, bert_embed(&m, vector, BERT_POOL_CLS, 0));
    bert_free(&m);

    BertConfig c = {.V = 20, .C = 8, .L = 2, .NH = 2, .F = 8, .P = 16, .S = 1, .padding_idx = -1};
    c.eps = 1e-12f, c.init_range = 0.5f;
    must(&m, bert_build(&m, c)), must(&m, bert_init(&m, 1));
    x.labels = NULL, x.class_weights = NULL;
    for (int training = 1; training >= 0; training--) {
        must(&m, bert_forward(&m, &x, training));
        if (training) memcpy(vector, m.acts.ln2, 24 * sizeof(float));
    }
    expect(!memcmp(vector, m.acts.ln2, 24 * sizeof(float)), "in training ln2 is another layer's");
    bert_free(&m);
    done("misuse: refused, or harmless");
}

/* A batch may not lie in memory that its forward frees or overwrites: m->batch's, m->acts'. */
static void test_own_arrays(void)
{
    Bert m = tiny(BERT_MLM, 0, 0);
    int tokens[] = {1, 2, 3, 4}, types[] = {0, 0, 0, 0}, offsets[] = {0, 4}, rows[] = {1, 3};
    int labels[] = {5, 6};
    BertBatch x = {0};
    x.B = 1, x.tokens = tokens, x.types = types, x.offsets = offsets;
    x.rows = rows, x.R = 2, x.labels = labels;
    for (int i = 0; i < 5; i++) {
        must(&m, bert_forward(&m, &x, 1));
        BertBatch y = i ? x : m.batch; /* all of its arrays, or one */
        if (i == 1) y.rows = m.batch.rows;
        if (i == 2) y.labels = m.batch.labels;
        if (i == 3) y.tokens = m.batch.tokens;
        if (i == 4) y.labels = (const int *)(const void *)m.acts.losses;
        expect(bert_forward(&m, &y, 1) == BERT_EINPUT && strstr(bert_error(&m), "own"), "%d: '%s'",
               i, bert_error(&m));
    }
    must(&m, bert_forward(&m, &x, 1));
    must(&m, bert_backward(&m, 1));
    bert_free(&m);
    done("a batch in memory of the model is refused");
}

/* Public functions of a batch that bert_forward has not seen, and would refuse. */
static void test_unchecked_batch(void)
{
    int tokens[] = {1, 2, 3}, types[] = {0, 0, 0}, offsets[] = {0, 3}, labels[] = {1, 9, 2};
    const int negative[] = {0, -5};
    const float weights[] = {1, 2};
    for (int task = BERT_CLASSIFICATION; task < BERT_NUM_TASKS; task++) {
        Bert m = tiny(task, bert_task(task)->most_K < 2 ? bert_task(task)->most_K : 2, 0);
        BertBatch x = {0};
        x.B = -1, x.R = -1, x.choices = -2, x.labels = labels;
        expect(bert_divisor(&m, &x) == 0 && bert_count_labels(&m.config, &x) == 0,
               "task %d: B and R are -1", task);
        x.B = 1; /* offsets are NULL */
        expect(bert_divisor(&m, &x) == 0 && bert_count_labels(&m.config, &x) == 0,
               "task %d: no offsets", task);
        x.offsets = negative;
        expect(bert_count_labels(&m.config, &x) <= 2 && bert_divisor(&m, &x) <= 1,
               "task %d: offsets[B] is negative", task);
        x.tokens = tokens, x.types = types, x.offsets = offsets, x.class_weights = weights;
        x.R = task == BERT_MLM || task == BERT_PRETRAINING ? 2 : 0;
        expect(isfinite(bert_divisor(&m, &x)), "task %d: labels beyond K", task);
        if (x.R) expect(bert_divisor(&m, &x) == 2, "task %d: its loss has no weights", task);
        bert_free(&m);
    }
    BertConfig none = {0};
    BertBatch x = {0};
    x.B = 1, x.offsets = offsets, x.labels = labels;
    for (int i = 0; i < 2; i++) {
        none.task = i ? BERT_NUM_TASKS : -1;
        expect(!bert_count_labels(&none, &x), "task %d has labels", none.task);
        expect(!bert_has_targets(&none) && !bert_head_cols(&none) &&
                   !bert_head_rows(none.task, 1, 1, 1) && !bert_task(none.task),
               "task %d has a head", none.task);
    }
    done("what is not yet checked is harmless to ask about");
}

/* Whoever asks for the sizes of a larger batch gets no pointers beyond the memory of this one. */
static void test_larger_batch(void)
{
    Bert m = tiny(BERT_NER, 2, 0);
    const int tokens[] = {1, 2, 3}, types[] = {0, 0, 0}, offsets[] = {0, 3};
    BertBatch x = {0};
    size_t sizes[BERT_NUM_ACTS + 1];
    float *acts[BERT_NUM_ACTS];
    int there = 0;
    x.B = 1, x.tokens = tokens, x.types = types, x.offsets = offsets;
    must(&m, bert_forward(&m, &x, 1));
    m.N *= 10;
    const BertActs a = bert_layer_acts(&m, 0, sizes);
    memcpy(acts, &a, sizeof acts);
    for (int i = 0; i < BERT_NUM_ACTS; i++) {
        there += acts[i] != NULL;
        expect(!acts[i] || (size_t)(acts[i] - m.acts_memory) + sizes[i] <= m.acts_room,
               "activation %d ends outside", i);
    }
    expect(there > 0 && sizes[BERT_NUM_ACTS] > m.acts_room, "%d are inside", there);
    bert_free(&m);
    done("activations of a batch that there is no memory for yet");
}

/* After a forward that failed there is none: no backward of the one before, no embedding. */
static void test_refused_forward(void)
{
    Bert m = tiny(BERT_NER, 2, 0);
    BertEncoding e = {0};
    int tokens[] = {1, 2, 3}, types[] = {0, 0, 0}, offsets[] = {0, 3}, labels[] = {1, 0, 1};
    float vector[8];
    BertBatch x = {0}, bad;
    x.B = 1, x.tokens = tokens, x.types = types, x.offsets = offsets, x.labels = labels;
    for (int i = 0; i < 4; i++) {
        must(&m, bert_forward(&m, &x, 1));
        bad = x, bad.class_weights = NULL;
        if (i == 0) bad.B = 0;
        if (i == 1) bad.label_smoothing = 2;
        if (i == 3) e.B = 1; /* of an encoding that failed: no arrays */
        const int error = i < 2 ? bert_forward(&m, &bad, 1) : bert_predict(&m, &e);
        expect(error == BERT_EINPUT, "%d is not refused", i);
        expect(bert_backward(&m, 1) == BERT_EINPUT, "%d: a backward of the forward before", i);
        expect(bert_embed(&m, vector, BERT_POOL_CLS, 0) == BERT_EINPUT, "%d: an embedding", i);
    }
    bert_free(&m), e.B = 0;
    must(&m, bert_load(&m, "dev/fixtures/text.model.bin"));
    must(&m, bert_set_task(&m, BERT_MLM, 0, 0, NULL, 1));
    must(&m, bert_encode(&m, &e, "a [MASK] film", NULL, NULL));
    must(&m, bert_predict(&m, &e));
    fail_at = 0;
    expect(bert_predict(&m, &e) == BERT_EMEMORY && m.B == 0, "no memory for the rows");
    fail_at = -1;
    bert_free(&m), bert_encoding_free(&e);
    done("a refused forward leaves none to go on from");
}

/* bert_not_finite looks at what the last forward set; what an earlier one left is not its business:
   losses without labels, the other rows where only [CLS] is read, probs of a regression. */
static void test_not_set(void)
{
    static const int tasks[] = {
        BERT_CLASSIFICATION,  BERT_NER, BERT_QA, BERT_PRETRAINING, BERT_REGRESSION,
        BERT_MULTIPLE_CHOICE, BERT_NONE};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        for (int training = 0; training < 2; training++) {
            const int task = tasks[i], most = bert_task(task)->most_K;
            Bert m = tiny(task, most < 2 ? most : 2, 0);
            int tokens[] = {1, 2, 3, 4, 5}, types[] = {0, 0, 0, 0, 0}, offsets[] = {0, 3, 5};
            int labels[] = {1, 0, 1, 0, 1}, rows[] = {1}, layer;
            const char *bad;
            BertBatch x = {0};
            x.B = 2, x.tokens = tokens, x.types = types, x.offsets = offsets;
            if (task == BERT_PRETRAINING) x.rows = rows, x.R = 1;
            must(&m, bert_forward(&m, &x, training));
            for (size_t k = 0; k < m.acts_room; k++) m.acts_memory[k] = NAN; /* another's */
            must(&m, bert_forward(&m, &x, 0));
            bad = bert_not_finite(&m, &layer);
            expect(!bad, "task %d: %s of layer %d was not set", task, bad ? bad : "", layer);
            if (task != BERT_REGRESSION && task != BERT_NONE) {
                x.labels = labels, x.choices = task == BERT_MULTIPLE_CHOICE ? 2 : 0;
                must(&m, bert_forward(&m, &x, 0));
                bad = bert_not_finite(&m, &layer);
                expect(!bad, "task %d, with labels: %s of layer %d", task, bad ? bad : "", layer);
                if (task != BERT_QA) {
                    const float was = m.acts.headx[0];
                    m.acts.headx[0] = NAN;
                    bad = bert_not_finite(&m, &layer);
                    expect(bad && !strcmp(bad, "headx"), "task %d: headx is NaN: %s", task,
                           bad ? bad : "none");
                    m.acts.headx[0] = was;
                }
                m.acts.losses[0] = NAN;
                bad = bert_not_finite(&m, &layer);
                expect(bad && !strcmp(bad, "losses"), "task %d: a loss that is NaN: %s", task,
                       bad ? bad : "none");
            }
            bert_free(&m);
        }
    done("numbers that a forward has not set are no fault of it");
}

/* What is frozen after a backward has a gradient no more once AdamW has run. */
static void test_frozen_later(void)
{
    for (int part = 0; part < 2; part++) {
        Bert m = tiny(BERT_NER, 2, 0);
        int tokens[] = {1, 2, 3}, types[] = {0, 0, 0}, offsets[] = {0, 3}, labels[] = {1, 0, 1};
        BertBatch x = {0};
        x.B = 1, x.tokens = tokens, x.types = types, x.offsets = offsets, x.labels = labels;
        must(&m, bert_forward(&m, &x, 1));
        must(&m, bert_backward(&m, 1));
        if (part) m.freeze_embeddings = 1;
        else m.freeze_layers = 1;
        must(&m, bert_adamw(&m, 0.01f, 0.9f, 0.999f, 1e-8f, 0, 1, 1));
        expect(bert_grad_norm(&m) == 0, "the norm is %g", bert_grad_norm(&m));
        bert_free(&m);
    }
    done("frozen after a backward: no gradient is left for the next norm");
}

/* A product inside a parallel loop starts no threads of its own, even where OpenMP would let it. */
static void test_nested(void)
{
#if defined(__linux__) && defined(_OPENMP)
    static float qkv[40 * 48], out[40 * 16], stat[40 * 8];
    const int offsets[] = {0, 20, 40};
    const BertDropout off = {0, 0, NULL};
    int most = 0;
    omp_set_max_active_levels(2), omp_set_num_threads(2);
    for (int i = 0; i < 50; i++) {
        int threads = -2; /* "." and ".." */
        bert_attention_forward(out, stat, qkv, offsets, 2, 16, 4, off, NULL);
        DIR *tasks = opendir("/proc/self/task");
        while (tasks && readdir(tasks)) threads++;
        if (tasks) closedir(tasks);
        most = threads > most ? threads : most;
    }
    omp_set_max_active_levels(1);
    expect(most <= 2, "%d threads, not 2", most);
#endif
    done("a product inside a parallel loop stays on its thread");
}

/* Strings that are all empty need no bytes. */
static void test_empty_labels(void)
{
    Bert m = tiny(BERT_NER, 2, 0);
    uint64_t at[] = {0, 0, 0};
    const BertStrings names = {2, at, NULL};
    must(&m, bert_set_task(&m, BERT_NER, 2, 0, &names, 1));
    expect(m.labels.count == 2 && bert_string(&m.labels, 1).size == 0, "labels");
    expect(bert_string(&names, 1).size == 0, "the caller's");
    bert_free(&m);
    done("labels that are all empty");
}

/* The last places there are. */
static void test_last_place(void)
{
    Bert m = tiny(BERT_NONE, 0, 0);
    int tokens[] = {1, 2, 3}, types[] = {0, 0, 0}, offsets[] = {0, 1, 3};
    BertBatch x = {0};
    x.B = 2, x.tokens = tokens, x.types = types, x.offsets = offsets, x.place = INT_MAX;
    must(&m, bert_forward(&m, &x, 1));
    expect(m.dropout_rows[1] == (uint64_t)1 << 63 && m.dropout_rows[2] == ((uint64_t)1 << 63 | 1),
           "row %llx", (unsigned long long)m.dropout_rows[1]);
    bert_free(&m);
    done("a sequence's place may pass 2^31");
}

/* Each allocation of an encoding with marks out of order, and of a prediction of masks, fails: 40
   marks, which need more room to be sorted than they had. */
static void test_memory(void)
{
    Bert m = {0};
    int error = 1, k = 0, failures = 0;
    char text[200] = "a good [MASK] q";
    for (int i = 0; i < 20; i++) strcat(text, "\xcc\x87\xcc\xa3");
    must(&m, bert_load(&m, "dev/fixtures/text.model.bin"));
    must(&m, bert_set_task(&m, BERT_MLM, 0, 0, NULL, 1));
    m.tokenizer.lookup->info[0x307] |= 230u << 8; /* combining classes, which its table lacks */
    m.tokenizer.lookup->info[0x323] |= 220u << 8;
    for (; error && k < 100; k++) {
        Bert copy = {0};
        BertEncoding e = {0};
        must(&m, bert_share(&copy, &m));
        fail_at = k;
        error = bert_encode(&copy, &e, text, NULL, NULL);
        if (!error) error = bert_predict(&copy, &e);
        fail_at = -1, failures += error == BERT_EMEMORY;
        bert_free(&copy), bert_encoding_free(&e);
    }
    expect(!error && failures == k - 1 && failures > 8, "%d of %d: error %d", failures, k, error);
    bert_free(&m);
    done("memory: each of %d allocations of a text and its prediction fails", failures);
}

/* Refusals that need more than a damaged file or a wrong argument of an ordinary size. */
static void test_refusals(void)
{
    Bert m = tiny(BERT_NONE, 0, 0);
    BertConfig c = m.config;
    BertEncoding e = {0};
    int tokens[] = {1, 2}, types[] = {0, 0}, offsets[] = {0, 2};
    float vector[8];
    BertBatch x = {0};
    x.B = 1, x.tokens = tokens, x.types = types, x.offsets = offsets;
    x.types = NULL;
    expect(bert_forward(&m, &x, 0) == BERT_EINPUT && strstr(bert_error(&m), "NULL"), "'%s'",
           bert_error(&m));
    x.types = types, m.freeze_layers = -1;
    expect(bert_forward(&m, &x, 1) == BERT_EINPUT && strstr(bert_error(&m), "freeze_layers is -1"),
           "'%s'", bert_error(&m));
    m.freeze_layers = 0, x.label_smoothing = 0.1f; /* there is no loss */
    expect(bert_forward(&m, &x, 0) == BERT_EINPUT && strstr(bert_error(&m), "label_smoothing"),
           "'%s'", bert_error(&m));
    x.label_smoothing = 0, m.config.undrawn = 1;
    expect(bert_forward(&m, &x, 0) == BERT_EINPUT && strstr(bert_error(&m), "no weights yet"),
           "'%s'", bert_error(&m));
    bert_free(&m);
    expect(bert_init(&m, 1) == BERT_EINPUT && strstr(bert_error(&m), "empty"), "'%s'",
           bert_error(&m));
    expect(bert_training_room(&m) == BERT_EINPUT && strstr(bert_error(&m), "empty"), "'%s'",
           bert_error(&m));
    expect(!bert_floats_(SIZE_MAX / 4) && bert_times_(SIZE_MAX, 0) == SIZE_MAX &&
               bert_times_(2, SIZE_MAX / 2 + 1) == SIZE_MAX && bert_times_(3, 4) == 12,
           "sizes beyond size_t");
    BertConfig many = c;
    many.task = BERT_CLASSIFICATION, many.K = (1 << 24) + 1;
    expect(bert_build(&m, many) == BERT_EINPUT && strstr(bert_error(&m), "16777217"), "'%s'",
           bert_error(&m));
    c.pooler = 0;
    must(&m, bert_build(&m, c));
    must(&m, bert_forward(&m, &x, 0));
    expect(bert_embed(&m, vector, BERT_POOL_POOLER, 0) == BERT_EINPUT &&
               strstr(bert_error(&m), "no pooler"),
           "'%s'", bert_error(&m));
    bert_free(&m);
    c.L = 1 << 16, c.F = 1 << 24, c.C = 1 << 20;
    expect(bert_build(&m, c) == BERT_EMEMORY && !m.config.C && !m.tensors[0].size, "'%s', C %d",
           bert_error(&m), m.config.C);
    c.init_range = -1;
    expect(bert_build(&m, c) == BERT_EINPUT && strstr(bert_error(&m), "initializer_range"), "'%s'",
           bert_error(&m));

    must(&m, bert_load(&m, "dev/fixtures/text.model.bin"));
    BertText huge = {"a", INT_MAX / 2}; /* nobody reads so far */
    expect(bert_encode_texts(&m, &e, &huge, 1, NULL, 0, NULL) == BERT_EINPUT &&
               strstr(e.message, "1 GiB"),
           "'%s'", e.message);
    BertSource_ end = {NULL, "abc", 3, 2, 0}, file = {fopen("LICENSE", "rb"), NULL, 1 << 20, 0, 0};
    char got[2];
    expect(bert_transfer_(&m, &end, got, 2, 1) == BERT_EFORMAT && strstr(bert_error(&m), "3 bytes"),
           "%s", bert_error(&m));
    if (expect(file.file != NULL, "no LICENSE")) {
        while (getc(file.file) != EOF) continue; /* as of a disk that fails here */
        expect(bert_load_source_(&m, &file, "it") == BERT_EFILE && strstr(bert_error(&m), "byte 0"),
               "%s", bert_error(&m));
        fclose(file.file);
    }
#ifdef __linux__
    int ends[2];
    char path[32];
    expect(!pipe(ends) && write(ends[1], "B", 1) == 1, "no pipe");
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    expect(bert_load(&m, path) == BERT_EFILE && strstr(bert_error(&m), "regular"), "'%s'",
           bert_error(&m));
    close(ends[0]), close(ends[1]);
#endif
    bert_free(&m), bert_encoding_free(&e);
    done("refused: a pooler that is not there, sizes beyond memory, 1 GiB of text, a pipe");
}

int main(void)
{
    test_answers();
    test_tags();
    test_entities();
    test_residual();
    test_kept_batch();
    test_wide_sizes();
    test_same_file();
    test_misuse();
    test_own_arrays();
    test_unchecked_batch();
    test_larger_batch();
    test_refused_forward();
    test_not_set();
    test_frozen_later();
    test_empty_labels();
    test_nested();
    test_last_place();
    test_memory();
    test_refusals();
    return finish();
}
