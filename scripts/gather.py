"""Put the shards of an arm's predictions together: the same bytes as one job would have written.

Shard K of N holds the samples K, K + N, K + 2N, ... of the test split. Its records are added up: seconds and tokens
are sums over the shards, memory is the most that any of them took.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.shards import gather_shards
from slingshot.config.specs import GatherSpec, parse_spec
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "GatherSpec")
    parser.add_argument("--arm", required=True, help="e.g. llm/llama8b")
    parser.add_argument("--results", type=Path, required=True, help="results/, where the shards are")
    given = parser.parse_args()
    gather_shards(parse_spec(GatherSpec, given.spec), ResultFiles(given.results).arm(given.arm))


if __name__ == "__main__":
    cli.run(main)
