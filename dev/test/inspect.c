/* train_bert inspect: its page for each task, the numbers in it, and what has to be refused. What
   Hugging Face finds, and a browser shows, is dev/check/inside.py. */
#define TESTING
#include "test.h"

#include "../../train_bert.c"

#include "files.h"

#define WORDS "inspect --model words.bin --output_file page.html "

/* The page that the last call wrote, from the field on; without one: "". */
static const char *page_from(const char *field)
{
    size_t size;
    const char *text = (const char *)read_file("page.html", &size), *at = strstr(text, field);
    return at ? at + strlen(field) : "";
}

/* The page is inspect.html, with the data in place of one line. */
static void test_page(void)
{
    size_t size, at = 0;
    const char *source = (const char *)read_file("dev/page/inspect.html", &size);
    for (size_t l = 0; l < sizeof page / sizeof *page; at += strlen(page[l++]))
        if (!expect(!strncmp(source + at, page[l], strlen(page[l])),
                    "page.h, line %zu: is another one; make page", l))
            break;
    expect(at == size, "page.h has %zu bytes, inspect.html %zu: make page", at, size);
    done("inspect: page.h is inspect.html");
}

/* Rows of attention are probabilities. */
static void test_numbers(void)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    Bert m = {0};
    must(&m, bert_load(&m, "words.bin"));
    expect(call_text(WORDS, "a good film is not dull\nmore\n") == 0, "%s", output);
    expect(strstr(output, "page.html: ") && strstr(output, "classification  good"), "%s", output);
    const char *at = page_from("\"attention\": [");
    int T = 0, heads = 0, rows = 0;
    for (const char *type = page_from("\"types\": ["); *type && *type != ']'; type++)
        T += *type == '0';
    expect(T == 8, "%d tokens", T);
    for (; *at == '"' || (*at == ',' && at[2] == '"'); heads++) {
        at = strchr(at, '"') + 1;
        for (int q = 0; q < T && *at != '"'; q++, rows++) {
            long sum = 0;
            for (int k = 0; k < T; k++, at += 3)
                for (int i = 0, unit = 4096; i < 3; i++, unit /= 64)
                    sum += unit * (strchr(digits, at[i]) - digits);
            expect(labs(sum - 262143) <= T, "row %d of head %d: %ld", q, heads, sum);
        }
        at += *at == '"';
    }
    expect(heads == m.config.L * m.config.NH && rows == heads * T, "%d heads, %d rows", heads,
           rows);
    expect(!strncmp(at, "]}\n", 3), "the data ends with %.9s", at);
    bert_free(&m);
    done("inspect: each row of each head adds up to 1");
}

/* log p of the first label, of the model that is written now. */
static double log_p(void)
{
    expect(call_text(WORDS, "a good film is not dull") == 0, "%s", output);
    return log(atof(page_from("\"rows\": [[\"good\",")));
}

/* Where a token's embedding is made longer, log p changes by the token's saliency. */
static void test_saliency(void)
{
    const int t = 2; /* good */
    const double step = 0.02;
    double saliency[16] = {0}, changed[2];
    Bert m = {0};
    log_p();
    const char *at = page_from("\"saliency\": [");
    for (int i = 0; i < 8; i++, at = at ? at + 1 : "") saliency[i] = atof(at), at = strchr(at, ',');
    int id = atoi(strchr(strchr(page_from("\"ids\": ["), ',') + 1, ',') + 1);
    for (int i = 0; i < 2; i++) {
        must(&m, bert_load(&m, "words.bin"));
        float *row = m.params.wte + (size_t)id * (size_t)m.config.C;
        for (int c = 0; c < m.config.C; c++) row[c] *= (float)(i ? 1 - step : 1 + step);
        must(&m, bert_save(&m, "changed.bin"));
        expect(call_text("inspect --model changed.bin --output_file page.html",
                         "a good film is not dull") == 0,
               "%s", output);
        changed[i] = log(atof(page_from("\"rows\": [[\"good\",")));
    }
    const double slope = (changed[0] - changed[1]) / (2 * step);
    expect(fabs(slope) > 1e-4 && fabs(slope - saliency[t]) < 0.02 * fabs(slope) + 1e-5,
           "%g, not %g", saliency[t], slope);
    bert_free(&m);
    done("inspect: saliency is the slope of log p along a token's embedding");
}

