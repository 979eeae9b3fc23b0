/* Lesson 7: the smallest BERT that trains.             cc -O2 7_bert.c -lm -o 7 && ./7

   A whole BERT of two layers, forward and backward, in plain loops. Its tokens are letters. Some
   letters of a text are hidden, and it learns to say from both sides what stood there: masked
   language modelling, BERT's own pretraining. The layers are those of lessons 2 to 4 and the
   optimizer is lesson 6's; new are the backward of attention, GELU, the residuals, and how all is
   joined. Names, shapes and order are bert.h's, and check_7.c says that the numbers are, too.

       tokens (N) -> emb -> ln0 (N,C): x of layer 0                        embeddings, LayerNorm
       x -+-> qkv (N,3C) -> atty (N,C) -> linear -> + -> res1 -> ln1       attention
          +-----------------------------------------+
       ln1 -+-> fch (N,F) -> gelu (N,F) -> linear -> + -> res2 -> ln2      feed-forward; x of the
            +----------------------------------------+                     next layer
       ln2's hidden rows (R,C) -> linear -> GELU -> LayerNorm -> headx -> logits (R,V)  */
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The legend of bert.h: B sequences of T tokens, N in all; C hidden size, NH heads of HS, F
   intermediate size, L layers, V vocabulary; R tokens that are hidden, at most N. */
enum { B = 12, T = 16, N = B * T, C = 32, NH = 4, HS = C / NH, F = 64, L = 2 };
enum { STEPS = 600, WARMUP = 60 };

static const char text[][T + 1] = {
    "the sun went out", "the moon came up", "the fox sat down", "the owl flew off",
    "one star fell in", "two dogs came by", "she saw the moon", "the moon saw her",
    "he saw the stars", "the stars saw me", "a cat sat by him", "an owl sat on it",
    "the tree is tall", "the hill is here", "the wind sang on", "all was dark now",
    "then it was late", "the fox ran home", "the owl ran away", "good night to us",
    "i sat in the sun", "we all went home", "and all was well", "the end was near",
};
static const char letters[] = "_ abcdefghijklmnopqrstuvwxyz"; /* a letter's place is its id */
enum { MASK = 0, V = sizeof letters - 1, LINES = sizeof text / sizeof *text };

/* Every parameter, in bert.h's order: as the struct holds nothing but floats, it is one flat array,
   and so is the gradient. w (OC,C) of a linear layer has a row for each output. */
typedef struct {
    float wte[V * C], wpe[T * C], wse[C], ln0w[C], ln0b[C]; /* word, position, segment; LayerNorm */
    float qkvw[L][3 * C * C], qkvb[L][3 * C], attprojw[L][C * C], attprojb[L][C];
    float ln1w[L][C], ln1b[L][C];
    float fcw[L][F * C], fcb[L][F], fcprojw[L][C * F], fcprojb[L][C], ln2w[L][C], ln2b[L][C];
    float mlmw[C * C], mlmb[C], mlmlnw[C], mlmlnb[C], mlmdecb[V]; /* the head; its decoder is wte */
} Params;
enum { PARAMS = sizeof(Params) / sizeof(float) };

/* What the forward leaves for the backward, in each layer and around them. */
typedef struct {
    float qkv[N * 3 * C], att[B * NH * T * T], atty[N * C];
    float res1[N * C], ln1_mean[N], ln1_rstd[N], ln1[N * C];
    float fch[N * F], gelu[N * F], res2[N * C], ln2_mean[N], ln2_rstd[N], ln2[N * C];
} Layer;
typedef struct {
    float emb[N * C], ln0_mean[N], ln0_rstd[N], ln0[N * C];
    Layer layer[L];
    float mlmx[N * C], mlmh[N * C], mlmact[N * C], mlmln_mean[N], mlmln_rstd[N], headx[N * C];
    float logits[N * V], probs[N * V];
} Acts;

static Params w, g, m, v; /* parameters, their gradients, AdamW's two means */
static Acts a;
static int tokens[N], rows[N], labels[N], R; /* rows (R): which are hidden; labels (R): their ids */

