/* Learning rate schedules (dev/driver/schedule.h): values that transformers.get_scheduler gave, and
   arguments that are refused. dev/check/schedules.py compares every step. */
#include "test.h"
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function" /* of a room that is included alone */
#endif
#define BERT_IMPLEMENTATION
static int fail_quietly(const char *format, ...);
#include "dev/driver/report.h"
#define fail fail_quietly
#include "dev/driver/schedule.h"

static char told[512];
static int fail_quietly(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(told, sizeof told, format, args);
    va_end(args);
    return 1;
}

static void test_values(void)
{
    static const struct {
        const char *name, *arguments;
        double warmup, total, at[4]; /* the shares of steps 0, 2, 11, 19 */
    } rows[] = {
        {"constant", NULL, 0, 20, {1, 1, 1, 1}},
        {"linear", NULL, 5, 20, {0, 0.4, 0.6, 0.0666666666667}},
        {"cosine", NULL, 5, 20, {0, 0.4, 0.654508497187, 0.0109261996331}},
        {"cosine",
         "{\"num_cycles\": \"1.25\"}",
         0,
         20,
         {1, 0.853553390593, 0.308658283817, 0.691341716183}},
        {"cosine_with_restarts", NULL, 5, 20, {0, 0.4, 0.654508497187, 0.0109261996331}},
        {"cosine_with_restarts",
         "{\"num_cycles\": 3}",
         0,
         20,
         {1, 0.793892626146, 0.27300475013, 0.0544967379058}},
        {"polynomial", NULL, 5, 20, {0, 0.4, 0.6008, 0.0685333333333}},
        {"polynomial",
         "{\"power\": 2, \"lr_end\": 1e-06}",
         1,
         20,
         {0, 0.899556786704, 0.239889196676, 0.0227146814404}},
        {"constant_with_warmup", NULL, 5, 20, {0, 0.4, 1, 1}},
        {"inverse_sqrt", NULL, 5, 20, {0, 0.4, 0.674199862463, 0.512989176043}},
        {"inverse_sqrt", NULL, 0, 20, {1, 0.999900014998, 0.999450453334, 0.99905135161}},
        {"inverse_sqrt",
         "{\"timescale\": 3}",
         1,
         20,
         {0, 0.866025403784, 0.480384461415, 0.377964473009}},
        {"cosine_with_min_lr",
         "{\"min_lr\": 1e-05}",
         5,
         20,
         {0, 0.4, 0.72360679775, 0.208740959706}},
        {"cosine_with_min_lr",
         "{\"min_lr_rate\": 0.25, \"num_cycles\": 1.5}",
         0,
         20,
         {1, 0.84541946961, 0.795246437402, 0.290872553429}},
        {"cosine_warmup_with_min_lr",
         "{\"min_lr_rate\": 0.1}",
         5,
         20,
         {0.2, 0.6, 0.59703780847, 0.1}},
        {"cosine_warmup_with_min_lr",
         "{\"min_lr\": 1e-06, \"warmup_lr_rate\": 0.2}",
         5,
         20,
         {0.2, 0.6, 0.561218947001, 0.02}},
        {"warmup_stable_decay", "{\"num_decay_steps\": 4}", 5, 20, {0, 0.4, 1, 0.146446609407}},
        {"warmup_stable_decay",
         "{\"num_decay_steps\": 100, \"num_cycles\": 1}",
         1,
         20,
         {0, 0.712889645783, 0.922163962751, 0.999013364214}},
        {"warmup_stable_decay",
         "{\"num_decay_steps\": 9, \"warmup_type\": \"cosine\", \"decay_type\": \"linear\", "
         "\"min_lr_ratio\": 0.2}",
         5,
         20,
         {0.2, 0.47639320225, 1, 0.288888888889}},
        {"warmup_stable_decay",
         "{\"num_decay_steps\": 9, \"num_stable_steps\": 2, \"warmup_type\": \"1-sqrt\", "
         "\"decay_type\": \"1-sqrt\"}",
         5,
         20,
         {0, 0.225403330759, 0.333333333333, 0}},
        {"warmup_stable_decay",
         "{\"num_decay_steps\": 3, \"num_stable_steps\": 2, \"min_lr_ratio\": 0.1}",
         5,
         20,
         {0.1, 0.46, 0.1, 0.1}},
    };
    static const double steps[] = {0, 2, 11, 19};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Schedule s;
        if (!expect(!schedule_start(&s, rows[i].name, rows[i].arguments, 5e-5), "%s: %s",
                    rows[i].name, told))
            break;
        s.warmup = rows[i].warmup, s.total = rows[i].total;
        for (int k = 0; k < 4; k++) {
            double share = schedule_share(&s, steps[k]);
            expect(fabs(share - rows[i].at[k]) <= 1e-9 * rows[i].at[k], "%s %s, step %g: %.17g",
                   rows[i].name, rows[i].arguments ? rows[i].arguments : "", steps[k], share);
        }
    }
    done("schedules: %zu of every type, as transformers has them", sizeof rows / sizeof rows[0]);
}

