#!/usr/bin/env python3
"""A training whose machine loses its power goes on to the same bits, whatever the disk then has.

    make train_bert && dev/check/power.py [--only WORD]

strace (Debian's package) records each call of a run that changes a file or a folder. For a loss of
power after each of them the states are made that a file system may leave: what was synced before is
there; of all other changes of names any may be there or not (every subset of up to SUBSETS, of more
the first so many, each alone, each missing), so a rename may be there while the data of the file is
not; of all other data none, all, half, zeros, half of it zeros, an old end that was cut off, in all
files or in one alone. For each state:

- models and checkpoints have whole content or are not there, and of what the run had done before
  it wrote the log's next line, or ended, all is there; an earlier run's models are;
- every checkpoint loads (--dry_run goes on from it);
- the run goes on, or begins again where it has no checkpoint, to the bits of the run that never
  stopped: model.bin, best.bin, result.txt, log.jsonl but for what a clock says, as many events.

Ends with "N passed, N failed".
"""
import argparse
import bisect
import itertools
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

import common
from common import attempt, check, finish, none, write

MODEL = os.path.join(common.DEV, "fixtures", "text.model.bin")
CALLS = ("open openat creat close read write pread64 pwrite64 writev pwritev pwritev2 lseek "
         "truncate ftruncate fallocate copy_file_range sendfile splice dup dup2 dup3 mmap symlink "
         "symlinkat link linkat rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat "
         "fsync fdatasync sync syncfs sync_file_range")
LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
TEXT = re.compile(r'"([^"]*)"')
SUBSETS = 8
ENV = dict(os.environ, OMP_NUM_THREADS="1")

# ------------------------------------------------------------------------------- what a run writes

class Node:
    """A file, or a folder: how it was, and what changed, by the number of the call."""

    def __init__(self, content):
        self.contents = [content]  # bytes, or {name: node}; after 0, 1, ... changes
        self.changed, self.changes, self.syncs = [], [], []

    def change(self, number, change):
        """change: {name: node or None} of a folder, (offset, bytes) or a new size of a file."""
        self.changed.append(number), self.changes.append(change)
        self.contents.append(changed(self.contents[-1], change))

    def counts(self, end):
        """Before that call: how many changes were synced, how many were made."""
        synced = bisect.bisect_left(self.syncs, end)
        return (bisect.bisect_left(self.changed, self.syncs[synced - 1]) if synced else 0,
                bisect.bisect_left(self.changed, end))


def changed(content, change):
    if isinstance(change, dict):
        return {k: v for k, v in dict(content, **change).items() if v}
    if isinstance(change, int):
        return content[:change] + bytes(max(0, change - len(content)))
    at, data = change
    return content[:at] + bytes(max(0, at - len(content))) + data + content[at + len(data):]


def is_folder(node):
    return isinstance(node.contents[0], dict)


def value(node):
    """What has to be whole: a file's bytes, a checkpoint's files."""
    now = node.contents[-1]
    return now if isinstance(now, bytes) else tuple(
        sorted((name, value(one)) for name, one in now.items()))


def matters(path):
    """Is it of what is whole or not there? What is inside of a checkpoint is a part of it."""
    parts = path.split("/")
    return (re.fullmatch(r".*\.bin|result\.txt|(earlier-)?checkpoint-\d+", parts[-1]) is not None
            and not any(part.endswith((".tmp", ".old")) for part in parts)
            and not any("checkpoint-" in part for part in parts[:-1]))


