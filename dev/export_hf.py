#!/usr/bin/env python3
"""Hugging Face BERT folder -> model.bin, and back. Python 3.8 and its standard library, no more.

    python3 dev/export_hf.py HF_DIR model.bin [--task none]
    python3 dev/export_hf.py --to-hf model.bin HF_DIR

The format of model.bin is the byte table at the top of bert.h, and the list of tensors is read
from bert.h itself (BERT_TENSORS): a new tensor there is exported without a change here. Weights
pass through one tensor at a time: bert-large needs little more memory than its largest matrix.

Other scripts import read_model and write_model.
"""
import argparse
import json
import os
import pickle
import re
import struct
import sys
import zipfile
import zlib
from array import array
from collections import OrderedDict, namedtuple
from math import prod

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = 256 * 4
MAGIC, VERSIONS = 0x4D545242, (1, 2)  # that we read; we write the last
DIMS = "V C L NH F P S K".split()  # header words 2..9
HF_DIMS = ("vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size "
           "max_position_embeddings type_vocab_size").split()  # K comes from the labels
ACTS = {"gelu": 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "relu": 2, "gelu_python": 0}
TASKS = "none classification regression ner qa mlm pretraining".split()
FLOATS = ("layer_norm_eps hidden_dropout_prob attention_probs_dropout_prob classifier_dropout "
          "initializer_range").split()  # header words 14..18
EXTRAS = OrderedDict([("padding_idx", 0), ("trained_length", 0), ("trained_pairs", 0),
                      ("may_lack", 0), ("pooling", 0), ("normalize", 0),
                      ("activation_out", 0)])  # words 43 (+ 1) to 49, and what they are if not said
ARCHITECTURES = {"BertModel": "none", "BertForSequenceClassification": "classification",
                 "BertForTokenClassification": "ner", "BertForQuestionAnswering": "qa",
                 "BertForMaskedLM": "mlm", "BertForPreTraining": "pretraining"}
LABELLED = ("classification", "regression", "ner")
NEED_POOLER = ("classification", "regression", "pretraining")
WHO = {  # the table's "who has it"
    "ALL": lambda c: True,
    "POOLER": lambda c: c["pooler"] == 1,
    "CLASSIFIER": lambda c: c["task"] in LABELLED,
    "QA": lambda c: c["task"] == "qa",
    "MLM": lambda c: c["task"] in ("mlm", "pretraining"),
    "NSP": lambda c: c["task"] == "pretraining",
}
SPECIAL = OrderedDict([("pad_token", "[PAD]"), ("unk_token", "[UNK]"), ("cls_token", "[CLS]"),
                       ("sep_token", "[SEP]"), ("mask_token", "[MASK]")])  # words 37..41
FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")  # bits 0..4 in section 4
NO_PIECE = 32


class ExportError(Exception):
    pass


def fail(path, field, found, expected):
    raise ExportError("%s: %s: found %s, expected %s" % (path, field, found, expected))


# ------------------------------------------------------------------------------------------------
# The tensor table of bert.h

Tensor = namedtuple("Tensor", "name shape keys")  # shape (layers, rows, columns); keys[layer][part]


def tensor_table(config, header=os.path.join(HERE, "..", "bert.h")):
    """The tensors that a model of this config has, in file order."""
    with open(header, encoding="utf-8") as f:
        macro = re.search(r"#define BERT_TENSORS\(X\)(.*?[^\\])\n", f.read(), re.S)
    text = re.sub(r"\\\n\s*", "", macro.group(1)) if macro else ""
    rows = re.findall(r'X\((\w+), *([^,]+), *([^,]+), *([^,]+), *[01], *(\w+), *"([^"]+)"\)', text)
    if not rows or len(rows) != text.count("X("):
        fail(header, "BERT_TENSORS", "%d readable rows of %d" % (len(rows), text.count("X(")),
             'X(name, layers, rows, columns, decay, who, "key") in each')

    def size(text):  # "L", "1", "3 * C"
        return prod(int(word) if word.isdigit() else config[word] for word in text.split(" * "))

    tensors = []
    for name, layers, height, width, who, key in rows:
        if who not in WHO:
            fail(header, name, who, "one of " + ", ".join(WHO))
        if WHO[who](config):
            parts, joined = [key], re.search(r"\{(.*)\}", key)
            if joined:  # {query,key,value}: one below the other
                parts = [key.replace(joined.group(), part) for part in joined.group(1).split(",")]
            keys = [[p.replace("%d", str(i)) for p in parts] for i in range(size(layers))]
            tensors.append(Tensor(name, (size(layers), size(height), size(width)), keys))
    return tensors


def part_shape(tensor):
    """The shape of one Hugging Face tensor of a row; the table writes a vector as 1 column."""
    rows, columns = tensor.shape[1] // len(tensor.keys[0]), tensor.shape[2]
    return (rows,) if columns == 1 else (rows, columns)


def hf_keys(tensors):
    return [key for t in tensors for layer in t.keys for key in layer]


# ------------------------------------------------------------------------------------------------
# model.bin

def write_file(path, chunks):
    """Under a temporary name first: nobody ever sees half a file under the final one."""
    if os.path.exists(path) and not os.path.isfile(path):
        # a rename over /dev/full or /dev/null would replace the device itself
        fail(path, "file", "a folder or a device", "a plain file or a new name")
    temporary = "%s.tmp%d" % (path, os.getpid())
    try:
        file = open(temporary, "wb")
    except OSError as e:
        fail(path, "file", e.strerror, "a place that can be written to")
    try:
        with file as f:
            for chunk in chunks:
                f.write(chunk)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def strings(values):
    """count + 1 offsets as u64, then the bytes; nothing at all for no strings."""
    blobs, offsets = [v.encode("utf-8") for v in values], [0]
    for blob in blobs:
        offsets.append(offsets[-1] + len(blob))
    return struct.pack("<%dQ" % len(offsets), *offsets) + b"".join(blobs) if blobs else b""


