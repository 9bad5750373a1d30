"""What a run of many seeds must have seen: a simulation that never gets into a state is blind to what goes wrong there."""

SIGHTS = frozenset(
    {
        "a confirmed token was rejected once more, later",
        "a fetch was cancelled: given up",
        "a fetch was cancelled: loop closed",
        "a fetch was cancelled: loop silent",
        "a fetch was cancelled: overdue",
        "a fetch was cancelled: sabotage",
        "a fetch was cancelled: superseded",
        "a second fetch because the first was: given up",
        "a second fetch because the first was: loop closed",
        "a second fetch because the first was: loop silent",
        "a second fetch because the first was: superseded",
        "call ended with CancelledError",
        "call ended with CredentialClosedError",
        "call ended with TokenRefusedError",
        "call ended with TokenUnavailableError",
        "call ended with UsageError",
        "calls cancelled",
        "calls timed out",
        "calls timed out by a scope",
        "a turn was waited for",
        "as many requests at once as the host allows",
        "calm slots",
        "claims: a new token",
        "claims: an earlier answer holds",
        "closing cancelled a flight",
        "closing cancelled a flight elsewhere",
        "elections after a loss",
        "error: lost too often",
        "error: overdue",
        "error: replayed",
        "flights that began eagerly",
        "forgotten in the middle of a flight",
        "garbage collected under the lock",
        "host: own back-off",
        "host: asked to be left alone for longer than is obeyed",
        "host: nearly expired",
        "host: swallowed a cancellation",
        "host: the rejected token again",
        "no task could be made",
        "preempted",
        "preempted for a while",
        "refresh points crossed in calm slots",
        "rejected in the middle of a flight",
        "rejected in vain",
        "rejected, but confirmed",
        "token given after a wait",
        "token renewed while it was late",
        "token served after waiting in vain",
        "token served at once",
        "token served in spite of a failure",
        "told to leave the host alone because of another token",
        "two loops shared a flight",
        "wall clock went back",
        "wall clock went forward",
        "what was brought was spoiled on its way",
    }
)
ENOUGH = 2_000
"""Seeds after which all of these must have been seen."""


def unseen(seen: dict[str, int], seeds: int) -> list[str]:
    """Name what should have been seen by now and was not."""
    return sorted(name for name in SIGHTS if not seen.get(name)) if seeds >= ENOUGH else []
