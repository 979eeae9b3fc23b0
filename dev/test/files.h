/* Files for tests, made from the byte tables of bert.h and data.h by code that knows nothing of
   theirs, and the driver, called as from a shell. Include it behind test.h and bert.h or
   train_bert.c (with TESTING defined). */
#ifndef FILES_H
#define FILES_H

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

MAYBE static void must(const Bert *m, int error) { expect(!error, "%s", bert_error(m)); }

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
    size_t size, sections[32];
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

/* As rm -rf, without a process for it. */
MAYBE static void remove_all(const char *path)
{
    char inside[512];
    struct dirent *e;
    if (!remove(path)) return;
    DIR *d = opendir(path);
    while (d && (e = readdir(d)) != NULL) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(inside, sizeof inside, "%s/%s", path, e->d_name);
        remove_all(inside);
    }
    if (d) closedir(d), remove(path);
}

MAYBE static void copy_file(const char *to, const char *from)
{
    size_t size, mark = num_gotten;
    unsigned char *data = read_file(from, &size);
    write_file(to, data, size);
    release(mark);
}

/* A folder of a test's own, which leave_folder removes. */
MAYBE static void make_folder_of(const char *name)
{
    snprintf(folder, sizeof folder, "/tmp/%s.%ld", name, (long)getpid());
    if (mkdir(folder, 0700) || chdir(folder)) exit(2);
}

MAYBE static void leave_folder(void)
{
    const int away = !chdir("/");
    remove_all(folder);
    expect(away && access(folder, F_OK), "%s is left", folder);
}

#ifdef BERT_IMPLEMENTATION
/* The smallest shape that a model of P positions may have. */
MAYBE static BertConfig tiny_config(int P)
{
    const BertConfig c = {.V = IV,
                          .C = 4,
                          .L = 1,
                          .NH = 2,
                          .F = 4,
                          .P = P,
                          .S = 2,
                          .eps = 1e-12f,
                          .init_range = 0.02f};
    return c;
}

/* A model of that shape, whose parameters are zero, with another's tokenizer; undrawn: as
   dev/export_hf.py --config makes one. */
