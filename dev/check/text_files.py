#!/usr/bin/env python3
"""Text files as people have them: tokenizer.py reads them right, or refuses with what settles it.

    python3 dev/check/text_files.py                     Python's standard library only
    python3 dev/check/text_files.py --tokenizer OLD.py  another tokenizer.py, to see tests red

Files are made here, in the forms that public data sets have, with rows made up. What was read is
taken from the data file: its tokens have to be those of the expected texts, its labels the expected
ones; a file that is refused has to be so with the flag that settles it, and leave no data file.
"""
import argparse
import contextlib
import csv
import gzip
import importlib.util
import io
import json
import os
import pickle
import random
import struct
import sys
import tempfile
import zlib

from common import DEV, ROOT, finish, read_data, same, so_far

CASES = os.path.join(os.path.dirname(ROOT), "shared", "cases")


# ----------------------------------------------------------------------------- model and builder

def model_file(ours, path):
    """A model.bin whose vocabulary has every character of this file, inside of words as well."""
    with open(os.path.join(DEV, "unicode.bin.z"), "rb") as file:
        table = zlib.decompress(file.read())
    with open(__file__, encoding="utf-8") as file:
        letters = sorted(set(file.read()) - set(" \n"))
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + letters + ["##" + c for c in letters]
    strings, ends = [token.encode() for token in vocab], [0]
    for token in strings:
        ends.append(ends[-1] + len(token))
    parameters, words = 16, [0] * 256
    sections = [bytes(4 * parameters), b"", struct.pack("<%dQ" % len(ends), *ends)
                + b"".join(strings), b"", table]
    words[:10] = ours.MODEL_MAGIC, 1, len(vocab), 1, 1, 1, 1, 512, 2, 0
    words[20], words[25], words[27] = parameters, len(sections[2]), len(table)
    words[32:43] = [len(vocab), 0, 0, 1, 100, 0, 1, 2, 3, 4, 0]
    words[30] = 1024 + sum((len(s) + 7) // 8 * 8 for s in sections)
    with open(path, "wb") as file:
        file.write(struct.pack("<256i", *words) + b"".join(
            s + bytes(-len(s) % 8) for s in sections))


def read(path):
    """A data.bin with its labels by name."""
    d = read_data(path)
    d.path, d.pairs = path, [k < len(t) for k, t in zip(d.segments, d.tokens)]
    if not d.labelled:
        d.labels = None
    elif d.task == 1:
        name = d.names.__getitem__
        d.labels = [list(map(name, row)) if d.multi else name(row) for row in d.labels]
    elif d.task == 3:  # of each word that has a piece
        d.labels = [[d.names[k] for k in row if k >= 0] for row in d.labels]
    d.spelled = [text.split(" ") for text in d.texts]
    return d


class Builder:
    def __init__(self, ours, folder):
        self.ours, self.folder, self.count = ours, folder, 0
        self.path = os.path.join(folder, "model.bin")
        model_file(ours, self.path)
        self.model = ours.Model(self.path)
        ours.Model = lambda path, real=ours.Model: self.model if path == self.path else real(path)

    def file(self, name, content):
        self.count += 1
        os.makedirs("%s/%d" % (self.folder, self.count))
        path = "%s/%d/%s" % (self.folder, self.count, name)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    def run(self, task, path, *flags, model=None):
        """(the data or None, exit code, what was said)"""
        self.count += 1
        out = os.path.join(self.folder, "%d.bin" % self.count)
        said = io.StringIO()
        said.reconfigure = lambda **_: None
        sys.argv = ["tokenizer.py", task, path, out, "--model", model or self.path] + list(flags)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                self.ours.main()
                code = 0
            except SystemExit as error:
                code = 1
                said.write(str(error.code))
            except Exception as error:  # a traceback is never an answer
                code = 2
                said.write(repr(error))
        return read(out) if os.path.exists(out) else None, code, said.getvalue()

    def texts(self, what, name, content, rows, *flags, task="classification", words=()):
        """A file that is read: rows (text, label) or (text, text, label); None: to predict."""
        d, code, said = self.run(task, self.file(name, content), *flags)
        if not d:
            return same(what, said, rows)
        ids = [self.model.encode(row[0], row[1] if len(row) == 3 else None, 512, False).ids
               for row in rows]
        labels = [row[-1] for row in rows]
        if task == "regression":
            labels = [round(float(x), 5) for x in labels]
            d.labels = [round(x, 5) for x in d.labels]
        if None in labels:
            labels = None
        elif d.multi:
            place = {name: k for k, name in enumerate(d.names)}
            labels = [sorted(x, key=lambda name: place.get(name, -1)) if isinstance(x, list) else x
                      for x in labels]
        same(what, (code, d.labels, [self.show(t) for t in d.tokens], d.pairs),
             (0, labels, [self.show(t) for t in ids], [len(row) == 3 for row in rows]), said)
        for word in tuple(words) + ("read as", "first:"):
            same("%s: the report has %s" % (what, word), word in said, True, said)
        return d

    def show(self, ids):
        vocab = list(self.model.vocab)
        return " ".join(vocab[k] for k in ids).replace(" ##", "")

    def ner(self, what, name, content, sentences, *flags, words=()):
        """sentences: "word/TAG word/TAG"; a blank word is _."""
        d, code, said = self.run("ner", self.file(name, content), *flags)
        want = [[tuple(item.rsplit("/", 1)) for item in s.split()] for s in sentences]
        if not d:
            return same(what, said, want)
        got = [[word.strip("\u00a0\u3000") or "_" for word in row] for row in d.spelled]
        same(what, (code, got), (0, [[word for word, _ in s] for s in want]), said)
        tags = [[tag for word, tag in s if word != "_"] for s in want]
        same(what + ", tags", d.labels, None if "--unlabelled" in flags else tags, said)
        for word in tuple(words) + ("read as", "first:"):
            same("%s: the report has %s" % (what, word), word in said, True, said)
        return d

    def refused(self, what, task, name, content, words, *flags, model=None):
        path = self.file(name, content) if content is not None else name
        d, code, said = self.run(task, path, *flags, model=model)
        same("%s: refused, with %s" % (what, ", ".join(words)),
             (code, d is None, [w for w in words if w not in said]), (1, True, []), said)


def tsv(*rows):
    return "".join("\t".join(row) + "\n" for row in rows)


def table(delimiter, header, rows):
    quote = lambda x: '"%s"' % x.replace('"', '""') if delimiter in x or '"' in x else x
    return "".join(delimiter.join(map(quote,
            row)) + "\n" for row in ([header] if header else []) + rows)


# Ten texts, a second one for each, ten labels: what the files below are made of.
A = ["The film is a joy from start to end.", "Nothing in it works, and it is long.",
     "A slow start; then it finds its feet.", "I would watch it again tomorrow.",
     "The jokes fall flat, one after another.", "It's \"great\", they said. It is not.",
     "Two hours that feel like five.", "Warm, funny, and well played.",
     "The sound was bad in our room.", "She steals every scene she is in."]
B = ["A joyful film.", "It is a short film.", "It starts slowly.", "I will see it twice.",
     "The jokes are good.", "They lied to us.", "It drags on.", "The cast is fine.",
     "We heard all of it.", "Her part is small."]
Y = list("1010001101")
PN = [{"1": "positive", "0": "negative"}[y] for y in Y]
ROWS = list(zip(A, Y))
PAIRS = list(zip(A, B, Y))
ZH = ["这家酒店的位置很好", "房间太小而且很吵", "服务态度非常好", "早餐一般没有选择", "离车站很近推荐",
      "下次不会再来了", "前台小姐很热情", "空调坏了没人管", "性价比很高值得住", "卫生间有异味"]
ZB = ["位置不错", "房间不大", "服务很好", "早餐很差", "离车站远", "还会再来", "前台很冷淡", "空调很好", "价格太贵", "很干净"]
SCORES = ["5.0", "4.75", "0.0", "2.4", "3.2", "1.25", "0.5", "3.8", "2.0", "4.0"]


# --------------------------------------------------------------------------- public data sets

def check_glue(b):
    num = list(map(str, range(10)))
    b.texts("CoLA", "train.tsv", tsv(*zip(
        ["gj04", "gj04", "cj99", "cj99", "bc01", "bc01", "r-67", "l-93", "l-93", "ks08"], Y,
        ["" if y == "1" else "*" for y in Y], A)), ROWS, words=["text: column 4",
        "label: column 2"])
    b.texts("CoLA, no mark at all", "in_domain_train.tsv", tsv(*zip(["gj04"] * 10, ["1"] * 10,
            [""] * 10, A)), [(a, "1") for a in A])
    b.texts("CoLA, test", "test.tsv", tsv(("index", "sentence"), *zip(num, A)),
            [(a, None) for a in A], "--unlabelled", words=["text: sentence", "not read: index"])
    b.texts("SST-2", "train.tsv", tsv(("sentence", "label"), *[(a + " ", y) for a, y in ROWS]),
            ROWS,
            words=["a header"])
    b.texts("MRPC", "train.tsv", "\ufeff" + tsv(("Quality", "#1 ID", "#2 ID", "#1 String",
            "#2 String"), *zip(Y, ["7021%s" % k for k in num], ["7029%s" % k for k in num], A, B)),
            PAIRS, words=["text: #1 String", "second text: #2 String", "label: Quality"])
    b.texts("MRPC, CRLF, test", "test.tsv", tsv(("index", "#1 ID", "#2 ID", "#1 String",
            "#2 String"),
            *zip(num, num, num, A, B)).replace("\n", "\r\n"), [(x, y, None) for x, y in zip(A, B)],
            "--unlabelled")
    qqp = tsv(("id", "qid1", "qid2", "question1", "question2", "is_duplicate"),
              *zip(num, num, num, A, B, Y))
    b.texts("QQP", "train.tsv", qqp, PAIRS, words=["label: is_duplicate"])
    b.texts("QQP, one of the two", "train.tsv", qqp, [(q, y) for q, y in zip(B, Y)],
            "--text_column",
            "question2", words=["text: question2", "not read: id, qid1, qid2, question1"])
    b.texts("STS-B", "train.tsv", tsv(
        "index genre filename year old_index source1 source2 sentence1 sentence2 score".split(),
        *zip(num, ["main-captions"] * 10, ["MSRvid"] * 10, ["2012test"] * 10, num, ["none"] * 10,
             ["none"] * 10, A, B, SCORES)), list(zip(A, B, SCORES)), task="regression")
    names = ("index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
             "sentence1_parse sentence2_parse sentence1 sentence2").split()
    L = ["neutral", "entailment", "contradiction"] * 3 + ["neutral"]
    shared = num, num, [k + "n" for k in num], ["fiction"] * 10, A, B, A, B, A, B
    b.texts("MNLI, train", "train.tsv", tsv(names + ["label1", "gold_label"], *zip(*shared, L, L)),
            list(zip(A, B, L)), words=["label: gold_label"])
    b.texts("MNLI, dev", "dev_matched.tsv", tsv(
        names + ["label%d" % k for k in range(1, 6)] + ["gold_label"],
        *zip(*shared, L, L, L[::-1], L, L, L)), list(zip(A, B, L)))
    b.texts("MNLI, test", "test_matched.tsv", tsv(names, *zip(*shared)),
            [(x, y, None) for x, y in zip(A, B)], "--unlabelled")
    E = ["entailment" if y == "1" else "not_entailment" for y in Y]
    b.texts("QNLI", "train.tsv", tsv(("index", "question", "sentence", "label"),
            *zip(num, A, B, E)), list(zip(A, B, E)))
    b.texts("RTE", "train.tsv", tsv(("index", "sentence1", "sentence2", "label"),
            *zip(num, A, B, E)), list(zip(A, B, E)))
    b.texts("WNLI", "train.tsv", tsv(("index", "sentence1", "sentence2", "label"),
            *zip(num, A, B, Y)), PAIRS)
    b.texts("GLUE's quotes", "train.tsv", tsv(("sentence", "label"), ('" open', "1"), ("a \"\" b",
            "0"),
            ('"all"', "1")), [('" open', "1"), ('a "" b', "0"), ('"all"', "1")])
    b.texts("GLUE as datasets writes its test", "test.jsonl", "".join(json.dumps(
        {"sentence": a, "label": -1, "idx": k}) + "\n" for k, a in enumerate(A)),
        [(a, "-1") for a in A], words=["only one label"])


def check_texts(b):
    num = list(map(str, range(10)))
    long = [a + "<br /><br />" + c for a, c in zip(A, B)]
    b.texts("IMDB of Kaggle", "IMDB Dataset.csv", table(",", ["review", "sentiment"],
            [list(r) for r in zip(long, PN)]), list(zip(long, PN)),
            words=["text: review; label: sentiment"])
    b.texts("IMDB, pandas' index", "imdb.csv", table(",", ["", "text", "label"],
            [list(r) for r in zip(num, A, Y)]), ROWS)
    b.texts("pandas' index once more", "imdb.csv", table(",", ["Unnamed: 0", "Text", "Label"],
            [list(r) for r in zip(num, A, Y)]), ROWS)
    C = list("3412341234")
    quoted = lambda *columns: "".join(",".join('"%s"' % x.replace('"', '""') for x in r) + "\n"
                                      for r in zip(*columns))
    b.texts("AG News", "train.csv", quoted(C, A, B), list(zip(A, B, C)),
            words=["text: column 2; second text: column 3; label: column 1"])
    b.texts("AG News of Kaggle", "train.csv", table(",", ["Class Index", "Title", "Description"],
            [list(r) for r in zip(C, A, B)]), list(zip(A, B, C)))
    b.texts("Yelp polarity", "train.csv", quoted(C, A), list(zip(A, C)))
    H = ["ham" if y == "0" else "spam" for y in Y]
    b.texts("SMS spam", "SMSSpamCollection", tsv(*zip(H, A)), list(zip(A, H)),
            words=["text: column 2; label: column 1", "no header"])
    kaggle = table(",", ["v1", "v2", "", "", ""], [[h, a, "", "", ""] for h, a in zip(H, A)])
    b.refused("SMS spam of Kaggle", "classification", "spam.csv", kaggle, ["--header yes or no"])
    b.texts("SMS spam of Kaggle, told", "spam.csv", kaggle, list(zip(A, H)), "--label_column", "v1",
            "--text_column", "v2")
    b.texts("SMS spam of Kaggle, --header yes", "spam.csv", kaggle, list(zip(A, H)), "--header",
            "yes")
    b.refused("SMS spam in its encoding", "classification", "spam.csv",
              kaggle.replace(".", ". \u00a3\u00fc").encode("cp1252"), ["--encoding", "cp1252"])
    toxic = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
    hot = [[str(int((k * 7 + j * j) % 5 == 0)) for j in range(6)] for k in range(10)]
    sets = [[name for name, one in zip(toxic, row) if one == "1"] for row in hot]
    jigsaw = table(",", ["id", "comment_text"] + toxic, [
        ["0000997932d777b%d" % k, a] + row for k, (a, row) in enumerate(zip(A, hot))])
    d = b.texts("Jigsaw", "train.csv", jigsaw, list(zip(A, sets)), words=["labels: toxic, severe_"])
    same("Jigsaw, names in the columns' order", d and d.names, toxic)
    b.texts("Jigsaw, two of the columns", "train.csv", jigsaw, [
        (a, [x for x in s if x in ("toxic", "insult")]) for a, s in zip(A, sets)], "--multi_label",
        "toxic,insult")
    b.texts("Jigsaw, by numbers", "train.csv", jigsaw, list(zip(A, sets)), "--multi_label", "3-8")
    b.texts("Jigsaw, one class of it", "train.csv", jigsaw, [
        (a, row[0]) for a, row in zip(A, hot)], "--label_column", "toxic")
    b.refused("Jigsaw's test labels", "classification", "train.csv",
            jigsaw + "x,Some text,-1,-1,-1,"
              "-1,-1,-1\n", ["train.csv: which column is what", "--multi_label", "--label_column"])
    ids = [[27], [2, 5], [27], [14], [3], [27], [26], [15], [8, 20], [0]]
    codes = ["eebbqej", "ed00q6i", "eezlygj", "ed7ypvh", "ed0bdzj", "edvnz26", "ee3b6wu", "ef4qmod",
             "ed8wbdn", "eczgv1o"]
    go = tsv(*zip(A, [",".join(map(str, s)) for s in ids], codes))
    b.refused("GoEmotions", "classification", "train.tsv", go, ["--label_column", "--multi_label"])
    b.texts("GoEmotions, told", "train.tsv", go, [(a, list(map(str, s))) for a, s in zip(A, ids)],
            "--multi_label", "--text_column", "1", "--label_column", "2")
    b.refused("GoEmotions, half told", "classification", "train.tsv", go, ["--multi_label"],
              "--text_column", "1", "--label_column", "2")
    b.texts("GoEmotions of the hub", "train.jsonl", "".join(json.dumps(
        {"text": a, "labels": s, "id": c}) + "\n" for a, s, c in zip(A, ids, codes)),
        [(a, list(map(str, s))) for a, s in zip(A, ids)])
    raw = table(",", "text id author subreddit link_id parent_id created_utc rater_id "
                "example_very_unclear admiration amusement anger".split(), [
                    [a, c, "Bob", "nrl", "t3_a", "t1_" + c, "1548381039.0", "1", "FALSE"] + row[:3]
                    for a, c, row in zip(A, codes, hot)])
    b.refused("GoEmotions, raw", "classification", "goemotions_1.csv", raw,
            ["--multi_label COLUMNS"])
    b.texts("GoEmotions, raw, told", "goemotions_1.csv", raw, [
        (a, [n for n, one in zip(("admiration", "amusement", "anger"), row) if one == "1"])
        for a, row in zip(A, hot)], "--multi_label", "10-12")
    b.texts("ChnSentiCorp, TSV", "train.tsv", tsv(("label", "text_a"), *zip(Y, ZH)),
            list(zip(ZH, Y)))
    b.texts("ChnSentiCorp, CSV", "ChnSentiCorp_htl_all.csv", table(",", ["label", "review"],
            [list(r) for r in zip(Y, ZH)]), list(zip(ZH, Y)))
    b.texts("ChnSentiCorp without a header", "train.tsv", tsv(*zip(Y, ZH)), list(zip(ZH, Y)))
    b.texts("a header in Chinese", "train.csv", table(",", ["文本", "标签"],
            [list(r) for r in zip(ZH, Y)]), list(zip(ZH, Y)))
    b.texts("AFQMC", "train.json", "".join(json.dumps(
        {"sentence1": x, "sentence2": y, "label": k}, ensure_ascii=False) + "\n"
        for x, y, k in zip(ZH, ZB, Y)), list(zip(ZH, ZB, Y)))
    b.texts("LCQMC", "train.txt", tsv(*zip(ZH, ZB, Y)), list(zip(ZH, ZB, Y)))
    b.texts("TNEWS", "train.json", "".join(json.dumps(
        {"label": "10%s" % y, "label_desc": "news_%s" % y, "sentence": s, "keywords": ""}) + "\n"
        for y, s in zip(Y, ZH)), [(s, "10" + y) for y, s in zip(Y, ZH)])
    b.texts("SNLI", "snli.jsonl", "".join(json.dumps(
        {"annotator_labels": ["neutral"], "captionID": "%d.jpg#4" % k, "gold_label": p,
         "pairID": "%d.jpg#4r1n" % k, "sentence1": x, "sentence1_binary_parse": "( A )",
         "sentence1_parse": "(ROOT )", "sentence2": y, "sentence2_binary_parse": "( B )",
         "sentence2_parse": "(ROOT )"}) + "\n" for k, (x, y, p) in enumerate(zip(A, B, PN))),
        list(zip(A, B, PN)))
    b.texts("BoolQ", "train.jsonl", "".join(json.dumps(
        {"question": x, "passage": y, "idx": k, "label": p == "1"}) + "\n"
        for k, (x, y, p) in enumerate(PAIRS)), [(x, y, "true" if p == "1" else "false")
                                                for x, y, p in PAIRS])
    b.texts("SICK", "SICK_train.txt", tsv(
        ("pair_ID", "sentence_A", "sentence_B", "relatedness_score", "entailment_judgment"),
        *zip(num, A, B, SCORES, PN)), list(zip(A, B, PN)), "--label_column", "entailment_judgment")
    b.refused("SICK, two labels", "classification", "SICK_train.txt", tsv(
        ("pair_ID", "sentence_A", "sentence_B", "relatedness_score", "entailment_judgment"),
        *zip(num, A, B, SCORES, PN)), ["--label_column", "5 entailment_judgment"])
    b.texts("SICK, numbers", "SICK_train.txt", tsv(
        ("pair_ID", "sentence_A", "sentence_B", "relatedness_score", "entailment_judgment"),
        *zip(num, A, B, SCORES, PN)), list(zip(A, B, SCORES)), task="regression")
    b.texts("Emotions of Kaggle", "train.txt", "".join("%s;%s\n" % (
        a.replace(";", ","), p) for a, p in zip(A, PN)),
        [(a.replace(";", ","), p) for a, p in zip(A, PN)])
    b.refused("Sentiment140", "classification", "training.csv", "".join(
        '"0","146781036%d","Mon Apr 06 22:19:4%d PDT 2009","NO_QUERY","user_%d","%s"\n' % (
            k, k, k, a.replace('"', '""')) for k, a in enumerate(A)), ["--text_column",
            "1, 2, 3, 4"])
    b.refused("fastText", "classification", "train.txt", "".join(
        "__label__%s %s\n" % (y, a.replace(";", "")) for a, y in ROWS),
              ["1 column", "fastText's: sed"])
    tweets = table(",", "tweet_id airline_sentiment airline_sentiment_confidence negativereason "
                   "airline name retweet_count text".split(), [
                       ["57030613367776051%d" % k, p, "1.0", "", "United", "cairdin", "0", a]
                       for k, (a, p) in enumerate(zip(A, PN))])
    b.texts("Airline tweets", "Tweets.csv", tweets, list(zip(A, PN)))
    b.texts("Rotten Tomatoes of Kaggle", "train.tsv", tsv(("PhraseId", "SentenceId", "Phrase",
            "Sentiment"), *zip(num, num, A, Y)), ROWS)
    b.texts("TweetEval of the hub", "train.jsonl", "".join(json.dumps(
        {"text": a, "label": int(y)}) + "\n" for a, y in ROWS), ROWS)


NER = ["EU/B-ORG rejects/O German/B-MISC call/O", "Peter/B-PER Blackburn/I-PER", "1996-08-22/O ,/O"]


def conll(*columns, between="\t", sentences=NER):
    """columns: what a line has: {w} word, {t} tag, {k} number in the sentence, or a literal."""
    return "\n".join("".join(between.join(columns).format(
        w=item.rsplit("/", 1)[0], t=item.rsplit("/", 1)[1], k=k) + "\n" for k, item in enumerate(
            s.split(), 1)) for s in sentences) + "\n"


def check_ner(b):
    conll2003 = "-DOCSTART- -X- -X- O\n\n" + conll("{w}", "NNP", "I-NP", "{t}", between=" ")
    b.ner("CoNLL-2003", "eng.train", conll2003, NER, words=["word: column 1; tag: column 4"])
    b.ner("CoNLL-2003, the chunks", "eng.train", conll2003, [
        " ".join(i.rsplit("/", 1)[0] + "/I-NP" for i in s.split()) for s in NER], "--tag_column",
        "3")
    b.ner("CoNLL-2000", "train.txt", conll("{w}", "NNP", "B-NP", between=" "), [
        " ".join(i.rsplit("/", 1)[0] + "/B-NP" for i in s.split()) for s in NER])
    germeval = "#\thttp://de.wikipedia.org/wiki/Manfred_Korfmann [2009-10-17]\n" + conll(
        "{k}", "{w}", "{t}", "O").replace("\n\n", "\n\n#\thttp://welt.de [2009-10-18]\n")
    b.ner("GermEval", "NER-de-train.tsv", germeval, NER, words=["word: column 2; tag: column 3",
                                                               "not read: column 1, column 4"])
    nested = "#\tx\n" + conll("{k}", "{w}", "{t}", "{t}").replace("B-PER\tB-PER",
            "B-PER\tB-LOCderiv")
    b.ner("GermEval, nested", "NER-de-train.tsv", nested, NER)
    b.ner("GermEval, the nested tag", "NER-de-train.tsv", nested.replace("B-ORG\tB-ORG",
            "B-ORG\tO"),
          [NER[0].replace("B-ORG", "O"), NER[1].replace("B-PER", "B-LOCderiv"), NER[2]],
          "--tag_column", "4")
    b.ner("WNUT-17", "wnut17train.conll", conll("{w}", "{t}").replace("\n\n", "\n\t\n"), NER)
    b.ner("IOB1", "train.txt", conll("{w}", "{t}", sentences=[s.replace("B-", "I-") for s in NER]),
          [s.replace("B-", "I-") for s in NER])
    msra = ["中/B-ORG 共/I-ORG 中/I-ORG 央/I-ORG 致/O", "邓/B-PER 小/I-PER 平/I-PER 说/O"]
    b.ner("MSRA", "msra_train_bio.txt", conll("{w}", "{t}", sentences=msra), msra)
    b.ner("MSRA of People's Daily", "example.train", conll("{w}", "{t}", between=" ",
            sentences=msra),
          msra)
    b.refused("MSRA of Paddle", "ner", "train.tsv", "text_a\tlabel\n" + "".join(
        "\x02".join(i[0] for i in s.split()) + "\t" + "\x02".join(i[2:] for i in s.split()) + "\n"
        for s in msra), ["one word a line"])
    upos = [" ".join(i.rsplit("/", 1)[0] + "/NOUN" for i in s.split()) for s in NER]
    conllu = "# sent_id = 1\n# text = EU rejects\n" + conll(
        "{k}", "{w}", "x", "NOUN", "NN", "_", "0", "root", "_", "SpaceAfter=No").replace(
            "2\trejects", "2-3\trejectsGerman" + "\t_" * 8 + "\n2\trejects", 1).replace(
                "\n\n", "\n\n# sent_id = 2\n", 1)
    b.ner("CoNLL-U", "en.conllu", conllu, upos, words=["tag: column 4"])
    b.ner("CoNLL-U, its own tags", "en.conllu", conllu, [s.replace("NOUN", "NN") for s in upos],
          "--tag_column", "5")
    b.ner("numbered, tags last", "train.txt", conll("{k}", "{w}", "NNP", "I-NP", "{t}",
            between=" "),
          NER)
    b.ner("numbered from 0, over the file", "train.txt", "".join(
        line if line == "\n" else "%d\t%s" % (k, line) for k, line in enumerate(
            [line for line in conll("{w}", "{t}").splitlines(True) if line != "\n"])),
            [" ".join(NER)])
    b.ner("tag first", "engtrain.bio", conll("{t}", "{w}"), NER,
            words=["word: column 2; tag: column 1"])
    b.refused("parts of speech and lemmas", "ner", "tagged.txt", conll("{w}", "NN", "lemma"),
              ["--tag_column"])
    b.ner("a header", "train.tsv", "word\ttag\n" + conll("{w}", "{t}"), NER, words=["a header"])
    b.ner("a header, other order", "train.tsv", "ner\tpos\ttoken\n" + conll("{t}", "NN", "{w}"),
            NER)
    b.refused("a header that nobody knows", "ner", "train.tsv", "Wort\tArt\n" + conll("{w}", "{t}"),
              ["--header yes or no"])
    b.ner("a header that nobody knows, told", "train.tsv", "Wort\tArt\n" + conll("{w}", "{t}"), NER,
          "--text_column", "Wort", "--tag_column", "Art")
    kaggle = "Sentence #,Word,POS,Tag\n" + "".join(
        "%s,%s,NN,%s\n" % ("Sentence: %d" % n if k == 0 else "", '","' if i[0] == "," else
                           i.rsplit("/", 1)[0], i.rsplit("/", 1)[1])
        for n, s in enumerate(NER) for k, i in enumerate(s.split()))
    b.ner("NER of Kaggle", "ner_dataset.csv", kaggle, NER)
    b.ner("simpletransformers", "train.csv", "sentence_id,words,labels\n" + "".join(
        "%d,%s,%s\n" % (n, i.rsplit("/", 1)[0], i.rsplit("/", 1)[1])
        for n, s in enumerate(NER[:2]) for i in s.split()), NER[:2])
    rows = [([i.rsplit("/", 1)[0] for i in s.split()], [i.rsplit("/", 1)[1] for i in s.split()])
            for s in NER]
    names = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-MISC"]
    as_lines = lambda **more: "".join(json.dumps(dict(more, tokens=w, ner_tags=t)) + "\n"
                                      for w, t in rows)
    b.ner("run_ner's JSON lines", "train.json", as_lines(), NER,
            words=["word: tokens; tag: ner_tags"])
    b.ner("run_ner's, other keys, an array", "train.json", json.dumps([
        {"id": str(k), "words": w, "labels": t} for k, (w, t) in enumerate(rows)], indent=1), NER)
    b.ner("CoNLL-2003 of the hub, named", "train.jsonl", as_lines(pos_tags=[1], chunk_tags=[2]),
            NER)
    numbers = "".join(json.dumps({"tokens": w, "ner_tags": [names.index(x) for x in t]}) + "\n"
                      for w, t in rows)
    b.refused("tags that are numbers", "ner", "train.json", numbers, ["--labels O,B-PER"])
    b.ner("tags that are numbers, named", "train.json", numbers, NER, "--labels", ",".join(names))
    b.refused("more tags than words", "ner", "train.json",
            '{"tokens": ["a"], "ner_tags": ["O", "O"]}',
              ["train.json:1: 1 word, but 2 tags"])
    blank = ["我/O _/O 在/O 北/B-LOC 京/I-LOC", "你/O"]
    b.ner("a blank word", "x.txt", "我 O\n  O\n在 O\n北 B-LOC\n京 I-LOC\n\n你 O\n", blank,
          words=["1 without a piece"])
    b.ner("a blank word, tabs", "x.txt", "我\tO\n \tO\n在\tO\n\u3000\tO\n北\tB-LOC\n",
          ["我/O _/O 在/O _/O 北/B-LOC"], words=["2 without a piece"])
    b.ner("an empty word in JSON", "x.json",
            '{"tokens": ["a", "", " "], "ner_tags": ["O", "O", "O"]}',
          ["a/O _/O _/O"])
    b.ner("unlabelled, numbered", "x.txt", conll("{k}", "{w}", "{t}"), NER, "--unlabelled")
    b.ner("unlabelled, words", "x.txt", conll("{w}"), NER, "--unlabelled")
    b.ner("CSV without a header", "x.csv", conll("{w}", "{t}", between=",", sentences=NER[:2]),
          NER[:2])
    b.refused("OntoNotes", "ner", "x.gold_conll", "#begin document (a); part 000\n" + conll(
        "bc/cctv", "0", "{k}", "{w}", "NN", "(TOP*", "-", "-", "(ORG*", "*", between="   "),
        ["--tag_column"])


def squad(contexts, flat=None):
    """[(context, [(id, question, [(text, start)])])] in SQuAD's form, or flat as run_qa has it."""
    if flat is None:
        return {"data": [{"title": "t", "paragraphs": [{"context": c, "qas": [
            {"id": i, "question": q, "is_impossible": not g, "answers": [
                {"text": t, "answer_start": s} for t, s in g]} for i, q, g in qas]}]}
            for c, qas in contexts]}
    return [{"id": i, "title": "t", "context": c, "question": q, "answers": {
        "text": [t for t, _ in g], "answer_start": [s for _, s in g]}}
        for c, qas in contexts for i, q, g in qas]


def check_qa(b):
    text = "Jim works at Acme in Paris. The Rhine rises in the Alps."
    zh = "范廷頌是越南羅馬天主教樞機。"
    one = [(text, [("1", "Who works?", [("Jim", 0)]), ("2", "Where?", [("Paris", 21), ("Acme",
            13)])]),
           (zh, [("3", "誰?", [("范廷頌", 0)])])]
    two = one[:1] + [(zh, [("3", "誰?", [])])]
    want = lambda contexts: [(i, q, [t for t, _ in g]) for _, qas in contexts for i, q, g in qas]

    def read(what, name, content, contexts, v2, *flags):
        d, code, said = b.run("qa", b.file(name, content), *flags)
        same(what, (code, d and d.questions, d and d.texts, d and d.v2), (
            0, want(contexts), [c for c, qas in contexts for _ in qas], v2), said)
        same(what + ", the report", "read as JSON" in said and "first:" in said, True, said)

    for version in "1.1", "v1.1":
        read("SQuAD " + version, "train-v1.1.json", json.dumps(dict(squad(one), version=version)),
                one, 0)
    read("SQuAD 2", "train-v2.0.json", json.dumps(dict(squad(two), version="v2.0")), two, 1)
    for indent in None, 2:
        read("DRCD", "DRCD_training.json", json.dumps(dict(squad(one[1:]), version="1.3"),
                                                      ensure_ascii=False, indent=indent), one[1:],
                                                      0)
    cmrc = squad(one[1:])
    cmrc["data"][0]["paragraphs"][0].update(id="TRAIN_186")
    read("CMRC", "cmrc2018_train.json", json.dumps(cmrc), one[1:], 0)
    read("run_qa's {data: [flat]}", "train.json", json.dumps({"version": "1.1", "data": squad(one,
            1)}),
         one, 0)
    read("flat JSON lines", "train.jsonl", "".join(json.dumps(q) + "\n" for q in squad(one, 1)),
            one, 0)
    read("a flat array, pretty", "train.json", json.dumps(squad(two, 1), indent=2), two, 1)
    read("an array of articles", "train.json", json.dumps(squad(one)["data"]), one, 0)
    read("articles as JSON lines", "train.jsonl", "".join(
        json.dumps(a) + "\n" for a in squad(one)["data"]), one, 0)
    empty = json.dumps(dict(squad([(text, [("1", "Who?", [("Jim", 0)]), ("2", "When?", [("",
            -1)])])]),
                            version="v2.0"))
    nothing = [(text, [("1", "Who?", [("Jim", 0)]), ("2", "When?", [])])]
    read("an empty answer", "train.json", empty, nothing, 1)
    read("an empty answer, flat", "train.json", json.dumps(squad([(text, [
        ("1", "Who?", [("Jim", 0)]), ("2", "When?", [("", -1)])])], 1)), nothing, 1)
    read("impossible, without answers", "train.json", json.dumps(squad(nothing)).replace(
        '"is_impossible": true, "answers": []', '"is_impossible": true'), nothing, 1)
    bare = [{k: v for k, v in q.items() if k != "id"} for q in squad(one, 1)]
    for q in bare:  # one answer without lists, and no ids
        if len(q["answers"]["text"]) == 1:
            q["answers"] = {k: v[0] for k, v in q["answers"].items()}
    read("flat, without ids", "train.jsonl", "".join(json.dumps(q) + "\n" for q in bare),
         [(c, [(str(int(i) - 1), q, g) for i, q, g in qas]) for c, qas in one], 0)
    b.refused("questions alone", "qa", "a.jsonl", '{"question": "who", "context": "Jim"}',
              ["has no answers", "--unlabelled"])
    b.refused("no context", "qa", "a.jsonl", '{"id": "1", "question": "who"}', ["has no context"])
    b.refused("lists of two lengths", "qa", "a.jsonl", '{"id": "1", "question": "who", "context": '
              '"Jim", "answers": {"text": ["Jim"], "answer_start": []}}', ["1 text, but 0 answer"])
    b.refused("the table of chaii", "qa", "train.csv", "id,context,question,answer_text\n",
            ["not JSON"])


# ------------------------------------------------------------------- kinds, and brothers of each

def check_headers(b):
    one = list(zip(A, PN))
    for header in (["review", "sentiment"], ["text", "airline_sentiment"], ["text", "intent"],
                   ["Comment", "Category"], ["TEXT", "LABEL"], ["tweet", "my own labels"],
                   ["whatever", "label"], ["texto", "etiqueta"], ["текст", "метка"],
                   ["テキスト", "ラベル"], ["Satz", "Etikett"], [" text ", " class "]):
        for end, delimiter in (".csv", ","), (".tsv", "\t"), (".csv", ";"), (".csv", "|"):
            b.texts("header %s, %s" % (header, delimiter), "x" + end, table(delimiter, header, [
                [a.replace('"', ""), p] for a, p in one]), [(a.replace('"', ""), p) for a,
                p in one],
                words=["a header"])
            b.texts("header %s, turned round, %s" % (header, delimiter), "x" + end, table(
                delimiter, header[::-1], [[p, a.replace('"', "")] for a, p in one]),
                [(a.replace('"', ""), p) for a, p in one])
    for header in ["foo", "bar"], ["x1", "y1"], ["Meinung", "Urteil"], ["col_a", "col_b"]:
        rows = table(",", header, [list(r) for r in one])
        b.refused("header %s" % header, "classification", "x.csv", rows, ["--header yes or no"])
        b.texts("header %s, told" % header, "x.csv", rows, one, "--header", "yes")
        b.texts("header %s, named" % header, "x.csv", rows, one, "--label_column", header[1])
        b.texts("header %s above numbers" % header, "x.csv", table(",", header,
                [list(r) for r in ROWS]),
                ROWS)
        b.texts("header %s above values" % header, "x.csv", table(",", header, [
            list(r) for r in zip(A, SCORES)]), list(zip(A, SCORES)), task="regression")
    b.texts("one row", "x.csv", "review,sentiment\nA good film,positive\n", [("A good film",
            "positive")])
    b.texts("quotes round all fields", "x.tsv", '"text"\t"label"\n"a ""b"" c"\t"1"\n"d"\t"0"\n',
            [('a "b" c', "1"), ("d", "0")])
    b.texts("a BOM, CRLF", "x.csv", "\ufefftext,label\r\na,1\r\nb,0\r\n", [("a", "1"), ("b", "0")])
    b.texts("id text category", "x.csv", table(",", ["id", "text", "category"], [
        [str(k), a, p] for k, (a, p) in enumerate(one)]), one)
    b.texts("id text something", "x.csv", table(",", ["ID", "text", "something"], [
        [str(k), a, p] for k, (a, p) in enumerate(one)]), one)
    b.texts("id text label without a header", "x.csv", table(",", None, [
        [str(k), a, p] for k, (a, p) in enumerate(one)]), one,
        words=["text: column 2; label: column 3"])
    b.refused("text and a date", "classification", "x.csv", table(",", ["text", "created"], [
        [a, "2020-01-%02d" % k] for k, a in enumerate(A)]), ["--label_column", "2 created"])
    b.refused("text and two others", "classification", "x.csv", table(",", ["text", "foo", "bar"], [
        [a, p, y] for a, p, y in zip(A, PN, Y)]), ["--label_column", "2 foo, 3 bar"])
    b.refused("an id and the text", "classification", "x.csv", table(",", None, [
        [str(k), a] for k, a in enumerate(A)]), ["--text_column", "--label_column"])
    b.refused("a source and two texts", "classification", "x.tsv", tsv(*zip(PN, A, B, Y)),
              ["--text_column", "--text_pair_column"])
    b.refused("as many labels as examples", "classification", "x.tsv", tsv(*zip(A, B)),
              ["--label_column"])
    b.texts("as many labels as examples, told", "x.tsv", tsv(*zip(A, B)), list(zip(A, B)),
            "--label_column", "2", words=["10 labels in 10 examples"])
    b.texts("no header, label first, told", "x.tsv", tsv(*zip(B, A)), list(zip(A, B)),
            "--label_column", "1")
    for y in "01", ["neg", "pos"]:
        rows = [(a, y[int(k)]) for a, k in ROWS]
        b.texts("no header, label last", "x.tsv", tsv(*rows), rows, words=["no header"])
        b.texts("no header, label first", "x.tsv", tsv(*[r[::-1] for r in rows]), rows)
        b.texts("no header, a pair", "x.csv", table(",", None, [list(r) for r in zip(A, B, (
            k for _, k in rows))]), list(zip(A, B, (k for _, k in rows))))
    b.texts("no header, words", "x.tsv", tsv(*zip("Müller Smith Rossi Weber Jones Bianchi".split(),
            ["de", "en", "it"] * 2)), list(zip("Müller Smith Rossi Weber Jones Bianchi".split(),
                                               ["de", "en", "it"] * 2)))
    b.refused("two columns of one name", "classification", "x.csv",
            "text,text,label\na,b,1\nc,d,0\n",
              ["two of this name"], "--text_column", "text")
    b.refused("two texts", "classification", "x.csv", table(",", ["text", "sentence", "label"], [
        list(r) for r in PAIRS]), ["--text_column"])
    b.refused("no such column", "classification", "x.csv", "text,label\na,1\n", [
        "--text_column body", "1 text, 2 label"], "--text_column", "body")
    b.refused("the header again", "classification", "x.csv", "text,label\na,1\ntext,label\nb,0\n",
              ["x.csv:3: the header again"])
    b.refused("no such number", "classification", "x.tsv", tsv(*ROWS), ["--label_column 3", "1, 2"],
              "--label_column", "3")
    b.texts("a last column that is empty", "x.csv", "text,label,\na,1,\nb,0,\n", [("a", "1"), ("b",
            "0")])
    b.texts("a delimiter at the end of rows only", "x.csv", "text,label\na,1,\nb,0,\n",
            [("a", "1"), ("b", "0")])
    b.texts("rows of nothing", "x.csv", "text,label\na,1\n,\n\nb,0\n", [("a", "1"), ("b", "0")])
    b.texts("--delimiter", "x.txt", "a~1\nb~0\n", [("a", "1"), ("b", "0")], "--delimiter", "~",
            "--header", "no")
    b.texts("--delimiter of three", "x.txt", "a ||| 1\nb ||| 0\n", [("a", "1"), ("b", "0")],
            "--delimiter", "|||")
    b.texts("semicolons, commas in the text", "x.csv", "text;label\nGood, very;1\nBad, very;0\n",
            [("Good, very", "1"), ("Bad, very", "0")])
    b.refused("semicolons or commas", "classification", "x.csv", "Good, very;1\nBad, very;0\n",
              ["--delimiter"])
    b.refused("a first label that comes once", "classification", "x.tsv", tsv(
        ("what a film", "verdict"), *one), ["--header yes or no"])
    b.texts("a first label that comes once, a sentence", "x.tsv", tsv(
        ("What a film this is, I never saw any like it", "mixed"), *one),
        [("What a film this is, I never saw any like it", "mixed")] + one,
        words=["the label mixed comes once, in the first line"])


def check_more(b):
    """What a second look at real files brought: read, or refused."""
    num, plain = list(map(str, range(10))), [a.replace('"', "") for a in A]
    rows, named = list(zip(plain, Y)), list(zip(plain, PN))
    csv_of = lambda header, *columns: table(",", header, [list(r) for r in zip(*columns)])
    words = ["", "fire", "flood"] * 3 + [""]
    b.texts("disaster tweets", "train.csv", csv_of(["id", "keyword", "location", "text", "target"],
            num, words, words, plain, Y), rows)
    b.texts("Quora", "train.csv", csv_of(["qid", "question_text", "target"],
            ["00002165364db923c7e" + k for k in num], plain, Y), rows)
    b.texts("fake news", "train.csv", csv_of(["id", "title", "author", "text", "label"], num, B,
            ["Bob Smith"] * 10, plain, Y), rows, words=["not read: id, title, author"])
    b.texts("medical abstracts", "m.csv", csv_of(["condition_label", "medical_abstract"], Y, plain),
            rows)
    b.refused("names that nobody knows", "classification", "m.csv", csv_of(["condition",
              "medical_notes"], PN, plain), ["--header yes or no"])
    b.texts("phrase bank of Kaggle", "all-data.csv", csv_of(None, PN, plain), named)
    b.texts("phrase bank", "Sentences.txt", "".join("%s@%s\n" % r for r in named), named,
            "--delimiter", "@")
    for what, text in ("list", "['joy', 'anger']"), ("vector", "[0, 1, 0]"):
        b.refused("a %s as text" % what, "classification", "x.csv", csv_of(["text", "labels"],
                plain,
                  [text] * 10), ["list written as text"])
    b.refused("lists of words as text", "ner", "x.csv", "tokens,ner_tags\n\"['EU', 'x']\","
              "\"['B-ORG', 'O']\"\n", ["list written as text"])
    b.refused("tags as text below sentences", "ner", "x.csv", "Sentence,Tag\n" + "".join(
        "EU rejects it %s,\"['B-ORG', 'O', 'O', 'O']\"\n" % k for k in num), ["expected one word"])
    b.refused("tags as text", "ner", "x.csv", "Word,Tag\nEU,\"['B-ORG']\"\nit,\"['O']\"\n",
              ["list written as text"])
    b.refused("sentences, not words", "ner", "x.csv", "sentence\nEU rejects it .\nHe is here\n",
              ["expected one word"], "--unlabelled")
    for header in "label, text\n", "":
        b.texts("blanks before quotes", "x.csv", header + "".join('%s, "%s, so"\n' % (p, a)
                for a, p in named), [(a + ", so", p) for a, p in named])
    b.refused("Dataset.to_dict", "classification", "x.json", json.dumps(
        {"text": plain, "label": PN}), ["one object a row"])
    b.refused("two columns of 0 and 1 of one name", "classification", "x.csv", csv_of(
        ["text", "label", "label"], plain, Y, Y[::-1]), ["one name", "--label_column"])
    b.texts("Excel's first line", "x.csv", "sep=;\ntext;label\na, b;1\nc, d;0\n",
            [("a, b", "1"), ("c, d", "0")])
    b.texts("CSV in .tsv", "x.tsv", csv_of(["text", "label"], ['a, "b"', "c, d, e"], "10"),
            [('a, "b"', "1"), ("c, d, e", "0")])
    b.texts("Doccano", "x.jsonl", "".join(json.dumps({"id": 1, "text": a, "label": [p]}) + "\n"
            for a, p in named), [(a, [p]) for a, p in named], words=["one label of a list"])
    b.refused("Doccano's spans", "classification", "x.jsonl", json.dumps(
        {"text": "a", "label": [[0, 1, "PER"]]}), ["label is [[0, 1"])
    b.refused("pandas' columns", "classification", "x.json", json.dumps(
        {"text": {"0": "a"}, "label": {"0": 1}}), ["expected a string"])
    b.refused("pandas' split", "classification", "x.json", json.dumps(
        {"columns": ["text", "label"], "data": [["a", 1]]}), ["expected an object"])
    b.texts("a label beside the score", "x.csv", csv_of(["text", "label", "score"], plain, PN,
            SCORES), list(zip(plain, SCORES)), task="regression")
    b.refused("tags without prefix before words", "ner", "x.txt",
              "PER Bob\nO said\nO so\nLOC Rome\n\n" * 4, ["--tag_column"])
    digits = json.dumps({"tokens": ["Jim", "runs"], "ner_tags": ["1", "0"]})
    b.refused("tags of digits", "ner", "x.jsonl", digits, ["--labels"])
    b.ner("tags of digits, named", "x.jsonl", digits, ["Jim/B-PER runs/O"], "--labels", "O,B-PER")
    b.texts("score first", "x.tsv", tsv(*zip(SCORES, A, B)), list(zip(A, B, SCORES)),
            task="regression")
    b.refused("a counter is no score", "regression", "x.tsv", tsv(*zip(num, A)), ["--label_column"])
    b.texts("a counter, a pair, a label", "x.tsv", tsv(*zip(num, A, B, Y)), PAIRS)
    b.refused("STS-B's own files", "regression", "sts-train.csv", tsv(*zip(["main-captions"] * 10,
              ["MSRvid"] * 10, ["2012test"] * 10, ["000" + k for k in num], SCORES, plain, B)),
              ["--text_pair_column"])
    b.texts("two cases of a label", "x.csv", csv_of(["text", "label"], plain, ["pos", "Pos"] * 5),
            list(zip(plain, ["pos", "Pos"] * 5)), words=["differ in their case"])
    b.refused("only a header", "classification", "x.csv", "text,label\n", ["is empty"])
    b.refused("label and labels", "classification", "x.csv", csv_of(["text", "label", "labels"],
              plain, Y, PN), ["--label_column", "2 label, 3 labels"])
    b.texts("no header: its label comes again", "x.tsv",
            "question\tpos\nA good film\tpos\nBad\tneg\n",
            [("question", "pos"), ("A good film", "pos"), ("Bad", "neg")], words=["no header"])
    b.refused("names and texts", "classification", "x.csv", csv_of(None, "abcdefghij", plain, Y),
              ["--text_pair_column"])
    b.refused("labels like short texts", "classification", "x.txt", tsv(*zip(["体育新闻", "娱乐新闻"] * 5,
              ZH)), ["--label_column"])
    b.refused("--unlabelled below unknown names", "classification", "x.csv", csv_of(["foo", "bar"],
              B, plain), ["--header yes or no"], "--unlabelled")
    b.refused("R's row names", "classification", "x.csv", '"text","label"\n"1","a","x"\n',
              ["3 columns, expected 2", "',' in it goes in quotes"])
    b.refused("a comma in a text", "classification", "x.csv", "text,label\na,x\nb, c,y\n",
              ["x.csv:3: 3 columns, expected 2", "',' in it goes in quotes"])
    b.refused("a full-width comma", "classification", "x.csv", "text,label\n好,x\n坏，y\n",
              ["x.csv:3: 1 column, expected 2", "full-width one, ，"])
    b.refused("full-width commas", "classification", "x.csv", "text，label\n好，x\n坏，y\n",
              ["full-width ones, ，"])
    reviews = list(zip(ZH, ["好", "差"] * 5))
    b.texts("评论内容", "x.csv", csv_of(["评论内容", "评价"], *zip(*reviews)), reviews,
            words=["text: 评论内容; label: 评价"])
    b.refused("names that nobody knows, by number", "classification", "x.csv", csv_of(
        ["看法", "评价"], *zip(*reviews)), ["--header yes or no", "--label_column 评价",
                                        "in no other line"], "--label_column", "2")
    b.texts("Sentence 1, Sentence-2", "x.csv", csv_of(["Sentence 1", "Sentence-2", "Label"], plain,
            B,
            Y), list(zip(plain, B, Y)))
    for names in (["query", "title", "label"], ["question", "answer", "label"],
                  ["comment", "parent_comment", "label"]):
        b.refused("two texts, one known: %s" % names, "classification", "x.csv", csv_of(
            names, plain, B, Y), ["--text_pair_column", "2 " + names[1]])
    b.refused("documents before words", "ner", "x.txt", "".join("doc1\t%d\t%s\tO\n" % (k, w)
              for k, w in enumerate("Jim is in Rome".split())), ["--text_column"])
    b.refused("two documents before words", "ner", "x.txt", "".join("doc%d\t%s\tO\n" % (k // 4, w)
              for k, w in enumerate("Jim is in Rome and she too was".split())), ["--text_column"])
    b.refused("soft labels", "classification", "x.jsonl", '{"text": "a", "labels": [0.3, 0.7]}',
              ["labels is [0.3, 0.7]", "0 and 1"])
    b.refused("vectors and ids", "classification", "x.jsonl", '{"text": "a", "labels": [0, 1, 0]}\n'
              '{"text": "b", "labels": [2]}', ["0 and 1 in all examples"])
    b.refused("one column for two", "classification", "x.tsv", tsv(*ROWS), ["two things"],
              "--text_column", "1", "--label_column", "1")
    for what, text in (("Git LFS", "version https://git-lfs.github.com/spec/v1\n"),
                       ("HTML", "<!DOCTYPE html>\n<html>"), ("--encoding iso-2022-jp",
                       "\x1b$B@5$7"),
                       ("tar", "a" * 257 + "ustar")):
        for task in "classification", "mlm", "ner":
            b.refused(what, task, "x.txt", text + "\t1\n", [what])
    for delimiter in '"', "\n":
        b.refused("--delimiter %r" % delimiter, "classification", "x.csv", "text,label\na,1\n",
                  ["--delimiter"], "--delimiter", delimiter)
    b.refused("comments above", "classification", "x.tsv", "# made by me\n" + tsv(*ROWS),
            ["1 column"])
    b.texts("Markdown", "x.txt", "| text | label |\n|---|---|\n| a b | 1 |\n| c d | 0 |\n",
            [("a b", "1"), ("c d", "0")])
    b.ner("trailing blanks", "x.txt",
            "EU NNP I-NP B-ORG \r\nis VB I-VP O \r\n \r\nPeter NN I-NP O \r\n",
          ["EU/B-ORG is/O", "Peter/O"])
    b.ner("tags without a prefix", "x.txt", "Jim NN PER\nruns VB O\nin IN O\n\nhe PR O\n",
          ["Jim/PER runs/O in/O", "he/O"])
    b.ner("BILOU", "x.txt", "a U-PER\nb B-LOC\nc L-LOC\n\nd O\n", ["a/U-PER b/B-LOC c/L-LOC",
            "d/O"])
    b.refused("parts of speech first", "ner", "x.txt", "".join("%s\t%s\n" % pair for pair in zip(
        "DT NN VB DT NN DT NN VB IN DT NN .".split(),
        "the cat sees a dog some mice run in this house .".split())), ["--tag_column"])
    b.ner("CoNLL-U Plus", "x.conllup", "# global.columns = ID FORM UPOS NE\n1\tJim\tNOUN\tB-PER\n"
          "2\truns\tVERB\tO\n\n1\tParis\tNOUN\tB-LOC\n", ["Jim/B-PER runs/O", "Paris/B-LOC"])
    b.ner("semicolons", "x.txt", "Jim;B-PER\nruns;O\n\nhe;O\n", ["Jim/B-PER runs/O", "he/O"],
          "--delimiter", "semicolon")
    b.refused("CLUENER", "ner", "x.json", '{"text": "abc", "label": {"name": {"a": [[0, 1]]}}}',
              ["expected a list of strings"])


def check_written(b):
    """Cells of anything, as csv.writer writes them."""
    rng, dialects = random.Random(1), [dict(), dict(quoting=csv.QUOTE_ALL), dict(delimiter=";"),
                                       dict(delimiter="\t"), dict(lineterminator="\n")]
    for k in range(60):
        cell = lambda: "".join(rng.choice('ab ,;"\n\t|\'') for _ in range(rng.randint(1, 12)))
        rows = [("x " + cell(), rng.choice(["yes", "no, not", 'so "so"'])) for _ in range(12)]
        held, dialect = io.StringIO(), dialects[k % 5]
        writer = csv.writer(held, **dialect)
        writer.writerow(("text", "label"))
        writer.writerows(rows)
        flags = ["--delimiter", dialect["delimiter"]] if "delimiter" in dialect else []
        b.texts("as csv writes it, %s" % dialect, "x.csv", held.getvalue(), rows,
                *(flags or ["--delimiter", "comma"]))


def check_labels(b):
    b.texts("1 and 1.0", "x.tsv", "a b\t1\nc d\t1.0\ne f\t0\n", [("a b", "1"), ("c d", "1"),
                                                                 ("e f", "0")],
                                                                 words=["1.0 is read as 1"])
    b.texts("0.0 and 0", "x.jsonl", '{"text": "a", "label": 0.0}\n{"text": "b", "label": 0}\n'
            '{"text": "c", "label": 1.0}', [("a", "0.0"), ("b", "0.0"), ("c", "1.0")])
    vectors = [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    for kind in float, int, bool:
        values = [[kind(x) for x in v] for v in vectors]
        content = "".join(json.dumps({"text": "t", "labels": v}) + "\n" for v in values)
        sets = lambda names: [("t", [n for n, x in zip(names, v) if x]) for v in values]
        b.texts("multi-hot %s" % values[0], "x.jsonl", content, sets("012"), words=["vectors"])
        d = b.texts("multi-hot, named", "x.jsonl", content, sets("zyx"), "--labels", "z,y,x")
        same("multi-hot, the order of names", d and d.names, list("zyx"))
        b.refused("multi-hot, two names for three", "classification", "x.jsonl", content,
                  ["vectors of 3"], "--labels", "z,y")
    b.refused("multi-hot, then not", "classification", "x.jsonl", "".join(json.dumps(
        {"text": "t", "labels": v}) + "\n" for v in vectors * 400 + [[1, 0]]), ["x.jsonl:1201",
        "3 times"])
    b.texts("one-hot in JSON", "x.jsonl",
            '{"text": "a", "good": 1, "bad": 0}\n{"text": "b", "good": 0, '
            '"bad": 1}', [("a", ["good"]), ("b", ["bad"])])
    b.texts("lists of names", "x.json", json.dumps([{"text": "a", "labels": ["x", "y z"]},
            {"text": "b", "labels": []}]), [("a", ["x", "y z"]), ("b", [])])
    b.refused("several labels with commas", "classification", "x.csv",
            "text,label\na,x\nb,y\nc,\"x,y\"\n",
              ["--multi_label"])
    b.texts("several labels with commas, told", "x.csv", "text,label\na,x\nb,y\nc,\"x,y\"\n",
            [("a", ["x"]), ("b", ["y"]), ("c", ["x", "y"])], "--multi_label")
    for sign in "|", ";", ", ":
        b.texts("labels with %s, told" % sign, "x.tsv", "a b c\tsci fi%shorror\nb c d\tsci fi\n"
                "c d e\tnew wave\n" % sign, [("a b c", ["sci fi", "horror"]), (
                    "b c d", ["sci fi"]), ("c d e", ["new wave"])], "--multi_label")
    for text in "{a,b}", "'a', 'b'", '"a"', "<a><b>":
        b.refused("labels as text: " + text, "classification", "x.tsv", "a b\ta\nb c\ta\nc d\t%s\n"
                  % text, ["list written as text"], "--multi_label")
    b.texts("texts of nothing", "x.csv", "text,label\na b,1\n,0\nNaN,1\n", [
        ("a b", "1"), ("", "0"), ("NaN", "1")], words=["2 texts empty, nan"])
    b.refused("commas and blanks", "classification", "x.tsv", "a b\tx\nb c\tx,y\nc d\ty x\n",
              ["is it one label or several"], "--multi_label")
    b.refused("labels with two signs", "classification", "x.tsv", "a b\tx\nb c\tx|y\nc d\tx,y\n",
              [", and |"], "--multi_label")
    for joined in "x|y", "x;y", "x,y":
        b.texts("one label of several, %s" % joined, "x.tsv", "a b\tx\nc d\tx\ne f\t%s\n" % joined,
                [("a b", "x"), ("c d", "x"), ("e f", joined)],
                words=["the label %s may be several" % joined])
    for twin in "01", "1e0", "+1":
        b.texts("1 and %s" % twin, "x.tsv", "a b\t1\nc d\t%s\ne f\t0\n" % twin, [("a b", "1"), (
            "c d", twin), ("e f", "0")], words=["are one number"])
    b.texts("numbers for names in JSON", "x.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b", "label": 0}',
            [("a", "pos"), ("b", "neg")], "--labels", "neg,pos", words=["places among the names"])
    b.refused("a label of nothing", "classification", "x.jsonl", '{"text": "a", "label": null}',
              ["label is null"])
    b.texts("a label for none", "x.jsonl", "".join(json.dumps({"text": a, "label": y}) + "\n" for a,
            y in
            zip(A, ["-"] + list("0101010101"))), list(zip(A, ["-"] + list("0101010101"))),
            words=["the label -, 1 time, often means that there is none"])
    b.refused("two labels of one name", "classification", "x.tsv", tsv(*ROWS), ["a label twice"],
              "--labels", "0,1,0")


def check_unlabelled(b):
    train, code, said = b.run("classification", b.file("t.tsv", tsv(*ROWS)))
    pairs = b.run("classification", b.file("t.tsv", tsv(*PAIRS)))[0]
    like, like_pairs = ["--like", train.path], ["--like", pairs.path]
    none = [(a, None) for a in A]
    both = [(x, y, None) for x, y in zip(A, B)]
    b.refused("--unlabelled with labels", "classification", "x.tsv", tsv(*zip(A, PN)),
              ["--text_column"], "--unlabelled")
    b.texts("--unlabelled with numbers for labels", "x.tsv", tsv(*ROWS), none, "--unlabelled",
            words=["text: column 1; not read: column 2"])
    b.texts("--unlabelled with labels, told", "x.tsv", tsv(*ROWS), none, "--unlabelled",
            "--text_column", "1", words=["not read: column 2"])
    b.texts("--unlabelled with labels, --like", "x.tsv", tsv(*ROWS), none, "--unlabelled", *like,
            words=["not read: column 2"])
    b.texts("--unlabelled, a header", "x.csv", table(",", ["text", "label"],
            [list(r) for r in ROWS]),
            none, "--unlabelled", words=["not read: label"])
    b.texts("--unlabelled pairs", "x.tsv", tsv(*zip(A, B)), both, "--unlabelled")
    b.texts("--unlabelled pairs, --like", "x.tsv", tsv(*zip(A, B)), both, "--unlabelled",
            *like_pairs)
    b.refused("pairs like single texts", "classification", "x.tsv", tsv(*zip(A, B)),
              ["pairs of texts", "--text_column"], "--unlabelled", *like)
    b.refused("single texts like pairs", "classification", "x.txt", "\n".join(A),
              ["single texts", "--text_pair_column"], "--unlabelled", *like_pairs)
    b.texts("lines", "x.txt", "\n".join(A), none, "--unlabelled")
    b.texts("lines of CSV", "x.csv", table(",", ["text"], [[a] for a in A]), none, "--unlabelled")
    b.refused("lines below an unknown name", "classification", "x.csv", table(",", ["body_clean"], [
        [a] for a in A]), ["--header yes or no"], "--unlabelled")
    b.texts("--like tells a header", "x.csv", table(",", ["foo", "bar"], [[a, y] for a,
            y in ROWS[:1]]),
            ROWS[:1], *like)
    b.refused("--like, one label unknown", "classification", "x.tsv", tsv(*ROWS, ("a b", "7")),
              ["x.tsv:11: the label 7 is unknown"], *like)
    b.texts("--like and 1.0", "x.tsv", tsv(*[(a, y + ".0") for a, y in ROWS]), ROWS, *like)
    sets = b.run("classification", b.file("t.tsv", tsv(("a b", "x,y"), ("c d", "y"))),
                 "--multi_label")[0]
    b.texts("--like of sets", "x.tsv", tsv(("a b", "y,x"), ("c d", "")), [("a b", ["x", "y"]),
            ("c d", [])], "--like", sets.path)
    b.texts("--like tells that there is none", "x.csv", "foo,1\nbar,0\n", [("foo", "1"), ("bar",
            "0")], *like)
    b.texts("--like tells the column", "x.csv", "1,foo\n0,bar\n", [("foo", "1"), ("bar", "0")],
            *like)
    b.refused("GLUE's test labels", "classification", "x.jsonl", '{"sentence": "a", "label": -1}',
              ["the label -1 is unknown", "--unlabelled"], *like)
    b.texts("--label_column and --unlabelled", "x.tsv", tsv(*zip(A, PN)), none, "--unlabelled",
            "--label_column", "2")


def check_json(b):
    rows = [{"text": a, "label": y} for a, y in ROWS]
    for what, content in (("lines", "".join(json.dumps(r) + "\n" for r in rows)),
                          ("lines, CRLF, blank ones", "\r\n\r\n".join(map(json.dumps, rows))),
                          ("an array", json.dumps(rows)), ("an array, pretty", json.dumps(rows,
                          indent=2)),
                          ("an array, a row a line", "[" + ",\n".join(map(json.dumps, rows)) + "]"),
                          ("data", json.dumps({"data": rows})), ("a BOM",
                          "\ufeff" + json.dumps(rows)),
                          ("data, pretty", json.dumps({"version": 1, "data": rows}, indent=1))):
        for name in "x.json", "x.jsonl", "x.txt", "x":
            b.texts("JSON in %s: %s" % (name, what), name, content, ROWS, words=["read as JSON"])
    b.refused("columns", "classification", "x.json", json.dumps({"text": A, "label": Y}),
              ["expected a string"])
    b.refused("lists", "classification", "x.jsonl", '["a", "1"]\n["b", "0"]\n',
            ["expected an object"])
    b.refused("splits", "classification", "x.json", json.dumps({"train": rows}), ["--text_column"])
    b.refused("a line that is cut", "classification", "x.jsonl",
            json.dumps(rows[0]) + '\n{"text": "b',
              ["x.jsonl:2: not JSON"])
    b.refused("a text that is none", "classification", "x.jsonl", '{"text": 5, "label": 1}',
              ["text is 5, expected a string"])
    b.texts("other keys, told", "x.jsonl", '{"q": "a", "r": "b", "gold": 1, "n": 3}\n', [("a", "b",
            "1")],
            "--text_column", "q", "--text_pair_column", "r", "--label_column", "gold")
    for task in "mlm", "pretraining":
        d, code, said = b.run(task, b.file("x.txt", "\n%s\n\n%s\n" % (A[0], A[1])))
        same(task + ", the report", (code, "read as plain text\nfirst: '%s'" % A[0] in said),
             (0, True), said)
    for length in 8, 11:  # of 88 tokens: eleven blocks, or eight
        words = "".join("a" * 6 + "\n" for _ in range(11))
        d, code, said = b.run("mlm", b.file("x.txt", words), "--max_length", str(length))
        same("mlm, nothing is dropped: %d" % length, (code, len(d.tokens), "dropped" in said),
             (0, 88 // length, False), said)
    d, code, said = b.run("mlm", b.file("x.txt", words), "--max_length", "10")
    same("mlm, what is dropped", "dropped: the last 8 tokens" in said, True, said)
    b.refused("plain text of mlm that is JSON", "mlm", "x.txt", json.dumps(rows[0]), ["plain text"])
    b.refused("plain text of mlm that is CSV", "mlm", "x.csv", "text,label\na,1\n", ["plain text"])


def check_bytes(b):
    rows = [(z, y) for z, y in zip(ZH, Y)]
    content = tsv(*rows)
    for encoding in "gb18030", "gbk", "big5":
        text = content if encoding != "big5" else tsv(*zip(["我要去車站", "天氣很好"], "10"))
        want = rows if encoding != "big5" else list(zip(["我要去車站", "天氣很好"], "10"))
        b.refused(encoding, "classification", "x.tsv", text.encode(encoding), ["--encoding",
                "gb18030"])
        b.texts(encoding + ", told", "x.tsv", text.encode(encoding), want, "--encoding", encoding,
                words=[encoding])
    for encoding in "utf-16", "utf-16-le", "utf-16-be", "utf-32":
        mark = "\ufeff" * encoding.endswith(("le", "be"))
        b.texts(encoding, "x.tsv", (mark + content).encode(encoding), rows, words=["utf-"])
        b.refused(encoding + ", told wrong", "classification", "x.tsv",
                (mark + content).encode(encoding),
                  ["byte order mark"], "--encoding", "gb18030")
    b.refused("UTF-16 without a mark", "classification", "x.tsv", content.encode("utf-16-le"),
              ["--encoding utf-16-le"])
    b.texts("UTF-16 without a mark, told", "x.tsv", content.encode("utf-16-le"), rows,
            "--encoding", "utf-16-le")
    safetensors = struct.pack("<Q", 20) + b'{"a": {"dtype": "F32"}}' + bytes(99)
    for what, raw in (("gzip", gzip.compress(content.encode())), ("a zip archive", b"PK\3\4rest"),
                      ("a pickle", pickle.dumps(rows)), ("safetensors", safetensors),
                      ("Parquet", b"PAR1abc"), ("SQLite", b"SQLite format 3\0"), ("PDF",
                      b"%PDF-1.4\n"),
                      ("HDF5", b"\x89HDF\r\n\x1a\n"), ("NumPy", b"\x93NUMPY\1\0"), ("xz",
                      b"\xfd7zXZ\0"),
                      ("bzip2", b"BZh91AY"), ("zstd", b"(\xb5/\xfd0"), ("Arrow", b"ARROW1\0\0"),
                      (".xls", b"\xd0\xcf\x11\xe0\xa1"), ("a data file", b"BRTD\1\0\0\0"),
                      ("NUL", b"a\tb\n" + bytes(9)), ("NUL", b"a\t1\nb\t0\n" * 20000 + b"\0\t1\n")):
        for task, name in (("classification", "x.tsv"), ("classification", "x.csv"), ("ner",
                "x.txt"),
                           ("mlm", "x.txt"), ("qa", "x.json"), ("pretraining", "x")):
            b.refused("%s, %s" % (what, task), task, name, raw, [what.split()[-1]])
    b.texts("three places", "x.tsv", b"the caf\xe9s\t1\nla\xdft\t0\n", [("the caf\ufffds", "1"),
            ("la\ufffdt", "0")], "--header", "no", words=["is not UTF-8 in 2 places",
            "0xE9 behind 'the caf' in line 1:", "--encoding cp1252"])
    for encoding in "gb18030", "big5":
        b.refused("not UTF-8: " + encoding, "classification", "x.csv", "text,label\n\n好,1\n坏,0\n"
                  "好,1\n坏,0\n".encode(encoding), [" in line 3: name its --encoding"])
    b.texts("many places, told", "x.tsv", b"\xe9\xff\xe9\xff a\t1\nb\t0\n", [("a", "1"), ("b",
            "0")],
            "--encoding", "utf-8", "--header", "no", words=["4 places"])
    b.refused("unknown encoding", "classification", "x.tsv", content, ["--encoding klingon"],
              "--encoding", "klingon")
    b.refused("an encoding of no text", "classification", "x.tsv", content, ["--encoding base64"],
              "--encoding", "base64")
    d, code, said = b.run("classification", b.file("x.tsv", "".join("%s\t%d\n" % (
        chr(0x0561 + k) * 5 + " " + chr(0x0571 + k) * 4, k % 2) for k in range(10))))
    same("a vocabulary of another language", "half of the tokens are [UNK]" in said, True, said)
    folder = os.path.join(b.folder, "hub")
    os.makedirs(folder)
    b.refused("a folder", "classification", folder, None, ["a file"])
    open(os.path.join(folder, "dataset_info.json"), "w").close()
    b.refused("a data set's folder", "classification", folder, None, ["load_from_disk"])
    open(os.path.join(folder, "config.json"), "w").close()
    b.refused("a model's folder", "classification", folder, None, ["dev/export_hf.py"])
    b.refused("a model's folder as --model", "classification", "x.tsv", content,
            ["dev/export_hf.py"],
              model=folder)
    b.refused("a name of the hub", "classification", "x.tsv", content, ["dev/download.py"],
              model="google-bert/bert-base-uncased")


def check_cases(b):
    """../shared/cases: the files that the faults were found with."""
    if not os.path.isdir(CASES):
        print("skipped: %s is not there" % CASES)
        return
    at = lambda *path: open(os.path.join(CASES, *path), "rb").read()
    film = [("a good film", "0"), ("a bad film", "1")]
    for name in "tweets.csv", "tweet2.csv":
        b.texts(name, name, at("header_label_first", name), film)
    unknown = lambda name: at("header_unknown_label", name)
    b.texts("imdb.csv", "imdb.csv", unknown("imdb.csv"), [("A good film", "positive"), (
        "A bad film", "negative"), ("Good, very good", "positive")])
    b.texts("imdb_dev.csv", "imdb_dev.csv", unknown("imdb_dev.csv"), [("A good film", "positive")])
    b.texts("airline.csv", "airline.csv", unknown("airline.csv"), [("a good film", "positive"), (
        "a bad film", "negative")])
    b.texts("intent.csv", "intent.csv", unknown("intent.csv"), [("a good film", "review_movie"), (
        "where is paris", "ask_city")])
    for name in "array.json", "array_pretty.json":
        b.texts(name, name, at("json_array", name), [("a good film", "1"), ("a bad film", "0")])
    b.texts("sms.tsv", "sms.tsv", at("label_first_column", "sms.tsv"), [
        ("Good film is in london", "ham"), ("free film to review", "spam"),
        ("see the city in paris", "ham")])
    b.texts("multihot.jsonl", "m.jsonl", at("multi_hot_json", "multihot.jsonl"), [
        ("a good film", ["1"]), ("a bad film", ["0", "2"]), ("the city", [])])
    b.ner("chinese_blank.txt", "c.txt", at("ner_blank_word", "chinese_blank.txt"), [
        "我/O _/O 在/O 北/B-LOC 京/I-LOC", "你/O"])
    b.ner("chinese_tab_blank.txt", "c.txt", at("ner_blank_word", "chinese_tab_blank.txt"), [
        "我/O _/O 在/O _/O 北/B-LOC 京/I-LOC"])
    b.ner("germeval.tsv", "g.tsv", at("ner_index_column", "germeval.tsv"), [
        "Jim/B-PER works/O at/O Acme/B-ORG", "Paris/B-LOC is/O"])
    b.ner("indexed.txt", "i.txt", at("ner_index_column", "indexed.txt"), [
        "Jim/B-PER works/O", "Paris/B-LOC is/O"])
    b.ner("ner.jsonl", "n.jsonl", at("ner_jsonl", "ner.jsonl"), ["Jim/B-PER works/O"])
    b.ner("ner_multi.jsonl", "n.jsonl", at("ner_jsonl", "ner_multi.jsonl"), [
        "Jim/B-PER works/O", "Paris/B-LOC is/O good/O"])
    for folder, name, want in (
            ("qa_empty_answer", "q_emptytext.json", [("1", "Who works?", ["Jim"]), ("2", "When?",
            [])]),
            ("qa_flat", "q_flat.json", [("1", "Who works?", ["Jim"]), ("2", "Who works?",
            ["Jim"])]),
            ("qa_flat", "q_flat.jsonl", [("1", "Who works?", ["Jim"]), ("2", "Who works?",
            ["Jim"])])):
        d, code, said = b.run("qa", b.file(name, at(folder, name)))
        same(name, (code, d and d.questions), (0, want), said)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokenizer", default=os.path.join(ROOT, "tokenizer.py"))
    args = parser.parse_args()
    spec = importlib.util.spec_from_file_location("ours", args.tokenizer)
    ours = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ours)
    with tempfile.TemporaryDirectory(prefix="text_files.") as folder:
        builder = Builder(ours, folder)
        for check in (check_glue, check_texts, check_ner, check_qa, check_headers, check_more,
                      check_written, check_labels, check_unlabelled, check_json, check_bytes,
                      check_cases):
            check(builder)
            so_far(check.__name__[6:])
    sys.exit(finish())


if __name__ == "__main__":
    main()
