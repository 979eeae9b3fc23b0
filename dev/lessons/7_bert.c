/* Lesson 7: the smallest BERT that trains.             cc -O2 7_bert.c -lm -o 7 && ./7

   A whole BERT of two layers, forward and backward, in plain loops. Its tokens are letters. Some
   letters of a text are hidden, and it learns to say from both sides what stood there: masked
   language modelling, BERT's own pretraining. The layers are those of lessons 2 to 4 and the
   optimizer is lesson 6's; new are the backward of attention, GELU, the residuals, and how all is
   joined. Names, shapes and order are bert.h's (but att, which it does not store), and check_7.c
   says that the numbers are, too.

       tokens (N) -> emb -> ln0 (N,C): x of layer 0                        embeddings, LayerNorm
       x -+-> qkv (N,3C) -> atty (N,C) -> linear -> + -> res1 -> ln1       attention
          +-----------------------------------------+
       ln1 -+-> fch (N,F) -> fcact (N,F) -> linear -> + -> res2 -> ln2     feed-forward, with GELU;
            +-----------------------------------------+                    ln2 is the next layer's x
       ln2's hidden rows (R,C) -> linear -> GELU -> LayerNorm -> headx -> logits (R,V)  */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The legend of bert.h: B sequences of T tokens, N in all; C hidden size, NH heads of HS, F
   intermediate size, L layers, V vocabulary; R tokens that are hidden; OC outputs of a layer. */
enum { B = 12, T = 16, N = B * T, C = 32, NH = 4, HS = C / NH, F = 64, L = 2 };
enum { STEPS = 600, WARMUP = 60 };

/* At least B lines of T letters; it is not trained on the last UNSEEN of them. */
static const char text[][T + 1] = {
    "the sun went out", "the moon came up", "the fox sat down", "the owl flew off",
    "one star fell in", "two dogs came by", "she saw the moon", "the moon saw her",
    "he saw the stars", "the stars saw me", "a cat sat by him", "an owl sat on it",
    "the tree is tall", "the hill is here", "the wind sang on", "all was dark now",
    "then it was late", "the fox ran home", "the owl ran away", "good night to us",
    "i sat in the sun", "we all went home", "and all was well", "the end was near",
    "the owl ran home", "the fox flew off", "the moon ran off", "a cat saw a star",
};
static const char letters[] = "_ abcdefghijklmnopqrstuvwxyz"; /* a letter's place is its id */
enum { MASK = 0, V = sizeof letters - 1, LINES = sizeof text / sizeof *text, UNSEEN = 4 };

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
    float fch[N * F], fcact[N * F], res2[N * C], ln2_mean[N], ln2_rstd[N], ln2[N * C];
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
   The layers: outputs, inputs, weights, and the sizes that are not always the same. A forward
   overwrites. A backward adds to gradients of parameters (a number that is used often gets the sum)
   and overwrites those of activations. */

static void embeddings_forward(float *out, const int *tokens, const float *wte, const float *wpe,
                               const float *wse)
{
    for (int n = 0; n < N; n++)
        for (int i = 0; i < C; i++)
            out[n * C + i] = wte[tokens[n] * C + i] + wse[i] + wpe[n % T * C + i];
}

/* Each row of a table gets what the tokens that used it got. */
static void embeddings_backward(float *dwte, float *dwpe, float *dwse, const float *dout,
                                const int *tokens)
{
    for (int n = 0; n < N; n++)
        for (int i = 0; i < C; i++) {
            dwte[tokens[n] * C + i] += dout[n * C + i];
            dwpe[n % T * C + i] += dout[n * C + i];
            dwse[i] += dout[n * C + i];
        }
}

