#!/usr/bin/env python3
"""Folders in the shape of well-known checkpoints, tiny and random: what train_bert answers with an
exported one is what Hugging Face or sentence-transformers answers with the folder, or the export
is refused by name (dev/requirements.txt; needs ./train_bert).

    dev/check/models.py [PART_OF_A_NAME]

A row for each: what it was compared with and how far they are apart at most, or the refusal.
"""
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import logging
logging.disable(logging.WARNING)
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoTokenizer, pipeline

from common import DEV, ROOT, check, finish, tiny_bert, wide, write
import export_hf

transformers.utils.logging.disable_progress_bar()
WORDS = ("[PAD] [UNK] [CLS] [SEP] [MASK] the film is good bad Film caf\u00e9 cafe ##s ##ly dull "
         ", . ! \u4e2d \u6587 \u3042 \u304b query : a ##x").split()
TEXTS = ["the film is good.", "Caf\u00e9s, dully BAD!", "\u4e2d\u6587 \u3042\u304b", "",
         "query: the film", "a good good film " * 12]
TINY = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
            max_position_embeddings=32)
ST = "sentence_transformers.models."
TANH = "torch.nn.modules.activation.Tanh"
ROWS = []  # (name, function)


def row(name):
    return lambda function: ROWS.append((name, function)) or function


# ---------------------------------------------------------------------------------------------
# Folders

def put(folder, name, value):
    write(os.path.join(folder, name), value)


def edit(folder, name, **fields):
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        value = json.load(f)
    for key, field in fields.items():
        value.pop(key, None)
        if field is not DROP:
            value[key] = field
    put(folder, name, value)


DROP = object()


def make(folder, kind="Model", words=WORDS, settings=None, **config):
    """A random BERT of deviation 0.3 and its tokenizer."""
    model = tiny_bert(getattr(transformers, "Bert" + kind), wide, len(folder),
                      **dict(TINY, vocab_size=len(words), **config))
    model.save_pretrained(folder)
    put(folder, "vocab.txt", "\n".join(words) + "\n")
    put(folder, "tokenizer_config.json", dict({"tokenizer_class": "BertTokenizer",
                                               "model_max_length": 32}, **(settings or {})))
    return model


def modules(folder, *kinds, at="", **pooling):
    """modules.json with a Transformer, Pooling and what else is named."""
    rows = [("Transformer", at)]
    if pooling:
        put(folder, "1_Pooling/config.json", dict(word_embedding_dimension=12, **pooling))
        rows.append(("Pooling", "1_Pooling"))
    for kind in kinds:
        rows.append((kind, "%d_%s" % (len(rows), kind)))
    put(folder, "modules.json", [{"idx": i, "name": str(i), "path": sub, "type": ST + kind}
                                 for i, (kind, sub) in enumerate(rows)])


def dense(folder, sub="2_Dense", out=12, **config):
    torch.manual_seed(7)
    put(folder, sub + "/config.json", dict(dict(
        in_features=12, out_features=out, bias=True, activation_function=TANH), **config))
    save_file({"linear.weight": torch.randn(out, 12) / 3, "linear.bias": torch.randn(out) / 3},
              os.path.join(folder, sub, "model.safetensors"))


def resave(folder, change=lambda state: state, name="pytorch_model.bin", **options):
    """The same weights in another form."""
    path = os.path.join(folder, "model.safetensors")
    state = change(load_file(path))
    os.unlink(path)
    torch.save(state, os.path.join(folder, name), **options)


# ---------------------------------------------------------------------------------------------
# Ours against theirs

class Refused(Exception):
    pass


def run(*command, text=None):
    done = subprocess.run([str(c) for c in command], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120)
    if "Traceback" in done.stderr or done.returncode not in (0, 1):
        raise AssertionError(done.stderr)
    if done.returncode:
        raise Refused(done.stderr.strip())
    return done


def export(folder, *flags):
    out = os.path.join(folder, "m.bin")
    run(sys.executable, "-I", "-S", DEV + "/export_hf.py", folder, out, *flags)
    return out


