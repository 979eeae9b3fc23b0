#!/usr/bin/env python3
"""Several processes of train_bert against one: make MPI=1, mpirun.

    python3 dev/check/ranks.py                     2, 3 and 4 ranks, every task
    python3 dev/check/ranks.py --quick             3 ranks, and of 2 and 4 less
    python3 dev/check/ranks.py --mpi mpich         with mpicc.mpich and mpirun.mpich

Losses of so many ranks are those of one process with their batches together, to 1e-5; the same
ranks twice give the same bits, over two network namespaces too, where this machine allows them;
what an evaluation finds is the same to the letter. A rank that fails, is killed or is told to stop
ends all. Standard library only. Ends with "N passed, N failed".
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import common
from common import check, finish, write

FIXTURES = os.path.join(common.DEV, "fixtures")
CONFIG = {"vocab_size": 300, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
          "intermediate_size": 40, "max_position_embeddings": 48, "type_vocab_size": 2}
WORDS = "a the film good dull dully is not one".split()
TASKS = ("classification", "multi", "regression", "ner", "qa", "mlm", "pretraining",
         "multiple_choice")
ITEMS = 37  # 12 or 8 at a time, one is left over: then there are ranks without a micro-batch
STEPS = 50

# ------------------------------------------------------------------------------------ small data

def sentence(draw, least=2, most=9):
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most)))


def question(draw, i):
    """A context that takes several windows, now and then."""
    context = sentence(draw, 4, 30)
    begin = draw.randrange(len(context.split()))
    words = context.split()
    answer = " ".join(words[begin:begin + 2])
    at = len(" ".join(words[:begin])) + (begin > 0)
    return {"id": str(i), "question": sentence(draw, 1, 3), "context": context,
            "answers": {"text": [answer], "answer_start": [at]}}


def text_of(task, seed, items):
    """(content, ending) of a text file of that task."""
    draw = random.Random(task + str(seed))
    lines = range(items)
    if task == "classification":
        return "".join("%s\t%s\n" % (sentence(draw), "xyz"[i % 3]) for i in lines), "tsv"
    if task == "multi":
        return "".join(json.dumps({"text": sentence(draw), "labels": draw.sample("xyz", i % 4)})
                       + "\n" for i in lines), "jsonl"
    if task == "regression":
        return "".join("%s\t%.3f\n" % (sentence(draw), draw.gauss(0, 1)) for i in lines), "tsv"
    if task == "ner":
        return "\n".join("".join("%s %s\n" % (word, draw.choice(("O", "B-X", "I-X")))
                                 for word in sentence(draw).split()) for i in lines), "conll"
    if task == "qa":
        return json.dumps({"data": [question(draw, i) for i in lines]}), "json"
    if task == "multiple_choice":
        return "".join(json.dumps({"text": sentence(draw), "label": draw.randrange(3), "choices": [
            sentence(draw) for _ in range(3)]}) + "\n" for i in lines), "jsonl"
    return "".join(sentence(draw, 3, 12) + "\n" + "\n" * (i % 4 == 3) for i in lines), "txt"


class Files:
    """A model without weights and data of every task."""

    def __init__(self, folder):
        self.folder = folder
        config = write(os.path.join(folder, "config.json"), CONFIG)
        self.model = os.path.join(folder, "scratch.bin")
        common.run("./dev/export_hf.py", "--config", config, "--tokenizer",
                   os.path.join(FIXTURES, "text.model.bin"), self.model)

    def data(self, task, name="train", seed=1, items=ITEMS):
        path = os.path.join(self.folder, "%s-%s.bin" % (task, name))
        if os.path.exists(path):
            return path
        text, ending = text_of(task, seed, items)
        source = write(os.path.join(self.folder, "%s-%s.%s" % (task, name, ending)), text)
        flags = {"qa": ["--max_length", 20, "--doc_stride", 6], "mlm": ["--line_by_line"]}
        if task in ("classification", "multi", "ner") and name != "train":
            flags[task] = ["--like", self.data(task)]
        common.run("./tokenizer.py", "classification" if task == "multi" else task, source, path,
                   "--model", self.model, *flags.get(task, ["--max_length", 24]))
        return path


# ---------------------------------------------------------------------------------------- programs

class Programs:
    """train_bert without MPI and with it, and dev/check/ranks.c, in a folder of their own."""

    def __init__(self, folder, mpi):
        self.mpi, self.folder = mpi, folder
        self.before, self.where = [], []  # of mpirun: which host it is on, and which there are
        compiler = shutil.which("mpicc." + mpi) or "mpicc"
        self.run_name = shutil.which("mpirun." + mpi) or "mpirun"
        flags = ["-std=c99", "-O1", "-w", "-ffp-contract=off", "-fno-math-errno",
                 "-fno-trapping-math", "-march=native", "-I" + common.ROOT]
        self.one, self.many, self.sums = (os.path.join(folder, name)
                                          for name in ("one", "many", "sums"))
        driver = os.path.join(common.ROOT, "train_bert.c")
        for cc, more, source, out in (("cc", [], driver, self.one),
                                      (compiler, ["-DBERT_MPI", "-pthread"], driver, self.many),
                                      (compiler, ["-pthread"], common.DEV + "/check/ranks.c",
                                       self.sums)):
            subprocess.run([cc] + flags + more + [source, "-o", out, "-lm"], check=True)

    def mpirun(self, *programs):
        """The command line of several programs, a rank each."""
        line = self.before + [self.run_name]
        if self.mpi == "openmpi":
            # two hosts of one machine would both be bound to its first core
            line += ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"] + self.where
        for i, program in enumerate(programs):
            line += ([":"] if i else []) + ["-np", "1"] + [str(x) for x in program]
        return line

    def start(self, *programs):
        env = dict(os.environ, OMP_NUM_THREADS="1", TMPDIR=self.folder)
        return subprocess.Popen(self.mpirun(*programs), stdout=subprocess.PIPE, env=env,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)

    def pids(self, count):
        """Of the ranks that run, in their order."""
        found = []
        for name in os.listdir("/proc"):
            try:
                if os.readlink("/proc/%s/exe" % name) == os.path.realpath(self.many):
                    found.append(int(name))
            except OSError:
                pass
        return sorted(found) if len(found) == count else []

    def ranks(self, count, *args):
        """(exit code, stdout, stderr) of so many ranks; 1: one process without MPI."""
        if count == 1:
            return common.attempt(self.one, *args, env=dict(os.environ, OMP_NUM_THREADS="1"))
        return self.several(*[[self.many, *args]] * count)

    def several(self, *programs):
        process = self.start(*programs)
        try:
            out, error = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            out, error = process.communicate()
            error += "ranks.py: five minutes were not enough"
        return process.returncode, out, error


def train_args(files, task, out, batch, *more):
    return ["train", "--model", files.model, "--train_file", files.data(task), "--eval_file",
            files.data(task, "dev", 2, 19), "--output_dir", out, "--logging_dir", out,
            "--per_device_train_batch_size", batch, "--per_device_eval_batch_size", 4,
            "--logging_steps", 1, "--max_steps", STEPS, "--learning_rate", 1e-3, "--seed", 7,
            "--overwrite_output_dir", *more]


def bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def far(x, y):
    return abs(x - y) / max(abs(x), abs(y), 1e-30)


def worst(one, many, key):
    """The largest relative difference of that number over two logs, and how many there were."""
    pairs = [(a[key], b[key]) for a, b in zip(one, many) if key in a]
    same = len(one) == len(many) and all((key in a) == (key in b) for a, b in zip(one, many))
    return (max(far(*pair) for pair in pairs) if same and pairs else float("inf")), len(pairs)


# ------------------------------------------------------------------------------------------ checks

def check_task(programs, files, task, counts, *more, name=""):
    """count ranks of 4 examples, and one process of count x 4."""
    for count in counts:
        one, many = (os.path.join(files.folder, which) for which in ("out-one", "out-many"))
        code1, said1, error1 = programs.ranks(1, *train_args(files, task, one, 4 * count, *more))
        code, said, error = programs.ranks(count, *train_args(files, task, many, 4, *more))
        what = "%s%s, %d ranks" % (task, name, count)
        if not check(what + " train", (code1, code) == (0, 0), (error1, error)):
            continue
        logs = common.read_log(one), common.read_log(many)
        loss, steps = worst(*logs, "loss")
        norm, _ = worst(*logs, "grad_norm")
        evaluated, times = worst(*logs, "eval_loss")
        check("%s: %d losses are one process's (%.1e, norms %.1e), %d evaluations (%.1e)" %
              (what, steps, loss, norm, times, evaluated),
              loss < 1e-5 and norm < 1e-4 and evaluated < 1e-5 and steps == STEPS and times > 2,
              (loss, norm, evaluated, steps, times))
        if count == counts[-1]:
            first = bytes_of(os.path.join(many, "model.bin")), logs[1]
            programs.ranks(count, *train_args(files, task, many, 4, *more))
            check(what + ": twice the same bits",
                  first[0] == bytes_of(os.path.join(many, "model.bin")) and
                  [row["loss"] for row in first[1] if "loss" in row] ==
                  [row["loss"] for row in common.read_log(many) if "loss" in row])
            evaluate = ["eval", "--model", os.path.join(many, "best.bin"), "--eval_file",
                        files.data(task, "dev", 2, 19), "--per_device_eval_batch_size", 4]
            alone, shared = programs.ranks(1, *evaluate), programs.ranks(count, *evaluate)
            check(what + ": eval is one process's to the letter",
                  alone[0] == 0 and alone[1] and alone[:2] == shared[:2], (alone, shared))


def check_resume(programs, files):
    """From a checkpoint of 3 ranks of 4: as many make the same bits, others the same batches."""
    whole = os.path.join(files.folder, "out-whole")

    def args(out, batch, *more):
        line = train_args(files, "mlm", out, batch, "--save_strategy", "steps", "--save_steps", 10)
        line.remove("--overwrite_output_dir")
        line[line.index("--max_steps") + 1] = 24
        return line + list(more)
    programs.ranks(3, *args(whole, 4))
    for count, batch in ((3, 4), (2, 6), (1, 12), (2, 4)):
        out = os.path.join(files.folder, "out-again-%d-%d" % (count, batch))
        shutil.copytree(whole, out)
        code, _, error = programs.ranks(count, *args(out, batch, "--resume_from_checkpoint",
                                                     os.path.join(out, "checkpoint-10")))
        what = "3 ranks of 4, resumed by %d of %d: " % (count, batch)
        if count * batch != 12:
            check(what + "refused", code == 1 and len(messages(error)) == 1 and
                  "per_device_train_batch_size" in error, error)
            continue
        loss, steps = worst(common.read_log(whole), common.read_log(out), "loss")
        same = bytes_of(os.path.join(out, "model.bin")) == bytes_of(
            os.path.join(whole, "model.bin"))
        check(what + ("the same bits" if count == 3 else "the same losses (%.1e)" % loss),
              code == 0 and steps == 24 and (same if count == 3 else loss < 1e-5),
              (code, error, loss, steps))


def check_sums(programs, counts):
    models = [os.path.join(FIXTURES, name + ".model.bin")
              for name in ("text", "mlm", "pretraining", "multiple_choice", "qa")]
    for count in counts:
        code, out, error = programs.several(*[[programs.sums, *models]] * count)
        check("dev/check/ranks.c, %d ranks" % count, code == 0 and "6 passed, 0 failed" in out,
              (out, error))


def messages(error):
    """train_bert's own lines, without what mpirun adds."""
    return [line for line in error.splitlines() if line.startswith("train_bert:")]


