"""The numbers of a service for Prometheus.

    catalog.py    the metrics: one object each, used where things happen
    shared.py     one directory in which several worker processes add up their numbers
"""
