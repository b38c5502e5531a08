"""Draw the steps of a study, each with its arm, as SVG: `dag.py --study studies/demo dag.svg`.

The graph is Snakemake's own, of all the steps that the target needs, finished or not.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.report.workflow_picture import draw_workflow
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("picture", type=Path, help="SVG file to write")
    parser.add_argument("--study", type=Path, default=Path(), help="the study's folder")
    parser.add_argument("--target", default="results/report.html", help="what the steps are to make")
    given = parser.parse_args()
    print(draw_workflow(given.study, given.target, given.picture))


if __name__ == "__main__":
    cli.run(main)