class Record:
    """All that a run changes below a folder, from strace."""

    def __init__(self, root):
        self.root, self.number, self.what, self.lines = os.path.realpath(root), 0, [], []
        self.nodes, self.fds = {}, {}
        self.given = {}  # path: when it got this content, and what (None: the name is gone)
        self.top = self.read(self.root, "")

    def read(self, path, name):
        """What is there before."""
        info = os.lstat(path)
        if info.st_ino in self.nodes:
            node = self.nodes[info.st_ino]  # another name of it
        elif os.path.isdir(path):
            node = self.nodes[info.st_ino] = Node(
                {one: self.read(os.path.join(path, one), (name + "/" + one).lstrip("/"))
                 for one in sorted(os.listdir(path))})
        else:
            with open(path, "rb") as file:
                node = self.nodes[info.st_ino] = Node(file.read())
        if matters(name):
            self.given[name] = [(-2, value(node))]
        return node

    def find(self, path):
        """(path below the folder, the folder it is in, name, node or None); None: it is elsewhere.
        """
        path = os.path.normpath(path.decode())
        if path != self.root and not path.startswith(self.root + "/"):
            return None
        below = path[len(self.root) + 1:]
        node, parent, parts = self.top, None, below.split("/") if below else []
        for i, part in enumerate(parts):
            parent, node = node, node.contents[-1].get(part)
            if node is None and i + 1 < len(parts):
                return None
        return below, parent, parts[-1] if parts else "", node

    def did(self, node, change, text):
        """change None: it is synced."""
        if change is None:
            node.syncs.append(self.number)
        else:
            node.change(self.number, change)
        self.number += 1
        self.what.append(text)

    def name(self, path, node):
        """It has that name now; None: nothing has."""
        if matters(path):
            self.given.setdefault(path, []).append((self.number, node and value(node)))

    def run(self, *args):
        trace = self.root + ".trace"
        done = subprocess.run(
            ["strace", "-f", "-xx", "-s", "1000000", "-o", trace, "-e",
             "trace=" + ",".join("?" + name for name in CALLS.split())] +
            common.command("./train_bert", *args), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, env=ENV)
        if done.returncode:
            sys.exit("strace: exit code %d: %s" % (done.returncode, done.stderr.decode()))
        with open(trace) as file:
            for line in file:
                if "unfinished" in line or "resumed>" in line:
                    sys.exit("two threads: " + line)
                found = LINE.match(line)
                if found and int(found[3]) >= 0:
                    self.call(found[1], found[2], int(found[3]))
        os.remove(trace)

    def call(self, name, args, result):
        texts = [bytes.fromhex(x.replace("\\x", "")) for x in TEXT.findall(args)]
        words = TEXT.sub("", args).split(", ")
        fd = int(words[0]) if words[0].isdigit() else -1
        if name in ("open", "openat", "creat"):
            return self.opened(texts[0], args if name != "creat" else "O_CREAT|O_TRUNC", result)
        if name == "mmap":
            fd = int(words[4])
            return self.unknown(name, args) if fd in self.fds and "MAP_SHARED" in args else None
        if name in ("link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
                    "rmdir", "mkdir", "mkdirat"):
            where = [self.find(text) for text in texts]
            if any(where):
                self.named(re.sub("at2?$", "", name), *where)
            return None
        if name in ("sync", "truncate", "symlink", "symlinkat"):
            return self.unknown(name, args)
        if fd not in self.fds:
            return None
        file = self.fds[fd]
        node, path = file["node"], file["path"]
        if name == "close":
            del self.fds[fd]
        elif name == "read":
            file["at"] += result
        elif name == "lseek":
            file["at"] = result
        elif name == "write":
            if path.endswith("log.jsonl"):
                self.lines.append(self.number)
            self.did(node, (file["at"], texts[0][:result]), "write %s" % path)
            file["at"] += result
        elif name == "ftruncate":
            self.did(node, int(words[1]), "ftruncate %s" % path)
        elif name in ("fsync", "fdatasync"):
            self.did(node, None, "%s %s" % (name, path))
        elif name != "pread64":
            self.unknown(name, args)
        return None

    def unknown(self, name, args):
        sys.exit("%s(%.200s): not known here" % (name, args))

    def opened(self, text, flags, fd):
        where = self.find(text)
        self.fds.pop(fd, None)
        if not where:
            return
        path, folder, name, node = where
        if node is None:
            node = Node(b"")
            self.name(path, node)
            self.did(folder, {name: node}, "create " + path)
        elif "O_TRUNC" in flags and node.contents[-1]:
            self.did(node, 0, "truncate " + path)
        if "O_APPEND" in flags:
            self.unknown("open", flags)
        self.fds[fd] = {"node": node, "at": 0, "path": path}

    def named(self, call, first, second=None):
        path, folder, name, node = first
        text = " ".join([call, path] + ([second[0]] if second else []))
        if call in ("unlink", "rmdir"):
            self.name(path, None)
            self.did(folder, {name: None}, text)
        elif call == "mkdir":
            node = Node({})
            self.name(path, node)
            self.did(folder, {name: node}, text)
        elif second[3] is not node:  # else both are names of one file, and stay
            gone = {name: None} if call == "rename" else {}
            if second[1] is not folder and gone:
                self.unknown(call, text)
            if gone:
                self.name(path, None)
            self.name(second[0], node)
            self.did(second[1], dict(gone, **{second[2]: node}), text)


