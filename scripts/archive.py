"""Pack a finished study into one file to hand over: all that its report rests on, without weights.

Unpacked elsewhere, `snakemake report_available` makes the report again and refuses files that were changed. With
report.archive_texts: false the texts stay here.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.deployment.archive import archive
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("--study", type=Path, required=True, help="the study's folder, with its results")
    parser.add_argument("--archive", type=Path, required=True, help="file to write, .tar.gz")
    given = parser.parse_args()
    archive(given.study, given.archive)


if __name__ == "__main__":
    cli.run(main)
