/*
batches.c - what `train_bert train` would train on: dev/check/training.py gives PyTorch the same.

    ./batches FLAGS_OF_TRAIN

Writes output_dir/start.bin, the model before its first step, and output_dir/batches.jsonl, a batch
a line: tokens, types, offsets, and what is to be predicted: the arrays of BertBatch.
*/
#define TESTING /* train_bert.c without main */
#include "../../train_bert.c"

static void put_array(FILE *f, const char *name, const int *x, int n)
{
    fprintf(f, "\"%s\": [", name);
    for (int i = 0; i < n; i++) fprintf(f, i ? ", %d" : "%d", x[i]);
    fputs("], ", f);
}

static void put_batch(FILE *f, const BertBatch *x, int task)
{
    int N = x->offsets[x->B], labels[BERT_NUM_TASKS] = {0, x->B, 0, N, 2 * x->B, x->R, x->R};
    fputc('{', f);
    put_array(f, "tokens", x->tokens, N);
    put_array(f, "types", x->types, N);
    put_array(f, "offsets", x->offsets, x->B + 1);
    put_array(f, "rows", x->rows, x->R);
    put_array(f, "labels", x->labels, labels[task]);
    put_array(f, "next", x->next, x->next ? x->B : 0);
    fputs("\"targets\": [", f);
    for (int i = 0; i < x->B && x->targets; i++) fprintf(f, i ? ", %.9g" : "%.9g", x->targets[i]);
    fputs("]}\n", f);
}

/* As train_epochs and train_shard go through one file. */
static void put_epochs(Driver *d, FILE *f)
{
    for (uint64_t epoch = 0; d->step < d->total; epoch++) {
        pass_start(&d->pass, &d->data, (uint64_t)d->o.seed, epoch, 0, d->o.short_seq_prob);
        for (size_t at = 0, B; at < d->pass.n && d->step < d->total; at += B, d->step++) {
            B = bert_zmin_(d->micro_batch, d->pass.n - at);
            BertBatch x = train_batch(d, at, B);
            put_batch(f, &x, d->data.task);
        }
    }
}

int main(int argc, char **argv)
{
    static Driver d;
    char path[PATH_MAX];
    FILE *f;
    (void)bert_main; /* not used here, and that is no mistake */
    if (parse(&program, &d.o, 0, argc - 1, argv + 1)) return 1;
    if (d.o.model && bert_load(&d.model, d.o.model)) return fail("%s", bert_error(&d.model));
    if (train_load(&d)) return 1;
    if (d.shards.gl_pathc > 1 || d.o.gradient_accumulation_steps > 1 || d.data.multi_label)
        return fail("one file, no accumulation, no multi-label");
    if (save_model(&d, "start.bin")) return 1;
    snprintf(path, sizeof path, "%s/batches.jsonl", d.o.output_dir);
    f = fopen(path, "w");
    if (!f) return fail("%s: cannot be written: %s", path, strerror(errno));
    put_epochs(&d, f);
    return fclose(f) ? fail("%s: cannot be written", path) : 0;
}
