"""Each type in the data of the clients and in the catalog: a client accepts every response."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from testing.embedded_client import GROUP, SUBSCRIPTION, Reply, ask_arm

from aiomsi import ArmSession
from aiomsi.testing import EmbeddedAzure, ManualClock
from aiomsi.testing._state.catalog import CATALOG
from aiomsi.testing._state.client_statuses import (
    ClientRequest,
    ClientScope,
    Response,
    choose_action,
    choose_delete,
    choose_write,
    find_statuses,
    list_namespaces,
    read_namespace,
)

pytest.importorskip("azure.mgmt.core")

from azure.core import PipelineClient
from azure.core.pipeline.policies import ContentDecodePolicy, HeadersPolicy, RequestIdPolicy
from azure.core.rest import HttpRequest
from azure.mgmt.core.polling.arm_polling import ARMPolling

EVERYTHING = [
    one
    for namespace in list_namespaces()
    for known in read_namespace(namespace).values()
    for one in known
]
NOW = datetime.fromisoformat(max(one.version[:10] for one in EVERYTHING)).replace(tzinfo=UTC)
BODY = {"location": "westus", "properties": {}}
TYPES = sorted(
    f"{provider.namespace}/{kind.name}"
    for provider in CATALOG
    for kind in provider.types.values()
    if kind.name.lower() in read_namespace(provider.namespace)
)
KEPT = ("start", "restart", "stop", "poweroff", "deallocate", "redeploy", "reapply")
ACTIONS = sorted(
    f"{namespace}/{path}"
    for namespace, path, one in (
        (provider.namespace, path, one)
        for provider in CATALOG
        for path, requests in read_namespace(provider.namespace).items()
        for one in requests
        if path.rpartition("/")[0] in provider.types
    )
    if one.form == "action"
    and one.method == "POST"
    and (
        path.rpartition("/")[2] in (*KEPT, "listkeys", "regeneratekey")
        or (204 in one.statuses and 200 not in one.statuses)
    )
)
SCOPES = {
    "g": GROUP,
    "s": f"/subscriptions/{SUBSCRIPTION}",
    "m": "/providers/Microsoft.Management/managementGroups/root",
    "t": "",
    "x": f"{GROUP}/providers/Microsoft.KeyVault/vaults/outer",
}


def list_requests(kind: str, form: str, method: str) -> list[tuple[ClientRequest, ClientScope]]:
    """Return the requests of one form and method that clients send, once for each place."""
    namespace, _, name = kind.partition("/")
    return [
        (one, place)
        for one in read_namespace(namespace)[name.lower()]
        if (one.form, one.method) == (form, method)
        for place in one.places
    ]


def filter_kinds(kinds: list[str], form: str, method: str) -> list[str]:
    return [kind for kind in kinds if list_requests(kind, form, method)]


class World:
    """An embedded Azure, and the pipeline of Microsoft's clients without its retries."""

    def __init__(self, azure: EmbeddedAzure) -> None:
        self.azure = azure
        token = azure.imds.issue_token()
        self.client: Any = PipelineClient(
            azure.arm.url,
            policies=[
                HeadersPolicy({"Authorization": f"Bearer {token}"}),
                RequestIdPolicy(),
                ContentDecodePolicy(),
            ],
        )
        self._numbers = itertools.count()

    def build_path(self, kind: str, place: ClientScope, *, last: bool = True) -> str:
        """Return a new path in a place; without `last`, it is the path of the collection."""
        namespace, *words = kind.split("/")
        number = next(self._numbers)
        free = place.names or ("-",) * len(words)
        if place.scope == "n":
            return f"/subscriptions/{SUBSCRIPTION}/resourceGroups" + f"/group{number}" * last
        names = [f"name{number}" if name == "-" else name for name in (*free, "-")]
        pairs = [f"/{word}/{name}" for word, name in zip(words, names, strict=False)]
        path = f"{SCOPES[place.scope]}/providers/{namespace}{''.join(pairs)}"
        return path if last else path.rpartition("/")[0]

    def create(self, path: str, version: str) -> None:
        """Create the resource of a path, and those that it is in, where they are missing."""
        scope, _, tail = path.rpartition("/providers/")
        namespace, *segments = tail.split("/")
        outer = [
            f"{scope}/providers/{namespace}/{'/'.join(segments[:count])}" for count in (2, 4, 6)
        ]
        for one in (*(one for one in outer if path.startswith(f"{one}/")), path):
            if self.get(one, version) is None:
                self.finish(self.send("PUT", one, version, BODY)[1])

    def create_outer(self, path: str, version: str) -> None:
        """Create the resources that the resource of a path is in."""
        if path.rpartition("/providers/")[2].count("/") > 2:
            self.create(path.rpartition("/")[0].rpartition("/")[0], version)

    def send(self, method: str, path: str, version: str, body: object = None) -> tuple[int, Any]:
        """Send a request, and return the response: its status, and as azure-core shows it."""
        request = HttpRequest(
            method, f"{self.azure.arm.url}{path}?api-version={version}", json=body
        )
        response = self.client.send_request(request, _return_pipeline_response=True)
        return response.http_response.status_code, response

    def get(self, path: str, version: str) -> Any:
        """Return the resource of a path; None if it does not exist."""
        status, response = self.send("GET", path, version)
        return response.context["deserialized_data"] if status == 200 else None

    def finish(self, response: Any) -> None:
        """Poll as Microsoft's clients do, until the end, which is a success."""
        polling: Any = ARMPolling(0)
        polling.initialize(self.client, response, lambda one: one)
        polling.run()
        assert polling.status().lower() == "succeeded"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    clock = ManualClock(NOW.timestamp())
    with EmbeddedAzure(clock=clock.clock, imds_limits=None, recorded_requests=0) as azure:
        azure.arm.add_resource(SCOPES["x"])
        world = World(azure)
        with world.client:
            world.create(SCOPES["m"], "2021-04-01")
            yield world


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", filter_kinds(TYPES, "resource", "PUT"))
def test_client_accepts_and_follows_put(world: World, kind: str) -> None:
    for one, place in list_requests(kind, "resource", "PUT"):
        path = world.build_path(kind, place)
        world.create_outer(path, one.version)
        for _ in ("new", "replaced"):
            status, response = world.send("PUT", path, one.version, BODY)
            assert status in one.statuses
            world.finish(response)
            assert world.get(path, one.version) is not None


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", filter_kinds(TYPES, "resource", "PATCH"))
def test_client_accepts_and_follows_patch(world: World, kind: str) -> None:
    for one, place in list_requests(kind, "resource", "PATCH"):
        path = world.build_path(kind, place)
        world.create(path, one.version)
        status, response = world.send("PATCH", path, one.version, {"tags": {"a": "b"}})
        assert status in one.statuses
        world.finish(response)
        assert world.get(path, one.version)["tags"] == {"a": "b"}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", filter_kinds(TYPES, "resource", "DELETE"))
