/*
test_bert.c - every check of bert.h that needs only a C compiler; the driver's are in dev/test.

    ./test_bert                             all of it; fixtures from dev/fixtures
    ./test_bert --real MODEL.bin REF.bin    only: a real model against PyTorch's record of it

A line for each test; exit code 0 if all passed. The oracles are naive forwards in double: each
kernel is compared with its oracle, each backward with central differences of it. What PyTorch and
transformers compute is recorded in dev/fixtures by dev/check/reference.py.
*/
#define BERT_IMPLEMENTATION
#include "dev/test/test.h"

#include "bert.h"

#include "dev/test/files.h"
#include "dev/test/batch.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* ------------------------------------------------------------------------------------------------
   Numbers */

static float *nans(size_t n)
{ /* for what has to be overwritten */
    float *x = get(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = NAN;
    return x;
}
static double *doubles(const float *x, size_t n)
{
    double *y = get(n, sizeof *y);
    for (size_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}
static int same_bits(const void *a, const void *b, size_t n) { return !memcmp(a, b, n); }

/* The largest difference as a share of the largest value of b; NaN if there is one in either. */
static double share(double difference, double scale)
{
    return difference == 0 ? 0 : difference / scale;
}
static double apart(const float *a, const double *b, size_t n)
{
    double difference = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        if (isnan(d)) return d;
        if (d > difference) difference = d;
        if (fabs(b[i]) > scale) scale = fabs(b[i]);
    }
    return share(difference, scale);
}
/* The same by root mean squares. */
static double apart_rms(const float *a, const float *b, size_t n)
{
    double difference = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        scale += (double)b[i] * b[i];
    }
    return share(sqrt(difference), sqrt(scale));
}
static double apart_f(const float *a, const float *b, size_t n)
{
    double *c = doubles(b, n), d = apart(a, c, n);
    return d;
}
static void worse(double *worst, double d)
{ /* NaN stays */
    if (!(d <= *worst) && !isnan(*worst)) *worst = d;
}

/* ------------------------------------------------------------------------------------------------
   Oracles: each layer's definition in double, as naive as it can be */

static void embeddings_oracle(double *out, const int *tokens, const int *types, const int *offsets,
                              const double *wte, const double *wpe, const double *wse, int B, int C)
{
    for (int b = 0; b < B; b++)
        for (int i = offsets[b]; i < offsets[b + 1]; i++)
            for (int c = 0; c < C; c++)
                out[i * C + c] =
                    wte[tokens[i] * C + c] + wpe[(i - offsets[b]) * C + c] + wse[types[i] * C + c];
}

static void layernorm_oracle(double *out, const double *inp, const double *w, const double *b,
                             int N, int C, double eps)
{
    for (int i = 0; i < N; i++) {
        double mean = 0, var = 0;
        for (int c = 0; c < C; c++) mean += inp[i * C + c] / C;
        for (int c = 0; c < C; c++) var += (inp[i * C + c] - mean) * (inp[i * C + c] - mean) / C;
        for (int c = 0; c < C; c++)
            out[i * C + c] = (inp[i * C + c] - mean) / sqrt(var + eps) * w[c] + b[c];
    }
}

static void linear_oracle(double *out, const double *inp, const double *w, const double *b, int N,
                          int C, int OC)
{
    for (int i = 0; i < N; i++)
        for (int o = 0; o < OC; o++) {
            double sum = b ? b[o] : 0;
            for (int c = 0; c < C; c++) sum += inp[(size_t)i * C + c] * w[(size_t)o * C + c];
            out[(size_t)i * OC + o] = sum;
        }
}

/* mask: NULL, or what dropout multiplies (NH, N, N) attention weights by. */
static void attention_oracle(double *out, const double *qkv, const int *offsets, int B, int C,
                             int NH, const double *mask)
{
    int N = offsets[B], HS = C / NH;
    size_t mark = num_gotten;
    double *p = get(N, sizeof *p);
    memset(out, 0, (size_t)N * C * sizeof *out);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < NH; h++)
            for (int q = offsets[b]; q < offsets[b + 1]; q++) {
                double max = -INFINITY, sum = 0;
                for (int k = offsets[b]; k < offsets[b + 1]; k++) {
                    p[k] = 0;
                    for (int i = h * HS; i < (h + 1) * HS; i++)
                        p[k] += qkv[q * 3 * C + i] * qkv[k * 3 * C + C + i] / sqrt(HS);
                    if (p[k] > max) max = p[k];
                }
                for (int k = offsets[b]; k < offsets[b + 1]; k++) sum += p[k] = exp(p[k] - max);
                for (int k = offsets[b]; k < offsets[b + 1]; k++)
                    for (int i = h * HS; i < (h + 1) * HS; i++)
                        out[q * C + i] += p[k] / sum * qkv[k * 3 * C + 2 * C + i] *
                                          (mask ? mask[(h * N + q) * N + k] : 1);
            }
    release(mark);
}

static double activation_oracle(double x, int act)
{
    if (act == BERT_GELU) return 0.5 * x * (1 + erf(x / sqrt(2)));
    if (act == BERT_GELU_TANH)
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    return x > 0 ? x : 0;
}

/* ------------------------------------------------------------------------------------------------
   Gradients: a layer's output is dotted with r; central differences of that in double are what
   the backward has to give for dout = r */

static struct {
    int B, N, C, OC, NH, K;
    const int *tokens, *types, *offsets;
    const double *r, *mask;
    const float *weights; /* of classes, or NULL */
    float smoothing;
    double *out, eps;
} g;

