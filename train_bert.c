/*
train_bert.c - fine-tune BERT, measure it, and predict with it.

    ./train_bert train   --model model.bin --train_file train.bin --output_dir out
    ./train_bert eval    --model out/best.bin --eval_file test.bin
    ./train_bert predict --model out/best.bin --predict_file test.bin
    ./train_bert predict --model out/best.bin < lines.txt      (embed, encode: the same)

Everything that BERT computes is in bert.h. Here is the driver around it, to be read downwards: from
the command line to a command; training, from the files to the saved model; evaluation; the commands
that answer. Its rooms are in dev/driver, one subject each.

The flags are the table of options.h, in this order: files; steps and batches; the optimizer;
dropout and loss; what single tasks have; order, frozen and fresh layers, seed; evaluation and the
best model; checkpoints; the log; answers. They have the names, defaults and meaning of Hugging
Face's TrainingArguments, where it has such; 'train_bert help train' prints them.

Nothing here goes by the task. A new one is a row of BERT_TASKS in bert.h, its metrics a row of
tasks[] in tasks.h, its answers a row of answers.h, and its sections of a data file are in data.h.
*/
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* files beyond 2 GiB where off_t has 32 bits by default */

#define BERT_IMPLEMENTATION
#include "bert.h"

#include "dev/driver/answering.h"
#include "dev/driver/checkpoint.h"
#include "dev/driver/head.h"
#include "dev/driver/loader.h"
#include "dev/driver/log.h"
#include "dev/driver/options.h"
#include "dev/driver/plan.h"
#include "dev/driver/ranks.h"
#include "dev/driver/save.h"
#include "dev/driver/strategy.h"
#include "dev/driver/tasks.h"
#include "dev/driver/threads.h"
#include "dev/driver/weights.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
   From the command line to a command */

#define COMMAND_IS(name, ...) static int command_##name(const Options *o, Bert *m);
#define COMMAND_RUN(name, ...) command_##name,
COMMANDS(COMMAND_IS)
static int (*const run_command[])(const Options *o, Bert *m) = {COMMANDS(COMMAND_RUN)};

static int run(Options *o, Bert *m, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    int command = -1, first = in_list("help|--help|-h", word, '|') != NULL, help = first;
    for (int c = 0; c < NUM_COMMANDS; c++)
        if (argc > 1 + first && !strcmp(argv[1 + first], commands[c].name)) command = c;
    for (int i = 2; i < argc; i++) help |= in_list("--help|-h", argv[i], '|') != NULL;
    if (argc < 2) return usage(&program, stderr), 1;
    if (!strcmp(word, "--version"))
        return puts("train_bert " BERT_VERSION
                    ", for model files of versions 1 and 2, data files of version 2"),
               0;
    if (help && command >= 0) return command_usage(&program, command), 0;
    if (help && argc == 2) return usage(&program, stdout), 0;
    if (command < 0)
        return fail("'%s': no such command; try 'train_bert --help'", first ? argv[2] : word);
    if (parse(&program, o, command, argc - 2, argv + 2)) return 1;
    if (ranks.count > 1 && !(commands[command].bit & (TRAIN | EVAL)))
        return fail("%s is one process's work: without mpirun", commands[command].name);
    if (bert_load(m, o->model)) return fail("%s", bert_error(m));
    if (m->config.undrawn && !(commands[command].bit & (TRAIN | ENCODE)))
        return fail("%s: has no weights yet: train_bert train draws them, and trains them",
                    o->model);
    return run_command[command](o, m);
}

/* The exit code: 0; 1 for an error, told on stderr; 128 + n where signal n stopped the training. */
static int bert_main(int argc, char **argv)
{
    Options o = {.argc = argc, .argv = argv};
    Bert m = {0};
    open_standard();
    clearerr(stdout);
    errno = 0;
    int result = run(&o, &m, argc, argv);
    live_clear();
    if (fflush(stdout) || ferror(stdout)) /* head has had enough: no more to say */
        result = errno == EPIPE ? 1 : fail("standard output: %s", strerror(errno));
    bert_free(&m);
    return result;
}

#ifndef TESTING
int main(int argc, char **argv)
{
    ranks_start();
    threads_start();
    return ranks_end(bert_main(argc, argv));
}
#endif

/* ------------------------------------------------------------------------------------------------
   Training */

static volatile sig_atomic_t stop_signal; /* SIGINT or SIGTERM: finish the step, save, leave */

