/*
metrics.h - what is counted and measured: arrays in, numbers out. Each number is the one of the
library that people compare with (dev/check/metrics.py); SQuAD's are in squad.h.
*/
#ifndef METRICS_H
#define METRICS_H

#include "report.h"

/* How often a label (or entities of a type) is true, is predicted, and is both. */
typedef struct {
    double truth, predicted, both;
} LabelCount;

/* Answers of one kind: how many, how many of them were right, and the sum of their losses. */
typedef struct {
    double n, right, loss;
} Tally;

/* x / y, or 0 where y is 0: scikit-learn's zero_division. */
static double ratio(double x, double y) { return y == 0 ? 0 : x / y; }

static void tally(Tally *t, int right, double loss) { t->n++, t->right += right, t->loss += loss; }

static Tally tally_sum(Tally a, Tally b)
{
    Tally sum = {a.n + b.n, a.right + b.right, a.loss + b.loss};
    return sum;
}

/* ------------------------------------------------------------------------------------------------
   Labels */

static void count_label(LabelCount *counts, int truth, int predicted)
{
    counts[truth].truth++;
    counts[predicted].predicted++;
    counts[truth].both += truth == predicted;
}

/* Multi-label: targets are 0 or 1; a logit above 0 is a probability above one half. */
static void count_labels(LabelCount *counts, const float *targets, const float *logits, int K)
{
    for (int k = 0; k < K; k++) {
        counts[k].truth += targets[k] > 0;
        counts[k].predicted += logits[k] > 0;
        counts[k].both += targets[k] > 0 && logits[k] > 0;
    }
}

static double precision(LabelCount c) { return ratio(c.both, c.predicted); }
static double recall(LabelCount c) { return ratio(c.both, c.truth); }
static double f1_score(LabelCount c) { return ratio(2 * c.both, c.truth + c.predicted); }

/* Its precision, recall and F1 are what average="micro" makes of all labels'. */
static LabelCount sum_counts(const LabelCount *counts, size_t K)
{
    LabelCount sum = {0};
    for (size_t k = 0; k < K; k++) {
        sum.truth += counts[k].truth;
        sum.predicted += counts[k].predicted;
        sum.both += counts[k].both;
    }
    return sum;
}

/* f1_score(average="macro"): a label neither true nor predicted anywhere does not count. */
static double macro_f1(const LabelCount *counts, size_t K)
{
    double f1 = 0, present = 0;
    for (size_t k = 0; k < K; k++) {
        f1 += f1_score(counts[k]);
        present += counts[k].truth + counts[k].predicted > 0;
    }
    return ratio(f1, present);
}

static double matthews_correlation(const LabelCount *counts, size_t K)
{
    double n = 0, right = 0, tp = 0, tt = 0, pp = 0; /* truth x predicted, and so on */
    for (size_t k = 0; k < K; k++) {
        LabelCount c = counts[k];
        n += c.truth, right += c.both;
        tp += c.truth * c.predicted;
        tt += c.truth * c.truth;
        pp += c.predicted * c.predicted;
    }
    return ratio(right * n - tp, sqrt(n * n - tt) * sqrt(n * n - pp));
}

/* ------------------------------------------------------------------------------------------------
   Numbers */

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

/* Ranks from 1; equal values share the mean of theirs. */
static double *ranks_of(const double *x, size_t n)
{
    Ranked *r = take(n, sizeof *r, "ranks");
    double *rank = take(n, sizeof *rank, "ranks");
    for (size_t i = 0; i < n; i++) r[i].value = x[i], r[i].at = i;
    qsort(r, n, sizeof *r, by_value);
    for (size_t i = 0, j; i < n; i = j) {
        for (j = i; j < n && r[j].value == r[i].value;) j++;
        for (size_t k = i; k < j; k++) rank[r[k].at] = (double)(i + 1 + j) / 2;
    }
    free(r);
    return rank;
}

/* scipy's spearmanr */
static double spearman(const double *x, const double *y, size_t n)
{
    double *rx = ranks_of(x, n), *ry = ranks_of(y, n), r = pearson(rx, ry, n);
    free(rx), free(ry);
    return r;
}

static double mean_squared_error(const double *x, const double *y, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++) squares += (x[i] - y[i]) * (x[i] - y[i]);
    return squares / (double)n;
}

/* ------------------------------------------------------------------------------------------------
   Entities, as seqeval's default mode finds them in BIO, IOB1 and BIOES tags */

/* A label of ner: its letter, and the type of its entities: the first label of that type. */
typedef struct {
    char letter;
    int type;
} Tag;

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
        const BertTag tag = bert_tag(names, k);
        tags[k].letter = tag.letter;
        types[k].text = tag.type, types[k].at = k;
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

#endif
