/* multiple_choice: lines of a text and its choices are answered as the library answers them; files
   whose texts have different numbers of choices are trained on together; what is damaged. */
#define TESTING
#include "test.h"

#include "../../train_bert.c"

#include "files.h"

/* choices.bin is the image's model with this task's head, drawn so that choices differ. */
static void make_files(void)
{
    Bert m = {0};
    enter_folder("choices");
    must(&m, bert_load(&m, "model.bin"));
    m.config.trained_pairs = m.config.trained_length = m.config.model_max_length = 0;
    must(&m, bert_set_task(&m, BERT_MULTIPLE_CHOICE, 1, 0, NULL, 1));
    fill(m.params.clsw, IC, 0, 3);
    must(&m, bert_save(&m, "choices.bin"));
    bert_free(&m);
}

/* ------------------------------------------------------------------------------------------------
   Lines */

enum { MOST = 700 };
typedef struct {
    int n;
    const char *text, *choice[MOST];
} Item;

/* The likeliest choice, and each one's softmax, computed with bert.h alone. */
static int scores_of(Bert *m, const Item *item, double *scores)
{
    BertEncoding e = {0};
    double sum = 0;
    int best = 0;
    for (int k = 0; k < item->n; k++)
        if (bert_encode(m, &e, item->text, item->choice[k], NULL)) exit(2);
    must(m, bert_predict(m, &e));
    for (int k = 0; k < item->n; k++)
        if (m->acts.logits[k] > m->acts.logits[best]) best = k;
    for (int k = 0; k < item->n; k++) sum += scores[k] = exp((double)m->acts.logits[k]);
    for (int k = 0; k < item->n; k++) scores[k] /= sum;
    bert_encoding_free(&e);
    return best;
}

/* Is the object at at the answer to the item? Where it ends. */
static const char *expect_answer(Bert *m, const Item *item, const char *at)
{
    double scores[MOST];
    char want[100];
    const int best = scores_of(m, item, scores);
    snprintf(want, sizeof want, "{\"choice\": %d, \"text\": \"%s\", \"score\": ", best,
             item->choice[best]);
    char *next = NULL;
    if (!expect(!strncmp(at, want, strlen(want)), "'%.200s' begins not with '%s'", at, want))
        return NULL;
    const double score = strtod(at + strlen(want), &next);
    expect(fabs(score - scores[best]) < 1e-6, "%g, not %g", score, scores[best]);
    expect(!strncmp(next, ", \"scores\": ", 12), "no scores: %.100s", next);
    next += 12;
    for (int k = 0; k < item->n; k++) {
        if (!expect(*next == "[ "[k > 0], "choice %d: %.50s", k, next)) return NULL;
        const double x = strtod(next + 1, &next);
        expect(fabs(x - scores[k]) < 1e-6, "choice %d: %g, not %g", k, x, scores[k]);
        next += k + 1 < item->n;
    }
    expect(!strncmp(next, "]}\n", 3), "'%.20s'", next);
    return next + 3;
}

static void add_text(Image *im, const char *text) { append(im, text, strlen(text)); }

/* The items as lines: plain, or as objects with one letter escaped. */
static Image lines_of(const Item *items, int n, int json)
{
    Image im = {0};
    for (int i = 0; i < n; i++) {
        if (json) add_text(&im, "{\"id\": [1, \"\\n\"], \"choices\": [");
        else add_text(&im, items[i].text);
        for (int k = 0; k < items[i].n; k++) {
            const char *choice = items[i].choice[k];
            const int accent = json && !strcmp(choice, "\xc3\xa9");
            add_text(&im, json ? k ? ", \"" : "\"" : "\t");
            add_text(&im, accent ? "\\u00e9" : choice);
            if (json) add_text(&im, "\"");
        }
        if (json) add_text(&im, "], \"text\": \""), add_text(&im, items[i].text);
        add_text(&im, json ? "\"}\n" : "\n");
    }
    append(&im, "", 1);
    return im;
}

static void test_lines(void)
{
    enum { LINES = 130 }; /* more than a batch */
    static Item items[LINES], many = {MOST, "b", {0}};
    static const char *const words[] = {"a", "b", "zoo", "\xc3\xa9", "ba", ""};
    Bert m = {0};
    int best[4] = {0};
    must(&m, bert_load(&m, "choices.bin"));
    for (int i = 0; i < LINES; i++) {
        items[i].n = 2 + i % 3, items[i].text = words[below(4)];
        for (int k = 0; k < items[i].n; k++) items[i].choice[k] = words[below(6)];
    }
    for (int json = 0; json < 2; json++) {
        Image im = lines_of(items, LINES, json);
        const char *at = output;
        expect(
            !call_text(json ? "predict --model choices.bin --json" : "predict --model choices.bin",
                       (const char *)im.data),
            "%.300s", output);
        for (int i = 0; i < LINES && at; i++) {
            best[atoi(at + 11) % 4]++;
            at = expect_answer(&m, &items[i], at);
        }
        expect(at && !*at, "more than there were: %.100s", at ? at : "");
    }
    expect(best[0] > 20 && best[1] > 20 && best[2] > 5, "always the same choice");
    done("choices: %d lines, plain and JSON, are answered as bert.h answers them", LINES);

    for (int k = 0; k < MOST; k++) many.choice[k] = words[below(4)];
    Image im = lines_of(&many, 1, 0); /* more tokens than a batch may have */
    expect(!call_text("predict --model choices.bin", (const char *)im.data), "%.300s", output);
    expect_answer(&m, &many, output);
    done("choices: a line of %d", MOST);
    bert_free(&m);
}

