/*
ranks.c - is what ranks.h makes of gradients the sum in the order of ranks, to the bit?

    mpirun -np 3 ./ranks model.bin...

Each rank has gradients at random, which all can draw again. Tests are of rank 0's; ends with
"N passed, N failed".
*/
#define BERT_MPI
#define RANKS_CHUNK ((size_t)1000) /* several to a tensor, several tensors to one */
#define BERT_IMPLEMENTATION
#include "../test/test.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* of a room that is included alone */

#include "../../bert.h"

#include "../driver/ranks.h"

enum { N = 6 };
static const int offsets[3] = {0, 2, N}, types[N], rows[1] = {1};
static int tokens[8][N]; /* of each rank */

/* A number like a gradient: of any size, with a full mantissa. */
static float gradient(size_t rank, int step, size_t i)
{
    const uint64_t x = bert_mix64(bert_mix64(rank * 1000 + (uint64_t)step) + i);
    return (float)ldexp((double)(x >> 11) / 4503599627370496.0 - 1, (int)(x % 40) - 20);
}

/* The step's batches, each rank's; what is not of the task is not there. */
static void make_batches(BertBatch *x, const Bert *m, int step, int masked)
{
    static const int labels[N];
    static const float targets[64];
    const int reads = bert_task(m->config.task)->reads, floats = bert_has_targets(&m->config);
    for (size_t r = 0; r < ranks.count; r++) {
        for (int n = 0; n < N; n++)
            tokens[r][n] = (int)(bert_mix64((uint64_t)step * 99 + r * 9 + (uint64_t)n) %
                                 (uint64_t)m->config.V);
        x[r] = (BertBatch){.B = 2, .tokens = tokens[r], .types = types, .offsets = offsets};
        if (floats) x[r].targets = targets;
        else x[r].labels = labels;
        if (m->config.task == BERT_MULTIPLE_CHOICE) x[r].choices = 2;
        if (reads & BERT_READS_MASKED) x[r].rows = rows, x[r].R = masked;
        if (m->config.task == BERT_PRETRAINING) x[r].next = labels;
    }
}

static const BertTensor *tensor_of(const Bert *m, size_t i)
{
    const BertTensor *t = m->tensors;
    while (!t->size || i < t->offset || i >= t->offset + t->size) t++;
    return t;
}

/* The layer that parameter i is of, -1: of none. */
static int layer_of(const BertTensor *t, size_t i)
{
    return t->group == BERT_GROUP_LAYER ? (int)((i - t->offset) / (t->rows * t->cols)) : -1;
}

/* Is parameter i one that a step with these tokens has a gradient of? */
static int has_gradient(const Bert *m, size_t i, int masked)
{
    const BertTensor *t = tensor_of(m, i);
    if (!t->used) return 0;
    if (t->group == BERT_GROUP_LAYER) return layer_of(t, i) >= m->freeze_layers;
    if (t->group == BERT_GROUP_HEAD) return 1;
    if (m->freeze_embeddings) return 0;
    if (t != &m->tensors[BERT_TENSOR_wte] || masked) return 1;
    for (size_t r = 0; r < ranks.count; r++)
        for (int n = 0; n < N; n++)
            if ((size_t)tokens[r][n] == (i - t->offset) / t->cols) return 1;
    return 0;
}

/* As bert_backward does: a group gets its gradient, and is said to have it. */
static void backward(Bert *m, int step, int group, int layer, int trained)
{
    const struct timespec nap = {0, (long)(1000000 * ((ranks.rank + (size_t)layer + 1) % 3))};
    nanosleep(&nap, NULL); /* each rank at its own pace */
    for (size_t i = 0; i < m->num_parameters; i++) {
        const BertTensor *t = tensor_of(m, i);
        if (t->group == group && (layer < 0 || layer_of(t, i) == layer))
            m->grads_memory[i] = gradient(ranks.rank, step, i);
    }
    if (trained && m->on_gradients) m->on_gradients(m->user, group, imax(layer, 0));
}

