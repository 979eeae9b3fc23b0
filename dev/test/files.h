/* Files for tests, made from the byte tables of bert.h and data.h by code that knows nothing of
   theirs, and the driver, called as from a shell. Include it behind test.h and bert.h or
   train_bert.c (with TESTING defined). */
#ifndef FILES_H
#define FILES_H

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

MAYBE static float *randoms(size_t n, double deviation)
{
    float *x = get(n, sizeof *x);
    fill(x, n, 0, deviation);
    return x;
}

MAYBE static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    unsigned char *data;
    if (!f) {
        expect(0, "%s: cannot open it", path);
        *size = 0;
        return get(1, 1);
    }
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    data = get(*size + 1, 1);
    expect(fread(data, 1, *size, f) == *size, "%s: cannot read it", path);
    fclose(f);
    return data;
}

/* ------------------------------------------------------------------------------------------------
   Model files. image() writes one from the byte table in bert.h, knowing nothing of its code */

MAYBE static char folder[80];
MAYBE static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

MAYBE static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
        fprintf(stderr, "test: cannot write %s\n", path);
        exit(2);
    }
}

typedef struct {
    unsigned char *data;
    size_t size, sections[16];
    int num_sections;
} Image;

MAYBE static void append(Image *im, const void *data, size_t size)
{
    unsigned char *p = get(im->size + size, 1);
    if (im->size) memcpy(p, im->data, im->size);
    if (size) memcpy(p + im->size, data, size);
    im->data = p, im->size += size;
}
MAYBE static void pad(Image *im)
{ /* the end of a section */
    append(im, "\0\0\0\0\0\0\0", (8 - im->size % 8) % 8);
    im->sections[im->num_sections++] = im->size;
}
MAYBE static size_t append_strings(Image *im, const char *const *strings, int count)
{
    uint64_t at = 0, begin = im->size;
    append(im, &at, 8);
    for (int i = 0; i < count; i++) at += strlen(strings[i]), append(im, &at, 8);
    for (int i = 0; i < count; i++) append(im, strings[i], strlen(strings[i]));
    return im->size - begin;
}
MAYBE static void set_word(Image *im, int word, int32_t value)
{
    memcpy(im->data + 4 * word, &value, 4);
}
MAYBE static int32_t get_word(const Image *im, int word)
{
    int32_t value;
    memcpy(&value, im->data + 4 * word, 4);
    return value;
}
MAYBE static int32_t float_bits(float x)
{
    int32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}
