/* dev/driver/threads.h: the plan on machines that are made up after measured ones, what it leaves
   alone, that a thread which waits does sleep, and that no bit depends on any of it. */
#define BERT_IMPLEMENTATION
#include "test.h"
#include "../../bert.h"
#include "../driver/threads.h"
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
   The plan. Work a second in each mode and seconds a thread waits a second, measured on two cores
   of a Xeon beside 0, 1 and 2 busy programs (dev/bench/busy.py). */

typedef struct {
    const char *name;
    double batch; /* work in it */
    double rate[3][THREADS_MODES];
} Machine;

static const Machine machines[] = {
    {"batch 4", 108, {{1800, 1600, 1000}, {720, 1150, 1390}, {200, 1270, 950}}},
    {"batch 32", 864, {{2500, 2450, 1320}, {1210, 1560, 1830}, {410, 1700, 1050}}},
    {"a sentence", 1, {{400, 330, 245}, {54, 134, 190}, {2, 75, 150}}},
};
static const double waits[3][THREADS_MODES] = {
    {0.01, 0.005, 0}, {0.7, 0.8, 0.01}, {1.0, 0.9, 0.35}};

/* The plan's work from time to time, over that of the best mode; *mode: where it ends. */
static double simulate(const Machine *m, ThreadsPlan *p, int neighbours, double seconds)
{
    const double *rate = m->rate[neighbours];
    double best = 0, work = 0, time = 0, waited = 0;
    for (int i = 0; i < THREADS_MODES; i++)
        if (rate[i] > best) best = rate[i];
    while (time < seconds) {
        double batch = m->batch / (rate[p->mode] * (0.9 + 0.2 * uniform()));
        if (!p->begun) batch *= 4; /* new memory */
        time += batch, work += m->batch;
        waited += batch * waits[neighbours][p->mode];
        if (!threads_batch(p, batch, m->batch)) continue;
        threads_plan(p, waited, neighbours == 0);
        waited = 0;
    }
    return work / time / best;
}

static void test_plan(void)
{
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++) {
        const Machine *m = &machines[i];
        for (int before = 0; before < 3; before++)
            for (int now = 0; now < 3; now++) {
                ThreadsPlan p = {THREADS_SPIN, THREADS_SLEEP, {0}, 0, 0, 0, 0};
                if (before) p.mode = m->batch > 1 ? THREADS_SLEEP : THREADS_FEW; /* threads_begin */
                double first = simulate(m, &p, before, 20), share = simulate(m, &p, now, 60);
                expect(share > (now ? 0.9 : 0.95) && first > (before ? 0.8 : 0.9),
                       "%d neighbours, then %d: %.3f and %.3f of the best", before, now, first,
                       share);
                share = simulate(m, &p, now, 60);
                expect(share > (now ? 0.93 : 0.98), "still %d: %.3f", now, share);
                expect(now || p.mode == THREADS_SPIN, "quiet, and mode %d", p.mode);
            }
        done("the plan holds nine tenths of the best mode: %s", m->name);
    }
}

#if defined(_OPENMP) && defined(__linux__)

static void test_settings(void)
{
    static const struct {
        const char *name;
        int ours;
    } variables[] = {{"OMP_NUM_THREADS", 0}, {"OMP_WAIT_POLICY", 0},   {"GOMP_SPINCOUNT", 0},
                     {"KMP_BLOCKTIME", 0},   {"OMP_STACKSIZE", 1},     {"GOMP_STACKSIZE", 1},
                     {"KMP_STACKSIZE", 1},   {"A_OMP_NUM_THREADS", 1}, {"OMPI_RANK", 1}};
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        threads.all = 0;
        setenv(variables[i].name, "2", 1);
        threads_start();
        unsetenv(variables[i].name);
        expect((threads.all > 0) == variables[i].ours &&
                   strstr(threads_note(), variables[i].ours ? "beside" : variables[i].name),
               "%s: %d%s", variables[i].name, threads.all, threads_note());
    }
    done("what the user has set stays, and is named");
}

/* Seconds of processors that pauses between parallel loops take. */
static double pauses(ThreadsMode mode)
{
    const struct timespec pause = {0, 4000000};
    clock_t start;
    threads_set(mode);
    start = clock();
    for (int i = 0; i < 25; i++) {
        int sum = 0;
#pragma omp parallel reduction(+ : sum)
        sum += 1;
        expect(sum == (mode == THREADS_FEW ? (threads.all + 1) / 2 : threads.all) ||
                   (mode == THREADS_FEW && sum < threads.all),
               "mode %d: %d threads", mode, sum);
        nanosleep(&pause, NULL);
    }
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

static void test_waiting(void)
{
    double spin = 0, sleep = 1; /* the clearest of three rounds: others use the machine too */
    for (int round = 0; round < 3; round++) {
        spin = fmax(spin, pauses(THREADS_SPIN));
        sleep = fmin(sleep, pauses(THREADS_SLEEP));
        pauses(THREADS_FEW);
    }
    threads_set(THREADS_SPIN);
    expect(sleep < 0.02 && spin > 2 * sleep, "0.1 s of pauses: spinning %.4f s, asleep %.4f s",
           spin, sleep);
    done("threads spin, sleep and spin again");
}

static void train(Bert *m, int change)
{
    int tokens[24], types[24] = {0}, offsets[4] = {0, 5, 14, 24}, labels[3] = {0, 1, 1};
    for (int i = 0; i < 24; i++) tokens[i] = 5 + i % 11;
    BertBatch x = {0};
    x.B = 3, x.tokens = tokens, x.types = types, x.offsets = offsets, x.labels = labels, x.seed = 7;
    expect(!bert_load(m, "dev/fixtures/text.model.bin"), "%s", bert_error(m));
    for (int step = 0; step < 9; step++) {
        if (change) threads_set((ThreadsMode)(step % 3));
        x.step = (uint64_t)step;
        threads_begin(0);
        if (bert_forward(m, &x, 1) || bert_backward(m, 1.0f)) break;
        if (bert_adamw(m, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, step + 1, 1.0f)) break;
        threads_end(offsets[3]);
    }
    expect(!m->message[0], "%s", bert_error(m));
}

static void test_bits(void)
{
    Bert a = {0}, b = {0};
    train(&a, 0);
    train(&b, 1);
    threads_set(THREADS_SPIN);
    expect(!memcmp(a.params_memory, b.params_memory, a.num_parameters * sizeof(float)), "differ");
    bert_free(&a), bert_free(&b);
    done("nine steps, each in another mode: the same bits");
}

/* Where the runtime was told something by its environment: again, without. */
static void plain_runtime(char **argv)
{
    extern char **environ;
    char name[64];
    for (char **e = environ; *e; e++) {
        if (strncmp(*e, "OMP_", 4) && strncmp(*e, "GOMP_", 5) && strncmp(*e, "KMP_", 4)) continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
        unsetenv(name);
        execv("/proc/self/exe", argv); /* and so on, while there is one */
    }
}

static void test_runtime(char **argv)
{
    plain_runtime(argv);
    test_settings();
    threads_start();
    if (threads.all < 2) {
        printf("skipped: one processor, or no /proc/self/task/*/schedstat\n");
        return;
    }
    test_waiting();
    test_bits();
}
#else
static void test_runtime(char **argv)
{
    (void)argv;
    threads_start(), threads_begin(1), threads_end(1);
    expect(!*threads_note(), "%s", threads_note());
}
#endif

int main(int argc, char **argv)
{
    (void)argc;
    test_runtime(argv);
    test_plan();
    return finish();
}
