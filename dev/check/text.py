#!/usr/bin/env python3
"""train_bert predict, embed and encode of lines of text against Hugging Face, with random heads.

    python dev/check/text.py models/all-MiniLM-L6-v2 data/movie-reviews/test.tsv [SHARED/data]

pipeline("text-classification") of one text, of pairs, top_k; "token-classification" (simple);
"fill-mask"; the question-answering pipeline of transformers 4.57; sentence-transformers' mean
pooling; encode against tokenizer.py and Hugging Face's tokenizer. Without SHARED/data: the reviews
alone. --time: start to first prediction, whole process, against Python with transformers.
"""
import json
import os
import sys
import tempfile
import time

import numpy as np
import torch
import transformers

from common import finish, none, read_lines, run
from pipelines import LABELS, answers, differ, entities_differ, fill, masks_differ, model_of, \
    named, pipeline, rows_differ, windows

HARD = ["", " ", "caf\u00e9 \U0001f600 \u4e2d\u6587 [MASK] na\u00efve",
        "a\tb \\ \"quoted\" \u2028 end", "one\rtwo \x00 \x7f", "x" * 300, "word " * 900]


def lines(command, model, text, *flags):
    return run("./train_bert", command, "--model", model, *flags, stdin=text).splitlines()


def predict(model, text, *flags):
    return [json.loads(line) for line in lines("predict", model, text, *flags)]


def as_json(rows):
    return "\n".join(json.dumps(r, ensure_ascii=i % 2 == 0) for i, r in enumerate(rows)) + "\n"


def check_classification(source, folder, texts):
    model, tokenizer, exported = model_of(
        transformers.BertForSequenceClassification, source, folder, 1.0,
        **named(["bad", "good \"x\"", "so-so"]))
    pipe = pipeline("text-classification", model, tokenizer, truncation=True, max_length=512)
    pairs = [{"text": a, "text_pair": b} for a, b in zip(texts, texts[7:])]
    hard = texts + HARD
    cases = [("lines", texts, "\n".join(texts), []),
             ("CRLF", texts[:9], "\r\n".join(texts[:9]), []),
             ("JSON", hard, as_json([{"id": 1, "text": t, "more": [{}, "]"]} for t in hard]),
              ["--json"]),
             ("pairs", pairs, "\n".join(p["text"] + "\t" + p["text_pair"] for p in pairs) + "\n",
              ["--pair"]),
             ("JSON pairs", pairs, as_json(pairs), ["--json"])]
    known = {}  # several cases have the same texts
    for name, inputs, text, flags in cases:
        for x in inputs:
            if repr(x) not in known:
                known[repr(x)] = pipe(x, top_k=None)
        theirs = [known[repr(x)] for x in inputs]
        for top_k in (0, 2):
            mine = predict(exported, text, *flags, *["--top_k", top_k] * (top_k > 0))
            wrong = []
            for x, a, b in zip(inputs, mine, theirs):
                scores = [{"score": a["scores"].get(r["label"], r["score"])} for r in b]
                if differ(a, b[0], "label") or rows_differ(scores, b) \
                        or len(a["scores"]) != (top_k or 3) \
                        or top_k and list(a["scores"]) != [r["label"] for r in b[:top_k]]:
                    wrong.append((x, a, b))
            none("classification, %s, top_k %d: %d" % (name, top_k, len(mine)), wrong,
                 len(mine) == len(inputs))


def check_ner(source, folder, texts):
    model, tokenizer, exported = model_of(transformers.BertForTokenClassification, source, folder,
                                          0.3, **named(LABELS))
    pipe = pipeline("token-classification", model, tokenizer, aggregation_strategy="simple")
    texts = texts + HARD[:-1]
    mine = predict(exported, as_json([{"text": t} for t in texts]), "--json")
    both = [(text, a["entities"], pipe(text)) for text, a in zip(texts, mine)]
    none("ner: %d texts" % len(mine), [x for x in both if entities_differ(*x[1:])],
         len(mine) == len(texts))


def check_mlm(source, folder, texts):
    model, tokenizer, exported = model_of(transformers.BertForMaskedLM, source, folder, 0.1)
    pipe = pipeline("fill-mask", model, tokenizer)
    texts = [" ".join("[MASK]" if j % (5 + i % 9) == 3 else w for j, w in enumerate(t.split()))
             for i, t in enumerate(texts)]
    texts = [t for t in texts if "[MASK]" in t]
    best = [fill(pipe, text, top_k=9) for text in texts]
    for top_k in (5, 9):
        mine = predict(exported, "\n".join(texts), *["--top_k", top_k] * (top_k != 5))
        both = [(text, a["masks"], [b[:top_k] for b in theirs])
                for text, a, theirs in zip(texts, mine, best)]
        none("mlm: %d texts, top_k %d" % (len(mine), top_k),
             [x for x in both if masks_differ(*x[1:], "token", "token_str", "sequence")],
             len(mine) == len(texts))


