#!/usr/bin/env python3
"""A training's TensorBoard events, read by the tensorboard package, against its log.jsonl
(dev/requirements.txt). Then dev/plot.py (matplotlib) on the same runs.

    make train_bert && dev/check/events.py

Ends with "N passed, N failed".
"""
import os
import struct
import sys
import tempfile
import xml.etree.ElementTree

from common import ROOT, attempt, check, finish, none, read_log, run, write


def train(work, name, seed, *more):
    """A run of the tiny model: its log's rows."""
    model = ROOT + "/dev/fixtures/text.model.bin"
    tsv = write(work + "/train.tsv", "".join("a good film\tgood\nnot a good film\tdull\n" * 6))
    run("./tokenizer.py", "classification", tsv, work + "/train.bin", "--model", model)
    run("./train_bert", "train", "--model", model, "--train_file", work + "/train.bin",
        "--eval_file", work + "/train.bin", "--output_dir", work + "/out", "--logging_dir",
        os.path.join(work, name), "--logging_steps", 1, "--num_train_epochs", 4, "--learning_rate",
        1e-3, "--warmup_steps", 2, "--seed", seed, *more)
    return read_log(os.path.join(work, name))


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


NAMES = ["seed &1", "seed <2>"]


def plots(work):
    """dev/plot.py's pictures: whole files, with what is in the logs."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        print("skipped: matplotlib is not installed")
        return
    logs = [os.path.join(work, name) for name in ("one", "two")]
    rows = train(work, "two", 2)
    losses = sum("loss" in row for row in rows)

    def picture(*args):
        """The SVG's texts, and the numbers of points of its lines."""
        run("./dev/plot.py", *args)
        with open(args[args.index("--out") + 1], "rb") as f:
            root = xml.etree.ElementTree.fromstring(f.read())
        svg = "{http://www.w3.org/2000/svg}"
        texts = [t.text.strip() for t in root.iter(svg + "text") if t.text and t.text.strip()]
        paths = [p.get("d", "").count("L") + 1 for p in root.iter(svg + "path")
                 if "fill: none" in p.get("style", "") and p.get("clip-path")]
        return texts, paths

    out = work + "/x.svg"
    texts, paths = picture(*logs, "--out", out, "--names", *NAMES)
    check("plot: titles and names", set(texts) >= {
        "loss", "accuracy", "learning rate", "gradient norm", "step", *NAMES,
        NAMES[0] + ", evaluation"}, texts)
    # of each run: loss, learning rate, gradient norm; loss and metric of the 4 evaluations
    lines = [n for n in paths if n in (losses, 4)]
    check("plot: a point for each row", lines.count(losses) >= 6 and lines.count(4) >= 4, paths)
    with open(out, "rb") as f:
        first = f.read()
    picture(*logs, "--out", out, "--names", *NAMES)
    with open(out, "rb") as f:
        check("plot: the same bytes again", f.read() == first)
    texts, _ = picture(*logs, "--out", out, "--band", "both", "--metric", "f1")
    check("plot: a band, another metric", {"both", "f1"} <= set(texts), texts)
    run("./dev/plot.py", logs[0], "--out", work + "/x.png")
    with open(work + "/x.png", "rb") as f:
        head = f.read(24)
    check("plot: PNG", head[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", head[16:]) ==
          (1200, 750), head)
    run("./dev/plot.py", logs[0])
    check("plot: beside the log", os.path.getsize(logs[0] + "/plot.svg") > 5000)
    with open(logs[0] + "/log.jsonl", "a") as f:
        f.write('{"loss": 0.')  # killed while it wrote
    check("plot: half a last line", attempt("./dev/plot.py", logs[0])[0] == 0)
    for name, text, say in (("none", None, "No such file"), ("empty", "", "has no step yet"),
                            ("text", "hello\n{}\n", ":1: expected an object with a step"),
                            ("list", "[1]\n{}\n", ":1: expected an object"),
                            ("latin", b"\xff\xfe\n", "is no log.jsonl")):
        path = os.path.join(work, name + ".jsonl")
        if text is not None:
            write(path, text)
        code, got, error = attempt("./dev/plot.py", path, "--out", work + "/none.svg")
        check("plot: " + name, code == 1 and say in error and "Traceback" not in error, error)
    for args, say in ((["--metric", "f2"], "accuracy"), (["--names", "a", "b"], "2 names for 1")):
        code, got, error = attempt("./dev/plot.py", logs[0], *args)
        check("plot: " + args[0], code == 2 and say in error, error)
    code, got, error = attempt("./dev/plot.py", logs[0], "--out", work + "/x.abc")
    check("plot: .abc", code == 1 and "Traceback" not in error and "abc" in error, error)
    check("nothing was made of what failed", not os.path.exists(work + "/none.svg"))


def main():
    with tempfile.TemporaryDirectory() as work:
        train(work, "one", 5)  # another run's, whose place the next one takes
        rows = train(work, "one", 1)
        events(work, [dict(row) for row in rows])
        plots(work)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
