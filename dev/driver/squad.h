/*
squad.h - exact match and F1 of answers, as the official SQuAD scripts count them. They are Python:
what its str knows of Unicode is taken from the tokenizer's table, which has no categories for marks
that take space (Mc) nor for some numbers (No): beside those an article is not one here.
*/
#ifndef SQUAD_H
#define SQUAD_H

#include "metrics.h"

/* ------------------------------------------------------------------------------------------------
   A normalized answer */

/* Python's str.isspace beyond ASCII */
static int is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* A letter or number: part of a word, but for marks and connecting punctuation. */
static int is_alnum(const BertTokenizer *t, uint32_t c)
{
    if (c < 128) return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
    if (c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0xBC && c <= 0xBE)) return 1;
    return bert_is_alnum(t, c);
}

/* str.lower of one code point: its letters, at most 3 (Unicode has no more). Sigma is the final one
   behind a letter and before none; Python looks past marks and apostrophes there, this does not. */
static int lower_case(const BertTokenizer *t, uint32_t out[3], uint32_t before, uint32_t c,
                      uint32_t after)
{
    out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
    int n = c >= 128 ? bert_lower_case(t, c, out) : 0;
    if (c == 0x3A3 && is_alnum(t, before) && !is_alnum(t, after)) out[0] = 0x3C2;
    return n ? n : 1;
}

/* Lower case without ASCII punctuation; out has room for 3n. Returns the length. */
static size_t plain_letters(const BertTokenizer *t, uint32_t *out, BertText text)
{
    size_t length = 0;
    uint32_t before = 0, c, after, lower[3];
    for (size_t at = 0, ahead; at < text.size; before = c) {
        c = bert_utf8(text.bytes, text.size, &at);
        ahead = at;
        after = at < text.size ? bert_utf8(text.bytes, text.size, &ahead) : 0;
        int n = lower_case(t, lower, before, c, after);
        for (int i = 0; i < n; i++)
            if (lower[i] >= 128 || is_alnum(t, lower[i]) || lower[i] <= ' ' || lower[i] == 127)
                out[length++] = lower[i];
    }
    return length;
}

/* The scripts' normalize_answer: besides, a run of letters and numbers that is a, an or the becomes
   a blank, as white space does; one blank between words. out has room for 3n + 1. */
static size_t normalize_answer(const BertTokenizer *t, uint32_t *out, BertText text)
{
    static const uint32_t articles[][3] = {{'a'}, {'a', 'n'}, {'t', 'h', 'e'}}; /* by length */
    size_t length = plain_letters(t, out, text), kept = 0;
    for (size_t i = 0, end, n; i < length; i = end) {
        int word = is_alnum(t, out[i]);
        for (end = i + 1; word && end < length && is_alnum(t, out[end]);) end++;
        n = end - i;
        if (is_space(out[i]) || (n <= 3 && !memcmp(out + i, articles[n - 1], n * sizeof *out))) {
            if (kept && out[kept - 1] != ' ') out[kept++] = ' ';
        } else {
            for (size_t j = i; j < end; j++) out[kept++] = out[j];
        }
    }
    return kept && out[kept - 1] == ' ' ? kept - 1 : kept;
}

/* ------------------------------------------------------------------------------------------------
   Scores */

/* The words of a normalized answer in the order of their bytes; how many in n. */
static Placed *sorted_words(const uint32_t *s, size_t length, size_t *n)
{
    Placed *words = take(length / 2 + 1, sizeof *words, "the words of an answer");
    *n = 0;
    for (size_t at = 0, end; at < length; at = end + 1) {
        for (end = at; end < length && s[end] != ' ';) end++;
        words[*n].text.bytes = (const char *)(s + at);
        words[(*n)++].text.size = (end - at) * sizeof *s;
    }
    qsort(words, *n, sizeof *words, by_text);
    return words;
}

/* F1 of the words: those that both have, each as often as both have it. */
static double word_f1(const uint32_t *a, size_t a_length, const uint32_t *b, size_t b_length)
{
    size_t na, nb, shared = 0;
    Placed *x = sorted_words(a, a_length, &na), *y = sorted_words(b, b_length, &nb);
    for (size_t i = 0, j = 0; i < na && j < nb;) {
        int same = same_text(x[i].text, y[j].text), first = same || by_text(&x[i], &y[j]) < 0;
        shared += (size_t)same;
        i += (size_t)first, j += (size_t)(same || !first);
    }
    free(x), free(y);
    return ratio(2 * (double)shared, (double)(na + nb));
}

typedef struct {
    double exact, f1;
} SquadScore;

/* The highest exact match and F1 over the gold answers (first .. first+count-1 of golds). v2.0's
   script leaves out golds that are empty when normalized, takes "" where none is left, and gives F1
   1 to empty on empty; v1.1's gives it 0. */
static SquadScore squad_score(const BertTokenizer *t, BertText text, const BertStrings *golds,
                              size_t first, size_t count, int v2)
{
    SquadScore best = {0, 0};
    size_t room = text.size, used = 0;
    for (size_t i = 0; i < count; i++) room += bert_string(golds, first + i).size;
    uint32_t *answer = take(3 * room + 2, sizeof *answer, "an answer");
    uint32_t *gold = answer + 3 * text.size + 1;
    size_t na = normalize_answer(t, answer, text);
    for (size_t i = 0; i < count; i++) {
        size_t ng = normalize_answer(t, gold, bert_string(golds, first + i));
        if (v2 && ng == 0) continue;
        used++;
        best.exact = fmax(best.exact, na == ng && !memcmp(answer, gold, na * sizeof *gold));
        if (na && ng) best.f1 = fmax(best.f1, word_f1(answer, na, gold, ng));
    }
    if (v2 && !used) best.exact = best.f1 = na == 0;
    free(answer);
    return best;
}

#endif
