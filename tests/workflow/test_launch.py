"""The launcher: devices of a step's own, honest exit codes, nothing left running."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from slingshot.artifacts.records import read_process_record
from slingshot.core import gpus
from slingshot.core.errors import StudyError
from slingshot.runtime import gpu
from slingshot.runtime.locks import LOCK_FOLDER_VARIABLE

LAUNCH = [sys.executable, str(Path(__file__).parents[2] / "scripts" / "launch.py")]
# Takes a lock of its own on the device that it was given, which dies with the last process that has it: a second
# process on the device cannot get it. The sleep is a grandchild, as a data loader would be.
WITNESS = (
    'for device in ${CUDA_VISIBLE_DEVICES//,/ }; do exec {lock}>>"$0/$device"; '
    'flock -n $lock || echo "$device" >>"$0/shared"; echo "$device" >>"$0/given"; done; sleep 0.2'
)


@pytest.fixture
def environment(tmp_path):
    """A machine with four pretended devices."""
    kept = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    return kept | {gpus.FAKE_VARIABLE: "4", LOCK_FOLDER_VARIABLE: str(tmp_path / "locks")}


def start(command, environment, record, gpus=1, options=(), cwd=None):
    fixed = ["--gpus", str(gpus), "--step", "predict", "--arm", "llm/a", "--record", str(record)]
    return subprocess.Popen(
        [*LAUNCH, *fixed, *options, "--", *command],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd or record.parent,
    )


def wait_for(path, seconds=20):
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, f"{path} was not written"
        time.sleep(0.02)
    return path.read_text()


def ended(process, seconds=20):
    """Whether the process with this id ends in time; a zombie has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def kill(launcher, step_only):
    """SIGKILL a launcher, or the step that it runs if it runs one; whether there was one to kill."""
    if launcher.poll() is not None:
        return False
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    steps = children.read_text().split() if step_only else []
    try:
        os.kill(int(steps[0]) if steps else launcher.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def test_fifty_jobs_over_four_devices_never_share_one_though_launchers_and_steps_are_killed(tmp_path, environment):
    draw = random.Random(7)
    running, waiting, killed = [], list(range(50)), 0
    while waiting or running:
        while waiting and len(running) < 8:
            number = waiting.pop()
            command = ["bash", "-c", WITNESS, str(tmp_path)]
            running.append(start(command, environment, tmp_path / f"{number}.json", gpus=1 + (number % 10 == 0)))
        time.sleep(0.1)
        if killed < 12 and draw.random() < 0.4:
            killed += kill(draw.choice(running), step_only=killed % 2 == 0)
        running = [job for job in running if job.poll() is None]
    given = (tmp_path / "given").read_text().split()
    assert killed == 12
    assert len(given) >= 38
    assert set(given) == {f"GPU-fake{index}" for index in range(4)}
    assert not (tmp_path / "shared").exists(), "two processes were on one device"


def test_after_a_kill_of_the_launcher_all_that_the_step_started_dies_before_its_device_is_given_away(
    tmp_path, environment
):
    """As a finetune on several GPUs: its workers are the step's children, in sessions of their own."""
    workers = "setsid sleep 60 & echo $! >$0/pid; setsid bash -c 'setsid sleep 60 & echo $! >>$0/pid; wait' $0 & wait"
    only = environment | {"CUDA_VISIBLE_DEVICES": "2"}
    first = start(["bash", "-c", workers, str(tmp_path)], only, tmp_path / "a.json")
    wait_for(tmp_path / "pid")
    time.sleep(0.2)
    left = [int(line) for line in (tmp_path / "pid").read_text().split()]
    first.kill()
    first.wait()
    alive = " ".join(f"kill -0 {process} 2>/dev/null && echo {process} >>$0/shared;" for process in left)
    second = start(["bash", "-c", f"{alive} true", str(tmp_path)], only, tmp_path / "b.json")
    assert second.wait(timeout=30) == 0
    assert len(left) == 2
    assert not (tmp_path / "shared").exists()
    assert all(ended(process, 0.1) for process in left)


def test_a_device_stays_taken_while_an_orphan_lives_though_launcher_and_guard_were_killed(tmp_path, environment):
    orphan = f"trap '' TERM; setsid sleep 2 & echo $! >{tmp_path}/pid; sleep 30"
    first = start(["bash", "-c", orphan], environment | {"CUDA_VISIBLE_DEVICES": "2"}, tmp_path / "a.json")
    sleeper = int(wait_for(tmp_path / "pid"))
    guard = int(Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text())
    os.kill(guard, signal.SIGSTOP)
    first.kill()
    os.kill(guard, signal.SIGKILL)
    first.wait()
    second = start(["true"], environment | {"CUDA_VISIBLE_DEVICES": "2"}, tmp_path / "b.json")
    message = second.communicate(timeout=30)[1]
    assert second.returncode == 0
    assert ended(sleeper, 0.1)
    assert "waiting for 1 free of 1 GPUs (GPU-fake2 held by process" in message


def test_a_death_is_tried_again_and_an_error_of_the_study_is_not(tmp_path, environment):
    command = ["bash", "-c", 'echo "$@" >>$0/tried; [ $2 = 3 ] || kill -9 $$', str(tmp_path)]
    job = start(command, environment, tmp_path / "a.json", gpus=0, options=["--tries", "3"])
    assert job.wait(timeout=20) == 0
    assert (tmp_path / "tried").read_text() == "--attempt 1\n--attempt 2\n--attempt 3\n"
    for code in (1, 2):
        (tmp_path / "tried").unlink()
        command = ["bash", "-c", f"echo once >>$0/tried; exit {code}", str(tmp_path)]
        job = start(command, environment, tmp_path / "b.json", gpus=0, options=["--tries", "3"])
        assert job.wait(timeout=20) == code
        assert (tmp_path / "tried").read_text() == "once\n"


def test_the_terminal_shows_the_main_lines_and_the_log_holds_all(tmp_path, environment):
    step = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom slingshot.core.terminal import say\n"
        "print('a long spec'); say('12 of 100')"
    )
    scripts = str(Path(LAUNCH[1]).parent)
    log = tmp_path / "logs" / "step.log"
    job = start([sys.executable, "-c", step, scripts], environment, tmp_path / "a.json", 0, ["--log", str(log)])
    output = job.communicate(timeout=20)[1]
    assert job.returncode == 0
    begins, shown = output.splitlines()[:2]
    assert begins.startswith("predict llm/a: begins on ")
    assert shown == "predict llm/a: 12 of 100"
    assert "a long spec" in log.read_text()
    assert "a long spec" not in output


