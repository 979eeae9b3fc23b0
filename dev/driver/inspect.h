/*
inspect.h - what a model makes of one text, to be looked at: attention of every layer and head,
norms of the hidden states, each token's nearest words, which tokens a prediction hangs on. One HTML
file that needs no network: the page of dev/page/inspect.html, into which the numbers are written.

    Inspection i = {.m = &m, .path = "model.bin", .text = "a good film", .output_file = "a.html",
                    .in = {.model = &m, .model_path = "model.bin"}, .rules = {1, 15, 0, 0}};
    return inspect(&i);
*/
#ifndef INSPECT_H
#define INSPECT_H

#include "../page/page.h"
#include "saliency.h"
#include "save.h"

/* A page grows by the square of its tokens: of so many MiniLM's has 4 MB. */
enum { NEAREST = 8, USUAL_LENGTH = 128 };

/* ------------------------------------------------------------------------------------------------
   The text */

/* Reads the text, and takes it apart as predict does a line. */
static int read_text(Inspection *i)
{
    Input *in = &i->in;
    const BertConfig *c = &i->m->config;
    const int embed = i->task == BERT_NONE;
    size_t n = i->text ? strlen(i->text) : 0;
    int words = 0;
    if (!in->max_length)
        in->max_length = imin(imin(text_length(c, i->task, embed), c->P), USUAL_LENGTH);
    in->ended = i->text != NULL; /* nothing is waited for */
    if (text_start(in, i->task, embed)) return 1;
    in->cut = 1; /* told here, and not of later lines */
    if (i->text) in->bytes = more(in->bytes, &in->room, n + 1, 1, "the text");
    char *line = i->text ? memcpy(in->bytes, i->text, n) : next_line(in, &n);
    if (line && !in->why[0]) html_string(i->f, ",\n\"text\": ", (BertText){line, n});
    if (line && take_line(in, line, n)) return fail("%s: %s", line_place(in->number), in->why);
    if (!line && in->why[0]) return text_end(in);
    for (int t = 0; line && t < in->e.N; t++) words += in->e.spans[t].text >= 0;
    if (!line)
        return fail("inspect reads a text, its last argument or a line of standard input: there "
                    "is none");
    if (!words) return fail("%s is empty: there is nothing to look into", line_place(in->number));
    one_sequence(i, 0);
    if (in->e.B > 1 && i->task == BERT_QA)
        warn("the context does not fit into %d tokens: only its first window is looked into",
             in->how.max_length);
    else if (in->e.cut > 0)
        warn("%s: cut at %d of %d tokens (--max_length; the model reads %d)",
             line_place(in->number), in->how.max_length, in->how.max_length + in->e.cut, c->P);
    fprintf(i->f, ",\n\"cut\": %d", i->task == BERT_QA ? in->e.B > 1 : in->e.cut);
    return 0;
}

/* What of the text each [UNK] is. */
static void put_unknown(const Inspection *i)
{
    const Bert *m = i->m;
    int n = 0;
    fputs(",\n\"unknown\": {", i->f);
    for (int t = 0; t < i->T; t++) {
        const BertSpan s = i->spans[t];
        if (i->x.tokens[t] != m->tokenizer.settings[BERT_ID_UNK] || s.text < 0) continue;
        const BertText from = {i->in.parts[s.text].bytes + s.start, (size_t)(s.end - s.start)};
        fprintf(i->f, "%s\"%d\"", n++ ? "," : "", t), html_string(i->f, ": ", from);
    }
    fputs("}", i->f);
}

static void put_ids(const Inspection *i)
{
    for (int t = 0; t < i->T; t++)
        html_string(i->f, t ? "," : ",\n\"tokens\": [", piece_of(i->m, i->x.tokens[t]));
    fputs("]", i->f);
    html_ints(i->f, "ids", i->x.tokens, i->T), html_ints(i->f, "types", i->x.types, i->T);
}

/* ------------------------------------------------------------------------------------------------
   What the layers made of the text: norms, attention; and the embedding */

static float norm_of(const float *x, int n)
{
    double sum = 0;
    for (int c = 0; c < n; c++) sum += (double)x[c] * x[c];
    return (float)sqrt(sum);
}

/* Of each token the words whose embeddings have the highest cosine with its own. */
static void put_nearest(const Inspection *i)
{
    const Bert *m = i->m;
    const int V = m->config.V, C = m->config.C;
    const float *wte = m->params.wte;
    float *cosines = take((size_t)V, sizeof *cosines, "cosines");
    float *norms = take((size_t)V, sizeof *norms, "norms");
    int ids[NEAREST];
    for (int v = 0; v < V; v++) norms[v] = norm_of(wte + (size_t)v * (size_t)C, C);
    for (int t = 0; t < i->T; t++) {
        const int id = i->x.tokens[t];
        const float *own = wte + (size_t)id * (size_t)C;
        for (int v = 0; v < V; v++) {
            const float *other = wte + (size_t)v * (size_t)C;
            float dot = 0;
            for (int c = 0; c < C; c++) dot += own[c] * other[c];
            cosines[v] = dot / fmaxf(norms[v] * norms[id], 1e-12f);
        }
        cosines[id] = -2; /* itself */
        const int n = bert_top_k(ids, NULL, cosines, V, imin(NEAREST, V - 1));
        fputs(t ? "],\n[" : ",\n\"near\": [[", i->f);
        for (int j = 0; j < n; j++) html_item(i->f, !j, piece_of(m, ids[j]), cosines[ids[j]]);
    }
    fputs("]]", i->f);
    free(cosines), free(norms);
}

