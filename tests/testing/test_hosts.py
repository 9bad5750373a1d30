"""The hosts besides IMDS: checks, ids, answers and errors, as a client without an SDK sees them."""

import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import attrs
import pytest
from testing.embedded_client import ARM_RESOURCE, TRUSTING, Reply, ask, ask_arm

from aiomsi.testing import HOST_KINDS, EmbeddedAzure, Fault, Identity, ManualClock
from aiomsi.testing._hosts.machine_learning import DateForm

NOW = 1_800_000_000.0
GETS = ("app-service", "azure-ml", "azure-arc", "service-fabric")
VERSIONS = {
    "app-service": "2019-08-01",
    "azure-ml": "2017-09-01",
    "azure-arc": "2020-06-01",
    "service-fabric": "2019-07-01-preview",
}


@attrs.frozen
class Error:
    """The code and text of an error, which each host has elsewhere in the body."""

    status: int
    code: str
    text: str


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[EmbeddedAzure]:
    clock = ManualClock(NOW).clock
    kinds = [kind for kind in HOST_KINDS if kind != "workload-identity"]
    with EmbeddedAzure(kinds=kinds, clock=clock, arc_key_directory=tmp_path / "keys") as azure:
        yield azure


def get_headers(azure: EmbeddedAzure, kind: str) -> dict[str, str]:
    variables = azure.hosts[kind].environment
    return {
        "app-service": {"X-IDENTITY-HEADER": variables.get("IDENTITY_HEADER", "")},
        "azure-ml": {"secret": variables.get("MSI_SECRET", "")},
        "azure-arc": {"Metadata": "true"},
        "service-fabric": {"Secret": variables.get("IDENTITY_HEADER", "")},
        "cloud-shell": {"Metadata": "true"},
    }[kind]


def send(
    azure: EmbeddedAzure,
    kind: str,
    more: str = "",
    *,
    resource: str = ARM_RESOURCE,
    version: str | None = None,
    **headers: str,
) -> Reply:
    """Send a request as an SDK does; with Azure Arc after its challenge."""
    variables = azure.hosts[kind].environment
    url = variables.get("IDENTITY_ENDPOINT") or variables["MSI_ENDPOINT"]
    base, path = url[: -len(urlsplit(url).path)], urlsplit(url).path
    given = get_headers(azure, kind) | headers
    if kind == "cloud-shell":
        content = f"resource={quote(resource, safe='')}".encode()
        return ask(base, path, "POST", content, **given)
    query = f"?api-version={version or VERSIONS[kind]}&resource={resource}{more}"
    if kind == "azure-arc" and "Authorization" not in headers:
        challenged = ask(base, path + query, **given)
        if challenged.status != 401:
            return challenged
        file = Path(challenged.headers["WWW-Authenticate"].removeprefix("Basic realm="))
        given["Authorization"] = f"Basic {file.read_text(encoding='utf-8')}"
    return ask(base, path + query, **given)


def parse_error(reply: Reply, kind: str) -> Error:
    body = reply.json
    match kind:
        case "app-service":
            assert body["statusCode"] == reply.status
            return Error(reply.status, "", body["message"])
        case "azure-ml":
            assert body["StatusCode"] == reply.status
            assert body["ExceptionMessage"] == body["Message"]
            return Error(reply.status, body["ErrorCode"], body["Message"])
        case "azure-arc":
            return Error(reply.status, body["error"], body["error_description"])
        case _:
            return Error(reply.status, body["error"]["code"], body["error"]["message"])


def remove_own(azure: EmbeddedAzure) -> None:
    azure.imds.remove_identity(azure.imds.identities[0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "app-service",
            {
                "client_id": "8d9bff2e-8a17-4b8a-9b94-0f3f9d1c2a10",
                "expires_on": "1800086400",
                "not_before": "1799999700",
            },
        ),
        ("azure-ml", {"expires_on": "1800086400"}),
        (
            "azure-arc",
            {
                "client_id": "8d9bff2e-8a17-4b8a-9b94-0f3f9d1c2a10",
                "expires_in": "86400",
                "expires_on": "1800086400",
                "ext_expires_in": "86400",
                "not_before": "1799999700",
            },
        ),
        ("service-fabric", {"expires_on": 1_800_086_400}),
        (
            "cloud-shell",
            {
                "client_id": "8d9bff2e-8a17-4b8a-9b94-0f3f9d1c2a10",
                "expires_in": "86400",
                "expires_on": "1800086400",
                "ext_expires_in": "86400",
                "not_before": "1799999700",
            },
        ),
    ],
)
def test_answer_has_the_fields_of_its_host(
    azure: EmbeddedAzure, kind: str, expected: dict[str, object]
) -> None:
    reply = send(azure, kind)

    assert reply.status == 200
    body = reply.json
    assert ask_arm(azure, token=body.pop("access_token")).status == 200
    assert body == {"resource": ARM_RESOURCE, "token_type": "Bearer", **expected}


