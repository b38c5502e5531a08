"""Any death: the next run goes on, loses no finished batch, and ends in the same bytes.

Each test injects one fault or more into a run of the small study and then does what docs/running.md says.
"""

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from slingshot.artifacts.records import read_process_record, read_step_record
from slingshot.core.files import read_json
from tests.workflow import small_study
from tests.workflow.small_study import digests, run, snakemake

pytestmark = pytest.mark.workflow
# What must come out the same, byte for byte. Records hold times, and metrics hold the times of training.
BYTES = ("results/*/*/predictions.jsonl", "results/*/*/adapter/adapter_model.safetensors")


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished study."""
    return small_study.copy(finished, tmp_path / "study")


def wait_until(condition, process=None, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        assert process is None or process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.02)


def launcher_of(study, step):
    """Id of the launcher that runs this step on the study, once it runs; and of the step's own process."""
    found = []

    def there():
        for status in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = status.read_bytes().decode().split("\0")
                belongs = (status.parent / "cwd").readlink() == study
            except OSError:
                continue
            if belongs and any(word.endswith(f"/{step}.py") for word in words[:2]):
                found[:] = [int(status.parent.name)]
        return bool(found)

    return there, found


def forget(study, arm, *names):
    """Take away an arm's results, as if they had not been made yet; what the step remembers stays."""
    for name in names:
        (study / "results" / arm / name).unlink()


def go_on(study, house, *targets):
    """What docs/running.md says: unlock, then run again."""
    assert run(study, "--unlock", house=house)[0] == 0
    code, output = run(study, "--cores", "2", *targets, house=house)
    assert code == 0, output[-4000:]


def test_a_step_that_is_killed_is_tried_again_with_a_smaller_budget(study, house):
    """Fault 1: SIGKILL of a step's process, as the kernel does where memory runs out. The same Snakemake tries again,
    in a fresh process; the adapter is the same but for the order in which sums were rounded."""
    path = study / "results" / "slm" / "c" / "adapter" / "adapter_model.safetensors"
    before = load_file(path)
    path.unlink()
    workflow = snakemake(study, "--cores", "1", str(path.relative_to(study)), house=house)
    there, found = launcher_of(study, "finetune")
    wait_until(there, workflow)
    os.kill(found[0], signal.SIGKILL)
    output = workflow.communicate(timeout=240)[0]
    assert workflow.returncode == 0, output[-3000:]
    assert "was killed: where nobody did that, main memory ran out" in output
    assert read_step_record(study / "results" / "slm" / "c" / "finetune.json").token_budget == 512
    after = load_file(path)
    assert after.keys() == before.keys()
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=2e-4)


def test_snakemake_killed_takes_its_steps_along_and_the_next_run_ends_the_same(study, house):
    """Faults 2 to 4: SIGKILL of Snakemake while a step runs, the stale lock and the incomplete files it leaves."""
    before = digests(study, *BYTES)
    forget(study, "llm/a", "predictions.jsonl")
    shutil.rmtree(study / "results" / "cache")
    workflow = snakemake(study, "--cores", "1", "results/llm/a/predictions.jsonl", house=house)
    there, found = launcher_of(study, "predict")
    wait_until(there, workflow)
    workflow.kill()
    workflow.communicate()
    wait_until(lambda: not Path(f"/proc/{found[0]}").exists(), seconds=40)
    code, output = run(study, "--cores", "1", house=house)
    assert code != 0
    assert "LockException" in output
    assert "--unlock" in output
    go_on(study, house, "results/report.html")
    assert digests(study, *BYTES) == before
    assert small_study.planned(study, house=house) == {}


