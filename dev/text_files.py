"""Text files as data sets come in them: tokenizer.py's readers. Python's standard library only.

What a file is (encoding, format, delimiter, header) and which of its columns are what is decided
here and nowhere else: by flags, then by names, then by values. What stays open is an error that
names the flag which settles it; what was decided is said in Input.said, for the report.

    open_text    bytes to lines: encodings, byte order marks, what is no text
    open_table   lines to names and rows: TSV, CSV, CoNLL, JSON, JSON lines
    is_header, text_roles, word_roles     names and rows to columns with a meaning
    read_texts, read_words, read_questions, read_lines    what the tasks get: (place, example)

A place is the file with a line, or with a path such as .data[0].paragraphs[2].
"""
import codecs
import collections
import csv
import itertools
import json
import os
import re


class Error(Exception):
    """What was wrong, where, and what would be right; main prints it and exits 1."""


def require(ok, *message):
    if not ok:
        raise Error(message[0] % message[1:])


def number(text):
    """A finite float32, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= 3.4028234663852886e38 and "_" not in text else None


def short(names):
    names = list(names)
    return ", ".join(names[:40]) + ", ..." * (len(names) > 40)


def plural(n, what):
    return "%d %s%s" % (n, what, "s" * (n != 1))


class Input:
    """The file that is read, what is known of it before, and what was found out."""

    def __init__(self, args, task, labels, multi):
        self.args, self.path, self.task = args, args.input, task
        self.labels = dict.fromkeys(labels or [])  # names that are given, by --labels or --like
        self.labelled = not args.unlabelled
        self.multi = bool(args.multi_label) or multi  # any number of labels, commas between
        self.encoding, self.kind, self.said = None, "text", []
        self.lost, self.first_lost = 0, ""  # places that are not of the encoding
        self.label_names = None  # of columns or vectors of 0 and 1
        self.header = None
        self.quotes = ""  # what is between columns, where a field in quotes may have it
        self.quoted = self.placed = self.empty = 0  # texts in quotes, labels as places, no texts
        self.between = r"[,\s]+"  # labels of one field, where an example has several


# ----------------------------------------------------------------------------- bytes to lines

BINARY = [(re.compile(magic, re.DOTALL | re.IGNORECASE), name) for magic, name in (
    (rb"\x1f\x8b", "gzip"), (rb"BZh\d", "bzip2"), (rb"\xfd7zXZ", "xz"), (rb"7z\xbc\xaf", "7z"),
    (rb"\x28\xb5\x2f\xfd", "zstd"), (rb"PK\x03\x04", "a zip archive (.xlsx, .docx, .pt, .npz are)"),
    (rb"\x80[\x02-\x05]", "a pickle"), (rb".{8}\{ *\"", "safetensors"), (rb"PAR1", "Parquet"),
    (rb"ARROW1|\xff{4}", "Arrow"), (rb"\x89HDF", "HDF5"), (rb"\x93NUMPY", "NumPy"),
    (rb"SQLite format", "SQLite"), (rb"%PDF-", "PDF"),
    (rb"\xd0\xcf\x11\xe0", "an old .xls or .doc"),
    (rb".{257}ustar", "a tar archive"), (rb"version https://git-lfs", "a pointer of Git LFS: "
     "git lfs pull fetches the file"), (rb"\s*<(!DOCTYPE )?html", "an HTML page"),
    (rb"BRTM", "a model.bin"), (rb"BRTD", "a data file already, of tokenizer.py"))]
MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
         (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
A_FEW = 3  # places that are not UTF-8: a warning


def open_text(file, newline="\n"):
    """The lines of a file, with their ends: a lone \\r is white space in a text. What is not of
    the encoding becomes U+FFFD, which is cleaned away: such letters would go in silence, so they
    are counted."""
    path, given = file.path, file.args.encoding
    with open(path, "rb") as raw:
        head = raw.read(1 << 16)
    kind = next((name for magic, name in BINARY if magic.match(head)), None)
    require(not kind or kind == "safetensors" and b"\0" not in head[:8],
            "%s: is %s, expected a text file", path, kind)
    mark = next((name for mark, name in MARKS if head.startswith(mark)), None)
    require(mark or given or b"\0" not in head, "%s: has NUL bytes: not a text file, or UTF-16 "
            "without its mark (--encoding utf-16-le)", path)

    def lost(error):
        if not file.lost:
            before = error.object[:error.start].rpartition(b"\n")[2][-30:]
            file.first_lost = "0x%s%s%s" % (
                error.object[error.start:error.end].hex().upper(),
                " behind %a" % before.decode(file.encoding, "ignore") if before else "",
                line_lost(path, file.encoding))
        file.lost += 1
        require(given or file.lost <= A_FEW, "%s: is not UTF-8 in more than a few places, the "
                "first is %s: name its --encoding, such as gb18030, big5, shift_jis, cp1252; or "
                "utf-8, to lose such letters", path, file.first_lost)
        return "\ufffd", error.end

    codecs.register_error("count what is lost", lost)
    try:
        name = codecs.lookup(given or mark or "utf-8").name
        require(not mark or name[:5] == mark[:5], "%s: begins with the byte order mark of %s, but "
                "--encoding says %s", path, mark and mark[:6], given)
        file.encoding = mark or name
        text = open(path, encoding=file.encoding, errors="count what is lost", newline=newline)
    except LookupError:
        raise Error("--encoding %s: unknown, expected one such as utf-8, gb18030, cp1252" % given)
    with text:
        for line in text:
            require("\0" not in line, "%s: has NUL characters: not a text file", path)
            require(given or "\x1b$" not in line, "%s: has escapes of ISO-2022: --encoding "
                    "iso-2022-jp (or -kr)", path)
            yield line


def line_lost(path, encoding):
    """Where the first letter is lost. A decoder has pieces of a file, and does not know its lines;
    those of UTF-16 and UTF-32 are none in bytes."""
    with open(path, "rb") as raw:
        for line, text in enumerate(raw if encoding[:6] not in ("utf-16", "utf-32") else (), 1):
            try:
                text.decode(encoding)
            except UnicodeDecodeError:
                return " in line %d" % line
    return ""


def encoding_of(file):
    """For the report: nothing of UTF-8."""
    return "" if file.encoding[:5] == "utf-8" else ", " + file.encoding


def lines(source):
    for line, text in enumerate(source, 1):
        text = text[:-1] if text.endswith("\n") else text
        yield line, text[:-1] if text.endswith("\r") else text


def read_lines(file):
    """mlm and pretraining: (line, text)."""
    source = open_text(file)
    head = list(itertools.islice(source, 9))
    end = os.path.splitext(file.path)[1].lower()
    require(not is_json(head) and end not in (".csv", ".tsv", ".jsonl", ".json"), "%s: is a table, "
            "but %s reads plain text: bring its texts into a .txt", file.path, file.task)
    file.said.append("read as plain text" + encoding_of(file))
    file.said += ["first: %r" % text.strip()[:60] for text in head if text.strip()][:1]
    yield from lines(itertools.chain(head, source))


# ------------------------------------------------------------------------------ lines to rows

ENDINGS = {".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".json": "json", ".jsonl": "json",
           ".ndjson": "json"}
DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "blank": " "}
SAMPLE = 1000  # rows that are looked at before anything is decided


def parse_json(text, path, line=1):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nesting without end
        at = lambda name, otherwise: getattr(error, name, otherwise)
        raise Error("%s:%d: not JSON: %s at column %d" % (path, line + at("lineno", 1) - 1,
                                                          at("msg", error), at("colno", 1)))


def is_json(head):
    """Whether a file begins with an object, or with an array of them."""
    return re.match(r"\s*(\[\s*)?\{\s*\"[^\"]*\"\s*:", "".join(head)) is not None


def whole(text):
    """JSON can spell half a surrogate pair, which is no text."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def read_json(source, path):
    """(place, object, version) of JSON lines, of an array, or of {"data": [...]}, which SQuAD and
    run_qa have."""
    started = False
    for line, text in lines(source):
        if not text.strip():
            continue
        try:
            root = json.loads(text)
        except (ValueError, RecursionError):  # not whole on its line: one value on all lines
            more = [] if started else list(source)
            root = parse_json("\n".join([text] + ["".join(more)] * bool(more)), path, line)
        started = True
        place, items, version = "%s:%d" % (path, line), None, ""
        if isinstance(root, list):
            place, items = path + ": ", root
        elif isinstance(root, dict) and isinstance(root.get("data"), list):
            place, items, version = path + ": .data", root["data"], str(root.get("version", ""))
        for k, item in enumerate([root] if items is None else items):
            at = place if items is None else "%s[%d]" % (place, k)
            require(isinstance(item, dict), "%s is %s, expected an object", at,
                    json.dumps(item)[:60])
            yield at, item, version


