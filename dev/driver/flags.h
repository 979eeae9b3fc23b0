/*
flags.h - the command line: kinds of flags, parsing, help, and what a flag that is none was meant to
be. The flags themselves, and the commands, are the program's tables.
*/
#ifndef FLAGS_H
#define FLAGS_H

#include "instead.h"
#include "report.h"

#include <float.h>
#include <limits.h>
#include <stddef.h>

/* Kinds of flags: name, type of its field in the options, its value in the help, what it has to be,
   and numbers' least and most. First texts (of CHOICE and TRUTH one of several), then whole
   numbers, from REAL on others. */
#define KINDS(X)                                                                                   \
    X(PATH, const char *, "PATH", "a path", 0, 0)                                                  \
    X(OBJECT, const char *, "JSON", "a JSON object", 0, 0)                                         \
    X(NAME, const char *, "NAME", "a name", 0, 0)                                                  \
    X(LIST, const char *, "N,N,..", "a list", 0, 0)                                                \
    X(BARE, const char *, "TEXT", "a text", 0, 0) /* also without its flag, once */                \
    X(LAST, const char *, "[PATH]", "a path, or nothing", 0, 0)                                    \
    X(TRUTH, const char *, "[WORD]", "true or false", 0, 0)                                        \
    X(CHOICE, const char *, "WORD", "one of ", 0, 0)                                               \
    X(SWITCH, long long, "", "", 0, 1)                                                             \
    X(COUNT, long long, "N", "a whole number from 1 to 2147483647", 1, INT_MAX)                    \
    X(TOP, long long, "N", "a whole number from 1 to 100", 1, BERT_MOST_ANSWERS)                   \
    X(LAYERS, long long, "N", "a whole number from 0 to 2147483647", 0, INT_MAX)                   \
    X(STEPS, long long, "N", "a whole number from -1 to 2147483647", -1, INT_MAX)                  \
    X(SEED, long long, "N", "a whole number from 0 to 4294967295", 0, 4294967295.0)                \
    X(REAL, double, "X", "a number", -FLT_MAX, FLT_MAX)                                            \
    X(NUMBER, double, "X", "a number >= 0", 0, FLT_MAX)                                            \
    X(POSITIVE, double, "X", "a number > 0", FLT_MIN, FLT_MAX)                                     \
    X(SHARE, double, "X", "a number >= 0 and < 1", 0, 0.99999994) /* the last float below 1 */     \
    X(PART, double, "X", "a number > 0 and < 1", FLT_MIN, 0.99999994)                              \
    X(FACTOR, double, "X", "a number > 0 and <= 1", FLT_MIN, 1)                                    \
    X(EVERY, double, "N", "a whole number from 1 to 2147483647, or a share of all steps below 1",  \
      FLT_MIN, INT_MAX)

#define KIND_NAME(name, ...) name,
#define KIND_TYPE(name, type, ...) typedef type name##_t;
#define KIND_ROW(name, type, value, wants, low, high) {value, wants, low, high},
typedef enum { KINDS(KIND_NAME) } Kind; /* not given: NULL, 0, or from REAL on -1 */
KINDS(KIND_TYPE)

static const struct {
    const char *value, *wants;
    double low, high;
} kinds[] = {KINDS(KIND_ROW)};

enum { MAY_CHANGE = 1 << 15 }; /* a training that goes on may have another value of it */

