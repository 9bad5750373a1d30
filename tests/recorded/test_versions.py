"""Recorded provider documents: every type has a version, and every path names a type or none."""

import re

from recorded.traffic import decode_document, needs_recordings, read_exchanges

from aiomsi import PUBLIC
from aiomsi._arm.protocol.api_versions import (
    ResourceType,
    choose_version,
    find_resource_type,
    find_versions,
    is_stable,
)

pytestmark = needs_recordings


def test_every_path_names_a_type_or_none() -> None:
    for exchange in read_exchanges():
        if PUBLIC.is_resource_manager(exchange.url):
            found = find_resource_type(exchange.url)
            assert found is None or (found.namespace and found.type), exchange.where
            assert found is None or "?" not in str(found), exchange.where


def test_a_version_is_found_for_every_type_that_has_one() -> None:
    for exchange in read_exchanges():
        body = decode_document(exchange)
        if not isinstance(body, dict) or not isinstance(body.get("resourceTypes"), list):
            continue
        for one in body["resourceTypes"]:
            known = [
                version
                for version in one.get("apiVersions") or []
                if re.match(r"\d{4}-\d\d-\d\d", version)
            ]
            found = find_versions(
                body, ResourceType(body["namespace"], one["resourceType"].upper())
            )
            assert set(found) >= set(known) or not known, exchange.where
            stable = sorted(version for version in known if is_stable(version))
            chosen = choose_version(found)
            assert not stable or chosen == stable[-1], exchange.where
