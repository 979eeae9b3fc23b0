/* The driver's commands, called as from a shell: train, eval, predict, embed and encode of files
   and of lines, for every task, and command lines that have to be refused by name. */
#define TESTING
#define _XOPEN_SOURCE 700 /* posix_openpt */
#include "test.h"
#include <unistd.h>
/* Nothing here needs the disk: resume.c and failures.c count the calls. */
static int no_sync(int fd) { return fd < 0; }
#define fsync(fd) no_sync(fd)
/* Whether the driver takes this for a processor with AMX. */
static int units;
#define BERT_IMPLEMENTATION
#include "../../bert.h"
#define bert_bf16_units() units
#include "../../train_bert.c"
#undef fsync

#include "files.h"
#include "terminal.h"

static void make_files(void)
{
    static const char *const others[] = {"no", "", "maybe"};
    enter_folder("commands");
    write_data("unlabelled.bin", class_image(EXAMPLES, 0, label_names, IP));
    write_data("none.bin", class_image(0, 1, label_names, IP));
    write_data("long.bin", class_image(EXAMPLES, 1, label_names, IP + 1));
    write_data("otherlabels.bin", class_image(EXAMPLES, 1, others, IP));
    image_hash ^= 1, write_data("othervocab.bin", class_image(EXAMPLES, 1, label_names, IP)),
        image_hash ^= 1;
    write_file("empty", "", 0);
    if (mkdir("odd", 0700) || mkdir("odd/log.jsonl", 0700)) exit(2);
    Image plain = image(0);
    write_file("plain.bin", plain.data, plain.size);
}

/* The confusion matrix stands under its names, which may have more bytes than letters. */
static void test_report_columns(void)
{
    static const char *const accents[IK] = {
        "no", "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", "fifteen letters\xe4\xb8\xad"};
    int columns[IK + 1] = {0};
    write_data("accents.bin", class_image(EXAMPLES, 1, accents, IP));
    expect(call("train --model encoder.bin --train_file accents.bin --eval_file accents.bin "
                "--output_dir out --max_steps 1") == 0,
           "%.300s", output);
    const char *at = strstr(output, "predicted as\n");
    for (int i = 0; i <= IK && at && (at = strchr(at, '\n')); i++)
        for (at++; *at && *at != '\n'; at++) /* the last letter of that one has two */
            columns[i] += ((*at & 0xC0) != 0x80) + (*at == '\xe4');
    for (int i = 1; i <= IK; i++)
        expect(columns[i] == columns[0] && columns[0] > 40, "row %d has %d columns, not %d: %s", i,
               columns[i], columns[0], output);
    done("driver: the report's columns stand below each other, whatever the labels' letters");
}

/* The driver at a terminal of so many columns, where text is typed in; what it shows. NULL text:
   its answers go into a file. */
static const char *at_terminal(int columns, const char *command_line, const char *text)
{
    static char line[200], name[] = "train_bert";
    char *argv[20] = {name};
    int argc = 1, kept = dup(0), file;
    snprintf(line, sizeof line, "%s", command_line);
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    if (!terminal_open(columns)) return NULL;
    if (!text) dup2(file = open("output", O_CREAT | O_RDWR, 0600), 1), close(file);
    else if (write(master, text, strlen(text)) >= 0) dup2(1, 0);
    const int code = bert_main(argc, argv);
    dup2(kept, 0), close(kept);
    const char *shown = terminal_close();
    expect(code == 0, "%s: exit code %d: %.300s", command_line, code, shown);
    return shown;
}

static void test_terminal(void)
{
    const char *measure = "eval --model model.bin --eval_file data.bin", *shown;
    setenv("TERM", "dumb", 1);
    if (!(shown = at_terminal(72, measure, ""))) return;
    expect(strstr(shown, "predicted as") && !strstr(shown, "needs a terminal"), "%s", shown);
    shown = at_terminal(71, measure, "");
    expect(!strstr(shown, "predicted as") && strstr(shown, "matrix needs a terminal of 72 columns"),
           "%s", shown);
    shown = at_terminal(200, "predict --model model.bin", "a\tb\n\x04");
    expect(strstr(shown, "reading lines, each two texts with a tab between; Ctrl-D ends") &&
               strstr(shown, "{\"label\": "),
           "%s", shown);
    setenv("TERM", "xterm", 1);
    shown = at_terminal(200, "predict --model model.bin --predict_file data.bin", NULL);
    const size_t n = strlen(shown);
    expect(strstr(shown, "predict 8/11 [") && n > 4 && !strcmp(shown + n - 4, "\r\033[J"),
           "the live line is left: %s", shown);
    setenv("TERM", "dumb", 1);
    if (!terminal_open(30)) return;
    char *words[] = {(char[]){"train_bert"}, (char[]){"train"},
                     (char[]){"--seed=1"},   (char[]){"--seed"},
                     (char[]){"2"},          (char[]){"--seeds"},
                     (char[]){"it's"},       (char[]){"0123456789012345678901234"}};
    put_command(stdout, "", 8, words, "seed", "3");
    shown = terminal_close();
    expect(!strcmp(shown, "    train_bert train --seeds \\\r\n        'it'\\''s' \\\r\n "
                          "0123456789012345678901234 \\\r\n        --seed 3\r\n"),
           "'%s'", shown);
    done("driver: a terminal has the matrix it has room for, and no live line at the end");
}

