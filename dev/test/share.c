/* bert_share: Berts on one set of parameters, in one thread and in several; and two models that
   train at once. Built with ThreadSanitizer too (.ci/run). */
#define BERT_IMPLEMENTATION
#include "test.h"
#include "../../bert.h"
#include <pthread.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#define MODEL "dev/fixtures/text.model.bin" /* classification, with a tokenizer */
enum { THREADS = 4, TEXTS = 40, ROUNDS = 3, STEPS = 6 };

static const char *const words[] = {"a",    "good", "FILM",   "is",          "not", "dully",
                                    "dull", "bad.", "[MASK]", "caf\xC3\xA9", "!",   "unwatchable"};
static char texts[TEXTS][200];

static void make_texts(void)
{
    for (int i = 0; i < TEXTS; i++)
        for (int n = 1 + below(20); n > 0 && strlen(texts[i]) < 150; n--)
            strcat(strcat(texts[i], words[below(12)]), " ");
}

static void must(const Bert *m, int error) { expect(!error, "%d: %s", error, bert_error(m)); }

static void refused(const Bert *m, int error, const char *hint)
{
    expect(error == BERT_EINPUT && strstr(bert_error(m), hint), "%d: '%s', not '%s'", error,
           bert_error(m), hint);
}

/* probs of text i (K). False: an error, which the Bert or the encoding tells. */
static int predict(Bert *m, const Bert *tokenizer, BertEncoding *e, float *probs, int i)
{
    bert_encoding_clear(e);
    if (bert_encode(tokenizer, e, texts[i], i % 3 ? NULL : texts[(i + 1) % TEXTS], NULL)) return 0;
    if (bert_predict(m, e)) return 0;
    memcpy(probs, m->acts.probs, (size_t)m->config.K * sizeof *probs);
    return 1;
}

static void test_rules(void)
{
    Bert m = {0}, a = {0}, b = {0}, empty = {0};
    BertEncoding e = {0};
    float want[8], got[8];
    int labels[1] = {1};
    long before = blocks;
    refused(&a, bert_share(&a, &empty), "empty");
    must(&m, bert_load(&m, MODEL));
    refused(&m, bert_share(&m, &m), "second");
    expect(predict(&m, &m, &e, want, 0), "%s", bert_error(&m));

    largest = 0;
    must(&a, bert_share(&a, &m));
    must(&b, bert_share(&b, &a)); /* of a copy: they are equals */
    expect(largest == 0, "bert_share takes %zu bytes", largest);
    expect(a.params_memory == m.params_memory && b.tokenizer.lookup == m.tokenizer.lookup, "apart");
    expect(predict(&b, &a, &e, got, 0) && !memcmp(got, want, sizeof *got * m.config.K), "other");
    b.config.K = -1, b.freeze_layers = 1; /* its own */
    expect(m.config.K > 0 && m.freeze_layers == 0, "a copy's settings are m's");
    done("bert_share: the same parameters and answers, no further memory");

    BertBatch x = {0};
    x.B = 1, x.tokens = e.tokens, x.types = e.types, x.offsets = e.offsets, x.labels = labels;
    x.offsets = (int[]){0, e.offsets[1]};
    must(&a, bert_forward(&a, &x, 1));
    must(&a, bert_backward(&a, 1));
    expect(bert_grad_norm(&a) > 0 && bert_grad_norm(&m) == 0, "gradients are not a's own");
    float first = m.params_memory[0];
    refused(&a, bert_adamw(&a, 1, 0.9f, 0.999f, 1e-8f, 0.1f, 1, 1), "3 Berts");
    refused(&a, bert_set_task(&a, BERT_NONE, 0, 0, NULL, 1), "bert_set_task");
    refused(&m, bert_set_task(&m, BERT_NONE, 0, 0, NULL, 1), "3 Berts");
    refused(&b, bert_init(&b, 1), "bert_init");
    refused(&m, bert_build(&m, m.config), "free it first");
    expect(m.params_memory[0] == first && m.config.task == BERT_CLASSIFICATION,
           "changed all the same");
    done("bert_share: what would change the parameters is refused while they are shared");

    refused(&b, bert_share(&b, &empty), "empty"); /* frees what b had */
    bert_free(&m);                                /* a has all of it now */
    must(&a, bert_adamw(&a, 0.1f, 0.9f, 0.999f, 1e-8f, 0.1f, 1, 1));
    expect(predict(&a, &a, &e, got, 0) && memcmp(got, want, sizeof *got * a.config.K), "same");
    must(&b, bert_share(&b, &a));
    must(&a, bert_load(&a, MODEL)); /* leaves b what they shared */
    expect(predict(&a, &b, &e, got, 0) && !memcmp(got, want, sizeof *got * a.config.K), "other");
    expect(predict(&b, &a, &e, got, 0) && memcmp(got, want, sizeof *got * a.config.K), "same");
    must(&b, bert_set_task(&b, BERT_NONE, 0, 0, NULL, 1));
    must(&a, bert_share(&a, &b)); /* frees what a had */
    bert_free(&b), bert_free(&b);
    expect(bert_encode(&a, &e, "a film", NULL, NULL) == 0, "%s", e.message);
    bert_free(&a), bert_encoding_free(&e);
    expect(blocks == before, "%ld blocks are lost", blocks - before);
    done("bert_share: freed and loaded anew in any order, the last one frees");
}

