"""One seed: its story, from the draw to the end."""

from collections import Counter

import attrs
from pacing_simulation.stories import STORIES
from pacing_simulation.world import EndOfWorldError, Violation, World

CRASHES = (AttributeError, NameError, TypeError, LookupError, ImportError, AssertionError)
"""Errors of a program that does not run at all, which no invariant detects."""
_NAMES = list(STORIES)
_WEIGHTS = [weight for weight, _ in STORIES.values()]


@attrs.frozen
class Report:
    """The result of one seed."""

    seed: int
    name: str
    violation: Violation | None
    seen: Counter[str]
    digest: str
    story: list[tuple[object, ...]] = attrs.field(repr=False)


def run_seed(seed: int, name: str = "") -> Report:
    """Run one seed, with the story that it draws or with the one named."""
    world = World(seed)
    drawn = world.chance.choices(_NAMES, _WEIGHTS)[0]
    name = name or drawn
    world.seen[f"story: {name}"] = 1
    try:
        STORIES[name][1](world)
    except EndOfWorldError:
        pass
    except CRASHES as error:
        text = f"{type(error).__name__}: {error}"
        world.tell("VIOLATION", "crash", text)
        world.violation = Violation("crash", text, crash=True)
    return Report(seed, name, world.violation, world.seen, world.digest(), world.story)