typedef struct {
    const char *name;
    Kind kind;
    size_t field;      /* in the options */
    const char *value; /* the default, or "" */
    int takes, needs;  /* commands, as bits; takes: MAY_CHANGE too */
    const char *help;  /* CHOICE: the choices; a remark may follow them */
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

/* What follows word in the list, where it stands between separators or its ends; else NULL. A list
   ends at a blank. */
static const char *in_list(const char *list, const char *word, char separator)
{
    size_t n = strlen(word);
    for (const char *at = list; n && (at = strstr(at, word)) != NULL; at++)
        if ((at == list || at[-1] == separator) && (at[n] == separator || at[n] == ' ' || !at[n]))
            return at + n;
    return NULL;
}

/* Stores a value in its field; 0 where it is none of the flag's kind. */
static int set_flag(void *options, const Flag *flag, const char *text)
{
    Kind kind = flag->kind;
    char *field = (char *)options + flag->field, *end;
    if (kind <= CHOICE) {
        const char *words = kind == TRUTH ? "true|false|True|False" : flag->help;
        memcpy(field, &text, sizeof text);
        if (kind < TRUTH) return *text || kind == LAST;
        return !strchr(text, '|') && !strchr(text, ' ') && in_list(words, text, '|') != NULL;
    }
    double number = strtod(text, &end);
    int good = *text && !*end && number >= kinds[kind].low && number <= kinds[kind].high;
    if (kind == EVERY) good &= number < 1 || number == floor(number);
    if (kind >= REAL) {
        memcpy(field, &number, sizeof number);
        return good;
    }
    long long whole = good ? (long long)number : 0;
    memcpy(field, &whole, sizeof whole);
    return good && (double)whole == number;
}

/* How many letters have to be changed, added, left out, or swapped with the next one: of words of
   less than 64 characters. */
static int distance(const char *a, const char *b)
{
    int rows[3][64], n = (int)strlen(b), i = 0;
    for (int j = 0; j <= n; j++) rows[0][j] = j;
    for (i = 1; a[i - 1]; i++) {
        const int *last = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];
        int *row = rows[i % 3];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            row[j] = imin(last[j - 1] + (a[i - 1] != b[j - 1]), 1 + imin(last[j], row[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = imin(row[j], before[j - 2] + 1);
        }
    }
    return rows[(i - 1) % 3][n];
}

/* Is it the beginning of the flag's name, or are all its words, with _ between, words of it? */
static int is_part(const char *name, const char *flag)
{
    const char *at = flag;
    if (strlen(name) >= 3 && !strncmp(name, flag, strlen(name))) return 1;
    for (size_t n; at && *name; name += n + (name[n] == '_')) {
        char word[64];
        n = strcspn(name, "_");
        snprintf(word, sizeof word, "%.*s", (int)n, name);
        at = in_list(at, word, '_');
        if (at && *at) at++;
    }
    return at != NULL;
}

/* The command's one flag that the name is a slip of, or -1. Slips are few: --test_file is none of
   --train_file. */
static int meant_flag(const Program *p, const char *name, int command)
{
    const int most = strlen(name) < 4 ? 0 : strlen(name) < 9 ? 1 : 2;
    int least = most + 1, found = -1, several = 0, part = -1, parts = 0;
    for (int i = 0; i < p->num_flags; i++) {
        if (!(p->flags[i].takes & p->commands[command].bit)) continue;
        int steps = distance(name, p->flags[i].name);
        if (most < 2 && *name != *p->flags[i].name) steps = INT_MAX; /* --unit is none of them */
        several = steps < least ? 0 : several | (steps == least);
        if (steps < least) least = steps, found = i;
        if (is_part(name, p->flags[i].name)) part = i, parts++;
    }
    if (found >= 0) return several ? -1 : found;
    return parts == 1 ? part : -1;
}

/* The first of the --flags that a text consists of which the command takes; -1: none; -2: there are
   other words in it. */
static int first_flag(const Program *p, const char *text, int command)
{
    int found = -1;
    char name[64];
    while (sscanf(text, " --%63s", name) == 1) {
        for (int i = 0; i < p->num_flags && found < 0; i++)
            if (!strcmp(name, p->flags[i].name) && p->flags[i].takes & p->commands[command].bit)
                found = i;
        text = strstr(text, name) + strlen(name);
    }
    return *text ? -2 : found;
}

/* A flag of that name is not the command's: says what is known of it. */
static int no_flag(const Program *p, const char *name, int command)
{
    const char *own = p->commands[command].name;
    char owners[128] = "";
    for (int i = 0; i < p->num_flags; i++)
        for (int c = 0; c < p->num_commands && !strcmp(name, p->flags[i].name); c++)
            if (p->flags[i].takes & p->commands[c].bit)
                snprintf(owners + strlen(owners), sizeof owners - strlen(owners), "%s%s",
                         *owners ? ", " : "", p->commands[c].name);
    if (*owners) return fail("--%s is a flag of %s, not of %s", name, owners, own);
    for (int i = 0; i < NUM_INSTEAD; i++) {
        const Instead *row = &instead[i];
        if (strchr(name, ' ') || !in_list(row->names, name, ' ')) continue;
        int flag = first_flag(p, row->what, command);
        if (flag == -1) continue; /* they are other commands' */
        if (flag >= 0 && row->whose)
            return fail("--%s is a flag of %s; here it is --%s", name, row->whose,
                        p->flags[flag].name);
        if (row->whose)
            return fail("--%s is a flag of %s that train_bert does not have: %s", name, row->whose,
                        row->what);
        if (flag == -2) return fail("--%s: no such flag: %s", name, row->what);
        return fail("--%s: no such flag. Did you mean --%s?", name, p->flags[flag].name);
    }
    int flag = meant_flag(p, name, command);
    if (flag >= 0) return fail("--%s: no such flag. Did you mean --%s?", name, p->flags[flag].name);
    return fail("--%s: no such flag; 'train_bert help %s' lists them", name, own);
}

/* The flag's index, or -1 with a message that helps. */
static int find_flag(const Program *p, const char *name, int command)
{
    for (int i = 0; i < p->num_flags; i++)
        if (p->flags[i].takes & p->commands[command].bit && !strcmp(name, p->flags[i].name))
            return i;
    no_flag(p, name, command);
    return -1;
}

/* Takes --name value, --name=value or --switch; returns how many arguments, 0 for an error. */
static int parse_flag(const Program *p, void *options, int command, char **argv, int left)
{
    const char *text = argv[0] + 2, *equals = strchr(text, '='), *value;
    char name[64];
    size_t n = zmin(equals ? (size_t)(equals - text) : strlen(text), sizeof name - 1);
    for (size_t i = 0; i < n; i++) name[i] = text[i] == '-' ? '_' : text[i]; /* --max-steps too */
    name[n] = '\0';
    int i = find_flag(p, name, command);
    if (i < 0) return 0;
    Kind kind = p->flags[i].kind;
    const char *choices = kind == CHOICE ? p->flags[i].help : "";
    if (kind == SWITCH && equals) return fail("--%s takes no value", name), 0;
    if (kind == SWITCH) return set_flag(options, &p->flags[i], "1");
    value = equals ? equals + 1 : left > 1 && strncmp(argv[1], "--", 2) ? argv[1] : NULL;
    if (!value && (kind == LAST || kind == TRUTH))
        return set_flag(options, &p->flags[i], kind == LAST ? "" : "true");
    if (!value) return fail("--%s needs a value: %s%s", name, kinds[kind].wants, choices), 0;
    if (!set_flag(options, &p->flags[i], value)) {
        for (int k = 0; k < NUM_NO_CHOICES; k++)
            if (!strcmp(no_choices[k].flag, name) && in_list(no_choices[k].values, value, ' '))
                return fail("--%s %s: %s", name, value, no_choices[k].what), 0;
        return fail("--%s: '%s' is not %s%s", name, value, kinds[kind].wants, choices), 0;
    }
    return equals ? 1 : 2;
}

/* The flag whose value a word is that has none before it; NULL: there is none, or it has one. */
static const Flag *bare_flag(const Program *p, const void *options, int command)
{
    const Flag *flag = p->flags, *end = flag + p->num_flags;
    const char *value = NULL;
    while (flag < end && !(flag->kind == BARE && flag->takes & p->commands[command].bit)) flag++;
    if (flag < end) memcpy(&value, (const char *)options + flag->field, sizeof value);
    return flag < end && !value ? flag : NULL;
}

static int parse(const Program *p, void *options, int command, int argc, char **argv)
{
    for (int i = 0; i < p->num_flags; i++)
        if (p->flags[i].value[0] || p->flags[i].kind >= REAL)
            set_flag(options, &p->flags[i],
                     p->flags[i].value[0] ? p->flags[i].value : "-1"); /* -1: not given */
    for (int i = 0, taken; i < argc; i += taken) {
        const Flag *bare = strncmp(argv[i], "--", 2) ? bare_flag(p, options, command) : NULL;
        if (!bare && strncmp(argv[i], "--", 2))
            return fail("'%s' is not a flag; 'train_bert help %s' lists them", argv[i],
                        p->commands[command].name);
        taken = bare ? set_flag(options, bare, argv[i])
                     : parse_flag(p, options, command, argv + i, argc - i);
        if (!taken && bare) return fail("--%s: '' is not %s", bare->name, kinds[BARE].wants);
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
    if (!command) /* train */
        fputs("\nNames, meaning and [defaults] are those of Hugging Face's TrainingArguments.\n",
              f);
    page_end(&page, stdout, 39);
}

#endif
