/*
metrics.h - metrics, each equal to the library's that people compare with (dev/check/metrics.py)
*/
#ifndef METRICS_H
#define METRICS_H

#include "report.h"

/* A line of standard input. */
typedef struct Line {
    BertText text; /* that answers are part of: qa: the context */
    BertText id;   /* of the JSON object, or empty */
    int end;       /* its last sequence, and one: qa has windows, the others one sequence */
} Line;

enum { MAX_METRICS = 8, MOST_COLUMNS = 20 };

/* An answer to a question of standard input. */
typedef struct {
    BertAnswer span;
    BertText text;
} Found;

/* What counting metrics are made of: how often a label (or entities of a type) is true, is
   predicted, and is both. */
typedef struct {
    double truth, predicted, both;
} LabelCount;

/* A label of ner: its letter, and the type of its entities: the first label of that type. */
typedef struct {
    char letter;
    int type;
} Tag;

typedef struct {
    double loss;        /* the mean */
    LabelCount *counts; /* (K): of each label; ner: of each type, at the first label that has it */
    size_t confusion[MOST_COLUMNS][MOST_COLUMNS]; /* true label, predicted one */
    Tag *tags;                                    /* ner (K) */
    double *values;                               /* regression (n) */
    BertAnswers answers; /* qa: of the question that windows are being read of */
    int question;        /* qa: whose strings begin at golds[strings] */
    size_t strings;
    Found *found; /* qa, text: its answers so far */
    size_t num_found, found_room;
    size_t *slots, num_slots; /* answer i, as i + 1, at the hash of its words, or behind it */
    double sums[3][3]; /* ner: right words, words; qa: has no answer, has: F1, exact, count; right,
                          loss, n: of masks, of pairs whose b follows, of other documents' */
    int num_metrics;
    struct {
        const char *name;
        double value;
    } metrics[MAX_METRICS]; /* best.bin goes by the first one: higher is better */
} Evaluation;

static void add_metric(Evaluation *e, const char *name, double value)
{
    e->metrics[e->num_metrics].name = name;
    e->metrics[e->num_metrics++].value = value;
}

/* x / y, or 0 where y is 0: scikit-learn's zero_division. */
static double ratio(double x, double y) { return y == 0 ? 0 : x / y; }

static double f1_score(LabelCount c) { return ratio(2 * c.both, c.truth + c.predicted); }

static void micro_metrics(Evaluation *e, size_t K)
{
    LabelCount sum = {0};
    for (size_t k = 0; k < K; k++) {
        sum.truth += e->counts[k].truth;
        sum.predicted += e->counts[k].predicted;
        sum.both += e->counts[k].both;
    }
    add_metric(e, "f1", f1_score(sum));
    add_metric(e, "precision", ratio(sum.both, sum.predicted));
    add_metric(e, "recall", ratio(sum.both, sum.truth));
}

/* scikit-learn's accuracy_score, f1_score(average="macro"), f1_score (of the second of two labels)
   and matthews_corrcoef. macro: a label neither true nor predicted anywhere does not count. */
static void class_metrics(Evaluation *e, size_t K)
{
    double n = 0, right = 0, f1 = 0, present = 0, tp = 0, tt = 0, pp = 0;
    for (size_t k = 0; k < K; k++) {
        LabelCount c = e->counts[k];
        n += c.truth;
        right += c.both;
        f1 += f1_score(c);
        present += c.truth + c.predicted > 0;
        tp += c.truth * c.predicted;
        tt += c.truth * c.truth;
        pp += c.predicted * c.predicted;
    }
    add_metric(e, "accuracy", ratio(right, n));
    add_metric(e, "macro_f1", ratio(f1, present));
    if (K == 2) add_metric(e, "f1", f1_score(e->counts[1]));
    add_metric(e, "matthews_correlation",
               ratio(right * n - tp, sqrt(n * n - tt) * sqrt(n * n - pp)));
}

/* scipy's pearsonr; NaN where x or y is constant, as there. */
static double pearson(const double *x, const double *y, size_t n)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    int constant_x = 1, constant_y = 1;
    for (size_t i = 0; i < n; i++) mx += x[i] / (double)n, my += y[i] / (double)n;
    for (size_t i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
        constant_x &= x[i] == x[0], constant_y &= y[i] == y[0];
    }
    if (n < 2 || constant_x || constant_y) return NAN;
    return fmax(-1, fmin(1, xy / (sqrt(xx) * sqrt(yy))));
}

typedef struct {
    double value;
    size_t at;
} Ranked;

static int by_value(const void *a, const void *b)
{
    double x = ((const Ranked *)a)->value, y = ((const Ranked *)b)->value;
    return (x > y) - (x < y);
}

