"""The verdicts on Microsoft's test server; `nox -s conformance` runs the server itself."""

import asyncio
from collections import Counter

import attrs
import pytest
from conformance.run import print_verdicts, read_port
from conformance.scenarios import LISTED, SCENARIOS, Scenario, get, repeat_once
from conformance.verdicts import Ended, find_undriven, judge

from aiomsi import ArmAttempt, ConfigurationError

GOOD = Scenario("LROGood", get("/x"), (1,), also=("LROToo",))
BAD = Scenario("PagingBad", get("/x"), (1,), ConfigurationError)
COUNTS = {"LROGood": 1, "LROToo": 2, "PagingBad": 1}


@pytest.mark.parametrize(
    ("scenario", "ended"),
    [(GOOD, Ended((1,))), (BAD, Ended((1,), ConfigurationError("x")))],
    ids=["given", "raised"],
)
def test_what_ends_as_it_has_to_passes(scenario: Scenario, ended: Ended) -> None:
    verdict = judge(scenario, ended, COUNTS, None)
    assert (verdict.word, verdict.bad) == ("passed", False)
    verdict = judge(scenario, ended, COUNTS, "for a reason")
    assert (verdict.word, verdict.bad, verdict.why) == ("STALE", True, "for a reason")


@pytest.mark.parametrize(
    ("scenario", "ended", "counts", "why"),
    [
        (GOOD, Ended((2,)), COUNTS, "gave (2,)"),
        (GOOD, Ended((1,), TimeoutError()), COUNTS, "raised TimeoutError()"),
        (GOOD, Ended((1,)), {"LROGood": 1}, "not counted: LROToo"),
        (BAD, Ended((1,)), COUNTS, "raised nothing, and gave (1,)"),
        (BAD, Ended((), ConfigurationError("x")), COUNTS, "gave ()"),
        (BAD, Ended((1,), ValueError("x")), COUNTS, "raised ValueError('x')"),
        (
            Scenario("x", get("/x"), (1,), ConfigurationError, 400),
            Ended((1,), ConfigurationError("x")),
            {},
            "status None",
        ),
    ],
)
def test_what_ends_otherwise_has_failed(
    scenario: Scenario, ended: Ended, counts: dict[str, int], why: str
) -> None:
    verdict = judge(scenario, ended, counts, None)
    assert (verdict.word, verdict.bad) == ("FAILED", True)
    assert why in verdict.why
    assert not judge(scenario, ended, counts, "for a reason").bad


def test_what_nobody_drives_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    missing = find_undriven([GOOD], ["LROGood", "LROToo", "PagingNew", "AzureODataFilter"])
    assert [(verdict.name, verdict.word, verdict.bad) for verdict in missing] == [
        ("PagingNew", "MISSING", True)
    ]
    print_verdicts(missing)
    assert (
        capsys.readouterr().out
        == "MISSING   PagingNew  no scenario drives it\n1 scenarios: 1 MISSING\n"
    )


def test_exceptions_are_few_and_each_is_a_scenario() -> None:
    names = Counter(name for scenario in SCENARIOS for name in (scenario.name, *scenario.also))
    assert set(names.values()) == {1}
    assert set(LISTED) <= set(names)
    assert len(LISTED) <= 8


def test_a_post_is_repeated_once() -> None:
    post = ArmAttempt("POST", 1, 0.0, status=500)
    assert repeat_once(post) == 0
    assert repeat_once(attrs.evolve(post, number=2)) is None
    assert repeat_once(attrs.evolve(post, status=409)) is None
    assert repeat_once(attrs.evolve(post, method="GET", reads=True)) is not None


async def start_server(*lines: str) -> int:
    output = asyncio.StreamReader()
    for line in lines:
        output.feed_data(line.encode())
    output.feed_eof()
    return await read_port(output)


def test_the_server_says_where_it_listens() -> None:
    assert (
        asyncio.run(
            start_server(
                "info: Registering route get /x\n",
                "\x1b[32minfo\x1b[39m: Started server on port 4711\n",
            )
        )
        == 4711
    )
    with pytest.raises(RuntimeError, match="Cannot find module"):
        asyncio.run(start_server("Error: Cannot find module 'express'\n"))
