/* Lets Debian's user-mode Linux 6.1 run on processors with large registers (AVX-512, AMX).
 *
 * The kernel reads and sets the registers of its processes with ptrace, through a buffer of 832 bytes. Newer kernels of
 * the host refuse to set fewer bytes than the processor has. Loaded with LD_PRELOAD, this reads and sets them all: it
 * remembers for each buffer what did not fit. When the buffer was changed meanwhile, as for a signal, only what it can
 * hold is set: x87, SSE and AVX.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PEEK_FIRST 1
#define PEEK_LAST 3
#define GET_REGISTERS 0x4204
#define SET_REGISTERS 0x4205
#define EXTENDED_STATE 0x202

#define MOST 16384 /* bytes of all registers of any processor */
#define BUFFERS 4096
#define HEADER 512 /* where the mask of the parts in use begins, behind the oldest part */
#define HEADER_BYTES 64
#define SMALL_PARTS 7u /* x87, SSE, AVX */

struct memory {
    const void *buffer;
    size_t length;
    unsigned char all[MOST];
};

static struct memory *memories[BUFFERS];
static unsigned char all[MOST] __attribute__((aligned(64)));
static size_t all_bytes;

static struct memory **place_of(const void *buffer)
{
    return &memories[((uintptr_t)buffer >> 6) % BUFFERS];
}

static long read_all(long pid)
{
    struct iovec wanted = { all, MOST };
    long answer = syscall(SYS_ptrace, GET_REGISTERS, pid, EXTENDED_STATE, &wanted);

    if (answer >= 0)
        all_bytes = wanted.iov_len;
    return answer;
}

static void remember(const void *buffer, size_t length)
{
    struct memory **place = place_of(buffer);

    if (*place == NULL)
        *place = malloc(sizeof(**place));
    if (*place == NULL)
        return;
    (*place)->buffer = buffer;
    (*place)->length = length;
    memcpy((*place)->all, all, all_bytes);
}

static void complete(const void *buffer, size_t length)
{
    const struct memory *known = *place_of(buffer);
    uint64_t parts;

    if (known != NULL && known->buffer == buffer && known->length == length
        && memcmp(known->all, buffer, length) == 0) {
        memcpy(all, known->all, all_bytes);
        return;
    }
    memset(all, 0, all_bytes);
    memcpy(all, buffer, length);
    memcpy(&parts, all + HEADER, sizeof(parts));
    parts &= SMALL_PARTS;
    memset(all + HEADER, 0, HEADER_BYTES);
    memcpy(all + HEADER, &parts, sizeof(parts));
}

static long move_registers(int request, long pid, struct iovec *small)
{
    struct iovec whole = { all, 0 };
    size_t length;

    if (request == GET_REGISTERS || all_bytes == 0) {
        long answer = read_all(pid);

        if (answer < 0)
            return answer;
    }
    length = small->iov_len < all_bytes ? small->iov_len : all_bytes;
    if (request == GET_REGISTERS) {
        memcpy(small->iov_base, all, length);
        small->iov_len = length;
        remember(small->iov_base, length);
        return 0;
    }
    complete(small->iov_base, length);
    whole.iov_len = all_bytes;
    return syscall(SYS_ptrace, SET_REGISTERS, pid, EXTENDED_STATE, &whole);
}

long ptrace(int request, ...)
{
    va_list more;
    long pid, address, data, answer, word;

    va_start(more, request);
    pid = va_arg(more, long);
    address = va_arg(more, long);
    data = va_arg(more, long);
    va_end(more);
    if ((request == GET_REGISTERS || request == SET_REGISTERS) && address == EXTENDED_STATE)
        return move_registers(request, pid, (struct iovec *)data);
    if (request < PEEK_FIRST || request > PEEK_LAST)
        return syscall(SYS_ptrace, request, pid, address, data);
    /* The C library returns the word that was read. */
    answer = syscall(SYS_ptrace, request, pid, address, &word);
    return answer < 0 ? answer : word;
}
