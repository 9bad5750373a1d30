import sys

import jwt
import pytest

from aiomsi.testing import EmbeddedAzure, ManualClock
from aiomsi.testing._state import tokens
from aiomsi.testing._state.azure_state import SYSTEM_ASSIGNED
from aiomsi.testing._state.tokens import (
    Caller,
    MissingExtraError,
    RejectedTokenError,
    TokenAuthority,
    get_signing_key,
)


@pytest.fixture
def manual() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def authority(manual: ManualClock) -> TokenAuthority:
    return TokenAuthority(manual.clock.wall)


def issue(
    authority: TokenAuthority,
    audience: str = "https://management.azure.com/",
    lifetime: float = 3_600,
    *,
    foreign: bool = False,
) -> str:
    return authority.issue(SYSTEM_ASSIGNED, audience, lifetime, foreign=foreign).token


def expect_rejection(authority: TokenAuthority, authorization: str | None) -> RejectedTokenError:
    with pytest.raises(RejectedTokenError) as caught:
        authority.check(authorization)
    return caught.value


def test_token_has_identity_audience_and_times(authority: TokenAuthority) -> None:
    issued = authority.issue(SYSTEM_ASSIGNED, "https://vault.azure.net", 3_600, roles=["Reader"])
    claims = jwt.decode(issued.token, options={"verify_signature": False})

    assert (issued.not_before, issued.expires_on) == (1_799_999_700, 1_800_003_600)
    assert (claims["nbf"], claims["exp"], claims["aud"]) == (
        1_799_999_700,
        1_800_003_600,
        "https://vault.azure.net",
    )
    assert (claims["appid"], claims["oid"]) == (
        SYSTEM_ASSIGNED.client_id,
        SYSTEM_ASSIGNED.object_id,
    )
    assert claims["roles"] == ["Reader"]
    assert issued.token not in repr(issued)


@pytest.mark.parametrize("host", ["management.azure.com", "management.core.windows.net"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_all_four_arm_audiences_are_accepted(
    authority: TokenAuthority, host: str, slash: str
) -> None:
    token = issue(authority, f"https://{host}{slash}")

    assert authority.check(f"bearer {token}") == Caller(
        SYSTEM_ASSIGNED.client_id, SYSTEM_ASSIGNED.object_id
    )


def test_verified_token_still_expires(authority: TokenAuthority, manual: ManualClock) -> None:
    header = f"Bearer {issue(authority, lifetime=60)}"
    authority.check(header)
    manual.advance(60)

    assert expect_rejection(authority, header).code == "ExpiredAuthenticationToken"


def test_expiry_error_has_arms_text(authority: TokenAuthority, manual: ManualClock) -> None:
    header = f"Bearer {issue(authority, lifetime=-60)}"

    assert expect_rejection(authority, header).message == (
        "The access token expiry UTC time '1/15/2027 7:59:00 AM' is earlier than current "
        "UTC time '1/15/2027 8:00:00 AM'."
    )
    manual.advance(4 * 3_600)
    assert "'1/15/2027 12:00:00 PM'" in expect_rejection(authority, header).message


def test_token_of_other_audience_is_rejected(authority: TokenAuthority) -> None:
    found = expect_rejection(authority, f"Bearer {issue(authority, 'https://vault.azure.net')}")

    assert found.code == "InvalidAuthenticationTokenAudience"
    assert "'https://vault.azure.net'" in found.message


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer a.b.c"])
def test_malformed_token_is_rejected(authority: TokenAuthority, header: str | None) -> None:
    assert expect_rejection(authority, header).code == "InvalidAuthenticationToken"


def test_foreign_signature_is_rejected(authority: TokenAuthority) -> None:
    assert (
        expect_rejection(authority, f"Bearer {issue(authority, foreign=True)}").code
        == "InvalidAuthenticationToken"
    )


def test_token_not_yet_valid_is_rejected(authority: TokenAuthority, manual: ManualClock) -> None:
    header = f"Bearer {issue(authority)}"
    manual.jump_wall(-3_600)

    assert expect_rejection(authority, header).code == "InvalidAuthenticationToken"


def test_revocation_ends_earlier_tokens(authority: TokenAuthority) -> None:
    before = issue(authority)
    authority.revoke_all()

    assert expect_rejection(authority, f"Bearer {before}").code == "InvalidAuthenticationToken"
    authority.check(f"Bearer {issue(authority)}")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "AuthenticationFailed"),
        ("", "AuthenticationFailed"),
        ("Basic abc", "AuthenticationFailedInvalidHeader"),
        ("Bearer", "AuthenticationFailedInvalidHeader"),
        ("Bearer  ", "AuthenticationFailedInvalidHeader"),
    ],
)
def test_header_without_token_is_rejected(
    authority: TokenAuthority, header: str | None, code: str
) -> None:
    assert expect_rejection(authority, header).code == code


def test_cache_of_verified_tokens_is_bounded(
    authority: TokenAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_VERIFIED", 1)
    for _ in range(3):
        authority.check(f"Bearer {issue(authority)}")

    assert len(authority._checked) == 1


@pytest.mark.parametrize(("package", "tls"), [("jwt", False), ("trustme", True)])
def test_missing_package_error_names_extra(
    monkeypatch: pytest.MonkeyPatch, package: str, tls: bool
) -> None:
    get_signing_key.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(
        MissingExtraError,
        match=rf"needs {'pyjwt' if package == 'jwt' else package}.*'aiomsi\[testing\]'",
    ):
        EmbeddedAzure(tls=tls)
