"""Taking over the database of an installation of the original service, read only.

``source`` reads its database, ``translation`` and ``places`` turn its rows into ours, ``writing`` writes them,
``run`` does all of it, ``verify`` compares both sides afterwards.
"""
