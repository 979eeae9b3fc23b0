#!/usr/bin/env python3
"""Runs what the pages show: README.md, README.zh-CN.md, dev/docs/*.md, dev/lessons/README*.md.

    python3 dev/check/readme.py                 all pages; what is not committed is not seen
    python3 dev/check/readme.py README.md       these pages
    python3 dev/check/readme.py --list          each command, and what becomes of it

A fresh clone of HEAD, an empty HOME and an empty environment; each page's commands in their order.
A block that begins with ```sh is a shell script. A block without a language behind it is what the
script prints in the end: the same words, numbers within 0.002, times and speeds as they come; a
line "..." is any lines, "..." at a line's end its rest. A block ```c is saved under the name that
the next script compiles, a block ```python has to parse. The commands of a table whose first column
is "transformers" run one after the other. Besides: each link leads to a file, each path in dev/ is
there, and each --flag is one that some program's help has.

SHORTER says which commands are changed so that they take seconds, and whether what they print can
be compared; ELSEWHERE which are not run, and what does. Models of the hub come from 127.0.0.1: tiny
random ones in the shape of those that they are named after; bert-base-chinese's vocabulary is ours,
of as many lines, with [PAD], [UNK], [CLS], [SEP], [MASK] where the real one has them and a token
for each Chinese character. MiniLM is the real one: this folder's, or PyPI's. Standard library only.
"""
import argparse
import ast
import functools
import http.server
import importlib.util
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

from common import ROOT, check, differs, finish, write

PAGES = ["README.md", "README.zh-CN.md"] + [
    os.path.join(folder, name) for folder, start in (("dev/docs", ""), ("dev/lessons", "README"))
    if os.path.isdir(os.path.join(ROOT, folder)) for name in sorted(os.listdir(ROOT + "/" + folder))
    if name.startswith(start) and name.endswith(".md")]

FULL, WORDS, NOTHING = "in full", "words, not numbers", "not compared"
# what stands in a line, what takes its place, what of the block's output is compared then
SHORTER = [
    (r"^make demo\b(?!-)", 'make demo EPOCHS=1 DEMO_FLAGS="--max_steps 20"', WORDS),
    (r"^make demo-embed", r"make demo-embed", FULL),
    (r"^make demo-(\w+)\b(?!.*=)", r'make demo-\1 EPOCHS=1 DEMO_FLAGS="--max_steps 4 '
     r'--train given/\1.train --dev given/\1.dev"', NOTHING),
    (r'^(make demo-(\w+) .*DEMO_FLAGS=")', r"\1--max_steps 4 --train given/\2.train "
     r"--dev given/\2.dev ", NOTHING),
    (r"^(python3 dev/demo.py .*?)( *#.*)?$", r"\1 --max_steps 4\2", NOTHING),
    (r"--save_steps 500", r"--save_steps 2", NOTHING),
    (r"^( *)cc -O3", r"\1cc -O1", FULL),
    (r"https://hf-mirror.com", r"$HF_ENDPOINT", FULL),
]
# what stands in a line that is not run, and why, or what runs it
ELSEWHERE = [
    (r"^make test\b", ".ci/run begins with it"),
    (r"^make (bench|coverage|mutants|fuzz)", "minutes; .ci/run has their quick halves"),
    (r"^make lessons", "dev/check/lessons.py"),
    (r"^make examples", ".ci/run builds them with each compiler"),
    (r"^(apt-get|brew) ", "it changes the system"),
    (r"^mpirun |^make MPI=1", "dev/check/ranks.py, and make MPI=1 in .ci/run"),
    (r"^tensorboard ", "dev/check/events.py"),
]
# pages whose commands, C and output another check has; their links and flags are looked at here
PAGES_ELSEWHERE = {"dev/docs/install.md": "dev/check/install.py",
                   "dev/lessons/README.md": "dev/check/lessons.py",
                   "dev/lessons/README.zh-CN.md": "dev/check/lessons.py"}
if importlib.util.find_spec("matplotlib") is None:
    ELSEWHERE.append((r"dev/plot.py", "no matplotlib here"))
