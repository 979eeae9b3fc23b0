#!/usr/bin/env python3
"""Hugging Face BERT folder -> model.bin, and back. Python 3.8 and its standard library, no more.

    python3 dev/export_hf.py HF_DIR model.bin [--task none]
    python3 dev/export_hf.py --to-hf model.bin HF_DIR
    python3 dev/export_hf.py --config config.json --tokenizer HF_DIR model.bin

The last makes a model without weights, which `train_bert train` draws: from scratch.

The format of model.bin is the byte table in bert.h (Model files), and the tables of tasks and
tensors are read from bert.h itself: what is new there is exported without a change here. Weights
pass through one tensor at a time: bert-large needs little more memory than its largest matrix.

Other scripts import read_model and write_model.
"""
import argparse
import json
import os
import re
import shutil
import struct
import sys
import zlib
from collections import OrderedDict, namedtuple
from math import prod

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hf_files import ITEM, ExportError, entry, fail, load_json, number, read_weights, shown

HEADER = 256 * 4
MAGIC, VERSIONS = 0x4D545242, (1, 2)  # that we read; we write the last
DIMS = "V C L NH F P S K".split()  # header words 2..9
HF_DIMS = ("vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size "
           "max_position_embeddings type_vocab_size").split()  # K comes from the labels
# transformers' names of activation functions, the first of each kind is written by --to-hf
ACTS = {"gelu": 0, "gelu_new": 1, "relu": 2, "gelu_python": 0, "gelu_pytorch_tanh": 1,
        "gelu_fast": 1, "gelu_accurate": 1, "gelu_python_tanh": 1}
FLOATS = ("layer_norm_eps hidden_dropout_prob attention_probs_dropout_prob classifier_dropout "
          "initializer_range").split()  # header words 14..18
EXTRAS = OrderedDict([("padding_idx", 0), ("trained_length", 0), ("trained_pairs", 0),
                      ("may_lack", 0), ("pooling", 0), ("normalize", 0),
                      ("activation_out", 0), ("model_max_length", 0), ("undrawn", 0)])
# header words 43 (+ 1) to 51, and what they are if not said
VALUE, SIGMOID, IDENTITY = range(3)  # activation_out
MEAN, CLS, POOLER = 1, 2, 3  # pooling
PROBLEMS = [None, "regression", "single_label_classification", "multi_label_classification"]
GROUPS = {"EMBEDDINGS": ("1", "bert.embeddings."), "LAYER": ("L", "bert.encoder.layer.%d."),
          "HEAD": ("1", "")}  # of the tensor table: how often, prefix of the keys
SPECIAL = OrderedDict([("pad_token", "[PAD]"), ("unk_token", "[UNK]"), ("cls_token", "[CLS]"),
                       ("sep_token", "[SEP]"), ("mask_token", "[MASK]")])  # words 37..41
FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")  # bits 0..4 in section 4
NO_PIECE = 32


# ------------------------------------------------------------------------------------------------
# The tables of bert.h

def read_table(name, row, columns, header=os.path.join(HERE, "..", "bert.h")):
    """The rows of a table, as tuples of the columns that the pattern row has groups for."""
    with open(header, encoding="utf-8") as f:
        macro = re.search(r"#define %s\(X\)(.*?[^\\])\n" % name, f.read(), re.S)
    text = re.sub(r"\\\n\s*", "", macro.group(1)) if macro else ""
    rows = re.findall(r"X\(%s\)" % row, text)
    if not rows or len(rows) != text.count("X("):
        fail(header, name, "%d readable rows of %d" % (len(rows), text.count("X(")),
             "X(%s) in each" % columns)
    return rows


Task = namedtuple("Task", "name hf_class reads columns most_labels loss")
TABLE = OrderedDict((row[0], Task(*row)) for row in read_table(
    "BERT_TASKS", r'\w+, "(\w+)", "(\w+)", (\w+), (\w+), (\w+), *(\w+)',
    'task, "name", "class", reads, columns, most labels, loss'))
TASKS = list(TABLE)  # by number
ARCHITECTURES = OrderedDict((t.hf_class, t.name) for t in TABLE.values() if t.loss != "MSE")
# their logits have names; what num_labels says of others means nothing
LABELLED = tuple(t.name for t in TABLE.values() if t.columns == "K" and t.loss != "CHOICE")
NEED_POOLER = tuple(t.name for t in TABLE.values() if t.reads in ("CLS", "BOTH"))
WHO = {  # the tensor table's "who has it"
    "ALL": lambda c: True,
    "POOLER": lambda c: c["pooler"] == 1,
    "CLASSIFIER": lambda c: TABLE[c["task"]].columns == "K",
    "QA": lambda c: TABLE[c["task"]].columns == "2",
    "MLM": lambda c: TABLE[c["task"]].columns == "V",
    "NSP": lambda c: TABLE[c["task"]].reads == "BOTH",
}
Tensor = namedtuple("Tensor", "name shape keys")  # shape (layers, rows, columns); keys[layer][part]