/* ------------------------------------------------------------------------------------------------
   The layers: outputs, inputs, weights, sizes. A forward overwrites. A backward adds to gradients
   of parameters (a number that is used often gets the sum) and overwrites those of activations. */

static void embeddings_forward(float *out, const int *tokens, const float *wte, const float *wpe,
                               const float *wse, int B, int T, int C)
{
    for (int n = 0; n < B * T; n++)
        for (int i = 0; i < C; i++)
            out[n * C + i] = wte[tokens[n] * C + i] + wse[i] + wpe[n % T * C + i];
}

/* Each row of a table gets what the tokens that used it got. */
static void embeddings_backward(float *dwte, float *dwpe, float *dwse, const float *dout,
                                const int *tokens, int B, int T, int C)
{
    for (int n = 0; n < B * T; n++)
        for (int i = 0; i < C; i++) {
            dwte[tokens[n] * C + i] += dout[n * C + i];
            dwpe[n % T * C + i] += dout[n * C + i];
            dwse[i] += dout[n * C + i];
        }
}

static void layernorm_forward(float *out, float *mean, float *rstd, const float *inp,
                              const float *w, const float *b, int N, int C)
{
    for (int n = 0; n < N; n++) {
        const float *x = inp + n * C;
        float sum = 0.0f, squares = 0.0f;
        for (int i = 0; i < C; i++) sum += x[i];
        mean[n] = sum / (float)C;
        for (int i = 0; i < C; i++) squares += (x[i] - mean[n]) * (x[i] - mean[n]);
        rstd[n] = 1.0f / sqrtf(squares / (float)C + 1e-12f);
        for (int i = 0; i < C; i++) out[n * C + i] = (x[i] - mean[n]) * rstd[n] * w[i] + b[i];
    }
}

/* Lesson 4 derives it. */
static void layernorm_backward(float *dinp, float *dw, float *db, const float *dout,
                               const float *inp, const float *mean, const float *rstd,
                               const float *w, int N, int C)
{
    for (int n = 0; n < N; n++) {
        const float *d = dout + n * C, *x = inp + n * C;
        float mean_dnorm = 0.0f, along = 0.0f;
        for (int i = 0; i < C; i++) {
            float norm = (x[i] - mean[n]) * rstd[n];
            dw[i] += d[i] * norm;
            db[i] += d[i];
            mean_dnorm += d[i] * w[i] / (float)C;
            along += d[i] * w[i] * norm / (float)C;
        }
        for (int i = 0; i < C; i++) {
            float norm = (x[i] - mean[n]) * rstd[n];
            dinp[n * C + i] = rstd[n] * (d[i] * w[i] - mean_dnorm - norm * along);
        }
    }
}

/* out (N,OC) = inp (N,C) . w^T + b, w (OC,C) */
static void linear_forward(float *out, const float *inp, const float *w, const float *b, int N,
                           int C, int OC)
{
    for (int n = 0; n < N; n++)
        for (int o = 0; o < OC; o++) {
            float sum = b[o];
            for (int i = 0; i < C; i++) sum += inp[n * C + i] * w[o * C + i];
            out[n * OC + o] = sum;
        }
}

/* add: dinp += instead of =, where two branches join */
static void linear_backward(float *dinp, float *dw, float *db, const float *dout, const float *inp,
                            const float *w, int N, int C, int OC, int add)
{
    if (!add) memset(dinp, 0, (size_t)N * (size_t)C * sizeof *dinp);
    for (int n = 0; n < N; n++)
        for (int o = 0; o < OC; o++) {
            float d = dout[n * OC + o];
            for (int i = 0; i < C; i++) dinp[n * C + i] += d * w[o * C + i];
            for (int i = 0; i < C; i++) dw[o * C + i] += d * inp[n * C + i];
            db[o] += d;
        }
}

