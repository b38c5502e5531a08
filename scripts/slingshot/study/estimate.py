"""What the model steps of a plan will cost, before any of it runs: jobs and GPU hours by design, from measured rates.

Time goes by tokens: the samples a step sees, times a dialogue's tokens, over a measured rate. First come the rates of
this study's own finished steps, then MEASURED; a rate of another model is scaled by parameters. The text names each
rate's source; a step without any rate shows a question mark for its hours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from slingshot.analysis.families import declare_pairs
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.records import WORK_PHASES, StepRecord, read_process_record, read_step_record
from slingshot.artifacts.splits import SPLITS
from slingshot.config.arms import Arm, arms_of, longest_prompt
from slingshot.config.base import Quantization
from slingshot.config.data import HubData
from slingshot.config.models import Model, parameters_of
from slingshot.config.recipe import FewShot, Finetune, overridden
from slingshot.config.study import Study
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.data.power import UNKNOWN_POWER, power_in_words
from slingshot.prompting.template import Shown, default_prompt, fill_template, read_prompt

Step = Literal["finetune", "predict"]

Unit = Literal["GPU", "CPU"]

STEP_OF_RULE: dict[str, Step] = {
    "finetune": "finetune",
    "predict": "predict",
    "predict_shard": "predict",
    "predict_validation": "predict",
    "predict_test_set": "predict",
}

DESIGNS = ("study", "crossed", "learning_curve", "seeds", "few_shot", "sweep", "heads", "prompts")

TOKENS_PER_WORD = 1.35  # English text, byte-pair tokenizers; used only until a step of the study has counted tokens


@dataclass(frozen=True)
class Rate:
    """How fast a step went. `setup` is what its process takes besides, in seconds."""

    step: Step
    model: str
    parameters: float
    quantization: Quantization
    unit: Unit
    tokens_per_second: float
    setup: float
    source: str


def with_evaluations(tokens_per_second: float, evaluation: float) -> float:
    """A training rate with an evaluation of N seconds every 50 steps of 32 samples of 1,170 tokens."""
    tokens = 50 * 32 * 1170
    return tokens / (tokens / tokens_per_second + evaluation)


# Rates to go by until the study has its own; the sources say where the runs are described.
ANSWERED = "Llama-3.1-8B's shape without candidates, on an H200 (docs/answering.md)"

REHEARSED = "true shapes, on an H200 (benchmarks/rehearsal/README.md)"

TRAINED = "Llama-3.2-3B's shape, on an H200 (benchmarks/README.md)"

MEASURED = (
    # 1,537 prompts of 1,169 tokens with 16 answered in 46.9 s of prefill and decoding; in fp8 512 in 9.6 s.
    Rate("predict", "Llama-3.1-8B", 8e9, "none", "GPU", 1537 * 1185 / 46.9, 20.7, ANSWERED),
    Rate("predict", "Llama-3.1-8B", 8e9, "fp8", "GPU", 512 * 1185 / 9.6, 20.7, ANSWERED),
    Rate("predict", "Llama-3.1-8B", 8e9, "nf4", "GPU", 33_300, 24.6, REHEARSED),
    Rate("predict", "Llama-3.2-3B", 3e9, "none", "GPU", 67_300, 17.5, REHEARSED),
    Rate("finetune", "Llama-3.2-3B", 3e9, "none", "GPU", with_evaluations(37_389, 3.4), 44.8, TRAINED),
    Rate("finetune", "Llama-3.2-3B", 3e9, "nf4", "GPU", with_evaluations(36_432, 3.5), 44.8, TRAINED),
)


@dataclass(frozen=True)
class Volume:
    """How much there is to train on and to answer, and how that is known."""

    train: int
    validation: int
    test: int
    tokens: float  # of a prompt on average, for a model that has no count of its own
    source: str
    by_model: dict[str, float] = field(default_factory=dict)  # counted, or with the model's own instruction
    test_if_alike: int | None = None  # effective number of test samples if the members of each group are alike

    def tokens_of(self, model: str) -> float:
        """Tokens of a model's prompt on average, its instruction included."""
        return self.by_model.get(model, self.tokens)


@dataclass(frozen=True)
class Job:
    rule: str
    arm: str
    test_set: str | None = None


