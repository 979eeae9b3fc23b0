#!/usr/bin/env python3
"""train_bert predict on ner, qa and mlm against Hugging Face, with MiniLM and random heads.

    /path/to/venv/bin/python dev/check/predictions.py models/all-MiniLM-L6-v2 wnut17/dev.conll xquad/dev.json

ner: pipeline("token-classification", aggregation_strategy="simple"); mlm: pipeline("fill-mask"); qa:
postprocess_qa_predictions of transformers' run_qa, written down again below (5 has no pipeline).
Scores to 1e-5, all else equal.
"""
import collections
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
LABELS = ["B-LOC", "B-PER", "E-LOC", "I-LOC", "I-PER", "O"]
passed = failed = 0


def expect(name, wrong):
    global passed, failed
    passed, failed = passed + (not wrong), failed + bool(wrong)
    print("%s  %s%s" % ("FAIL" if wrong else "ok  ", name, ": %d differ, first %s" % (len(wrong), wrong[0]) if wrong else ""), flush=True)


def call(*args):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    if done.returncode:
        sys.exit("%s: %s" % (" ".join(args), done.stderr.decode()))
    return done.stdout.decode()


def model_of(cls, source, folder, scale, drawn=("classifier", "qa_outputs"), **more):
    torch.manual_seed(0)
    model = cls.from_pretrained(source, **more).eval()
    for name, p in model.named_parameters():  # a random head that is sure of something
        if name.startswith(drawn):
            torch.nn.init.normal_(p, std=3.0 if "LayerNorm" in name else scale)
    tokenizer = transformers.BertTokenizerFast.from_pretrained(source)
    hf, exported = os.path.join(folder, "hf"), os.path.join(folder, "model.bin")
    model.save_pretrained(hf)
    tokenizer.save_pretrained(hf)
    call("python3", "dev/export_hf.py", hf, exported)
    return model, tokenizer, exported


def predict(task, text, name, folder, model, *flags):
    source, data = os.path.join(folder, name), os.path.join(folder, "data.bin")
    with open(source, "w", encoding="utf-8") as f:
        f.write(text)
    call("python3", "tokenizer.py", task, source, data, "--model", model, *flags[0])
    return [json.loads(line) for line in call("./train_bert", "predict", "--model", model, "--predict_file", data, *flags[1]).splitlines()]


def apart(a, b):
    return abs(a - b) > 1e-5


def check_ner(source, conll, folder):
    model, tokenizer, exported = model_of(transformers.BertForTokenClassification, source, folder, 0.3, num_labels=len(LABELS),
                                          id2label=dict(enumerate(LABELS)), label2id={v: k for k, v in enumerate(LABELS)})
    with open(conll, encoding="utf-8") as f:
        sentences = [[line.split("\t")[0] for line in s.split("\n")] for s in f.read().strip().split("\n\n")][:120]
    got = predict("ner", "\n\n".join("\n".join(w + "\tO" for w in s) for s in sentences) + "\n", "s.conll", folder, exported,
                  ["--labels", ",".join(LABELS)], [])
    pipeline = transformers.pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
    wrong = []
    for words, mine in zip(sentences, got):
        theirs = pipeline(" ".join(words))
        same = len(mine["entities"]) == len(theirs) and not any(
            apart(m["score"], t["score"]) or any(m[k] != t[k] for k in ("entity_group", "word", "start", "end"))
            for m, t in zip(mine["entities"], theirs))
        e = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = model(**e).logits[0].argmax(-1).tolist()
        tags = {}
        for w, b in zip(e.word_ids(), best):
            if w is not None:
                tags.setdefault(w, LABELS[b])
        if not same or mine["tags"] != [tags.get(w) for w in range(len(words))]:
            wrong.append((words, mine, theirs))
    expect("ner: %d sentences as the pipeline" % len(got), wrong or ([] if len(got) == len(sentences) else ["count"]))


