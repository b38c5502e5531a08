"""What a plan sends to endpoints: how many texts and tokens go where, and what they will cost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from slingshot.artifacts.layout import ResultFiles
from slingshot.config.arms import Arm, arms_of
from slingshot.config.endpoints import ApiModel, is_loopback
from slingshot.config.models import Model
from slingshot.config.study import Study
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.endpoints.schema import lists_labels
from slingshot.prompting.answering_job import longest_answer
from slingshot.study.estimate import Job, Volume, volume_of

ASKING_RULES = {"ask": "test", "ask_validation": "validation", "ask_test_set": ""}  # rule to the split that it answers

MILLION = 1_000_000


def describe_sending(study: Study, jobs: Sequence[Job], results: Path) -> str:
    """A sentence for each job that asks an endpoint; empty where none does.

    Prompts are counted as for the plan's other steps, answers at their longest.
    """
    asking = [job for job in jobs if job.rule in ASKING_RULES]
    if not asking:
        return ""
    arms = {arm.path: arm for arm in arms_of(study)}
    volume = volume_of(study, results)
    lines = ["Texts that are sent to endpoints:"]
    lines += [_sentence(study, job, arms[job.arm], volume, results) for job in asking]
    basis = f"Samples: {volume.source}." if volume else "How many texts there are is known after `snakemake data`."
    sources = [study.models[arms[job.arm].model].source for job in asking]
    named = dict.fromkeys(source.key_env for source in sources if isinstance(source, ApiModel) and source.key_env)
    empty = [f"The environment variable {name} is empty here: export it first." for name in named if not is_set(name)]
    return "\n".join([*lines, basis, "Answers that are kept from earlier are not asked for again.", *empty])


def is_set(variable: str) -> bool:
    """Whether an environment variable holds a key, which is not looked at."""
    return bool(os.environ.get(variable, "").strip())


def _sentence(study: Study, job: Job, arm: Arm, volume: Volume | None, results: Path) -> str:
    model = study.models[arm.model]
    source = model.source
    assert isinstance(source, ApiModel)
    place = "this machine" if is_loopback(source.host) else "another machine"
    where = f"to {source.api} ({source.model}; {place})"
    split = job.test_set or f"the {ASKING_RULES[job.rule]} split"
    samples = _samples(job, volume, results)
    if volume is None or samples is None:
        return f"  {arm.path}: {split} {where}"
    shots = model.few_shot.k if arm.shots is None else arm.shots
    requests = samples * (2 if lists_labels(model.generation) else 1)
    prompt = round(requests * (1 + shots) * volume.tokens_of(arm.model))
    answers = requests * longest_answer(model.generation)
    texts = f"{samples:,} texts of {split} in {requests:,} requests" + (
        f", each with {shots} of train" if shots else ""
    )
    return f"  {arm.path}: {texts}, about {prompt:,} tokens, {where}; {_money(study, model, prompt, answers)}"


def _samples(job: Job, volume: Volume | None, results: Path) -> int | None:
    if job.test_set:
        try:
            return int(read_json(ResultFiles(results).data.dataset)["test_sets"][job.test_set]["samples"])
        except (StudyError, OSError, ValueError, KeyError, TypeError):
            return None
    if volume is None:
        return None
    return volume.validation if ASKING_RULES[job.rule] == "validation" else volume.test


def _money(study: Study, model: Model, prompt: int, answers: int) -> str:
    if model.prices is None:
        return "no prices are set, so the cost is not known"
    sent, received = prompt * model.prices.input / MILLION, answers * model.prices.output / MILLION
    return (
        f"about {sent:,.2f} {study.cost.currency} for these and up to {received:,.2f} for {answers:,} tokens of answers"
    )
