/*
ranks.h - one training by several processes, on one machine or many: MPI, or its absence.

    ranks_start();                  ranks.rank of ranks.count, from 0; alone: 0 of 1
    if (ranks_share(...)) ...       scalars of all are added; or one of them has failed
    ranks_sum_begin(&m, all, G);    before the step's last bert_backward, and
    ranks_sum_end(&m);              behind it: m's gradients are the sums of all ranks'
    return ranks_end(result);

make MPI=1 defines BERT_MPI. Each rank has the whole model and takes its share of every step's
micro-batches (loader.h); all then take the same optimizer step, so their parameters stay the same.

MPI moves numbers, and does not add them: MPI_Allreduce may add in another order on other machines
or in another release. Here it is always rank 0, 1, 2, ...: so many ranks give one hash anywhere.

A rank that fails leaves through ranks_end, which tells the others where they share next, and they
leave too. In the midst of a sum of gradients, as when it is killed, it ends all at once.
*/
#ifndef RANKS_H
#define RANKS_H

#include "report.h"

#ifndef BERT_MPI

static const struct {
    size_t rank, count;
} ranks = {0, 1};
#define ranks_start() ((void)0)
#define ranks_end(result) (result)
#define ranks_failed(result) (result)
#define ranks_hash(x, n, hash) ((void)(x), (void)(n), (uint64_t)(hash))
#define ranks_share(stop, same, what, sums, n)                                                     \
    ((void)(stop), (void)(same), (void)(sums), (void)(n), 0)
#define ranks_stop(here) (here)
#define ranks_gather(all, n, G) ((void)(all), (void)(n))
#define ranks_sum_begin(m, all, G) ((void)0)
#define ranks_sum_end(m) ((void)0)

#else
#include <mpi.h>
#include <pthread.h>

/* Floats that are packed and exchanged at once: a layer of bert-base has 7 million. */
#ifndef RANKS_CHUNK
#define RANKS_CHUNK ((size_t)1 << 23)
#endif
enum { RANKS_MOST = 6 }; /* scalars that are added at once */

typedef struct {
    float *at;
    size_t n;
} Span;

typedef struct {
    double failed, stop, same, sums[RANKS_MOST];
} Shared;

static struct {
    size_t rank, count;
    Shared *all;         /* (count) */
    int started, failed; /* failed: all know */
    int stop;            /* a signal that one of them has got, known to all */

    /* The sum of a step's gradients. */
    const Bert *m;
    int busy, threaded;   /* it is going on; a thread of its own may call MPI */
    int ready;            /* so many groups are complete: the head, L layers, the embeddings */
    unsigned char *rows;  /* (V): rows of wte that have a gradient in this step */
    Span *spans;          /* of a group, in memory ... */
    size_t num, room;     /* so many, of which there is room for */
    float *pack, *pieces; /* ... and packed; of each rank what this one adds up */
    int *counts;          /* (4 * count): sent to each, and from where; received, and whereto */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
} ranks = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

/* MPI's own waiting would keep a core busy, which the backward has use for. */
static void ranks_wait(MPI_Request *request)
{
    const struct timespec nap = {0, 20000};
    int done = 0;
    for (int tries = 0; MPI_Test(request, &done, MPI_STATUS_IGNORE), !done; tries++)
        if (tries > 200) nanosleep(&nap, NULL);
}

/* ------------------------------------------------------------------------------------------------
   Beginning, scalars, end */

/* The lowest of the ranks that failed tells. Rank 0 has done so. */
static void ranks_tell(void)
{
    put_lines(stderr, held.text, 2);
    held.text[0] = '\0';
}