/* Each task's page has what the task has. */
static void test_tasks(void)
{
    static const struct {
        int task, K, multi;
        const char *text, *has[3];
    } rows[] = {
        {BERT_NONE, 0, 0, "a good film", {"\"norms\"", "\"near\"", "\"class\": \"BertModel\""}},
        {BERT_CLASSIFICATION, 3, 1, "a good film", {"each by itself", "log p(LABEL_1)", ""}},
        {BERT_REGRESSION,
         1,
         0,
         "a good film",
         {"\"title\": \"value\"", "{\"of\": \"the value\"", ""}},
        {BERT_NER, 3, 0, "a good film", {"\"tags\": [[\"LABEL_", "log p(", ", token 1 to "}},
        {BERT_QA,
         0,
         0,
         "{\"question\": \"a film\", \"context\": \"a good film is not dull\"}",
         {"\"answer\"", "log p(begins at token ", "\"types\": [0,0,0,0,1,"}},
        {BERT_MLM, 0, 0, "a [MASK] film", {"\"words\"", "[MASK], token 2", ") at token 2"}},
        {BERT_PRETRAINING, 0, 0, "a film", {"no [MASK]", "\"targets\": []", "BertForPreTraining"}},
        {BERT_MULTIPLE_CHOICE,
         1,
         0,
         "a film\t\xe6\x88\x91\t\xe4\xb8\xad",
         {"\"choice\"", "logit of the choice", ""}},
    };
    Bert m = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        must(&m, bert_load(&m, "words.bin"));
        must(&m, bert_set_task(&m, rows[i].task, rows[i].K, rows[i].multi, NULL, 1));
        m.config.max_seq_length = 4; /* embed's alone */
        must(&m, bert_save(&m, "task.bin"));
        expect(call_text("inspect --model task.bin --output_file page.html", rows[i].text) == 0,
               "task %d: %s", rows[i].task, output);
        expect(atoi(page_from("\"cut\": ")) == (rows[i].task == BERT_NONE), "task %d: cut",
               rows[i].task);
        for (int j = 0; j < 3; j++)
            expect(!*rows[i].has[j] || *page_from(rows[i].has[j]), "task %d has no %s",
                   rows[i].task, rows[i].has[j]);
        if (rows[i].task == BERT_NER)
            expect(*page_from("\"rows\": [[\""), "no entity: %.99s", page_from("\"rows\": "));
        if (rows[i].task == BERT_QA) {
            const int begin = atoi(page_from("log p(begins at token "));
            const int end = atoi(page_from("log p(ends at token "));
            expect(begin >= 4 && end >= begin, "an answer from token %d to %d", begin, end);
        }
        if (rows[i].task == BERT_MULTIPLE_CHOICE) /* the best one's, which is the first row */
            expect(!strncmp(strchr(page_from("\"unknown\": {"), ':') + 3,
                            page_from("\"rows\": [[\""), 3),
                   "of %.20s: %.30s", page_from("\"rows\": "), page_from("\"unknown\": "));
        expect(!strcmp(page_from("\"targets\""), "") == (rows[i].task == BERT_NONE), "task %d",
               rows[i].task);
        if (rows[i].task != BERT_QA) continue;
        expect(!call_text("inspect --model task.bin --output_file page.html --max_length 8",
                          rows[i].text) &&
                   strstr(output, "the context does not fit into 8 tokens: only its first window"),
               "%s", output);
    }
    bert_free(&m);
    done("inspect: every task");
}

/* Nothing of a text ends the script that holds it; what is too long is cut, and said. */
static void test_texts(void)
{
    expect(call_text(WORDS, "</script><!-- \"\\ \xe4\xb8\xad \xff [MASK]\n") == 0, "%s", output);
    expect(strstr(output, "stdin:1: not UTF-8") != NULL, "%s", output);
    const char *data = page_from("id='data'>"), *end = strstr(data, "</script>");
    expect(end && end[-1] == '\n' && end[-2] == '}', "the data ends with %.20s",
           end ? end - 9 : "");
    expect(*page_from("\"text\": \"\\u003c/script>\\u003c!-- \\\"\\\\ \xe4\xb8\xad \xef\xbf\xbd ["),
           "%s", data);
    expect(call(WORDS "--max_length 5 good-film-is-not-dull") == 0, "%s", output);
    expect(strstr(output, "the text: cut at 5 of 11 tokens (--max_length") != NULL, "%s", output);
    expect(*page_from("\"cut\": 6"), "no cut");
    expect(call_text(WORDS "--pair", "a good\tfilm") == 0, "%s", output);
    expect(*page_from("\"types\": [0,0,0,0,1,1]"), "%.100s", page_from("\"types\": "));
    expect(*page_from("\"unknown\": {},"), "%.100s", page_from("\"unknown\": "));
    expect(call_text(WORDS "--pair", "a \xe6\x88\x91\t\xe4\xb8\xad film") == 0, "%s", output);
    expect(*page_from("\"unknown\": {\"2\": \"\xe6\x88\x91\",\"4\": \"\xe4\xb8\xad\"},"), "%.100s",
           page_from("\"unknown\": "));
    expect(strstr(output, " KB, for any browser") != NULL, "%s", output);
    expect(call(WORDS "--text=--film") == 0 && *page_from("\"text\": \"--film\""), "%s", output);
    expect(call("inspect film --model words.bin") == 0 && !access("inspect.html", F_OK), "%s",
           output);
    done("inspect: texts with </script>, other bytes, too long, in pairs, of an argument");
}