/* Ranks from 1 in place of values; equal values share the mean of theirs. */
static void rank(double *x, size_t n)
{
    Ranked *r = take(n, sizeof *r, "ranks");
    for (size_t i = 0; i < n; i++) r[i].value = x[i], r[i].at = i;
    qsort(r, n, sizeof *r, by_value);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && r[j].value == r[i].value;) j++;
        for (size_t k = i; k < j; k++) x[r[k].at] = (double)(i + 1 + j) / 2;
    }
    free(r);
}

/* Pearson, MSE and, as x and y turn into their ranks, scipy's spearmanr. */
static void regression_metrics(Evaluation *e, double *x, double *y, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (x[i] - y[i]) * (x[i] - y[i]);
    add_metric(e, "pearson", pearson(x, y, n));
    rank(x, n), rank(y, n);
    add_metric(e, "spearmanr", pearson(x, y, n));
    add_metric(e, "mse", squares / (double)n);
}

/* -- entities, as seqeval's default mode finds them in BIO, IOB1 and BIOES tags -- */

/* seqeval splits B-LOC at the first dash behind the letter; a tag without one has type _. */
static BertText tag_type(const BertStrings *names, int k)
{
    BertText name = bert_string(names, (size_t)k), type = {"_", 1};
    const char *dash = name.size > 1 ? memchr(name.bytes + 1, '-', name.size - 1) : NULL;
    const char *from = dash ? dash + 1 : name.bytes + 1;
    if (from < name.bytes + name.size)
        type.bytes = from, type.size = (size_t)(name.bytes + name.size - from);
    return type;
}

typedef struct {
    BertText text;
    int at;
} Placed;

static int by_text(const void *a, const void *b)
{
    const Placed *x = a, *y = b;
    int order = memcmp(x->text.bytes, y->text.bytes, zmin(x->text.size, y->text.size));
    if (!order) order = (x->text.size > y->text.size) - (x->text.size < y->text.size);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static Tag *tags_of(const BertStrings *names)
{
    const int K = (int)names->count;
    Tag *tags = take(names->count, sizeof *tags, "tags");
    Placed *types = take(names->count, sizeof *types, "tags"); /* equal ones side by side */
    for (int k = 0; k < K; k++) {
        BertText name = bert_string(names, (size_t)k);
        tags[k].letter = name.size ? name.bytes[0] : 'O';
        types[k].text = tag_type(names, k), types[k].at = k;
    }
    qsort(types, names->count, sizeof *types, by_text);
    for (int k = 0, first = 0; k < K; k++) {
        if (!same_text(types[k].text, types[first].text)) first = k;
        tags[types[k].at].type = types[first].at;
    }
    free(types);
    return tags;
}

/* Does an entity end before the second tag, does one start with it? A stray I- or E- opens one. */
static int entity_ends(Tag before, Tag tag)
{
    return is_one_of(before.letter, "ES") ||
           (is_one_of(before.letter, "BI") && is_one_of(tag.letter, "BSO")) ||
           (!is_one_of(before.letter, "O.") && before.type != tag.type);
}

static int entity_starts(Tag before, Tag tag)
{
    return is_one_of(tag.letter, "BS") ||
           (is_one_of(before.letter, "ESO") && is_one_of(tag.letter, "EI")) ||
           (!is_one_of(tag.letter, "O.") && before.type != tag.type);
}

/* Counts a sentence's entities by type; a token whose true label is below 0 is no word. */
static void count_entities(LabelCount *counts, const Tag *tags, const int32_t *truth,
                           const int *predicted, size_t T)
{
    const Tag outside = {'O', -1};
    Tag before[2] = {outside, outside};
    size_t start[2] = {0, 0};
    for (size_t t = 0; t <= T; t++) {
        if (t < T && truth[t] < 0) continue;
        Tag now[2] = {t < T ? tags[truth[t]] : outside, t < T ? tags[predicted[t]] : outside};
        int type[2]; /* of the entity that ends here, or -1 */
        for (int p = 0; p < 2; p++) type[p] = entity_ends(before[p], now[p]) ? before[p].type : -1;
        if (type[0] >= 0) counts[type[0]].truth++;
        if (type[1] >= 0) counts[type[1]].predicted++;
        if (type[0] >= 0 && type[0] == type[1] && start[0] == start[1]) counts[type[0]].both++;
        for (int p = 0; p < 2; p++) {
            if (entity_starts(before[p], now[p])) start[p] = t;
            before[p] = now[p];
        }
    }
}

/* -- exact match and F1 of answers, as the official SQuAD scripts count them. They are Python: what
   its str knows of Unicode is taken from the tokenizer's table, which has no categories for marks
   that take space (Mc) nor for some numbers (No): beside those an article is not one here. -- */

/* Python's str.isspace beyond ASCII */
static int is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* A letter or number: part of a word, but for marks and connecting punctuation. */
static int is_alnum(const BertTokenizer *t, uint32_t c)
{
    if (c < 128) return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
    if (c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE)) return 1;
    return bert_is_alnum(t, c);
}

