/* What the driver counts and measures (dev/driver/metrics.h, squad.h), and how it joins answers
   (found.h), against values computed by hand; dev/check/metrics.py compares the metrics with the
   libraries. */
#include "test.h"
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function" /* of a room that is included alone */
#endif
#define BERT_IMPLEMENTATION
#include "../../bert.h"
#include "../driver/found.h"

#include "files.h"

static void expect_number(const char *what, double got, double want)
{
    expect(fabs(got - want) < 1e-12 || (isnan(got) && isnan(want)), "%s is %.17g, not %.17g", what,
           got, want);
}

static void test_labels(void)
{
    static const int truth[] = {0, 0, 1, 1, 1, 2}, predicted[] = {0, 1, 1, 1, 0, 2};
    LabelCount counts[4] = {{0}}, none[2] = {{0}};
    for (int i = 0; i < 6; i++) count_label(counts, truth[i], predicted[i]);
    expect_number("precision", precision(counts[1]), 2 / 3.);
    expect_number("recall", recall(counts[0]), 1 / 2.);
    expect_number("F1", f1_score(counts[2]), 1);
    expect_number("accuracy", recall(sum_counts(counts, 4)), 4 / 6.);
    expect_number("macro F1", macro_f1(counts, 4), 13 / 18.); /* label 3 is neither */
    expect_number("MCC", matthews_correlation(counts, 4), 10 / 22.);
    expect_number("F1 of nothing", macro_f1(none, 2), 0);
    expect_number("MCC of nothing", matthews_correlation(none, 2), 0);
    done("metrics: precision, recall, F1, macro F1, MCC of 6 labels");

    static const float targets[] = {1, 0, 1, 0, 0, 1}, logits[] = {0.1f, 2, -1, 0, -0.1f, 9};
    LabelCount sets[3] = {{0}};
    count_labels(sets, targets, logits, 3), count_labels(sets, targets + 3, logits + 3, 3);
    const LabelCount sum = sum_counts(sets, 3);
    expect(sum.truth == 3 && sum.predicted == 3 && sum.both == 2, "%g true, %g predicted, %g both",
           sum.truth, sum.predicted, sum.both);
    expect(sets[1].predicted == 1 && sets[1].both == 0 && sets[2].truth == 2, "of the labels");
    done("metrics: multi-label counts; a logit of 0 is no label");
}

static void test_numbers(void)
{
    static const double x[] = {1, 2, 3, 4, 5}, y[] = {2, 1, 4, 4, 10}, same[] = {7, 7, 7, 7, 7};
    double *r = ranks_of(y, 5);
    expect(r[0] == 2 && r[1] == 1 && r[2] == 3.5 && r[3] == 3.5 && r[4] == 5, "ranks %g %g %g %g",
           r[0], r[1], r[2], r[3]);
    free(r);
    /* deviations -2 .. 2 and -2.2 -3.2 -0.2 -0.2 5.8; of the ranks -1 -2 0.5 0.5 2 */
    expect_number("Pearson", pearson(x, y, 5), 19 / sqrt(10 * 48.8));
    expect_number("Spearman", spearman(x, y, 5), 8.5 / sqrt(10 * 9.5));
    expect_number("MSE", mean_squared_error(x, y, 5), (1 + 1 + 1 + 0 + 25) / 5.);
    expect_number("Pearson of a constant", pearson(x, same, 5), NAN);
    expect_number("Spearman of a constant", spearman(same, y, 5), NAN);
    expect_number("of itself", pearson(y, y, 5), 1);
    done("metrics: Pearson, Spearman with ties, MSE");
}

