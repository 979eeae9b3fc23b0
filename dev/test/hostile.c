/* The driver and what it is given by strangers: damaged and changed files, links, closed
   descriptors, other runs, long lines. Each case was a fault once. */
#define TESTING
#include "test.h"

#include "../../train_bert.c"

#include "files.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <sys/wait.h>

static void make_files(void) { enter_folder("hostile"); }

/* A model of that task trained for a step, in out/model.bin. */
static void train_task(int task, int multi)
{
    write_data("task.bin", task_image(task, multi));
    expect(call("train --model encoder.bin --train_file task.bin --output_dir out --max_steps 1") ==
               0,
           "%.300s", output);
}

/* Multi-label data with so many label names. */
static Image many_names(int K)
{
    const char *names[256];
    static char bytes[256][16];
    for (int i = 0; i < K; i++) {
        snprintf(bytes[i], sizeof bytes[i], "L%d", i);
        names[i] = bytes[i];
    }
    return named_image(BERT_CLASSIFICATION, 1, names, K);
}

static void test_labels(void)
{
    train_task(BERT_CLASSIFICATION, 1);
    write_data("many.bin", many_names(200));
    expect(call("embed --model out/model.bin --predict_file many.bin") == 0 &&
               lines("embedding") == ITEMS,
           "embed: %.200s", output);
    expect(call("predict --model out/model.bin --predict_file many.bin") == 0 &&
               lines("labels") == ITEMS,
           "predict: %.200s", output);
    expect(call("eval --model out/model.bin --eval_file many.bin") == 1, "eval: %.200s", output);
    done("hostile: 200 labels beside a model of 3: embed and predict do not read them");

    static const int tasks_without[] = {BERT_REGRESSION, BERT_QA, BERT_MLM, BERT_PRETRAINING,
                                        BERT_MULTIPLE_CHOICE};
    for (int i = 0; i < 5; i++) {
        char line[200];
        const int task = tasks_without[i];
        train_task(task, 0);
        Image im = task_image(task, 0);
        set_word(&im, 4, 1);
        write_data("named.bin", im);
        for (int c = 0; c < 3; c++) {
            static const char *const commands[] = {
                "train --model encoder.bin --output_dir out --train_file named.bin",
                "eval --model out/model.bin --eval_file named.bin",
                "predict --model out/model.bin --predict_file named.bin"};
            expect_error(commands[c], "named.bin", "the count of label names is 1, not 0 to 0");
        }
        im = task_image(task, 0);
        set_word(&im, 18, task == BERT_QA ? 1 << 30 : 1);
        write_data("named.bin", im);
        expect_error("eval --model out/model.bin --eval_file named.bin", "named.bin",
                     "gold answers in");
        im = task_image(task, 0);
        set_word(&im, 5, task == BERT_MLM || task == BERT_PRETRAINING);
        set_word(&im, 17, 1 + (group_names[task] != NULL));
        write_data("named.bin", im);
        snprintf(line, sizeof line, "eval --model out/model.bin --eval_file named.bin");
        expect(call(line) == 1 && strstr(output, "named.bin"), "task %d: %.200s", task, output);
    }
    done("hostile: label names and labels of tasks that have none are refused");
}

/* A map of one character to 255 is bounded where lower case is made; more than 3 are cut. */
static void test_lower_case(void)
{
    static uint32_t table[3 + 3 + 3 + 255] = {1, 1, 255, 'A', 'Z', 0, 0xC9, 0, 255u << 24};
    Bert m = {0};
    uint32_t out[8] = {0}, room[3 * 3 + 1];
    BertText text = {"\xc3\x89", 2};
    for (int i = 0; i < 255; i++) table[9 + i] = 'x';
    must(&m, bert_load(&m, "model.bin"));
    uint32_t *whole = m.tokenizer.unicode;
    m.tokenizer.unicode = table;
    expect(lower_case(&m.tokenizer, out, 0, 0xC9, 0) == 3 && out[2] == 'x' && out[3] == 0,
           "%u behind it", out[3]);
    expect(normalize_answer(&m.tokenizer, room, text) == 3, "other length");
    expect(same_lower(&m.tokenizer, text, text), "not the same");
    uint64_t offsets[] = {0, 2};
    BertStrings golds = {1, offsets, (char *)(uintptr_t)text.bytes};
    SquadScore score = squad_score(&m.tokenizer, text, &golds, 0, 1, 0);
    expect(score.exact == 1 && score.f1 == 1, "exact %g, f1 %g", score.exact, score.f1);
    m.tokenizer.unicode = whole;
    bert_free(&m);
    done("hostile: a letter of 255 small ones");
}