def table(study: Study, jobs: Sequence[Job], results: Path) -> str:
    """The plan's model jobs and hours, one line per design; empty where nothing is to be trained or answered.

    Args:
        jobs: the jobs that are to run; those of no model step are left out
    """
    rivals = list(dict.fromkeys(job.arm for job in jobs if job.rule == "fit"))
    jobs = [job for job in jobs if job.rule in STEP_OF_RULE]
    if not jobs:
        return without_models(study, rivals, results)
    arms = {arm.path: arm for arm in arms_of(study)}
    volume = volume_of(study, results)
    known = own_rates(study, results)
    rates = {
        job: nearest_rate(known, job, arms[job.arm].model, study)
        or nearest_rate(MEASURED, job, arms[job.arm].model, study)
        for job in dict.fromkeys(jobs)
    }
    seconds = [seconds_of(study, job, arms[job.arm], rates[job], volume) for job in jobs]
    unit = "CPU" if all(unit_of(study.models[arms[job.arm].model]) == "CPU" for job in jobs) else "GPU"
    groups: dict[str, list[int]] = {design: [] for design in DESIGNS} | {"total": list(range(len(jobs)))}
    for index, job in enumerate(jobs):
        groups[arms[job.arm].design or "study"].append(index)
    lines = [f"{'Model steps to run':20}{'finetune':>9}{'predict':>9}{f'{unit} hours':>11}"]
    for design, members in groups.items():
        if members:
            steps = [STEP_OF_RULE[jobs[index].rule] for index in members]
            hours = in_hours([seconds[index] for index in members])
            lines.append(f"{design:20}{steps.count('finetune'):>9}{steps.count('predict'):>9}{hours:>11}")
    lines.append(
        f"Samples: {volume.source}." if volume else "How many samples there are is known after `snakemake data`."
    )
    if volume:
        lines.append(power(study, volume))
    lines += basis(study, rates, arms)
    return "\n".join([*lines, "Early stopping and remembered answers can make it less."])


def without_models(study: Study, rivals: Sequence[str], results: Path) -> str:
    """The text for a plan that runs no model step: it names the rivals to fit; empty where there are none."""
    if not rivals:
        return ""
    lines = [
        f"No language model is to run. The time of {', '.join(rivals)} is not estimated: it grows with the samples and "
        "their words, and README.md says how long its 1,201 dialogues took."
    ]
    if volume := volume_of(study, results):
        lines += [f"Samples: {in_splits([volume.train, volume.validation, volume.test])}.", power(study, volume)]
    else:
        lines.append("How many samples there are is known after `snakemake data`.")
    return "\n".join(lines)


def power(study: Study, volume: Volume) -> str:
    """What the test split can show, from an assumption of the config alone."""
    if study.data.several is not None:
        return f"Two arms: {UNKNOWN_POWER}."
    declared, asked = declare_pairs([arm for arm in arms_of(study) if not arm.candidate]), study.statistics
    pairs = sum(pair.family == "primary" for pair in declared)
    level = (1 - asked.confidence) / max(1, pairs)
    words = power_in_words(volume.test, asked.assumed_discordance, level, volume.test_if_alike)
    return f"{words} (statistics.assumed_discordance), for {f'{pairs} pairs' if pairs > 1 else 'a pair'} of arms."


def basis(study: Study, rates: dict[Job, Rate | None], arms: dict[str, Arm]) -> list[str]:
    """What the hours rest on: a sentence per step and source, with the models that go by it."""
    models: dict[tuple[Step, str | None], dict[str, None]] = {}
    for job, rate in rates.items():
        name = arms[job.arm].model
        scale = scale_of(study.models[name], rate) if rate else 1.0
        shown = name if f"{scale:.2f}" == "1.00" else f"{name} (times {scale:.2f} for size)"
        models.setdefault((STEP_OF_RULE[job.rule], rate.source if rate else None), {})[shown] = None
    return [
        f"{step} of {', '.join(names)}: "
        + (
            f"rate of {source}."
            if source
            else "no rate of such a model with this quantization was measured; the first that ends in one go gives one."
        )
        for (step, source), names in models.items()
    ]


def in_hours(seconds: Sequence[float | None]) -> str:
    """Hours with two digits after the point; with what is not known, a lower bound or a question mark."""
    known = [each for each in seconds if each is not None]
    if not known:
        return "?"
    return f"{'> ' if len(known) < len(seconds) else ''}{sum(known) / 3600:.2f}"


def unit_of(model: Model) -> Unit:
    return "GPU" if model.hardware.device == "cuda" else "CPU"


