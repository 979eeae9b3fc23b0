#!/usr/bin/env python3
"""Compare the data files that tokenizer.py builds with the live Hugging Face library, task by task.

    python3 dev/check/data_files.py HF_DIR MODEL.bin   MODEL.bin: dev/export_hf.py made it of HF_DIR

The files are read back by the byte table in dev/driver/data.h alone. Windows, offsets and labels of
qa are held against transformers' run_qa.py, words and labels of ner against is_split_into_words,
blocks of mlm against run_mlm.py's group_texts: on the data sets in ../shared/data, on files made up
here and on random ones. Then bad input: every case has to end with exit code 1 and its message.
"""
import argparse
import array
import contextlib
import csv
import functools
import io
import json
import os
import random
import re
import sys
import tempfile
import zlib

from transformers import AutoTokenizer

import wordpiece as ct
from common import DEV, SHARED, attempt, finish, read_data, same, so_far, write
from wordpiece import ours


class Builder:
    """Runs tokenizer.py's main on files in a folder of its own."""

    def __init__(self, model):
        self.model, self.held = model, tempfile.TemporaryDirectory(prefix="check_data.")
        self.folder = self.held.name
        self.count = 0
        ours.Model = functools.lru_cache(None)(ours.Model)  # loaded once, not for every file

    def file(self, name, content):
        return write(os.path.join(self.folder, name), content)

    def run(self, task, path, *flags):
        """(path of the data file, exit code, what was printed)"""
        self.count += 1
        out = os.path.join(self.folder, "%d.bin" % self.count)
        said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        sys.argv = ["tokenizer.py", task, path, out, "--model", self.model] + list(map(str, flags))
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                ours.main()
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
                if code == 1:
                    said.write(str(error.code))
        said.flush()
        return out, code, said.buffer.getvalue().decode("utf-8")

    def build(self, task, path, *flags):
        out, code, said = self.run(task, path, *flags)
        assert code == 0, said
        d = read_data(out)
        d.path, d.said = out, said
        return d


# ----------------------------------------------------------------------------------------- qa

def squad(questions, version="v2.0"):
    """SQuAD's JSON of (id, question, context, [(start, text)])."""
    return json.dumps({"version": version, "data": [{"title": "t", "paragraphs": [
        {"context": context, "qas": [{"id": name, "question": question, "is_impossible": not golds,
                                      "answers": [{"text": t, "answer_start": s}
                                                  for s, t in golds]}]}
        for name, question, context, golds in questions]}]})


def flat(path):
    with open(path, encoding="utf-8") as file:
        return [(qa["id"], qa["question"], p["context"],
                 [(a["answer_start"], a["text"]) for a in qa["answers"]])
                for article in json.load(file)["data"] for p in article["paragraphs"]
                for qa in p["qas"]]


def run_qa_label(offsets, sequence, start, end):
    """start and end position as run_qa.py's prepare_train_features finds them, and whether its
    start ran over the context's last token onto [SEP], as its own comment says it may."""
    context = [k for k, s in enumerate(sequence) if s == 1]
    first, last = context[0], context[-1]
    if not (offsets[first][0] <= start and offsets[last][1] >= end):
        return (0, 0), False
    while first < len(offsets) and offsets[first][0] <= start:
        first += 1
    while offsets[last][1] >= end:
        last -= 1
    return (first - 1, last + 1), first - 1 > context[-1]


