#!/usr/bin/env python3
"""dev/examples/ against Hugging Face, with MiniLM and random heads that are sure of something.

    /path/to/venv/bin/python dev/check/examples.py models/all-MiniLM-L6-v2 data/movie-reviews/dev.tsv

The programs are built (make examples). classify and fill_mask: the pipelines; answer: run_qa's
search (predictions.py has it) over the windows of transformers' tokenizer; search: mean pooling
and cosine; rewrite: the same greedy filling. Scores to 1e-5, all else equal.
"""
import json
import math
import os
import subprocess
import sys
import tempfile

import torch
import transformers

import predictions
from predictions import ROOT, apart, call, expect, postprocess

NASTY = ["", "  ", "\U0001f600 caf\u00e9 na\u00efve", "\u4e2d\u6587 and a tab\there", "x" * 120, "the [SEP] is a token",
         "word " * 700]


def example(name, *args, stdin=""):
    done = subprocess.run([os.path.join(ROOT, "dev", "examples", name), *args], input=stdin.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit("%s: %s" % (name, done.stderr.decode()))
    return done.stdout.decode().split("\n")[:-1]


def model_of(cls, source, folder, **more):
    """The model, and its file: heads drawn wide, so that scores are not all alike."""
    heads = ("classifier", "qa_outputs", "cls.predictions.transform")
    model, _, exported = predictions.model_of(cls, source, folder, 0.2, heads, attn_implementation="eager", **more)
    return model, exported


def check_classify(source, tokenizer, lines, folder):
    labels = ["bad", "so so", "good", "\u00fcber"]
    model, exported = model_of(transformers.BertForSequenceClassification, source, folder, num_labels=4,
                               id2label=dict(enumerate(labels)), label2id={v: k for k, v in enumerate(labels)})
    lines = lines[:60] + NASTY
    got = [row.split("\t", 2) for row in example("classify", exported, stdin="\n".join(lines) + "\n")]
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    theirs = [pipeline(line, truncation=True, max_length=512)[0] for line in lines]
    wrong = [(g, t) for g, t, line in zip(got, theirs, lines)
             if g[0] != t["label"] or apart(float(g[1]), t["score"]) or g[2] != line]
    several = len({t["label"] for t in theirs}) > 1 and len(got) == len(lines)
    with open(os.path.join(folder, "lines.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    for threads in ("1",), ("4",), ("3", "2"):
        rows = [row.split("\t", 2) for row in example("threads", exported, f.name, *threads)]
        expect("threads %s: as classify, to the last digit" % " ".join(threads),
               [(g, t) for g, t in zip(rows, got) if g != t] or ([] if len(rows) == len(got) else ["too few"]))
    expect("classify: %d lines as the pipeline" % len(got), wrong or ([] if several else ["too few"]))


def check_fill_mask(source, tokenizer, folder):
    model, exported = model_of(transformers.BertForMaskedLM, source, folder)
    texts = ["the [MASK] sat on the mat .", "[MASK] is [MASK] .", "Paris is the capital of [MASK], Caf\u00e9 [MASK]!",
             "nothing is hidden here", "[MASK][MASK]"]
    got, row = {}, example("fill_mask", exported, stdin="\n".join(texts) + "\n")
    for line in row:
        if line.startswith("    ") and "\t" in line:
            mask, score, piece = line.strip().split("\t")
            got[text].setdefault(int(mask), []).append((float(score), piece))
        elif not line.startswith("    "):
            text = line
            got[text] = {}
    pipeline, wrong, most = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer), [], 0
    for text in texts:
        theirs = pipeline(text) if "[MASK]" in text else []
        theirs = [theirs] if theirs and isinstance(theirs[0], dict) else theirs
        mine = [got[text][i + 1] for i in range(len(got[text]))]
        most = max([most] + [t[0]["score"] for t in theirs])
        if len(mine) != len(theirs) or any(m[1] != t["token_str"] or apart(m[0], t["score"])
                                           for a, b in zip(mine, theirs) for m, t in zip(a, b)) \
                or any(len(a) != 5 for a in mine):
            wrong.append((text, mine, theirs))
    expect("fill_mask: %d texts as the pipeline, up to %.3f" % (len(texts), most), wrong or ([] if most > 0.01 else ["no score is high"]))
    return model, exported


def check_rewrite(model, exported, tokenizer, lines):
    wrong, special = [], sorted(tokenizer.all_special_ids)
    inside = torch.tensor([token.startswith("##") for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))])
    for seed, line in enumerate(lines[:12]):
        got = example("rewrite", exported, line, "0.3", str(seed))
        before, ids, want = tokenizer(line), tokenizer(got[0])["input_ids"], [got[0]]
        word = before.word_ids()
        hidden = {w: {a != b for a, b, v in zip(before["input_ids"], ids, word) if v == w} for w in set(word) - {None}}
        spelled = [w for w in hidden if line[before.word_to_chars(w).start].isalnum()]
        whole = len(ids) == len(word) and all(len(v) == 1 for v in hidden.values()) \
            and sum(True in v for v in hidden.values()) == math.ceil(0.3 * len(spelled))
        while whole and tokenizer.mask_token_id in ids:
            with torch.no_grad():
                probs = model(torch.tensor([ids])).logits[0].softmax(-1)
            probs[:, special] = -1
            for i in range(1, len(ids)):
                probs[i, inside != (word[i] == word[i - 1])] = -1
            row = max((i for i, t in enumerate(ids) if t == tokenizer.mask_token_id), key=lambda i: float(probs[i].max()))
            ids[row] = int(probs[row].argmax())
            want.append(tokenizer.decode(ids[1:-1], clean_up_tokenization_spaces=True))
        if not whole or got != want or got != example("rewrite", exported, line, "0.3", str(seed)):
            wrong.append((line, got, want))
    expect("rewrite: 12 sentences, each step", wrong)
    first = [example("rewrite", exported, lines[0], "0.3", seed)[0] for seed in "78"]
    expect("rewrite: another seed, other words", [] if first[0] != first[1] else first)