/* The norms of the hidden states: of what the first layer reads, and of each layer's output. */
static void put_norms(const Inspection *i)
{
    const int C = i->m->config.C;
    float *norms = take((size_t)i->T, sizeof *norms, "norms");
    for (int l = -1; l < i->m->config.L; l++) {
        const float *x = l < 0 ? i->m->acts.ln0 : bert_layer_acts(i->m, l, NULL).ln2;
        for (int t = 0; t < i->T; t++) norms[t] = norm_of(x + (size_t)t * (size_t)C, C);
        html_floats(i->f, l < 0 ? ",\n\"norms\": [[" : ",\n[", norms, i->T);
    }
    fputs("]", i->f);
    free(norms);
}

/* p (T): how much query q of a head looks at each token. In double, and so without attstat, whose
   maximum is a float: of sharp heads the fifth digit would be another. */
static void attention_row(const Inspection *i, double *p, const BertActs *a, int h, int q)
{
    const size_t C = (size_t)i->m->config.C, HS = C / (size_t)i->m->config.NH;
    const float *query = a->qkv + (size_t)q * 3 * C + (size_t)h * HS;
    double top = -INFINITY, sum = 0;
    for (int k = 0; k < i->T; k++) {
        const float *key = a->qkv + (size_t)k * 3 * C + C + (size_t)h * HS;
        p[k] = 0;
        for (size_t c = 0; c < HS; c++) p[k] += (double)query[c] * key[c];
        p[k] /= sqrt((double)HS);
        top = fmax(top, p[k]);
    }
    for (int k = 0; k < i->T; k++) sum += p[k] = exp(p[k] - top);
    for (int k = 0; k < i->T; k++) p[k] /= sum;
}

/* A head's probabilities, (T,T): three digits of base 64 each, of 1/262143. */
static void put_head(const Inspection *i, double *p, const BertActs *a, int h)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int q = 0; q < i->T; q++) {
        attention_row(i, p, a, h, q);
        for (int k = 0; k < i->T; k++) {
            const int n = (int)(p[k] * 262143 + 0.5);
            fputc(digits[n >> 12], i->f);
            fputc(digits[n >> 6 & 63], i->f);
            fputc(digits[n & 63], i->f);
        }
    }
}

static int inspect_layers(Inspection *i)
{
    const BertConfig *c = &i->m->config;
    if (c->task && bert_set_task(i->m, BERT_NONE, 0, 0, NULL, 0)) /* for all of the last layer */
        return fail("%s: %s", i->path, bert_error(i->m));
    if (forward(i, &i->x, 1)) return 1;
    double *p = take((size_t)i->T, sizeof *p, "probabilities");
    put_norms(i), put_nearest(i);
    for (int l = 0; l < c->L; l++) {
        const BertActs a = bert_layer_acts(i->m, l, NULL);
        for (int h = 0; h < c->NH; h++) {
            fputs(l + h ? "\",\n\"" : ",\n\"attention\": [\"", i->f);
            put_head(i, p, &a, h);
        }
    }
    fputs("\"]", i->f);
    free(p);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   The page */

static int put_data(Inspection *i)
{
    Bert *m = i->m;
    const BertConfig *c = &m->config;
    FILE *f = i->f;
    if (c->task == BERT_PRETRAINING && bert_set_task(m, BERT_MLM, 0, 0, NULL, 0)) /* as predict */
        return fail("%s: %s", i->path, bert_error(m));
    m->config.hidden_dropout = m->config.att_dropout = m->config.cls_dropout = 0;
    html_string(f, "{\"model\": ", text_of(i->path));
    html_string(f, ",\n\"task\": ", text_of(bert_task(i->task)->name));
    html_string(f, ",\n\"class\": ", text_of(bert_task(i->task)->hf_class));
    fprintf(f, ",\n\"layers\": %d,\n\"heads\": %d,\n\"channels\": %d,\n\"vocabulary\": %d", c->L,
            c->NH, c->C, c->V);
    if (read_text(i) || (i->task && put_prediction(i))) return 1;
    put_ids(i), put_unknown(i);
    if (inspect_layers(i)) return 1;
    fputs("}\n", f);
    return 0;
}

/* The page with the data in it, as a whole file or none. */
static int save_page(const Inspection *i, const Page *data)
{
    Whole w;
    char folder[PATH_MAX];
    const char *path = i->output_file, *slash = strrchr(path, '/'),
               *name = slash ? slash + 1 : path;
    const int n = slash ? (int)(slash - path) + (slash == path) : 1; /* of the folder's name */
    if (!*name) return fail("--output_file: %s is a folder", path);
    if (strlen(path) + MOST_NAME > sizeof folder)
        return fail("--output_file: the name is too long");
    snprintf(folder, sizeof folder, "%.*s", n, slash ? path : ".");
    if (whole_begin(&w, folder, name)) return 1;
    int failed = 0;
    for (size_t l = 0; l < sizeof page / sizeof *page && !failed; l++)
        failed = !strcmp(page[l], "DATA\n") ? write_all(&w, data->text, data->size)
                                            : write_all(&w, page[l], strlen(page[l]));
    return whole_end(&w, failed);
}

static int inspect(Inspection *i)
{
    Page data;
    i->task = i->m->config.task;
    i->f = page_begin(&data);
    int failed = put_data(i);
    char *text = page_text(&data);
    if (!failed) failed = save_page(i, &data);
    if (!failed && i->about[0]) printf("%s  %s\n", bert_task(i->task)->name, i->about);
    if (!failed)
        printf("%s: %d tokens, %d layers of %d heads, %.*f %s, for any browser\n", i->output_file,
               i->T, i->m->config.L, i->m->config.NH, data.size >= 1000000,
               (double)data.size * (data.size < 1000000 ? 1e-3 : 1e-6),
               data.size < 1000000 ? "KB" : "MB");
    free(text), input_free(&i->in);
    return failed;
}

#endif
