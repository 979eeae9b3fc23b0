/*
strategy.h - when a training logs, evaluates, saves and stops, as Trainer's flags say, and which
evaluation is the best.
*/
#ifndef STRATEGY_H
#define STRATEGY_H

#include "tasks.h"

/* ------------------------------------------------------------------------------------------------
   What is due */

typedef struct {
    const char *logging, *eval, *save;            /* no, epoch or steps; save: or best */
    double logging_steps, eval_steps, save_steps; /* below 1: shares of all steps; eval: < 0 none */
    int logs_first, loads_best;
} Strategy;

enum { DUE_LOG = 1, DUE_MODEL = 2, DUE_EVAL = 4, DUE_SAVE = 8 };

static int is_due(const char *when, double steps, long long step, int ends)
{
    return !strcmp(when, "epoch") ? ends : !strcmp(when, "steps") && step % (long long)steps == 0;
}

/* What is due after a step: a line of the log, model.bin, an evaluation, a checkpoint. At the run's
   end what goes by steps is, too, and the log has a line: short runs have theirs then. */
static int due(const Strategy *s, long long step, int epoch_ends, int run_ends)
{
    const int ends = epoch_ends || run_ends, eval_steps = !strcmp(s->eval, "steps");
    const int log = is_due(s->logging, s->logging_steps, step, ends) ||
                    (s->logs_first && step == 1) || (run_ends && strcmp(s->logging, "no"));
    const int eval = is_due(s->eval, s->eval_steps, step, ends) || (run_ends && eval_steps);
    const int save =
        is_due(s->save, s->save_steps, step, ends) || (run_ends && !strcmp(s->save, "steps"));
    return log * DUE_LOG + ends * DUE_MODEL + eval * DUE_EVAL + save * DUE_SAVE;
}

/* How many evaluations there are in so many steps, or epochs; --eval_strategy is not no. */
static double evaluations(const Strategy *s, long long total, double epochs)
{
    return ceil(strcmp(s->eval, "steps") ? epochs : (double)total / s->eval_steps);
}

/* Trainer's checks. Then all numbers of steps are whole. */
static int strategy_start(Strategy *s, long long total)
{
    double *const steps[] = {&s->logging_steps, &s->eval_steps, &s->save_steps};
    if (s->eval_steps < 0) s->eval_steps = s->logging_steps;
    if (s->loads_best && strcmp(s->save, "best")) {
        const double large = 1e6; /* Trainer's: shares have as many digits */
        const double save = s->save_steps, eval = s->eval_steps;
        if (strcmp(s->save, s->eval))
            return fail(
                "--load_best_model_at_end needs --save_strategy %s, that of the evaluation, "
                "or best; it is %s",
                s->eval, s->save);
        if (!strcmp(s->eval, "steps") && (save < 1) != (eval < 1))
            return fail("--load_best_model_at_end: --save_steps %g and --eval_steps %g have to be "
                        "both numbers of steps, or both shares",
                        save, eval);
        if (!strcmp(s->eval, "steps") &&
            fmod(save < 1 ? rint(save * large) : save, eval < 1 ? rint(eval * large) : eval) != 0)
            return fail("--load_best_model_at_end: --save_steps %g is no multiple of --eval_steps "
                        "%g",
                        save, eval);
    }
    for (int i = 0; i < 3; i++)
        if (*steps[i] < 1) *steps[i] = ceil((double)total * *steps[i]);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   The best evaluation */

enum { NEVER = -1 }; /* in place of a step */

typedef struct {
    /* What is wanted, to be set before. */
    const char *metric; /* NULL: the task's first, of equal ones the lower loss */
    int lower;          /* is better */
    long long patience; /* so many evaluations that are no better end the run; 0: none does */
    double threshold;   /* better by no more is no better */

    /* So far. */
    long long step; /* of the best, or NEVER */
    double value, loss;
    long long misses; /* evaluations in a row that are no better */
} Best;

static const char *best_name(const Best *b, const Evaluation *e)
{
    return b->metric ? b->metric : e->metrics[0].name;
}

/* Index of the metric in the evaluation; -1: it is the loss; NEVER - 1: there is no such one. */
static int best_index(const Best *b, const Evaluation *e)
{
    int i = 0;
    if (!b->metric) return 0;
    if (!strcmp(b->metric, "loss")) return -1;
    while (i < e->num_metrics && strcmp(b->metric, e->metrics[i].name)) i++;
    return i < e->num_metrics ? i : NEVER - 1;
}

/* Is there such a metric? What it is called is known before anything is measured. */
static int best_start(Best *b, Evaluation *e, const Data *d, const char *greater)
{
    char names[256] = "loss";
    const char *metric = b->metric;
    if (metric && !strncmp(metric, "eval_", 5)) b->metric = metric += 5;
    const size_t n = metric ? strlen(metric) : 0;
    b->lower = n >= 4 && !strcmp(metric + n - 4, "loss"); /* as Trainer has it */
    if (greater) b->lower = *greater == 'f' || *greater == 'F';
    evaluation_clear(e, d);
    tasks[d->task].measure(e, d);
    for (int i = 0; i < e->num_metrics; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), ", %s", e->metrics[i].name);
    if (best_index(b, e) < -1)
        return fail("--metric_for_best_model: '%s' is none that %s is measured by: %s", metric,
                    bert_task(d->task)->name, names);
    if (metric && !greater && !b->lower &&
        (!strcmp(metric, "mse") || !strcmp(metric, "perplexity")))
        warn("--metric_for_best_model %s: higher is better, as Trainer has it; for lower add "
             "--greater_is_better false",
             metric);
    return 0;
}

/* A metric that is none (NaN) is below all. */
static int is_ahead(const Best *b, double value)
{
    if (isnan(b->value) || isnan(value)) return isnan(b->value) && !isnan(value);
    return b->lower ? value < b->value : value > b->value;
}

static int is_better(const Best *b, double value, double loss)
{
    const int equal = value == b->value || (isnan(value) && isnan(b->value));
    if (b->step == NEVER) return 1;
    return is_ahead(b, value) || (!b->metric && equal && loss < b->loss);
}

/* Takes an evaluation in, as Trainer and EarlyStoppingCallback do. 1: it is the best so far. */
static int best_of(Best *b, const Evaluation *e, long long step)
{
    const int i = best_index(b, e);
    const double value = i < 0 ? e->loss : e->metrics[i].value;
    const int better = is_better(b, value, e->loss), ahead = b->step == NEVER || is_ahead(b, value);
    const int enough = b->step == NEVER || isnan(b->value) || fabs(value - b->value) > b->threshold;
    b->misses = ahead && enough ? 0 : b->misses + 1;
    if (better) b->value = value, b->loss = e->loss, b->step = step;
    return better;
}

/* What of them decides the result, as lines name=value. */
static void put_strategy(FILE *f, const Strategy *s, const Best *b)
{
    fprintf(f, "eval_strategy=%s\n", s->eval);
    if (!strcmp(s->eval, "steps")) fprintf(f, "eval_steps=%.0f\n", s->eval_steps);
    fprintf(f, "metric_for_best_model=%s, the %s the better\n", b->metric ? b->metric : "the first",
            b->lower ? "lower" : "higher");
}

static int out_of_patience(const Best *b) { return b->patience && b->misses >= b->patience; }

#endif