def tensor_table(config, **header):
    """The tensors that a model of this config has, in file order."""
    rows = read_table(
        "BERT_TENSORS", r'(\w+), (\w+), ([^,]+), ([^,]+), [01], \w+, (\w+), *"([^"]+)"',
        'name, group, rows, columns, decay, drawn, who, "key"', **header)

    def size(text):  # "L", "1", "3 * C"
        return prod(int(word) if word.isdigit() else config[word] for word in text.split(" * "))

    tensors = []
    for name, group, height, width, who, key in rows:
        for word, known in (group, GROUPS), (who, WHO):
            if word not in known:
                fail("bert.h", name, word, "one of " + ", ".join(known))
        layers, prefix = GROUPS[group]
        key = prefix + key
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
    except BaseException as e:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(e, OSError) and e.filename is None:  # a full disk, not a file that is read
            fail(path, "writing it", e.strerror, "room and a disk that works")
        raise


def strings(values):
    """count + 1 offsets as u64, then the bytes; nothing at all for no strings."""
    blobs, offsets = [v.encode("utf-8") for v in values], [0]
    for blob in blobs:
        offsets.append(offsets[-1] + len(blob))
    return struct.pack("<%dQ" % len(offsets), *offsets) + b"".join(blobs) if blobs else b""


def write_model(path, config, tensors, labels=(), tokenizer=None):
    """config: DIMS, hidden_act (0..2), task (its name), problem_type, pooler, FLOATS,
    max_seq_length, and what is not as EXTRAS has it. tensors: name -> little-endian float32 bytes
    (any buffer), or an iterable of pieces. tokenizer: None, or vocab (list of str),
    do_lower_case, strip_accents, tokenize_chinese_chars, max_chars, ids (pad, unk, cls, sep, mask),
    added ((id, flags) pairs), unicode (bytes). -> the number of parameters"""
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
    struct.pack_into("<9i", header, 4 * 43, extras[0] + 1, *extras[1:])
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
          8: (1, 2**20), 9: (0, 2**20), 10: (0, 2), 11: (0, len(TASKS) - 1), 12: (0, 1), 13: (0, 1)}


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
        m.config.update(zip(EXTRAS, (w[43] - 1,) + w[44:52] if w[1] > 1 else EXTRAS.values()))
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
            name = list(SPECIAL.values())[i]
            if w[1] == 1 and w[37 + i] == 0 and m.tokenizer["vocab"][0] != name:
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
# config.json

def read_config(path, task):
    """-> config.json, config for write_model, label names. A missing field has the value of Hugging
    Face's BertConfig; one that would make another network is refused."""
    hf = load_json(path)
    for field, allowed in [("model_type", ["bert"]), ("is_decoder", [False]),
                           ("add_cross_attention", [False]), ("hidden_act", list(ACTS)),
                           ("position_embedding_type", ["absolute"]),
                           ("quantization_config", [None]), ("problem_type", PROBLEMS)]:
        if hf.get(field, allowed[0]) not in allowed:
            fail(path, field, json.dumps(hf[field]), " or ".join(map(json.dumps, allowed)))
    config = {d: number(path, hf, field, default, *LIMITS[word], int) for word, d, field, default
              in zip(range(2, 9), DIMS, HF_DIMS, [30522, 768, 12, 12, 3072, 512, 2])}
    if config["C"] % config["NH"]:
        default = " (BertConfig's default)"
        fail(path, "hidden_size", "%d%s" % (config["C"], default * ("hidden_size" not in hf)),
             "a multiple of num_attention_heads, %d%s" % (
                 config["NH"], default * ("num_attention_heads" not in hf)))
    for field, default in zip(FLOATS, [1e-12, 0.1, 0.1, -1, 0.02]):
        null = field == "classifier_dropout" and hf.get(field) is None  # word 17: -1
        config[field] = float(-1 if null else number(path, hf, field, default, 0, 1))
        if struct.pack("<f", config[field]) == struct.pack("<f", 1) and field != FLOATS[-1]:
            fail(path, field, json.dumps(hf[field]), "a number below 1")
    config["padding_idx"] = -1
    if hf.get("pad_token_id", 0) is not None:  # nn.Embedding counts a negative one from the end
        config["padding_idx"] = number(path, hf, "pad_token_id", 0, -config["V"], config["V"] - 1,
                                       int) % config["V"]
    architecture = (entry(path, hf, "architectures", [], list) or ["BertModel"])[0]
    if task is None and (not isinstance(architecture, str) or architecture not in ARCHITECTURES):
        fail(path, "architectures", json.dumps(architecture),
             ", ".join(ARCHITECTURES) + "; --task none exports the encoder without its head")
    task, problem = task or ARCHITECTURES[architecture], hf.get("problem_type")
    labels = read_labels(path, hf) if task in LABELLED else []
    multi = task == "classification" and problem == "multi_label_classification"
    # where problem_type is null, Hugging Face decides by the number of labels
    if task == "classification" and (problem == "regression" or len(labels) == 1 and not multi):
        task = "regression"
    if len(labels) == 1 and problem == "single_label_classification":  # as BertConfig has it
        fail(path, "problem_type", json.dumps(problem), "more than one label for it")
    if task == "regression" and len(labels) != 1:
        fail(path, "num_labels", len(labels), "1 for a regression")
    config.update(task=task, K=len(labels) or int(TABLE[task].columns == "K"),
                  problem_type=int(multi), pooler=0, max_seq_length=0,
                  hidden_act=ACTS[hf.get("hidden_act", "gelu")])
    # a regression's LABEL_0 is no name, only what Hugging Face makes up for one
    return hf, config, [] if task == "regression" and labels == ["LABEL_0"] else labels


