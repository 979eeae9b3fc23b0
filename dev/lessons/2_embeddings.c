/* Lesson 2: embeddings and LayerNorm.                cc -O2 2_embeddings.c -lm -o 2 && ./2

   Lesson 1 made ids. An id says which token it is, and nothing else: 10 is not more than 5. So the
   model has a table with a row of C numbers for each token, and training moves the rows until
   tokens that are used alike have rows that are alike. Two more tables say where the token stands
   (wpe, a row for each position) and in which of two sentences (wse). The three rows are added:
       x[n] = wte[token] + wse[type] + wpe[position]

   Sums of rows have any size. LayerNorm brings each row to mean 0 and deviation 1, and after it
   the model may stretch and shift each channel, by w and b, as training finds useful. */
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { C = 12, P = 16, S = 2 }; /* hidden size (768 in BERT-base), positions, token types */

static const char *const words[] = {"[CLS]", "[SEP]", "the", "cat", "sat", "slept"};
enum { V = sizeof words / sizeof *words };

/* A sequence is what the model reads at once: here two sentences, each with a [SEP] behind it.
   Their types differ; positions go on from the first to the second. */
static const int tokens[] = {0, 2, 3, 4, 1, 2, 3, 5, 1};
static const int types[] = {0, 0, 0, 0, 0, 1, 1, 1, 1};
enum { N = sizeof tokens / sizeof *tokens };

static float wte[V * C], wpe[P * C], wse[S * C]; /* (V,C), (P,C), (S,C) */
static float x[N * C], out[N * C], w[C], b[C];   /* (N,C), (N,C), (C), (C) */

/* Numbers that look random, the same in each run, between -size and size. */
static float draw(float size)
{
    static unsigned state = 1;
    state = state * 1664525u + 1013904223u; /* Numerical Recipes' generator */
    return size * ((float)(state >> 8) / 8388608.0f - 1.0f);
}

/* ------------------------------------------------------------------------------------------------
   The two layers, as in bert.h */

static void embeddings_forward(float *x, const int *tokens, const int *types)
{
    for (int n = 0; n < N; n++)
        for (int i = 0; i < C; i++)
            x[n * C + i] = wte[tokens[n] * C + i] + wse[types[n] * C + i] + wpe[n * C + i];
}

/* out = (x - mean) / sqrt(variance + eps) * w + b, over the C channels of each row. eps is there
   for a row whose numbers are all equal: its variance is 0. BERT was trained with 1e-12. */
static void layernorm_forward(float *out, const float *x, const float *w, const float *b, int N)
{
    for (int n = 0; n < N; n++) {
        const float *row = x + n * C;
        float mean = 0.0f, variance = 0.0f;
        for (int i = 0; i < C; i++) mean += row[i];
        mean /= C;
        for (int i = 0; i < C; i++) variance += (row[i] - mean) * (row[i] - mean);
        float rstd = 1.0f / sqrtf(variance / C + 1e-12f);
        for (int i = 0; i < C; i++) out[n * C + i] = (row[i] - mean) * rstd * w[i] + b[i];
    }
}

/* ------------------------------------------------------------------------------------------------
   What is shown, and what has to be true of it */

static void mean_and_deviation(double *mean, double *deviation, const float *row)
{
    double sum = 0, squares = 0;
    for (int i = 0; i < C; i++) sum += row[i];
    for (int i = 0; i < C; i++) squares += (row[i] - sum / C) * (row[i] - sum / C);
    *mean = sum / C, *deviation = sqrt(squares / C);
}

/* A row as a picture: how far each number is from 0, on which side. */
static void picture(const float *row)
{
    for (int i = 0; i < C; i++) {
        float a = fabsf(row[i]);
        const char *mark = row[i] < 0 ? (a < 1.5f ? "-" : "--") : a < 1.5f ? "+" : "++";
        printf(" %2s", a < 0.5f ? "." : mark);
    }
}

static void numbers(const char *name, const float *row)
{
    printf("    %-14s", name);
    for (int i = 0; i < C; i++) printf("%6.2f", row[i]);
    printf("\n");
}

/* The largest difference of two arrays. */
static double differ(const float *a, const float *b, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++) most = fmax(most, fabs((double)a[i] - b[i]));
    return most;
}

