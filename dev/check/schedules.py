#!/usr/bin/env python3
"""Learning rates of every schedule against transformers.get_scheduler (dev/requirements.txt).

    make train_bert && dev/check/schedules.py

Every type that does not go by metrics, each with several arguments, warmups and lengths: each step,
to 1e-7 relative; what transformers refuses is refused. One training's log.jsonl besides: the rates
that the optimizer got. Ends with "N passed, N failed".
"""
import json
import math
import subprocess
import sys
import tempfile
import warnings

from common import ROOT, build, check, finish, none, read_log, run, write

TYPES = {  # name: arguments; the last line are such as are refused
    "linear": ([None], [{"power": 2}, {"num_cycles": 1}]),
    "cosine": ([None, {"num_cycles": 0.5}, {"num_cycles": 2}, {"num_cycles": "1.25"},
                {"num_cycles": 0}], [{"power": 1}]),
    "cosine_with_restarts": ([None, {"num_cycles": 1}, {"num_cycles": 3}, {"num_cycles": 2.5}],
                             [{"min_lr": 1}]),
    "polynomial": ([None, {"power": 2}, {"power": 0.5, "lr_end": 1e-6}, {"lr_end": 0},
                    {"power": 0}], [{"lr_end": 1}, {"num_cycles": 1}]),
    "constant": ([None], []),  # transformers ignores arguments of these two: see train_bert's below
    "constant_with_warmup": ([None], []),
    "inverse_sqrt": ([None, {"timescale": 7}, {"timescale": 1000}, {"timescale": None}],
                     [{"power": 1}]),
    "cosine_with_min_lr": ([{"min_lr": 1e-6}, {"min_lr_rate": 0.1}, {"min_lr": 0},
                            {"min_lr_rate": 0.25, "num_cycles": 1.5}],
                           [None, {"min_lr": 1e-6, "min_lr_rate": 0.1}, {"warmup_lr_rate": 0.1}]),
    "cosine_warmup_with_min_lr": ([{"min_lr": 1e-6}, {"min_lr_rate": 0.1},
                                   {"min_lr_rate": 0.1, "warmup_lr_rate": 0.2},
                                   {"min_lr_rate": 0, "warmup_lr_rate": 0, "num_cycles": 1}],
                                  [None, {"min_lr": 1e-6, "min_lr_rate": 0.1}]),
    "warmup_stable_decay": ([{"num_decay_steps": 10}, {"num_decay_steps": 0},
                             {"num_decay_steps": 1000}, {"num_decay_steps": 8, "min_lr_ratio": 0.1},
                             {"num_decay_steps": 8, "num_stable_steps": 5},
                             {"num_decay_steps": 20, "num_stable_steps": 0, "num_cycles": 1.5}] +
                            [{"num_decay_steps": 9, "warmup_type": up, "decay_type": down,
                              "min_lr_ratio": least} for up in ("linear", "cosine", "1-sqrt")
                             for down in ("linear", "cosine", "1-sqrt") for least in (0, 0.2)],
                            [None, {"num_decay_steps": 3, "decay_type": "sqrt"}, {"power": 1}]),
}
BY_METRICS = {"reduce_lr_on_plateau", "greedy"}
LENGTHS = [(0, 1), (0, 37), (1, 37), (7, 50), (36, 37), (37, 37), (40, 37), (0, 200), (60, 200)]
RATES = [5e-5, 2e-3]


def theirs(name, rate, warmup, total, arguments):
    """The rates of steps 0 to total, or None: refused. A step that divides by 0 has NaN."""
    import torch
    import transformers
    from transformers.training_args import _convert_str_dict
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    try:
        schedule = transformers.get_scheduler(
            name, optimizer, warmup, total, arguments and _convert_str_dict(dict(arguments)))
    except (TypeError, ValueError):
        return None
    share, = schedule.lr_lambdas
    rates = []
    for step in range(total + 1):
        try:
            rates.append(rate * share(step))
        except ZeroDivisionError:  # polynomial at step total where the warmup is the whole run
            rates.append(math.nan)
    return rates


def main():
    import transformers
    from transformers.trainer_utils import SchedulerType
    warnings.simplefilter("ignore")
    names = {t.value for t in SchedulerType}
    check("every type of transformers", names == set(TYPES) | BY_METRICS, names)
    with tempfile.TemporaryDirectory() as work:
        program = build("schedules", work)
        cases = [(name, rate, warmup, total, arguments)
                 for name, (good, bad) in TYPES.items() for arguments in good + bad
                 for rate in RATES for warmup, total in LENGTHS]
        text = "".join("%s\t%r\t%d\t%d\t%s\n" % (*case[:4], json.dumps(case[4]) if case[4] else "-")
                       for case in cases)
        lines = subprocess.run([program], input=text, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, check=True,
                               universal_newlines=True).stdout.splitlines()
        check("a line each", len(lines) == len(cases), (len(lines), len(cases)))
        for name, (good, bad) in TYPES.items():
            wrong, steps, worst = [], 0, 0.0
            for case, line in zip(cases, lines):
                if case[0] != name:
                    continue
                want = theirs(*case)
                if want is None or line == "refused":
                    if (want is None) != (line == "refused") or (want is None) != (case[4] in bad):
                        wrong.append((case, line[:30], want and want[:3]))
                    continue
                for step, (a, b) in enumerate(zip(map(float, line.split()), want)):
                    if math.isnan(b):
                        continue
                    steps += 1
                    difference = abs(a - b) / abs(b) if b else abs(a)
                    worst = max(worst, difference)
                    if not difference <= 1e-7:
                        wrong.append((case, "step", step, a, b))
            none("%s: %d steps, largest relative difference %.1e" % (name, steps, worst), wrong,
                 steps > 500)
        trained(work)
    return finish()


def trained(work):
    """What train_bert does: its own flags, and the rates in log.jsonl."""
    tsv = write(work + "/train.tsv", "".join("a good film\tgood\na dull film\tdull\n" * 4))
    model = ROOT + "/dev/fixtures/text.model.bin"
    run("./tokenizer.py", "classification", tsv, work + "/train.bin", "--model", model)

    def rates(name, arguments, total=12, warmup=3):
        run("./train_bert", "train", "--model", model, "--train_file", work + "/train.bin",
            "--output_dir", work + "/out", "--logging_dir", work + "/logs", "--logging_steps", 1,
            "--max_steps", total, "--warmup_steps", warmup, "--lr_scheduler_type", name,
            *(["--lr_scheduler_kwargs", json.dumps(arguments)] if arguments else []))
        return [row["learning_rate"] for row in read_log(work + "/logs") if "learning_rate" in row]

    for name, arguments in (("polynomial", {"power": 2, "lr_end": 1e-6}), ("cosine", None),
                            ("warmup_stable_decay", {"num_decay_steps": 4,
                                                     "decay_type": "1-sqrt"})):
        got, want = rates(name, arguments), theirs(name, 5e-5, 3, 12, arguments)[:12]
        none("train_bert's log, " + name, [
            (a, b) for a, b in zip(got, want) if abs(a - b) > 1e-7 * abs(b)], len(got) == 12)


if __name__ == "__main__":
    sys.exit(main())
