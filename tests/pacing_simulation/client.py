"""A client of the service: calls that go through a real `Pacer`, as a session sends them."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from pacing_simulation.service import Answer, Service
from pacing_simulation.watch import Watch

from aiomsi._arm.protocol.pacing.lane import Lane, Ticket
from aiomsi._arm.protocol.pacing.meter import Meter
from aiomsi._arm.protocol.pacing.pacer import Count, Pacer
from aiomsi._arm.protocol.pacing.rules import ARM_RULES, PacingRules

UNREAD = 7
"""Responses in a row whose counts a client may leave unread."""
LOST_AFTER = 5.0
"""Seconds after which a client gives up a request without a response."""


class Call:
    """One call: the limits that it draws from, and the state that the checks need."""

    __slots__ = (
        "began",
        "done_at",
        "found",
        "hidden",
        "keys",
        "lane",
        "numbers",
        "order",
        "over",
        "probes",
        "rate",
        "sent_at",
        "ticket",
        "tries",
        "urgent",
        "waiting",
    )

    def __init__(
        self,
        keys: tuple[Hashable, ...],
        *,
        urgent: bool = False,
        rate: str = "",
        hidden: tuple[Hashable, ...] = (),
    ) -> None:
        self.keys, self.urgent, self.rate = keys, urgent, rate
        # Limits that the client learns of by a 429 only, and whether it knows them.
        self.hidden, self.found = hidden, False
        self.sent_at = 0.0
        self.order = self.tries = 0
        self.began = 0.0
        self.done_at: float | None = None
        self.ticket: Ticket
        self.lane: Lane
        self.numbers: list[int] = []
        self.probes: list[bool] = []
        self.waiting = self.over = False

    @property
    def waits_first(self) -> bool:
        """Return whether the call waits and was never sent."""
        return self.waiting and self.tries == 0


class Client:
    """One process.

    Attributes:
        done: the calls that were answered, in that order.
        requests: the number of requests sent.
        refused: the number of 429s.

    """

    def __init__(
        self,
        service: Service,
        name: str,
        *,
        rules: PacingRules = ARM_RULES,
        connections: int = 128,
        rates: dict[str, float] | None = None,
        cancelled: float = 0.0,
        lost: float = 0.0,
        look_ahead: int = 1_000_000,
        unread: int = UNREAD,
    ) -> None:
        self.service, self.world, self.name = service, service.world, name
        self.pacer = Pacer(
            rules,
            connections=connections,
            rates=rates or {},
            make_meter=lambda _: Meter(rules),
        )
        self.watch = Watch(self.world, self.pacer, name)
        self.cancelled, self.lost, self.look_ahead = cancelled, lost, look_ahead
        self.unread = unread
        self.calls = self.ended = self.requests = self.refused = self.wakes = 0
        self.done: list[Call] = []
        # The number of further responses of a lane whose counts are left unread.
        self._unread: Counter[int] = Counter()
        self._source: list[Call] = []
        self._alarm: float | None = None

    @property
    def over(self) -> bool:
        """Return whether all calls have ended."""
        return self.calls == self.ended and not self._source

    @property
    def ends_at(self) -> float:
        """Return the time of the last answer."""
        return max((call.done_at or 0.0 for call in self.done), default=0.0)

    def begin(self, calls: Iterable[Call], when: float = 0.0) -> None:
        """Begin calls at some time, all at once as far as `look_ahead` allows."""
        self.world.at(when, self._begin, list(calls))
        self.calls += 1

    def _begin(self, calls: list[Call]) -> None:
        self.ended += 1
        self._source = calls[::-1] + self._source
        self._pump()

    def _start(self, call: Call) -> None:
        now = self.world.now
        self.calls += 1
        call.order, call.began, call.waiting = self.calls, now, True
        self.watch.submit(call)
        call.lane = self.pacer.find_lane(call.keys, call.rate)
        ticket = self.pacer.try_send(call.lane, now)
        if ticket is not None:
            call.ticket, ticket.item = ticket, call
            self.world.see("a call was sent at once")
            self._send(call, at_once=True)
        else:
            call.ticket = self.pacer.submit(call.lane, call, now, urgent=call.urgent)
        if self.cancelled and self.world.chance.random() < self.cancelled:
            self.world.at(now + self.world.chance.expovariate(0.5), self._give_up, call)

    def _pump(self) -> None:
        world, pacer = self.world, self.pacer
        while self._source and pacer.waiting < self.look_ahead:
            self._start(self._source.pop())
        going, again = pacer.take(world.now)
        for ticket in going:
            self._send_in_turn(ticket)
        self.watch.agree()
        if self._source and going and pacer.waiting < self.look_ahead:
            self._pump()
            return
        if again is not None:
            world.need(again > world.now, "P0", f"{self.name}: wakes at {again} without a pause")
            if self._alarm is None or again < self._alarm or self._alarm <= world.now:
                self._alarm = again
                world.at(again, self._wake, again)

    def _hand_over(self, lane: Lane) -> None:
        """Send the next call after a response, in the short way if the pacer knows it."""
        ticket = self.pacer.hand_over(lane, self.world.now)
        if ticket is None:
            self._pump()
            return
        self.world.see("a response handed its connection over")
        self._send_in_turn(ticket)
        self.watch.agree()
        if self._source:
            self._pump()

    def _send_in_turn(self, ticket: Ticket) -> None:
        call = ticket.item
        if not isinstance(call, Call) or not call.waiting:
            self.world.violate("P6", f"{self.name}: a cancelled call was sent")
        call.lane = ticket.lane
        self._send(call)

    def _wake(self, when: float) -> None:
        if self._alarm == when:
            self._alarm = None
            self.wakes += 1
            self._pump()

    def _send(self, call: Call, *, at_once: bool = False) -> None:
        world = self.world
        self.watch.send(call, at_once=at_once)
        call.waiting, call.sent_at = False, world.now
        call.tries += 1
        self.requests += 1
        world.tell(self.name, "send", call.order, *call.keys)
        out, work, back = self.service.latency.draw(world)
        if self.service.debits_late:
            out, work = out + work, 0.0
        world.at(world.now + out, self._arrive, call, call.tries, work + back)
        if self.lost and world.chance.random() < self.lost:
            world.at(world.now + min(LOST_AFTER, 2.0 * work), self._lose, call, call.tries)

    def _arrive(self, call: Call, attempt: int, rest: float) -> None:
        answer = self.service.serve(call.keys if call.found else call.keys + call.hidden)
        if answer.refused_by is not None:
            rest = 0.03
        self.world.at(self.world.now + rest, self._answer, call, attempt, answer)

    def _answer(self, call: Call, attempt: int, answer: Answer) -> None:
        if call.over or call.waiting or call.tries != attempt:
            return
        world, now = self.world, self.world.now
        self.watch.end(call)
        index = answer.refused_by
        if index is None:
            world.tell(
                self.name,
                "answer",
                call.order,
                answer.region,
                answer.counts and answer.counts[0][0],
            )
            self.watch.succeed(call)
            counts = answer.counts[: len(call.keys)] if answer.counts else ()
            self._record_success(call, counts)
            call.done_at = now
            self.done.append(call)
            self._end(call)
        elif index >= len(call.keys):
            self._find_limit(call, call.hidden[index - len(call.keys)], answer)
        else:
            world.tell(self.name, "429", call.order, call.keys[index], answer.wait)
            self.refused += 1
            self.watch.succeed(call, but=index)
            refusal = (index, answer.wait, answer.region)
            self.pacer.answered(call.ticket, now, (), refusal, world.chance.random())
            self.watch.refuse(call, index, answer.wait)
            call.waiting = True
            self.watch.resubmit(call)
            self.pacer.resubmit(call.ticket, now)
        self._hand_over(call.ticket.lane)

    def _record_success(self, call: Call, counts: Sequence[Count | None]) -> None:
        """Record a success; while no limit is near, leave most counts unread, as a session does."""
        lane = call.ticket.lane
        if self._unread[id(lane)] and self.pacer.count_success(call.ticket):
            self.world.see("the counts of a response were left unread")
            self._unread[id(lane)] -= 1
            return
        self.pacer.answered(call.ticket, self.world.now, counts)
        is_far = bool(counts) and self.pacer.is_far(lane, counts, self.unread)
        self._unread[id(lane)] = self.unread if is_far else 0

    def _find_limit(self, call: Call, key: Hashable, answer: Answer) -> None:
        """Learn of a limit that is none of the call's lane, as a session does."""
        world, now = self.world, self.world.now
        world.see("a limit was found by its 429")
        world.tell(self.name, "429 of a new limit", call.order, key, answer.wait)
        self.refused += 1
        self.watch.succeed(call)
        draw = world.chance.random()
        self.pacer.refused_by(key, now, call.sent_at, answer.wait, answer.region, draw)
        self.pacer.answered(call.ticket, now)
        meter = dict(self.pacer.iter_meters())[key]
        self.watch.limit(key).find(call.sent_at, answer.wait, meter)
        call.keys, call.found, call.waiting = (*call.keys, key), True, True
        call.ticket.lane = self.pacer.find_lane(call.keys, call.rate)
        self.watch.resubmit(call)
        self.pacer.resubmit(call.ticket, now)

    def _give_up(self, call: Call) -> None:
        if call.over:
            return
        if call.waiting:
            self.world.see("a waiting call was cancelled")
            self.pacer.cancel(call.ticket)
            self.watch.cancel(call)
            call.waiting = False
        else:
            self.world.see("a call was cancelled on its way")
            self.pacer.lost(call.ticket, self.world.now)
            self.watch.end(call)
        self.world.tell(self.name, "cancel", call.order)
        self._end(call)
        self._pump()

    def _lose(self, call: Call, attempt: int) -> None:
        if call.over or call.waiting or call.tries != attempt:
            return
        self.world.see("a request was lost")
        self.world.tell(self.name, "lost", call.order)
        self.pacer.lost(call.ticket, self.world.now)
        self.watch.end(call)
        self._end(call)
        self._pump()

    def _end(self, call: Call) -> None:
        call.over = True
        self.ended += 1