def test_sigterm_lets_a_step_go_on_and_ctrl_c_ends_it_with_a_checkpoint(study, house):
    """As README says: SIGTERM to Snakemake alone, as `kill` sends it, and Ctrl-C to all that the terminal runs."""
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["finetune"] |= {"max_steps": None, "epochs": 3_000, "evaluate_every": 100_000}
    config["hardware"]["checkpoint_steps"] = None
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    workflow = snakemake(study, "--cores", "1", "results/slm/c/metrics.json", house=house, terminal=True)
    there, found = launcher_of(study, "finetune")
    wait_until(there, workflow)
    log = study / "results" / "logs" / "slm" / "c" / "finetune.log"
    wait_until(lambda: log.exists() and " steps/s" in log.read_text(), workflow)
    workflow.terminate()
    time.sleep(2)
    assert workflow.poll() is None and Path(f"/proc/{found[0]}").exists()
    assert not list((study / "results").rglob("step-*.safetensors"))
    os.killpg(workflow.pid, signal.SIGINT)
    output = workflow.communicate(timeout=60)[0]
    assert workflow.returncode != 0
    assert not Path(f"/proc/{found[0]}").exists()
    assert list((study / "results" / "slm" / "c" / "checkpoints").rglob("step-*.safetensors")), output[-3000:]
    assert not (study / "results" / "slm" / "c" / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.slow  # tests/unit/generation kills a run
def test_no_finished_batch_of_predictions_is_computed_again(study, house):
    """Fault 5: the run dies after some answers are in the cache."""
    before = digests(study, *BYTES)
    forget(study, "llm/b", "predictions.jsonl")
    cache = sqlite3.connect(study / "results" / "cache" / "b.sqlite")
    with cache:
        cache.execute("DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers ORDER BY rowid DESC LIMIT 6)")
    cache.close()
    go_on(study, house, "results/llm/b/predictions.jsonl")
    record = read_step_record(study / "results" / "llm" / "b" / "predict.json")
    assert record.samples == 18
    assert 12 <= record.cached_samples <= 15  # six answers, free or constrained ones, of three to six samples
    assert digests(study, *BYTES) == before


@pytest.mark.parametrize(
    "fault",
    ["poisoned", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("truncated", "not a database"))],
)
def test_a_damaged_cache_is_noticed_and_its_answers_are_made_anew(study, house, fault):
    """Faults 6 to 8."""
    before = digests(study, *BYTES)
    forget(study, "llm/b", "predictions.jsonl")
    path = study / "results" / "cache" / "b.sqlite"
    if fault == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif fault == "poisoned":
        with sqlite3.connect(path) as cache:
            cache.execute("""UPDATE answers SET answer = replace(answer, '[', '[7, ')""")
    else:
        path.write_bytes(os.urandom(5000))
    go_on(study, house, "results/llm/b/predictions.jsonl")
    log = (study / "results" / "logs" / "llm" / "b" / "predict.log").read_text()
    assert "damaged" in log
    assert read_step_record(study / "results" / "llm" / "b" / "predict.json").cached_samples == 0
    assert digests(study, *BYTES) == before


