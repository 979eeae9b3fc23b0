/*
memory.c - what --gradient_checkpointing saves and what it costs: memory of activations and time of
a step, bert-base with random weights, 8 x 512 tokens, with it and without, alternating.

    make bench-memory            or: ./bench_memory BATCH TOKENS ROUNDS [MODEL.bin]

A row a setting: the floats that the model took for activations, the median time of forward and
backward (AdamW's is the same), and the ratios. The gradients are compared to the bit.
*/
#include "bench.h"

enum { MOST_ROUNDS = 99 };

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

static int tell(const Bert *m)
{
    fprintf(stderr, "bench_memory: %s\n", bert_error(m));
    return 1;
}

static int make(Bert *m, const char *path)
{
    if (!path) return bert_build(m, base_config(BERT_CLASSIFICATION, 2)) || bert_init(m, 1);
    return bert_load(m, path) || bert_set_task(m, BERT_CLASSIFICATION, 2, 0, NULL, 1);
}

int main(int argc, char **argv)
{
    const int B = argc > 1 ? atoi(argv[1]) : 8, T = argc > 2 ? atoi(argv[2]) : 512;
    const int rounds = argc > 3 ? atoi(argv[3]) : 5;
    double times[2][MOST_ROUNDS];
    Bert m[2];
    memset(m, 0, sizeof m);
    if (B < 1 || T < 1 || rounds < 1 || rounds > MOST_ROUNDS)
        return fprintf(stderr, "bench_memory BATCH TOKENS ROUNDS [MODEL.bin]\n"), 1;
    if (make(&m[0], argc > 4 ? argv[4] : NULL)) return tell(&m[0]);
    if (bert_share(&m[1], &m[0])) return tell(&m[1]);
    m[1].checkpointing = 1;
    int *words = (int *)calloc((size_t)(2 * B * T + 2 * B + 1), sizeof *words);
    if (!words) return 1;
    int *types = words + B * T, *labels = types + B * T, *offsets = labels + B;
    for (int i = 0; i < B * T; i++)
        words[i] = (int)(bert_mix64((uint64_t)i) % (uint64_t)m[0].config.V);
    for (int b = 0; b <= B; b++) offsets[b] = b * T;
    BertBatch x = {0};
    x.B = B, x.tokens = words, x.types = types, x.labels = labels, x.offsets = offsets;
    for (int round = -1; round < rounds; round++) /* the first pays for new memory */
        for (int i = 0; i < 2; i++) {
            const double start = seconds();
            bert_zero_grad(&m[i]);
            if (bert_forward(&m[i], &x, 1) || bert_backward(&m[i], 1)) return tell(&m[i]);
            if (round >= 0) times[i][round] = seconds() - start;
        }
    if (memcmp(m[0].grads_memory, m[1].grads_memory, m[0].num_parameters * sizeof(float)))
        return fprintf(stderr, "bench_memory: other bits\n"), 1;
    double took[2], megabytes[2];
    printf("%d layers, %d x %d tokens, %d threads, %d rounds\n", m[0].config.L, B, T,
           bert_threads(), rounds);
    for (int i = 0; i < 2; i++) {
        took[i] = median(times[i], rounds);
        megabytes[i] = 1e-6 * (double)(m[i].acts_room * sizeof(float));
        printf("%-26s %8.0f MB of activations  %8.3f s a step\n",
               i ? "--gradient_checkpointing" : "without", megabytes[i], took[i]);
    }
    printf("%-26s %8.2f times less            %8.2f times the time; the same bits\n", "",
           megabytes[0] / megabytes[1], took[1] / took[0]);
    bert_free(&m[1]), bert_free(&m[0]), free(words);
    return 0;
}