static void test_refused(void)
{
    static const struct {
        const char *name, *arguments, *say;
    } rows[] = {
        {"linear", "{\"power\": 2}", "linear has no 'power'; it takes nothing"},
        {"cosine", "{\"power\": 2}", "cosine has no 'power'; it takes num_cycles=0.5"},
        {"cosine", "{\"num\": 2}", "has no 'num'"},
        {"cosine", "{\"num_cycles\": -1}", "num_cycles is '-1', and not a number >= 0"},
        {"cosine", "{\"num_cycles\": true}", "'true', and not a number"},
        {"cosine", "{\"num_cycles\": 1e999}", "'1e999', and not a number"},
        {"cosine", "{\"num_cycles\": \"0x10\"}", "'0x10', and not a number"},
        {"cosine", "{\"num_cycles\": \"\"}", "'', and not a number"},
        {"cosine", "{\"num_cycles\": {\"num_cycles\": 1}}", "and not a number"},
        {"cosine", "{\"num_cycles\": 2", "is no JSON object"},
        {"cosine", "{\"num_cycles\": 2} 3", "is no JSON object"},
        {"cosine", "[2]", "is no JSON object"},
        {"cosine", "", "is no JSON object"},
        {"polynomial", "{\"lr_end\": 5e-5}", "has to be below --learning_rate 5e-05"},
        {"inverse_sqrt", "{\"timescale\": 0}", "timescale is 0"},
        {"cosine_with_min_lr", NULL, "needs min_lr or min_lr_rate"},
        {"cosine_with_min_lr", "{\"min_lr\": 0, \"min_lr_rate\": 0}", "not both"},
        {"cosine_warmup_with_min_lr", "{\"min_lr\": null}", "needs min_lr or min_lr_rate"},
        {"warmup_stable_decay", "{\"min_lr_ratio\": 0}", "needs num_decay_steps"},
        {"warmup_stable_decay", "{\"decay_type\": 1}", "'1', and not linear, cosine or 1-sqrt"},
        {"warmup_stable_decay", "{\"warmup_type\": \"1-\"}", "'1-', and not linear, cosine"},
    };
    Schedule s;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        *told = '\0';
        int refused = schedule_start(&s, rows[i].name, rows[i].arguments, 5e-5);
        expect(refused && strstr(told, rows[i].say), "%s %s: %d '%s'", rows[i].name,
               rows[i].arguments ? rows[i].arguments : "", refused, told);
    }
    expect(schedule_start(&s, "cosine_with_min_lr", "{\"min_lr\": 0}", 0) &&
               strstr(told, "--learning_rate is 0"),
           "'%s'", told);
    done("schedules: %zu arguments that are none, each by name", sizeof rows / sizeof rows[0]);
}

int main(void)
{
    test_values();
    test_refused();
    return finish();
}
