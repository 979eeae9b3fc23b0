/* What the driver does when the system refuses: each allocation and each call of train, eval,
   predict and embed fails once, in a child of its own. Either the command goes on and its result is
   what it always is, or it ends with 1 and a message that names what it could not do; the model of
   the run before is whole, and nothing half written is left. */
#define TESTING
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static long until = -1;    /* so many calls until one fails */
static int calls;          /* made */
static const char *broken; /* the one that failed */
enum { MOST_CALLS = 1000 };
static const char *order[MOST_CALLS];

static int fails(const char *name, int error)
{
    if (calls < MOST_CALLS) order[calls] = name;
    calls++;
    if (until < 0 || until-- > 0) return 0;
    broken = name;
    errno = error;
    return 1;
}

#include "test.h"

#define open(...) (fails("open", EIO) ? -1 : open(__VA_ARGS__))
#define close(fd) (fails("close", EIO) ? close(fd), -1 : close(fd))
#define read(fd, to, n) (fails("read", EIO) ? -1 : read(fd, to, n))
#define fcntl(...) (fails("fcntl", ENOLCK) ? -1 : fcntl(__VA_ARGS__))
#define fsync(fd) (fails("fsync", EIO) ? -1 : 0) /* a process that dies needs no disk */
#define fstat(fd, to) (fails("fstat", EIO) ? -1 : fstat(fd, to))
#define lstat(path, to) (fails("lstat", EIO) ? -1 : lstat(path, to))
#define stat(path, to) (fails("stat", EIO) ? -1 : stat(path, to))
#define access(path, how) (fails("access", EROFS) ? -1 : access(path, how))
#define mkdir(path, mode) (fails("mkdir", ENOSPC) ? -1 : mkdir(path, mode))
#define unlink(path) (fails("unlink", EIO) ? -1 : unlink(path))
#define rename(from, to) (fails("rename", ENOSPC) ? -1 : rename(from, to))
#define glob(...) (fails("glob", EACCES) ? GLOB_ABORTED : glob(__VA_ARGS__))
#define fopen(path, how) (fails("fopen", EMFILE) ? NULL : fopen(path, how))
#define fread(to, size, n, f) (fails("fread", EIO) ? 0 : fread(to, size, n, f))
#define fclose(f) (fails("fclose", ENOSPC) ? fclose(f), EOF : fclose(f))
#define fseek(f, at, from) (fails("fseek", ESPIPE) ? -1 : fseek(f, at, from))
#define calloc(n, size) (fails("calloc", ENOMEM) ? NULL : calloc(n, size))
#define realloc(p, size) (fails("realloc", ENOMEM) ? NULL : realloc(p, size))

#include "../../train_bert.c"

#undef open
#undef close
#undef read
#undef fcntl
#undef fsync
#undef fstat
#undef lstat
#undef stat
#undef access
#undef mkdir
#undef unlink
#undef rename
#undef glob
#undef fopen
#undef fread
#undef fclose
#undef fseek
#undef calloc
#undef realloc

#include "files.h"

#ifdef _OPENMP
#include <omp.h>
#endif

static const struct {
    const char *line, *names; /* of what a message may name */
} commands_of[] = {
    {"train --model encoder.bin --train_file part-*.bin --eval_file data.bin --output_dir new/out "
     "--num_train_epochs 1 --per_device_train_batch_size 4 --logging_dir logs --logging_steps 1 "
     "--reinit_layers 1",
     "encoder.bin|part-|data.bin|new|logs|out of memory|no memory"},
    {"train --model scratch.bin --train_file data.bin --output_dir new/out --max_steps 1 "
     "--class_weights balanced",
     "scratch.bin|data.bin|new|out of memory|no memory"},
    {"train --model encoder.bin --train_file data.bin --output_dir new/out --max_steps 1 "
     "--resume_from_checkpoint kept/checkpoint-1",
     "encoder.bin|data.bin|new|kept/checkpoint-1|out of memory|no memory"},
    {"eval --model qa.bin --eval_file qa.data", "qa.bin|qa.data|out of memory|no memory"},
    {"eval --model pretraining.bin --eval_file mlm.data",
     "pretraining.bin|mlm.data|out of memory|no memory"},
    {"predict --model ner.bin --predict_file ner.data", "ner.bin|ner.data|out of memory|no memory"},
    {"predict --model qa.bin", "qa.bin|standard input|stdin|out of memory|no memory"},
    {"predict --model mlm.bin --json", "mlm.bin|standard input|stdin|out of memory|no memory"},
    {"embed --model encoder.bin --predict_file data.bin",
     "encoder.bin|data.bin|out of memory|no memory"},
    {"encode --model encoder.bin", "encoder.bin|standard input|stdin|out of memory|no memory"},
};

