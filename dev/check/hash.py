#!/usr/bin/env python3
"""One hash: dev/test/bits.c, built by every compiler and for every processor that is here, has to
train the fixtures to the parameters whose hashes dev/fixtures/hashes.txt and hashes.bf16.txt have.

    python3 dev/check/hash.py           all of it, a table
    python3 dev/check/hash.py --quick   a build for each thing that could differ

Standard library only. What is not installed (clang, musl-gcc, aarch64-linux-gnu-gcc, qemu-aarch64)
or not in this processor is skipped, and says so. Ends with "N passed, N failed".
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

from common import ROOT, count, finish

BASE = ["-std=c99", "-w", "-fno-math-errno", "-fno-trapping-math", "-pthread", "-I" + ROOT]
OFF = "-ffp-contract=off"
V3, NATIVE = "-march=x86-64-v3", "-march=native"
# What changes the order of sums has to be refused: by the compiler, or when a model is loaded.
FAST = (["-O2", "-ffast-math"], ["-O2", "-ffinite-math-only"],
        ["-O2", "-funsafe-math-optimizations"], ["-O2", "-fassociative-math", "-fno-signed-zeros"])
SLOW = ("awkward", "mlm", "qa", "ner")  # what an emulated processor trains with --quick


def builds(quick):
    """(compiler, flags, threads of OpenMP or 0) of each build, in the table's order."""
    if quick:
        yield "gcc", ["-O3", NATIVE, OFF], 3
        yield "gcc", ["-O2", V3, "-ffp-contract=fast"], 0
        yield "clang", ["-O3", V3, "-ffp-contract=fast"], 0
        yield "gcc", ["-O3", V3, OFF, "-DBERT_NO_SIMD"], 0
        yield "musl-gcc", ["-O2", V3, OFF, "-static"], 0
        yield "aarch64-linux-gnu-gcc", ["-O2", OFF, "-static"], 0
        return
    for cc in ("gcc", "clang"):
        for level in ("-O1", "-O2", "-O3", "-Os"):
            for arch in ([V3], [NATIVE], [NATIVE, "-mprefer-vector-width=256"]):
                yield cc, [level] + arch + [OFF], 0
        yield cc, ["-O0", V3, OFF], 0
        for arch in (V3, NATIVE):
            for level in ("-O2", "-O3"):
                yield cc, [level, arch, "-ffp-contract=fast"], 0
            yield cc, ["-O3", arch], 0  # the compiler's own choice
            yield cc, ["-O3", arch, OFF, "-DBERT_NO_SIMD"], 0
        yield cc, ["-O3", V3, "-ffp-contract=fast", "-DBERT_NO_SIMD"], 0
        yield cc, ["-O3", V3, OFF, "-flto"], 0
        yield cc, ["-O3", V3, OFF, "-mtune=znver3"], 0
    yield "gcc", ["-O3", V3, "-ffp-contract=fast", "-mtune=znver3"], 0
    for threads in range(1, 9):
        yield "gcc", ["-O3", NATIVE, OFF], threads
    for cc in ("clang-19", "clang-16"):
        yield cc, ["-O3", NATIVE, "-ffp-contract=fast"], 0
    for level in ("-O2", "-O3"):
        yield "musl-gcc", [level, V3, OFF, "-static"], 0
    for flags in (["-O3", OFF], ["-O2", "-ffp-contract=fast"], ["-O2", OFF, "-DBERT_NO_SIMD"]):
        yield "aarch64-linux-gnu-gcc", flags + ["-static"], 0


def read_hashes(text):
    return dict(line.split() for line in text.splitlines() if line.strip())


def refused(folder, cc, flags):
    """"refused", or what happened instead."""
    program = os.path.join(folder, "fast")
    source = os.path.join(ROOT, "dev", "test", "bits.c")
    made = subprocess.run([cc] + BASE + [V3] + flags + [source, "-o", program, "-lm"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        return "refused" if "bert.h: not with" in made.stdout else "does not build"
    ran = subprocess.run([program, "--print", "awkward"], cwd=ROOT, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
    return "refused" if "bert.h was compiled with" in ran.stdout else "taken"


def check(folder, want, cc, flags, threads, names):
    """"same", what differs, or why this build is skipped."""
    program = os.path.join(folder, "bits")
    runner = []
    if not shutil.which(cc):
        return "skipped: not installed"
    if cc.startswith("aarch64"):
        runner = [shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static") or ""]
        if not runner[0]:
            return "skipped: no qemu-aarch64"
    openmp = ["-fopenmp"] if threads else []
    source = os.path.join(ROOT, "dev", "test", "bits.c")
    made = subprocess.run([cc] + BASE + flags + openmp + [source, "-o", program, "-lm"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        return "does not build: " + made.stdout.strip().splitlines()[-1]
    ran = subprocess.run(runner + [program, "--print"] + names, cwd=ROOT, stdout=subprocess.PIPE,
                         text=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads or 1)))
    got = read_hashes(ran.stdout)
    if ran.returncode:
        return "exit code %d" % ran.returncode
    other = [name for name in (names or want) if got.get(name) != want[name]]
    return "other bits: " + " ".join(other) if other else "same"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    want = {}
    for name in ("hashes.txt", "hashes.bf16.txt"):
        with open(os.path.join(ROOT, "dev", "fixtures", name), encoding="ascii") as f:
            want.update(read_hashes(f.read()))
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
        cpu = f.read()
    if os.uname().machine != "x86_64" or " fma " not in cpu:
        print("skipped: this table is for x86-64 with fused multiply-adds\n0 passed, 0 failed")
        return 0
    print("| compiler | flags | threads | %d fixtures, 20 steps |\n|---|---|---|---|" % len(want))
    with tempfile.TemporaryDirectory() as folder:
        for cc, flags, threads in builds(args.quick):
            names = list(SLOW) if args.quick and cc.startswith("aarch64") else []
            result = check(folder, want, cc, flags, threads, names)
            if not result.startswith("skipped"):
                count(result == "same")
            print("| %s | %s | %s | %s |" % (cc, " ".join(flags), threads or "none", result))
            sys.stdout.flush()
        for cc in ("gcc", "clang"):
            for flags in FAST if shutil.which(cc) else ():
                result = refused(folder, cc, flags)
                count(result == "refused")
                print("| %s | %s | none | %s |" % (cc, " ".join(flags), result))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
