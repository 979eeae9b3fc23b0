/* Lesson 8: fine-tuning.                               cc -O2 8_finetune.c -lm -o 8 && ./8

   The real thing, small, and the first lesson that is written with bert.h. First a BERT is
   pretrained: it reads sentences such as
       [CLS] the film was dull and i hated it [SEP]
   and learns to fill in hidden words. Nobody tells it what is good or bad, but dull stands with
   hated, and great with loved. Then it gets another head and a few sentences with a label,
       [CLS] the film was dull [SEP]    bad
   and is asked about words that had no label. The new head is two layers: the pooler, which is
   tanh(linear([CLS]'s row)), and the classifier, a linear layer. Three ways are compared: fine-tune
   everything; freeze what was pretrained and train the head alone; train everything without any
   pretraining. Each is done five times, from five seeds: they decide how the head begins (from
   scratch, all numbers) and what dropout drops. Dropout sets each number to 0 with probability p
   while a model trains, and makes the others 1/(1-p) times as large, so that the model relies on no
   single one; in use it is off.

   Pretraining is done once, from a seed that shows what freezing can cost; from others it may be
   free. */
#define BERT_IMPLEMENTATION
#include "../../bert.h"

enum { NOUNS = 6, ADJECTIVES = 8, VERBS = 3, LABELLED = 2, SEEDS = 5, PRETRAINING_SEED = 1 };
/* The vocabulary, by ids: marks, common words, nouns, then bad and good adjectives and verbs. */
enum { CLS, SEP, MASK, THE, WAS, AND, I, IT, NOUN };
enum { ADJ = NOUN + NOUNS, VERB = ADJ + 2 * ADJECTIVES, V = VERB + 2 * VERBS };
static const char *const words[V] = {
    "[CLS]", "[SEP]",  "[MASK]", "the",    "was",      "and",  "i",     "it",      "film",
    "book",  "play",   "song",   "tale",   "show",     "dull", "bad",   "weak",    "poor",
    "cheap", "silly",  "awful",  "boring", "great",    "good", "fine",  "lovely",  "clever",
    "funny", "superb", "moving", "hated",  "disliked", "left", "loved", "enjoyed", "praised"};

/* Sentences end to end, as BertBatch wants them. */
enum { MOST = 128, LONGEST = 10 };
static int tokens[MOST * LONGEST], types[MOST * LONGEST], offsets[MOST + 1], B;

static void put(int token) { tokens[offsets[B + 1]++] = token; }

static void sentence(int noun, int good, int adjective, int verb) /* verb -1: the first half */
{
    offsets[B + 1] = offsets[B];
    put(CLS), put(THE), put(NOUN + noun), put(WAS), put(ADJ + good * ADJECTIVES + adjective);
    if (verb >= 0) put(AND), put(I), put(VERB + good * VERBS + verb), put(IT);
    put(SEP);
    B++;
}

static void show(int good, int verb)
{
    B = 0;
    sentence(0, good, 0, verb);
    for (int n = 0; n < offsets[B]; n++) printf(" %s", words[tokens[n]]);
    printf("%s\n", verb >= 0 ? "" : good ? "   -> good" : "   -> bad");
}

static int below(int n) /* a random number from 0 to n - 1 */
{
    static uint64_t count = 100000 * PRETRAINING_SEED;
    return (int)(bert_mix64(count++) % (uint64_t)n);
}

static void stop(const Bert *m)
{
    printf("check FAILED: %s\n", bert_error(m));
    exit(1);
}

static void train_step(Bert *m, BertBatch *x, float lr)
{
    x->B = B, x->tokens = tokens, x->types = types, x->offsets = offsets, x->step++;
    if (bert_forward(m, x, 1) || bert_backward(m, 1) ||
        bert_adamw(m, lr, 0.9f, 0.999f, 1e-8f, 0.01f, (int)x->step,
                   bert_clip_scale(bert_grad_norm(m), 1)))
        stop(m);
}

/* Masked language modelling, as in lesson 7: one of each sentence's eight words is hidden. A noun
   can only be guessed among 6, an adjective among 8, a verb among 3; the other five words are
   certain. So the least mean loss is (ln 6 + ln 8 + ln 3) / 8. */
static void pretrain(Bert *m, int steps)
{
    int rows[MOST], labels[MOST];
    float loss = 0.0f; /* the mean of 100 steps */
    BertBatch x = {0};
    for (int step = 0; step < steps; step++) {
        B = 0;
        while (B < 32) {
            int noun = below(NOUNS), good = below(2), adjective = below(ADJECTIVES);
            sentence(noun, good, adjective, below(VERBS));
        }
        for (int b = 0; b < B; b++) {
            rows[b] = offsets[b] + 1 + below(8);
            labels[b] = tokens[rows[b]], tokens[rows[b]] = MASK;
        }
        x.R = B, x.rows = rows, x.labels = labels;
        train_step(m, &x, (float)(5e-3 * bert_linear_schedule(step, steps / 10, steps)));
        loss = (step % 100 ? loss : 0.0f) + m->loss / 100;
        if (step % 100 == 99) printf("    step %3d..%3d   loss %.3f\n", step - 99, step, loss);
    }
    printf("    the least is    %.3f\n", log(NOUNS * ADJECTIVES * VERBS) / 8);
}

