/* answer MODEL.bin "question" < context.txt: the stretch of the context that answers, its score,
   and which characters it is. The model has a question-answering head. */
#define BERT_IMPLEMENTATION
#include "bert.h"

static char context[1 << 24];

static int fail(const char *why)
{
    fprintf(stderr, "answer: %s\n", why);
    return 1;
}

int main(int argc, char **argv)
{
    Bert m = {0};
    BertEncoding e = {0};
    if (argc != 3) return fail("usage: answer MODEL.bin \"question\" < context.txt");
    if (bert_load(&m, argv[1])) return fail(bert_error(&m));
    if (m.config.task != BERT_QA) return fail("the model has no question-answering head");
    context[fread(context, 1, sizeof context - 1, stdin)] = 0;

    /* A context may be longer than the model reads: it is cut into windows, sequences of [CLS]
       question [SEP] stretch [SEP]. Neighbours share a third of their tokens, so that an answer
       that one of them cuts in two is whole in the other. */
    BertEncodeOptions o = {.truncation = BERT_ONLY_SECOND, .windows = 1};
    o.max_length = m.config.P < 384 ? m.config.P : 384;
    o.stride = o.max_length / 3;
    if (bert_encode(&m, &e, argv[2], context, &o)) return fail(e.message);

    BertAnswers a = {.n_best = 20, .max_tokens = 30};
    int *spans = malloc(2 * (size_t)e.N * sizeof *spans); /* of each token; -1: not the context */
    if (!spans) return fail("no memory");
    for (int n = 0; n < e.N; n++) {
        /* Spans may count whatever we like: here e's tokens, which know their bytes. */
        spans[2 * n] = e.spans[n].text == 1 ? n : -1;
        spans[2 * n + 1] = e.spans[n].text == 1 ? n + 1 : -1;
    }
    for (int b = 0; b < e.B; b++) { /* one window at a time: any context fits into memory */
        int begin = e.offsets[b], offsets[2] = {0, e.offsets[b + 1] - begin};
        BertBatch batch = {.B = 1, .offsets = offsets};
        batch.tokens = e.tokens + begin;
        batch.types = e.types + begin;
        if (bert_forward(&m, &batch, 0)) return fail(bert_error(&m));
        /* Two numbers a token: may the answer start here, may it end here? The sum over its two
           ends is a span's value; the best of all windows are kept. */
        bert_answers_add(&a, m.acts.logits, spans + 2 * begin, offsets[1]);
    }
    int best = bert_answers_end(&a, 0.0);
    if (best < 0) return fail("no answer in this context");
    const BertSpan *first = &e.spans[a.best[best].start], *last = &e.spans[a.best[best].end - 1];
    printf("%.6f\t%d-%d\t%.*s\n", a.best[best].score, first->char_start, last->char_end,
           last->end - first->start, context + first->start);
    free(spans);
    bert_encoding_free(&e);
    bert_free(&m);
    return 0;
}
