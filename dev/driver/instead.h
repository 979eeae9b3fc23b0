/*
instead.h - flags that people know from elsewhere, and what train_bert does instead.
dev/check/flags.py sees that none of TrainingArguments is missing, and none of the example scripts'.
*/
#ifndef INSTEAD_H
#define INSTEAD_H

typedef struct {
    const char *whose; /* NULL: a habit */
    const char *names; /* with blanks between */
    const char *what;  /* of --flags the first that the command takes, or what happens instead */
} Instead;

static const char TRAINER[] = "Trainer", TRAINER_4[] = "Trainer (of transformers 4)",
                  SCRIPTS[] = "transformers' example scripts", TOKENIZER[] = "tokenizer.py";

static const char IN_ONE_PROCESS[] = "it is one process, and OMP_NUM_THREADS sets its threads",
                  ON_CPU[] = "it computes on the processor, and there only",
                  EACH_EPOCH[] =
                      "with --eval_file it evaluates after every epoch, or as --eval_strategy says",
                  IN_FLOAT32[] = "all numbers are float32, but for products with --bf16",
                  ADAMW[] = "the optimizer is AdamW", NO_TORCH[] = "there is no PyTorch in it",
                  IN_LOG[] = "--logging_dir has the log, and TensorBoard's events",
                  IN_DATA[] = "tokenizer.py TASK INPUT train.bin makes the data file, and knows "
                              "columns and labels",
                  HUB[] = "dev/export_hf.py --to-hf makes a folder of model.bin that can be pushed",
                  DOWNLOADED[] = "dev/download.py and dev/export_hf.py make model.bin before",
                  FROM_SCRATCH[] = "dev/export_hf.py --config config.json --tokenizer HF_FOLDER "
                                   "model.bin makes a model that train draws, from scratch",
                  LENGTH[] = "examples are cut when tokenizer.py --max_length makes the data file";

