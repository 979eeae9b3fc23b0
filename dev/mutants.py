#!/usr/bin/env python3
"""Does test_bert.c notice mistakes? Makes one in a copy of bert.h, builds, and demands a red test.

    python3 dev/mutants.py                 all of them, two at a time
    python3 dev/mutants.py --quick         a handful
    python3 dev/mutants.py --only scale    those whose name contains a word
    python3 dev/mutants.py --random 100 [--file dev/driver/json.h] [--seed 1]
        random ones: operators, constants, conditions, deleted statements; survivors at the end

Standard library only. A mutant is a name and (old text, new text) pairs; each old text has to stand
in bert.h exactly once, or N times where a third value says so. One that is no longer found is a
failure: bert.h has moved on, and this list has to follow.
"""
import argparse
import concurrent.futures
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
DROP_1 = "bert_residual_forward(a.res1, x, a.res1, n, C, bert_site_(m, ph, l, BERT_SITE_ATTPROJ, n));"
DROP_2 = "bert_residual_forward(a.res2, a.ln1, a.res2, n, C,"

MUTANTS = [  # quick ones first
    ("no attention scale", ("s.scale = 1.0f / sqrtf((float)s.HS);", "s.scale = 1.0f;")),
    ("no weight decay", ("t->decay ? (float)(1.0 - (double)lr * weight_decay) : 1.0f", "1.0f")),
    ("decay on biases and LayerNorm", ("t->decay ? (float)(1.0 - (double)lr * weight_decay) : 1.0f",
      "(float)(1.0 - (double)lr * weight_decay)")),
    ("tanh form in place of erf", ("static inline float bert_gelu_(float x)", "static inline float bert_gelu_tanh_(float x);\nstatic inline float bert_dgelu_tanh_(float x);\nstatic inline float bert_gelu_(float x)"),
     ("= bert_gelu_(inp[i])", "= bert_gelu_tanh_(inp[i])"), ("* bert_dgelu_(inp[i])", "* bert_dgelu_tanh_(inp[i])")),
    ("LayerNorm without eps", ("/ (float)C + eps)", "/ (float)C)")),
    ("no residual around attention", (DROP_1, DROP_1.replace("residual", "dropout").replace(" x,", ""))),
    ("no residual around fc", (DROP_2, DROP_2.replace("residual", "dropout").replace(" a.ln1,", ""))),
    ("positions count from 1", ("*pe = wpe + (size_t)(n - offsets[b]) * C;", "*pe = wpe + (size_t)(n - offsets[b] + 1) * C;")),
    None,  # the end of --quick
    ("positions do not start again", ("*pe = wpe + (size_t)(n - offsets[b]) * C;", "*pe = wpe + (size_t)(b ? n % 7 : n) * C;")),
    ("token types ignored", ("*se = wse + (size_t)types[n] * C;", "*se = wse + 0 * (size_t)types[n] * C;")),
    ("no gradient for token types", ("se[i] += d[i];", "se[i] += 0.0f;")),
    ("LayerNorm with C - 1", ("/ (float)C + eps)", "/ (float)(C > 1 ? C - 1 : 1) + eps)")),
    ("LayerNorm backward without its mean", ("dx[i] = s * bert_fma_((m - x[i]) * s, along, dx[i] - mean_dnorm);", "dx[i] = s * bert_fma_((m - x[i]) * s, along, dx[i] - 0 * mean_dnorm);")),
    ("LayerNorm backward without its norm", ("dx[i] = s * bert_fma_((m - x[i]) * s, along, dx[i] - mean_dnorm);", "dx[i] = s * (dx[i] - mean_dnorm) - 0 * along;")),
    ("mirrored product without the bias", ("first = start ? bert_get_(start + j + r) : zero;", "first = zero;")),
    ("mirrored product: its second block forgets the first", ("(k ? bert_get_(to) : first)", "first")),
    ("mirrored product: the rest without the bias", ("start ? start + whole : NULL, BERT_START_, room);", "NULL, BERT_START_, room);")),
    ("panels: two vectors taken for one", ("return vecs > 2 ? BERT_TILE_VECS_ : vecs;", "return vecs > 2 ? BERT_TILE_VECS_ : 1;")),
    ("residual: the branch without its dropout", ("bert_drop_row_(out + at, branch + at, 0, C, drop, (size_t)n);", "if (out != branch) memcpy(out + at, branch + at, (size_t)C * sizeof *out);")),
    ("matmul forgets the panel before", ("how != BERT_START_ || k ? NULL : first", "how != BERT_START_ ? NULL : first")),
    ("no bias in linear", ("bert_matrix_(w, 1, C), N, OC, C, b,", "bert_matrix_(w, 1, C), N, OC, C, 0 ? b : NULL,")),
    ("linear's weight gradient overwrites", ("OC, C, N, NULL, BERT_GO_ON_, scratch);", "OC, C, N, NULL, BERT_START_, scratch);")),
    ("dropout does not scale up", ("float scale = 1.0f / (1.0f - drop.p);", "float scale = 1.0f;")),
    ("dropout keeps p, drops 1 - p", ("(uint32_t)(first + i)) >= threshold", "(uint32_t)(first + i)) < threshold")),
    ("dropout ignores the step", ("bert_mix64(bert_mix64(bert_mix64(seed) ^ step) ^ place)", "bert_mix64(bert_mix64(bert_mix64(seed) ^ 0 * step) ^ place)")),
    ("dropout ignores layer and site", ("bert_mix64(bert_mix64(bert_mix64(seed) ^ step) ^ place)", "bert_mix64(bert_mix64(bert_mix64(seed) ^ step) ^ 0 * place)")),
    ("dropout ignores the place", ("place = (uint64_t)(x->place + b) << 32", "place = (uint64_t)b << 32")),
    ("every sequence has the same mask", ("place = (uint64_t)(x->place + b) << 32", "place = (uint64_t)x->place << 32")),
    ("heads share a dropout mask", ("bert_mix64(drop.key + (uint64_t)s.h + 1)", "bert_mix64(drop.key + 1)")),
    ("classifier dropout forgotten in the backward", ("    bert_dropout_backward(dx, dx, n, C, bert_classifier_site_(m, n));\n", "")),
    ("embedding dropout has another mask in the backward", ("bert_site_(m, c->hidden_dropout, -1, BERT_SITE_EMBEDDINGS, N)", "bert_site_(m, c->hidden_dropout, -2, BERT_SITE_EMBEDDINGS, N)")),
    ("fc dropout draws attention's mask in the backward", ("bert_dropout_backward(d->dpart, d->dsum, n, C, bert_site_(m, ph, l, BERT_SITE_FCPROJ, n));", "bert_dropout_backward(d->dpart, d->dsum, n, C, bert_site_(m, ph, l, BERT_SITE_ATTPROJ, n));")),
    ("attention backward without mask on dprob", ("bert_drop_probs_(d, s, q, k0, nk);", "")),
    ("attention backward without mask on prob", ("bert_drop_probs_(p, s, q, k0, nk);", "")),
    ("softmax backward without its sum", ("d[k] = p[k] * (d[k] - mean) * s->scale;", "d[k] = p[k] * (d[k] - 0 * mean) * s->scale;")),
    ("no attention scale in the backward", ("d[k] = p[k] * (d[k] - mean) * s->scale;", "d[k] = p[k] * (d[k] - mean);")),
    ("gelu's derivative without the density", ("return bert_fma_(0.398942280f * x, bell, cdf);", "return cdf;")),
    ("gelu_new's derivative without its inner one", ("bert_fma_(2.0f * x * bend, du, h)", "bert_fma_(2.0f * x * bend, 0.797884561f + 0 * du, h)")),
    ("relu's derivative is 1", ("inp[i] > 0.0f ? dout[i] : 0.0f", "dout[i]")),
    ("relu hides NaN", ("inp[i] < 0.0f ? 0.0f : inp[i]", "inp[i] > 0.0f ? inp[i] : 0.0f")),
    ("tanh's derivative 1 - y", ("dout[i] * bert_fma_(-out[i], out[i], 1.0f)", "dout[i] * (1.0f - out[i])")),
    ("head: cross-entropy backward without the label", ("d[labels[n]] -= w;", "")),
    ("head: loss summed in place of averaged, backward", ("(float)(scale / x->divisor)", "scale")),
    ("head: ner's rows without label count", ("if (labels[n] < 0) continue;", ""), ("if (labels[n] < 0) {", "if (0) {")),
    ("head: smoothing over K - 1", ("part = scale * smoothing / (float)K;", "part = scale * smoothing / (float)(K - 1);")),
    ("head: class weights do not divide", ("sum += batch->class_weights ? batch->class_weights[batch->labels[i]] : 1.0f;", "sum += 1.0f;")),
    ("head: smoothing without class weights, backward", ("d[k] = bert_fma_(-part, weights ? weights[k] : 1.0f, d[k]);", "d[k] -= part;")),
    ("head: pos_weight on both sides", ("sum += bert_fma_(w * targets[i], down, (1.0f - targets[i]) * up);", "sum += w * (targets[i] * down + (1.0f - targets[i]) * up);")),
    ("head: mse's derivative without its 2", ("scale * 2.0f / (float)K * (logits[i]", "scale / (float)K * (logits[i]")),
    ("head: qa summed, not the mean of start and end", ("dlogits[i] = 0.5f * scale * probs[i];", "dlogits[i] = scale * probs[i];"), ("+ c] -= 0.5f * scale;", "+ c] -= scale;")),
    ("head: tied decoder's gradient forgotten", ("bert_linear_backward(NULL, dwte, NULL,", "bert_linear_backward(NULL, NULL, NULL,")),
    ("head: the decoder's rows of wte stay unseen", ("memset(m->seen, 1, (size_t)c->V);", "")),
    ("head: transform's LayerNorm without gradient", ("bert_layernorm_backward(d->dpart, g->mlmlnw, g->mlmlnb, d->dsum,", "bert_layernorm_backward(d->dpart, d->dqkv, d->dqkv, d->dsum,")),
    ("head: transform's LayerNorm left out of the backward", ("bert_activation_backward(d->dpart, d->dpart, a->mlmh,", "bert_activation_backward(d->dpart, d->dsum, a->mlmh,")),
    ("head: transform without activation", ("bert_activation_forward(a->mlmact, a->mlmh, (size_t)R * C, c->act);", "memcpy(a->mlmact, a->mlmh, (size_t)R * C * sizeof(float));")),
    ("head: no gradient of NSP through the pooler", ("d->dx[(size_t)offsets[b] * C + i] += d->dsum[(size_t)b * C + i];", ";")),
    ("head: NSP's own divisor in micro-batches", ("scale / (float)m->batch.next_divisor", "scale / (float)B")),
    ("head: ner without dropout", ("bert_site_(m, p, c->L, BERT_SITE_CLASSIFIER, n)", "bert_site_(m, n == m->N ? 0 : p, c->L, BERT_SITE_CLASSIFIER, n)")),
    ("head: a pooler without a use decays", ("if (!t->used) continue;", "")),
    ("head: mean over one token too few", ("for (int n = first + 1; n < end; n++)", "for (int n = first + 2; n < end; n++)")),
    ("pooler reads the token before", ("x + (size_t)rows[r] * C, (size_t)C * sizeof *x", "x + (size_t)(rows[r] - (rows[r] > 0)) * C, (size_t)C * sizeof *x")),
    ("no gradient through the second residual", ("w.fcw, n, C, F, 1, &m->scratch);", "w.fcw, n, C, F, 0, &m->scratch);")),
    ("no gradient through the first residual", ("w.qkvw, N, C, 3 * C, 1, &m->scratch);", "w.qkvw, N, C, 3 * C, 0, &m->scratch);")),
    ("no bias correction of m", ("(float)(1.0 / (1.0 - bert_power_(beta1, step)))", "1.0f")),
    ("no bias correction of v", ("(float)(1.0 / sqrt(1.0 - bert_power_(beta2, step)))", "1.0f")),
    ("Adam's eps inside the root", ("bert_fma_(sqrtf(v[i]), s.fix2, s.eps)", "sqrtf(v[i] * s.fix2 * s.fix2 + s.eps)")),
    ("Adam with L2 in place of decay", ("float gi = g[i] * s.grad_scale;", "float gi = g[i] * s.grad_scale + 0.1f * p[i];"), ("p[i] = bert_fma_(p[i], s.keep,", "p[i] = bert_fma_(p[i], s.keep > 2 ? s.keep : 1,")),
    ("never clips", ("return scale > 1.0f ? 1.0f : scale;", "return 1.0f;")),
    ("clips small gradients up", ("return scale > 1.0f ? 1.0f : scale;", "return scale;")),
    ("max_norm 0 stops training", ("if (max_norm <= 0.0f) return 1.0f;", "")),
    ("norm without the root", ("return (float)sqrt(sum);", "return (float)sum;")),
    ("warmup starts at 1", ("(double)step / (double)warmup", "(double)(step + 1) / (double)warmup")),
    ("token V is taken", ("batch->tokens[n] >= c->V", "batch->tokens[n] > c->V")),
    ("token -1 is taken", ("batch->tokens[n] < 0 ||", "")),
    ("AdamW leaves the gradients", ("g[i] = 0.0f;", "")),
    ("rows of wte stay unseen", ("m->seen[m->batch.tokens[n]] = 1;", "m->seen[m->batch.tokens[0]] = 1;")),
    ("[PAD] gets a gradient", ("if (!dwte || tokens[n] == padding) continue;", "if (!dwte) continue;")),
    ("the last layer draws other rows' dropout", ("m->dropout_rows + (n == m->N ? 0 : m->N)", "m->dropout_rows")),
    ("garbage behind a model file is taken", ("if (total == file && total == said)", "if (total <= file)")),
    ("a full disk goes unseen", ("failed = fclose(f) != 0 || failed;", "failed = 0 * fclose(f);"),),
    ("tokenizer: accents stay", ("if (t->words[BERT_STRIP_ACCENTS] && t->lookup->info[c] & BERT_ACCENT_) return;", "")),
    ("tokenizer: marks are not put in order", ("if (w->disorder) {", "if (w->disorder > 1) {")),
    ("tokenizer: reordered marks keep their places", ("w->last = w->marks[next++].from;", "w->last = sorted[i].from;")),
    ("tokenizer: words of 101 characters", ("to - from > t->words[BERT_LONGEST_WORD]", "to - from > t->words[BERT_LONGEST_WORD] + 1")),
    ("tokenizer: no ## pieces", ("int tail = at > from;", "int tail = 0;")),
    ("tokenizer: [UNK] behind the pieces found", ("w->num_tokens = first;", "")),
    ("tokenizer: single_word ignored", ("if (flags & BERT_SINGLE_WORD_ &&", "if (0 & flags &&")),
    ("tokenizer: rstrip ignored", ("if (flags & BERT_RSTRIP_)", "if (0 & flags)")),
    ("tokenizer: lstrip ignored", ("if (flags & BERT_LSTRIP_)", "if (0 & flags)")),
    ("tokenizer: no blanks around CJK", ("if (apart) bert_part_(t, w, ' ', i);", "", 2)),
    ("tokenizer: surrogates are characters", ("if (c == 0xED) high = 0x9F;", "")),
    ("tokenizer: overlong UTF-8 is taken", ("if (c == 0xE0) low = 0xA0;", "")),
    ("tokenizer: the shorter text gets the odd token", ("room - n[!longer], room - room / 2", "room - n[!longer], room / 2")),
    ("tokenizer: windows do not overlap", ("w->next += w->keep - w->how.stride", "w->next += w->keep")),
    ("tokenizer: characters for bytes", ("{id, {w->chars[start].from,", "{id, {start,")),
    ("tokenizer: the Unicode table's ranges are not checked", ("u[1] >= BERT_POINTS_) wrong", "u[1] >= 2 * BERT_POINTS_) wrong")),
    ("tokenizer: pieces of added tokens", ("t->added[2 * a + 1] & BERT_NO_PIECE_", "t->added[2 * a + 1] & 64")),
    ("tokenizer: decode without the normal form", ("if (!length) return string;", "if (length) return string;")),
    # these have the right numbers, but other bits: dev/test/bits.c has to notice
    ("bits: one product and sum left to the compiler",
     ("y[i] = bert_fma_((x[i] - m) * s, w[i], b[i]);", "y[i] = (x[i] - m) * s * w[i] + b[i];")),
    ("bits: eight lanes", ("BERT_SUMS_ = 16", "BERT_SUMS_ = 8")),
    ("bits: lanes are added in another order", ("s[l] += s[l + w];", "s[l] += s[2 * w - 1 - l];")),
    ("bits: dW is summed apart, then added", ("OC, C, N, NULL, BERT_GO_ON_,", "OC, C, N, NULL, BERT_ADD_,")),
    ("bits: other blocks of k", ("BERT_DEPTH_ = 384", "BERT_DEPTH_ = 128")),
    ("bits: the tied wte in two passes over the batch",
     ("if (n < first) continue;", "continue;"),
     ("bert_embeddings_backward(tied ? NULL : g->wte,", "bert_embeddings_backward(g->wte,")),
]
FLAGS = "-std=c99 -O1 -ffp-contract=off -fno-math-errno -fno-trapping-math -w".split()


