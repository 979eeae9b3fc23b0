/*
model.c - one side of dev/bench/bench.py: bert.h training or inferring, timed a round at a time.

    bench_model train|infer|classify MODEL BATCHES [bf16]

MODEL is a file, or "bert-base": random weights. infer ends with the vectors of all tokens, classify
with two logits for each sequence. bf16: the products are in bfloat16. BATCHES is
int32 words: n, w; then w + n batches, each B, N, offsets (B+1), tokens (N), labels (B). The first w
are run once, untimed (they show the optimizer every token, as an epoch would have), then "ready"
and a checksum are printed. Each line "first count" on stdin runs batches first .. first+count-1
(modulo n) and answers with the seconds that took; until then the program sleeps. A training step is
forward, backward, clipping at norm 1 and AdamW, with the model's dropout.
*/
#include "bench.h"

typedef struct {
    int32_t *words, *types; /* the file; zeros for the longest batch */
    BertBatch *batches;
    int n, warm;
} Batches;

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_model: %s: %s\n", what, why);
    return 1;
}

/* dev/bench/bench.py wrote it for this run: its sizes are believed. */
static int read_batches(Batches *b, const char *path)
{
    FILE *f = fopen(path, "rb");
    long size = f && !fseek(f, 0, SEEK_END) ? ftell(f) : 0;
    int longest = 1;
    if (size < 8) return fail(path, "cannot read it");
    rewind(f);
    b->words = (int32_t *)malloc((size_t)size);
    if (!b->words || fread(b->words, 1, (size_t)size, f) != (size_t)size)
        return fail(path, "cannot read it");
    fclose(f);
    const int32_t *at = b->words + 2;
    b->n = b->words[0], b->warm = b->words[1];
    b->batches = (BertBatch *)calloc((size_t)(b->n + b->warm), sizeof *b->batches);
    if (!b->batches) return fail(path, "out of memory");
    for (int i = 0; i < b->n + b->warm; i++) {
        BertBatch *x = &b->batches[i];
        int N = at[1];
        x->B = at[0];
        x->offsets = at + 2;
        x->tokens = x->offsets + x->B + 1;
        x->labels = x->tokens + N;
        at = x->labels + x->B;
        if (N > longest) longest = N;
    }
    b->types = (int32_t *)calloc((size_t)longest, sizeof *b->types);
    if (!b->types) return fail(path, "out of memory");
    for (int i = 0; i < b->n + b->warm; i++) b->batches[i].types = b->types;
    return 0;
}

static int make_model(Bert *m, const char *name, int classify)
{
    int task = classify ? BERT_CLASSIFICATION : BERT_NONE, K = classify ? 2 : 0, error;
    if (strcmp(name, "bert-base")) {
        error = bert_load(m, name);
        if (!error && m->config.task != task) error = bert_set_task(m, task, K, 0, NULL, 1);
        return error ? fail(name, bert_error(m)) : 0;
    }
    if (bert_build(m, base_config(task, K))) return fail(name, bert_error(m));
    bert_init(m, 1);
    return 0;
}

static int train_step(Bert *m, BertBatch x, int step)
{
    x.seed = 42, x.step = (uint64_t)step;
    if (bert_forward(m, &x, 1) || bert_backward(m, 1.0f)) return 1;
    float norm = bert_grad_norm(m);
    return bert_adamw(m, 5e-5f, 0.9f, 0.999f, 1e-8f, 0.01f, step, bert_clip_scale(norm, 1.0f));
}

static int infer(Bert *m, BertBatch x)
{
    x.labels = NULL;
    return bert_forward(m, &x, 0);
}

/* The mean size of what batch x ends with. Inference has one layer's activations, the last's. */
static double checksum(Bert *m, BertBatch x)
{
    size_t n = m->config.K ? (size_t)x.B * m->config.K : (size_t)x.offsets[x.B] * m->config.C;
    double sum = 0.0;
    if (infer(m, x)) return NAN;
    for (size_t i = 0; i < n; i++) sum += fabs(m->config.K ? m->acts.logits[i] : m->acts.ln2[i]);
    return sum / (double)n;
}

int main(int argc, char **argv)
{
    Bert m = {0};
    Batches b = {0};
    int given = argc == 4 || (argc == 5 && !strcmp(argv[4], "bf16")), step = 0, error = 0;
    int training = given && !strcmp(argv[1], "train");
    int classify = training || (given && !strcmp(argv[1], "classify"));
    long first, count;
    char line[128];
    if (!given) return fail("usage", "bench_model train|infer|classify MODEL BATCHES [bf16]");
    if (read_batches(&b, argv[3]) || make_model(&m, argv[2], classify)) return 1;
    m.bf16 = argc == 5;
    for (int i = 0; i < b.warm && !error; i++)
        error = training ? train_step(&m, b.batches[i], ++step) : infer(&m, b.batches[i]);
    if (error) return fail("warm-up", bert_error(&m));
    printf("ready %.9g\n", training ? 0.0 : checksum(&m, b.batches[b.warm]));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%ld %ld", &first, &count) == 2) {
        double start = seconds();
        for (long i = first; i < first + count && !error; i++) {
            BertBatch x = b.batches[b.warm + i % b.n];
            error = training ? train_step(&m, x, ++step) : infer(&m, x);
        }
        if (error) return fail("batch", bert_error(&m));
        printf("%.9f\n", seconds() - start);
        fflush(stdout);
    }
    bert_free(&m);
    free(b.words), free(b.types), free(b.batches);
    return 0;
}
