/* A terminal of a test's own, with the C library's pseudo-terminals: a program defines
   _XOPEN_SOURCE 700 before its first header. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A terminal of its own in place of stdout and stderr. */
static int master = -1, kept_outputs[2];

MAYBE static int terminal_open(int columns)
{
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) return 0;
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0 || ioctl(slave, TIOCSWINSZ, &size)) return 0;
    fflush(stdout);
    for (int i = 0; i < 2; i++) kept_outputs[i] = dup(i + 1), dup2(slave, i + 1);
    close(slave);
    return 1;
}

MAYBE static const char *terminal_close(void)
{
    static char text[4096];
    size_t size = 0;
    fflush(stdout);
    for (int i = 0; i < 2; i++) dup2(kept_outputs[i], i + 1), close(kept_outputs[i]);
    for (ssize_t n; size < sizeof text - 1; size += (size_t)n) /* the other side is closed now */
        if ((n = read(master, text + size, sizeof text - 1 - size)) <= 0) break;
    close(master);
    text[size] = 0;
    return text;
}

#endif
