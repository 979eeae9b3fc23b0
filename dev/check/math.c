/*
math.c - bert.h's exp, GELU and its derivative against double, for every float32 there is, or
for every STEP-th.

    make check_math && ./check_math [STEP]

exp and tanh: within 2 ulp; exp on [-87, 88], zero below, infinity above. GELU (both forms) and the
derivatives: within 1e-6 * max(1, |x|). NaN and infinities come through. Ends with
"N passed, N failed".

Of x and -x one evaluation of libm is enough, and of thirteen floats twelve need none: near zero a
few terms of a series are exact in double, and from 128 on all functions have reached their limits.
*/
#define BERT_STATIC
#define BERT_IMPLEMENTATION
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../../bert.h"

enum { EXP, GELU, DGELU, GELU_NEW, DGELU_NEW, TANH, FUNCTIONS, BLOCK = 4096 };
static const char *const names[FUNCTIONS] = {"exp, in 2 ulp", "gelu, in 1e-6",  "its derivative",
                                             "gelu_new",      "its derivative", "tanh, in 2 ulp"};

/* No function of bert.h's interface has e^x as its result, so its exp goes by its private name. */
static void ours(float *y, const float *x, int n, int which)
{
    static float one[BLOCK];
    if (one[0] == 0.0f) {
        for (int i = 0; i < BLOCK; i++) one[i] = 1.0f;
    }
    if (which == EXP)
        for (int i = 0; i < n; i++) y[i] = bert_exp_(x[i]);
    else if (which == TANH) bert_tanh_forward(y, x, n);
    else {
        const int act = which < GELU_NEW ? BERT_GELU : BERT_GELU_TANH;
        if (which == GELU || which == GELU_NEW) bert_activation_forward(y, x, n, act);
        else bert_activation_backward(y, one, x, n, act);
    }
}

/* What is exact at x > 0 in double; at -x it follows: e^-x, 1 - cdf, the same density, -tanh. */
typedef struct {
    double up[BLOCK], down[BLOCK];     /* e^x, e^-x */
    double cdf[BLOCK], density[BLOCK]; /* of N(0, 1) */
    double bend[BLOCK], tanh[BLOCK];   /* tanh of gelu_new's u, of x */
    double units[2][BLOCK];            /* 1 / what GELU may be off by at x, at -x */
} Exact;

static double u_of(double x) { return 0.7978845608028654 * (x + 0.044715 * x * x * x); }

static void exact_near_zero(Exact *e, const float *xs, int n)
{
    for (int i = 0; i < n; i++) {
        double x = xs[i], u = u_of(x), half = 0.5 * x * x;
        e->up[i] = 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4)));
        e->down[i] = 1 - x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4)));
        e->density[i] = 0.3989422804014327 * (1 - half * (1 - half / 2));
        e->cdf[i] = 0.5 + 0.3989422804014327 * x * (1 - x * x / 6);
        e->bend[i] = u * (1 - u * u / 3);
        e->tanh[i] = x * (1 - x * x / 3);
    }
}

static void exact_by_libm(Exact *e, const float *xs, int n)
{
    for (int i = 0; i < n; i++) {
        double x = xs[i], up = exp(x);
        e->up[i] = x > 88.0 ? (double)INFINITY : up;
        e->down[i] = x > 87.0 ? 0 : 1 / up;
        e->density[i] = 0.3989422804014327 * exp(-0.5 * x * x);
        e->cdf[i] = 1 - 0.5 * erfc(x * 0.7071067811865476);
        e->bend[i] = tanh(u_of(x));
        e->tanh[i] = tanh(x);
    }
}

static void exact_far(Exact *e, int n)
{
    for (int i = 0; i < n; i++) {
        e->up[i] = (double)INFINITY, e->down[i] = e->density[i] = 0;
        e->cdf[i] = e->bend[i] = e->tanh[i] = 1;
    }
}

/* What a function has to give at sign * xs, sign 1 or -1. */
static void wanted(double *want, const Exact *e, const float *xs, int n, int which, double sign)
{
    switch (which) {
    case EXP:
        memcpy(want, sign > 0 ? e->up : e->down, (size_t)n * sizeof *want);
        break;
    case TANH:
        for (int i = 0; i < n; i++) want[i] = sign * e->tanh[i];
        break;
    case GELU:
        for (int i = 0; i < n; i++) want[i] = xs[i] * (sign > 0 ? e->cdf[i] : e->cdf[i] - 1);
        break;
    case DGELU:
        for (int i = 0; i < n; i++)
            want[i] = (sign > 0 ? e->cdf[i] : 1 - e->cdf[i]) + sign * xs[i] * e->density[i];
        break;
    case GELU_NEW:
        for (int i = 0; i < n; i++) want[i] = 0.5 * xs[i] * (sign + e->bend[i]);
        break;
    default:
        for (int i = 0; i < n; i++) {
            double x = xs[i], t = e->bend[i], du = 0.7978845608028654 * (1 + 0.134145 * x * x);
            want[i] = 0.5 * (1 + sign * t) + (t == 1 ? 0 : sign * 0.5 * x * (1 - t * t) * du);
        }
    }
}

