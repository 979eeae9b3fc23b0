/*
bert.h - BERT in one C header: every layer forward and backward, in plain C99.

Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding"; every number follows Hugging Face's transformers (models/bert/modeling_bert.py).
One C file defines BERT_IMPLEMENTATION before the include. To compile it, for example (x86):
    cc -O3 -march=native -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math -fopenmp \
       predict.c -lm
libc, libm and 64 KB of stack in each thread are all it needs. OpenMP is optional; its threads spin
while they wait: where other programs use the cores too, set OMP_WAIT_POLICY=passive. Settings:
    BERT_STATIC              declare everything static: a private copy for one C file
    BERT_MALLOC(size), BERT_CALLOC(n, size), BERT_FREE(ptr): your own, which do as C's; all or none
    BERT_NO_SIMD             plain loops in place of vectors (slower: a reference for tests)

TWO PROGRAMS: predict MODEL "text", and train MODEL NEW; dev/export_hf.py makes a model file.
    #define BERT_IMPLEMENTATION
    #include "bert.h"
    int main(int argc, char **argv)
    {
        Bert m = {0};
        BertEncoding e = {0};
        if (argc != 3 || bert_load(&m, argv[1]) || bert_encode(&m, &e, argv[2], NULL, NULL) ||
            bert_predict(&m, &e))
            return fprintf(stderr, "predict MODEL TEXT: %s%s\n", bert_error(&m), e.message), 1;
        if (m.config.task != BERT_CLASSIFICATION)
            return fprintf(stderr, "predict: %s is no classifier\n", argv[1]), 1;
        for (int k = 0; k < m.config.K; k++) printf("label %d: %.4f\n", k, m.acts.probs[k]);
        return bert_encoding_free(&e), bert_free(&m), 0;
    }

    #define BERT_IMPLEMENTATION
    #include "bert.h"
    int main(int argc, char **argv)
    {
        const char *texts[] = {"a good film", "a dull film"};
        const int labels[] = {1, 0};
        Bert m = {0};
        BertEncoding e = {0};
        int error = argc != 3 || bert_load(&m, argv[1]) ||
                    bert_set_task(&m, BERT_CLASSIFICATION, 2, 0, NULL, 42);
        for (int i = 0; i < 2 && !error; i++) error = bert_encode(&m, &e, texts[i], NULL, NULL);
        BertBatch x = {
            .B = e.B, .tokens = e.tokens, .types = e.types, .offsets = e.offsets, .labels = labels};
        for (x.step = 1; x.step <= 20 && !error; x.step++) {
            error = bert_forward(&m, &x, 1) || bert_backward(&m, 1) ||
                    bert_adamw(&m, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, (int)x.step,
                               bert_clip_scale(bert_grad_norm(&m), 1));
            if (!error) printf("step %d: loss %.4f\n", (int)x.step, m.loss);
        }
        if (error || bert_save(&m, argv[2]))
            return fprintf(stderr, "train MODEL NEW: %s%s\n", bert_error(&m), e.message), 1;
        return bert_encoding_free(&e), bert_free(&m), 0;
    }

DIMENSIONS
    B  sequences in a batch      C   hidden size           V  vocabulary (word embeddings)
    N  tokens in a batch         NH  heads, HS = C/NH      P  positions (longest sequence)
    T  tokens of one sequence    F   intermediate size     S  token types (segments)
    L  layers                    K   labels                R  tokens that mlm predicts
    H  rows of the logits        O   their columns         OC columns that a linear makes
BATCH. Its sequences stand end to end in tokens (N) and types (N); sequence b is tokens offsets[b]
.. offsets[b+1]-1, and its positions count from 0. There is no padding and no attention mask: a
layer sees a plain (N, C) array, and only the embeddings' positions, attention and the heads know
where a sequence begins. Hugging Face computes the same numbers for tokens that are not padding.

THE MODEL, by the names of its activations:
    tokens (N) --bert_embeddings--> emb (N,C) --LayerNorm, dropout--> ln0 (N,C): x of layer 0
    x (N,C) -+--linear--> qkv (N,3C) --attention--> atty (N,C) --linear, dropout--> + --> res1 (N,C)
             +--------------------------------------------------------------------> +
    res1 --LayerNorm--> ln1 (N,C)
    ln1 ----+--linear--> fch (N,F) --activation--> fcact (N,F) --linear, dropout--> + --> res2 (N,C)
            +---------------------------------------------------------------------> +
    res2 --LayerNorm--> ln2 (N,C): x of the next layer; of the last one it is what heads read:
    classification, regression, multiple_choice: ln2's [CLS] rows = first (B,C) --linear, tanh-->
                                pooled (B,C) --dropout--> headx (B,C) --linear--> logits (B,K)
    ner (names in a text)       ln2 --dropout--> headx (N,C) --linear--> logits (N,K)
    qa (question answering)     ln2 --linear--> logits (N,2): an answer starts here, ends here
    mlm (masked language model) ln2's masked rows = mlmx (R,C) --linear--> mlmh --activation-->
                                mlmact --LayerNorm--> headx (R,C) --wte's rows--> logits (R,V)
    pretraining: mlm and nsp    pooled, as above --linear--> nsp (B,2): is it the next sentence?
    logits (H,O) --> probs (H,O), and with labels --> losses (H) --> loss
The backward goes against the arrows, from dlogits (H,O) to dx (N,C), which is first ln2's gradient,
then that of each layer's x. Where a path splits (-+-) the gradients of both branches are added.

RULES. Behind the declarations come the layers; the model, its heads, forward and backward;
optimizer, tokenizer, answers, files; arithmetic and what makes it fast are last. A name that
ends in _ is private. dX is the derivative of the loss by X. X (N,C) is N rows of C floats, flat.
THREADS. A Bert is for one thread at a time: what takes a Bert * writes into it. bert_encode,
bert_decode and bert_share only read it, and any number of threads may call them, but not beside
bert_load, bert_build, bert_set_task or bert_free. To compute in several, give each its own Bert:
    Bert mine = {0}; bert_share(&mine, &m);   on m's parameters, which nobody then changes
MICRO-BATCHES. An optimizer step may be cut into parts, each a batch whose offsets and rows count
from 0. All parts of a step have the same seed and step; the next one has another step. A part also
has its place, the number of sequences before it, and the divisor of the whole step (pretraining
also next_divisor, the sum of B). Then losses and gradients add up, the gradients to the bits of the
whole. One bert_adamw ends the step:
    double divisor = 0; for (int i = 0; i < parts; i++) divisor += bert_divisor(&m, &part[i]);
    for (int i = 0, place = 0; i < parts; place += part[i].B, i++) {
        part[i].place = place, part[i].divisor = divisor;
        if (bert_forward(&m, &part[i], 1) || bert_backward(&m, 1)) return 1;
    }
*/

#ifndef BERT_H
#define BERT_H
#define BERT_VERSION "1.0.0" /* what is new in it: CHANGELOG.md */

#include <stddef.h>
#include <stdint.h>

#ifndef BERTDEF
#if defined(BERT_STATIC)
#define BERTDEF static
#elif defined(__cplusplus)
#define BERTDEF extern "C"
#else
#define BERTDEF extern
#endif
#endif

/* ------------------------------------------------------------------------------------------------
   Names and sizes */

/* What functions return; bert_error(m) or e.message then says more. */
enum {
    BERT_OK = 0,
    BERT_EFILE = -1,   /* a file cannot be opened, read or written */
    BERT_EFORMAT = -2, /* a file is no model, or a damaged one */
    BERT_EMEMORY = -3, /* there is not enough memory */
    BERT_EINPUT = -4   /* an argument is out of range */
};

enum { BERT_GELU, BERT_GELU_TANH, BERT_RELU }; /* hidden_act: gelu, gelu_new, relu */
/* What stands for a text in bert_embed; DEFAULT: what the model says, mean where it says none. */
enum { BERT_POOL_DEFAULT, BERT_POOL_MEAN, BERT_POOL_CLS, BERT_POOL_POOLER };
/* How programs show a regression's logit. VALUE (problem_type "regression") and IDENTITY (a cross-
   encoder's activation_fn "Identity"): {"value": the logit}; SIGMOID: its label and the sigmoid. */
enum { BERT_OUT_VALUE, BERT_OUT_SIGMOID, BERT_OUT_IDENTITY };

/* The task table. Each row, whose capitals are names in bert_task, is
       BERT_ + this, name, Hugging Face class, what the head reads, columns, most labels K, loss
   A head reads rows of the encoder's output: CLS is each sequence's [CLS], through the pooler,
   TOKENS are all, MASKED those that mlm predicts; pretraining's two heads read BOTH MASKED and CLS.
   The columns of the logits tell which head it is: K is `classifier`, V is mlm's, 2 is qa_outputs.
   Multi-label classification's loss is BCE; CHOICE is CROSSENTROPY over an example's choices.

   To add a task: 1. a row here, and no more for one of these heads with one of these losses. 2. A
   head with tensors of its own: rows of BERT_TENSORS, who has them in bert_layout_ (where 2 columns
   mean qa), rows of BERT_ACTS for what its backward reads, branches in bert_head_forward_ and
   bert_head_backward_, in bert_set_ what they leave unset. 3. Other rows: a BERT_READS_,
   bert_head_rows. 4. A new loss: a BERT_LOSS_, a row in bert_loss_, branches in bert_loss_forward_
   and bert_loss_backward_, its labels' range in bert_check_labels_ (floats: bert_has_targets).
   5. A new input: a row of BERT_BATCH (one number: a field of BertBatch), bert_check_loss_. */
#define BERT_TASKS(X)                                                                              \
    X(NONE, "none", "BertModel", 0, 0, 0, NONE)                                                    \
    X(CLASSIFICATION, "classification", "BertForSequenceClassification", CLS, K, MANY,             \
      CROSSENTROPY)                                                                                \
    X(REGRESSION, "regression", "BertForSequenceClassification", CLS, K, 1, MSE)                   \
    X(NER, "ner", "BertForTokenClassification", TOKENS, K, MANY, CROSSENTROPY)                     \
    X(QA, "qa", "BertForQuestionAnswering", TOKENS, 2, 0, SPAN)                                    \
    X(MLM, "mlm", "BertForMaskedLM", MASKED, V, 0, CROSSENTROPY)                                   \
    X(PRETRAINING, "pretraining", "BertForPreTraining", BOTH, V, 0, CROSSENTROPY)                  \
    X(MULTIPLE_CHOICE, "multiple_choice", "BertForMultipleChoice", CLS, K, 1, CHOICE)

#define BERT_TASK_(TASK, ...) BERT_##TASK,
enum { BERT_TASKS(BERT_TASK_) BERT_NUM_TASKS };
/* clang-format off */
enum { BERT_LOSS_NONE, BERT_LOSS_CROSSENTROPY, BERT_LOSS_BCE, BERT_LOSS_MSE, BERT_LOSS_SPAN,
       BERT_LOSS_CHOICE }; /* in the order of bert_loss_'s rows */
enum { BERT_READS_CLS = 1, BERT_READS_TOKENS = 2, BERT_READS_MASKED = 4, BERT_READS_BOTH = 5 };
enum { BERT_COLS_K = -1, BERT_COLS_V = -2 };

typedef struct {
    const char *name, *hf_class;
    int reads, cols, most_K, loss; /* BERT_READS_...; BERT_COLS_... or a number; BERT_LOSS_... */
} BertTask;
BERTDEF const BertTask *bert_task(int task); /* its row of the table; NULL: there is none */

/* The configuration: config.json's fields, words 2..19 of a model file's header; from padding_idx
   on what else is known of model and training, words 43..51. 0 means 0, but where the row says
   otherwise. bert_check_config_ reads the ranges: task is a row of the task table, c the config. */
#define BERT_CONFIG(INT, FLOAT) /* (field, name in messages, least value, most; FLOATs: below) */  \
    INT(V, "V (vocab_size)", 1, 1 << 28)                                                           \
    INT(C, "C (hidden_size)", 1, 1 << 20)                                                          \
    INT(L, "L (num_hidden_layers)", 1, 1 << 16)                                                    \
    INT(NH, "NH (num_attention_heads)", 1, 1 << 16)                                                \
    INT(F, "F (intermediate_size)", 1, 1 << 24)                                                    \
    INT(P, "P (max_position_embeddings)", 1, 1 << 24)                                              \
    INT(S, "S (type_vocab_size)", 1, 1 << 16)                                                      \
    INT(K, "K (labels)", task && task->most_K ? 1 : 0, task ? task->most_K : INT_MAX)              \
    INT(act, "hidden_act", BERT_GELU, BERT_RELU)                                                   \
    INT(task, "task", BERT_NONE, BERT_NUM_TASKS - 1)                                               \
    INT(multi_label, "multi_label (problem type)", 0, c->task == BERT_CLASSIFICATION)              \
    INT(pooler, "pooler", 0, 1) /* the model has one (1 for every task that uses it) */            \
    FLOAT(eps, "layer_norm_eps", 0, 1)                                                             \
    FLOAT(hidden_dropout, "hidden_dropout_prob", 0, 1)                                             \
    FLOAT(att_dropout, "attention_probs_dropout_prob", 0, 1)                                       \
    FLOAT(cls_dropout, "classifier_dropout", -INFINITY, 1) /* negative: null, as hidden_dropout */ \
    FLOAT(init_range, "initializer_range", 0, 1e6)                                                 \
    INT(max_seq_length, "max_seq_length", 0, 1 << 24) /* where programs cut for embed; 0: P */     \
    INT(padding_idx, "padding_idx (pad_token_id)", -1, bert_max_(c->V, 1) - 1) /* -1: none */      \
    INT(trained_length, "trained max_length", 0, 1 << 24) /* of its training data; 0: unknown */   \
    INT(trained_pairs, "trained on", 0, 2) /* 1: single texts, 2: pairs; 0: unknown */             \
    INT(may_lack, "may_lack", 0, 1) /* qa: of questions that may lack an answer (SQuAD v2) */      \
    INT(pooling, "pooling", 0, c->pooler ? BERT_POOL_POOLER : BERT_POOL_CLS) /* BERT_POOL_... */   \
    INT(normalize, "normalize", 0, 1) /* its vectors have length 1 (sentence-transformers) */      \
    INT(activation_out, "activation_out", 0, c->task == BERT_REGRESSION ? 2 : 0) /* BERT_OUT_... */\
    INT(model_max_length, "model_max_length", 0, c->P) /* where programs cut; 0: P */              \
    INT(undrawn, "undrawn", 0, 1) /* its parameters are zeros, to be drawn by bert_init */
/* clang-format on */

#define BERT_INT_FIELD_(field, ...) int field;
#define BERT_FLOAT_FIELD_(field, ...) float field;
typedef struct {
    BERT_CONFIG(BERT_INT_FIELD_, BERT_FLOAT_FIELD_)
} BertConfig;

/* The tensor table: the one list of the parameters; a new one is a row behind wte's. Each row is
       name, group, rows, columns (1: a vector), weight decay, how it is drawn, who has it, key
   Each of the L layers has those of group LAYER. A Hugging Face key is its group's prefix and what
   the row says: "bert.embeddings." of EMBEDDINGS, "bert.encoder.layer.%d." (the layer) of LAYER,
   nothing of HEAD; {a,b,c} are joined along the rows. NORMAL is drawn from N(0, init_range).
   Memory, files, decay, freezing, gradients, dev/export_hf.py and the tests follow the table. In
   clsw, clsb and cls_dropout, cls is the classifier. Sizes and ALL are locals of bert_layout_. */
#define BERT_TENSORS(X)                                                                            \
    X(wte, EMBEDDINGS, V, C, 1, NORMAL, ALL, "word_embeddings.weight")                             \
    X(wpe, EMBEDDINGS, P, C, 1, NORMAL, ALL, "position_embeddings.weight")                         \
    X(wse, EMBEDDINGS, S, C, 1, NORMAL, ALL, "token_type_embeddings.weight")                       \
    X(ln0w, EMBEDDINGS, C, 1, 0, ONE, ALL, "LayerNorm.weight")                                     \
    X(ln0b, EMBEDDINGS, C, 1, 0, ZERO, ALL, "LayerNorm.bias")                                      \
    X(qkvw, LAYER, 3 * C, C, 1, NORMAL, ALL, "attention.self.{query,key,value}.weight")            \
    X(qkvb, LAYER, 3 * C, 1, 0, ZERO, ALL, "attention.self.{query,key,value}.bias")                \
    X(attprojw, LAYER, C, C, 1, NORMAL, ALL, "attention.output.dense.weight")                      \
    X(attprojb, LAYER, C, 1, 0, ZERO, ALL, "attention.output.dense.bias")                          \
    X(ln1w, LAYER, C, 1, 0, ONE, ALL, "attention.output.LayerNorm.weight")                         \
    X(ln1b, LAYER, C, 1, 0, ZERO, ALL, "attention.output.LayerNorm.bias")                          \
    X(fcw, LAYER, F, C, 1, NORMAL, ALL, "intermediate.dense.weight")                               \
    X(fcb, LAYER, F, 1, 0, ZERO, ALL, "intermediate.dense.bias")                                   \
    X(fcprojw, LAYER, C, F, 1, NORMAL, ALL, "output.dense.weight")                                 \
    X(fcprojb, LAYER, C, 1, 0, ZERO, ALL, "output.dense.bias")                                     \
    X(ln2w, LAYER, C, 1, 0, ONE, ALL, "output.LayerNorm.weight")                                   \
    X(ln2b, LAYER, C, 1, 0, ZERO, ALL, "output.LayerNorm.bias")                                    \
    X(poolw, HEAD, C, C, 1, NORMAL, POOLER, "bert.pooler.dense.weight")                            \
    X(poolb, HEAD, C, 1, 0, ZERO, POOLER, "bert.pooler.dense.bias")                                \
    X(clsw, HEAD, K, C, 1, NORMAL, CLASSIFIER, "classifier.weight")                                \
    X(clsb, HEAD, K, 1, 0, ZERO, CLASSIFIER, "classifier.bias")                                    \
    X(qaw, HEAD, 2, C, 1, NORMAL, QA, "qa_outputs.weight")                                         \
    X(qab, HEAD, 2, 1, 0, ZERO, QA, "qa_outputs.bias")                                             \
    X(mlmw, HEAD, C, C, 1, NORMAL, MLM, "cls.predictions.transform.dense.weight")                  \
    X(mlmb, HEAD, C, 1, 0, ZERO, MLM, "cls.predictions.transform.dense.bias")                      \
    X(mlmlnw, HEAD, C, 1, 0, ONE, MLM, "cls.predictions.transform.LayerNorm.weight")               \
    X(mlmlnb, HEAD, C, 1, 0, ZERO, MLM, "cls.predictions.transform.LayerNorm.bias")                \
    X(mlmdecb, HEAD, V, 1, 0, ZERO, MLM, "cls.predictions.bias")                                   \
    X(nspw, HEAD, 2, C, 1, NORMAL, NSP, "cls.seq_relationship.weight")                             \
    X(nspb, HEAD, 2, 1, 0, ZERO, NSP, "cls.seq_relationship.bias")

#define BERT_FLOATS_(name, ...) float *name;
typedef struct {
    BERT_TENSORS(BERT_FLOATS_)
} BertTensors; /* one pointer for each row of the table */

#define BERT_TENSOR_(name, ...) BERT_TENSOR_##name,
enum { BERT_TENSORS(BERT_TENSOR_) BERT_NUM_TENSORS };
enum { BERT_GROUP_EMBEDDINGS, BERT_GROUP_LAYER, BERT_GROUP_HEAD };
enum { BERT_DRAWN_ZERO, BERT_DRAWN_ONE, BERT_DRAWN_NORMAL };

/* A row of the table with this model's numbers. size = layers * rows * cols; 0: it has no such
   tensor. offset: in params_memory (and grads, m, v). used: 0 where the task only keeps it for
   other tasks: it gets no gradient and no weight decay. */
typedef struct {
    const char *name, *key;
    size_t layers, rows, cols, size, offset;
    int group, decay, drawn, used;
} BertTensor;

/* clang-format off */
/* Activations: name, copies, rows, columns; of the embeddings, a layer (qkv to ln2), the heads, and
   gradients, which layers use in turn. Capitals are locals of bert_layer_acts: EACH is L in
   training, for the backward, else 1; KEPT is EACH, but 1 with checkpointing. GRAD is 1 in
   training, ONLY_CLS where only [CLS] is read, NSP and POOLER where those are computed, else 0.
   Each copy starts with a cache line. With ONLY_CLS the last layer fills B rows of res1 to ln2. */
#define BERT_ACTS(X)                                                                               \
    X(emb, 1, N, C)             /* word + position + type */                                       \
    X(ln0_mean, 1, N, 1) X(ln0_rstd, 1, N, 1)                                                      \
    X(ln0, 1, N, C)             /* after LayerNorm and dropout: what the first layer reads */      \
    X(qkv, KEPT, N, 3 * C)      /* a token's query, key and value, (3, NH, HS) */                  \
    X(atty, KEPT, N, C)         /* attention's output, heads side by side */                       \
    X(attstat, KEPT, N, NH * 2) /* of each query's row of scores: maximum, sum of exp */           \
    X(res1, KEPT, N, C)         /* x + dropout(attproj(atty)) */                                   \
    X(ln1_mean, KEPT, N, 1) X(ln1_rstd, KEPT, N, 1)                                                \
    X(ln1, KEPT, N, C)                                                                             \
    X(fch, KEPT, N, F)          /* before the activation function */                               \
    X(fcact, KEPT, N, F)        /* after it */                                                     \
    X(res2, KEPT, N, C)         /* ln1 + dropout(fcproj(fcact)) */                                 \
    X(ln2_mean, KEPT, N, 1) X(ln2_rstd, KEPT, N, 1)                                                \
    X(ln2, EACH, N, C)          /* the layer's output */                                           \
    X(firstx, ONLY_CLS, B, C) X(firsty, ONLY_CLS, B, C) /* [CLS] rows of the last x and atty */    \
    X(first, POOLER, B, C)      /* [CLS] rows of its output, which the pooler reads */             \
    X(pooled, POOLER, B, C)     /* tanh(pool(first)) */                                            \
    X(mlmx, 1, R, C)            /* masked rows of the last layer's output */                       \
    X(mlmh, 1, R, C)            /* mlmx after the transform's dense */                             \
    X(mlmact, 1, R, C)          /* mlmh after the activation function */                           \
    X(mlmln_mean, 1, R, 1) X(mlmln_rstd, 1, R, 1)                                                  \
    X(headx, 1, H, C)           /* what the head's last linear reads; qa: not set */               \
    X(logits, 1, H, O)          /* H rows of O: (B,K), ner (N,K), qa (N,2), mlm (R,V) */           \
    X(probs, 1, H, O)           /* their softmax (multiple_choice: over an example's choices) or   \
                                   sigmoid; regression: not set */                                 \
    X(losses, 1, H, 1)          /* of rows; qa: of sequences; multiple_choice: of examples */      \
    X(nsp, NSP, B, 2)           /* pretraining: logits, probabilities and losses of NSP */         \
    X(nspprobs, NSP, B, 2) X(nsplosses, NSP, B, 1)                                                 \
    X(dx, GRAD, N, C)           /* the gradient of what flows from layer to layer */               \
    X(spare1, GRAD, N, C) X(spare2, GRAD, N, C) /* several in turn; spare1's last is emb's */      \
    X(dqkv, GRAD, N, 3 * C) X(dfch, GRAD, N, F) /* dfch: first fcact's, then fch's */              \
    X(dlogits, GRAD, H, O) X(dnsp, GRAD, B, 2)

/* The batch table: name, type, how many there are where it is given, in locals of bert_copy_batch_.
   A task refuses what it has no use for. Without labels and targets there is no loss. */
#define BERT_BATCH(X)                                                                              \
    X(tokens, int, N)          /* N = offsets[B] */                                                \
    X(types, int, N)                                                                               \
    X(offsets, int, B + 1)     /* sequence b is tokens offsets[b] .. offsets[b+1]-1 */             \
    X(labels, int, LABELS)     /* classification (B); ner (N), -1: none; qa (B,2): the answer's    \
                                  first and last token, counted in the sequence, 0 0 ([CLS]): none;\
                                  mlm, pretraining (R): the tokens that were masked;               \
                                  multiple_choice (B / choices): the right one, from 0 */          \
    X(targets, float, B * K)   /* instead: regression (B), multi-label (B,K) in 0..1 */            \
    X(rows, int, R)            /* mlm, pretraining: the tokens to predict, rising in 0..N-1 */     \
    X(next, int, B)            /* pretraining: 0: the second segment follows the first, 1: not */  \
    X(class_weights, float, K) /* CrossEntropyLoss's weight, BCEWithLogitsLoss's pos_weight */
/* clang-format on */

typedef struct {
    BERT_ACTS(BERT_FLOATS_)
} BertActs;
enum { BERT_NUM_ACTS = sizeof(BertActs) / sizeof(float *) };

#define BERT_ARRAY_(name, type, count) const type *name;
typedef struct {
    int B, R, place; /* place: the sequences before it in the optimizer step */
    int choices;     /* multiple_choice: an example's sequences; 0 (only without labels): B */
    BERT_BATCH(BERT_ARRAY_)
    float label_smoothing; /* classification, ner, mlm, multiple_choice: as Trainer's */
    double divisor;        /* what the sum of losses is divided by; 0: bert_divisor: the mean */
    double next_divisor;   /* the same for NSP's losses; 0: B */
    uint64_t seed, step;   /* with place they key the dropout masks */
} BertBatch;

typedef struct {
    const char *bytes; /* UTF-8; what is not is replaced */
    size_t size;
} BertText;

/* Strings as the files have them: string i is bytes[offsets[i]] .. bytes[offsets[i+1]-1]. */
typedef struct {
    size_t count;
    uint64_t *offsets;
    char *bytes;
} BertStrings;
BERTDEF BertText bert_string(const BertStrings *strings, size_t i);

/* What stands where in settings of a BertTokenizer. */
enum {
    BERT_NUM_PIECES,    /* vocabulary strings, at most V; 0: no tokenizer, and all are 0 */
    BERT_LOWER_CASE,    /* do_lower_case: 0, 1 */
    BERT_STRIP_ACCENTS, /* strip_accents: 0, 1 (null is resolved: as do_lower_case) */
    BERT_CHINESE_CHARS, /* tokenize_chinese_chars: 0, 1 */
    BERT_LONGEST_WORD,  /* in characters: 100; a longer one is [UNK] */
    BERT_ID_PAD,        /* the ids of the special tokens; -1: there is no [PAD], no [MASK] */
    BERT_ID_UNK,
    BERT_ID_CLS,
    BERT_ID_SEP,
    BERT_ID_MASK,
    BERT_NUM_ADDED, /* added tokens, which are found in a text before anything else */
    BERT_NUM_SETTINGS
};

/* The tokenizer's settings and tables, as model.bin has them. */
typedef struct {
    int32_t settings[BERT_NUM_SETTINGS]; /* header words 32..42 */
    BertStrings vocabulary;
    int32_t *added; /* (id, flags) pairs, settings[BERT_NUM_ADDED] of them */
    uint32_t *unicode;
    size_t unicode_bytes;
    uint64_t hash;              /* ties data files to this vocabulary */
    struct BertLookup_ *lookup; /* what bert_load makes of it all for bert_encode */
} BertTokenizer;

/* Memory in which each thread of a product lays out what it reads: bert_scratch_size(threads)
   floats, for one call at a time. A layer makes the same bits slowly with NULL for it. */
typedef struct {
    float *memory;
    int threads;        /* that a layer may use */
    int bf16;           /* 1: products in bfloat16, with float32 sums (the last section) */
    const int *offsets; /* bf16: of the sequences whose rows a dW sums; NULL: each row is one */
} BertScratch;

/* A model, and all that computing with it writes. Bert m = {0} is valid, also for bert_free. */
typedef struct {
    BertConfig config;
    BertTensor tensors[BERT_NUM_TENSORS];
    size_t num_parameters;
    int freeze_layers;     /* so many layers, from the first on, are not trained */
    int freeze_embeddings; /* 1: wte to ln0b are not, either: then the backward ends early, above
                              the frozen layers. Freezing saves no memory. */
    double lr_decay;   /* a layer's learning rate is this share of the next one's; 0 or 1: equal */
    int checkpointing; /* 1: training keeps ln2 of each layer; the backward makes the rest again */
    int bf16;          /* 1: products in bfloat16, all else in float32, as PyTorch's autocast */
    float *params_memory, *grads_memory, *m_memory, *v_memory; /* (num_parameters) each, or NULL */
    BertTensors params, grads;
    /* (V): 1 from a row of wte's first gradient on: till then AdamW only decays it, and norm and
       clearing skip it. Who adds to a row's gradient himself sets it, as an all-reduce does. */
    unsigned char *seen;
    /* Called by bert_backward, which has completed the gradients of a group: HEAD, LAYER L-1 .. 0,
       EMBEDDINGS, but for what is frozen. */
    void (*on_gradients)(void *user, int group, int layer);
    void *user;
    float *acts_memory, *batch_memory;
    size_t acts_room, batch_room, scratch_room; /* floats, which only grow */
    BertScratch scratch;
    BertActs acts; /* this to loss: the last forward's; of a layer's arrays, those of layer L-1 */
    int training, B, N, R;
    int act_copies;         /* KEPT's */
    int act_layer;          /* the layer whose activations they are, where act_copies is 1 */
    uint64_t *dropout_rows; /* (N+B): place << 32 | position, of tokens, then of each [CLS] */
    BertBatch batch;        /* a copy; its arrays follow dropout_rows in batch_memory */
    float loss;             /* the sum of losses / divisor (+ NSP's) */
    BertStrings labels;
    BertTokenizer tokenizer;
    long *users; /* how many Berts have this params_memory, labels and tokenizer (bert_share) */
    char message[512];
} Bert;

/* ------------------------------------------------------------------------------------------------
   The model */

BERTDEF const char *bert_error(const Bert *m);      /* what the last failure of a function was */
BERTDEF int bert_build(Bert *m, BertConfig config); /* in an empty m; its parameters are zero */
BERTDEF void bert_free(Bert *m);                    /* empties it, but for its message */

/* Draws the parameters as the table says (BertPreTrainedModel._init_weights; padding_idx: zero). */
BERTDEF int bert_init(Bert *m, uint64_t seed);

/* Makes copy, over what it had, a second Bert on m's parameters, labels, tokenizer; it has m's
   settings, but no on_gradients. While several share, they refuse to change parameters. */
BERTDEF int bert_share(Bert *copy, const Bert *m);

/* Gives the model another head: tensors that the new one shares keep their values, the others (and
   a pooler that was missing) are drawn, as from_pretrained does. labels (K strings) may be NULL.
   freeze_layers to bf16, on_gradients, user stay; gradients and AdamW's state go; trained_length
   and _pairs, may_lack, activation_out become 0. On failure only m's message changes. */
BERTDEF int bert_set_task(Bert *m, int task, int K, int multi_label, const BertStrings *labels,
                          uint64_t seed);

/* Copies the batch, whose arrays may not be m's own (of m->batch or m->acts); makes acts (logits,
   ln2, ...) and, with labels, loss. training: with dropout, and keeps what the backward needs.
   Refuses what is out of range; after a refusal there is no forward to go on from. */
BERTDEF int bert_forward(Bert *m, const BertBatch *batch, int training);

/* m->acts, but of layer 0..L-1: each has its own after a training forward without checkpointing.
   sizes is NULL or has room for BERT_NUM_ACTS + 1: floats in a copy of each, then in all. */
BERTDEF BertActs bert_layer_acts(const Bert *m, int layer, size_t *sizes);

/* Rows and columns of a task's logits; whether its loss reads targets; how many labels it reads and
   losses it has. bert_forward need not have checked the batch: what is out of range counts 0. */
BERTDEF size_t bert_head_rows(int task, size_t B, size_t N, size_t R);
BERTDEF size_t bert_head_cols(const BertConfig *c);
BERTDEF int bert_has_targets(const BertConfig *c);
BERTDEF size_t bert_count_labels(const BertConfig *c, const BertBatch *batch);
BERTDEF size_t bert_count_losses(const BertConfig *c, const BertBatch *batch);

/* What torch's "mean" divides losses by: rows with a label, or the sum of their class weights. */
BERTDEF double bert_divisor(const Bert *m, const BertBatch *batch);

/* Adds scale * d loss / d parameter to the gradients, for the last forward, a training one. */
BERTDEF int bert_backward(Bert *m, float scale);
BERTDEF void bert_zero_grad(Bert *m); /* sets the gradients to 0; bert_adamw has done so */
/* Allocates what is missing of gradients, m, v and seen, all zero, as bert_backward does. A resumed
   run then fills m, v and seen (where seen is 0, AdamW does not read a row's m and v). */
BERTDEF int bert_training_room(Bert *m);

/* The first tensor or activation in the forward's order that has a NaN or an infinity, else the
   first gradient in the backward's. NULL: none. *layer is where it is: embeddings -1, head L. */
BERTDEF const char *bert_not_finite(const Bert *m, int *layer);

/* ------------------------------------------------------------------------------------------------
   The layers: pure functions over flat arrays. They stand behind the declarations, with shapes and
   formulas; another C file that calls one declares it as it is defined. Arguments are outputs,
   inputs, weights, dimensions. A forward overwrites its outputs; a backward adds to gradients of
   parameters and overwrites those of activations (linear's may add). */

/* Dropout by a counter: element i of row r is kept or not by a hash of (key, rows[r], i), so the
   backward draws the forward's mask again, and no mask is stored. p 0: off. */
typedef struct {
    float p;
    uint64_t key;         /* bert_dropout_key(seed, step, layer, site) */
    const uint64_t *rows; /* (N): 64 bits that tell the rows apart */
} BertDropout;

/* Where the model has dropout; the first belongs to layer -1, the last to layer L. */
enum { BERT_SITE_EMBEDDINGS, BERT_SITE_ATTENTION, BERT_SITE_ATTPROJ };
enum { BERT_SITE_FCPROJ = 3, BERT_SITE_CLASSIFIER };
BERTDEF uint64_t bert_dropout_key(uint64_t seed, uint64_t step, int layer, int site);

BERTDEF size_t bert_scratch_size(int threads); /* floats */
BERTDEF int bert_bf16_units(void);             /* 1: the processor multiplies bfloat16 (AMX) */
BERTDEF int bert_threads(void);                /* that a parallel loop would have: OpenMP's, or 1 */
BERTDEF uint64_t bert_mix64(uint64_t x);       /* 64 well mixed bits of 64 */

/* ------------------------------------------------------------------------------------------------
   The optimizer */

/* The gradients' 2-norm, 0 before any backward; clip_grad_norm_'s factor for it, max_norm 0: 1. */
BERTDEF float bert_grad_norm(const Bert *m);
BERTDEF float bert_clip_scale(float norm, float max_norm);

