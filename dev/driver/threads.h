/*
threads.h - OpenMP's threads where other programs run too

Alone, threads are fastest where one that waits for the others spins: the next loop begins within
microseconds. Beside a busy program, spinning costs the time slices that the work needs: MiniLM on
two cores, batch 4, falls from 1,800 tokens/s to 800 beside one such program and to 200 beside two,
where one thread makes 1,350 and 800, two that sleep while they wait 1,200 and 1,200. No setting is
good for all three (dev/bench/busy.py shows them), so it changes while the program runs, between two
batches; which bits are computed depends on none of it. There are three modes:

    SPIN    all threads, waiting as the runtime has it
    SLEEP   all threads; one that waits sleeps, and its processor is another's
    FEW     as many threads as processors are left, and at least half of all

From SPIN to SLEEP and back by what Linux knows of each thread: how long it was ready and had no
processor. That is 0.01 s a second or less on a quiet machine, 0.7 to 1.1 beside one busy program.
Between SLEEP and FEW by trying, as the best depends on the neighbours and on the size of a batch:
after a while the other gets a turn, and stays where it is faster.

Where others run when the first batch begins, it is in SLEEP, or, if it is a short one and FEW means
one thread, in FEW: a process that answers one sentence ends before anything could be tried. On two
processors beside two busy programs it takes 98 ms in FEW, 123 in SLEEP.

threads_start() once, then threads_begin(is_short) and threads_end(work) around each batch. Where a
variable OMP_..., GOMP_... or KMP_... is set (but for stack sizes), the system is not Linux, or
there is one thread, they do nothing. What a build may do without is inline, so that no compiler
warns of it.
*/
#ifndef THREADS_H
#define THREADS_H

typedef enum { THREADS_SPIN, THREADS_SLEEP, THREADS_FEW, THREADS_MODES } ThreadsMode;

typedef struct {
    ThreadsMode mode, home;     /* now; where a trial comes back to */
    double rate[THREADS_MODES]; /* work a second, 0: not known */
    int begun;                  /* not the first turn, which pays for new memory */
    double rest;                /* seconds until the next trial */
    double seconds, work;       /* of the turn so far */
} ThreadsPlan;

/* A turn has to be many time slices (3 ms) long: its rate varies by a tenth as it is. */
static const double threads_turn = 0.25;

/* After a batch: seconds and work of it. 1: the turn is over, threads_plan wants to know more. */
static inline int threads_batch(ThreadsPlan *p, double seconds, double work)
{
    p->seconds += seconds;
    p->work += work;
    return p->seconds >= threads_turn;
}

/* The next turn's mode. waited: seconds that threads were ready in this turn and had no processor;
   alone: nothing else is ready to run now. */
static inline ThreadsMode threads_plan(ThreadsPlan *p, double waited, int alone)
{
    const ThreadsMode now = p->mode, other = now == THREADS_FEW ? THREADS_SLEEP : THREADS_FEW;
    const int contended = waited > 0.1 * p->seconds, begun = p->begun++;
    const double rate = p->work / p->seconds, turn = p->seconds;
    p->rate[now] = p->rate[now] > 0 ? 0.5 * (p->rate[now] + rate) : rate;
    p->rest -= turn;
    p->seconds = p->work = 0;
    if (now == THREADS_SPIN || (now == THREADS_SLEEP && !contended) || !begun) {
        /* Few threads, of a first turn, wait for nothing: there the system's count decides. */
        const ThreadsMode next =
            contended || (now == THREADS_FEW && !alone) ? THREADS_SLEEP : THREADS_SPIN;
        const ThreadsPlan fresh = {next, THREADS_SLEEP, {0}, 1, 0, 0, 0};
        *p = fresh;
        return next;
    }
    if (p->rate[other] == 0) return p->mode = other; /* both have to be known */
    if (now == p->home) { /* a turn of the other, which takes a twentieth of the time */
        if (p->rest <= 0 || (alone && now == THREADS_FEW)) p->mode = other;
        return p->mode;
    }
    p->rest = 20 * turn;
    if (p->rate[now] > 1.05 * p->rate[other]) p->home = now;
    return p->mode = p->home;
}

#if defined(_OPENMP) && defined(__linux__)
#include <dirent.h>
#include <omp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct {
    ThreadsPlan plan;
    char fixed[32]; /* the variable by which the user has chosen */
    int all, begun; /* threads of the runtime's choice; 0: its user's, or nothing to choose from */
    double began;   /* this batch */
    double waited;  /* until this turn began */
} threads;

static double threads_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that this process's threads were ready to run and had no processor; -1: nobody knows. */
static double threads_waited(void)
{
    double sum = -1;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[64];
        unsigned long long waited;
        FILE *f;
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/self/task/%.20s/schedstat", task->d_name);
        if (!(f = fopen(path, "r"))) continue; /* it has ended */
        if (fscanf(f, "%*u %llu", &waited) == 1) sum = (sum < 0 ? 0 : sum) + 1e-9 * (double)waited;
        fclose(f);
    }
    if (tasks) closedir(tasks);
    return sum;
}

