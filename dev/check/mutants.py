#!/usr/bin/env python3
"""Do the tests notice mistakes? Makes one in a copy of the code and demands that a test turns red.

    python3 dev/check/mutants.py                  the list in dev/check/mutants.txt, of bert.h
    python3 dev/check/mutants.py --quick          its first handful
    python3 dev/check/mutants.py --only scale     those whose name contains a word
    python3 dev/check/mutants.py --random 100 [--file train_bert.c dev/driver/*.h] [--seed 1]
        random ones: operators, constants, conditions, deleted statements; survivors at the end
    python3 dev/check/mutants.py --random 100 --log fates.txt [--again]
        each one's fate is appended to the log; what stands there is not tried again, with --again
        what lived there is: a run that was broken off goes on, and a new test is tried on it

Standard library only. A row of the list whose text is no longer found is a failure: the code has
moved on, and the list has to follow.

A test program is two objects, so that a mutant costs one of them: bert.h with its functions visible
from outside (bodies.c), which all programs share, and the program, which sees them declared. Both
are -O1. Functions that are not inlined are weak symbols there, so that a mutant of one costs an
object of that function alone, which the linker prefers. Where the driver is changed, bert.h is the
Makefile's bert.o, and the program is soon compiled by tcc, where there is one, or with -O0; if the
mutant lives, -O1 shows whether it is another program at all. They have OpenMP, where there is any,
run on one thread where a test does not say otherwise, and stop at the first red line. The programs
come in the order of what they found for their time.
"""
import argparse
import collections
import concurrent.futures
import glob
import hashlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from common import DEV, ROOT, check, copy_of_tree, finish, none

LIST = os.path.join(DEV, "check", "mutants.txt")
CC = os.environ.get("CC", "cc")
# -fexpensive-optimizations has vzeroupper: without it gcc's -O1 makes libm three times as slow.
FLAGS = ("-std=c99 -fexpensive-optimizations -ffp-contract=off -fno-math-errno "
         "-fno-trapping-math -w -I.").split()
FLAGS += ["-march=native"] if os.uname().machine in ("x86_64", "i686") else []
OMP = ["-fopenmp"] if not subprocess.run([CC, "-fopenmp", "-xc", "-", "-o", os.devnull],
                                         input=b"int main(void) { return 0; }",
                                         stderr=subprocess.DEVNULL).returncode else []
TCC = [path for path in ["/usr/lib/%s-linux-gnu/tcc/libtcc1.a" % os.uname().machine]
       if shutil.which("tcc") and os.path.exists(path)] # what gcc has to link with it
SAME, BROKEN = "the same program", "does not compile"
# These replace what bert.h calls: besides, or only, they are one object.
REPLACING = ["dev/test/bits.c", "dev/test/failures.c"]
NOT_SPLIT = REPLACING[1:]


# ------------------------------------------------------------------------------ bert.h as an object

DEFINITION = re.compile(r"^(?:static inline|static|BERTDEF|BERT_INLINE_|BERT_APART_) "
                        r"([^=;{}#]*\([^;{}#]*\))(?:\n\{\n.*?^\}| \{[^\n]*\})$", re.M | re.S)
PROTOTYPE = re.compile(r"^static (?=(inline )?[^=;{}/\n#]*\([^={}/#;]*\);)", re.M)
BODIES = """#include <stddef.h>
void *counted_malloc(size_t), *counted_calloc(size_t, size_t), counted_free(void *); /* test.h */
#define BERT_MALLOC counted_malloc
#define BERT_CALLOC counted_calloc
#define BERT_FREE counted_free
#define BERT_IMPLEMENTATION
"""
WEAK = "__attribute__((weak)) "
VISIBLE = {"static inline ": "inline ", "static ": WEAK, "BERTDEF ": WEAK, "BERT_APART_ ": WEAK,
           "BERT_INLINE_ ": "BERT_INLINE_ "}


def implementation(text):
    return text.find("#if defined(BERT_IMPLEMENTATION)")


def declared(text):
    """bert.h with its functions declared."""
    at = implementation(text)
    return text[:at] + DEFINITION.sub(r"extern \1;", text[at:])


def bodies(text):
    """bert.h with no function static. An inline one is both (-fgnu89-inline), another one weak."""
    at = implementation(text)

    def visible(match):
        word = next(word for word in VISIBLE if match.group().startswith(word))
        return VISIBLE[word] + match.group()[len(word):]
    return BODIES + text[:at] + PROTOTYPE.sub("", DEFINITION.sub(visible, text[at:]))


