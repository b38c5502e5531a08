"""The steps of a study as Snakemake plans them, as an SVG file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from slingshot.core.errors import StudyError
from slingshot.core.files import require_suffix, write_text
from slingshot.report.dag import Graph, graph_of_mermaid, standalone

SNAKEFILE = Path(__file__).parents[3] / "Snakefile"


def planned_graph(study: Path, target: str) -> Graph:
    """Every step that a target needs, finished or not.

    Raises:
        StudyError: Snakemake cannot plan the target; says what it said.
    """
    program = shutil.which("snakemake", path=str(Path(sys.executable).parent)) or "snakemake"
    command = [program, target, "--snakefile", str(SNAKEFILE), "--directory", str(study), "--forceall", "--nolock"]
    done = subprocess.run([*command, "--dag", "mermaid-js"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StudyError(f"{study}: Snakemake cannot plan {target}: {done.stderr.strip()[-600:]}")
    return graph_of_mermaid(done.stdout)


def draw_workflow(study: Path, target: str, picture: Path) -> str:
    """Write the graph as SVG; returns how many steps it shows."""
    require_suffix(picture, ".svg")
    graph = planned_graph(study, target)
    write_text(picture, standalone(graph))
    return f"{picture}: {len(graph.labels)} steps"