/* The distance in units of what is allowed; above 1 is a failure. */
static void errors(double *error, const float *y, const double *want, const Exact *e, int n,
                   int which, int negative)
{
    if (which != EXP && which != TANH) {
        for (int i = 0; i < n; i++) error[i] = fabs(y[i] - want[i]) * e->units[negative][i];
        return;
    }
    for (int i = 0; i < n; i++) {
        uint64_t bits;
        double units; /* a float's ulp is 2^-23 of the power of two below it: 2^22 / power */
        memcpy(&bits, &want[i], 8);
        bits &= 0x7FF0000000000000u;
        int end = bits == 0 || bits == 0x7FF0000000000000u; /* nothing but this zero or infinity */
        bits = ((uint64_t)(2046 + 22) << 52) - bits;
        memcpy(&units, &bits, 8);
        error[i] = !end ? fabs(y[i] - want[i]) * units : y[i] == want[i] ? 0 : 9;
    }
}

/* The largest, 99 for a NaN. Bits of numbers that are not negative are ordered as these are, with
   NaN above all, and the largest of integers is found in vectors. */
static double worst_of(const double *error, int n)
{
    uint64_t most = 0, bits;
    double worst;
    for (int i = 0; i < n; i++) {
        memcpy(&bits, &error[i], 8);
        most = bits > most ? bits : most;
    }
    memcpy(&worst, &most, 8);
    return worst == worst ? worst : 99;
}

/* Infinities and NaN, in the same units. */
static void errors_beyond(double *error, const float *y, const float *xs, int n, int which,
                          double sign)
{
    for (int i = 0; i < n; i++) {
        int good = y[i] != y[i];
        if (xs[i] == xs[i]) {
            if (which == EXP) good = y[i] == (sign > 0 ? INFINITY : 0);
            else if (which == TANH) good = y[i] == sign;
            else good = which == DGELU || which == DGELU_NEW || sign < 0 || isinf(y[i]);
        }
        error[i] = good ? 0 : 9;
    }
}

static double worst[FUNCTIONS];
static float where[FUNCTIONS];

/* The floats whose bits, but for the sign, are block * BLOCK + low .., every step-th. */
static void check_block(int block, int step)
{
    float x[BLOCK], minus[BLOCK], y[BLOCK];
    static Exact e[1];
    double want[BLOCK], error[BLOCK];
    int n = 0, exponent = block >> 11; /* of 2^23 floats each */
    for (int low = block % step; low < BLOCK; low += step, n++) {
        uint32_t bits = (uint32_t)block * BLOCK + (uint32_t)low;
        memcpy(&x[n], &bits, 4);
        minus[n] = -x[n];
    }
    for (int i = 0; i < n; i++) { /* -x (1 - cdf) may overflow where x is beyond all use */
        e->units[0][i] = 1e6 / (x[i] > 1 ? x[i] : 1);
        e->units[1][i] = x[i] < 1e12f ? e->units[0][i] : 0;
    }
    if (exponent < 127 - 12) exact_near_zero(e, x, n);
    else if (exponent < 127 + 7) exact_by_libm(e, x, n);
    else exact_far(e, n);
    for (int which = 0; which < FUNCTIONS; which++)
        for (int sign = 1; sign >= -1; sign -= 2) {
            ours(y, sign > 0 ? x : minus, n, which);
            wanted(want, e, x, n, which, sign);
            if (exponent < 255) errors(error, y, want, e, n, which, sign < 0);
            else errors_beyond(error, y, x, n, which, sign);
            double here = worst_of(error, n);
            if (!(here > worst[which])) continue;
            worst[which] = here;
            for (int i = 0; i < n; i++)
                if (worst_of(error + i, 1) == here) where[which] = (float)sign * x[i];
        }
}

int main(int argc, char **argv)
{
    int step = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 1, failed = 0;
    for (int block = 0; block < 1 << 19; block++) check_block(block, step);
    for (int which = 0; which < FUNCTIONS; which++) {
        int good = worst[which] <= 1;
        printf("%s %s: worst %.3f at %.9g\n", good ? "ok  " : "FAIL", names[which], worst[which],
               where[which]);
        failed += !good;
    }
    printf("%d passed, %d failed\n", FUNCTIONS - failed, failed);
    return failed > 0;
}