def read_labels(path, hf):
    """num_labels decides, as in BertConfig: names of another number of labels are not its names."""
    id2label = entry(path, hf, "id2label", {}, dict)
    count = len(id2label) or 2
    if hf.get("num_labels") is not None or not id2label:
        count = number(path, hf, "num_labels", 2, 1, 2**20, int)
    if count != len(id2label):
        return ["LABEL_%d" % i for i in range(count)]
    names = {int(key) if key.isdigit() else key: str(name) for key, name in id2label.items()}
    if set(names) != set(range(count)):
        fail(path, "id2label", json.dumps(id2label), "names of 0..%d" % (count - 1))
    return different(path, "id2label", [names[i] for i in range(count)])


def different(path, field, names):
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        fail(path, field, "two labels of the name %s" % json.dumps(twice),
             "a name of its own for each (rename one there)")
    return names


def output_function(folder, path, hf):
    """What is shown of a single logit: the pipeline's answer, the logit of a regression, else its
    sigmoid; but for a cross-encoder that says what sentence-transformers shows."""
    st = load_json(os.path.join(folder, "config_sentence_transformers.json"), {})
    name = st.get("activation_fn") or entry(path, hf, "sentence_transformers", {}, dict).get(
        "activation_fn") or hf.get("sbert_ce_default_activation_function")
    if name is None:
        return VALUE if hf.get("problem_type") == "regression" else SIGMOID
    known = {"Sigmoid": SIGMOID, "Identity": IDENTITY}
    if not isinstance(name, str) or not name.startswith("torch.nn.") or (
            name.rsplit(".", 1)[-1] not in known):
        fail(path, "activation_fn of a cross-encoder", json.dumps(name), "torch.nn's Sigmoid or "
             "Identity")
    return known[name.rsplit(".", 1)[-1]]


# ------------------------------------------------------------------------------------------------
# sentence-transformers' modules

class Modules:
    """What modules.json makes of a text. transformer: the folder of config.json; pooling,
    normalize; dense: the folder of a Dense that is the same as a pooler; wrong: what is there that
    bert.h does not do, None if it does all of it."""

    def __init__(self, folder, notes):
        self.transformer, self.pooling, self.normalize = folder, 0, 0
        self.dense = self.wrong = None
        self.path = os.path.join(folder, "modules.json")
        self.there = os.path.exists(self.path)
        for kind, sub in self.chain(folder) if self.there else []:
            if self.wrong is None:
                self.wrong = self.obey(kind, sub)
        prompts = os.path.join(folder, "config_sentence_transformers.json")
        self.read_prompts(prompts, load_json(prompts, {}) if self.there else {}, notes)

    def chain(self, folder):
        for i, module in enumerate(load_json(self.path, kind=list)):
            name = entry(self.path, module if isinstance(module, dict) else {}, "type", "", str)
            sub = entry(self.path, module if name else {}, "path", "", str)
            if not name or os.path.isabs(sub) or ".." in re.split(r"[/\\]", sub):
                fail(self.path, "module %d" % i, json.dumps(module), "a type, and a path in here")
            ours = name.startswith("sentence_transformers.")
            yield name.rsplit(".", 1)[-1] if ours else name, os.path.join(folder, sub)

    def obey(self, kind, sub):
        """-> None, or what is wrong with this module at this place."""
        config = load_json(os.path.join(sub, "config.json"), {}) if kind in (
            "Pooling", "Dense", "Normalize") else {}
        after = "sentence_embedding"
        if config.get("module_input_name") not in (None, after) or config.get(
                "module_output_name") not in (None, after):
            return "%s of %s" % (kind, config.get("module_input_name"))
        if kind in ("Transformer", "BERT") and self.pooling == 0:
            self.transformer = sub
        elif kind == "Pooling" and self.pooling == 0:
            mode, legacy = config.get("pooling_mode"), [
                key[len("pooling_mode_"):].replace("_tokens", "").replace("_token", "")
                for key in config if key.startswith("pooling_mode_") and config[key]]
            modes = mode if isinstance(mode, list) else [mode] if mode else legacy or ["mean"]
            if config.get("include_prompt") is False:
                return "Pooling that leaves out the prompt"
            if len(modes) != 1 or modes[0] not in ("mean", "cls"):
                return "Pooling by " + ", ".join(map(str, modes))
            self.pooling = MEAN if modes[0] == "mean" else CLS
        elif kind == "Dense" and self.pooling and not self.dense and not self.normalize:
            # tanh(W cls + b) is what BertPooler does
            act = config.get("activation_function", "torch.nn.modules.activation.Tanh")
            square = config.get("in_features") == config.get("out_features")
            if self.pooling != CLS or not square or config.get("bias", True) is not True or (
                    act != "torch.nn.modules.activation.Tanh" or config.get("use_residual")):
                return "Dense that is no BertPooler (of [CLS], square, bias, tanh): " + json.dumps(
                    config)
            self.dense, self.pooling = sub, POOLER
        elif kind == "Normalize" and self.pooling:
            self.normalize = 1
        elif kind != "Dropout" or not self.pooling:
            return kind
        return None

    def read_prompts(self, path, config, notes):
        prompts = entry(path, config, "prompts", {}, dict)
        default = prompts.get(str(config.get("default_prompt_name")))
        if default and self.wrong is None:
            self.path, self.wrong = path, "default_prompt_name, which puts %s before each text" % (
                json.dumps(default))
        said = ", ".join("%s %s" % (name, json.dumps(text)) for name, text in prompts.items()
                         if text)
        if said:
            notes.append("prompts, which you put before your texts yourself: " + shown(said))


