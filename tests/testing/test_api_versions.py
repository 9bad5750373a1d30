"""The api-versions that the embedded ARM accepts."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from testing.embedded_client import GROUP, ask_arm

from aiomsi import ArmSession
from aiomsi.testing import EmbeddedAzure, ManualClock

VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
OLDEST, NEWEST, TODAY, TOMORROW = "2015-06-01", "2024-11-01", "2026-03-14", "2026-03-15"
BODY = {"location": "westus"}


def start(*, strict: bool) -> EmbeddedAzure:
    clock = ManualClock(datetime(2026, 3, 14, 23, 59, tzinfo=UTC).timestamp())
    return EmbeddedAzure(clock=clock.clock, strict_versions=strict)


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with start(strict=False) as azure:
        yield azure


@pytest.fixture
def strict() -> Iterator[EmbeddedAzure]:
    with start(strict=True) as azure:
        yield azure


@pytest.mark.parametrize(
    "version", [OLDEST, "2015-06-01-preview", "2019-12-31", NEWEST, TODAY, f"{TODAY}-Preview"]
)
def test_version_between_oldest_and_today_is_accepted(azure: EmbeddedAzure, version: str) -> None:
    assert ask_arm(azure, VAULT, version, method="PUT", body=BODY).status == 201
    assert ask_arm(azure, VAULT, version).status == 200


@pytest.mark.parametrize("version", ["2015-05-31", TOMORROW, "2024-02-30", "2024-11"])
def test_implausible_version_of_type_is_rejected(azure: EmbeddedAzure, version: str) -> None:
    supported = f"The supported api-versions are '{NEWEST}, "
    written = ask_arm(azure, VAULT, version, method="PUT", body=BODY)
    read = ask_arm(azure, VAULT, version)

    assert (written.status, written.code) == (400, "NoRegisteredProviderFound")
    assert (read.status, read.code) == (404, "InvalidResourceType")
    assert supported in written.json["error"]["message"]
    assert supported in read.json["error"]["message"]


@pytest.mark.parametrize(
    ("version", "status"),
    [("2013-03-01", 200), ("2014-04", 200), (TODAY, 200), ("2013-02-28", 400), (TOMORROW, 400)],
)
def test_arms_own_types_accept_plausible_versions(
    azure: EmbeddedAzure, version: str, status: int
) -> None:
    assert ask_arm(azure, GROUP, version).status == status


def test_strict_versions_are_those_of_the_list(strict: EmbeddedAzure) -> None:
    assert ask_arm(strict, VAULT, NEWEST, method="PUT", body=BODY).status == 201
    assert ask_arm(strict, VAULT, TODAY).code == "InvalidResourceType"
    assert ask_arm(strict, VAULT, TODAY, method="PUT").code == "NoRegisteredProviderFound"
    assert ask_arm(strict, GROUP, TODAY).code == "InvalidApiVersionParameter"


def test_listed_version_after_today_is_accepted(azure: EmbeddedAzure) -> None:
    azure.arm.add_provider("Contoso.Widgets", {"widgets": ["2030-01-01"]})
    path = f"{GROUP}/providers/Contoso.Widgets/widgets/w"

    assert ask_arm(azure, path, "2030-01-01", method="PUT", body=BODY).status == 201
    assert ask_arm(azure, path, TODAY).code == "InvalidResourceType"


def test_type_without_versions_accepts_none(azure: EmbeddedAzure) -> None:
    azure.arm.add_provider("Contoso.Widgets", {"widgets": []})
    path = f"{GROUP}/providers/Contoso.Widgets/widgets/w"

    assert ask_arm(azure, path, TODAY).code == "InvalidResourceType"


@pytest.mark.anyio
@pytest.mark.parametrize("azures", ["azure", "strict"])
async def test_session_looks_versions_up_as_listed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, azures: str
) -> None:
    azure: EmbeddedAzure = request.getfixturevalue(azures)
    for name, value in azure.environment.items():
        monkeypatch.setenv(name, value)
    async with ArmSession() as arm:
        await arm.put(VAULT, json=BODY)
        assert (await arm.get(VAULT))["name"] == "kv"

    sent = [one.path_qs for one in azure.requests if "vaults/kv" in one.path_qs]
    assert [query.partition("api-version=")[2] for query in sent] == [NEWEST, NEWEST]
