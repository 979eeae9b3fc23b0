#!/usr/bin/env python3
"""Draws trainings: loss, metric, learning rate, gradient norm over the steps (needs matplotlib).

    python3 dev/plot.py logs                       logs/log.jsonl to logs/plot.svg
    python3 dev/plot.py a/logs b/logs --out x.png  several runs, a line each
    python3 dev/plot.py 1/logs 2/logs 3/logs --band "three seeds"
                                                   one line, their mean, in a band least to most
    python3 dev/plot.py logs --metric f1           another metric than the first of the log

LOG is a folder of --logging_dir, or a log.jsonl. --out ends in .svg, .png or .pdf.
"""
import argparse
import json
import os
import sys

# Of Okabe and Ito's colours, which the colour-blind can tell apart, those that are dark enough.
COLOURS = "#0072B2 #D55E00 #009E73 #CC79A7 #56B4E9 #E69F00 #000000".split()
OTHERS = {"eval_loss", "eval_runtime", "eval_samples_per_second"}  # of the evaluation's, no metrics


def read_log(path):
    """The rows of a log.jsonl; of a run that was killed while it wrote, the whole ones."""
    path = os.path.join(path, "log.jsonl") if os.path.isdir(path) else path
    rows = []
    try:
        with open(path, encoding="utf-8") as f:
            lines = f.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit("plot.py: %s: %s" % (path, getattr(error, "strerror", None) or "is no log.jsonl"))
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if line else None
        except ValueError:
            row = None if number == len(lines) else 0
        if row is None:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("step"), (int, float)):
            sys.exit("plot.py: %s:%d: expected an object with a step, as train_bert's log has them"
                     % (path, number))
        rows.append(row)
    if not any("loss" in row for row in rows):
        sys.exit("plot.py: %s: has no step yet" % path)
    return rows


def series(rows, key):
    """(step, value) of the rows that have it; null is a number that was not finite."""
    return [(row["step"], row[key]) for row in rows if isinstance(row.get(key), (int, float))]


def mean_band(runs):
    """Steps that all runs have, and the mean, least and most there."""
    values = [dict(run) for run in runs]
    steps = sorted(set.intersection(*map(set, values)))
    at = [[v[step] for v in values] for step in steps]
    return steps, [sum(v) / len(v) for v in at], [min(v) for v in at], [max(v) for v in at]


def draw(axes, logs, names, key, style, band, mark):
    for i, name in enumerate(names):
        runs = [series(rows, key) for rows in (logs if band else [logs[i]])]
        if not all(runs):
            continue
        steps, mean, least, most = mean_band(runs)
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(steps, mean, style, color=colour, label=name + mark, linewidth=1.4,
                  markersize=3.5)
        if band:
            axes.fill_between(steps, least, most, color=colour, alpha=0.2, linewidth=0)


def figure(logs, names, metric, band):
    """Four pictures: loss (of training and evaluation), metric, learning rate, gradient norm."""
    import matplotlib
    matplotlib.use("Agg")
    # a file is a function of its runs: no date, no random ids
    matplotlib.rcParams.update({"svg.hashsalt": "bert.h", "svg.fonttype": "none", "font.size": 9,
                                "axes.spines.top": False, "axes.spines.right": False,
                                "axes.grid": True, "grid.alpha": 0.25})
    import matplotlib.pyplot as plt
    fig, grid = plt.subplots(2, 2, figsize=(8, 5), sharex=True, layout="constrained")
    pictures = [("loss", [("loss", "-", ""), ("eval_loss", "o--", ", evaluation")]),
                (metric[5:] if metric else "metric", [(metric, "o-", "")] if metric else []),
                ("learning rate", [("learning_rate", "-", "")]),
                ("gradient norm", [("grad_norm", "-", "")])]
    for axes, (title, lines) in zip(grid.flat, pictures):
        for key, style, mark in lines:
            draw(axes, logs, names, key, style, band, mark)
        axes.set_title(title, loc="left")
        if not lines:
            axes.text(0.5, 0.5, "no evaluation", ha="center", transform=axes.transAxes)
    for axes in grid[1]:
        axes.set_xlabel("step")
    if len(grid[0][0].get_lines()) > 1:
        grid[0][0].legend(frameon=False, fontsize=8)
    return fig


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("logs", nargs="+", metavar="LOG", help="a folder with a log.jsonl, or that file")
    p.add_argument("--out", help="the picture [plot.svg beside the first log]")
    p.add_argument("--metric", help="of the evaluation [the first]")
    p.add_argument("--names", nargs="+", help="what the runs are called [their paths]")
    p.add_argument("--band", metavar="NAME", help="the runs are one line of that name, with a band")
    a = p.parse_args()
    logs = [read_log(path) for path in a.logs]
    names = [a.band] if a.band else a.names or [os.path.normpath(path) for path in a.logs]
    if not a.band and len(names) != len(logs):
        p.error("%d names for %d runs" % (len(names), len(logs)))
    metrics = [key for rows in logs for row in rows for key in row
               if key.startswith("eval_") and key not in OTHERS]
    metric = "eval_" + a.metric if a.metric else metrics[0] if metrics else None
    if a.metric and metric not in metrics:
        p.error("--metric: the logs have %s, not %s" % (
            ", ".join(sorted({m[5:] for m in metrics})) or "none", a.metric))
    first = a.logs[0] if os.path.isdir(a.logs[0]) else os.path.dirname(a.logs[0])
    out = a.out or os.path.join(first, "plot.svg")
    try:
        fig = figure(logs, names, metric, a.band)
    except ImportError:
        sys.exit("plot.py: needs matplotlib: python3 -m pip install matplotlib")
    try:
        dated = out.endswith((".svg", ".pdf"))
        fig.savefig(out, dpi=150, metadata={"Date": None} if out.endswith(".svg") else
                    {"CreationDate": None} if dated else None)
    except (OSError, ValueError) as error:
        sys.exit("plot.py: %s: %s" % (out, error))
    print(out)


if __name__ == "__main__":
    main()
