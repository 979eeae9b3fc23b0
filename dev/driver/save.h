/*
save.h - folders and whole files.

A file gets its name only when it is whole and on the disk: a full disk, or killing the program at
any moment, leaves the old one.
*/
#ifndef SAVE_H
#define SAVE_H

#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY), failed;
    if (fd < 0) return -1;
    failed = fsync(fd);
    close(fd);
    return failed;
}

/* mkdir -p, and whether files can be made there: before the work, not after it. */
static int make_folder(const char *flag, const char *folder)
{
    char path[PATH_MAX];
    if (strlen(folder) + 32 > sizeof path) return fail("%s: the name is too long", flag);
    snprintf(path, sizeof path, "%s/", folder); /* access fails where that is not a folder */
    for (char *at = path + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        if (mkdir(path, 0777) && errno != EEXIST)
            return fail("%s: cannot make the folder %s: %s", flag, path, strerror(errno));
        *at = '/';
    }
    if (access(path, W_OK | X_OK))
        return fail("%s: cannot write into %s: %s", flag, folder, strerror(errno));
    return 0;
}

#endif