/* Every sentence with one of the first so many nouns and adjectives first .. end - 1. */
static void all_of(int *labels, int nouns, int first, int end)
{
    B = 0;
    for (int noun = 0; noun < nouns; noun++)
        for (int good = 0; good < 2; good++)
            for (int i = first; i < end; i++) labels[B] = good, sentence(noun, good, i, -1);
}

enum { FINE_TUNED, FROZEN, FROM_SCRATCH, WAYS };

/* The share that is judged right of the sentences whose adjectives had no label. */
static double finetune(const Bert *pretrained, int way, uint64_t seed, int *unchanged)
{
    int labels[MOST], right = 0;
    Bert m = {0};
    BertBatch x = {0}, test = {0};
    if (bert_build(&m, pretrained->config) || bert_init(&m, seed)) stop(&m);
    if (way != FROM_SCRATCH)
        memcpy(m.params_memory, pretrained->params_memory, m.num_parameters * sizeof(float));
    if (bert_set_task(&m, BERT_CLASSIFICATION, 2, 0, NULL, seed)) stop(&m); /* draws the head */
    if (way == FROZEN) m.freeze_embeddings = 1, m.freeze_layers = m.config.L;

    all_of(labels, 2, 0, LABELLED);
    x.labels = labels, x.seed = seed; /* which keys dropout */
    for (int step = 0; step < 40; step++)
        train_step(&m, &x, (float)(2e-3 * bert_linear_schedule(step, 4, 40)));

    all_of(labels, NOUNS, LABELLED, ADJECTIVES);
    test.B = B, test.tokens = tokens, test.types = types, test.offsets = offsets;
    if (bert_forward(&m, &test, 0)) stop(&m);
    for (int b = 0; b < B; b++) right += bert_argmax(m.acts.logits + 2 * b, 2) == labels[b];
    size_t encoder = m.tensors[BERT_TENSOR_poolw].offset; /* numbers before the head */
    *unchanged = !memcmp(m.params_memory, pretrained->params_memory, encoder * sizeof(float));
    bert_free(&m);
    return (double)right / B;
}

int main(void)
{
    static const char *const ways[] = {"fine-tuned", "frozen", "from scratch"};
    double right[WAYS][SEEDS], mean[WAYS] = {0};
    int failed = 0, opposite = 0, unchanged;
    Bert m = {0};
    BertConfig c = {0};
    c.V = V, c.C = 32, c.L = 2, c.NH = 2, c.F = 64, c.P = LONGEST, c.S = 1, c.task = BERT_MLM;
    c.eps = 1e-12f, c.hidden_dropout = c.att_dropout = 0.1f, c.cls_dropout = -1.0f;
    c.init_range = 0.1f, c.padding_idx = -1;
    if (bert_build(&m, c) || bert_init(&m, PRETRAINING_SEED)) stop(&m);

    printf("Pretraining: a word of each sentence is hidden. The first one:\n   ");
    show(0, 0);
    pretrain(&m, 300);
    printf("\nFine-tuning on %d sentences with a label:\n   ", 2 * 2 * LABELLED);
    show(0, -1), printf("   "), show(1, -1);
    printf("\nOf %d sentences with %d adjectives that had no label, judged right,\nby seed   ",
           NOUNS * 2 * (ADJECTIVES - LABELLED), 2 * (ADJECTIVES - LABELLED));
    for (int i = 0; i < SEEDS; i++) printf("%9d", i + 1);
    printf("     mean  deviation\n");
    for (int way = 0; way < WAYS; way++) {
        double squares = 0;
        printf("%-14s", ways[way]);
        for (int i = 0; i < SEEDS; i++) {
            right[way][i] = finetune(&m, way, (uint64_t)i + 1, &unchanged);
            failed += unchanged != (way == FROZEN); /* what is frozen keeps every bit */
            mean[way] += right[way][i] / SEEDS;
            printf(" %6.1f %%", 100 * right[way][i]);
        }
        for (int i = 0; i < SEEDS; i++)
            squares += (right[way][i] - mean[way]) * (right[way][i] - mean[way]);
        printf(" %6.1f %%  %6.1f %%\n", 100 * mean[way], 100 * sqrt(squares / (SEEDS - 1)));
    }
    for (int i = 0; i < SEEDS; i++)
        for (int j = 0; j < SEEDS; j++) opposite += right[FROZEN][i] >= right[FINE_TUNED][j];
    printf("\nIf each had been done once: in %d of %d pairs of seeds freezing costs nothing.\n",
           opposite, SEEDS * SEEDS);

    failed += finetune(&m, FROZEN, 1, &unchanged) != right[FROZEN][0]; /* a seed is repeatable */
    failed += !(mean[FINE_TUNED] > mean[FROZEN] && mean[FROZEN] > mean[FROM_SCRATCH] + 0.1);
    bert_free(&m);
    if (failed) return printf("\ncheck FAILED: %d things are not as they should be\n", failed), 1;
    printf(
        "\ncheck passed: what was learned without labels helps, most if it may go on learning\n");
    return 0;
}

/* What changes next: the model and the data. In the real thing the first half has been done by
   others, with 3 billion words; bert_load reads its weights, bert_encode cuts a text into tokens,
   and ./train_bert does the rest (--freeze_layers, --seed) from a file of your own. bert.h is
   open to you: what stands above each layer there are lessons 2 to 7. */
