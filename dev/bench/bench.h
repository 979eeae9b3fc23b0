/* What both benchmarks begin with: bert.h as a private copy, and a clock. */
#define _POSIX_C_SOURCE 200809L

#define BERT_STATIC
#define BERT_IMPLEMENTATION
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../../bert.h"

#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
