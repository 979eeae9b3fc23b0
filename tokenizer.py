#!/usr/bin/env python3
"""BERT's tokenizer, and the builder of data sets for train_bert: Python's standard library only.

    python3 tokenizer.py classification train.tsv train.bin --model model.bin
    python3 tokenizer.py classification dev.tsv dev.bin --model model.bin --like train.bin
    python3 tokenizer.py qa train-v2.0.json train.bin --model model.bin --max_length 384
    python3 tokenizer.py encode --model model.bin < lines.txt

A text becomes token ids in four steps, each a method of Tokenizer:
    tokenize     finds added tokens such as [MASK], cuts the rest into chunks
    normalize    clean-up, blanks around CJK, accents stripped, lower case
    wordpiece    cuts a word into the longest pieces that the vocabulary has
    encode       one or two texts between [CLS] and [SEP], cut to max_length
The ids, types and offsets are those of Hugging Face's BertTokenizer (its Rust library), which
dev/check/wordpiece.py verifies. Vocabulary, settings and the Unicode table come from model.bin
(byte table: bert.h, Model files); Python's own unicodedata differs from Rust's tables.
"""
import argparse
import array
import bisect
import collections
import itertools
import os
import re
import struct
import sys
import time

from dev.text_files import (Error, Input, number, plural, read_choices, read_lines, read_questions,
                            read_texts, read_words, require, short, twin)

NO_LABEL = ("-1", "-", "nan", "NaN", "None", "null")  # how files say that a label is not known
MODEL_MAGIC, DATA_MAGIC = 0x4D545242, 0x44545242
VERSIONS = {MODEL_MAGIC: (1, 2), DATA_MAGIC: (2,)}  # that we read; data files are written as 2
REMOVED, BLANK, SPACE, PUNCTUATION, CJK, ACCENT, WORD = 1, 2, 4, 8, 16, 32, 64  # the table's bits
SPECIAL, SINGLE_WORD, LSTRIP, RSTRIP, NORMALIZED, NO_PIECE = 1, 2, 4, 8, 16, 32  # added tokens'


def warn(message, *values):
    print("warning: " + message % values, file=sys.stderr)


# ------------------------------------------------------------------------------------- Unicode

