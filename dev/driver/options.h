/*
options.h - what train_bert's command line may have: the flags and the commands, each one a row of a
table. Parsing, checks, help and the settings that a checkpoint remembers go by these tables.

A new flag is a row here, and its use. Names, defaults and meaning are those of Hugging Face's
TrainingArguments, where it has such; save_strategy alone has another default, no, and evaluation is
every epoch where there is --eval_file. dev/driver/instead.h has those that it has and we do not.
*/
#ifndef OPTIONS_H
#define OPTIONS_H

#include "flags.h"
#include "schedule.h"

/* ------------------------------------------------------------------------------------------------
   The flags: name, kind (flags.h), default, commands that take it, commands that need it, help
   (CHOICE: the choices). UNSET: there is no default; where the flag is not given, its help says in
   [] what is done, or the model's own value holds, or nothing of the kind is done.

   FREE, or MAY_CHANGE among the commands: a training that goes on may have another value than it
   had, for it does not change the result, or what it says of it is compared by itself (the model's
   content, for its path). All others must stay: that is checked. */

#define UNSET ""
enum { TRAIN = 1, EVAL = 2, PREDICT = 4, EMBED = 8, ENCODE = 16, INSPECT = 32 };
enum { FREE = TRAIN | MAY_CHANGE };
enum { HEADED = TRAIN | EVAL | PREDICT, BATCHED = HEADED | EMBED }; /* use a head; batches */
enum { TEXT = PREDICT | EMBED | ENCODE | INSPECT };                 /* read lines */

