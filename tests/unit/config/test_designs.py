"""Designs add arms; what two designs share is one arm; a sweep chooses on validation and counts what it cost."""

import copy
import json

import pytest

from slingshot.analysis.sweep import add_up_cost, best_candidate, choose, summarize_all
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.records import ProcessRecord, StepRecord
from slingshot.config.arms import arms_of, result_key
from slingshot.config.recipe import overridden
from slingshot.config.specs import ChooseSpec
from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError
from slingshot.study.comparing import scored_arms
from slingshot.study.steps import step_spec
from tests.unit.config.test_study import STUDY


def study_with(**designs):
    return parse_study(copy.deepcopy(STUDY) | {"designs": designs})


def added(study):
    return [arm.path for arm in arms_of(study) if arm.design]


@pytest.mark.parametrize(
    ("designs", "paths"),
    [
        ({}, []),
        ({"crossed": ["large", "small"]}, ["llm/large/finetuned", "slm/small/untrained"]),
        (
            {"learning_curve": {"models": ["small"], "train_sizes": [100, 300]}},
            ["slm/small/train100", "slm/small/train300"],
        ),
        ({"seeds": {"models": ["small"], "seeds": [42, 1]}}, ["slm/small/seed1"]),  # 42 is the study's own
        ({"few_shot": {"models": ["large"], "k": [0, 1, 5]}}, ["llm/large/shots1", "llm/large/shots5"]),  # 0 is its own
        (
            {"sweep": {"models": ["small"], "grid": {"lora.r": [4, 8], "epochs": [1]}}},
            ["slm/small/sweep-r-4_epochs-1", "slm/small/sweep-r-8_epochs-1", "slm/small/best"],
        ),
    ],
)
def test_each_design_adds_its_arms_and_leaves_the_plain_ones(designs, paths):
    study = study_with(**designs)
    assert added(study) == paths
    assert [arm.path for arm in arms_of(study) if not arm.design] == ["llm/large", "slm/small", "baseline/tfidf"]


