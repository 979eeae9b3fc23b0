/*
seeds.h - --seeds 1,2,3: the flags of each seed's run, what it came to, and the table of all.

    output_dir/seed-N   all that a run with --seed N has in its output_dir, and when it has ended
        result.txt      what decided its result, as state.bin has it, then what came of it, a
                        "result NAME=VALUE" a line: a seed that has ended is not run again
*/
#ifndef SEEDS_H
#define SEEDS_H

#include "checkpoint.h"
#include "command.h"
#include "options.h"
#include "ranks.h"
#include "strategy.h"

#include <sys/stat.h>

enum { MOST_NUMBERS = MAX_METRICS + 3 }; /* best, loss and metrics of an evaluation, train_loss */

typedef struct {
    long long seed;
    char output_dir[PATH_MAX], logging_dir[PATH_MAX];
    int goes_on; /* with --resume_from_checkpoint */
    int num;
    struct {
        char name[MOST_NAME];
        double value;
    } numbers[MOST_NUMBERS]; /* none: it has not ended */
} Seed;

typedef struct {
    Seed *all;
    size_t count;
} Seeds;

static void seeds_free(Seeds *s) { free(s->all); }

/* -- which there are -- */

/* The numbers of a list, with commas between. */
static int read_seeds(Seeds *s, const char *list)
{
    size_t room = 1;
    for (const char *c = list; *c; c++) room += *c == ',';
    s->all = take(room, sizeof *s->all, "seeds");
    for (const char *at = list;; at++) {
        char *end;
        const double number = strtod(at, &end);
        const int n = (int)strcspn(at, ",");
        if (!is_one_of(*at, "0123456789") || end != at + n || number > kinds[SEED].high ||
            number != floor(number))
            return fail("--seeds %s: '%.*s' is not %s; a list is 1,2,3", list, n, at,
                        kinds[SEED].wants);
        for (size_t i = 0; i < s->count; i++)
            if (s->all[i].seed == (long long)number)
                return fail("--seeds %s: %lld stands there twice", list, s->all[i].seed);
        s->all[s->count++].seed = (long long)number;
        at += n;
        if (!*at) return 0;
    }
}

/* Can these runs be made? */
static int seeds_begin(Seeds *s, const Options *o)
{
    const char *const from = o->resume_from_checkpoint;
    if (is_given(o->argc, o->argv, "seed")) return fail("--seed is of one run, --seeds of several");
    if (ranks.count > 1) return fail("--seeds is one process's work: start it without mpirun");
    if (from && *from)
        return fail("--resume_from_checkpoint %s: with --seeds it takes no folder, as each goes on "
                    "from the last in its own",
                    from);
    if (strlen(o->output_dir) + 2 * MOST_NAME > PATH_MAX)
        return fail("--output_dir: the name is too long");
    if (o->logging_dir && strlen(o->logging_dir) + 2 * MOST_NAME > PATH_MAX)
        return fail("--logging_dir: the name is too long");
    if (read_seeds(s, o->seeds)) return 1;
    for (size_t i = 0; i < s->count; i++) {
        Seed *one = &s->all[i];
        one->goes_on = from != NULL;
        snprintf(one->output_dir, PATH_MAX, "%s/seed-%lld", o->output_dir, one->seed);
        if (o->logging_dir)
            snprintf(one->logging_dir, PATH_MAX, "%s/seed-%lld", o->logging_dir, one->seed);
        if (same_file(o->model, one->output_dir, "model.bin") ||
            same_file(o->model, one->output_dir, "best.bin"))
            return fail("--model %s: the run of seed %lld would replace it", o->model, one->seed);
    }
    return 0;
}

/* The flags of one seed's run. Of one that was never begun there is nothing to resume. */
static Options seed_options(const Options *o, const Seed *one)
{
    Options of = *o;
    of.seed = one->seed;
    of.output_dir = one->output_dir;
    if (o->logging_dir) of.logging_dir = one->logging_dir;
    if (!last_checkpoint(one->output_dir, LLONG_MAX)) of.resume_from_checkpoint = NULL;
    return of;
}

/* -- what a run came to -- */

static void add_number(Seed *one, const char *prefix, const char *name, double value)
{
    if (one->num == MOST_NUMBERS) return;
    snprintf(one->numbers[one->num].name, MOST_NAME, "%s%s", prefix, name);
    one->numbers[one->num++].value = value;
}

