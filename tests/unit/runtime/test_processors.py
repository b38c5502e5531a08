"""Threads spin only where the cores that they may use are idle."""

import pytest

from slingshot.runtime import processors


def stat(cores):
    """/proc/stat with the user's and the idle ticks of each core."""
    rows = [f"cpu{core} {user} 0 0 {idle} 0 0 0 0 0 0" for core, (user, idle) in cores.items()]
    return "\n".join(["cpu  1 2 3 4 5 6 7 8", *rows, "intr 5 cpu0", "ctxt 6", ""])


@pytest.fixture
def watched(monkeypatch, tmp_path):
    """Cores that are busy and idle for given numbers of ticks between two looks; of them, this process may use two."""

    def watch(cores):
        path, looks = tmp_path / "stat", []
        path.write_text(stat(dict.fromkeys(cores, (100, 900))))

        def sleep(seconds):
            looks.append(seconds)
            passed = len(looks)
            path.write_text(stat({core: (100 + a * passed, 900 + b * passed) for core, (a, b) in cores.items()}))

        monkeypatch.setattr(processors, "STAT", path)
        monkeypatch.setattr(processors.os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
        monkeypatch.setattr(processors.time, "sleep", sleep)

    return watch


@pytest.mark.parametrize(
    ("cores", "idle", "policy"),
    [
        ({0: (0, 10), 1: (0, 10)}, 2.0, processors.SPINNING),
        ({0: (2, 8), 1: (0, 10)}, 1.8, processors.SPINNING),
        ({0: (5, 5), 1: (5, 5)}, 1.0, processors.ASLEEP),
        ({0: (10, 0), 1: (10, 0), 2: (0, 10), 3: (0, 10)}, 0.0, processors.ASLEEP),  # others' cores are idle
    ],
)
def test_threads_spin_on_idle_cores_alone(watched, cores, idle, policy):
    watched(cores)
    assert processors.measure_idle_cores(0.1) == pytest.approx(idle)
    watched(cores)
    assert processors.choose_wait_policy({}) == policy
    assert processors.choose_wait_policy({"OMP_NUM_THREADS": "8"}) == processors.ASLEEP


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_somebody_has_set_stays(watched, name):
    watched({0: (0, 10), 1: (0, 10)})
    assert processors.choose_wait_policy({name: "1"}) == {}


def test_one_thread_waits_for_nobody(watched):
    watched({0: (0, 10), 1: (0, 10)})
    assert processors.choose_wait_policy({"OMP_NUM_THREADS": "1"}) == {}
    assert processors.choose_wait_policy({"OMP_NUM_THREADS": "2"}) == processors.SPINNING


@pytest.mark.parametrize("text", [None, "", "cpu0 a b", "cpu0 1 2\n"])
def test_where_the_system_does_not_say_they_sleep(monkeypatch, tmp_path, text):
    path = tmp_path / "stat"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(processors, "STAT", path)
    assert processors.choose_wait_policy({}, seconds=0.0) == processors.ASLEEP
