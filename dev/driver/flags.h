/*
flags.h - the command line: kinds of flags, parsing, help, and what a flag that is none was meant to
be. The flags themselves, and the commands, are the program's tables.
*/
#ifndef FLAGS_H
#define FLAGS_H

#include "report.h"

#include <float.h>
#include <limits.h>
#include <stddef.h>

/* Kinds of flags: name, type of its field in the options, its value in the help, what it has to be,
   and numbers' least and most. */
#define KINDS(X)                                                                                   \
    X(PATH, const char *, "PATH", "a path", 0, 0)                                                  \
    X(CHOICE, const char *, "WORD", "one of ", 0, 0)                                               \
    X(SWITCH, long long, "", "", 0, 1)                                                             \
    X(COUNT, long long, "N", "a whole number from 1 to 2147483647", 1, INT_MAX)                    \
    X(BEST, long long, "N", "a whole number from 1 to 100", 1, BERT_MOST_ANSWERS)                  \
    X(STEPS, long long, "N", "a whole number from -1 to 2147483647", -1, INT_MAX)                  \
    X(SEED, long long, "N", "a whole number from 0 to 4294967295", 0, 4294967295.0)                \
    X(REAL, double, "X", "a number", -FLT_MAX, FLT_MAX)                                            \
    X(NUMBER, double, "X", "a number >= 0", 0, FLT_MAX)                                            \
    X(POSITIVE, double, "X", "a number > 0", FLT_MIN, FLT_MAX)                                     \
    X(SHARE, double, "X", "a number >= 0 and < 1", 0, 0.99999994) /* the last float below 1 */

#define KIND_NAME(name, ...) name,
#define KIND_TYPE(name, type, ...) typedef type name##_t;
#define KIND_ROW(name, type, value, wants, low, high) {value, wants, low, high},
typedef enum { KINDS(KIND_NAME) } Kind; /* not given: NULL, 0, or from REAL on -1 */
KINDS(KIND_TYPE)

static const struct {
    const char *value, *wants;
    double low, high;
} kinds[] = {KINDS(KIND_ROW)};

typedef struct {
    const char *name;
    Kind kind;
    size_t field;      /* in the options */
    const char *value; /* the default, or "" */
    int takes, needs;  /* commands, as bits */
    const char *help;  /* CHOICE: the choices */
} Flag;

typedef struct {
    const char *name, *usage, *help;
    int bit;
} Command;

typedef struct {
    const Flag *flags;
    int num_flags;
    const Command *commands;
    int num_commands;
} Program;

/* Flags of Trainer that are not here, so that the message can say so: of transformers 5.23, then
   those that only transformers 4 had, each with = and what has taken its place, if anything. */
static const char trainer_flags[] =
    " accelerator_config activation_checkpointing activation_checkpointing_kwargs "
    "auto_find_batch_size average_tokens_across_devices batch_eval_metrics bf16 bf16_full_eval "
    "data_seed dataloader_drop_last dataloader_in_order dataloader_multiprocessing_context "
    "dataloader_num_workers dataloader_persistent_workers dataloader_pin_memory "
    "dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb "
    "ddp_find_unused_parameters ddp_static_graph ddp_timeout debug deepspeed disable_tqdm "
    "do_eval do_predict do_train enable_jit_checkpoint eval_accumulation_steps eval_delay "
    "eval_do_concat_batches eval_on_start eval_steps eval_strategy eval_use_gather_object fp16 "
    "fp16_full_eval fsdp fsdp_config full_determinism gradient_checkpointing "
    "gradient_checkpointing_kwargs greater_is_better hub_always_push hub_model_id "
    "hub_private_repo hub_revision hub_strategy hub_token ignore_data_skip include_for_metrics "
    "include_num_input_tokens_seen label_names length_column_name liger_kernel_config "
    "load_best_model_at_end local_rank log_level log_level_replica log_on_each_node "
    "logging_first_step logging_nan_inf_filter logging_strategy lr_scheduler_kwargs "
    "metric_for_best_model neftune_noise_alpha optim optim_args optim_target_modules "
    "parallelism_config prediction_loss_only project push_to_hub remove_unused_columns "
    "report_to restore_callback_states_from_checkpoint resume_from_checkpoint run_name "
    "save_on_each_node save_only_model save_steps save_strategy save_total_limit "
    "skip_memory_metrics tf32 torch_compile torch_compile_backend torch_compile_mode "
    "torch_empty_cache_steps trackio_bucket_id trackio_space_id trackio_static_space_id "
    "use_cache use_cpu use_liger_kernel "
    "adafactor =optim dispatch_batches =accelerator_config "
    "evaluate_during_training =eval_strategy evaluation_strategy =eval_strategy fp16_backend = "
    "fp16_opt_level = fsdp_min_num_params =fsdp_config "
    "fsdp_transformer_layer_cls_to_wrap =fsdp_config group_by_length =train_sampling_strategy "
    "half_precision_backend = include_inputs_for_metrics =include_for_metrics "
    "include_tokens_per_second = jit_mode_eval = mp_parameters = no_cuda =use_cpu "
    "overwrite_output_dir = past_index = per_gpu_eval_batch_size =per_device_eval_batch_size "
    "per_gpu_train_batch_size =per_device_train_batch_size push_to_hub_model_id =hub_model_id "
    "push_to_hub_organization =hub_model_id push_to_hub_token =hub_token ray_scope = "
    "save_safetensors = sharded_ddp =fsdp split_batches =accelerator_config "
    "torchdynamo =torch_compile_backend tpu_metrics_debug =debug tpu_num_cores = use_ipex = "
    "use_legacy_prediction_loop = use_mps_device = xpu_backend =ddp_backend ";

