#!/usr/bin/env python3
"""Fuzzes dev/export_hf.py: folders whose JSON, vocabulary, safetensors and pickles are broken.

    python3 dev/fuzz/fuzz_export.py [--minutes 30 | --runs 2000] [--seed 1]

Whatever is in a folder, the export ends in a model.bin that ./train_bert loads, or in one line of
message with exit code 1, each within SECONDS and MEMORY. The first folder that does otherwise is
kept, and the exit code is 1. The corpus is dev/fixtures/fuzz_export, which torch made
(--corpus makes it again); the standard library is enough for the rest.
"""
import argparse
import contextlib
import copy
import io
import json
import os
import pickletools
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

DEV = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, DEV)
import export_hf

CORPUS = os.path.join(DEV, "fixtures", "fuzz_export")
TRAIN_BERT = os.path.join(DEV, "..", "train_bert")
SECONDS, MEMORY = 10, 1 << 30  # of one export, of this process
NASTY = [None, True, False, 0, 1, -1, 2, 1 << 24, 1 << 31, 1 << 63, 10 ** 40, 0.5, 1e308, "", "x",
         "bert", "..", [], {}, [[]], [1, 2], {"a": 1}, ["BertForMaskedLM"], "\u0000", "a" * 5000]
BYTES = [b"", b"\0", b"\xff" * 4, b"\x80\x02", b"}", b"(", b".", b"\x85\x86\x87", b"q\0h\0",
         b"K\0", b"M\xff\xff", b"J\xff\xff\xff\x7f", b"\x8a\x09" + b"\xff" * 8 + b"\x7f", b"R",
         b"Q", b"cos\nsystem\n", b"h\0h\0\x86q\0" * 60, b"2" * 40, b"0", b"N", b"]q\1h\1a" * 9,
         b"X\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8, b"[" * 3000, b'{"a":' * 3000, b"1" * 5000]


def make_corpus():
    """Folders of a tiny BERT with a head, in the three formats of weights."""
    import torch
    import transformers
    torch.manual_seed(0)
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a b ##c".split()
    shutil.rmtree(CORPUS, ignore_errors=True)
    os.makedirs(os.path.join(CORPUS, "1_Pooling"))
    model = transformers.BertForSequenceClassification(transformers.BertConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=3, max_position_embeddings=8, num_labels=3))
    model.save_pretrained(CORPUS)
    state = model.state_dict()
    torch.save(state, os.path.join(CORPUS, "zip.pt"))
    torch.save(state, os.path.join(CORPUS, "legacy.pt"), _use_new_zipfile_serialization=False)
    for name, text in {
            "vocab.txt": "\n".join(words) + "\n",
            "tokenizer_config.json": '{"tokenizer_class": "BertTokenizer", "mask_token": "[MASK]"}',
            "sentence_bert_config.json": '{"max_seq_length": 6, "do_lower_case": false}',
            "config_sentence_transformers.json": '{"prompts": {"query": ""}}',
            "modules.json": json.dumps([
                {"idx": i, "name": str(i), "path": sub, "type": "sentence_transformers.models." + t}
                for i, (t, sub) in enumerate((("Transformer", ""), ("Pooling", "1_Pooling"),
                                              ("Normalize", "2_Normalize")))]),
            "1_Pooling/config.json": '{"pooling_mode_cls_token": true}'}.items():
        with open(os.path.join(CORPUS, name), "w") as f:
            f.write(text)
    transformers.AutoTokenizer.from_pretrained(CORPUS).backend_tokenizer.save(
        os.path.join(CORPUS, "fast.json"))


# ---------------------------------------------------------------------------------------------
# Mutations

def mutate_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, what = rng.randrange(len(data) + 1), rng.randrange(7)
        if what == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at:at] = rng.choice(BYTES)
        elif what == 2:
            del data[at:at + rng.choice((1, 4, 100))]
        elif what == 3:
            data[at:at + len(rng.choice(BYTES))] = rng.choice(BYTES)
        elif what == 4:
            del data[at:]
        elif what == 5:
            begin = rng.randrange(len(data) + 1)
            data[at:at] = data[begin:begin + rng.choice((4, 40, 400))]
        elif at + 8 <= len(data):
            data[at:at + 8] = struct.pack("<Q", rng.choice((0, 1, 1 << 31, 1 << 62, (1 << 64) - 1)))
    return bytes(data)


def mutate_value(rng, value):
    """A JSON value with something in it replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        what = rng.randrange(4)
        if what == 0:
            del value[key]
        elif what == 1:
            name = rng.choice(list(value)) + rng.choice(("", "x", "_token"))
            value[name] = copy.deepcopy(rng.choice(NASTY))
        else:
            value[key] = mutate_value(rng, value[key])
        return value
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        value[at] = mutate_value(rng, value[at])
        return value if rng.random() < 0.8 else value + value
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 8, -8, value))
    return copy.deepcopy(rng.choice(NASTY))


def mutate_json(rng, data):
    if rng.random() < 0.2:
        return mutate_bytes(rng, data)
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = mutate_value(rng, value)
    return json.dumps(value).encode()


def mutate_safetensors(rng, data):
    n = struct.unpack("<Q", data[:8])[0]
    if rng.random() < 0.2:
        return mutate_bytes(rng, data)
    header = mutate_json(rng, data[8:8 + n])
    return struct.pack("<Q", len(header)) + header + data[8 + n:]


def mutate_pickle(rng, data):
    """Between two opcodes: the rest still is what it was."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    places = [at for _, _, at in pickletools.genops(data)]
    for at in sorted(rng.sample(places, rng.choice((1, 2, 3))), reverse=True):
        after = next((p for p in places if p > at), len(data))
        if rng.random() < 0.5:
            data = data[:at] + rng.choice(BYTES) + data[at:]
        elif rng.random() < 0.5:
            begin = rng.choice(places)
            data = data[:at] + data[begin:begin + rng.choice((2, 30, 300))] + data[after:]
        else:
            data = data[:at] + data[after:]
    return data


