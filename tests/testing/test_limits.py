from collections.abc import Callable

import pytest

from aiomsi.testing import ArmBucket, ArmBuckets, ImdsLimits
from aiomsi.testing._server.limits import SlidingWindow, TokenBucket


def test_a_window_admits_so_many_in_any_one_second() -> None:
    window = SlidingWindow(2)

    assert [window.admit(now) for now in (0.0, 0.5, 0.9, 1.0, 1.4, 1.5)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_those_turned_away_do_not_count() -> None:
    window = SlidingWindow(1)
    window.admit(0.0)

    assert not any(window.admit(now) for now in (0.1, 0.5, 0.99))
    assert window.admit(1.0)


def test_a_bucket_empties_and_refills_steadily() -> None:
    bucket = TokenBucket(ArmBucket(size=3, refill=0.5), now=10.0)

    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.remaining == 0
    assert bucket.wait == 2
    assert not bucket.take(11.0)
    assert bucket.wait == 1
    assert bucket.take(12.0)


def test_a_bucket_never_holds_more_than_its_size() -> None:
    bucket = TokenBucket(ArmBucket(size=2, refill=10), now=0.0, factor=2)
    bucket.take(1_000.0)

    assert bucket.remaining == 3


def test_a_bucket_is_not_confused_by_a_clock_that_goes_back() -> None:
    bucket = TokenBucket(ArmBucket(size=2, refill=1), now=5.0)
    bucket.take(5.0)
    bucket.take(4.0)

    assert bucket.remaining == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: ImdsLimits(per_second=0),
        lambda: ImdsLimits(at_once=-1),
        lambda: ArmBucket(0, 1),
        lambda: ArmBucket(1, 0),
        lambda: ArmBuckets(global_factor=0),
    ],
)
def test_limits_of_nothing_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        make()