def check_qa(hf, builder, questions, max_length, stride, what, labelled=True):
    """Every window, offset, label and string; the number of windows at run_qa's edge."""
    path = builder.file("qa.json", squad(questions))
    flags = ["--max_length", max_length, "--doc_stride", stride] \
        + ["--unlabelled"] * (not labelled)
    try:
        theirs = hf([q.lstrip() for _, q, _, _ in questions], [c for _, _, c, _ in questions],
                    truncation="only_second", max_length=max_length, stride=stride,
                    return_overflowing_tokens=True, return_offsets_mapping=True)
    except BaseException as error:  # an exception or a panic of the Rust library: no room
        if isinstance(error, KeyboardInterrupt):
            raise
        _, code, said = builder.run("qa", path, *flags)
        same(what + ", no room", (code, "for the context, expected more than --doc_stride" in said),
             (1, True), said)
        return 0
    d = builder.build("qa", path, *flags)
    same(what + ", tokens", d.tokens, theirs["input_ids"], what)
    same(what + ", questions", d.words, theirs["overflow_to_sample_mapping"], what)
    same(what + ", strings", (d.questions, d.texts), (
        [(i, q, [t for _, t in golds] if labelled else []) for i, q, _, golds in questions],
        [c for _, _, c, _ in questions]), what)
    same(what + ", header", (d.max_length, d.stride, d.groups, d.v2), (
        max_length, stride, len(questions), 1), what)
    edges = 0
    for k in range(min(d.n, len(theirs["input_ids"]))):
        sequence, offsets = theirs.sequence_ids(k), theirs["offset_mapping"][k]
        _, question, context, golds = questions[d.words[k]]
        label, edge = run_qa_label(offsets, sequence, golds[0][0], golds[0][0] + len(golds[0][1])) \
            if golds else ((0, 0), False)
        if edge:
            edges += 1
            label = len(sequence) - 2, label[1]
        same(what + ", window", (d.segments[k], d.spans[k], d.labels[k] if labelled else label),
             (theirs["token_type_ids"][k].index(1),
              [tuple(o) if s == 1 else (-1, -1) for s, o in zip(sequence, offsets)], label),
             question)
    return edges


def random_questions(rng, unicode, count):
    """Contexts of strange characters; an answer is any stretch that is more than blanks."""
    out = []
    while len(out) < count:
        context = "a " + " ".join(ct.random_text(rng, unicode, ["[MASK]", "[SEP]"])
                           for _ in range(rng.randint(1, 12)))
        a, b = sorted(rng.sample(range(len(context) + 1), 2))
        b = min(b, a + 60)
        if rng.random() < 0.1:
            a, b = context.rfind(" ") + 1, len(context)  # the end
        golds = [(a, context[a:b])] if rng.random() < 0.8 and a < b else []
        if golds and rng.random() < 0.3:
            golds.append((0, context[:rng.randint(1, len(context))]))
        out.append(("q%d" % len(out), "  " * rng.randint(0, 1) + ct.random_text(
            rng, unicode, ["[MASK]"])[:20], context, golds))
    return out


# ---------------------------------------------------------------------------------------- ner

def check_ner(hf, builder, sentences, max_length, what, content=None, flags=()):
    """sentences: [(words, tags)]; content: their file, where it is not just these columns."""
    if content is None:
        content = "\n\n".join("\n".join("%s\t%s" % pair for pair in zip(*s)) for s in sentences)
    path = builder.file("ner.conll", content)
    d = builder.build("ner", path, "--max_length", max_length, *flags)
    names = sorted({tag for _, tags in sentences for tag in tags})
    same(what + ", tags", d.names, names, what)
    same(what + ", sentences", (d.n, d.max_length), (len(sentences), max_length), what)
    for k, (words, tags) in enumerate(sentences[:d.n]):
        theirs = hf(words, is_split_into_words=True, truncation=True, max_length=max_length,
                    return_offsets_mapping=True)
        owners = theirs.word_ids()
        starts, at = [], 0
        for word in words:
            starts.append(at)
            at += len(word) + 1
        labels = [-1 if o is None or o == owners[i - 1] else names.index(tags[o])
                  for i, o in enumerate(owners)]
        spans = [(-1, -1) if o is None else (starts[o] + a, starts[o] + b)
                 for o, (a, b) in zip(owners, theirs["offset_mapping"])]
        same(what, (d.tokens[k], d.words[k], d.labels[k], d.spans[k], d.texts[k], d.segments[k]),
             (theirs["input_ids"], [-1 if o is None else o for o in owners], labels, spans,
              " ".join(word.replace(" ", "\u00a0") for word in words), len(owners)), words[0])
        same(what + ", words in the text", d.texts[k].split(" "),
             [word.replace(" ", "\u00a0") for word in words], words[0])
    return d