@pytest.mark.parametrize(
    ("kind", "name", "attribute"),
    [
        ("app-service", "client_id", "client_id"),
        ("app-service", "principal_id", "object_id"),
        ("app-service", "object_id", "object_id"),
        ("app-service", "mi_res_id", "resource_id"),
        ("azure-arc", "client_id", "client_id"),
        ("azure-arc", "object_id", "object_id"),
        ("azure-arc", "msi_res_id", "resource_id"),
    ],
)
def test_host_takes_its_name_of_an_id(
    azure: EmbeddedAzure, kind: str, name: str, attribute: str
) -> None:
    identity = azure.imds.assign_identity()
    value = getattr(identity, attribute)

    body = send(azure, kind, f"&{name}={value.upper()}").json

    assert body["client_id"] == identity.client_id
    if kind == "azure-arc":
        assert body[name] == value


def test_azure_ml_takes_clientid(azure: EmbeddedAzure) -> None:
    identity = azure.imds.assign_identity()
    azure.arm.grant(identity.object_id)
    remove_own(azure)
    host = azure.hosts.azure_ml
    assert host.environment["DEFAULT_IDENTITY_CLIENT_ID"] == identity.client_id

    token = send(azure, "azure-ml", f"&clientid={identity.client_id}").json["access_token"]

    assert ask_arm(azure, token=token).status == 200
    assert send(azure, "azure-ml", "&clientid=other").status == 400


@pytest.mark.parametrize(
    ("kind", "name"), [("app-service", "msi_res_id"), ("azure-ml", "client_id")]
)
def test_wrong_name_of_an_id_has_no_effect(azure: EmbeddedAzure, kind: str, name: str) -> None:
    azure.imds.assign_identity()

    assert send(azure, kind, f"&{name}=anything").status == 200


@pytest.mark.parametrize("kind", ["app-service", "azure-arc"])
def test_two_ids_in_one_request_are_refused(azure: EmbeddedAzure, kind: str) -> None:
    error = parse_error(send(azure, kind, "&client_id=a&object_id=b"), kind)

    assert (error.status, error.text) == (400, "client_id and object_id exclude each other")


@pytest.mark.parametrize("kind", [*GETS, "cloud-shell"])
def test_machine_without_an_identity_gets_an_error(azure: EmbeddedAzure, kind: str) -> None:
    remove_own(azure)

    error = parse_error(send(azure, kind), kind)

    expected = (404, "ManagedIdentityNotFound") if kind == "service-fabric" else (400, error.code)
    assert (error.status, error.code, error.text) == (*expected, "Identity not found")


@pytest.mark.parametrize("kind", [*GETS, "cloud-shell"])
def test_unknown_resource_is_refused(azure: EmbeddedAzure, kind: str) -> None:
    error = parse_error(send(azure, kind, resource="https://nowhere.example"), kind)

    assert error.status == (500 if kind == "app-service" else 400)
    assert error.text.startswith("AADSTS500011: ")


@pytest.mark.parametrize("kind", [*GETS, "cloud-shell"])
def test_missing_resource_is_refused(azure: EmbeddedAzure, kind: str) -> None:
    error = parse_error(send(azure, kind, resource=""), kind)

    assert (error.status, error.text) == (
        400,
        "Required parameter 'resource' is missing or empty",
    )
    if kind == "service-fabric":
        assert error.code == "ArgumentNullOrEmpty"


@pytest.mark.parametrize("kind", GETS)
def test_wrong_api_version_is_refused(azure: EmbeddedAzure, kind: str) -> None:
    error = parse_error(send(azure, kind, version="2018-02-01"), kind)

    assert error.status == 400
    assert error.text == (
        f"The api-version '2018-02-01' is not supported; supported is {VERSIONS[kind]!r}"
    )


