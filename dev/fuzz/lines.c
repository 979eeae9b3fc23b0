/* libFuzzer: lines and JSON on standard input through predict, embed and encode. The first byte
   chooses the model and the command, the second its flags. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const more[] = {"",
                                       "--json",
                                       "--pair",
                                       "--json --top_k 100 --max_length 4",
                                       "--top_k 2 --version_2_with_negative",
                                       "--max_length 9 --max_answer_length 2147483647",
                                       "--pair --max_length 5",
                                       "--json --max_length 16"};
    static const char *const commands[] = {"predict", "predict", "embed", "encode"};
    char line[400];
    if (!folder[0]) {
        size_t bytes;
        unsigned char *model = read_file("dev/fixtures/text.model.bin", &bytes);
        start_folder();
        write_models(model, bytes);
        release(0);
    }
    if (size < 2) return 0;
    int which = data[0] % 8, task = which < 7 ? which : BERT_CLASSIFICATION, command = data[0] / 64;
    const char *flags = more[data[1] % 8];
    if (command == 3 && strstr(flags, "--top_k")) flags = "";
    if (command == 2 && strstr(flags, "--top_k")) flags = "--json --max_length 4";
    write_file("lines", data + 2, size - 2);
    int input = open("lines", O_RDONLY);
    check(input >= 0 && dup2(input, 0) == 0, "standard input");
    close(input);
    snprintf(line, sizeof line, "%s --model %d.%d.bin %s", commands[command], task, which == 7,
             flags);
    drive(line, command < 3);
    return 0;
}