MAYBE static uint64_t fnv1a(uint64_t hash, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

enum { IV = 12, IC = 4, IL = 2, IF = 5, IP = 6, IS = 2, IK = 3, IWORDS = 11 };
MAYBE static const char *const label_names[IK] = {"no", "", "perhaps"};
MAYBE static const char *const vocabulary[IWORDS] = {
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a", "\xc3\xa9", "zoo", "."};
MAYBE static uint64_t image_hash;

MAYBE static Image image(int tokenizer)
{
    static const int32_t added[] = {0, 1, 1, 1, 2, 1, 3, 1, 4, 3};
    static const uint32_t unicode[] = {1,   1,   2, 'A', 'Z', 0, 0xC9, 2u << 24, 1 | 1u << 24,
                                       'E', 0xE9};
    const int layer = 3 * IC * IC + 3 * IC + IC * IC + IC + 4 * IC + 2 * IF * IC + IF + IC;
    const int params = (IV + IP + IS) * IC + 2 * IC + IL * layer + IC * IC + IC + IK * IC + IK;
    static const char zeros[1024];
    Image im = {0};
    /* pad_token_id 2, and so on to words 49: what else is known of a model */
    static const int32_t extras[8] = {3, 20, 2, 1, BERT_POOL_CLS, 1, 0, IP};
    int32_t head[32] = {0x4D545242, 2, IV, IC, IL, 2, IF, IP, IS, IK, 1, 1, 0, 1};
    float *p = randoms(params, 0.3);
    append(&im, zeros, 1024), pad(&im);
    append(&im, p, params * 4), pad(&im);
    head[14] = float_bits(1e-7f), head[15] = float_bits(0.1f), head[16] = float_bits(0.2f);
    head[17] = float_bits(-1), head[18] = float_bits(0.02f), head[19] = 5, head[20] = params;
    head[22] = IK, head[23] = (int32_t)append_strings(&im, label_names, IK), pad(&im);
    if (tokenizer) {
        static const int32_t words[11] = {IWORDS, 1, 1, 1, 100, 0, 1, 2, 3, 4, 5};
        size_t at = im.size, bytes;
        head[25] = (int32_t)append_strings(&im, vocabulary, IWORDS), bytes = im.size - at, pad(&im);
        memcpy(im.data + 128, words, sizeof words);
        image_hash = fnv1a(14695981039346656037u, im.data + 128, 48);
        image_hash = fnv1a(image_hash, im.data + at, bytes);
        append(&im, added, sizeof added), pad(&im);
        image_hash = fnv1a(image_hash, (const unsigned char *)added, sizeof added);
        head[27] = sizeof unicode, append(&im, unicode, sizeof unicode), pad(&im);
    }
    head[30] = (int32_t)im.size;
    memcpy(im.data, head, sizeof head);
    memcpy(im.data + 172, extras, sizeof extras);
    return im;
}

MAYBE static Image copy_of(const Image *im)
{
    Image copy = *im;
    copy.data = NULL, copy.size = 0;
    append(&copy, im->data, im->size);
    return copy;
}

/* A few bytes or words of a file changed, or its end cut off. */
MAYBE static Image mutated(const Image *im)
{
    static const int32_t nasty[] = {0, 1, -1, 2, 7, 8, 255, 256, 65536, INT_MAX, INT_MIN, 1 << 24};
    Image copy = copy_of(im);
    for (int n = 1 + below(3); n > 0; n--) {
        int word = below(4) ? below(48) : below((int)im->size / 4);
        if (below(3)) set_word(&copy, word, nasty[below(12)]);
        else if (below(2))
            set_word(&copy, word, (int32_t)((uint32_t)get_word(&copy, word) + draw() % 5 - 2));
        else copy.data[below((int)im->size)] ^= (unsigned char)(1 << below(8));
    }
    if (!below(8)) copy.size = (size_t)below((int)im->size);
    return copy;
}

#ifdef BERT_IMPLEMENTATION
/* A model without weights, as dev/export_hf.py --config makes one, with another's tokenizer. */
MAYBE static void write_undrawn(const char *path, const char *tokenizer, BertConfig config)
{
    Bert m = {0}, of = {0};
    config.undrawn = 1;
    if (bert_load(&of, tokenizer) || bert_build(&m, config)) exit(2);
    m.tokenizer = of.tokenizer;
    memset(&of.tokenizer, 0, sizeof of.tokenizer);
    if (bert_save(&m, path)) exit(2);
    bert_free(&m), bert_free(&of);
}
#endif

/* ------------------------------------------------------------------------------------------------
   The driver, called as from a shell, inside a folder of its own; output has what it wrote */

#ifdef TESTING
MAYBE static char output[1 << 16];

MAYBE static int lines(const char *with)
{
    int n = 0;
    for (const char *at = output; (at = strstr(at, with)) != NULL; at++) n++;
    return n;
}

MAYBE static int call(const char *command_line)
{
    static char line[1024], name[] = "train_bert";
    char *argv[64] = {name};
    int argc = 1, kept[2], code;
    size_t n;
    snprintf(line, sizeof line, "%s", command_line);
    for (char *word = strtok(line, " "); word && argc < 63; word = strtok(NULL, " "))
        argv[argc++] = word;
    fflush(stdout), fflush(stderr);
    int file = open("output", O_CREAT | O_TRUNC | O_RDWR, 0600);
    for (int i = 0; i < 2; i++) kept[i] = dup(i + 1), dup2(file, i + 1);
    code = bert_main(argc, argv);
    fflush(stdout), fflush(stderr);
    for (int i = 0; i < 2; i++) dup2(kept[i], i + 1), close(kept[i]);
    lseek(file, 0, SEEK_SET);
    ssize_t got = read(file, output, sizeof output - 1);
    n = got > 0 ? (size_t)got : 0;
    output[n] = 0;
    close(file);
    return code;
}

MAYBE static void expect_error(const char *command_line, const char *file, const char *hint)
{
    int code = call(command_line);
    expect(code == 1, "'%.100s': exit code %d: %.300s", command_line, code, output);
    expect(strstr(output, file) && strstr(output, hint), "'%.100s': '%.400s' has no '%s' and '%s'",
           command_line, output, file, hint);
}
#endif

/* A data file, from the byte table. */
MAYBE static Image data_image(int examples, int labelled, const char *const *names, int longest)
{
    static const char zeros[1024];
    Image im = {0};
    int32_t head[32] = {0x44545242, 1, 1, 0, IK, labelled, examples, 0, 0, 0, 0, IV};
    uint64_t at = 0;
    append(&im, zeros, 1024), pad(&im);
    head[15] = (int32_t)append_strings(&im, names, IK), pad(&im);
    append(&im, &at, 8);
    for (int i = 0; i < examples; i++) {
        int n = 2 + i % (longest - 1);
        if (n > head[10]) head[10] = n;
        at += n, append(&im, &at, 8);
    }
    pad(&im);
    for (int i = 0; i < (int)at; i++) append(&im, (int32_t[]){below(IV)}, 4);
    pad(&im);
    for (int i = 0; i < examples; i++) append(&im, (int32_t[]){1 + i % 2}, 4);
    pad(&im);
    for (int i = 0; i < examples && labelled; i++) append(&im, (int32_t[]){i % IK}, 4);
    pad(&im);
    head[17] = labelled ? 4 * examples : 0;
    head[8] = (int32_t)at, head[14] = IP, head[30] = (int32_t)im.size;
    memcpy(im.data, head, sizeof head);
    memcpy(im.data + 48, &image_hash, 8);
    return im;
}

enum { EXAMPLES = 11 };
#define TRAIN_CALL "train --model model.bin --train_file data.bin --output_dir out "

MAYBE static void write_data(const char *name, Image im) { write_file(name, im.data, im.size); }

enum { ITEMS = 12, QUESTIONS = 6, DOCUMENTS = 3 };
MAYBE static const char *const tag_names[IK] = {"O", "B-X", "I-X"};

/* The tokens of example i, which hold what its labels say: [CLS] three words [SEP]; qa [CLS] word
   [SEP] two words [SEP]; pretraining one or two words. */
MAYBE static int task_tokens(int32_t *tokens, int task, int i)
{
    int n = 0, T = task == BERT_PRETRAINING ? 1 + i % 2 : task == BERT_QA ? 6 : 5;
    for (; n < T; n++) tokens[n] = 5 + (i * 7 + n * 3 + i / 5) % 6;
    if (task == BERT_PRETRAINING) return n;
    /* the pooler of so small a model sees little but the first token: that is the word, then */
    tokens[0] = task == BERT_CLASSIFICATION || task == BERT_REGRESSION ? tokens[1] : 2;
    tokens[n - 1] = 3;
    if (task == BERT_QA) tokens[2] = 3;
    return n;
}

MAYBE static void append_ints(Image *im, int a, int b, int count)
{
    if (count > 0) append(im, (int32_t[]){a}, 4);
    if (count > 1) append(im, (int32_t[]){b}, 4);
}

MAYBE static void task_labels(Image *im, int task, int multi)
{
    int32_t tokens[8];
    uint64_t at = 0;
    float value;
    if (multi) append(im, &at, 8);
    for (int i = 0; i < ITEMS && multi; i++) {
        task_tokens(tokens, task, i);
        at += 2, append(im, &at, 8);
    }
    for (int i = 0; i < ITEMS; i++) {
        int T = task_tokens(tokens, task, i);
        value = (float)tokens[1] / 4 - 2;
        if (multi) append_ints(im, tokens[1] % 2, 2, 2);
        if (task == BERT_REGRESSION) append(im, &value, 4);
        for (int t = 0; t < T && task == BERT_NER; t++)
            append_ints(im, t == 0 || t == T - 1 ? -1 : tokens[t] % 3, 0, 1);
        if (task == BERT_QA)
            append_ints(im, i % 2 ? 3 + i / 2 % 2 : 0, i % 2 ? 3 + i / 2 % 2 : 0, 2);
    }
}

/* Sections 6 to 9 */
MAYBE static void task_texts(Image *im, int32_t *head, int task)
{
    static const char *const text[ITEMS] = {"aa bb cc dd", "aa bb cc", "aa bb cc", "aa bb cc",
                                            "aa bb cc",    "aa bb cc", "aa bb cc", "aa bb cc",
                                            "aa bb cc",    "aa bb cc", "aa bb cc", "aa bb cc"};
    const char *golds[3 * QUESTIONS];
    int32_t tokens[8];
    if (task == BERT_NER || task == BERT_QA) {
        head[19] = (int32_t)append_strings(im, text, task == BERT_NER ? ITEMS : QUESTIONS);
    }
    pad(im);
    for (int i = 0; i < ITEMS && (task == BERT_NER || task == BERT_QA); i++)
        for (int t = 0, T = task_tokens(tokens, task, i), first = task == BERT_QA ? 3 : 1; t < T;
             t++)
            append_ints(im, t < first || t == T - 1 ? -1 : 3 * (t - first),
                        t < first || t == T - 1 ? -1 : 3 * (t - first) + 2, 2);
    pad(im);
    for (int i = 0; i < ITEMS && task == BERT_QA; i++) append_ints(im, i / 2, 0, 1);
    for (int i = 0; i < ITEMS && task == BERT_NER; i++)
        for (int t = 0; t < 5; t++) append_ints(im, t == 0 || t == 4 ? -1 : t - 1, 0, 1);
    for (uint64_t d = 0; d <= DOCUMENTS && task == BERT_PRETRAINING; d++)
        append(im, (uint64_t[]){d * ITEMS / DOCUMENTS}, 8);
    pad(im);
    if (task != BERT_QA) return;
    for (int q = 0; q < QUESTIONS; q++) {
        append_ints(im, 1, 0, 1);
        golds[3 * q] = "id\"", golds[3 * q + 1] = "which?",
                  golds[3 * q + 2] = q % 2 ? "The bb" : "aa!";
    }
    pad(im);
    head[23] = 4 * QUESTIONS + (int32_t)append_strings(im, golds, 3 * QUESTIONS), pad(im);
}

MAYBE static Image task_image(int task, int multi)
{
    static const char zeros[1024];
    const int labelled = task != BERT_MLM && task != BERT_PRETRAINING,
              named = multi || task == BERT_NER;
    Image im = {0};
    int32_t head[32] = {0x44545242, 1, task, multi, named ? IK : 0, labelled, ITEMS, 0,
                        0,          0, 0,    IV};
    int32_t tokens[8];
    uint64_t at = 0;
    append(&im, zeros, 1024), pad(&im);
    if (named) head[15] = (int32_t)append_strings(&im, multi ? label_names : tag_names, IK);
    pad(&im);
    append(&im, &at, 8);
    for (int i = 0; i < ITEMS; i++) {
        int n = task_tokens(tokens, task, i);
        if (n > head[10]) head[10] = n;
        at += n, append(&im, &at, 8);
    }
    pad(&im);
    for (int i = 0; i < ITEMS; i++) append(&im, tokens, 4 * (size_t)task_tokens(tokens, task, i));
    pad(&im);
    for (int i = 0; i < ITEMS; i++)
        append_ints(&im, task == BERT_QA ? 3 : task_tokens(tokens, task, i), 0, 1);
    pad(&im);
    head[17] = (int32_t)im.size, task_labels(&im, task, multi);
    head[17] = (int32_t)im.size - head[17], pad(&im);
    task_texts(&im, head, task);
    head[22] = task == BERT_QA ? QUESTIONS : task == BERT_PRETRAINING ? DOCUMENTS : 0;
    head[8] = (int32_t)at, head[14] = IP, head[30] = (int32_t)im.size;
    memcpy(im.data, head, sizeof head);
    memcpy(im.data + 48, &image_hash, 8);
    return im;
}

#ifdef TESTING
/* The same with a text on standard input. */
MAYBE static int call_from(const char *command_line, const char *path)
{
    int file = open(path, O_RDONLY), kept = dup(0);
    dup2(file, 0), close(file);
    int code = call(command_line);
    dup2(kept, 0), close(kept);
    return code;
}

MAYBE static int call_text(const char *command_line, const char *text)
{
    write_file("lines", text, strlen(text));
    return call_from(command_line, "lines");
}

MAYBE static void expect_text(const char *command_line, const char *text, int code,
                              const char *want)
{
    int got = call_text(command_line, text);
    expect(got == code && !strcmp(output, want), "%s < '%s': %d '%.300s', not '%s'", command_line,
           text, got, output, want);
}
#endif

#endif
