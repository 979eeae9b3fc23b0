#!/usr/bin/env python3
"""Embeddings of train_bert against sentence-transformers, on real sentences (dev/requirements.txt).

    dev/check/embeddings.py HF_DIR TEXT.tsv [--sentences 1000]    # the first column is the sentence

Fails where the cosine of the two vectors of a sentence is below 0.999999, or where --normalize does
not give sentence-transformers' normalized vector within 1e-5 in each number.
"""
import argparse
import json
import os
import sys
import tempfile

import numpy as np

from common import count, finish, read_lines, run, write


def embed(model, data, *flags):
    lines = run("./train_bert", "embed", "--model", model, "--predict_file", data, *flags)
    return np.array([json.loads(line)["embedding"] for line in lines.splitlines()])


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("hf_dir")
    p.add_argument("text")
    p.add_argument("--sentences", type=int, default=1000)
    a = p.parse_args()
    from sentence_transformers import SentenceTransformer
    sentences = read_lines(a.text)[:a.sentences]
    theirs = SentenceTransformer(a.hf_dir, device="cpu")
    with tempfile.TemporaryDirectory() as work:
        model, text, data = (os.path.join(work, name) for name in ("m.bin", "t.tsv", "d.bin"))
        write(text, "".join(s + "\n" for s in sentences))
        run("./dev/export_hf.py", a.hf_dir, model)
        run("./tokenizer.py", "classification", text, data, "--model", model,
            "--unlabelled", "--header", "no", "--max_length", theirs.max_seq_length)
        ours, unit = embed(model, data), embed(model, data, "--normalize")
    want = theirs.encode(sentences, batch_size=32).astype(float)
    norms = np.linalg.norm(want, axis=1)
    cosines = (ours * want).sum(1) / norms / np.linalg.norm(ours, axis=1)
    apart = np.abs(unit - want / norms[:, None]).max(1)
    for good in (cosines >= 0.999999) & (apart <= 1e-5):
        count(good)
    print("%d sentences: smallest cosine %.9f, normalized vectors differ by %.1e at most" % (
        len(sentences), cosines.min(), apart.max()))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