def write_model(path, config, tensors, labels=(), tokenizer=None):
    """config: DIMS, hidden_act (0..2), task (its name), problem_type, pooler, FLOATS,
    max_seq_length, and what is not as EXTRAS has it. tensors: name -> little-endian float32 bytes (any buffer), or an iterable of
    pieces. tokenizer: None, or vocab (list of str), do_lower_case, strip_accents,
    tokenize_chinese_chars, max_chars, ids (pad, unk, cls, sep, mask), added ((id, flags) pairs),
    unicode (bytes). -> the number of parameters"""
    tok = tokenizer or {"vocab": (), "added": (), "unicode": b""}
    table = tensor_table(config)
    parameters = sum(prod(t.shape) for t in table)
    tail = [strings(labels), strings(tok["vocab"]),
            b"".join(struct.pack("<2i", *pair) for pair in sorted(tok["added"])), tok["unicode"]]
    padded = [4 * parameters + 4 * parameters % 8] + [len(s) + -len(s) % 8 for s in tail]

    header = bytearray(HEADER)
    struct.pack_into("<10i", header, 0, MAGIC, VERSIONS[-1], *(config[d] for d in DIMS))
    struct.pack_into("<4i5fi", header, 4 * 10, config["hidden_act"], TASKS.index(config["task"]),
                     config["problem_type"], config["pooler"], *(config[f] for f in FLOATS),
                     config["max_seq_length"])
    struct.pack_into("<Qi3Q", header, 4 * 20, parameters, len(labels),
                     len(tail[0]), len(tail[1]), len(tail[3]))
    struct.pack_into("<Q", header, 4 * 30, HEADER + sum(padded))
    extras = [config.get(field, default) for field, default in EXTRAS.items()]
    struct.pack_into("<7i", header, 4 * 43, extras[0] + 1, *extras[1:])
    if tokenizer:
        struct.pack_into("<11i", header, 4 * 32, len(tok["vocab"]), tok["do_lower_case"],
                         tok["strip_accents"], tok["tokenize_chinese_chars"], tok["max_chars"],
                         *tok["ids"], len(tok["added"]))

    def chunks():
        yield header
        for t in table:
            pieces, n = tensors[t.name], 0
            for piece in [pieces] if hasattr(pieces, "__len__") else pieces:
                n += memoryview(piece).nbytes
                yield piece
            if n != 4 * prod(t.shape):
                fail(path, t.name, "%d bytes" % n, "%d: shape %s" % (4 * prod(t.shape), t.shape))
        yield bytes(padded[0] - 4 * parameters)
        for section in tail:
            yield section + bytes(-len(section) % 8)
    write_file(path, chunks())
    return parameters


class Model:
    """An open model.bin: .config, .labels, .tokenizer (as write_model takes them) and .table; the
    weights stay in the file until .read(name) or .read(name, layer)."""

    def read(self, name, layer=None):
        offset, (layers, rows, columns) = self.offsets[name]
        n = 4 * rows * columns
        with open(self.path, "rb") as f:
            f.seek(offset + (layer or 0) * n)
            return f.read(n * layers if layer is None else n)


LIMITS = {2: (1, 2**24), 3: (1, 65536), 4: (1, 4096), 5: (1, 65536), 6: (1, 2**20), 7: (1, 2**20),
          8: (1, 2**20), 9: (0, 2**20), 10: (0, 2), 11: (0, 6), 12: (0, 1), 13: (0, 1)}


def read_model(path):
    m = Model()
    m.path, m.offsets = path, {}
    with open(path, "rb") as f:
        size, header = os.fstat(f.fileno()).st_size, f.read(HEADER)
        if len(header) < HEADER:
            fail(path, "header", "%d bytes" % len(header), HEADER)
        w = struct.unpack("<256i", header)
        if w[0] != MAGIC or w[1] not in VERSIONS:
            fail(path, "magic, version", "%#x, %d" % (w[0] & 0xFFFFFFFF, w[1]),
                 "%#x, %s" % (MAGIC, " or ".join(map(str, VERSIONS))))
        for word, (low, high) in LIMITS.items():
            if not low <= w[word] <= high:
                fail(path, "header word %d" % word, w[word], "%d..%d" % (low, high))
        m.config = dict(zip(DIMS, w[2:10]), hidden_act=w[10], task=TASKS[w[11]],
                        problem_type=w[12], pooler=w[13], max_seq_length=w[19])
        m.config.update(zip(FLOATS, map(short_float, struct.unpack_from("<5f", header, 4 * 14))))
        m.config.update(zip(EXTRAS, (w[43] - 1,) + w[44:50] if w[1] > 1 else EXTRAS.values()))
        m.table, at = tensor_table(m.config), HEADER
        for t in m.table:
            m.offsets[t.name] = at, t.shape
            at += 4 * prod(t.shape)
        parameters, _, labels, vocab, unicode = struct.unpack_from("<Qi3Q", header, 4 * 20)
        sizes = [labels, vocab, 8 * w[42], unicode]
        total = at + -at % 8 + sum(s + -s % 8 for s in sizes)
        stated = struct.unpack_from("<Q", header, 4 * 30)[0]
        if not (total == stated == size and at - HEADER == 4 * parameters):
            fail(path, "size", "%d bytes, %d by header words 30..31" % (size, stated),
                 "%d by the other header words" % total)
        f.seek(at + -at % 8)
        tail = [f.read(s + -s % 8)[:s] for s in sizes]
    m.labels = split_strings(path, "label names", w[22], tail[0])
    m.tokenizer = None
    if w[32]:
        m.tokenizer = dict(vocab=split_strings(path, "vocabulary", w[32], tail[1]),
                           do_lower_case=w[33], strip_accents=w[34], tokenize_chinese_chars=w[35],
                           max_chars=w[36], ids=list(w[37:42]), unicode=tail[3],
                           added=list(struct.iter_unpack("<2i", tail[2])))
        for i in (0, 4):  # in version 1, 0 is also what a missing [PAD] or [MASK] has
            if w[1] == 1 and w[37 + i] == 0 and m.tokenizer["vocab"][0] != ("[PAD]", "[MASK]")[i > 0]:
                m.tokenizer["ids"][i] = -1
    return m


