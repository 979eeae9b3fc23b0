/* The driver as a user meets it: what an output_dir keeps of an earlier run, which model is the
   best, what a signal leaves, what a model remembers of its training, and what lines of text are
   told. */
#include "test.h"

#include <signal.h>

/* A signal comes at the moment at which the driver first writes this. NULL: none. */
static const char *signal_at;

static void signal_where(const char *text)
{
    if (!signal_at || !strstr(text, signal_at)) return;
    signal_at = NULL;
    raise(SIGTERM);
}

#define TESTING
#define fputs(text, f) (signal_where(text), fputs(text, f))
#include "train_bert.c"
#undef fputs

#include "files.h"

static void expect_call(const char *text, const char *line, int code, const char *want)
{
    int got = call_text(line, text);
    expect(got == code && strstr(output, want), "%s: exit code %d, no '%s' in '%.500s'", line, got,
           want, output);
}

/* A data file of 8 examples; labels no, yes or values 0, 1. */
static void write_examples(const char *path, const BertTokenizer *t, int task, int pairs,
                           int max_length)
{
    static const char *const names[] = {"no", "yes"};
    DataFile f = data_file(task, 0, 1, max_length, 20, t->hash);
    Image labels = {0}, values = {0};
    for (int i = 0; i < 8; i++) {
        const int32_t cls = t->settings[BERT_ID_CLS], sep = t->settings[BERT_ID_SEP], label = i % 2;
        const int32_t pair[] = {cls, 6 + i, sep, 7 + i, sep}, single[] = {6 + i, sep, 7 + i, sep};
        const float value = (float)label;
        add_example(&f, pairs ? pair : single, pairs ? 5 : 4, pairs ? 3 : 4);
        append(&labels, &label, 4), append(&values, &value, 4);
    }
    if (task == BERT_REGRESSION) add_image(&f, IN_TARGETS, OF_F32, values);
    else add_strings(&f, IN_NAMES, names, 2), add_image(&f, IN_LABELS, OF_I32, labels);
    write_data(path, data_image(&f));
}

static const char *const made[] = {"single.bin",
                                   "long.bin",
                                   "pairs.bin",
                                   "values.bin",
                                   "encoder.bin",
                                   "ner.bin",
                                   "qa.bin",
                                   "mlm.bin",
                                   "value.bin",
                                   "lines",
                                   "output",
                                   "out/.lock",
                                   "out/model.bin",
                                   "out/best.bin",
                                   "out/earlier-model.bin",
                                   "out/earlier-best.bin",
                                   "out",
                                   "pair.bin",
                                   "one.bin",
                                   "scratch.bin"};

static void clean(int first)
{
    for (size_t i = (size_t)first; i < sizeof made / sizeof made[0]; i++) remove(made[i]);
}

/* Models of dev/fixtures/text.model.bin's tokenizer for each task, and data; goes into
   the folder. */
static void make_files(void)
{
    Bert m = {0};
    const struct {
        const char *name;
        int task, K;
    } models[] = {{"ner.bin", BERT_NER, 3},
                  {"qa.bin", BERT_QA, 0},
                  {"mlm.bin", BERT_MLM, 0},
                  {"value.bin", BERT_REGRESSION, 1},
                  {"encoder.bin", BERT_NONE, 0}};
    if (bert_load(&m, "dev/fixtures/text.model.bin") || chdir(folder)) exit(2);
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        if (bert_set_task(&m, models[i].task, models[i].K, 0, NULL, 1) ||
            bert_save(&m, models[i].name))
            exit(2);
    write_examples("single.bin", &m.tokenizer, BERT_CLASSIFICATION, 0, 6);
    write_examples("pairs.bin", &m.tokenizer, BERT_CLASSIFICATION, 1, 9);
    write_examples("values.bin", &m.tokenizer, BERT_REGRESSION, 1, 8);
    write_examples("long.bin", &m.tokenizer, BERT_CLASSIFICATION, 0, INT_MAX);
    bert_free(&m);
}

#define TRAIN_ON(file)                                                                             \
    "train --model encoder.bin --train_file " file " --output_dir out --max_steps 2 "