def read_dense(folder, C):
    path, weights = read_weights(folder)
    for key, shape in ("linear.weight", (C, C)), ("linear.bias", (C,)):
        if key not in weights or tuple(weights[key].shape) != shape:
            fail(path, key, "none, or of another shape", "shape %s" % (shape,))
    return weights["linear.weight"], weights["linear.bias"]


def sentence_config(folder):
    for kind in "bert roberta distilbert camembert albert xlm-roberta xlnet".split():
        path = os.path.join(folder, "sentence_%s_config.json" % kind)
        if load_json(path, {}):
            break
    return path, load_json(path, {})


# ------------------------------------------------------------------------------------------------
# Tokenizer, as AutoTokenizer of transformers 5 resolves it

RUST_BLANKS = ("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
               + "".join(map(chr, range(0x2000, 0x200B))))
BERT_TOKENIZERS = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer",
                   "MobileBertTokenizer")


def read_tokenizer(folder, hf, V, lower_first, notes):
    """lower_first: sentence-transformers makes the text lower case before all else."""
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

    side = settings.get("truncation_side") or generic and str(
        (fast.get("truncation") or {}).get("direction", "right")).lower() or "right"
    if side != "right":  # the end of a text counts, for us its beginning does
        fail(config_path, "truncation_side", json.dumps(side), '"right"')

    strip = lower if strip is None else strip
    lower = lower or lower_first
    vocab = json_vocab(json_path, model) if fast else text_vocab(os.path.join(folder, "vocab.txt"))
    ids = {token: i for i, token in enumerate(vocab)}  # of equal lines the last one counts
    vocab = [token if ids[token] == i else "" for i, token in enumerate(vocab)]
    names, tokens = added_tokens(folder, settings, fast, generic)
    if names["unk_token"] not in ids:
        fail(folder, "unk_token", json.dumps(names["unk_token"]), "a token of the vocabulary")
    added, pieces = [], len(ids)
    for token, (declared, flags) in tokens.items():
        if token not in ids:  # the tokenizers library counts different tokens, not lines
            at = max([pieces] + [i + 1 for i, _ in added])
            vocab += [""] * (at + 1 - len(vocab))
            if vocab[at]:
                fail(folder, "added token %r" % token, "the id of %r" % vocab[at], "one of its own")
            vocab[at], ids[token] = token, at
            flags |= NO_PIECE
        if declared not in (None, ids[token]):
            fail(folder, "added token %r" % token, "id %d" % declared, "%d: its place in the "
                 "vocabulary, or the next one after it" % ids[token])
        added.append((ids[token], flags))
    for field in ("pad_token", "mask_token"):
        # transformers adds what the vocabulary lacks; the model has no row for it, nor any use
        if ids.get(names[field], -1) >= V:
            notes.append("no %s: the vocabulary has none, and the model no row for one" % (
                names[field]))
            vocab[ids.pop(names[field])], names[field] = "", None
    added = [(i, flags) for i, flags in added if vocab[i]]
    while len(vocab) > V and not vocab[-1]:  # empty lines at the end are no tokens
        vocab.pop()
    if len(vocab) > V:
        fail(folder, "vocabulary", "%d tokens with the added ones" % len(vocab),
             "at most vocab_size, %d" % V)
    for field, token in names.items():
        if token not in ids and (token is not None or field in ("cls_token", "sep_token")):
            fail(folder, field, json.dumps(token), "a token of the vocabulary")
    check_post_processor(json_path, fast, generic, ids[names["cls_token"]], ids[names["sep_token"]])
    return dict(vocab=vocab, do_lower_case=lower, strip_accents=strip,
                tokenize_chinese_chars=chinese, max_chars=max_chars, added=added,
                ids=[ids.get(token, -1) for token in names.values()], unicode=unicode_table())