/* exit() where there is no memory, and whatever else leaves without ranks_end. */
static void ranks_leave(void)
{
    if (!ranks.started) return;
    ranks.started = 0;
    ranks_tell();
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* OpenMPI's mpirun passes on SIGUSR1 as it is; a SIGTERM it follows by SIGKILL a second later. */
static void on_usr1(int number) { (void)number, raise(SIGTERM); }

/* Ranks above 0 say nothing but why they failed. */
static void ranks_start(void)
{
    const struct sigaction usr1 = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    int level = 0, rank = 0, count = 1, length = 0;
    char host[MPI_MAX_PROCESSOR_NAME + 1] = "";
    MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    MPI_Get_processor_name(host, &length);
    ranks.rank = (size_t)rank, ranks.count = (size_t)count, ranks.started = 1;
    ranks.threaded = level >= MPI_THREAD_SERIALIZED;
    ranks.all = take(ranks.count, sizeof *ranks.all, "what ranks share");
    ranks.counts = take(4 * ranks.count, sizeof *ranks.counts, "what ranks share");
    atexit(ranks_leave);
    sigaction(SIGUSR1, &usr1, NULL);
    if (rank == 0) return;
    held.on = 1;
    snprintf(held.who, sizeof held.who, "rank %d, on %.40s: ", rank, host);
    if (!freopen("/dev/null", "w", stdout)) exit(fail("/dev/null: %s", strerror(errno)));
}

static int ranks_exchange(const Shared *mine)
{
    MPI_Request request;
    const int n = sizeof *mine / sizeof(double);
    size_t teller = ranks.count;
    MPI_Iallgather(mine, n, MPI_DOUBLE, ranks.all, n, MPI_DOUBLE, MPI_COMM_WORLD, &request);
    ranks_wait(&request);
    for (size_t r = ranks.count; r-- > 0;) {
        if (ranks.all[r].failed != 0) teller = r;
        ranks.stop = imax(ranks.stop, (int)ranks.all[r].stop);
    }
    ranks.failed = teller < ranks.count;
    if (teller == ranks.rank) ranks_tell();
    return ranks.failed;
}

/* Adds up n scalars over all ranks. stop: a signal that this one has got, or 0; ranks_stop() is
   then one that some rank has got. same: a hash of what all have to have the same of, as a file
   may be another one on another machine. 1: a rank has failed, or has another. */
static int ranks_share(int stop, uint64_t same, const char *what, double *sums, size_t n)
{
    Shared mine = {.stop = stop, .same = (double)(same >> 11)};
    memcpy(mine.sums, sums, n * sizeof *sums);
    if (ranks_exchange(&mine)) return 1;
    for (size_t r = 0; r < ranks.count; r++) {
        if (ranks.all[r].same != ranks.all[0].same) {
            ranks.failed = 1;
            if (ranks.rank == 0) fail("rank %zu has another %s than rank 0", r, what);
            return 1;
        }
        for (size_t i = 0; i < n; i++) sums[i] = (r ? sums[i] : 0) + ranks.all[r].sums[i];
    }
    return 0;
}

static uint64_t ranks_hash(const void *x, size_t n, uint64_t hash)
{
    for (size_t i = 0; i < n && ranks.count > 1; i++) {
        uint32_t word;
        memcpy(&word, (const char *)x + 4 * i, 4);
        hash = bert_mix64(hash ^ word);
    }
    return hash;
}

/* The signal to stop by, the same one for all: as of the last ranks_share. */
static int ranks_stop(int here) { return ranks.count > 1 ? ranks.stop : here; }

/* Passes a failure on. In the midst of a sum of gradients nobody listens: it ends all at once. */
static int ranks_failed(int result) { return ranks.busy ? exit(result), 1 : result; }

/* The program's exit code. */
static int ranks_end(int result)
{
    const Shared mine = {.failed = result == 1};
    if (!ranks.failed) ranks_exchange(&mine);
    ranks.started = 0;
    MPI_Finalize();
    return ranks.failed ? 1 : result;
}

/* What each rank has of the step's G batches, n[i] floats of batch i, one after the other; those of
   this one are in their place. */
static void ranks_gather(float *all, const size_t *n, size_t G)
{
    MPI_Request request;
    int at = 0, *counts = ranks.counts, *offsets = counts + ranks.count;
    for (size_t r = 0, i = 0; r < ranks.count; at += counts[r++]) {
        counts[r] = 0, offsets[r] = at;
        for (; i < G * (r + 1) / ranks.count; i++) counts[r] += (int)n[i];
    }
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, counts, offsets, MPI_FLOAT,
                    MPI_COMM_WORLD, &request);
    ranks_wait(&request);
}

/* ------------------------------------------------------------------------------------------------
   The sum of gradients, group by group, while the backward goes on below */

static void add_span(float *at, size_t n)
{
    ranks.spans = more(ranks.spans, &ranks.room, ranks.num + 1, sizeof(Span), "gradients");
    ranks.spans[ranks.num++] = (Span){at, n};
}

/* Where the gradients of group i are: the head, layers L-1 .. 0, the embeddings. What is frozen has
   none, nor have rows of wte that the step has no token of. */
static void find_spans(const Bert *m, int i)
{
    const int l = m->config.L - i;
    const int group = !i ? BERT_GROUP_HEAD : l < 0 ? BERT_GROUP_EMBEDDINGS : BERT_GROUP_LAYER;
    ranks.num = 0;
    if (l < 0 ? m->freeze_embeddings : i && l < m->freeze_layers) return;
    for (int k = 0; k < BERT_NUM_TENSORS; k++) {
        const BertTensor *t = &m->tensors[k];
        const size_t each = t->rows * t->cols;
        float *at =
            m->grads_memory + t->offset + (group == BERT_GROUP_LAYER ? each * (size_t)l : 0);
        if (!t->size || !t->used || t->group != group) continue;
        if (k != BERT_TENSOR_wte) add_span(at, each);
        for (size_t row = 0; k == BERT_TENSOR_wte && row < t->rows; row++)
            if (ranks.rows[row]) add_span(at + row * t->cols, t->cols);
    }
}

