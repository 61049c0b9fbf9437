"""A whole cluster on one machine, and a drill that breaks it part by part (``deploy/cluster/up`` and ``drill``).

It lives with the tests because it is made of their parts: the starters of servers, the daemons, the ledger of what
clients were told, and the checker of promises.

    cluster.py   what runs: HAProxy, daemons, PostgreSQL with a replica, RabbitMQ nodes, the store
    settings.py  the options of the daemons
    load.py      one client program: plain requests, openstacksdk or python-glanceclient; it repeats what failed
    crowd.py     several such programs, and what they tell
    drill.py     the steps
    table.py     what the clients met in each step
"""