def one_body(text, at):
    """bert.h with the one function that has a body at an offset, and what is inlined into it; None
    where that is not a function, or itself inlined."""
    begin, found = implementation(text), []

    def body(match):
        first = begin + match.start()
        if re.match("static inline|BERT_INLINE_", match.group()):
            return match.group()
        if not first <= at < begin + match.end():
            return "extern %s;" % match.group(1)
        found.append(first)
        return re.sub(r"^(static|BERTDEF|BERT_APART_) ", "", match.group())
    rest = DEFINITION.sub(body, text[begin:])
    rest = PROTOTYPE.sub(lambda match: match.group() if match.group(1) else "", rest)
    return BODIES + text[:begin] + rest if found else None


# ------------------------------------------------------------------------- building and running

class Program:
    """A test program: its source, whether it is one object, what it is without a mutant."""

    def __init__(self, source, whole=False):
        self.source, self.whole, self.codes, self.needs = source, whole, None, ()
        self.tcc = bool(TCC)
        self.seconds, self.limit, self.tries, self.kills = 100.0, 600, {}, {}

    def worth(self, file):
        """Mutants found in a second; one that is untried has found half of two."""
        return (self.kills.get(file, 0) + 1) / (self.tries.get(file, 0) + 2) / self.seconds

    def red(self, objects, folder, patience=1):
        """Its first red line, or None. It is ended there, and what it left in /tmp removed. One
        that takes too long is red when it has had four times as long, since threads that wait for
        each other on a busy machine take long as well."""
        name = os.path.join(folder, "program")
        if subprocess.run([CC] + OMP + objects + TCC + ["-o", name, "-lm", "-pthread"],
                          stderr=subprocess.DEVNULL).returncode:
            return "%s: does not link" % self.source

        def limits():
            signal.signal(signal.SIGINT, signal.SIG_DFL) # a job in the background ignores it
            seconds = int(5 + 2 * self.seconds) * patience
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        child = subprocess.Popen([name], cwd=folder, stdout=subprocess.PIPE, preexec_fn=limits,
                                 stderr=subprocess.DEVNULL, start_new_session=True,
                                 env=dict(os.environ, OMP_NUM_THREADS="1", TMPDIR=folder,
                                          GOMP_SPINCOUNT="1000")) # both jobs are busy
        clock = threading.Timer(self.limit * patience, child.kill)
        clock.start()
        try:
            for line in child.stdout:
                if line.startswith(b"FAIL"):
                    return "%s: %s" % (self.source, line[5:90].decode(errors="replace").strip())
            if child.wait() == -signal.SIGKILL and patience == 1:
                return self.red(objects, folder, 4)
            return "%s: exit code %d" % (self.source, child.returncode) if child.wait() else None
        finally:
            clock.cancel()
            child.kill()
            child.wait()
            for left in glob.glob("/tmp/*.%d" % child.pid):
                shutil.rmtree(left, ignore_errors=True)


def programs_of(files):
    """The tests that can notice, by what the compiler says they include."""
    programs = []
    for path in ["test_bert.c"] + sorted(
            os.path.relpath(path, ROOT) for path in glob.glob(DEV + "/test/*.c")):
        told = subprocess.run([CC, "-MM", "-I.", path], cwd=ROOT, check=True,
                              stdout=subprocess.PIPE).stdout.decode()
        needs = {os.path.normpath(name) for name in told.replace("\\\n", " ").split()[1:]}
        for whole in [False] * (path not in NOT_SPLIT) + [True] * (path in REPLACING):
            if needs & set(files):
                programs.append(Program(path, whole))
                programs[-1].needs = needs
    return programs


def make_tree(folder, whole):
    """A copy of the code, to be changed."""
    copy_of_tree(folder)
    if not whole:
        put(folder, "bert.h", declared(get("bert.h")))
        put(folder, "bodies.c", bodies(get("bert.h")))


def get(file):
    with open(os.path.join(ROOT, file), encoding="utf-8") as f:
        return f.read()


def put(folder, file, text):
    with open(os.path.join(folder, file), "w", encoding="utf-8") as f:
        f.write(text)


def compiled(folder, source, *flags, by=(CC, *FLAGS, *OMP)):
    """-> the object, its hash; None where it does not compile."""
    name = os.path.join(folder, source.replace("/", "_") + ".o")
    if subprocess.run([*by, *flags, "-c", source, "-o", name], cwd=folder,
                      stderr=subprocess.DEVNULL).returncode:
        return None
    with open(name, "rb") as f:
        return name, hashlib.sha256(f.read()).digest()


