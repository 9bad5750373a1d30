"""The parsers of what other programs send or store, each as a function of a fuzzer's bytes.

A target fails by an exception that its parser does not document, or by a value that breaks one of
the assertions: a link never leaves the cloud, a wait is a number of seconds, and so on.
"""

import json
import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import attrs
import yarl
from fuzz.reader import Reader
from host_environments import ENVIRONMENTS
from multidict import CIMultiDict

from aiomsi import AiomsiError, ArmError, ConfigurationError, ForeignHostError, ServiceError
from aiomsi._arm.protocol.api_versions import choose_version, find_resource_type, find_versions
from aiomsi._arm.protocol.encoding import CutBodyError, decode_content
from aiomsi._arm.protocol.errors.classify import find_refusal, make_error
from aiomsi._arm.protocol.errors.detail import ErrorDetail, read_detail
from aiomsi._arm.protocol.graph_queries import parse_shape, read_rows
from aiomsi._arm.protocol.limits import read_remaining
from aiomsi._arm.protocol.links import resolve_link
from aiomsi._arm.protocol.operations.operation_state import FinalStateVia, Progress
from aiomsi._arm.protocol.operations.polling import advance, begin
from aiomsi._arm.protocol.paging import read_page
from aiomsi._arm.protocol.request import Options, build_url
from aiomsi._arm.protocol.resource_ids import ResourceId
from aiomsi._arm.protocol.response import ArmResponse
from aiomsi._arm.protocol.throttling import read_quota_wait, read_wait
from aiomsi._arm.protocol.write_check import compare
from aiomsi._clouds import PUBLIC
from aiomsi._credentials.gate_schedule import GateState, parse_state
from aiomsi._hosts.base import Host, TokenError, TokenHttpResponse, TokenRequest
from aiomsi._hosts.detect import make_host
from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._hosts.imds import Imds
from aiomsi._hosts.instance import INSTANCE, TENANT, MetadataHost, make_instance_metadata
from aiomsi._hosts.response_body import decompress_body, mask_echo
from aiomsi._tokens.state import FetchRequest
from aiomsi._tokens.token import Now, TokenResponse
from aiomsi._util.secret import Secret, SecretBytes
from aiomsi.integrations._auth.host_pins import parse_hosts
from aiomsi.integrations._otel.redaction import redact_url
from aiomsi.inventory import Manifest, Plan, Scope
from aiomsi.inventory._parts.folder import PartFolder
from aiomsi.inventory._plan.subscriptions import parse_subscription
from aiomsi.inventory._row import RowContext, make_row
from aiomsi.testing._kql.parser import parse_query
from aiomsi.testing._kql.query import run_query
from aiomsi.testing._kql.query_error import QueryError
from aiomsi.testing._kql.tables import Table

CLOUD = PUBLIC
GROUP = "/subscriptions/98f51385-2edc-4b79-bed9-7718de4cb861/resourceGroups/g"
URL = f"{CLOUD.resource_manager}{GROUP}?api-version=2021-04-01"
WALL = 1_767_225_600.0
SECRET = "A-SECRET-OF-THE-REQUEST"
STATUSES = (200, 201, 202, 204, 301, 304, 307, 400, 401, 403, 404, 409, 410, 412, 429, 500, 503)
HEADERS = (
    *("Content-Type", "Content-Encoding", "Content-Length", "Date", "Retry-After", "Location"),
    *("Azure-AsyncOperation", "Operation-Location", "WWW-Authenticate", "x-ms-request-id"),
    *("x-ms-retry-after-ms", "x-ms-ratelimit-remaining-subscription-reads", "x-ms-error-code"),
    *("x-ms-ratelimit-remaining-resource", "x-ms-user-quota-remaining", "RateLimit-Reset"),
    *("x-ms-user-quota-resets-after", "x-ms-failure-cause", "x-ms-routing-request-id", "ETag"),
    *("x-ms-tenant-subscription-limit-hit", "RateLimit", "RateLimit-Policy", "x-ratelimit-reset"),
)


VIAS: tuple[FinalStateVia | None, ...] = (
    *(None, "azure-async-operation", "operation-location", "location", "original-uri"),
)


