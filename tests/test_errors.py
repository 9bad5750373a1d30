"""The error tree: its docstring, the texts of errors, their copies and pickles."""

import copy
import pickle
import re

import pytest
from multidict import CIMultiDict

import aiomsi
from aiomsi import (
    AdditionalInfo,
    ArmConnectionError,
    ArmError,
    ArmResponse,
    ConfigurationError,
    CredentialError,
    ErrorDetail,
    ForeignHostError,
    UsageError,
    _errors,
)

CLASSES = [
    value
    for value in vars(_errors).values()
    if isinstance(value, type) and issubclass(value, _errors.AiomsiError)
]


def make(kind: type[_errors.AiomsiError]) -> _errors.AiomsiError:
    """Create an error of that class with a value in every attribute."""
    if issubclass(kind, ArmError):
        headers = CIMultiDict({"x-ms-request-id": "r"})
        response = ArmResponse("GET", "https://management.azure.com/x", 429, headers, b"{}")
        return kind(
            "it failed",
            help="do this",
            status=429,
            code="c",
            message="m",
            target="t",
            details=(ErrorDetail("d", "m"),),
            inner=ErrorDetail("i", "m"),
            additional_info=(AdditionalInfo("t", {"a": 1}),),
            response=response,
            client_request_id="i",
            attempts=2,
            elapsed=3.0,
            retry_after=4.0,
        )
    if issubclass(kind, ArmConnectionError):
        return kind(
            "it failed",
            help="do this",
            method="GET",
            url="u",
            client_request_id="i",
            attempts=2,
            elapsed=3.0,
        )
    if issubclass(kind, CredentialError):
        return kind(
            "it failed",
            help="do this",
            host="IMDS",
            endpoint="e",
            status=400,
            code="c",
            message="m",
            attempts=2,
            elapsed=3.0,
            retry_after=4.0,
            request_id="r",
        )
    if issubclass(kind, ForeignHostError):
        return kind("it failed", help="do this", from_response=True)
    return kind("it failed", help="do this")


def test_the_docstring_draws_the_tree() -> None:
    drawn: dict[str, str] = {}
    line_of_descent: list[str] = []
    for line in (_errors.__doc__ or "").split("::")[1].splitlines():
        found = re.match(
            r"    (?P<indent>[│├└─ ]*)(?P<name>[A-Za-z]+)(?: \((?P<mixin>[A-Za-z]+)\))?", line
        )
        if found is None:
            continue
        level = len(found["indent"]) // 4
        line_of_descent = [*line_of_descent[:level], found["name"]]
        drawn[found["name"]] = (
            line_of_descent[level - 1] if level else (found["mixin"] or "Exception")
        )
        mixins = [base.__name__ for base in vars(_errors)[found["name"]].__bases__[1:]]
        assert mixins == ([found["mixin"]] if found["mixin"] else [])
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}


def test_every_error_is_public() -> None:
    assert {kind.__name__ for kind in CLASSES} <= set(aiomsi.__all__)


@pytest.mark.parametrize("kind", CLASSES)
def test_str_is_the_summary_and_the_help(kind: type[_errors.AiomsiError]) -> None:
    error = make(kind)
    assert str(error) == "it failed. do this"
    assert repr(error) == f"{kind.__name__}('it failed')"
    error.help = ""
    assert str(error) == "it failed"


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_a_pickle_with_all_its_attributes(
    kind: type[_errors.AiomsiError], protocol: int
) -> None:
    error = make(kind)
    error.add_note("seen by a test")
    twin = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 (our own)
    assert type(twin) is kind
    assert twin.args == error.args
    assert str(twin) == str(error)
    assert twin.__notes__ == ["seen by a test"]
    shown = {**vars(error)}, {**vars(twin)}
    responses = [attributes.pop("response", None) for attributes in shown]
    assert shown[0] == shown[1]
    assert len(shown[0]) >= 2
    if issubclass(kind, ArmError):
        first, second = responses
        assert (second.method, second.url, second.status, second.headers, second.body) == (
            first.method, first.url, first.status, first.headers, first.body,
        )  # fmt: skip


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_can_be_copied(kind: type[_errors.AiomsiError]) -> None:
    error = make(kind)
    assert vars(copy.copy(error)) == vars(error)


def test_arm_error_has_the_ids_and_the_failure_cause() -> None:
    error = make(ArmError)
    assert isinstance(error, ArmError)
    assert (
        error.request_id,
        error.correlation_id,
        error.client_request_id,
        error.failure_cause,
    ) == ("r", None, "i", None)


def test_some_errors_have_further_attributes() -> None:
    common = {name: value for name, value in vars(make(ArmError)).items() if name != "help"}
    assert _errors.ApiVersionError("x", supported=("2020-01-01",), **common).supported == (
        "2020-01-01",
    )
    assert (
        _errors.RegistrationRequiredError("x", namespace="Microsoft.Web", **common).namespace
        == "Microsoft.Web"
    )
    assert _errors.WrongTenantError("x", tenant_id="t", **common).tenant_id == "t"


def test_errors_of_use_have_pythons_bases() -> None:
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(UsageError, RuntimeError)
    assert not issubclass(CredentialError, ValueError | RuntimeError)


def test_error_needs_only_a_summary() -> None:
    error = CredentialError("no token")
    assert str(error) == "no token"
    assert (error.help, error.status, error.retry_after, error.attempts) == ("", None, None, 0)
