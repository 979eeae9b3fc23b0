#!/usr/bin/env python3
"""Make dev/unicode.bin.z: what Hugging Face's tokenizer knows of each code point.

The Rust library behind BertTokenizer carries its own Unicode tables. Python's unicodedata, or any
C library's, disagrees with them on hundreds of code points, and changes with every release. So the
library itself is asked about each of the 1,112,064 code points, and both of our tokenizers use the
answers and nothing else. The file is zlib of the table that bert.h describes ("Unicode
table"); dev/export_hf.py puts it into model.bin.

What BertNormalizer and BertPreTokenizer do, in this order; each step has its own property:
    clean_text              drops U+0000, U+FFFD and Unicode's "other" (control, format, private
                            use), bit 1; then makes white space a blank, bit 2. So a vertical tab
                            (control and white space) vanishes, and a tab, which is spared, blanks
    handle_chinese_chars    puts blanks around CJK ideographs, bit 16
    strip_accents           NFD (with the reordering of marks), then drops Mn, bit 32
    lowercase               code point by code point: no final sigma
    the splitter            cuts at white space, bit 4, then sets each punctuation apart, bit 8
An added token with single_word also asks whether its neighbours are word characters (a regular
expression's \\w), bit 64.
"""
import argparse
import array
import os
import sys
import zlib

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

REMOVED, BLANK, SPACE, PUNCTUATION, CJK, ACCENT, WORD = 1, 2, 4, 8, 16, 32, 64
PINNED = "0.23.3"
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# A mark of each canonical combining class. The library shows only how it orders two marks, not the
# class itself; the numbers are Unicode's, which never change, and the order is checked against it.
CLASSES = {
    1: 0x334, 7: 0x93C, 8: 0x3099, 9: 0x94D, 10: 0x5B0, 11: 0x5B1, 12: 0x5B2,
    13: 0x5B3, 14: 0x5B4, 15: 0x5B5, 16: 0x5B6, 17: 0x5B7, 18: 0x5B8, 19: 0x5B9, 20: 0x5BB,
    21: 0x5BC, 22: 0x5BD, 23: 0x5BF, 24: 0x5C1, 25: 0x5C2, 26: 0xFB1E, 27: 0x64B, 28: 0x64C,
    29: 0x64D, 30: 0x618, 31: 0x619, 32: 0x61A, 33: 0x651, 34: 0x652, 35: 0x670, 36: 0x711,
    84: 0xC55, 91: 0xC56, 103: 0xE38, 107: 0xE48, 118: 0xEB8, 122: 0xEC8, 129: 0xF71, 130: 0xF72,
    132: 0xF74, 202: 0x321, 214: 0x1DCE, 216: 0x31B, 218: 0x302A, 220: 0x316, 222: 0x59A,
    224: 0x302E, 226: 0x1D16D, 228: 0x5AE, 230: 0x301, 232: 0x315, 233: 0x35C, 234: 0x35D,
    240: 0x345}


def code_points():
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def bert(**on):
    """BertNormalizer with one of its four steps."""
    steps = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    steps.update(on)
    return normalizers.BertNormalizer(**steps).normalize_str


def ask_properties():
    """code point -> property bits, without the combining class."""
    clean, cjk = bert(clean_text=True), bert(handle_chinese_chars=True)
    strip, split = bert(strip_accents=True), pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    single = Tokenizer(models.WordPiece({"[UNK]": 0, "q": 1}, unk_token="[UNK]"))
    single.add_tokens([AddedToken("q", single_word=True, normalized=False)])
    table = {}
    for c in code_points():
        s, bits = chr(c), 0
        between = "a" + s + "a"
        cleaned = clean(between)
        if cleaned == "aa":
            bits |= REMOVED
        elif cleaned == "a a":
            bits |= BLANK
        elif cleaned != between:
            raise SystemExit("U+%04X: clean_text gives %a" % (c, cleaned))
        pieces = [piece for piece, _ in split(between)]
        if pieces == ["a", "a"]:
            bits |= SPACE
        elif pieces == ["a", s, "a"]:
            bits |= PUNCTUATION
        elif pieces != [between]:
            raise SystemExit("U+%04X: the splitter gives %a" % (c, pieces))
        if cjk(s) == " " + s + " ":
            bits |= CJK
        if strip(s) == "":
            bits |= ACCENT
        if 1 not in single.encode(s + "q", add_special_tokens=False).ids:
            bits |= WORD  # "q" after a word character is no word of its own
        if bits:
            table[c] = bits
    return table