/* What follows word in the list, where it stands between separators or its ends; else NULL. */
static const char *in_list(const char *list, const char *word, char separator)
{
    size_t n = strlen(word);
    for (const char *at = list; n && (at = strstr(at, word)) != NULL; at++)
        if ((at == list || at[-1] == separator) && (at[n] == separator || !at[n])) return at + n;
    return NULL;
}

/* Stores a value in its field; 0 where it is none of the flag's kind. */
static int set_flag(void *options, const Flag *flag, const char *text)
{
    Kind kind = flag->kind;
    char *field = (char *)options + flag->field, *end;
    if (kind == PATH || kind == CHOICE) {
        memcpy(field, &text, sizeof text);
        return *text &&
               (kind == PATH || (!strchr(text, '|') && in_list(flag->help, text, '|') != NULL));
    }
    double number = strtod(text, &end);
    int good = *text && !*end && number >= kinds[kind].low && number <= kinds[kind].high;
    long long whole = good ? (long long)number : 0;
    if (kind >= REAL) memcpy(field, &number, sizeof number);
    else memcpy(field, &whole, sizeof whole);
    return good && (kind >= REAL || (double)whole == number);
}

/* Levenshtein's distance between two words of less than 64 characters. */
static int distance(const char *a, const char *b)
{
    int row[64], n = (int)strlen(b);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int corner = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int change = corner + (a[i - 1] != b[j - 1]);
            int other = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            corner = row[j];
            row[j] = change < other ? change : other;
        }
    }
    return row[n];
}

/* 1: it is a flag of Trainer, and was answered. */
static int trainer_flag(const Program *p, const char *name)
{
    const char *behind = strchr(name, ' ') ? NULL : in_list(trainer_flags, name, ' ');
    char now[64] = "";
    int known = 0;
    if (!behind) return 0;
    if (strncmp(behind, " =", 2))
        return fail("--%s is a Trainer flag that train_bert does not have", name);
    sscanf(behind + 2, "%63[^ ]", now);
    for (int i = 0; i < p->num_flags; i++) known |= !strcmp(now, p->flags[i].name);
    return fail("--%s is a Trainer flag of transformers 4%s%s%s", name,
                *now ? "; now that is --" : "", now,
                known  ? ""
                : *now ? ", which train_bert does not have"
                       : " that train_bert does not have");
}

/* The flag's index, or -1 with a message that helps. */
static int find_flag(const Program *p, const char *name, int command)
{
    int nearest = 0, least = INT_MAX;
    const char *owner = "";
    for (int i = 0; i < p->num_flags; i++) {
        int takes = p->flags[i].takes & p->commands[command].bit,
            steps = distance(name, p->flags[i].name);
        if (steps == 0 && takes) return i;
        for (int c = 0; c < p->num_commands && steps == 0; c++)
            if (p->flags[i].takes & p->commands[c].bit) owner = p->commands[c].name;
        if (!takes || steps >= least) continue;
        least = steps;
        nearest = i;
    }
    if (*owner) {
        fail("--%s is a flag of %s, not of %s", name, owner, p->commands[command].name);
    } else if (trainer_flag(p, name)) {
        return -1;
    } else if (least <= 3 + (int)strlen(name) / 4) {
        fail("--%s: no such flag. Did you mean --%s?", name, p->flags[nearest].name);
    } else {
        fail("--%s: no such flag; 'train_bert help %s' lists them", name,
             p->commands[command].name);
    }
    return -1;
}

