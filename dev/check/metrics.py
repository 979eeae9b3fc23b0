#!/usr/bin/env python3
"""The driver's metrics against scipy, scikit-learn, seqeval and the official SQuAD scripts.

    /path/to/venv/bin/python dev/check/metrics.py --model model.bin   # for its Unicode table

Compiles dev/driver/metrics.h and squad.h into a shared library and calls their functions on random
and on hand-made nasty cases; every number has to agree to 1e-12. The SQuAD reference is what the
official evaluate-v1.1.py and evaluate-v2.0.py do, written down again below.
"""
import argparse
import collections
import ctypes
import os
import random
import re
import string
import sys
import tempfile
import unicodedata
import warnings

import numpy as np
from scipy import stats
from seqeval import metrics as seqeval
from sklearn import metrics as sklearn

from common import ROOT, check, finish, run, write

SHIM = r"""
#define _POSIX_C_SOURCE 200809L
#define BERT_IMPLEMENTATION
#include "bert.h"
#include "dev/driver/squad.h"
static Bert model;
int shim_model(const char *path) { return bert_load(&model, path); }
/* out: accuracy, macro F1, F1 of the second label, MCC */
void shim_labels(double *out, int *truth, int *predicted, size_t n, int K)
{
    LabelCount *counts = calloc((size_t)K, sizeof *counts);
    for (size_t i = 0; i < n; i++) count_label(counts, truth[i], predicted[i]);
    out[0] = recall(sum_counts(counts, (size_t)K)), out[1] = macro_f1(counts, (size_t)K);
    out[2] = f1_score(counts[1]), out[3] = matthews_correlation(counts, (size_t)K);
    free(counts);
}
static void micro(double *out, const LabelCount *counts, int K)
{
    const LabelCount sum = sum_counts(counts, (size_t)K);
    out[0] = f1_score(sum), out[1] = precision(sum), out[2] = recall(sum);
}
/* truth: 0 or 1 (n,K); out: f1, precision, recall */
void shim_label_sets(double *out, float *truth, float *logits, size_t n, int K)
{
    LabelCount *counts = calloc((size_t)K, sizeof *counts);
    for (size_t i = 0; i < n; i++)
        count_labels(counts, truth + i * (size_t)K, logits + i * (size_t)K, K);
    micro(out, counts, K);
    free(counts);
}
void shim_numbers(double *out, double *x, double *y, size_t n)
{
    out[0] = pearson(x, y, n), out[1] = spearman(x, y, n), out[2] = mean_squared_error(x, y, n);
}
/* out: f1, precision, recall, accuracy; then the counts of each label's type, at its first label */
void shim_ner(double *out, int *truth, int *predicted, uint64_t *offsets, size_t n, uint64_t *names,
              char *bytes, int K)
{
    const BertStrings strings = {(size_t)K, names, bytes};
    LabelCount *counts = calloc((size_t)K, sizeof *counts);
    Tag *tags = tags_of(&strings);
    Tally words = {0};
    for (size_t t = 0; t < offsets[n]; t++) tally(&words, truth[t] == predicted[t], 0);
    for (size_t i = 0; i < n; i++)
        count_entities(counts, tags, truth + offsets[i], predicted + offsets[i],
                       offsets[i + 1] - offsets[i]);
    micro(out, counts, K);
    out[3] = ratio(words.right, words.n);
    memcpy(out + 4, counts, (size_t)K * sizeof *counts);
    free(counts), free(tags);
}
void shim_squad(double *out, const char *text, size_t n, uint64_t *offsets, char *golds,
                size_t count, int v2)
{
    BertStrings s = {count, offsets, golds};
    BertText answer = {text, n};
    SquadScore score = squad_score(&model.tokenizer, answer, &s, 0, count, v2);
    out[0] = score.exact, out[1] = score.f1;
}
int shim_space(uint32_t c) { return is_space(c); }
int shim_alnum(uint32_t c) { return is_alnum(&model.tokenizer, c); }
int shim_lower(uint32_t *out, uint32_t c) { return lower_case(&model.tokenizer, out, 0, c, 0); }
"""

