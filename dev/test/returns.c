/* Ends and warnings of the driver that no other test comes by: help, signals, a training that
   diverges, logs that cannot be written, lines beyond the first room. */
#define TESTING
#include "test.h"

#include "../../train_bert.c"

#include "files.h"

#include <sys/wait.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static void make_files(void)
{
    Bert m = {0};
    Image im = enter_folder("returns");
    expect(!bert_load_memory(&m, im.data, im.size), "%s", bert_error(&m));
    BertStrings named = m.labels;
    memset(&m.labels, 0, sizeof m.labels);
    expect(!bert_save(&m, "unnamed.bin"), "%s", bert_error(&m));
    m.labels = named;
    expect(!bert_set_task(&m, BERT_NONE, 0, 0, NULL, 1), "%s", bert_error(&m));
    m.params.wpe[1] = NAN;
    expect(!bert_save(&m, "nan.bin"), "%s", bert_error(&m));
    bert_free(&m);
    im = image(0);
    write_data("plain.bin", im);
    BertConfig narrow = tiny_config(8);
    narrow.S = 1, narrow.task = BERT_REGRESSION, narrow.K = 1, narrow.pooler = 1;
    write_zeros("narrow.bin", "model.bin", narrow);
    /* its value is 100, and the gradient of its vectors of zeros beyond float32 */
    expect(!bert_load(&m, "narrow.bin"), "%s", bert_error(&m));
    for (int c = 0; c < m.config.C; c++) m.params.clsw[c] = 3e38f;
    m.params.clsb[0] = 100;
    expect(!bert_save(&m, "steep.bin"), "%s", bert_error(&m));
    bert_free(&m);
    write_data("values.bin", task_image(BERT_REGRESSION, 0));
}

static void expect_ok(const char *line, const char *hint)
{
    int code = call(line);
    expect(code == 0 && strstr(output, hint), "%s: %d, no '%s': %.300s", line, code, hint, output);
}

static void test_help(void)
{
    expect_ok("--version", "version");
    expect_ok("--help", "train_bert embed");
    expect_ok("help train", "--learning_rate X");
    expect_ok("help embed", "--normalize");
    expect_ok("predict --help", "(needed)");
    expect_error("", "train_bert", "eval");
    expect_error("help nothing", "nothing", "no such command");
    expect_error("--help nothing", "nothing", "no such command");
    expect_error("nothing --help", "nothing", "no such command");
    done("returns: help of each kind");
}

static void test_schedules(void)
{
    expect_ok(TRAIN_CALL "--max_steps 4 --lr_scheduler_type cosine --warmup_steps 1 "
                         "--logging_steps 1",
              "step 4/4");
    expect(strstr(output, "lr 1.25e-05") != NULL, "the last of a cosine of 3: %.600s", output);
    expect_ok(TRAIN_CALL "--max_steps 4 --warmup_steps 0.5", " 2 warmup");
    expect_ok(TRAIN_CALL "--max_steps 2 --lr_scheduler_type constant --warmup_steps 1",
              "constant has no warmup");
    expect_ok(TRAIN_CALL "--max_steps 2 --freeze_layers 1 --freeze_embeddings "
                         "--attention_probs_dropout_prob 0.5",
              "the embeddings and");
    expect_error(TRAIN_CALL "--num_train_epochs 1e30", "steps", "the most is 2147483647");
    expect_error("train --model model.bin --train_file data.bin --output_dir out "
                 "--per_device_train_batch_size 2147483647 --learning_rate 1e10",
                 "cannot go on", "out/model.bin is the model after step 1");
    expect_error(TRAIN_CALL "--learning_rate 3e38 --weight_decay 100 --max_steps 1",
                 "out/model.bin", "no longer finite");
    expect_error("train --model nan.bin --train_file data.bin --output_dir out --max_steps 3",
                 "loss", "nothing was saved");
    expect_error("train --model steep.bin --train_file values.bin --output_dir out --dry_run",
                 "step 1: the gradient norm is ", "nothing was saved");
    done("returns: schedules, steps beyond counting, a training that diverges");
}