def mutate_zip(rng, data):
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            entry = old.read(info)
            if info.filename.endswith("data.pkl"):
                entry = mutate_pickle(rng, entry)
            elif rng.random() < 0.02:
                entry = mutate_bytes(rng, entry)
            new.writestr(info.filename, entry)
    return out.getvalue()


def mutate_legacy(rng, data):
    if rng.random() < 0.5:
        return mutate_bytes(rng, data)
    f, pieces = io.BytesIO(data), []
    for _ in range(5):  # the five pickles
        begin = f.tell()
        for _ in pickletools.genops(f):
            pass
        pieces.append(data[begin:f.tell()])
    at = rng.choice((0, 1, 2, 3, 3, 3, 3, 4))
    pieces[at] = mutate_pickle(rng, pieces[at])
    return b"".join(pieces) + data[f.tell():]


def make_folder(rng, folder):
    """A folder of one format of weights, with one or two files broken; the flags to export it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CORPUS, folder)
    weights = rng.choice(("model.safetensors", "zip.pt", "legacy.pt"))
    if weights != "model.safetensors":
        os.unlink(os.path.join(folder, "model.safetensors"))
        shutil.copy(os.path.join(folder, weights), os.path.join(folder, "pytorch_model.bin"))
    if rng.random() < 0.3:
        os.rename(os.path.join(folder, "fast.json"), os.path.join(folder, "tokenizer.json"))
    if rng.random() < 0.5:
        os.unlink(os.path.join(folder, "modules.json"))
    targets = {"model.safetensors": mutate_safetensors, "pytorch_model.bin": {
        "zip.pt": mutate_zip, "legacy.pt": mutate_legacy}.get(weights)}
    names = [n for n in os.listdir(folder) if n in targets or n.endswith((".json", ".txt"))]
    names += ["1_Pooling/config.json"] + [n for n in names if n in targets] * 4
    for name in set(rng.sample(sorted(names), rng.choice((1, 1, 2)))):
        path = os.path.join(folder, name)
        with open(path, "rb") as f:
            data = f.read()
        how = targets.get(name) or (mutate_json if name.endswith("json") else mutate_bytes)
        with open(path, "wb") as f:
            f.write(how(rng, data))
    flags = rng.choice(([], [], ["--task", rng.choice(export_hf.TASKS)], ["--no-tokenizer"]))
    return flags + ["--ignore-modules"] * (rng.random() < 0.3)


# ---------------------------------------------------------------------------------------------
# One export

class TooLong(BaseException):
    pass


def alarm(*_):
    raise TooLong


def attempt(folder, out, flags):
    """-> None, or what is wrong with how it ended; whether it was exported."""
    sys.argv = ["export_hf.py", folder, out] + flags
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            export_hf.main()
        code = None
    except SystemExit as e:
        code = e.code
    except TooLong:
        return "more than %d seconds" % SECONDS, False
    except BaseException as e:
        return "%s: %s" % (type(e).__name__, e), False
    finally:
        signal.alarm(0)
    left = [name for name in os.listdir(os.path.dirname(out)) if name.startswith("m.bin.tmp")]
    if left:
        return "leaves %s" % left, False
    if code is not None:
        good = isinstance(code, str) and code.startswith("export_hf: ") and "\n" not in code
        if not good or "MemoryError" in code or len(code) > 4000 or os.path.exists(out):
            return "ends with %.300r" % code, False
        return None, False
    if os.path.exists(TRAIN_BERT):
        loads = subprocess.run([TRAIN_BERT, "encode", "--model", out], stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
        # without a tokenizer it says so, after it has been read
        if loads.returncode and "has no tokenizer" not in loads.stderr:
            return "exported, but: " + loads.stderr, True
    os.unlink(out)
    return None, True


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--minutes", type=float, default=0)
    p.add_argument("--runs", type=int, default=2000, help="where --minutes is not given")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--corpus", action="store_true", help="make the corpus again (needs torch)")
    a = p.parse_args()
    if a.corpus:
        return make_corpus()
    signal.signal(signal.SIGALRM, alarm)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    start, runs, exported, slowest = time.time(), 0, 0, 0.0
    with tempfile.TemporaryDirectory() as tmp:
        while time.time() - start < 60 * a.minutes if a.minutes else runs < a.runs:
            rng = random.Random("%d %d" % (a.seed, runs))
            folder, begin = os.path.join(tmp, "in"), time.time()
            flags = make_folder(rng, folder)
            wrong, good = attempt(folder, os.path.join(tmp, "m.bin"), flags)
            slowest = max(slowest, time.time() - begin)
            runs, exported = runs + 1, exported + good
            if wrong:
                kept = tempfile.mkdtemp(prefix="fuzz_export.")
                shutil.copytree(folder, os.path.join(kept, "in"))
                sys.exit("fuzz_export: seed %d, run %d: %s\nkept in %s, flags %s" % (
                    a.seed, runs - 1, wrong, kept, flags))
    print("fuzz_export: %d folders, %d of them exported, the slowest in %.2f s, 0 findings" % (
        runs, exported, slowest))


if __name__ == "__main__":
    main()
