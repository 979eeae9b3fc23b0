#!/usr/bin/env python3
"""Do the tests notice mistakes? Makes one in a copy of the code and demands that a test turns red.

    python3 dev/check/mutants.py                  the list in dev/check/mutants.txt, of bert.h
    python3 dev/check/mutants.py --quick          its first handful
    python3 dev/check/mutants.py --only scale     those whose name contains a word
    python3 dev/check/mutants.py --random 100 [--file dev/driver/json.h] [--seed 1]
        random ones: operators, constants, conditions, deleted statements; survivors at the end

Standard library only. A row of the list whose text is no longer found is a failure: the code has
moved on, and the list has to follow. Each job has a folder of its own, builds one test program
after the other at -O1, on one thread, and stops at the first red line; the program that has found
most so far comes first.
"""
import argparse
import collections
import concurrent.futures
import glob
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from common import DEV, ROOT, check, finish, none

LIST = os.path.join(DEV, "check", "mutants.txt")
CC = os.environ.get("CC", "cc")
FLAGS = "-std=c99 -O1 -ffp-contract=off -fno-math-errno -fno-trapping-math -w -I.".split()
FLAGS += ["-march=native"] if os.uname().machine in ("x86_64", "i686") else []
SAME, BROKEN = "the same program", "does not compile"


# ------------------------------------------------------------------------- building and running

class Program:
    """A test program: its source, and what it did without a mutant."""

    def __init__(self, source):
        self.source, self.code, self.kills, self.limit = source, None, 0, 120

    def build(self, folder):
        """Its object's hash, or None where it does not compile."""
        name = os.path.join(folder, "program")
        if subprocess.run([CC] + FLAGS + ["-c", self.source, "-o", name + ".o"], cwd=folder,
                          stderr=subprocess.DEVNULL).returncode:
            return None
        with open(name + ".o", "rb") as f:
            return hashlib.sha256(f.read()).digest()

    def red(self, folder):
        """Its first red line, or None. It is ended there, and what it left in /tmp removed."""
        name = os.path.join(folder, "program")
        subprocess.run([CC, name + ".o", "-o", name, "-lm", "-pthread"], check=True)
        child = subprocess.Popen([name], cwd=folder, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, start_new_session=True,
                                 env=dict(os.environ, OMP_NUM_THREADS="1", TMPDIR=folder))
        clock = threading.Timer(self.limit, child.kill)
        clock.start()
        try:
            for line in child.stdout:
                if line.startswith(b"FAIL"):
                    return "%s: %s" % (self.source, line[5:90].decode(errors="replace").strip())
            return "%s: exit code %d" % (self.source, child.returncode) if child.wait() else None
        finally:
            clock.cancel()
            child.kill()
            child.wait()
            for left in glob.glob("/tmp/*.%d" % child.pid):
                shutil.rmtree(left, ignore_errors=True)


def sources_for(file):
    """The tests that can notice, by what the compiler says they include: of bert.h those that leave
    out the driver, which compile faster; of a room first those that have it without the rest."""
    needs = {}
    for path in ["test_bert.c"] + sorted(
            os.path.relpath(path, ROOT) for path in glob.glob(DEV + "/test/*.c")):
        told = subprocess.run([CC, "-MM", "-I.", path], cwd=ROOT, check=True,
                              stdout=subprocess.PIPE).stdout.decode()
        needs[path] = {os.path.normpath(name) for name in told.replace("\\\n", " ").split()[1:]}
    able = [path for path in needs if file in needs[path]]
    driver = [path for path in able if "train_bert.c" in needs[path]]
    return [path for path in able if path not in driver] + driver * (file != "bert.h")


def copy_of_tree(folder):
    """What the tests are built from, to be changed."""
    for name in os.listdir(ROOT):
        if name.endswith((".c", ".h")) or name in ("LICENSE", "README.md", "readme_example"):
            shutil.copy(os.path.join(ROOT, name), folder)
    for room in "driver", "test":
        os.makedirs(os.path.join(folder, "dev", room))
        for path in glob.glob(os.path.join(DEV, room, "*.[ch]")):
            shutil.copy(path, os.path.join(folder, "dev", room))
    os.symlink(os.path.join(DEV, "fixtures"), os.path.join(folder, "dev", "fixtures"))


