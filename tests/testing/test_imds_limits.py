from collections.abc import Callable

import pytest

from aiomsi.testing import ImdsLimits
from aiomsi.testing._server.imds_limits import SlidingWindow


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


@pytest.mark.parametrize("make", [lambda: ImdsLimits(per_second=0), lambda: ImdsLimits(at_once=-1)])
def test_imds_limits_of_nothing_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        make()
