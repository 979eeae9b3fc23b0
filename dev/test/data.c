/* What the driver reads: pairs of sentences and masks as the loader draws them, and data files
   that are damaged, which have to be refused by name. */
#define TESTING
#include "test.h"

#include "../../train_bert.c"

#include "files.h"

static void make_files(void) { enter_folder("data"); }

static double deviations(double count, double n, double p)
{
    return fabs(count - n * p) / sqrt(n * p * (1 - p));
}

/* The document a token is of. */
static size_t document_of(const Data *d, size_t token)
{
    size_t i = 0;
    while (d->offsets[d->groups[i + 1]] <= token) i++;
    return i;
}

/* No pair is longer than there is room for, neither text is of two documents, and b is what it
   says: another document's, or what follows a, nothing missing between but what was cut. */
static void test_pairs(void)
{
    Image im = task_image(BERT_PRETRAINING, 0);
    Bert m = {0};
    Loader l = {.model = &m, .batch = ITEMS, .group = 1, .seed = 1, .short_seq_prob = 0.1};
    int random = 0, pairs = 0, same = 1;
    size_t before = 0;
    write_data("task.bin", im);
    must(&m, bert_load(&m, "model.bin"));
    expect(loader_file(&l, "task.bin") == 0, "no data");
    const Data *d = l.data;
    for (uint64_t epoch = 0; epoch < 200; epoch++) {
        draw_pass(&l, epoch, 0);
        same &= epoch == 0 || l.n == before;
        before = l.n;
        for (size_t i = 0; i < l.n; i++, pairs++) {
            const Pair *q = &l.pair_of_item[i];
            expect(q->a < q->a_end && q->b < q->b_end && q->b_end <= d->N &&
                       q->a_end - q->a + q->b_end - q->b <= IP - 3,
                   "pair %zu: %zu-%zu, %zu-%zu", i, q->a, q->a_end, q->b, q->b_end);
            const size_t of_a = document_of(d, q->a), of_b = document_of(d, q->b);
            const int whole = q->a_end - q->a + q->b_end - q->b < IP - 3;
            expect(document_of(d, q->a_end - 1) == of_a && document_of(d, q->b_end - 1) == of_b,
                   "pair %zu: a text of two documents", i);
            expect(q->random ? of_a != of_b
                             : of_a == of_b && q->b >= q->a_end && (!whole || q->b == q->a_end),
                   "pair %zu: %zu-%zu, %zu-%zu, random %d", i, q->a, q->a_end, q->b, q->b_end,
                   q->random);
            random += q->random;
        }
    }
    expect(!same && random > pairs / 3 && random < pairs, "%d random of %d", random, pairs);
    done("driver: %d pairs of sentences, %d with another document's", pairs, random);
    loader_free(&l), bert_free(&m);
}

static void test_masks(void)
{
    enum { MANY = 4000 };
    int masked = 0, replaced = 0, kept = 0, special = 0, words = 0;
    Bert m = {0};
    Loader l = {.model = &m, .batch = ITEMS, .group = 1, .seed = 1, .mlm_probability = 0.15};
    write_data("task.bin", task_image(BERT_MLM, 0));
    must(&m, bert_load(&m, "model.bin"));
    must(&m, bert_set_task(&m, BERT_MLM, 0, 0, NULL, 1));
    expect(loader_file(&l, "task.bin") == 0 && loader_scan(&l) == 0, "no data");
    for (int epoch = 0; epoch < MANY; epoch++) {
        if (loader_step(&l, 0)) break;
        BertBatch x = l.batches[0];
        expect(l.num_batches == 1 && l.ended && x.B == ITEMS, "epoch %d", epoch);
        words += 3 * ITEMS;
        for (int r = 0; r < x.R; r++) {
            int now = x.tokens[x.rows[r]];
            masked += now == 4, kept += now == x.labels[r], special += x.labels[r] < 5;
            replaced += now != 4 && now != x.labels[r];
        }
    }
    double all = masked + kept + replaced, stays = all * (0.1 + 0.1 / IWORDS);
    expect(special == 0 && deviations(all, words, 0.15) < 5 &&
               deviations(masked, all, 0.8 + 0.1 / IWORDS) < 5 &&
               fabs(kept - stays) < 5 * sqrt(stays),
           "%d [MASK], %d other, %d kept, %d special of %d words", masked, replaced, kept, special,
           words);
    done("driver: masks: 15%% of words, 80/10/10, no special token, new each epoch");
    loader_free(&l), bert_free(&m);
}

