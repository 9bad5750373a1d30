"""`aiomsi inventory`: its files, exit codes and outputs."""

import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pty_run
import pytest
from command_line import Run, run_process
from optional import import_or_skip

from aiomsi.inventory import read_manifest
from aiomsi.inventory._parts.lock import FolderLock
from aiomsi.testing import DEFAULT_SUBSCRIPTION_ID, EmbeddedAzure, Fault

pytestmark = pytest.mark.usefixtures("azure_environment")


@pytest.fixture
def ids(embedded_azure: EmbeddedAzure) -> tuple[str, ...]:
    """Subscriptions with resources."""
    return embedded_azure.arm.generate(subscriptions=4, resources=200)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the output, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return Path("x.jsonl")


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


# Exit codes


def test_complete_run_writes_three_files_and_removes_parts(
    run: Run, ids: tuple[str, ...], output: Path
) -> None:
    said = run("inventory", "-o", "x.jsonl")

    assert (said.code, said.out) == (0, "")
    lines = said.err.splitlines()
    rows = read(output)
    assert lines[0] == "listing subscriptions"
    assert lines[1].startswith(f"5 of 5 subscriptions, {len(rows)} of {len(rows)} rows, ")
    assert lines[1].endswith("0 errors, writing the output")
    assert lines[2] == f"complete, {len(rows)} rows of 5 subscriptions"
    assert lines[-1] == "Written: x.jsonl, x.errors.jsonl, x.manifest.json"
    assert sorted(path.name for path in Path().iterdir()) == sorted(
        ["x.jsonl", "x.errors.jsonl", "x.manifest.json"]
    )
    assert len([row for row in rows if row["source"] == "list"]) == 200
    identity = read_manifest("x.manifest.json").plan.identity
    assert all(identity[name] for name in ("client_id", "object_id", "tenant_id"))


