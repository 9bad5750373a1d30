"""The tables of docs/hosts.md, read from the page: each cell is what the constructor does."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from host_environments import ENVIRONMENTS, GUID

from aiomsi import ConfigurationError, ManagedIdentityCredential
from aiomsi._hosts.base import FileRequest, Host, TokenRequest
from aiomsi._hosts.detect import HOSTS
from aiomsi._hosts.identity import RequestedIdentity
from aiomsi._tokens.state import FetchRequest
from aiomsi._util.secret import SecretBytes
from aiomsi.testing._hosts.variables import IDENTITY_VARIABLES

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
OTHER_GUID = "00000000-0000-0000-0000-000000000007"
RESOURCE_ID = (
    f"/subscriptions/{GUID}/resourceGroups/g/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/me"
)
IDENTITIES = {
    "system": RequestedIdentity(),
    "client id": RequestedIdentity("client_id", OTHER_GUID),
    "object id": RequestedIdentity("object_id", OTHER_GUID),
    "resource id": RequestedIdentity("resource_id", RESOURCE_ID),
}
PARAMETERS = {
    "client_id",
    "clientid",
    "object_id",
    "principal_id",
    "msi_res_id",
    "mi_res_id",
}


def read_table(heading: str) -> list[dict[str, str]]:
    """Return the rows of the table below a heading of the page."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    names, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(names, row, strict=True)) for row in rows]


def read_cells() -> Iterator[tuple[str, str, str]]:
    for row in read_table("Which identity"):
        name = row.pop("`host=`").strip("`")
        for column, cell in row.items():
            yield name, column, cell


CELLS = list(read_cells())


def build(host: Host) -> TokenRequest:
    request = host.build_request("https://r", FetchRequest())
    if isinstance(request, FileRequest):
        request = host.build_request("https://r", FetchRequest(), SecretBytes(b"content"))
    assert isinstance(request, TokenRequest)
    return request


def read_parameters(request: TokenRequest) -> dict[str, list[str]]:
    query = parse_qs(urlsplit(request.url).query, strict_parsing=request.method == "GET")
    return query if request.body is None else parse_qs(request.body.decode(), strict_parsing=True)


def test_page_has_every_host_in_the_order_of_detection() -> None:
    rows = [tuple(row.values()) for row in read_table("Which host")]
    assert rows == [(f"`{name}`", kind.title, kind.why) for name, kind in HOSTS.items()]


def test_page_has_a_cell_for_each_host_and_kind_of_id() -> None:
    assert len(CELLS) == len(HOSTS) * len(IDENTITIES)
    assert {(name, column) for name, column, _ in CELLS} == {
        (name, column) for name in HOSTS for column in IDENTITIES
    }


@pytest.mark.parametrize(("name", "column", "cell"), CELLS)
def test_cell_is_what_the_constructor_does(
    name: str, column: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An Arc agent on this machine chooses no host for a test.
    environment = ENVIRONMENTS[name] or {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"}
    for variable in IDENTITY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, text in environment.items():
        monkeypatch.setenv(variable, text)
    identity = IDENTITIES[column]
    ids = {} if identity.kind is None else {identity.kind: identity.value}
    works = re.fullmatch(r"works(?: \(`(\w+)`\))?", cell)
    if works is None:
        with pytest.raises(ConfigurationError) as raised:
            ManagedIdentityCredential(**ids)  # type: ignore[arg-type]  # only ids are passed
        assert raised.value.args[0] == cell
        assert HOSTS[name].why in raised.value.help
        return
    host = ManagedIdentityCredential(**ids)._host  # type: ignore[arg-type]  # only ids are passed
    sent = read_parameters(build(host))
    value = identity.value or environment.get("AZURE_CLIENT_ID", "")
    wanted = {} if works[1] is None else {works[1]: [value]}
    assert {key: values for key, values in sent.items() if key in PARAMETERS} == wanted