static long size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) ? -1 : (long)info.st_size;
}

static void test_output_dir(void)
{
    expect_call("", TRAIN_ON("single.bin") "--eval_file single.bin", 0, "best.bin the one of step");
    expect(!strstr(output, "earlier"), "a first run: %s", output);
    /* the next has no eval_file, and its folder no best.bin */
    expect_call("", TRAIN_ON("pairs.bin"), 0,
                "out/best.bin of an earlier run as out/earlier-best.bin");
    expect(size_of("out/best.bin") < 0 && size_of("out/earlier-best.bin") > 0 &&
               size_of("out/earlier-model.bin") > 0 && size_of("out/model.bin") > 0,
           "what is kept: %s", output);
    expect_call("a\tb", "predict --model out/best.bin", 1, "out/best.bin");
    /* only that run's is kept of the next, and what goes is told */
    expect_call("", TRAIN_ON("single.bin"), 0, "removed    out/earlier-best.bin");
    expect(size_of("out/earlier-best.bin") < 0 && size_of("out/earlier-model.bin") > 0, "%s",
           output);
    expect_call("", TRAIN_ON("single.bin") "--eval_file single.bin", 0, "best.bin the one");
    expect_call("", TRAIN_ON("single.bin") "--overwrite_output_dir", 0, "last model");
    expect(size_of("out/best.bin") < 0 && size_of("out/earlier-model.bin") < 0 &&
               size_of("out/model.bin") > 0,
           "overwritten: %s", output);
    /* a run that fails before it saves leaves all as it was */
    expect_call("", TRAIN_ON("single.bin") "--learning_rate 3.4e38 --max_grad_norm 0", 1,
                "not saved: parameters");
    expect(size_of("out/model.bin") > 0 && size_of("out/earlier-model.bin") < 0, "%s", output);
    /* a model that goes on in its own folder */
    expect_call(
        "", "train --model out/model.bin --train_file single.bin --output_dir out --max_steps 1", 0,
        "out/model.bin of an earlier run as out/earlier-model.bin");
    done("output_dir: an earlier run's models are never taken for this one's, nor lost unsaid");
}

/* Removed while training: at the evaluation of its first epoch, say */
static void test_folder_removed(void)
{
    Folder out = {.path = "out"};
    Bert m = {0};
    clean(11);
    if (bert_load(&m, "encoder.bin") || symlink("nowhere", "out")) exit(2);
    output_begin();
    int saved = !folder_save(&out, &m, "model.bin");
    output_end();
    expect(!saved && strstr(output, "--output_dir: cannot write into out") &&
               !strstr(output, "model.bin"),
           "%s", output);
    remove("out");
    output_begin();
    saved = !folder_save(&out, &m, "model.bin");
    output_end();
    expect(saved && size_of("out/model.bin") > 0, "not saved");
    if (geteuid() != 0 && !chmod("out", 0500)) { /* root may write anywhere */
        expect(folder_save(&out, &m, "model.bin"), "saved");
        chmod("out", 0700);
    }
    bert_free(&m);
    done("output_dir: removed while training, it is made again");
}

/* A head for another task may have tensors of the same sizes. */
static void test_kept_head(void)
{
    Bert m = {0};
    if (bert_load(&m, "encoder.bin") || bert_set_task(&m, BERT_NER, 2, 0, NULL, 1) ||
        bert_save(&m, "one.bin"))
        exit(2);
    bert_free(&m);
    const char *of = "train --model one.bin --train_file single.bin --output_dir out --max_steps 1 "
                     "--freeze_embeddings";
    expect_call("", of, 0, "classifier.weight classifier.bias\n");
    expect(strstr(output, "           kept: ") && !strstr(output, "drawn anew") &&
               strstr(output, "frozen     the embeddings\n"),
           "%s", output);
    expect_call("", TRAIN_ON("single.bin"), 0,
                "drawn anew, to be trained: classifier.weight classifier.bias\n");
    expect(!strstr(output, "kept: "), "%s", output);
    done("a head: what is drawn anew is told, or where nothing is, what is kept");
}

