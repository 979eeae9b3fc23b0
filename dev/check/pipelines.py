"""Models with random heads, and what transformers' pipelines answer with them: the one place that
says when an answer is another one. Scores may differ by 1e-5, all else is equal."""
import os

import numpy as np
import torch
import transformers

from common import run

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
LABELS = ["B-LOC", "B-PER", "E-LOC", "I-LOC", "I-PER", "O"]


def named(labels):
    """What a config says of a head with these labels."""
    return dict(num_labels=len(labels), id2label=dict(enumerate(labels)),
                label2id={v: k for k, v in enumerate(labels)})


def model_of(cls, source, folder, scale, drawn=("classifier", "qa_outputs"), **more):
    """The model in source with a random head that is sure of something, its tokenizer, and the
    model.bin of both."""
    torch.manual_seed(0)
    model = cls.from_pretrained(source, **more).eval()
    for name, p in model.named_parameters():
        if name.startswith(drawn):
            torch.nn.init.normal_(p, std=3.0 if "LayerNorm" in name else scale)
    tokenizer = transformers.BertTokenizerFast.from_pretrained(source)
    hf, exported = os.path.join(folder, "hf"), os.path.join(folder, "model.bin")
    model.save_pretrained(hf)
    tokenizer.save_pretrained(hf)
    run("./dev/export_hf.py", hf, exported)
    return model, tokenizer, exported


def pipeline(task, model, tokenizer, **more):
    return transformers.pipeline(task, model=model, tokenizer=tokenizer, **more)


# ----------------------------------------------------------------------------- when answers differ

def apart(a, b):
    return abs(a - b) > 1e-5


def differ(mine, theirs, *keys):
    """Two answers: their scores and what else they have."""
    return apart(mine["score"], theirs["score"]) or any(mine[k] != theirs[k] for k in keys)


def rows_differ(mine, theirs, *keys):
    """Two lists of answers."""
    return len(mine) != len(theirs) or any(differ(m, t, *keys) for m, t in zip(mine, theirs))


def entities_differ(mine, theirs):
    return rows_differ(mine, theirs, "entity_group", "word", "start", "end")


def masks_differ(mine, theirs, *keys):
    """Of each [MASK] the tokens that may stand there."""
    return len(mine) != len(theirs) or any(rows_differ(m, t, *keys) for m, t in zip(mine, theirs))


def fill(pipe, text, **more):
    """The pipeline's answers, a list for each [MASK]; of a single one it gives just the list."""
    found = pipe(text, **more) if "[MASK]" in text else []
    return [found] if found and isinstance(found[0], dict) else found


# ------------------------------------------------------------------------------ question answering

def windows(model, tokenizer, question, context, max_length, stride):
    """(start logits, end logits, encoding) of each window of the context."""
    e = tokenizer(question, context, truncation="only_second", max_length=max_length, stride=stride,
                  return_overflowing_tokens=True)
    found = []
    for encoding in e.encodings:
        with torch.no_grad():
            out = model(torch.tensor([encoding.ids]),
                        token_type_ids=torch.tensor([encoding.type_ids]))
        found.append((out.start_logits[0].double().numpy(), out.end_logits[0].double().numpy(),
                      encoding))
    return found


def run_qa(windows, context, n_best, longest, v2, threshold):
    """postprocess_qa_predictions of transformers' run_qa, one question: (answer, n-best)."""
    found, null = [], None
    for starts, ends, encoding in windows:
        offsets = [o if s == 1 else None
                   for o, s in zip(encoding.offsets, encoding.sequence_ids)]
        score = starts[0] + ends[0]
        if null is None or score < null[0]:
            null = (score, 0, 0)
        for s in np.argsort(-starts, kind="stable")[:n_best]:
            for e in np.argsort(-ends, kind="stable")[:n_best]:
                if offsets[s] is None or offsets[e] is None or e < s or e - s + 1 > longest:
                    continue
                found.append((starts[s] + ends[e], offsets[s][0], offsets[e][1]))
    if v2:
        found.append(null)
    found = sorted(found, key=lambda x: -x[0])[:n_best]
    if v2 and null not in found:
        found.append(null)
    probs = np.exp([f[0] - found[0][0] for f in found]) if found else np.zeros(0)
    nbest = [{"answer": context[s:e], "start": s, "end": e, "score": p}
             for (_, s, e), p in zip(found, probs / probs.sum())]
    texts = [f for f in found if f[2]]
    if not texts or (v2 and null[0] - texts[0][0] > threshold):
        return "", nbest
    return context[texts[0][1]:texts[0][2]], nbest


def answers(windows, context, top_k, longest, impossible):
    """QuestionAnsweringPipeline.postprocess of transformers 4.57 (5 has none)."""
    found, null = [], 1e6
    for start, end, enc in windows:
        wanted = np.array([s == 1 for s in enc.sequence_ids])
        wanted[0] = True
        p = [np.exp(x - x[wanted].max()) * wanted for x in (start, end)]
        p = [x / x.sum() for x in p]
        null = min(null, p[0][0] * p[1][0])
        p[0][0] = p[1][0] = 0
        both = np.tril(np.triu(np.outer(p[0], p[1])), longest - 1)
        for flat in np.argsort(-both, axis=None, kind="stable")[:top_k]:
            s, e = np.unravel_index(flat, both.shape)
            if not (wanted[s] and wanted[e]):
                continue
            a = enc.word_to_chars(enc.token_to_word(int(s)), 1)[0]
            b = enc.word_to_chars(enc.token_to_word(int(e)), 1)[1]
            same = [f for f in found if f["answer"].lower() == context[a:b].lower()]
            if same:
                same[0]["score"] += both[s, e]
            else:
                found.append({"score": both[s, e], "start": a, "end": b, "answer": context[a:b]})
    if impossible:
        found.append({"score": null, "start": 0, "end": 0, "answer": ""})
    return sorted(found, key=lambda f: -f["score"])[:top_k]