/* Threads in the whole system that run or could, but for the one that asks. */
static int threads_others(void)
{
    FILE *f = fopen("/proc/loadavg", "r");
    int ready = 1;
    if (f && fscanf(f, "%*f %*f %*f %d", &ready) != 1) ready = 1;
    if (f) fclose(f);
    return ready > 1 ? ready - 1 : 0;
}

/* How threads wait. LLVM's OpenMP has a function for it. GNU's reads an environment variable before
   main; but while it manages more threads than there are processors, those that wait spin 100
   times in place of 300,000 (its manual, GOMP_SPINCOUNT). So one thread more is kept, and one that
   it has of its own, as it would not be managed otherwise; both sleep. That is enough for a team of
   all threads: a smaller one, but for one thread, spins. */
#ifdef KMP_VERSION_MAJOR
static void threads_sleep(int on)
{
    static int as_it_was = -1;
    if (as_it_was < 0) as_it_was = kmp_get_blocktime();
    kmp_set_blocktime(on ? 0 : as_it_was);
}
#else
static sem_t threads_leave;
static int threads_kept; /* something to do, as compilers leave out a loop without it */

static void *threads_keep(void *unused)
{
#pragma omp parallel num_threads(2)
    {
#pragma omp atomic
        threads_kept++;
    }
    while (sem_wait(&threads_leave)) continue; /* a signal */
    return unused;
}

static void threads_sleep(int on)
{
    static pthread_t keeper;
    static int kept;
    if (on == kept) return;
    if (on) {
        kept =
            !sem_init(&threads_leave, 0, 0) && !pthread_create(&keeper, NULL, threads_keep, NULL);
    } else {
        sem_post(&threads_leave);
        pthread_join(keeper, NULL);
        sem_destroy(&threads_leave);
        kept = 0;
    }
}
#endif

static void threads_set(ThreadsMode mode)
{
    int n = threads.all, few = n - threads_others();
    if (few < (n + 1) / 2) few = (n + 1) / 2; /* a trial is at most twice as slow */
    if (few > n - 1) few = n - 1;
    threads.plan.mode = mode;
    threads_sleep(mode == THREADS_SLEEP || (mode == THREADS_FEW && few > 1)); /* one never waits */
    omp_set_num_threads(mode == THREADS_FEW ? few : n);
}

static inline void threads_start(void)
{
    extern char **environ;
    int n = omp_get_max_threads();
    threads.fixed[0] = 0;
    for (char **e = environ; *e; e++) {
        size_t name = strcspn(*e, "="), prefix = strcspn(*e, "_");
        if (!strncmp(*e, "OMP_", 4) || !strncmp(*e, "GOMP_", 5) || !strncmp(*e, "KMP_", 4))
            if (name < prefix + 10 || strncmp(*e + prefix, "_STACKSIZE", 10)) {
                snprintf(threads.fixed, sizeof threads.fixed, "%.*s", (int)name, *e);
                return;
            }
    }
    if (n < 2 || threads_waited() < 0) return;
    threads.all = n;
    threads.plan.home = THREADS_SLEEP;
}

static void threads_begin(int is_short)
{
    if (!threads.all) return;
    if (!threads.begun++ && threads_others())
        threads_set(is_short && threads.all == 2 ? THREADS_FEW : THREADS_SLEEP);
    if (threads.plan.seconds == 0) threads.waited = threads_waited();
    threads.began = threads_clock();
}

/* work: in whatever unit, if it is the same for all batches; tokens, three times in training. */
static void threads_end(double work)
{
    if (!threads.all || !threads_batch(&threads.plan, threads_clock() - threads.began, work))
        return;
    ThreadsMode before = threads.plan.mode;
    ThreadsMode mode =
        threads_plan(&threads.plan, threads_waited() - threads.waited, !threads_others());
    if (mode != before) threads_set(mode);
}

/* For a report, behind the number of threads. */
static const char *threads_note(void)
{
    static char note[160];
    if (!threads.fixed[0]) return threads.all ? ", fewer or asleep beside other programs" : "";
    snprintf(note, sizeof note, ", fixed while %s is set%s", threads.fixed,
             omp_get_max_threads() < 2 || getenv("OMP_WAIT_POLICY")
                 ? ""
                 : ": slow beside other programs (OMP_WAIT_POLICY=passive lets them sleep)");
    return note;
}
#else
static const char *threads_note(void) { return ""; }
static inline void threads_start(void) {}
static void threads_begin(int is_short) { (void)is_short; }
static void threads_end(double work) { (void)work; }
#endif
#endif
