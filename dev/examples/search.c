/* search MODEL.bin TEXT.txt "query" [K]: the K (5) lines of a text that are nearest in meaning.

   The model is one that was trained for it: all-MiniLM-L6-v2. Its vectors point the same way where
   two sentences mean the same, whichever words they use. */
#define BERT_IMPLEMENTATION
#include "bert.h"

enum { BATCH = 32, MOST = 1 << 20 };
static char line[1 << 16], *texts[MOST];

static int fail(const char *why)
{
    fprintf(stderr, "search: %s\n", why);
    return 1;
}

/* Adds the encoded lines' vectors, of length 1, behind the n that are there. 0: all is well. */
static int embed(Bert *m, BertEncoding *e, float *vectors, size_t n)
{
    int error = bert_predict(m, e);
    if (!error) error = bert_embed(m, vectors + n * m->config.C, BERT_POOL_MEAN, 1);
    bert_encoding_clear(e);
    return error;
}

int main(int argc, char **argv)
{
    Bert m = {0};
    BertEncoding e = {0};
    FILE *f = argc > 3 ? fopen(argv[2], "rb") : NULL;
    int n = 0, k = argc > 4 ? atoi(argv[4]) : 5;
    if (!f || k < 1) return fail("usage: search MODEL.bin TEXT.txt \"query\" [K]");
    if (bert_load(&m, argv[1])) return fail(bert_error(&m));
    if (m.config.task != BERT_NONE && bert_set_task(&m, BERT_NONE, 0, 0, NULL, 0))
        return fail(bert_error(&m)); /* the encoder alone */
    while (n < MOST && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        if (!line[0]) continue;
        if (!(texts[n] = malloc(strlen(line) + 1))) return fail("no memory");
        strcpy(texts[n++], line);
    }
    fclose(f);

    /* Lines go through the model BATCH at a time, end to end: nothing is computed for padding. The
       query is row n. */
    const size_t C = (size_t)m.config.C;
    float *vectors = malloc((size_t)(n + 1) * C * sizeof *vectors);
    float *cosines = malloc((size_t)(n + 1) * sizeof *cosines);
    int *best = malloc((size_t)(k < n ? k : n + 1) * sizeof *best);
    BertEncodeOptions o = {.max_length = m.config.max_seq_length}; /* as sentence-transformers */
    if (!vectors || !cosines || !best) return fail("no memory");
    for (int i = 0; i <= n; i++) {
        if (bert_encode(&m, &e, i < n ? texts[i] : argv[3], NULL, &o)) return fail(e.message);
        if ((e.B == BATCH || i == n) && embed(&m, &e, vectors, (size_t)(i + 1 - e.B)))
            return fail(bert_error(&m));
    }

    /* The cosine of two vectors of length 1 is their dot product. */
    for (int i = 0; i < n; i++) {
        cosines[i] = 0;
        for (size_t c = 0; c < C; c++) cosines[i] += vectors[i * C + c] * vectors[n * C + c];
    }
    k = bert_top_k(best, NULL, cosines, n, k);
    for (int i = 0; i < k; i++) printf("%.6f\t%s\n", cosines[best[i]], texts[best[i]]);
    for (int i = 0; i < n; i++) free(texts[i]);
    free(vectors), free(cosines), free(best);
    bert_encoding_free(&e);
    bert_free(&m);
    return 0;
}