def test_client_accepts_and_follows_delete(world: World, kind: str) -> None:
    for one, place in list_requests(kind, "resource", "DELETE"):
        path = world.build_path(kind, place)
        world.create(path, one.version)
        status, response = world.send("DELETE", path, one.version)
        assert status in one.statuses
        world.finish(response)
        assert world.get(path, one.version) is None
        # ARM itself serves groups; the client raises for a missing one.
        missing = {404} if place.scope == "n" else one.statuses
        assert world.send("DELETE", path, one.version)[0] in missing


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", filter_kinds(TYPES, "collection", "GET"))
def test_client_accepts_lists(world: World, kind: str) -> None:
    for one, place in list_requests(kind, "collection", "GET"):
        path = world.build_path(kind, place, last=False)
        world.create(f"{path}/listed", one.version)
        status, response = world.send("GET", path, one.version)
        assert status in one.statuses
        names = {item["name"] for item in response.context["deserialized_data"]["value"]}
        assert "listed" in names


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("action", ACTIONS)
def test_client_accepts_and_follows_actions(world: World, action: str) -> None:
    for one, place in list_requests(action, "action", "POST"):
        path = world.build_path(action, place, last=False)
        world.create(path.rpartition("/")[0], one.version)
        status, response = world.send("POST", path, one.version)
        assert status in one.statuses
        world.finish(response)


def test_generated_tests_cover_the_catalog() -> None:
    # Types without a client of their own, or whose client no package had.
    assert {
        f"{provider.namespace}/{kind.name}"
        for provider in CATALOG
        for kind in provider.types.values()
    } - set(TYPES) == {
        "Microsoft.Insights/diagnosticSettings",
        "Microsoft.Network/dnsZones/A",
        "Microsoft.Network/dnsZones/CNAME",
        "Microsoft.Network/dnsZones/TXT",
        "Microsoft.RecoveryServices/vaults/backupPolicies",
        "Microsoft.ResourceGraph/resources",
        "Microsoft.Resources/subscriptions",
        "Microsoft.Resources/subscriptions/resourceGroups",
    }
    assert len(ACTIONS) > 50


# The shape of responses

SERVER = f"{GROUP}/providers/Microsoft.DBforPostgreSQL/flexibleServers/pg"
DISK = f"{GROUP}/providers/Microsoft.Compute/disks/disk"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm"
ALERT = f"{GROUP}/providers/Microsoft.Authorization/roleManagementAlerts/alert"
LINKS = ("Azure-AsyncOperation", "Location")


