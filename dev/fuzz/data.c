/* libFuzzer: a data file through train, eval, predict and embed, with the model of its task. */
#include "fuzz.h"

/* Puts right what every mutation breaks: where sections begin, and where the file ends. */
static size_t repair(uint8_t *data, size_t size, size_t room)
{
    static const size_t sizes[] = {1, 8, 4, 4, 1};
    int32_t left, element;
    memcpy(&left, data + 80, 4);
    const size_t most = (size - 1024) / 24, sections = left > 0 ? (size_t)left : 0;
    uint64_t count, at = 1024 + 24 * (sections < most ? sections : most);
    for (uint8_t *entry = data + 1024, *end = data + at; entry < end; entry += 24) {
        memcpy(&element, entry + 4, 4), memcpy(&count, entry + 8, 8);
        memcpy(entry + 16, &at, 8);
        if (count > room || at > room) return size;
        at += (count * sizes[element > 0 && element < 5 ? element : 0] + 7) / 8 * 8;
    }
    if (at > room) return size;
    if (at > size) memset(data + size, 0, (size_t)at - size);
    put_u64(data, 30, at);
    put_u64(data, 12, image_hash);
    return (size_t)at;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    return mutate(data, size, room, seed, repair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const commands[] = {
        "train --model %d.%d.bin --train_file d.bin --eval_file d.bin --output_dir out "
        "--max_steps 2 --per_device_train_batch_size 3 --gradient_accumulation_steps 2",
        "eval --model %d.%d.bin --eval_file d.bin --version_2_with_negative",
        "predict --model %d.%d.bin --predict_file d.bin --top_k 3",
        "predict --model %d.%d.bin --predict_file d.bin --per_device_eval_batch_size 1",
        "embed --model %d.%d.bin --predict_file d.bin --normalize"};
    char line[400];
    if (!folder[0]) {
        start_folder();
        state = 3;
        Image im = image(1);
        write_models(im.data, im.size);
        for (int task = 1; task < BERT_NUM_TASKS; task++) write_seed(task_image(task, 0));
        write_seed(task_image(BERT_CLASSIFICATION, 1));
        write_seed(class_image(EXAMPLES, 0, label_names, IP));
    }
    int task = size < 1024 ? 1 : data[8] % BERT_NUM_TASKS;
    int multi = size >= 1024 && data[12] & 1 && task == BERT_CLASSIFICATION;
    write_file("d.bin", data, size);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        snprintf(line, sizeof line, commands[i], task, multi);
        drive(line, i >= 2);
    }
    release(0);
    return 0;
}