def answers(command, folder, lines, *flags, export_flags=()):
    model = export(folder, *export_flags)
    out = run(ROOT + "/train_bert", command, "--model", model, *flags,
              text="".join(line + "\n" for line in lines))
    return [json.loads(line) for line in out.stdout.splitlines()]


def apart(a, b):
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max())


def embeds(folder, *flags, texts=TEXTS, **how):
    """As sentence-transformers embeds: cosines too."""
    ours = np.array([a["embedding"] for a in answers("embed", folder, texts, *flags)])
    theirs = SentenceTransformer(folder, device="cpu").encode(texts, **how).astype(float)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    assert ((ours * theirs).sum(1) / norms > 1 - 1e-6).all(), "cosines"
    return "sentence-transformers", apart(ours, theirs)


def encodes(folder, **tokenizer):
    """As BertModel encodes: its pooler, which has seen all of it."""
    ours = [a["embedding"] for a in answers("embed", folder, TEXTS, "--pooling", "pooler",
                                            export_flags=("--task", "none"))]
    return "BertModel", apart(ours, [theirs_of(folder, text).pooler_output[0].tolist()
                                     for text in TEXTS])


def theirs_of(folder, text, cls=transformers.BertModel):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    length = min(tokenizer.model_max_length, 32)
    with torch.no_grad():
        return cls.from_pretrained(folder, dtype=torch.float32).eval()(**tokenizer(
            text, truncation=True, max_length=length, return_tensors="pt"))


def classifies(folder):
    ours = answers("predict", folder, TEXTS)
    pipe = pipeline("text-classification", folder, top_k=None, device="cpu", truncation=True,
                    max_length=32)
    theirs = [{a["label"]: a["score"] for a in pipe([text])[0]} for text in TEXTS]
    if "value" in ours[0]:
        return "the pipeline", apart([a["value"] for a in ours],
                                     [list(t.values())[0] for t in theirs])
    scores = [a.get("scores", {a.get("label"): a.get("score")}) for a in ours]
    for a, t in zip(scores, theirs):
        assert set(a) == set(t), (a, t)
    return "the pipeline", max(apart(a[name], t[name]) for a, t in zip(scores, theirs)
                               for name in t)


def ranks(folder):
    pairs = [("the film", text or "a") for text in TEXTS[:3]]
    ours = answers("predict", folder, ["\t".join(pair) for pair in pairs], "--pair")
    theirs = CrossEncoder(folder, device="cpu").predict(pairs)
    return "CrossEncoder", apart([a.get("value", a.get("score")) for a in ours], theirs)


def fills(folder):
    text = "the %s is good ." % AutoTokenizer.from_pretrained(folder).mask_token
    ours = answers("predict", folder, [text])[0]["masks"][0]
    theirs = pipeline("fill-mask", folder, device="cpu")(text)
    assert [a["token"] for a in ours] == [t["token"] for t in theirs], (ours, theirs)
    return "the pipeline", apart([a["score"] for a in ours], [t["score"] for t in theirs])


def tags(folder):
    model = export(folder)
    ours = json.loads(run(ROOT + "/train_bert", "predict", "--model", model, text=(
        "the film is good\n")).stdout)
    theirs = pipeline("token-classification", folder, device="cpu", aggregation_strategy="simple")(
        "the film is good")
    assert [e["entity_group"] for e in ours["entities"]] == [e["entity_group"] for e in theirs]
    return "the pipeline", apart([e["score"] for e in ours["entities"]] + [0],
                                 [e["score"] for e in theirs] + [0])


def refused(folder, *words, flags=()):
    """Nothing is left, and the message names what it is."""
    try:
        export(folder, *flags)
    except Refused as e:
        said = str(e)
        assert all(word in said for word in words) and "\n" not in said, (words, said)
        assert not [n for n in os.listdir(os.path.dirname(folder) or ".") if ".tmp" in n]
        return "refused: " + said.replace(folder, "DIR").replace("export_hf: ", ""), 0.0
    raise AssertionError("was exported")


