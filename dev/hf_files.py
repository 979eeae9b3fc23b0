"""The files of a Hugging Face folder: JSON, and weights as safetensors or pickles of PyTorch.

Nobody vouches for what was downloaded. A pickle is a program for a machine that can call any
function of Python: here it runs on a machine that knows tensors and nothing else. Whatever a file
holds, reading it ends in values or in an ExportError, within the budgets below.

read_weights(folder) -> path, {key: Stored}; the data of a tensor is read when it is asked for.
"""
import io
import json
import os
import pickletools
import re
import struct
import sys
import zipfile
from array import array
from collections import namedtuple
from math import prod

MOST_JSON = 1 << 28  # bytes of a JSON file or a safetensors header (bge-m3's tokenizer.json: 17 MB)
MOST_PICKLE = 1 << 26  # bytes of a pickle without its tensors' data (bert-large's has 50,000)
MOST_OPCODES = 1 << 21  # steps of it, some 30 a tensor
MOST_DIMENSIONS = 8
MOST_REPEATED = 1 << 22  # elements of a tensor that a pickle makes out of fewer stored ones


class ExportError(Exception):
    """Says in one line what is wrong: the file, the field, what was found, what would be right."""


def fail(path, field, found, expected):
    raise ExportError(" ".join(
        ("%s: %s: found %s, expected %s" % (
            shown(path, 1000), shown(field), shown(found), expected)).split("\n")))


def shown(found, most=300):
    text = str(found)
    return text if len(text) <= most else text[:most] + "..."


# ------------------------------------------------------------------------------------------------
# JSON

def parse_json(path, text, kind=dict, once=False):
    """once: no key may stand twice (safetensors); of two others the last counts, as in Python."""
    def pairs(items):
        found = dict(items)
        if once and len(found) < len(items):
            raise ValueError("a key that stands twice")
        return found

    def integer(digits):
        if len(digits) > 400:  # transformers' "no limit" has 31; thousands take quadratic time
            raise ValueError("a number of %d digits" % len(digits))
        return int(digits)
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=integer)
    except RecursionError:
        fail(path, "JSON", "lists in lists without end", "a JSON %s" % kind.__name__)
    except ValueError as e:
        fail(path, "JSON", e, "a JSON object" if kind is dict else "a JSON array")
    if not isinstance(value, kind):
        fail(path, "JSON", type(value).__name__,
             "a JSON object" if kind is dict else "a JSON array")
    return value


def load_json(path, default=None, kind=dict):
    if default is not None and not os.path.exists(path):
        return default
    try:
        with open(path, "rb") as f:
            text = f.read(MOST_JSON + 1)
    except OSError as e:
        fail(path, "file", e.strerror, "a readable file")
    if len(text) > MOST_JSON:
        fail(path, "size", "more than %d bytes" % MOST_JSON, "less")
    return parse_json(path, text, kind)


def number(path, source, field, default, low, high, kind=(int, float)):
    value = source.get(field, default)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        fail(path, field, json.dumps(value),
             "%s from %g to %g" % ("an integer" if kind is int else "a number", low, high))
    return value


def entry(path, source, field, default, kind):
    """A field of one kind; null is the default."""
    value = source.get(field)
    if value is None:
        return default
    if not isinstance(value, kind):
        fail(path, field, json.dumps(value), {dict: "an object", list: "a list", str: "a string",
                                              bool: "true or false"}[kind])
    return value


# ------------------------------------------------------------------------------------------------
# A tensor in a file

ITEM = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # the dtypes that we read
OTHERS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}  # may be there, unread