#define FLAGS(X)                                                                                   \
    /* -- files, and lines of text -- */                                                           \
    X(model, PATH, UNSET, BATCHED | TEXT | MAY_CHANGE, BATCHED | TEXT,                             \
      "model file, of dev/export_hf.py or an earlier run")                                         \
    X(train_file, PATH, UNSET, FREE, TRAIN,                                                        \
      "data to learn from, of tokenizer.py; shards: 'c-*.bin'")                                    \
    X(eval_file, PATH, UNSET, TRAIN | EVAL | MAY_CHANGE, EVAL, "data file to measure on")          \
    X(predict_file, PATH, UNSET, PREDICT | EMBED, 0,                                               \
      "data file; without: lines of standard input")                                               \
    X(pair, SWITCH, UNSET, TEXT, 0, "a line is two texts with a tab between [as in training]")     \
    X(json, SWITCH, UNSET, TEXT, 0, "a line is {\"text\"}, with \"text_pair\" or \"choices\"")     \
    X(max_length, COUNT, UNSET, TEXT, 0,                                                           \
      "tokens a line is cut at [as the model was trained, or its tokenizer cuts; qa: 384; "        \
      "inspect: at most 128]")                                                                     \
    X(text, BARE, UNSET, INSPECT, 0,                                                               \
      "what is looked into; the word --text may be left out [a line of standard input]")           \
    X(output_file, PATH, "inspect.html", INSPECT, 0, "the page to be written")                     \
    X(output_dir, PATH, UNSET, FREE, TRAIN, "folder for model.bin (last) and best.bin")            \
    X(overwrite_output_dir, SWITCH, UNSET, FREE, 0,                                                \
      "what an earlier run left there is removed [kept as earlier-*.bin]")                         \
    /* -- steps and batches -- */                                                                  \
    X(num_train_epochs, POSITIVE, "3", TRAIN, 0, "passes over the data, or a fraction of one")     \
    X(max_steps, STEPS, "-1", TRAIN, 0, "where above 0: optimizer steps, in place of epochs")      \
    X(per_device_train_batch_size, COUNT, "8", FREE, 0, "examples in a batch of training")         \
    X(per_device_eval_batch_size, COUNT, "8", BATCHED | MAY_CHANGE, 0,                             \
      "examples in a batch otherwise")                                                             \
    X(gradient_accumulation_steps, COUNT, "1", FREE, 0, "batches in an optimizer step")            \
    X(max_tokens_per_batch, COUNT, UNSET, BATCHED | MAY_CHANGE, 0,                                 \
      "a batch of more is cut, to save memory: the step and its result stay")                      \
    X(bf16, SWITCH, UNSET, BATCHED, 0,                                                             \
      "products in bfloat16, all else in float32: 2 to 3 times as fast where there is AMX")        \
    /* -- the optimizer (dev/driver/schedule.h: learning rates over time) -- */                    \
    X(learning_rate, NUMBER, "5e-5", TRAIN, 0, "its highest value")                                \
    X(lr_scheduler_type, CHOICE, "linear", TRAIN, 0, SCHEDULE_CHOICES)                             \
    X(lr_scheduler_kwargs, OBJECT, UNSET, TRAIN, 0, "its arguments, as {\"num_cycles\": 2}")       \
    X(warmup_steps, NUMBER, "0", TRAIN, 0, "steps it rises for; below 1: their share of all")      \
    X(warmup_ratio, SHARE, "0", TRAIN, 0, "that share, as transformers 4 named it")                \
    X(weight_decay, NUMBER, "0", TRAIN, 0, "of matrices; biases and LayerNorm have none")          \
    X(adam_beta1, SHARE, "0.9", TRAIN, 0, "decay of the gradients' mean")                          \
    X(adam_beta2, SHARE, "0.999", TRAIN, 0, "decay of the squared gradients' mean")                \
    X(adam_epsilon, NUMBER, "1e-8", TRAIN, 0, "added to the root of that mean")                    \
    X(max_grad_norm, NUMBER, "1", TRAIN, 0, "longer gradients are scaled to this norm; 0: never")  \
    /* -- dropout and loss -- */                                                                   \
    X(hidden_dropout_prob, SHARE, UNSET, TRAIN, 0, "in place of the model's own")                  \
    X(attention_probs_dropout_prob, SHARE, UNSET, TRAIN, 0, "in place of the model's own")         \
    X(classifier_dropout, SHARE, UNSET, TRAIN, 0, "in place of the model's own")                   \
    X(label_smoothing_factor, SHARE, "0", TRAIN, 0,                                                \
      "classification, ner, mlm, multiple_choice: spread over all")                                \
    X(class_weights, PATH, UNSET, TRAIN, 0, "classification, ner: balanced, or a list: 1,2.5,1")   \
    /* -- single tasks: masks, pairs, answers -- */                                                \
    X(mlm_probability, PART, "0.15", HEADED, 0, "mlm, pretraining: share of tokens to predict")    \
    X(short_seq_prob, SHARE, "0.1", TRAIN | EVAL, 0, "pretraining: share of shorter pairs")        \
    X(version_2_with_negative, SWITCH, UNSET, HEADED, 0,                                           \
      "qa: maybe no answer [v2 data, or a model of it: yes]")                                      \
    X(null_score_diff_threshold, REAL, "0", HEADED, 0, "qa: no answer where [CLS] leads by more")  \
    X(n_best_size, TOP, "20", HEADED, 0, "qa: spans to choose from")                               \
    X(max_answer_length, COUNT, UNSET, HEADED, 0,                                                  \
      "qa: tokens of the longest answer [30; text: 15]")                                           \
    /* -- order, and what of the model is trained -- */                                            \
    X(train_sampling_strategy, CHOICE, "random", TRAIN, 0, "random|sequential")                    \
    X(freeze_layers, LAYERS, "0", TRAIN, 0, "the first so many layers are not trained")            \
    X(freeze_embeddings, SWITCH, UNSET, TRAIN, 0, "the embeddings are not trained")                \
    X(gradient_checkpointing, SWITCH, UNSET, FREE, 0, "less memory, more time, the same bits")     \
    X(layerwise_lr_decay, FACTOR, "1", TRAIN, 0,                                                   \
      "a layer's learning rate is this share of the next one's; the head's is whole")              \
    X(reinit_layers, LAYERS, "0", TRAIN, 0,                                                        \
      "the last so many layers, and the pooler, are drawn anew")                                   \
    X(seed, SEED, "42", TRAIN, 0, "of the order, masks, dropout and a new head")                   \
    X(seeds, LIST, UNSET, FREE, 0,                                                                 \
      "1,2,3: a run of each, in output_dir/seed-N, and a table of all")                            \
    /* -- evaluation, and the best model (dev/driver/strategy.h) -- */                             \
    X(eval_strategy, CHOICE, UNSET, FREE, 0, "no|epoch|steps [no; with --eval_file: epoch]")       \
    X(eval_steps, EVERY, UNSET, FREE, 0, "steps between two evaluations [logging_steps]")          \
    X(metric_for_best_model, NAME, UNSET, FREE, 0,                                                 \
      "what best.bin goes by [the first; with load_best_model_at_end: loss]")                      \
    X(greater_is_better, TRUTH, UNSET, FREE, 0, "is a higher one better? [true, but for a loss]")  \
    X(load_best_model_at_end, SWITCH, UNSET, FREE, 0,                                              \
      "model.bin becomes the best model, not the last")                                            \
    X(early_stopping_patience, COUNT, UNSET, TRAIN, 0,                                             \
      "so many evaluations no better end the run")                                                 \
    X(early_stopping_threshold, NUMBER, "0", TRAIN, 0, "better by no more than this is no better") \
    /* -- checkpoints (dev/driver/checkpoint.h) -- */                                              \
    X(save_strategy, CHOICE, "no", FREE, 0, "no|epoch|steps|best (Trainer: steps)")                \
    X(save_steps, EVERY, "500", FREE, 0, "steps between two checkpoints")                          \
    X(save_total_limit, COUNT, UNSET, FREE, 0, "the oldest beyond so many go; the best stays")     \
    X(resume_from_checkpoint, LAST, UNSET, FREE, 0,                                                \
      "folder of a run that was stopped: it goes on [the last in output_dir]")                     \
    /* -- the log (dev/driver/log.h) -- */                                                         \
    X(logging_strategy, CHOICE, "steps", FREE, 0, "no|epoch|steps")                                \
    X(logging_first_step, SWITCH, UNSET, FREE, 0, "a line for the first step, too")                \
    X(logging_steps, EVERY, "500", FREE, 0, "steps between two lines of the log")                  \
    X(logging_dir, PATH, UNSET, FREE, 0,                                                           \
      "folder for log.jsonl and TensorBoard's events, which a new run replaces")                   \
    X(dry_run, SWITCH, UNSET, FREE, 0, "two steps for plan, memory and speed; nothing is written") \
    /* -- answers -- */                                                                            \
    X(top_k, TOP, UNSET, PREDICT, 0, "the best so many labels, words [5], answers from text [1]")  \
    X(logits, SWITCH, UNSET, PREDICT, 0, "the raw outputs too; not of qa and mlm")                 \
    X(pooling, CHOICE, "model", EMBED, 0, "model|mean|cls|pooler")                                 \
    X(normalize, SWITCH, UNSET, EMBED, 0, "vectors of length 1")