def test_a_design_changes_no_plain_arms_spec(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/icd10cm.yaml").write_text("system: Code.\nuser: '{{ text }}'\n")
    plain, designed = parse_study(copy.deepcopy(STUDY)), study_with(seeds={"models": ["small"], "seeds": [1]})
    for step in ("finetune", "predict", "score"):
        assert step_spec(plain, tmp_path, step, "slm/small") == step_spec(designed, tmp_path, step, "slm/small")
    assert step_spec(designed, tmp_path, "finetune", "slm/small/seed1").seed == 1


def test_a_candidates_recipe_is_the_models_with_its_setting(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/icd10cm.yaml").write_text("system: Code.\nuser: '{{ text }}'\n")
    study = study_with(sweep={"models": ["small"], "grid": {"lora.r": [4]}})
    recipe = step_spec(study, tmp_path, "finetune", "slm/small/sweep-r-4").finetune
    assert (recipe.lora.r, recipe.lora.alpha, recipe.learning_rate) == (4, 16, 1e-3)


def test_a_setting_that_is_the_recipe_itself_is_not_trained_again():
    own = parse_study(copy.deepcopy(STUDY)).models["small"].finetune.lora.r
    study = study_with(sweep={"models": ["small"], "grid": {"lora.r": [own, own + 1]}})
    assert added(study) == [f"slm/small/sweep-r-{own + 1}", "slm/small/best"]
    assert arms_of(study)[-1].best_of == ["slm/small", f"slm/small/sweep-r-{own + 1}"]


def test_examples_are_put_before_an_untrained_model():
    study = study_with(few_shot={"models": ["small", "large"], "k": [5]})
    assert {arm.path: arm.finetuned for arm in arms_of(study) if arm.design} == {
        "slm/small/shots5": False,
        "llm/large/shots5": False,
    }


def test_each_example_of_a_ladder_adds_room_to_the_prompt(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/icd10cm.yaml").write_text("system: Code.\nuser: '{{ text }}'\n")
    study = study_with(few_shot={"models": ["large"], "k": [5]})
    plain, five = (step_spec(study, tmp_path, "predict", arm) for arm in ("llm/large", "llm/large/shots5"))
    assert (plain.prompt.max_tokens, five.prompt.max_tokens) == (2048, 6 * 2048)
    assert (plain.few_shot.k, five.few_shot.k) == (0, 5)


def test_candidates_are_never_read_on_test():
    study = study_with(sweep={"models": ["small"], "grid": {"lora.r": [4, 8]}})
    assert [arm.path for arm in scored_arms(study) if arm.design] == ["slm/small/best"]


@pytest.mark.parametrize(
    ("designs", "message"),
    [
        ({"crossed": ["nobody"]}, "designs.crossed names nobody, but the models are large, small"),
        ({"seeds": {"models": ["large"], "seeds": [1]}}, "name it in designs.crossed too"),
        ({"learning_curve": {"models": ["small"], "train_sizes": [0]}}, "must be at least 1, not 0"),
        (
            {"sweep": {"models": ["small"], "grid": {"lora.rank": [4]}}},
            r"designs\.sweep\.grid: finetune\.lora\.rank is not a key",
        ),
        (
            {"sweep": {"models": ["small"], "grid": {"lorra.r": [4, 8]}}},
            r"designs\.sweep\.grid: finetune\.lorra is not a key",
        ),
        ({"sweep": {"models": ["small"], "grid": {"learning_rate.x": [4]}}}, r"finetune\.learning_rate"),
        ({"sweep": {"models": ["small"], "grid": {"lora.r": []}}}, r"grid"),
        ({"sweep": {"models": ["small"], "grid": {"lora.r": [4, 4]}}}, "names 4 more than once"),
        ({"seeds": {"models": ["small"], "seeds": [1, 1]}}, "names 1 more than once"),
        ({"sweep": {"models": ["small"], "grid": {"lora.r": [0]}}}, r"designs\.sweep\.grid: finetune\.lora\.r"),
    ],
)
def test_an_impossible_design_is_refused_by_name(designs, message):
    with pytest.raises(StudyError, match=message):
        study_with(**designs)


def test_a_design_in_a_study_without_models_says_so():
    designs = {"seeds": {"models": ["small"], "seeds": [1]}}
    with pytest.raises(StudyError, match=r"designs\.seeds names small, but llm and slm have no models"):
        parse_study(copy.deepcopy(STUDY) | {"llm": {}, "slm": {}, "designs": designs})


def test_keys_in_the_results_tell_the_variants_apart():
    study = study_with(crossed=["small"], seeds={"models": ["small"], "seeds": [1]})
    keys = [result_key(study, arm) for arm in arms_of(study) if arm.kind == "slm"]
    assert keys == ["SLM_small-3B_finetuned", "SLM_small-3B_untrained", "SLM_small-3B_finetuned_seed1"]


@pytest.fixture
def candidates(tmp_path):
    """Two candidates: the first has the lower loss, the second the more exact matches."""
    for name, loss, exact, seconds in (("a", 0.5, 0.60, 10.0), ("b", 0.7, 0.80, 30.0)):
        folder = tmp_path / name
        folder.mkdir()
        summary = {"best_validation_loss": loss, "best_validation_exact_match": exact, "steps": 3}
        (folder / "training.json").write_text(json.dumps(summary))
        StepRecord(
            step="finetune", arm=name, spec={}, versions={}, device="cpu", seconds={"train": seconds}, trained_tokens=5
        ).write(folder / "finetune.json")
        ProcessRecord(
            step="finetune", arm=name, exit_code=0, seconds=seconds + 1, peak_resident=7, energy_wh=seconds
        ).write(folder / "finetune.process.json")
    return {name: ArmFiles(tmp_path / name) for name in ("a", "b")}


def test_the_best_candidate_follows_the_score_that_the_config_names(candidates):
    assert best_candidate(candidates, "validation_loss") == "a"
    assert best_candidate(candidates, "validation_exact_match") == "b"


def test_a_sweep_costs_what_all_its_candidates_cost(candidates):
    record, process = add_up_cost(candidates, "a", "slm/small/best")
    assert (record.seconds, record.trained_tokens, record.arm) == ({"train": 40.0}, 10, "slm/small/best")
    assert (process.seconds, process.energy_wh) == (42.0, 40.0)
    assert summarize_all(candidates, "a", "validation_loss")["candidates"]["b"] == {"validation_loss": 0.7}


def test_a_candidate_without_the_score_is_named(candidates):
    candidates["b"].training.write_text("{}")
    with pytest.raises(StudyError, match=r"b/training\.json has no best_validation_loss"):
        best_candidate(candidates, "validation_loss")


def test_the_chosen_adapter_keeps_what_weights_it_was_trained_on(candidates, tmp_path):
    """Else an export would merge one that was trained on 4-bit weights into unquantized ones, and not say so."""
    for files in candidates.values():
        files.adapter.mkdir()
        files.training_log.write_text("")
        for path in (files.adapter_weights, files.adapter_settings, files.adapter_base):
            path.write_text(f"{path.name} of {files.folder.name}")
    choose(ChooseSpec(candidates=["a", "b"], select_by="validation_loss"), ResultFiles(tmp_path), "slm/small/best")
    adapter = ResultFiles(tmp_path).arm("slm/small/best").adapter
    assert {path.name: path.read_text() for path in adapter.iterdir()} == {
        path.name: f"{path.name} of a" for path in candidates["a"].adapter.iterdir()
    }


def test_a_ladder_of_examples_has_every_rung_of_a_model_that_is_not_there_untrained():
    """The large model answers with its own few_shot.k, 0, as it is; the small one only where it is crossed."""
    ladder = {"models": ["large", "small"], "k": [0, 5]}

    def rungs(**designs):
        study = study_with(few_shot=ladder, **designs)
        return [arm.path for arm in arms_of(study) if arm.design == "few_shot"]

    assert rungs() == ["llm/large/shots5", "slm/small/shots0", "slm/small/shots5"]
    assert rungs(crossed=["small"]) == ["llm/large/shots5", "slm/small/shots5"]


def test_a_section_in_a_sweep_is_laid_over_the_models_own(tmp_path):
    study = study_with(sweep={"models": ["small"], "grid": {"lora": [{"r": 4}, {"r": 8}]}})
    [arm] = [arm for arm in arms_of(study) if arm.candidate]  # r 8 is the model's own
    assert overridden(study.slm["small"].finetune, arm.setting).lora.alpha == 16  # as the study says, not 128


@pytest.mark.parametrize(("curve", "held"), [("small", True), ("other", False)])
def test_what_a_learning_curve_holds_is_of_its_models_alone(tmp_path, curve, held):
    raw = copy.deepcopy(STUDY)
    raw["slm"]["other"] = raw["slm"]["small"]
    raw["designs"] = {
        "learning_curve": {"models": [curve], "train_sizes": [9], "hold": "steps"},
        "heads": {"models": ["small"], "train_sizes": [9]},
    }
    for variant in ("train9", "classify_train9"):
        assert step_spec(parse_study(raw), tmp_path, "finetune", f"slm/small/{variant}").hold_steps == held


def test_a_finetuned_arm_answers_without_the_thoughts_of_the_untrained_one(tmp_path):
    raw = copy.deepcopy(STUDY) | {"designs": {"crossed": ["small"]}, "generation": {"thinking": True}}
    specs = [step_spec(parse_study(raw), tmp_path, "predict", f"slm/small{at}") for at in ("", "/untrained")]
    assert [spec.generation.thinking for spec in specs] == [False, True]