def split_strings(path, what, count, raw):
    if count == 0:
        return []
    if not 0 < count <= len(raw) // 8 - 1:
        fail(path, what, "count %d in %d bytes" % (count, len(raw)), "count + 1 offsets")
    at, text = struct.unpack_from("<%dQ" % (count + 1), raw), raw[8 * (count + 1):]
    if at[0] != 0 or at[-1] != len(text) or any(a > b for a, b in zip(at, at[1:])):
        fail(path, what, "broken offsets", "rising from 0 to %d" % len(text))
    return [text[a:b].decode("utf-8") for a, b in zip(at, at[1:])]


def short_float(x):
    """The shortest decimal with these float32 bits: config.json gets its 1e-12 and 0.1 back."""
    candidates = (float("%.*g" % (digits, x)) for digits in range(1, 10))
    return next((c for c in candidates if struct.pack("<f", c) == struct.pack("<f", x)), x)


# ------------------------------------------------------------------------------------------------
# Weights: each file format becomes key -> Stored, which reads one tensor as float32 bytes

ITEM = {"F32": 4, "F16": 2, "BF16": 2}  # the dtypes that we read; others may be there, unread


class Stored(namedtuple("Stored", "path offset dtype shape strides")):  # None: contiguous
    def float32(self):
        item, n = ITEM[self.dtype], prod(self.shape)
        strided = self.strides is not None and n > 0
        span = 1 + sum((d - 1) * s for d, s in zip(self.shape, self.strides)) if strided else n
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            raw = f.read(span * item)
        if len(raw) != span * item:
            fail(self.path, "tensor data", "the end of the file",
                 "%d more bytes" % (span * item - len(raw)))
        if strided:
            raw = self.gather(raw)
        if self.dtype == "BF16":  # the upper half of a float32; the lower half is zero
            out = bytearray(4 * n)
            out[2::4], out[3::4] = raw[0::2], raw[1::2]
            return out
        if self.dtype == "F16":  # in blocks: Python's floats take eight times the room
            blocks = (array("H", raw[i:i + 131072]) for i in range(0, len(raw), 131072))
            return b"".join(struct.pack("<%df" % len(b), *struct.unpack("<%de" % len(b), b))
                            for b in blocks)
        return raw

    def gather(self, raw):
        """PyTorch pickles views as they are, for instance a transposed matrix: walk its strides."""
        bits = array("H" if ITEM[self.dtype] == 2 else "I", raw)
        out = array(bits.typecode)
        rows, down = (self.shape[0], self.strides[0]) if len(self.shape) == 2 else (1, 0)
        columns, step = self.shape[-1], self.strides[-1]
        for i in range(rows):
            row = bits[i * down:i * down + (columns - 1) * step + 1:step or 1]
            out.extend(row if step else row * columns)  # stride 0: one value, expanded
        return out.tobytes()


def read_safetensors(path):
    """u64 length, a JSON header with dtype, shape and place of each tensor, then the data."""
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8).rjust(8, b"\xff"))[0]
        if n > size - 8:
            fail(path, "header", "%d bytes in a file of %d" % (n, size), "a safetensors file")
        header = parse_json(path, f.read(n))
    header.pop("__metadata__", None)
    found = {}
    for key, t in header.items():
        try:
            (begin, end), shape, dtype = t["data_offsets"], tuple(t["shape"]), t["dtype"]
            good = 0 <= begin <= end <= size - 8 - n and isinstance(dtype, str)
            good = good and all(type(d) is int and d >= 0 for d in shape)
            good = good and (dtype not in ITEM or end - begin == ITEM[dtype] * prod(shape))
        except (KeyError, TypeError, ValueError):
            good = False
        if not good:
            fail(path, key, json.dumps(t), "dtype, shape and data_offsets that agree")
        found[key] = Stored(path, 8 + n + begin, dtype, shape, None)
    return found


