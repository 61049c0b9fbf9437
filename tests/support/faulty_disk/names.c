/* The calls that name files: open, stat, link, unlink, rename, mkdir. */
#include "disk.h"

static int open_at(int directory, const char *name, int flags, mode_t mode)
{
    char path[LONG_PATH];
    struct stat seen;
    int is_new, fd;

    if (!name_on_disk(directory, name, path))
        return (int)syscall(SYS_openat, directory, name, flags, mode);
    if (fails("name", path))
        return -1;
    is_new = (flags & O_CREAT) && syscall(SYS_newfstatat, directory, name, &seen, AT_SYMLINK_NOFOLLOW) != 0;
    fd = (int)syscall(SYS_openat, directory, name, flags, mode);
    if (fd >= 0 && is_new)
        note_name("link", path, path);
    if (fd >= 0 && !is_new && (flags & O_TRUNC))
        note_data("write", fd, path, 0, LLONG_MAX);
    return fd;
}

static mode_t mode_of(int flags, va_list more)
{
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(more, mode_t) : 0;
}

int open64(const char *name, int flags, ...)
{
    va_list more;
    mode_t mode;

    va_start(more, flags);
    mode = mode_of(flags, more);
    va_end(more);
    return open_at(AT_FDCWD, name, flags, mode);
}

int openat64(int directory, const char *name, int flags, ...)
{
    va_list more;
    mode_t mode;

    va_start(more, flags);
    mode = mode_of(flags, more);
    va_end(more);
    return open_at(directory, name, flags, mode);
}

int open(const char *name, int flags, ...) __attribute__((alias("open64")));
int openat(int directory, const char *name, int flags, ...) __attribute__((alias("openat64")));

/* What a program calls that was compiled with checks of the library. */
int __open64_2(const char *name, int flags)
{
    return open_at(AT_FDCWD, name, flags, 0);
}

int __openat64_2(int directory, const char *name, int flags)
{
    return open_at(directory, name, flags, 0);
}

static int cannot_name(int directory, const char *name, char *path)
{
    return name_on_disk(directory, name, path) && fails("name", path);
}

static int stat_at(int directory, const char *name, void *seen, int flags)
{
    char path[LONG_PATH];

    /* An empty name stands for the open file itself. */
    if (name != NULL && name[0] != '\0' && cannot_name(directory, name, path))
        return -1;
    return (int)syscall(SYS_newfstatat, directory, name, seen, flags);
}

int fstatat64(int directory, const char *name, struct stat64 *seen, int flags)
{
    return stat_at(directory, name, seen, flags);
}

int stat64(const char *name, struct stat64 *seen)
{
    return stat_at(AT_FDCWD, name, seen, 0);
}

int lstat64(const char *name, struct stat64 *seen)
{
    return stat_at(AT_FDCWD, name, seen, AT_SYMLINK_NOFOLLOW);
}

int mkdirat(int directory, const char *name, mode_t mode)
{
    char path[LONG_PATH];
    int answer;

    if (cannot_name(directory, name, path))
        return -1;
    answer = (int)syscall(SYS_mkdirat, directory, name, mode);
    if (answer == 0 && name_on_disk(directory, name, path))
        note_name("link", path, path);
    return answer;
}

int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}

int linkat(int source, const char *old, int target, const char *new, int flags)
{
    char path[LONG_PATH], of[LONG_PATH];

    if (cannot_name(target, new, path))
        return -1;
    if (name_on_disk(target, new, path) && name_on_disk(source, old, of))
        note_name("link", path, of);
    return (int)syscall(SYS_linkat, source, old, target, new, flags);
}

int link(const char *old, const char *new)
{
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int unlinkat(int directory, const char *name, int flags)
{
    char path[LONG_PATH];

    if (cannot_name(directory, name, path))
        return -1;
    if (name_on_disk(directory, name, path))
        note_name("unlink", path, path);
    return (int)syscall(SYS_unlinkat, directory, name, flags);
}

int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

int renameat2(int source, const char *old, int target, const char *new, unsigned flags)
{
    char from[LONG_PATH], path[LONG_PATH];

    if (cannot_name(source, old, from) || cannot_name(target, new, path))
        return -1;
    if (name_on_disk(source, old, from) && name_on_disk(target, new, path)) {
        note_name("unlink", path, path); /* the file that is replaced, if any */
        note_name("link", path, from);
        note_name("unlink", from, from);
    }
    return (int)syscall(SYS_renameat2, source, old, target, new, flags);
}

int renameat(int source, const char *old, int target, const char *new)
{
    return renameat2(source, old, target, new, 0);
}

int rename(const char *old, const char *new)
{
    return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0);
}