/* AdamW (Loshchilov and Hutter 2019; torch.optim.AdamW): step counts from 1. The gradients are
   multiplied by grad_scale on the way, and are zero afterwards. Weight decay as the table says. */
BERTDEF int bert_adamw(Bert *m, float lr, float beta1, float beta2, float eps, float weight_decay,
                       int step, float grad_scale);

/* Transformers' linear schedule with warmup: a step's share of the learning rate, from step 0. */
BERTDEF double bert_linear_schedule(long step, long warmup, long total);

/* ------------------------------------------------------------------------------------------------
   The tokenizer: text to token ids, and back, as Hugging Face's BertTokenizer does it */

/* Where a token comes from: bytes and characters of its text (of its word, where the text was given
   in words); 0 0 for [CLS] and [SEP], as Hugging Face's offsets. Answers take other spans: (T,2),
   start and end, -1 -1 for every token outside the text or context, [CLS] and [SEP] among them. */
typedef struct {
    int start, end, char_start, char_end;
    int word; /* counted in its text, punctuation by itself; -1: [CLS], [SEP] */
    int text; /* 0, 1: the second of a pair; -1: [CLS], [SEP] */
} BertSpan;

/* Encoded texts, end to end as BertBatch wants them. Each bert_encode appends. One for a thread. */
typedef struct {
    int B, N;
    int *tokens, *types, *offsets; /* (N), (N), (B+1) */
    BertSpan *spans;               /* (N) */
    int cut;                       /* tokens that the last bert_encode left out */
    char message[256]; /* what was wrong, where bert_encode failed; then nothing was appended */
    size_t tokens_room, types_room, spans_room, offsets_room;
    struct BertWork_ *work;
} BertEncoding; /* BertEncoding e = {0} is valid */

enum { BERT_LONGEST_FIRST, BERT_ONLY_FIRST, BERT_ONLY_SECOND, BERT_DO_NOT_TRUNCATE };
/* All zero (or NULL): [CLS] and [SEP], the longer text cut first to fit the model's positions. */
typedef struct {
    int max_length; /* tokens of a sequence, [CLS] and [SEP] among them; 0: P */
    int truncation; /* BERT_LONGEST_FIRST, ... */
    int windows;    /* what is cut goes into further sequences (return_overflowing_tokens) */
    int stride;     /* so many tokens of one are repeated in the next */
    int no_special; /* without [CLS] and [SEP] */
    int is_words;   /* a text is given as its words (is_split_into_words) */
    int at_once;    /* windows of one call; bert_encode_more goes on while cut is above 0. 0: all */
} BertEncodeOptions;

/* A text, or a pair (pair NULL: none), that end in a zero byte; options may be NULL. */
BERTDEF int bert_encode(const Bert *m, BertEncoding *e, const char *text, const char *pair,
                        const BertEncodeOptions *options);

/* The same with any bytes; text and pair (NULL: none) are, with is_words, so many words, else 1. */
BERTDEF int bert_encode_texts(const Bert *m, BertEncoding *e, const BertText *text, int text_n,
                              const BertText *pair, int pair_n, const BertEncodeOptions *options);

BERTDEF int bert_encode_more(const Bert *m, BertEncoding *e); /* at_once: the next windows */
BERTDEF void bert_encoding_clear(BertEncoding *e);            /* empties it, keeps its memory */
BERTDEF void bert_encoding_free(BertEncoding *e);

/* Ids to text, as HF's decode: [CLS] and its like are left out with skip_special, blanks before
   punctuation go; clean_up does that once more, across tokens (clean_up_tokenization_spaces).
   Returns the text's bytes; if room was too small, out is "", and that plus 2 is enough room. */
BERTDEF size_t bert_decode(const Bert *m, char *out, size_t room, const int *ids, int n,
                           int skip_special, int clean_up);

/* The code point at s[*at], *at < n; *at moves behind it. What is not UTF-8 becomes U+FFFD, as with
   Python's errors="replace"; that the Unicode tables of BERT's models then remove from a text. */
BERTDEF uint32_t bert_utf8(const char *s, size_t n, size_t *at);
BERTDEF size_t bert_put_utf8(char *s, uint32_t c); /* at most 4 bytes; returns how many */

/* Of the model's Unicode table: whether c is a letter or a number (those of category No: in part);
   its lower case, at most 3 code points, whose number it returns (0: c stays). */
BERTDEF int bert_is_alnum(const BertTokenizer *t, uint32_t c);
BERTDEF int bert_lower_case(const BertTokenizer *t, uint32_t c, uint32_t *lower);

/* ------------------------------------------------------------------------------------------------
   Answers: what the outputs mean */

/* The forward of texts that bert_encode made ready, dropout off. mlm and pretraining predict their
   [MASK]s: row r of the logits, r < m->R, is of token m->batch.rows[r] of e->tokens. */
BERTDEF int bert_predict(Bert *m, const BertEncoding *e);

/* out (B,C): each sequence of m's last forward (with its dropout) as a vector, as in sentence-
   transformers: the tokens' mean, [CLS] or the pooler's; normalize: of length 1; -1: as m says. */
BERTDEF int bert_embed(Bert *m, float *out, int pooling, int normalize);

/* The k highest of n logits, highest first (of equals the first): their indices, and with probs
   their shares of the softmax over all n. Returns how many: k, or n where that is less. */
BERTDEF int bert_top_k(int *ids, float *probs, const float *logits, int n, int k);
BERTDEF int bert_argmax(const float *x, int n); /* of equals the first; 0 where x[0] is NaN */

/* A label of ner taken apart. B-LOC has letter B, begins 1, and LOC as kind, name and type. Of odd
   labels (LOC, E-LOC, B) Hugging Face's pipeline and seqeval make different things: the pipeline
   has kind and name, seqeval type. Where labels have no names, kind and name have no bytes. */
typedef struct {
    char letter;   /* its first: B, I, E, S, or O */
    int begins;    /* 1: it starts with B- */
    BertText kind; /* what follows B- or I-, else all of it: neighbours of one kind are joined */
    BertText name; /* what follows the first dash, else all of it: the pipeline shows this */
    BertText type; /* what follows the letter and a dash; "_" where nothing does */
} BertTag;
BERTDEF BertTag bert_tag(const BertStrings *labels, int label);

/* Named entities, as Hugging Face's token-classification pipeline joins them (aggregation_strategy
   "simple"): neighbours, also across a [SEP], with labels of one kind, up to the next B-. */
typedef struct {
    int label;       /* of its first token */
    int first, last; /* its tokens, counted in the sequence */
    int start, end;  /* in the text: its first token's start, its last token's end */
    float score;     /* mean over its tokens of the label's probability */
} BertEntity;

/* logits (T,K) and spans (T,2) of a sequence; entities has room for T. Returns how many it has. */
BERTDEF int bert_entities(BertEntity *entities, const float *logits, const int *spans, int T, int K,
                          const BertStrings *labels);

/* Question answering: the best spans of a context, whose windows are added one by one. Set the
   first four, the rest zero. run_qa takes the best of all windows, which bert_answers_end scores.
   The pipeline takes the best of each (by_window): take them after each bert_answers_add. */
enum { BERT_MOST_ANSWERS = 100 };
typedef struct {
    float start_logit, end_logit;
    int start, end; /* in the context, [start, end); 0 0: there is no answer */
    double score;   /* share of the softmax over the spans; by_window: over starts, times ends */
} BertAnswer;

typedef struct {
    int n_best, max_tokens; /* 20 and 30 in run_qa; n_best: 1 to BERT_MOST_ANSWERS */
    int may_lack;           /* SQuAD v2: that there is no answer is one of the answers */
    int by_window;          /* the pipeline's way: best is of the last window alone, and scored */
    int count, windows;
    BertAnswer best[BERT_MOST_ANSWERS + 1], none; /* best first; none: the lowest of [CLS] */
} BertAnswers;

/* One window: logits (T,2), T > 0; spans (T,2): the tokens' places in the context, else -1 -1. */
BERTDEF void bert_answers_add(BertAnswers *a, const float *logits, const int *spans, int T);

/* Scores the answers, after the last window. Returns the best one's index; -1: there is no span, or
   "no answer" (may_lack) is above it by more than threshold. */
BERTDEF int bert_answers_end(BertAnswers *a, double threshold);

/* ------------------------------------------------------------------------------------------------
   Model files */

/* Reads a model file, or copies one from memory, over m and its settings; on failure m is empty. */
BERTDEF int bert_load(Bert *m, const char *path);
BERTDEF int bert_load_memory(Bert *m, const void *data, size_t size);

/* Writes one, to path itself: against a crash, write another name, fsync it, and rename it. */
BERTDEF int bert_save(Bert *m, const char *path);

#endif /* BERT_H */

/* ============================================================================================== */
#if defined(BERT_IMPLEMENTATION) && !defined(BERT_IMPLEMENTATION_ONCE_)
#define BERT_IMPLEMENTATION_ONCE_
#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* BERT_OMP_(parallel for) is an OpenMP pragma, where there is OpenMP. Every parallel loop runs over
   what it writes, and each sum has one order: the bits do not depend on the number of threads. */
#ifdef _OPENMP
#include <omp.h>
#if defined(_MSC_VER) && !defined(__clang__)
#define BERT_OMP_(clauses) __pragma(omp clauses)
#else
#define BERT_PRAGMA_(text) _Pragma(#text)
#define BERT_OMP_(clauses) BERT_PRAGMA_(omp clauses)
#endif
#else
#define BERT_OMP_(clauses)
#endif

static int bert_min_(int a, int b) { return a < b ? a : b; }
static int bert_max_(int a, int b) { return a > b ? a : b; }
static size_t bert_zmin_(size_t a, size_t b) { return a < b ? a : b; }

/* ------------------------------------------------------------------------------------------------
   Embeddings: out[n] = wte[token] + wse[type] + wpe[position]   (BertEmbeddings, before LayerNorm)
   out (N,C), tokens and types (N), offsets (B+1), wte (V,C), wpe (P,C), wse (S,C)
   The three are added in BertEmbeddings' order: in another one the last bit differs. */

BERTDEF void bert_embeddings_forward(float *out, const int *tokens, const int *types,
                                     const int *offsets, const float *wte, const float *wpe,
                                     const float *wse, int B, int C)
{
    BERT_OMP_(parallel for)
    for (int b = 0; b < B; b++)
        for (int n = offsets[b]; n < offsets[b + 1]; n++) {
            float *out_n = out + (size_t)n * C;
            const float *te = wte + (size_t)tokens[n] * C;
            const float *pe = wpe + (size_t)(n - offsets[b]) * C;
            const float *se = wse + (size_t)types[n] * C;
            for (int i = 0; i < C; i++) out_n[i] = te[i] + se[i] + pe[i];
        }
}

/* Gradients of parameters are sums over tokens. Each thread makes a block of their channels, token
   after token: two tokens may share a row of wte, two channels never share a number. */
enum { BERT_CHANNELS_ = 64 };

/* A row of a table gets the sum of the gradients of the tokens that used it; but wte's row padding,
   [PAD]'s (-1: none), gets none from being looked up, as with torch's padding_idx. Weight decay
   moves it all the same, and so does mlm, whose decoder is wte. dwte may be NULL. */
BERTDEF void bert_embeddings_backward(float *dwte, float *dwpe, float *dwse, const float *dout,
                                      const int *tokens, const int *types, const int *offsets,
                                      int B, int C, int padding)
{
    BERT_OMP_(parallel for)
    for (int c = 0; c < C; c += BERT_CHANNELS_) {
        int width = bert_min_(BERT_CHANNELS_, C - c);
        for (int b = 0; b < B; b++)
            for (int n = offsets[b]; n < offsets[b + 1]; n++) {
                const float *d = dout + (size_t)n * C + c;
                float *pe = dwpe + (size_t)(n - offsets[b]) * C + c;
                float *se = dwse + (size_t)types[n] * C + c;
                for (int i = 0; i < width; i++) pe[i] += d[i], se[i] += d[i];
                if (!dwte || tokens[n] == padding) continue;
                for (int i = 0; i < width; i++) dwte[(size_t)tokens[n] * C + c + i] += d[i];
            }
    }
}

/* ------------------------------------------------------------------------------------------------
   What the layers compute with; what its bits may depend on stands in "Arithmetic" */

static inline float bert_fma_(float a, float b, float c); /* a * b + c, rounded once */
static inline double bert_fma64_(double a, double b, double c);
static inline float bert_sum_(const float *a, int n); /* of a[i]; bert_dot_: (a[i]-x) * (b[i]-y) */
static inline float bert_dot_(const float *a, float x, const float *b, float y, int n);
static inline float bert_max_of_(const float *a, int n, float least); /* of a[i] and least */
static inline float bert_exp_(float x);
static inline float bert_tanh_(float x);
static inline float bert_normal_cdf_(float x, float *bell); /* P(Z <= x), Z from N(0,1): for GELU */
static double bert_log_(double x);
static double bert_cos_turns_(double turns); /* cos(2 pi turns) */
static double bert_power_(double x, int n);

/* ------------------------------------------------------------------------------------------------
   LayerNorm (Ba et al. 2016): out = (inp - mean) * rstd * w + b over a row's C channels,
   rstd = 1/sqrt(variance + eps); the config's eps, 1e-12 in BERT, is inside the root.
   out, inp (N,C); mean, rstd (N); w, b (C) */

BERTDEF void bert_layernorm_forward(float *out, float *mean, float *rstd, const float *inp,
                                    const float *w, const float *b, int N, int C, float eps)
{
    BERT_OMP_(parallel for)
    for (int n = 0; n < N; n++) {
        const float *x = inp + (size_t)n * C;
        float *y = out + (size_t)n * C;
        float mu = bert_sum_(x, C) / (float)C;
        float s = 1.0f / sqrtf(bert_dot_(x, mu, x, mu, C) / (float)C + eps);
        for (int i = 0; i < C; i++) y[i] = bert_fma_((x[i] - mu) * s, w[i], b[i]);
        mean[n] = mu;
        rstd[n] = s;
    }
}

/* db (C) += sum_n dout[n], the gradient of what is added to each row, a bias; dout (N,C) */
static void bert_bias_backward_(float *db, const float *dout, int N, int C)
{
    BERT_OMP_(parallel for)
    for (int c = 0; c < C; c += BERT_CHANNELS_)
        for (int n = 0; n < N; n++)
            for (int i = c; i < bert_min_(c + BERT_CHANNELS_, C); i++)
                db[i] += dout[(size_t)n * C + i];
}

/* With norm = (inp - mean) * rstd and dnorm = dout * w:
       dw += sum_n dout * norm,  db += sum_n dout
       dinp = rstd * (dnorm - mean_c(dnorm) - norm * mean_c(dnorm * norm))
   inp[i] moves norm[j] by itself for j = i, through the mean, d mean / d inp[i] = 1/C, and through
   rstd: d variance / d inp[i] = 2/C * (inp[i] - mean), to which the mean's own move adds nothing
   (the deviations from it add up to 0), so d rstd / d inp[i] = -rstd^2 * norm[i] / C. Together
       d norm[j] / d inp[i] = rstd * ((i == j) - 1/C - norm[j] * norm[i] / C)
   dinp[i] is the sum over j of dnorm[j] times that. dinp must not be dout; dw, db may be NULL. */
BERTDEF void bert_layernorm_backward(float *dinp, float *dw, float *db, const float *dout,
                                     const float *inp, const float *mean, const float *rstd,
                                     const float *w, int N, int C)
{
    if (dw) {
        BERT_OMP_(parallel for)
        for (int c = 0; c < C; c += BERT_CHANNELS_)
            for (int n = 0; n < N; n++) {
                const float *d = dout + (size_t)n * C, *x = inp + (size_t)n * C;
                float mu = mean[n], s = rstd[n];
                for (int i = c; i < bert_min_(c + BERT_CHANNELS_, C); i++)
                    dw[i] = bert_fma_(d[i], (x[i] - mu) * s, dw[i]);
            }
    }
    if (db) bert_bias_backward_(db, dout, N, C);
    BERT_OMP_(parallel for)
    for (int n = 0; n < N; n++) {
        const float *d = dout + (size_t)n * C, *x = inp + (size_t)n * C;
        float *dx = dinp + (size_t)n * C;
        float mu = mean[n], s = rstd[n];
        for (int i = 0; i < C; i++) dx[i] = d[i] * w[i];            /* dnorm */
        float mean_dnorm = bert_sum_(dx, C) / (float)C;             /* mean_c(dnorm) */
        float along = bert_dot_(dx, 0.0f, x, mu, C) * s / (float)C; /* mean_c(dnorm * norm) */
        for (int i = 0; i < C; i++)
            dx[i] = s * bert_fma_((mu - x[i]) * s, along, dx[i] - mean_dnorm);
    }
}

/* ------------------------------------------------------------------------------------------------
   The product of matrices: c (rows, cols) = a (rows, inner) . b (inner, cols). All of BERT's but a
   few rows of mlm's dwte are calls of it. Element (i, j) of a or b is at[i * down + j * right], so
   that a matrix that lies transposed, or a head's columns among others, needs no copy; c's rows are
   ldc floats apart. */
typedef struct {
    const float *at;
    size_t down, right;
} BertMatrix_;

static BertMatrix_ bert_matrix_(const float *at, size_t down, size_t right)
{
    BertMatrix_ a = {at, down, right};
    return a;
}

/* A block of a matrix: from row i and column j on. */
static BertMatrix_ bert_from_(BertMatrix_ a, size_t i, size_t j)
{
    a.at += i * a.down + j * a.right;
    return a;
}

/* How an element of c begins. START: with start[j], a bias, or with zero where start is NULL. ADD:
   with what c holds. In both cases the inner dimension is cut into blocks of DEPTH; each block is a
   chain of multiply-adds from zero, and the blocks are added one after the other. GO_ON, for
   gradients of weights, whose inner dimension is the tokens: one chain that goes on from what c
   holds, token after token, so that a step cut into micro-batches has the bits of the whole. */
enum { BERT_START_, BERT_ADD_, BERT_GO_ON_, BERT_DEPTH_ = 384 };

#define BERT_PRODUCT_                                                                              \
    float *c, size_t ldc, BertMatrix_ a, BertMatrix_ b, int rows, int cols, int inner,             \
        const float *start, int how

static void bert_matmul_bf16_(BERT_PRODUCT_, const int *offsets); /* the last section */

/* What the product means, to the last bit; "The fast product" has the same bits. They depend on the
   element's row of a, its column of b and inner alone, not on other rows, tiles or threads. */
static void bert_matmul_plain_(BERT_PRODUCT_, const BertScratch *scratch)
{
    if (scratch && scratch->bf16) {
        bert_matmul_bf16_(c, ldc, a, b, rows, cols, inner, start, how, scratch->offsets);
        return;
    }
    const int chain = how == BERT_GO_ON_, depth = chain ? inner : BERT_DEPTH_;
    BERT_OMP_(parallel for if (!omp_in_parallel()))
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            const float *x = a.at + i * a.down, *y = b.at + j * b.right;
            float *to = c + i * ldc + j, sum = how != BERT_START_ ? *to : start ? start[j] : 0.0f;
            for (int k = 0; k < inner;) {
                float block = chain ? sum : 0.0f;
                for (int end = bert_min_(depth, inner - k) + k; k < end; k++)
                    block = bert_fma_(x[k * a.right], y[k * b.down], block);
                sum = chain ? block : sum + block;
            }
            *to = sum;
        }
}

#if defined(__GNUC__) || defined(__clang__) /* clang-cl is not __GNUC__, but all the same */
#define BERT_GNU_
#define BERT_ALIGNED_ __attribute__((aligned(64))) /* a vector in two cache lines costs twice */
#else
#define BERT_ALIGNED_
#endif

/* The product on all threads, and on the thread that calls: fast, where scratch is not NULL. */
#if defined(BERT_NO_SIMD) || !defined(BERT_GNU_)
#define bert_matmul_ bert_matmul_plain_
#define bert_matmul_serial_ bert_matmul_plain_
#else
static void bert_matmul_(BERT_PRODUCT_, const BertScratch *scratch);
static void bert_matmul_serial_(BERT_PRODUCT_, const BertScratch *scratch);
#endif

#ifdef _OPENMP
BERTDEF int bert_threads(void) { return omp_get_max_threads(); }
static inline int bert_thread_(void) { return omp_get_thread_num(); } /* which one this is */
#else
BERTDEF int bert_threads(void) { return 1; }
static inline int bert_thread_(void) { return 0; }
#endif

static inline int bert_team_(const BertScratch *scratch) /* threads of a loop that calls products */
{
    return scratch ? scratch->threads : bert_threads();
}

/* ------------------------------------------------------------------------------------------------
   Linear: out = inp . w^T + b   (torch.nn.Linear)
   out (N,OC), inp (N,C), w (OC,C), b (OC) */

BERTDEF void bert_linear_forward(float *out, const float *inp, const float *w, const float *b,
                                 int N, int C, int OC, const BertScratch *scratch)
{
    bert_matmul_(out, (size_t)OC, bert_matrix_(inp, C, 1), bert_matrix_(w, 1, C), N, OC, C, b,
                 BERT_START_, scratch);
}

/* out[n][o] = sum_c inp[n][c] * w[o][c] + b[o], so
       dinp = dout . w,  dw += dout^T . inp,  db += sum_n dout
   Each of dinp (N,C), dw, db may be NULL. add: dinp += dout . w, where two branches join. */
BERTDEF void bert_linear_backward(float *dinp, float *dw, float *db, const float *dout,
                                  const float *inp, const float *w, int N, int C, int OC, int add,
                                  const BertScratch *scratch)
{
    if (dinp)
        bert_matmul_(dinp, (size_t)C, bert_matrix_(dout, OC, 1), bert_matrix_(w, C, 1), N, C, OC,
                     NULL, add ? BERT_ADD_ : BERT_START_, scratch);
    if (dw)
        bert_matmul_(dw, (size_t)C, bert_matrix_(dout, 1, OC), bert_matrix_(inp, C, 1), OC, C, N,
                     NULL, BERT_GO_ON_, scratch);
    if (db) bert_bias_backward_(db, dout, N, OC);
}

/* ------------------------------------------------------------------------------------------------
   Random numbers: each is a hash of what it is for, the same in any thread and in a resumed run. */

/* The finalizer of splitmix64 (Steele et al. 2014). */
BERTDEF uint64_t bert_mix64(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* 32 bits for element i under a 64-bit key. Only 32-bit operations, which become vectors; the
   constants are lowbias32's (Wellons, "Prospecting for Hash Functions"). */
static inline uint32_t bert_hash32_(uint64_t key, uint32_t i)
{
    uint32_t x = i * 0x9E3779B9u + (uint32_t)key;
    x = (x ^ (x >> 16)) * 0x7FEB352Du;
    x = (x ^ (x >> 15)) + (uint32_t)(key >> 32);
    x = x * 0x846CA68Bu;
    return x ^ (x >> 16);
}

/* ------------------------------------------------------------------------------------------------
   Dropout (Srivastava et al. 2014): out = inp * keep / (1 - p), keep 0 with probability p, else 1
   out, inp (N,C). The backward is the same function: dinp = dout * keep / (1 - p). It is for
   training: no channel is relied on alone. 1 / (1 - p) keeps the mean that inference sees. */

BERTDEF uint64_t bert_dropout_key(uint64_t seed, uint64_t step, int layer, int site)
{
    uint64_t where = (uint64_t)(uint32_t)layer << 32 | (uint32_t)site;
    return bert_mix64(bert_mix64(bert_mix64(seed) ^ step) ^ where);
}

/* Row n's elements first .. first + count - 1, from out[0] and inp[0] on; out may be inp. */
static void bert_drop_row_(float *out, const float *inp, int first, int count, BertDropout drop,
                           size_t n)
{
    if (drop.p <= 0.0f) {
        if (out != inp) memcpy(out, inp, (size_t)count * sizeof *out);
        return;
    }
    uint64_t key = bert_mix64(drop.key ^ drop.rows[n]);
    uint32_t threshold = (uint32_t)(drop.p * 4294967296.0);
    float scale = 1.0f / (1.0f - drop.p);
    for (int i = 0; i < count; i++)
        out[i] = bert_hash32_(key, (uint32_t)(first + i)) >= threshold ? inp[i] * scale : 0.0f;
}

BERTDEF void bert_dropout_forward(float *out, const float *inp, int N, int C, BertDropout drop)
{
    BERT_OMP_(parallel for)
    for (int n = 0; n < N; n++)
        bert_drop_row_(out + (size_t)n * C, inp + (size_t)n * C, 0, C, drop, (size_t)n);
}

#define bert_dropout_backward bert_dropout_forward

/* ------------------------------------------------------------------------------------------------
   Self-attention (Vaswani et al. 2017; BertSelfAttention), within each sequence and head:
       score[q][k] = query[q] . key[k] / sqrt(HS)
       prob[q] = softmax(score[q]),  out[q] = sum_k dropout(prob[q][k]) * value[k]
   out (N,C), heads side by side; stat (N,NH,2): maximum and sum of exp of each row of scores;
   qkv (N,3C): a token's query, key, value, each (NH,HS); offsets (B+1)

   The T x T probabilities are never stored (FlashAttention, Dao et al. 2022). A block of queries
   walks over blocks of keys. Of the keys so far it keeps, for each query,
       top = max_k score[k],  sum = sum_k exp(score[k] - top),
       out = sum_k dropout(exp(score[k] - top)) * value[k]
   Where a block raises the maximum to top', each term needs top' in place of top, and
       exp(score[k] - top') = exp(score[k] - top) * exp(top - top'),
   so sum and out are multiplied by shrink = exp(top - top'). After the last block out / sum is the
   layer's output. top cancels in it, and is there only because exp(score[k]) might overflow. */
enum { BERT_QUERIES_ = 48, BERT_KEYS_ = 80 }; /* the backward has two such blocks on the stack */

/* A pair of a sequence and an attention head: what a thread works on at a time. */
typedef struct {
    BertMatrix_ query, key, value; /* (T,HS) */
    size_t first, at;              /* its first token; where in qkv its first query begins */
    int T, C, NH, HS, h;
    float scale;      /* 1 / sqrt(HS) */
    BertDropout drop; /* of its probabilities: element k of the row that query q's token has */
    const BertScratch *scratch;
} BertAttHead_;

static BertAttHead_ bert_att_head_(const float *qkv, const int *offsets, size_t pair, int C, int NH,
                                   BertDropout drop, const BertScratch *scratch)
{
    BertAttHead_ s;
    const size_t b = pair / (size_t)NH, row = 3 * (size_t)C;
    s.C = C, s.NH = NH, s.HS = C / NH, s.h = (int)(pair % (size_t)NH);
    s.first = (size_t)offsets[b], s.T = offsets[b + 1] - offsets[b];
    s.at = s.first * row + (size_t)s.h * s.HS;
    s.query = bert_matrix_(qkv + s.at, row, 1);
    s.key = bert_matrix_(qkv + s.at + C, row, 1);
    s.value = bert_matrix_(qkv + s.at + 2 * C, row, 1);
    s.scale = 1.0f / sqrtf((float)s.HS);
    s.drop = drop,
    s.drop.key = bert_mix64(drop.key + (uint64_t)s.h + 1); /* each head's own masks */
    s.scratch = scratch;
    return s;
}

/* p (nq,nk), rows BERT_KEYS_ apart, = x . y^T of rows q0.. of x and k0.. of y (T,HS) */
static void bert_block_(float *p, const BertAttHead_ *s, BertMatrix_ x, BertMatrix_ y, int q0,
                        int nq, int k0, int nk)
{
    x = bert_from_(x, q0, 0), y = bert_from_(y, k0, 0);
    bert_matmul_serial_(p, BERT_KEYS_, x, bert_matrix_(y.at, 1, y.down), nq, nk, s->HS, NULL,
                        BERT_START_, s->scratch);
}

/* One row p of a block, query . key, becomes exp(score - top). *max becomes top, the larger of
   itself and the row's maximum; *sum takes the row in. Returns shrink. */
static float bert_online_softmax_(float *p, int nk, float scale, float *max, float *sum)
{
    float top = scale * bert_max_of_(p, nk, -INFINITY);
    if (*max > top) top = *max;
    float shrink = bert_exp_(*max - top); /* of the first block exp(-infinity), 0 */
    for (int k = 0; k < nk; k++) p[k] = bert_exp_(bert_fma_(p[k], scale, -top));
    *max = top;
    *sum = bert_fma_(*sum, shrink, bert_sum_(p, nk));
    return shrink;
}

/* Queries q0 .. q0+nq-1 of a head: their rows of out and stat. */
static void bert_attend_(float *out, float *stat, const BertAttHead_ *s, int q0, int nq)
{
    BERT_ALIGNED_ float p[BERT_QUERIES_ * BERT_KEYS_], max[BERT_QUERIES_], sum[BERT_QUERIES_];
    const size_t C = (size_t)s->C;
    out += (s->first + q0) * C + (size_t)s->h * s->HS;
    stat += ((s->first + q0) * s->NH + s->h) * 2;
    for (int i = 0; i < nq; i++) max[i] = -INFINITY, sum[i] = 0.0f;
    for (int k0 = 0; k0 < s->T; k0 += BERT_KEYS_) {
        int nk = bert_min_(BERT_KEYS_, s->T - k0);
        bert_block_(p, s, s->query, s->key, q0, nq, k0, nk);
        for (int i = 0; i < nq; i++) {
            float *p_i = p + i * BERT_KEYS_;
            float shrink = bert_online_softmax_(p_i, nk, s->scale, &max[i], &sum[i]);
            if (k0)
                for (int c = 0; c < s->HS; c++) out[i * C + c] *= shrink;
            bert_drop_row_(p_i, p_i, k0, nk, s->drop, s->first + q0 + i);
        }
        bert_matmul_serial_(out, C, bert_matrix_(p, BERT_KEYS_, 1), bert_from_(s->value, k0, 0), nq,
                            s->HS, nk, NULL, k0 ? BERT_ADD_ : BERT_START_, s->scratch);
    }
    for (int i = 0; i < nq; i++, stat += 2 * s->NH) {
        stat[0] = max[i], stat[1] = sum[i];
        for (int c = 0; c < s->HS; c++) out[i * C + c] /= sum[i];
    }
}

BERTDEF void bert_attention_forward(float *out, float *stat, const float *qkv, const int *offsets,
                                    int B, int C, int NH, BertDropout drop,
                                    const BertScratch *scratch)
{
    BERT_OMP_(parallel for schedule(dynamic) num_threads(bert_team_(scratch)))
    for (ptrdiff_t pair = 0; pair < (ptrdiff_t)B * NH; pair++) {
        BertAttHead_ s = bert_att_head_(qkv, offsets, (size_t)pair, C, NH, drop, scratch);
        for (int q0 = 0; q0 < s.T; q0 += BERT_QUERIES_)
            bert_attend_(out, stat, &s, q0, bert_min_(BERT_QUERIES_, s.T - q0));
    }
}

/* The backward computes prob = exp(score - max) / sum again, block by block. In reverse order:
   out = drop(prob) . value, so with ddrop = dout . value^T
       dvalue = drop(prob)^T . dout,  dprob = ddrop * keep / (1 - p)
   prob = softmax(score) is e / sum, e[j] = exp(score[j]). By score[k], e[j]'s derivative is
   (j == k) * e[j] and sum's is e[k], so the quotient's is
       d prob[j] / d score[k] = ((j == k) * e[j] * sum - e[j] * e[k]) / sum^2
                              = prob[j] * ((j == k) - prob[k]), and
       dscore[k] = sum_j dprob[j] * prob[j] * ((j == k) - prob[k]) = prob[k] * (dprob[k] - mean)
   with mean = sum_j prob[j] * dprob[j], which is known before any key is seen: dropout's factor
   moves from dprob to prob, prob * dprob = drop(prob) * ddrop, and so
       mean = sum_j drop(prob)[j] * (dout . value[j]) = dout . sum_j drop(prob)[j] * value[j]
            = dout . out
   score = query . key^T / sqrt(HS), so
       dquery = dscore . key / sqrt(HS),  dkey = dscore^T . query / sqrt(HS)
   A bias of the keys adds query . bias to all scores of a query, which softmax does not see: sum_k
   dscore[k] is 0, and so is this bias' gradient, but for rounding. BERT has it all the same. */

/* Row q of two blocks: p, query . key, becomes drop(prob); d, ddrop, becomes dscore / sqrt(HS). */
static void bert_softmax_backward_(float *p, float *d, const BertAttHead_ *s, const float *stat,
                                   float mean, int q, int k0, int nk)
{
    float max = stat[0], inv = 1.0f / stat[1];
    for (int k = 0; k < nk; k++) p[k] = bert_exp_(bert_fma_(p[k], s->scale, -max)) * inv;
    bert_drop_row_(d, d, k0, nk, s->drop, s->first + q);
    for (int k = 0; k < nk; k++) d[k] = p[k] * (d[k] - mean) * s->scale;
    bert_drop_row_(p, p, k0, nk, s->drop, s->first + q);
}

/* Queries q0 .. q0+nq-1 of a head: their dquery, and what they add to all dkey and dvalue. */
static void bert_attend_backward_(float *dqkv, const float *dout, const float *out,
                                  const float *stat, const BertAttHead_ *s, int q0, int nq)
{
    BERT_ALIGNED_ float p[BERT_QUERIES_ * BERT_KEYS_], d[BERT_QUERIES_ * BERT_KEYS_];
    float mean[BERT_QUERIES_];
    const int HS = s->HS, how = q0 ? BERT_ADD_ : BERT_START_;
    const size_t C = (size_t)s->C, row = 3 * C, at = s->first * C + (size_t)s->h * HS;
    const BertMatrix_ dout_s = bert_matrix_(dout + at, C, 1);
    const BertMatrix_ query = bert_from_(s->query, q0, 0), dout_q = bert_from_(dout_s, q0, 0);
    const BertMatrix_ dscore = bert_matrix_(d, BERT_KEYS_, 1);
    const BertMatrix_ dscore_t = bert_matrix_(d, 1, BERT_KEYS_);
    const BertMatrix_ drop_t = bert_matrix_(p, 1, BERT_KEYS_);
    float *dq = dqkv + s->at + q0 * row;
    stat += ((s->first + q0) * s->NH + s->h) * 2;
    for (int i = 0; i < nq; i++)
        mean[i] = bert_dot_(dout_q.at + i * C, 0.0f, out + at + (q0 + i) * C, 0.0f, HS);
    for (int k0 = 0; k0 < s->T; k0 += BERT_KEYS_) {
        int nk = bert_min_(BERT_KEYS_, s->T - k0);
        float *dk = dqkv + s->at + C + k0 * row, *dv = dk + C;
        bert_block_(p, s, s->query, s->key, q0, nq, k0, nk);
        bert_block_(d, s, dout_s, s->value, q0, nq, k0, nk);
        for (int i = 0; i < nq; i++)
            bert_softmax_backward_(p + i * BERT_KEYS_, d + i * BERT_KEYS_, s, stat + 2 * s->NH * i,
                                   mean[i], q0 + i, k0, nk);
        bert_matmul_serial_(dv, row, drop_t, dout_q, nk, HS, nq, NULL, how, s->scratch);
        bert_matmul_serial_(dk, row, dscore_t, query, nk, HS, nq, NULL, how, s->scratch);
        bert_matmul_serial_(dq, row, dscore, bert_from_(s->key, k0, 0), nq, HS, nk, NULL,
                            k0 ? BERT_ADD_ : BERT_START_, s->scratch);
    }
}

BERTDEF void bert_attention_backward(float *dqkv, const float *dout, const float *out,
                                     const float *stat, const float *qkv, const int *offsets, int B,
                                     int C, int NH, BertDropout drop, const BertScratch *scratch)
{
    BERT_OMP_(parallel for schedule(dynamic) num_threads(bert_team_(scratch)))
    for (ptrdiff_t pair = 0; pair < (ptrdiff_t)B * NH; pair++) {
        BertAttHead_ s = bert_att_head_(qkv, offsets, (size_t)pair, C, NH, drop, scratch);
        for (int q0 = 0; q0 < s.T; q0 += BERT_QUERIES_)
            bert_attend_backward_(dqkv, dout, out, stat, &s, q0,
                                  bert_min_(BERT_QUERIES_, s.T - q0));
    }
}

/* ------------------------------------------------------------------------------------------------
   The activation function between fc and fcproj (config.json's hidden_act), element by element:
       gelu      x * cdf(x), cdf(x) = P(Z <= x) for Z from N(0,1)    (Hendrycks and Gimpel 2016)
       gelu_new  x / 2 * (1 + tanh(u)), u = sqrt(2/pi) * (x + 0.044715 x^3)
       relu      max(x, 0), whose derivative is 0 or 1, and 0 at 0
   cdf(x) = (1 + erf(x / sqrt 2)) / 2; its derivative is the density exp(-x^2/2) / sqrt(2 pi), so
       gelu' = cdf(x) + x * density(x)    (here gelu to 1.8e-7 * max(1, |x|), gelu' to 3.4e-7)
   The tanh form's (1 + tanh(u)) / 2 is the logistic function h = 1 / (1 + exp(-2u)), which loses no
   digits; its derivative is dh / du = 2 h (1 - h), so
       gelu_new = x h,  gelu_new' = h + x * 2 h (1 - h) * u',
       u' = sqrt(2/pi) * (1 + 3 * 0.044715 x^2) */

static inline float bert_gelu_(float x)
{
    float bell;
    return x * bert_normal_cdf_(x, &bell);
}

static inline float bert_dgelu_(float x)
{
    float bell, cdf = bert_normal_cdf_(x, &bell);
    return bert_fma_(0.398942280f * x, bell, cdf); /* 1 / sqrt(2 pi) */
}

static inline float bert_one_over_h_(float x)
{
    float u = 0.797884561f * bert_fma_(0.044715f, x * x * x, x); /* sqrt(2 / pi) */
    return 1.0f + bert_exp_(-2.0f * u);
}

static inline float bert_gelu_tanh_(float x) { return x / bert_one_over_h_(x); }

static inline float bert_dgelu_tanh_(float x)
{
    float h = 1.0f / bert_one_over_h_(x);
    float du = 0.797884561f * bert_fma_(3.0f * 0.044715f, x * x, 1.0f);
    float bend = h * (1.0f - h);
    return bend == 0.0f ? h : bert_fma_(2.0f * x * bend, du, h); /* 0 * infinity would be NaN */
}

/* Parallel over blocks, each of which is a plain loop, which becomes vectors. */
#define BERT_EACH_(statement)                                                                      \
    BERT_OMP_(parallel for)                                                                        \
    for (ptrdiff_t at = 0; at < (ptrdiff_t)n; at += 2048)                                          \
        for (size_t i = (size_t)at, end = bert_zmin_(i + 2048, n); i < end; i++) statement;

BERTDEF void bert_activation_forward(float *out, const float *inp, size_t n, int act)
{
    if (act == BERT_GELU) BERT_EACH_(out[i] = bert_gelu_(inp[i]))
    else if (act == BERT_GELU_TANH) BERT_EACH_(out[i] = bert_gelu_tanh_(inp[i]))
    else BERT_EACH_(out[i] = inp[i] < 0.0f ? 0.0f : inp[i])
}

/* dinp = dout * f'(inp); dinp may be dout */
BERTDEF void bert_activation_backward(float *dinp, const float *dout, const float *inp, size_t n,
                                      int act)
{
    if (act == BERT_GELU) BERT_EACH_(dinp[i] = dout[i] * bert_dgelu_(inp[i]))
    else if (act == BERT_GELU_TANH) BERT_EACH_(dinp[i] = dout[i] * bert_dgelu_tanh_(inp[i]))
    else BERT_EACH_(dinp[i] = inp[i] > 0.0f ? dout[i] : 0.0f)
}

/* ------------------------------------------------------------------------------------------------
   Residual: out = x + dropout(branch)
   out, x, branch (N,C); out may be branch. Backward: dx = dout, and dbranch is dropout's. */

BERTDEF void bert_residual_forward(float *out, const float *x, const float *branch, int N, int C,
                                   BertDropout drop)
{
    BERT_OMP_(parallel for)
    for (int n = 0; n < N; n++) {
        size_t at = (size_t)n * C;
        bert_drop_row_(out + at, branch + at, 0, C, drop, (size_t)n);
        for (int i = 0; i < C; i++) out[at + i] += x[at + i];
    }
}

/* ------------------------------------------------------------------------------------------------
   tanh, the pooler's: BertPooler is tanh(linear([CLS])); out may be inp */

BERTDEF void bert_tanh_forward(float *out, const float *inp, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = bert_tanh_(inp[i]);
}

/* out = tanh(inp), so dinp = dout * (1 - out^2); dinp may be dout */
BERTDEF void bert_tanh_backward(float *dinp, const float *dout, const float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) dinp[i] = dout[i] * bert_fma_(-out[i], out[i], 1.0f);
}