static void test_driver(void)
{
    Bert m = {0}, again = {0};
#define LEARN                                                                                      \
    TRAIN_CALL "--eval_file data.bin --num_train_epochs 80 --learning_rate 0.01 --warmup_steps 5 " \
               "--per_device_train_batch_size 4 --hidden_dropout_prob 0.01 --logging_steps 20 "    \
               "--seed 3 --weight_decay 0.01 --attention_probs_dropout_prob 0"
    expect(call(LEARN " --logging_dir logs") == 0, "train: %.300s", output);
    expect(strstr(output, "step 20/240") && strstr(output, "step 240/240"), "train's log: %.300s",
           output);
    expect(strstr(output, "dev/plot.py logs draws") != NULL, "what draws the log: %.9000s", output);
    must(&m, bert_load(&m, "out/model.bin"));
    expect(call("eval --model out/best.bin --eval_file data.bin") == 0, "eval: %.300s", output);
    const char *accuracy = strstr(output, "accuracy");
    expect(accuracy && atof(accuracy + 8) > 0.6, "11 examples are not learned: %.300s", output);
    expect(call("predict --model out/best.bin --predict_file unlabelled.bin --logits") == 0,
           "predict: %.300s", output);
    expect(lines("{\"label\": \"") == EXAMPLES && lines("\"perhaps\": ") == EXAMPLES &&
               lines("\"logits\": [") == EXAMPLES,
           "predict: %.300s", output);
    size_t size;
    read_file("logs/log.jsonl", &size);
    expect(size > 500, "log.jsonl has %zu bytes", size);
    expect(call(LEARN) == 0, "train again: %.300s", output);
    must(&again, bert_load(&again, "out/model.bin"));
    expect(m.params_memory && again.params_memory &&
               !memcmp(m.params_memory, again.params_memory, m.num_parameters * 4),
           "other bits");
    expect(call("train --model encoder.bin --train_file data.bin --output_dir out --max_steps 2") ==
               0,
           "train draws a head: %.300s", output);
    done("driver: train, eval, predict; the same seed gives the same bits");

    for (int i = 0; i < 2; i++) {
        expect(call(i ? TRAIN_CALL "--max_steps 2 --per_device_train_batch_size 2 "
                                   "--gradient_accumulation_steps 4 --seed 3"
                      : TRAIN_CALL "--max_steps 2 --per_device_train_batch_size 8 --seed 3") == 0,
               "train: %.300s", output);
        must(&m, bert_load(i ? &again : &m, "out/model.bin"));
    }
    expect(!memcmp(again.params_memory, m.params_memory, m.num_parameters * 4), "other bits");
    done("driver: 4 batches of 2 are the step of 1 batch of 8, with dropout");
    bert_free(&m), bert_free(&again);
}

/* Reads one JSON value; NULL: it is none. */
static const char *json(const char *s)
{
    if (*s == '"') {
        for (s++; *s != '"'; s++)
            if ((unsigned char)*s < 32 || (*s == '\\' && !*++s)) return NULL;
        return s + 1;
    }
    if (*s == '{' || *s == '[') {
        char end = *s == '{' ? '}' : ']';
        for (s++; *s != end; s += 2 * !strncmp(s, ", ", 2)) {
            if (end == '}' && (*s != '"' || !(s = json(s)) || strncmp(s, ": ", 2))) return NULL;
            if (end == '}') s += 2;
            if (!(s = json(s)) || (*s != end && strncmp(s, ", ", 2))) return NULL;
        }
        return s + 1;
    }
    if (!strncmp(s, "null", 4)) return s + 4;
    char *after;
    strtod(s, &after);
    return after > s ? after : NULL;
}

/* What stands behind a name in the output. */
static double number_after(const char *name)
{
    const char *at = strstr(output, name);
    return at ? atof(at + strlen(name)) : NAN;
}

static void test_task(const char *name, int task, int multi, const char *metric, int objects,
                      const char *with)
{
    char line[512];
    double loss[2];
    write_data("task.bin", task_image(task, multi));
    for (int i = 0; i < 30; i++) { /* an epoch of 30 copies: a save an epoch waits for the disk */
        snprintf(line, sizeof line, "copy-%02d.bin", i);
        write_data(line, task_image(task, multi));
    }
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line,
                 "train --model encoder.bin --train_file copy-*.bin --eval_file task.bin "
                 "--output_dir out --per_device_train_batch_size 4 --num_train_epochs %s "
                 "--attention_probs_dropout_prob 0 --hidden_dropout_prob 0",
                 i ? "20 --learning_rate 0.005" : "1 --learning_rate 1e-9");
        expect(call(line) == 0, "%s: train: %.300s", name, output);
        expect(call("eval --model out/model.bin --eval_file task.bin") == 0, "%s: eval: %.300s",
               name, output);
        loss[i] = number_after("loss ");
        double least = task == BERT_REGRESSION || multi ? 0.8 : 0;
        expect(!i || number_after(metric) >= least, "%s: no %s, or too low: %.300s", name, metric,
               output);
    }
    expect(loss[1] < (task == BERT_REGRESSION ? 0.3 : 0.9) * loss[0],
           "%s: loss %g, after training %g", name, loss[0], loss[1]);
    expect_error("eval --model out/model.bin --eval_file data.bin", "out/model.bin",
                 "is a model for");
    if (!objects) {
        expect_error("predict --model out/model.bin --predict_file task.bin", "task.bin", "mlm");
        return;
    }
    expect(call("predict --model out/model.bin --predict_file task.bin") == 0,
           "%s: predict: %.300s", name, output);
    int found = 0;
    for (const char *at = output, *end; *at; at = end + 1, found++)
        if (!(end = json(at)) || *end != '\n') {
            expect(0, "%s: not JSON: %.200s", name, at);
            break;
        }
    expect(found == objects && lines(with) >= objects, "%s: %d objects, not %d, %d x '%s': %.300s",
           name, found, objects, lines(with), with, output);
}

