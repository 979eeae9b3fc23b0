#!/usr/bin/env python3
"""Speed and memory of bert.h against PyTorch, OpenVINO and ONNX Runtime (dev/requirements.txt).

    make bench    or:  dev/bench/bench.py --model models/all-MiniLM-L6-v2 [--sst2 DIR] [--only NAME]

All sides are processes that stay alive and sleep until it is their turn; in each round every side
does the same batches, one side after the other, in an order that changes. A ratio is the median of
the rounds' ratios. Both sides have as many threads as there are cores, and are float32 where
nothing is said of bfloat16; tokenizing and making tensors are not timed.

ours     packed, dropout on in training; before timing, the optimizer has met every token of the
         training set, as after an epoch (before that, a step is cheaper)
         classification reads, as its forward does, only [CLS] of the last layer
         ours-bf16: products in bfloat16 (--bf16), against PyTorch's autocast and OpenVINO's bf16
theirs   padded to the longest of the batch; no attention mask where nothing is padded. PyTorch:
         fused AdamW, gradients clipped at norm 1. OpenVINO and ONNX Runtime: the fastest of several
         settings (streams; graph with or without the BERT optimizer), tried out at the start.
"""
import argparse
import array
import concurrent.futures
import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(HERE)
BASE = "bert-base"  # random weights, the sizes of transformers.BertConfig()
SETTLE = 0.3        # seconds before a round: OpenMP's threads spin for some ms after their work


# --------------------------------------------------------------------------------------------------
# Batches: a batch is a list of (ids, label); model.c describes their file.

def write_batches(path, batches, warm=()):
    words = array.array("i", [len(batches), len(warm)])
    for batch in list(warm) + list(batches):
        offsets, tokens = [0], []
        for ids, _ in batch:
            tokens += ids
            offsets.append(len(tokens))
        words.extend([len(batch), len(tokens)] + offsets + tokens + [label for _, label in batch])
    with open(path, "wb") as f:
        words.tofile(f)


def read_batches(path):
    """The batches, without those to warm up."""
    words = array.array("i")
    with open(path, "rb") as f:
        words.frombytes(f.read())
    (n, warm), at, batches = words[:2], 2, []
    for _ in range(n + warm):
        size, tokens = words[at:at + 2]
        offsets = words[at + 2:at + 3 + size]
        at += 3 + size
        labels = words[at + tokens:at + tokens + size]
        batches.append([(list(words[at + offsets[i]:at + offsets[i + 1]]), labels[i])
                        for i in range(size)])
        at += tokens + size
    return batches[warm:]


def count_tokens(batches, first, count):
    return sum(len(ids) for i in range(first, first + count) for ids, _ in
               batches[i % len(batches)])


def random_batches(size, length, n=4):
    draw = random.Random(size * 1000 + length)
    return [[([101] + [draw.randrange(1000, 30000) for _ in range(length - 2)] + [102], i % 2)
             for i in range(size)] for _ in range(n)]


def cut(data, size):
    return [data[i:i + size] for i in range(0, len(data), size)]


def every_token(data, like):
    """Batches with every token of the data, none larger than the largest of those like it."""
    ids = sorted({token for example, _ in data for token in example})
    largest = max(like, key=lambda batch: sum(len(x) for x, _ in batch))
    batches, at = [], 0
    while at < len(ids):
        batch = []
        for x, label in largest:
            if at < len(ids):
                batch.append((ids[at:at + len(x)], label))
                at += len(x)
        batches.append(batch)
    return batches


# --------------------------------------------------------------------------------------------------
# Theirs: a worker process. Each class has run(first, count), and a note on its settings.

def padded(batch):
    """Ids and mask as lists of rows; the mask is None where nothing is padded."""
    longest = max(len(ids) for ids, _ in batch)
    rows = [ids + [0] * (longest - len(ids)) for ids, _ in batch]
    mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch]
    return rows, mask if any(0 in row for row in mask) else None


def mean_size(output, batch):
    """model.c's checksum: mean |x| over logits, or over the tokens that are not padding."""
    if len(output.shape) == 2:
        return float(abs(output).mean())
    kept = [abs(output[b][:len(ids)]).sum() for b, (ids, _) in enumerate(batch)]
    return float(sum(kept)) / (sum(len(ids) for ids, _ in batch) * output.shape[-1])


def network(model, mode, attention):
    """infer: BertModel; classify: with its head for two classes."""
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    if mode == "infer":
        kind, flags = transformers.BertModel, {"add_pooling_layer": False}
    else:
        kind, flags = transformers.BertForSequenceClassification, {}
    if model == BASE:
        return kind(transformers.BertConfig(attn_implementation=attention), **flags).eval()
    return kind.from_pretrained(model, attn_implementation=attention, dtype=torch.float32,
                                **flags).eval()