static void show_rows(const char *title, const float *rows)
{
    printf("%s\n", title);
    for (int n = 0; n < N; n++) {
        double mean, deviation;
        mean_and_deviation(&mean, &deviation, rows + n * C);
        if (fabs(mean) < 0.0005) mean = 0; /* no -0.000 */
        printf("    %-6s%3d%3d %8.3f %8.3f  ", words[tokens[n]], n, types[n], mean, deviation);
        picture(rows + n * C);
        printf("\n");
    }
    printf("\n");
}

int main(void)
{
    /* In a trained BERT rows differ in size; here the later words of the list are larger. */
    for (int v = 0; v < V; v++)
        for (int i = 0; i < C; i++) wte[v * C + i] = draw(0.2f + 0.5f * (float)v);
    for (int i = 0; i < P * C; i++) wpe[i] = draw(0.3f);
    for (int i = 0; i < S * C; i++) wse[i] = draw(0.3f);
    for (int i = 0; i < C; i++) w[i] = 1.0f, b[i] = 0.0f; /* as before training */

    embeddings_forward(x, tokens, types);
    layernorm_forward(out, x, w, b, N);

    printf("The first cat is token 2, the sum of three rows of %d numbers:\n", C);
    numbers("wte[cat]", wte + 3 * C);
    numbers("wse[0]", wse);
    numbers("wpe[2]", wpe + 2 * C);
    numbers("sum", x + 2 * C);
    numbers("LayerNorm", out + 2 * C);
    printf("The second cat is token 6, the same word in another place, and so another row:\n");
    numbers("sum", x + 6 * C);
    printf("\n");
    show_rows("Sums:     position, type, mean, deviation, and a picture (-- to ++)", x);
    show_rows("LayerNorm of them", out);

    /* Both cats differ by their places alone. */
    float here[C], there[C];
    for (int i = 0; i < C; i++) {
        here[i] = x[6 * C + i] - x[2 * C + i];
        there[i] = wse[C + i] + wpe[6 * C + i] - wse[i] - wpe[2 * C + i];
    }
    const double places = differ(here, there, C);

    /* Of 10 x + 5 the mean is 10 mean + 5 and the deviation 10 deviation: both cancel, but for
       rounding, and for eps, which does not grow with them. */
    float moved[N * C], again[N * C];
    for (int i = 0; i < N * C; i++) moved[i] = 10.0f * x[i] + 5.0f;
    layernorm_forward(again, moved, w, b, N);
    const double unseen = differ(again, out, N * C);
    printf("LayerNorm of 10 x + 5 is that of x: the largest difference is %s\n",
           unseen < 1e-4 ? "below 0.0001" : "TOO LARGE");

    /* A row of equal numbers has nothing to say: it becomes b, not 0 / 0. */
    float flat[C], made[C];
    for (int i = 0; i < C; i++) flat[i] = 7.0f, w[i] = 2.0f, b[i] = 0.25f;
    layernorm_forward(made, flat, w, b, 1);
    numbers("of all 7", made);

    /* Of w and b: the channels are stretched by 2 and moved by 0.25. */
    layernorm_forward(again, x, w, b, N);
    for (int i = 0; i < N * C; i++) again[i] = (again[i] - 0.25f) / 2.0f;
    double worst = fmax(fmax(places, unseen), fmax(differ(made, b, C), differ(again, out, N * C)));
    for (int n = 0; n < N; n++) {
        double mean, deviation;
        mean_and_deviation(&mean, &deviation, out + n * C);
        worst = fmax(worst, fmax(fabs(mean), fabs(deviation - 1.0)));
    }
    printf("\n");
    if (!(worst < 1e-4)) return printf("check FAILED: something is off by %g\n", worst), 1;
    printf("check passed: each row has mean 0 and deviation 1, whatever it was before\n");
    return 0;
}

/* What changes next. So far no token knows of another: row 2 is the same whatever stands beside
   it. Lesson 3 lets them look at each other. In bert.h the two layers are
   bert_embeddings_forward and bert_layernorm_forward; many sequences stand end to end there, and
   each counts its positions from 0; mean and rstd are kept, because the backward (lesson 4) needs
   them; and sums have one fixed order, so that every machine makes the same bits. */