/* Lines so long that the tokens of a batch are bounded, not its lines: it may end inside of one. */
static void test_long_lines(void)
{
    enum { LINES = 60, LONG = 40 };
    static Item items[LINES];
    static char words[LINES * 4][LONG + 1];
    Bert m = {0};
    BertConfig config = tiny_config(2 * LONG + 3);
    config.init_range = 0.5f;
    write_zeros("long.bin", "model.bin", config);
    must(&m, bert_load(&m, "long.bin"));
    must(&m, bert_init(&m, 1));
    must(&m, bert_set_task(&m, BERT_MULTIPLE_CHOICE, 1, 0, NULL, 1));
    must(&m, bert_save(&m, "long.bin"));
    for (int i = 0; i < LINES * 4; i++) {
        words[i][0] = 'b'; /* then ##a, again and again */
        for (int t = 1, T = LONG / 2 + below(LONG / 2); t < T; t++) words[i][t] = 'a';
    }
    for (int i = 0; i < LINES; i++) {
        items[i].n = 3, items[i].text = words[4 * i];
        for (int k = 0; k < 3; k++) items[i].choice[k] = words[4 * i + 1 + k];
    }
    Image im = lines_of(items, LINES, 0);
    expect(!call_text("predict --model long.bin", (const char *)im.data), "%.300s", output);
    const char *at = output;
    for (int i = 0; i < LINES && at; i++) at = expect_answer(&m, &items[i], at);
    expect(at && !*at, "more than there were: %.100s", at ? at : "");
    bert_free(&m);
    done("choices: %d lines of more tokens than a batch may have", LINES);
}

static void test_bad_lines(void)
{
#define PLAIN ": a line is a text and its choices with tabs between\n"
#define OBJECT ": a line is {\"text\": \"...\", \"choices\": [\"...\", \"...\"]}\n"
    static const struct {
        int json;
        const char *line, *says;
    } bad[] = {{0, "a", "fewer than two choices" PLAIN},
               {0, "a\tb", "fewer than two choices" PLAIN},
               {0, "", "fewer than two choices" PLAIN},
               {1, "{\"text\": \"a\"}", "no list of strings in field choices" OBJECT},
               {1, "{\"text\": \"a\", \"choices\": null}", "no list of strings in"},
               {1, "{\"text\": \"a\", \"choices\": \"b\"}", "no list of strings in"},
               {1, "{\"text\": \"a\", \"choices\": \"[]\"}", "no list of strings in"},
               {1, "{\"text\": \"a\", \"choices\": {\"a\": \"b\"}}", "no list of strings in"},
               {1, "{\"text\": \"a\", \"choices\": [\"a\", 1]}", "no list of strings in"},
               {1, "{\"text\": \"a\", \"choices\": [[\"a\", \"b\"]]}", "no list of strings in"},
               {1, "{\"text\": \"a\", \"choices\": []}", "fewer than two choices" OBJECT},
               {1, "{\"text\": \"a\", \"choices\": [\"b\"]}", "fewer than two choices" OBJECT},
               {1, "{\"choices\": [\"a\", \"b\"]}", "no string in field text" OBJECT},
               {1, "{\"text\": 5, \"choices\": [\"a\", \"b\"]}", "no string in field text" OBJECT},
               {1, "{\"text\": \"a\", \"choices\": [\"a\", \"b\"]", "not a JSON object" OBJECT},
               {1, "{\"text\": \"a\", \"choices\": [\"a\" \"b\"]}", "not a JSON object" OBJECT},
               {1, "[\"a\", \"b\"]", "not a JSON object" OBJECT}};
    char text[200], says[200];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "%s\n%s\nb\n",
                 bad[i].json ? "{\"text\": \"a\", \"choices\": [\"b\", \"zoo\"]}" : "a\tb\tzoo",
                 bad[i].line);
        snprintf(says, sizeof says, "train_bert: stdin:2: %s", bad[i].says);
        int code = call_text(bad[i].json ? "predict --model choices.bin --json"
                                         : "predict --model choices.bin",
                             text);
        expect(code == 1 && lines("{\"choice\": ") == 1 && strstr(output, says),
               "'%s': %d '%.300s' has no '%s'", bad[i].line, code, output, says);
    }
    expect_error("predict --model choices.bin --pair", "--pair", "multiple_choice");
    done("choices: %zu lines that have none, each by its number, behind the others' answers",
         sizeof bad / sizeof bad[0]);
}

