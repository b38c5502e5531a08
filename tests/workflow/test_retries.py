"""What the launcher does for the workflow around a step: no vain retries, no time stamps of the future."""

import os
import time

import pytest

from slingshot.runtime.time_stamps import bring_to_present
from tests.workflow.test_launch import environment, start  # noqa: F401


def test_an_error_of_the_study_is_not_met_again_by_a_workflow_that_tries_again(tmp_path, environment):  # noqa: F811
    """As `retries` of profiles/slurm does with any job that failed."""
    log, tried = tmp_path / "step.log", tmp_path / "tried"
    step = ["bash", "-c", f"echo again >>{tried}; echo 'error: no such column' >&2; exit $0"]
    expected = {("1", "1"): (1, 1), ("1", "2"): (1, 1), ("70", "1"): (70, 2), ("70", "2"): (70, 3), ("0", "1"): (0, 4)}
    for (code, attempt), (ends, runs) in expected.items():
        options = ["--attempt", attempt, "--log", str(log)]
        job = start([*step, code], environment, tmp_path / "a.json", 0, options, cwd=tmp_path)
        said = job.communicate(timeout=20)[1]
        assert (job.returncode, len(tried.read_text().split())) == (ends, runs), said
        if (code, attempt) == ("1", "2"):
            assert "is not tried again, as its last try ended in an error that comes again: no such column" in said


def test_time_stamps_of_the_future_are_brought_to_the_present(tmp_path):
    """Snakemake would take a step's output for older than its input, and remove it."""
    future = time.time() + 400 * 86_400
    results = tmp_path / "results"
    (results / "data").mkdir(parents=True)
    for name in ("data/test.parquet", "old.json", "link"):
        path = results / name
        path.symlink_to(tmp_path / "elsewhere") if name == "link" else path.write_text("x")
    (tmp_path / "elsewhere").write_text("x")
    for path in (tmp_path / "elsewhere", results / "data/test.parquet", results / "data"):
        os.utime(path, (future, future))
    os.utime(results / "old.json", (1, 1))
    assert bring_to_present(results) == 2
    assert max(path.stat().st_mtime for path in (results / "data", results / "data/test.parquet")) <= time.time()
    assert (results / "old.json").stat().st_mtime == 1
    assert (tmp_path / "elsewhere").stat().st_mtime == pytest.approx(future)
