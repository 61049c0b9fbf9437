/* A disk that fails when a test says so, for programs that are started with LD_PRELOAD.
 *
 * GLANCE_DISK_PLACES   directories that lie on this disk, separated by colons; all other files are left alone
 * GLANCE_DISK_CONTROL  a directory with the armed faults, and with the log
 * GLANCE_DISK_RECORDS  set: log what is written, synced and named, so that a loss of power can be played
 *
 * A fault is a file of the control directory that is named after the operation and holds one line,
 *     ERRNO AT MOST TIMES [PART]
 * It strikes paths with PART in them, from byte AT on; what is before AT is still done. ERRNO 0 waits until the file is
 * gone. MOST bounds the bytes of one call. TIMES 0 is always; otherwise each strike consumes one of the files OP.0,
 * OP.1, ... Operations: write (and the reservation of room), short, sync (a file), syncdir (a directory), writeback,
 * read, name (each operation that names a file: open, stat, link, unlink, rename, mkdir).
 *
 * Every line of the log is one write at the end of the file. What is about to change is logged before, what is durable
 * after, so that a process that dies between the two never promises too much.
 *
 * Names are taken as they are written: one with ".." in it counts as below the directory that it begins with.
 * All calls are made by number, as the C library makes them on 64 bits. The calls of the library itself (fopen) pass by,
 * and so do those that the services do not use: splice, mmap, truncate by name, posix_fallocate, lists of directories.
 */
#ifndef FAULTY_DISK_H
#define FAULTY_DISK_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define LONG_PATH (PATH_MAX + 64)

struct fault {
    int number;
    long long at, most;
    long times;
    char part[256];
};

#pragma GCC visibility push(hidden) /* our own names must not replace those of the program */

/* Write the path of an open file; return whether it lies on the disk. */
int file_on_disk(int fd, char *path);

/* Write the whole path of a name below an open directory; return whether it lies on the disk. */
int name_on_disk(int directory, const char *name, char *path);

/* Log an operation on the data of an open file: its inode, where and how much. */
void note_data(const char *what, int fd, const char *path, long long at, long long count);

/* Log a change of the name "path" of the file "of"; one that may lose its last name is kept beside the log. */
void note_name(const char *what, const char *path, const char *of);

/* Return whether a fault is armed for an operation on a path, and fill it in. */
int armed(const char *operation, const char *path, struct fault *fault);

/* Let an armed fault strike; return whether the call fails with errno. */
int struck(const char *operation, const char *path, const struct fault *fault);

/* Return whether an operation that moves no data fails with errno. */
int fails(const char *operation, const char *path);

/* Return how many of the bytes may be moved, -1 with errno for none. */
ssize_t allowed(const char *operation, const char *path, long long at, size_t count);

#pragma GCC visibility pop
#endif
