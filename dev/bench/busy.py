#!/usr/bin/env python3
"""train_bert on a busy machine: without any setting, against OMP_NUM_THREADS and waiting policies.

    make demo EPOCHS=1 DEMO_FLAGS="--max_steps 20"      MiniLM, data and a fine-tuned model
    python3 dev/bench/busy.py                           the table: 0, 1, 2 times `yes > /dev/null`

Settings take turns in short slices, beside the same neighbours, which are this script's own
children. A cell is tokens/s (training), sentences/s (a line after another's answer; a process for
each), the median of the rounds; the last column is the default's over the best of all others.
"""

import argparse
import glob
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SETTINGS = {
    "default": {},
    "1": {"OMP_NUM_THREADS": "1"},
    "2": {"OMP_NUM_THREADS": "2"},
    "2 active": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "active"},
    "2 passive": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "2 spin 10000": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "10000"},
}
WORKS = ("train 4", "train 32", "line", "process")
SENTENCE = b"A tender, funny film that stays with you for days.\n"


def environment(setting):
    clean = {k: v for k, v in os.environ.items() if k[:4] not in ("OMP_", "KMP_", "GOMP")}
    return dict(clean, **SETTINGS[setting])


def ticks(pid=None):
    """Seconds that all processors worked, or a process did."""
    with open("/proc/%d/stat" % pid if pid else "/proc/stat") as f:
        words = f.read().rpartition(")")[2].split()
    used = words[11:13] if pid else words[1:4] + words[6:8]  # without idle and waiting for a disk
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def end_of(a, run, start):
    """Ends it. What a mode may be chosen by: how often and how long its threads had to wait."""
    delay = sum(int(open(f).read().split()[1])
                for f in glob.glob("/proc/%d/task/*/schedstat" % run.pid))
    run.kill()
    usage, wall = os.wait4(run.pid, 0)[2], time.monotonic() - start
    run.returncode = -signal.SIGKILL
    if a.verbose:
        print("        in a second: preempted %.0f times, %.3f s without one, %.2f s on a core" % (
            usage.ru_nivcsw / wall, delay * 1e-9 / wall,
            (usage.ru_utime + usage.ru_stime) / wall), flush=True)


def train(a, setting, batch):
    """Tokens/s of the steps within a.seconds: the log's own, each line over a group of steps."""
    group = max(1, 20 // batch)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=a.tmp) as out:
        run = subprocess.Popen(
            [a.program, "train", "--model", a.base, "--train_file", a.train_file, "--output_dir",
             out, "--per_device_train_batch_size", str(batch), "--logging_steps", str(group)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(setting))
        try:
            rates, end = [], None
            for line in run.stdout:
                if " tokens/s" not in line:
                    continue
                rates.append(float(line.split(" tokens/s")[0].split()[-1]))
                end = end or time.monotonic() + a.seconds  # the first line pays for the memory
                if time.monotonic() > end and len(rates) > 1:
                    break
            if a.verbose:
                print("      ", setting, batch, " ".join("%.0f" % r for r in rates), flush=True)
            return statistics.harmonic_mean(rates[1:])
        finally:
            end_of(a, run, began)


def lines(a, setting):
    """Sentences/s where each is sent when the one before it has its answer."""
    began = time.monotonic()
    run = subprocess.Popen([a.program, "predict", "--model", a.model], stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                           env=environment(setting))
    try:
        count, start = -1, 0.0
        while count < 1 or time.monotonic() < start + a.seconds:
            run.stdin.write(SENTENCE)
            while not run.stdout.read(65536).endswith(b"\n"):
                pass
            count += 1
            start = start or time.monotonic()
        return count / (time.monotonic() - start)
    finally:
        end_of(a, run, began)


def processes(a, setting):
    times, end = [], time.monotonic() + a.seconds
    while not times or time.monotonic() < end:
        start = time.monotonic()
        subprocess.run([a.program, "predict", "--model", a.model], input=SENTENCE, check=True,
                       stdout=subprocess.DEVNULL, env=environment(setting))
        times.append(time.monotonic() - start)
    return 1 / statistics.median(times)


def strangers(neighbours, before=None):
    """Seconds of processors that others than the neighbours and our children had, since before."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    now = ticks() - sum(ticks(p.pid) for p in neighbours) - used.ru_utime - used.ru_stime
    clock = time.monotonic()
    return now, (now - before[0]) / (clock - before[2]) if before else 0, clock


def measure(a, work, setting, neighbours):
    """A slice in which strangers had at most 5% of a processor (of processes' work, some is
    nobody's); where they had more in the fourth, too, it says so."""
    for attempt in range(4):
        for _ in range(20):
            before = strangers(neighbours)
            time.sleep(0.2)
            if strangers(neighbours, before)[1] < 0.1:
                break
        before = strangers(neighbours)
        if work.startswith("train"):
            result = train(a, setting, int(work.split()[1]))
        else:
            result = (lines if work == "line" else processes)(a, setting)
        share = strangers(neighbours, before)[1]
        if share < (0.25 if work == "process" else 0.05):
            break
    else:
        print("%s, %s, %d neighbours: strangers had %.2f of a processor" % (
            work, setting, len(neighbours), share), flush=True)
    return result


def row(a, neighbours, work, settings):
    """One line of the table: the settings take turns."""
    got = {s: [] for s in settings}
    for _ in range(a.rounds):
        for s in settings:
            got[s].append(measure(a, work, s, neighbours))
    medians = {s: statistics.median(got[s]) for s in settings}
    best = max([medians[s] for s in settings if s != "default"], default=0)
    print("%-11d%-9s" % (len(neighbours), work) + "".join("%14.1f" % medians[s] for s in settings) +
          ("%14.2f" % (medians["default"] / best) if best and "default" in settings else ""),
          flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--program", default="./train_bert")
    ap.add_argument("--demo", default="demo/all-MiniLM-L6-v2", help="folder of make demo")
    ap.add_argument("--neighbours", default="0,1,2")
    ap.add_argument("--works", default=",".join(WORKS))
    ap.add_argument("--settings", default=",".join(SETTINGS))
    ap.add_argument("--seconds", type=float, default=4, help="of a slice")
    ap.add_argument("--rounds", type=int, default=1)
    ap.add_argument("--verbose", action="store_true")
    a = ap.parse_args()
    a.base, a.train_file = a.demo + "/model.bin", a.demo + "/train.bin"
    a.model = a.demo + "/out/best.bin"
    a.tmp = "/dev/shm" if os.path.isdir("/dev/shm") else None
    settings = a.settings.split(",")
    print("neighbours work     " + "".join("%14s" % s for s in settings) + "  default/best")
    for n in map(int, a.neighbours.split(",")):
        neighbours = [subprocess.Popen(["yes"], stdout=subprocess.DEVNULL) for _ in range(n)]
        try:
            time.sleep(0.3)
            for work in a.works.split(","):
                row(a, neighbours, work, settings)
        finally:
            for p in neighbours:
                p.kill()
                p.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # `timeout`: the neighbours go with us
    main()