/* ------------------------------------------------------------------------------------------------
   Softmax cross-entropy (torch.nn.functional.cross_entropy with its weight and label_smoothing, one
   loss a row): probs = softmax(logits), and with W = weights, e = smoothing, y = labels[n]
       losses[n] = -(1 - e) * W[y] * log(probs[n][y]) - e / K * sum_k W[k] * log(probs[n][k])
   losses (N), probs and logits (N,K), weights (K) or NULL: ones, labels (N) in 0..K-1, negative: no
   loss; labels NULL: probabilities only. K counts classes: of mlm V. */

/* p = softmax(x). Returns log(sum_i exp(x[i] - max)), and max apart: their sum has fewer bits. */
static float bert_softmax_(float *p, float *max_x, const float *x, int n)
{
    float max = bert_max_of_(x, n, x[0]);
    double sum = 0.0;
    for (int at = 0; at < n; at += 1024) { /* by parts: they stay in the cache */
        int end = at + bert_min_(1024, n - at);
        for (int i = at; i < end; i++) p[i] = bert_exp_(x[i] - max);
        sum += bert_sum_(p + at, end - at);
    }
    float scale = (float)(1.0 / sum);
    for (int i = 0; i < n; i++) p[i] *= scale;
    *max_x = max;
    return (float)bert_log_(sum);
}

/* With rest = log(sum_j exp(logits[j] - max)), -log(probs[k]) = rest - (logits[k] - max), and
   sum_k W[k] * -log(probs[k]) = rest * sum_k W[k] - sum_k W[k] * (logits[k] - max). */
BERTDEF void bert_crossentropy_forward(float *losses, float *probs, const float *logits,
                                       const int *labels, const float *weights, float smoothing,
                                       int N, int K)
{
    float all = weights ? bert_sum_(weights, K) : (float)K;
    BERT_OMP_(parallel for if ((size_t)N * K > 4096))
    for (int n = 0; n < N; n++) {
        const float *x = logits + (size_t)n * K;
        float max, rest = bert_softmax_(probs + (size_t)n * K, &max, x, K);
        if (!labels) continue;
        losses[n] = 0.0f;
        if (labels[n] < 0) continue;
        float w = weights ? weights[labels[n]] : 1.0f;
        losses[n] = (1.0f - smoothing) * w * (rest - (x[labels[n]] - max));
        if (smoothing > 0.0f) {
            float sum = weights ? bert_dot_(weights, 0.0f, x, max, K)
                                : bert_fma_(-all, max, bert_sum_(x, K));
            losses[n] = bert_fma_(smoothing / (float)K, bert_fma_(all, rest, -sum), losses[n]);
        }
    }
}

/* -log(probs[y]) = log(sum_j exp(logits[j])) - logits[y]. The first term's derivative by logits[k]
   is exp(logits[k]) / sum_j exp(logits[j]) = probs[k], the second's is 1 for k = y, else 0:
       d -log(probs[y]) / d logits = probs - onehot(y)
   The loss is a sum of such terms: -log(probs[y]) by (1 - e) W[y], each -log(probs[k]) by e/K W[k].
   So for scale * sum_n losses[n]
       dlogits = scale * ((1 - e) W[y] (probs - onehot(y)) + e/K (probs * sum_k W[k] - W)) */
BERTDEF void bert_crossentropy_backward(float *dlogits, const float *probs, const int *labels,
                                        const float *weights, float smoothing, int N, int K,
                                        float scale)
{
    float all = weights ? bert_sum_(weights, K) : (float)K, part = scale * smoothing / (float)K;
    BERT_OMP_(parallel for if ((size_t)N * K > 4096))
    for (int n = 0; n < N; n++) {
        float *d = dlogits + (size_t)n * K;
        const float *p = probs + (size_t)n * K;
        if (labels[n] < 0) {
            memset(d, 0, (size_t)K * sizeof *d);
            continue;
        }
        volatile float w = scale * (1.0f - smoothing) * (weights ? weights[labels[n]] : 1.0f);
        float s = bert_fma_(part, all, w);
        for (int k = 0; k < K; k++) d[k] = s * p[k];
        if (part != 0.0f)
            for (int k = 0; k < K; k++) d[k] = bert_fma_(-part, weights ? weights[k] : 1.0f, d[k]);
        d[labels[n]] -= w;
    }
}

/* ------------------------------------------------------------------------------------------------
   Binary cross-entropy (torch's BCEWithLogitsLoss with its pos_weight): each label by itself,
       probs = 1 / (1 + exp(-logits)),  t = targets, W = weights
       losses[b] = mean_k -(W[k] t log(probs) + (1 - t) log(1 - probs))
   losses (B), the others (B,K), weights (K) or NULL: ones; targets NULL: probabilities only
   With x = logits, -log(probs) = log(1 + exp(-x)) and -log(1 - probs) = log(1 + exp(x)). So that
   neither overflows, they are max(-x, 0) + rest and max(x, 0) + rest, rest = log(1 + exp(-|x|)). */

BERTDEF void bert_bce_forward(float *losses, float *probs, const float *logits,
                              const float *targets, const float *weights, int B, int K)
{
    for (int b = 0; b < B; b++) {
        float sum = 0.0f;
        for (size_t i = (size_t)b * K, k = 0; k < (size_t)K; i++, k++) {
            float x = logits[i], w = weights ? weights[k] : 1.0f;
            /* log(1 + e): 1 + e is rounded to one, whose log is multiplied by e / (one - 1). */
            double e = bert_exp_(-fabsf(x)), one = 1.0 + e;
            float rest = (float)(one > 1.0 ? bert_log_(one) * (e / (one - 1.0)) : e);
            float up = (x > 0.0f ? x : 0.0f) + rest, down = (x < 0.0f ? -x : 0.0f) + rest;
            probs[i] = 1.0f / (1.0f + bert_exp_(-x));
            if (targets) sum += bert_fma_(w * targets[i], down, (1.0f - targets[i]) * up);
        }
        if (targets) losses[b] = sum / (float)K;
    }
}

/* d log(1 + exp(-x)) / dx = -exp(-x) / (1 + exp(-x)) = probs - 1, d log(1 + exp(x)) / dx = probs,
   so for scale * sum_b losses[b]
       dlogits = scale / K * (W t (probs - 1) + (1 - t) probs), that is, without weights,
       dlogits = scale / K * (probs - t) */
BERTDEF void bert_bce_backward(float *dlogits, const float *probs, const float *targets,
                               const float *weights, int B, int K, float scale)
{
    for (int b = 0; b < B; b++)
        for (size_t i = (size_t)b * K, k = 0; k < (size_t)K; i++, k++) {
            float w = weights ? weights[k] : 1.0f, t = targets[i], p = probs[i];
            dlogits[i] = scale / (float)K * bert_fma_(w * t, p - 1.0f, (1.0f - t) * p);
        }
}

/* ------------------------------------------------------------------------------------------------
   Squared error (torch.nn.MSELoss): losses[b] = (logits[b] - targets[b])^2, all (B) */

BERTDEF void bert_mse_forward(float *losses, const float *logits, const float *targets, int B)
{
    for (int b = 0; b < B; b++) losses[b] = (logits[b] - targets[b]) * (logits[b] - targets[b]);
}

/* d (x - t)^2 / dx = 2 (x - t), so for scale * sum_b losses[b]
       dlogits = scale * 2 * (logits - targets) */
BERTDEF void bert_mse_backward(float *dlogits, const float *logits, const float *targets, int B,
                               float scale)
{
    for (int b = 0; b < B; b++) dlogits[b] = scale * 2.0f * (logits[b] - targets[b]);
}

/* ------------------------------------------------------------------------------------------------
   Where an answer starts and ends (BertForQuestionAnswering): column 0 of a sequence's logits says
   how likely it starts at each of its T tokens, column 1 how likely it ends there. The classes of
   the softmax are the tokens:
       probs[:,c] = softmax(logits[:,c]) within the sequence
       losses[b] = mean_c -log(probs[labels[b][c]][c])
   losses (B), probs and logits (N,2), labels (B,2) in 0..T-1 or NULL, offsets (B+1) */

BERTDEF void bert_span_forward(float *losses, float *probs, const float *logits, const int *labels,
                               const int *offsets, int B)
{
    for (size_t b = 0; b < (size_t)B; b++) {
        const float *x = logits + 2 * (size_t)offsets[b];
        float *p = probs + 2 * (size_t)offsets[b];
        size_t n = 2 * (size_t)(offsets[b + 1] - offsets[b]);
        if (labels) losses[b] = 0.0f;
        for (size_t c = 0; c < 2; c++) {
            float max = x[c];
            double sum = 0.0;
            for (size_t i = c; i < n; i += 2) max = x[i] > max ? x[i] : max;
            for (size_t i = c; i < n; i += 2) sum += p[i] = bert_exp_(x[i] - max);
            for (size_t i = c; i < n; i += 2) p[i] = (float)(p[i] / sum);
            if (labels)
                losses[b] += 0.5f * ((float)bert_log_(sum) - (x[2 * labels[2 * b + c] + c] - max));
        }
    }
}

/* dlogits[:,c] = scale / 2 * (probs[:,c] - onehot(labels[b][c])) */
BERTDEF void bert_span_backward(float *dlogits, const float *probs, const int *labels,
                                const int *offsets, int B, float scale)
{
    for (size_t i = 0; i < 2 * (size_t)offsets[B]; i++) dlogits[i] = 0.5f * scale * probs[i];
    for (size_t b = 0; b < (size_t)B; b++)
        for (size_t c = 0; c < 2; c++)
            dlogits[2 * ((size_t)offsets[b] + labels[2 * b + c]) + c] -= 0.5f * scale;
}

/* ------------------------------------------------------------------------------------------------
   Errors, memory and strings */

BERTDEF const char *bert_error(const Bert *m) { return m->message; }

#if !defined(BERT_MALLOC) && !defined(BERT_CALLOC) && !defined(BERT_FREE)
#define BERT_MALLOC(size) malloc(size)
#define BERT_CALLOC(n, size) calloc(n, size)
#define BERT_FREE(ptr) free(ptr)
#elif !defined(BERT_MALLOC) || !defined(BERT_CALLOC) || !defined(BERT_FREE)
#error "bert.h: define all of BERT_MALLOC, BERT_CALLOC and BERT_FREE, or none"
#endif

/* n floats, zero, that start with a cache line: malloc's start 16 bytes into one, and then vectors
   lie across two lines, and two threads write to one. */
enum { BERT_LINE_ = 64 };
static float *bert_floats_(size_t n)
{
    size_t size = n < SIZE_MAX / 8 ? n * sizeof(float) + 2 * BERT_LINE_ : SIZE_MAX;
    if (size == SIZE_MAX) return NULL;
    char *memory = (char *)BERT_CALLOC(size, 1);
    if (!memory) return NULL;
    char *floats = memory + 2 * BERT_LINE_ - (uintptr_t)memory % BERT_LINE_;
    memcpy(floats - sizeof memory, &memory, sizeof memory); /* for bert_free_floats_ */
    return (float *)(void *)floats;
}

static void bert_free_floats_(float *floats)
{
    void *memory;
    if (!floats) return;
    memcpy(&memory, (char *)floats - sizeof memory, sizeof memory);
    BERT_FREE(memory);
}

/* Writes the message, cut to its room; its value is the code. A macro, so that it takes a Bert as
   well as a BertEncoding, and the compiler checks what is printed against the format. */
#define BERT_FAIL_(m, code, ...) (snprintf((m)->message, sizeof(m)->message, __VA_ARGS__), (code))
#define BERT_REFUSE_(m, ...) BERT_FAIL_(m, BERT_EINPUT, __VA_ARGS__)
#define BERT_BAD_FILE_(m, ...) BERT_FAIL_(m, BERT_EFORMAT, __VA_ARGS__)
#define BERT_NO_MEMORY_(m, ...) BERT_FAIL_(m, BERT_EMEMORY, "no memory " __VA_ARGS__)

/* a * b, or SIZE_MAX where that overflows; SIZE_MAX itself stays. */
static size_t bert_times_(size_t a, size_t b)
{
    if (a == SIZE_MAX || b == SIZE_MAX) return SIZE_MAX;
    return b && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

static size_t bert_plus_(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

BERTDEF BertText bert_string(const BertStrings *strings, size_t i)
{
    const uint64_t *at = strings->offsets + i;
    BertText text = {"", (size_t)(at[1] - at[0])};
    if (text.size) text.bytes = strings->bytes + at[0]; /* all may be empty, and bytes NULL */
    return text;
}

/* A model's own strings are one piece of memory, as in its file: the offsets, then the bytes. */
static size_t bert_table_bytes_(const BertStrings *s) { return s->count ? (s->count + 1) * 8 : 0; }
static size_t bert_strings_bytes_(const BertStrings *s)
{
    return s->count ? bert_table_bytes_(s) + (size_t)s->offsets[s->count] : 0;
}

static int bert_copy_strings_(BertStrings *to, const BertStrings *from)
{
    if (!from || !from->count) return BERT_OK;
    const size_t table = bert_table_bytes_(from), bytes = bert_strings_bytes_(from);
    to->offsets = (uint64_t *)BERT_MALLOC(bytes);
    if (!to->offsets) return BERT_EMEMORY;
    to->count = from->count;
    to->bytes = (char *)to->offsets + table;
    memcpy(to->offsets, from->offsets, table);
    if (bytes > table) memcpy(to->bytes, from->bytes, bytes - table);
    return BERT_OK;
}

/* ------------------------------------------------------------------------------------------------
   The tables: what a task, a model and a batch have */

BERTDEF const BertTask *bert_task(int task)
{
    enum { CLS = BERT_READS_CLS, TOKENS = BERT_READS_TOKENS, MASKED = BERT_READS_MASKED };
    enum { BOTH = BERT_READS_BOTH, K = BERT_COLS_K, V = BERT_COLS_V, MANY = 1 << 24 };
#define BERT_TASK_ROW_(TASK, NAME, CLASS, READS, COLS, MOST_K, LOSS)                               \
    {NAME, CLASS, READS, COLS, MOST_K, BERT_LOSS_##LOSS},
    static const BertTask tasks[] = {BERT_TASKS(BERT_TASK_ROW_)};
    return task < 0 || task >= BERT_NUM_TASKS ? NULL : &tasks[task];
}

static int bert_reads_(const Bert *m) { return bert_task(m->config.task)->reads; }

static const BertTask *bert_task_of_(const BertConfig *c) /* of what is no task NONE */
{
    return bert_task(bert_task(c->task) ? c->task : BERT_NONE);
}

static int bert_loss_kind_(const BertConfig *c)
{
    return c->multi_label ? BERT_LOSS_BCE : bert_task_of_(c)->loss;
}

BERTDEF int bert_has_targets(const BertConfig *c)
{
    const int kind = bert_loss_kind_(c);
    return kind == BERT_LOSS_BCE || kind == BERT_LOSS_MSE;
}

BERTDEF size_t bert_head_rows(int task, size_t B, size_t N, size_t R)
{
    const int reads = bert_task(task) ? bert_task(task)->reads : 0;
    if (reads & BERT_READS_MASKED) return R;
    return reads & BERT_READS_TOKENS ? N : reads & BERT_READS_CLS ? B : 0;
}

BERTDEF size_t bert_head_cols(const BertConfig *c)
{
    const int cols = bert_task_of_(c)->cols;
    return (size_t)(cols == BERT_COLS_K ? c->K : cols == BERT_COLS_V ? c->V : cols);
}

/* Fills in the tensor table for a config; returns the number of parameters, SIZE_MAX: too many. */
static size_t bert_layout_(BertTensor *t, const BertConfig *c)
{
    enum { CARRIED = 1, USED = 2 }; /* by the task; 0: no such tensor */
    const size_t V = c->V, C = c->C, L = c->L, F = c->F, P = c->P, S = c->S, K = c->K;
    const size_t layers[] = {1, L, 1}; /* of each group */
    const int cols = bert_task(c->task)->cols, reads = bert_task(c->task)->reads, ALL = USED;
    const int POOLER = reads & BERT_READS_CLS ? USED : c->pooler ? CARRIED : 0;
    const int CLASSIFIER = cols == BERT_COLS_K ? USED : 0, QA = cols == 2 ? USED : 0;
    const int MLM = cols == BERT_COLS_V ? USED : 0, NSP = reads == BERT_READS_BOTH ? USED : 0;
    size_t total = 0;
#define BERT_KEY_EMBEDDINGS_ "bert.embeddings."
#define BERT_KEY_LAYER_ "bert.encoder.layer.%d."
#define BERT_KEY_HEAD_ ""
#define BERT_TENSOR_ROW_(NAME, GROUP, ROWS, COLS, DECAY, DRAWN, WHO, KEY)                          \
    t->name = #NAME, t->key = BERT_KEY_##GROUP##_ KEY, t->rows = ROWS, t->cols = COLS;             \
    t->group = BERT_GROUP_##GROUP, t->decay = DECAY, t->drawn = BERT_DRAWN_##DRAWN;                \
    t->layers = layers[t->group], t->used = WHO == USED, t->offset = total;                        \
    t->size = WHO ? bert_times_(t->layers, bert_times_(t->rows, t->cols)) : 0;                     \
    total = bert_plus_(total, t->size);                                                            \
    t++;
    BERT_TENSORS(BERT_TENSOR_ROW_)
    return total;
}

/* Points each tensor's name into a flat array: at layer l's part where there are L of them. */
static void bert_point_(BertTensors *named, float *memory, const BertTensor *t, size_t l)
{
#define BERT_POINT_ROW_(NAME, ...)                                                                 \
    named->NAME = memory && t->size ? memory + t->offset : NULL;                                   \
    if (named->NAME && t->layers > 1) named->NAME += l * t->rows * t->cols;                        \
    t++;
    BERT_TENSORS(BERT_POINT_ROW_)
}

BERTDEF BertActs bert_layer_acts(const Bert *m, int layer, size_t *sizes)
{
    const BertConfig *c = &m->config;
    const size_t B = m->B, N = m->N, R = m->R, C = c->C, NH = c->NH, F = c->F;
    const size_t EACH = m->training ? c->L : 1, KEPT = m->act_copies, GRAD = m->training != 0;
    const size_t H = bert_head_rows(c->task, B, N, R), O = bert_head_cols(c);
    const int r = bert_reads_(m), ONLY_CLS = r == BERT_READS_CLS, NSP = r == BERT_READS_BOTH;
    const int POOLER = ONLY_CLS || NSP || (c->task == BERT_NONE && c->pooler);
    size_t total = 0, size, at;
    BertActs acts;
#define BERT_ACT_ROW_(NAME, COPIES, ROWS, COLS)                                                    \
    size = bert_plus_(bert_times_(ROWS, COLS), 15) / 16 * 16; /* whole cache lines */              \
    at = (COPIES) > 1 ? total + layer * size : total;                                              \
    total = bert_plus_(total, bert_times_(COPIES, size)); /* for so much memory may still lack */  \
    acts.NAME = (COPIES) && m->acts_memory && total <= m->acts_room ? m->acts_memory + at : NULL;  \
    if (sizes) *sizes++ = (COPIES) ? (ROWS) * (COLS) : 0;
    BERT_ACTS(BERT_ACT_ROW_)
    if (sizes) *sizes = total;
    return acts;
}

/* ------------------------------------------------------------------------------------------------
   A model: made, drawn, shared, given another head, freed */

static int bert_check_config_(Bert *m, const BertConfig *c)
{
    const BertTask *task = bert_task(c->task);
    const struct {
        const char *name;
        double value, least, most;
        int open; /* most itself is out of range */
    } rows[] = {
#define BERT_ROW_(field, name, least, most, open)                                                  \
    {name, (double)c->field, (double)(least), (double)(most), open},
#define BERT_INT_ROW_(...) BERT_ROW_(__VA_ARGS__, 0)
#define BERT_FLOAT_ROW_(...) BERT_ROW_(__VA_ARGS__, 1)
        BERT_CONFIG(BERT_INT_ROW_, BERT_FLOAT_ROW_)};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double x = rows[i].value, least = rows[i].least, most = rows[i].most;
        if (!(x >= least && (rows[i].open ? x < most : x <= most)))
            return BERT_REFUSE_(m, "%s is %.10g, not in %.10g..%s%.10g", rows[i].name, x, least,
                                rows[i].open ? "below " : "", most);
    }
    if (c->C % c->NH)
        return BERT_REFUSE_(m, "C (hidden_size) %d is no multiple of NH %d", c->C, c->NH);
    if (bert_task(c->task)->reads & BERT_READS_CLS && !c->pooler)
        return BERT_REFUSE_(m, "pooler is 0, but task %d needs one", c->task);
    return BERT_OK;
}

/* Whether (a + b) - a is computed as written; no macro tells of -fassociative-math. */
static int bert_as_written_(void)
{
    volatile float huge = 16777216.0f, one = 1.0f; /* 2^24 + 1 is rounded to 2^24 */
    float a = huge, b = one;
    return (a + b) - a == 0.0f;
}

BERTDEF int bert_build(Bert *m, BertConfig config)
{
    if (!bert_as_written_())
        return BERT_REFUSE_(m, "bert.h was compiled with -fassociative-math: wrong sums");
    int error = bert_check_config_(m, &config);
    if (error) return error;
    if (m->params_memory)
        return BERT_REFUSE_(m, "bert_build makes an empty Bert a model: free it first");
    m->config = config;
    m->num_parameters = bert_layout_(m->tensors, &config); /* SIZE_MAX: no memory has so many */
    m->users = (long *)BERT_CALLOC(1, sizeof *m->users);
    m->params_memory = m->users ? bert_floats_(m->num_parameters) : NULL;
    if (!m->params_memory) {
        bert_free(m);
        return BERT_NO_MEMORY_(m, "for the model's parameters");
    }
    *m->users = 1;
    bert_point_(&m->params, m->params_memory, m->tensors, 0);
    return BERT_OK;
}

static void bert_free_tokenizer_(BertTokenizer *t); /* where its tables are made */

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h> /* _InterlockedExchangeAdd */
#endif

/* How many Berts have m's parameters, after so many more; their threads may all ask at once. Where
   neither C99 nor the compiler has atomic numbers, one thread at a time may share and free. */
static long bert_users_(const Bert *m, long more)
{
    if (!m->users) return 0;
#ifdef BERT_GNU_
    return __atomic_add_fetch(m->users, more, __ATOMIC_ACQ_REL);
#elif defined(_MSC_VER)
    return _InterlockedExchangeAdd(m->users, more) + more;
#else
    return *m->users += more;
#endif
}

BERTDEF void bert_free(Bert *m)
{
    float *own[] = {m->grads_memory, m->m_memory,       m->v_memory,
                    m->acts_memory,  m->scratch.memory, m->batch_memory};
    char message[sizeof m->message];
    memcpy(message, m->message, sizeof message);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) bert_free_floats_(own[i]);
    BERT_FREE(m->seen);
    if (bert_users_(m, -1) <= 0) {
        bert_free_floats_(m->params_memory);
        BERT_FREE(m->labels.offsets);
        bert_free_tokenizer_(&m->tokenizer);
        BERT_FREE(m->users);
    }
    memset(m, 0, sizeof *m);
    memcpy(m->message, message, sizeof message); /* it may say why a load failed */
}

static void bert_copy_settings_(Bert *to, const Bert *from)
{
    to->freeze_layers = from->freeze_layers, to->freeze_embeddings = from->freeze_embeddings;
    to->lr_decay = from->lr_decay, to->checkpointing = from->checkpointing, to->bf16 = from->bf16;
}

BERTDEF int bert_share(Bert *copy, const Bert *m)
{
    if (copy == m) return BERT_REFUSE_(copy, "bert_share needs a second Bert");
    bert_free(copy);
    if (!m->params_memory) return BERT_REFUSE_(copy, "the model to share is empty: load one first");
    bert_users_(m, 1);
    copy->users = m->users, copy->config = m->config;
    memcpy(copy->tensors, m->tensors, sizeof m->tensors);
    copy->num_parameters = m->num_parameters;
    bert_copy_settings_(copy, m);
    copy->params_memory = m->params_memory, copy->params = m->params;
    copy->labels = m->labels, copy->tokenizer = m->tokenizer;
    return BERT_OK;
}

static int bert_check_there_(Bert *m)
{
    return m->params_memory ? BERT_OK : BERT_REFUSE_(m, "the model is empty: load one first");
}

/* Whoever writes what Berts share asks first. */
static int bert_check_alone_(Bert *m, const char *what)
{
    long users = bert_users_(m, 0);
    if (users <= 1) return BERT_OK;
    return BERT_REFUSE_(m, "%s would change the parameters of %ld Berts (bert_share)", what, users);
}

/* One number from N(0, 1), by Box and Muller. */
static float bert_normal_(uint64_t key, uint64_t i)
{
    uint64_t bits = bert_mix64(key ^ bert_mix64(i));
    double u = ((bits >> 32) + 1.0) / 4294967296.0; /* (0, 1]: log(u) is finite */
    double v = (double)(bits & 0xFFFFFFFFu) / 4294967296.0;
    return (float)(sqrt(-2.0 * bert_log_(u)) * bert_cos_turns_(v));
}

/* Draws a tensor anew, as its row says. */
static void bert_draw_(Bert *m, const BertTensor *t, uint64_t seed)
{
    float *w = m->params_memory + t->offset, same = t->drawn == BERT_DRAWN_ONE ? 1.0f : 0.0f;
    uint64_t key = bert_mix64(bert_mix64(seed) ^ (uint64_t)(t - m->tensors));
    for (size_t i = 0; i < t->size; i++)
        w[i] = t->drawn == BERT_DRAWN_NORMAL ? m->config.init_range * bert_normal_(key, i) : same;
}

BERTDEF int bert_init(Bert *m, uint64_t seed)
{
    const size_t C = (size_t)m->config.C;
    if (bert_check_there_(m) || bert_check_alone_(m, "bert_init")) return BERT_EINPUT;
    for (int i = 0; i < BERT_NUM_TENSORS; i++) bert_draw_(m, &m->tensors[i], seed);
    m->config.undrawn = 0;
    if (m->config.padding_idx >= 0)
        memset(m->params.wte + (size_t)m->config.padding_idx * C, 0, C * sizeof(float));
    return BERT_OK;
}

BERTDEF int bert_set_task(Bert *m, int task, int K, int multi_label, const BertStrings *labels,
                          uint64_t seed)
{
    Bert next;
    BertConfig config = m->config;
    memset(&next, 0, sizeof next); /* = {0}, but for a warning of clang in C++ */
    if (bert_check_there_(m) || bert_check_alone_(m, "bert_set_task")) return BERT_EINPUT;
    if (labels && labels->count && labels->count != (size_t)K)
        return BERT_REFUSE_(m, "%zu label names for K = %d", labels->count, K);
    config.task = task, config.K = K, config.multi_label = multi_label;
    if (bert_task(task) && bert_task(task)->reads & BERT_READS_CLS) config.pooler = 1;
    /* How it was trained and what its logit means was said of the old head. */
    config.trained_length = config.trained_pairs = config.may_lack = config.activation_out = 0;
    int error = bert_build(&next, config);
    if (!error && bert_copy_strings_(&next.labels, labels))
        error = BERT_NO_MEMORY_(&next, "for the labels");
    if (error) {
        bert_free(&next);
        memcpy(m->message, next.message, sizeof m->message);
        return error;
    }
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *to = &next.tensors[i], *from = &m->tensors[i];
        if (to->size && to->size == from->size)
            memcpy(next.params_memory + to->offset, m->params_memory + from->offset,
                   to->size * sizeof(float));
        else if (to->size) bert_draw_(&next, to, seed);
    }
    bert_copy_settings_(&next, m);
    next.on_gradients = m->on_gradients, next.user = m->user;
    next.tokenizer = m->tokenizer;
    memset(&m->tokenizer, 0, sizeof m->tokenizer);
    bert_free(m);
    *m = next;
    return BERT_OK;
}

/* ------------------------------------------------------------------------------------------------
   The batch: checked, copied, and memory for its activations and their gradients */

/* Makes *memory, of *room floats, one of at least n; what it held is lost. */
static int bert_reserve_(Bert *m, float **memory, size_t *room, size_t n)
{
    if (n <= *room) return BERT_OK;
    bert_free_floats_(*memory);
    *memory = bert_floats_(n);
    *room = *memory ? n : 0;
    return *memory ? BERT_OK : BERT_NO_MEMORY_(m, "for the batch");
}

/* The loss of a batch. */
typedef struct {
    int kind, weights, smoothing;  /* its function; whether it has class_weights, label_smoothing */
    size_t count, columns, labels; /* losses, columns of logits, labels (0: it reads targets) */
} BertLoss_;

