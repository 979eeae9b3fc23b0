/*
shards.h - the data files of a run: loaded one at a time, and checked against the model, its head
and each other.
*/
#ifndef SHARDS_H
#define SHARDS_H

#include "data.h"

#include <glob.h>

static int same_names(const BertStrings *a, const BertStrings *b)
{
    if (a->count != b->count) return 0;
    for (size_t i = 0; i < a->count; i++)
        if (!same_text(bert_string(a, i), bert_string(b, i))) return 0;
    return 1;
}

/* LABEL_0, LABEL_1, ...: what Hugging Face makes up where there are no names. */
static int generic_names(const BertStrings *names)
{
    char name[32];
    for (size_t i = 0; i < names->count; i++) {
        snprintf(name, sizeof name, "LABEL_%zu", i);
        if (!same_text(bert_string(names, i), text_of(name))) return 0;
    }
    return 1;
}

static int check_names(const BertStrings *names, const char *whose, const Data *d, const char *help)
{
    Page page;
    if (same_names(names, &d->names)) return 0;
    fail("%s: its labels are not those of %s. %s", d->path, whose, help);
    FILE *f = page_begin(&page);
    fprintf(f, "  %s: ", d->path);
    print_names(f, &d->names, NULL);
    fprintf(f, "  %s: ", whose);
    print_names(f, names, NULL);
    page_end(&page, stderr, 4);
    return 1;
}

/* Loads a data file, and checks that the model can read it, whatever its head. labelled: its labels
   are needed; else they are not read. */
static int load_data(const Bert *m, Data *d, const char *path, int labelled)
{
    const BertTokenizer *t = &m->tokenizer;
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    d->path = path;
    int failed = data_read(d, f);
    fclose(f);
    if (failed) return 1;
    int masked = has_masks(d->task);
    d->labelled &= labelled;
    if (labelled && !d->labelled && !masked)
        return fail("%s: is unlabelled, labels are needed here", path);
    if (labelled && d->n == 0) return fail("%s: has no examples", path);
    if (d->hash != t->hash)
        return fail("%s: was made with another vocabulary or other tokenizer settings than this "
                    "model's: make it again with tokenizer.py --model THIS_MODEL",
                    path);
    if (masked && (!t->vocabulary.count || t->settings[BERT_ID_MASK] < 0))
        return fail("%s: masks need a vocabulary with [MASK]: this model has none", path);
    if (d->V > m->config.V)
        return fail("%s: token ids up to %d, the model has %d", path, d->V - 1, m->config.V);
    if (longest_input(d) > m->config.P)
        return fail("%s: an example has %d tokens, the model reads %d: make it again with "
                    "tokenizer.py --max_length %d",
                    path, longest_input(d), m->config.P, m->config.P);
    if ((d->pairs || draws_pairs(d->task)) && m->config.S < 2)
        return fail("%s: has pairs of texts, the model has one token type only", path);
    return 0;
}

/* Is this data for the head that the model has? whose: of which file that one is. */
static int check_like(const Bert *m, const Data *d, const char *whose)
{
    if (d->task != m->config.task || d->multi_label != m->config.multi_label)
        return fail("%s: is data for another task than %s", d->path, whose);
    return check_names(&m->labels, whose, d, "Make it again with tokenizer.py --like TRAIN.bin.");
}

/* A file and, once all were looked through, what it held then: memory was taken for that. */
typedef struct {
    const char *path;
    size_t n, N; /* n 0: not yet */
    int longest;
} Shard;

typedef struct {
    Shard *all;
    size_t count, open; /* open: which one is in data, counted from 1 */
    Data data;
    glob_t paths;
} Shards;

/* Loads a shard in place of the last one: no two are in memory. One that was looked through may
   have been replaced since. 1: failed, -1: it is there already. */
static int shards_open(Shards *s, const Bert *m, size_t shard, int labelled)
{
    const Shard *was = &s->all[shard];
    Data *d = &s->data;
    if (s->open == shard + 1) return -1;
    free(d->memory);
    memset(d, 0, sizeof *d);
    s->open = 0;
    if (load_data(m, d, was->path, labelled)) return 1;
    if ((shard > 0 || was->n) && check_like(m, d, s->all[0].path)) return 1;
    if (was->n && (d->n != was->n || d->N != was->N || longest_input(d) != was->longest))
        return fail(
            "%s: was changed while it is being trained on: it had %zu examples, %zu tokens, "
            "the longest %d; now %zu, %zu, %d",
            d->path, was->n, was->N, was->longest, d->n, d->N, longest_input(d));
    s->open = shard + 1;
    return 0;
}

/* One file. */
static void shards_one(Shards *s, const char *path)
{
    s->count = 1;
    s->all = take(1, sizeof *s->all, "the sizes of shards");
    s->all->path = path;
}

/* The files of a pattern, sorted. A file of just that name is it, though its letters be a
   pattern's: data[1].bin. A folder that cannot be read may have some of them. */
static int shards_find(Shards *s, const char *pattern)
{
    struct stat info;
    char *name = take(2 * strlen(pattern) + 1, 1, "a path"), *to = name;
    int literal = !stat(pattern, &info);
    for (const char *at = pattern; *at; *to++ = *at++)
        if (literal) *to++ = '\\';
    int error = glob(name, GLOB_NOCHECK | GLOB_ERR, NULL, &s->paths);
    free(name);
    if (error == GLOB_NOSPACE) return fail("%s: no memory for the names of its files", pattern);
    if (error) return fail("%s: its folder cannot be read: %s", pattern, strerror(errno));
    s->count = s->paths.gl_pathc;
    s->all = take(s->count, sizeof *s->all, "the sizes of shards");
    for (size_t i = 0; i < s->count; i++) s->all[i].path = s->paths.gl_pathv[i];
    return 0;
}

static void shards_free(Shards *s)
{
    free(s->data.memory), free(s->all);
    globfree(&s->paths);
}

#endif
