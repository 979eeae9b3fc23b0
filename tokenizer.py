#!/usr/bin/env python3
"""BERT's tokenizer, and the builder of data sets for train_bert: Python's standard library only.

    python3 tokenizer.py classification train.tsv train.bin --model model.bin
    python3 tokenizer.py classification dev.tsv dev.bin --model model.bin --like train.bin
    python3 tokenizer.py encode --model model.bin < lines.txt

A text becomes token ids in four steps, each a method of Tokenizer:
    tokenize     finds added tokens such as [MASK], cuts the rest into chunks
    normalize    clean-up, blanks around CJK, accents stripped, lower case
    wordpiece    cuts a word into the longest pieces that the vocabulary has
    encode       one or two texts between [CLS] and [SEP], cut to max_length
The ids, types and offsets are those of Hugging Face's BertTokenizer (its Rust library), which
dev/check_tokenizer.py verifies. Vocabulary, settings and the Unicode table come from model.bin
(the byte tables are in bert.h's manual); Python's own unicodedata differs from Rust's tables.
"""
import argparse
import array
import bisect
import collections
import csv
import json
import math
import os
import re
import struct
import sys
import time

MODEL_MAGIC, DATA_MAGIC, VERSION = 0x4D545242, 0x44545242, 1
REMOVED, BLANK, SPACE, PUNCTUATION, CJK, ACCENT, WORD = 1, 2, 4, 8, 16, 32, 64  # the table's bits
SPECIAL, SINGLE_WORD, LSTRIP, RSTRIP, NORMALIZED, NO_PIECE = 1, 2, 4, 8, 16, 32  # added tokens'


class Error(Exception):
    """What was wrong, where, and what would be right; main prints it and exits 1."""


def require(ok, *message):
    if not ok:
        raise Error(message[0] % message[1:])


# ------------------------------------------------------------------------------------- Unicode

