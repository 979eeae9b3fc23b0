#!/usr/bin/env python3
"""Which lines of bert.h, train_bert.c and the driver's rooms does `make test` never reach?

    python3 dev/check/coverage.py [--least 99.5 98]

Builds each test program with gcc --coverage, runs it, and joins what gcov says of all of them. A
return behind a condition is a line of its own, as is the call that makes an error. For each file
its share and the lines that were not reached. Exit code 1 where a line is not reached of which WHY
does not say why nothing reaches it, or where bert.h, or the driver, has less than --least. What
runs only where the processor has AMX counts there alone, and not what asks whether it has. Standard
library only.
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
WHY = {  # why no test comes to a line: a part of it and the next
    "big-endian machines alone: dev/check/compilers.sh": [
        "if ((i ^ flip) > i) {", "char byte = p[i];", "p[i] = p[i ^ flip]",
        "const size_t other = i - i % size", "if (i < other) byte = p[i]"],
    "tests are not built with it": ['"bert.h was compiled with -fassociative-math'],
    "memory is out, of which the batch before had as much": ["in->e.message), 0;"],
    "libc's own memory is out": ["if (!p->f) exit", "no memory for the names"],
    "AdamW refuses no step that has a backward": ["threads_end(3 * tokens)"],
    "under mpirun alone: dev/check/ranks.py": [
        "one process's work", "if (same_step(", "if (ranks.rank) return 0"],
}
AMX = ["bert_amx_", "bert_pack_tile_amx_", "bert_tiles_amx_"]
APART = re.compile(r"(?<=\)) (?=(?:return|exit)\b)|"
                   r"(?<=\S)(?<!return) (?=(?:fail|BERT_(?:FAIL|REFUSE|BAD_FILE|NO_MEMORY)_)\()")


def split_returns(text):
    """text with what is APART in lines of its own -> it, and for each line the one it is from"""
    lines, numbers = [], [0]
    for number, line in enumerate(text.split("\n"), 1):
        parts = [line] if line.endswith("\\") or line.lstrip().startswith(("#", "/*", "*")) else \
            APART.split(line)
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


def why(line):
    """The reason in brackets, or nothing"""
    reasons = [reason for reason, parts in WHY.items() if any(part in line for part in parts)]
    return "".join("   (%s)" % reason for reason in reasons[:1])


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--least", nargs=2, type=float, default=[99.5, 98], metavar="PERCENT",
                    help="of bert.h, of the driver")
    args = ap.parse_args()
    counts = collections.defaultdict(lambda: collections.defaultdict(int))
    function, runs = {}, collections.defaultdict(int)
    tests = sorted(os.listdir(os.path.join(ROOT, "dev", "test")))
    with tempfile.TemporaryDirectory(prefix="coverage.") as folder:
        numbers = split_tree(folder)
        for source in ["test_bert.c"] + ["dev/test/" + t for t in tests if t.endswith(".c")]:
            for report in build_and_run(source, folder):
                for file in report["files"]:
                    path = os.path.relpath(os.path.join(folder, file["file"]), folder)
                    for line in file["lines"] if is_measured(path) else []:
                        name = line.get("function_name", "")
                        function[path, line["line_number"]] = name
                        counts[path][line["line_number"]] += line["count"]
                        runs[name] += line["count"]
    elsewhere = ["bert_ask_amx_"] + [name for name in AMX if not runs[name]]
    sums, unexplained = {"bert.h": [0, 0], "the driver": [0, 0]}, 0
    for path in sorted(counts):
        of, text = numbers[path]
        lines = {n: c for n, c in counts[path].items() if function[path, n] not in elsewhere}
        unreached = [n for n in sorted(lines) if not lines[n]]
        total = sums["bert.h" if path == "bert.h" else "the driver"]
        total[0] += len(lines) - len(unreached)
        total[1] += len(lines)
        share = 100 - 100.0 * len(unreached) / len(lines)
        print("\n%s: %.2f%% of %d lines" % (path, share, len(lines)))
        for n in unreached:
            at = of[n]
            reason = why(text[at - 1] + text[at])
            unexplained += not reason
            print("  %5d  %s%s" % (at, text[at - 1].strip()[:90], reason))
    print()
    shares = [100.0 * sums[name][0] / max(1, sums[name][1]) for name in ("bert.h", "the driver")]
    print("bert.h %.2f%%, the driver %.2f%%, %d lines without a reason" % (*shares, unexplained))
    return unexplained > 0 or any(share < least for share, least in zip(shares, args.least))


if __name__ == "__main__":
    sys.exit(main())