# ---------------------------------------------------------------------------------------------
# The fifteen of the issue

@row("bge: [CLS], Normalize")
def _(d):
    make(d)
    modules(d, "Normalize", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    put(d, "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": True})
    return embeds(d)


@row("e5: mean, Normalize")
def _(d):
    make(d)
    modules(d, "Normalize", pooling_mode_cls_token=False, pooling_mode_mean_tokens=True)
    return embeds(d)


@row("gte: mean, no Normalize, float16")
def _(d):
    make(d).half().save_pretrained(d)
    modules(d, pooling_mode_mean_tokens=True)
    put(d, "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    ours = np.array([a["embedding"] for a in answers("embed", d, TEXTS)])
    theirs = SentenceTransformer(d, device="cpu", model_kwargs={"dtype": torch.float32})
    return "sentence-transformers", apart(ours, theirs.encode(TEXTS))


@row("ms-marco cross-encoder: Identity")
def _(d):
    make(d, "ForSequenceClassification", num_labels=1)
    edit(d, "config.json", sbert_ce_default_activation_function="torch.nn.modules.linear.Identity")
    return ranks(d)


@row("BETO: [MASK] has id 0, [PAD] 1")
def _(d):
    words = ["[MASK]", "[PAD]", "[UNK]", "[CLS]", "[SEP]"] + WORDS[5:]
    make(d, "ForMaskedLM", words, pad_token_id=1)
    return fills(d)


@row("KoBERT's order: pad_token_id 1")
def _(d):
    make(d, words=["[UNK]", "[PAD]"] + WORDS[2:], pad_token_id=1)
    return encodes(d)


@row("finbert: three labels")
def _(d):
    make(d, "ForSequenceClassification", id2label={0: "positive", 1: "negative", 2: "neutral"})
    return classifies(d)


@row("toxic-bert: multi-label")
def _(d):
    make(d, "ForSequenceClassification", num_labels=6, problem_type="multi_label_classification")
    return classifies(d)


@row("bert-tiny: no tokenizer_config, gamma and beta, old .bin")
def _(d):
    make(d)
    os.unlink(os.path.join(d, "tokenizer_config.json"))
    resave(d, lambda state: {"bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"): v for k, v in state.items()})
    edit(d, "config.json", architectures=DROP)
    return encodes(d)


@row("LaBSE: [CLS], Dense with tanh, Normalize")
def _(d):
    make(d)
    modules(d, "Dense", "Normalize", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    dense(d)
    return embeds(d)


@row("multilingual cased: do_lower_case false")
def _(d):
    make(d, settings={"do_lower_case": False})
    return encodes(d)


@row("Chinese: masked words")
def _(d):
    make(d, "ForMaskedLM", settings={"tokenize_chinese_chars": True})
    return fills(d)


@row("Japanese characters: BertJapaneseTokenizer")
def _(d):
    make(d, settings={"tokenizer_class": "BertJapaneseTokenizer",
                      "subword_tokenizer_type": "character", "word_tokenizer_type": "mecab"})
    return refused(d, "tokenizer_class", "BertJapaneseTokenizer")


@row("truncation_side left")
def _(d):
    make(d, settings={"truncation_side": "left"})
    return refused(d, "truncation_side", '"left"')


@row("pytorch_model.bin of PyTorch before 1.6")
def _(d):
    make(d)
    resave(d, _use_new_zipfile_serialization=False)
    return encodes(d)


@row("DataParallel: module. in front")
def _(d):
    make(d)
    want = encodes(d)[1]
    before = answers("embed", d, TEXTS)
    resave(d, lambda state: {"module." + key: value for key, value in state.items()})
    assert answers("embed", d, TEXTS) == before
    return "the same without it", want


# ---------------------------------------------------------------------------------------------
# Their brothers: sentence-transformers

@row("0_Transformer, as sentence-transformers 1 wrote it")
def _(d):
    make(os.path.join(d, "0_Transformer"))
    put(d, "0_Transformer/sentence_bert_config.json", {"max_seq_length": 9, "do_lower_case": False})
    modules(d, pooling_mode_cls_token=True, at="0_Transformer")
    return embeds(d)


@row("pooling_mode, as sentence-transformers 6 writes it")
def _(d):
    make(d)
    modules(d, pooling_mode="cls")
    return embeds(d)


@row("saved by SentenceTransformer itself")
def _(d):
    source = d + "/source"
    make(source)
    modules(source, "Normalize", pooling_mode="mean")
    SentenceTransformer(source, device="cpu").save(d + "/saved")
    return embeds(d + "/saved")


@row("no modules.json: the mean")
def _(d):
    make(d)
    return embeds(d)


@row("do_lower_case over a cased tokenizer")
def _(d):
    make(d, settings={"do_lower_case": False})
    modules(d, pooling_mode="mean")
    put(d, "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": True})
    return embeds(d)


