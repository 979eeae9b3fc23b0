/* Hostile model files: sizes are bounded by the file's length before memory is taken, and a text's
   work by the text's length, whatever is in the tables. */
#define BERT_IMPLEMENTATION
#include "test.h"
#include "../../bert.h"
#include <limits.h>
#include <time.h>
#include <unistd.h>

static void must(const Bert *m, int error) { expect(!error, "%d: %s", error, bert_error(m)); }

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *bytes = get(1 << 22, 1);
    *size = f ? fread(bytes, 1, 1 << 22, f) : 0;
    if (f) fclose(f);
    expect(*size > 1024 && *size < 1 << 22, "%s: %zu bytes", path, *size);
    return bytes;
}

/* ------------------------------------------------------------------------------------------------
   K: labels only where the task has them, one meaning for regression */

static void test_labels(void)
{
    static const char *const names[] = {"none", "awkward", "regression",  "ner",
                                        "qa",   "mlm",     "pretraining", "multiple_choice"};
    static const int32_t wrong[] = {-1, 0, 1, 2, 7, 1 << 24, INT_MAX};
    for (int task = 0; task < BERT_NUM_TASKS; task++) {
        char path[64];
        size_t size;
        snprintf(path, sizeof path, "dev/fixtures/%s.model.bin", names[task]);
        char *file = read_file(path, &size);
        int32_t h[256];
        memcpy(h, file, sizeof h);
        const int labelled = task == BERT_CLASSIFICATION || task == BERT_NER, K = h[9];
        expect(h[11] == task, "%s has task %d", path, h[11]);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            if (wrong[i] == K) continue;
            for (int names_too = 0; names_too < 2; names_too++) {
                Bert m = {0};
                h[9] = wrong[i], h[22] = names_too ? wrong[i] : 0;
                memcpy(file, h, sizeof h);
                largest = 0;
                int error = bert_load_memory(&m, file, size);
                expect(error == BERT_EFORMAT && (labelled || strstr(bert_error(&m), "K (labels)")),
                       "%s with K = %d: %d, '%s'", path, wrong[i], error, bert_error(&m));
                expect(largest <= size, "%s with K = %d takes %zu bytes", path, wrong[i], largest);
            }
            Bert m = {0};
            BertConfig c = bert_config_of_(h);
            if (labelled && wrong[i] > 0) continue;
            expect(bert_build(&m, c) == BERT_EINPUT && strstr(bert_error(&m), "K (labels)"),
                   "bert_build of task %d with K = %d: '%s'", task, c.K, bert_error(&m));
        }
        h[9] = K, h[22] = 0, h[12] = 1;
        memcpy(file, h, sizeof h);
        Bert m = {0};
        int error = bert_load_memory(&m, file, size);
        expect(error == (task == BERT_CLASSIFICATION ? BERT_OK : BERT_EFORMAT),
               "%s, multi-label: %d, '%s'", path, error, bert_error(&m));
        bert_free(&m);
    }
    done("K has one meaning for each task, in files and in bert_build");
}

/* Each word of each header set to what is large: refused, or the file's length bounds what a load
   and a forward take. 4.5 MB: a word for each code point. */
static void test_sizes(void)
{
    static const char *const names[] = {
        "none", "awkward",     "regression", "ner",   "qa",
        "mlm",  "pretraining", "text",       "multi", "multiple_choice"};
    static const int32_t large[] = {2, 1000, 1 << 20, 1 << 24, INT_MAX, INT_MIN};
    int loaded = 0, refused = 0;
    for (size_t f = 0; f < sizeof names / sizeof *names; f++) {
        char path[64];
        size_t size;
        snprintf(path, sizeof path, "dev/fixtures/%s.model.bin", names[f]);
        char *file = read_file(path, &size);
        for (int word = 2; word < 52; word++)
            for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
                Bert m = {0};
                int32_t was;
                const int zero = 0, offsets[] = {0, 1};
                BertBatch x = {0};
                x.B = 1, x.tokens = &zero, x.types = &zero, x.offsets = offsets;
                memcpy(&was, file + 4 * word, 4);
                memcpy(file + 4 * word, &large[i], 4);
                largest = 0;
                int error = bert_load_memory(&m, file, size);
                if (!error) error = bert_forward(&m, &x, 0);
                expect(!error || error == BERT_EFORMAT, "%s, word %d: %d, %s", path, word, error,
                       bert_error(&m));
                expect(largest <= 4 * size + 4500000, "%s, word %d = %d takes %zu bytes", path,
                       word, large[i], largest);
                loaded += !error, refused += error != 0;
                bert_free(&m);
                memcpy(file + 4 * word, &was, 4);
            }
        release(0);
    }
    expect(loaded > 10 && refused > 1000, "%d loaded, %d refused", loaded, refused);
    done("header words set to what is large: %d files refused, %d small all the same", refused,
         loaded);
}