def rows(source, delimiter, quoted, path):
    """(place, fields) of TSV or CSV; without a delimiter, of CoNLL: a tab, or else blanks."""
    if quoted:
        csv.field_size_limit(0x7FFFFFFF)
        reader = csv.reader(source, delimiter=delimiter, strict=True,
                            skipinitialspace=delimiter != " ")  # a, "b" has quotes as a,"b" has
        while True:
            place = "%s:%d" % (path, reader.line_num + 1)
            try:
                yield place, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise Error("%s: not CSV: %s" % (place, error))
    width = None
    for line, text in lines(source):
        if delimiter or "\t" in text:
            fields = text.split(delimiter or "\t") if text else []
        else:
            fields = [field for field in text.split(" ") if field]
            if text[:1] == " " and fields and len(fields) + 1 == width:
                fields.insert(0, " ")  # the word is a blank
            width = len(fields) or width
        yield "%s:%d" % (path, line), fields


def find_delimiter(file, kind, head):
    """Where no flag says it: what cuts the first lines into one number of columns."""
    def cuts(delimiter):
        cut = csv.reader(head, delimiter=delimiter, skipinitialspace=True) if (
            kind == "csv" or delimiter == ",") else (
                text.split(delimiter) for text in head if text.strip())
        widths = [len(fields) for fields in cut if fields]
        widths = widths[:-1] if len(widths) > 50 else widths  # the last one may go on
        return len(set(widths)) == 1 and widths[0] > 1

    usual = "," if kind == "csv" else "\t"
    if kind != "csv" and (not file.labelled or any("\t" in text for text in head)):
        return usual
    marked = re.fullmatch('"?sep=(.)"?\\s*', head[0]) if head else None
    if marked:  # Excel's first line
        del head[0]
        return marked[1]
    found = [delimiter for delimiter in ",;\t|" if cuts(delimiter)]
    require(len(found) < 2, "%s: any of %s may be between its columns: say which, with --delimiter",
            file.path, " ".join(found).replace("\t", "tab"))
    return found[0] if found else usual


def open_table(file):
    """The names of the columns, where JSON has them, and the rows: (place, fields)."""
    args, path, ner = file.args, file.path, file.task == "ner"
    end = os.path.splitext(path)[1].lower()
    kind = args.format or ENDINGS.get(end)
    source = open_text(file, "" if kind == "csv" else "\n")
    head = list(itertools.islice(source, 100))
    if kind == "json" or not args.format and is_json(head[:9]):
        source = itertools.chain(head, source)
        items = ((place, item) for place, item, _ in read_json(source, path))
        sample = list(itertools.islice(items, SAMPLE))
        names, file.kind = list(dict.fromkeys(key for _, item in sample for key in item)), "JSON"
        return names, ((place, [item.get(name) for name in names])
                       for place, item in itertools.chain(sample, items))
    filled = [text for text in head if text.strip()]
    if not kind and filled and all("\t" in text for text in filled):
        kind = "tsv"
    require(kind or ner or not head, "%s: unknown ending %s: name the format with --format tsv, "
            "csv or json", path, end or "(none)")
    delimiter = DELIMITERS.get(args.delimiter, args.delimiter)
    require(not delimiter or not set(delimiter) & set('"\r\n'), "--delimiter %r: expected no quote "
            "and no line's end", delimiter)
    if not delimiter and (kind == "csv" or not ner):
        delimiter = find_delimiter(file, kind, head)
    # In TSV a quote is a letter like any other, unless each field of the first line is in quotes.
    one = len(delimiter or "") == 1
    quoted = one and (kind == "csv" or delimiter == "," and not args.format or bool(filled)
                      and all(re.fullmatch('".*"', field.strip())
                              for field in filled[0].split(delimiter)))
    file.quotes = delimiter if quoted else ""
    file.kind = "%s, %s between columns" % (
        "CSV" if quoted else "TSV" if delimiter == "\t" else "text",
        {None: "a tab or blanks", "\t": "tab", ",": "comma"}.get(delimiter, delimiter))
    return None, rows(itertools.chain(head, source), delimiter, quoted, path)