@row("do_lower_case over one that keeps case and strips accents")
def _(d):
    make(d, settings={"do_lower_case": False, "strip_accents": True})
    modules(d, pooling_mode="mean")
    put(d, "sentence_bert_config.json", {"do_lower_case": True})
    return embeds(d)


@row("max_seq_length above the positions")
def _(d):
    make(d)
    modules(d, pooling_mode="mean")
    put(d, "sentence_bert_config.json", {"max_seq_length": 512})
    return embeds(d, texts=TEXTS[:5])


@row("a Dropout between Pooling and Normalize")
def _(d):
    make(d)
    modules(d, "Dropout", "Normalize", pooling_mode="mean")
    put(d, "2_Dropout/config.json", {"dropout": 0.5})
    return embeds(d)


@row("--pooling over the model's own")
def _(d):
    make(d)
    modules(d, "Normalize", pooling_mode="cls")
    ours = [a["embedding"] for a in answers("embed", d, TEXTS, "--pooling", "mean")]
    modules(d, pooling_mode="mean")
    return "sentence-transformers", apart(ours, SentenceTransformer(d, device="cpu").encode(TEXTS))


for _mode in "max mean_sqrt_len_tokens weightedmean lasttoken".split():
    @row("pooling by " + _mode)
    def _(d, mode=_mode):
        make(d)
        modules(d, pooling_mode=mode)
        return refused(d, "modules.json", "Pooling by " + mode, "--ignore-modules")


@row("pooling by two, side by side")
def _(d):
    make(d)
    modules(d, pooling_mode_cls_token=True, pooling_mode_max_tokens=True)
    return refused(d, "Pooling by cls, max")


for _name, _how in (("of another size", dict(out=5)), ("without tanh", dict(
        activation_function="torch.nn.modules.linear.Identity")), ("with a residual", dict(
            use_residual=True))):
    @row("a Dense " + _name)
    def _(d, how=_how):
        make(d)
        modules(d, "Dense", "Normalize", pooling_mode="cls")
        dense(d, **how)
        return refused(d, "modules.json", "Dense", "--ignore-modules")


@row("a Dense over the mean (distiluse)")
def _(d):
    make(d)
    modules(d, "Dense", pooling_mode="mean")
    dense(d)
    return refused(d, "Dense")


@row("SPLADE")
def _(d):
    make(d, "ForMaskedLM")
    put(d, "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.sparse_encoder.models."
         "MLMTransformer"}])
    return refused(d, "MLMTransformer")


@row("ColBERT: no Pooling, a Dense for each token")
def _(d):
    make(d)
    put(d, "1_Dense/config.json", {"module_input_name": "token_embeddings"})
    modules(d, "Dense")
    return refused(d, "Dense of token_embeddings")


@row("a module of somebody's own")
def _(d):
    make(d)
    put(d, "modules.json", [{"idx": 0, "name": "0", "path": "", "type": "custom_st.Transformer"}])
    return refused(d, "custom_st.Transformer")


