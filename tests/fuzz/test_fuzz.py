"""The parsers raise documented exceptions alone, for bytes that hypothesis chooses."""

import random
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")

from fuzz.reader import Reader
from fuzz.targets import TARGETS, Target
from hypothesis import given, settings
from hypothesis import strategies as st

# On Python 3.14, which counts references differently, hypothesis doubts a generator of its own.
pytestmark = pytest.mark.filterwarnings("ignore:It looks like `register_random`")

CRASHERS = Path(__file__).parent / "crashers"
EXAMPLES = 40


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_parser_raises_documented_exceptions_alone(target: Target) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(data=st.binary(max_size=256))
    def run(data: bytes) -> None:
        target.run(Reader(data))

    run()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (target, path)
        for target in TARGETS
        for path in sorted(CRASHERS.glob(f"{target.name}/*"))
        if path.is_file()
    ],
    ids=lambda value: value.name,
)
def test_bytes_that_made_a_parser_fail_no_longer_do(target: Target, path: Path) -> None:
    target.run(Reader(path.read_bytes()))


def test_reader_makes_equal_values_of_equal_bytes() -> None:
    data = random.Random(1).randbytes(512)
    assert Reader(data).value() == Reader(data).value()


def test_reader_without_bytes_ends() -> None:
    reader = Reader(b"")
    assert (reader.value(), reader.body(), reader.text(), reader.left) == ("", b"", "", 0)


def test_target_that_raises_another_exception_fails() -> None:
    broken = Target("broken", lambda reader: reader.object()["missing"])
    with pytest.raises(KeyError):
        broken.run(Reader(b"\x00"))
