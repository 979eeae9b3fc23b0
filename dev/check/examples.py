#!/usr/bin/env python3
"""dev/examples/ against Hugging Face, with MiniLM and random heads that are sure of something.

    python dev/check/examples.py models/all-MiniLM-L6-v2 data/movie-reviews/dev.tsv

The programs are built (make examples). classify and fill_mask: the pipelines; answer: run_qa's
search over the windows of transformers' tokenizer; search: mean pooling and cosine; rewrite: the
same greedy filling. Scores to 1e-5, all else equal.
"""
import json
import math
import os
import sys
import tempfile

import torch
import transformers

import pipelines
from common import check, finish, none, read_lines, run, write
from pipelines import apart, differ, fill, masks_differ, named, pipeline, run_qa, windows

NASTY = ["", "  ", "\U0001f600 caf\u00e9 na\u00efve", "\u4e2d\u6587 and a tab\there", "x" * 120,
         "the [SEP] is a token", "word " * 700]


def example(name, *args, stdin=""):
    return run("./dev/examples/" + name, *args, stdin=stdin).split("\n")[:-1]


def model_of(cls, source, folder, **more):
    """The model, and its file: heads drawn wide, so that scores are not all alike."""
    heads = ("classifier", "qa_outputs", "cls.predictions.transform")
    model, _, exported = pipelines.model_of(cls, source, folder, 0.2, heads,
                                            attn_implementation="eager", **more)
    return model, exported


def check_classify(source, tokenizer, lines, folder):
    model, exported = model_of(transformers.BertForSequenceClassification, source, folder,
                               **named(["bad", "so so", "good", "\u00fcber"]))
    lines = lines[:60] + NASTY
    text = "\n".join(lines) + "\n"
    got = [row.split("\t", 2) for row in example("classify", exported, stdin=text)]
    pipe = pipeline("text-classification", model, tokenizer)
    theirs = [pipe(line, truncation=True, max_length=512)[0] for line in lines]
    wrong = [(g, t) for g, t, line in zip(got, theirs, lines)
             if differ({"label": g[0], "score": float(g[1])}, t, "label") or g[2] != line]
    path = write(os.path.join(folder, "lines.txt"), text)
    for threads in ("1",), ("4",), ("3", "2"):
        rows = [row.split("\t", 2) for row in example("threads", exported, path, *threads)]
        none("threads %s: as classify, to the last digit" % " ".join(threads),
             [(g, t) for g, t in zip(rows, got) if g != t], len(rows) == len(got))
    none("classify: %d lines as the pipeline" % len(got), wrong,
         len({t["label"] for t in theirs}) > 1 and len(got) == len(lines))


def check_fill_mask(source, tokenizer, folder):
    model, exported = model_of(transformers.BertForMaskedLM, source, folder)
    texts = ["the [MASK] sat on the mat .", "[MASK] is [MASK] .",
             "Paris is the capital of [MASK], Caf\u00e9 [MASK]!", "nothing is hidden here",
             "[MASK][MASK]"]
    got = {}
    for line in example("fill_mask", exported, stdin="\n".join(texts) + "\n"):
        if line.startswith("    ") and "\t" in line:
            mask, score, piece = line.strip().split("\t")
            got[text].setdefault(int(mask), []).append({"score": float(score), "token_str": piece})
        elif not line.startswith("    "):
            text = line
            got[text] = {}
    pipe, wrong, most = pipeline("fill-mask", model, tokenizer), [], 0
    for text in texts:
        theirs = fill(pipe, text)
        mine = [got[text][i + 1] for i in range(len(got[text]))]
        most = max([most] + [t[0]["score"] for t in theirs])
        if masks_differ(mine, theirs, "token_str") or any(len(a) != 5 for a in mine):
            wrong.append((text, mine, theirs))
    none("fill_mask: %d texts as the pipeline, up to %.3f" % (len(texts), most), wrong, most > 0.01)
    return model, exported


