#!/usr/bin/env python3
"""Fine-tunes the same data with train_bert and with PyTorch, and compares (dev/requirements.txt).

    dev/check/training.py curve HF_DIR TRAIN.tsv             the losses of 200 steps, one by one:
                                                            dropout 0, same order, same head
    dev/check/training.py TASK HF_DIR TEXT                   the same for regression, ner, qa, mlm:
                                                            the batches and the head train_bert drew
    dev/check/training.py multiple_choice HF_DIR TEXT        plain text becomes a file as SWAG's are
    dev/check/training.py pretraining HF_DIR TEXT            from scratch: 2 layers, 128 wide
    dev/check/training.py accuracy HF_DIR TRAIN DEV TEST     test accuracy over seeds, all as in
                                                            make demo: best epoch by dev accuracy

With --bf16 all but accuracy compare --bf16 with PyTorch's float32, and fail where its losses are
further from them than 1.5 times as far as those of PyTorch's own bfloat16 autocast.
All but accuracy fail where two losses differ by more than 3e-6 a step (pretraining: 1e-3): where a
learning rate is a fifth too low, 10 steps differ by 1.5e-4. PyTorch runs padded, with the
attention mask, fused AdamW, its own shuffle and dropout; train_bert as in the README.
"""
import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time

from common import ROOT, count, finish, read_data, read_log, run
import demo


def read_examples(path):
    """[(ids, label)] of a classification data file."""
    d = read_data(path)
    return list(zip(d.tokens, d.labels))


def build_data(work, model, train, *others):
    """Data files, the later ones with the labels of the first."""
    paths = [os.path.join(work, "%d.bin" % i) for i in range(1 + len(others))]
    for i, source in enumerate((train,) + others):
        run("./tokenizer.py", "classification", source, paths[i], "--model",
            model, "--max_length", 128, *(["--like", paths[0]] if i else []))
    return paths


class Torch:
    """A plain PyTorch training loop with the demo's settings."""

    def __init__(self, folder, steps, a, dropout=None, kind="SequenceClassification", bf16=False):
        import torch
        import transformers
        self.torch = torch
        torch.set_num_threads(a.threads)
        torch.manual_seed(0)
        self.bf16 = bf16
        extra = {} if dropout is None else dict(hidden_dropout_prob=dropout,
                                                attention_probs_dropout_prob=dropout)
        self.model = getattr(transformers, "BertFor" + kind).from_pretrained(folder, **extra)
        still = ("bias", "LayerNorm.weight")
        named = list(self.model.named_parameters())
        layers, groups = self.model.config.num_hidden_layers, []
        for name, p in named:  # as Zhang et al. 2021: see adamw.py
            below = layers + 1 if "embeddings." in name else 0
            if ".layer." in name:
                below = layers - int(name.split(".layer.")[1].split(".")[0])
            if below == layers + 1 and a.freeze_embeddings:
                p.requires_grad_(False)  # nor is it part of the norm that is clipped
                continue
            groups.append({"params": [p], "lr": a.learning_rate * a.layerwise_lr_decay ** below,
                           "weight_decay": 0.0 if name.endswith(still) else a.weight_decay})
        self.optimizer = torch.optim.AdamW(groups, lr=a.learning_rate, fused=True)
        self.schedule = transformers.get_linear_schedule_with_warmup(
            self.optimizer, a.warmup_steps, steps)

    def batch(self, examples):
        tensor, longest = self.torch.tensor, max(len(ids) for ids, _ in examples)
        return dict(
            input_ids=tensor([ids + [0] * (longest - len(ids)) for ids, _ in examples]),
            attention_mask=tensor([[1] * len(ids) + [0] * (longest - len(ids))
                                   for ids, _ in examples]),
            labels=tensor([label for _, label in examples]))

    def loss_of(self, task, x):
        """Of a line of batches.jsonl, padded: what is not predicted has the label -100."""
        tensor, spans = self.torch.tensor, list(zip(x["offsets"], x["offsets"][1:]))
        longest = max(b - a for a, b in spans)
        rows = lambda flat, pad: tensor([flat[a:b] + [pad] * (longest - b + a) for a, b in spans])
        mask = rows([1] * len(x["tokens"]), 0)
        inputs = dict(input_ids=rows(x["tokens"], 0), token_type_ids=rows(x["types"], 0),
                      attention_mask=mask)
        if task == "qa":  # Hugging Face's own loss lets padding into the softmax
            out, ends = self.model(**inputs), tensor(x["labels"]).view(-1, 2)
            logits = [o.masked_fill(mask == 0, -1e30) for o in (out.start_logits, out.end_logits)]
            return sum(self.torch.nn.functional.cross_entropy(logits[k], ends[:, k])
                       for k in (0, 1)) / 2
        if task == "multiple_choice":
            inputs = {name: t.view(-1, x["choices"], longest) for name, t in inputs.items()}
        if task == "regression":
            labels = tensor(x["targets"])
        elif task == "multiple_choice":
            labels = tensor(x["labels"])
        elif task == "ner":
            labels = rows([k if k >= 0 else -100 for k in x["labels"]], -100)
        else:
            flat = [-100] * len(x["tokens"])
            for row, label in zip(x["rows"], x["labels"]):
                flat[row] = label
            labels = rows(flat, -100)
        if task == "pretraining":
            inputs["next_sentence_label"] = tensor(x["next"])
        return self.model(**inputs, labels=labels).loss

    def step(self, examples, task=None):
        self.model.train()
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=self.bf16):
            loss = self.loss_of(task, examples) if task else self.model(
                **self.batch(examples)).loss
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def accuracy(self, data):
        self.model.eval()
        right = 0
        with self.torch.inference_mode():
            for i in range(0, len(data), 32):
                x = self.batch(data[i:i + 32])
                right += int((self.model(**x).logits.argmax(-1) == x["labels"]).sum())
        return right / len(data)


