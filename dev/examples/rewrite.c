/* rewrite MODEL.bin "sentence" [SHARE] [SEED]: masks a share (0.3) of the words, drawn by the seed
   (1), and lets the model fill them again, the one it is surest of first. Prints each step.
   The model has a masked-language-model head: a BertForMaskedLM, or one trained with task mlm. */
#define BERT_IMPLEMENTATION
#include "bert.h"

#include <ctype.h>
#include <math.h>

static char text[1 << 16];

static int fail(const char *why)
{
    fprintf(stderr, "rewrite: %s\n", why);
    return 1;
}

/* Whether a token may be filled in: it is not [PAD], [UNK], [CLS], [SEP] or [MASK], and "##..." is
   what goes on with a word, anything else begins one. */
static int fits(const Bert *m, int id, int goes_on)
{
    const BertTokenizer *t = &m->tokenizer;
    for (int i = BERT_ID_PAD; i <= BERT_ID_MASK; i++)
        if (t->settings[i] == id) return 0;
    if (id >= t->settings[BERT_NUM_PIECES])
        return 0; /* a row of the embeddings that the vocabulary does not use */
    const uint64_t *at = t->vocabulary.offsets + id;
    return (at[1] - at[0] > 2 && !memcmp(t->vocabulary.bytes + at[0], "##", 2)) == goes_on;
}

int main(int argc, char **argv)
{
    Bert m = {0};
    BertEncoding e = {0};
    if (argc < 3) return fail("usage: rewrite MODEL.bin \"sentence\" [SHARE] [SEED]");
    const double share = argc > 3 ? atof(argv[3]) : 0.3;
    uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
    if (bert_load(&m, argv[1])) return fail(bert_error(&m));
    if (m.config.task != BERT_MLM && m.config.task != BERT_PRETRAINING)
        return fail("the model has no mlm head");
    if (bert_encode(&m, &e, argv[2], NULL, NULL)) return fail(e.message);

    /* A word is masked whole: "unbelievable" is three pieces, and from two the third is no riddle.
       Punctuation and special tokens stay. The first pass counts the words; in the second each one
       is drawn with a chance of (how many are needed yet) / (words to come). */
    for (int pass = 0, words = 0, need = 0; pass < 2; pass++) {
        if (pass) need = (int)ceil(share * words);
        for (int n = 1, masked = 0; n < e.N - 1; n++) { /* between [CLS] and [SEP] */
            const int goes_on = e.spans[n].word == e.spans[n - 1].word;
            if (!goes_on) masked = 0;
            if (!fits(&m, e.tokens[n], goes_on)) continue;
            if (ispunct((unsigned char)argv[2][e.spans[n].start])) continue;
            if (!goes_on && !pass) words++;
            if (!goes_on && pass) {
                seed = seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
                masked = (double)(seed >> 11) / 9007199254740992.0 * words-- < need;
                need -= masked;
            }
            if (masked) e.tokens[n] = m.tokenizer.settings[BERT_ID_MASK];
        }
    }

    for (int row = 0; row >= 0;) { /* each filling is read by those that follow */
        float sure = -1.0f;
        int best = row = -1;
        bert_decode(&m, text, sizeof text, e.tokens + 1, e.N - 2, 0, 1);
        printf("%s\n", text);
        if (bert_predict(&m, &e)) return fail(bert_error(&m));
        for (int r = 0; r < m.R; r++) {
            int ids[100], n = m.batch.rows[r], i = 0; /* of a hundred one fits */
            float scores[100];
            const int goes_on = e.spans[n].word == e.spans[n - 1].word, V = m.config.V;
            const int k = bert_top_k(ids, scores, m.acts.logits + (size_t)r * V, V, 100);
            while (i < k && !fits(&m, ids[i], goes_on)) i++;
            if (i < k && scores[i] > sure) sure = scores[i], best = ids[i], row = n;
        }
        if (row >= 0) e.tokens[row] = best;
    }
    bert_encoding_free(&e);
    bert_free(&m);
    return 0;
}