def one_message(programs, name, args, *parts, lines=1):
    """args: of each rank. They end with that message alone, and exit code 1."""
    start = time.time()
    code, _, error = programs.several(*[[programs.many, *a] for a in args])
    said = messages(error)
    good = code == 1 and len(said) == lines and all(part in said[0] for part in parts)
    check("%s: %s" % (name, said[0] if said else ""), good and time.time() - start < 60,
          (code, error))


def check_failures(programs, files):
    out = os.path.join(files.folder, "out-fails")
    good = train_args(files, "classification", out, 4)

    def other(*pairs, base=good):
        changed = list(base)
        for flag, value in pairs:
            changed[changed.index(flag) + 1] = value
        return changed
    bad = os.path.join(files.folder, "bad.bin")
    write(bad, bytes_of(files.data("classification"))[:-40])
    turned = files.data("classification", "turned", 3)
    drawn = os.path.join(files.folder, "drawn.bin")
    programs.ranks(1, *other(("--max_steps", 1)))
    shutil.move(os.path.join(out, "model.bin"), drawn)
    changed = bytearray(bytes_of(drawn))
    changed[1100] ^= 1  # a bit of wte
    other_model = write(os.path.join(files.folder, "other.bin"), bytes(changed))
    one_message(programs, "the same mistake of all is told once",
                [other(("--train_file", "/none.bin"))] * 3, "/none.bin")
    one_message(programs, "a flag that no rank takes", [good + ["--nonsense", "1"]] * 3, "nonsense")
    one_message(programs, "a file that rank 1 cannot read",
                [good, other(("--train_file", "/none.bin")), good], "rank 1, on ", "/none.bin")
    one_message(programs, "a damaged file of rank 1", [good, other(("--train_file", bad)), good],
                "rank 1, on ", bad)
    one_message(programs, "a damaged file of rank 2, for evaluation",
                [good, good, other(("--eval_file", bad))], "rank 2, on ", bad)
    one_message(programs, "another data file of rank 1",
                [good, other(("--train_file", turned)), good], "rank 1 has another data set")
    one_message(programs, "another model of rank 2",
                [other(("--model", drawn))] * 2 +
                [other(("--model", other_model))], "rank 2 has another model")
    write(os.path.join(files.folder, "file"), "")
    one_message(programs, "a folder that rank 0 cannot make",
                [other(("--output_dir", os.path.join(files.folder, "file", "out")))] * 3,
                "--output_dir")
    one_message(programs, "a loss that is no number",
                [other(("--learning_rate", "1e38"))] * 3, "training cannot go on", lines=3)
    one_message(programs, "predict", [["predict", "--model", drawn]] * 2, "one process's work")
    one_message(programs, "several seeds", [good[:-3] + ["--seeds", "1,2"]] * 3,
                "--seeds is one process's work")
    never = os.path.join(files.folder, "out-never")
    code, out, error = programs.ranks(3, *other(("--output_dir", never), ("--logging_dir", never)),
                                      "--dry_run")
    check("a dry run writes nothing", code == 0 and "memory  " in out and "speed  " in out and
          not os.path.exists(never), (code, out, error))