def seconds_of_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Tests:
    """Programs, and folders to build them in, one for each job."""

    def __init__(self, files, jobs, top):
        self.programs, self.folders, self.lock = programs_of(files), [], threading.Lock()
        self.linked = "bert.h" not in files # bert.h as make test has it
        self.plain = os.path.join(top, "plain") # the objects without a mutant
        make_tree(self.plain, whole=self.linked)
        self.bodies, self.declared = self.build_bodies(self.plain), declared(get("bert.h"))
        self.text, self.ones = get("bert.h"), {} # functions without a mutant: text -> hash
        for i in range(jobs):
            self.folders.append(os.path.join(top, str(i)))
            os.mkdir(self.folders[i])
            for whole in (False, True):
                make_tree(os.path.join(self.folders[i], ("split", "whole")[whole]), whole)

    def tree(self, folder, whole):
        return os.path.join(folder, "whole" if whole or self.linked else "split")

    def build(self, program, tree, level="-O1", **by):
        if program.whole:
            return compiled(tree, program.source, "-O1")
        flags = "-DTEST_LINKED -DBERT_IMPLEMENTATION_ONCE_" if self.linked else \
            "-DBERTDEF=extern -DTEST_LIBRARY"
        return compiled(tree, program.source, level, *flags.split(), **by)

    def build_soon(self, program, tree):
        """What a mutant is run as."""
        if self.linked and program.tcc and not program.whole:
            return self.build(program, tree, "-w", by=("tcc", "-I."))
        return self.build(program, tree, "-O0" if self.linked else "-O1")

    def build_one(self, tree, text, at):
        """The function of bert.h that is changed there. None: bodies.c has to be built anew."""
        one, plain = one_body(text, at), one_body(self.text, at)
        if not one or not plain:
            return None
        flags = ["-O1", "-DBERTDEF=extern"]
        if plain not in self.ones:
            put(tree, "one.c", plain)
            self.ones[plain] = compiled(tree, "one.c", *flags)[1]
        put(tree, "one.c", one)
        built = compiled(tree, "one.c", *flags)
        return built and (built[0], self.bodies[1] if built[1] == self.ones[plain] else built[1])

    def build_bodies(self, tree):
        if not self.linked:
            return compiled(tree, "bodies.c", "-O1", "-DBERTDEF=extern", "-fgnu89-inline")
        put(tree, "library.c", '#include "dev/test/test.h"\n#include "bert.h"\n')
        return compiled(tree, "library.c", "-O1", "-DTEST_LIBRARY", "-DBERT_IMPLEMENTATION")

    def try_plain(self, program):
        """What is red of the code as it is."""
        with self.lock:
            folder = self.folders.pop()
        try:
            tree = self.tree(folder, program.whole)
            begin, start = seconds_of_children(), time.monotonic()
            objects = [self.build(program, tree if program.whole else self.plain)]
            objects += [self.bodies] * (not program.whole)
            if None in objects:
                return BROKEN
            program.codes = objects[:]
            if self.linked:
                objects[0] = self.build_soon(program, tree)
            red = program.red([name for name, _ in objects], tree)
            if red and self.linked and program.tcc and not program.whole:
                program.tcc = False
                objects[0] = self.build_soon(program, tree)
                red = program.red([name for name, _ in objects], tree)
            program.seconds = seconds_of_children() - begin
            program.limit = 60 + 10 * (time.monotonic() - start)
            return red
        finally:
            self.folders.append(folder)

    def change(self, folder, file, text):
        """The file in both trees. -> whether its programs have to be built again."""
        put(self.tree(folder, True), file, text)
        put(self.tree(folder, False), file, text)
        if file != "bert.h":
            return True
        put(self.tree(folder, False), "bert.h", declared(text))
        put(self.tree(folder, False), "bodies.c", bodies(text))
        return declared(text) != self.declared # a table, an enum

    def try_mutant(self, file, text, at=None, only=None):
        """What went red, SAME, BROKEN, or None. at: the one place that is changed; only: the one
        program that has to notice."""
        with self.lock:
            folder = self.folders.pop()
            order = sorted((p for p in self.programs if file in p.needs),
                           key=lambda p: (-p.worth(file)))
        try:
            anew = self.change(folder, file, text)
            tree, extra = self.tree(folder, False), []
            one = self.build_one(tree, text, at) if at and not self.linked and not anew else None
            if one: # the linker takes its function
                shared, extra = (self.bodies[0], one[1]), [one[0]]
            else:
                shared = self.bodies if self.linked else self.build_bodies(tree)
            if not shared:
                return BROKEN
            living = []
            for program in order:
                if only and program.source != only:
                    continue
                tree = self.tree(folder, program.whole)
                objects = [self.build_soon(program, tree) if anew or program.whole
                           else program.codes[0]] + [shared] * (not program.whole)
                if objects[0] is None:
                    return BROKEN
                if [code for _, code in objects] == [code for _, code in program.codes]:
                    continue
                red = program.red([name for name, _ in objects] + extra * (not program.whole), tree)
                program.tries[file] = program.tries.get(file, 0) + 1
                if red:
                    program.kills[file] = program.kills.get(file, 0) + 1
                    return red
                living.append((program, tree))
            if not self.linked:
                return None if living else SAME
            return None if any(self.build(program, tree)[1] != program.codes[0][1]
                               for program, tree in living) else SAME
        finally:
            self.change(folder, file, get(file))
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
    tests = Tests(["bert.h"], args.jobs, top)
    tests.programs = [program for program in tests.programs
                      if program.source in ("test_bert.c", "dev/test/bits.c")]

    def attempt(row):
        name, pairs = row
        wrong = stale(text, row)
        if wrong:
            return name, False, wrong[1]
        changed = mutate(text, pairs)
        one = len(pairs) == 1 and not pairs[0][2] # place: where the texts part
        at = len(os.path.commonprefix([text, changed])) if one else None
        only = "dev/test/bits.c" if name.startswith("bits:") else "test_bert.c"
        red = tests.try_mutant("bert.h", changed, at, only)
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


