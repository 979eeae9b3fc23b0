/*
train_bert.c - fine-tune BERT, measure it, and predict with it.

    ./train_bert train   --model model.bin --train_file train.bin --output_dir out
    ./train_bert eval    --model out/best.bin --eval_file test.bin
    ./train_bert predict --model out/best.bin --predict_file test.bin
    ./train_bert predict --model out/best.bin < lines.txt      (embed, encode: the same)
    ./train_bert inspect --model out/best.bin "a text"         (a page for a browser)

Everything that BERT computes is in bert.h. Here is the driver around it: from the command line to a
command; training; the other commands. The rest of it are the headers in dev/driver, its rooms, one
subject each. A function stands behind those that it calls, and a training begins with the last:

    command_train       train_once, or train_seeds: one for each of --seeds
        train_once      train_load    files, model, plan, and what is said of them (train_resume)
                        train_steps   next_step (train_step), train_log, save_model, train_eval,
                                      keep_checkpoint
                        train_end     the last words, or train_stop: a signal has come

The flags are the table of options.h, in this order: files; steps and batches; the optimizer;
dropout and loss; what single tasks have; order, frozen and fresh layers, seed; evaluation and the
best model; checkpoints; the log, a dry run; answers. They have the names and meaning of Hugging
Face's TrainingArguments, where it has such; 'train_bert help train' prints them. A new one is a row
there, and o->name here; the row also says whether a run that is resumed may change it (FREE).

Nothing here goes by the task. A new one is a row of BERT_TASKS in bert.h, and in dev/driver its
metrics are a row of tasks.h, its answers a row of answers.h, its sections of a data file in data.h.
*/
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64 /* files beyond 2 GiB where off_t has 32 bits by default */

#define BERT_IMPLEMENTATION
#include "bert.h"

/* In brackets: rooms that a room includes. */
#include "dev/driver/options.h"    /* the table of flags, that of commands */
#include "dev/driver/flags.h"      /* reading a command line, help */
#include "dev/driver/command.h"    /* the command that goes on */
#include "dev/driver/setup.h"      /* the flags as loaders, plan, rules, input */
#include "dev/driver/loader.h"     /* files, order, batches (data, passes, draw, batch, shards) */
#include "dev/driver/head.h"       /* the head that the data needs */
#include "dev/driver/plan.h"       /* steps, learning rates (schedule), what is said of data */
#include "dev/driver/weights.h"    /* --class_weights */
#include "dev/driver/memory.h"     /* how much a training needs */
#include "dev/driver/strategy.h"   /* what is due when, the best evaluation */
#include "dev/driver/evaluate.h"   /* loss and metrics (tasks, metrics, outputs) */
#include "dev/driver/checkpoint.h" /* output_dir, checkpoint-N (state, save) */
#include "dev/driver/seeds.h"      /* --seeds: several runs, and their table */
#include "dev/driver/log.h"        /* lines, log.jsonl, TensorBoard (events) */
#include "dev/driver/agree.h"      /* several processes (ranks) */
#include "dev/driver/threads.h"    /* OpenMP's, beside other programs */
#include "dev/driver/answering.h"  /* predict, embed, encode (answers, text, json) */
#include "dev/driver/inspect.h"    /* the page of inspect (saliency, html) */
#include "dev/driver/report.h"     /* messages, the live line */

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

static int load_model(Bert *m, const Options *o)
{
    if (bert_load(m, o->model)) return fail("%s", bert_error(m));
    m->bf16 = o->bf16 != 0;
    return 0;
}

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
        return fail("%s is one process's work: start it without mpirun", commands[command].name);
    if (load_model(m, o)) return 1;
    if (o->bf16 && !bert_bf16_units())
        warn("this processor has no AMX: --bf16 makes the same numbers, but takes longer than "
             "float32");
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
    if (fflush(stdout) || ferror(stdout)) { /* EPIPE: whoever read it has gone: no more to say */
        const int told = errno == EPIPE || fail("standard output: %s", strerror(errno));
        if (!result) result = told;
    }
    bert_free(&m);
    return result;
}

