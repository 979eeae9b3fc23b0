/* bert.h's tokenizer as a shared library, for dev/check/wordpiece.py and dev/bench/bench.py (ctypes),
   and as a program that turns lines of text into lines of ids (tokenizer.py encode in C).

       cc -std=c99 -D_POSIX_C_SOURCE=200809L -O3 -shared -fPIC -I. dev/check/tokenize.c \
           -o bert_tokenizer.so -lm
       cc -std=c99 -D_POSIX_C_SOURCE=200809L -O3 -DTOKENIZE_MAIN -I. dev/check/tokenize.c \
           -o lines_to_ids -lm
       ./lines_to_ids model.bin [max_length [pair]] < lines.txt
*/
#define BERT_IMPLEMENTATION
#include "bert.h"

#include <sys/types.h>
#include <time.h>

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

/* Writes the ids of each line of a file, separated by blanks; pair: a tab separates two texts. The
   exit code. */
int tok_lines(const Bert *m, FILE *in, FILE *out, int max_length, int pair)
{
    BertEncoding e = {0};
    BertEncodeOptions o = {0};
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int error = 0;
    o.max_length = max_length;
    for (long number = 1; !error && (n = getline(&line, &room, in)) >= 0; number++) {
        if (n > 0 && line[n - 1] == '\n') n--;
        char *tab = pair ? (char *)memchr(line, '\t', (size_t)n) : NULL;
        BertText a = {line, (size_t)(tab ? tab - line : n)}, b = {NULL, 0};
        if (tab) b.bytes = tab + 1, b.size = (size_t)(line + n - b.bytes);
        bert_encoding_clear(&e);
        error = pair && !tab ? 1 : bert_encode_texts(m, &e, &a, 1, tab ? &b : NULL, 1, &o);
        if (error) fprintf(stderr, "stdin:%ld: %s\n", number, pair && !tab ? "no tab" : e.message);
        for (int i = 0; i < e.N && !error; i++) fprintf(out, i ? " %d" : "%d", e.tokens[i]);
        if (!error) putc('\n', out);
    }
    bert_encoding_free(&e);
    free(line);
    return error || ferror(in) || fflush(out) || ferror(out);
}

#ifdef TOKENIZE_MAIN
int main(int argc, char **argv)
{
    Bert m = {0};
    if (argc < 2 || bert_load(&m, argv[1])) {
        fprintf(stderr, "lines_to_ids: %s\n",
                argc < 2 ? "lines_to_ids MODEL.bin [MAX_LENGTH [pair]]" : bert_error(&m));
        return 1;
    }
    int failed = tok_lines(&m, stdin, stdout, argc > 2 ? atoi(argv[2]) : 0, argc > 3);
    bert_free(&m);
    return failed;
}
#endif
