/* Lesson 7's BERT against bert.h's.                    cc -O2 check_7.c -lm -o check_7 && ./check_7

   Each layer by itself, forward and backward, on the same random numbers; then both models with the
   same parameters on the same batch, every gradient; then ten steps of training side by side. What
   may differ is the rounding of floats: sums have another order, exp and erf are other code. */
#define BERT_IMPLEMENTATION
#include "../../bert.h"
#define LESSON_7_WITHOUT_MAIN
#include "7_bert.c"

static int failed;
static double most_allowed = 1e-6; /* eight roundings or so */

/* The largest difference, as a share of the largest number. */
static void compare(const char *name, const float *lesson, const float *bert, size_t n)
{
    double most = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(lesson[i] - bert[i]) <= most)) most = fabs(lesson[i] - bert[i]); /* or NaN */
        size = fmax(size, fabs(bert[i]));
    }
    const int good = most <= most_allowed * size && size > 0.0;
    printf("    %-16s%6lu numbers   %.1e%s\n", name, (unsigned long)n, most / size,
           good ? "" : "   DIFFERENT");
    failed += !good;
}

static float *numbers(float *x, size_t n) /* random, fresh each time; returns x */
{
    draw(x, n * sizeof *x, 0.0f, 1.0f);
    return x;
}

/* Arrays of the largest size: inputs, and what the lesson (l) and bert.h (h) make of them. */
static float x[N * 3 * C], d[N * 3 * C], we[3 * C * C], be[3 * C], att[B * NH * T * T];
static float l1[N * 3 * C], l2[3 * C * C], l3[N * C], h1[N * 3 * C], h2[3 * C * C], h3[N * C];
static float stat[N * NH * 2];
static int types[N], offsets[B + 1];

static void clear_gradients(void)
{
    memset(l2, 0, sizeof l2), memset(l3, 0, sizeof l3);
    memset(h2, 0, sizeof h2), memset(h3, 0, sizeof h3);
}

static void compare_layers(void)
{
    const BertDropout none = {0.0f, 0, NULL};
    float dw1[C] = {0}, dw2[C] = {0}, mean[N], rstd[N], mean2[N], rstd2[N];
    numbers(x, N * 3 * C), numbers(d, N * 3 * C), numbers(we, 3 * C * C), numbers(be, 3 * C);

    embeddings_forward(l1, tokens, w.wte, w.wpe, w.wse);
    bert_embeddings_forward(h1, tokens, types, offsets, w.wte, w.wpe, w.wse, B, C);
    compare("embeddings", l1, h1, N * C);
    clear_gradients();
    embeddings_backward(l2, l3, dw1, d, tokens);
    bert_embeddings_backward(h2, h3, dw2, d, tokens, types, offsets, B, C, -1);
    compare("  dwte", l2, h2, V * C), compare("  dwpe", l3, h3, T * C);
    compare("  dwse", dw1, dw2, C);

    layernorm_forward(l1, mean, rstd, x, we, be, N);
    bert_layernorm_forward(h1, mean2, rstd2, x, we, be, N, C, 1e-12f);
    compare("LayerNorm", l1, h1, N * C);
    clear_gradients();
    layernorm_backward(l1, l2, l3, d, x, mean, rstd, we, N);
    bert_layernorm_backward(h1, h2, h3, d, x, mean2, rstd2, we, N, C);
    compare("  dinp", l1, h1, N * C), compare("  dw", l2, h2, C), compare("  db", l3, h3, C);

    linear_forward(l1, x, we, be, N, C, 3 * C);
    bert_linear_forward(h1, x, we, be, N, C, 3 * C, NULL);
    compare("linear", l1, h1, N * 3 * C);
    clear_gradients();
    linear_backward(l1, l2, l3, d, x, we, N, C, 3 * C, 0);
    bert_linear_backward(h1, h2, h3, d, x, we, N, C, 3 * C, 0, NULL);
    compare("  dinp", l1, h1, N * C), compare("  dw", l2, h2, 3 * C * C);
    compare("  db", l3, h3, 3 * C);

    attention_forward(l3, att, x);
    bert_attention_forward(h3, stat, x, offsets, B, C, NH, none, NULL);
    compare("attention", l3, h3, N * C);
    attention_backward(l1, d, att, x);
    bert_attention_backward(h1, d, h3, stat, x, offsets, B, C, NH, none, NULL);
    compare("  dqkv", l1, h1, N * 3 * C);

    gelu_forward(l1, x, N * C);
    bert_activation_forward(h1, x, N * C, BERT_GELU);
    compare("GELU", l1, h1, N * C);
    gelu_backward(l1, d, x, N * C);
    bert_activation_backward(h1, d, x, N * C, BERT_GELU);
    compare("  dinp", l1, h1, N * C);

    float losses[N], sum = 0.0f, loss = crossentropy_forward(l1, x, labels, R);
    bert_crossentropy_forward(losses, h1, x, labels, NULL, 0.0f, R, V);
    for (int r = 0; r < R; r++) sum += losses[r] / (float)R;
    compare("cross-entropy", &loss, &sum, 1), compare("  probs", l1, h1, (size_t)R * V);
    crossentropy_backward(l3, l1, labels, R);
    bert_crossentropy_backward(h3, h1, labels, NULL, 0.0f, R, V, 1.0f / (float)R);
    compare("  dlogits", l3, h3, (size_t)R * V);
}

