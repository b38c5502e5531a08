"""A report of the arms that are there: it takes damaged ones for missing, comes again, and writes through no link."""

import shutil

import pytest

from slingshot.artifacts.layout import ResultFiles
from slingshot.core.errors import StudyError
from slingshot.report import available
from slingshot.report.available import link_results
from tests import results_tree


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """Scored results, with an arm of a design inside another arm's folder."""
    tree = results_tree.build(tmp_path_factory.mktemp("scored") / "results", samples=40)
    results_tree.finish(tree)
    arm = tree.folder / tree.spec.arms[0].path
    (arm / "train300").mkdir()
    (arm / "train300" / "predictions.jsonl").write_text("")
    (arm / "adapter").mkdir(exist_ok=True)
    (arm / "adapter" / "adapter_config.json").write_text("{}")
    return tree


@pytest.fixture
def results(scored, tmp_path):
    shutil.copytree(scored.folder, tmp_path / "results")
    return ResultFiles(tmp_path / "results"), [arm.path for arm in scored.spec.arms]


def test_other_files_are_not_lost(tmp_path):
    files = ResultFiles(tmp_path / "results")
    files.available.mkdir(parents=True)
    (files.available / "mine.txt").touch()
    with pytest.raises(StudyError, match="holds other files than such a report, which would be lost"):
        link_results(files, files.available, [])
    assert (files.available / "mine.txt").exists()


def test_it_is_linked_again_beside_designs(results, tmp_path):
    """As it happened: the second run ended in FileExistsError, as a linked folder held another arm's."""
    files, arms = results
    design = f"{arms[0]}/train300"
    for chosen in ([arms[0], design], [arms[0]], [arms[0], design], arms):
        link_results(files, files.available, chosen)
        linked = ResultFiles(files.available)
        assert linked.arm(arms[0]).predictions.read_bytes() == files.arm(arms[0]).predictions.read_bytes()
        assert linked.arm(design).predictions.exists() == (design in chosen)
        assert (linked.arm(arms[0]).adapter / "adapter_config.json").exists()
    assert files.arm(arms[0]).predictions.exists()


def test_a_link_in_its_place_is_refused_and_what_it_leads_to_stays(results, tmp_path):
    files, arms = results
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    files.available.symlink_to(precious)
    with pytest.raises(StudyError, match="is a link"):
        link_results(files, files.available, arms)
    assert [path.name for path in precious.iterdir()] == ["file"]


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "binary": lambda path: path.write_bytes(b"\xff\x00" * 50),
    "another version's": lambda path: path.write_text('{"made": "long ago"}'),
    "edited": lambda path: path.write_text(path.read_text().replace("1", "2", 1)),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("name", ["metrics.json", "predictions.jsonl", "predict.json"])
def test_a_damaged_arm_counts_as_missing(results, monkeypatch, name, damage):
    files, arms = results
    arm = next(each for each in results_tree_arms(files, arms) if "predict" in each.steps)
    monkeypatch.setattr(available, "step_spec", lambda *_: Spec)
    DAMAGES[damage](files.folder / arm.path / name)
    why = available._why_not(None, files.folder.parent, files, arm)
    assert why.startswith("missing: ")
    assert "\n" not in why


class Spec:
    """Stands in for the study's own spec of a step, which is no part of this test."""

    digest = None

    @staticmethod
    def model_dump(mode):
        return {}


def results_tree_arms(files, arms):
    by_path = {contender.arm.path: contender.arm for contender in results_tree.CONTENDERS}
    return [by_path[path] for path in arms]