TIMES = re.compile(r"[\d,.]+ tokens/s|[\d:]+ left| in [\d.]+ s\b|\([\d.]+ s\)")
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*(?:e-?\d+)?")


# ------------------------------------------------------------------------------------- the pages

def blocks(text):
    """(language, text, line, how many headings stand before it) of each fenced block."""
    found, headings, lines = [], 0, text.split("\n")
    i = 0
    while i < len(lines):
        fence = re.match(r"```(\w*)$", lines[i])
        if fence:
            end = lines.index("```", i + 1)
            found.append((fence.group(1), "\n".join(lines[i + 1:end]) + "\n", i + 1, headings))
            i = end
        headings += lines[i].startswith("#")
        i += 1
    return found


def table_commands(text):
    """What a table beside transformers says: commands, which later rows go on with --flags."""
    out = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        if not table.startswith("| transformers"):
            continue
        for span in re.findall(r"(?<!\\)`([^`]+)`", table):
            if re.match(r"python3 |\./train_bert |make ", span):
                out.append(span)
            elif span.startswith("--"):
                out[-1] += " " + span
    return out


def plan(page, script):
    """-> what is run, what of its output is compared, [what is left out, and why]"""
    lines, compared, left = [], FULL, []
    for line in script.split("\n"):
        why = next((why for pattern, why in ELSEWHERE if re.search(pattern, line)),
                   PAGES_ELSEWHERE.get(page))
        if why:
            left += [(line.strip(), why)] if line.strip() else []
            continue
        pattern, new, what = next((x for x in SHORTER if re.search(x[0], line)), ("$^", "", FULL))
        lines.append(re.sub(pattern, new, line))
        compared = what if what != FULL else compared
    return "\n".join(lines).strip(), compared, left


def same_line(expected, line, numbers):
    cut = expected.rstrip().endswith("...")
    if cut:
        expected = expected.rstrip()[:-3]
    a, b = (" ".join(TIMES.sub("", x).split()) for x in (expected, line))
    words = [NUMBER.sub("#", x) for x in (a, b)]
    if words[0] != (words[1][:len(words[0])] if cut else words[1]):
        return False
    value = lambda x: float(x.replace(",", ""))
    return not numbers or all(abs(value(x) - value(y)) <= 2e-3 * max(1, abs(value(x)))
                              for x, y in zip(NUMBER.findall(a), NUMBER.findall(b)))


def end_differs(expected, printed, numbers):
    """What of the page's lines the end of what was printed does not have; from the end on."""
    want, got = (text.rstrip("\n").split("\n")[::-1] for text in (expected, printed))
    return differs(want, got, lambda a, b: same_line(a, b, numbers))


# -------------------------------------------------------------------------- what the reader brings

def given(folder):
    """Text files for the commands that name files of the reader's own."""
    rows = ["a good film\t1", "a dull film\t0", "not bad at all\t1", "too long and too loud\t0"] * 3
    tags = "".join("Anna B-person\nlives O\nin O\nParis B-location\n\n" for _ in range(4))
    context = "The Rhine rises in the Swiss Alps and flows to the North Sea."
    qas = [dict(id=str(i), question="Where does the Rhine rise?", answers=[
        dict(text="the Swiss Alps", answer_start=context.index("the Swiss"))]) for i in range(4)]
    squad = json.dumps({"data": [{"title": "Rhine", "paragraphs": [
        {"context": context, "qas": qas}]}]})
    prose = "\n\n".join("\n".join("The %s of %d ships left the harbour of town %d in spring."
                                  % (word, i, i) for i in range(12))
                        for word in ("first", "second", "third", "last"))
    choice = "".join(json.dumps(dict(text="He opened the fridge.", choices=[
        "He took out milk.", "The senate passed it."], label=0)) + "\n" for _ in range(6))
    sets = "".join(json.dumps(dict(text=t, labels=x)) + "\n" for t, x in
                   [("fast and cheap", ["speed", "price"]), ("cheap", ["price"]), ("late", [])] * 2)
    pairs = "".join("A man plays.\tSomebody plays.\t%.1f\n" % (i % 5) for i in range(8))
    files = {"train.tsv": "\n".join(rows) + "\n", "dev.tsv": "\n".join(rows[:6]) + "\n",
             "test.tsv": "a film\nanother film\n", "lines.txt": "a film\nanother film\n",
             "my.conll": tags, "my-dev.conll": tags, "a.jsonl": sets, "b.jsonl": sets,
             "train.csv": "text,label\n" + "这部电影很好看。,好评\n太长了，不好看。,差评\n" * 6,
             "dev.csv": "text,label\n很好看。,好评\n不好看。,差评\n"}
    ends = dict(regression=(pairs, ".tsv"), ner=(tags, ".conll"), qa=(squad, ".json"), mlm=(
        prose, ".txt"), pretraining=(prose, ".txt"), multiple_choice=(choice, ".jsonl"))
    for task, (text, end) in ends.items():
        for split in ("train", "dev"):
            files["given/%s.%s%s" % (task, split, end)] = text
    step = dict(step=10, epoch=1.0, loss=0.5, learning_rate=1e-5, grad_norm=1.0)
    files["a/logs/log.jsonl"] = files["b/logs/log.jsonl"] = "".join(
        json.dumps(dict(step, step=n)) + "\n" for n in (10, 20, 30))
    for name, text in files.items():
        write(os.path.join(folder, name), text)
    return {task: end for task, (_, end) in ends.items()}