/* Steps of the training that train_load has begun; the second shard is another file by then. */
static void test_replaced_shard(void)
{
    static const char *const others[] = {"no", "", "maybe"};
    char *args[] = {"--model",
                    "model.bin",
                    "--train_file",
                    "part-*.bin",
                    "--output_dir",
                    "out",
                    "--max_steps",
                    "9",
                    "--train_sampling_strategy",
                    "sequential"};
    for (int i = 0; i < 4; i++) {
        Options o = {0};
        Bert m = {0};
        Training t = {.o = &o, .m = &m};
        write_data("part-1.bin", class_image(2, 1, label_names, 4));
        write_data("part-2.bin", class_image(2, 1, label_names, 4));
        fflush(stdout);
        int file = open("output", O_CREAT | O_TRUNC | O_RDWR, 0600), kept[2] = {dup(1), dup(2)};
        dup2(file, 1), dup2(file, 2);
        expect(!parse(&program, &o, 0, 10, args) && !bert_load(&m, o.model) && !train_load(&t),
               "load");
        if (i == 0) write_data("part-2.bin", class_image(9, 1, label_names, IP));
        if (i == 1) write_data("part-2.bin", class_image(200, 1, label_names, 4));
        if (i == 2) write_data("part-2.bin", class_image(2, 1, others, 4));
        if (i == 3) remove("part-2.bin");
        int code = train_steps(&t);
        fflush(stdout);
        for (int k = 0; k < 2; k++) dup2(kept[k], 1 + k), close(kept[k]);
        ssize_t n = pread(file, output, sizeof output - 1, 0);
        output[n > 0 ? n : 0] = 0;
        close(file);
        expect(code == 1 && strstr(output, "part-2.bin") &&
                   strstr(output, i < 2    ? "was changed"
                                  : i == 2 ? "labels"
                                           : "opened"),
               "%d, exit code %d: %.300s", i, code, output);
        training_free(&t), bert_free(&m);
    }
    remove("part-1.bin"), remove("part-2.bin");
    done("hostile: a shard that is replaced while it is trained on");
}

static void test_names(void)
{
    write_data("data[1].bin", class_image(3, 1, label_names, IP));
    write_data("data1.bin", class_image(4, 1, label_names, IP));
    expect(
        call("train --model model.bin --train_file data[1].bin --output_dir out --max_steps 1") ==
                0 &&
            strstr(output, "data[1].bin: 3 examples"),
        "%.300s", output);
    remove("data[1].bin");
    expect(
        call("train --model model.bin --train_file data[1].bin --output_dir out --max_steps 1") ==
                0 &&
            strstr(output, "data1.bin: 4 examples"),
        "%.300s", output);
    remove("data1.bin");
    mkdir("closed", 0);
    if (access("closed", R_OK)) /* not for root */
        expect_error("train --model model.bin --train_file closed/*.bin --output_dir out", "closed",
                     "cannot be read");
    rmdir("closed");
    expect_error("train --model model.bin --train_file nowhere/*.bin --output_dir out", "nowhere",
                 "cannot be");
    done("hostile: a file whose name is a pattern");
}