class Tests:
    """Programs, and folders to build them in, one for each job."""

    def __init__(self, sources, jobs, top):
        self.programs, self.folders, self.lock = [Program(s) for s in sources], [], threading.Lock()
        for i in range(jobs):
            self.folders.append(os.path.join(top, str(i)))
            os.mkdir(self.folders[i])
            copy_of_tree(self.folders[i])

    def try_plain(self, program):
        """What is red of the code as it is."""
        with self.lock:
            folder = self.folders.pop()
        try:
            start = time.monotonic()
            program.code = program.build(folder)
            red = program.red(folder) if program.code else "does not compile"
            program.limit = 20 + 10 * (time.monotonic() - start)
        finally:
            self.folders.append(folder)
        return red

    def try_mutant(self, file, text, only=None):
        """What went red, SAME, BROKEN, or None. only: the one program that has to notice."""
        with self.lock:
            folder = self.folders.pop()
            order = sorted(self.programs, key=lambda p: -p.kills)
        target = os.path.join(folder, file)
        try:
            with open(target, "w", encoding="utf-8") as f:
                f.write(text)
            different = False
            for program in order:
                if only and program.source != only:
                    continue
                code = program.build(folder)
                if code is None:
                    return BROKEN
                if code == program.code:
                    continue
                different = True
                red = program.red(folder)
                if red:
                    program.kills += 1
                    return red
            return None if different else SAME
        finally:
            shutil.copy(os.path.join(ROOT, file), target)
            self.folders.append(folder)


# ------------------------------------------------------------------------------------- the list

def read_list():
    """[(name, [(old, new, whether it may stand more than once)])], None where --quick ends."""
    with open(LIST, encoding="utf-8") as f:
        paragraphs = f.read().strip().split("\n\n")[1:]
    rows = []
    for paragraph in paragraphs:
        name, *lines = paragraph.split("\n")
        pairs, last = [], ""
        for line in lines:
            sign, _, text = line.partition(" ")
            if sign != last and sign != "+":
                pairs.append(["", "", sign == "-*"])
            side, last = sign == "+", sign
            pairs[-1][side] = (pairs[-1][side] + " " + text).strip()
        rows.append((name, pairs) if pairs else None)
    return rows


def mutate(text, pairs):
    """text with every pair changed; LookupError where an old text is not there, or not alone."""
    for old, new, many in pairs:
        tokens = re.findall(r"\w+|\S", old)
        pattern = r"\s*".join(re.escape(t.rstrip("_")) + "_?" if re.match(r"[A-Za-z]\w*_*$", t)
                              else re.escape(t) for t in tokens)
        pattern = r"(?<!\w)" * tokens[0][0].isalpha() + pattern

        def changed(match, tokens=tokens, new=new):
            """new, with the names that the code has."""
            names = dict(zip(tokens, re.findall(r"\w+|\S", match.group())))
            return re.sub(r"\w+", lambda word: names.get(word.group(), word.group()), new)
        text, found = re.subn(pattern, changed, text)
        if found != 1 and not (many and found):
            raise LookupError("stale: its text stands %d times in bert.h: %s" % (found, old))
    return text


def stale(text, row):
    """What is wrong with a row of the list, or None."""
    try:
        mutate(text, row[1])
    except LookupError as error:
        return row[0], str(error)


def listed_mutants(args, top):
    rows = read_list()
    with open(os.path.join(ROOT, "bert.h"), encoding="utf-8") as f:
        text = f.read()
    old = [stale(text, row) for row in rows if row]  # of all, whichever are tried
    none("the text of all %d mutants is in bert.h" % len(old), list(filter(None, old)))
    rows = rows[:rows.index(None)] if args.quick else [row for row in rows if row]
    rows = [row for row in rows if args.only in row[0]]
    tests = Tests(["test_bert.c", "dev/test/bits.c"], args.jobs, top)

    def attempt(row):
        name, pairs = row
        wrong = stale(text, row)
        if wrong:
            return name, False, wrong[1]
        changed = mutate(text, pairs)
        only = "dev/test/bits.c" if name.startswith("bits:") else "test_bert.c"
        red = tests.try_mutant("bert.h", changed, only)
        return name, red not in (None, SAME, BROKEN), red or "no test noticed"

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for program, red in zip(tests.programs, pool.map(tests.try_plain, tests.programs)):
            check("bert.h as it is: " + program.source, red is None, red)
        for name, good, red in pool.map(attempt, rows):
            check(name + ": " + red if good else name, good, red)
    return finish()


# ------------------------------------------------------------------------------- random mutants

SWAPS = collections.defaultdict(list)
for pair in "< <=", "> >=", "== !=", "&& ||", "+ -", "* /", "<< >>", "& |", "+= -=":
    for a, b in pair.split(), pair.split()[::-1]:
        SWAPS[a].append(b)
CODE = re.compile(r"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|^[ \t]*\#(?:\\\n|[^\n])*""",
                  re.S | re.M)  # what is not code: comments, strings, directives
