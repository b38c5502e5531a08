"""A finetune over several GPUs becomes torchrun, which starts the same command without its --gpus."""

import os
import sys

import pytest

from slingshot.runtime.torchrun import become_torchrun


@pytest.mark.parametrize("words", [["--gpus", "2", "--arm", "slm/a"], ["--arm", "slm/a", "--gpus=2"]])
def test_the_command_runs_again_without_its_gpus(monkeypatch, words):
    run = []
    monkeypatch.setattr(sys, "argv", ["scripts/finetune.py", *words])
    monkeypatch.setattr(os, "execv", lambda program, command: run.append((program, command)))
    become_torchrun(2)
    [(program, command)] = run
    assert program == command[0] == sys.executable
    assert command[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    assert command[5:] == ["--", "scripts/finetune.py", "--arm", "slm/a"]
