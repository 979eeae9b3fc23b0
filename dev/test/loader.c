/* dev/driver/loader.h alone: a step is the same however it is cut, whoever computes it, wherever
   one goes on; an epoch has every item once; a bound on tokens; masks that are found. And memory.h:
   no batch is larger than it says, nor the memory that bert.h takes for it other. */
#include "test.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* of a room that is included alone */

#define BERT_IMPLEMENTATION
#include "dev/driver/memory.h"

#include "files.h"

enum { STEPS = 40 };

static const struct {
    int task, multi, K;
} all_tasks[] = {{BERT_CLASSIFICATION, 0, IK},
                 {BERT_CLASSIFICATION, 1, IK},
                 {BERT_REGRESSION, 0, 1},
                 {BERT_NER, 0, IK},
                 {BERT_QA, 0, 0},
                 {BERT_MLM, 0, 0},
                 {BERT_PRETRAINING, 0, 0},
                 {BERT_MULTIPLE_CHOICE, 0, 1}};
enum { NUM_TASKS = sizeof all_tasks / sizeof all_tasks[0] };

static void make_files(void)
{
    make_folder_of("loader");
    Image im = image(1);
    write_file("model.bin", im.data, im.size);
}

/* Three files of a task and a model with its head; the labels of single-label classification are
   those of class_image, as task_image's are multi-label's. */
static void begin(Bert *m, int i)
{
    const int task = all_tasks[i].task, multi = all_tasks[i].multi;
    const int single = task == BERT_CLASSIFICATION && !multi;
    char name[32];
    for (int k = 0; k < 3; k++) {
        Image im = single ? class_image(EXAMPLES + k, 1, label_names, IP) : task_image(task, multi);
        snprintf(name, sizeof name, "part-%d.bin", k);
        write_file(name, im.data, im.size);
    }
    Data d = {0};
    expect(!bert_load(m, "model.bin") && !load_data(m, &d, "part-0.bin", 1) &&
               !bert_set_task(m, task, all_tasks[i].K, multi, &d.names, 1),
           "%s", bert_error(m));
    free(d.memory);
}

static Loader loader_of(const Bert *m, size_t batch, size_t group, int shuffled)
{
    const Loader l = {.model = m,
                      .batch = batch,
                      .group = group,
                      .shuffled = shuffled,
                      .seed = 5,
                      .mlm_probability = 0.4,
                      .short_seq_prob = 0.3};
    return l;
}

static uint64_t hash_of(uint64_t hash, const void *x, size_t bytes)
{
    return x ? fnv1a(hash, x, bytes) : hash + 1;
}

/* What a step gives to the model, as one sequence of examples, each with its labels, its rows, its
   divisors and its place in the step. */
static uint64_t step_hash(const Bert *m, const BertBatch *batches, size_t n, uint64_t hash)
{
    const BertConfig *c = &m->config;
    for (size_t i = 0; i < n; i++) {
        const BertBatch *x = &batches[i];
        int row = 0;
        for (int b = 0; b < x->B; b++) {
            const int from = x->offsets[b], T = x->offsets[b + 1] - from, place = x->place + b;
            const size_t bytes = (size_t)T * sizeof(int);
            const size_t floats = (size_t)c->K * sizeof(float);
            hash = hash_of(hash, &place, sizeof place);
            hash = hash_of(hash, &x->divisor, sizeof x->divisor);
            hash = hash_of(hash, &x->next_divisor, sizeof x->next_divisor);
            hash = hash_of(hash, x->tokens + from, bytes);
            hash = hash_of(hash, x->types + from, bytes);
            if (c->task == BERT_CLASSIFICATION && x->labels)
                hash = hash_of(hash, x->labels + b, sizeof(int));
            if (x->choices) hash = hash_of(hash, x->labels + b / x->choices, sizeof(int));
            if (c->task == BERT_NER) hash = hash_of(hash, x->labels + from, bytes);
            if (c->task == BERT_QA) hash = hash_of(hash, x->labels + 2 * b, 2 * sizeof(int));
            if (x->targets) hash = hash_of(hash, x->targets + (size_t)b * (size_t)c->K, floats);
            if (x->next) hash = hash_of(hash, x->next + b, sizeof(int));
            for (; row < x->R && x->rows[row] < from + T; row++) {
                const int at[2] = {x->rows[row] - from, x->labels[row]};
                hash = hash_of(hash, at, sizeof at);
            }
        }
        expect(row == x->R, "%d of %d rows", row, x->R);
    }
    return hash;
}

