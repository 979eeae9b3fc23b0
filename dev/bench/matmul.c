/*
matmul.c - how near the matmul of bert.h comes to the machine's limit, at BERT's shapes.

    make bench_matmul && ./bench_matmul [ROUNDS [M ...]]      OMP_NUM_THREADS=1: one thread

Each shape C x OC is one linear layer, M its rows (tokens):
    forward   out (M,OC) = inp (M,C) . w (OC,C)^T + b
    dX        dinp (M,C) = dout (M,OC) . w
    dW        dw (OC,C) += dout^T . inp
A processor's frequency moves by more than what is to be seen here, so the limit, multiply-adds in
registers and nothing else, is measured just before and just after each timing, and a share is the
median of the rounds' ratios. All packing is inside the timing. Operands stay where the caches keep
them from one repetition to the next: in a model, weights come from further away.
*/
#include "bench.h"

#ifndef BENCH_FLAGS
#define BENCH_FLAGS "unknown flags"
#endif

enum { MOST_ROUNDS = 101, MOST_MS = 16 };
static const double LONG_ENOUGH = 0.015; /* seconds that a timing takes at least */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

/* ------------------------------------------------------------------------------------------------
   The limit, in the vectors of bert.h's own loops, which have private names alone */

/* Sums that do not wait for each other: 5 cycles of latency at 2 a cycle need 10. 16 registers
   have no room for 24. */
#if defined(__AVX512F__) || defined(__aarch64__)
enum { SUMS = 24 };
#define UNROLL BENCH_PRAGMA(GCC unroll 24)
#else
enum { SUMS = 12 };
#define UNROLL BENCH_PRAGMA(GCC unroll 12)
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define BENCH_PRAGMA(text) _Pragma(#text)
#elif defined(__clang__)
#define BENCH_PRAGMA(text) _Pragma("clang loop unroll(full)")
#else
#define BENCH_PRAGMA(text)
#endif

static float multiply_add(long steps, float x, float term)
{
    bert_vec_ sum[SUMS], zero = {0}, y = zero + term, all = zero;
    UNROLL for (int i = 0; i < SUMS; i++) sum[i] = zero + (float)i;
    for (long s = 0; s < steps; s++)
        UNROLL for (int i = 0; i < SUMS; i++) sum[i] = BERT_VFMA_(bert_all_(x), sum[i], y);
    UNROLL for (int i = 0; i < SUMS; i++) all += sum[i];
    return all[0];
}

static volatile float factor = 0.75f, term = 0.5f, sink; /* the compiler may not know them */

/* GFLOP/s of all threads at once. */
static double peak(void)
{
    static long steps = 100000;
    for (;;) {
        int n = bert_threads();
        float sum = 0.0f, x = factor, y = term;
        double start = seconds(), spent;
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1) reduction(+ : sum)
#endif
        for (int t = 0; t < n; t++) sum += multiply_add(steps, x, y);
        spent = seconds() - start;
        sink = sum;
        if (spent > LONG_ENOUGH / 3) return 2e-9 * SUMS * BERT_LANES_ * (double)steps * n / spent;
        steps *= 2;
    }
}

/* ------------------------------------------------------------------------------------------------
   The matmuls of a linear layer, one at a time */

typedef struct {
    float *x, *w, *b, *y; /* (M,C), (OC,C), (OC), (M,OC) */
    int M, C, OC;
} Work;

enum { FORWARD, DX, DW, KINDS };
static const char *const kind_names[] = {"forward", "dX", "dW"};

static BertScratch scratch;

static void run(const Work *k, int kind)
{
    int M = k->M, C = k->C, OC = k->OC;
    if (kind == FORWARD) bert_linear_forward(k->y, k->x, k->w, k->b, M, C, OC, &scratch);
    else if (kind == DX)
        bert_linear_backward(k->x, NULL, NULL, k->y, NULL, k->w, M, C, OC, 0, &scratch);
    else bert_linear_backward(NULL, k->w, NULL, k->y, k->x, NULL, M, C, OC, 0, &scratch);
}

/* Small numbers in all operands: dW adds up over the repetitions, and must not overflow. */
static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = 1e-3f * (float)(bert_mix64(i) >> 40) / 16777216.0f;
}

/* Median GFLOP/s, and in share the median part of the limit. */
static double measure(const Work *k, int kind, int rounds, double *share)
{
    double rates[MOST_ROUNDS], shares[MOST_ROUNDS], flops = 2.0 * k->M * k->C * k->OC;
    long repeat = 1;
    fill(k->x, (size_t)k->M * k->C);
    fill(k->y, (size_t)k->M * k->OC);
    fill(k->w, (size_t)k->OC * k->C);
    fill(k->b, (size_t)k->OC);
    for (int r = -1; r < rounds; r++) { /* round -1: warm up, find repeat */
        double before = peak(), start, spent;
        for (;; repeat *= 2) {
            start = seconds();
            for (long i = 0; i < repeat; i++) run(k, kind);
            spent = seconds() - start;
            if (r >= 0 || spent > LONG_ENOUGH) break;
        }
        if (r < 0) continue;
        rates[r] = 1e-9 * flops * (double)repeat / spent;
        shares[r] = rates[r] / (0.5 * (before + peak()));
    }
    *share = median(shares, rounds);
    return median(rates, rounds);
}