static void make_files(void)
{
    BertConfig config = tiny_config(8);
    static const char a_line[] =
        "{\"question\": \"a\", \"context\": \"b\", \"id\": 1, \"text\": \"[MASK] a\"}\n";
    static const int tasks_of[] = {BERT_QA, BERT_NER, BERT_MLM, BERT_PRETRAINING};
    static const char *const names[] = {"qa", "ner", "mlm", "pretraining"};
    char line[200];
    enter_folder("failures");
    write_data("part-1.bin", class_image(3, 1, label_names, IP));
    write_data("part-2.bin", class_image(4, 1, label_names, IP));
    config.undrawn = 1;
    write_zeros("scratch.bin", "model.bin", config);
    write_file("lines", a_line, strlen(a_line));
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof line, "%s.data", names[i]);
        write_data(line, task_image(tasks_of[i], 0));
        snprintf(line, sizeof line,
                 "train --model encoder.bin --train_file %s.data --output_dir out --max_steps 1",
                 names[i]);
        expect(call(line) == 0, "%.300s", output);
        snprintf(line, sizeof line, "%s.bin", names[i]);
        if (rename("out/model.bin", line)) expect(0, "%s", line);
    }
    expect(!call("train --model encoder.bin --train_file data.bin --output_dir kept --max_steps 1 "
                 "--save_strategy steps --save_steps 1"),
           "%.300s", output);
}

/* The kinds of calls; each has to fail once at least. */
static struct {
    const char *name;
    int failed;
} calls_of[] = {{"open", 0},   {"close", 0},  {"read", 0},   {"fcntl", 0},  {"fsync", 0},
                {"fstat", 0},  {"lstat", 0},  {"stat", 0},   {"access", 0}, {"mkdir", 0},
                {"unlink", 0}, {"rename", 0}, {"glob", 0},   {"fopen", 0},  {"fread", 0},
                {"fclose", 0}, {"fseek", 0},  {"calloc", 0}, {"realloc", 0}};
enum { CALLS = sizeof calls_of / sizeof calls_of[0] };

static struct {
    int calls;
    char name[16];
    unsigned char kinds[MOST_CALLS]; /* in calls_of */
} told;
static int tell[2];

/* However the child ends. */
static void tell_parent(void)
{
    told.calls = calls;
    for (int i = 0; i < calls && i < MOST_CALLS; i++)
        while (told.kinds[i] < CALLS - 1 && strcmp(order[i], calls_of[told.kinds[i]].name))
            told.kinds[i]++;
    if (broken) snprintf(told.name, sizeof told.name, "%s", broken);
    if (write(tell[1], &told, sizeof told) != sizeof told) _exit(99);
}

/* Exit code in a child whose call number at fails, or whose memory for bert.h ends with that
   allocation; how many calls there were, which failed. */
static int child(const char *line, long at, long memory, int *made, char *name)
{
    int status;
    fflush(stdout);
    memset(&told, 0, sizeof told);
    if (pipe(tell)) exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        atexit(tell_parent);
        until = at, fail_at = memory, calls = 0, broken = NULL;
        exit(call_from(line, "lines"));
    }
    close(tell[1]);
    ssize_t got = read(tell[0], &told, sizeof told);
    close(tell[0]);
    waitpid(pid, &status, 0);
    int file = open("output", O_RDONLY);
    ssize_t n = read(file, output, sizeof output - 1);
    output[n > 0 ? n : 0] = 0;
    close(file);
    *made = told.calls;
    strcpy(name, got > 0 ? told.name : "died");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static int names_one(const char *names)
{
    char list[200];
    snprintf(list, sizeof list, "%s", names);
    for (char *name = strtok(list, "|"); name; name = strtok(NULL, "|"))
        if (strstr(output, name)) return 1;
    return 0;
}

/* new/out and logs as if no run had been there; model: but the last run's model. */
static void fresh(const char *model)
{
    remove_all("new"), remove_all("logs");
    if (model) mkdir("new", 0700), mkdir("new/out", 0700), copy_file("new/out/model.bin", model);
}

