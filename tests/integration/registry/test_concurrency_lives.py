"""Random lives of images and bytes: whatever writers, removers, workers and users do, each byte has one owner."""

import random

import pytest
from tests.support.owners import Owners
from tests.support.owners_imports_lives import ImportLives
from tests.support.owners_lives import Lives

LIVES = 4
STEPS = 250


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Lives, ImportLives])
@pytest.mark.parametrize("number", range(LIVES))
def test_each_byte_has_one_owner_through_random_lives(owners: Owners, number: int, kind: type[Lives]) -> None:
    """I1 to I3, I7. The generator is seeded by pytest-randomly: ``--randomly-seed`` of the failed run repeats it."""
    seed = f"{random.getrandbits(64)}-{number}"
    lives = kind(owners, random.Random(seed))
    try:
        lives.run(STEPS)
    except BaseException as error:
        error.add_note(f"seed {seed}, after {' '.join(lives.trace[-40:])}")
        raise
