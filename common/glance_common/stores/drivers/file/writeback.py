"""Writing behind: the disk works while the data still come, so that the sync at the end has little left to do."""

import ctypes
import errno
import os

WINDOW = 8 * 1024 * 1024
"""Bytes that the kernel is asked to write at a time: many enough for a disk, few enough to be behind the last ones."""

_START = 2
"""SYNC_FILE_RANGE_WRITE: begin to write the dirty pages of the range, wait for none."""

_UNKNOWN = {errno.EINVAL, errno.ENOSYS, errno.ESPIPE}


class WriteBehind:
    """Starts the writing of a file's data window by window. It promises nothing: the sync at the end does."""

    def __init__(self, fd: int) -> None:
        self.size = 0
        self._fd = fd
        self._started = 0

    def grown(self, count: int) -> None:
        """Tell that ``count`` more bytes are in the kernel's hands. Raises OSError when the disk failed."""
        self.size += count
        end = self.size - self.size % WINDOW
        if end > self._started:
            start_writing(self._fd, self._started, end - self._started)
            self._started = end


def start_writing(fd: int, offset: int, count: int) -> None:
    """Begin to write a range to the disk without waiting; nothing where the system has no such call. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(count), _START) == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNKNOWN:
        raise OSError(number, os.strerror(number))
