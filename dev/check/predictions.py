#!/usr/bin/env python3
"""train_bert predict on data files of ner, qa and mlm against Hugging Face, with random heads.

    python dev/check/predictions.py models/all-MiniLM-L6-v2 wnut17/dev.conll xquad/dev.json

ner: pipeline("token-classification", aggregation_strategy="simple"); mlm: pipeline("fill-mask");
qa: postprocess_qa_predictions of transformers' run_qa; multiple_choice: BertForMultipleChoice, of
files and of both kinds of lines.
"""
import collections
import json
import os
import sys
import tempfile

import torch
import transformers

from common import finish, none, run, write
from pipelines import LABELS, apart, entities_differ, fill, masks_differ, model_of, named, \
    pipeline, run_qa, windows


def predict(task, text, name, folder, model, building=(), *flags):
    source, data = write(os.path.join(folder, name), text), os.path.join(folder, "data.bin")
    run("./tokenizer.py", task, source, data, "--model", model, *building)
    out = run("./train_bert", "predict", "--model", model, "--predict_file", data, *flags)
    return [json.loads(line) for line in out.splitlines()]


def check_ner(source, conll, folder):
    model, tokenizer, exported = model_of(transformers.BertForTokenClassification, source, folder,
                                          0.3, **named(LABELS))
    with open(conll, encoding="utf-8") as f:
        sentences = [[line.split("\t")[0] for line in s.split("\n")]
                     for s in f.read().strip().split("\n\n")][:120]
    text = "\n\n".join("\n".join(w + "\tO" for w in s) for s in sentences) + "\n"
    got = predict("ner", text, "s.conll", folder, exported, ["--labels", ",".join(LABELS)])
    pipe = pipeline("token-classification", model, tokenizer, aggregation_strategy="simple")
    wrong = []
    for words, mine in zip(sentences, got):
        theirs = pipe(" ".join(words))
        e = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = model(**e).logits[0].argmax(-1).tolist()
        tags = {}
        for w, b in zip(e.word_ids(), best):
            if w is not None:
                tags.setdefault(w, LABELS[b])
        if entities_differ(mine["entities"], theirs) \
                or mine["tags"] != [tags.get(w) for w in range(len(words))]:
            wrong.append((words, mine, theirs))
    none("ner: %d sentences as the pipeline" % len(got), wrong, len(got) == len(sentences))


def check_qa(source, squad, folder):
    model, tokenizer, exported = model_of(transformers.BertForQuestionAnswering, source, folder,
                                          0.2)
    with open(squad, encoding="utf-8") as f:
        data = json.load(f)
    data["data"] = data["data"][:2]
    rows = [(q["question"], p["context"]) for a in data["data"] for p in a["paragraphs"]
            for q in p["qas"]]
    each = [windows(model, tokenizer, question, context, 128, 32) for question, context in rows]
    for n_best, longest, v2, threshold in ((20, 30, 0, 0.0), (20, 30, 1, 0.0), (3, 5, 1, -2.5),
                                           (1, 30, 0, 0.0)):
        got = predict("qa", json.dumps(data), "q.json", folder, exported,
                      ["--max_length", 128, "--doc_stride", 32],
                      "--n_best_size", n_best, "--max_answer_length", longest,
                      "--null_score_diff_threshold=%g" % threshold,
                      *["--version_2_with_negative"] * v2)
        wrong = []
        for (question, context), w, mine in zip(rows, each, got):
            answer, nbest = run_qa(w, context, n_best, longest, v2, threshold)
            close = len(nbest) == len(mine["nbest"]) and not any(
                apart(a["score"], b["score"]) for a, b in zip(nbest, mine["nbest"]))
            # float32 apart, neighbours of equal score may change places: as sets
            spans = [collections.Counter((b["answer"], b["start"], b["end"]) for b in n)
                     for n in (nbest, mine["nbest"])]
            if mine["answer"] != answer or not close or sum((spans[0] - spans[1]).values()) > 1:
                wrong.append((question, mine, answer, nbest))
        none("qa: %d questions, n_best %d, longest %d, v2 %d, threshold %g" % (
            len(got), n_best, longest, v2, threshold), wrong, len(got) == len(rows))


def check_mlm(source, folder):
    model, tokenizer, exported = model_of(transformers.BertForMaskedLM, source, folder, 0.1)
    texts = ["the [MASK] sat on the mat .", "[MASK] is [MASK] .",
             "paris is the capital of [MASK] ,", "nothing is hidden here"]
    got = predict("mlm", "\n".join(texts) + "\n", "m.txt", folder, exported, ["--line_by_line"],
                  "--top_k", 7)
    pipe = pipeline("fill-mask", model, tokenizer, top_k=7)
    wrong = []
    for text, mine in zip(texts, got):
        theirs = fill(pipe, text)
        if masks_differ(mine["masks"], theirs, "token", "token_str"):
            wrong.append((text, mine, theirs))
    none("mlm: %d texts as the pipeline" % len(got), wrong, len(got) == len(texts))


def check_choices(source, conll, folder):
    model, tokenizer, exported = model_of(transformers.BertForMultipleChoice, source, folder, 0.3)
    with open(conll, encoding="utf-8") as f:
        texts = [" ".join(line.split("\t")[0] for line in s.split("\n"))
                 for s in f.read().strip().split("\n\n")][:160]
    rows = [(texts[i], texts[i + 1:i + 4]) for i in range(0, len(texts) - 3, 4)]
    lines = "".join(json.dumps(dict(text=a, choices=c, label=1)) + "\n" for a, c in rows)
    plain = "".join("\t".join([a] + c) + "\n" for a, c in rows)
    for length in 24, 128:
        size = ["--max_length", length]
        start = ["./train_bert", "predict", "--model", exported, "--logits", *size]
        answers = [predict("multiple_choice", lines, "c.jsonl", folder, exported, size, "--logits")]
        for flags, text in ([], plain), (["--json"], lines):
            answers.append([json.loads(line)
                            for line in run(*start, *flags, stdin=text).splitlines()])
        wrong = [(a, b, c) for a, b, c in zip(*answers) if not a == b == c]
        for (text, choices), mine in zip(rows, answers[0]):
            e = tokenizer([text] * 3, choices, truncation=True, max_length=length, padding=True,
                          return_tensors="pt")
            with torch.no_grad():
                logits = model(**{name: t[None] for name, t in e.items()}).logits[0]
            best, scores = int(logits.argmax()), logits.double().softmax(-1).tolist()
            if mine["choice"] != best or mine["text"] != choices[best] or any(
                    map(apart, scores + [scores[best]], mine["scores"] + [mine["score"]])):
                wrong.append((text, mine, scores))
        none("multiple_choice: %d texts, cut at %d" % (len(answers[0]), length), wrong,
             all(len(a) == len(rows) for a in answers))


def main():
    source, conll, squad = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as folder:
        check_ner(source, conll, folder)
        check_qa(source, squad, folder)
        check_mlm(source, folder)
        check_choices(source, conll, folder)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
