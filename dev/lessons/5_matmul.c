/* Lesson 5: the product of matrices, in six steps.     cc -O2 5_matmul.c -lm -o 5 && ./5
   With all that a machine has:
       cc -O2 -march=native -mprefer-vector-width=512 -fopenmp 5_matmul.c -lm -o 5 && ./5

   Nearly all of BERT's time goes into c (ROWS,COLS) = a (ROWS,INNER) . b (INNER,COLS): each linear
   layer is one such product; here the one of BERT-base that makes 3072 channels of 768, for 120
   tokens. Each step comes nearer to what the processor can do at most. None changes the number of
   multiply-adds, only where the numbers come from. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int threads = 1; /* of loops IN_PARALLEL, if there is OpenMP */
#ifdef _OPENMP
#include <omp.h>
#define IN_PARALLEL _Pragma("omp parallel for schedule(dynamic) num_threads(threads)")
#else
#define IN_PARALLEL
static int omp_get_max_threads(void) { return 1; }
static double omp_get_wtime(void) { return (double)clock() / CLOCKS_PER_SEC; }
#endif

/* Vec is what the processor adds at once: a vector of LANES floats, an extension of gcc and clang.
   Other compilers get vectors of one float: the same program, without the speed. EACH is a loop
   that they write out, a constant number of times: registers have no index. */
#if !defined(__GNUC__) || defined(__TINYC__)
enum { LANES = 1 };
typedef float Vec;
#define EACH(i, n) for (int i = 0; i < (n); i++)
#else
#ifdef __AVX512F__
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#ifdef __clang__
#define EACH(i, n) _Pragma("clang loop unroll(full)") for (int i = 0; i < (n); i++)
#else
#define EACH(i, n) _Pragma("GCC unroll 32") for (int i = 0; i < (n); i++)
#endif
#endif

enum { ROWS = 120, COLS = 3072, INNER = 768, DEPTH = 384 };
enum { TILE_ROWS = LANES == 16 ? 8 : 6, TILE_VECS = LANES == 16 ? 3 : 2 };
enum { TILE_COLS = TILE_VECS * LANES };

static float a[ROWS * INNER], b[INNER * COLS], c[ROWS * COLS], right[ROWS * COLS];

/* 1. The definition. k walks down a column of b: each number is 3072 floats behind the one before,
   so a whole cache line (16 floats) is fetched for it. The next columns could use the other 15, but
   by then it is gone: 12,288 bytes are three times 4096, so the 768 lines of a column lie in one of
   the 64 sets of a usual first-level cache, and in 32 of the 2048 of a second-level one. A set has
   room for 8 to 16. With rows of 3088 floats, a line more, step 1 is four to six times as fast. */
static void three_loops(void)
{
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++) {
            float sum = 0.0f;
            for (int k = 0; k < INNER; k++) sum += a[i * INNER + k] * b[k * COLS + j];
            c[i * COLS + j] = sum;
        }
}

/* 2. The same with j inside: b and c are now read along their rows. But for each multiply-add a
   number of c is loaded and stored again. */
static void other_order(void)
{
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < INNER; k++)
            for (int j = 0; j < COLS; j++) c[i * COLS + j] += a[i * INNER + k] * b[k * COLS + j];
}

/* 3. The inner loop by vectors: one number of a times LANES of b is one instruction. For so simple
   a loop compilers often do it by themselves: then this is step 2 again. */
static void in_vectors(void)
{
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < INNER; k++)
            for (int j = 0; j < COLS; j += LANES)
                *(Vec *)(c + i * COLS + j) += a[i * INNER + k] * *(Vec *)(b + k * COLS + j);
}

/* 4. A tile of c, TILE_ROWS x TILE_VECS vectors of sums, stays in registers while k runs. For each
   k it reads TILE_VECS vectors of b and TILE_ROWS numbers of a, and makes a multiply-add for each
   sum. They do not wait for each other: the processor begins two in each cycle, and each takes four
   cycles. Sums, vectors of b and one of a have to fit into the registers: 6 x 2 + 2 + 1 of AVX2's
   16, 8 x 3 + 3 + 1 of AVX-512's 32. ldb: how far b's rows are apart. */
static void tile(float *c, const float *a, const float *b, int ldb, int depth)
{
    Vec sum[TILE_ROWS][TILE_VECS], zero = {0};
    EACH (i, TILE_ROWS)
        EACH (v, TILE_VECS) sum[i][v] = zero;
    for (int k = 0; k < depth; k++, b += ldb)
        EACH (i, TILE_ROWS)
            EACH (v, TILE_VECS) sum[i][v] += a[i * INNER + k] * *(const Vec *)(b + v * LANES);
    EACH (i, TILE_ROWS)
        EACH (v, TILE_VECS) *(Vec *)(c + i * COLS + v * LANES) += sum[i][v];
}