MAYBE static void write_zeros(const char *path, const char *tokenizer, BertConfig config)
{
    Bert m = {0}, of = {0};
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

/* What is written between the two goes into output. */
static int kept_streams[2], output_file;

MAYBE static void output_begin(void)
{
    fflush(stdout), fflush(stderr);
    output_file = open("output", O_CREAT | O_TRUNC | O_RDWR, 0600);
    for (int i = 0; i < 2; i++) kept_streams[i] = dup(i + 1), dup2(output_file, i + 1);
}

MAYBE static void output_end(void)
{
    fflush(stdout), fflush(stderr);
    for (int i = 0; i < 2; i++) dup2(kept_streams[i], i + 1), close(kept_streams[i]);
    const ssize_t got = pread(output_file, output, sizeof output - 1, 0);
    output[got > 0 ? got : 0] = 0;
    close(output_file);
}

MAYBE static int call(const char *command_line)
{
    static char line[PATH_MAX + 1024], name[] = "train_bert";
    char *argv[64] = {name};
    int argc = 1, code;
    snprintf(line, sizeof line, "%s", command_line);
    for (char *word = strtok(line, " "); word && argc < 63; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "''") ? word : word + 2;
    output_begin();
    code = bert_main(argc, argv);
    output_end();
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

/* ------------------------------------------------------------------------------------------------
   Data files, from the byte table: data_file begins one, add_ puts something into it, and
   data_image makes the file of it. Sections come in the order in which they are added */

enum { OF_U64 = 1, OF_I32, OF_F32, OF_BYTE }; /* elements */
enum { IN_NAMES = 1, IN_OFFSETS = 3, IN_TOKENS, IN_SEGMENTS, IN_LABELS, IN_SETS, IN_SET_LABELS };
enum { IN_TARGETS = 9, IN_TAGS, IN_POSITIONS, IN_TEXTS, IN_SPANS = 14, IN_WORDS, IN_GROUPS };
/* of strings: their offsets; their bytes are the kind behind it */
enum { IN_IDS = 17, IN_QUESTIONS = 19, IN_ANSWERS = 21, IN_GOLDS };

typedef struct {
    int32_t head[256];
    Image directory, sections, offsets, tokens, segments;
} DataFile;

MAYBE static DataFile data_file(int task, int multi, int labelled, int max_length, int V,
                                uint64_t hash)
{
    DataFile f = {{0x44545242, 2, task, multi, 0, labelled}, {0}, {0}, {0}, {0}, {0}};
    uint64_t zero = 0;
    f.head[11] = V, f.head[14] = max_length;
    memcpy(f.head + 12, &hash, 8);
    append(&f.offsets, &zero, 8);
    return f;
}

MAYBE static void add_section(DataFile *f, int kind, int element, const void *data, size_t size)
{
    static const size_t sizes[] = {0, 8, 4, 4, 1};
    const int32_t what[] = {kind, element};
    const uint64_t place[] = {size / sizes[element], f->sections.size}; /* behind the directory */
    append(&f->directory, what, 8), append(&f->directory, place, 16);
    append(&f->sections, data, size), pad(&f->sections);
    f->head[20]++;
}

MAYBE static void add_image(DataFile *f, int kind, int element, Image im)
{
    add_section(f, kind, element, im.data, im.size);
}

MAYBE static void add_strings(DataFile *f, int kind, const char *const *strings, int count)
{
    Image im = {0};
    const size_t size = append_strings(&im, strings, count), offsets = 8 * ((size_t)count + 1);
    add_section(f, kind, OF_U64, im.data, offsets);
    add_section(f, kind + 1, OF_BYTE, im.data + offsets, size - offsets);
    if (kind == IN_NAMES) f->head[4] = count;
}

/* first: how many tokens have type 0 */
MAYBE static void add_example(DataFile *f, const int32_t *tokens, int T, int first)
{
    append(&f->tokens, tokens, 4 * (size_t)T);
    append(&f->offsets, (uint64_t[]){f->tokens.size / 4}, 8);
    append(&f->segments, (int32_t[]){first}, 4);
    f->head[6]++, f->head[8] += T;
    if (T > f->head[10]) f->head[10] = T;
}

MAYBE static Image data_image(DataFile *f)
{
    Image im = {0};
    add_image(f, IN_OFFSETS, OF_U64, f->offsets);
    add_image(f, IN_TOKENS, OF_I32, f->tokens);
    add_image(f, IN_SEGMENTS, OF_I32, f->segments);
    const uint64_t before = 1024 + f->directory.size;
    for (size_t at = 16; at < f->directory.size; at += 24) {
        uint64_t begin;
        memcpy(&begin, f->directory.data + at, 8);
        begin += before;
        memcpy(f->directory.data + at, &begin, 8);
    }
    f->head[30] = (int32_t)(before + f->sections.size);
    append(&im, f->head, 1024);
    append(&im, f->directory.data, f->directory.size);
    append(&im, f->sections.data, f->sections.size);
    return im;
}

/* Where in a data file its section of that kind is listed, and where it begins: bytes. */
MAYBE static size_t entry_of(const Image *im, int kind)
{
    size_t at = 1024;
    for (int left = get_word(im, 20); left > 0 && get_word(im, (int)at / 4) != kind; left--)
        at += 24;
    return at;
}
MAYBE static size_t section_of(const Image *im, int kind)
{
    return (size_t)get_word(im, (int)entry_of(im, kind) / 4 + 4);
}

/* Classification, of tokens at random. */
MAYBE static Image class_image(int examples, int labelled, const char *const *names, int longest)
{
    DataFile f = data_file(BERT_CLASSIFICATION, 0, labelled, IP, IV, image_hash);
    Image labels = {0};
    add_strings(&f, IN_NAMES, names, IK);
    for (int i = 0; i < examples; i++) {
        int32_t tokens[16], T = 2 + i % (longest - 1);
        for (int t = 0; t < T; t++) tokens[t] = below(IV);
        add_example(&f, tokens, T, 1 + i % 2);
        append(&labels, (int32_t[]){i % IK}, 4);
    }
    if (labelled) add_image(&f, IN_LABELS, OF_I32, labels);
    return data_image(&f);
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
    tokens[0] = bert_task(task)->reads == BERT_READS_CLS ? tokens[1] : 2;
    tokens[n - 1] = 3;
    if (task == BERT_QA) tokens[2] = 3;
    return n;
}

MAYBE static void append_ints(Image *im, int a, int b, int count)
{
    if (count > 0) append(im, (int32_t[]){a}, 4);
    if (count > 1) append(im, (int32_t[]){b}, 4);
}

MAYBE static void add_labels(DataFile *f, int task, int multi)
{
    static const int kinds[BERT_NUM_TASKS] = {
        0, IN_LABELS, IN_TARGETS, IN_TAGS, IN_POSITIONS, [BERT_MULTIPLE_CHOICE] = IN_LABELS};
    Image im = {0}, sets = {0};
    int32_t tokens[8];
    for (int i = 0; i < ITEMS; i++) {
        const int T = task_tokens(tokens, task, i), answer = i % 2 ? 3 + i / 2 % 2 : 0;
        const float value = (float)tokens[1] / 4 - 2;
        append(&sets, (uint64_t[]){2 * (uint64_t)i}, 8);
        if (multi) append_ints(&im, tokens[1] % 2, 2, 2);
        else if (task == BERT_CLASSIFICATION) append_ints(&im, tokens[1] % IK, 0, 1);
        if (task == BERT_REGRESSION) append(&im, &value, 4);
        for (int t = 0; t < T && task == BERT_NER; t++)
            append_ints(&im, t == 0 || t == T - 1 ? -1 : tokens[t] % 3, 0, 1);
        if (task == BERT_QA) append_ints(&im, answer, answer, 2);
        if (task == BERT_MULTIPLE_CHOICE && i % 2) /* of two choices the one with the larger word */
            append_ints(&im, tokens[1] > 5 + ((i - 1) * 7 + 3 + (i - 1) / 5) % 6, 0, 1);
    }
    append(&sets, (uint64_t[]){2 * ITEMS}, 8);
    if (multi) add_image(f, IN_SETS, OF_U64, sets);
    add_image(f, multi ? IN_SET_LABELS : kinds[task], task == BERT_REGRESSION ? OF_F32 : OF_I32,
              im);
}

/* What answers are taken from: texts, and where in them tokens are */
MAYBE static void add_texts(DataFile *f, int task)
{
    static const char *const text[ITEMS] = {"aa bb cc dd", "aa bb cc", "aa bb cc", "aa bb cc",
                                            "aa bb cc",    "aa bb cc", "aa bb cc", "aa bb cc",
                                            "aa bb cc",    "aa bb cc", "aa bb cc", "aa bb cc"};
    Image spans = {0}, words = {0};
    int32_t tokens[8];
    for (int i = 0; i < ITEMS; i++)
        for (int t = 0, T = task_tokens(tokens, task, i), first = task == BERT_QA ? 3 : 1; t < T;
             t++) {
            const int none = t < first || t == T - 1, at = 3 * (t - first);
            append_ints(&spans, none ? -1 : at, none ? -1 : at + 2, 2);
            append_ints(&words, none ? -1 : t - 1, 0, 1);
        }
    add_strings(f, IN_TEXTS, text, task == BERT_QA ? QUESTIONS : ITEMS);
    if (task == BERT_MULTIPLE_CHOICE) return;
    add_image(f, IN_SPANS, OF_I32, spans);
    if (task == BERT_NER) add_image(f, IN_WORDS, OF_I32, words);
}

MAYBE static void add_questions(DataFile *f)
{
    const char *ids[QUESTIONS], *questions[QUESTIONS], *golds[QUESTIONS];
    uint64_t answers[QUESTIONS + 1];
    for (int q = 0; q <= QUESTIONS; q++) answers[q] = (uint64_t)q;
    for (int q = 0; q < QUESTIONS; q++)
        ids[q] = "id\"", questions[q] = "which?", golds[q] = q % 2 ? "The bb" : "aa!";
    add_strings(f, IN_IDS, ids, QUESTIONS);
    add_strings(f, IN_QUESTIONS, questions, QUESTIONS);
    add_section(f, IN_ANSWERS, OF_U64, answers, sizeof answers);
    add_strings(f, IN_GOLDS, golds, QUESTIONS);
    f->head[18] = QUESTIONS;
}

MAYBE static void add_groups(DataFile *f, int groups)
{
    Image im = {0};
    for (int g = 0; g <= groups; g++) append(&im, (uint64_t[]){(uint64_t)(g * ITEMS / groups)}, 8);
    add_image(f, IN_GROUPS, OF_U64, im);
    f->head[17] = groups;
}

/* Any task, with so many label names where it has some. */
MAYBE static Image named_image(int task, int multi, const char *const *names, int K)
{
    const int labelled = task != BERT_MLM && task != BERT_PRETRAINING;
    DataFile f = data_file(task, multi, labelled, IP, IV, image_hash);
    int32_t tokens[8];
    if (task == BERT_CLASSIFICATION || task == BERT_NER) add_strings(&f, IN_NAMES, names, K);
    for (int i = 0; i < ITEMS; i++) {
        const int T = task_tokens(tokens, task, i);
        add_example(&f, tokens, T, task == BERT_QA ? 3 : T);
    }
    if (labelled) add_labels(&f, task, multi);
    if (task == BERT_NER || task == BERT_QA || task == BERT_MULTIPLE_CHOICE) add_texts(&f, task);
    if (task == BERT_QA) add_groups(&f, QUESTIONS), add_questions(&f);
    if (task == BERT_PRETRAINING) add_groups(&f, DOCUMENTS);
    if (task == BERT_MULTIPLE_CHOICE) add_groups(&f, QUESTIONS);
    return data_image(&f);
}

MAYBE static Image task_image(int task, int multi)
{
    return named_image(task, multi, multi ? label_names : tag_names, IK);
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

/* A folder of its own, and in it words.bin, whose tokenizer knows blanks; model.bin, of image(),
   which is returned; encoder.bin, the same without a head; data.bin, for model.bin. */
MAYBE static Image enter_folder(const char *name)
{
    Bert m = {0};
    size_t size;
    unsigned char *words = read_file("dev/fixtures/text.model.bin", &size);
    make_folder_of(name);
    state = 3; /* of the first seeds, one whose tiny random model can tell its words apart */
    Image im = image(1);
    write_file("words.bin", words, size);
    write_data("model.bin", im);
    write_data("data.bin", class_image(EXAMPLES, 1, label_names, IP));
    if (bert_load_memory(&m, im.data, im.size) || bert_set_task(&m, BERT_NONE, 0, 0, NULL, 1) ||
        bert_save(&m, "encoder.bin"))
        exit(2);
    bert_free(&m);
    return im;
}
#endif

#endif
