/*
state.h - state.bin: what a training that goes on has to have again beside its model. Its byte
table, writer and reader.

state.bin is little endian: a header of 256 int32, unused words zero, then arrays, each padded with
zero bytes to a multiple of 8. "u64" takes two words, the low one first.

    word      field
    0         magic 0x53545242, the bytes "BRTS"
    1         version: 1
    2         V, as in model.bin
    3         how many fields RUN_FIELDS has
    4..5      parameters of model.bin, u64
    6..7      bytes of the settings, u64
    8..9      hash of model.bin's bytes, u64
    10..11    bytes of the whole file, u64
    12..13    hash of best.bin's bytes, u64; 0: there is none
    16..      the fields, two words each: an int64, a uint64 or a double

    settings  what decides the run's result: a name=value a line
    m, v      AdamW's means, float32, a number for each parameter
    seen      a byte for each row of wte: 1 where bert_backward has met it
    hash      u64, of all bytes before (hash_bytes of save.h)
*/
#ifndef STATE_H
#define STATE_H

#include "data.h"
#include "flags.h"
#include "save.h"

/* What a run has that changes from step to step, but for its model: steps that are made; what is
   due after the last of them and is not done; the loader's place; sums of the run, and those at the
   last line of the log; the best evaluation, and how many were no better since; the log's length,
   hash and lines; seconds so far. */
/* clang-format off */
#define RUN_FIELDS(X)                                                                              \
    X(step) X(due) X(epoch) X(shard) X(item) X(epoch_steps)                                        \
    X(run_loss) X(run_items) X(run_tokens) X(run_seconds) X(run_rows)                              \
    X(line_step) X(line_loss) X(line_items) X(line_tokens) X(line_seconds) X(line_rows)            \
    X(best_step) X(best) X(best_loss) X(misses) X(log_bytes) X(log_hash) X(log_lines) X(seconds)
/* clang-format on */

#define RUN_FIELD(name) void *name;
#define RUN_ONE(name) +1
enum { STATE_MAGIC = 0x53545242, STATE_VERSION = 1, NUM_FIELDS = 0 RUN_FIELDS(RUN_ONE) };
enum { FIRST_FIELD = 16 };

typedef struct {
    Bert *m; /* trained, and on its way in */
    struct {
        RUN_FIELDS(RUN_FIELD)
    } at;           /* where each field is, 8 bytes */
    char *settings; /* name=value lines, which state_free frees */
    uint64_t best;  /* loaded: hash of the best.bin beside it; 0: there is none */
} RunState;

static void state_free(RunState *c) { free(c->settings); }

/* -- settings -- */

/* The value of each flag of a command that is not its default, as lines name=value, but those that
   may change: these do not change the result, or what they say of it is compared by itself. */
static void put_settings(FILE *f, const Program *p, const void *options, int command)
{
    for (int i = 0; i < p->num_flags; i++) {
        Flag flag = p->flags[i];
        const char *text = NULL, *usual = flag.value, *field = (const char *)options + flag.field;
        double number = 0, other = 0;
        long long whole = 0, least = 0;
        if (flag.kind < SWITCH) memcpy(&text, field, sizeof text);
        else if (flag.kind < REAL) memcpy(&whole, field, sizeof whole);
        else memcpy(&number, field, sizeof number);
        if (!(flag.takes & p->commands[command].bit) || flag.takes & MAY_CHANGE) continue;
        flag.field = 0;
        if (flag.kind >= REAL) set_flag(&other, &flag, *usual ? usual : "-1"); /* as parse has it */
        else if (flag.kind >= SWITCH && *usual) set_flag(&least, &flag, usual);
        if (flag.kind < SWITCH ? !text || !strcmp(text, usual) : whole == least && number == other)
            continue;
        fprintf(f, "%s=", flag.name);
        if (flag.kind < SWITCH) fputs(text, f);
        else put_number(f, flag.kind < REAL ? (double)whole : number, 17);
        fputs("\n", f);
    }
}

