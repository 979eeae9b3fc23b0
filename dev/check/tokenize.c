/* bert.h's tokenizer as a shared library for Python (ctypes): dev/check/wordpiece.py builds it, and
   `make bert_tokenizer.so` for dev/bench/bench.py. */
#define BERT_IMPLEMENTATION
#include "bert.h"

#include <time.h>

/* What Python's copies of the structs have to be as large as. */
const int tok_sizes[] = {sizeof(BertSpan), sizeof(BertEncoding), sizeof(BertEncodeOptions),
                         sizeof(BertText)};

/* A model from memory, or NULL and why (512 bytes). */
Bert *tok_open(const void *data, size_t size, char *why)
{
    Bert *m = (Bert *)calloc(1, sizeof *m);
    if (!m || !bert_load_memory(m, data, size)) return m;
    memcpy(why, bert_error(m), sizeof m->message);
    free(m);
    return NULL;
}

Bert *tok_load(const char *path, char *why)
{
    Bert *m = (Bert *)calloc(1, sizeof *m);
    if (!m || !bert_load(m, path)) return m;
    memcpy(why, bert_error(m), sizeof m->message);
    free(m);
    return NULL;
}

void tok_close(Bert *m)
{
    bert_free(m);
    free(m);
}

/* Encodes every line of a text n times, one by one (and together: as one encoding that grows), and
   returns the seconds; tokens: how many there were in all. */
double tok_time(const Bert *m, const char *text, size_t size, int n, int together, long *tokens)
{
    BertEncoding e = {0};
    BertEncodeOptions o = {0, BERT_DO_NOT_TRUNCATE, 0, 0, 0, 0, 0};
    struct timespec a, b;
    *tokens = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < n; i++) {
        for (const char *s = text, *end; s < text + size; s = end + 1) {
            end = (const char *)memchr(s, '\n', (size_t)(text + size - s));
            if (!end) end = text + size;
            BertText line = {s, (size_t)(end - s)};
            if (!together) bert_encoding_clear(&e);
            if (bert_encode_texts(m, &e, &line, 1, NULL, 0, &o)) return -1;
            if (!together) *tokens += e.N;
        }
        if (together) *tokens += e.N;
        bert_encoding_clear(&e);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    bert_encoding_free(&e);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}