@attrs.frozen
class Target:
    """A parser.

    Attributes:
        name: the name of the parser.
        run: calls it with the bytes of a fuzzer.

    """

    name: str
    run: Callable[[Reader], object]


def check_wait(seconds: float | None) -> None:
    assert seconds is None or (seconds >= 0 and not math.isnan(seconds)), seconds


def check_on_the_cloud(url: str) -> None:
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname) == ("https", "management.azure.com"), url
    assert parts.port in (None, 443), url
    assert parts.username is None, url
    assert url.isascii(), url
    assert not any(char <= " " for char in url), url


def make_response(reader: Reader, method: str = "GET", url: str = URL) -> ArmResponse:
    headers = CIMultiDict(reader.headers(HEADERS))
    return ArmResponse(method, url, reader.choose(STATUSES), headers, reader.body())


# Token endpoints


def make_hosts() -> dict[str, Host]:
    return {
        name: make_host(
            environment,
            RequestedIdentity(),
            host=name,
            platform="linux",
            exists=lambda _path: True,
        )
        for name, environment in ENVIRONMENTS.items()
    }


_hosts = make_hosts()
_imds = cast(Imds, _hosts["imds"])


def parse_token(name: str) -> Callable[[Reader], object]:
    """Return the target of a host's responses."""
    host = _hosts[name]
    request = TokenRequest("GET", host.endpoint, {"X-IDENTITY-HEADER": Secret(SECRET)})

    def run(reader: Reader) -> object:
        headers = CIMultiDict(reader.headers(HEADERS))
        body = decompress_body(SecretBytes(reader.body()), headers)
        if isinstance(body, TokenError):
            return body
        now = Now(WALL, 5.0)
        answer = TokenHttpResponse(reader.choose(STATUSES), headers, body, now, 0.5)
        parsed = host.parse(mask_echo(request, answer))
        if isinstance(parsed, TokenResponse):
            assert parsed.secret
            assert repr(str(parsed.secret)) not in repr(parsed)
            assert math.isfinite(parsed.life)
        elif isinstance(parsed, TokenError):
            assert SECRET not in parsed.message + parsed.help
        host.build_request("https://management.azure.com/", FetchRequest())
        return parsed

    return run


def detect_host(reader: Reader) -> object:
    names = sorted({name for each in ENVIRONMENTS.values() for name in each})
    environment = {reader.choose(names): reader.text() for _ in range(reader.byte() % 5)}
    with suppress(ConfigurationError):
        host = make_host(
            environment,
            RequestedIdentity(),
            platform=reader.choose(("linux", "win32")),
            exists=lambda _path: reader.byte() % 2 == 0,
        )
        for name, value in environment.items():
            if len(value) > 8 and name in {"IDENTITY_HEADER", "MSI_SECRET"}:
                assert value not in repr(host)
    return None


def read_instance(reader: Reader) -> object:
    """Read the documents about a VM, as `aiomsi.instance_metadata` does."""
    texts = []
    for path in (INSTANCE, TENANT):
        headers = CIMultiDict(reader.headers(HEADERS))
        body = SecretBytes(reader.body())
        answer = TokenHttpResponse(200, headers, body, Now(WALL, 5.0), 0.5)
        parsed = MetadataHost(_imds, path).parse(answer)
        if isinstance(parsed, TokenError):
            return parsed
        texts.append(str(parsed.secret))
    return make_instance_metadata(*texts)


# ARM's responses


def read_list(reader: Reader) -> object:
    response = make_response(reader)
    with suppress(ServiceError):
        page = read_page(response)
        assert isinstance(page.items, list)
    with suppress(ServiceError):
        read_rows(response)
    return None


def read_error(reader: Reader) -> object:
    response = make_response(reader)
    detail = read_detail(response.body, response.headers.get("Content-Type"))
    assert isinstance(detail, ErrorDetail)
    error = make_error(response, wall=WALL)
    assert isinstance(error, ArmError)
    check_wait(error.retry_after)
    assert str(error)
    return error


def read_challenge(reader: Reader) -> object:
    headers = CIMultiDict({"WWW-Authenticate": reader.text() + reader.text()})
    return find_refusal(ArmResponse("GET", URL, 401, headers, reader.body()))


