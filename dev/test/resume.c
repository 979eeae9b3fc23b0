/* A training that was stopped and goes on is one that never was: the same bits of model.bin,
   best.bin and log.jsonl. It is stopped after each step, by a signal, by kill -9 before any call of
   the system, by a disk that is full; it goes on with other threads and other micro-batches. */
#define TESTING
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before its call number `until` the process is killed, or that call fails. */
static long until = -1, calls;
static int error_then; /* 0: it is killed */

static int ends(void)
{
    if (until < 0 || calls++ != until) return 0;
    if (!error_then) kill(getpid(), SIGKILL);
    errno = error_then;
    return 1;
}

/* A signal comes where the driver writes this line. */
static const char *signal_at;
static int signal_then, signal_skips; /* so many times it does not come */

static const char *signal_where(const char *text)
{
    if (!signal_at || strncmp(text, signal_at, strlen(signal_at)) || signal_skips-- > 0)
        return text;
    signal_at = NULL;
    raise(signal_then);
    return text;
}

#include "test.h"

static int links = 1; /* the file system has other names of a file */

#define open(...) (ends() ? -1 : open(__VA_ARGS__))
#define write(fd, from, n) (ends() ? -1 : write(fd, from, n))
#define fsync(fd) (ends() ? -1 : 0) /* killing does not need the disk */
#define mkdir(path, mode) (ends() ? -1 : mkdir(path, mode))
#define rmdir(path) (ends() ? -1 : rmdir(path))
#define unlink(path) (ends() ? -1 : unlink(path))
#define link(from, to) (ends() || !links ? -1 : link(from, to))
#define rename(from, to) (ends() ? -1 : rename(from, to))
#define puts(text) puts(signal_where(text))
#include "train_bert.c"
#undef open
#undef write
#undef fsync
#undef mkdir
#undef rmdir
#undef unlink
#undef link
#undef rename
#undef puts

#include "files.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* ------------------------------------------------------------------------------------------------
   Runs and what they leave */

static const struct {
    const char *name;
    int task, multi;
    const char *with;
} runs[] = {{"classification", BERT_CLASSIFICATION, 0, "--class_weights 1,2,3"},
            {"multi-label", BERT_CLASSIFICATION, 1, "--weight_decay 0.1"},
            {"regression", BERT_REGRESSION, 0, "--lr_scheduler_type cosine --warmup_steps 5"},
            {"ner", BERT_NER, 0, "--label_smoothing_factor 0.1"},
            {"qa", BERT_QA, 0, "--freeze_embeddings"},
            {"mlm", BERT_MLM, 0, "--mlm_probability 0.4"},
            {"pretraining", BERT_PRETRAINING, 0, "--short_seq_prob 0.4"},
            {"multiple choice", BERT_MULTIPLE_CHOICE, 0, "--max_grad_norm 0.1"}};
enum { NUM_RUNS = sizeof runs / sizeof runs[0], LAST_STEP = 30 };

static char train[512]; /* the flags that all parts of a run have */

/* Three files of a task, one to measure on, and the flags of a run on them. */
static void make_run(int i)
{
    const int single = runs[i].task == BERT_CLASSIFICATION && !runs[i].multi;
    char name[32];
    for (int k = 0; k < 4; k++) {
        Image im = single ? class_image(EXAMPLES + k, 1, label_names, IP)
                          : task_image(runs[i].task, runs[i].multi);
        snprintf(name, sizeof name, k < 3 ? "part-%d.bin" : "dev.bin", k);
        write_data(name, im);
    }
    snprintf(train, sizeof train,
             "train --model encoder.bin --train_file part-*.bin --eval_file dev.bin --max_steps %d "
             "--learning_rate 0.01 --eval_strategy steps --eval_steps 4 --logging_steps 1 "
             "--hidden_dropout_prob 0.2 --seed 7 %s ",
             LAST_STEP, runs[i].with);
}

static int run_with(const char *format, ...)
{
    char line[1024];
    va_list args;
    int n = snprintf(line, sizeof line, "%s", train);
    va_start(args, format);
    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    va_end(args);
    return call(line);
}

/* What the driver has told of, behind its report. */
static const char *told(void)
{
    const char *at = strstr(output, "train_bert:");
    return at ? at : output;
}

static void expect_refused(const char *more, const char *with, const char *want)
{
    int code = run_with("--output_dir part %s %s", more, with);
    expect(code == 1 && strstr(output, want), "%s: %d, '%.400s'", with, code, told());
}

static int there(const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return !access(path, F_OK);
}

/* The file, and of a log all but what a clock says. */
static unsigned char *content(const char *folder, const char *name, size_t *size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    unsigned char *all = read_file(path, size);
    if (strcmp(name, "log.jsonl")) return all;
    char *to = (char *)all, *at = to;
    for (all[*size] = 0; *at;) {
        const size_t n = strcspn(at, ",\n") + 1;
        const int clock = memchr(at, '"', n) && (strstr(at, "runtime") || strstr(at, "_per_sec"));
        char field[128];
        snprintf(field, sizeof field, "%.*s", (int)n, at);
        if (!clock || !(strstr(field, "runtime") || strstr(field, "_per_second")))
            memmove(to, at, n), to += n;
        at += n;
    }
    *size = (size_t)(to - (char *)all);
    return all;
}

/* Has the folder what "whole" has? files: 2, the models, 3, the log too. */
static void expect_files(const char *folder, int files, const char *what)
{
    static const char *const names[] = {"model.bin", "best.bin", "log.jsonl"};
    for (int i = 0; i < files; i++) {
        size_t n, m, at = 0;
        unsigned char *is = content(folder, names[i], &n), *was = content("whole", names[i], &m);
        while (at < n && at < m && is[at] == was[at]) at++;
        expect(n == m && at == n,
               "%s: %s of %zu bytes, not %zu, differs from byte %zu on: '%.40s', not '%.40s'", what,
               names[i], n, m, at, is + at, was + at);
    }
    expect(!there(folder, "model.bin.tmp") && !there(folder, "best.bin.tmp"), "%s: half a file",
           what);
}

static void expect_same(const char *folder, const char *format, ...)
{
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    expect_files(folder, 3, what);
}

static void set_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

/* ------------------------------------------------------------------------------------------------
   Tests */

