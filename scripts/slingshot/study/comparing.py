"""The specs of the steps that see all arms at once: compare, compare_test_sets, report."""

from __future__ import annotations

from typing import Any

from slingshot.config.arms import Arm, answers_validation, arms_of, result_key
from slingshot.config.specs import CompareSpec, CompareTestSetsSpec, ReportSpec
from slingshot.config.study import INHERITED_BY, Study


def scored_arms(study: Study) -> list[Arm]:
    """The arms that are read on the test split: all but the candidates of a sweep or of prompts."""
    return [arm for arm in arms_of(study) if not arm.candidate]


def compare_spec(study: Study) -> CompareSpec:
    arms = scored_arms(study)
    return CompareSpec(
        arms=arms,
        result_keys={arm.path: result_key(study, arm) for arm in arms},
        ensemble_weights=study.answering.ensemble_weights,
        validated=[arm.path for arm in arms if answers_validation(study, arm)],
        statistics=study.statistics,
        cost=study.cost,
        token_prices={arm.path: prices for arm in arms if arm.asked and (prices := study.models[arm.model].prices)},
    )


def compare_test_sets_spec(study: Study) -> CompareTestSetsSpec:
    names = list(study.data.test_sets)
    arms = scored_arms(study)
    return CompareTestSetsSpec(
        test_sets=names,
        arms={
            name: [arm.path for arm in arms if arm.steps or name in study.predictions[arm.model].test_sets]
            for name in names
        },
        statistics=study.statistics,
    )


def report_spec(study: Study, written_config: Any) -> ReportSpec:
    return ReportSpec(
        report=study.report,
        statistics=study.statistics,
        cost=study.cost,
        arms=scored_arms(study),
        config=_without_hardware(written_config or study.model_dump(mode="json")),
    )


def _without_hardware(config: Any) -> Any:
    """The config without what only says where steps run, which changes no result and so no report.

    That is the sections `hardware` and `answering`, and each model's `hardware`; a model may have such a name.
    """
    if not isinstance(config, dict):
        return config
    sections = {key: value for key, value in config.items() if key not in ("hardware", "answering")}
    for kind in INHERITED_BY:
        if isinstance(sections.get(kind), dict):
            sections[kind] = {
                name: {key: value for key, value in model.items() if key != "hardware"}
                if isinstance(model, dict)
                else model
                for name, model in sections[kind].items()
            }
    return sections