# ------------------------------------------------------------- rows to columns with a meaning

def key(name):
    """A column's name as the tables below have it: Sentence 1, sentence_1, sentence1 are one."""
    return re.sub("[\\s_-]+", "", name.strip(" \t\ufeff\u200b\xa0\"'").lower())


def names_of(*groups):
    return [[key(name) for name in group.split()] for group in groups]


# As Hugging Face's run_glue.py names the columns, and public data sets: a pair is looked for first,
# then a single text. Names in one group are alike: of two of them neither is certain.
PAIRS = names_of(
    "text_a text_b", "text text_pair", "sentence1 sentence2", "premise hypothesis",
    "question1 question2", "question sentence", "#1_string #2_string", "sentence_a sentence_b",
    "text1 text2", "sent1 sent2", "s1 s2", "context hypothesis", "question passage",
    "claim evidence", "query passage", "query document", "\u53e5\u5b501 \u53e5\u5b502",
    "title description", "title content")
TEXTS = names_of(
    "text sentence", "text_a sentence1 premise question1",
    "content review comment comment_text tweet message body document question query utterance "
    "phrase headline review_text review_body post statement article abstract sms texto texte testo "
    "tekst satz kommentar \u8bc4\u8bba\u5185\u5bb9 \u8bc4\u4ef7\u5185\u5bb9 \u6587\u672c "
    "\u6587\u672c\u5185\u5bb9 \u5185\u5bb9 \u8bc4\u8bba \u53e5\u5b50 \u6b63\u6587 "
    "\u0442\u0435\u043a\u0441\u0442 \u30c6\u30ad\u30b9\u30c8 \ud14d\uc2a4\ud2b8")
LABELS = names_of(
    "label labels gold_label",
    "score rating class target sentiment category intent emotion stars star_rating is_duplicate "
    "quality similarity polarity topic stance airline_sentiment class_index class_label label_id "
    "relatedness_score entailment_judgment etiqueta etiquette \u00e9tiquette etichetta etikett "
    "klasse kategorie categoria categor\u00eda cat\u00e9gorie clase classe \u6807\u7b7e "
    "\u7c7b\u522b \u5206\u7c7b \u60c5\u611f \u043c\u0435\u0442\u043a\u0430 "
    "\u043a\u043b\u0430\u0441\u0441 \u30e9\u30d9\u30eb \ub77c\ubca8")
WORDS = names_of("tokens words", "token word form", "text sentence text_a")
TAGS = names_of("ner_tags", "ner ne tags tag labels label", "pos_tags pos upos")
SENTENCES = names_of("sentence_# sentence_id sent_id sentence_idx sentence_no")
KNOWN = {name for group in PAIRS + TEXTS + LABELS for name in group}
ID = re.compile(r"|#|no|nr|row|i?dx|index|[gu]?u?id\d?|qid\d?|unnamed:_?\d+|.*_id|"
                r"(text|article|tweet|phrase|sentence|pair|prompt|caption|doc|user|post)id")
def is_id(name):
    return ID.fullmatch(re.sub(r"[\s-]+", "_", name.strip().lower())) is not None


ONES, ZEROS = {"1", "1.0", "true", "True", "TRUE"}, {"0", "0.0", "false", "False", "FALSE"}
PHRASES = set("NP VP PP ADJP ADVP SBAR PRT CONJP INTJ LST UCP NC VC PC".split())  # chunks' types
UPOS = 3  # the fourth column of CoNLL-U