static void test_bad_tasks(void)
{
    /* clang-format off */
    static const struct {
        int task, multi, kind, at, value; /* kind 0: a header word */
        const char *hint;
    } bad[] = {
        {1, 1, IN_SETS, 2, 9, "sets, element 2: 4, not 9"},
        {1, 1, IN_SET_LABELS, 0, 3, "set_labels, element 0: 3, not 0 to 2"},
        {1, 1, IN_SET_LABELS, 1, 0, "example 0: labels must rise"},
        {2, 0, IN_TARGETS, 1, 0x7FC00000, "targets, element 1"},
        {2, 0, IN_TARGETS, 2, 0x7F800000, "targets, element 2: inf, not finite"},
        {3, 0, IN_TAGS, 1, 3, "tags, element 1: 3, not -1 to 2"},
        {3, 0, IN_TAGS, 0, -2, "tags, element 0: -2"}, {3, 0, IN_SPANS, 2, -1, "spans, token 1"},
        {3, 0, IN_SPANS, 3, -5, "spans, element 3"}, {3, 0, IN_WORDS, 1, -2, "words, element 1"},
        {3, 0, IN_TEXTS, 2, 99, "texts.offsets, element"},
        {4, 0, IN_POSITIONS, 2, 6, "positions, element 2: 6, not 0 to 5"},
        {4, 0, IN_POSITIONS, 2, 5, "positions, example 1"},
        {4, 0, IN_GROUPS, 2, 0, "groups, element 1: 0, not 1"},
        {4, 0, IN_GROUPS, 12, 13, "groups, element 6: 13, not 12 to 12"},
        {4, 0, IN_ANSWERS, 2, 7, "answers, element 1"}, {4, 0, IN_ANSWERS, 3, -1, "answers"},
        {4, 0, 0, 17, 5, "texts.offsets: 7 elements, not 6"},
        {4, 0, 0, 16, 2, "no-answer questions is 2, not 0 to 1"},
        {4, 0, 0, 18, 8, "golds.offsets: 7 elements, not 9"},
        {6, 0, IN_GROUPS, 2, 0, "groups, element 1"}, {6, 0, IN_GROUPS, 6, 99, "not 12 to 12"},
        {6, 0, 0, 14, 4, "max_length is 4, not 5"}, {6, 0, 0, 17, 1, "documents is 1, not 2"}};
    /* clang-format on */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Image im = task_image(bad[i].task, bad[i].multi);
        size_t word = bad[i].kind ? section_of(&im, bad[i].kind) / 4 : 0;
        set_word(&im, (int)word + bad[i].at, bad[i].value);
        write_data("task.bin", im);
        expect_error("train --model encoder.bin --train_file task.bin --output_dir out", "task.bin",
                     bad[i].hint);
    }
    write_data("task.bin", task_image(BERT_REGRESSION, 0));
    expect_error(
        "train --model encoder.bin --train_file task.bin --output_dir out --class_weights 1,2",
        "--class_weights", "regression");
    static const struct {
        int task, multi;
        const char *name;
    } rough[] = {{BERT_REGRESSION, 0, "regression"},
                 {BERT_CLASSIFICATION, 1, "multi-label classification"},
                 {BERT_QA, 0, "qa"},
                 {BERT_PRETRAINING, 0, "pretraining"}};
    for (size_t i = 0; i < sizeof rough / sizeof rough[0]; i++) {
        write_data("task.bin", task_image(rough[i].task, rough[i].multi));
        expect_error("train --model encoder.bin --train_file task.bin --output_dir out "
                     "--label_smoothing_factor 0.1",
                     "--label_smoothing_factor", rough[i].name);
    }
    expect_error(TRAIN_CALL "--class_weights 1,2", "--class_weights", "3 numbers");
    expect_error(TRAIN_CALL "--class_weights 1,2,3,4", "--class_weights", "3 numbers");
    expect_error(TRAIN_CALL "--class_weights 1,-2,3", "--class_weights", "3 numbers");
    expect(call(TRAIN_CALL "--class_weights balanced --label_smoothing_factor 0.1") == 0, "%.300s",
           output);
    done("driver: %zu damaged files of other tasks, bad class weights", sizeof bad / sizeof bad[0]);
    for (int i = 0; i < 1200; i++) {
        static const int kinds[] = {1, 2, 3, 4, 5, 6};
        Image im = task_image(kinds[i % 6], i % 6 == 0);
        write_data("forged.data", mutated(&im));
        int code =
            call("train --model encoder.bin --train_file forged.data --eval_file forged.data "
                 "--output_dir out --max_steps 1");
        expect(code == 0 || (code == 1 && strstr(output, "forged")), "%d: '%.200s'", code, output);
    }
    done("driver: 1200 mutated files of every task: no crash");
}

