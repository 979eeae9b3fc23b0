#!/usr/bin/env python3
"""What a step of several ranks takes: a model of it, and what two ranks on this machine show.

    python3 dev/bench/ranks.py                     the table: bert-base, 32 x 128 a rank
    python3 dev/bench/ranks.py --gflops 2000       for machines of that speed
    python3 dev/bench/ranks.py --measure           the model beside two ranks here (root; openmpi)

A step is a forward, a backward that ends group by group (head, layers from the last to the first,
embeddings), and the optimizer. A group's n gradients are summed as soon as it ends, one group after
the other: a rank sends, and receives, 2 (R - 1) / R of 4 n bytes, in two rounds, at the link's
speed; a core packs, adds and copies them meanwhile, which is taken from the backward. Of wte go
the rows of the step's tokens: of N tokens of English 10 N^0.6 differ (1,400 of 4,096, 5,400 of
32,768 in WikiText-2). With --task mlm, whose decoder is wte, all of it goes, when the backward has
ended.

The speed is a machine's: what `make bench-matmul` shows, or a training's 6 x 85 million operations
a token of bert-base. Efficiency is a rank's step alone, without any exchange, by that step among R.
Standard library only.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

DEV = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(DEV, "check"))
RANKS = (1, 2, 4, 8, 16, 32, 64)


class Shape:
    """A model: how many numbers each group of gradients has, and what computing it takes."""

    def __init__(self, a):
        C, F, L, T = a.hidden, a.intermediate, a.layers, a.length
        self.layer = 4 * C * C + 2 * C * F + 9 * C + F
        self.head = C * C + 3 * C + (a.vocab if a.task == "mlm" else 0)
        self.rest = 514 * C + 2 * C  # positions, types, LayerNorm
        self.C, self.L, self.V, self.mlm = C, L, a.vocab, a.task == "mlm"
        self.tokens = a.batch * T
        self.all = L * self.layer + self.head + self.rest + a.vocab * C
        # operations of a forward: two for each multiply-add; attention's two products
        self.layer_work = self.tokens * (2 * (4 * C * C + 2 * C * F) + 4 * T * C)
        self.head_work = 0.15 * self.tokens * 2 * C * (a.vocab + C) if self.mlm else 0

    def wte(self, ranks):
        """Numbers of its gradient that are summed in a step."""
        return self.C * (self.V if self.mlm else min(self.V, 10 * (ranks * self.tokens) ** 0.6))

    def groups(self, ranks):
        """(numbers, operations of its backward) in the order in which they end."""
        yield self.head, 2 * self.head_work
        for _ in range(self.L):
            yield self.layer, 2 * self.layer_work
        yield self.rest + self.wte(ranks), 0


def step(shape, ranks, gbit, a):
    """(seconds of a step, those of its exchange, those of it that nothing hides)"""
    flops = a.gflops * 1e9
    now = (shape.L * shape.layer_work + shape.head_work) / flops
    free = exchanged = 0.0  # when the link is free; how long it is busy
    for numbers, work in shape.groups(ranks):
        sent = 2 * (ranks - 1) / ranks * 4 * numbers
        copying = sent * a.core_seconds_a_gb * 1e-9
        now += work / flops + copying / a.cores
        if ranks > 1:
            takes = sent / (gbit * 1e9 / 8) + copying + 2 * a.latency * 1e-6
            free, exchanged = max(free, now) + takes, exchanged + takes
    shown = max(0.0, free - now)
    return now + shown + 28 * shape.all / (a.memory_gbs * 1e9), exchanged, shown


def table(a):
    shape = Shape(a)
    alone = step(shape, 1, 1, a)[0]
    print("%s, %d layers, hidden %d: %.1f million numbers; %d x %d tokens a rank and step" % (
        a.task, a.layers, a.hidden, shape.all / 1e6, a.batch, a.length))
    print("%g GFLOP/s a rank: a step alone takes %.2f s\n" % (a.gflops, alone))
    print("| ranks | MB sent by each |" + "".join(" %g Gbit/s |" % gbit for gbit in a.gbit))
    print("|--:|--:|" + "--:|" * len(a.gbit))
    for ranks in RANKS:
        sent = sum(2 * (ranks - 1) / ranks * 4e-6 * n for n, _ in shape.groups(ranks))
        cells = []
        for gbit in a.gbit:
            takes, _, shown = step(shape, ranks, gbit, a)
            cells.append("%.2f s, %.0f%%%s" % (takes, 100 * alone / takes,
                                               "" if shown < 0.01 * takes else
                                               " (waits %.2f s)" % shown))
        print("| %d | %.0f | %s |" % (ranks, sent, " | ".join(cells)))


# ------------------------------------------------------------------------------------ measurement

def intervals(process):
    """Seconds between two steps' lines, but for the first two."""
    times = []
    for line in process.stdout:
        if line.startswith("step "):
            times.append(time.monotonic())
    if process.wait() or len(times) < 4:
        sys.exit("train_bert failed: %s" % process.args)
    return [b - a for a, b in zip(times[1:], times[2:])]