/* out/model.bin's sentences, without a label: nothing to learn from, and that is said. */
static void test_no_labels(void)
{
    Image im = task_image(BERT_NER, 0);
    for (int t = 0; t < get_word(&im, 8); t++)
        set_word(&im, (int)section_of(&im, IN_TAGS) / 4 + t, -1);
    write_data("task.bin", im);
    expect(call("train --model out/model.bin --train_file task.bin --eval_file task.bin "
                "--output_dir out --num_train_epochs 1") == 0 &&
               strstr(output, "task.bin: no token has a label, so nothing was learned") &&
               strstr(output, "task.bin: no token has a label, so nothing was measured"),
           "%.500s", output);
}

/* eval counts, whatever the batches, what predict says of each word. */
static void test_tags(void)
{
    int32_t tokens[8];
    int right = 0, words = 0;
    expect(!call("train --model encoder.bin --train_file task.bin --output_dir ner --max_steps 4 "
                 "--learning_rate 0.02") &&
               !call("predict --model ner/model.bin --predict_file task.bin"),
           "%.300s", output);
    const char *at = output;
    for (int i = 0; i < ITEMS && at && (at = strstr(at, "\"tags\": [")) != NULL; i++) {
        const int T = task_tokens(tokens, BERT_NER, i);
        at += 8;
        for (int t = 1; t < T - 1 && (at = strchr(at + 1, '"')) != NULL; t++, words++) {
            const char *name = tag_names[tokens[t] % 3];
            right += !strncmp(at + 1, name, strlen(name)) && at[1 + strlen(name)] == '"';
            at = strchr(at + 1, '"');
        }
    }
    expect(words == 3 * ITEMS && right > 0 && right < words, "%d of %d words", right, words);
    for (int size = 1; size <= 8; size += 7) {
        char line[128];
        snprintf(line, sizeof line,
                 "eval --model ner/model.bin --eval_file task.bin --per_device_eval_batch_size %d",
                 size);
        expect(!call(line) && fabs(number_after("\naccuracy ") - (double)right / words) < 1e-4,
               "%d of %d words: %.600s", right, words, output);
    }
}

/* The last token of the last sentence is said to be a word far behind its end: it has no tag, and
   the words between are not written. */
static void test_words_beyond(void)
{
    Image im = task_image(BERT_NER, 0);
    const int last = (int)section_of(&im, IN_WORDS) / 4 + get_word(&im, 8) - 1;
    set_word(&im, last - 1, 20000); /* in front of [SEP]'s -1 */
    write_data("task.bin", im);
    expect(call("predict --model out/model.bin --predict_file task.bin") == 0 &&
               lines("\"tags\": [") == ITEMS && lines(", null]}") == 2,
           "%.300s", output);
}

/* What eval says of either kind of pairs adds up to what it says of all. */
static void test_next_report(void)
{
    const char *const rows[2] = {"\nfollows", "\nrandom"};
    double precision[2] = {0}, recall[2] = {0}, count[2] = {0};
    expect(call("eval --model out/model.bin --eval_file task.bin") == 0, "%.300s", output);
    for (int k = 0; k < 2; k++) {
        const char *at = strstr(output, rows[k]);
        expect(at && sscanf(at + strlen(rows[k]), "%lf %lf %*f %lf", &precision[k], &recall[k],
                            &count[k]) == 3,
               "no row of%s: %.600s", rows[k], output);
    }
    double n = count[0] + count[1], right = recall[0] * count[0] + recall[1] * count[1];
    expect(count[0] > 0 && count[1] > 0 && n == number_after("examples ") &&
               fabs(right / n - number_after("nsp_accuracy ")) < 1e-4,
           "%.600s", output);
    for (int k = 0; k < 2; k++) { /* of those that are said to be k */
        const double hits = recall[k] * count[k], others = (1 - recall[1 - k]) * count[1 - k];
        expect(hits + others < 0.5 || fabs(precision[k] - hits / (hits + others)) < 1e-3, "%.600s",
               output);
    }
}

/* eval of questions that may have no answer: the data says so, the model that learned from such
   remembers it, or --version_2_with_negative says it; else each gets an answer, whatever the
   threshold. Where [CLS] always leads by enough, none is answered: of v2.bin's six the three
   without an answer are right then. */
static void test_may_lack(void)
{
    static const struct {
        const char *model, *data, *flags;
        int lacks, parts; /* none is answered; HasAns_ and NoAns_ are told apart */
    } cases[] = {{"v2.model", "v2.bin", "", 1, 1},
                 {"v3.model", "v1.bin", "", 1, 0},
                 {"v1.model", "v2.bin", "", 1, 1},
                 {"v2.model", "v1.bin", "", 1, 0},
                 {"v1.model", "v1.bin", "--version_2_with_negative", 1, 0},
                 {"v1.model", "v1.bin", "", 0, 0}};
    Image im = task_image(BERT_QA, 0);
    char line[200];
    write_data("v1.bin", im), write_data("v3.bin", im); /* shards, with v2.bin between */
    im = copy_of(&im);
    set_word(&im, 16, 1);
    for (int q = 0; q < QUESTIONS; q += 2) /* the next one has both answers */
        set_word(&im, (int)section_of(&im, IN_ANSWERS) / 4 + 2 * (q + 1), q);
    write_data("v2.bin", im);
    for (int v = 1; v <= 3; v++) {
        snprintf(line, sizeof line,
                 "train --model encoder.bin --train_file v%s.bin --output_dir out --max_steps 1",
                 v == 1   ? "1"
                 : v == 2 ? "2"
                          : "*");
        expect(!call(line), "%.300s", output);
        snprintf(line, sizeof line, "v%d.model", v);
        expect(!rename("out/model.bin", line), "%s", line);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            snprintf(line, sizeof line,
                     "eval --model %s --eval_file %s --null_score_diff_threshold %de9 %s",
                     cases[i].model, cases[i].data, sign, cases[i].flags);
            expect(!call(line), "%.300s", output);
            const int none = cases[i].lacks && sign < 0, parts = cases[i].parts;
            const double f1 = number_after("\nf1 "), no = number_after("\nNoAns_f1 ");
            expect(none ? f1 == (parts ? 50 : 0) : f1 > 0, "%s: f1 %g", line, f1);
            expect(parts ? no == (none ? 100 : 0) : isnan(no), "%s: NoAns_f1 %g", line, no);
            expect(!parts || !none || number_after("\nHasAns_f1 ") == 0, "%s: %.300s", line,
                   output);
        }
    done("driver: eval knows of the data, the model or the flag that there may be no answer");
}