@pytest.mark.slow  # tests/unit/training kills runs at random
def test_training_goes_on_from_its_last_checkpoint_and_a_damaged_one_is_passed_over(study, house, tmp_path):
    """Faults 9 to 11: SIGKILL between steps of training, then a truncated checkpoint, then a poisoned one."""
    before = digests(study, *BYTES)
    command = finetune_command(study, house, tmp_path)
    kill_after_checkpoint(command, study, tmp_path)
    checkpoints = sorted((tmp_path / "checkpoints").rglob("step-*.safetensors"))
    assert checkpoints
    os.truncate(checkpoints[-1], checkpoints[-1].stat().st_size // 2)
    if len(checkpoints) > 1:
        with checkpoints[0].open("r+b") as older:
            older.seek(-8, os.SEEK_END)
            older.write(b"\xff" * 8)
    done = subprocess.run(command, cwd=study, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "is damaged and not used" in done.stderr
    adapter = tmp_path / "adapter" / "adapter_model.safetensors"
    expected = before["results/slm/c/adapter/adapter_model.safetensors"]
    assert digests(tmp_path, "adapter/adapter_model.safetensors") == {str(adapter.relative_to(tmp_path)): expected}


def finetune_command(study, house, out):
    """The finetune step of slm/c by hand, with a checkpoint at each training step."""
    record = read_json(study / "results" / "slm" / "c" / "finetune.json")
    (out / "spec.json").write_text(json.dumps(record["spec"]))
    data = study / "results" / "data"
    return [
        *(os.sys.executable, str(house / "scripts" / "finetune.py"), "--spec", f"@{out / 'spec.json'}"),
        *("--arm", "slm/c", "--model", str(study / "results" / "models" / "c.json"), "--device", "cpu"),
        *("--labels", str(data / "labels.json"), "--train", str(data / "train.parquet")),
        *("--validation", str(data / "validation.parquet"), "--adapter", str(out / "adapter")),
        *("--training", str(out / "training.json"), "--log", str(out / "log.jsonl")),
        *("--record", str(out / "finetune.json"), "--token-budget", "1024", "--checkpoint-steps", "1"),
    ]


def kill_after_checkpoint(command, study, out):
    process = subprocess.Popen(command, cwd=study, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints").rglob("step-*2.json")):
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not (out / "adapter" / "adapter_model.safetensors").exists(), "it was killed too late to show anything"


def test_a_full_disk_leaves_no_half_file_and_the_next_run_goes_on(study, house):
    """Fault 12: no file may grow beyond 2 KB, which is what a full disk looks like to a step."""
    before = digests(study, *BYTES)
    forget(study, "llm/a", "predictions.jsonl")
    process = subprocess.Popen(
        ["bash", "-c", 'exec "$@"', "bash", *limited(study, house)],
        cwd=study,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)),
    )
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0
    assert "File too large" in output or "disk" in output, output[-2000:]
    place = study / "results" / "llm" / "a"
    assert not (place / "predictions.jsonl").exists()
    assert list(place.glob(".predictions*")) == []
    go_on(study, house, "results/llm/a/predictions.jsonl")
    assert digests(study, *BYTES) == before


def limited(study, house):
    """The predict step of llm/a by hand."""
    record = read_json(study / "results" / "llm" / "a" / "predict.json")
    (study / "spec.json").write_text(json.dumps(record["spec"]))
    data = "results/data"
    return [
        *(os.sys.executable, str(house / "scripts" / "predict.py"), "--spec", "@spec.json", "--arm", "llm/a"),
        *("--model", "results/models/a.json", "--labels", f"{data}/labels.json", "--train", f"{data}/train.parquet"),
        *("--split", f"{data}/test.parquet", "--predictions", "results/llm/a/predictions.jsonl"),
        *("--record", "results/llm/a/predict.json", "--cache", "results/cache/a.sqlite", "--device", "cpu"),
        *("--token-budget", "1024"),
    ]


def test_one_failing_model_leaves_the_others_and_a_report_that_names_it(study, house):
    """Faults 13 and 14: a model's weights are gone, so its arm fails each time it is tried; and old results of a
    config that has changed are not passed off as new."""
    for name in ("predictions.jsonl", "metrics.json"):
        forget(study, "slm/d", name)
        forget(study, "llm/b", name)
    shutil.rmtree(study / "results" / "cache")
    card = study / "results" / "models" / "d.json"
    card.write_text(card.read_text().replace('"model.safetensors"', '"gone.safetensors"'))
    subprocess.run(["touch", "-d", "2020-01-01", str(card)], check=True, timeout=10)
    for name in ("report.html", "comparison.json"):
        (study / "results" / name).unlink()
    code, output = run(study, "--cores", "2", "--keep-going", "--", "results/report.html", house=house)
    assert code != 0
    assert "lacks gone.safetensors" in output
    assert (study / "results" / "llm" / "b" / "metrics.json").exists()
    config = (study / "config.yaml").read_text().replace("max_new_tokens: 5", "max_new_tokens: 5\n  candidates: 0")
    (study / "config.yaml").write_text(config)
    code, output = run(study, "--cores", "1", "report_available", house=house)
    assert code == 0, output[-3000:]
    assert "slm/d: missing" in output
    assert "llm/b: reported" in output
    comparison = read_json(study / "results" / "available" / "comparison.json")
    assert comparison["missing"] == ["slm/d"]
    page = (study / "results" / "available" / "report.html").read_text()
    assert "Not in this report" in page
    (study / "config.yaml").write_text(config.replace("max_new_tokens: 5", "max_new_tokens: 6"))
    code, output = run(study, "--cores", "1", "report_available", house=house)
    assert "llm/b: missing" in output
    assert "earlier config" in output


@pytest.mark.slow  # a whole arm, twice
def test_shards_gather_to_the_bytes_of_one_job(study, house):
    before = digests(study, *BYTES)
    for arm in ("llm/b", "slm/c"):
        forget(study, arm, "predictions.jsonl")
    shutil.rmtree(study / "results" / "cache")
    with (study / "config.yaml").open("a") as config:
        config.write("answering: {shards: 3}\n")
    go_on(study, house, "results/llm/b/predictions.jsonl", "results/slm/c/predictions.jsonl")
    after = digests(study, *BYTES)
    assert after == before
    record = read_step_record(study / "results" / "llm" / "b" / "predict.json")
    assert (record.samples, record.cached_samples) == (18, 0)
    assert read_process_record(study / "results" / "llm" / "b" / "predict.process.json").seconds > 1


def test_a_step_that_asks_for_more_gpus_than_are_allowed_is_an_error(study, house):
    """Snakemake would run it with fewer, and say nothing."""
    path = "results/slm/c/adapter/adapter_model.safetensors"
    forget(study, "slm/c", "adapter/adapter_model.safetensors")
    config = (study / "config.yaml").read_text().replace("device: cpu", "device: cuda\n  gpus: 2")
    (study / "config.yaml").write_text(config)
    words = ("--cores", "2", "--resources", "gpu=1", "--", path)
    code, output = run(study, *words, house=house, SLINGSHOT_FAKE_DEVICES="4")
    assert code != 0
    assert "slm/c asks for 2 GPUs and the workflow may use 1: run snakemake with --resources gpu=2" in output
