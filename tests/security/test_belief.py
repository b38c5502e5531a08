"""What was edited, cut or written by another version is not believed."""

import json
import os
from pathlib import Path

import pytest

from slingshot.analysis.outcomes import read_outcome
from slingshot.artifacts.records import read_process_record
from slingshot.core.errors import StudyError
from slingshot.core.files import read_bytes, read_json, read_jsonl, read_text, write_text
from slingshot.core.time_limit import time_limit
from tests import results_tree


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


def test_a_full_disk_names_the_folder_and_what_is_free(tmp_path, monkeypatch):
    def full(self, *_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StudyError, match=r"No space left on device in .*, where .* GB are free; free space there"):
        write_text(tmp_path / "out.json", "x")
    assert list(tmp_path.iterdir()) == []


def test_what_takes_too_long_is_stopped():
    with pytest.raises(TimeoutError), time_limit(0.05):
        while True:
            pass