static BertLoss_ bert_loss_(const BertConfig *c, const BertBatch *x)
{
    const size_t B = x->offsets ? (size_t)bert_max_(x->B, 0) : 0; /* it may not yet be checked */
    const size_t N = B ? (size_t)bert_max_(x->offsets[B], 0) : 0, R = (size_t)bert_max_(x->R, 0);
    const size_t H = bert_head_rows(c->task, B, N, R), O = bert_head_cols(c);
    const size_t n = (size_t)bert_max_(x->choices ? x->choices : x->B, 1); /* an example's */
    const int classes = bert_task_of_(c)->cols == BERT_COLS_K;
    const int one = bert_task_of_(c)->reads != BERT_READS_BOTH; /* one head, so one loss */
    const BertLoss_ kinds[] = {{BERT_LOSS_NONE, 0, 0, 0, 0, 0},
                               {BERT_LOSS_CROSSENTROPY, classes, one, H, O, H},
                               {BERT_LOSS_BCE, 1, 0, H, O, 0},
                               {BERT_LOSS_MSE, 0, 0, H, O, 0},
                               {BERT_LOSS_SPAN, 0, 0, B, O, 2 * B},
                               /* logits (B,1) are (B/n, n): a row of n classes for each example */
                               {BERT_LOSS_CROSSENTROPY, 0, 1, B / n, n, B / n}};
    return kinds[bert_loss_kind_(c)];
}

BERTDEF size_t bert_count_labels(const BertConfig *c, const BertBatch *x)
{
    return bert_loss_(c, x).labels;
}

BERTDEF size_t bert_count_losses(const BertConfig *c, const BertBatch *x)
{
    return x->labels || x->targets ? bert_loss_(c, x).count : 0;
}

/* How many numbers the arrays of a batch have; with room they are copied there, and to has them. */
static size_t bert_copy_batch_(BertBatch *to, float *room, const BertConfig *c, const BertBatch *x)
{
    const size_t B = (size_t)x->B, N = (size_t)x->offsets[B], R = (size_t)x->R, K = (size_t)c->K;
    const size_t LABELS = bert_count_labels(c, x);
    size_t total = 0;
#define BERT_COPY_ROW_(name, type, n)                                                              \
    if (room && x->name) to->name = (type *)memcpy(room + total, x->name, (n) * sizeof *room);     \
    total = bert_plus_(total, x->name ? n : 0);
    BERT_BATCH(BERT_COPY_ROW_)
    return total;
}

/* Memory for a batch's activations and products, for its dropout rows and, behind them, a copy. */
static int bert_make_room_(Bert *m, const BertBatch *x)
{
    size_t sizes[BERT_NUM_ACTS + 1], copied = bert_copy_batch_(NULL, NULL, &m->config, x);
    const size_t kept = bert_plus_(2 * ((size_t)m->N + m->B), copied);
    bert_layer_acts(m, 0, sizes);
    m->scratch.threads = bert_threads(), m->scratch.bf16 = m->bf16;
    const size_t products = bert_scratch_size(m->scratch.threads);
    int error = bert_reserve_(m, &m->acts_memory, &m->acts_room, sizes[BERT_NUM_ACTS]);
    if (!error) error = bert_reserve_(m, &m->scratch.memory, &m->scratch_room, products);
    if (!error) error = bert_reserve_(m, &m->batch_memory, &m->batch_room, kept);
    m->acts = bert_layer_acts(m, m->config.L - 1, NULL);
    return error;
}

/* Whether an array lies in memory that a forward frees or overwrites. */
static int bert_own_(const Bert *m, const void *array)
{
    const uintptr_t at = (uintptr_t)array;
    return at - (uintptr_t)m->batch_memory < m->batch_room * sizeof(float) ||
           at - (uintptr_t)m->acts_memory < m->acts_room * sizeof(float);
}

/* Refuses what would read outside a table. */
static int bert_check_batch_(Bert *m, const BertBatch *batch)
{
    const BertConfig *c = &m->config;
    if (bert_check_there_(m)) return BERT_EINPUT;
    if (c->undrawn) return BERT_REFUSE_(m, "the model has no weights yet: bert_init draws them");
    if (m->freeze_layers < 0)
        return BERT_REFUSE_(m, "freeze_layers is %d, below 0", m->freeze_layers);
#define BERT_OWN_ROW_(name, ...) || bert_own_(m, batch->name)
    if (0 BERT_BATCH(BERT_OWN_ROW_))
        return BERT_REFUSE_(m, "a batch's arrays may not be m's own: copy those of batch or acts");
    if (batch->B > 0 && !(batch->tokens && batch->types && batch->offsets))
        return BERT_REFUSE_(m, "a batch has tokens, types and offsets: one of them is NULL");
    if (batch->B < 1 || batch->offsets[0] != 0)
        return BERT_REFUSE_(m, "a batch has at least one sequence, and starts at 0");
    for (int b = 0; b < batch->B; b++) {
        int begin = batch->offsets[b], end = batch->offsets[b + 1];
        if (end <= begin || end - begin > c->P)
            return BERT_REFUSE_(m, "sequence %d has %ld tokens, not 1..%d (P)", b,
                                (long)end - begin, c->P);
        for (int n = begin; n < end; n++) {
            if (batch->tokens[n] < 0 || batch->tokens[n] >= c->V)
                return BERT_REFUSE_(m, "sequence %d: token %d is not in 0..%d (V)", b,
                                    batch->tokens[n], c->V - 1);
            if (batch->types[n] < 0 || batch->types[n] >= c->S)
                return BERT_REFUSE_(m, "sequence %d: type %d is not in 0..%d (S)", b,
                                    batch->types[n], c->S - 1);
        }
    }
    return BERT_OK;
}

/* Refuses labels, targets and rows that are out of range. */
static int bert_check_labels_(Bert *m, const BertBatch *x)
{
    const BertConfig *c = &m->config;
    const BertLoss_ loss = bert_loss_(c, x);
    const int span = loss.kind == BERT_LOSS_SPAN;
    const int least = bert_reads_(m) == BERT_READS_TOKENS && !span ? -1 : 0; /* -1: no label */
    for (size_t i = 0; x->labels && i < loss.labels; i++) {
        int most = span ? x->offsets[i / 2 + 1] - x->offsets[i / 2] : (int)loss.columns;
        if (x->labels[i] < least || x->labels[i] >= most)
            return BERT_REFUSE_(m, "label %d, number %zu, is not in %d..%d", x->labels[i], i, least,
                                most - 1);
    }
    for (size_t i = 0; x->targets && c->multi_label && i < (size_t)x->B * c->K; i++)
        if (!(x->targets[i] >= 0.0f && x->targets[i] <= 1.0f))
            return BERT_REFUSE_(m, "target %g, number %zu, is not in 0..1", x->targets[i], i);
    for (int b = 0; x->next && b < x->B; b++)
        if (x->next[b] != 0 && x->next[b] != 1)
            return BERT_REFUSE_(m, "sequence %d: next is %d, not 0 or 1", b, x->next[b]);
    for (int r = 0; r < x->R; r++) {
        const int before = r ? x->rows[r - 1] : -1;
        if (x->rows[r] <= before || x->rows[r] >= x->offsets[x->B])
            return BERT_REFUSE_(m, "row %d after %d: they rise, in 0..%d", x->rows[r], before,
                                x->offsets[x->B] - 1);
    }
    return BERT_OK;
}

/* Refuses what the task's loss does not have. */
static int bert_check_loss_(Bert *m, const BertBatch *x)
{
    const BertConfig *c = &m->config;
    const int floats = bert_has_targets(c), reads = bert_reads_(m);
    const BertLoss_ loss = bert_loss_(c, x);
    const struct {
        const char *name;
        int given, fits;
    } fields[] = {
        {"labels", x->labels != NULL, loss.kind != BERT_LOSS_NONE && !floats},
        {"targets", x->targets != NULL, floats},
        {"rows", x->R > 0, reads & BERT_READS_MASKED},
        {"next", x->next != NULL, reads == BERT_READS_BOTH},
        {"class_weights", x->class_weights != NULL, loss.weights},
        {"label_smoothing", x->label_smoothing != 0.0f, loss.smoothing},
        {"choices", x->choices != 0, bert_loss_kind_(c) == BERT_LOSS_CHOICE},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].given && !fields[i].fits)
            return BERT_REFUSE_(m, "%s: not with task %d%s", fields[i].name, c->task,
                                floats && x->labels ? ", whose loss reads targets" : "");
    if (x->R < 0 || (x->R > 0 && !x->rows))
        return BERT_REFUSE_(m, "R is %d, rows are %s", x->R, x->rows ? "there" : "NULL");
    for (int k = 0; x->class_weights && k < c->K; k++)
        if (!(x->class_weights[k] >= 0.0f && x->class_weights[k] < INFINITY))
            return BERT_REFUSE_(m, "class weight %d is %g", k, x->class_weights[k]);
    if (!(x->label_smoothing >= 0.0f && x->label_smoothing < 1.0f))
        return BERT_REFUSE_(m, "label_smoothing is %g, not in [0, 1)", x->label_smoothing);
    if (bert_loss_kind_(c) == BERT_LOSS_CHOICE && (x->labels || x->choices) &&
        (x->choices < 2 || x->B % x->choices))
        return BERT_REFUSE_(m, "choices %d must be 2 or more and divide B = %d", x->choices, x->B);
    if (!(x->divisor >= 0.0 && x->next_divisor >= 0.0))
        return BERT_REFUSE_(m, "a divisor is negative: %g, %g", x->divisor, x->next_divisor);
    return bert_check_labels_(m, x);
}

BERTDEF double bert_divisor(const Bert *m, const BertBatch *batch)
{
    const BertLoss_ loss = bert_loss_(&m->config, batch);
    const float *weights = loss.weights ? batch->class_weights : NULL;
    double sum = 0.0;
    if (!batch->labels || loss.kind == BERT_LOSS_SPAN) return (double)loss.count;
    for (size_t i = 0; i < loss.labels; i++)
        if (batch->labels[i] >= 0 && (size_t)batch->labels[i] < loss.columns)
            sum += weights ? weights[batch->labels[i]] : 1.0f;
    return sum;
}

/* Keeps a copy of the batch for the backward, behind the dropout rows. */
static void bert_keep_batch_(Bert *m, const BertBatch *x)
{
    float *room = m->batch_memory + 2 * ((size_t)x->offsets[x->B] + (size_t)x->B);
    BertBatch *to = &m->batch;
    *to = *x;
    bert_copy_batch_(to, room, &m->config, x);
    if (to->divisor == 0.0) to->divisor = bert_divisor(m, x);
    if (to->divisor == 0.0) to->divisor = 1.0; /* nothing has a label: the loss is 0, not 0 / 0 */
    if (to->next_divisor == 0.0) to->next_divisor = (double)x->B;
}

static void bert_key_rows_(Bert *m, const BertBatch *x)
{
    m->dropout_rows = (uint64_t *)(void *)m->batch_memory;
    for (int b = 0; b < x->B; b++) {
        uint64_t place = ((uint64_t)x->place + (uint64_t)b) << 32;
        for (int n = x->offsets[b], at = 0; n < x->offsets[b + 1]; n++)
            m->dropout_rows[n] = place | (uint64_t)at++;
        m->dropout_rows[x->offsets[x->B] + b] = place;
    }
}

/* ------------------------------------------------------------------------------------------------
   The encoder: embeddings and L layers */

/* The dropout of one site over n rows, all N tokens or the B [CLS] ones; none outside training. */
static BertDropout bert_site_(const Bert *m, int layer, int site, int n)
{
    const BertConfig *c = &m->config;
    float p = site == BERT_SITE_ATTENTION ? c->att_dropout : c->hidden_dropout;
    if (site == BERT_SITE_CLASSIFIER && c->cls_dropout >= 0.0f) p = c->cls_dropout;
    /* Where B is N, each sequence is its [CLS] alone, and both have the same rows. */
    BertDropout drop = {m->training ? p : 0.0f, 0, m->dropout_rows + (n == m->N ? 0 : m->N)};
    drop.key = bert_dropout_key(m->batch.seed, m->batch.step, layer, site);
    return drop;
}

/* What layer l hands on (N,C); -1: the embeddings. */
static float *bert_output_(const Bert *m, int l)
{
    return l < 0 ? m->acts.ln0 : bert_layer_acts(m, l, NULL).ln2;
}

/* out (n,C) = rows of x (N,C): the [CLS] ones, where rows is offsets, or the masked ones. */
static void bert_gather_(float *out, const float *x, const int *rows, int n, int C)
{
    for (int r = 0; r < n; r++)
        memcpy(out + (size_t)r * C, x + (size_t)rows[r] * C, (size_t)C * sizeof *x);
}

/* bert_gather_'s backward: dx (N,C) is zero but in those rows, which rise. dout (n,C) may be dx. */
static void bert_scatter_(float *dx, const float *dout, const int *rows, int n, int N, int C)
{
    int end = N; /* the rows from here on are done */
    for (int r = n - 1; r >= 0; end = rows[r--]) {
        float *to = dx + (size_t)rows[r] * C;
        memmove(to, dout + (size_t)r * C, (size_t)C * sizeof *dx);
        memset(to + C, 0, (size_t)(end - rows[r] - 1) * C * sizeof *dx);
    }
    memset(dx, 0, (size_t)end * C * sizeof *dx);
}

/* Whether only the [CLS] rows of a layer are read: no others are computed after its attention. */
static int bert_cls_only_(const Bert *m, int l)
{
    return l == m->config.L - 1 && bert_reads_(m) == BERT_READS_CLS;
}

/* BertLayer. At inference, where all layers share one copy of their activations, its input x and
   output ln2 are one array: ln2 is written last, when x has been read. */
static void bert_layer_forward_(Bert *m, int l)
{
    const BertConfig *c = &m->config;
    const int B = m->B, N = m->N, C = c->C, F = c->F, NH = c->NH, *offsets = m->batch.offsets;
    const int cls = bert_cls_only_(m, l), n = cls ? B : N; /* rows after the attention */
    const BertScratch *s = &m->scratch;
    BertTensors w;
    const BertActs a = bert_layer_acts(m, l, NULL);
    const BertDropout drop = bert_site_(m, l, BERT_SITE_ATTENTION, N);
    const float *x = bert_output_(m, l - 1), *y = a.atty;
    bert_point_(&w, m->params_memory, m->tensors, l);
    bert_linear_forward(a.qkv, x, w.qkvw, w.qkvb, N, C, 3 * C, s);
    bert_attention_forward(a.atty, a.attstat, a.qkv, offsets, B, C, NH, drop, s);
    if (cls) {
        bert_gather_(a.firstx, x, offsets, B, C);
        bert_gather_(a.firsty, y, offsets, B, C);
        x = a.firstx, y = a.firsty;
    }
    bert_linear_forward(a.res1, y, w.attprojw, w.attprojb, n, C, C, s);
    bert_residual_forward(a.res1, x, a.res1, n, C, bert_site_(m, l, BERT_SITE_ATTPROJ, n));
    bert_layernorm_forward(a.ln1, a.ln1_mean, a.ln1_rstd, a.res1, w.ln1w, w.ln1b, n, C, c->eps);
    bert_linear_forward(a.fch, a.ln1, w.fcw, w.fcb, n, C, F, s);
    bert_activation_forward(a.fcact, a.fch, (size_t)n * F, c->act);
    bert_linear_forward(a.res2, a.fcact, w.fcprojw, w.fcprojb, n, F, C, s);
    bert_residual_forward(a.res2, a.ln1, a.res2, n, C, bert_site_(m, l, BERT_SITE_FCPROJ, n));
    bert_layernorm_forward(a.ln2, a.ln2_mean, a.ln2_rstd, a.res2, w.ln2w, w.ln2b, n, C, c->eps);
    m->act_layer = l;
}

/* The same in reverse order. Each line makes the gradient that its first argument names. Several of
   them share an array: one is used up before the next is made. At a residual, res1 = x +
   dropout(branch), the gradient goes both ways: dx is dres1, to which the last line adds what comes
   back through the branch; likewise dln1 is dres2. Checkpointing runs the forward again. */
static void bert_layer_backward_(Bert *m, int l)
{
    const BertConfig *c = &m->config;
    const int B = m->B, N = m->N, C = c->C, F = c->F, NH = c->NH, *offsets = m->batch.offsets;
    const int cls = bert_cls_only_(m, l), n = cls ? B : N;
    BertScratch all = m->scratch; /* of dW that sum over all tokens, not over [CLS] rows */
    const BertScratch *s = cls ? &m->scratch : &all;
    BertTensors w, g; /* a frozen layer has no gradients */
    const BertActs a = bert_layer_acts(m, l, NULL);
    const BertDropout drop = bert_site_(m, l, BERT_SITE_ATTENTION, N);
    float *dln2 = a.dx, *dres1 = a.dx, *dfcact = a.dfch, *dfch = a.dfch;
    float *dx = m->freeze_embeddings && l == m->freeze_layers ? NULL : a.dx; /* NULL: no reader */
    float *dres2 = a.spare1, *dln1 = a.spare1, *datty = a.spare1;
    float *dfcproj = a.spare2, *dattproj = a.spare2;
    bert_point_(&w, m->params_memory, m->tensors, l);
    bert_point_(&g, l < m->freeze_layers ? NULL : m->grads_memory, m->tensors, l);
    all.offsets = offsets; /* bf16 cuts such a sum where a sequence ends */
    if (m->act_copies == 1 && m->act_layer != l) bert_layer_forward_(m, l);

    bert_layernorm_backward(dres2, g.ln2w, g.ln2b, dln2, a.res2, a.ln2_mean, a.ln2_rstd, w.ln2w, n,
                            C);
    bert_dropout_backward(dfcproj, dres2, n, C, bert_site_(m, l, BERT_SITE_FCPROJ, n));
    bert_linear_backward(dfcact, g.fcprojw, g.fcprojb, dfcproj, a.fcact, w.fcprojw, n, F, C, 0, s);
    bert_activation_backward(dfch, dfcact, a.fch, (size_t)n * F, c->act);
    bert_linear_backward(dln1, g.fcw, g.fcb, dfch, a.ln1, w.fcw, n, C, F, 1, s);

    bert_layernorm_backward(dres1, g.ln1w, g.ln1b, dln1, a.res1, a.ln1_mean, a.ln1_rstd, w.ln1w, n,
                            C);
    bert_dropout_backward(dattproj, dres1, n, C, bert_site_(m, l, BERT_SITE_ATTPROJ, n));
    bert_linear_backward(datty, g.attprojw, g.attprojb, dattproj, cls ? a.firsty : a.atty,
                         w.attprojw, n, C, C, 0, s);
    if (cls) { /* from the [CLS] rows to all */
        bert_scatter_(datty, datty, offsets, B, N, C);
        bert_scatter_(dres1, dres1, offsets, B, N, C);
    }
    bert_attention_backward(a.dqkv, datty, a.atty, a.attstat, a.qkv, offsets, B, C, NH, drop, s);
    bert_linear_backward(dx, g.qkvw, g.qkvb, a.dqkv, bert_output_(m, l - 1), w.qkvw, N, C, 3 * C, 1,
                         &all);
}

static void bert_encoder_forward_(Bert *m)
{
    const int B = m->B, N = m->N, C = m->config.C;
    const BertBatch *x = &m->batch;
    const BertTensors *w = &m->params;
    const BertActs *a = &m->acts;
    const float eps = m->config.eps;
    bert_embeddings_forward(a->emb, x->tokens, x->types, x->offsets, w->wte, w->wpe, w->wse, B, C);
    bert_layernorm_forward(a->ln0, a->ln0_mean, a->ln0_rstd, a->emb, w->ln0w, w->ln0b, N, C, eps);
    bert_dropout_forward(a->ln0, a->ln0, N, C, bert_site_(m, -1, BERT_SITE_EMBEDDINGS, N));
    for (int l = 0; l < m->config.L; l++) bert_layer_forward_(m, l);
}

/* mlm's decoder is wte, so wte's gradient has two parts: the decoder's, dwte += dlogits^T . headx,
   for every row, and the embeddings', demb, for the rows of the batch's tokens. One product makes
   the decoder's part of all rows. Those of the batch's tokens, at most N, are then made again, both
   parts sequence by sequence, the decoder's first: so micro-batches have the bits of the whole. */

/* The row of wte of one of the batch's tokens; old is what it was before the product. */
static void bert_tied_row_(const Bert *m, float *row, const float *old, int token)
{
    const int R = m->R, C = m->config.C, V = m->config.V;
    const int *tokens = m->batch.tokens, *offsets = m->batch.offsets, *rows = m->batch.rows;
    memcpy(row, old, (size_t)C * sizeof *row);
    for (int b = 0, r = 0; b < m->B; b++) {
        for (; r < R && rows[r] < offsets[b + 1]; r++) {
            const float *x = m->acts.headx + (size_t)r * C;
            float dlogit = m->acts.dlogits[(size_t)r * V + token];
            for (int i = 0; i < C; i++) row[i] = bert_fma_(dlogit, x[i], row[i]);
        }
        for (int n = offsets[b]; n < offsets[b + 1]; n++) {
            const float *demb = m->acts.spare1 + (size_t)n * C;
            if (tokens[n] != token || token == m->config.padding_idx) continue;
            for (int i = 0; i < C; i++) row[i] += demb[i];
        }
    }
}

static void bert_tied_backward_(Bert *m)
{
    const int N = m->N, C = m->config.C, *tokens = m->batch.tokens;
    float *dwte = m->grads.wte, *old = m->acts.spare2;
    BertScratch s = m->scratch;
    s.bf16 = 0; /* bert_tied_row_ goes on in float32 */
    bert_gather_(old, dwte, tokens, N, C);
    bert_linear_backward(NULL, dwte, NULL, m->acts.dlogits, m->acts.headx, NULL, m->R, C,
                         m->config.V, 0, &s);
    BERT_OMP_(parallel for schedule(dynamic))
    for (int n = 0; n < N; n++) {
        int first = 0;
        while (tokens[first] != tokens[n]) first++;
        if (first == n) /* else an earlier n has done this row */
            bert_tied_row_(m, dwte + (size_t)tokens[n] * C, old + (size_t)n * C, tokens[n]);
    }
}

/* From the gradient of the encoder's output, dx, down to the lowest part that is not frozen. */
static void bert_encoder_backward_(Bert *m)
{
    const BertConfig *c = &m->config;
    const int N = m->N, C = c->C;
    BertTensors *g = &m->grads;
    BertActs *a = &m->acts;
    for (int l = c->L - 1; l >= (m->freeze_embeddings ? m->freeze_layers : 0); l--) {
        bert_layer_backward_(m, l);
        if (m->on_gradients && l >= m->freeze_layers) m->on_gradients(m->user, BERT_GROUP_LAYER, l);
    }
    if (m->freeze_embeddings) return;
    bert_dropout_backward(a->dx, a->dx, N, C, bert_site_(m, -1, BERT_SITE_EMBEDDINGS, N));
    float *demb = a->spare1;
    bert_layernorm_backward(demb, g->ln0w, g->ln0b, a->dx, a->emb, a->ln0_mean, a->ln0_rstd,
                            m->params.ln0w, N, C);
    const int tied = bert_reads_(m) & BERT_READS_MASKED && m->batch.labels && m->R > 0;
    if (tied) bert_tied_backward_(m);
    bert_embeddings_backward(tied ? NULL : g->wte, g->wpe, g->wse, demb, m->batch.tokens,
                             m->batch.types, m->batch.offsets, m->B, C, m->config.padding_idx);
    for (int n = 0; n < N; n++) m->seen[m->batch.tokens[n]] = 1;
    if (m->on_gradients) m->on_gradients(m->user, BERT_GROUP_EMBEDDINGS, 0);
}

/* ------------------------------------------------------------------------------------------------
   The heads. Each reads the encoder's output, ln2 of the last layer, or the pooler's. */

/* BertPooler: pooled = tanh(linear([CLS])) */
static void bert_pooler_forward_(Bert *m)
{
    int B = m->B, C = m->config.C;
    BertActs *a = &m->acts;
    if (bert_cls_only_(m, m->config.L - 1)) memcpy(a->first, a->ln2, (size_t)B * C * sizeof(float));
    else bert_gather_(a->first, a->ln2, m->batch.offsets, B, C);
    bert_linear_forward(a->pooled, a->first, m->params.poolw, m->params.poolb, B, C, C,
                        &m->scratch);
    bert_tanh_forward(a->pooled, a->pooled, (size_t)B * C); /* in place: its backward reads out */
}

/* dfirst (B,C) from dpooled (B,C), which is overwritten */
static void bert_pooler_backward_(Bert *m, float *dfirst, float *dpooled)
{
    int B = m->B, C = m->config.C;
    bert_tanh_backward(dpooled, dpooled, m->acts.pooled, (size_t)B * C);
    bert_linear_backward(dfirst, m->grads.poolw, m->grads.poolb, dpooled, m->acts.first,
                         m->params.poolw, B, C, C, 0, &m->scratch);
}

/* BertLMPredictionHead's transform, of the R masked rows alone: headx = LayerNorm(act(dense(x))) */
static void bert_transform_forward_(Bert *m, const float *x)
{
    const int R = m->R, C = m->config.C;
    const BertTensors *w = &m->params;
    BertActs *a = &m->acts;
    bert_gather_(a->mlmx, x, m->batch.rows, R, C);
    bert_linear_forward(a->mlmh, a->mlmx, w->mlmw, w->mlmb, R, C, C, &m->scratch);
    bert_activation_forward(a->mlmact, a->mlmh, (size_t)R * C, m->config.act);
    bert_layernorm_forward(a->headx, a->mlmln_mean, a->mlmln_rstd, a->mlmact, w->mlmlnw, w->mlmlnb,
                           R, C, m->config.eps);
}

/* dx (N,C) from dheadx (R,C), which is spare1 */
static void bert_transform_backward_(Bert *m)
{
    const int R = m->R, C = m->config.C;
    const BertTensors *w = &m->params, *g = &m->grads;
    const BertActs *a = &m->acts;
    float *dheadx = a->spare1, *dmlmact = a->spare2, *dmlmh = a->spare2, *dmlmx = a->spare1;
    bert_layernorm_backward(dmlmact, g->mlmlnw, g->mlmlnb, dheadx, a->mlmact, a->mlmln_mean,
                            a->mlmln_rstd, w->mlmlnw, R, C);
    bert_activation_backward(dmlmh, dmlmact, a->mlmh, (size_t)R * C, m->config.act);
    bert_linear_backward(dmlmx, g->mlmw, g->mlmb, dmlmh, a->mlmx, w->mlmw, R, C, C, 0, &m->scratch);
    bert_scatter_(a->dx, dmlmx, m->batch.rows, R, m->N, C);
}

/* BertForPreTraining's second head: nsp (B,2) = linear(pooled), its loss the cross-entropy. */
static void bert_nsp_forward_(Bert *m)
{
    const int B = m->B, C = m->config.C;
    BertActs *a = &m->acts;
    bert_linear_forward(a->nsp, a->pooled, m->params.nspw, m->params.nspb, B, C, 2, &m->scratch);
    bert_crossentropy_forward(a->nsplosses, a->nspprobs, a->nsp, m->batch.next, NULL, 0.0f, B, 2);
}

/* Adds to the [CLS] rows of dx. */
static void bert_nsp_backward_(Bert *m, float scale)
{
    const int B = m->B, C = m->config.C, *offsets = m->batch.offsets;
    const BertActs *a = &m->acts;
    float *dpooled = a->spare2, *dfirst = a->spare1; /* (B,C) */
    bert_crossentropy_backward(a->dnsp, a->nspprobs, m->batch.next, NULL, 0.0f, B, 2,
                               scale / (float)m->batch.next_divisor);
    bert_linear_backward(dpooled, m->grads.nspw, m->grads.nspb, a->dnsp, a->pooled, m->params.nspw,
                         B, C, 2, 0, &m->scratch);
    bert_pooler_backward_(m, dfirst, dpooled);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < C; i++) a->dx[(size_t)offsets[b] * C + i] += dfirst[(size_t)b * C + i];
}

/* The task's head, which is known by its weights: from ln2 or pooled to logits (H,O) */
static void bert_head_forward_(Bert *m)
{
    const int H = (int)bert_head_rows(m->config.task, m->B, m->N, m->R), C = m->config.C;
    const int O = (int)bert_head_cols(&m->config), L = m->config.L;
    const BertTensors *w = &m->params;
    const BertActs *a = &m->acts;
    const float *x = bert_reads_(m) == BERT_READS_CLS ? a->pooled : a->ln2;
    if (w->clsw) {
        bert_dropout_forward(a->headx, x, H, C, bert_site_(m, L, BERT_SITE_CLASSIFIER, H));
        bert_linear_forward(a->logits, a->headx, w->clsw, w->clsb, H, C, O, &m->scratch);
    } else if (w->mlmw) {
        bert_transform_forward_(m, x);
        bert_linear_forward(a->logits, a->headx, w->wte, w->mlmdecb, H, C, O, &m->scratch);
    } else if (w->qaw) bert_linear_forward(a->logits, x, w->qaw, w->qab, H, C, O, &m->scratch);
}

/* From dlogits to dx, of [CLS] rows alone if no others are read; the decoder's dwte comes later. */
static void bert_head_backward_(Bert *m)
{
    const int H = (int)bert_head_rows(m->config.task, m->B, m->N, m->R), C = m->config.C;
    const int O = (int)bert_head_cols(&m->config), L = m->config.L,
              cls = bert_reads_(m) == BERT_READS_CLS;
    const BertTensors *w = &m->params, *g = &m->grads;
    const BertScratch *s = &m->scratch;
    const BertActs *a = &m->acts;
    float *dread = cls ? a->spare2 : a->dx; /* the gradient of pooled or ln2, which it reads */
    if (w->clsw) {
        bert_linear_backward(dread, g->clsw, g->clsb, a->dlogits, a->headx, w->clsw, H, C, O, 0, s);
        bert_dropout_backward(dread, dread, H, C, bert_site_(m, L, BERT_SITE_CLASSIFIER, H));
        if (cls) bert_pooler_backward_(m, a->dx, dread);
    } else if (w->mlmw) {
        bert_linear_backward(a->spare1, NULL, g->mlmdecb, a->dlogits, a->headx, w->wte, H, C, O, 0,
                             s);
        bert_transform_backward_(m);
        if (H > 0) memset(m->seen, 1, (size_t)O); /* the softmax gives each row of wte a gradient */
    } else if (w->qaw)
        bert_linear_backward(dread, g->qaw, g->qab, a->dlogits, a->ln2, w->qaw, H, C, O, 0, s);
}

/* probs and, with labels or targets, losses and loss. */
static void bert_loss_forward_(Bert *m)
{
    const BertBatch *x = &m->batch;
    const BertActs *a = &m->acts;
    const BertLoss_ loss = bert_loss_(&m->config, x);
    const int n = (int)loss.count, O = (int)loss.columns, kind = loss.kind;
    const float e = x->label_smoothing, *w = x->class_weights;
    double sum = 0.0, next = 0.0;
    if (kind == BERT_LOSS_CROSSENTROPY)
        bert_crossentropy_forward(a->losses, a->probs, a->logits, x->labels, w, e, n, O);
    else if (kind == BERT_LOSS_BCE)
        bert_bce_forward(a->losses, a->probs, a->logits, x->targets, w, n, O);
    else if (kind == BERT_LOSS_SPAN)
        bert_span_forward(a->losses, a->probs, a->logits, x->labels, x->offsets, n);
    else if (x->targets) bert_mse_forward(a->losses, a->logits, x->targets, n);
    for (int i = 0; i < n && (x->labels || x->targets); i++) sum += a->losses[i];
    for (int b = 0; b < m->B && x->next; b++) next += a->nsplosses[b];
    m->loss = (float)(sum / x->divisor + next / x->next_divisor);
}

/* dlogits, of scale times the loss */
static void bert_loss_backward_(Bert *m, float scale)
{
    const BertBatch *x = &m->batch;
    const BertActs *a = &m->acts;
    const BertLoss_ loss = bert_loss_(&m->config, x);
    const int n = (int)loss.count, O = (int)loss.columns, kind = loss.kind;
    const float s = (float)(scale / x->divisor), e = x->label_smoothing, *w = x->class_weights;
    if (kind == BERT_LOSS_CROSSENTROPY)
        bert_crossentropy_backward(a->dlogits, a->probs, x->labels, w, e, n, O, s);
    else if (kind == BERT_LOSS_BCE) bert_bce_backward(a->dlogits, a->probs, x->targets, w, n, O, s);
    else if (kind == BERT_LOSS_SPAN)
        bert_span_backward(a->dlogits, a->probs, x->labels, x->offsets, n, s);
    else bert_mse_backward(a->dlogits, a->logits, x->targets, n, s);
}

/* ------------------------------------------------------------------------------------------------
   The model: forward and backward */

BERTDEF int bert_forward(Bert *m, const BertBatch *batch, int training)
{
    const BertConfig *c = &m->config;
    int error = bert_check_batch_(m, batch);
    if (!error) error = bert_check_loss_(m, batch);
    if (!error) {
        m->training = training, m->act_copies = training && !m->checkpointing ? c->L : 1;
        m->B = batch->B, m->N = batch->offsets[batch->B], m->R = batch->R;
        error = bert_make_room_(m, batch);
    }
    if (error) return m->training = m->B = m->N = m->R = 0, error; /* nor is the one before there */
    bert_keep_batch_(m, batch);
    bert_key_rows_(m, batch);
    bert_encoder_forward_(m);
    if (m->acts.pooled) bert_pooler_forward_(m);
    bert_head_forward_(m);
    if (bert_reads_(m) == BERT_READS_BOTH) bert_nsp_forward_(m);
    if (c->task != BERT_NONE) bert_loss_forward_(m);
    return BERT_OK;
}

BERTDEF int bert_training_room(Bert *m)
{
    float **memory[] = {&m->grads_memory, &m->m_memory, &m->v_memory};
    if (bert_check_there_(m)) return BERT_EINPUT;
    if (!m->seen) m->seen = (unsigned char *)BERT_CALLOC((size_t)m->config.V, 1);
    for (int i = 0; i < 3; i++) {
        if (m->seen && !*memory[i]) *memory[i] = bert_floats_(m->num_parameters);
        if (!m->seen || !*memory[i]) return BERT_NO_MEMORY_(m, "for gradients and AdamW's state");
    }
    return BERT_OK;
}