def read_hints(reader: Reader) -> object:
    headers = CIMultiDict(reader.headers(HEADERS))
    detail = read_detail(reader.body()) if reader.byte() % 2 else None
    check_wait(read_wait(reader.choose(STATUSES), headers, detail, WALL))
    check_wait(read_quota_wait(headers, WALL))
    return read_remaining(headers, WALL)


def decode(reader: Reader) -> object:
    headers = CIMultiDict(reader.headers(HEADERS))
    with suppress(CutBodyError):
        return decode_content(reader.choose(("GET", "HEAD", "PUT")), 200, headers, reader.rest())
    return None


def find_version(reader: Reader) -> object:
    kind = find_resource_type(reader.text())
    return None if kind is None else choose_version(find_versions(reader.value(), kind))


# Ids and links


def parse_id(reader: Reader) -> object:
    text = reader.text() + reader.text()
    with suppress(ConfigurationError):
        parsed = ResourceId.parse(text)
        assert ResourceId.parse(str(parsed)) == parsed
    return None


def follow_link(reader: Reader) -> object:
    with suppress(ForeignHostError):
        check_on_the_cloud(resolve_link(CLOUD, reader.text() + reader.text(), URL))
    return None


def build(reader: Reader) -> object:
    version = reader.text() if reader.byte() % 2 else None
    options = Options(
        api_version=version,
        params={reader.text(): reader.text()} if reader.byte() % 2 else None,
    )
    path = reader.text() + reader.text()
    with suppress(ConfigurationError):  # a ForeignHostError, too
        url = build_url(CLOUD, reader.choose(("GET", "PUT", "DELETE")), path, options)
        check_on_the_cloud(url)
    return None


# Operations


def follow_operation(reader: Reader) -> object:
    method = reader.choose(("PUT", "PATCH", "POST", "DELETE"))
    via = reader.choose(VIAS)
    try:
        progress = begin(CLOUD, make_response(reader, method), via, wall=WALL)
    except (ForeignHostError, ServiceError):
        return None
    for _ in range(reader.byte() % 6):
        if progress.next_url is None:
            break
        check_on_the_cloud(progress.next_url)
        progress = advance(CLOUD, progress, make_response(reader), wall=WALL)
    saved = json.loads(json.dumps(progress.to_dict()))
    assert Progress.from_dict(CLOUD, saved).to_dict() == saved
    return progress


def resume_operation(reader: Reader) -> object:
    """Read a saved state, of which some members are changed."""
    progress = begin(
        CLOUD, ArmResponse("PUT", URL, 202, CIMultiDict({"Location": URL}), b""), wall=WALL
    )
    saved = progress.to_dict()
    for _ in range(reader.byte() % 4):
        saved[reader.choose((*saved, "uncertain"))] = reader.value()
    with suppress(ConfigurationError):  # a ForeignHostError, too
        Progress.from_dict(CLOUD, saved)
    return None


def check_write(reader: Reader) -> object:
    sent, found = reader.value(), reader.value()
    return compare(reader.choose(("PUT", "PATCH", "DELETE")), sent, reader.choose(STATUSES), found)


# Files


def read_gate_file(reader: Reader) -> object:
    state = parse_state(reader.rest())
    assert isinstance(state, GateState)
    return state


def read_part(reader: Reader) -> object:
    """Read a part file, and the documents beside it."""
    document = json.loads(json.dumps(reader.value()))
    for parse in (Plan.from_json, Manifest.from_json, Scope.from_json):
        with suppress(ConfigurationError, ValueError):
            parse(document)
    with tempfile.TemporaryDirectory() as folder:
        parts = PartFolder(Path(folder))
        scope = Scope("s", "list")
        (Path(folder) / "s.list.part").write_bytes(reader.body() + b"\n" + reader.rest())
        parts.read_result(scope)
    return None


def make_inventory_row(reader: Reader) -> object:
    context = RowContext("s", "name", "t", "list", "2021-04-01", "2026-01-01T00:00:00.000000Z")
    with suppress(ValueError):
        make_row(reader.value(), context)
    with suppress(ValueError, AiomsiError):
        parse_subscription(reader.value())
    return None


