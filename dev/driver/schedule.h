/*
schedule.h - learning rate schedules: a row each, by which --lr_scheduler_type knows its choices,
and their arguments (--lr_scheduler_kwargs).
*/
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "json.h"

#include <stddef.h>

/* The arguments that a schedule may have: numbers, or a type: the index of its name. NAN: not
   given. */
#define SCHEDULE_ARGUMENTS(X)                                                                      \
    X(num_cycles)                                                                                  \
    X(lr_end)                                                                                      \
    X(power)                                                                                       \
    X(timescale)                                                                                   \
    X(min_lr)                                                                                      \
    X(min_lr_rate)                                                                                 \
    X(warmup_lr_rate)                                                                              \
    X(num_decay_steps)                                                                             \
    X(num_stable_steps)                                                                            \
    X(min_lr_ratio)                                                                                \
    X(warmup_type)                                                                                 \
    X(decay_type)

#define ARGUMENT_FIELD(name) double name;
#define ARGUMENT_ROW(name) {#name, offsetof(Schedule, name)},
typedef struct ScheduleRow ScheduleRow;
typedef struct {
    const ScheduleRow *row;
    double rate, warmup, total; /* --learning_rate; steps */
    SCHEDULE_ARGUMENTS(ARGUMENT_FIELD)
} Schedule;

static const struct {
    const char *name;
    size_t field;
} schedule_arguments[] = {SCHEDULE_ARGUMENTS(ARGUMENT_ROW)};
enum { NUM_ARGUMENTS = sizeof schedule_arguments / sizeof schedule_arguments[0] };

/* -- the shapes: as transformers' optimization.py, in double and in its order of operations -- */

static const char *const schedule_types[] = {"linear", "cosine", "1-sqrt"};
static const double PI = 3.14159265358979323846;

static double rising(const Schedule *s, double step) { return step / fmax(1, s->warmup); }

/* How far a step is between the warmup's end (0) and the run's (1). */
static double along(const Schedule *s, double step)
{
    return (step - s->warmup) / fmax(1, s->total - s->warmup);
}

static double left(const Schedule *s, double step)
{
    return fmax(0, (s->total - step) / fmax(1, s->total - s->warmup));
}

static double wave(double cycles, double progress)
{
    return 0.5 * (1 + cos(PI * cycles * 2 * progress));
}

/* A share of 0 to 1 as one of least to 1. */
static double above(double least, double share) { return fmax(0, share * (1 - least) + least); }

static double restarting(const Schedule *s, double step)
{
    const double cycles = s->num_cycles * along(s, step);
    return along(s, step) >= 1 ? 0 : fmax(0, 0.5 * (1 + cos(PI * (cycles - floor(cycles)))));
}

static double polynomial(const Schedule *s, double step)
{
    const double rest = 1 - (step - s->warmup) / (s->total - s->warmup);
    return ((s->rate - s->lr_end) * pow(rest, s->power) + s->lr_end) / s->rate;
}

/* Without a timescale that is the warmup, and without one 10,000. */
static double inverse_sqrt(const Schedule *s, double step)
{
    const double scale = !isnan(s->timescale) ? s->timescale : s->warmup > 0 ? s->warmup : 10000;
    return 1 / sqrt((step + (scale - s->warmup)) / scale);
}

/* cosine_warmup_with_min_lr counts from 1: its first step has a rate above 0, its last one the
   least. Not so its warmup where warmup_lr_rate is given, which begins there and ends at 1. */
static double rising_from(const Schedule *s, double step)
{
    const double first = s->warmup_lr_rate;
    if (isnan(first)) return (step + 1) / fmax(1, s->warmup);
    return first + (1 - first) * step / fmax(1, s->warmup - 1);
}

static double waving_from(const Schedule *s, double step)
{
    const double progress = (step - s->warmup + 1) / fmax(1, s->total - s->warmup);
    return above(s->min_lr_rate, wave(s->num_cycles, progress));
}

/* warmup_stable_decay's warmup begins at min_lr_ratio, and not at 0. */
static double rising_by_type(const Schedule *s, double step)
{
    const double progress = rising(s, step);
    const double shapes[] = {progress, 0.5 * (1 - cos(PI * progress)), 1 - sqrt(1 - progress)};
    return above(s->min_lr_ratio, shapes[(int)s->warmup_type]);
}

