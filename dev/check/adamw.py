#!/usr/bin/env python3
"""AdamW with a rate for each layer and frozen parts against torch.optim.AdamW with parameter groups
(dev/requirements.txt).

    make train_bert && dev/check/adamw.py

200 steps of bert_adamw, each on gradients that bert_backward made; torch gets the same ones, once
in float32, as a training has it, and once in float64. The groups are written from Hugging Face's
keys, as Zhang et al. 2021 make them (asappresearch/revisit-bert-finetuning, run_glue.py): the
head's rate is whole, the top layer has its share d, the lowest of L layers d^L, the embeddings
d^(L+1). Each tensor at every 20th step, in shares of its largest value: 1e-6 from torch's float32
(2e-7 was measured); from float64 1e-5, or no farther than torch's own float32 is, with a twentieth:
1 - rate * decay and its product with a parameter, each rounded to float32, carry both 9.7e-6 away
in 200 steps (4.6e-6 where the product is fused). Besides its change, to 1e-5 but for the
parameters' own rounding, once a step. Then train_bert and training.py with the flags. Ends with "N
passed, N failed".
"""
import json
import subprocess
import sys
import tempfile

from common import ROOT, attempt, build, check, finish, none, run, write

STEPS, RATE = 200, 1e-3
CASES = [  # model, lr_decay, weight decay, frozen layers, frozen embeddings
    ("awkward", 0, 0.1, 0, 0), ("awkward", 1, 0.1, 0, 0), ("awkward", 0.8, 0.1, 0, 0),
    ("awkward", 0.5, 0, 1, 0), ("awkward", 0.9, 0.05, 2, 1), ("awkward", 0.6, 0.1, 0, 1),
    ("awkward", 0.7, 0.1, 3, 1), ("relu", 0.65, 0.1, 0, 0)]


def groups(tensors, flat, d, weight_decay, freeze_layers, freeze_embeddings, kind):
    """A parameter for each tensor of each layer: [(key, slice, parameter)], and torch's groups."""
    import torch
    parts, made = [], []
    layers = max(t["layers"] for t in tensors)
    for t in tensors:
        size = t["size"] // t["layers"] if "%d" in t["key"] else t["size"]
        for begin in range(t["offset"], t["offset"] + t["size"], size):
            layer = (begin - t["offset"]) // size
            key, share, frozen = t["key"].replace("%d", str(layer)), 1.0, False
            if "encoder.layer." in key:
                share, frozen = d ** (layers - layer), layer < freeze_layers
            elif "embeddings." in key:
                share, frozen = d ** (layers + 1), freeze_embeddings
            cut = slice(begin, begin + size)
            p = torch.nn.Parameter(torch.tensor(flat[cut], dtype=kind))
            parts.append((key, cut, None if frozen else p))
            still = key.endswith("bias") or "LayerNorm" in key
            if not frozen:
                made.append({"params": [p], "lr": RATE * share,
                             "weight_decay": 0.0 if still else weight_decay})
    return parts, made


def compare(program, work, model, d, weight_decay, freeze_layers, freeze_embeddings):
    import numpy
    import torch
    out = work + "/steps"
    subprocess.run([program, "%s/dev/fixtures/%s.model.bin" % (ROOT, model), str(STEPS), str(RATE),
                    str(d), str(weight_decay), str(freeze_layers), str(freeze_embeddings), out],
                   check=True)
    tensors = []
    with open(out, "rb") as f:
        for line in iter(f.readline, b"0\n"):
            tensors.append(json.loads(line))
        flat = numpy.fromfile(f, numpy.float32)
    n = max(t["offset"] + t["size"] for t in tensors)
    flat = flat.reshape(-1, n)
    assert len(flat) == 1 + 2 * STEPS
    start, wrong, worst = flat[0], [], (0.0, 0.0, 0.0)
    sides = {kind: groups(tensors, start, d or 1.0, weight_decay, freeze_layers,
                          freeze_embeddings, kind) for kind in (torch.float64, torch.float32)}
    optimizers = {kind: torch.optim.AdamW(made, lr=RATE, betas=(0.9, 0.999), eps=1e-8)
                  for kind, (_, made) in sides.items()}
    resting = ~(flat[1::2] != 0).any(0)  # never had a gradient
    for step in range(STEPS):
        grads, params = flat[1 + 2 * step], flat[2 + 2 * step]
        for kind, (parts, _) in sides.items():
            for key, cut, p in parts:
                if p is not None:
                    p.grad = torch.tensor(grads[cut], dtype=kind)
            optimizers[kind].step()
        both = zip(sides[torch.float64][0], sides[torch.float32][0])
        for (key, cut, p), (_, _, q) in both if step % 20 == 19 else []:
            if p is None:
                if (params[cut] != start[cut]).any():
                    wrong.append((step, key, "is frozen, and moved"))
                continue
            exact, single, ours = (x.astype("f8") for x in (p.detach().numpy(), q.detach().numpy(),
                                                            params[cut]))
            most, change = abs(ours).max(), abs(exact - start[cut]).max()
            off, theirs, apart = (abs(x).max() / most for x in (ours - exact, single - exact,
                                                                ours - single))
            worst = [max(pair) for pair in zip(worst, (off, theirs, apart))]
            room = 1e-5 * change / most + (step + 1) * 1.5 * 2.0 ** -24
            if not (apart <= 1e-6 and off <= max(1e-5, 1.05 * theirs) and off <= room and change):
                wrong.append((step, key, off, theirs, apart, room))
    none("%s, decay %g, weight decay %g, frozen %d %d: %d steps, off by %.2e of the largest from "
         "float64 (torch's float32: %.2e), by %.1e from torch's float32" % (
             model, d, weight_decay, freeze_layers, freeze_embeddings, STEPS, *worst), wrong,
        resting[:tensors[0]["size"]].any())


def trained(work):
    """The flags: train_bert's losses and training.py's, a tiny model."""
    model = ROOT + "/dev/fixtures/text.model.bin"
    run("./dev/export_hf.py", "--to-hf", model, work + "/hf")
    words = "a the film good dull dully not one".split()
    rows = ["%s\t%.1f" % (" ".join(words[(i * k + k) % 8] for k in range(1, 2 + i % 5)), i % 7)
            for i in range(64)]
    tsv = write(work + "/train.tsv", "text\tscore\n" + "\n".join(rows) + "\n")
    code, out, error = attempt(
        "./dev/check/training.py", "regression", work + "/hf", tsv, "--steps", 100,
        "--max_length", 16, "--learning_rate", 1e-3, "--layerwise_lr_decay", 0.7,
        "--freeze_embeddings", 1)
    check("train_bert's losses follow: " + out[-80:].replace("\n", ", "), code == 0, out + error)


def main():
    with tempfile.TemporaryDirectory() as work:
        program = build("adamw", work)
        for case in CASES:
            compare(program, work, *case)
        trained(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
