"""How fast this machine hashes, to set beside the speed of uploads: pieces of 1 MiB that are in memory already.

    python tests/benchmarks/hashing.py

Several algorithms hash the same pieces, in series or each in a thread of its own; no network and no disk is involved.
The best of some rounds counts, because everything else that runs can only make it slower. CPU seconds a GB are what an
upload cannot do without.
"""

import argparse
import hashlib
import os
import threading
import time

MIB = 1 << 20
MEASURES = ("md5", "sha256", "sha512", "md5 sha256", "md5 sha512")


def in_series(hashers: list, piece: bytes, count: int) -> None:
    for _ in range(count):
        for hasher in hashers:
            hasher.update(piece)


def in_threads(hashers: list, piece: bytes, count: int) -> None:
    threads = [threading.Thread(target=in_series, args=([hasher], piece, count)) for hasher in hashers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measured(work, names: list[str], size: int) -> tuple[float, float]:
    """Return MB/s and CPU seconds a GB of hashing ``size`` MiB."""
    hashers = [hashlib.new(name, usedforsecurity=False) for name in names]
    piece = os.urandom(MIB)
    started, used = time.monotonic(), time.process_time()
    work(hashers, piece, size)
    gigabytes = size * MIB / 1e9
    return gigabytes * 1e3 / (time.monotonic() - started), (time.process_time() - used) / gigabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="MiB to hash")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for text in MEASURES:
        names = text.split()
        for label, work in (("series", in_series), ("threads", in_threads)):
            if len(names) == 1 and work is in_threads:
                continue
            rounds = [measured(work, names, options.size) for _ in range(options.rounds)]
            speed, seconds = max(speed for speed, _ in rounds), min(seconds for _, seconds in rounds)
            how = f" in {label}" if len(names) > 1 else ""
            print(f"{' + '.join(names) + how:24s} {speed:6.0f} MB/s  {seconds:.2f} CPU s/GB", flush=True)


if __name__ == "__main__":
    main()