static void test_entities(void)
{
    static const char *const names[] = {"O", "B-LOC", "I-LOC", "B-PER", "I-PER", "S"};
    enum { O, BL, IL, BP, IP, S, K };
    /* entities: LOC 0-1, PER 3-3, PER 4-6, PER 7-7: what is no word (-1) is passed over */
    static const int truth[] = {BL, IL, O, IP, BP, -1, IP, BP};
    static const int predicted[] = {BL, IL, O, IL, BP, BL, IP, IP};
    char bytes[64] = "";
    uint64_t offsets[K + 1] = {0};
    const BertStrings labels = {K, offsets, bytes};
    LabelCount counts[K] = {{0}};
    Tally words = {0};
    for (int k = 0; k < K; k++) strcat(bytes, names[k]), offsets[k + 1] = strlen(bytes);
    Tag *tags = tags_of(&labels);
    expect(tags[BL].type == BL && tags[IL].type == BL && tags[IP].type == BP && tags[S].type == O &&
               tags[S].letter == 'S' && tags[IP].letter == 'I',
           "the tags");
    count_entities(counts, tags, truth, predicted, 8);
    free(tags);
    expect(counts[BL].truth == 1 && counts[BL].predicted == 2 && counts[BL].both == 1, "LOC: %g %g",
           counts[BL].predicted, counts[BL].both);
    expect(counts[BP].truth == 3 && counts[BP].predicted == 1 && counts[BP].both == 0, "PER: %g %g",
           counts[BP].predicted, counts[BP].both);
    for (int t = 0; t < 8; t++)
        if (truth[t] >= 0) tally(&words, truth[t] == predicted[t], 0.5);
    const Tally twice = tally_sum(words, words);
    expect(words.n == 7 && words.right == 5 && twice.n == 14 && twice.loss == 7, "%g of %g words",
           words.right, words.n);
    const Tag first[] = {{'B', 0}, {'O', -1}}; /* a type may be the first label */
    const int32_t is[] = {0, 1, 0, 1, -1};
    const int was[] = {0, 0, 1, 0};
    memset(counts, 0, sizeof counts);
    count_entities(counts, first, is, was, 4);
    expect(counts[0].truth == 2 && counts[0].predicted == 3 && counts[0].both == 1, "%g, %g, %g",
           counts[0].truth, counts[0].predicted, counts[0].both);
    done("metrics: entities by type");
}

static SquadScore score(const BertTokenizer *t, const char *text, const char *a, const char *b,
                        int v2)
{
    char golds[64];
    const uint64_t offsets[] = {0, strlen(a), strlen(a) + strlen(b)};
    snprintf(golds, sizeof golds, "%s%s", a, b);
    BertStrings strings = {2, (uint64_t *)(uintptr_t)offsets, golds};
    return squad_score(t, text_of(text), &strings, 0, 2, v2);
}