static double crossentropy_oracle(const double *logits, int label, int K)
{
    double max = logits[0], sum = 0, smooth = 0;
    for (int k = 1; k < K; k++) max = logits[k] > max ? logits[k] : max;
    for (int k = 0; k < K; k++) sum += exp(logits[k] - max);
    if (label < 0) return 0;
    for (int k = 0; k < K; k++)
        smooth += (g.weights ? g.weights[k] : 1) * (log(sum) + max - logits[k]) / K;
    return (1 - g.smoothing) * (g.weights ? g.weights[label] : 1) *
               (log(sum) + max - logits[label]) +
           g.smoothing * smooth;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

enum { TOY_V = 6, TOY_P = 5, TOY_S = 2 };
static double embeddings_dot(const double *x)
{
    const double *wpe = x + TOY_V * g.C, *wse = wpe + TOY_P * g.C;
    embeddings_oracle(g.out, g.tokens, g.types, g.offsets, x, wpe, wse, g.B, g.C);
    return dot(g.out, g.r, (size_t)g.N * g.C);
}
static double layernorm_dot(const double *x)
{
    const double *w = x + g.N * g.C;
    layernorm_oracle(g.out, x, w, w + g.C, g.N, g.C, g.eps);
    return dot(g.out, g.r, (size_t)g.N * g.C);
}
static double linear_dot(const double *x)
{
    const double *w = x + g.N * g.C;
    linear_oracle(g.out, x, w, w + g.OC * g.C, g.N, g.C, g.OC);
    return dot(g.out, g.r, (size_t)g.N * g.OC);
}
static double attention_dot(const double *x)
{
    attention_oracle(g.out, x, g.offsets, g.B, g.C, g.NH, g.mask);
    return dot(g.out, g.r, (size_t)g.N * g.C);
}
static double tanh_dot(const double *x)
{
    double sum = 0;
    for (int i = 0; i < g.N; i++) sum += g.r[i] * tanh(x[i]);
    return sum;
}
static double crossentropy_dot(const double *x)
{ /* r[0]: the scale */
    double sum = 0;
    for (int b = 0; b < g.B; b++) sum += crossentropy_oracle(x + b * g.K, g.tokens[b], g.K);
    return sum * g.r[0];
}

/* got: a backward's result, minus base, for x[from] .. x[from+n-1] of f's input. */
static void expect_gradient(const char *what, double (*f)(const double *), double *x, size_t from,
                            size_t n, const float *got, double base)
{
    double *want = get(n, sizeof *want), h = 1e-5, d;
    for (size_t i = 0; i < n; i++) {
        double old = x[from + i], up;
        x[from + i] = old + h;
        up = f(x);
        x[from + i] = old - h;
        want[i] = (up - f(x)) / (2 * h) + base;
        x[from + i] = old;
    }
    d = apart(got, want, n);
    expect(d <= 1e-4, "%s is off by %.1e of its largest", what, d);
}

static float *based(size_t n, float base)
{ /* a parameter gradient that is not zero to begin with */
    float *x = get(n, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = base;
    return x;
}

static const BertDropout off = {0, 0, NULL};
static BertScratch scratch; /* for the products of all threads */

static void make_scratch(void)
{
    scratch.threads = bert_threads();
    scratch.memory = (float *)malloc(bert_scratch_size(scratch.threads) * sizeof(float) + 1);
}

static void check_embeddings(int C)
{
    int tokens[] = {4, 3, 5, 3, 1, 3, 5, 4, 2}, types[] = {0, 0, 1, 1, 1, 1, 0, 0, 1};
    int offsets[] = {0, 1, 6, 9}, N = 9, n = (TOY_V + TOY_P + TOY_S) * C;
    float *w = randoms(n, 1), *dw = based(n, 0.5f), *out = nans(N * C), *r = randoms(N * C, 1);
    double *x = doubles(w, n), *rd = doubles(r, N * C), *want = get(N * C, sizeof *want);
    float *wpe = w + TOY_V * C, *wse = wpe + TOY_P * C;
    g.B = 3, g.N = N, g.C = C, g.tokens = tokens, g.types = types, g.offsets = offsets;
    g.r = rd, g.out = want;
    embeddings_dot(x);
    bert_embeddings_forward(out, tokens, types, offsets, w, wpe, wse, 3, C);
    expect(apart(out, want, N * C) <= 1e-6, "forward");
    bert_embeddings_backward(dw, dw + TOY_V * C, dw + (TOY_V + TOY_P) * C, r, tokens, types,
                             offsets, 3, C, 0);
    expect_gradient("dw", embeddings_dot, x, 0, n, dw, 0.5);
    tokens[0] = 0; /* [PAD] in a text: Hugging Face's padding_idx */
    bert_embeddings_backward(dw, dw + TOY_V * C, dw + (TOY_V + TOY_P) * C, r, tokens, types,
                             offsets, 3, C, 0);
    for (int i = 0; i < C; i++) expect(dw[i] == 0.5f, "[PAD]'s row got a gradient");
}

static void test_embeddings(void)
{
    check_embeddings(7);
    check_embeddings(BERT_CHANNELS_ + 11); /* those of a thread, and some more */
    done("embeddings: forward and backward");
}

static void test_layernorm(void)
{
    static const int sizes[][2] = {{13, 37}, {1, 1}, {7, 2}, {3, 16}, {2, 384}, {5, 300}, {9, 20}};
    static const double eps[] = {1e-12, 1e-5, 0.3};
    for (int s = 0; s < 7; s++)
        for (int e = 0; e < 3; e++) {
            int N = sizes[s][0], C = sizes[s][1], n = N * C + 2 * C;
            float *in = randoms(n, 1), *out = nans(N * C), *mean = nans(N), *rstd = nans(N);
            float *r = randoms(N * C, 1), *dx = nans(N * C), *dp = based(2 * C, 0.5f),
                  *w = in + N * C;
            double *x, *rd = doubles(r, N * C), *want = get(N * C, sizeof *want);
            for (int i = 0; i < N * C; i++) in[i] += 3; /* a mean far from 0 */
            x = doubles(in, n);
            if (C == 1) e = 2; /* no variance at all */
            g.N = N, g.C = C, g.eps = eps[e], g.r = rd, g.out = want;
            layernorm_dot(x);
            bert_layernorm_forward(out, mean, rstd, in, w, w + C, N, C, (float)eps[e]);
            expect(apart(out, want, N * C) <= 1e-5, "forward (%d, %d) eps %g", N, C, eps[e]);
            bert_layernorm_backward(dx, dp, dp + C, r, in, mean, rstd, w, N, C);
            if (N * C < 700) {
                expect_gradient("dw, db", layernorm_dot, x, N * C, 2 * C, dp, 0.5);
                if (C > 2) expect_gradient("dinp", layernorm_dot, x, 0, N * C, dx, 0);
            }
        }
    done("layernorm: forward and backward");
}

/* One size of a linear layer against the three sums that define it. */
static void check_linear(int N, int C, int OC, int differences)
{
    size_t mark = num_gotten, n = (size_t)N * C + (size_t)OC * C + OC;
    float *in = randoms(n, 1), *w = in + N * C, *b = w + OC * C, *r = randoms(N * OC, 1);
    float *out = nans(N * OC), *dx = nans(N * C), *dp = based(OC * C + OC, 0.5f), *row = nans(OC);
    double *x = doubles(in, n), *rd = doubles(r, N * OC), *xd = x, *wd = x + N * C;
    double *want = get(N * OC, sizeof *want), *dxd = get(N * C, sizeof *dxd);
    double *dpd = get(OC * C + OC, sizeof *dpd);
    linear_oracle(want, xd, wd, wd + OC * C, N, C, OC);
    bert_linear_forward(out, in, w, b, N, C, OC, &scratch);
    expect(apart(out, want, N * OC) <= 2e-6, "forward (%d, %d, %d)", N, C, OC);
    for (int i = 0; i < N; i += 1 + N / 3) { /* a row's bits do not depend on the others */
        bert_linear_forward(row, in + i * C, w, b, 1, C, OC, &scratch);
        expect(same_bits(row, out + i * OC, OC * sizeof *row), "row %d of %d (%d, %d)", i, N, C,
               OC);
    }
    bert_linear_backward(dx, dp, dp + OC * C, r, in, w, N, C, OC, 0, &scratch);
    for (int i = 0; i < OC * C + OC; i++) dpd[i] = 0.5;
    for (int i = 0; i < N; i++)
        for (int o = 0; o < OC; o++) {
            for (int c = 0; c < C; c++) {
                dxd[i * C + c] += rd[i * OC + o] * wd[o * C + c];
                dpd[o * C + c] += rd[i * OC + o] * xd[i * C + c];
            }
            dpd[OC * C + o] += rd[i * OC + o];
        }
    expect(apart(dx, dxd, N * C) <= 2e-6, "dinp (%d, %d, %d)", N, C, OC);
    expect(apart(dp, dpd, OC * C) <= 2e-6, "dw (%d, %d, %d)", N, C, OC);
    expect(apart(dp + OC * C, dpd + OC * C, OC) <= 2e-6, "db (%d, %d, %d)", N, C, OC);
    if (differences) {
        g.N = N, g.C = C, g.OC = OC, g.r = rd, g.out = want;
        expect_gradient("dinp", linear_dot, x, 0, N * C, dx, 0);
        expect_gradient("dw, db", linear_dot, x, N * C, OC * C + OC, dp, 0.5);
    }
    release(mark);
}

static void test_linear(void)
{
    static const int edges[] = {1, 7, 8, 9, 15, 16, 17, 47, 48, 49, 255, 256, 257, 300};
    static const int n = sizeof edges / sizeof edges[0];
    check_linear(13, 7, 37, 1);
    check_linear(3, 17, 9, 1);
    done("linear: backward against central differences");
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j += 1 + (i * 5 + j) % 4) {
            static const int odd[] = {5, 13, 18, 37};
            check_linear(edges[i], edges[j], odd[(i + j) % 4], 0);
            check_linear(edges[i], odd[(i + j) % 4], edges[j], 0);
            check_linear(odd[(i + j) % 4], edges[i], edges[j], 0);
        }
    check_linear(193, 385, 97, 0);                /* beyond the blocks of every dimension */
    for (int N = 1; N <= 52; N += N < 17 ? 1 : 5) /* mirrored, in blocks */
        check_linear(N, 400, 1200, 0);
    check_linear(385, 193, 47, 0);
    check_linear(49, 769, 193, 0);
    check_linear(200, 97, 385, 0);
    done("linear: against the sums in double, at the edges of tiles; a row's bits are its own");
}

/* The mask that attention's dropout draws, read off from outside: with queries 0 all weights are
   1/T, and with values 1 at channel k - from, head and query (h, q) show the mask of 64 keys. */
static double *attention_mask(const int *offsets, int B, int NH, BertDropout drop)
{
    int N = offsets[B], HS = 8, C = NH * HS;
    double *mask = get((size_t)NH * N * N, sizeof *mask);
    float *qkv = get((size_t)N * 3 * C, sizeof *qkv), *out = nans(N * C), *stat = nans(N * NH * 2);
    for (int from = 0; from < N; from += HS) {
        memset(qkv, 0, (size_t)N * 3 * C * sizeof *qkv);
        for (int k = from; k < N && k < from + HS; k++)
            for (int h = 0; h < NH; h++) qkv[k * 3 * C + 2 * C + h * HS + k - from] = 1;
        bert_attention_forward(out, stat, qkv, offsets, B, C, NH, drop, &scratch);
        for (int b = 0; b < B; b++)
            for (int q = offsets[b]; q < offsets[b + 1]; q++)
                for (int k = from; k < N && k < from + HS; k++)
                    for (int h = 0; h < NH; h++)
                        mask[(h * N + q) * N + k] =
                            out[q * C + h * HS + k - from] * (offsets[b + 1] - offsets[b]);
    }
    return mask;
}

static uint64_t *rows_of(const int *offsets, int B, int place)
{
    uint64_t *rows = get(offsets[B], sizeof *rows);
    for (int b = 0; b < B; b++)
        for (int i = offsets[b]; i < offsets[b + 1]; i++)
            rows[i] = (uint64_t)(place + b) << 32 | (uint64_t)(i - offsets[b]);
    return rows;
}

static void check_attention(const int *offsets, int B, int C, int NH, float p, double size)
{
    int N = offsets[B], n = N * 3 * C;
    uint64_t *rows = rows_of(offsets, B, 0);
    BertDropout drop = {p, bert_dropout_key(5, 6, 7, 8), rows};
    float *qkv = randoms(n, size), *out = nans(N * C), *stat = nans(N * NH * 2);
    float *dqkv = nans(n), *r = randoms(N * C, 1);
    double *x = doubles(qkv, n), *rd = doubles(r, N * C), *want = get(N * C, sizeof *want), d;
    double *mask = p > 0 ? attention_mask(offsets, B, NH, drop) : NULL;
    g.B = B, g.N = N, g.C = C, g.NH = NH, g.offsets = offsets, g.r = rd, g.out = want,
    g.mask = mask;
    attention_dot(x);
    bert_attention_forward(out, stat, qkv, offsets, B, C, NH, drop, &scratch);
    d = apart(out, want, N * C);
    expect(d <= 1e-5 * (size > 1 ? size * size : 1), "forward N %d C %d NH %d p %g: %.1e", N, C, NH,
           p, d);
    bert_attention_backward(dqkv, r, out, stat, qkv, offsets, B, C, NH, drop, &scratch);
    if (n < 3000) expect_gradient("dqkv", attention_dot, x, 0, n, dqkv, 0);
    for (int i = 0; i < n; i++) expect(isfinite(dqkv[i]), "dqkv[%d] is %g", i, dqkv[i]);
}

static void test_attention(void)
{
    static const int few[] = {0, 1, 3, 10, 21}, one[] = {0, 1}, long_[] = {0, 8, 265, 274};
    static const int edges[] = {0, 7, 15, 24, 39, 55, 72};
    check_attention(few, 4, 20, 5, 0, 1);
    check_attention(few, 4, 9, 1, 0, 1);
    check_attention(few, 4, 12, 12, 0, 1);
    check_attention(one, 1, 64, 2, 0, 1);
    check_attention(edges, 6, 10, 2, 0, 1);
    done("attention: forward and backward");
    check_attention(edges, 6, 17 * 3, 3, 0, 1);
    check_attention(edges, 6, 64, 1, 0, 1);
    check_attention(long_, 3, 66, 2, 0, 1);
    check_attention(long_, 3, 32, 2, 0, 6); /* scores of hundreds: the softmax is a choice */
    done("attention: forward at the edges of tiles, and with scores of hundreds");
    check_attention(few, 4, 20, 5, 0.3f, 1);
    check_attention(few, 4, 9, 1, 0.5f, 1);
    done("attention: forward and backward with dropout, the same mask in both");
}

static void test_activations(void)
{
    static const char *const names[] = {"gelu (erf)", "gelu_new (tanh)", "relu"};
    enum { N = 4001 };
    float *in = get(N, sizeof *in), *out = nans(N), *dx = nans(N), *r = randoms(N, 1), probe[2];
    double *x, *rd = doubles(r, N), want[N];
    for (int i = 0; i < N; i++)
        in[i] = (float)((i - 2000) * 0.006 + 0.0031); /* -12 .. 12, never 0 */
    x = doubles(in, N);
    for (int act = 0; act < 3; act++) {
        double worst = 0, slope = 0;
        bert_activation_forward(out, in, N, act);
        bert_activation_backward(dx, r, in, N, act);
        for (int i = 0; i < N; i++) {
            double h = 1e-5, up = activation_oracle(x[i] + h, act),
                   down = activation_oracle(x[i] - h, act);
            worse(&worst, fabs(out[i] - activation_oracle(x[i], act)) / (1 + fabs(x[i])));
            worse(&slope, fabs(dx[i] - rd[i] * (up - down) / (2 * h)) / (1 + fabs(rd[i])));
        }
        expect(worst <= 3e-7, "forward is off by %.1e", worst);
        expect(slope <= 2e-6, "backward is off by %.1e", slope);
        probe[0] = NAN, probe[1] = INFINITY;
        bert_activation_forward(probe, probe, 2, act);
        expect(isnan(probe[0]) && probe[1] > 1e30f, "NaN gives %g, inf %g", probe[0], probe[1]);
        done("%s: forward and backward", names[act]);
    }
    for (int i = 0; i < N; i++) want[i] = tanh(x[i]);
    bert_tanh_forward(out, in, N);
    expect(apart(out, want, N) <= 1e-6, "forward");
    bert_tanh_backward(dx, r, out, N);
    g.N = 60, g.r = rd + 1970; /* around 0 */
    expect_gradient("dinp", tanh_dot, x + 1970, 0, 60, dx + 1970, 0);
    done("tanh: forward and backward");
}

static void test_crossentropy(void)
{
    enum { B = 13, K = 7 };
    float *x = randoms(B * K, 3), losses[B], probs[B * K], dx[B * K], no_losses[B * K];
    float weights[K];
    double *xd, want[B], one = 0.25;
    int labels[B];
    x[3] = 200, x[9] = -300; /* exp would overflow */
    xd = doubles(x, B * K);
    for (int k = 0; k < K; k++) weights[k] = k == 2 ? 0 : 0.3f + (float)uniform();
    for (int b = 0; b < B; b++) labels[b] = below(K);
    for (int way = 0; way < 4; way++) {
        g.B = B, g.K = K, g.tokens = labels, g.r = &one;
        g.weights = way & 1 ? weights : NULL, g.smoothing = way & 2 ? 0.1f : 0;
        labels[5] = way ? -1 : 2; /* no label, no loss */
        for (int b = 0; b < B; b++) want[b] = crossentropy_oracle(xd + b * K, labels[b], K);
        bert_crossentropy_forward(losses, probs, x, labels, g.weights, g.smoothing, B, K);
        expect(apart(losses, want, B) <= 1e-6, "losses, way %d", way);
        for (int b = 0; b < B; b++) {
            double sum = 0;
            for (int k = 0; k < K; k++) sum += probs[b * K + k];
            expect(fabs(sum - 1) <= 1e-6, "row %d sums to %g", b, sum);
        }
        bert_crossentropy_backward(dx, probs, labels, g.weights, g.smoothing, B, K, 0.25f);
        expect_gradient("dlogits", crossentropy_dot, xd, 0, B * K, dx, 0);
    }
    float sure[] = {60, 50}, loss;
    bert_crossentropy_forward(&loss, probs, sure, (const int[]){0}, NULL, 0, 1, 2);
    expect(fabs(loss - log1p(exp(-10))) <= 1e-7, "a small loss between large logits: %g", loss);
    bert_crossentropy_forward(losses, probs, x, labels, NULL, 0, B, K);
    bert_crossentropy_forward(NULL, no_losses, x, NULL, NULL, 0, B, K);
    expect(same_bits(no_losses, probs, sizeof probs), "probabilities without labels");
    done("crossentropy: forward and backward, class weights, smoothing, rows without label");

    for (int n = 1; n < 3000; n = 3 * n + 1) { /* as long as a vocabulary */
        float *y = randoms(2 * n, 5), *p = nans(2 * n), *d = nans(2 * n), loss[2];
        double *yd = doubles(y, 2 * n), double_loss[2];
        int two[] = {n - 1, n / 2};
        g.weights = NULL, g.smoothing = 0.2f;
        for (int b = 0; b < 2; b++) double_loss[b] = crossentropy_oracle(yd + b * n, two[b], n);
        bert_crossentropy_forward(loss, p, y, two, NULL, 0.2f, 2, n);
        expect(apart(loss, double_loss, 2) <= 1e-6, "losses of %d classes", n);
        bert_crossentropy_backward(d, p, two, NULL, 0.2f, 2, n, 0.25f);
        g.B = 2, g.K = n, g.tokens = two;
        if (n < 50) expect_gradient("dlogits", crossentropy_dot, yd, 0, 2 * n, d, 0);
        y[n / 3] = NAN;
        bert_crossentropy_forward(loss, p, y, two, NULL, 0, 2, n);
        expect(isnan(loss[0]) && isfinite(loss[1]), "NaN among %d classes", n);
    }
    done("crossentropy: from 1 class to thousands, NaN");
}

static double bce_dot(const double *x)
{ /* g.mask: the targets */
    double sum = 0;
    for (int i = 0; i < g.B * g.K; i++) {
        double w = g.weights ? g.weights[i % g.K] : 1, t = g.mask[i];
        sum += (w * t * log1p(exp(-x[i])) + (1 - t) * log1p(exp(x[i]))) / g.K;
    }
    return sum * g.r[0];
}
static double mse_dot(const double *x)
{
    double sum = 0;
    for (int i = 0; i < g.B * g.K; i++) sum += (x[i] - g.mask[i]) * (x[i] - g.mask[i]) / g.K;
    return sum * g.r[0];
}
static double span_dot(const double *x)
{
    double sum = 0;
    for (int b = 0; b < g.B; b++)
        for (int c = 0; c < 2; c++) {
            double column[32];
            int T = g.offsets[b + 1] - g.offsets[b];
            for (int t = 0; t < T; t++) column[t] = x[2 * (g.offsets[b] + t) + c];
            sum += crossentropy_oracle(column, g.tokens[2 * b + c], T) / 2;
        }
    return sum * g.r[0];
}

static void test_losses(void)
{
    enum { B = 5, K = 6, N = 24 };
    static const int offsets[] = {0, 1, 3, 10, 23, 24}, spans[] = {0, 0, 1, 0, 2, 6, 12, 12, 0, 0};
    static const char *const names[] = {"bce", "bce with weights", "mse", "span"};
    float *x = randoms(2 * N, 3), losses[B * K], probs[2 * N], targets[B * K], weights[K],
          dx[2 * N];
    double *xd, one = 1;
    x[1] = 80, x[2] = -90; /* exp overflows in float, not in the oracle's double */
    for (int i = 0; i < B * K; i++) targets[i] = (float)below(2);
    targets[1] = 0, targets[2] = 1, targets[3] = 0.25f;
    for (int k = 0; k < K; k++) weights[k] = 0.3f + (float)(3 * uniform());
    xd = doubles(x, 2 * N);
    for (int way = 0; way < 4; way++) {
        double (*f)(const double *) = way < 2 ? bce_dot : way == 2 ? mse_dot : span_dot, sum = 0;
        int n = way == 3 ? 2 * N : B * K;
        g.B = way == 2 ? B * K : B, g.K = way == 2 ? 1 : K, g.offsets = offsets, g.tokens = spans,
        g.r = &one, one = 1;
        g.mask = doubles(targets, B * K), g.weights = way == 1 ? weights : NULL, g.smoothing = 0;
        if (way < 2) bert_bce_forward(losses, probs, x, targets, g.weights, B, K);
        if (way == 2) bert_mse_forward(losses, x, targets, B * K);
        if (way == 3) bert_span_forward(losses, probs, x, spans, offsets, B);
        for (int b = 0; b < g.B; b++) sum += losses[b];
        expect(fabs(sum - f(xd)) <= 1e-6 * sum, "%s: %.9g, not %.9g", names[way], sum, f(xd));
        one = 0.25;
        if (way < 2) bert_bce_backward(dx, probs, targets, g.weights, B, K, 0.25f);
        if (way == 2) bert_mse_backward(dx, x, targets, B * K, 0.25f);
        if (way == 3) bert_span_backward(dx, probs, spans, offsets, B, 0.25f);
        expect_gradient(names[way], f, xd, 0, n, dx, 0);
    }
    g.weights = NULL;
    done("bce, mse and span losses: forward and backward");
}

/* ------------------------------------------------------------------------------------------------
   Dropout */

static double deviations(double count, double n, double p)
{
    return fabs(count - n * p) / sqrt(n * p * (1 - p));
}

/* How far two masks are from being drawn independently, in standard deviations. */
static double dependence(const float *a, const float *b, size_t n, double p)
{
    double same = 0;
    for (size_t i = 0; i < n; i++) same += (a[i] != 0) == (b[i] != 0);
    return deviations(same, (double)n, p * p + (1 - p) * (1 - p));
}

static void test_dropout(void)
{
    enum { N = 240, C = 250, n = N * C };
    static const char *const parts[] = {"seed", "step", "layer", "site", "place"};
    static const float ps[] = {0.1f, 0.5f};
    int offsets[] = {0, N};
    float *ones = based(n, 1), *out = nans(n), *other = nans(n), *x = randoms(n, 1), *sum = nans(n);
    uint64_t *rows = rows_of(offsets, 1, 3), *moved = rows_of(offsets, 1, 4);
    for (int which = 0; which < 2; which++) {
        double p = ps[which], kept = 0, column[C] = {0};
        BertDropout drop = {ps[which], bert_dropout_key(1, 2, 3, 4), rows};
        bert_dropout_forward(out, ones, N, C, drop);
        for (int i = 0; i < n; i++) {
            kept += out[i] != 0, column[i % C] += out[i] != 0;
            expect(out[i] == 0 || fabs(out[i] * (1 - p) - 1) < 1e-6, "a kept 1 became %g", out[i]);
        }
        expect(deviations(kept, n, 1 - p) <= 4, "keeps %.0f of %d at p %g", kept, n, p);
        for (int c = 0; c < C; c++)
            expect(deviations(column[c], N, 1 - p) <= 5, "column %d: keeps %g", c, column[c]);
        expect(dependence(out, out + C, n - C, p) <= 5, "a row's mask resembles the next one's");
        expect(dependence(out, out + 1, n - 1, p) <= 5, "a channel's mask resembles the next's");
        bert_dropout_backward(other, x, N, C, drop);
        for (int i = 0; i < n; i++) expect(other[i] == x[i] * out[i], "backward's mask at %d", i);
        bert_residual_forward(sum, ones, x, N, C, drop);
        for (int i = 0; i < n; i++)
            expect(fabs(sum[i] - 1 - other[i]) <= 1e-6, "residual at %d is %g", i, sum[i]);
        memcpy(other, ones, n * sizeof *ones);
        bert_dropout_forward(other, other, N, C, drop);
        expect(same_bits(other, out, n * sizeof *out), "again, in place: other bits");
        for (int part = 0; part < 5; part++) {
            int d[5] = {0};
            d[part] = 1;
            drop.key = bert_dropout_key(1 + d[0], 2 + d[1], 3 + d[2], 4 + d[3]);
            drop.rows = d[4] ? moved : rows;
            bert_dropout_forward(other, ones, N, C, drop);
            expect(dependence(out, other, n, p) <= 5, "another %s, nearly the same mask",
                   parts[part]);
        }
    }
    bert_dropout_forward(out, x, N, C, off);
    expect(same_bits(out, x, n * sizeof *x), "p 0 changes values");
    done("dropout: keep rate, mean, independence; forward and backward draw the same mask");

    enum { T = 120, NH = 3, PAIRS = T * T };
    int two[] = {0, T, 2 * T};
    double kept = 0, same[3] = {0}, p = 0.2;
    uint64_t *tokens = rows_of(two, 2, 0);
    BertDropout drop = {0.2f, bert_dropout_key(1, 2, 3, 4), tokens};
    double *mask = attention_mask(two, 2, NH, drop);
    for (int q = 0; q < T; q++)
        for (int k = 0; k < T; k++) {
            const double *m = mask + q * 2 * T + k, *head = m + 2 * T * 2 * T,
                         *text = m + T * 2 * T + T;
            kept += *m > 0.5;
            expect(*m < 0.5 || fabs(*m * 0.8 - 1) < 1e-5, "a kept weight is multiplied by %g", *m);
            same[0] += (*m > 0.5) == (*head > 0.5), same[1] += (*m > 0.5) == (*text > 0.5);
            same[2] += (*m > 0.5) == (mask[k * 2 * T + q] > 0.5);
        }
    expect(deviations(kept, PAIRS, 1 - p) <= 4, "keeps %g of %d", kept, PAIRS);
    for (int i = 0; i < 2; i++) /* heads, sequences */
        expect(deviations(same[i], PAIRS, p * p + (1 - p) * (1 - p)) <= 5, "masks resemble: %d", i);
    expect(same[2] < 0.8 * PAIRS, "the mask is symmetric");
    done("attention dropout: keep rate; heads and sequences have masks of their own");
}

/* ------------------------------------------------------------------------------------------------
   Models and batches of any size */

static int labels_of(int task) { return bert_task(task)->most_K < 3 ? bert_task(task)->most_K : 3; }

static BertConfig small_config(void)
{
    BertConfig c = {0};
    c.V = 50, c.C = 20, c.L = 2, c.NH = 5, c.F = 37, c.P = 40, c.S = 2, c.K = 3;
    c.task = BERT_CLASSIFICATION, c.pooler = 1, c.eps = 1e-12f, c.init_range = 0.02f;
    c.cls_dropout = -1;
    return c;
}

static void build(Bert *m, BertConfig c)
{
    memset(m, 0, sizeof *m);
    if (bert_build(m, c)) {
        fprintf(stderr, "test_bert: %s\n", bert_error(m));
        exit(2);
    }
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *t = &m->tensors[i];
        int layernorm = strstr(t->key, "LayerNorm.weight") != NULL;
        fill(m->params_memory + t->offset, t->size, layernorm, c.C > 40 ? 0.1 : 0.3);
    }
}

