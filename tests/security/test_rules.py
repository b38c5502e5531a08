"""Every step that writes goes through the launcher, with a lock on what it makes, and ends with its Snakemake."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.workflow import small_study
from tests.workflow.small_study import snakemake

RULES = {
    name: part
    for path in sorted((small_study.HOUSE / "workflow" / "rules").glob("*.smk"))
    for name, part in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), flags=re.MULTILINE | re.DOTALL)
}


@pytest.mark.parametrize("rule", [name for name, part in RULES.items() if "shell:" in part])
def test_a_rule_runs_its_program_by_the_launcher_with_a_lock(rule):
    command = RULES[rule].partition("shell:")[2]
    assert re.search(r"\blaunch --", command)
    assert "--lock " in command or "--record {output.process:q}" in command
    assert "--log {log:q}" in command
    unquoted = re.findall(r"\{(?:input|output|params|wildcards|log)[.\w\[\]]*\}", command)
    assert unquoted == []


def test_the_launcher_lives_with_its_snakemake():
    common = (small_study.HOUSE / "workflow" / "rules" / "common.smk").read_text()
    assert '--lives-with "$PPID"' in common
    assert len(RULES) > 15


def processes(study, program):
    """Ids of processes in the study's folder that run this program."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().decode().split("\0")
            if (place / "cwd").readlink() == study and any(word.endswith(f"/{program}") for word in words):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_step_without_a_gpu_ends_with_a_snakemake_that_is_killed(written, house, tmp_path):
    """As it happened: prepare_data went on, and overwrote the next run's data with another seed's."""
    study = small_study.copy(written, tmp_path / "study")
    workflow = snakemake(study, "--cores", "1", "results/data/dataset.json", house=house)
    wait_until(lambda: processes(study, "prepare_data.py"))
    os.kill(workflow.pid, signal.SIGKILL)
    workflow.communicate()
    wait_until(lambda: not processes(study, "prepare_data.py"), seconds=30)
    assert not (study / "results" / "data" / "dataset.json").exists()
