/* Batches for tests. Include it behind test.h and bert.h. */
#ifndef BATCH_H
#define BATCH_H

/* A batch's sequences from .. to-1, which keep their places in the step; memory is the test's. */
MAYBE static BertBatch part_of(const Bert *m, BertBatch x, int from, int to)
{
    const int task = m->config.task, first = x.offsets[from];
    int *offsets = get(to - from + 1, sizeof *offsets), *rows = get(x.R, sizeof *rows), R = 0, r0;
    for (int b = from; b <= to; b++) offsets[b - from] = x.offsets[b] - first;
    for (r0 = 0; r0 < x.R && x.rows[r0] < first; r0++) {}
    for (int r = r0; r < x.R && x.rows[r] < x.offsets[to]; r++) rows[R++] = x.rows[r] - first;
    if (x.labels)
        x.labels += bert_task(task)->reads & BERT_READS_MASKED ? r0
                    : task == BERT_NER                         ? first
                    : task == BERT_QA                          ? 2 * from
                    : x.choices                                ? from / x.choices
                                                               : from;
    if (x.targets) x.targets += from * m->config.K;
    if (x.next) x.next += from;
    x.tokens += first, x.types += first, x.offsets = offsets, x.rows = R ? rows : NULL, x.R = R;
    x.B = to - from, x.place += from;
    return x;
}

#endif
