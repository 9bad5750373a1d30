"""Errors that are azure-core's as well: classes, attributes, copies, pickles and tracebacks."""

import copy
import pickle
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import aiomsi
from aiomsi import _errors
from aiomsi._azure_core import add_azure_base, get_public_class, is_no_identity
from aiomsi._credentials.invoke import SynchronousCredentialError, make_synchronous_error

identity: Any = pytest.importorskip("azure.identity")
exceptions: Any = pytest.importorskip("azure.core.exceptions")

pytestmark = pytest.mark.usefixtures("azure_core")

CLASSES: list[type[aiomsi.CredentialError]] = [
    aiomsi.CredentialError,
    aiomsi.HostUnreachableError,
    aiomsi.TokenRefusedError,
    aiomsi.TokenUnavailableError,
    aiomsi.CredentialClosedError,
    SynchronousCredentialError,
]
MAKERS: list[Callable[[], aiomsi.CredentialError]] = [
    *(lambda kind=kind: kind("no token", help="wait", status=429) for kind in CLASSES),
    lambda: aiomsi.TokenRefusedError("no token", help="wait", status=400, no_identity=True),
]


@pytest.fixture(params=range(len(MAKERS)))
def error(request: pytest.FixtureRequest) -> aiomsi.CredentialError:
    make: Callable[[], aiomsi.CredentialError] = MAKERS[request.param]
    return make()


def test_every_error_without_a_token_is_an_authentication_error() -> None:
    without = {kind for kind in vars(_errors).values() if isinstance(kind, type)}
    assert {kind for kind in without if issubclass(kind, aiomsi.CredentialError)} < set(CLASSES)
    for kind in CLASSES:
        with pytest.raises(exceptions.AzureError) as raised:
            raise kind("no token")
        assert isinstance(raised.value, exceptions.ClientAuthenticationError)
        assert isinstance(raised.value, kind)
        assert not {kind, exceptions.ClientAuthenticationError} - set(type(raised.value).__mro__)


def test_no_identity_alone_lets_a_chain_go_on(error: aiomsi.CredentialError) -> None:
    expected = isinstance(error, aiomsi.HostUnreachableError) or error.no_identity
    assert isinstance(error, identity.CredentialUnavailableError) is expected
    assert is_no_identity(error) is expected
    assert is_no_identity(identity.CredentialUnavailableError("none"))
    assert not is_no_identity(ValueError())


def test_unreachable_host_with_a_wrong_certificate_ends_a_chain() -> None:
    error = aiomsi.HostUnreachableError("x", no_identity=False)
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301 (its own pickle)
        assert one.no_identity is False
        assert isinstance(one, exceptions.ClientAuthenticationError)
        assert not isinstance(one, identity.CredentialUnavailableError)


def test_attributes_are_those_of_an_error_without_a_response(error: aiomsi.CredentialError) -> None:
    theirs = exceptions.ClientAuthenticationError(message="no token")
    both: Any = error
    assert {name for name in vars(theirs) if not hasattr(both, name)} == set()
    assert (both.message, both.status_code, str(both)) == (
        "no token",
        error.status,
        "no token. wait",
    )
    assert (both.response, both.reason, both.error, both.inner_exception) == (None,) * 4
    assert both.exc_msg == str(error)


def test_no_traceback_is_kept_of_an_exception_in_hand() -> None:
    try:
        raise ValueError
    except ValueError:
        made: Any = aiomsi.TokenRefusedError("no token")
    assert (made.exc_type, made.exc_value, made.exc_traceback) == (None, None, None)
    assert not set(vars(made)) & {"exc_traceback", "exc_value", "inner_exception"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_error_survives_a_pickle(error: aiomsi.CredentialError, protocol: int) -> None:
    error.add_note("seen by a test")
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.deepcopy(error)):  # noqa: S301 (our own)
        assert type(twin) is type(error)
        assert vars(twin) == vars(error)
        assert (twin.args, str(twin)) == (error.args, str(error))


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.slow
def test_pickle_is_read_by_a_process_without_azure_core(error: aiomsi.CredentialError) -> None:
    code = f"""
        import pickle, sys
        error = pickle.loads({pickle.dumps(error)!r})
        print(type(error).__bases__[0].__name__, error, error.status, error.no_identity)
        print(*[name for name in sys.modules if name.startswith("azure")])
    """
    base = get_public_class(type(error)).__bases__[0].__name__
    assert run(code) == f"{base} {error} {error.status} {error.no_identity}"