/* Sizes that no file and no batch of this machine comes to, so their functions are called by their
   private names. */
static void test_overflow(void)
{
    const size_t half = SIZE_MAX / 2 + 1;
    void *memory = NULL;
    size_t room = 0, sizes[BERT_NUM_ACTS + 1];
    Bert wide = {0};
    expect(!bert_grow_(&memory, &room, 1 << 20, half) && !memory, "2^20 times half of all memory");
    BERT_FREE(memory);
    wide.config.C = 1 << 20, wide.config.F = 1 << 24, wide.config.L = 1 << 16;
    wide.training = 1, wide.act_copies = wide.config.L,
    wide.N = INT_MAX; /* fch alone is 2^71 floats: 0, cut to a size_t */
    bert_layer_acts(&wide, 0, sizes);
    expect(sizes[BERT_NUM_ACTS] == SIZE_MAX, "activations");
    done("sizes that overflow");
}

/* ------------------------------------------------------------------------------------------------
   Tokenizers: a model of made-up vocabulary, added tokens and Unicode table */

enum { ROOM = 1 << 25 };
typedef struct {
    char *at;
    size_t size;
} Bytes;

static void put(Bytes *b, const void *data, size_t size)
{
    if (size) memcpy(b->at + b->size, data, size);
    b->size += size;
}

static void pad(Bytes *b) { put(b, "\0\0\0\0\0\0\0", (8 - b->size % 8) % 8); }

static void put_size(Bytes *b, int word, size_t size)
{
    uint64_t wide = size; /* the test runs where words have the file's order, or bert.h swaps all */
    int32_t words[2] = {(int32_t)(uint32_t)wide, (int32_t)(uint32_t)(wide >> 32)};
    memcpy(b->at + 4 * word, words, 8);
}

typedef struct {
    const char **pieces; /* [UNK] [CLS] [SEP] first */
    int count, longest_word;
    int32_t *added;
    int num_added;
    const uint32_t *unicode;
    int unicode_words;
} Tokenizer;

/* A model.bin of one layer, with that tokenizer. */
static Bytes file_of(const Tokenizer *t)
{
    Bert m = {0};
    BertConfig c = {0};
    c.V = t->count, c.C = c.NH = c.L = c.F = c.S = 1, c.P = 4096, c.padding_idx = -1;
    must(&m, bert_build(&m, c));
    int32_t settings[] = {t->count, 1, 1, 1, t->longest_word, -1, 0, 1, 2, -1, t->num_added};
    Bytes b = {get(ROOM, 1), 0};
    int32_t h[256] = {BERT_MAGIC_, BERT_VERSION_};
    static const float eps = 1e-12f;
    h[2] = c.V, h[3] = h[4] = h[5] = h[6] = h[8] = 1, h[7] = c.P;
    memcpy(h + 14, &eps, 4);
    memcpy(h + 32, settings, sizeof settings);
    put(&b, h, sizeof h);
    put(&b, m.params_memory, m.num_parameters * 4);
    pad(&b);
    size_t begin = b.size;
    uint64_t offset = 0;
    for (int i = 0; i <= t->count; i++) {
        put(&b, &offset, 8);
        if (i < t->count) offset += strlen(t->pieces[i]);
    }
    for (int i = 0; i < t->count; i++) put(&b, t->pieces[i], strlen(t->pieces[i]));
    put_size(&b, 20, m.num_parameters);
    put_size(&b, 25, b.size - begin);
    pad(&b);
    put(&b, t->added, (size_t)t->num_added * 8);
    put(&b, t->unicode, (size_t)t->unicode_words * 4);
    put_size(&b, 27, (size_t)t->unicode_words * 4);
    pad(&b);
    put_size(&b, 30, b.size);
    bert_free(&m);
    return b;
}

/* ASCII: blanks, and A to lower case. */
static const uint32_t plain_unicode[] = {1, 1, 1, ' ', ' ', BERT_SPACE_, 'A', 0, 1u << 24, 'a'};

static Tokenizer tokenizer_of(const char **pieces, int count)
{
    Tokenizer t = {pieces, count, 100, NULL, 0, plain_unicode, 10};
    return t;
}

static int load(Bert *m, const Tokenizer *t)
{
    Bytes b = file_of(t);
    int error = bert_load_memory(m, b.at, b.size);
    release(num_gotten - 1);
    return error;
}

