"""The benchmark from end to end, with aiomsi as the only client."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from results import read
from run import main


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("scenario", "size"), [("herd", "10"), ("warm", "1"), ("fanout", "1"), ("pages", "1")]
)
def test_a_run_of_one_round(
    scenario: str, size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run writes its lines, from which the report is made again; `fanout` has turns."""
    options = ["--rounds=1", "--client=aiomsi", f"--size={size}", "--seed=3"]
    main([scenario, *options, f"--results={tmp_path}"])
    _, results = read((tmp_path / "runs.jsonl").read_text(encoding="utf-8").splitlines())
    assert {m.outcome for m in results.all} == {"measured"}
    said = capsys.readouterr().out
    main(["--report", str(tmp_path / "runs.jsonl")])
    assert capsys.readouterr().out.startswith(said.partition("## What must hold")[0])


@pytest.mark.slow
def test_a_worker_refuses_an_origin_that_is_not_on_loopback() -> None:
    job = json.dumps(
        {"scenario": "herd", "imds": "http://192.0.2.1:80", "arm": "http://127.0.0.1:1"}
    )
    worker = Path(__file__).parents[2] / "benchmarks" / "worker.py"
    done = subprocess.run(
        [sys.executable, str(worker), "aiomsi", job], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "the origin is on loopback" in done.stderr
