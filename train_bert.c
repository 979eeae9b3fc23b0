/*
train_bert.c - fine-tune BERT, measure it, and predict with it.

    ./train_bert train   --model model.bin --train_file train.bin --output_dir out
    ./train_bert eval    --model out/best.bin --eval_file test.bin
    ./train_bert predict --model out/best.bin --predict_file test.bin
    ./train_bert predict --model out/best.bin < lines.txt      (embed, encode: the same)

Everything that BERT computes is in bert.h. Here is the driver around it, to be read downwards:
flags - evaluation - saving - from scratch - training - commands. Its rooms are in dev/driver, one
subject each. Flags have the names, defaults and meaning of Hugging Face's TrainingArguments.
*/
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* files beyond 2 GiB where off_t has 32 bits by default */

#define BERT_IMPLEMENTATION
#include "bert.h"

#include "dev/driver/flags.h"
#include "dev/driver/loader.h"
#include "dev/driver/log.h"
#include "dev/driver/save.h"
#include "dev/driver/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <glob.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
   The flags: this table declares struct Options, and parsing, checks and help go by it.
   name, kind, default, commands that take it, commands that need it, help (CHOICE: the choices) */

enum { TRAIN = 1, EVAL = 2, PREDICT = 4, EMBED = 8, ENCODE = 16 };
enum { ANSWER = TRAIN | EVAL | PREDICT, ANY = ANSWER | EMBED, TEXT = PREDICT | EMBED | ENCODE };

#define FLAGS(X)                                                                                   \
    X(model, PATH, "", ANY | ENCODE, TEXT | EVAL,                                                  \
      "model file, of dev/export_hf.py or an earlier run")                                         \
    X(init, PATH, "", TRAIN, 0, "config.json: from scratch, in place of --model")                  \
    X(tokenizer, PATH, "", TRAIN, 0, "with --init: a model file whose vocabulary is taken")        \
    X(train_file, PATH, "", TRAIN, TRAIN,                                                          \
      "data to learn from, of tokenizer.py; shards: 'c-*.bin'")                                    \
    X(eval_file, PATH, "", TRAIN | EVAL, EVAL, "data file to measure on")                          \
    X(predict_file, PATH, "", PREDICT | EMBED, 0, "data file; without: lines of standard input")   \
    X(pair, SWITCH, "", TEXT, 0, "a line is two texts with a tab between [as in training]")        \
    X(json, SWITCH, "", TEXT, 0, "a line is {\"text\"}, {\"text\", \"text_pair\"}")                \
    X(max_length, COUNT, "", TEXT, 0,                                                              \
      "tokens a line is cut at [as the model was trained, or its tokenizer cuts; qa: 384]")        \
    X(output_dir, PATH, "", TRAIN, TRAIN, "folder for model.bin (last) and best.bin")              \
    X(overwrite_output_dir, SWITCH, "", TRAIN, 0,                                                  \
      "an earlier run's are removed there [kept as earlier-*.bin]")                                \
    X(num_train_epochs, POSITIVE, "3", TRAIN, 0, "passes over the data, or a fraction of one")     \
    X(max_steps, STEPS, "-1", TRAIN, 0, "where above 0: optimizer steps, in place of epochs")      \
    X(per_device_train_batch_size, COUNT, "8", TRAIN, 0, "examples in a batch of training")        \
    X(per_device_eval_batch_size, COUNT, "8", ANY, 0, "examples in a batch otherwise")             \
    X(gradient_accumulation_steps, COUNT, "1", TRAIN, 0, "batches in an optimizer step")           \
    X(learning_rate, NUMBER, "5e-5", TRAIN, 0, "its highest value")                                \
    X(lr_scheduler_type, CHOICE, "linear", TRAIN, 0,                                               \
      "linear|cosine|constant|constant_with_warmup")                                               \
    X(warmup_steps, NUMBER, "0", TRAIN, 0, "steps it rises for; below 1: their share of all")      \
    X(warmup_ratio, SHARE, "0", TRAIN, 0, "that share, as transformers 4 named it")                \
    X(weight_decay, NUMBER, "0", TRAIN, 0, "of matrices; biases and LayerNorm have none")          \
    X(adam_beta1, SHARE, "0.9", TRAIN, 0, "decay of the gradients' mean")                          \
    X(adam_beta2, SHARE, "0.999", TRAIN, 0, "decay of the squared gradients' mean")                \
    X(adam_epsilon, NUMBER, "1e-8", TRAIN, 0, "added to the latter's root")                        \
    X(max_grad_norm, NUMBER, "1", TRAIN, 0, "longer gradients are scaled to this norm; 0: never")  \
    X(hidden_dropout_prob, SHARE, "", TRAIN, 0, "in place of the model's own")                     \
    X(attention_probs_dropout_prob, SHARE, "", TRAIN, 0, "in place of the model's own")            \
    X(classifier_dropout, SHARE, "", TRAIN, 0, "in place of the model's own")                      \
    X(label_smoothing_factor, SHARE, "0", TRAIN, 0, "classification, ner, mlm: spread over all")   \
    X(class_weights, PATH, "", TRAIN, 0, "classification, ner: balanced, or a list: 1,2.5,1")      \
    X(mlm_probability, SHARE, "0.15", ANSWER, 0, "mlm, pretraining: share of tokens to predict")   \
    X(short_seq_prob, SHARE, "0.1", TRAIN | EVAL, 0, "pretraining: share of shorter pairs")        \
    X(version_2_with_negative, SWITCH, "", ANSWER, 0,                                              \
      "qa: maybe no answer [v2 data, or a model of it: yes]")                                      \
    X(null_score_diff_threshold, REAL, "0", ANSWER, 0, "qa: no answer where [CLS] leads by more")  \
    X(n_best_size, BEST, "20", ANSWER, 0, "qa: spans to choose from")                              \
    X(max_answer_length, COUNT, "", ANSWER, 0, "qa: tokens of the longest answer [30; text: 15]")  \
    X(train_sampling_strategy, CHOICE, "random", TRAIN, 0, "random|sequential")                    \
    X(freeze_layers, STEPS, "0", TRAIN, 0, "the first so many layers are not trained")             \
    X(freeze_embeddings, SWITCH, "", TRAIN, 0, "nor are the embeddings")                           \
    X(seed, SEED, "42", TRAIN, 0, "of the order, masks, dropout and a new head")                   \
    X(logging_steps, COUNT, "500", TRAIN, 0, "steps between two lines of the log")                 \
    X(logging_dir, PATH, "", TRAIN, 0, "folder for log.jsonl, which a new run replaces")           \
    X(top_k, BEST, "", PREDICT, 0, "the best so many labels, words [5], answers from text [1]")    \
    X(logits, SWITCH, "", PREDICT, 0, "classification, regression, ner: the raw outputs too")      \
    X(pooling, CHOICE, "model", EMBED, 0, "model|mean|cls|pooler")                                 \
    X(normalize, SWITCH, "", EMBED, 0, "vectors of length 1")