/* What the task's loss is taken against, at random. */
static void random_labels(const Bert *m, BertBatch *x)
{
    const BertConfig *c = &m->config;
    int B = x->B, N = x->offsets[B], ner = c->task == BERT_NER, qa = c->task == BERT_QA;
    int *rows = get(N, sizeof *rows), *labels = get(2 * N + 2 * B, sizeof *labels), *next;
    float *targets = get((size_t)B * c->K + 1, sizeof *targets);
    next = get(B, sizeof *next);
    for (int n = 0; n < N; n++)
        if (bert_task(c->task)->reads & BERT_READS_MASKED && below(3) == 0) rows[x->R++] = n;
    int most = bert_task(c->task)->reads & BERT_READS_MASKED ? c->V : c->K > 0 ? c->K : 1;
    if (c->task == BERT_MULTIPLE_CHOICE) most = x->choices = B % 2 ? B : 2;
    for (int i = 0; i < 2 * N + 2 * B; i++) {
        int b = i / 2 % B;
        labels[i] = below(qa ? x->offsets[b + 1] - x->offsets[b] : most);
        if (ner && below(3) == 0) labels[i] = -1;
    }
    for (int i = 0; i < B * c->K; i++)
        targets[i] = c->task == BERT_REGRESSION ? (float)normal() : (float)below(2);
    for (int b = 0; b < B; b++) next[b] = below(2);
    if (x->R) x->rows = rows;
    if (bert_has_targets(c)) x->targets = targets;
    else if (c->task != BERT_NONE) x->labels = labels;
    if (c->task == BERT_PRETRAINING) x->next = next;
}

/* Random tokens and labels; tokens, types and offsets are one block of memory, at batch.tokens. */
static BertBatch random_batch(const Bert *m, const int *lengths, int B)
{
    BertBatch batch = {0};
    int N = 0, *p;
    for (int b = 0; b < B; b++) N += lengths[b];
    p = get(2 * N + B + 1, sizeof *p);
    batch.B = B, batch.tokens = p, batch.types = p + N, batch.offsets = p + 2 * N;
    for (int n = 0; n < N; n++) p[n] = below(m->config.V), p[N + n] = below(m->config.S);
    for (int b = 0; b < B; b++) p[2 * N + b + 1] = p[2 * N + b] + lengths[b];
    random_labels(m, &batch);
    return batch;
}

/* Returns the columns of the logits; *H: their rows. */
static int logits_shape(const Bert *m, int *H)
{
    *H = (int)bert_head_rows(m->config.task, m->B, m->N, m->R);
    return (int)bert_head_cols(&m->config);
}

static void step(Bert *m, const BertBatch *batch, int t)
{
    bert_zero_grad(m);
    must(m, bert_forward(m, batch, 1));
    must(m, bert_backward(m, 1));
    must(m,
         bert_adamw(m, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, t, bert_clip_scale(bert_grad_norm(m), 1)));
}

static const int lengths[] = {1, 2, 7, 23, 40, 8, 16, 3};
enum { BATCH = sizeof lengths / sizeof lengths[0] };

static void test_packed(void)
{
    for (int size = 0; size < 2; size++) {
        BertConfig c = small_config();
        Bert m, single = {0};
        int *lens = get(BATCH, sizeof *lens);
        if (size) c.C = 68, c.NH = 2, c.F = 300, c.P = 130;
        build(&m, c), build(&single, c);
        memcpy(single.params_memory, m.params_memory, m.num_parameters * sizeof(float));
        for (int b = 0; b < BATCH; b++) lens[b] = size ? lengths[b] * 3 : lengths[b];
        BertBatch batch = random_batch(&m, lens, BATCH);
        must(&m, bert_forward(&m, &batch, 0));
        for (int b = 0; b < BATCH; b++) {
            BertBatch one = part_of(&m, batch, b, b + 1);
            must(&single, bert_forward(&single, &one, 0));
            expect(same_bits(single.acts.logits, m.acts.logits + b * c.K, c.K * sizeof(float)) &&
                       same_bits(single.acts.qkv, m.acts.qkv + (size_t)batch.offsets[b] * 3 * c.C,
                                 (size_t)lens[b] * 3 * c.C * sizeof(float)),
                   "sequence %d of %d tokens has other bits by itself", b, lens[b]);
        }
        must(&single, bert_forward(&single, &batch, 1)); /* no dropout: training gives the same */
        expect(same_bits(single.acts.logits, m.acts.logits, BATCH * c.K * sizeof(float)),
               "training and inference have other bits");
        bert_free(&m), bert_free(&single);
    }
    done("a packed batch and its sequences one by one: the same bits");
}

static BertConfig dropout_config(void)
{
    BertConfig c = small_config();
    c.hidden_dropout = 0.1f, c.att_dropout = 0.2f, c.cls_dropout = 0.3f;
    return c;
}

static void test_threads(void)
{
    BertConfig c = dropout_config();
    Bert m[5];
    int most = 1;
#ifdef _OPENMP
    int threads = omp_get_max_threads();
    most = 4;
    omp_set_dynamic(0);
#endif
    c.C = 72, c.NH = 3, c.F = 150, c.V = 300; /* several blocks of everything */
    build(&m[0], c);
    BertBatch batch = random_batch(&m[0], lengths, BATCH);
    for (int i = 1; i <= most; i++) {
        build(&m[i], c);
        memcpy(m[i].params_memory, m[0].params_memory, m[0].num_parameters * sizeof(float));
#ifdef _OPENMP
        omp_set_num_threads(i);
#endif
        for (int t = 1; t <= 3; t++) batch.step = t, step(&m[i], &batch, t);
        size_t bytes = m[1].num_parameters * sizeof(float);
        expect(same_bits(&m[i].loss, &m[1].loss, sizeof m[1].loss) && isfinite(m[i].loss), "loss");
        expect(same_bits(m[i].grads_memory, m[1].grads_memory, bytes), "gradients, %d threads", i);
        expect(same_bits(m[i].params_memory, m[1].params_memory, bytes), "parameters, %d threads",
               i);
    }
#ifdef _OPENMP
    omp_set_num_threads(threads);
#endif
    done("1 to %d threads: the same bits in loss, gradients, parameters, with dropout", most);
    for (int i = 0; i <= most; i++) bert_free(&m[i]);
}

/* Every head: a step cut into micro-batches, with 1 thread and with 3. */
static void test_tasks(void)
{
    static const struct {
        const char *name;
        int task, K, multi_label, weights;
        float smoothing;
    } heads[] = {{"classification", BERT_CLASSIFICATION, 3, 0, 1, 0.1f},
                 {"multi-label", BERT_CLASSIFICATION, 4, 1, 1, 0},
                 {"regression", BERT_REGRESSION, 1, 0, 0, 0},
                 {"ner", BERT_NER, 5, 0, 1, 0.1f},
                 {"ner without weights", BERT_NER, 5, 0, 0, 0},
                 {"qa", BERT_QA, 0, 0, 0, 0},
                 {"mlm", BERT_MLM, 0, 0, 0, 0.1f},
                 {"pretraining", BERT_PRETRAINING, 0, 0, 0, 0},
                 {"multiple choice", BERT_MULTIPLE_CHOICE, 1, 0, 0, 0.1f}};
    static const float weights[] = {0.5f, 2, 1, 0.1f, 3};
    for (size_t h = 0; h < sizeof heads / sizeof heads[0]; h++) {
        BertConfig c = dropout_config();
        Bert m;
        int H, O;
        c.task = heads[h].task, c.K = heads[h].K, c.multi_label = heads[h].multi_label;
        c.V = 300;
        build(&m, c);
        BertBatch batch = random_batch(&m, lengths, BATCH), part;
        batch.seed = 7, batch.step = 3, batch.label_smoothing = heads[h].smoothing;
        batch.class_weights = heads[h].weights ? weights : NULL;
        must(&m, bert_forward(&m, &batch, 1));
        must(&m, bert_backward(&m, 1));
        O = logits_shape(&m, &H);
        size_t n = m.num_parameters, bytes = (size_t)H * O * sizeof(float);
        float *logits = get(1, bytes), *grads = get(n, sizeof *grads), *at = logits;
        double loss = m.loss, parts, divisor = bert_divisor(&m, &batch);
        int classifies = bert_task(c.task)->cols == BERT_COLS_K, dropped = 0;
        for (int i = 0; i < H * c.C && classifies; i++) dropped += m.acts.headx[i] == 0;
        expect(classifies == (dropped > 0), "classifier_dropout: %d of %d", dropped, H * c.C);
        memcpy(logits, m.acts.logits, bytes);
        memcpy(grads, m.grads_memory, n * sizeof *grads);
        expect(isfinite(loss) && loss > 0 && bert_grad_norm(&m) > 0, "loss %g", loss);
        for (int i = 1, by; i <= 3; i += 2) {
            by = i * (batch.choices ? batch.choices : 1); /* whole examples */
            bert_zero_grad(&m);
            parts = 0, at = logits;
            for (int b = 0; b < BATCH; b += by) {
                part = part_of(&m, batch, b, b + by < BATCH ? b + by : BATCH);
                part.divisor = divisor, part.next_divisor = BATCH;
                must(&m, bert_forward(&m, &part, 1));
                must(&m, bert_backward(&m, 1));
                parts += m.loss;
                logits_shape(&m, &H);
                expect(same_bits(m.acts.logits, at, (size_t)H * O * sizeof *at),
                       "sequence %d has other logits in a micro-batch of %d", b, by);
                at += H * O;
            }
            expect(fabs(parts - loss) <= 1e-6 * loss, "losses of %d: %.9g, %.9g", by, parts, loss);
            double d = apart_f(m.grads_memory, grads, n);
            expect(d <= 1e-5, "the gradients of micro-batches of %d: %.1e", by, d);
        }
#ifdef _OPENMP
        int threads = omp_get_max_threads();
        omp_set_num_threads(3);
        bert_zero_grad(&m);
        must(&m, bert_forward(&m, &batch, 1));
        must(&m, bert_backward(&m, 1));
        expect(same_bits(m.grads_memory, grads, n * sizeof *grads), "other bits on 3 threads");
        omp_set_num_threads(threads);
#endif
        done("%s: micro-batches add up to the step, the same bits on 3 threads", heads[h].name);
        bert_free(&m);
    }
}

/* What a task's loss has nothing to say about. */
static void test_no_loss(void)
{
    BertConfig c = small_config();
    Bert m;
    BertBatch batch;
    float out[BATCH * 20];
    c.task = BERT_NER, c.hidden_dropout = 0;
    build(&m, c);
    batch = random_batch(&m, lengths, BATCH);
    int *none = get(batch.offsets[BATCH], sizeof *none);
    for (int n = 0; n < batch.offsets[BATCH]; n++) none[n] = -1;
    batch.labels = none;
    must(&m, bert_forward(&m, &batch, 1));
    must(&m, bert_backward(&m, 1));
    expect(m.loss == 0 && bert_grad_norm(&m) == 0, "no label: loss %g", m.loss);
    float pool = m.params.poolw[7], cls = m.params.clsw[7];
    must(&m, bert_adamw(&m, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 1, 1));
    expect(m.params.poolw[7] == pool && m.params.clsw[7] != cls,
           "ner: the pooler, which it does not read, decays, or the head does not");
    expect(bert_embed(&m, out, BERT_POOL_POOLER, 0) < 0, "ner has no pooled rows");
    must(&m, bert_embed(&m, out, BERT_POOL_MEAN, 1));
    must(&m, bert_set_task(&m, BERT_MLM, 0, 0, NULL, 1));
    expect(m.params.poolw && m.params.poolw[7] == pool, "bert_set_task loses the pooler");
    expect(bert_embed(&m, out, BERT_POOL_CLS, 0) < 0, "an embedding without a forward");
    batch = random_batch(&m, lengths, BATCH);
    batch.R = 0;
    must(&m, bert_forward(&m, &batch, 1));
    must(&m, bert_backward(&m, 1));
    expect(m.loss == 0 && bert_grad_norm(&m) == 0, "no masked row: loss %g", m.loss);
    must(&m, bert_set_task(&m, BERT_PRETRAINING, 0, 0, NULL, 1));
    batch = random_batch(&m, lengths, BATCH);
    batch.R = 0, batch.labels = NULL;
    must(&m, bert_forward(&m, &batch, 1));
    must(&m, bert_backward(&m, 1));
    expect(m.loss > 0 && m.grads.nspw[3] != 0 && m.grads.mlmw[3] == 0, "NSP alone: %g", m.loss);
    must(&m, bert_set_task(&m, BERT_REGRESSION, 1, 0, NULL, 1));
    batch = random_batch(&m, lengths, BATCH);
    must(&m, bert_forward(&m, &batch, 0));
    expect(bert_embed(&m, out, BERT_POOL_MEAN, 0) < 0, "regression has no rows but [CLS]");
    must(&m, bert_embed(&m, out, BERT_POOL_CLS, 0));
    expect(same_bits(out, m.acts.ln2, sizeof out), "[CLS]");
    must(&m, bert_embed(&m, out, BERT_POOL_POOLER, 0));
    expect(same_bits(out, m.acts.pooled, sizeof out), "the pooler");
    bert_free(&m);
    done("batches without a label, a pooler without a use, embeddings of other tasks");
}

