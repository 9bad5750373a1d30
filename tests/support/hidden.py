"""A search for secrets in errors: texts, causes and contexts, and the locals of their frames."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

TESTS = str(Path(__file__).parents[1])


def iter_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its causes and its contexts."""
    met, pending = set[int](), [error]
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in met:
            met.add(id(one))
            yield one
            pending += [one.__cause__, one.__context__]


def iter_shown(error: BaseException) -> Iterator[tuple[str, str, str]]:
    """Yield the texts of an error, and the locals of all its frames except the tests' own."""
    for one in iter_chain(error):
        attributes = {name: value for name, value in vars(one).items() if name != "operation"}
        yield type(one).__name__, "text", f"{one} {one!r} {attributes}"
        trace: TracebackType | None = one.__traceback__
        while trace is not None:
            frame, trace = trace.tb_frame, trace.tb_next
            if not frame.f_code.co_filename.startswith(TESTS):
                for name, value in frame.f_locals.items():
                    yield frame.f_code.co_qualname, name, _show(value)


def _show(value: object) -> str:
    try:
        return repr(value)
    except AttributeError:
        # In a frame of its constructor, an object is not complete yet.
        return ""


def check_frames(error: BaseException, *secrets: str) -> None:
    """Fail if a secret is in a text of an error or in a local of its frames."""
    assert secrets
    places = [
        (where, name, secret)
        for where, name, text in iter_shown(error)
        for secret in secrets
        if secret in text
    ]
    assert places == []
