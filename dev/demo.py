#!/usr/bin/env python3
"""From a text file to predictions, for each task: python3 dev/demo.py TASK. Standard library only.

    python3 dev/demo.py ner                                   # downloads MiniLM and WNUT-17
    python3 dev/demo.py qa --train my.json --dev my-dev.json  # your own files
    python3 dev/demo.py mlm --epochs 2 --learning_rate 1e-4   # other flags go to train_bert train

Every command is printed before it runs, so that it can be run again without this script. All that
is made is in demo/TASK; of reviews, which is `make demo`, in demo/MODEL.
"""
import argparse
import collections
import csv
import hashlib
import io
import json
import math
import os
import random
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FLAGS = ("--learning_rate", "5e-5", "--warmup_steps", "0.1", "--weight_decay", "0.01",
         "--per_device_train_batch_size", "16", "--per_device_eval_batch_size", "32")
REVIEW_FLAGS = ("--per_device_train_batch_size", "4", "--per_device_eval_batch_size", "8",
                "--learning_rate", "5e-5", "--warmup_steps", "500", "--weight_decay", "0.01")
# From scratch: for 20 epochs next sentences stay a matter of chance, then they are learned.
# initializer_range is 1/sqrt(hidden_size).
SCRATCH = ("--learning_rate", "2e-3", "--warmup_steps", "0.05", "--weight_decay", "0.01",
           "--per_device_train_batch_size", "32", "--per_device_eval_batch_size", "32")
CONFIG = dict(vocab_size=30522, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
              intermediate_size=512, max_position_embeddings=512, type_vocab_size=2,
              hidden_act="gelu", hidden_dropout_prob=0, attention_probs_dropout_prob=0,
              initializer_range=0.09)

# What is predicted in the end.
SENTENCES = """A man is playing the guitar.
Somebody plays an instrument.
The stock market fell on Monday.
"""
PAIRS = """A man is playing the guitar.\tSomebody plays an instrument.
A man is playing the guitar.\tThe stock market fell on Monday.
"""
TWEETS = """Just landed in Berlin , watching Star Wars with Emma tonight
Does anyone know if Google will fix the new Pixel ?
"""
MASKS = """The capital of France is [MASK].
He was born in [MASK] and studied at the university.
"""
CONTEXT = ("The Rhine rises in the Swiss Alps and flows to the North Sea. Its largest city is "
           "Cologne, with more than 1,050,000 people. It is about 1,230 km long.")
QUESTIONS = ("Where does the Rhine rise?", "What is the largest city on the Rhine?")
CHOICES = ("He opened the fridge to find something to drink.",
           "He took out a bottle of milk.", "The senate passed the law in June.",
           "The song was recorded in Memphis.", "Its wings are brown and white.")
REVIEWS = """A tender, funny film that stays with you for days.
The plot makes no sense and the jokes fall flat.
I expected little and got even less.
Not perfect, but I would gladly watch it again.
"""


def conll(text):
    return "\n".join(line.replace(" ", "\n") + "\n" for line in text.splitlines())


def squad():
    qas = [dict(id=str(i), question=q) for i, q in enumerate(QUESTIONS)]
    return json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": qas}]}]}, indent=1)


def choices():
    return json.dumps(dict(text=CHOICES[0], choices=CHOICES[1:])) + "\n"


# data: what download.py calls it, files in it, epochs, flags of the builder and of predict, what is
# predicted and in which format; flags of train; a file that training never saw
SHORT = ("--max_length", "128")
Demo = collections.namedtuple("Demo", "data train dev epochs build predict inputs end flags test "
                              "logging seed", defaults=(FLAGS, None, 50, 0))
DEMOS = {
    "reviews": Demo("movie-reviews", "train.tsv", "dev.tsv", 3, SHORT, (), REVIEWS, "tsv",
                    REVIEW_FLAGS, "test.tsv", 100, 42),
    "classification": Demo("movie-reviews", "train.tsv", "dev.tsv", 3, SHORT, (), REVIEWS, "tsv"),
    "multi-label": Demo(None, None, None, 3, SHORT, (), REVIEWS, "tsv"),
    "regression": Demo("stsb", "train.tsv", "dev.tsv", 3, SHORT, (), PAIRS, "tsv"),
    "ner": Demo("wnut17", "train.conll", "dev.conll", 3, SHORT, (), conll(TWEETS), "conll"),
    "qa": Demo("xquad", "train.json", "dev.json", 3, (), (), squad(), "json"),
    "mlm": Demo("wikitext2", "dev.txt", "test.txt", 1, SHORT, ("--top_k", "3"), MASKS, "txt"),
    "pretraining": Demo("wikitext2", "dev.txt", "test.txt", 73, SHORT, ("--top_k", "3"), MASKS,
                        "txt", SCRATCH),
    "multiple_choice": Demo("wikitext2", "dev.txt", "test.txt", 1, SHORT, (), choices(), "jsonl"),
    "embed": Demo(None, None, None, 0, (), ("--normalize",), SENTENCES, "tsv"),
}
OF_TASK = {"reviews": "classification", "multi-label": "classification"}  # the builder's names