/* What training adds up. */
typedef struct {
    double loss, items, tokens, seconds;
    double rows; /* that have a label */
} Sums;

typedef struct {
    const Options *o;
    Bert *m;
    Loader train, eval; /* of train_file, eval_file */
    Evaluation result;  /* the last one */
    int measured;       /* there was one */
    Folder out;         /* output_dir */
    Log log;
    float *class_weights; /* (K) or NULL */
    Plan plan;
    Strategy when;
    double rate, norm;    /* of the last step */
    double start;         /* seconds() when it began, as if it had never been stopped */
    long long saved_step; /* of model.bin, or NEVER */
    int kept;             /* there is a checkpoint of just this state */

    /* How far it is: with train.place, the model and its optimizer's state this is all that a run
       which goes on where it was stopped has to have again. state knows where all of it is. */
    long long step;      /* optimizer steps that are done */
    long long due;       /* after the last one, and not done yet */
    Sums run, line;      /* so far, and at the last log line */
    long long line_step; /* of that line */
    Best best;           /* evaluation */
    double seconds;
    RunState state;
} Training;

static Loader evaluation_loader(const Options *o, const Bert *m); /* below, at Evaluation */
enum { DONE, FAILED, STOPPED };
static int evaluate(const Options *o, Bert *m, Loader *l, Evaluation *e,
                    const volatile sig_atomic_t *stop);

/* What the ranks have to have in common of a step: its tokens. */
static uint64_t step_hash(const Loader *l)
{
    uint64_t hash = l->G;
    for (size_t i = 0; i < l->G; i++)
        hash = ranks_hash(l->all[i].tokens, (size_t)l->all[i].offsets[l->all[i].B], hash);
    return hash;
}

/* -- before the first step -- */

static void show_run(const Training *t)
{
    const Options *o = t->o;
    const Loader *l = &t->train;
    Page page;
    FILE *f = page_begin(&page);
    show_data(f, "train", o->train_file, l);
    show_labels(f, l);
    if (o->eval_file) show_data(f, "eval", o->eval_file, &t->eval);
    show_rates(f, t->m);
    fprintf(f, "run        %lld steps of ", t->plan.total);
    if (ranks.count > 1) fprintf(f, "%zu ranks x ", ranks.count);
    fprintf(f,
            "%lld x %zu of %zu inputs; %s learning rate %g, %lld warmup; "
            "threads: %d%s\n\n",
            o->gradient_accumulation_steps, l->batch, l->items, o->lr_scheduler_type,
            o->learning_rate, t->plan.warmup, bert_threads(), threads_note());
    page_end(&page, stdout, 11);
    fflush(stdout);
}

static Loader training_loader(const Options *o, const Bert *m)
{
    const Loader l = {
        .model = m,
        .batch = (size_t)o->per_device_train_batch_size,
        .group = (size_t)o->gradient_accumulation_steps,
        .most_tokens = (size_t)o->max_tokens_per_batch,
        .rank = ranks.rank,
        .ranks = ranks.count,
        .shuffled = !strcmp(o->train_sampling_strategy, "random"),
        .seed = (uint64_t)o->seed,
        .mlm_probability = o->mlm_probability,
        .short_seq_prob = o->short_seq_prob,
        .like = {.seed = (uint64_t)o->seed, .label_smoothing = (float)o->label_smoothing_factor}};
    return l;
}

static Plan training_plan(const Options *o)
{
    const Plan p = {.epochs = o->num_train_epochs,
                    .max_steps = o->max_steps,
                    .rate = o->learning_rate,
                    .warmup_steps = o->warmup_steps,
                    .warmup_ratio = o->warmup_ratio};
    return p;
}

