#!/usr/bin/env python3
"""Checks dev/export_hf.py against PyTorch, transformers and tokenizers (dev/requirements.txt).

    python dev/check/export.py [--model HF_DIR]

Tiny random models of every class go PyTorch -> folder -> model.bin -> folder -> PyTorch and must
give the same bits; every tokenizer setting is compared with a live AutoTokenizer; every refusal is
provoked. --model repeats the round trip with a real checkpoint, for instance all-MiniLM-L6-v2.
"""
import argparse
import json
import os
import pickle
import shutil
import stat
import struct
import sys
import tempfile
import zipfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer, BertConfig

from common import DEV, attempt, check, finish, tiny_bert, wide
from common import write as write_file
import export_hf

transformers.utils.logging.disable_progress_bar()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCAB = SPECIAL + "the a cafe café Cafe ##s ##é ##e , . ! é E 中 文 中文 Ä ä".split()
VOCAB += ["x%d" % i for i in range(38)]
TINY = dict(vocab_size=len(VOCAB), hidden_size=20, num_hidden_layers=3, num_attention_heads=5,
            intermediate_size=37,
            max_position_embeddings=23)


def export(*args):
    """Without site-packages: the standard library is enough. -> (exit code, stdout, stderr)"""
    return attempt(sys.executable, "-I", "-S", os.path.join(DEV, "export_hf.py"), *args)


def write(folder, name, value):
    write_file(os.path.join(folder, name), value)


def make(cls, folder, save=True, vocab=True, **config):
    """A random model and its vocabulary."""
    model = tiny_bert(cls, wide, **dict(TINY, **config))
    if save:
        model.save_pretrained(folder)
    if vocab:
        write(folder, "vocab.txt", "\n".join(VOCAB) + "\n")
    return model


def outputs(model, P=23):
    torch.manual_seed(2)
    V = model.config.vocab_size
    with torch.no_grad():
        for p in model.parameters():  # a file's start anywhere, and that may cost torch a last bit
            p.data = p.data.clone()
        ids, types = torch.randint(0, V, (2, P)), torch.randint(0, 2, (2, P))
        if isinstance(model, transformers.BertForMultipleChoice):  # of a text that has two
            ids, types = ids[None], types[None]
        out = model.eval()(input_ids=ids, token_type_ids=types)
    return [v for v in out.values() if isinstance(v, torch.Tensor)]


def same(a, b):
    return len(a) == len(b) > 0 and all(torch.equal(x, y) for x, y in zip(a, b))


def round_trip(name, cls, folder, tmp, *flags, expect=None, same_config=True):
    """folder -> model.bin -> folder: the same outputs in PyTorch, bit for bit."""
    out, back = os.path.join(tmp, "m.bin"), os.path.join(tmp, "back")
    shutil.rmtree(back, ignore_errors=True)
    code, text, error = export(folder, out, *flags)
    if code:
        return check(name, False, error)
    code, _, error = export("--to-hf", out, back)
    if code:
        return check(name, False, error)
    want = expect or outputs(cls.from_pretrained(folder, dtype=torch.float32))
    model, info = cls.from_pretrained(back, output_loading_info=True)
    lost = {k: v for k, v in info.items() if v}
    check(name, same(want, outputs(model)) and not lost, lost or "other outputs")
    if same_config:
        a, b = (AutoConfig.from_pretrained(f).to_dict() for f in (folder, back))
        skip = {"problem_type", "_name_or_path", "position_embedding_type", "dtype",
                "transformers_version"}
        diff = {k: (a.get(k), b.get(k)) for k in set(a) | set(b) if k not in skip
                and a.get(k) != b.get(k)}
        check(name + ": config", not diff, diff)
    return text


def refuse(name, folder, *words, flags=()):
    out = os.path.join(folder, "refused.bin")
    code, _, error = export(folder, out, *flags)
    left = [f for f in os.listdir(folder) if f.startswith("refused.bin")]
    check("refused: " + name, code == 1 and error.startswith("export_hf: ")
          and "Traceback" not in error and len(error) < 4000
          and all(w in error for w in words) and not left, "exit %d, left %s: %s" % (code, left,
                  error))


def test_gelu_python(tmp):
    """gelu by another name and another way to compute it, which costs the last bits."""
    folder = os.path.join(tmp, "gelu_python")
    old = outputs(make(transformers.BertModel, folder, hidden_act="gelu_python"))
    new = outputs(make(transformers.BertModel, None, False, False, hidden_act="gelu"))
    check("gelu_python is gelu", all(torch.allclose(a, b, atol=1e-5) for a, b in zip(old, new)))
    round_trip("gelu_python", transformers.BertModel, folder, tmp, expect=new, same_config=False)