def test_a_step_gets_devices_only_among_those_that_are_allowed(tmp_path, environment):
    job = start(
        ["bash", "-c", 'echo "$CUDA_VISIBLE_DEVICES" >"$0"', str(tmp_path / "seen")],
        environment | {"CUDA_VISIBLE_DEVICES": "3,GPU-fake1"},
        tmp_path / "record.json",
        gpus=2,
    )
    assert job.wait() == 0
    assert (tmp_path / "seen").read_text().split() == ["GPU-fake3,GPU-fake1"]


def test_a_step_without_a_gpu_sees_none_and_no_driver_is_asked(tmp_path, environment):
    del environment[gpus.FAKE_VARIABLE]
    (tmp_path / "pynvml.py").write_text("raise SystemExit('NVML was opened')")
    job = start(
        ["bash", "-c", 'echo "[$CUDA_VISIBLE_DEVICES]" >"$0"', str(tmp_path / "seen")],
        environment | {"PYTHONPATH": str(tmp_path)},
        tmp_path / "record.json",
        gpus=0,
    )
    assert job.wait() == 0
    assert (tmp_path / "seen").read_text() == "[]\n"
    record = read_process_record(tmp_path / "record.json")
    assert (record.device, record.device_before, record.energy_wh) == (None, None, None)
    assert record.peak_resident > 0


def test_the_exit_code_is_the_steps_and_the_record_is_written(tmp_path, environment):
    job = start(["bash", "-c", "exit 3"], environment, tmp_path / "record.json")
    assert job.wait() == 3
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["exit_code"], record["device"], record["arm"]) == (3, "pretended GPU", "llm/a")
    assert list(tmp_path.glob(".record*")) == []


