/* classify MODEL.bin < lines.txt: of each line the best label, its score, and the line.

   The model has a classification head: train_bert's best.bin. "make demo" makes one. */
#define BERT_IMPLEMENTATION
#include "bert.h"

static char line[1 << 16]; /* a longer line is taken as several */

static int fail(const char *why)
{
    fprintf(stderr, "classify: %s\n", why);
    return 1;
}

int main(int argc, char **argv)
{
    Bert m = {0};
    BertEncoding e = {0};
    if (argc != 2) return fail("usage: classify MODEL.bin < lines.txt");
    if (bert_load(&m, argv[1])) return fail(bert_error(&m));
    if (m.config.task != BERT_CLASSIFICATION) return fail("the model has no classification head");

    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = 0;

        /* Text to token ids: [CLS] the line's pieces [SEP], cut to what the model can read. An
           encoding is a list: without clearing it the line would be appended, and one forward
           would answer for all. */
        bert_encoding_clear(&e);
        if (bert_encode(&m, &e, line, NULL, NULL)) return fail(e.message);

        /* Token ids to probabilities: acts.probs is (B,K), and B is 1. */
        if (bert_predict(&m, &e)) return fail(bert_error(&m));
        int best = 0;
        for (int k = 1; k < m.config.K; k++)
            if (m.acts.probs[k] > m.acts.probs[best]) best = k;

        /* Label names are strings end to end; a model may have none, then it is the number. */
        const uint64_t *at = m.labels.offsets + best;
        if (m.labels.count) printf("%.*s", (int)(at[1] - at[0]), m.labels.bytes + at[0]);
        else printf("%d", best);
        printf("\t%.6f\t%s\n", m.acts.probs[best], line);
    }
    bert_encoding_free(&e);
    bert_free(&m);
    return 0;
}