static void layernorm_forward(float *out, float *mean, float *rstd, const float *inp,
                              const float *w, const float *b, int N)
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
                               const float *w, int N)
{
    for (int n = 0; n < N; n++) {
        float norm[C], dnorm[C], mean_dnorm = 0.0f, along = 0.0f;
        for (int i = 0; i < C; i++) {
            norm[i] = (inp[n * C + i] - mean[n]) * rstd[n];
            dnorm[i] = dout[n * C + i] * w[i];
            dw[i] += dout[n * C + i] * norm[i];
            db[i] += dout[n * C + i];
            mean_dnorm += dnorm[i] / (float)C;
            along += dnorm[i] * norm[i] / (float)C;
        }
        for (int i = 0; i < C; i++)
            dinp[n * C + i] = rstd[n] * (dnorm[i] - mean_dnorm - norm[i] * along);
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
static void attention_forward(float *out, float *att, const float *qkv)
{
    for (int b = 0; b < B; b++)
        for (int h = 0; h < NH; h++)
            for (int q = 0; q < T; q++) {
                const float *query = qkv + (b * T + q) * 3 * C + h * HS;
                float *p = att + ((b * NH + h) * T + q) * T, max = -INFINITY, sum = 0.0f;
                float *out_q = out + (b * T + q) * C + h * HS;
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
       p = softmax(score): by lesson 4 d log p[j] / d score[k] = (j == k) - p[k]. Times p[j] it is
                           d p[j] / d score[k]; times dp[j], and added up over j,
                                      dscore[k] = p[k] * (dp[k] - sum_j p[j] * dp[j])
       score[k] = query . key[k] / sqrt(HS):
                                      dquery += dscore[k] * key[k] / sqrt(HS), dkey likewise
   A query's dscore add up to 0: the keys' bias, which changes nothing (lesson 3), has a gradient
   that is 0 but for rounding. BERT has that bias all the same; check_7.c has to know it. */
static void attention_backward(float *dqkv, const float *dout, const float *att, const float *qkv)
{
    memset(dqkv, 0, sizeof(float) * N * 3 * C);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < NH; h++)
            for (int q = 0; q < T; q++) {
                const size_t at_q = (size_t)((b * T + q) * 3 * C + h * HS);
                const float *p = att + ((b * NH + h) * T + q) * T;
                const float *dout_q = dout + (b * T + q) * C + h * HS;
                float dp[T], mean = 0.0f;
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
   Two linear layers with nothing between would be one. Its derivative: cdf(x) + x * density(x). */
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

/* Returns the mean of -log(probs[label]). */
static float crossentropy_forward(float *probs, const float *logits, const int *labels, int R)
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

static void crossentropy_backward(float *dlogits, const float *probs, const int *labels, int R)
{
    for (int i = 0; i < R * V; i++)
        dlogits[i] = (probs[i] - (float)(i % V == labels[i / V])) / (float)R;
}

/* ------------------------------------------------------------------------------------------------
   The model */

/* Attention and feed-forward are added to what went into them (residuals): they change x, they do
   not replace it, and the backward has a way past them. */
static void layer_forward(int l)
{
    Layer *s = &a.layer[l];
    const float *x = l ? a.layer[l - 1].ln2 : a.ln0;
    linear_forward(s->qkv, x, w.qkvw[l], w.qkvb[l], N, C, 3 * C);
    attention_forward(s->atty, s->att, s->qkv);
    linear_forward(s->res1, s->atty, w.attprojw[l], w.attprojb[l], N, C, C);
    for (int i = 0; i < N * C; i++) s->res1[i] += x[i];
    layernorm_forward(s->ln1, s->ln1_mean, s->ln1_rstd, s->res1, w.ln1w[l], w.ln1b[l], N);
    linear_forward(s->fch, s->ln1, w.fcw[l], w.fcb[l], N, C, F);
    gelu_forward(s->fcact, s->fch, N * F);
    linear_forward(s->res2, s->fcact, w.fcprojw[l], w.fcprojb[l], N, F, C);
    for (int i = 0; i < N * C; i++) s->res2[i] += s->ln1[i];
    layernorm_forward(s->ln2, s->ln2_mean, s->ln2_rstd, s->res2, w.ln2w[l], w.ln2b[l], N);
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
                       w.ln2w[l], N);
    linear_backward(dfch, g.fcprojw[l], g.fcprojb[l], dres2, s->fcact, w.fcprojw[l], N, F, C, 0);
    gelu_backward(dfch, dfch, s->fch, N * F);
    linear_backward(dln1, g.fcw[l], g.fcb[l], dfch, s->ln1, w.fcw[l], N, C, F, 1);
    layernorm_backward(dres1, g.ln1w[l], g.ln1b[l], dln1, s->res1, s->ln1_mean, s->ln1_rstd,
                       w.ln1w[l], N);
    linear_backward(datty, g.attprojw[l], g.attprojb[l], dres1, s->atty, w.attprojw[l], N, C, C, 0);
    attention_backward(dqkv, datty, s->att, s->qkv);
    linear_backward(dx, g.qkvw[l], g.qkvb[l], dqkv, x, w.qkvw[l], N, C, 3 * C, 1);
}

/* Returns the loss. Only the R hidden rows get logits: nobody asks about the others. */
static float forward(void)
{
    embeddings_forward(a.emb, tokens, w.wte, w.wpe, w.wse);
    layernorm_forward(a.ln0, a.ln0_mean, a.ln0_rstd, a.emb, w.ln0w, w.ln0b, N);
    for (int l = 0; l < L; l++) layer_forward(l);
    for (int r = 0; r < R; r++)
        memcpy(a.mlmx + r * C, a.layer[L - 1].ln2 + rows[r] * C, C * sizeof(float));
    linear_forward(a.mlmh, a.mlmx, w.mlmw, w.mlmb, R, C, C);
    gelu_forward(a.mlmact, a.mlmh, R * C);
    layernorm_forward(a.headx, a.mlmln_mean, a.mlmln_rstd, a.mlmact, w.mlmlnw, w.mlmlnb, R);
    linear_forward(a.logits, a.headx, w.wte, w.mlmdecb, R, C, V); /* how alike is each letter? */
    return crossentropy_forward(a.probs, a.logits, labels, R);
}

static void backward(void)
{
    static float dlogits[N * V], dheadx[N * C], dmlmh[N * C], dmlmx[N * C], dx[N * C], demb[N * C];
    crossentropy_backward(dlogits, a.probs, labels, R);
    linear_backward(dheadx, g.wte, g.mlmdecb, dlogits, a.headx, w.wte, R, C, V, 0);
    layernorm_backward(dmlmh, g.mlmlnw, g.mlmlnb, dheadx, a.mlmact, a.mlmln_mean, a.mlmln_rstd,
                       w.mlmlnw, R);
    gelu_backward(dmlmh, dmlmh, a.mlmh, R * C);
    linear_backward(dmlmx, g.mlmw, g.mlmb, dmlmh, a.mlmx, w.mlmw, R, C, C, 0);
    memset(dx, 0, sizeof dx);
    for (int r = 0; r < R; r++) memcpy(dx + rows[r] * C, dmlmx + r * C, C * sizeof(float));
    for (int l = L - 1; l >= 0; l--) layer_backward(l, dx);
    layernorm_backward(demb, g.ln0w, g.ln0b, dx, a.emb, a.ln0_mean, a.ln0_rstd, w.ln0w, N);
    embeddings_backward(g.wte, g.wpe, g.wse, demb, tokens);
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
    deviation *= sqrtf(12.0f); /* uniform()'s is sqrt(1/12) */
    for (float *x = (float *)tensor; bytes; x++, bytes -= sizeof *x)
        *x = mean + deviation * (uniform() - 0.5f);
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

/* B lines, about 15 % of their letters hidden; to show it, the last B and each fifth letter. BERT
   hides 80 % of those it asks for, swaps 10 % for others and leaves 10 % as they are: what is not
   [MASK] cannot be trusted blindly. */
static void next_batch(int show)
{
    R = 0;
    for (int n = 0, line = 0; n < N; n++) {
        if (n % T == 0) line = show ? LINES - B + n / T : (int)(uniform() * (LINES - UNSEEN));
        const char letter = text[line][n % T], *at = letter ? strchr(letters, letter) : NULL;
        if (!at) printf("check FAILED: a line is of %d letters a to z and blanks\n", T), exit(1);
        tokens[n] = (int)(at - letters);
        if (show ? n % T % 5 == 2 : uniform() < 0.15f)
            rows[R] = n, labels[R++] = tokens[n], tokens[n] = MASK;
    }
}

/* Lesson 6; all parameters at once, without weight decay. */
static void adamw(float *w, float *m, float *v, const float *dw, float lr, int t)
{
    const float fix1 = 1.0f - powf(0.9f, (float)t), fix2 = 1.0f - powf(0.999f, (float)t);
    for (int i = 0; i < PARAMS; i++) {
        m[i] = 0.9f * m[i] + 0.1f * dw[i];
        v[i] = 0.999f * v[i] + 0.001f * dw[i] * dw[i];
        w[i] -= lr * (m[i] / fix1) / (sqrtf(v[i] / fix2) + 1e-8f);
    }
}

static float learning_rate(int step)
{
    return 5e-3f * fminf((float)step / WARMUP, (float)(STEPS - step) / (STEPS - WARMUP));
}

static float train_step(int step)
{
    next_batch(0);
    memset(&g, 0, sizeof g);
    float loss = forward();
    backward();
    adamw((float *)&w, (float *)&m, (float *)&v, (float *)&g, learning_rate(step), step + 1);
    return loss;
}

#ifndef LESSON_7_WITHOUT_MAIN /* check_7.c has its own */
/* The id that is likeliest in row r. */
static int best(int r)
{
    int at = 0;
    for (int k = 1; k < V; k++)
        if (a.probs[r * V + k] > a.probs[r * V + at]) at = k;
    return at;
}

static void show_guesses(void)
{
    char hidden[N], guessed[N];
    next_batch(1);
    forward();
    for (int n = 0; n < N; n++) hidden[n] = guessed[n] = letters[tokens[n]];
    for (int r = 0; r < R; r++) guessed[rows[r]] = letters[best(r)];
    printf("    hidden              guessed             text\n");
    for (int b = 0, n = 0; b < B; b++, n += T)
        printf("%s    %.*s    %.*s    %.*s\n", b == B - UNSEEN ? "never trained on:\n" : "", T,
               hidden + n, T, guessed + n, T, text[LINES - B + b]);
    printf("\n");
}

int main(void)
{
    float loss = 0.0f, right = 0.0f; /* means of 100 steps */
    init();
    printf("%d parameters. Before training:\n", PARAMS);
    show_guesses();
    for (int step = 0; step < STEPS; step++) {
        if (step % 100 == 0) loss = right = 0.0f;
        loss += train_step(step) / 100;
        for (int r = 0; r < R; r++) right += (float)(best(r) == labels[r]) / (float)R;
        if (step % 100 < 99) continue;
        printf("step %3d..%3d   loss %.3f   right %3.0f %%\n", step - 99, step, loss, right);
    }
    printf("\nAfter it:\n");
    show_guesses();
    if (!(right > 90.0f && loss < 0.4f))
        return printf("check FAILED: it did not learn the text: loss %.3f\n", loss), 1;
    printf("check passed: it has learned to fill in the letters\n");
    return 0;
}
#endif

/* What changes next. Lesson 8 trains such a model for a task, with bert.h in place of this file.
   bert.h has the same layers in the same order. What it has besides: words in place of letters,
   and [CLS] and [SEP]; dropout; sequences of different lengths, end to end; attention without its
   matrix; products as fast as in lesson 5, and the same bits on every machine; heads for other
   tasks; files, so that the weights can be those that Google trained for four days. */