class TensorUnpickler(pickle.Unpickler):
    """A pickle is a program: it may name any function of any module and call it. Only what a
    state_dict needs is answered here, with stand-ins of our own; all else is refused by name."""

    def __init__(self, path, file, entries):
        super().__init__(file)
        self.path, self.entries = path, entries
        self.allowed = {("collections", "OrderedDict"): OrderedDict,
                        ("torch._utils", "_rebuild_tensor_v2"): self.rebuild_tensor,
                        ("torch._utils", "_rebuild_parameter"): lambda data, grad, hooks: data}
        for name, dtype in [("Float", "F32"), ("Half", "F16"), ("BFloat16", "BF16"),
                            ("Double", "F64"), ("Long", "I64"), ("Int", "I32"), ("Bool", "BOOL")]:
            self.allowed["torch", name + "Storage"] = dtype

    def find_class(self, module, name):
        if (module, name) not in self.allowed:
            fail(self.path, "data.pkl", "the function %s.%s" % (module, name),
                 "tensors and nothing else (a pickle can run any program: do not torch.load this)")
        return self.allowed[module, name]

    def persistent_load(self, pid):
        _, dtype, key, _, count = pid
        return dtype, "data/" + str(key), count

    def rebuild_tensor(self, storage, offset, shape, strides, *_):
        (dtype, entry, count), item = storage, ITEM.get(storage[0], 1)
        begin, length = self.entries[entry]
        last = offset + sum((d - 1) * s for d, s in zip(shape, strides))
        fits = len(shape) == len(strides) and min((offset,) + shape + strides) >= 0
        fits = fits and count * item <= length and (last < count or 0 in shape)
        if not fits and dtype in ITEM:
            fail(self.path, entry, "%d values, %d bytes" % (count, length),
                 "room for shape %s, strides %s from %d on" % (shape, strides, offset))
        packed = tuple(prod(shape[i + 1:]) for i in range(len(shape)))
        return Stored(self.path, begin + offset * item, dtype, shape,
                      None if strides == packed else strides)


def read_torch(path):
    if not zipfile.is_zipfile(path):
        fail(path, "format", "no zip (a file of PyTorch before 1.6, or cut off)",
             "a zip; torch.save(torch.load(path, weights_only=True), path) rewrites an old file")
    with zipfile.ZipFile(path) as z, open(path, "rb") as f:
        pickles = [n for n in z.namelist() if n.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            fail(path, "data.pkl", "%d of them" % len(pickles), "one")
        root, entries = pickles[0][:-len("data.pkl")], {}
        for info in z.infolist():  # stored as they are: later read directly, past the zip's layer
            if info.compress_type != zipfile.ZIP_STORED:
                fail(path, info.filename, "a compressed entry", "a stored one, as of torch.save")
            f.seek(info.header_offset + 26)
            begin = info.header_offset + 30 + sum(struct.unpack("<2H", f.read(4)))
            if info.filename.startswith(root):
                entries[info.filename[len(root):]] = begin, info.file_size
        if "byteorder" in entries and z.read(root + "byteorder") != b"little":
            fail(path, "byteorder", z.read(root + "byteorder"), "little")
        try:
            with z.open(pickles[0]) as p:
                state = TensorUnpickler(path, p, entries).load()
        except ExportError:
            raise
        except Exception as e:  # a broken pickle can raise anything
            fail(path, "data.pkl", "%s: %s" % (type(e).__name__, e), "a pickled state_dict")
    if not isinstance(state, dict):
        fail(path, "data.pkl", "a pickled %s" % type(state).__name__, "a state_dict")
    for key, value in state.items():
        if not isinstance(value, Stored):
            fail(path, "data.pkl", "%r, which is no tensor" % key, "a state_dict")
    return state


def read_weights(folder):
    """-> path, {key: Stored}, with the table's keys: bert. in front, gamma and beta renamed."""
    for name, reader in ("model.safetensors", read_safetensors), ("pytorch_model.bin", read_torch):
        path, raw = os.path.join(folder, name), {}
        if os.path.exists(path):
            raw = reader(path)
            break
        path += ".index.json"
        if os.path.exists(path):
            shards = load_json(path).get("weight_map", {})
            for shard in sorted(set(map(str, shards.values()))):
                file = os.path.join(folder, shard)
                if os.path.basename(shard) != shard or not os.path.isfile(file):
                    fail(path, "weight_map", repr(shard), "the name of a file beside it")
                raw.update(reader(file))
            for key in set(shards) - set(raw):
                fail(path, key, "no such tensor in " + shards[key], "each tensor in its shard")
            break
    else:
        fail(folder, "weights", "neither model.safetensors nor pytorch_model.bin", "one of them")
    found = {}
    for key, stored in raw.items():
        new = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", key)
        new = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", new)
        if re.match(r"(embeddings|encoder|pooler)\.", new):  # BertModel itself saves it so
            new = "bert." + new
        if new in found:
            fail(path, key, "a second tensor for " + new, "one")
        found[new] = stored
    return path, found


def not_finite(data):
    """NaN or Inf among float32? Their upper byte is 7f or ff: seldom, and quickly looked for."""
    high = data[3::4]
    return (0x7F in high or 0xFF in high) and any(
        a & 0x7F == 0x7F and b & 0x80 for a, b in zip(high, data[2::4]))


# ------------------------------------------------------------------------------------------------
# config.json

def parse_json(path, text):
    try:
        value = json.loads(text)
    except ValueError as e:
        fail(path, "JSON", e, "a JSON object")
    if not isinstance(value, dict):
        fail(path, "JSON", type(value).__name__, "a JSON object")
    return value


def load_json(path, default=None):
    if default is not None and not os.path.exists(path):
        return default
    try:
        with open(path, "rb") as f:
            return parse_json(path, f.read())
    except OSError as e:
        fail(path, "file", e.strerror, "a readable file")


def number(path, hf, field, default, low, high, kind=(int, float)):
    value = hf.get(field, default)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        fail(path, field, json.dumps(value),
             "%s from %g to %g" % ("an integer" if kind is int else "a number", low, high))
    return value


def read_config(path, task):
    """-> config.json, config for write_model, label names. A missing field has the value of Hugging
    Face's BertConfig; one that would make another network is refused."""
    hf = load_json(path)
    for field, allowed in [("model_type", ["bert"]), ("is_decoder", [False]),
                           ("add_cross_attention", [False]), ("hidden_act", list(ACTS)),
                           ("position_embedding_type", ["absolute"]),
                           ("quantization_config", [None])]:
        if hf.get(field, allowed[0]) not in allowed:
            fail(path, field, json.dumps(hf[field]), " or ".join(map(json.dumps, allowed)))
    config = {d: number(path, hf, field, default, *LIMITS[word], int) for word, d, field, default
              in zip(range(2, 9), DIMS, HF_DIMS, [30522, 768, 12, 12, 3072, 512, 2])}
    if config["C"] % config["NH"]:
        fail(path, "hidden_size", config["C"],
             "a multiple of num_attention_heads, %d" % config["NH"])
    for field, default in zip(FLOATS, [1e-12, 0.1, 0.1, -1, 0.02]):
        null = field == "classifier_dropout" and hf.get(field) is None  # word 17: -1
        config[field] = float(-1 if null else number(path, hf, field, default, 0, 1))
    pad = hf.get("pad_token_id", 0)
    if pad is not None:  # nn.Embedding(padding_idx) counts a negative one from the end
        pad = number(path, hf, "pad_token_id", 0, -config["V"], config["V"] - 1, int)
        config["padding_idx"] = pad if pad >= 0 else config["V"] + pad
    else:
        config["padding_idx"] = -1
    architecture = (hf.get("architectures") or ["BertModel"])[0]
    if task is None and architecture not in ARCHITECTURES:
        fail(path, "architectures", json.dumps(architecture),
             ", ".join(ARCHITECTURES) + "; --task none exports the encoder without its head")
    task, problem = task or ARCHITECTURES[architecture], hf.get("problem_type")
    labels = read_labels(path, hf) if task in LABELLED else []
    # where problem_type is null, Hugging Face decides by the number of labels
    if task == "classification" and (problem or "regression") == "regression" and (
            problem or len(labels) == 1):
        task = "regression"
    if task == "regression" and len(labels) != 1:
        fail(path, "num_labels", len(labels), "1 for a regression")
    multi = task == "classification" and problem == "multi_label_classification"
    config.update(task=task, K=len(labels), problem_type=int(multi), pooler=0, max_seq_length=0,
                  hidden_act=ACTS[hf.get("hidden_act", "gelu")])
    # a regression's LABEL_0 is no name, only what Hugging Face makes up for one
    return hf, config, [] if task == "regression" and labels == ["LABEL_0"] else labels


def read_labels(path, hf):
    id2label = hf.get("id2label")
    if not id2label:
        return ["LABEL_%d" % i for i in range(number(path, hf, "num_labels", 2, 1, 2**20, int))]
    if not isinstance(id2label, dict) or set(id2label) != set(map(str, range(len(id2label)))):
        fail(path, "id2label", json.dumps(id2label), "names of 0..%d" % (len(id2label) - 1))
    return [str(id2label[str(i)]) for i in range(len(id2label))]


# ------------------------------------------------------------------------------------------------
# Tokenizer, as AutoTokenizer of transformers 5 resolves it

RUST_BLANKS = ("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
               + "".join(map(chr, range(0x2000, 0x200B))))
BERT_TOKENIZERS = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
                   "MobileBertTokenizer")


