/* What benchmarks begin with: bert.h as a private copy, a clock, bert-base's shape. */
#define _POSIX_C_SOURCE 200809L

#define BERT_STATIC
#define BERT_IMPLEMENTATION
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../../bert.h"

#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* transformers.BertConfig() with a head of K labels for that task. */
static BertConfig base_config(int task, int K)
{
    BertConfig c = {0};
    c.V = 30522, c.C = 768, c.L = 12, c.NH = 12, c.F = 3072, c.P = 512, c.S = 2, c.K = K;
    c.act = BERT_GELU, c.task = task, c.pooler = task == BERT_CLASSIFICATION, c.eps = 1e-12f;
    c.hidden_dropout = c.att_dropout = 0.1f, c.cls_dropout = -1.0f, c.init_range = 0.02f;
    return c;
}