static void test_refused(void)
{
    Bert m = {0};
    char line[PATH_MAX + 100] = "inspect film --model words.bin --output_file ";
    const size_t n = strlen(line);
    unlink("page.html");
    mkdir("there", 0700);
    expect_error("inspect film", "inspect needs --model", "");
    expect_error(WORDS "good film", "'film' is not a flag", "help inspect");
    expect_error("encode --model words.bin film", "'film' is not a flag", "help encode");
    expect_error(WORDS "--text film good", "'good' is not a flag", "");
    expect_error(WORDS "--text= ", "--text: '' is not a text", "");
    expect_error(WORDS "''", "--text: '' is not a text", "");
    expect_error(WORDS "--pair film", "the text: no tab", "--pair");
    expect_error(WORDS "--max_length 1000000 film", "--max_length is 1000000", "");
    expect_error("inspect --model words.bin --output_file no/page.html film", "no/page.html", "");
    expect_error("inspect --model words.bin --output_file there/ film", "there/ is a folder", "");
    expect_error("inspect --model words.bin --output_file there film", "there", "Is a directory");
    expect(access("there.tmp", F_OK), "there.tmp is left");
    memset(line + n, 'x', PATH_MAX - 63), line[n + PATH_MAX - 63] = 0;
    expect_error(line, "--output_file: the name is too long", "");
    expect_text(WORDS, "", 1,
                "train_bert: inspect reads a text, its last argument or a line of standard input: "
                "there is none\n");
    expect(call_from(WORDS, ".") == 1 && strstr(output, "standard input: cannot be read: "), "%s",
           output);
    expect_text(WORDS, "  \n", 1, "train_bert: stdin:1 is empty: there is nothing to look into\n");
    must(&m, bert_load(&m, "words.bin"));
    m.params.qkvw[0] = NAN;
    must(&m, bert_save(&m, "changed.bin"));
    expect_error("inspect --model changed.bin --output_file page.html film", "qkvw of layer 0",
                 "changed.bin: its parameters are damaged");
    expect(access("page.html", F_OK) && access("page.html.tmp", F_OK), "page.html is there");
    bert_free(&m);
    done("inspect: what cannot be is refused by name, and nothing is written");
}

/* From each allocation for bert.h on there is no more memory. */
static void test_memory(void)
{
    static const int tasks_of[] = {BERT_PRETRAINING, BERT_MULTIPLE_CHOICE};
    Bert m = {0};
    int k = 0;
    for (int i = 0; i < 2; i++) {
        int code = 1;
        must(&m, bert_load(&m, "encoder.bin"));
        must(&m, bert_set_task(&m, tasks_of[i], i, 0, NULL, 1));
        must(&m, bert_save(&m, "task.bin"));
        bert_free(&m);
        for (k = 0; code == 1 && k < 100; k++) {
            unlink("page.html");
            fail_at = k;
            code = call_text("inspect --model task.bin --output_file page.html", "a [MASK]\tb\ta");
            fail_at = -1;
            expect(code ? strstr(output, "memory") && access("page.html", F_OK) : k > 30,
                   "task %d, allocation %d: exit code %d, %s", tasks_of[i], k, code, output);
        }
        expect(code == 0, "task %d: %s", tasks_of[i], output);
    }
    done("inspect: each of %d allocations is the last: an error, and no page", k);
}

int main(void)
{
    test_page();
    enter_folder("inspect");
    test_numbers();
    test_saliency();
    test_tasks();
    test_texts();
    test_refused();
    test_memory();
    leave_folder();
    return finish();
}
