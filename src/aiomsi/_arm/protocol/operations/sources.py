"""The meaning of one response to a poll of a long-running operation. Pure.

`READERS` has a method for each kind of source (`Progress.reads`). `PollReader.read_error` reads an
error response, and `PollReader.read_fallback` the resource in place of a source. Each method
returns the progress after the response, or None if the response has no meaning for the operation.

Source: https://github.com/Azure/azure-resource-manager-rpc/blob/master/v1.0/async-api-reference.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from aiomsi._arm.protocol.attempts import is_successful_404
from aiomsi._arm.protocol.body import (
    RUNNING_STATES,
    Poll,
    get_text,
    has_error,
    is_bare_error,
    is_deleted,
    is_record,
    is_running,
    read_percent,
    sounds_final,
)
from aiomsi._arm.protocol.errors.detail import parse_detail
from aiomsi._arm.protocol.links import (
    is_operation_url,
    is_same_except_signature,
    is_same_path,
    resolve_link,
)
from aiomsi._arm.protocol.operations.operation_state import (
    MAX_FAILED_POLLS,
    OperationOutcome,
    Progress,
)
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._clouds import Cloud
from aiomsi._errors import ForeignHostError

Contains: TypeAlias = Callable[[object], bool | None]
"""Returns whether a decoded resource holds the members of the request; None without members."""

WRITES = frozenset({"PUT", "PATCH"})
_MISSING = MAX_FAILED_POLLS // 10
"""The weight of a poll that finds no record.

