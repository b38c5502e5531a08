"""finetune.py with adapters on a mixture's experts: trained, cut off and gone on, merged into what answers."""

import pytest
import torch
from peft import PeftModel

from slingshot.artifacts.model_card import read_model_card
from slingshot.artifacts.records import read_step_record
from slingshot.config.recipe import Lora
from slingshot.core.files import read_json, read_jsonl
from slingshot.generation.generate import load_for_generation
from slingshot.models.loading import load_model
from slingshot.training import finetune as finetuning
from slingshot.training.state import FinetuneJob
from tests.unit.training_inputs import paths, spec, write_study


def run(study, out, wanted, **more):
    finetuning.finetune(FinetuneJob(spec=wanted, arm="slm/tiny", device="cpu", **paths(study, out), **more))
    return paths(study, out)


def stop_after(steps):
    """In the place of what looks at each step's loss: ends the process at one of them."""
    seen = []

    def stop(*given):
        seen.append(given)
        if len(seen) == steps:
            raise SystemExit(137)

    return stop


def test_the_experts_of_a_mixture_are_trained_merged_and_go_on_after_a_restart(tmp_path, monkeypatch):
    write_study(tmp_path, family="mixtral")
    wanted = spec(lora=Lora(r=4, alpha=8, dropout=0.1, experts=True)).model_copy(update={"dtype": "float32"})
    made = run(tmp_path, "whole", wanted)
    rows = read_jsonl(made["log"])
    assert rows[-1]["loss"] < rows[0]["loss"] and not read_step_record(made["record"]).notes
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "stop_at_nan", stop_after(5))
        with pytest.raises(SystemExit):
            run(tmp_path, "cut", wanted, checkpoint_steps=2)
    weights = "adapter_model.safetensors"
    again = run(tmp_path, "cut", wanted)["adapter"]
    assert (again / weights).read_bytes() == (made["adapter"] / weights).read_bytes()
    card = read_model_card(made["model"])
    merged = load_for_generation(card, "none", "float32", "cpu", made["adapter"])
    theirs = PeftModel.from_pretrained(load_model(card, "none", "float32", "cpu"), made["adapter"]).eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(merged(ids).logits, theirs(ids).logits, rtol=1e-3, atol=1e-3)
    assert read_json(made["adapter"] / "adapter_config.json")["target_parameters"][0].endswith("experts.gate_up_proj")
