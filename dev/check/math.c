/*
math.c - bert.h's exp, GELU and its derivative against double, for every float32 there is, or
for every STEP-th.

    make check_math && ./check_math [STEP]

exp and tanh: within 2 ulp; exp on [-87, 88], zero below, infinity above. GELU (both forms) and the
derivatives: within 1e-6 * max(1, |x|). NaN and infinities come through. Ends with
"N passed, N failed".
*/
#define BERT_STATIC
#define BERT_IMPLEMENTATION
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../../bert.h"

/* Near zero a few terms are exact in double, and four of five floats are there. */
static int tiny(double x) { return fabs(x) < 1.0 / 4096; }
static double exact_exp(double x)
{
    return tiny(x) ? 1 + x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4))) : exp(x);
}

static double cdf(double x)
{
    if (tiny(x)) return 0.5 + 0.3989422804014327 * x * (1 - x * x / 6);
    return 0.5 * erfc(-x * 0.7071067811865476);
}

static double density(double x) { return 0.3989422804014327 * exact_exp(-0.5 * x * x); }

static double exact_tanh(double u) { return tiny(u) ? u * (1 - u * u / 3) : tanh(u); }
static double inner(double x) { return 0.7978845608028654 * (x + 0.044715 * x * x * x); }
static double exact_gelu(double x) { return x * cdf(x); }
static double exact_dgelu(double x) { return cdf(x) + x * density(x); }
static double exact_gelu_tanh(double x) { return 0.5 * x * (1 + exact_tanh(inner(x))); }
static double exact_dgelu_tanh(double x)
{
    double t = exact_tanh(inner(x));
    double du = 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
    return 0.5 * (1 + t) + (t * t == 1 ? 0 : 0.5 * x * (1 - t * t) * du);
}

/* In plain loops, which become vectors, as in the layers. */
#define EACH(f)                                                                                    \
    static void each_##f(float *y, const float *x, int n)                                          \
    {                                                                                              \
        for (int i = 0; i < n; i++) y[i] = f(x[i]);                                                \
    }
EACH(bert_exp_)
EACH(bert_gelu_)
EACH(bert_dgelu_)
EACH(bert_gelu_tanh_)
EACH(bert_dgelu_tanh_)
EACH(bert_tanh_)

static const struct {
    const char *name;
    void (*ours)(float *y, const float *x, int n);
    double (*theirs)(double);
} functions[] = {{"exp, in 2 ulp", each_bert_exp_, exact_exp},
                 {"gelu, in 1e-6", each_bert_gelu_, exact_gelu},
                 {"its derivative", each_bert_dgelu_, exact_dgelu},
                 {"gelu_new", each_bert_gelu_tanh_, exact_gelu_tanh},
                 {"its derivative", each_bert_dgelu_tanh_, exact_dgelu_tanh},
                 {"tanh, in 2 ulp", each_bert_tanh_, exact_tanh}};
enum { FUNCTIONS = sizeof functions / sizeof *functions, BLOCK = 4096 };

/* The distance in units of what is allowed; above 1 is a failure, and so is NaN. */
static double error(int which, float x, double y)
{
    double want;
    if (x != x) return y != y ? 0 : 9;
    if (which == 0 || which == 5) {
        if (which == 0 && x < -87.0f) return y == 0 ? 0 : 9;
        if (which == 0 && x > 88.0f) return isinf(y) && y > 0 ? 0 : 9;
        if (x == 0 || isinf(x)) return y == functions[which].theirs(x) ? 0 : 9;
        want = functions[which].theirs(x);
        int e;
        frexp(want, &e);
        return fabs(y - want) / ldexp(1, e - 24) / 2; /* a float's ulp at want */
    }
    if (isinf(x)) return which % 2 == 0 || x < 0 || isinf(y) ? 0 : 9;
    if (fabsf(x) > 64.0f) { /* the tails: x or 0, 1 or 0; their products may overflow on the way */
        want = which % 2 ? (x > 0 ? x : 0) : x > 0;
        return fabs(x) < 1e12 || x > 0 ? fabs(y - want) / (1e-6 * fabs(x)) : 0;
    }
    want = functions[which].theirs(x);
    return fabs(y - want) / (1e-6 * (fabsf(x) > 1 ? fabsf(x) : 1));
}

int main(int argc, char **argv)
{
    int step = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 1;
    int failed = 0;
    for (int which = 0; which < FUNCTIONS; which++) {
        double worst = 0;
        float where = 0;
        BERT_OMP_(parallel for schedule(dynamic))
        for (int block = 0; block < 1 << 20; block++) {
            float x[BLOCK], y[BLOCK], at = 0;
            double here = 0;
            int n = 0;
            for (int low = block % step; low < BLOCK; low += step) {
                uint32_t bits = (uint32_t)block * BLOCK + (uint32_t)low;
                memcpy(&x[n++], &bits, 4);
            }
            functions[which].ours(y, x, n);
            for (int i = 0; i < n; i++) {
                double e = error(which, x[i], y[i]);
                if (!(e <= here)) here = e != e ? 99 : e, at = x[i];
            }
            BERT_OMP_(critical)
            if (here > worst) worst = here, where = at;
        }
        printf("%s %s: worst %.3f at %.9g\n", worst <= 1 ? "ok  " : "FAIL", functions[which].name,
               worst, where);
        fflush(stdout);
        failed += !(worst <= 1);
    }
    printf("%d passed, %d failed\n", FUNCTIONS - failed, failed);
    return failed > 0;
}