#ifndef TESTING /* tests and checks include this file, and have a main of their own */
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
    int measured;       /* it is of this very step */
    Folder out;         /* output_dir */
    Log log;
    float *class_weights; /* (K) or NULL */
    Plan plan;
    Strategy when;
    double rate, norm;    /* of the last step */
    double start;         /* seconds() when it began, as if it had never been stopped */
    long long saved_step; /* of model.bin, or NEVER */
    int kept;             /* there is a checkpoint of just this state */
    Seed *seed;           /* of --seeds, whose run it is; else NULL */

    /* How far it is: with train.place, the log's, the model and its optimizer's state this is all
       that a run which goes on where it was stopped has to have again: run_state lists it. */
    long long step;      /* optimizer steps that are done */
    long long due;       /* after the last one, and not done yet */
    Sums run, line;      /* so far, and at the last log line */
    long long line_step; /* of that line */
    Best best;           /* evaluation */
    double seconds;
    RunState state;
} Training;

/* -- before the first step -- */

static void show_run(const Training *t)
{
    const Options *o = t->o;
    const Loader *l = &t->train;
    const Memory memory = memory_of(t->m, l, o->eval_file ? &t->eval : NULL);
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
            "threads: %d%s\n",
            o->gradient_accumulation_steps, l->batch, l->items, o->lr_scheduler_type,
            o->learning_rate, t->plan.warmup, bert_threads(), threads_note());
    show_memory(f, &memory);
    fputs("\n", f);
    page_end(&page, stdout, TEXT_COLUMN);
    fflush(stdout);
    check_memory(&memory, memory_there());
}

static RunState run_state(Training *t)
{
    Place *at = &t->train.place;
    const RunState state = {.m = t->m,
                            .at = {.step = &t->step,
                                   .due = &t->due,
                                   .epoch = &at->epoch,
                                   .shard = &at->shard,
                                   .item = &at->item,
                                   .epoch_steps = &at->steps,
                                   .run_loss = &t->run.loss,
                                   .run_items = &t->run.items,
                                   .run_tokens = &t->run.tokens,
                                   .run_seconds = &t->run.seconds,
                                   .run_rows = &t->run.rows,
                                   .line_step = &t->line_step,
                                   .line_loss = &t->line.loss,
                                   .line_items = &t->line.items,
                                   .line_tokens = &t->line.tokens,
                                   .line_seconds = &t->line.seconds,
                                   .line_rows = &t->line.rows,
                                   .best_step = &t->best.step,
                                   .best = &t->best.value,
                                   .best_loss = &t->best.loss,
                                   .misses = &t->best.misses,
                                   .log_bytes = &t->log.bytes,
                                   .log_hash = &t->log.hash,
                                   .log_lines = &t->log.lines,
                                   .seconds = &t->seconds}};
    return state;
}

/* Goes on where another run was stopped, which differs from this one in nothing that decides the
   result. */
static int train_resume(Training *t)
{
    const char *folder = t->o->resume_from_checkpoint, *out = t->o->output_dir;
    const long long last = last_checkpoint(out, LLONG_MAX);
    char name[MOST_NAME];
    if (!*folder && !last) return fail("--resume_from_checkpoint: %s has no checkpoint-N", out);
    if (!*folder) folder = path_of(out, "checkpoint-", last, "");
    if (load_checkpoint(&t->state, folder)) return 1;
    if (t->step < 1 || t->step > t->plan.total || loader_resume(&t->train))
        return fail("%s: step %lld of %lld, and its place in the data, cannot be", folder, t->step,
                    t->plan.total);
    snprintf(name, sizeof name, "checkpoint-%lld", t->step);
    t->kept = t->out.begun = same_file(folder, out, name);
    if (!t->kept && same_file(out, folder, ".."))
        return fail(
            "--resume_from_checkpoint %s: of an earlier run in --output_dir, which would be "
            "removed: give another --output_dir",
            folder);
    t->start = seconds() - t->seconds;
    printf("resumed    %s: %lld of %lld steps are made\n\n", folder, t->step, t->plan.total);
    fflush(stdout);
    if (ranks.rank || t->o->dry_run) return 0;
    checkpoints_aside(out, t->kept ? t->step : 0, t->out.overwrite);
    return folder_begin(&t->out) || restore_best(&t->state, folder, out);
}