def build(folder):
    source, library = write(folder + "/shim.c", SHIM), folder + "/shim.so"
    run(os.environ.get("CC", "cc"), "-std=c99", "-O1", "-w", "-fPIC", "-shared", "-I" + ROOT,
        source, "-o", library, "-lm")
    return ctypes.CDLL(library)


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def same(got, want):
    return np.allclose(got, want, rtol=1e-12, atol=1e-12, equal_nan=True)


def check_all(name, cases, compute):
    """compute(case) -> (got, want); one line for all cases"""
    bad = ""
    for n, case in enumerate(cases, 1):
        got, want = compute(case)
        if not bad and not same(got, want):
            bad = "%r: %s, not %s" % (case if len(repr(case)) < 300 else n, list(got), list(want))
    check("%s: %d cases" % (name, n), not bad, bad)


# ------------------------------------------------------------------------- labels and numbers

def label_cases(rng):
    for _ in range(300):
        K, n = rng.randint(2, 9), rng.randint(1, 60)
        some = rng.sample(range(K), rng.randint(1, K))  # other labels are absent
        yield K, [rng.choice(some) for _ in range(n)], [rng.choice(range(K)) for _ in range(n)]
        yield K, [rng.choice(some) for _ in range(n)], [some[0]] * n  # constant predictions
    yield 2, [0, 0], [0, 0]
    yield 2, [0, 0], [1, 1]
    yield 2, [1], [1]
    yield 3, [2, 2, 2], [0, 1, 0]


def check_labels(lib, rng):
    def run(case):
        K, truth, predicted = case
        out = np.zeros(8)
        lib.shim_labels(pointer(out), pointer(np.array(truth, np.int32)),
                        pointer(np.array(predicted, np.int32)), ctypes.c_size_t(len(truth)), K)
        binary = sklearn.f1_score(truth, predicted) if K == 2 else out[2]
        return out[:4], [sklearn.accuracy_score(truth, predicted),
                         sklearn.f1_score(truth, predicted, average="macro"), binary,
                         sklearn.matthews_corrcoef(truth, predicted)]
    check_all("accuracy, macro and binary F1, MCC as scikit-learn", label_cases(rng), run)

    def multi(_):
        K, n = rng.randint(1, 7), rng.randint(1, 40)
        share = rng.choice([0, 0.1, 0.5, 1])
        truth = np.array([[rng.random() < share for _ in range(K)] for _ in range(n)], np.int32)
        predicted = np.array([[rng.random() < 0.4 * (share > 0) for _ in range(K)]
                              for _ in range(n)], np.int32)
        out = np.zeros(3)
        lib.shim_label_sets(pointer(out), pointer(truth.astype(np.float32)),
                            pointer((predicted - 0.5).astype(np.float32)), ctypes.c_size_t(n), K)
        how = dict(average="micro") if K > 1 else {}
        a, b = (truth, predicted) if K > 1 else (truth[:, 0], predicted[:, 0])
        return out, [f(a, b, zero_division=0, **how) for f in (
            sklearn.f1_score, sklearn.precision_score, sklearn.recall_score)]
    check_all("multi-label micro F1, precision, recall as scikit-learn", range(300), multi)


def number_cases(rng):
    for _ in range(300):
        n = rng.randint(2, 80)
        x = [rng.gauss(0, 1) for _ in range(n)]
        yield x, [a + rng.gauss(0, 1) for a in x]
        yield ([rng.randint(0, 3) for _ in range(n)],  # ties
               [rng.randint(0, 5) / 5 for _ in range(n)])
        yield [1e6 + a for a in x], [-a for a in x]
    yield [1, 1, 1], [1, 2, 3]
    yield [3, 2, 1], [0, 0, 0]
    yield [1, 2], [5, 7]
    yield [0.1] * 5, [1, 2, 3, 4, 5]


def check_numbers(lib, rng):
    def run(case):
        x, y = (np.array(v, np.float64) for v in case)
        out = np.zeros(8)
        want = [stats.pearsonr(x, y)[0], stats.spearmanr(x, y)[0], sklearn.mean_squared_error(x, y)]
        lib.shim_numbers(pointer(out), pointer(x), pointer(y), ctypes.c_size_t(len(x)))
        if abs(np.mean(x)) > 1e5:  # scipy's own rounding there: 1e6 has ten digits left
            out[0] = round(out[0], 9)
            want[0] = round(want[0], 9)
        return out[:3], want
    check_all("Pearson, Spearman, MSE as scipy and scikit-learn", number_cases(rng), run)