@pytest.mark.slow
@pytest.mark.parametrize("first", ["aiomsi", "azure.identity"])
def test_error_is_both_whichever_is_imported_first(first: str) -> None:
    second = {"aiomsi": "azure.identity", "azure.identity": "aiomsi"}[first]
    code = f"""
        import {first}
        import {second}
        error = aiomsi.HostUnreachableError("x")
        print(isinstance(error, azure.identity.CredentialUnavailableError), type(error))
    """
    assert run(code) == "True <class 'aiomsi.HostUnreachableError'>"


@pytest.mark.slow
def test_error_made_before_azure_identity_is_azure_cores_alone() -> None:
    code = """
        import aiomsi, azure.core.exceptions as core
        early = aiomsi.HostUnreachableError("x")
        import azure.identity
        late = type(early)("y")
        for error in (early, late):
            print(isinstance(error, core.ClientAuthenticationError),
                  isinstance(error, azure.identity.CredentialUnavailableError))
    """
    assert run(code).splitlines() == ["True False", "True True"]


def test_traceback_names_the_public_class() -> None:
    with pytest.raises(exceptions.AzureError) as raised:
        raise aiomsi.HostUnreachableError("no token", help="wait") from ValueError("why")
    raised.value.add_note("a note")
    text = traceback.format_exception(raised.value)
    assert "ValueError: why\n" in text
    assert text[-2:] == ["aiomsi.HostUnreachableError: no token. wait\n", "a note\n"]


def test_group_is_split_by_either_class(error: aiomsi.CredentialError) -> None:
    group = ExceptionGroup("several", [error, ValueError()])
    for kind in (aiomsi.CredentialError, exceptions.AzureError):
        found, rest = group.split(kind)
        assert found is not None
        assert found.exceptions == (error,)
        assert rest is not None
    caught: list[Exception] = []
    try:
        raise group
    except* exceptions.ClientAuthenticationError as part:
        caught += part.exceptions
    except* ValueError:
        pass
    assert caught == [error]


def test_users_subclass_keeps_its_name_and_its_class() -> None:
    class OwnError(aiomsi.TokenRefusedError):
        """A subclass by a user."""

    class BothError(aiomsi.CredentialError, exceptions.ClientAuthenticationError):  # type: ignore[misc]  # no types
        """A subclass of both by a user."""

    made = OwnError("x")
    assert isinstance(made, OwnError)
    assert isinstance(made, exceptions.AzureError)
    assert get_public_class(type(made)) is OwnError
    assert repr(made) == "OwnError('x')"
    assert type(BothError("x")) is BothError


def test_users_init_subclass_runs_for_the_users_classes_only() -> None:
    codes: list[int] = []

    class FinalError(aiomsi.TokenRefusedError):
        """A class that a user derives none from."""

        def __init_subclass__(cls, code: int) -> None:
            codes.append(code)

    class CodedError(FinalError, code=5):
        """A subclass with an argument."""

    for kind in (FinalError, CodedError):
        assert isinstance(kind("x"), exceptions.ClientAuthenticationError)
    assert codes == [5]


def test_class_is_derived_once_and_never_from_a_derived_one() -> None:
    first = add_azure_base(aiomsi.TokenRefusedError, no_identity=False)
    assert add_azure_base(first, no_identity=False) is first
    both = add_azure_base(first, no_identity=True)
    assert both.__bases__[1] is aiomsi.TokenRefusedError
    assert get_public_class(both) is aiomsi.TokenRefusedError


def test_other_errors_are_not_azure_cores() -> None:
    assert not isinstance(aiomsi.UsageError("x"), exceptions.AzureError)
    assert not isinstance(aiomsi.ConfigurationError("x"), exceptions.AzureError)
    synchronous = make_synchronous_error("X")
    assert isinstance(synchronous, exceptions.ClientAuthenticationError)
    assert isinstance(synchronous, ValueError)


def test_without_azure_core_a_class_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("azure.core.exceptions", "azure.identity"):
        monkeypatch.delitem(sys.modules, name)
    for kind in CLASSES:
        assert type(kind("x")) is kind
