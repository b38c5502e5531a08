"""The sections embedding, encoder and predictions, and the design heads: arms, specs, faults."""

import copy

import pytest

from slingshot.config.arms import answers_validation, arms_of
from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError
from slingshot.study.steps import fact_of, keys_of, step_spec
from tests.unit.config.test_study import STUDY

RIVALS = {
    "embedding": {"minilm": {"source": {"hub": "org/MiniLM"}, "size": "22M"}},
    "encoder": {"bert": {"source": {"hub": "org/bert"}, "epochs": 3}},
    "predictions": {"vendor": {"file": "vendor.csv", "columns": {"sample_id": "id"}}},
}


def study_with(**sections):
    return parse_study(copy.deepcopy(STUDY) | RIVALS | sections)


def test_each_rival_is_an_arm_with_the_steps_of_its_kind():
    arms = {arm.path: arm for arm in arms_of(study_with())}
    assert list(arms["embedding/minilm"].steps.items()) == [("finetune", "fit"), ("predict", "predict_fitted")]
    assert arms["predictions/vendor"].steps == {}
    assert arms["predictions/vendor"].training_status == "imported"
    assert [path for path, arm in arms.items() if arm.has_weights and not arm.generates] == [
        "embedding/minilm",
        "encoder/bert",
    ]


def test_a_setting_of_one_rival_changes_its_own_fit_alone(tmp_path):
    before = study_with()
    after = study_with(encoder={"bert": RIVALS["encoder"]["bert"] | {"learning_rate": 1e-3}})
    changed = []
    for path in ("baseline/tfidf", "embedding/minilm", "encoder/bert"):
        for step in ("fit", "predict_fitted"):
            one, other = (step_spec(study, tmp_path, step, path) for study in (before, after))
            changed += [f"{path} {key}" for key in keys_of(step) if fact_of(one, key) != fact_of(other, key)]
    assert changed == ["encoder/bert recipe.learning_rate"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"embedding": {"large": RIVALS["embedding"]["minilm"]}}, "large stands under llm and under embedding"),
        (
            {"embedding": {"far": {"source": {"api": "http://127.0.0.1/v1", "model": "m"}}}},
            "embedding.far is wrong: is behind an endpoint, which gives no hidden states",
        ),
        ({"predictions": {"v": {"file": "v.csv", "columns": {"answer": "x"}}}}, "needs sample_id or text"),
        ({"designs": {"heads": {"models": ["huge"]}}}, "designs.heads names huge"),
        ({"designs": {"heads": {"models": ["large"]}}}, "designs.heads finetunes large, a large model"),
    ],
)
def test_a_fault_names_its_key(sections, message):
    with pytest.raises(StudyError, match=message):
        study_with(**sections)


def test_heads_add_the_other_way_and_both_at_each_size(tmp_path):
    designs = {
        "heads": {"models": ["small"], "train_sizes": [50, 100]},
        "learning_curve": {"models": ["small"], "train_sizes": [100], "hold": "steps"},
    }
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/icd10cm.yaml").write_text("system: Code.\nuser: '{{ text }}'\n")
    study = study_with(designs=designs)
    arms = {arm.variant: arm for arm in arms_of(study) if arm.model == "small"}
    assert set(arms) == {None, "classify", "train50", "classify_train50", "train100", "classify_train100"}
    assert arms["train100"].design == "learning_curve"
    heads = {
        variant: [step_spec(study, tmp_path, step, arm.path) for step in ("finetune", "predict")]
        for variant, arm in arms.items()
    }
    for variant, (finetune, predict) in heads.items():
        wanted = "classify" if variant and variant.startswith("classify") else "write"
        assert (finetune.finetune.head, predict.head) == (wanted, wanted)


def test_rivals_always_answer_validation_and_language_models_where_it_is_asked():
    for settings, wanted in (({}, set()), ({"answer_validation": True}, {"llm/large", "slm/small"})):
        study = study_with(answering=settings, generation={"candidates": 5})
        answering = {arm.path for arm in arms_of(study) if answers_validation(study, arm)}
        assert answering == wanted | {"baseline/tfidf", "embedding/minilm", "encoder/bert"}
