#!/usr/bin/env python3
"""Compare bert.h's tokenizer and tokenizer.py with the live Hugging Face tokenizer: ids, types,
offsets, words, normalized text, truncation, windows, decoding.

    python3 dev/check/wordpiece.py HF_DIR [text files]      some minutes on one core
    python3 dev/check/wordpiece.py HF_DIR --quick           some 10 seconds
    python3 dev/check/wordpiece.py HF_DIR --all             every code point under every setting
    python3 dev/check/wordpiece.py HF_DIR --only random --count 1000000 --no_python
    python3 dev/check/wordpiece.py HF_DIR --fixture dev/fixtures/tokenizer.bin

Needs the pinned transformers and tokenizers (dev/requirements.txt) and a C compiler. Beside the
vocabulary of HF_DIR, under which most strange characters are just [UNK], it uses one that has a
token for every character that the Unicode table knows, so that what a character became can be seen
in the ids.
"""
import argparse
import codecs
import ctypes
import glob
import itertools
import os
import random
import shlex
import struct
import sys
import tempfile
import zlib

import numpy as np

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import AddedToken, normalizers  # noqa: E402
from transformers import AutoTokenizer, BertTokenizer  # noqa: E402

from common import DEV, ROOT, SHARED, count, finish, run, same, so_far  # noqa: E402
import tokenizer as ours  # noqa: E402  (common.py says where it is)

UNCASED, CASED = (True, None, True), (False, None, True)
SETTINGS = [UNCASED, CASED] + [s for s in itertools.product((True, False), (True, False),
                                                            (True, False))
                               if s not in ((True, True, True), (False, False, True))]


# ------------------------------------------------------------------------------- bert.h by ctypes

class Span(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("start", "end", "char_start", "char_end", "word",
                                                  "text")]


class Encoding(ctypes.Structure):
    _fields_ = [("B", ctypes.c_int), ("N", ctypes.c_int), ("tokens", ctypes.POINTER(ctypes.c_int)),
                ("types", ctypes.POINTER(ctypes.c_int)), ("offsets", ctypes.POINTER(ctypes.c_int)),
                ("spans", ctypes.POINTER(ctypes.c_int)), ("cut", ctypes.c_int),
                ("message", ctypes.c_char * 256), ("room", ctypes.c_size_t * 4),
                ("work", ctypes.c_void_p)]


class Options(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("max_length", "truncation", "windows", "stride",
                                                  "no_special", "is_words", "at_once")]


class Text(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char_p), ("size", ctypes.c_size_t)]


HOW = {"longest_first": 0, "only_first": 1, "only_second": 2, None: 3}


def library():
    """dev/check/tokenize.c, built with CC and ARCH."""
    if not hasattr(library, "lib"):
        library.folder = tempfile.TemporaryDirectory()
        path = os.path.join(library.folder.name, "tokenize.so")
        run(*shlex.split(os.environ.get("CC", "cc")), "-std=c99", "-O2", "-shared", "-fPIC",
            *shlex.split(os.environ.get("CHECK_CFLAGS", "")), "-D_POSIX_C_SOURCE=200809L",
            "-I" + ROOT, os.path.join(DEV, "check", "tokenize.c"), "-o", path, "-lm")
        library.lib = lib = ctypes.CDLL(path)
        lib.tok_open.restype = lib.tok_load.restype = ctypes.c_void_p
        sizes = [ctypes.sizeof(t) for t in (Span, Encoding, Options, Text)]
        assert list((ctypes.c_int * 4).in_dll(lib, "tok_sizes")) == sizes, "bert.h's structs differ"
        lib.tok_time.restype, lib.bert_decode.restype = ctypes.c_double, ctypes.c_size_t
        lib.tok_close.argtypes = [ctypes.c_void_p]
    return library.lib


