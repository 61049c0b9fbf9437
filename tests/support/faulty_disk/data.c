/* The calls that move data and that make data durable. */
#include "disk.h"

static long long position(int fd)
{
    struct stat seen;
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && (flags & O_APPEND) && fstat(fd, &seen) == 0)
        return seen.st_size;
    return syscall(SYS_lseek, fd, 0, SEEK_CUR);
}

/* Return how many bytes may be written, and log that they are. */
static ssize_t may_write(int fd, long long at, size_t count)
{
    char path[LONG_PATH];
    ssize_t most;

    if (!file_on_disk(fd, path))
        return (ssize_t)count;
    if (at < 0)
        at = position(fd);
    most = allowed("write", path, at, count);
    if (most > 0)
        note_data("write", fd, path, at, most);
    return most;
}

static ssize_t may_read(int fd, long long at, size_t count)
{
    char path[LONG_PATH];

    if (!file_on_disk(fd, path))
        return (ssize_t)count;
    return allowed("read", path, at < 0 ? position(fd) : at, count);
}

/* --- calls that move data --- */

ssize_t write(int fd, const void *data, size_t count)
{
    ssize_t most = may_write(fd, -1, count);
    return most < 0 ? -1 : syscall(SYS_write, fd, data, most);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at)
{
    ssize_t most = may_write(fd, at, count);
    return most < 0 ? -1 : syscall(SYS_pwrite64, fd, data, most, at);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at) __attribute__((alias("pwrite64")));

ssize_t read(int fd, void *data, size_t count)
{
    ssize_t most = may_read(fd, -1, count);
    return most < 0 ? -1 : syscall(SYS_read, fd, data, most);
}

ssize_t pread64(int fd, void *data, size_t count, off64_t at)
{
    ssize_t most = may_read(fd, at, count);
    return most < 0 ? -1 : syscall(SYS_pread64, fd, data, most, at);
}

ssize_t pread(int fd, void *data, size_t count, off_t at) __attribute__((alias("pread64")));

/* Move the parts of a vector until one is not moved whole; at < 0 is where the file stands. */
static ssize_t each_part(int fd, const struct iovec *parts, int count, long long at, int writes)
{
    ssize_t moved = 0;

    for (int part = 0; part < count; part++) {
        void *data = parts[part].iov_base;
        size_t length = parts[part].iov_len;
        ssize_t done;

        if (at < 0)
            done = writes ? write(fd, data, length) : read(fd, data, length);
        else
            done = writes ? pwrite64(fd, data, length, at + moved) : pread64(fd, data, length, at + moved);
        if (done < 0)
            return moved > 0 ? moved : -1;
        moved += done;
        if ((size_t)done < length)
            break;
    }
    return moved;
}

static int is_ours(int fd)
{
    char path[LONG_PATH];
    return file_on_disk(fd, path);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return is_ours(fd) ? each_part(fd, parts, count, -1, 1) : syscall(SYS_writev, fd, parts, count);
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{
    return is_ours(fd) ? each_part(fd, parts, count, -1, 0) : syscall(SYS_readv, fd, parts, count);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags)
{
    return is_ours(fd) ? each_part(fd, parts, count, at, 1) : syscall(SYS_pwritev2, fd, parts, count, at, 0, flags);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags)
{
    return is_ours(fd) ? each_part(fd, parts, count, at, 0) : syscall(SYS_preadv2, fd, parts, count, at, 0, flags);
}

ssize_t sendfile64(int out, int in, off64_t *at, size_t count)
{
    ssize_t most = may_read(in, at == NULL ? -1 : *at, count);

    most = most < 0 ? -1 : may_write(out, -1, (size_t)most);
    return most < 0 ? -1 : syscall(SYS_sendfile, out, in, at, most);
}

ssize_t sendfile(int out, int in, off_t *at, size_t count) __attribute__((alias("sendfile64")));

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags)
{
    ssize_t most = may_read(in, from == NULL ? -1 : *from, count);

    most = most < 0 ? -1 : may_write(out, to == NULL ? -1 : *to, (size_t)most);
    return most < 0 ? -1 : syscall(SYS_copy_file_range, in, from, out, to, most, flags);
}

int ftruncate64(int fd, off64_t size)
{
    char path[LONG_PATH];
    struct stat seen;

    if (file_on_disk(fd, path) && fstat(fd, &seen) == 0) {
        long long first = seen.st_size < size ? seen.st_size : size;
        note_data("write", fd, path, first, (seen.st_size < size ? size : seen.st_size) - first);
    }
    return (int)syscall(SYS_ftruncate, fd, size);
}

int ftruncate(int fd, off_t size) __attribute__((alias("ftruncate64")));

int fallocate64(int fd, int mode, off64_t at, off64_t count)
{
    char path[LONG_PATH];
    struct fault fault;

    if (file_on_disk(fd, path) && armed("write", path, &fault) && at + count > fault.at
        && struck("write", path, &fault))
        return -1;
    return (int)syscall(SYS_fallocate, fd, mode, at, count);
}

int fallocate(int fd, int mode, off_t at, off_t count) __attribute__((alias("fallocate64")));

/* --- calls that make data durable --- */

static int synced(int fd, long call)
{
    char path[LONG_PATH];
    struct stat seen;
    int answer;

    if (!file_on_disk(fd, path) || fstat(fd, &seen) != 0)
        return (int)syscall(call, fd);
    if (fails(S_ISDIR(seen.st_mode) ? "syncdir" : "sync", path)) {
        note_data("lost", fd, path, 0, 0); /* the pages count as clean now, and no later sync writes them */
        return -1;
    }
    note_data("sync", fd, path, 0, 0);
    answer = (int)syscall(call, fd);
    if (answer == 0)
        note_data("synced", fd, path, 0, seen.st_size);
    return answer;
}

int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

int sync_file_range(int fd, off64_t at, off64_t count, unsigned flags)
{
    char path[LONG_PATH];

    if (file_on_disk(fd, path) && fails("writeback", path))
        return -1;
    return (int)syscall(SYS_sync_file_range, fd, at, count, flags);
}
