"""What was edited, cut or written by another version is not believed."""

import errno
import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from slingshot.analysis.outcomes import read_outcome
from slingshot.artifacts.comparison import read_comparison, write_comparison
from slingshot.artifacts.dataset import read_dataset
from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import read_process_record
from slingshot.artifacts.training import read_training
from slingshot.core.disk import require_room
from slingshot.core.errors import StudyError
from slingshot.core.files import read_bytes, read_json, read_jsonl, read_text, replacing
from slingshot.core.hashing import digest_of_file
from slingshot.core.time_limit import time_limit
from slingshot.report.results import read_results
from slingshot.runtime.cli import explain
from tests import results_tree

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def arm(tmp_path):
    """The folder of one arm of a scored study, and the arm."""
    tree = results_tree.build(tmp_path / "results")
    results_tree.finish(tree)
    one = tree.spec.arms[0]
    return tree.folder, one


def test_an_edited_score_is_not_believed(arm):
    """As it happened: 0.99 by hand made the arm the report's best."""
    results, one = arm
    path = results / one.path / "metrics.json"
    assert read_outcome(one, results).metrics.arm == one.path
    written = path.read_text()
    for edit in ({"exact_match_accuracy": 0.99}, {"n_samples": 1}, {"model_name": "another"}):
        path.write_text(json.dumps(json.loads(written) | edit))
        with pytest.raises(StudyError, match="changed after it was written"):
            read_outcome(one, results)
    changed = json.loads(written)
    changed["provenance"].pop("metrics")  # as an older version wrote it
    changed["exact_match_accuracy"] = 0.99
    path.write_text(json.dumps(changed))
    with pytest.raises(StudyError, match=r"0\.99 in one place"):
        read_outcome(one, results)


def test_an_edited_comparison_is_not_believed(tmp_path):
    tree = results_tree.build(tmp_path / "results")
    results_tree.finish(tree)
    path = tree.folder / "comparison.json"
    write_comparison(path, read_comparison(path))
    read_comparison(path)
    written = json.loads(path.read_text())
    written["verdict"]["sentence"] = "The small model wins."
    path.write_text(json.dumps(written))
    with pytest.raises(StudyError, match="changed after it was written"):
        read_results(tree.folder)


def test_answers_that_changed_after_they_were_scored_are_not_compared(arm):
    results, one = arm
    answers = results / one.path / "predictions.jsonl"
    answers.write_text(answers.read_text().replace("}\n", "} \n", 1))
    with pytest.raises(StudyError, match="computed from other answers"):
        read_outcome(one, results)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"a": NaN}', b"[" * 100_000, b"not json"])