# ---------------------------------------------------------------------------- what a disk then has

class State:
    """Folders, and files: path -> (node, bytes)."""

    def __init__(self, about, folders, files):
        self.about, self.folders, self.files = about, tuple(sorted(folders)), files
        numbers = {}
        self.key = self.folders, tuple(
            (path, numbers.setdefault(id(node), len(numbers)), data)
            for path, (node, data) in sorted(files.items()))

    def put(self, root):
        shutil.rmtree(root, ignore_errors=True)
        os.makedirs(root)
        made = {}
        for folder in self.folders:
            os.mkdir(os.path.join(root, folder))
        for path, (node, data) in self.files.items():
            path = os.path.join(root, path)
            if id(node) in made:
                os.link(made[id(node)], path)
            else:
                made[id(node)] = write(path, data)

    def values(self):
        """Of all that matters."""
        found = {path: [] for path in self.folders if matters(path)}
        for path, (_, data) in self.files.items():
            folder, name = os.path.split(path)
            if folder in found:
                found[folder].append((name, data))
            elif matters(path):
                found[path] = data
        return {path: x if isinstance(x, bytes) else tuple(sorted(x)) for path, x in found.items()}


def data_of(node, synced, made, memo={}):
    """What a file may have of its data: how -> bytes."""
    key = id(node), synced, made
    if key not in memo:
        old, new = node.contents[synced], node.contents[made]
        parts = node.changes[synced:made]
        low = min([x if isinstance(x, int) else x[0] for x in parts] + [len(old), len(new)])
        half = (len(new) - low) // 2
        forms = {"all": new, "none": old, "zeros": new[:low] + bytes(len(new) - low),
                 "half": new[:low + half], "first half zeros":
                 new[:low] + bytes(half) + new[low + half:], "old end": new + old[len(new):]}
        memo[key] = node, {how: x for i, (how, x) in enumerate(forms.items())
                           if x not in list(forms.values())[:i]}
    return memo[key][1]


def choices(count):
    """Which of so many changes of names are there."""
    whole = range(count)
    if count <= SUBSETS:
        return [set(x) for n in range(count + 1) for x in itertools.combinations(whole, n)]
    found = [set(range(n)) for n in range(count + 1)]
    found += [{i} for i in whole] + [set(whole) - {i} for i in whole]
    return [x for i, x in enumerate(found) if x not in found[:i]]


def all_nodes(top):
    found, todo = {id(top): top}, [top]
    for node in todo:
        for names in node.contents if is_folder(node) else ():
            new = [one for one in names.values() if id(one) not in found]
            found.update((id(one), one) for one in new)
            todo += new
    return todo


def tree(top, names_of):
    """Folders, and files: path -> node."""
    folders, files, todo = [], {}, [("", top)]
    for path, node in todo:
        for name, one in names_of(node).items():
            below = (path + "/" + name).lstrip("/")
            if is_folder(one):
                folders.append(below), todo.append((below, one))
            else:
                files[below] = one
    return folders, files


def last_state(record):
    """That of a run that went on."""
    folders, files = tree(record.top, lambda node: node.contents[-1])
    return State("", folders, {path: (node, node.contents[-1]) for path, node in files.items()})


def states(record):
    """(end, State): a loss of power before that call; each once for what was promised by then."""
    seen = set()
    nodes = all_nodes(record.top)
    for end in range(record.number + 1):
        counts = {id(node): node.counts(end) for node in nodes}
        names = sorted(((node.changed[i], node, node.changes[i]) for node in nodes
                        if is_folder(node) for i in range(*counts[id(node)])), key=lambda x: x[0])
        for chosen in choices(len(names)):
            there = {id(node): node.contents[counts[id(node)][0]] for node in nodes}
            for _, node, change in (names[i] for i in sorted(chosen)):
                there[id(node)] = changed(there[id(node)], change)
            folders, files = tree(record.top, lambda node: there[id(node)])
            for how, data in forms(files, counts):
                about = "after call %d (%s), changes of names %s, data %s" % (
                    end, record.what[end - 1] if end else "none",
                    "".join("01"[i in chosen] for i in range(len(names))), how)
                state = State(about, folders,
                              {path: (node, data[id(node)]) for path, node in files.items()})
                key = state.key, bisect.bisect_left(record.lines, end), end == record.number
                if key not in seen:
                    seen.add(key)
                    yield end, state