def check_qa(source, folder, rows):
    model, tokenizer, exported = model_of(transformers.BertForQuestionAnswering, source, folder,
                                          0.2)
    each = [windows(model, tokenizer, row["question"], row["context"], 384, 128) for row in rows]
    keys = "answer", "start", "end"
    for top_k, longest, impossible in ((1, 15, False), (1, 15, True), (12, 15, False),
                                       (3, 40, False), (5, 3, True)):
        mine = predict(exported, as_json(rows), *["--top_k", top_k] * (top_k > 1),
                       *["--max_answer_length", longest] * (longest != 15),
                       *["--version_2_with_negative"] * impossible)
        wrong = []
        for row, w, a in zip(rows, each, mine):
            b = answers(w, row["context"], top_k, longest, impossible)
            if a.get("id") != row.get("id") or differ(a, b[0], *keys) \
                    or top_k > 1 and rows_differ(a["nbest"], b, *keys):
                wrong.append((row["question"], a, b))
        none("qa: %d questions, %d windows, top_k %d, longest %d, no answer %d" % (
            len(mine), sum(map(len, each)), top_k, longest, impossible), wrong,
            len(mine) == len(rows))


def check_embed(source, folder, texts):
    model, tokenizer, exported = model_of(transformers.BertModel, source, folder, 0)
    run("./dev/export_hf.py", source, exported)  # with its max_seq_length
    limit = os.path.join(source, "sentence_bert_config.json")
    limit = json.load(open(limit))["max_seq_length"] if os.path.exists(limit) else 512
    texts = texts + ["many words " * 300]
    with torch.no_grad():
        theirs = [model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=limit))
                  .last_hidden_state[0] for text in texts]
    for flags in ([], ["--normalize"], ["--pooling", "cls"]):
        mine = [json.loads(line)["embedding"]
                for line in lines("embed", exported, "\n".join(texts), *flags)]
        wrong = []
        for text, a, h in zip(texts, mine, theirs):
            b = h[0] if "cls" in flags else h.mean(0)
            b = torch.nn.functional.normalize(b, dim=0) if "--normalize" in flags else b
            if np.abs(np.array(a) - b.numpy()).max() > 1e-5:
                wrong.append(text)
        none("embed %s: %d texts" % (" ".join(flags), len(mine)), wrong, len(mine) == len(texts))
    raw = ("\n".join(texts + [t for t in HARD if "\r" not in t]) + "\nnot UTF-8: \xe9 x\n")
    raw = raw.encode("latin-1", "replace") + "\ud83d\n".encode("utf-8", "surrogatepass") + b"last"
    mine = lines("encode", exported, raw)
    python = run("./tokenizer.py", "encode", "--model", exported, stdin=raw).splitlines()
    theirs = [" ".join(map(str, tokenizer(t, truncation=True, max_length=512).input_ids))
              for t in raw.decode("utf-8", "replace").split("\n")]
    for name, other in ("tokenizer.py", python), ("Hugging Face", theirs):
        none("encode: %d lines, %s" % (len(mine), name),
             [x for x in zip(mine, other) if x[0] != x[1]], len(mine) == len(other))


PYTHON = """
import sys, transformers
pipe = transformers.pipeline("text-classification", model=sys.argv[1])
print(pipe(sys.stdin.read()))
"""


def measure(source, folder):
    """Best of 5 of each: the whole process, one sentence."""
    model_of(transformers.BertForSequenceClassification, source, folder, 1.0)
    commands = [["./train_bert", "predict", "--model", folder + "/model.bin"],
                [sys.executable, "-c", PYTHON, folder + "/hf"]]
    best = [1e9, 1e9]
    for i in range(10):
        start = time.perf_counter()
        run(*commands[i % 2], stdin="A tender, funny film that stays with you for days.\n")
        best[i % 2] = min(best[i % 2], time.perf_counter() - start)
    print("start to first prediction: train_bert %.3f s, transformers %.3f s: %.0f times" % (
        *best, best[1] / best[0]))


def main():
    source, reviews, shared = (sys.argv[1:] + [""])[:3]
    with tempfile.TemporaryDirectory() as folder:
        if "--time" in sys.argv:
            return measure(source, folder)
        texts = read_lines(reviews)[1:121]
        contexts = [{"id": "q%d" % i if i % 2 else i,
                     "question": "What is %s?" % texts[i].split()[0],
                     "context": " ".join(texts[i:i + 1 + i * 3])} for i in range(12)]
        if os.path.isdir(shared):
            texts += [line.strip() for line in read_lines(os.path.join(shared, "wikitext2/dev.txt"))
                      if 20 < len(line) < 1500][:60]
            with open(os.path.join(shared, "xquad/dev.json"), encoding="utf-8") as f:
                contexts += [{"question": q["question"], "context": p["context"]}
                             for a in json.load(f)["data"][:3] for p in a["paragraphs"]
                             for q in p["qas"][:2]]
        else:
            print("skipped  wikitext2 and xquad: no shared data")
        check_classification(source, folder, texts)
        check_ner(source, folder, texts)
        check_mlm(source, folder, texts)
        check_qa(source, folder, contexts)
        check_embed(source, folder, texts)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
