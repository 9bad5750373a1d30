"""Registration of providers, tokens of several tenants, and claims challenges."""

import base64
import json
import re
from collections.abc import Iterator

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask, ask_arm, ask_imds

from aiomsi.testing import EmbeddedAzure, ManualClock, ResourceGroup, Subscription

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
KV = "2023-07-01"
BODY = {"location": "westus"}
HOME = "72f3ad12-8a51-4b2e-9d44-5b0c1f5d6e01"
ELSEWHERE = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
FOREIGN = "11111111-2222-3333-4444-555555555555"
FOREIGN_GROUP = f"/subscriptions/{FOREIGN}/resourceGroups/Theirs"


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=ManualClock(1_800_000_000.0).clock) as azure:
        azure.arm.add_subscription(
            FOREIGN, Subscription("Foreign", (ResourceGroup("Theirs"),), ELSEWHERE)
        )
        yield azure


def call_provider(
    azure: EmbeddedAzure, verb: str = "", namespace: str = "Microsoft.KeyVault", scope: str = SCOPE
) -> Reply:
    return ask_arm(azure, f"{scope}/providers/{namespace}{verb}", method="POST" if verb else "GET")


def get_state(azure: EmbeddedAzure, verb: str = "", scope: str = SCOPE) -> str:
    return str(call_provider(azure, verb, scope=scope).json["registrationState"])


def test_provider_lists_its_types(azure: EmbeddedAzure) -> None:
    known, tenant = (
        call_provider(azure, namespace="microsoft.keyvault").json,
        call_provider(azure, scope="").json,
    )

    assert (known["id"], known["namespace"]) == (
        f"{SCOPE}/providers/Microsoft.KeyVault",
        "Microsoft.KeyVault",
    )
    assert (known["registrationState"], known["registrationPolicy"]) == (
        "Registered",
        "RegistrationRequired",
    )
    vaults, secrets, *_ = known["resourceTypes"]
    assert (vaults["resourceType"], vaults["apiVersions"][0], "West US" in vaults["locations"]) == (
        "vaults",
        "2024-11-01",
        True,
    )
    assert (secrets["resourceType"], secrets["locations"]) == ("vaults/secrets", [])
    assert tenant == {
        "id": "/providers/Microsoft.KeyVault",
        "namespace": "Microsoft.KeyVault",
        "resourceTypes": known["resourceTypes"],
    }
    assert ask_arm(azure, f"{SCOPE}/providers/Microsoft.KeyVault/resourceTypes").json == {
        "value": known["resourceTypes"]
    }
    assert call_provider(azure, namespace="Microsoft.None").code == "InvalidResourceNamespace"


def test_providers_are_listed(azure: EmbeddedAzure) -> None:
    listed, tenant = (ask_arm(azure, f"{scope}/providers").json["value"] for scope in (SCOPE, ""))
    names = [one["namespace"] for one in listed]

    assert names == sorted(names, key=str.lower)
    assert names == [one["namespace"] for one in tenant]
    assert {"Microsoft.Compute", "Microsoft.Resources"} <= set(names)


def test_registration_takes_several_polls(azure: EmbeddedAzure) -> None:
    azure.arm.unregister_provider("Microsoft.KeyVault", polls=2)
    before = get_state(azure)
    begun = [get_state(azure, "/register"), get_state(azure, "/register")]
    after = [get_state(azure) for _ in range(4)]

    assert (before, begun) == ("NotRegistered", ["Registering"] * 2)
    assert after == ["Registering", "Registering", "Registered", "Registered"]
    assert get_state(azure, "/register") == "Registered"
    assert [get_state(azure, "/unregister"), *(get_state(azure) for _ in range(3))] == [
        "Unregistering"
    ] * 3 + ["Unregistered"]


def test_registration_is_per_subscription(azure: EmbeddedAzure) -> None:
    other = azure.arm.add_subscription()
    azure.arm.unregister_provider("Microsoft.KeyVault", other)
    assert [get_state(azure), get_state(azure, scope=f"/subscriptions/{other}")] == [
        "Registered",
        "NotRegistered",
    ]
    get_state(azure, "/register", scope=f"/subscriptions/{other}")
    azure.arm.unregister_provider("Microsoft.KeyVault")
    assert [get_state(azure), get_state(azure, scope=f"/subscriptions/{other}")] == [
        "NotRegistered"
    ] * 2


def test_builtin_namespaces_stay_registered(azure: EmbeddedAzure) -> None:
    azure.arm.unregister_provider("Microsoft.Authorization")
    own = call_provider(azure, namespace="Microsoft.Authorization").json

    assert (own["registrationState"], own["registrationPolicy"]) == (
        "Registered",
        "RegistrationFree",
    )
    assert (
        call_provider(azure, "/unregister", "Microsoft.Authorization").code
        == "CannotUnregisterResourceProvider"
    )


