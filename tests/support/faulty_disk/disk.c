/* Which files lie on the disk, what is logged, and which faults are armed. */
#include "disk.h"

/* --- which files lie on the disk --- */

static int on_disk(const char *path)
{
    const char *place = getenv("GLANCE_DISK_PLACES");

    while (place != NULL && *place != '\0') {
        size_t length = strcspn(place, ":");
        if (strncmp(path, place, length) == 0 && (path[length] == '/' || path[length] == '\0'))
            return 1;
        place += length + (place[length] == ':');
    }
    return 0;
}

int file_on_disk(int fd, char *path)
{
    char link[64];
    long length;
    int kept = errno;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX);
    errno = kept;
    if (length <= 0)
        return 0;
    path[length] = '\0';
    return on_disk(path);
}

int name_on_disk(int directory, const char *name, char *path)
{
    size_t length;

    if (name == NULL)
        return 0;
    if (name[0] == '/') {
        snprintf(path, LONG_PATH, "%s", name);
        return on_disk(path);
    }
    if (directory == AT_FDCWD) {
        if (syscall(SYS_getcwd, path, PATH_MAX) <= 0)
            return 0;
    } else if (!file_on_disk(directory, path)) {
        return 0;
    }
    length = strlen(path);
    snprintf(path + length, LONG_PATH - length, "/%s", name);
    return on_disk(path);
}

/* --- the log --- */

static void in_control(char *path, const char *name)
{
    snprintf(path, LONG_PATH, "%s/%s", getenv("GLANCE_DISK_CONTROL"), name);
}

static void append(const char *line)
{
    char path[LONG_PATH];
    int kept = errno, fd;

    in_control(path, "log");
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || syscall(SYS_write, fd, line, strlen(line)) != (long)strlen(line))
        abort(); /* a disk that forgets what it did proves nothing */
    syscall(SYS_close, fd);
    errno = kept;
}

static int recording(void)
{
    return getenv("GLANCE_DISK_RECORDS") != NULL;
}

void note_data(const char *what, int fd, const char *path, long long at, long long count)
{
    char line[LONG_PATH + 128];
    struct stat seen;

    if (!recording() || fstat(fd, &seen) != 0)
        return;
    snprintf(line, sizeof(line), "%s\t%ld\t%lu\t%lld\t%lld\t%s\n", what, syscall(SYS_gettid),
             (unsigned long)seen.st_ino, at, count, path);
    append(line);
}

void note_name(const char *what, const char *path, const char *of)
{
    char line[LONG_PATH + 128], kept[LONG_PATH], number[32];
    struct stat seen;
    int before = errno;

    if (!recording() || syscall(SYS_newfstatat, AT_FDCWD, of, &seen, AT_SYMLINK_NOFOLLOW) != 0) {
        errno = before;
        return;
    }
    if (strcmp(what, "unlink") == 0 && S_ISREG(seen.st_mode)) {
        snprintf(number, sizeof(number), "kept/%lu", (unsigned long)seen.st_ino);
        in_control(kept, number);
        syscall(SYS_linkat, AT_FDCWD, of, AT_FDCWD, kept, 0);
    }
    snprintf(line, sizeof(line), "%s\t%ld\t%lu\t0\t0\t%s\n", what, syscall(SYS_gettid),
             (unsigned long)seen.st_ino, path);
    append(line);
    errno = before;
}

/* --- the faults --- */

int armed(const char *operation, const char *path, struct fault *fault)
{
    char file[LONG_PATH], text[512];
    int kept = errno, fd, found;
    long length;

    in_control(file, operation);
    fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
    length = fd < 0 ? -1 : syscall(SYS_read, fd, text, sizeof(text) - 1);
    if (fd >= 0)
        syscall(SYS_close, fd);
    errno = kept;
    if (length <= 0)
        return 0;
    text[length] = '\0';
    fault->part[0] = '\0';
    found = sscanf(text, "%d %lld %lld %ld %255s", &fault->number, &fault->at, &fault->most, &fault->times,
                   fault->part);
    return found >= 4 && strstr(path, fault->part) != NULL;
}

static int consumed(const char *operation, const struct fault *fault)
{
    char name[64], file[LONG_PATH];
    int kept = errno;

    for (long number = 0; number < fault->times; number++) {
        snprintf(name, sizeof(name), "%s.%ld", operation, number);
        in_control(file, name);
        if (syscall(SYS_unlinkat, AT_FDCWD, file, 0) == 0) {
            errno = kept;
            return 1;
        }
    }
    errno = kept;
    return fault->times == 0;
}

static int strikes(const char *operation, const char *path, const struct fault *fault)
{
    char line[LONG_PATH + 128];

    if (!consumed(operation, fault))
        return 0;
    snprintf(line, sizeof(line), "fault\t%ld\t0\t0\t%d\t%s %s\n", syscall(SYS_gettid), fault->number, operation, path);
    append(line);
    return 1;
}

int struck(const char *operation, const char *path, const struct fault *fault)
{
    char file[LONG_PATH];

    if (!strikes(operation, path, fault))
        return 0;
    in_control(file, operation);
    while (fault->number == 0 && syscall(SYS_faccessat, AT_FDCWD, file, F_OK) == 0)
        usleep(20000);
    errno = fault->number;
    return fault->number != 0;
}

int fails(const char *operation, const char *path)
{
    struct fault fault;

    return armed(operation, path, &fault) && struck(operation, path, &fault);
}

ssize_t allowed(const char *operation, const char *path, long long at, size_t count)
{
    struct fault fault;

    if (count > 0 && armed(operation, path, &fault) && at + (long long)count > fault.at) {
        if (at < fault.at)
            return (ssize_t)(fault.at - at);
        if (struck(operation, path, &fault))
            return -1;
    }
    if (strcmp(operation, "write") == 0 && armed("short", path, &fault) && (long long)count > fault.most
        && strikes("short", path, &fault))
        return (ssize_t)fault.most;
    return (ssize_t)count;
}