def read_tokenizer(folder, hf, V, notes):
    json_path = os.path.join(folder, "tokenizer.json")
    config_path = os.path.join(folder, "tokenizer_config.json")
    settings, fast = load_json(config_path, {}), load_json(json_path, {})
    if not fast and not os.path.exists(os.path.join(folder, "vocab.txt")):
        fail(folder, "tokenizer", "neither vocab.txt nor tokenizer.json", "one (or --no-tokenizer)")
    model, normalizer = fast.get("model") or {}, fast.get("normalizer") or {}
    splitter = fast.get("pre_tokenizer") or {}
    name = settings.get("tokenizer_class") or hf.get("tokenizer_class") or "BertTokenizer"
    generic = name in ("PreTrainedTokenizerFast", "TokenizersBackend")
    if generic:  # tokenizer.json counts as it stands
        if not fast:
            fail(config_path, "tokenizer_class", name + " without tokenizer.json", "one beside it")
        for where, block, field, expected in [
                ("model", model, "type", "WordPiece"),
                ("model", model, "continuing_subword_prefix", "##"),
                ("normalizer", normalizer, "type", "BertNormalizer"),
                ("normalizer", normalizer, "clean_text", True),
                ("pre_tokenizer", splitter, "type", "BertPreTokenizer")]:
            if block.get(field) != expected:
                fail(json_path, where + "." + field, json.dumps(block.get(field)),
                     json.dumps(expected))
        lower, strip = normalizer.get("lowercase"), normalizer.get("strip_accents")
        chinese = normalizer.get("handle_chinese_chars")
        max_chars = model["max_input_chars_per_word"]
    elif re.sub("Fast$", "", name) in BERT_TOKENIZERS:
        # BertTokenizer makes its normalizer from tokenizer_config.json and defaults of its own; of
        # tokenizer.json it takes the vocabulary and the added tokens, and not the normalizer.
        lower, strip = settings.get("do_lower_case", True), settings.get("strip_accents")
        chinese, max_chars = settings.get("tokenize_chinese_chars", True), 100
        if normalizer.get("lowercase", lower) != lower:
            notes.append("tokenizer.json has lowercase %s, but do_lower_case is %s: AutoTokenizer "
                         "goes by tokenizer_config.json, or else true" % (not lower, lower))
    else:
        fail(config_path, "tokenizer_class", name, " or ".join(BERT_TOKENIZERS))
    for field, value, allowed in [("do_lower_case", lower, "true or false"),
                                  ("tokenize_chinese_chars", chinese, "true or false"),
                                  ("strip_accents", strip, "true, false or null")]:
        if not isinstance(value, bool) and not (value is None and "null" in allowed):
            fail(json_path if generic else config_path, field, json.dumps(value), allowed)

    vocab = json_vocab(json_path, model) if fast else text_vocab(os.path.join(folder, "vocab.txt"))
    ids = {token: i for i, token in enumerate(vocab)}  # of equal lines the last one counts
    vocab = [token if ids[token] == i else "" for i, token in enumerate(vocab)]
    names, tokens = added_tokens(folder, settings, fast, generic)
    added = []
    for token, (declared, flags) in tokens.items():
        if token not in ids:
            ids[token] = len(vocab)
            vocab.append(token)
            flags |= NO_PIECE
        if declared not in (None, ids[token]):
            fail(folder, "added token %r" % token, "id %d" % declared, "%d: its place in the "
                 "vocabulary, or the next one after it" % ids[token])
        added.append((ids[token], flags))
    if len(vocab) > V:
        fail(folder, "vocabulary", "%d tokens with the added ones" % len(vocab),
             "at most vocab_size, %d" % V)
    for field, token in names.items():
        if token not in ids:
            fail(folder, field, "%r" % token, "a token of the vocabulary")
    check_post_processor(json_path, fast, ids[names["cls_token"]], ids[names["sep_token"]])
    return dict(vocab=vocab, do_lower_case=lower, strip_accents=lower if strip is None else strip,
                tokenize_chinese_chars=chinese, max_chars=max_chars, added=added,
                ids=[ids[token] for token in names.values()], unicode=unicode_table())