def model_max_length(folder, P):
    """What the tokenizer cuts at; 0: at the model's P."""
    settings = load_json(os.path.join(folder, "tokenizer_config.json"), {})
    length = settings.get("model_max_length", settings.get("max_len"))
    if isinstance(length, bool) or not isinstance(length, (int, float)) or not 2 < length < P:
        return 0
    return int(length)


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
            elif key in ("pad_token", "mask_token") and value is None:
                named[key] = None  # has none, whatever the vocabulary has

    def bits(token):
        return sum(bool(token.get(flag)) << bit for bit, flag in enumerate(FLAGS))

    collect(settings)
    in_json = {t["id"]: t for t in fast.get("added_tokens", [])}
    if "added_tokens_decoder" in settings:  # transformers since 4.34: nothing else is looked at
        found = {int(i): t for i, t in settings["added_tokens_decoder"].items()}
    else:
        collect(load_json(os.path.join(folder, "special_tokens_map.json"), {}))
        special = [content(t) for t in list(named.values()) + extra if t]
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
    for token in [named[field] for field in order if named.get(field)] + extra:
        if content(token) not in tokens:
            flags = bits(dict(token, special=True)) if isinstance(token, dict) else 1
            tokens[content(token)] = None, flags
    return names, tokens


def check_post_processor(path, fast, generic, cls, sep):
    """[CLS] A [SEP] and [CLS] A [SEP] B [SEP] are built into tokenizer.py and bert.h."""
    post = fast.get("post_processor")
    if not post and not generic:  # BertTokenizer makes its own
        return
    post = post or {}
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

def export(folder, out, task=None, no_tokenizer=False, ignore_modules=False):
    notes = []
    check_folder(folder, notes)
    modules = Modules(folder, notes)
    if modules.wrong and not ignore_modules:
        fail(modules.path, "sentence-transformers", modules.wrong, "Transformer, Pooling (mean or "
             "cls), a Dense that is a BertPooler, Normalize; --ignore-modules exports without")
    if modules.wrong:
        notes.append("WARNING: NOT as sentence-transformers has it: without " + modules.wrong)
    root, folder = folder, modules.transformer
    config_path = os.path.join(folder, "config.json")
    hf, config, labels = read_config(config_path, task)
    path, weights = read_weights(folder)
    if "cls.predictions.decoder.bias" in weights:  # two names of one bias
        weights.setdefault("cls.predictions.bias", weights["cls.predictions.decoder.bias"])
    config["pooling"], config["normalize"] = modules.pooling, modules.normalize
    if modules.dense:
        if config["task"] in NEED_POOLER:
            fail(modules.path, "Dense", "one beside the pooler of task " + config["task"],
                 "--task none, or --ignore-modules")
        weights["bert.pooler.dense.weight"], weights["bert.pooler.dense.bias"] = read_dense(
            modules.dense, config["C"])
        notes.append("the pooler is sentence-transformers' Dense")
    # Also where the class of the head has none, as bert-base-uncased's BertForMaskedLM: fine-tuning
    # for classification starts from the checkpoint's pooler, as from_pretrained does.
    config["pooler"] = int(config["task"] in NEED_POOLER or "bert.pooler.dense.weight" in weights)
    if config["task"] == "regression":
        config["activation_out"] = output_function(root, config_path, hf)
    table = tensor_table(config)
    check_weights(path, weights, table, config)
    check_decoder(path, weights, hf, config)
    check_rest(path, weights, table, config, notes)
    st_path, st = sentence_config(folder)
    if st.get("max_seq_length") is not None:
        said = number(st_path, st, "max_seq_length", 0, 1, 1 << 30, int)
        config["max_seq_length"] = min(said, config["P"])
        if said > config["P"]:
            notes.append("max_seq_length %d is cut to the model's %d positions" % (
                said, config["P"]))
    tokenizer, lower_first = None, modules.there and entry(st_path, st, "do_lower_case", False,
                                                           bool)
    if not no_tokenizer:
        tokenizer = read_tokenizer(folder, hf, config["V"], lower_first, notes)
        config["model_max_length"] = model_max_length(folder, config["P"])
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


