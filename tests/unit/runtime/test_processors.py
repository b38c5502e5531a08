"""Threads spin only where cores are idle."""

import pytest

from slingshot.runtime import processors

HEAD = "cpu  {user} 0 50 {idle} 10 0 0 0 0 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 5\nctxt 6\n"


@pytest.fixture
def after(monkeypatch, tmp_path):
    """Two cores that were busy and idle for so many ticks between two looks."""

    def pass_time(busy, idle):
        path = tmp_path / "stat"
        path.write_text(HEAD.format(user=100, idle=900))
        monkeypatch.setattr(processors, "STAT", path)
        looked = []

        def sleep(seconds):
            looked.append(seconds)
            path.write_text(HEAD.format(user=100 + busy * len(looked), idle=900 + idle * len(looked)))

        monkeypatch.setattr(processors.time, "sleep", sleep)

    return pass_time


@pytest.mark.parametrize(
    ("busy", "idle", "cores", "policy"),
    [
        (0, 60, 2.0, processors.SPINNING),
        (6, 54, 1.8, processors.SPINNING),
        (30, 30, 1.0, processors.ASLEEP),
        (60, 0, 0.0, processors.ASLEEP),
    ],
)
def test_threads_spin_on_idle_cores_alone(after, busy, idle, cores, policy):
    after(busy, idle)
    assert processors.idle_cores(0.1) == pytest.approx(cores)
    after(busy, idle)
    assert processors.wait_policy() == policy


@pytest.mark.parametrize("text", [None, "", "cpu a b", "cpu  1 2\n"])
def test_where_the_system_does_not_say_they_sleep(monkeypatch, tmp_path, text):
    path = tmp_path / "stat"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(processors, "STAT", path)
    assert processors.wait_policy(0.0) == processors.ASLEEP
