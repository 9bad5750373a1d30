"""The nine checks of a client of ARM on recorded traffic, with the number of passed cases.

A case is one recorded thing: an operation, a chain of pages, a header. Several tests may
check the same case, which passes if all of them pass. A failed case does not end its test, so that
the numbers are complete; the test fails at its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

CHECKS = {
    1: "operations with a known end reach it with the recorded requests",
    2: "links are on the cloud's ARM, or are refused",
    3: "chains of pages are walked by their links to the letter, and give all items",
    4: "error answers are exceptions with status, code and message",
    5: "headers with remaining counts are put down to buckets",
    6: "answers that ask to be left alone for a while are understood",
    7: "missing registrations name their namespace",
    8: "resource ids round-trip, and compare without case",
    9: "walks over 2.4 MB pages of 5,155 items hold one page in memory",
}
_MOST_TEXT = 300

_cases: dict[int, dict[str, bool]] = {check: {} for check in CHECKS}
_notes: dict[int, list[str]] = {check: [] for check in CHECKS}
_failures: list[str] = []


@contextmanager
def count_case(check: int, where: str) -> Iterator[None]:
    """Count the body of the `with` block as one case of a check; `where` names it."""
    before = _cases[check].setdefault(where, True)
    _cases[check][where] = False
    try:
        yield
    except Exception as error:  # noqa: BLE001 (reported at the end of the test)
        # The whole text may show signed URLs.
        _failures.append(f"{where}: {type(error).__name__}: {str(error)[:_MOST_TEXT]}")
    else:
        _cases[check][where] = before


def set_aside(check: int, where: str, why: str) -> None:
    """Count a case as not passed, for a reason that is no fault."""
    _cases[check][where] = False
    _notes[check].append(f"{where}: {why}")


def take_failures() -> list[str]:
    """Return the failures since the last call."""
    told = list(_failures)
    _failures.clear()
    return told


def format_table() -> list[str]:
    """Return the checks with the numbers of passed cases; empty if no case ran."""
    if not any(_cases.values()):
        return []
    lines = []
    for check, what in CHECKS.items():
        tried = _cases[check]
        lines.append(f"{check}  {sum(tried.values()):>6,} of {len(tried):>6,}  {what}")
        lines += [f"{'':19}  not {note}" for note in _notes[check]]
    return lines