BERTDEF int bert_backward(Bert *m, float scale)
{
    const int labelled = m->batch.labels || m->batch.targets;
    if (!m->training || !(labelled || m->batch.next))
        return BERT_REFUSE_(m, "a backward follows a training forward with labels");
    int error = bert_training_room(m);
    if (error) return error;
    bert_point_(&m->grads, m->grads_memory, m->tensors, 0);
    if (labelled) {
        bert_loss_backward_(m, scale);
        bert_head_backward_(m);
    } else memset(m->acts.dx, 0, (size_t)m->N * m->config.C * sizeof(float));
    if (m->batch.next) bert_nsp_backward_(m, scale);
    if (m->on_gradients) m->on_gradients(m->user, BERT_GROUP_HEAD, 0);
    bert_encoder_backward_(m);
    return BERT_OK;
}

static int bert_finite_(const float *x, size_t n)
{
    while (n > 0 && fabsf(x[n - 1]) <= FLT_MAX) n--;
    return n == 0;
}

/* The embeddings are layer -1, the head is layer L. */
static int bert_group_(const Bert *m, int l)
{
    return l < 0 ? BERT_GROUP_EMBEDDINGS : l < m->config.L ? BERT_GROUP_LAYER : BERT_GROUP_HEAD;
}

/* The first of layer l's parameters, or gradients, that is not finite. */
static const char *bert_bad_tensor_(const Bert *m, const float *memory, int l)
{
    for (int i = 0; memory && i < BERT_NUM_TENSORS; i++) {
        const BertTensor *t = &m->tensors[i];
        const size_t size = t->size / t->layers, at = t->layers > 1 ? l * size : 0;
        if (t->group == bert_group_(m, l) && !bert_finite_(memory + t->offset + at, size))
            return t->name;
    }
    return NULL;
}

/* Which activation of the table it is. */
#define BERT_ACT_(name) ((int)(offsetof(BertActs, name) / sizeof(float *)))

/* How many floats of an activation of layer l the last forward has set; there is room for size. */
static size_t bert_set_(const Bert *m, int act, int l, size_t size)
{
    const BertBatch *x = &m->batch;
    const int loss = bert_loss_kind_(&m->config);
    if (m->B < 1) return 0;
    if (act == BERT_ACT_(losses)) return bert_count_losses(&m->config, x);
    if ((act == BERT_ACT_(nsplosses) && !x->next) ||
        (act == BERT_ACT_(headx) && loss == BERT_LOSS_SPAN) ||
        (act == BERT_ACT_(probs) && loss == BERT_LOSS_MSE))
        return 0;
    return act >= BERT_ACT_(res1) && bert_cls_only_(m, l) ? size / m->N * m->B : size;
}

BERTDEF const char *bert_not_finite(const Bert *m, int *layer)
{
#define BERT_ACT_NAME_(name, ...) #name,
    static const char *const names[] = {BERT_ACTS(BERT_ACT_NAME_)};
    const int begin[] = {BERT_ACT_(emb), BERT_ACT_(qkv), BERT_ACT_(firstx), BERT_ACT_(dx)};
    const int L = m->config.L;
    size_t sizes[BERT_NUM_ACTS + 1];
    float *acts[BERT_NUM_ACTS];
    const char *bad = NULL;
    for (int l = -1; l <= L && !bad; l++) {
        const BertActs a = bert_layer_acts(m, bert_max_(0, bert_min_(l, L - 1)), sizes);
        const int group = bert_group_(m, l), in_layer = group == BERT_GROUP_LAYER;
        const int kept = !in_layer || m->act_copies > 1 || m->act_layer == l;
        memcpy(acts, &a, sizeof acts);
        bad = bert_bad_tensor_(m, m->params_memory, *layer = l);
        for (int i = begin[group]; i < begin[group + 1] && !bad; i++)
            if (kept || (m->training && i == BERT_ACT_(ln2)))
                bad = bert_finite_(acts[i], bert_set_(m, i, l, sizes[i])) ? NULL : names[i];
    }
    for (int l = L; l >= -1 && !bad; l--) bad = bert_bad_tensor_(m, m->grads_memory, *layer = l);
    return bad;
}

/* ------------------------------------------------------------------------------------------------
   The optimizer. Half of MiniLM's parameters are rows of wte, most of them of words that training
   has not met: their gradient, m and v are zero, and to read so many zeros would cost a quarter of
   a step. So what follows goes by runs, each in or outside a row of wte. */

typedef char bert_wte_is_first_[BERT_TENSOR_wte == 0 ? 1 : -1]; /* else this does not compile */

/* How long the run from parameter at on is: up to end, at most 1024. *met: 0 in a row not seen. */
static size_t bert_run_(const Bert *m, size_t at, size_t end, int *met)
{
    const size_t C = m->tensors[BERT_TENSOR_wte].cols, row = at / C;
    const int inside = row < m->tensors[BERT_TENSOR_wte].rows;
    *met = !inside || m->seen[row];
    return bert_zmin_(bert_zmin_(end, inside ? (row + 1) * C : end) - at, 1024);
}

BERTDEF void bert_zero_grad(Bert *m)
{
    size_t at = 0, run;
    if (!m->grads_memory) return;
    for (int met; (run = bert_run_(m, at, m->num_parameters, &met)) > 0; at += run)
        if (met) memset(m->grads_memory + at, 0, run * sizeof(float));
}

/* Runs are summed in float, these in double, block by block: one order for any threads. */
BERTDEF float bert_grad_norm(const Bert *m)
{
    enum { BLOCKS = 1024 };
    double sums[BLOCKS], sum = 0.0;
    size_t n = m->num_parameters, size = (n + BLOCKS - 1) / BLOCKS;
    const float *g = m->grads_memory;
    if (!g) return 0.0f;
    BERT_OMP_(parallel for schedule(dynamic))
    for (int i = 0; i < BLOCKS; i++) {
        size_t at = bert_zmin_(n, i * size), end = bert_zmin_(n, at + size), run;
        sums[i] = 0.0;
        for (int met; (run = bert_run_(m, at, end, &met)) > 0; at += run)
            if (met) sums[i] += bert_dot_(g + at, 0.0f, g + at, 0.0f, (int)run);
    }
    for (int i = 0; i < BLOCKS; i++) sum += sums[i];
    return (float)sqrt(sum);
}

BERTDEF float bert_clip_scale(float norm, float max_norm)
{
    if (max_norm <= 0.0f) return 1.0f;
    float scale = max_norm / (norm + 1e-6f); /* torch's 1e-6 */
    return scale > 1.0f ? 1.0f : scale;      /* NaN stays NaN, as in torch */
}

/* What one step of AdamW needs to know; keep is 1 - lr * weight decay, fix1 and fix2 are the bias
   corrections 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t). */
typedef struct {
    float lr, beta1, beta2, eps, keep, fix1, fix2, grad_scale;
} BertAdam_;

/* Per parameter, with gradient g and step t:
       p -= lr * decay * p
       m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
       p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
   m starts from 0, so after t steps m = (1 - beta1) sum_i beta1^(t-i) g[i], i = 1..t, whose weights
   add up to (1 - beta1) (1 + beta1 + ... + beta1^(t-1)) = 1 - beta1^t. Divided by that, m is a
   weighted mean of the gradients from the first step on, and so v of their squares.
   g is cleared for the next step, while it is in the cache. */
static void bert_adamw_run_(float *p, float *m, float *v, float *g, size_t n, BertAdam_ s)
{
    const float rate = s.lr * s.fix1, rest1 = 1.0f - s.beta1, rest2 = 1.0f - s.beta2;
    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * s.grad_scale;
        m[i] = bert_fma_(s.beta1, m[i], rest1 * gi);
        v[i] = bert_fma_(s.beta2, v[i], rest2 * (gi * gi));
        p[i] = bert_fma_(p[i], s.keep, -(rate * m[i] / bert_fma_(sqrtf(v[i]), s.fix2, s.eps)));
        g[i] = 0.0f;
    }
}

/* What is frozen has no gradient and does not change. */
static int bert_frozen_(const Bert *m, const BertTensor *t, int l)
{
    if (t->group == BERT_GROUP_EMBEDDINGS) return m->freeze_embeddings;
    return t->group == BERT_GROUP_LAYER && l < m->freeze_layers;
}

/* Parameters that a thread takes at once, then the next: threads are not equally fast. */
enum { BERT_BLOCK_ = 16384 };

/* The share of the learning rate that layer l of a tensor has: the head all, the embeddings least
   (Zhang et al. 2021, "Revisiting Few-sample BERT Fine-tuning"; ELECTRA's code counts one more). */
static double bert_rate_(const Bert *m, const BertTensor *t, int l)
{
    const int above[] = {m->config.L + 1, m->config.L - l, 0}; /* by group */
    return m->lr_decay > 0.0 ? bert_power_(m->lr_decay, above[t->group]) : 1.0;
}

BERTDEF int bert_adamw(Bert *m, float lr, float beta1, float beta2, float eps, float weight_decay,
                       int step, float grad_scale)
{
    if (!m->v_memory || step < 1) /* made last */
        return BERT_REFUSE_(m, "AdamW needs gradients, and a step from 1");
    if (bert_check_alone_(m, "AdamW")) return BERT_EINPUT;
    BertAdam_ s = {lr, beta1, beta2, eps, 1.0f, 1.0f, 1.0f, grad_scale};
    s.fix1 = (float)(1.0 / (1.0 - bert_power_(beta1, step)));
    s.fix2 = (float)(1.0 / sqrt(1.0 - bert_power_(beta2, step)));
    for (int i = 0; i < BERT_NUM_TENSORS; i++) {
        const BertTensor *t = &m->tensors[i];
        const ptrdiff_t size = (ptrdiff_t)(t->rows * t->cols); /* of a layer */
        for (int l = 0; l < (int)t->layers; l++) {
            const int frozen = bert_frozen_(m, t, l);
            if (!t->used) continue;
            const double rate = lr * bert_rate_(m, t, l);
            const size_t first = t->offset + (size_t)l * (size_t)size;
            s.lr = (float)rate;
            s.keep = t->decay ? (float)bert_fma64_(-rate, weight_decay, 1.0) : 1.0f;
            BERT_OMP_(parallel for schedule(dynamic) if (size > BERT_BLOCK_))
            for (ptrdiff_t block = 0; block < size; block += BERT_BLOCK_) {
                size_t at = first + (size_t)block, run;
                size_t end = bert_zmin_(at + BERT_BLOCK_, first + (size_t)size);
                for (int met; (run = bert_run_(m, at, end, &met)) > 0; at += run) {
                    float *p = m->params_memory + at, *g = m->grads_memory + at;
                    if (frozen) { /* it may have been frozen after the backward */
                        for (size_t j = 0; met && j < run; j++)
                            if (g[j] != 0.0f) g[j] = 0.0f; /* to write all would take memory */
                    } else if (met)
                        bert_adamw_run_(p, m->m_memory + at, m->v_memory + at, g, run, s);
                    else if (s.keep != 1.0f) /* as bert_adamw_run_ does: m and v stay zero */
                        for (size_t j = 0; j < run; j++) p[j] *= s.keep;
                }
            }
        }
    }
    return BERT_OK;
}

BERTDEF double bert_linear_schedule(long step, long warmup, long total)
{
    if (step < warmup) return (double)step / (double)warmup;
    if (step >= total) return 0.0;
    return (double)(total - step) / (double)(total - warmup);
}

/* ------------------------------------------------------------------------------------------------
   The tokenizer. A text goes through five steps, each linear in its length:

       characters     UTF-8 to code points
       added tokens   such as [MASK] are found before anything else; what is between goes on
       normalize      clean-up, blanks around CJK, accents stripped (NFD without Mn), lower case
       words          are cut at white space; each punctuation character is a word of its own
       pieces         WordPiece (Wu et al. 2016): the longest piece of the vocabulary first

   Hugging Face's Rust library is followed in every oddity, and dev/check/wordpiece.py compares the
   two. What a character is comes from the model's Unicode table ("Model files"), not a locale. */

/* Properties in the Unicode table; bits 8..15 are the canonical combining class. */
enum {
    BERT_REMOVED_ = 1,     /* clean-up removes it, */
    BERT_BLANK_ = 2,       /* or makes it a blank */
    BERT_SPACE_ = 4,       /* words end before it */
    BERT_PUNCTUATION_ = 8, /* it is a word by itself */
    BERT_CJK_ = 16,        /* it is set apart by blanks */
    BERT_ACCENT_ = 32,     /* strip_accents drops it (category Mn) */
    BERT_WORD_ = 64        /* it is part of a word, for single_word */
};

/* Flags of added tokens: decode may skip it; it is not found inside a word; it takes the blanks on
   its left; on its right; it is looked for in normalized text; WordPiece does not know it. */
enum { BERT_SPECIAL_ = 1, BERT_SINGLE_WORD_ = 2, BERT_LSTRIP_ = 4, BERT_RSTRIP_ = 8 };
enum { BERT_NORMALIZED_ = 16, BERT_NO_PIECE_ = 32 };

enum { BERT_POINTS_ = 0x110000, BERT_BEGINS_ = 128 };
/* Characters of a piece or an added token (real: 40), slots looked at for one (real: 35). */
enum { BERT_LONGEST_ = 255, BERT_PROBES_ = 128 };
enum { BERT_HANGUL_ = 0xAC00, BERT_SYLLABLES_ = 11172 }; /* first, number: 19 x 21 x 28 */

/* A character and where it comes from: the text's byte; when normalized, the text's character. */
typedef struct {
    uint32_t c;
    int from;
} BertChar_;

typedef struct {
    BertChar_ *at;
    int n;
    size_t room;
} BertChars_;

/* Kinds: pieces that begin a word, that go on (##), added tokens in raw and in normalized texts. */
enum { BERT_FIRST_, BERT_TAIL_, BERT_RAW_, BERT_LATE_, BERT_KINDS_ };

typedef struct {
    uint32_t tag; /* low half of the string's hash, whose high bits chose the slot */
    int32_t key;  /* 1 + kind + KINDS * (the piece's id, or which added token); 0: an empty slot */
} BertSlot_;

/* What bert_load makes of the tokenizer's tables, to look things up. */
struct BertLookup_ {
    uint32_t *info;   /* (BERT_POINTS_): properties, and in the high half 1 + row of maps, or 0 */
    BertSlot_ *slots; /* (1 << bits): the strings, open addressing */
    int bits, longest[BERT_KINDS_];        /* in characters */
    unsigned char begins[2][BERT_BEGINS_]; /* raw, late: one begins with a character % BEGINS */
    char *shown; /* what decode shows of the late ones: normal forms in UTF-8; of added token a */
    size_t *shown_at, shown_room; /* shown[shown_at[a]] .. shown[shown_at[a + 1] - 1] */
};

typedef struct {
    int id;
    BertSpan span;
} BertToken_;

/* What an encoding works with. Arrays grow and stay. */
struct BertWork_ {
    BertToken_ *tokens;
    size_t tokens_room;
    int num_tokens;
    BertChars_ chars, normal; /* the text, its normal form */
    BertChars_ marks;         /* the run of combining marks whose order is not yet known */
    int disorder;             /* the marks have to change places */
    int last;                 /* where the last character came from that no decomposition added */
    int text, word;           /* that the tokens belong to; a text given in words counts those */
    int failed;               /* no memory */
    BertEncodeOptions options;
    int pair, sizes[2]; /* whether there is a second text; the tokens of both */
    int keep[2];        /* how many tokens of each a sequence may have */
    int more, next;     /* windows: whether there are more, the next one's first token */
};

/* Makes room for need elements in the array whose pointer (or NULL) is at `array`; they stay there.
   Returns 0, and changes nothing, without memory or where an int could not count them. */
static int bert_grow_(void *array, size_t *room, size_t need, size_t size)
{
    void *old, *p = NULL;
    size_t more = need + need / 2 + 64;
    if (need <= *room) return 1;
    if (need < INT_MAX / 2 && bert_times_(more, size) < SIZE_MAX) p = BERT_MALLOC(more * size);
    if (!p) return 0;
    memcpy(&old, array, sizeof old);
    if (old) memcpy(p, old, *room * size);
    BERT_FREE(old);
    memcpy(array, &p, sizeof p);
    *room = more;
    return 1;
}

static void bert_push_(struct BertWork_ *w, BertChars_ *to, uint32_t c, int from)
{
    const BertChar_ one = {c, from};
    if (bert_grow_(&to->at, &to->room, (size_t)to->n + 1, sizeof one)) to->at[to->n++] = one;
    else w->failed = 1;
}

/* ---- Characters */

/* U+FFFD stands for a start of a character, else a byte (Unicode 15, 3.9, "maximal subparts"). */
BERTDEF uint32_t bert_utf8(const char *s, size_t n, size_t *at)
{
    uint32_t c = (unsigned char)s[(*at)++], low = 0x80, high = 0xBF;
    if (c < 0x80) return c;
    int more = c < 0xC2 || c > 0xF4 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    if (!more) return 0xFFFD;
    if (c == 0xE0) low = 0xA0;  /* less would be overlong, */
    if (c == 0xED) high = 0x9F; /* more a surrogate, */
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F; /* more than U+10FFFF */
    for (c &= 0x3Fu >> more; more > 0; more--, low = 0x80, high = 0xBF) {
        uint32_t next = *at < n ? (unsigned char)s[*at] : 0;
        if (next < low || next > high) return 0xFFFD;
        c = c << 6 | (next & 0x3F);
        (*at)++;
    }
    return c;
}

BERTDEF size_t bert_put_utf8(char *s, uint32_t c)
{
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, c >>= 6) s[i] = (char)(0x80 | (c & 0x3F));
    s[0] = (char)(more ? (0xF0 << (3 - more) & 0xFF) | c : c);
    return (size_t)more + 1;
}

/* A text into w->chars, with one more at its end that has the text's length. */
static void bert_characters_(struct BertWork_ *w, BertText text)
{
    w->chars.n = 0;
    for (size_t at = 0; at < text.size && !w->failed;) {
        const int from = (int)at;
        bert_push_(w, &w->chars, bert_utf8(text.bytes, text.size, &at), from);
    }
    bert_push_(w, &w->chars, 0, (int)text.size);
    w->chars.n -= !w->failed;
}

static uint32_t bert_combining_class_(const BertTokenizer *t, uint32_t c)
{
    return t->lookup->info[c] >> 8 & 255;
}

/* The characters that c becomes: which 0: NFD, 1: lower case. Their number; 0: c stays. */
static int bert_map_(const BertTokenizer *t, uint32_t c, int which, const uint32_t **to)
{
    uint32_t row = t->lookup->info[c] >> 16;
    if (!row) return 0;
    const uint32_t *maps = t->unicode + 3 + 3 * (size_t)t->unicode[0];
    const uint32_t place = maps[3 * (row - 1) + 1 + which];
    *to = maps + 3 * (size_t)t->unicode[1] + (place & 0xFFFFFF);
    return (int)(place >> 24);
}

BERTDEF int bert_is_alnum(const BertTokenizer *t, uint32_t c)
{
    uint32_t info = t->lookup && c < BERT_POINTS_ ? t->lookup->info[c] : 0;
    return info & BERT_WORD_ && !(info & BERT_PUNCTUATION_) && !(info & BERT_ACCENT_);
}

BERTDEF int bert_lower_case(const BertTokenizer *t, uint32_t c, uint32_t *lower)
{
    const uint32_t *to;
    int n = t->lookup && c < BERT_POINTS_ ? bert_min_(3, bert_map_(t, c, 1, &to)) : 0;
    for (int i = 0; i < n; i++) lower[i] = to[i];
    return n;
}

/* ---- Normalize: w->chars to w->normal */

/* What is left to do with a character in its final place: drop Mn, lower case. */
static void bert_emit_(const BertTokenizer *t, struct BertWork_ *w, uint32_t c, int from)
{
    const uint32_t *lower;
    if (t->settings[BERT_STRIP_ACCENTS] && t->lookup->info[c] & BERT_ACCENT_) return;
    int n = t->settings[BERT_LOWER_CASE] ? bert_map_(t, c, 1, &lower) : 0;
    if (!n) bert_push_(w, &w->normal, c, from);
    for (int i = 0; i < n; i++) bert_push_(w, &w->normal, lower[i], from);
}

/* Emits the marks that have gathered, stably sorted by combining class; a counting sort takes no
   longer for a megabyte of marks than for one of text. As in the Rust library the sources (from)
   stay in the text's order, so a mark that changes places gets another one's; what a decomposition
   added (-1) shares that of the mark before it. */
static void bert_flush_(const BertTokenizer *t, struct BertWork_ *w)
{
    const int n = w->marks.n;
    BertChar_ *marks = w->marks.at, *sorted = marks;
    w->marks.n = 0;
    if (w->disorder) {
        int ends[257] = {0};
        w->failed |= !bert_grow_(&w->marks.at, &w->marks.room, 2 * (size_t)n, sizeof *marks);
        if (w->failed) return;
        marks = w->marks.at, sorted = marks + n;
        for (int i = 0; i < n; i++) ends[bert_combining_class_(t, marks[i].c) + 1]++;
        for (int k = 0; k < 256; k++) ends[k + 1] += ends[k];
        for (int i = 0; i < n; i++) sorted[ends[bert_combining_class_(t, marks[i].c)]++] = marks[i];
    }
    for (int i = 0, next = 0; i < n; i++) {
        if (sorted[i].from >= 0) {
            while (marks[next].from < 0) next++;
            w->last = marks[next++].from;
        }
        bert_emit_(t, w, sorted[i].c, w->last);
    }
    w->disorder = 0;
}

/* One character after decomposition: a mark waits for those that follow it. */
static void bert_part_(const BertTokenizer *t, struct BertWork_ *w, uint32_t c, int from)
{
    uint32_t mark = t->settings[BERT_STRIP_ACCENTS] ? bert_combining_class_(t, c) : 0;
    if (!mark) {
        if (w->marks.n) bert_flush_(t, w);
        if (from >= 0) w->last = from;
        bert_emit_(t, w, c, w->last);
        return;
    }
    if (w->marks.n && bert_combining_class_(t, w->marks.at[w->marks.n - 1].c) > mark)
        w->disorder = 1;
    bert_push_(w, &w->marks, c, from);
}

/* NFD, where accents are stripped: Hangul by arithmetic (Unicode 15, 3.12), others by the table. */
static void bert_decompose_(const BertTokenizer *t, struct BertWork_ *w, uint32_t c, int from)
{
    const uint32_t *parts = &c, s = c - BERT_HANGUL_;
    uint32_t hangul[3] = {0x1100 + s / 588, 0x1161 + s % 588 / 28, 0x11A7 + s % 28};
    int n = 0;
    if (t->settings[BERT_STRIP_ACCENTS] && s < BERT_SYLLABLES_)
        parts = hangul, n = 2 + (s % 28 != 0);
    else if (t->settings[BERT_STRIP_ACCENTS]) n = bert_map_(t, c, 0, &parts);
    bert_part_(t, w, n ? parts[0] : c, from);
    for (int i = 1; i < n; i++) bert_part_(t, w, parts[i], -1);
}

/* chars[from] .. chars[to-1]. Most have no property that matters here, and go straight on. */
static void bert_normalize_(const BertTokenizer *t, struct BertWork_ *w, int from, int to)
{
    const uint32_t *info = t->lookup->info;
    const uint32_t plain = BERT_SPACE_ | BERT_PUNCTUATION_ | BERT_WORD_;
    w->normal.n = w->marks.n = w->disorder = 0;
    w->last = from;
    for (int i = from; i < to; i++) {
        uint32_t c = w->chars.at[i].c, bits = info[c];
        int apart = t->settings[BERT_CHINESE_CHARS] && bits & BERT_CJK_;
        int as_is = c == ' ' || (!(bits & ~plain) && c - BERT_HANGUL_ >= BERT_SYLLABLES_);
        if (as_is && !w->marks.n) {
            bert_push_(w, &w->normal, c, i);
            w->last = i;
            continue;
        }
        if (bits & BERT_REMOVED_) continue;
        if (apart) bert_part_(t, w, ' ', i);
        bert_decompose_(t, w, bits & BERT_BLANK_ ? ' ' : c, i);
        if (apart) bert_part_(t, w, ' ', i);
    }
    bert_flush_(t, w);
}

/* ---- Words and pieces */

/* A polynomial in an odd number, modulo 2^64, whose inverse is OFF's: a character can be put on at
   the end, or taken off again, so the prefixes of a word cost a step each. */
#define BERT_HASH_SEED_(kind) ((uint64_t)(kind) << 32)
#define BERT_HASH_ON_(h, c) (((h) + (c)) * 0x9E3779B97F4A7C15u)
#define BERT_HASH_OFF_(h, c) ((h)*0xF1DE83E19937733Du - (c))

/* Whether string i of that kind is the n characters at c. */
static int bert_is_string_(const BertTokenizer *t, int kind, int i, const BertChar_ *c, int n)
{
    const struct BertLookup_ *k = t->lookup;
    BertText s = bert_string(&t->vocabulary, (size_t)(kind < BERT_RAW_ ? i : t->added[2 * i]));
    size_t at = kind == BERT_TAIL_ ? 2 : 0;
    if (kind == BERT_LATE_) s.bytes = k->shown + k->shown_at[i];
    if (kind == BERT_LATE_) s.size = k->shown_at[i + 1] - k->shown_at[i];
    for (; n > 0; n--, c++)
        if (at >= s.size || bert_utf8(s.bytes, s.size, &at) != c->c) return 0;
    return at == s.size;
}

/* The slot of a string: its own, or the empty one where it would be. NULL: PROBES others are there;
   anybody can make strings whose hashes are equal, and bert_load refuses so many of them. */
static BertSlot_ *bert_slot_(const BertTokenizer *t, uint64_t h, int kind, const BertChar_ *c,
                             int n)
{
    const struct BertLookup_ *k = t->lookup;
    size_t i = (size_t)(h >> (64 - k->bits)), mask = ((size_t)1 << k->bits) - 1;
    for (int probe = 0; probe < BERT_PROBES_; probe++, i = (i + 1) & mask) {
        BertSlot_ *slot = &k->slots[i];
        const int key = slot->key - 1;
        if (key < 0) return slot;
        if (slot->tag == (uint32_t)h && key % BERT_KINDS_ == kind &&
            bert_is_string_(t, kind, key / BERT_KINDS_, c, n))
            return slot;
    }
    return NULL;
}

/* The longest string of that kind that the n characters at c begin with, and its length; or -1. */
static int bert_longest_(const BertTokenizer *t, int kind, const BertChar_ *c, int n, int *length)
{
    uint64_t h = BERT_HASH_SEED_(kind);
    n = bert_min_(n, t->lookup->longest[kind]);
    for (int i = 0; i < n; i++) h = BERT_HASH_ON_(h, c[i].c);
    for (; n > 0; n--, h = BERT_HASH_OFF_(h, c[n].c)) {
        const BertSlot_ *slot = bert_slot_(t, h, kind, c, *length = n);
        if (slot && slot->key) return (slot->key - 1) / BERT_KINDS_;
    }
    return -1;
}

/* A token of the text's characters from start to end. */
static void bert_token_(struct BertWork_ *w, int id, int start, int end)
{
    const BertChar_ *c = w->chars.at;
    BertToken_ one = {id, {c[start].from, c[end].from, start, end, w->word, w->text}};
    if (bert_grow_(&w->tokens, &w->tokens_room, (size_t)w->num_tokens + 1, sizeof one))
        w->tokens[w->num_tokens++] = one;
    else w->failed = 1;
}

/* The pieces of the word normal[from] .. normal[to-1]; [UNK] where a part of it has none. */
static void bert_pieces_(const BertTokenizer *t, struct BertWork_ *w, int from, int to)
{
    const BertChar_ *c = w->normal.at;
    const int known = to - from <= t->settings[BERT_LONGEST_WORD];
    int first = w->num_tokens, id = 0;
    for (int at = from, n = 0; at < to && id >= 0; at += n) {
        id = known ? bert_longest_(t, at > from ? BERT_TAIL_ : BERT_FIRST_, c + at, to - at, &n)
                   : -1;
        if (id >= 0) bert_token_(w, id, c[at].from, c[at + n - 1].from + 1);
    }
    if (id >= 0) return;
    w->num_tokens = first;
    bert_token_(w, t->settings[BERT_ID_UNK], c[from].from, c[to - 1].from + 1);
}

/* The words of normal[from] .. normal[to-1]. */
static void bert_split_words_(const BertTokenizer *t, struct BertWork_ *w, int from, int to)
{
    const uint32_t *info = t->lookup->info;
    const BertChar_ *c = w->normal.at;
    for (int end; from < to; from = end) {
        end = from + 1;
        if (info[c[from].c] & BERT_SPACE_) continue;
        if (!(info[c[from].c] & BERT_PUNCTUATION_))
            while (end < to && !(info[c[end].c] & (BERT_SPACE_ | BERT_PUNCTUATION_))) end++;
        bert_pieces_(t, w, from, end);
        w->word += !w->options.is_words;
    }
}

/* ---- Added tokens */

/* The leftmost and there longest added token from *at on: which, or -1; *at moves behind it. */
static int bert_find_added_(const BertTokenizer *t, int late, const BertChar_ *c, int n, int *at,
                            int *start, int *end)
{
    for (int i = *at, length; i < n; i++) {
        if (!t->lookup->begins[late][c[i].c % BERT_BEGINS_]) continue;
        const int found = bert_longest_(t, BERT_RAW_ + late, c + i, n - i, &length);
        if (found < 0) continue;
        *start = i, *at = *end = i + length;
        return found;
    }
    *start = *end = *at = n;
    return -1;
}

/* Cuts a text at its added tokens, and normalizes what is between them. late: cuts a normalized
   part at those of normalized texts, and what is between them into words. */
static void bert_split_added_(const BertTokenizer *t, struct BertWork_ *w, int late)
{
    const uint32_t *info = t->lookup->info;
    const BertChar_ *c = late ? w->normal.at : w->chars.at;
    const int n = late ? w->normal.n : w->chars.n;
    for (int done = 0, at = 0, start, end, k = 0; k >= 0 && !w->failed;) {
        k = bert_find_added_(t, late, c, n, &at, &start, &end);
        const int flags = k < 0 ? 0 : t->added[2 * k + 1];
        if (flags & BERT_SINGLE_WORD_ && ((start > 0 && info[c[start - 1].c] & BERT_WORD_) ||
                                          (end < n && info[c[end].c] & BERT_WORD_)))
            continue;
        if (flags & BERT_RSTRIP_)
            while (end < n && info[c[end].c] & BERT_SPACE_) end++;
        if (flags & BERT_LSTRIP_) { /* but not blanks that the one before took with its rstrip */
            while (start > done && info[c[start - 1].c] & BERT_SPACE_) start--;
            start = bert_min_(start > done ? start : done, end - 1);
        }
        if (done < start && late) bert_split_words_(t, w, done, start);
        else if (done < start) {
            bert_normalize_(t, w, done, start);
            bert_split_added_(t, w, 1);
        }
        if (k < 0) break;
        if (late) bert_token_(w, t->added[2 * k], c[start].from, c[end - 1].from + 1);
        else bert_token_(w, t->added[2 * k], start, end);
        w->word += !w->options.is_words;
        done = end;
    }
}

/* ---- What bert_load makes, and checks, of the tables */

/* The Unicode table is used to look things up, so it has to be whole. */
static int bert_check_unicode_(Bert *m)
{
    const BertTokenizer *t = &m->tokenizer;
    const uint32_t *u = t->unicode;
    uint64_t words = t->unicode_bytes / 4, R, Q, W;
    if (t->unicode_bytes % 4 || words < 3 ||
        (R = u[0], Q = u[1], W = u[2], 3 + 3 * R + 3 * Q + W != words))
        return BERT_BAD_FILE_(m, "Unicode table: %zu bytes, other by its counts", t->unicode_bytes);
    const char *wrong = Q >= 0xFFFF ? "more than 65534 maps" : NULL;
    const uint32_t most[] = {0, 4, 3}; /* characters of an NFD, of a lower case: in Unicode 4, 3 */
    uint64_t i, next = 0, at = Q;
    for (i = 0, u += 3; i < R + Q && !wrong; i++, u += 3) {
        const int map = i >= R;
        const uint32_t last = u[map ? 0 : 1];
        at = map ? i - R : i;
        if (i == R) next = 0;
        if (u[0] < next || last < u[0] || last >= BERT_POINTS_)
            wrong = map ? "code point of map" : "range";
        for (int k = 1; map && k < 3 && !wrong; k++)
            if ((u[k] & 0xFFFFFF) + (u[k] >> 24) > W || u[k] >> 24 > most[k])
                wrong = "place in the pool of map";
        next = (uint64_t)last + 1;
    }
    for (i = 0; i < W && !wrong; i++)
        if (u[i] >= BERT_POINTS_) wrong = "pool word", at = i;
    if (!wrong) return BERT_OK;
    return BERT_BAD_FILE_(m, "Unicode table: %s %llu is out of order or range", wrong,
                          (unsigned long long)at);
}

static int bert_check_added_(Bert *m)
{
    const BertTokenizer *t = &m->tokenizer;
    const int32_t *a = t->added, pieces = t->settings[BERT_NUM_PIECES];
    for (int i = 0; i < t->settings[BERT_NUM_ADDED]; i++, a += 2)
        if (a[0] <= (i ? a[-2] : -1) || a[0] >= pieces || (a[1] & ~63) != 0)
            return BERT_BAD_FILE_(
                m, "added token %d: id %d, flags %d: ids rise, below %d, flags 0..63", i, a[0],
                a[1], pieces);
    return BERT_OK;
}

/* The n characters at c as string i of that kind; of two alike the last piece or first added token
   counts. 0: too many collide. */
static int bert_add_string_(const BertTokenizer *t, int kind, int i, const BertChar_ *c, int n)
{
    uint64_t h = BERT_HASH_SEED_(kind);
    for (int j = 0; j < n; j++) h = BERT_HASH_ON_(h, c[j].c);
    BertSlot_ *slot = bert_slot_(t, h, kind, c, n);
    if (!slot) return 0;
    if (kind < BERT_RAW_ || !slot->key)
        slot->tag = (uint32_t)h, slot->key = 1 + kind + BERT_KINDS_ * i;
    t->lookup->longest[kind] = bert_max_(t->lookup->longest[kind], n);
    return 1;
}

/* Added token a, whose string is in w->chars; what normalizes to nothing is never found. */
static int bert_add_token_(const BertTokenizer *t, struct BertWork_ *w, int a)
{
    struct BertLookup_ *k = t->lookup;
    const int late = (t->added[2 * a + 1] & BERT_NORMALIZED_) != 0;
    if (late) bert_normalize_(t, w, 0, w->chars.n);
    const BertChars_ *c = late ? &w->normal : &w->chars;
    size_t shown = k->shown_at[a];
    w->failed |= !bert_grow_(&k->shown, &k->shown_room, shown + 4 * (size_t)c->n, 1);
    for (int i = 0; i < c->n && late && !w->failed; i++)
        shown += bert_put_utf8(k->shown + shown, c->at[i].c);
    k->shown_at[a + 1] = shown;
    if (!c->n || w->failed) return 1;
    k->begins[late][c->at[0].c % BERT_BEGINS_] = 1;
    return bert_add_string_(t, BERT_RAW_ + late, a, c->at, c->n);
}

