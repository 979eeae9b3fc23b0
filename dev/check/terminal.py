#!/usr/bin/env python3
"""Nothing that train_bert writes on a terminal wraps, whatever its columns, resized or not.

    make && python3 dev/check/terminal.py

A pseudo-terminal's bytes go through a small model of a screen; where tmux is installed, the same is
looked at there. Python's standard library is all it takes. Ends with "N passed, N failed".
"""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
import unicodedata

import common
from common import ROOT, finish, write, wrong

DRIVER = os.path.join(ROOT, "train_bert")
WIDE = "\u8a13\u7df4\u8cc7\u6599\u4e00\u4e8c\u4e09\u56db\u4e94\u516d\u4e03\u516b"


def columns(letter):
    if unicodedata.category(letter) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


class Screen:
    """A terminal that knows text, \\r, \\n, ESC [ J; notes letters beyond its last column."""

    def __init__(self, width):
        self.width, self.at, self.line, self.rest = width, 0, "", b""
        self.lines, self.wrapped, self.dirty = [], [], False

    def resize(self, width):
        self.width = width
        self.dirty = bool(self.line)  # a line that may be wider now: to be cleared before all else

    def feed(self, data):
        data = self.rest + data
        text = data.decode("utf-8", "ignore")
        self.rest = data[len(text.encode()):] if len(data) - len(text.encode()) < 4 else b""
        for piece in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]", text):
            if piece == "\r":
                self.at = 0
            elif piece == "\n":
                self.lines.append(self.line)
                self.at, self.line = 0, ""
            elif piece == "\x1b[J":
                self.line, self.dirty = self.line[:self.at], False
            elif len(piece) == 1:
                if self.dirty and self.line:
                    self.wrapped.append("written over what the resize had wrapped: " + self.line)
                    self.dirty = False
                if self.at == 0:
                    self.line = ""
                self.at += columns(piece)
                self.line += piece
                if self.at > self.width:
                    if " " in self.line.strip():  # one word can be longer than a line
                        self.wrapped.append("%d columns: %s" % (self.width, self.line))
                    self.at, self.line = columns(piece), piece


def check_tables():
    """The ranges of dev/driver/columns.h, where this Python knows the code point."""
    with open(os.path.join(ROOT, "dev", "driver", "columns.h"), encoding="utf-8") as f:
        tables = [re.findall(r"\{(0x\w+), (0x\w+)\}", part)
                  for part in re.split(r"two_columns\[\]\[2\]", f.read())]
    width = {}
    for of_table, table in zip((0, 2), tables):
        for low, high in table:
            width.update(dict.fromkeys(range(int(low, 16), int(high, 16) + 1), of_table))
    others = []
    for c in range(0x110000):
        letter = chr(c)
        if unicodedata.category(letter) in ("Cn", "Cs", "Co", "Cc"):
            continue
        joins = 0x1160 <= c <= 0x11FF or 0xD7B0 <= c <= 0xD7FF  # Hangul
        right = 0 if joins else 1 if c == 0xAD else columns(letter)
        if right != width.get(c, 1):
            others.append("U+%04X: %d, not %d" % (c, width.get(c, 1), right))
    wrong("columns of all code points of Unicode %s" % unicodedata.unidata_version,
          others[:3] or len(width) < 100000)


def run(arguments, width, resizes=(), seconds=20, environment=None):
    """The screen after a command on a terminal; resizes: (second, width)."""
    screen = Screen(width)
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(environment or {"TERM": "xterm", "OMP_NUM_THREADS": "1"})
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background ignores it
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        os.execv(DRIVER, [DRIVER] + arguments)
    start, waiting, live = time.time(), list(resizes), set()
    while time.time() - start < seconds:
        if waiting and time.time() - start >= waiting[0][0]:
            width = waiting.pop(0)[1]
            while select.select([fd], [], [], 0)[0]:  # what was written before
                screen.feed(os.read(fd, 65536))
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            screen.resize(width)
            if not waiting:
                seconds = time.time() - start + 1
        if select.select([fd], [], [], 0.05)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:  # the other side is closed
                break
            screen.feed(data)
            live.add(screen.line)
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        pass
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        screen.feed(data)
    os.waitpid(pid, 0)
    os.close(fd)
    screen.live = sorted(line for line in live if "[" in line and "left" in line)
    return screen


