/*
checkpoint.h - a run's output_dir: what is saved there, what an earlier run has left, and where a
training can go on: checkpoint-N, N the optimizer steps that were made.

    model.bin   a model file as any other: eval, predict and export read it
    best.bin    the best model so far, where there is one
    state.bin   all else that the next step depends on: state.h

The folder is made as checkpoint-N.tmp, each file is brought onto the disk, and then it is renamed:
it is whole, or it is not there. Before anything of it is removed it is renamed again, on the disk.
*/
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "state.h"

#include <dirent.h>

/* Removes a folder of a checkpoint. What is not of one is left, and then so is the folder. */
static void remove_checkpoint(const char *path)
{
    static const char *const names[] = {"state.bin",     "state.bin.tmp", "model.bin",
                                        "model.bin.tmp", "best.bin",      "best.bin.tmp"};
    char file[PATH_MAX + 2 * MOST_NAME];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        unlink(file);
    }
    rmdir(path);
}

/* folder/PREFIX-N.SUFFIX: of all that are there N, rising; the caller frees them. */
static size_t list_steps(long long **steps, const char *folder, const char *prefix,
                         const char *suffix)
{
    size_t n = 0, room = 0;
    DIR *all = opendir(folder);
    *steps = NULL;
    for (struct dirent *entry; all && (entry = readdir(all)) != NULL;) {
        char name[MOST_NAME];
        const size_t skip = strlen(prefix);
        const long long step =
            strncmp(entry->d_name, prefix, skip) ? 0 : strtoll(entry->d_name + skip, NULL, 10);
        snprintf(name, sizeof name, "%s%lld%s", prefix, step, suffix);
        if (step < 1 || strcmp(name, entry->d_name)) continue;
        *steps = more(*steps, &room, n + 1, sizeof **steps, "the names of checkpoints");
        size_t at = n++;
        for (; at > 0 && (*steps)[at - 1] > step; at--) (*steps)[at] = (*steps)[at - 1];
        (*steps)[at] = step;
    }
    if (all) closedir(all);
    return n;
}

/* Where in folder that is, in turns of four: path_of(...) may be an argument several times. */
static const char *path_of(const char *folder, const char *prefix, long long step,
                           const char *suffix)
{
    static char paths[4][PATH_MAX + MOST_NAME];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s%lld%s", folder, prefix, step, suffix);
    return path;
}

/* What killed runs have left of checkpoints in the making, or on their way out. */
static void sweep_checkpoints(const char *folder)
{
    static const char *const suffixes[] = {".tmp", ".old"};
    for (int k = 0; k < 2; k++) {
        long long *steps;
        size_t n = list_steps(&steps, folder, "checkpoint-", suffixes[k]);
        for (size_t i = 0; i < n; i++)
            remove_checkpoint(path_of(folder, "checkpoint-", steps[i], suffixes[k]));
        free(steps);
    }
}

/* It has no name any more before anything in it is removed. */
static void drop_checkpoint(const char *folder, const char *prefix, long long step)
{
    const char *temporary = path_of(folder, "checkpoint-", step, ".tmp");
    remove_checkpoint(temporary);
    if (rename(path_of(folder, prefix, step, ""), temporary)) return;
    sync_folder(folder);
    remove_checkpoint(temporary);
}

/* An earlier run's, those after a step, become earlier-checkpoint-N, or where overwrite is set
   nothing. */
static void checkpoints_aside(const char *folder, long long step, int overwrite)
{
    long long *steps, *older;
    size_t n = list_steps(&steps, folder, "checkpoint-", ""), first = 0;
    while (first < n && steps[first] <= step) first++;
    const int any = step == 0 || first < n;
    const size_t count = any ? list_steps(&older, folder, "earlier-checkpoint-", "") : 0;
    for (size_t i = 0; i < count; i++) drop_checkpoint(folder, "earlier-checkpoint-", older[i]);
    if (any) free(older);
    for (size_t i = first; i < n; i++)
        if (overwrite || rename(path_of(folder, "checkpoint-", steps[i], ""),
                                path_of(folder, "earlier-checkpoint-", steps[i], "")))
            drop_checkpoint(folder, "checkpoint-", steps[i]);
    sync_folder(folder); /* before there is one of this run */
    if (first < n && !overwrite) {
        Page page;
        fprintf(page_begin(&page),
                "kept       %s/checkpoint-%lld%s of an earlier run as earlier-checkpoint-%lld\n",
                folder, steps[n - 1], n - first > 1 ? " and others" : "", steps[n - 1]);
        page_end(&page, stdout, 11);
    }
    free(steps);
}

/* A run's output_dir, which is its own until folder_close. */
typedef struct {
    const char *path;
    int overwrite; /* what an earlier run has left goes, else it is kept as earlier-... */
    int begun;     /* its models are out of the way */
    Lock lock;
} Folder;

static int folder_open(Folder *f, const char *flag, const char *path, int overwrite)
{
    f->path = path, f->overwrite = overwrite;
    return make_folder(flag, path) || lock_folder(&f->lock, flag, path);
}

static void folder_close(Folder *f) { unlock_folder(&f->lock); }

/* An earlier run's models go out of the way of this one's. */
static int folder_begin(Folder *f)
{
    static const char *const names[] = {"model.bin", "best.bin"};
    if (f->begun) return 0;
    int failed = set_aside(f->path, names, 2, f->overwrite);
    f->begun = !failed; /* should a save fail, the next must not set that aside again */
    return failed;
}

