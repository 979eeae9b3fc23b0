#!/usr/bin/env python3
"""Which lines of bert.h, train_bert.c and the driver's rooms does `make test` never reach?

    python3 dev/check/coverage.py [--least 99.5 98]

Builds each test program with gcc --coverage, runs it, and joins what gcov says of all of them. A
return behind a condition is a line of its own. For each file its share and the lines that were not
reached; WHY says of some why nothing reaches them. --least: exit code 1 where bert.h, or the
driver, has less, or a line is not reached of which WHY says nothing. Standard library only.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile

from common import ROOT, copy_of_tree, write

FLAGS = "-std=c99 -O0 -g --coverage -ffp-contract=off -fno-math-errno -w -I.".split()
WHY = {  # a part of the line and the next: why no test comes there
    "if ((i ^ flip) > i) {": "big-endian machines alone: dev/check/compilers.sh",
    "char byte = p[i];": "the same",
    "p[i] = p[i ^ flip]": "the same",
    "const size_t other = i - i % size": "the same",
    "if (i < other) byte = p[i]": "the same",
    '"bert.h was compiled with -fassociative-math': "tests are not built with it",
    "in->e.message), 0;": "memory is out, of which the batch before had as much",
    "one process's work": "under mpirun alone: dev/check/ranks.py",
    "if (same_step(": "the same",
    "ranks_stop(*stop)": "the same",
    "strncat(held.text": "the same",
    "if (remove(path)) return": "a folder that refuses root what it holds",
    "ftruncate(fileno(": "the same",
    "hash_file(&hash, &size, path, log->bytes)": "the same",
    "no memory for the names": "libc's own memory is out",
}


def split_returns(text):
    """text with `if (...) return ...` in two lines -> it, and for each line the one it is from"""
    lines, numbers = [], [0]
    for number, line in enumerate(text.split("\n"), 1):
        parts = [line] if line.endswith("\\") or line.lstrip().startswith(("#", "/*", "*")) else \
            re.split(r"(?<=\)) (?=return\b)", line)
        lines += parts
        numbers += [number] * len(parts)
    return "\n".join(lines), numbers


def is_measured(path):
    return path in ("bert.h", "train_bert.c") or path.startswith("dev/driver/")


def split_tree(folder):
    """A copy of the code with such lines -> {path: (for each line where it is from, lines)}"""
    numbers = {}
    for name in filter(is_measured, copy_of_tree(folder)):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            lines = f.read()
        text, of = split_returns(lines)
        numbers[name] = of, lines.split("\n")
        write(os.path.join(folder, name), text)
    return numbers


def build_and_run(source, folder):
    """-> the JSON of gcov"""
    name = os.path.join(folder, source.replace("/", "_")[:-2])
    native = ["-march=native"] if os.uname().machine == "x86_64" else []
    subprocess.run(["gcc"] + FLAGS + native + ["-c", source, "-o", name + ".o"], cwd=folder,
                   check=True)
    subprocess.run(["gcc", "--coverage", name + ".o", "-o", name, "-lm", "-pthread"], check=True)
    ran = subprocess.run([name], cwd=folder, stdout=subprocess.PIPE)
    said = ran.stdout.decode(errors="replace").splitlines()
    print("\n".join(["%-28s %s" % (source, said[-1])] + [s for s in said if s[:4] == "FAIL"]),
          flush=True)
    told = subprocess.run(["gcov", "--json-format", "--stdout", name + ".gcda"], cwd=folder,
                          check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in told.stdout.decode().splitlines() if line.strip()]


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--least", nargs=2, type=float, default=[], metavar="PERCENT")
    args = ap.parse_args()
    counts = collections.defaultdict(lambda: collections.defaultdict(int))
    tests = sorted(os.listdir(os.path.join(ROOT, "dev", "test")))
    with tempfile.TemporaryDirectory(prefix="coverage.") as folder:
        numbers = split_tree(folder)
        for source in ["test_bert.c"] + ["dev/test/" + t for t in tests if t.endswith(".c")]:
            for report in build_and_run(source, folder):
                for file in report["files"]:
                    path = os.path.relpath(os.path.join(folder, file["file"]), folder)
                    for line in file["lines"] if is_measured(path) else []:
                        counts[path][line["line_number"]] += line["count"]
    sums, unexplained = {"bert.h": [0, 0], "the driver": [0, 0]}, 0
    for path in sorted(counts):
        lines, (of, text) = counts[path], numbers[path]
        unreached = [n for n in sorted(lines) if not lines[n]]
        total = sums["bert.h" if path == "bert.h" else "the driver"]
        total[0] += len(lines) - len(unreached)
        total[1] += len(lines)
        share = 100 - 100.0 * len(unreached) / len(lines)
        print("\n%s: %.2f%% of %d lines" % (path, share, len(lines)))
        for n in [of[n] for n in unreached]:
            why = [reason for part, reason in WHY.items() if part in text[n - 1] + text[n]]
            unexplained += not why
            print("  %5d  %s%s" % (n, text[n - 1].strip()[:90], "   (%s)" % why[0] if why else ""))
    print()
    shares = [100.0 * sums[name][0] / max(1, sums[name][1]) for name in ("bert.h", "the driver")]
    print("bert.h %.2f%%, the driver %.2f%%, %d lines without a reason" % (*shares, unexplained))
    below = any(share < least for share, least in zip(shares, args.least))
    return below or bool(args.least and unexplained)


if __name__ == "__main__":
    sys.exit(main())