def read_conll(path):
    sentences, words, tags = [], [], []
    with open(path, encoding="utf-8", newline="\n") as file:
        for line in list(file) + ["\n"]:
            if line.strip():
                word, tag = line.rstrip("\n").split("\t")
                words.append(word)
                tags.append(tag)
            elif words:
                sentences.append((words, tags))
                words, tags = [], []
    return sentences


NER_FILE = """# sent_id = 1
# text = EU rejects # 5
-DOCSTART- -X- -X- O

EU NNP I-NP B-ORG
rejects VBZ B-VP O
# SYM B-NP O
5\u00a06 CD I-NP O
\u0001 X X O
\u200b X X B-ORG
na\u00efvet\u00e9 NN B-NP B-MISC\r
\r
# id O
# O B-NP O
unbelievably RB B-ADVP I-MISC
-DOCSTART- -X- -X- O

[MASK] NN B-NP O
"""
NER_SENTENCES = [
    (["EU", "rejects", "#", "5\u00a06", "\u0001", "\u200b", "na\u00efvet\u00e9"],
     ["B-ORG", "O", "O", "O", "O", "B-ORG", "B-MISC"]),
    (["#", "unbelievably"], ["O", "I-MISC"]), (["[MASK]"], ["O"])]


# ------------------------------------------------------------------------- mlm and pretraining

def group_texts(hf, texts, size):
    """run_mlm.py: tokenized with special tokens, concatenated, cut, the rest dropped."""
    tokens = [t for ids in hf(texts)["input_ids"] for t in ids]
    total = len(tokens) // size * size if len(tokens) >= size else len(tokens)
    return [tokens[k:k + size] for k in range(0, total, size)]


def check_lines(hf, builder, path, what):
    """mlm, joined and line by line, and pretraining, of one file."""
    with open(path, encoding="utf-8", newline="\n") as file:
        text = [line.rstrip("\n") for line in file]
    texts = [line for line in text if line.strip()]
    for size in (128, 512):
        d = builder.build("mlm", path, "--max_length", size)
        blocks = group_texts(hf, texts, size)
        same("%s, blocks of %d" % (what, size), (d.tokens, d.segments, d.labelled, d.K),
             (blocks, [len(b) for b in blocks], 0, 0), what)
    d = builder.build("mlm", path, "--max_length", 64, "--line_by_line")
    same(what + ", lines", d.tokens, hf(texts, truncation=True, max_length=64)["input_ids"], what)
    d = builder.build("pretraining", path, "--max_length", 64)
    documents = [[]]  # as google-research/bert reads them
    for line, ids in zip(text, hf(text, add_special_tokens=False)["input_ids"]):
        if not line.strip():
            documents.append([])
        elif ids:
            documents[-1].append(ids)
    documents = [doc for doc in documents if doc]
    same(what + ", documents", [d.tokens[a:b] for a, b in zip(d.documents, d.documents[1:])],
         documents, what)
    same(what + ", segments", d.segments, list(map(len, d.tokens)), what)


# --------------------------------------------------------------------------- texts and numbers

def check_pairs(hf, builder, path, what):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    for length in (24, 128):
        d = builder.build("regression", path, "--max_length", length)
        theirs = hf([a for a, _, _ in rows], [b for _, b, _ in rows], truncation=True,
                    max_length=length)
        same(what + ", tokens", d.tokens, theirs["input_ids"], what)
        same(what + ", types", [[int(k >= s) for k in range(len(t))]
                                for s, t in zip(d.segments, d.tokens)],
             theirs["token_type_ids"], what)
        same(what + ", values", d.labels, list(array.array("f", (float(v) for _, _, v in rows))),
             what)


