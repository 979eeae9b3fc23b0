#!/usr/bin/env python3
"""What PyTorch and transformers compute, recorded for test_bert.c.

    python3 dev/check/reference.py               remakes dev/fixtures
    python3 dev/check/reference.py --check       remakes them elsewhere and compares
    python3 dev/check/reference.py --out DIR     makes them in DIR
    python3 dev/check/reference.py --hf-dir HF --out DIR [--task ner]
                                                 the same record of a real BERT folder
    python3 dev/check/reference.py --noise       float32 against float64: what tolerance means

Needs torch and transformers (dev/requirements.txt). Each NAME gives two files: NAME.model.bin, a
model file (bert.h) without a tokenizer, and NAME.ref.bin, records one after the other till the
file ends, little endian:

    char name[88]      zero-terminated
    int32 type         0 int32, 1 float32
    int32 count        number of values
    the values

text.model.bin has a tokenizer, text.txt in place of records.

Names, for the batches b = 0, 1, ..., packed as bert.h packs them (N tokens, no padding):

    batch.b.offsets (B+1), batch.b.tokens (N), batch.b.types (N), and with bert.h's shapes what
    the task has of: batch.b.labels  .targets  .rows  .next  .choices  .class_weights
    .label_smoothing

for batch 0, layer l, with bert.h's names of the activations (query, key, value: (N, C) each):

    act.emb  act.ln0  act.l.query  .key  .value  .atty  .res1  .ln1  .fch  .gelu  .res2  .ln2
    act.pooled  act.mlmh  act.mlmact  act.headx (mlm's)  act.logits  act.nsp  loss (1)
    embed.mean  .cls  .pooler  .unit    (B, C): sentence-transformers' poolings; unit: the mean at
                       length 1 (task none, which has nothing below)
    grad.KEY           gradient of the Hugging Face tensor KEY

and for the training that starts from the same weights:

    train.hyper        lr, beta1, beta2, eps, weight decay, max_norm, warmup steps, total steps
    train.batch        which batch each step takes
    train.losses, train.norms    of each step, the norm before clipping
    change.KEY         KEY's change from first to last

PyTorch runs padded, with an attention mask, eager attention, in float32; the padding is dropped
when recording. For qa, whose loss in Hugging Face reads the padding too, it runs one sequence at a
time, and the loss is the mean. Class weights are torch's CrossEntropyLoss(weight, label_smoothing)
and BCEWithLogitsLoss(pos_weight), label smoothing alone is Trainer's. Weights have deviation 0.3,
and every bias and LayerNorm is random: at BERT's own 0.02 with zero biases a missing 1/sqrt(HS)
would move the logits by 2e-5 only.
"""
import argparse
import os
import random
import struct
import sys
import tempfile

import torch
import transformers
from transformers.trainer_pt_utils import LabelSmoother

import common
import export_hf

