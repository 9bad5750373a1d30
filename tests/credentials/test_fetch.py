"""`TokenFetch` against the embedded IMDS and its faults."""

import asyncio
import errno
import gzip
import json
import logging
import os
import socket
import sys
import zlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from loops import BlockedLoop

from aiomsi import (
    HostGate,
    HostUnreachableError,
    RefreshPolicy,
    TokenRefusedError,
    TokenUnavailableError,
)
from aiomsi._clock import Clock
from aiomsi._credentials.fetch import TokenFetch, _describe_lost_request
from aiomsi._credentials.gate_schedule import GateState, parse_state
from aiomsi._hosts.base import FileRequest, TokenRequest
from aiomsi._hosts.identity import SYSTEM_ASSIGNED, RequestedIdentity
from aiomsi._hosts.imds import Imds
from aiomsi._hosts.response_body import MAX_BODY
from aiomsi._tokens.failure import Failure
from aiomsi._tokens.host_backoff import HostBackoff, HostTurn
from aiomsi._tokens.host_limits import LEASE
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import TokenResponse
from aiomsi._util.secret import SecretBytes
from aiomsi.testing import EmbeddedAzure, Fault, ManualClock

ARM = "https://management.azure.com/"
IMDS = Imds.limits
GUID = "00000000-0000-0000-0000-000000000007"


def fetch(
    authority: str,
    clock: Clock,
    *,
    resource: str = ARM,
    policy: RefreshPolicy | None = None,
    identity: RequestedIdentity = SYSTEM_ASSIGNED,
    gate: HostGate | None = None,
) -> TokenResponse | Failure:
    wanted = TokenFetch(
        Imds(authority, identity),
        resource,
        policy or RefreshPolicy(),
        clock,
        lambda _, high: high,
        gate=gate,
    )
    return asyncio.run(wanted(FetchRequest()))


@pytest.fixture
def manual() -> ManualClock:
    """Create a clock whose sleeps take no time, with the longest delays of the jitter."""
    return ManualClock(autoadvance=True)


@pytest.fixture
def azure(manual: ManualClock) -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=manual.clock) as azure:
        yield azure


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Return an address without a listener, reserved until the end of the test."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_a_good_answer_is_a_grant(azure: EmbeddedAzure, manual: ManualClock) -> None:
    grant = fetch(azure.imds.url, manual.clock)
    assert isinstance(grant, TokenResponse)
    assert grant.life == pytest.approx(86_400, abs=2)
    assert str(grant.secret) not in repr(grant)
    (request,) = azure.requests
    assert request.path_qs == (
        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F"
    )


def test_files_exhausted_between_requests_are_named(nowhere: str) -> None:
    async def sleep(_seconds: float) -> None:
        # As the import of a module at its first use does.
        raise OSError(errno.EMFILE, "Too many open files")

    failure = fetch(nowhere, Clock(sleep=sleep))
    assert isinstance(failure, Failure)
    assert (failure.error, failure.permanent) == (TokenUnavailableError, False)
    assert "no file descriptor left" in failure.summary
    assert "ulimit -n" in failure.help


