#!/usr/bin/env python3
"""What PyTorch and transformers compute, recorded for test_bert.c.

    python3 dev/reference.py                         remakes dev/fixtures
    python3 dev/reference.py --check                 remakes them elsewhere and compares
    python3 dev/reference.py --out DIR               makes them in DIR
    python3 dev/reference.py --hf-dir HF --out DIR   the same record of a real BERT folder
    python3 dev/reference.py --noise                 float32 against float64: what tolerance means

Needs torch and transformers (dev/requirements.txt). Each NAME gives two files: NAME.model.bin, a
model file (bert.h) without a tokenizer, and NAME.ref.bin, records one after the other till the
file ends, little endian:

    char name[88]      zero-terminated
    int32 type         0 int32, 1 float32
    int32 count        number of values
    the values

Names, for the batches b = 0, 1, ..., packed as bert.h packs them (N tokens, no padding):

    batch.b.offsets (B+1), batch.b.tokens (N), batch.b.types (N), batch.b.labels (B)

for batch 0, layer l, with bert.h's names of the activations (query, key, value: (N, C) each):

    act.emb  act.ln0  act.l.query  .key  .value  .atty  .res1  .ln1  .fch  .gelu  .res2  .ln2
    act.pooled  act.logits  loss (1)
    grad.KEY           gradient of the Hugging Face tensor KEY

and for the training that starts from the same weights:

    train.hyper        lr, beta1, beta2, eps, weight decay, max_norm, warmup steps, total steps
    train.batch        which batch each step takes
    train.losses, train.norms    of each step, the norm before clipping
    change.KEY         KEY's change from first to last

PyTorch runs padded, with an attention mask, eager attention, in float32; the padding is dropped
when recording. Weights have deviation 0.3, and every bias and LayerNorm is random: at BERT's own
0.02 with zero biases a missing 1/sqrt(HS) would move the logits by 2e-5 only.
"""
import argparse
import os
import random
import struct
import sys
import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, get_linear_schedule_with_warmup

import export_hf

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = {  # awkward on purpose: odd sizes, edges of the matmul's tiles, sums longer than its 384
    "awkward": dict(V=61, C=20, L=3, NH=5, F=37, P=23, S=2, K=3, act="gelu", eps=1e-12),
    "onehead": dict(V=29, C=9, L=1, NH=1, F=17, P=11, S=2, K=7, act="gelu_new", eps=1e-12),
    "relu": dict(V=40, C=12, L=2, NH=3, F=31, P=16, S=3, K=2, act="relu", eps=0.05),
    "tiles": dict(V=33, C=52, L=1, NH=2, F=130, P=17, S=2, K=4, act="gelu", eps=1e-5),
    "longsum": dict(V=31, C=22, L=1, NH=2, F=400, P=13, S=2, K=2, act="gelu", eps=1e-12),
}
STEPS = 20


