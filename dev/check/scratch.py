#!/usr/bin/env python3
"""From scratch: dev/export_hf.py --config makes a model without weights, train_bert train draws it.

    make train_bert && python3 dev/check/scratch.py

Which config.json is taken and what it becomes, which is refused; what is drawn, from which seed.
Python's standard library is all it takes. Ends with "N passed, N failed".
"""
import array
import os
import sys
import tempfile

import common
from common import check, finish, run, write

import export_hf

MODEL = os.path.join(common.DEV, "fixtures", "text.model.bin")
CONFIG = {"id2label": {"0": "a \"", "vocab_size": 1}, "vocab_size": 40, "hidden_size": 4,
          "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
          "max_position_embeddings": 20, "type_vocab_size": 2, "hidden_act": "gelu",
          "classifier_dropout": None}
PADDING = (({}, 0), ({"pad_token_id": 0}, 0), ({"pad_token_id": 3}, 3),
           ({"pad_token_id": None}, -1), ({"pad_token_id": -1}, 39), ({"pad_token_id": 39}, 39))
REFUSED = [({"pad_token_id": value}, "pad_token_id") for value in (40, -41, 1.5, [1])] + [
    ({"model_type": "roberta"}, "model_type"), ({"is_decoder": True}, "is_decoder"),
    ({"position_embedding_type": "relative_key"}, "relative_key"),
    ({"add_cross_attention": True}, "add_cross_attention"), ({"vocab_size": 12.5}, "vocab_size"),
    ({"vocab_size": 3}, "vocab_size"), ({"initializer_range": "x"}, "initializer_range"),
    ({"hidden_act": "silu"}, "hidden_act"), ({"hidden_size": 5}, "hidden_size")]


def scratch(folder, config, source=MODEL):
    """(exit code, stdout, stderr) of an export to FOLDER/scratch.bin"""
    path = write(os.path.join(folder, "config.json"), config)
    return common.attempt("./dev/export_hf.py", "--config", path, "--tokenizer", source,
                          os.path.join(folder, "scratch.bin"))


def train(folder, *flags):
    """The model after one step that moves nothing: what was drawn."""
    out = os.path.join(folder, "out")
    said = run("./train_bert", "train", "--model", os.path.join(folder, "scratch.bin"),
               "--train_file", os.path.join(folder, "data.bin"), "--output_dir", out,
               "--max_steps", 1, "--learning_rate", 0, "--overwrite_output_dir", *flags)
    return said, export_hf.read_model(os.path.join(out, "model.bin"))


def floats(model, name):
    return array.array("f", model.read(name))


def check_drawn(folder):
    scratch(folder, dict(CONFIG, hidden_act="gelu", initializer_range=0.5))
    said, one = train(folder)
    check("train says that it draws", "from scratch: it has no weights yet" in said, said)
    wte, ln0w, qkvb = (floats(one, name) for name in ("wte", "ln0w", "qkvb"))
    deviation = (sum(x * x for x in wte) / len(wte)) ** 0.5
    check("matrices from N(0, initializer_range)", 0.35 < deviation < 0.65, deviation)
    check("LayerNorm is one, biases are zero", set(ln0w) == {1} and set(qkvb) == {0}, ln0w)
    check("its model is drawn", one.config["undrawn"] == 0 and one.config["task"] ==
          "classification", one.config)
    scratch(folder, dict(CONFIG, hidden_act="gelu_python", initializer_range=0.5))
    check("the same seed: the same", floats(train(folder)[1], "wte") == wte)
    check("another seed: another", floats(train(folder, "--seed", 7)[1], "wte") != wte)
    for command in "predict", "embed", "eval":
        code, _, error = common.attempt(
            "./train_bert", command, "--model", os.path.join(folder, "scratch.bin"),
            *(["--eval_file", os.path.join(folder, "data.bin")] if command == "eval" else []))
        check(command + " refuses", code == 1 and "has no weights yet" in error, error)
    code, _, error = common.attempt("./dev/export_hf.py", "--to-hf",
                                    os.path.join(folder, "scratch.bin"), folder + "/hf")
    check("--to-hf refuses", code == 1 and "none yet" in error and not os.path.exists(
        folder + "/hf"), error)


