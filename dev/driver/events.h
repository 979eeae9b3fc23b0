/*
events.h - TensorBoard's event files: an event for each line of log.jsonl.

    events.out.tfevents.TIME.HOST.PID

A file is records one after the other (TFRecord), little endian:

    uint64 size, uint32 checksum of those 8 bytes, the event, uint32 checksum of the event

A checksum is CRC-32C, turned by 15 bits, plus 0xa282ead8. An event is a protocol buffer: fields, a
key (number << 3 | kind) and a value; kind 0: a number in groups of 7 bits, the low ones first (a
varint), 1: 8 bytes, 2: a varint's number of bytes, 5: 4 bytes.

    event   1 double wall time, 2 varint step, 3 string version (first event), 5 summary, 10 source
    summary 1 value, again and again;  value: 1 string tag, 2 float;  source: 1 string writer
*/
#ifndef EVENTS_H
#define EVENTS_H

#include "save.h"

#include <dirent.h>
#include <stdint.h>
#include <sys/time.h>

static const char EVENTS_PREFIX[] = "events.out.tfevents.", EVENTS_WRITER[] = "train_bert";

typedef struct {
    char *bytes;
    size_t size, room;
} Buffer;

static void buffer_put(Buffer *b, const void *bytes, size_t size)
{
    b->bytes = more(b->bytes, &b->room, zadd(b->size, size), 1, "the events");
    if (size) memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
}

/* So many bytes of a whole number, the low ones first. */
static void buffer_little(Buffer *b, uint64_t x, int size)
{
    unsigned char bytes[8];
    for (int i = 0; i < size; i++, x >>= 8) bytes[i] = x & 255;
    buffer_put(b, bytes, (size_t)size);
}

static void buffer_varint(Buffer *b, uint64_t x)
{
    for (; x > 127; x >>= 7) buffer_little(b, (x & 127) | 128, 1);
    buffer_little(b, x, 1);
}

/* -- protocol buffers -- */

static void field_number(Buffer *b, int field, uint64_t x)
{
    buffer_varint(b, (uint64_t)field << 3), buffer_varint(b, x);
}

static void field_double(Buffer *b, int field, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    buffer_varint(b, (uint64_t)field << 3 | 1), buffer_little(b, bits, 8);
}

static void field_float(Buffer *b, int field, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    buffer_varint(b, (uint64_t)field << 3 | 5), buffer_little(b, bits, 4);
}

static void field_bytes(Buffer *b, int field, const char *bytes, size_t size)
{
    buffer_varint(b, (uint64_t)field << 3 | 2), buffer_varint(b, size);
    buffer_put(b, bytes, size);
}

static void field_string(Buffer *b, int field, const char *text)
{
    field_bytes(b, field, text, strlen(text));
}

/* -- records -- */