def ask_classes(nfd):
    """code point -> canonical combining class, for those that are not 0 (starters)."""
    marks = sorted(CLASSES.items())
    for (k, low), (m, high) in zip(marks, marks[1:]):
        if nfd(chr(high) + chr(low)) != chr(low) + chr(high):
            raise SystemExit("the library does not order class %d before %d" % (k, m))
    swaps = lambda first, second: nfd(chr(first) + chr(second)) == chr(second) + chr(first)
    lowest, highest = marks[0][1], marks[-1][1]
    classes = {}
    for c in code_points():
        if nfd(chr(c)) != chr(c):
            continue  # replaced by its decomposition, so its own class is never asked for
        # Any class but 1 moves behind a mark of class 1, any but 240 before one of class 240.
        if c != lowest and c != highest and not swaps(c, lowest) and not swaps(highest, c):
            continue
        same = [k for k, mark in marks if c == mark or not swaps(c, mark) and not swaps(mark, c)]
        if len(same) != 1:
            raise SystemExit("U+%04X: a combining class without a representative" % c)
        classes[c] = same[0]
    return classes


def hangul(c):
    """The decomposition of a Hangul syllable, which both tokenizers compute."""
    s = c - 0xAC00
    tail = chr(0x11A7 + s % 28) if s % 28 else ""
    return chr(0x1100 + s // 588) + chr(0x1161 + s % 588 // 28) + tail


def ask_maps(nfd):
    """code point -> (NFD, lower case), "" where it maps to itself."""
    lower = bert(lowercase=True)
    maps = {}
    for c in code_points():
        s = chr(c)
        d, l = nfd(s), lower(s)
        if 0xAC00 <= c < 0xD7A4:
            if d != hangul(c) or l != s:
                raise SystemExit("U+%04X: not the arithmetic of Hangul" % c)
        elif d != s or l != s:
            maps[c] = (d if d != s else "", l if l != s else "")
    return maps


def build():
    """The table's bytes."""
    nfd = normalizers.NFD().normalize_str
    properties = ask_properties()
    for c, k in ask_classes(nfd).items():
        properties[c] = properties.get(c, 0) | k << 8
    ranges = []
    for c in sorted(properties):
        if ranges and ranges[-1][1] == c - 1 and ranges[-1][2] == properties[c]:
            ranges[-1][1] = c
        else:
            ranges.append([c, c, properties[c]])

    pool, place = [], {"": 0}
    def pooled(s):
        if s not in place:
            place[s] = len(pool) | len(s) << 24
            pool.extend(map(ord, s))
        return place[s]

    maps = [(c, pooled(d), pooled(l)) for c, (d, l) in sorted(ask_maps(nfd).items())]
    words = [len(ranges), len(maps), len(pool)]
    for row in ranges + maps:
        words.extend(row)
    words = array.array("I", words + pool)
    if words.itemsize != 4:
        raise SystemExit("array('I') is %d bytes here, 4 are needed" % words.itemsize)
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes(), (len(ranges), len(maps), len(pool))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0],
                                     epilog="Needs the pinned tokenizers (dev/requirements.txt).")
    parser.add_argument("--out", default=os.path.join(HERE, "unicode.bin.z"), help="the file")
    parser.add_argument("--check", action="store_true",
                        help="compare with the file instead of writing it; exit 1 on a difference")
    args = parser.parse_args()
    if tokenizers.__version__ != PINNED:
        sys.exit("unicode_table.py: tokenizers is %s, the table comes from %s"
                 % (tokenizers.__version__, PINNED))
    table, counts = build()
    summary = "%d ranges, %d maps, %d pool words: %d bytes" % (*counts, len(table))
    if args.check:
        # The table is compared, not its compressed form, which differs between versions of zlib.
        with open(args.out, "rb") as file:
            same = zlib.decompress(file.read()) == table
        print("%s %s the library (%s)" % (args.out, "agrees with" if same else "DIFFERS from",
                                          summary))
        sys.exit(not same)
    with open(args.out, "wb") as file:
        file.write(zlib.compress(table, 9))
    print("%s: %s, %d compressed" % (args.out, summary, os.path.getsize(args.out)))


if __name__ == "__main__":
    main()