static void test_every_task(void)
{
    test_task("multi-label", BERT_CLASSIFICATION, 1, "\nf1 ", ITEMS, "\"labels\": [");
    test_task("regression", BERT_REGRESSION, 0, "spearmanr ", ITEMS, "{\"value\": ");
    test_task("ner", BERT_NER, 0, "\nf1 ", ITEMS, "\"tags\": [\"");
    expect(lines(", null]}") == 1, "no tag for the word that was cut away: %.300s", output);
    expect(!call("predict --model out/model.bin --predict_file task.bin --logits") &&
               lines("], \"logits\": [[") == ITEMS && lines("]]}") == ITEMS &&
               lines("], [") > ITEMS,
           "raw outputs are no row for each token: %.300s", output);
    test_tags();
    test_words_beyond();
    test_no_labels();
    test_task("qa", BERT_QA, 0, "exact_match ", QUESTIONS, "{\"id\": \"id\\\"\", \"answer\": \"");
    expect(number_after("\"start\": ") >= 0 && strstr(output, "\"nbest\": [{"), "%.200s", output);
    for (const char *at = output; (at = strstr(at, "\"answer\": \"")) != NULL;) {
        const int size = (int)strcspn(at += 11, "\"");
        const double start = atof(strstr(at, "\"start\": ") + 9);
        expect(atof(strstr(at, "\"end\": ") + 7) - start == size, "%.200s", at);
    }
    expect_error("predict --model out/model.bin --predict_file task.bin --logits", "--logits",
                 "ner");
    test_task("mlm", BERT_MLM, 0, "masked_accuracy ", ITEMS, "{\"masks\": [");
    test_task("multiple choice", BERT_MULTIPLE_CHOICE, 0, "\naccuracy ", QUESTIONS,
              "{\"choice\": ");
    expect(lines("\"text\": \"aa bb cc") == QUESTIONS, "%.200s", output);
    expect(!call("predict --model out/model.bin --predict_file task.bin --logits") &&
               lines("], \"logits\": [") == QUESTIONS && lines("]}") == QUESTIONS,
           "raw outputs are no list: %.300s", output);
    test_task("pretraining", BERT_PRETRAINING, 0, "nsp_accuracy ", 0, "");
    expect(!call("train --model encoder.bin --train_file task.bin --output_dir out --max_steps 1 "
                 "--logging_steps 1 --mlm_probability 1e-9") &&
               number_after("loss ") > 0.3,
           "a loss without the next sentence's: %.300s", output);
    test_next_report();
    write_data("task.bin", task_image(BERT_MLM, 0));
    expect(call("eval --model out/model.bin --eval_file task.bin") == 0, "%.300s", output);
    expect(!strstr(output, "warning"), "%.300s", output);
    expect(call("eval --model out/model.bin --eval_file task.bin --mlm_probability 1e-9") == 0 &&
               strstr(output, "task.bin: no token was masked"),
           "%.300s", output);
    for (int masks = 0; masks < 2; masks++)
        expect(call(masks ? "train --model out/model.bin --train_file task.bin --output_dir out"
                          : "train --model out/model.bin --train_file task.bin --output_dir out "
                            "--mlm_probability 1e-9") == 0 &&
                   (strstr(output, "no token was masked, so nothing was learned") == NULL) == masks,
               "masks %d: %.300s", masks, output);
    expect(call("embed --model out/model.bin --predict_file task.bin --normalize") == 0 &&
               lines("{\"embedding\": [") == ITEMS,
           "%.300s", output);
    done("driver: every task: training lowers the loss, eval has its metric, predict is JSON");

    Image im = task_image(BERT_MLM, 0);
    set_word(&im, (int)section_of(&im, IN_TOKENS) / 4 + 2, 4); /* [MASK] */
    write_data("task.bin", im);
    expect(call("predict --model out/model.bin --predict_file task.bin --top_k 2") == 0 &&
               lines("\"token_str\": ") == 2 && lines("{\"masks\": []}") == ITEMS - 1,
           "fill-mask: %.300s", output);
    done("driver: fill-mask has the top k of each [MASK], and none where there is none");
}