@pytest.mark.parametrize(
    ("kind", "header", "status"),
    [
        ("app-service", "X-IDENTITY-HEADER", 401),
        ("azure-ml", "secret", 401),
        ("azure-arc", "Metadata", 400),
        ("service-fabric", "Secret", 404),
        ("cloud-shell", "Metadata", 400),
    ],
)
@pytest.mark.parametrize("value", ["", "wrong", "caf\xe9"])
def test_wrong_header_is_refused(
    azure: EmbeddedAzure, kind: str, header: str, status: int, value: str
) -> None:
    reply = send(azure, kind, **{header: value})

    assert parse_error(reply, kind).status == status


def test_service_fabric_without_secret_has_a_code(azure: EmbeddedAzure) -> None:
    host = azure.hosts.service_fabric
    error = parse_error(ask(host.url, host.path), "service-fabric")

    assert (error.status, error.code) == (400, "SecretHeaderNotFound")


@pytest.mark.parametrize("kind", [*GETS, "cloud-shell"])
def test_other_methods_and_paths_are_refused(azure: EmbeddedAzure, kind: str) -> None:
    url, method = azure.hosts[kind].url, "POST" if kind == "cloud-shell" else "GET"
    path = urlsplit(azure.hosts[kind].token_url).path  # type: ignore[attr-defined]

    put = ask(url, path, "PUT", **get_headers(azure, kind))

    assert (parse_error(put, kind).status, put.headers["Allow"]) == (405, method)
    assert parse_error(ask(url, "/other", method), kind).status == 404


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("number", 1_800_086_400),
        ("text", "1800086400"),
        ("linux", "01/16/2027 08:00:00 +00:00"),
        ("windows", "1/16/2027 8:00:00 AM +00:00"),
    ],
)
def test_azure_ml_has_all_forms_of_a_date(
    azure: EmbeddedAzure, form: DateForm, expected: object
) -> None:
    azure.hosts.azure_ml.set_date_form(form)

    assert send(azure, "azure-ml").json["expires_on"] == expected


def test_windows_writes_noon_as_twelve(azure: EmbeddedAzure) -> None:
    azure.hosts.azure_ml.set_date_form("windows")
    azure.imds.set_token_lifetime(4 * 3_600 + 5)

    assert send(azure, "azure-ml").json["expires_on"] == "1/15/2027 12:00:05 PM +00:00"


def test_unknown_form_of_a_date_is_refused(azure: EmbeddedAzure) -> None:
    with pytest.raises(ValueError, match="form must be one of text, number, linux, windows"):
        azure.hosts.azure_ml.set_date_form("iso")  # type: ignore[arg-type]


def test_arc_wants_the_key_of_the_named_file(azure: EmbeddedAzure, tmp_path: Path) -> None:
    host = azure.hosts.azure_arc
    query = f"{host.path}?api-version=2020-06-01&resource={ARM_RESOURCE}"

    challenged = ask(host.url, query, Metadata="true")

    file = Path(challenged.headers["WWW-Authenticate"].removeprefix("Basic realm="))
    assert challenged.status == 401
    assert parse_error(challenged, "azure-arc").code == "unauthorized"
    assert (file.parent, file.suffix) == (host.key_directory, ".key")
    assert host.key_directory == tmp_path / "keys"
    key = file.read_text(encoding="utf-8")
    for authorization in ("Basic wrong", f"Bearer {key}", key):
        wrong = ask(host.url, query, Metadata="true", Authorization=authorization)
        assert wrong.status == 401
    assert ask(host.url, query, Metadata="true", Authorization=f"Basic {key}").status == 200


@pytest.mark.slow
def test_arc_keeps_few_key_files_and_removes_them(tmp_path: Path) -> None:
    with EmbeddedAzure(kinds="azure-arc", arc_key_directory=tmp_path) as azure:
        for _ in range(66):
            ask(
                azure.hosts.azure_arc.url,
                f"{azure.hosts.azure_arc.path}?api-version=2020-06-01",
                Metadata="true",
            )
        files = list(tmp_path.iterdir())
        files[0].unlink()
    assert len(files) == 64
    assert list(tmp_path.iterdir()) == []


def test_old_arc_agent_ignores_the_wanted_identity(azure: EmbeddedAzure) -> None:
    identity = azure.imds.assign_identity()
    own = azure.imds.identities[0]
    azure.hosts.azure_arc.ignore_identities()

    body = send(azure, "azure-arc", f"&object_id={identity.object_id}").json

    assert (body["client_id"], "object_id" in body) == (own.client_id, False)
    azure.hosts.azure_arc.ignore_identities(False)
    body = send(azure, "azure-arc", f"&object_id={identity.object_id}").json
    assert body["object_id"] == identity.object_id