static void test_output(void)
{
    int ready[2], go[2], status;
    struct stat info;
    char byte;
    write_file("victim", "precious", 8);
    if (symlink("../victim", "out/model.bin.tmp")) expect(0, "no link");
    expect(call(TRAIN_CALL "--max_steps 1") == 0, "%.300s", output);
    size_t size;
    unsigned char *victim = read_file("victim", &size);
    expect(size == 8 && !memcmp(victim, "precious", 8), "the link was followed: %zu bytes", size);
    expect(!lstat("out/model.bin", &info) && S_ISREG(info.st_mode), "model.bin is no file");
    Whole w;
    expect(!whole_begin(&w, "out", "a") && !remove("out/a.tmp"), "out/a.tmp");
    write_file("out/a.tmp", "precious", 8); /* another's, by now */
    output_begin();
    const int failed_one = whole_end(&w, 0);
    output_end();
    victim = read_file("out/a.tmp", &size);
    expect(failed_one && strstr(output, "out/a.tmp: was replaced while it was written") &&
               size == 8 && !memcmp(victim, "precious", 8) && access("out/a", F_OK),
           "%s", output);
    remove("out/a.tmp");
    write_file("out/model.bin.tmp", "half", 4); /* of a run that was killed */
    expect(call(TRAIN_CALL "--max_steps 1") == 0, "%.300s", output);
    remove("victim");
    done("hostile: temporary files are new, never what a link leads to");

    if (pipe(ready) || pipe(go)) exit(2);
    pid_t other = fork();
    if (other < 0) exit(2); /* kill(-1) would be for all processes */
    if (other == 0) {
        Lock lock;
        byte = (char)lock_folder(&lock, "--output_dir", "out");
        if (write(ready[1], &byte, 1) == 1 && read(go[0], &byte, 1) >= 0) _exit(0);
        _exit(1);
    }
    expect(read(ready[0], &byte, 1) == 1 && byte == 0, "the other run has no lock");
    expect_error(TRAIN_CALL "--max_steps 1", "out", "another run is writing");
    kill(other, SIGKILL), waitpid(other, &status, 0);
    expect(call(TRAIN_CALL "--max_steps 1") == 0, "its lock outlives it: %.300s", output);
    expect(access("out/.lock", F_OK), "the lock's file is left");
    for (int i = 0; i < 2; i++) close(ready[i]), close(go[i]);
    if (symlink("nowhere", "out/.lock")) expect(0, "no link");
    expect_error(TRAIN_CALL "--max_steps 1", "out/.lock", "--output_dir");
    remove("out/.lock");
    done("hostile: one run at a time writes into a folder, and a killed one does not count");
}

/* In a child without some of the descriptors 0 to 2. */
static void test_descriptors(void)
{
    for (int closed = 1; closed < 8; closed++) {
        int status = 0;
        size_t size;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            char *args[] = {"train_bert",      "train",    "--model",      "model.bin",
                            "--train_file",    "data.bin", "--output_dir", "out",
                            "--logging_dir",   "logs",     "--max_steps",  "2",
                            "--logging_steps", "1"};
            int null = open("/dev/null", O_RDWR);
            for (int fd = 0; fd < 3; fd++) dup2(null, fd);
            close(null);
            for (int fd = 0; fd < 3; fd++)
                if (closed >> fd & 1) close(fd);
            _exit(bert_main(14, args));
        }
        waitpid(child, &status, 0);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d closed: status %d", closed,
               status);
        unsigned char *log = read_file("logs/log.jsonl", &size);
        int lines_of = 0;
        for (size_t i = 0; i < size; i++) {
            if (i == 0 || log[i - 1] == '\n')
                expect(log[i] == '{', "%d closed: a log line", closed);
            lines_of += log[i] == '\n';
        }
        expect(lines_of == 3, "%d closed: %d lines", closed, lines_of);
    }
    done("hostile: closed descriptors: nothing is printed into the log");
}

static void test_damaged_model(void)
{
    Bert m = {0};
    must(&m, bert_load(&m, "model.bin"));
    m.params.wpe[0] = NAN;
    must(&m, bert_save(&m, "nan.bin"));
    bert_free(&m);
    expect_error("embed --model nan.bin --predict_file data.bin", "data.bin", "damaged");
    expect_error("predict --model nan.bin --predict_file data.bin", "data.bin", "damaged");
    expect(call_text("embed --model nan.bin", "a b\n") == 1 && strstr(output, "damaged"), "%.300s",
           output);
    remove("nan.bin");
    done("hostile: vectors of a damaged model");
}