static const Instead instead[] = {
    {TRAINER, "bf16_full_eval fp16 fp16_full_eval tf32", IN_FLOAT32},
    {TRAINER,
     "activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing_kwargs "
     "auto_find_batch_size",
     "where memory is short, --gradient_checkpointing, or a smaller --per_device_train_batch_size "
     "with more --gradient_accumulation_steps, is the same step"},
    {TRAINER, "optim optim_args optim_target_modules", ADAMW},
    {TRAINER, "eval_delay eval_on_start", EACH_EPOCH},
    {TRAINER, "save_only_model save_on_each_node enable_jit_checkpoint",
     "--save_strategy makes checkpoints, of which all is needed to go on"},
    {TRAINER, "ignore_data_skip restore_callback_states_from_checkpoint",
     "--resume_from_checkpoint goes on as if the run had not been stopped"},
    {TRAINER, "do_train do_eval do_predict",
     "the commands train, eval and predict are in its place"},
    {TRAINER, "data_seed", "--seed is that of the order too"},
    {TRAINER, "full_determinism", "the same seed gives the same bits, always"},
    {TRAINER, "dataloader_drop_last", "the last batch of an epoch is used, however small it is"},
    {TRAINER,
     "dataloader_in_order dataloader_multiprocessing_context dataloader_num_workers "
     "dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor",
     "the data file is in memory, and nobody has to load it"},
    {TRAINER,
     "accelerator_config average_tokens_across_devices ddp_backend ddp_broadcast_buffers "
     "ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout deepspeed fsdp "
     "fsdp_config local_rank log_level_replica log_on_each_node parallelism_config",
     IN_ONE_PROCESS},
    {TRAINER, "use_cpu", ON_CPU},
    {TRAINER,
     "torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps "
     "use_liger_kernel liger_kernel_config",
     NO_TORCH},
    {TRAINER, "use_cache", "a cache is for decoders, and BERT is none"},
    {TRAINER, "neftune_noise_alpha", "embeddings get no noise"},
    {TRAINER, "logging_nan_inf_filter debug",
     "a loss or gradient that is not finite ends the training with a message"},
    {TRAINER, "include_num_input_tokens_seen", "the lines of the log have tokens/s"},
    {TRAINER, "disable_tqdm log_level",
     "the live line is on terminals only, and messages go to stderr"},
    {TRAINER,
     "report_to run_name project trackio_bucket_id trackio_space_id trackio_static_space_id",
     IN_LOG},
    {TRAINER,
     "batch_eval_metrics eval_accumulation_steps eval_do_concat_batches eval_use_gather_object "
     "include_for_metrics prediction_loss_only",
     "the metrics are the task's own, and are counted as batches pass"},
    {TRAINER,
     "push_to_hub hub_always_push hub_model_id hub_private_repo hub_revision hub_strategy "
     "hub_token",
     HUB},
    {TRAINER, "remove_unused_columns label_names", IN_DATA},
    {TRAINER, "length_column_name", "no batch is padded, so nothing goes by length"},
    {TRAINER, "skip_memory_metrics", "train says before its first step how much memory it takes"},

    {TRAINER_4, "adafactor", ADAMW},
    {TRAINER_4, "evaluate_during_training evaluation_strategy", "--eval_strategy"},
    {TRAINER_4, "fp16_backend fp16_opt_level half_precision_backend", IN_FLOAT32},
    {TRAINER_4, "group_by_length", "no batch is padded, so nothing goes by length"},
    {TRAINER_4, "include_inputs_for_metrics", "the metrics are the task's own"},
    {TRAINER_4, "include_tokens_per_second", "the lines of the log have tokens/s"},
    {TRAINER_4, "jit_mode_eval torchdynamo use_ipex use_legacy_prediction_loop past_index",
     NO_TORCH},
    {TRAINER_4, "no_cuda tpu_metrics_debug tpu_num_cores use_mps_device", ON_CPU},
    {TRAINER_4,
     "dispatch_batches split_batches fsdp_min_num_params fsdp_transformer_layer_cls_to_wrap "
     "mp_parameters ray_scope sharded_ddp xpu_backend",
     IN_ONE_PROCESS},
    {TRAINER_4, "per_gpu_train_batch_size", "--per_device_train_batch_size"},
    {TRAINER_4, "per_gpu_eval_batch_size", "--per_device_eval_batch_size"},
    {TRAINER_4, "push_to_hub_model_id push_to_hub_organization push_to_hub_token", HUB},
    {TRAINER_4, "save_safetensors", "dev/export_hf.py --to-hf writes safetensors"},

    {SCRIPTS, "model_name_or_path",
     "--model takes the file that 'python3 dev/export_hf.py HF_FOLDER model.bin' makes"},
    {SCRIPTS, "config_name config_overrides model_type bert_config_file config config_file",
     FROM_SCRATCH},
    {SCRIPTS, "tokenizer_name use_fast_tokenizer use_slow_tokenizer do_lower_case vocab_file",
     "model.bin has its tokenizer with it"},
    {SCRIPTS,
     "cache_dir dtype low_cpu_mem_usage model_revision token torch_dtype trust_remote_code "
     "use_auth_token",
     DOWNLOADED},
    {SCRIPTS, "ignore_mismatched_sizes init_checkpoint",
     "a head of another size is drawn anew, and train says so"},
    {SCRIPTS, "task_name", "the data file says of which task it is: tokenizer.py TASK"},
    {SCRIPTS,
     "data_dir dataset_config_name dataset_name do_regression label_column_name "
     "preprocessing_num_workers remove_columns streaming text_column_delimiter text_column_name "
     "text_column_names overwrite_cache train_split_name validation_split_name test_split_name "
     "remove_splits",
     IN_DATA},
    {SCRIPTS, "max_seq_length max_seq_len max_len", "--max_length"},
    {SCRIPTS, "max_length max_seq_length max_seq_len max_len", LENGTH},
    {SCRIPTS, "pad_to_max_length", "no batch is padded"},
    {SCRIPTS, "validation_file", "--eval_file"},
    {SCRIPTS, "test_file",
     "predict --predict_file answers a file's examples, eval --eval_file measures on it"},
    {SCRIPTS, "validation_split_percentage", "--eval_file takes a data file of its own"},
    {SCRIPTS, "max_train_samples max_eval_samples max_predict_samples",
     "a data file is used whole; --max_steps ends a training early"},
    {SCRIPTS, "label_all_tokens", "a word's label stands on its first piece"},
    {SCRIPTS, "return_entity_level_metrics", "eval prints each entity's metrics"},
    {SCRIPTS, "metric_name", "the metrics are the task's own"},
    {SCRIPTS, "shuffle_train_dataset shuffle_seed",
     "--train_sampling_strategy random goes by --seed"},
    {SCRIPTS, "num_warmup_steps", "--warmup_steps"},
    {SCRIPTS, "checkpointing_steps eval_all_checkpoints with_tracking", IN_LOG},
    {TOKENIZER,
     "labels like unlabelled multi_label doc_stride line_by_line text_column text_pair_column "
     "label_column tag_column header delimiter encoding",
     "it makes the data file before"},

    {NULL, "lr learn_rate", "--learning_rate"},
    {NULL, "epoch epochs n_epochs num_epochs max_epochs", "--num_train_epochs"},
    {NULL, "steps num_steps num_train_steps train_steps total_steps", "--max_steps"},
    {NULL, "batch batch_size bs bsz train_batch_size per_device_batch_size",
     "--per_device_train_batch_size --per_device_eval_batch_size"},
    {NULL, "eval_batch_size predict_batch_size test_batch_size", "--per_device_eval_batch_size"},
    {NULL, "accumulate accum grad_accum grad_acc_steps", "--gradient_accumulation_steps"},
    {NULL, "wd decay", "--weight_decay"},
    {NULL, "clip grad_clip clip_grad gradient_clip_val max_norm", "--max_grad_norm"},
    {NULL, "beta1", "--adam_beta1"},
    {NULL, "beta2", "--adam_beta2"},
    {NULL, "eps epsilon adam_eps", "--adam_epsilon"},
    {NULL, "warmup", "--warmup_steps"},
    {NULL, "warmup_proportion", "--warmup_ratio"},
    {NULL, "scheduler schedule lr_scheduler", "--lr_scheduler_type"},
    {NULL, "dropout dropout_prob", "--hidden_dropout_prob"},
    {NULL, "output out out_dir output_path save_dir save_path", "--output_dir"},
    {NULL, "log logs log_dir logdir tensorboard_dir", "--logging_dir"},
    {NULL, "log_every log_interval log_steps", "--logging_steps"},
    {NULL, "train_data train_data_file train_path training_file", "--train_file"},
    {NULL,
     "dev dev_data dev_file dev_path eval_data eval_data_file val_file valid_file validation_data "
     "validation",
     "--eval_file"},
    {NULL, "data data_file dataset input input_file", "--predict_file --eval_file --train_file"},
    {NULL, "model_path model_file model_dir model_name checkpoint ckpt pretrained", "--model"},
    {NULL, "random_seed manual_seed", "--seed"},
    {NULL, "num_seeds seed_list n_runs", "--seeds"},
    {NULL, "dryrun dry simulate", "--dry_run"},
    {NULL, "topk k", "--top_k"},
    {NULL, "overwrite force", "--overwrite_output_dir"},
    {NULL, "max_sequence_length seq_len seq_length maxlen", "--max_length"},
    {NULL, "max_sequence_length seq_len seq_length maxlen", LENGTH},
    {NULL, "threads num_threads n_threads jobs num_workers workers",
     "OMP_NUM_THREADS in the environment sets the threads"},
    {NULL, "device cuda gpu gpus n_gpu num_gpus", ON_CPU},
    {NULL, "resume continue", "--resume_from_checkpoint"},
    {NULL, "init tokenizer from_scratch scratch", FROM_SCRATCH},
    {NULL, "early_stopping patience", "--early_stopping_patience"},
};
enum { NUM_INSTEAD = sizeof instead / sizeof instead[0] };

/* Values that Trainer's flag of that name has, and ours does not. */
static const struct {
    const char *flag, *values, *what;
} no_choices[] = {
    {"lr_scheduler_type", "reduce_lr_on_plateau greedy",
     "goes by what was measured so far; here a schedule is a function of the step alone"},
    {"train_sampling_strategy", "group_by_length batch_rebalance",
     "no batch is padded, so nothing goes by length"},
};
enum { NUM_NO_CHOICES = sizeof no_choices / sizeof no_choices[0] };

#endif
