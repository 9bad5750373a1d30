"""Recorded errors: each gives an exception with everything that its body says."""

import json

from recorded.traffic import exchanges, needs_recordings

from aiomsi import ArmError
from aiomsi.arm._answers import error_of

pytestmark = needs_recordings


def test_every_error_body_gives_status_code_and_message() -> None:
    errors = [exchange for exchange in exchanges() if exchange.response.status >= 400]
    assert len(errors) > 100
    for exchange in errors:
        error = error_of(exchange.response, wall=0.0)
        assert isinstance(error, ArmError)
        assert type(error.code) in (str, type(None)), exchange.where
        assert error.status == exchange.response.status
        assert error.code is None or error.code.strip(), exchange.where
        assert error.message.strip(), exchange.where
        assert error.retry_after is None or error.retry_after >= 0
        assert str(error).startswith(f"{exchange.method} /")


def test_every_code_that_stands_at_the_usual_place_is_found() -> None:
    found = 0
    for exchange in exchanges():
        if exchange.response.status < 400:
            continue
        try:
            said = json.loads(exchange.response.body)["error"]
            code, message = said["code"], said["message"]
        except (ValueError, TypeError, KeyError):
            continue
        if not isinstance(code, str) or not code or not isinstance(message, str) or not message.strip():
            continue
        found += 1
        error = error_of(exchange.response, wall=0.0)
        assert (error.code, error.message) == (code, message.strip()), exchange.where
    assert found > 50
