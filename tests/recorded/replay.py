"""A recorded operation, replayed: each poll of the pure machine is looked up in the record."""

import attrs
from recorded.sequences import Step, find_cloud, normalize_url

from aiomsi._arm.protocol.operations.operation_state import FinalStateVia, Progress
from aiomsi._arm.protocol.operations.polling import advance, begin


@attrs.define
class Replay:
    """The outcome of a replay.

    Attributes:
        progress: the last state of the machine.
        unrecorded: the GET that is not in the record and ended the replay; None without one.
        asked: the requested URLs, in order.
        strict: whether each request was the next recorded one.
        older: the number of times that the recorded client used an older link of the operation.

    """

    progress: Progress
    unrecorded: str | None = None
    asked: list[str] = attrs.Factory(list)
    strict: bool = True
    older: int = 0


def replay(steps: tuple[Step, ...], via: FinalStateVia | None) -> Replay:
    """Run the machine over a sequence; each URL's responses are used in order, each one once."""
    cloud, left = find_cloud(steps), list(steps[1:])
    found = Replay(begin(cloud, steps[0].response, via))
    while left and not found.progress.gave_up and (url := found.progress.next_url) is not None:
        found.asked.append(url)
        step, older = find(left, url)
        found.older += older
        if step is None:
            found.unrecorded = url
            return found
        found.strict &= step is left[0]
        left.remove(step)
        found.progress = advance(cloud, found.progress, attrs.evolve(step.response, url=url))
    if found.progress.next_url is not None and not found.progress.gave_up:
        found.unrecorded = found.progress.next_url
    return found


def find(left: list[Step], url: str) -> tuple[Step | None, bool]:
    """Return the recorded response to a GET, and whether it is that of an older link."""
    gets = [step for step in left if step.response.method == "GET"]
    for signed in (True, False):
        wanted = normalize_url(url, signed=signed)
        for step in gets:
            if normalize_url(step.response.url, signed=signed) == wanted:
                return step, not signed
    # The polls between were left out of the recording, with the links that led from each to the
    # next.
    if (
        left
        and left[0].line.get("elided_before")
        and normalize_url(left[0].response.url, signed=False)[:2] == normalize_url(url)[:2]
    ):
        return left[0], False
    return None, False


def read_elsewhere(steps: tuple[Step, ...]) -> bool:
    """Return whether the recorded client read `Location` although the response named a record."""
    headers = steps[0].response.headers
    record, location = headers.get("Azure-AsyncOperation"), headers.get("Location")
    if record is None or location is None or len(steps) < 2:
        return False
    return normalize_url(steps[1].response.url) == normalize_url(location) != normalize_url(record)


def find_recorded_via(steps: tuple[Step, ...]) -> FinalStateVia | None:
    """Return where the recorded client read the result after the record had reported success."""
    done = next(
        (number for number, step in enumerate(steps) if step.line.get("poll_state") == "Succeeded"),
        None,
    )
    method, location = steps[0].response.method, steps[0].response.headers.get("Location")
    if done is None or location is None or "Azure-AsyncOperation" not in steps[0].response.headers:
        return None
    after = [normalize_url(step.response.url) for step in steps[done + 1 :]]
    if normalize_url(location) in after and (
        method == "POST" or normalize_url(steps[0].response.url) not in after
    ):
        return "location"
    return "azure-async-operation" if method == "POST" else None