/* The value behind name= in the lines, which ends with its line; NULL: there is none. */
static const char *setting(const char *lines, const char *name, size_t n)
{
    for (const char *at = lines; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
        if (!strncmp(at, name, n) && at[n] == '=') return at + n + 1;
    return NULL;
}

/* Says which of these lines, but for those of value *, other has not; 0: none. */
static int setting_lacks(const char *path, const char *lines, const char *other, int now)
{
    for (const char *at = lines, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        const char *value = strchr(at, '='), *is;
        if (!value || value > end) return fail("%s: its settings are no lines", path);
        const size_t name = (size_t)(value - at), n = (size_t)(end - value);
        is = setting(other, at, name);
        if (value[1] == '*' || (is && (*is == '*' || !strncmp(is, value + 1, n)))) continue;
        if (!is) is = "not set at all";
        const int is_n = (int)strcspn(is, "\n"), value_n = (int)n - 1;
        return fail("%s: %.*s was %.*s and now is %.*s: what decides the result cannot change on "
                    "the way. A new run takes --model of that folder's model.bin",
                    path, (int)name, at, now ? is_n : value_n, now ? is : value + 1,
                    now ? value_n : is_n, now ? value + 1 : is);
    }
    return 0;
}

/* -- writing -- */

typedef struct {
    Whole file;
    uint64_t hash;
} StateOut;

/* n numbers of size bytes and the zeros behind them, little endian, whatever this machine is. */
static int put_state(StateOut *out, const void *numbers, size_t n, size_t size)
{
    char piece[1 << 16];
    const char *from = numbers;
    for (size_t left = n * size, k; left > 0; left -= k, from += k) {
        k = zmin(left, sizeof piece);
        const size_t padded = (k + 7) / 8 * 8;
        memcpy(piece, from, k);
        memset(piece + k, 0, padded - k);
        little_endian(piece, k / size, size);
        out->hash = hash_bytes(out->hash, piece, padded);
        if (write_all(&out->file, piece, padded)) return 1;
    }
    return 0;
}

static uint64_t state_bytes(const Bert *m, size_t settings)
{
    const uint64_t floats = (m->num_parameters * 4 + 7) / 8 * 8, rows = (uint64_t)m->config.V;
    return HEADER + (settings + 7) / 8 * 8 + 2 * floats + (rows + 7) / 8 * 8 + 8;
}

static void put_wide(int32_t *words, uint64_t x)
{
    words[0] = (int32_t)(uint32_t)x, words[1] = (int32_t)(uint32_t)(x >> 32);
}

static int save_state(const RunState *c, const char *folder, uint64_t model, uint64_t best)
{
    const Bert *m = c->m;
    const size_t n = m->num_parameters, settings = strlen(c->settings);
    int32_t w[HEADER_WORDS] = {STATE_MAGIC, STATE_VERSION, m->config.V, NUM_FIELDS};
    StateOut out = {.hash = HASH_START};
    void *at[NUM_FIELDS];
    memcpy(at, &c->at, sizeof at);
    put_wide(w + 4, n), put_wide(w + 6, settings), put_wide(w + 8, model);
    put_wide(w + 10, state_bytes(m, settings)), put_wide(w + 12, best);
    for (int i = 0; i < NUM_FIELDS; i++) {
        uint64_t x;
        memcpy(&x, at[i], 8);
        put_wide(w + FIRST_FIELD + 2 * i, x);
    }
    if (whole_begin(&out.file, folder, "state.bin")) return 1;
    int failed = put_state(&out, w, HEADER_WORDS, 4) || put_state(&out, c->settings, settings, 1) ||
                 put_state(&out, m->m_memory, n, 4) || put_state(&out, m->v_memory, n, 4) ||
                 put_state(&out, m->seen, (size_t)m->config.V, 1);
    const uint64_t hash = out.hash;
    return whole_end(&out.file, failed || put_state(&out, &hash, 1, 8));
}

/* -- reading -- */

/* n numbers of size bytes, and the zeros behind them. */
static int get_state(FILE *f, void *numbers, size_t n, size_t size)
{
    char *to = numbers, zeros[8];
    for (size_t left = n * size, got; left > 0; left -= got, to += got)
        if (!(got = fread(to, 1, zmin(left, (size_t)1 << 30), f))) return 1;
    little_endian(numbers, n, size);
    const size_t rest = (8 - n * size % 8) % 8;
    return fread(zeros, 1, rest, f) != rest;
}

/* Is the file what save_state wrote, for a model of c's shape? Leaves its header in w. */
static int check_state(const RunState *c, const char *path, FILE *f, int32_t *w)
{
    struct stat info;
    uint64_t hash = HASH_START, size = 0, end;
    if (fstat(fileno(f), &info) || !S_ISREG(info.st_mode))
        return fail("%s: not a regular file", path);
    const Wide bytes = (Wide)info.st_size;
    if (bytes < HEADER + 8 || fread(w, 1, HEADER, f) != HEADER)
        return fail("%s: not a checkpoint's state: it has %llu bytes", path, bytes);
    little_endian(w, HEADER_WORDS, 4);
    if (w[0] != STATE_MAGIC)
        return fail("%s: not a checkpoint's state: it begins with %08X", path, (unsigned)w[0]);
    if (w[1] != STATE_VERSION || w[3] != NUM_FIELDS)
        return fail("%s: version is %d with %d fields, not %d with %d: it is of another train_bert",
                    path, w[1], w[3], STATE_VERSION, NUM_FIELDS);
    if (wide(w + 10) != bytes)
        return fail("%s: is %llu bytes long; its header says %llu", path, bytes, wide(w + 10));
    if (hash_file(&hash, &size, path, bytes - 8)) return 1;
    if (fseek(f, -8, SEEK_END) || get_state(f, &end, 1, 8) || fseek(f, HEADER, SEEK_SET))
        return fail("%s: cannot be read: %s", path, strerror(errno));
    if (hash != end) return fail("%s: is damaged: its bytes are not those that were saved", path);
    if (w[2] != c->m->config.V || wide(w + 4) != c->m->num_parameters)
        return fail("%s: is of a model with %llu parameters, not %zu", path, wide(w + 4),
                    c->m->num_parameters);
    if (wide(w + 6) > bytes || state_bytes(c->m, (size_t)wide(w + 6)) != bytes)
        return fail("%s: %llu bytes of settings in %llu", path, wide(w + 6), bytes);
    return 0;
}

static int read_state(RunState *c, const char *path, FILE *f, int32_t *w)
{
    Bert *m = c->m;
    const size_t n = m->num_parameters, V = (size_t)m->config.V;
    void *at[NUM_FIELDS];
    if (check_state(c, path, f, w)) return 1;
    const size_t settings = (size_t)wide(w + 6);
    char *then = take(settings + 1, 1, "settings");
    int failed = get_state(f, then, settings, 1);
    if (!failed && (strlen(then) != settings || !settings || then[settings - 1] != '\n'))
        failed = fail("%s: its settings are no lines", path);
    else if (failed) fail("%s: cannot be read: %s", path, strerror(errno));
    if (!failed)
        failed =
            setting_lacks(path, then, c->settings, 0) || setting_lacks(path, c->settings, then, 1);
    free(c->settings), c->settings = then;
    if (failed) return 1;
    if (bert_training_room(m)) return fail("%s", bert_error(m));
    if (get_state(f, m->m_memory, n, 4) || get_state(f, m->v_memory, n, 4) ||
        get_state(f, m->seen, V, 1))
        return fail("%s: cannot be read: %s", path, strerror(errno));
    c->best = wide(w + 12);
    memcpy(at, &c->at, sizeof at);
    for (int i = 0; i < NUM_FIELDS; i++) {
        const uint64_t x = wide(w + FIRST_FIELD + 2 * i);
        memcpy(at[i], &x, 8);
    }
    return 0;
}

#endif