/* From the checkpoint of each of 30 steps, every task; the last of them with two threads. */
static void test_steps(void)
{
    static const char *const splits[] = {"4 --gradient_accumulation_steps 1",
                                         "2 --gradient_accumulation_steps 2",
                                         "4 --max_tokens_per_batch 9"};
    for (int i = 0; i < NUM_RUNS; i++) {
        make_run(i);
        remove_all("whole"), remove_all("part"), mkdir("part", 0700);
        int code = run_with("--per_device_train_batch_size 4 --output_dir whole --logging_dir "
                            "whole --save_strategy steps --save_steps 1");
        expect(code == 0, "%s: %.300s", runs[i].name, output);
        for (int step = 1; step < LAST_STEP; step += TEST_EVERY) {
            size_t size;
            unsigned char *log = read_file("whole/log.jsonl", &size);
            remove("part/model.bin"), remove("part/best.bin");
            write_file("part/log.jsonl", log, size);
            set_threads(1 + (i < 3 && step + TEST_EVERY >= LAST_STEP));
            links = step % 3;
            code = run_with("--per_device_train_batch_size %s --output_dir part --logging_dir part "
                            "--resume_from_checkpoint whole/checkpoint-%d "
                            "--per_device_eval_batch_size %d",
                            splits[step % 3], step, 1 + step % 5);
            expect(code == 0, "%s, from step %d: %.300s", runs[i].name, step, output);
            expect_same("part", "%s, from step %d", runs[i].name, step);
        }
        links = 1, set_threads(1);
        release(0);
    }
    done("resumed at each of 30 steps, every task, other threads and micro-batches: the same bits");
}

/* SIGINT and SIGTERM after each step, also where an evaluation is due and not done. */
static void test_signals(void)
{
    make_run(0);
    remove_all("whole");
    expect(run_with("--output_dir whole --logging_dir whole") == 0, "%.300s", output);
    expect(signal(SIGINT, SIG_DFL) == SIG_DFL, "a training that has ended still catches SIGINT");
    for (int step = 1; step < LAST_STEP; step += TEST_EVERY) {
        char at[64], command[1024];
        const int signal = step % 2 ? SIGTERM : SIGINT;
        remove_all("part");
        snprintf(at, sizeof at, "step %d/%d", step, LAST_STEP);
        signal_at = at, signal_then = signal;
        int code = run_with("--output_dir part --logging_dir part");
        expect(code == 128 + signal && !signal_at, "step %d: exit code %d", step, code);
        snprintf(at, sizeof at, "part/model.bin is the model after step %d of", step);
        const char *from = strstr(output, "   train_bert train ");
        if (!expect(strstr(output, at) && from, "step %d: '%.300s'", step, output)) continue;
        snprintf(command, sizeof command, "%.*s", (int)strcspn(from + 14, "\n"), from + 14);
        for (char *c = command, *to = c; (*to = *c) != 0; c++) to += *c != '\''; /* as a shell */
        expect(call(command) == 0, "%s: %.300s", command, output);
        expect_same("part", "stopped after step %d", step);
    }
    /* again and again */
    remove_all("part");
    for (int step = 2; step < LAST_STEP; step += 3) {
        char at[32];
        snprintf(at, sizeof at, "step %d/%d", step, LAST_STEP);
        signal_at = at, signal_then = SIGTERM;
        int code = run_with("--output_dir part --logging_dir part %s --save_total_limit 2",
                            step > 2 ? "--resume_from_checkpoint" : "");
        expect(code == 128 + SIGTERM, "step %d: exit code %d, %.300s", step, code, output);
    }
    expect(!run_with("--output_dir part --logging_dir part --resume_from_checkpoint"), "%.300s",
           output);
    expect_same("part", "stopped ten times");
    /* from an earlier checkpoint than the last, and from what that run then left */
#define FROM_4 "--output_dir part --logging_dir part --save_strategy steps --save_steps 4 "
    expect(!run_with(FROM_4 "--overwrite_output_dir") && there("part", "checkpoint-8"), "%.300s",
           output);
    signal_at = "step 6/", signal_then = SIGTERM;
    expect(run_with(FROM_4 "--resume_from_checkpoint part/checkpoint-4") == 143 &&
               there("part", "earlier-checkpoint-8") && there("part", "checkpoint-6"),
           "%.300s", output);
    expect(!run_with(FROM_4 "--resume_from_checkpoint") && there("part", "earlier-checkpoint-8"),
           "%.300s", output);
    expect_same("part", "from checkpoint 4 of 28, and stopped");
    /* in front of an evaluation, behind which a checkpoint is due */
    remove_all("part");
    signal_at = "step 4/", signal_then = SIGTERM;
    expect(run_with("--output_dir part --save_strategy steps --save_steps 4") == 143 &&
               there("part/checkpoint-4", "state.bin") && !there("part/checkpoint-4", "best.bin"),
           "%.300s", output);
    expect(run_with("--output_dir part --save_strategy steps --save_steps 4 "
                    "--resume_from_checkpoint") == 0 &&
               there("part/checkpoint-4", "best.bin") && there("part", "checkpoint-8"),
           "%.300s", output);
    /* and it cannot be saved */
    remove_all("part"), mkdir("part", 0700), mkdir("part/model.bin.tmp", 0700);
    signal_at = "step 1/", signal_then = SIGTERM;
    expect(run_with("--output_dir part") == 1 &&
               strstr(output, "part/model.bin.tmp: cannot be removed"),
           "%.300s", told());
    expect_error("train --model encoder.bin --train_file part-0.bin --output_dir none "
                 "--resume_from_checkpoint",
                 "none", "has no checkpoint-N");
    release(0);
    done("SIGINT, SIGTERM: exit code, and the command that is told goes on to the same bits");
}

/* Calls that it makes where none is the last; with `at` it is killed before that one, or that one
   fails. Returns the exit code, 1000 + signal where it was killed. */
