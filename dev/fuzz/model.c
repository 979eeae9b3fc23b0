/* libFuzzer: a model file through load, encode, predict, embed, decode, a step of training, another
   head, save and load again. */
#include "fuzz.h"

/* Section 1 gets the length that the header's sizes ask for, and the header the file's. */
static size_t repair(uint8_t *data, size_t size, size_t room)
{
    BertTensor tensors[BERT_NUM_TENSORS];
    BertConfig c;
    int32_t words[20];
    uint64_t was;
    memcpy(words, data, sizeof words);
    memcpy(&was, data + 80, 8);
    memset(&c, 0, sizeof c);
    memcpy(&c, words + 2, 18 * 4);
    size_t parameters = bert_task(c.task) ? bert_layout_(tensors, &c) : SIZE_MAX;
    if (parameters < room / 4 && was < size / 4) {
        size_t old = ((size_t)was * 4 + 7) / 8 * 8, now = (parameters * 4 + 7) / 8 * 8;
        size_t tail = size - 1024 > old ? size - 1024 - old : 0;
        if (1024 + now + tail <= room) {
            memmove(data + 1024 + now, data + 1024 + old, tail);
            for (size_t i = old; i < now; i++) data[1024 + i] = data[1024 + i % 997];
            size = 1024 + now + tail;
            put_u64(data, 20, parameters);
        }
    }
    put_u64(data, 30, size);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    return mutate(data, size, room, seed, repair);
}

/* A step on what was encoded, with any labels that the task has. */
static void train(Bert *m, const BertEncoding *e)
{
    const BertConfig *c = &m->config;
    static int labels[4096], rows[64], next[64];
    static float targets[1 << 16];
    BertBatch x = {.B = e->B, .tokens = e->tokens, .types = e->types, .offsets = e->offsets};
    if (e->N > 2048 || e->B > 64 || (size_t)e->B * (size_t)c->K > 1 << 16) return;
    for (int i = 0; i < 4096; i++) labels[i] = c->K > 1 ? i % c->K : 0;
    for (int i = 0; i < 64; i++) rows[i] = i, next[i] = i % 2;
    for (int i = 0; i < 1 << 16; i++) targets[i] = (float)(i % 2);
    x.labels = labels;
    if (bert_has_targets(c)) x.targets = targets, x.labels = NULL;
    if (bert_task(c->task)->reads & BERT_READS_MASKED) x.rows = rows, x.R = bert_min_(e->N, 3);
    if (c->task == BERT_PRETRAINING) x.next = next;
    if (c->task == BERT_MULTIPLE_CHOICE) x.choices = x.B;
    if (c->task == BERT_QA) memset(labels, 0, sizeof labels);
    if (bert_forward(m, &x, 1) || bert_backward(m, 1)) return;
    bert_adamw(m, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {"a zoo. A film is \xc3\xa9 \xe4\xb8\x80 [MASK] good",
                                        "The b\tA! [SEP]", ""};
    char out[256];
    Bert m = {0}, again = {0};
    BertEncoding e = {0};
    if (!folder[0]) {
        start_folder();
        state = 3;
        Image im = image(1), plain = image(0);
        write_models(im.data, im.size);
        write_seed(im), write_seed(plain);
        for (int i = 0; i <= BERT_NUM_TASKS; i++) {
            char name[32];
            snprintf(name, sizeof name, "%d.%d.bin", i % BERT_NUM_TASKS, 0);
            if (i == BERT_NUM_TASKS) strcpy(name, "1.1.bin");
            im.data = read_file(name, &im.size);
            write_seed(im);
        }
        release(0);
    }
    largest = 0;
    if (!bert_load_memory(&m, data, size)) {
        BertEncodeOptions o = {.max_length = 12};
        if (m.config.S < 2) o.max_length = 6;
        for (int i = 0; i < 3; i++)
            bert_encode(&m, &e, texts[i], m.config.S > 1 ? texts[(i + 1) % 3] : NULL, &o);
        bert_decode(&m, out, sizeof out, e.tokens, e.N, 1, 1);
        if (e.N) bert_predict(&m, &e);
        float *vectors = calloc((size_t)e.B * (size_t)m.config.C + 1, sizeof *vectors);
        for (int pooling = 0; pooling < 3; pooling++) bert_embed(&m, vectors, pooling, 1);
        free(vectors);
        if (e.N) train(&m, &e);
        check(!bert_save(&m, "saved"), bert_error(&m));
        check(!bert_load(&again, "saved"), bert_error(&again));
        check(again.num_parameters == m.num_parameters &&
                  !memcmp(again.params_memory, m.params_memory, m.num_parameters * 4) &&
                  again.tokenizer.hash == m.tokenizer.hash,
              "saved, it is another model");
        bert_set_task(&again, BERT_PRETRAINING, 0, 0, NULL, 1);
        bert_set_task(&again, BERT_NER, 5, 0, NULL, 1);
        if (e.N) train(&again, &e);
        bert_encoding_free(&e);
    } else check(bert_error(&m)[0] != 0, "refused without a reason");
    bert_free(&m), bert_free(&again);
    check(1, "memory");
    return 0;
}