/* The hashes of the first steps, and where each began. */
static int first_steps(Loader *l, uint64_t *hashes, Place *places)
{
    for (int i = 0; i < STEPS; i++) {
        if (places) places[i] = l->place;
        if (!expect(!loader_step(l, (uint64_t)i), "step %d", i)) return 1;
        hashes[i] = step_hash(l->model, l->batches, l->num_batches, 1);
        double divisor = 0;
        for (size_t k = 0; k < l->num_batches; k++) {
            divisor += bert_divisor(l->model, &l->batches[k]);
            expect(l->batches[k].step == (uint64_t)i, "step %d is not said", i);
        }
        for (size_t k = 0; k < l->num_batches; k++)
            expect(l->batches[k].divisor == divisor && divisor == l->rows &&
                       l->batches[k].next_divisor == (double)l->step_items,
                   "step %d: divisors %g, %g", i, l->batches[k].divisor,
                   l->batches[k].next_divisor);
    }
    return 0;
}

/* In the file's order each example is what the file says, also where a question's answer ends at
   another token than it begins. */
static void test_content(void)
{
    for (int i = 0; i < NUM_TASKS; i++) {
        const int task = all_tasks[i].task;
        Bert m = {0};
        if (task == BERT_PRETRAINING) continue; /* its pairs are drawn */
        begin(&m, i);
        if (task == BERT_QA) {
            Image im = task_image(task, 0);
            const int at = (int)section_of(&im, IN_POSITIONS) / 4;
            for (int k = 0; k < ITEMS; k++)
                if (get_word(&im, at + 2 * k) == 3) set_word(&im, at + 2 * k + 1, 4);
            write_data("part-0.bin", im);
        }
        Loader l = loader_of(&m, 3, 1, 0);
        l.predicting = task == BERT_MLM; /* no masks are drawn */
        expect(!loader_file(&l, "part-0.bin") && !loader_scan(&l), "no file");
        const Data *d = l.data;
        double labelled = 0;
        for (size_t item = 0, end; item < d->n; item = end) {
            if (!expect(!loader_step(&l, 0) && l.num_batches == 1, "no step")) break;
            const BertBatch *x = l.batches;
            end = item + (size_t)x->B;
            for (int b = 0; b < x->B; b++) {
                const size_t k = item + (size_t)b, first = d->offsets[k];
                const int at = x->offsets[b], T = x->offsets[b + 1] - at, *labels = x->labels;
                expect((size_t)T == d->offsets[k + 1] - first, "example %zu has %d tokens", k, T);
                if (d->labels) labelled += labels[b] >= 0;
                if (d->sets) labelled += (double)(d->sets[k + 1] - d->sets[k]);
                for (int t = 0; d->tags && t < T; t++) labelled += labels[at + t] >= 0;
                for (int t = 0; t < T; t++)
                    expect(x->tokens[at + t] == d->tokens[first + (size_t)t] &&
                               x->types[at + t] == (t >= d->segments[k]) &&
                               (!d->tags || labels[at + t] == d->tags[first + (size_t)t]),
                           "task %d, example %zu: token %d", task, k, t);
                expect(!d->positions || (labels[2 * b] == d->positions[2 * k] &&
                                         labels[2 * b + 1] == d->positions[2 * k + 1]),
                       "example %zu: another answer", k);
                expect(!d->labels || labels[(size_t)b / d->choices] == d->labels[k / d->choices],
                       "task %d, example %zu: another label", task, k);
                expect(!d->targets || x->targets[b] == d->targets[k], "example %zu: target", k);
                for (int j = 0, in; d->sets && j < d->K; j++) {
                    in = 0;
                    for (uint64_t s = d->sets[k]; s < d->sets[k + 1]; s++)
                        in |= d->set_labels[s] == j;
                    expect(x->targets[b * d->K + j] == (float)in, "example %zu: label %d", k, j);
                }
            }
        }
        for (int k = 0; k < d->K; k++) labelled -= l.label_counts[k];
        expect(!d->K || labelled == 0, "task %d: %g labels are not counted", task, labelled);
        loader_free(&l), bert_free(&m);
    }
    done("loader: tokens, types and labels of each example are the file's, every task");
}

