"""`ByteBudget`: it grows quickly with small answers, and shrinks quickly with large ones."""

from itertools import pairwise

import pytest

from aiomsi._arm.protocol.bulk.byte_budget import (
    FIRST_LIST,
    FIRST_SINGLE,
    AnswerSize,
    ByteBudget,
    is_list,
)

MIB = 1_048_576
BUDGET = 64 * MIB


def start_all(budget: ByteBudget, kind: AnswerSize) -> int:
    """Start as many calls as fit, and return how many are under way."""
    while budget.may_start(kind) and budget.under_way < 20_000:
        budget.start(kind)
    return budget.under_way


def finish_all(budget: ByteBudget, kind: AnswerSize, size: int) -> None:
    for _ in range(kind.under_way):
        budget.finish(kind, size)
        budget.give_back(size)


def test_before_any_answer_lists_start_carefully() -> None:
    budget = ByteBudget(BUDGET)
    assert start_all(budget, budget.lists) == 3
    # Beside the three lists there is no room for anything else.
    assert not budget.may_start(budget.singles)


def test_before_any_answer_a_thousand_named_resources_start() -> None:
    budget = ByteBudget(BUDGET)
    assert start_all(budget, budget.singles) == BUDGET // FIRST_SINGLE - 5


def test_few_rounds_of_small_pages_allow_thousands_of_calls() -> None:
    budget = ByteBudget(BUDGET)
    rounds = []
    for _ in range(5):
        rounds.append(start_all(budget, budget.lists))
        finish_all(budget, budget.lists, 1_000)
    assert rounds[0] == 3
    assert all(later > 4 * sooner for sooner, later in pairwise(rounds[:-1]))
    assert rounds[-1] > 16_384
    assert (budget.under_way, budget.held) == (0, 0)


@pytest.mark.parametrize("kind", ["lists", "singles"])
def test_large_answers_stay_within_the_budget(kind: str) -> None:
    budget = ByteBudget(BUDGET)
    size = getattr(budget, kind)
    for _ in range(200):
        budget.start(size)
        finish_all(budget, size, 8 * MIB)
    for _ in range(50):
        assert start_all(budget, size) == 3
        finish_all(budget, size, 8 * MIB)


def test_large_answers_after_small_ones_reduce_the_calls() -> None:
    budget = ByteBudget(BUDGET)
    for size, number in ((1_000, 1_000), (FIRST_LIST, 16)):
        for _ in range(number):
            budget.start(budget.lists)
            finish_all(budget, budget.lists, size)
    assert start_all(budget, budget.lists) <= 8


def test_large_lists_do_not_change_the_size_of_resources() -> None:
    budget = ByteBudget(BUDGET)
    budget.start(budget.lists)
    finish_all(budget, budget.lists, 100 * MIB)
    assert budget.singles.expected == FIRST_SINGLE
    assert start_all(budget, budget.singles) > 1_000


def test_calls_without_answers_teach_nothing() -> None:
    budget = ByteBudget(BUDGET)
    for _ in range(100):
        budget.start(budget.lists)
        budget.finish(budget.lists, None)
    assert (budget.lists.expected, budget.under_way) == (FIRST_LIST, 0)


def test_held_answers_count_until_they_are_given_back() -> None:
    budget = ByteBudget(BUDGET)
    budget.start(budget.singles)
    budget.finish(budget.singles, BUDGET)
    assert not budget.may_start(budget.lists)
    budget.give_back(BUDGET)
    assert budget.may_start(budget.lists)


@pytest.mark.parametrize("most", [1, 1_000])
def test_single_call_starts_under_the_smallest_budget(most: int) -> None:
    budget = ByteBudget(most)
    for _ in range(3):
        assert start_all(budget, budget.lists) == 1
        finish_all(budget, budget.lists, 8 * MIB)


@pytest.mark.parametrize(
    ("path", "lists"),
    [
        ("/subscriptions", True),
        ("/subscriptions/s", False),
        ("/subscriptions/s/resourceGroups/", True),
        ("/subscriptions/s/resourceGroups/g?$filter=a/b", False),
        ("/subscriptions/s/resourceGroups/g/providers/A.B/c", True),
        ("/subscriptions/s/resourceGroups/g/providers/A.B/c/d", False),
        ("/subscriptions/s/resourceGroups/g/providers/A.B/c/d/e", True),
        ("/providers/A.B/c/d", False),
    ],
)
def test_collections_have_an_odd_number_of_segments(path: str, lists: bool) -> None:
    assert is_list(path) is lists
    assert is_list(f"https://management.azure.com{path}") is lists