def check_rewrite(model, exported, tokenizer, lines):
    wrong, special = [], sorted(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    inside = torch.tensor([token.startswith("##") for token in tokens])
    for seed, line in enumerate(lines[:12]):
        got = example("rewrite", exported, line, "0.3", seed)
        before, ids, want = tokenizer(line), tokenizer(got[0])["input_ids"], [got[0]]
        word = before.word_ids()
        hidden = {w: {a != b for a, b, v in zip(before["input_ids"], ids, word) if v == w}
                  for w in set(word) - {None}}
        spelled = [w for w in hidden if line[before.word_to_chars(w).start].isalnum()]
        whole = len(ids) == len(word) and all(len(v) == 1 for v in hidden.values()) \
            and sum(True in v for v in hidden.values()) == math.ceil(0.3 * len(spelled))
        while whole and tokenizer.mask_token_id in ids:
            with torch.no_grad():
                probs = model(torch.tensor([ids])).logits[0].softmax(-1)
            probs[:, special] = -1
            for i in range(1, len(ids)):
                probs[i, inside != (word[i] == word[i - 1])] = -1
            row = max((i for i, t in enumerate(ids) if t == tokenizer.mask_token_id),
                      key=lambda i: float(probs[i].max()))
            ids[row] = int(probs[row].argmax())
            want.append(tokenizer.decode(ids[1:-1], clean_up_tokenization_spaces=True))
        if not whole or got != want or got != example("rewrite", exported, line, "0.3", seed):
            wrong.append((line, got, want))
    none("rewrite: 12 sentences, each step", wrong)
    first = [example("rewrite", exported, lines[0], "0.3", seed)[0] for seed in "78"]
    check("rewrite: another seed, other words", first[0] != first[1], first)


def check_answer(source, tokenizer, lines, folder):
    model, exported = model_of(transformers.BertForQuestionAnswering, source, folder)
    wrong, number = [], 0
    lines = [lines[0], NASTY[2], NASTY[3]] + lines[1:]
    for question, first, last in [("who is it ?", 0, 3), ("What was so funny?", 2, 12),
                                  ("why", 5, 60), ("where did they go", 40, 120)]:
        context = " ".join(lines[first:last])
        each = windows(model, tokenizer, question, context, 384, 128)
        text, nbest = run_qa(each, context, 20, 30, 0, 0.0)
        score, span, mine = example("answer", exported, question, stdin=context)[0].split("\t", 2)
        number += len(each)
        if mine != text or span != "%d-%d" % (nbest[0]["start"], nbest[0]["end"]) \
                or apart(float(score), nbest[0]["score"]):
            wrong.append((question, score, span, mine, nbest[0]))
    none("answer: 4 questions, %d windows, as run_qa" % number, wrong)


def check_search(source, tokenizer, lines, folder):
    model = transformers.BertModel.from_pretrained(source).eval()
    exported = os.path.join(folder, "model.bin")
    run("./dev/export_hf.py", source, exported)
    with open(os.path.join(source, "sentence_bert_config.json")) as f:
        longest = json.load(f)["max_seq_length"]
    lines = [line for line in lines[:150] + NASTY[2:] if line.strip()]
    text = write(os.path.join(folder, "lines.txt"), "\n".join(lines) + "\n\n")

    def unit(line):
        e = tokenizer(line, truncation=True, max_length=longest, return_tensors="pt")
        with torch.no_grad():
            return torch.nn.functional.normalize(model(**e).last_hidden_state[0].mean(0), dim=0)
    vectors, wrong = torch.stack([unit(line) for line in lines]), []
    for query in ["a very funny film", "the story is boring", "word word"]:
        best = (vectors @ unit(query)).topk(7)
        got = [row.split("\t", 1) for row in example("search", exported, text, query, "7")]
        if [g[1] for g in got] != [lines[i] for i in best.indices] \
                or any(apart(float(g[0]), float(c)) for g, c in zip(got, best.values)):
            wrong.append((query, got, best))
    none("search: 3 queries over %d lines as mean pooling and cosine" % len(lines), wrong)


def main():
    source, reviews = sys.argv[1:3]
    tokenizer = transformers.BertTokenizerFast.from_pretrained(source)
    lines = read_lines(reviews)[1:]
    with tempfile.TemporaryDirectory() as folder:
        check_classify(source, tokenizer, lines, folder)
        check_rewrite(*check_fill_mask(source, tokenizer, folder), tokenizer, lines)
        check_answer(source, tokenizer, lines, folder)
        check_search(source, tokenizer, lines, folder)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