@row("a module's path out of the folder")
def _(d):
    make(d)
    put(d, "modules.json", [{"idx": 0, "name": "0", "path": "../..", "type": ST + "Transformer"}])
    return refused(d, "module 0")


@row("default_prompt_name")
def _(d):
    make(d)
    modules(d, pooling_mode="mean")
    put(d, "config_sentence_transformers.json", {"prompts": {"query": "query: "},
                                                 "default_prompt_name": "query"})
    return refused(d, "default_prompt_name", "query: ")


@row("prompts that one may choose: said")
def _(d):
    make(d)
    modules(d, "Normalize", pooling_mode="mean")
    put(d, "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": ""},
                                                 "default_prompt_name": None})
    said = run(sys.executable, DEV + "/export_hf.py", d, d + "/p.bin").stdout
    assert 'query "query: "' in said, said
    return embeds(d)


@row("--ignore-modules: a warning")
def _(d):
    make(d)
    want = encodes(d)
    modules(d, pooling_mode="max")
    said = run(sys.executable, DEV + "/export_hf.py", d, d + "/p.bin", "--ignore-modules").stdout
    assert "WARNING" in said and "Pooling by max" in said, said
    return want


@row("LaBSE and back: --to-hf")
def _(d):
    make(d)
    modules(d, "Dense", "Normalize", pooling_mode="cls")
    dense(d)
    put(d, "sentence_bert_config.json", {"max_seq_length": 11})
    theirs = SentenceTransformer(d, device="cpu").encode(TEXTS)
    run(sys.executable, "-S", DEV + "/export_hf.py", "--to-hf", export(d), d + "/back")
    return "sentence-transformers", apart(theirs, SentenceTransformer(
        d + "/back", device="cpu").encode(TEXTS))


# ---- cross-encoders and labels

@row("cross-encoder without a word about it: its sigmoid")
def _(d):
    make(d, "ForSequenceClassification", num_labels=1)
    return ranks(d)


@row("the same by the pipeline")
def _(d):
    make(d, "ForSequenceClassification", num_labels=1)
    return classifies(d)


@row("cross-encoder of sentence-transformers 4: Sigmoid")
def _(d):
    make(d, "ForSequenceClassification", num_labels=1)
    edit(d, "config.json", sentence_transformers={
        "activation_fn": "torch.nn.modules.activation.Sigmoid"})
    return ranks(d)


@row("cross-encoder saved by CrossEncoder itself: Identity")
def _(d):
    make(d + "/source", "ForSequenceClassification", num_labels=1)
    CrossEncoder(d + "/source", device="cpu", activation_fn=torch.nn.Identity()).save(d + "/saved")
    return ranks(d + "/saved")


@row("cross-encoder with tanh")
def _(d):
    make(d, "ForSequenceClassification", num_labels=1)
    edit(d, "config.json", sentence_transformers={"activation_fn": TANH})
    return refused(d, "activation_fn", "Tanh")


@row("regression: the value")
def _(d):
    make(d, "ForSequenceClassification", num_labels=1, problem_type="regression")
    return classifies(d)


@row("one label, single_label_classification")
def _(d):
    make(d, "ForSequenceClassification", num_labels=1)
    edit(d, "config.json", problem_type="single_label_classification")
    return refused(d, "problem_type")


@row("num_labels 3, two names in id2label")
def _(d):
    make(d, "ForSequenceClassification", num_labels=3)
    edit(d, "config.json", id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1},
         num_labels=3)
    return classifies(d)


@row("num_labels 2, three names in id2label")
def _(d):
    make(d, "ForSequenceClassification", num_labels=2)
    edit(d, "config.json", id2label={"0": "no", "1": "yes", "2": "?"}, num_labels=2)
    return classifies(d)


@row("num_labels alone")
def _(d):
    make(d, "ForTokenClassification", num_labels=4)
    edit(d, "config.json", id2label=DROP, label2id=DROP, num_labels=4)
    return tags(d)


