/* Lesson 1: WordPiece, by hand.                      cc -O2 1_wordpiece.c -o 1 && ./1

   A model computes with numbers, so a text has to become numbers first. One number for each word
   would need millions of rows, and would still not know the next new word. One for each letter
   makes long texts of little meaning. WordPiece is between: frequent words are whole, the others
   are cut into pieces. A piece that does not begin a word is written with ## in front of it.

   The rule that cuts a word is short: take the longest piece of the vocabulary that the word
   begins with; go on behind it, now with ##; if no piece fits, the whole word is [UNK]. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A token's id is its place in this list. BERT's own list has 30,522 lines and was made from
   Wikipedia and books; this one has what the sentences below need. [PAD] fills short texts up
   where texts of different lengths are computed as one rectangle; bert.h does without. */
static const char *const vocabulary[] = {
    "[PAD]", "[UNK]",  "[CLS]", "[SEP]",   "[MASK]", "!",      ",",     ".",     "the",
    "a",     "cat",    "dog",   "is",      "was",    "un",     "re",    "play",  "happy",
    "bed",   "return", "token", "##s",     "##ed",   "##ing",  "##er",  "##ful", "##able",
    "##ize", "##room", "##r",   "##happy", "##play", "##time", "these", "th",    "##eme",
};
enum { V = sizeof vocabulary / sizeof *vocabulary };
enum { UNK = 1, CLS = 2, SEP = 3 };
enum { LONGEST = 100, LETTERS = 255 }; /* of a word, as in BERT; of a sentence: the rest is cut */
enum { MOST = 1 + LETTERS + 1 + 1 };   /* ids of a sentence, [CLS], [SEP] and an end */

/* The id of a piece, or -1. bert.h looks it up in a hash table; a loop is enough for 40 lines. */
static int find(const char *piece)
{
    for (int id = 0; id < V; id++)
        if (!strcmp(vocabulary[id], piece)) return id;
    return -1;
}

/* The pieces of the word, length letters: writes their ids, returns how many. show: each try. */
static int wordpiece(int *ids, const char *word, int length, int show)
{
    int count = 0;
    if (length > LONGEST) return ids[0] = UNK, 1;
    for (int start = 0, end; start < length; start = end) {
        int id = -1;
        for (end = length; end > start; end--) { /* the longest first, then a letter less */
            char piece[LONGEST + 3];
            sprintf(piece, "%s%.*s", start ? "##" : "", end - start, word + start);
            id = find(piece);
            if (show) printf("    %*s%-*s%s\n", start, "", 20 - start, piece, id < 0 ? "-" : "yes");
            if (id >= 0) break;
        }
        /* Not even one letter fits. What was found before is given up: a word of which a part is
           unknown is unknown. */
        if (id < 0) return ids[0] = UNK, 1;
        ids[count++] = id;
    }
    return count;
}

/* A sentence between [CLS] and [SEP], in lower case. Letters and digits that stand together are a
   word, so is each punctuation mark; blanks are nothing. Returns the number of tokens. */
static int encode(int *ids, const char *sentence)
{
    char text[LETTERS + 1] = "";
    int count = 0;
    for (int i = 0; i < LETTERS && sentence[i]; i++)
        text[i] = (char)tolower((unsigned char)sentence[i]);
    ids[count++] = CLS;
    for (const char *word = text; *word;) {
        int length = 1;
        if (isalnum((unsigned char)*word))
            while (isalnum((unsigned char)word[length])) length++;
        if (!isspace((unsigned char)*word)) count += wordpiece(ids + count, word, length, 0);
        word += length;
    }
    ids[count++] = SEP;
    return count;
}

/* Back to text: a piece with ## is glued to what stands before it. */
static void decode(char *text, const int *ids, int count)
{
    *text = 0;
    for (int i = 0; i < count; i++) {
        const char *piece = vocabulary[ids[i]];
        if (!strncmp(piece, "##", 2)) piece += 2;
        else if (*text) strcat(text, " ");
        strcat(text, piece);
    }
}

/* ------------------------------------------------------------------------------------------------
   What is shown, and what has to be true of it */

static const struct {
    const char *text;
    int ids[MOST]; /* what has to come out; a 0, which no token here has, ends them */
} sentences[] = {
    {"The cat was playing.", {2, 8, 10, 13, 16, 23, 7, 3}},
    {"A happy dog, unplayful!", {2, 9, 17, 11, 6, 14, 31, 25, 5, 3}},
    {"the tokenizer replays", {2, 8, 20, 27, 29, 15, 31, 21, 3}},
    {"These bedrooms are RETURNED.", {2, 33, 18, 28, 21, 1, 19, 22, 7, 3}},
};

static void show_try_of(const char *word)
{
    int ids[MOST], n = wordpiece(ids, word, (int)strlen(word), 1);
    printf("    ->");
    for (int i = 0; i < n; i++) printf(" %s (%d)", vocabulary[ids[i]], ids[i]);
    printf("\n\n");
}

int main(void)
{
    int ids[MOST], wrong = 0;
    static char back[MOST * (LONGEST + 1)]; /* a blank and the longest word for each id */

    printf("unplayable: the longest piece first, and behind it the next one\n");
    show_try_of("unplayable");
    printf("replies: re fits, but nothing goes on behind it, so all of it is [UNK]\n");
    show_try_of("replies");
    printf("theme: th and ##eme would spell it, but the longest piece is the; nobody goes back\n");
    show_try_of("theme");

    printf("Sentences, as the model gets them:\n");
    for (size_t s = 0; s < sizeof sentences / sizeof *sentences; s++) {
        int n = encode(ids, sentences[s].text);
        printf("    %s\n   ", sentences[s].text);
        for (int i = 0; i < n; i++) printf(" %s", vocabulary[ids[i]]);
        printf("\n   ");
        for (int i = 0; i < n; i++) printf(" %d", ids[i]);
        printf("\n");
        for (int i = 0; i < n; i++) wrong += ids[i] != sentences[s].ids[i];
        wrong += sentences[s].ids[n] != 0;
    }

    /* What was cut is glued together again. What was unknown, and what was upper case, is lost. */
    decode(back, ids, encode(ids, "the Cat replayed , unplayable bedtime !"));
    printf("\nAnd back to text: %s\n\n", back);
    wrong += strcmp(back, "[CLS] the cat replayed , unplayable bedtime ! [SEP]") != 0;
    wrong += wordpiece(ids, "theme", 5, 0) != 1 || ids[0] != UNK;

    if (wrong) printf("check FAILED: %d things are not as they should be\n", wrong);
    else printf("check passed: every token is the one that it should be\n");
    return wrong > 0;
}

/* What changes next. Lesson 2 gives each id a row of numbers, its embedding. bert.h's tokenizer has
   the same rule (bert_pieces_), and around it what real text needs: UTF-8, accents taken off,
   Chinese characters as words by themselves, added tokens such as [MASK] found first, and for each
   token the place in the text where it stood. Its vocabulary lies in a hash table, and one pass
   over a word makes the hashes of all its beginnings, so that a try costs a step, not a search. */