def seconds_of(study: Study, job: Job, arm: Arm, rate: Rate | None, volume: Volume | None) -> float | None:
    """Seconds of a job; None where its rate or the volume is not known."""
    if rate is None or volume is None:
        return None
    shards = study.answering.shards if job.rule == "predict_shard" else 1
    work = tokens_of(study, arm, job.rule, volume) / rate.tokens_per_second / shards
    return work * scale_of(study.models[arm.model], rate) + rate.setup


def scale_of(model: Model, rate: Rate) -> float:
    """How much longer the model takes than the one that was measured: by parameters."""
    return parameters(model.size) / rate.parameters


def nearest_rate(rates: Sequence[Rate], job: Job, name: str, study: Study) -> Rate | None:
    """The model's own rate, else the one whose model is nearest in size, of the same quantization and device."""
    model = study.models[name]
    wanted = (STEP_OF_RULE[job.rule], model.quantization, unit_of(model))
    usable = [rate for rate in rates if (rate.step, rate.quantization, rate.unit) == wanted]
    own = [rate for rate in usable if rate.model == name]
    if own:
        return own[0]
    return min(usable, key=lambda rate: abs(math.log(rate.parameters / parameters(model.size))), default=None)


def tokens_of(study: Study, arm: Arm, rule: str, volume: Volume) -> float:
    """Tokens that a step goes through: of prompts where it answers, of all its batches where it trains."""
    model = study.models[arm.model]
    if STEP_OF_RULE[rule] == "predict":
        few_shot = model.few_shot if arm.shots is None else FewShot(k=arm.shots)
        samples = volume.validation if rule == "predict_validation" else volume.test
        return samples * min((1 + few_shot.k) * volume.tokens_of(arm.model), longest_prompt(model, arm))
    recipe = overridden(model.finetune, arm.setting)
    curve = study.designs.learning_curve
    held = arm.train_size is not None and curve is not None and curve.hold == "steps"
    size = volume.train if arm.train_size is None or held else min(arm.train_size, volume.train)
    return trained_samples(size, recipe) * min(volume.tokens_of(arm.model), recipe.max_tokens)


def trained_samples(size: int, recipe: Finetune) -> float:
    """Samples over all optimizer steps, each as often as it is seen."""
    most = recipe.max_steps * recipe.batch_size if recipe.max_steps else math.inf
    return min(recipe.epochs * size, most)


def parameters(size: str | None) -> float:
    """`8B` as 8e9.

    Raises:
        ValueError: the size is not known, as of a model behind an endpoint, which runs no model step here.
    """
    value = parameters_of(size)
    if value is None:
        raise ValueError("a model of unknown size has no rate")
    return value


def own_rates(study: Study, results: Path) -> list[Rate]:
    """The rates of the study's finished steps, plain arms first. A resumed finetune has none: its seconds are a part's.

    A finetune's includes its evaluations.
    """
    found = []
    for arm in (arm for arm in arms_of(study) if arm.generates and not arm.best_of and not arm.asked):
        files = ResultFiles(results).arm(arm.path)
        for step in ("finetune", "predict"):
            try:
                record = read_step_record(files.record(step))
                process = read_process_record(files.process(step))
            except (StudyError, OSError, ValueError):
                continue
            if earlier := record.earlier:  # of an answer that was half in the cache there is no rate
                record, process = earlier.step, earlier.process
            work = sum(record.seconds.get(phase, 0.0) for phase in WORK_PHASES[step])
            tokens = worked_tokens(record)
            if not work or not tokens or record.earlier_seconds:
                continue
            found.append(
                Rate(
                    step=step,
                    model=arm.model,
                    parameters=parameters(study.models[arm.model].size),
                    quantization=study.models[arm.model].quantization,
                    unit="GPU" if process.device else "CPU",
                    tokens_per_second=tokens / work,
                    setup=max(process.seconds - work, 0.0),
                    source=f"{arm.path} in this study, on {process.device or record.device}",
                )
            )
    return found


def worked_tokens(record: StepRecord) -> int | None:
    """Tokens that the record's seconds went into; None where a part came from the cache and it does not say which."""
    if record.step == "finetune":
        return record.trained_tokens
    if record.fresh_tokens is not None:
        return record.fresh_tokens
    return None if record.cached_samples else record.prompt_tokens + record.new_tokens