/* A run that has no room for the decay begins somewhere in it: its stable steps are below 0. */
static double falling_by_type(const Schedule *s, double step)
{
    const double stable = isnan(s->num_stable_steps) ? s->total - s->warmup - s->num_decay_steps
                                                     : s->num_stable_steps;
    const double progress = (step - s->warmup - stable) / fmax(1, s->num_decay_steps);
    if (step < s->warmup + stable) return 1;
    if (step >= s->warmup + stable + s->num_decay_steps) return s->min_lr_ratio;
    const double shapes[] = {1 - progress, wave(s->num_cycles, progress), 1 - sqrt(progress)};
    return above(s->min_lr_ratio, shapes[(int)s->decay_type]);
}

/* -- the table: name; whether it has a warmup; arguments with their defaults; its share of
   --learning_rate in the warmup, and after it -- */

#define SCHEDULES(X)                                                                               \
    X(linear, 1, "", rising(s, step), left(s, step))                                               \
    X(cosine, 1, "num_cycles=0.5", rising(s, step), fmax(0, wave(s->num_cycles, along(s, step))))  \
    X(cosine_with_restarts, 1, "num_cycles=1", rising(s, step), restarting(s, step))               \
    X(polynomial, 1, "lr_end=1e-7 power=1", rising(s, step), polynomial(s, step))                  \
    X(constant, 0, "", 1, 1)                                                                       \
    X(constant_with_warmup, 1, "", rising(s, step), 1)                                             \
    X(inverse_sqrt, 1, "timescale", rising(s, step), inverse_sqrt(s, step))                        \
    X(cosine_with_min_lr, 1, "num_cycles=0.5 min_lr min_lr_rate", rising(s, step),                 \
      above(s->min_lr_rate, wave(s->num_cycles, along(s, step))))                                  \
    X(cosine_warmup_with_min_lr, 1, "num_cycles=0.5 min_lr min_lr_rate warmup_lr_rate",            \
      rising_from(s, step), waving_from(s, step))                                                  \
    X(warmup_stable_decay, 1,                                                                      \
      "num_decay_steps num_stable_steps warmup_type=linear decay_type=cosine min_lr_ratio=0 "      \
      "num_cycles=0.5",                                                                            \
      rising_by_type(s, step), falling_by_type(s, step))

#define SCHEDULE_CHOICE(name, ...) "|" #name
#define SCHEDULE_CHOICES &SCHEDULES(SCHEDULE_CHOICE)[1] /* a list of them, without the first | */

#define SCHEDULE_SHARE(name, warms, arguments, rise, fall)                                         \
    static double share_of_##name(const Schedule *s, double step)                                  \
    {                                                                                              \
        return step < s->warmup ? (rise) : (fall);                                                 \
    }
#define SCHEDULE_ROW(name, warms, arguments, ...) {#name, arguments, warms, share_of_##name},
SCHEDULES(SCHEDULE_SHARE)

struct ScheduleRow {
    const char *name, *arguments;
    int warms;
    double (*share)(const Schedule *s, double step);
};

static const ScheduleRow schedules[] = {SCHEDULES(SCHEDULE_ROW)};

/* The share of --learning_rate for the step after so many. */
static double schedule_share(const Schedule *s, double step) { return s->row->share(s, step); }

/* What follows a name in a schedule's arguments; NULL: it has no such. */
static const char *argument_of(const Schedule *s, BertText name)
{
    for (const char *at = s->row->arguments; *at; at += strspn(at, " ")) {
        const BertText word = {at, strcspn(at, "= ")};
        if (same_text(word, name)) return at + word.size;
        at += strcspn(at, " ");
    }
    return NULL;
}

static int has_type(BertText name)
{
    return name.size > 5 && !memcmp(name.bytes + name.size - 5, "_type", 5);
}