def measure(a):
    """Fits speed on one process beside another one, and the cost of copying on two ranks: over
    memory, and over TCP. Shows what the model then says of slower links, and what they take."""
    import common
    import ranks
    with tempfile.TemporaryDirectory() as folder:
        programs = ranks.Programs(folder, "openmpi")
        config = common.write(os.path.join(folder, "config.json"), dict(
            ranks.CONFIG, vocab_size=a.vocab, hidden_size=a.hidden, num_hidden_layers=a.layers,
            intermediate_size=a.intermediate, num_attention_heads=a.hidden // 64,
            max_position_embeddings=512))
        model = os.path.join(folder, "model.bin")
        common.run("./dev/export_hf.py", "--config", config, "--tokenizer",
                   os.path.join(ranks.FIXTURES, "text.model.bin"), model)
        words = " ".join((ranks.WORDS * a.length)[:2 * a.length])
        text = common.write(os.path.join(folder, "d.tsv"), ("%s\tx\n%s\ty\n" % (words, words)) * 64)
        data = os.path.join(folder, "data.bin")
        common.run("./tokenizer.py", "classification", text, data, "--model", model,
                   "--max_length", a.length)

        def args(name, batch):
            return ["train", "--model", model, "--train_file", data, "--output_dir",
                    os.path.join(folder, name), "--per_device_train_batch_size", batch,
                    "--max_steps", a.steps + 2, "--logging_steps", 1]

        def together(*commands):
            env = dict(os.environ, OMP_NUM_THREADS="1", TMPDIR=folder)
            started = [subprocess.Popen([str(x) for x in c], stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL, env=env) for c in commands]
            with ThreadPoolExecutor() as readers:  # a line's time is when it comes
                return sum(readers.map(intervals, started), [])

        def apart(batch):
            return together(*[[programs.one] + args("out%d" % i, batch) for i in range(2)])

        def ranked():
            return together(programs.mpirun(*[[programs.many] + args("ranks", a.batch)] * 2))

        def linked(gbit):
            hosts = ranks.Hosts(folder, gbit)
            try:
                if hosts.refused:
                    sys.exit("no link between two hosts here: " + hosts.refused)
                hosts.use(programs)
                return ranked()
            finally:
                hosts.close(programs)

        # They take turns, as the machine is not always as fast.
        kinds = [(linked, gbit) for gbit in [None] + list(a.gbit)]  # refused at once, if at all
        kinds += [(ranked,), (apart, a.batch), (apart, 4 * a.batch)]
        times = [[] for _ in kinds]
        for _ in range(a.rounds):
            for kind, (run, *given) in zip(times, kinds):
                kind += run(*given)
        tcp, *slow, memory, one, four = map(statistics.median, times)
    shape = Shape(a)
    work = 3 * (shape.L * shape.layer_work + shape.head_work)
    a.cores, a.gflops = 1, 3 * work / (four - one) * 1e-9
    a.memory_gbs = 28 * shape.all / max(one - (four - one) / 3, 1e-3) * 1e-9
    print("two processes apart: %.2f s a step of %d x %d, %.2f s one of four times as many: %.0f "
          "GFLOP/s, %.1f GB/s" % (one, a.batch, a.length, four, a.gflops, a.memory_gbs))
    shape.wte = lambda count: 16 * shape.C  # so many words

    def fit(name, took):
        low, high = 0.0, 100.0
        for _ in range(50):  # the cost of copying that explains it
            a.core_seconds_a_gb = (low + high) / 2
            if step(shape, 2, 1e6, a)[0] < took:
                low = a.core_seconds_a_gb
            else:
                high = a.core_seconds_a_gb
        print("two ranks, %s: %.2f s a step, so %.2f s of a core for each GB sent"
              % (name, took, a.core_seconds_a_gb), flush=True)
    fit("memory between them", memory)
    fit("TCP between two hosts, not limited", tcp)
    print("\n| link | measured | model | nothing hidden |\n|--:|--:|--:|--:|")
    for gbit, took in zip(a.gbit, slow):
        says, exchanged, shown = step(shape, 2, gbit, a)
        print("| %g Gbit/s | %.2f s | %.2f s | %.2f s |" % (gbit, took, says,
                                                           says - shown + exchanged))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=("classification", "mlm"), default="classification")
    for flag, value in (("layers", 12), ("hidden", 768), ("intermediate", 3072), ("vocab", 30522),
                        ("batch", None), ("length", 128), ("cores", 2)):
        parser.add_argument("--" + flag, type=int, default=value)
    parser.add_argument("--gflops", type=float, default=200, help="of a rank, in training")
    parser.add_argument("--gbit", type=float, nargs="+", default=None, help="links, in Gbit/s")
    parser.add_argument("--latency", type=float, default=100, help="of a round, in microseconds")
    parser.add_argument("--core_seconds_a_gb", type=float, default=1, help="sent: to pack and add")
    parser.add_argument("--memory_gbs", type=float, default=10, help="AdamW's, in GB/s")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--steps", type=int, default=5, help="to measure in a turn")
    parser.add_argument("--rounds", type=int, default=3, help="how many turns each has")
    a = parser.parse_args()
    a.batch = a.batch or (2 if a.measure else 32)
    a.gbit = a.gbit or ((10, 1) if a.measure else (1, 10, 100))
    measure(a) if a.measure else table(a)


if __name__ == "__main__":
    main()
