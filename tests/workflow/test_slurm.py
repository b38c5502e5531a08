"""profiles/slurm on a real Slurm: one node on loopback, started here and stopped here.

Two pretended GPUs: Slurm counts and assigns them (any device file serves it as one), the launcher is given as many.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from slingshot.artifacts.records import read_process_record
from tests.workflow import small_study

pytestmark = pytest.mark.slurm
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "srun")
SETTINGS = Path("/etc/slurm")  # the plugin drops SLURM_CONF, so it can lie nowhere else
OURS = "# written by slingshot's tests"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A Slurm of one node with two GPUs; its environment is that of this process."""
    if reason := _missing():
        pytest.skip(reason)
    spool = tmp_path_factory.mktemp("slurm")
    _write_settings(spool)
    daemons = []
    try:
        subprocess.run(["install", "-d", "-o", "munge", "-m", "755", "/run/munge"], check=True, timeout=10)
        if not _answers("munge", "-n"):
            daemons.append(_start(spool, "runuser", "-u", "munge", "--", "munged", "--force", "--foreground"))
        daemons += [_start(spool, "slurmctld", "-D"), _start(spool, "slurmd", "-D")]
        _wait_for_node(spool)
        yield
    finally:
        _answers("scancel", "--signal=KILL", "--user=root")
        for daemon in reversed(daemons):
            os.killpg(daemon.pid, signal.SIGKILL)  # one that hangs heeds nothing less
            daemon.wait(timeout=20)
        for name in ("slurm.conf", "gres.conf"):
            (SETTINGS / name).unlink(missing_ok=True)


def _missing():
    """Why there can be no Slurm here; empty if there can."""
    if os.geteuid() != 0:
        return "only root can start a Slurm"
    if (SETTINGS / "slurm.conf").exists() and OURS not in (SETTINGS / "slurm.conf").read_text():
        return "this machine belongs to a Slurm cluster already: /etc/slurm/slurm.conf"
    if not all(map(shutil.which, PROGRAMS)):
        install = "apt-get update -qq && apt-get install -qq -y --no-install-recommends slurm-wlm munge"
        try:
            done = subprocess.run(install, shell=True, capture_output=True, text=True, timeout=240, check=False)
        except subprocess.TimeoutExpired:
            return "slurm-wlm and munge could not be installed: apt-get took over four minutes"
        if done.returncode or not all(map(shutil.which, PROGRAMS)):
            return f"slurm-wlm and munge could not be installed: {done.stderr.strip()[-200:]}"
    return ""


def _answers(*command):
    """Whether a command succeeds, and soon."""
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _start(spool, *command):
    """Start a daemon as the leader of a session of its own."""
    log = (spool / f"{len(list(spool.glob('*.out')))}.out").open("w")
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def _write_settings(spool):
    node = socket.gethostname().split(".")[0]
    SETTINGS.mkdir(exist_ok=True)
    settings = {
        "ClusterName": "slingshot",
        "SlurmctldHost": f"{node}(127.0.0.1)",
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "ReturnToService": 2,
        "SlurmctldPidFile": spool / "slurmctld.pid",
        "SlurmdPidFile": spool / "slurmd.pid",
        "SlurmdSpoolDir": spool / "slurmd",
        "StateSaveLocation": spool / "state",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core_Memory",
        "AccountingStorageType": "accounting_storage/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "MpiDefault": "none",
        "GresTypes": "gpu",
        "NodeName": f"{node} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 Gres=gpu:2 State=UNKNOWN",
        "SlurmdParameters": "config_overrides",  # four processors whatever the machine has
        "PartitionName": "main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
    }
    lines = [OURS, *(f"{key}={value}" for key, value in settings.items())]
    (SETTINGS / "slurm.conf").write_text("\n".join(lines) + "\n")
    devices = "\n".join(f"NodeName={node} Name=gpu File=/dev/tty{number}" for number in (10, 11))
    (SETTINGS / "gres.conf").write_text(f"{OURS}\n{devices}\n")


def _wait_for_node(spool, seconds=40):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            output = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, timeout=5, check=False)
            if output.stdout.strip() == "idle":
                return
        except subprocess.TimeoutExpired:
            pass
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-1500:] for path in spool.glob("*.out"))
    raise AssertionError(f"Slurm's node was not ready in {seconds} s:\n{logs}")


@pytest.mark.slow  # 160 s: Slurm itself is started
def test_two_arms_run_as_slurm_jobs_on_gpus_that_slurm_assigned(cluster, tmp_path):
    study = tmp_path / "study"
    small_study.write_study(study)
    arms = ("llm/b", "slm/c")
    code, output = small_study.run(
        study,
        "--workflow-profile",
        str(small_study.HOUSE / "profiles" / "slurm"),
        "--slurm-status-command=squeue",
        "--slurm-init-seconds-before-status-checks=2",
        "--slurm-no-account",
        "--slurm-keep-successful-logs",
        "--latency-wait=5",
        "--default-resources=mem_mb=1000",
        # The small models run on the CPU; a GPU is asked for all the same, to see who assigns it.
        "--set-resources",
        *(f"{step}:{name}=1" for step in ("finetune", "predict") for name in ("gpu", "gpus_wanted")),
        "--",
        *(f"results/{arm}/metrics.json" for arm in arms),
        seconds=240,
        SLINGSHOT_FAKE_DEVICES="2",
    )
    assert code == 0, output[-4000:]
    assert output.count("has been submitted with SLURM jobid") >= 7, output[-4000:]
    for arm in arms:
        record = read_process_record(study / "results" / arm / "predict.process.json")
        assert (record.exit_code, record.device) == (0, "pretended GPU")
        assert (study / "results" / arm / "metrics.json").exists()