/* Takes --name value, --name=value or --switch; returns how many arguments, 0 for an error. */
static int parse_flag(const Program *p, void *options, int command, char **argv, int left)
{
    const char *text = argv[0] + 2, *equals = strchr(text, '='), *value;
    char name[64];
    size_t n = bert_zmin_(equals ? (size_t)(equals - text) : strlen(text), sizeof name - 1);
    for (size_t i = 0; i < n; i++) name[i] = text[i] == '-' ? '_' : text[i]; /* --max-steps too */
    name[n] = '\0';
    int i = find_flag(p, name, command);
    if (i < 0) return 0;
    Kind kind = p->flags[i].kind;
    const char *choices = kind == CHOICE ? p->flags[i].help : "";
    if (kind == SWITCH && equals) return fail("--%s takes no value", name), 0;
    if (kind == SWITCH) return set_flag(options, &p->flags[i], "1");
    value = equals ? equals + 1 : left > 1 && strncmp(argv[1], "--", 2) ? argv[1] : NULL;
    if (!value) return fail("--%s needs a value: %s%s", name, kinds[kind].wants, choices), 0;
    if (!set_flag(options, &p->flags[i], value))
        return fail("--%s: '%s' is not %s%s", name, value, kinds[kind].wants, choices), 0;
    return equals ? 1 : 2;
}

static int parse(const Program *p, void *options, int command, int argc, char **argv)
{
    for (int i = 0; i < p->num_flags; i++)
        if (p->flags[i].value[0] || p->flags[i].kind >= REAL)
            set_flag(options, &p->flags[i],
                     p->flags[i].value[0] ? p->flags[i].value : "-1"); /* -1: not given */
    for (int i = 0, taken; i < argc; i += taken) {
        if (strncmp(argv[i], "--", 2))
            return fail("'%s' is not a flag; 'train_bert help %s' lists them", argv[i],
                        p->commands[command].name);
        taken = parse_flag(p, options, command, argv + i, argc - i);
        if (!taken) return 1;
    }
    for (int i = 0; i < p->num_flags; i++) {
        const char *value;
        memcpy(&value, (char *)options + p->flags[i].field,
               sizeof value); /* only paths are needed */
        if (p->flags[i].needs & p->commands[command].bit && !value)
            return fail("%s needs --%s: %s", p->commands[command].name, p->flags[i].name,
                        p->flags[i].help);
    }
    return 0;
}

/* What is written goes on behind the names where lines are broken. */
static void usage(const Program *p, FILE *to)
{
    Page page;
    FILE *f = page_begin(&page);
    fputs("train_bert: fine-tune BERT, measure it, and predict with it\n\n", f);
    for (int c = 0; c < p->num_commands; c++)
        fprintf(f, "  train_bert %-7s %s\n", p->commands[c].name, p->commands[c].usage);
    fputs("  train_bert help COMMAND\n\n", f);
    for (int c = 0; c < p->num_commands; c++)
        fprintf(f, "  %-10s %s\n", p->commands[c].name, p->commands[c].help);
    fputs("\nModels come from dev/export_hf.py, data files from tokenizer.py; OMP_NUM_THREADS sets "
          "the threads; without it, they are fewer or spin less beside other programs (Linux).\n",
          f);
    page_end(&page, to, 13);
}

static void command_usage(const Program *p, int command)
{
    Page page;
    FILE *f = page_begin(&page);
    fprintf(f, "train_bert %s: %s\n\n", p->commands[command].name, p->commands[command].help);
    for (int i = 0; i < p->num_flags; i++) {
        char left[64];
        if (!(p->flags[i].takes & p->commands[command].bit)) continue;
        snprintf(left, sizeof left, "--%s %s", p->flags[i].name, kinds[p->flags[i].kind].value);
        fprintf(f, "  %-36s %s", left, p->flags[i].help);
        if (p->flags[i].value[0]) fprintf(f, " [%s]", p->flags[i].value);
        fputs(p->flags[i].needs & p->commands[command].bit ? " (needed)\n" : "\n", f);
    }
    fputs("\nNames, meaning and [defaults] are those of Hugging Face's TrainingArguments.\n", f);
    page_end(&page, stdout, 39);
}

#endif