/* What Python's json takes, and what not. */
static void test_json(void)
{
    static const char *const good[] = {"{}",
                                       " { } ",
                                       "{\"a\":[]}",
                                       "{\"a\" : [ 1 , -0.5e+3,{ }]}",
                                       "{\"a\":null,\"b\":true,\"c\":false}",
                                       "{\"a\":0}\r\n",
                                       "{\"a\":\"\\u00e9\\ud83d\\ude00\\n\"}",
                                       "{\"a\":{\"b\":{}}}"};
    static const char *const bad[] = {"",
                                      "[]",
                                      "{",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{,}",
                                      "{\"a\":+1}",
                                      "{\"a\":+-}",
                                      "{\"a\":01}",
                                      "{\"a\":1.}",
                                      "{\"a\":.5}",
                                      "{\"a\":1e}",
                                      "{\"a\":-}",
                                      "{\"a\":nul}",
                                      "{\"a\":NaN}",
                                      "{\"a\":[1}",
                                      "{\"a\":[1 2]}",
                                      "{\"a\":{1}}",
                                      "{\"a\":{\"b\" 1}}",
                                      "{\"a\":1} x",
                                      "{\"a\":\"\\x\"}",
                                      "{\"a\":\"\\u12\"}",
                                      "{\"a\":\"",
                                      "{\"a\":\"b\nc\"}",
                                      "{'a':1}",
                                      "{\"a\":bogus}",
                                      "{\"a\":1]",
                                      "{\"a\":[}",
                                      "{a:1}"};
    const char *names[] = {"a"};
    char text[4096];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        JsonField value = {JSON_NOTHING, {NULL, 0}};
        strcpy(text, good[i]);
        expect(json_fields(text, text + strlen(text), names, 1, &value), "refused: %s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        JsonField value = {JSON_NOTHING, {NULL, 0}};
        strcpy(text, bad[i]);
        expect(!json_fields(text, text + strlen(text), names, 1, &value), "taken: %s", bad[i]);
    }
    for (int depth = 800; depth <= 1000; depth += 200) {
        JsonField value = {JSON_NOTHING, {NULL, 0}};
        strcpy(text, "{\"a\":");
        for (int i = 0; i < depth; i++) strcat(text, "[");
        for (int i = 0; i < depth; i++) strcat(text, "]");
        strcat(text, "}");
        expect(json_fields(text, text + strlen(text), names, 1, &value) == (depth < 900),
               "depth %d", depth);
    }
    const char *const kinds[] = {"n", "s", "i", "l", "t", "e"};
    static const struct {
        int kind;
        const char *text;
    } want[] = {{JSON_NOTHING, ""},     {JSON_STRING, "b\"c"}, {JSON_NUMBER, "-1.5e3"},
                {JSON_OTHER, "[1, 2]"}, {JSON_OTHER, "true"},  {JSON_STRING, ""}};
    JsonField fields[6] = {{JSON_NOTHING, {NULL, 0}}};
    strcpy(text, "{\"n\": 1, \"n\" : null, \"x\": {\"s\": 2}, \"s\": \"b\\\"c\", \"i\": -1.5e3 , "
                 "\"l\":[1, 2], \"t\": true, \"e\": 5, \"e\": \"\"}");
    expect(json_fields(text, text + strlen(text), kinds, 6, fields), "refused: %s", text);
    for (int i = 0; i < 6; i++)
        expect(fields[i].kind == want[i].kind && same_text(fields[i].text, text_of(want[i].text)),
               "field %s: kind %d, '%.*s'", kinds[i], fields[i].kind, (int)fields[i].text.size,
               fields[i].text.bytes);
    train_task(BERT_QA, 0);
#define QA_LINE(id) "{\"question\": \"a\", \"context\": \"b a b\", \"id\": " id "}\n"
    expect(call_text("predict --model out/model.bin", QA_LINE("+-")) == 1 &&
               strstr(output, "stdin:1: not a JSON object"),
           "%.300s", output);
    expect(call_text("predict --model out/model.bin", QA_LINE("-12.5E+3")) == 0 &&
               strstr(output, "{\"id\": -12.5E+3, \"answer\""),
           "%.300s", output);
    expect(call_text("predict --model out/model.bin", QA_LINE("[1, 2]")) == 0 &&
               strstr(output, "{\"answer\""),
           "%.300s", output);
    expect(call_text("predict --model out/model.bin --max_answer_length 2147483647",
                     QA_LINE("1")) == 0,
           "%.300s", output);
    done("hostile: JSON in is JSON, %zu forms of it",
         sizeof good / sizeof *good + sizeof bad / sizeof *bad);
}