/* Lesson 3. out (N,C), att (B,NH,T,T), qkv (N,3C): a token's query, key and value, each (NH,HS) */
static void attention_forward(float *out, float *att, const float *qkv, int B, int T, int C, int NH)
{
    const int HS = C / NH;
    for (int b = 0; b < B; b++)
        for (int h = 0; h < NH; h++)
            for (int q = 0; q < T; q++) {
                const float *query = qkv + (b * T + q) * 3 * C + h * HS;
                float *p = att + ((b * NH + h) * T + q) * T,
                      *out_q = out + (b * T + q) * C + h * HS;
                float max = -INFINITY, sum = 0.0f;
                for (int k = 0; k < T; k++) {
                    const float *key = qkv + (b * T + k) * 3 * C + C + h * HS;
                    p[k] = 0.0f;
                    for (int i = 0; i < HS; i++) p[k] += query[i] * key[i] / sqrtf((float)HS);
                    if (p[k] > max) max = p[k];
                }
                for (int k = 0; k < T; k++) sum += p[k] = expf(p[k] - max);
                for (int i = 0; i < HS; i++) out_q[i] = 0.0f;
                for (int k = 0; k < T; k++) {
                    const float *value = qkv + (b * T + k) * 3 * C + 2 * C + h * HS;
                    p[k] /= sum;
                    for (int i = 0; i < HS; i++) out_q[i] += p[k] * value[i];
                }
            }
}

/* The three steps in reverse order, for one query:
       out = sum_k p[k] * value[k]:   dvalue[k] += p[k] * dout,   dp[k] = dout . value[k]
       p = softmax(score): as in lesson 4 d p[j] / d score[k] = p[j] * ((j == k) - p[k]), so
                                      dscore[k] = p[k] * (dp[k] - sum_j p[j] * dp[j])
       score[k] = query . key[k] / sqrt(HS):
                                      dquery += dscore[k] * key[k] / sqrt(HS), dkey likewise */
static void attention_backward(float *dqkv, const float *dout, const float *att, const float *qkv,
                               int B, int T, int C, int NH)
{
    const int HS = C / NH;
    memset(dqkv, 0, (size_t)(B * T * 3 * C) * sizeof *dqkv);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < NH; h++)
            for (int q = 0; q < T; q++) {
                const size_t at_q = (size_t)((b * T + q) * 3 * C + h * HS);
                const float *p = att + ((b * NH + h) * T + q) * T;
                const float *dout_q = dout + (b * T + q) * C + h * HS;
                float dp[512], mean = 0.0f; /* BERT's longest sequence */
                for (int k = 0; k < T; k++) {
                    const size_t value = (size_t)((b * T + k) * 3 * C + 2 * C + h * HS);
                    dp[k] = 0.0f;
                    for (int i = 0; i < HS; i++) dp[k] += dout_q[i] * qkv[value + i];
                    for (int i = 0; i < HS; i++) dqkv[value + i] += p[k] * dout_q[i];
                    mean += p[k] * dp[k];
                }
                for (int k = 0; k < T; k++) {
                    const size_t key = (size_t)((b * T + k) * 3 * C + C + h * HS);
                    float dscore = p[k] * (dp[k] - mean) / sqrtf((float)HS);
                    for (int i = 0; i < HS; i++) dqkv[at_q + i] += dscore * qkv[key + i];
                    for (int i = 0; i < HS; i++) dqkv[key + i] += dscore * qkv[at_q + i];
                }
            }
}

/* GELU: x * cdf(x), the probability that a normal number is below x: a soft version of max(x, 0).
   Its derivative is cdf(x) + x * density(x). */
static float normal_cdf(float x) { return 0.5f * (1.0f + erff(x * 0.70710678f)); }

static void gelu_forward(float *out, const float *inp, int n)
{
    for (int i = 0; i < n; i++) out[i] = inp[i] * normal_cdf(inp[i]);
}

static void gelu_backward(float *dinp, const float *dout, const float *inp, int n)
{
    for (int i = 0; i < n; i++) {
        float x = inp[i], density = 0.39894228f * expf(-0.5f * x * x);
        dinp[i] = dout[i] * (normal_cdf(x) + x * density);
    }
}

static void add(float *out, const float *x, int n)
{
    for (int i = 0; i < n; i++) out[i] += x[i];
}

