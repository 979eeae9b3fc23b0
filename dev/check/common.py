"""What the checks share: a count of expectations, a way to run programs, a reader of data.bin.

Standard library only (pipelines.py has what needs transformers). Importing it makes tokenizer.py,
dev/export_hf.py and dev/demo.py importable.
"""
import array
import json
import os
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


def write(path, content):
    """bytes, text, or what becomes JSON; the path."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if not isinstance(content, (bytes, str)):
        content = json.dumps(content)
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read_lines(path):
    """The first column of each line that is not empty."""
    with open(path, encoding="utf-8") as file:
        return [line.split("\t")[0] for line in file.read().split("\n") if line]


def read_data(path):
    """A data.bin as the byte table has it."""
    with open(path, "rb") as file:
        raw = file.read()
    w = struct.unpack_from("<256I", raw)
    u64 = lambda k: w[k] | w[k + 1] << 32
    d = types.SimpleNamespace(task=w[2], multi=w[3], K=w[4], labelled=w[5], n=u64(6), N=u64(8),
                              longest=w[10], max_length=w[14], stride=w[21], groups=w[22], v2=w[25])
    assert w[:2] == (0x44545242, 1) and u64(30) == len(raw), path
    used = set(range(17)) | set(range(17, 26)) | {30, 31}
    assert not any(x for k, x in enumerate(w) if k not in used), "words that are not zero"
    ner, qa, pretraining = d.task == 3, d.task == 4, d.task == 6
    at = 1024

    def section(size):
        nonlocal at
        data = raw[at:at + size]
        assert len(data) == size and not any(raw[at + size:at + (size + 7) // 8 * 8])
        at += (size + 7) // 8 * 8
        return data

    def numbers(code, count, data=None):
        data = section(count * array.array(code).itemsize) if data is None else data
        return list(array.array(code, data))

    def strings(count, data):
        ends = numbers("Q", 0, data[:8 * (count + 1)])
        assert count == 0 and not data or ends[-1] == len(data) - 8 * (count + 1)
        return [data[8 * (count + 1):][a:b].decode("utf-8") for a, b in zip(ends, ends[1:])]

    cut = lambda items: [items[a:b] for a, b in zip(d.offsets, d.offsets[1:])]
    d.names = strings(d.K, section(u64(15)))
    d.offsets = numbers("Q", d.n + 1)
    d.tokens = cut(numbers("i", d.N))
    d.segments = numbers("i", d.n)
    labels = section(u64(17))
    if d.labelled and d.multi:
        ends = numbers("Q", 0, labels[:8 * (d.n + 1)])
        flat = numbers("i", 0, labels[8 * (d.n + 1):])
        d.labels = [flat[a:b] for a, b in zip(ends, ends[1:])]
    elif d.labelled:
        d.labels = numbers("f" if d.task == 2 else "i", 0, labels)
        d.labels = cut(d.labels) if ner else list(zip(d.labels[::2], d.labels[1::2])) if qa \
            else d.labels
        assert len(d.labels) == d.n
    else:
        assert not labels
    d.texts = strings(d.groups if qa else d.n if ner else 0, section(u64(19)))
    spans = numbers("i", 2 * d.N if ner or qa else 0)
    d.spans = cut(list(zip(spans[::2], spans[1::2])))
    if pretraining:
        d.documents = numbers("Q", d.groups + 1)
    else:
        d.words = numbers("i", d.N if ner else d.n if qa else 0)
        d.words = cut(d.words) if ner else d.words
    golds = section(u64(23))
    if qa:
        counts, start = numbers("i", 0, golds[:4 * d.groups]), (4 * d.groups + 7) // 8 * 8
        flat = strings(2 * d.groups + sum(counts), golds[start:])
        d.questions, k = [], 0  # (id, text, answers)
        for count in counts:
            d.questions.append((flat[k], flat[k + 1], flat[k + 2:k + 2 + count]))
            k += 2 + count
    assert at == len(raw), "%d bytes left over" % (len(raw) - at)
    assert d.longest == max(map(len, d.tokens))
    return d