static void test_best(void)
{
    static const struct {
        double best, best_loss, metric, loss;
        int better;
    } rows[] = {{0.5, 1.0, 0.5, 0.9, 1},  {0.5, 1.0, 0.5, 1.0, 0}, {0.5, 1.0, 0.5, 1.1, 0},
                {0.5, 1.0, 0.6, 9.0, 1},  {0.5, 1.0, 0.4, 0.1, 0}, {NAN, 1.0, 0.1, 5.0, 1},
                {0.1, 1.0, NAN, 0.1, 0},  {NAN, 1.0, NAN, 0.5, 1}, {NAN, 1.0, NAN, 1.5, 0},
                {-0.5, 1.0, -0.4, 1.0, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Best b = {.value = rows[i].best, .loss = rows[i].best_loss};
        expect(is_better(&b, rows[i].metric, rows[i].loss) == rows[i].better, "row %zu", i);
        b.step = NEVER;
        expect(is_better(&b, rows[i].metric, rows[i].loss), "row %zu is not the first", i);
    }
    done("best.bin: the higher metric, of equal ones the lower loss; one that is no number is "
         "below");
}

/* Between an evaluation and what follows from it, and before the first step. */
static void test_signal(void)
{
    const char *line = TRAIN_ON("single.bin") "--eval_file single.bin --logging_steps 1";
    clean(11);
    signal_at = "best so far";
    expect_call("", line, 128 + SIGTERM, "out/model.bin is the model after step 1 of 2");
    expect(!signal_at && strstr(output, "best so far") && !strstr(output, "step 2/2"), "%s",
           output);
    expect(size_of("out/best.bin") > 0 && size_of("out/model.bin") == size_of("out/best.bin"),
           "'best so far', and no best.bin: %s", output);
    const Options options = {.output_dir = "out"};
    Training t = {.o = &options, .plan = {.total = 2}, .saved_step = NEVER};
    output_begin();
    stop_signal = SIGINT;
    const int code = train_end(&t);
    stop_signal = 0;
    output_end();
    expect(code == 128 + SIGINT && strstr(output, "before the first step: nothing was saved"), "%s",
           output);
    done("a signal: what was said to be the best is saved, and nothing is said to be saved that is "
         "not");
}

/* While it measures: of two batches the second is not looked at. */
static void test_stopped_evaluation(void)
{
    const Options o = {.per_device_eval_batch_size = 4};
    const volatile sig_atomic_t stop = SIGINT;
    Bert m = {0};
    Evaluation e = {0};
    Loader l = eval_loader(&o, &m);
    if (bert_load(&m, "out/model.bin") || loader_file(&l, "single.bin") || loader_scan(&l)) exit(2);
    evaluation_room(&e, l.data);
    const int end = evaluate(&m, &l, &e, &stop);
    expect(end == STOPPED && !l.ended, "%d", end);
    loader_free(&l), evaluation_free(&e), bert_free(&m);
    done("a signal: an evaluation ends with its batch");
}

/* What train writes of its data into the model */
static void expect_memory(const char *line, int length, int pairs)
{
    Bert m = {0};
    expect_call("", line, 0, "last model");
    if (!expect(!bert_load(&m, "out/model.bin"), "%s", bert_error(&m))) return;
    expect(m.config.trained_length == length && m.config.trained_pairs == pairs &&
               m.config.activation_out == BERT_OUT_VALUE,
           "%s: max_length %d, trained on %d", line, m.config.trained_length,
           m.config.trained_pairs);
    bert_free(&m);
}

static void test_memory(void)
{
    const char *longer =
        "good good good good good good good\ngood\tbad\ngood\tbad good good bad good\n";
    expect_memory(TRAIN_ON("single.bin"), 6, 1);
    rename("out/model.bin", "one.bin");
    expect_memory(TRAIN_ON("pairs.bin"), 9, 2);
    expect_memory("train --model one.bin --train_file pairs.bin --output_dir out --max_steps 1", 9,
                  2);
    rename("out/model.bin", "pair.bin");
    expect_memory(TRAIN_ON("values.bin"), 8, 2);
    expect_memory(TRAIN_ON("long.bin"), 17, 1); /* the model reads no more */
    /* lines are cut as the data was, and that is said */
    expect_call(longer, "predict --model one.bin", 0, "stdin:1: cut at 6 of 9 tokens");
    expect(
        lines("{\"label\": ") == 3 && strstr(output, "2 of 3 lines were cut") &&
            strstr(output, "stdin:2: its tab is a blank: the model was trained on single texts") &&
            lines("its tab") == 1,
        "%s", output);
    char cut[512];
    snprintf(cut, sizeof cut, "%.*s", (int)strcspn(strstr(output, "{\"label\""), "\n"),
             strstr(output, "{\"label\""));
    expect_call("good good good good\n", "predict --model one.bin", 0, cut);
    expect_call(longer, "predict --model one.bin --max_length 17", 0, "{\"label\": ");
    expect(!strstr(output, cut) && !strstr(output, " cut at "), "%s", output);
    expect_call(longer, "embed --model one.bin", 0, "cut at 6 of 9 tokens");
    /* a model of pairs reads pairs */
    expect_call("a\tb\nc\n", "predict --model pair.bin", 1,
                "stdin:2: no tab between two texts: the model was trained on pairs");
    expect(lines("{\"label\": ") == 1, "%s", output);
    expect_call("{\"text\": \"a\"}", "predict --model pair.bin --json", 1,
                "text_pair: the model was");
    expect_call("a\tb\n", "predict --model pair.bin --pair", 0, "{\"label\": ");
    expect_call("{\"text\": \"a\", \"text_pair\": \"b\"}", "predict --model pair.bin --json", 0,
                "{\"la");
    expect_call("a b\n", "embed --model pair.bin", 0, "{\"embedding\": ");
    expect_call("a b\n", "encode --model pair.bin", 0, "3\n");
    /* one that does not know */
    expect_call("a\tb\n", "predict --model value.bin", 0,
                "its tab is a blank: --pair makes two texts");
    done("a model remembers max_length and pairs of its training; lines go by it, and cuts are "
         "told");
}

static void test_lines(void)
{
    Bert m = {0};
    expect_call("What is it?\n", "predict --model qa.bin", 1,
                "a line is {\"question\": \"...\", \"context\": \"...\"}");
    expect_call("{\"question\": \"a\"}\n", "predict --model qa.bin", 1,
                "no string in field context");
    expect_call("[1]\n", "predict --model ner.bin --json", 1, "a line is {\"text\": \"...\"}\n");
    expect_call("plain\n", "predict --model value.bin --json", 1, "\"text_pair\": \"...\"}");
    if (bert_load(&m, "qa.bin")) exit(2);
    const char *question = "{\"question\": \"good\", \"context\": \"bad film\"}\n";
    expect_call(question, "predict --model qa.bin --top_k 20", 0, "\"answer\": ");
    expect(!strstr(output, "{\"answer\": \"\""), "no answer is an answer: %s", output);
    m.config.may_lack = 1;
    if (bert_save(&m, "qa.bin")) exit(2);
    expect_call(question, "predict --model qa.bin --top_k 20", 0, "{\"answer\": \"\"");
    bert_free(&m);
    if (bert_load(&m, "value.bin")) exit(2);
    m.config.activation_out = BERT_OUT_SIGMOID;
    if (bert_save(&m, "value.bin")) exit(2);
    const char *form = "{\"label\": \"LABEL_0\", \"score\": ";
    expect_call("good\n", "predict --model value.bin --logits", 0, form);
    double score = atof(output + strlen(form)), logit = atof(strstr(output, "[") + 1);
    expect(fabs(score - 1 / (1 + exp(-logit))) < 1e-6, "%s", output);
    bert_free(&m);
    expect_memory("train --model value.bin --train_file values.bin --output_dir out --max_steps 1",
                  8, 2);
    expect(lines("to be trained on values: predict shows them, and no sigmoid any more") == 1, "%s",
           output);
    expect_call("good\tfilm\n", "predict --model out/model.bin", 0, "{\"value\": ");
    expect_call("good\n", "predict --model value.bin --max_length 1", 1,
                "stdin:1: max_length is 1: [CLS] and [SEP] need at least 2");
    done("lines: what one looks like is said; v2 and single logits as the model has them");
}

/* pad_token_id is the row of zeros that is not drawn and gets no gradient; -1: none. */
static void test_padding(void)
{
    static const int rows[] = {0, 3, -1, 39};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Bert m = {0};
        BertConfig config = tiny_config(20);
        config.V = 40, config.NH = 1, config.padding_idx = rows[i], config.undrawn = 1;
        write_zeros("scratch.bin", "encoder.bin", config);
        expect_call("",
                    "train --model scratch.bin --train_file single.bin --output_dir out "
                    "--max_steps 1",
                    0, "last model");
        expect(!bert_load(&m, "out/model.bin"), "%s", bert_error(&m));
        expect(m.config.padding_idx == rows[i], "%d: %d", rows[i], m.config.padding_idx);
        for (int row = 0; row < 40; row++)
            expect((m.params.wte[4 * row] == 0) == (row == rows[i]), "%d: row %d", rows[i], row);
        bert_free(&m);
    }
    done("from scratch: padding_idx is the row of zeros, -1: none");
}