def test_a_step_killed_from_outside_says_what_that_may_mean(tmp_path, environment):
    job = start(["bash", "-c", "kill -9 $$"], environment, tmp_path / "record.json")
    message = job.communicate()[1]
    assert job.returncode == 137
    assert "main memory ran out" in message


@pytest.mark.parametrize(
    ("gpus", "options", "changes", "message"),
    [
        (5, [], {}, "predict llm/a needs 5 GPUs and may use 4"),
        (1, [], {"CUDA_VISIBLE_DEVICES": ""}, "needs 1 GPU and may use 0"),
        (1, [], {"CUDA_VISIBLE_DEVICES": "9"}, "CUDA_VISIBLE_DEVICES names 9"),
        (1, ["--gpus-wanted", "2"], {}, "llm/a asks for 2 GPUs and the workflow may use 1"),
        (1, [], {gpus.FAKE_VARIABLE: ""}, "no GPU found"),
        (1, [], {LOCK_FOLDER_VARIABLE: "/proc/none"}, "cannot keep locks in /proc/none"),
    ],
)
def test_what_cannot_be_had_is_one_clear_error(tmp_path, environment, gpus, options, changes, message):
    (tmp_path / "pynvml.py").write_text("def nvmlInit(): raise OSError('no driver')")
    changes = {"PYTHONPATH": str(tmp_path)} | changes
    job = start(["touch", str(tmp_path / "ran")], environment | changes, tmp_path / "record.json", gpus, options)
    output = job.communicate()[1]
    assert job.returncode == 1
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_reaches_the_step_and_all_that_it_started(tmp_path, environment, number):
    step = 'trap "echo stopped >$0/said; exit 0" TERM; sleep 30 & echo $! >$0/pid; wait'
    job = start(["bash", "-c", step, str(tmp_path)], environment, tmp_path / "record.json")
    sleeper = int(wait_for(tmp_path / "pid"))
    job.send_signal(number)
    job.wait(timeout=20)
    assert (tmp_path / "said").read_text() == "stopped\n"
    assert ended(sleeper)


def test_a_step_dies_with_a_killed_launcher(tmp_path, environment):
    job = start(["bash", "-c", "echo $$ >$0/pid; sleep 30; :", str(tmp_path)], environment, tmp_path / "record.json")
    step = int(wait_for(tmp_path / "pid"))
    job.kill()
    job.wait()
    assert ended(step)


def test_what_a_step_leaves_running_is_killed(tmp_path, environment):
    step = "setsid sleep 30 & echo $! >$0/pid; sleep 30 & disown; exit 0"
    job = start(["bash", "-c", step, str(tmp_path)], environment, tmp_path / "record.json")
    assert job.wait(timeout=20) == 0
    assert ended(int((tmp_path / "pid").read_text()), seconds=0.1)


def test_a_step_stops_when_the_workflow_is_killed(tmp_path, environment):
    workflow = subprocess.Popen(["sleep", "60"])
    job = start(
        ["bash", "-c", "echo $$ >$0/pid; sleep 30; :", str(tmp_path)],
        environment,
        tmp_path / "record.json",
        options=["--lives-with", str(workflow.pid)],
    )
    step = int(wait_for(tmp_path / "pid"))
    workflow.kill()  # and stays a zombie, as nobody waits for it
    assert job.wait(timeout=20) == 128 + signal.SIGTERM
    assert ended(step)
    workflow.wait()


def test_two_runs_of_one_step_follow_each_other(tmp_path, environment):
    command = ["bash", "-c", "mkdir $0 || echo twice >$0.twice; sleep 0.3; rmdir $0", str(tmp_path / "work")]
    jobs = [start(command, environment, tmp_path / "record.json", gpus=0) for _ in range(3)]
    assert [job.wait(timeout=30) for job in jobs] == [0, 0, 0]
    assert not (tmp_path / "work.twice").exists()


def card(identity, parent, index):
    return gpus.Device(identity, parent, index, "a GPU", (9, 0), 1, lambda: 0, lambda: None)