static void test_bad_data(void)
{
    /* clang-format off */
    static const struct {
        int word;
        int32_t value;
        const char *hint;
    } forged[] = {
        {0, 0x4D545242, "data file"}, {0, 0, "not a data file"}, {1, 0, "version"},
        {1, 1, "python3 tokenizer.py classification INPUT forged.data --model MODEL.bin "
               "--max_length 6"},
        {1, 3, "version"}, {2, -1, "task"}, {2, 0, "task"}, {2, BERT_NUM_TASKS, "task"},
        {2, 4, "label names"},
        {3, 2, "problem"}, {3, 1, "section"}, {4, -1, "label names"}, {4, INT_MAX, "names"},
        {4, 0, "label names is 0, not 1"}, {5, 2, "labels present"}, {5, 0, "kind 6"},
        {6, 0, "elements, not 0 by the header"}, {6, INT_MAX, "examples"}, {7, -1, "examples"},
        {7, 1, "examples"}, {8, 0, "tokens: "}, {8, INT_MAX, "tokens"}, {9, -1, "tokens"},
        {9, 1, "tokens"}, {10, -1, "longest"}, {10, 0, "segments, element 0: 1, not 0 to 0"},
        {10, INT_MAX, "longest"}, {11, 0, "V is"}, {11, -1, "V is"},
        {11, 2, "tokens, element"}, {11, IV + 1, "token ids"}, {12, 0, "vocabulary"},
        {16, 1, "no-answer"}, {17, 1, "groups"}, {18, INT_MAX, "gold answers"},
        {19, -1, "gold answers"}, {20, 0, "no section names.offsets"}, {20, 5, "begins at byte"},
        {20, -1, "sections"}, {20, 99, "sections"}, {21, 1, "word 21"}, {30, 0, "bytes"},
        {31, 1, "bytes"}, {31, -1, "bytes"}, {255, 1, "word 255"}};
    static const struct {
        int kind, at, value;
        const char *hint;
    } inside[] = {
        {IN_NAMES, 0, 1, "names.offsets, element 0: 1, not 0 to 0"},
        {IN_NAMES, 2, 99, "names.offsets, element 1: 99, not 0 to 9"},
        {IN_NAMES, 6, 1, "names.offsets, element 3"},
        {IN_OFFSETS, 0, 1, "offsets, element 0"}, {IN_OFFSETS, 2, 0, "offsets, element 1: 0"},
        {IN_OFFSETS, 4, 1, "offsets, element 2"}, {IN_OFFSETS, 6, INT_MAX, "offsets, element 3"},
        {IN_OFFSETS, 5, -1, "offsets, element 2"}, {IN_OFFSETS, 22, 1, "offsets, element 11"},
        {IN_TOKENS, 5, -1, "tokens, element 5: -1, not 0 to 11"},
        {IN_TOKENS, 7, IV, "tokens, element 7: 12"}, {IN_TOKENS, 0, INT_MAX, "tokens, element 0"},
        {IN_SEGMENTS, 3, -1, "segments, element 3"}, {IN_SEGMENTS, 0, 3, "segments, element 0"},
        {IN_SEGMENTS, 5, INT_MAX, "segments, element 5"},
        {IN_LABELS, 4, -1, "labels, element 4: -1, not 0 to 2"},
        {IN_LABELS, 10, IK, "labels, element 10: 3"}};
    /* clang-format on */
    const char *eval = "eval --model model.bin --eval_file forged.data";
    Image im = class_image(EXAMPLES, 1, label_names, IP), other;
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        other = copy_of(&im);
        set_word(&other, forged[i].word, forged[i].value);
        write_data("forged.data", other);
        expect_error(eval, "forged.data", forged[i].hint);
    }
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        other = copy_of(&im);
        set_word(&other, (int)section_of(&im, inside[i].kind) / 4 + inside[i].at, inside[i].value);
        write_data("forged.data", other);
        expect_error(eval, "forged.data", inside[i].hint);
    }
    done("data files: %zu forged headers, %zu forged sections", sizeof forged / sizeof forged[0],
         sizeof inside / sizeof inside[0]);
    for (size_t size = 0; size < im.size; size += size % 8 == 7 && size < 1016 ? 97 : 1) {
        write_file("forged.data", im.data, size);
        expect_error(eval, "forged.data", "bytes");
    }
    append(&im, "garbage!", 8);
    write_data("forged.data", im);
    expect_error(eval, "forged.data", "bytes");
    set_word(&im, 30, (int32_t)im.size); /* of which the header knows, and no section */
    write_data("forged.data", im);
    expect_error(eval, "forged.data", "bytes long, and its sections end at");
    done("data files: cut anywhere, with garbage behind");
}