/* Returns the mean of -log(probs[label]). */
static float crossentropy_forward(float *probs, const float *logits, const int *labels, int R,
                                  int V)
{
    float loss = 0.0f;
    for (int r = 0; r < R; r++) {
        const float *x = logits + r * V;
        float *p = probs + r * V, max = x[0], sum = 0.0f;
        for (int k = 1; k < V; k++) max = fmaxf(max, x[k]);
        for (int k = 0; k < V; k++) sum += p[k] = expf(x[k] - max);
        for (int k = 0; k < V; k++) p[k] /= sum;
        loss += (logf(sum) - (x[labels[r]] - max)) / (float)R;
    }
    return loss;
}

static void crossentropy_backward(float *dlogits, const float *probs, const int *labels, int R,
                                  int V)
{
    for (int i = 0; i < R * V; i++)
        dlogits[i] = (probs[i] - (float)(i % V == labels[i / V])) / (float)R;
}

/* ------------------------------------------------------------------------------------------------
   The model */

static void layer_forward(int l)
{
    Layer *s = &a.layer[l];
    const float *x = l ? a.layer[l - 1].ln2 : a.ln0;
    linear_forward(s->qkv, x, w.qkvw[l], w.qkvb[l], N, C, 3 * C);
    attention_forward(s->atty, s->att, s->qkv, B, T, C, NH);
    linear_forward(s->res1, s->atty, w.attprojw[l], w.attprojb[l], N, C, C);
    add(s->res1, x, N * C);
    layernorm_forward(s->ln1, s->ln1_mean, s->ln1_rstd, s->res1, w.ln1w[l], w.ln1b[l], N, C);
    linear_forward(s->fch, s->ln1, w.fcw[l], w.fcb[l], N, C, F);
    gelu_forward(s->gelu, s->fch, N * F);
    linear_forward(s->res2, s->gelu, w.fcprojw[l], w.fcprojb[l], N, F, C);
    add(s->res2, s->ln1, N * C);
    layernorm_forward(s->ln2, s->ln2_mean, s->ln2_rstd, s->res2, w.ln2w[l], w.ln2b[l], N, C);
}

/* Line by line from the end. dx comes in as ln2's gradient and goes out as x's. Where the forward
   adds two branches, both get the whole gradient, and where they came from it is added up again:
   dres2 goes into fcproj and stays, as ln1's part by the short way, until fc adds to it. */
static void layer_backward(int l, float *dx)
{
    static float dres2[N * C], datty[N * C], dqkv[N * 3 * C], dfch[N * F];
    float *dln1 = dres2, *dres1 = dx;
    const Layer *s = &a.layer[l];
    const float *x = l ? a.layer[l - 1].ln2 : a.ln0;
    layernorm_backward(dres2, g.ln2w[l], g.ln2b[l], dx, s->res2, s->ln2_mean, s->ln2_rstd,
                       w.ln2w[l], N, C);
    linear_backward(dfch, g.fcprojw[l], g.fcprojb[l], dres2, s->gelu, w.fcprojw[l], N, F, C, 0);
    gelu_backward(dfch, dfch, s->fch, N * F);
    linear_backward(dln1, g.fcw[l], g.fcb[l], dfch, s->ln1, w.fcw[l], N, C, F, 1);
    layernorm_backward(dres1, g.ln1w[l], g.ln1b[l], dln1, s->res1, s->ln1_mean, s->ln1_rstd,
                       w.ln1w[l], N, C);
    linear_backward(datty, g.attprojw[l], g.attprojb[l], dres1, s->atty, w.attprojw[l], N, C, C, 0);
    attention_backward(dqkv, datty, s->att, s->qkv, B, T, C, NH);
    linear_backward(dx, g.qkvw[l], g.qkvb[l], dqkv, x, w.qkvw[l], N, C, 3 * C, 1);
}

/* Returns the loss. Only the R hidden rows get logits: nobody asks about the others. */
static float forward(void)
{
    embeddings_forward(a.emb, tokens, w.wte, w.wpe, w.wse, B, T, C);
    layernorm_forward(a.ln0, a.ln0_mean, a.ln0_rstd, a.emb, w.ln0w, w.ln0b, N, C);
    for (int l = 0; l < L; l++) layer_forward(l);
    for (int r = 0; r < R; r++)
        memcpy(a.mlmx + r * C, a.layer[L - 1].ln2 + rows[r] * C, C * sizeof(float));
    linear_forward(a.mlmh, a.mlmx, w.mlmw, w.mlmb, R, C, C);
    gelu_forward(a.mlmact, a.mlmh, R * C);
    layernorm_forward(a.headx, a.mlmln_mean, a.mlmln_rstd, a.mlmact, w.mlmlnw, w.mlmlnb, R, C);
    linear_forward(a.logits, a.headx, w.wte, w.mlmdecb, R, C, V); /* how alike is each letter? */
    return crossentropy_forward(a.probs, a.logits, labels, R, V);
}