/* ---------------------------------------------------------------------------------------------- */

static void print_machine(void)
{
    char line[256], cpu[256] = "unknown processor";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
            strcpy(cpu, strchr(line, ':') + 2);
            cpu[strcspn(cpu, "\n")] = 0;
            break;
        }
    if (f) fclose(f);
    printf("%s, %d thread%s\n", cpu, bert_threads(), bert_threads() > 1 ? "s" : "");
#ifdef __VERSION__
    printf("compiler %s, %s\n", __VERSION__, BENCH_FLAGS);
#endif
    printf("tile %d x %d, vectors of %d floats\n", (int)BERT_TILE_ROWS_, (int)BERT_TILE_COLS_,
           (int)BERT_LANES_);
}

int main(int argc, char **argv)
{
    static const int shapes[][2] = {{384, 384}, {384, 1152}, {384, 1536}, {1536, 384},
                                    {768, 768}, {768, 2304}, {768, 3072}, {3072, 768}};
    enum { SHAPES = sizeof shapes / sizeof *shapes };
    int Ms[MOST_MS] = {16, 32, 96, 256, 1024, 4096}, count = 6, largest = 0;
    int rounds = argc > 1 ? atoi(argv[1]) : 5;
    double mean[KINDS][MOST_MS] = {{0}}, peaks[MOST_ROUNDS];
    if (argc > 2) count = argc - 2 < MOST_MS ? argc - 2 : MOST_MS;
    for (int i = 0; i < count; i++) {
        if (argc > 2) Ms[i] = atoi(argv[i + 2]);
        if (Ms[i] < 1 || rounds < 1 || rounds > MOST_ROUNDS)
            return fprintf(stderr, "usage: bench_matmul [ROUNDS [M ...]]\n"), 2;
        if (Ms[i] > largest) largest = Ms[i];
    }
    Work k = {0};
    k.x = (float *)malloc((size_t)largest * 3072 * sizeof(float));
    k.y = (float *)malloc((size_t)largest * 3072 * sizeof(float));
    k.w = (float *)malloc((size_t)768 * 3072 * sizeof(float));
    k.b = (float *)malloc(3072 * sizeof(float));
    scratch.threads = bert_threads();
    void *room = NULL;
    const size_t bytes = bert_scratch_size(scratch.threads) * sizeof(float);
    if (posix_memalign(&room, 64, bytes) || !k.x || !k.y || !k.w || !k.b)
        return fprintf(stderr, "out of memory\n"), 1;
    scratch.memory = (float *)room;

    print_machine();
    for (int r = 0; r < 9; r++) peaks[r] = peak();
    printf("peak of multiply-adds: %.0f GFLOP/s (median of 9, %d sums a thread)\n",
           median(peaks, 9), (int)SUMS);
    printf("\nGFLOP/s, and the share of the peak measured around each, median of %d rounds\n\n",
           rounds);
    printf("| C x OC      |         |");
    for (int i = 0; i < count; i++) printf(" M = %-6d|", Ms[i]);
    printf("\n|-------------|---------|");
    for (int i = 0; i < count; i++) printf("-----------|");
    printf("\n");
    for (int s = 0; s < SHAPES; s++)
        for (int kind = 0; kind < KINDS; kind++) {
            printf("| %4d x %-4d | %-7s |", shapes[s][0], shapes[s][1], kind_names[kind]);
            for (int i = 0; i < count; i++) {
                double share, rate;
                k.M = Ms[i], k.C = shapes[s][0], k.OC = shapes[s][1];
                rate = measure(&k, kind, rounds, &share);
                mean[kind][i] += share / SHAPES;
                printf(" %4.0f  %.2f |", rate, share);
                fflush(stdout);
            }
            printf("\n");
        }
    for (int kind = 0; kind <= KINDS; kind++) {
        printf("| %-11s | %-7s |", kind == KINDS ? "mean of all" : "mean",
               kind == KINDS ? "" : kind_names[kind]);
        for (int i = 0; i < count; i++)
            printf("       %.2f |", kind == KINDS
                                        ? (mean[FORWARD][i] + mean[DX][i] + mean[DW][i]) / KINDS
                                        : mean[kind][i]);
        printf("\n");
    }
    free(k.x), free(k.y), free(k.w), free(k.b);
    return 0;
}
