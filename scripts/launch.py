"""Run one step as one process, on GPUs that are its own, and write down what it took from the machine.

    python scripts/launch.py --gpus 1 --step predict --arm llm/llama8b --record predict.process.json \
        -- python scripts/predict.py ...

It waits until so many GPUs are free among those that CUDA_VISIBLE_DEVICES allows, shows the step only these, and
ends as the step ends. With --gpus 0 no device is looked at.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from slingshot.runtime import cli
from slingshot.runtime.launcher import check_gpus, explain_end, launch
from slingshot.runtime.processes import end_of

log = logging.getLogger("launch")


def main() -> None:
    arguments, command = _read_arguments()
    check_gpus(arguments.gpus, arguments.gpus_wanted, arguments.arm)
    record = launch(
        command,
        step=arguments.step,
        arm=arguments.arm,
        gpus=arguments.gpus,
        record=arguments.record,
        must_stop=end_of(arguments.lives_with) if arguments.lives_with else lambda: False,
    )
    record.write(arguments.record)
    explain_end(record)
    sys.exit(record.exit_code)


def _read_arguments() -> tuple[argparse.Namespace, list[str]]:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--gpus", type=int, required=True, help="devices that the step gets; 0: none is touched")
    arguments.add_argument("--gpus-wanted", type=int, help="devices that it needs; more than --gpus is an error")
    arguments.add_argument("--step", required=True)
    arguments.add_argument("--arm", required=True)
    arguments.add_argument("--record", type=Path, required=True, help="where the ProcessRecord is written")
    arguments.add_argument("--lives-with", type=int, help="id of a process; when that ends, the step is stopped")
    arguments.add_argument("command", nargs=argparse.REMAINDER, help="-- and the step's command line")
    parsed = arguments.parse_args()
    command = parsed.command[1:] if parsed.command[:1] == ["--"] else parsed.command
    if not command:
        arguments.error("no command: put the step's command line after --")
    return parsed, command


if __name__ == "__main__":
    cli.run(main)
