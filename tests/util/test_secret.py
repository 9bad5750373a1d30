"""Secrets: the value is there, its representation is not."""

import copy
import pickle
import pprint
import traceback

import pytest

from aiomsi._util.secret import MaskedMapping, Secret, SecretBytes

TEXT = "eyJ0eXAi.very.secret"


def test_a_secret_is_a_string_in_every_way_but_its_look() -> None:
    secret = Secret(TEXT)
    assert secret == TEXT
    assert hash(secret) == hash(TEXT)
    assert f"Bearer {secret}" == f"Bearer {TEXT}"
    assert "Bearer " + secret == f"Bearer {TEXT}"
    assert secret.encode() == TEXT.encode()
    assert isinstance(secret, str)


@pytest.mark.parametrize("secret", [Secret(TEXT), SecretBytes(TEXT.encode())])
def test_a_secret_is_not_shown(secret: Secret | SecretBytes) -> None:
    for shown in (
        repr(secret),
        f"{secret!r}",
        "%r" % secret,  # noqa: UP031 (the old operator is a way to show it, too)
        repr([secret]),
        repr({"token": secret}),
        pprint.pformat([secret]),
    ):
        assert "secret" in shown
        assert TEXT not in shown


def test_a_traceback_with_locals_does_not_show_it() -> None:
    def fail(token: Secret) -> None:
        raise RuntimeError("oops")

    with pytest.raises(RuntimeError) as raised:
        fail(Secret(TEXT))
    shown = "".join(
        traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    )
    assert "<secret>" in shown
    assert TEXT not in shown


def test_a_copy_is_the_same_secret() -> None:
    secret = Secret(TEXT)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"token": secret})["token"] is secret


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="can't be pickled") as raised:
        pickle.dumps({"token": Secret(TEXT)}, protocol)
    assert TEXT not in str(raised.value)


def test_secrets_take_no_attributes() -> None:
    with pytest.raises(AttributeError):
        Secret(TEXT).owner = "me"  # type: ignore[attr-defined]


def test_secret_bytes_are_bytes() -> None:
    assert SecretBytes(b"x") == b"x"
    assert SecretBytes(b"x").decode() == "x"
    assert repr(SecretBytes(b"x")) == "<secret bytes>"


def test_masked_mapping_is_a_view_that_shows_nothing() -> None:
    values = {"A": "hidden"}
    view = MaskedMapping(values)
    values["B"] = "as well"
    assert dict(view) == values
    assert (len(view), view["A"], view.get("C")) == (2, "hidden", None)
    assert "hidden" not in f"{view} {view!r}"