/* What evaluations there are, and which is the best. */
static int train_strategy(Training *t)
{
    const Options *o = t->o;
    const char *needs = o->early_stopping_patience          ? "--early_stopping_patience"
                        : o->load_best_model_at_end         ? "--load_best_model_at_end"
                        : o->metric_for_best_model          ? "--metric_for_best_model"
                        : !strcmp(o->save_strategy, "best") ? "--save_strategy best"
                                                            : NULL;
    const char *eval = o->eval_strategy ? o->eval_strategy : o->eval_file ? "epoch" : "no";
    t->when.logging = o->logging_strategy, t->when.eval = eval, t->when.save = o->save_strategy;
    t->when.logging_steps = o->logging_steps, t->when.eval_steps = o->eval_steps;
    t->when.save_steps = o->save_steps, t->when.logs_first = o->logging_first_step != 0;
    t->when.loads_best = o->load_best_model_at_end != 0;
    t->best.metric = o->metric_for_best_model;
    if (!t->best.metric && o->load_best_model_at_end) t->best.metric = "loss";
    t->best.patience = o->early_stopping_patience, t->best.threshold = o->early_stopping_threshold;
    t->best.step = NEVER;
    if (!strcmp(t->when.eval, "no") && needs)
        return fail("%s needs --eval_file, and an --eval_strategy other than no", needs);
    if (strcmp(t->when.eval, "no") && !o->eval_file)
        return fail("--eval_strategy %s needs --eval_file", t->when.eval);
    if (o->eval_file) {
        evaluation_room(&t->result, t->eval.data);
        if (best_start(&t->best, &t->result, t->eval.data, o->greater_is_better)) return 1;
    }
    return strategy_start(&t->when, t->plan.total);
}

static int train_files(Training *t)
{
    t->train = training_loader(t->o, t->m), t->eval = evaluation_loader(t->o, t->m);
    t->plan = training_plan(t->o);
    if (schedule_start(&t->plan.schedule, t->o->lr_scheduler_type, t->o->lr_scheduler_kwargs,
                       t->o->learning_rate))
        return 1;
    if (loader_files(&t->train, t->o->train_file)) return 1;
    return t->o->eval_file && loader_file(&t->eval, t->o->eval_file);
}

/* Says what the model is, draws one that has no weights yet, and sets it as the flags have it. */
static int train_model(Bert *m, const Options *o)
{
    BertConfig *c = &m->config;
    Page page;
    FILE *f = page_begin(&page);
    show_model(f, o->model, m);
    if (c->undrawn) {
        fprintf(f, "           drawn, to be trained from scratch: it has no weights yet\n");
        bert_init(m, random_at((uint64_t)o->seed, 1));
    }
    page_end(&page, stdout, 11);
    if (o->freeze_layers < 0 || o->freeze_layers > c->L)
        return fail("--freeze_layers is %lld: the model has %d layers, 0 to %d can be frozen",
                    o->freeze_layers, c->L, c->L);
    if (o->reinit_layers < 0 || o->reinit_layers > c->L - o->freeze_layers)
        return fail("--reinit_layers is %lld: of the model's %d layers %lld are frozen, 0 to %lld "
                    "can be drawn anew",
                    o->reinit_layers, c->L, o->freeze_layers, c->L - o->freeze_layers);
    m->lr_decay = o->layerwise_lr_decay;
    m->freeze_layers = (int)o->freeze_layers;
    m->freeze_embeddings = o->freeze_embeddings != 0;
    m->checkpointing = o->gradient_checkpointing != 0;
    if (o->hidden_dropout_prob >= 0) c->hidden_dropout = (float)o->hidden_dropout_prob;
    if (o->classifier_dropout >= 0) c->cls_dropout = (float)o->classifier_dropout;
    if (o->attention_probs_dropout_prob >= 0)
        c->att_dropout = (float)o->attention_probs_dropout_prob;
    return 0;
}

/* Have all ranks the same parameters? A machine that computes otherwise is found so, too. */
static int same_model(const Bert *m)
{
    double none = 0;
    return ranks_share(0, ranks_hash(m->params_memory, m->num_parameters, 1), "model", &none, 0);
}

/* What decides the result, as name=value lines: flags, and what is in files. Nothing is read of the
   model that a run which goes on had begun with; where that was output_dir's own, it is gone. */
static int train_settings(Training *t)
{
    const Options *o = t->o;
    const char *out = o->output_dir;
    const int own = o->resume_from_checkpoint &&
                    (same_file(o->model, out, "model.bin") || same_file(o->model, out, "best.bin"));
    const int evaluates = strcmp(t->when.eval, "no") != 0;
    uint64_t hashes[3] = {HASH_START, HASH_START, HASH_START}, size = 0;
    Page page;
    for (size_t i = 0; i < t->train.files.count; i++)
        if (hash_file(&hashes[0], &size, t->train.files.all[i].path, UINT64_MAX)) return 1;
    if (evaluates && hash_file(&hashes[1], &size, o->eval_file, UINT64_MAX)) return 1;
    if (!own && hash_file(&hashes[2], &size, o->model, UINT64_MAX)) return 1;
    FILE *f = page_begin(&page);
    put_settings(f, &program, o, 0, free_flags);
    put_strategy(f, &t->when, &t->best);
    fprintf(f, "per_device_train_batch_size x gradient_accumulation_steps=%lld\n",
            o->per_device_train_batch_size * o->gradient_accumulation_steps *
                (long long)ranks.count);
    fprintf(f, "the content of train_file=%016llx\n", (Wide)hashes[0]);
    if (evaluates) fprintf(f, "the content of eval_file=%016llx\n", (Wide)hashes[1]);
    if (own) fprintf(f, "the content of model=*\n");
    else fprintf(f, "the content of model=%016llx\n", (Wide)hashes[2]);
    if (fclose(f)) exit(fail("out of memory"));
    t->state.settings = page.text;
    return 0;
}