class Native:
    """A model's tokenizer in C; model: a path, or the bytes of a model.bin."""

    def __init__(self, model):
        why = ctypes.create_string_buffer(512)
        self.lib, self.e = library(), Encoding()
        if isinstance(model, bytes):
            self.m = self.lib.tok_open(model, ctypes.c_size_t(len(model)), why)
        else:
            self.m = self.lib.tok_load(model.encode(), why)
        if not self.m:
            raise SystemExit(why.value.decode())

    def __del__(self):
        if getattr(self, "m", None):
            self.lib.bert_encoding_free(ctypes.byref(self.e))
            self.lib.tok_close(self.m)

    @staticmethod
    def texts(text):
        """str, bytes, or a list of words: what bert_encode_texts takes."""
        if text is None:
            return None, 0
        parts = text if isinstance(text, list) else [text]
        parts = [part.encode() if isinstance(part, str) else part for part in parts]
        return (Text * len(parts))(*(Text(part, len(part)) for part in parts)), len(parts)

    def failed(self, text, pair=None, max_length=0, how=None, windows=0, stride=0, special=True):
        """Encodes into self.e; true where that is refused."""
        e, words = self.e, isinstance(text, list)
        options = Options(max_length, HOW[how], windows, stride, not special, words)
        self.lib.bert_encoding_clear(ctypes.byref(e))
        return self.lib.bert_encode_texts(ctypes.c_void_p(self.m), ctypes.byref(e),
                                          *self.texts(text), *self.texts(pair),
                                          ctypes.byref(options))

    def encode(self, *how, **more):
        """[(ids, types, offsets, words, which text, byte offsets)], or the error's message."""
        e, result = self.e, []
        if self.failed(*how, **more):
            return e.message.decode()
        for b in range(e.B):
            i, j = e.offsets[b:b + 2]
            s = e.spans[6 * i:6 * j]
            result.append((e.tokens[i:j], e.types[i:j], list(zip(s[2::6], s[3::6])), s[4::6],
                           s[5::6], list(zip(s[0::6], s[1::6]))))
        return result

    def decode(self, ids, skip, clean):
        room = 1 << 16
        out = ctypes.create_string_buffer(room)
        n = self.lib.bert_decode(ctypes.c_void_p(self.m), out, ctypes.c_size_t(room),
                                 (ctypes.c_int * len(ids))(*ids), len(ids), int(skip), int(clean))
        return out.raw[:n].decode()


def image(vocab, table, settings, added):
    """The bytes of a model.bin with this tokenizer, and a model of one channel."""
    V, strings = len(vocab), [token.encode() for token in vocab]
    sizes = [0] + list(itertools.accumulate(map(len, strings)))
    lower, strip, chinese = settings
    parameters = V + 8 + 1 + 2 + 16
    sections = [bytes(4 * parameters), b"",
                struct.pack("<%dQ" % len(sizes), *sizes) + b"".join(strings),
                b"".join(struct.pack("<ii", *pair) for pair in added), table]
    words = [0] * 256
    words[:10] = ours.MODEL_MAGIC, 2, V, 1, 1, 1, 1, 8, 1, 0
    words[20], words[25], words[27] = parameters, len(sections[2]), len(table)
    ids = [vocab.index(t) if t in vocab else 0 for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]",
                                                         "[MASK]")]
    words[32:43] = [V, lower, lower if strip is None else strip, chinese, 100] + ids + [len(added)]
    words[30] = 1024 + sum(ours.padded(len(section)) for section in sections)
    return struct.pack("<256i", *words) + b"".join(
        section + bytes(ours.padded(len(section)) - len(section)) for section in sections)


def byte_offsets(text):
    """Where each character begins in UTF-8, and the end."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (codes > 0x7F) + (codes > 0x7FF).astype(int) + (codes > 0xFFFF)
    return np.concatenate(([0], np.cumsum(sizes)))


def plain(e):
    """What Hugging Face's encoding has of the things that ours have."""
    word = [-1 if w is None else w for w in e.word_ids]
    text = [-1 if t is None else t for t in e.sequence_ids]
    return e.ids, e.type_ids, e.offsets, word, text


