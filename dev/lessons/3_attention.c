/* Lesson 3: attention on one sentence.                 cc -O2 3_attention.c -lm -o 3 && ./3

   After lesson 2 each token has a row of C numbers that knows its word and its place, and nothing
   of the others. Attention is how rows get something from each other. Each token makes three rows
   of its own, by three matrices:
       query: what am I looking for?    key: what have I to offer?    value: what do I hand over?
   A query's dot product with each key is a score. Softmax makes the scores of one query weights
   that are above 0 and add up to 1, and the output is the mean of the values with these weights.
   A head is one such search, on HS = C / NH channels of its own; NH of them run side by side.

   Training finds the matrices. Here they are written by hand, so that one can see what each head
   looks for: head 0 for the token before, head 1 for the animal that a word may be about. */
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { C = 8, NH = 2, HS = C / NH };

/* A row of x: what kind of word it is, then two clock hands for its place. */
enum { ANIMAL, THING, ABOUT, OTHER, COS1, SIN1, COS2, SIN2 };
static const float speed1 = 0.5f, speed2 = 1.3f; /* how far the hands move from place to place */

static const struct {
    const char *word;
    int kind; /* ABOUT: a word that says something of an animal: it, tired, slept */
} sentence[] = {{"the", OTHER}, {"cat", ANIMAL}, {"left", ABOUT},
                {"the", OTHER}, {"road", THING}, {"because", OTHER},
                {"it", ABOUT},  {"was", OTHER},  {"tired", ABOUT}};
enum { T = sizeof sentence / sizeof *sentence };
enum { CAT = 1, IT = 6 };

static float x[T * C], qkv[T * 3 * C], prob[NH * T * T], out[T * C];
static float qkvw[3 * C * C]; /* (3C,C): query's rows, key's, value's; head h has HS of each */

/* ------------------------------------------------------------------------------------------------
   The layer */

/* out (T,OC) = inp (T,C) . w^T, w (OC,C) */
static void linear_forward(float *out, const float *inp, const float *w, int T, int C, int OC)
{
    for (int t = 0; t < T; t++)
        for (int o = 0; o < OC; o++) {
            float sum = 0.0f;
            for (int i = 0; i < C; i++) sum += inp[t * C + i] * w[o * C + i];
            out[t * OC + o] = sum;
        }
}

/* out (T,C), prob (NH,T,T), qkv (T,3C): a token's query, key and value, each (NH,HS) */
static void attention_forward(float *out, float *prob, const float *qkv, int T, int C, int NH)
{
    const int HS = C / NH;
    for (int h = 0; h < NH; h++)
        for (int q = 0; q < T; q++) {
            const float *query = qkv + q * 3 * C + h * HS;
            float *p = prob + (h * T + q) * T, max = -INFINITY, sum = 0.0f;

            /* 1. Scores. Divided by sqrt(HS): a sum of HS products grows as that, and softmax of
               large scores is all or nothing, which learns no more. */
            for (int k = 0; k < T; k++) {
                const float *key = qkv + k * 3 * C + C + h * HS;
                p[k] = 0.0f;
                for (int i = 0; i < HS; i++) p[k] += query[i] * key[i] / sqrtf((float)HS);
                if (p[k] > max) max = p[k];
            }

            /* 2. Softmax. The maximum is taken off, which changes no ratio: exp(100) is too large
               for a float. For the same reason a bias of the keys would change nothing: it adds
               query . bias to all scores of a query. */
            for (int k = 0; k < T; k++) sum += p[k] = expf(p[k] - max);
            for (int k = 0; k < T; k++) p[k] /= sum;

            /* 3. The values' mean with these weights. */
            float *out_q = out + q * C + h * HS;
            for (int i = 0; i < HS; i++) out_q[i] = 0.0f;
            for (int k = 0; k < T; k++) {
                const float *value = qkv + k * 3 * C + 2 * C + h * HS;
                for (int i = 0; i < HS; i++) out_q[i] += p[k] * value[i];
            }
        }
}

/* ------------------------------------------------------------------------------------------------
   The matrices by hand */

static float *at(int part, int h, int row, int col) /* part: 0 query, 1 key, 2 value */
{
    return &qkvw[(part * C + h * HS + row) * C + col];
}