def flags(work, start, train, a, *more):
    return [*start, "--train_file", train, "--output_dir", work + "/out",
            "--logging_dir", work + "/logs", "--per_device_train_batch_size", a.batch,
            "--learning_rate", a.learning_rate, "--warmup_steps", a.warmup_steps,
            "--weight_decay", a.weight_decay, "--layerwise_lr_decay", a.layerwise_lr_decay,
            *["--freeze_embeddings"] * a.freeze_embeddings, *["--bf16"] * a.bf16, *more]


def train_bert(work, given):
    """The log of train_bert train."""
    run("./train_bert", "train", *given)
    return read_log(work + "/logs")


def losses(log):
    return [row["loss"] for row in log if "loss" in row]


def curve(a, work):
    import torch
    import transformers
    torch.manual_seed(0)
    folder = work + "/hf"
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.hf_dir)
    tokenizer.save_pretrained(folder)
    transformers.BertForSequenceClassification.from_pretrained(a.hf_dir, num_labels=2,
        id2label={0: "0", 1: "1"}, label2id={"0": 0, "1": 1}).save_pretrained(folder)
    model = work + "/model.bin"
    run("./dev/export_hf.py", folder, model)
    train, = build_data(work, model, a.train)
    data = read_examples(train)
    zero = [x for name in ("hidden_dropout_prob", "attention_probs_dropout_prob",
                           "classifier_dropout") for x in ("--" + name, 0)]
    ours = losses(train_bert(work, flags(
        work, ["--model", model], train, a, "--max_steps", a.steps, "--logging_steps", 1,
        "--train_sampling_strategy", "sequential", *zero)))
    whole = len(data) // a.batch * a.batch
    batches = [data[i % whole:i % whole + a.batch] for i in range(0, a.steps * a.batch, a.batch)]
    return compare(a, ours, folder, batches)


def compare_bf16(ours, full, half):
    """Root mean squares: ours against float32, and autocast against float32."""
    apart = lambda losses: statistics.mean((x - y) ** 2 for x, y in zip(losses, full)) ** 0.5
    print("losses of %d steps differ from PyTorch's float32 by %.2e (--bf16), %.2e (autocast)" % (
        len(full), apart(ours), apart(half)))
    count(apart(ours) <= 1.5 * apart(half))
    count(apart(ours) >= 0.01 * apart(half))  # or it was float32 itself
    return finish()


def compare(a, ours, folder, batches, task=None):
    """The losses of each step, one by one."""
    start = lambda bf16: Torch(folder, a.steps, a, 0.0, CLASSES.get(task, "SequenceClassification"),
                               bf16)
    if a.bf16:
        return compare_bf16(ours, *([loop.step(x, task) for x in batches]
                                    for loop in (start(False), start(True))))
    reference = start(False)
    theirs = lambda step: reference.step(batches[step], task)
    worst, most = 0.0, 1e-3 if a.what == "pretraining" else 3e-6 * a.steps
    for step in range(a.steps):
        loss = theirs(step)
        difference = abs(ours[step] - loss)
        worst = max(worst, difference)
        count(difference <= most)
        if step % 20 == 19:
            print("step %d: train_bert %.6f, PyTorch %.6f" % (step + 1, ours[step], loss))
    print("largest difference of %d losses: %.2e" % (a.steps, worst))
    return finish()


CLASSES = {"regression": "SequenceClassification", "ner": "TokenClassification",
           "qa": "QuestionAnswering", "mlm": "MaskedLM", "pretraining": "PreTraining",
           "multiple_choice": "MultipleChoice"}