def build_and_run(folder, cc, bits):
    """None: green; otherwise what went red."""
    binary = os.path.join(folder, "test_bert")
    source = "dev/test/bits.c" if bits else "test_bert.c"
    native = ["-march=native"] if os.uname().machine in ("x86_64", "i686") else []
    built = subprocess.run([cc] + FLAGS + native + ["-I.", source, "-o", binary, "-lm", "-pthread"], cwd=folder,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if built.returncode:
        return "BUILD " + built.stdout.decode(errors="replace")[:300]
    try:
        ran = subprocess.run([binary], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             timeout=300, env=dict(os.environ, TMPDIR=folder))
    except subprocess.TimeoutExpired:
        return "hangs"
    if ran.returncode == 0:
        return None
    red = [line for line in ran.stdout.decode(errors="replace").splitlines() if line.startswith("FAIL")]
    return "%d red, first: %s" % (len(red), red[0][5:100]) if red else "exit code %d" % ran.returncode


def mutate(text, pairs):
    for old, new, *times in pairs:  # line breaks and indentation do not count
        pattern = r"\s+".join(map(re.escape, old.split()))
        text, found = re.subn(pattern, lambda match: new, text)
        if found != (times[0] if times else 1):
            raise LookupError("its text stands %d times in bert.h: %s" % (found, old.strip()))
    return text


def try_mutant(name, pairs, cc):
    """(did it go red, what to say)"""
    with tempfile.TemporaryDirectory(prefix="mutant.", dir="/tmp" if os.path.isdir("/tmp") else None) as folder:
        for file in "train_bert.c", "test_bert.c":
            shutil.copy(os.path.join(ROOT, file), folder)
        os.symlink(HERE, os.path.join(folder, "dev"))
        with open(os.path.join(ROOT, "bert.h"), encoding="utf-8") as f:
            text = f.read()
        try:
            text = mutate(text, pairs)
        except LookupError as e:
            return False, str(e)
        with open(os.path.join(folder, "bert.h"), "w", encoding="utf-8") as f:
            f.write(text)
        red = build_and_run(folder, cc, name.startswith("bits:"))
    if not pairs:
        return red is None, red or "green, as it has to be"
    if red is None:
        return False, "no test noticed"
    return not red.startswith("BUILD"), red


# ------------------------------------------------------------------------------------------------
# Random mutants: --random N, of --file bert.h, train_bert.c or a room of the driver

SWAPS = [(a, b) for pair in ("< <=", "> >=", "== !=", "&& ||", "+ -", "* /", "<< >>", "& |", "+= -=")
         for a, b in (pair.split(), pair.split()[::-1])]
CODE = re.compile(r"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|^[ \t]*\#(?:\\\n|[^\n])*""",
                  re.S | re.M)  # what is not code: comments, strings, directives
STATEMENT = re.compile(r"^ {4,}(?!return\b|break\b|continue\b|goto\b|else\b|case\b|default\b|for\b|while\b|if\b|do\b)"
                       r"[a-z_*(][^\n{}]*;$")
DECLARATION = re.compile(r"^ *(?:static |const |unsigned |struct |register )*[A-Za-z_]\w* +\**[a-z_]\w*(?: *[=;,\[])")


def places_to_change(text, begin):
    """[(offset, length, new text)] of everything in functions that can be changed."""
    code = list(text)
    for match in CODE.finditer(text):
        for i in range(*match.span()):
            code[i] = code[i] if code[i] == "\n" else " "
    code, at, out = "".join(code), 0, []
    for line in code.split("\n"):
        if at >= begin and line.startswith("    "):
            for match in re.finditer(r"(?<= )(<=?|>=?|==|!=|&&|\|\||[-+*/&|]|<<|>>|\+=|-=)(?= )", line):
                out += [(at + match.start(), len(old), new) for old, new in SWAPS if old == match.group()]
            for match in re.finditer(r"(?<![\w.])(\d+)(u?)(?![\w.])", line):
                number = int(match.group(1))
                for new in {number + 1, 0 if number else 2}:
                    out.append((at + match.start(1), len(match.group(1)), str(new)))
            for match in re.finditer(r"(?<![\w.])\d+\.\d+(?=f?\b)", line):
                out.append((at + match.start(), len(match.group()), "%r" % (float(match.group()) * 2 or 1.0)))
            match = re.match(r" *if \(", line)
            if match and line.count("(") == line.count(")"):
                depth, end = 1, match.end()
                while depth:
                    depth += {"(": 1, ")": -1}.get(line[end], 0)
                    end += 1
                inside = text[at + match.end():at + end - 1]
                out.append((at + match.end(), len(inside), "!(%s)" % inside))
            if STATEMENT.match(line) and not DECLARATION.match(line):
                start = len(line) - len(line.lstrip())
                out.append((at + start, len(line) - start, ";"))
        at += len(line) + 1
    return out


def programs_for(file):
    """The tests that can notice: [(source, flags)]; those of bert.h alone compile in a few seconds."""
    tests = sorted(os.listdir(os.path.join(HERE, "test")))
    sources = [os.path.join("dev", "test", t) for t in tests if t.endswith(".c")]
    alone = [s for s in sources if not re.search(r'include "[^"]*(train_bert|dev/driver|/driver/)',
                                                 open(os.path.join(ROOT, s), encoding="utf-8").read())]
    if file == "bert.h":
        return [("test_bert.c", [])] + [(s, []) for s in alone]
    return [(s, []) for s in sources if s not in alone]


def same_code(folder, flags, source):
    """The optimized code of a program, to know a mutant that changes nothing."""
    built = subprocess.run(["cc", "-S", "-o", "-"] + FLAGS + flags + ["-I.", source], cwd=folder,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return built.stdout if built.returncode == 0 else None


def red_program(folder, programs, cc, seconds):
    """None: all are green; else what went red first."""
    native = ["-march=native"] if os.uname().machine in ("x86_64", "i686") else []
    for source, flags in programs:
        binary = os.path.join(folder, "program")
        if subprocess.run([cc] + FLAGS + native + flags + ["-I.", source, "-o", binary, "-lm", "-pthread"],
                          cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            return "does not compile"
        ran = subprocess.Popen([binary], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               env=dict(os.environ, TMPDIR=folder))
        clock = threading.Timer(seconds, ran.kill)
        clock.start()
        try:
            for line in ran.stdout:
                if line.startswith(b"FAIL"):  # one is enough
                    ran.kill()
                    return "%s: %s" % (source, line[5:90].decode(errors="replace"))
            if ran.wait():
                return "%s: exit code %d" % (source, ran.returncode)
        finally:
            clock.cancel()
            ran.kill()
            ran.wait()
    return None


def try_random(place, file, text, programs, plain, cc):
    """(its line, what became of it): None: no test noticed; "same": it is the same program."""
    at, length, new = place
    begin, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    changed = text[:at] + new + text[at + length:]
    line = "%s:%d: %s   ->   %s" % (file, text.count("\n", 0, at) + 1, text[begin:end].strip(),
                                    (text[begin:at] + new + text[at + length:max(end, at + length)]).strip())
    with tempfile.TemporaryDirectory(prefix="mutant.") as folder:
        for name in os.listdir(ROOT):
            if name.endswith((".c", ".h")) or name == "dev":
                os.symlink(os.path.join(ROOT, name), os.path.join(folder, name))
        if "/" in file:  # a folder of its own, so that includes find the changed file
            os.remove(os.path.join(folder, "dev"))
            shutil.copytree(HERE, os.path.join(folder, "dev"), symlinks=True,
                            ignore=shutil.ignore_patterns("fixtures"))
            os.symlink(os.path.join(HERE, "fixtures"), os.path.join(folder, "dev", "fixtures"))
        elif any("test/" in s for s, _ in programs):  # they include ../../bert.h
            os.remove(os.path.join(folder, "dev"))
            os.mkdir(os.path.join(folder, "dev"))
            for name in os.listdir(HERE):
                if name in ("test", "driver"):
                    shutil.copytree(os.path.join(HERE, name), os.path.join(folder, "dev", name),
                                    ignore=lambda d, names: [n for n in names if "." not in n])
                else:
                    os.symlink(os.path.join(HERE, name), os.path.join(folder, "dev", name))
        target = os.path.join(folder, file)
        if os.path.lexists(target):
            os.remove(target)
        with open(target, "w", encoding="utf-8") as f:
            f.write(changed)
        code = same_code(folder, programs[0][1], programs[0][0])
        if code is None:
            return line, "does not compile"
        if hashlib.sha256(code).digest() == plain:
            return line, "same"
        return line, red_program(folder, programs, cc, 120)


def random_mutants(args, cc):
    with open(os.path.join(ROOT, args.file), encoding="utf-8") as f:
        text = f.read()
    begin = text.find("#ifdef BERT_IMPLEMENTATION\n#ifndef") if args.file == "bert.h" else 0
    places = places_to_change(text, begin)
    random.Random(args.seed).shuffle(places)
    programs = programs_for(args.file)
    plain = hashlib.sha256(same_code(ROOT, programs[0][1], programs[0][0])).digest()
    print("%s: %d places, %d are tried by %s" % (args.file, len(places), args.random,
                                                " ".join(s for s, _ in programs)), flush=True)
    killed, same, survivors, at = 0, 0, [], 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        waiting = set()
        while killed + len(survivors) < args.random and (at < len(places) or waiting):
            while len(waiting) < args.jobs and at < len(places):
                waiting.add(pool.submit(try_random, places[at], args.file, text, programs, plain, cc))
                at += 1
            done, waiting = concurrent.futures.wait(waiting, return_when="FIRST_COMPLETED")
            for line, what in (future.result() for future in done):
                same += what == "same"
                killed += what not in (None, "same", "does not compile")
                if what is None:
                    survivors.append(line)
                if what not in ("same", "does not compile"):
                    print("%s %s%s" % ("ok  " if what else "LIVES", line, " | " + what if what else ""), flush=True)
    print("\nSurvivors (equivalent, or a test is missing):")
    for line in sorted(survivors):
        print("  " + line)
    print("%d of %d killed (%.1f%%), %d more were the same program"
          % (killed, killed + len(survivors), 100.0 * killed / max(1, killed + len(survivors)), same))
    return len(survivors) > 0.05 * (killed + len(survivors)) + args.equivalent


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    ap.add_argument("--quick", action="store_true", help="the first handful")
    ap.add_argument("--only", default="", help="those whose name contains this")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--random", type=int, metavar="N", help="so many random ones in place of the list")
    ap.add_argument("--file", default="bert.h", help="of this file")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--equivalent", type=int, default=0,
                    help="survivors that are known to change nothing")
    args = ap.parse_args()
    if args.random:
        return random_mutants(args, os.environ.get("CC", "cc"))
    chosen = MUTANTS[:MUTANTS.index(None)] if args.quick else [m for m in MUTANTS if m]
    chosen = [("bert.h as it is",)] + [m for m in chosen if args.only in m[0]]
    cc, passed, failed = os.environ.get("CC", "cc"), 0, 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = pool.map(lambda m: try_mutant(m[0], m[1:], cc), chosen)
        for mutant, (ok, why) in zip(chosen, results):
            print("%s %s: %s" % ("ok  " if ok else "FAIL", mutant[0], why), flush=True)
            passed, failed = passed + ok, failed + (not ok)
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
