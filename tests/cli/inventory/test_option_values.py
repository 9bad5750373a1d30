"""The arguments of `aiomsi inventory`, from text."""

import pytest
from optional import import_or_skip

from aiomsi import ConfigurationError
from aiomsi._cli.inventory.option_values import check_places, parse_duration, split_names


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5 m", 90), ("6h", 21_600), ("2d", 172_800)]
)
def test_duration_has_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_names_of_a_list_are_stripped() -> None:
    assert split_names("--kinds", [" a, b,,c "]) == ("a", "b", "c")
    assert split_names("--kinds", ["a,b", "c"]) == ("a", "b", "c")
    assert split_names("--kinds", []) == ()


def test_list_without_names_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="--kinds has no names"):
        split_names("--kinds", ["", " ,"])


def test_url_of_azure_needs_no_credential_yet() -> None:
    pytest.importorskip("adlfs")
    url = "abfss://data@mine.dfs.core.windows.net/x.jsonl"

    check_places(url, None, excel=False, storage={})


def test_url_of_an_unknown_scheme_is_refused() -> None:
    import_or_skip("fsspec")

    with pytest.raises(ConfigurationError, match="can't be opened"):
        check_places("nowhere://x.jsonl", None, excel=False, storage={})


@pytest.mark.parametrize("report", ["x.jsonl", "./x.errors.jsonl", "y/../x.manifest.json"])
def test_report_that_replaces_the_output_is_refused(report: str) -> None:
    with pytest.raises(ConfigurationError, match="would replace a file of the output"):
        check_places("x.jsonl", report, excel=False, storage={})