static void test_model_dropout(void)
{
    BertConfig c = dropout_config();
    Bert m;
    int K = c.K;
    build(&m, c);
    BertBatch batch = random_batch(&m, lengths, BATCH), two = batch, part;
    batch.seed = 7, batch.step = 3;
    must(&m, bert_forward(&m, &batch, 1));
    must(&m, bert_backward(&m, 1));
    size_t n = m.num_parameters;
    float *logits = get(BATCH * K, sizeof *logits), *grads = get(n, sizeof *grads);
    memcpy(logits, m.acts.logits, BATCH * K * sizeof *logits);
    memcpy(grads, m.grads_memory, n * sizeof *grads);
    for (int by = 1; by <= 3; by += 2) { /* the step in micro-batches */
        bert_zero_grad(&m);
        for (int b = 0; b < BATCH; b += by) {
            int to = b + by < BATCH ? b + by : BATCH;
            part = part_of(&m, batch, b, to);
            must(&m, bert_forward(&m, &part, 1));
            must(&m, bert_backward(&m, (float)(to - b) / BATCH));
            expect(same_bits(m.acts.logits, logits + b * K, (to - b) * K * sizeof *logits),
                   "sequence %d in a micro-batch of %d draws another mask", b, to - b);
        }
        expect(apart_f(m.grads_memory, grads, n) <= 1e-5, "the gradients of micro-batches");
    }
    two = batch, two.step++;
    must(&m, bert_forward(&m, &two, 1));
    expect(!same_bits(m.acts.logits, logits, BATCH * K * sizeof *logits),
           "another step, same bits");
    must(&m, bert_forward(&m, &two, 0));
    part = part_of(&m, batch, 1, BATCH);
    must(&m, bert_forward(&m, &part, 0));
    done("dropout in the model: micro-batches draw the masks of the whole step");

    static const char *const names[] = {"hidden", "attention", "classifier"};
    for (int which = 0; which < 3; which++) { /* each dropout by itself reaches what it should */
        BertConfig *p = &m.config;
        p->hidden_dropout = which == 0 ? 0.3f : 0, p->att_dropout = which == 1 ? 0.3f : 0;
        p->cls_dropout = which == 2 ? 0.3f : 0;
        size_t N = batch.offsets[BATCH], zeros[3] = {0};
        must(&m, bert_forward(&m, &batch, 0));
        float *atty = get(N * c.C, sizeof *atty);
        must(&m, bert_forward(&m, &batch, 1));
        for (size_t i = 0; i < N * c.C; i++) zeros[0] += m.acts.ln0[i] == 0;
        for (int b = 0; b < BATCH; b++) {
            const float *v = m.acts.qkv + batch.offsets[b] * 3 * c.C + 2 * c.C;
            for (int i = 0; i < c.C; i++) {
                zeros[2] += m.acts.headx[b * c.C + i] == 0;
                if (lengths[b] == 1) /* one key: its weight is 1, dropped it is 0 or 1 / 0.7 */
                    zeros[1] += m.acts.atty[batch.offsets[b] * c.C + i] != v[i];
            }
        }
        for (int i = 0; i < 3; i++)
            expect((zeros[i] > 0) == (i == which), "%s dropout alone: %s shows %zu", names[which],
                   names[i], zeros[i]);
        if (which == 2) {
            int rows = 0;
            for (int b = 1; b < BATCH; b++)
                for (int i = 0; i < c.C; i++)
                    rows += (m.acts.headx[i] == 0) != (m.acts.headx[b * c.C + i] == 0);
            expect(rows > 0, "the classifier's mask is the same for every sequence");
            p->cls_dropout = -1, p->hidden_dropout = 0.3f; /* null: as hidden */
            must(&m, bert_forward(&m, &batch, 1));
            zeros[0] = 0;
            for (int i = 0; i < BATCH * c.C; i++) zeros[0] += m.acts.headx[i] == 0;
            expect(zeros[0] > 0, "classifier_dropout null is not hidden_dropout");
        }
    }
    done("dropout in the model: hidden, attention and classifier, each at its place");
    bert_free(&m);
}

/* Along each tensor's own gradient the loss has to rise at the gradient's length. Two step sizes
   cancel the third derivative, and forward and backward must draw the same masks. */
static void test_whole_gradient(void)
{
    for (int act = 0; act < 3; act++) {
        BertConfig c = dropout_config();
        Bert m;
        double worst = 0;
        c.act = act;
        build(&m, c);
        BertBatch batch = random_batch(&m, lengths, BATCH);
        batch.seed = 11;
        must(&m, bert_forward(&m, &batch, 1));
        must(&m, bert_backward(&m, 1));
        float *start = get(m.num_parameters, sizeof *start);
        memcpy(start, m.params_memory, m.num_parameters * sizeof *start);
        for (int t = 0; t < BERT_NUM_TENSORS; t++) {
            const float *grad = m.grads_memory + m.tensors[t].offset;
            float *p = m.params_memory + m.tensors[t].offset, *p0 = start + m.tensors[t].offset;
            size_t n = m.tensors[t].size;
            double norm = 0, slope[2], loss[2];
            for (size_t i = 0; i < n; i++) norm += (double)grad[i] * grad[i];
            norm = sqrt(norm);
            for (int k = 0; k < 2 && norm > 0; k++) {
                double h = k ? 0.01 : 0.02;
                for (int sign = 0; sign < 2; sign++) {
                    for (size_t i = 0; i < n; i++)
                        p[i] = (float)(p0[i] + (sign ? h : -h) * grad[i] / norm);
                    must(&m, bert_forward(&m, &batch, 1));
                    loss[sign] = 0; /* in double: m.loss has but 24 bits */
                    for (int b = 0; b < BATCH; b++) {
                        double x[8];
                        for (int i = 0; i < c.K; i++) x[i] = m.acts.logits[b * c.K + i];
                        loss[sign] += crossentropy_oracle(x, batch.labels[b], c.K) / BATCH;
                    }
                }
                slope[k] = (loss[1] - loss[0]) / (2 * h);
            }
            memcpy(p, p0, n * sizeof *p);
            if (n && act < 2) { /* relu's kinks would need smaller steps */
                double d = fabs((4 * slope[1] - slope[0]) / 3 - norm) / norm;
                expect(d <= 3e-3, "%s: off by %.1e", m.tensors[t].name, d);
                worse(&worst, d);
            } else if (n) expect(fabs(slope[1] - norm) / norm <= 0.1, "%s: off", m.tensors[t].name);
        }
        done("whole model with dropout, act %d: gradients against differences of the loss", act);
        bert_free(&m);
    }
}

static void test_nan(void)
{
    static const char *const at[] = {"wte", "qkvw", "fcw", "ln2b", "clsb"};
    for (int i = 0; i < 5; i++) {
        Bert m;
        build(&m, small_config());
        BertBatch batch = random_batch(&m, lengths, BATCH);
        for (int t = 0; t < BERT_NUM_TENSORS; t++)
            if (!strcmp(m.tensors[t].name, at[i]))
                m.params_memory[m.tensors[t].offset + (t ? 0 : batch.tokens[3] * m.config.C)] = NAN;
        must(&m, bert_forward(&m, &batch, 1));
        must(&m, bert_backward(&m, 1));
        expect(isnan(m.loss), "NaN in %s: the loss is %g", at[i], m.loss);
        expect(isnan(bert_grad_norm(&m)), "NaN in %s: the gradient norm is not", at[i]);
        bert_free(&m);
    }
    done("NaN in a parameter is seen in loss and gradient norm");
}

static void expect_bad(Bert *m, const char *name, int layer)
{
    int l = 99;
    const char *bad = bert_not_finite(m, &l);
    expect(bad && !strcmp(bad, name) && l == layer, "%s of layer %d, not %s of %d",
           bad ? bad : "none", l, name, layer);
}

/* Each tensor in each layer; each activation that can overflow of finite ones; gradients; with
   checkpointing and at inference, where most layers' activations are gone. */
static void test_not_finite(void)
{
    for (int way = 0; way < 3; way++) { /* kept, checkpointing, inference */
        Bert m;
        BertConfig c = small_config();
        int l;
        c.L = 3;
        build(&m, c);
        expect(!bert_not_finite(&m, &l), "before a forward");
        BertBatch batch = random_batch(&m, lengths, BATCH);
        m.checkpointing = way == 1;
        must(&m, bert_forward(&m, &batch, way < 2));
        expect(!bert_not_finite(&m, &l), "all is finite");
        for (int i = 0; i < BERT_NUM_TENSORS; i++)
            for (int k = 0; k < (int)m.tensors[i].layers && m.tensors[i].size; k++) {
                const BertTensor *t = &m.tensors[i];
                float *last = m.params_memory + t->offset + (k + 1) * t->rows * t->cols - 1;
                const float was = *last, bad[] = {NAN, INFINITY, -INFINITY};
                *last = bad[i % 3];
                expect_bad(&m, t->name, t->group == BERT_GROUP_HEAD ? 3 : t->layers > 1 ? k : -1);
                *last = was;
            }
        const size_t one = (size_t)c.C * 3 * c.C; /* of qkvw */
        const struct {
            float *at;
            const char *name, *kept;
            int layer;
        } rows[] = {{m.params.wte, "emb", "emb", -1},
                    {m.params.qkvw + one, "qkv", "ln2", 1},
                    {m.params.fcw + 2 * (size_t)c.F * c.C, "fch", "fch", 2},
                    {m.params.clsw, "logits", "logits", 3}};
        for (int i = 0; i < 4; i++) {
            const int gone = way > 0 && i == 1; /* found in what is left: ln2, or what is above */
            float was[64];
            memcpy(was, rows[i].at, c.C * sizeof *was);
            for (int k = 0; k < c.C; k++) rows[i].at[k] = k % 2 ? 3e38f : -3e38f;
            if (!i) memcpy(m.params.wpe, m.params.wte, c.C * sizeof(float));
            BertBatch zeros = batch;
            int *tokens = get(batch.offsets[BATCH], sizeof *tokens);
            if (!i) zeros.tokens = tokens;
            must(&m, bert_forward(&m, &zeros, way < 2));
            if (gone && way == 2) expect_bad(&m, "qkv", 2);
            else expect_bad(&m, gone ? rows[i].kept : rows[i].name, rows[i].layer);
            memcpy(rows[i].at, was, c.C * sizeof *was);
            if (!i) memset(m.params.wpe, 0, c.C * sizeof(float));
        }
        must(&m, bert_forward(&m, &batch, 1) || bert_backward(&m, 1));
        expect(!bert_not_finite(&m, &l), "all gradients are finite");
        m.grads.fcb[c.F] = INFINITY, m.grads.wpe[0] = NAN;
        expect_bad(&m, "fcb", 1);
        m.grads.fcb[c.F] = 0;
        expect_bad(&m, "wpe", -1);
        must(&m, bert_backward(&m, INFINITY));
        expect_bad(&m, "poolw", 3);
        bert_free(&m);
    }
    done("bert_not_finite: the first tensor, activation or gradient with a NaN or an infinity");
}

/* ------------------------------------------------------------------------------------------------
   Optimizer, table, task */

static int has_decay(const char *key)
{ /* the usual groups: no biases, no LayerNorm */
    size_t n = strlen(key);
    return !strstr(key, "LayerNorm") && (n < 4 || strcmp(key + n - 4, "bias"));
}

static void test_adamw(void)
{
    static const float hyper[][6] = {{1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 0},
                                     {1e-2f, 0.8f, 0.95f, 1e-3f, 0.0f, 1},
                                     {1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.5f}};
    for (int set = 0; set < 3; set++) {
        const float *h = hyper[set];
        double beta1 = h[1], beta2 = h[2], eps = h[3], norm = 0;
        Bert m;
        build(&m, small_config());
        m.lr_decay = h[5];
        size_t n = m.num_parameters;
        double *p = doubles(m.params_memory, n), *m1 = get(n, sizeof *m1), *v = get(n, sizeof *v);
        double *g = get(n, sizeof *g);
        for (int t = 1; t <= 10; t++) { /* other tokens each time: rows of wte rest in between */
            BertBatch batch = random_batch(&m, lengths + t % 3, 2);
            must(&m, bert_forward(&m, &batch, 1));
            must(&m, bert_backward(&m, 1));
            norm = 0;
            for (size_t i = 0; i < n; i++) g[i] = m.grads_memory[i], norm += g[i] * g[i];
            expect(fabs(bert_grad_norm(&m) / sqrt(norm) - 1) < 1e-6, "norm");
            must(&m, bert_adamw(&m, h[0], h[1], h[2], h[3], h[4], t, 0.5f));
            for (int k = 0; k < BERT_NUM_TENSORS; k++) {
                const BertTensor *row = &m.tensors[k];
                for (size_t i = row->offset; i < row->offset + row->size; i++) {
                    double grad = 0.5 * g[i], lr = h[0];
                    size_t layer = (i - row->offset) / (row->rows * row->cols), below = 0;
                    if (strstr(row->key, "%d")) below = m.config.L - layer;
                    if (strstr(row->key, ".embeddings.")) below = m.config.L + 1;
                    for (; below > 0 && h[5] > 0; below--) lr *= h[5];
                    expect(m.grads_memory[i] == 0, "a gradient was left behind");
                    p[i] -= has_decay(row->key) ? lr * h[4] * p[i] : 0;
                    m1[i] = beta1 * m1[i] + (1 - beta1) * grad;
                    v[i] = beta2 * v[i] + (1 - beta2) * grad * grad;
                    p[i] -= lr * (m1[i] / (1 - pow(beta1, t))) /
                            (sqrt(v[i] / (1 - pow(beta2, t))) + eps);
                }
            }
        }
        expect(apart(m.params_memory, p, n) <= 1e-6, "parameters: %.1e",
               apart(m.params_memory, p, n));
        expect(apart(m.m_memory, m1, n) <= 1e-5, "m: %.1e", apart(m.m_memory, m1, n));
        expect(apart(m.v_memory, v, n) <= 1e-5, "v: %.1e", apart(m.v_memory, v, n));
        bert_free(&m);
    }
    done("AdamW: 10 steps of three settings, one with a rate for each layer, against double");
}

/* Frozen tensors have no gradient and do not move; the others have the gradients as ever. */
static void test_freeze(void)
{
    for (int set = 0; set < 4; set++) {
        int layers = set == 0 ? 0 : set == 3 ? 99 : 1, embeddings = set != 1;
        Bert all, m;
        BertConfig c = small_config();
        build(&all, c);
        build(&m, c);
        memcpy(m.params_memory, all.params_memory, m.num_parameters * sizeof(float));
        m.freeze_layers = layers, m.freeze_embeddings = embeddings;
        BertBatch batch = random_batch(&m, lengths, BATCH);
        must(&all, bert_forward(&all, &batch, 1) || bert_backward(&all, 1));
        must(&m, bert_forward(&m, &batch, 1) || bert_backward(&m, 1));
        for (int i = 0; i < BERT_NUM_TENSORS; i++) {
            const BertTensor *t = &m.tensors[i];
            int frozen = strstr(t->key, ".embeddings.") ? embeddings : 0;
            for (size_t j = 0; j < t->size; j++) {
                size_t at = t->offset + j;
                if (strstr(t->key, "%d")) frozen = j / (t->rows * t->cols) < (size_t)layers;
                expect(m.grads_memory[at] == (frozen ? 0 : all.grads_memory[at]),
                       "%d layers, embeddings %d: gradient %zu of %s", layers, embeddings, j,
                       t->name);
            }
        }
        must(&m, bert_adamw(&m, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 1, 1.0f));
        for (int i = 0; i < BERT_NUM_TENSORS; i++) {
            const BertTensor *t = &m.tensors[i];
            size_t layer = t->rows * t->cols * sizeof(float), moved = 0;
            int parts = strstr(t->key, "%d") ? (int)t->layers : t->size > 0;
            for (int l = 0; l < parts; l++) {
                size_t at = t->offset + l * layer / sizeof(float);
                int frozen = parts > 1 || strstr(t->key, "%d") ? l < layers
                             : strstr(t->key, ".embeddings.")  ? embeddings
                                                               : 0;
                moved = memcmp(m.params_memory + at, all.params_memory + at, layer) != 0;
                expect(moved == !frozen, "%s, layer %d: frozen %d, moved %d", t->name, l, frozen,
                       (int)moved);
            }
        }
        bert_free(&all);
        bert_free(&m);
    }
    done("frozen layers and embeddings: no gradient, no step; the others' gradients as ever");
}