/* Enters each code point's properties, then, by rising id, added tokens and pieces. Returns NULL or
   what is wrong: with long strings, which no known model has, a character costs many steps. */
static const char *bert_fill_lookup_(const BertTokenizer *t, struct BertWork_ *w)
{
    const char *wrong = NULL, *many = "too many strings of one hash";
    const struct BertLookup_ *k = t->lookup;
    uint32_t *info = k->info;
    const uint32_t *u = t->unicode + 3, *maps = u + 3 * (size_t)t->unicode[0];
    for (; u < maps; u += 3)
        for (uint32_t c = u[0]; c <= u[1]; c++) info[c] = u[2] & 0xFFFF;
    for (uint32_t i = 0; i < t->unicode[1]; i++) info[maps[3 * i]] |= (i + 1) << 16;
    for (int id = 0, a = 0; id < t->settings[BERT_NUM_PIECES] && !w->failed && !wrong; id++) {
        int added = a < t->settings[BERT_NUM_ADDED] && t->added[2 * a] == id;
        bert_characters_(w, bert_string(&t->vocabulary, (size_t)id));
        if (w->failed) break;
        if (added && !bert_add_token_(t, w, a)) wrong = many;
        if (added && w->chars.n > BERT_LONGEST_) wrong = "a long added token";
        const BertChar_ *c = w->chars.at;
        const int n = w->chars.n, tail = n > 2 && c[0].c == '#' && c[1].c == '#' ? 2 : 0;
        if (n && !(added && t->added[2 * a + 1] & BERT_NO_PIECE_) &&
            !bert_add_string_(t, tail ? BERT_TAIL_ : BERT_FIRST_, id, c + tail, n - tail))
            wrong = many;
        a += added;
    }
    const int longest = bert_max_(k->longest[BERT_FIRST_], k->longest[BERT_TAIL_]);
    if (bert_min_(longest, t->settings[BERT_LONGEST_WORD]) > BERT_LONGEST_)
        wrong = "a long piece, for long words";
    return wrong;
}

static void bert_free_work_(struct BertWork_ *w)
{
    void *own[] = {w->chars.at, w->normal.at, w->marks.at, w->tokens};
    for (int i = 0; i < 4; i++) BERT_FREE(own[i]);
}

/* Checks the tables and makes what encode and decode look things up in. */
static int bert_make_lookup_(Bert *m)
{
    BertTokenizer *t = &m->tokenizer;
    struct BertWork_ w = {0};
    const char *wrong = NULL;
    int error = bert_check_unicode_(m);
    if (!error) error = bert_check_added_(m);
    if (error) return error;
    struct BertLookup_ *k = t->lookup = (struct BertLookup_ *)BERT_CALLOC(1, sizeof *t->lookup);
    if (k) {
        const size_t added = (size_t)t->settings[BERT_NUM_ADDED];
        for (k->bits = 1; (size_t)1 << k->bits < 2 * (t->vocabulary.count + added);) k->bits++;
        k->info = (uint32_t *)BERT_CALLOC(BERT_POINTS_, sizeof *k->info);
        k->slots = (BertSlot_ *)BERT_CALLOC((size_t)1 << k->bits, sizeof *k->slots);
        k->shown_at = (size_t *)BERT_CALLOC(added + 1, sizeof *k->shown_at);
    }
    if (!k || !k->info || !k->slots || !k->shown_at) w.failed = 1;
    else wrong = bert_fill_lookup_(t, &w);
    bert_free_work_(&w);
    if (wrong)
        return BERT_BAD_FILE_(m, "vocabulary: %s (more than %d characters, %d slots)", wrong,
                              BERT_LONGEST_, BERT_PROBES_);
    return w.failed ? BERT_NO_MEMORY_(m, "for the tokenizer") : BERT_OK;
}

static void bert_free_tokenizer_(BertTokenizer *t)
{
    struct BertLookup_ *k = t->lookup;
    if (k) {
        void *own[] = {k->info, k->slots, k->shown, k->shown_at, k};
        for (int i = 0; i < 5; i++) BERT_FREE(own[i]);
    }
    BERT_FREE(t->vocabulary.offsets);
    BERT_FREE(t->added);
    BERT_FREE(t->unicode);
}

/* ---- Encode: one or two texts between [CLS] and [SEP], cut to max_length */

/* Appends the tokens of a text, or of a text given in words; returns how many there are then. */
static int bert_tokenize_(const BertTokenizer *t, struct BertWork_ *w, int text,
                          const BertText *parts, int num_parts)
{
    w->text = text, w->word = 0;
    for (int i = 0; i < num_parts && !w->failed; i++) {
        if (w->options.is_words) w->word = i;
        bert_characters_(w, parts[i]);
        if (!w->failed) bert_split_added_(t, w, 0);
    }
    return w->num_tokens;
}

/* Appends [CLS] a [SEP] b [SEP] as a sequence: of text k the n[k] tokens of the work from at[k]. */
static int bert_append_(const Bert *m, BertEncoding *e, const int *at, const int *n)
{
    const struct BertWork_ *w = e->work;
    const int special = !w->options.no_special;
    const int counts[5] = {special, n[0], special, n[1], special && w->pair};
    const BertSpan none = {0, 0, 0, 0, -1, -1};
    size_t N = (size_t)e->N + (size_t)n[0] + (size_t)n[1] + (size_t)(special * (2 + w->pair));
    if (!bert_grow_(&e->tokens, &e->tokens_room, N, sizeof *e->tokens) ||
        !bert_grow_(&e->types, &e->types_room, N, sizeof *e->types) ||
        !bert_grow_(&e->spans, &e->spans_room, N, sizeof *e->spans) ||
        !bert_grow_(&e->offsets, &e->offsets_room, (size_t)e->B + 2, sizeof *e->offsets))
        return BERT_NO_MEMORY_(e, "for an encoding of %zu tokens", N);
    e->offsets[e->B++] = e->N;
    for (int k = 0; k < 5; k++)
        for (int i = 0; i < counts[k]; i++, e->N++) {
            const BertToken_ *token = k % 2 ? &w->tokens[at[k / 2] + i] : NULL;
            e->tokens[e->N] =
                token ? token->id : m->tokenizer.settings[k ? BERT_ID_SEP : BERT_ID_CLS];
            e->types[e->N] = k > 2;
            e->spans[e->N] = token ? token->span : none;
        }
    e->offsets[e->B] = e->N;
    return BERT_OK;
}

BERTDEF int bert_encode_more(const Bert *m, BertEncoding *e)
{
    struct BertWork_ *w = e->work;
    if (!w || !w->more) return BERT_REFUSE_(e, "the last text has no more windows");
    const int second = w->options.truncation == BERT_ONLY_SECOND, B = e->B, N = e->N;
    int error, made = 0;
    do {
        int at[2] = {0, w->sizes[0]}, n[2] = {w->keep[0], w->keep[1]};
        at[second] += w->next;
        n[second] = bert_min_(n[second], w->sizes[second] - w->next);
        error = bert_append_(m, e, at, n);
        e->cut = w->sizes[0] + w->sizes[1] - w->next - n[0] - n[1];
        w->next += w->keep[second] - w->options.stride;
        w->more = !error && w->options.windows && e->cut > 0;
        if (error) e->B = B, e->N = N;
    } while (w->more && ++made != w->options.at_once);
    return error;
}

/* How many tokens of each text fit into max_length. longest_first as the Rust library counts: the
   longer text is cut first, then both, and of an odd room the longer one gets the odd token. */
static int bert_fit_(BertEncoding *e)
{
    struct BertWork_ *w = e->work;
    const int *sizes = w->sizes, windows = w->options.windows, cut = w->options.truncation;
    const int room = w->options.max_length - !w->options.no_special * (2 + w->pair);
    const int over = sizes[0] + sizes[1] - room, longer = sizes[0] <= sizes[1];
    const int second = cut == BERT_ONLY_SECOND, stride = windows ? w->options.stride : 0;
    int *keep = w->keep;
    keep[0] = sizes[0], keep[1] = sizes[1];
    if (over <= 0 || cut == BERT_DO_NOT_TRUNCATE) return BERT_OK;
    if (room <= 0 && !windows) {
        keep[0] = keep[1] = 0;
    } else if (!w->pair && second) {
        return BERT_REFUSE_(e, "only_second, but there is no second text");
    } else if (!w->pair || cut != BERT_LONGEST_FIRST) {
        keep[second] -= over;
        if (keep[second] <= stride)
            return BERT_REFUSE_(e, "of the %s text's %d tokens %d fit, not more than the stride %d",
                                second ? "second" : "first", sizes[second],
                                bert_max_(keep[second], 0), stride);
    } else if (windows) {
        return BERT_REFUSE_(e, "windows of a pair need only_first or only_second");
    } else {
        keep[longer] = bert_max_(room - sizes[!longer], room - room / 2);
        keep[!longer] = room - keep[longer];
    }
    return BERT_OK;
}

BERTDEF int bert_encode_texts(const Bert *m, BertEncoding *e, const BertText *text, int text_n,
                              const BertText *pair, int pair_n, const BertEncodeOptions *options)
{
    BertEncodeOptions o = {0, BERT_LONGEST_FIRST, 0, 0, 0, 0, 0};
    if (options) o = *options;
    if (e->work) e->work->more = e->cut = 0; /* of the text before */
    if (!o.max_length || o.truncation == BERT_DO_NOT_TRUNCATE) o.max_length = m->config.P;
    const int least = o.no_special ? 0 : pair ? 3 : 2;
    if (!m->tokenizer.lookup) return BERT_REFUSE_(e, "the model has no tokenizer (vocabulary)");
    if (o.truncation != BERT_DO_NOT_TRUNCATE && o.max_length < least)
        return BERT_REFUSE_(e, "max_length is %d: [CLS] and [SEP] need at least %d", o.max_length,
                            least);
    if (o.truncation < 0 || o.truncation > BERT_DO_NOT_TRUNCATE || o.stride < 0 || o.at_once < 0 ||
        (!o.is_words && (text_n != 1 || (pair && pair_n != 1))))
        return BERT_REFUSE_(e, "truncation, stride or number of texts is out of range");
    for (int i = 0; i < text_n + (pair ? pair_n : 0); i++)
        if ((i < text_n ? text[i] : pair[i - text_n]).size >= INT_MAX / 2)
            return BERT_REFUSE_(e, "text of more than 1 GiB");
    if (!e->work) e->work = (struct BertWork_ *)BERT_CALLOC(1, sizeof *e->work);
    struct BertWork_ *w = e->work;
    if (!w || !bert_grow_(&w->tokens, &w->tokens_room, 1, sizeof *w->tokens)) /* never NULL */
        return BERT_NO_MEMORY_(e, "to encode");
    w->num_tokens = w->failed = w->next = 0;
    w->options = o, w->pair = pair != NULL;
    w->sizes[0] = bert_tokenize_(&m->tokenizer, w, 0, text, text_n);
    w->sizes[1] = bert_tokenize_(&m->tokenizer, w, 1, pair, pair ? pair_n : 0) - w->sizes[0];
    if (w->failed) return BERT_NO_MEMORY_(e, "to encode");
    if (bert_fit_(e)) return BERT_EINPUT;
    w->more = 1;
    return bert_encode_more(m, e);
}

BERTDEF int bert_encode(const Bert *m, BertEncoding *e, const char *text, const char *pair,
                        const BertEncodeOptions *options)
{
    BertText a = {text, strlen(text)}, b = {pair, pair ? strlen(pair) : 0};
    return bert_encode_texts(m, e, &a, 1, pair ? &b : NULL, 1, options);
}

BERTDEF void bert_encoding_clear(BertEncoding *e) { e->B = e->N = 0; }

BERTDEF void bert_encoding_free(BertEncoding *e)
{
    if (e->work) bert_free_work_(e->work);
    void *own[] = {e->work, e->tokens, e->types, e->spans, e->offsets};
    for (int i = 0; i < 5; i++) BERT_FREE(own[i]);
    memset(e, 0, sizeof *e);
}

/* ---- Decode */

/* Replaces one string by a shorter one in s (n bytes); returns what is left of n. */
static size_t bert_replace_(char *s, size_t n, const char *old, const char *by)
{
    size_t from = strlen(old), to = strlen(by), kept = 0;
    for (size_t i = 0; i < n;) {
        if (n - i >= from && !memcmp(s + i, old, from)) {
            memcpy(s + kept, by, to);
            kept += to, i += from;
        } else s[kept++] = s[i++];
    }
    return kept;
}