class Unicode(dict):
    """What Hugging Face knows of a character: self[c] are its property bits, its combining class
    in bits 8..15; nfd and lower map the characters that change. The table is made by
    dev/check/unicode_table.py."""

    def __init__(self, table, name="Unicode table"):
        super().__init__()
        words = array.array("I", table)
        if sys.byteorder == "big":
            words.byteswap()
        require(len(words) >= 3, "%s: %d bytes, expected 12 or more", name, len(table))
        R, Q, W = words[:3]
        require(len(words) == 3 + 3 * (R + Q) + W, "%s: %d words, expected %d by its counts",
                name, len(words), 3 + 3 * (R + Q) + W)
        self.ranges = list(zip(*(words[3 + k:3 + 3 * R:3] for k in range(3))))
        maps = list(zip(*(words[3 + 3 * R + k:3 + 3 * (R + Q):3] for k in range(3))))
        pool = words[3 + 3 * (R + Q):]
        edges = [edge for first, last, _ in self.ranges for edge in (2 * first, 2 * last + 1)]
        rising = all(a < b for a, b in zip(edges, edges[1:]))
        require(rising and all(edge < 2 * 0x110000 for edge in edges), "%s: ranges overlap", name)
        require(max(pool, default=0) < 0x110000, "%s: pool holds no code point", name)
        require(all(a[0] < b[0] for a, b in zip(maps, maps[1:])), "%s: maps do not rise", name)
        self.firsts = [first for first, _, _ in self.ranges]
        require(self[" "] & BLANK and self[" "] & SPACE and self["."] & PUNCTUATION,
                "%s: it knows no blank and no full stop", name)
        self.nfd, self.lower = {}, {}
        for c, *places in maps:
            for target, place in zip((self.nfd, self.lower), places):
                start, length = place & 0xFFFFFF, place >> 24
                require(c < 0x110000 and start + length <= W, "%s: map of U+%04X", name, c)
                if length:
                    target[chr(c)] = "".join(map(chr, pool[start:start + length]))

    def __missing__(self, char):
        code = ord(char)
        k = bisect.bisect_right(self.firsts, code) - 1
        found = k >= 0 and code <= self.ranges[k][1]
        self[char] = bits = self.ranges[k][2] if found else 0
        return bits

    def decompose(self, char):
        s = ord(char) - 0xAC00
        if 0 <= s < 11172:  # Hangul: a leading consonant, a vowel, and maybe a trailing consonant
            syllable = chr(0x1100 + s // 588) + chr(0x1161 + s % 588 // 28)
            return syllable + chr(0x11A7 + s % 28) if s % 28 else syllable
        return self.nfd.get(char, char)

    def char_class(self, test):
        """The inside of a regular expression's [...]: the characters whose bits pass the test."""
        return "".join("\\U%08x-\\U%08x" % (first, last)
                       for first, last, bits in self.ranges if test(bits))


# ----------------------------------------------------------------------------------- Tokenizer

# split: the index of the first token of type 1. cut: whether max_length took tokens away.
Encoding = collections.namedtuple("Encoding", "ids types offsets split cut")
Added = collections.namedtuple("Added", "id flags")


class InPlace:
    """The spans of a text that normalization left where it was."""

    def __getitem__(self, k):
        return k, k + 1


def longest_first(n1, n2, room):
    """Tokens kept of two texts: the longer one is cut first, then both, as the Rust library counts
    (it does not cut token by token: of an odd room the longer text gets the odd token)."""
    if n1 + n2 <= room:
        return n1, n2
    short = min(n1, n2)
    long = max(short, room - short)
    if short + long > room:
        short, long = room // 2, room - room // 2
    return (short, long) if n1 <= n2 else (long, short)


class Tokenizer:
    """Text to token ids. vocab: a list of strings; table: the Unicode table's bytes;
    added: (id, flags) of the tokens that are found in the text before anything else."""

    def __init__(self, vocab, table, do_lower_case=True, strip_accents=None,
                 tokenize_chinese_chars=True, longest_word=100, added=(), unk=None, cls=None,
                 sep=None, mask=None):
        added = [Added(*token) for token in added]
        # What was added after the vocabulary was made is a token, but no piece of a word.
        no_piece = {token.id for token in added if token.flags & NO_PIECE}
        self.vocab = {token: i for i, token in enumerate(vocab) if i not in no_piece}
        self.do_lower_case = do_lower_case
        self.strip_accents = do_lower_case if strip_accents is None else strip_accents
        self.chinese = tokenize_chinese_chars
        self.longest_word = longest_word
        self.longest_piece = max(map(len, vocab))
        self.unk = self.vocab["[UNK]"] if unk is None else unk
        self.cls = self.vocab["[CLS]"] if cls is None else cls
        self.sep = self.vocab["[SEP]"] if sep is None else sep
        self.mask = self.vocab.get("[MASK]", -1) if mask is None else mask  # -1: there is none
        self.unicode = Unicode(table) if isinstance(table, (bytes, bytearray)) else table
        self.cache = {}

        # A chunk is a run of characters that can be tokenized without looking at its neighbours:
        # it ends at a blank and at whatever is set apart anyway. That must be a starter (combining
        # class 0), which marks do not move across, and not removed, which would join its sides.
        apart = PUNCTUATION | (CJK if self.chinese else 0)
        stands = lambda bits: bits & apart and not bits & REMOVED and not bits >> 8
        blanks = self.unicode.char_class(lambda bits: bits & BLANK)
        single = self.unicode.char_class(stands)
        self.chunk = re.compile("[^%s%s]+|[%s]" % (blanks, single, single))
        spaces = self.unicode.char_class(lambda bits: bits & SPACE)
        single = self.unicode.char_class(lambda bits: bits & PUNCTUATION)
        self.word = re.compile("[^%s%s]+|[%s]" % (spaces, single, single))

        # Added tokens with `normalized` are found in the normalized text, the others before. Where
        # two normalize alike Hugging Face takes either (the order of its hash map), we the first.
        self.added = {}, {}
        for token in added:
            late = token.flags & NORMALIZED != 0
            content = self.normalize(vocab[token.id])[0] if late else vocab[token.id]
            if content:  # the Rust library panics on a token that normalizes to nothing
                self.added[late].setdefault(content, token)
        self.finders = [re.compile("|".join(map(re.escape, sorted(found, key=len, reverse=True))))
                        if found else None for found in self.added]

    def normalize(self, text):
        """The normalized text, and for each of its characters the (start, end) in the text that
        it comes from."""
        properties, chars, spans = self.unicode, [], []
        for i, c in enumerate(text):  # clean_text, tokenize_chinese_chars
            bits = properties[c]
            if bits & REMOVED:
                continue
            if bits & BLANK:
                c = " "
            for c in (" ", c, " ") if bits & CJK and self.chinese else c:
                chars.append(c)
                spans.append((i, i + 1))
        if self.strip_accents:
            chars, spans = self.nfd(chars, spans)
            kept = [k for k, c in enumerate(chars) if not properties[c] & ACCENT]
            chars, spans = [chars[k] for k in kept], [spans[k] for k in kept]
        if self.do_lower_case:
            lower = [properties.lower.get(c, c) for c in chars]
            if any(len(c) > 1 for c in lower):
                spans = [span for c, span in zip(lower, spans) for _ in c]
            chars = lower
        return "".join(chars), spans

    def nfd(self, chars, spans):
        """Canonical decomposition: characters into base and marks, the marks of a base in the
        order of their combining class."""
        items = []  # class, character, whether it is an addition to the one that it comes from
        for c in chars:
            for k, part in enumerate(self.unicode.decompose(c)):
                items.append((self.unicode[part] >> 8 & 255, part, k > 0))
        start = 0
        for end in range(len(items) + 1):
            if end == len(items) or items[end][0] == 0:
                if end - start > 1:
                    items[start:end] = sorted(items[start:end], key=lambda item: item[0])
                start = end + 1
        # The Rust library hands the source characters out in their order to the reordered parts,
        # so that marks that change places keep no track of where each came from. Nor do we.
        out, k = [], 0
        for _, _, addition in items:
            out.append(spans[k - 1] if addition else spans[k])
            k += not addition
        return [c for _, c, _ in items], out

    def wordpiece(self, word):
        """The pieces of a word, longest match first: [(id, start, end)]. One character that no
        piece covers makes the whole word [UNK]."""
        pieces, start, n = [], 0, len(word)
        if n > self.longest_word:
            return [(self.unk, 0, n)]
        while start < n:
            prefix = "##" if start else ""
            for end in range(min(n, start + self.longest_piece), start, -1):
                piece = self.vocab.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return [(self.unk, 0, n)]
            pieces.append((piece, start, end))
            start = end
        return pieces

    def pieces(self, text, spans, ids, offsets):
        """Append the tokens of a normalized text."""
        for match in self.word.finditer(text):
            at = match.start()
            for piece, start, end in self.wordpiece(match.group()):
                ids.append(piece)
                offsets.append((spans[at + start][0], spans[at + end - 1][1]))

    def plain(self, text, base, ids, offsets):
        """Append the tokens of a text that holds no added token and starts at base. Most chunks
        are words seen before: their tokens are kept."""
        for match in self.chunk.finditer(text):
            chunk = match.group()
            known = self.cache.get(chunk)
            if known is None:
                known = [], []
                if chunk.isascii() and chunk.isprintable():  # lower case is all there is to do
                    normal = chunk.lower() if self.do_lower_case else chunk
                    self.pieces(normal, InPlace(), *known)
                else:
                    self.pieces(*self.normalize(chunk), *known)
                if len(chunk) <= self.longest_word:
                    if len(self.cache) >= 200000:  # some 150 MB
                        self.cache.clear()
                    self.cache[chunk] = known
            ids += known[0]
            if offsets is not None:
                at = base + match.start()
                offsets += [(at + start, at + end) for start, end in known[1]]

    def find(self, late, text):
        """Cut a text at its added tokens: (token, start, end), token None for what is between."""
        done, found, n = 0, self.added[late], len(text)
        is_word = lambda k: self.unicode[text[k]] & WORD
        is_space = lambda k: self.unicode[text[k]] & SPACE
        for match in self.finders[late].finditer(text) if self.finders[late] else ():
            token, start, end = found[match.group()], match.start(), match.end()
            if token.flags & SINGLE_WORD and (start and is_word(start - 1)
                                              or end < n and is_word(end)):
                continue
            if token.flags & LSTRIP:
                while start > done and is_space(start - 1):
                    start -= 1
                start = max(start, done)  # the blanks may be those that the last one's rstrip took
            while token.flags & RSTRIP and end < n and is_space(end):
                end += 1
            if done < start:
                yield None, done, start
            yield token, start, end
            done = end
        if done < n:
            yield None, done, n

    def tokenize(self, text, want_offsets=True):
        """Token ids of a text, and the (start, end) of each in its characters (or None)."""
        ids, offsets = [], [] if want_offsets else None
        for token, start, end in self.find(False, text):
            if token:
                ids.append(token.id)
                if want_offsets:
                    offsets.append((start, end))
            elif not self.finders[True]:
                self.plain(text[start:end], start, ids, offsets)
            else:
                normal, spans = self.normalize(text[start:end])
                spans = [(start + a, start + b) for a, b in spans]
                places = [] if offsets is None else offsets
                for token, a, b in self.find(True, normal):
                    if token:
                        ids.append(token.id)
                        places.append((spans[a][0], spans[b - 1][1]))
                    else:
                        self.pieces(normal[a:b], spans[a:b], ids, places)
        return ids, offsets

    def encode(self, text, pair=None, max_length=None, want_offsets=True):
        """[CLS] text [SEP], or [CLS] text [SEP] pair [SEP], as an Encoding: ids, token types,
        offsets (those of [CLS] and [SEP] are (0, 0)), split, cut."""
        extra = 2 if pair is None else 3
        if max_length is not None and max_length < extra:
            raise ValueError("max_length %d has no room for [CLS] and [SEP]: at least %d"
                             % (max_length, extra))
        a, at = self.tokenize(text, want_offsets)
        b, bt = self.tokenize(pair, want_offsets) if pair is not None else ([], [])
        room = len(a) + len(b) if max_length is None else max_length - extra
        n, m = longest_first(len(a), len(b), room) if pair is not None else (min(len(a), room), 0)
        cut = n < len(a) or m < len(b)
        ids, ends = [self.cls] + a[:n] + [self.sep], [(0, 0)]
        split = n + 2
        if pair is not None:
            ids += b[:m] + [self.sep]
        types = [0] * split + [1] * (len(ids) - split)
        offsets = None
        if want_offsets:
            offsets = ends + at[:n] + ends + (bt[:m] + ends if pair is not None else [])
        return Encoding(ids, types, offsets, split, cut)


# ---------------------------------------------------------------------------------- model.bin

def u64(words, k):
    return (words[k] & 0xFFFFFFFF) | (words[k + 1] & 0xFFFFFFFF) << 32


def padded(size):
    return (size + 7) & ~7


def read_header(file, name, magic, kind):
    """The 256 words of a model or data file, and its size, checked against the file's."""
    head = file.read(1024)
    require(len(head) == 1024, "%s: %d bytes, expected a header of 1024", name, len(head))
    words = struct.unpack("<256i", head)
    require(words[0] == magic, "%s: magic is 0x%08X, expected 0x%08X: not a %s file", name,
            words[0] & 0xFFFFFFFF, magic, kind)
    task = next((task for task, row in TASKS.items() if row.code == words[2]), "TASK")
    require(words[1] in VERSIONS[magic], "%s: version is %d, expected %s%s", name, words[1],
            " or ".join(map(str, VERSIONS[magic])), ": make it again: python3 tokenizer.py %s "
            "INPUT %s --model MODEL.bin" % (task, name) if magic == DATA_MAGIC else "")
    size = os.fstat(file.fileno()).st_size
    require(u64(words, 30) == size, "%s: is %d bytes long, expected %d by its header", name, size,
            u64(words, 30))
    return head, words, size


def read_strings(data, count, name, what):
    """"Strings": u64 offsets (count + 1), then the UTF-8 bytes they point into."""
    begin = 8 * (count + 1)
    require(len(data) >= begin, "%s: %s is %d bytes, too few for %d strings", name, what,
            len(data), count)
    ends = struct.unpack_from("<%dQ" % (count + 1), data)
    require(ends[0] == 0 and ends[-1] == len(data) - begin
            and all(a <= b for a, b in zip(ends, ends[1:])),
            "%s: the offsets of %s do not rise from 0 to %d", name, what, len(data) - begin)
    try:
        return [data[begin + a:begin + b].decode("utf-8") for a, b in zip(ends, ends[1:])]
    except UnicodeDecodeError:
        raise Error("%s: %s is not UTF-8" % (name, what))


class Model(Tokenizer):
    """The tokenizer of a model.bin, whose parameters are never read: V, P and S are the model's
    vocabulary, positions and token types, trained the task of its head and the max_length of what
    it was trained on (0: unknown), hash ties a data file to vocabulary and settings."""

    def __init__(self, path):
        with open(path, "rb") as file:
            head, words, size = read_header(file, path, MODEL_MAGIC, "model")
            self.V, _, _, _, _, self.P, self.S, _ = words[2:10]
            self.trained = words[11], words[44] if words[1] > 1 else 0
            count, added, most = words[32], words[42], 0x7FFFFFFF
            require(count != 0, "%s: has no tokenizer (no vocabulary in the file)", path)
            for k, what, low, high in (
                    (2, "V", 1, most), (7, "P", 3, most), (8, "S", 1, most),
                    (32, "vocabulary strings", 1, self.V), (33, "do_lower_case", 0, 1),
                    (34, "strip_accents", 0, 1), (35, "tokenize_chinese_chars", 0, 1),
                    (36, "longest word", 1, most), (38, "id of [UNK]", 0, count - 1),
                    (39, "id of [CLS]", 0, count - 1), (40, "id of [SEP]", 0, count - 1),
                    (41, "id of [MASK]", -1, count - 1), (42, "added tokens", 0, count)):
                require(low <= words[k] <= high, "%s: %s is %d, expected %d to %d", path, what,
                        words[k], low, high)
            sizes = [4 * u64(words, 20), u64(words, 23), u64(words, 25), 8 * added, u64(words, 27)]
            require(1024 + sum(map(padded, sizes)) == size,
                    "%s: the sections need %d bytes, the file has %d", path,
                    1024 + sum(map(padded, sizes)), size)
            file.seek(1024 + padded(sizes[0]) + padded(sizes[1]))
            vocab, flags, table = (file.read(padded(n))[:n] for n in sizes[2:])
        pairs = list(struct.iter_unpack("<ii", flags))
        require(all(a[0] < b[0] for a, b in zip(pairs, pairs[1:])), "%s: added tokens do not rise",
                path)
        for token, bits in pairs:
            require(0 <= token < count and 0 <= bits < 64,
                    "%s: added token %d with flags %d, expected id 0 to %d, flags 0 to 63", path,
                    token, bits, count - 1)
        require(len(table) % 4 == 0, "%s: Unicode table is %d bytes, no multiple of 4", path,
                len(table))
        # word 37, of [PAD], is not needed here; in version 1 no [MASK] was 0
        strings, mask = read_strings(vocab, count, path, "the vocabulary"), words[41]
        if words[1] == 1 and mask == 0 and strings[0] != "[MASK]":
            mask = -1
        self.identity = struct.pack("<12i", *words[32:37], *(max(0, i) for i in words[37:42]),
                                    added, 0) + vocab + flags
        super().__init__(strings,
                         Unicode(table, path + ": Unicode table"), bool(words[33]),
                         bool(words[34]), bool(words[35]), words[36], pairs, *words[38:41], mask)

    @property
    def hash(self):
        """64-bit FNV-1a of header words 32..42 and a zero, vocabulary and added tokens."""
        h = 0xCBF29CE484222325
        for byte in self.identity:
            h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        return h


# -------------------------------------------------------------------------------- a data set

def by_value(label):
    """Labels sort as text, numbers among themselves by value."""
    value = number(label)
    return (1, 0, label) if value is None else (0, value, label)


def little(values):
    """An array's bytes, little endian."""
    if sys.byteorder == "big":
        values = array.array(values.typecode, values)
        values.byteswap()
    return memoryview(values).cast("B")


# The sections of a data file by their kinds, which count from 1: the typecode of their elements, or
# "s": strings, which are two sections, offsets and the bytes they point into.
SECTIONS = dict(names="s", offsets="Q", tokens="i", segments="i", labels="i", sets="Q",
                set_labels="i", targets="f", tags="i", positions="i", texts="s", spans="i",
                words="i", groups="Q", ids="s", questions="s", answers="Q", golds="s")
KINDS = dict(zip(SECTIONS, itertools.accumulate(
    [1] + [1 + (code == "s") for code in SECTIONS.values()])))
ELEMENTS = {"Q": (1, 8), "i": (2, 4), "f": (3, 4), "B": (4, 1)}  # number in the file, bytes


def strings(kind, texts):
    """The sections of strings."""
    texts, ends = [text.encode("utf-8", "replace") for text in texts], array.array("Q", [0])
    for text in texts:
        ends.append(ends[-1] + len(text))
    return [(kind, "Q", len(ends), [little(ends)]), (kind + 1, "B", ends[-1], texts)]


class Data:
    """A data.bin in the making: builders append to its sections (byte table: dev/driver/data.h),
    which are attributes by their names; values: the section of the task's labels."""

    def __init__(self, task, args, model):
        self.task, self.args, self.model = task, args, model
        self.labelled = not args.unlabelled and task not in ("mlm", "pretraining")
        like = self.take_labels()  # the header of the file that the settings are taken from
        self.input = Input(args, task, self.labels, bool(like[3]))
        self.notes = []  # further lines of the report
        # what a model is to predict is cut as its lines of text are: as in its training
        known = model.trained[1] if model.trained[0] == TASKS[task].code else 0
        self.max_length = args.max_length or like[14] or min(known or TASKS[task].max_length,
                                                             model.P)
        if known and not args.max_length and not like[14]:
            self.notes.append("max_length %d, as in the training of %s; --max_length says otherwise"
                              % (self.max_length, args.model))
        require(3 <= self.max_length <= model.P, "--max_length is %d, expected 3 to %d, the "
                "positions of %s", self.max_length, model.P, args.model)
        self.multi = bool(args.multi_label or like[3])
        self.stride = args.doc_stride
        if self.stride is None:
            self.stride = like[15] if args.like or task != "qa" else min(
                128, self.max_length // 2 if known and not args.max_length else 128)
        self.v2 = like[16]
        self.values = array.array(SECTIONS[TASKS[task].labels or "labels"])
        for name in ["offsets", "tokens", "segments", "sets"] + TASKS[task].sections.split():
            code = SECTIONS[name]
            setattr(self, name, [] if code == "s" else array.array(code, [0] * (code == "Q")))
        self.cut = self.longest = 0
        self.first = ""  # the first example as it was read
        self.same = set()  # numbers among the labels that were written in two ways

    def take_labels(self):
        """Label names by --labels or --like, or None: as they come, sorted at the end. Returns the
        header words of --like's file."""
        args, like, self.labels, self.pairs = self.args, [0] * 256, None, None
        if args.like:
            like, self.labels, self.pairs = read_like(args.like)
            require(like[2] == TASKS[self.task].code, "%s: is not a %s file", args.like, self.task)
            require(u64(like, 12) == self.model.hash, "%s: was made with another vocabulary or "
                    "other tokenizer settings than %s", args.like, args.model)
            require(self.labels or not self.labelled or "names" not in TASKS[self.task].sections,
                    "%s: has no labels to take over", args.like)
            require(like[3] or not args.multi_label, "%s: has one label an example, --multi_label "
                    "expects any number", args.like)
        elif args.labels is not None:
            self.labels = [label.strip() for label in args.labels.split(",")]
            require(all(self.labels), "--labels %s: an empty label", args.labels)
            require(len(set(self.labels)) == len(self.labels), "--labels %s: a label twice",
                    args.labels)
        self.index = {label: k for k, label in enumerate(self.labels or [])}
        return like

    def name_labels(self, names):
        """Names of which the file says that they are all, in this order."""
        if self.labels is None:
            self.labels, self.index = names, {name: k for k, name in enumerate(names)}

    def label(self, name, place):
        """A label's index: its place among the given names, or for now the order they come in.
        1 and 1.0 are one label."""
        require(name, "%s: the label is empty", place)
        known = twin(name, self.index)
        if known not in (None, name):
            self.same.add((known, name))
            name = known
        require(self.labels is None or name in self.index, "%s: the label %s is unknown, expected "
                "one of %s%s", place, name, short(self.index), "; --unlabelled reads "
                "a file without labels" if name in NO_LABEL else "")
        return self.index.setdefault(name, len(self.index))

    def start(self, a, b, label):
        """What the first example of texts decides, and how it was read."""
        several, names = isinstance(label, list), self.input.label_names
        if several and self.task == "classification" and not self.args.like:
            self.multi = True
        if names:
            self.name_labels(names)
        kinds = "single texts", "pairs of texts"
        pair = b is not None
        require(self.pairs in (None, pair), "%s: has %s, %s %s: say which columns are read, with "
                "--text_column%s", self.args.input, kinds[pair], self.args.like, kinds[not pair],
                " and --text_pair_column" * (not pair))
        cut = lambda text: repr(text[:60]) + "..." * (len(text) > 60)
        self.first = " | ".join(map(cut, (a,) if b is None else (a, b)))
        if label is not None:
            self.first += " -> %s" % (short(label) or "none" if several else label.strip())

    def sort_labels(self):
        if not self.labelled:
            self.labels = []
        elif self.labels is None:
            self.labels = sorted(self.index, key=by_value)
            place = {self.index[label]: k for k, label in enumerate(self.labels)}
            place[-1] = -1
            self.values = array.array("i", (place[k] for k in self.values))
        require(self.labels or not self.labelled, "%s: no example has a label", self.args.input)
        joined = [] if self.args.like or self.args.labels or not self.labelled else [
            name for name in self.labels if re.fullmatch(r"\d+(,\d+)+", name)
            or re.search("[,;|]", name) and set(re.split("[,;|] *", name)) <= set(self.labels)]
        require(not joined, "%s: the label %s looks like several: say --multi_label, or --labels "
                "with all names", self.args.input, (joined or [0])[0])
        if self.multi:
            for a, b in zip(self.sets, self.sets[1:]):
                self.values[a:b] = array.array("i", sorted(self.values[a:b]))

    def add(self, ids, split, cut=False):
        self.tokens.extend(ids)
        self.offsets.append(len(self.tokens))
        self.segments.append(split)
        self.cut += cut
        self.longest = max(self.longest, len(ids))

    @property
    def num_groups(self):
        return len(getattr(self, "groups", [0])) - 1

    def sections(self):
        """(kind, typecode, elements, their bytes in pieces) of each section that this data has."""
        task = TASKS[self.task]
        parts = {name: getattr(self, name)
                 for name in ["offsets", "tokens", "segments"] + task.sections.split()}
        if "names" in parts:
            parts["names"] = self.labels
        if self.labelled and self.multi:
            parts["sets"], parts["set_labels"] = self.sets, self.values
        elif self.labelled:
            parts[task.labels] = self.values
        for name in (name for name in SECTIONS if name in parts):
            if SECTIONS[name] == "s":
                yield from strings(KINDS[name], parts[name])
            else:
                yield KINDS[name], SECTIONS[name], len(parts[name]), [little(parts[name])]

    def write(self, path):
        """Into a temporary file, flushed, renamed: a data file is whole or not there."""
        sections, words = list(self.sections()), [0] * 256
        directory, at = [], 1024 + 24 * len(sections)
        for kind, code, count, _ in sections:
            element, size = ELEMENTS[code]
            directory.append(struct.pack("<iiQQ", kind, element, count, at))
            at += padded(size * count)
        words[:6] = (DATA_MAGIC, 2, TASKS[self.task].code, self.multi, len(self.labels or []),
                     self.labelled)
        words[10:12], words[14:18] = (self.longest, self.model.V), (
            self.max_length, self.stride, self.v2, self.num_groups)
        words[20] = len(sections)
        for k, value in ((6, len(self.segments)), (8, len(self.tokens)), (12, self.model.hash),
                         (18, len(self.golds) if self.task == "qa" else 0), (30, at)):
            words[k], words[k + 1] = value & 0xFFFFFFFF, value >> 32
        temporary = "%s.tmp%d" % (path, os.getpid())
        try:
            with open(temporary, "wb") as file:
                file.write(struct.pack("<256I", *words))
                file.writelines(directory)
                for _, code, count, pieces in sections:
                    file.writelines(pieces)
                    file.write(b"\0" * (-ELEMENTS[code][1] * count % 8))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:  # a full disk's has no file name
            raise Error("%s: %s" % (path, error.strerror))
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def report(self, path):
        n, total = len(self.segments), len(self.tokens)
        unknown = self.tokens.count(self.model.unk)
        print("%s: %d %s, %d tokens (mean %.1f, longest %d), %d cut at %d, [UNK] %.2f%%" % (
            path, n, TASKS[self.task].unit, total, total / n, self.longest, self.cut,
            self.max_length, 100 * unknown / total))
        for line in self.input.said + ["first: " + self.first] * bool(self.first):
            print(line)
        if self.task == "regression" and self.labelled:
            print("values: %g to %g, mean %g" % (min(self.values), max(self.values),
                                                 sum(self.values) / n))
        elif self.labels:
            counts = collections.Counter(self.values)
            print("labels: " + short("%s %d" % (label, counts[k])
                                     for k, label in enumerate(self.labels)))
            self.warn_of_labels(counts)
        for note in self.notes:
            print(note)
        if 2 * unknown > total - 2 * n:
            warn("more than half of the tokens are [UNK]: is %s a model of this language?",
                 self.args.model)
        if self.input.quoted:
            warn("%s in quotes, which mean nothing in TSV: --format csv --delimiter tab reads them "
                 "as spreadsheets write them", plural(self.input.quoted, "text"))
        if self.input.empty:
            warn("%s empty, nan, null or none", plural(self.input.empty, "text"))
        if self.input.lost:
            warn("%s: is not %s in %s, the first is %s: such letters are lost%s", self.args.input,
                 self.input.encoding[:5].upper() if self.input.encoding[:5] == "utf-8"
                 else self.input.encoding, plural(self.input.lost, "place"), self.input.first_lost,
                 "" if self.args.encoding else "; of Excel: --encoding cp1252, or gb18030 in China")

    def warn_of_labels(self, counts):
        n, names = len(self.segments), self.labels
        if len(names) == 1:
            warn("there is only one label, nothing to learn")
        if self.task == "classification" and not self.multi and n > 7:
            if 2 * len(counts) > n:
                warn("%d labels in %d examples: is this the column of the labels?", len(counts), n)
            if counts[self.values[0]] == 1 and self.input.header is False and len(counts) > 2:
                warn("the label %s comes once, in the first line: is that a header (--header yes)?",
                     names[self.values[0]])
        if self.multi and all(b - a == 1 for a, b in zip(self.sets, self.sets[1:])) and n > 1:
            warn("each example has one label of a list: if they exclude each other, a label that "
                 "is no list trains better")
        fold = lambda name: name.lower() if number(name) is None else number(name)
        folded = collections.Counter(map(fold, names))
        twins = [name for name in names if folded[fold(name)] > 1]
        if twins and not (self.args.labels or self.args.like):
            warn("labels that differ in their case alone, or are one number: %s", short(twins))
        parts = {name: set(re.split("[,;|] *", name)) for name in names}
        counted = collections.Counter(part for name in names for part in parts[name])
        joined = self.task == "classification" and [name for name in names if len(
            parts[name]) > 1 and any(counted[part] > 1 for part in parts[name])]
        if joined and not (self.multi or self.args.labels or self.args.like):
            warn("the label %s may be several: --multi_label reads it so", joined[0])
        odd = [name for name in names if name in NO_LABEL and len(names) > 1]
        if odd and not (self.args.labels or self.args.like):
            warn("the label %s, %s, often means that there is none", odd[0],
                 plural(counts[names.index(odd[0])], "time"))
        for twin, name in sorted(self.same):
            self.notes.append("labels: %s is read as %s" % (name, twin))
        if self.input.placed:
            self.notes.append("labels that are numbers: places among the names, from 0")


def read_like(path):
    """Header words and label names of a data file, and whether its first example is a pair."""
    with open(path, "rb") as file:
        _, words, size = read_header(file, path, DATA_MAGIC, "data")
        directory = file.read(24 * max(0, words[20]) if words[20] < 256 else 0)
        places = {kind: (count, at) for kind, _, count, at in struct.iter_unpack(
            "<iiQQ", directory[:len(directory) // 24 * 24])}

        def section(name, code, behind=0, most=1 << 60):
            """The bytes of the first elements; none where there is no such section."""
            count, at = places.get(KINDS[name] + behind, (0, 0))
            length = min(count, most) * ELEMENTS[code][1]
            require(at + length <= size, "%s: section %s, %d elements at byte %d, goes beyond its "
                    "%d bytes", path, name, count, at, size)
            file.seek(at)
            return file.read(length)

        names = section("names", "Q") + section("names", "B", 1)
        ends, first = section("offsets", "Q", most=2), section("segments", "i", most=1)
        require(len(ends) == 16 and len(first) == 4, "%s: has no example", path)
        return words, read_strings(names, words[4], path, "the label names") if names else [], \
            struct.unpack("<i", first)[0] < struct.unpack("<QQ", ends)[1]


# ------------------------------------------------------------------------------------ builders

def build_texts(data, examples):
    """classification and regression; a multi-label example has any number of labels."""
    regression, given = data.task == "regression", data.args.multi_label or data.args.like
    require(data.args.labels is None or not regression,
            "--labels: regression has numbers, not label names")
    for place, (a, b, label) in examples:
        enc = data.model.encode(a, b, data.max_length, False)
        require(b is None or data.model.S > 1, "%s: a pair of texts, but the model has one "
                "token type", place)
        if not data.segments:
            data.start(a, b, label)
        data.add(enc.ids, enc.split, enc.cut)
        if not data.labelled:
            continue
        several = isinstance(label, list)  # the first line decides, where no flag does
        require(not several or data.multi, "%s: the label is a list, expected %s", place,
                "a number" if regression else "one label as before")
        if regression:
            value = number(label.strip())
            require(value is not None, "%s: the label is %s, expected a finite number", place,
                    label.strip() or "empty")
            data.values.append(value)
        elif not data.multi:
            data.values.append(data.label(label.strip(), place))
        else:
            require(several or given, "%s: the label is %s, expected a list as before", place,
                    label)
            names = label if several else filter(None, re.split(data.input.between, label.strip()))
            data.values.extend(dict.fromkeys(data.label(name.strip(), place) for name in names))
            data.sets.append(len(data.values))
    if not regression:
        data.sort_labels()


def build_ner(data, sentences):
    """As transformers' run_ner.py: words tokenized one by one, a label on a word's first piece."""
    model, room, words_seen, words_cut, bare = data.model, data.max_length - 2, 0, 0, 0
    for places, words, tags in sentences:
        ids, spans, owners, labels, at = [], [], [], [], 0
        for k, word in enumerate(words):
            pieces, offsets = model.tokenize(word)
            ids += pieces
            owners += [k] * len(pieces)
            for start, end in offsets:
                spans += at + start, at + end
            if data.labelled:  # known even where the word has no piece or is cut away
                labels += ([data.label(tags[k], places[k])] + [-1] * len(pieces))[:len(pieces)]
            bare += not pieces
            at += len(word) + 1
        if not data.segments:
            data.first = short(map(" ".join, zip(words, tags)) if tags else words)
        words_seen += len(words)
        words_cut += len(set(owners[room:]) - set(owners[:room]))
        data.add([model.cls] + ids[:room] + [model.sep], min(len(ids), room) + 2, len(ids) > room)
        data.spans.extend([-1, -1] + spans[:2 * room] + [-1, -1])
        data.words.extend([-1] + owners[:room] + [-1])
        data.values.extend([-1] + labels[:room] + [-1] if data.labelled else [])
        data.texts.append(" ".join(words))
    data.sort_labels()
    data.notes.append("words: %d, of these %d cut away, %d without a piece" % (
        words_seen, words_cut, bare))


def windows(n, room, stride):
    """Windows of at most room tokens over n tokens, neighbours share stride: [(start, end)]."""
    starts = range(0, max(n - stride, 1), room - stride) if n > room else [0]
    return [(start, min(start + room, n)) for start in starts]


def answer_tokens(offsets, start, end):
    """First and last token of the characters start..end-1, or None if not all of them are here.
    As transformers' run_qa.py, but for an answer that begins in the window's last token: there
    run_qa steps over it onto [SEP], whose offset is (0, 0)."""
    if not offsets or offsets[0][0] > start or offsets[-1][1] < end:
        return None
    first, last = 0, len(offsets) - 1
    while first + 1 < len(offsets) and offsets[first + 1][0] <= start:
        first += 1
    while last > 0 and offsets[last - 1][1] >= end:
        last -= 1
    return first, last


def build_qa(data, questions):
    """As transformers' run_qa.py: windows over the context, with the question before each."""
    model, known, without, lost, misplaced, lacking = data.model, None, 0, 0, 0, 0
    require(model.S > 1, "%s: has one token type, expected 2 for question and context",
            data.args.model)
    for place, q in questions:
        if q.context != known:  # the questions of a paragraph follow each other
            known, (context, offsets) = q.context, model.tokenize(q.context)
        require(context, "%s: the context has no tokens, expected text", place)
        wrong = [a for a in q.answers if a[0] < 0 or not q.context.startswith(a[1], a[0])]
        right = [(start, start + len(text)) for start, text in q.answers
                 if (start, text) not in wrong]
        if wrong:
            misplaced += 1
            start, text = wrong[0]
            if misplaced <= 10:
                warn("%s: the answer %a is not at character %d of its context", place, text[:60],
                     start)
            if not right and not data.args.like:
                continue
        question = model.tokenize(q.text, False)[0]
        room = data.max_length - 3 - len(question)
        require(len(context) <= room or room > data.stride, "%s: the question has %d tokens, of "
                "--max_length %d that leaves %d for the context, expected more than --doc_stride "
                "%d", place, len(question), data.max_length, max(room, 0), data.stride)
        head, found = [model.cls] + question + [model.sep], False
        for start, end in windows(len(context), room, data.stride):
            data.add(head + context[start:end] + [model.sep], len(head))
            data.spans.extend([-1] * (2 * len(head)))
            data.spans.extend(x for span in offsets[start:end] for x in span)
            data.spans.extend((-1, -1))
            if data.labelled:
                span = right and answer_tokens(offsets[start:end], *right[0])
                data.values.extend([len(head) + k for k in span] if span else (0, 0))
                without += not span
                found = found or bool(span)
        if not data.ids:
            data.first = "%r -> %r" % (q.text[:60], q.answers[0][1][:60] if q.answers else "")
        data.groups.append(len(data.segments))
        data.v2 = int(data.v2 or q.v2 or data.labelled and not q.answers)
        data.texts.append(q.context)
        data.ids.append(q.id)
        data.questions.append(q.text)
        data.golds += [text for _, text in q.answers]
        data.answers.append(len(data.golds))
        lost += bool(right) and not found
        lacking += not q.answers
    require(data.ids, "%s: no question whose answer is in its context", data.args.input)
    data.notes.append("questions: %d, doc_stride %d%s" % (len(data.ids), data.stride, ", %d "
                      "without an answer, %d whose answer no window has whole; windows without an "
                      "answer: %d" % (lacking, lost, without) if data.labelled else ""))
    if misplaced:
        data.notes.append("questions with an answer that is not in its context: %d, %s" % (
            misplaced, "kept" if data.args.like else
            "skipped where it is the only one (--like keeps them, for evaluation)"))


def build_mlm(data, texts):
    """As transformers' run_mlm.py: [CLS] line [SEP] of all lines joined and cut into blocks, the
    rest dropped; or line by line. Blank lines are no text (run_mlm joins their [CLS] [SEP], too,
    and drops a rest every 1,000 lines)."""
    predict, size, maskless = data.args.unlabelled, data.max_length, []
    apart = predict or data.args.line_by_line
    for line, text in texts:
        if text.strip() or predict:
            enc = data.model.encode(text, None, size if apart else None, False)
            data.add(enc.ids, enc.split, enc.cut)
            if predict and data.model.mask not in enc.ids:
                maskless.append(line)
    require(data.segments, "%s: has only blank lines, expected text", data.args.input)
    if maskless:
        warn("%s:%d: no [MASK], nothing to predict; lines like this: %d", data.args.input,
             maskless[0], len(maskless))
    if not apart:
        total = len(data.tokens)
        rest = total % size if total > size else 0  # less than a block is one short block
        if rest:
            data.notes.append("dropped: the last %d tokens, less than a block" % rest)
        del data.tokens[total - rest:]
        data.offsets = array.array("Q", range(0, total - rest, size))
        data.longest = min(size, total)
        data.segments = array.array("i", [data.longest]) * len(data.offsets)
        data.offsets.append(total - rest)


def build_pretraining(data, texts):
    """As google-research/bert's create_pretraining_data.py reads: one sentence a line, a blank line
    between documents. Pairs are made of them in training."""
    require(data.max_length >= 5, "--max_length is %d, expected 5 or more for a pair",
            data.max_length)
    documents, start, bare = data.groups, True, 0
    for line, text in texts:
        ids = data.model.tokenize(text, False)[0]
        if ids:
            if start and data.segments:
                documents.append(len(data.segments))
            start = False
            data.add(ids, len(ids))
        elif text.strip():
            bare += 1
        else:
            start = True
    documents.append(len(data.segments))
    require(data.segments and data.num_groups > 1, "%s: %d document%s, expected at least 2, "
            "separated by a blank line: a wrong second sentence is taken from another document",
            data.args.input, data.num_groups if data.segments else 0, "s" * (not data.segments))
    single = sum(b - a == 1 for a, b in zip(documents, documents[1:]))
    data.notes.append("documents: %d, of these %d of one sentence; sentences without a token: %d"
                      % (data.num_groups, single, bare))


def build_choices(data, examples):
    """As transformers' run_swag.py: the text and each of its choices are a pair."""
    require(data.model.S > 1, "%s: has one token type, expected 2 for text and choice",
            data.args.model)
    for _, (text, choices, label) in examples:
        if not data.segments:
            data.first = " | ".join(repr(part[:60]) for part in [text] + choices)
            data.first += " -> %d" % label if data.labelled else ""
        for choice in choices:
            enc = data.model.encode(text, choice, data.max_length, False)
            data.add(enc.ids, enc.split, enc.cut)
        data.texts.extend(choices)
        data.groups.append(len(data.segments))
        data.values.extend([label] * data.labelled)
    counts = collections.Counter(data.values)
    data.notes.append("texts: %d, of %d choices each%s" % (
        data.num_groups, len(data.segments) // data.num_groups, "; right: " + short(
            "%d %d" % row for row in sorted(counts.items())) if counts else ""))


# ----------------------------------------------------------------------------- the command line

TEXTS_HELP = """
input: TSV (.tsv, .txt), CSV (.csv) or JSON (.json, .jsonl: an object a line, an array of them, or
  {"data": [...]}). A header's or JSON's names say which column is what:
  text:   text, sentence, review, content, comment, tweet, ... as public data sets have them
  pair:   text_a text_b, text text_pair, sentence1 sentence2, premise hypothesis,
          question1 question2, question sentence, #1 String #2 String, ...
  label:  label, labels, gold_label, score, rating, class, target, sentiment, category, ...
  Without a header: text, label or text_a, text_b, label; with --unlabelled: text or text_a, text_b;
  a label before its text is recognised where that is certain, and so is CoLA. What is not certain
  is refused: --text_column, --text_pair_column, --label_column and --header settle it. Look at what
  the report says was read. Quotes mean nothing in TSV. Empty lines are skipped; with --unlabelled
  they are empty texts.
"""
MULTI_HELP = """  Any number of labels: a list in JSON, or --multi_label and , ; | or blanks;
  a vector of 0 and 1 in JSON, with --labels for its names; a column of 0 and 1 for each label.
"""
WORDS_HELP = """
input: CoNLL columns: a word a line, its tag behind a tab or blanks, a blank line between sentences;
  or JSON as run_ner's: {"tokens": [...], "ner_tags": [...]}, tags that are numbers with --labels.
  The first column is the word, the last the tag, unless the columns say otherwise (numbered words
  as in GermEval and CoNLL-U, tags before words, names in a header); --text_column and --tag_column
  settle it. -DOCSTART- is skipped, and so is # before a sentence's first word, unless the line has
  all columns and a tag. With --unlabelled the words are enough.
"""
SQUAD_HELP = """
input: SQuAD v1.1 or v2.0, JSON: {"data": [{"paragraphs": [{"context": ..., "qas": [{"id": ...,
  "question": ..., "answers": [{"text": ..., "answer_start": character}]}]}]}]}; or run_qa's, flat:
  {"id", "question", "context", "answers": {"text": [...], "answer_start": [...]}}. No answers: the
  context does not have it. With --unlabelled answers are not needed. A question whose answers are
  not where answer_start says is named and skipped; with --like, for evaluation, it is kept.
"""
LINES_HELP = """
input: plain text. Blank lines are skipped. Lines are joined, each with its [CLS] and [SEP],
  and cut into blocks of max_length tokens; with --line_by_line or --unlabelled each is an example.
"""
CHOICES_HELP = """
input: CSV or TSV with a header, or JSON, with SWAG's columns: sent1, sent2, ending0, ending1, ...,
  label; the text is sent1, a choice is sent2 and an ending. Or JSON lines {"text": ...,
  "choices": [...], "label": 0}; HellaSwag's ctx, endings, label; RACE's article, question, options,
  answer. A label counts from 0, or is a letter from A. All rows have as many choices.
"""
DOCUMENTS_HELP = """
input: plain text, one sentence a line, a blank line between documents.
"""


def at_least(low):
    def parse(text):
        return int(text) if int(text) >= low else int("")
    parse.__name__ = "number from %d" % low  # argparse's message has it
    return parse


# The flags that only some tasks have; for the others they are None.
FLAGS = {
    "labels": dict(help="label names in their order, separated by commas (default: those of the "
                   "file, sorted, numbers by value)"),
    "multi_label": dict(nargs="?", const=True, metavar="COLUMNS", help="an example has any number "
                        "of labels; COLUMNS of 0 and 1 name them: names or numbers, 3-8 or a,b,c"),
    "unlabelled": dict(action="store_true", help="the file has no labels: to predict"),
    "text_column": dict(metavar="COLUMN", help="the text (ner: the words): a column's name, or its "
                        "number from 1"),
    "text_pair_column": dict(metavar="COLUMN", help="the second text; without it --text_column is "
                             "a single text"),
    "label_column": dict(metavar="COLUMN", help="the label"),
    "tag_column": dict(metavar="COLUMN", help="the tag"),
    "header": dict(choices=("auto", "yes", "no"), default="auto", help="whether the first line "
                   "names the columns (default: auto, see below)"),
    "delimiter": dict(help="between columns: a character, or tab, comma, semicolon, pipe, blank "
                      "(default: what fits)"),
    "format": dict(choices=("tsv", "csv", "json"), help="of INPUT (default: by its ending)"),
    "doc_stride": dict(type=at_least(0), help="tokens that two windows over a long context share "
                       "(default: that of --like, or 128)"),
    "line_by_line": dict(action="store_true", help="each line is an example"),
}

# One row a task: its number in the files, what reads the input, what turns it into a Data, what it
# counts, its max_length, the section of its labels, the further ones it has, its flags, its help.
Task = collections.namedtuple("Task", "code read build unit max_length labels sections flags about "
                              "help")
COLUMNS = "text_column text_pair_column label_column header delimiter format"
TASKS = {
    "classification": Task(1, read_texts, build_texts, "examples", 512, "labels", "names",
                           "labels multi_label unlabelled " + COLUMNS,
                           "a text or a pair, and its label or labels", TEXTS_HELP + MULTI_HELP),
    "regression": Task(2, read_texts, build_texts, "examples", 512, "targets", "",
                       "labels unlabelled " + COLUMNS, "a text or a pair, and a number",
                       TEXTS_HELP),
    "ner": Task(3, read_words, build_ner, "sentences", 512, "tags", "names texts spans words",
                "labels unlabelled text_column tag_column header delimiter format",
                "words with tags", WORDS_HELP),
    "qa": Task(4, read_questions, build_qa, "windows", 384, "positions",
               "texts spans groups ids questions answers golds", "doc_stride unlabelled",
               "questions, contexts, answers", SQUAD_HELP),
    "mlm": Task(5, read_lines, build_mlm, "examples", 512, "", "", "line_by_line unlabelled",
                "plain text", LINES_HELP),
    "pretraining": Task(6, read_lines, build_pretraining, "sentences", 512, "", "groups", "",
                        "documents of sentences", DOCUMENTS_HELP),
    "multiple_choice": Task(7, read_choices, build_choices, "choices", 512, "labels",
                            "texts groups", "unlabelled delimiter format",
                            "a text, its choices, and which is right", CHOICES_HELP),
}


def progress(examples, path):
    """Pass the examples on; on a terminal with one live line for builds that take a while."""
    start = shown = time.time()
    live, n = sys.stderr.isatty(), 0
    try:
        for n, item in enumerate(examples, 1):
            yield item
            if live and n % 256 == 0 and time.time() - shown > 0.2:
                shown = time.time()
                sys.stderr.write("\r%s: %d examples, %.0f/s\033[K" % (path, n, n / (shown - start)))
                sys.stderr.flush()
    finally:
        if live and shown != start:
            sys.stderr.write("\r\033[K")
    require(n, "%s: is empty, expected at least one example", path)


def build(args):
    task = TASKS[args.task]
    for path in (args.input, args.model, args.like):
        require(not path or not os.path.exists(path) or not os.path.exists(args.output)
                or not os.path.samefile(path, args.output), "%s: would be overwritten", path)
    require(not os.path.exists(args.output) or os.path.isfile(args.output), "%s: is not a file, "
            "and would be replaced by one", args.output)
    data = Data(args.task, args, Model(args.model))
    task.build(data, progress(task.read(data.input), args.input))
    data.write(args.output)
    data.report(args.output)


def encode(args):
    model = Model(args.model)
    max_length = args.max_length or min(model.trained[1] or 512, model.P)
    require(2 + args.pair <= max_length <= model.P, "--max_length is %d, expected %d to %d, the "
            "positions of %s", max_length, 2 + args.pair, model.P, args.model)
    for line, raw in enumerate(sys.stdin.buffer, 1):
        text, pair = raw.decode("utf-8", "replace").rstrip("\n"), None
        if args.pair:
            text, tab, pair = text.partition("\t")
            require(tab, "stdin:%d: no tab, --pair expects one between the two texts", line)
        ids = model.encode(text, pair, max_length, False).ids
        sys.stdout.write(" ".join(map(str, ids)) + "\n")


def hint(path):
    """What helps where a folder or a model's name on the hub was given for a file."""
    if not isinstance(path, str):
        return ""
    if os.path.isdir(path):
        inside = set(os.listdir(path))
        if inside & {"config.json", "vocab.txt", "tokenizer.json"}:
            return ", a model of Hugging Face: python3 dev/export_hf.py %s model.bin makes a " \
                "model.bin of it" % path
        if inside & {"dataset_info.json", "dataset_dict.json", "state.json"}:
            return ", a data set of Hugging Face: datasets.load_from_disk(%r)[...].to_json(...) " \
                "makes a file of each split" % path
        return ", expected a file, such as one of these: " + short(sorted(inside))
    if not os.path.exists(path) and re.fullmatch(r"[\w-]+(/[\w.-]+)?", path):
        return "; a model's name on the hub? python3 dev/download.py %s, then dev/export_hf.py" \
            % path
    return ""


def arguments():
    parser = argparse.ArgumentParser(
        description="Text files to token files for train_bert; lines of text to token ids.",
        epilog="python3 tokenizer.py TASK --help has the flags and the input format.")
    commands = parser.add_subparsers(dest="task", metavar="TASK", required=True)

    def command(name, about, run, **more):
        sub = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".",
                                  formatter_class=argparse.RawDescriptionHelpFormatter, **more)
        sub.set_defaults(run=run)
        sub.add_argument("--model", required=True, help="model.bin with the vocabulary and its "
                         "settings")
        return sub

    for name, task in TASKS.items():
        sub = command(name, task.about, build, epilog=task.help)
        sub.set_defaults(**dict.fromkeys(FLAGS))
        sub.add_argument("input", metavar="INPUT", help="text file to read")
        sub.add_argument("output", metavar="OUT.bin", help="data file to write")
        sub.add_argument("--max_length", type=at_least(1), help="longest example in tokens; what "
                         "is longer is cut (default: that of --like, or of the model's own "
                         "training, or %d, or what the model has)" % task.max_length)
        sub.add_argument("--like", metavar="TRAIN.bin", help="take label names and max_length (and "
                         "doc_stride) of this file: INPUT is for evaluation or prediction")
        sub.add_argument("--encoding", help="of INPUT, such as gb18030 or cp1252 (default: utf-8, "
                         "or what its byte order mark says)")
        for flag in task.flags.split():
            sub.add_argument("--" + flag, **FLAGS[flag])
    sub = command("encode", "token ids of each line of standard input", encode)
    sub.add_argument("--pair", action="store_true", help="a line is two texts with a tab between")
    sub.add_argument("--max_length", type=at_least(1), help="longest line in tokens (default: that "
                     "of the model's training, or 512, or what the model has)")
    return parser.parse_args()


def main():
    args = arguments()
    sys.stdout.reconfigure(errors="backslashreplace")  # a label that the terminal cannot show
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # head had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Error, OSError) as error:
        what = error if isinstance(error, Error) else "%s: %s%s" % (
            error.filename or "standard output", error.strerror, hint(error.filename))
        sys.exit("tokenizer.py: %s" % what)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
