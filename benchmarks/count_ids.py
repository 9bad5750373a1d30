"""Check that an inventory's file has each id once: ``python count_ids.py FILE`` exits 1 if not."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path


def read_ids(path: Path) -> Iterator[str]:
    """Yield the id of each row of a file of JSON Lines, CSV or Parquet."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        for batch in parquet.ParquetFile(path).iter_batches(columns=["id"]):
            yield from batch.column(0).to_pylist()
        return
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines) if path.suffix == ".csv" else map(json.loads, lines)
        for row in rows:
            yield row["id"]


def main(path: Path) -> int:
    """Count the ids, and return the exit code."""
    rows, ids = 0, set[str]()
    for each in read_ids(path):
        rows += 1
        ids.add(each.casefold())
    if rows and len(ids) == rows:
        return 0
    print(f"{path}: {rows:,} rows have {len(ids):,} ids", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