class Unicode(dict):
    """What Hugging Face knows of a character: self[c] are its property bits, its combining class
    in bits 8..15; nfd and lower map the characters that change. The table is made by
    dev/unicode_table.py."""

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
                 sep=None):
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
    require(words[1] == VERSION, "%s: version is %d, expected %d", name, words[1], VERSION)
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
    vocabulary, positions and token types, hash ties a data file to vocabulary and settings."""

    def __init__(self, path):
        with open(path, "rb") as file:
            head, words, size = read_header(file, path, MODEL_MAGIC, "model")
            self.V, _, _, _, _, self.P, self.S, _ = words[2:10]
            for k, what, low in ((2, "V", 1), (7, "P", 3), (8, "S", 1)):
                require(words[k] >= low, "%s: %s is %d, expected %d or more", path, what, words[k],
                        low)
            count, added = words[32], words[42]
            require(count != 0, "%s: has no tokenizer (no vocabulary in the file)", path)
            require(0 < count <= self.V, "%s: vocabulary strings: %d, expected 1 to V = %d", path,
                    count, self.V)
            for k, what in ((33, "do_lower_case"), (34, "strip_accents"),
                            (35, "tokenize_chinese_chars")):
                require(words[k] in (0, 1), "%s: %s is %d, expected 0 or 1", path, what, words[k])
            require(words[36] > 0, "%s: longest word is %d, expected 1 or more", path, words[36])
            for k, what in ((38, "[UNK]"), (39, "[CLS]"), (40, "[SEP]")):
                require(0 <= words[k] < count, "%s: id of %s is %d, expected 0 to %d", path, what,
                        words[k], count - 1)
            require(0 <= added <= count, "%s: added tokens: %d, expected 0 to %d", path, added,
                    count)
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
        self.identity = head[4 * 32:4 * 44] + vocab + flags
        super().__init__(read_strings(vocab, count, path, "the vocabulary"),
                         Unicode(table, path + ": Unicode table"), bool(words[33]),
                         bool(words[34]), bool(words[35]), words[36], pairs, *words[38:41])

    @property
    def hash(self):
        """64-bit FNV-1a of header words 32..43, vocabulary and added tokens."""
        h = 0xCBF29CE484222325
        for byte in self.identity:
            h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        return h


# ------------------------------------------------------------------------------------- readers
# A reader yields (line number, example) in the order of the file.

# As Hugging Face's run_glue.py names the columns: a pair is looked for first, then a single text.
PAIRS = (("text_a", "text_b"), ("text", "text_pair"), ("sentence1", "sentence2"),
         ("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"))
TEXTS = ("text", "sentence", "text_a", "sentence1", "review", "content")
LABELS = ("label", "labels", "gold_label", "score", "rating", "class", "target")

Example = collections.namedtuple("Example", "a b label")  # b: None for a single text


def pick(names, labelled):
    """The names of text, second text or None, and label among those of a header or an object;
    None where they are not all there."""
    b = None
    a, b = next((pair for pair in PAIRS if pair[0] in names and pair[1] in names),
                (next((name for name in TEXTS if name in names), None), None))
    label = next((name for name in LABELS if name in names), None)
    return None if a is None or (labelled and label is None) else (a, b, label)


def rows(file, kind, path):
    """(line number, fields) of a TSV or CSV file."""
    if kind == "tsv":  # a quote is a character like any other
        for line, text in enumerate(file, 1):
            text = text[:-1] if text.endswith("\n") else text
            yield line, (text[:-1] if text.endswith("\r") else text).split("\t")
        return
    csv.field_size_limit(0x7FFFFFFF)
    reader = csv.reader(file, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader) or [""]
        except StopIteration:
            return
        except csv.Error as error:
            raise Error("%s:%d: not CSV: %s" % (path, line, error))


def read_columns(file, kind, path, labelled, header):
    shape = None  # of every row: the number of columns, then the places of text, text and label
    for line, fields in rows(file, kind, path):
        if fields == [""] and labelled:
            continue
        if shape is None and header != "no":
            names = [field.strip().lower() for field in fields]
            found = pick(names, labelled)
            like_one = header == "yes" or labelled and names[-1] in LABELS
            require(found or not like_one, "%s:%d: the header is %s, expected a text (%s, ...)%s",
                    path, line, " | ".join(fields), TEXTS[0],
                    " and a label (%s, ...)" % LABELS[0] if labelled else "")
            header = "no"
            if found:
                shape = (len(fields),) + tuple(names.index(name) if name else None
                                               for name in found)
                continue
        if shape is None:
            n = len(fields)
            require(n - labelled in (1, 2), "%s:%d: %d column%s, expected %s, separated by %s",
                    path, line, n, "s" * (n != 1), "text, label or text_a, text_b, label"
                    if labelled else "text or text_a, text_b", "a tab" if kind == "tsv"
                    else "a comma")
            shape = n, 0, 1 if n - labelled == 2 else None, n - 1 if labelled else None
        require(len(fields) == shape[0], "%s:%d: %d column%s, expected %d as in the lines before",
                path, line, len(fields), "s" * (len(fields) != 1), shape[0])
        yield line, Example(*(None if k is None else fields[k] for k in shape[1:]))


def read_json(file, path, labelled):
    whole = lambda s: re.sub("[\ud800-\udfff]", "\ufffd", s)  # half a surrogate pair is no text
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text.strip())
        except json.JSONDecodeError as error:
            raise Error("%s:%d: not JSON: %s at column %d" % (path, line, error.msg, error.colno))
        require(isinstance(row, dict), "%s:%d: expected one JSON object a line", path, line)
        found = pick(row, labelled)
        require(found, "%s:%d: the keys are %s, expected a text (%s, ...)%s", path, line,
                ", ".join(map(str, row)) or "none", TEXTS[0],
                " and a label (%s, ...)" % LABELS[0] if labelled else "")
        a, b, label = (row.get(name) for name in found)
        for name, value in zip(found[:2], (a, b)):
            require(name is None or isinstance(value, str), "%s:%d: %s is %s, expected a string",
                    path, line, name, json.dumps(value))
        if labelled:
            require(not isinstance(label, list), "%s:%d: %s is a list; multi-label is not yet "
                    "supported", path, line, found[2])
            require(isinstance(label, str) or type(label) in (int, float) and math.isfinite(label),
                    "%s:%d: %s is %s, expected a string or a number", path, line, found[2],
                    json.dumps(label))
        yield line, Example(whole(a), b if b is None else whole(b), whole(str(label)))


def read_texts(path, args):
    """Examples of classification and regression, from TSV, CSV or JSON lines."""
    end = os.path.splitext(path)[1].lower()
    kind = args.format or {".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".json": "json",
                           ".jsonl": "json", ".ndjson": "json"}.get(end)
    require(kind, "%s: unknown ending %s: name the format with --format tsv, csv or json", path,
            end or "(none)")
    with open(path, "rb") as file:
        require(file.read(2) not in (b"\xff\xfe", b"\xfe\xff"), "%s: is UTF-16, expected UTF-8",
                path)
    newline = "" if kind == "csv" else "\n"  # a lone \r is white space in a text, not a line's end
    with open(path, encoding="utf-8", errors="replace", newline=newline) as file:
        if file.read(1) != "\ufeff":  # the byte order mark that spreadsheets write
            file.seek(0)
        labelled = not args.unlabelled
        reader = read_json(file, path, labelled) if kind == "json" else read_columns(
            file, kind, path, labelled, args.header)
        for line, example in reader:
            if labelled:
                label = example.label.strip()
                require(label, "%s:%d: the label is empty", path, line)
                example = example._replace(label=label)
            yield line, example


# ------------------------------------------------------------------------------------ builders

def number(text):
    """A finite float32, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= 3.4028234663852886e38 and "_" not in text else None


