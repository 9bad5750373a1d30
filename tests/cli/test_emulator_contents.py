"""The options of `aiomsi emulator` for the contents and limits of the embedded Azure."""

from typing import Any

import pytest
from cli.test_emulator import run_emulator

from aiomsi import testing
from aiomsi._cli import main as cli
from aiomsi.testing import ArmBucket, EmbeddedAzure

pytestmark = pytest.mark.usefixtures("azure_environment")


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[EmbeddedAzure]:
    """Return the list of the embedded Azures that the command creates."""
    azures: list[EmbeddedAzure] = []

    def create(**options: Any) -> EmbeddedAzure:
        azures.append(EmbeddedAzure(**options))
        return azures[-1]

    monkeypatch.setattr(testing, "EmbeddedAzure", create)
    return azures


def test_emulator_serves_a_generated_tenant(
    monkeypatch: pytest.MonkeyPatch, created: list[EmbeddedAzure]
) -> None:
    options = ("--subscriptions", "3", "--resources", "50", "--seed", "2", "--shell", "sh")
    said, _ = run_emulator(monkeypatch, *options)
    other = EmbeddedAzure()

    assert said.code == 0
    assert created[0].subscription_ids[1:] == other.generate(subscriptions=3, resources=50, seed=2)


def test_emulator_enforces_limits_on_request(
    monkeypatch: pytest.MonkeyPatch, created: list[EmbeddedAzure]
) -> None:
    run_emulator(monkeypatch, "--reads", "250", "25", "--shell", "sh")
    run_emulator(monkeypatch, "--shell", "sh")
    limits = [azure.arm_limits for azure in created]

    assert limits[0].buckets.reads == ArmBucket(250, 25)
    assert [one.enforced for one in limits] == [True, False]


def test_resources_without_subscriptions_are_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["emulator", "--resources", "5"]) == 2
    assert "--resources needs subscriptions" in capsys.readouterr().err