/* Writes a model there. After the first one an earlier run's checkpoints are of no use, either. */
static int folder_save(Folder *f, Bert *m, const char *name)
{
    Whole file;
    const int first = !f->begun;
    for (size_t i = 0; i < m->num_parameters; i++)
        if (!isfinite(m->params_memory[i]))
            return fail("%s/%s: not saved: parameters are no longer finite numbers", f->path, name);
    if (access(f->path, F_OK) && errno == ENOENT) {
        warn("%s: is gone, and made again", f->path);
        if (make_folder("--output_dir", f->path)) return 1;
    }
    if (whole_begin(&file, f->path, name)) return 1;
    int failed = bert_save(m, file.temporary) ? fail("%s", bert_error(m)) : 0;
    if (!failed) failed = folder_begin(f); /* now there is something in their place */
    if (whole_end(&file, failed)) return 1;
    if (first) checkpoints_aside(f->path, 0, f->overwrite);
    return 0;
}

/* Trainer's save_total_limit: the oldest go, but for the last and that of the best step. */
static void limit_checkpoints(const char *folder, long long limit, long long best)
{
    long long *steps;
    size_t n = list_steps(&steps, folder, "checkpoint-", ""), left = n;
    for (size_t i = 0; i + 1 < n && left > (size_t)limit; i++)
        if (steps[i] != best) drop_checkpoint(folder, "checkpoint-", steps[i]), left--;
    free(steps);
}

/* The last step that folder has a checkpoint of, below before; 0: none. */
static long long last_checkpoint(const char *folder, long long before)
{
    long long *steps, last = 0;
    size_t n = list_steps(&steps, folder, "checkpoint-", "");
    for (size_t i = 0; i < n; i++)
        if (steps[i] < before) last = steps[i];
    free(steps);
    return last;
}

/* Makes folder/checkpoint-N of folder's model.bin, and of its best.bin where there is a best. One
   that is there, of a run that was stopped later and goes on from an earlier one, goes. */
static int save_checkpoint(const RunState *c, const char *folder, long long step, int has_best)
{
    char temporary[PATH_MAX + MOST_NAME], path[PATH_MAX + MOST_NAME], from[PATH_MAX + MOST_NAME];
    char old[PATH_MAX + MOST_NAME];
    uint64_t hashes[2] = {0, 0}, size = 0;
    snprintf(path, sizeof path, "%s", path_of(folder, "checkpoint-", step, ""));
    snprintf(temporary, sizeof temporary, "%s", path_of(folder, "checkpoint-", step, ".tmp"));
    snprintf(old, sizeof old, "%s", path_of(folder, "checkpoint-", step, ".old"));
    remove_checkpoint(temporary);
    if (mkdir(temporary, 0777)) return fail("%s: cannot be made: %s", temporary, strerror(errno));
    int failed = 0;
    for (int i = 0; i < 1 + has_best && !failed; i++) {
        const char *name = i ? "best.bin" : "model.bin";
        hashes[i] = HASH_START;
        snprintf(from, sizeof from, "%s/%s", folder, name);
        failed =
            hash_file(&hashes[i], &size, from, UINT64_MAX) || share_file(from, temporary, name);
    }
    if (!failed) failed = save_state(c, temporary, hashes[0], hashes[1]);
    if (!failed) rename(path, old); /* of the same run, which was stopped later */
    if (!failed && rename(temporary, path)) {
        failed = fail("%s: cannot be saved: %s", path, strerror(errno));
        rename(old, path);
    }
    if (failed) return remove_checkpoint(temporary), 1;
    sync_folder(folder);
    remove_checkpoint(old);
    return 0;
}

/* Is the folder's file the one that was saved there? */
static int check_file(char *path, const char *folder, const char *name, uint64_t hash)
{
    uint64_t now = HASH_START, size = 0;
    snprintf(path, PATH_MAX + MOST_NAME, "%s/%s", folder, name);
    if (hash_file(&now, &size, path, UINT64_MAX)) return 1;
    return now == hash ? 0 : fail("%s: is not the file that was saved there", path);
}

/* Gives c's model, which has the shape already, the parameters and all of RUN_FIELDS that were
   saved. */
static int load_checkpoint(RunState *c, const char *folder)
{
    char path[PATH_MAX + MOST_NAME];
    int32_t w[HEADER_WORDS];
    Bert saved = {0};
    if (strlen(folder) + MOST_NAME > PATH_MAX) return fail("%s: the name is too long", folder);
    snprintf(path, sizeof path, "%s/state.bin", folder);
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    int failed = read_state(c, path, f, w);
    fclose(f);
    if (failed || (c->best && check_file(path, folder, "best.bin", c->best)) ||
        check_file(path, folder, "model.bin", wide(w + 8)))
        return 1;
    failed = bert_load(&saved, path) ? fail("%s", bert_error(&saved)) : 0;
    if (!failed && saved.num_parameters != c->m->num_parameters)
        failed =
            fail("%s: %zu parameters, not %zu", path, saved.num_parameters, c->m->num_parameters);
    if (!failed)
        memcpy(c->m->params_memory, saved.params_memory, saved.num_parameters * sizeof(float));
    bert_free(&saved);
    return failed;
}

/* The folder's best.bin becomes that of the run. */
static int restore_best(const RunState *c, const char *folder, const char *output)
{
    char path[PATH_MAX + MOST_NAME];
    snprintf(path, sizeof path, "%s/best.bin", folder);
    return c->best && share_file(path, output, "best.bin");
}

#endif
