"""Recorded responses: every remaining count belongs to a bucket."""

import re

from recorded.checks import count_case
from recorded.traffic import needs_recordings, read_exchanges

from aiomsi._arm.protocol.limits import Bucket, BucketScope, Remaining, read_remaining

pytestmark = needs_recordings

KNOWN = re.compile(
    r"x-ms-ratelimit-remaining-(?P<scope>subscription-global|subscription|tenant)-"
    r"(?P<operations>reads|writes|deletes|resource-requests|resource-entities-read)(?:-pt(?P<number>\d+)(?P<unit>[smh]))?"
)
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
SCOPES: dict[str, BucketScope] = {
    "subscription-global": "global",
    "subscription": "subscription",
    "tenant": "tenant",
}


def parse_numbers(value: str) -> list[int]:
    return [int(part) for part in value.split(",") if part.strip().isdigit()]


def iter_counts() -> list[tuple[str, str, str, tuple[Remaining, ...]]]:
    """Yield every header, with the counts read from all headers of its response."""
    found = []
    for exchange in read_exchanges():
        read = read_remaining(exchange.response.headers, 0.0)
        found += [
            (exchange.where, name.lower(), value, read)
            for name, value in exchange.response.headers.items()
        ]
    assert any(read for *_, read in found)
    return found


def test_every_count_of_arm_s_own_is_put_down_to_a_bucket() -> None:
    for where, name, value, read in iter_counts():
        known = KNOWN.fullmatch(name)
        if known is None or not parse_numbers(value):
            continue
        window = UNITS[known["unit"]] * int(known["number"]) if known["unit"] else None
        bucket = Bucket(SCOPES[known["scope"]], known["operations"], window)
        with count_case(5, f"{name} at {where}"):
            assert [one.count for one in read if one.bucket == bucket] == [
                min(parse_numbers(value))
            ]


def test_every_policy_of_compute_s_lists_is_a_bucket() -> None:
    for where, name, value, read in iter_counts():
        if name != "x-ms-ratelimit-remaining-resource":
            continue
        found = {one.bucket.operations: one.count for one in read}
        windows = {one.bucket.operations for one in read if one.bucket.window}
        with count_case(5, f"{name} at {where}"):
            for item in value.split(","):
                policy, _, left = item.strip().partition(";")
                if left.strip().isdigit():
                    assert found[policy] <= int(left), policy
                    assert re.search(r"\d(?:Min|Hour|Sec)", policy) is None or policy in windows


def test_every_quota_of_a_user_is_a_bucket() -> None:
    for where, name, value, read in iter_counts():
        if name == "x-ms-user-quota-remaining":
            with count_case(5, f"{name} at {where}"):
                (found,) = (one for one in read if one.bucket.scope == "user")
                assert found.count == int(value)
                assert found.resets_after is not None


def test_nothing_else_is_taken_for_a_count() -> None:
    for where, name, value, _ in iter_counts():
        if "remaining" not in name:
            assert read_remaining({name: value}, 0.0) == (), f"{name} at {where}"


def test_counts_are_counts() -> None:
    for where, _, _, read in iter_counts():
        assert all(one.count >= 0 for one in read), where
        assert len({one.bucket for one in read}) == len(read), where