/* CRC-32C (Castagnoli), the low bit first. */
static uint32_t crc32c(const void *bytes, size_t size)
{
    uint32_t crc = ~0u;
    for (const unsigned char *p = bytes; size > 0; size--, p++) {
        crc ^= *p;
        for (int i = 0; i < 8; i++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static uint32_t record_checksum(const void *bytes, size_t size)
{
    const uint32_t crc = crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void put_record(Buffer *out, const Buffer *event)
{
    const size_t at = out->size;
    buffer_little(out, event->size, 8);
    buffer_little(out, record_checksum(out->bytes + at, 8), 4);
    buffer_put(out, event->bytes, event->size);
    buffer_little(out, record_checksum(event->bytes, event->size), 4);
}

static uint64_t read_little(const unsigned char *p, int size)
{
    uint64_t x = 0;
    while (size-- > 0) x = x << 8 | p[size];
    return x;
}

/* Reads a record; returns its size in the file, 0 where there is no whole one. */
static size_t read_record(FILE *f, Buffer *event)
{
    enum { MOST = 1 << 20 }; /* ours have some hundred bytes */
    unsigned char head[12], tail[4];
    if (fread(head, 1, 12, f) != 12 || read_little(head + 8, 4) != record_checksum(head, 8))
        return 0;
    const uint64_t size = read_little(head, 8);
    if (size > MOST) return 0;
    event->bytes = more(event->bytes, &event->room, (size_t)size, 1, "the events");
    event->size = (size_t)size;
    if (fread(event->bytes, 1, event->size, f) != event->size || fread(tail, 1, 4, f) != 4 ||
        read_little(tail, 4) != record_checksum(event->bytes, event->size))
        return 0;
    return event->size + 16;
}

/* -- a run's file -- */

typedef struct {
    FILE *f;        /* NULL: there is none */
    Buffer summary; /* of the line that was begun */
} Events;

static double wall_time(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return (double)now.tv_sec + 1e-6 * (double)now.tv_usec;
}

/* The first event: TensorBoard wants a version, and by the writer we know our own. */
static void version_event(Buffer *event, double time)
{
    Buffer source = {0};
    field_string(&source, 1, EVENTS_WRITER);
    field_double(event, 1, time);
    field_string(event, 3, "brain.Event:2");
    field_bytes(event, 10, source.bytes, source.size);
    free(source.bytes);
}

/* Is it an event file that this program began? */
static int is_ours(FILE *f)
{
    Buffer event = {0}, want = {0};
    version_event(&want, 0);
    int ours = read_record(f, &event) && event.size == want.size &&
               !memcmp(event.bytes + 9, want.bytes + 9, want.size - 9); /* behind the time */
    free(event.bytes), free(want.bytes);
    return ours;
}

/* An earlier run's file in the folder, the last by its name: its path, or "". */
static void find_events(const char *folder, char *path, size_t room)
{
    DIR *directory = opendir(folder);
    *path = '\0';
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        char name[PATH_MAX];
        if (strncmp(entry->d_name, EVENTS_PREFIX, strlen(EVENTS_PREFIX))) continue;
        snprintf(name, sizeof name, "%s/%s", folder, entry->d_name);
        FILE *f = fopen(name, "rb");
        if (f && is_ours(f) && strcmp(name, path) > 0) snprintf(path, room, "%s", name);
        if (f) fclose(f);
    }
    if (directory) closedir(directory);
}

static int begin_events(Events *e, const char *folder)
{
    char path[PATH_MAX], host[64] = "";
    Buffer event = {0}, record = {0};
    const double time = wall_time();
    if (gethostname(host, sizeof host - 1) || strchr(host, '/')) strcpy(host, "localhost");
    snprintf(path, sizeof path, "%s/%s%010.0f.%s.%ld", folder, EVENTS_PREFIX, floor(time), host,
             (long)getpid());
    e->f = fopen(path, "wb");
    if (!e->f) return fail("%s: cannot be written: %s", path, strerror(errno));
    version_event(&event, time), put_record(&record, &event);
    fwrite(record.bytes, 1, record.size, e->f);
    free(event.bytes), free(record.bytes);
    return 0;
}

/* A new run (lines 0) takes the place of an earlier one in the same folder, as log.jsonl does, or
   TensorBoard would draw both as one; what other programs wrote stays. One that goes on keeps the
   events of the log's lines so far, and cuts off those that came after them. */
static int events_start(Events *e, const char *folder, long long lines)
{
    char path[PATH_MAX];
    Buffer event = {0};
    off_t kept = 0;
    for (find_events(folder, path, sizeof path); !lines && *path;
         find_events(folder, path, sizeof path))
        if (remove(path)) return fail("%s: cannot be removed: %s", path, strerror(errno));
    if (!*path) return begin_events(e, folder);
    e->f = fopen(path, "r+b");
    for (size_t n; e->f && lines >= 0 && (n = read_record(e->f, &event)) > 0; lines--)
        kept += (off_t)n;
    free(event.bytes);
    if (!e->f || ftruncate(fileno(e->f), kept) || fseek(e->f, 0, SEEK_END))
        return fail("%s: cannot be written: %s", path, strerror(errno));
    return 0;
}

/* A value of the line, under the name that Trainer's TensorBoardCallback gives it. */
static void events_number(Events *e, const char *prefix, const char *name, double value)
{
    Buffer one = {0};
    char tag[256];
    const int eval = !strcmp(prefix, "eval_");
    if (!e->f) return;
    snprintf(tag, sizeof tag, "%s/%s%s", eval ? "eval" : "train", eval ? "" : prefix, name);
    field_string(&one, 1, tag), field_float(&one, 2, (float)value);
    field_bytes(&e->summary, 1, one.bytes, one.size);
    free(one.bytes);
}

/* Ends the line; 0 where it cannot be written. */
static int events_end(Events *e, long long step)
{
    Buffer event = {0}, record = {0};
    if (!e->f) return 1;
    field_double(&event, 1, wall_time());
    field_number(&event, 2, (uint64_t)step);
    field_bytes(&event, 5, e->summary.bytes, e->summary.size);
    put_record(&record, &event);
    fwrite(record.bytes, 1, record.size, e->f);
    e->summary.size = 0;
    free(event.bytes), free(record.bytes);
    return !fflush(e->f) && !ferror(e->f);
}

/* Brings them onto the disk; 0 where that cannot be done. */
static int events_sync(Events *e) { return !e->f || (!fflush(e->f) && !fsync(fileno(e->f))); }

static void events_free(Events *e)
{
    if (e->f) fclose(e->f);
    free(e->summary.bytes);
    memset(e, 0, sizeof *e);
}

#endif
