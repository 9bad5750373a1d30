"""The numbers behind the decisions: their ranges, and their former names."""

import math
import pickle
from typing import Any

import attrs
import pytest

from aiomsi import ConfigurationError, Policy, RefreshPolicy
from aiomsi._tokens.policy import _FORMER_NAMES


@pytest.mark.parametrize(
    "numbers",
    [
        {"late_before_expiry": "120"},
        {"loop_ping_timeout": None},
        {"fetch_deadline": math.nan},
        {"fetch_deadline": math.inf},
        {"backoff_first": -1},
        {"max_restarts": True},
        {"max_attempts": 0},
        {"refresh_jitter": 1},
        {"refresh_share_short": 1.5},
        {"refresh_share_long": 2},
    ],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, Any]) -> None:
    (name,) = numbers
    with pytest.raises(ConfigurationError, match=name):
        RefreshPolicy(**numbers)


def test_longest_fetch_follows_from_the_deadlines() -> None:
    assert RefreshPolicy().longest_fetch == 92
    assert RefreshPolicy(fetch_deadline=300).longest_fetch == 302
    changed = attrs.evolve(RefreshPolicy(), fetch_deadline_gone=1, loop_ping_timeout=1)
    assert changed.longest_fetch == 31
    assert pickle.loads(pickle.dumps(changed)) == changed  # noqa: S301 (our own bytes)


def test_policy_is_the_former_name_of_refresh_policy() -> None:
    assert Policy is RefreshPolicy


@pytest.mark.parametrize(("former", "name"), _FORMER_NAMES.items())
def test_former_names_of_fields_work_with_a_warning(former: str, name: str) -> None:
    policy, value = RefreshPolicy(), getattr(RefreshPolicy(), name)
    with pytest.warns(DeprecationWarning, match=f"RefreshPolicy.{former} is now .*{name}$"):
        assert getattr(policy, former) == value
    if name != "longest_fetch":
        with pytest.warns(DeprecationWarning, match=f"RefreshPolicy.{former} is now .*{name}$"):
            assert RefreshPolicy(**{former: value + 0.05}) != policy


def test_policies_are_equal_if_all_their_values_are() -> None:
    assert RefreshPolicy(late_wait=1.0) == RefreshPolicy(late_wait=1.0) != RefreshPolicy()
    assert len({RefreshPolicy(late_wait=1.0), RefreshPolicy(late_wait=1.0), RefreshPolicy()}) == 2
    assert RefreshPolicy() != RefreshPolicy().key


def test_repr_of_a_policy_shows_its_values() -> None:
    shown = repr(RefreshPolicy(late_wait=1.5))
    assert shown.startswith("RefreshPolicy(late_before_expiry=120.0, late_wait=1.5, ")
    assert shown.endswith(", fetch_deadline_gone=90.0)")
    assert RefreshPolicy(late_wait=1.5) == eval(shown)  # noqa: S307 (our own)
