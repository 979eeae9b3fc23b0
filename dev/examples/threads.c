/* threads MODEL.bin TEXT.txt [THREADS [OPENMP]]: classify's output for the lines of a text, which
   so many threads (4) take in turn. The parameters are in memory once.

   A server does the same with requests in place of lines. Each of the threads may have OpenMP's
   threads of its own (1): more than cores in all only wait for each other, so this is for few. */
#define BERT_IMPLEMENTATION
#include "bert.h"
#include <pthread.h>

enum { MOST = 1 << 20, MOST_THREADS = 64 };
static char line[1 << 16], *texts[MOST];
static int labels[MOST];
static float scores[MOST];

static Bert model;           /* what all threads read; none computes with it */
static int count, next, per; /* lines; the first that nobody has taken; OpenMP's threads each */
static const char *trouble;  /* why a thread stopped */
static char reason[512];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of next, trouble and reason */

static int fail(const char *why)
{
    fprintf(stderr, "threads: %s\n", why);
    return 1;
}

/* The next line's number, or -1: there is none, or why is not NULL. */
static int take(const char *why)
{
    pthread_mutex_lock(&lock);
    if (why && !trouble) trouble = strcpy(reason, why);
    int i = trouble || next == count ? -1 : next++;
    pthread_mutex_unlock(&lock);
    return i;
}

static void *work(void *unused)
{
    /* A Bert and an encoding of its own: acts, which bert_predict writes, are in the one, tokens in
       the other. The parameters and the tokenizer are the model's. */
    Bert m = {0};
    BertEncoding e = {0};
    const char *why = bert_share(&m, &model) ? bert_error(&m) : NULL;
#ifdef _OPENMP
    omp_set_num_threads(per); /* of the parallel loops that this thread comes to */
#endif
    for (int i; (i = take(why)) >= 0;) {
        bert_encoding_clear(&e);
        if (bert_encode(&m, &e, texts[i], NULL, NULL)) why = e.message;
        else if (bert_predict(&m, &e)) why = bert_error(&m);
        else {
            labels[i] = bert_argmax(m.acts.probs, m.config.K);
            scores[i] = m.acts.probs[labels[i]];
        }
    }
    bert_encoding_free(&e);
    bert_free(&m); /* the model stays: it is not the last one */
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t threads[MOST_THREADS];
    FILE *f = argc > 2 ? fopen(argv[2], "rb") : NULL;
    int n = argc > 3 ? atoi(argv[3]) : 4, started = 0;
    per = argc > 4 ? atoi(argv[4]) : 1;
    if (!f || n < 1 || n > MOST_THREADS || per < 1)
        return fail("usage: threads MODEL.bin TEXT.txt [THREADS, up to 64 [OPENMP]]");
    if (bert_load(&model, argv[1])) return fail(bert_error(&model));
    if (model.config.task != BERT_CLASSIFICATION)
        return fail("the model has no classification head");
    for (; count < MOST && fgets(line, sizeof line, f); count++) {
        line[strcspn(line, "\r\n")] = 0;
        if (!(texts[count] = malloc(strlen(line) + 1))) return fail("no memory");
        strcpy(texts[count], line);
    }
    fclose(f);

    while (started < n && !pthread_create(&threads[started], NULL, work, NULL)) started++;
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    if (trouble || !started) return fail(trouble ? trouble : "no thread starts");

    const uint64_t *at = model.labels.offsets;
    for (int i = 0; i < count; free(texts[i++])) {
        if (model.labels.count)
            printf("%.*s", (int)(at[labels[i] + 1] - at[labels[i]]),
                   model.labels.bytes + at[labels[i]]);
        else printf("%d", labels[i]);
        printf("\t%.6f\t%s\n", scores[i], texts[i]);
    }
    bert_free(&model);
    return 0;
}
