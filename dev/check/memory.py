#!/usr/bin/env python3
"""The memory that train_bert says a training takes against what the process had at its peak.

    make train_bert && dev/check/memory.py models/all-MiniLM-L6-v2 [--quick]

Two steps and an evaluation of MiniLM, in several shapes of batches. What the start page says is
what the peak is, to 5% and 8 MB, but for the rows of wte whose words the data does not have: no
page of their gradients and means is ever written (memory.h). Ends with "N passed, N failed".
"""
import argparse
import os
import random
import re
import subprocess
import sys
import tempfile

import common
from common import check, finish, run, write

SHARE, CONSTANT = 0.05, 8e6
CASES = [  # task, examples in a batch, their tokens, flags
    ("classification", 16, 64, []),
    ("classification", 2, 512, []),
    ("classification", 8, 256, ["--gradient_checkpointing"]),
    ("classification", 8, 128, ["--freeze_layers", 3, "--freeze_embeddings"]),
    ("classification", 16, 128, ["--max_tokens_per_batch", 512]),
    ("classification", 1, 128, ["--per_device_eval_batch_size", 64]),
    ("ner", 8, 128, ["--gradient_accumulation_steps", 2]),
    ("mlm", 4, 128, []),
    ("mlm", 8, 128, ["--gradient_checkpointing"]),
]
QUICK = 0, 2, 3, 4, 7


def data(model, folder, task, items, tokens):
    """Texts that are cut at so many tokens, all of other words."""
    draw = random.Random(1)
    words = [word for word in open(os.path.join(common.ROOT, "README.md"), encoding="utf-8")
             .read().split() if word.isalpha()]
    texts = [[draw.choice(words) for _ in range(tokens)] for _ in range(items)]
    if task == "ner":
        source = "\n".join("".join("%s %s\n" % (word, draw.choice("OX")) for word in text)
                           for text in texts)
    else:
        label = "\t%d" if task == "classification" else "%.0s"
        source = "".join(" ".join(text) + label % (i % 2) + "\n" for i, text in enumerate(texts))
    out = os.path.join(folder, "data.bin")
    run("./tokenizer.py", task, write(os.path.join(folder, "data.txt" if task != "classification"
                                                   else "data.tsv"), source), out,
        "--model", model, "--max_length", tokens, *["--line_by_line"] * (task == "mlm"))
    return out


def peak(*args):
    """(bytes, stdout) of a training."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(common.command("./train_bert", *args), stdout=out,
                                 env=dict(os.environ, OMP_NUM_THREADS="1"))
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        out.seek(0)
        return status == 0 and usage.ru_maxrss * 1024, out.read().decode()


def one(model, folder, task, batch, tokens, flags):
    steps = 4 if "--gradient_accumulation_steps" in flags else 2
    path = data(model, folder, task, steps * batch, tokens)
    had, text = peak("train", "--model", model, "--train_file", path, "--eval_file", path,
                     "--num_train_epochs", 1, "--per_device_train_batch_size", batch,
                     "--output_dir", os.path.join(folder, "out"), "--overwrite_output_dir", *flags)
    said = re.search(r"^memory +(\d+) MB: ", text, re.M)
    name = "%s, %d x %d %s" % (task, batch, tokens, " ".join(map(str, flags)))
    if not check(name + ": ends, and says its memory", had and said, (had, text)):
        return
    V, C = (int(re.search(what + r" (\d+)", text).group(1)) for what in ("vocabulary", "hidden"))
    met = len({token for item in common.read_data(path).tokens for token in item})
    unmet = 0 if task == "mlm" or "--freeze_embeddings" in flags else 3 * 4 * C * (V - met)
    want = int(said.group(1)) * 1e6 - unmet
    check("%s: %d MB, %.0f of them for words that are not there; the peak is %.0f MB" % (
        name, int(said.group(1)), unmet / 1e6, had / 1e6),
        abs(had - want) <= SHARE * want + CONSTANT, (had, want))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("hf_dir")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="memory.") as folder:
        model = os.path.join(folder, "model.bin")
        run("./dev/export_hf.py", args.hf_dir, model)
        for i, case in enumerate(CASES):
            if i in QUICK or not args.quick:
                one(model, folder, *case)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
