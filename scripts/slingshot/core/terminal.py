"""The few lines of a step that a person reads while it runs; everything else goes into the step's log file."""

from __future__ import annotations

import logging
import os

log = logging.getLogger(__name__)

# A launcher that sends a step's output to a log file leaves the step this descriptor of its own terminal, and says
# which step of which arm it is: the beginning of every line.
TERMINAL_VARIABLE = "SLINGSHOT_TERMINAL"
STEP_VARIABLE = "SLINGSHOT_STEP"


def say(message: str) -> None:
    """Show one line on the terminal, and put it into the log."""
    log.info(message)
    show(message)


def show(message: str) -> None:
    """Show one line on the terminal that a launcher left this process; nothing without a launcher."""
    descriptor = os.environ.get(TERMINAL_VARIABLE, "")
    if descriptor.isdigit():
        try:
            os.write(int(descriptor), f"{os.environ.get(STEP_VARIABLE, '')}: {message}\n".encode())
        except OSError:  # the terminal was closed: the log has the line
            os.environ.pop(TERMINAL_VARIABLE, None)