static int child(long at, int error, const char *with, long *made)
{
    int status, tell[2];
    fflush(stdout);
    if (pipe(tell)) exit(2);
    pid_t pid = fork();
    if (pid == 0) {
        until = at < 0 ? LONG_MAX : at, calls = 0, error_then = error;
        int code = run_with("--output_dir part --logging_dir part --save_strategy steps "
                            "--save_steps 3 --save_total_limit 2 %s",
                            with);
        until = -1;
        if (write(tell[1], &calls, sizeof calls) != sizeof calls) _exit(99);
        exit(code); /* gcov counts it */
    }
    close(tell[1]);
    long n = 0;
    if (read(tell[0], &n, sizeof n) == sizeof n && made) *made = n;
    close(tell[0]);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Every checkpoint that is there loads. */
static int expect_whole(const char *what, long at)
{
    long long *steps;
    size_t n = list_steps(&steps, "part", "checkpoint-", "");
    for (size_t i = 0; i < n; i++) {
        char path[64];
        Bert m = {0};
        Loader l = {0};
        Training t = {.m = &m};
        int32_t w[HEADER_WORDS];
        snprintf(path, sizeof path, "part/checkpoint-%lld/model.bin", steps[i]);
        expect(!bert_load(&m, path), "%s %ld: %s", what, at, bert_error(&m));
        snprintf(path, sizeof path, "part/checkpoint-%lld/state.bin", steps[i]);
        FILE *f = fopen(path, "rb");
        t.train = l, t.state = run_state(&t);
        expect(f && !check_state(&t.state, path, f, w), "%s %ld: %s", what, at, path);
        if (f) fclose(f);
        bert_free(&m);
    }
    free(steps);
    return n > 0;
}

/* kill -9 before a call of the system: most of them are a checkpoint's. */
static void test_kills(void)
{
    enum { KILLS = 60 / TEST_EVERY };
    long made = 0, killed = 0, resumed = 0;
    make_run(0);
    remove_all("whole"), remove_all("part");
    expect(run_with("--output_dir whole --logging_dir whole") == 0, "%.300s", output);
    expect(child(-1, 0, "", &made) == 0 && made > 200, "%ld calls", made);
    expect_same("part", "not killed");
    for (int i = 0; i < KILLS; i++) {
        const long at = below((int)made);
        remove_all("part");
        killed += child(at, 0, "", NULL) == 1000 + SIGKILL;
        int any = expect_whole("killed before call", at), code = 1;
        if (any && i % 2) /* and once more on the way */
            child(below((int)made), 0, "--resume_from_checkpoint", NULL),
                any = expect_whole("killed again before call", at);
        resumed += any;
        code = child(-1, 0, any ? "--resume_from_checkpoint" : "", NULL);
        expect(code == 0, "killed before call %ld: exit code %d", at, code);
        expect_same("part", "killed before call %ld of %ld", at, made);
        expect_whole("in the end, after call", at);
        long long *steps;
        size_t n = list_steps(&steps, "part", "checkpoint-", ".tmp");
        expect(n == 0, "killed before call %ld: half a checkpoint is left", at);
        free(steps), release(0);
    }
    expect(killed == KILLS && resumed > KILLS / 2, "%ld killed, %ld resumed", killed, resumed);
    done("kill -9 before %d of %ld calls of the system, and again: whole checkpoints, same bits",
         KILLS, made);
}

/* A disk that is full, for one call or from a length of a file on. */
static void test_full(void)
{
    enum { CALLS = 40 / TEST_EVERY };
    long made = 0, errors = 0;
    struct rlimit limit = {0, RLIM_INFINITY};
    make_run(0);
    remove_all("whole"), remove_all("part");
    expect(run_with("--output_dir whole --logging_dir whole") == 0, "%.300s", output);
    expect(child(-1, 0, "", &made) == 0, "a run");
    for (int i = 0; i < CALLS; i++) {
        const long at = below((int)made);
        remove_all("part");
        int code = child(at, ENOSPC, "", NULL), any = expect_whole("call fails:", at);
        expect(code == 0 || code == 1, "call %ld fails: exit code %d", at, code);
        const int went_on = code == 0;
        errors += code;
        code = child(-1, 0, any ? "--resume_from_checkpoint" : "", NULL);
        expect(code == 0, "call %ld failed: exit code %d", at, code);
        expect_files("part", went_on ? 2 : 3, "a call failed"); /* without the log, say */
        release(0);
    }
    expect(errors > CALLS / 8, "%ld of %d failed", errors, CALLS);
    remove_all("part");
    struct stat model, state;
    expect(!child(-1, 0, "", NULL) && !stat("part/model.bin", &model) &&
               !stat("part/checkpoint-30/state.bin", &state) && state.st_size > model.st_size,
           "no files");
    for (long bytes = (long)model.st_size; bytes < (long)state.st_size; bytes += 701 * TEST_EVERY) {
        remove_all("part");
        fflush(stdout);
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGXFSZ, SIG_IGN);
            limit.rlim_cur = (rlim_t)bytes;
            setrlimit(RLIMIT_FSIZE, &limit);
            _exit(run_with("--output_dir part --save_strategy steps --save_steps 3"));
        }
        waitpid(pid, &status, 0);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%ld bytes: status %d", bytes,
               status);
        expect(!expect_whole("bytes:", bytes) && !there("part", "checkpoint-3.tmp") &&
                   there("part", "model.bin"),
               "%ld bytes: half a checkpoint", bytes);
    }
    /* each call of a checkpoint in place of an earlier one, which stays */
    Bert m = {0};
    Training t = {.m = &m};
    t.state = run_state(&t), t.state.settings = (char[]){"a=1\n"};
    must(&m, bert_load(&m, "part/model.bin")), must(&m, bert_training_room(&m));
    errors = 0;
    for (long at = -1; at < made; at++) {
        sweep_checkpoints("part"); /* as a run does when it begins */
        until = at < 0 ? LONG_MAX : at, calls = 0, error_then = ENOSPC;
        output_begin();
        const int failed_one = save_checkpoint(&t.state, "part", 3, 0);
        output_end();
        until = -1;
        if (at < 0) made = calls;
        errors += failed_one;
        expect(there("part/checkpoint-3", "state.bin") && !there("part", "checkpoint-3.tmp") &&
                   failed_one == lines("train_bert: "),
               "call %ld of %ld: %d, %s", at, made, failed_one, output);
    }
    expect(errors > 10, "%ld of %ld failed", errors, made);
    /* what has no folder, does not exist, or is no file */
    links = 0;
    output_begin();
    errors = save_state(&t.state, "nowhere", 0, 0) + share_file("part/model.bin", "nowhere", "a") +
             share_file("nowhere", "part", "a") + share_file("part", "part", "a");
    output_end();
    links = 1;
    bert_free(&m);
    expect(errors == 4 && lines("nowhere") == 3 && lines("part: cannot be read: ") == 1 &&
               !there("part", "a") && !there("part", "a.tmp"),
           "%ld errors: %s", errors, output);
    done("a full disk: an error, and what was saved before goes on to the same bits");
}