def stopped(programs, files, name, number, rank, where=()):
    """Signal number, sent to mpirun (rank None) or a rank in the midst of a training of 3."""
    out = os.path.join(files.folder, "out-" + name.replace(" ", "-"))
    model = os.path.join(out, "model.bin")
    args = ["train", "--model", files.model, "--train_file", files.data("classification"),
            "--per_device_train_batch_size", 4, "--max_steps", 10 ** 6, "--output_dir", out]
    programs.where = list(where)
    process = programs.start(*[[programs.many, *args]] * 3)
    programs.where = []
    pids = []
    for _ in range(300):
        if os.path.exists(model) and pids:
            break
        time.sleep(0.1)
        pids = programs.pids(3)
    if pids:
        os.kill(process.pid if rank is None else pids[rank], number)
    try:
        _, error = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        return check(name, False, "it does not end")
    time.sleep(0.2)
    evaluate = ["eval", "--model", model, "--eval_file", files.data("classification")]
    good = pids and process.returncode and not programs.pids(3)
    good = good and programs.ranks(1, *evaluate)[0] == 0
    said = messages(error)
    if number != signal.SIGKILL:
        good = good and len(said) == 1 and "model.bin is the model after step" in said[0]
        good = good and error.count("    mpirun -np 3 %s train " % programs.many) == 1
    return check("%s: model.bin is whole; %s" % (name, " ".join(said)), good,
                 (process.returncode, error, os.listdir(out)))


