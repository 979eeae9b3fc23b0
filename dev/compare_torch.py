#!/usr/bin/env python3
"""Fine-tunes the same data with train_bert and with PyTorch, and compares (dev/requirements.txt).

    dev/compare_torch.py curve HF_DIR TRAIN.tsv             the losses of 200 steps, one by one:
                                                            dropout 0, same order, same head
    dev/compare_torch.py accuracy HF_DIR TRAIN DEV TEST     test accuracy over seeds, all as in
                                                            make demo: best epoch by dev accuracy

curve fails where two losses differ by more than 1e-3. PyTorch runs padded, with the attention mask,
fused AdamW, its own shuffle and dropout; train_bert as in the README.
"""
import argparse
import array
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def run(*command):
    print("+ " + " ".join(map(str, command)), flush=True)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("%s failed with %d\n%s" % (command[0], done.returncode, done.stdout))
    return done.stdout


def read_data(path):
    """[(ids, label)] of a classification data file (bert.h's byte table)."""
    with open(path, "rb") as f:
        header = f.read(1024)
        n, tokens = struct.unpack_from("<QQ", header, 4 * 6)
        names = struct.unpack_from("<Q", header, 4 * 15)[0]
        f.seek((names + 7) // 8 * 8, 1)
        offsets, ids, labels = array.array("Q"), array.array("i"), array.array("i")
        offsets.fromfile(f, n + 1)
        ids.fromfile(f, tokens)
        f.seek(tokens * 4 % 8 + (n * 4 + 7) // 8 * 8, 1)  # padding, segments
        labels.fromfile(f, n)
    return [(list(ids[offsets[i]:offsets[i + 1]]), labels[i]) for i in range(n)]


def build_data(work, model, train, *others):
    """Data files, the later ones with the labels of the first."""
    paths = [os.path.join(work, "%d.bin" % i) for i in range(1 + len(others))]
    for i, source in enumerate((train,) + others):
        run(sys.executable, ROOT + "/tokenizer.py", "classification", source, paths[i], "--model",
            model, "--max_length", 128, *(["--like", paths[0]] if i else []))
    return paths


class Torch:
    """A plain PyTorch training loop with the demo's settings."""

    def __init__(self, folder, steps, a, dropout=None):
        import torch
        import transformers
        self.torch = torch
        torch.set_num_threads(a.threads)
        extra = {} if dropout is None else dict(hidden_dropout_prob=dropout,
                                                attention_probs_dropout_prob=dropout)
        self.model = transformers.BertForSequenceClassification.from_pretrained(
            folder, num_labels=2, **extra)
        still = ("bias", "LayerNorm.weight")
        named = list(self.model.named_parameters())
        groups = [{"params": [p for n, p in named if not n.endswith(still)],
                   "weight_decay": a.weight_decay},
                  {"params": [p for n, p in named if n.endswith(still)], "weight_decay": 0.0}]
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

    def step(self, examples):
        self.model.train()
        loss = self.model(**self.batch(examples)).loss
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


def train_bert(work, model, train, dev, a, *more):
    flags = ["--model", model, "--train_file", train, "--output_dir", work + "/out",
             "--logging_dir", work + "/logs", "--per_device_train_batch_size", a.batch,
             "--learning_rate", a.learning_rate, "--warmup_steps", a.warmup_steps,
             "--weight_decay", a.weight_decay, *more]
    run(ROOT + "/train_bert", "train", *flags, *(["--eval_file", dev] if dev else []))
    with open(work + "/logs/log.jsonl") as f:
        return [json.loads(line) for line in f]


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
    run(sys.executable, HERE + "/export_hf.py", folder, model)
    train, = build_data(work, model, a.train)
    data = read_data(train)
    zero = [x for name in ("hidden_dropout_prob", "attention_probs_dropout_prob",
                           "classifier_dropout") for x in ("--" + name, 0)]
    log = train_bert(work, model, train, None, a, "--max_steps", a.steps, "--logging_steps", 1,
                     "--train_sampling_strategy", "sequential", *zero)
    ours = [row["loss"] for row in log if "loss" in row]
    reference = Torch(folder, a.steps, a, dropout=0.0)
    worst, bad = 0.0, 0
    for step in range(a.steps):
        at = step * a.batch % (len(data) // a.batch * a.batch)
        theirs = reference.step(data[at:at + a.batch])
        difference = abs(ours[step] - theirs)
        worst = max(worst, difference)
        bad += not difference <= 1e-3
        if step % 20 == 19:
            print("step %d: train_bert %.6f, PyTorch %.6f" % (step + 1, ours[step], theirs))
    print("largest difference of %d losses: %.2e" % (a.steps, worst))
    print("%d passed, %d failed" % (a.steps - bad, bad))
    return bad > 0


def accuracy(a, work):
    model = work + "/model.bin"
    run(sys.executable, HERE + "/export_hf.py", a.hf_dir, model)
    files = build_data(work, model, a.train, a.dev, a.test)
    train, dev, test = map(read_data, files)
    results = {"train_bert": [], "PyTorch": []}
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        if a.only != "torch":
            train_bert(work, model, files[0], files[1], a, "--seed", seed, "--num_train_epochs",
                       a.epochs, "--logging_steps", 1000)
            text = run(ROOT + "/train_bert", "eval", "--model", work + "/out/best.bin",
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
    p.add_argument("what", choices=("curve", "accuracy"))
    p.add_argument("hf_dir")
    p.add_argument("train")
    p.add_argument("dev", nargs="?")
    p.add_argument("test", nargs="?")
    p.add_argument("--steps", type=int, default=200, help="of curve")
    p.add_argument("--seeds", type=int, default=3, help="how many")
    p.add_argument("--first_seed", type=int, default=1)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--learning_rate", type=float, default=5e-5)
    p.add_argument("--warmup_steps", type=int, default=500)
    p.add_argument("--weight_decay", type=float, default=0.01)
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch")
    p.add_argument("--only", choices=("train_bert", "torch"), help="one of the two")
    a = p.parse_args()
    if a.what == "accuracy" and not a.test:
        p.error("accuracy needs TRAIN DEV TEST")
    with tempfile.TemporaryDirectory() as work:
        sys.exit({"curve": curve, "accuracy": accuracy}[a.what](a, work))


if __name__ == "__main__":
    main()