#define FLAG_FIELD(name, kind, ...) kind##_t name;
typedef struct {
    FLAGS(FLAG_FIELD)
    int argc;
    char **argv; /* the command line */
} Options;

/* ------------------------------------------------------------------------------------------------
   The commands: name, bit, usage, help */

#define COMMANDS(X)                                                                                \
    X(train, TRAIN, "--model M --train_file D --output_dir O [--eval_file D] [...]",               \
      "fine-tune a model on labelled data, or pretrain one")                                       \
    X(eval, EVAL, "--model M --eval_file D [...]", "loss and metrics of a fine-tuned model")       \
    X(predict, PREDICT, "--model M [...] < lines.txt      (or --predict_file D)",                  \
      "a JSON object a line for each example, in order")                                           \
    X(embed, EMBED, "--model M [...] < lines.txt      (or --predict_file D)",                      \
      "a vector a line for each example, in order")                                                \
    X(encode, ENCODE, "--model M [...] < lines.txt",                                               \
      "the token ids of each line of standard input")                                              \
    X(inspect, INSPECT, "--model M [--output_file page.html] \"a text\"",                          \
      "what the model makes of a text, as a page for a browser: attention, saliency, ...")

#define FLAG_ROW(name, kind, value, takes, needs, help)                                            \
    {#name, kind, offsetof(Options, name), value, takes, needs, help},
#define COMMAND_ROW(name, bit, usage, help) {#name, usage, help, bit},
static const Flag flags[] = {FLAGS(FLAG_ROW)};
static const Command commands[] = {COMMANDS(COMMAND_ROW)};
enum { NUM_COMMANDS = sizeof commands / sizeof commands[0] };
static const Program program = {flags, sizeof flags / sizeof flags[0], commands, NUM_COMMANDS};

#endif