/* What bert_backward has told of, in order, and the gradients as they were then. */
typedef struct {
    const Bert *m;
    int count, groups[8], layers[8];
    float *then[8];
} Told;

static void note_gradients(void *user, int group, int layer)
{
    Told *t = (Told *)user;
    if (!expect(t->count < 8, "told too often")) return;
    t->groups[t->count] = group, t->layers[t->count] = layer;
    t->then[t->count] = get(t->m->num_parameters, sizeof(float));
    memcpy(t->then[t->count++], t->m->grads_memory, t->m->num_parameters * sizeof(float));
}

/* A group's gradients do not change after its call; frozen ones have none. */
static void test_on_gradients(void)
{
    for (int frozen = 0; frozen < 3; frozen++) {
        Bert m;
        BertConfig c = small_config();
        c.task = frozen ? BERT_CLASSIFICATION : BERT_PRETRAINING, c.K = frozen ? 3 : 0;
        build(&m, c);
        Told told = {&m, 0, {0}, {0}, {0}};
        m.freeze_layers = frozen, m.freeze_embeddings = frozen == 2;
        m.on_gradients = note_gradients, m.user = &told;
        must(&m, bert_set_task(&m, c.task, c.K, 0, NULL, 1)); /* keeps them */
        BertBatch batch = random_batch(&m, lengths, BATCH);
        must(&m, bert_forward(&m, &batch, 1) || bert_backward(&m, 1));
        int at = 0;
        expect(told.groups[at++] == BERT_GROUP_HEAD, "the head is not first");
        for (int l = c.L - 1; l >= frozen; l--, at++)
            expect(told.groups[at] == BERT_GROUP_LAYER && told.layers[at] == l, "layer %d", l);
        if (frozen < 2) expect(told.groups[at++] == BERT_GROUP_EMBEDDINGS, "embeddings not last");
        expect(told.count == at, "%d calls, not %d", told.count, at);
        for (int k = 0; k < told.count; k++)
            for (int i = 0; i < BERT_NUM_TENSORS; i++) {
                const BertTensor *t = &m.tensors[i];
                size_t part = t->rows * t->cols, from = t->offset + told.layers[k] * part;
                if (t->group == told.groups[k] && t->size)
                    expect(!memcmp(told.then[k] + from, m.grads_memory + from, part * 4),
                           "%s changes after call %d", t->name, k);
            }
        for (int n = 0; n < m.N && frozen < 2; n++)
            expect(m.seen[m.batch.tokens[n]], "a token's row of wte is not seen");
        bert_free(&m);
    }
    done("on_gradients: head, layers, embeddings, each when its gradients are done");
}

static void test_schedule_and_clip(void)
{
    static const long cases[][4] = {{0, 4, 24, 0},    {1, 4, 24, 250},  {4, 4, 24, 1000},
                                    {14, 4, 24, 500}, {23, 4, 24, 50},  {24, 4, 24, 0},
                                    {99, 4, 24, 0},   {0, 0, 10, 1000}, {9, 0, 10, 100},
                                    {3, 10, 5, 300},  {0, 0, 0, 0},     {5, 5, 5, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const long *c = cases[i];
        float f = bert_linear_schedule(c[0], c[1], c[2]);
        expect(fabsf(f - (float)c[3] / 1000) < 1e-6f, "step %ld of (%ld, %ld): %g", c[0], c[1],
               c[2], f);
    }
    done("schedule: transformers' linear warmup and decay");
    expect(bert_clip_scale(5, 0) == 1 && bert_clip_scale(0, 1) == 1 &&
               bert_clip_scale(0.5f, 1) == 1,
           "small norms, or max_norm 0");
    expect(fabs(bert_clip_scale(4, 1) - 1 / 4.000001) < 1e-7, "norm 4: %g", bert_clip_scale(4, 1));
    expect(bert_clip_scale(INFINITY, 1) == 0, "inf gives %g, torch 0",
           bert_clip_scale(INFINITY, 1));
    expect(isnan(bert_clip_scale(NAN, 1)), "NaN gives %g", bert_clip_scale(NAN, 1));
    done("clipping: torch's clip_grad_norm_, max_norm 0, inf and NaN");
}

static void test_table(void)
{
    for (int task = 0; task < BERT_NUM_TASKS; task++) {
        BertConfig c = small_config();
        Bert m = {0};
        size_t at = 0;
        c.task = task, c.pooler = !task || bert_task(task)->reads & BERT_READS_CLS;
        c.K = labels_of(task);
        expect(!bert_build(&m, c), "task %d: %s", task, bert_error(&m));
        for (int i = 0; i < BERT_NUM_TENSORS; i++) {
            const BertTensor *t = &m.tensors[i];
            expect(t->offset == at, "%s begins at %zu, not %zu", t->name, t->offset, at);
            expect(t->size == 0 || t->size == t->layers * t->rows * t->cols, "%s: size", t->name);
            expect(t->layers == 1 || t->layers == (size_t)c.L, "%s: layers", t->name);
            expect(t->decay == has_decay(t->key), "%s: decay %d", t->name, t->decay);
            expect((t->layers > 1) == (strstr(t->key, "%d") != NULL), "%s: %s", t->name, t->key);
            for (int j = 0; j < i; j++)
                expect(strcmp(t->key, m.tensors[j].key), "%s appears twice", t->key);
            at += t->size;
        }
        expect(at == m.num_parameters, "task %d: %zu parameters, %zu in the table", task,
               m.num_parameters, at);
        expect(m.params.wte == m.params_memory, "wte");
        expect((m.params.poolw != NULL) == c.pooler, "task %d: pooler", task);
        expect((m.params.clsw != NULL) == (bert_task(task)->most_K > 0), "task %d: classifier",
               task);
        expect((m.params.qaw != NULL) == (task == BERT_QA), "task %d: qa", task);
        expect((m.params.mlmw != NULL) == (task == BERT_MLM || task == BERT_PRETRAINING),
               "task %d: mlm", task);
        expect((m.params.nspw != NULL) == (task == BERT_PRETRAINING), "task %d: nsp", task);
        bert_free(&m);
    }
    done("tensor table: offsets, sizes, decay groups and heads of every task");
}

static void test_set_task(void)
{
    BertConfig c = small_config();
    uint64_t offsets[] = {0, 3, 3, 5};
    char bytes[] = "badok";
    BertStrings names = {3, offsets, bytes};
    Bert m;
    float sum = 0, squares = 0;
    c.V = 300, c.C = 40, c.task = BERT_NONE, c.pooler = 0, c.K = 0;
    build(&m, c);
    size_t encoder = m.num_parameters;
    float *before = get(encoder, sizeof *before), *drawn = get(300 * 40, sizeof *drawn);
    memcpy(before, m.params_memory, encoder * sizeof *before);
    must(&m, bert_set_task(&m, BERT_CLASSIFICATION, 300, 0, NULL, 5));
    expect(m.config.K == 300 && m.config.task == BERT_CLASSIFICATION && m.config.pooler, "config");
    expect(same_bits(m.params_memory, before, encoder * sizeof *before), "the encoder changed");
    for (int i = 0; i < 300 * 40; i++)
        sum += m.params.clsw[i], squares += m.params.clsw[i] * m.params.clsw[i];
    expect(fabsf(sum / 12000) < 4 * 0.02f / 109, "mean of the head %g", sum / 12000);
    expect(fabsf(sqrtf(squares / 12000) - 0.02f) < 4 * 0.02f / 155, "deviation of the head %g",
           sqrtf(squares / 12000));
    for (squares = 0, sum = 0, c.K = 0; c.K < 40 * 40; c.K++)
        squares += m.params.poolw[c.K] * m.params.poolw[c.K];
    expect(fabsf(sqrtf(squares / 1600) - 0.02f) < 0.002f, "deviation of the pooler");
    for (int i = 0; i < 300; i++) expect(m.params.clsb[i] == 0, "clsb[%d]", i);
    for (int i = 0; i < 40; i++) expect(m.params.poolb[i] == 0, "poolb[%d]", i);
    memcpy(drawn, m.params.clsw, 12000 * sizeof *drawn);
    must(&m, bert_set_task(&m, BERT_CLASSIFICATION, 3, 0, &names, 6));
    expect(m.labels.count == 3 && m.labels.offsets[3] == 5 && !memcmp(m.labels.bytes, bytes, 5),
           "label names");
    expect(same_bits(m.params_memory, before, encoder * sizeof *before), "the encoder changed");
    must(&m, bert_set_task(&m, BERT_CLASSIFICATION, 300, 0, NULL, 5));
    expect(same_bits(drawn, m.params.clsw, 12000 * sizeof *drawn), "the same seed, another head");
    must(&m, bert_set_task(&m, BERT_CLASSIFICATION, 200, 0, NULL, 6));
    expect(!same_bits(drawn, m.params.clsw, 800 * sizeof *drawn), "another seed, the same head");
    expect(bert_set_task(&m, 99, 2, 0, NULL, 1) == BERT_EINPUT &&
               bert_set_task(&m, 1, -2, 0, NULL, 1) == BERT_EINPUT,
           "nonsense");
    expect(m.config.K == 200 && m.params.clsw, "a refused head leaves the model as it was");
    BertBatch batch = random_batch(&m, lengths, 3);
    step(&m, &batch, 1);
    m.freeze_layers = m.freeze_embeddings = m.checkpointing = m.bf16 = 1, m.lr_decay = 0.5;
    must(&m, bert_set_task(&m, BERT_CLASSIFICATION, 4, 0, NULL, 5));
    Bert copy = {0};
    must(&copy, bert_share(&copy, &m));
    for (const Bert *x = &m; x; x = x == &m ? &copy : NULL)
        expect(x->freeze_layers && x->freeze_embeddings && x->checkpointing && x->bf16 &&
                   x->lr_decay == 0.5,
               "settings are lost in %s", x == &m ? "bert_set_task" : "bert_share");
    bert_free(&copy);
    expect(!m.grads_memory && !m.m_memory && !m.v_memory, "the optimizer's state stayed");
    expect(bert_backward(&m, 1), "a backward without a forward");
    done("bert_set_task: keeps the encoder, draws head and pooler");
    bert_free(&m);
}

/* ------------------------------------------------------------------------------------------------
   Against PyTorch: the records of dev/check/reference.py, which describes them */

typedef struct {
    char name[88];
    int32_t type, count;
    const void *data;
} Record;

static Record *records;
static int num_records;

static unsigned char *read_records(const char *path)
{
    size_t size, at = 0;
    unsigned char *data = read_file(path, &size);
    records = get(4096, sizeof *records);
    for (num_records = 0; at + 96 <= size && num_records < 4096; num_records++) {
        Record *r = &records[num_records];
        memcpy(r, data + at, 96);
        r->data = data + at + 96;
        at += 96 + (size_t)r->count * 4;
    }
    expect(at == size && size > 0, "%s is damaged", path);
    return data;
}

static const Record *find_record(const char *name)
{
    for (int i = 0; i < num_records; i++)
        if (!strcmp(records[i].name, name)) return &records[i];
    return NULL;
}

static const void *record(size_t count, const char *format, ...)
{
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const Record *r = find_record(name);
    if (!expect(r != NULL, "no record %s", name)) return NULL;
    if (count &&
        !expect((size_t)r->count == count, "%s: %d values, not %zu", name, r->count, count))
        return NULL;
    return r->data;
}

/* A field of batch b, or NULL where it has none; n: how many values. */
static const void *field(int b, const char *what, int *n)
{
    char name[64];
    snprintf(name, sizeof name, "batch.%d.%s", b, what);
    const Record *r = find_record(name);
    *n = r ? r->count : 0;
    return r ? r->data : NULL;
}

static BertBatch recorded_batch(int b)
{
    BertBatch batch = {0};
    int n;
    batch.offsets = field(b, "offsets", &n), batch.B = n - 1;
    batch.tokens = record(batch.offsets[batch.B], "batch.%d.tokens", b);
    batch.types = record(batch.offsets[batch.B], "batch.%d.types", b);
    batch.labels = field(b, "labels", &n);
    batch.next = field(b, "next", &n);
    batch.rows = field(b, "rows", &batch.R);
    const int *choices = field(b, "choices", &n);
    if (choices) batch.choices = *choices;
    batch.targets = field(b, "targets", &n);
    batch.class_weights = field(b, "class_weights", &n);
    const float *smoothing = field(b, "label_smoothing", &n);
    if (smoothing) batch.label_smoothing = *smoothing;
    return batch;
}

/* Rows of an activation against its record; rows: which of the record's n were computed (the last
   layer's [CLS] rows), NULL: all. */
static const int *rows;
static int num_rows;

static void compare_act(double *worst, const float *got, const char *name, int layer, int N,
                        int width, int stride)
{
    int n = rows ? num_rows : N;
    float *x = get((size_t)n * width, sizeof *x), *y = get((size_t)n * width, sizeof *y);
    const float *want = layer < 0 ? record((size_t)N * width, "act.%s", name)
                                  : record((size_t)N * width, "act.%d.%s", layer, name);
    for (int i = 0; i < n && want; i++) {
        memcpy(x + (size_t)i * width, got + (size_t)i * stride, width * sizeof *x);
        memcpy(y + (size_t)i * width, want + (size_t)(rows ? rows[i] : i) * width,
               width * sizeof *y);
    }
    double d = want ? apart_f(x, y, (size_t)n * width) : NAN;
    worse(worst, d);
    expect(d <= 1e-5, "act.%d.%s is off by %.1e", layer, name, d);
}

static double compare_acts(Bert *m)
{
    const BertActs *a = &m->acts;
    int N = m->N, C = m->config.C, F = m->config.F;
    double worst = 0;
    compare_act(&worst, a->emb, "emb", -1, N, C, C);
    compare_act(&worst, a->ln0, "ln0", -1, N, C, C);
    for (int l = 0; l < m->config.L; l++) {
        BertActs x = bert_layer_acts(m, l, NULL);
        compare_act(&worst, x.qkv, "query", l, N, C, 3 * C);
        compare_act(&worst, x.qkv + C, "key", l, N, C, 3 * C);
        compare_act(&worst, x.qkv + 2 * C, "value", l, N, C, 3 * C);
        compare_act(&worst, x.atty, "atty", l, N, C, C);
        int cls_only = l == m->config.L - 1 && bert_task(m->config.task)->reads == BERT_READS_CLS;
        rows = cls_only ? m->batch.offsets : NULL, num_rows = m->B;
        compare_act(&worst, x.res1, "res1", l, N, C, C);
        compare_act(&worst, x.ln1, "ln1", l, N, C, C);
        compare_act(&worst, x.fch, "fch", l, N, F, F);
        compare_act(&worst, x.fcact, "gelu", l, N, F, F);
        compare_act(&worst, x.res2, "res2", l, N, C, C);
        compare_act(&worst, x.ln2, "ln2", l, N, C, C);
    }
    rows = NULL;
    if (m->config.pooler) compare_act(&worst, a->pooled, "pooled", -1, m->B, C, C);
    if (m->R) {
        compare_act(&worst, a->mlmh, "mlmh", -1, m->R, C, C);
        compare_act(&worst, a->mlmact, "mlmact", -1, m->R, C, C);
        compare_act(&worst, a->headx, "headx", -1, m->R, C, C);
    }
    if (m->batch.next) compare_act(&worst, a->nsp, "nsp", -1, m->B, 2, 2);
    int H, O = logits_shape(m, &H);
    if (H) compare_act(&worst, a->logits, "logits", -1, H, O, O);
    return worst;
}

/* Whether a softmax does not see a tensor, whose gradient is then zero but for rounding: it adds
   the same to a query's score with every key, for qa to every token's logit, for multiple_choice to
   every choice's. */
static int unseen(const Bert *m, const char *key)
{
    char last[64];
    snprintf(last, sizeof last, "layer.%d.output.LayerNorm.bias", m->config.L - 1);
    return strstr(key, "key.bias") || strstr(key, "qa_outputs.bias") ||
           (m->config.task == BERT_MULTIPLE_CHOICE && strstr(key, "classifier.bias")) ||
           (m->config.task == BERT_QA && strstr(key, last));
}

/* Compares an array of parameters' size with the records PREFIX.KEY, one Hugging Face tensor at a
   time: a row of the table holds layers x parts of them. Returns the worst distance, which apart_by
   measures. */
static double compare_tensors(const Bert *m, const float *got, const char *prefix, double tol,
                              double (*apart_by)(const float *, const float *, size_t))
{
    double worst = 0;
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *t = &m->tensors[i];
        static const char *const joined[] = {"query", "key", "value"};
        const char *open = strchr(t->key, '{');
        size_t parts = open ? 3 : 1, n = t->rows * t->cols / parts;
        for (size_t j = 0; t->size && j < t->layers * parts; j++) {
            char key[160], layered[100];
            const char *d_ = strstr(t->key, "%d");
            int begin = d_ ? (int)(d_ - t->key) : (int)strlen(t->key);
            snprintf(layered, sizeof layered, "%.*s", begin, t->key);
            if (d_)
                snprintf(layered + begin, sizeof layered - begin, "%d%s", (int)(j / parts), d_ + 2);
            open = strchr(layered, '{');
            if (open)
                snprintf(key, sizeof key, "%s.%.*s%s%s", prefix, (int)(open - layered), layered,
                         joined[j % parts], strchr(layered, '}') + 1);
            else snprintf(key, sizeof key, "%s.%s", prefix, layered);
            const float *want = record(n, "%s", key), *ours = got + t->offset + j * n;
            float most = 0, largest_ours = 0;
            for (size_t k = 0; k < n && want; k++) {
                if (!(fabsf(ours[k]) <= largest_ours)) largest_ours = fabsf(ours[k]);
                if (fabsf(want[k]) > most) most = fabsf(want[k]);
            }
            if (unseen(m, key)) {
                if (!strcmp(prefix, "grad"))
                    expect(largest_ours <= 2e-6f, "%s reaches %.1e", key, largest_ours);
                continue;
            }
            double d = want ? apart_by(ours, want, n) : NAN;
            expect(!(most > 0) || largest_ours > 0, "%s is zero, PyTorch's is not", key);
            expect(d <= tol, "%s is off by %.1e", key, d);
            worse(&worst, d);
        }
    }
    return worst;
}