static void expect_refused(const Tokenizer *t, const char *hint)
{
    Bert m = {0};
    int error = load(&m, t);
    expect(error == BERT_EFORMAT && strstr(bert_error(&m), hint), "%d, '%s', not '%s'", error,
           bert_error(&m), hint);
    bert_free(&m);
}

static char *word(const char *format, int number)
{
    char *w = get(16, 1);
    snprintf(w, 16, format, number);
    return w;
}

static char *repeated(char c, int n, char last)
{
    char *w = get((size_t)n + 2, 1);
    memset(w, c, (size_t)n);
    w[n] = last;
    return w;
}

static const char **pieces_with_specials(int count)
{
    const char **pieces = get((size_t)count, sizeof *pieces);
    pieces[0] = "[UNK]", pieces[1] = "[CLS]", pieces[2] = "[SEP]";
    return pieces;
}

static size_t slot_of(const char *text, int bits)
{
    uint64_t h = BERT_HASH_SEED_(0);
    for (; *text; text++) h = BERT_HASH_ON_(h, (uint64_t)*text);
    return (size_t)(h >> (64 - bits));
}

/* Pieces that all want one slot of the table, behind which the special tokens have none. */
static void test_collisions(void)
{
    enum { FEW = 3 + BERT_PROBES_, MANY = FEW + 1, BITS = 9 }; /* 512 slots for up to 256 pieces */
    const char **pieces = pieces_with_specials(MANY);
    size_t slot = 0;
    for (int i = 0; i < 3; i++)
        if (slot_of(pieces[i], BITS) - slot < BERT_PROBES_)
            slot = slot_of(pieces[i], BITS) + 1, i = -1;
    expect(slot + BERT_PROBES_ < 512, "no room");
    for (int i = 3, number = 0; i < MANY; number++) {
        char *text = word("%dx", number);
        if (slot_of(text, BITS) == slot) pieces[i++] = text;
        else release(num_gotten - 1);
    }
    Tokenizer t = tokenizer_of(pieces, MANY);
    expect_refused(&t, "hash");
    Bert m = {0};
    BertEncoding e = {0};
    t.count = FEW;
    must(&m, load(&m, &t));
    for (int i = 3; i < FEW; i++) {
        bert_encoding_clear(&e);
        expect(!bert_encode(&m, &e, pieces[i], NULL, NULL) && e.N == 3 && e.tokens[1] == i,
               "piece %d is not found", i);
    }
    bert_encoding_clear(&e);
    expect(!bert_encode(&m, &e, pieces[FEW], NULL, NULL) && e.tokens[1] == 0, "not [UNK]");
    bert_free(&m), bert_encoding_free(&e);
    done("pieces of one slot: %d are found, %d are refused", FEW - 3, MANY - 3);
}

static void test_long_pieces(void)
{
    const char **pieces = pieces_with_specials(6);
    int32_t added[] = {5, 1};
    pieces[3] = "a", pieces[4] = "##a", pieces[5] = repeated('a', 255, 'b');
    Tokenizer t = tokenizer_of(pieces, 6);
    Bert m = {0};
    BertEncoding e = {0};
    must(&m, load(&m, &t)); /* words of more than 100 characters are [UNK] */
    t.longest_word = INT_MAX;
    expect_refused(&t, "long piece");
    pieces[5] = repeated('a', 254, 'b');
    must(&m, load(&m, &t));
    char *text = get(60000, 1);
    memset(text, 'a', 59999);
    expect(!bert_encode(&m, &e, text, NULL, NULL) && e.N == 4096, "%s", e.message);
    bert_encoding_clear(&e);
    expect(!bert_encode(&m, &e, pieces[5], NULL, NULL) && e.tokens[1] == 5, "not found");
    t.added = added, t.num_added = 1;
    must(&m, load(&m, &t));
    pieces[5] = repeated('a', 255, 'b');
    t.longest_word = 100;
    expect_refused(&t, "long added token");
    bert_free(&m), bert_encoding_free(&e);
    done("a piece or added token of 255 characters is found, of 256 refused");
}

