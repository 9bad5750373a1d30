"""Token buckets and quotas as values."""

import pytest

from aiomsi.testing import OtherClient
from aiomsi.testing._limits.buckets import QuotaWindow, TokenBucket


def test_bucket_empties_and_refills_steadily() -> None:
    bucket = TokenBucket(3, 0.5, 10.0)

    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert (bucket.remaining, bucket.wait, bucket.wait_full) == (0, 2, 6)
    assert not bucket.take(11.0)
    assert bucket.wait == 1
    assert bucket.take(12.0)


def test_bucket_holds_its_size_at_most() -> None:
    bucket = TokenBucket(4, 20, 0.0)
    bucket.take(1_000.0)

    assert bucket.remaining == 3


def test_clock_that_goes_back_adds_no_token() -> None:
    bucket = TokenBucket(2, 1, 5.0)
    bucket.take(5.0)
    bucket.take(4.0)

    assert bucket.remaining == 0


def test_debt_is_bounded_by_the_size() -> None:
    bucket = TokenBucket(2, 1, 0.0)
    bucket.debit(100)

    assert (bucket.level, bucket.remaining, bucket.wait) == (-2, 0, 3)


def test_two_clients_draw_in_order_of_time() -> None:
    clients = [OtherClient(requests=3, every=4.0), OtherClient(requests=1, every=1.0, start=1.0)]
    bucket = TokenBucket(10, 1, 0.0, clients)
    levels = []
    for now in (0.0, 1.0, 3.9, 4.0):
        bucket.update(now)
        levels.append(bucket.level)

    assert levels == pytest.approx([7, 7, 7.9, 4])


def test_client_takes_no_more_than_there_is() -> None:
    bucket = TokenBucket(5, 1, 0.0, [OtherClient(requests=100, every=10.0)])
    bucket.update(0.0)
    empty = bucket.level
    bucket.update(3.0)

    assert (empty, bucket.level) == (0, 3)


@pytest.mark.parametrize(("requests", "level"), [(0.5, 100), (2.0, 0)])
def test_long_idle_bucket_is_full_or_empty(requests: float, level: float) -> None:
    bucket = TokenBucket(100, 1, 0.0, [OtherClient(requests=requests, every=1.0)])
    bucket.update(1e9 + 0.5)

    assert bucket.level == pytest.approx(level, abs=1)


def test_client_that_ended_long_ago_draws_nothing() -> None:
    bucket = TokenBucket(100, 1, 0.0, [OtherClient(requests=9, every=0.001, until=100.0)])
    bucket.update(1e9)
    bucket.update(2e9)

    assert bucket.level == 100


def test_draws_of_a_client_that_ended_leave_their_trace() -> None:
    bucket = TokenBucket(100, 1, 0.0, [OtherClient(requests=9, every=0.001, until=100.0)])
    bucket.update(120.0)

    assert bucket.level == pytest.approx(20, abs=0.1)


def test_quota_is_restored_at_the_end_of_its_window() -> None:
    quota = QuotaWindow(2, 5.0, 0.0)

    assert [quota.take(now) for now in (0.0, 1.0, 2.0, 4.9, 5.0)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert (quota.remaining, quota.resets_after(5.5)) == (1, 5)
    quota.use_up(50.0)
    assert (quota.remaining, quota.resets_after(6.0)) == (1, 44)
