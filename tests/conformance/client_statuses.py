"""Renew the status codes that Microsoft's management clients accept, from installed packages.

    pip install azure-mgmt-compute azure-mgmt-network ...
    python tests/conformance/client_statuses.py --write

It reads the source of every installed ``azure-mgmt-*`` package, without importing it: the path, the
method and the api-version of each operation's request, and the statuses that the operation takes
as success. ``--write`` replaces these types in the file of `aiomsi.testing`; otherwise the
differences are printed. ``--table`` reads rows of tab-separated values instead of packages.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import attrs

FILE = Path(__file__).parents[2] / "src/aiomsi/testing/_state/client_statuses.txt"
HEAD = """\
# The status codes that Microsoft's management clients for Python accept, by type and method.
# tests/conformance/client_statuses.py renews this file; client_statuses.py describes its format.
"""
_GROUPS = re.compile(r"/subscriptions/[^/]+/resourcegroups(/[^/]+)?", re.IGNORECASE)
_SCOPES = (
    ("t", re.compile(r"")),
    ("s", re.compile(r"/subscriptions/\{[^/]+\}")),
    ("g", re.compile(r"/subscriptions/\{[^/]+\}/resourcegroups/\{[^/]+\}", re.IGNORECASE)),
    ("m", re.compile(r"/providers/Microsoft\.Management/managementGroups/\{[^/]+\}")),
    ("x", re.compile(r".*")),
)


@attrs.frozen
class Row:
    """A request of a client: its type, form, method and version, its place, and the statuses.

    ``place`` is the scope and the fixed names, as the file writes them.
    """

    namespace: str
    kind: str
    form: str
    method: str
    version: str
    place: str
    statuses: frozenset[int] = attrs.field(eq=False)


def parse_path(path: str) -> tuple[str, str, str, str] | None:
    """Return namespace, type, form and place of a path; None if it is no type's."""
    path = path.rstrip("/")
    if _GROUPS.fullmatch(path):
        form = "" if path.count("/") == 4 else "c"
        return "Microsoft.Resources", "resourceGroups", form, "n"
    scope, mark, tail = path.rpartition("/providers/")
    namespace, *segments = tail.split("/")
    kinds, names = segments[::2], segments[1::2]
    if not mark or not kinds or any(word.startswith("{") for word in (namespace, *kinds)):
        return None
    letter = next(letter for letter, pattern in _SCOPES if pattern.fullmatch(scope))
    shown = ["-" if name.startswith("{") else name for name in names]
    fixed = ":" + "/".join(shown) if set(shown) - {"-"} else ""
    form = "" if len(kinds) == len(names) else "c"
    return namespace, "/".join(kinds), form, letter + fixed


def make_row(method: str, path: str, version: str, statuses: Iterable[int]) -> Row | None:
    parsed = parse_path(path)
    if parsed is None or not version:
        return None
    namespace, kind, form, place = parsed
    form = "a" if form == "c" and method != "GET" else form
    return Row(namespace, kind, form, method, version.lower(), place, frozenset(statuses))


def read_table(path: Path) -> Iterator[Row]:
    """Read rows of type, form, method, version, default, statuses and path."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            _, _, method, version, _, statuses, template = line.split("\t")
            row = make_row(method, template, version, map(int, statuses.split()))
            if row is not None:
                yield row


def read_packages() -> Iterator[Row]:
    """Read the synchronous operations of every installed management package."""
    spec = find_spec("azure.mgmt")
    for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
        for path in sorted(folder.rglob("operations/*.py")):
            if "aio" not in path.relative_to(folder).parts:
                yield from read_source(path.read_text(encoding="utf-8"))


def read_source(source: str) -> Iterator[Row]:
    """Read the operations of a module: its request builders, and the methods that call them."""
    tree = ast.parse(source)
    builders = {
        one.name: found
        for one in tree.body
        if isinstance(one, ast.FunctionDef) and (found := _read_builder(one)) is not None
    }
    for group in (one for one in tree.body if isinstance(one, ast.ClassDef)):
        for method in (one for one in group.body if isinstance(one, ast.FunctionDef)):
            statuses = _find_statuses(method)
            for name in _find_calls(method) & builders.keys():
                row = make_row(*builders[name], statuses) if statuses else None
                if row is not None:
                    yield row


def _read_builder(function: ast.FunctionDef) -> tuple[str, str, str] | None:
    """Return method, path and default api-version of a function that builds a request."""
    method = path = version = ""
    for node in ast.walk(function):
        match node:
            case ast.keyword(arg="method", value=ast.Constant(value=str(text))):
                method = text
            case ast.Assign(targets=[ast.Name(id="_url" | "url")], value=value):
                path = path or _find_text(value, "/")
            case ast.AnnAssign(target=ast.Name(id="api_version"), value=ast.expr() as value):
                version = _find_text(value, "20")
    return (method, path, version) if method and path else None


def _find_text(value: ast.expr, beginning: str) -> str:
    """Return the constant in an expression, perhaps a call's default, that begins like this."""
    texts = (one.value for one in ast.walk(value) if isinstance(one, ast.Constant))
    return next((one for one in texts if isinstance(one, str) and one.startswith(beginning)), "")