static double seconds_for(int count, const char *first)
{
    const char **pieces = pieces_with_specials(count);
    int32_t *added = get((size_t)count, 2 * sizeof *added);
    for (int i = 3; i < count; i++) {
        char *piece = get(8, 1);
        size_t n = strlen(strcpy(piece, first));
        bert_put_utf8(piece + n, 0x10000 + (uint32_t)i * 32);
        pieces[i] = piece;
        added[2 * (i - 3)] = i, added[2 * (i - 3) + 1] = i % 2 ? BERT_NORMALIZED_ : 0;
    }
    Tokenizer t = tokenizer_of(pieces, count);
    t.added = added, t.num_added = count - 3;
    Bert m = {0};
    BertEncoding e = {0};
    clock_t start = clock();
    must(&m, load(&m, &t));
    char *text = repeated('a', 20000, 0);
    for (int i = 1; i < 20000; i += 2) text[i] = '!';
    expect(!bert_encode(&m, &e, text, NULL, NULL), "%s", e.message);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    for (int i = 3; i < count; i += i < 20 ? 1 : 97) {
        bert_encoding_clear(&e);
        expect(!bert_encode(&m, &e, pieces[i], NULL, NULL) && e.N == 3 && e.tokens[1] == i,
               "added token %d of %d is not found", i, count);
    }
    bert_free(&m), bert_encoding_free(&e);
    release(0);
    return seconds;
}

/* 32 times as many take 32 times as long, not 1,024 times. */
static void test_many_added(void)
{
    for (int kind = 0; kind < 2; kind++) {
        double few = seconds_for(1000, kind ? "a" : ""), many = seconds_for(32000, kind ? "a" : "");
        expect(many < 150 * few + 0.1, "1,000 take %.3f s, 32,000 %.3f s", few, many);
    }
    done("32,000 added tokens, with one first character or several: found, and in linear time");
}

static void test_added_order(void)
{
    static const char *const texts[] = {"ab", "abc", "abcd", "b", "abd", "abcx", "xab"};
    static const char *const wanted[] = {"3", "3 0", "4", "6", "5", "3 0", "0 3"};
    const char **pieces = pieces_with_specials(8);
    int32_t added[] = {3, 0, 4, 0, 5, 0, 6, 0, 7, 0};
    pieces[3] = "ab", pieces[4] = "abcd", pieces[5] = "abd", pieces[6] = "b", pieces[7] = "ab";
    Tokenizer t = tokenizer_of(pieces, 8);
    t.added = added, t.num_added = 5;
    Bert m = {0};
    BertEncoding e = {0};
    BertEncodeOptions o = {0};
    o.no_special = 1;
    must(&m, load(&m, &t));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char got[64] = "";
        bert_encoding_clear(&e);
        expect(!bert_encode(&m, &e, texts[i], NULL, &o), "%s", e.message);
        for (int n = 0; n < e.N; n++)
            snprintf(got + strlen(got), 16, n ? " %d" : "%d", e.tokens[n]);
        expect(!strcmp(got, wanted[i]), "%s: %s, not %s", texts[i], got, wanted[i]);
    }
    bert_free(&m), bert_encoding_free(&e);
    done("added tokens that begin alike: the longest, of two alike the first");
}

static void test_expansions(void)
{
    const char **pieces = pieces_with_specials(4);
    pieces[3] = "a";
    uint32_t u[12] = {0, 1, 5, 'A', 0, 0, 'a', 'a', 'a', 'a', 'a'};
    Tokenizer t = tokenizer_of(pieces, 4);
    t.unicode = u, t.unicode_words = 11;
    for (uint32_t nfd = 0; nfd <= 5; nfd++)
        for (uint32_t lower = 0; lower <= 5; lower++) {
            Bert m = {0};
            u[4] = nfd << 24, u[5] = lower << 24;
            if (nfd > 4 || lower > 3) expect_refused(&t, "Unicode table");
            else must(&m, load(&m, &t));
            bert_free(&m);
        }
    u[5] = 200u << 24;
    expect_refused(&t, "Unicode table");
    done("Unicode tables: no more than 4 characters of an NFD, 3 of a lower case");

    size_t size;
    char *file = read_file("dev/fixtures/text.model.bin", &size);
    Bert m = {0};
    memset(file + 4 * 32, 0, 44); /* no tokenizer */
    memset(file + 4 * 25, 0, 8);
    expect(bert_load_memory(&m, file, size) == BERT_EFORMAT && strstr(bert_error(&m), "Unicode"),
           "'%s'", bert_error(&m));
    done("a Unicode table without a vocabulary is refused, nobody would check it");
    file = read_file("dev/fixtures/text.model.bin", &size);
    memset(file + 4 * 22, 0, 4);
    expect(bert_load_memory(&m, file, size) == BERT_EFORMAT &&
               strstr(bert_error(&m), "label names: 0 strings"),
           "'%s'", bert_error(&m));
    done("label names that nobody counted are refused");
}

int main(void)
{
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    test_labels();
    test_sizes();
    test_overflow();
    test_collisions();
    test_long_pieces();
    test_many_added();
    test_added_order();
    test_expansions();
    return finish();
}
