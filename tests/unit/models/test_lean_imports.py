"""What is left out stays out, in a process of its own, and models still load and answer there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.tiny_models import tiny_model

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from slingshot.models.lean_imports import prepare_imports
prepare_imports("cpu", alone=sys.argv[3] == "alone", compiles=sys.argv[4] == "compiles", quantized=True)
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import is_torch_distributed_available
model = AutoModelForCausalLM.from_pretrained(sys.argv[2], device_map={"": "cpu"})
answer = model.generate(torch.tensor([[1, 5, 9]]), max_new_tokens=3, do_sample=False)
heavy = [name for name in ("sklearn", "scipy", "torchvision", "torchaudio") if name in sys.modules]
compiler = "torch._dynamo.symbolic_convert" in sys.modules
doubled = torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(2)).tolist()
import torch._dynamo.config
whole = torch._dynamo.config is sys.modules["torch._dynamo.config"]
from transformers.masking_utils import TransformGetItemToIndex
with TransformGetItemToIndex():
    pass
print(json.dumps([heavy, is_torch_distributed_available(), answer.shape[0], compiler, doubled, whole]))
"""
SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.mark.parametrize(("company", "use"), [("alone", "answers"), ("with others", "compiles")])
def test_models_load_and_answer_without_the_unused(tmp_path, company, use):
    tiny_model("llama").save_pretrained(tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(SCRIPTS), str(tmp_path), company, use]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    heavy, distributed, answers, compiler, doubled, whole = json.loads(said.splitlines()[-1])
    assert heavy == [] and answers == 1
    assert distributed is (company == "with others")
    assert compiler is (use == "compiles")
    assert doubled == [2, 2] and whole  # whoever does compile, can


FIRST_TOUCH = """
import sys
sys.path.insert(0, sys.argv[1])
from slingshot.models.lean_imports import prepare_imports
prepare_imports("cpu", alone=True, compiles=False)
import transformers.modeling_utils
assert type(sys.modules["torch._dynamo"]).__name__ == "_PutOff"
exec(sys.argv[2])
import torch
assert type(sys.modules["torch._dynamo"]).__name__ == "module"
assert torch._dynamo.eval_frame.config is torch._dynamo.config is sys.modules["torch._dynamo.config"]
assert torch._dynamo.backends is sys.modules["torch._dynamo.backends"]
assert torch._dynamo.backends.registry.register_backend
assert sys.modules["torch._dynamo.config"].__spec__.origin.endswith("config.py")
"""


@pytest.mark.parametrize(
    "touch",
    [
        "import torch._dynamo.config",
        "from torch._dynamo.backends.registry import lookup_backend",
    ],
)
def test_whoever_first_asks_for_the_compiler_gets_one_whole_copy(touch):
    subprocess.run([sys.executable, "-c", FIRST_TOUCH, str(SCRIPTS), touch], check=True)
