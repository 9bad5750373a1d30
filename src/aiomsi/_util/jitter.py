"""Random delays that grow exponentially."""

from collections.abc import Callable

Uniform = Callable[[float, float], float]
"""A function that returns a random number between two others, as `random.uniform`."""

_MOST_DOUBLINGS = 16


def grow_delay(number: int, first: float, longest: float) -> float:
    """Return the bound of the delay with this number, counted from 1.

    The first bound is `first`. Each further one is twice as long, but at most `longest`.
    """
    return min(first * 2.0 ** min(number - 1, _MOST_DOUBLINGS), longest)


def draw_full_jitter(number: int, first: float, longest: float, uniform: Uniform) -> float:
    """Return a random delay between 0 and the bound of `grow_delay`.

    The whole delay is random, so that clients that failed together spread out.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return uniform(0.0, grow_delay(number, first, longest))