def tiny_model(name):
    c, rng = TINY[name], random.Random("bert.h " + name)
    model = BertForSequenceClassification(BertConfig(
        vocab_size=c["V"], hidden_size=c["C"], num_hidden_layers=c["L"],
        num_attention_heads=c["NH"], intermediate_size=c["F"], max_position_embeddings=c["P"],
        type_vocab_size=c["S"], num_labels=c["K"], hidden_act=c["act"], layer_norm_eps=c["eps"],
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager"))
    with torch.no_grad():
        for key, p in model.named_parameters():
            center = 1.0 if key.endswith("LayerNorm.weight") else 0.0
            values = [rng.gauss(center, 0.3) for _ in range(p.numel())]
            p.copy_(torch.tensor(values, dtype=torch.float64).view_as(p))
    lengths = [[1, 2, 7, c["P"]], [5, 3, 4], [c["P"] - 1, 6], [8, 1, 9, 2, 4]]
    return model, [draw_batch(rng, c["V"], c["S"], c["K"], row) for row in lengths]


def draw_batch(rng, V, S, K, lengths, first=1):
    """Token 0 is [PAD], whose row Hugging Face gives no gradient: it is left out."""
    batch = dict(offsets=[0], tokens=[], types=[], labels=[])
    for n in lengths:
        batch["tokens"] += [rng.randrange(first, V) for _ in range(n)]
        batch["types"] += sorted(rng.randrange(S) for _ in range(n))
        batch["offsets"].append(len(batch["tokens"]))
        batch["labels"].append(rng.randrange(K))
    return batch


def real_model(folder, ids_file):
    """A real encoder with a classifier of 2 labels drawn here, and batches of 4 texts."""
    rng = random.Random("bert.h real")
    model = BertForSequenceClassification.from_pretrained(
        folder, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for p in model.classifier.parameters():
            p.copy_(torch.tensor([rng.gauss(0, 0.02) for _ in range(p.numel())]).view_as(p))
    V, S = model.config.vocab_size, model.config.type_vocab_size
    if ids_file:
        with open(ids_file) as f:
            texts = [[int(word) for word in line.split()] for line in f][:16]
        batches = []
        for i in range(0, len(texts), 4):
            batch = draw_batch(rng, V, S, 2, [len(t) for t in texts[i:i + 4]])
            batch["tokens"] = sum(texts[i:i + 4], [])
            batches.append(batch)
        return model, batches
    lengths = [[3, 19, 40, 64], [31, 12, 2, 25], [50, 8, 9, 10], [17, 23, 5, 33]]
    batches = [draw_batch(rng, V, S, 2, row, first=V // 30) for row in lengths]
    for batch in batches:  # [CLS] and [SEP] where a text has them
        for a, b in zip(batch["offsets"], batch["offsets"][1:]):
            batch["tokens"][a], batch["tokens"][b - 1] = 101 % V, 102 % V
    return model, batches


def padded(batch):
    """A packed batch as Hugging Face takes it: padded, with a mask. The padding is no zeros, so
    that a leak would show."""
    spans = list(zip(batch["offsets"], batch["offsets"][1:]))
    T = max(b - a for a, b in spans)
    pad = lambda values, fill: torch.tensor(
        [values[a:b] + [fill] * (T - (b - a)) for a, b in spans])
    return dict(input_ids=pad(batch["tokens"], 1), token_type_ids=pad(batch["types"], 1),
                attention_mask=pad([1] * len(batch["tokens"]), 0),
                labels=torch.tensor(batch["labels"]))


def activations(model, batch):
    """Runs batch forward and backward; every activation by its name in bert.h."""
    acts, hooks, inputs = {}, [], padded(batch)
    mask = inputs["attention_mask"].bool()

    def after(module, name, rows=True):
        def hook(module, args, out):
            acts[name] = (out[mask] if rows else out).detach().clone()
        hooks.append(module.register_forward_hook(hook))

    def before(module, name):
        def hook(module, args):
            acts[name] = args[0][mask].detach().clone()
        hooks.append(module.register_forward_pre_hook(hook))

    bert = model.bert
    before(bert.embeddings.LayerNorm, "act.emb")
    after(bert.embeddings, "act.ln0")
    for l, layer in enumerate(bert.encoder.layer):
        att, name = layer.attention, "act.%d." % l
        for part in "query", "key", "value":
            after(getattr(att.self, part), name + part)
        before(att.output.dense, name + "atty")
        before(att.output.LayerNorm, name + "res1")
        after(att.output.LayerNorm, name + "ln1")
        after(layer.intermediate.dense, name + "fch")
        after(layer.intermediate, name + "gelu")
        before(layer.output.LayerNorm, name + "res2")
        after(layer.output, name + "ln2")
    after(bert.pooler, "act.pooled", rows=False)
    after(model.classifier, "act.logits", rows=False)
    model.zero_grad()
    acts["loss"] = model(**inputs).loss
    acts["loss"].backward()
    for hook in hooks:
        hook.remove()
    return acts


def record(model, batches, hyper):
    """Every record of the file, as name -> flat tensor. Trains the model."""
    model.train()  # all dropouts are 0
    out = {}
    for b, batch in enumerate(batches):
        for field in "offsets", "tokens", "types", "labels":
            out["batch.%d.%s" % (b, field)] = torch.tensor(batch[field], dtype=torch.int32)
    out.update(activations(model, batches[0]))
    out.update({"grad." + key: p.grad.clone() for key, p in model.named_parameters()})
    start = {key: p.detach().clone() for key, p in model.named_parameters()}
    lr, beta1, beta2, eps, decay, max_norm, warmup, total = hyper
    groups = [[p for key, p in model.named_parameters() if plain(key) == flag] for flag in (0, 1)]
    optimizer = torch.optim.AdamW([dict(params=groups[0], weight_decay=decay),
                                   dict(params=groups[1], weight_decay=0.0)],
                                  lr=lr, betas=(beta1, beta2), eps=eps)
    schedule = get_linear_schedule_with_warmup(optimizer, int(warmup), int(total))
    losses, norms, order = [], [], [i % len(batches) for i in range(STEPS)]
    for b in order:
        optimizer.zero_grad()
        loss = model(**padded(batches[b])).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)))
        losses.append(float(loss.detach()))
        optimizer.step()
        schedule.step()
    assert min(norms) > max_norm, "clipping does not bite: norms %s" % norms
    out["train.hyper"] = torch.tensor(hyper)
    out["train.batch"] = torch.tensor(order, dtype=torch.int32)
    out["train.losses"], out["train.norms"] = torch.tensor(losses), torch.tensor(norms)
    out.update({"change." + key: p.detach() - start[key] for key, p in model.named_parameters()})
    return {name: t.detach().flatten() for name, t in out.items()}


def plain(key):
    """1: no weight decay."""
    return int(key.endswith("bias") or "LayerNorm" in key)


def hyperparameters(model, batches, real):
    """The tiny models' are chosen so that a mistake shows: much decay, a third of the smallest
    norm. Real weights would not survive that."""
    norms = []
    for batch in batches:
        model.zero_grad()
        model(**padded(batch)).loss.backward()
        grads = [p.grad for p in model.parameters()]
        norms.append(float(torch.nn.utils.get_total_norm(grads)))
    clip = float("%.1g" % (min(norms) / 3))
    return [5e-5 if real else 1e-3, 0.9, 0.999, 1e-8, 0.1, clip, 4.0, STEPS + 4.0]


def write_records(path, records):
    with open(path, "wb") as f:
        for name, t in records.items():
            name = name.encode()
            assert len(name) < 88
            ints = t.dtype == torch.int32
            f.write(struct.pack("<88sii", name, 0 if ints else 1, t.numel()))
            f.write(t.numpy().astype("<i4" if ints else "<f4").tobytes())


def read_records(path):
    records, data = {}, open(path, "rb").read()
    i = 0
    while i < len(data):
        name, ints, count = struct.unpack_from("<88sii", data, i)
        i += 96
        values = struct.unpack_from("<%d%s" % (count, "f" if ints else "i"), data, i)
        records[name.rstrip(b"\0").decode()] = torch.tensor(
            values, dtype=torch.float32 if ints else torch.int32)
        i += 4 * count
    return records


def save_model(path, model):
    """The model file, without labels and tokenizer."""
    hf, state = model.config, model.state_dict()
    config = {d: getattr(hf, field) for d, field in zip(export_hf.DIMS, export_hf.HF_DIMS)}
    config.update({field: getattr(hf, field) for field in export_hf.FLOATS})
    config.update(K=hf.num_labels, hidden_act=export_hf.ACTS[hf.hidden_act], task="classification",
                  problem_type=0, pooler=1, max_seq_length=0,
                  classifier_dropout=-1.0 if hf.classifier_dropout is None else hf.classifier_dropout)
    tensors = {row.name: b"".join(state[key].numpy().astype("<f4").tobytes()
                                  for layer in row.keys for key in layer)
               for row in export_hf.tensor_table(config)}
    export_hf.write_model(path, config, tensors)


def make(out, name, model, batches, real=False):
    os.makedirs(out, exist_ok=True)
    save_model(os.path.join(out, name + ".model.bin"), model)
    hyper = hyperparameters(model, batches, real)
    records = record(model, batches, hyper)
    write_records(os.path.join(out, name + ".ref.bin"), records)
    size = sum(os.path.getsize(os.path.join(out, name + end)) for end in (".model.bin", ".ref.bin"))
    print("%-10s %9d bytes, loss %.4f -> %.4f, norm %.3g, clipped at %g" % (
        name, size, records["train.losses"][0], records["train.losses"][-1],
        records["train.norms"][0], hyper[5]))


def tolerance(name):
    return 1e-3 if name.startswith("change.") else 1e-5


def worst(a, b):
    """Largest difference, as a share of the largest value."""
    scale = float(b.abs().max())
    return float((a.double() - b.double()).abs().max()) / scale if scale else 0.0


def check():
    """Remakes every fixture and compares; the number of fixtures that differ."""
    failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        for name in TINY:
            make(tmp, name, *tiny_model(name))
            old, new = (os.path.join(d, name) for d in (os.path.join(HERE, "fixtures"), tmp))
            bad = []
            if open(old + ".model.bin", "rb").read() != open(new + ".model.bin", "rb").read():
                bad.append("model.bin differs")
            a, b = read_records(old + ".ref.bin"), read_records(new + ".ref.bin")
            if list(a) != list(b):
                bad.append("other records")
            for key in a:
                if key not in b or a[key].shape != b[key].shape:
                    bad.append(key)
                elif a[key].dtype == torch.int32:
                    bad += [] if torch.equal(a[key], b[key]) else [key]
                elif not key.endswith("key.bias") and not worst(a[key], b[key]) <= tolerance(key):
                    bad.append("%s by %.2g" % (key, worst(a[key], b[key])))
            print("%s %s %s" % ("FAIL" if bad else "ok  ", name, ", ".join(bad[:9])))
            failed += bool(bad)
    print("%d passed, %d failed" % (len(TINY) - failed, failed))
    return failed


def noise():
    """How far float32 is from float64: the noise that the tests' tolerances must allow for."""
    for name in TINY:
        (model, batches), (double, _) = tiny_model(name), tiny_model(name)
        double = double.double()
        hyper = hyperparameters(model, batches, False)
        a, b = record(model, batches, hyper), record(double, batches, hyper)
        for kind in "act.", "grad.", "train.losses", "change.":
            keys = [k for k in a if k.startswith(kind) and not k.endswith("key.bias")]
            key = max(keys, key=lambda k: worst(a[k], b[k]))
            print("%-10s %-12s %.1e of the largest, in %s" % (name, kind, worst(a[key], b[key]), key))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                 formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    ap.add_argument("--out", default=os.path.join(HERE, "fixtures"), help="folder to write to")
    ap.add_argument("--check", action="store_true", help="compare with the committed fixtures")
    ap.add_argument("--noise", action="store_true", help="compare float32 with float64")
    ap.add_argument("--hf-dir", help="a real BERT folder in place of the tiny models")
    ap.add_argument("--ids", help="with --hf-dir: a file with a text's token ids on each line")
    args = ap.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    if args.check:
        return 1 if check() else 0
    if args.noise:
        return noise()
    if args.hf_dir:
        if args.out == ap.get_default("out"):
            ap.error("--hf-dir needs --out: a real model is not committed")
        make(args.out, "real", *real_model(args.hf_dir, args.ids), real=True)
        return 0
    for name in TINY:
        make(args.out, name, *tiny_model(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
