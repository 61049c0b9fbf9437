"""The image cache of one node: whole, verified copies of image data in a directory.

    facade.py       what the rest of the API, the tools and the workers use
    upkeep.py       what the workers do for it: prefetch, verify, clean up
    layout.py       names in the directory, and the proof that it belongs to this node
    locks.py        locks in the directory, held across threads and processes
    fills.py        single flight: which file of an image grows, and who fills it
    fill.py         one fill: store → unfinished file → verified → final name
    growing.py      an unfinished file as its readers in one process see it
    reading.py      reads: of a whole copy, and of a file that grows
    room.py         the size of the cache, and what leaves it
    queue.py        images that are to be fetched ahead
    records.py      hits and verified copies, over an index
    index/          where the records are kept: sqlite, xattr

Who may read an image is not decided here: the caller has asked registry and policy before. A trouble of the cache is
never one of a download: every function that readers use answers "no" instead.
"""
