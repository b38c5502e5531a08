"""What a person sees of a step: few lines, each with how far it is and how long it still takes."""

import logging
import os
from types import SimpleNamespace

import pytest

from slingshot.core import progress as module
from slingshot.core import terminal
from slingshot.core.progress import progress


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False, raising=False)
    return now


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """The launcher's terminal: a function that reads what it shows."""
    path = tmp_path / "terminal"
    with path.open("ab") as out:
        monkeypatch.setenv(terminal.TERMINAL_VARIABLE, terminal.name_terminal(out.fileno()))
        monkeypatch.setenv(terminal.STEP_VARIABLE, "finetune slm/c")
        yield lambda: path.read_text().splitlines()


def test_the_terminal_gets_few_lines_and_the_log_more(clock, shown, caplog):
    caplog.set_level(logging.INFO)
    with progress("finetune slm/c", 100, "steps") as meter:
        for _ in range(100):
            clock.seconds += 5
            meter.advance(1, 10)
    lines = shown()
    assert lines[0] == "finetune slm/c: 2/100 steps, 5.0 s per step, 2 tokens/s, 0:08:10 left"
    assert len(lines) == 1 + 490 // 60 + 1
    assert lines[-1] == "finetune slm/c: 100/100 steps, 5.0 s per step, 2 tokens/s, 0:00:00 left"
    assert len(caplog.messages) == 50


def test_what_is_done_within_seconds_says_nothing_on_the_terminal(clock, shown, caplog):
    caplog.set_level(logging.INFO)
    with progress("tokenize", 10, "samples") as meter:
        clock.seconds += 2
        meter.advance(10)
    assert shown() == []
    assert caplog.messages == ["tokenize: 10/10 samples, 5.0 samples/s, 0:00:00 left"]


def test_a_resumed_step_counts_its_speed_from_where_it_goes_on(clock, shown):
    with progress("answers", 100, "samples", done=80) as meter:
        clock.seconds += 20
        meter.advance(10)
    assert shown() == ["finetune slm/c: answers: 90/100 samples, 2.0 s per sample, 0:00:20 left"]


def test_a_descriptor_that_means_another_file_is_not_written_to(tmp_path, monkeypatch):
    """As in a process that a step starts: it inherits the variable, not the descriptor."""
    precious = tmp_path / "precious"
    with (tmp_path / "terminal").open("ab") as out:
        named = terminal.name_terminal(out.fileno())
        monkeypatch.setenv(terminal.TERMINAL_VARIABLE, named)
    with precious.open("ab") as other:
        os.dup2(other.fileno(), int(named.partition(":")[0]))
        terminal.show("a line")
        os.close(int(named.partition(":")[0])) if int(named.partition(":")[0]) != other.fileno() else None
    assert precious.read_bytes() == b""
