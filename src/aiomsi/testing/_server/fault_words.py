"""`parse_faults`: a sequence of faults in words, such as ``"503 twice, reset, ok, 429 after 2 s"``.

A step is a status, ``reset``, ``garbage``, ``truncate``, ``hang``, ``delay 0.5 s`` or ``ok``, which
lets a request through. ``once``, ``twice`` or ``3 times`` repeats it. ``429 after 2 s`` has that
``Retry-After``. Steps are separated by commas, or by ``then``.
"""

from __future__ import annotations

import re

from aiomsi.testing._server.faults import Fault

_STEP = re.compile(
    r"(?P<what>\d{3}|reset|garbage|truncate|hang|delay (?P<seconds>[\d.]+) s|ok)"
    r"(?: after (?P<after>\d+) s)?"
    r"(?: (?P<times>once|twice|\d+ times))?",
)
_TIMES = {None: 1, "once": 1, "twice": 2}


def parse_faults(words: str) -> list[tuple[Fault, int]]:
    """Return the faults, each with the number of requests that meet it.

    Raises:
        ValueError: a step is none of those above.

    """
    steps = re.split(r"\s*,\s*(?:then\s+)?|\s+then\s+", words.strip())
    return [_parse_step(step) for step in steps]


def _parse_step(step: str) -> tuple[Fault, int]:
    found = _STEP.fullmatch(step)
    if found is None or (found["after"] and not found["what"].isdigit()):
        msg = f"{step!r} is no fault; write for example '503 twice', 'reset' or '429 after 2 s'"
        raise ValueError(msg)
    times = found["times"]
    return _make_fault(found), _TIMES[times] if times in _TIMES else int(times.split()[0])


def _make_fault(found: re.Match[str]) -> Fault:
    what, after = found["what"], found["after"]
    if what.isdigit():
        return Fault(int(what), {"Retry-After": after} if after else {})
    if found["seconds"] is not None:
        return Fault.delay(float(found["seconds"]))
    if what == "ok":
        return Fault.delay(0.0)
    made: Fault = getattr(Fault, what)()
    return made
