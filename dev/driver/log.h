/*
log.h - log.jsonl, TensorBoard's events beside it, and what the live line says.
*/
#ifndef LOG_H
#define LOG_H

#include "events.h"

/* log.jsonl: an object a line under Trainer's names. A new run replaces it, as Trainer's
   trainer_state.json has the history of one run: two in one file could not be told apart. */
typedef struct {
    FILE *f;                     /* NULL: there is none */
    int open;                    /* a line was begun */
    uint64_t bytes, hash, lines; /* of what a checkpoint knows of it */
    Events events;
} Log;

/* Begins it, or goes on behind the bytes that a checkpoint knows of: what was written after them is
   written again. */
static int log_start(Log *log, const char *folder)
{
    char path[PATH_MAX];
    uint64_t hash = HASH_START, size = 0;
    if (!folder) return 0;
    if (make_folder("--logging_dir", folder)) return 1;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    const int there = !access(path, F_OK);
    if (log->bytes && !there) warn("%s: is not there, and begins anew", path);
    if (!log->bytes || !there) {
        log->f = fopen(path, "w"), log->lines = 0;
        if (!log->f) return fail("%s: cannot be written: %s", path, strerror(errno));
    } else {
        if (hash_file(&hash, &size, path, log->bytes)) return 1;
        if (size != log->bytes || hash != log->hash)
            return fail(
                "%s: does not begin with the %llu bytes that this run had written: give another "
                "--logging_dir, or put the file back",
                path, (unsigned long long)log->bytes);
        log->f = fopen(path, "r+");
        if (!log->f || ftruncate(fileno(log->f), (off_t)log->bytes) || fseek(log->f, 0, SEEK_END))
            return fail("%s: cannot be written: %s", path, strerror(errno));
    }
    if (events_start(&log->events, folder, (long long)log->lines)) return 1;
    sync_folder(folder); /* their names; log_mark brings what is in them */
    return 0;
}

static void log_number(Log *log, const char *prefix, const char *name, double value, int digits)
{
    if (!log->f) return;
    fprintf(log->f, "%s\"%s%s\": ", log->open ? ", " : "{", prefix, name);
    put_number(log->f, value, digits);
    log->open = 1;
    if (strcmp(name, "step")) events_number(&log->events, prefix, name, value);
}

static void log_free(Log *log)
{
    if (log->f) fclose(log->f);
    log->f = NULL;
    events_free(&log->events);
}

/* What is there now is what a checkpoint knows, or all that there is: it is brought onto the disk.
   A log that cannot be written costs the log, not the training. */
static void log_mark(Log *log, const char *folder)
{
    char path[PATH_MAX];
    uint64_t hash = HASH_START, bytes = 0;
    if (!log->f) return;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    if (!fflush(log->f) && !fsync(fileno(log->f)) && events_sync(&log->events) &&
        !hash_file(&hash, &bytes, path, UINT64_MAX)) {
        log->hash = hash, log->bytes = bytes;
        return;
    }
    warn("%s: cannot be written: %s; going on without it", path, strerror(errno));
    log_free(log);
}

static void log_end(Log *log, double epoch, long long step)
{
    log_number(log, "", "epoch", epoch, 17);
    log_number(log, "", "step", (double)step, 17);
    if (!log->f) return;
    fputs("}\n", log->f);
    log->open = 0, log->lines++;
    if (!fflush(log->f) && !ferror(log->f) && events_end(&log->events, step)) return;
    warn("the log cannot be written: %s; going on without it", strerror(errno));
    log_free(log);
}

/* What a line says of a training. */
typedef struct {
    long long step, total;
    double epoch, loss, rate, norm;
    double speed, left; /* tokens a second, seconds */
} LogLine;

static void log_live(const LogLine *x)
{
    live((double)x->step / (double)x->total,
         "%lld/%lld\t%s left\t%.0f tok/s\tloss %.4f\tepoch %.2f\tlr %.2e\tnorm %.3f", x->step,
         x->total, clock_text(x->left), x->speed, x->loss, x->epoch, x->rate, x->norm);
}

/* The same to stay, and in log.jsonl. */
static void log_line(Log *log, const LogLine *x)
{
    const int columns = terminal_columns(STDOUT_FILENO);
    char fields[256], text[sizeof fields + LIVE_ROOM];
    snprintf(fields, sizeof fields,
             "step %lld/%lld\tepoch %.2f\tloss %.4f\tlr %.2e\tnorm %.3f\t%.0f tokens/s\t%s left",
             x->step, x->total, x->epoch, x->loss, x->rate, x->norm, x->speed, clock_text(x->left));
    live_clear();
    live_line(text, columns ? columns : INT_MAX, -1, fields);
    puts(text);
    fflush(stdout);
    log_number(log, "", "loss", x->loss, 9);
    log_number(log, "", "grad_norm", x->norm, 9);
    log_number(log, "", "learning_rate", x->rate, 9);
    log_end(log, x->epoch, x->step);
}

static void progress(const char *what, size_t done, size_t n, double start)
{
    const double time = seconds() - start;
    live((double)done / (double)n, "%s %zu/%zu\t%s left\t%.0f a second", what, done, n,
         clock_text(time * (double)(n - done) / (double)done), (double)done / time);
}

#endif