def check_signals(programs, files):
    stopped(programs, files, "rank 0 is killed", signal.SIGKILL, 0)
    stopped(programs, files, "rank 2 is killed", signal.SIGKILL, 2)
    stopped(programs, files, "SIGTERM to rank 1", signal.SIGTERM, 1)
    stopped(programs, files, "SIGINT to rank 0", signal.SIGINT, 0)
    if programs.mpi == "openmpi":
        stopped(programs, files, "SIGUSR1 to mpirun", signal.SIGUSR1, None)
    # OpenMPI's sends SIGKILL a second later, unless told otherwise. Meanwhile it reads no output: a
    # rank that writes more than a pipe holds waits for it.
    stopped(programs, files, "SIGTERM to mpirun", signal.SIGTERM, None,
            ["--mca", "odls_base_sigkill_timeout", "3"] if programs.mpi == "openmpi" else [])


# --------------------------------------------------------------------------------------- two hosts

class Hosts:
    """Two network namespaces, a link of so many Gbit/s between them (None: as fast as it is)."""

    def __init__(self, folder, gbit=None):
        self.names = ["ranks-%d-%d" % (os.getpid(), i) for i in range(2)]
        self.agent = write(os.path.join(folder, "agent"), "#!/bin/sh\nshift\nexec ip netns exec "
                           "{0} unshare -u sh -c \"hostname {0}; $*\"\n".format(self.names[1]))
        os.chmod(self.agent, 0o755)
        self.refused = self.make(gbit)

    def make(self, gbit):
        a, b = self.names
        lines = ["ip netns add " + a, "ip netns add " + b,
                 "ip link add rk0 netns %s type veth peer name rk1 netns %s" % (a, b)]
        for name, link, address in ((a, "rk0", "10.77.0.1/24"), (b, "rk1", "10.77.0.2/24")):
            lines += ["ip -n %s addr add %s dev %s" % (name, address, link),
                      "ip -n %s link set lo up" % name, "ip -n %s link set %s up" % (name, link)]
            if gbit:
                lines.append("ip netns exec %s tc qdisc add dev %s root tbf rate %dmbit burst 1mb "
                             "latency 100ms" % (name, link, 1000 * gbit))
        lines.append("unshare -u true")
        for line in lines:
            try:
                done = subprocess.run(line.split(), stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True)
            except OSError as error:
                return "%s: %s" % (line, error)
            if done.returncode:
                return "%s: %s" % (line, done.stdout.strip())
        return None

    def use(self, programs):
        """mpirun runs on the first, and a rank on each."""
        programs.before = ["ip", "netns", "exec", self.names[0], "unshare", "-u", "sh", "-c",
                           "hostname %s; exec \"$@\"" % self.names[0], "sh"]
        net = ["10.77.0.0/24"]
        programs.where = ["--mca", "plm_rsh_agent", self.agent, "--host", "10.77.0.1,10.77.0.2",
                          "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include"] + net + [
                              "--mca", "oob_tcp_if_include"] + net

    def close(self, programs):
        programs.before, programs.where = [], []
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def check_hosts(programs, files):
    """The bits of two ranks on one host."""
    hosts = Hosts(files.folder)
    if hosts.refused:
        print("skipped  two hosts: " + hosts.refused)
        return hosts.close(programs)
    models = []
    for apart in 0, 1:
        out = os.path.join(files.folder, "out-hosts")
        if apart:
            hosts.use(programs)
        args = train_args(files, "mlm", out, 4)
        code, _, error = programs.ranks(2, *args)
        models.append(code == 0 and bytes_of(os.path.join(out, "model.bin")))
    check("two network namespaces: the bits of one host", models[0] and models[0] == models[1],
          (code, error))
    one_message(programs, "two hosts, a file that rank 1 cannot read",
                [args, args[:3] + ["--train_file", "/none.bin"] + args[5:]],
                "rank 1, on %s: " % hosts.names[1], "/none.bin")
    return hosts.close(programs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--mpi", choices=("openmpi", "mpich"), default="openmpi")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files, programs = Files(folder), Programs(folder, args.mpi)
        for task in TASKS:
            check_task(programs, files, task, [2, 3, 4] if not args.quick else [3])
        check_task(programs, files, "mlm", [3], "--gradient_accumulation_steps", 2,
                   name=", two batches a step")
        check_task(programs, files, "ner", [3], "--freeze_layers", 1, "--freeze_embeddings",
                   name=", frozen below")
        check_sums(programs, [1, 2, 3, 4] if not args.quick else [3])
        check_resume(programs, files)
        check_failures(programs, files)
        check_signals(programs, files)
        if args.mpi == "openmpi":
            check_hosts(programs, files)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
