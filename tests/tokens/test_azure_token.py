"""Tokens as instances of azure-core's classes: the fields, the masking, and the choice of class."""

import copy
import gc
import pickle
import sys
import traceback
import types
from importlib.machinery import ModuleSpec
from typing import Any

import attrs
import pytest

import aiomsi
from aiomsi import RefreshPolicy
from aiomsi._tokens.token import Now, Token, TokenResponse, make_token
from aiomsi._util.secret import Secret

azure: Any = pytest.importorskip("azure.core.credentials")

NAME = "azure.core.credentials"
SECRET = "a-secret-token"


@pytest.fixture(autouse=True)
def _imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, azure)


def make() -> Token:
    response = TokenResponse(Secret(SECRET), 86_400.0, client_id="c")
    now = Now(1_000_000.0, 50.0)
    return make_token(
        response, now, same_again=False, policy=RefreshPolicy(), uniform=lambda low, high: low
    )


def list_forms() -> list[Any]:
    token: Any = make().to_azure_core()
    return [token, token._info, token._replace(expires_on=5), token._replace(token=SECRET)]


def test_token_is_azure_cores_and_ours_and_unpacks() -> None:
    token: Any = make()
    made = token.to_azure_core()
    assert isinstance(made, azure.AccessToken)
    assert isinstance(made, aiomsi.AccessToken)
    secret, expires_on = made
    assert (secret, expires_on) == (SECRET, 1_086_400) == (made.token, made.expires_on)
    assert type(made.token) is str
    assert made.authorization == f"Bearer {SECRET}"
    assert made.identity.client_id == "c"
    assert [getattr(made, name) for name in ("refresh_on", "token_type")] == [
        getattr(token, name) for name in ("refresh_on", "token_type")
    ]


def test_info_is_azure_cores_and_ours_with_all_fields() -> None:
    token: Any = make().to_azure_core()
    info = token._info
    assert isinstance(info, azure.AccessTokenInfo)
    assert isinstance(info, aiomsi.AccessTokenInfo)
    plain = azure.AccessTokenInfo(SECRET, token.expires_on, refresh_on=token.refresh_on)
    assert {name: getattr(info, name) for name in vars(plain)} == vars(plain)
    assert (info.authorization, info.identity.client_id) == (f"Bearer {SECRET}", "c")


def test_own_token_serves_for_both_public_classes() -> None:
    assert isinstance(make(), aiomsi.AccessToken)
    assert isinstance(make(), aiomsi.AccessTokenInfo)
    assert {type(form).__module__ for form in list_forms()} == {"aiomsi"}
    assert [type(form).__qualname__ for form in list_forms()[:2]] == [
        "AccessToken",
        "AccessTokenInfo",
    ]


@pytest.mark.parametrize("number", range(len(list_forms())))
def test_form_is_never_shown_or_pickled_and_is_its_own_copy(number: int) -> None:
    pretty = pytest.importorskip("rich.pretty")
    form = list_forms()[number]
    try:
        raise ValueError(form)
    except ValueError as error:
        shown = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "expires_on=" in shown
    assert SECRET not in f"{shown}{form}{form!r}{[form]}{pretty.pretty_repr(form)}"
    assert SECRET not in pretty.pretty_repr([make(), form])
    assert copy.copy(form) is copy.deepcopy(form) is form
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="can't be pickled"):
            pickle.dumps(form, protocol)


@pytest.mark.parametrize("number", range(len(list_forms())))
def test_form_cannot_be_changed_because_callers_share_it(number: int) -> None:
    form = list_forms()[number]
    for name in ("token", "refresh_on", "other"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(form, name, 1)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(form, name)


def test_replaced_token_has_the_header_of_its_new_value() -> None:
    token: Any = make().to_azure_core()
    other = token._replace(token="another", expires_on=7)
    assert (*other, other.authorization) == ("another", 7, "Bearer another")
    assert (other.refresh_on, other._info) == (token.refresh_on, None)
    assert token.token == SECRET


def test_form_is_made_once_and_anew_for_another_module(monkeypatch: pytest.MonkeyPatch) -> None:
    token = make()
    first: Any = token.to_azure_core()
    assert token.azure == (azure, first)
    other: Any = types.ModuleType(NAME)

    class AccessToken(tuple[str, int]):
        """The class of an azure-core without `AccessTokenInfo`."""

        __slots__ = ()
        token = property(lambda self: self[0])
        expires_on = property(lambda self: self[1])

    other.AccessToken = AccessToken
    monkeypatch.setitem(sys.modules, NAME, other)
    second: Any = token.to_azure_core()
    assert {AccessToken, aiomsi.AccessToken} < set(type(second).__mro__)
    assert (second._info, second.token_type) == (None, "Bearer")
    assert token.azure == (other, second)


@pytest.mark.parametrize("module", [types.ModuleType(NAME), None])
def test_module_that_is_half_imported_gives_our_class(
    module: types.ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, NAME, module)
    token = make()
    assert token.to_azure_core() is token
    assert token.azure == (None, None)


def test_module_without_its_second_class_yet_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    half: Any = types.ModuleType(NAME)
    half.AccessToken, half.__spec__ = azure.AccessToken, ModuleSpec(NAME, None)
    half.__spec__._initializing = True
    monkeypatch.setitem(sys.modules, NAME, half)
    token = make()
    assert token.to_azure_core() is token
    half.AccessTokenInfo, half.__spec__._initializing = azure.AccessTokenInfo, False
    info: Any = token.to_azure_core()._info
    assert isinstance(info, azure.AccessTokenInfo)


def test_token_and_its_forms_are_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(100):
            make().to_azure_core()
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()
