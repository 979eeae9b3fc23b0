/* libFuzzer on bert.h's tokenizer: any bytes as text, pair, words, with any options, under several
   settings; and with any bytes as the tables of a model file.

       clang -std=c99 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
           -Wno-unknown-pragmas -I. dev/fuzz/tokenizer.c -o fuzz_tokenizer -lm
       mkdir -p corpus && ./fuzz_tokenizer -max_len=400 corpus dev/fixtures/fuzz_tokenizer

   (Debian: libclang-rt-14-dev). The model is dev/fixtures/tokenizer.bin's. */
#define BERT_IMPLEMENTATION
#include "bert.h"

static unsigned char *image;
static size_t image_size, tables; /* tables: where the tokenizer's sections begin */
static Bert models[8];            /* lower, strip, chinese on and off */

static void check(int ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "fuzz_tokenizer: %s\n", what);
    abort();
}

static void start(void)
{
    FILE *f = fopen("dev/fixtures/tokenizer.bin", "rb");
    int32_t head[2], parameters;
    check(f && fread(head, 1, 8, f) == 8, "start it where dev/fixtures/tokenizer.bin is");
    image_size = (size_t)head[0];
    image = (unsigned char *)malloc(image_size);
    check(image && fread(image, 1, image_size, f) == image_size, "the fixture is cut off");
    fclose(f);
    memcpy(&parameters, image + 80, 4);
    tables = 1024 + ((size_t)parameters * 4 + 7) / 8 * 8;
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 3; k++) image[4 * (33 + k)] = (unsigned char)(i >> k & 1);
        check(!bert_load_memory(&models[i], image, image_size), bert_error(&models[i]));
    }
}

/* What has to hold of every encoding. */
static void encode(const Bert *m, const BertText *a, int na, const BertText *b, int nb,
                   BertEncodeOptions o)
{
    BertEncoding e = {0};
    char out[300];
    int error = bert_encode_texts(m, &e, a, na, b, nb, &o);
    check(error ? e.message[0] && !e.N && !e.B : e.B >= 1 && e.offsets[e.B] == e.N, "counts");
    for (int i = 0; i < e.N; i++) {
        const BertSpan *s = &e.spans[i];
        check(e.tokens[i] >= 0 && e.tokens[i] < m->tokenizer.settings[BERT_NUM_PIECES], "token");
        check(s->text >= -1 && s->text < 2, "which text");
        if (s->text < 0) continue;
        const BertText *text = s->text ? b : a;
        check(s->word >= 0, "word");
        if (o.is_words) text += s->word;
        check(s->start >= 0 && s->start < s->end && (size_t)s->end <= text->size, "bytes");
        check(s->char_start >= 0 && s->char_start < s->char_end && s->char_end <= s->end &&
                  s->char_start <= s->start && s->char_end - s->char_start <= s->end - s->start,
              "characters");
    }
    for (int k = 0; k < e.B && o.truncation != BERT_DO_NOT_TRUNCATE; k++)
        check(e.offsets[k + 1] - e.offsets[k] <= (o.max_length ? o.max_length : m->config.P),
              "longer than max_length");
    BertEncoding again = {0};
    o.at_once = 1 + nb;
    int more = bert_encode_texts(m, &again, a, na, b, nb, &o);
    while (!more && o.windows && again.cut) more = bert_encode_more(m, &again);
    check(more == error && again.N == e.N && again.B == e.B && again.cut == e.cut &&
              (!e.N || !memcmp(again.tokens, e.tokens, (size_t)e.N * sizeof *e.tokens)),
          "windows a few at a time");
    check(bert_encode_more(m, &again) == BERT_EINPUT, "more windows than there are");
    bert_encoding_free(&again);
    size_t n = bert_decode(m, out, sizeof out, e.tokens, e.N, o.stride & 1, o.windows);
    check(n >= sizeof out || strlen(out) <= n, "decoded");
    bert_encoding_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!image) start();
    if (size < 8) return 0;
    const uint8_t *h = data;
    data += 8, size -= 8;
    if (h[0] >= 0xE0) { /* the bytes are put over a part of the tables */
        Bert m = {0};
        unsigned char *bad = (unsigned char *)malloc(image_size);
        size_t at =
            tables + ((size_t)h[1] << 16 | (size_t)h[2] << 8 | h[3]) % (image_size - tables);
        memcpy(bad, image, image_size);
        if (h[0] & 1) memcpy(bad + 128, data, size < 48 ? size : 48); /* the settings */
        memcpy(bad + at, data, size < image_size - at ? size : image_size - at);
        BertText text = {(const char *)image + tables, 3000}, pair = {(const char *)data, size};
        BertEncodeOptions o = {h[4], h[5] % 4, h[6] & 1, h[7] % 8, 0, 0, h[2] & 3};
        if (!bert_load_memory(&m, bad, image_size)) {
            BertEncoding e = {0};
            char out[300];
            bert_encode_texts(&m, &e, &text, 1, &pair, 1, &o);
            bert_decode(&m, out, sizeof out, e.tokens, e.N, 1, 1);
            bert_encoding_free(&e);
        }
        bert_free(&m);
        free(bad);
        return 0;
    }
    size_t split = h[1] % (size + 1);
    BertText a = {(const char *)data, split}, b = {(const char *)data + split, size - split};
    BertText words[4];
    BertEncodeOptions o = {h[2], h[3] % 4, h[4] & 1, h[5] % 8, h[4] >> 1 & 1, h[4] >> 2 & 1, 0};
    for (size_t k = 0; k < 4; k++) {
        words[k].bytes = (const char *)data + k * size / 4;
        words[k].size = (k + 1) * size / 4 - k * size / 4;
    }
    if (o.is_words) encode(&models[h[0] & 7], words, 3, h[4] & 8 ? words + 3 : NULL, 1, o);
    else encode(&models[h[0] & 7], &a, 1, h[4] & 8 ? &b : NULL, 1, o);
    return 0;
}