/* 1 x 8, 2 x 4, 4 x 2 and 8 x 1 examples. */
static void test_cuts(void)
{
    for (int i = 0; i < NUM_TASKS; i++) {
        Bert m = {0};
        uint64_t whole[STEPS], cut[STEPS];
        begin(&m, i);
        for (size_t group = 1; group <= 8; group *= 2) {
            Loader l = loader_of(&m, 8 / group, group, 1);
            expect(!loader_files(&l, "part-*.bin") && !loader_scan(&l), "no files");
            first_steps(&l, group == 1 ? whole : cut, NULL);
            for (int k = 0; k < STEPS && group > 1; k++)
                expect(whole[k] == cut[k], "task %d, %zu batches: step %d", all_tasks[i].task,
                       group, k);
            loader_free(&l);
        }
        for (int k = 1; k < STEPS; k++) expect(whole[k] != whole[k - 1], "steps are the same");
        bert_free(&m);
    }
    done("loader: a step is the same as one batch and as 2, 4, 8 micro-batches, every task");
}

static void test_places(void)
{
    for (int i = 0; i < NUM_TASKS; i++)
        for (int shuffled = 0; shuffled < 2; shuffled++) {
            Bert m = {0};
            uint64_t hashes[STEPS];
            Place places[STEPS];
            begin(&m, i);
            Loader l = loader_of(&m, 3, 2, shuffled), other = loader_of(&m, 3, 2, shuffled);
            expect(!loader_files(&l, "part-*.bin") && !loader_scan(&l), "no files");
            expect(!loader_files(&other, "part-*.bin") && !loader_scan(&other), "no files");
            first_steps(&l, hashes, places);
            for (int n = 0; n < 3 * STEPS; n++) {
                const int k = below(STEPS);
                loader_seek(&other, places[k]);
                expect(!loader_step(&other, (uint64_t)k) &&
                           step_hash(&m, other.batches, other.num_batches, 1) == hashes[k],
                       "task %d: step %d from its place", all_tasks[i].task, k);
                if (k + 1 == STEPS) continue;
                expect(!memcmp(&other.place, &places[k + 1], sizeof(Place)),
                       "task %d: the place behind step %d", all_tasks[i].task, k);
            }
            loader_free(&l), loader_free(&other), bert_free(&m);
        }
    done("loader: from a stored place one goes on with the same step, every task");
}

/* All processes' batches, one process's after the other's, are those of one alone. */
static void test_ranks(void)
{
    for (int i = 0; i < NUM_TASKS; i++)
        for (size_t ranks = 2; ranks <= 3; ranks++) {
            Bert m = {0};
            uint64_t alone[STEPS], together[STEPS];
            size_t batches = 0;
            begin(&m, i);
            Loader one = loader_of(&m, 2, 2 * ranks, 1), share[3];
            expect(!loader_files(&one, "part-*.bin") && !loader_scan(&one), "no files");
            first_steps(&one, alone, NULL);
            for (size_t r = 0; r < ranks; r++) {
                share[r] = loader_of(&m, 2, 2, 1);
                share[r].rank = r, share[r].ranks = ranks;
                expect(!loader_files(&share[r], "part-*.bin") && !loader_scan(&share[r]), "files");
                expect(share[r].steps == one.steps, "%zu steps, not %zu", share[r].steps,
                       one.steps);
            }
            for (int k = 0; k < STEPS; k++) {
                together[k] = 1;
                for (size_t r = 0; r < ranks; r++) {
                    expect(!loader_step(&share[r], (uint64_t)k), "step %d", k);
                    together[k] =
                        step_hash(&m, share[r].batches, share[r].num_batches, together[k]);
                    batches += share[r].num_batches;
                    expect(share[r].num_batches ==
                                   share[r].G * (r + 1) / ranks - share[r].G * r / ranks &&
                               share[r].num_batches <= 2,
                           "rank %zu of %zu: %zu of %zu batches", r, ranks, share[r].num_batches,
                           share[r].G);
                    expect(share[r].ended == share[0].ended, "they end apart");
                }
                expect(alone[k] == together[k], "task %d, %zu ranks: step %d", all_tasks[i].task,
                       ranks, k);
            }
            expect(batches > STEPS, "%zu batches", batches);
            for (size_t r = 0; r < ranks; r++) loader_free(&share[r]);
            loader_free(&one), bert_free(&m);
        }
    done("loader: 2 and 3 processes share a step of one, every task");
}