def make_files(folder):
    """A tiny model from nothing, and data with two labels, the names of which are wide."""
    model = os.path.join(ROOT, "dev", "fixtures", "text.model.bin")
    text = os.path.join(folder, "train.tsv")
    words = "good film bad dull story actor not the a is was very".split()
    with open(text, "w", encoding="utf-8") as f:
        for i in range(300):
            line = " ".join(words[(i * 7 + j * (3 + i % 5)) % 12] for j in range(3 + i % 9))
            f.write("%s\t%s\n" % (line, (WIDE[:5], "cafe\u0301 \"x\"")[i % 2]))
    data = os.path.join(folder, WIDE + ".bin")
    config, scratch = os.path.join(folder, "config.json"), os.path.join(folder, "scratch.bin")
    write(config, {"vocab_size": 37, "hidden_size": 12, "num_hidden_layers": 2,
                   "hidden_act": "gelu", "num_attention_heads": 2, "intermediate_size": 19,
                   "type_vocab_size": 2, "max_position_embeddings": 17})
    common.run("./tokenizer.py", "classification", text, data, "--model", model)
    common.run("./dev/export_hf.py", "--config", config, "--tokenizer", model, scratch)
    return ["--model", scratch, "--train_file", data], data


def check_pty(folder, train, long_run):
    for width in 40, 60, 80, 200:
        screen = run(long_run, width, seconds=1.5)
        wrong("%d columns: nothing wraps" % width, screen.wrapped[:1])
        wrong("%d columns: a bar, time left and, where there is room, speed" % width,
              not any(re.match(r"\d+/\d+ \[[=> ]+\] +[\d:]+ left" + (" +\\d+ tok/s" * (width > 40)),
                               line) for line in screen.live) and screen.live[-3:])
        if width >= 80:
            wrong("%d columns: the loss too" % width,
                  not any("loss" in line for line in screen.live) and screen.live[-3:])
        screen = run(train, width)
        wrong("%d columns: a whole run with its reports" % width,
              screen.wrapped[:1] or not any("steps in" in line for line in screen.lines)
              and screen.lines)
    for widths in (80, 40, 200), (200, 60, 40), (40, 20, 80), (80, 5, 1, 80):
        screen = run(long_run, widths[0],
                     [(0.8 + 0.5 * i, width) for i, width in enumerate(widths[1:])])
        wrong("resized while training: %s" % (widths,),
              screen.wrapped[:1] if min(widths) >= 20 else not screen.live)
    table = [line for line in run(train, 200).lines if re.search(r" 0\.\d+     [01]\.", line)]
    starts = {sum(map(columns, line[:line.index("0.")])) for line in table}
    wrong("the table's columns stand under each other",
          (len(starts) != 1 or len(table) != 2) and table)
    for kind in "dumb", "":
        screen = run(train, 80, environment={"TERM": kind, "OMP_NUM_THREADS": "1"})
        wrong("TERM=%r: no live line" % kind, screen.live[:1] or screen.wrapped[:1])
    for command in [["help", "train"], ["--help"], ["train", "--learning_rat", "1"]]:
        wrong("%s: nothing wraps" % " ".join(command), run(command, 40).wrapped[:1])


def tmux(*arguments):
    return common.run("tmux", "-L", "bert%d" % os.getpid(), "-f", "/dev/null", *arguments)


def check_tmux(folder, long_run):
    """tmux breaks lines anew when it is resized, as many terminals do."""
    script = os.path.join(folder, "run.sh")
    with open(script, "w", encoding="utf-8") as f:
        f.write("export OMP_NUM_THREADS=1\nclear\n'%s' %s\n"
                % (DRIVER, " ".join("'%s'" % argument for argument in long_run)))
    try:
        tmux("-u", "new-session", "-d", "-x", "80", "-y", "24", "sh '%s'" % script)
        time.sleep(1.2)
        for width in 80, 60, 40, 80, 200, 40:
            tmux("resize-window", "-x", str(width), "-y", "24")
            time.sleep(0.7)
            lines = tmux("capture-pane", "-p").rstrip().split("\n")
            live = [line for line in lines if "left" in line]
            wrong("tmux at %d columns: one live line, the last" % width,
                  (live != lines[-1:] or not re.match(r"\d+/\d+ \[", live[0])) and lines[-4:])
    finally:
        tmux("kill-server")


def main():
    check_tables()
    with tempfile.TemporaryDirectory(prefix="terminal.") as folder:
        flags, data = make_files(folder)
        run_flags = ["train"] + flags + [
            "--output_dir", os.path.join(folder, "out"), "--per_device_train_batch_size", "4"]
        train = run_flags + ["--max_steps", "200", "--logging_steps", "50", "--eval_file", data]
        long_run = run_flags + ["--max_steps", "2000000", "--logging_steps", "1000000"]
        check_pty(folder, train, long_run)
        if shutil.which("tmux"):
            check_tmux(folder, long_run)
        else:
            print("skipped: tmux is not installed")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
