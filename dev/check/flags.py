#!/usr/bin/env python3
"""Flags that people bring along: each of TrainingArguments is taken or answered by name.

    make && python3 dev/check/flags.py     (with transformers: its own list, and its defaults)

Ends with "N passed, N failed".
"""
import dataclasses
import os
import re
import sys

from common import ROOT, attempt, finish, run, wrong

# What only transformers 4 had.
TRAINER_4 = """adafactor dispatch_batches evaluate_during_training evaluation_strategy fp16_backend
fp16_opt_level fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap group_by_length
half_precision_backend include_inputs_for_metrics include_tokens_per_second jit_mode_eval
logging_dir mp_parameters no_cuda overwrite_output_dir past_index per_gpu_eval_batch_size
per_gpu_train_batch_size push_to_hub_model_id push_to_hub_organization push_to_hub_token ray_scope
save_safetensors sharded_ddp split_batches torchdynamo tpu_metrics_debug tpu_num_cores use_ipex
use_legacy_prediction_loop use_mps_device warmup_ratio xpu_backend"""

# run_glue.py, run_classification.py, run_qa.py, run_ner.py, run_mlm.py
SCRIPTS = """model_name_or_path config_name tokenizer_name cache_dir use_fast_tokenizer
model_revision token use_auth_token trust_remote_code ignore_mismatched_sizes task_name dataset_name
dataset_config_name max_seq_length overwrite_cache pad_to_max_length max_train_samples
max_eval_samples max_predict_samples train_file validation_file test_file do_regression
remove_splits train_split_name validation_split_name test_split_name remove_columns
label_column_name text_column_names text_column_delimiter shuffle_train_dataset shuffle_seed
metric_name preprocessing_num_workers version_2_with_negative null_score_diff_threshold doc_stride
n_best_size max_answer_length text_column_name label_all_tokens return_entity_level_metrics
model_type config_overrides torch_dtype dtype low_cpu_mem_usage validation_split_percentage
mlm_probability line_by_line streaming data_dir do_lower_case num_warmup_steps"""

# flag: the suggestion in train; None: no suggestion of any flag
MEANT = {
    "lr": "learning_rate", "epochs": "num_train_epochs", "num_epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size", "learning_rat": "learning_rate",
    "leanring_rate": "learning_rate", "learningrate": "learning_rate", "sede": "seed",
    "val_file": "eval_file", "dev_file": "eval_file", "output": "output_dir",
    "clip": "max_grad_norm",
    "accumulation_steps": "gradient_accumulation_steps", "weight": "weight_decay",
    "max_step": "max_steps", "eval_batch_size": "per_device_eval_batch_size",
    "out_dir": "output_dir",
    "warmup": "warmup_steps", "trainfile": "train_file", "freeze_layer": "freeze_layers",
    "test_file": None, "tests_file": None, "text_file": None, "quiet": None, "verbose": None,
    "adam_beta3": None, "adam_beta": None, "train": None, "file": None, "best_file": None,
    "unit": None, "no": None, "x": None, "": None, "_": None, "debugging": None, "warm": None,
    "rate": "learning_rate", "test_dir": None, "input_dir": None, "model_output": None,
}


def answer(command, flag, *value):
    code, out, error = attempt("./train_bert", command, "--" + flag, *value)
    return (out + error).strip() if code == 1 else "exit code %d" % code


def own_flags(command):
    """name -> default, as help shows it"""
    return {name: default for name, default in re.findall(
        r"^  --(\w+) .*?(?:\[([^][]*)\])?(?: \(needed\))?$",
        run("./train_bert", "help", command), re.M)}


def check_known(name, whose, own):
    """Taken, or answered with what happens instead."""
    text = answer("train", name, "1")
    if name in own:
        wrong(name, "no such flag" in text and text)
        return
    say = (r"train_bert: --%s is a flag of .*%s.*"
           r"(that train_bert does not have: \S.{8,}|; here it is --\w+)$")
    wrong(name, not re.match(say % (name, whose), text, re.S) and text)


def main():
    own = own_flags("train")
    try:
        from transformers import TrainingArguments
        fields = {f.name: f.default for f in dataclasses.fields(TrainingArguments)}
    except ImportError:
        fields = {}
        print("skipped: transformers is not installed")
    for name, default in fields.items():
        check_known(name, "Trainer", own)
        shown = own.get(name)
        if shown and isinstance(default, (int, float)) and not isinstance(default, bool):
            wrong(name + "'s default", float(shown) != default and (shown, default))
    for name in TRAINER_4.split():
        if name not in fields:
            check_known(name, "Trainer", own)
    for name in SCRIPTS.split():
        if name not in fields:
            check_known(name, "(example scripts|tokenizer.py)", own)
    with open(os.path.join(ROOT, "dev", "driver", "instead.h"), encoding="utf-8") as f:
        rows = re.findall(r'\{(?:[A-Z_4]+|NULL),\s*((?:"[^"]*"\s*)+),', f.read())
    names = [name for row in rows for name in "".join(re.findall('"([^"]*)"', row)).split()]
    wrong("instead.h", len(names) < 200 and len(names))
    for name in names:  # max_length: of other commands
        wrong("--%s of instead.h is no flag of its own" % name, name in own)
        wrong(name, all(" no such flag; " in answer(command, name, "1")
                        for command in ("train", "predict")) and "it is not answered")
    for name, flag in MEANT.items():
        text = answer("train", name, "1")
        found = re.search(r"Did you mean --(\w+)\?", text)
        wrong("--" + name, (found.group(1) if found else None) != flag and text)
    for command, name, want in (
            ("predict", "batch_size", "--per_device_eval_batch_size?"),
            ("predict", "max_seq_length", "here it is --max_length"),
            ("train", "max_seq_length", "tokenizer.py --max_length"),
            ("train", "max_length", "is a flag of predict, embed, encode, inspect, not of train"),
            ("eval", "dev_file", "--eval_file?"), ("eval", "data", "--eval_file?"),
            ("predict", "data", "--predict_file?"), ("embed", "lr", "no such flag; "),
            ("predict", "logit", "--logits?"), ("train", "model_name_or_path", "dev/export_hf.py")):
        text = answer(command, name, "1")
        wrong("%s --%s" % (command, name), want not in text and text)
    for value in "3.4e38", "3.4028e38":  # a float that no integer holds
        text = answer("train", "learning_rate", value)
        wrong("--learning_rate " + value, "needs --model" not in text and text)
    for kind, value in (("seed", "1e300"), ("max_steps", "9e18"), ("top_k", "nan")):
        text = answer("predict" if kind == "top_k" else "train", kind, value)
        wrong("--%s %s" % (kind, value), "is not a whole number" not in text and text)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