def check_choices(hf, builder, path):
    """SWAG's columns, encoded as run_swag.py does; the same as JSON lines, and as RACE's."""
    with open(path, encoding="utf-8", newline="") as file:
        texts = [text for a, b, _ in csv.reader(file) for text in (a, b)][:600]
    rows = [(texts[k], texts[k + 1][:9], texts[k + 2:k + 6], k % 4)
            for k in range(0, len(texts) - 6, 6)]
    table, out = io.StringIO(), []
    csv.writer(table).writerows([["", "sent1", "sent2"] + ["ending%d" % k for k in range(4)] + [
        "label"]] + [[0, a, b] + c + [label] for a, b, c, label in rows])
    as_json = lambda *names: "\n".join(json.dumps(dict(zip(names, row))) for row in out)
    for length in (16, 128):
        flags = "--max_length", length
        d = builder.build("multiple_choice", builder.file("c.csv", table.getvalue()), *flags)
        seconds = [b + " " + ending for _, b, c, _ in rows for ending in c]
        theirs = hf([a for a, _, _, _ in rows for _ in range(4)], seconds, truncation=True,
                    max_length=length)
        same("choices, tokens", d.tokens, theirs["input_ids"], "")
        same("choices, types", [[int(k >= s) for k in range(len(t))]
                                for s, t in zip(d.segments, d.tokens)],
             theirs["token_type_ids"], "")
        same("choices, the rest", (d.labels, d.texts, d.documents),
             ([row[3] for row in rows], seconds, list(range(0, 4 * len(rows) + 1, 4))), "")
        wanted = open(d.path, "rb").read()
        out[:] = [(a, [b + " " + x for x in c], label) for a, b, c, label in rows]
        like = builder.build("multiple_choice", builder.file("c.jsonl", as_json(
            "text", "choices", "label")), *flags)
        same("choices, JSON lines", open(like.path, "rb").read() == wanted, True, "")
        out[:] = [(a, b, c, "ABCD"[label]) for a, b, c, label in rows]
        like = builder.build("multiple_choice", builder.file("c.jsonl", as_json(
            "article", "question", "options", "answer")), *flags)
        same("choices, RACE's", open(like.path, "rb").read() == wanted, True, "")


def check_like_choices(builder):
    """A head has one logit whatever the number of choices, in Hugging Face as here: --like takes a
    file with another number of them over."""
    row = dict(text="Why?", choices=["a b c d e f", "c", "d", "e"], label=3)
    train = builder.build("multiple_choice", builder.file("t.jsonl", json.dumps(row)),
                          "--max_length", 9)
    row.update(choices=row["choices"][:2], label=0)
    d = builder.build("multiple_choice", builder.file("e.jsonl", json.dumps(row)), "--like",
                      train.path)
    same("choices --like", (d.max_length, d.documents, d.labels, d.tokens),
         (9, [0, 2], [0], train.tokens[:2]), "")
    del row["label"]
    d = builder.build("multiple_choice", builder.file("u.jsonl", json.dumps(row)), "--unlabelled",
                      "--like", train.path)
    same("choices --unlabelled", (d.labelled, d.documents, d.tokens),
         (0, [0, 2], train.tokens[:2]), "")


def check_multi_label(builder):
    sets = [["b c", "a"], [], ["10", "b c", "9"], ["a", "a"]]
    rows = [{"text": "Text %d" % k, "labels": s} for k, s in enumerate(sets)]
    d = builder.build("classification", builder.file("m.jsonl", "\n".join(map(json.dumps, rows))))
    expected = ["9", "10", "a", "b c"], [[2, 3], [], [0, 1, 3], [2]], 1
    same("multi-label JSON", (d.names, d.labels, d.multi), expected, "")
    like = builder.build("classification", builder.file("l.jsonl", json.dumps(
        {"text": "x", "labels": ["b c", "9"]})), "--like", d.path)
    same("multi-label --like", (like.names, like.labels, like.multi),
         (d.names, [[0, 3]], 1), "")
    for name, text in (("m.tsv", "t\tc,a\nt\t\nt\tb,a,,c\n"),
                       ("m.tsv", "t\tc a\nt\t\nt\tb a  c\n"),
                       ("m.csv", 't,"c, a"\nt,\nt,"b,a,c"\n')):
        d = builder.build("classification", builder.file(name, text), "--multi_label")
        same(name, (d.names, d.labels, d.multi), (["a", "b", "c"], [[0, 2], [], [0, 1, 2]], 1), "")
    d = builder.build("classification", builder.file("m.tsv", "t\tb\nt\ta\n"), "--multi_label",
                      "--labels", "b,a,z")
    same("--labels", (d.names, d.labels), (["b", "a", "z"], [[0], [1]]), "")