static void backward(void)
{
    static float dlogits[N * V], dheadx[N * C], dmlmact[N * C], dmlmx[N * C], dx[N * C];
    float *dmlmh = dmlmact, *demb = dheadx;
    crossentropy_backward(dlogits, a.probs, labels, R, V);
    linear_backward(dheadx, g.wte, g.mlmdecb, dlogits, a.headx, w.wte, R, C, V, 0);
    layernorm_backward(dmlmact, g.mlmlnw, g.mlmlnb, dheadx, a.mlmact, a.mlmln_mean, a.mlmln_rstd,
                       w.mlmlnw, R, C);
    gelu_backward(dmlmh, dmlmact, a.mlmh, R * C);
    linear_backward(dmlmx, g.mlmw, g.mlmb, dmlmh, a.mlmx, w.mlmw, R, C, C, 0);
    memset(dx, 0, sizeof dx);
    for (int r = 0; r < R; r++) memcpy(dx + rows[r] * C, dmlmx + r * C, C * sizeof(float));
    for (int l = L - 1; l >= 0; l--) layer_backward(l, dx);
    layernorm_backward(demb, g.ln0w, g.ln0b, dx, a.emb, a.ln0_mean, a.ln0_rstd, w.ln0w, N, C);
    embeddings_backward(g.wte, g.wpe, g.wse, demb, tokens, B, T, C);
}

/* ------------------------------------------------------------------------------------------------
   Training */

static float uniform(void) /* between 0 and 1 */
{
    static unsigned state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / 16777216.0f;
}

static void draw(void *tensor, size_t bytes, float mean, float deviation)
{
    for (float *x = (float *)tensor; bytes; x++, bytes -= sizeof *x) {
        float sum = -6.0f;
        for (int i = 0; i < 12; i++) sum += uniform(); /* of 12 uniform numbers the variance is 1 */
        *x = mean + deviation * sum;
    }
}

/* Matrices are random, LayerNorm's weights 1, biases stay 0. BERT's deviation is 0.02, for C = 768;
   sums over fewer channels need larger numbers. */
static void init(void)
{
    draw(w.wte, sizeof w.wte, 0.0f, 0.2f), draw(w.wpe, sizeof w.wpe, 0.0f, 0.2f);
    draw(w.wse, sizeof w.wse, 0.0f, 0.2f), draw(w.ln0w, sizeof w.ln0w, 1.0f, 0.0f);
    draw(w.qkvw, sizeof w.qkvw, 0.0f, 0.2f), draw(w.attprojw, sizeof w.attprojw, 0.0f, 0.2f);
    draw(w.ln1w, sizeof w.ln1w, 1.0f, 0.0f), draw(w.fcw, sizeof w.fcw, 0.0f, 0.2f);
    draw(w.fcprojw, sizeof w.fcprojw, 0.0f, 0.2f), draw(w.ln2w, sizeof w.ln2w, 1.0f, 0.0f);
    draw(w.mlmw, sizeof w.mlmw, 0.0f, 0.2f), draw(w.mlmlnw, sizeof w.mlmlnw, 1.0f, 0.0f);
}

static int id_of(char letter) { return (int)(strchr(letters, letter) - letters); }

static void hide(int n)
{
    rows[R] = n, labels[R++] = tokens[n];
    tokens[n] = MASK;
}

/* B lines of the text, about 15 % of their letters hidden. BERT leaves some of them as they are and
   swaps some for others, so that a token that is not [MASK] cannot be trusted blindly. */
static void next_batch(void)
{
    R = 0;
    for (int n = 0, line = 0; n < N; n++) {
        if (n % T == 0) line = (int)(uniform() * LINES);
        tokens[n] = id_of(text[line][n % T]);
        if (uniform() < 0.15f) hide(n);
    }
}