/* Stores an argument's value; 0 where it is none. "2" is 2, as for Trainer. */
static int set_argument(Schedule *s, BertText name, BertText value)
{
    char text[64];
    double number = NAN;
    snprintf(text, sizeof text, "%.*s", (int)zmin(value.size, sizeof text - 1), value.bytes);
    const size_t plain = strspn(text, "0123456789.e+-E");
    if (!has_type(name) && plain && plain == value.size) {
        char *end;
        number = strtod(text, &end);
        if (*end || number < 0) number = NAN;
    }
    for (int i = 0; i < 3 && has_type(name); i++)
        if (same_text(value, text_of(schedule_types[i]))) number = i;
    for (int i = 0; i < NUM_ARGUMENTS; i++)
        if (same_text(name, text_of(schedule_arguments[i].name)))
            memcpy((char *)s + schedule_arguments[i].field, &number, sizeof number);
    return isfinite(number);
}

/* --lr_scheduler_kwargs, a JSON object; null is as if the argument were not there. */
static int set_arguments(Schedule *s, char *at, char *end)
{
    char *next = json_skip(at, end, '{'), *last = json_skip(next, end, '}');
    for (BertText key, value; !last;
         next = json_skip(at, end, ','), last = json_skip(at, end, '}')) {
        int quoted;
        at = json_field(next, end, &key, &value, &quoted);
        if (!at) break;
        if (!argument_of(s, key))
            return fail("--lr_scheduler_kwargs: %s has no '%.*s'; it takes %s", s->row->name,
                        imin((int)key.size, 100), key.bytes,
                        *s->row->arguments ? s->row->arguments : "nothing");
        if (!quoted && *value.bytes == 'n') continue;
        if (!set_argument(s, key, value))
            return fail("--lr_scheduler_kwargs: %.*s is '%.*s', and not %s", (int)key.size,
                        key.bytes, imin((int)value.size, 100), value.bytes,
                        has_type(key) ? "linear, cosine or 1-sqrt" : "a number >= 0");
    }
    if (last && json_skip(last, end, 0) == end) return 0;
    return fail("--lr_scheduler_kwargs: is no JSON object, as {\"num_cycles\": 2}");
}

/* What a schedule cannot do without: as transformers refuses it. */
static int check_arguments(Schedule *s)
{
    const char *name = s->row->name;
    const int rates = argument_of(s, text_of("min_lr_rate")) != NULL;
    if (rates && isnan(s->min_lr) == isnan(s->min_lr_rate))
        return fail("--lr_scheduler_type %s needs min_lr or min_lr_rate in --lr_scheduler_kwargs, "
                    "%s",
                    name, isnan(s->min_lr) ? "as {\"min_lr_rate\": 0.1}" : "and not both");
    if (rates && isnan(s->min_lr_rate)) {
        if (!(s->rate > 0)) return fail("--learning_rate is 0: no min_lr can be a share of it");
        s->min_lr_rate = s->min_lr / s->rate;
    }
    if (s->lr_end >= s->rate)
        return fail("--lr_scheduler_type %s: lr_end is %g, and has to be below --learning_rate %g",
                    name, s->lr_end, s->rate);
    if (s->timescale <= 0)
        return fail("--lr_scheduler_kwargs: timescale is 0, and has to be above");
    if (argument_of(s, text_of("num_decay_steps")) && isnan(s->num_decay_steps))
        return fail("--lr_scheduler_type %s needs num_decay_steps in --lr_scheduler_kwargs, as "
                    "{\"num_decay_steps\": 100}",
                    name);
    return 0;
}

/* The one of that name, which parsing the flag has found among the choices, with its arguments
   (NULL: the defaults). Warmup and total are set when they are known. */
static int schedule_start(Schedule *s, const char *name, const char *arguments, double rate)
{
    *s = (Schedule){.row = schedules, .rate = rate};
    while (strcmp(s->row->name, name)) s->row++;
    for (int i = 0; i < NUM_ARGUMENTS; i++) {
        const BertText argument = text_of(schedule_arguments[i].name);
        const char *given = argument_of(s, argument);
        const int has = given && *given == '=';
        const BertText value = {has ? given + 1 : "", has ? strcspn(given + 1, " ") : 0};
        set_argument(s, argument, value);
    }
    if (arguments) {
        const size_t n = strlen(arguments);
        char *copy = take(n, 1, "a flag"); /* whose escapes are undone in place */
        memcpy(copy, arguments, n);
        int failed = set_arguments(s, copy, copy + n);
        free(copy);
        if (failed) return 1;
    }
    return check_arguments(s);
}

#endif