static void test_kinds(void)
{
    for (int k = 0; k < CALLS; k++) expect(calls_of[k].failed, "%s never failed", calls_of[k].name);
    done("each of %d kinds of calls failed", CALLS);
}

/* Of the two trainings the second has an earlier run's model in its folder: more calls. */
static void test_calls(const char *line, const char *names, int first)
{
    const int train = !strncmp(line, "train", 5);
    const char *earlier = train && first == 1 ? "encoder.bin" : NULL;
    char name[16], *right = NULL;
    unsigned char *model = NULL, *now, kinds_of[MOST_CALLS];
    size_t size = 0, room;
    int made, failures = 0, went_on = 0, end;
    fresh(earlier);
    expect(child(line, -1, -1, &end, name) == 0 && end > 10, "%.40s: %.300s", line, output);
    memcpy(kinds_of, told.kinds, sizeof kinds_of);
    if (train) model = read_file("new/out/model.bin", &size);
    else right = strcpy(get(sizeof output, 1), output);
    expect(end <= MOST_CALLS, "%d calls", end);
    for (int at = 0; at < end && at < MOST_CALLS; at++) {
        if ((at - first) % TEST_EVERY && calls_of[kinds_of[at]].failed) continue;
        fresh(earlier);
        int code = child(line, at, -1, &made, name);
        for (int k = 0; k < CALLS; k++) calls_of[k].failed += !strcmp(name, calls_of[k].name);
        expect(code == 0 || code == 1, "%.40s, call %d, %s: exit code %d", line, at, name, code);
        if (code == 1) {
            expect(names_one(names) && strstr(output, "train_bert: "),
                   "%.40s, call %d, %s: '%.200s' names nothing", line, at, name, output);
            failures++;
        } else {
            expect(train || !strcmp(right, output) || strstr(output, "warning"),
                   "%.40s, call %d, %s: another answer: %.200s", line, at, name, output);
            went_on++;
        }
        if (!train) continue;
        if (!access("new/out/model.bin", F_OK)) {
            Bert m = {0};
            now = read_file("new/out/model.bin", &room);
            expect(!bert_load(&m, "new/out/model.bin"), "call %d, %s: %s", at, name,
                   bert_error(&m));
            expect(code == 1 || (room == size && !memcmp(now, model, size)),
                   "%.40s, call %d, %s: exit code 0, but another model", line, at, name);
            bert_free(&m);
        } else expect(code == 1, "call %d, %s: exit code 0, and no model", at, name);
        expect((access("new/out/model.bin.tmp", F_OK) && access("new/out/best.bin.tmp", F_OK)) ||
                   !strcmp(name, "unlink") || !strcmp(name, "lstat"),
               "%.40s, call %d, %s: half a model is left", line, at, name);
    }
    done("%.60s: each of %d calls fails: %d errors, %d go on", line, end, failures, went_on);
}

/* bert.h gets no more memory from some allocation on: an error that says so, no half a model. */
static void test_memory(const char *line)
{
    char name[16];
    int made, at = 0, code;
    for (fresh(NULL); (code = child(line, -1, at, &made, name)) != 0 && at < 1000;
         fresh(NULL), at += TEST_EVERY) {
        expect(code == 1 && strstr(output, "train_bert: ") && strstr(output, "memory"),
               "%.40s, allocation %d: exit code %d, %.200s", line, at, code, output);
        Bert m = {0};
        expect(access("new/out/model.bin", F_OK) || !bert_load(&m, "new/out/model.bin"),
               "%.40s, allocation %d: %s", line, at, bert_error(&m));
        expect(access("new/out/model.bin.tmp", F_OK), "%.40s, allocation %d: half a model", line,
               at);
        bert_free(&m);
    }
    expect(!code && at > 10, "%.40s: %d allocations, exit code %d", line, at, code);
    done("%.60s: memory for %d allocations and no more", line, at);
}

/* A closed standard input, and nothing to open in its place */
static void test_standard(void)
{
    int status, file = open("output", O_CREAT | O_TRUNC | O_RDWR, 0600);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(file, 2), close(0);
        until = 1; /* fcntl sees that it is closed */
        open_standard();
        exit(0);
    }
    waitpid(pid, &status, 0);
    ssize_t n = pread(file, output, sizeof output - 1, 0);
    output[n > 0 ? n : 0] = 0;
    close(file);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 1 &&
               !strcmp(output, "train_bert: /dev/null: cannot be opened: Input/output error\n"),
           "status %d, '%s'", status, output);
    done("a closed descriptor, and no /dev/null");
}