/* Windows are answered a few at a time, with what all at once would say; they go on by an eighth at
   least. */
static void test_long_context(void)
{
    enum { QUESTION = 252, CONTEXT = 2500, MOST = 384 };
    Bert m = {0}, small = {0};
    BertEncoding all = {0}, some = {0};
    BertConfig c = tiny_config(MOST);
    char *text = get(8 * CONTEXT, 1), *at = text, expected[sizeof output];
    must(&small, bert_load(&small, "words.bin"));
    c.V = small.config.V, c.task = BERT_QA, c.eps = 1e-7f, c.init_range = 0.5f;
    must(&m, bert_build(&m, c));
    bert_init(&m, 7);
    m.tokenizer = small.tokenizer;
    memset(&small.tokenizer, 0, sizeof small.tokenizer);
    must(&m, bert_save(&m, "long.bin"));
    at += sprintf(at, "{\"question\": \"");
    for (int i = 0; i < QUESTION; i++) at += sprintf(at, "a ");
    at += sprintf(at, "\", \"context\": \"");
    for (int i = 0; i < CONTEXT; i++) at += sprintf(at, i % 7 ? "a " : i % 3 ? "film " : "good. ");
    at += sprintf(at, "\"}\n");
    write_file("lines", text, (size_t)(at - text));
    largest = 0;
    expect(call_from("predict --model long.bin --top_k 3", "lines") == 0, "%.300s", output);
    expect(largest < (8 << 20), "an array of %zu bytes", largest);
    strcpy(expected, output);
    FILE *f = fopen("lines", "w"); /* behind others, fewer windows are made at once */
    for (int i = 0; i < 9 && f; i++)
        fputs("{\"question\": \"a\", \"context\": \"a good film\"}\n", f);
    if (f) fputs(text, f), fputs(text, f), fclose(f);
    expect(call_from("predict --model long.bin --top_k 3", "lines") == 0 &&
               lines("{\"answer\"") > 10,
           "%.300s", output);
    char *second = output;
    for (int i = 0; i < 10; i++) second = strchr(second, '\n') + 1;
    expect(!strcmp(second, expected) &&
               !strncmp(second - strlen(expected), expected, strlen(expected)),
           "behind others: %.200s, not %.200s", second, expected);
    expect(call_from("predict --model long.bin --top_k 3 --max_length 385", "lines") == 1, "P");

    BertText parts[2] = {{strchr(text, 'a'), 0}, {strstr(text, "good"), 8 * CONTEXT}};
    parts[0].bytes = strstr(text, "a a "), parts[0].size = 2 * QUESTION;
    parts[1].size = (size_t)(at - 3 - parts[1].bytes);
    BertEncodeOptions o = {
        .max_length = MOST, .truncation = BERT_ONLY_SECOND, .windows = 1, .stride = 113};
    expect(!bert_encode_texts(&m, &all, &parts[0], 1, &parts[1], 1, &o), "%s", all.message);
    expect(all.B > 100 && all.B < 250, "%d windows", all.B);
    for (o.at_once = 1; o.at_once < 1000; o.at_once = 3 * o.at_once + 4) {
        bert_encoding_clear(&some);
        int error = bert_encode_texts(&m, &some, &parts[0], 1, &parts[1], 1, &o), calls = 1;
        for (; !error && some.cut; calls++) error = bert_encode_more(&m, &some);
        expect(!error && some.B == all.B && some.N == all.N &&
                   calls == (all.B + o.at_once - 1) / o.at_once &&
                   !memcmp(some.tokens, all.tokens, (size_t)all.N * sizeof *all.tokens) &&
                   !memcmp(some.spans, all.spans, (size_t)all.N * sizeof *all.spans),
               "%d at once: %d sequences in %d calls, not %d", o.at_once, some.B, calls, all.B);
        expect(bert_encode_more(&m, &some) == BERT_EINPUT, "more than there is");
    }
    bert_encoding_free(&all), bert_encoding_free(&some), bert_free(&m), bert_free(&small);
    done("hostile: a question of 252 tokens and a context of 2500");
}

