/*
save.h - folders and whole files.

A file gets its name only when it is whole and on the disk: a full disk, killing the program or a
loss of power at any moment leaves the old one. Names that are made, changed or taken away are on
the disk before anything is done that counts on it (dev/check/power.py).
*/
#ifndef SAVE_H
#define SAVE_H

#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

/* Descriptors 0 to 2 that are closed would go to the next files that are opened, and what is
   printed would be written into them: they become /dev/null. */
static void open_standard(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
            exit(fail("/dev/null: cannot be opened: %s", strerror(errno)));
}

enum { MOST_NAME = 64 }; /* bytes of a name that a run makes in its folder */

/* Brings the names in it onto the disk; not every file system can. */
static void sync_folder(const char *path)
{
    int folder = open(path, O_RDONLY);
    if (folder >= 0) fsync(folder), close(folder);
}

/* The same for the path's own name; it is shorter than PATH_MAX. */
static void sync_name(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? imax(1, (int)(slash - path)) : 1,
             slash ? path : ".");
    sync_folder(folder);
}

/* mkdir -p, and whether files can be made there: before the work, not after it. */
static int make_folder(const char *flag, const char *folder)
{
    char path[PATH_MAX];
    if (strlen(folder) + MOST_NAME > sizeof path) return fail("%s: the name is too long", flag);
    snprintf(path, sizeof path, "%s/", folder); /* access fails where that is not a folder */
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        if (!mkdir(path, 0777)) sync_name(path);
        else if (errno != EEXIST)
            return fail("%s: cannot make the folder %s: %s", flag, path, strerror(errno));
        *at = '/';
    }
    if (access(path, W_OK | X_OK))
        return fail("%s: cannot write into %s: %s", flag, folder, strerror(errno));
    return 0;
}

/* A folder that one process at a time writes into: it locks a file there, which it removes. The
   lock ends with the process, however it ends. */
typedef struct {
    char path[PATH_MAX];
    int fd; /* + 1; 0: no lock */
} Lock;

static int lock_folder(Lock *lock, const char *flag, const char *folder)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat info;
    snprintf(lock->path, sizeof lock->path, "%s/.lock", folder);
    for (;;) {
        int fd = open(lock->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0) return fail("%s: cannot make %s: %s", flag, lock->path, strerror(errno));
        if (fcntl(fd, F_SETLK, &whole)) {
            int busy = errno == EACCES || errno == EAGAIN, reason = errno;
            close(fd);
            if (busy) return fail("%s: another run is writing into %s", flag, folder);
            warn("%s: %s cannot be locked (%s): only one run at a time may write there", flag,
                 folder, strerror(reason));
            return 0;
        }
        if (!fstat(fd, &info) && info.st_nlink > 0) return lock->fd = fd + 1, 0;
        close(fd); /* it was removed by the run before, which ended just now: again */
    }
}

static void unlock_folder(Lock *lock)
{
    if (!lock->fd) return;
    unlink(lock->path);
    close(lock->fd - 1);
    lock->fd = 0;
}

