"""Giving a finished file its final name without ever replacing another one."""

import ctypes
import errno
import os

_RENAME_NOREPLACE = 1
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def publish(source: str, source_dir: int, target: str, target_dir: int) -> None:
    """Make the file ``source`` appear as ``target``; afterwards the name ``source`` may be there or not.

    Raises FileExistsError when ``target`` is taken, OSError otherwise. A hard link is the primitive that every POSIX
    file system and NFS gets right; where there are none (FAT, some FUSE) renameat2 refuses to replace as well.
    """
    try:
        os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
    except FileExistsError:
        # A lost answer makes NFS send the link again, and the second one finds the first one's work.
        if not _same_file(source, source_dir, target, target_dir):
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_noreplace(source, source_dir, target, target_dir)


def _same_file(source: str, source_dir: int, target: str, target_dir: int) -> bool:
    mine = os.stat(source, dir_fd=source_dir, follow_symlinks=False)
    there = os.stat(target, dir_fd=target_dir, follow_symlinks=False)
    return os.path.samestat(mine, there)


def _rename_noreplace(source: str, source_dir: int, target: str, target_dir: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(source), os.fsencode(target)
    if libc.renameat2(source_dir, names[0], target_dir, names[1], _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS}:
        raise OSError(number, "the file system has neither hard links nor a rename that does not replace")
    raise OSError(number, os.strerror(number))
