"""Run one step as one process, on GPUs that are its own, and write down what it took from the machine.

    python scripts/launch.py --gpus 1 --step predict --arm llm/llama8b --record predict.process.json \
        -- predict.py ...

It waits until that number of GPUs is free among those that CUDA_VISIBLE_DEVICES allows, shows the step only these, and
ends as the step ends; nothing that the step started outlives it. With --gpus 0 no device is looked at. The command
may begin with one of the programs in scripts/ by its name alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from slingshot.artifacts.layout import ArmFiles
from slingshot.artifacts.measurements import keep_launched
from slingshot.runtime import cli
from slingshot.runtime.launcher import Launch, explain_end, launch
from slingshot.runtime.processes import watch_end
from slingshot.runtime.time_stamps import bring_to_present

SCRIPTS = Path(__file__).parent


def main() -> None:
    given = _read_arguments()
    if given.log:
        cli.log_also_into(given.log)
    record = launch(
        Launch(
            command=given.command,
            step=given.step,
            arm=given.arm,
            gpus=given.gpus,
            gpus_wanted=given.gpus_wanted,
            lock=given.lock or given.record,
            log=given.log,
            must_stop=watch_end(given.lives_with) if given.lives_with else lambda: False,
            tries=given.tries,
            attempt=given.attempt,
        )
    )
    if given.record:
        record.write(given.record)
        if given.measured:
            keep_launched(record, ArmFiles(given.record.parent), given.measured)
    explain_end(record)
    if given.results:
        bring_to_present(given.results)
    sys.exit(record.exit_code)


def _read_arguments() -> argparse.Namespace:
    parser = cli.make_parser(__doc__)
    parser.add_argument("--gpus", type=int, default=0, help="devices that the step gets; 0: none is touched")
    parser.add_argument("--gpus-wanted", type=int, help="devices that it needs; more than --gpus is an error")
    parser.add_argument("--step", required=True)
    parser.add_argument("--arm", default="", help="e.g. slm/qwen3b; empty for a step of the whole study")
    parser.add_argument("--record", type=Path, help="where the ProcessRecord is written")
    parser.add_argument("--measured", type=Path, help="folder in which what computing answers took is kept")
    parser.add_argument("--lock", type=Path, help="the file that one process makes at a time; else --record")
    parser.add_argument("--log", type=Path, help="takes what the step prints; the terminal shows its main lines")
    parser.add_argument("--lives-with", type=int, help="id of a process; when that ends, the step is stopped")
    parser.add_argument("--tries", type=int, default=1, help="runs at most, while it dies (each gets --attempt N)")
    parser.add_argument(
        "--attempt", type=int, default=1, help="number of the first try; from 2 on a remembered error ends it"
    )
    parser.add_argument("--results", type=Path, help="folder whose time stamps of the future are set to the present")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the step's command line")
    given = parser.parse_args()
    given.command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not given.command:
        parser.error("no command: put the step's command line after --")
    if not (given.lock or given.record):
        parser.error("--lock or --record is needed")
    if "/" not in given.command[0] and (SCRIPTS / given.command[0]).is_file():
        given.command = [sys.executable, str(SCRIPTS / given.command[0]), *given.command[1:]]
    return given


if __name__ == "__main__":
    cli.run(main, is_launcher=True)
