"""What the checks share: a count of expectations, a way to run programs, a reader of data.bin.

Standard library only (pipelines.py has what needs transformers). Importing it makes tokenizer.py,
dev/export_hf.py and dev/demo.py importable.
"""
import array
import glob
import json
import os
import shutil
import struct
import subprocess
import sys
import types

DEV = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(DEV)
SHARED = os.path.join(ROOT, "..", "shared", "data")  # real data sets, where they are there
sys.path[:0] = [DEV, ROOT]

# ----------------------------------------------------------------------------------- expectations

passed = failed = 0


def count(good):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    return bool(good)


def check(name, good, why=""):
    """One expectation that is worth a line."""
    count(good)
    print("ok    " + name if good else "FAIL  %s: %s" % (name, why), flush=True)
    return bool(good)


def wrong(name, problem):
    """The same, of what is wrong, if anything is."""
    return check(name, not problem, "%.600s" % (problem,))


def none(name, wrong, enough=True):
    """The same of many cases; wrong: those that differ; enough: whether there were as many as
    there should be."""
    why = "%d differ, first %s" % (len(wrong), wrong[0]) if wrong else "too few cases"
    return check(name, not wrong and enough, why)


def same(what, got, expected, about=""):
    """One of very many expectations: only a failure gets lines, and the first 20 of them."""
    if not count(got == expected) and failed <= 20:
        print("FAILED %s: %a\n    ours    %a\n    theirs  %a" % (what, about[:200], got, expected))
    return got == expected


def so_far(what):
    print("%-34s %7d passed, %d failed" % (what, passed, failed), flush=True)


def finish():
    """The last line, which .ci/run counts; the exit code."""
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


def differs(shown, printed, alike):
    """The first of some lines that another program did not print at its place, and what it did
    (None: nothing more); None where all are there. A line "..." stands for any lines."""
    at, anywhere = 0, False
    for line in shown:
        if line.strip() == "...":
            anywhere = True
            continue
        while anywhere and at < len(printed) and not alike(line, printed[at]):
            at += 1
        if at == len(printed) or not alike(line, printed[at]):
            return line, printed[at] if at < len(printed) else None
        at, anywhere = at + 1, False
    return None


# --------------------------------------------------------------------------------- programs, files

def command(name, *args):
    """./NAME is this repository's, whatever folder one is in."""
    path = os.path.join(ROOT, name[2:]) if name.startswith("./") else name
    return [sys.executable] * name.endswith(".py") + [path] + [str(a) for a in args]