static RunState run_state(Training *t)
{
    Place *at = &t->train.place;
    Sums *run = &t->run, *line = &t->line;
    const RunState state = {
        .m = t->m,
        .at = {&t->step,        &t->due,       &at->epoch,    &at->shard,     &at->item,
               &at->steps,      &run->loss,    &run->items,   &run->tokens,   &run->seconds,
               &run->rows,      &t->line_step, &line->loss,   &line->items,   &line->tokens,
               &line->seconds,  &line->rows,   &t->best.step, &t->best.value, &t->best.loss,
               &t->best.misses, &t->log.bytes, &t->log.hash,  &t->log.lines,  &t->seconds}};
    return state;
}

/* Goes on where another run was stopped, which differs from this one in nothing that decides the
   result. */
static int train_resume(Training *t)
{
    const char *folder = t->o->resume_from_checkpoint, *out = t->o->output_dir;
    const long long last = last_checkpoint(out, LLONG_MAX);
    if (!*folder && !last) return fail("--resume_from_checkpoint: %s has no checkpoint-N", out);
    if (!*folder) folder = path_of(out, "checkpoint-", last, "");
    if (load_checkpoint(&t->state, folder)) return 1;
    if (t->step < 1 || t->step > t->plan.total || loader_resume(&t->train))
        return fail("%s: step %lld of %lld, and its place in the data, cannot be", folder, t->step,
                    t->plan.total);
    t->kept = t->out.begun = same_file(folder, out, path_of("", "checkpoint-", t->step, "") + 1);
    if (!t->kept && same_file(out, folder, ".."))
        return fail(
            "--resume_from_checkpoint %s: of an earlier run in --output_dir, which would be "
            "removed: give another --output_dir",
            folder);
    t->start = seconds() - t->seconds;
    if (!ranks.rank && !t->kept) checkpoints_aside(out, t->out.overwrite);
    if (!ranks.rank && (folder_begin(&t->out) || restore_best(&t->state, folder, out))) return 1;
    printf("resumed    %s: %lld of %lld steps are made\n\n", folder, t->step, t->plan.total);
    fflush(stdout);
    return 0;
}

/* Everything up to the first step. An earlier run's files stay as they are until the first save. */
static int train_load(Training *t)
{
    const Options *o = t->o;
    Bert *m = t->m;
    Loader *l = &t->train, *eval = &t->eval;
    if (!ranks.rank &&
        folder_open(&t->out, "--output_dir", o->output_dir, o->overwrite_output_dir != 0))
        return 1;
    if (train_files(t) || train_model(m, o)) return 1;
    if (train_head(m, o->model, l->data, (uint64_t)o->seed) || loader_scan(l)) return 1;
    if (o->reinit_layers &&
        reinit_layers(m, (int)o->reinit_layers, random_at((uint64_t)o->seed, 2)))
        return 1;
    remember(&m->config, l);
    if (o->eval_file && (check_like(m, eval->data, o->train_file) || loader_scan(eval))) return 1;
    if (check_smoothing(o->label_smoothing_factor, l->data)) return 1;
    if (o->class_weights && set_class_weights(l, &t->class_weights, o->class_weights)) return 1;
    if (plan_steps(&t->plan, l->steps) || train_strategy(t) || train_settings(t)) return 1;
    show_run(t);
    t->start = seconds();
    if (!ranks.rank) sweep_checkpoints(o->output_dir);
    if (o->resume_from_checkpoint && train_resume(t)) return 1;
    if (!ranks.rank && log_start(&t->log, o->logging_dir)) return 1;
    return same_model(m);
}

/* -- the steps -- */