def from_scratch(config_path, source, out):
    """A model without weights: zeros, and the word that says so. It has no head: train gives it the
    one of its data. source: where its tokenizer comes from, a folder or another model.bin."""
    notes = []
    hf, config, _ = read_config(config_path, "none")
    if os.path.isdir(source):
        tokenizer = read_tokenizer(source, hf, config["V"], False, notes)
        config["model_max_length"] = model_max_length(source, config["P"])
    else:
        tokenizer = read_model(source).tokenizer
        if not tokenizer:
            fail(source, "tokenizer", "none", "a model that has one, or a folder of Hugging Face")
        if len(tokenizer["vocab"]) > config["V"]:
            fail(config_path, "vocab_size", config["V"], "at least %d: the tokens of %s" % (
                len(tokenizer["vocab"]), source))
    config["undrawn"] = 1
    if "vocab_size" not in hf and config["V"] != len(tokenizer["vocab"]):  # as BertConfig has it
        notes.append("WARNING: vocab_size is %d, BertConfig's default, as config.json has none; "
                     "the tokenizer has %d tokens: \"vocab_size\": %d makes the embeddings of "
                     "these alone" % ((config["V"],) + (len(tokenizer["vocab"]),) * 2))

    def zeros(n):
        for _ in range(n >> 20):
            yield bytes(1 << 20)
        yield bytes(n % (1 << 20))
    tensors = {t.name: zeros(4 * prod(t.shape)) for t in tensor_table(config)}
    parameters = write_model(out, config, tensors, (), tokenizer)
    print_summary(out, config, (), tokenizer, parameters)
    print("".join("  %s\n" % note for note in notes), end="")


def check_folder(folder, notes):
    """Says what was given in place of a folder of Hugging Face."""
    if not os.path.exists(folder):
        hub = re.fullmatch(r"(?:models/)?([\w.-]+(/[\w.-]+)?)/?", folder)
        fail(folder, "folder", "none", "a folder of Hugging Face" + (
            "; of a model on the hub: python3 dev/download.py %s, then give models/%s" % (
                (hub.group(1),) * 2) if hub else ""))
    if not os.path.isdir(folder):
        fail(folder, "folder", "a file", "the folder with config.json that it belongs to (of a "
             "model.bin: --to-hf makes one)")
    if os.path.exists(os.path.join(folder, "config.json")):
        above = os.path.join(folder, "..", "modules.json")
        if not os.path.exists(os.path.join(folder, "modules.json")) and os.path.exists(above):
            notes.append("WARNING: a part of the sentence-transformers model above it, whose "
                         "pooling is not read: export that folder")
        return
    if os.path.exists(os.path.join(folder, "modules.json")):
        return  # whose first module has it
    inside = [sub for sub in sorted(os.listdir(folder))
              if os.path.exists(os.path.join(folder, sub, "config.json"))]
    if os.path.exists(os.path.join(folder, "bert_config.json")):
        fail(folder, "config.json", "bert_config.json, of Google's BERT for TensorFlow",
             "a folder of Hugging Face: transformers 4 makes one (convert_bert_original_tf_"
             "checkpoint_to_pytorch.py), or the hub has it: python3 dev/download.py")
    fail(folder, "config.json", "none", "a folder of Hugging Face" + (
        "; is it %s?" % os.path.join(folder, inside[0]) if inside else ""))


def not_finite(data):
    """NaN or Inf among float32? Their upper byte is 7f or ff: seldom, and quickly looked for."""
    high = data[3::4]
    return (0x7F in high or 0xFF in high) and any(
        a & 0x7F == 0x7F and b & 0x80 for a, b in zip(high, data[2::4]))


def check_weights(path, weights, table, config):
    """Before a byte is written: is every tensor there, in its shape, in a dtype that we read?"""
    files = sum(map(os.path.getsize, {stored.path for stored in weights.values()}))
    if 4 * sum(prod(t.shape) for t in table) > (1 << 26) + 8 * files:  # float16, tied: 4 times
        fail(path, "size", "%d bytes" % files, "weights for %d parameters, as config.json says" % (
            sum(prod(t.shape) for t in table)))
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
        if key in weights and (weights[key].shape != weights[twin].shape
                               or weights[key].dtype not in ITEM or bytes(
                weights[key].float32()) != bytes(weights[twin].float32())):
            fail(path, key, "an untied decoder: other values than in " + twin,
                 "a decoder tied to it (--task none exports the encoder)")


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
        notes.append("dropped, no part of task %s: %s" % (config["task"], shown(" ".join(rest))))


