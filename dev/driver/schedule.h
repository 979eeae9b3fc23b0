/*
schedule.h - learning rate schedules: a row each, by which --lr_scheduler_type knows its choices.
*/
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include <math.h>
#include <string.h>

/* Name, whether it has a warmup, and its share of --learning_rate after that, where left falls from
   1 to 0 along a line: as transformers' optimization.py, in double as there. */
#define SCHEDULES(X)                                                                               \
    X(linear, 1, left)                                                                             \
    X(cosine, 1, 0.5 * (1 + cos(3.14159265358979323846 * (1 - left))))                             \
    X(constant, 0, 1)                                                                              \
    X(constant_with_warmup, 1, 1)

#define SCHEDULE_CHOICE(name, ...) "|" #name
#define SCHEDULE_CHOICES &SCHEDULES(SCHEDULE_CHOICE)[1] /* a list of them, without the first | */

#define SCHEDULE_SHARE(name, warms, share)                                                         \
    static double share_of_##name(double left) { return (void)left, (share); }
#define SCHEDULE_ROW(name, warms, share) {#name, warms, share_of_##name},
SCHEDULES(SCHEDULE_SHARE)

typedef struct {
    const char *name;
    int warms;
    double (*share)(double left);
} Schedule;

static const Schedule schedules[] = {SCHEDULES(SCHEDULE_ROW)};

/* The one of that name, which parsing the flag has found among the choices. */
static const Schedule *schedule_of(const char *name)
{
    const Schedule *s = schedules;
    while (strcmp(s->name, name)) s++;
    return s;
}

/* The share for the step after so many; the first of a warmup has 0. */
static double schedule_share(const Schedule *s, long step, long warmup, long total)
{
    const double line = bert_linear_schedule(step, warmup, total);
    return step < warmup ? line : s->share(line);
}

#endif
