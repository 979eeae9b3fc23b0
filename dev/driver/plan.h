/*
plan.h - a training before its first step: how many steps, their learning rate, what is said of the
data.
*/
#ifndef PLAN_H
#define PLAN_H

#include "loader.h"
#include "schedule.h"

typedef struct {
    /* What is wanted, to be set before. */
    double epochs, warmup_steps, warmup_ratio, rate; /* the highest learning rate */
    long long max_steps;
    Schedule schedule; /* started, with its arguments */

    /* What comes of it: optimizer steps. */
    long long total, warmup;
} Plan;

/* How many steps, as Trainer counts them (set_initial_training_values of transformers 5). */
static int plan_steps(Plan *p, size_t steps_an_epoch)
{
    double total = ceil(p->epochs * (double)steps_an_epoch);
    double warmup = floor(p->warmup_steps);
    if (p->max_steps > 0) total = (double)p->max_steps;
    if (p->warmup_steps < 1)
        warmup = ceil(total * (p->warmup_steps > 0 ? p->warmup_steps : p->warmup_ratio));
    if (total > INT_MAX || warmup > INT_MAX) /* bert_adamw counts steps in an int */
        return fail("%.0f steps, %.0f of warmup: the most is %d", total, warmup, INT_MAX);
    p->total = (long long)total;
    p->warmup = p->schedule.row->warms ? (long long)warmup : 0;
    p->schedule.total = total, p->schedule.warmup = (double)p->warmup;
    if (p->warmup >= p->total && p->warmup > 0)
        warn("%lld warmup steps in a run of %lld: the learning rate only rises, to %g", p->warmup,
             p->total, p->rate * schedule_share(&p->schedule, total - 1));
    if (p->warmup != (long long)warmup)
        warn("constant has no warmup; --lr_scheduler_type constant_with_warmup has");
    return 0;
}

/* The learning rate of the step after so many. */
static double plan_rate(const Plan *p, long long step)
{
    return p->rate * schedule_share(&p->schedule, (double)step);
}

static void show_model(FILE *f, const char *path, const Bert *m)
{
    const BertConfig *c = &m->config;
    fprintf(f,
            "model      %s: %zu parameters\n           %d layers, %d heads, hidden %d, "
            "intermediate %d, positions %d, vocabulary %d\n",
            path, m->num_parameters, c->L, c->NH, c->C, c->F, c->P, c->V);
}

static void show_rates(FILE *f, const Bert *m)
{
    const BertConfig *c = &m->config;
    fprintf(f, "dropout    hidden %g, attention %g, classifier %g\n", c->hidden_dropout,
            c->att_dropout, c->cls_dropout < 0 ? c->hidden_dropout : c->cls_dropout);
    if (m->freeze_embeddings && !m->freeze_layers) fprintf(f, "frozen     the embeddings\n");
    else if (m->freeze_layers)
        fprintf(f, "frozen     %sthe first %d layers of %d\n",
                m->freeze_embeddings ? "the embeddings and " : "", m->freeze_layers, c->L);
}

/* All that the loader found at a path, or in the files of a pattern. */
static void show_data(FILE *f, const char *what, const char *path, const Loader *l)
{
    const Data *d = l->data;
    fprintf(f, "%-10s %s: ", what, l->files.count > 1 ? path : d->path);
    if (l->files.count > 1) fprintf(f, "%zu files, ", l->files.count);
    fprintf(f, "%zu examples, %zu tokens, the longest %d\n", l->examples, l->tokens, l->longest);
    if (l->groups) fprintf(f, "           %zu %s\n", l->groups, group_names[d->task]);
}

static void show_labels(FILE *f, const Loader *l)
{
    if (!l->data->K) return;
    fprintf(f, "           ");
    print_names(f, &l->data->names, l->label_counts);
}

#endif