/* The poolings, of a model without head. */
static void test_embeddings_of(Bert *m, const char *name, double worst)
{
    static const char *const poolings[] = {"mean", "cls", "pooler", "unit"};
    size_t n = (size_t)m->B * m->config.C;
    float *out = get(n, sizeof *out);
    done("parity %s: activations (%.1e of the largest)", name, worst);
    worst = 0;
    for (int i = 0; i < 4; i++) {
        const float *want = record(n, "embed.%s", poolings[i]);
        must(m, bert_embed(m, out, i % 3 + BERT_POOL_MEAN, i == 3));
        double d = want ? apart_f(out, want, n) : NAN;
        expect(d <= 1e-5, "embed.%s is off by %.1e", poolings[i], d);
        worse(&worst, d);
    }
    done("parity %s: embeddings as sentence-transformers' (%.1e of the largest)", name, worst);
    bert_free(m);
}

/* A real model has millions of parameters, some with a gradient so near zero that AdamW's quotient
   is rounding: PyTorch in float32 and in float64 differ there by 4.5e-3 of the largest change. Its
   changes are compared by their root mean squares. */
static void test_parity(const char *model, const char *ref, const char *name, int real)
{
    Bert m = {0};
    double grad_tol = real ? 1e-4 : 1e-5;
    read_records(ref);
    if (!expect(!bert_load(&m, model), "%s", bert_error(&m)) || why[0]) {
        done("parity %s", name);
        return;
    }
    BertBatch batch = recorded_batch(0);
    must(&m, bert_forward(&m, &batch, 1));
    double worst = compare_acts(&m);
    if (m.config.task == BERT_NONE) {
        test_embeddings_of(&m, name, worst);
        return;
    }
    const float *want = record(1, "loss");
    expect(want && fabsf(m.loss - *want) <= 1e-5f * fabsf(*want), "loss %.9g", m.loss);
    done("parity %s: activations, logits and loss (%.1e of the largest)", name, worst);

    int H, O = logits_shape(&m, &H);
    size_t bytes = (size_t)H * O * sizeof(float);
    float *logits = get(1, bytes);
    memcpy(logits, m.acts.logits, bytes);
    must(&m, bert_forward(&m, &batch, 0));
    expect(same_bits(logits, m.acts.logits, bytes), "the bits differ");
    done("parity %s: inference and training give the same logits", name);

    memset(m.acts_memory, 0xff,
           m.acts_room * sizeof(float)); /* NaN: nobody reads what is not set */
    must(&m, bert_forward(&m, &batch, 1));
    must(&m, bert_backward(&m, 1));
    memset(m.acts_memory, 0, m.acts_room * sizeof(float));
    worst = compare_tensors(&m, m.grads_memory, "grad", grad_tol, apart_f);
    done("parity %s: gradient of every tensor (%.1e)", name, worst);

    const float *hyper = record(8, "train.hyper");
    const int32_t *order = record(20, "train.batch");
    const float *losses = record(20, "train.losses"), *norms = record(20, "train.norms");
    float *change = get(m.num_parameters, sizeof *change);
    double worst_loss = 0, worst_norm = 0;
    int layer;
    memcpy(change, m.params_memory, m.num_parameters * sizeof *change);
    for (int t = 0; t < 20 && hyper && order && losses && norms; t++) {
        BertBatch b = recorded_batch(order[t]);
        bert_zero_grad(&m);
        must(&m, bert_forward(&m, &b, 1));
        must(&m, bert_backward(&m, 1));
        expect(!bert_not_finite(&m, &layer), "step %d: not finite", t);
        float norm = bert_grad_norm(&m);
        float lr = hyper[0] * bert_linear_schedule(t, (long)hyper[6], (long)hyper[7]);
        must(&m, bert_adamw(&m, lr, hyper[1], hyper[2], hyper[3], hyper[4], t + 1,
                            bert_clip_scale(norm, hyper[5])));
        worse(&worst_loss, fabs((double)m.loss - losses[t]) / fabs(losses[t]));
        worse(&worst_norm, fabs((double)norm - norms[t]) / norms[t]);
        expect(worst_loss <= 1e-5, "step %d: loss %.9g, not %.9g", t, m.loss, losses[t]);
        expect(worst_norm <= 10 * grad_tol, "step %d: norm %.9g, not %.9g", t, norm, norms[t]);
    }
    for (size_t i = 0; i < m.num_parameters; i++) change[i] = m.params_memory[i] - change[i];
    worst = compare_tensors(&m, change, "change", 1e-3, real ? apart_rms : apart_f);
    done("parity %s: 20 AdamW steps (losses %.1e, norms %.1e, change %.1e)", name, worst_loss,
         worst_norm, worst);
    bert_free(&m);
}

static void expect_strings(const BertStrings *s, const char *const *want, size_t count)
{
    expect(s->count == count, "%zu strings, not %zu", s->count, count);
    for (size_t i = 0; i < count && s->count == count; i++)
        expect(s->offsets[i + 1] - s->offsets[i] == strlen(want[i]) &&
                   !memcmp(s->bytes + s->offsets[i], want[i], strlen(want[i])),
               "string %zu", i);
}

static void test_files(void)
{
    for (int tokenizer = 0; tokenizer < 2; tokenizer++) {
        Image im = image(tokenizer);
        Bert m = {0};
        size_t size;
        must(&m, bert_load_memory(&m, im.data, im.size));
        const BertConfig *c = &m.config;
        expect(c->V == IV && c->C == IC && c->L == IL && c->NH == 2 && c->F == IF && c->P == IP &&
                   c->S == IS && c->K == IK && c->act == 1 && c->task == 1 && c->multi_label == 0 &&
                   c->pooler == 1 && c->eps == 1e-7f && c->hidden_dropout == 0.1f &&
                   c->att_dropout == 0.2f && c->cls_dropout == -1 && c->init_range == 0.02f &&
                   c->max_seq_length == 5 && c->padding_idx == 2 && c->trained_length == 20 &&
                   c->trained_pairs == 2 && c->may_lack == 1 && c->pooling == BERT_POOL_CLS &&
                   c->normalize == 1 && c->activation_out == BERT_OUT_VALUE &&
                   c->model_max_length == IP,
               "config");
        expect(m.params_memory && same_bits(m.params_memory, im.data + 1024, m.num_parameters * 4),
               "parameters");
        expect_strings(&m.labels, label_names, IK);
        expect_strings(&m.tokenizer.vocabulary, vocabulary, tokenizer ? IWORDS : 0);
        expect(!tokenizer || (m.tokenizer.hash == image_hash && m.tokenizer.unicode_bytes == 44 &&
                              m.tokenizer.unicode[3] == 'A' && m.tokenizer.added[9] == 3),
               "hash, added tokens or Unicode table");
        must(&m, bert_save(&m, in_folder("saved.bin")));
        unsigned char *saved = read_file(in_folder("saved.bin"), &size);
        expect(size == im.size && same_bits(saved, im.data, size), "saved, it is another file");
        must(&m, bert_load(&m, in_folder("saved.bin")));
        expect(same_bits(m.params_memory, im.data + 1024, m.num_parameters * 4), "from a path");
        FILE *full = fopen("/dev/full", "wb");
        if (full) {
            fclose(full);
            expect(bert_save(&m, "/dev/full") == BERT_EFILE && strstr(bert_error(&m), "/dev/full"),
                   "a full disk: '%s'", bert_error(&m));
        }
        expect(bert_save(&m, in_folder("no/such")) == BERT_EFILE &&
                   strstr(bert_error(&m), "no/such") && strstr(bert_error(&m), strerror(ENOENT)),
               "no folder: '%s'", bert_error(&m));
        bert_free(&m);
    }
    done("model files: written by hand, loaded, saved bit for bit; a full disk is an error");

    /* Version 1: [PAD]'s row 0 has no gradient; a [MASK] of id 0 is none, as vocabulary[0] is
       [PAD]. Data made for such a model is for the same model saved as version 2: one hash. */
    Image im = image(1);
    Bert m = {0};
    set_word(&im, 1, 1), set_word(&im, 41, 0);
    must(&m, bert_load_memory(&m, im.data, im.size));
    const uint64_t hash = m.tokenizer.hash;
    expect(m.config.padding_idx == 0 && !m.config.trained_length && !m.config.pooling &&
               !m.config.normalize && m.tokenizer.settings[BERT_ID_PAD] == 0 &&
               m.tokenizer.settings[BERT_ID_MASK] == -1,
           "version 1");
    must(&m, bert_save(&m, in_folder("saved.bin")));
    must(&m, bert_load(&m, in_folder("saved.bin")));
    expect(m.tokenizer.hash == hash && m.config.padding_idx == 0 &&
               m.tokenizer.settings[BERT_ID_MASK] == -1,
           "version 1, saved as version 2");
    set_word(&im, 1, 2), set_word(&im, 37, 4);
    must(&m, bert_load_memory(&m, im.data, im.size));
    expect(m.tokenizer.settings[BERT_ID_MASK] == 0, "[MASK] of id 0 in version 2");
    must(&m, bert_set_task(&m, BERT_REGRESSION, 1, 0, NULL, 1));
    expect(m.config.padding_idx == 2 && m.config.pooling == BERT_POOL_CLS && m.config.normalize &&
               !m.config.trained_length && !m.config.trained_pairs && !m.config.may_lack,
           "what bert_set_task keeps");
    bert_free(&m);
    done(
        "model files: version 1 is read, a missing special token is -1, 0 is an id like any other");
}

/* Arguments at and over the edge, which have to be refused before they write anywhere. */
static void test_edges(void)
{
    const float x[] = {3, 5, 4, 2, 7, 1};
    const int spans[] = {-1, -1, 0, 2, 3, 5};
    int ids[] = {7, 7, 7, 7};
    uint64_t offsets[] = {0, 3, 3, 5};
    char bytes[] = "badok";
    BertStrings names = {3, offsets, bytes};
    BertConfig c = small_config();
    Bert m = {0};
    expect(bert_top_k(ids + 2, NULL, x, 6, -1) == 0 && bert_top_k(ids + 2, NULL, x, 6, 0) == 0,
           "the best -1 of 6");
    for (int i = 0; i < 4; i++) expect(ids[i] == 7, "bert_top_k wrote ids[%d] = %d", i - 2, ids[i]);

    BertAnswers a = {0};
    a.n_best = -5, a.max_tokens = 30, a.may_lack = 1;
    bert_answers_add(&a, x, spans, 3);
    bert_answers_end(&a, 0.0);
    expect(a.count == 1 && a.max_tokens == 30, "n_best -5: count %d, max_tokens %d", a.count,
           a.max_tokens);

    expect(bert_save(&m, in_folder("saved.bin")) == BERT_EINPUT, "an empty model is saved");
    build(&m, c);
    m.freeze_layers = 1, m.freeze_embeddings = 1;
    expect(bert_set_task(&m, BERT_CLASSIFICATION, 4, 0, &names, 1) == BERT_EINPUT &&
               strstr(bert_error(&m), "3 label names") && m.config.K == 3,
           "3 names for 4 labels: '%s'", bert_error(&m));
    must(&m, bert_set_task(&m, BERT_CLASSIFICATION, 3, 0, &names, 1));
    expect(m.freeze_layers == 1 && m.freeze_embeddings == 1, "another head thaws the encoder");
    bert_free(&m);
    done("edges: k below 1, names that are not K, an empty model to save");
}

/* Loads what must be refused, from memory and from a path; the message says why and names the
   file; no memory beyond a small multiple of the file is taken. */
static void refuse(const Image *im, const char *hint, const char *what)
{
    Bert m = {0};
    const char *path = in_folder("forged.bin");
    write_file(path, im->data, im->size);
    largest = 0;
    expect(bert_load_memory(&m, im->data, im->size) < 0, "%s: loaded", what);
    expect(!m.params_memory && !m.tokenizer.added && !m.labels.bytes, "%s: leaves something", what);
    expect(bert_load(&m, path) < 0, "%s: loaded from a path", what);
    expect(strstr(bert_error(&m), path) && strstr(bert_error(&m), hint), "%s: '%s' has no '%s'",
           what, bert_error(&m), hint);
    expect(largest <= 4 * im->size + 4096, "%s: took %zu bytes", what, largest);
    bert_free(&m);
}