/* A save that fails, then one that does not, as where a signal ends the training: the earlier run's
   model, which the first has set aside, is still there. */
static void test_second_save(void)
{
    int failures = 0, failed = 1, again;
    for (int at = 0; failed || at < 20; at++) {
        Folder out = {.path = "new/out"};
        Bert m = {0};
        fresh("encoder.bin");
        expect(!bert_load(&m, "ner.bin"), "%s", bert_error(&m));
        output_begin();
        until = at, broken = NULL;
        failed = folder_save(&out, &m, "model.bin");
        until = -1;
        again = folder_save(&out, &m, "model.bin");
        output_end();
        failures += failed;
        expect(!again && (!failed || !access("new/out/earlier-model.bin", F_OK)),
               "call %d, %s: the earlier model is lost", at, broken);
        bert_free(&m);
    }
    expect(failures > 5, "%d failed", failures);
    done("a save that fails and one that does not: the earlier run's model is kept");
}

/* Files that may have no more than so many bytes: write, the real one, fails in the middle. */
static void test_full(void)
{
    struct rlimit limit = {0, RLIM_INFINITY};
    static const char line[] =
        "train --model encoder.bin --train_file data.bin --output_dir new/out --max_steps 1";
    int errors = 0;
    size_t size;
    for (int bytes = 0; bytes < 6000; bytes += bytes < 64 ? 17 : 499) {
        int status;
        fresh("encoder.bin");
        unsigned char *before = read_file("new/out/model.bin", &size);
        size_t after;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            char copy[300], name[] = "train_bert", *argv[20] = {name};
            int argc = 1, null = open("/dev/null", O_WRONLY);
            strcpy(copy, line);
            for (char *w = strtok(copy, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
            dup2(null, 1), dup2(null, 2);
            signal(SIGXFSZ, SIG_IGN);
            limit.rlim_cur = (rlim_t)bytes;
            setrlimit(RLIMIT_FSIZE, &limit);
            _exit(bert_main(argc, argv));
        }
        waitpid(pid, &status, 0);
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
        expect(code == 0 || code == 1, "%d bytes: exit code %d", bytes, code);
        errors += code == 1;
        unsigned char *now = read_file("new/out/model.bin", &after);
        expect(code == 0 || (after == size && !memcmp(now, before, size)),
               "%d bytes: the old model is gone", bytes);
        expect(access("new/out/model.bin.tmp", F_OK), "%d bytes: half a model is left", bytes);
    }
    expect(errors > 3, "%d errors", errors);
    if (!access("/dev/full", W_OK))
        for (size_t i = 3; i < sizeof commands_of / sizeof commands_of[0]; i++) {
            char command[300], path[128];
            snprintf(path, sizeof path, "%s", "lines");
            int kept = dup(1), full = open("/dev/full", O_WRONLY), null = open("lines", O_RDONLY);
            int kept_in = dup(0), errors_to = dup(2), file = open("output", O_RDWR | O_TRUNC);
            char name[] = "train_bert", *argv[30] = {name};
            int argc = 1;
            fflush(stdout);
            snprintf(command, sizeof command, "%s", commands_of[i].line);
            for (char *w = strtok(command, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
            dup2(full, 1), dup2(null, 0), dup2(file, 2);
            int code = bert_main(argc, argv);
            clearerr(stdout);
            dup2(kept, 1), dup2(kept_in, 0), dup2(errors_to, 2);
            ssize_t n = pread(file, output, sizeof output - 1, 0);
            output[n > 0 ? n : 0] = 0;
            close(kept), close(full), close(null), close(kept_in), close(errors_to), close(file);
            expect(code == 1 && strstr(output, "standard output"), "%s: %d: %.200s",
                   commands_of[i].line, code, output);
        }
    done("full disks: %d lengths of a file end in an error, the old model stays", errors);
}

int main(void)
{
#ifdef _OPENMP
    omp_set_num_threads(1); /* a child has none of the threads that its parent's OpenMP waits for */
#endif
    make_files();
    for (size_t i = 0; i < sizeof commands_of / sizeof commands_of[0]; i++)
        test_calls(commands_of[i].line, commands_of[i].names, (int)i),
            test_memory(commands_of[i].line), release(0);
    test_kinds();
    test_standard();
    test_second_save();
    test_full();
    leave_folder();
    return finish();
}