static int open_files(Training *t)
{
    const Options *o = t->o;
    t->train = train_loader(o, t->m), t->eval = eval_loader(o, t->m);
    return loader_files(&t->train, o->train_file) ||
           (o->eval_file && loader_file(&t->eval, o->eval_file));
}

/* The model as the flags and the data have it. */
static int make_model(Training *t)
{
    const Options *o = t->o;
    const uint64_t seed = (uint64_t)o->seed;
    Bert *m = t->m;
    Loader *l = &t->train, *eval = &t->eval;
    if (setup_model(m, o) || train_head(m, o->model, l->data, seed) || loader_scan(l)) return 1;
    if (o->reinit_layers && reinit_layers(m, (int)o->reinit_layers, random_at(seed, FOR_REINIT)))
        return 1;
    remember(&m->config, l);
    return o->eval_file && (check_like(m, eval->data, o->train_file) || loader_scan(eval));
}

/* Steps, their learning rates, and evaluations. */
static int make_plan(Training *t)
{
    const Options *o = t->o;
    Loader *l = &t->train;
    if (check_smoothing(o->label_smoothing_factor, l->data)) return 1;
    if (o->class_weights && set_class_weights(l, &t->class_weights, o->class_weights)) return 1;
    if (setup_strategy(&t->when, &t->best, o) || plan_steps(&t->plan, l->steps)) return 1;
    if (o->eval_file) {
        evaluation_room(&t->result, t->eval.data);
        t->result.rules = rules_of(o, t->m, FILE_ANSWER);
        if (best_start(&t->best, &t->result, t->eval.data, o->greater_is_better)) return 1;
    }
    return strategy_start(&t->when, t->plan.total);
}

/* Everything up to the first step. Models and checkpoints of an earlier run stay there until the
   first save, or until a run that was stopped elsewhere goes on here. */
static int train_load(Training *t)
{
    const Options *o = t->o;
    const int writes = !ranks.rank && !o->dry_run;
    if (writes && folder_open(&t->out, "--output_dir", o->output_dir, o->overwrite_output_dir != 0))
        return 1;
    if (setup_plan(&t->plan, o) || open_files(t) || make_model(t) || make_plan(t)) return 1;
    t->state.settings = run_settings(o, &t->train, &t->when, &t->best);
    if (!t->state.settings) return 1;
    if (t->seed && t->seed->goes_on && load_result(t->seed, t->state.settings)) return 1;
    if (t->seed && t->seed->num) return puts("           it has ended, as result.txt says"), 0;
    show_run(t);
    t->start = seconds();
    if (writes) sweep_checkpoints(o->output_dir);
    if (writes && t->seed && !t->seed->goes_on) drop_result(t->seed);
    if (o->resume_from_checkpoint && train_resume(t)) return 1;
    if (writes && log_start(&t->log, o->logging_dir)) return 1;
    return same_model(t->m);
}

/* -- the steps -- */

static int diverged(const Training *t, const char *what, double value)
{
    fail("step %lld: the %s is %g: training cannot go on. A lower --learning_rate (%g now) or more "
         "--warmup_steps may help.",
         t->step + 1, what, value, t->o->learning_rate);
    tell_not_finite(t->m);
    const long long good = t->out.begun ? last_checkpoint(t->o->output_dir, t->step) : 0;
    if (good) /* a checkpoint after step t->step would have the weights that have just failed */
        return fail("%s/checkpoint-%lld is the last that is good: a new run may begin with its "
                    "model.bin (--model)",
                    t->o->output_dir, good);
    if (t->saved_step == NEVER)
        return fail(t->out.begun ? "there is no checkpoint before it" : "nothing was saved");
    return fail("%s/model.bin is the model after step %lld", t->o->output_dir, t->saved_step);
}

/* One optimizer step, on the micro-batches that the loader has made ready. All have the divisor of
   the whole step, so that gradients, taken once each, add up to the mean's. bert_adamw leaves them
   zero for the next step. Where there are more ranks than micro-batches, a rank is idle: it takes
   part in the sums with another's batch, which counts nothing. */