/* The image's model, with the heads that text has answers of their own for. */
static void test_text(void)
{
    Bert m = {0};
    static char first[sizeof output];
    const char *const names[] = {"ner.bin", "qa.bin", "mlm.bin"};
    const int heads[] = {BERT_NER, BERT_QA, BERT_MLM};
    must(&m, bert_load(&m, "model.bin"));
    m.config.trained_pairs = m.config.trained_length = m.config.model_max_length = 0;
    must(&m, bert_save(&m, "text.bin"));
    for (int i = 0; i < 3; i++) {
        must(&m, bert_set_task(&m, heads[i], i ? 0 : IK, 0, NULL, 1));
        must(&m, bert_save(&m, names[i]));
    }
    bert_free(&m);
    expect_text("encode --model text.bin", "a\n\nbaa[MASK]b\nzoo\n\xff", 0,
                "train_bert: warning: stdin:3: cut at 6 of 7 tokens, and later lines likewise "
                "(--max_length; the model reads 6)\n"
                "2 5 3\n2 3\n2 6 7 7 4 3\n2 9 3\ntrain_bert: warning: stdin:5: not UTF-8: letters "
                "of it are lost (iconv makes UTF-8 of a file)\n2 1 3\n");
    expect_text("encode --model text.bin --pair", "a\tb\n\t\n", 0, "2 5 3 6 3\n2 3 3\n");
    expect_text("encode --model text.bin --json",
                " {\"x\": [1, {\"y\": \"}\\\"\"}], \"text\": \"b\\u0061\"}\r\n\n"
                "{\"text_pair\": \"b\", \"id\": null, \"text\": \"\\ud83d\\u0041\"}",
                0, "2 6 7 3\n2 1 3 6 3\n");
    expect_text("encode --model text.bin --json", "\xEF\xBB\xBF{\"text\": \"a\"}", 0, "2 5 3\n");
    expect_text("encode --model text.bin --json", "{\"text\": \"a\"}\n{\"text\": 1}\n", 1,
                "2 5 3\ntrain_bert: stdin:2: no string in field text\n");
    expect_text("encode --model text.bin --json",
                "{\"text\": \"a\", \"text_pair\": null}\n{\"text\": \"a\", \"text_pair\": 5}\n", 1,
                "2 5 3\ntrain_bert: stdin:2: no string in field text_pair\n");
    expect_text("encode --model text.bin --json", "{\"text\": \"a\", \"text\": null}\n", 1,
                "train_bert: stdin:1: no string in field text\n");
    expect_text("encode --model text.bin --pair", "a\tb\na b\n", 1,
                "2 5 3 6 3\ntrain_bert: stdin:2: no tab, --pair expects one between the two "
                "texts\n");
    const char *const broken[] = {"{",
                                  "{\"text\"",
                                  "{\"text\": \"a",
                                  "{\"text\": \"\\u12\"}",
                                  "[]",
                                  "{\"text\": \"a\"} x",
                                  "{\"text\": \"a\",}",
                                  "{\"a\": [1}",
                                  "{\"text\": \"\\x\"}",
                                  "{\"text\": \"a\tb\"}",
                                  "{,}"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        expect_text("encode --model text.bin --json", broken[i], 1,
                    "train_bert: stdin:1: not a JSON object: a line is {\"text\": \"...\"} or "
                    "{\"text\": \"...\", \"text_pair\": \"...\"}\n");
    done("driver: encode: lines, pairs, JSON, and what is none, by its line");

    char many[1024] = ""; /* more than a batch */
    for (int i = 0; i < 150; i++) strcat(many, i % 3 ? "ba\n" : "zoo\n");
    expect(!call_text("predict --model text.bin", many) && lines("{\"label\": ") == 150, "%.300s",
           output);
    expect(!call_text("predict --model text.bin --top_k 2 --logits", "ba\r\n\nzoo"), "%s", output);
    for (const char *at = output, *end; *at; at = end + 1) {
        end = json(at);
        expect(end && *end == '\n', "not JSON: %.200s", at);
        if (!end) break;
    }
    expect(lines("\n") == 3 && lines(", \"") == 3 * 4, "%s", output); /* label, 2 scores, logits */
    memcpy(first, output, sizeof first);
    call_text("predict --model text.bin --top_k 2 --logits --json",
              "{\"text\": \"b\\u0061\\r\"}\n{\"text\": \"\"}\n{\"text\": \"zoo\"}");
    expect(!strcmp(first, output), "%s is not %s", output, first);
    expect(!call_text("embed --model text.bin --normalize", "a\nb\n") &&
               lines("{\"embedding\": [") == 2,
           "%s", output);
    expect(!call_text("predict --model ner.bin", "ba\n\n") && lines("{\"entities\": [") == 2 &&
               lines(", \"word\": \"ba\", \"start\": 0") == 1 && !lines("tags") &&
               strstr(output, "\"start\": 0, \"end\": "),
           "%s", output);
    expect(!call_text("predict --model ner.bin --json", "{\"text\": \"\\udc00\"}") &&
               strstr(output, "\"start\": 0, \"end\": 1}"), /* half a pair: one U+FFFD */
           "%s", output);
    expect(!call_text("predict --model mlm.bin --top_k 3", "a[MASK]b\na\n") &&
               lines("\"sequence\": \"a ") == 3 && lines("{\"masks\": []}") == 1,
           "%s", output);
    expect(!call_text("predict --model mlm.bin --top_k 99", "a[MASK].\n") &&
               lines("\"token_str\": \"[SEP]\"") == 1,
           "%s", output);
    expect(!call_text("predict --model qa.bin --top_k 9 --json",
                      "{\"question\": \"a\", \"context\": \"\\u00e9 zoo\"}") &&
               strstr(output, "\"start\": 0, \"end\": 5}"), /* characters */
           "%s", output);
    expect(!call_text("predict --model qa.bin --top_k 9",
                      "{\"id\": 7, \"question\": \"\", \"context\": \"b[MASK]zoo\"}\n"
                      "{\"question\": \"\", \"context\": \"\", \"id\": \"q\"}\n"
                      "{\"id\": [\"x\"], \"question\": \"\", \"context\": \"A\"}"),
           "%s", output);
    expect(lines("{\"id\": 7, \"answer\": \"") == 1 && lines("\"answer\": ") == 1 + 6 + 1 + 2 &&
               lines("\"id\"") == 2 &&
               lines("{\"id\": \"q\", \"answer\": \"\", \"score\": 0,") == 1,
           "%s", output); /* 6 spans of 3 tokens */
    expect(call_text("predict --model qa.bin", "{\"question\": \"a\"}") == 1 &&
               strstr(output, "stdin:1: no string in field context"),
           "%s", output);
    expect(call_from("predict --model text.bin", ".") == 1 && strstr(output, "standard input: ") &&
               strstr(output, strerror(EISDIR)),
           "a folder: %s", output);
    done("driver: text on standard input is answered for every task, in order");
}

static void test_frozen_run(void)
{
    Bert before = {0}, after = {0};
    const size_t layer = 3 * IC * IC;
    expect(call(TRAIN_CALL "--max_steps 4 --freeze_layers 1 --freeze_embeddings") == 0 &&
               strstr(output, "frozen     the embeddings and the first 1 layers of 2"),
           "%.500s", output);
    must(&before, bert_load(&before, "model.bin"));
    must(&after, bert_load(&after, "out/model.bin"));
    const struct {
        const float *a, *b;
        size_t n;
        int frozen;
    } parts[] = {
        {before.params.wte, after.params.wte, IV * IC, 1},
        {before.params.ln0b, after.params.ln0b, IC, 1},
        {before.params.qkvw, after.params.qkvw, layer, 1},
        {before.params.qkvw + layer, after.params.qkvw + layer, layer, 0},
        {before.params.poolw, after.params.poolw, IC * IC, 0},
    };
    for (int i = 0; i < 5; i++)
        expect((memcmp(parts[i].a, parts[i].b, parts[i].n * sizeof(float)) == 0) == parts[i].frozen,
               "part %d: frozen %d", i, parts[i].frozen);
    bert_free(&before), bert_free(&after);
    done("driver: frozen layers and embeddings stay, the rest is trained");
}

/* Over a command line with dropout and two micro-batches a step. */
static void test_checkpointed_run(void)
{
    Bert m[2];
    memset(m, 0, sizeof m);
    for (int i = 0; i < 2; i++) {
        expect(call(i ? TRAIN_CALL "--max_steps 4 --gradient_accumulation_steps 2 "
                                   "--hidden_dropout_prob 0.1 --gradient_checkpointing"
                      : TRAIN_CALL "--max_steps 4 --gradient_accumulation_steps 2 "
                                   "--hidden_dropout_prob 0.1") == 0,
               "%.500s", output);
        must(&m[i], bert_load(&m[i], "out/model.bin"));
    }
    expect(!memcmp(m[0].params_memory, m[1].params_memory, m[0].num_parameters * sizeof(float)),
           "other bits");
    bert_free(&m[0]), bert_free(&m[1]);
    done("driver: --gradient_checkpointing trains to the same bits");
}

/* Other bits than float32's, though not by much, and the same ones in two micro-batches a step. */
static void test_bf16_run(void)
{
    Bert m[3];
    memset(m, 0, sizeof m);
    for (int i = 0; i < 3; i++) {
        units = i == 2;
        expect(call(i == 0   ? TRAIN_CALL "--max_steps 4"
                    : i == 1 ? TRAIN_CALL "--max_steps 4 --bf16"
                             : TRAIN_CALL "--max_steps 4 --bf16 --per_device_train_batch_size 4 "
                                          "--gradient_accumulation_steps 2") == 0,
               "%.500s", output);
        expect(lines("this processor has no AMX") == (i == 1), "run %d: %.500s", i, output);
        must(&m[i], bert_load(&m[i], "out/model.bin"));
    }
    const size_t n = m[0].num_parameters;
    double apart = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        apart += fabs(m[0].params_memory[i] - m[1].params_memory[i]);
        size += fabs(m[0].params_memory[i]);
    }
    expect(apart > 0 && apart < 0.02 * size, "apart by %g of %g", apart, size);
    expect(!memcmp(m[1].params_memory, m[2].params_memory, n * sizeof(float)), "other bits");
    for (int i = 0; i < 3; i++) bert_free(&m[i]);
    done("driver: --bf16 trains to nearly the same, the same bits in any micro-batches");
}

