"""The script that renews the clients' statuses from installed packages, and the file it writes."""

from pathlib import Path

import pytest
from conformance import client_statuses as script
from conformance.client_statuses import FILE, HEAD, Row, main, parse, read_source, render, renew

from aiomsi.testing._state.client_statuses import list_namespaces, read_namespace

GROUP = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}"
SOURCE = """
def build_widgets_create_request(name, subscription_id, **kwargs):
    api_version: str = kwargs.pop("api_version", _params.pop("api-version", "2025-01-01"))
    _url = "/subscriptions/{id}/resourceGroups/{group}/providers/Contoso.Widgets/widgets/{name}"
    return HttpRequest(method="PUT", url=_url, params=_params, **kwargs)


def build_widgets_list_request(subscription_id, **kwargs):
    api_version: str = kwargs.pop("api_version", _params.pop("api-version", "2025-01-01"))
    _url = kwargs.pop(
        "template_url",
        "/subscriptions/{id}/providers/"
        "Contoso.Widgets/widgets",
    )
    return HttpRequest(method="GET", url=_url, params=_params, **kwargs)


def build_content_request(**kwargs):
    return HttpRequest(method="GET", url="https://contoso.example/content", **kwargs)


class WidgetsOperations:
    def _create_initial(self, name, **kwargs):
        _request = build_widgets_create_request(name=name, headers=_headers)
        response = self._client._pipeline.run(_request, **kwargs)
        if response.status_code not in [200, 202]:
            raise HttpResponseError(response=response)

    def list(self, **kwargs):
        def prepare_request(next_link=None):
            return build_widgets_list_request(self._config.subscription_id)

        def get_next(next_link=None):
            if response.status_code not in [200]:
                raise HttpResponseError(response=response)

    def read_content(self):
        return build_content_request()
"""


def make_row(kind: str, statuses: set[int], place: str = "g", version: str = "2025-01-01") -> Row:
    return Row("Contoso.Widgets", kind, "", "PUT", version, place, frozenset(statuses))


def test_source_gives_a_row_for_each_operation() -> None:
    rows = sorted(read_source(SOURCE), key=lambda row: row.method)

    assert [(row.form, row.method, row.place, set(row.statuses)) for row in rows] == [
        ("c", "GET", "s", {200}),
        ("", "PUT", "g", {200, 202}),
    ]
    assert {(row.namespace, row.kind, row.version) for row in rows} == {
        ("Contoso.Widgets", "widgets", "2025-01-01")
    }


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        (f"{GROUP}/providers/A.B/c/{{d}}", ("A.B", "c", "", "g")),
        (f"{GROUP}/providers/A.B/c/{{d}}/e/default/f/", ("A.B", "c/e/f", "c", "g:-/default")),
        ("/subscriptions/{id}/providers/A.B/c", ("A.B", "c", "c", "s")),
        ("/providers/A.B/c/{d}", ("A.B", "c", "", "t")),
        (
            "/providers/Microsoft.Management/managementGroups/{g}/providers/A.B/c/{d}",
            ("A.B", "c", "", "m"),
        ),
        ("/{scope}/providers/A.B/c/{d}", ("A.B", "c", "", "x")),
        (GROUP, ("Microsoft.Resources", "resourceGroups", "", "n")),
        ("/subscriptions/{id}/resourcegroups", ("Microsoft.Resources", "resourceGroups", "c", "n")),
        ("/{resourceId}", None),
        ("/providers/A.B", None),
        (f"{GROUP}/providers/{{namespace}}/{{type}}/{{name}}", None),
    ],
)
def test_path_gives_type_form_and_place(
    path: str, parsed: tuple[str, str, str, str] | None
) -> None:
    assert script.parse_path(path) == parsed


def test_lines_mark_the_newest_stable_version() -> None:
    rows = [
        make_row("widgets", {200}, version=version)
        for version in ("2024-01-01", "2025-01-01", "2026-01-01-preview")
    ]

    assert render(rows).removeprefix(HEAD).splitlines() == [
        "[Contoso.Widgets]",
        "widgets 2024-01-01 PUT=200@g",
        "widgets 2025-01-01* PUT=200@g",
        "widgets 2026-01-01-preview PUT=200@g",
    ]


def test_operations_with_one_path_keep_their_common_statuses() -> None:
    rows = [
        make_row("widgets", {200, 202}),
        make_row("widgets", {200}),
        make_row("parts", {201}),
        make_row("parts", {202}, "g:-/default"),
        make_row("tools", {200}),
        make_row("TOOLS", {202}),
    ]

    assert render(rows).removeprefix(HEAD).splitlines() == [
        "[Contoso.Widgets]",
        "parts 2025-01-01* PUT=201@g PUT=202@g:-/default",
        "TOOLS 2025-01-01* PUT=200,202@g",
        "widgets 2025-01-01* PUT=200@g",
    ]


def test_renewal_replaces_types_that_were_found() -> None:
    old = render([make_row("widgets", {200}, version="2024-01-01"), make_row("parts", {200})])

    assert renew(old, [make_row("widgets", {202})]) == render(
        [make_row("widgets", {202}), make_row("parts", {200})]
    )


def test_file_is_as_the_script_writes_it() -> None:
    text = FILE.read_text(encoding="utf-8")

    assert render(parse(text)) == text


def test_package_and_script_read_the_same_rows() -> None:
    read = {
        (kind, one.method, one.version, one.statuses, len(one.places))
        for namespace in list_namespaces()
        for kind, requests in read_namespace(namespace).items()
        for one in requests
    }
    rows = list(parse(FILE.read_text(encoding="utf-8")))

    assert {one[:4] for one in read} == {
        (row.kind.lower(), row.method, row.version, row.statuses) for row in rows
    }
    assert sum(
        len(one.places)
        for namespace in list_namespaces()
        for requests in read_namespace(namespace).values()
        for one in requests
    ) == len(rows)


@pytest.mark.slow
def test_script_renews_the_file_from_installed_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("azure.mgmt.resource")
    copy = tmp_path / "statuses.txt"
    copy.write_text(render([make_row("widgets", {200})]), encoding="utf-8")
    monkeypatch.setattr(script, "FILE", copy)

    assert main([]) == 1
    assert "\n+ [Microsoft.Resources]\n" in capsys.readouterr().out
    assert main(["--write"]) == 0
    assert main([]) == 0
    found = {(row.kind, row.method): row.statuses for row in parse(copy.read_text("utf-8"))}
    assert found["resourceGroups", "DELETE"] == {200, 202}
    assert found["widgets", "PUT"] == {200}


def test_script_reads_rows_of_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, copy = tmp_path / "table.tsv", tmp_path / "statuses.txt"
    path = f"{GROUP}/providers/Contoso.Widgets/widgets/{{name}}"
    line = f"Contoso.Widgets/widgets\tresource\tPUT\t2025-01-01\ty\t200\t{path}"
    table.write_text(f"# A comment\n{line}\n{line.replace(path, '/other')}\n", encoding="utf-8")
    monkeypatch.setattr(script, "FILE", copy)

    assert main(["--table", str(table), "--write"]) == 0
    assert copy.read_text("utf-8") == render([make_row("widgets", {200})])
