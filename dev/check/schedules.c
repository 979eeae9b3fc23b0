/*
schedules.c - dev/driver/schedule.h by itself: dev/check/schedules.py compares it with transformers.

    ./schedules < lines      NAME, learning rate, warmup, total, arguments or -, with tabs between

Writes the learning rate of every step from 0 to the total, a line each; or "refused".
*/
#define _POSIX_C_SOURCE 200809L
#define BERT_IMPLEMENTATION
#include "../../bert.h"

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function" /* of a room that is included alone */
#endif
#include "../driver/schedule.h"

int main(void)
{
    char line[1024], name[64], kwargs[512];
    double rate;
    while (fgets(line, sizeof line, stdin)) {
        Schedule s;
        long warmup, total;
        if (sscanf(line, "%63[^\t]\t%lf\t%ld\t%ld\t%511[^\t\n]", name, &rate, &warmup, &total,
                   kwargs) != 5)
            return fail("'%s' is no schedule", line);
        if (schedule_start(&s, name, strcmp(kwargs, "-") ? kwargs : NULL, rate)) {
            puts("refused");
            continue;
        }
        s.warmup = s.row->warms ? (double)warmup : 0, s.total = (double)total;
        for (long step = 0; step <= total; step++)
            printf("%.17g%c", rate * schedule_share(&s, (double)step), step < total ? ' ' : '\n');
    }
    return 0;
}