def attempt(name, *args, stdin="", env=None):
    """(exit code, stdout, stderr); line ends stay as they are."""
    done = subprocess.run(command(name, *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          input=stdin if isinstance(stdin, bytes) else stdin.encode(), env=env)
    return done.returncode, done.stdout.decode(), done.stderr.decode("utf-8", "replace")


def run(name, *args, stdin=""):
    """stdout of what has to succeed."""
    code, out, error = attempt(name, *args, stdin=stdin)
    if code:
        sys.exit("exit code %d: %s\n%s%s" % (code, " ".join(command(name, *args)), out, error))
    return out


def build(name, folder):
    """The program of dev/check/NAME.c, in that folder."""
    program = os.path.join(folder, name)
    subprocess.run([os.environ.get("CC", "cc"), "-std=c99", "-O1", "-ffp-contract=off",
                    os.path.join(DEV, "check", name + ".c"), "-o", program, "-lm"], check=True)
    return program


def copy_of_tree(folder):
    """What tests are built from and read, in a folder where it may be changed -> the C files."""
    names = [os.path.relpath(path, ROOT)
             for path in glob.glob(os.path.join(ROOT, "**", "*.[ch]"), recursive=True)]
    for name in names + ["LICENSE", "README.md", "readme_example", "manual_1",
                         "dev/page/inspect.html"]:
        if os.path.exists(os.path.join(ROOT, name)):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            shutil.copy(os.path.join(ROOT, name), os.path.join(folder, name))
    os.symlink(os.path.join(DEV, "fixtures"), os.path.join(folder, "dev", "fixtures"))
    return names


def read_log(folder):
    """The rows of a training's log.jsonl."""
    with open(os.path.join(folder, "log.jsonl"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def write(path, content):
    """bytes, text, or what becomes JSON; the path."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if not isinstance(content, (bytes, str)):
        content = json.dumps(content)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def tiny_bert(cls, draw, seed=1, **config):
    """A random BERT, every tensor of it by draw(key, tensor): no bias or LayerNorm is left at its
    start, so none can be lost unseen. cls: a class of transformers."""
    import torch
    import transformers
    torch.manual_seed(seed)
    model = cls(transformers.BertConfig(**config)).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(draw(key, p))
    return model


def wide(key, p):
    """draw of tiny_bert: deviation 0.3."""
    return p.normal_(0, 0.3)


def read_lines(path):
    """The first column of each line that is not empty."""
    with open(path, encoding="utf-8") as file:
        return [line.split("\t")[0] for line in file.read().split("\n") if line]


# A data.bin's sections by their kinds, written from the byte table in dev/driver/data.h: the
# elements' typecode, or None: strings, which take two kinds.
SECTIONS = {1: ("names", None), 3: ("offsets", "Q"), 4: ("tokens", "i"), 5: ("segments", "i"),
            6: ("labels", "i"), 7: ("sets", "Q"), 8: ("set_labels", "i"), 9: ("targets", "f"),
            10: ("tags", "i"), 11: ("positions", "i"), 12: ("texts", None), 14: ("spans", "i"),
            15: ("words", "i"), 16: ("groups", "Q"), 17: ("ids", None), 19: ("questions", None),
            21: ("answers", "Q"), 22: ("golds", None)}


def read_data(path):
    """A data.bin as the byte table has it; what belongs to an example or question is cut for it."""
    with open(path, "rb") as file:
        raw = file.read()
    w = struct.unpack_from("<256I", raw)
    u64 = lambda k: w[k] | w[k + 1] << 32
    d = types.SimpleNamespace(task=w[2], multi=w[3], K=w[4], labelled=w[5], n=u64(6), N=u64(8),
                              longest=w[10], max_length=w[14], stride=w[15], v2=w[16],
                              groups=w[17], A=u64(18))
    assert w[:2] == (0x44545242, 2) and u64(30) == len(raw), path
    assert not any(w[21:30] + w[32:]), "words that are not zero"
    at, parts, found = 1024 + 24 * w[20], {}, {}
    for entry in struct.iter_unpack("<iiQQ", raw[1024:at]):
        kind, element, count, begin = entry
        code = "QifB"[element - 1]
        end = begin + count * array.array(code).itemsize
        assert begin == at and kind not in found and end <= len(raw), entry
        found[kind] = code, raw[begin:end]
        at = (end + 7) // 8 * 8
        assert not any(raw[end:at]), "padding"
    assert at == len(raw), "%d bytes left over" % (len(raw) - at)
    for kind, (name, code) in SECTIONS.items():
        if kind not in found:
            continue
        element, data = found.pop(kind)
        assert element == (code or "Q"), (name, element)
        parts[name] = list(array.array(element, data))
        if code is None:
            element, data = found.pop(kind + 1)
            ends = parts[name]
            assert element == "B" and ends[0] == 0 and ends[-1] == len(data), name
            parts[name] = [data[a:b].decode("utf-8") for a, b in zip(ends, ends[1:])]
    assert not found, "unknown kinds %s" % list(found)
    part = lambda name: parts.get(name, [])
    cut = lambda items, ends: [items[a:b] for a, b in zip(ends, ends[1:])]
    twos = lambda items: list(zip(items[::2], items[1::2]))
    d.names, d.texts, d.segments, d.offsets = map(part, ("names", "texts", "segments", "offsets"))
    d.tokens, d.spans = cut(part("tokens"), d.offsets), cut(twos(part("spans")), d.offsets)
    d.labels = part("labels") or part("targets") or cut(part("set_labels"), part("sets")) \
        or twos(part("positions")) or "tags" in parts and cut(parts["tags"], d.offsets)
    assert bool(d.labels) == d.labelled and (not d.labelled or len(d.labels) in (d.n, d.groups))
    d.documents = part("groups")
    windows = enumerate(zip(d.documents, d.documents[1:]))
    d.words = cut(part("words"), d.offsets) if "words" in parts else [
        group for group, (a, b) in windows for _ in range(a, b)]
    d.questions = list(zip(part("ids"), part("questions"), cut(part("golds"), part("answers"))))
    assert len(d.names) == d.K and len(d.offsets) == d.n + 1 and sum(map(len, d.tokens)) == d.N
    assert max(0, len(d.documents) - 1) == d.groups and len(part("golds")) == d.A
    assert d.longest == max(map(len, d.tokens))
    return d