# URLs of other clients


def pin_hosts(reader: Reader) -> object:
    """Compare the host of a URL, as aiohttp parses it, with pins made of text."""
    with suppress(ConfigurationError):
        parse_hosts([reader.text(), reader.text()])
    pins, text = parse_hosts(["management.azure.com"]), reader.text()
    # yarl raises IndexError for some malformed brackets.
    with suppress(ValueError, IndexError):
        url = yarl.URL(text if reader.byte() % 2 else f"https://{text}")
        if pins.allows(url.scheme, url.raw_host, url.port):
            assert (url.host, url.port) == ("management.azure.com", 443), url
            assert url.scheme in ("https", "wss"), url
    return None


def redact(reader: Reader) -> object:
    """Redact a URL in which only values, and the user, are secret."""
    names = (reader.choose(QUERY_NAMES) for _ in range(reader.byte() % 4))
    query = "&".join(f"{name}{reader.choose(BEFORE_A_SECRET)}{SECRET}" for name in names)
    user = f"{SECRET}:{SECRET}@" if reader.byte() % 4 == 0 else ""
    shown = redact_url(f"https://{user}management.azure.com{GROUP}?{query}#{SECRET}")
    assert SECRET not in shown, shown
    return shown


QUERY_NAMES = ("$top", "%24select", "api-version", "$skiptoken", "sig", "resource", "c", "")
BEFORE_A_SECRET = ("=1;sig=", "=1?sig=", "=1%26sig%3D", "=https%3A%2F%2Fx%3Fsig=", "=%3B", "=a=")
"""Texts between the name of a parameter and a secret, which is a parameter within its value."""

# Queries

TABLE = Table(
    {"id": "string", "n": "long", "d": "dynamic", "t": "datetime", "b": "bool"},
    [
        {"id": "a", "n": 1, "d": {"x": [1, "2"]}, "t": datetime(2026, 1, 1, tzinfo=UTC), "b": True},
        {"id": "B", "n": None, "d": None, "t": None, "b": None},
    ],
)
KQL = (
    *("Resources", "where", "project", "extend", "summarize", "by", "order by", "top", "join"),
    *("union", "mv-expand", "distinct", "count", "limit", "take", "on", "kind=inner", "asc"),
    *("id", "n", "d", "t", "b", "d.x", "d['x']", "d[0]", "x", "_", "|", "|", "|", ",", "=", "=="),
    *("!=", "=~", "!~", "<", ">=", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", "."),
    *("and", "or", "not(", "in", "in~", "has", "contains", "startswith", "matches regex"),
    *("'a'", '"b"', "@'c\\'", "1", "1.5", "1h", "true", "null", "dynamic([1,2])", "datetime(2026)"),
    *("tolower(", "tostring(", "toint(", "iff(", "case(", "split(", "strcat(", "parse_json("),
    *("count()", "sum(n)", "make_set(id)", "arg_max(n, *)", "dcount(id)", "ago(", "bin(", "now()"),
    *("let x = ", ";", "// c", "'", '"', "\n", "\\"),
)


def run_kql(reader: Reader) -> object:
    begin = "Resources | " if reader.byte() % 4 else ""
    parts = (
        reader.choose(KQL) if reader.byte() % 8 else reader.text()
        for _ in range(reader.byte() % 24)
    )
    text = begin + " ".join(parts)
    parse_shape(text)
    with suppress(QueryError):
        now = datetime(2026, 1, 1, tzinfo=UTC)
        table = run_query(parse_query(text), {"resources": lambda: TABLE}, now)
        list(table.rows)
    return None


TARGETS = (
    *(Target(f"token_{name.replace('-', '_')}", parse_token(name)) for name in ENVIRONMENTS),
    *(
        Target(function.__name__, function)
        for function in (
            detect_host,
            read_instance,
            read_list,
            read_error,
            read_challenge,
            read_hints,
            decode,
            find_version,
            parse_id,
            follow_link,
            build,
            follow_operation,
            resume_operation,
            check_write,
            read_gate_file,
            read_part,
            make_inventory_row,
            pin_hosts,
            redact,
            run_kql,
        )
    ),
)
