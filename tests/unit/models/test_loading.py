"""What a model's folder says of it."""

import json

import pytest

from slingshot.artifacts.model_card import ModelCard
from slingshot.models import loading as models
from slingshot.models.loading import context_length, load_model
from tests.unit.tiny_models import tiny_model


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"text_config": None, "max_position_embeddings": 512}, 512),
        ({"n_positions": 7}, None),
        # Llama 3.1: stated after stretching; Qwen2.5 as its YaRN instructions say, and older linear scaling: before it
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 2.0}}, 4096),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 4096),
    ],
)
def test_the_context_is_what_the_config_says(tmp_path, config, tokens):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_length(card_of(tmp_path)) == tokens


def card_of(folder):
    return ModelCard(
        name="m",
        source={"folder": "m"},
        revision="r",
        folder=str(folder),
        files={},
        parameters=1,
        layers=1,
        architecture="A",
    )


def test_a_type_that_the_processor_only_emulates_is_warned_of(tmp_path, monkeypatch, caplog):
    tiny_model("llama").save_pretrained(tmp_path)
    monkeypatch.setattr(models, "processor_computes", lambda dtype: dtype == "float32")
    load_model(card_of(tmp_path), "none", "float32", "cpu")
    assert "emulates" not in caplog.text
    load_model(card_of(tmp_path), "none", "bfloat16", "cpu")
    assert "no instructions for bfloat16" in caplog.text and "dtype: float32" in caplog.text
