"""A disk that fails when a test says so, and that forgets at a loss of power what was never synced."""

from tests.support.faulty_disk.disk import ALWAYS, Fault, FaultyDisk, Operation

__all__ = ["ALWAYS", "Fault", "FaultyDisk", "Operation"]