/* A state.bin whose hash is right, and whose header or settings are not. */
static void test_forged(const unsigned char *state, size_t size)
{
    enum { SETTINGS = 256 };
    static const struct {
        int word, value;
        const char *want;
    } words[] = {
        {2, 13, "state.bin: is of a model with "},
        {4, 13, "state.bin: is of a model with 13 parameters, not "},
        {6, 1 << 20, "state.bin: 1048576 bytes of settings in "},
        {6, 9, "state.bin: 9 bytes of settings in "},
        {8, 13, "model.bin: is not the file that was saved there"},
        {12, 13, "best.bin: is not the file that was saved there"},
        {SETTINGS, 0, "state.bin: its settings are no lines"},
        {SETTINGS, 0x0a616161, "state.bin: its settings are no lines"},
        {16, 0, "checkpoint-5: step 0 of 10, and its place in the data, cannot be"},
        {16, 11, "checkpoint-5: step 11 of 10, and its place in the data, cannot be"},
        {22, 99, "checkpoint-5: step 5 of 10, and its place in the data, cannot be"},
        {0, 0, "model.bin: "}, /* as it was, beside a model of fewer parameters */
    };
    const char *again = "--max_steps 10 --output_dir part --resume_from_checkpoint "
                        "whole/checkpoint-5";
    size_t encoder_size;
    copy_file("kept.bin", "whole/checkpoint-5/model.bin");
    mkdir("odd", 0700), mkdir("odd/state.bin", 0700);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        Image im = {0};
        uint64_t hash = HASH_START;
        append(&im, state, size);
        if (words[i].want[0] != 'm' || words[i].word) set_word(&im, words[i].word, words[i].value);
        else {
            unsigned char *encoder = read_file("encoder.bin", &encoder_size);
            hash = hash_bytes(HASH_START, encoder, encoder_size);
            memcpy(im.data + 32, &hash, 8);
            remove("whole/checkpoint-5/model.bin"); /* other folders have it too */
            copy_file("whole/checkpoint-5/model.bin", "encoder.bin");
        }
        hash = hash_bytes(HASH_START, im.data, size - 8);
        memcpy(im.data + size - 8, &hash, 8);
        write_data("whole/checkpoint-5/state.bin", im);
        expect(run_with(again) == 1 && strstr(output, words[i].want) && !there("part", "model.bin"),
               "word %d is %d: %.300s", words[i].word, words[i].value, told());
    }
    expect(strstr(output, " parameters, not ") != NULL, "another model: %.300s", told());
    expect(!rename("kept.bin", "whole/checkpoint-5/model.bin"), "kept.bin");
    write_file("whole/checkpoint-5/state.bin", state, size);
    expect(run_with("--output_dir part --resume_from_checkpoint odd") == 1 &&
               strstr(output, "odd/state.bin: not a regular file"),
           "a folder: %.300s", told());
    static const char *const flags[] = {"--resume_from_checkpoint", "--output_dir",
                                        "--seeds 1,2 --output_dir", "--seeds 1,2 --logging_dir"};
    for (int i = 0; i < 4; i++) { /* room for the names in it: 64 bytes, or twice that */
        char line[PATH_MAX + 200];
        int n = snprintf(line, sizeof line,
                         "train --model encoder.bin --train_file part-0.bin --output_dir part %s ",
                         flags[i]);
        memset(line + n, 'x', PATH_MAX - 63), line[n + PATH_MAX - 63] = 0;
        expect(call(line) == 1 && strstr(output, ": the name is too long"), "%.90s", told());
    }
    release(0);
    done("damage: %zu states with a right hash, and something that cannot be, are refused",
         sizeof words / sizeof words[0]);
}

/* Each byte of state.bin, and its length; each file of the folder. */
static void test_damage(void)
{
    size_t size;
    make_run(0);
    remove_all("whole"), remove_all("part");
    expect(run_with("--output_dir whole --logging_dir whole --save_strategy steps --save_steps 5 "
                    "--max_steps 10") == 0,
           "%.300s", output);
    unsigned char *state = read_file("whole/checkpoint-5/state.bin", &size);
    int refused = 0;
    for (int i = 0; i < 300; i += TEST_EVERY) {
        const size_t at = i < 60 ? (size_t)i : (size_t)below((int)size);
        const int cut = i % 5 == 4;
        unsigned char *other = get(size + 1, 1);
        memcpy(other, state, size);
        if (cut) write_file("whole/checkpoint-5/state.bin", other, i % 2 ? at : size + 1);
        else {
            other[at] ^= (unsigned char)(1 << below(8));
            write_file("whole/checkpoint-5/state.bin", other, size);
        }
        int code = run_with("--max_steps 10 --output_dir part --resume_from_checkpoint "
                            "whole/checkpoint-5");
        expect(code == 1 && strstr(output, "whole/checkpoint-5/state.bin: "),
               "byte %zu%s: exit code %d, %.300s", at, cut ? " is the last" : "", code, output);
        expect(!there("part", "model.bin"), "byte %zu: a model was saved", at);
        refused += code == 1;
    }
    write_file("whole/checkpoint-5/state.bin", state, size);
    test_forged(state, size);
    static const char *const names[] = {"model.bin", "best.bin"};
    for (int i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "whole/checkpoint-5/%s", names[i]);
        unsigned char *file = read_file(path, &size);
        file[size / 2] ^= 1;
        remove(path);
        write_file(path, file, size);
        expect(run_with("--max_steps 10 --output_dir part --resume_from_checkpoint "
                        "whole/checkpoint-5") == 1 &&
                   strstr(output, path) && strstr(output, "is not the file that was saved there"),
               "%s: %.300s", path, output);
        file[size / 2] ^= 1;
        write_file(path, file, size);
    }
    expect(run_with("--max_steps 10 --output_dir part --logging_dir part --resume_from_checkpoint "
                    "whole/checkpoint-5") == 0 &&
               strstr(output, "log.jsonl: is not there, and begins anew"),
           "%.300s", output);
    write_file("part/log.jsonl", "{}\n{}\n", 6);
    expect(run_with("--max_steps 10 --output_dir part --logging_dir part --resume_from_checkpoint "
                    "whole/checkpoint-5") == 1 &&
               strstr(output, "part/log.jsonl: does not begin with the"),
           "%.300s", output);
    release(0);
    done("damage: %d changed and cut state.bin, models and logs of another run are refused",
         refused);
}