def run(*command, keep=False, title=""):
    """Prints a command and runs it; keep: -> what it wrote to standard output."""
    print("\n" + title + " ".join(command), flush=True)
    stopped = False
    with subprocess.Popen([sys.executable] + list(command[1:]) if command[0] == "python3"
                          else command, cwd=ROOT, universal_newlines=True,
                          stdout=subprocess.PIPE if keep else None) as child:
        while child.returncode is None:
            try:
                out = child.communicate()[0]
            except KeyboardInterrupt:  # which the command gets too: a training saves before it ends
                stopped = True
    if stopped:
        sys.exit(130)
    if child.returncode:
        sys.exit("demo: %s failed with exit code %d" % (command[0], child.returncode))
    return out


def write(path, text):
    with open(os.path.join(ROOT, path), "w", encoding="utf-8") as f:
        f.write(text)
    return path


def documents(source, path):
    """Plain text -> one sentence a line, a blank line between documents. Where there are titles as
    WikiText has them (" = Title = ", and " . " after sentences), each opens a document; else blank
    lines part them."""
    with open(os.path.join(ROOT, source), encoding="utf-8") as f:
        lines = [line.strip() for line in f.read().split("\n")]
    title = re.compile("= [^=].*[^=] =$")
    titles = any(title.match(line) for line in lines)
    end = re.compile(r"(?<= [.!?]) " if titles else r"(?<=[.!?]) +")
    out = []
    for line in lines:
        if title.match(line) if titles else not line:
            out.append("")
        elif line and not (titles and line.startswith("=")):
            out += end.split(line)
    return write(path, "\n".join(out) + "\n")