def test_classes(tmp):
    T = transformers
    names = {"id2label": {0: "neg", 1: "neutral é", 2: "pos"}, "label2id": {"neg": 0,
            "neutral é": 1, "pos": 2}}
    for cls, config in [
            (T.BertModel, {}), (T.BertModel, {"hidden_act": "relu", "layer_norm_eps": 1e-5}),
            (T.BertForSequenceClassification, names), (T.BertForSequenceClassification,
                                                       {"num_labels": 1}),
            (T.BertForSequenceClassification, {"num_labels": 4,
                                               "problem_type": "multi_label_classification"}),
            (T.BertForSequenceClassification, {"num_labels": 7, "hidden_act": "gelu_new",
                                               "classifier_dropout": 0.3,
                                               "hidden_dropout_prob": 0.0,
                                               "attention_probs_dropout_prob": 0.25}),
            (T.BertForTokenClassification, names), (T.BertForQuestionAnswering,
                                                    {"type_vocab_size": 2}),
            (T.BertForMaskedLM, {"initializer_range": 0.05}), (T.BertForPreTraining,
                                                               {"num_hidden_layers": 1}),
            (T.BertForMultipleChoice, {})]:
        folder = os.path.join(tmp, "src")
        shutil.rmtree(folder, ignore_errors=True)
        model = make(cls, folder, **config)
        label = cls.__name__ + " " + ", ".join("%s=%s" % i for i in config.items()
                                               if i[0] != "label2id")
        round_trip(label, cls, folder, tmp, expect=outputs(model))
        task = export_hf.read_model(os.path.join(tmp, "m.bin")).config["task"]
        want = {"BertForSequenceClassification": "regression" if config.get("num_labels") == 1
                else "classification",
                "BertModel": "none", "BertForTokenClassification": "ner",
                "BertForQuestionAnswering": "qa", "BertForMultipleChoice": "multiple_choice",
                "BertForMaskedLM": "mlm", "BertForPreTraining": "pretraining"}[cls.__name__]
        check(label + ": task", task == want, task)
        with open(os.path.join(tmp, "back", "config.json")) as f:
            problem = json.load(f).get("problem_type")
        check(label + ": problem_type", problem == {"regression": None,
                                                    "classification": config.get(
            "problem_type", "single_label_classification")}.get(want), problem)
        with open(os.path.join(folder, "model.safetensors"), "rb") as a:
            check(label + ": keys", set(load_file(a.name)) == set(load_file(os.path.join(
                tmp, "back", "model.safetensors"))))