FIXTURES = os.path.join(common.DEV, "fixtures")
TINY = {  # awkward on purpose: odd sizes, edges of the matmul's tiles, sums longer than its 384
    "awkward": dict(V=61, C=20, L=3, NH=5, F=37, P=23, S=2, K=3, act="gelu", eps=1e-12),
    "onehead": dict(V=29, C=9, L=1, NH=1, F=17, P=11, S=2, K=7, act="gelu_new", eps=1e-12),
    "relu": dict(V=40, C=12, L=2, NH=3, F=31, P=16, S=3, K=2, act="relu", eps=0.05),
    "tiles": dict(V=33, C=52, L=1, NH=2, F=130, P=17, S=2, K=4, act="gelu", eps=1e-5),
    "longsum": dict(V=31, C=22, L=1, NH=2, F=400, P=13, S=2, K=2, act="gelu", eps=1e-12),
}
HEAD = dict(V=37, C=12, L=2, NH=2, F=19, P=17, S=2, K=0, act="gelu", eps=1e-12)
TINY.update({
    "weights": dict(HEAD, L=1, K=3, losses=1, pad=6),
    "multi": dict(HEAD, L=1, K=5, multi=1, losses=1),
    "regression": dict(HEAD, K=1, task="regression"),
    "ner": dict(HEAD, K=5, task="ner", losses=1),
    "qa": dict(HEAD, task="qa"),
    "mlm": dict(HEAD, task="mlm", act="gelu_new", losses=1),
    "pretraining": dict(HEAD, task="pretraining", act="relu", eps=1e-3),
    "none": dict(HEAD, task="none"),
    "multiple_choice": dict(HEAD, V=29, C=8, L=1, F=11, P=11, K=1, task="multiple_choice",
                            losses=1),
})
# The README's example reads text: a classifier of so many words, text.model.bin, and what it says
# of a sentence, text.txt.
TEXT = dict(HEAD, K=2)
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film good dull ##y , . is not one".split()
SENTENCE = "A good film is not dully DULL."
CLASSES = dict(none="Model", classification="ForSequenceClassification",
               regression="ForSequenceClassification", ner="ForTokenClassification",
               qa="ForQuestionAnswering", mlm="ForMaskedLM", pretraining="ForPreTraining",
               multiple_choice="ForMultipleChoice")
STEPS = 20


def hf_class(task):
    return getattr(transformers, "Bert" + CLASSES[task])


def problem(c):
    """What the config needs beside the sizes for the loss."""
    if c.get("task") == "regression":
        return dict(problem_type="regression")
    return dict(problem_type="multi_label_classification") if c.get("multi") else {}


def named(model):
    """named_parameters with the keys of the classes that have heads."""
    prefix = "" if hasattr(model, "bert") else "bert."
    return [(prefix + key, p) for key, p in model.named_parameters()]


def tiny_model(name):
    c, rng = TINY.get(name, TEXT), random.Random("bert.h " + name)

    def draw(key, p):  # by Python: the fixtures must not hang on torch's generator
        center = 1.0 if key.endswith("LayerNorm.weight") else 0.0
        values = [rng.gauss(center, 0.3) for _ in range(p.numel())]
        return torch.tensor(values, dtype=torch.float64).view_as(p)

    model = common.tiny_bert(
        hf_class(c.get("task", "classification")), draw,
        vocab_size=c["V"], hidden_size=c["C"], num_hidden_layers=c["L"],
        num_attention_heads=c["NH"], intermediate_size=c["F"], max_position_embeddings=c["P"],
        type_vocab_size=c["S"], num_labels=c["K"] or 2, hidden_act=c["act"],
        pad_token_id=c.get("pad", 0), layer_norm_eps=c["eps"], hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, attn_implementation="eager", **problem(c)).train()
    lengths = [[1, 2, 7, c["P"]], [5, 3, 4], [c["P"] - 1, 6], [8, 1, 9, 2, 4]]
    batches = [draw_batch(rng, c["V"], c["S"], c["K"], row) for row in lengths]
    return model, [with_labels(rng, c, batch, i) for i, batch in enumerate(batches)]


def draw_batch(rng, V, S, K, lengths, first=1):
    """Token 0 is [PAD], whose row Hugging Face's embeddings give no gradient: it is left out. So
    is no other: where pad_token_id is 6 ("weights"), its row is in the batches."""
    batch = dict(offsets=[0], tokens=[], types=[], labels=[])
    for n in lengths:
        batch["tokens"] += [rng.randrange(first, V) for _ in range(n)]
        batch["types"] += sorted(rng.randrange(S) for _ in range(n))
        batch["offsets"].append(len(batch["tokens"]))
        batch["labels"].append(rng.randrange(max(K, 1)))
    return batch


