"""Running a step's process so that nothing of it outlives its launcher, nor the workflow that asked for it."""

from __future__ import annotations

import ctypes
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

log = logging.getLogger(__name__)

SECONDS_TO_STOP = 20.0  # once the workflow that asked for it is gone

SECONDS_FOR_A_USER = 120.0  # once a user wants it to stop: a training step on a processor may take half a minute

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)

_LIBRARY = ctypes.CDLL(None)  # the C library


@dataclass(frozen=True)
class Ended:
    """How a process ended. A death by signal n is exit code 128 + n, as shells have it; memory in bytes."""

    exit_code: int
    seconds: float
    peak_resident: int


def watch_end(process: int) -> Callable[[], bool]:
    """A function that says whether the process with this id has ended, for calling again and again; a zombie has."""
    try:
        descriptor = os.pidfd_open(process)  # not fooled by a new process under an old id
    except ProcessLookupError:
        return lambda: True
    return lambda: bool(select.select([descriptor], [], [], 0)[0])


def run_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Sequence[int] = (),
    must_stop: Callable[[], bool] = lambda: False,
    watch: Callable[[], None] = lambda: None,
    output: int | None = None,
) -> Ended:
    """Run a command in a process group of its own, to its end.

    A SIGTERM or SIGINT to this process is handed on to the group as a SIGTERM; a group that goes on for
    SECONDS_FOR_A_USER after that is killed, at a second SIGINT at once, and where `must_stop` says so after
    SECONDS_TO_STOP. Killed like that it counts as ended by SIGTERM, since nothing else ended it. Whatever the command
    leaves running is killed, also in a session of its own (as torch starts its workers), and also after a SIGKILL of
    this process.

    Args:
        descriptors: open files that the child inherits, e.g. locks.
        must_stop: asked several times a second; once true, the group is stopped as by a SIGTERM.
        watch: called several times a second.
        output: an open file that takes all that the command prints; None: it prints where this process does.
    """
    start = time.monotonic()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    with _signals_noted() as noted:
        ready, started = os.pipe()
        launcher = os.getpid()
        guard = os.fork()  # this process has one thread, so that is safe
        if guard == 0:
            _guard(launcher, command, dict(environment), descriptors, output, started)
        os.close(started)
        os.read(ready, 1)  # ends once the command runs, so that a signal can't come before it
        os.close(ready)
        status, peak, killed = _wait(guard, noted, must_stop, watch)
    _kill_what_is_left()
    code = -signal.SIGTERM if killed else os.waitstatus_to_exitcode(status)
    return Ended(code if code >= 0 else 128 - code, time.monotonic() - start, peak)


def _guard(
    launcher: int,
    command: Sequence[str],
    environment: dict[str, str],
    descriptors: Sequence[int],
    output: int | None,
    started: int,
) -> NoReturn:
    """Run the command as the parent of all that it starts, and end as it ends; for a fresh fork, which never returns.

    The guard outlives a SIGKILL of its parent, the launcher, just long enough to kill all that the command started,
    and holds the locks until then. Where the guard itself is killed, the kernel kills the command and hands the rest
    to the launcher, which kills it.
    """
    code = 127
    try:
        watched = os.pidfd_open(launcher)
        if os.getppid() != launcher:  # it died before the line above
            os._exit(code)
        os.setpgid(0, 0)
        for number in STOP_SIGNALS:  # they reach the whole group: the command decides how it ends
            signal.signal(number, signal.SIG_IGN)
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            preexec_fn=_before_the_command(),
        )
        os.close(started)
        while child.poll() is None:
            if select.select([watched], [], [], 0.05)[0]:
                child.kill()
                break
        _kill_what_is_left()
        code = child.returncode if child.returncode is not None else 128 + signal.SIGKILL
        code = code if code >= 0 else 128 - code
    except OSError as error:
        sys.stderr.write(f"error: {command[0]} can't be started: {error.strerror}\n")
        sys.stderr.flush()
    finally:
        os._exit(code)


def _wait(
    child: int, noted: list[signal.Signals], must_stop: Callable[[], bool], watch: Callable[[], None]
) -> tuple[int, int, bool]:
    """Wait for the child: its wait status, its peak resident memory in bytes, and whether it was killed here."""
    kill_at = float("inf")
    pause = 0.01
    asked = 0
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return status, usage.ru_maxrss * 1024, time.monotonic() >= kill_at
        watch()
        if must_stop() and kill_at > time.monotonic() + SECONDS_TO_STOP:
            _signal_group(child, signal.SIGTERM)
            kill_at = time.monotonic() + SECONDS_TO_STOP
        while noted:
            number = noted.pop(0)  # Ctrl-C is no other wish: on SIGTERM a finetune writes a checkpoint first
            _signal_group(child, signal.SIGTERM if number == signal.SIGINT else number)
            asked += number == signal.SIGINT
            kill_at = min(kill_at, time.monotonic() + (SECONDS_FOR_A_USER if asked < 2 else 0))
        if time.monotonic() >= kill_at:
            _signal_group(child, signal.SIGKILL)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


@contextmanager
def _signals_noted() -> Iterator[list[signal.Signals]]:
    """Collect the stop signals that arrive meanwhile, instead of dying of them."""
    noted: list[signal.Signals] = []
    before = {
        number: signal.signal(number, lambda got, _frame: noted.append(signal.Signals(got))) for number in STOP_SIGNALS
    }
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def _kill_what_is_left() -> None:
    """Kill this process's children, and theirs as they become orphans and so this process's."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while left := children.read_text().split():
        for process in map(int, left):
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)  # a zombie until it is waited for, so the id is still its own
                os.waitpid(process, 0)


def _before_the_command() -> Callable[[], None]:
    """For a child to call before it becomes its program: signals as usual, and the kernel kills it with its parent."""
    parent = os.getpid()

    def prepare() -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        die_with_parent()
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return prepare


def die_with_parent() -> None:
    """Have the kernel kill this process, a fresh child, when its parent ends."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    """Set a property of this process that the kernel acts on."""
    _LIBRARY.prctl(option, value)
