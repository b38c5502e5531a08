"""A browser that fails or hangs costs the figures as files, never the report."""

import os
import time
from pathlib import Path

import plotly.graph_objects as go
import pytest

from slingshot.report.figures import export
from slingshot.report.figures.style import Figure

HANGS = "#!/bin/sh\necho $$ >>{place}/pids\nexec sleep 300\n"
FAILS = "#!/bin/sh\necho 'Command requires the chromium snap to be installed.' >&2\nexit 1\n"  # as Ubuntu's stub does


@pytest.fixture
def browser(tmp_path, monkeypatch):
    """A function that puts a program in the place of Chromium; other programs stay where they are."""

    def install(script):
        path = tmp_path / "bin" / "chromium"
        path.parent.mkdir(exist_ok=True)
        path.write_text(script.replace("{place}", str(tmp_path)))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return install


def figure():
    return Figure("size", go.Figure(go.Scatter(x=[1], y=[2]), layout={"height": 200}), "two points", None)


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("script", [FAILS, HANGS, "#!/none/such\n", "not a program"])
def test_a_browser_that_fails_or_hangs_is_a_note(tmp_path, browser, monkeypatch, caplog, script):
    browser(script)
    monkeypatch.setattr(export, "SECONDS", 3)
    began = time.monotonic()
    assert export.write_figures([figure()], tmp_path / "figures") == []
    assert time.monotonic() - began < 15
    assert "no SVG files, as" in caplog.text
    assert "the report itself is complete" in caplog.text
    assert list((tmp_path / "figures").iterdir()) == []
    pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
    assert bool(pids) == (script == HANGS)
    until = time.monotonic() + 5  # a signal is sent, not waited for
    while any(lives(int(process)) for process in pids):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_without_a_browser_that_is_said(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert os.environ["PATH"] == str(tmp_path)
    assert export.write_figures([figure()], tmp_path / "figures") == []
    assert "none is on PATH" in caplog.text
