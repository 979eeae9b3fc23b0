#!/usr/bin/env python3
"""Embeddings of train_bert against sentence-transformers, on real sentences (dev/requirements.txt).

    dev/check/embeddings.py HF_DIR TEXT.tsv [--sentences 1000]     # the first column is the sentence

Fails where the cosine of the two vectors of a sentence is below 0.999999, or where --normalize does
not give sentence-transformers' normalized vector within 1e-5 in each number.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(HERE)


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("%s failed with %d" % (" ".join(map(str, command)), done.returncode))
    return done.stdout


def embed(model, data, *flags):
    lines = run(ROOT + "/train_bert", "embed", "--model", model, "--predict_file", data, *flags)
    return np.array([json.loads(line)["embedding"] for line in lines.splitlines()])


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("hf_dir")
    p.add_argument("text")
    p.add_argument("--sentences", type=int, default=1000)
    a = p.parse_args()
    from sentence_transformers import SentenceTransformer
    with open(a.text, encoding="utf-8") as f:
        sentences = [line.split("\t")[0] for line in f.read().split("\n") if line][:a.sentences]
    theirs = SentenceTransformer(a.hf_dir, device="cpu")
    with tempfile.TemporaryDirectory() as work:
        model, text, data = (os.path.join(work, name) for name in ("m.bin", "t.tsv", "d.bin"))
        with open(text, "w", encoding="utf-8") as f:
            f.write("".join(s + "\n" for s in sentences))
        run(sys.executable, HERE + "/export_hf.py", a.hf_dir, model)
        run(sys.executable, ROOT + "/tokenizer.py", "classification", text, data, "--model", model,
            "--unlabelled", "--header", "no", "--max_length", theirs.max_seq_length)
        ours, unit = embed(model, data), embed(model, data, "--normalize")
    want = theirs.encode(sentences, batch_size=32).astype(float)
    norms = np.linalg.norm(want, axis=1)
    cosines = (ours * want).sum(1) / norms / np.linalg.norm(ours, axis=1)
    apart = np.abs(unit - want / norms[:, None]).max(1)
    failed = int((~((cosines >= 0.999999) & (apart <= 1e-5))).sum())
    print("%d sentences: smallest cosine %.9f, normalized vectors differ by %.1e at most" % (
        len(sentences), cosines.min(), apart.max()))
    print("%d passed, %d failed" % (len(sentences) - failed, failed))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