def test_incomplete_run_keeps_its_parts_and_says_how_to_go_on(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")

    said = run("inventory", "-o", "x.jsonl", "--progress", "none")

    assert (said.code, said.out) == (3, "")
    lines = said.err.splitlines()
    assert lines[0].startswith("incomplete: 1 of 5 subscriptions, ")
    assert any(re.match(r"AuthorizationFailed +403 +2 +\S+\.container", line) for line in lines)
    assert any(line.startswith("AuthorizationFailed: The client ") for line in lines)
    assert lines[-1].endswith(
        "--retry-failed to read the failed scopes; the parts are in x.jsonl.parts"
    )
    assert len(read(Path("x.errors.jsonl"))) == 2
    assert ids[0] not in {row["subscription_id"] for row in read(output)}


def test_nothing_read_is_exit_code_1_without_a_file(
    run: Run, embedded_azure: EmbeddedAzure, output: Path
) -> None:
    embedded_azure.arm.deny(f"/subscriptions/{DEFAULT_SUBSCRIPTION_ID}")

    said = run("inventory", "-o", "x.jsonl")

    assert said.code == 1
    assert "incomplete: 1 of 1 subscriptions, 0 rows of 1 subscriptions\n" in said.err
    assert "Written" not in said.err
    assert not output.exists()


def test_no_subscription_is_exit_code_1(
    run: Run, embedded_azure: EmbeddedAzure, output: Path
) -> None:
    said = run("inventory", "-o", "x.jsonl", "--tag", "env=none", "--progress", "none")

    assert said.code == 1
    assert said.complaint[0] == "aiomsi: none of the 1 visible subscriptions was chosen"
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the output is missing: write for example -o inventory.jsonl"),
        (("-o", "x.txt"), "the output 'x.txt' ends with none of .jsonl, .csv, .parquet"),
        (("-o", "no/x.csv"), "the folder 'no' does not exist"),
        (("-o", "x.jsonl", "--excel"), "--excel is an option of CSV"),
        (("-o", "x.jsonl", "--max-age", "6y"), "--max-age '6y' is no duration"),
        (("-o", "x.jsonl", "--tag", "env"), "--tag 'env' is not NAME=VALUE, or its name was given"),
        (("-o", "x.jsonl", "--tag", "a=1", "--tag", "a=2"), "--tag 'a' is not NAME=VALUE, or"),
        (("-o", "x.jsonl", "--subscription", "@none"), "the file in --subscription can't be read:"),
        (
            ("-o", "x.jsonl", "--resume", "--restart"),
            "--restart excludes --resume, --retry-failed and --max-age",
        ),
        (
            ("-o", "x.jsonl", "--credential", "os:a", "--credential", "os:b"),
            "--credential was given more than once",
        ),
        (
            ("-o", "x.jsonl", "--credential", "tenant=os:a"),
            "--credential 'tenant=os:a' names a tenant, and a command uses one credential",
        ),
        (("-o", "x.jsonl", "diff", "a", "b"), "diff takes no -o"),
    ],
)
def test_wrong_usage_is_exit_code_2_without_a_request(
    run: Run,
    embedded_azure: EmbeddedAzure,
    output: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    said = run("inventory", *arguments)

    assert said.code == 2
    assert said.complaint[0].startswith(f"aiomsi: {message}")
    assert not embedded_azure.arm.requests
    assert not list(Path().iterdir())


def test_folder_with_other_files_is_refused_without_a_request(
    run: Run, embedded_azure: EmbeddedAzure, output: Path
) -> None:
    import_or_skip("pyarrow")
    Path("mine").mkdir()
    Path("mine/thesis.txt").touch()

    said = run("inventory", "-o", "mine/")

    assert said.code == 2
    assert said.complaint[0] == "aiomsi: the folder 'mine' has a file of no inventory: thesis.txt"
    assert not embedded_azure.arm.requests
    assert [path.name for path in Path().iterdir()] == ["mine"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that is closed first")
def test_closed_stderr_is_exit_code_141_after_the_files(
    embedded_azure: EmbeddedAzure, output: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "aiomsi", "inventory", "-o", "x.jsonl"]
    try:
        done = subprocess.run(command, check=False, stderr=writer, timeout=50)
    finally:
        os.close(writer)

    assert done.returncode == 141
    assert read_manifest("x.manifest.json").completeness == "complete"


# Choices


def test_subscriptions_come_from_options_files_and_stdin(
    run: Run, ids: tuple[str, ...], output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("some.txt").write_text(f"# two\n{ids[0]}\n\n{ids[1]}\n", encoding="utf-8")
    monkeypatch.setattr(
        "sys.stdin", io.TextIOWrapper(io.BytesIO(ids[3].encode()), encoding="utf-8")
    )
    choice = ("--subscription", "-", "--subscription", "@some.txt", "--exclude", ids[0])

    said = run("inventory", "-o", "x.jsonl", "--progress", "none", *choice)

    assert (said.code, said.out) == (0, "")
    assert {row["subscription_id"] for row in read(output)} == {ids[1], ids[3]}


def test_file_without_names_is_refused(run: Run, output: Path) -> None:
    Path("none.txt").write_text("\n# all gone\n", encoding="utf-8")

    said = run("inventory", "-o", "x.jsonl", "--exclude", "@none.txt")

    assert said.code == 2
    assert said.complaint[0] == "aiomsi: --exclude @none.txt has no line with a name"


@pytest.mark.slow
def test_states_tags_offers_and_groups_choose(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    arm = embedded_azure.arm
    arm.change_subscription(ids[0], tags={"env": "prod"}, quota_id="MSDN_2014-09-01")
    arm.change_subscription(ids[1], tags={"env": "prod"}, state="Disabled")
    arm.change_subscription(ids[2], tags={"env": "prod"})

    choices: list[tuple[tuple[str, ...], set[str]]] = [
        (("--tag", "env=prod"), {ids[0], ids[1], ids[2]}),
        (("--tag", "env=prod", "--states", "Enabled, Warned"), {ids[0], ids[2]}),
        (("--quota-id", "MSDN_2014-09-01"), {ids[0]}),
    ]
    for arguments, expected in choices:
        assert run("inventory", "-o", "x.jsonl", "--progress", "none", *arguments).code == 0
        assert {row["subscription_id"] for row in read(output)} == expected


def test_ignored_code_counts_as_empty_and_is_printed(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")

    said = run("inventory", "-o", "x.jsonl", "--ignore", "authorizationfailed")

    assert said.code == 0
    assert "Ignored codes: authorizationfailed; 2 scopes that count as empty\n" in said.err


def test_limit_rate_and_pacing_reach_the_session(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    options = ("--limit", "1", "--rate", "1000", "--no-pacing", "--progress", "none")

    assert run("inventory", "-o", "x.jsonl", *options).code == 0


def test_csv_for_a_spreadsheet_begins_with_a_mark(run: Run, output: Path) -> None:
    assert run("inventory", "-o", "x.csv", "--excel", "--progress", "none").code == 0

    assert Path("x.csv").read_bytes().startswith(b"\xef\xbb\xbfid,name,")


# Resuming


@pytest.mark.slow
def test_failed_lists_alone_are_read_again(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    first = run("inventory", "-o", "x.jsonl", "--progress", "none")
    embedded_azure.clear_faults()
    before = len(embedded_azure.arm.requests)

    said = run("inventory", "-o", "x.jsonl", "--progress", "none", "--retry-failed")

    assert (first.code, said.code) == (3, 0)
    # The list of subscriptions, the count, and the list.
    assert len(embedded_azure.arm.requests) - before == 3
    assert not Path("x.jsonl.parts").exists()
    rows = read(output)
    # The tables count the rows of the earlier parts, too.
    kinds = sum(row["type"] == "microsoft.compute/disks" for row in rows)
    assert re.search(rf"^microsoft.compute/disks +{kinds}$", said.err, re.MULTILINE)


@pytest.mark.slow
def test_ended_run_is_replaced_by_a_new_one(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")
    codes = [run("inventory", "-o", "x.jsonl", "--progress", "none").code for _ in range(2)]

    assert codes == [3, 3]


@pytest.mark.slow
def test_unfinished_run_needs_a_decision(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")
    run("inventory", "-o", "x.jsonl", "--progress", "none")
    # As if the run had been killed before its output.
    Path("x.manifest.json").unlink()

    said = run("inventory", "-o", "x.jsonl", "--progress", "none")
    assert said.code == 2
    assert said.complaint == [
        "aiomsi: the folder 'x.jsonl.parts' has the parts of a run that has not ended",
        "Continue that run with --resume, or remove its parts with --restart",
    ]
    before = len(embedded_azure.arm.requests)
    assert run("inventory", "-o", "x.jsonl", "--progress", "none", "--resume").code == 3
    assert len(embedded_azure.arm.requests) - before == 2
    assert run("inventory", "-o", "x.jsonl", "--progress", "none", "--restart").code == 3
    assert len(embedded_azure.arm.requests) - before == 2 + 12


@pytest.mark.slow
def test_resumed_run_refuses_other_arguments(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")
    run("inventory", "-o", "x.jsonl", "--progress", "none")

    said = run("inventory", "-o", "x.jsonl", "--progress", "none", "--resume", "--exclude", ids[1])

    assert said.code == 2
    assert said.complaint[0] == "aiomsi: the earlier run differs from this one in: choice"


@pytest.mark.slow
def test_resumed_run_refuses_another_identity(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    other = embedded_azure.imds.assign_identity()
    embedded_azure.arm.grant(other.object_id)
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")
    run("inventory", "-o", "x.jsonl", "--progress", "none")

    said = run(
        *("inventory", "-o", "x.jsonl", "--progress", "none", "--max-age", "6h"),
        *("--client-id", other.client_id),
    )

    assert said.code == 2
    assert said.complaint[0] == "aiomsi: the earlier run differs from this one in: identity"


@pytest.mark.slow
def test_full_disk_keeps_the_parts(
    run: Run,
    embedded_azure: EmbeddedAzure,
    ids: tuple[str, ...],
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.jsonl")

    with monkeypatch.context() as patch:
        patch.setattr("aiomsi._cli.inventory.inventory_run.assemble", fail)
        said = run("inventory", "-o", "x.jsonl", "--progress", "none")
    assert said.code == 1
    assert said.complaint == [f"aiomsi: [Errno {errno.ENOSPC}] No space left on device: 'x.jsonl'"]
    before = len(embedded_azure.arm.requests)

    assert run("inventory", "-o", "x.jsonl", "--progress", "none", "--resume").code == 0
    # The list of subscriptions, and the count.
    assert len(embedded_azure.arm.requests) - before == 2
    assert len(read(output)) > 200


def test_second_run_in_the_folder_is_refused(
    run: Run, embedded_azure: EmbeddedAzure, output: Path
) -> None:
    parts = Path("x.jsonl.parts")
    parts.mkdir()
    with FolderLock(parts):
        said = run("inventory", "-o", "x.jsonl", "--progress", "none")

    assert said.code == 1
    assert said.complaint[0] == "aiomsi: another run uses the folder 'x.jsonl.parts'"
    assert not embedded_azure.arm.requests


# What is shown


@pytest.mark.slow
def test_mask_hides_ids_on_stderr_and_not_in_files(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")

    said = run("inventory", "-o", "x.jsonl", "--mask")

    assert said.code == 3
    assert not [one for one in ids if one in said.err]
    assert re.search(r" subscription-000\d\.container", said.err)
    assert ids[1] in output.read_text(encoding="utf-8")
    assert read_manifest("x.manifest.json").errors[0].scope.subscription_id == ids[0]


@pytest.mark.slow
def test_pipe_gets_plain_lines_without_control_characters(
    embedded_azure: EmbeddedAzure, output: Path
) -> None:
    said = run_process("inventory", "-o", "x.jsonl", FORCE_COLOR="1")

    assert said.code == 0
    assert "\x1b" not in said.err
    assert said.err.startswith("listing subscriptions\n1 of 1 subscriptions, 2 of 2 rows, ")


def test_json_progress_is_a_line_for_each_snapshot(run: Run, output: Path) -> None:
    said = run("inventory", "-o", "x.jsonl", "--progress", "json")

    documents = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert [one["phase"] for one in documents] == ["planning", "writing"]
    assert (documents[-1]["done"], documents[-1]["rows"]) == (1, 2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pty")
def test_terminal_shows_a_bar_and_then_the_summary(
    embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    code, shown = pty_run.run_in_terminal("inventory", "-o", "x.jsonl")

    assert code == 0
    assert "━" in shown
    assert "5 of 5 subscriptions" in shown
    # The cursor is hidden, and shown again.
    assert shown.index("\x1b[?25l") < shown.index("\x1b[?25h")
    assert "complete, " in shown[shown.index("\x1b[?25h") :]


def test_help_names_the_options_and_exit_codes(run: Run) -> None:
    said = run("inventory", "--help")

    assert said.code == 0
    text = " ".join(said.out.split())
    assert "Exit codes: 0 complete; 1 no list was read, or another error; 2 wrong" in text
    assert "diff Print the differences of two inventories" in text


# Sources, formats and the report


def test_properties_and_filters_choose_the_rows(
    run: Run, ids: tuple[str, ...], output: Path
) -> None:
    said = run(
        *("inventory", "-o", "x.jsonl", "--progress", "none", "--properties"),
        *("--type", "Microsoft.Compute/disks, Contoso.X/ys", "--where", "location != 'nowhere'"),
    )

    assert said.code == 0
    rows = read(output)
    assert {(row["type"], row["source"]) for row in rows} == {("microsoft.compute/disks", "graph")}
    assert all(row["properties"] for row in rows)


@pytest.mark.slow
def test_kinds_locations_and_groups_choose_the_rows(
    run: Run, ids: tuple[str, ...], output: Path
) -> None:
    said = run(
        *("inventory", "-o", "x.jsonl", "--progress", "none", "--location", "West Europe"),
        *("--kinds", "Microsoft.Network/virtualNetworks, Microsoft.Web/sites", "--no-count"),
        *("--kinds", "Microsoft.Compute/disks"),
    )

    assert said.code == 0
    rows = read(output)
    assert {row["location"] for row in rows} == {"westeurope"}
    assert {row["type"] for row in rows if row["source"] == "types"} <= {
        "microsoft.network/virtualnetworks",
        "microsoft.web/sites",
        "microsoft.compute/disks",
    }
    group = next(row["resource_group"] for row in rows)
    assert isinstance(group, str)
    filtered = run(
        "inventory", "-o", "x.jsonl", "--progress", "none", "--resource-group", group.upper()
    )
    assert filtered.code == 0
    assert {row["resource_group"] for row in read(output)} == {group}


def test_contradicting_filters_are_named_as_options(
    run: Run, embedded_azure: EmbeddedAzure, output: Path
) -> None:
    said = run("inventory", "-o", "x.jsonl", "--progress", "none", "--where", "true")

    assert said.code == 2
    assert said.complaint == [
        "aiomsi: --where filters rows of Resource Graph only",
        "Pass --properties or --graph-table, and no --kinds",
    ]
    assert not embedded_azure.arm.requests
    assert not list(Path().iterdir())


def test_rows_go_to_stdout_and_the_rest_to_stderr(
    run: Run, ids: tuple[str, ...], output: Path
) -> None:
    said = run("inventory", "-o", "-", "--progress", "none")

    assert said.code == 0
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert len([row for row in rows if row["source"] == "list"]) == 200
    assert said.err.splitlines()[0].startswith("complete, ")
    assert "Written" not in said.err
    assert not list(Path().iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that is closed first")
def test_closed_stdout_is_exit_code_141_without_a_traceback(
    embedded_azure: EmbeddedAzure, output: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "aiomsi", "inventory", "-o", "-", "--progress", "none"]
    try:
        done = subprocess.run(
            command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=50
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
def test_parts_of_stdout_may_be_kept_and_continued(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    arguments = ("inventory", "-o", "-", "--progress", "none", "--parts", "mine")
    first = run(*arguments)
    embedded_azure.clear_faults()
    refused = run("inventory", "-o", "-", "--resume")
    again = run(*arguments, "--retry-failed")

    assert (first.code, refused.code, again.code) == (3, 2, 0)
    assert first.err.splitlines()[-1].endswith("; the parts are in mine")
    assert "temporary, so no run can be resumed" in refused.err
    assert len(again.out.splitlines()) > len(first.out.splitlines())


@pytest.mark.slow
def test_ended_run_to_stdout_is_replaced(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    arguments = ("inventory", "-o", "-", "--progress", "none", "--parts", "mine")

    assert [run(*arguments).code for _ in range(2)] == [3, 3]


def test_url_is_written_with_its_parts(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    fsspec = import_or_skip("fsspec")
    embedded_azure.arm.inject(Fault(403), None, f"{ids[0]}/resources")
    url = "memory://inventory-command/x.jsonl"
    store = fsspec.filesystem("memory")

    first = run("inventory", "-o", url, "--progress", "none")
    assert first.code == 3
    assert first.err.splitlines()[-1].endswith(f"; the parts are in {url}.parts")
    assert store.ls(f"{url}.parts", detail=False)
    # A command with other arguments leaves the folder to the run that is under way.
    store.pipe_file(f"{url}.parts/owner", b"other")
    refused = run("inventory", "-o", url, "--progress", "none", "--resume", "--properties")
    assert refused.code == 2
    assert store.cat_file(f"{url}.parts/owner") == b"other"
    embedded_azure.clear_faults()
    assert run("inventory", "-o", url, "--progress", "none", "--retry-failed").code == 0
    assert not store.ls(f"{url}.parts", detail=False)
    assert store.exists("/inventory-command/x.manifest.json")


def test_folder_of_parquet_files_is_named_once(
    run: Run, ids: tuple[str, ...], output: Path
) -> None:
    import_or_skip("pyarrow")

    said = run("inventory", "-o", "data/", "--progress", "none")

    assert said.code == 0
    assert said.err.splitlines()[-1] == "Written: data/, data.errors.jsonl, data.manifest.json"
    assert len([*Path("data").glob("*.parquet")]) == 10


@pytest.mark.slow
def test_report_is_written_with_masks(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    pytest.importorskip("js_lib_tabulator")
    pytest.importorskip("matplotlib")
    embedded_azure.arm.deny(f"/subscriptions/{ids[0]}")

    said = run("inventory", "-o", "x.jsonl", "--progress", "none", "--report", "r.html", "--mask")

    assert said.code == 3
    assert "Written: x.jsonl, x.errors.jsonl, x.manifest.json, r.html\n" in said.err
    page = Path("r.html").read_text(encoding="utf-8")
    assert "incomplete" in page
    assert not [one for one in ids if one in page]


def test_missing_package_is_named_before_a_request(
    run: Run, embedded_azure: EmbeddedAzure, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    said = run("inventory", "-o", "x.jsonl", "--report", "r.html")

    assert said.code == 2
    assert "which is not installed" in said.complaint[0]
    assert not embedded_azure.arm.requests


@pytest.mark.slow
def test_drift_is_shown_by_type(
    run: Run, embedded_azure: EmbeddedAzure, ids: tuple[str, ...], output: Path
) -> None:
    embedded_azure.arm.graph.hide_subscriptions(ids[0])

    said = run("inventory", "-o", "x.jsonl", "--progress", "none")

    assert said.code == 0
    lines = said.err.splitlines()
    (start,) = (index for index, line in enumerate(lines) if line.startswith("drift by type"))
    assert "counted before" in lines[start]
    counted, read_ = lines[start + 2].split()[-2:]
    assert int(counted) < int(read_)