/* With --learning_rate 0: what differs was drawn, and a decay so small leaves the lower layers. */
static void test_drawn_run(void)
{
    static const char *const lines[] = {"--learning_rate 0 --reinit_layers 1",
                                        "--seed 7 --learning_rate 0 --reinit_layers 1",
                                        "--layerwise_lr_decay 1e-30"};
    Bert before = {0}, after[3];
    const size_t layer = 3 * IC * IC, all = IV * IC * sizeof(float);
    memset(after, 0, sizeof after);
    must(&before, bert_load(&before, "model.bin"));
    for (int i = 0; i < 3; i++) {
        char line[300];
        snprintf(line, sizeof line, TRAIN_CALL "--max_steps 4 %s", lines[i]);
        expect(call(line) == 0, "%.500s", output);
        must(&after[i], bert_load(&after[i], "out/model.bin"));
        const float *a = before.params.qkvw, *b = after[i].params.qkvw;
        expect(!memcmp(before.params.wte, after[i].params.wte, all), "%s: wte", line);
        expect(!memcmp(a, b, layer * sizeof *a), "%s: layer 0", line);
        expect(!memcmp(a + layer, b + layer, layer * sizeof *a) == (i == 2), "%s: layer 1", line);
        expect(memcmp(before.params.poolw, after[i].params.poolw, IC * IC * sizeof *a) != 0,
               "%s: the pooler", line);
        for (int k = 0; k < IC && i < 2; k++)
            expect(after[i].params.ln2w[IC + k] == 1 && after[i].params.fcprojb[IC + k] == 0,
                   "%s: LayerNorm, biases", line);
        expect(!memcmp(before.params.clsw, after[i].params.clsw, IK * IC * sizeof *a) == (i < 2),
               "%s: the head", line);
        expect(i == 2 ||
                   strstr(output, "drawn anew, to be trained: the last 1 of 2 layers, and the "
                                  "pooler"),
               "%.800s", output);
    }
    expect(memcmp(after[0].params.qkvw, after[1].params.qkvw, 2 * layer * sizeof(float)) != 0,
           "--seed draws the same");
    expect_error(TRAIN_CALL "--reinit_layers 3", "--reinit_layers is 3", "0 to 2");
    expect_error(TRAIN_CALL "--reinit_layers 2 --freeze_layers 1", "1 are frozen", "0 to 1");
    expect_error(TRAIN_CALL "--layerwise_lr_decay 0", "--layerwise_lr_decay", "> 0 and <= 1");
    bert_free(&before);
    for (int i = 0; i < 3; i++) bert_free(&after[i]);
    done("driver: layers that are drawn anew, and others that learn less");
}