class TorchTraining:
    note = ""

    def __init__(self, model, batches, threads, bf16=False):
        import torch
        import transformers
        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch, self.bf16 = torch, bf16
        if model == BASE:
            self.model = transformers.BertForSequenceClassification(transformers.BertConfig())
        else:
            self.model = transformers.BertForSequenceClassification.from_pretrained(
                model, num_labels=2, dtype=torch.float32)
        still = ("bias", "LayerNorm.weight")
        named = list(self.model.named_parameters())
        groups = [{"params": [p for n, p in named if not n.endswith(still)], "weight_decay": 0.01},
                  {"params": [p for n, p in named if n.endswith(still)], "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=5e-5, fused=True)
        self.model.train()
        self.inputs = [self.tensors(batch) for batch in batches]
        self.checksum = 0.0

    def tensors(self, batch):
        ids, mask = padded(batch)
        x = {"input_ids": self.torch.tensor(ids),
             "labels": self.torch.tensor([label for _, label in batch])}
        if mask:
            x["attention_mask"] = self.torch.tensor(mask)
        return x

    def run(self, first, count):
        for i in range(first, first + count):
            with self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=self.bf16):
                loss = self.model(**self.inputs[i % len(self.inputs)]).loss
            loss.backward()
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            loss.item()


class TorchInference:
    note = ""

    def __init__(self, model, batches, threads, mode, bf16=False):
        import torch
        torch.set_num_threads(threads)
        self.torch, self.model, self.bf16 = torch, network(model, mode, "sdpa"), bf16
        self.inputs = []
        for ids, mask in map(padded, batches):
            self.inputs.append((torch.tensor(ids), torch.tensor(mask) if mask else None))
        with torch.inference_mode():
            self.checksum = mean_size(self.model(*self.inputs[0])[0], batches[0])

    def run(self, first, count):
        with self.torch.inference_mode(), self.torch.autocast(
                "cpu", dtype=self.torch.bfloat16, enabled=self.bf16):
            for i in range(first, first + count):
                self.model(*self.inputs[i % len(self.inputs)])


class Fastest:
    """What OpenVINO and ONNX Runtime share: candidates (note, run), of which the fastest stays."""

    def choose(self, candidates, n):
        """The fastest by the median of turns that go round: on a machine with neighbours, one that
        is tried once may have had a bad second."""
        for _, run in candidates:
            run(0, n)  # warm up: every shape
        timed, start = [[] for _ in candidates], time.perf_counter()
        while len(timed[0]) < 3 or time.perf_counter() - start < 1.5 * len(candidates):
            for times, (_, run) in zip(timed, candidates):
                before = time.perf_counter()
                run(0, n)
                times.append(time.perf_counter() - before)
        best = min(range(len(candidates)), key=lambda i: statistics.median(timed[i]))
        self.note, self.run = candidates[best]


def plain_wrapper(model, types):
    """The model as a module whose inputs are positional and whose output is one tensor."""
    import torch

    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, second=None, third=None):
            mask, token_types = (None, second) if types and third is None else (second, third)
            if token_types is None:
                token_types = torch.zeros_like(input_ids)
            return self.model(input_ids=input_ids, attention_mask=mask,
                              token_type_ids=token_types)[0]
    return Wrapper()


class OpenVino(Fastest):
    """Static shapes and no mask where all batches are alike; else dynamic shapes and a mask."""

    def __init__(self, model, batches, threads, mode, precision="f32"):
        import numpy
        import openvino
        import torch
        torch.set_num_threads(threads)
        rows = [padded(batch) for batch in batches]
        shapes = {(len(ids), len(ids[0])) for ids, _ in rows}
        alike = len(shapes) == 1 and not any(mask for _, mask in rows)
        self.inputs = []
        for ids, mask in rows:
            ids = numpy.array(ids, dtype=numpy.int64)
            mask = numpy.array(mask) if mask else numpy.ones_like(ids)
            self.inputs.append([ids] if alike else [ids, mask])
        example = torch.tensor([[101, 2000, 2001, 102]] * 2)
        masks = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        graph = openvino.convert_model(plain_wrapper(network(model, mode, "sdpa"), False),
                                       example_input=(example,) if alike else (example, masks))
        if alike:
            graph.reshape({x: list(shapes)[0] for x in graph.inputs})
        core, candidates = openvino.Core(), []
        # float32: where the processor has bfloat16 units, the default would be bfloat16
        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        several = threads > 1 and len(batches) > 1 and len(batches[0]) > 1
        for streams in (1, threads) if several else (1,):
            compiled = core.compile_model(graph, "CPU", dict(settings, NUM_STREAMS=streams))
            candidates.append(("%d stream%s" % (streams, "s"[:streams > 1]),
                               self.runner(compiled, streams)))
        request = compiled.create_infer_request()
        request.infer(self.inputs[0])
        self.checksum = mean_size(request.get_output_tensor().data, batches[0])
        self.choose(candidates, len(batches))

    def runner(self, compiled, streams):
        import openvino
        if streams == 1:
            request = compiled.create_infer_request()

            def run(first, count):
                for i in range(first, first + count):
                    request.infer(self.inputs[i % len(self.inputs)], share_inputs=True,
                                  share_outputs=True)
            return run
        queue = openvino.AsyncInferQueue(compiled, streams)

        def run_queue(first, count):
            for i in range(first, first + count):
                queue.start_async(self.inputs[i % len(self.inputs)], share_inputs=True)
            queue.wait_all()
        return run_queue


