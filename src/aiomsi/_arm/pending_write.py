"""Writes whose response was lost while their resource was being changed.

The change may be that of the write or of another client. At its end the resource is compared with
the write. If they differ, an unconditional write is repeated, and the error of any other write is
raised.
"""

from __future__ import annotations

import copy

from aiomsi._arm.call import Call
from aiomsi._arm.protocol.body import decode_body
from aiomsi._arm.protocol.operations.operation_state import Progress
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.write_check import WriteStatus, compare
from aiomsi._arm.sender import Sender
from aiomsi._errors import ArmConnectionError, ArmError


class PendingWrite:
    """A call whose outcome is unknown, while its resource is polled.

    Args:
        sender: sends the repetition.
        call: the call, with the error in `Call.pending_error`.
        timeout: seconds for the repetition.

    Attributes:
        call: as passed.

    """

    def __init__(self, sender: Sender, call: Call, timeout: float | None) -> None:
        self._sender = sender
        self.call = call
        self._timeout = timeout
        self._error = call.pending_error
        self._repeats = call.method != "DELETE" and call.is_repeatable

    def is_to_be_repeated(self, progress: Progress) -> bool:
        """Return whether the polling has ended and the call must be sent again."""
        return self._repeats and progress.outcome is not None and not self.is_settled(progress)

    def error(self, progress: Progress) -> ArmError | ArmConnectionError | None:
        """Return a copy of the call's error if the resource differs from the write."""
        return None if self._error is None or self.is_settled(progress) else copy.copy(self._error)

    async def repeat(self) -> tuple[ArmResponse, PendingWrite | None]:
        """Send the call again, once.

        Return the response, and a `PendingWrite` if its outcome is unknown too.
        """
        call, sender = self.call, self._sender
        call.renew_budget(sender.connection.clock.monotonic())
        try:
            response = await sender.send(call, self._timeout)
        finally:
            self._repeats = False
        return response, None if call.pending_error is None else PendingWrite(
            sender, call, self._timeout
        )

    def is_settled(self, progress: Progress) -> bool:
        """Return whether the polling has ended with the resource that the call requested."""
        call, response = self.call, progress.final_response
        if call.method == "DELETE":
            return progress.outcome == "succeeded"
        return (
            response is not None
            and compare(call.method, call.sent, response.status, decode_body(response))
            is WriteStatus.DONE
        )