@row("two labels of one name")
def _(d):
    make(d, "ForSequenceClassification", num_labels=3)
    edit(d, "config.json", id2label={"0": "yes", "1": "no", "2": "yes"})
    return refused(d, "id2label", '"yes"')


@row("a label without a name")
def _(d):
    make(d, "ForSequenceClassification", num_labels=2)
    edit(d, "config.json", id2label={"0": "no", "2": "yes"})
    return refused(d, "id2label")


# ---- activation functions

for _act in ("gelu gelu_fast gelu_accurate gelu_python gelu_new gelu_pytorch_tanh gelu_python_tanh "
             "relu").split():
    @row("hidden_act " + _act)
    def _(d, act=_act):
        make(d, hidden_act=act)
        return encodes(d)

for _act in "silu swish gelu_10 quick_gelu tanh relu6 mish".split():
    @row("hidden_act " + _act)
    def _(d, act=_act):
        make(d, hidden_act=act)
        return refused(d, "hidden_act", act)


# ---- vocabularies and special tokens

def _vocabulary(name, data, **settings):
    @row("vocab.txt " + name)
    def _(d):
        make(d, settings=settings)
        put(d, "vocab.txt", data)
        return encodes(d)


_vocabulary("with CRLF", "\r\n".join(WORDS) + "\r\n")
_vocabulary("ending in a blank line", "\n".join(WORDS) + "\n\n")
_vocabulary("ending in three blank lines, CRLF", "\r\n".join(WORDS) + "\r\n" * 4)
_vocabulary("without a newline at its end", "\n".join(WORDS))
_vocabulary("with blanks behind the words", " \n".join(WORDS) + "\n")
_vocabulary("without [MASK]", "\n".join(w for w in WORDS if w != "[MASK]") + "\n")
_vocabulary("without [PAD]", "\n".join(w for w in WORDS if w != "[PAD]") + "\n")
_vocabulary("without [PAD] and [MASK]", "\n".join(WORDS[1:4] + WORDS[5:]) + "\n")
_vocabulary("without [MASK], ending in blank lines", "\n".join(
    w for w in WORDS if w != "[MASK]") + "\n\n\n")
_vocabulary("with a byte order mark", "\ufeff" + "\n".join(WORDS) + "\n")
_vocabulary("of lines that stand twice", "\n".join(WORDS[:-1] + ["the"]) + "\n")
_vocabulary("and mask_token null", "\n".join(w for w in WORDS if w != "[MASK]") + "\n",
            mask_token=None)
_vocabulary("with names of its own", "\n".join(
    ["<pad>", "<unk>", "<s>", "</s>", "<mask>"] + WORDS[5:]) + "\n", pad_token="<pad>",
    unk_token="<unk>", cls_token="<s>", sep_token="</s>", mask_token="<mask>")
_vocabulary("and model_max_length 7", "\n".join(WORDS) + "\n", model_max_length=7)
_vocabulary("and model_max_length 1e30", "\n".join(WORDS) + "\n", model_max_length=10 ** 30)


@row("tokenizer.json alone")
def _(d):
    make(d)
    AutoTokenizer.from_pretrained(d).save_pretrained(d)
    os.unlink(os.path.join(d, "vocab.txt"))
    return encodes(d)


for _missing in "[UNK] [CLS] [SEP]".split():
    @row("a vocabulary without " + _missing)
    def _(d, missing=_missing):
        make(d)
        put(d, "vocab.txt", "\n".join(w for w in WORDS if w != missing) + "\n")
        if missing == "[UNK]":
            return refused(d, "unk_token")
        return encodes(d)  # transformers adds it in the row that is free


@row("more positions than 512, model_max_length 12")
def _(d):
    make(d, settings={"model_max_length": 12})
    model = export(d, "--task", "none")
    said = run(ROOT + "/train_bert", "encode", "--model", model, text=TEXTS[5] + "\n")
    assert len(said.stdout.split()) == 12 and "stdin:1: cut at 12 of" in said.stderr, said
    return encodes(d)


