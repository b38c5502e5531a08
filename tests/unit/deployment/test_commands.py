"""What a person types: the hint where a study has no results, and the usage line of answer.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from slingshot.artifacts.layout import ResultFiles
from slingshot.core.errors import StudyError
from slingshot.deployment.answer import read_arm_record
from slingshot.deployment.archive import archive
from slingshot.deployment.commands import command_for
from tests.workflow import small_study

PROGRAM = Path(__file__).parents[3] / "scripts/answer.py"


def test_a_command_is_typed_from_the_projects_root():
    results = ResultFiles(Path("studies/my own/results"))
    assert command_for(results, results.report) == "snakemake --directory 'studies/my own' results/report.html"
    results = ResultFiles(Path("results"))
    assert command_for(results, results.report) == "snakemake --directory . results/report.html"


def test_an_arm_without_results_says_what_makes_them(tmp_path):
    from slingshot.config.arms import Arm

    results, arm = ResultFiles(tmp_path / "results"), Arm(kind="slm", model="c", finetuned=True)
    with pytest.raises(StudyError) as error:
        read_arm_record(results, arm)
    command = f"snakemake --directory {tmp_path} results/slm/c/metrics.json"
    assert str(error.value) == f"slm/c has no results yet: run `{command}` first"


def test_a_study_without_results_says_what_makes_them(tmp_path):
    small_study.write_study(tmp_path / "study")
    with pytest.raises(StudyError, match=rf"`snakemake --directory {tmp_path / 'study'} results/report.html`"):
        archive(tmp_path / "study", tmp_path / "study.tar.gz")


@pytest.mark.parametrize(
    "words", ["--text said --text noted new.csv", "new.csv --text said --text noted"], ids=["usage", "after"]
)
def test_columns_stand_before_and_after_the_input(words):
    """The input comes last in the usage line: a --text that takes all words after it would swallow it."""
    code = (
        "import runpy, sys; from slingshot.deployment import answer; answer.answer = lambda job: print(job); "
        f"sys.argv = ['answer.py', *sys.argv[1:]]; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", code, "--study", "s", "--arm", "baseline/tfidf", *words.split()]
    environment = {"PYTHONPATH": str(PROGRAM.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    assert "source='new.csv'" in done.stdout and "text=['said', 'noted']" in done.stdout