static void test_forged(void)
{
    /* clang-format off */
    static const struct {
        int word;
        int32_t value;
        const char *hint;
    } forged[] = {
        {0, 0x44545242, "not a model"}, {0, 0, "not a model"}, {1, 0, "version 0"},
        {1, 3, "version 3"}, {2, -1, "V ("}, {2, 0, "V ("}, {2, INT_MAX, "V ("},
        {2, 13, "parameters"}, {3, -4, "C ("}, {3, 0, "C ("}, {3, INT_MIN, "C ("},
        {3, 1 << 20, "parameters"}, {4, 0, "L ("}, {4, INT_MAX, "L ("}, {4, 1 << 16, "parameters"},
        {5, 0, "NH ("}, {5, 3, "NH"}, {5, -2, "NH ("}, {6, -1, "F ("}, {6, 1 << 24, "parameters"},
        {7, 0, "P ("}, {8, -2, "S ("}, {9, -1, "K ("}, {9, 0, "K"}, {9, INT_MAX, "K ("},
        {10, 3, "hidden_act"}, {10, -1, "hidden_act"}, {11, -1, "task"},
        {11, BERT_NUM_TASKS, "task"},
        {12, 2, "problem"}, {13, 0, "pooler"}, {13, 2, "pooler"}, {14, 0x7fc00000, "eps"},
        {14, INT_MIN | 1, "eps"}, {15, 0x3f800000, "dropout"}, {15, 0x7fc00000, "dropout"},
        {16, (int32_t)0xbf000000, "dropout"}, {17, 0x3fc00000, "dropout"},
        {17, 0x7fc00000, "dropout"}, {18, 0x7fc00000, "initializer_range"},
        {19, -1, "max_seq_length"}, {20, 1, "parameters"}, {21, 1, "parameters"},
        {21, -1, "parameters"}, {22, 1, "labels"}, {22, -1, "labels"}, {23, 8, ""},
        {23, INT_MAX, ""}, {24, 1, ""}, {24, -1, ""}, {25, 0, ""}, {26, 1, ""}, {26, -1, ""},
        {27, 0, ""}, {28, INT_MAX, ""}, {28, -1, ""}, {30, 0, ""}, {31, 1, ""},
        {32, -1, "vocabulary"}, {32, 13, "vocabulary"}, {32, INT_MAX, "vocabulary"}, {32, 0, ""},
        {32, 3, "word 40"}, {33, 2, "word 33"}, {34, -1, "word 34"}, {35, 7, "word 35"},
        {36, 0, "word 36"}, {36, -100, "word 36"}, {37, -2, "word 37"}, {38, 11, "word 38"},
        {41, INT_MAX, "word 41"}, {42, -1, ""}, {42, INT_MAX, ""}, {42, 4, ""}, {39, -1, "word 39"},
        {41, -2, "word 41"}, {43, 14, "padding_idx"}, {43, -1, "padding_idx"},
        {43, INT_MIN, "padding_idx"}, {44, -1, "trained"}, {45, 3, "trained on"},
        {46, 2, "may_lack"}, {47, 4, "pooling"}, {47, -1, "pooling"}, {48, 2, "normalize"},
        {49, 1, "activation_out"}, {50, -1, "model_max_length"}};
    /* clang-format on */
    Image im = image(1), other;
    char what[64];
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        other = copy_of(&im);
        set_word(&other, forged[i].word, forged[i].value);
        snprintf(what, sizeof what, "word %d = %d", forged[i].word, forged[i].value);
        refuse(&other, forged[i].hint, what);
    }
    done("forged model headers: %zu kinds are refused, by name", sizeof forged / sizeof forged[0]);

    static const int huge[][2] = {
        {2, 1 << 28}, {3, 1 << 20}, {4, 1 << 16}, {6, 1 << 24}, {9, 1 << 24}};
    for (int most = 1; most <= 5;
         most++) { /* products that overflow 64 bits, all claims agreeing */
        other = copy_of(&im);
        for (int i = 0; i < most; i++) set_word(&other, huge[i][0], huge[i][1]);
        for (int word = 20; word < 32; word += word == 21 ? 9 : 1) set_word(&other, word, -1);
        refuse(&other, "", "huge sizes");
    }
    static const int strings[][3] = {{2, 0, 1}, {2, 1, -1}, {2, 2, 1},   {2, 3, 99}, {2, 3, 8},
                                     {3, 0, 5}, {3, 4, 1},  {3, 11, -1}, {3, 11, 1}};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        other = copy_of(&im);
        int64_t offset = strings[i][2];
        memcpy(other.data + im.sections[strings[i][0] - 1] + 8 * strings[i][1], &offset, 8);
        refuse(&other, strings[i][0] == 2 ? "label" : "vocabulary", "string offsets");
    }
    for (int i = 0; i < 2; i++) { /* ids of added tokens */
        int32_t id = i ? IV : -1;
        other = copy_of(&im);
        memcpy(other.data + im.sections[3] + 8 * i, &id, 4);
        refuse(&other, "added", "an added token's id");
    }
    done("forged model sections: huge sizes, string offsets, ids of added tokens");

    for (int i = 0; i <= im.num_sections; i++)
        for (int by = -1; by <= 1; by++) { /* around each section's end; 0: an empty file */
            other = copy_of(&im), append(&other, "x", 1);
            other.size = (i ? im.sections[i - 1] : 1) + (size_t)by;
            if (other.size != im.size) refuse(&other, "", "a cut file");
        }
    for (size_t size = 0; size < im.size; size++) {
        Bert m = {0};
        unsigned char *exact = get(size, 1); /* so that a sanitizer sees a read beyond the end */
        memcpy(exact, im.data, size);
        expect(bert_load_memory(&m, exact, size) < 0, "cut at %zu: loaded", size);
        bert_free(&m);
    }
    other = copy_of(&im), append(&other, "garbage!", 8),
    refuse(&other, "bytes", "8 bytes too many");
    append(&other, im.data, im.size), refuse(&other, "bytes", "the file twice");
    other.size = 0, refuse(&other, "", "an empty file");
    Bert m = {0};
    const char *missing = in_folder("missing.bin");
    expect(bert_load(&m, missing) == BERT_EFILE && strstr(bert_error(&m), missing) &&
               strstr(bert_error(&m), strerror(ENOENT)),
           "a missing file: '%s'", bert_error(&m));
    expect(bert_load(&m, folder) < 0 && strstr(bert_error(&m), folder), "a folder");
    done("model files: cut anywhere, with garbage behind, empty, missing, a folder");
}

static void test_bad_batches(void)
{
    /* clang-format off */
    static const struct {
        const char *what, *hint;
        int array, at, value; /* array 0 tokens, 1 types, 2 offsets, 3 labels */
    } bad[] = {
        {"token -1", "token -1", 0, 5, -1}, {"token V", "token 50", 0, 9, 50},
        {"token huge", "token", 0, 0, INT_MAX}, {"type -1", "type -1", 1, 2, -1},
        {"type S", "type 2", 1, 9, 2}, {"length 0", "sequence 1", 2, 1, 3},
        {"falling", "sequence", 2, 2, 0}, {"length P+1", "sequence 2", 2, 3, 44},
        {"offset huge", "sequence", 2, 1, INT_MAX}, {"offset 0", "0", 2, 0, 1},
        {"label K", "label 3", 3, 1, 3}, {"label -1", "label -1", 3, 2, -1}};
    /* clang-format on */
    static const int lens[] = {1, 2, 7};
    Bert m;
    build(&m, small_config());
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (int training = 0; training < 2; training++) {
            BertBatch batch = random_batch(&m, lens, 3);
            const int *arrays[] = {batch.tokens, batch.types, batch.offsets, batch.labels};
            ((int *)(uintptr_t)arrays[bad[i].array])[bad[i].at] = bad[i].value;
            expect(bert_forward(&m, &batch, training) == BERT_EINPUT, "%s: taken", bad[i].what);
            expect(strstr(bert_error(&m), bad[i].hint) != NULL, "%s: '%s'", bad[i].what,
                   bert_error(&m));
        }
    BertBatch batch = random_batch(&m, lens, 3);
    expect(bert_backward(&m, 1) < 0, "a backward without a forward");
    expect(bert_adamw(&m, 1, 0, 0, 0, 0, 1, 1) < 0, "AdamW without gradients");
    must(&m, bert_forward(&m, &batch, 0));
    expect(bert_backward(&m, 1) < 0, "a backward after an inference forward");
    batch.labels = NULL;
    must(&m, bert_forward(&m, &batch, 1));
    expect(bert_backward(&m, 1) < 0, "a backward without labels");
    batch.B = 0;
    expect(bert_forward(&m, &batch, 0) < 0, "an empty batch");
    bert_free(&m);
    expect(bert_forward(&m, &batch, 0) < 0 && bert_backward(&m, 1) < 0, "an empty model");
    bert_zero_grad(&m), bert_free(&m);
    done("batches: tokens, types, lengths and labels out of range are refused");
}

/* One field of a good batch at a time is spoilt. */
static void test_bad_losses(void)
{
    static const int lens[] = {2, 3, 7}, minus[24] = {-2}, tops[24] = {5, 300};
    static const int falling[] = {2, 2, 5}, far[] = {2, 3, 12}, three[] = {0, 3, 1};
    static const float good[] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, bad[] = {1, -1, 1}, two[12] = {0, 2};
    for (int task = 0; task <= BERT_NUM_TASKS; task++) { /* the last: multi-label */
        BertConfig c = small_config();
        Bert m;
        c.multi_label = task == BERT_NUM_TASKS;
        c.task = c.multi_label ? BERT_CLASSIFICATION : task;
        c.K = labels_of(c.task);
        int mlm = (bert_task(c.task)->reads & BERT_READS_MASKED) != 0,
            weighs = c.task == BERT_CLASSIFICATION || task == BERT_NER;
        int floats = bert_has_targets(&c), labelled = !floats && task != BERT_NONE;
        build(&m, c);
        for (int i = 0; i < 20; i++) {
            BertBatch x = random_batch(&m, lens, 3);
            int rows[] = {1, 5, 9}, labels[24] = {0}, ok = 0;
            if (mlm) x.rows = rows, x.R = 3;
            if (x.labels) x.labels = labels;
            const char *hint = "";
            switch (i) {
            case 0:
                ok = 1;
                break;
            case 1:
                x.labels = labels, ok = labelled, hint = "labels";
                break;
            case 2:
                x.labels = minus, hint = "label";
                break;
            case 3:
                x.labels = tops, hint = "label";
                break;
            case 4:
                x.targets = good, ok = floats, hint = "targets";
                break;
            case 5:
                x.targets = two, ok = task == BERT_REGRESSION, hint = "target";
                break;
            case 6:
                x.rows = rows, x.R = 1, ok = mlm, hint = "rows";
                break;
            case 7:
                x.rows = falling, x.R = 3, hint = "row";
                break;
            case 8:
                x.rows = far, x.R = 3, hint = "row";
                break;
            case 9:
                x.rows = NULL, x.R = 2, hint = "row";
                break;
            case 10:
                x.R = -1, hint = "R is -1";
                break;
            case 11:
                x.next = labels, ok = task == BERT_PRETRAINING, hint = "next";
                break;
            case 12:
                x.next = three, hint = "next";
                break;
            case 13:
                x.class_weights = good, ok = weighs, hint = "class_weights";
                break;
            case 14:
                x.class_weights = bad, hint = "class";
                break;
            case 15:
                x.label_smoothing = 1, hint = "label_smoothing";
                break;
            case 16:
                x.divisor = -1, hint = "divisor";
                break;
            case 17:
                x.choices = 2, hint = "choices"; /* of 3 sequences */
                break;
            case 18:
                x.choices = 1, hint = "choices";
                break;
            case 19:
                x.choices = -3, hint = "choices";
                break;
            }
            int error = bert_forward(&m, &x, 1);
            expect(ok ? !error : error == BERT_EINPUT, "task %d, %d: %d", task, i, error);
            expect(ok || strstr(bert_error(&m), hint), "task %d, %d: '%s'", task, i,
                   bert_error(&m));
        }
        bert_free(&m);
    }
    done("batches: what a task's loss does not have, or is out of range, is refused");
}

/* Everything that takes memory, ending at the first error. */
static int use_everything(Bert *m, const Image *im, const BertBatch *small, const BertBatch *large)
{
    int error = bert_load_memory(m, im->data, im->size);
    if (!error) error = bert_forward(m, small, 1);
    if (!error) error = bert_backward(m, 1);
    if (!error) error = bert_adamw(m, 1e-3f, 0.9f, 0.999f, 1e-8f, 0, 1, 1);
    if (!error) error = bert_forward(m, large, 1); /* has to grow */
    if (!error) error = bert_backward(m, 1);
    if (!error) error = bert_set_task(m, BERT_CLASSIFICATION, IK, 0, &m->labels, 1);
    if (!error) error = bert_forward(m, large, 0);
    return error;
}

static void test_no_memory(void)
{
    static const int few[] = {1, 2}, many[] = {6, 5, 6, 4};
    Image im = image(1);
    Bert m = {0};
    int k = 0, error = BERT_EMEMORY;
    must(&m, bert_load_memory(&m, im.data, im.size));
    BertBatch small = random_batch(&m, few, 2), large = random_batch(&m, many, 4);
    bert_free(&m);
    long before = blocks;
    for (; error && k < 1000; k++) {
        memset(&m, 0, sizeof m);
        fail_at = k;
        error = use_everything(&m, &im, &small, &large);
        fail_at = -1;
        if (error) {
            expect(error == BERT_EMEMORY && strstr(bert_error(&m), "memory"),
                   "failure %d: %d, '%s'", k, error, bert_error(&m));
            bert_backward(&m, 1); /* may be refused, must not crash */
            bert_embed(&m, get(1000, sizeof(float)), BERT_POOL_POOLER, 0);
            if (m.params_memory)
                must(&m, bert_forward(&m, &large, 1)), must(&m, bert_backward(&m, 1));
        }
        bert_free(&m), bert_free(&m);
        expect(blocks == before, "failure %d: %ld blocks are lost", k, blocks - before);
    }
    expect(!error && k > 10, "ends with %d at allocation %d", error, k);
    done("each of %d allocations failing: an error, no leak, and the model works on", k - 1);
}

static void test_fuzzed_models(void)
{
    static const int lens[] = {1, 3, 2};
    Image im = image(1);
    int loaded = 0;
    enum { ROUNDS = 6000 };
    for (int i = 0; i < ROUNDS; i++) {
        size_t mark = num_gotten;
        Bert m = {0};
        Image bad = mutated(&im);
        unsigned char *exact = get(bad.size, 1);
        memcpy(exact, bad.data, bad.size);
        if (!bert_load_memory(&m, exact, bad.size) && m.config.P >= 3) {
            BertBatch batch = random_batch(&m, lens, 3);
            if (m.config.task != BERT_CLASSIFICATION) batch.labels = NULL;
            if (!bert_forward(&m, &batch, 1) && batch.labels) bert_backward(&m, 1);
            loaded++;
        } else expect(bert_error(&m)[0] != 0, "refused without a reason");
        bert_free(&m), release(mark);
    }
    done("%d mutated model files: no crash (%d still load)", ROUNDS, loaded);
}

/* ------------------------------------------------------------------------------------------------
   The tokenizer */

/* dev/fixtures/tokenizer.bin: texts, settings, and what Hugging Face makes of them; its layout is
   in dev/check/wordpiece.py, write_fixture. */
typedef struct {
    unsigned char *data;
    size_t size, model_bytes;
    int cases;
    const unsigned char *at;
} Fixture;

static Fixture tokenizer_fixture(void)
{
    Fixture f;
    int32_t head[2];
    f.data = read_file("dev/fixtures/tokenizer.bin", &f.size);
    memcpy(head, f.data, 8);
    f.model_bytes = (size_t)head[0], f.cases = head[1];
    f.at = f.data + 8 + head[0];
    return f;
}

static int next16(Fixture *f)
{
    int16_t x;
    memcpy(&x, f->at, 2);
    f->at += 2;
    return x;
}

static const char *next_text(Fixture *f, size_t size)
{ /* a copy of its own, so that a sanitizer sees who reads on behind it */
    char *copy = get(size, 1);
    memcpy(copy, f->at, size);
    f->at += size;
    return copy;
}

/* The characters of the first so many bytes of valid UTF-8. */
static int characters(const char *s, int bytes)
{
    int n = 0;
    for (int i = 0; i < bytes; i++) n += (s[i] & 0xC0) != 0x80;
    return n;
}

/* One sequence against the fixture's; f->at moves behind it. */
static int same_tokens(Fixture *f, const BertEncoding *e, int b, BertText *const *parts, int split)
{
    int n = next16(f), ok = b < e->B && e->offsets[b + 1] - e->offsets[b] == n;
    for (int i = 0; i < n; i++) {
        int id = next16(f), type = next16(f), word = next16(f), start = next16(f), end = next16(f);
        if (!ok) continue;
        const BertSpan *s = &e->spans[e->offsets[b] + i];
        ok = e->tokens[e->offsets[b] + i] == id && e->types[e->offsets[b] + i] == type / 4 &&
             s->text == type % 4 - 1 && s->word == word && s->char_start == start &&
             s->char_end == end;
        const char *text = s->text < 0 ? "" : parts[s->text][split ? word : 0].bytes;
        ok = ok && characters(text, s->start) == start && characters(text, s->end) == end;
    }
    return ok;
}