/* Every item once, steps as they were counted before, and the last is told. */
static void test_epochs(void)
{
    Bert m = {0};
    size_t order[3][3] = {{0}}; /* the first items of each file in each epoch */
    begin(&m, 0);
    Loader l = loader_of(&m, 4, 2, 1);
    expect(!loader_files(&l, "part-*.bin") && !loader_scan(&l), "no files");
    expect(l.items == 3 * EXAMPLES + 3 && l.steps == 6, "%zu items, %zu steps", l.items, l.steps);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        size_t items = 0, steps = 0, batches = 0;
        int seen[3][EXAMPLES + 2] = {{0}};
        do {
            expect(l.place.epoch == epoch && !loader_step(&l, 0), "epoch %d", (int)epoch);
            for (size_t i = 0, file = l.files.open - 1; l.first == 0 && i < 8; i++)
                order[epoch][file] = 16 * order[epoch][file] + l.order[i];
            for (size_t i = 0; i < l.step_items; i++)
                seen[l.files.open - 1][l.order[l.first + i]]++;
            items += l.step_items, batches += l.num_batches, steps++;
            expect(fabs(l.epoch - (double)epoch - (double)steps / 6) < 1e-12, "epoch %g", l.epoch);
        } while (!l.ended && steps < 100);
        expect(items == l.items && steps == l.steps && batches == 10, "%zu items, %zu steps", items,
               steps);
        for (int k = 0; k < 3; k++)
            for (int i = 0; i < EXAMPLES + k; i++)
                expect(seen[k][i] == 1, "file %d, item %d: %d times", k, i, seen[k][i]);
    }
    for (int k = 0; k < 3; k++)
        expect(order[0][k] != order[1][k] && order[1][k] != order[2][k], "file %d: one order", k);
    expect(l.rows == (double)l.step_items, "%g rows with a label", l.rows);
    loader_free(&l), bert_free(&m);
    done("loader: an epoch has every item once, and says where it ends");
}

/* A micro-batch takes an item, and others as long as it has at most so many tokens; lines of text
   are a Data as others. */
static void test_tokens(void)
{
    Bert m = {0};
    begin(&m, 0);
    for (size_t most = 1; most < 20; most++) {
        Loader l = loader_of(&m, 100, 2, 0);
        size_t items = 0;
        Data lines = {0};
        l.most_tokens = most, l.predicting = 1;
        if (most % 2) expect(!loader_file(&l, "part-0.bin"), "no file");
        else {
            expect(!load_data(&m, &lines, "part-0.bin", 0), "no data");
            loader_lines(&l, &lines);
        }
        expect(!loader_room(&l, l.data->n, (size_t)l.data->longest, SIZE_MAX), "no room");
        do {
            expect(!loader_step(&l, 0), "step");
            for (size_t i = 0; i < l.num_batches; i++) {
                const BertBatch *x = &l.batches[i];
                const uint64_t *of = l.data->offsets + items;
                expect(x->B == 1 || x->offsets[x->B] <= (int)most, "%d tokens in %d items",
                       x->offsets[x->B], x->B);
                items += (size_t)x->B;
                expect(items == l.data->n || of[x->B + 1] - of[0] > most,
                       "another item would have fitted");
                expect(!x->labels && !x->targets, "labels");
            }
        } while (!l.ended);
        expect(items == l.data->n, "%zu items", items);
        free(lines.memory);
        loader_free(&l);
    }
    bert_free(&m);
    done("loader: a micro-batch of at most so many tokens, or one item");
}

