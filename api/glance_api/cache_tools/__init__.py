"""The console scripts of the image cache (tools section 4).

    manage.py       glance-cache-manage: its command line
    options.py      the options of glance-cache-manage, and their defaults from the environment
    commands.py     what its commands do and print
    client.py       its requests to the API of one host, and to Keystone for a token
    pruner.py       glance-cache-pruner
    cleaner.py      glance-cache-cleaner
    prefetcher.py   glance-cache-prefetcher
    start.py        what these three have in common: they work on the directory of this host
    fetch_line.py   how far a fetch is, for a terminal
"""
