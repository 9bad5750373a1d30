"""Start workers, give them their turns, and collect their outcomes."""

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from cells import Cell
from job import DONE, READY, Job, read_counts
from origins import make_environment
from results import Measurement

_WORKER = Path(__file__).parent / "worker.py"
_GRACE = 20.0
"""Seconds that a worker gets, beyond the limit, to start and to end."""


@dataclass
class Worker:
    """One client in a separate process, with text on stdout and a file for stderr."""

    cell: Cell
    job: Job
    process: subprocess.Popen[str]
    stderr: IO[str]
    late: str = ""
    line: str = ""

    def says(self, word: str) -> bool:
        """Wait for a line, and return whether it is this word; any other line is the last."""
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        return self.line.strip() == word

    def take_turn(self) -> bool:
        """Start the worker's next turn, wait for its end, and return whether it succeeded."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            return False
        return self.says(DONE)

    def give_up(self, seconds: float) -> None:
        """Kill the worker, because it ran for `seconds`."""
        counts = read_counts(self.job.imds)
        requests = f"{counts['imds']:,} IMDS and {counts['arm']:,} ARM requests"
        self.late = f"killed after {seconds:.0f} s and {requests}"
        self.process.kill()


def run_together(run: str, number: int, jobs: Sequence[tuple[Cell, Job]]) -> list[Measurement]:
    """Run one worker for each job, by turns if the jobs have turns, and return the outcomes."""
    with ExitStack() as stack:
        workers = [stack.enter_context(_start(cell, job, len(jobs))) for cell, job in jobs]
        ready = [worker for worker in workers if worker.job.turns and worker.says(READY)]
        for turn in range(max((worker.job.turns for worker in ready), default=0)):
            # The order alternates, so that the worker that began one turn ends the next.
            order = ready if turn % 2 == 0 else list(reversed(ready))
            ready = [worker for worker in order if worker.take_turn()]
        return [_read_outcome(run, number, worker) for worker in workers]


@contextmanager
def _start(cell: Cell, job: Job, side_by_side: int) -> Iterator[Worker]:
    command = [sys.executable, str(_WORKER), cell.client, json.dumps(dataclasses.asdict(job))]
    seconds = job.limit * side_by_side + _GRACE
    pipe = subprocess.PIPE
    with (
        TemporaryFile("w+", encoding="utf-8") as stderr,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=stderr, text=True, env=make_environment()
        ) as process,
    ):
        worker = Worker(cell, job, process, stderr)
        timer = threading.Timer(seconds, worker.give_up, (seconds,))
        timer.start()
        try:
            yield worker
        finally:
            timer.cancel()
            process.kill()


def _read_outcome(run: str, number: int, worker: Worker) -> Measurement:
    assert worker.process.stdout is not None
    said = (worker.line + worker.process.stdout.read()).strip()
    code = worker.process.wait()
    if worker.late:
        return Measurement(run, number, worker.cell, "timed out", said=worker.late)
    if code != 0:
        worker.stderr.seek(0)
        errors = worker.stderr.read().strip()
        print(errors[-4000:], file=sys.stderr)
        return Measurement(
            run,
            number,
            worker.cell,
            "broken",
            said=errors.rpartition("\n")[2] or f"exit code {code}",
        )
    answer = json.loads(said.splitlines()[-1])
    if "missing" in answer:
        return Measurement(run, number, worker.cell, "missing", said=answer["missing"])
    return Measurement(
        run, number, worker.cell, "measured", answer["values"], answer["errors"], answer["series"]
    )
