#!/usr/bin/env python3
"""A training that is killed by the clock goes on to the same bits: real processes, kill -9.

    make train_bert && dev/check/resume.py [--kills 50] [--seed 1] [--model models/minilm.bin]

A run with a checkpoint every 3 steps is killed at moments drawn over its whole time, once or
several times, each time resumed, and in the end compared with the run that nobody killed:
model.bin, best.bin and log.jsonl, but for what a clock says in it. Behind each kill every
checkpoint that is there loads (--dry_run goes on from it, and writes nothing). Then it is killed
while a checkpoint is in the making, and runs on a disk that is full. Half of a run's time is
saving, so half of the kills fall into it. Ends with "N passed, N failed".
"""
import argparse
import glob
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import common
import ranks
from common import check, finish, write

CONFIG = dict(ranks.CONFIG, hidden_size=192, intermediate_size=768, num_attention_heads=4,
              num_hidden_layers=2)
STEPS = 30
FILES = "model.bin", "best.bin", "log.jsonl"


class Run:
    """A training whose folder may be any."""

    def __init__(self, folder, model):
        self.folder = folder
        if not model:
            model = os.path.join(folder, "scratch.bin")
            config = write(os.path.join(folder, "config.json"), CONFIG)
            common.run("./dev/export_hf.py", "--config", config, "--tokenizer",
                       os.path.join(ranks.FIXTURES, "text.model.bin"), model)
        paths = []
        for name, seed, items in ("train", 1, 50), ("dev", 2, 9):
            text, ending = ranks.text_of("classification", seed, items)
            source = write(os.path.join(folder, name + "." + ending), text)
            paths.append(os.path.join(folder, name + ".bin"))
            common.run("./tokenizer.py", "classification", source, paths[-1], "--model", model,
                       *["--like", paths[0]] * (name == "dev"))
        self.flags = ["train", "--model", model, "--train_file", paths[0], "--eval_file", paths[1],
                      "--max_steps", STEPS, "--per_device_train_batch_size", 4, "--eval_strategy",
                      "steps", "--eval_steps", 4, "--save_strategy", "steps", "--save_steps", 3,
                      "--save_total_limit", 2, "--logging_steps", 1, "--learning_rate", 1e-3]

    def start(self, out, *flags, **more):
        return subprocess.Popen(
            common.command("./train_bert", *self.flags, "--output_dir", out, "--logging_dir", out,
                           *flags), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=dict(os.environ, OMP_NUM_THREADS="1"), **more)

    def resume(self, out, **more):
        """Goes on, or begins where no checkpoint is there yet."""
        return self.start(out, *["--resume_from_checkpoint"] * bool(checkpoints(out)), **more)

    def end(self, process):
        error = process.communicate()[1].decode("utf-8", "replace")
        return process.returncode, error

    def content(self, out):
        """What has to be equal."""
        found = {}
        for name in FILES:
            with open(os.path.join(out, name), "rb") as file:
                found[name] = file.read()
        found["log.jsonl"] = [
            {key: value for key, value in row.items()
             if not key.endswith(("_runtime", "_per_second"))}
            for row in common.read_log(out)]
        return found


def checkpoints(out):
    return [path for path in glob.glob(os.path.join(out, "checkpoint-*"))
            if not path.endswith((".tmp", ".old"))]


def all_load(run, out):
    """What is wrong with those that are there."""
    for path in checkpoints(out):
        code, error = run.end(run.start(out, "--resume_from_checkpoint", path, "--dry_run"))
        if code:
            return "%s: %s" % (path, error)
    return None


def same(run, whole, out, name):
    process = run.resume(out)
    code, error = run.end(process)
    if not check(name + ": goes on to the end", code == 0, error):
        return
    found = run.content(out)
    check(name + ": the same files", found == whole,
          [(key, len(found[key]), len(whole[key])) for key in FILES if found[key] != whole[key]])


def kills(run, whole, seconds, count, draw):
    """Kills so many times by the clock. in_save: how often a checkpoint was in the making."""
    done = in_save = trial = 0
    bad = []
    while done < count:
        out = os.path.join(run.folder, "out-killed")
        shutil.rmtree(out, ignore_errors=True)
        trial += 1
        for _ in range(draw.choice((1, 1, 2, 3))):
            process = run.resume(out)
            time.sleep(draw.random() * seconds)
            process.kill()
            if run.end(process)[0] != -signal.SIGKILL:
                continue  # it was faster than the clock
            done += 1
            in_save += bool(glob.glob(out + "/checkpoint-*.tmp") + glob.glob(out + "/*.tmp"))
            bad += filter(None, [all_load(run, out)])
        same(run, whole, out, "trial %d, %d kills" % (trial, done))
    check("%d kills, %d of them while something was saved: every checkpoint that is there loads"
          % (done, in_save), not bad, bad[:1])


def kill_in_save(run, whole):
    """As soon as a checkpoint is in the making."""
    out = os.path.join(run.folder, "out-saving")
    for _ in range(20):
        shutil.rmtree(out, ignore_errors=True)
        process = run.start(out)
        while process.poll() is None and not (
                checkpoints(out) and glob.glob(out + "/checkpoint-*.tmp")):
            time.sleep(0.0005)
        process.kill()
        run.end(process)
        if glob.glob(out + "/checkpoint-*.tmp"):
            break
    else:
        return check("killed while saving", False, "never met")
    left = glob.glob(out + "/checkpoint-*.tmp")[0]
    bad = all_load(run, out)
    check("killed while %s was made of %s: the others load" % (
        os.path.basename(left), os.listdir(left)), not bad, bad)
    same(run, whole, out, "killed while saving")
    return check("and nothing half is left", not glob.glob(out + "/*.tmp"), os.listdir(out))


def full_disk(run, whole):
    """A file system of its own, or where none can be mounted a limit on a file's size: state.bin,
    of two models' size, meets the end; on the file system that of the second checkpoint."""
    out = os.path.join(run.folder, "out-full")
    os.makedirs(out)
    model = len(whole["model.bin"])
    mounted = not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % (6.5 * model), "none",
                                  out], stderr=subprocess.DEVNULL).returncode
    try:
        limit = dict(restore_signals=False, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (int(1.5 * model), int(1.5 * model))))
        code, error = run.end(run.start(out, **{} if mounted else limit))
        bad = all_load(run, out)
        check("a full disk (%s): exit code 1, and it is told: %s" % (
            "tmpfs" if mounted else "limit on files", error.strip()[-90:]),
            code == 1 and "checkpoint-" in error and
            ("No space left" if mounted else "File too large") in error, error)
        check("a full disk: model.bin is there, what is there loads, and nothing half is left",
              not bad and os.path.exists(out + "/model.bin") and not glob.glob(out + "/*.tmp"),
              (bad, os.listdir(out)))
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=%d" % (40 * model), out], check=True)
        same(run, whole, out, "a full disk that has got room, %d checkpoints" %
             len(checkpoints(out)))
    finally:
        if mounted:
            subprocess.run(["umount", out], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--model", help="a model file [a small one, drawn]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="resume.") as folder:
        run = Run(folder, args.model)
        out = os.path.join(folder, "out-whole")
        start = time.time()
        code, error = run.end(run.start(out))
        seconds = time.time() - start
        if check("the run that nobody kills: %.1f s" % seconds, code == 0, error):
            whole = run.content(out)
            kill_in_save(run, whole)
            full_disk(run, whole)
            kills(run, whole, seconds, args.kills, random.Random(args.seed))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
