"""What it costs that a study is a DAG of processes: planning, and a process of its own for each step.

    python benchmarks/workflow.py            # planning for 4, 40 and 400 models; steps of the demo's size
    python benchmarks/workflow.py --models 4 40

Planning: seconds and peak memory of `snakemake -n` on a study of N models that was never run, beside an
in-process loop that resolves every step's spec of the same study without Snakemake.
Processes: seconds from the start of a process to a loaded model, beside loading the same model again in a process that
has done it before; on a random Llama of 135 million parameters, from safetensors, as the demo's.

Seconds are processor seconds, so that what else runs on the machine counts little; the least of three runs.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HOUSE = Path(__file__).parent.parent
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.runtime import cli  # noqa: E402

RUNS = 3
LOOP = """
import sys, yaml
sys.path.insert(0, {scripts!r})
from pathlib import Path
from slingshot.config.arms import arms_of
from slingshot.config.study import load_study
from slingshot.study.steps import step_spec
study = load_study("config.yaml")
written = yaml.safe_load(Path("config.yaml").read_text())
wanted = [("prepare_data", ""), ("baseline", ""), ("compare", ""), ("report", "")]
wanted += [("fetch_model", model) for model in study.models]
for arm in arms_of(study):
    steps = ["score"]
    if arm.kind != "baseline":
        steps += ["predict", "finetune"] if arm.finetuned else ["predict"]
    wanted += [(step, arm.path) for step in steps]
print(sum(len(step_spec(study, Path(), step, target, written).model_dump_json()) for step, target in wanted))
"""
LOAD = """
import sys, time
sys.path.insert(0, {scripts!r})
from slingshot.models.loading import load_model, load_tokenizer
from slingshot.artifacts.model_card import read_model_card
seconds = []
for _ in range(3):
    start = time.process_time()
    card = read_model_card({card!r})
    load_tokenizer(card)
    load_model(card, "none", "float32", "cpu")
    seconds.append(time.process_time() - start)
print(min(seconds[1:]), sum(seconds[1:]))
"""


def main() -> None:
    arguments = cli.make_parser(__doc__)
    arguments.add_argument("--models", type=int, nargs="+", default=[4, 40, 400])
    given = arguments.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print("models  jobs  snakemake -n: s, MB   loop: s, MB   longest command: KB")
    for models in given.models:
        print(planning(models), flush=True)
    print(processes())


def planning(models: int) -> str:
    """One line: what a dry run costs, and what resolving the same specs costs without Snakemake."""
    with tempfile.TemporaryDirectory() as folder:
        write_study(Path(folder), models)
        scripts = str(HOUSE / "scripts")
        snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(HOUSE / "Snakefile"), "-n", "-p"]
        plan = min((measured(snakemake, folder) for _ in range(RUNS)), key=lambda run: run[0])
        loop = min(
            (measured([sys.executable, "-c", LOOP.format(scripts=scripts)], folder) for _ in range(RUNS)),
            key=lambda run: run[0],
        )
    jobs = next(int(line.split()[1]) for line in plan[2].splitlines() if line.startswith("total "))
    longest = max(len(line) for line in plan[2].splitlines() if "--spec " in line) / 1024
    return f"{models:6d}{jobs:6d}{plan[0]:14.1f}, {plan[1]:4.0f}{loop[0]:12.1f}, {loop[1]:3.0f}{longest:18.0f}"


def processes() -> str:
    """What a process of its own adds to a step: interpreter and imports, which a loop pays once."""
    with tempfile.TemporaryDirectory() as folder:
        card = write_model(Path(folder))
        code = LOAD.format(scripts=str(HOUSE / "scripts"), card=str(card))
        runs = [measured([sys.executable, "-c", code], folder) for _ in range(RUNS)]
    again = min(float(output.split()[-2]) for _, _, output in runs)
    first = min(seconds - float(output.split()[-1]) for seconds, _, output in runs)
    launch = [sys.executable, str(HOUSE / "scripts" / "launch.py"), "--gpus", "0", "--step", "s", "--arm", "a"]
    with tempfile.TemporaryDirectory() as folder:
        command = [*launch, "--record", f"{folder}/record.json", "--", "true"]
        launcher = min(measured(command, folder)[0] for _ in range(RUNS))
    return (
        f"process start to model loaded {first:.1f} s; loading it again in the same process {again:.1f} s; "
        f"a process of its own costs {first - again:.1f} s per step, and its launcher {launcher:.1f} s"
    )


def measured(command: list[str], folder: str) -> tuple[float, float, str]:
    """Processor seconds, peak resident megabytes, and what the command printed."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        text = output.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(text[-3000:])
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text


def write_study(folder: Path, models: int) -> None:
    """A study of N models, half of them large; nothing of it is ever loaded."""
    config = yaml.safe_load((HOUSE / "config.yaml").read_text(encoding="utf-8"))
    half = models // 2
    config["llm"] = {
        f"large{n}": {"source": {"hub": f"owner/large-{n}"}, "name": f"Large-{n}", "size": "8B"} for n in range(half)
    }
    config["slm"] = {
        f"small{n}": {"source": {"hub": f"owner/small-{n}"}, "name": f"Small-{n}", "size": "3B"}
        for n in range(models - half)
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "prompts").mkdir()
    prompt = HOUSE / "prompts" / "icd10cm.yaml"
    (folder / "prompts" / "icd10cm.yaml").write_text(prompt.read_text(encoding="utf-8"), encoding="utf-8")


def write_model(folder: Path) -> Path:
    """A random model of the demo's shape (SmolLM2-135M), and its card."""
    sys.path.insert(0, str(HOUSE))
    from tests.tiny import byte_tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM

    from slingshot.config.models import FolderModel
    from slingshot.config.specs import FetchModelSpec
    from slingshot.models.fetching import fetch

    shape = AutoConfig.for_model(
        "llama",
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(shape).save_pretrained(folder / "model")
    byte_tokenizer().save_pretrained(folder / "model")
    spec = FetchModelSpec(source=FolderModel(folder="model"), source_digest=None, layers=None)
    card = folder / "card.json"
    fetch(spec, folder, card).write(card)
    return card


if __name__ == "__main__":
    cli.run(main)