static int diverged(const Training *t, const char *what, double value)
{
    fail("step %lld: the %s is %g: training cannot go on. A lower --learning_rate (%g now) or more "
         "--warmup_steps may help.",
         t->step + 1, what, value, t->o->learning_rate);
    tell_not_finite(t->m);
    const long long good = t->out.begun ? last_checkpoint(t->o->output_dir, t->step) : 0;
    if (good) /* from one of this very step it would come to the same */
        return fail("%s/checkpoint-%lld is the last that is good", t->o->output_dir, good);
    if (t->saved_step == NEVER) return fail("nothing was saved");
    return fail("%s/model.bin is the model after step %lld", t->o->output_dir, t->saved_step);
}

/* One optimizer step, on the micro-batches that the loader has made ready. Each one's loss is its
   part of the step's: its sum, by the divisor of the whole step. So losses add up to the mean, and
   gradients, taken once each, to the mean's. bert_adamw leaves them zero for the next step. Where
   there are more ranks than micro-batches, a rank is idle: it takes part in the sums with another's
   batch, which counts nothing. */
static int train_step(Training *t)
{
    const Options *o = t->o;
    const Loader *l = &t->train;
    Bert *m = t->m;
    const int idle = l->num_batches == 0;
    const float counts = idle ? 0 : 1;
    const size_t n = idle ? 1 : l->num_batches;
    double start = seconds(), tokens = 0, sums[2] = {0, 0}; /* of loss and tokens, over all ranks */
    threads_begin();
    for (size_t i = 0; i < n; i++) {
        const BertBatch *x = idle ? l->all : &l->batches[i];
        if (bert_forward(m, x, 1)) return fail("%s: %s", l->data->path, bert_error(m));
        if (!isfinite(m->loss)) return diverged(t, "loss", m->loss);
        tokens += x->offsets[x->B];
        sums[0] += (double)counts * m->loss, sums[1] += (double)counts * x->offsets[x->B];
        if (i + 1 == n) {
            if (ranks_share((int)stop_signal, step_hash(l), "data set", sums, 2)) return 1;
            ranks_sum_begin(m, l->all, l->G);
        }
        if (bert_backward(m, counts)) return ranks_failed(fail("%s", bert_error(m)));
    }
    ranks_sum_end(m);
    t->norm = bert_grad_norm(m);
    if (!isfinite(t->norm)) return diverged(t, "gradient norm", t->norm);
    t->rate = plan_rate(&t->plan, t->step);
    if (bert_adamw(m, (float)t->rate, (float)o->adam_beta1, (float)o->adam_beta2,
                   (float)o->adam_epsilon, (float)o->weight_decay, (int)t->step + 1,
                   bert_clip_scale((float)t->norm, (float)o->max_grad_norm)))
        return fail("%s", bert_error(m));
    threads_end(3 * tokens); /* backward: twice the forward's work */
    t->step++;
    t->run.loss += sums[0];
    t->run.tokens += sums[1];
    t->run.items += (double)l->step_items;
    t->run.rows += l->rows;
    t->run.seconds += seconds() - start;
    return 0;
}

/* A line where it is due, between them the live line. */
static void train_log(Training *t)
{
    const Sums *run = &t->run, *line = &t->line;
    const LogLine now = {
        .step = t->step,
        .total = t->plan.total,
        .epoch = t->train.epoch,
        .loss = (run->loss - line->loss) / (double)(t->step - t->line_step),
        .rate = t->rate,
        .norm = t->norm,
        .speed = (run->tokens - line->tokens) / (run->seconds - line->seconds),
        .left = run->seconds / (double)t->step * (double)(t->plan.total - t->step),
    };
    if (!(t->due & DUE_LOG)) {
        log_live(&now);
        return;
    }
    log_line(&t->log, &now);
    t->line = t->run, t->line_step = t->step;
    t->due &= ~DUE_LOG;
}

/* Rank 0's folder, and of the others' models the same. */
static int save_as(Training *t, const char *name)
{
    return same_model(t->m) || (!ranks.rank && folder_save(&t->out, t->m, name));
}

/* Measures the model, decides whether it is the best so far, says both, and saves the best: nothing
   comes between. */