def test_three_500s_and_then_a_token(azure: EmbeddedAzure, manual: ManualClock) -> None:
    azure.imds.inject(Fault(500), times=3)
    began = manual.clock.monotonic()
    assert isinstance(fetch(azure.imds.url, manual.clock), TokenResponse)
    assert azure.counts.imds_requests == 4
    assert manual.clock.monotonic() - began == 1 + 2 + 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(404),
        Fault(404, body=""),
        Fault(408),
        Fault(503, body="upstream connect error"),
        Fault(
            503,
            {"Server": "Microsoft-HTTPAPI/2.0", "Content-Type": "text/html"},
            "<h2>Service Unavailable</h2>",
        ),
        Fault(200, body="{"),
        Fault(200, body={}),
        Fault(200, {"Content-Encoding": "gzip"}, "{}"),
        Fault.reset(),
        Fault.truncate(),
    ],
)
def test_what_may_pass_is_asked_five_times(
    azure: EmbeddedAzure, manual: ManualClock, fault: Fault
) -> None:
    azure.imds.inject(fault, times=None)
    failure = fetch(azure.imds.url, manual.clock)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.kind, failure.permanent) == (
        TokenUnavailableError,
        "unavailable",
        False,
    )
    assert azure.counts.imds_requests == 5
    assert failure.details["attempts"] == 5
    assert failure.details["elapsed"] == 15
    assert "(5 requests in 15.0 s)" in failure.summary


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Fault.garbage(), "Please sign in to the network"),
        (Fault(200, body=""), "no text at all"),
        (
            Fault(404, {"Server": "EC2ws", "Content-Type": "text/html"}, "<title>404</title>"),
            "AWS's metadata service",
        ),
        (
            Fault(
                503, {"Server": "squid/5.7", "Content-Type": "text/html"}, "<title>ERROR</title>"
            ),
            "a Squid proxy",
        ),
        (
            Fault(302, {"Location": "https://login.example/?id=7"}, ""),
            "redirects to https://login.example/",
        ),
        (Fault(200, {"Content-Encoding": "br"}, "{}"), "compressed with 'br'"),
        (Fault(200, body=b" " * (MAX_BODY + 1)), "a response of more than 1048576 bytes"),
        (Fault(500, body=b" " * (MAX_BODY + 1)), "a response of more than 1048576 bytes"),
        (
            Fault(200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * (MAX_BODY + 1))),
            "a response of more than 1048576 bytes",
        ),
    ],
)
def test_response_of_another_service_is_refused_at_once(
    azure: EmbeddedAzure, manual: ManualClock, fault: Fault, shown: str
) -> None:
    azure.imds.inject(fault, times=None)
    failure = fetch(azure.imds.url, manual.clock)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.permanent) == (TokenRefusedError, True)
    assert "a server other than Azure's IMDS responded" in failure.summary
    assert shown in failure.summary
    assert azure.counts.imds_requests == 1


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("Identity", bytes)],
)
def test_response_compressed_unasked_is_read_within_the_limit(
    azure: EmbeddedAzure, manual: ManualClock, coding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = compress(json.dumps({"access_token": "eyJ", "expires_in": 3600}).encode())
    azure.imds.inject(Fault(200, {"Content-Encoding": coding}, body))
    assert isinstance(fetch(azure.imds.url, manual.clock), TokenResponse)
    (request,) = azure.requests
    assert request.headers["Accept-Encoding"] == "identity"


def test_endpoint_without_http_is_another_service(manual: ManualClock) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def main() -> TokenResponse | Failure:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            authority = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await TokenFetch(Imds(authority), ARM, RefreshPolicy(), manual.clock)(
                FetchRequest()
            )

    failure = asyncio.run(main())
    assert isinstance(failure, Failure)
    assert failure.permanent
    assert (
        "a server other than Azure's IMDS responded: its response is not valid HTTP"
        in failure.summary
    )


KEY = ConnectionKey(
    "h", 80, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)


@pytest.mark.parametrize(
    ("number", "exhausted", "said", "help_"),
    [
        (errno.EMFILE, True, "this process has no file descriptor left", "ulimit -n"),
        (errno.ENFILE, True, "this machine has no file descriptor left", "lsof"),
        (errno.EADDRNOTAVAIL, True, "no local port or address", "ss -s"),
        (errno.EPERM, False, "does not permit the connection", "firewall"),
        (errno.EACCES, False, "does not permit the connection", "sandbox"),
        (errno.ENETUNREACH, False, "no route to that address", "network namespace"),
        (errno.ECONNREFUSED, False, "ClientConnectorError: ", ""),
    ],
)
def test_local_cause_of_no_connection_is_named(
    number: int, exhausted: bool, said: str, help_: str
) -> None:
    miss = _describe_lost_request(aiohttp.ClientConnectorError(KEY, OSError(number, "text")))
    assert (miss.exhausted, miss.connected, miss.problem.transient) == (exhausted, False, True)
    assert said in miss.problem.message
    assert help_ in miss.problem.help


@pytest.mark.parametrize(
    ("winerror", "exhausted", "said"),
    [
        (1231, False, "no route to that address"),
        (1232, False, "no route to that address"),
        (1450, True, "no memory left for a connection"),
        (1455, True, "no memory left for a connection"),
        (1225, False, "ClientConnectorError: "),
        (121, False, "ClientConnectorError: "),
        (None, False, "ClientConnectorError: "),
    ],
)
def test_local_cause_on_windows_is_found_by_its_winerror(
    winerror: int | None, exhausted: bool, said: str
) -> None:
    refused = OSError(errno.EINVAL, "text")
    refused.winerror = winerror  # type: ignore[attr-defined, unused-ignore]  # on Windows alone
    miss = _describe_lost_request(aiohttp.ClientConnectorError(KEY, refused))
    assert (miss.exhausted, miss.connected) == (exhausted, False)
    assert said in miss.problem.message


def test_unknown_name_is_named_as_such() -> None:
    miss = _describe_lost_request(
        aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known"))
    )
    assert "can't be resolved" in miss.problem.help


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors to lower")
def test_exhausted_descriptors_are_no_missing_azure(manual: ManualClock, nowhere: str) -> None:
    import resource

    async def main() -> TokenResponse | Failure:
        wanted = TokenFetch(Imds(nowhere), ARM, RefreshPolicy(), manual.clock)
        limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[1]), limits[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            return await wanted(FetchRequest())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in taken:
                os.close(descriptor)

    failure = asyncio.run(main())
    assert isinstance(failure, Failure)
    assert (failure.error, failure.kind) == (TokenUnavailableError, "exhausted")
    assert failure.summary.startswith("this process has no file descriptor left for a connection")
    assert "Azure" not in f"{failure.help}"


def test_throttling_is_told_with_its_retry_after(azure: EmbeddedAzure, manual: ManualClock) -> None:
    azure.imds.inject(Fault(429, headers={"Retry-After": "40"}), times=None)
    failure = fetch(azure.imds.url, manual.clock)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.retry_after) == ("throttled", 40)
    assert azure.counts.imds_requests == 1