/* The shortest that a signal can hit: it is stopped between two steps, and what it has is saved. */
static void test_signal(void)
{
    int status, ready[2];
    char byte;
    static char args[] = TRAIN_CALL
        "--max_steps 100000000 --logging_steps 1 --eval_file data.bin --num_train_epochs 1";
    remove("out/model.bin");
    fflush(stdout);
    if (pipe(ready)) exit(2);
    pid_t pid = fork();
    if (pid < 0) exit(2); /* kill(-1) would be for all processes */
    if (pid == 0) {
        char name[] = "train_bert", *argv[30] = {name};
        int argc = 1, null = open("said", O_WRONLY | O_CREAT, 0600);
        for (char *w = strtok(args, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
        dup2(ready[1], 1), dup2(null, 2);
        exit(bert_main(argc, argv));
    }
    close(ready[1]);
    for (int seen = 0; seen < 20 && read(ready[0], &byte, 1) == 1;) seen += byte == '\n';
    kill(pid, SIGTERM);
    while (read(ready[0], &byte, 1) == 1) continue;
    close(ready[0]);
    waitpid(pid, &status, 0);
    size_t size;
    const char *said = (const char *)read_file("said", &size);
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGTERM, "status %d", status);
    expect(strstr(said, "stopped by a signal; out/model.bin") != NULL, "%.200s", said);
    expect(!access("out/model.bin", F_OK), "nothing was saved");
    done("returns: SIGTERM saves and ends with 143");
}

static void test_log(void)
{
    if (access("/dev/full", W_OK)) return;
    mkdir("logs", 0700), remove("logs/log.jsonl");
    if (symlink("/dev/full", "logs/log.jsonl")) expect(0, "no link");
    expect_ok(TRAIN_CALL "--max_steps 3 --logging_steps 1 --logging_dir logs",
              "the log cannot be written");
    expect(lines("cannot be written") == 1, "more than once: %.300s", output);
    remove("logs/log.jsonl");
    if (symlink("/dev/null", "logs/log.jsonl"))
        expect(0, "no link"); /* cannot be brought onto it */
    expect_ok(TRAIN_CALL "--max_steps 2 --save_strategy steps --save_steps 1 --logging_dir logs",
              "logs/log.jsonl: cannot be written: ");
    expect(lines("; going on without it") == 1, "more than once: %.300s", output);
    remove("logs/log.jsonl");
    /* one that a run goes on with, and that it can read but not write, or not read */
    Log log = {.bytes = 8, .hash = hash_bytes(HASH_START, (const char[8]){0}, 8)};
    for (int i = 0; i < 2; i++) {
        if (i ? mkdir("logs/log.jsonl", 0700) : symlink("/dev/zero", "logs/log.jsonl"))
            expect(0, "no link, or no folder");
        output_begin();
        const int failed_one = log_start(&log, "logs");
        output_end();
        expect(failed_one && lines("train_bert: ") == 1 &&
                   strstr(output, i ? "logs/log.jsonl: cannot be read: "
                                    : "logs/log.jsonl: cannot be written: "),
               "%s", output);
        log_free(&log);
        remove("logs/log.jsonl");
    }
    done("returns: a log on a full disk costs the log, not the training");
}

/* A vocabulary without [MASK]: its id is -1. */
static void test_no_mask(void)
{
    Bert m = {0};
    const uint64_t hash = image_hash;
    expect(!bert_load(&m, "encoder.bin") && !bert_set_task(&m, BERT_MLM, 0, 0, NULL, 1), "%s",
           bert_error(&m));
    m.tokenizer.settings[BERT_ID_MASK] = -1;
    expect(!bert_save(&m, "maskless.bin") && !bert_load(&m, "maskless.bin"), "%s", bert_error(&m));
    image_hash = m.tokenizer.hash;
    write_data("maskless.data", task_image(BERT_MLM, 0));
    image_hash = hash;
    bert_free(&m);
    expect_error("train --model maskless.bin --train_file maskless.data --output_dir out",
                 "maskless.data", "masks need a vocabulary with [MASK]: this model has none");
    expect_error("predict --model maskless.bin", "maskless.bin", "its vocabulary has no [MASK]");
    done("returns: a vocabulary without [MASK]");
}

static void test_heads(void)
{
    expect_ok("eval --model unnamed.bin --eval_file data.bin", "its labels have no names");
    expect(call_text("predict --model unnamed.bin --top_k 1", "a\tb\n") == 0 &&
               strstr(output, "\"LABEL_"),
           "%.300s", output);
    Image im = task_image(BERT_QA, 0);
    set_word(&im, 16, 1); /* questions may have no answer */
    write_data("v2.data", im);
    expect_ok("train --model encoder.bin --train_file v2.data --eval_file v2.data --output_dir qa "
              "--max_steps 2",
              "HasAns_f1");
    expect_ok("predict --model qa/model.bin --predict_file v2.data "
              "--null_score_diff_threshold -100",
              "\"answer\": \"\"");
    write_data("mlm.data", task_image(BERT_MLM, 0));
    expect_ok(
        "train --model encoder.bin --train_file mlm.data --eval_file mlm.data --output_dir mlm "
        "--max_steps 1 --mlm_probability 0.0001",
        "no token was masked");
    expect_error("predict --model mlm/model.bin --logits", "--logits", "classification");
    expect(call_text("embed --model narrow.bin --json",
                     "{\"text\": \"a\", \"text_pair\": \"b\"}\n") == 1 &&
               strstr(output, "one token type only"),
           "%.300s", output);
    expect(call_text("predict --model narrow.bin", "a\n") == 0 && lines("\"value\"") == 1, "%.300s",
           output);
    expect_error("predict --model plain.bin", "plain.bin", "no tokenizer");
    expect_error("train --model narrow.bin --train_file data.bin --output_dir out", "data.bin",
                 "has pairs of texts, the model has one token type only");
    done("returns: labels without names, questions without an answer, one token type");
}

/* Lines longer than the first room for them, with and without a newline at the end. */
static void test_long_lines(void)
{
    enum { LONG = 200000 };
    char *text = get(2 * LONG, 1), *at = text;
    while (at < text + LONG) at += sprintf(at, "good film, ");
    sprintf(at, "\nnot good\na");
    write_file("lines", text, strlen(text));
    expect(call_from("embed --model words.bin", "lines") == 0 && lines("embedding") == 3, "%.300s",
           output);
    expect(strstr(output, "stdin:1: cut at") != NULL, "not said that it is cut: %.100s", output);
    memset(text, 'x', LONG);
    write_file("lines", text, LONG);
    expect(call_from("encode --model words.bin", "lines") == 0 && lines("\n") == 1, "%.300s",
           output);
    done("returns: lines of 200,000 bytes");
}

static void test_not_text(void)
{
    const char *lost = "not UTF-8: letters of it are lost", *predict = "predict --model words.bin";
    const char *told;
    expect(call_from(predict, "data.bin") == 1 && strstr(output, "stdin:1: a data file"), "%s",
           output);
    expect(call_from(predict, "words.bin") == 1 && strstr(output, "stdin:1: a model file"), "%s",
           output);
    expect(call_text(predict, "\xFF\xFEg") == 1 && strstr(output, "stdin:1: UTF-16: "), "%s",
           output);
    expect(call_text(predict, "\xFE\xFFg") == 1 && strstr(output, "stdin:1: UTF-16: "), "%s",
           output);
    expect(!call_text(predict, "BRTD is a line\n") && !strncmp(output, "{\"label", 7), "%s",
           output);
    expect(!call_text(predict, "a\ncaf\xE9\nb\xE9\n") && (told = strstr(output, "stdin:2: not")) &&
               !strstr(told + 10, "not UTF-8"),
           "once: %s", output);
    expect(!call_text(predict, "b \xEF\xBF\xBD \xC3\xA9\n") && !strstr(output, lost), "U+FFFD: %s",
           output);
    write_file("lines", "g\0\n", 3);
    expect(!call_from(predict, "lines") && strstr(output, "stdin:1: has NUL bytes: "), "%s",
           output);
    done("returns: what is no text is refused or told: data and model files, UTF-16, Latin-1");
}

int main(void)
{
#ifdef _OPENMP
    omp_set_num_threads(1); /* a child has none of the threads that its parent's OpenMP waits for */
#endif
    static void (*const all[])(void) = {make_files,   test_help,       test_schedules,
                                        test_signal,  test_log,        test_heads,
                                        test_no_mask, test_long_lines, test_not_text};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) all[i](), release(0);
    leave_folder();
    return finish();
}