/* Lesson 6; all parameters at once, without weight decay. */
static void adamw(float *w, float *m, float *v, const float *dw, int n, float lr, int t)
{
    const float fix1 = 1.0f - powf(0.9f, (float)t), fix2 = 1.0f - powf(0.999f, (float)t);
    for (int i = 0; i < n; i++) {
        m[i] = 0.9f * m[i] + 0.1f * dw[i];
        v[i] = 0.999f * v[i] + 0.001f * dw[i] * dw[i];
        w[i] -= lr * (m[i] / fix1) / (sqrtf(v[i] / fix2) + 1e-8f);
    }
}

static float learning_rate(int step)
{
    return 5e-3f *
           (step < WARMUP ? (float)step / WARMUP : (float)(STEPS - step) / (STEPS - WARMUP));
}

static float train_step(int step)
{
    next_batch();
    memset(&g, 0, sizeof g);
    float loss = forward();
    backward();
    adamw((float *)&w, (float *)&m, (float *)&v, (float *)&g, PARAMS, learning_rate(step),
          step + 1);
    return loss;
}

#ifndef LESSON_7_WITHOUT_MAIN /* check_7.c has its own */
/* Hides the letters first, first + 5, ... of so many lines, at most B; shows its guesses; returns
   how many are right. */
static int guess(const char lines[][T + 1], int count, int first, int show)
{
    char hidden[N], guessed[N];
    int right = 0;
    R = 0;
    for (int n = 0; n < N; n++) { /* where there is no line, there are blanks */
        tokens[n] = id_of(n / T < count ? lines[n / T][n % T] : ' ');
        if (n / T < count && n % T % 5 == first) hide(n);
    }
    forward();
    for (int n = 0; n < N; n++) hidden[n] = guessed[n] = letters[tokens[n]];
    for (int r = 0; r < R; r++) {
        int best = 0;
        for (int k = 1; k < V; k++)
            if (a.probs[r * V + k] > a.probs[r * V + best]) best = k;
        guessed[rows[r]] = letters[best];
        right += best == labels[r];
    }
    for (int b = 0; b < count && show; b++)
        printf("    %.*s    %.*s    %s\n", T, hidden + b * T, T, guessed + b * T, lines[b]);
    return right;
}

/* The share of all letters of the text that is guessed right. */
static float accuracy(void)
{
    int right = 0;
    for (int first = 0; first < 5; first++)
        for (int line = 0; line < LINES; line += B) right += guess(text + line, B, first, 0);
    return (float)right / (LINES * T);
}

int main(void)
{
    static const char new_lines[][T + 1] = {"the owl ran home", "the fox flew off",
                                            "the moon ran off", "a cat saw a star"};
    float loss = 0.0f, right = 0.0f;
    init();
    printf("%d parameters. Before training:\n    hidden              guessed             text\n",
           PARAMS);
    guess(text, 6, 2, 1);
    for (int step = 0; step < STEPS; step++) {
        if (step % 100 == 0) printf("%sstep", step ? "" : "\n"), loss = 0.0f;
        loss += train_step(step) / 100;
        if (step % 100 == 99)
            printf(" %3d..%3d   loss %.3f   right %3.0f %%\n", step - 99, step, loss,
                   100 * (right = accuracy()));
    }
    printf("\nAfter it:\n");
    guess(text, 6, 2, 1);
    printf("Lines that it has never seen:\n");
    guess(new_lines, 4, 2, 1);
    if (!(right > 0.95f && loss < 0.4f))
        return printf("\ncheck FAILED: it did not learn the text: loss %.3f\n", loss), 1;
    printf("\ncheck passed: it has learned to fill in the letters\n");
    return 0;
}
#endif

/* What changes next. Lesson 8 trains such a model for a task, with bert.h in place of this file.
   bert.h has the same layers in the same order. What it has besides: words in place of letters,
   and [CLS] and [SEP]; dropout; sequences of different lengths, end to end; attention without its
   matrix; products as fast as in lesson 5, and the same bits on every machine; heads for other
   tasks; files, so that the weights can be those that Google trained for four days. */