def check_tokenizer(folder):
    """A folder's tokenizer, and the same one in a model.bin."""
    hf = os.path.join(folder, "tokenizer")
    run("./dev/export_hf.py", "--to-hf", MODEL, hf)
    wanted = dict(export_hf.read_model(MODEL).tokenizer, unicode=None)  # the fixture's is cut
    for source in MODEL, hf:
        scratch(folder, CONFIG, source)
        made = export_hf.read_model(os.path.join(folder, "scratch.bin"))
        check("the tokenizer of " + os.path.basename(source),
              dict(made.tokenizer, unicode=None) == wanted)
        check("no head, no pooler", made.config["task"] == "none" and not made.config["pooler"])
    code, _, error = scratch(folder, CONFIG, os.path.join(common.DEV, "fixtures", "mlm.model.bin"))
    check("a model without tokenizer", code == 1 and "tokenizer" in error, error)
    for flags in (["--config", "x", "y"], ["--tokenizer", "x", "y"], ["x"],
                  ["--config", "x", "--tokenizer", "x", "y", "z"],
                  ["--config", "x", "--tokenizer", "x", "--task", "ner", "y"]):
        code, _, error = common.attempt("./dev/export_hf.py", *flags)
        check("usage: " + " ".join(flags), code == 2 and "usage" in error, error)


def check_defaults(folder):
    """What config.json leaves out is BertConfig's, and said where it hardly is what was meant."""
    said = {}
    for size in None, 40, 60:
        config = dict(CONFIG, hidden_size=2, vocab_size=size)
        if not size:
            del config["vocab_size"]
        said[size] = scratch(folder, config)[1]
    check("no vocab_size: a warning", "V 30522" in said[None] and "vocab_size is 30522, BertConfig'"
          "s default" in said[None] and "has 16 tokens" in said[None], said[None])
    check("a vocab_size that was said: none", not any(
        "WARNING" in said[size] or "V %d" % size not in said[size] for size in (40, 60)), said)
    for given in "org/name", "models/org/name", "models/org/name/":
        error = common.attempt("./dev/export_hf.py", given, folder + "/x.bin")[2]
        check("no folder " + given, error.strip().endswith(
            "dev/download.py org/name, then give models/org/name"), error)
    for config, words in [({"hidden_size": 128}, "found 128, expected a multiple of num_attention_"
                           "heads, 12 (BertConfig's default)"),
                          ({"num_attention_heads": 5}, "found 768 (BertConfig's default), expected "
                           "a multiple of num_attention_heads, 5")]:
        error = scratch(folder, config)[2]
        check("a default that does not fit: %s" % config, error.strip().endswith(words), error)


def main():
    with tempfile.TemporaryDirectory(prefix="scratch.") as folder:
        text = write(os.path.join(folder, "text.tsv"), "good\tyes\nbad film\tno\n" * 4)
        run("./tokenizer.py", "classification", text, os.path.join(folder, "data.bin"),
            "--model", MODEL)
        for extra, row in PADDING:
            scratch(folder, dict(CONFIG, **extra))
            made = train(folder)[1]
            wte = floats(made, "wte")
            zero = [i for i in range(40) if not any(wte[4 * i:4 * i + 4])]
            check("%s: row %d" % (extra, row), made.config["padding_idx"] == row and zero == [
                row] * (row >= 0), zero)
        for extra, what in REFUSED:
            code, _, error = scratch(folder, dict(CONFIG, **extra))
            check("refused: %s" % extra, code == 1 and "config.json: " + what in error
                  or what == "relative_key" and what in error, error)
        check_defaults(folder)
        check_drawn(folder)
        check_tokenizer(folder)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