def test_410_is_asked_for_seventy_seconds(azure: EmbeddedAzure, manual: ManualClock) -> None:
    azure.imds.inject(Fault(410, headers={"Retry-After": "1"}), times=None)
    began = manual.clock.monotonic()
    assert isinstance(fetch(azure.imds.url, manual.clock), Failure)
    assert 70 <= manual.clock.monotonic() - began <= 90
    azure.clear_faults()
    azure.imds.inject(Fault(410), times=9)
    assert isinstance(fetch(azure.imds.url, manual.clock), TokenResponse)


def test_an_identity_that_is_not_assigned_is_refused_with_help(
    azure: EmbeddedAzure, manual: ManualClock
) -> None:
    failure = fetch(azure.imds.url, manual.clock, identity=RequestedIdentity("client_id", GUID))
    assert isinstance(failure, Failure)
    assert (failure.error, failure.kind, failure.permanent) == (TokenRefusedError, "refused", True)
    assert failure.summary.endswith("(1 request in 0.0 s): 400 invalid_request: Identity not found")
    assert "Assign the identity to this VM" in failure.help
    assert (failure.details["status"], failure.details["code"]) == (400, "invalid_request")
    assert azure.counts.imds_requests == 1


def test_a_wrong_audience_is_refused_with_help(azure: EmbeddedAzure, manual: ManualClock) -> None:
    failure = fetch(azure.imds.url, manual.clock, resource="https://nonsense.example/")
    assert isinstance(failure, Failure)
    assert "AADSTS500011" in failure.summary
    assert "trailing slash" in failure.help


