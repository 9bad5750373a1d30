"""What may happen in one seed: which faults there are, how often, and how the loops take turns."""

import random
from typing import Self

import attrs

from aiomsi._tokens.host_limits import RequestLimits

EVENTS = {
    "reject": 2.0,
    "reject old": 1.0,
    "forget": 0.5,
    "jump": 1.0,
    "stall": 2.0,
    "wind up": 1.0,
    "cut off": 0.7,
    "die": 0.7,
    "close": 1.5,
    "sabotage": 1.5,
    "break": 0.5,
    "handlers": 0.7,
    "jobs": 0.5,
}
"""What happens beside calls, and how often if at all in this seed."""

ANSWERS = {
    "failed": 2.0,
    "throttled": 1.0,
    "own back-off": 0.5,
    "refused": 1.0,
    "nearly expired": 0.5,
    "raised": 0.7,
    "cancelled": 0.7,
    "hung": 0.7,
    "same": 1.0,
    "swallowed": 0.5,
    "inside": 0.3,
    "side": 0.3,
}
"""How the host answers when it gives no new token, or not at once."""

LIMITS = (None, None, RequestLimits(20, 4), RequestLimits(4, 2), RequestLimits(1, 1))
"""The limits of the host: none, those of IMDS, or so low that its slots always wait."""

LIVES = (
    (12.0, 20.0),
    (20.0, 60.0),
    (60.0, 400.0),
    (3_000.0, 8_000.0),
    (86_400.0, 86_400.0),
    (12.0, 86_400.0),
)


@attrs.frozen
class Profile:
    """One seed's character.

    Attributes:
        calm: nothing goes wrong, and the number of fetches is known exactly.
        jobs_alone: nothing goes wrong either, but event loops end with the jobs that run in them.
        private: the share of slots that only their own credentials can reach.
        shuffled, preempt, lag, collect: as the world takes them.
        loops, slots, credentials: how many of each there are at first; credentials per slot.
        limits: how many requests the host takes.
        apart: each slot stands for a host of its own, as the scopes of somebody else's credential
            do.
        eager, debug, anyio: whether tasks start at once, asyncio's debug mode is on, and some
            callers use cancel scopes.
        rounds: how often something happens.
        burst: the most calls at once.
        lives: the range that the lives of tokens are drawn from.
        latency: the longest time that a fetch takes which neither fails nor hangs; if `jobs_alone`,
            the exact time.
        failing: the share of fetches that bring no new token.
        answers: what they bring, by weight.
        events: what else happens, by weight; `eventful` is their share among all rounds.
        cancelling: the share of calls that are cancelled or have a time-out.
        claims: the share of calls that bring claims.

    """

    calm: bool
    jobs_alone: bool
    private: float
    shuffled: bool
    preempt: float
    lag: float
    collect: float
    loops: int
    slots: int
    credentials: int
    limits: RequestLimits | None
    apart: bool
    eager: float
    debug: bool
    anyio: bool
    rounds: int
    burst: int
    lives: tuple[float, float]
    latency: float
    failing: float
    answers: dict[str, float]
    events: dict[str, float]
    eventful: float
    cancelling: float
    claims: float

    @classmethod
    def draw(cls, chance: random.Random) -> Self:
        """Draw a profile: each fault is on or off, so that each occurs alone, and each pair."""
        calm = chance.random() < 0.12
        jobs_alone = not calm and chance.random() < 0.06
        faultless = calm or jobs_alone
        answers = {} if faultless else _draw_share(chance, ANSWERS)
        events = (
            {"handlers": 1.0, "close": 0.3}
            if calm
            else {"jobs": 1.0}
            if jobs_alone
            else _draw_share(chance, EVENTS)
        )
        leaves_tasks = bool(events.keys() & {"cut off", "die"})
        return cls(
            calm=calm,
            jobs_alone=jobs_alone,
            private=0.0 if calm else chance.choice((0.0, 0.0, 0.3, 1.0)),
            shuffled=chance.random() < 0.5,
            preempt=chance.choice((0.0, 0.0, 0.02, 0.1, 0.3)),
            lag=0.0 if faultless else chance.choice((0.0, 0.0, 0.0, 0.02, 0.1)),
            collect=0.1 if leaves_tasks and chance.random() < 0.1 else 0.0,
            loops=chance.choice((1, 2, 2, 3, 4)),
            slots=chance.choice((1, 1, 1, 2, 2, 2, 6)),
            credentials=chance.randint(1, 3),
            limits=chance.choice(LIMITS),
            apart=chance.random() < 0.2,
            eager=chance.choice((0.0, 0.0, 0.5, 1.0)),
            debug=chance.random() < 0.02,
            # A scope that is left when its coroutine is garbage complains of the wrong task: that
            # is anyio's own.
            anyio=not leaves_tasks and chance.random() < 0.5,
            rounds=chance.randint(6, 30),
            burst=chance.choice((1, 3, 6, 12)),
            lives=(7_300.0, 90_000.0) if jobs_alone else chance.choice(LIVES),
            latency=chance.choice((1.0, 3.0)) if jobs_alone else chance.choice((0.0, 0.2, 3.0)),
            failing=chance.choice((0.1, 0.4, 0.8, 1.0)) if answers else 0.0,
            answers=answers,
            events=events,
            eventful=0.8 if jobs_alone else chance.choice((0.1, 0.3, 0.5)) if events else 0.0,
            cancelling=0.0 if jobs_alone else chance.choice((0.0, 0.2, 0.7)),
            claims=0.0 if faultless else chance.choice((0.0, 0.0, 0.0, 0.05, 0.3)),
        )


def _draw_share(chance: random.Random, weights: dict[str, float]) -> dict[str, float]:
    share = chance.choice((0.15, 0.5, 1.0))
    return {name: weight for name, weight in weights.items() if chance.random() < share}
