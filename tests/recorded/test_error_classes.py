"""Recorded errors: those that apply to a whole scope, and those that mean an empty one."""

from recorded.traffic import needs_recordings, read_exchanges

from aiomsi import ArmError
from aiomsi._arm.protocol.errors.classify import make_error
from aiomsi._arm.protocol.errors.codes import is_nothing_there, is_out_of_reach

pytestmark = needs_recordings

OUT_OF_REACH = {("AuthorizationFailed", 403)}
NOTHING_THERE = {
    ("MissingSubscriptionRegistration", 409),
    ("NoRegisteredProviderFound", 400),
    ("InvalidResourceType", 404),
}


def test_recorded_errors_have_the_expected_classes() -> None:
    errors: list[ArmError] = [
        make_error(one.response, wall=0.0) for one in read_exchanges("errors")
    ]
    assert errors
    assert {
        (error.code, error.status) for error in errors if is_out_of_reach(error.code)
    } == OUT_OF_REACH
    assert {
        (error.code, error.status) for error in errors if is_nothing_there(error.code)
    } == NOTHING_THERE


def test_recorded_error_of_an_empty_scope_is_no_transient_fault() -> None:
    for one in read_exchanges():
        if one.response.status >= 500 or one.response.status == 429:
            code = make_error(one.response, wall=0.0).code
            assert not is_out_of_reach(code), one.where
            assert not is_nothing_there(code), one.where