# ------------------------------------------------------------------------------------ a hub of ours

CONFIG = dict(architectures=["BertForMaskedLM"], model_type="bert", hidden_size=32,
              num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, hidden_act="gelu",
              max_position_embeddings=512, type_vocab_size=2, initializer_range=0.02,
              layer_norm_eps=1e-12, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)


def safetensors(V, C=32, F=64, L=2):
    """Random weights of a BertForMaskedLM with these sizes, as the hub stores them."""
    rng, header, parts, at = random.Random(V), {}, [], 0
    tensors = [("embeddings.word_embeddings.weight", V, C),
               ("embeddings.position_embeddings.weight", 512, C),
               ("embeddings.token_type_embeddings.weight", 2, C)]
    tensors += [("embeddings.LayerNorm." + x, C, 0) for x in ("weight", "bias")]
    for layer in range(L):
        for name, rows, columns in [("attention.self.query", C, C), ("attention.self.key", C, C),
                                    ("attention.self.value", C, C), ("output.dense", C, F),
                                    ("attention.output.dense", C, C), ("intermediate.dense", F, C),
                                    ("attention.output.LayerNorm", C, 0),
                                    ("output.LayerNorm", C, 0)]:
            name = "encoder.layer.%d.%s." % (layer, name)
            tensors += [(name + "weight", rows, columns), (name + "bias", rows, 0)]
    tensors += [("pooler.dense.weight", C, C), ("pooler.dense.bias", C, 0)]
    tensors = [("bert." + name, *shape) for name, *shape in tensors]
    for name, rows, columns in [("dense.weight", C, C), ("dense.bias", C, 0),
                                ("LayerNorm.weight", C, 0), ("LayerNorm.bias", C, 0)]:
        tensors.append(("cls.predictions.transform." + name, rows, columns))
    tensors.append(("cls.predictions.bias", V, 0))
    noise = [rng.gauss(0, 0.02) for _ in range(4096)]  # repeated: random enough, and soon made
    for name, rows, columns in tensors:
        n = rows * (columns or 1)
        if columns:
            values = struct.pack("<4096f", *noise) * (n // 4096 + 1)
        else:
            values = struct.pack("<f", float(name.endswith("LayerNorm.weight"))) * n
        parts.append(values[:4 * n])
        header[name] = dict(dtype="F32", shape=[rows] + [columns] * (columns > 0),
                            data_offsets=[at, at + 4 * n])
        at += 4 * n
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + b"".join(parts)


def chinese_vocabulary():
    special = ["[PAD]"] + ["[unused%d]" % i for i in range(1, 100)] + ["[UNK]", "[CLS]", "[SEP]",
                                                                      "[MASK]"]
    plain = [chr(i) for i in range(33, 127) if not chr(i).isupper()]
    plain += list("。，、；：？！…—·“”‘’（）《》【】")
    rest = [chr(i) for i in range(0x4e00, 0x9fa6)]
    return (special + plain + ["##" + x for x in "0123456789abcdefghijklmnopqrstuvwxyz"]
            + rest)[:21128]


def serve(folder, minilm):
    """google-bert/bert-base-uncased (with MiniLM's vocabulary, which is its own) and
    google-bert/bert-base-chinese, under http://127.0.0.1:PORT"""
    with open(os.path.join(minilm, "vocab.txt"), encoding="utf-8") as f:
        english = f.read().split("\n")[:-1]
    for name, words, lower in [("bert-base-uncased", english, True),
                               ("bert-base-chinese", chinese_vocabulary(), False)]:
        base = os.path.join(folder, "google-bert", name, "resolve", "main")
        write(base + "/config.json", dict(CONFIG, vocab_size=len(words)))
        write(base + "/tokenizer_config.json", dict(do_lower_case=lower, model_max_length=512))
        write(base + "/vocab.txt", "".join(w + "\n" for w in words))
        write(base + "/model.safetensors", safetensors(len(words)))

    class Files(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                             functools.partial(Files, directory=folder))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return "http://127.0.0.1:%d" % server.server_port


# -------------------------------------------------------------------------------------- the check

class Clone:
    def __init__(self, tmp):
        self.folder, self.home = os.path.join(tmp, "bert.h"), os.path.join(tmp, "home")
        subprocess.run(["git", "clone", "-q", ROOT, self.folder], check=True)
        os.mkdir(self.home)
        for name in ("models/all-MiniLM-L6-v2", "data/movie-reviews"):
            if os.path.isdir(os.path.join(ROOT, name)):  # as if it had been downloaded
                shutil.copytree(os.path.join(ROOT, name), os.path.join(self.folder, name),
                                copy_function=os.link)
        keep = {k: v for k, v in os.environ.items() if k.lower() in (
            "http_proxy", "https_proxy", "no_proxy") or k.startswith("PIP_")}
        path = os.path.dirname(sys.executable) + ":" + os.environ["PATH"]
        self.env = dict(keep, PATH=path, HOME=self.home, CFLAGS="-O1", OMP_NUM_THREADS="1",
                        GOMP_SPINCOUNT="1000", DOWNLOAD_RETRY_SECONDS="0.01")
        self.run("python3 dev/download.py all-MiniLM-L6-v2 movie-reviews")
        self.ends = given(self.folder)
        self.env["HF_ENDPOINT"] = serve(os.path.join(tmp, "hub"),
                                        os.path.join(self.folder, "models/all-MiniLM-L6-v2"))

    def run(self, script):
        """(exit code, what it printed); the first command that fails ends it."""
        script = re.sub(r"given/(\w+)\.(train|dev)(?!\.)",
                        lambda m: m.group() + self.ends.get(m.group(1), ""), script)
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=self.folder,
                              env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=600)
        return done.returncode, done.stdout.decode("utf-8", "replace")