/* What decides the result is refused by its name, with both values; what does not, is not. */
static void test_flags(void)
{
    static const struct {
        const char *with, *want;
    } rows[] = {
        {"--learning_rate 0.02", "learning_rate was 0.01 and now is 0.02"},
        {"--seed 8", "seed was 7 and now is 8"},
        {"--weight_decay 0.1", "weight_decay was not set at all and now is 0.1"},
        {"--class_weights balanced", "class_weights was 1,2,3 and now is balanced"},
        {"--max_steps 31", "max_steps was 30 and now is 31"},
        {"--lr_scheduler_type constant",
         "lr_scheduler_type was not set at all and now is constant"},
        {"--hidden_dropout_prob 0.1", "hidden_dropout_prob was 0.2 and now is 0.1"},
        {"--eval_steps 5", "eval_steps was 4 and now is 5"},
        {"--eval_strategy epoch", "eval_strategy was steps and now is epoch"},
        {"--early_stopping_patience 2", "early_stopping_patience was not set at all and now is 2"},
        {"--metric_for_best_model loss",
         "metric_for_best_model was the first, the higher the better and now is loss, the lower"},
        {"--greater_is_better false", "the higher the better and now is the first, the lower"},
        {"--greater_is_better False", "the higher the better and now is the first, the lower"},
        {"--train_file part-0.bin", "the content of train_file was "},
        {"--eval_file part-0.bin", "the content of eval_file was "},
        {"--model model.bin", "the content of model was "},
        {"--per_device_train_batch_size 2",
         "per_device_train_batch_size x gradient_accumulation_steps was 8 and now is 2"},
        {"--bf16", "bf16 was not set at all and now is 1"},
        {"--freeze_layers 1", "freeze_layers was not set at all and now is 1"},
    };
    make_run(0);
    remove_all("whole"), remove_all("part");
    expect(run_with(
               "--output_dir whole --logging_dir whole --save_strategy steps --save_steps 7") == 0,
           "%.300s", output);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_refused("--resume_from_checkpoint whole/checkpoint-7", rows[i].with, rows[i].want);
    copy_file("other.bin", "encoder.bin"), copy_file("d.bin", "dev.bin"), mkdir("others", 0700);
    copy_file("others/part-0.bin", "part-0.bin"), copy_file("others/part-1.bin", "part-1.bin");
    copy_file("others/part-2.bin", "part-2.bin");
    expect(run_with("--model other.bin --train_file others/part-*.bin --eval_file d.bin "
                    "--output_dir part --logging_dir whole --logging_strategy epoch --save_steps 2 "
                    "--load_best_model_at_end --metric_for_best_model f1 --save_strategy best "
                    "--resume_from_checkpoint=whole/checkpoint-7") == 1 &&
               strstr(output, "metric_for_best_model"),
           "%.300s", output);
    expect(run_with("--model other.bin --train_file others/part-*.bin --eval_file d.bin "
                    "--output_dir part --logging_strategy epoch --save_steps 2 --save_strategy "
                    "best --learning_rate 0.0100 --resume_from_checkpoint=whole/checkpoint-7") == 0,
           "%.300s", output);
    size_t n, m;
    unsigned char *is = content("part", "model.bin", &n), *was = content("whole", "model.bin", &m);
    expect(n == m && !memcmp(is, was, n), "another model");
    release(0);
    done("resumed with other flags: what decides the result is refused by name and value");
}

/* A run in its own folder, whose model.bin it began with; one that is alive; a new run there. */
static void test_folders(void)
{
    make_run(0);
    remove_all("whole"), remove_all("part"), mkdir("whole", 0700), mkdir("part", 0700);
    copy_file("whole/model.bin", "encoder.bin"), copy_file("part/model.bin", "encoder.bin");
    expect(run_with("--model whole/model.bin --output_dir whole --logging_dir whole") == 0,
           "%.300s", output);
    signal_at = "step 9/", signal_then = SIGTERM;
    expect(run_with("--model part/model.bin --output_dir part --logging_dir part") == 143, "%s",
           output + strlen(output) / 2);
    expect(run_with("--model part/model.bin --output_dir part --logging_dir part "
                    "--resume_from_checkpoint") == 0,
           "%.300s", output);
    expect_same("part", "in the folder of its model");
    expect(there("part", "earlier-model.bin"), "the model that it began with is gone");

    /* another process has the lock */
    int ready[2];
    char byte = 0;
    if (pipe(ready)) exit(2);
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) exit(2); /* kill(-1) would be for all processes */
    if (pid == 0) {
        Lock lock = {.fd = 0};
        if (!lock_folder(&lock, "--output_dir", "part") && write(ready[1], &byte, 1) == 1) pause();
        _exit(0);
    }
    if (read(ready[0], &byte, 1) != 1) exit(2);
    expect(run_with("--output_dir part --resume_from_checkpoint") == 1 &&
               strstr(output, "another run is writing into part"),
           "%.300s", output);
    kill(pid, SIGKILL), waitpid(pid, NULL, 0);
    close(ready[0]), close(ready[1]);
    expect(run_with("--model part/earlier-model.bin --output_dir part --resume_from_checkpoint") ==
               0,
           "a lock of a process that died: %.300s", output);

    /* a new run takes nothing of the one before for its own */
    expect(run_with("--output_dir part --seed 8") == 0 &&
               strstr(output, "kept       part/checkpoint-9 of an earlier run as earlier-check"),
           "%.600s", output);
    expect(!there("part", "checkpoint-9") && there("part", "earlier-checkpoint-9"), "not moved");
    expect(run_with("--output_dir part --seed 8 --resume_from_checkpoint") == 1, "%.300s", output);
    expect_refused("", "--resume_from_checkpoint part/earlier-checkpoint-9",
                   "part/earlier-checkpoint-9: of an earlier run in --output_dir");
    /* overwritten, nothing is kept; what killed runs have left goes too */
    static const char *const left[] = {"part/checkpoint-9", "part/checkpoint-7.tmp",
                                       "part/checkpoint-8.old"};
    for (int i = 0; i < 3; i++) {
        char file[64];
        snprintf(file, sizeof file, "%s/model.bin", left[i]);
        mkdir(left[i], 0700), copy_file(file, "encoder.bin");
    }
    expect(run_with("--output_dir part --overwrite_output_dir") == 0 &&
               !strstr(output, "kept       part/checkpoint"),
           "%.300s", output);
    static const char *const gone[] = {"earlier-checkpoint-9", "checkpoint-9", "checkpoint-9.tmp",
                                       "checkpoint-7.tmp", "checkpoint-8.old"};
    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        expect(!there("part", gone[i]), "%s is left", gone[i]);
    release(0);
    done("folders: a run's own model, a lock, and an earlier run's checkpoints, which are kept");
}

