"""The mask of subscription ids."""

import logging
from pathlib import Path

import pytest
from command_line import Run

from aiomsi import ConfigurationError
from aiomsi._cli.inventory.output_mask import Mask
from aiomsi.inventory import Manifest, Plan, Scope, ScopeError, ScopeResult, Subscription
from aiomsi.testing import EmbeddedAzure, Fault

ID = "0326324d-fb69-4ffb-ba18-90c78092b4d4"
OTHER = "8d9bff2e-8a17-4b8a-9b94-0f3f9d1c2a10"
HIDDEN = "subscription-0001"
UNKNOWN = "********-****-****-****-************"
PLAN = Plan("run", (Subscription(ID, f"of {ID}"), Subscription(OTHER[:-1] + "1")))


@pytest.fixture
def mask() -> Mask:
    mask = Mask(is_on=True)
    mask.learn(PLAN)
    return mask


def test_mask_that_is_off_changes_no_text() -> None:
    off = Mask()

    assert off(ID) == ID
    manifest = Manifest(PLAN, ())
    assert off.mask_manifest(manifest) is manifest


def test_every_guid_is_hidden_before_the_plan() -> None:
    assert Mask(is_on=True)(f"{ID} {OTHER}") == f"{UNKNOWN} {UNKNOWN}"


def test_ids_of_subscriptions_are_numbered_later(mask: Mask) -> None:
    assert mask(f"{ID.upper()}.list by {OTHER}") == f"{HIDDEN}.list by {OTHER}"
    assert mask(f"/Subscriptions/{OTHER}/x") == "/Subscriptions/subscription-0003/x"


def test_manifest_for_people_has_no_id(mask: Mask) -> None:
    error = ScopeError("X", f"in /subscriptions/{ID}")
    results = tuple(ScopeResult(Scope(ID, "list"), "failed", error=each) for each in (error, None))

    shown = mask.mask_manifest(Manifest(PLAN, results))

    assert ID not in repr(shown)
    assert shown.summarize().startswith("incomplete: 1 of 2")


def test_log_and_error_in_the_block_are_masked(
    mask: Mask, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("aiomsi")
    logger.addHandler(caplog.handler)

    def fail() -> None:
        logging.getLogger("aiomsi.arm").warning("limit of %s", ID)
        raise ConfigurationError(f"two: {ID}", help=f"pass {ID}")

    try:
        with pytest.raises(ConfigurationError) as caught, mask.logs():
            fail()
        logging.getLogger("aiomsi.arm").warning("after %s", ID)
    finally:
        logger.removeHandler(caplog.handler)
    assert str(caught.value) == f"two: {HIDDEN}. pass {HIDDEN}"
    texts = {record.getMessage() for record in caplog.records}
    assert texts == {f"limit of {HIDDEN}", f"after {ID}"}


@pytest.mark.usefixtures("azure_environment")
def test_details_of_an_error_of_the_plan_are_masked(
    run: Run, embedded_azure: EmbeddedAzure, tmp_path: Path
) -> None:
    inner = {"code": "Inner", "message": f"inner of {ID}"}
    details = [{"code": "Outer", "message": f"outer of {ID}", "details": [inner]}]
    body = {"error": {"code": "Refused", "message": "No", "details": details}}
    embedded_azure.arm.inject(Fault(403, body=body), None, "/subscriptions")

    said = run("inventory", "-o", f"{tmp_path}/x.jsonl", "--mask")

    assert said.code == 1
    assert f"Outer: outer of {UNKNOWN}. Inner: inner of {UNKNOWN}" in said.err
    assert ID not in said.err


def test_notes_of_an_error_are_masked(mask: Mask) -> None:
    error = ConfigurationError("No")
    error.add_note(f"after {ID}")

    with pytest.raises(ConfigurationError), mask.logs():
        raise error

    assert error.__notes__ == [f"after {HIDDEN}"]
