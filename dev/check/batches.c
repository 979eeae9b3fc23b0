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

static void put_batch(FILE *f, const BertBatch *x, const BertConfig *c)
{
    int N = x->offsets[x->B];
    fputc('{', f);
    put_array(f, "tokens", x->tokens, N);
    put_array(f, "types", x->types, N);
    put_array(f, "offsets", x->offsets, x->B + 1);
    put_array(f, "rows", x->rows, x->R);
    put_array(f, "labels", x->labels, (int)bert_count_labels(c, x));
    put_array(f, "next", x->next, x->next ? x->B : 0);
    fprintf(f, "\"choices\": %d, \"targets\": [", x->choices);
    for (int i = 0; i < x->B && x->targets; i++) fprintf(f, i ? ", %.9g" : "%.9g", x->targets[i]);
    fputs("]}\n", f);
}

int main(int argc, char **argv)
{
    static Options o;
    static Bert m;
    static Training t = {.o = &o, .m = &m};
    char path[PATH_MAX];
    FILE *f;
    (void)bert_main; /* not used here, and that is no mistake */
    if (parse(&program, &o, 0, argc - 1, argv + 1)) return 1;
    if (o.model && bert_load(&m, o.model)) return fail("%s", bert_error(&m));
    if (train_load(&t)) return 1;
    if (m.config.multi_label) return fail("no multi-label");
    if (folder_save(&t.out, &m, "start.bin")) return 1;
    snprintf(path, sizeof path, "%s/batches.jsonl", o.output_dir);
    f = fopen(path, "w");
    if (!f) return fail("%s: cannot be written: %s", path, strerror(errno));
    for (; t.step < t.plan.total; t.step++) {
        if (loader_step(&t.train, (uint64_t)t.step)) return 1;
        for (size_t i = 0; i < t.train.num_batches; i++)
            put_batch(f, &t.train.batches[i], &m.config);
    }
    return fclose(f) ? fail("%s: cannot be written", path) : 0;
}