static void in_registers(void)
{
    for (int j = 0; j < COLS; j += TILE_COLS)
        for (int i = 0; i < ROWS; i += TILE_ROWS)
            tile(c + i * COLS + j, a + i * INNER, b + j, COLS, INNER);
}

/* 5. In step 4 each k is another row of b, 12 KB further: in the same few sets, on another page.
   A panel is a copy of DEPTH rows of TILE_COLS columns of b, one behind the other, as tiles read
   them. All ROWS/TILE_ROWS tiles above each other read it, and it fits into a near cache.
   6. Each thread takes columns of its own: no two write the same number, and every sum has the
   order that it has in one thread, so the bits do not depend on how many there are. Without
   -fopenmp there is one, and this is step 5 again. */
static void in_panels(void)
{
    IN_PARALLEL
    for (int j = 0; j < COLS; j += TILE_COLS)
        for (int k = 0; k < INNER; k += DEPTH) {
            float panel[DEPTH * TILE_COLS];
            for (int d = 0; d < DEPTH; d++)
                memcpy(panel + d * TILE_COLS, b + (k + d) * COLS + j, TILE_COLS * sizeof *b);
            for (int i = 0; i < ROWS; i += TILE_ROWS)
                tile(c + i * COLS + j, a + i * INNER + k, panel, TILE_COLS, DEPTH);
        }
}

/* The peak: sums in registers, and nothing else. volatile: else the compiler computes it itself. */
enum { SUMS = TILE_ROWS * TILE_VECS, STEPS = LANES == 1 ? 100000 : 2000000 };
static volatile float x = 0.75f, y = 0.5f;
static void in_registers_only(void)
{
    IN_PARALLEL
    for (int t = 0; t < threads; t++) {
        Vec sum[SUMS], zero = {0}, factor = zero + x, term = zero + y, all = zero;
        EACH (i, SUMS) sum[i] = zero + (float)i;
        for (int s = 0; s < STEPS; s++)
            EACH (i, SUMS) sum[i] = sum[i] * factor + term;
        EACH (i, SUMS) all += sum[i];
        *(Vec *)(c + t * LANES) = all; /* or it would not be computed at all */
    }
}

/* GFLOP/s (a multiply-add is two) of the best of the runs in half a second. */
static double measure(void (*run)(void), double flops)
{
    double best = 1e9, begin = omp_get_wtime();
    do {
        double start = omp_get_wtime();
        memset(c, 0, sizeof c); /* most steps add to it */
        run();
        best = fmin(best, omp_get_wtime() - start);
    } while (omp_get_wtime() - begin < 0.5);
    return flops * 1e-9 / best;
}

static const char *const names[] = {"1 three loops", "2 other order", "3 vectors",
                                    "4 registers",   "5 panels",      "6 threads"};
static void (*const steps[])(void) = {three_loops,  other_order, in_vectors,
                                      in_registers, in_panels,   in_panels};

int main(void)
{
    const double flops = 2.0 * STEPS * SUMS * LANES;
    double peak = measure(in_registers_only, flops), worst = 0.0;
    printf("vectors of %d floats, %d thread(s); peak of one thread: %.1f GFLOP/s\n\n", LANES,
           omp_get_max_threads(), peak);
    for (int i = 0; i < ROWS * INNER; i++) a[i] = (float)(i * 37 % 101) / 50.0f - 1.0f;
    for (int i = 0; i < INNER * COLS; i++) b[i] = (float)(i * 53 % 103) / 51.0f - 1.0f;
    for (int s = 0; s < 6; s++) {
        if (s == 5) threads = omp_get_max_threads(); /* the peak of them all, too */
        if (s == 5) peak = measure(in_registers_only, flops * threads);
        double rate = measure(steps[s], 2.0 * ROWS * COLS * INNER);
        printf("%-14s %8.2f GFLOP/s %5.1f %% of the peak  %.*s\n", names[s], rate,
               100 * rate / peak, (int)(30 * rate / peak), "##############################");
        if (s == 0) memcpy(right, c, sizeof c);
        for (int i = 0; i < ROWS * COLS; i++)
            if (!(fabs(c[i] - right[i]) <= worst)) worst = fabs(c[i] - right[i]);
    }
    if (!(worst < 1e-3)) return printf("\ncheck FAILED: products differ by %g\n", worst), 1;
    printf("\ncheck passed: the six products are the same, but for rounding\n");
    return 0;
}

/* What changes next. bert.h's product is step 6 with the edges: any number of rows and columns,
   matrices that lie transposed, panels that are made many at once, what is read next fetched ahead;
   few rows (one sentence) have a way of their own. And it makes the same bits on each machine, for
   which the blocks of DEPTH and the fused multiply-adds are fixed. Lesson 6: the optimizer. */
