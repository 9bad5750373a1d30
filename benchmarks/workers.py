"""Starts workers, hands them their turns, and says what became of each."""

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
from origins import environment
from results import Measurement

_WORKER = Path(__file__).parent / "worker.py"
_GRACE = 20.0
"""Seconds that a worker gets, beyond the limit, to start and to end."""


@dataclass
class Worker:
    """One client at work, in a process of its own. What it says is text; what it complains of goes to a file."""

    cell: Cell
    job: Job
    process: subprocess.Popen[str]
    complaints: IO[str]
    late: str = ""
    line: str = ""

    def says(self, word: str) -> bool:
        """Wait for its next line, and tell whether it is this word; else it is its last one."""
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        return self.line.strip() == word

    def take_turn(self) -> bool:
        """Let it do the next part of its work; tell whether it did."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except OSError:
            return False
        return self.says(DONE)

    def give_up(self, seconds: float) -> None:
        """End it, for it has taken so long."""
        counts = read_counts(self.job.imds)
        self.late = f"killed after {seconds:.0f} s and {counts['imds']:,} IMDS and {counts['arm']:,} ARM requests"
        self.process.kill()


def together(run: str, number: int, jobs: Sequence[tuple[Cell, Job]]) -> list[Measurement]:
    """Run one worker for each job, by turns if they have turns, and say what became of them."""
    with ExitStack() as stack:
        workers = [stack.enter_context(_started(cell, job, len(jobs))) for cell, job in jobs]
        ready = [worker for worker in workers if worker.job.turns and worker.says(READY)]
        for turn in range(max((worker.job.turns for worker in ready), default=0)):
            # Whoever is first one time is last the next.
            order = ready if turn % 2 == 0 else list(reversed(ready))
            ready = [worker for worker in order if worker.take_turn()]
        return [_outcome(run, number, worker) for worker in workers]


@contextmanager
def _started(cell: Cell, job: Job, side_by_side: int) -> Iterator[Worker]:
    command = [sys.executable, str(_WORKER), cell.client, json.dumps(dataclasses.asdict(job))]
    seconds = job.limit * side_by_side + _GRACE
    pipe = subprocess.PIPE
    with (
        TemporaryFile("w+", encoding="utf-8") as complaints,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=complaints, text=True, env=environment()
        ) as process,
    ):
        worker = Worker(cell, job, process, complaints)
        timer = threading.Timer(seconds, worker.give_up, (seconds,))
        timer.start()
        try:
            yield worker
        finally:
            timer.cancel()
            process.kill()


def _outcome(run: str, number: int, worker: Worker) -> Measurement:
    assert worker.process.stdout is not None
    said = (worker.line + worker.process.stdout.read()).strip()
    code = worker.process.wait()
    if worker.late:
        return Measurement(run, number, worker.cell, "timed out", said=worker.late)
    if code != 0:
        worker.complaints.seek(0)
        complaint = worker.complaints.read().strip()
        print(complaint[-4000:], file=sys.stderr)
        return Measurement(
            run,
            number,
            worker.cell,
            "broken",
            said=complaint.rpartition("\n")[2] or f"exit code {code}",
        )
    answer = json.loads(said.splitlines()[-1])
    if "missing" in answer:
        return Measurement(run, number, worker.cell, "missing", said=answer["missing"])
    return Measurement(
        run, number, worker.cell, "measured", answer["values"], answer["errors"], answer["series"]
    )