def forms(files, counts):
    """The data that all files may have: how, {node: bytes}."""
    data = {id(node): data_of(node, *counts[id(node)]) for node in files.values()}
    usual = {key: how["all"] for key, how in data.items()}
    open_data = {key: how for key, how in data.items() if len(how) > 1}
    kinds = sorted({kind for how in open_data.values() for kind in how})
    yield "all", usual
    for kind in kinds:
        if kind != "all":
            yield kind, {**usual, **{k: how.get(kind, usual[k]) for k, how in open_data.items()}}
    names = {id(node): path for path, node in files.items()}
    for key, how in open_data.items() if len(open_data) > 1 else ():
        for kind in how:
            if kind != "all":
                yield "%s of %s alone" % (kind, names[key]), {**usual, key: how[kind]}


def lacks(record, end, state, foreign):
    """What is wrong with it, or None. foreign: what was there before is kept."""
    values = state.values()
    line = max([x for x in record.lines if x < end], default=-1)
    if end == record.number:
        line = end  # it had ended, and said so
    for path, is_now in values.items():
        if is_now not in [x for when, x in record.given.get(path, ()) if when < end and x]:
            return "%s is not whole" % path
    for path, given in record.given.items():
        before = [i for i, (when, _) in enumerate(given) if when < line]
        after = [x for i, (when, x) in enumerate(given) if when < end and i >= max(before + [0])]
        if before and None not in after and values.get(path) not in after:
            return "%s was done, and is %s" % (path, "an old one" if path in values else "gone")
    if end == record.number:
        for path, (node, data) in state.files.items():
            if path.endswith("log.jsonl") and data != node.contents[-1]:
                return "%s of a run that has ended is not whole" % path
    for path, given in record.given.items() if foreign else ():
        folder, name = os.path.split(path)
        if given[0][0] < 0 and given[0][1] not in (
                values.get(path), values.get(folder + "/earlier-" + name)):
            return "%s of the earlier run is lost" % path
    return None


# -------------------------------------------------------------------------------------------- runs

def content(root):
    """What has to be equal: path -> content."""
    found = {}
    for folder, _, names in os.walk(root):
        if "checkpoint-" in folder:
            continue
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root)
            if name in ("model.bin", "best.bin", "result.txt"):
                with open(os.path.join(folder, name), "rb") as file:
                    found[path] = file.read()
            elif name == "log.jsonl":
                try:
                    rows = common.read_log(folder)
                except ValueError:
                    rows = [{"not": "JSON"}]
                found[path] = [{key: x for key, x in row.items()
                                if not key.endswith(("_runtime", "_per_second"))} for row in rows]
            elif name.startswith("events.out"):
                events = os.path.relpath(folder, root) + ", most events of a file"
                found[events] = max(found.get(events, 0), records(os.path.join(folder, name)))
            elif name.endswith(".tmp"):
                found[path] = "left over"
    return found


def records(path):
    """How many events a file has."""
    with open(path, "rb") as file:
        data = file.read()
    at = count = 0
    while at + 12 <= len(data):
        size = struct.unpack_from("<Q", data, at)[0]
        if not size or at + 16 + size > len(data):
            break
        at, count = at + 16 + size, count + 1
    return count