static int train_eval(Training *t)
{
    const Evaluation *e = &t->result;
    double start = seconds();
    Page page;
    int end = evaluate(t->o, t->m, &t->eval, &t->result, &stop_signal);
    if (end != DONE) return end;
    start = seconds() - start;
    const int best = best_of(&t->best, e, t->step);
    t->measured = 1, t->kept = 0, t->due &= ~DUE_EVAL;
    if (best && !strcmp(t->when.save, "best")) t->due |= DUE_SAVE;
    FILE *f = page_begin(&page);
    fprintf(f, "eval       epoch %.2f  loss %.4f", t->train.epoch, e->loss);
    log_number(&t->log, "eval_", "loss", e->loss, 17);
    for (int i = 0; i < e->num_metrics; i++) {
        fprintf(f, "  %s %.4f", e->metrics[i].name, e->metrics[i].value);
        log_number(&t->log, "eval_", e->metrics[i].name, e->metrics[i].value, 17);
    }
    fputs(best ? "  best so far\n" : "\n", f);
    page_end(&page, stdout, 11);
    fflush(stdout);
    log_number(&t->log, "eval_", "runtime", start, 6);
    log_number(&t->log, "eval_", "samples_per_second", (double)t->eval.items / start, 6);
    log_end(&t->log, t->train.epoch, t->step);
    return best && save_as(t, "best.bin") ? FAILED : DONE;
}

static int save_model(Training *t)
{
    t->due &= ~DUE_MODEL;
    if (t->saved_step == t->step) return 0;
    if (save_as(t, "model.bin")) return 1;
    t->saved_step = t->step;
    return 0;
}

/* A checkpoint, from which a run goes on as if it had not been stopped. */
static int keep_checkpoint(Training *t)
{
    t->due &= ~DUE_SAVE;
    if (save_model(t)) return 1;
    if (t->kept) return 0;
    t->kept = 1;
    if (ranks.rank) return 0;
    log_mark(&t->log, t->o->logging_dir);
    t->seconds = seconds() - t->start;
    return save_checkpoint(&t->state, t->out.path, t->step, t->best.step != NEVER);
}

/* The oldest go only when the last has shown that a step can be made from it. */
static void limit_kept(const Training *t)
{
    if (!ranks.rank && t->kept && t->o->save_total_limit)
        limit_checkpoints(t->out.path, t->o->save_total_limit, t->best.step);
}

/* The next step; then it is decided, once, what is due after it. */
static int next_step(Training *t)
{
    if (loader_step(&t->train, (uint64_t)t->step) || train_step(t)) return 1;
    limit_kept(t);
    t->kept = 0;
    t->due = due(&t->when, t->step, t->train.ended, t->step == t->plan.total);
    if (t->due & DUE_MODEL && t->run.rows == 0)
        warn_unlabelled(t->o->train_file, t->m->config.task, "learned from it");
    return 0;
}

static int is_over(const Training *t)
{
    return !t->due && (t->step == t->plan.total || out_of_patience(&t->best));
}

/* A signal that comes after a step ends an evaluation, and then the run, and changes nothing else:
   what is due and not done is in the checkpoint. The model is saved before it is measured, so that
   nothing that happens meanwhile costs an epoch. */
static int train_steps(Training *t)
{
    while (!ranks_stop(stop_signal) && !is_over(t)) {
        if (!t->due && next_step(t)) return 1;
        train_log(t);
        if (t->due & DUE_MODEL && save_model(t)) return 1;
        if (t->due & DUE_EVAL && !ranks_stop(stop_signal) && train_eval(t) == FAILED) return 1;
        if (t->due & DUE_SAVE && keep_checkpoint(t)) return 1;
    }
    return 0;
}

/* Where a signal has come: nothing that was computed is lost. */
static int train_stop(Training *t, int signal)
{
    const char *out = t->o->output_dir;
    if (t->step == 0) fail("stopped by a signal before the first step: nothing was saved");
    else if (keep_checkpoint(t)) return 1;
    else {
        fail("stopped by a signal; %s/model.bin is the model after step %lld of %lld. To go on:",
             out, t->step, t->plan.total);
        put_command(stderr, t->o->argc, t->o->argv, "resume_from_checkpoint",
                    path_of(out, "checkpoint-", t->step, ""));
    }
    return 128 + signal;
}

/* --load_best_model_at_end: model.bin becomes best.bin. */
static int load_best(const Training *t)
{
    char path[PATH_MAX + MOST_NAME];
    if (ranks.rank) return 0;
    snprintf(path, sizeof path, "%s/best.bin", t->out.path);
    return share_file(path, t->out.path, "model.bin");
}

