"""A methods section in sentences, made of the config as each step recorded it, with the defaults that it filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slingshot.artifacts.comparison import ArmSummary, Comparison, PairComparison
from slingshot.artifacts.records import StepRecord
from slingshot.config.recipe import Finetune
from slingshot.core.environment import slingshot_version
from slingshot.report.formats import count, level, number, sentence_case, spelled_out
from slingshot.report.results import Results

SYSTEMS = {"icd10cm": "ICD-10-CM codes", "plain": "plain labels"}

TARGETS = {"all-linear": "all linear layers", "attention": "the attention's projections"}

KEPT = {
    "validation_loss": "the lowest validation loss",
    "validation_exact_match": "the highest exact match on validation",
    "validation_micro_f1": "the highest micro F1 on validation",
}

COMPARED = {
    "primary": "primary comparison{s} of a finetuned small and a large model",
    "baseline": "comparison{s} of a language model and an arm that is none",
    "secondary": "secondary comparison{s}",
}  # families of pairs

MOST_FILES = 5  # named in the methods

WRITTEN_ABOUT = ("torch", "transformers", "peft", "bitsandbytes", "scikit-learn")


def methods_of(results: Results) -> list[str]:
    """Paragraphs: the data, each arm, how answers were scored and compared, software and hardware.

    What no record says is left out, never guessed.
    """
    arms = [describe_arm(arm, results) for arm in results.comparison.arms]
    return [describe_data(results.dataset), *arms, describe_scoring(results.comparison), describe_run(results)]


def describe_data(dataset: Mapping[str, Any]) -> str:
    """Where the texts come from, what was dropped, and how the splits were dealt."""
    rows, labels = dataset.get("rows") or {}, dataset.get("labels") or {}
    sentences = [f"The texts are those of {describe_source(dataset.get('source') or {})}."]
    dropped = dataset.get("dropped") or {}
    reasons = ", ".join(f"{reason}: {count(entry.get('rows'))}" for reason, entry in dropped.items())
    sentences.append(
        f"Of {count(rows.get('read'))} rows {count(rows.get('dropped'))} were dropped"
        f"{f' ({reasons})' if reasons else ''}. There are {count(labels.get('count'))} "
        f"{SYSTEMS.get(str(labels.get('system')), 'labels')}"
        f"{'' if labels.get('system') == 'plain' else ' at the level ' + str(labels.get('level'))}."
    )
    sizes = [
        f"{count(split.get('samples'))} {name}"
        for name, split in (dataset.get("splits") or {}).items()
        if "samples" in split
    ]
    asked = (dataset.get("spec") or {}).get("data") or {}
    split = asked.get("split") or {}
    dealt = f" by the method {split['method']}, seed {split.get('seed')}" if split.get("method") else ""
    sentences.append(f"They were split into {', '.join(sizes)} samples{dealt}.")
    if (asked.get("columns") or {}).get("group"):
        groups = [f"{count(each.get('groups'))}" for each in (dataset.get("splits") or {}).values()]
        sentences.append(
            f"Samples of one {asked['columns']['group']} stayed in one split ({', '.join(groups)} groups)."
        )
    if (similar := split.get("near_duplicate_similarity")) is not None:
        sentences.append(f"Texts of a Jaccard similarity of at least {similar} over word 5-grams stayed in one split.")
    if asked.get("mask_label_mentions"):
        sentences.append("Mentions of a text's own label were masked.")
    if asked.get("drop_closing_turn"):
        sentences.append("A closing turn that states the label was dropped.")
    return " ".join(sentences)


def describe_source(source: Mapping[str, Any]) -> str:
    """The files by name and digest, a few of them where they are many; else what the config names."""
    files = [f"{name} (SHA-256 {digest[:12]})" for name, digest in (source.get("files") or {}).items()]
    if not files:
        return spelled_out(source)
    more = f" and {count(len(files) - MOST_FILES)} more files" if len(files) > MOST_FILES else ""
    others = {key: value for key, value in source.items() if key not in ("files", "path")}
    return ", ".join(files[:MOST_FILES]) + more + (f" of {spelled_out(others)}" if others else "")


def describe_arm(arm: ArmSummary, results: Results) -> str:
    """One arm: its model and revision, how it was trained and how it answered."""
    steps = {("finetune" if step.step == "finetune" else "predict"): step for step in results.steps.get(arm.arm, [])}
    card = results.cards.get(arm.model) or {}
    size = f", {arm.size} parameters" if arm.size else ""
    revision = f", revision {card['revision'][:12]}" if card.get("revision") else ""
    packed = (card.get("source") or {}).get("gguf")
    weights = f", weights dequantized from {packed.rpartition('/')[2]}" if packed else ""
    sentences = [f"{arm.arm} is {arm.name}{size}{revision}{weights}, {arm.treatment}."]
    if trained := steps.get("finetune"):
        tuned = trained.spec.get("finetune")
        sentences += describe_finetune(trained, results.training.get(arm.arm, {})) if tuned else describe_fit(trained)
    if answered := steps.get("predict"):
        sentences += describe_answering(answered)
    return " ".join(sentences)


def describe_finetune(step: StepRecord, training: Mapping[str, Any]) -> list[str]:
    """The recipe of a finetune, with the rank that `auto` became, as training.json has it."""
    tuned = Finetune.model_validate(step.spec["finetune"])
    lora = tuned.lora
    where = TARGETS.get(str(lora.targets), spelled_out(lora.targets))
    layers = f" of the last {lora.layers} layers" if lora.layers else ""
    experts = " and, without dropout, on the experts" if lora.experts else ""
    passes = f"{number(tuned.epochs)} epochs" if tuned.max_steps is None else f"at most {tuned.max_steps:,} steps"
    sentences = [
        f"It was finetuned with LoRA (rank {training.get('lora_r', lora.r)}, alpha "
        f"{training.get('lora_alpha', lora.alpha)}, dropout {lora.dropout:g}) on {where}{experts}{layers}, "
        f"with AdamW for {passes} in batches of {tuned.batch_size}, at a highest learning rate of "
        f"{tuned.learning_rate:g} ({tuned.schedule} schedule, warm-up {tuned.warmup_share:.0%}), weight decay "
        f"{tuned.weight_decay:g}, gradients clipped at norm {tuned.max_gradient_norm:g}, seed {step.seed}.",
        f"The adapter of {KEPT[tuned.select_by]} was kept, {describe_evaluations(tuned, training)}.",
    ]
    if tuned.fp8:
        sentences.append("While it trained, frozen weights were multiplied in 8 bits (e4m3).")
    if tuned.head == "classify":
        sentences.append("A linear head over the prompt's last token chooses among the labels of train.")
    return sentences


def describe_evaluations(tuned: Finetune, training: Mapping[str, Any]) -> str:
    """How often a finetune was evaluated; a limit that its steps could not reach is not named."""
    steps = training.get("planned_steps")
    if steps is not None and tuned.evaluate_every >= steps:
        return "evaluated at the end"
    patience = tuned.patience and (steps is None or tuned.patience * tuned.evaluate_every < steps)
    stopped = f" and stopped after {tuned.patience} evaluations without gain" if patience else ""
    return f"evaluated every {tuned.evaluate_every} steps{stopped}"


def describe_fit(step: StepRecord) -> list[str]:
    recipe = {key: value for key, value in (step.spec.get("recipe") or {}).items() if value not in (None, {}, [])}
    recipe.pop("rival", None)  # the arm's own kind
    return [f"It was fitted with {spelled_out(recipe) if recipe else 'its default settings'}, seed {step.seed}."]


def describe_answering(step: StepRecord) -> list[str]:
    generation, few_shot = step.spec.get("generation") or {}, step.spec.get("few_shot") or {}
    sentences = []
    weights = step.spec.get("quantization")
    precision = f"{weights} weights" if weights not in (None, "none") else f"{step.dtype} weights" if step.dtype else ""
    if generation and step.spec.get("head") != "classify":
        words = f"It answered greedily in at most {generation.get('max_new_tokens')} tokens"
        words += (
            f", after up to {count(generation['thinking_tokens'])} of thinking" if generation.get("thinking") else ""
        )
        words += (
            f", with {few_shot['k']} examples from train ({few_shot.get('selection')})" if few_shot.get("k") else ""
        )
        sentences.append(f"{words}{f', with {precision}' if precision else ''}.")
    if several := (step.spec.get("prompt") or {}).get("several"):
        order = "sorted" if several["order"] == "code" else "the most frequent in train first"
        sentences.append(f"An answer is a list of labels; right answers that it was shown list them {order}.")
    if generation.get("constrained"):
        sentences.append("A second decoding allowed known labels only.")
    if generation.get("candidates"):
        sentences.append(f"Its {generation['candidates']} likeliest labels were ranked.")
    if step.truncated_samples:
        sentences.append(f"{count(step.truncated_samples)} of its prompts lost the middle of their text to the window.")
    return sentences


def describe_scoring(comparison: Comparison) -> str:
    grouped = any(arm.scores["parsable"].design_effect is not None for arm in comparison.arms)
    sentences = [
        f"{sentence_case(comparison.measure)} on {count(comparison.n_samples)} test samples with "
        f"{level(comparison.confidence)} intervals (Wilson's for shares, jackknife for F1, with Student's quantiles"
        f"{', over whole groups of samples' if grouped else ''})."
    ]
    for family, what in COMPARED.items():
        answer = comparison.verdict.answer
        pairs = [pair for pair in comparison.comparisons if pair.family == family and pair.answer == answer]
        if pairs:
            test = describe_test(comparison, pairs) if len(sentences) == 1 else "the same tests"
            sentences.append(describe_family(pairs, what, test))
    return " ".join(sentences)


def describe_test(comparison: Comparison, pairs: Sequence[PairComparison]) -> str:
    """The test of these pairs, of the estimand."""
    exact = comparison.estimand == "exact_match"
    test = "exact McNemar tests" if exact else "sign flips of samples"
    grouped = any(pair.difference.design_effect is not None for pair in pairs)
    if grouped:
        test += " of whole groups"
    if grouped or not exact:  # elsewhere the interval follows the exact test
        test += ", no p below the level at which its interval ends at 0"
    if any(max(pair.first_runs, pair.second_runs) > 1 for pair in pairs):
        test += " (arms with several seeds by their mean, over samples and seeds)"
    return test


def describe_family(pairs: Sequence[PairComparison], what: str, test: str) -> str:
    """How many pairs of a family were tested, and for how many that was corrected."""
    declared = pairs[0].family_size
    counted = f"{len(pairs)} of {declared}" if len(pairs) < declared else f"{declared}"
    corrected = f" with Bonferroni's correction for {declared} and simultaneous intervals" if declared > 1 else ""
    return (
        f"{counted} {what.format(s='s' if declared > 1 else '')}, declared by the config, "
        f"{'were' if len(pairs) > 1 else 'was'} tested on the same samples by {test}{corrected}."
    )


def describe_run(results: Results) -> str:
    steps = [step for found in results.steps.values() for step in found]
    versions = {name: step.versions[name] for step in steps for name in WRITTEN_ABOUT if name in step.versions}
    devices = sorted({step.device for step in steps if step.device})
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"All steps ran in Slingshot {slingshot_version()}{f' with {software}' if software else ''}"
        f"{f' on {_and(devices)}' if devices else ''}."
    )


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