static int train_step(Training *t)
{
    const Options *o = t->o;
    const Loader *l = &t->train;
    Bert *m = t->m;
    const int idle = l->num_batches == 0;
    const float counts = idle ? 0 : 1;
    const size_t n = idle ? 1 : l->num_batches;
    double start = seconds(), tokens = 0;
    double sums[3] = {0}; /* losses, tokens; same_step adds up those of all ranks */
    LossSum loss = {0, 0};
    threads_begin(0); /* a step that fails needs no end */
    for (size_t i = 0; i < n; i++) {
        const BertBatch *x = idle ? l->all : &l->batches[i];
        if (bert_forward(m, x, 1)) return fail("%s: %s", l->data->path, bert_error(m));
        if (!isfinite(m->loss)) return diverged(t, "loss", m->loss);
        tokens += x->offsets[x->B];
        if (!idle) add_losses(&loss, &m->acts, m, x);
        if (i + 1 == n) {
            sums[0] = loss.rows, sums[1] = loss.next, sums[2] = idle ? 0 : tokens;
            if (same_step(l, (int)stop_signal, sums, 3)) return 1;
            ranks_sum_begin(m, l->all, l->G); /* of each layer, as the last backward leaves it */
        }
        if (bert_backward(m, counts)) return ranks_failed(fail("%s", bert_error(m))); /* in a sum */
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
    t->run.loss += sums[0] / m->batch.divisor + sums[1] / m->batch.next_divisor;
    t->run.tokens += sums[2];
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

/* Rank 0 writes the model, once all ranks have seen that they have the same. */
static int save_as(Training *t, const char *name)
{
    return same_model(t->m) || (!ranks.rank && folder_save(&t->out, t->m, name));
}

/* Measures the model, decides whether it is the best so far, says both, and saves the best: nothing
   comes between. DONE, FAILED, or STOPPED by a signal. */
static int train_eval(Training *t)
{
    const Evaluation *e = &t->result;
    const double start = seconds();
    Page page;
    const int end = evaluate(t->m, &t->eval, &t->result, &stop_signal);
    if (end != DONE) return end;
    const double runtime = seconds() - start;
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
    page_end(&page, stdout, TEXT_COLUMN);
    fflush(stdout);
    log_number(&t->log, "eval_", "runtime", runtime, 6);
    log_number(&t->log, "eval_", "samples_per_second", (double)t->eval.items / runtime, 6);
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

/* A checkpoint, from which a run goes on as if it had not been stopped. One that is due behind an
   evaluation which was stopped is due still: it will have what the evaluation finds. */
static int keep_checkpoint(Training *t)
{
    if (!(t->due & DUE_EVAL)) t->due &= ~DUE_SAVE;
    if (save_model(t)) return 1;
    if (t->kept) return 0;
    t->kept = 1;
    if (ranks.rank) return 0;
    log_mark(&t->log, t->o->logging_dir);
    t->seconds = seconds() - t->start;
    return save_checkpoint(&t->state, t->out.path, t->step, t->best.step != NEVER);
}

/* Old checkpoints go only after one more step has succeeded, or the last one is saved. */
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
    t->kept = t->measured = 0;
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
        if (!t->due) {
            if (next_step(t)) return 1;
            train_log(t);
        }
        if (t->due & DUE_MODEL && save_model(t)) return 1;
        if (t->due & DUE_EVAL && !ranks_stop(stop_signal) && train_eval(t) == FAILED) return 1;
        if (t->due & DUE_SAVE && keep_checkpoint(t)) return 1;
    }
    return 0;
}

/* Where a signal has come: nothing that was computed is lost. */
static int train_stop(Training *t, int signal)
{
    const Options *o = t->o;
    const char *out = o->output_dir;
    char launcher[64] = "";
    if (t->step && keep_checkpoint(t)) return 1;
    const char *from = t->seed ? NULL : path_of(out, "checkpoint-", t->step, "");
    if (t->step)
        fail("stopped by a signal; %s/model.bin is the model after step %lld of %lld. To go on:",
             out, t->step, t->plan.total);
    else
        fail("stopped by a signal before the first step%s",
             t->seed ? " of this seed. To go on:" : ": nothing was saved");
    if (ranks.count > 1) snprintf(launcher, sizeof launcher, "mpirun -np %zu", ranks.count);
    if (!ranks.rank && (t->step || t->seed))
        put_command(stderr, launcher, o->argc, o->argv, "resume_from_checkpoint", from);
    return 128 + signal;
}

/* --load_best_model_at_end: model.bin becomes the best model. */
static int model_becomes_best(const Training *t)
{
    char path[PATH_MAX + MOST_NAME];
    if (ranks.rank) return 0;
    snprintf(path, sizeof path, "%s/best.bin", t->out.path);
    return share_file(path, t->out.path, "model.bin");
}

/* The table of seeds has the last model of each as it is measured. */
static int measure_seed(Training *t)
{
    if (!strcmp(t->when.eval, "no") || t->measured || !is_over(t)) return DONE;
    const int end = evaluate(t->m, &t->eval, &t->result, &stop_signal);
    t->measured = end == DONE;
    return end;
}

static int train_end(Training *t)
{
    const double runtime = seconds() - t->start;
    const Evaluation *e = &t->result;
    const char *out = t->o->output_dir;
    const int loads = t->when.loads_best && t->best.step != NEVER;
    Page page;
    live_clear();
    if (t->seed && measure_seed(t) == FAILED) return 1;
    const int stop = (int)ranks_stop(stop_signal);
    if (stop) return train_stop(t, stop);
    if (save_model(t) || (loads && model_becomes_best(t))) return 1;
    limit_kept(t);
    log_number(&t->log, "train_", "runtime", runtime, 6);
    log_number(&t->log, "train_", "samples_per_second", t->run.items / runtime, 6);
    log_number(&t->log, "train_", "steps_per_second", (double)t->step / runtime, 6);
    log_number(&t->log, "train_", "loss", t->run.loss / (double)t->step, 17);
    log_end(&t->log, t->train.epoch, t->step);
    log_mark(&t->log, t->o->logging_dir);
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
    if (!t->seed) return 0;
    seed_ends(t->seed, &t->best, t->measured ? e : NULL, t->run.loss / (double)t->step);
    return save_result(t->seed, t->state.settings);
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

/* --dry_run: how fast two steps are, and what all that are left would take. The first one pays for
   new memory, so what is said goes by the second. */
static int train_dry(Training *t)
{
    const long long left = t->plan.total - t->step;
    const double epochs = (double)left / (double)t->train.steps;
    Sums last = {0};
    double evaluation = 0;
    Page page;
    for (int i = 0; i < 2 && i < left; i++) {
        const Sums run = t->run;
        if (loader_step(&t->train, (uint64_t)t->step) || train_step(t)) return 1;
        last.seconds = t->run.seconds - run.seconds;
        last.tokens = t->run.tokens - run.tokens, last.items = t->run.items - run.items;
    }
    if (strcmp(t->when.eval, "no")) {
        const double start = seconds(), times = evaluations(&t->when, left, epochs);
        if (loader_step(&t->eval, 0) || infer_step(t->m, &t->eval, &t->result.packed)) return 1;
        evaluation = (seconds() - start) * (double)t->eval.steps * times;
    }
    const double rate = last.tokens / last.seconds; /* NaN where no step is left */
    const double all = left ? (double)t->train.pass_tokens * epochs / rate : 0;
    FILE *f = page_begin(&page);
    if (left) /* the mean step: the second one may have few examples, or short ones */
        fprintf(f, "speed      %.0f tokens/s, %.1f examples/s: a step of %.2f s\n", rate,
                (double)t->train.items * epochs / all, all / (double)left);
    fprintf(f, "time       %s for %lld steps", clock_text(all), left);
    if (evaluation > 0) fprintf(f, ", and %s for evaluations", clock_text(evaluation));
    fputs("; nothing was written\n", f);
    page_end(&page, stdout, TEXT_COLUMN);
    return 0;
}

/* Signals are caught from the first training's first step to the end of the last training. The
   second Ctrl-C ends it at once; what nohup ignores stays so. */
static struct {
    int caught;
    struct sigaction old[2];
} signals;
static const int stop_signals[2] = {SIGINT, SIGTERM};

static void on_signal(int number) { stop_signal = number; }

static void catch_signals(void)
{
    const struct sigaction stop = {.sa_handler = on_signal,
                                   .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    if (signals.caught) return;
    signals.caught = 1, stop_signal = 0;
    for (int i = 0; i < 2; i++) {
        sigaction(stop_signals[i], NULL, &signals.old[i]);
        if (signals.old[i].sa_handler != SIG_IGN) sigaction(stop_signals[i], &stop, NULL);
    }
}

static void leave_signals(void)
{
    for (int i = 0; i < 2 && signals.caught; i++) sigaction(stop_signals[i], &signals.old[i], NULL);
    signals.caught = 0;
}

/* seed NULL: the only run. */
static int train_once(const Options *o, Bert *m, Seed *seed)
{
    Training t = {.o = o, .m = m, .seed = seed, .saved_step = NEVER};
    t.state = run_state(&t);
    int result = train_load(&t);
    const int ended = seed && seed->num;
    if (!result && !ended && o->dry_run) result = train_dry(&t); /* a signal just ends it */
    else if (!result && !ended) {
        catch_signals();
        result = train_steps(&t);
        if (!result) result = train_end(&t);
    }
    training_free(&t);
    return result;
}

/* One run after the other, each as if it were the only one. */
static int train_seeds(const Options *o, Bert *m)
{
    Seeds s = {0};
    int result = seeds_begin(&s, o);
    for (size_t i = 0; i < s.count && !result; i++) {
        Seed *seed = &s.all[i];
        const Options one = seed_options(o, seed);
        printf("%sseed       %lld, run %zu of %zu, in %s\n", i ? "\n" : "", seed->seed, i + 1,
               s.count, seed->output_dir);
        if (i) bert_free(m);
        if (i) result = load_model(m, o);
        if (!result) result = train_once(&one, m, seed);
        if (o->dry_run && !seed->num) break; /* one that has not ended: the others take the same */
    }
    if (!result && !o->dry_run) show_seeds(&s, o->logging_dir);
    seeds_free(&s);
    return result;
}

static int command_train(const Options *o, Bert *m)
{
    const int result = o->seeds ? train_seeds(o, m) : train_once(o, m, NULL);
    leave_signals();
    return result;
}

/* ------------------------------------------------------------------------------------------------
   Evaluation */

static int eval_report(const Options *o, Bert *m, Loader *l, Evaluation *e)
{
    Page page;
    if (loader_file(l, o->eval_file) || check_head(m, o->model, l->data)) return 1;
    const Data *data = l->data;
    if (check_labels(m, o->model, data) || loader_scan(l)) return 1;
    evaluation_room(e, data);
    if (evaluate(m, l, e, NULL) != DONE) return 1;
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
    Loader l = eval_loader(o, m);
    Evaluation e = {.rules = rules_of(o, m, FILE_ANSWER)};
    int result = eval_report(o, m, &l, &e);
    loader_free(&l), evaluation_free(&e);
    return result;
}

/* ------------------------------------------------------------------------------------------------
   predict, embed, encode and inspect */

/* pooling NULL: predict */
static int answer_with(const Options *o, Bert *m, const char *pooling)
{
    Answering a = {.m = m,
                   .path = o->model,
                   .predict_file = o->predict_file,
                   .pooling = pooling,
                   .normalize = o->normalize != 0,
                   .in = text_input(o, m),
                   .answers = {.rules = rules_of(o, m, o->predict_file ? FILE_ANSWER : LINE_ANSWER),
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

static int command_inspect(const Options *o, Bert *m)
{
    Inspection i = {.m = m,
                    .path = o->model,
                    .text = o->text,
                    .output_file = o->output_file,
                    .in = text_input(o, m),
                    .rules = rules_of(o, m, LINE_ANSWER)};
    return inspect(&i);
}