def check_unlabelled(hf, builder):
    """What predict reads: no labels, one example a line, a sentence, a question."""
    d = builder.build("mlm", builder.file("s.txt", "shorter\nthan a block\n"))
    same("less than a block is a block", d.tokens,
         group_texts(hf, ["shorter", "than a block"], 512), "")
    d = builder.build("mlm", builder.file("u.txt", "a [MASK] c\n\nno mask\n"), "--unlabelled")
    same("mlm lines", d.tokens, hf(["a [MASK] c", "", "no mask"])["input_ids"], "")
    same("mlm warning", "u.txt:2: no [MASK], nothing to predict; lines like this: 2" in d.said,
         True, d.said)
    train = builder.build("ner", builder.file("t.conll", "a\tO\nb\tB-X\n"), "--max_length", 99)
    for text in "#\nhash\n\nend\n", "#\tO\nhash\tB-NEW\n\nend\tO\n":
        for flags in [], ["--like", train.path]:
            d = builder.build("ner", builder.file("u.conll", text), "--unlabelled", *flags)
            same("ner words", (d.texts, d.K, d.labelled, d.max_length),
                 (["# hash", "end"], 0, 0, 99 if flags else 512), text)
    d = builder.build("ner", builder.file("e.conll", "c\tB-X\n"), "--like", train.path)
    same("ner --like", (d.names, d.labels), (["B-X", "O"], [[-1, 0, -1]]), "")
    q = squad([("1", "who", "It was me.", [])]).replace('"answers": []', '"x": 0')
    d = builder.build("qa", builder.file("u.json", q), "--unlabelled")
    same("qa without answers", (d.questions, d.max_length, d.stride),
         ([("1", "who", [])], 384, 128), "")
    d = builder.build("qa", builder.file("u.json", q), "--unlabelled", "--like", builder.build(
        "qa", builder.file("v.json", squad([("1", "who", "It was me.", [(7, "me")])], "1.1")),
        "--max_length", 20, "--doc_stride", 4).path)
    same("qa --like", (d.max_length, d.stride), (20, 4), "")


def check_misplaced(builder):
    """Answers that are not where they should be: named; skipped for training, kept with --like."""
    good, bad = ("ok", "q", "It was me.", [(7, "me")]), ("bad", "q", "It was me.", [(6, "me")])
    second = "half", "q", "It was me.", [(99, "you"), (0, "It")]
    train = builder.build("qa", builder.file("a.json", squad([good, bad, second], "1.1")))
    same("skipped", [q[0] for q in train.questions], ["ok", "half"], "")
    same("the answer in its place is taken", train.labels, [(5, 5), (3, 3)], "")
    for words in ("qas[0] (id bad): the answer 'me' is not at character 6 of its context",
                  "not in its context: 2"):
        same("named", words in train.said, True, train.said)
    d = builder.build("qa", builder.file("a.json", squad([good, bad], "1.1")), "--like", train.path)
    same("kept", (d.questions, d.labels, d.v2), ([("ok", "q", ["me"]), ("bad", "q", ["me"])],
                                                 [(5, 5), (0, 0)], 0), "")


def check_bytes(builder):
    """Bytes that are no UTF-8 become U+FFFD, which is cleaned away: that is said, and where."""
    d = builder.build("classification", builder.file("l.tsv", b"a\tx\nthe caf\xe9s \xff\ty\n"),
                      "--header", "no")
    same("Latin-1", "l.tsv: is not UTF-8 in 2 places, the first is 0xE9 behind 'the caf'" in d.said,
         True, d.said)
    d = builder.build("classification", builder.file("l.tsv", "a \ufffd\tx\nb\ty\n"), "--header",
                      "no")
    same("U+FFFD itself", "UTF-8" in d.said, False, d.said)


# ----------------------------------------------------------------------------------- bad input

def bad_qa(**changes):
    qa = {"id": "7", "question": "who", "answers": [{"text": "me", "answer_start": 7}]}
    qa.update(changes)
    return json.dumps({"data": [{"paragraphs": [{"context": "It was me.", "qas": [
        {k: v for k, v in qa.items() if v is not None}]}]}]})