def print_summary(path, config, labels, tok, parameters):
    dims = ", ".join("%s %d" % (d, config[d]) for d in DIMS)
    print("%s: task %s%s, %d parameters" % (
        path, config["task"], ", multi-label" * config["problem_type"], parameters))
    print("  %s, %s, pooler %s, max_seq_length %s%s%s" % (
        dims, act_name(config), ("no", "yes")[config["pooler"]],
        config["max_seq_length"] or config.get("model_max_length") or "none",
        ["", ", mean of the tokens", ", [CLS]", ", pooler"][config.get("pooling", 0)],
        ", length 1" * config.get("normalize", 0)))
    if labels:
        print("  labels: " + " ".join(labels[:10]) + (" ..." if len(labels) > 10 else ""))
    if tok:
        print("  tokenizer: %d tokens, %d of them added" % (len(tok["vocab"]), len(tok["added"]))
              + "".join(", %s %d" % (f, tok[f]) for f in (
                  "do_lower_case", "strip_accents", "tokenize_chinese_chars")))
    else:
        print("  NO TOKENIZER: this model takes token ids, and no text")
    if config.get("undrawn"):
        print("  NO WEIGHTS: train_bert train draws them, and gives it the head of its data")


def act_name(config):
    return next(name for name, code in ACTS.items() if code == config["hidden_act"])


# ------------------------------------------------------------------------------------------------
# model.bin -> Hugging Face

OTHERS_FILES = ("tokenizer.json", "added_tokens.json", "special_tokens_map.json",
                "model.safetensors.index.json")  # AutoTokenizer would mix them with our files


def to_hf(path, folder):
    m = read_model(path)
    if m.config["undrawn"]:
        fail(path, "weights", "none yet", "a model that train_bert train has drawn and trained")
    for name in OTHERS_FILES:
        if os.path.exists(os.path.join(folder, name)):
            fail(folder, name, "a file of another model", "an empty folder")
    half = "%s.tmp%d" % (os.path.abspath(folder), os.getpid())  # beside it: moved when whole
    made = not os.path.exists(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        os.mkdir(half)
    except OSError as e:  # a file in its place, or nothing can be made there
        fail(folder, "folder", e.strerror, "one that is there or can be made")
    try:
        hf = hf_config(path, m)
        write_json(half, "config.json", hf)
        write_safetensors(os.path.join(half, "model.safetensors"), m, hf_tensors(m))
        write_modules(half, m)
        if m.tokenizer:
            write_tokenizer(half, m.tokenizer, m.config["model_max_length"] or m.config["P"])
        move_files(half, folder)
    except BaseException as e:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(e, (ExportError, OSError)):  # the user knows the folder by its own name
            raise ExportError(str(e).replace(half, folder))
        raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    print("%s: %s, %d parameters%s" % (
        folder, hf["architectures"][0], sum(prod(t.shape) for t in m.table),
        "" if m.tokenizer else ", NO TOKENIZER"))


def move_files(source, folder):
    """Each whole, config.json last: without it, it is no model."""
    files = [os.path.relpath(os.path.join(place, name), source)
             for place, _, names in os.walk(source) for name in names]
    for name in files:
        if os.path.isdir(os.path.join(folder, name)):
            fail(os.path.join(folder, name), "file", "a folder", "a plain file or none")
    for name in sorted(files, key=lambda name: (name == "config.json", name)):
        os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
        os.replace(os.path.join(source, name), os.path.join(folder, name))


def hf_config(path, m):
    c, task = m.config, m.config["task"]
    base = "classification" if task == "regression" else task
    hf = {"architectures": [a for a, t in ARCHITECTURES.items() if t == base], "model_type": "bert"}
    hf.update((field, c[d]) for d, field in zip(DIMS, HF_DIMS))
    hf.update((field, None if c[field] < 0 else c[field]) for field in FLOATS)
    hf.update(hidden_act=act_name(c), position_embedding_type="absolute",
              pad_token_id=None if c["padding_idx"] < 0 else c["padding_idx"])
    if task in LABELLED:
        names = different(path, "labels", m.labels) or ["LABEL_%d" % i for i in range(c["K"])]
        hf["id2label"] = {str(i): name for i, name in enumerate(names)}
        hf["label2id"] = {name: i for i, name in enumerate(names)}
    if task == "classification":
        hf["problem_type"] = PROBLEMS[2 + c["problem_type"]]
    if task == "regression" and c["activation_out"] == VALUE:
        hf["problem_type"] = "regression"  # where that is null, the pipeline shows the sigmoid
    if task == "regression" and c["activation_out"] == IDENTITY:
        hf["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    return hf


def write_modules(folder, m):
    """What makes it a folder of sentence-transformers, of a model that came from one."""
    c = m.config
    if c["max_seq_length"]:
        write_json(folder, "sentence_bert_config.json",
                   {"max_seq_length": c["max_seq_length"], "do_lower_case": False})
    if not c["pooling"] or TABLE[c["task"]].columns in ("K", "2"):
        return
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    os.mkdir(os.path.join(folder, "1_Pooling"))
    write_json(folder, "1_Pooling/config.json", {
        "word_embedding_dimension": c["C"], "pooling_mode_cls_token": c["pooling"] != MEAN,
        "pooling_mode_mean_tokens": c["pooling"] == MEAN})
    if c["pooling"] == POOLER:
        modules.append(("Dense", "2_Dense"))
        os.mkdir(os.path.join(folder, "2_Dense"))
        write_json(folder, "2_Dense/config.json", {
            "in_features": c["C"], "out_features": c["C"], "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh"})
        write_safetensors(os.path.join(folder, "2_Dense", "model.safetensors"), m, [
            ("linear.weight", "poolw", 0, (c["C"], c["C"])),
            ("linear.bias", "poolb", 0, (c["C"],))])
    if c["normalize"]:
        modules.append(("Normalize", "%d_Normalize" % len(modules)))
    write_json(folder, "modules.json", [
        {"idx": i, "name": str(i), "path": sub, "type": "sentence_transformers.models." + kind}
        for i, (kind, sub) in enumerate(modules)])


def write_json(folder, name, value):
    write_file(os.path.join(folder, name), [(json.dumps(value, indent=2) + "\n").encode()])


def hf_tensors(m):
    """(key, row of the table, layer, shape) of each Hugging Face tensor, in the file's order: the
    parts of a joined tensor already stand one after the other."""
    pooler = m.config["task"] in NEED_POOLER + ("none",)  # the other classes would find it too much
    for t in m.table:
        for layer, keys in enumerate(t.keys if pooler or not t.name.startswith("pool") else []):
            for part, key in enumerate(keys):  # BertModel's own keys have no prefix
                key = re.sub(r"^bert\.", "", key) if m.config["task"] == "none" else key
                yield key, t.name, layer if part == 0 else None, part_shape(t)


def write_safetensors(path, m, tensors):
    header, at, tensors = {"__metadata__": {"format": "pt"}}, 0, list(tensors)
    for key, _, _, shape in tensors:  # transformers insists on the metadata
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * prod(shape)]}
        at += 4 * prod(shape)

    def chunks():
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        yield struct.pack("<Q", len(text)) + text
        for _, row, layer, _ in tensors:
            if layer is not None:  # None: read with the first part
                yield m.read(row, layer)
    write_file(path, chunks())


