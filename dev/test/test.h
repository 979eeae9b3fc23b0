/* What every test program shares: expectations, memory that is counted and fails when told to, and
   random numbers. A program is dev/test/NAME.c; it includes this first, then bert.h, train_bert.c
   (with TESTING defined) or a room of the driver, prints a line for each test and ends with
   `return finish();`. `make test` builds and runs all of them from the project's folder.

   -DTEST_EVERY=N takes each Nth point of the long series of one kind (a call that fails, a step
   from which a run goes on, a file that is changed), for builds that are slow: .ci/run's with
   sanitizers. N has to be prime to 2, 3 and 5, so that what alternates with the points still does.
   failures.c demands that each kind of call failed. */
#ifndef TEST_H
#define TEST_H
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* before the first header, for those that include train_bert.c */
#endif
#ifndef TEST_EVERY
#define TEST_EVERY 1
#endif
#include <stddef.h>
#if defined TEST_LINKED /* bert.h and its memory are in dev/test/bert.o */
#define SHARED extern
#elif defined TEST_LIBRARY
#define SHARED
#else
#define SHARED static
#endif
SHARED void *counted_malloc(size_t size);
SHARED void *counted_calloc(size_t n, size_t size);
SHARED void counted_free(void *p);
#define BERT_MALLOC counted_malloc
#define BERT_CALLOC counted_calloc
#define BERT_FREE counted_free

#ifdef __GNUC__
#define MAYBE __attribute__((unused)) /* not every program needs everything */
#else
#define MAYBE
#endif

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
   Reporting: a test is a number of expectations, the first that fails is told */

static int passed, failed;
static char why[1024];

MAYBE static int expect(int ok, const char *format, ...)
{
    if (!ok && !why[0]) {
        va_list args;
        va_start(args, format);
        vsnprintf(why, sizeof why, format, args);
        va_end(args);
        if (!why[0]) strcpy(why, "(nothing was written)"); /* of "%s", output */
    }
    return ok;
}

MAYBE static void done(const char *format, ...)
{
    va_list args;
    printf(why[0] ? "FAIL " : "ok   ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf(why[0] ? ": %s\n" : "%s\n", why);
    fflush(stdout);
    if (why[0]) failed++;
    else passed++;
    why[0] = 0;
}

/* ------------------------------------------------------------------------------------------------
   Memory: counted, failing when told to, and guarded: who writes behind a block is found out when
   it is freed, whatever malloc rounds its size up to */

#ifdef TEST_LINKED
extern long blocks, fail_at;
extern int fail_once;
extern size_t largest;
#else
SHARED long blocks, fail_at = -1; /* fail_at: so many allocations more until one fails, */
SHARED int fail_once;             /* and that alone, or all from there on */
SHARED size_t largest;            /* the largest size asked for */

/* Threads count at the same time. */
#ifdef __GNUC__
#define COUNT_BLOCKS(n) __atomic_add_fetch(&blocks, n, __ATOMIC_RELAXED)
#define READ_LARGEST() __atomic_load_n(&largest, __ATOMIC_RELAXED)
#define SET_LARGEST(n) __atomic_store_n(&largest, n, __ATOMIC_RELAXED)
#else
#define COUNT_BLOCKS(n) (blocks += (n))
#define READ_LARGEST() largest
#define SET_LARGEST(n) (largest = (n))
#endif

enum { GUARD = 16 }; /* what malloc aligns by stays */
static const char guard[GUARD + 1] = "written beyond!\n";

MAYBE SHARED void *counted_calloc(size_t n, size_t size)
{
    char *p;
    if (n && size > SIZE_MAX / n) return NULL;
    if (n * size > READ_LARGEST()) SET_LARGEST(n * size);
    if (fail_at == 0) {
        if (fail_once) fail_at = -1;
        return NULL;
    }
    if (fail_at > 0) fail_at--;
    if (n * size > SIZE_MAX - 2 * GUARD) return NULL;
    p = calloc(1, n * size + 2 * GUARD); /* in front its size, behind it the guard */
    if (!p) return NULL;
    COUNT_BLOCKS(1);
    n *= size, memcpy(p, &n, sizeof n);
    memcpy(p + GUARD + n, guard, GUARD);
    return p + GUARD;
}

/* What malloc gives is filled with NaN: whoever reads what he never wrote is found out. */
MAYBE SHARED void *counted_malloc(size_t size)
{
    void *p = counted_calloc(1, size);
    if (p) memset(p, 0xff, size);
    return p;
}

MAYBE SHARED void counted_free(void *p)
{
    char *block = p ? (char *)p - GUARD : NULL;
    size_t n;
    if (!p) return;
    memcpy(&n, block, sizeof n);
    if (memcmp(block + GUARD + n, guard, GUARD)) {
        printf("FAIL a block of %zu bytes was written beyond\n", n);
        fflush(stdout);
        abort();
    }
    COUNT_BLOCKS(-1);
    free(block);
}
#endif

/* The tests' own memory, zeroed: freed together when a test ends, or back to a mark. */
static void **gotten;
static size_t num_gotten;

MAYBE static void *get(size_t n, size_t size)
{
    if (!(num_gotten & (num_gotten + 1))) /* room doubles at 1, 3, 7, ... */
        gotten = realloc(gotten, (2 * num_gotten + 2) * sizeof *gotten);
    void *p = gotten ? calloc(n ? n : 1, size) : NULL;
    if (!p) {
        fprintf(stderr, "test: out of memory\n");
        exit(2);
    }
    return gotten[num_gotten++] = p;
}

MAYBE static void release(size_t mark)
{
    while (num_gotten > mark) free(gotten[--num_gotten]);
}

/* ------------------------------------------------------------------------------------------------
   Numbers */

static uint64_t state = 1;
MAYBE static uint64_t draw(void)
{ /* splitmix64 */
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
MAYBE static int below(int n) { return (int)(draw() % (uint64_t)n); }
MAYBE static double uniform(void) { return (double)(draw() >> 11) / 9007199254740992.0; }
MAYBE static double normal(void)
{
    double u = 1 - uniform();
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * uniform());
}
MAYBE static void fill(float *x, size_t n, double mean, double deviation)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(mean + deviation * normal());
}

/* The last line, which `make test` and .ci/run add up. */
MAYBE static int finish(void)
{
    release(0), free(gotten);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}

#endif