class Stored(namedtuple("Stored", "path offset dtype shape strides")):  # None: contiguous
    def float32(self):
        """Its values, little-endian float32."""
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
        if self.dtype == "F64":
            floats = array("f")  # rounds as C does, which torch's .float() is; beyond 3.4e38 is inf
            for i in range(0, len(raw), 1 << 20):
                block = raw[i:i + (1 << 20)]
                floats.extend(struct.unpack("<%dd" % (len(block) // 8), block))
            if sys.byteorder == "big":
                floats.byteswap()
            return floats.tobytes()
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
        bits = array({2: "H", 4: "I", 8: "Q"}[ITEM[self.dtype]], raw)
        out = array(bits.typecode)
        rows, down = (self.shape[0], self.strides[0]) if len(self.shape) == 2 else (1, 0)
        columns, step = self.shape[-1], self.strides[-1]
        for i in range(rows):
            row = bits[i * down:i * down + (columns - 1) * step + 1:step or 1]
            out.extend(row if step else row * columns)  # stride 0: one value, expanded
        return out.tobytes()


# ------------------------------------------------------------------------------------------------
# safetensors

def read_safetensors(path):
    """u64 length, a JSON header with dtype, shape and place of each tensor, then the data, without
    a gap or an overlap, as the safetensors library has it."""
    size, found, places = os.path.getsize(path), {}, []
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8).rjust(8, b"\xff"))[0]
        if n > min(size - 8, MOST_JSON):
            fail(path, "header", "%d bytes in a file of %d" % (n, size), "a safetensors file")
        header = parse_json(path, f.read(n), once=True)
    header.pop("__metadata__", None)
    for key, t in header.items():
        t = t if isinstance(t, dict) else {}
        shape, dtype, place = t.get("shape"), t.get("dtype"), t.get("data_offsets")
        good = isinstance(dtype, str) and sizes(shape) and sizes(place) and len(place) == 2
        if not good or (dtype in ITEM and place[1] - place[0] != ITEM[dtype] * prod(shape)):
            fail(path, key, json.dumps(t), "dtype, shape and data_offsets that agree")
        places.append(place + [key])
        found[key] = Stored(path, 8 + n + place[0], dtype, tuple(shape), None)
    end = 0
    for begin, after, key in sorted(places) + [[size - 8 - n] * 2 + ["the end of the file"]]:
        if begin != end or after < begin:
            fail(path, key, "data_offsets from %d to %d" % (begin, after), "%d on" % end)
        end = after
    return found


def sizes(values):
    """A list or tuple of whole numbers that are not negative and not absurd, and not too many."""
    return (isinstance(values, (list, tuple)) and len(values) <= MOST_DIMENSIONS
            and all(type(v) is int and 0 <= v < 1 << 48 for v in values))


# ------------------------------------------------------------------------------------------------
# Pickles of PyTorch

Global = namedtuple("Global", "module name")
Storage = namedtuple("Storage", "dtype key count")
View = namedtuple("View", "storage offset shape strides")  # a tensor, before its storage is found
STORAGES = {"Float": "F32", "Half": "F16", "BFloat16": "BF16", "Double": "F64", "Long": "I64",
            "Int": "I32", "Short": "I16", "Char": "I8", "Byte": "U8", "Bool": "BOOL"}
MARK = object()


class Machine:
    """Runs a pickle as far as one of a state_dict goes: containers, numbers, strings, tensors. No
    other function is called, there is no way to one; which it asked for is said."""

    VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": MARK}
    IGNORED = ("PROTO", "FRAME", "STOP")

    def __init__(self, path, what):
        self.path, self.what, self.stack, self.memo = path, what, [], {}

    def run(self, file):
        for step, (op, arg, _) in enumerate(pickletools.genops(file)):
            if step >= MOST_OPCODES:
                self.refuse("more than %d steps" % MOST_OPCODES)
            if op.name in self.VALUES:
                self.stack.append(self.VALUES[op.name])
            elif hasattr(self, "do_" + op.name.lower()):
                getattr(self, "do_" + op.name.lower())(arg)
            elif op.stack_before == [] and arg is not None and op.name not in self.IGNORED:
                self.stack.append(arg)  # a number or a string
            elif op.name not in self.IGNORED:
                self.refuse("the opcode %s" % op.name)
        return self.stack.pop()

    def refuse(self, found):
        fail(self.path, self.what, found, "tensors and nothing else (a pickle can run any program: "
             "do not torch.load this)")

    def since_mark(self):
        at = len(self.stack) - 1
        while self.stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise IndexError("no mark on the stack")
        items = self.stack[at + 1:]
        del self.stack[at:]
        return items

    def top(self, n):
        if len(self.stack) < n:
            raise IndexError("nothing on the stack")
        items = self.stack[len(self.stack) - n:]
        del self.stack[len(self.stack) - n:]
        return items

    def do_empty_dict(self, _): self.stack.append({})
    def do_empty_list(self, _): self.stack.append([])
    def do_tuple(self, _): self.stack.append(tuple(self.since_mark()))
    def do_tuple1(self, _): self.stack.append(tuple(self.top(1)))
    def do_tuple2(self, _): self.stack.append(tuple(self.top(2)))
    def do_tuple3(self, _): self.stack.append(tuple(self.top(3)))
    def do_list(self, _): self.stack.append(self.since_mark())

    def do_dict(self, _):
        items = self.since_mark()
        self.stack.append({})
        self.update(items)

    def do_binput(self, at): self.memo[at] = self.stack[-1]
    def do_memoize(self, _): self.memo[len(self.memo)] = self.stack[-1]
    def do_binget(self, at): self.stack.append(self.memo[at])
    def do_global(self, name): self.stack.append(self.known(*name.split(" ", 1)))
    def do_stack_global(self, _): self.stack.append(self.known(*self.top(2)))
    def do_append(self, _): self.extend(self.top(1))
    def do_appends(self, _): self.extend(self.since_mark())
    def do_setitem(self, _): self.update(self.top(2))
    def do_setitems(self, _): self.update(self.since_mark())
    def do_build(self, _): self.top(1)  # attributes, as OrderedDict's _metadata: not needed
    do_put = do_long_binput = do_binput
    do_get = do_long_binget = do_binget

    def extend(self, items):
        self.kind(self.stack[-1], list).extend(items)

    def update(self, items):
        target = self.kind(self.stack[-1], dict)
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            target[self.kind(key, (str, int))] = value

    def kind(self, value, kind):
        if not isinstance(value, kind):
            raise TypeError("%s out of place" % type(value).__name__)
        return value

    KNOWN = {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor"),
             ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")}

    def known(self, module, name):
        storage = module == "torch" and str(name).endswith("Storage") and name[:-7] in STORAGES
        if not storage and (module, name) not in self.KNOWN:
            self.refuse("the function %s.%s" % (module, name))
        return Global(module, name)

    def do_reduce(self, _):
        function, args = self.top(2)
        self.kind(function, Global), self.kind(args, tuple)
        if function.name == "OrderedDict":  # Python 2 gives its items here, Python 3 later
            self.stack.append({})
            for item in self.kind(args[0], list) if args else []:
                self.update(list(self.kind(item, (list, tuple))))
        elif function.name == "_rebuild_parameter":
            self.stack.append(self.kind(args[0], View))
        elif function.name.startswith("_rebuild_tensor"):
            storage, offset, shape, strides = args[:4]
            if not (sizes([offset]) and sizes(shape) and sizes(strides)
                    and len(shape) == len(strides)):
                raise ValueError("offset, shape or strides that are none")
            self.stack.append(View(self.kind(storage, Storage), offset, shape, strides))
        else:
            self.refuse("a call of %s" % function.name)

    def do_binpersid(self, _):
        (pid,) = self.top(1)
        _, kind, key, _, count = self.kind(pid, tuple)[:5]
        if len(pid) > 5 and pid[5] is not None:
            self.refuse("a view of a storage, as PyTorch before 0.4 wrote it")
        if self.kind(kind, Global).module != "torch" or not sizes([count]):
            raise ValueError("a storage that is none")
        self.stack.append(Storage(STORAGES[kind.name[:-7]], str(self.kind(key, (str, int))), count))


def run_pickle(path, file, what):
    """The pickle at the file's place, which is behind it afterwards."""
    start = file.tell()
    data = io.BytesIO(file.read(MOST_PICKLE))
    try:
        value = Machine(path, what).run(data)
    except (ExportError, MemoryError):
        raise
    except Exception as e:  # a broken pickle can raise anything
        fail(path, what, "%s: %s" % (type(e).__name__, shown(e)), "a whole pickle of torch.save")
    file.seek(start + data.tell())
    return value


def read_torch(path):
    with open(path, "rb") as f:
        begin = f.read(512)
        reader = read_torch_zip if begin[:4] == b"PK\3\4" else read_torch_legacy
        if reader is read_torch_legacy and begin[:1] != b"\x80":
            fail(path, "format", kind_of_file(begin), "a file of torch.save")
        f.seek(0)
        try:
            state, places = reader(path, f)
        except (ExportError, OSError, MemoryError):
            raise
        except Exception as e:  # and so can a broken zip
            fail(path, "format", "%s: %s" % (type(e).__name__, shown(e)),
                 "a whole file of torch.save")
    if not isinstance(state, dict):
        fail(path, "pickle", "a pickled %s" % type(state).__name__, "a state_dict")
    for key, value in state.items():
        if not isinstance(value, View):
            fail(path, "pickle", "%r, which is no tensor" % (key,),
                 "a state_dict (of a training's checkpoint, save that alone)")
    return {str(key): stored(path, view, places) for key, view in state.items()}


def stored(path, view, places):
    """Where a view's storage is in the file, if it has room for it."""
    (dtype, key, count), offset, shape, strides = view
    item = ITEM.get(dtype) or OTHERS[dtype]
    begin, length = places.get(key, (0, -1))
    last = offset + sum((d - 1) * s for d, s in zip(shape, strides))
    if count * item > length or not (last < count or 0 in shape):
        fail(path, "storage " + key, "%d values, %d bytes" % (count, length),
             "room for shape %s, strides %s from %d on" % (shape, strides, offset))
    if prod(shape) > max(count, MOST_REPEATED):
        fail(path, "storage " + key, "%d values for shape %s" % (count, shape), "as many as that")
    packed = tuple(prod(shape[i + 1:]) for i in range(len(shape)))
    return Stored(path, begin + offset * item, dtype, shape,
                  None if strides == packed else strides)


def read_torch_zip(path, f):
    """-> what data.pkl says, {storage: (place, bytes)}"""
    with zipfile.ZipFile(f) as z:
        pickles = [n for n in z.namelist() if n.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            fail(path, "data.pkl", "%d of them" % len(pickles), "one")
        root, places, size = pickles[0][:-len("data.pkl")], {}, os.path.getsize(path)
        for info in z.infolist():  # stored as they are: later read directly, past the zip's layer
            if info.compress_type != zipfile.ZIP_STORED:
                fail(path, info.filename, "a compressed entry", "a stored one, as of torch.save")
            f.seek(info.header_offset + 26)
            begin = info.header_offset + 30 + sum(struct.unpack("<2H", f.read(4)))
            if begin + info.file_size > size:
                fail(path, info.filename, "the end of the file", "%d bytes" % info.file_size)
            if info.filename.startswith(root + "data/"):
                places[info.filename[len(root + "data/"):]] = begin, info.file_size
        if root + "byteorder" in z.namelist() and z.read(root + "byteorder") != b"little":
            fail(path, "byteorder", z.read(root + "byteorder")[:20], "little")
        return run_pickle(path, io.BytesIO(z.read(pickles[0])), "data.pkl"), places


def read_torch_legacy(path, f):
    """PyTorch before 1.6: five pickles (a magic number, a version, facts of the machine, the
    state_dict, its storages' keys), then of each storage in that order its length and its data."""
    magic, version, system, state, keys = (run_pickle(path, f, what) for what in (
        "magic number", "protocol version", "system", "pickle", "storage keys"))
    if magic != 0x1950A86A20F9469CFC6C or version != 1001:
        fail(path, "format", "a pickle", "one of torch.save, with its magic number")
    if system.get("little_endian") is not True:
        fail(path, "byte order", "big endian", "little endian")
    items = {v.storage.key: ITEM.get(v.storage.dtype) or OTHERS[v.storage.dtype]
             for v in state.values() if isinstance(v, View)} if isinstance(state, dict) else {}
    places = {}
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        fail(path, "storage keys", type(keys).__name__ + " of others", "a list of names")
    for key in keys:  # lists within lists, each twice in the next, would take for ever to print
        count = struct.unpack("<q", f.read(8))[0]
        places[str(key)] = f.tell(), max(count, 0) * items.get(str(key), 1)
        if f.tell() + places[str(key)][1] > os.path.getsize(path):
            fail(path, "storage %s" % key, "the end of the file", "%d values" % count)
        f.seek(places[str(key)][1], os.SEEK_CUR)
    return state, places


def kind_of_file(begin):
    """What a file that should hold weights holds, for the message."""
    for start, what in [(b"version https://git-lfs", "a pointer of Git LFS (git lfs pull)"),
                        (b"<", "a web page"), (b"\x89HDF", "an HDF5 file (of TensorFlow?)"),
                        (b"PK", "a zip"), (b"GGUF", "a GGUF file"), (b"\x1f\x8b", "gzip"),
                        (b"", "an empty file" if not begin else "%r..." % begin[:8])]:
        if begin.startswith(start):
            return "a tar (of PyTorch before 0.1.10)" if begin[257:262] == b"ustar" else what


# ------------------------------------------------------------------------------------------------
# The weights of a folder

OTHER_KINDS = [  # a name's end, what it is, how it becomes one of ours
    ("tf_model.h5", "weights of TensorFlow", "from_tf=True"),
    (".ckpt.index", "a TensorFlow checkpoint", "from_tf=True"),
    (".ckpt.meta", "a TensorFlow checkpoint", "from_tf=True"),
    ("flax_model.msgpack", "weights of Flax", "from_flax=True"),
    (".onnx", "an ONNX model", None), (".gguf", "a GGUF model", None)]


def read_weights(folder):
    """-> path, {key: Stored}, with the table's keys: bert. in front, gamma and beta renamed."""
    for name, reader in ("model.safetensors", read_safetensors), ("pytorch_model.bin", read_torch):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            raw = reader(path)
            break
        path += ".index.json"
        if os.path.exists(path):
            raw = read_shards(folder, path, reader)
            break
    else:
        no_weights(folder)
    found = {}
    for key, stored in unwrapped(raw).items():
        new = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", key)
        new = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", new)
        if re.match(r"(embeddings|encoder|pooler)\.", new):  # BertModel itself saves it so
            new = "bert." + new
        if new in found:
            fail(path, key, "a second tensor for " + new, "one")
        found[new] = stored
    return path, found


def read_shards(folder, path, reader):
    raw, shards = {}, entry(path, load_json(path), "weight_map", {}, dict)
    for shard in sorted(set(map(str, shards.values()))):
        file = os.path.join(folder, shard)
        if os.path.basename(shard) != shard or not os.path.isfile(file):
            fail(path, "weight_map", repr(shard), "the name of a file beside it")
        raw.update(reader(file))
    for key in set(shards) - set(raw):
        fail(path, key, "no such tensor in %s" % shards[key], "each tensor in its shard")
    return raw


def unwrapped(raw):
    """Without the names of what was wrapped around the model: DataParallel's, and a second bert."""
    if all(key.startswith("module.") for key in raw):
        raw = {key[len("module."):]: stored for key, stored in raw.items()}
    if any(key.startswith("bert.bert.") for key in raw):
        raw = {re.sub(r"^bert\.", "", key): stored for key, stored in raw.items()}
    return raw


def no_weights(folder):
    for name in sorted(os.listdir(folder)):
        for end, what, flag in OTHER_KINDS:
            if name.endswith(end):
                fail(folder, "weights", "%s, which is %s" % (name, what),
                     "model.safetensors or pytorch_model.bin; " + (
                         "transformers 4 makes one: BertForPreTraining.from_pretrained(DIR, "
                         "%s).save_pretrained(DIR)" % flag if flag else
                         "take the model's page on the hub: dev/download.py"))
    fail(folder, "weights", "neither model.safetensors nor pytorch_model.bin", "one of them")