/* str.lower of one code point: its letters, at most 3 (Unicode has no more). Sigma is the final one
   behind a letter and before none; Python looks past marks and apostrophes there, this does not. */
static int lower_case(const BertTokenizer *t, uint32_t out[3], uint32_t before, uint32_t c,
                      uint32_t after)
{
    out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
    int n = c >= 128 ? bert_lower_case(t, c, out) : 0;
    if (c == 0x3A3 && is_alnum(t, before) && !is_alnum(t, after)) out[0] = 0x3C2;
    return n ? n : 1;
}

/* normalize_answer: lower case, no ASCII punctuation, no articles, one blank between words. out
   has room for 3n + 1; returns its length. */
static size_t normalize_answer(const BertTokenizer *t, uint32_t *out, BertText text)
{
    static const uint32_t articles[][3] = {{'a'}, {'a', 'n'}, {'t', 'h', 'e'}}; /* by length */
    size_t length = 0, kept = 0, end;
    uint32_t before = 0, c, after, lower[3];
    for (size_t at = 0, ahead; at < text.size; before = c) {
        c = bert_utf8(text.bytes, text.size, &at);
        ahead = at;
        after = at < text.size ? bert_utf8(text.bytes, text.size, &ahead) : 0;
        int m = lower_case(t, lower, before, c, after);
        for (int i = 0; i < m; i++)
            if (lower[i] >= 128 || is_alnum(t, lower[i]) || lower[i] <= ' ' || lower[i] == 127)
                out[length++] = lower[i];
    }
    /* a run of letters and numbers that is a, an or the becomes a blank; so does white space */
    for (size_t i = 0, n; i < length; i = end) {
        int word = is_alnum(t, out[i]);
        for (end = i + 1; word && end < length && is_alnum(t, out[end]);) end++;
        n = end - i;
        if (is_space(out[i]) || (n <= 3 && !memcmp(out + i, articles[n - 1], n * sizeof *out))) {
            if (kept && out[kept - 1] != ' ') out[kept++] = ' ';
        } else {
            for (size_t j = i; j < end; j++) out[kept++] = out[j];
        }
    }
    return kept && out[kept - 1] == ' ' ? kept - 1 : kept;
}

/* The words of a normalized answer in the order of their bytes; how many in n. */
static Placed *sorted_words(const uint32_t *s, size_t length, size_t *n)
{
    Placed *words = take(length / 2 + 1, sizeof *words, "the words of an answer");
    *n = 0;
    for (size_t at = 0, end; at < length; at = end + 1) {
        for (end = at; end < length && s[end] != ' ';) end++;
        words[*n].text.bytes = (const char *)(s + at);
        words[(*n)++].text.size = (end - at) * sizeof *s;
    }
    qsort(words, *n, sizeof *words, by_text);
    return words;
}

/* F1 of the words: those that both have, each as often as both have it. */
static double word_f1(const uint32_t *a, size_t a_length, const uint32_t *b, size_t b_length)
{
    size_t na, nb, shared = 0;
    Placed *x = sorted_words(a, a_length, &na), *y = sorted_words(b, b_length, &nb);
    for (size_t i = 0, j = 0; i < na && j < nb;) {
        int same = same_text(x[i].text, y[j].text), first = same || by_text(&x[i], &y[j]) < 0;
        shared += (size_t)same;
        i += (size_t)first, j += (size_t)(same || !first);
    }
    free(x), free(y);
    return ratio(2 * (double)shared, (double)(na + nb));
}

/* The highest exact match and F1 over the gold answers (first .. first+count-1 of golds). v2.0's
   script leaves out golds that are empty when normalized, takes "" where none is left, and gives F1
   1 to empty on empty; v1.1's gives it 0. */
static void squad_scores(const BertTokenizer *t, BertText text, const BertStrings *golds,
                         size_t first, size_t count, int v2, double *exact, double *f1)
{
    size_t room = text.size, used = 0;
    for (size_t i = 0; i < count; i++) room += bert_string(golds, first + i).size;
    uint32_t *answer = take(3 * room + 2, sizeof *answer, "an answer");
    uint32_t *gold = answer + 3 * text.size + 1;
    size_t na = normalize_answer(t, answer, text);
    *exact = *f1 = 0;
    for (size_t i = 0; i < count; i++) {
        size_t ng = normalize_answer(t, gold, bert_string(golds, first + i));
        if (v2 && ng == 0) continue;
        used++;
        *exact = fmax(*exact, na == ng && !memcmp(answer, gold, na * sizeof *gold));
        if (na && ng) *f1 = fmax(*f1, word_f1(answer, na, gold, ng));
    }
    if (v2 && !used) *exact = *f1 = na == 0;
    free(answer);
}

#endif