def volume_of(study: Study, results: Path) -> Volume | None:
    """Samples and tokens, from the prepared data; before there are any, of MedSynth alone. None: not known."""
    try:
        dataset = read_json(ResultFiles(results).data.dataset)
        splits = dataset["splits"]
        samples = [splits[name]["samples"] for name in SPLITS]
        words = splits["train"]["words"]["mean"]
    except (StudyError, OSError, ValueError, KeyError, TypeError):
        return medsynth_volume(study)
    samples, stale = samples_now(study, dataset, samples)
    labels = list(splits["train"].get("label_counts", {}))
    counted = counted_tokens(study, results)
    by_model = {
        name: tokens_like(study, name, counted)
        or TOKENS_PER_WORD * (words + instruction_words(study, results.parent, name, labels))
        for name in study.models
    }
    lengths = sorted({round(tokens) for tokens in by_model.values()}) or [round(TOKENS_PER_WORD * words)]
    size = f"{lengths[0]:,}" if len(lengths) == 1 else f"{lengths[0]:,} to {lengths[-1]:,}"
    known = "as counted by a finished step" if counted else f"{TOKENS_PER_WORD} tokens per word assumed"
    train, validation, test = samples
    source = f"{in_splits(samples)}, {size} tokens each with the instruction ({known}){stale}"
    alike = (dataset.get("power") or {}).get("samples_if_groups_alike") if not stale else None
    return Volume(train, validation, test, max(by_model.values(), default=lengths[-1]), source, by_model, alike)


def samples_now(study: Study, dataset: dict[str, Any], samples: list[int]) -> tuple[list[int], str]:
    """Samples per split under the config's max_samples, and what to say where the data were prepared under another."""
    now = study.data.max_samples.model_dump(mode="json")
    before = dataset.get("spec", {}).get("data", {}).get("max_samples", now)
    if before == now:
        return samples, ""
    limited = [have if now[name] is None else min(have, now[name]) for name, have in zip(SPLITS, samples, strict=True)]
    return limited, "; data.max_samples changed since the data were prepared, so `snakemake data` may count more"


def counted_tokens(study: Study, results: Path) -> dict[str, float]:
    """Model to the mean prompt tokens of a sample, by its first finished answers without examples."""
    counted: dict[str, float] = {}
    for arm in (arm for arm in arms_of(study) if arm.generates):
        try:
            record = read_step_record(ResultFiles(results).arm(arm.path).record("predict"))
        except (StudyError, OSError, ValueError):
            continue
        if record.samples and not record.spec.get("few_shot", {}).get("k"):
            counted.setdefault(arm.model, record.prompt_tokens / record.samples)
    return counted


def tokens_like(study: Study, name: str, counted: dict[str, float]) -> float | None:
    """A model's own count, else that of another model with the same prompt."""
    same = (other for other in counted if study.models[other].prompt == study.models[name].prompt)
    return counted.get(name) or next((counted[other] for other in same), None)


def instruction_words(study: Study, folder: Path, name: str, labels: Sequence[str]) -> int:
    """Words of a model's prompt beside the dialogue, the labels that it lists included; 0 where it cannot be read."""
    prompt, system = study.models[name].prompt, study.data.labels
    path = folder / prompt.file if prompt.file else default_prompt(system, folder, study.data.several is not None)
    try:
        read = read_prompt(path, prompt.answer, prompt.max_tokens, system, prompt.candidates)
    except StudyError:
        return 0
    shown = Shown("\n".join(labels), "\n".join(labels[: prompt.candidates]))
    return sum(len(fill_template(text, read, "", shown).split()) for text in (read.system, read.user))


MEDSYNTH = ("Ahmad0067/MedSynth", 10_240, 1_167)  # rows and mean tokens, by the earlier pipeline's configuration


def medsynth_volume(study: Study) -> Volume | None:
    hub, rows, tokens = MEDSYNTH
    source, most = study.data.source, study.data.max_samples
    if not isinstance(source, HubData) or source.hub != hub:
        return None
    samples = []
    for name in SPLITS:
        whole, limit = round(rows * getattr(study.data.split, name)), getattr(most, name)
        samples.append(whole if limit is None else min(whole, limit))
    origin = f"{in_splits(samples)}, {tokens:,} tokens each, as MedSynth is known to have; not prepared yet"
    train, validation, test = samples
    return Volume(train, validation, test, tokens, origin)


def in_splits(samples: Sequence[int]) -> str:
    return ", ".join(f"{count:,} {name}" for count, name in zip(samples, SPLITS, strict=True))


def jobs_of(needed: Iterable[tuple[str, str | None, str | None]]) -> list[Job]:
    """Triples of rule, arm and further test set as jobs; rules without an arm are left out."""
    return [Job(rule, arm, test_set) for rule, arm, test_set in needed if arm is not None]