#define FLAG_FIELD(name, kind, ...) kind##_t name;
typedef struct {
    FLAGS(FLAG_FIELD)
} Options;

#include "dev/driver/answers.h"
#include "dev/driver/tasks.h"
#include "dev/driver/text.h"

/* ------------------------------------------------------------------------------------------------
   What a command works with. bert_main frees it. */

typedef struct {
    size_t n, N;
    int longest;
} ShardSize;

/* What training adds up. */
typedef struct {
    double steps, loss, items, tokens, seconds;
    double rows; /* that have a label */
} Sums;

typedef struct {
    Options o;
    Bert model;
    Data data, eval_data; /* data: train_file's shard, or predict_file */
    Pass pass, eval_pass;
    Batch batch;
    Evaluation result;
    Input input;
    Log log;

    Lock lock;            /* of output_dir */
    glob_t shards;        /* train_file's */
    ShardSize *scanned;   /* of each shard */
    size_t *shard_order;  /* of the epoch */
    size_t shard;         /* the one in data, counted from 1 */
    double *counts;       /* (K) of each label, over all shards */
    float *class_weights; /* (K) or NULL */

    int longest;                              /* input of training */
    size_t micro_batch, micro_batches, items; /* examples in one; of them, and items, an epoch */
    size_t steps_an_epoch;                    /* optimizer steps */
    long long total, warmup, step;            /* optimizer steps: all, of the warmup, done */
    double epoch;                             /* done, with the fraction */
    double rate, norm;                        /* of the last step */
    Sums run, line;                           /* so far, and at the last log line */
    long long saved_step, best_step;          /* of model.bin, best.bin */
    int saved;                                /* an earlier run's models are out of the way */
    double best, best_loss;
} Driver;

static volatile sig_atomic_t stop_signal; /* SIGINT or SIGTERM: finish the step, save, leave */

/* The head's K for this data. */
static int head_size(const Data *d) { return d->task == BERT_REGRESSION ? 1 : d->K; }