def test_unregistered_provider_repeats_409_per_request_id(azure: EmbeddedAzure) -> None:
    azure.arm.add_provider("Contoso.Widgets", {"widgets": ["2024-01-01"]}, registered=False)
    widget = f"{GROUP}/providers/Contoso.Widgets/widgets/w"

    def put(request_id: str = "") -> Reply:
        headers = {"x_ms_client_request_id": request_id} if request_id else {}
        return ask_arm(azure, widget, "2024-01-01", method="PUT", body=BODY, **headers)

    refused = put("one")
    text = (
        "The subscription is not registered to use namespace 'Contoso.Widgets'. "
        "See https://aka.ms/rps-not-found for how to register subscriptions."
    )
    detail = {
        "code": "MissingSubscriptionRegistration",
        "target": "Contoso.Widgets",
        "message": text,
    }
    assert (refused.status, refused.json["error"]) == (
        409,
        {"code": "MissingSubscriptionRegistration", "message": text, "details": [detail]},
    )
    assert put().status == 409
    for _ in range(1_001):
        azure.arm._state.refused["", "", str(_)] = azure.arm._state.refused[
            next(iter(azure.arm._state.refused))
        ]
    assert put("two").status == 409
    call_provider(azure, "/register", "Contoso.Widgets")
    for _ in range(2):
        call_provider(azure, namespace="Contoso.Widgets")
    assert [put("two").status, put("three").status, put().status] == [409, 201, 200]


def test_tenants_and_locations_are_listed(azure: EmbeddedAzure) -> None:
    tenants = ask_arm(azure, "/tenants", "2022-12-01").json["value"]
    places = ask_arm(azure, f"{SCOPE}/locations", "2022-12-01").json["value"]

    assert [tenant["tenantId"] for tenant in tenants] == [HOME]
    assert {"name": "westus", "displayName": "West US"}.items() <= next(
        place for place in places if place["id"] == f"{SCOPE}/locations/westus"
    ).items()


def test_token_of_other_tenant_is_rejected(azure: EmbeddedAzure) -> None:
    reply = ask_arm(azure, FOREIGN_GROUP)
    theirs = azure.imds.issue_token(tenant_id=ELSEWHERE)

    assert (reply.status, reply.code) == (401, "InvalidAuthenticationTokenTenant")
    assert reply.headers["WWW-Authenticate"].startswith(
        f'Bearer authorization_uri="https://login.windows.net/{ELSEWHERE}", error="invalid_token", '
    )
    found = re.search(
        r"issuer '([^']*)'.* must match the tenant '([^']*)'", reply.json["error"]["message"]
    )
    assert found is not None
    assert found.groups() == (
        f"https://sts.windows.net/{HOME}/",
        f"https://sts.windows.net/{ELSEWHERE}/",
    )
    assert ask_arm(azure, FOREIGN_GROUP, token=theirs).status == 200
    assert ask_arm(azure, GROUP, token=theirs).code == "InvalidAuthenticationTokenTenant"
    listed = [
        ask_arm(azure, "/subscriptions", token=token).json["value"] for token in (None, theirs)
    ]
    assert [[one["subscriptionId"] for one in page] for page in listed] == [
        [SUBSCRIPTION],
        [FOREIGN],
    ]
    assert listed[1][0]["tenantId"] == ELSEWHERE


def test_challenge_names_tenant_of_subscription(azure: EmbeddedAzure) -> None:
    reply = ask(azure.arm.url, f"{FOREIGN_GROUP}?api-version=2021-04-01")

    assert (
        f'authorization_uri="https://login.windows.net/{ELSEWHERE}"'
        in reply.headers["WWW-Authenticate"]
    )


@pytest.mark.parametrize(
    "document", [{"properties": {"ids": [{"id": f"{FOREIGN_GROUP}/providers/a/b/c"}, 1, "x"]}}]
)
def test_link_to_other_tenant_needs_auxiliary_token(
    azure: EmbeddedAzure, document: dict[str, object]
) -> None:
    def put(method: str = "PUT", **headers: str) -> Reply:
        return ask_arm(azure, VAULT, KV, method=method, body=BODY | document, **headers)

    def auxiliary(*tokens: str) -> dict[str, str]:
        return {"x_ms_authorization_auxiliary": ", ".join(f"Bearer {token}" for token in tokens)}

    theirs = azure.imds.issue_token(tenant_id=ELSEWHERE)
    assert put().code == "LinkedAuthorizationFailed"
    assert put(**auxiliary(theirs)).status == 201
    assert (put("PATCH").status, put("PATCH", **auxiliary(theirs)).status) == (403, 200)
    expired = azure.imds.issue_token(tenant_id=ELSEWHERE, expires_in=-1)
    assert put(**auxiliary(theirs, expired)).code == "ExpiredAuthenticationToken"
    assert put(**auxiliary(theirs, theirs, theirs)).status == 200
    assert put(**auxiliary(*[theirs] * 4)).code == "InvalidAuthenticationToken"


def test_challenged_tokens_are_rejected_until_renewed(azure: EmbeddedAzure) -> None:
    old = ask_imds(azure).json["access_token"]
    azure.arm.challenge_tokens()
    reply = ask_arm(azure, token=old)
    challenge = reply.headers["WWW-Authenticate"]
    found = re.search(
        r'error="insufficient_claims", error_description="[^"]+", claims="([^"]*)"', challenge
    )

    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")
    assert found is not None
    claims = json.loads(base64.urlsafe_b64decode(found[1]))
    assert claims == {"access_token": {"nbf": {"essential": True, "value": "1800000000"}}}
    assert ask_arm(azure, token=ask_imds(azure).json["access_token"]).status == 200
    assert azure.counts.arm_unauthorized == 1


def test_challenge_has_the_set_claims(azure: EmbeddedAzure) -> None:
    old = azure.imds.issue_token()
    azure.arm.challenge_tokens({"access_token": {"acrs": {"value": "c1"}}})
    challenge = ask_arm(azure, token=old).headers["WWW-Authenticate"]

    assert (
        base64.urlsafe_b64encode(b'{"access_token":{"acrs":{"value":"c1"}}}').decode() in challenge
    )