/* Takes blanks out: with do_not of a token, as the Rust library, else of a text (transformers). */
static size_t bert_clean_up_(char *s, size_t n, int do_not)
{
    static const char *const pairs[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                           {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                           {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                           {" 've", "'ve"}, {" 're", "'re"}};
    for (int i = 0; i < 11; i++)
        if (i != 7 || do_not) n = bert_replace_(s, n, pairs[i][0], pairs[i][1]);
    return n;
}

/* What an id is shown as: its string, or a normalized added token's normal form. The library knows
   a special token by what is shown: one whose normal form differs is not special. */
static BertText bert_shown_(const BertTokenizer *t, int id, int *special)
{
    const struct BertLookup_ *k = t->lookup;
    const BertText string = bert_string(&t->vocabulary, (size_t)id);
    int low = 0, high = t->settings[BERT_NUM_ADDED];
    while (low < high) { /* ids of added tokens rise */
        int middle = (low + high) / 2;
        if (t->added[2 * middle] < id) low = middle + 1;
        else high = middle;
    }
    *special = 0;
    if (low == t->settings[BERT_NUM_ADDED] || t->added[2 * low] != id) return string;
    *special = t->added[2 * low + 1] & BERT_SPECIAL_;
    const size_t size = k->shown_at[low + 1] - k->shown_at[low];
    if (!size) return string;
    const BertText shown = {k->shown + k->shown_at[low], size};
    if (shown.size != string.size || memcmp(shown.bytes, string.bytes, shown.size)) *special = 0;
    return shown;
}

BERTDEF size_t bert_decode(const Bert *m, char *out, size_t room, const int *ids, int n,
                           int skip_special, int clean_up)
{
    size_t length = 0;
    int fits = 1, first = 1, special;
    for (int i = 0; i < n; i++) {
        if (!m->tokenizer.lookup || ids[i] < 0 || ids[i] >= m->tokenizer.settings[BERT_NUM_PIECES])
            continue;
        BertText s = bert_shown_(&m->tokenizer, ids[i], &special);
        if (!s.size || (special && skip_special)) continue; /* "": no token */
        int tail = !first && s.size >= 2 && !memcmp(s.bytes, "##", 2), blank = !first && !tail;
        if (tail) s.bytes += 2, s.size -= 2;
        first = 0;
        fits = fits && length + s.size + 1 < room;
        if (fits) {
            if (blank) out[length] = ' ';
            memcpy(out + length + blank, s.bytes, s.size);
            length += bert_clean_up_(out + length, s.size + (size_t)blank, 1);
        } else length += s.size + (size_t)blank;
    }
    if (fits && clean_up) length = bert_clean_up_(out, length, 0);
    if (room) out[fits ? length : 0] = 0;
    return length;
}

/* ------------------------------------------------------------------------------------------------
   Answers: what the outputs mean */

BERTDEF int bert_predict(Bert *m, const BertEncoding *e)
{
    const int mask = m->tokenizer.lookup ? m->tokenizer.settings[BERT_ID_MASK] : -1;
    BertBatch batch = {0};
    int *rows = NULL;
    batch.B = e->B, batch.offsets = e->offsets;
    batch.tokens = e->tokens, batch.types = e->types;
    if (bert_reads_(m) & BERT_READS_MASKED && mask >= 0 && e->N > 0) {
        rows = (int *)BERT_MALLOC((size_t)e->N * sizeof *rows);
        if (!rows) return m->training = m->B = 0, BERT_NO_MEMORY_(m, "for %d tokens", e->N);
        for (int n = 0; n < e->N; n++)
            if (e->tokens[n] == mask) rows[batch.R++] = n;
    }
    batch.rows = rows;
    int error = bert_forward(m, &batch, 0);
    BERT_FREE(rows);
    return error;
}

BERTDEF int bert_embed(Bert *m, float *out, int pooling, int normalize)
{
    const int B = m->B, C = m->config.C, task = m->config.task, *offsets = m->batch.offsets;
    const int only_cls = bert_reads_(m) == BERT_READS_CLS;
    if (B < 1) return BERT_REFUSE_(m, "an embedding follows a forward");
    if (pooling < BERT_POOL_DEFAULT || pooling > BERT_POOL_POOLER)
        return BERT_REFUSE_(m, "pooling is %d, not in 0..%d", pooling, BERT_POOL_POOLER);
    if (pooling == BERT_POOL_DEFAULT) pooling = bert_max_(m->config.pooling, BERT_POOL_MEAN);
    if (normalize < 0) normalize = m->config.normalize;
    if (pooling == BERT_POOL_POOLER && !m->acts.pooled)
        return BERT_REFUSE_(m, "the model has no pooler, or task %d does not compute it", task);
    if (pooling == BERT_POOL_MEAN && only_cls)
        return BERT_REFUSE_(m, "no mean: task %d computes only [CLS] (bert_set_task)", task);
    const int pooler = pooling == BERT_POOL_POOLER, of_cls = pooler || only_cls; /* x (B,C) */
    const float *x = pooler ? m->acts.pooled : m->acts.ln2;
    for (int b = 0; b < B; b++) {
        const int rows = pooling == BERT_POOL_MEAN ? offsets[b + 1] - offsets[b] : 1;
        const float *from = x + (size_t)(of_cls ? b : offsets[b]) * C;
        float *o = out + (size_t)b * C, scale = 1.0f / (float)rows;
        memcpy(o, from, (size_t)C * sizeof *o);
        for (int n = 1; n < rows; n++)
            for (int i = 0; i < C; i++) o[i] += from[(size_t)n * C + i];
        if (normalize) { /* o is the sum; the mean has its direction */
            float norm = sqrtf(bert_dot_(o, 0.0f, o, 0.0f, C));
            scale = norm > 1e-12f ? 1.0f / norm : 1e12f;
        }
        for (int i = 0; i < C; i++) o[i] *= scale;
    }
    return BERT_OK;
}

/* The k highest of n values that stand step apart: indices, highest first, of equals the first. */
static int bert_highest_(int *ids, const float *x, int n, int step, int k)
{
    int count = 0;
    for (int i = 0; i < n && k > 0; i++) {
        float value = x[(size_t)i * step];
        int at = bert_min_(count, k - 1); /* where it would push the last one out */
        if (count == k && !(value > x[(size_t)ids[at] * step])) continue;
        for (; at > 0 && value > x[(size_t)ids[at - 1] * step]; at--) ids[at] = ids[at - 1];
        ids[at] = i;
        if (count < k) count++;
    }
    return count;
}

BERTDEF int bert_argmax(const float *x, int n)
{
    int best = 0;
    bert_highest_(&best, x, n, 1, 1);
    return best;
}

BERTDEF int bert_top_k(int *ids, float *probs, const float *logits, int n, int k)
{
    double sum = 0.0;
    int count = bert_highest_(ids, logits, n, 1, k);
    if (!probs || !count) return count;
    for (int i = 0; i < n; i++) sum += exp((double)logits[i] - logits[ids[0]]);
    for (int i = 0; i < count; i++)
        probs[i] = (float)(exp((double)logits[ids[i]] - logits[ids[0]]) / sum);
    return count;
}

/* The text from that byte on. */
static BertText bert_rest_(BertText text, const char *from)
{
    text.size -= (size_t)(from - text.bytes);
    text.bytes = from;
    return text;
}

BERTDEF BertTag bert_tag(const BertStrings *labels, int label)
{
    BertTag tag = {'O', 0, {NULL, 0}, {NULL, 0}, {"_", 1}};
    if (!labels || (size_t)label >= labels->count) return tag;
    const BertText whole = tag.kind = tag.name = bert_string(labels, (size_t)label);
    if (!whole.size) return tag;
    const char *second = whole.bytes + 1;
    const char *dash = (const char *)memchr(whole.bytes, '-', whole.size);
    const char *later = (const char *)memchr(second, '-', whole.size - 1);
    tag.letter = *whole.bytes;
    if (dash) tag.name = bert_rest_(whole, dash + 1);
    if (dash == second && (tag.letter == 'B' || tag.letter == 'I'))
        tag.kind = tag.name, tag.begins = tag.letter == 'B';
    const BertText type = bert_rest_(whole, later ? later + 1 : second);
    if (type.size) tag.type = type;
    return tag;
}

static int bert_joins_(const BertStrings *labels, int before, int label)
{
    const BertTag a = bert_tag(labels, before), b = bert_tag(labels, label);
    if (!a.kind.bytes) return before == label;
    return a.kind.size == b.kind.size && !memcmp(a.kind.bytes, b.kind.bytes, a.kind.size) &&
           !b.begins;
}

BERTDEF int bert_entities(BertEntity *entities, const float *logits, const int *spans, int T, int K,
                          const BertStrings *labels)
{
    int count = 0, kept = 0, before = -1, tokens = 0;
    for (int t = 0; t < T; t++) {
        int label;
        float prob;
        if (spans[2 * t] < 0 || !bert_top_k(&label, &prob, logits + (size_t)t * K, K, 1)) continue;
        if (before < 0 || !bert_joins_(labels, before, label)) {
            BertEntity fresh = {label, t, t, spans[2 * t], 0, 0.0f};
            entities[count++] = fresh;
            tokens = 0;
        }
        BertEntity *e = &entities[count - 1];
        e->score += (prob - e->score) / (float)++tokens; /* the mean so far */
        e->last = t, e->end = spans[2 * t + 1];
        before = label;
    }
    for (int i = 0; i < count; i++) { /* O: no entity */
        const BertText kind = bert_tag(labels, entities[i].label).kind;
        if (kind.size != 1 || *kind.bytes != 'O') entities[kept++] = entities[i];
    }
    return kept;
}

static double bert_value_(const BertAnswer *s) { return (double)s->start_logit + s->end_logit; }

/* Into its place by score, behind its equals; the last one falls out where all places are taken. */
static void bert_answer_insert_(BertAnswers *a, BertAnswer span, int most)
{
    if (a->count == most && bert_value_(&span) <= bert_value_(&a->best[most - 1])) return;
    if (a->count < most) a->count++;
    int at = a->count - 1;
    for (; at > 0 && bert_value_(&span) > bert_value_(&a->best[at - 1]); at--)
        a->best[at] = a->best[at - 1];
    a->best[at] = span;
}

/* Scores a window's spans and none within the window. */
static void bert_score_window_(BertAnswers *a, BertAnswer *none, const float *logits,
                               const int *spans, int T)
{
    float top[2] = {logits[0], logits[1]};
    double sum[2] = {0.0, 0.0};
    for (int t = 0; t < T; t++)
        for (int j = 0; j < 2; j++)
            if (spans[2 * t] >= 0 && logits[2 * t + j] > top[j]) top[j] = logits[2 * t + j];
    for (int t = 0; t < T; t++)
        for (int j = 0; j < 2; j++)
            if (t == 0 || spans[2 * t] >= 0) sum[j] += exp((double)logits[2 * t + j] - top[j]);
    for (int i = 0; i <= a->count; i++) {
        BertAnswer *x = i < a->count ? &a->best[i] : none;
        x->score = exp((double)x->start_logit - top[0]) / sum[0] *
                   (exp((double)x->end_logit - top[1]) / sum[1]);
    }
}

/* A span is a start and an end that is not before it: run_qa combines the n best, the pipeline all.
   none becomes that of the window in which it is lowest. */
BERTDEF void bert_answers_add(BertAnswers *a, const float *logits, const int *spans, int T)
{
    int starts[BERT_MOST_ANSWERS], ends[BERT_MOST_ANSWERS];
    const int all = a->by_window, most = bert_max_(1, bert_min_(a->n_best, BERT_MOST_ANSWERS));
    const int num_starts = all ? T : bert_highest_(starts, logits, T, 2, most);
    const int num_ends = all ? T : bert_highest_(ends, logits + 1, T, 2, most);
    BertAnswer none = {logits[0], logits[1], 0, 0, 0.0};
    a->n_best = most;
    if (all) a->count = 0;
    for (int i = 0; i < num_starts; i++)
        for (int j = all ? i : 0; j < num_ends; j++) {
            int s = all ? i : starts[i], e = all ? j : ends[j];
            if (spans[2 * s] < 0 || spans[2 * e] < 0 || e < s || e - s >= a->max_tokens) continue;
            BertAnswer span = {logits[2 * s], logits[2 * e + 1], spans[2 * s], spans[2 * e + 1], 0};
            bert_answer_insert_(a, span, most);
        }
    if (all) bert_score_window_(a, &none, logits, spans, T);
    if (a->windows++ == 0 ||
        (all ? none.score < a->none.score : bert_value_(&none) < bert_value_(&a->none)))
        a->none = none;
}

BERTDEF int bert_answers_end(BertAnswers *a, double threshold)
{
    int answer = 0, n = a->n_best, kept = 0;
    for (int i = 0; i < a->count; i++) /* without none, from a call before */
        if (a->best[i].end > 0) a->best[kept++] = a->best[i];
    a->count = kept;
    if (a->may_lack && a->windows) { /* however low it is, it stays in the list */
        n += a->count == n && bert_value_(&a->none) <= bert_value_(&a->best[n - 1]);
        bert_answer_insert_(a, a->none, n);
    }
    if (!a->count) return -1;
    double sum = 0.0, top = bert_value_(&a->best[0]);
    for (int i = 0; i < a->count; i++) sum += exp(bert_value_(&a->best[i]) - top);
    for (int i = 0; i < a->count; i++) a->best[i].score = exp(bert_value_(&a->best[i]) - top) / sum;
    while (answer < a->count && a->best[answer].end == 0) answer++; /* the best that is text */
    if (answer == a->count) return -1;
    if (!a->may_lack) return answer;
    double above = bert_value_(&a->none) - bert_value_(&a->best[answer]);
    return above > threshold ? -1 : answer;
}

/* ------------------------------------------------------------------------------------------------
   Model files. Little endian, on every machine: a header of 256 int32, unused words zero, then the
   sections in this order, each padded with zero bytes to a multiple of 8. "f32" is a float's bits,
   "u64" takes two words, the low one first. "Strings" are u64 offsets (count + 1, the first 0) and
   the UTF-8 bytes they point into, unterminated.
       1         parameters, f32: the tensors of BERT_TENSORS that the task has, in that order
       2         label names, strings (nothing where their number is 0)
       3         vocabulary, strings: token id = index; "": no token (nothing where word 32 is 0)
       4         added tokens: (id, flags) int32 pairs by rising id
       5         Unicode table (nothing where there is no tokenizer), uint32: what Hugging Face's
                 tokenizer knows of each code point. R, Q, W; R ranges (first, last, properties),
                 rising, disjoint; Q maps (code point, NFD, lower case), rising, where NFD and lower
                 case are pool index | length << 24 with a length of at most 4 and 3, or 0: the code
                 point stays (Hangul syllables have no row: they are decomposed by arithmetic); and
                 the pool, W code points.
   In version 1, words 43..51 are zero, row 0 of wte is [PAD]'s (padding_idx is 0), and words 37 and
   41 are 0 where there is no [PAD], no [MASK].
   The tokenizer hash, which ties data files to a vocabulary, is 64-bit FNV-1a over words 32..42 (0
   for an id of -1), a zero word, and sections 3 and 4 without their padding: the same of both. */

/* Words of the header. */
enum {
    BERT_H_MAGIC_ = 0,       /* 0x4D545242, the bytes "BRTM" */
    BERT_H_VERSION_ = 1,     /* 2 */
    BERT_H_CONFIG_ = 2,      /* 2..19: BertConfig from V to max_seq_length, floats as f32 */
    BERT_H_PARAMETERS_ = 20, /* u64: the floats of section 1 */
    BERT_H_LABELS_ = 22,     /* label names: K, or 0 where they have none */
    BERT_H_BYTES_2_ = 23,    /* u64: bytes of section 2, before padding (as all sizes) */
    BERT_H_BYTES_3_ = 25,    /* u64: of section 3 */
    BERT_H_BYTES_5_ = 27,    /* u64: of section 5 */
    BERT_H_BYTES_ = 30,      /* u64: of the whole file */
    BERT_H_TOKENIZER_ = 32,  /* 32..42: a BertTokenizer's words */
    BERT_H_MORE_ = 43,       /* 43..51: BertConfig from padding_idx, which is stored + 1, on */
    BERT_HEADER_ = 256       /* so many there are */
};

typedef unsigned long long BertBytes_; /* what printf knows, as uint64_t is not */
enum { BERT_MAGIC_ = 0x4D545242, BERT_VERSION_ = 2 };

/* Byte i of a file's array of numbers, unit bytes each, is byte i ^ bert_flip_(unit) in memory: the
   same on a little-endian machine; on a big-endian one each number is turned round. */
static size_t bert_flip_(size_t unit)
{
    const uint16_t one = 1;
    return *(const unsigned char *)&one ? 0 : unit - 1;
}

static uint64_t bert_fnv1a_(uint64_t hash, const void *data, size_t size, size_t unit)
{
    const unsigned char *p = (const unsigned char *)data;
    const size_t flip = bert_flip_(unit);
    for (size_t i = 0; i < size; i++) hash = (hash ^ p[i ^ flip]) * 0x100000001B3u;
    return hash;
}

/* Where a model is read from, a file or (file NULL) memory; or the file it is written to. */
typedef struct {
    FILE *file;
    const char *data;
    BertBytes_ size, at;
    int writing;
} BertSource_;

/* Reads or writes numbers of unit bytes. What fails in writing the file remembers. */
static int bert_transfer_(Bert *m, BertSource_ *s, void *numbers, BertBytes_ bytes, size_t unit)
{
    const size_t flip = bert_flip_(unit);
    char *p = (char *)numbers;
    if (s->writing) {
        if (!flip) fwrite(p, 1, (size_t)bytes, s->file);
        for (size_t i = 0; flip && i < bytes; i++) putc(p[i ^ flip], s->file);
        return BERT_OK;
    }
    if (bytes > s->size - s->at)
        return BERT_BAD_FILE_(m, "cut off: %llu bytes, more were expected", s->size);
    if (s->file && fread(p, 1, (size_t)bytes, s->file) != bytes)
        return BERT_FAIL_(m, BERT_EFILE, "cannot read on at byte %llu", s->at);
    if (!s->file) memcpy(p, s->data + s->at, (size_t)bytes);
    s->at += bytes;
    for (size_t i = 0; flip && i < bytes / unit * unit; i++)
        if ((i ^ flip) > i) {
            char byte = p[i];
            p[i] = p[i ^ flip], p[i ^ flip] = byte;
        }
    return BERT_OK;
}

static BertBytes_ bert_u64_(const int32_t *h)
{
    return (BertBytes_)(uint32_t)h[1] << 32 | (uint32_t)h[0];
}

static void bert_put_u64_(int32_t *h, BertBytes_ x)
{
    h[0] = (int32_t)(uint32_t)x;
    h[1] = (int32_t)(uint32_t)(x >> 32);
}

/* A section of the file, from byte at on: its first `numbers` bytes are numbers of unit bytes, the
   rest is text. array is the address of its pointer in memory: &m->params_memory, ... */
typedef struct {
    void *array;
    size_t unit;
    BertBytes_ bytes, numbers, at;
} BertSection_;
enum { BERT_NUM_SECTIONS_ = 5 };

/* The sections that a header tells of; returns the size of the file. */
static BertBytes_ bert_sections_(BertSection_ *s, Bert *m, const int32_t *h)
{
    BertTokenizer *t = &m->tokenizer;
    const int32_t *words = h + BERT_H_TOKENIZER_;
    const BertBytes_ parameters = bert_times_((size_t)bert_u64_(h + BERT_H_PARAMETERS_), 4);
    const BertBytes_ labels = h[BERT_H_LABELS_], pieces = words[BERT_NUM_PIECES], all = ~0ull;
    const BertSection_ rows[BERT_NUM_SECTIONS_] = {
        {&m->params_memory, 4, parameters, all, 0},
        {&m->labels.offsets, 8, bert_u64_(h + BERT_H_BYTES_2_), (labels + 1) * 8, 0},
        {&t->vocabulary.offsets, 8, bert_u64_(h + BERT_H_BYTES_3_), (pieces + 1) * 8, 0},
        {&t->added, 4, (BertBytes_)words[BERT_NUM_ADDED] * 8, all, 0},
        {&t->unicode, 4, bert_u64_(h + BERT_H_BYTES_5_), all, 0},
    };
    BertBytes_ at = BERT_HEADER_ * 4;
    for (int i = 0; i < BERT_NUM_SECTIONS_; i++) {
        s[i] = rows[i], s[i].at = at;
        if (s[i].numbers > s[i].bytes) s[i].numbers = s[i].bytes;
        at += (s[i].bytes + 7) / 8 * 8;
    }
    return at;
}

/* Reads or writes a section and its padding. New memory has a byte more: it is never empty. */
static int bert_transfer_section_(Bert *m, BertSource_ *source, const BertSection_ *s)
{
    char *p, padding[8] = {0};
    if (source->writing && !s->bytes) return BERT_OK;
    memcpy(&p, s->array, sizeof p);
    if (!p) p = (char *)BERT_CALLOC((size_t)s->bytes + 1, 1);
    if (!p) return BERT_NO_MEMORY_(m, "for %llu bytes of the file", s->bytes);
    memcpy(s->array, &p, sizeof p);
    int error = bert_transfer_(m, source, p, s->numbers, s->unit);
    if (!error) error = bert_transfer_(m, source, p + s->numbers, s->bytes - s->numbers, 1);
    return error ? error : bert_transfer_(m, source, padding, (8 - s->bytes % 8) % 8, 1);
}

/* Checks a section of strings: count + 1 rising offsets, then the bytes. */
static int bert_check_strings_(Bert *m, BertStrings *strings, const BertSection_ *s, size_t count,
                               const char *what)
{
    const BertBytes_ table = ((BertBytes_)count + 1) * 8;
    if (count ? s->bytes < table : s->bytes > 0)
        return BERT_BAD_FILE_(m, "%s: %zu strings cannot be %llu bytes", what, count, s->bytes);
    if (!count) return BERT_OK;
    strings->count = count, strings->bytes = (char *)strings->offsets + table;
    for (size_t i = 0; i < count; i++)
        if (strings->offsets[0] || strings->offsets[i] > strings->offsets[i + 1] ||
            strings->offsets[count] != s->bytes - table)
            return BERT_BAD_FILE_(m, "%s: the offset of string %zu is wrong", what, i);
    return BERT_OK;
}

/* BertConfig's fields are words in the header's order: this does not compile where they are not. */
enum { BERT_FIELDS_ = BERT_H_PARAMETERS_ - BERT_H_CONFIG_, BERT_MORE_FIELDS_ = 9 };
typedef char bert_first_fields_[offsetof(BertConfig, padding_idx) == BERT_FIELDS_ * 4 ? 1 : -1];
typedef char bert_more_fields_[sizeof(BertConfig) / 4 - BERT_FIELDS_ == BERT_MORE_FIELDS_ ? 1 : -1];

static BertConfig bert_config_of_(const int32_t *h)
{
    BertConfig c;
    memcpy(&c, h + BERT_H_CONFIG_, BERT_FIELDS_ * sizeof *h);
    memcpy(&c.padding_idx, h + BERT_H_MORE_, BERT_MORE_FIELDS_ * sizeof *h);
    c.padding_idx -= c.padding_idx > INT_MIN; /* its check says no to INT_MIN */
    return c;
}

/* The tokenizer's words, but for the number of pieces, which is right. */
static int bert_check_words_(Bert *m, const int32_t *words)
{
    const int pieces = words[BERT_NUM_PIECES];
    for (int i = BERT_LOWER_CASE; i <= BERT_NUM_ADDED; i++) {
        const int flag = i <= BERT_CHINESE_CHARS, id = i >= BERT_ID_PAD && i <= BERT_ID_MASK;
        const int may_lack = i == BERT_ID_PAD || i == BERT_ID_MASK;
        int most = !pieces ? 0 : flag ? 1 : id ? pieces - 1 : INT_MAX;
        int least = !pieces ? 0 : i == BERT_LONGEST_WORD ? 1 : may_lack ? -1 : 0;
        if (words[i] < least || words[i] > most)
            return BERT_BAD_FILE_(m, "word %d (tokenizer) is %d, not in %d..%d",
                                  BERT_H_TOKENIZER_ + i, words[i], least, most);
    }
    return BERT_OK;
}

/* Everything in the header that can be wrong, before memory is taken for any of it. */
static int bert_check_header_(Bert *m, BertBytes_ file, const int32_t *h)
{
    BertTensor tensors[BERT_NUM_TENSORS];
    BertSection_ sections[BERT_NUM_SECTIONS_];
    const BertConfig c = bert_config_of_(h);
    const int32_t *words = h + BERT_H_TOKENIZER_, labels = h[BERT_H_LABELS_];
    const int pieces = words[BERT_NUM_PIECES], added = words[BERT_NUM_ADDED];
    const BertBytes_ said = bert_u64_(h + BERT_H_PARAMETERS_), size = bert_u64_(h + BERT_H_BYTES_);
    if (h[BERT_H_MAGIC_] != BERT_MAGIC_)
        return BERT_BAD_FILE_(m,
                              "not a model file of bert.h: it begins with %08X, not %08X "
                              "(dev/export_hf.py makes one)",
                              (unsigned)h[BERT_H_MAGIC_], (unsigned)BERT_MAGIC_);
    if (h[BERT_H_VERSION_] < 1 || h[BERT_H_VERSION_] > BERT_VERSION_)
        return BERT_BAD_FILE_(
            m, "version %d; this bert.h reads versions 1 to %d: export the model again",
            h[BERT_H_VERSION_], BERT_VERSION_);
    if (bert_check_config_(m, &c)) return BERT_EFORMAT;
    const size_t parameters = bert_layout_(tensors, &c);
    if (parameters != said)
        return BERT_BAD_FILE_(m, "%llu parameters, %zu by the header's sizes", said, parameters);
    if ((labels != 0 && labels != c.K) || pieces < 0 || pieces > c.V || added < 0 || added > c.V)
        return BERT_BAD_FILE_(
            m, "%d labels, %d vocabulary strings, %d added tokens do not fit K %d, V %d", labels,
            pieces, added, c.K, c.V);
    if (bert_check_words_(m, words)) return BERT_EFORMAT;
    if (!pieces && bert_u64_(h + BERT_H_BYTES_5_))
        return BERT_BAD_FILE_(m, "a Unicode table, but no vocabulary");
    const BertBytes_ total = bert_sections_(sections, m, h);
    for (int i = 0; i < BERT_NUM_SECTIONS_; i++)
        if (sections[i].bytes > file || sections[i].at > file)
            return BERT_BAD_FILE_(
                m, "cut off, or its header is damaged: section %d has %llu bytes, the file %llu",
                i + 1, sections[i].bytes, file);
    if (total != file || total != size)
        return BERT_BAD_FILE_(m, "%llu bytes; its sections make %llu, its header says %llu", file,
                              total, size);
    return BERT_OK;
}

/* Version 1 has 0 for a special token that is not there, and for one that is the first. */
static void bert_none_in_version_1_(BertTokenizer *t, int word, const char *token)
{
    const BertText first = bert_string(&t->vocabulary, 0);
    if (!t->settings[word] &&
        (first.size != strlen(token) || memcmp(first.bytes, token, first.size)))
        t->settings[word] = -1;
}

static uint64_t bert_hash_tokenizer_(const BertTokenizer *t)
{
    const BertStrings *v = &t->vocabulary;
    int32_t words[12] = {0};
    for (int i = 0; i < 11; i++) words[i] = t->settings[i] < 0 ? 0 : t->settings[i];
    uint64_t hash = bert_fnv1a_(0xCBF29CE484222325u, words, sizeof words, 4);
    hash = bert_fnv1a_(hash, v->offsets, bert_table_bytes_(v), 8);
    hash = bert_fnv1a_(hash, v->bytes, bert_strings_bytes_(v) - bert_table_bytes_(v), 1);
    return bert_fnv1a_(hash, t->added, (size_t)t->settings[BERT_NUM_ADDED] * 8, 4);
}

static int bert_read_model_(Bert *m, BertSource_ *s)
{
    int32_t h[BERT_HEADER_];
    BertTokenizer *t = &m->tokenizer;
    BertSection_ sections[BERT_NUM_SECTIONS_];
    if (s->size < sizeof h)
        return BERT_BAD_FILE_(m, "%llu bytes are too few for a model file", s->size);
    int error = bert_transfer_(m, s, h, sizeof h, 4);
    const int old = !error && h[BERT_H_VERSION_] == 1;
    if (old) memset(h + BERT_H_MORE_, 0, BERT_MORE_FIELDS_ * sizeof *h), h[BERT_H_MORE_] = 1;
    if (!error) error = bert_check_header_(m, s->size, h);
    if (error) return error;
    memcpy(t->settings, h + BERT_H_TOKENIZER_, sizeof t->settings);
    t->unicode_bytes = (size_t)bert_u64_(h + BERT_H_BYTES_5_);
    error = bert_build(m, bert_config_of_(h));
    bert_sections_(sections, m, h);
    for (int i = 0; i < BERT_NUM_SECTIONS_ && !error; i++)
        error = bert_transfer_section_(m, s, &sections[i]);
    if (!error)
        error = bert_check_strings_(m, &m->labels, &sections[1], h[BERT_H_LABELS_], "label names");
    if (!error)
        error = bert_check_strings_(m, &t->vocabulary, &sections[2], t->settings[BERT_NUM_PIECES],
                                    "vocabulary");
    if (!error && t->vocabulary.count) error = bert_make_lookup_(m);
    if (error) return error;
    if (old && t->vocabulary.count) {
        bert_none_in_version_1_(t, BERT_ID_PAD, "[PAD]");
        bert_none_in_version_1_(t, BERT_ID_MASK, "[MASK]");
    }
    t->hash = bert_hash_tokenizer_(t);
    return BERT_OK;
}

/* Reads the model; on failure the message is put behind the source's name, and m is empty. */
static int bert_load_source_(Bert *m, BertSource_ *s, const char *name)
{
    char why[sizeof m->message];
    int error = bert_read_model_(m, s);
    if (!error) return BERT_OK;
    memcpy(why, m->message, sizeof why);
    bert_free(m);
    return BERT_FAIL_(m, error, "%s: %.400s", name, why);
}

BERTDEF int bert_load_memory(Bert *m, const void *data, size_t size)
{
    BertSource_ s = {NULL, (const char *)data, size, 0, 0};
    bert_free(m);
    return bert_load_source_(m, &s, "memory");
}

BERTDEF int bert_load(Bert *m, const char *path)
{
    BertSource_ s = {fopen(path, "rb"), NULL, 0, 0, 0};
    const int reason = errno;
    bert_free(m);
    if (!s.file) return BERT_FAIL_(m, BERT_EFILE, "%s: cannot open it: %s", path, strerror(reason));
    const int folder = getc(s.file) == EOF && ferror(s.file); /* its size may be anything */
#ifdef _WIN32
    long long size = _fseeki64(s.file, 0, SEEK_END) ? -1 : _ftelli64(s.file);
#else
    long size = fseek(s.file, 0, SEEK_END) ? -1 : ftell(s.file);
#endif
    const char *why = NULL;
    if (folder) why = "cannot read it: is it a folder? dev/export_hf.py makes a file of one";
    else if (size < 0 || fseek(s.file, 0, SEEK_SET))
        why = "cannot tell its size: not a regular file?";
    s.size = (BertBytes_)size;
    int error =
        why ? BERT_FAIL_(m, BERT_EFILE, "%s: %s", path, why) : bert_load_source_(m, &s, path);
    fclose(s.file);
    return error;
}

BERTDEF int bert_save(Bert *m, const char *path)
{
    int32_t h[BERT_HEADER_] = {BERT_MAGIC_, BERT_VERSION_};
    BertSection_ sections[BERT_NUM_SECTIONS_];
    if (!m->params_memory) return BERT_REFUSE_(m, "%s: the model is empty", path);
    memcpy(h + BERT_H_CONFIG_, &m->config, BERT_FIELDS_ * sizeof *h);
    memcpy(h + BERT_H_MORE_, &m->config.padding_idx, BERT_MORE_FIELDS_ * sizeof *h);
    h[BERT_H_MORE_]++;
    bert_put_u64_(h + BERT_H_PARAMETERS_, m->num_parameters);
    h[BERT_H_LABELS_] = (int32_t)m->labels.count;
    bert_put_u64_(h + BERT_H_BYTES_2_, bert_strings_bytes_(&m->labels));
    bert_put_u64_(h + BERT_H_BYTES_3_, bert_strings_bytes_(&m->tokenizer.vocabulary));
    bert_put_u64_(h + BERT_H_BYTES_5_, m->tokenizer.unicode_bytes);
    memcpy(h + BERT_H_TOKENIZER_, m->tokenizer.settings, sizeof m->tokenizer.settings);
    bert_put_u64_(h + BERT_H_BYTES_, bert_sections_(sections, m, h));
    BertSource_ s = {fopen(path, "wb"), NULL, 0, 0, 1};
    if (!s.file)
        return BERT_FAIL_(m, BERT_EFILE, "%s: cannot open it for writing: %s", path,
                          strerror(errno));
    bert_transfer_(m, &s, h, sizeof h, 4);
    for (int i = 0; i < BERT_NUM_SECTIONS_; i++) bert_transfer_section_(m, &s, &sections[i]);
    int failed = ferror(s.file);
    failed = fclose(s.file) != 0 || failed; /* a full disk may only show here */
    if (failed) return BERT_FAIL_(m, BERT_EFILE, "%s: cannot write it (is the disk full?)", path);
    return BERT_OK;
}

/* ------------------------------------------------------------------------------------------------
   Arithmetic. Where multiply-adds are fused in hardware, bits are the same; this makes them so. */

#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || __FINITE_MATH_ONLY__ + 0
#error                                                                                             \
    "bert.h: not with -ffast-math, -Ofast, -ffinite-math-only or /fp:fast (sums change their order)"
#endif

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* 16: of _Float16 */
#error "bert.h: floats are computed in more digits than they have: on x86 add -msse2 -mfpmath=sse"
#endif

/* a * b + c, rounded once. Every product that is added to something is written with it (or exact,
   as twice something is, or volatile), so that no compiler has a choice of what to fuse, not even
   from one statement to the next. A processor without it rounds twice: other bits. */
#if defined(__FMA__) || defined(__aarch64__) || defined(__FP_FAST_FMAF) ||                         \
    defined(__ARM_FEATURE_FMA) || (defined(_MSC_VER) && (defined(__AVX2__) || defined(_M_ARM64)))
#ifdef BERT_GNU_ /* also where -fno-builtin makes fmaf a call */
static inline float bert_fma_(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double bert_fma64_(double a, double b, double c) { return __builtin_fma(a, b, c); }
#else
static inline float bert_fma_(float a, float b, float c) { return fmaf(a, b, c); }
static inline double bert_fma64_(double a, double b, double c) { return fma(a, b, c); }
#endif
#else
static inline float bert_fma_(float a, float b, float c) { return a * b + c; }
static inline double bert_fma64_(double a, double b, double c) { return a * b + c; }
#endif

/* A float's bits, and back. */
static inline uint32_t bert_bits_(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

static inline float bert_of_bits_(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* ------------------------------------------------------------------------------------------------
   Sums over a row. Element i goes to lane i % 16, and the 16 lanes are added in one fixed tree,
   whatever the width of the processor's vectors: bert_sum_ of a[i], bert_dot_ of (a[i] - x) *
   (b[i] - y). What is done to 16 elements is a function of its own, so that it becomes vectors. */
enum { BERT_SUMS_ = 16 };

static inline float bert_tree_(float *s)
{
    for (int w = BERT_SUMS_ / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) s[l] += s[l + w];
    return s[0];
}

static inline void bert_sum_16_(float *s, const float *a)
{
    for (int l = 0; l < BERT_SUMS_; l++) s[l] += a[l];
}

static inline void bert_dot_16_(float *s, const float *a, float x, const float *b, float y)
{
    for (int l = 0; l < BERT_SUMS_; l++) s[l] = bert_fma_(a[l] - x, b[l] - y, s[l]);
}

static inline float bert_sum_(const float *a, int n)
{
    float s[BERT_SUMS_] = {0};
    int i = 0;
    for (; i + BERT_SUMS_ <= n; i += BERT_SUMS_) bert_sum_16_(s, a + i);
    for (int l = 0; i < n; i++, l++) s[l] += a[i];
    return bert_tree_(s);
}

static inline float bert_dot_(const float *a, float x, const float *b, float y, int n)
{
    float s[BERT_SUMS_] = {0};
    int i = 0;
    for (; i + BERT_SUMS_ <= n; i += BERT_SUMS_) bert_dot_16_(s, a + i, x, b + i, y);
    for (int l = 0; i < n; i++, l++) s[l] = bert_fma_(a[i] - x, b[i] - y, s[l]);
    return bert_tree_(s);
}

/* Of a float's bits an integer that is larger where the float is; its own inverse. */
static inline int32_t bert_rank_(int32_t bits) { return bits < 0 ? bits ^ 0x7FFFFFFF : bits; }

/* The largest of a[0..n-1] and least. Compared as integers, which a compiler may do in any order,
   and so in vectors. Whatever it makes of NaN, the sum of exp that follows is NaN. */
static inline float bert_max_of_(const float *a, int n, float least)
{
    int32_t max = bert_rank_((int32_t)bert_bits_(least));
    for (int i = 0; i < n; i++) {
        const int32_t x = bert_rank_((int32_t)bert_bits_(a[i]));
        max = x > max ? x : max;
    }
    return bert_of_bits_((uint32_t)bert_rank_(max));
}

/* ------------------------------------------------------------------------------------------------
   Functions that libm makes differently from one system to the next: log, cos and pow, in double;
   exp, tanh, and the normal distribution that GELU needs, branch-free, so that loops over them
   become vectors. libm's, one call an element, would cost more than the matmuls. */

/* log(x), x > 0, to 2e-16. */
static double bert_log_(double x)
{
    int e;
    double m = frexp(x, &e); /* x = m 2^e; m in [0.707, 1.414), where atanh's series is short: */
    if (m < 0.70710678118654752) m *= 2.0, e--;
    double s = (m - 1.0) / (m + 1.0), z = s * s, sum = 0.0;
    for (int k = 23; k > 0; k -= 2) sum = bert_fma64_(sum, z, 2.0 / k);
    sum *= s; /* 2 atanh(s) = log(m) */
    return bert_fma64_(e, 0.69314718055994529, bert_fma64_(e, 2.3190468138462996e-17, sum));
}

/* cos(2 pi turns), 0 <= turns < 1, to 2e-16. */
static double bert_cos_turns_(double turns)
{
    int quarter = (int)(4.0 * turns + 0.5), odd = quarter & 1; /* the nearest; cos, or sin, of x: */
    double x = 6.2831853071795865 * (turns - 0.25 * quarter), z = x * x, sum = 0.0;
    for (int k = 20 + odd; k > odd; k -= 2) /* cos x: 1 - z/(1 2) (1 - z/(3 4) (...)) */
        sum = bert_fma64_(-z / (k * (k - 1)), sum, -z / (k * (k - 1)));
    sum = odd ? bert_fma64_(x, sum, x) : 1.0 + sum;
    return quarter == 1 || quarter == 2 ? -sum : sum;
}

/* x^n, n >= 0. */
static double bert_power_(double x, int n)
{
    volatile double power = 1.0; /* 1 - power is not fused with the last product */
    for (; n > 0; n /= 2, x *= x)
        if (n % 2) power = power * x;
    return power;
}

/* e^x: x = n ln 2 + r, |r| <= ln(2)/2; a polynomial (Cephes' expf) for e^r, and n is added to the
   exponent's bits. From -87 to 88 at most 1.01 ulp from the true value (dev/check/math.c); below it
   zero, above it infinity, a little before floats end; NaN stays NaN. */
static inline float bert_exp_(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: a sum with it is rounded, to its low bits */
    float shifted = bert_fma_(x, 1.44269504f, magic);
    float n = shifted - magic;
    float r = bert_fma_(n, -0.693359375f, x); /* ln 2 in two parts, the first exact in few bits */
    r = bert_fma_(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = bert_fma_(p, r, 1.3981999507e-3f);
    p = bert_fma_(p, r, 8.3334519073e-3f);
    p = bert_fma_(p, r, 4.1665795894e-2f);
    p = bert_fma_(p, r, 1.6666665459e-1f);
    p = bert_fma_(p, r, 5.0000001201e-1f);
    p = bert_fma_(p, r * r, r);
    p = p + 1.0f;
    float y = bert_of_bits_(bert_bits_(p) + (bert_bits_(shifted) << 23));
    y = x < -87.0f ? 0.0f : y;
    y = x > 88.0f ? INFINITY : y;
    return x != x ? x : y;
}

/* tanh(|x|) = 1 - 2 / (e^2|x| + 1); near zero, where that loses digits, Cephes' polynomial. */
static inline float bert_tanh_(float x)
{
    float z = x * x, outer = 1.0f - 2.0f / (bert_exp_(2.0f * fabsf(x)) + 1.0f);
    float p = -5.70498872745e-3f;
    p = bert_fma_(p, z, 2.06390887954e-2f);
    p = bert_fma_(p, z, -5.37397155531e-2f);
    p = bert_fma_(p, z, 1.33314422036e-1f);
    p = bert_fma_(p, z, -3.33332819422e-1f);
    p = bert_fma_(p * z, x, x);
    return fabsf(x) < 0.625f ? p : x < 0.0f ? -outer : outer;
}

/* P(Z <= x) for Z from N(0, 1), that is (1 + erf(x/sqrt 2)) / 2, and e^(-x^2/2), which is
   sqrt(2 pi) times the density. Abramowitz and Stegun 7.1.26: erf to 1.5e-7 (dev/check/math.c). */
static inline float bert_normal_cdf_(float x, float *bell)
{
    float e = bert_exp_(-0.5f * (x * x));
    float t = 1.0f / bert_fma_(0.23164189f, fabsf(x), 1.0f); /* 0.3275911 / sqrt 2 */
    float p = 0.5f * 1.061405429f;
    p = bert_fma_(p, t, 0.5f * -1.453152027f);
    p = bert_fma_(p, t, 0.5f * 1.421413741f);
    p = bert_fma_(p, t, 0.5f * -0.284496736f);
    p = bert_fma_(p, t, 0.5f * 0.254829592f);
    *bell = e;
    return x < 0.0f ? p * t * e : bert_fma_(-(p * t), e, 1.0f); /* p t e: P(Z > |x|) */
}

#if defined(BERT_NO_SIMD) || !defined(BERT_GNU_)
BERTDEF size_t bert_scratch_size(int threads) { return (void)threads, 0; }
BERTDEF int bert_bf16_units(void) { return 0; }
#else
/* ------------------------------------------------------------------------------------------------
   Vectors. GCC's vector types are the same C for AVX-512, AVX, SSE and NEON, but for the
   multiply-add. A tile is what a matmul keeps in registers: ROWS x COLS sums. Of 32 registers 8 x 3
   vectors leave 3 for a row of b and some for a's broadcasts; of 16, 6 x 2 leave 4. */
#ifdef __AVX512F__
#include <immintrin.h>
enum { BERT_LANES_ = 16, BERT_TILE_ROWS_ = 8, BERT_TILE_VECS_ = 3 };
#define BERT_VFMA_(u, v, sum) ((bert_vec_)_mm512_fmadd_ps(u, v, sum))
#elif defined(__AVX__)
enum { BERT_LANES_ = 8, BERT_TILE_ROWS_ = 6, BERT_TILE_VECS_ = 2 };
#ifdef __FMA__
#include <immintrin.h>
#define BERT_VFMA_(u, v, sum) ((bert_vec_)_mm256_fmadd_ps(u, v, sum))
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
enum { BERT_LANES_ = 4, BERT_TILE_ROWS_ = 8, BERT_TILE_VECS_ = 3 };
#define BERT_VFMA_(u, v, sum)                                                                      \
    ((bert_vec_)vfmaq_f32((float32x4_t)(sum), (float32x4_t)(u), (float32x4_t)(v)))
#else
enum { BERT_LANES_ = 4, BERT_TILE_ROWS_ = 6, BERT_TILE_VECS_ = 2 };
#endif
enum { BERT_TILE_COLS_ = BERT_LANES_ * BERT_TILE_VECS_ };

typedef float bert_vec_ __attribute__((vector_size(BERT_LANES_ * 4)));
typedef float bert_vec_at_ /* the same, anywhere in memory */
    __attribute__((vector_size(BERT_LANES_ * 4), aligned(4), may_alias));
typedef int32_t bert_ints_ __attribute__((vector_size(BERT_LANES_ * 4)));

/* A short loop that the compiler has to unroll, so that arrays of vectors stay in registers. */
#ifdef __clang__
#define BERT_UNROLL_ _Pragma("clang loop unroll(full)")
#define BERT_UNROLL_4_ _Pragma("clang loop unroll_count(4)")
#define BERT_SHUFFLE_(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define BERT_UNROLL_ _Pragma("GCC unroll 16")
#define BERT_UNROLL_4_ _Pragma("GCC unroll 4")
#define BERT_SHUFFLE_(x, y, ...) __builtin_shuffle(x, y, __extension__(bert_ints_){__VA_ARGS__})
#endif
#define BERT_FOR_(i, n)                                                                            \
    BERT_UNROLL_                                                                                   \
    for (int i = 0; i < (n); i++)

static inline bert_vec_ bert_get_(const float *p) { return *(const bert_vec_at_ *)p; }
static inline void bert_put_(float *p, bert_vec_ v) { *(bert_vec_at_ *)p = v; }
static inline bert_vec_ bert_all_(float x) /* x in each lane */
{
    bert_vec_ zero = {0};
    return x - zero;
}

#ifndef BERT_VFMA_
#define BERT_VFMA_(u, v, sum) bert_vfma_(u, v, sum)
static inline bert_vec_ bert_vfma_(bert_vec_ u, bert_vec_ v, bert_vec_ sum)
{
    BERT_FOR_ (l, BERT_LANES_) sum[l] = bert_fma_(u[l], v[l], sum[l]);
    return sum;
}
#endif

/* ------------------------------------------------------------------------------------------------
   The fast product. c is computed in tiles of TILE_ROWS x TILE_COLS sums, which stay in registers
   while k runs; for each k a tile reads TILE_COLS numbers of b and TILE_ROWS of a, and does
   TILE_ROWS * TILE_COLS multiply-adds with them. So that these numbers come from near memory:

                TILE_COLS
                +----+----+----+     A panel is DEPTH rows of TILE_COLS columns of b, copied in the
          DEPTH |    |    |    |     order in which tiles read it. Panels of AT_ONCE columns in all
                | panel   |    |     are made at once, and stay in the second-level cache while
                +----+----+----+     all strips pass over them.
       DEPTH
     +---------++----+----+----+     A strip is TILE_ROWS rows of a, DEPTH long. It passes over the
ROWS | strip   || tile    |    |     panels, a tile for each, and stays in the first-level cache
     +---------++----+----+----+     meanwhile. It is read where it lies, if its rows lie along k;
     |         ||    |    |    |     else (a is a transposed gradient, for dW) it is copied first.
     +---------++----+----+----+     The last panel is as many vectors wide as it has to be.

   With vectors shorter than AVX-512's a panel itself fits into the first-level cache. There it is
   the panel that stays, while STRIPS strips, from the second-level cache, pass over it. A tile over
   c's edge computes whole and stores in part. (Few rows: the mirror. AMX: the end.) */
enum {
    BERT_LONG_ = BERT_LANES_ == 16, /* AVX-512's vectors */
    BERT_STRIPS_ = BERT_LONG_ ? 1 : 8,
    BERT_AT_ONCE_ = 384 / BERT_TILE_COLS_ * BERT_TILE_COLS_,
    BERT_FEW_ = 192, /* up to so many rows, panels are made one by one, fetched ahead */
    BERT_ROOM_ = BERT_DEPTH_ * (BERT_STRIPS_ * BERT_TILE_ROWS_ + BERT_AT_ONCE_) /* floats */
};

/* Left to itself, gcc now calls a tile, now copies the whole product into its callers. */
#define BERT_INLINE_ static inline __attribute__((always_inline))
#define BERT_APART_ static __attribute__((noinline))

/* x[i] y[i] x[i + 1] y[i + 1] ..., as many as fill a vector. */
#ifdef __AVX512F__
#define BERT_DEAL_(x, y, i)                                                                        \
    BERT_SHUFFLE_(x, y, i, i + 16, i + 1, i + 17, i + 2, i + 18, i + 3, i + 19, i + 4, i + 20,     \
                  i + 5, i + 21, i + 6, i + 22, i + 7, i + 23)
#elif defined(__AVX__)
#define BERT_DEAL_(x, y, i)                                                                        \
    BERT_SHUFFLE_(x, y, i, i + 8, i + 1, i + 9, i + 2, i + 10, i + 3, i + 11)
#else
#define BERT_DEAL_(x, y, i) BERT_SHUFFLE_(x, y, i, i + 4, i + 1, i + 5)
#endif

/* A block of memory that tiles fetch before it is needed, rate cache lines at each FETCH: tiles of
   long vectors as they go, others when they begin. It may lie behind an array: nothing is read. */
typedef struct {
    const float *at;
    size_t row;                /* floats from one row to the next */
    int per, line, left, rate; /* lines in a row, the next of them, lines to come, at once */
} BertAhead_;

/* How many parts of at most size n > 0 elements make, and how often a tile fetches. */
static int bert_parts_(int n, int size) { return (n - 1) / size + 1; }
static int bert_fetches_(int depth) { return BERT_LONG_ ? bert_max_(1, depth / BERT_LANES_) : 1; }

/* rows x cols of a, one of whose steps is 1, in so many portions. */
BERT_INLINE_ BertAhead_ bert_ahead_(BertMatrix_ a, int rows, int cols, int times)
{
    const int along = a.right == 1, per = bert_parts_(along ? cols : rows, 16);
    const int left = (along ? rows : cols) * per, rate = bert_parts_(left, times);
    BertAhead_ ahead = {a.at, along ? a.down : a.right, per, 0, left, rate};
    return ahead;
}

#define BERT_FETCH_(a, write)                                                                      \
    for (int f = 0; f < (a)->rate && (a)->left > 0; f++, (a)->left--) {                            \
        __builtin_prefetch((a)->at + (a)->line * 16, write);                                       \
        if (++(a)->line == (a)->per) (a)->line = 0, (a)->at += (a)->row;                           \
    }

/* One step of k: a tile's sums, high rows of vecs vectors, each get one product more. */
BERT_INLINE_ void bert_step_(bert_vec_ sum[][BERT_TILE_VECS_], const int high, const int vecs,
                             const float *strip, const size_t down, const float *panel)
{
    bert_vec_ b[BERT_TILE_VECS_];
    BERT_FOR_ (v, vecs) b[v] = bert_get_(panel + v * BERT_LANES_);
    BERT_FOR_ (i, high)
        BERT_FOR_ (v, vecs) sum[i][v] = BERT_VFMA_(bert_all_(strip[i * down]), b[v], sum[i][v]);
}

/* One tile: c (rows, cols) = first + strip . panel; where first is NULL, c += strip . panel, or,
   chain, c's sums go on. strip is (TILE_ROWS, depth), its steps down and right; panel is (depth,
   vecs * LANES); first is one row, for all of c's. soon is the tile of c that comes next. */
BERT_INLINE_ void bert_tile_(float *c, size_t ldc, int rows, int cols, const int vecs,
                             const float *strip, const size_t down, const size_t right,
                             const float *panel, int depth, const float *first, int chain,
                             const float *soon, BertAhead_ *ahead)
{
    const int n = BERT_LANES_, whole = rows == BERT_TILE_ROWS_ && cols % n == 0;
    float edge[(int)BERT_TILE_ROWS_ * BERT_TILE_COLS_], *t = whole ? c : edge;
    const size_t ldt = whole ? ldc : (size_t)BERT_TILE_COLS_;
    int k = 0;
    if (!whole) memset(edge, 0, sizeof edge);
    for (int i = 0; i < rows && !whole && !first; i++)
        memcpy(edge + i * ldt, c + i * ldc, (size_t)cols * sizeof *c);
    bert_vec_ sum[BERT_TILE_ROWS_][BERT_TILE_VECS_], zero = {0};
    BERT_FOR_ (i, BERT_TILE_ROWS_)
        BERT_FOR_ (v, vecs) sum[i][v] = chain ? bert_get_(t + i * ldt + v * n) : zero;
    BertAhead_ next_c = bert_ahead_(bert_matrix_(soon, ldc, 1), BERT_TILE_ROWS_, BERT_TILE_COLS_,
                                    bert_fetches_(depth));
    if (!BERT_LONG_) {
        BERT_FETCH_(&next_c, 1);
        BERT_FETCH_(ahead, 0);
    }
    for (; BERT_LONG_ && k + n <= depth; k += n, strip += n * right) {
        BERT_FETCH_(&next_c, 1);
        BERT_FETCH_(ahead, 0);
        BERT_UNROLL_4_
        for (int l = 0; l < n; l++, panel += vecs * n)
            bert_step_(sum, BERT_TILE_ROWS_, vecs, strip + l * right, down, panel);
    }
    for (; k < depth; k++, strip += right, panel += vecs * n)
        bert_step_(sum, BERT_TILE_ROWS_, vecs, strip, down, panel);
    BERT_FOR_ (i, BERT_TILE_ROWS_)
        BERT_FOR_ (v, vecs) {
            float *to = t + i * ldt + v * n;
            if (v * n >= cols) continue; /* never; without it gcc's dW is 2% slower */
            if (chain) bert_put_(to, sum[i][v]);
            else bert_put_(to, bert_get_(first ? first + v * n : to) + sum[i][v]);
        }
    for (int i = 0; i < rows && !whole; i++)
        memcpy(c + i * ldc, edge + i * ldt, (size_t)cols * sizeof *c);
}

/* How many vectors wide a panel of so many columns is, of at most TILE_COLS. */
static int bert_panel_vecs_(int cols) { return bert_parts_(cols, BERT_LANES_); }

/* Transposes a block of LANES x LANES: to's rows are ldt apart, from's ldf. Each pass deals the
   rows out like a deck of cards: row i and row i + LANES/2, element by element in turn, make two
   new rows; after log2(LANES) passes every element is in its place. */
BERT_INLINE_ void bert_transpose_(float *to, size_t ldt, const float *from, size_t ldf)
{
    bert_vec_ x[BERT_LANES_], y[BERT_LANES_];
    BERT_FOR_ (i, BERT_LANES_) x[i] = bert_get_(from + i * ldf);
    BERT_UNROLL_
    for (int pass = 1; pass < BERT_LANES_; pass *= 2) {
        BERT_FOR_ (i, BERT_LANES_ / 2) {
            y[2 * i] = BERT_DEAL_(x[i], x[i + BERT_LANES_ / 2], 0);
            y[2 * i + 1] = BERT_DEAL_(x[i], x[i + BERT_LANES_ / 2], BERT_LANES_ / 2);
        }
        BERT_FOR_ (i, BERT_LANES_) x[i] = y[i];
    }
    BERT_FOR_ (i, BERT_LANES_) bert_put_(to + i * ldt, x[i]);
}

/* Copies b (depth, cols) into a panel of whole vectors, with zeros where b has no more columns. */
static void bert_pack_panel_(float *panel, BertMatrix_ b, int depth, int cols)
{
    const int n = BERT_LANES_, width = bert_panel_vecs_(cols) * n;
    if (cols < width) memset(panel, 0, (size_t)depth * width * sizeof *panel);
    if (b.right == 1) {
        for (int k = 0; k < depth; k++, panel += width) {
            const float *row = b.at + k * b.down;
            if (cols < BERT_TILE_COLS_) memcpy(panel, row, (size_t)cols * sizeof *panel);
            else
                BERT_FOR_ (v, BERT_TILE_VECS_) bert_put_(panel + v * n, bert_get_(row + v * n));
        }
        return;
    }
    int whole_k = b.down == 1 ? depth / n * n : 0, whole_j = cols / n * n;
    for (int j = 0; j < whole_j; j += n)
        for (int k = 0; k < whole_k; k += n)
            bert_transpose_(panel + k * width + j, width, b.at + k + j * b.right, b.right);
    for (int j = 0; j < cols; j++) /* what is left over at the edges */
        for (int k = j < whole_j ? whole_k : 0; k < depth; k++)
            panel[k * width + j] = b.at[k * b.down + j * b.right];
}

/* A strip as tiles read it, if the elements of a's rows lie side by side: a (rows, depth) itself,
   or at its edge a copy with zeros where it has no more rows. */
static BertMatrix_ bert_strip_(float *room, BertMatrix_ a, int rows, int depth)
{
    if (rows == BERT_TILE_ROWS_) return a;
    memset(room, 0, (size_t)BERT_TILE_ROWS_ * depth * sizeof *room);
    for (int i = 0; i < rows; i++)
        memcpy(room + i * depth, a.at + i * a.down, (size_t)depth * sizeof *room);
    return bert_matrix_(room, depth, 1);
}

/* Strips of a (rows, depth) if they do not, as dW's: copies, made k by k in one pass over a. The
   next k may lie far from this one, so what comes eight later is fetched. */
static void bert_copy_strips_(BertMatrix_ *strips, float *room, BertMatrix_ a, int rows, int depth)
{
    const int high = BERT_TILE_ROWS_;
    for (int i = 0; i < rows; i += high) strips[i / high] = bert_matrix_(room + i * depth, 1, high);
    for (int k = 0; k < depth; k++, a.at += a.right) {
        for (int i = 0; i < rows && !BERT_LONG_; i += 16)
            __builtin_prefetch(a.at + 8 * a.right + i);
        for (int i = 0; i < rows; i += high) {
            float *to = room + i * depth + k * high;
            if (a.down == 1 && i + high <= rows) memcpy(to, a.at + i, BERT_TILE_ROWS_ * sizeof *to);
            else
                for (int r = i; r < i + high; r++) *to++ = r < rows ? a.at[r * a.down] : 0.0f;
        }
    }
}

/* Each kind of tile, by the width of its panel and by how its strip lies, is a function of its own
   whose sizes and steps are constants: copied into a larger one, gcc runs out of registers. */
#define BERT_TILE_ARGUMENTS_                                                                       \
    float *c, size_t ldc, int rows, int cols, BertMatrix_ strip, const float *panel, int depth,    \
        const float *first, int chain, const float *soon, BertAhead_ *ahead
typedef void BertTile_(BERT_TILE_ARGUMENTS_);
#define BERT_TILE_KIND_(name, vecs, down, right)                                                   \
    BERT_APART_ void name(BERT_TILE_ARGUMENTS_)                                                    \
    {                                                                                              \
        bert_tile_(c, ldc, rows, cols, vecs, strip.at, down, right, panel, depth, first, chain,    \
                   soon, ahead);                                                                   \
    }
BERT_TILE_KIND_(bert_tile_rows_1_, 1, strip.down, 1)
BERT_TILE_KIND_(bert_tile_rows_2_, 2, strip.down, 1)
BERT_TILE_KIND_(bert_tile_rows_, BERT_TILE_VECS_, strip.down, 1)
BERT_TILE_KIND_(bert_tile_cols_1_, 1, 1, BERT_TILE_ROWS_)
BERT_TILE_KIND_(bert_tile_cols_2_, 2, 1, BERT_TILE_ROWS_)
BERT_TILE_KIND_(bert_tile_cols_, BERT_TILE_VECS_, 1, BERT_TILE_ROWS_)

/* Strips of so many rows times the panels of so many columns. */
static void bert_strips_times_panels_(float *c, size_t ldc, const BertMatrix_ *strips, int rows,
                                      const float *panels, int depth, int cols, const float *first,
                                      int chain, BertAhead_ *ahead)
{
    static BertTile_ *const by_rows[] = {bert_tile_rows_1_, bert_tile_rows_2_, bert_tile_rows_};
    static BertTile_ *const by_cols[] = {bert_tile_cols_1_, bert_tile_cols_2_, bert_tile_cols_};
    BertTile_ *const *kinds = strips->right == 1 ? by_rows : by_cols;
    const int high = BERT_TILE_ROWS_, broad = BERT_TILE_COLS_;
    for (int j = 0; j < cols; j += broad) {
        const int width = bert_min_(broad, cols - j), vecs = bert_panel_vecs_(width);
        for (int i = 0; i < rows; i += high) {
            float *to = c + i * ldc + j;
            const float *soon = i + high < rows    ? to + high * ldc
                                : j + broad < cols ? c + j + broad
                                                   : c + (i + high) * ldc;
            kinds[vecs - 1](to, ldc, bert_min_(high, rows - i), width, strips[i / high],
                            panels + j * depth, depth, first ? first + j : NULL, chain, soon,
                            ahead);
        }
    }
}

/* The product in tiles. For few rows they fetch the next panel's part of b; attention's, which is
   near, only with long vectors. For more rows they fetch the next strip, with long vectors. */
BERT_APART_ void bert_matmul_tiled_(BERT_PRODUCT_, float *room)
{
    const int high = BERT_TILE_ROWS_, broad = BERT_TILE_COLS_; /* a tile */
    const int group = BERT_STRIPS_ * high;
    const int few =
        rows <= BERT_FEW_ && cols > broad && a.right == 1 && (BERT_LONG_ || inner > BERT_KEYS_);
    const int wide = few ? broad : BERT_AT_ONCE_; /* the panels that are made at once */
    float *panels = room + group * (int)BERT_DEPTH_;
    for (int k = 0; k < inner; k += BERT_DEPTH_)
        for (int j = 0; j < cols; j += wide) {
            const int depth = bert_min_(BERT_DEPTH_, inner - k), width = bert_min_(wide, cols - j);
            float first[BERT_AT_ONCE_] = {0}; /* what c begins with */
            BertAhead_ ahead = {0};
            if (start) memcpy(first, start + j, (size_t)width * sizeof *start);
            for (int p = 0; p < width; p += broad)
                bert_pack_panel_(panels + p * depth, bert_from_(b, k, j + p), depth,
                                 bert_min_(broad, width - p));
            int next_j = j + broad < cols ? j + broad : 0, next_k = next_j ? k : k + depth;
            if (few && next_k < inner)
                ahead = bert_ahead_(bert_from_(b, next_k, next_j),
                                    bert_min_(BERT_DEPTH_, inner - next_k),
                                    bert_min_(broad, cols - next_j),
                                    bert_parts_(rows, high) * bert_fetches_(depth));
            for (int i = 0; i < rows; i += group) {
                BertMatrix_ strips[BERT_STRIPS_];
                const int height = bert_min_(group, rows - i);
                const BertMatrix_ some = bert_from_(a, i, k);
                if (a.right != 1) bert_copy_strips_(strips, room, some, height, depth);
                else
                    for (int r = 0; r < height; r += high)
                        strips[r / high] = bert_strip_(room + r * depth, bert_from_(some, r, 0),
                                                       bert_min_(high, height - r), depth);
                if (BERT_LONG_ && !few && i + group < rows)
                    ahead = bert_ahead_(bert_from_(a, i + group, k), group, depth,
                                        bert_parts_(width, broad) * bert_fetches_(depth));
                bert_strips_times_panels_(c + i * ldc + j, ldc, strips, height, panels, depth,
                                          width, how != BERT_START_ || k ? NULL : first,
                                          how == BERT_GO_ON_, &ahead);
            }
        }
}

/* The mirror: few rows times b = w^T, a linear's weights or attention's keys. c^T = w . a^T is
   computed: its strips are rows of w, read where they lie, and its panel is a's rows. w is not
   packed: that pays only for more rows. A block of MIRROR rows of c^T is then turned over into c:
   with few columns, or nearly as few as rows, there is nothing to win. inner in whole 16s leaves no
   rest. The bits stay: each element is the same chain of multiply-adds. */
enum {
    BERT_NARROW_ = BERT_LANES_ < 8 ? 8 : BERT_LANES_,        /* rows of w in a narrow tile */
    BERT_MIRROR_ = BERT_TILE_ROWS_ == 6 ? 24 : BERT_NARROW_, /* in a block: whole tiles, vectors */
    BERT_MIRROR_STEPS_ = BERT_LONG_ ? 4 : 16,                /* of k, from FETCH to FETCH */
    BERT_MIRRORED_ = (BERT_LONG_ ? 1 : 2) * BERT_TILE_COLS_  /* rows of a, at most */
};

static int bert_mirrored_(BertMatrix_ b, int rows, int cols, int inner, int how)
{
    return rows <= BERT_MIRRORED_ && (rows <= BERT_LANES_ || 2 * rows <= cols) && cols >= 16 &&
           b.down == 1 && how == BERT_START_ && inner % 16 == 0;
}

/* mirror (MIRROR, vecs * LANES) = MIRROR rows of w . panel (depth, vecs * LANES), high at once */
BERT_INLINE_ void bert_mirror_tiles_(float *mirror, BertMatrix_ w, const float *panel, int depth,
                                     const int high, const int vecs)
{
    const int width = vecs * BERT_LANES_;
    BertAhead_ ahead = bert_ahead_(bert_from_(w, BERT_MIRROR_, 0), BERT_MIRROR_, depth,
                                   BERT_MIRROR_ / high * depth / BERT_MIRROR_STEPS_);
    for (int i = 0; i < BERT_MIRROR_; i += high, w = bert_from_(w, high, 0)) {
        bert_vec_ sum[BERT_NARROW_][BERT_TILE_VECS_], zero = {0};
        BERT_FOR_ (r, high)
            BERT_FOR_ (v, vecs) sum[r][v] = zero;
        for (int k = 0; k < depth; k += BERT_MIRROR_STEPS_) {
            if (vecs > 1) BERT_FETCH_(&ahead, 0); /* a narrow tile has no load to spare */
            BERT_FOR_ (l, BERT_MIRROR_STEPS_)
                bert_step_(sum, high, vecs, w.at + k + l, w.down, panel + (k + l) * width);
        }
        BERT_FOR_ (r, high)
            BERT_FOR_ (v, vecs) bert_put_(mirror + (i + r) * width + v * BERT_LANES_, sum[r][v]);
    }
}

typedef void BertMirror_(float *mirror, BertMatrix_ w, const float *panel, int depth);
#define BERT_MIRROR_KIND_(name, high, vecs)                                                        \
    BERT_APART_ void name(float *mirror, BertMatrix_ w, const float *panel, int depth)             \
    {                                                                                              \
        bert_mirror_tiles_(mirror, w, panel, depth, high, vecs);                                   \
    }
BERT_MIRROR_KIND_(bert_mirror_1_, BERT_NARROW_, 1)
BERT_MIRROR_KIND_(bert_mirror_2_, BERT_TILE_ROWS_, 2)
BERT_MIRROR_KIND_(bert_mirror_3_, BERT_TILE_ROWS_, BERT_TILE_VECS_)

/* c = start + a . w^T, of at most TILE_COLS rows; columns behind the last whole block go by
   tiles. width is a's rows in whole vectors. room: a panel (DEPTH, width), a block (MIRROR, width),
   LANES x LANES of it, turned over. */
static void bert_matmul_mirrored_(float *c, size_t ldc, BertMatrix_ a, BertMatrix_ b, int rows,
                                  int cols, int inner, const float *start, float *room)
{
    static BertMirror_ *const kinds[] = {bert_mirror_1_, bert_mirror_2_, bert_mirror_3_};
    const int n = BERT_LANES_, whole = cols / BERT_MIRROR_ * BERT_MIRROR_;
    const int vecs = bert_panel_vecs_(rows), width = vecs * n;
    float *panel = room, *mirror = panel + BERT_DEPTH_ * width,
          *out = mirror + BERT_MIRROR_ * width;
    const BertMatrix_ w = {b.at, b.right, 1}, x = {a.at, a.right, a.down};
    for (int k = 0; k < inner; k += BERT_DEPTH_) {
        const int depth = bert_min_(BERT_DEPTH_, inner - k);
        bert_pack_panel_(panel, bert_from_(x, k, 0), depth, rows);
        for (int j = 0; j < whole; j += BERT_MIRROR_) {
            kinds[vecs - 1](mirror, bert_from_(w, j, k), panel, depth);
            for (int r = 0; r < BERT_MIRROR_; r += n)
                for (int i = 0; i < rows; i += n) {
                    float *to = c + i * ldc + j + r;
                    bert_vec_ first = start ? bert_get_(start + j + r) : bert_all_(0.0f);
                    bert_transpose_(out, n, mirror + r * width + i, width);
                    for (int l = 0; l < bert_min_(n, rows - i); l++, to += ldc)
                        bert_put_(to, (k ? bert_get_(to) : first) + bert_get_(out + l * n));
                }
        }
    }
    if (whole < cols)
        bert_matmul_tiled_(c + whole, ldc, a, bert_from_(b, 0, whole), rows, cols - whole, inner,
                           start ? start + whole : NULL, BERT_START_, room);
}

/* What the last section needs, in words of two bfloat16: SHARED for strips of all threads, then for
   each thread strips of its own and panels. */
enum { BERT_SIDE_ = 16, BERT_DEEP_ = 32, BERT_LINE_WORDS_ = BERT_SIDE_ * BERT_DEEP_ };
enum { BERT_SHARED_ = 1024 * BERT_LINE_WORDS_, BERT_OWN_ = 64 * BERT_LINE_WORDS_ };
enum { BERT_PANELS_ = 256 * BERT_LINE_WORDS_, BERT_MOST_ = 512 }; /* MOST columns at a time */
static void bert_matmul_amx_(BERT_PRODUCT_, const BertScratch *scratch, float *own);

BERTDEF size_t bert_scratch_size(int threads)
{
    const int room = bert_max_((int)BERT_OWN_ + (int)BERT_PANELS_, BERT_ROOM_);
    return BERT_SHARED_ + (size_t)threads * (size_t)room;
}

static float *bert_room_(const BertScratch *scratch) /* thread t's: behind that of t threads */
{
    return scratch->memory + bert_scratch_size(bert_thread_());
}

static void bert_matmul_serial_(BERT_PRODUCT_, const BertScratch *scratch)
{
    const int slow = !scratch || !scratch->memory;
    float *room = slow ? NULL : bert_room_(scratch);
    if (slow) bert_matmul_plain_(c, ldc, a, b, rows, cols, inner, start, how, scratch);
    else if (scratch->bf16)
        bert_matmul_amx_(c, ldc, a, b, rows, cols, inner, start, how, scratch, room);
    else if (bert_mirrored_(b, rows, cols, inner, how))
        for (int i = 0, n; i < rows; i += n) {
            n = bert_min_(BERT_TILE_COLS_, rows - i);
            bert_matmul_mirrored_(c + i * ldc, ldc, bert_from_(a, i, 0), b, n, cols, inner, start,
                                  room);
        }
    else bert_matmul_tiled_(c, ldc, a, b, rows, cols, inner, start, how, room);
}

/* How c is cut into blocks, each a task for one thread: down rows of across blocks. There are two
   for each thread, which are not equally fast, or one by the mirror, which is soon done. With long
   vectors the longer side of c is cut first, so that little is packed twice; of dW the rows are, so
   that two threads do not write side by side. With others the columns are, and nothing is packed
   twice: strips are read anew for each panel anyway. dW's are copied, so there blocks are made
   nearly square. More than 64 rows may be cut, and more than 1024 are. */
static void bert_plan_(int *down, int *across, BertMatrix_ a, int rows, int cols, int threads,
                       int mirrored)
{
    const int tasks = threads == 1 || mirrored ? threads : 2 * threads, copied = a.right != 1;
    const int most = bert_min_(bert_parts_(cols, 2 * BERT_TILE_COLS_), tasks);
    *across = copied || (BERT_LONG_ && cols < rows) ? 1 : most;
    while (copied && !BERT_LONG_ && 2 * *across <= most &&
           cols / *across >= 2 * (rows * *across / tasks))
        *across *= 2;
    *down = bert_min_(bert_parts_(rows, 64), bert_parts_(tasks, *across));
    *down = bert_max_(bert_parts_(rows, 1024), *down);
    *across = bert_max_(*across, bert_min_(most, bert_parts_(tasks, *down)));
}

/* Where part i of so many begins, if n is cut between whole tiles of that size. */
static size_t bert_cut_(int n, int tile, int i, int parts)
{
    const size_t tiles = (size_t)bert_parts_(n, tile);
    return bert_zmin_((size_t)n, tiles * (size_t)i / (size_t)parts * (size_t)tile);
}

static void bert_matmul_(BERT_PRODUCT_, const BertScratch *scratch)
{
    int down, across;
    const int slow = !scratch || !scratch->memory;
    if (slow) bert_matmul_plain_(c, ldc, a, b, rows, cols, inner, start, how, scratch);
    else if (scratch->bf16)
        bert_matmul_amx_(c, ldc, a, b, rows, cols, inner, start, how, scratch, NULL);
    if (slow || scratch->bf16 || rows < 1 || cols < 1) return;
    const int mirrored = bert_mirrored_(b, rows, cols, inner, how);
    const int broad = mirrored ? (int)BERT_MIRROR_ : (int)BERT_TILE_COLS_;
    bert_plan_(&down, &across, a, rows, cols, scratch->threads, mirrored);
    BERT_OMP_(parallel for schedule(dynamic) num_threads(scratch->threads))
    for (int t = 0; t < down * across; t++) {
        size_t i = bert_cut_(rows, BERT_TILE_ROWS_, t / across, down);
        size_t j = bert_cut_(cols, broad, t % across, across);
        int height = (int)(bert_cut_(rows, BERT_TILE_ROWS_, t / across + 1, down) - i);
        int width = (int)(bert_cut_(cols, broad, t % across + 1, across) - j);
        bert_matmul_serial_(c + i * ldc + j, ldc, bert_from_(a, i, 0), bert_from_(b, 0, j), height,
                            width, inner, start ? start + j : NULL, how, scratch);
    }
}
#endif /* vectors */

/* ------------------------------------------------------------------------------------------------
   bfloat16 (m->bf16): a product's factors are rounded to the upper half of a float32: its sign, its
   exponent and 7 of the 23 bits of its fraction. Their products, of at most 16 bits, and all sums
   are float32. So PyTorch's autocast does; what is no product stays in float32.

       float32   s eeeeeeee fffffffffffffffffffffff     6.0e-8 of a number is lost at most
       bfloat16  s eeeeeeee fffffff                     3.9e-3, from the same least to the same most

   Processors with AMX (Intel's, from Sapphire Rapids on) multiply them in tiles, registers of 16
   rows of 16 words. A word is two neighbours of the inner dimension, an even and an odd one:

                          16 columns                   One instruction does 2 x 16 x 16 x 16
                     +------------------+              multiply-adds, in 16 cycles: 16 times what
         16 words,   | b[2p]  b[2p + 1] |              vectors of float32 do. c[i][j] +=
         p = 0..15   |                  |                    sum_p a[i][2p] * b[2p][j]
                     +------------------+                  + sum_p a[i][2p+1] * b[2p+1][j],
          16 words                                     each sum a chain of fused multiply-adds from
        +-----------++------------------+              zero, and what is below the least normal
     16 |a[2p]      || c: 16 x 16 words,|              number (1.2e-38) is zero, before and after
   rows |  a[2p + 1]||    float32       |              each operation.
        +-----------++------------------+

   That is the definition, on every processor. The inner dimension is cut into blocks of 32, one
   instruction each. Of dW, whose inner dimension is the tokens, each sequence is cut by itself, and
   so it does not matter how a step is cut into micro-batches. A NaN is some NaN. */

/* The nearest bfloat16, of two the even one, as the upper half of a float32; a NaN stays one. */
static inline uint32_t bert_to_bf16_(float x)
{
    const uint32_t bits = bert_bits_(x), size = bits & 0x7FFFFFFFu;
    const uint32_t near = bits + 0x7FFFu + (bits >> 16 & 1);
    if (size < 0x800000u) return bits & 0x80000000u;
    return (size > 0x7F800000u ? bits | 0x400000u : near) & 0xFFFF0000u;
}

static inline float bert_ftz_(float x) { return fabsf(x) < FLT_MIN ? x * 0.0f : x; }

/* How long the block is that begins at k; *end moves on in the offsets of the sequences. */
enum { BERT_PAIRS_ = 16, BERT_WORDS_ = 256 }; /* of a block, a tile */
static int bert_block_size_(int k, int inner, int how, const int **end)
{
    if (how != BERT_GO_ON_) return bert_min_(2 * BERT_PAIRS_, inner - k);
    if (!*end) return 1;
    while (**end <= k) (*end)++;
    return bert_min_(2 * BERT_PAIRS_, **end - k);
}

static void bert_matmul_bf16_(BERT_PRODUCT_, const int *offsets)
{
    BERT_OMP_(parallel for if (!omp_in_parallel()))
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            const float *x = a.at + i * a.down, *y = b.at + j * b.right;
            const int *end = offsets;
            float *to = c + i * ldc + j, sum = how != BERT_START_ ? *to : start ? start[j] : 0.0f;
            for (int k = 0, n; k < inner; k += n) {
                float odd[2] = {0.0f, 0.0f}; /* [0]: the even ones */
                n = bert_block_size_(k, inner, how, &end);
                for (int l = 0; l < bert_min_(n + 2, 2 * BERT_PAIRS_); l++) { /* zeros: no -0 */
                    float u = l < n ? x[(k + l) * a.right] : 0.0f;
                    float v = l < n ? y[(k + l) * b.down] : 0.0f;
                    u = bert_of_bits_(bert_to_bf16_(u)), v = bert_of_bits_(bert_to_bf16_(v));
                    odd[l & 1] = bert_ftz_(bert_fma_(u, v, odd[l & 1]));
                }
                sum = bert_ftz_(bert_ftz_(sum) + bert_ftz_(odd[0] + odd[1]));
            }
            *to = sum;
        }
}

#if !defined(BERT_NO_SIMD) && defined(BERT_GNU_)
/* Both operands are copied into tiles, as the drawing has them, tile after tile along the inner
   dimension, up to DEEP of them: panels, of b's columns, and strips, of two tiles of a's rows. A
   line is a row of a, a column of b; its neighbours are line floats apart, those of the inner
   dimension step floats. side: 0: of a, a line is a row of the tile; 1: of b, it is a column. */
#define BERT_PACK_ARGUMENTS_                                                                       \
    uint32_t *tile, const float *at, size_t line, size_t step, int lines, int n, int side
#define BERT_TILES_ARGUMENTS_                                                                      \
    float *c, size_t ldc, int rows, int cols, const uint32_t *strip, const uint32_t *panel,        \
        int tiles, const float *first

static void bert_pack_tile_(BERT_PACK_ARGUMENTS_)
{
    for (int l = 0; l < BERT_SIDE_; l++)
        for (int p = 0; p < BERT_PAIRS_; p++) {
            const float *x = at + l * line + 2 * p * step;
            uint32_t even = l < lines && 2 * p < n ? bert_to_bf16_(*x) : 0;
            uint32_t odd = l < lines && 2 * p + 1 < n ? bert_to_bf16_(x[step]) : 0;
            tile[side ? p * BERT_SIDE_ + l : l * BERT_PAIRS_ + p] = even >> 16 | odd;
        }
}

/* c (rows, cols), at most two tiles each way, = first (first NULL: +=) + strip . panel */
static void bert_tiles_plain_(BERT_TILES_ARGUMENTS_)
{
    for (int i = 0; i < rows; i++)
        for (int at = 0; at < cols; at += BERT_SIDE_) {
            const size_t width = (size_t)bert_min_(BERT_SIDE_, cols - at) * sizeof *c;
            const uint32_t *x = strip + (i / 16 * tiles * 16 + i % 16) * BERT_PAIRS_;
            const uint32_t *y = panel + at * tiles * BERT_PAIRS_;
            float sum[BERT_SIDE_] = {0};
            memcpy(sum, first ? first + at : c + i * ldc + at, width);
            for (int t = 0; t < tiles; t++, x += BERT_WORDS_ - BERT_PAIRS_) {
                float even[BERT_SIDE_] = {0}, odd[BERT_SIDE_] = {0};
                for (int p = 0; p < BERT_PAIRS_; p++, x++, y += BERT_SIDE_) {
                    const float x0 = bert_of_bits_(*x << 16), x1 = bert_of_bits_(*x & 0xFFFF0000u);
                    for (int j = 0; j < BERT_SIDE_; j++) {
                        float y0 = bert_of_bits_(y[j] << 16),
                              y1 = bert_of_bits_(y[j] & 0xFFFF0000u);
                        even[j] = bert_ftz_(bert_fma_(x0, y0, even[j]));
                        odd[j] = bert_ftz_(bert_fma_(x1, y1, odd[j]));
                    }
                }
                for (int j = 0; j < BERT_SIDE_; j++)
                    sum[j] = bert_ftz_(bert_ftz_(sum[j]) + bert_ftz_(even[j] + odd[j]));
            }
            memcpy(c + i * ldc + at, sum, width);
        }
}

/* Whether the processor has AMX and the system lets this process use it, found out once. */
#if defined(__x86_64__) && defined(__linux__) &&                                                   \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define BERT_AMX_
#include <cpuid.h>
#include <immintrin.h>
static int bert_amx_known_; /* 0: not asked yet, 1: no, 2: yes */

static int bert_ask_amx_(void)
{
    enum { ARCH_PRCTL = 158, ARCH_REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return 0; /* OSXSAVE: may ask xgetbv */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (!(d >> 22 & 1) || !(d >> 24 & 1) || !(b >> 30 & 1)) return 0; /* bf16, tiles, AVX512BW */
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return 0; /* AVX512-BF16 */
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    if ((low & 0x600E6u) != 0x600E6u) return 0; /* the system keeps AVX-512's and AMX's state */
    long result; /* arch_prctl: the kernel gives a process its tiles where it asks for them */
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)ARCH_PRCTL), "D"((long)ARCH_REQ_XCOMP_PERM), "S"((long)XTILEDATA)
                     : "rcx", "r11", "memory");
    return result == 0;
}

BERTDEF int bert_bf16_units(void)
{
    int known = __atomic_load_n(&bert_amx_known_, __ATOMIC_RELAXED);
    if (!known) {
        known = 1 + bert_ask_amx_();
        __atomic_store_n(&bert_amx_known_, known, __ATOMIC_RELAXED);
    }
    return known == 2;
}

/* bert_pack_tile_ where one of the steps is 1, as in every matrix here: 16 vectors of 16 words
   along that step. Transposed, where words and lines lie the other way: rows are dealt out as in
   bert_transpose_. */
__attribute__((target("avx512f,avx512bw,avx512bf16"))) static void
bert_pack_tile_amx_(BERT_PACK_ARGUMENTS_)
{
    static const uint16_t pairs[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const int along = step == 1, us = along ? lines : (n + 1) / 2, vs = along ? lines : n / 2;
    const size_t down = along ? line : 2 * step, apart = along ? 16 : step;
    const __mmask16 in_u = (__mmask16)((1u << bert_min_(along ? n : lines, 16)) - 1);
    const __mmask16 in_v = (__mmask16)((1u << bert_max_(along ? n - 16 : lines, 0)) - 1);
    const __m512i deal = _mm512_loadu_si512(pairs);
    __m512i x[BERT_SIDE_], y[BERT_SIDE_];
    BERT_FOR_ (i, BERT_SIDE_) {
        __m512 u = _mm512_maskz_loadu_ps(i < us ? in_u : 0, at + i * down);
        __m512 v = _mm512_maskz_loadu_ps(i < vs ? in_v : 0, at + i * down + apart);
        x[i] = (__m512i)_mm512_cvtne2ps_pbh(v, u);
        if (!along) x[i] = _mm512_permutexvar_epi16(deal, x[i]);
    }
    if (along == side) {
        /* maskz: g++ 12 warns of what the plain one leaves undefined */
        const __m256i *half = (const __m256i *)(const void *)pairs;
        const __m512i low = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(half));
        const __m512i high = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(half + 1));
        BERT_UNROLL_
        for (int pass = 0; pass < 4; pass++) {
            BERT_FOR_ (i, BERT_SIDE_ / 2) {
                y[2 * i] = _mm512_permutex2var_epi32(x[i], low, x[i + BERT_SIDE_ / 2]);
                y[2 * i + 1] = _mm512_permutex2var_epi32(x[i], high, x[i + BERT_SIDE_ / 2]);
            }
            BERT_FOR_ (i, BERT_SIDE_) x[i] = y[i];
        }
    }
    BERT_FOR_ (i, BERT_SIDE_) _mm512_storeu_si512(tile + i * BERT_PAIRS_, x[i]);
}

/* Of the eight tiles there are 0 to 3 hold c, 4 and 5 two of a, 6 and 7 two of b. */
#define BERT_AMX_TARGET_ __attribute__((target("amx-tile,amx-bf16")))
BERT_AMX_TARGET_ static void bert_amx_(int on)
{
    uint8_t config[64] = {1}; /* palette 1: of each tile its bytes a row, and its rows */
    for (int i = 0; i < 8; i++) config[16 + 2 * i] = 64, config[48 + i] = 16;
    __asm__ volatile("" : : "r"(config) : "memory"); /* gcc's intrinsics do not say they read it */
    if (on) _tile_loadconfig(config);
    else _tile_release();
}

/* Over the edge of c it computes whole, with what is left in memory behind strip and panel. */
BERT_AMX_TARGET_ static void bert_tiles_amx_(BERT_TILES_ARGUMENTS_)
{
    enum { SIDE = 2 * BERT_SIDE_ };
    const int whole = rows == SIDE && cols == SIDE;
    const size_t next = (size_t)tiles * BERT_WORDS_, ldt = whole ? ldc : (size_t)SIDE;
    float edge[SIDE * SIDE], *to = whole ? c : edge;
    for (int r = 0; r < rows && !whole && !first; r++)
        memcpy(edge + r * SIDE, c + r * ldc, (size_t)cols * sizeof *c);
    __asm__ volatile("" : : "r"(edge) : "memory");
    const float *from = first ? first : to; /* first's one row is read as if it were 16 */
    const size_t row = ldt * sizeof *c, apart = first ? 0 : row, half = first ? 0 : 16 * ldt;
    _tile_loadd(0, from, apart);
    _tile_loadd(1, from + 16, apart);
    _tile_loadd(2, from + half, apart);
    _tile_loadd(3, from + half + 16, apart);
    for (int t = 0; t < tiles; t++, strip += BERT_WORDS_, panel += BERT_WORDS_) {
        _tile_loadd(4, strip, 64);
        _tile_loadd(6, panel, 64);
        _tile_loadd(7, panel + next, 64);
        _tile_loadd(5, strip + next, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, to, row);
    _tile_stored(1, to + 16, row);
    _tile_stored(2, to + 16 * ldt, row);
    _tile_stored(3, to + 16 * ldt + 16, row);
    for (int r = 0; r < rows && !whole; r++)
        memcpy(c + r * ldc, edge + r * SIDE, (size_t)cols * sizeof *c);
}
#else
BERTDEF int bert_bf16_units(void) { return 0; }
#define bert_amx_(on) (void)0
#define bert_pack_tile_amx_ bert_pack_tile_
#define bert_tiles_amx_ bert_tiles_plain_
#endif

/* Blocks of the inner dimension, one after the other: where each begins, and its size. */
typedef struct {
    int from[BERT_DEEP_], size[BERT_DEEP_], tiles;
} BertBlocks_;

static void bert_pack_lines_(uint32_t *to, const float *at, size_t line, size_t step, int lines,
                             const BertBlocks_ *k, int side)
{
    void (*const pack)(BERT_PACK_ARGUMENTS_) =
        bert_bf16_units() ? bert_pack_tile_amx_ : bert_pack_tile_;
    for (int l = 0; l < lines; l += BERT_SIDE_)
        for (int t = 0; t < k->tiles; t++, to += BERT_WORDS_)
            pack(to, at + l * line + k->from[t] * step, line, step,
                 bert_min_(BERT_SIDE_, lines - l), k->size[t], side);
}

/* Some columns of c, = start (how: BERT_START_; NULL: zero) or +=, from all strips. */
static void bert_strips_times_columns_(float *c, size_t ldc, const uint32_t *strips, BertMatrix_ b,
                                       int rows, int cols, const BertBlocks_ *k, const float *start,
                                       int how, uint32_t *panels)
{
    const int side = 2 * BERT_SIDE_, amx = bert_bf16_units(), line = k->tiles * BERT_PAIRS_;
    void (*const multiply)(BERT_TILES_ARGUMENTS_) = amx ? bert_tiles_amx_ : bert_tiles_plain_;
    float first[BERT_MOST_] = {0};
    if (start) memcpy(first, start, (size_t)cols * sizeof *first);
    bert_pack_lines_(panels, b.at, b.right, b.down, cols, k, 1);
    if (amx) bert_amx_(1);
    for (int i = 0; i < rows; i += side)
        for (int j = 0; j < cols; j += side)
            multiply(c + i * ldc + j, ldc, bert_min_(side, rows - i), bert_min_(side, cols - j),
                     strips + i * line, panels + j * line, k->tiles,
                     how == BERT_START_ ? first + j : NULL);
    if (amx) bert_amx_(0);
}

/* With AMX or without, on all threads, which make the strips together, and then columns of c, each
   with panels of its own; or on the thread that calls, where own is its room. */
static void bert_matmul_amx_(BERT_PRODUCT_, const BertScratch *scratch, float *own)
{
    const int side = 2 * BERT_SIDE_, threads = own ? 1 : scratch->threads;
    const int *end = scratch->offsets;
    uint32_t *strips = (uint32_t *)(void *)(own ? own : scratch->memory);
    BertBlocks_ d;
    int k = 0;
    if (rows < 1 || cols < 1) return;
    do {
        const int begin = k ? BERT_ADD_ : how;
        for (d.tiles = 0; d.tiles < BERT_DEEP_ && k < inner; k += d.size[d.tiles++])
            d.from[d.tiles] = k, d.size[d.tiles] = bert_block_size_(k, inner, how, &end);
        const int line = bert_max_(d.tiles, 1) * BERT_PAIRS_;
        const int high = (own ? BERT_OWN_ : BERT_SHARED_) / line / side * side;
        const int most = bert_min_(BERT_MOST_, BERT_PANELS_ / line / side * side);
        const int fair = own ? 1 : bert_min_(2 * threads, bert_parts_(cols, side));
        const int parts = bert_max_(bert_parts_(cols, most), fair);
        const int wide = bert_parts_(bert_parts_(cols, parts), side) * side;
        for (int i = 0; i < rows; i += high) {
            const int height = bert_min_(high, rows - i);
            BERT_OMP_(parallel num_threads(threads) if (threads > 1))
            {
                float *room = own ? own : bert_room_(scratch);
                BERT_OMP_(for)
                for (int s = 0; s < height; s += side) {
                    BertMatrix_ x = bert_from_(a, i + s, 0);
                    bert_pack_lines_(strips + s * line, x.at, x.down, x.right,
                                     bert_min_(side, height - s), &d, 0);
                }
                BERT_OMP_(for schedule(dynamic))
                for (int j = 0; j < cols; j += wide)
                    bert_strips_times_columns_(c + i * ldc + j, ldc, strips, bert_from_(b, 0, j),
                                               height, bert_min_(wide, cols - j), &d,
                                               begin == BERT_START_ && start ? start + j : NULL,
                                               begin, (uint32_t *)(void *)(room + BERT_OWN_));
            }
        }
    } while (k < inner);
}
#endif

#endif /* BERT_IMPLEMENTATION */

/* MIT License, see LICENSE. */
