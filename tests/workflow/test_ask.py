"""A study with an arm behind an endpoint, run whole: the key is nowhere, a rerun asks for nothing."""

from __future__ import annotations

import pytest
import yaml

from slingshot.artifacts.comparison import read_comparison
from slingshot.artifacts.predictions import read_predictions
from tests.unit.endpoints.stub import Error, Stub, completion
from tests.workflow import small_study
from tests.workflow.small_study import planned

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

KEY = "sk-very-secret-1234"


@pytest.fixture(scope="module")
def stub():
    made = Stub(lambda body, count: completion("I10", system_fingerprint="fp_7") if count else Error(429))
    yield made
    made.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory, stub):
    folder = tmp_path_factory.mktemp("asked") / "study"
    folder.mkdir()
    (folder / "prompt.yaml").write_text("system: Name the code.\nuser: '{{ text }} {{ answer_form }}'\n")
    (folder / "dialogues.csv").write_text("text,label,description\n" + "".join(small_study._dialogues(72)))
    config = small_study.config()
    config["llm"] = {
        "gpt": {
            "source": {"api": stub.url, "model": "big-1", "key_env": "STUB_KEY"},
            "prices": {"input": 1, "output": 2},
        }
    }
    config["slm"] = {}
    config["answering"] = {"ensemble_weights": "validation", "shards": 3}  # an endpoint is asked by one job
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def test_a_study_is_asked_scored_and_reported(study, stub):
    code, output = small_study.run(study, "--dry-run", STUB_KEY=KEY)
    assert code == 0, output[-3000:]
    assert f"llm/gpt: the test split to {stub.url} (big-1; this machine)" in output
    code, output = small_study.run(study, "--cores", "1", STUB_KEY=KEY)
    assert code == 0, output[-5000:]
    assert all(one.raw == "I10" for one in read_predictions(study / "results/llm/gpt/predictions.jsonl"))
    assert (study / "results/llm/gpt/validation/predictions.jsonl").exists()
    cost = read_comparison(study / "results/comparison.json").arms[0].cost
    assert cost is not None and cost.per_1000_dialogues.money == pytest.approx(1000 * (100 * 1 + 5 * 2) / 1e6)
    assert "fp_7" in (study / "results/report.html").read_text(encoding="utf-8")
    assert KEY not in output
    for path in study.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert {headers["authorization"] for headers in stub.headers} == {f"Bearer {KEY}"}
    assert planned(study) == {}  # and needs no key


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"prices": {"input": 3, "output": 2}}, {"compare", "report"}),
        ({"asking": {"at_once": 2}}, {"report"}),
        ({"generation": {"max_new_tokens": 9}}, {"ask llm/gpt", "ask_validation llm/gpt", "score llm/gpt"}),
    ],
    ids=["price", "asking", "generation"],
)
def test_a_change_reruns_what_it_concerns(study, tmp_path, change, jobs):
    copy = small_study.copy(study, tmp_path / "study")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["llm"]["gpt"] |= change
    (copy / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert set(planned(copy)) == jobs | ({"compare"} if "score llm/gpt" in jobs else set()) | {"report"}
