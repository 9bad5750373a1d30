"""Checks of the types of arguments, before any request is sent."""

from aiomsi._clock import SYSTEM_CLOCK, Clock
from aiomsi._errors import ConfigurationError


def check_type(name: str, value: object, kind: type, *, help: str = "") -> None:  # noqa: A002 (as in AiomsiError)
    """Check the type of the argument with that name.

    Raises:
        ConfigurationError: the argument is of another type.

    """
    if not isinstance(value, kind):
        msg = f"{name}= takes a {kind.__name__}, not {type(value).__name__}"
        raise ConfigurationError(msg, help=help)


def choose_clock(clock: Clock | None) -> Clock:
    """Return the clock of an argument; the system's for None.

    Raises:
        ConfigurationError: the argument is no clock.

    """
    if clock is None:
        return SYSTEM_CLOCK
    check_type("clock", clock, Clock, help="A ManualClock has one: pass its attribute clock")
    return clock
