/* Lesson 6: AdamW and warmup, against plain SGD.       cc -O2 6_adamw.c -lm -o 6 && ./6

   The gradient says which way each number should go. How far? SGD says: learning rate times the
   gradient. In BERT that fails: LayerNorm's weights, which every token uses, have far larger
   gradients than the embedding of a rare word, so a rate that is right for one is nothing, or far
   too much, for the other. Adam divides each gradient by its own usual size: all numbers move at
   about the same pace, lr a step, as long as their gradients keep their sign. And each batch shows
   only a few examples, so gradients are noisy; Adam takes a running mean of about the last ten.

   The loss here has the same illness: 60 numbers, whose curvatures s go from 10 down to 0.01,
       loss = sum_i s[i]/2 * (w[i] - best[i])^2,   d loss / d w[i] = s[i] * (w[i] - best[i])
   and each gradient is seen with noise. The steep half is pretrained: it starts at its best. */
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALL = 60, STEPS = 600, WARMUP = 60 }; /* numbers of w; steps, and in how many rates rise */
enum { SGD, ADAMW, WARM, FALLING, RUNS };
enum { WIDTH = 75, HEIGHT = 15, SPAN = STEPS / WIDTH }; /* of the drawing; steps in a column */

static double s[ALL], best[ALL]; /* curvatures, and where the minimum is */

/* ------------------------------------------------------------------------------------------------
   The two optimizers */

static void sgd(double *w, const double *dw, int n, double lr)
{
    for (int i = 0; i < n; i++) w[i] -= lr * dw[i];
}

/* torch.optim.AdamW: t counts steps from 1; m and v are zero before the first.
   m is a running mean of the gradients, v of their squares; sqrt(v) is a gradient's usual size.
   Both start from zero, and so are too small at first, by the factors 1 - beta^t: divided by them,
   m and v are means of the gradients there were. So the first step of a number with gradient g is
   lr * |g| / (|g| + eps): nearly lr, unless g is as small as eps. Weight decay pulls each number
   towards 0, so that only those stay large which the data need. It does so by itself: in the
   gradient, as older Adams had it, it would be divided by sqrt(v) like all the rest. */
static void adamw(double *w, double *m, double *v, const double *dw, int n, double lr,
                  double weight_decay, int t)
{
    const double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    for (int i = 0; i < n; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * dw[i];
        v[i] = beta2 * v[i] + (1 - beta2) * dw[i] * dw[i];
        double mean = m[i] / (1 - pow(beta1, t)), square = v[i] / (1 - pow(beta2, t));
        w[i] -= lr * weight_decay * w[i];
        w[i] -= lr * mean / (sqrt(square) + eps);
    }
}

/* The share of the learning rate that a step has: it rises from 0 to 1 in warmup steps, then falls
   to 0. */
static double schedule(int step, int warmup)
{
    return step < warmup ? (double)step / warmup : (double)(STEPS - step) / (STEPS - warmup);
}

/* ------------------------------------------------------------------------------------------------
   The race */

static unsigned state;
static double uniform(void) /* between 0 and 1 */
{
    state = state * 1664525u + 1013904223u;
    return (double)(state >> 8) / 16777216.0;
}

static double normal(void) /* 12 uniform numbers have variance 1 */
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += uniform();
    return sum;
}

static double loss_of(const double *w, int n) /* of the first n */
{
    double loss = 0;
    for (int i = 0; i < n; i++) loss += s[i] / 2 * (w[i] - best[i]) * (w[i] - best[i]);
    return loss;
}

static double losses[RUNS][STEPS], steep[RUNS][STEPS]; /* of all; of the pretrained half */
static double moved[RUNS][STEPS]; /* how far a step moved a number of the pretrained half */

/* ADAMW has one rate from beginning to end, WARM has warmup and then a rate that falls to 0,
   FALLING one that falls from the beginning. */
static void train(int run)
{
    double w[ALL], m[ALL] = {0}, v[ALL] = {0}, dw[ALL], before[ALL];
    state = 1; /* all see the same noise */
    for (int i = 0; i < ALL; i++) w[i] = i < ALL / 2 ? best[i] : 0.0;
    for (int t = 0; t < STEPS; t++) {
        for (int i = 0; i < ALL; i++) dw[i] = s[i] * (w[i] - best[i]) + 0.3 * sqrt(s[i]) * normal();
        memcpy(before, w, sizeof w);
        double share = run == ADAMW ? 1.0 : schedule(t, run == WARM ? WARMUP : 0);
        if (run == SGD) sgd(w, dw, ALL, 0.1); /* with 0.2 = 2 / s[0], w[0] would go ever further */
        else adamw(w, m, v, dw, ALL, 0.05 * share, 0.0, t + 1); /* decay would pull w off best */
        losses[run][t] = loss_of(w, ALL), steep[run][t] = loss_of(w, ALL / 2);
        for (int i = 0; i < ALL / 2; i++) moved[run][t] += fabs(w[i] - before[i]) / (ALL / 2);
    }
}