def test_damaged_json_is_one_sentence_with_its_file(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    for read in (read_json, read_process_record):
        with pytest.raises(StudyError) as fault:
            read(path)
        assert str(fault.value).startswith(str(path))
        assert len(str(fault.value)) < 500


def test_a_record_of_another_version_names_the_key(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"step": "predict", "arm": "llm/a", "exit_code": 0, "seconds": 1, "peak_resident": 1, "new": 2}')
    with pytest.raises(StudyError, match=r"not what this version writes \(new: .*snakemake --force"):
        read_process_record(path)


def test_a_line_that_is_no_object_is_named(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n[1]\n')
    with pytest.raises(StudyError, match="line 2"):
        read_jsonl(path)


def test_pipes_devices_folders_and_large_files_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    for path, what in (
        (tmp_path / "pipe", "a pipe"),
        ("/dev/zero", "a device"),
        (tmp_path, "a folder"),
        (tmp_path / "none", "missing"),
    ):
        with pytest.raises(StudyError, match=what):
            read_bytes(path)
    with pytest.raises(StudyError, match="at most 10"):
        read_bytes(tmp_path / "large", most_bytes=10)
    (tmp_path / "latin").write_bytes("a\nK\xe4se".encode("latin-1"))
    with pytest.raises(StudyError, match="line 2 is not UTF-8"):
        read_text(tmp_path / "latin")


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    OSError("4096 requested and 0 written"),
    OSError("problem writing element 4096 to file"),
    sqlite3.OperationalError("database or disk is full"),
]


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_disk_names_the_folder_what_is_free_and_what_is_needed(tmp_path, error):
    for needs, said in ((3_000_000_000, "3.000 GB are needed"), (None, "more than 0.005 GB are needed")):
        with pytest.raises(StudyError) as fault, replacing(tmp_path / "weights", needs) as temporary:
            temporary.write_bytes(b"x" * 5_000_000)
            raise error
        assert str(fault.value).startswith(f"{tmp_path}/weights can't be written: ")
        assert f"in {tmp_path}, where " in str(fault.value)
        assert said in str(fault.value)
        assert list(tmp_path.iterdir()) == []
    assert "can't be written" in explain(error)


def test_a_disk_that_is_really_full_is_one_sentence(tmp_path):
    """As `ulimit -f` and a quota have it: no file may grow beyond 2 KB."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom slingshot.core.files import write_json\n"
        "from slingshot.runtime import cli\ncli.run(lambda: write_json(sys.argv[2], list(range(5000))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(SCRIPTS), str(tmp_path / "out.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)),
    )
    assert done.returncode == 1
    assert re.fullmatch(
        rf"error: {tmp_path}/out.json can't be written: File too large in {tmp_path}, where [\d.,]+ GB are free, and "
        r"0\.000 GB are needed; free space there \(.*\), then run the same command again\n",
        done.stderr,
    )
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_room_is_not_begun(tmp_path):
    require_room(tmp_path / "not" / "there", 1000)
    with pytest.raises(StudyError, match=r"1,000,000\.000 GB are needed"):
        require_room(tmp_path / "not" / "there", 10**15)


def test_files_that_are_missing_or_closed_are_one_sentence(tmp_path):
    assert (
        explain(PermissionError(13, "Permission denied", "/a"))
        == "/a: Permission denied; correct its path or its permissions"
    )
    for read in (digest_of_file, read_json, read_jsonl, read_labels, read_dataset, read_training, read_predictions):
        with pytest.raises(StudyError, match=r"none\.json is missing"):
            read(tmp_path / "none.json")
        with pytest.raises(FileNotFoundError):  # as those expect it who go on without the file
            read(tmp_path / "none.json")
    for read in (digest_of_file, read_json):
        with pytest.raises(StudyError, match=r"can't be read|not a regular file"):
            read(tmp_path)


DAMAGES = [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"a": 1}', b'{"rows": []}', b'{"rows": {"read": NaN}}']


UNKNOWN = {("training.json", b'{"a": 1}'), ("training.json", b'{"rows": []}'), ("training_log.jsonl", b"")}


@pytest.mark.parametrize("content", DAMAGES)
@pytest.mark.parametrize(
    "name",
    ["comparison.json", "data/dataset.json", "data/test.parquet", "models/{model}.json", "{arm}/metrics.json",
     "{arm}/predictions.jsonl", "{arm}/predict.json", "{arm}/training.json", "{arm}/training_log.jsonl"],
)  # fmt: skip
def test_a_report_of_damaged_results_ends_in_one_sentence(compared, name, content):
    """Cut, binary, of another version, with NaN: each file that the report reads."""
    results, arm = compared
    path = results / name.format(arm=arm.path, model=arm.model)
    kept = path.read_bytes()
    try:
        path.write_bytes(content)
        if (name.rpartition("/")[2], content) in UNKNOWN:
            return  # keys that are not there are shown as not known
        with pytest.raises(StudyError) as fault:
            read_results(results)
        assert path.name in str(fault.value)
        assert "\n" not in str(fault.value)
        assert len(str(fault.value)) < 600
    finally:
        path.write_bytes(kept)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The results of a compared study, and one of its finetuned arms."""
    tree = results_tree.build(tmp_path_factory.mktemp("compared") / "results")
    results_tree.finish(tree)
    return tree.folder, next(arm for arm in tree.spec.arms if arm.finetuned)


def test_what_takes_too_long_is_stopped():
    with pytest.raises(TimeoutError), time_limit(0.05):
        while True:
            pass