/* Each allocation of a copy's forward and backward fails once: m stays whole, nothing is lost. */
static void test_no_memory(void)
{
    Bert m = {0}, copy = {0};
    BertEncoding e = {0};
    int k = 0, error = BERT_EMEMORY, labels[1] = {1}, offsets[2] = {0, 0};
    float want[8], got[8];
    BertBatch x = {0};
    must(&m, bert_load(&m, MODEL));
    expect(predict(&m, &m, &e, want, 1), "%s", bert_error(&m));
    x.B = 1, x.tokens = e.tokens, x.types = e.types, x.offsets = offsets, x.labels = labels;
    offsets[1] = e.offsets[1];
    for (long before = blocks; error && k < 100; k++) {
        fail_at = k;
        error = bert_share(&copy, &m);
        if (!error) error = bert_forward(&copy, &x, 1);
        if (!error) error = bert_backward(&copy, 1);
        fail_at = -1;
        expect(!error || error == BERT_EMEMORY, "failure %d: %d, %s", k, error, bert_error(&copy));
        bert_free(&copy);
        expect(blocks == before, "failure %d: %ld blocks are lost", k, blocks - before);
    }
    expect(!error && k > 3, "ends with %d at allocation %d", error, k);
    expect(predict(&m, &m, &e, got, 1) && !memcmp(got, want, sizeof *got * m.config.K),
           "m changed");
    bert_free(&m), bert_encoding_free(&e);
    done("bert_share: each of a copy's %d allocations failing", k - 1);
}

/* ------------------------------------------------------------------------------------------------
   Threads. Each has a Bert and an encoding of its own, and writes answers nobody else writes. */

typedef struct {
    const Bert *model;
    int thread, wrong;
    float probs[ROUNDS][TEXTS][8];
} Work;

static void *work(void *argument)
{
    Work *w = argument;
    Bert m = {0};
    BertEncoding e = {0};
    for (int round = 0; round < ROUNDS; round++) { /* copies come and go while others compute */
        w->wrong += bert_share(&m, w->model) != 0;
        for (int i = 0; i < TEXTS; i++) {
            int text = (i + w->thread * 7) % TEXTS; /* encode with the model that all have */
            w->wrong += !predict(&m, w->model, &e, w->probs[round][text], text);
        }
    }
    bert_free(&m), bert_encoding_free(&e);
    return NULL;
}

static void test_shared_threads(void)
{
    Bert m = {0};
    BertEncoding e = {0};
    static Work works[THREADS];
    static float want[TEXTS][8];
    pthread_t threads[THREADS];
    must(&m, bert_load(&m, MODEL));
    for (int i = 0; i < TEXTS; i++) expect(predict(&m, &m, &e, want[i], i), "%s", bert_error(&m));
    for (int t = 0; t < THREADS; t++) {
        works[t].model = &m, works[t].thread = t;
        expect(!pthread_create(&threads[t], NULL, work, &works[t]), "no thread");
    }
    for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
    for (int t = 0; t < THREADS; t++)
        for (int r = 0; r < ROUNDS; r++)
            expect(!works[t].wrong && !memcmp(works[t].probs[r], want, sizeof want),
                   "thread %d, round %d: other answers", t, r);
    bert_free(&m), bert_encoding_free(&e);
    done("%d threads on one model, encode and predict: the bits of one thread", THREADS);
}

/* Trains a model of its own; leaves it in the argument. */
static void *train(void *argument)
{
    Bert *m = argument;
    BertEncoding e = {0};
    int labels[8];
    for (int i = 0; i < 8; i++) {
        labels[i] = i % 2;
        if (bert_encode(m, &e, texts[i], NULL, NULL)) return argument;
    }
    BertBatch x = {0};
    x.B = 8, x.tokens = e.tokens, x.types = e.types, x.offsets = e.offsets, x.labels = labels;
    for (int step = 1; step <= STEPS; step++) {
        x.step = (uint64_t)step;
        if (bert_forward(m, &x, 1) || bert_backward(m, 1) ||
            bert_adamw(m, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, step,
                       bert_clip_scale(bert_grad_norm(m), 1)))
            return argument;
    }
    bert_encoding_free(&e);
    return NULL;
}

static void test_trainings(void)
{
    static Bert m[3];
    pthread_t threads[2];
    void *failed_one = NULL;
    for (int i = 0; i < 3; i++) {
        must(&m[i], bert_load(&m[i], MODEL));
        m[i].config.hidden_dropout = m[i].config.att_dropout = 0.1f;
    }
    float first = m[0].params_memory[7];
    expect(!train(&m[0]), "%s", bert_error(&m[0]));
    for (int i = 0; i < 2; i++)
        expect(!pthread_create(&threads[i], NULL, train, &m[i + 1]), "no thread");
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], &failed_one);
        expect(!failed_one, "%s", bert_error(&m[i + 1]));
        expect(!memcmp(m[0].params_memory, m[i + 1].params_memory,
                       m[0].num_parameters * sizeof(float)),
               "training %d ends with other bits", i);
    }
    expect(m[0].params_memory[7] != first, "nothing was learned");
    for (int i = 0; i < 3; i++) bert_free(&m[i]);
    done("two trainings at once: the bits of one alone");
}

int main(void)
{
#ifdef _OPENMP
    omp_set_num_threads(2); /* in each of the threads */
#endif
    make_texts();
    test_rules();
    test_no_memory();
    test_shared_threads();
    test_trainings();
    return finish();
}
