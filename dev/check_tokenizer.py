#!/usr/bin/env python3
"""Compare tokenizer.py with the live Hugging Face tokenizer: ids, types, offsets, normalized text.

    python3 dev/check_tokenizer.py HF_DIR [text files]      about 2 minutes on one core
    python3 dev/check_tokenizer.py HF_DIR --quick           some 10 seconds
    python3 dev/check_tokenizer.py HF_DIR --all             every code point under every setting

Needs the pinned transformers and tokenizers (dev/requirements.txt). Beside the vocabulary of
HF_DIR, under which most strange characters are just [UNK], it uses one that has a token for every
character that the Unicode table knows, so that what a character became can be seen in the ids.
"""
import argparse
import glob
import itertools
import os
import random
import sys
import time
import zlib

os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from tokenizers import AddedToken, normalizers  # noqa: E402
from transformers import AutoTokenizer, BertTokenizer  # noqa: E402
import tokenizer as ours  # noqa: E402

SHARED = os.path.join(os.path.dirname(HERE), "..", "shared", "data")
UNCASED, CASED = (True, None, True), (False, None, True)
SETTINGS = [UNCASED, CASED] + [s for s in itertools.product((True, False), (True, False),
                                                            (True, False))
                               if s not in ((True, True, True), (False, False, True))]
passed = failed = 0


def same(what, got, expected, text):
    global passed, failed
    if got == expected:
        passed += 1
        return True
    failed += 1
    if failed <= 20:
        print("FAILED %s: %a\n    ours    %a\n    theirs  %a" % (what, text[:200], got, expected))
    return False


class Both:
    """The same tokenizer twice: Hugging Face's and ours."""

    def __init__(self, vocab, unicode, settings, added=()):
        self.lower, self.strip, self.chinese = settings
        self.name = "lower %s, strip %s, chinese %s" % settings
        vocab = list(vocab)
        self.hf = BertTokenizer(vocab={t: i for i, t in enumerate(vocab)},
                                do_lower_case=self.lower, strip_accents=self.strip,
                                tokenize_chinese_chars=self.chinese, model_max_length=10**9)
        if added:
            self.hf.add_tokens([t for t in added if not t.special])
            self.hf.add_tokens([t for t in added if t.special], special_tokens=True)
        self.rust = self.hf.backend_tokenizer
        found = self.hf.added_tokens_decoder
        flags = [(i, t.special | t.single_word << 1 | t.lstrip << 2 | t.rstrip << 3
                  | t.normalized << 4 | (i >= len(vocab)) << 5) for i, t in sorted(found.items())]
        vocab += [found[i].content for i in sorted(found) if i >= len(vocab)]
        self.ours = ours.Tokenizer(vocab, unicode, self.lower, self.strip, self.chinese,
                                   added=flags)

    @classmethod
    def of_files(cls, hf, model):
        self = cls.__new__(cls)
        self.hf, self.rust, self.name = hf, hf.backend_tokenizer, model
        self.ours = ours.Model(model)
        self.rust.no_truncation()  # tokenizer.json may carry both
        self.rust.no_padding()
        return self

    def check(self, text, normal=False):
        theirs = self.rust.encode(text)
        e = self.ours.encode(text)
        same("encode, " + self.name, (e.ids, e.types, e.offsets),
             (theirs.ids, theirs.type_ids, theirs.offsets), text)
        if normal:
            same("normalize, " + self.name, self.ours.normalize(text)[0],
                 self.rust.normalizer.normalize_str(text), text)

    def check_cut(self, a, b, max_length):
        # As lists, as Trainer's data sets are tokenized: outside of a list transformers takes an
        # empty second text for none.
        theirs = self.hf([a], None if b is None else [b], truncation=True, max_length=max_length,
                         return_offsets_mapping=True)
        e = self.ours.encode(a, b, max_length)
        same("max_length %d, %s" % (max_length, self.name), (e.ids, e.types, e.offsets),
             (theirs["input_ids"][0], theirs["token_type_ids"][0], theirs["offset_mapping"][0]),
             a if b is None else a + " || " + b)