class Both:
    """The same tokenizer thrice: Hugging Face's, bert.h's and tokenizer.py's."""
    python = True  # whether tokenizer.py is compared

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
        self.count = len(vocab)
        self.image = image(vocab, unicode.table, settings, flags)
        self.native = Native(self.image)
        self.ours = ours.Tokenizer(vocab, unicode, self.lower, self.strip, self.chinese,
                                   added=flags)

    @classmethod
    def of_files(cls, hf, model):
        self = cls.__new__(cls)
        self.hf, self.rust, self.name = hf, hf.backend_tokenizer, model
        self.ours, self.native = ours.Model(model), Native(model)
        self.count = len(hf)
        self.rust.no_truncation()  # tokenizer.json may carry both
        self.rust.no_padding()
        return self

    def same_arrays(self, text, theirs):
        """Whether bert.h has one sequence and everything of it as theirs has it. As arrays, which
        takes a third of the time that lists of tuples take."""
        ids, types, offsets, words, which = theirs
        if self.native.failed(text) or self.native.e.B != 1 or self.native.e.N != len(ids):
            return False
        e, n = self.native.e, len(ids)
        spans = np.ctypeslib.as_array(e.spans, (n, 6))
        pairs = np.fromiter(itertools.chain.from_iterable(offsets), int, 2 * n).reshape(n, 2)
        return (e.tokens[:n] == ids and e.types[:n] == types and (spans[:, 2:4] == pairs).all()
                and spans[:, 4].tolist() == words and spans[:, 5].tolist() == which
                and (spans[:, :2] == byte_offsets(text)[pairs]).all())

    def check(self, text, normal=False):
        theirs = plain(self.rust.encode(text))
        if self.same_arrays(text, theirs):
            count(True)
        else:  # once more, to be shown
            got, at = self.native.encode(text), byte_offsets(text).tolist()
            same("C, " + self.name, got[0] if len(got) == 1 else got,
                 theirs + ([(at[a], at[b]) for a, b in theirs[2]],), text)
        if not self.python:
            return
        e = self.ours.encode(text)
        same("encode, " + self.name, (e.ids, e.types, e.offsets), theirs[:3], text)
        if normal:
            same("normalize, " + self.name, self.ours.normalize(text)[0],
                 self.rust.normalizer.normalize_str(text), text)

    def check_cut(self, a, b, max_length):
        # As lists, as Trainer's data sets are tokenized: outside of a list transformers takes an
        # empty second text for none.
        theirs = self.hf([a], None if b is None else [b], truncation=True, max_length=max_length,
                         return_offsets_mapping=True)
        theirs = tuple(theirs[key][0] for key in ("input_ids", "token_type_ids", "offset_mapping"))
        name = "max_length %d, %s" % (max_length, self.name)
        text = a if b is None else a + " || " + b
        e = self.ours.encode(a, b, max_length)
        same(name, (e.ids, e.types, e.offsets), theirs, text)
        got = self.native.encode(a, b, max_length, "longest_first")
        same("C, " + name, got[0][:3], theirs, text)

    def options(self, rng, a, b):
        """Random truncation, windows, special tokens for a and b, which may be lists of words:
        (max_length, how, windows, stride, special), and what the library makes of it: a list of
        encodings, or None where it refuses, or should."""
        words, special, how = isinstance(a, list), rng.random() < 0.8, rng.choice(list(HOW))
        extra = (2 if b is None else 3) * special
        theirs = lambda: self.rust.encode(a, b, is_pretokenized=words, add_special_tokens=special)
        full = theirs()
        max_length = extra + rng.choice((rng.randint(0, 8), rng.randint(0, len(full.ids) + 2)))
        windows = how is not None and rng.random() < 0.5
        if b is not None and windows and how == "longest_first":
            how = "only_first"
        room, lengths = max_length - extra, [full.sequence_ids.count(k) for k in (0, 1)]
        stride = rng.randint(0, max(0, min(room - 1, max_length - 3, 9))) if windows else 0
        chosen = max_length, how, windows, stride, special
        keep = lengths[how == "only_second"] - sum(lengths) + room
        if how is None or max_length == 0:  # of ours 0 is the model's P
            return chosen, [plain(full)] if how is None else []
        if sum(lengths) > room and windows and (room == 0 or 0 < keep <= stride):
            return chosen, None  # there the library panics, or leaves whole texts behind
        try:
            self.rust.enable_truncation(max_length, stride=stride, strategy=how)
            e = theirs()
            return chosen, list(map(plain, [e] + e.overflowing * windows))
        except Exception:
            return chosen, None
        finally:
            self.rust.no_truncation()

    def check_options(self, rng, a, b):
        chosen, expected = self.options(rng, a, b)
        got = self.native.encode(a, b, *chosen)
        if expected == []:
            return
        same("max_length %d, %s, windows %d, stride %d, special %d, " % chosen + self.name,
             None if isinstance(got, str) else [e[:5] for e in got], expected, repr((a, b)))

    def check_decode(self, ids):
        for skip, clean in itertools.product((False, True), (False, True)):
            same("decode, skip %d, clean %d" % (skip, clean), self.native.decode(ids, skip, clean),
                 self.hf.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean),
                 repr(ids))

    def check_bytes(self, data):
        """Text that is not UTF-8, replaced as Python does it."""
        bad = []
        codecs.register_error("note", lambda e: bad.append((e.start, e.end)) or ("\ufffd", e.end))
        text, at, bad_at = data.decode("utf-8", "note"), [0], dict(bad)
        for c in text:
            at.append(bad_at.get(at[-1], at[-1] + len(c.encode())))
        theirs = plain(self.rust.encode(text))
        same("bytes, " + self.name, self.native.encode(data),
             [theirs + ([(at[a], at[b]) for a, b in theirs[2]],)], repr(data))


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
    # [MASK] stays special: the library's decode would go by what it was before.
    contents = ["<x>", "<x>y", "Foo", "f\u00f6", "new york", " pad ", "[E1]", "\u4e00x", "abc",
                "b c", "##a", "[MASK]", "the", "\u0130", "Q", "a\u200bb", "na\u00efve", "_w_"]
    return [AddedToken(c, single_word=rng.random() < 0.4, lstrip=rng.random() < 0.4,
                       rstrip=rng.random() < 0.4, normalized=rng.random() < 0.5,
                       special=rng.random() < 0.3 or c == "[MASK]")
            for c in rng.sample(contents, 6)]


