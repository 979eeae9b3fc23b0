#!/usr/bin/env python3
"""Which lines of bert.h, train_bert.c and the driver's rooms does `make test` never reach?

    python3 dev/check/coverage.py [--least 99.5 98]

Builds each test program with gcc --coverage, runs it, and joins what gcov says of all of them. For
each file its share and the lines that were not reached; WHY says of some why nothing reaches them.
--least: exit code 1 where bert.h, or the driver, has less. Standard library only.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FLAGS = "-std=c99 -O0 -g --coverage -ffp-contract=off -fno-math-errno -w -I.".split()
WHY = {  # a part of the line and the next: why no test comes there
    "if ((i ^ flip) > i) {": "big-endian machines alone: dev/check/compilers.sh",
    "char byte = p[i];": "the same",
    "p[i] = p[i ^ flip]": "the same",
    "const size_t other = i - i % size": "the same",
    "if (i < other) byte = p[i]": "the same",
    '"bert.h was compiled with -fassociative-math': "tests are not built with it",
    "in->e.message), 0;": "memory is out, of which the batch before had as much",
}


def build_and_run(source, folder):
    """-> the JSON of gcov"""
    name = os.path.join(folder, source.replace("/", "_")[:-2])
    native = ["-march=native"] if os.uname().machine == "x86_64" else []
    subprocess.run(["gcc"] + FLAGS + native + ["-c", source, "-o", name + ".o"], cwd=ROOT,
                   check=True)
    subprocess.run(["gcc", "--coverage", name + ".o", "-o", name, "-lm", "-pthread"], check=True)
    ran = subprocess.run([name], cwd=ROOT, stdout=subprocess.PIPE)
    print("%-28s %s" % (source, ran.stdout.decode(errors="replace").splitlines()[-1]), flush=True)
    told = subprocess.run(["gcov", "--json-format", "--stdout", name + ".gcda"], cwd=ROOT,
                          check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in told.stdout.decode().splitlines() if line.strip()]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--least", nargs=2, type=float, default=[0, 0], metavar="PERCENT")
    args = ap.parse_args()
    counts = collections.defaultdict(lambda: collections.defaultdict(int))
    tests = sorted(os.listdir(os.path.join(ROOT, "dev", "test")))
    with tempfile.TemporaryDirectory(prefix="coverage.") as folder:
        for source in ["test_bert.c"] + ["dev/test/" + t for t in tests if t.endswith(".c")]:
            for report in build_and_run(source, folder):
                for file in report["files"]:
                    path = os.path.relpath(os.path.join(ROOT, file["file"]), ROOT)
                    if path in ("bert.h", "train_bert.c") or path.startswith("dev/driver/"):
                        for line in file["lines"]:
                            counts[path][line["line_number"]] += line["count"]
    sums = {"bert.h": [0, 0], "the driver": [0, 0]}
    for path in sorted(counts):
        lines = counts[path]
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            text = f.read().split("\n")
        unreached = [n for n in sorted(lines) if not lines[n]]
        total = sums["bert.h" if path == "bert.h" else "the driver"]
        total[0] += len(lines) - len(unreached)
        total[1] += len(lines)
        share = 100 - 100.0 * len(unreached) / len(lines)
        print("\n%s: %.2f%% of %d lines" % (path, share, len(lines)))
        for n in unreached:
            why = [reason for part, reason in WHY.items() if part in text[n - 1] + text[n]]
            print("  %5d  %s%s" % (n, text[n - 1].strip()[:90], "   (%s)" % why[0] if why else ""))
    print()
    shares = [100.0 * sums[name][0] / max(1, sums[name][1]) for name in ("bert.h", "the driver")]
    print("bert.h %.2f%%, the driver %.2f%%" % tuple(shares))
    return any(share < least for share, least in zip(shares, args.least))


if __name__ == "__main__":
    sys.exit(main())