static void test_squad(void)
{
    static const BertTokenizer ascii = {0}; /* no table beyond it */
    static const struct {
        const char *text, *a, *b;
        int v2;
        double exact, f1;
    } rows[] = {{"The  Cat!", "a cat", "dog", 0, 1, 1},
                {"cat cat dog", "dog cat", "x", 0, 0, 4 / 5.},
                {"cat", "cat dog bird", "cat dog", 0, 0, 2 / 3.},
                {"the-end", "end", "", 0, 0, 0}, /* the dash goes, and leaves one word */
                {"9a", "9", "", 0, 0, 0},        /* no article */
                {"", "the", "", 0, 1, 0},
                {"", "the", "", 1, 1, 1},
                {"cat", "the", "", 1, 0, 0},
                {"", "cat", "the", 1, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const SquadScore s = score(&ascii, rows[i].text, rows[i].a, rows[i].b, rows[i].v2);
        expect(s.exact == rows[i].exact && fabs(s.f1 - rows[i].f1) < 1e-12,
               "row %zu: exact %g, F1 %g", i, s.exact, s.f1);
    }
    done("metrics: exact match and F1 of answers, v1.1 and v2.0");

    /* What Python's str.lower and \w make of letters beyond ASCII: an a beside one is no article */
    static const struct {
        const char *text, *gold;
        double exact;
    } letters[] = {{"LE TH\xc3\x89", "le th\xc3\xa9", 1},
                   {"a\xc3\xa9", "\xc3\xa9", 0},
                   {"a\xc2\xb2", "\xc2\xb2", 0},
                   {"a\xc2\xb3", "\xc2\xb3", 0},
                   {"a\xc2\xb9", "\xc2\xb9", 0},
                   {"a\xc2\xbc", "\xc2\xbc", 0},
                   {"a\xc2\xbe", "\xc2\xbe", 0},
                   {"a\xc2\xbf", "\xc2\xbf", 1},
                   {"a\xc2\xb1", "\xc2\xb1", 1},
                   {"a\xc2\xb4", "\xc2\xb4", 1},
                   {"a\xcc\x81 b", "\xcc\x81 b", 1},
                   {"a\xe2\x80\xa6", "\xe2\x80\xa6", 1},
                   {"\xce\x9f\xce\xa3", "\xce\xbf\xcf\x82", 1}};
    Bert m = {0};
    size_t size;
    unsigned char *file = read_file("dev/fixtures/tokenizer.bin", &size);
    int32_t bytes; /* of the model in it */
    memcpy(&bytes, file, 4);
    if (bert_load_memory(&m, file + 8, (size_t)bytes)) exit(2);
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
        expect(score(&m.tokenizer, letters[i].text, letters[i].gold, "", 1).exact ==
                   letters[i].exact,
               "'%s' is '%s'? expected %g", letters[i].text, letters[i].gold, letters[i].exact);
    bert_free(&m);
    done("metrics: answers of letters beyond ASCII");
}

static void test_found(void)
{
    static const BertTokenizer ascii = {0};
    const BertText text = {"Cat cat dog CAT", 15};
    const BertAnswer spans[] = {{0, 0, 0, 3, 0.125},    {0, 0, 8, 11, 0.25}, {0, 0, 4, 7, 0.125},
                                {0, 0, 12, 15, 0.0625}, {0, 0, 0, 7, 0.25},  {0, 0, 0, 0, 0.03}};
    BertAnswer best[9];
    Found f = {0};
    for (int again = 0; again < 2; again++) {
        found_clear(&f);
        for (int i = 0; i < 6; i++) found_add(&f, &ascii, text, spans[i]);
        expect(f.n == 4, "%zu answers", f.n);
        int n = found_best(&f, best, 3);
        expect(n == 3 && best[0].score == 0.3125 && best[0].end == 3 && best[1].start == 8 &&
                   best[2].end == 7,
               "%d answers, the best %d to %d with %g", n, best[0].start, best[0].end,
               best[0].score);
    }
    enum { MANY = 1000 };
    char letters[MANY];
    BertAnswer span = {0, 0, 0, 0, 1};
    const BertText long_text = {letters, MANY};
    memset(letters, 'x', MANY);
    found_clear(&f);
    for (span.end = 1; span.end <= MANY; span.end++) found_add(&f, &ascii, long_text, span);
    span.end = 500;
    found_add(&f, &ascii, long_text, span);
    expect(f.n == MANY && found_best(&f, best, 1) == 1 && best[0].end == 500 && best[0].score == 2,
           "%zu answers, the best of %d", f.n, best[0].end);
    for (int i = 0; i < MANY; i++)
        letters[i] = (char)(i % 2 ? '0' + i / 2 % 10 : 'a' + i / 20 % 26);
    found_clear(&f); /* words of one length, of which some come to one slot */
    for (span.start = 0; span.start < 512; span.start += 2)
        span.end = span.start + 4, found_add(&f, &ascii, long_text, span);
    expect(f.n == 256, "%zu answers of 4 letters", f.n);
    found_clear(&f), found_clear(&f); /* the second time its table is given back */
    expect(f.n == 0 && !f.num_slots, "%zu slots", f.num_slots);
    found_free(&f);
    done("answers of the same words are one, whatever their case");
}

int main(void)
{
    test_found();
    test_labels();
    test_numbers();
    test_entities();
    test_squad();
    return finish();
}