DEVICES = [
    card("GPU-aaaa-1", "GPU-aaaa-1", 0),
    card("MIG-c1", "GPU-bbbb-2", 1),
    card("MIG-c2", "GPU-bbbb-2", 1),
    card("MIG-GPU-dddd-4/3/0", "GPU-dddd-4", 2),
]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aaaa-1", "MIG-c1", "MIG-c2", "MIG-GPU-dddd-4/3/0"]),
        ("", []),
        ("-1", []),
        ("1,0", ["MIG-c1", "GPU-aaaa-1"]),
        ("GPU-aa", ["GPU-aaaa-1"]),
        ("GPU-bbbb-2", ["MIG-c1"]),
        ("MIG-c2", ["MIG-c2"]),
        ("MIG-GPU-dddd-4/3/0, 0", ["MIG-GPU-dddd-4/3/0", "GPU-aaaa-1"]),
        ("0,-1,1", ["GPU-aaaa-1"]),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_reads_it(visible, expected):
    assert [device.identity for device in gpus.choose_devices(DEVICES, visible)] == expected


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(StudyError, match="names MIG-c9, and this machine has GPU-aaaa-1, MIG-c1"):
        gpus.choose_devices(DEVICES, "0,MIG-c9")


def test_memory_after_a_step_is_read_once_it_has_settled():
    readings = iter([900, 500, 100, 100])
    falling = gpus.Device("GPU-a", "GPU-a", 0, "a GPU", (9, 0), 1000, lambda: next(readings), lambda: None)
    assert gpu.wait_until_freed([falling], at_most=100) == 100
    leaking = gpus.Device("GPU-b", "GPU-b", 0, "a GPU", (9, 0), 1000, lambda: 700, lambda: None)
    assert gpu.wait_until_freed([leaking], at_most=100, seconds=0.2) == 700


def test_energy_is_left_out_where_one_device_has_no_counter():
    counting = gpus.Device("GPU-a", "GPU-a", 0, "a GPU", (9, 0), 1, lambda: 0, lambda: 7.5)
    assert gpu.energy_of([counting, counting]) == 15
    assert gpu.energy_of([counting, card("GPU-b", "GPU-b", 1)]) is None


class Nvml:
    """Stands in for the driver's library: two cards, of which the second is cut into slices and counts no energy."""

    NVMLError = type("NVMLError", (Exception,), {})
    nvmlMemory_v2 = 2  # noqa: N815

    def __init__(self, with_v2=True):
        self.with_v2 = with_v2

    def nvmlInit(self): ...  # noqa: N802

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return f"GPU-{index}"

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return handle.encode()  # as older releases do

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"name of {handle}"

    def nvmlDeviceGetCudaComputeCapability(self, handle):  # noqa: N802
        return [9, 0] if handle == "GPU-1" else [7, 5]

    def nvmlDeviceGetMigMode(self, handle):  # noqa: N802
        if handle == "GPU-0":
            raise self.NVMLError("not supported")
        return (1, 1)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):  # noqa: N802
        return 3

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):  # noqa: N802
        if index == 1:
            raise self.NVMLError("not found")
        return f"MIG-{index}"

    def nvmlDeviceGetMemoryInfo(self, handle, version=None):  # noqa: N802
        if version and not self.with_v2:
            raise self.NVMLError("function not found")
        return SimpleNamespace(total=1000, used=10 if version else 25)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if handle.startswith("MIG"):
            raise self.NVMLError("not supported")
        return 7500


@pytest.mark.parametrize(("with_v2", "used"), [(True, 10), (False, 25)])
def test_the_drivers_devices_are_cards_and_slices(monkeypatch, with_v2, used):
    import pynvml

    stand_in = Nvml(with_v2)
    assert [name for name in dir(Nvml) if name.startswith("nvml") and not hasattr(pynvml, name)] == []
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv(gpus.FAKE_VARIABLE, raising=False)
    devices = gpus.devices_allowed()
    assert [(one.identity, one.card, one.index) for one in devices] == [
        ("GPU-0", "GPU-0", 0),
        ("MIG-0", "GPU-1", 1),
        ("MIG-2", "GPU-1", 1),
    ]
    assert (devices[0].name, devices[0].total, devices[0].used()) == ("name of GPU-0", 1000, used)
    assert [one.energy() for one in devices] == [7.5, None, None]
    assert [one.capability for one in devices] == [(7, 5), (9, 0), (9, 0)]