static void check_step(Bert *m, int step, int masked)
{
    BertBatch x[8];
    size_t wrong = 0, summed = 0, row = 0;
    make_batches(x, m, step, masked);
    if (!m->grads_memory && (bert_forward(m, &x[ranks.rank], 1) || bert_backward(m, 0)))
        exit(fail("%s", bert_error(m)));
    memset(m->grads_memory, 0xff, m->num_parameters * sizeof(float));
    memset(m->seen, 0, (size_t)m->config.V);
    ranks_sum_begin(m, x, ranks.count);
    backward(m, step, BERT_GROUP_HEAD, -1, 1);
    for (int l = m->config.L; l-- > 0;)
        backward(m, step, BERT_GROUP_LAYER, l, l >= m->freeze_layers);
    backward(m, step, BERT_GROUP_EMBEDDINGS, -1, !m->freeze_embeddings);
    ranks_sum_end(m);
    for (size_t i = 0; i < m->num_parameters; i++) {
        float sum = gradient(0, step, i);
        for (size_t r = 1; r < ranks.count; r++) sum += gradient(r, step, i);
        const int has = ranks.count > 1 && has_gradient(m, i, masked);
        const float right = has ? sum : gradient(ranks.rank, step, i);
        wrong += memcmp(&right, &m->grads_memory[i], sizeof right) != 0;
        summed += (size_t)has;
    }
    for (int v = 0; v < m->config.V && ranks.count > 1; v++) {
        int met = masked;
        for (size_t r = 0; r < ranks.count; r++)
            for (int n = 0; n < N; n++) met |= tokens[r][n] == v;
        row += m->seen[v] != met;
    }
    double sums[3] = {(double)wrong, (double)row, ranks.rank ? 0 : (double)summed};
    if (ranks_share(0, 0, NULL, sums, 3)) exit(1);
    expect(sums[0] == 0, "%g of the gradients of all ranks are not the sum", sums[0]);
    expect(sums[1] == 0, "%g rows of all ranks are not as seen as they were met", sums[1]);
    expect(ranks.count == 1 || (sums[2] > 0 && sums[2] <= (double)m->num_parameters), "no sum");
}

static void check_model(const char *path)
{
    Bert m = {0};
    if (bert_load(&m, path)) exit(fail("%s", bert_error(&m)));
    const int can_mask = bert_task(m.config.task)->reads & BERT_READS_MASKED, L = m.config.L;
    for (int step = 0; step < 8; step++) {
        m.freeze_layers = step < 4 ? 0 : step % (L + 1), m.freeze_embeddings = step > 5;
        check_step(&m, step, can_mask && step % 3 == 0);
    }
    done("gradients of %zu ranks, %s: the sum in their order, of what has a gradient", ranks.count,
         path);
    bert_free(&m);
}

static void check_scalars(void)
{
    const double r = (double)ranks.rank, n = (double)ranks.count;
    double sums[RANKS_MOST] = {r, 1, ldexp(r + 1, -60), 0.1};
    double last = 0, tenth = 0;
    for (size_t i = 0; i < ranks.count; i++) last += ldexp((double)i + 1, -60), tenth += 0.1;
    expect(!ranks_share(0, 0, NULL, sums, 4), "somebody has failed");
    expect(sums[0] == n * (n - 1) / 2 && sums[1] == n && sums[2] == last && sums[3] == tenth,
           "%g %g %g %g", sums[0], sums[1], sums[2], sums[3]);
    expect(ranks_stop(0) == 0, "a signal that nobody got");
    expect(!ranks_share(ranks.rank == ranks.count - 1 ? 15 : 0, 0, NULL, sums, 1),
           "somebody has failed");
    expect(ranks_stop(ranks.count > 1 ? 0 : 15) == 15, "a signal that nobody else has heard of");
    expect(!ranks_share(0, UINT64_MAX - 1, "number", sums, 0), "not the same");
    size_t each[8], all = 0, at = 0;
    float numbers[64] = {0};
    for (size_t i = 0; i < ranks.count; all += each[i++]) {
        each[i] = i == 1 ? 0 : i + 1; /* one has none */
        for (size_t k = 0; k < each[i] && i == ranks.rank; k++)
            numbers[all + k] = (float)(10 * i + k);
    }
    ranks_gather(numbers, each, ranks.count);
    for (size_t i = 0; i < ranks.count; i++)
        for (size_t k = 0; k < each[i]; k++, at++)
            expect(numbers[at] == (float)(10 * i + k), "rank %zu's %zu is %g", i, k, numbers[at]);
    done("scalars of %zu ranks: sums, a signal, what is the same, what is gathered", ranks.count);
}

int main(int argc, char **argv)
{
    ranks_start();
    check_scalars();
    for (int i = 1; i < argc; i++) check_model(argv[i]);
    return ranks_end(finish());
}