static int train_end(Training *t)
{
    const double runtime = seconds() - t->start;
    const Evaluation *e = &t->result;
    const char *out = t->o->output_dir;
    const int loads = t->when.loads_best && t->best.step != NEVER;
    const int stop = (int)ranks_stop(stop_signal);
    Page page;
    live_clear();
    if (stop) return train_stop(t, stop);
    if (save_model(t) || (loads && load_best(t))) return 1;
    limit_kept(t);
    log_number(&t->log, "train_", "runtime", runtime, 6);
    log_number(&t->log, "train_", "samples_per_second", t->run.items / runtime, 6);
    log_number(&t->log, "train_", "steps_per_second", (double)t->step / runtime, 6);
    log_number(&t->log, "train_", "loss", t->run.loss / (double)t->step, 17);
    log_end(&t->log, t->train.epoch, t->step);
    FILE *f = page_begin(&page);
    if (t->measured && (!loads || t->step == t->best.step) && tasks[t->m->config.task].report)
        tasks[t->m->config.task].report(f, e, t->eval.data);
    fprintf(f, "\n%lld steps in %.1f s", t->step, runtime);
    if (out_of_patience(&t->best) && t->step < t->plan.total)
        fprintf(f, ", of %lld: %lld evaluations were no better", t->plan.total, t->best.misses);
    fprintf(f, ". %s/model.bin is the %s model", out, loads ? "best" : "last");
    if (t->best.step != NEVER)
        fprintf(f, ", best.bin the one of step %lld (%s %.4f)", t->best.step,
                best_name(&t->best, e), t->best.value);
    fprintf(f, "\n");
    if (t->log.f) fprintf(f, "python3 dev/plot.py %s draws it\n", t->o->logging_dir);
    page_end(&page, stdout, 2);
    return 0;
}

static void training_free(Training *t)
{
    loader_free(&t->train), loader_free(&t->eval);
    evaluation_free(&t->result);
    folder_close(&t->out);
    log_free(&t->log);
    state_free(&t->state);
    free(t->class_weights);
}

static void on_signal(int number) { stop_signal = number; }

static int command_train(const Options *o, Bert *m)
{
    static const int signals[] = {SIGINT, SIGTERM};
    struct sigaction old[2],
        stop = {.sa_handler = on_signal,
                .sa_flags = SA_RESTART | (int)SA_RESETHAND}; /* the second Ctrl-C ends it at once */
    Training t = {.o = o, .m = m, .saved_step = NEVER};
    t.state = run_state(&t);
    int result = train_load(&t);
    stop_signal = 0;
    for (int i = 0; i < 2; i++) {
        sigaction(signals[i], NULL, &old[i]);
        if (old[i].sa_handler != SIG_IGN) sigaction(signals[i], &stop, NULL); /* nohup stays */
    }
    if (!result) result = train_steps(&t);
    if (!result) result = train_end(&t);
    for (int i = 0; i < 2; i++) sigaction(signals[i], &old[i], NULL);
    training_free(&t);
    return result;
}

/* ------------------------------------------------------------------------------------------------
   Evaluation */

/* Masks and pairs of an evaluation never change: they are those of this epoch, with seed 0. */
static const Place evaluation_place = {.epoch = UINT64_MAX};

static Loader evaluation_loader(const Options *o, const Bert *m)
{
    const Loader l = {.model = m,
                      .batch = (size_t)o->per_device_eval_batch_size,
                      .group = 1,
                      .most_tokens = (size_t)o->max_tokens_per_batch,
                      .rank = ranks.rank,
                      .ranks = ranks.count,
                      .mlm_probability = o->mlm_probability,
                      .short_seq_prob = o->short_seq_prob,
                      .place = evaluation_place};
    return l;
}

/* How questions are answered: as run_qa and its pipeline, which have other longest answers. */
static Rules rules_of(const Options *o, const Bert *m, int longest)
{
    const Rules rules = {.n_best = (int)o->n_best_size,
                         .longest = o->max_answer_length ? (int)o->max_answer_length : longest,
                         .may_lack = o->version_2_with_negative || m->config.may_lack,
                         .threshold = o->null_score_diff_threshold};
    return rules;
}

/* This process's batches of a step: each one's outputs, packed, at their place among all. */
static int infer_step(Bert *m, const Loader *l, Packed *packed)
{
    packed_room(packed, m, l->all, l->G);
    for (size_t i = 0; i < l->num_batches; i++) {
        const BertBatch *x = &l->batches[i];
        BertActs acts = {0};
        if (infer(m, x)) return fail("%s: %s", l->data->path, bert_error(m));
        pack_outputs(&acts, packed->all + packed->begins[x - l->all], m, x, 1);
    }
    return 0;
}

