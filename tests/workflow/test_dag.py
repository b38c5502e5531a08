"""The graph of the steps: Snakemake's own with each step's arm, and the report's, which must agree with it."""

import pytest
import yaml

from slingshot.config.arms import arms_of
from slingshot.config.study import parse_study
from slingshot.report.dag import graph_of_arms
from slingshot.report.workflow_picture import draw_workflow, planned_graph
from slingshot.study.comparing import scored_arms
from tests.workflow.small_study import config, write_study

EVERYTHING = {
    "designs": {
        "crossed": ["a", "c"],
        "learning_curve": {"models": ["c"], "train_sizes": [8]},
        "sweep": {"models": ["d"], "grid": {"lora.r": [2, 4]}},
        "prompts": {"models": ["b"], "files": ["prompt.yaml", "other.yaml"]},
    },
    "embedding": {"e": {"source": {"folder": "models/e"}, "size": "10K"}},
    "predictions": {"vendor": {"file": "vendor.csv", "columns": {"text": "text"}}},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dag") / "study"
    write_study(folder)
    (folder / "other.yaml").write_text("system: Say the code.\nuser: '{{ text }} {{ answer_form }}'\n")
    (folder / "vendor.csv").write_text("text,answer\nx,I10\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(config() | EVERYTHING, sort_keys=False))
    return folder


def edges_of(graph):
    return {(graph.labels[first], graph.labels[second]) for first, second in graph.edges}


def test_the_reports_graph_is_snakemakes(study):
    ours = graph_of_arms(scored_arms(parse_study(config() | EVERYTHING)))
    planned = planned_graph(study, "results/report.html")
    further = {label for label in planned.labels.values() if label.split()[0].endswith("_validation")}
    assert set(ours.labels.values()) - further == set(planned.labels.values()) - further
    assert edges_of(ours) <= edges_of(planned)
    assert "choose slm/d/best" in ours.labels
    assert "finetune slm/d/best" not in planned.labels.values()


def test_every_step_of_an_arm_bears_its_arm_in_the_picture(study, tmp_path):
    output = draw_workflow(study, "results/report.html", tmp_path / "dag.svg")
    picture = (tmp_path / "dag.svg").read_text()
    assert picture.startswith("<svg")
    assert int(output.split()[-2]) > 30
    for arm in arms_of(parse_study(config() | EVERYTHING)):
        assert f"{arm.rules[-1]} {arm.path}<" in picture