#define SCRATCH_CALL                                                                               \
    "train --model scratch.bin --train_file part-*.bin --output_dir out --num_train_epochs 2 "     \
    "--logging_steps 1"

static void test_from_scratch(void)
{
    BertConfig config = tiny_config(IP);
    Bert m = {0}, again = {0}, other = {0};
    int pad_zero = 1, ones = 1;
    write_data("part-1.bin", task_image(BERT_PRETRAINING, 0));
    write_data("part-2.bin", task_image(BERT_PRETRAINING, 0));
    config.F = 8, config.hidden_dropout = config.att_dropout = 0.1f, config.cls_dropout = -1;
    config.undrawn = 1;
    write_zeros("scratch.bin", "model.bin", config);
    for (int i = 0; i < 3; i++) {
        expect(call(i < 2 ? SCRATCH_CALL : SCRATCH_CALL " --seed 43") == 0, "%.300s", output);
        must(&m, bert_load(i == 2 ? &other : i ? &again : &m, "out/model.bin"));
    }
    expect(strstr(output, "part-*.bin: 2 files, ") && strstr(output, "it has no weights yet"),
           "%.300s", output);
    const size_t bytes = m.num_parameters * sizeof(float);
    expect(!memcmp(m.params_memory, again.params_memory, bytes), "other bits");
    expect(memcmp(m.params_memory, other.params_memory, bytes), "the seed does not count");
    for (int i = 0; i < IC; i++) pad_zero &= m.params.wte[i] > -0.01f && m.params.wte[i] < 0.01f;
    for (int i = 0; i < IC; i++) ones &= fabsf(m.params.ln0w[i] - 1) < 0.01f;
    expect(m.config.L == 1 && m.config.task == BERT_PRETRAINING && pad_zero && ones &&
               !m.config.undrawn,
           "L %d, task %d, [PAD] %g, LayerNorm %g", m.config.L, m.config.task, m.params.wte[0],
           m.params.ln0w[0]);
    bert_free(&m), bert_free(&again), bert_free(&other);
    static const char *const others[] = {"eval --eval_file data.bin", "predict", "embed"};
    for (int i = 0; i < 3; i++) {
        char line[100];
        snprintf(line, sizeof line, "%s --model scratch.bin", others[i]);
        expect_error(line, "scratch.bin", "has no weights yet: train_bert train");
    }
    expect_text("encode --model scratch.bin", "a\n", 0, "2 5 3\n");
    write_data("part-2.bin", class_image(EXAMPLES, 1, label_names, IP));
    expect_error("train --model encoder.bin --train_file part-*.bin --output_dir out", "part-2.bin",
                 "another task");
    done("driver: pretraining from scratch over shards; the same seed gives the same bits");
}