class Column(list):
    """A column's values in the first rows, as text, and what they look like."""

    def __init__(self, table, k):
        super().__init__(as_text(fields[k]) for fields in table if k < len(fields))
        self.filled = [v.strip() for v in self if v.strip() and v != "null"]
        every = lambda test: bool(self.filled) and all(map(test, self.filled))
        self.distinct = len(set(self.filled))
        self.numbers = every(lambda v: number(v) is not None)
        self.numeric = self.filled != [] and len(self.filled) <= 2 * sum(
            number(v) is not None for v in self.filled)
        self.binary = every(lambda v: v in ONES or v in ZEROS)
        self.coded = every(re.compile(r"[\w.:#-]*\d[\w.:#-]*").fullmatch)  # as an id is
        self.prose = not self.numbers and len(self.filled) < 2 * sum(
            " " in v or len(v) > 30 or len(v) > 3 and v[0] > "\u2e80" for v in self.filled)
        self.counter = len(self) > 3 and self.numbers and all(
            float(b) - float(a) == 1 for a, b in zip(self.filled, self.filled[1:]))
        self.few = self.distinct <= max(3, len(self.filled) // 2)  # as labels are
        self.tags = every(is_tag) or 3 * self.filled.count("O") > len(self.filled)
        self.types = {v[2:] for v in self.filled if is_tag(v)} - {""}


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def is_tag(text):
    return text == "O" or re.match("[BIESLUMW]-.", text) is not None


def by_name(groups, names, free):
    """The free columns whose name is in the first group that has any: one is certain."""
    for group in groups:
        found = [k for k in free if key(names[k]) in group]
        if found:
            return found
    return []


def listing(names, width):
    return short("%d %s" % (k + 1, names[k].strip()) if names else str(k + 1) for k in range(width))


def by_flag(file, flag, names, width, value=None):
    """The column that a flag names, or counts from 1; None without the flag."""
    value = getattr(file.args, flag) if value is None else value
    if value is None:
        return None
    found = [k for k in range(width) if names and names[k].strip() == value] or [
        k for k in range(width) if names and key(names[k]) == key(value)]
    if not found and value.isdigit() and 1 <= int(value) <= width:
        found = [int(value) - 1]
    require(len(found) == 1, "--%s %s: %s, the columns are %s%s", flag, value,
            "there are two of this name" if found else "there is no such column",
            listing(names, width), "" if names else ", as there is no header")
    return found[0]


def by_flags(file, flag, names, width):
    """The columns of a list: names, numbers, or numbers from-to."""
    out = []
    for part in getattr(file.args, flag).split(","):
        ends = re.fullmatch(r"\s*(\d+)-(\d+)\s*", part)
        ends = [by_flag(file, flag, names, width, end) for end in (
            ends.groups() if ends else [part.strip()])]
        out += range(ends[0], ends[-1] + 1)
    return out


Roles = collections.namedtuple("Roles", "a b label hot")  # hot: columns of 0 and 1, one a label
NONE = Roles(None, None, None, [])


def named_roles(file, names, columns):
    """What the names tell; of two labels or texts alike neither is taken."""
    free = range(len(names))
    have = {key(name): k for k, name in enumerate(names)}
    a, b = next(((have[a], have[b]) for a, b in PAIRS if a in have and b in have
                 and (a != "title" or not have.keys() & set(TEXTS[0]))), (None, None))
    texts = by_name(TEXTS, names, free) if a is None else []
    a = texts[0] if len(texts) == 1 else a
    rest = [k for k in free if k not in (a, b)]
    numeric = [k for k in rest if columns[k].numeric and file.task == "regression"]
    labels = by_name(LABELS, names, numeric) or by_name(LABELS, names, rest)
    if texts and key(names[texts[0]]) not in TEXTS[0] and any(
            columns[k].prose for k in free if k != a and not is_id(names[k])):
        a = None  # a query with a title, an answer beside the question: two texts?
    return Roles(a, b, labels[0] if len(labels) == 1 else None, [])


def twin(name, known):
    """The name of a label among those that are known: 1 and 1.0 are one."""
    for same in name, re.sub(r"^(-?\d+)\.0+$", r"\1", name), name + ".0":
        if same in known and (same == name or number(name) is not None):
            return same
    return None


def label_like(file, column):
    if file.task == "regression":
        return column.numeric and not column.counter  # which row is none has its own message
    known = sum(twin(v, file.labels) is not None for v in column.filled)
    return 2 * known > len(column.filled) if file.labels else column.few


def valued_roles(file, columns, free):
    """What the values tell of columns without known names: the last one is the label, one or two
    before it are texts, if they look so; or else what alone looks like texts and a label."""
    if len(columns) == 4 and columns[1].binary and columns[3].prose and all(
            re.fullmatch("[?*#%]*", mark) for mark in columns[2]):
        return Roles(3, None, 1, [])  # CoLA: source, label, its author's mark, sentence
    if len(free) in (2, 3):
        *texts, label = (columns[k] for k in free)
        swapped = label.prose and label.distinct == len(label) and not all(c.prose for c in texts)
        likely = file.multi or label_like(file, label) and not swapped
        if likely and not any(c.coded for c in texts) and len({c.prose for c in texts}) == 1:
            return Roles(free[0], free[1] if len(texts) == 2 else None, free[-1], [])
    texts = [k for k in free if columns[k].prose]
    labels = [k for k in free if k not in texts and label_like(file, columns[k]) and (
        file.labels or file.task == "regression" or columns[k].distinct < len(columns[k]))]
    rest = [columns[k] for k in free if k not in texts + labels]
    if len(texts) in (1, 2) and len(labels) == 1 and all(c.coded for c in rest):
        return Roles(texts[0], texts[1] if len(texts) == 2 else None, labels[0], [])
    return NONE


def text_roles(file, names, columns):
    """The columns of classification's and regression's files; not all are found without flags."""
    args, width = file.args, len(columns)
    a, b, label = (by_flag(file, flag, names, width) for flag in (
        "text_column", "text_pair_column", "label_column"))
    hot = by_flags(file, "multi_label", names, width) if isinstance(args.multi_label, str) else []
    known = named_roles(file, names, columns) if names else NONE
    if a is None and b is None:
        a, b = (None if k in [label] + hot else k for k in known[:2])
    if label is None and not hot and known.label not in (a, b):
        label = known.label
    free = [k for k in range(width) if k not in [a, b, label] + hot
            and (columns[k].filled or not columns[k] or width < 3)
            and not (names and is_id(names[k]))]
    if not names and file.labels and label is None:  # whatever is to predict, it may have labels
        found = [k for k in free if label_like(file, columns[k])]
        label = found[0] if len(found) == 1 and len(free) > 1 else None
        free = [k for k in free if k != label]
    settled = label is not None or hot or not file.labelled
    if a is None and b is None and not settled:
        a, b, label, _ = valued_roles(file, columns, free)
    elif a is None and settled:
        texts = [k for k in free if width == 1 or not columns[k].coded]
        first, last = (columns[texts[0]], columns[texts[-1]]) if texts else (None, None)
        pair = len(texts) == 2 and b is None and not names and first.prose == last.prose and (
            label is not None or len(last) < 4 or not last.few)
        if len(texts) == 1 or pair:
            a, b = texts[0], texts[1] if pair else b
    elif not settled and len(free) == 1:
        label = free[0] if file.multi or label_like(file, columns[free[0]]) else None
    elif not settled and names and free and file.task == "classification" and all(
            columns[k].binary for k in free):
        hot = free
    if not file.labelled:
        return Roles(a, b, None, [])
    return Roles(a, b, label, hot)


def is_header(file, first, columns):
    """Whether the first row names the columns below it: it does where names are known, or a column
    of numbers begins with a word; it does not where its label comes again. Else nobody knows."""
    args, names = file.args, [key(field) for field in first]
    if args.header != "auto":
        return args.header == "yes"
    flags = [getattr(args, flag) for flag in ("text_column", "text_pair_column", "label_column",
                                              "tag_column")]
    if isinstance(args.multi_label, str) or any(flag and not flag.isdigit() for flag in flags):
        return True
    known = named_roles(file, first, columns)
    if known.a is not None and (known.label is not None or not file.labelled):
        return True
    name_like = lambda text: len(text) <= 40 and len(text.split()) <= 4 and number(text) is None \
        and text.strip()[-1:] not in list(".!?\u3002\uff01\uff1f")
    if not any(names) or not all(map(name_like, first)):
        return False
    if any(name and len(c) > 1 and c.numbers for c, name in zip(columns, names)):
        return True
    some = any(name in KNOWN or name and is_id(field) for name, field in zip(names, first))
    question = "%s: is the first line (%s) a header? Say --header yes or no" % (
        file.path, " | ".join(first))
    if not file.labelled:
        odd = any(re.fullmatch("[A-Za-z0-9]+(_[A-Za-z0-9]+)+", name) or len(first) > 1 and c.prose
                  and all(" " in text for text in c) and " " not in name.strip()
                  for c, name in zip(columns, first))
        require(some or not odd, "%s", question)
        return some
    if args.label_column:
        label = by_flag(file, "label_column", None, len(first))
    else:
        label = text_roles(file, None, columns).label
    if label is None or not first[label].strip():
        return some
    parts = lambda text: re.split(r"[,;|\s]+", text) if file.multi else [text]
    values = file.labels or {part for value in columns[label].filled for part in parts(value)}
    again = any(twin(part, values) is not None for part in parts(first[label].strip()))
    if again or file.labels or file.task == "regression":
        return not again and len(columns[label]) > 0
    require(some, "%s, or name a column as it does (--label_column %s): that label is in no other "
            "line", question, first[label].strip())
    return True


def require_roles(file, roles, names, columns):
    flags = ["--text_column"] + ["--text_pair_column"] * (len(columns) > 2)
    if file.labelled:
        flags.append("--label_column" + " or --multi_label COLUMNS" * (file.task[0] == "c"))
    require(len(columns) > 1 or not file.labelled or file.kind == "JSON", "%s: 1 column%s, "
            "expected text, label or text_a, text_b, label; %s", file.path, " (%s)" % names[0]
            if names else "", "fastText's: sed -E 's/^(__label__[^ ]+) /\\1\\t/' makes two of it"
            if any(v[:9] == "__label__" for v in columns[0]) else "its commas are full-width ones, "
            "\uff0c: expected ," if file.quotes == "," and "\uff0c" in (names or columns[0])[0]
            else "--delimiter says what is between them")
    require(roles.a is not None and (roles.label is not None or roles.hot or not file.labelled),
            "%s: which column is what? Say it with %s, by name%s or number. The columns are %s",
            file.path, ", ".join(flags), "" if names else " (and --header yes)",
            listing(names, len(columns)))
    used = [k for k in roles[:3] + tuple(roles.hot) if k is not None]
    require(len(set(used)) == len(used), "%s: one column is taken for two things: %s", file.path,
            listing(names, len(columns)))


def require_width(file, place, fields, width, where):
    """Each row has as many columns; why another has not, where that is plain to see."""
    why = ""
    if len(fields) > width and file.quotes:
        why = "; a text that has %r in it goes in quotes, \"...\"" % file.quotes
    elif file.quotes == "," and any("\uff0c" in str(field) for field in fields):
        why = "; its comma is a full-width one, \uff0c: expected ,"
    require(len(fields) == width, "%s: %s, expected %d as in the %s%s", place,
            plural(len(fields), "column"), width, where, why)


def say_columns(file, names, width, roles):
    """For the report: what was taken for what. roles: (what, column)."""
    name = lambda k: names[k].strip() if names and names[k].strip() else "column %d" % (k + 1)
    used, found = [k for _, k in roles if k is not None], {}
    for what, k in roles:
        if k is not None:
            found.setdefault(what, []).append(name(k))
    file.header = None if file.kind == "JSON" else bool(names)
    kinds = {("text", False): ", single texts", ("text", True): ", pairs of texts"}
    file.said.append("read as %s%s%s%s" % (
        file.kind, {None: "", True: ", a header", False: ", no header"}[file.header],
        kinds.get((roles[0][0], roles[1][1] is not None), ""),
        encoding_of(file)))
    file.said.append("; ".join("%s: %s" % (what, ", ".join(found[what])) for what in found)
                     + ("; not read: " + short(name(k) for k in range(width) if k not in used)
                        if len(set(used)) < width else ""))


def find_between(file, values):
    """What is between the labels of one field: a sign, if the first rows have any, as names may
    have blanks; else blanks."""
    signs = [sign for sign in ",;|" if any(sign in value for value in values)]
    require(len(signs) < 2, "%s: %s are between its labels: JSON lines can have lists of them",
            file.path, " and ".join(signs))
    if signs or any(" " in name for name in file.labels):
        file.between = r"\s*%s\s*" % re.escape(signs[0] if signs else ",")
        names = {name for value in values for name in re.split(file.between, value.strip())}
        both = [name for name in names if " " in name and set(name.split()) <= names]
        require(not both, "%s: %s: is it one label or several? Write commas between", file.path,
                min(both, default=""))


# ---------------------------------------------------------------------- what the tasks read

Example = collections.namedtuple("Example", "a b label")  # b: None for a single text
Choices = collections.namedtuple("Choices", "text choices label")  # label: the right one, from 0
Question = collections.namedtuple("Question", "id text context answers v2")  # [(start, text)]


def is_vector(label):
    """Hugging Face's multi-hot labels. A list of ids has neither floats nor an id twice."""
    return isinstance(label, list) and label != [] and all(
        type(x) in (int, float, bool) and x in (0, 1) for x in label) and (
            len(set(label)) < len(label) or sorted(label) == [0, 1] or type(label[0]) is not int)


def name_of(file, label):
    """A label of JSON as text; a number is a place among names that are given (ClassLabel's)."""
    known = file.labels
    if type(label) is int and known and str(label) not in known and 0 <= label < len(known):
        file.placed += 1
        return list(known)[label]
    return whole(label if isinstance(label, str) else json.dumps(label))


def json_label(file, place, name, label):
    """A string, or a list of them."""
    is_label = lambda x: type(x) in (str, bool, int, float) and (
        type(x) is not float or number(str(x)) is not None)
    several = isinstance(label, list)
    require(all(map(is_label, label if several else [label])), "%s: %s is %s, expected a string, a "
            "number or a list of them", place, name, json.dumps(label)[:60])
    require(not several or not any(type(x) is float for x in label) and not (
        len(label) > 2 and is_vector(label)), "%s: %s is %s, expected names or numbers of labels; "
            "or vectors of 0 and 1 in all examples", place, name, json.dumps(label)[:60])
    return [name_of(file, x) for x in label] if several else name_of(file, label)


def read_texts(file):
    """Examples of classification and regression, from TSV, CSV or JSON."""
    names, stream = open_table(file)
    json_names = names
    if names is None and file.labelled:
        stream = ((place, fields) for place, fields in stream
                  if any(field.strip(" -:") for field in fields))  # Markdown's rule is no row
    stream = ((place, fields or [""]) for place, fields in stream)
    sample = list(itertools.islice(stream, SAMPLE))
    stream, table = itertools.chain(sample, stream), [fields for _, fields in sample]
    if names is None and table and is_header(file, table[0], [
            Column(table[1:], k) for k in range(len(table[0]))]):
        next(stream)
        names = table.pop(0)
    width = len(names or table[0]) if names or table else 0
    columns = [Column(table, k) for k in range(width)]
    roles = text_roles(file, names, columns)
    if width:
        require_roles(file, roles, names, columns)
        say_columns(file, names, width, [("text", roles.a), ("second text", roles.b), (
            "label", roles.label)] + [("labels", k) for k in roles.hot])
    vectors = json_names and roles.label is not None and table and all(
        is_vector(fields[roles.label]) for fields in table)
    if vectors:
        size = len(table[0][roles.label])
        file.label_names = list(file.labels) or [str(k) for k in range(size)]
        require(len(file.label_names) == size, "%s: the labels are vectors of %d, but %s given",
                file.path, size, plural(len(file.label_names), "name") + " are")
        file.said.append("labels are vectors of 0 and 1")
    elif roles.hot:
        file.label_names = [names[k].strip() for k in roles.hot]
        require(len(set(file.label_names)) == len(roles.hot), "%s: two of its labels have one "
                "name: %s; --label_column takes one, by number", file.path, short(file.label_names))
    elif file.multi and roles.label is not None:
        find_between(file, [fields[roles.label] for fields in table if len(fields) == width
                            and isinstance(fields[roles.label], str)])
    for place, fields in stream:
        while len(fields) > width and fields[-1] == "":
            fields = fields[:-1]
        require_width(file, place, fields, width, "lines before")
        require(fields != names, "%s: the header again", place)
        a, b, label = (None if k is None else fields[k] for k in roles[:3])
        listed = r"\s*\[.*\]\s*" + r"|\s*([\"'{(<]).*[\"'})>]\s*" * file.multi
        require(json_names or label is None or not re.fullmatch(listed, label), "%s: "
                "the label %s is a list written as text: JSON lines have lists (pandas: "
                "to_json(..., orient='records', lines=True))", place, label)
        for k in roles[:2] if json_names else ():
            require(k is None or isinstance(fields[k], str), "%s: %s is %s, expected a string%s",
                    place, names[k or 0], json.dumps(fields[k or 0])[:60], "; of a table one "
                    "object a row is read (pandas: to_json(..., orient='records', lines=True))" *
                    isinstance(fields[k or 0], (list, dict)))
        if file.kind[:3] == "TSV" and re.fullmatch('".*"".*"', a):
            file.quoted += 1
        file.empty += file.labelled and sum(
            text is not None and text.strip().lower() in ("", "nan", "null", "none", "n/a", "#n/a")
            for text in (a, b))
        if roles.hot:
            label = []
            for k, name in zip(roles.hot, file.label_names):
                one = as_text(fields[k]).strip()
                require(one in ONES or one in ZEROS, "%s: %s is %s, expected 0 or 1", place, name,
                        one or "empty")
                label += [name] * (one in ONES)
        elif vectors:
            require(is_vector(label) and len(label) == len(file.label_names), "%s: %s is %s, "
                    "expected a list of %d times 0 or 1", place, names[roles.label],
                    json.dumps(label)[:60], len(file.label_names))
            label = [name for name, one in zip(file.label_names, label) if one]
        elif json_names and file.labelled:
            label = json_label(file, place, names[roles.label], label)
        yield place, Example(whole(a), b if b is None else whole(b), label)


# multiple_choice: the columns of the text, of what stands before each choice (or ""), of the
# choices (a list, or columns with numbers behind the name) and of the label, as data sets name
# them.
CHOICES = [[key(name) for name in row] for row in (
    ("text", "", "choices", "label"),
    ("sent1", "sent2", "ending", "label"),  # SWAG
    ("ctx", "", "endings", "label"),  # HellaSwag
    ("article", "question", "options", "answer"))]  # RACE


def choice_roles(file, names):
    """Columns of the text, before the choices (or None), of the choices, the label (or None)."""
    have = {key(name): k for k, name in enumerate(names)}
    for text, head, choices, label in CHOICES:
        found = [have[choices]] if choices in have else [
            k for name, k in have.items() if re.fullmatch(choices + r"\d+", name)]
        if text in have and found and (not head or head in have) and (
                label in have or not file.labelled):
            return have[text], have.get(head), found, have[label] if file.labelled else None
    known = [", ".join(filter(None, row if file.labelled else row[:3])) for row in CHOICES]
    raise Error("%s: the columns are %s, expected %s" % (
        file.path, short(names) or "none", "; or ".join(known)))


def choice_label(place, value, n):
    """A number from 0, or a letter from A."""
    value = str(value).strip() if type(value) in (int, str) else json.dumps(value)
    letter = re.fullmatch("[A-Z]", value)
    at = int(value) if value.isdecimal() else ord(value) - ord("A") if letter else -1
    require(0 <= at < n, "%s: the label is %s, expected 0 to %d (or A to %s)", place,
            value or "empty", n - 1, chr(64 + n))
    return at


def read_choices(file):
    """multiple_choice: (place, Choices) from CSV, TSV or JSON; all have as many choices."""
    names, stream = open_table(file)
    is_table = names is None
    if is_table:
        names = next(stream, ("", []))[1]
    if not names:
        return
    text, head, choices, label = choice_roles(file, names)
    say_columns(file, names, len(names), [("first text", text), ("before each choice", head)] + [
        ("choices", k) for k in choices] + [("label", label)])
    n = 0
    for place, fields in stream:
        if is_table and not any(fields):
            continue
        require_width(file, place, fields, len(names), "header")
        found = [fields[k] for k in choices]
        found = found[0] if len(choices) == 1 and not is_table else found
        before = "" if head is None else fields[head]
        require(isinstance(found, list) and all(isinstance(x, str) for x in found + [
            fields[text], before]), "%s: expected a string in %s and a list of them in %s", place,
                names[text], names[choices[0]])
        n = n or len(found)
        require(len(found) == n and n > 1, "%s: %s, expected %s", place, plural(
            len(found), "choice"), "as in the rows before, %d" % n if n > 1 else "2 or more")
        yield place, Choices(
            whole(fields[text]), [whole(x if head is None else before + " " + x) for x in found],
            choice_label(place, fields[label], n) if file.labelled else None)


def counts_up(sample, width):
    """Whether the first column numbers the words, in each sentence or in the file: as in GermEval
    and CoNLL-U, which also has 3-4 for a word of two and 3.1 for one that is not there."""
    last, begins, seen = 0, True, False
    for fields in sample:
        if not any(fields) or fields[0][:1] == "#" and len(fields) != width:
            begins = True
        elif not re.fullmatch(r"\d+[-.]\d+", fields[0]):
            if not fields[0].isdigit() or int(fields[0]) != last + 1 and not (
                    begins and int(fields[0]) in (0, 1)):
                return False
            last, begins, seen = int(fields[0]), False, True
    return seen


def word_roles(file, names, columns, indexed):
    """The columns of word and tag; None where only a flag can tell."""
    width, start = len(columns), int(indexed)
    word, tag = (by_flag(file, flag, names, width) for flag in ("text_column", "tag_column"))
    if names:
        words, tags = by_name(WORDS, names, range(width)), by_name(TAGS, names, range(width))
        word = words[0] if word is None and len(words) == 1 else word
        return word, tags[0] if tag is None and len(tags) == 1 else tag
    swapped = start + 2 == width and columns[start].types and all(map(is_tag, columns[start])) \
        and not columns[start + 1].tags  # tag first, as in the MIT corpora
    if word is None:
        word = start + bool(swapped) if tag != start else start + 1
    rest = [k for k in range(start, width) if k != word]
    likely = [k for k in rest if columns[k].tags]
    likely = [k for k in likely if not columns[k].types & PHRASES] or likely  # chunks come before
    likely = [k for k in likely if columns[k].types] or likely[-1:]
    if tag is None and (len(rest) == 1 or len(likely) == 1 or likely and indexed):
        tag = (likely or rest)[0]  # of nested tags the outer ones, GermEval's first
    elif tag is None and not likely and indexed and width == 10:
        tag = UPOS
    c = columns[word] if word < width else []
    odd = len(c) > 2 and (c.numbers or c.distinct == 1 or any(
        2 * c.distinct < columns[k].distinct for k in rest if k != tag and not columns[k].numbers))
    odd = odd or len(c) > 9 and tag is not None and (
        c.distinct < columns[tag].distinct and not columns[tag].few) or (
            tag is not None and word < width and c.tags and not columns[tag].tags)
    return by_flag(file, "text_column", names, width) if odd else word, tag


def is_word_header(file, first, columns):
    """Whether the first row of CoNLL columns names them."""
    args, width = file.args, len(first)
    if args.header != "auto":
        return args.header == "yes"
    if any(flag and not flag.isdigit() for flag in (args.text_column, args.tag_column)):
        return True
    words, tags = by_name(WORDS, first, range(width)), by_name(TAGS, first, range(width))
    if words and tags:
        return True
    tag = word_roles(file, None, columns, False)[1] if columns[0] else None
    odd = tag is not None and file.labelled and all(map(is_tag, columns[tag])) and (
        columns[tag].types and not is_tag(first[tag].strip()))
    require(not odd, "%s: is the first line (%s) a header? Say --header yes or no", file.path,
            " | ".join(first))
    return False


def read_words(file):
    """ner: (places, words, tags) of each sentence, from CoNLL's columns or run_ner's JSON."""
    names, stream = open_table(file)
    sample = list(itertools.islice(stream, SAMPLE))
    stream = itertools.chain(sample, stream)
    if names is not None:
        yield from json_sentences(file, names, [fields for _, fields in sample], stream)
        return
    filled = [fields for _, fields in sample if any(fields) and fields[0] != "-DOCSTART-"]
    table = [fields for fields in filled if fields[0][:1] != "#"] or filled
    if not table:
        return
    width = collections.Counter(map(len, table)).most_common(1)[0][0]
    table = [fields for fields in table if len(fields) == width]
    require(width > 1 or not file.labelled, "%s: 1 column, %s, expected a word and its tag, "
            "separated by a tab or blanks (or --delimiter)", sample[0][0], table[0][0])
    if is_word_header(file, table[0], [Column(table[1:], k) for k in range(width)]):
        names = table.pop(0)
    columns = [Column(table, k) for k in range(width)]
    indexed = names is None and width > 1 + file.labelled and counts_up(
        [fields for _, fields in sample], width)
    word, tag = word_roles(file, names, columns, indexed)
    require(word is not None and (tag is not None or not file.labelled), "%s: which column is "
            "what? Say it with --text_column for the words%s, by name or number. The columns are "
            "%s", file.path, " and --tag_column" * file.labelled, listing(names, width))
    long = [text for text in columns[word] if text.strip().count(" ") > 1]
    require(2 * len(long) <= len(columns[word]), "%s: the words are sentences (%s), expected one "
            "word a line, or run_ner's JSON with lists of words", file.path, (long or [""])[0][:40])
    say_columns(file, names, width, [("word", word), ("tag", tag if file.labelled else None)])
    sentence = next((k for k in range(width) if names and key(names[k]) in SENTENCES[0]), None)
    for found in sentences(file, stream, width, names, sentence, indexed):
        places, words, tags = [], [], []
        for place, fields in found:
            places.append(place)
            # A blank inside a word becomes one that does not break, so that the words can be told
            # apart in the text; the tokens are the same.
            words.append(fields[word].strip(" ").replace(" ", "\u00a0") or "\u00a0")
            for text in fields[word], fields[tag] if file.labelled else "":
                require(not re.fullmatch(r"\[['\"].*\]", text), "%s: a list written as text, %s: "
                        "JSON lines have lists", place, text[:40])
            require(fields[word], "%s: the first column, the word, is empty", place)
            if file.labelled:
                tags.append(fields[tag].strip(" "))
                require_tag(place, tags[-1])
        yield places, words, tags


def require_tag(place, tag):
    require(tag and tag[1:] != "-", "%s: the tag is %s, expected O or one with a type, such as "
            "B-PER", place, tag or "empty")
    parts = re.split("[ \x02]+", tag)
    require(len(parts) == 1 or not all(map(is_tag, parts)), "%s: a sentence with its tags on one "
            "line (%s), expected one word a line", place, tag[:40])


def sentences(file, stream, width, names, sentence, indexed):
    """The rows of each sentence: without comments, -DOCSTART- and what is only between."""
    found, last, all_tags = [], None, True  # all tags so far were O or like B-PER
    for place, fields in itertools.chain(stream, [("", [])]):
        if not any(map(str.strip, fields)) or fields[0] == "-DOCSTART-":
            if found:
                yield found
            found = []
            continue
        if fields == names:
            continue
        n, tagged = len(fields), any(map(is_tag, fields[1:]))
        if fields[0][:1] == "#" and not found and (n != width or not (
                tagged or not all_tags or n == 1 and not file.labelled)):
            continue  # "# text = ..." is a comment, "# O" a word
        require(n == width, "%s: %s, expected %d as in the lines before", place,
                plural(n, "column"), width)
        if indexed and not fields[0].isdigit():
            continue
        all_tags = all_tags and tagged
        if sentence is not None and fields[sentence] and fields[sentence] != last:
            if found:
                yield found
            found, last = [], fields[sentence]
        found.append((place, fields))


def json_sentences(file, names, table, stream):
    """run_ner's JSON: a list of words and one of tags, which are text or, with --labels, places."""
    columns = [Column(table, k) for k in range(len(names))]
    word, tag = word_roles(file, names, columns, False)
    require(word is not None and (tag is not None or not file.labelled), "%s: the keys are %s, "
            "expected tokens%s; --text_column%s say what they are here", file.path,
            short(names) or "none", " and ner_tags" * file.labelled,
            " and --tag_column" * file.labelled)
    say_columns(file, names, len(names), [("word", word), ("tag", tag if file.labelled else None)])
    for place, fields in stream:
        words, tags = fields[word], fields[tag] if file.labelled else []
        for name, value, kinds in (names[word], words, (str,)), ("the tags", tags, (str, int)):
            require(isinstance(value, list) and all(type(x) in kinds for x in value), "%s: %s is "
                    "%s, expected a list of strings", place, name, json.dumps(value)[:60])
        require(len(words) == len(tags) or not file.labelled, "%s: %s, but %s", place,
                plural(len(words), "word"), plural(len(tags), "tag"))
        tags = [int(x) if str(x).isdecimal() else x for x in tags]
        require(file.labels or not any(type(x) is int for x in tags), "%s: the tags are numbers: "
                "name them in their order, --labels O,B-PER,I-PER,...", place)
        tags = [name_of(file, x) for x in tags]
        for name in tags:
            require_tag(place, name)
        words = [whole(word).replace(" ", "\u00a0") or "\u00a0" for word in words]
        yield [place] * len(words), words, tags


def member(parent, key, kind, place):
    """An object's member or a list's item, which has to be of a kind; and its own place."""
    names = {dict: "an object", list: "a list", str: "a string", int: "a whole number"}
    require(isinstance(parent, list) or key in parent, "%s has no %s, expected %s", place, key,
            names[kind])
    value = parent[key]
    place += "[%d]" % key if isinstance(parent, list) else "." + key
    require(type(value) is kind, "%s is %s, expected %s", place, json.dumps(value)[:60],
            names[kind])
    return whole(value) if kind is str else value, place


def answers_of(qa, place):
    """[(start, text)], from SQuAD's list of objects or run_qa's object of lists; an empty text that
    is nowhere means, as there, that the context has no answer."""
    if "answers" not in qa and qa.get("is_impossible") is True:
        return []
    found = qa.get("answers")
    if isinstance(found, dict):
        place_d = place + ".answers"
        found = {key: value if isinstance(value, list) else [value]  # one, without a list
                 for key, value in found.items()}
        texts, starts = (member(found, key, list, place_d)[0] for key in ("text", "answer_start"))
        require(len(texts) == len(starts), "%s: %s, but %s", place_d, plural(len(texts), "text"),
                plural(len(starts), "answer_start"))
        found = [{"text": text, "answer_start": start} for text, start in zip(texts, starts)]
        place_l = place_d
    else:
        require("answers" in qa, "%s has no answers, expected them with text and answer_start; "
                "--unlabelled reads questions without", place)
        found, place_l = member(qa, "answers", list, place)
    out = []
    for k in range(len(found)):
        answer, place_a = member(found, k, dict, place_l)
        start, text = (member(answer, key, kind, place_a)[0] for key, kind in (
            ("answer_start", int), ("text", str)))
        require(text or start < 0 or qa.get("is_impossible") is True, "%s: an answer's text is "
                "empty, expected some of the context, or no answers at all", place)
        out += [(start, text)] if text else []
    return out


def read_questions(file):
    """qa: SQuAD v1.1 and v2.0, or each question with its context, as run_qa has them."""
    seen = set()

    def walk(item, place, version, context):
        if "context" in item:
            context = member(item, "context", str, place)[0]
        for key in ("paragraphs", "qas"):
            if key in item:
                items, place_l = member(item, key, list, place)
                for k in range(len(items)):
                    yield from walk(*member(items, k, dict, place_l), version, context)
                return
        require("question" in item or "id" in item, "%s has no paragraphs, qas or question, "
                "expected SQuAD's or run_qa's format", place)
        name = item.get("id", len(seen))  # without ids: numbers, as lines to predict have
        name = str(name) if type(name) is int else member(item, "id", str, place)[0]
        place += " (id %s)" % name
        require(name not in seen, "%s: this id was there before", place)
        seen.add(name)
        require(context is not None, "%s has no context, expected a string", place)
        yield place, Question(name, member(item, "question", str, place)[0], context,
                              answers_of(item, place) if file.labelled else [], version)

    for place, item, version in read_json(open_text(file), file.path):
        if not seen:
            flat = "question" in item
            file.said.append("read as JSON, %s%s" % ("one question an object" if flat else
                                                     "SQuAD's", encoding_of(file)))
        yield from walk(item, place, version.lstrip("v")[:1] == "2", None)
