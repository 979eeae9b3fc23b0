/* fill_mask MODEL.bin < lines.txt: the five best fillings of each [MASK] in each line.

   The model has a masked-language-model head: a BertForMaskedLM, or one trained with task mlm. */
#define BERT_IMPLEMENTATION
#include "bert.h"

enum { TOP = 5 };
static char line[1 << 16]; /* a longer line is taken as several */

static int fail(const char *why)
{
    fprintf(stderr, "fill_mask: %s\n", why);
    return 1;
}

int main(int argc, char **argv)
{
    Bert m = {0};
    BertEncoding e = {0};
    if (argc != 2) return fail("usage: fill_mask MODEL.bin < lines.txt");
    if (bert_load(&m, argv[1])) return fail(bert_error(&m));
    if (m.config.task != BERT_MLM && m.config.task != BERT_PRETRAINING)
        return fail("the model has no mlm head");

    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;
        printf("%s\n", line);
        bert_encoding_clear(&e);
        if (bert_encode(&m, &e, line, NULL, NULL)) return fail(e.message);

        /* The decoder's matmul, a row of it for each of 30,000 words, is most of the work: it is
           done for the [MASK]s only. m.R is how many there are, acts.logits is (R,V). */
        if (bert_predict(&m, &e)) return fail(bert_error(&m));
        for (int r = 0; r < m.R; r++) {
            int ids[TOP];
            float scores[TOP]; /* shares of the softmax over all V */
            const float *logits = m.acts.logits + (size_t)r * m.config.V;
            int n = bert_top_k(ids, scores, logits, m.config.V, TOP);
            for (int i = 0; i < n; i++) {
                char piece[512];
                bert_decode(&m, piece, sizeof piece, &ids[i], 1, 0, 0);
                printf("    %d\t%.6f\t%s\n", r + 1, scores[i], piece);
            }
        }
        if (m.R == 0) printf("    there is no [MASK] here\n");
    }
    bert_encoding_free(&e);
    bert_free(&m);
    return 0;
}