def by_value(label):
    """Labels sort as text, numbers among themselves by value."""
    value = number(label)
    return (1, 0, label) if value is None else (0, value, label)


class Data:
    """A data.bin in the making."""

    def __init__(self, task, args, model):
        self.task, self.args, self.model = task, args, model
        self.labels = self.fixed_labels()  # None: as they come, sorted at the end
        self.max_length = args.max_length or self.like_length or min(512, model.P)
        require(3 <= self.max_length <= model.P, "--max_length is %d, expected 3 to %d, the "
                "positions of %s", self.max_length, model.P, args.model)
        self.offsets, self.tokens, self.splits = (array.array(t) for t in "Qii")
        self.offsets.append(0)
        self.values = array.array("f" if task == "regression" else "i")
        self.cut = self.longest = 0

    def fixed_labels(self):
        """Labels by --labels or --like; --like also hands down its max_length."""
        args, self.like_length = self.args, 0
        if args.like:
            code, labels, found_hash, self.like_length = read_like(args.like)
            require(code == TASKS[self.task].code, "%s: is not a %s file", args.like, self.task)
            require(found_hash == self.model.hash, "%s: was made with another vocabulary or other "
                    "tokenizer settings than %s", args.like, args.model)
            require(labels or args.unlabelled or self.task == "regression",
                    "%s: has no labels to take over", args.like)
            return labels
        if args.labels is None:
            return None
        labels = [label.strip() for label in args.labels.split(",")]
        require(all(labels), "--labels %s: an empty label", args.labels)
        require(len(set(labels)) == len(labels), "--labels %s: a label twice", args.labels)
        return labels

    def add(self, line, example):
        try:
            enc = self.model.encode(example.a, example.b, self.max_length, False)
        except ValueError as error:
            raise Error("%s:%d: %s" % (self.args.input, line, error))
        require(example.b is None or self.model.S > 1, "%s:%d: a pair of texts, but the model has "
                "one token type", self.args.input, line)
        self.tokens.extend(enc.ids)
        self.offsets.append(len(self.tokens))
        self.splits.append(enc.split)
        self.cut += enc.cut
        self.longest = max(self.longest, len(enc.ids))

    def write(self, path):
        """Into a temporary file, flushed, renamed: a data file is whole or not there."""
        names = [label.encode("utf-8", "replace") for label in self.labels or []]
        ends = [0]
        for name in names:
            ends.append(ends[-1] + len(name))
        strings = struct.pack("<%dQ" % len(ends), *ends) + b"".join(names) if names else b""
        sections = [strings] + [array.array(a.typecode, a) if sys.byteorder == "big" else a
                                for a in (self.offsets, self.tokens, self.splits, self.values)]
        sizes = [len(strings)] + [a.itemsize * len(a) for a in sections[1:]]
        words = [0] * 256
        def put64(k, value):
            words[k], words[k + 1] = value & 0xFFFFFFFF, value >> 32
        words[:6] = (DATA_MAGIC, VERSION, TASKS[self.task].code, 0, len(names),
                     int(not self.args.unlabelled))
        put64(6, len(self.splits))
        put64(8, len(self.tokens))
        words[10:12] = self.longest, self.model.V
        put64(12, self.model.hash)
        words[14] = self.max_length
        put64(15, len(strings))
        put64(30, 1024 + sum(map(padded, sizes)))
        temporary = "%s.tmp%d" % (path, os.getpid())
        try:
            with open(temporary, "wb") as file:
                file.write(struct.pack("<256I", *words))
                for section, size in zip(sections, sizes):
                    if sys.byteorder == "big" and section is not strings:
                        section.byteswap()
                    file.write(section)
                    file.write(b"\0" * (padded(size) - size))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:  # a full disk's has no file name
            raise Error("%s: %s" % (path, error.strerror))
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)

    def report(self, path):
        n, total = len(self.splits), len(self.tokens)
        unknown = self.tokens.count(self.model.unk)
        print("%s: %d examples, %d tokens (mean %.1f, longest %d), %d cut at %d, [UNK] %.2f%%" % (
            path, n, total, total / n, self.longest, self.cut, self.max_length,
            100 * unknown / total))
        if self.values.typecode == "f" and len(self.values):
            print("values: %g to %g, mean %g" % (min(self.values), max(self.values),
                                                 sum(self.values) / n))
        elif self.values:
            counts = collections.Counter(self.values)
            print("labels: " + ", ".join("%s %d" % (label, counts[k])
                                         for k, label in enumerate(self.labels[:40]))
                  + ", ..." * (len(self.labels) > 40))
            if len(self.labels) == 1:
                print("warning: there is only one label, nothing to learn", file=sys.stderr)


