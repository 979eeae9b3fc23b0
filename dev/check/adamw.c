/*
adamw.c - bert_adamw's steps with their gradients, which dev/check/adamw.py gives to PyTorch's.

    ./adamw MODEL.bin STEPS RATE LR_DECAY WEIGHT_DECAY FREEZE_LAYERS FREEZE_EMBEDDINGS OUT

OUT: a line of JSON for each tensor; a line of zero; then float32, num_parameters each: the
parameters, and for each step the gradients before it and the parameters after it. Each step's batch
has other tokens, so that rows of wte are met early, late or never.
*/
#define BERT_IMPLEMENTATION
#include "../../bert.h"

#include <stdio.h>
#include <stdlib.h>

static int tell(const Bert *m)
{
    fprintf(stderr, "adamw: %s\n", bert_error(m));
    return 1;
}

int main(int argc, char **argv)
{
    enum { B = 2, T = 5 };
    Bert m = {0};
    if (argc != 9) return 2;
    if (bert_load(&m, argv[1])) return tell(&m);
    const int steps = atoi(argv[2]);
    const float rate = (float)atof(argv[3]), weight_decay = (float)atof(argv[5]);
    m.lr_decay = atof(argv[4]);
    m.freeze_layers = atoi(argv[6]), m.freeze_embeddings = atoi(argv[7]);
    FILE *f = fopen(argv[8], "wb");
    if (!f) return 2;
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *t = &m.tensors[i];
        if (t->size)
            fprintf(f, "{\"key\": \"%s\", \"layers\": %zu, \"offset\": %zu, \"size\": %zu}\n",
                    t->key, t->layers, t->offset, t->size);
    }
    fprintf(f, "0\n");
    fwrite(m.params_memory, sizeof(float), m.num_parameters, f);
    for (int step = 0; step < steps; step++) {
        int tokens[B * T], types[B * T] = {0}, labels[B], offsets[B + 1] = {0, T, 2 * T};
        const int words = 5 + (m.config.V - 8) * step / steps; /* the last ones are never met */
        for (int i = 0; i < B * T; i++)
            tokens[i] = (int)(bert_mix64((uint64_t)(step * B * T + i)) % (uint64_t)words);
        for (int i = 0; i < B; i++)
            labels[i] = (int)(bert_mix64((uint64_t)(step + i)) % (uint64_t)m.config.K);
        BertBatch x = {0};
        x.B = B, x.tokens = tokens, x.types = types, x.offsets = offsets, x.labels = labels;
        if (bert_forward(&m, &x, 1) || bert_backward(&m, 1)) return tell(&m);
        fwrite(m.grads_memory, sizeof(float), m.num_parameters, f);
        if (bert_adamw(&m, rate, 0.9f, 0.999f, 1e-8f, weight_decay, step + 1, 1.0f))
            return tell(&m);
        fwrite(m.params_memory, sizeof(float), m.num_parameters, f);
    }
    bert_free(&m);
    return fclose(f) != 0;
}