def write_tokenizer(folder, tok, positions):
    vocab, five = list(tok["vocab"]), [
        tok["vocab"][i] if i >= 0 else None for i in tok["ids"]]
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
    p.add_argument("source", metavar="HF_DIR", nargs="?",
                   help="Hugging Face folder (with --to-hf: model.bin; with --config: none)")
    p.add_argument("out", metavar="model.bin", help="file to write (with --to-hf: folder)")
    p.add_argument("--to-hf", action="store_true", help="write a Hugging Face folder")
    p.add_argument("--config", metavar="config.json", help="from scratch: a model of these sizes, "
                   "without weights, which train draws")
    p.add_argument("--tokenizer", metavar="HF_DIR", help="with --config: whose tokenizer it gets, "
                   "a folder's or a model.bin's")
    p.add_argument("--task", choices=TASKS, help="head to keep (default: as architectures[0] says)")
    p.add_argument("--no-tokenizer", action="store_true", help="export without vocabulary")
    p.add_argument("--ignore-modules", action="store_true", help="export also where bert.h does "
                   "not do all that sentence-transformers does")
    a = p.parse_intermixed_args()  # flags between the two names too
    if a.to_hf and (a.task or a.no_tokenizer or a.ignore_modules):
        p.error("--task, --no-tokenizer, --ignore-modules belong to the export to model.bin")
    scratch = a.config is not None
    if scratch != (a.tokenizer is not None) or scratch == (a.source is not None):
        p.error("HF_DIR model.bin, or --config config.json --tokenizer HF_DIR model.bin")
    if scratch and (a.to_hf or a.task or a.no_tokenizer or a.ignore_modules):
        p.error("--config goes with --tokenizer alone: train gives the model the head of its data")
    try:
        if a.to_hf:
            to_hf(a.source, a.out)
        elif scratch:
            from_scratch(a.config, a.tokenizer, a.out)
        else:
            export(a.source, a.out, a.task, a.no_tokenizer, a.ignore_modules)
    except ExportError as e:
        sys.exit("export_hf: %s" % e)
    except OSError as e:
        sys.exit("export_hf: %s: %s" % (e.filename or a.source or a.config, e.strerror or e))
    except Exception as e:  # the one place for whatever else a damaged file can bring about
        why = "%s: %s" % (type(e).__name__, shown(e))
        sys.exit("export_hf: %s: damaged, or of a kind that is not known: %s" % (
            a.source or a.config, " ".join(why.split())))


if __name__ == "__main__":
    main()