def endings(sentences, path):
    """A file of documents() -> CSV with SWAG's columns: a sentence, the first half of the next one,
    and four second halves, the others of sentences elsewhere: how does it go on?"""
    with open(os.path.join(ROOT, sentences), encoding="utf-8") as f:
        lines = [line.split() for line in f.read().split("\n")]
    half = lambda words: " ".join(words[len(words) // 2:])
    rng, out = random.Random(0), io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["sent1", "sent2", "ending0", "ending1", "ending2", "ending3", "label"])
    for a, b in list(zip(lines, lines[1:]))[::5]:
        if len(a) > 7 and len(b) > 7:
            others = rng.sample([line for line in lines if len(line) > 7 and line != b], 3)
            found, label = [half(line) for line in others], rng.randrange(4)
            found.insert(label, half(b))
            table.writerow([" ".join(a), " ".join(b[:len(b) // 2]), *found, label])
    return write(path, out.getvalue())


def data_files(demo, a, folder):
    """The text files, downloaded where none were given."""
    if (a.train is None) != (a.dev is None) or not (a.train or demo.data):
        sys.exit("demo: %s needs both --train FILE and --dev FILE%s" % (
            a.task, "" if a.train or a.dev else ": it has no data set of its own"))
    files = [a.train, a.dev]
    if not a.train:
        files = [os.path.join("data", demo.data, name) for name in (demo.train, demo.dev)]
        if not all(os.path.exists(os.path.join(ROOT, name)) for name in files):
            run("python3", "dev/download.py", demo.data)
    if a.task == "pretraining" or (a.task == "multiple_choice" and not a.train):
        files = [documents(name, os.path.join(folder, split + ".sentences.txt"))
                 for name, split in zip(files, ("train", "dev"))]
    if a.task == "multiple_choice" and not a.train:
        files = [endings(name, name.replace(".sentences.txt", ".csv")) for name in files]
    return files


def model_folder(name):
    return "demo/" + os.path.basename(name.rstrip("/"))


def model_file(name):
    """model.bin of a model, downloaded and exported where it is not there yet, or is older than
    what it is made of."""
    path = model_folder(name) + "/model.bin"
    folder = name if os.path.isdir(name) else "models/" + name
    if not os.path.exists(os.path.join(ROOT, folder, "config.json")):
        run("python3", "dev/download.py", name)
    made = [os.path.getmtime(os.path.join(ROOT, x)) if os.path.exists(os.path.join(ROOT, x)) else 0
            for x in (path, os.path.join(folder, "config.json"), "dev/export_hf.py", "bert.h")]
    if made[0] < max(made[1:]):
        os.makedirs(os.path.join(ROOT, os.path.dirname(path)), exist_ok=True)
        run("python3", "dev/export_hf.py", folder, path)
    return path


def similarities(text, sentences):
    """Cosines of all pairs of embeddings."""
    rows = [json.loads(line)["embedding"] for line in text.splitlines()]
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            norms = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
            print("%.4f  %s | %s" % (sum(x * y for x, y in zip(a, b)) / norms, sentences[j],
                                     sentences[i]))


def train(demo, a, folder, model, extra):
    task = OF_TASK.get(a.task, a.task)
    multi = ("--multi_label",) * (a.task == "multi-label")
    names, files = ["train", "dev"], data_files(demo, a, folder)
    if demo.test and not a.train:
        names, files = names + ["test"], files + [os.path.join("data", demo.data, demo.test)]
    out = [os.path.join(folder, name + ".bin") for name in names]
    for source, made in zip(files, out):
        run("python3", "tokenizer.py", task, source, made, "--model", model, *multi,
            *(("--like", out[0]) if made != out[0] else demo.build))
    start = ("--model", model)
    if task == "pretraining":  # a small model from scratch
        config = write(os.path.join(folder, "config.json"), json.dumps(CONFIG, indent=1) + "\n")
        scratch = os.path.join(folder, "scratch.bin")
        run("python3", "dev/export_hf.py", "--config", config, "--tokenizer", model, scratch)
        start = ("--model", scratch)
    epochs = demo.epochs if a.epochs is None else a.epochs
    run("./train_bert", "train", *start, "--train_file", out[0], "--eval_file", out[1],
        "--output_dir", folder + "/out", "--num_train_epochs", "%g" % epochs, *demo.flags,
        "--logging_dir", folder + "/logs", "--logging_steps", str(demo.logging),
        "--seed", str(demo.seed if a.seed is None else a.seed), *extra)
    best = folder + "/out/best.bin"
    with open(os.path.join(ROOT, best), "rb") as f:
        print("\nSHA-256 of %s: %s" % (best, hashlib.sha256(f.read()).hexdigest()))
    run("./train_bert", "eval", "--model", best, "--eval_file", out[-1],
        title="On the test set, which training never saw:\n" if out[2:] else "")
    return best


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0],
                                formatter_class=argparse.RawDescriptionHelpFormatter,
                                epilog=__doc__.split("\n", 1)[1])
    p.add_argument("task", metavar="TASK", choices=sorted(DEMOS), help=", ".join(sorted(DEMOS)))
    p.add_argument("--model", default="all-MiniLM-L6-v2",
                   help="name under models/, Hugging Face id or folder (default: %(default)s)")
    p.add_argument("--train", metavar="FILE", help="text file to learn from")
    p.add_argument("--dev", metavar="FILE", help="text file to measure on")
    p.add_argument("--epochs", type=float,
                   help="passes over it (default: 3; mlm, multiple_choice 1, pretraining 73)")
    p.add_argument("--seed", type=int, help="default: 0; reviews 42")
    a, extra = p.parse_known_args()
    demo = DEMOS[a.task]
    folder = model_folder(a.model) if a.task == "reviews" else "demo/" + a.task
    for name in ("train", "dev"):
        if getattr(a, name):
            setattr(a, name, os.path.abspath(getattr(a, name)))
    os.makedirs(os.path.join(ROOT, folder), exist_ok=True)
    model = model_file(a.model)
    run("make", "-s", "train_bert")
    best = train(demo, a, folder, model, extra) if demo.epochs else model
    inputs = write("%s/sentences.%s" % (folder, demo.end), demo.inputs)
    task = dict(OF_TASK, pretraining="mlm", embed="classification").get(a.task, a.task)
    run("python3", "tokenizer.py", task, inputs, folder + "/sentences.bin", "--model", best,
        "--unlabelled", *["--multi_label"] * (a.task == "multi-label"))
    print("\nSentences of our own:\n" + demo.inputs, end="")
    text = run("./train_bert", "embed" if a.task == "embed" else "predict", "--model", best,
               "--predict_file", folder + "/sentences.bin", *demo.predict, keep=True)
    for line in text.splitlines():
        print(line if len(line) < 1000 else line[:200] + " ...")
    if a.task == "embed":
        similarities(text, demo.inputs.splitlines())


if __name__ == "__main__":
    main()