def random_bytes(rng, text):
    """A text's UTF-8 with damage."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        what = rng.randrange(4)
        if what == 0:
            data[at:at] = bytes(rng.choice((rng.randrange(256), 0x80, 0xBF, 0xC0, 0xC2, 0xE0, 0xED,
                                            0xEF, 0xF0, 0xF4, 0xF5, 0xFF)) for _ in range(3))
        elif what == 1:
            del data[at:at + 1]
        elif what == 2:
            data[at:at] = rng.choice((b"\xe0\x9f\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
                                      b"\xf0\x8f\xbf", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc1\xbf"))
        else:
            del data[rng.randint(0, len(data)):]
    return bytes(data)


class Checks:
    """The parts of the comparison; --only runs some of them."""

    def __init__(self, args):
        self.args, self.rng = args, random.Random(args.seed)
        self.share = args.share or (20 if args.quick else 1)
        with open(os.path.join(DEV, "unicode.bin.z"), "rb") as file:
            table = zlib.decompress(file.read())
        self.unicode = ours.Unicode(table)
        self.unicode.table = table
        self.folder = AutoTokenizer.from_pretrained(args.folder)
        self.vocab = [t for t, _ in sorted(self.folder.get_vocab().items(),
                                           key=lambda item: item[1])]
        self.few = code_points(self.unicode, False)
        self.chars = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        self.chars += [prefix + chr(c) for c in self.few for prefix in ("", "##")
                       if prefix or chr(c).strip()]
        random_text.marks = [chr(c) for c in self.few if self.unicode[chr(c)] >> 8]
        self.specials = ["[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]", "[mask]", "[MASK", "MASK]"]
        Both.python = not args.no_python

    def both(self, words, settings, added=()):
        return Both(words, self.unicode, settings, added)

    def text(self):
        return random_text(self.rng, self.unicode, self.specials)

    def real(self):
        """Real text, line by line."""
        files = list(self.args.texts)
        shared = sorted(glob.glob(os.path.join(SHARED, "*", "*.*")))
        if shared:
            files += shared
        else:
            print("skipped: %s is not there" % os.path.normpath(SHARED))
        tokenizers = [self.both(self.vocab, settings) for settings in (UNCASED, CASED)]
        if self.args.model:
            tokenizers.append(Both.of_files(self.folder, self.args.model))
        for both in tokenizers:
            for path in files:
                with open(path, encoding="utf-8", errors="replace") as file:
                    for line in itertools.islice(file, 0, None, self.share):
                        both.check(line)
        so_far("%d text files" % len(files))

    def points(self):
        """Every code point."""
        for settings in SETTINGS:
            if self.args.setting not in (None, SETTINGS.index(settings)):
                continue
            main_ones = settings in (UNCASED, CASED)
            points = code_points(self.unicode, self.args.all or main_ones and not self.args.quick)
            if self.args.quick:
                points = points[::1 if settings == UNCASED else 12]
            elif Both.python:  # the slow one of the three
                points = points[::self.share]
            check_code_points(self.both(self.chars, settings), points)
            so_far("%d code points, %s %s %s" % ((len(points),) + settings))

    def marks(self):
        """Every mark before and behind one of each combining class."""
        nfd, both = normalizers.NFD().normalize_str, self.both(self.chars, (False, True, False))
        classes = {self.unicode[mark] >> 8: mark for mark in random_text.marks}
        for a, b in itertools.product(random_text.marks, classes.values()):
            whole = self.rng.randrange(self.share) == 0
            for text in ("a" + a + b, "a" + b + a):
                same("NFD", "".join(both.ours.nfd(text, [0] * 3)[0]), nfd(text), text)
                if whole:
                    both.check(text)
        so_far("%d marks, %d classes" % (len(random_text.marks), len(classes)))

    def random(self):
        """Random strings: alone, in pairs, cut."""
        count = self.args.count or 28000 // self.share
        for settings in SETTINGS:
            for words in (self.chars, self.vocab):
                both = self.both(words, settings)
                for _ in range(count // 4 // (1 if settings in (UNCASED, CASED) else 3) // 2 + 1):
                    both.check(self.text(), normal=True)
                for _ in range(800 // self.share):
                    a, b = self.text(), self.text()
                    for pair in (None, b):
                        low = 2 if pair is None else 3
                        both.check_cut(a, pair, self.rng.choice((self.rng.randint(low, 12),
                                                                 self.rng.randint(low, 90))))
        both = self.both(self.vocab, UNCASED)
        for n, m, k in itertools.product(range(8), range(8), range(3, 16)):
            both.check_cut("a " * n, "b " * m, k)
        so_far("random strings, pairs, cuts")

    def options(self):
        """Truncation of each kind, windows, words, special tokens on and off."""
        rng, count = self.rng, self.args.count or 20000 // self.share
        for settings in (UNCASED, CASED):
            for words in (self.chars, self.vocab):
                both = self.both(words, settings)
                for _ in range(count // 4 + 1):
                    a, b = self.text(), rng.choice((None, "", self.text(), "x y z " * 9))
                    if rng.random() < 0.4:
                        a = a.split(" ") if rng.random() < 0.9 else []
                        b = None if b is None else b.split(" ")
                    both.check_options(rng, a, b)
        so_far("options")

    def decode(self):
        rng = self.rng
        for added in ((), random_added(rng), [AddedToken("do not"), AddedToken(" ' "),
                                              AddedToken("a . ? b n't", special=True)]):
            both = self.both(self.vocab, UNCASED, added)
            some = [both.rust.token_to_id(t) for t in (
                ".", ",", "!", "?", "'", "s", "re", "ve", "m", "n", "t", "do", "not", "##s", "##t",
                "[SEP]", "[MASK]", "##n", "a")]
            for _ in range(8000 // self.share):
                both.check_decode([rng.choice((rng.choice(some), rng.randrange(both.count + 40),
                                               both.count - 1 - rng.randrange(8)))
                                   for _ in range(rng.randint(0, 20))])
        so_far("decode")

    def bytes(self):
        for settings in (UNCASED, CASED):
            both = self.both(self.chars, settings)
            for _ in range((self.args.count or 20000 // self.share) // 2):
                both.check_bytes(random_bytes(self.rng, self.text()))
        for low, high in ((0x7F, 0x100), (0x70, 0x100)):  # every pair of bytes, triples at random
            for a, b in itertools.product(range(low, high, self.share), range(low, high)):
                both.check_bytes(bytes((0x61, a, b, self.rng.randrange(256), 0x62)))
        both = self.both(self.chars[:300], CASED, [AddedToken("\ufffd", normalized=False)])
        both.check_bytes(b"a\xff\xe2\x82z\xef\xbf\xbd")
        so_far("not UTF-8")

    def added(self):
        """Added tokens with every flag."""
        rng, share = self.rng, self.share
        for _ in range(300 // share):
            added = random_added(rng)
            both = self.both(dict.fromkeys(self.chars[:300] + self.vocab[1000:3000]),
                             rng.choice(SETTINGS), added)
            words = [t.content for t in added] + [t.content.upper() for t in added] + self.specials
            for _ in range(60):
                glue = rng.choice(("", " ", "\u00a0", "\t\x0b", "_", "\u0301", "z", "\u200d"))
                both.check(glue.join(rng.choice((rng.choice(words), random_text(
                    rng, self.unicode, words)[:3])) for _ in range(rng.randint(1, 8))))
        for late in (False, True):
            both = self.both(self.chars[:300], CASED, [
                AddedToken("Q", single_word=True, normalized=late),
                AddedToken("J", lstrip=True, rstrip=True, normalized=late)])
            for c in self.few[::share]:
                both.check("%sQ %sJ%s Q%s" % ((chr(c),) * 4))
        so_far("added tokens")


def reduced(unicode, points):
    """The Unicode table of these code points and of what they become."""
    points = set(points)
    for c in map(chr, sorted(points)):
        points |= set(map(ord, unicode.decompose(c)))
    for c in map(chr, sorted(points)):
        points |= set(map(ord, unicode.lower.get(c, c)))
    rows, pool, maps = [], [], []
    def place(text):
        pool.extend(map(ord, text))
        return (len(pool) - len(text) | len(text) << 24) if text else 0
    for code in sorted(points):
        c = chr(code)
        if rows and rows[-1][1:] == [code - 1, unicode[c]]:
            rows[-1][1] = code
        else:
            rows.append([code, code, unicode[c]])
        if c in unicode.nfd or c in unicode.lower:
            maps.append([code, place(unicode.nfd.get(c, "")), place(unicode.lower.get(c, ""))])
    words = [len(rows), len(maps), len(pool)] + sum(rows + maps, []) + pool
    return struct.pack("<%dI" % len(words), *words), points


def write_fixture(checks, path):
    """Random strings under all settings, with what Hugging Face makes of them, for test_bert.c:
    int32 bytes of a model file, number of cases, then the model, then for each case, in int16,
        lower, strip, chinese (the settings to patch into the model), is_words, max_length,
        truncation, windows, stride, no_special; the number of texts; the words of each and their
        sizes; sequences, or -1: refused; and of each: tokens and five numbers of every one (id,
        type * 4 + text + 1, word, first and last character); then the size of the first sequence
        decoded; at the end the bytes of texts and of what was decoded, up to an even number."""
    rng, unicode = checks.rng, checks.unicode
    added = [AddedToken("<x>", lstrip=True, rstrip=True, normalized=False),
             AddedToken("N\u00c9w y", single_word=True), AddedToken("[E1]", special=True),
             AddedToken("zq", single_word=True, rstrip=True, normalized=False)]
    words = [t.content for t in added] + checks.specials + ["n\u00e9w y", "NEW Y", "the", "<x",
                                                            "_zq", "zqa", " ", "\u00a0"]
    texts = []
    for k in range(240):
        make = lambda: random_text(rng, unicode, words)[:rng.choice((12, 25, 40, 140))]
        a, b = make(), rng.choice((None, None, "", make()))
        if k % 6 == 1:  # added tokens and what is near them
            a = "".join(rng.choice((rng.choice(words), rng.choice(words), " ", "  ", "_", "the"))
                        for _ in range(rng.randint(2, 14)))
        elif k % 6 == 2:  # two texts that have to be cut both
            a, b = "the " * rng.randint(2, 9), "new " * rng.randint(2, 9)
        texts.append((a.split(" "), None if b is None else b.split(" ")) if k % 6 == 0 else (a, b))
    text = "".join(words) + "".join("".join(part) for pair in texts for part in pair if part)
    table, points = reduced(unicode, map(ord, text + " ."))
    vocab = checks.chars[:5] + ["##a", "the", "##the", "new"] + [
        prefix + chr(c) for c in sorted(points) for prefix in ("", "##") if rng.random() < 0.7]
    vocab = [t for t in dict.fromkeys(vocab) if t.strip()]
    cases = b""
    for k, (a, b) in enumerate(texts):
        settings = SETTINGS[k % len(SETTINGS)]
        if k < len(SETTINGS):
            settings_both = checks.both(vocab, settings, added)
            write_fixture.both = getattr(write_fixture, "both", []) + [settings_both]
        both = write_fixture.both[k % len(SETTINGS)]
        chosen, expected = [], []
        while expected == []:
            chosen, expected = both.options(rng, a, b)
        max_length, how, windows, stride, special = chosen
        parts = [x if isinstance(x, list) else [x] for x in (a, b) if x is not None]
        lower, strip, chinese = settings
        row = [lower, lower if strip is None else strip, chinese, isinstance(a, list), max_length,
               HOW[how], windows, stride, not special, len(parts)]
        row += sum(([len(part)] + [len(word.encode()) for word in part] for part in parts), [])
        row.append(-1 if expected is None else len(expected))
        data = b"".join(word.encode() for part in parts for word in part)
        for ids, types, offsets, word, which in expected or ():
            row.append(len(ids))
            for i, t, (start, end), w, x in zip(ids, types, offsets, word, which):
                row += i, t * 4 + x + 1, w, start, end
        shown = both.hf.decode(expected[0][0]).encode() if expected else b""
        data += shown
        row.append(len(shown))
        cases += struct.pack("<%dh" % len(row), *row) + data + bytes(len(data) % 2)
    model = write_fixture.both[0].image
    model = model.replace(unicode.table, b"")  # the same with the reduced table
    words = list(struct.unpack("<256i", model[:1024]))
    words[27] = len(table)
    tail = table + bytes(-len(table) % 8)
    body = model[1024:]
    pad = ours.padded(len(unicode.table)) - len(unicode.table)
    body = (body[:-pad] if pad else body) + tail
    words[30] = 1024 + len(body)
    model = struct.pack("<256i", *words) + body
    with open(path, "wb") as file:
        file.write(struct.pack("<ii", len(model), len(texts)) + model + cases)
    print("%s: %d cases, %d bytes" % (path, len(texts), os.path.getsize(path)))


PARTS = ("real", "points", "marks", "random", "options", "decode", "bytes", "added")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="Hugging Face folder whose vocabulary is used")
    parser.add_argument("texts", nargs="*", help="text files to compare on, line by line")
    parser.add_argument("--model", help="model.bin that dev/export_hf.py made of the folder: "
                        "compare its tokenizer with the folder's, too")
    parser.add_argument("--quick", action="store_true", help="a reduced run")
    parser.add_argument("--share", type=int, help="one line, mark and string of so many [1; "
                        "--quick: 20]")
    parser.add_argument("--all", action="store_true", help="every code point, every setting")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be repeated")
    parser.add_argument("--count", type=int, help="of random strings, options, bytes")
    parser.add_argument("--setting", type=int, help="of points: this one of %d" % len(SETTINGS))
    parser.add_argument("--no_python", action="store_true", help="compare the C tokenizer alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fixture", metavar="FILE", help="write the cases of test_bert.c instead")
    args = parser.parse_args()
    checks = Checks(args)
    if args.fixture:
        return write_fixture(checks, args.fixture)
    for part in args.only or PARTS:
        getattr(checks, part)()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