static void test_full_disk(void)
{
    int full = open("/dev/full", O_WRONLY), old = dup(1);
    if (full < 0) return;
    fflush(stdout);
    for (int i = 0; i < 2; i++) { /* one line, and more than a buffer holds */
        int error = open("output", O_CREAT | O_TRUNC | O_RDWR, 0600), stderr_old = dup(2);
        int in = open("lines", O_RDONLY), in_old = dup(0);
        char *argv[] = {(char[]){"train_bert"}, i ? (char[]){"embed"} : (char[]){"predict"},
                        (char[]){"--model"}, (char[]){"value.bin"}};
        dup2(in, 0), dup2(full, 1), dup2(error, 2);
        int code = bert_main(4, argv);
        clearerr(stdout);
        dup2(in_old, 0), dup2(old, 1), dup2(stderr_old, 2);
        lseek(error, 0, SEEK_SET);
        ssize_t n = read(error, output, sizeof output - 1);
        output[n > 0 ? n : 0] = 0;
        expect(code == 1 && strstr(output, "standard output: "), "%d: exit code %d, %s", i, code,
               output);
        close(error), close(stderr_old), close(in), close(in_old);
    }
    close(full), close(old);
    done("a full disk: the message names standard output, and the exit code is 1");
}

/* The program of README.md, and bert.h's, for models of every task */
static void test_programs(const char *top)
{
    static const char *const models[] = {"value.bin", "encoder.bin", "ner.bin", "qa.bin",
                                         "mlm.bin"};
    char line[2 * PATH_MAX];
    for (int i = 0; i < 10; i++) {
        const char *model = models[i % 5], *program = i < 5 ? "readme_example" : "manual_1";
        snprintf(line, sizeof line, "'%s/%s' %s good 2>&1", top, program, model);
        FILE *f = popen(line, "r");
        size_t n = f ? fread(output, 1, sizeof output - 1, f) : 0;
        output[n] = 0;
        int code = f ? pclose(f) : -1;
        char *end;
        double value = strtod(output, &end);
        const char *why = i < 5 ? "no label" : "no classifier";
        expect(i ? code != 0 && strstr(output, model) && strstr(output, why)
                 : code == 0 && end > output && value > 0 && value < 1,
               "%s: %d, '%s'", line, code, output);
    }
    done("README's program, the manual's: a value, or what they have no answer for");
}

int main(void)
{
    char top[PATH_MAX];
    snprintf(folder, sizeof folder, "/tmp/test_driver.%ld", (long)getpid());
    if (!getcwd(top, sizeof top) || mkdir(folder, 0700)) return 2;
    make_files();
    test_output_dir();
    test_folder_removed();
    test_kept_head();
    test_best();
    test_signal();
    test_stopped_evaluation();
    test_memory();
    test_lines();
    test_full_disk();
    test_padding();
    test_programs(top);
    clean(0), clean(11);
    rmdir("out");
    if (chdir("/") || rmdir(folder)) printf("%s is not empty\n", folder);
    return finish();
}