/* The best evaluation by its metric, and the last one (NULL: there was none). */
static void seed_ends(Seed *one, const Best *best, const Evaluation *e, double train_loss)
{
    one->num = 0;
    if (e) add_number(one, "best_", best_name(best, e), best->value);
    if (e) add_number(one, "eval_", "loss", e->loss);
    for (int i = 0; e && i < e->num_metrics; i++)
        add_number(one, "eval_", e->metrics[i].name, e->metrics[i].value);
    add_number(one, "train_", "loss", train_loss);
}

static const char RESULT[] = "result "; /* begins a line of result.txt that is no setting */

static int save_result(const Seed *one, const char *settings)
{
    Whole file;
    Page page;
    FILE *f = page_begin(&page);
    fputs(settings, f);
    for (int i = 0; i < one->num; i++) {
        fprintf(f, "%s%s=", RESULT, one->numbers[i].name);
        put_number(f, one->numbers[i].value, 17);
        fputs("\n", f);
    }
    char *text = page_text(&page);
    int failed = whole_begin(&file, one->output_dir, "result.txt");
    if (!failed) failed = whole_end(&file, write_all(&file, text, strlen(text)));
    free(text);
    return failed;
}

static const char *result_path(const Seed *one)
{
    static char path[PATH_MAX + MOST_NAME];
    snprintf(path, sizeof path, "%s/result.txt", one->output_dir);
    return path;
}

/* A run that begins anew has not ended. */
static void drop_result(const Seed *one)
{
    if (!unlink(result_path(one))) sync_folder(one->output_dir);
}

/* Reads what a run came to, where one has ended in the seed's folder: of the same settings. */
static int load_result(Seed *one, const char *settings)
{
    const char *path = result_path(one);
    char name[MOST_NAME], value[MOST_NAME];
    struct stat info;
    FILE *f = fopen(path, "rb");
    if (!f && errno == ENOENT) return 0;
    if (!f || fstat(fileno(f), &info) || !S_ISREG(info.st_mode)) {
        if (f) fclose(f);
        return fail("%s: cannot be read", path);
    }
    char *text = take((size_t)info.st_size, 1, "a result");
    const size_t n = fread(text, 1, (size_t)info.st_size, f);
    fclose(f);
    char *at = n == (size_t)info.st_size ? strstr(text, RESULT) : NULL;
    for (char *line = at; line && sscanf(line, "result %63[^=]=%63s", name, value) == 2;) {
        add_number(one, "", name, strcmp(value, "null") ? strtod(value, NULL) : NAN);
        line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
    }
    if (at) *at = '\0'; /* the settings stand before */
    int failed =
        one->num ? setting_lacks(path, text, settings, 0) || setting_lacks(path, settings, text, 1)
                 : fail("%s: is not a run's result", path);
    free(text);
    return failed;
}

/* -- the table -- */

/* Mean of a number over all seeds, and its deviation, with n - 1, that of one seed NaN. */
static double seeds_mean(const Seeds *s, int number, double *deviation)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < s->count; i++) mean += s->all[i].numbers[number].value;
    mean /= (double)s->count;
    for (size_t i = 0; i < s->count; i++) squares += pow(s->all[i].numbers[number].value - mean, 2);
    *deviation = s->count > 1 ? sqrt(squares / (double)(s->count - 1)) : NAN;
    return mean;
}

static void put_column(FILE *f, const char *name, double value)
{
    const int width = imax(8, (int)strlen(name));
    if (isfinite(value)) fprintf(f, "  %*.4f", width, value);
    else fprintf(f, "  %*s", width, "-");
}

/* logs: --logging_dir, or NULL */
static void show_seeds(const Seeds *s, const char *logs)
{
    const Seed *first = s->all;
    Page page;
    FILE *f = page_begin(&page);
    fprintf(f, "\n%-11s", "seed");
    for (int k = 0; k < first->num; k++) fprintf(f, "  %8s", first->numbers[k].name);
    for (size_t i = 0; i < s->count; i++) {
        fprintf(f, "\n%-11lld", s->all[i].seed);
        for (int k = 0; k < first->num; k++)
            put_column(f, first->numbers[k].name, s->all[i].numbers[k].value);
    }
    for (int row = 0; row < 2; row++) {
        fprintf(f, "\n%-11s", row ? "deviation" : "mean");
        for (int k = 0; k < first->num; k++) {
            double deviation, mean = seeds_mean(s, k, &deviation);
            put_column(f, first->numbers[k].name, row ? deviation : mean);
        }
    }
    fprintf(f, "\n");
    if (logs) fprintf(f, "\npython3 dev/plot.py %s/seed-* --band seeds draws them\n", logs);
    page_end(&page, stdout, TEXT_COLUMN);
}

#endif
