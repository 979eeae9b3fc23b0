#!/usr/bin/env python3
"""train_bert inspect against Hugging Face: the numbers of its page, and the page in a browser.

    python dev/check/inside.py models/all-MiniLM-L6-v2

The data is taken out of the HTML. Attention, norms of the hidden states, cosines, predictions and
saliency are compared with eager attention and autograd in float64, to 1e-5: MiniLM with a random
head for each task, and a fixture. Texts that might break a page: </script>, quotes, Chinese,
[MASK], no text, one that is too long. Chromium, where it is there, opens the page: no error, no
request; a click and the arrow keys change the head. --page: only that; --picture FILE keeps a
screenshot.
"""
import copy
import json
import os
import re
import sys
import tempfile

import numpy as np
import torch
import transformers

from browser import Browser, find_browser
from common import ROOT, attempt, check, finish, none, run, wrong, write
from pipelines import LABELS, model_of, named

EAGER = dict(attn_implementation="eager")
TEXT = "Wolfgang from Berlin did not think that the film was at all dull."
NASTY = "</script><script>alert(1)</script> <!-- \"quoted\" 'it' \\ \u4e2d\u6587 caf\u00e9 " \
        "\U0001f600 [MASK] & &amp; \u2028 end"
DIGITS = {c: i for i, c in enumerate(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}


def data_of(page):
    """The numbers of a page, as a browser finds them: up to the first </script>."""
    return json.loads(page.split("<script type='application/json' id='data'>")[1]
                      .split("</script>")[0])


def attention_of(d):
    T = len(d["tokens"])
    x = np.array([[DIGITS[c] for c in head] for head in d["attention"]])
    x = x.reshape(d["layers"], d["heads"], T, T, 3) @ np.array([4096, 64, 1])
    return x / 262143


def inspect(model, text, folder, *flags):
    path = os.path.join(folder, "page.html")
    out = run("./train_bert", "inspect", "--model", model, "--output_file", path, *flags, text)
    with open(path, encoding="utf-8") as f:
        page = f.read()
    return data_of(page), page, out


def apart(mine, theirs, least=1.0):
    """The largest difference, as a share of the largest number where that is above least."""
    mine, theirs = np.asarray(mine, float), np.asarray(theirs, float)
    if mine.shape != theirs.shape:
        return float("inf")
    return float(np.abs(mine - theirs).max() / max(least, np.abs(theirs).max()))


def forward(model, ids, types):
    """Outputs, and the word embeddings that they were made of."""
    words = model.get_input_embeddings()(torch.tensor([ids])).detach().requires_grad_()
    return model(inputs_embeds=words, token_type_ids=torch.tensor([types]),
                 output_attentions=True, output_hidden_states=True), words


def target(task, out, of, names):
    """The y that saliency is of, from what the page calls it."""
    numbers = [int(x) for x in re.findall(r"token (\d+)", of) + re.findall(r" to (\d+)$", of)]
    if task == "qa":
        begin, end = numbers
        return out.start_logits[0].log_softmax(0)[begin] + out.end_logits[0].log_softmax(0)[end]
    x = out.logits[0]
    if task in ("ner", "mlm"):
        t = list(range(numbers[0], numbers[-1] + 1))
        return x[t].log_softmax(1).max(1).values.sum()
    if task == "regression":
        return x[0]
    k = names.index(of[len("log p("):-1])
    return torch.nn.functional.logsigmoid(x[k]) if task == "multi" else x.log_softmax(0)[k]


def saliency(task, out, words, of, names):
    grad, = torch.autograd.grad(target(task, out, of, names), words, retain_graph=True)
    return (grad * words)[0].sum(-1).detach().numpy()


def words_differ(mine, theirs, vocabulary, n):
    """Lists of words and their values against all values; equal ones may change places. V may
    exceed the vocabulary: #36 is an id."""
    best = np.sort(theirs)[::-1][:n]
    return len(mine) != n or apart([v for _, v in mine], best) > 1e-5 or \
        apart([theirs[vocabulary[w] if w in vocabulary else int(w[1:])] for w, _ in mine],
              best) > 1e-5


def compare(name, task, model, tokenizer, exported, folder, text, pair=None, flags=(), names=()):
    line = text if pair is None else "%s\t%s" % (text, pair)
    d, page, _ = inspect(exported, line, folder, *flags)
    compare_data(name, task, model, tokenizer, d, text, pair, names)
    return d, page


def compare_data(what, task, model, tokenizer, d, text, pair, names):
    single, model = model, copy.deepcopy(model).double()
    ids = tokenizer(text, pair, truncation=True, max_length=128)
    vocabulary = tokenizer.get_vocab()
    problem = []
    if d["ids"] != ids.input_ids or d["types"] != ids.token_type_ids:
        problem.append("tokens %s" % d["ids"])
        return wrong(what, problem)
    if d["tokens"] != tokenizer.convert_ids_to_tokens(d["ids"]):
        problem.append("pieces %s" % d["tokens"])
    spans = tokenizer(text, pair, truncation=True, max_length=128, return_offsets_mapping=True)
    unknown = {str(t): (text, pair)[ids.token_type_ids[t]][a:b] for t, (a, b) in enumerate(
        spans.offset_mapping) if d["ids"][t] == tokenizer.unk_token_id}
    if d["unknown"] != unknown:
        problem.append("unknown %s, not %s" % (d["unknown"], unknown))
    out, words = forward(model, d["ids"], d["types"])
    far = {"attention": apart(attention_of(d), torch.cat(out.attentions).detach()),
           "norms": apart(d["norms"], torch.cat(out.hidden_states).norm(dim=-1).detach())}
    table = model.get_input_embeddings().weight.detach()
    cosine = torch.nn.functional.normalize(words[0].detach(), dim=1) \
        @ torch.nn.functional.normalize(table, dim=1).T
    for t, i in enumerate(d["ids"]):
        cosine[t, i] = -9
        if words_differ(d["near"][t], cosine[t].numpy(), vocabulary, min(8, len(table) - 1)):
            problem.append("nearest of %s: %s" % (d["tokens"][t], d["near"][t]))
    if task == "mlm":
        p = out.logits[0].softmax(1).detach().numpy()
        problem += ["words for %s: %s" % (d["tokens"][t], d["words"][t]) for t in range(len(p))
                    if words_differ(d["words"][t], p[t], vocabulary, 5)]
    if task == "ner":
        p = out.logits[0].softmax(1).detach()
        far["tags"] = apart([x for _, x in d["tags"]], p.max(1).values)
        if [names.index(x) for x, _ in d["tags"]] != p.argmax(1).tolist():
            problem.append("tags %s" % d["tags"])
    if task in ("classification", "multi"):
        p = (out.logits[0].sigmoid() if task == "multi" else out.logits[0].softmax(0)).detach()
        rows = d["prediction"][0]["rows"]
        order = p.argsort(descending=True).tolist()
        far["scores"] = apart([x for _, x in rows], p[order])
        if [names.index(x) for x, _ in rows] != order:
            problem.append("labels %s" % rows)
    if task == "regression":
        far["value"] = apart(d["prediction"][0]["rows"][0][1], out.logits[0, 0].detach())
    most = 0
    for x in d.get("targets", []):
        theirs = saliency(task, out, words, x["of"], names)
        most = max(most, np.abs(theirs).max())
        rough = saliency(task, *forward(single, d["ids"], d["types"]), x["of"], names)
        rough = apart(rough, theirs)
        name = "saliency of %s, torch's own float32 is %.1e apart" % (x["of"], rough)
        far[name] = apart(x["saliency"], theirs)
        if rough > 5e-6 and far[name] < 3 * rough:  # a head drawn wide: so exact is float32
            far.pop(name)
    if ("targets" in d) == (task == "none") or task != "none" and most < 1e-4:
        problem.append("saliency is at most %g" % most)
    problem += ["%s: %g apart" % x for x in far.items() if not x[1] < 1e-5]
    most = max(far, key=far.get)
    return wrong("%s: %d tokens, %d targets, at most %.1e apart (%s)" % (
        what, len(d["ids"]), len(d.get("targets", [])), far[most], most), problem)


def predict(model, text, *flags):
    return json.loads(run("./train_bert", "predict", "--model", model, *flags, stdin=text + "\n"))


def check_tasks(source, folder):
    t = transformers
    labels = ["bad", "good </b>", "so-so"]
    model, tok, path = model_of(t.BertForSequenceClassification, source, folder, 1.0,
                                **named(labels), **EAGER)
    d, page = compare("classification", "classification", model, tok, path, folder, TEXT,
                      names=labels)
    size = len(page.encode())
    check("a page of %d tokens has %.2f MB, below 2" % (len(d["ids"]), size / 1e6), size < 2e6)
    row = d["prediction"][0]["rows"][0]
    mine = predict(path, TEXT)
    check("its prediction is predict's", mine["label"] == row[0] and abs(mine["score"] - row[1])
          < 1e-6, "%s, not %s" % (row, mine))
    compare("pairs", "classification", model, tok, path, folder, TEXT, "It was: a good film!",
            ["--pair"], labels)
    d, page = compare("a text with </script>, quotes, Chinese, an emoji, [MASK]", "classification",
                      model, tok, path, folder, NASTY, names=labels)
    check("its text is whole; no tag is its own", d["text"] == NASTY and
          page.count("<script") == 2 and page.count("<!--") == 1, d["text"])
    code, _, error = attempt("./train_bert", "inspect", "--model", path, "--output_file",
                             folder + "/long.html", "a long text " * 300)
    with open(folder + "/long.html", encoding="utf-8") as f:
        d = data_of(f.read())
    compare_data("a long text, cut", "classification", model, tok, d, "a long text " * 300, None,
                 labels)
    check("which is said", code == 0 and "cut at 128 of 902 tokens" in error and d["cut"] == 774,
          error)
    for i, text in enumerate(("", " ", "\t\u3000")):
        code, out, error = attempt("./train_bert", "inspect", "--model", path, "--output_file",
                                   folder + "/none.html", text)
        check("no text, %d, is refused" % i, code == 1 and not out and "text" in error and
              not os.path.exists(folder + "/none.html"), error)
    model, tok, path = model_of(
        t.BertForSequenceClassification, source, folder, 1.0, **named(labels), **EAGER,
        problem_type="multi_label_classification")
    compare("multi-label", "multi", model, tok, path, folder, TEXT, names=labels)
    model, tok, path = model_of(t.BertForSequenceClassification, source, folder, 1.0,
                                num_labels=1, problem_type="regression", **EAGER)
    compare("regression", "regression", model, tok, path, folder, TEXT, "Another.", ["--pair"])
    model, tok, path = model_of(t.BertForTokenClassification, source, folder, 0.3, **named(LABELS),
                                **EAGER)
    d, _ = compare("ner", "ner", model, tok, path, folder, TEXT, names=LABELS)
    mine = [(e["entity_group"] + ": " + TEXT[e["start"]:e["end"]], e["score"])
            for e in predict(path, TEXT)["entities"]]
    rows = d["prediction"][0]["rows"]
    check("its %d entities are predict's" % len(rows), rows and [n for n, _ in mine] ==
          [n for n, _ in rows] and apart([s for _, s in mine], [s for _, s in rows]) < 1e-6,
          "%s, not %s" % (rows, mine))
    # Logits of up to 6. Of 25 they have errors of 2.4e-5 from a sum that is one chain of 384
    # multiply-adds (torch's several lanes: 4e-6), and saliency shows them.
    model, tok, path = model_of(t.BertForMaskedLM, source, folder, 0.1,
                                ("cls.predictions.transform.dense",), **EAGER)
    d, _ = compare("mlm", "mlm", model, tok, path, folder, "The [MASK] sat on the [MASK].")
    mine = [[[w["token_str"], w["score"]] for w in mask]
            for mask in predict(path, "The [MASK] sat on the [MASK].")["masks"]]
    same = [[w for w, _ in rows["rows"]] for rows in d["prediction"]] == \
        [[w for w, _ in rows] for rows in mine]
    check("its words are predict's", same and len(mine) == 2, "%s, not %s" % (
        d["prediction"], mine))
    compare("pairs of mlm", "mlm", model, tok, path, folder, "The [MASK].", "A cat.", ["--pair"])
    d, _, _ = inspect(path, "no mask here", folder)
    check("mlm without [MASK] has words, and nothing to explain",
          len(d["words"]) == 5 and d["targets"] == [] and not d["prediction"][0]["rows"])
    model, tok, path = model_of(t.BertForQuestionAnswering, source, folder, 0.2, **EAGER)
    question, context = "Who came from Berlin?", TEXT + " He said so in \u00fcber 1994 words."
    line = json.dumps({"question": question, "context": context})
    d, _, _ = inspect(path, line, folder)
    compare_data("qa", "qa", model, tok, d, question, context, ())
    mine = predict(path, line)
    row = d["prediction"][0]["rows"][0]
    check("its answer is predict's: %s" % row[0], row[0] and mine["answer"] == row[0] and
          abs(mine["score"] - row[1]) < 1e-6, "%s, not %s" % (row, mine))
    model, tok, path = model_of(t.BertForMultipleChoice, source, folder, 1.0, **EAGER)
    choices = ["it was dull", "he slept", "a longer choice, of several words"]
    d, _, _ = inspect(path, "\t".join([TEXT] + choices), folder)
    mine = predict(path, "\t".join([TEXT] + choices))
    row = d["prediction"][0]["rows"][0]
    check("multiple_choice: its choice is predict's", row[0] == mine["text"] and
          abs(mine["score"] - row[1]) < 1e-6, "%s, not %s" % (row, mine))
    single = t.BertForSequenceClassification(
        t.BertConfig(**{**model.config.to_dict(), "num_labels": 1}), )
    single.config._attn_implementation = "eager"
    single.load_state_dict(model.state_dict(), strict=True)
    compare_data("multiple_choice, the best choice", "regression", single.eval(), tok,
                 {**d, "prediction": [{"rows": [["", logit_of(single, d)]]}]}, TEXT, row[0], ())


def logit_of(model, d):
    """Nothing of the page: what compare_data then finds equal."""
    out, _ = forward(copy.deepcopy(model).double(), d["ids"], d["types"])
    return float(out.logits[0, 0].detach())


def check_encoders(source, folder):
    path = run_export(source, folder)
    model = transformers.BertModel.from_pretrained(source, **EAGER).eval()
    tok = transformers.BertTokenizerFast.from_pretrained(source)
    compare("none: MiniLM as it is", "none", model, tok, path, folder, TEXT)
    fixture = os.path.join(ROOT, "dev/fixtures/text.model.bin")
    hf = os.path.join(folder, "fixture")
    run("./dev/export_hf.py", "--to-hf", fixture, hf)
    model = transformers.BertForSequenceClassification.from_pretrained(hf, **EAGER).eval()
    tok = transformers.BertTokenizerFast.from_pretrained(hf)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    compare("a fixture", "classification", model, tok, fixture, folder,
            "A good film is not dull.", names=names)
    return path


def run_export(source, folder):
    path = os.path.join(folder, "none.bin")
    run("./dev/export_hf.py", source, path)
    return path


# ----------------------------------------------------------------------------------- in a browser

def shown(browser):
    return browser.value("[now.layer, now.head, now.token]")


def heat(browser):
    return browser.value("document.getElementById('heat').toDataURL()")


def check_keys(browser):
    """Each key and click, and what it has to change."""
    def after(what, expected, redrawn=True):
        nonlocal last
        found, picture = shown(browser), heat(browser)
        check(what, found == expected and (picture != last) == redrawn, "%s, not %s; drawn %s" % (
            found, expected, picture != last))
        last = picture
    last = heat(browser)
    check("it begins with layer 1, head 1, the first word", shown(browser) == [0, 0, 1])
    browser.click("#head-2-3")
    after("a click on a thumbnail shows its head", [2, 3, 1])
    pressed = browser.value("[...document.querySelectorAll('.head[aria-pressed=true]')]"
                            ".map(x => x.getAttribute('aria-label'))")
    check("which alone is pressed", pressed == ["layer 3, head 4"], pressed)
    for key, expected in (("ArrowRight", [2, 4, 1]), ("ArrowDown", [3, 4, 1]),
                          ("ArrowLeft", [3, 3, 1]), ("ArrowUp", [2, 3, 1])):
        browser.key(key)
        after(key, expected)
    browser.click("#layer-more")
    after("a button", [3, 3, 1])
    browser.click("#tokens button:nth-child(4)")
    after("a click on a token", [3, 3, 3])
    for key, expected in (("ArrowRight", 4), ("ArrowLeft", 3)):
        browser.key(key)
        after("%s there is the next token" % key, [3, 3, expected])
    name = browser.value("document.getElementById('word-name').textContent")
    check("whose words are shown", name == browser.value("D.tokens[3]") and browser.value(
        "document.querySelectorAll('#near .rows b').length") == 8, name)
    browser.click("#heat", .9, .9)
    after("a click on the map", [3, 3, browser.value("now.token")])
    check("is another token", browser.value("now.token") > 10)
    browser.move("#heat", .8, .8)
    p = [float(x) for x in re.findall(r"\d\.\d{5}", browser.value(
        "document.getElementById('note').textContent"))]
    q, k = browser.value("document.getElementById('note').textContent.match(/(?<=token )\\d+/g)")
    check("where the mouse is, the probability is told", len(p) == 1 and p[0] == browser.value(
        "+prob(3, 3, %s, %s).toFixed(5)" % (q, k)), p)
    before = browser.value("document.querySelector('.token').style.getPropertyValue('--hue')")
    browser.value("const s = document.querySelector('#target select'); s.value = 1;"
                  "s.dispatchEvent(new Event('change'))")
    check("another target paints the tokens anew", before != browser.value(
        "document.querySelector('.token').style.getPropertyValue('--hue')"))
    browser.value("document.activeElement.blur()")
    stops = []
    for _ in range(12):
        browser.key("Tab")
        stops.append(browser.value("document.activeElement.id || document.activeElement.className"
                                   " || document.activeElement.tagName"))
    check("Tab stops at each control once", {"SELECT", "token", "layer-less", "head-more",
                                             "head-3-3"} <= set(stops) and
          stops.count("token") <= 2, stops)


def check_browser(program, source, folder, picture):
    labels = ["negative", "positive"]
    _, _, path = model_of(transformers.BertForSequenceClassification, source, folder, 0.6,
                          **named(labels), **EAGER)
    pages = {"short": TEXT, "nasty": NASTY, "long": "many words and more " * 60}
    for name, text in pages.items():
        write(os.path.join(folder, name + ".html"), inspect(path, text, folder)[1])
    with Browser(program, os.path.join(folder, "profile")) as browser:
        browser.size(1600, 1000)
        browser.open(os.path.join(folder, "short.html"))
        check_keys(browser)
        for name in pages:
            for width, dark in ((400, False), (1600, False), (800, True)):
                browser.size(width, 900, dark)
                browser.open(os.path.join(folder, name + ".html"))
                wide = browser.value("document.documentElement.scrollWidth")
                seen = browser.value("getComputedStyle(document.body).backgroundColor")
                channels = [int(x) for x in re.findall(r"\d+", seen)[:3]]
                check("%s at %d px%s: as wide as the window" % (
                    name, width, ", dark" * dark), wide <= width and
                    (max(channels) < 60) == dark, "%d px, %s" % (wide, seen))
        text = browser.value("D.text")
        check("the text is the one that was given", text == pages["long"], text)
        browser.open(os.path.join(folder, "nasty.html"))
        check("also the nasty one", browser.value("D.text") == NASTY)
        none("no error in the console", browser.errors)
        none("no request but for the file", [u for u in browser.requests
                                             if not u.startswith(("file://", "data:"))],
             len(browser.requests) > 9)
        if picture:
            browser.size(1600, 900)
            browser.open(os.path.join(folder, "short.html"))
            browser.picture(picture)


def main():
    source = sys.argv[1]
    picture = sys.argv[sys.argv.index("--picture") + 1] if "--picture" in sys.argv else None
    with tempfile.TemporaryDirectory() as folder:
        if "--page" not in sys.argv:  # only the browser
            check_encoders(source, folder)
            check_tasks(source, folder)
        program = find_browser()
        if program:
            check_browser(program, source, folder, picture)
        else:
            print("skipped  the page in a browser: no chromium here")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
