"""The columns and widths of a table."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from aiomsi._cli.table import choose_columns, flatten, print_table, share_width, take_columns

VAULT = {
    "id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv",
    "type": "Microsoft.KeyVault/vaults",
    "name": "kv",
    "etag": "1",
    "tags": {"a": "b"},
    "sku": {"name": "standard", "family": "A"},
    "properties": {"state": "Ready", "name": "other", "list": [1]},
    "kind": "",
    "managedBy": None,
}


def print_to_text(items: list[Any], *, chosen: bool = False, width: int = 0, **more: Any) -> str:
    """Return a table as text; with a width, as on a terminal."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=more.get("encoding", "utf-8"))
    console = Console(file=file, force_terminal=bool(width), width=width or None, color_system=None)
    print_table(items, chosen=chosen, console=console)
    file.seek(0)
    return file.read()


def test_flat_row_has_properties_group_and_name_of_the_sku() -> None:
    assert flatten(VAULT) == {
        "id": VAULT["id"],
        "type": "Microsoft.KeyVault/vaults",
        "name": "kv",
        "etag": "1",
        "tags": {"a": "b"},
        "sku": "standard",
        "state": "Ready",
        "list": [1],
        "resourceGroup": "g",
    }


@pytest.mark.parametrize(
    "item",
    [
        {"id": "/subscriptions/s/resourceGroups/g", "type": "x"},
        {"id": "/subscriptions/s/providers/a/b/c", "type": "x"},
        {"id": "/subscriptions/s/resourceGroups/g/providers/a/b/c"},
        {"id": 5, "type": "x"},
    ],
)
def test_group_is_added_to_resources_in_groups_only(item: dict[str, Any]) -> None:
    assert flatten(item) == item


def test_sku_and_properties_that_are_no_objects_are_kept() -> None:
    assert flatten({"sku": "S1", "properties": [1]}) == {"sku": "S1", "properties": [1]}


def test_zero_and_false_are_values() -> None:
    assert flatten({"a": 0, "b": False, "c": [], "d": {}}) == {"a": 0, "b": False}


def test_columns_are_the_plain_ones_with_the_name_first() -> None:
    assert choose_columns([flatten(VAULT)]) == ["name", "type", "resourceGroup", "state", "sku"]


def test_id_is_a_column_where_the_name_is_missing() -> None:
    assert choose_columns([{"id": "x", "b": 1}, {"c": 2}]) == ["id", "b", "c"]


def test_one_nested_value_hides_no_column() -> None:
    assert choose_columns([{"name": "a", "id": "1"}, {"name": ["b"], "id": "2"}]) == ["name"]
    assert choose_columns([{"name": ["b"], "id": "2"}]) == ["id"]


def test_columns_that_are_all_nested_are_shown() -> None:
    assert choose_columns([{"a": {}, "b": [1]}]) == ["a", "b"]


def test_chosen_members_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "i", "name": "n", "properties": {"a": 1}}, {"etag": None}]

    heading, _, first, second = print_to_text(rows, chosen=True).splitlines()

    assert heading.split() == ["id", "name", "properties", "etag"]
    assert first.split() == ["i", "n", '{"a":', "1}"]
    assert second.strip() == ""
    assert capsys.readouterr().err == "aiomsi: 2 rows\n"


def test_whole_resources_of_a_query_are_not_chosen() -> None:
    row = {**VAULT, **{f"member{number}": {} for number in range(9)}}

    assert print_to_text([row], chosen=True).split()[0] == "name"


def test_items_that_are_no_objects_are_one_column() -> None:
    assert print_to_text(["a", "b"]).split() == ["value", "─────", "a", "b"]
    assert print_to_text(["a", "b"], chosen=True).split() == ["value", "─────", "a", "b"]


def test_empty_list_prints_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_to_text([]) == ""
    assert capsys.readouterr().err == "aiomsi: 0 rows\n"


def test_numbers_are_aligned_to_the_right() -> None:
    *_, one, ten = print_to_text([{"count_": 1}, {"count_": 10}]).splitlines()

    assert (one, ten) == ("     1", "    10")


def test_table_in_a_file_is_not_cut() -> None:
    assert "x" * 500 in print_to_text([{"name": "x" * 500}])


def test_table_on_a_terminal_is_cut_to_its_width(capsys: pytest.CaptureFixture[str]) -> None:
    item = {"name": "short", "type": "t" * 60, "location": "l" * 60, "more": "m" * 60}

    lines = print_to_text([item], width=42).splitlines()

    assert all(len(line) <= 42 for line in lines)
    first, *others = lines[2].split()
    assert first == "short"
    assert [cell[:10] + cell[-1] for cell in others] == ["t" * 10 + "…", "l" * 10 + "…"]
    assert capsys.readouterr().err == "aiomsi: 1 row; columns left out: more\n"


def test_table_is_written_in_the_encoding_of_the_output() -> None:
    item = {"name": "Jürgen" * 9}

    assert "J\\xfcrgen" in print_to_text([item], encoding="ascii")
    assert len(print_to_text([item], width=20, encoding="ascii").splitlines()[-1]) <= 20


def test_control_characters_do_not_reach_the_table() -> None:
    assert print_to_text([{"name": "a\x1b[31m\nb"}]).splitlines()[-1] == "a [31m b"


@pytest.mark.parametrize("chosen", [False, True])
def test_control_characters_of_a_member_do_not_reach_the_table(chosen: bool) -> None:
    title, _, row = print_to_text([{"\x1b]0;a\x07\nb": "c"}], chosen=chosen).splitlines()

    assert (title, row.strip()) == ("]0;a b", "c")


@pytest.mark.parametrize(
    ("widths", "room", "expected"),
    [
        ([], 80, 1),
        ([5], 80, 5),
        ([100], 80, 77),
        ([5, 100], 40, 29),
        ([30, 30], 26, 10),
        ([9], 2, 1),
    ],
)
def test_width_is_shared_by_the_wide_columns(widths: list[int], room: int, expected: int) -> None:
    assert share_width(widths, room) == expected


@pytest.mark.parametrize(("room", "count"), [(0, 1), (15, 1), (29, 1), (30, 2), (99, 3)])
def test_columns_without_room_are_left_out(room: int, count: int) -> None:
    assert len(take_columns({"a": 99, "b": 99, "c": 1}, room)) == count