/* Work that grew by the square. */
static void test_large(void)
{
    enum { K = 60000 };
    uint64_t *offsets = get(K + 1, sizeof *offsets);
    char *bytes = get(K, 8);
    BertStrings names = {K, offsets, bytes};
    double start = seconds();
    for (int k = 0; k < K; k++)
        offsets[k + 1] =
            offsets[k] + (uint64_t)sprintf(bytes + offsets[k], "%c-%05d", "BI"[k % 2], k / 2);
    Tag *tags = tags_of(&names);
    for (int k = 0; k < K; k++)
        expect(tags[k].type == k / 2 * 2 && tags[k].letter == "BI"[k % 2], "tag %d: type %d", k,
               tags[k].type);
    free(tags);
    enum { WORDS = 100000 };
    uint32_t *a = get(2 * WORDS, sizeof *a), *b = get(2 * WORDS, sizeof *b);
    for (uint32_t i = 0; i < WORDS; i++) {
        a[2 * i] = 1000 + i, b[2 * i] = 1000 + WORDS / 2 + i;
        a[2 * i + 1] = b[2 * i + 1] = ' ';
    }
    double f1 = word_f1(a, 2 * WORDS - 1, b, 2 * WORDS - 1);
    expect(fabs(f1 - 0.5) < 1e-9, "F1 %g", f1);
    Data d = {.G = WORDS, .groups = get(WORDS + 1, sizeof *d.groups)};
    for (size_t g = 0; g < WORDS; g++) d.groups[g + 1] = d.groups[g] + 1 + g % 3;
    for (size_t g = 0; g < WORDS; g++)
        for (size_t i = d.groups[g]; i < d.groups[g + 1]; i++)
            expect(group_of(&d, i) == g, "example %zu is of group %zu, not %zu", i, group_of(&d, i),
                   g);
    expect(seconds() - start < 8, "%.1f s", seconds() - start);
    done("hostile: 60,000 tags, answers of 100,000 words, 100,000 groups");
}

static void test_too_large(void)
{
    static const size_t sizes[][2] = {{70000, 70000}, {SIZE_MAX, 2}, {1, INT_MAX}};
    Bert m = {0};
    fflush(stderr);
    int kept = dup(2), null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    for (int i = 0; i < 3; i++) {
        Loader l = {.model = &m, .batch = sizes[i][0], .group = 1};
        expect(loader_room(&l, SIZE_MAX, sizes[i][1], SIZE_MAX) == 1, "batch %d", i);
    }
    Loader l = {.model = &m, .batch = 70000, .group = 70000};
    expect(loader_room(&l, SIZE_MAX, 2, SIZE_MAX) == 1, "a step beyond an int");
    dup2(kept, 2), close(kept), close(null);
    done("hostile: batches that no int counts");
}

int main(void)
{
#ifdef _OPENMP
    omp_set_num_threads(1); /* a child has none of the threads that its parent's OpenMP waits for */
#endif
    static void (*const tests_of[])(void) = {
        make_files,  test_labels,      test_lower_case,    test_replaced_shard, test_names,
        test_output, test_descriptors, test_damaged_model, test_json,           test_long_context,
        test_large,  test_too_large,   leave_folder};
    for (size_t i = 0; i < sizeof tests_of / sizeof tests_of[0]; i++) tests_of[i](), release(0);
    return finish();
}
