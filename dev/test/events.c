/* TensorBoard's event files (dev/driver/events.h): checksums, records, what a new run and one that
   goes on make of an earlier file. dev/check/events.py reads a training's with tensorboard. */
#include "test.h"
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function" /* of a room that is included alone */
#endif
#define BERT_IMPLEMENTATION
#include "dev/driver/report.h"

/* What the system refuses: "remove", or fopen's mode. */
static const char *refused = "";
#define remove(path) (strcmp(refused, "remove") ? remove(path) : -1)
#define fopen(path, mode) (strcmp(refused, mode) ? fopen(path, mode) : NULL)
#include "dev/driver/events.h"
#undef remove
#undef fopen

#include "files.h"

static void test_checksums(void)
{
    unsigned char bytes[4][32]; /* RFC 3720, B.4 */
    static const uint32_t want[4] = {0x8A9136AA, 0x62A8AB43, 0x46DD794E, 0x113FDB5C};
    for (int i = 0; i < 32; i++) {
        bytes[0][i] = 0, bytes[1][i] = 255;
        bytes[2][i] = (unsigned char)i, bytes[3][i] = (unsigned char)(31 - i);
    }
    for (int k = 0; k < 4; k++)
        expect(crc32c(bytes[k], 32) == want[k], "%d: %08x", k, crc32c(bytes[k], 32));
    expect(crc32c("123456789", 9) == 0xE3069283 && crc32c("", 0) == 0, "123456789");
    done("events: CRC-32C's known values");
}

static void expect_hex(const Buffer *b, const char *want, const char *what)
{
    char hex[1024];
    for (size_t i = 0; i < b->size && i < 500; i++)
        sprintf(hex + 2 * i, "%02x", (unsigned char)b->bytes[i]);
    expect(!strcmp(hex, want), "%s: %s", what, hex);
}

/* The bytes are those of tensorboard's own RecordWriter and protocol buffers. */
static void test_records(void)
{
    Buffer event = {0}, record = {0};
    Events e = {0};
    version_event(&event, 1.5), put_record(&record, &event);
    expect_hex(&record,
               "2600000000000000734fe30009000000000000f83f1a0d627261696e2e4576656e743a32"
               "520c0a0a747261696e5f626572743b22086c",
               "version");
    e.f = stdout; /* not written to */
    events_number(&e, "", "loss", 0.25), events_number(&e, "eval_", "f1", -3);
    event.size = record.size = 0;
    field_double(&event, 1, 1.5), field_number(&event, 2, 300);
    field_bytes(&event, 5, e.summary.bytes, e.summary.size), put_record(&record, &event);
    expect_hex(&record,
               "31000000000000009d8383e909000000000000f83f10ac022a230a110a0a747261696e2f6c"
               "6f7373150000803e0a0e0a076576616c2f663115000040c0bbf32a5b",
               "summary");
    free(e.summary.bytes), free(event.bytes), free(record.bytes);
    done("events: records and protocol buffers as tensorboard writes them");
}

/* Steps of the events in our file, as text. */
static const char *steps_of(void)
{
    static char text[256];
    char path[PATH_MAX];
    Buffer event = {0};
    int n = 0;
    find_events(folder, path, sizeof path);
    FILE *f = fopen(path, "rb");
    *text = '\0';
    while (f && read_record(f, &event)) /* behind the time: 2 << 3, and a step below 128 */
        n += sprintf(text + n, "%d ", event.bytes[9] == 16 ? event.bytes[10] : 0);
    if (f) expect(fgetc(f) == EOF, "something is left over");
    if (f) fclose(f);
    free(event.bytes);
    return text;
}

static void write_steps(int lines, int first, int last)
{
    Events e = {0};
    expect(!events_start(&e, folder, lines), "start");
    for (int step = first; step <= last; step++) {
        events_number(&e, "", "loss", step);
        expect(events_end(&e, step), "step %d", step);
    }
    events_free(&e);
}

/* Without a word of it here. */
static int fails_to_start(const char *in, long long lines)
{
    Events e = {0};
    const int null = open("/dev/null", O_WRONLY), old = dup(2);
    dup2(null, 2), close(null);
    const int failed_one = events_start(&e, in, lines);
    dup2(old, 2), close(old);
    expect(!e.f, "a file is open");
    return failed_one;
}

static void test_files(void)
{
    char path[PATH_MAX];
    strcpy(folder, "/tmp/bert_events_XXXXXX");
    if (!mkdtemp(folder)) exit(2);
    const char *others = in_folder("events.out.tfevents.0000000001.other");
    write_file(others, "not ours", 8);
    write_steps(0, 1, 3);
    expect(!strcmp(steps_of(), "0 1 2 3 "), "a first run: %s", steps_of());
    write_steps(2, 9, 9);
    expect(!strcmp(steps_of(), "0 1 2 9 "), "one that goes on behind two lines: %s", steps_of());
    find_events(folder, path, sizeof path);
    FILE *f = fopen(path, "ab");
    fwrite("half a record", 1, 13, f), fclose(f);
    write_steps(50, 10, 10);
    expect(!strcmp(steps_of(), "0 1 2 9 10 "), "behind half a record: %s", steps_of());
    for (int i = 0; i < 3; i++) { /* a record that ends early, one with another sum, a huge one */
        Buffer event = {0}, record = {0};
        buffer_put(&event, "an event", 8), put_record(&record, &event);
        if (i == 1) record.bytes[record.size - 1] ^= 1;
        if (i == 2) {
            record.size = 0;
            buffer_little(&record, (1 << 20) + 1, 8);
            buffer_little(&record, record_checksum(record.bytes, 8), 4);
        }
        f = fopen(path, "ab");
        fwrite(record.bytes, 1, record.size - !i, f), fclose(f);
        free(event.bytes), free(record.bytes);
        write_steps(50, 11 + i, 11 + i);
    }
    expect(!strcmp(steps_of(), "0 1 2 9 10 11 12 13 "), "behind broken records: %s", steps_of());
    write_steps(0, 5, 5);
    expect(!strcmp(steps_of(), "0 5 "), "a new run: %s", steps_of());
    expect(!access(in_folder("events.out.tfevents.0000000001.other"), F_OK),
           "others' file is gone");
    find_events(folder, path, sizeof path);
    remove(path);
    expect(!*steps_of(), "a file is left: %s", steps_of());
    write_steps(3, 7, 7);
    expect(!strcmp(steps_of(), "0 7 "), "one that goes on without its file: %s", steps_of());
    refused = "remove";
    expect(fails_to_start(folder, 0), "an earlier file that cannot be removed");
    refused = "r+b";
    expect(fails_to_start(folder, 1), "a file that cannot be written");
    refused = "";
    expect(!strcmp(steps_of(), "0 7 "), "a run that did not start: %s", steps_of());
    find_events(folder, path, sizeof path);
    remove(path), remove(in_folder("events.out.tfevents.0000000001.other")), remove(folder);
    Events none = {0};
    events_number(&none, "", "loss", 1);
    expect(events_end(&none, 1) && !none.summary.size, "a file that there is not");
    expect(fails_to_start("/tmp/bert_events_of_nobody/here", 0),
           "a file in a folder that is not there");
    done("events: a new run's file takes the place of ours, one that goes on keeps its lines");
}

int main(void)
{
    test_checksums();
    test_records();
    test_files();
    return finish();
}