def test_service_fabric_shows_the_certificate_of_its_thumbprint(azure: EmbeddedAzure) -> None:
    host = azure.hosts.service_fabric
    address = urlsplit(host.url)
    with (
        socket.create_connection((address.hostname, address.port), 10) as raw,
        TRUSTING.wrap_socket(raw) as connection,
    ):
        der = connection.getpeercert(binary_form=True) or b""
    shown = hashlib.sha1(der, usedforsecurity=False).hexdigest().upper()
    assert host.environment["IDENTITY_SERVER_THUMBPRINT"] == host.thumbprint == shown
    with (
        socket.create_connection((address.hostname, address.port), 10) as raw,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")


def test_service_fabric_renews_the_token_of_the_hash(azure: EmbeddedAzure) -> None:
    azure.imds.repeat_tokens()
    first = send(azure, "service-fabric").json["access_token"]
    assert send(azure, "service-fabric").json["access_token"] == first
    other = hashlib.sha256(b"test_token").hexdigest()
    more = f"&xms_cc=cp1&token_sha256_to_refresh={other}"
    assert send(azure, "service-fabric", more).json["access_token"] == first

    more = more.replace(other, hashlib.sha256(first.encode()).hexdigest())
    renewed = send(azure, "service-fabric", more).json["access_token"]

    assert renewed != first
    assert send(azure, "service-fabric").json["access_token"] == renewed


@pytest.mark.parametrize("kind", [*GETS, "cloud-shell"])
def test_host_has_faults_and_counts_of_its_own(azure: EmbeddedAzure, kind: str) -> None:
    host = azure.hosts[kind]
    host.inject(Fault(503))

    with host.hold() as hold:
        hold.release()
        assert parse_error(send(azure, kind), kind).text == "Injected fault: HTTP 503"
    assert send(azure, kind).status == 200
    sent = 3 if kind == "azure-arc" else 2
    assert attrs.astuple(host.counts) == (sent, 1, 1)
    assert {request.service for request in host.requests} == {kind}
    assert len(host.requests) == sent
    secret = next(iter(get_headers(azure, kind).values()))
    assert secret == "true" or secret not in repr(host.requests)
    assert azure.counts.imds_requests == 0
    azure.reset_counts()
    assert attrs.astuple(host.counts) == (0, 0, 0)


def test_hosts_have_no_limits(azure: EmbeddedAzure) -> None:
    assert {send(azure, "app-service").status for _ in range(30)} == {200}


def test_hosts_are_a_collection_by_kind(azure: EmbeddedAzure) -> None:
    assert len(azure.hosts) == len(list(azure.hosts)) == 5
    for kind in azure.hosts:
        assert azure.hosts[kind].kind == kind
        assert azure.hosts[kind].environment["AIOMSI_RESOURCE_MANAGER"] == azure.arm.url
    assert azure.hosts.cloud_shell is azure.hosts["cloud-shell"]
    with pytest.raises(RuntimeError, match=r"create it with kinds=\['workload-identity'\]$"):
        azure.hosts.workload_identity  # noqa: B018
    with pytest.raises(ValueError, match="no host 'aws'; it has app-service, azure-ml"):
        azure.hosts["aws"]


def test_kinds_may_have_ports() -> None:
    with EmbeddedAzure(kinds={"app-service": 0}) as first:
        port = urlsplit(first.hosts.app_service.url).port or 0
    with EmbeddedAzure(kinds={"app-service": port}) as second:
        assert second.hosts.app_service.url == f"http://127.0.0.1:{port}"


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no host 'imds'"):
        EmbeddedAzure(kinds=["imds"])


def test_own_identity_comes_before_others(azure: EmbeddedAzure) -> None:
    azure.imds.assign_identity()
    assert "DEFAULT_IDENTITY_CLIENT_ID" not in azure.hosts.azure_ml.environment
    remove_own(azure)
    azure.imds.assign_identity()
    error = parse_error(send(azure, "app-service"), "app-service")
    assert error.text.startswith("Multiple user assigned identities exist")


def test_identity_of_all_hosts_is_the_machine_s(azure: EmbeddedAzure) -> None:
    remove_own(azure)
    identity: Identity = azure.imds.assign_identity(system_assigned=True)
    for kind in ("app-service", "azure-arc", "cloud-shell"):
        assert send(azure, kind).json["client_id"] == identity.client_id
