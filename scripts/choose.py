"""Choose the candidate of a sweep that does best on validation, and make its adapter the arm's own.

The arm's record counts what all candidates cost: a sweep is paid for as a whole. The test split is not read.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from slingshot.analysis.sweep import best_candidate, cost_of_all, summary_of_all
from slingshot.config.specs import ChooseSpec, parse_spec
from slingshot.core.files import replacing, write_json
from slingshot.runtime import cli


def main() -> None:
    parser = cli.parser(__doc__)
    cli.add_spec(parser, "ChooseSpec")
    parser.add_argument("--arm", required=True, help="e.g. slm/qwen3b/best")
    parser.add_argument("--results", type=Path, required=True, help="results/, where the candidates' folders are")
    given = parser.parse_args()
    spec = parse_spec(ChooseSpec, given.spec)
    folders = {candidate: given.results / candidate for candidate in spec.candidates}
    best = best_candidate(folders, spec.select_by)
    target = given.results / given.arm
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json", "training_log.jsonl"):
        with replacing(target / name) as copy:
            shutil.copyfile(folders[best] / name, copy)
    write_json(target / "training.json", summary_of_all(folders, best, spec.select_by))
    record, process = cost_of_all(folders, best, given.arm)
    record.write(target / "finetune.json")
    process.write(target / "finetune.process.json")


if __name__ == "__main__":
    cli.run(main)