/* The file without the section that is listed at place i, else whole. */
static Image without(const Image *im, int i)
{
    const int n = get_word(im, 20), at = 256 + 6 * i;
    const size_t begin = (size_t)get_word(im, at + 4);
    const size_t end = i + 1 < n ? (size_t)get_word(im, at + 10) : im->size;
    Image out = {0};
    append(&out, im->data, 4 * (size_t)at);
    append(&out, im->data + 4 * at + 24, begin - 4 * (size_t)at - 24);
    append(&out, im->data + end, im->size - end);
    for (int k = 0; k < n - 1; k++) {
        const int word = 256 + 6 * k + 4, behind = k < i ? 0 : (int)(end - begin);
        set_word(&out, word, get_word(&out, word) - 24 - behind);
    }
    set_word(&out, 20, n - 1), set_word(&out, 30, (int32_t)out.size);
    return out;
}

/* One entry of the directory changed, of every section of every task's data: each word, its place,
   its count, the whole of it: the file is refused, and the message says why. */
static void test_directories(void)
{
    static const struct {
        int word;
        int32_t value;
        const char *hint;
    } changes[] = {{0, 0, "is of kind 0, which"},
                   {0, -1, "is of kind -1, which"},
                   {0, 99, "is of kind 99, which"},
                   {1, 0, "element is 0, not "},
                   {1, 5, "element is 5, not "},
                   {2, INT_MAX, "elements go beyond the file's"},
                   {2, -1, "elements go beyond the file's"},
                   {3, 1, "elements go beyond the file's"},
                   {3, 0x20000000, "elements go beyond the file's"}, /* 2^61, times 8 is 0 */
                   {3, -1, "elements go beyond the file's"},
                   {4, 0, "begins at byte 0, not at "},
                   {4, 1024, "begins at byte 1024, not at "},
                   {4, INT_MAX, "begins at byte 2147483647, not at "},
                   {5, -1, "begins at byte 18446744"}};
    const char *train = "train --model encoder.bin --train_file forged.data --output_dir out";
    int count = 0;
    for (int task = 0; task < BERT_NUM_TASKS; task++) {
        Image im = task_image(task ? task : BERT_CLASSIFICATION, !task), other;
        const int sections = get_word(&im, 20);
        for (int i = 0; i < sections; i++) {
            const int at = 256 + 6 * i;
            for (size_t k = 0; k < sizeof changes / sizeof changes[0]; k++, count++) {
                other = copy_of(&im);
                set_word(&other, at + changes[k].word, changes[k].value);
                write_data("forged.data", other);
                expect_error(train, "forged.data", changes[k].hint);
            }
            other = copy_of(&im); /* one byte on: neither in its place nor aligned */
            set_word(&other, at + 4, get_word(&im, at + 4) + 1);
            write_data("forged.data", other);
            expect_error(train, "forged.data", "behind the one before it");
            other = copy_of(&im); /* over the one before it, or its own bytes twice */
            memcpy(other.data + 4 * at, other.data + 4 * (i ? at - 6 : at + 6), 24);
            write_data("forged.data", other);
            expect_error(train, "forged.data", i ? "is there twice" : "begins at byte");
            other = copy_of(&im); /* one element fewer */
            set_word(&other, at + 2, get_word(&im, at + 2) - 1);
            write_data("forged.data", other);
            expect_error(train, "forged.data", "section ");
            write_data("forged.data", without(&im, i));
            expect_error(train, "forged.data", "has no section ");
            count += 4;
        }
        release(0);
    }
    done("data files: %d forged directories", count);
}

static void test_fuzzed_data(void)
{
    enum { ROUNDS = 2500 };
    Image data = class_image(EXAMPLES, 1, label_names, IP), im = image(1);
    int fine = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int model = i % 5 == 0, code;
        write_data("forged.data", mutated(model ? &im : &data));
        code = call(model        ? "eval --model forged.data --eval_file data.bin"
                    : i % 5 == 1 ? "predict --model model.bin --predict_file forged.data"
                                 : "eval --model model.bin --eval_file forged.data");
        expect(code == 0 || (code == 1 && strstr(output, "data")), "%d: '%.200s'", code, output);
        fine += code == 0;
    }
    done("%d mutated files through the driver: no crash (%d still work)", ROUNDS, fine);
}

int main(void)
{
    static void (*const tests[])(void) = {make_files,       test_pairs,    test_masks,
                                          test_bad_tasks,   test_bad_data, test_directories,
                                          test_fuzzed_data, leave_folder};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) tests[i](), release(0);
    return finish();
}