class Runs:
    def __init__(self, folder):
        self.root = os.path.join(folder, "disk")
        self.data = [os.path.join(folder, name) for name in ("train.bin", "dev.bin")]
        for i, path in enumerate(self.data):
            text = "".join("a good film\tgood\nnot a good %s\tdull\n" % word
                           for word in "a film one is".split()[i:])
            source = write(path + ".tsv", text * 2)
            common.run("./tokenizer.py", "classification", source, path, "--model", MODEL,
                       *["--like", self.data[0]] * i)

    def flags(self, *more):
        return ["train", "--model", MODEL, "--train_file", self.data[0], "--eval_file",
                self.data[1], "--output_dir", self.root + "/runs/out", "--logging_dir",
                self.root + "/logs/one", "--logging_steps", 1, "--max_steps", 5,
                "--per_device_train_batch_size", 4, "--learning_rate", 0.01, *more]

    def go(self, *more):
        code, _, error = attempt("./train_bert", *self.flags(*more), env=ENV)
        return code and "exit code %d: %s" % (code, error.strip()[-300:])

    def power(self, name, flags, on=None, begin=None, foreign=False):
        """The power goes in a run with these flags. begin: makes what is there before; foreign:
        that is another run's, which it keeps. on: what is there is this run's end, and these are
        the flags that it goes on with; None: it resumes where it has a checkpoint."""
        shutil.rmtree(self.root, ignore_errors=True)
        os.makedirs(self.root)
        if begin and begin():
            sys.exit("%s: cannot begin" % name)
        before = content(self.root)
        record = Record(self.root)
        record.run(*self.flags(*flags))
        whole = content(self.root)
        last_state(record).put(self.root + ".end")
        wrong = subprocess.run(["diff", "-r", self.root, self.root + ".end"],
                               stdout=subprocess.PIPE).stdout
        check("%s: %d calls that change files, all of them understood" % (name, record.number),
              not wrong and record.number > 20, wrong)
        shutil.rmtree(self.root + ".end")
        others = {x for given in record.given.values() for when, x in given if when < 0}
        count, half, broken, other, loads = 0, [], [], [], {}
        if on is not None and before != whole:
            other.append("what the run itself came to")
        for end, state in states(record):
            count += 1
            problem = lacks(record, end, state, foreign)
            half += [(state.about, problem)] if problem else []
            state.put(self.root)
            mine = [(path, x) for path, x in state.values().items()
                    if "/checkpoint-" in path and not (foreign and x in others)]
            for path, x in mine:
                if x not in loads:
                    loads[x] = self.go(*flags, "--dry_run", "--resume_from_checkpoint",
                                       os.path.join(self.root, path))
                broken += [(state.about, path, loads[x])] if loads[x] else []
            problem = self.go(
                *flags, *["--resume_from_checkpoint"] * bool(mine) if on is None else on)
            if not problem:
                now = content(self.root)
                problem = [path for path in whole if now.get(path) != whole[path]] + [
                    path for path in now if now[path] == "left over"]
            other += [(state.about, problem)] if problem else []
        none("%s, %d states: what is there is whole, and what was done is there" % (name, count),
             half, count > 50)
        none("%s: every checkpoint loads" % name, broken)
        none("%s: goes on to the same bits" % name, other)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="runs whose name has that")
    args = parser.parse_args()
    if not shutil.which("strace"):
        sys.exit("power.py needs strace")
    tmpfs = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="power.", dir=tmpfs) as folder:
        runs = Runs(folder)
        measures = ["--eval_strategy", "steps", "--eval_steps", 2]
        saves = ["--save_strategy", "steps", "--save_steps", 2]
        best = measures + saves + ["--load_best_model_at_end"]
        limit = measures + saves + ["--save_total_limit", 1]
        alone = saves + ["--eval_strategy", "no"]
        seeds = measures + ["--seeds", "1,2"]
        resume = "--resume_from_checkpoint"

        def lost():
            """The power went in a first run, behind its first checkpoint."""
            record = Record(runs.root)
            record.run(*runs.flags(*limit))
            made = record.given["runs/out/checkpoint-2"][0][0]
            later = record.lines[bisect.bisect_left(record.lines, made) + 1]
            next(state for end, state in states(record)
                 if end == later and state.about.endswith("data half")).put(runs.root)

        for name, *how in (
                ("a first run", limit),
                ("a run in another's folder", alone, None, lambda: runs.go(
                    *measures, *saves, "--seed", 7), True),
                ("a run that goes on after a loss of power", limit + [resume], None, lost),
                ("a run that goes on from an earlier checkpoint, and takes the best",
                 best + [resume, runs.root + "/runs/out/checkpoint-2"], [], lambda: runs.go(*best)),
                ("two seeds again", seeds, [resume], lambda: runs.go(*seeds))):
            if args.only in name:
                runs.power(name, *how)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