@pytest.fixture
def azure() -> Iterator[EmbeddedAzure]:
    with EmbeddedAzure(clock=ManualClock(NOW.timestamp()).clock) as azure:
        yield azure


def write(azure: EmbeddedAzure, path: str, method: str = "PUT", body: object = BODY) -> Reply:
    return ask_arm(azure, path, "2025-08-01", method=method, body=body)


def describe_reply(reply: Reply) -> tuple[int, list[bool], str | None]:
    """Return status, presence of the two links, and state in the body."""
    state = reply.json["properties"]["provisioningState"] if reply.body else None
    return reply.status, [name in reply.headers for name in LINKS], state


def test_write_that_must_be_accepted_starts_operation(azure: EmbeddedAzure) -> None:
    assert describe_reply(write(azure, SERVER)) == (202, [True, True], "Creating")
    assert azure.arm.finish_operations() == 1
    assert describe_reply(write(azure, SERVER, "PATCH")) == (202, [True, True], "Updating")
    assert describe_reply(write(azure, SERVER, "DELETE")) == (202, [True, True], None)
    assert describe_reply(write(azure, f"{SERVER}/start", "POST"))[0] == 202


def test_rule_without_operation_answers_at_once(azure: EmbeddedAzure) -> None:
    kind = "Microsoft.DBforPostgreSQL/flexibleServers"
    azure.arm.long_running(kind, None, methods=["PUT", "PATCH", "DELETE", "POST"])

    assert describe_reply(write(azure, SERVER)) == (201, [False, False], "Succeeded")
    assert describe_reply(write(azure, SERVER)) == (200, [False, False], "Succeeded")
    assert describe_reply(write(azure, SERVER, "PATCH")) == (200, [False, False], "Succeeded")
    assert describe_reply(write(azure, f"{SERVER}/start", "POST")) == (200, [False, False], None)
    assert describe_reply(write(azure, SERVER, "DELETE")) == (200, [False, False], None)


def test_rule_keeps_the_status_that_clients_accept(azure: EmbeddedAzure) -> None:
    azure.arm.long_running("Microsoft.Compute/disks", "azure-async-operation")

    assert describe_reply(write(azure, DISK)) == (200, [True, False], "Creating")


def test_change_without_content_returns_none(azure: EmbeddedAzure) -> None:
    versions = ["2022-08-01-preview"]
    azure.arm.add_provider(
        "Microsoft.Authorization", {"roleManagementAlerts": versions}, locations=()
    )
    azure.arm.add_resource(ALERT)
    reply = write(azure, ALERT, "PATCH", {"tags": {"a": "b"}})

    assert (reply.status, reply.body, "ETag" in reply.headers) == (204, b"", True)
    resource = azure.arm.resource(ALERT)
    assert resource is not None
    assert resource["tags"] == {"a": "b"}


@pytest.mark.parametrize(
    ("action", "status"), [("start", 202), ("generalize", 200), ("simulateEviction", 204)]
)
def test_usual_operation_needs_a_client_that_accepts_it(
    azure: EmbeddedAzure, action: str, status: int
) -> None:
    azure.arm.set_action("Microsoft.Compute/virtualMachines", "generalize", None)
    azure.arm.add_resource(MACHINE)

    assert write(azure, f"{MACHINE}/{action}", "POST", None).status == status


# This package's session against the same types


class Writer:
    """An `ArmSession` that drives the requests of one type."""

    def __init__(self, world: World, kind: str) -> None:
        self._world, self._kind = world, kind

    def each(self, form: str, method: str) -> Iterator[tuple[str, str]]:
        """Return path and api-version of each request, in a world where only its parents exist."""
        for one, place in list_requests(self._kind, form, method):
            path = self._world.build_path(self._kind, place)
            self._world.create_outer(path, one.version)
            yield path, one.version

    async def write(self, arm: ArmSession) -> None:
        for path, version in self.each("resource", "PUT"):
            for _ in ("new", "replaced"):
                made = await arm.put(path, json=BODY, api_version=version)
                assert made["id"].lower() == path.lower()
                assert made["properties"]["provisioningState"] == "Succeeded"

    async def change(self, arm: ArmSession) -> None:
        for path, version in self.each("resource", "PATCH"):
            self._world.create(path, version)
            changed = await arm.patch(path, json={"tags": {"a": "b"}}, api_version=version)
            assert changed["tags"] == {"a": "b"}

    async def delete(self, arm: ArmSession) -> None:
        for path, version in self.each("resource", "DELETE"):
            self._world.create(path, version)
            operation = await arm.begin("DELETE", path, api_version=version)
            await operation.result()
            assert self._world.get(path, version) is None
            if "/providers/" in path:
                await arm.delete(path, api_version=version)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", TYPES)
