#!/usr/bin/env python3
"""dev/lessons: each program alone, by each compiler; and that README shows what they print.

    python3 dev/check/lessons.py [--quick] [NAME ...]

NAME: those whose names begin so (3, check_7), not all. --quick: of what tcc builds, which does not
optimize, none may fail within 5 seconds; a program that runs on then is stopped.

gcc, clang and tcc (one that is not installed is skipped and says so) build each with -Werror; it
has to end with exit code 0 and the line "check passed: ...". In README.md and README.zh-CN.md a
block of output stands behind a line
    <!-- prints: 3_attention.c -->    or    <!-- prints: 5_matmul.c, numbers: any -->
and is compared line by line with what the program prints; "..." stands for any lines. numbers:
any, or a factor such as 0.1, says how far numbers may be off; else they may by one digit.
"""
import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

from common import DEV, check, differs, finish

LESSONS = os.path.join(DEV, "lessons")
FLAGS = {"gcc": ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"],
         "clang": ["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"],
         "tcc": ["-O2", "-Wall", "-Werror"]}
MOST_LINES = {"7_bert.c": 450}  # the others 200
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
BLOCK = re.compile(r"<!-- prints: (\S+?)(?:, numbers: (\S+))? -->\n+```(?:text)?\n(.*?)\n```", re.S)


def outcome(compiler, source, folder, seconds):
    """What it prints, and what is wrong with it, if anything is; None where it was stopped."""
    program = os.path.join(folder, "lesson")
    built = subprocess.run([compiler] + FLAGS[compiler] + [source, "-o", program, "-lm"],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder)
    if built.returncode:
        return "", built.stdout.decode()
    try:
        done = subprocess.run([program], stdout=subprocess.PIPE, cwd=folder, timeout=seconds or 900)
    except subprocess.TimeoutExpired:
        return (None, "") if seconds else ("", "it does not end")
    out = done.stdout.decode("ascii").split("\n")
    if done.returncode or out[-1] or not out[-2].startswith("check passed: "):
        return "", "exit code %d, %s" % (done.returncode, "\n".join(out[-3:]))
    return "\n".join(out), ""


def alike(shown, printed, numbers):
    """Whether two lines are the same but for their numbers, and those near enough."""
    if numbers == "any":  # the bars that are drawn of them, too
        shape = lambda line: re.sub(r"\s+#*", " ", NUMBER.sub("0", line)).strip()
        return shape(shown) == shape(printed)
    a, b = NUMBER.findall(shown), NUMBER.findall(printed)
    if NUMBER.sub("0", shown).split() != NUMBER.sub("0", printed).split() or len(a) != len(b):
        return False
    near = lambda x, y: abs(x - y) <= float(numbers) * max(abs(x), abs(y))
    digit = lambda text: 1.01 * 10.0 ** -len(text.partition(".")[2]) if "." in text else 0
    return all(x == y or abs(float(x) - float(y)) <= digit(x) or
               numbers and near(float(x), float(y)) for x, y in zip(a, b))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("names", nargs="*", metavar="NAME", default=[""])
    p.add_argument("--quick", action="store_true", help="tcc's programs run for 5 seconds at most")
    a = p.parse_args()
    sources = sorted(glob.glob(os.path.join(LESSONS, "*.c")))
    names = [os.path.basename(path) for path in sources]
    wanted = [name for name in names if name.startswith(tuple(a.names))]
    check("the lessons are 1 to 8, and check_7",
          [name.split("_")[0] for name in names] == list("12345678") + ["check"], names)
    printed = {}
    for name in wanted:
        source = os.path.join(LESSONS, name)
        with open(source, encoding="ascii") as f:
            length = len(f.readlines())
        check("%s has %d lines" % (name, length), length <= MOST_LINES.get(name, 200), "too many")
        for compiler in FLAGS:
            if not shutil.which(compiler):
                print("skipped  %s is not here" % compiler)
                continue
            with tempfile.TemporaryDirectory() as folder:
                out, wrong = outcome(compiler, source, folder,
                                     5 if a.quick and compiler == "tcc" else None)
            check("%s by %s%s" % (name, compiler, ", 5 seconds" if out is None else ""),
                  not wrong, wrong)
            if out is not None:
                printed.setdefault(name, out)
    for readme in "README.md", "README.zh-CN.md":
        with open(os.path.join(LESSONS, readme), encoding="utf-8") as f:
            blocks = BLOCK.findall(f.read())
        shown = {name for name, _, _ in blocks}
        check("%s shows each lesson's output" % readme, shown == set(names), set(names) ^ shown)
        for name, numbers, block in blocks:
            if name in printed:
                wrong = differs(block.split("\n"), printed[name].split("\n"),
                                lambda a, b: alike(a, b, numbers))
                check("%s: what %s prints" % (readme, name), not wrong, wrong)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
