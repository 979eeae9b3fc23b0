/* What the harnesses for model files, data files and lines share: a folder of their own, the driver
   called in it, what has to hold of its output, and mutations that know of headers of int32 words.
   Include it first. Run a harness with -close_fd_mask=2 from the project's folder: libFuzzer keeps
   standard error for itself, and what the driver says there goes nowhere.

   What an input may cost is bounded here, not by time-outs: BUDGET bytes for any one array. */
#define TESTING
#define BERT_STATIC
#include "../test/test.h"

#include "../../train_bert.c"

#include "../test/files.h"

enum { BUDGET = 256 << 20 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);

MAYBE static void check(int ok, const char *what)
{
    if (ok && largest <= BUDGET) return;
    fprintf(stderr, "fuzz: %s; the largest array: %zu bytes\n", what, largest);
    abort();
}

static int results; /* what stands for standard output */

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command)) fprintf(stderr, "fuzz: %s is left\n", folder);
}

/* The folder, in memory where there is such a place; one thread. */
static void start_folder(void)
{
    snprintf(folder, sizeof folder, "%s/fuzz.%ld", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm",
             (long)getpid());
    check(!mkdir(folder, 0700) && !chdir(folder), "no folder");
    atexit(remove_folder);
    results = open("results", O_CREAT | O_TRUNC | O_RDWR, 0600);
    check(results >= 0 && dup2(results, 1) == 1, "no file for results");
}

/* What a corpus starts from goes into the folder that SEEDS names. */
MAYBE static void write_seed(Image im)
{
    static int count;
    char path[512];
    if (!getenv("SEEDS")) return;
    snprintf(path, sizeof path, "%s/seed%d", getenv("SEEDS"), count++);
    write_file(path, im.data, im.size);
}

/* task.multi.bin: the same model with each head there is. */
static void write_models(const unsigned char *model, size_t size)
{
    for (int task = 0; task < BERT_NUM_TASKS; task++)
        for (int multi = 0; multi < 1 + (task == BERT_CLASSIFICATION); multi++) {
            Bert m = {0};
            uint64_t offsets[] = {0, 1, 4, 7};
            char bytes[] = "OB-XI-X", name[32];
            BertStrings names = {IK, offsets, bytes};
            const int most = bert_task(task)->most_K, K = most < IK ? most : IK;
            snprintf(name, sizeof name, "%d.%d.bin", task, multi);
            check(!bert_load_memory(&m, model, size) &&
                      !bert_set_task(&m, task, K, multi, K == IK ? &names : NULL, 1) &&
                      !bert_save(&m, name),
                  bert_error(&m));
            bert_free(&m);
        }
}

/* The driver. Its exit code is 0 or 1, and with json each line that it has written is JSON. */
static void drive(const char *command_line, int json)
{
    char line[512], name[] = "train_bert", *argv[40] = {name};
    int argc = 1;
    struct stat info;
    snprintf(line, sizeof line, "%s", command_line);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    check(!ftruncate(results, 0) && !lseek(results, 0, SEEK_SET), "results");
    int code = bert_main(argc, argv);
    check(code == 0 || code == 1, command_line);
    if (!json || fstat(results, &info) || info.st_size == 0) return;
    char *text = malloc((size_t)info.st_size), *end = text + info.st_size;
    check(text && pread(results, text, (size_t)info.st_size, 0) == info.st_size, "results");
    check(end[-1] == '\n', "a line is cut off");
    for (char *at = text, *next; at < end; at = next) {
        char *newline = memchr(at, '\n', (size_t)(end - at));
        next = newline + 1;
        check(json_value(at, newline, 0) == newline, "a line is no JSON");
    }
    free(text);
}

/* Words of a header, or of anything: nasty ones, neighbours, others of the file. */
static void mutate_words(uint8_t *data, size_t size, int header)
{
    static const int32_t nasty[] = {
        0, 1, -1, 2, 3, 4, 7, 255, 65536, 99999, 1 << 24, INT_MAX, INT_MIN, 0x7F800000, 0x7FC00000};
    for (int n = 1 + below(3); n > 0; n--) {
        size_t words = size / 4, at = (size_t)below((int)words), other = (size_t)below((int)words);
        int32_t word;
        if (header && below(2)) at = (size_t)below(48) % words;
        memcpy(&word, data + 4 * (below(3) ? at : other), 4);
        if (below(2)) word = nasty[below(15)];
        else word = (int32_t)((uint32_t)word + (uint32_t)below(7) - 3);
        memcpy(data + 4 * at, &word, 4);
    }
}

static size_t mutate(uint8_t *data, size_t size, size_t room, unsigned seed,
                     size_t (*repair)(uint8_t *data, size_t size, size_t room))
{
    state = seed;
    int how = below(8);
    if (size < 1024 || how == 0) return LLVMFuzzerMutate(data, size, room);
    if (how == 1) { /* without the header, whose sizes are put right below */
        size = 1024 + LLVMFuzzerMutate(data + 1024, size - 1024, room - 1024);
    } else mutate_words(data, size, 1);
    return below(8) ? repair(data, size, room) : size;
}

static void put_u64(uint8_t *data, int word, uint64_t x) { memcpy(data + 4 * word, &x, 8); }