def test_weight_files(tmp):
    cls = transformers.BertForPreTraining
    plain = os.path.join(tmp, "plain")
    model = make(cls, plain)
    expect = outputs(model)
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")

    def variant(name, save, expect=expect, cls=cls, flags=(), only=None):
        folder = os.path.join(tmp, "v")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(plain, folder)
        os.unlink(os.path.join(folder, "model.safetensors"))
        save(folder)
        return round_trip(name, cls, folder, tmp, *flags, expect=expect, same_config=False)

    bin_ = lambda f: os.path.join(f, "pytorch_model.bin")
    st = lambda f: os.path.join(f, "model.safetensors")
    for dtype in (torch.float16, torch.bfloat16):
        low = {k: v.to(dtype) for k, v in state.items() if k not in tied}
        low["bert.embeddings.word_embeddings.weight"][3, :4] = torch.tensor([6e-8, -0.0, 65504.0,
                1e-5]).to(dtype)
        m = cls(model.config).eval()
        m.load_state_dict({k: v.float() for k, v in low.items()}, strict=False)
        m.tie_weights()
        want = outputs(m)
        variant("safetensors %s" % dtype, lambda f: save_file(low, st(f), {"format": "pt"}), want)
        variant("pytorch_model.bin %s" % dtype, lambda f: torch.save(low, bin_(f)), want)
    variant("sharded safetensors", lambda f: model.save_pretrained(f, max_shard_size="6KB"))
    export(plain, os.path.join(tmp, "m.bin"))
    attention = model.bert.encoder.layer[1].attention.self
    joined = torch.cat([getattr(attention, n).weight for n in ("query", "key", "value")])
    m_bin = export_hf.read_model(os.path.join(tmp, "m.bin"))
    check("qkvw is query, key, value", m_bin.read("qkvw", 1) == joined.detach().numpy().tobytes())
    try:
        export_hf.write_model(os.path.join(tmp, "half.bin"), m_bin.config, {"wte": b"1234"})
        check("write_model: a tensor too short", False)
    except export_hf.ExportError as e:
        check("write_model: a tensor too short", "wte" in str(e) and not any(
            n.startswith("half") for n in os.listdir(tmp)), os.listdir(tmp))
    check("sharded safetensors: was sharded", os.path.exists(st(os.path.join(tmp, "v"))
                                                             + ".index.json"))

    def shard_bin(folder):
        keys = sorted(state)
        index = {k: "pytorch_model-%05d-of-00002.bin" % (1 + i % 2) for i, k in enumerate(keys)}
        for name in set(index.values()):
            torch.save({k: state[k] for k in keys if index[k] == name}, os.path.join(folder, name))
        write(folder, "pytorch_model.bin.index.json", {"weight_map": index})
    variant("sharded pytorch_model.bin", shard_bin)
    variant("pytorch_model.bin, decoder tied in it, OrderedDict with _metadata",
            lambda f: torch.save(model.state_dict(), bin_(f)))
    variant("pytorch_model.bin of Parameters", lambda f: torch.save(dict(model.named_parameters()),
                                                                    bin_(f)))

    def strided(folder):  # transposed, offset, stepped and expanded views of larger storages
        views = {}
        for i, (k, v) in enumerate(state.items()):
            if v.dim() == 2 and i % 2:
                views[k] = v.t().contiguous().t()
            elif v.dim() == 2:
                views[k] = torch.cat([torch.randn(3, v.shape[1]), v])[3:]
            else:
                views[k] = torch.stack([v, v + 1], 1).reshape(-1)[::2]
        views["bert.pooler.dense.bias"] = torch.tensor([0.5]).expand(20)
        torch.save(views, bin_(folder))
    m = cls(model.config).eval()
    m.load_state_dict(dict(state, **{"bert.pooler.dense.bias": torch.full((20,), 0.5)}))
    variant("pytorch_model.bin of strided views", strided, outputs(m))

    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias",
                                                                    "LayerNorm.beta"): v
           for k, v in state.items() if k not in tied}
    old["bert.embeddings.position_ids"] = torch.arange(23).unsqueeze(0)
    variant("gamma and beta, position_ids", lambda f: save_file(old, st(f), {"format": "pt"}))
    text = variant("encoder alone of a pretraining checkpoint", lambda f: save_file(
        {k: v for k, v in state.items() if k not in tied}, st(f), {"format": "pt"}),
        outputs(model.bert), transformers.BertModel, ("--task", "none"))
    check("it says what it dropped", text and "cls.seq_relationship.weight" in text, text)
    lm = transformers.BertForMaskedLM(model.config).eval()  # no pooler here, but in model.bin
    lm.load_state_dict(state, strict=False)
    variant("masked LM of a pretraining checkpoint", lambda f: save_file(
        {k: v for k, v in state.items() if k not in tied}, st(f), {"format": "pt"}),
        outputs(lm), transformers.BertForMaskedLM, ("--task", "mlm"))
    check("its pooler is kept", export_hf.read_model(os.path.join(tmp, "m.bin")).config["pooler"])
    bare = {k[5:]: v for k, v in state.items() if k.startswith("bert.")}
    variant("keys without bert.", lambda f: save_file(bare, st(f), {"format": "pt"}),
            outputs(model.bert),
            transformers.BertModel, ("--task", "none"))
    no_pooler = {k: v for k, v in bare.items() if "pooler" not in k}
    folder = os.path.join(tmp, "nopool")
    shutil.copytree(plain, folder)
    save_file(no_pooler, st(folder), {"format": "pt"})
    check("no pooler: exported", export(folder, os.path.join(tmp, "np.bin"), "--task",
                                        "none")[0] == 0)
    check("no pooler: header word 13", export_hf.read_model(os.path.join(tmp,
            "np.bin")).config["pooler"] == 0)
    refuse("a task whose head the checkpoint lacks", plain, "qa_outputs.weight", "--task none",
           flags=("--task", "qa"))
    refuse("a task whose pooler the checkpoint lacks", folder, "bert.pooler.dense.weight",
           "--task none",
           flags=("--task", "pretraining"))
    untied = {k: v for k, v in state.items() if k != "cls.predictions.decoder.bias"}
    untied["cls.predictions.decoder.weight"] = torch.randn(len(VOCAB), 20)
    save_file(untied, st(folder), {"format": "pt"})
    refuse("an untied decoder, pretraining", folder, "cls.predictions.decoder.weight", "tied")
    nan = dict(state)
    nan["bert.pooler.dense.bias"] = torch.full((20,), float("nan"))
    nan["cls.seq_relationship.bias"] = torch.tensor([float("-inf"), 3e38])
    big = dict(state, **{"cls.seq_relationship.bias": torch.tensor([1.9e38, -3.4e38])})
    for source, words in ((nan, ["bert.pooler.dense.bias", "cls.seq_relationship.bias"]),
                          (big, [])):
        torch.save(source, bin_(plain))
        os.path.exists(st(plain)) and os.rename(st(plain), st(plain) + ".away")
        code, text, _ = export(plain, os.path.join(tmp, "nan.bin"))
        found = [line.split()[1] for line in text.splitlines() if "WARNING" in line]
        check("NaN and Inf: warned of %d" % len(words), code == 0 and found == words, text)
    os.unlink(bin_(plain))


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/bert_h_test_export_was_here",)


