"""`ByteBudget`: it grows quickly with small answers, and shrinks quickly with large ones."""

from itertools import pairwise

import pytest

from aiomsi._arm.protocol.bulk.byte_budget import (
    FIRST_CALLS,
    FIRST_LIST,
    FIRST_SINGLE,
    GROWTH,
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


def test_before_any_answer_few_named_resources_start() -> None:
    budget = ByteBudget(BUDGET)
    assert start_all(budget, budget.singles) == FIRST_CALLS


def test_few_rounds_of_small_answers_allow_thousands_of_calls() -> None:
    budget = ByteBudget(BUDGET)
    rounds = []
    for _ in range(4):
        rounds.append(start_all(budget, budget.singles))
        finish_all(budget, budget.singles, 1_000)
    assert rounds[:2] == [FIRST_CALLS, FIRST_CALLS + FIRST_CALLS * GROWTH]
    assert rounds[2] > 4_096


@pytest.mark.parametrize("number", [100, 1_000])
def test_large_answers_of_unknown_size_stay_near_the_budget(number: int) -> None:
    budget = ByteBudget(BUDGET)
    most = 0
    for _ in range(number):
        start_all(budget, budget.singles)
        most = max(most, budget.under_way * 8 * MIB + budget.held)
        budget.give_back(budget.finish(budget.singles, 8 * MIB))
    # The first guess, which counts as one answer, is too small.
    assert most <= 1.25 * BUDGET


def test_waiting_calls_hold_back_no_others() -> None:
    budget = ByteBudget(BUDGET)
    for _ in range(50):
        assert start_all(budget, budget.singles) == budget.singles.parked + FIRST_CALLS
        budget.park(budget.singles)
    for _ in range(50):
        budget.finish(budget.singles, None, parked=True)
    assert (budget.under_way, budget.singles.parked) == (FIRST_CALLS - 1, 0)


def test_time_without_answers_allows_more_calls() -> None:
    budget = ByteBudget(BUDGET)
    start_all(budget, budget.singles)
    budget.allow_more()
    assert start_all(budget, budget.singles) == FIRST_CALLS + GROWTH
    budget.allow_more()
    assert budget.allowed == FIRST_CALLS + 2 * GROWTH


def test_lists_that_hang_are_overlooked_one_by_one() -> None:
    budget = ByteBudget(16 * MIB)
    assert start_all(budget, budget.lists) == 1
    for hanging in range(1, 4):
        budget.allow_more()
        assert budget.may_start(budget.singles)
        assert start_all(budget, budget.lists) == hanging + 1
    # They end after all, each with a small page.
    for _ in range(4):
        budget.give_back(budget.finish(budget.lists, 1_000))
    assert (budget.overlooked, budget.answers) == (0, 4)


def test_list_that_waits_for_a_limit_is_not_overlooked() -> None:
    budget = ByteBudget(16 * MIB)
    start_all(budget, budget.lists)
    budget.park(budget.lists)
    budget.allow_more()
    assert not budget.may_start(budget.lists)


def test_slow_consumer_overlooks_no_list() -> None:
    budget = ByteBudget(16 * MIB)
    budget.start(budget.lists)
    budget.start(budget.lists)
    held = budget.finish(budget.lists, MIB)
    budget.allow_more()
    assert budget.overlooked == 0
    budget.give_back(held)
    budget.allow_more()
    assert budget.overlooked == 1


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
    budget.allowed = BUDGET
    assert start_all(budget, budget.singles) == BUDGET // FIRST_SINGLE - 5


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


def test_weight_of_held_bytes_leaves_room_for_calls_under_way() -> None:
    plain, weighted = ByteBudget(BUDGET), ByteBudget(BUDGET, held_weight=4)
    for budget in (plain, weighted):
        for _ in range(200):
            start_all(budget, budget.lists)
            finish_all(budget, budget.lists, MIB)
    most = start_all(plain, plain.lists)
    assert start_all(weighted, weighted.lists) == most
    for budget in (plain, weighted):
        for _ in range(16):
            budget.finish(budget.lists, MIB)
        budget.give_back(2 * MIB)
    assert plain.may_start(plain.lists)
    assert not weighted.may_start(weighted.lists)
    weighted.give_back(14 * MIB)
    assert weighted.may_start(weighted.lists)