def text_vocab(path):
    """vocab.txt as the tokenizers library reads it: only \\n ends a line, blanks before it go."""
    with open(path, "rb") as f:
        try:
            lines = f.read().decode("utf-8").split("\n")
        except UnicodeDecodeError as e:
            fail(path, "byte %d" % e.start, "%#x" % e.object[e.start], "UTF-8")
    return [line.rstrip(RUST_BLANKS) for line in (lines if lines[-1] else lines[:-1])]


def json_vocab(path, model):
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not vocab or model.get("type", "WordPiece") != "WordPiece":
        fail(path, "model", json.dumps(model.get("type")), "WordPiece with a vocabulary")
    if any(type(i) is not int or not 0 <= i < LIMITS[2][1] for i in vocab.values()):
        fail(path, "model.vocab", "an id out of range", "ids from 0 on")
    tokens = [""] * (max(vocab.values()) + 1)  # a hole stays "", which no word is made of
    for token, i in vocab.items():
        tokens[i] = token
    return tokens


def added_tokens(folder, settings, fast, generic):
    """-> names of the five special tokens, {token: (declared id or None, flags)}, in the order in
    which transformers adds them. These are found in a text before anything else."""
    named, extra, tokens = {}, [], OrderedDict()

    def content(token):
        return token.get("content") if isinstance(token, dict) else token

    def collect(source):
        for key, value in source.items():
            if key in ("additional_special_tokens", "extra_special_tokens"):
                extra.extend(value.values() if isinstance(value, dict) else value or [])
            elif key.endswith("_token") and isinstance(content(value), str):
                named[key] = value

    def bits(token):
        return sum(bool(token.get(flag)) << bit for bit, flag in enumerate(FLAGS))

    collect(settings)
    in_json = {t["id"]: t for t in fast.get("added_tokens", [])}
    if "added_tokens_decoder" in settings:  # transformers since 4.34: nothing else is looked at
        found = {int(i): t for i, t in settings["added_tokens_decoder"].items()}
    else:
        collect(load_json(os.path.join(folder, "special_tokens_map.json"), {}))
        special = [content(t) for t in list(named.values()) + extra]
        old = load_json(os.path.join(folder, "added_tokens.json"), {})
        found = {i: dict(content=t, special=t in special, normalized=t not in special)
                 for t, i in old.items()}
        found.update(in_json)
    if generic:
        found = {**in_json, **found}
    for i, token in sorted(found.items()):
        tokens[token["content"]] = i, bits(token)
    defaults = dict(SPECIAL)
    if generic:  # has what is named; WordPiece knows its unknown token in any case
        defaults["unk_token"] = fast["model"].get("unk_token", "[UNK]")
    else:  # BertTokenizer has all five, named or not
        named = dict(SPECIAL, **named)
    names = OrderedDict((field, content(named.get(field, defaults[field]))) for field in SPECIAL)
    order = "bos_token eos_token unk_token sep_token pad_token cls_token mask_token".split()
    order += sorted(set(named) - set(order))
    for token in [named[field] for field in order if field in named] + extra:
        if content(token) not in tokens:
            flags = bits(dict(token, special=True)) if isinstance(token, dict) else 1
            tokens[content(token)] = None, flags
    return names, tokens


def check_post_processor(path, fast, cls, sep):
    """[CLS] A [SEP] and [CLS] A [SEP] B [SEP] are built into tokenizer.py and bert.h."""
    post = fast.get("post_processor")
    if not post:
        return
    found, kind = post.get("type"), post.get("type")
    if kind == "BertProcessing":
        found = [post["cls"][1], post["sep"][1]]
    elif kind == "TemplateProcessing":
        ids = {name: t["ids"] for name, t in post["special_tokens"].items()}
        found = []
        for piece in post["single"] + post["pair"]:
            (what, p), = piece.items()
            found += (ids[p["id"]] if what == "SpecialToken" else [p["id"]]) + [p["type_id"]]
    single = [cls, 0, "A", 0, sep, 0]
    if found not in ([cls, sep], single + single + ["B", 1, sep, 1]):
        fail(path, "post_processor", json.dumps(found),
             "[CLS] A [SEP], for pairs [CLS] A [SEP] B [SEP]")


