"""Recorded errors: each becomes an exception with all facts of its body, and is judged."""

import json
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest
from recorded.checks import count_case
from recorded.traffic import Exchange, decode_document, needs_recordings, read_exchanges

from aiomsi import ArmError, ArmRetry, PreconditionFailedError, RegistrationRequiredError
from aiomsi._arm.protocol.attempts import decide_retry, make_attempt
from aiomsi._arm.protocol.errors.classify import find_refusal, make_error

pytestmark = needs_recordings


def make_errors() -> list[tuple[Exchange, ArmError]]:
    found = [
        (one, make_error(one.response, wall=0.0))
        for one in read_exchanges()
        if one.response.status >= 400
    ]
    assert found
    return found


def get_usual_error(exchange: Exchange) -> dict[str, Any]:
    """Return the error at its usual place; empty if absent, or without code or message."""
    body = decode_document(exchange)
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, dict):
        return {}
    texts = said.get("code"), said.get("message")
    return said if all(isinstance(text, str) and text.strip() for text in texts) else {}


def walk_parts(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in said.get("details") or () if isinstance(said.get("details"), list) else ():
        if (
            isinstance(part, dict)
            and isinstance(part.get("code"), str)
            and isinstance(part.get("message"), str)
        ):
            yield part
            yield from walk_parts(part)


def test_every_error_body_gives_status_code_and_message() -> None:
    for exchange, error in make_errors():
        with count_case(4, exchange.where):
            assert isinstance(error, ArmError)
            assert error.status == exchange.response.status
            assert type(error.code) in (str, type(None))
            assert error.code is None or error.code.strip()
            assert error.message.strip()
            assert str(error).startswith(f"{exchange.method} /")
            assert len(str(error)) < len(exchange.url) + 4_000


def test_every_code_that_stands_at_the_usual_place_is_found() -> None:
    found = [
        (exchange, error, said)
        for exchange, error in make_errors()
        if (said := get_usual_error(exchange))
    ]
    assert found
    for exchange, error, said in found:
        assert (error.code, error.message) == (said["code"].strip(), said["message"].strip()), (
            exchange.where
        )
        target = said.get("target")
        assert error.target == (
            target.strip() if isinstance(target, str) and target.strip() else None
        ), exchange.where


def test_every_part_of_an_error_is_kept() -> None:
    for exchange, error in make_errors():
        kept = {(part.code, part.message) for one in error.details for part in one.walk()}
        for part in walk_parts(get_usual_error(exchange)):
            said = part["code"].strip() or None, part["message"].strip()
            assert said in kept or not any(said), exchange.where


def test_every_kind_of_additional_info_is_kept() -> None:
    for exchange, error in make_errors():
        infos = get_usual_error(exchange).get("additionalInfo")
        if isinstance(infos, list) and all(
            isinstance(info, dict) and info.get("info") is not None for info in infos
        ):
            assert [info.info for info in error.additional_info] == [
                info["info"] for info in infos
            ], exchange.where
            assert [info.type for info in error.additional_info] == [
                info.get("type") or "" for info in infos
            ], exchange.where


def test_every_code_and_text_of_a_top_level_error_is_found() -> None:
    for exchange, error in make_errors():
        body = decode_document(exchange)
        if isinstance(body, dict) and not any(
            isinstance(one, dict | list) for one in body.values()
        ):
            folded = {name.lower(): value for name, value in body.items()}
            if isinstance(folded.get("message"), str) and folded["message"].strip():
                assert error.message == folded["message"].strip(), exchange.where
            if isinstance(folded.get("code"), str | int) and str(folded["code"]).strip():
                assert error.code == str(folded["code"]).strip(), exchange.where


def test_who_says_so_and_the_ids_are_kept() -> None:
    for exchange, error in make_errors():
        headers = exchange.response.headers
        assert error.failure_cause == (headers.get("x-ms-failure-cause", "").lower() or None), (
            exchange.where
        )
        assert error.request_id == headers.get("x-ms-request-id")
        assert error.correlation_id == headers.get("x-ms-correlation-request-id")


def test_pickled_error_shows_no_caller_and_no_signed_link() -> None:
    for exchange, error in make_errors():
        stored = pickle.dumps(error)
        twin = pickle.loads(stored)  # noqa: S301 (our own)
        assert (str(twin), twin.details, twin.response.body) == (
            str(error),
            error.details,
            error.response.body,
        )
        identity = exchange.response.headers.get("x-ms-operation-identifier")
        assert identity is None or identity.encode() not in stored, exchange.where
        shown = f"{error} {error!r} {error.response!r}"
        assert not re.search(r"[?&](?:s|sig|h|c|t)=[^&\s]{20}", shown.replace(error.message, "")), (
            exchange.where
        )


def test_every_precondition_failure_is_a_type_of_its_own() -> None:
    for _, error in make_errors():
        assert isinstance(error, PreconditionFailedError) == (error.status == 412)


def test_the_namespace_of_every_missing_registration_is_found() -> None:
    pattern = re.compile(rb'"code"\s*:\s*"MissingSubscriptionRegistration"')
    missing = [
        (exchange, error)
        for exchange, error in make_errors()
        if error.status == 409 and pattern.search(exchange.response.body)
    ]
    if not missing:
        pytest.skip("AIOMSI_RECORDED has no subscription without a registration")
    for exchange, error in missing:
        with count_case(7, exchange.where):
            assert isinstance(error, RegistrationRequiredError)
            assert error.namespace
            quoted = re.findall(rb"namespace\s+'([^']+)'", exchange.response.body)
            assert (
                error.namespace in {name.decode() for name in quoted}
                or error.namespace in exchange.url
            )
            assert f"/providers/{error.namespace}/register" in error.help


def test_only_a_registration_error_means_a_missing_registration() -> None:
    for exchange, error in make_errors():
        if isinstance(error, RegistrationRequiredError):
            assert b"Registration" in exchange.response.body, exchange.where


def test_which_401_rejects_the_token() -> None:
    for exchange, error in make_errors():
        if error.status == 401 and error.code in (
            "ExpiredAuthenticationToken",
            "InvalidAuthenticationToken",
        ):
            assert find_refusal(exchange.response) is not None, exchange.where
        challenged = "claims=" in exchange.response.headers.get("WWW-Authenticate", "")
        if (
            error.status == 401
            and not challenged
            and error.code in ("AuthenticationFailed", "InvalidAuthenticationTokenTenant")
        ):
            assert find_refusal(exchange.response) is None, exchange.where


def test_every_error_leads_to_a_decision() -> None:
    rule = ArmRetry()
    for exchange, error in make_errors():
        attempt = make_attempt(error, number=1, elapsed=0.0)
        decided = decide_retry(attempt, rule)
        fits = (error.retry_after or 0.0) < rule.total_budget
        if error.status == 429:
            assert (decided is not None) == fits, exchange.where
        elif error.status >= 500 and exchange.method == "GET" and error.code != "ResponseTooLarge":
            assert (decided is not None) == (fits and error.status in (500, 502, 503, 504)), (
                exchange.where
            )
        assert decided is None or (error.retry_after or 0.0) <= decided.delay < rule.total_budget, (
            exchange.where
        )
        if decided is not None and attempt.doubtful:
            assert decided.check_first or exchange.method == "DELETE", exchange.where


def test_listed_version_that_is_refused_is_requested_again() -> None:
    for exchange, error in make_errors():
        asked = re.search(r"[?&]api-version=([^&]+)", exchange.url, re.IGNORECASE)
        listed = re.search(r"supported api-versions are '([^']*)'", error.message)
        if error.code == "NoRegisteredProviderFound" and asked and listed:
            known = [version.strip() for version in listed[1].split(",")]
            attempt = make_attempt(error, number=1, elapsed=0.0)
            assert attempt.listed == (asked[1] in known), exchange.where
            assert sorted(getattr(error, "supported", ())) == sorted(set(known)), exchange.where


def test_every_document_in_an_error_is_json_or_text() -> None:
    for exchange, error in make_errors():
        try:
            json.loads(exchange.response.body)
        except ValueError:
            assert error.code is None, exchange.where
            assert "<" not in error.message or ">" not in error.message, exchange.where