class OnnxRuntime(Fastest):
    """The model as its exporter writes it, with the session's own fusions, and after ONNX Runtime's
    BERT optimizer; one session on all threads, or runs side by side on one thread each."""

    def __init__(self, model, batches, threads, mode):
        import numpy
        import onnxruntime
        import torch
        from onnxruntime.transformers import optimizer
        torch.set_num_threads(threads)
        rows = [padded(batch) for batch in batches]
        alike = not any(mask for _, mask in rows)
        self.inputs = []
        for ids, mask in rows:
            ids = numpy.array(ids, dtype=numpy.int64)
            feed = {"input_ids": ids, "token_type_ids": numpy.zeros_like(ids)}
            if not alike:
                feed["attention_mask"] = numpy.array(mask) if mask else numpy.ones_like(ids)
            self.inputs.append(feed)
        net = network(model, mode, "eager")  # the form that the optimizer knows
        config, candidates = net.config, []
        ids = torch.tensor([[101, 2000, 2001, 102]] * 2)
        mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        names = ["input_ids"] + ([] if alike else ["attention_mask"]) + ["token_type_ids"]
        example = (ids,) + (() if alike else (mask,)) + (torch.zeros_like(ids),)
        axes = {n: {0: "batch", 1: "length"} for n in names}
        axes["out"] = {0: "batch", 1: "length"} if mode == "infer" else {0: "batch"}
        with tempfile.TemporaryDirectory() as folder:
            plain, fused = folder + "/plain.onnx", folder + "/fused.onnx"
            torch.onnx.export(plain_wrapper(net, True), example, plain, input_names=names,
                              output_names=["out"], opset_version=17, dynamo=False,
                              dynamic_axes=axes)
            del net
            graph = optimizer.optimize_model(
                plain, model_type="bert", num_heads=config.num_attention_heads,
                hidden_size=config.hidden_size, opt_level=0, use_gpu=False)
            counts = graph.get_fused_operator_statistics()
            graph.save_model_to_file(fused)
            del graph
            several = threads > 1 and len(batches) > 1 and len(batches[0]) > 1
            for path, what in ((plain, "session's fusions"),
                               (fused, "BERT optimizer (%d attentions)" % counts["Attention"])):
                for lanes in (1, threads) if several else (1,):
                    options = onnxruntime.SessionOptions()
                    options.graph_optimization_level = \
                        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
                    options.intra_op_num_threads = threads if lanes == 1 else 1
                    session = onnxruntime.InferenceSession(path, options,
                                                           providers=["CPUExecutionProvider"])
                    side = ", %d runs side by side" % lanes if lanes > 1 else ""
                    candidates.append((what + side, self.runner(session, lanes)))
        self.checksum = mean_size(session.run(None, self.inputs[0])[0], batches[0])
        self.choose(candidates, len(batches))

    def runner(self, session, lanes):
        def one(i):
            session.run(None, self.inputs[i % len(self.inputs)])

        if lanes == 1:
            def run(first, count):
                for i in range(first, first + count):
                    one(i)
            return run
        pool = concurrent.futures.ThreadPoolExecutor(lanes)
        return lambda first, count: list(pool.map(one, range(first, first + count))) and None


