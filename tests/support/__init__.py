"""Helpers of tests: our own daemons, clients, ledgers, fixtures. Other servers stand in ``tests/servers``."""
