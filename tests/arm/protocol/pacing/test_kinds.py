"""The limits that a request draws from: guessed, learned from responses, and counted."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from recorded.traffic import FOLDER, read_exchanges

from aiomsi._arm.protocol.limits import read_remaining
from aiomsi._arm.protocol.pacing import kinds as _kinds
from aiomsi._arm.protocol.pacing.kinds import Kinds, Limit, ScopedKind

ARM = "https://management.azure.com"
ONE, OTHER = "11111111-2222-3333-4444-5555555555aa", "99999999-2222-3333-4444-5555555555bb"
SITES = f"/subscriptions/{ONE}/resourceGroups/g/providers/Microsoft.Web/sites"
VM = f"/subscriptions/{ONE}/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
LEFT = "x-ms-ratelimit-remaining-"
READS = Limit(ONE, "subscription-reads")


def make_url(path: str) -> str:
    return f"{ARM}{path}{'&' if '?' in path else '?'}api-version=2024-01-01"


def find(kinds: Kinds, path: str, method: str = "GET") -> ScopedKind:
    return kinds.find(method, make_url(path))


def make_headers(**more: str | int) -> CIMultiDictProxy[str]:
    named = {name if name.startswith("x_") else LEFT + name: value for name, value in more.items()}
    return CIMultiDictProxy(
        CIMultiDict(
            {
                "x-ms-routing-request-id": "EASTUS2:20260622T075512Z:1",
                **{name.replace("_", "-"): str(value) for name, value in named.items()},
            }
        )
    )


def read(
    kinds: Kinds, scoped: ScopedKind, found: Mapping[str, str], *, good: bool = True
) -> list[Any]:
    region, counts = kinds.read_counts(scoped, found, 0.0, good=good)
    assert region == "EASTUS2"
    return counts


# Guesses


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", SITES, "subscription-reads"),
        ("HEAD", f"/subscriptions/{ONE}/resourceGroups/g", "subscription-reads"),
        ("GET", f"/subscriptions/{ONE}", "subscription-reads"),
        ("PUT", VM, "subscription-writes"),
        ("PATCH", VM, "subscription-writes"),
        ("POST", f"{VM}/start", "subscription-writes"),
        ("POST", f"{SITES}/a/listKeys", "subscription-reads"),
        ("DELETE", VM, "subscription-deletes"),
        ("POST", GRAPH, "tenant-reads"),
        ("GET", "/subscriptions", "tenant-reads"),
        ("GET", "/providers/Microsoft.Management/managementGroups/m", "tenant-reads"),
        ("POST", "/providers/Microsoft.Resources/calculateTemplateHash", "tenant-writes"),
    ],
)
def test_first_guess_is_arms_bucket_for_the_verb(method: str, path: str, name: str) -> None:
    scoped = find(Kinds(), path, method)
    scope = ONE if name.startswith("sub") else ""
    assert scoped.keys == (Limit(scope, name),)
    assert scoped.kind.operation == name.partition("-")[2]
    assert scoped.keys[0].is_of_arm


def test_kind_does_not_depend_on_names_and_case() -> None:
    kinds = Kinds()
    found = find(kinds, f"{SITES}/a")
    other = f"/SUBSCRIPTIONS/{ONE.upper()}/RESOURCEGROUPS/h/PROVIDERS/microsoft.web/SITES/b"
    assert find(kinds, other) is found
    elsewhere = find(kinds, f"{SITES}/a".replace(ONE, OTHER))
    assert (elsewhere.kind, elsewhere.scope) == (found.kind, OTHER)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", SITES),
        ("HEAD", f"{SITES}/a"),
        ("GET", f"{SITES}/a/slots/b"),
        ("GET", f"{SITES}/a?useResourceGraph=true"),
        ("GET", f"{SITES}/a?useresourcegraph=true"),
        ("GET", "/providers/Microsoft.Web/sites/a"),
        ("POST", f"{SITES}/a/restart"),
    ],
)
def test_kind_depends_on_verb_type_and_form(method: str, path: str) -> None:
    kinds = Kinds()
    assert find(kinds, f"{SITES}/a").kind is not find(kinds, path, method).kind


def test_neighbours_are_told_apart_where_it_matters() -> None:
    kinds = Kinds()
    for path in ("/subscriptions/{}", "/subscriptions/{}/resourceGroups", f"{SITES}/{{}}/restart"):
        for name in (ONE, OTHER):
            scoped = find(kinds, path.format(name), "POST")
            assert scoped.scope == (ONE if path.startswith(SITES) else name)
    for path in (f"{SITES}/a/x", f"{SITES}/a/y", "/subscriptions"):
        assert kinds.find("GET", ARM + path).kind is not find(kinds, f"{SITES}/a").kind
    assert find(kinds, f"{SITES}/a") is find(kinds, f"{SITES}/b")


def test_kind_is_named_after_verb_and_type() -> None:
    kinds = Kinds()
    assert str(find(kinds, f"{SITES}/a").kind) == "GET microsoft.web/sites"
    assert str(find(kinds, f"{VM}/start", "POST").kind).endswith("virtualmachines/start")
    group = find(kinds, f"/subscriptions/{ONE}/resourceGroups/g").kind
    assert str(group) == "GET microsoft.resources/subscriptions/resourcegroups"
    assert str(find(kinds, "/").kind) == "GET of other paths"


def test_text_of_a_limit_names_scope_and_owner() -> None:
    assert str(READS) == f"subscription-reads in subscription {ONE}"
    assert str(Limit("", "requests", "a.b/c")) == "requests of a.b/c in the tenant"
    assert not Limit("", "user-quota").is_of_arm


# Learning


def test_limits_of_a_good_response_hold_in_every_subscription() -> None:
    kinds = Kinds()
    scoped = find(kinds, SITES)
    found = make_headers(**{"subscription-resource-requests": 499})
    assert read(kinds, scoped, found) == [None]
    limit = Limit(ONE, "subscription-resource-requests", "microsoft.web/sites")
    again = find(kinds, SITES)
    assert (again.keys, again is scoped) == ((limit,), False)
    assert find(kinds, SITES.replace(ONE, OTHER)).keys == (limit._replace(scope=OTHER),)
    assert read(kinds, again, found) == read(kinds, again, found) == [(499, "EASTUS2", None)]
    assert not limit.is_of_arm


def test_error_responses_teach_no_limits_but_have_counts() -> None:
    kinds = Kinds()
    scoped = find(kinds, SITES)
    found = make_headers(**{"subscription-resource-requests": 499, "subscription-reads": 7})
    assert read(kinds, scoped, found, good=False) == [(7, "EASTUS2", None)]
    assert find(kinds, SITES) is scoped


def test_other_limits_count_if_named_twice_in_a_row() -> None:
    kinds = Kinds()
    one, other = make_headers(**{"subscription-reads": 9}), make_headers(**{"calls-per-second": 3})
    for found in (one, other, one, other):
        read(kinds, find(kinds, SITES), found)
        assert find(kinds, SITES).keys == (READS,)
    read(kinds, find(kinds, SITES), other)
    assert find(kinds, SITES).keys == (Limit(ONE, "calls-per-second", "microsoft.web/sites"),)


def test_window_in_a_headers_name_is_another_limit() -> None:
    kinds = Kinds()
    found = make_headers(
        **{"subscription-resource-requests-pt5m": 99, "subscription-resource-requests-pt1h": 899}
    )
    read(kinds, find(kinds, SITES), found)
    assert [limit.name for limit in find(kinds, SITES).keys] == [
        "subscription-resource-requests-pt1h",
        "subscription-resource-requests-pt5m",
    ]


def test_compute_policies_are_limits_except_of_single_resources() -> None:
    kinds = Kinds()
    value = (
        "Microsoft.Compute/LowCostGet3Min;3997,Microsoft.Compute/LowCostGet30Min;31875, "
        "Microsoft.Compute/GetOperationResource;44"
    )
    found = make_headers(resource=value, **{"subscription-reads": 200})
    read(kinds, find(kinds, VM), found)
    scoped = find(kinds, VM)
    assert scoped.keys == (Limit(ONE, "LowCostGet30Min"), Limit(ONE, "LowCostGet3Min"), READS)
    assert kinds.unwaited == {Limit(ONE, "GetOperationResource"): 44}
    expected = [(31875, "EASTUS2", None), (3997, "EASTUS2", None), (200, "EASTUS2", None)]
    assert read(kinds, scoped, found) == expected
    # The second response is read by the names of the first.
    other = make_headers(resource=f"Microsoft.Compute/HighLowCostGet3Min;1,{value}")
    assert (
        read(
            kinds,
            scoped,
            make_headers(**{"subscription-reads": 200}, resource=other[LEFT + "resource"]),
        )
        == expected
    )


def test_quota_of_resource_graph_belongs_to_the_paths_scope() -> None:
    kinds = Kinds()
    found = make_headers(x_ms_user_quota_remaining=14, x_ms_user_quota_resets_after="00:00:05")
    for path, scope in ((f"{SITES}?useResourceGraph=true", ONE), (GRAPH, "")):
        method = "POST" if path is GRAPH else "GET"
        read(kinds, find(kinds, path, method), found)
        scoped = find(kinds, path, method)
        assert (scoped.keys, scoped.has_windows) == ((Limit(scope, "user-quota"),), True)
        for _ in range(3):
            # The window ends everywhere at once.
            assert read(kinds, scoped, found) == [(14, "", 5.0)]


def test_quota_of_resource_graph_in_two_headers_is_one_limit() -> None:
    kinds, counts = Kinds(), []
    for left in (14, 13, 0):
        found = make_headers(
            **{"tenant-reads": 11_999, "tenant-resource-requests": left},
            x_ms_user_quota_remaining=left,
            x_ms_user_quota_resets_after="00:00:05",
        )
        counts = read(kinds, find(kinds, GRAPH, "POST"), found)
    assert find(kinds, GRAPH, "POST").keys == (Limit("", "tenant-reads"), Limit("", "user-quota"))
    assert counts == [(11_999, "EASTUS2", None), (0, "", 5.0)]


def test_window_with_an_instant_is_read_by_the_wall_clock() -> None:
    kinds = Kinds()
    found = make_headers(
        x_rate_limit_limit="1m",
        x_rate_limit_remaining="298",
        x_rate_limit_reset="2025-05-06T15:41:30Z",
    )
    read(kinds, find(kinds, SITES), found)
    scoped = find(kinds, SITES)
    assert scoped.keys == (Limit(ONE, "rate-limit", "microsoft.web/sites"),)
    wall = 1_746_546_080.0
    assert kinds.read_counts(scoped, found, wall, good=True)[1] == [(298, "", 10.0)]


# The global bucket


BOTH = {"subscription-reads": 200, "subscription-global-reads": 3749}


def test_global_bucket_is_waited_for_once_it_is_the_smaller_one() -> None:
    kinds = Kinds()
    read(kinds, find(kinds, SITES), make_headers(**BOTH))
    scoped = find(kinds, SITES)
    assert scoped.keys == (READS,)
    assert scoped.shared is not None
    for _ in range(_kinds._SEARCH_EVERY):
        assert read(kinds, scoped, make_headers(**BOTH)) == [(200, "EASTUS2", None)]
    assert find(kinds, SITES) is scoped
    low = make_headers(**{**BOTH, "subscription-global-reads": 199})
    for _ in range(_kinds._SEARCH_EVERY):
        assert read(kinds, scoped, low) == [(200, "EASTUS2", None)]
    tight = find(kinds, SITES)
    assert tight.keys == (Limit(ONE, "subscription-global-reads"), READS)
    assert read(kinds, tight, low) == [(199, "EASTUS2", None), (200, "EASTUS2", None)]
    # In another subscription it is as large as ever.
    assert find(kinds, SITES.replace(ONE, OTHER)).keys == (READS._replace(scope=OTHER),)


def test_global_bucket_is_compared_when_all_headers_are_read() -> None:
    kinds = Kinds()
    read(kinds, find(kinds, SITES), make_headers(**BOTH))
    low = make_headers(**{**BOTH, "subscription-global-reads": 199})
    assert read(kinds, find(kinds, SITES), low) == [(200, "EASTUS2", None)]
    assert len(find(kinds, SITES).keys) == 2


def test_low_global_bucket_is_waited_for_by_all_its_kinds() -> None:
    kinds = Kinds()
    paths = (SITES, f"{SITES}/a")
    for path in paths:
        read(kinds, find(kinds, path), make_headers(**BOTH))
    both = [find(kinds, path) for path in paths]
    for scoped in both:
        read(kinds, scoped, make_headers(**{**BOTH, "subscription-global-reads": 199}))
    assert [len(find(kinds, path).keys) for path in paths] == [2, 2]


def test_global_bucket_alone_is_waited_for() -> None:
    kinds = Kinds()
    found = make_headers(**{"subscription-global-reads": 3749})
    read(kinds, find(kinds, SITES), found)
    assert find(kinds, SITES).keys == (Limit(ONE, "subscription-global-reads"),)
    assert read(kinds, find(kinds, SITES), found) == [(3749, "EASTUS2", None)]


# Reading by known names


@pytest.mark.parametrize("value", ["", "many", "1.5", "9223372036854775807", "-1", " 7 "])
def test_unusual_count_is_read_like_the_first_response(value: str) -> None:
    kinds = Kinds()
    read(kinds, find(kinds, SITES), make_headers(**{"subscription-reads": 9}))
    scoped = find(kinds, SITES)
    found = make_headers(**{"subscription-reads": value})
    read(kinds, scoped, make_headers(**{"subscription-reads": 9}))
    counts: list[Any] = [(one.count, "EASTUS2", None) for one in read_remaining(found, 0.0)]
    assert read(kinds, scoped, found) == (counts or [None])


def test_lowest_of_several_counts_is_taken() -> None:
    kinds = Kinds()
    found = CIMultiDict(make_headers(**{"subscription-reads": 9}))
    found.add(f"{LEFT}subscription-reads", "5")
    found.add(f"{LEFT}subscription-reads", "7")
    assert read(kinds, find(kinds, SITES), found) == [(5, "EASTUS2", None)]


def test_response_without_region_has_an_empty_one() -> None:
    kinds = Kinds()
    found = {f"{LEFT}subscription-reads": "9"}
    assert kinds.read_counts(find(kinds, SITES), found, 0.0, good=True) == ("", [(9, "", None)])


def test_limit_named_later_is_found_within_64_responses() -> None:
    kinds = Kinds()
    more = make_headers(**{"subscription-reads": 9, "calls-per-second": 3})
    read(kinds, find(kinds, SITES), make_headers(**{"subscription-reads": 9}))
    for _ in range(2 * _kinds._READ_ALL_EVERY):
        read(kinds, find(kinds, SITES), more)
    assert len(find(kinds, SITES).keys) == 2


def test_kind_without_counts_is_searched_now_and_then() -> None:
    kinds = Kinds()
    nothing = make_headers()
    scoped = find(kinds, SITES)
    assert [read(kinds, scoped, nothing) for _ in range(20)] == [[None]] * 20
    assert find(kinds, SITES) is scoped
    found = make_headers(**{"calls-per-second": 3})
    for _ in range(_kinds._SEARCH_EVERY):
        read(kinds, scoped, found)
    assert find(kinds, SITES) is not scoped


@pytest.mark.parametrize("text", ["3f6c1c0e-0000", f"{'a' * 36}:1", ""])
def test_routing_id_without_a_region_names_none(text: str) -> None:
    kinds = Kinds()
    found = CIMultiDict(make_headers(**{"subscription-reads": 9}))
    found["x-ms-routing-request-id"] = text
    for _ in range(2):
        region, counts = kinds.read_counts(find(kinds, SITES), found, 0.0, good=True)
        assert (region, counts) == ("", [(9, "", None)])


# Limits that only a 429 has shown


def test_limit_of_a_429_is_added_in_its_scope_only() -> None:
    kinds = Kinds()
    scoped = find(kinds, SITES)
    limit = Limit(ONE, "GET microsoft.web/sites")
    kinds.add_limit(scoped, limit)
    added = find(kinds, SITES)
    assert added.keys == (READS, limit)
    assert find(kinds, SITES.replace(ONE, OTHER)).keys == (READS._replace(scope=OTHER),)
    found = make_headers(**{"subscription-reads": 9})
    assert [read(kinds, added, found) for _ in range(2)] == [[(9, "EASTUS2", None), None]] * 2
    kinds.add_limit(added, limit)
    kinds.add_limit(scoped, limit)
    assert find(kinds, SITES) is added


def test_limits_of_a_scope_leave_the_other_scopes_alone() -> None:
    kinds = Kinds()
    elsewhere = SITES.replace(ONE, OTHER)
    for path in (SITES, elsewhere):
        read(kinds, find(kinds, path), make_headers(**BOTH))
    scoped, other = find(kinds, SITES), find(kinds, elsewhere)
    changes = kinds.changes
    kinds.add_limit(scoped, Limit(ONE, "x"))
    late = find(kinds, SITES)
    # A response to a request that was sent before the change.
    for each in (late, scoped):
        kinds.read_counts(
            each, make_headers(**{**BOTH, "subscription-global-reads": 1}), 0.0, good=True
        )
        for _ in range(_kinds._SEARCH_EVERY):
            read(kinds, each, make_headers(**{**BOTH, "subscription-global-reads": 1}))
    assert scoped.is_stale
    assert len(find(kinds, SITES).keys) == 3
    assert find(kinds, elsewhere) is other
    assert not other.is_stale
    assert kinds.changes == changes


def test_forgotten_value_of_a_scope_gets_the_limit_of_a_429(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds, limit = Kinds(), Limit(ONE, "x")
    scoped = find(kinds, SITES)
    kinds._scoped.clear()
    group = SITES.replace("resourceGroups/", "resourceGroups/other")
    kinds.add_limit(find(kinds, group), limit)
    assert find(kinds, SITES) is scoped
    kinds.add_limit(scoped, limit)
    assert find(kinds, SITES).keys == (READS, limit)


def test_limit_of_a_429_that_is_named_later_counts_once() -> None:
    kinds = Kinds()
    read(kinds, find(kinds, SITES), make_headers(**{"calls-per-second": 3}))
    kinds.add_limit(find(kinds, SITES), READS)
    for _ in range(2):
        read(
            kinds,
            find(kinds, SITES),
            make_headers(**{"calls-per-second": 3, "subscription-reads": 9}),
        )
        find(kinds, SITES).responses = 0
    keys = find(kinds, SITES).keys
    assert len(keys) == len(set(keys)) == 2


def test_endless_count_of_a_global_limit_is_ignored() -> None:
    kinds = Kinds()
    low = {**BOTH, "subscription-global-reads": 1}
    read(kinds, find(kinds, SITES), make_headers(**BOTH))
    endless: dict[str, str | int] = {**BOTH, "subscription-global-reads": "9" * 5_000}
    for _ in range(_kinds._READ_ALL_EVERY):
        read(kinds, find(kinds, SITES), make_headers(**endless))
    assert len(find(kinds, SITES).keys) == 1
    for _ in range(_kinds._SEARCH_EVERY):
        read(kinds, find(kinds, SITES), make_headers(**low))
    assert len(find(kinds, SITES).keys) == 2


# Without pacing


def test_without_pacing_a_kind_has_its_class_and_no_limits() -> None:
    kinds = Kinds(paces=False)
    scoped = find(kinds, SITES)
    kinds.add_limit(scoped, READS)
    scoped = find(kinds, SITES)
    assert (scoped.keys, scoped.kind.operation) == ((), "reads")


# Memory


def test_tables_keep_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MOST_KINDS", "_MOST_SCOPED", "_MOST_NOTES"):
        monkeypatch.setattr(_kinds, name, 8)
    kinds = Kinds()
    for number in range(50):
        path = f"/subscriptions/s{number}/providers/Microsoft.A/type{number}/b"
        low = {**BOTH, "subscription-global-reads": 1}
        found = make_headers(resource=f"Microsoft.Compute/A{number}Resource;1", **low)
        read(kinds, find(kinds, path), found)
        read(kinds, find(kinds, path), found)
        kinds.add_limit(find(kinds, path), Limit(f"s{number}", "x"))
        assert len(find(kinds, path).keys) == 3
        find(kinds, path.removesuffix("/b"))
    assert max(len(kinds.unwaited), len(kinds._further), len(kinds._tight)) <= 8
    assert max(len(kinds._kinds), len(kinds._scoped)) <= 8
    assert min(len(kinds._near), len(kinds._whole)) > 0
    assert max(len(kinds._near), len(kinds._whole)) <= 8


# Recorded traffic


@pytest.mark.skipif(not FOLDER, reason="AIOMSI_RECORDED does not name a folder")
def test_recorded_counts_are_read_alike_at_first_and_by_name() -> None:
    checked = 0
    for exchange in read_exchanges("ratelimit_headers"):
        kinds = Kinds()
        kinds.read_counts(
            kinds.find(exchange.method, exchange.url), exchange.response.headers, 0.0, good=True
        )
        scoped = kinds.find(exchange.method, exchange.url)
        counts = [
            kinds.read_counts(scoped, exchange.response.headers, 0.0, good=True)[1]
            for _ in range(2)
        ]
        assert counts[0] == counts[1], exchange
        waited = [one for one in counts[0] if one is not None]
        left = [one.count for one in read_remaining(exchange.response.headers, 0.0)]
        assert len(waited) == (len(scoped.keys) if left else 0), exchange
        assert {one[0] for one in waited} <= set(left), exchange
        routed = exchange.response.headers.get("x-ms-routing-request-id", "")
        assert re.fullmatch(r"[A-Z0-9]*(:.*)?", routed)
        checked += bool(left)
    assert checked > 50
