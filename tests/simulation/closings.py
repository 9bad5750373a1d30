"""Rule 13: closing a credential cancels a flight only if no other credential can reach its slot."""

from simulation.flights import FlightChecks
from simulation.loops import SimLoop
from simulation.records import PING, SLACK, Credential, SimSlot

from aiomsi._tokens.flight import wait_until_done


async def close(
    flights: FlightChecks, slot: SimSlot, credential: Credential, loop: SimLoop
) -> None:
    """Close as a credential does; only a private slot's flight without another user may end."""
    world, core = flights.world, slot.slot
    latest, (surely, perhaps) = slot.latest(), _judge_demand(slot, credential)
    flights.observe()
    first = world.moment()
    slot.releasing += 1
    credential.is_open = False
    credential.releases.append((first.number, 1 << 60))
    given_up = core.detach(credential)
    credential.releases[-1] = first.number, world.moment().number
    slot.releasing -= 1
    flights.closed = world.now
    world.seen["credentials closed"] += 1
    if given_up is not None:
        if not core.private:
            world.violate(
                "rule 13",
                f"closing {credential.name} cancelled a flight that later credentials can use",
            )
        flights.taken_out(slot)
        for flight in slot.flights:
            if flight.number == given_up.generation:
                flight.given_up = True
                flights.given_up(flight, first)
                world.seen[
                    "closing cancelled a flight"
                    if flight.loop is loop
                    else "closing cancelled a flight elsewhere"
                ] += 1
        if surely and _judge_demand(slot, credential)[0]:
            world.violate(
                "rule 13", f"closing {credential.name} cancelled a flight that others want"
            )
        await wait_until_done([given_up], PING)
        waited = world.now - first.now - loop.silence(first.now)
        if waited > PING + SLACK:
            world.violate("I2", f"closing took {waited:.3f} s")
    elif (
        core.private
        and latest is not None
        and latest.began is not None
        and latest.ended is None
        and not perhaps
    ):
        still = core._flight is not None and core._flight.generation == latest.number
        if still and not _judge_demand(slot, credential)[1]:
            world.violate("rule 13", f"closing {credential.name} left a flight that nobody wants")
    world.tell("closed", credential.name)


def _judge_demand(slot: SimSlot, credential: Credential) -> tuple[bool, bool]:
    """Return whether another caller surely wants the fetch under way, and whether one may.

    Not sure are those who are just opening, who don't wait yet, who were told of a closing and have
    not gone yet, and whose loop
    has been silent: they may have been told of an earlier fetch.
    """
    others = [each for each in slot.credentials if each is not credential]
    calls = [
        call
        for call in slot.waiting
        if call.credential is not credential and call.began is not None
    ]
    surely = any(each.is_surely_open() for each in others) or any(
        call.is_suspended()
        and not call.credential.was_closed_since(call.began)
        and not call.loop.silence(call.began.now)
        for call in calls
        if call.began is not None
    )
    return surely, bool(calls) or any(each.is_open or each.opening for each in others)
