"""What every program does with its command line, its errors and its log."""

import argparse
import json
import sys

import pytest

from slingshot.core.errors import StudyError
from slingshot.runtime import cli


@pytest.mark.parametrize(("fault", "code"), [(None, None), (KeyboardInterrupt(), 130), (ValueError("odd"), 70)])
def test_a_program_ends_with_the_exit_code_of_its_kind_of_end(monkeypatch, fault, code):
    def main():
        if fault is not None:
            raise fault

    monkeypatch.setattr(sys, "argv", ["score.py"])
    if code is None:
        cli.run(main)
        return
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    assert end.value.code == code


def test_a_fault_of_the_study_is_one_sentence(monkeypatch):
    def main():
        raise StudyError("data.split.train: must be more than 0")

    monkeypatch.setattr(sys, "argv", ["score.py"])
    with pytest.raises(SystemExit, match=r"^error: data\.split\.train: must be more than 0$"):
        cli.run(main)


def test_a_spec_is_json_or_a_file_of_it(tmp_path, capsys):
    parser = cli.make_parser("Scores an arm.")
    cli.add_spec(parser, "ScoreSpec")
    (tmp_path / "spec.json").write_text(json.dumps({"arm": "llm/a"}))
    assert parser.parse_args(["--spec", f"@{tmp_path / 'spec.json'}"]).spec == '{"arm": "llm/a"}'
    assert parser.parse_args(["--spec", "{}"]).spec == "{}"
    with pytest.raises(SystemExit):
        parser.parse_args(["--spec", f"@{tmp_path / 'none.json'}"])
    assert "none.json: No such file or directory" in capsys.readouterr().err
    with pytest.raises(SystemExit):  # a beginning of an option is none
        parser.parse_args(["--sp", "{}"])


def test_a_share_is_k_of_n():
    assert cli.parse_share("2/3") == (2, 3)
    for wrong in ("0/3", "4/3", "2", "a/b", "2/"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"must be K/N with K from 1 to N, not {wrong}"):
            cli.parse_share(wrong)


def test_what_a_step_may_take_of_the_machine(capsys):
    parser = cli.make_parser(None)
    cli.add_hardware(parser)
    given = parser.parse_args(["--token-budget", "4096", "--memory-gb", "7.5"])
    assert (given.device, given.token_budget, given.memory_gb, given.attempt) == ("cuda", 4096, 7.5, 1)
    free = parser.parse_args(["--token-budget", "auto", "--memory-gb", "all"])
    assert (free.token_budget, free.memory_gb) == (None, None)
    for words in (["--token-budget", "0"], ["--memory-gb", "-1"], ["--device", "tpu"]):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
    assert "must be a positive number of gigabytes or all, not -1" in capsys.readouterr().err