/* The bound cuts a step into other micro-batches, and it is the same step, for ranks too. */
static void test_token_steps(void)
{
    for (int i = 0; i < NUM_TASKS; i++) {
        Bert m = {0};
        uint64_t whole[STEPS], cut[STEPS];
        size_t more = 0, choices;
        begin(&m, i);
        for (int most = 0; most < 30; most += most ? 7 : 1) {
            Loader l = loader_of(&m, 4, 2, 1);
            l.most_tokens = (size_t)most;
            expect(!loader_files(&l, "part-*.bin") && !loader_scan(&l), "no files");
            first_steps(&l, most ? cut : whole, NULL);
            for (int k = 0; k < STEPS && most; k++)
                expect(whole[k] == cut[k], "task %d, %d tokens: step %d", all_tasks[i].task, most,
                       k);
            choices = l.choices ? l.choices : 1;
            for (int k = 0; k<10; k++, more += l.num_batches> 2) {
                expect(!loader_step(&l, 0), "a step");
                for (size_t b = 0; most && b < l.num_batches; b++)
                    expect((size_t)l.batches[b].B == choices ||
                               l.batches[b].offsets[l.batches[b].B] <= most,
                           "task %d: %d tokens, the most is %d", all_tasks[i].task,
                           l.batches[b].offsets[l.batches[b].B], most);
            }
            loader_free(&l);
        }
        expect(more > 10, "the bound cuts nothing");
        bert_free(&m);
    }
    done("loader: bounds on a micro-batch's tokens leave the step as it is, every task");
}

/* Predicting, the [MASK]s of the text are rows, without labels; a model without masks has none. */
static void test_found(void)
{
    Bert m = {0};
    begin(&m, 5);
    Loader l = loader_of(&m, 100, 1, 0);
    l.predicting = 1;
    expect(!loader_file(&l, "part-0.bin") && !loader_room(&l, l.data->n, IP, SIZE_MAX), "no file");
    l.files.data.tokens[1] = l.files.data.tokens[3] = l.files.data.tokens[5] = 4;
    const int32_t *tokens = l.files.data.tokens;
    if (loader_step(&l, 0)) exit(2);
    expect(l.ended && l.batches[0].R == 3 && !l.batches[0].labels && l.batches[0].rows[0] == 1 &&
               l.batches[0].rows[2] == 5 &&
               !memcmp(l.batches[0].tokens, tokens, l.data->N * sizeof *tokens),
           "%d rows", l.batches[0].R);
    if (bert_set_task(&m, BERT_NONE, 0, 0, NULL, 1) || loader_step(&l, 0)) exit(2);
    expect(!l.batches[0].R && !l.batches[0].rows, "rows for a model without a head");
    loader_free(&l), bert_free(&m);
    done("loader: [MASK]s are found, not drawn, where they are to be filled");
}

/* Files that hold the same are not the same in training: each has pairs, masks and an order with
   keys of its own. */
static void test_shards(void)
{
    Bert m = {0};
    int pretraining = 0;
    while (all_tasks[pretraining].task != BERT_PRETRAINING) pretraining++;
    begin(&m, pretraining);
    Loader l = loader_of(&m, 4, 1, 1);
    expect(!loader_files(&l, "part-*.bin") && !loader_scan(&l), "no files");
    uint64_t pairs[3] = {1, 1, 1}, masks[3], order[3] = {1, 1, 1};
    for (uint64_t epoch = 0; epoch < 20; epoch++)
        for (size_t k = 0; k < 3; k++) {
            if (open_shard(&l, k)) exit(2);
            draw_pass(&l, epoch, k);
            for (size_t i = 0; i < l.n; i++) {
                const Pair *p = &l.pair_of_item[i];
                const uint64_t of[] = {p->a, p->a_end, p->b, p->b_end, (uint64_t)p->random};
                pairs[k] = hash_of(pairs[k], of, sizeof of);
            }
            order[k] = hash_of(order[k], l.order, l.n * sizeof *l.order);
            masks[k] = l.masks;
        }
    for (int k = 0; k < 3; k++)
        expect(pairs[k] != pairs[(k + 1) % 3] && masks[k] != masks[(k + 1) % 3] &&
                   order[k] != order[(k + 1) % 3],
               "file %d is drawn as the next", k);
    loader_free(&l), bert_free(&m);
    done("loader: each file draws its pairs, masks and order with keys of its own");
}

/* What bert_forward takes for each batch of a step, to the byte; and no batch is larger than the
   one that was counted on: the longest together. */
