#!/usr/bin/env python3
"""A training's TensorBoard events, read by the tensorboard package, against its log.jsonl
(dev/requirements.txt). Then dev/plot.py (matplotlib) on the same runs.

    make train_bert && dev/check/events.py

Ends with "N passed, N failed".
"""
import json
import os
import struct
import sys
import tempfile
import xml.etree.ElementTree

from common import ROOT, attempt, check, finish, none, run, write


def train(work, name, seed, *more):
    """A run of the tiny model: its log's rows."""
    model = ROOT + "/dev/fixtures/text.model.bin"
    tsv = write(work + "/train.tsv", "".join("a good film\tgood\nnot a good film\tdull\n" * 6))
    run("./tokenizer.py", "classification", tsv, work + "/train.bin", "--model", model)
    run("./train_bert", "train", "--model", model, "--train_file", work + "/train.bin",
        "--eval_file", work + "/train.bin", "--output_dir", work + "/out", "--logging_dir",
        os.path.join(work, name), "--logging_steps", 1, "--num_train_epochs", 4, "--learning_rate",
        1e-3, "--warmup_steps", 2, "--seed", seed, *more)
    with open(os.path.join(work, name, "log.jsonl")) as f:
        return [json.loads(line) for line in f]


def renamed(key):
    """As Trainer's TensorBoardCallback has it."""
    return "eval/" + key[5:] if key.startswith("eval_") else "train/" + key


def events(work, rows):
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from transformers.integrations.integration_utils import rewrite_logs
    except ImportError:
        print("skipped: tensorboard is not installed")
        return
    folder = os.path.join(work, "one")
    files = [name for name in os.listdir(folder) if name.startswith("events.out.tfevents.")]
    check("one event file beside log.jsonl", len(files) == 1, os.listdir(folder))
    read = EventAccumulator(folder, size_guidance={"scalars": 0})
    read.Reload()
    check("its version is 2", read.file_version == 2.0, read.file_version)
    want = {}
    for row in rows:
        step = row.pop("step")
        for key, value in rewrite_logs(row).items():
            want.setdefault(key, []).append((step, value))
    tags = set(read.Tags()["scalars"])
    check("tags are Trainer's", tags == set(want) and {
        "train/loss", "train/learning_rate", "train/grad_norm", "train/epoch", "eval/loss",
        "eval/accuracy", "train/train_runtime"} <= tags, tags ^ set(want))
    single = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    for tag in sorted(tags & set(want)):
        got = [(event.step, event.value) for event in read.Scalars(tag)]
        timed = tag.endswith(("runtime", "per_second"))  # 6 digits in log.jsonl
        none(tag, [pair for pair in zip(got, want[tag]) if pair[0][0] != pair[1][0] or abs(
            pair[0][1] - single(pair[1][1])) > timed * 1e-5 * abs(pair[1][1])],
            len(got) == len(want[tag]))
    times = [event.wall_time for event in read.Scalars("train/loss")]
    here = os.path.getmtime(os.path.join(folder, "log.jsonl"))
    check("wall times", times == sorted(times) and abs(times[-1] - here) < 600, (times, here))


def main():
    with tempfile.TemporaryDirectory() as work:
        train(work, "one", 5)  # another run's, whose place the next one takes
        rows = train(work, "one", 1)
        events(work, [dict(row) for row in rows])
    return finish()


if __name__ == "__main__":
    sys.exit(main())
