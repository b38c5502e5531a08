"""Write a finished arm as a folder that any tool loads: transformers, vLLM, Ollama.

    python scripts/export.py --study my-study --arm slm/qwen3b exported

The folder holds the merged weights, the tokenizer with its chat template, greedy settings, the prompt, a Modelfile
for Ollama, and a card with the study's scores. Some test samples are answered by plain transformers and compared.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.deployment.export import ExportJob, export
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("folder", type=Path, help="folder to write; an earlier export there is replaced")
    parser.add_argument("--study", type=Path, required=True, help="the study's folder, with its results")
    parser.add_argument("--arm", required=True, help="e.g. slm/qwen3b")
    parser.add_argument("--merge", action="store_true", help="merge an adapter that was trained on quantized weights")
    parser.add_argument("--check", type=int, default=10, help="test samples to answer and compare; 0: none (10)")
    parser.add_argument(
        "--gguf", action="store_true", help="also write model.gguf; some families need llama.cpp's converter"
    )
    export(ExportJob(**vars(parser.parse_args())))


if __name__ == "__main__":
    cli.run(main)
