"""The few lines of a step that a person reads while it runs; everything else goes into the step's log file."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)

# A launcher that sends a step's output to a log file leaves the step a descriptor of its own terminal, as
# DESCRIPTOR:DEVICE:INODE, and says which step of which arm it is: the beginning of every line. A process that the step
# starts inherits the variable but not the descriptor, whose number may mean a file of its own there: hence the rest.
TERMINAL_VARIABLE = "SLINGSHOT_TERMINAL"
STEP_VARIABLE = "SLINGSHOT_STEP"


def step_name(otherwise: str) -> str:
    """Which step of which arm this process is, where a launcher said so."""
    return os.environ.get(STEP_VARIABLE) or otherwise


def say(message: str) -> None:
    """Show one line on the terminal, and put it into the log."""
    log.info(message)
    show(message)


def name_terminal(descriptor: int) -> str:
    """What TERMINAL_VARIABLE says of an open descriptor."""
    status = os.fstat(descriptor)
    return f"{descriptor}:{status.st_dev}:{status.st_ino}"


def show(message: str) -> None:
    """Show one line on the terminal that a launcher left this process; nothing without a launcher."""
    named = os.environ.get(TERMINAL_VARIABLE, "")
    descriptor = named.partition(":")[0]
    if not descriptor.isdigit():
        return
    try:
        if name_terminal(int(descriptor)) == named:
            os.write(int(descriptor), f"{os.environ.get(STEP_VARIABLE, '')}: {message}\n".encode())
    except OSError:  # the terminal was closed: the log has the line
        os.environ.pop(TERMINAL_VARIABLE, None)