def test_a_redirect_is_not_followed(azure: EmbeddedAzure, manual: ManualClock) -> None:
    azure.imds.inject(Fault(302, headers={"Location": azure.imds.url}), times=None)
    failure = fetch(azure.imds.url, manual.clock)
    assert isinstance(failure, Failure)
    assert failure.permanent
    assert azure.counts.imds_requests == 1


def test_missing_host_fails_after_three_tries_with_the_remedy(
    nowhere: str, manual: ManualClock
) -> None:
    failure = fetch(nowhere, manual.clock)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.kind) == (HostUnreachableError, "unreachable")
    assert failure.details["attempts"] == 3
    assert failure.details["elapsed"] == 3
    assert f"AZURE_POD_IDENTITY_AUTHORITY_HOST names {nowhere}" in failure.help
    assert "firewall" not in failure.help
    assert "aiomsi emulator" in failure.help


def test_no_proxy_is_ever_used(
    azure: EmbeddedAzure, manual: ManualClock, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nowhere)
    assert isinstance(fetch(azure.imds.url, manual.clock), TokenResponse)


def test_an_endpoint_that_never_answers_is_given_up(azure: EmbeddedAzure) -> None:
    with azure.imds.hold():
        slow = fetch(
            azure.imds.url,
            Clock(),
            policy=RefreshPolicy(read_timeout=0.01, retry_first_delay=0.001),
        )
        late = fetch(azure.imds.url, Clock(), policy=RefreshPolicy(fetch_deadline=0.02))
    assert isinstance(slow, Failure)
    assert "SocketTimeoutError" in slow.summary
    assert slow.details["attempts"] == 5
    assert isinstance(late, Failure)
    assert "no response was received in time" in late.summary


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux is known to drop what a full backlog can't take"
)
def test_silence_counts_as_nothing_there() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        authority = f"http://127.0.0.1:{server.getsockname()[1]}"
        failure = fetch(
            authority, Clock(), policy=RefreshPolicy(connect_timeout=0.05, retry_first_delay=0.001)
        )
    assert isinstance(failure, Failure)
    assert failure.error is HostUnreachableError
    assert "ConnectionTimeoutError" in failure.summary


def test_an_error_without_words_is_told_by_its_name() -> None:
    assert _describe_lost_request(TimeoutError()).problem.message == "TimeoutError"