def read_log(path):
    """{place: fate} of an earlier run; of two fates the last counts."""
    if not path or not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return {place: (fate, line) for place, fate, line in (
            row.rstrip("\n").split("\t") for row in f if row.endswith("\n"))}


def random_mutants(args, top):
    texts, places = {file: get(file) for file in args.file}, []
    for file in args.file:
        begin = implementation(texts[file]) if file == "bert.h" else 0
        places += [(file,) + place for place in places_to_change(texts[file], begin)]
    random.Random(args.seed).shuffle(places)
    tests, known, lock = Tests(args.file, args.jobs, top), read_log(args.log), threading.Lock()
    fates, survivors, at, again = collections.Counter(), [], 0, 0

    def attempt(place):
        file, at, length, new = place
        text = texts[file]
        changed = text[:at] + new + text[at + length:]
        name = "%s:%s:%d:%d:%s" % (hashlib.sha256(text.encode()).hexdigest()[:8], file, at, length,
                                   new.replace("\n", " ").replace("\t", " "))
        before = known.get(name, ("", ""))
        if before[0] and not (args.again and before[0] == "LIVES"):
            return before + (True,)
        first, line = text.rfind("\n", 0, at) + 1, text.count("\n", 0, at)
        told = "%s:%d: %s   ->   %s" % (file, line + 1, text.split("\n")[line].strip(),
                                       changed[first:].split("\n")[0].strip())
        what = tests.try_mutant(file, changed, at)
        fate = "LIVES" if what is None else what if what in (SAME, BROKEN) else "ok"
        told += " | " + what if fate == "ok" else ""
        with lock:
            if fate in ("ok", "LIVES"):
                print("%-5s %s" % (fate, told), flush=True)
            if args.log:
                with open(args.log, "a", encoding="utf-8") as f:
                    f.write("\t".join((name, fate, told.replace("\t", " "))) + "\n")
        return fate, told, False

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        plain = list(zip(tests.programs, pool.map(tests.try_plain, tests.programs)))
        for program, red in plain:
            if red and red == BROKEN:
                sys.exit("%s: %s, as it is" % (program.source, red))
            if red:
                print("left out, it is red without a mutant: " + red)
        tests.programs = [program for program, red in plain if not red]
        print("%s: %d places, %d are tried by %s" % (
            " ".join(args.file), len(places), args.random,
            " ".join(p.source + " (whole)" * p.whole for p in tests.programs)), flush=True)
        start, waiting = time.monotonic(), set()
        while fates["ok"] + fates["LIVES"] < args.random and (at < len(places) or waiting):
            while len(waiting) < args.jobs and at < len(places):
                waiting.add(pool.submit(attempt, places[at]))
                at += 1
            done, waiting = concurrent.futures.wait(waiting, return_when="FIRST_COMPLETED")
            for fate, line, old in (future.result() for future in done):
                fates[fate] += 1
                again += old
                if fate == "LIVES":
                    survivors.append(line)
    tried, minutes = fates["ok"] + fates["LIVES"], (time.monotonic() - start) / 60
    print("\nSurvivors (equivalent, or a test is missing):")
    for line in sorted(survivors):
        print("  " + line)
    print("%d of %d killed (%.1f%%), %d more were the same program; %.1f mutants a minute"
          % (fates["ok"], tried, 100.0 * fates["ok"] / max(1, tried), fates[SAME],
             (at - again) / minutes))
    return len(survivors) > 0.05 * tried + args.equivalent


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--quick", action="store_true", help="the first handful")
    ap.add_argument("--only", default="", help="those whose name contains this")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--random", type=int, metavar="N", help="so many random ones, not the list")
    ap.add_argument("--file", nargs="+", default=["bert.h"], help="of these files")
    ap.add_argument("--log", help="a file that each random one's fate is appended to")
    ap.add_argument("--again", action="store_true", help="try what lived in the log again")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--equivalent", type=int, default=0,
                    help="survivors that are known to change nothing")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants.") as top:
        return (random_mutants if args.random else listed_mutants)(args, top)


if __name__ == "__main__":
    sys.exit(main())