@row("600 positions: none cut at 512")
def _(d):
    torch.manual_seed(3)
    make(d, "ForSequenceClassification")
    shutil.rmtree(d)
    TINY["max_position_embeddings"] = 600
    make(d, "ForSequenceClassification", settings={"model_max_length": 600})
    TINY["max_position_embeddings"] = 32
    text = "good film " * 280
    ours = answers("predict", d, [text])[0]["scores"]
    theirs = pipeline("text-classification", d, top_k=None, device="cpu")([text])[0]
    return "the pipeline", max(apart(ours[t["label"]], t["score"]) for t in theirs)


# ---- weights

@row("float64")
def _(d):
    make(d)
    resave(d, lambda state: {k: v.double() for k, v in state.items()})
    return encodes(d)


@row("float64, safetensors")
def _(d):
    make(d)
    path = os.path.join(d, "model.safetensors")
    save_file({k: v.double() for k, v in load_file(path).items()}, path, {"format": "pt"})
    return encodes(d)


@row("bfloat16, old format, transposed views")
def _(d):
    make(d)
    resave(d, lambda state: {k: v.bfloat16().t().contiguous().t() if v.dim() == 2 else v.bfloat16()
                             for k, v in state.items()}, _use_new_zipfile_serialization=False)
    return encodes(d)


@row("old format, views of one storage")
def _(d):
    make(d)

    def joined(state):
        flat = torch.cat([v.flatten() for v in state.values()])
        parts = flat.split([v.numel() for v in state.values()])
        return {k: part.view(v.shape) for (k, v), part in zip(state.items(), parts)}
    resave(d, joined, _use_new_zipfile_serialization=False)
    return encodes(d)


@row("old format, shards")
def _(d):
    make(d)
    state = load_file(os.path.join(d, "model.safetensors"))
    os.unlink(os.path.join(d, "model.safetensors"))
    index = {k: "pytorch_model-%d.bin" % (i % 2) for i, k in enumerate(state)}
    for name in set(index.values()):
        torch.save({k: v for k, v in state.items() if index[k] == name}, os.path.join(d, name),
                   _use_new_zipfile_serialization=False)
    put(d, "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": index})
    return encodes(d)


@row("a second bert. in front")
def _(d):
    make(d, "ForSequenceClassification")
    resave(d, lambda state: {"bert." + k: v for k, v in state.items()})
    return classifies(d)


@row("an untied decoder")
def _(d):
    make(d, "ForMaskedLM")
    path = os.path.join(d, "model.safetensors")
    state = load_file(path)
    state["cls.predictions.decoder.weight"] = torch.randn(len(WORDS), 12)
    save_file(state, path, {"format": "pt"})
    return refused(d, "untied decoder", "--task none")


@row("a training's checkpoint in place of its state_dict")
def _(d):
    make(d)
    resave(d, lambda state: {"state_dict": state, "epoch": 3})
    return refused(d, "state_dict")