/* eval and predict: the head must be there. That of pretraining has mlm's in it. */
static int check_head(Bert *m, const char *path, const Data *d)
{
    if (m->config.task == BERT_PRETRAINING && d->task == BERT_MLM &&
        bert_set_task(m, BERT_MLM, 0, 0, NULL, 0))
        return fail("%s: %s", path, bert_error(m));
    if (m->config.task == BERT_NONE)
        return fail("%s: has no head%s%s: fine-tune it first (train_bert train)", path,
                    d->task ? " for " : "", d->task ? bert_task(d->task)->name : "");
    if (m->config.task != d->task || m->config.multi_label != d->multi_label)
        return fail("%s: is a model for %s%s, %s is data for %s%s", path,
                    m->config.multi_label ? "multi-label " : "", bert_task(m->config.task)->name,
                    d->path, d->multi_label ? "multi-label " : "", bert_task(d->task)->name);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   Evaluation */

/* Readies the passes over eval_data, whose masks and pairs never change, and memory for all
   batches, of training too, and for what an evaluation counts. */
static int make_room(Driver *d)
{
    const Data *eval = &d->eval_data;
    Evaluation *e = &d->result;
    Pass *p = &d->eval_pass;
    p->tokenizer = &d->model.tokenizer;
    p->share = d->o.mlm_probability;
    pass_room(p, eval, 0);
    pass_start(p, eval, 0, UINT64_MAX, 0, d->o.short_seq_prob);
    if (eval->task == BERT_NER) e->tags = tags_of(&eval->names);
    if (eval->task == BERT_REGRESSION) e->values = take(eval->n, sizeof *e->values, "predictions");
    e->counts = take((size_t)eval->K, sizeof *e->counts, "the counts of labels");
    size_t B = bert_zmin_((size_t)d->o.per_device_eval_batch_size, p->n);
    return batch_room(&d->batch, B > d->micro_batch ? B : d->micro_batch,
                      (size_t)bert_max_(d->longest, longest_input(eval)),
                      bert_has_targets(&d->model.config) ? (size_t)d->model.config.K : 0);
}

/* Where it holds nothing that a loss is taken of: that loss is 0. */
static void warn_unlabelled(const char *path, int task, const char *done)
{
    warn("%s: %s, so nothing was %s", path,
         bert_task(task)->reads & BERT_READS_MASKED ? "no token was masked"
                                                    : "no token has a label",
         done);
}

static int infer(Bert *m, const BertBatch *x)
{
    threads_begin();
    int error = bert_forward(m, x, 0);
    threads_end(x->offsets[x->B]);
    return error;
}

/* Mean loss and metrics over eval_data, without class weights and label smoothing, so that runs
   compare. Interrupted: 1, with stop_signal set. */
static int evaluate(Driver *d)
{
    const Data *data = &d->eval_data;
    Evaluation *e = &d->result;
    Bert *m = &d->model;
    double start = seconds(), loss = 0, rows = 0, divisor;
    memset(e->sums, 0, sizeof e->sums);
    memset(e->counts, 0, (size_t)data->K * sizeof *e->counts);
    memset(e->confusion, 0, sizeof e->confusion);
    for (size_t first = 0, B; first < d->eval_pass.n; first += B) {
        B = bert_zmin_((size_t)d->o.per_device_eval_batch_size, d->eval_pass.n - first);
        BertBatch x = batch_fill(&d->batch, data, &d->eval_pass, first, B);
        if (infer(m, &x)) return fail("%s: %s", data->path, bert_error(m));
        divisor = bert_divisor(m, &x);
        loss += (double)m->loss * divisor;
        rows += divisor;
        each_output(&d->o, m, data, &x, first, e, tasks[data->task].collect);
        progress("eval", first + B, d->eval_pass.n, start);
        if (stop_signal) return 1;
    }
    live_clear();
    e->loss = ratio(loss, rows);
    if (rows == 0) warn_unlabelled(data->path, data->task, "measured");
    e->num_metrics = 0;
    if (!isfinite(e->loss))
        return fail("%s: the loss is %g: the model's parameters are damaged", data->path, e->loss);
    tasks[data->task].measure(e, data);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   Saving, and the log */
static int save_model(Driver *d, const char *name)
{
    static const char *const names[] = {"model.bin", "best.bin"};
    Bert *m = &d->model;
    Whole file;
    for (size_t i = 0; i < m->num_parameters; i++)
        if (!isfinite(m->params_memory[i]))
            return fail("%s/%s: not saved: parameters are no longer finite numbers",
                        d->o.output_dir, name);
    if (access(d->o.output_dir, F_OK) && errno == ENOENT) {
        warn("%s: is gone, and made again", d->o.output_dir);
        if (make_folder("--output_dir", d->o.output_dir)) return 1;
    }
    if (whole_begin(&file, d->o.output_dir, name)) return 1;
    int failed = bert_save(m, file.temporary) ? fail("%s", bert_error(m)) : 0;
    if (!failed && !d->saved) /* now there is something in their place */
        failed = set_aside(d->o.output_dir, names, 2, d->o.overwrite_output_dir != 0),
        d->saved = !failed; /* should this save fail, the next must not set that aside again */
    if (whole_end(&file, failed)) return 1;
    d->saved_step = d->step;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   A model from scratch: --init config.json */

/* Sizes have to be there. What would make another network is refused, as in dev/export_hf.py. */
static int read_config(BertConfig *c, const char *path)
{
    const struct {
        const char *key;
        int *size;
        float *number, otherwise;
        const char *only;
    } fields[] = {
        {"vocab_size", .size = &c->V},
        {"hidden_size", .size = &c->C},
        {"num_hidden_layers", .size = &c->L},
        {"num_attention_heads", .size = &c->NH},
        {"intermediate_size", .size = &c->F},
        {"max_position_embeddings", .size = &c->P},
        {"type_vocab_size", .size = &c->S},
        {"layer_norm_eps", .number = &c->eps, .otherwise = 1e-12f},
        {"hidden_dropout_prob", .number = &c->hidden_dropout, .otherwise = 0.1f},
        {"attention_probs_dropout_prob", .number = &c->att_dropout, .otherwise = 0.1f},
        {"classifier_dropout", .number = &c->cls_dropout, .otherwise = -1},
        {"initializer_range", .number = &c->init_range, .otherwise = 0.02f},
        {"model_type", .only = "bert"},
        {"position_embedding_type", .only = "absolute"},
        {"is_decoder", .only = "false"},
        {"add_cross_attention", .only = "false"},
        {"pad_token_id", .only = NULL}, /* the last two: see below */
        {"hidden_act", .only = NULL},
    };
    static const struct {
        const char *name;
        int act;
    } acts[] = {{"gelu", BERT_GELU},
                {"gelu_new", BERT_GELU_TANH},
                {"gelu_pytorch_tanh", BERT_GELU_TANH},
                {"gelu_python", BERT_GELU},
                {"relu", BERT_RELU}};
    enum { KEYS = sizeof fields / sizeof fields[0], ACTS = sizeof acts / sizeof acts[0] };
    static char json[1 << 20];
    const char *keys[KEYS];
    BertText values[KEYS] = {{NULL, 0}}, name;
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    size_t n = fread(json, 1, sizeof json - 1, f);
    fclose(f);
    for (int i = 0; i < KEYS; i++) keys[i] = fields[i].key;
    values[KEYS - 2] = text_of("0"); /* null, which is no row, leaves nothing there */
    int whole = json_fields(json, json + n, keys, KEYS, -1, values), act = 0;
    for (int i = 0; i < KEYS; i++) {
        char *end = NULL;
        const BertText value = values[i];
        double number = value.size ? strtod(value.bytes, &end) : fields[i].otherwise;
        if (value.size && end != value.bytes + value.size) number = NAN;
        if (fields[i].size && !(number >= 1 && number <= INT_MAX && number == floor(number)))
            return fail("%s: not a BERT config.json: \"%s\" is missing or not 1 to %d", path,
                        keys[i], INT_MAX);
        if (fields[i].size) *fields[i].size = (int)number;
        else if (!whole) return fail("%s: not a JSON object", path);
        if (fields[i].number) *fields[i].number = (float)number;
        if (fields[i].number && isnan(number))
            return fail("%s: %s is %.*s, not a number", path, keys[i], (int)value.size,
                        value.bytes);
        if (fields[i].only && value.bytes && !same_text(value, text_of(fields[i].only)))
            return fail("%s: %s is %.*s, not %s: this BERT has no other", path, keys[i],
                        (int)value.size, value.bytes, fields[i].only);
    }
    const BertText pad = values[KEYS - 2];
    char *end = NULL;
    const double row = pad.size ? strtod(pad.bytes, &end) : -1;
    if (pad.size &&
        (end != pad.bytes + pad.size || !(row >= -c->V && row < c->V && row == floor(row))))
        return fail("%s: pad_token_id is %.*s, not %d to %d", path, (int)pad.size, pad.bytes, -c->V,
                    c->V - 1);
    c->padding_idx = (int)row + (pad.size && row < 0 ? c->V : 0); /* counted from the end */
    name = values[KEYS - 1].bytes ? values[KEYS - 1] : text_of(acts[0].name); /* hidden_act */
    while (act < ACTS && !same_text(name, text_of(acts[act].name))) act++;
    if (act == ACTS)
        return fail("%s: hidden_act %.*s is not gelu, gelu_new or relu", path, (int)name.size,
                    name.bytes);
    c->act = acts[act].act;
    return 0;
}

/* All tensors as BertPreTrainedModel._init_weights draws them; padding_idx's row of wte is zero.
   The tokenizer is another model's. */
static int init_model(Driver *d)
{
    Bert *m = &d->model, fresh = {0};
    BertConfig config = {0};
    if (!d->o.tokenizer)
        return fail("--init needs --tokenizer: a model file whose vocabulary is taken "
                    "(dev/export_hf.py)");
    if (read_config(&config, d->o.init)) return 1;
    if (bert_load(m, d->o.tokenizer)) return fail("%s", bert_error(m));
    if (m->tokenizer.vocabulary.count > (size_t)config.V)
        return fail("%s: vocab_size is %d, %s has %zu words", d->o.init, config.V, d->o.tokenizer,
                    m->tokenizer.vocabulary.count);
    if (bert_build(&fresh, config)) return fail("%s: %s", d->o.init, bert_error(&fresh));
    bert_init(&fresh, random_at((uint64_t)d->o.seed, 1));
    fresh.tokenizer = m->tokenizer;
    memset(&m->tokenizer, 0, sizeof m->tokenizer);
    bert_free(m);
    *m = fresh;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
   Training */

/* The files that --train_file names, sorted. A file of just that name is it, though its letters be
   a pattern's: data[1].bin. A folder that cannot be read may have some of them. */
static int find_shards(Driver *d)
{
    const char *pattern = d->o.train_file;
    struct stat info;
    char *name = take(2 * strlen(pattern) + 1, 1, "a path"), *to = name;
    int literal = !stat(pattern, &info);
    for (const char *at = pattern; *at; *to++ = *at++)
        if (literal) *to++ = '\\';
    int error = glob(name, GLOB_NOCHECK | GLOB_ERR, NULL, &d->shards);
    free(name);
    if (error == GLOB_NOSPACE) return fail("%s: no memory for the names of its files", pattern);
    return error ? fail("%s: its folder cannot be read: %s", pattern, strerror(errno)) : 0;
}

/* Loads a shard in place of the last one: no two are in memory. */
static int open_shard(Driver *d, size_t shard)
{
    if (d->shard == shard + 1) return 0;
    free(d->data.memory);
    memset(&d->data, 0, sizeof d->data);
    d->shard = 0;
    if (load_data(&d->model, &d->data, d->shards.gl_pathv[shard], 1)) return 1;
    d->shard = shard + 1;
    pass_room(&d->pass, &d->data, !strcmp(d->o.train_sampling_strategy, "random"));
    return 0;
}

/* Is this data for the head that training has given the model? */
static int check_like(const Bert *m, const Data *d, const char *train_file)
{
    if (d->task != m->config.task || d->multi_label != m->config.multi_label)
        return fail("%s: is data for another task than %s", d->path, train_file);
    return check_names(&m->labels, train_file, d,
                       "Make it again with tokenizer.py --like TRAIN.bin.");
}

/* The same once more: the file may have been replaced since scan_shards saw it, and memory was
   taken by what that was. */
static int reopen_shard(Driver *d, size_t shard)
{
    const Data *data = &d->data;
    const ShardSize *was = &d->scanned[shard];
    if (open_shard(d, shard) || check_like(&d->model, data, d->shards.gl_pathv[0])) return 1;
    if (data->n == was->n && data->N == was->N && longest_input(data) == was->longest) return 0;
    return fail("%s: was changed while it is being trained on: it had %zu examples, %zu tokens, "
                "the longest %d; now %zu, %zu, %d",
                data->path, was->n, was->N, was->longest, data->n, data->N, longest_input(data));
}

/* What the model is to remember of the data it learns from, for lines of text to come. */
static void remember(BertConfig *c, const Data *data)
{
    const int pairs = data->pairs || data->task == BERT_QA || data->task == BERT_PRETRAINING;
    c->trained_length = bert_max_(c->trained_length, bert_min_(data->max_length, c->P));
    c->trained_pairs = bert_max_(c->trained_pairs, 1 + pairs);
    c->may_lack |= data->task == BERT_QA && data->may_lack;
}

/* Looks through all shards: are they fit to be trained on together, and how much is there? */
static int scan_shards(Driver *d)
{
    const Options *o = &d->o;
    const Data *data = &d->data;
    size_t batch = (size_t)o->per_device_train_batch_size, largest = 0;
    size_t group = (size_t)o->gradient_accumulation_steps, batches;
    d->pass.tokenizer = &d->model.tokenizer;
    d->pass.share = o->mlm_probability;
    d->counts = take((size_t)data->K, sizeof *d->counts, "the counts of labels");
    d->scanned = take(d->shards.gl_pathc, sizeof *d->scanned, "the sizes of shards");
    d->model.config.trained_length = d->model.config.trained_pairs = d->model.config.may_lack = 0;
    d->model.config.activation_out = BERT_OUT_VALUE;
    for (size_t i = 0; i < d->shards.gl_pathc; i++) {
        if (open_shard(d, i) || check_like(&d->model, data, d->shards.gl_pathv[0])) return 1;
        d->scanned[i] = (ShardSize){data->n, data->N, longest_input(data)};
        size_t labels = data->task == BERT_NER ? data->N : data->multi_label ? data->A : data->n;
        for (size_t j = 0; j < labels && data->K; j++)
            if (data->labels[j] >= 0) d->counts[data->labels[j]]++;
        pass_start(&d->pass, data, (uint64_t)o->seed, 0, i, o->short_seq_prob);
        batches = (d->pass.n + batch - 1) / batch;
        d->items += d->pass.n;
        d->micro_batches += batches;
        d->steps_an_epoch += (batches + group - 1) / group;
        if (d->pass.n > largest) largest = d->pass.n;
        d->longest = bert_max_(d->longest, longest_input(data));
        remember(&d->model.config, data);
    }
    d->micro_batch = bert_zmin_(batch, largest);
    if (bert_zmin_(bert_times_(d->micro_batch, group), largest) >
        INT_MAX) /* their places are ints */
        return fail("a step of %zu x %zu examples is too large", group, d->micro_batch);
    return 0;
}

/* How many steps, as Trainer counts them (set_initial_training_values of transformers 5). */
static int plan(Driver *d)
{
    const Options *o = &d->o;
    double total = ceil(o->num_train_epochs * (double)d->steps_an_epoch);
    double warmup = floor(o->warmup_steps);
    if (o->max_steps > 0) total = (double)o->max_steps;
    if (o->warmup_steps < 1)
        warmup = ceil(total * (o->warmup_steps > 0 ? o->warmup_steps : o->warmup_ratio));
    if (total > INT_MAX || warmup > INT_MAX) /* bert_adamw counts steps in an int */
        return fail("%.0f steps, %.0f of warmup: the most is %d", total, warmup, INT_MAX);
    d->total = (long long)total;
    d->warmup = strcmp(o->lr_scheduler_type, "constant") ? (long long)warmup : 0;
    if (d->warmup >= d->total && d->warmup > 0)
        warn("%lld warmup steps in a run of %lld: the learning rate only rises, to %g", d->warmup,
             d->total, o->learning_rate * (total - 1) / warmup);
    if (d->warmup != (long long)warmup)
        warn("constant has no warmup; --lr_scheduler_type constant_with_warmup has");
    return 0;
}

/* The learning rate's share for the next step (in a warmup the first has 0): as transformers'
   optimization.py, in double as there. */
static double schedule(const Driver *d)
{
    const char *type = d->o.lr_scheduler_type;
    double linear = bert_linear_schedule((long)d->step, (long)d->warmup, (long)d->total);
    if (d->step < d->warmup || !strcmp(type, "linear")) return linear;
    return strcmp(type, "cosine") ? 1 : 0.5 * (1 + cos(3.14159265358979323846 * (1 - linear)));
}

/* --class_weights: a list, or balanced as scikit-learn has it, n / (K count); multi-label: how many
   lack the label for each that has it, BCE's pos_weight. A label that never occurs counts 1. */
static int set_class_weights(Driver *d)
{
    const char *list = d->o.class_weights;
    const int K = d->data.K, task = d->data.task;
    double all = 0;
    if (!list) return 0;
    if (task != BERT_CLASSIFICATION && task != BERT_NER)
        return fail("--class_weights goes with classification and ner, not with %s",
                    bert_task(task)->name);
    d->class_weights = take((size_t)K, sizeof *d->class_weights, "class weights");
    for (int k = 0; k < K; k++) all += d->data.multi_label ? 0 : d->counts[k];
    for (int k = 0, balanced = !strcmp(list, "balanced"); k < K; k++) {
        double count = d->counts[k], weight = 1;
        char *end = NULL;
        if (balanced && count > 0)
            weight = d->data.multi_label ? ((double)d->items - count) / count : all / (K * count);
        if (!balanced) weight = strtod(list, &end);
        if (end == list || !(weight >= 0 && weight <= FLT_MAX) ||
            (end && *end != (k < K - 1 ? ',' : '\0')))
            return fail("--class_weights %s: not balanced, nor %d numbers >= 0 with commas between",
                        d->o.class_weights, K);
        if (end) list = end + 1;
        d->class_weights[k] = (float)weight;
    }
    return 0;
}

/* A share of the label for all others: where one of several labels is right. */
static int check_smoothing(const Driver *d)
{
    const int task = d->data.task;
    if (d->o.label_smoothing_factor == 0 || task == BERT_NER || task == BERT_MLM ||
        (task == BERT_CLASSIFICATION && !d->data.multi_label))
        return 0;
    return fail("--label_smoothing_factor goes with classification, ner and mlm, not with %s%s",
                d->data.multi_label ? "multi-label " : "", bert_task(task)->name);
}

/* The head for the data's task: as it is, renamed to the data's labels, or drawn anew. */
static int train_head(Driver *d)
{
    Bert *m = &d->model;
    const Data *data = &d->data;
    const char *path = d->o.model ? d->o.model : d->o.init;
    size_t old[BERT_NUM_TENSORS];
    int same = m->config.task == data->task && m->config.K == head_size(data) &&
               m->config.multi_label == data->multi_label;
    Page page;
    FILE *f = page_begin(&page);
    fprintf(f, "head       %s", bert_task(data->task)->name);
    if (data->K) fprintf(f, ", %d labels: ", data->K), print_names(f, &data->names, NULL);
    else fprintf(f, "\n");
    page_end(&page, stdout, 11);
    if (m->config.activation_out == BERT_OUT_SIGMOID) {
        printf("           to be trained on values: predict shows them, and no sigmoid any more\n");
        m->config.activation_out = BERT_OUT_VALUE; /* as Hugging Face sets problem_type then */
    }
    if (same && same_names(&m->labels, &data->names)) return 0;
    if (same && !generic_names(&m->labels))
        return check_names(&m->labels, path, data,
                           "To go on with this head, make the data with the model's labels "
                           "(tokenizer.py --labels); for a new head, export the model with --task "
                           "none.");
    for (int i = 0; i < BERT_NUM_TENSORS; i++) old[i] = m->tensors[i].size;
    if (bert_set_task(m, data->task, head_size(data), data->multi_label, &data->names,
                      (uint64_t)d->o.seed))
        return fail("%s: %s", path, bert_error(m));
    f = page_begin(&page);
    fprintf(f, "           %s",
            same ? "its labels had no names, and get the data's" : "drawn anew, to be trained:");
    for (int i = 0; i < BERT_NUM_TENSORS; i++)
        if (m->tensors[i].size && m->tensors[i].size != old[i])
            fprintf(f, " %s", m->tensors[i].key);
    fprintf(f, "\n");
    page_end(&page, stdout, 11);
    return 0;
}

static void show_data(FILE *f, const char *what, const Data *d, const double *counts)
{
    fprintf(f, "%-10s %s: %zu examples, %zu tokens, the longest %d\n", what, d->path, d->n, d->N,
            d->longest);
    if (d->Q)
        fprintf(f, "           %d %s\n", d->Q, d->task == BERT_QA ? "questions" : "documents");
    if (!counts || !d->K) return;
    fprintf(f, "           ");
    print_names(f, &d->names, counts);
}

static void show_run(const Driver *d)
{
    const BertConfig *c = &d->model.config;
    const Options *o = &d->o;
    Page page;
    FILE *f = page_begin(&page);
    show_data(f, "train", &d->data, d->counts);
    if (d->shards.gl_pathc > 1) fprintf(f, "           and %zu more\n", d->shards.gl_pathc - 1);
    if (o->eval_file) show_data(f, "eval", &d->eval_data, NULL);
    fprintf(f, "dropout    hidden %g, attention %g, classifier %g\n", c->hidden_dropout,
            c->att_dropout, c->cls_dropout < 0 ? c->hidden_dropout : c->cls_dropout);
    if (o->freeze_layers || o->freeze_embeddings)
        fprintf(f, "frozen     %sthe first %lld layers of %d\n",
                o->freeze_embeddings ? "the embeddings and " : "", o->freeze_layers, c->L);
    fprintf(f,
            "run        %lld steps of %lld x %zu of %zu inputs; %s learning rate %g, %lld warmup; "
            "threads: %d%s\n\n",
            d->total, o->gradient_accumulation_steps, d->micro_batch, d->items,
            o->lr_scheduler_type, o->learning_rate, d->warmup, bert_threads(), threads_note());
    page_end(&page, stdout, 11);
    fflush(stdout);
}

static int train_load(Driver *d)
{
    Options *o = &d->o;
    Bert *m = &d->model;
    BertConfig *c = &m->config;
    Page page;
    if (!o->model == !o->init)
        return fail("train needs --model, or in its place --init config.json and --tokenizer");
    if (o->tokenizer && !o->init)
        return fail("--tokenizer goes with --init; %s has its own", o->model);
    if (make_folder("--output_dir", o->output_dir) ||
        lock_folder(&d->lock, "--output_dir", o->output_dir))
        return 1;
    if (o->init && init_model(d)) return 1;
    if (find_shards(d)) return 1;
    if (open_shard(d, 0)) return 1;
    if (o->eval_file && load_data(m, &d->eval_data, o->eval_file, 1)) return 1;
    FILE *f = page_begin(&page);
    fprintf(f,
            "model      %s: %zu parameters\n           %d layers, %d heads, hidden %d, "
            "intermediate %d, positions %d, vocabulary %d\n",
            o->model ? o->model : o->init, m->num_parameters, c->L, c->NH, c->C, c->F, c->P, c->V);
    page_end(&page, stdout, 11);
    if (o->freeze_layers < 0 || o->freeze_layers > c->L)
        return fail("--freeze_layers is %lld: the model has %d layers, 0 to %d can be frozen",
                    o->freeze_layers, c->L, c->L);
    if (train_head(d) || scan_shards(d) ||
        (o->eval_file && check_like(m, &d->eval_data, o->train_file)))
        return 1;
    m->freeze_layers = (int)o->freeze_layers;
    m->freeze_embeddings = o->freeze_embeddings != 0;
    if (o->hidden_dropout_prob >= 0) c->hidden_dropout = (float)o->hidden_dropout_prob;
    if (o->classifier_dropout >= 0) c->cls_dropout = (float)o->classifier_dropout;
    if (o->attention_probs_dropout_prob >= 0)
        c->att_dropout = (float)o->attention_probs_dropout_prob;
    d->shard_order = take(d->shards.gl_pathc, sizeof *d->shard_order, "the order of shards");
    if (check_smoothing(d) || set_class_weights(d) || plan(d) || make_room(d) ||
        log_start(&d->log, d->o.logging_dir))
        return 1;
    show_run(d);
    return 0;
}

static int diverged(const Driver *d, const char *what, double value)
{
    fail("step %lld: the %s is %g: training cannot go on. A lower --learning_rate (%g now) or more "
         "--warmup_steps may help.",
         d->step + 1, what, value, d->o.learning_rate);
    if (!d->saved_step) return fail("nothing was saved");
    return fail("%s/model.bin is the model after step %lld", d->o.output_dir, d->saved_step);
}

static BertBatch train_batch(Driver *d, size_t at, size_t B)
{
    BertBatch x = batch_fill(&d->batch, &d->data, &d->pass, at, B);
    x.class_weights = d->class_weights;
    x.label_smoothing = (float)d->o.label_smoothing_factor;
    x.seed = (uint64_t)d->o.seed;
    x.step = (uint64_t)d->step;
    return x;
}

/* One optimizer step, on items first .. end-1 of the pass. Its loss is the mean over all that has a
   label in them, so that 2 x 4 examples are the same step as 1 x 8. (Trainer of transformers 5.23
   adds up the means of this model's micro-batches: its loss and gradient norm grow with the
   accumulation.) */
static int train_step(Driver *d, size_t first, size_t end)
{
    const Options *o = &d->o;
    Bert *m = &d->model;
    double start = seconds(), divisor = 0, tokens = d->run.tokens;
    threads_begin();
    for (size_t at = first; at < end && end - first > d->micro_batch; at += d->micro_batch) {
        BertBatch x = train_batch(d, at, bert_zmin_(d->micro_batch, end - at));
        divisor += bert_divisor(m, &x);
    }
    for (size_t at = first, B; at < end; at += B) {
        B = bert_zmin_(d->micro_batch, end - at);
        BertBatch x = train_batch(d, at, B);
        x.place = (int)(at - first);
        x.divisor = divisor; /* 0: its own */
        x.next_divisor = (double)(end - first);
        if (bert_forward(m, &x, 1)) return fail("%s: %s", d->data.path, bert_error(m));
        if (!isfinite(m->loss)) return diverged(d, "loss", m->loss);
        if (bert_backward(m, 1)) return fail("%s", bert_error(m));
        x.class_weights = NULL; /* rows, not their weights */
        d->run.loss += (double)m->loss;
        d->run.rows += bert_divisor(m, &x);
        d->run.tokens += x.offsets[B];
    }
    d->norm = bert_grad_norm(m);
    if (!isfinite(d->norm)) return diverged(d, "gradient norm", d->norm);
    d->rate = o->learning_rate * schedule(d);
    if (bert_adamw(m, (float)d->rate, (float)o->adam_beta1, (float)o->adam_beta2,
                   (float)o->adam_epsilon, (float)o->weight_decay, (int)d->step + 1,
                   bert_clip_scale((float)d->norm, (float)o->max_grad_norm)))
        return fail("%s", bert_error(m));
    threads_end(3 * (d->run.tokens - tokens)); /* backward: twice the forward's work */
    d->step++;
    d->run.steps++;
    d->run.items += (double)(end - first);
    d->run.seconds += seconds() - start;
    return 0;
}

/* A line every logging_steps, and one at the end: short runs have theirs too. */
static void train_log(Driver *d)
{
    const Sums *run = &d->run, *line = &d->line;
    const int columns = terminal_columns(STDOUT_FILENO);
    double loss = (run->loss - line->loss) / (run->steps - line->steps);
    double rate = (run->tokens - line->tokens) / (run->seconds - line->seconds);
    const char *left = clock_text(run->seconds / run->steps * (double)(d->total - d->step));
    char fields[256], text[sizeof fields + LIVE_ROOM];
    if (d->step % d->o.logging_steps != 0 && d->step != d->total) {
        live((double)d->step / (double)d->total,
             "%lld/%lld\t%s left\t%.0f tok/s\tloss %.4f\tepoch %.2f\tlr %.2e\tnorm %.3f", d->step,
             d->total, left, rate, loss, d->epoch, d->rate, d->norm);
        return;
    }
    snprintf(fields, sizeof fields,
             "step %lld/%lld\tepoch %.2f\tloss %.4f\tlr %.2e\tnorm %.3f\t%.0f tokens/s\t%s left",
             d->step, d->total, d->epoch, loss, d->rate, d->norm, rate, left);
    live_clear();
    live_line(text, columns ? columns : INT_MAX, -1, fields);
    puts(text);
    fflush(stdout);
    log_number(&d->log, "", "loss", loss, 9);
    log_number(&d->log, "", "grad_norm", d->norm, 9);
    log_number(&d->log, "", "learning_rate", d->rate, 9);
    log_end(&d->log, d->epoch, d->step);
    d->line = d->run;
}

/* By the first metric; of equal ones the lower loss. A metric that is none (NaN) is below all. */
static int is_better(const Driver *d)
{
    const double metric = d->result.metrics[0].value;
    if (d->best_step == 0 || isnan(d->best) != isnan(metric))
        return !d->best_step || isnan(d->best);
    if (isnan(metric) || metric == d->best) return d->result.loss < d->best_loss;
    return metric > d->best;
}

static int end_of_epoch(Driver *d)
{
    Evaluation *e = &d->result;
    double start = seconds();
    Page page;
    int better;
    if (d->run.rows == 0) warn_unlabelled(d->o.train_file, d->data.task, "learned from it");
    if (!d->o.eval_file) return save_model(d, "model.bin");
    if (evaluate(d)) return 1;
    start = seconds() - start;
    better = is_better(d);
    FILE *f = page_begin(&page);
    fprintf(f, "eval       epoch %.2f  loss %.4f", d->epoch, e->loss);
    log_number(&d->log, "eval_", "loss", e->loss, 17);
    for (int i = 0; i < e->num_metrics; i++) {
        fprintf(f, "  %s %.4f", e->metrics[i].name, e->metrics[i].value);
        log_number(&d->log, "eval_", e->metrics[i].name, e->metrics[i].value, 17);
    }
    fputs(better ? "  best so far\n" : "\n", f);
    page_end(&page, stdout, 11);
    fflush(stdout);
    log_number(&d->log, "eval_", "runtime", start, 6);
    log_number(&d->log, "eval_", "samples_per_second", (double)d->eval_pass.n / start, 6);
    log_end(&d->log, d->epoch, d->step);
    if (save_model(d, "model.bin")) return 1;
    if (!better) return 0;
    if (save_model(d, "best.bin")) return 1;
    d->best = e->metrics[0].value;
    d->best_loss = e->loss;
    d->best_step = d->step;
    return 0;
}

/* A shard's steps; done counts the epoch's batches. The last step of a shard may be smaller. */
static int train_shard(Driver *d, uint64_t epoch, size_t *done)
{
    size_t group = bert_times_(d->micro_batch, (size_t)d->o.gradient_accumulation_steps);
    for (size_t at = 0, to; at < d->pass.n && d->step < d->total; at = to) {
        to = bert_zmin_(bert_plus_(at, group), d->pass.n);
        if (train_step(d, at, to)) return 1;
        *done += (to - at + d->micro_batch - 1) / d->micro_batch;
        /* pretraining draws more pairs in one epoch than in another: at most a whole one */
        d->epoch = (double)epoch + fmin(1, (double)*done / (double)d->micro_batches);
        train_log(d);
        if (stop_signal) return 0;
    }
    return 0;
}

static int train_epochs(Driver *d)
{
    const uint64_t seed = (uint64_t)d->o.seed;
    const size_t shards = d->shards.gl_pathc;
    for (uint64_t epoch = 0; d->step < d->total; epoch++) {
        size_t done = 0;
        if (d->pass.order) shuffle(d->shard_order, shards, random_key(FOR_SHARDS, seed, epoch));
        for (size_t i = 0; i < shards && d->step < d->total; i++) {
            size_t shard = d->pass.order ? d->shard_order[i] : i;
            if (reopen_shard(d, shard)) return 1;
            pass_start(&d->pass, &d->data, seed, epoch, shard, d->o.short_seq_prob);
            if (train_shard(d, epoch, &done)) return 1;
            if (stop_signal) return 0;
        }
        if (end_of_epoch(d)) return !stop_signal;
    }
    return 0;
}

static int train_end(Driver *d, double runtime)
{
    const char *folder = d->o.output_dir;
    Page page;
    live_clear();
    if (stop_signal) {
        if (d->saved_step != d->step && save_model(d, "model.bin")) return 1;
        fail("stopped by a signal; %s/model.bin is the model after step %lld of %lld", folder,
             d->step, d->total);
        return 128 + (int)stop_signal;
    }
    log_number(&d->log, "train_", "runtime", runtime, 6);
    log_number(&d->log, "train_", "samples_per_second", d->run.items / runtime, 6);
    log_number(&d->log, "train_", "steps_per_second", (double)d->step / runtime, 6);
    log_number(&d->log, "train_", "loss", d->run.loss / d->run.steps, 17);
    log_end(&d->log, d->epoch, d->step);
    FILE *f = page_begin(&page);
    if (d->o.eval_file && tasks[d->data.task].report)
        tasks[d->data.task].report(f, &d->result, &d->eval_data);
    fprintf(f, "\n%lld steps in %.1f s. %s/model.bin is the last model", d->step, runtime, folder);
    if (d->best_step)
        fprintf(f, ", best.bin the one of step %lld (%s %.4f)", d->best_step,
                d->result.metrics[0].name, d->best);
    fprintf(f, "\n");
    page_end(&page, stdout, 2);
    return 0;
}

static void on_signal(int number) { stop_signal = number; }

static int command_train(Driver *d)
{
    static const int signals[] = {SIGINT, SIGTERM};
    struct sigaction old[2],
        stop = {.sa_handler = on_signal,
                .sa_flags = SA_RESTART | (int)SA_RESETHAND}; /* the second Ctrl-C ends it at once */
    if (train_load(d)) return 1;
    double start = seconds();
    stop_signal = 0;
    for (int i = 0; i < 2; i++) {
        sigaction(signals[i], NULL, &old[i]);
        if (old[i].sa_handler != SIG_IGN) sigaction(signals[i], &stop, NULL); /* nohup stays */
    }
    int result = train_epochs(d);
    if (!result) result = train_end(d, seconds() - start);
    for (int i = 0; i < 2; i++) sigaction(signals[i], &old[i], NULL);
    stop_signal = 0;
    return result;
}

/* ------------------------------------------------------------------------------------------------
   eval, predict, embed and encode */

static int command_eval(Driver *d)
{
    Bert *m = &d->model;
    Data *data = &d->eval_data;
    Page page;
    if (load_data(m, data, d->o.eval_file, 1) || check_head(m, d->o.model, data)) return 1;
    if (m->config.K != head_size(data) || !generic_names(&m->labels)) {
        if (check_names(&m->labels, d->o.model, data,
                        "Make the data with the model's labels (tokenizer.py --labels)."))
            return 1;
    } else if (!same_names(&m->labels, &data->names)) {
        warn("%s: its labels have no names; they are taken to be the data's, in order", d->o.model);
    }
    if (make_room(d) || evaluate(d)) return 1;
    FILE *f = page_begin(&page);
    fprintf(f, "%-22s %zu\n%-22s %.6f\n", "examples", d->eval_pass.n, "loss", d->result.loss);
    for (int i = 0; i < d->result.num_metrics; i++)
        fprintf(f, "%-22s %.6f\n", d->result.metrics[i].name, d->result.metrics[i].value);
    if (tasks[data->task].report) tasks[data->task].report(f, &d->result, data);
    page_end(&page, stdout, 2);
    return 0;
}

/* What the model made of examples from first on. */
static int check_finite(const Data *data, size_t first, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return fail("%s: examples from %zu on: the model's output is %g: its parameters are "
                        "damaged",
                        data->path, first, x[i]);
    return 0;
}

static int predict_batch(Driver *d, const Data *data, size_t first, size_t B)
{
    Bert *m = &d->model;
    BertBatch x = batch_fill(&d->batch, data, &d->pass, first, B);
    size_t numbers = bert_head_rows(m->config.task, B, (size_t)x.offsets[B], (size_t)x.R) *
                     bert_head_cols(&m->config);
    x.labels = NULL;
    x.targets = NULL;
    if (infer(m, &x)) return fail("%s: %s", data->path, bert_error(m));
    if (check_finite(data, first, m->acts.logits, numbers)) return 1;
    each_output(&d->o, m, data, &x, first, &d->result, predict_of[data->task]);
    return fflush(stdout) || ferror(stdout); /* bert_main tells */
}

static int embed_batch(Driver *d, const Data *data, size_t first, size_t B)
{
    Bert *m = &d->model;
    BertBatch x = batch_fill(&d->batch, data, &d->pass, first, B);
    const char *pooling = d->o.pooling;
    size_t C = (size_t)m->config.C;
    x.labels = NULL, x.targets = NULL, x.rows = NULL, x.R = 0;
    /* model: what sentence-transformers' modules made of it, or the mean */
    int own = !strcmp(pooling, "model"), mean = !strcmp(pooling, "mean"), normal = own ? -1 : 0;
    int kind = !strcmp(pooling, "cls") ? BERT_POOL_CLS : BERT_POOL_POOLER;
    kind = own ? BERT_POOL_DEFAULT : mean ? BERT_POOL_MEAN : kind;
    if (infer(m, &x) || bert_embed(m, d->batch.targets, kind, d->o.normalize ? 1 : normal))
        return fail("%s: %s", data->path, bert_error(m));
    if (check_finite(data, first, d->batch.targets, B * C)) return 1;
    for (size_t i = 0; i < B * C; i++) {
        put_float(i % C ? ", " : "{\"embedding\": [", d->batch.targets[i]);
        if (i % C == C - 1) puts("]}");
    }
    return fflush(stdout) || ferror(stdout);
}

/* predict, and where task is BERT_NONE embed: batch by batch in order, of a file, or of the lines
   of standard input as long as there are any. */
static int read_through(Driver *d, int embed)
{
    const Options *o = &d->o;
    Bert *m = &d->model;
    const int text = !o->predict_file;
    Data *data = text ? &d->input.data : &d->data;
    size_t most = text ? MOST_LINES : (size_t)o->per_device_eval_batch_size;
    double start = seconds();
    if (!text && (o->json || o->pair || o->max_length))
        return fail("--json, --pair and --max_length go with text on standard input, not with "
                    "--predict_file");
    int task = embed ? BERT_NONE : m->config.task == BERT_PRETRAINING ? BERT_MLM : m->config.task;
    if (text ? text_start(&d->input, o, m, task, embed) : load_data(m, data, o->predict_file, 0))
        return 1;
    if (data->task == BERT_PRETRAINING)
        return fail("%s: sentences to be paired are no inputs: make data for mlm", data->path);
    if (embed && bert_set_task(m, BERT_NONE, 0, 0, NULL, 0)) return fail("%s", bert_error(m));
    if (!embed && check_head(m, o->model, data)) return 1;
    if (o->logits && (data->task == BERT_QA || data->task == BERT_MLM))
        return fail("--logits goes with classification, regression and ner");
    if (text && data->task == BERT_MLM && m->tokenizer.words[BERT_ID_MASK] < 0)
        return fail("%s: its vocabulary has no [MASK]", o->model);
    if (batch_room(&d->batch, text ? most : bert_zmin_(most, data->n),
                   (size_t)(text ? d->input.how.max_length : data->longest),
                   embed ? (size_t)m->config.C : 0))
        return 1;
    d->pass.tokenizer = &m->tokenizer; /* share 0: no masks but those in the text */
    do {
        if (text && !read_lines(&d->input)) return text_end(&d->input);
        if (text) text_data(&d->input);
        for (size_t first = 0, B; first < data->n; first += B) {
            for (B = 1; B < most && first + B < data->n; B++)
                if (text && data->offsets[first + B] - data->offsets[first] >= MOST_TOKENS) break;
            if (embed ? embed_batch(d, data, first, B) : predict_batch(d, data, first, B)) return 1;
            if (!text && !isatty(STDOUT_FILENO))
                progress(embed ? "embed" : "predict", first + B, data->n, start);
        }
    } while (text);
    return 0;
}

static int command_predict(Driver *d) { return read_through(d, 0); }
static int command_embed(Driver *d) { return read_through(d, 1); }

static int command_encode(Driver *d)
{
    const BertEncoding *e = &d->input.e;
    if (text_start(&d->input, &d->o, &d->model, BERT_NONE, 0)) return 1;
    while (read_lines(&d->input)) {
        for (int b = 0; b < e->B; b++)
            for (int t = e->offsets[b]; t < e->offsets[b + 1]; t++)
                printf("%d%c", e->tokens[t], t + 1 < e->offsets[b + 1] ? ' ' : '\n');
        if (fflush(stdout) || ferror(stdout)) return 1;
    }
    return text_end(&d->input);
}

/* name, bit, usage, help */
#define COMMANDS(X)                                                                                \
    X(train, TRAIN, "--model M --train_file D --output_dir O [--eval_file D] [...]",               \
      "fine-tune a model on labelled data, or pretrain one")                                       \
    X(eval, EVAL, "--model M --eval_file D [...]", "loss and metrics of a fine-tuned model")       \
    X(predict, PREDICT, "--model M [...] < lines.txt      (or --predict_file D)",                  \
      "a JSON object a line for each example, in order")                                           \
    X(embed, EMBED, "--model M [...] < lines.txt      (or --predict_file D)",                      \
      "a vector a line for each example, in order")                                                \
    X(encode, ENCODE, "--model M [...] < lines.txt", "the token ids of each line of standard input")

#define FLAG_ROW(name, kind, value, takes, needs, help)                                            \
    {#name, kind, offsetof(Options, name), value, takes, needs, help},
#define COMMAND_ROW(name, bit, usage, help) {#name, usage, help, bit},
#define COMMAND_RUN(name, ...) command_##name,
static const Flag flags[] = {FLAGS(FLAG_ROW)};
static const Command commands[] = {COMMANDS(COMMAND_ROW)};
static int (*const run_command[])(Driver *d) = {COMMANDS(COMMAND_RUN)};
enum { NUM_COMMANDS = sizeof commands / sizeof commands[0] };
static const Program program = {flags, sizeof flags / sizeof flags[0], commands, NUM_COMMANDS};

static int run(Driver *d, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    int command = -1, first = in_list("help|--help|-h", word, '|') != NULL, help = first;
    for (int c = 0; c < NUM_COMMANDS; c++)
        if (argc > 1 + first && !strcmp(argv[1 + first], commands[c].name)) command = c;
    for (int i = 2; i < argc; i++) help |= in_list("--help|-h", argv[i], '|') != NULL;
    if (argc < 2) return usage(&program, stderr), 1;
    if (!strcmp(word, "--version"))
        return puts("train_bert for model files of versions 1 and 2, data files of version 1"), 0;
    if (help && command >= 0) return command_usage(&program, command), 0;
    if (help && argc == 2) return usage(&program, stdout), 0;
    if (command < 0)
        return fail("'%s': no such command; try 'train_bert --help'", first ? argv[2] : word);
    if (parse(&program, &d->o, command, argc - 2, argv + 2)) return 1;
    if (d->o.model && bert_load(&d->model, d->o.model)) return fail("%s", bert_error(&d->model));
    return run_command[command](d);
}

static void driver_free(Driver *d)
{
    bert_free(&d->model);
    bert_encoding_free(&d->input.e);
    globfree(&d->shards);
    batch_free(&d->batch);
    unlock_folder(&d->lock);
    void *memory[] = {d->scanned,       d->data.memory,   d->eval_data.memory, d->result.found,
                      d->input.lines,   d->pass.order,    d->pass.pairs,       d->eval_pass.pairs,
                      d->result.tags,   d->result.values, d->shard_order,      d->counts,
                      d->class_weights, d->result.counts, d->input.bytes,      d->input.data.memory,
                      d->result.slots};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) free(memory[i]);
    log_free(&d->log);
}

/* The exit code: 0; 1 for an error, told on stderr; 128 + n where signal n stopped the training. */
static int bert_main(int argc, char **argv)
{
    Driver d = {0};
    open_standard();
    clearerr(stdout);
    errno = 0;
    int result = run(&d, argc, argv);
    live_clear();
    if (fflush(stdout) || ferror(stdout)) /* head has had enough: no more to say */
        result = errno == EPIPE ? 1 : fail("standard output: %s", strerror(errno));
    driver_free(&d);
    return result;
}

#ifndef TESTING
int main(int argc, char **argv)
{
    threads_start();
    return bert_main(argc, argv);
}
#endif
