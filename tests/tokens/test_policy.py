"""The numbers behind the decisions: what they may be."""

import math
import pickle
from typing import Any

import attrs
import pytest

from aiomsi import ConfigurationError, Policy


@pytest.mark.parametrize(
    "numbers",
    [
        {"late": "120"},
        {"ping": None},
        {"deadline": math.nan},
        {"deadline": math.inf},
        {"backoff": -1},
        {"elections": True},
        {"tries": 0},
        {"jitter": 1},
        {"most": 1.5},
        {"half": 2},
    ],
)
def test_numbers_that_make_no_sense_are_refused(numbers: dict[str, Any]) -> None:
    (name,) = numbers
    with pytest.raises(ConfigurationError, match=name):
        Policy(**numbers)


def test_the_longest_fetch_follows_from_the_deadlines() -> None:
    assert Policy().longest == 92
    assert Policy(deadline=300).longest == 302
    changed = attrs.evolve(Policy(), deadline_gone=1, ping=1)
    assert changed.longest == 31
    assert pickle.loads(pickle.dumps(changed)) == changed  # noqa: S301 (our own bytes)
