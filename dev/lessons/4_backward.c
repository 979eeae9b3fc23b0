/* Lesson 4: a backward, derived and checked.           cc -O2 4_backward.c -lm -o 4 && ./4

   Training asks of every number of a model: if it were a little larger, how would the loss change?
   That is d loss / d number, its gradient, here called d + name. The backward computes all of them
   in one walk against the forward's arrows. Each layer gets the gradient of its output, dout, and
   makes those of its inputs and weights, by the chain rule:
       d loss / d inp[i] = sum over o of  dout[o] * d out[o] / d inp[i]
   So a layer only has to know its own derivatives, and layers can be joined in any order.

   Such formulas are easily wrong, and a wrong one often still trains, only worse. But each can be
   checked: move a number by h, up and down; then (loss(x + h) - loss(x - h)) / 2h is the slope.
   This needs two forwards for each number. BERT-base would need 220 million, where the backward
   takes as long as about two. It is the check, not the method.

   The model here is LayerNorm, linear, softmax with cross-entropy: so ends a BERT that fills in
   hidden words. All is double, so that differences have digits left; bert.h does it in float. */
#include <math.h>
#include <stdio.h>

enum { N = 3, C = 5, K = 4 };    /* rows (tokens), channels, labels */
static const double eps = 1e-12; /* as in BERT */

static double x[N * C], lnw[C], lnb[C], w[K * C], b[K]; /* what the loss depends on */
static double ln[N * C], mean[N], rstd[N], logits[N * K], probs[N * K]; /* made by the forward */
/* Gradients. Most are sums: all are 0 before the backward, which runs once. */
static double dx[N * C], dlnw[C], dlnb[C], dw[K * C], db[K], dln[N * C], dlogits[N * K];
static const int labels[N] = {2, 0, 3};

/* ------------------------------------------------------------------------------------------------
   LayerNorm: ln = norm * lnw + lnb, norm = (x - mean) * rstd, rstd = 1 / sqrt(variance + eps) */

static void layernorm_forward(void)
{
    for (int n = 0; n < N; n++) {
        double *row = x + n * C, variance = 0;
        mean[n] = 0;
        for (int i = 0; i < C; i++) mean[n] += row[i] / C;
        for (int i = 0; i < C; i++) variance += (row[i] - mean[n]) * (row[i] - mean[n]) / C;
        rstd[n] = 1 / sqrt(variance + eps);
        for (int i = 0; i < C; i++) ln[n * C + i] = (row[i] - mean[n]) * rstd[n] * lnw[i] + lnb[i];
    }
}

/* lnw[i] multiplies norm[i] in every row, lnb[i] is added in every row: sums over rows,
       dlnw[i] = sum_n dln[n][i] * norm[n][i],   dlnb[i] = sum_n dln[n][i]
   Within a row let dnorm = dln * lnw. x[i] moves norm[j] in three ways: norm[i] by itself; all of
   them through the mean, d mean / d x[i] = 1/C; all of them through rstd. For the last,
       d variance / d x[i] = 2/C (x[i] - mean)   (the mean's own move adds nothing: deviations
                                                  from the mean add up to 0)
       d rstd / d x[i] = -1/2 rstd^3 * 2/C (x[i] - mean) = -rstd^2 norm[i] / C
   Together d norm[j] / d x[i] = rstd * ((i == j) - 1/C - norm[j] norm[i] / C), and so
       dx[i] = sum_j dnorm[j] * d norm[j] / d x[i]
             = rstd * (dnorm[i] - mean_j(dnorm) - norm[i] * mean_j(dnorm * norm)) */
static void layernorm_backward(void)
{
    for (int n = 0; n < N; n++) {
        double norm[C], dnorm[C], mean_dnorm = 0, along = 0;
        for (int i = 0; i < C; i++) {
            norm[i] = (x[n * C + i] - mean[n]) * rstd[n];
            dnorm[i] = dln[n * C + i] * lnw[i];
            dlnw[i] += dln[n * C + i] * norm[i];
            dlnb[i] += dln[n * C + i];
            mean_dnorm += dnorm[i] / C;
            along += dnorm[i] * norm[i] / C;
        }
        for (int i = 0; i < C; i++)
            dx[n * C + i] = rstd[n] * (dnorm[i] - mean_dnorm - norm[i] * along);
    }
}

/* ------------------------------------------------------------------------------------------------
   Linear: logits[n][k] = sum_i ln[n][i] * w[k][i] + b[k] */

static void linear_forward(void)
{
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            logits[n * K + k] = b[k];
            for (int i = 0; i < C; i++) logits[n * K + k] += ln[n * C + i] * w[k * C + i];
        }
}