/* ------------------------------------------------------------------------------------------------
   Files */

/* texts x choices examples, of words at random; the last choice of each text is right, or as label
   has it. */
static Image choice_image(int texts, int choices, int label)
{
    DataFile f = data_file(BERT_MULTIPLE_CHOICE, 0, 1, IP, IV, image_hash);
    Image groups = {0}, labels = {0};
    const char *names[100];
    append(&groups, (uint64_t[]){0}, 8);
    for (int i = 0; i < texts * choices; i++) {
        int32_t tokens[] = {2, 5 + below(6), 3, 5 + below(6), 3};
        add_example(&f, tokens, 5, 3);
        names[i] = "aa";
        if (i % choices) continue;
        append(&groups, (uint64_t[]){(uint64_t)(i + choices)}, 8);
        append(&labels, (int32_t[]){label < 0 ? i / choices % choices : label}, 4);
    }
    add_image(&f, IN_LABELS, OF_I32, labels);
    add_strings(&f, IN_TEXTS, names, texts * choices);
    add_image(&f, IN_GROUPS, OF_U64, groups);
    f.head[17] = texts;
    return data_image(&f);
}

/* A head has one logit whatever the number of choices: files of 2 and of 3 are shards of one run,
   which is measured on 5. What eval counts right is what predict answers so. */
static void test_numbers(void)
{
    enum { TEXTS = 15 };
    int right = 0, n = 0;
    write_data("part-1.bin", choice_image(7, 2, -1));
    write_data("part-2.bin", choice_image(5, 3, -1));
    write_data("five.bin", choice_image(TEXTS, 5, -1));
    expect(!call("train --model encoder.bin --train_file part-*.bin --eval_file five.bin "
                 "--output_dir out --num_train_epochs 2 --per_device_train_batch_size 4 "
                 "--logging_steps 1") &&
               strstr(output, "part-*.bin: 2 files, 12 examples, 145 tokens") &&
               strstr(output, "step 8/8") && strstr(output, "five.bin: 15 examples"),
           "%.600s", output);
    expect(!call("eval --model out/model.bin --eval_file five.bin --per_device_eval_batch_size 4"),
           "%.300s", output);
    const char *accuracy = strstr(output, "\naccuracy ");
    const double share = accuracy ? atof(accuracy + 9) : -1;
    expect(!call("predict --model out/model.bin --predict_file five.bin"), "%.300s", output);
    for (const char *at = output; at && (at = strstr(at, "{\"choice\": ")) != NULL; at++, n++)
        right += atoi(at + 11) == n % 5;
    expect(n == TEXTS && right > 0 && right < TEXTS && fabs(share - (double)right / n) < 1e-6,
           "%d of %d, accuracy %g", right, n, share);
    done("choices: files of 2 and 3 are trained on together, and measured on 5");
}

static void test_bad_files(void)
{
    static const struct {
        int kind, at, value;
        const char *hint;
    } bad[] = {{IN_LABELS, 1, 3, "labels, element 1: 3, not 0 to 2"},
               {IN_LABELS, 0, -1, "labels, element 0: -1, not 0 to 2"},
               {IN_GROUPS, 2, 4, "text 0 has 4 choices, expected 3"},
               {IN_GROUPS, 6, 8, "text 2 has 2 choices, expected 3"},
               {0, 17, 3, "labels: 4 elements, not 3 by the header"},
               {0, 4, 1, "label names is 1, not 0 to 0"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Image im = choice_image(4, 3, -1);
        const size_t word = bad[i].kind ? section_of(&im, bad[i].kind) / 4 : 0;
        set_word(&im, (int)word + bad[i].at, bad[i].value);
        write_data("bad.bin", im);
        expect_error("eval --model choices.bin --eval_file bad.bin", "bad.bin", bad[i].hint);
    }
    write_data("bad.bin", choice_image(4, 1, 0));
    expect_error("eval --model choices.bin --eval_file bad.bin", "bad.bin",
                 "text 0 has 1 choices, expected 2");
    done("choices: %zu damaged files", sizeof bad / sizeof bad[0] + 1);
}

int main(void)
{
    static void (*const tests[])(void) = {make_files,     test_lines,   test_long_lines,
                                          test_bad_lines, test_numbers, test_bad_files,
                                          leave_folder};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) tests[i](), release(0);
    return finish();
}