def code_points(unicode, all_of_them):
    """All code points, or all but most of the inner ones of long stretches of the same kind."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    if all_of_them:
        return points
    edges = {c + d for first, last, _ in unicode.ranges for c in (first, last) for d in (-1, 0, 1)}
    short = {c for first, last, _ in unicode.ranges if last - first < 500
             for c in range(first, last + 1)}
    maps = set(map(ord, unicode.nfd)) | set(map(ord, unicode.lower))
    keep = edges | short | maps
    return [c for c in points if c in keep or c < 0x800 or c % 61 == 0]


def check_code_points(both, points):
    """Alone, between letters, and after a letter with an accent; many to a string, since the
    blanks between them keep them apart."""
    for start in range(0, len(points), 256):
        part = [chr(c) for c in points[start:start + 256]]
        for form in ("%s", "a%sb", "\u00e9%s"):
            text = " ".join(form % c for c in part)
            both.check(text, normal=True)
    both.ours.cache.clear()


def random_text(rng, unicode, specials):
    """Scripts, marks, emoji with joiners, controls, brackets, special tokens, long words."""
    marks = random_text.marks
    def some(first, last):
        return chr(rng.randint(first, last))
    kinds = [
        lambda: some(0x61, 0x7A), lambda: some(0x41, 0x5A), lambda: some(0x20, 0x7E),
        lambda: some(0xA0, 0x24F), lambda: some(0x370, 0x52F), lambda: some(0x590, 0x6FF),
        lambda: some(0x900, 0xDFF), lambda: some(0xE00, 0xFFF), lambda: some(0x1E00, 0x1FFF),
        lambda: some(0x2000, 0x20FF), lambda: some(0x3000, 0x30FF), lambda: some(0x4E00, 0x9FFF),
        lambda: some(0xAC00, 0xD7A3), lambda: some(0x1100, 0x11FF), lambda: some(0xF900, 0xFAFF),
        lambda: rng.choice(marks), lambda: "".join(rng.choices(marks, k=rng.randint(2, 6))),
        lambda: rng.choice("\U0001F600\U0001F468\u200d\U0001F469\u200d\U0001F467\ufe0f\u20e3"
                           "\U0001F3FD\U0001F1E9\U0001F1EA\u2764"),
        lambda: chr(rng.randint(0, 0x1F)), lambda: rng.choice("\u200b\u200e\ufeff\ufffd\ue000\xad"),
        lambda: rng.choice("\u00a0\u2028\u3000\u0085\t\n\r\x0b\x0c\x1c "), lambda: " ",
        lambda: rng.choice("[](){}#@'\"-_.,!?"), lambda: rng.choice(specials),
        lambda: chr(rng.choice((rng.randint(0, 0xD7FF), rng.randint(0xE000, 0x10FFFF)))),
        lambda: "".join(some(0x61, 0x7A) for _ in range(rng.randint(2, 9))),
        lambda: rng.choice("ax\u00e9\u4e00\u0323") * rng.choice((99, 100, 101, 102, 103, 120)),
        lambda: rng.choice(("\u0130", "\u1e9e", "\u03a3", "\ufb01", "\u212b", "\u0344", "\u0f73",
                            "\u1f82", "\U0001D15E", "\u01c4", "\ufb2c", "\u0958", "\u2126"))]
    weights = [10, 3, 4] + [3] * 22 + [8, 0.3, 2]
    weights += [1] * (len(kinds) - len(weights))
    if rng.random() < 0.5:  # half of the strings from few kinds, where these meet one another
        chosen = rng.sample(range(len(kinds)), 4)
        kinds, weights = [kinds[k] for k in chosen], [weights[k] for k in chosen]
    return "".join(make() for make in rng.choices(kinds, weights, k=rng.randint(1, 40)))


def random_added(rng):
    # None that normalizes to nothing: the library panics on the empty pattern. No two that
    # normalize alike: the library takes one of them by chance, another in the next process.
    contents = ["<x>", "<x>y", "Foo", "f\u00f6", "new york", " pad ", "[E1]", "\u4e00x", "abc",
                "b c", "##a", "[MASK]", "the", "\u0130", "Q", "a\u200bb", "na\u00efve", "_w_"]
    return [AddedToken(c, single_word=rng.random() < 0.4, lstrip=rng.random() < 0.4,
                       rstrip=rng.random() < 0.4, normalized=rng.random() < 0.5,
                       special=rng.random() < 0.3) for c in rng.sample(contents, 6)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="Hugging Face folder whose vocabulary is used")
    parser.add_argument("texts", nargs="*", help="text files to compare on, line by line")
    parser.add_argument("--model", help="model.bin that dev/export_hf.py made of the folder: "
                        "compare its tokenizer with the folder's, too")
    parser.add_argument("--quick", action="store_true", help="a reduced run")
    parser.add_argument("--all", action="store_true", help="every code point, every setting")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    share = 20 if args.quick else 1
    rng, began = random.Random(args.seed), time.time()

    with open(os.path.join(HERE, "unicode.bin.z"), "rb") as file:
        unicode = ours.Unicode(zlib.decompress(file.read()))
    folder = AutoTokenizer.from_pretrained(args.folder)
    vocab = [t for t, _ in sorted(folder.get_vocab().items(), key=lambda item: item[1])]
    few = code_points(unicode, False)
    chars = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    chars += [prefix + chr(c) for c in few for prefix in ("", "##") if prefix or chr(c).strip()]
    random_text.marks = [chr(c) for c in few if unicode[chr(c)] >> 8]

    def done(what):
        print("%-34s %9d passed, %d failed, %.0f s" % (what, passed, failed, time.time() - began),
              flush=True)

    # Real text.
    files = list(args.texts)
    shared = sorted(glob.glob(os.path.join(SHARED, "*", "*.*")))
    if shared:
        files += shared
    else:
        print("skipped: %s is not there" % os.path.normpath(SHARED))
    tokenizers = [Both(vocab, unicode, settings) for settings in (UNCASED, CASED)]
    if args.model:
        tokenizers.append(Both.of_files(folder, args.model))
    for both in tokenizers:
        for path in files:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in itertools.islice(file, None if share == 1 else 200):
                    both.check(line)
    done("%d text files" % len(files))

    # Every code point.
    for settings in SETTINGS:
        main_ones = settings in (UNCASED, CASED)
        points = code_points(unicode, args.all or main_ones and not args.quick)
        if args.quick:
            points = points[::1 if settings == UNCASED else 12]
        check_code_points(Both(chars, unicode, settings), points)
        done("%d code points, %s %s %s" % ((len(points),) + settings))

    # Every mark before and behind one of each combining class.
    nfd, both = normalizers.NFD().normalize_str, Both(vocab, unicode, UNCASED)
    classes = {unicode[mark] >> 8: mark for mark in random_text.marks}
    for a, b in itertools.product(random_text.marks, classes.values()):
        for text in ("a" + a + b, "a" + b + a):
            same("NFD", "".join(both.ours.nfd(text, [0] * 3)[0]), nfd(text), text)
    done("%d marks, %d classes" % (len(random_text.marks), len(classes)))

    # Random strings: alone, in pairs, cut.
    specials = ["[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]", "[mask]", "[MASK", "MASK]"]
    for settings in SETTINGS:
        for words in (chars, vocab):
            both = Both(words, unicode, settings)
            for _ in range((4000 if settings in (UNCASED, CASED) else 1500) // share):
                both.check(random_text(rng, unicode, specials), normal=True)
            for _ in range(800 // share):
                a, b = (random_text(rng, unicode, specials) for _ in "ab")
                for pair in (None, b):
                    low = 2 if pair is None else 3
                    both.check_cut(a, pair, rng.choice((rng.randint(low, 12),
                                                        rng.randint(low, 90))))
    both = Both(vocab, unicode, UNCASED)
    for n, m, k in itertools.product(range(8), range(8), range(3, 16)):
        both.check_cut("a " * n, "b " * m, k)
    done("random strings, pairs, cuts")

    # Added tokens with every flag.
    for _ in range(300 // share):
        added = random_added(rng)
        both = Both(dict.fromkeys(chars[:300] + vocab[1000:3000]),
                    unicode, rng.choice(SETTINGS), added)
        words = [t.content for t in added] + [t.content.upper() for t in added] + specials
        for _ in range(60):
            glue = rng.choice(("", " ", "\u00a0", "\t\x0b", "_", "\u0301", "z", "\u200d"))
            both.check(glue.join(rng.choice((rng.choice(words), random_text(
                rng, unicode, words)[:3])) for _ in range(rng.randint(1, 8))))
    for late in (False, True):
        both = Both(chars[:300], unicode, CASED, [
            AddedToken("Q", single_word=True, normalized=late),
            AddedToken("J", lstrip=True, rstrip=True, normalized=late)])
        for c in few[::share]:
            both.check("%sQ %sJ%s Q%s" % ((chr(c),) * 4))
    done("added tokens")
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