With the waits of `get_wait`, ten such polls take longer than a minute, which is the contract's
default pause before the first poll.
"""
_MISSING_BESIDE_LOCATION = MAX_FAILED_POLLS // 5
_MAX_FALLBACKS = 3
"""Failed GETs of the resource, in place of its source, after which polling stops."""
_TEMPORARY = frozenset({401, 408, 425, 429})


def count_failed_poll(
    progress: Progress, weight: int = 1, *, read_resource: bool = False
) -> Progress:
    """Return the progress after a poll that could not be read, for example without a response.

    The poll counts as `weight` failed ones. With `read_resource`, the next GET reads the resource
    in place of the source. The same happens before polling stops.
    """
    if progress.fallback:
        again = progress.failed_polls >= MAX_FAILED_POLLS and progress.fallback < _MAX_FALLBACKS
        return attrs.evolve(progress, fallback=progress.fallback + 1 if again else 0)
    total = progress.failed_polls + weight
    shown = progress.reads in ("operation", "location") and (
        progress.method in WRITES or progress.method == "DELETE"
    )
    fallback = int(shown and (read_resource or total >= MAX_FAILED_POLLS))
    return attrs.evolve(progress, step=progress.step + 1, failed_polls=total, fallback=fallback)


@attrs.frozen
class PollReader:
    """One response to a poll, with the values that its meaning depends on.

    The methods return the progress after the response.

    Attributes:
        cloud: the cloud whose ARM the links must be on.
        progress: the progress before the response.
        poll: the response.
        contains: the comparison of the resource with the request's body; None if that is unknown.
        waited: the seconds from the previous response to the poll.

    """

    cloud: Cloud
    progress: Progress
    poll: Poll
    contains: Contains | None = None
    waited: float = 0.0

    # The operation's own record

    def read_record(self) -> Progress | None:
        """Read the operation's own record."""
        return (
            self._read_stateless() if self.poll.record_state is None else self.read_record_state()
        )

    def read_record_state(self) -> Progress:
        """Read a record that has a state."""
        poll, before = self.poll, self.progress
        progress = attrs.evolve(
            before,
            status=poll.record_state or "",
            percent=read_percent(poll.document, before.percent),
        )
        if poll.outcome is None:
            rests = (progress.status, progress.percent) == (before.status, before.percent)
            rests = rests and sounds_final(progress.status)
            return attrs.evolve(progress, rested=before.rested + self.waited if rests else 0.0)
        return (
            self._succeed(progress)
            if poll.outcome == "succeeded"
            else finish(progress, poll.outcome, poll.response)
        )

    def _read_stateless(self) -> Progress | None:
        """Read a response without a record's state.

        Some services respond with the resource, or with 204 as at the URL of a `Location`. A
        response of 200 without a state breaks the contract, even at the URL of a `Location`.
        """
        poll, progress = self.poll, self.progress
        if poll.status == 202:
            return progress
        if has_error(poll.document):
            return finish(attrs.evolve(progress, status="Failed"), "failed", poll.response)
        if poll.shows(progress.url):
            return self._read_deleting() if progress.method == "DELETE" else self._end_by_state()
        if poll.status == 204 and (progress.method == "POST" or _names_record(progress)):
            return self._succeed(attrs.evolve(progress, status="Succeeded"))
        return None

    def _read_deleting(self) -> Progress | None:
        state = self.poll.resource_state
        return (
            attrs.evolve(self.progress, status=state, changing=True)
            if state and is_running(state)
            else None
        )

    # Location

    def read_location(self) -> Progress | None:
        """Read the response of a `Location`."""
        poll = self.poll
        progress = attrs.evolve(
            self.progress, percent=read_percent(poll.document, self.progress.percent)
        )
        if poll.status == 202:
            newest = find_link(self.cloud, poll.response, "Location") or progress.source
            return attrs.evolve(
                progress,
                status=poll.record_state or progress.status,
                source=newest,
                location=newest,
            )
        if progress.method != "POST" and (poll.is_unreadable or poll.lacks_state):
            return None
        if (ended := self._read_record_at_location(progress)) is not None:
            return ended
        if progress.method in WRITES and is_same_path(progress.source or "", progress.url):
            return self._end_by_state()
        if is_running(poll.resource_state) and progress.method != "POST":
            # The response is a resource that is still being changed.
            progress = attrs.evolve(
                progress, status=poll.resource_state or progress.status, changing=True
            )
            return attrs.evolve(progress, reads="resource", source=progress.url, step=0)
        return self._succeed(attrs.evolve(progress, status="Succeeded"))

    def _read_record_at_location(self, progress: Progress) -> Progress | None:
        """Read a record in the response of a `Location`; None without one, or if it succeeded."""
        poll = self.poll
        is_error = is_bare_error if progress.method == "POST" else is_record
        if has_error(poll.document) and is_error(poll.document) and poll.record_state is None:
            return finish(attrs.evolve(progress, status="Failed"), "failed", poll.response)
        if poll.record_state is None or not (poll.is_record or has_error(poll.document)):
            return None
        if poll.outcome in ("failed", "canceled"):
            return finish(
                attrs.evolve(progress, status=poll.record_state), poll.outcome, poll.response
            )
        running = poll.is_record and (
            poll.record_state.lower() in RUNNING_STATES or is_running(poll.record_state)
        )
        return attrs.evolve(progress, status=poll.record_state) if running else None

    # The resource

    def read_resource(self) -> Progress | None:
        """Read the resource."""
        poll, progress = self.poll, self.progress
        if poll.status == 200 and not isinstance(poll.document, dict):
            return None
        if progress.method == "DELETE":
            if poll.status == 204 or is_deleted(poll.resource_state):
                return _finish_deletion(progress)
            outcome = poll.resource_outcome if progress.changing else None
            return self._end(outcome) if outcome in ("failed", "canceled") else self._continue()
        outcome = poll.resource_outcome
        if poll.resource_state is None:
            # For a resource without a state, 200 means the end, and 201 and 202 do not.
            outcome = None if poll.status in (201, 202) else "succeeded"
        if outcome is None or poll.status == 202:
            return self._continue()
        conclusive = (
            progress.created
            or progress.changing
            or (progress.method == "PUT" and outcome != "succeeded")
        )
        if outcome == "succeeded":
            # Without a request body to compare with, the state is the best evidence.
            conclusive = conclusive or self._compare() is not False
        return self._end(outcome) if conclusive else self._continue()

    def _end_by_state(self) -> Progress | None:
        """Read a resource that the operation's source returned, whose state is the operation's."""
        poll = self.poll
        if poll.status == 200 and not isinstance(poll.document, dict):
            return None
        if poll.resource_state is not None and poll.resource_outcome is None:
            return attrs.evolve(self.progress, status=poll.resource_state, changing=True)
        return self._end(poll.resource_outcome or "succeeded")

    def _continue(self) -> Progress:
        """Continue, and count the seconds in which the resource's state has not meant a change."""
        poll, progress = self.poll, self.progress
        status = poll.resource_state or progress.status
        moves = is_running(poll.resource_state) or poll.status == 202 or status != progress.status
        changing = progress.changing or (
            poll.resource_state is not None and poll.resource_outcome is None
        )
        return attrs.evolve(
            progress,
            status=status,
            changing=changing,
            rested=0.0 if moves else progress.rested + self.waited,
        )

    def _compare(self) -> bool | None:
        return None if self.contains is None else self.contains(self.poll.document)

    def _end(self, outcome: OperationOutcome) -> Progress:
        ended = attrs.evolve(
            self.progress, status=self.poll.resource_state or "Succeeded", fallback=0
        )
        return finish(ended, outcome, self.poll.response)

    # The result

    def read_result(self) -> Progress | None:
        """Read the result of an operation that has succeeded."""
        return (
            self.progress
            if self.poll.status == 202
            else finish(self.progress, "succeeded", self.poll.response)
        )

    def _succeed(self, progress: Progress) -> Progress:
        url = self._result_url()
        if url is None or url == progress.source:
            return finish(progress, "succeeded", self.poll.response)
        return attrs.evolve(progress, reads="result", source=url, step=0)

    def _result_url(self) -> str | None:
        """Return the URL of a successful operation's result; None if this response has it."""
        progress = self.progress
        writes = progress.method in WRITES
        if progress.via == "original-uri" and writes:
            return progress.url
        if progress.reads == "location":
            return None
        if progress.via == "location" and progress.location is not None:
            return progress.location
        if progress.method == "DELETE" or (
            progress.method == "POST" and progress.via is not None and progress.via != "location"
        ):
            return None
        link = get_text(self.poll.document, "resourceLocation")
        if (
            link is not None
            and (url := _resolve_link(self.cloud, link, self.poll.response.url)) is not None
        ):
            return url
        if writes:
            return progress.url
        return None if _names_record(progress) else progress.location

    # Polls that could not be read

    def read_error(self) -> Progress:
        """Read an error response to a poll, or a redirect."""
        progress, status = self.progress, self.poll.status
        if status in (404, 410):
            return self._read_missing()
        if status in _TEMPORARY or status >= 500:
            return count_failed_poll(progress, 0 if status == 429 else 1)
        if progress.reads == "location" and status >= 400 and status != 403:
            return finish(attrs.evolve(progress, status="Failed"), "failed", self.poll.response)
        failed = count_failed_poll(progress, MAX_FAILED_POLLS)
        return _switch_to_location(failed) if status == 403 else failed

    def _read_missing(self) -> Progress:
        progress = self.progress
        if (
            progress.method == "DELETE"
            and (progress.answered or progress.reads == "resource")
            and self._is_gone()
        ):
            return _finish_deletion(progress)
        if progress.reads == "resource":
            # A resource may respond 404 until its creation is complete.
            return count_failed_poll(progress)
        weight = _MISSING if _find_other_location(progress) is None else _MISSING_BESIDE_LOCATION
        failed = count_failed_poll(progress, weight, read_resource=True)
        return _switch_to_location(failed) if failed.failed_polls >= MAX_FAILED_POLLS else failed

    def _is_gone(self) -> bool:
        return is_successful_404(
            "DELETE", 404, parse_detail(self.poll.document).code, doubtful=True
        )

    def read_fallback(self) -> Progress:
        """Read the resource in place of the operation's source."""
        progress, poll = self.progress, self.poll
        if poll.status in _TEMPORARY or poll.status >= 500:
            return count_failed_poll(progress)
        source_again = attrs.evolve(progress, fallback=0)
        if progress.method == "DELETE" and (
            is_deleted(poll.resource_state) or (poll.status in (204, 404, 410) and self._is_gone())
        ):
            return _finish_deletion(progress)
        if poll.status != 200 or not isinstance(poll.document, dict):
            return source_again
        if is_running(poll.resource_state):
            return attrs.evolve(
                source_again,
                status=poll.resource_state or source_again.status,
                changing=True,
                failed_polls=0,
            )
        outcome = poll.resource_outcome
        if poll.resource_state is None and progress.failed_polls >= MAX_FAILED_POLLS:
            # The type has no state, and no other source is left.
            outcome = "succeeded"
        if outcome in ("failed", "canceled"):
            conclusive = (
                progress.created
                or progress.changing
                or (progress.method == "PUT" and self._compare() is True)
            )
        else:
            conclusive = progress.method in WRITES and (progress.created or self._compare() is True)
        if outcome is not None and conclusive:
            return self._end(outcome)
        if progress.failed_polls >= MAX_FAILED_POLLS and (
            progress.method == "DELETE" or progress.created
        ):
            # No other source is left, and the resource's own state shows the end.
            status = poll.resource_state or source_again.status
            return attrs.evolve(
                source_again,
                reads="resource",
                source=source_again.url,
                status=status,
                failed_polls=0,
                step=0,
            )
        return source_again