def test_session_writes_and_deletes_each_type(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.azure.environment.items():
        monkeypatch.setenv(name, value)

    async def main() -> None:
        writer = Writer(world, kind)
        clock = ManualClock(NOW.timestamp(), autoadvance=True).clock
        async with ArmSession(clock=clock) as arm:
            await writer.write(arm)
            await writer.change(arm)
            await writer.delete(arm)

    asyncio.run(main())


def test_session_gets_result_of_accepted_action(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "Microsoft.SignalRService/signalR"
    path = world.build_path(kind, ClientScope("g"))
    world.create(path, "2023-02-01")
    for name, value in world.azure.environment.items():
        monkeypatch.setenv(name, value)

    async def main() -> Any:
        clock = ManualClock(NOW.timestamp(), autoadvance=True).clock
        async with ArmSession(clock=clock) as arm:
            return await arm.post(f"{path}/regenerateKey", api_version="2023-02-01")

    assert [key["keyName"] for key in asyncio.run(main())["keys"]] == ["key1", "key2"]


# The data, and the choice of a response


def test_statuses_are_those_of_the_version_or_the_default() -> None:
    def find(version: str) -> list[int]:
        found = find_statuses(
            "microsoft.authorization", "ROLEASSIGNMENTS", "resource", "PUT", version, ("x",)
        )
        return sorted(found or ())

    assert find("2020-04-01-PREVIEW") == find("2020-04-01-preview") == [201]
    assert find("2022-04-01") == find("2033-01-01") == [200, 201]


@pytest.mark.parametrize(
    ("name", "statuses"), [("onedeploy", [200]), ("MsDeploy", [201]), ("other", [200])]
)
def test_statuses_depend_on_names_that_clients_fix(name: str, statuses: list[int]) -> None:
    found = find_statuses(
        "Microsoft.Web", "sites/extensions", "resource", "PUT", "2025-05-01", ("site", name)
    )

    assert sorted(found or ()) == statuses


@pytest.mark.parametrize(
    ("namespace", "kind", "method"),
    [
        ("Contoso.Widgets", "widgets", "PUT"),
        ("Microsoft.Compute", "widgets", "PUT"),
        ("Microsoft.Compute", "disks", "POST"),
    ],
)
def test_unknown_request_has_no_statuses(namespace: str, kind: str, method: str) -> None:
    assert find_statuses(namespace, kind, "resource", method, "2025-01-01", ("x",)) is None


@pytest.mark.parametrize(
    ("statuses", "new", "replaced"),
    [
        (None, Response(201), Response(200)),
        ({200, 201, 202}, Response(201), Response(200)),
        ({200, 202}, Response(200), Response(200)),
        ({201}, Response(201), Response(201)),
        ({202}, Response(202, "both"), Response(202, "both")),
        ({201, 202}, Response(201, "azure-async-operation"), Response(202, "both")),
        ({204}, Response(204), Response(204)),
        ({304}, Response(201), Response(200)),
    ],
)
def test_write_is_answered_at_once_where_accepted(
    statuses: set[int] | None, new: Response, replaced: Response
) -> None:
    accepted = None if statuses is None else frozenset(statuses)

    assert choose_write(accepted, is_new=True) == new
    assert choose_write(accepted, is_new=False) == replaced


@pytest.mark.parametrize(
    ("statuses", "existing", "missing"),
    [
        (None, Response(200), 204),
        ({200, 202, 204}, Response(200), 204),
        ({202, 204}, Response(202, "both"), 204),
        ({204}, Response(204), 204),
        ({200, 202}, Response(200), 200),
        ({304}, Response(200), 204),
    ],
)
def test_deletion_tells_missing_resources_apart(
    statuses: set[int] | None, existing: Response, missing: int
) -> None:
    accepted = None if statuses is None else frozenset(statuses)

    assert choose_delete(accepted, exists=True) == existing
    assert choose_delete(accepted, exists=False) == Response(missing)


@pytest.mark.parametrize(
    ("statuses", "response"),
    [
        (None, Response(200)),
        ({200, 202}, Response(200)),
        ({202, 204}, Response(204)),
        ({202}, Response(202, "both")),
        ({304}, Response(200)),
    ],
)
def test_action_is_answered_at_once_where_accepted(
    statuses: set[int] | None, response: Response
) -> None:
    assert choose_action(None if statuses is None else frozenset(statuses)) == response