def test_pickles(tmp):
    folder = os.path.join(tmp, "evil")
    make(transformers.BertModel, folder)
    os.unlink(os.path.join(folder, "model.safetensors"))
    path, marker = os.path.join(folder, "pytorch_model.bin"), "/tmp/bert_h_test_export_was_here"
    if os.path.exists(marker):
        os.unlink(marker)

    def zipped(data, compress=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", compress) as z:
            z.writestr("archive/data.pkl", data)
    for protocol in (0, 2, 4):
        zipped(pickle.dumps({"a": Evil()}, protocol))
        refuse("os.system in a pickle, protocol %d" % protocol, folder, "%s.system"
               % os.system.__module__)
    zipped(b"cbuiltins\neval\n(S'print(1)'\ntR.")
    refuse("eval in a pickle", folder, "builtins.eval")
    zipped(b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.")
    refuse("a dotted name in a pickle", folder, "_rebuild_tensor_v2.__globals__")
    zipped(b"ctorch\nFloatStorage\n(S'x'\ntR.")
    refuse("a storage that is called", folder, "data.pkl")
    check("nothing was run", not os.path.exists(marker))
    zipped(b"")
    refuse("an empty pickle", folder, "data.pkl")
    zipped(pickle.dumps([1, 2]))
    refuse("a pickled list", folder, "list", "state_dict")
    zipped(pickle.dumps({"state_dict": {}}))
    refuse("a dictionary in a dictionary", folder, "state_dict")
    zipped(pickle.dumps({}), zipfile.ZIP_DEFLATED)
    refuse("a compressed zip", folder, "compressed")
    torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    refuse("the format before PyTorch 1.6, of something else", folder, "no such tensor")
    write(folder, "pytorch_model.bin", b"PK\3\4 cut")
    refuse("a truncated zip", folder, "zip")
    keys = ["0"]
    for _ in range(60):  # each list twice in the next: 2^60 names, were they printed
        keys = [keys, keys]
    with open(path, "wb") as f:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}, keys):
            pickle.dump(part, f, 2)
    refuse("storage keys that are lists within lists", folder, "storage keys")
    torch.save({k: v.to(torch.int32) for k,
                v in transformers.BertModel(BertConfig(**TINY)).state_dict().items()}, path)
    refuse("int32", folder, "I32", "F32")
    for what, shape in (("a storage too small", "(I4000\nI20\nt"), ("a negative offset", None)):
        offset, shape = ("I0\n", shape) if shape else ("I-1\n", "(I2\nI2\nt")
        zipped(b"")
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("archive/data.pkl",
                       ("}S'a'\nctorch._utils\n_rebuild_tensor_v2\n("
                        "(S'storage'\nctorch\nFloatStorage\n"
                                            "S'0'\nS'cpu'\nI4\ntQ%s%s(I20\nI1\ntI00\nNtRs."
                        % (offset, shape)).encode())
            z.writestr("archive/data/0", bytes(16))
        refuse(what, folder, "storage 0" if "small" in what else "offset")