/* Takes in the outputs of a step, of all processes; returns the sum of its losses. */
static double collect_step(Evaluation *e, const Bert *m, const Loader *l)
{
    double loss = 0;
    for (size_t i = 0; i < l->G; i++) {
        const BertBatch *x = &l->all[i];
        float *packed = e->packed.all + e->packed.begins[i];
        loss += (double)*packed * x->divisor;
        collect_batch(e, m, l->data, x, packed, l->first + (size_t)x->place);
    }
    return loss;
}

/* Mean loss and metrics, without class weights and label smoothing, so that runs compare. STOPPED,
   without any, where *stop is set meanwhile; NULL: nothing stops it. Each rank has the outputs of
   all. */
static int evaluate(const Options *o, Bert *m, Loader *l, Evaluation *e,
                    const volatile sig_atomic_t *stop)
{
    const Data *data = l->data;
    double start = seconds(), loss = 0, rows = 0, none = 0;
    size_t done = 0;
    e->rules = rules_of(o, m, 30);
    evaluation_clear(e, data);
    loader_seek(l, evaluation_place);
    do {
        if (loader_step(l, 0) || infer_step(m, l, &e->packed)) return FAILED;
        if (ranks_share(stop ? (int)*stop : 0, step_hash(l), "data set", &none, 0)) return FAILED;
        ranks_gather(e->packed.all, e->packed.sizes, l->G);
        loss += collect_step(e, m, l);
        rows += l->rows, done += l->step_items;
        progress("eval", done, l->items, start);
        if (stop && ranks_stop(*stop)) return STOPPED;
    } while (!l->ended);
    live_clear();
    e->loss = ratio(loss, rows);
    if (rows == 0) warn_unlabelled(data->path, data->task, "measured");
    if (!isfinite(e->loss))
        return fail("%s: the loss is %g: the model's parameters are damaged", data->path, e->loss);
    tasks[data->task].measure(e, data);
    return DONE;
}

static int eval_report(const Options *o, Bert *m, Loader *l, Evaluation *e)
{
    Page page;
    if (loader_file(l, o->eval_file) || check_head(m, o->model, l->data)) return 1;
    const Data *data = l->data;
    if (check_labels(m, o->model, data) || loader_scan(l)) return 1;
    evaluation_room(e, data);
    if (evaluate(o, m, l, e, NULL) != DONE) return 1;
    FILE *f = page_begin(&page);
    fprintf(f, "%-22s %zu\n%-22s %.6f\n", "examples", l->items, "loss", e->loss);
    for (int i = 0; i < e->num_metrics; i++)
        fprintf(f, "%-22s %.6f\n", e->metrics[i].name, e->metrics[i].value);
    if (tasks[data->task].report) tasks[data->task].report(f, e, data);
    page_end(&page, stdout, 2);
    return 0;
}

static int command_eval(const Options *o, Bert *m)
{
    Loader l = evaluation_loader(o, m);
    Evaluation e = {0};
    int result = eval_report(o, m, &l, &e);
    loader_free(&l), evaluation_free(&e);
    return result;
}

/* ------------------------------------------------------------------------------------------------
   predict, embed and encode */

static Input text_input(const Options *o, const Bert *m)
{
    const Input in = {.model = m,
                      .model_path = o->model,
                      .json = o->json != 0,
                      .wants_pairs = o->pair != 0,
                      .max_length = (int)o->max_length};
    return in;
}

/* pooling NULL: predict */
static int answer_with(const Options *o, Bert *m, const char *pooling)
{
    Answering a = {.m = m,
                   .path = o->model,
                   .predict_file = o->predict_file,
                   .pooling = pooling,
                   .normalize = o->normalize != 0,
                   .in = text_input(o, m),
                   .answers = {.rules = rules_of(o, m, o->predict_file ? 30 : 15),
                               .top_k = (int)o->top_k,
                               .logits = (int)o->logits},
                   .l = {.batch = (size_t)o->per_device_eval_batch_size,
                         .most_tokens = (size_t)o->max_tokens_per_batch}};
    return answer(&a);
}

static int command_predict(const Options *o, Bert *m) { return answer_with(o, m, NULL); }
static int command_embed(const Options *o, Bert *m) { return answer_with(o, m, o->pooling); }

static int command_encode(const Options *o, Bert *m)
{
    Input in = text_input(o, m);
    return encode_lines(&in);
}
