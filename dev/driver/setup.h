/*
setup.h - from the flags to the rooms: what they say of the model, of loaders, steps and evaluations
is handed on here, and what of it decides a training's result is written down.
*/
#ifndef SETUP_H
#define SETUP_H

#include "evaluate.h"
#include "options.h"
#include "plan.h"
#include "state.h"
#include "strategy.h"

/* ------------------------------------------------------------------------------------------------
   Data, and what is made of it */

static Loader train_loader(const Options *o, const Bert *m)
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

static Loader eval_loader(const Options *o, const Bert *m)
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

/* The longest answer to a question of a file, as run_qa has it, and of a line, as the pipeline. */
enum { FILE_ANSWER = 30, LINE_ANSWER = 15 }; /* tokens */

/* How questions are answered. */
static Rules rules_of(const Options *o, const Bert *m, int longest)
{
    const Rules rules = {.n_best = (int)o->n_best_size,
                         .longest = o->max_answer_length ? (int)o->max_answer_length : longest,
                         .may_lack = o->version_2_with_negative || m->config.may_lack,
                         .threshold = o->null_score_diff_threshold};
    return rules;
}

static Input text_input(const Options *o, const Bert *m)
{
    const Input in = {.model = m,
                      .model_path = o->model,
                      .json = o->json != 0,
                      .wants_pairs = o->pair != 0,
                      .max_length = (int)o->max_length};
    return in;
}

/* ------------------------------------------------------------------------------------------------
   A training */

/* Says what the model is, draws one that has no weights yet, and sets it as the flags have it. */
static int setup_model(Bert *m, const Options *o)
{
    BertConfig *c = &m->config;
    Page page;
    FILE *f = page_begin(&page);
    show_model(f, o->model, m);
    if (c->undrawn) {
        fprintf(f, "           drawn, to be trained from scratch: it has no weights yet\n");
        bert_init(m, random_at((uint64_t)o->seed, FOR_SCRATCH));
    }
    page_end(&page, stdout, TEXT_COLUMN);
    if (o->freeze_layers > c->L)
        return fail("--freeze_layers is %lld: the model has %d layers, 0 to %d can be frozen",
                    o->freeze_layers, c->L, c->L);
    if (o->reinit_layers > c->L - o->freeze_layers)
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

/* All but how many steps there are. */
static int setup_plan(Plan *plan, const Options *o)
{
    const Plan p = {.epochs = o->num_train_epochs,
                    .max_steps = o->max_steps,
                    .rate = o->learning_rate,
                    .warmup_steps = o->warmup_steps,
                    .warmup_ratio = o->warmup_ratio};
    *plan = p;
    return schedule_start(&plan->schedule, o->lr_scheduler_type, o->lr_scheduler_kwargs,
                          o->learning_rate);
}

/* What evaluations there are, and which is the best. */
static int setup_strategy(Strategy *s, Best *b, const Options *o)
{
    const char *needs = o->early_stopping_patience          ? "--early_stopping_patience"
                        : o->load_best_model_at_end         ? "--load_best_model_at_end"
                        : o->metric_for_best_model          ? "--metric_for_best_model"
                        : !strcmp(o->save_strategy, "best") ? "--save_strategy best"
                                                            : NULL;
    const char *eval = o->eval_strategy ? o->eval_strategy : o->eval_file ? "epoch" : "no";
    s->logging = o->logging_strategy, s->eval = eval, s->save = o->save_strategy;
    s->logging_steps = o->logging_steps, s->eval_steps = o->eval_steps;
    s->save_steps = o->save_steps, s->logs_first = o->logging_first_step != 0;
    s->loads_best = o->load_best_model_at_end != 0;
    b->metric = o->metric_for_best_model;
    if (!b->metric && o->load_best_model_at_end) b->metric = "loss";
    b->patience = o->early_stopping_patience, b->threshold = o->early_stopping_threshold;
    b->step = NEVER;
    if (!strcmp(s->eval, "no") && needs)
        return fail("%s needs --eval_file, and an --eval_strategy other than no", needs);
    if (strcmp(s->eval, "no") && !o->eval_file)
        return fail("--eval_strategy %s needs --eval_file", s->eval);
    return 0;
}

/* What decides the result, as name=value lines: flags, and the content of files; NULL: one of them
   cannot be read. A run that goes on has to begin with the model that it had begun with. Where that
   was output_dir's own model.bin or best.bin, the run has replaced it: then any will do, *. */
static char *run_settings(const Options *o, const Loader *l, const Strategy *s, const Best *b)
{
    const char *out = o->output_dir;
    const int own = o->resume_from_checkpoint &&
                    (same_file(o->model, out, "model.bin") || same_file(o->model, out, "best.bin"));
    const int evaluates = strcmp(s->eval, "no") != 0;
    uint64_t train = HASH_START, eval = HASH_START, model = HASH_START, size = 0;
    Page page;
    for (size_t i = 0; i < l->files.count; i++)
        if (hash_file(&train, &size, l->files.all[i].path, UINT64_MAX)) return NULL;
    if (evaluates && hash_file(&eval, &size, o->eval_file, UINT64_MAX)) return NULL;
    if (!own && hash_file(&model, &size, o->model, UINT64_MAX)) return NULL;
    FILE *f = page_begin(&page);
    put_settings(f, &program, o, 0);
    put_strategy(f, s, b);
    fprintf(f, "per_device_train_batch_size x gradient_accumulation_steps=%lld\n",
            o->per_device_train_batch_size * o->gradient_accumulation_steps *
                (long long)ranks.count);
    fprintf(f, "the content of train_file=%016llx\n", (Wide)train);
    if (evaluates) fprintf(f, "the content of eval_file=%016llx\n", (Wide)eval);
    if (own) fprintf(f, "the content of model=*\n");
    else fprintf(f, "the content of model=%016llx\n", (Wide)model);
    return page_text(&page);
}

#endif