static void test_tokenizer(void)
{
    Fixture f = tokenizer_fixture();
    static Bert models[8];
    BertEncoding e = {0};
    int sequences = 0, refused = 0;
    for (int c = 0; c < f.cases; c++) {
        BertText *parts[2] = {NULL, NULL};
        int counts[2] = {0, 0}, settings = 0, num_texts, B, shown;
        for (int i = 0; i < 3; i++) f.data[8 + 4 * (33 + i)] = (unsigned char)next16(&f);
        for (int i = 0; i < 3; i++) settings = 2 * settings + f.data[8 + 4 * (33 + i)];
        Bert *m = &models[settings];
        if (!m->params_memory) must(m, bert_load_memory(m, f.data + 8, f.model_bytes));
        BertEncodeOptions o = {0};
        o.is_words = next16(&f), o.max_length = next16(&f), o.truncation = next16(&f);
        o.windows = next16(&f), o.stride = next16(&f), o.no_special = next16(&f);
        num_texts = next16(&f);
        for (int k = 0; k < num_texts; k++) {
            counts[k] = next16(&f);
            parts[k] = get((size_t)counts[k], sizeof(BertText));
            for (int i = 0; i < counts[k]; i++) parts[k][i].size = (size_t)next16(&f);
        }
        const unsigned char *expected = f.at; /* the texts are behind it */
        B = next16(&f);
        for (int b = 0; b < B; b++) {
            int n = next16(&f);
            f.at += 10 * n;
        }
        shown = next16(&f);
        const unsigned char *begin = f.at;
        for (int k = 0; k < num_texts; k++)
            for (int i = 0; i < counts[k]; i++) parts[k][i].bytes = next_text(&f, parts[k][i].size);
        const char *decoded = next_text(&f, (size_t)shown);
        const unsigned char *behind = f.at + (f.at - begin) % 2;
        bert_encoding_clear(&e);
        int error = bert_encode_texts(m, &e, parts[0], counts[0], parts[1], counts[1], &o);
        f.at = expected + 2;
        expect(B < 0 ? error && !e.N : !error && e.B == B,
               "case %d: error %d, %d sequences, not %d", c, error, e.B, B);
        for (int b = 0; b < B; b++)
            expect(same_tokens(&f, &e, b, parts, o.is_words), "case %d, sequence %d", c, b);
        char text[2048];
        size_t n = B > 0 ? bert_decode(m, text, sizeof text, e.tokens, e.offsets[1], 0, 0) : 0;
        expect(n == (size_t)shown && !memcmp(text, decoded, n), "case %d: decoded '%.*s'", c,
               (int)n, text);
        f.at = behind, sequences += B > 0 ? B : 0, refused += B < 0;
    }
    expect(f.at == f.data + f.size, "the fixture has something behind its last case");
    bert_encoding_free(&e);
    for (int i = 0; i < 8; i++) bert_free(&models[i]);
    done("tokenizer: %d cases as Hugging Face has them, %d sequences, %d refused", f.cases,
         sequences, refused);
}

static void expect_ids(const BertEncoding *e, int b, const char *want)
{
    char got[256] = "";
    size_t at = 0;
    for (int i = e->offsets[b]; i < e->offsets[b + 1] && at < 240; i++)
        at += (size_t)snprintf(got + at, 256 - at, "%s%d", at ? " " : "", e->tokens[i]);
    expect(!strcmp(got, want), "'%s', not '%s'", got, want);
}

/* The image's model knows a b ##a zoo . and one accent; its Unicode table is nearly empty. */
static void test_encode(void)
{
    Image im = image(1), plain = image(0);
    Bert m = {0};
    BertEncoding e = {0};
    BertEncodeOptions o = {0};
    char text[64];
    must(&m, bert_load_memory(&m, im.data, im.size));
    expect(!bert_encode(&m, &e, "a", NULL, NULL), "%s", e.message);
    expect(!bert_encode(&m, &e, "baa[MASK]b", "zoo", NULL), "%s", e.message); /* P is 6 */
    expect(e.B == 2 && e.offsets[1] == 3 && e.offsets[2] == e.N && e.cut > 0, "appended");
    expect_ids(&e, 0, "2 5 3");
    expect_ids(&e, 1, "2 6 7 3 9 3");
    BertBatch batch = {0};
    batch.B = e.B, batch.tokens = e.tokens, batch.types = e.types, batch.offsets = e.offsets;
    must(&m, bert_forward(&m, &batch, 0));
    bert_encoding_clear(&e);
    o.max_length = 100;
    BertText bad = {"b\xe2\x82"
                    "a\xff\0[SEP]\xf0\x9f",
                    13}; /* U+FFFD is no piece: one [UNK] */
    expect(!bert_encode_texts(&m, &e, &bad, 1, NULL, 0, &o), "%s", e.message);
    expect_ids(&e, 0, "2 1 3 1 3");
    expect(e.spans[1].end == 6 && e.spans[1].char_end == 5 && e.spans[3].start == 11 &&
               e.spans[3].end == 13,
           "bytes %d..%d, characters ..%d, bytes %d..%d", e.spans[1].start, e.spans[1].end,
           e.spans[1].char_end, e.spans[3].start, e.spans[3].end);
    char word[102] = {0};
    for (int n = 100; n <= 101; n++) { /* the longest word, and one that is longer */
        bert_encoding_clear(&e), o.max_length = 200;
        memset(word, 'a', (size_t)n);
        expect(!bert_encode(&m, &e, word, NULL, &o) && e.N == (n == 100 ? 102 : 3) &&
                   e.tokens[1] == (n == 100 ? 5 : 1) && e.spans[e.N - 2].end == n,
               "a word of %d characters: %d tokens", n, e.N);
    }
    static const struct {
        const char *bytes;
        int characters; /* that Python's errors="replace" makes of them */
    } broken[] = {{"\xed\xa0\x80", 3},
                  {"\xe0\x9f\xbf", 3},
                  {"\xf4\x90\x80\x80", 4},
                  {"\xf0\x8f\xbf\xbf", 4},
                  {"\xc1\xbf", 2},
                  {"\xe2\x82"
                   "A",
                   2},
                  {"\xf0\x9f\x98\x80", 1},
                  {"\xf0\x9f\x98", 1},
                  {"\xf5\x80", 2},
                  {"\xef\xbf\xbf", 1},
                  {"\x80\xbf", 2},
                  {"\xf3\xb0\xf3\xb0", 2}};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        bert_encoding_clear(&e);
        expect(!bert_encode(&m, &e, broken[i].bytes, NULL, &o), "%s", e.message);
        expect(e.N == 3 && e.spans[1].char_end == broken[i].characters &&
                   e.spans[1].end == (int)strlen(broken[i].bytes),
               "broken UTF-8 %zu: %d characters", i, e.spans[1].char_end);
    }
    static const int ids[] = {2, 5, 7, 10, 99, -1, 9, 3};
    expect(bert_decode(&m, text, sizeof text, ids, 8, 1, 0) == 7 && !strcmp(text, "aa. zoo"),
           "'%s'", text);
    expect(bert_decode(&m, text, 5, ids, 8, 1, 0) >= 5 && !text[0], "a small buffer");
    expect(bert_decode(&m, NULL, 0, ids, 8, 1, 0) >= 7, "no buffer");

    static const int odd[] = {2, 5, 3, 6, 4, 3}; /* of texts of one length the second has more */
    bert_encoding_clear(&e), o.max_length = 6;
    expect(!bert_encode(&m, &e, "a[MASK]a", "b[MASK]b", &o) && e.N == 6 &&
               !memcmp(e.tokens, odd, sizeof odd),
           "an odd room: %d tokens", e.N);

    static const struct {
        const char *hint;
        int max_length, truncation, windows, stride, pair;
    } wrong[] = {{"max_length is 1", 1, 0, 0, 0, 0},   {"max_length is 2", 2, 0, 0, 0, 1},
                 {"max_length is -3", -3, 0, 0, 0, 0}, {"out of range", 9, 4, 0, 0, 0},
                 {"out of range", 9, -1, 0, 0, 0},     {"out of range", 9, 1, 1, -1, 0},
                 {"no second", 3, 2, 0, 0, 0},         {"stride 1", 3, 1, 1, 1, 0},
                 {"only_first or", 5, 0, 1, 0, 1},     {"0 fit", 4, 2, 0, 0, 1}};
    bert_encoding_clear(&e);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        BertEncodeOptions w = {
            wrong[i].max_length, wrong[i].truncation, wrong[i].windows, wrong[i].stride, 0, 0, 0};
        expect(bert_encode(&m, &e, "a[MASK]b[MASK]zoo", wrong[i].pair ? "a" : NULL, &w) ==
                       BERT_EINPUT &&
                   strstr(e.message, wrong[i].hint) && !e.B && !e.N,
               "%s: '%s'", wrong[i].hint, e.message);
    }
    expect(bert_predict(&m, &e) == BERT_EINPUT, "predicted from nothing");
    expect(!bert_encode(&m, &e, "a[MASK]", NULL, NULL) && !bert_encode(&m, &e, "a", NULL, NULL) &&
               !bert_encode(&m, &e, "[MASK]a", NULL, NULL),
           "%s", e.message);
    must(&m, bert_predict(&m, &e)); /* classification: no rows */
    expect(m.B == 3 && m.R == 0, "%d sequences, %d rows", m.B, m.R);
    must(&m, bert_set_task(&m, BERT_MLM, 0, 0, NULL, 1));
    must(&m, bert_predict(&m, &e));
    expect(m.R == 2 && m.batch.rows[0] == 2 && m.batch.rows[1] == 8, "[MASK]s: %d", m.R);
    must(&m, bert_load_memory(&m, plain.data, plain.size));
    expect(bert_encode(&m, &e, "a", NULL, NULL) == BERT_EINPUT && strstr(e.message, "no tokenizer"),
           "a model without a vocabulary: '%s'", e.message);
    expect(bert_decode(&m, text, sizeof text, ids, 8, 0, 0) == 0 && !text[0], "decoded: '%s'",
           text);
    bert_encoding_free(&e), bert_free(&m);
    done("tokenizer: sequences as a batch, bytes that are not UTF-8, decode, bad options");
}

/* A model that loads has tables that can be used; each allocation may fail. */
static void test_damaged_tokenizers(void)
{
    static const struct {
        int word; /* of the Unicode table */
        uint32_t value;
        const char *hint;
    } forged[] = {{0, 2, "counts"},
                  {1, 0, "counts"},
                  {2, UINT32_MAX, "counts"},
                  {3, 'a', "range 0"},
                  {4, '@', "range 0"},
                  {4, 0x110000, "range 0"},
                  {6, 0x110000, "of map 0"},
                  {7, 3u << 24, "pool of map 0"},
                  {8, 0xFFFFFF, "pool of map 0"},
                  {9, 0x110000, "pool word 0"}};
    static const char *const texts[] = {"a zoo.\xc3\x89\xcc\x81 [MASK]\xf0\x9f\x98\x80",
                                        "\xea\xb0\x80\xe4\xb8\x80 <x> N\xc3\x89W y\xef\xbf\xbd"};
    Image im = image(1);
    size_t table = im.size - 48; /* 44 bytes and 4 of padding */
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        Image bad = copy_of(&im);
        memcpy(bad.data + table + 4 * (size_t)forged[i].word, &forged[i].value, 4);
        refuse(&bad, forged[i].hint, "Unicode table");
    }
    Fixture f = tokenizer_fixture();
    Image big = {f.data + 8, f.model_bytes, {0}, 0};
    size_t tail = 1024 + (size_t)get_word(&big, 20) * 4;
    Bert whole = {0};
    must(&whole, bert_load_memory(&whole, big.data, big.size));
    table = big.size - (whole.tokenizer.unicode_bytes + 7) / 8 * 8;
    const uint32_t ranges = whole.tokenizer.unicode[0];
    bert_free(&whole);
    for (int map = 0; map < 2; map++) { /* the second begins where the first ends */
        Image bad = copy_of(&big);
        unsigned char *first = bad.data + table + 12 * (map ? 1 + ranges : 1);
        memcpy(first + 12, first + (map ? 0 : 4), 4);
        refuse(&bad, map ? "map 1 is" : "range 1 is", "Unicode table");
    }
    int loaded = 0, error;
    enum { ROUNDS = 3000 };
    for (int i = 0; i < ROUNDS; i++) {
        size_t mark = num_gotten;
        Bert m = {0};
        BertEncoding e = {0};
        Image bad = copy_of(&big);
        for (int n = 1 + below(4); n > 0; n--) {
            size_t at = tail + draw() % (bad.size - tail - 4);
            uint32_t nasty[] = {(uint32_t)draw(), 0, 0xFFFFFFFF, 1u << 24, 0xFFFF, 0x10FFFF};
            if (below(2)) bad.data[at] ^= (unsigned char)(1 << below(8));
            else memcpy(bad.data + at / 4 * 4, &nasty[below(6)], 4);
        }
        if (!bert_load_memory(&m, bad.data, bad.size)) {
            char out[512];
            for (int k = 0; k < 2; k++) bert_encode(&m, &e, texts[k], texts[!k], NULL);
            bert_decode(&m, out, sizeof out, e.tokens, e.N, 1, 1);
            loaded++;
        }
        bert_encoding_free(&e), bert_free(&m), release(mark);
    }
    Bert m = {0};
    char text[300];
    must(&m, bert_load_memory(&m, f.data + 8, f.model_bytes));
    int k = snprintf(text, sizeof text, "%s", texts[0]);
    for (; k < 299; k += 2)
        memcpy(text + k, " a", 3); /* more tokens than room is made for at first */
    for (error = 1, k = 0; error && k < 100; k++) {
        BertEncoding e = {0};
        long before = blocks;
        fail_at = k, fail_once = 1;
        error = bert_encode(&m, &e, text, texts[1], NULL);
        expect(!error == (fail_at >= 0), "failure %d: %d", k, error); /* it came, and was told */
        fail_at = -1, fail_once = 0;
        expect(!error || (error == BERT_EMEMORY && strstr(e.message, "memory") && !e.B && !e.N),
               "failure %d: %d, '%s'", k, error, e.message);
        expect(!bert_encode(&m, &e, texts[0], NULL, NULL), "does not go on: %s", e.message);
        bert_encoding_free(&e);
        expect(blocks == before, "failure %d: %ld blocks are lost", k, blocks - before);
    }
    expect(!error && k > 5, "ends with %d at allocation %d", error, k);
    bert_free(&m);
    done("tokenizer: forged tables are refused; %d damaged files (%d load); %d allocations fail",
         ROUNDS, loaded, k - 1);
}

/* ---------------------------------------------------------------------------------------------- */

static void test_fixtures(void)
{
    static const char *const names[] = {
        "awkward",    "onehead", "relu", "tiles", "longsum",     "weights",         "multi",
        "regression", "ner",     "qa",   "mlm",   "pretraining", "multiple_choice", "none"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char model[64], ref[64];
        snprintf(model, sizeof model, "dev/fixtures/%s.model.bin", names[i]);
        snprintf(ref, sizeof ref, "dev/fixtures/%s.ref.bin", names[i]);
        test_parity(model, ref, names[i], 0);
    }
}

/* Thousands of tiny models: threads would only wait for each other. */
static void one_thread(void)
{
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
}

static void (*const tests[])(void) = {test_embeddings,    test_layernorm,
                                      test_linear,        test_attention,
                                      test_activations,   test_crossentropy,
                                      test_losses,        test_tasks,
                                      test_no_loss,       test_dropout,
                                      test_fixtures,      test_packed,
                                      test_threads,       one_thread,
                                      test_model_dropout, test_whole_gradient,
                                      test_nan,           test_not_finite,
                                      test_adamw,         test_freeze,
                                      test_on_gradients,  test_schedule_and_clip,
                                      test_table,         test_set_task,
                                      test_files,         test_edges,
                                      test_forged,        test_bad_batches,
                                      test_bad_losses,    test_no_memory,
                                      test_fuzzed_models, test_tokenizer,
                                      test_encode,        test_damaged_tokenizers};

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/test_bert.%ld", tmp && strlen(tmp) < 40 ? tmp : "/tmp",
             (long)getpid());
    if (argc == 4 && !strcmp(argv[1], "--real")) {
        test_parity(argv[2], argv[3], "real model", 1);
    } else if (argc > 1 || mkdir(folder, 0700)) {
        fprintf(stderr, "usage: test_bert [--real MODEL.bin REF.bin]; %s is for its files\n",
                folder);
        return 2;
    } else {
        make_scratch();
        for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) tests[i](), release(0);
        free(scratch.memory);
        remove(in_folder("saved.bin")), remove(in_folder("forged.bin"));
        rmdir(folder);
    }
    return finish();
}