@row("a pointer of Git LFS")
def _(d):
    make(d)
    os.unlink(os.path.join(d, "model.safetensors"))
    put(d, "pytorch_model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    return refused(d, "Git LFS")


for _name, _file, _hint in (("TensorFlow's tf_model.h5", "tf_model.h5", "from_tf=True"),
                            ("Flax", "flax_model.msgpack", "from_flax=True")):
    @row(_name + " alone")
    def _(d, file=_file, hint=_hint):
        make(d)
        os.rename(os.path.join(d, "model.safetensors"), os.path.join(d, file))
        return refused(d, file, hint)


@row("Google's checkpoint: bert_config.json")
def _(d):
    put(d, "bert_config.json", {})
    put(d, "bert_model.ckpt.index", b"")
    return refused(d, "bert_config.json", "TensorFlow")


@row("only a folder 0_Transformer in it")
def _(d):
    make(os.path.join(d, "0_Transformer"))
    return refused(d, "0_Transformer")


@row("0_Transformer of a whole model: a warning")
def _(d):
    make(os.path.join(d, "0_Transformer"))
    modules(d, pooling_mode="cls", at="0_Transformer")
    said = run(sys.executable, DEV + "/export_hf.py", d + "/0_Transformer", d + "/p.bin").stdout
    assert "WARNING" in said and "export that folder" in said, said
    return encodes(d + "/0_Transformer")


@row("a hub's id in place of a folder")
def _(d):
    os.makedirs(d)
    done = subprocess.run([sys.executable, DEV + "/export_hf.py", "BAAI/bge-tiny", "m.bin"], cwd=d,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "dev/download.py BAAI/bge-tiny" in done.stderr, done.stderr
    return "refused: " + done.stderr.strip(), 0.0


@row("a folder given to tokenizer.py and to train_bert")
def _(d):
    make(d)
    for command in ([sys.executable, ROOT + "/tokenizer.py", "encode"], [
            ROOT + "/train_bert", "encode"]):
        done = subprocess.run(command + ["--model", d], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        assert done.returncode and "export_hf.py" in done.stderr and (
            "Traceback" not in done.stderr), done.stderr
    return "refused: " + done.stderr.strip().replace(d, "DIR"), 0.0


@row("a full disk: the target is named, nothing is left")
def _(d):
    make(d)
    for args in [d, d + "/x.bin"], ["--to-hf", export(d), d + "/back"]:
        done = subprocess.run([sys.executable, DEV + "/export_hf.py"] + args, text=True,
                              stderr=subprocess.PIPE, preexec_fn=lambda: resource.setrlimit(
                                  resource.RLIMIT_FSIZE, (4096, 4096)))
        assert done.returncode == 1 and done.stderr.startswith("export_hf: " + args[-1]), done
        left = [name for name in os.listdir(d) if ".tmp" in name or name in ("x.bin", "back")]
        assert "room" in done.stderr and not left, (done.stderr, left)
    return "refused: " + done.stderr.strip().replace(d, "DIR"), 0.0


@row("dropout 1")
def _(d):
    make(d)
    edit(d, "config.json", hidden_dropout_prob=1)
    return refused(d, "hidden_dropout_prob", "below 1")


@row("layer_norm_eps 0.99999999, which is 1 in float32")
def _(d):
    make(d)
    edit(d, "config.json", layer_norm_eps=0.99999999)
    return refused(d, "layer_norm_eps")


for _arch in (5, [5], {"a": 1}, "BertModel", ["AlbertModel"], [["BertModel"]]):
    @row("architectures %s" % json.dumps(_arch))
    def _(d, arch=_arch):
        make(d)
        edit(d, "config.json", architectures=arch)
        return refused(d, "architectures")


for _pad, _good in ((None, 1), (-1, 1), (3, 1), (len(WORDS), 0), (-len(WORDS) - 1, 0), (True, 0),
                    ("0", 0)):
    @row("pad_token_id %s: the row that learns nothing" % json.dumps(_pad))
    def _(d, pad=_pad, good=_good):
        make(d)
        edit(d, "config.json", pad_token_id=pad)
        if not good:
            return refused(d, "pad_token_id")
        ours = export_hf.read_model(export(d)).config["padding_idx"]
        theirs = transformers.BertModel.from_pretrained(d).embeddings.word_embeddings.padding_idx
        assert ours == (-1 if theirs is None else theirs), (ours, theirs)
        return "padding_idx %s" % theirs, 0.0


def main():
    wanted = " ".join(sys.argv[1:])
    with tempfile.TemporaryDirectory() as tmp:
        for i, (name, function) in enumerate(ROWS):
            if wanted not in name:
                continue
            try:
                what, distance = function(os.path.join(tmp, "%03d" % i))
                assert distance <= 1e-5, "%g apart" % distance
                check("%-55s %s" % (name, what if distance == 0.0 and what.startswith(
                    "refused") else "%s, %.1e apart" % (what, distance)), True)
            except Exception as e:
                check(name, False, "%s: %s" % (type(e).__name__, e))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
