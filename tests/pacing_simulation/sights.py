"""The states that a run of many seeds must have reached, because it is blind in all others."""

from collections.abc import Mapping

from pacing_simulation.stories import STORIES

SIGHTS = frozenset(
    {
        "a bulk call went after a run of urgent ones",
        "a call was cancelled on its way",
        "a call was sent at once",
        "a later 429 of a burst",
        "a limit was found by its 429",
        "a pause without a wait was doubled twice",
        "a request was lost",
        "a response handed its connection over",
        "a waiting call was cancelled",
        "an asked wait was made longer",
        "refused requests counted",
        "the counts of a response were left unread",
        *(f"story: {name}" for name in STORIES),
    }
)
ENOUGH = 1_000
"""Seeds after which all of these must have been seen."""


def find_unseen(seen: Mapping[str, int], seeds: int) -> list[str]:
    """Name what should have been seen by now and was not."""
    return sorted(name for name in SIGHTS if not seen.get(name)) if seeds >= ENOUGH else []