def edited(tmp, source, edits=None, name="edited", tensors=None):
    folder = os.path.join(tmp, name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    config.update(edits or {})
    write(folder, "config.json", config)
    if tensors:
        path = os.path.join(folder, "model.safetensors")
        state = dict(load_file(path), **tensors)
        save_file({k: v for k, v in state.items() if v is not None}, path, {"format": "pt"})
    return folder


def test_refusals(tmp):
    plain = os.path.join(tmp, "mlm")
    make(transformers.BertForMaskedLM, plain)
    for edits, words in [({"model_type": "roberta"}, ["model_type", "roberta", "bert"]),
                         ({"is_decoder": True}, ["is_decoder", "true", "false"]),
                         ({"add_cross_attention": True}, ["add_cross_attention"]),
                         ({"position_embedding_type": "relative_key"}, ["position_embedding_type",
                                 "relative_key", "absolute"]),
                         ({"hidden_act": "silu"}, ["hidden_act", "silu", "gelu_new"]),
                         ({"quantization_config": {"bits": 8}}, ["quantization_config"]),
                         ({"hidden_size": 21}, ["hidden_size", "21", "num_attention_heads"]),
                         ({"hidden_size": 0}, ["hidden_size", "0"]), ({"num_hidden_layers": "3"},
                                                                      ["num_hidden_layers"]),
                         ({"layer_norm_eps": True}, ["layer_norm_eps"]),
                         ({"hidden_dropout_prob": 2}, ["hidden_dropout_prob"]),
                         ({"hidden_size": 25}, ["word_embeddings.weight", "(61, 20)", "(61, 25)"]),
                         ({"num_hidden_layers": 4}, ["bert.encoder.layer.3.", "no such tensor"]),
                         ({"num_hidden_layers": 2}, ["bert.encoder.layer.2.", "2 layers"]),
                         ({"max_position_embeddings": 22}, ["position_embeddings", "23", "22"]),
                         ({"vocab_size": 60}, ["word_embeddings", "61", "60"]),
                         ({"architectures": ["BertLMHeadModel"]}, ["architectures",
                                 "BertLMHeadModel", "--task none"]),
                         ({"architectures": ["BertForNextSentencePrediction"]},
                          ["BertForNextSentencePrediction"]),
                         ({"architectures": ["BertForTokenClassification"], "id2label": {"0": "O",
                                 "2": "B"}}, ["id2label"]),
                         ({"architectures": ["BertForTokenClassification"], "id2label": None,
                           "num_labels": -1}, ["num_labels"]),
                         ({"architectures": ["BertForSequenceClassification"],
                           "problem_type": "regression",
                           "id2label": {"0": "a", "1": "b"}}, ["num_labels", "2", "1"]),
                         ({"tie_word_embeddings": False}, ["cls.predictions.decoder.weight",
                                                           "tie"])]:
        refuse(", ".join("%s=%s" % e for e in edits.items()), edited(tmp, plain, edits), *words)
    other = {"cls.predictions.decoder.weight": torch.randn(61, 20)}
    for tie in (True, False):
        refuse("an untied decoder, tie_word_embeddings %s" % tie, edited(tmp, plain,
                {"tie_word_embeddings": tie},
               tensors=other), "cls.predictions.decoder.weight", "tied")
    refuse("an untied decoder bias", edited(tmp, plain,
                  tensors={"cls.predictions.decoder.bias": torch.randn(61)}),
           "cls.predictions.decoder.bias")
    refuse("an unknown part of the encoder", edited(tmp, plain, tensors={
        "bert.encoder.layer.0.adapter.weight": torch.zeros(1)}), "adapter")
    refuse("the same tensor twice", edited(tmp, plain, tensors={
        "bert.embeddings.LayerNorm.gamma": torch.zeros(20)}), "a second tensor")
    refuse("a matrix transposed", edited(tmp, plain, tensors={
        "bert.encoder.layer.1.output.dense.weight": torch.zeros(37, 20)}), "layer.1.output.dense",
           "(37, 20)", "(20, 37)")
    refuse("int8 weights", edited(tmp, plain, tensors={
        "bert.encoder.layer.0.output.dense.weight": torch.zeros(20, 37, dtype=torch.int8)}), "I8",
           "layer.0.output")

    folder = edited(tmp, plain, name="files")
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        os.rename(os.path.join(folder, name), os.path.join(folder, "away"))
        refuse("no " + name, folder, name)
        os.rename(os.path.join(folder, "away"), os.path.join(folder, name))
    for text in ("", "{", "[]", "null"):
        write(folder, "config.json", text)
        refuse("config.json %r" % text, folder, "config.json")
    shutil.copy(os.path.join(plain, "config.json"), folder)
    write(folder, "modules.json", json.dumps([{
        "type": "sentence_transformers.models.Transformer", "path": 5000 * "a"}]))
    refuse("a module in a folder whose name is too long", folder, "aaa...: file: found ")
    os.unlink(os.path.join(folder, "modules.json"))
    path = os.path.join(folder, "model.safetensors")
    with open(path, "rb") as f:
        whole = f.read()
    n = struct.unpack("<Q", whole[:8])[0]
    head = json.loads(whole[8:8 + n])
    key = "bert.embeddings.word_embeddings.weight"
    forged = [("empty", b""), ("5 bytes", whole[:5]), ("truncated", whole[:-4]), ("header cut",
            whole[:100]),
              ("huge header", struct.pack("<Q", 2**63) + whole[8:])]
    for what, change in (("offsets beyond the file", {"data_offsets": [0, 2**60],
                                                      "shape": [2**58]}), ("negative offset",
                         {"data_offsets": [-8, head[key]["data_offsets"][1]]}),
                         ("no dtype", {"dtype": None}),
                         ("negative shape", {"shape": [-61, -20]}), ("shape unlike its bytes",
                                                                     {"shape": [61, 21]})):
        text = json.dumps(dict(head, **{key: dict(head[key], **change)})).encode()
        forged.append((what, struct.pack("<Q", len(text)) + text + whole[8 + n:]))
    for what, data in forged:
        write(folder, "model.safetensors", data)
        refuse("model.safetensors: " + what, folder, "model.safetensors")
    os.unlink(path)
    for weight_map in ({key: "../x.safetensors"}, {key: "none.safetensors"}, {}):
        write(folder, "model.safetensors.index.json", {"weight_map": weight_map})
        refuse("index %s" % weight_map, folder, "")
    code, _, error = export("--to-hf", os.path.join(tmp, "none.bin"), folder)
    check("--to-hf of a missing file", code == 1 and "none.bin" in error
          and "Traceback" not in error, error)
    export(plain, os.path.join(tmp, "m.bin"))
    with open(os.path.join(tmp, "m.bin"), "rb") as f:
        whole = f.read()
    for what, data in [("empty", b""), ("cut", whole[:-1]), ("longer", whole + b"\0" * 8),
                       ("magic", b"x" + whole[1:]),
                       ("version", whole[:4] + b"\7" + whole[5:]), ("forged L", whole[:16]
                                                                    + b"\xff\xff\0\0" + whole[20:]),
                       ("negative C", whole[:12] + b"\xff\xff\xff\xff" + whole[16:]),
                       ("task", whole[:44] + b"\x63" + whole[45:])]:
        write(tmp, "bad.bin", data)
        code, _, error = export("--to-hf", os.path.join(tmp, "bad.bin"), os.path.join(tmp,
                "badout"))
        check("refused: --to-hf: " + what, code == 1 and "bad.bin" in error
              and "Traceback" not in error, error)
    write(os.path.join(tmp, "stale"), "tokenizer.json", "{}")
    code, _, error = export("--to-hf", os.path.join(tmp, "m.bin"), os.path.join(tmp, "stale"))
    check("refused: --to-hf into a folder with a tokenizer.json", code == 1
          and "tokenizer.json" in error, error)
    write(tmp, "taken", "")
    for what, place in [("a file", "taken"), ("below a file", "taken/below"),
                        ("where nothing can be made", "/proc/no/such")]:
        place = os.path.join(tmp, place)
        code, _, error = export("--to-hf", os.path.join(tmp, "m.bin"), place)
        check("refused: --to-hf into " + what, code == 1 and error.startswith(
            "export_hf: %s: " % place) and "Errno" not in error and "Traceback" not in error, error)
    os.makedirs(os.path.join(tmp, "locked", "config.json"))
    code, _, error = export("--to-hf", os.path.join(tmp, "m.bin"), os.path.join(tmp, "locked"))
    check("refused: --to-hf where config.json cannot be written", code == 1 and
          "locked/config.json" in error and "Errno" not in error, error)
    code, _, error = export(plain, os.path.join(tmp, "nowhere", "m.bin"))
    check("refused: export into a folder that is not there", code == 1 and error.startswith(
        "export_hf: " + os.path.join(tmp, "nowhere", "m.bin")) and "Errno" not in error, error)
    fifo = os.path.join(tmp, "fifo")
    os.mkfifo(fifo)
    for place in (fifo, os.path.join(tmp, "nowhere", "m.bin"), tmp):
        code, _, error = export(plain, place)
        check("refused: output " + os.path.basename(place), code == 1 and "Traceback" not in error
              and stat.S_ISFIFO(os.stat(fifo).st_mode), error)


TEXTS = ["The café, CAFÉ Cafés!", "中文 a中b文", "Ä ä É x1 x2", "a[MASK]the [SEP]x",
         "hello<e1>the <E1> NEW new newx",
         "zz ZZ azz", "", " \t\u00a0", "e\u0301", "a" * 101]


def test_tokenizer(tmp):
    """Against the live AutoTokenizer: the same ids, casing, special and added tokens."""
    model = os.path.join(tmp, "model")
    make(transformers.BertModel, model, vocab=False, vocab_size=80)
    base = dict(zip(VOCAB, range(len(VOCAB))))
    cased = transformers.BertTokenizer(vocab=base, do_lower_case=False)
    cased.save_pretrained(os.path.join(tmp, "cased"))
    with open(os.path.join(tmp, "cased", "tokenizer.json")) as f:
        fast = json.load(f)
    cut = dict(fast, truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst",
                                 "stride": 0},
               padding={"strategy": {"Fixed": 7}, "direction": "Right", "pad_to_multiple_of": None,
                        "pad_id": 0,
                        "pad_type_id": 0, "pad_token": "[PAD]"})
    generic = json.loads(json.dumps(fast))
    generic["normalizer"].update(handle_chinese_chars=False, strip_accents=True)
    generic["model"]["max_input_chars_per_word"] = 3
    new = {"content": "<e1>", "single_word": False, "lstrip": False, "rstrip": True,
           "normalized": False, "special": True}
    word = {"content": "new", "single_word": True, "lstrip": True, "rstrip": False,
            "normalized": True, "special": False}
    raw = dict(word, content="zz", normalized=False, single_word=False, lstrip=False)
    more = dict(fast, added_tokens=fast["added_tokens"] + [dict(new, id=61), dict(word, id=62),
                                                         dict(raw, id=63)])
    decoder = {str(t["id"]): {k: v for k, v in t.items() if k != "id"}
               for t in more["added_tokens"]}
    renamed = "\n".join(["<pad>", "<unk>", "<s>", "</s>", "<mask>"] + VOCAB[5:]) + "\n"
    own = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
                   renamed.split("\n")))
    vocab = "\n".join(VOCAB) + "\n"
    cases = [
        ("vocab.txt alone", {"vocab.txt": vocab}),
        ("vocab.txt without a last line feed", {"vocab.txt": vocab[:-1]}),
        ("vocab.txt with CRLF, blanks at line ends, a double line",
         {"vocab.txt": vocab.replace("\n", "\r\n")
         + "z \nz\u3000\ny\u2028z\nthe\n\n\u0085\nlast"}),
        ("tokenizer.json alone, cased: the default wins", {"tokenizer.json": fast}),
        ("tokenizer.json cased, tokenizer_config.json silent", {"tokenizer.json": fast,
                                                                "tokenizer_config.json": {}}),
        ("tokenizer.json before vocab.txt", {"tokenizer.json": fast, "vocab.txt": "x\n" + vocab}),
        ("tokenizer.json with truncation and padding", {"tokenizer.json": cut}),
        ("generic class: tokenizer.json counts", {"tokenizer.json": generic,
                                                  "tokenizer_config.json":
         dict(zip(own, SPECIAL), tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)}),
        ("generic class, nothing named", {"tokenizer.json": generic,
                                          "tokenizer_config.json": {
            "tokenizer_class": "TokenizersBackend"}}),
        ("BertTokenizer: tokenizer.json's settings do not count", {"tokenizer.json": generic}),
        ("added tokens of tokenizer.json", {"tokenizer.json": more}),
        ("added_tokens_decoder", {"vocab.txt": vocab,
                                  "tokenizer_config.json": {"added_tokens_decoder": decoder}}),
        ("added_tokens_decoder before tokenizer.json", {"tokenizer.json": more,
                                                        "tokenizer_config.json": {
            "added_tokens_decoder": {k: v for k, v in decoder.items() if k < "62"}}}),
        ("added_tokens_decoder that is empty", {"tokenizer.json": more, "tokenizer_config.json": {
            "added_tokens_decoder": {}}}),
        ("added_tokens.json", {"vocab.txt": vocab, "added_tokens.json": {"new": 62, "<e1>": 61},
                               "tokenizer_config.json": {
            "additional_special_tokens": ["<e1>"]}}),
        ("additional_special_tokens alone", {"vocab.txt": vocab, "tokenizer_config.json": {
            "additional_special_tokens": ["<e1>", "x3"]}}),
        ("bos_token outside the vocabulary", {"vocab.txt": vocab,
                                              "tokenizer_config.json": {"bos_token": "<e1>"}}),
        ("other special tokens, tokenizer_config.json", {"vocab.txt": renamed,
                                                         "tokenizer_config.json": own}),
        ("other special tokens, special_tokens_map.json", {"vocab.txt": renamed,
                                                           "special_tokens_map.json": dict(
            own, mask_token={"content": "<mask>", "lstrip": True, "rstrip": False,
                             "normalized": False, "single_word": False})}),
        ("special_tokens_map.json before tokenizer_config.json", {"vocab.txt": renamed,
                                                                  "special_tokens_map.json": own,
                                                                  "tokenizer_config.json": dict(own,
                                                                          pad_token="x5")}),
        ("the class's other names", {"vocab.txt": vocab,
                                     "tokenizer_config.json": {
            "tokenizer_class": "ElectraTokenizerFast", "do_lower_case": False}}),
    ]
    for lower in (True, False):
        for strip in (True, False, None):
            for chinese in (True, False):
                config = {"do_lower_case": lower, "strip_accents": strip,
                          "tokenize_chinese_chars": chinese}
                cases.append((json.dumps(config), {"vocab.txt": vocab,
                                                   "tokenizer_config.json": config}))
    for name, files in cases:
        folder, out, back = os.path.join(tmp, "t"), os.path.join(tmp, "t.bin"), os.path.join(tmp,
                "tback")
        for f in (folder, back):
            shutil.rmtree(f, ignore_errors=True)
        shutil.copytree(model, folder)
        for file, value in files.items():
            write(folder, file, value.encode() if isinstance(value, str) else value)
        code, _, error = export(folder, out)
        live = AutoTokenizer.from_pretrained(folder)
        if code:
            check("tokenizer: " + name, False, error)
            continue
        tok = export_hf.read_model(out).tokenizer
        normalizer = json.loads(live._tokenizer.to_str())["normalizer"]
        lower, strip = normalizer["lowercase"], normalizer["strip_accents"]
        want = [lower, lower if strip is None else strip, normalizer["handle_chinese_chars"],
                json.loads(live._tokenizer.to_str())["model"]["max_input_chars_per_word"]]
        got = [tok["do_lower_case"], tok["strip_accents"], tok["tokenize_chinese_chars"],
               tok["max_chars"]]
        ids = {t: i for i, t in enumerate(tok["vocab"]) if t}
        want, got = want + [sum(map(bool, tok["vocab"]))], got + [len(ids)]  # no token twice
        want += [{t: i for t, i in live.get_vocab().items() if t}]
        got += [ids]
        pieces = live._tokenizer.get_vocab(with_added_tokens=False)  # what WordPiece knows
        flags = lambda t: (t.special + 2 * t.single_word + 4 * t.lstrip + 8 * t.rstrip
                           + 16 * t.normalized + 32 * (t.content not in pieces))
        want += [sorted((i, flags(t)) for i, t in live.added_tokens_decoder.items())]
        got += [sorted(tok["added"])]
        if live.pad_token is not None:
            want += [[live.convert_tokens_to_ids(getattr(live, f)) for f in export_hf.SPECIAL]]
            got += [list(tok["ids"])]
        check("tokenizer: " + name, want == got, "\n  want %s\n  got  %s" % (want, got))
        if tok["max_chars"] != 100:
            continue  # BertTokenizer has no such setting
        code, _, error = export("--to-hf", out, back)
        again = AutoTokenizer.from_pretrained(back) if not code else None
        live.backend_tokenizer.no_truncation(), live.backend_tokenizer.no_padding()
        check("tokenizer: %s: back" % name, not code
              and again.added_tokens_decoder == live.added_tokens_decoder and all(
            live.backend_tokenizer.encode(t, p).ids == again.backend_tokenizer.encode(t, p).ids
            for t in TEXTS for p in (None, "the a")), error)
    bad = [
        ("a hole before an added token", {"vocab.txt": vocab, "added_tokens.json": {"new": 65}},
         ["new", "65", "61"]),
        ("more tokens than vocab_size", {"vocab.txt": vocab + "\n".join("y%d" % i
                for i in range(40))}, ["vocab_size", "80"]),
        ("another tokenizer class", {"vocab.txt": vocab,
                                     "tokenizer_config.json": {
            "tokenizer_class": "BertJapaneseTokenizer"}},
         ["tokenizer_class", "BertJapaneseTokenizer"]),
        ("generic class without tokenizer.json", {"vocab.txt": vocab, "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast"}}, ["tokenizer.json"]),
        ("another model", {"tokenizer.json": dict(fast, model={"type": "BPE", "vocab": {},
                                                               "merges": []})},
         ["BPE", "WordPiece"]),
        ("another normalizer", {"tokenizer.json": dict(fast, normalizer={"type": "NFC"}),
                                "tokenizer_config.json": {
            "tokenizer_class": "TokenizersBackend"}}, ["normalizer", "NFC"]),
        ("another post_processor", {"tokenizer.json": dict(fast,
            post_processor={"type": "RobertaProcessing"})},
         ["post_processor"]),
        ("vocab.txt in Latin-1", {"vocab.txt": vocab.encode("latin-1", "replace")}, ["vocab.txt",
                "UTF-8"]),
        ("do_lower_case \"yes\"", {"vocab.txt": vocab,
                                   "tokenizer_config.json": {"do_lower_case": "yes"}},
         ["do_lower_case"]),
        ("max_seq_length of 0", {"vocab.txt": vocab,
          "sentence_bert_config.json": {"max_seq_length": 0}},
         ["max_seq_length", "1"]),
    ]
    for name, files, words in bad:
        folder = os.path.join(tmp, "t")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(model, folder)
        for file, value in files.items():
            write(folder, file, value.encode() if isinstance(value, str) else value)
        refuse("tokenizer: " + name, folder, *words)
    code, text, _ = export(model, os.path.join(tmp, "t.bin"), "--no-tokenizer")
    check("--no-tokenizer", code == 0 and "NO TOKENIZER" in text and export_hf.read_model(
        os.path.join(tmp, "t.bin")).tokenizer is None, text)
    refuse("no tokenizer in the folder", model, "vocab.txt", "--no-tokenizer")


def test_real(tmp, folder):
    round_trip("real: " + folder, transformers.BertModel, folder, tmp, same_config=False)
    m = export_hf.read_model(os.path.join(tmp, "m.bin"))
    st = os.path.join(folder, "sentence_bert_config.json")
    if os.path.exists(st):
        with open(st) as f:
            check("real: max_seq_length",
                  m.config["max_seq_length"] == json.load(f)["max_seq_length"])
    live = AutoTokenizer.from_pretrained(folder).backend_tokenizer
    again = AutoTokenizer.from_pretrained(os.path.join(tmp, "back")).backend_tokenizer
    live.no_truncation(), live.no_padding()
    check("real: tokenizer", all(live.encode(t, p).ids == again.encode(t, p).ids for t in TEXTS
                                 for p in (None, "x")))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", help="a real Hugging Face BERT folder, for a round trip as well")
    a = p.parse_args()
    for test in (test_classes, test_gelu_python, test_weight_files, test_pickles, test_refusals,
                 test_tokenizer):
        with tempfile.TemporaryDirectory() as tmp:
            test(tmp)
    if a.model:
        with tempfile.TemporaryDirectory() as tmp:
            test_real(tmp, a.model)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