QAS = "bad.json: .data[0].paragraphs[0].qas[0]"
BAD = {  # task and file: content, flags, what the message has to say
    ("ner", "bad.conll"): [
        ("", "", "bad.conll: is empty"),
        ("\n\n \n", "", "bad.conll: is empty"),
        ("a O\nb\n", "", "bad.conll:2: 1 column, expected 2 as in the lines bef"),
        ("a X O\n\nb O\n", "", "bad.conll:3: 2 columns, expected 3"),
        ("word\n", "", "bad.conll:1: 1 column, word, expected a word and its tag"),
        ("a\tO\nb\tI-\n", "", "bad.conll:2: the tag is I-, expected O or one"),
        ("a\tO\nb\t\n", "", "bad.conll:2: the tag is empty"),
        ("\tO\n", "", "bad.conll:1: the first column, the word, is empty"),
        ("a\tO\n\nb\tO\nc\tB-X\n", "--labels=O", "bad.conll:4: the label B-X is "
         "unknown, expected one of O"),
        (b"\xff\xfea\0", "", "bad.conll:1: 1 column, a, expected a word and"),
        ("a O\n", "--max_length=2", "--max_length is 2, expected 3 to 512"),
        ("a O\n", "--labels=O,O", "--labels O,O: a label twice")],
    ("qa", "bad.json"): [
        ("", "", "bad.json: is empty"),
        ('{"data": [\n{,]}', "", "bad.json:2: not JSON: "),
        ("[" * 99999, "", "bad.json:1: not JSON: "),
        ("[1]", "", "bad.json: [0] is 1, expected an object"),
        ('{"data": []}', "", "bad.json: is empty"),
        ('{"data": 5}', "", "bad.json:1 has no paragraphs, qas or question"),
        ('{"data": [5]}', "", "bad.json: .data[0] is 5, expected an object"),
        ('{"data": [{}]}', "", "bad.json: .data[0] has no paragraphs, qas or "),
        (bad_qa(answers=None), "", QAS + " (id 7) has no answers"),
        (bad_qa(id=[1]), "", QAS + ".id is [1], expected a string"),
        (bad_qa(question=["x"]), "", QAS + " (id 7).question is [\"x\"]"),
        (bad_qa(answers=[{"text": "me"}]), "", QAS + " (id 7).answers[0] has no "
         "answer_start, expected a whole number"),
        (bad_qa(answers=[{"text": "me", "answer_start": True}]), "",
         "answers[0].answer_start is true, expected a whole number"),
        (bad_qa(answers=[{"text": "", "answer_start": 0}]), "", "text is empty"),
        (bad_qa(answers=[{"text": "x", "answer_start": 0}]), "",
         "bad.json: no question whose answer is in its context"),
        (bad_qa(question="who " * 500), "", QAS + " (id 7): the question has 500 "
         "tokens, of --max_length 384 that leaves 0 for the context, expected more than --doc_"),
        (bad_qa().replace("me.", "me." + " so" * 999), "--doc_stride=400",
         "leaves 380 for the context, expected more than --doc_stride 400"),
        (bad_qa().replace("It was me.", " \\u0001 "), "", QAS + " (id 7): the "
         "context has no tokens, expected text"),
        (squad([("1", "q", "a b", [(0, "a")])] * 2), "", "(id 1): this id was there")],
    ("mlm", "bad.txt"): [
        ("", "", "bad.txt: is empty"),
        (" \n\n", "", "bad.txt: has only blank lines"),
        (" \n\n", "--line_by_line", "bad.txt: has only blank lines"),
        ("a\n", "--max_length=513", "--max_length is 513, expected 3 to 512")],
    ("multiple_choice", "bad.jsonl"): [
        ("", "", "bad.jsonl: is empty"),
        ('{"a": 1}', "", "bad.jsonl: the columns are a, expected text, choices, label; or sent1"),
        ('{"text": "a", "choices": ["b"], "label": 0}', "", "1 choice, expected 2 or more"),
        ('{"text": "a", "choices": "b", "label": 0}', "", "bad.jsonl:1: expected a string in text "
         "and a list of them in choices"),
        ('{"text": "a", "choices": ["b", "c"], "label": 2}', "", "the label is 2, expected 0 to 1"),
        ('{"text": "a", "choices": ["b", "c"], "label": -1}', "", "the label is -1, expected 0"),
        ('{"text": "a", "choices": ["b", "c"], "label": 0}\n'
         '{"text": "a", "choices": ["b", "c", "d"], "label": 0}', "", "bad.jsonl:2: 3 choices, "
         "expected as in the rows before, 2")],
    ("pretraining", "bad.txt"): [
        ("", "", "bad.txt: is empty"),
        ("\n\n", "", "bad.txt: 0 documents, expected at least 2"),
        ("a\nb\n\n\n", "", "bad.txt: 1 document, expected at least 2"),
        ("a\n\nb\n", "--max_length=4", "--max_length is 4, expected 5")],
    ("classification", "bad.jsonl"): [
        ('{"text": "a", "labels": ["x"]}\n{"text": "a", "labels": "x"}',
         "", "bad.jsonl:2: the label is x, expected a list as before"),
        ('{"text": "a", "label": "x"}\n{"text": "a", "label": ["x"]}',
         "", "bad.jsonl:2: the label is a list, expected one label as before"),
        ('{"text": "a", "labels": [null]}', "", "bad.jsonl:1: labels is "
         "[null], expected a string, a number or a list of them"),
        ('{"text": "a", "labels": [""]}', "", "bad.jsonl:1: the label "
         "is empty"),
        ('{"text": "a",', "", "bad.jsonl:1: not JSON: ")],
    ("classification", "bad.tsv"): [
        ("a\tx,q\n", "--multi_label --labels=x,y", "bad.tsv:1: the label "
         "q is unknown, expected one of x, y"),
        ("a\t \n", "", "bad.tsv:1: the label is empty")],
    ("regression", "bad.csv"): [
        ("a,b,1\na,b,many\n", "", "bad.csv:2: the label is many, expected"),
        ("a,b,1\na,2\n", "", "bad.csv:2: 2 columns, expected 3"),
        ("a,b,\n", "", "bad.csv: which column is what?"),
        ("a,b,1\na,b,\n", "", "bad.csv:2: the label is empty"),
        ('a,"b,1\n', "", "bad.csv:1: not CSV: "),
        ("a,1\n", "--labels=1", "--labels: regression has numbers")],
    ("regression", "bad.jsonl"): [
        ('{"text": "a", "score": [1]}', "", "bad.jsonl:1: the label is a "
         "list, expected a number")]}