def test_nothing_secret_is_logged(
    azure: EmbeddedAzure, manual: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        grant = fetch(azure.imds.url, manual.clock)
    assert isinstance(grant, TokenResponse)
    assert str(grant.secret) not in caplog.text


BROKEN = (
    "nonsense\r\n\r\n{TOKEN}",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{TOKEN}",
    "HTTP/1.1 200 OK\r\nbad header {TOKEN}\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}",
    "{TOKEN}",
    "HTTP/1.1 500 No\r\nContent-Length: 60\r\n\r\n{TOKEN}          ",
    "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{TOKEN}          ",
)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_answer_never_shows_the_token_in_it(
    manual: ManualClock, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw = broken.replace("{TOKEN}", '{"access_token":"eyJ0-very-secret","expires_in":').encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    async def main() -> TokenResponse | Failure:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            authority = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await TokenFetch(Imds(authority), ARM, RefreshPolicy(), manual.clock)(
                FetchRequest()
            )

    with caplog.at_level(logging.DEBUG):
        failure = asyncio.run(main())
    assert isinstance(failure, Failure)
    error = failure.exception()
    assert "very-secret" not in f"{failure!r}{error}{error!r}{vars(error)}{caplog.text}"


def test_after_410_the_service_may_be_away_for_a_while(
    azure: EmbeddedAzure, manual: ManualClock
) -> None:
    azure.imds.inject(Fault(410), times=4)
    azure.imds.inject(Fault(503), times=3)
    assert isinstance(fetch(azure.imds.url, manual.clock), TokenResponse)
    assert azure.counts.imds_requests == 8


# While the event loop is blocked


def fetch_while_blocked(
    wanted: TokenFetch, blocks: Callable[[BlockedLoop], Coroutine[Any, Any, None]]
) -> TokenResponse | Failure:
    loop = BlockedLoop()

    async def main() -> TokenResponse | Failure:
        fetching = asyncio.create_task(wanted(FetchRequest()))
        await blocks(loop)
        return await fetching

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("seconds", [8.5, 100.0])
@pytest.mark.parametrize("steps", range(1, 9))
def test_loop_blocked_at_any_step_of_a_request_costs_no_try(
    azure: EmbeddedAzure, steps: int, seconds: float
) -> None:
    async def blocks(loop: BlockedLoop) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        loop.block(seconds)

    wanted = TokenFetch(
        Imds(azure.imds.url),
        ARM,
        RefreshPolicy(max_attempts=1, max_attempts_unreachable=1),
        Clock(),
    )
    assert isinstance(fetch_while_blocked(wanted, blocks), TokenResponse)


@pytest.mark.parametrize("seconds", [10.5, 100.0])
def test_loop_blocked_while_it_waits_for_a_response_costs_no_try(
    azure: EmbeddedAzure, seconds: float
) -> None:
    async def blocks(loop: BlockedLoop) -> None:
        await hold.arrived(1)
        loop.block(seconds)
        await hold.arrived(2)
        hold.release()

    with azure.imds.hold() as hold:
        wanted = TokenFetch(Imds(azure.imds.url), ARM, RefreshPolicy(max_attempts=1), Clock())
        assert isinstance(fetch_while_blocked(wanted, blocks), TokenResponse)


def test_response_that_arrives_while_the_loop_is_blocked_is_read(azure: EmbeddedAzure) -> None:
    async def blocks(loop: BlockedLoop) -> None:
        await hold.arrived(1)
        loop.block(50.0)
        hold.release()

    with azure.imds.hold() as hold:
        wanted = TokenFetch(
            Imds(azure.imds.url), ARM, RefreshPolicy(max_attempts=1, read_timeout=1_000.0), Clock()
        )
        assert isinstance(fetch_while_blocked(wanted, blocks), TokenResponse)
    assert azure.counts.imds_requests == 1


def test_loop_that_is_blocked_again_and_again_ends_the_fetch(azure: EmbeddedAzure) -> None:
    async def blocks(loop: BlockedLoop) -> None:
        for number in range(11):
            await hold.arrived(number + 1)
            loop.block(50.0)

    with azure.imds.hold() as hold:
        wanted = TokenFetch(Imds(azure.imds.url), ARM, RefreshPolicy(max_attempts=1), Clock())
        failure = fetch_while_blocked(wanted, blocks)
    assert isinstance(failure, Failure)
    assert failure.details["attempts"] == 1
    assert azure.counts.imds_requests == 11


# With other slots of the host


def test_throttled_request_holds_off_the_hosts_other_slots(
    azure: EmbeddedAzure, manual: ManualClock
) -> None:
    azure.imds.inject(Fault(429, headers={"Retry-After": "7"}), times=1)
    backoff = HostBackoff(IMDS)
    began = manual.clock.monotonic()
    for resource, at in ((ARM, began + 7), ("https://vault.azure.net", began + 7)):
        wanted = TokenFetch(
            Imds(azure.imds.url), resource, RefreshPolicy(), manual.clock, backoff=backoff
        )
        assert isinstance(asyncio.run(wanted(FetchRequest())), TokenResponse)
        assert manual.clock.monotonic() == at
        assert backoff.retry_at == began + 7


def test_refused_request_holds_off_no_other_slot(azure: EmbeddedAzure, manual: ManualClock) -> None:
    azure.imds.inject(Fault(400, headers={"Retry-After": "7"}), times=1)
    backoff = HostBackoff(IMDS)
    wanted = TokenFetch(Imds(azure.imds.url), ARM, RefreshPolicy(), manual.clock, backoff=backoff)
    assert isinstance(asyncio.run(wanted(FetchRequest())), Failure)
    assert backoff.retry_at < manual.clock.monotonic()


def test_wait_for_a_turn_is_no_try_and_not_in_the_deadline(
    azure: EmbeddedAzure, manual: ManualClock
) -> None:
    azure.imds.inject(Fault(500), times=3)
    backoff = HostBackoff(IMDS)
    for _ in range(4):
        # Four requests without a response: their places are free again after a lease.
        backoff.take(HostTurn(), manual.clock.monotonic())
    began = manual.clock.monotonic()
    policy = RefreshPolicy(fetch_deadline=10.0)
    wanted = TokenFetch(
        Imds(azure.imds.url), ARM, policy, manual.clock, lambda _, high: high, backoff=backoff
    )
    assert isinstance(asyncio.run(wanted(FetchRequest())), TokenResponse)
    queued = manual.clock.monotonic() - began - (1 + 2 + 4)
    assert LEASE <= queued < 1.5 * LEASE


def test_request_held_off_for_too_long_shows_no_text_of_another(
    azure: EmbeddedAzure, manual: ManualClock
) -> None:
    backoff = HostBackoff(IMDS)
    backoff.hold_off(manual.clock.monotonic() + 31)
    wanted = TokenFetch(Imds(azure.imds.url), ARM, RefreshPolicy(), manual.clock, backoff=backoff)
    failure = asyncio.run(wanted(FetchRequest()))
    assert isinstance(failure, Failure)
    assert failure.kind == "held off"
    assert (
        failure.summary
        == f"no request was sent for IMDS {ARM}, because its host asked clients to retry later"
    )
    assert azure.counts.imds_requests == 0


# With a host-wide gate


def make_later_gate(manual: ManualClock, directory: Path, seconds: float) -> HostGate:
    """Create a gate whose next turns come so many seconds from now."""
    directory.mkdir(0o700, exist_ok=True)
    at = manual.clock.wall() + seconds
    (directory / "turns").write_bytes(GateState(at, at).stored())
    return HostGate(directory)


def test_each_request_waits_for_its_turn_without_using_up_tries(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path
) -> None:
    azure.imds.inject(Fault(500), times=3)
    gate = make_later_gate(manual, tmp_path / "gate", 5)
    began = manual.clock.monotonic()
    assert isinstance(fetch(azure.imds.url, manual.clock, gate=gate), TokenResponse)
    assert azure.counts.imds_requests == 4
    assert manual.clock.monotonic() - began == pytest.approx(5 + 1 + 2 + 4, abs=0.1)


def test_life_of_a_token_counts_from_sending_not_from_waiting(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path
) -> None:
    grant = fetch(azure.imds.url, manual.clock, gate=make_later_gate(manual, tmp_path / "gate", 15))
    assert isinstance(grant, TokenResponse)
    assert grant.life == pytest.approx(86_400, abs=2)


def test_throttling_holds_every_process_off(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path
) -> None:
    azure.imds.inject(Fault(429, headers={"Retry-After": "40"}), times=None)
    failure = fetch(azure.imds.url, manual.clock, gate=HostGate(tmp_path / "gate"))
    assert isinstance(failure, Failure)
    turns = parse_state((tmp_path / "gate" / "turns").read_bytes())
    assert (turns.queue, turns.send) == pytest.approx((manual.clock.wall() + 40,) * 2)


def test_no_process_is_held_off_for_longer_than_the_policy_obeys(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path
) -> None:
    azure.imds.inject(Fault(429, headers={"Retry-After": "40"}))
    began = manual.clock.monotonic()
    policy = RefreshPolicy(max_retry_after=10)
    assert isinstance(
        fetch(azure.imds.url, manual.clock, policy=policy, gate=HostGate(tmp_path / "gate")),
        TokenResponse,
    )
    assert manual.clock.monotonic() - began == pytest.approx(10, abs=0.1)


class WithFile(Imds):
    """IMDS, if it were a host whose request needs the content of a file."""

    def build_request(  # type: ignore[override]  # as hosts with a file do
        self, resource: str, fetch_request: FetchRequest, content: SecretBytes | None = None
    ) -> TokenRequest | FileRequest:
        if content is None:
            return FileRequest(resource, None, "", 100, "the key")
        return super().build_request(ARM, fetch_request, content)


def test_request_that_needs_a_file_takes_one_turn_at_the_gate(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"content")
    gate = make_later_gate(manual, tmp_path / "gate", 5)
    began, host = manual.clock.monotonic(), WithFile(azure.imds.url)
    results = []
    for path in map(str, (tmp_path / "key", tmp_path / "none")):
        wanted = TokenFetch(host, path, RefreshPolicy(), manual.clock, gate=gate)
        results.append(asyncio.run(wanted(FetchRequest())))
    good, failure = results
    assert isinstance(good, TokenResponse)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.kind) == (TokenUnavailableError, "unsent")
    assert failure.permanent
    assert failure.details["attempts"] == 0
    assert failure.summary.startswith(f"no request for {tmp_path / 'none'} was sent to IMDS at ")
    assert azure.counts.imds_requests == 1
    assert manual.clock.monotonic() - began == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("fault", [Fault(429), Fault(503, headers={"Retry-After": "40"})])
def test_other_failures_hold_only_this_fetch_off(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path, fault: Fault
) -> None:
    azure.imds.inject(fault, times=None)
    assert isinstance(
        fetch(azure.imds.url, manual.clock, gate=HostGate(tmp_path / "gate")), Failure
    )
    turns = parse_state((tmp_path / "gate" / "turns").read_bytes())
    assert turns.send < manual.clock.wall() + 1


def test_gate_without_a_turn_costs_a_share_of_the_deadline_once(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path
) -> None:
    """The first request waits for 20 s and 5 s of spreading; the second one doesn't wait again."""
    azure.imds.inject(Fault(500))
    gate = make_later_gate(manual, tmp_path / "gate", 59)
    began = manual.clock.monotonic()
    assert isinstance(fetch(azure.imds.url, manual.clock, gate=gate), TokenResponse)
    assert azure.counts.imds_requests == 2
    assert manual.clock.monotonic() - began == pytest.approx(20 + 5 + 1)


def test_the_gate_is_given_its_share_of_a_short_deadline_too(
    azure: EmbeddedAzure, manual: ManualClock, tmp_path: Path
) -> None:
    began = manual.clock.monotonic()
    policy = RefreshPolicy(fetch_deadline=3, gate_share=1 / 3)
    assert isinstance(
        fetch(
            azure.imds.url,
            manual.clock,
            policy=policy,
            gate=make_later_gate(manual, tmp_path / "gate", 59),
        ),
        TokenResponse,
    )
    assert manual.clock.monotonic() - began == pytest.approx(1 + 1 / 4)


def test_wait_for_other_processes_makes_no_host_unreachable(
    nowhere: str, manual: ManualClock, tmp_path: Path
) -> None:
    failure = fetch(nowhere, manual.clock, gate=make_later_gate(manual, tmp_path / "gate", 12))
    assert isinstance(failure, Failure)
    assert failure.error is HostUnreachableError
    assert failure.details["attempts"] == 3
    assert failure.details["elapsed"] == pytest.approx(15, abs=0.1)


def test_a_deadline_that_passes_at_the_gate_leaves_nothing_held(
    azure: EmbeddedAzure, tmp_path: Path
) -> None:
    from filelock import FileLock

    gate = make_later_gate(ManualClock(start_wall=Clock().wall()), tmp_path / "gate", 30)
    failure = fetch(
        azure.imds.url,
        Clock(),
        policy=RefreshPolicy(fetch_deadline=0.02, gate_share=5_000),
        gate=gate,
    )
    assert isinstance(failure, Failure)
    assert "no response was received in time" in failure.summary
    assert azure.counts.imds_requests == 0
    for path in (tmp_path / "gate").glob("*.lock"):
        with FileLock(path, blocking=False):
            pass