static void test_bad_commands(void)
{
    static const struct {
        const char *args, *file, *hint;
    } bad[] = {
        {"", "train", "eval"},
        {"fly", "fly", "command"},
        {"train --model model.bin", "--train_file", "train"},
        {"train --train_file data.bin --output_dir out", "--model", "export_hf.py"},
        {"train --model model.bin --train_file data.bin", "--output_dir", "train"},
        {"eval --model model.bin", "--eval_file", "eval"},
        {"predict --model model.bin --pair --json", "--pair", "JSON"},
        {"predict --model model.bin --predict_file data.bin --json", "--json", "--predict_file"},
        {"predict --model model.bin --predict_file data.bin --pair", "--pair", "--predict_file"},
        {"predict --model model.bin --predict_file data.bin --max_length 5", "--max_length",
         "--predict_file"},
        {"predict --model model.bin --max_length 7", "--max_length", "6"},
        {"predict --model encoder.bin", "encoder.bin", "has no head: fine-tune"},
        {"encode --model plain.bin", "plain.bin", "no tokenizer"},
        {TRAIN_CALL "--freeze_layers 3", "--freeze_layers", "0 to 2"},
        {TRAIN_CALL "--freeze_layers -1", "--freeze_layers", "0 to 2"},
        {"eval --learning_rate 1 --model model.bin --eval_file data.bin", "--learning_rate",
         "train"},
        {"eval --model missing.bin --eval_file data.bin", "missing.bin", "open"},
        {"eval --model model.bin --eval_file missing.bin", "missing.bin", "open"},
        {"eval --model empty --eval_file data.bin", "empty", "0 bytes"},
        {"eval --model model.bin --eval_file empty", "empty", "0 bytes"},
        {"eval --model . --eval_file data.bin", ".", "export_hf.py"},
        {"eval --model model.bin --eval_file .", ".", "regular"},
        {"eval --model data.bin --eval_file data.bin", "data.bin", "not a model"},
        {"eval --model model.bin --eval_file model.bin", "model.bin", "not a data file"},
        {"predict --model model.bin --predict_file empty", "empty: not a data file, it has 0 bytes",
         "tokenizer.py TASK empty OUT.bin --model"},
        {"eval --model model.bin --eval_file model.bin", "model.bin", "tokenizer.py"},
        {"eval --model model.bin --eval_file empty", "empty", "tokenizer.py"},
        {TRAIN_CALL "--init config.json", "--init", "export_hf.py --config"},
        {TRAIN_CALL "--mlm_probability 0", "--mlm_probability", "> 0"},
        {"eval --model model.bin --eval_file othervocab.bin", "othervocab.bin", "vocabulary"},
        {"eval --model model.bin --eval_file otherlabels.bin", "otherlabels.bin", "labels"},
        {"eval --model model.bin --eval_file unlabelled.bin", "unlabelled.bin", "labels"},
        {"eval --model model.bin --eval_file none.bin", "none.bin", "no examples"},
        {"eval --model model.bin --eval_file long.bin", "long.bin", "7 tokens"},
        {"eval --model encoder.bin --eval_file data.bin", "encoder.bin", "head"},
        {"predict --model encoder.bin --predict_file data.bin", "encoder.bin", "head"},
        {"predict --model model.bin --predict_file othervocab.bin", "othervocab.bin", "vocabulary"},
        {"train --model model.bin --train_file otherlabels.bin --output_dir out", "otherlabels.bin",
         "maybe"},
        {"train --model model.bin --train_file unlabelled.bin --output_dir out", "unlabelled.bin",
         "labels"},
        {"train --model model.bin --train_file none.bin --output_dir out", "none.bin",
         "no examples"},
        {"train --model model.bin --train_file data.bin --output_dir model.bin", "model.bin",
         "--output_dir"},
        {TRAIN_CALL "--eval_file otherlabels.bin", "otherlabels.bin", "maybe"},
        {TRAIN_CALL "--nonsense 1", "--nonsense", "flag"},
        {TRAIN_CALL "--fp16 1", "--fp16", "Trainer"},
        {TRAIN_CALL "--evaluation_strategy epoch", "--evaluation_strategy is a flag of Trainer",
         "--eval_strategy"},
        {TRAIN_CALL "--per-gpu-train-batch-size 4", "--per_gpu_train_batch_size",
         "here it is --per_device_train_batch_size\n"},
        {TRAIN_CALL "--test_file 4", "--test_file", "eval --eval_file"},
        {TRAIN_CALL "--learning-rat 4", "--learning_rat", "Did you mean --learning_rate?"},
        {TRAIN_CALL "--unit 4", "--unit", "help train"},
        {TRAIN_CALL "--learning_rxyz 4", "--learning_rxyz", "help train"},
        {TRAIN_CALL "--lr 1", "--lr", "Did you mean --learning_rate?"},
        {"eval --model model.bin --eval_file data.bin --bs 1", "--bs",
         "Did you mean --per_device_eval_batch_size?"},
        {TRAIN_CALL "stray", "stray", "flag"},
        {TRAIN_CALL "--learning_rate", "--learning_rate", "value"},
        {TRAIN_CALL "--learning_rate --seed 1", "--learning_rate", "value"},
        {TRAIN_CALL "--learning_rate -1", "--learning_rate", "-1"},
        {TRAIN_CALL "--learning_rate nan", "--learning_rate", "nan"},
        {TRAIN_CALL "--learning_rate inf", "--learning_rate", "inf"},
        {TRAIN_CALL "--learning_rate 1e-5x", "--learning_rate", "1e-5x"},
        {TRAIN_CALL "--per_device_train_batch_size 0", "--per_device_train_batch_size", "0"},
        {TRAIN_CALL "--per_device_train_batch_size -3", "--per_device_train_batch_size", "-3"},
        {TRAIN_CALL "--per_device_train_batch_size 1.5", "--per_device_train_batch_size", "1.5"},
        {TRAIN_CALL "--logging_steps 99999999999999999999", "--logging_steps",
         "99999999999999999999"},
        {TRAIN_CALL "--num_train_epochs 0", "--num_train_epochs", "0"},
        {TRAIN_CALL "--max_steps -2", "--max_steps", "-2"},
        {"predict --model model.bin --pair=1", "--pair", "takes no value"},
        {TRAIN_CALL "--lr_scheduler_type greedy", "--lr_scheduler_type greedy", "the step alone"},
        {TRAIN_CALL "--lr_scheduler_kwargs 2", "--lr_scheduler_kwargs", "is no JSON object"},
        {TRAIN_CALL "--eval_strategy steps", "--eval_strategy steps", "needs --eval_file"},
        {TRAIN_CALL "--logging_dir model.bin/logs", "--logging_dir", "cannot make the folder"},
        {TRAIN_CALL "--logging_dir odd", "odd/log.jsonl", "cannot be written"},
        {TRAIN_CALL "--resume_from_checkpoint odd", "odd/state.bin", "cannot be opened"},
        {TRAIN_CALL "--adam_beta1 1", "--adam_beta1", "1"},
        {TRAIN_CALL "--hidden_dropout_prob 1", "--hidden_dropout_prob", "1"},
        {TRAIN_CALL "--classifier_dropout -0.5", "--classifier_dropout", "-0.5"},
        {TRAIN_CALL "--warmup_ratio 2", "--warmup_ratio", "2"},
        {TRAIN_CALL "--lr_scheduler_type sinus", "--lr_scheduler_type", "sinus"},
        {TRAIN_CALL "--seed -1", "--seed", "-1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_error(bad[i].args, bad[i].file, bad[i].hint);
    done("driver: %zu bad command lines, exit code 1, each by name", sizeof bad / sizeof bad[0]);
    expect(call(TRAIN_CALL "--max_steps 3 --warmup_steps 10") == 0 && strstr(output, "warmup"),
           "no warning: %.300s", output);
    done("driver: a warmup longer than the run is warned of");
}

int main(void)
{
    static void (*const tests[])(void) = {make_files,      test_driver,       test_report_columns,
                                          test_every_task, test_may_lack,     test_text,
                                          test_frozen_run, test_bf16_run,     test_checkpointed_run,
                                          test_drawn_run,  test_from_scratch, test_bad_commands,
                                          test_terminal,   leave_folder};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) tests[i](), release(0);
    return finish();
}