/* d logits[n][k] / d ln[n][i] = w[k][i], / d w[k][i] = ln[n][i], / d b[k] = 1. Each ln[n][i] goes
   into all k: its gradient is a sum over k. Each w[k][i] is used in all rows: a sum over n. */
static void linear_backward(void)
{
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            double d = dlogits[n * K + k];
            for (int i = 0; i < C; i++) dln[n * C + i] += d * w[k * C + i];
            for (int i = 0; i < C; i++) dw[k * C + i] += d * ln[n * C + i];
            db[k] += d;
        }
}

/* ------------------------------------------------------------------------------------------------
   Softmax and cross-entropy: probs[k] = exp(logits[k]) / sum_j exp(logits[j]),
   loss = mean over rows of -log(probs[label]). These logits are small; else their maximum would be
   taken off first, as in lesson 3. */

static double crossentropy_forward(void)
{
    double loss = 0;
    for (int n = 0; n < N; n++) {
        double sum = 0;
        for (int k = 0; k < K; k++) sum += probs[n * K + k] = exp(logits[n * K + k]);
        for (int k = 0; k < K; k++) probs[n * K + k] /= sum;
        loss -= log(probs[n * K + labels[n]]) / N;
    }
    return loss;
}

/* -log(probs[label]) = log(sum_j exp(logits[j])) - logits[label]. The first term's derivative by
   logits[k] is exp(logits[k]) / sum_j exp(logits[j]) = probs[k]; the second's is 1 for the label.
   What is left is the difference of what the model says and what is true. */
static void crossentropy_backward(void)
{
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) dlogits[n * K + k] = (probs[n * K + k] - (k == labels[n])) / N;
}

static double forward(void)
{
    layernorm_forward();
    linear_forward();
    return crossentropy_forward();
}

static void backward(void)
{
    crossentropy_backward();
    linear_backward();
    layernorm_backward();
}

static double by_difference(double *number, double h)
{
    const double before = *number;
    *number = before + h;
    double up = forward();
    *number = before - h;
    double down = forward();
    *number = before;
    return (up - down) / (2 * h);
}

static struct {
    const char *name;
    double *numbers, *gradient;
    int n;
} all[] = {{"x", x, dx, N *C},
           {"lnw", lnw, dlnw, C},
           {"lnb", lnb, dlnb, C},
           {"w", w, dw, K *C},
           {"b", b, db, K}};

int main(void)
{
    unsigned state = 7;
    double worst = 0;
    int count = 0;
    for (int a = 0; a < 5; a++)
        for (int i = 0; i < all[a].n; i++) {
            state = state * 1664525u + 1013904223u;
            all[a].numbers[i] = (double)(state >> 8) / 8388608.0 - 1.0; /* between -1 and 1 */
        }

    printf("loss: %.6f\n\n", forward());
    backward();
    printf("                  backward   (f(+h) - f(-h)) / 2h\n");
    for (int a = 0; a < 5; a++)
        for (int i = 0; i < all[a].n; i++, count++) {
            double d = all[a].gradient[i], other = by_difference(&all[a].numbers[i], 1e-5);
            if (i < 3) printf("    d%-3s [%d] %13.9f %13.9f\n", all[a].name, i, d, other);
            if (!(fabs(d - other) <= worst)) worst = fabs(d - other); /* also a NaN */
        }
    printf("    the largest difference of all %d is %s\n", count,
           worst < 1e-8 ? "less than 0.00000001" : "TOO LARGE");

    /* Why h = 1e-5? The formula leaves out terms of size h^2; and a loss has 16 digits, of which
       the difference of two near ones loses more, the nearer they are. */
    printf("\nHow far the difference is from the backward (dx[0]), by h:\n");
    for (int digits = 1; digits <= 12; digits++) {
        double h = pow(10, -digits);
        double error = fabs(by_difference(x, h) - dx[0]);
        printf("    h = %.0e   %.0e  ", h, error);
        for (double e = 1e-14; e < error; e *= 2) printf("#");
        printf("\n");
    }

    if (!(worst < 1e-8)) return printf("\ncheck FAILED: a gradient is off by %g\n", worst), 1;
    printf("\ncheck passed: all %d gradients are what moving each number shows\n", count);
    return 0;
}

/* What changes next. Lesson 5 makes the linear layer, in which BERT spends nearly all its time,
   fast. Lesson 7 has the backwards of attention and GELU. bert.h has one for each layer right under
   its forward, with its derivation. Arrays are arguments there; it adds to parameters' gradients,
   as a batch may come in parts, and overwrites the others. Its tests do what this lesson does. */