static void test_memory(void)
{
    size_t batches = 0;
    for (int i = 0; i < NUM_TASKS; i++)
        for (int kind = 0; kind < 4; kind++) {
            const int training = kind % 2, most = kind / 2 ? 9 : 0;
            Bert m = {0};
            begin(&m, i);
            Loader l = loader_of(&m, 4, 2, 1), whole = loader_of(&m, 1000, 1, 1);
            l.most_tokens = (size_t)most;
            l.mlm_probability = 0.15;
            expect(!loader_files(&l, "part-*.bin") && !loader_scan(&l), "no files");
            expect(!loader_files(&whole, "part-*.bin") && !loader_scan(&whole), "no files");
            for (int k = 0; k < STEPS; k++) {
                if (loader_step(&l, 0)) exit(2);
                for (size_t b = 0; b < l.num_batches; b++, batches++) {
                    const BertBatch *x = &l.batches[b];
                    const size_t N = (size_t)x->offsets[x->B];
                    m.checkpointing = k % 3 == 0;
                    expect(N <= l.widest, "task %d: %zu tokens, at most %zu", i, N, l.widest);
                    if (k > 3) continue;
                    Bert own = {0};
                    must(&m, bert_share(&own, &m)), must(&own, bert_forward(&own, x, training));
                    const double is = (double)own.acts_room * sizeof(float);
                    const double want =
                        activation_bytes(&own, (size_t)x->B, N, (size_t)x->R, training);
                    expect(is == want, "task %d, training %d: %.0f bytes, not %.0f", i, training,
                           is, want);
                    bert_free(&own);
                }
            }
            size_t largest = 0;
            for (size_t k = 0; k < 3; k++)
                if (whole.files.all[k].N > largest) largest = whole.files.all[k].N;
            if (all_tasks[i].task != BERT_PRETRAINING)
                expect(whole.widest == largest, "task %d: %zu tokens in all, not %zu", i,
                       whole.widest, largest);
            expect(l.widest <= 4 * 2 * IP && (!most || l.widest <= 12), "task %d: %zu tokens", i,
                   l.widest);
            const Memory x = memory_of(&m, &l, &whole);
            const double parts = x.parameters + x.gradients + x.moments + x.data;
            expect(x.all == parts + fmax(x.training, x.evaluation) && x.moments == 2 * x.gradients,
                   "%g", x.all);
            loader_free(&l), loader_free(&whole), bert_free(&m);
        }
    done("memory: bert.h takes for each of %zu batches what is said, and none is larger", batches);
}

/* Frozen parts have no gradient; a machine that has less is warned of. */
static void test_trained(void)
{
    Bert m = {0};
    char text[512];
    size_t n = 0;
    begin(&m, 0);
    const double all = trained_parameters(&m);
    for (int i = 0; i < BERT_NUM_TENSORS; i++)
        if (m.tensors[i].group == BERT_GROUP_LAYER) n += m.tensors[i].rows * m.tensors[i].cols;
    m.freeze_layers = 1;
    expect(all == (double)m.num_parameters && trained_parameters(&m) == all - (double)n, "%g", all);
    m.freeze_embeddings = 1;
    expect(trained_parameters(&m) == all - (double)n - (IV + IP + IS + 2) * IC, "embeddings");
    bert_free(&m);
    const Memory x = {.all = 3e9};
    const double there[] = {0, 4e9, 2e9};
    expect(memory_there() > 1e6, "this machine has no memory");
    for (int i = 0; i < 3; i++) {
        FILE *f = tmpfile();
        const int kept = dup(2);
        fflush(stderr), dup2(fileno(f), 2);
        check_memory(&x, there[i]);
        fflush(stderr), dup2(kept, 2), close(kept);
        rewind(f), text[fread(text, 1, sizeof text - 1, f)] = 0, fclose(f);
        expect(!*text == (i < 2) &&
                   (i < 2 || strstr(text, "takes 3.0 GB of memory, and there are 2.0:")),
               "%d: %s", i, text);
    }
    done("memory: frozen parts need none for gradients; too little is warned of");
}

int main(void)
{
    static void (*const tests[])(void) = {make_files,  test_content, test_cuts,   test_places,
                                          test_ranks,  test_epochs,  test_tokens, test_token_steps,
                                          test_found,  test_shards,  test_memory, test_trained,
                                          leave_folder};
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) tests[i](), release(0);
    return finish();
}