def run_page(page, clone, uncompared):
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        text = f.read()
    found, output, mode, of = blocks(text), None, NOTHING, 0
    ran = 0
    for script in table_commands(text):
        code, out = clone.run(plan(page, script)[0])
        check("%s, table: %.60s" % (page, script), code == 0, out[-400:])
    for i, (language, body, line, headings) in enumerate(found):
        where = "%s:%d" % (page, line)
        if language == "sh":
            script, mode, left = plan(page, body)
            uncompared += [(where, line, "not run: " + why) for line, why in left]
            output, of = None, headings
            if script:
                code, output = clone.run(script)
                ran += 1
                check("%s: %.60s" % (where, script.split("\n")[0]), code == 0,
                      output[-600:])
        elif page in PAGES_ELSEWHERE:
            continue
        elif language == "c":
            name = next((m.group(1) for kind, later, _, _ in found[i:] if kind == "sh"
                         for m in [re.search(r"\b(\w+\.c)\b", later)] if m), None)
            check(where + ": a C program, and its compilation", name is not None)
            write(os.path.join(clone.folder, name or "x.c"), body)
        elif language == "python":
            try:
                ast.parse(body)
                check(where + ": Python", True)
            except SyntaxError as e:
                check(where + ": Python", False, e)
        elif not language and output is not None and headings == of:
            if mode == NOTHING:
                uncompared.append((where, body.split("\n")[0][:60], "what it prints: another run"))
            else:
                why = end_differs(body, output, mode == FULL)
                check("%s: what it prints, %s" % (where, mode), not why, why)
            output = None
    return ran