def task_curve(a, work):
    """batches writes the model with its drawn head and every batch; both learn from them."""
    model, text = work + "/model.bin", a.train
    start = ["--model", model]
    if a.what in ("pretraining", "multiple_choice"):
        text = demo.documents(os.path.abspath(a.train), work + "/train.txt")
    if a.what == "multiple_choice":
        text = demo.endings(text, work + "/train.csv")
    if a.what == "pretraining":
        start = ["--model", work + "/scratch.bin"]
        config = demo.write(work + "/config.json", json.dumps(demo.CONFIG))
        run("./dev/export_hf.py", "--config", config, "--tokenizer", a.hf_dir, start[1])
    run("./dev/export_hf.py", a.hf_dir, model, "--task", "none")
    run("./tokenizer.py", a.what, text, work + "/train.bin", "--model",
        model, "--max_length", a.max_length or (384 if a.what == "qa" else 128))
    run("make", "-s", "-C", ROOT, "batches", "train_bert")
    given = flags(work, start, work + "/train.bin", a, "--max_steps", a.steps, "--logging_steps", 1,
                  "--hidden_dropout_prob", 0, "--attention_probs_dropout_prob", 0)
    run("./batches", *given)
    ours = losses(train_bert(work, given))
    run("./dev/export_hf.py", "--to-hf", work + "/out/start.bin", work + "/hf")
    with open(work + "/out/batches.jsonl") as f:
        batches = [json.loads(line) for line in f]
    return compare(a, ours, work + "/hf", batches, a.what)


def accuracy(a, work):
    model = work + "/model.bin"
    run("./dev/export_hf.py", a.hf_dir, model)
    files = build_data(work, model, a.train, a.dev, a.test)
    train, dev, test = map(read_examples, files)
    results = {"train_bert": [], "PyTorch": []}
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        if a.only != "torch":
            train_bert(work, flags(work, ["--model", model], files[0], a, "--eval_file", files[1],
                                   "--seed", seed, "--num_train_epochs", a.epochs,
                                   "--logging_steps", 1000))
            text = run("./train_bert", "eval", "--model", work + "/out/best.bin",
                       "--eval_file", files[2])
            results["train_bert"].append(float(text.split("accuracy")[1].split()[0]))
            print("train_bert seed %d: test %.4f" % (seed, results["train_bert"][-1]), flush=True)
        if a.only != "train_bert":
            results["PyTorch"].append(torch_run(a, seed, train, dev, test))
    for name, values in results.items():
        if values:
            print("%s: mean test accuracy %.4f of %s" % (name, statistics.mean(values), " ".join(
                "%.4f" % v for v in values)))


def torch_run(a, seed, train, dev, test):
    import torch
    torch.manual_seed(seed)
    order, best, start = random.Random(seed), (-1.0, 0.0), time.time()
    per_epoch = (len(train) + a.batch - 1) // a.batch
    loop = Torch(a.hf_dir, per_epoch * a.epochs, a)
    for epoch in range(a.epochs):
        examples = train[:]
        order.shuffle(examples)
        for i in range(0, len(examples), a.batch):
            loop.step(examples[i:i + a.batch])
        score = loop.accuracy(dev)
        if score > best[0]:
            best = score, loop.accuracy(test)
        print("PyTorch seed %d, epoch %d: dev %.4f, %.0f s" % (
            seed, epoch + 1, score, time.time() - start), flush=True)
    print("PyTorch seed %d: test %.4f" % (seed, best[1]), flush=True)
    return best[1]


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("curve", "accuracy") + tuple(CLASSES))
    p.add_argument("hf_dir")
    p.add_argument("train")
    p.add_argument("dev", nargs="?")
    p.add_argument("test", nargs="?")
    p.add_argument("--steps", type=int, default=200, help="of all but accuracy")
    p.add_argument("--seeds", type=int, default=3, help="how many")
    p.add_argument("--first_seed", type=int, default=1)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch", type=int, help="default: 4 (curve, accuracy) or 16")
    p.add_argument("--learning_rate", type=float, help="default: 5e-5; pretraining: 1e-3")
    p.add_argument("--warmup_steps", type=int, help="default: 500 (curve, accuracy) or 20")
    p.add_argument("--weight_decay", type=float, default=0.01)
    p.add_argument("--max_length", type=int, help="of a TASK; default: 128, qa 384")
    p.add_argument("--layerwise_lr_decay", type=float, default=1.0)
    p.add_argument("--freeze_embeddings", type=int, default=0)
    p.add_argument("--bf16", action="store_true", help="products in bfloat16")
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch")
    p.add_argument("--only", choices=("train_bert", "torch"), help="one of the two")
    a = p.parse_args()
    for name, value in zip(("batch", "learning_rate", "warmup_steps"),
                           (4, 5e-5, 500) if a.what in ("curve", "accuracy") else
                           (16, 1e-3 if a.what == "pretraining" else 5e-5, 20)):
        if getattr(a, name) is None:
            setattr(a, name, value)
    if a.what == "accuracy" and not a.test:
        p.error("accuracy needs TRAIN DEV TEST")
    with tempfile.TemporaryDirectory() as work:
        sys.exit({"curve": curve, "accuracy": accuracy}.get(a.what, task_curve)(a, work))


if __name__ == "__main__":
    main()