def check_bad(builder):
    for (task, name), content, flags, message in (
            (key, *case) for key, cases in BAD.items() for case in cases):
        out, code, said = builder.run(task, builder.file(name, content), *flags.split())
        same("%s, bad input" % task, (code, message in said, os.path.exists(out)), (1, True, False),
             "%s: %s" % (message, said))
    train = builder.build("ner", builder.file("t.conll", "a\tO\nb\tB-X\n"))
    _, code, said = builder.run("ner", builder.file("e.conll", "a\tO\nb\tB-NEW\n"), "--like",
                                train.path)
    message = "e.conll:2: the label B-NEW is unknown, expected one of B-X, O"
    same("a tag only in the evaluation file", (code, message in said), (1, True), said)
    _, code, said = builder.run("qa", builder.file("q.json", bad_qa()), "--like", train.path)
    same("--like of another task", (code, "is not a qa file" in said), (1, True), said)
    code, out, error = attempt("./tokenizer.py", "ner", builder.file("b.conll", "a O\nb\n"),
                               os.path.join(builder.folder, "no.bin"), "--model", builder.model)
    same("as a process", (code, out, error.endswith("lines before\n")), (1, "", True), error)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="Hugging Face folder")
    parser.add_argument("model", help="model.bin that dev/export_hf.py made of the folder")
    parser.add_argument("--shared", default=SHARED, help="folder of the real data sets")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hf, builder = AutoTokenizer.from_pretrained(args.folder), Builder(args.model)
    hf.model_max_length = 10**9  # no warning where a text is longer than the model
    with open(os.path.join(DEV, "unicode.bin.z"), "rb") as file:
        unicode = ours.Unicode(zlib.decompress(file.read()))
    ct.random_text.marks = [chr(c) for c in ct.code_points(unicode, False) if unicode[chr(c)] >> 8]
    rng = random.Random(args.seed)

    # Real data.
    at = lambda *names: os.path.join(args.shared, *names)
    if os.path.isdir(args.shared):
        for part in "train", "dev":
            questions = flat(at("xquad", part + ".json"))
            for max_length, stride in (384, 128), (96, 20), (128, 64):
                fit = [q for q in questions if max_length - stride > 64 or len(q[1]) < 160]
                edges = check_qa(hf, builder, fit, max_length, stride,
                                 "xquad, %d %d" % (max_length, stride))
                print("xquad %s, %d %d: %d answers in a window's last token" % (
                    part, max_length, stride, edges))
            so_far("xquad " + part)
            check_pairs(hf, builder, at("stsb", part + ".csv"), "stsb")
            check_choices(hf, builder, at("stsb", part + ".csv"))
            so_far("stsb " + part)
            for length in 16, 512:
                check_ner(hf, builder, read_conll(at("wnut17", part + ".conll")), length, "wnut17")
            so_far("wnut17 " + part)
            check_lines(hf, builder, at("wikitext2", part + ".txt"), "wikitext2")
            so_far("wikitext2 " + part)
    else:
        print("skipped: %s is not there" % os.path.normpath(args.shared))

    # Made up and random.
    context = "Zo\u00eb\u2019s caf\u00e9 \U0001F600 opened in 1987. "
    context += "It sells cakes. " * 30 + "End"
    place = lambda text: (context.rindex(text), text)
    made_up = [("1", "  When?", context, [place("1987"), place("in 1987")]),
               ("2", "Why?", context, []), ("3", "What?", context, [place("End")]),
               ("4", "", context, [(0, "Zo\u00eb")]),
               ("5", "Who\ud83d?".encode("utf-8", "replace").decode(), context, [(0, context)]),
               ("6", "caf\u00e9?", context, [(6, "caf"), place("\U0001F600")])]
    for max_length, stride in (384, 128), (40, 10), (30, 0), (128, 100):
        check_qa(hf, builder, made_up, max_length, stride, "made-up v2.0")
    check_qa(hf, builder, made_up, 40, 10, "unlabelled", labelled=False)
    for _ in range(150):
        max_length = rng.randint(20, 120)
        check_qa(hf, builder, random_questions(rng, unicode, 6) + made_up[:2], max_length,
                 rng.randint(0, max_length - 20), "random qa")
    so_far("qa, made up and random")
    check_ner(hf, builder, NER_SENTENCES, 512, "made-up CoNLL", NER_FILE)
    check_ner(hf, builder, NER_SENTENCES, 7, "made-up CoNLL", "\ufeff" + NER_FILE)
    check_ner(hf, builder, [(["the"], ["DT"]), (["#", "5"], ["SYM", "CD"])], 512, "parts of speech",
              "# text\nthe DT\n\n# SYM\n5 CD")
    for _ in range(200):
        sentences = []
        for n in rng.choices(range(9), k=4):
            words = [ct.random_text(rng, unicode, ["[MASK]"]) for _ in range(n)]
            words = ["a"] + [re.sub("[\t\n\0]", "", word).strip(" ") or "x" for word in words]
            sentences.append((words, ["O"] + rng.choices(("O", "B-X", "I-Y"), k=n)))
        check_ner(hf, builder, sentences, rng.randint(3, 90), "random ner")
    so_far("ner, made up and random")
    text = ("A first one.\n \u0001\n\u0001\nA second.\n\n \nAnother document\r\n"
            + "\u4e2d\u6587" * 300 + "\n\u0001\n\n" + "x" * 3000)  # a long line without spaces
    check_lines(hf, builder, builder.file("lines.txt", text), "made-up lines")
    check_like_choices(builder)
    check_multi_label(builder)
    check_unlabelled(hf, builder)
    check_misplaced(builder)
    check_bytes(builder)
    so_far("lines, multi-label, unlabelled")
    check_bad(builder)
    so_far("%d cases of bad input" % sum(map(len, BAD.values())))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