def read_like(path):
    """Task, label names, tokenizer hash and max_length of a data file."""
    with open(path, "rb") as file:
        _, words, size = read_header(file, path, DATA_MAGIC, "data")
        length = u64(words, 15)
        require(words[4] >= 0 and length <= size - 1024, "%s: label names: %d in %d bytes", path,
                words[4], length)
        labels = read_strings(file.read(length), words[4], path, "the label names") \
            if words[4] else []
        return words[2], labels, u64(words, 12), words[14]


def build_classification(data, examples):
    """Labels get their index as they come; where they were not given they are sorted at the end."""
    index = {label: k for k, label in enumerate(data.labels or [])}
    for line, example in examples:
        data.add(line, example)
        if example.label is not None and not data.args.unlabelled:
            require(data.labels is None or example.label in index,
                    "%s:%d: the label %s is unknown, expected one of %s", data.args.input, line,
                    example.label, ", ".join(list(index)[:20]) + ", ..." * (len(index) > 20))
            data.values.append(index.setdefault(example.label, len(index)))
    if data.args.unlabelled:
        data.labels = []
    elif data.labels is None:
        data.labels = sorted(index, key=by_value)
        place = {index[label]: k for k, label in enumerate(data.labels)}
        data.values = array.array("i", (place[k] for k in data.values))


def build_regression(data, examples):
    require(data.args.labels is None, "--labels: regression has numbers, not label names")
    for line, example in examples:
        data.add(line, example)
        if not data.args.unlabelled:
            value = number(example.label)
            require(value is not None, "%s:%d: the label is %s, expected a finite number",
                    data.args.input, line, example.label)
            data.values.append(value)
    data.labels = []