def _find_statuses(method: ast.FunctionDef) -> frozenset[int]:
    for node in ast.walk(method):
        match node:
            case ast.Compare(
                left=ast.Attribute(attr="status_code"),
                ops=[ast.NotIn()],
                comparators=[ast.List(elts)],
            ):
                return frozenset(ast.literal_eval(one) for one in elts)
    return frozenset()


def _find_calls(method: ast.FunctionDef) -> set[str]:
    return {
        one.func.id
        for one in ast.walk(method)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)
    }


def merge(rows: Iterable[Row]) -> list[Row]:
    """Return one row per request: with the statuses that all rows for it accept.

    Two operations may send the same request; where they accept no status in common, any of their
    statuses stays.
    """
    given = list(rows)
    # Capital letters sort first, so that "Microsoft.Compute" and not "microsoft.Compute" is kept.
    spellings = {
        name.lower(): name
        for name in sorted((one for row in given for one in _name_row(row)), reverse=True)
    }
    found: dict[Row, frozenset[int]] = {}
    for row in given:
        namespace, kind = (spellings[name.lower()] for name in _name_row(row))
        kept = attrs.evolve(row, namespace=namespace, kind=kind.partition("/")[2])
        known = found.get(kept, row.statuses)
        found[kept] = known & row.statuses or known | row.statuses
    merged = [attrs.evolve(row, statuses=statuses) for row, statuses in found.items()]
    return sorted(merged, key=_make_key)


def _name_row(row: Row) -> tuple[str, str]:
    return row.namespace, f"{row.namespace}/{row.kind}"


def _make_key(row: Row) -> tuple[str, ...]:
    names = row.namespace.lower(), row.kind.lower(), row.version, row.form, row.method, row.place
    return (*names, *map(str, sorted(row.statuses)))


def choose_default(versions: Iterable[str]) -> str:
    """Return the newest stable version; the newest one if none is stable."""
    return max(versions, key=lambda version: (len(version) == 10, version))


def render(rows: Iterable[Row]) -> str:
    """Return the text of the file."""
    types: dict[str, dict[str, dict[str, list[Row]]]] = {}
    for row in merge(rows):
        versions = types.setdefault(row.namespace, {}).setdefault(row.kind, {})
        versions.setdefault(row.version, []).append(row)
    parts = [HEAD]
    for namespace, kinds in sorted(types.items(), key=lambda one: one[0].lower()):
        parts.append(f"[{namespace}]\n")
        parts += itertools.chain.from_iterable(map(_render_type, kinds, kinds.values()))
    return "".join(parts)


def _render_type(kind: str, versions: dict[str, list[Row]]) -> Iterator[str]:
    """Return a line for each version; two if it is the default one of some requests only."""
    defaults = _find_defaults(versions)
    for version, rows in versions.items():
        for mark in ("", "*"):
            chosen = [row for row in rows if (version == defaults[_request(row)]) is bool(mark)]
            if chosen:
                yield f"{kind} {version}{mark} {' '.join(_render_requests(chosen))}\n"


def _request(row: Row) -> tuple[str, str]:
    return row.form, row.method


def _find_defaults(versions: dict[str, list[Row]]) -> dict[tuple[str, str], str]:
    """Return the default version by form and method."""
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for version, rows in versions.items():
        for row in rows:
            known[_request(row)].add(version)
    return {request: choose_default(names) for request, names in known.items()}


def _render_requests(rows: Iterable[Row]) -> Iterator[str]:
    places: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in rows:
        statuses = ",".join(map(str, sorted(row.statuses)))
        verb = f"{row.form}.{row.method}" if row.form else row.method
        places[verb, statuses].append(row.place)
    for (verb, statuses), found in sorted(places.items()):
        yield f"{verb}={statuses}@{','.join(found)}"


def parse(text: str) -> Iterator[Row]:
    """Parse the text of the file."""
    namespace = ""
    for line in text.splitlines():
        if line.startswith("["):
            namespace = line.strip("[]")
        elif line and not line.startswith("#"):
            kind, version, *requests = line.split(" ")
            for request in requests:
                head, _, places = request.partition("@")
                verb, _, statuses = head.partition("=")
                form, _, method = verb.rpartition(".")
                accepted = frozenset(map(int, statuses.split(",")))
                for place in places.split(","):
                    yield Row(namespace, kind, form, method, version.rstrip("*"), place, accepted)


def renew(old: str, rows: Iterable[Row]) -> str:
    """Return the text of the file with the types of the rows replaced; other types stay."""
    found = list(rows)
    renewed = {_get_type(row) for row in found}
    return render([*found, *(row for row in parse(old) if _get_type(row) not in renewed)])


def _get_type(row: Row) -> str:
    return f"{row.namespace}/{row.kind}".lower()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the file")
    parser.add_argument("--table", type=Path, help="read these rows instead of packages")
    options = parser.parse_args(arguments)
    rows = list(read_packages() if options.table is None else read_table(options.table))
    old = FILE.read_text(encoding="utf-8") if FILE.exists() else HEAD
    new = renew(old, rows)
    print(f"{len(rows)} requests of {len({row.namespace.lower() for row in rows})} namespaces")
    if options.write:
        FILE.write_text(new, encoding="utf-8")
        return 0
    before, after = set(old.splitlines()), set(new.splitlines())
    for sign, lines in (("-", before - after), ("+", after - before)):
        print(*(f"{sign} {line}" for line in sorted(lines)), sep="\n")
    return 0 if before == after else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
