#!/usr/bin/env python3
"""train_bert predict, embed and encode of lines of text against Hugging Face, with MiniLM and random heads.

    /path/to/venv/bin/python dev/check/text.py models/all-MiniLM-L6-v2 data/movie-reviews/test.tsv [SHARED/data]

pipeline("text-classification") of one text, of pairs, top_k; "token-classification" (simple); "fill-mask"; the
question-answering pipeline of transformers 4.57, written down again below (5 has none); sentence-transformers' mean pooling;
encode against tokenizer.py and Hugging Face's tokenizer. Scores to 1e-5, all else equal. Without SHARED/data: the reviews alone.
--time: start to first prediction, whole process, against Python with transformers.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import transformers

import predictions as known
from predictions import LABELS, ROOT, apart, expect, model_of

HARD = ["", " ", "caf\u00e9 \U0001f600 \u4e2d\u6587 [MASK] na\u00efve", "a\tb \\ \"quoted\" \u2028 end", "one\rtwo \x00 \x7f", "x" * 300, "word " * 900]


def run(command, model, text, *flags):
    data = text if isinstance(text, bytes) else text.encode()
    done = subprocess.run(["./train_bert", command, "--model", model, *flags], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    if done.returncode:
        sys.exit("%s %s: %s" % (command, " ".join(flags), done.stderr.decode()))
    return done.stdout.decode().splitlines()


def as_json(rows):
    return "\n".join(json.dumps(r, ensure_ascii=i % 2 == 0) for i, r in enumerate(rows)) + "\n"


def check_classification(source, folder, texts):
    names = {0: "bad", 1: "good \"x\"", 2: "so-so"}
    model, tokenizer, exported = model_of(transformers.BertForSequenceClassification, source, folder, 1.0, num_labels=3, id2label=names,
                                          label2id={v: k for k, v in names.items()})
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True, max_length=512)
    pairs = [{"text": a, "text_pair": b} for a, b in zip(texts, texts[7:])]
    cases = [("lines", texts, "\n".join(texts), []), ("CRLF", texts[:9], "\r\n".join(texts[:9]), []),
             ("JSON", texts + HARD, as_json([{"id": 1, "text": t, "more": [{}, "]"]} for t in texts + HARD]), ["--json"]),
             ("pairs", pairs, "\n".join(p["text"] + "\t" + p["text_pair"] for p in pairs) + "\n", ["--pair"]),
             ("JSON pairs", pairs, as_json(pairs), ["--json"])]
    for name, inputs, text, flags in cases:
        theirs = [pipe(x, top_k=None) for x in inputs]
        for top_k in (0, 2):
            mine = [json.loads(line) for line in run("predict", exported, text, *flags, *(["--top_k", str(top_k)] if top_k else []))]
            wrong = [(x, a, b) for x, a, b in zip(inputs, mine, theirs)
                     if a["label"] != b[0]["label"] or apart(a["score"], b[0]["score"]) or len(a["scores"]) != (top_k or 3)
                     or (top_k and list(a["scores"]) != [r["label"] for r in b[:top_k]])
                     or any(apart(a["scores"].get(r["label"], r["score"]), r["score"]) for r in b)]
            expect("classification, %s, top_k %d: %d" % (name, top_k, len(mine)), wrong or ([] if len(mine) == len(inputs) else ["count"]))


def check_ner(source, folder, texts):
    model, tokenizer, exported = model_of(transformers.BertForTokenClassification, source, folder, 0.3, num_labels=len(LABELS),
                                          id2label=dict(enumerate(LABELS)), label2id={v: k for k, v in enumerate(LABELS)})
    pipe = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
    texts = texts + HARD[:-1]
    mine = [json.loads(line)["entities"] for line in run("predict", exported, as_json([{"text": t} for t in texts]), "--json")]
    wrong = []
    for text, a in zip(texts, mine):
        b = pipe(text)
        if len(a) != len(b) or any(apart(x["score"], y["score"]) or any(x[k] != y[k] for k in ("entity_group", "word", "start", "end")) for x, y in zip(a, b)):
            wrong.append((text, a, b))
    expect("ner: %d texts" % len(mine), wrong or ([] if len(mine) == len(texts) else ["count"]))


def check_mlm(source, folder, texts):
    model, tokenizer, exported = model_of(transformers.BertForMaskedLM, source, folder, 0.1)
    pipe = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)
    texts = [" ".join("[MASK]" if j % (5 + i % 9) == 3 else w for j, w in enumerate(t.split())) for i, t in enumerate(texts)]
    texts = [t for t in texts if "[MASK]" in t]
    for top_k in (5, 9):
        mine = [json.loads(line)["masks"] for line in run("predict", exported, "\n".join(texts), *(["--top_k", "9"] if top_k == 9 else []))]
        wrong = []
        for text, a in zip(texts, mine):
            b = pipe(text, top_k=top_k)
            b = [b] if isinstance(b[0], dict) else b
            if [len(m) for m in a] != [len(m) for m in b] or any(
                    apart(x["score"], y["score"]) or any(x[k] != y[k] for k in ("token", "token_str", "sequence"))
                    for m, n in zip(a, b) for x, y in zip(m, n)):
                wrong.append((text, a, b))
        expect("mlm: %d texts, top_k %d" % (len(mine), top_k), wrong or ([] if len(mine) == len(texts) else ["count"]))


def answers(windows, context, top_k, longest, impossible):
    """QuestionAnsweringPipeline.postprocess of transformers 4.57; windows: logits, encoding."""
    found, null = [], 1e6
    for start, end, enc in windows:
        wanted = np.array([s == 1 for s in enc.sequence_ids])
        wanted[0] = True
        p = [np.exp(x - x[wanted].max()) * wanted for x in (start, end)]
        p = [x / x.sum() for x in p]
        null = min(null, p[0][0] * p[1][0])
        p[0][0] = p[1][0] = 0
        both = np.tril(np.triu(np.outer(p[0], p[1])), longest - 1)
        for flat in np.argsort(-both, axis=None, kind="stable")[:top_k]:
            s, e = np.unravel_index(flat, both.shape)
            if not (wanted[s] and wanted[e]):
                continue
            a, b = enc.word_to_chars(enc.token_to_word(int(s)), 1)[0], enc.word_to_chars(enc.token_to_word(int(e)), 1)[1]
            same = [f for f in found if f["answer"].lower() == context[a:b].lower()]
            if same:
                same[0]["score"] += both[s, e]
            else:
                found.append({"score": both[s, e], "start": a, "end": b, "answer": context[a:b]})
    if impossible:
        found.append({"score": null, "start": 0, "end": 0, "answer": ""})
    return sorted(found, key=lambda f: -f["score"])[:top_k]


def check_qa(source, folder, rows):
    model, tokenizer, exported = model_of(transformers.BertForQuestionAnswering, source, folder, 0.2)
    everything = []
    for row in rows:
        e = tokenizer(row["question"], row["context"], truncation="only_second", max_length=384, stride=128, return_overflowing_tokens=True)
        with torch.no_grad():
            outs = [model(torch.tensor([enc.ids]), token_type_ids=torch.tensor([enc.type_ids])) for enc in e.encodings]
        everything.append([(o.start_logits[0].double().numpy(), o.end_logits[0].double().numpy(), enc) for o, enc in zip(outs, e.encodings)])
    for top_k, longest, impossible in ((1, 15, False), (1, 15, True), (12, 15, False), (3, 40, False), (5, 3, True)):
        flags = (["--top_k", str(top_k)] if top_k > 1 else []) + (["--max_answer_length", str(longest)] if longest != 15 else [])
        mine = [json.loads(line) for line in run("predict", exported, as_json(rows), *flags, *["--version_2_with_negative"] * impossible)]
        wrong = []
        for row, windows, a in zip(rows, everything, mine):
            b = answers(windows, row["context"], top_k, longest, impossible)
            pairs = [(a, b[0])] + (list(zip(a["nbest"], b)) if top_k > 1 else [])
            if a.get("id") != row.get("id") or (top_k > 1 and len(a["nbest"]) != len(b)) or any(
                    apart(x["score"], y["score"]) or any(x[k] != y[k] for k in ("answer", "start", "end")) for x, y in pairs):
                wrong.append((row["question"], a, b))
        expect("qa: %d questions, %d windows, top_k %d, longest %d, no answer %d" % (len(mine), sum(map(len, everything)), top_k, longest, impossible),
               wrong or ([] if len(mine) == len(rows) else ["count"]))


def check_embed(source, folder, texts):
    model, tokenizer, exported = model_of(transformers.BertModel, source, folder, 0)
    known.call("python3", "dev/export_hf.py", source, exported)  # with its max_seq_length
    limit = os.path.join(source, "sentence_bert_config.json")
    limit = json.load(open(limit))["max_seq_length"] if os.path.exists(limit) else 512
    texts = texts + ["many words " * 300]
    for flags in ([], ["--normalize"], ["--pooling", "cls"]):
        mine = [json.loads(line)["embedding"] for line in run("embed", exported, "\n".join(texts), *flags)]
        wrong = []
        for text, a in zip(texts, mine):
            with torch.no_grad():
                h = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=limit)).last_hidden_state[0]
            b = h[0] if "cls" in flags else h.mean(0)
            b = torch.nn.functional.normalize(b, dim=0) if "--normalize" in flags else b
            if np.abs(np.array(a) - b.numpy()).max() > 1e-5:
                wrong.append(text)
        expect("embed %s: %d texts" % (" ".join(flags), len(mine)), wrong or ([] if len(mine) == len(texts) else ["count"]))
    raw = ("\n".join(texts + [t for t in HARD if "\r" not in t]) + "\nnot UTF-8: \xe9 x\n").encode("latin-1", "replace") + "\ud83d\n".encode("utf-8", "surrogatepass") + b"last"
    mine = run("encode", exported, raw)
    python = subprocess.run(["python3", "tokenizer.py", "encode", "--model", exported], input=raw, stdout=subprocess.PIPE, cwd=ROOT, check=True).stdout.decode().splitlines()
    theirs = [" ".join(map(str, tokenizer(t, truncation=True, max_length=512).input_ids)) for t in raw.decode("utf-8", "replace").split("\n")]
    expect("encode: %d lines, tokenizer.py" % len(mine), [x for x in zip(mine, python) if x[0] != x[1]] or ([] if len(mine) == len(python) else ["count"]))
    expect("encode: %d lines, Hugging Face" % len(mine), [x for x in zip(mine, theirs) if x[0] != x[1]] or ([] if len(mine) == len(theirs) else ["count"]))


PYTHON = """
import sys, transformers
pipe = transformers.pipeline("text-classification", model=sys.argv[1])
print(pipe("A tender, funny film that stays with you for days."))
"""


def measure(source, folder):
    """Best of 5 of each: the whole process, one sentence."""
    model_of(transformers.BertForSequenceClassification, source, folder, 1.0)
    commands = [["./train_bert", "predict", "--model", folder + "/model.bin"], [sys.executable, "-c", PYTHON, folder + "/hf"]]
    best = [1e9, 1e9]
    for i in range(10):
        start = time.perf_counter()
        subprocess.run(commands[i % 2], input=b"A tender, funny film that stays with you for days.\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, cwd=ROOT)
        best[i % 2] = min(best[i % 2], time.perf_counter() - start)
    print("start to first prediction: train_bert %.3f s, transformers %.3f s: %.0f times" % (best[0], best[1], best[1] / best[0]))


def main():
    source, reviews, shared = (sys.argv[1:] + [""])[:3]
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if "--time" in sys.argv:
            return measure(source, folder)
        with open(os.path.join(ROOT, reviews), encoding="utf-8") as f:
            texts = [line.split("\t")[0] for line in f.read().split("\n")[1:121] if line]
        contexts = [{"id": "q%d" % i if i % 2 else i, "question": "What is %s?" % texts[i].split()[0], "context": " ".join(texts[i:i + 1 + i * 3])} for i in range(0, 12)]
        if os.path.isdir(shared):
            with open(os.path.join(shared, "wikitext2/dev.txt"), encoding="utf-8") as f:
                texts += [line.strip() for line in f.read().split("\n") if 20 < len(line) < 1500][:60]
            with open(os.path.join(shared, "xquad/dev.json"), encoding="utf-8") as f:
                contexts += [{"question": q["question"], "context": p["context"]} for a in json.load(f)["data"][:3] for p in a["paragraphs"] for q in p["qas"][:2]]
        else:
            print("skipped  wikitext2 and xquad: no shared data")
        check_classification(source, folder, texts)
        check_ner(source, folder, texts)
        check_mlm(source, folder, texts)
        check_qa(source, folder, contexts)
        check_embed(source, folder, texts)
    print("%d passed, %d failed" % (known.passed, known.failed))
    return known.failed > 0


if __name__ == "__main__":
    sys.exit(main())