def unicode_table():
    path = os.path.join(HERE, "unicode.bin.z")
    if not os.path.exists(path):
        fail(path, "file", "none", "the Unicode table, which dev/check/unicode_table.py makes")
    with open(path, "rb") as f:
        table = zlib.decompress(f.read())
    ranges, maps, pool = struct.unpack_from("<3I", table)
    if len(table) != 12 + 12 * ranges + 12 * maps + 4 * pool:
        fail(path, "size", "%d bytes" % len(table), "the size of its counts")
    return table


# ------------------------------------------------------------------------------------------------
# Hugging Face -> model.bin

def export(folder, out, task=None, no_tokenizer=False):
    notes = []
    hf, config, labels = read_config(os.path.join(folder, "config.json"), task)
    path, weights = read_weights(folder)
    if "cls.predictions.decoder.bias" in weights:  # two names of one bias
        weights.setdefault("cls.predictions.bias", weights["cls.predictions.decoder.bias"])
    # Also where the class of the head has none, as bert-base-uncased's BertForMaskedLM: fine-tuning
    # for classification starts from the checkpoint's pooler, as from_pretrained does.
    config["pooler"] = int(config["task"] in NEED_POOLER or "bert.pooler.dense.weight" in weights)
    table = tensor_table(config)
    check_weights(path, weights, table, config)
    check_decoder(path, weights, hf, config)
    check_rest(path, weights, table, config, notes)
    st_path = os.path.join(folder, "sentence_bert_config.json")
    st = load_json(st_path, {})
    if st.get("max_seq_length") is not None:
        config["max_seq_length"] = number(st_path, st, "max_seq_length", 0, 1, config["P"], int)
    try:
        tokenizer = None if no_tokenizer else read_tokenizer(folder, hf, config["V"], notes)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as e:
        fail(folder, "tokenizer files", "%s: %s" % (type(e).__name__, e), "files of transformers")
    by_name = {t.name: t for t in table}

    class Stream:  # write_model asks for one row of the table after the other
        def __getitem__(self, name):
            for key in hf_keys([by_name[name]]):
                data = weights[key].float32()
                if not_finite(data):
                    notes.append("WARNING: %s has NaN or Inf" % key)
                yield data
    parameters = write_model(out, config, Stream(), labels, tokenizer)
    print_summary(out, config, labels, tokenizer, parameters)
    print("".join("  %s\n" % note for note in notes), end="")


def check_weights(path, weights, table, config):
    """Before a byte is written: is every tensor there, in its shape, in a dtype that we read?"""
    for t in table:
        for key in hf_keys([t]):
            if key not in weights:
                hint = ""
                if not key.startswith(("bert.embeddings.", "bert.encoder.")):
                    hint = ("; this checkpoint has no %s: export with --task none, and train will "
                            "draw it" % ("pooler" if "pooler" in key else config["task"] + " head"))
                fail(path, key, "no such tensor", "one of shape %s%s" % (part_shape(t), hint))
            if tuple(weights[key].shape) != part_shape(t):
                fail(path, key, "shape %s" % (tuple(weights[key].shape),),
                     "%s by config.json" % (part_shape(t),))
            if weights[key].dtype not in ITEM:
                fail(path, key, "dtype " + weights[key].dtype, "one of " + ", ".join(ITEM))


def check_decoder(path, weights, hf, config):
    """from_pretrained unties decoder and wte when a checkpoint has both and they differ, whatever
    tie_word_embeddings says; when that is false and there is no decoder, it draws one."""
    if config["task"] not in ("mlm", "pretraining"):
        return
    decoder, wte = "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"
    if decoder not in weights and hf.get("tie_word_embeddings") is False:
        fail(path, decoder, "none, and tie_word_embeddings false", "a decoder tied to " + wte)
    for key, twin in (decoder, wte), ("cls.predictions.decoder.bias", "cls.predictions.bias"):
        if key in weights and (weights[key].shape != weights[twin].shape or bytes(
                weights[key].float32()) != bytes(weights[twin].float32())):
            fail(path, key, "other values than in " + twin, "a decoder tied to it")


def check_rest(path, weights, table, config, notes):
    """A tensor of the encoder that nobody reads means another network; a head, another task."""
    rest = sorted(set(weights) - set(hf_keys(table)) - {
        "bert.embeddings.position_ids", "bert.embeddings.token_type_ids",  # 0, 1, 2...; 0, 0, 0...
        "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"})
    for key in rest:
        if key.startswith("bert."):
            fail(path, key, "a tensor that this BERT does not have",
                 "%d layers, as in config.json, and no more" % config["L"])
    if rest:
        notes.append("dropped, no part of task %s: %s" % (config["task"], " ".join(rest)))


def print_summary(path, config, labels, tok, parameters):
    dims = ", ".join("%s %d" % (d, config[d]) for d in DIMS)
    print("%s: task %s%s, %d parameters" % (
        path, config["task"], ", multi-label" * config["problem_type"], parameters))
    print("  %s, %s, pooler %s, max_seq_length %s" % (dims, act_name(config), (
        "no", "yes")[config["pooler"]], config["max_seq_length"] or "none"))
    if labels:
        print("  labels: " + " ".join(labels[:10]) + (" ..." if len(labels) > 10 else ""))
    if tok:
        print("  tokenizer: %d tokens, %d of them added" % (len(tok["vocab"]), len(tok["added"]))
              + "".join(", %s %d" % (f, tok[f]) for f in (
                  "do_lower_case", "strip_accents", "tokenize_chinese_chars")))
    else:
        print("  NO TOKENIZER: this model takes token ids, and no text")


def act_name(config):
    return next(name for name, code in ACTS.items() if code == config["hidden_act"])