def postprocess(windows, context, n_best, longest, v2, threshold):
    """One question: windows are (start logits, end logits, offsets or None of each token)."""
    found, null = [], None
    for starts, ends, offsets in windows:
        score = starts[0] + ends[0]
        if null is None or score < null[0]:
            null = (score, 0, 0)
        for s in np.argsort(-starts, kind="stable")[:n_best]:
            for e in np.argsort(-ends, kind="stable")[:n_best]:
                if offsets[s] is None or offsets[e] is None or e < s or e - s + 1 > longest:
                    continue
                found.append((starts[s] + ends[e], offsets[s][0], offsets[e][1]))
    if v2:
        found.append(null)
    found = sorted(found, key=lambda x: -x[0])[:n_best]
    if v2 and null not in found:
        found.append(null)
    probs = np.exp([f[0] - found[0][0] for f in found]) if found else np.zeros(0)
    nbest = [{"answer": context[s:e], "start": s, "end": e, "score": p} for (_, s, e), p in zip(found, probs / probs.sum())]
    texts = [f for f in found if f[2]]
    if not texts or (v2 and null[0] - texts[0][0] > threshold):
        return "", nbest
    return context[texts[0][1]:texts[0][2]], nbest


def check_qa(source, squad, folder):
    model, tokenizer, exported = model_of(transformers.BertForQuestionAnswering, source, folder, 0.2)
    with open(squad, encoding="utf-8") as f:
        data = json.load(f)
    data["data"] = data["data"][:2]
    text = json.dumps(data)
    rows = [(q["question"], p["context"]) for a in data["data"] for p in a["paragraphs"] for q in p["qas"]]
    cases = [(20, 30, 0, 0.0), (20, 30, 1, 0.0), (3, 5, 1, -2.5), (1, 30, 0, 0.0)]
    windows = []
    for question, context in rows:
        e = tokenizer(question, context, truncation="only_second", max_length=128, stride=32, return_overflowing_tokens=True, return_offsets_mapping=True)
        windows.append([])
        for i in range(len(e["input_ids"])):
            with torch.no_grad():
                out = model(torch.tensor([e["input_ids"][i]]), token_type_ids=torch.tensor([e["token_type_ids"][i]]))
            offsets = [o if s == 1 else None for o, s in zip(e["offset_mapping"][i], e.sequence_ids(i))]
            windows[-1].append((out.start_logits[0].double().numpy(), out.end_logits[0].double().numpy(), offsets))
    for n_best, longest, v2, threshold in cases:
        got = predict("qa", text, "q.json", folder, exported, ["--max_length", "128", "--doc_stride", "32"],
                      ["--n_best_size", str(n_best), "--max_answer_length", str(longest), "--null_score_diff_threshold=%g" % threshold]
                      + ["--version_2_with_negative"] * v2)
        wrong = []
        for (question, context), w, mine in zip(rows, windows, got):
            answer, nbest = postprocess(w, context, n_best, longest, v2, threshold)
            close = len(nbest) == len(mine["nbest"]) and not any(apart(a["score"], b["score"]) for a, b in zip(nbest, mine["nbest"]))
            # float32 apart, neighbours of equal score may change places: as sets
            spans = [collections.Counter((b["answer"], b["start"], b["end"]) for b in n) for n in (nbest, mine["nbest"])]
            if mine["answer"] != answer or not close or sum((spans[0] - spans[1]).values()) > 1:
                wrong.append((question, mine, answer, nbest))
        expect("qa: %d questions, n_best %d, longest %d, v2 %d, threshold %g" % (len(got), n_best, longest, v2, threshold),
               wrong or ([] if len(got) == len(rows) else ["count"]))


def check_mlm(source, folder):
    model, tokenizer, exported = model_of(transformers.BertForMaskedLM, source, folder, 0.1)
    texts = ["the [MASK] sat on the mat .", "[MASK] is [MASK] .", "paris is the capital of [MASK] ,", "nothing is hidden here"]
    got = predict("mlm", "\n".join(texts) + "\n", "m.txt", folder, exported, ["--line_by_line"], ["--top_k", "7"])
    pipeline = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer, top_k=7)
    wrong = []
    for text, mine in zip(texts, got):
        theirs = pipeline(text) if "[MASK]" in text else []
        theirs = [theirs] if theirs and isinstance(theirs[0], dict) else theirs
        flat = [[(a["token"], a["token_str"]) for a in m] for m in mine["masks"]], [[(a["token"], a["token_str"]) for a in m] for m in theirs]
        if flat[0] != flat[1] or any(apart(a["score"], b["score"]) for m, t in zip(mine["masks"], theirs) for a, b in zip(m, t)):
            wrong.append((text, mine, theirs))
    expect("mlm: %d texts as the pipeline" % len(got), wrong)


def main():
    source, conll, squad = sys.argv[1:4]
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        check_ner(source, conll, folder)
        check_qa(source, squad, folder)
        check_mlm(source, folder)
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
