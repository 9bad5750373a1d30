"""Former names of fields work, with a warning that points to the caller."""

import copy
import inspect
import pickle

import attrs
import pytest

from aiomsi._util.deprecation import rename_fields


@rename_fields({"tries": "max_attempts", "wait": "max_wait"})
@attrs.frozen
class Rule:
    """A rule with two renamed fields."""

    max_attempts: int = 5
    max_wait: float = 1.0


def test_former_keyword_sets_the_field_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match=r"^Rule\.tries is now Rule\.max_attempts$") as seen:
        rule = Rule(tries=2)  # type: ignore[call-arg]  # the former name
    assert rule == Rule(max_attempts=2)
    assert [warning.filename for warning in seen] == [__file__]


def test_former_attribute_returns_the_field_and_warns() -> None:
    rule = Rule(max_wait=3.0)
    with pytest.warns(DeprecationWarning, match=r"^Rule\.wait is now Rule\.max_wait$") as seen:
        assert rule.wait == 3.0  # type: ignore[attr-defined]  # the former name
    assert [warning.filename for warning in seen] == [__file__]


def test_present_names_do_not_warn() -> None:
    rule = Rule(2, max_wait=3.0)
    assert (rule.max_attempts, rule.max_wait) == (2, 3.0)
    assert attrs.evolve(rule, max_attempts=4) == Rule(4, 3.0)


def test_both_names_of_one_field_are_an_error() -> None:
    with pytest.raises(TypeError, match=r"'tries' is the former name of 'max_attempts'"):
        Rule(tries=1, max_attempts=2)  # type: ignore[call-arg]  # the former name


def test_unknown_names_are_errors_as_usual() -> None:
    with pytest.raises(TypeError, match="attempts"):
        Rule(attempts=1)  # type: ignore[call-arg]  # the point
    with pytest.raises(AttributeError, match=r"^'Rule' object has no attribute 'attempts'$"):
        Rule().attempts  # type: ignore[attr-defined]  # the point  # noqa: B018


def test_copies_and_pickles_are_equal() -> None:
    rule = Rule(2)
    assert pickle.loads(pickle.dumps(rule)) == copy.deepcopy(rule) == rule  # noqa: S301 (our own)


def test_signature_has_the_present_names() -> None:
    assert list(inspect.signature(Rule).parameters) == ["max_attempts", "max_wait"]