def with_labels(rng, c, batch, i, task=None):
    """The labels of the task in place of one of K for each sequence. c["losses"]: batch 0 is as
    Hugging Face's class has it, 1 has class weights, 2 label smoothing, 3 both."""
    task = task or c.get("task", "classification")
    N, B, K, V = len(batch["tokens"]), len(batch["labels"]), c["K"], c["V"]
    spans = list(zip(batch["offsets"], batch["offsets"][1:]))
    batch["task"] = task
    if task == "regression":
        batch["targets"] = [rng.gauss(2, 3) for _ in range(B)]
    elif c.get("multi"):
        batch["targets"] = [float(rng.random() < 0.4) for _ in range(B * K)]
    elif task == "ner":  # half of the rows have none
        batch["labels"] = [rng.randrange(K) if rng.random() < 0.5 else -1 for _ in range(N)]
    elif task == "qa":
        batch["labels"] = []
        for a, b in spans:
            start = rng.randrange(b - a)
            empty = rng.random() < 0.3
            batch["labels"] += [0, 0] if empty else [start, rng.randrange(start, b - a)]
    elif task == "multiple_choice":  # 2, 3 or 5 a text
        n = batch["choices"] = next(n for n in (2, 3, 5) if B % n == 0)
        batch["labels"] = [rng.randrange(n) for _ in range(B // n)]
    elif task in ("mlm", "pretraining"):
        batch["rows"] = sorted(rng.sample(range(N), max(1, N // 4)))
        batch["tokens"][3] = 0  # [PAD], to which only the decoder gives a gradient
        batch["labels"] = [rng.randrange(V) for _ in batch["rows"]]
        if task == "pretraining":
            batch["next"] = [rng.randrange(2) for _ in range(B)]
    if "targets" in batch or task == "none":
        del batch["labels"]
    if c.get("losses"):
        if i % 2 and K > 1:
            batch["class_weights"] = [rng.uniform(0.2, 3) for _ in range(K)]
        if i >= 2 and not c.get("multi"):
            batch["label_smoothing"] = [0.1]
    return batch


def real_model(folder, ids_file, task):
    """A real encoder with a head drawn here, and batches of 4 texts."""
    rng = random.Random("bert.h real")
    K = dict(classification=2, regression=1, ner=9, multiple_choice=1).get(task, 0)
    c = dict(K=K, task=task)
    model, info = hf_class(task).from_pretrained(
        folder, num_labels=K or 2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        classifier_dropout=0.0, attn_implementation="eager", dtype=torch.float32,
        output_loading_info=True, **problem(c))
    with torch.no_grad():
        for key, p in model.named_parameters():
            if key in info["missing_keys"] or key.startswith("cls."):
                center = 1.0 if key.endswith("LayerNorm.weight") else 0.0
                values = [rng.gauss(center, 0.02) for _ in range(p.numel())]
                p.copy_(torch.tensor(values).view_as(p))
    V, S = model.config.vocab_size, model.config.type_vocab_size
    if ids_file:
        with open(ids_file) as f:
            texts = [[int(word) for word in line.split()] for line in f][:16]
        batches = []
        for i in range(0, len(texts), 4):
            batch = draw_batch(rng, V, S, K, [len(t) for t in texts[i:i + 4]])
            batch["tokens"] = sum(texts[i:i + 4], [])
            batches.append(with_labels(rng, dict(c, V=V), batch, 0))
        return model, batches
    lengths = [[3, 19, 40, 64], [31, 12, 2, 25], [50, 8, 9, 10], [17, 23, 5, 33]]
    batches = [draw_batch(rng, V, S, K, row, first=V // 30) for row in lengths]
    for batch in batches:  # [CLS] and [SEP] where a text has them
        for a, b in zip(batch["offsets"], batch["offsets"][1:]):
            batch["tokens"][a], batch["tokens"][b - 1] = 101 % V, 102 % V
    return model, [with_labels(rng, dict(c, V=V), batch, 0) for batch in batches]


def padded(batch):
    """A packed batch as Hugging Face takes it: padded, with a mask. The padding is no zeros, so
    that a leak would show."""
    spans = list(zip(batch["offsets"], batch["offsets"][1:]))
    T = max(b - a for a, b in spans)
    pad = lambda values, fill: torch.tensor(
        [values[a:b] + [fill] * (T - (b - a)) for a, b in spans])
    inputs = dict(input_ids=pad(batch["tokens"], 1), token_type_ids=pad(batch["types"], 1),
                  attention_mask=pad([1] * len(batch["tokens"]), 0))
    labels, task = batch.get("labels"), batch["task"]
    if task == "multiple_choice":
        inputs = {name: t.view(-1, batch["choices"], T) for name, t in inputs.items()}
    if task == "ner":
        inputs["labels"] = pad([-100 if label < 0 else label for label in labels], -100)
    elif task in ("mlm", "pretraining"):
        masked = dict(zip(batch["rows"], labels))
        inputs["labels"] = pad([masked.get(n, -100) for n in range(len(batch["tokens"]))], -100)
        if task == "pretraining":
            inputs["next_sentence_label"] = torch.tensor(batch["next"])
    elif task == "qa":
        inputs["start_positions"] = torch.tensor(labels[0::2])
        inputs["end_positions"] = torch.tensor(labels[1::2])
    elif "targets" in batch:
        targets = torch.tensor(batch["targets"]).view(len(spans), -1)
        inputs["labels"] = targets[:, 0] if task == "regression" else targets
    elif labels:
        inputs["labels"] = torch.tensor(labels)
    return inputs


def parts(batch):
    """What runs as one: the batch, or for qa each sequence."""
    if batch["task"] != "qa":
        return [batch]
    spans = zip(batch["offsets"], batch["offsets"][1:])
    return [dict(task="qa", offsets=[0, b - a], tokens=batch["tokens"][a:b],
                 types=batch["types"][a:b], labels=batch["labels"][2 * i:2 * i + 2])
            for i, (a, b) in enumerate(spans)]


def loss_of(model, batch):
    weights, smoothing = batch.get("class_weights"), batch.get("label_smoothing", [0.0])[0]
    if not weights and not smoothing:
        losses = [model(**padded(part)).loss for part in parts(batch)]
        return sum(losses) / len(losses)
    inputs = padded(batch)
    labels = inputs.pop("labels")
    out = model(**inputs)
    if "targets" in batch:
        like = out.logits.dtype
        return torch.nn.functional.binary_cross_entropy_with_logits(
            out.logits, labels.to(like), pos_weight=torch.tensor(weights, dtype=like))
    if not weights:
        return LabelSmoother(epsilon=smoothing)(out, labels)
    return torch.nn.functional.cross_entropy(
        out.logits.flatten(0, -2), labels.flatten(), label_smoothing=smoothing,
        weight=torch.tensor(weights, dtype=out.logits.dtype))


def activations(model, batch):
    """Runs batch forward and backward; every activation by its name in bert.h."""
    acts, hooks, task, wanted = {}, [], batch["task"], {}

    def keep(name, value, rows):
        if rows:
            value = value[wanted["mask" if rows is True else rows]]
        acts.setdefault(name, []).append(value.detach().clone())

    def after(module, name, rows=True):  # rows: True: all that are no padding
        hooks.append(module.register_forward_hook(lambda m, args, out: keep(name, out, rows)))

    def before(module, name):
        hooks.append(module.register_forward_pre_hook(lambda m, args: keep(name, args[0], True)))

    bert = getattr(model, "bert", model)
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
    if bert.pooler is not None:
        after(bert.pooler, "act.pooled", rows=False)
    if hasattr(model, "classifier"):
        after(model.classifier, "act.logits", rows=task == "ner")
    if task == "qa":
        after(model.qa_outputs, "act.logits")
    if hasattr(model, "cls"):
        head = model.cls.predictions
        after(head.transform.dense, "act.mlmh", "rows")
        after(head.transform.transform_act_fn, "act.mlmact", "rows")
        after(head.transform, "act.headx", "rows")
        after(head, "act.logits", "rows")
    if task == "pretraining":
        after(model.cls.seq_relationship, "act.nsp", rows=False)
    model.zero_grad()
    for part in parts(batch):
        inputs = padded(part)
        wanted["mask"] = inputs["attention_mask"].flatten(0, -2).bool()
        if "rows" in batch:
            wanted["rows"] = inputs["labels"] != -100
        out = model(**inputs)
    if task == "none":
        acts.update(embeddings(out, wanted["mask"]))
    for hook in hooks:
        hook.remove()
    acts = {name: torch.cat(values) for name, values in acts.items()}
    if task != "none":
        acts["loss"] = loss_of(model, batch)
        acts["loss"].backward()
    return acts


def embeddings(out, mask):
    """sentence-transformers' Pooling (mean, cls) and Normalize, and BERT's pooler."""
    x, mask = out.last_hidden_state.detach(), mask.unsqueeze(-1).float()
    mean = (x * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return {"embed.mean": [mean], "embed.cls": [x[:, 0]], "embed.pooler": [out.pooler_output],
            "embed.unit": [torch.nn.functional.normalize(mean, p=2, dim=1)]}


def record(model, batches, hyper):
    """Every record of the file, as name -> flat tensor. Trains the model."""
    model.train()  # all dropouts are 0
    out = {}
    for b, batch in enumerate(batches):
        for field in "offsets", "tokens", "types", "labels", "rows", "next":
            if field in batch:
                out["batch.%d.%s" % (b, field)] = torch.tensor(batch[field], dtype=torch.int32)
        for field in "targets", "class_weights", "label_smoothing":
            if field in batch:
                out["batch.%d.%s" % (b, field)] = torch.tensor(batch[field])
        if "choices" in batch:
            out["batch.%d.choices" % b] = torch.tensor([batch["choices"]], dtype=torch.int32)
    out.update(activations(model, batches[0]))
    if batches[0]["task"] == "none":
        return {name: t.detach().flatten() for name, t in out.items()}
    out.update({"grad." + key: p.grad.clone() for key, p in named(model)})
    start = {key: p.detach().clone() for key, p in named(model)}
    lr, beta1, beta2, eps, decay, max_norm, warmup, total = hyper
    groups = [[p for key, p in named(model) if plain(key) == flag] for flag in (0, 1)]
    optimizer = torch.optim.AdamW([dict(params=groups[0], weight_decay=decay),
                                   dict(params=groups[1], weight_decay=0.0)],
                                  lr=lr, betas=(beta1, beta2), eps=eps)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, int(warmup), int(total))
    losses, norms, order = [], [], [i % len(batches) for i in range(STEPS)]
    for b in order:
        optimizer.zero_grad()
        loss = loss_of(model, batches[b])
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)))
        losses.append(float(loss.detach()))
        optimizer.step()
        schedule.step()
    assert min(norms) > max_norm, "clipping does not bite: norms %s" % norms
    out["train.hyper"] = torch.tensor(hyper)
    out["train.batch"] = torch.tensor(order, dtype=torch.int32)
    out["train.losses"], out["train.norms"] = torch.tensor(losses), torch.tensor(norms)
    out.update({"change." + key: p.detach() - start[key] for key, p in named(model)})
    return {name: t.detach().flatten() for name, t in out.items()}


def plain(key):
    """1: no weight decay."""
    return int(key.endswith("bias") or "LayerNorm" in key)


def hyperparameters(model, batches, real):
    """The tiny models' are chosen so that a mistake shows: much decay, a third of the smallest
    norm. Real weights would not survive that."""
    norms = []
    for batch in batches if batches[0]["task"] != "none" else []:
        model.zero_grad()
        loss_of(model, batch).backward()
        grads = [p.grad for p in model.parameters()]
        norms.append(float(torch.nn.utils.get_total_norm(grads)))
    clip = float("%.1g" % (min(norms, default=3.0) / 3))
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


def save_model(path, model, task, labels=(), tokenizer=None):
    hf, state = model.config, model.state_dict()
    if task == "none":
        state = {"bert." + key: value for key, value in state.items()}
    config = {d: getattr(hf, field) for d, field in zip(export_hf.DIMS, export_hf.HF_DIMS)}
    config.update({field: getattr(hf, field) for field in export_hf.FLOATS})
    config.update(K=hf.num_labels if hasattr(model, "classifier") else 0, task=task,
                  hidden_act=export_hf.ACTS[hf.hidden_act], max_seq_length=0,
                  problem_type=int(hf.problem_type == "multi_label_classification"),
                  pooler=int("bert.pooler.dense.weight" in state),
                  classifier_dropout=-1.0 if hf.classifier_dropout is None
                  else hf.classifier_dropout,
                  padding_idx=-1 if hf.pad_token_id is None else hf.pad_token_id)
    tensors = {row.name: b"".join(state[key].numpy().astype("<f4").tobytes()
                                  for layer in row.keys for key in layer)
               for row in export_hf.tensor_table(config)}
    export_hf.write_model(path, config, tensors, labels, tokenizer)


def ascii_table():
    """The Unicode table's rows of ASCII alone: 1 kB in place of 90."""
    table = export_hf.unicode_table()
    words = struct.unpack("<%dI" % (len(table) // 4), table)
    ranges, maps, at = words[0], words[1], 3
    rows = [words[at + 3 * i:at + 3 * i + 3] for i in range(ranges + maps)]
    pool = words[at + 3 * (ranges + maps):]
    props = [(first, min(last, 127), p) for first, last, p in rows[:ranges] if first < 128]
    lower = [(code, nfd, low) for code, nfd, low in rows[ranges:] if code < 128]
    pool = pool[:max([0] + [(x & 0xFFFFFF) + (x >> 24) for row in lower for x in row[1:]])]
    flat = [len(props), len(lower), len(pool)] + [x for row in props + lower for x in row]
    return struct.pack("<%dI" % (len(flat) + len(pool)), *flat, *pool)


def make_text(out):
    os.makedirs(out, exist_ok=True)
    model, ids = tiny_model("text")[0].eval(), {word: i for i, word in enumerate(WORDS)}
    save_model(os.path.join(out, "text.model.bin"), model, "classification", ["dull", "good"], dict(
        vocab=WORDS, do_lower_case=1, strip_accents=1, tokenize_chinese_chars=1, max_chars=100,
        ids=range(5), added=[(i, 1) for i in range(5)], unicode=ascii_table()))
    inputs = transformers.BertTokenizer(vocab=ids)(SENTENCE, return_tensors="pt")
    with torch.no_grad():
        probs = model(**inputs).logits[0].softmax(-1).tolist()
    with open(os.path.join(out, "text.txt"), "w", encoding="ascii") as f:
        f.write("".join("%.4f %s\n" % row for row in zip(probs, ("dull", "good"))))


def make(out, name, model, batches, real=False):
    os.makedirs(out, exist_ok=True)
    save_model(os.path.join(out, name + ".model.bin"), model, batches[0]["task"])
    hyper = hyperparameters(model, batches, real)
    records = record(model, batches, hyper)
    write_records(os.path.join(out, name + ".ref.bin"), records)
    size = sum(os.path.getsize(os.path.join(out, name + end)) for end in (".model.bin", ".ref.bin"))
    print("%-11s %9d bytes" % (name, size), end="")
    print(", loss %.4f -> %.4f, norm %.3g, clipped at %g" % (
        records["train.losses"][0], records["train.losses"][-1], records["train.norms"][0],
        hyper[5]) if "loss" in records else "")


def unseen(name, key):
    """Whether a softmax does not see a tensor: its gradient is zero but for rounding."""
    if TINY[name].get("task") == "multiple_choice" and key.endswith("classifier.bias"):
        return True
    last = "layer.%d.output.LayerNorm.bias" % (TINY[name]["L"] - 1)
    return key.endswith("key.bias") or TINY[name].get("task") == "qa" and key.endswith(
        ("qa_outputs.bias", last))


def tolerance(name):
    return 1e-3 if name.startswith("change.") else 1e-5


def worst(a, b):
    """Largest difference, as a share of the largest value."""
    scale = float(b.abs().max())
    return float((a.double() - b.double()).abs().max()) / scale if scale else 0.0


def as_version_2(path):
    """The fixtures are of version 1, but for text.model.bin: it has to stay readable."""
    data = bytearray(open(path, "rb").read())
    if data[4] == 1:
        struct.pack_into("<i", data, 4 * 1, 2)
        struct.pack_into("<i", data, 4 * 43, 1)  # padding_idx 0
    return bytes(data)


def check():
    """Remakes every fixture and compares."""
    with tempfile.TemporaryDirectory() as tmp:
        for name in TINY:
            make(tmp, name, *tiny_model(name))
            old, new = (os.path.join(d, name) for d in (FIXTURES, tmp))
            bad = []
            if as_version_2(old + ".model.bin") != open(new + ".model.bin", "rb").read():
                bad.append("model.bin differs")
            a, b = read_records(old + ".ref.bin"), read_records(new + ".ref.bin")
            if list(a) != list(b):
                bad.append("other records")
            for key in a:
                if key not in b or a[key].shape != b[key].shape:
                    bad.append(key)
                elif a[key].dtype == torch.int32:
                    bad += [] if torch.equal(a[key], b[key]) else [key]
                elif not unseen(name, key) and not worst(a[key], b[key]) <= tolerance(key):
                    bad.append("%s by %.2g" % (key, worst(a[key], b[key])))
            common.check(name, not bad, ", ".join(bad[:9]))
        make_text(tmp)
        read = lambda *path: open(os.path.join(*path), "rb").read()
        common.check("text", all(read(FIXTURES, name) == read(tmp, name)
                                 for name in ("text.model.bin", "text.txt")))
    return common.finish()


def noise():
    """How far float32 is from float64: the noise that the tests' tolerances must allow for."""
    for name in TINY:
        (model, batches), (double, _) = tiny_model(name), tiny_model(name)
        double = double.double()
        hyper = hyperparameters(model, batches, False)
        a, b = record(model, batches, hyper), record(double, batches, hyper)
        for kind in "act.", "grad.", "train.losses", "change.":
            keys = [k for k in a if k.startswith(kind) and not unseen(name, k)]
            if not keys:
                continue
            key = max(keys, key=lambda k: worst(a[k], b[k]))
            print("%-10s %-12s %.1e of the largest, in %s" % (
                name, kind, worst(a[key], b[key]), key))


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                 formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    ap.add_argument("--out", default=FIXTURES, help="folder to write to")
    ap.add_argument("--check", action="store_true", help="compare with the committed fixtures")
    ap.add_argument("--noise", action="store_true", help="compare float32 with float64")
    ap.add_argument("--hf-dir", help="a real BERT folder in place of the tiny models")
    ap.add_argument("--task", default="classification", choices=CLASSES, help="with --hf-dir")
    ap.add_argument("--ids", help="with --hf-dir: a file with a text's token ids on each line")
    args = ap.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    if args.check:
        return check()
    if args.noise:
        return noise()
    if args.hf_dir:
        if args.out == ap.get_default("out"):
            ap.error("--hf-dir needs --out: a real model is not committed")
        make(args.out, "real", *real_model(args.hf_dir, args.ids, args.task), real=True)
        return 0
    for name in TINY:
        make(args.out, name, *tiny_model(name))
    make_text(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
