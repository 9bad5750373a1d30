"""The mask of subscription ids."""

import logging

import pytest

from aiomsi import ConfigurationError
from aiomsi._cli.inventory.mask import Mask
from aiomsi.inventory import Manifest, Plan, Scope, ScopeError, ScopeResult, Subscription

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
