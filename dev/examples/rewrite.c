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

static int is_special(const Bert *m, int id) /* [PAD], [UNK], [CLS], [SEP], [MASK] */
{
    for (int i = 5; i <= 9; i++)
        if (m->tokenizer.words[i] == id) return 1;
    return 0;
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
       Punctuation stays, and so do tokens that are special. The first pass counts the words; in the
       second each one is drawn with a chance of (how many are needed yet) / (words to come). */
    for (int pass = 0, words = 0, need = 0; pass < 2; pass++) {
        if (pass) need = (int)ceil(share * words);
        for (int n = 0, word = -1, masked = 0; n < e.N; n++) {
            const BertSpan *at = &e.spans[n];
            if (at->text < 0 || is_special(&m, e.tokens[n])) continue;
            if (ispunct((unsigned char)argv[2][at->start])) continue;
            if (at->word != word && pass) {
                seed = seed * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX */
                masked = (double)(seed >> 11) / 9007199254740992.0 * words-- < need;
                need -= masked;
            } else if (at->word != word) words++;
            word = at->word;
            if (masked) e.tokens[n] = m.tokenizer.words[9];
        }
    }

    for (;;) { /* each filling is read by those that follow: one at a time, the surest first */
        float sure = -1.0f;
        int row = 0, id = 0;
        bert_decode(&m, text, sizeof text, e.tokens + 1, e.N - 2, 0, 1);
        printf("%s\n", text);
        if (bert_predict(&m, &e)) return fail(bert_error(&m));
        for (int r = 0; r < m.R; r++) {
            int ids[6]; /* of six one is not special */
            float scores[6];
            const float *logits = m.acts.logits + (size_t)r * m.config.V;
            int i = 0, k = bert_top_k(ids, scores, logits, m.config.V, 6);
            while (i < k && is_special(&m, ids[i])) i++;
            if (i < k && scores[i] > sure) sure = scores[i], id = ids[i], row = m.batch.rows[r];
        }
        if (sure < 0) break;
        e.tokens[row] = id;
    }
    bert_encoding_free(&e);
    bert_free(&m);
    return 0;
}
