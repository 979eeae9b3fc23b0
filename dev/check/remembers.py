#!/usr/bin/env python3
"""Lines of standard input are answered as the examples of a file: a model remembers its training.

    make && python3 dev/check/remembers.py

Single texts and pairs at several lengths, questions that may lack an answer: tokenizer.py makes
data, train_bert trains on it, and the same texts come from a file and as lines.
Python's standard library is all it takes. Ends with "N passed, N failed".
"""
import json
import os
import random
import sys
import tempfile

from common import DEV, attempt, command, finish, write, wrong

MODEL = os.path.join(DEV, "fixtures", "text.model.bin")
WORDS = "good film bad dull story actor not the a is was very".split()
CONFIG = {"vocab_size": 37, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 19, "type_vocab_size": 2, "max_position_embeddings": 17,
          "hidden_act": "gelu", "initializer_range": 0.5}


def run(name, *args, lines="", code=0):
    """(stdout, stderr)"""
    got, out, error = attempt(name, *args, stdin=lines)
    assert got == code, (command(name, *args), got, error)
    return out, error


def sentence(n):
    return " ".join(random.choice(WORDS) for _ in range(n))


def train(folder, task, text, length, flags=()):
    """out/model.bin of a short training, and its data file"""
    data, out = os.path.join(folder, "data.bin"), os.path.join(folder, "out")
    scratch = os.path.join(folder, "scratch.bin")
    run("./tokenizer.py", task, write(os.path.join(folder, "data.txt"), text), data, "--model",
        MODEL, "--max_length", length, *flags)
    run("./dev/export_hf.py", "--config", write(os.path.join(folder, "config.json"), CONFIG),
        "--tokenizer", MODEL, scratch)
    run("./train_bert", "train", "--model", scratch, "--train_file", data, "--output_dir", out,
        "--max_steps", 20, "--learning_rate", 0.02, "--overwrite_output_dir")
    return os.path.join(out, "model.bin"), data


def apart(a, b):
    """The first two answers that differ, scores by more than their rounding."""
    a, b = a.splitlines(), b.splitlines()
    if len(a) != len(b):
        return "%d answers, %d" % (len(a), len(b))
    for x, y in zip(a, b):
        one, other = json.loads(x), json.loads(y)
        if one.keys() != other.keys() and "tags" not in one:
            return x, y
        for key in other:
            if isinstance(one[key], float):
                if abs(one[key] - other[key]) > 1e-5 * max(1, abs(one[key])):
                    return x, y
            elif key != "scores" and one[key] != other[key]:
                return x, y
    return None


def check_texts(folder, task, pairs, length):
    rows = [[sentence(random.randint(1, 14)) for _ in range(1 + pairs)] for _ in range(40)]
    texts = ["\t".join(row) for row in rows]
    lines = "\n".join(texts) + "\n"
    label = (lambda i: "%.1f" % (i % 5)) if task == "regression" else (lambda i: WORDS[i % 3])
    model, data = train(folder, task, "".join(
        "%s\t%s\n" % (text, label(i)) for i, text in enumerate(texts)), length)
    predict = ("./train_bert", "predict", "--model", model)
    embed = ("./train_bert", "embed", "--model", model)
    name = "%s, %s, max_length %d" % (task, "pairs" if pairs else "single texts", length)
    want = run(*predict, "--predict_file", data)[0]
    got, errors = run(*predict, lines=lines)
    wrong(name + ": lines are answered as the file", apart(want, got))
    told = "cut at %d" % length in errors
    wrong(name + ": what is cut is told", told != (pairs or length < 17) and errors)
    if length < 16:
        other = run(*predict, "--max_length", 17, lines=lines)[0]
        wrong(name + ": --max_length has the last word", not apart(want, other) and "no difference")
    again = os.path.join(folder, "again.bin")
    text = write(os.path.join(folder, "lines.txt"), lines)
    said = run("./tokenizer.py", task, text, again, "--model", model, "--unlabelled",
               *["--header", "no"], *["--delimiter", "tab"] * pairs)[0]
    wrong(name + ": a file to predict is cut as its training was, and that is said", (
        "cut at %d," % length not in said or "max_length %d, as in" % length not in said) and said)
    wrong(name + ": and answered as the lines are", apart(
        run(*predict, "--predict_file", again)[0], run(*predict, lines=lines)[0]))
    for flags in ["--max_length", 16], ["--like", data]:
        said = run("./tokenizer.py", task, text, again, "--model", model, "--unlabelled", "--header"
                   , "no", *flags)[0]
        wrong(name + ": unless %s" % flags[0], "as in the training" in said and said)
    vectors = run(*embed, "--predict_file", data)[0]
    got = run(*embed, *["--pair"] * pairs, lines=lines)[0]
    wrong(name + ": vectors", vectors != got and "they differ")
    if pairs:
        got = run(*predict, lines=texts[0] + "\nno tab\n", code=1)
        wrong(name + ": a line without a tab", "stdin:2: no tab" not in got[1] and got)
    else:
        got = run(*predict, lines="good\tbad\n")
        wrong(name + ": a line with a tab", "its tab is a blank" not in got[1] and got)


def check_qa(folder):
    context = "the good actor was not very bad"
    questions = [{"id": str(i), "question": sentence(2), "is_impossible": i % 2 == 1,
                  "answers": [] if i % 2 else [{"text": "actor", "answer_start": 9}]}
                 for i in range(12)]
    for v2 in 0, 1:
        asked = [question for question in questions if v2 or not question["is_impossible"]]
        paragraph = {"context": context, "qas": asked}
        text = json.dumps({"version": "v2.0" if v2 else "1.1",
                           "data": [{"title": "", "paragraphs": [paragraph]}]})
        model, _ = train(folder, "qa", text, 16, ["--doc_stride", "4"])
        lines = "".join(json.dumps({"question": question["question"], "context": context}) + "\n"
                        for question in asked)
        got = run("./train_bert", "predict", "--model", model, "--top_k", 100, lines=lines)[0]
        nothing = sum(any(not best["answer"] for best in json.loads(line)["nbest"])
                      for line in got.splitlines())
        wrong("qa, %s: no answer is one of the answers" % ("v2.0" if v2 else "1.1"),
              nothing != (len(asked) if v2 else 0) and got)
        got = run("./train_bert", "predict", "--model", model, lines="Who?\n", code=1)[1]
        wrong("qa: a plain line", '{"question": "...", "context": "..."}' not in got and got)


def main():
    random.seed(1)
    with tempfile.TemporaryDirectory(prefix="remembers.") as folder:
        for task in "classification", "regression":
            for pairs in 0, 1:
                for length in 7, 12, 17:
                    check_texts(folder, task, pairs, length)
        check_qa(folder)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