# ------------------------------------------------------------------------------------ entities

def tag_cases(rng):
    sets = {"BIO": "BI", "IOB1": "BI", "IOBES": "BIES", "ES alone": "ES", "I alone": "I"}
    for letters in sets.values():
        for _ in range(200):
            types = rng.sample(["PER", "LOC", "ORG", "X-Y", "B", "O"], rng.randint(1, 4))
            tags = ["O"] + [a + "-" + t for a in letters for t in types]
            share = rng.choice([0, 0.5, 1])
            sentences = [[rng.choice(tags) if rng.random() < 0.7 else "O"
                          for _ in range(rng.randint(1, 12))] for _ in range(rng.randint(1, 6))]
            yield tags, sentences, [[t if rng.random() < share else rng.choice(tags) for t in s]
                                    for s in sentences]
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    yield tags, [["O", "O"]], [["O", "O"]]
    yield tags, [["O", "O"]], [["I-PER", "I-LOC"]]
    yield tags, [["B-PER", "I-PER"]], [["O", "O"]]
    yield tags, [["I-PER"], ["I-PER"]], [["I-PER"], ["B-PER"]]  # neighbours in two sentences
    yield tags, [["B-PER", "I-LOC", "I-PER", "B-PER"]], [["B-PER", "I-PER", "I-PER", "I-PER"]]
    yield ["O", "B", "I", "E", "S"], [["B", "I", "E", "S", "I"]], [["I", "I", "E", "O", "I"]]


def check_entities(lib, rng):
    def run(case):
        tags, truth, predicted = case
        index = {t: i for i, t in enumerate(tags)}
        flat = [np.array([index[t] for s in x for t in s], np.int32) for x in (truth, predicted)]
        offsets = np.cumsum([0] + [len(s) for s in truth]).astype(np.uint64)
        names = np.cumsum([0] + [len(t) for t in tags]).astype(np.uint64)
        out = np.zeros(4 + 3 * len(tags))
        lib.shim_ner(pointer(out), pointer(flat[0]), pointer(flat[1]), pointer(offsets),
                     ctypes.c_size_t(len(truth)), pointer(names), "".join(tags).encode(), len(tags))
        report = seqeval.classification_report(truth, predicted, output_dict=True, zero_division=0)
        want = [seqeval.f1_score(truth, predicted), seqeval.precision_score(truth, predicted),
                seqeval.recall_score(truth, predicted), seqeval.accuracy_score(truth, predicted)]
        got = list(out[:4])
        found = {}
        for t, tag in enumerate(tags):
            true, guessed, both = out[4 + 3 * t:7 + 3 * t]
            if true + guessed:
                found[tag[1:].split("-", 1)[-1] or "_"] = (true, guessed, both)
        for name in sorted(set(found) | {k for k in report if not k.endswith(" avg")}):
            true, guessed, both = found.get(name, (-1, -1, -1))
            row = report.get(name, {"precision": -1, "recall": -1, "f1-score": -1, "support": -1})
            got += [both / guessed if guessed else 0, both / true if true else 0,
                    2 * both / (true + guessed), true]
            want += [row["precision"], row["recall"], row["f1-score"], row["support"]]
        return got, want
    check_all("entities by type and micro, token accuracy as seqeval", tag_cases(rng), run)


# --------------------------------------------------------------------------------------- SQuAD

