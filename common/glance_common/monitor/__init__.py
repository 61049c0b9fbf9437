"""What operators can see from outside of a service: its numbers, and which of the things it needs work.

    probes.py         asks in the background and remembers since when something works or not
    dependencies.py   the probes that several daemons have: registry, delete queue, stores
    exporter.py       serves /metrics and the detailed /healthcheck on ``metrics_bind``
    monitor.py        probes and exporter together: what one process of a daemon runs
"""
