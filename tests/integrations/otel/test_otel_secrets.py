"""No secret is in a span: URLs, namespaces and errors."""

import pytest
from arm_server import GROUP, VAULT, VERSION, Canned, Says, Tokens, make_error_body
from hidden import check_frames
from otel_calls import run
from otel_recorder import Recorder

import aiomsi
from aiomsi import ArmSession
from aiomsi.integrations._otel.redaction import find_namespace, redact_url


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ""),
        ("?api-version=1&%24top=5&$skiptoken=SKIP", "?api-version=1&%24top=5&$skiptoken=REDACTED"),
        ("?sig=a%3D&se=2", "?sig=REDACTED&se=REDACTED"),
        ("?SIGNATURE", "?REDACTED"),
        ("?api-version=1#SIGNATURE", "?api-version=1"),
        ("?$filter=name eq 'x'", "?$filter=REDACTED"),
        ("?resource=https%3A%2F%2Fx%2f&$select=a,b", "?resource=https%3A%2F%2Fx%2f&$select=a,b"),
        ("?SIGNATURE==", "?REDACTED"),
        (f"?{'SIGNATURE' * 5}=x", "?REDACTED"),
        ("?$top=1;sig=SIGNATURE", "?$top=REDACTED"),
        ("?api-version=1?sig=SIGNATURE", "?api-version=REDACTED"),
        ("?resource=https://x/%26sig%3DSIGNATURE", "?resource=REDACTED"),
    ],
)
def test_url_shows_allowed_values_only(query: str, shown: str) -> None:
    url = "https://management.azure.com/subscriptions/x"
    assert redact_url(f"{url}{query}") == f"{url}{shown}"


def test_url_shows_no_user() -> None:
    assert redact_url("https://user:hunter2@x/y@z") == "https://REDACTED@x/y@z"


def test_url_shows_no_json_in_its_path() -> None:
    assert (
        redact_url("https://x/operations/eyJ0b2tlbiI6.abc/y") == "https://x/operations/REDACTED/y"
    )


@pytest.mark.parametrize(
    ("path", "namespace"),
    [
        (VAULT, "Microsoft.KeyVault"),
        (f"{VAULT}/providers/Microsoft.Authorization/locks/x", "Microsoft.Authorization"),
        (GROUP, "Microsoft.Resources"),
        (f"{GROUP}?x=/providers/Microsoft.Web", "Microsoft.Resources"),
        (None, "Microsoft.Resources"),
    ],
)
def test_namespace_is_that_of_the_last_provider(path: object, namespace: str) -> None:
    assert find_namespace(path) == namespace


def test_errors_have_no_frame_with_a_secret(recorder: Recorder) -> None:
    async def work(_: Canned, arm: ArmSession) -> None:
        with pytest.raises(aiomsi.ConfigurationError) as first:
            arm.list(VAULT, json={"password": "hunter2"}, item_name="")
        with pytest.raises(aiomsi.ConflictError) as second:
            await arm.post(VAULT, api_version=VERSION, json={"password": "hunter2"})
        for caught in (first, second):
            check_frames(caught.value, "hunter2", "the-token")

    run(work, Says(409, make_error_body("Conflict")), credential=Tokens(("the-token",)))