/* Floats at .. at+n-1 of the spans, into the pack or back. */
static void copy_spans(float *pack, size_t at, size_t n, int back)
{
    for (const Span *s = ranks.spans; n; s++) {
        const size_t skipped = zmin(at, s->n), part = zmin(n, s->n - skipped);
        float *from = s->at + skipped;
        if (part) memcpy(back ? from : pack, back ? pack : from, part * sizeof *pack);
        pack += part, n -= part, at -= skipped;
    }
}

/* Each rank adds up its piece of the pack, of all ranks in their order, and gives it to all. So a
   rank sends and receives 2 (count - 1) / count of the pack, the least there is; a ring sends as
   much, in count - 1 times as many steps. */
static void sum_pack(size_t n)
{
    const size_t R = ranks.count, from = n * ranks.rank / R, own = n * (ranks.rank + 1) / R - from;
    int *send = ranks.counts, *receive = send + R, *send_at = receive + R,
        *receive_at = send_at + R;
    float *sum = ranks.pack + from;
    MPI_Request request;
    for (size_t r = 0; r < R; r++) {
        send_at[r] = (int)(n * r / R), send[r] = (int)(n * (r + 1) / R) - send_at[r];
        receive_at[r] = (int)(own * r), receive[r] = (int)own;
    }
    MPI_Ialltoallv(ranks.pack, send, send_at, MPI_FLOAT, ranks.pieces, receive, receive_at,
                   MPI_FLOAT, MPI_COMM_WORLD, &request);
    ranks_wait(&request);
    memcpy(sum, ranks.pieces, own * sizeof *sum);
    for (size_t r = 1; r < R; r++)
        for (size_t i = 0; i < own; i++) sum[i] += ranks.pieces[own * r + i];
    MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, ranks.pack, send, send_at, MPI_FLOAT,
                    MPI_COMM_WORLD, &request);
    ranks_wait(&request);
}

static void sum_group(const Bert *m, int i)
{
    size_t all = 0, n;
    find_spans(m, i);
    for (size_t k = 0; k < ranks.num; k++) all += ranks.spans[k].n;
    for (size_t at = 0; at < all; at += n) {
        n = zmin(all - at, RANKS_CHUNK);
        copy_spans(ranks.pack, at, n, 0);
        sum_pack(n);
        copy_spans(ranks.pack, at, n, 1);
    }
}

static void *sum_groups(void *unused)
{
    const Bert *m = ranks.m;
    for (int i = 0; i < m->config.L + 2; i++) {
        pthread_mutex_lock(&ranks.lock);
        while (ranks.ready <= i) pthread_cond_wait(&ranks.more, &ranks.lock);
        pthread_mutex_unlock(&ranks.lock);
        sum_group(m, i);
    }
    return unused;
}

static void set_ready(int groups)
{
    pthread_mutex_lock(&ranks.lock);
    ranks.ready = imax(ranks.ready, groups);
    pthread_cond_signal(&ranks.more);
    pthread_mutex_unlock(&ranks.lock);
}

/* Of bert_backward: a group of tensors has got all of its gradient. */
static void on_gradients(void *unused, int group, int layer)
{
    const int L = ranks.m->config.L;
    (void)unused;
    set_ready(group == BERT_GROUP_HEAD ? 1 : group == BERT_GROUP_LAYER ? L - layer + 1 : L + 2);
}

/* all: the step's batches, of all ranks. */
static void ranks_sum_begin(Bert *m, const BertBatch *all, size_t G)
{
    const size_t V = (size_t)m->config.V, R = ranks.count;
    if (R == 1) return;
    if (!ranks.pack) {
        const size_t most = zmin(m->num_parameters, RANKS_CHUNK);
        ranks.rows = take(V, 1, "the rows of a step");
        ranks.pack = take(most, sizeof(float), "the sum of gradients");
        ranks.pieces = take(most + R, sizeof(float), "the sum of gradients");
    }
    memset(ranks.rows, 0, V);
    for (size_t i = 0; i < G; i++) {
        const BertBatch *x = &all[i];
        for (int n = 0; n < x->offsets[x->B]; n++) ranks.rows[x->tokens[n]] = 1;
        if (x->R > 0) memset(ranks.rows, 1, V); /* mlm's decoder is wte */
    }
    ranks.m = m, ranks.ready = 0, ranks.busy = 1;
    m->on_gradients = on_gradients;
    const int error = ranks.threaded ? pthread_create(&ranks.thread, NULL, sum_groups, NULL) : 0;
    if (error) exit(fail("no thread for the sum of gradients: %s", strerror(error)));
}

static void ranks_sum_end(Bert *m)
{
    if (!ranks.busy) return;
    m->on_gradients = NULL;
    set_ready(m->config.L + 2);
    if (ranks.threaded) pthread_join(ranks.thread, NULL);
    else sum_groups(NULL);
    for (int v = 0; v < m->config.V; v++) m->seen[v] |= ranks.rows[v];
    ranks.busy = 0;
}
#endif
#endif