# One row a task: its number in the files, what reads the input, what turns examples into a Data.
Task = collections.namedtuple("Task", "code read build about")
TASKS = {
    "classification": Task(1, read_texts, build_classification, "a text or a pair, and its label"),
    "regression": Task(2, read_texts, build_regression, "a text or a pair, and a number"),
    "ner": Task(3, None, None, "words with tags (not yet)"),
    "qa": Task(4, None, None, "SQuAD questions (not yet)"),
    "mlm": Task(5, None, None, "plain text (not yet)"),
    "pretraining": Task(6, None, None, "documents of sentences (not yet)"),
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
    require(task.build, "%s: this task is not yet supported; there are %s", args.task,
            " and ".join(name for name, t in TASKS.items() if t.build))
    for path in (args.input, args.model, args.like):
        require(not path or not os.path.exists(path) or not os.path.exists(args.output)
                or not os.path.samefile(path, args.output), "%s: would be overwritten", path)
    require(not os.path.exists(args.output) or os.path.isfile(args.output), "%s: is not a file, "
            "and would be replaced by one", args.output)
    data = Data(args.task, args, Model(args.model))
    task.build(data, progress(task.read(args.input, args), args.input))
    data.write(args.output)
    data.report(args.output)


def encode(args):
    model = Model(args.model)
    max_length = args.max_length or min(512, model.P)
    require(2 + args.pair <= max_length <= model.P, "--max_length is %d, expected %d to %d, the "
            "positions of %s", max_length, 2 + args.pair, model.P, args.model)
    for line, raw in enumerate(sys.stdin.buffer, 1):
        text, pair = raw.decode("utf-8", "replace").rstrip("\n"), None
        if args.pair:
            text, tab, pair = text.partition("\t")
            require(tab, "stdin:%d: no tab, --pair expects one between the two texts", line)
        ids = model.encode(text, pair, max_length, False).ids
        sys.stdout.write(" ".join(map(str, ids)) + "\n")


FORMATS = """
input: TSV (.tsv, .txt), CSV (.csv) or JSON lines (.json, .jsonl), UTF-8.
  Columns: text, label or text_a, text_b, label; with --unlabelled: text or text_a, text_b.
  The first line is a header if it names a text and, unless --unlabelled, a label; the columns may
  then have any order and others are ignored; --header no or yes if that guesses wrong. JSON
  objects use the same names.
  text:   text, sentence, ...
  pair:   text_a text_b, text text_pair, sentence1 sentence2, premise hypothesis,
          question1 question2, question sentence
  label:  label, labels, gold_label, score, rating, class, target
  Quotes mean nothing in TSV. Empty lines are skipped; with --unlabelled they are empty texts.
"""


def main():
    parser = argparse.ArgumentParser(
        description="Text files to token files for train_bert; lines of text to token ids.",
        epilog="python3 tokenizer.py TASK --help has the flags and the input format.")
    commands = parser.add_subparsers(dest="task", metavar="TASK", required=True)
    positive = lambda text: int(text) if int(text) > 0 else int("")
    positive.__name__ = "positive number"  # argparse names it in its message

    def command(name, about, run, **more):
        sub = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".",
                                  formatter_class=argparse.RawDescriptionHelpFormatter, **more)
        sub.set_defaults(run=run)
        sub.add_argument("--model", required=True, help="model.bin with the vocabulary and its "
                         "settings")
        return sub

    for name, task in TASKS.items():
        sub = command(name, task.about, build, epilog=FORMATS if task.build else None)
        sub.add_argument("input", metavar="INPUT", help="text file to read")
        sub.add_argument("output", metavar="OUT.bin", help="data file to write")
        sub.add_argument("--max_length", type=positive, help="longest example in tokens; what is "
                         "longer is cut (default: that of --like, or 512, or what the model has)")
        sub.add_argument("--labels", help="label names in their order, separated by commas "
                         "(default: those of the file, sorted, numbers by value)")
        sub.add_argument("--like", metavar="TRAIN.bin", help="take the label names and the "
                         "max_length of this file")
        sub.add_argument("--unlabelled", action="store_true", help="the file has no labels")
        sub.add_argument("--format", choices=("tsv", "csv", "json"), help="of INPUT (default: by "
                         "its ending)")
        sub.add_argument("--header", choices=("auto", "yes", "no"), default="auto", help="whether "
                         "the first line names the columns (default: auto, see below)")
    sub = command("encode", "token ids of each line of standard input", encode)
    sub.add_argument("--pair", action="store_true", help="a line is two texts with a tab between")
    sub.add_argument("--max_length", type=positive, help="longest line in tokens (default: 512, or "
                     "what the model has)")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # a label that the terminal cannot show
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # head had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Error, OSError) as error:
        what = error if isinstance(error, Error) else "%s: %s" % (
            error.filename or "standard output", error.strerror)
        sys.exit("tokenizer.py: %s" % what)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