def check_answer(source, tokenizer, lines, folder):
    model, exported = model_of(transformers.BertForQuestionAnswering, source, folder)
    wrong, windows = [], 0
    lines = [lines[0], NASTY[2], NASTY[3]] + lines[1:]
    for question, first, last in [("who is it ?", 0, 3), ("What was so funny?", 2, 12), ("why", 5, 60), ("where did they go", 40, 120)]:
        context = " ".join(lines[first:last])
        e = tokenizer(question, context, truncation="only_second", max_length=384, stride=128, return_overflowing_tokens=True, return_offsets_mapping=True)
        each = []
        for i in range(len(e["input_ids"])):
            with torch.no_grad():
                out = model(torch.tensor([e["input_ids"][i]]), token_type_ids=torch.tensor([e["token_type_ids"][i]]))
            offsets = [o if s == 1 else None for o, s in zip(e["offset_mapping"][i], e.sequence_ids(i))]
            each.append((out.start_logits[0].double().numpy(), out.end_logits[0].double().numpy(), offsets))
        text, nbest = postprocess(each, context, 20, 30, 0, 0.0)
        score, span, mine = example("answer", exported, question, stdin=context)[0].split("\t", 2)
        windows += len(each)
        if mine != text or span != "%d-%d" % (nbest[0]["start"], nbest[0]["end"]) or apart(float(score), nbest[0]["score"]):
            wrong.append((question, score, span, mine, nbest[0]))
    expect("answer: 4 questions, %d windows, as run_qa" % windows, wrong)


def check_search(source, tokenizer, lines, folder):
    model, exported = transformers.BertModel.from_pretrained(source).eval(), os.path.join(folder, "model.bin")
    call("python3", "dev/export_hf.py", source, exported)
    with open(os.path.join(source, "sentence_bert_config.json")) as f:
        longest = json.load(f)["max_seq_length"]
    lines = [line for line in lines[:150] + NASTY[2:] if line.strip()]
    text = os.path.join(folder, "lines.txt")
    with open(text, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n\n")

    def unit(line):
        e = tokenizer(line, truncation=True, max_length=longest, return_tensors="pt")
        with torch.no_grad():
            return torch.nn.functional.normalize(model(**e).last_hidden_state[0].mean(0), dim=0)
    vectors, wrong = torch.stack([unit(line) for line in lines]), []
    for query in ["a very funny film", "the story is boring", "word word"]:
        cosines = vectors @ unit(query)
        best = cosines.topk(7)
        got = [row.split("\t", 1) for row in example("search", exported, text, query, "7")]
        if [g[1] for g in got] != [lines[i] for i in best.indices] or any(apart(float(g[0]), float(c)) for g, c in zip(got, best.values)):
            wrong.append((query, got, best))
    expect("search: 3 queries over %d lines as mean pooling and cosine" % len(lines), wrong)


def main():
    source, reviews = sys.argv[1:3]
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    tokenizer = transformers.BertTokenizerFast.from_pretrained(source)
    with open(reviews, encoding="utf-8") as f:
        lines = [line.split("\t")[0] for line in f.read().split("\n") if line][1:]
    with tempfile.TemporaryDirectory() as folder:
        check_classify(source, tokenizer, lines, folder)
        check_rewrite(*check_fill_mask(source, tokenizer, folder), tokenizer, lines)
        check_answer(source, tokenizer, lines, folder)
        check_search(source, tokenizer, lines, folder)
    print("%d passed, %d failed" % (predictions.passed, predictions.failed))
    return predictions.failed > 0


if __name__ == "__main__":
    sys.exit(main())