/* bert.h's forward and backward of the batch that the lesson has drawn. */
static int bert_step(Bert *bert)
{
    BertBatch batch = {0};
    batch.B = B, batch.R = R, batch.tokens = tokens, batch.types = types, batch.offsets = offsets;
    batch.rows = rows, batch.labels = labels;
    return bert_forward(bert, &batch, 1) || bert_backward(bert, 1.0f);
}

int main(void)
{
    Bert bert = {0};
    BertConfig c = {0};
    c.V = V, c.C = C, c.L = L, c.NH = NH, c.F = F, c.P = T, c.S = 1, c.task = BERT_MLM;
    c.eps = 1e-12f, c.act = BERT_GELU, c.padding_idx = -1;
    for (int b = 0; b <= B; b++) offsets[b] = b * T;
    init();
    for (int step = 0; step < 20; step++) train_step(step); /* so that no bias is zero */

    printf("The layers, and the largest difference as a share of the largest number:\n");
    compare_layers();

    if (bert_build(&bert, c) || bert.num_parameters != PARAMS)
        return printf("check FAILED: bert.h has other parameters: %s\n", bert_error(&bert)), 1;
    memcpy(bert.params_memory, &w, sizeof w);
    next_batch(0);
    memset(&g, 0, sizeof g);
    float loss = forward();
    backward();
    if (bert_step(&bert)) return printf("check FAILED: %s\n", bert_error(&bert)), 1;
    printf("The model, in which roundings add up:\n");
    most_allowed = 1e-5;
    compare("loss", &loss, &bert.loss, 1);
    compare("logits", a.logits, bert.acts.logits, (size_t)R * V);
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *t = &bert.tensors[i];
        char name[32];
        snprintf(name, sizeof name, "  d%s", t->name);
        if (t->size) compare(name, (float *)&g + t->offset, bert.grads_memory + t->offset, t->size);
    }

    printf("Ten steps of training:\n");
    float losses[10], bert_losses[10];
    bert_zero_grad(&bert);
    memset(&m, 0, sizeof m), memset(&v, 0, sizeof v);
    for (int step = 0; step < 10; step++) {
        losses[step] = train_step(step); /* draws the batch */
        if (bert_step(&bert) ||
            bert_adamw(&bert, learning_rate(step), 0.9f, 0.999f, 1e-8f, 0.0f, step + 1, 1.0f))
            return printf("check FAILED: %s\n", bert_error(&bert)), 1;
        bert_losses[step] = bert.loss;
    }
    compare("losses", losses, bert_losses, 10);
    /* But for the keys' biases: of their gradient, 0 but for rounding, AdamW makes whole steps. */
    for (int l = 0; l < L; l++)
        memcpy(w.qkvb[l] + C, bert.params.qkvb + (l * 3 + 1) * C, C * sizeof(float));
    compare("parameters", (float *)&w, bert.params_memory, PARAMS);
    bert_free(&bert);
    if (failed) return printf("\ncheck FAILED: %d comparisons differ\n", failed), 1;
    printf("\ncheck passed: lesson 7 is bert.h, but for rounding\n");
    return 0;
}
