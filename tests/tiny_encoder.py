"""A tiny random encoder with a tokenizer of whole words, as a model folder and its card."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from slingshot.config.specs import FetchModelSpec
from slingshot.models.fetching import fetch

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")


def word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate((*SPECIAL, *words))}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )


def encoder_card(folder: Path, words: list[str]) -> Path:
    """Write a BERT of two layers and its card, folder/results/models/tiny.json."""
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(words) + len(SPECIAL),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=66,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config).save_pretrained(folder / "tiny")
    word_tokenizer(words).save_pretrained(folder / "tiny")
    card = folder / "results/models/tiny.json"
    spec = FetchModelSpec(source={"folder": "tiny"}, source_digest=None, layers=None)
    fetch(spec, folder, card).write(card)
    return card