/* Are path and folder/name one file? */
static int same_file(const char *path, const char *folder, const char *name)
{
    char other[PATH_MAX + MOST_NAME];
    struct stat a, b;
    snprintf(other, sizeof other, "%s/%s", folder, name);
    return !stat(path, &a) && !stat(other, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* A file in the making. */
typedef struct {
    char path[PATH_MAX], temporary[PATH_MAX]; /* make_folder saw that both fit */
    int fd;
} Whole;

static void whole_names(Whole *w, const char *folder, const char *name)
{
    snprintf(w->path, sizeof w->path, "%s/%s", folder, name);
    snprintf(w->temporary, sizeof w->temporary, "%s/%s.tmp", folder, name);
}

/* Makes folder/name.tmp, in place of what a run that was killed has left, to be written by its
   name. It is new: not another process's, and not what a link in its place leads to. */
static int whole_begin(Whole *w, const char *folder, const char *name)
{
    whole_names(w, folder, name);
    if (unlink(w->temporary) && errno != ENOENT)
        return fail("%s: cannot be removed: %s", w->temporary, strerror(errno));
    w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    return w->fd < 0 ? fail("%s: cannot be made: %s", w->temporary, strerror(errno)) : 0;
}

/* Brings it onto the disk, and gives it its name. failed: something did before, which was told:
   then it is removed. */
static int whole_end(Whole *w, int failed)
{
    struct stat made, there;
    int seen = !fstat(w->fd, &made) && !lstat(w->temporary, &there);
    int other = seen && (made.st_ino != there.st_ino || made.st_dev != there.st_dev);
    if (!failed && !seen) failed = fail("%s: cannot be saved: %s", w->path, strerror(errno));
    if (!failed && other) failed = fail("%s: was replaced while it was written", w->temporary);
    if (!failed && fsync(w->fd)) failed = fail("%s: cannot be saved: %s", w->path, strerror(errno));
    if (close(w->fd) && !failed) failed = fail("%s: cannot be saved: %s", w->path, strerror(errno));
    if (!failed && rename(w->temporary, w->path))
        failed = fail("%s: cannot be saved: %s", w->path, strerror(errno));
    if (failed) {
        if (!other) unlink(w->temporary);
        return 1;
    }
    sync_name(w->path);
    return 0;
}

/* All of it, in as many pieces as the system likes. */
static int write_all(const Whole *w, const void *from, size_t n)
{
    for (const char *at = from, *end = at + n; at < end;) {
        ssize_t wrote = write(w->fd, at, zmin((size_t)(end - at), (size_t)1 << 30));
        if (wrote < 0 && errno != EINTR)
            return fail("%s: cannot be written: %s", w->path, strerror(errno));
        if (wrote > 0) at += wrote;
    }
    return 0;
}

/* folder/name becomes the file that is at from: another name of it where the file system has such,
   else a copy. Nothing writes into a file that has its name. */
static int share_file(const char *from, const char *folder, const char *name)
{
    Whole w;
    char piece[1 << 16];
    whole_names(&w, folder, name);
    unlink(w.temporary);
    if (!link(from, w.temporary)) {
        int failed = rename(w.temporary, w.path) ? errno : 0;
        unlink(w.temporary); /* rename leaves it where both are names of one file */
        if (failed) return fail("%s: cannot be saved: %s", w.path, strerror(failed));
        return sync_folder(folder), 0;
    }
    FILE *f = fopen(from, "rb");
    if (!f) return fail("%s: cannot be opened: %s", from, strerror(errno));
    int failed = whole_begin(&w, folder, name);
    if (failed) return fclose(f), 1;
    for (size_t n; !failed && (n = fread(piece, 1, sizeof piece, f)) > 0;)
        failed = write_all(&w, piece, n);
    if (!failed && ferror(f)) failed = fail("%s: cannot be read: %s", from, strerror(errno));
    fclose(f);
    return whole_end(&w, failed);
}

/* What follows hashes by words of 8 bytes, the last one filled up with zeros: FNV-1a, with a shift
   that brings high bits down. */
#define HASH_START UINT64_C(14695981039346656037)

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (; n > 0; p += zmin(n, 8), n -= zmin(n, 8)) {
        uint64_t word = 0;
        for (size_t i = 0; i < 8 && i < n; i++) word |= (uint64_t)p[i] << 8 * i;
        hash = (hash ^ word) * UINT64_C(1099511628211);
        hash ^= hash >> 32;
    }
    return hash;
}

/* Goes on with a file's first so many bytes, or with all of them where it has fewer; how many these
   are is added to *size. */
static int hash_file(uint64_t *hash, uint64_t *size, const char *path, uint64_t bytes)
{
    unsigned char piece[1 << 16];
    FILE *f = fopen(path, "rb");
    if (!f) return fail("%s: cannot be opened: %s", path, strerror(errno));
    for (size_t n = sizeof piece; bytes > 0 && n == sizeof piece; bytes -= n) {
        n = fread(piece, 1, bytes < sizeof piece ? (size_t)bytes : sizeof piece, f);
        *hash = hash_bytes(*hash, piece, n), *size += n;
    }
    int failed = ferror(f) ? fail("%s: cannot be read: %s", path, strerror(errno)) : 0;
    fclose(f);
    return failed;
}

/* What an earlier run has left in the folder under these names would be taken for this run's: it
   becomes earlier-NAME, or where overwrite is set nothing. */
static int set_aside(const char *folder, const char *const *names, int n, int overwrite)
{
    char old[PATH_MAX], kept[PATH_MAX], line[2 * PATH_MAX + 64];
    live_clear();
    for (int i = 0; i < n; i++) {
        snprintf(old, sizeof old, "%s/%s", folder, names[i]);
        snprintf(kept, sizeof kept, "%s/earlier-%s", folder, names[i]);
        int there = !access(old, F_OK), older = !unlink(kept);
        if (there && (overwrite ? unlink(old) : rename(old, kept)))
            return fail("%s: of an earlier run, cannot be moved: %s", old, strerror(errno));
        if (overwrite || !(there || older)) continue;
        if (there)
            snprintf(line, sizeof line, "kept       %s of an earlier run as %s\n", old, kept);
        else snprintf(line, sizeof line, "removed    %s\n", kept);
        put_lines(stdout, line, 11);
    }
    sync_folder(folder);
    return 0;
}

#endif