/* What is due, as Trainer's DefaultFlowCallback has it, and at an epoch's end. */
static void test_due(void)
{
    static const struct {
        Strategy s;
        int step, epoch_ends, run_ends, want;
    } rows[] = {
        {{"steps", "epoch", "no", 5, 5, 5, 0, 0}, 4, 0, 0, 0},
        {{"steps", "epoch", "no", 5, 5, 5, 0, 0}, 5, 0, 0, DUE_LOG},
        {{"steps", "epoch", "no", 5, 5, 5, 0, 0}, 6, 1, 0, DUE_MODEL | DUE_EVAL},
        {{"steps", "epoch", "no", 5, 5, 5, 0, 0}, 7, 0, 1, DUE_LOG | DUE_MODEL | DUE_EVAL},
        {{"steps", "steps", "steps", 5, 2, 4, 0, 0}, 2, 0, 0, DUE_EVAL},
        {{"steps", "steps", "steps", 5, 2, 4, 0, 0}, 4, 0, 0, DUE_EVAL | DUE_SAVE},
        {{"steps", "steps", "steps", 5, 2, 4, 0, 0}, 3, 1, 0, DUE_MODEL},
        {{"no", "steps", "steps", 5, 2, 4, 0, 0}, 7, 0, 1, DUE_MODEL | DUE_EVAL | DUE_SAVE},
        {{"no", "no", "epoch", 5, 2, 4, 1, 0}, 1, 0, 0, DUE_LOG},
        {{"epoch", "no", "epoch", 5, 2, 4, 0, 0}, 5, 0, 0, 0},
        {{"epoch", "no", "epoch", 5, 2, 4, 0, 0}, 6, 1, 0, DUE_LOG | DUE_MODEL | DUE_SAVE},
        {{"no", "no", "best", 5, 2, 4, 0, 0}, 10, 1, 1, DUE_MODEL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const int is = due(&rows[i].s, rows[i].step, rows[i].epoch_ends, rows[i].run_ends);
        expect(is == rows[i].want, "row %zu: %d, not %d", i, is, rows[i].want);
    }
    done("what is due after a step");
}

/* EarlyStoppingCallback's count and _determine_best_metric's choice. */
static void test_best(void)
{
    const double values[] = {0.5, 0.5, 0.52, 0.4, 0.6, NAN, 0.7}, lower[] = {1, 0.99, 0.8, 0.9, 2};
    const int misses[] = {0, 1, 2, 3, 0, 1, 0}, best[] = {1, 0, 1, 0, 1, 0, 1};
    const int low_misses[] = {0, 1, 0, 1, 2}, low_best[] = {1, 1, 1, 0, 0};
    Evaluation e = {.num_metrics = 2, .metrics = {{"accuracy", 0}, {"f1", 0}}};
    Best b = {.metric = "f1", .patience = 3, .threshold = 0.05, .step = NEVER};
    for (int i = 0; i < 7; i++) {
        e.metrics[1].value = values[i], e.loss = 1.0 / (1 + i);
        const int is = best_of(&b, &e, i);
        expect(is == best[i] && b.misses == misses[i] && out_of_patience(&b) == (misses[i] >= 3),
               "value %d: %d, %lld misses", i, is, b.misses);
    }
    Best c = {.metric = "loss", .lower = 1, .threshold = 0.05, .step = NEVER};
    for (int i = 0; i < 5; i++) {
        e.loss = lower[i];
        const int is = best_of(&c, &e, i);
        expect(is == low_best[i] && c.misses == low_misses[i] && !out_of_patience(&c),
               "loss %d: %d, %lld misses", i, is, c.misses);
    }
    done("the best evaluation, and those in a row that are no better");
}

/* The flags about it: Trainer's checks, and what they do. */
static void test_strategies(void)
{
    static const struct {
        const char *with, *want;
    } bad[] = {
        {"--load_best_model_at_end", "needs --save_strategy steps"},
        {"--load_best_model_at_end --save_strategy steps --save_steps 6", "is no multiple of"},
        {"--load_best_model_at_end --save_strategy steps --save_steps 0.5", "both shares"},
        {"--eval_strategy no --early_stopping_patience 2", "--early_stopping_patience needs"},
        {"--eval_strategy no --save_strategy best", "--save_strategy best needs --eval_file"},
        {"--metric_for_best_model f2",
         "'f2' is none that classification is measured by: loss, acc"},
        {"--eval_steps 2.5", "--eval_steps: '2.5' is not"},
        {"--greater_is_better perhaps", "'perhaps' is not true or false"},
        {"--save_strategy sometimes", "'sometimes' is not one of no|epoch|steps|best"},
    };
    size_t n, m;
    make_run(0);
    remove_all("whole"), remove_all("part");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_refused("", bad[i].with, bad[i].want);
    /* the loss of a run whose rate is high rises: the first evaluations are the best */
    int code = run_with("--output_dir part --logging_dir part --learning_rate 0.5 "
                        "--load_best_model_at_end --save_strategy steps --save_steps 4 "
                        "--save_total_limit 1 --early_stopping_patience 2");
    expect(code == 0 && strstr(output, "evaluations were no better") &&
               strstr(output, "part/model.bin is the best model"),
           "%d: %.300s", code, output + strlen(output) / 2);
    unsigned char *is = content("part", "model.bin", &n), *was = content("part", "best.bin", &m);
    expect(n == m && !memcmp(is, was, n), "model.bin is not best.bin");
    long long *steps;
    size_t kept = list_steps(&steps, "part", "checkpoint-", "");
    expect(kept == 1 + (steps[0] != steps[kept - 1]) && kept <= 2, "%zu checkpoints", kept);
    free(steps), steps = NULL, release(0);
    code = run_with("--output_dir part --save_strategy best --logging_strategy no --logging_first_"
                    "step --logging_steps 0.5");
    expect(code == 0 && lines("step 1/30") == 1 && lines("step 30/30") == 0 &&
               list_steps(&steps, "part", "checkpoint-", "") == (size_t)lines("best so far"),
           "%d: %.300s", code, output);
    free(steps);
    /* a step that comes to nothing finite: the third, or the first */
    for (int at_once = 0; at_once < 2; at_once++) {
        remove_all("part");
        code = run_with("--output_dir part --learning_rate 1e%d --max_grad_norm 0 --weight_decay 0 "
                        "--save_strategy steps --save_steps 1 --lr_scheduler_type "
                        "constant_with_warmup --warmup_steps %d",
                        at_once ? 18 : 12, at_once ? 0 : 2);
        expect(code == 1 && !there("part", "model.bin.tmp"), "%d", code);
        expect(strstr(output, "not finite is ") || strstr(output, "no longer finite"), "%.600s",
               told());
        expect(at_once || strstr(output, "part/checkpoint-1 is the last that is good"), "%.600s",
               told());
    }
    make_run(2);
    expect(!run_with("--output_dir part --overwrite_output_dir --max_steps 4 "
                     "--metric_for_best_model mse") &&
               strstr(output, "--metric_for_best_model mse: higher is better, as Trainer has it"),
           "%.600s", output);
    done("strategies: Trainer's checks, the best at the end, early stopping, limits, NaN");
}

/* Exit code of a run whose last block of memory for bert.h there is not; path is not there when it
   begins. */
static int without_last_block(const char *path, const char *with)
{
    const long most = 1 << 20;
    remove(path), fail_at = most;
    run_with("%s", with);
    remove(path), fail_at = most - fail_at - 1;
    const int code = run_with("%s", with);
    fail_at = -1;
    return code;
}

/* All that stands in a folder, and when it was written. */
static const char *state_of(const char *path)
{
    static char text[1 << 14];
    char line[256];
    snprintf(line, sizeof line, "ls -lRc --full-time %s", path);
    FILE *f = popen(line, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f) pclose(f);
    return text;
}

/* Two steps, and nothing is written, whatever is there. */
static void test_dry_run(void)
{
    static char before[1 << 14];
    static const char *const with[] = {
        "--output_dir whole --logging_dir whole", "--max_steps 1",
        "--overwrite_output_dir --output_dir whole",
        "--output_dir whole --resume_from_checkpoint whole/checkpoint-9"};
    static const char *const want[] = {" for 30 steps, and", " for 1 steps, and",
                                       " for 30 steps, and", " for 21 steps, and"};
    make_run(0);
    remove_all("whole"), remove_all("none");
    expect(run_with(
               "--output_dir whole --logging_dir whole --save_strategy steps --save_steps 9") == 0,
           "%.300s", output);
    strcpy(before, state_of("."));
    for (int i = 0; i < 4; i++) {
        const int code = run_with("--output_dir none --logging_dir none --dry_run %s", with[i]);
        remove("output");
        expect(code == 0 && lines("\nmemory     ") == 1 && lines("\nspeed      ") == 1 &&
                   strstr(output, want[i]) && strstr(output, "nothing was written"),
               "%s: %d, %.900s", with[i], code, output);
        double tokens = 0, examples = 0, all = 0, count = 0; /* the mean step's, not the second's */
        const char *speed = strstr(output, "\nspeed "), *train = strstr(output, "\ntrain ");
        if (speed) sscanf(speed, " speed %lf tokens/s, %lf", &tokens, &examples);
        if (train) sscanf(train, " train %*s %*d files, %lf examples, %lf", &count, &all);
        expect(fabs(tokens / examples * count / all - 1) < 0.01, "%s: %g, %g; %g, %g", with[i],
               tokens, examples, all, count);
        expect(i == 0 || !there(".", "none"), "%s: a folder was made", with[i]);
        write_file("output", "", 0);
    }
    expect(run_with("--output_dir whole --dry_run --resume_from_checkpoint whole/checkpoint-30") ==
                   0 &&
               strstr(output, "time       0:00 for 0 steps"),
           "no step is left: %.900s", output);
    remove("output");
    expect(without_last_block("none", "--output_dir none --dry_run --per_device_train_batch_size "
                                      "1") == 1 &&
               strstr(output, "dev.bin: ") && strstr(output, "memory"),
           "%.600s", told());
    remove("output");
    const char *after = state_of(".");
    expect(strlen(before) > 500 && there("whole", "model.bin"), "%s", before);
    expect(!strcmp(strstr(before, "./whole"), strstr(after, "./whole")), "%s\nis not\n%s", after,
           before);
    release(0);
    done("--dry_run: plan, memory and speed, and an earlier run's folder is as it was");
}

/* The table's row that begins with a name; returns how many numbers it has. */
static int row_of(const char *name, double *x)
{
    const char *table = strstr(output, "\nseed        "), *at = NULL;
    char key[32];
    int n = 0, used;
    snprintf(key, sizeof key, "\n%-11s", name);
    if (table) at = strstr(table + 1, key);
    for (at = at ? at + strlen(key) : ""; sscanf(at, " %lf%n", &x[n], &used) == 1; at += used) n++;
    return n;
}

/* Each seed's run is one of its own, and the table has them all. */
static void test_seeds(void)
{
    static const char *const names[] = {"8", "7", "9"};
    static const struct {
        const char *with, *want;
    } bad[] = {{"--seeds 1,2 --seed 3", "--seed is of one run"},
               {"--seeds 1,2,1", "1 stands there twice"},
               {"--seeds 1,,2", "'' is not a whole number"},
               {"--seeds 1,x", "'x' is not a whole number"},
               {"--seeds 1.5", "'1.5' is not a whole number"},
               {"--seeds -1", "'-1' is not a whole number"},
               {"--seeds 4294967296", "'4294967296' is not a whole number"},
               {"--seeds 1, ", "'' is not a whole number"},
               {"--seeds 1,2 --resume_from_checkpoint whole", "with --seeds it takes no folder"},
               {"--seeds 8 --output_dir several --model several/seed-8/model.bin",
                "the run of seed 8 would replace it"}};
    double x[4][MOST_NUMBERS], mean[MOST_NUMBERS], deviation[MOST_NUMBERS];
    int n = 0;
    make_run(0);
    *strstr(train, "--seed 7") = '\0'; /* what follows is of other tests */
    remove_all("whole"), remove_all("several");
    expect(run_with("--output_dir several --seeds 8,7 --dry_run") == 0 &&
               lines("\nspeed      ") == 1 && !there(".", "several"),
           "%.900s", output);
    expect(run_with("--output_dir several --logging_dir several --seeds 8,7,9") == 0, "%.300s",
           output);
    size_t size;
    const unsigned char *result = content("several/seed-8", "result.txt", &size);
    expect(size && !strstr((const char *)result, "null"), "result.txt: %.600s", result);
    for (int i = 0; i < 3; i++) {
        n = row_of(names[i], x[i]);
        expect(n >= 5, "seed %s has %d numbers: %s", names[i], n, strstr(output, "\nseed        "));
    }
    expect(row_of("mean", mean) == n && row_of("deviation", deviation) == n, "%.900s",
           strstr(output, "\nseed        "));
    for (int k = 0; k < n; k++) {
        const double m = (x[0][k] + x[1][k] + x[2][k]) / 3;
        const double d =
            sqrt((pow(x[0][k] - m, 2) + pow(x[1][k] - m, 2) + pow(x[2][k] - m, 2)) / 2);
        expect(fabs(mean[k] - m) < 1e-4 && fabs(deviation[k] - d) < 1e-4,
               "number %d: %g and %g, not %g and %g", k, mean[k], deviation[k], m, d);
    }
    expect(strstr(output, "best_accuracy") && strstr(output, "eval_loss") && deviation[1] > 0 &&
               strstr(output, "dev/plot.py several/seed-* --band seeds draws them"),
           "%.900s", strstr(output, "\nseed        "));
    for (int i = 0; i < 3; i++) {
        char path[32];
        remove_all("whole");
        expect(run_with("--output_dir whole --logging_dir whole --seed %s", names[i]) == 0,
               "%.300s", output);
        snprintf(path, sizeof path, "several/seed-%s", names[i]);
        expect_same(path, "seed %s", names[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_refused("", bad[i].with, bad[i].want);

    /* stopped in the second one: the first is not run again */
    static char table[4096];
    expect(run_with("--output_dir several --logging_dir several --seeds 8,7,9 "
                    "--resume_from_checkpoint") == 0 &&
               lines("it has ended") == 3 && lines("step 30/30") == 0,
           "all have ended: %.600s", output);
    snprintf(table, sizeof table, "%s", strstr(output, "\nseed        "));
    *strstr(table, "\n\npython3") = 0; /* which names the folder */
    remove_all("again");
    signal_at = "step 9/", signal_then = SIGINT, signal_skips = 1;
    expect(
        run_with("--output_dir again --logging_dir again --seeds 8,7,9") == 130 &&
            strstr(output, "again/seed-7/model.bin is the model after step 9 of 30. To go on:") &&
            strstr(output, "--seeds 8,7,9 --resume_from_checkpoint\n"),
        "%.600s", told());
    copy_file("first.bin", "again/seed-8/model.bin");
    expect(run_with("--output_dir again --logging_dir again --seeds 8,7,9 "
                    "--resume_from_checkpoint --learning_rate 0.02") == 1 &&
               strstr(output, "again/seed-8/result.txt: learning_rate was 0.01 and now is 0.02"),
           "%.600s", told());
    expect(run_with("--output_dir again --logging_dir again --seeds 8,7,9 "
                    "--resume_from_checkpoint") == 0 &&
               lines("it has ended") == 1 && lines("step 30/30") == 2 && lines("step 9/30") == 1,
           "%.600s", output);
    expect(strstr(output, table) != NULL, "%s\nis not\n%s", strstr(output, "\nseed        "),
           table);
    for (int i = 0; i < 3; i++) {
        char path[32];
        remove_all("whole");
        snprintf(path, sizeof path, "several/seed-%s", names[i]);
        expect(!rename(path, "whole"), "%s", path);
        snprintf(path, sizeof path, "again/seed-%s", names[i]);
        expect_same(path, "stopped in seed 7, seed %s", names[i]);
    }

    /* ended, but for what is said of it: it is measured again */
    remove_all("again");
    expect(run_with("--output_dir again --logging_dir again --seeds 8,7,9 --save_strategy steps "
                    "--save_steps 15") == 0,
           "%.600s", output);
    remove("again/seed-9/result.txt");
    expect(run_with("--output_dir again --logging_dir again --seeds 8,7,9 --save_strategy steps "
                    "--save_steps 15 --resume_from_checkpoint") == 0 &&
               lines("it has ended") == 2 && strstr(output, "30 of 30 steps are made") &&
               strstr(output, table),
           "%.600s", strstr(output, "\nseed        "));
    expect(without_last_block("again/seed-9/result.txt",
                              "--output_dir again --logging_dir again --seeds 8,7,9 "
                              "--save_strategy steps --save_steps 15 --resume_from_checkpoint") ==
                   1 &&
               strstr(output, "dev.bin: ") && strstr(output, "memory"),
           "%.600s", told());
    write_file("again/seed-7/result.txt", "seed=7\n", 7);
    expect(run_with("--output_dir again --seeds 8,7,9 --resume_from_checkpoint") == 1 &&
               strstr(output, "again/seed-7/result.txt: is not a run's result"),
           "%.600s", told());
    /* one alone has no deviation; of more numbers than there can be those behind are left out */
#define ONE "--output_dir again --save_strategy steps --save_steps 15 --resume_from_checkpoint "
    FILE *f = fopen("again/seed-8/result.txt", "a");
    for (int i = 0; f && i < 2 * MOST_NUMBERS; i++) fprintf(f, "result x=%d\n", i);
    if (f) fclose(f);
    expect(run_with(ONE "--seeds 8") == 0 && row_of("mean", mean) == MOST_NUMBERS &&
               row_of("deviation", deviation) == 0 && lines("  -") == MOST_NUMBERS,
           "%.900s", output);
    remove("again/seed-8/result.txt"), mkdir("again/seed-8/result.txt", 0700);
    expect(run_with(ONE "--seeds 8") == 1 &&
               strstr(output, "again/seed-8/result.txt: cannot be read"),
           "%.600s", told());
    release(0);
    done("--seeds: each has the bits of its own run, and a table; what has ended is not run again");
}

int main(void)
{
    static void (*const tests[])(void) = {test_steps,  test_signals, test_kills,   test_full,
                                          test_damage, test_due,     test_best,    test_strategies,
                                          test_flags,  test_folders, test_dry_run, test_seeds};
    enter_folder("resume");
    signal(SIGINT, SIG_DFL); /* a shell's background job ignores it, and the driver leaves that */
    set_threads(1); /* a child has none of the threads that its parent's OpenMP waits for */
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (!getenv("ONLY") || (size_t)atoi(getenv("ONLY")) == i) tests[i](), release(0);
    }
    leave_folder();
    return finish();
}
