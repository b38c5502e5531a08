"""Snakemake's own command, as a person types it: `snakemake --cores 1 --resources gpu=1 results/report.html`.

Snakemake's --resources takes every word after it, also the target. `make env` puts this program in the place of
.venv/bin/snakemake: it sets the targets apart, reads the config files that the command names by our own loader first,
which runs no code, and changes nothing else. `command.py --install BIN` does that.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from slingshot.core.errors import StudyError
from slingshot.runtime.command_files import check_files
from slingshot.runtime.command_words import with_targets_apart


def main() -> None:
    if sys.argv[1:2] == ["--install"]:
        install(Path(sys.argv[2]))
        return
    try:
        check_files(sys.argv[1:])
    except StudyError as error:
        sys.exit(f"error: {error}")
    from snakemake.cli import main as snakemake

    # A Snakefile imports the slingshot beside it, which may be another checkout's.
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent.resolve()]
    for name in [name for name in sys.modules if name.partition(".")[0] == "slingshot"]:
        del sys.modules[name]
    sys.argv = ["snakemake", *with_targets_apart(sys.argv[1:])]
    sys.exit(snakemake())


def install(folder: Path) -> None:
    """Write `snakemake` into an environment's folder of commands."""
    command = folder / "snakemake"
    command.unlink(missing_ok=True)  # it may be a link
    started = shlex.join([sys.executable, str(Path(__file__).resolve())])
    command.write_text(f'#!/bin/sh\n# Written by `make env`: see {Path(__file__).name}\nexec {started} "$@"\n')
    command.chmod(0o755)


if __name__ == "__main__":
    main()