def normalize(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(text, gold, v2):
    a, b = normalize(text).split(), normalize(gold).split()
    if v2 and (not a or not b):
        return float(a == b)
    common = sum((collections.Counter(a) & collections.Counter(b)).values())
    if not common:
        return 0.0
    return 2 * (common / len(a)) * (common / len(b)) / (common / len(a) + common / len(b))


def squad(text, golds, v2):
    if v2:
        golds = [g for g in golds if normalize(g)] or [""]
    exact = max(float(normalize(text) == normalize(g)) for g in golds)
    return exact, max(f1(text, g, v2) for g in golds)


NASTY = ["", " ", "the", "The a AN", "a.b", "a-b", "the-end", "U.S.A.", "don't", "rock 'n' roll",
         "\u201cquoted\u201d", "en\u2013dash", "a\u2013b", "the\u2014end", "na\u00efve caf\u00e9",
         "cafe\u0301", "\u0391\u03a3", "\u03a3\u0399\u0393\u039c\u0391\u03a3 \u03a3",
         "\u0130stanbul", "STRASSE \u00df \u1e9e", "\u4e2d\u6587\uff0c\u6587",
         "\u3000wide\u3000space\u00a0nb", "tab\tand\nline", "\x1cfs\x1d", "the the cat",
         "cat cat dog", "dog cat cat", "a", "an the", "100%", "\u20ac5 (five)", "x\u00b2",
         "\u00bd a", "_a_ b", "a_b", "\u0661\u0662 \u09ea", "\u212a \u2126",
         "\U0001f600 the \U0001f600", "\u01c5 \u01c4", "th\u00e9", "the\u0301", "\u00e1 a\u0301n",
         "zero\u200bwidth"]


def check_squad(lib, rng):
    words = ["the", "a", "An", "cat", "Cat,", "dog", "dog.", "(dog)", "\u201ecat\u201c",
             "caf\u00e9", "CAF\u00c9", "1.5", "\u2013", "\u0391\u03a3", "x"]
    letters = "aAnNtThHeE  .,-_'7\u2013\u2014\u201c\u00e9\u00c9"
    letters += "\u03a3\u03b1\u4e2d\u0301\u00b2\u3000\u00a0"

    def cases():
        for a in NASTY:
            for b in NASTY:
                yield a, [b]
        for _ in range(3000):
            yield (" ".join(rng.choices(words, k=rng.randint(0, 6))),
                   [" ".join(rng.choices(words, k=rng.randint(0, 6)))
                    for _ in range(rng.randint(1, 4))])
            yield ("".join(rng.choices(letters, k=rng.randint(0, 9))),
                   ["".join(rng.choices(letters, k=rng.randint(0, 9)))
                    for _ in range(rng.randint(1, 3))])

    def run(case):
        text, golds = case
        got, want = [], []
        coded = [g.encode() for g in golds]
        offsets = np.cumsum([0] + [len(g) for g in coded]).astype(np.uint64)
        for v2 in 0, 1:
            out = np.zeros(2)
            lib.shim_squad(pointer(out), text.encode(), ctypes.c_size_t(len(text.encode())),
                           pointer(offsets), b"".join(coded), ctypes.c_size_t(len(golds)), v2)
            got += list(out)
            want += squad(text, golds, v2)
        return got, want
    check_all("SQuAD v1.1 and v2.0 exact match and F1", cases(), run)

    out, bad = np.zeros(4, np.uint32), {"lower": [], "space": [], "alnum": []}
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or unicodedata.category(chr(c)) == "Cn":
            continue
        n = lib.shim_lower(pointer(out), c)
        if "".join(map(chr, out[:n])) != chr(c).lower():
            bad["lower"].append(c)
        if bool(lib.shim_space(c)) != chr(c).isspace():
            bad["space"].append(c)
        if bool(lib.shim_alnum(c)) != bool(re.match(r"\w", chr(c))) and c != ord("_"):
            bad["alnum"].append(c)
    print("      of all code points, differing: " + ", ".join(
        "%s %d" % (k, len(v)) for k, v in bad.items()))
    for what, key in ("str.lower", "lower"), ("white space", "space"):
        check(what + " of every code point", not bad[key], [hex(c) for c in bad[key][:9]])
    rest = {unicodedata.category(chr(c)) for c in bad["alnum"]}
    check("letters and numbers, but for categories that the table does not tell apart",
          rest <= {"Mn", "Mc", "Me", "No", "Nl", "So", "Cf"},
          {r: [hex(c) for c in bad["alnum"] if unicodedata.category(chr(c)) == r][:5]
           for r in rest})


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--model", required=True, help="a model.bin, for its Unicode table")
    args = ap.parse_args()
    warnings.simplefilter("ignore")
    rng = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        lib = build(folder)
        assert lib.shim_model(args.model.encode()) == 0, args.model
        check_labels(lib, rng)
        check_numbers(lib, rng)
        check_entities(lib, rng)
        check_squad(lib, rng)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
