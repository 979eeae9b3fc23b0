#!/usr/bin/env python3
"""PyTorch and transformers take nine seconds to load. Here they are loaded once, and each check
runs in a fork of that process, with its own arguments, environment, output and exit code.

    dev/check/warm.py --serve SOCKET &          loads them, then waits on that socket
    dev/check/warm.py SOCKET CHECK.py ARGS...   as `python3 CHECK.py ARGS...`, in a fork of that
                                                process, or where none is there, in a new one

--serve runs till it is killed, and with its process group, which is its own, all its checks.
OMP_NUM_THREADS is the one variable that is taken from its environment, not from the check's.
"""
import array
import json
import os
import signal
import socket
import sys
import time


def send(to, request):
    """The request and this process's standard input, output and error."""
    data = json.dumps(request).encode()
    to.sendmsg([len(data).to_bytes(8, "little")],
               [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    to.sendall(data)


def receive(connection):
    fds = array.array("i")
    size, more, _, _ = connection.recvmsg(8, socket.CMSG_SPACE(3 * fds.itemsize))
    for _, _, data in more:
        fds.frombytes(data[:3 * fds.itemsize])
    left, data = int.from_bytes(size, "little"), b""
    while len(data) < left:
        data += connection.recv(left - len(data))
    return json.loads(data), list(fds)


def run(request, fds):
    """The check, in this process. Its exit code."""
    import atexit
    import runpy
    import traceback
    for to, fd in enumerate(fds):
        os.dup2(fd, to)
        os.close(fd)
    for name, fd in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
        if code == 1 and not isinstance(e.code, int):
            print(e.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def serve(path):
    os.setpgid(0, 0)
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    import torch  # what the checks import
    import transformers
    import transformers.trainer_pt_utils
    from transformers import pipeline
    for name in dir(transformers):
        if name.startswith("Bert") or name in ("AutoTokenizer", "AutoModel"):
            getattr(transformers, name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(64)
    os.rename(path + ".new", path)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            code = run(*receive(connection))
            connection.sendall(bytes([code & 255]))
            os._exit(code)
        connection.close()


def ask(path, arguments):
    connection = socket.socket(socket.AF_UNIX)
    for _ in range(600):  # it may still be loading
        if connection.connect_ex(path) == 0:
            break
        time.sleep(0.1)
    else:
        os.execv(sys.executable, [sys.executable] + arguments)
    send(connection, dict(arguments=arguments, folder=os.getcwd(), environment=dict(os.environ)))
    code = connection.recv(1)
    return code[0] if code else "warm.py: %s died" % arguments[0]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