OPERATOR = re.compile(r"(?<= )(<=?|>=?|==|!=|&&|\|\||[-+*/&|]|<<|>>|\+=|-=)(?= )")
WHOLE, REAL = re.compile(r"(?<![\w.])(\d+)(u?)(?![\w.])"), re.compile(r"(?<![\w.])\d+\.\d+(?=f?\b)")
STATEMENT = re.compile(r"^ {4,}(?!(?:return|break|continue|goto|else|case|default|for|while|if|do)"
                       r"\b)[a-z_*(][^\n{}]*;$")
DECLARATION = re.compile(r"^ *(?:static |const |unsigned |struct |register )*"
                         r"[A-Za-z_]\w* +\**[a-z_]\w*(?: *[=;,\[])")


def places_to_change(text, begin):
    """[(offset, length, new text)] of everything in functions that can be changed."""
    code = CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    at, out = 0, []
    for line in code.split("\n"):
        if at >= begin and line.startswith("    "):
            for match in OPERATOR.finditer(line):
                out += [(at + match.start(), len(match.group()), new)
                        for new in SWAPS[match.group()]]
            for match in WHOLE.finditer(line):
                number = int(match.group(1))
                out += [(at + match.start(), len(match.group(1)), str(new))
                        for new in sorted({number + 1, 0 if number else 2})]
            for match in REAL.finditer(line):
                out.append((at + match.start(), len(match.group()),
                            "%r" % (float(match.group()) * 2 or 1.0)))
            match = re.match(r" *if \(", line)
            if match and line.count("(") == line.count(")"):
                depth, end = 1, match.end()
                while depth:
                    depth += {"(": 1, ")": -1}.get(line[end], 0)
                    end += 1
                inside = text[at + match.end():at + end - 1]
                out.append((at + match.end(), len(inside), "!(%s)" % inside))
            if STATEMENT.match(line) and not DECLARATION.match(line):
                start = len(line) - len(line.lstrip())
                out.append((at + start, len(line) - start, ";"))
        at += len(line) + 1
    return out


def random_mutants(args, top):
    with open(os.path.join(ROOT, args.file), encoding="utf-8") as f:
        text = f.read()
    begin = text.find("#if defined(BERT_IMPLEMENTATION)") if args.file == "bert.h" else 0
    places = places_to_change(text, begin)
    random.Random(args.seed).shuffle(places)
    tests = Tests(sources_for(args.file), args.jobs, top)
    killed, same, survivors, at, start = 0, 0, [], 0, time.monotonic()

    def attempt(place):
        at, length, new = place
        changed = text[:at] + new + text[at + length:]
        first, line = text.rfind("\n", 0, at) + 1, text.count("\n", 0, at)
        return ("%s:%d: %s   ->   %s" % (args.file, line + 1, text.split("\n")[line].strip(),
                                        changed[first:].split("\n")[0].strip()),
                tests.try_mutant(args.file, changed))

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        plain = list(zip(tests.programs, pool.map(tests.try_plain, tests.programs)))
        for program, red in plain:
            if red:
                print("left out, it is red without a mutant: " + red)
        tests.programs = [program for program, red in plain if not red]
        print("%s: %d places, %d are tried by %s" % (
            args.file, len(places), args.random, " ".join(p.source for p in tests.programs)))
        start, waiting = time.monotonic(), set()
        while killed + len(survivors) < args.random and (at < len(places) or waiting):
            while len(waiting) < args.jobs and at < len(places):
                waiting.add(pool.submit(attempt, places[at]))
                at += 1
            done, waiting = concurrent.futures.wait(waiting, return_when="FIRST_COMPLETED")
            for line, what in (future.result() for future in done):
                same += what == SAME
                killed += what not in (None, SAME, BROKEN)
                if what is None:
                    survivors.append(line)
                if what not in (SAME, BROKEN):
                    print("ok   %s | %s" % (line, what) if what else "LIVES " + line, flush=True)
    tried, minutes = killed + len(survivors), (time.monotonic() - start) / 60
    print("\nSurvivors (equivalent, or a test is missing):")
    for line in sorted(survivors):
        print("  " + line)
    print("%d of %d killed (%.1f%%), %d more were the same program; %.1f mutants a minute"
          % (killed, tried, 100.0 * killed / max(1, tried), same, at / minutes))
    return len(survivors) > 0.05 * tried + args.equivalent


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--quick", action="store_true", help="the first handful")
    ap.add_argument("--only", default="", help="those whose name contains this")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--random", type=int, metavar="N", help="so many random ones, not the list")
    ap.add_argument("--file", default="bert.h", help="of this file")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--equivalent", type=int, default=0,
                    help="survivors that are known to change nothing")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants.") as top:
        return (random_mutants if args.random else listed_mutants)(args, top)


if __name__ == "__main__":
    sys.exit(main())
