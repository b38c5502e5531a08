"""Put the shards of an arm's predictions together: the same bytes as one job would have written.

Shard K of N holds the samples K, K + N, K + 2N, ... of the test split. Its records are added up: seconds and tokens
are sums over the shards, memory is the most that any of them took.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.artifacts.records import read_process_record, read_step_record
from slingshot.artifacts.shards import interleaved, merged_process, merged_step
from slingshot.core.files import write_text
from slingshot.runtime import cli


def main() -> None:
    arguments = cli.parser(__doc__)
    for name in ("predictions", "records", "processes"):
        arguments.add_argument(f"--{name}", type=Path, nargs="+", required=True, help="of every shard, in their order")
    arguments.add_argument("--into", type=Path, required=True, help="the arm's folder")
    given = arguments.parse_args()
    write_text(given.into / "predictions.jsonl", interleaved(given.predictions))
    merged_step([read_step_record(path) for path in given.records]).write(given.into / "predict.json")
    merged_process([read_process_record(path) for path in given.processes]).write(given.into / "predict.process.json")


if __name__ == "__main__":
    cli.run(main)