def worker(side, mode, model, path, threads):
    """model.c's protocol. Whatever the libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    batches = read_batches(path)
    if mode == "train":
        it = TorchTraining(model, batches, threads, side == "torch-bf16")
    else:
        it = {"torch": TorchInference, "openvino": OpenVino, "onnxruntime": OnnxRuntime,
              "openvino-bf16": functools.partial(OpenVino, precision="bf16"),
              "torch-bf16": functools.partial(TorchInference, bf16=True),
              }[side](model, batches, threads, mode)
    print("ready %.9g %s" % (it.checksum, it.note), file=answers, flush=True)
    for line in sys.stdin:
        first, count = map(int, line.split())
        start = time.perf_counter()
        it.run(first, count)
        print("%.9f" % (time.perf_counter() - start), file=answers, flush=True)


# --------------------------------------------------------------------------------------------------
# The other end of a worker

class Failed(Exception):
    pass


class Side:
    """One process that is timed. name: ours, torch, openvino, onnxruntime; all but the last also
    with -bf16. Where bfloat16 is emulated, theirs is skipped: minutes a step on a Zen 3."""

    def __init__(self, bench, name, mode, model, path, threads=None):
        self.name, threads = name, threads or bench.threads
        package, bf16 = name.replace("-bf16", ""), name.endswith("-bf16")
        package = None if package == "ours" else package
        if bf16 and package and not bench.has_bf16():
            raise Failed("skipped: this processor emulates bfloat16")
        for needed in (package,) + (("torch", "transformers") if package else ()):
            if needed and importlib.util.find_spec(needed) is None:
                raise Failed("%s is not installed" % needed)
        if package is None:
            model = bench.exported(model) if model != BASE else model
            command = [bench.program("bench_model"), mode, model, path] + ["bf16"][:bf16]
        else:
            command = [sys.executable, os.path.abspath(__file__), "--worker", name, mode, model,
                       path, str(threads)]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env=dict(os.environ, OMP_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false"))
        answer = self.answer().split(None, 2)
        self.checksum, self.note = float(answer[1]), answer[2].strip() if len(answer) > 2 else ""

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            lines = self.log.read().strip().splitlines()
            raise Failed("%s failed with %s: %s" % (self.name, self.process.wait(),
                                                    lines[-1] if lines else "no message"))
        return line

    def run(self, first, count):
        try:
            self.process.stdin.write("%d %d\n" % (first, count))
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() says why
        return float(self.answer())

    def cpu(self):
        """Processor seconds used so far; None where /proc does not tell."""
        try:
            with open("/proc/%d/stat" % self.process.pid) as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self):
        """Most memory it ever had, MB. (ru_maxrss would count the parent's at the fork.)"""
        try:
            with open("/proc/%d/status" % self.process.pid) as f:
                return next(int(x.split()[1]) for x in f if x.startswith("VmHWM")) / 1024
        except OSError:
            raise Failed("no /proc to read peak memory from")

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


# --------------------------------------------------------------------------------------------------
# The measurements

AGAINST = {"torch": "PyTorch, fused AdamW", "torch-bf16": "PyTorch, bfloat16 autocast",
           "openvino": "OpenVINO", "openvino-bf16": "OpenVINO, bfloat16",
           "onnxruntime": "ONNX Runtime", "ours": "own float32"}


class Bench:
    def __init__(self, a, work):
        self.a, self.work, self.threads = a, work, a.threads
        self.rows, self.notes, self.idle, self.data = [], [], None, None
        self.appendix = ""

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    # ---- what is measured on

    def command(self, *command):
        done = subprocess.run([str(c) for c in command], cwd=ROOT, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit("%s failed:\n%s" % (" ".join(map(str, command)), done.stdout))
        return done.stdout

    def program(self, name):
        if self.a.programs:
            return os.path.join(os.path.abspath(self.a.programs), name)
        self.command("make", "-s", name)
        return os.path.join(ROOT, name)

    def classifier(self):
        """The model with a head for two classes, drawn at random, as Hugging Face saves it."""
        path = os.path.join(self.work, "classifier")
        if not os.path.exists(path):
            self.command(sys.executable, "-c", "import sys, torch, transformers as t\n"
                         "torch.manual_seed(0)\n"
                         "t.BertForSequenceClassification.from_pretrained(sys.argv[1], "
                         "num_labels=2).save_pretrained(sys.argv[2])\n"
                         "t.BertTokenizerFast.from_pretrained(sys.argv[1])"
                         ".save_pretrained(sys.argv[2])", self.a.model, path)
        return path

    def exported(self, model=None):
        classifier = model == os.path.join(self.work, "classifier")
        path = os.path.join(self.work, "classifier.bin" if classifier else "model.bin")
        if not os.path.exists(path):
            self.command(sys.executable, "dev/export_hf.py", "--task",
                         "classification" if classifier else "none", model or self.a.model, path)
        return path

    def sst2(self, which):
        """[(ids, label)] of train or dev: SST-2, or movie reviews where it is missing."""
        if self.data is None:
            sys.path.insert(0, os.path.join(HERE, "check"))
            from training import read_examples
            folder, self.data = os.path.abspath(self.a.sst2), {}
            self.data_name = "SST-2"
            if not os.path.exists(folder + "/train.tsv"):
                folder, self.data_name = ROOT + "/data/movie-reviews", "movie reviews"
                self.notes.append("%s has no train.tsv: measured on %s" % (self.a.sst2, folder))
            for name in ("train", "dev"):
                out = os.path.join(self.work, name + ".bin")
                self.command(sys.executable, "tokenizer.py", "classification",
                             "%s/%s.tsv" % (folder, name), out, "--model", self.exported(),
                             "--max_length", 128)
                self.data[name] = read_examples(out)
        return self.data[which]

    def training_batches(self, size):
        data = self.sst2("train")[:]
        random.Random(42).shuffle(data)
        batches = cut(data, size)[:max(1, len(data) // size)]
        return batches, every_token(data, batches)

    def file(self, batches, warm=()):
        path = os.path.join(self.work, "batches.%d" % len(os.listdir(self.work)))
        write_batches(path, batches, warm)
        return path

    # ---- timing

    def start(self, names, mode, model, path, threads=None):
        """The sides that start; the reasons of those that do not, by name."""
        sides, reasons = [], {}
        for name in names:
            try:
                sides.append(Side(self, name, mode, model, path, threads))
            except Failed as e:
                reasons[name] = str(e)
        return sides, reasons

    def one_round(self, order, jobs):
        """Seconds of each side, by its index; jobs: (first, count) by index."""
        took = {}
        for i, side in order:
            time.sleep(SETTLE)
            others = [s for j, s in order if j != i]
            before = [s.cpu() for s in others]
            start = time.perf_counter()
            took[i] = side.run(*jobs[i])
            spent = time.perf_counter() - start
            for s, b in zip(others, before):
                if b is not None and spent > 0.2:
                    self.idle = max(self.idle or 0.0, (s.cpu() - b) / spent)
        return took

    def rounds(self, sides, batches, whole=False):
        """For each side, the list of (seconds, steps, tokens) of its rounds. batches: one list for
        each side. whole: a round is all batches."""
        counts = []
        for side, own in zip(sides, batches):
            side.run(0, len(own) if whole else min(2, len(own)))  # warm up
            time.sleep(SETTLE)
            counts.append(max(1, int(self.a.seconds / side.run(0, 1))))
        count, results = min(counts), [[] for _ in sides]
        for r in range(self.a.rounds):
            order = list(enumerate(sides))
            order = order[r % len(order):] + order[:r % len(order)]
            jobs = [(0, len(own)) if whole else (2 + r * count, count) for own in batches]
            took = self.one_round(order, jobs)
            for i, own in enumerate(batches):
                results[i].append((took[i], jobs[i][1], count_tokens(own, *jobs[i])))
        return results

    def row(self, work, against, ours="", theirs="", ratio=None, target=None, less=False, why=""):
        met = "" if target is None or ratio is None else \
            "yes" if (ratio <= target if less else ratio >= target) else "**no**"
        wanted = "" if target is None else ("<= %.2f" if less else ">= %.2f") % target
        cells = [work, against, ours, theirs, why or "%.2f" % ratio, wanted, met]
        self.rows.append("| " + " | ".join(cells) + " |")
        self.say(self.rows[-1])

    @staticmethod
    def has_bf16():
        try:
            with open("/proc/cpuinfo") as f:
                return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", f.read()))
        except OSError:
            return True  # not Linux: it tries

    def versus(self, work, mode, model, batches, targets, unit="tokens/s", warm=(), whole=False,
               ours="ours"):
        """Rows of ours against every side of targets: {name: target, or None}."""
        self.say("%s ..." % work)
        path, me = self.file(batches, warm), ours
        sides, reasons = self.start([me] + list(targets), mode, model, path)
        try:
            if me in reasons:
                sys.exit(reasons[me])
            results = self.rounds(sides, [batches] * len(sides), whole)
        except Failed as e:  # in the middle
            for name in targets:
                self.row(work, AGAINST[name], why=str(e), target=targets[name])
            return
        finally:
            for side in sides:
                side.close()
        ours = dict(zip([s.name for s in sides], results))
        speeds = {name: statistics.median(
            {"steps/s": steps / seconds, "ms": 1000 * seconds / steps,
             "tokens/s": tokens / seconds}[unit] for seconds, steps, tokens in rounds)
            for name, rounds in ours.items()}
        show = "%%.%df %%s" % (0 if unit == "tokens/s" else 2)
        for name, target in targets.items():
            if name in reasons:
                self.row(work, AGAINST[name], why=reasons[name], target=target)
                continue
            ratio = statistics.median(t[0] / o[0] for t, o in zip(ours[name], ours[me]))
            against = AGAINST[name]
            if mode != "train" and me == "ours":
                against = against.split(",")[0]
            self.row(work, against, show % (speeds[me], unit), show % (speeds[name], unit),
                     ratio, target)
        for side in sides[1:]:
            if side.note:
                self.notes.append("%s: %s ran with %s" % (work, AGAINST[side.name], side.note))
            if mode != "train" and model != BASE and \
                    not abs(side.checksum - sides[0].checksum) <= (
                        1e-4 if me == "ours" else 1e-2) * sides[0].checksum:
                self.notes.append("%s: **%s computes something else**: mean size %g, ours %g" % (
                    work, AGAINST[side.name], side.checksum, sides[0].checksum))

    def ourselves(self, work, against, runs, target):
        """One row: the first of our two runs (mode, model, batches, warm, threads) against the
        second."""
        self.say("%s ..." % work)
        sides = []
        try:
            for mode, model, batches, warm, threads in runs:
                sides.append(Side(self, "ours", mode, model, self.file(batches, warm), threads))
            both = self.rounds(sides, [r[2] for r in runs])
        except Failed as e:
            return self.row(work, against, why=str(e), target=target)
        finally:
            for side in sides:
                side.close()
        speeds = [[tokens / seconds for seconds, _, tokens in rounds] for rounds in both]
        self.row(work, against, *("%.0f tokens/s" % statistics.median(s) for s in speeds),
                 ratio=statistics.median(x / y for x, y in zip(*speeds)), target=target)

    # ---- the rows of the table

    def finetune4(self):
        batches, warm = self.training_batches(4)
        self.versus("fine-tune MiniLM on %s, batch 4" % self.data_name, "train", self.a.model,
                    batches, {"torch": 4.0}, "steps/s", warm)

    def finetune32(self):
        batches, warm = self.training_batches(32)
        self.versus("fine-tune MiniLM on %s, batch 32" % self.data_name, "train", self.a.model,
                    batches, {"torch": 4.0}, warm=warm)

    def train_base(self):
        self.versus("train bert-base, 8 x 128", "train", BASE, random_batches(8, 128),
                    {"torch": 1.6})

    def train_minilm(self):
        self.versus("train MiniLM, 8 x 128", "train", self.a.model, random_batches(8, 128),
                    {"torch": None})

    # ---- with products in bfloat16

    def bf16_base(self):
        self.versus("train bert-base in bfloat16, 8 x 128", "train", BASE, random_batches(8, 128),
                    {"torch-bf16": 1.5, "ours": None}, ours="ours-bf16")

    def bf16_finetune32(self):
        batches, warm = self.training_batches(32)
        self.versus("fine-tune MiniLM in bfloat16 on %s, batch 32" % self.data_name, "train",
                    self.a.model, batches, {"torch-bf16": 2.5, "ours": None}, warm=warm,
                    ours="ours-bf16")

    def bf16_infer(self):
        for model, name in ((BASE, "bert-base"), (self.a.model, "MiniLM")):
            self.versus("inference %s in bfloat16, 8 x 128" % name, "infer", model,
                        random_batches(8, 128), {"openvino-bf16": 1.1, "torch-bf16": None,
                                                 "ours": None}, ours="ours-bf16")

    # ---- with all tokens' vectors as the result

    def infer_minilm(self):
        self.versus("inference MiniLM, 8 x 128", "infer", self.a.model, random_batches(8, 128),
                    {"openvino": 1.1, "onnxruntime": None, "torch": None})

    def infer_base(self):
        self.versus("inference bert-base, 8 x 128", "infer", BASE, random_batches(8, 128),
                    {"openvino": 1.1, "onnxruntime": None, "torch": None})

    def infer_mixed(self):
        batches = cut(self.sst2("dev"), 32)
        self.versus("inference MiniLM, %s dev, batch 32" % self.data_name, "infer", self.a.model,
                    batches, {"openvino": 2.2, "onnxruntime": 2.2, "torch": None}, whole=True)

    def sentence(self):
        self.versus("one sentence of 16 tokens, MiniLM", "infer", self.a.model,
                    random_batches(1, 16, 16), {"openvino": 1.2, "onnxruntime": None,
                                                "torch": None}, "ms")

    # ---- with logits as the result

    def classify_minilm(self):
        self.versus("classification MiniLM, 8 x 128", "classify", self.classifier(),
                    random_batches(8, 128), {"openvino": 1.1, "onnxruntime": None, "torch": None})

    def classify_base(self):
        self.versus("classification bert-base, 8 x 128", "classify", BASE, random_batches(8, 128),
                    {"openvino": 1.1, "onnxruntime": None, "torch": None})

    def classify_mixed(self):
        batches = cut(self.sst2("dev"), 32)
        self.versus("classification MiniLM, %s dev, batch 32" % self.data_name, "classify",
                    self.classifier(), batches,
                    {"openvino": 2.2, "onnxruntime": 2.2, "torch": None}, whole=True)

    # ---- memory, parts, and ourselves

    def memory(self):
        small, warm = self.training_batches(4)
        for work, model, batches, warm, target in (
                ("peak memory, fine-tuning MiniLM, batch 4", self.a.model, small[:40], warm, 1 / 3),
                ("peak memory, training bert-base, 4 x 128", BASE, random_batches(4, 128), (),
                 0.7)):
            self.say("%s ..." % work)
            peaks, path = [], self.file(batches, warm)
            steps = 3 if model == BASE else len(batches)
            try:
                for name in ("ours", "torch"):
                    side = Side(self, name, "train", model, path)
                    try:
                        side.run(0, steps)
                        peaks.append(side.peak())
                    finally:
                        side.close()
            except Failed as e:
                self.row(work, AGAINST["torch"], why=str(e), target=target, less=True)
                continue
            self.row(work, AGAINST["torch"], "%.0f MB" % peaks[0], "%.0f MB" % peaks[1],
                     peaks[0] / peaks[1], target, less=True)

    def matmul(self):
        """Runs bench_matmul, whose whole table goes under ours."""
        self.say("matmul ...")
        done = subprocess.run([self.program("bench_matmul"), "1" if self.a.quick else "5"],
                              stdout=subprocess.PIPE, text=True, check=True,
                              env=dict(os.environ, OMP_NUM_THREADS=str(self.threads)))
        self.appendix = done.stdout
        lines = {x.split("|")[1].strip(): x for x in done.stdout.splitlines() if x.startswith("|")}
        sizes = [int(x.split()[-1]) for x in lines["C x OC"].split("|")[3:-1]]
        means = [float(x) for x in lines["mean of all"].split("|")[3:-1]]
        for M, mean in zip(sizes, means):
            self.row("matmul, mean of all shapes, M = %d" % M, "measured FMA peak", ratio=mean,
                     target=0.85 if M >= 256 else 0.7 if M == 96 else None)

    def threads_row(self):
        if self.threads < 2:
            return self.row("two threads against one", "itself", why="there is one core",
                            target=1.85)
        four, warm4 = self.training_batches(4)
        many, warm32 = self.training_batches(32)
        full = random_batches(8, 128)
        for work, *run in (("fine-tune MiniLM, batch 4", "train", self.a.model, four, warm4),
                           ("fine-tune MiniLM, batch 32", "train", self.a.model, many, warm32),
                           ("train bert-base, 8 x 128", "train", BASE, full, ()),
                           ("inference MiniLM, 8 x 128", "infer", self.a.model, full, ()),
                           ("inference bert-base, 8 x 128", "infer", BASE, full, ())):
            self.ourselves("two threads: " + work, "itself, one thread",
                           [run + [2], run + [1]], 1.85)

    def lengths(self):
        short, long = random_batches(16, 128), random_batches(4, 512)
        for work, mode, model in (("train MiniLM", "train", self.a.model),
                                  ("inference MiniLM", "infer", self.a.model),
                                  ("train bert-base", "train", BASE),
                                  ("inference bert-base", "infer", BASE)):
            self.ourselves("%s, 4 x 512" % work, "itself, 16 x 128",
                           [(mode, model, x, (), None) for x in (long, short)], 0.85)

    def tokenizer(self):
        """Text to ids with offsets on one thread, line by line and in a batch. Theirs is called
        from Python, as its users do; ours takes its batch into one encoding that grows."""
        os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
        path = os.path.join(os.path.dirname(os.path.abspath(self.a.sst2)), "wikitext2/train.txt")
        if not os.path.exists(path):
            path = ROOT + "/data/movie-reviews/train.tsv"
        against, targets = "tokenizers (Rust)", (("line by line", 3.0), ("in a batch", 2.0))
        try:
            import tokenizers
        except ImportError:
            for how, target in targets:
                self.row("tokenizer, " + how, against, why="is not installed", target=target)
            return
        rust = tokenizers.Tokenizer.from_file(self.a.model + "/tokenizer.json")
        rust.no_truncation()
        rust.no_padding()
        with open(path, "rb") as f:
            data = f.read().rstrip(b"\n")
        lines = data.decode().split("\n")
        lib = ctypes.CDLL(self.program("bert_tokenizer.so"))
        lib.tok_load.restype, lib.tok_time.restype = ctypes.c_void_p, ctypes.c_double
        why, tokens = ctypes.create_string_buffer(512), ctypes.c_long()
        model = ctypes.c_void_p(lib.tok_load(self.exported().encode(), why))
        for how, target in targets:
            both = []
            for _ in range(self.a.rounds + 1):
                start = time.perf_counter()
                if target == 3.0:
                    count = sum(len(rust.encode(line)) for line in lines)
                else:
                    count = sum(map(len, rust.encode_batch(lines)))
                theirs, n = time.perf_counter() - start, 10
                mine = lib.tok_time(model, data, ctypes.c_size_t(len(data)), n, target == 2.0,
                                    ctypes.byref(tokens)) / n
                both.append((theirs / mine, mine, theirs))
            if tokens.value != n * count:
                self.notes.append("tokenizer: **other tokens**: %d, %d" % (tokens.value // n,
                                                                                  count))
            ratio, mine, theirs = map(statistics.median, zip(*both[1:]))  # the first warms up
            show = lambda seconds: "%.1f MB/s" % (len(data) / seconds / 1e6)
            self.row("tokenizer, %s, one thread" % how, against, show(mine), show(theirs), ratio,
                     target)

    # ---- what it was measured with

    def machine(self):
        cpu = platform.processor() or platform.machine()
        try:
            with open("/proc/cpuinfo") as f:
                cpu = next(x.split(":")[1].strip() for x in f if x.startswith("model name"))
        except (OSError, StopIteration):
            pass
        versions = []
        for package in ("torch", "transformers", "tokenizers", "openvino", "onnx", "onnxruntime"):
            try:
                versions.append("%s %s" % (package, importlib.metadata.version(package)))
            except importlib.metadata.PackageNotFoundError:
                versions.append("%s missing" % package)
        compiler = subprocess.run(["sh", "-c", "${CC:-cc} --version | head -1"], text=True,
                                  stdout=subprocess.PIPE).stdout.strip()
        commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()
        load = "%.2f" % os.getloadavg()[0]
        return "\n".join([
            "- %s, %d of %d cores used, load before the start %s" % (cpu, self.threads,
                                                                     os.cpu_count(), load),
            "- %s, %s, Python %s" % (platform.platform(), compiler, platform.python_version()),
            "- " + ", ".join(versions),
            "- bert.h %s; %s; %d rounds of about %g s for the slowest side, medians" % (
                commit or "outside git", time.strftime("%Y-%m-%d %H:%M"), self.a.rounds,
                self.a.seconds)])


CASES = {"finetune4": Bench.finetune4, "finetune32": Bench.finetune32,
         "train-base": Bench.train_base, "train-minilm": Bench.train_minilm,
         "bf16-base": Bench.bf16_base, "bf16-finetune32": Bench.bf16_finetune32,
         "bf16-infer": Bench.bf16_infer,
         "infer-minilm": Bench.infer_minilm, "infer-base": Bench.infer_base,
         "infer-mixed": Bench.infer_mixed, "sentence": Bench.sentence,
         "classify-minilm": Bench.classify_minilm, "classify-base": Bench.classify_base,
         "classify-mixed": Bench.classify_mixed, "memory": Bench.memory,
         "tokenizer": Bench.tokenizer, "matmul": Bench.matmul, "threads": Bench.threads_row,
         "lengths": Bench.lengths}


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--worker":
        return worker(*sys.argv[2:6], threads=int(sys.argv[6]))
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=ROOT + "/models/all-MiniLM-L6-v2", metavar="HF_DIR")
    p.add_argument("--sst2", default=ROOT + "/../shared/data/sst2", metavar="DIR",
                   help="train.tsv and dev.tsv; where missing: data/movie-reviews")
    p.add_argument("--only", action="append", choices=list(CASES), help="may be repeated")
    p.add_argument("--rounds", type=int, help="default 7")
    p.add_argument("--seconds", type=float, help="of a round of the slowest side, default 3")
    p.add_argument("--quick", action="store_true", help="2 short rounds: does it run at all?")
    p.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    p.add_argument("--programs", metavar="DIR", help="of bench_model and bench_matmul, where they "
                   "are built already; default: make")
    a = p.parse_args()
    a.rounds = a.rounds or (2 if a.quick else 7)
    a.seconds = a.seconds or (0.3 if a.quick else 3.0)
    a.model = os.path.abspath(a.model)
    if not os.path.exists(a.model + "/config.json"):
        p.error("%s has no config.json: dev/download.py fetches the model" % a.model)
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(a, work)
        machine = bench.machine()
        for name, case in CASES.items():
            if not a.only or name in a.only:
                case(bench)
    print(machine)
    if bench.idle is not None:
        print("- a side that was waiting used at most %.1f%% of a core" % (100 * bench.idle))
    print("\n| work | against | ours | theirs | ratio | target | met |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(bench.rows))
    if bench.notes:
        print("\n" + "\n".join("- " + note for note in bench.notes))
    if bench.appendix:
        print("\n" + bench.appendix.rstrip())


if __name__ == "__main__":
    main()