READERS: dict[str, Callable[[PollReader], Progress | None]] = {
    "operation": PollReader.read_record,
    "location": PollReader.read_location,
    "resource": PollReader.read_resource,
    "result": PollReader.read_result,
}


def _finish_deletion(progress: Progress) -> Progress:
    return attrs.evolve(progress, outcome="succeeded", status="Succeeded", fallback=0)


def finish(progress: Progress, outcome: OperationOutcome, response: ArmResponse) -> Progress:
    """Return the progress of an operation that ended with this response: a result or a failure."""
    return attrs.evolve(progress, outcome=outcome, final_response=response)


# Links


def get_header(response: ArmResponse, name: str) -> str:
    """Return a header without surrounding spaces; empty if the response lacks it."""
    return (response.headers.get(name) or "").strip()


def find_link(cloud: Cloud, response: ArmResponse, name: str) -> str | None:
    """Return the URL in a header; None without one on the cloud's ARM."""
    link = get_header(response, name)
    return _resolve_link(cloud, link, response.url) if link else None


def _resolve_link(cloud: Cloud, link: str, base: str) -> str | None:
    try:
        return resolve_link(cloud, link, base)
    except ForeignHostError:
        return None


def _names_record(progress: Progress) -> bool:
    """Return whether `Location` is the URL of the record, so that it leads to no result."""
    return is_same_except_signature(progress.location or "", progress.source or "")


def _find_other_location(progress: Progress) -> str | None:
    """Return a `Location` that names the operation and differs from its record; None without."""
    link = progress.location
    if (
        progress.reads != "operation"
        or link in (None, progress.source)
        or not is_operation_url(link, progress.url)
    ):
        return None
    return link


def _switch_to_location(progress: Progress) -> Progress:
    """Poll `Location` in place of a record that can't be read, if it names the operation."""
    link = _find_other_location(progress)
    return (
        progress
        if link is None
        else attrs.evolve(
            progress, reads="location", source=link, step=0, failed_polls=0, fallback=0
        )
    )