def helps(clone):
    """Everything that the programs' helps say."""
    commands = ["./train_bert help " + c for c in ("train", "eval", "predict", "embed", "encode",
                                                         "inspect")]
    commands += ["python3 %s --help" % p for p in (
        "tokenizer.py", "tokenizer.py encode", "dev/demo.py", "dev/download.py",
        "dev/export_hf.py", "dev/plot.py", "dev/bench/bench.py", "dev/bench/ranks.py")]
    commands += ["python3 tokenizer.py %s --help" % t for t in (
        "classification", "regression", "ner", "qa", "mlm", "pretraining", "multiple_choice")]
    commands += ["cat dev/check/*.py dev/check/*.sh dev/bench/*.py test_bert.c"]
    return "\n".join(clone.run(c)[1] for c in commands)


def test_references(page, known, clone):
    """Links, paths and flags that the page names."""
    with open(os.path.join(ROOT, page), encoding="utf-8") as f:
        text = f.read()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    base = os.path.join(ROOT, os.path.dirname(page))
    links = [x for x in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose) if "://" not in x]
    lost = [x for x in links if not os.path.exists(os.path.join(base, x))]
    paths = set(re.findall(r"\bdev/[\w./-]*\w\b", prose))
    lost += [x for x in paths if not os.path.exists(os.path.join(clone.folder, x))]
    lost += [a for a in re.findall(r"\]\(#([^)]+)\)", prose) if a not in [
        re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", prose, re.M)]]
    check(page + ": links and paths", not lost, lost)
    flags = set(re.findall(r"(?<![\w-])--([a-z]\w+(?:[-_]\w+)*)", text))
    elsewhere = set("host map-by bind-to mca logdir cflags libs variable build prefix".split())
    lost = sorted(f for f in flags - elsewhere if "--" + f not in known)
    check(page + ": flags that there are", not lost, lost)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("pages", nargs="*", metavar="PAGE", help="default: all")
    p.add_argument("--list", action="store_true", help="say what would be run; run nothing")
    a = p.parse_args()
    pages = a.pages or [x for x in PAGES if os.path.exists(os.path.join(ROOT, x))]
    uncompared, ran = [], 0
    if a.list:
        for page in pages:
            with open(os.path.join(ROOT, page), encoding="utf-8") as f:
                text = f.read()
            for command in table_commands(text):
                print("%s, table:\n    %s" % (page, plan(page, command)[0]))
            for language, body, line, _ in blocks(text):
                if language == "sh":
                    script, mode, left = plan(page, body)
                    print("%s:%d, %s:" % (page, line, mode))
                    print("".join("    %s\n" % x for x in script.split("\n") if script)
                          + "".join("  - %s: %s\n" % x for x in left), end="")
        return 0
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        lines = len(f.read().split("\n")) - 1
    check("README.md has at most 250 lines", lines <= 250, lines)
    with open(os.path.join(ROOT, "CONTRIBUTING.md"), encoding="utf-8") as f:
        house = f.read()
    lost = [x for x in os.listdir(ROOT + "/dev/driver") if "`%s`" % x not in house]
    check("CONTRIBUTING.md names each room of the driver", not lost, lost)
    with tempfile.TemporaryDirectory() as tmp:
        clone = Clone(tmp)
        code, out = clone.run("make -s train_bert")
        check("make, in an empty environment", code == 0, out)
        known = helps(clone)
        for page in pages:
            ran += run_page(page, clone, uncompared)
        for page in pages:
            test_references(page, known, clone)
        left = os.listdir(clone.home)
        tools = {".cache", ".local", ".config", ".rustup"}  # pip asks for rustc's version
        check("HOME stays empty", not set(left) - tools, left)
    for where, what, why in uncompared:
        print("%-32s %-50.50s %s" % (where, what, why))
    print("%d scripts of %d pages" % (ran, len(pages)))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