# ------------------------------------------------------------------------------------------------
# model.bin -> Hugging Face

def to_hf(path, folder):
    m = read_model(path)
    c, task = m.config, m.config["task"]
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as e:  # a file in its place, or nothing can be made there
        fail(folder, "folder", e.strerror, "one that is there or can be made")
    for name in ("tokenizer.json", "added_tokens.json", "special_tokens_map.json",
                 "model.safetensors.index.json"):  # AutoTokenizer would mix it with our files
        if os.path.exists(os.path.join(folder, name)):
            fail(folder, name, "a file of another model", "an empty folder")
    base = "classification" if task == "regression" else task
    hf = {"architectures": [a for a, t in ARCHITECTURES.items() if t == base], "model_type": "bert"}
    hf.update((field, c[d]) for d, field in zip(DIMS, HF_DIMS))
    hf.update((field, None if c[field] < 0 else c[field]) for field in FLOATS)
    hf.update(hidden_act=act_name(c), position_embedding_type="absolute",
              pad_token_id=None if c["padding_idx"] < 0 else c["padding_idx"])
    if c["K"] > 0:
        names = m.labels or ["LABEL_%d" % i for i in range(c["K"])]
        hf["id2label"] = {str(i): name for i, name in enumerate(names)}
        hf["label2id"] = {name: i for i, name in enumerate(names)}
    if base == "classification":
        hf["problem_type"] = "regression" if task == "regression" else (
            "multi_label_classification" if c["problem_type"] else "single_label_classification")
    write_json(folder, "config.json", hf)
    write_safetensors(os.path.join(folder, "model.safetensors"), m)
    if c["max_seq_length"]:
        write_json(folder, "sentence_bert_config.json",
                   {"max_seq_length": c["max_seq_length"], "do_lower_case": False})
    if m.tokenizer:
        write_tokenizer(folder, m.tokenizer, c["P"])
    print("%s: %s, %d parameters%s" % (
        folder, hf["architectures"][0], sum(prod(t.shape) for t in m.table),
        "" if m.tokenizer else ", NO TOKENIZER"))


def write_json(folder, name, value):
    write_file(os.path.join(folder, name), [(json.dumps(value, indent=2) + "\n").encode()])


def write_safetensors(path, m):
    header, at = {"__metadata__": {"format": "pt"}}, 0  # transformers insists on this
    pooler = m.config["task"] in NEED_POOLER + ("none",)  # the other classes would find it too much
    table = [t for t in m.table if pooler or not t.name.startswith("pool")]
    for t in table:
        n = 4 * prod(part_shape(t))
        for key in hf_keys([t]):
            if m.config["task"] == "none":  # BertModel's own keys have no prefix
                key = re.sub(r"^bert\.", "", key)
            header[key] = {"dtype": "F32", "shape": part_shape(t), "data_offsets": [at, at + n]}
            at += n

    def chunks():
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        yield struct.pack("<Q", len(text)) + text
        for t in table:  # the parts of a joined tensor already stand one after the other
            for layer in range(t.shape[0]):
                yield m.read(t.name, layer)
    write_file(path, chunks())


def write_tokenizer(folder, tok, positions):
    vocab, five = list(tok["vocab"]), [tok["vocab"][i] for i in tok["ids"]]
    added = {}
    for i, flags in tok["added"]:
        if vocab[i] != vocab[i].rstrip(RUST_BLANKS) or "\n" in vocab[i]:
            fail(folder, "added token %r" % vocab[i], "white space", "what vocab.txt can hold")
        added[str(i)] = {flag: bool(flags >> bit & 1) for bit, flag in enumerate(FLAGS)}
        added[str(i)]["content"] = vocab[i]
    # what WordPiece does not know stands behind the vocabulary: AutoTokenizer adds it from
    # added_tokens_decoder, at the same ids
    del vocab[min([i for i, flags in tok["added"] if flags & NO_PIECE], default=len(vocab)):]
    lines = ["" if "\n" in token else token for token in vocab]  # white space is in no word
    write_file(os.path.join(folder, "vocab.txt"), [("\n".join(lines) + "\n").encode()])
    settings = {"tokenizer_class": "BertTokenizer", "model_max_length": positions}
    settings.update((field, bool(tok[field])) for field in (
        "do_lower_case", "strip_accents", "tokenize_chinese_chars"))
    write_json(folder, "tokenizer_config.json",
               dict(settings, added_tokens_decoder=added, **dict(zip(SPECIAL, five))))


def main():
    p = argparse.ArgumentParser(description="Hugging Face BERT folder -> model.bin, and back")
    p.add_argument("source", metavar="HF_DIR", help="Hugging Face folder (with --to-hf: model.bin)")
    p.add_argument("out", metavar="model.bin", help="file to write (with --to-hf: folder)")
    p.add_argument("--to-hf", action="store_true", help="write a Hugging Face folder")
    p.add_argument("--task", choices=TASKS, help="head to keep (default: as architectures[0] says)")
    p.add_argument("--no-tokenizer", action="store_true", help="export without vocabulary")
    a = p.parse_args()
    if a.to_hf and (a.task or a.no_tokenizer):
        p.error("--task and --no-tokenizer belong to the export to model.bin")
    try:
        to_hf(a.source, a.out) if a.to_hf else export(a.source, a.out, a.task, a.no_tokenizer)
    except ExportError as e:
        sys.exit("export_hf: %s" % e)
    except (OSError, UnicodeError) as e:
        sys.exit("export_hf: %s: %s" % (getattr(e, "filename", None) or a.source,
                                        getattr(e, "strerror", None) or e))


if __name__ == "__main__":
    main()