static void make_weights(void)
{
    /* Head 0. Two hands agree best where they point the same way. The key is the token's own
       hands; the query is the hands turned back by one place: a matrix can do that. */
    for (int i = 0; i < 2; i++) {
        const float turn = i ? speed2 : speed1, sharp = 4.0f;
        *at(0, 0, 2 * i, COS1 + 2 * i) = sharp * cosf(turn);
        *at(0, 0, 2 * i, SIN1 + 2 * i) = sharp * sinf(turn);
        *at(0, 0, 2 * i + 1, COS1 + 2 * i) = -sharp * sinf(turn);
        *at(0, 0, 2 * i + 1, SIN1 + 2 * i) = sharp * cosf(turn);
        for (int j = 0; j < 2; j++) *at(1, 0, 2 * i + j, COS1 + 2 * i + j) = 1.0f;
    }
    /* Head 1. Words that say something of an animal ask on channel 0, where animals answer and
       things answer a little. Other words ask for nothing: their scores are all 0. */
    *at(0, 1, 0, ABOUT) = 5.0f;
    *at(1, 1, 0, ANIMAL) = 1.0f;
    *at(1, 1, 0, THING) = 0.5f;
    for (int h = 0; h < NH; h++) /* both hand over the kind of word */
        for (int i = 0; i < HS; i++) *at(2, h, i, ANIMAL + i) = 1.0f;
}

/* ------------------------------------------------------------------------------------------------
   What is shown, and what has to be true of it */

static void draw(const float *p) /* (T,T): a row is who looks, a column what at, dark is much */
{
    static const char shades[] = " .:-=+*#%@";
    printf("            ");
    for (int k = 0; k < T; k++) printf(" %3.3s", sentence[k].word);
    printf("\n");
    for (int q = 0; q < T; q++) {
        printf("    %8s |", sentence[q].word);
        for (int k = 0; k < T; k++) {
            char shade = shades[(int)(p[q * T + k] * 9.99f)];
            printf("%c%c%c%c", shade, shade, shade, k < T - 1 ? ' ' : '|');
        }
        printf("\n");
    }
}

static int argmax(const float *p)
{
    int best = 0;
    for (int k = 1; k < T; k++)
        if (p[k] > p[best]) best = k;
    return best;
}

int main(void)
{
    int wrong = 0;
    for (int t = 0; t < T; t++) {
        x[t * C + sentence[t].kind] = 1.0f;
        x[t * C + COS1] = cosf(speed1 * (float)t), x[t * C + SIN1] = sinf(speed1 * (float)t);
        x[t * C + COS2] = cosf(speed2 * (float)t), x[t * C + SIN2] = sinf(speed2 * (float)t);
    }
    make_weights();
    linear_forward(qkv, x, qkvw, T, C, 3 * C);
    attention_forward(out, prob, qkv, T, C, NH);

    const float *head1 = prob + T * T;
    printf("Head 0 looks for the token before (the first one has none):\n");
    draw(prob);
    printf("\nHead 1 looks for the animal; words that ask for nothing look at all alike:\n");
    draw(head1);
    printf("\n\"it\" looks at");
    for (int k = 0; k < T; k++) printf(" %s %.2f", sentence[k].word, head1[IT * T + k]);
    printf("\nand gets in head 1: animal %.2f, thing %.2f, about %.2f, other %.2f\n",
           out[IT * C + HS + ANIMAL], out[IT * C + HS + THING], out[IT * C + HS + ABOUT],
           out[IT * C + HS + OTHER]);

    for (int row = 0; row < NH * T; row++) { /* weights add up to 1 */
        float sum = 0.0f;
        for (int k = 0; k < T; k++) sum += prob[row * T + k];
        wrong += !(fabsf(sum - 1.0f) < 1e-5f);
    }
    for (int q = 1; q < T; q++) wrong += argmax(prob + q * T) != q - 1;
    wrong += argmax(head1 + IT * T) != CAT;

    /* Attention itself knows no order: rows in another order give the same rows, in that order.
       What a token knows of its place, it knows from wpe (here the clock hands). */
    float turned[T * 3 * C], out2[T * C], prob2[NH * T * T];
    for (int t = 0; t < T; t++)
        memcpy(turned + t * 3 * C, qkv + (T - 1 - t) * 3 * C, sizeof *qkv * 3 * C);
    attention_forward(out2, prob2, turned, T, C, NH);
    for (int i = 0; i < T * C; i++)
        wrong += !(fabsf(out2[i] - out[(T - 1 - i / C) * C + i % C]) < 1e-5f);

    /* A bias of the keys is not seen, whatever it is. */
    for (int i = 0; i < T * 3 * C; i++)
        turned[i] = qkv[i] + (i / C % 3 == 1 ? 2.0f + (float)(i % C) : 0.0f);
    attention_forward(out2, prob2, turned, T, C, NH);
    for (int i = 0; i < NH * T * T; i++) wrong += !(fabsf(prob2[i] - prob[i]) < 1e-5f);

    if (wrong) return printf("\ncheck FAILED: %d things are not as they should be\n", wrong), 1;
    printf("\ncheck passed: weights add up to 1, and each head finds what it looks for\n");
    return 0;
}

/* What changes next. Lesson 4 goes backward through such layers. BERT adds what comes out, after
   one more linear layer, to x, and then a LayerNorm. In bert.h (bert_attention_forward) the loop
   over sequences and heads is shared among threads, and prob (T,T) is never stored: a block of
   queries walks over blocks of keys and keeps of each row only its maximum and its sum so far. */
