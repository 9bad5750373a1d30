"""A long-running operation: polled as `_polling` says, until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from aiomsi._errors import ArmConnectionError, OperationUnfinishedError, TokenUnavailableError
from aiomsi.arm._call import Call
from aiomsi.arm._polling import advance, begin, failure_of, missed, unreadable, wait_before
from aiomsi.arm._progress import FinalStateVia, Progress, checked_via
from aiomsi.arm._requests import NO_OPTIONS, Options, options_of_polls
from aiomsi.arm._settling import Unsettled
from aiomsi.arm._waits import asked_wait
from aiomsi.arm._wire import Wire


class Operation:
    """What ARM has accepted and goes on with by itself, whether it is watched or not.

    Made by `ArmSession.begin` and `ArmSession.resume`. Whoever waits for its result polls it; of several who wait, one at a time.
    Cancelling the wait, or dropping this object, stops the polling and not the operation.

    Source: https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
    """

    def __init__(
        self,
        wire: Wire,
        progress: Progress,
        asked: float | None = None,
        options: Options = NO_OPTIONS,
        unsettled: Unsettled | None = None,
    ) -> None:
        self._wire = wire
        self._progress = progress
        self._options = options
        # What the last answer asked to be waited, and how many there were.
        self._asked = asked
        self._looks = 0
        # A call that may not have begun this operation. It is no part of the state that is saved.
        self._unsettled = unsettled
        self._polling = asyncio.Lock()

    @property
    def done(self) -> bool:
        """Whether it is over, well or not."""
        if self._unsettled is not None and self._unsettled.is_to_be_repeated(self._progress):
            return False
        return self._progress.outcome is not None

    @property
    def status(self) -> str:
        """The service's last word for its state, for example ``"Running"``."""
        return self._progress.status

    @property
    def percent_complete(self) -> float | None:
        """How far it is, as far as the service says."""
        return self._progress.percent

    def state(self) -> dict[str, Any]:
        """Give what `ArmSession.resume` needs to go on, in another process too: plain JSON values.

        Keep it as you keep a secret: it may have signed URLs, and has the result once the operation is over. The doubt of which
        `result` speaks is not in it.
        """
        return self._progress.to_dict()

    async def result(self, *, deadline: float | None = None, on_progress: Callable[[Operation], object] | None = None) -> Any:
        """Wait for the end and give the result: decoded JSON, or None where there is none.

        Args:
            deadline: seconds after which to stop waiting; the operation goes on. It ends the wait at once where the service asks
                to be left alone for longer.
            on_progress: called with this operation after every answer.

        Raises:
            OperationFailedError: it has failed; with the service's reasons.
            OperationCanceledError: it was canceled.
            OperationUnfinishedError: it was not over by the deadline.
            ArmError: its state can't be read; it may well go on.
            ArmConnectionError: the same, for want of an answer.

        If the response to the call was lost and its resource was then being changed, the resource is compared with
        the call at the end of that change. If they differ, an unconditional call is sent again; the error of any
        other call is raised after all.
        """
        until = None if deadline is None else self._wire.clock.monotonic() + deadline
        # Answers, and the turns of others who wait, take real time, whatever the session's clock is.
        scope = asyncio.timeout(deadline)
        try:
            async with scope:
                await self._follow(until, on_progress)
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self._unfinished() from error
        failure, answer = failure_of(self._progress), self._progress.answer
        doubt = None if self._unsettled is None else self._unsettled.error(self._progress)
        if doubt is not None:
            raise doubt from failure
        if failure is not None:
            raise failure
        if answer is None or (self._progress.method == "DELETE" and self._progress.reads == "operation"):
            # A deletion's record tells that it is over, and nothing that it brought.
            return None
        return answer.json()

    async def _follow(self, until: float | None, on_progress: Callable[[Operation], object] | None) -> None:
        """Poll until it is over, in turns with others who wait."""
        known = self._looks
        while not self.done:
            async with self._polling:
                await self._look(known, until)
            if on_progress is not None and self._looks != known:
                on_progress(self)
            known = self._looks

    async def _look(self, known: int, until: float | None) -> None:
        """Look how it stands, unless somebody else did so while this one waited for its turn."""
        unsettled = self._unsettled
        if self._looks != known:
            return
        if unsettled is not None and unsettled.is_to_be_repeated(self._progress):
            response, self._unsettled = await unsettled.repeat()
            self._asked = asked_wait(response.status, response.headers, None, self._wire.clock.wall())
            self._progress = begin(self._wire.cloud, response, self._progress.via)
        else:
            await self._pause(until)
            await self._poll(self._progress.next_url or "")
        self._looks += 1

    async def _pause(self, until: float | None) -> None:
        clock = self._wire.clock
        wait = wait_before(self._progress, self._asked)
        if until is not None and clock.monotonic() + wait > until:
            raise self._unfinished()
        await self._wire.pause(wait)

    async def _poll(self, url: str) -> None:
        """Ask once how it stands."""
        wire = self._wire
        call, timeout = wire.prepare("GET", url, self._options), self._options.timeout
        try:
            async with asyncio.timeout(timeout):
                response = await wire.exchange(call)
        except (ArmConnectionError, TokenUnavailableError, TimeoutError) as error:
            self._progress, self._asked = missed(self._progress), None
            if not self._progress.gave_up:
                return
            if isinstance(error, TimeoutError):
                raise wire.no_answer(call, f"no answer within {timeout} s") from error
            raise
        self._asked = asked_wait(response.status, response.headers, None, wire.clock.wall())
        self._progress = advance(wire.cloud, self._progress, response)
        if self._progress.gave_up:
            raise unreadable(self._progress, response, wall=wire.clock.wall())

    def _unfinished(self) -> OperationUnfinishedError:
        msg = f"the operation was not over in time: {self._progress.status}"
        return OperationUnfinishedError(msg, help="It goes on; wait for it again, or save its state and resume it later")

    def __repr__(self) -> str:
        return f"<Operation {self._progress!r}>"


async def begun(wire: Wire, call: Call, options: Options, via: FinalStateVia | None) -> Operation:
    """Send a call, and give the operation that it has begun; errors as for `ArmSession.begin`."""
    checked_via(via)
    response = await wire.send(call, options.timeout)
    asked = asked_wait(response.status, response.headers, None, wire.clock.wall())
    unsettled = None if call.unsettled is None else Unsettled(wire, call, options.timeout)
    return Operation(wire, begin(wire.cloud, response, via), asked, options_of_polls(options), unsettled)


def resumed(wire: Wire, state: Mapping[str, Any]) -> Operation:
    """Go on with an operation that was saved; errors as for `ArmSession.resume`."""
    return Operation(wire, Progress.from_dict(wire.cloud, state))