static double mean_loss(int run, int from, int to)
{
    double sum = 0;
    for (int t = from; t < to; t++) sum += losses[run][t];
    return sum / (to - from);
}

/* The loss from 3 (top) down to 0.03, by its logarithm; a column is the mean of SPAN steps. Where
   letters meet, W hides A, and A hides S. */
static void draw(void)
{
    char page[HEIGHT][WIDTH + 1];
    memset(page, ' ', sizeof page);
    for (int run = SGD; run <= WARM; run++)
        for (int x = 0; x < WIDTH; x++) {
            double loss = mean_loss(run, x * SPAN, (x + 1) * SPAN);
            double y = HEIGHT * (log10(3) - log10(loss)) / 2; /* infinite, if a rate is too large */
            if (y >= 0 && y < HEIGHT) page[(int)y][x] = "SAW"[run];
        }
    for (int y = 0; y < HEIGHT; y++) {
        int end = WIDTH;
        while (end > 0 && page[y][end - 1] == ' ') end--;
        printf("%6.2f |%.*s\n", 3 * pow(10, -2 * (y + 0.5) / HEIGHT), end, page[y]);
    }
    printf("       +--- %d steps: S is SGD, A AdamW, W AdamW with warmup and a falling rate\n",
           STEPS);
}

/* Three steps of torch.optim.AdamW, lr 0.01, weight decay 0.1; the third number has no gradient. */
static double against_torch(void)
{
    const double grads[3][3] = {{0.1, -20, 0}, {-0.3, 5, 0}, {0.2, 1, 0}};
    const double torch[3] = {0.9917720693, -1.9760210748, 0.4985014995};
    double w[3] = {1, -2, 0.5}, m[3] = {0}, v[3] = {0}, worst = 0;
    for (int t = 1; t <= 3; t++) adamw(w, m, v, grads[t - 1], 3, 0.01, 0.1, t);
    for (int i = 0; i < 3; i++) worst = fmax(worst, fabs(w[i] - torch[i]));
    return worst;
}

int main(void)
{
    double ends[RUNS];
    for (int i = 0; i < ALL; i++) s[i] = pow(10, 1 - 3.0 * i / (ALL - 1)), best[i] = i % 2 ? 1 : -1;
    for (int run = 0; run < RUNS; run++) train(run), ends[run] = mean_loss(run, 500, STEPS);
    draw();
    printf("mean of the last 100 steps: SGD %.3f, AdamW %.3f, with a falling rate %.3f,\n"
           "with warmup and a falling rate %.3f\n",
           ends[SGD], ends[ADAMW], ends[FALLING], ends[WARM]);

    /* This loss is a bowl: all ways lead to its minimum, and where one has been is forgotten.
       Warmup only puts off what the first steps do to the pretrained half; what is won at the end
       is the falling rate's. */
    printf("\nThe pretrained half: how far a step moves a number, and the loss of that half\n"
           "    step     AdamW    loss    falling    loss     warmup    loss\n");
    for (int t = 0; t < 128; t = 2 * t + 1)
        printf("    %4d    %6.4f  %6.4f     %6.4f  %6.4f     %6.4f  %6.4f\n", t + 1,
               moved[ADAMW][t], steep[ADAMW][t], moved[FALLING][t], steep[FALLING][t],
               moved[WARM][t], steep[WARM][t]);

    double torch = against_torch();
    printf("\nThree steps from torch.optim.AdamW: the largest difference is %s\n",
           torch < 1e-9 ? "below 0.000000001" : "TOO LARGE");
    int at_first = steep[WARM][7] < fmin(steep[ADAMW][7], steep[FALLING][7]) / 10;
    int at_the_end = ends[ADAMW] < ends[SGD] && fmax(ends[WARM], ends[FALLING]) < ends[ADAMW] / 2;
    if (!(torch < 1e-9 && at_first && at_the_end))
        return printf("\ncheck FAILED: AdamW does not do what this lesson says\n"), 1;
    printf(
        "\ncheck passed: AdamW is PyTorch's; warmup helps at first, a falling rate at the end\n");
    return 0;
}

/* What changes next. Lesson 7 trains a whole BERT with AdamW and a schedule as they are here. Its
   loss is no bowl: without warmup it ends higher from seven of eight seeds. In bert.h, bert_adamw
   does the same in float, for all parameters at once; weight decay is for what the tensor table
   says (matrices, not biases and LayerNorm), and gradients are multiplied by bert_clip_scale, which
   keeps one wild batch from throwing the model away; bert_linear_schedule is schedule. */
