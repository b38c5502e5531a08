"""A card says what is true of each kind of arm, and warns where the folder answers differently."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.metrics import Score
from slingshot.artifacts.model_card import ModelCard
from slingshot.config.arms import Arm
from slingshot.deployment import card as cards
from slingshot.deployment.card import card_of_export
from slingshot.deployment.compared_answers import ComparedAnswers, reason_of, reason_of_embedding
from slingshot.deployment.pipelines import origin_of

NETWORK = ModelCard(
    name="minilm", source={"hub": "house/minilm"}, revision="r1", folder="f", files={}, parameters=1, layers=1,
    architecture="BertModel",
)  # fmt: skip


@pytest.fixture
def write_card(monkeypatch):
    def write(rival, network, doubt=None):
        score = Score(value=0.5, low=0.4, high=0.6, n=9, method="wilson")
        answers = SimpleNamespace(sets=None, exact_match=score, levels={"code": SimpleNamespace(weighted_f1=score)})
        scores = SimpleNamespace(
            model_name=rival, training_status="finetuned", n_samples=9, confidence=0.95, answers={"free": answers}
        )
        data = {"source": {"path": "texts.csv"}, "splits": {"train": {"samples": 9}}}
        monkeypatch.setattr(cards, "read_metrics", lambda path: scores)
        monkeypatch.setattr(cards, "read_dataset", lambda path: data)
        results = ResultFiles(Path("results"))
        arm = Arm(kind="baseline", model="tfidf", finetuned=True)
        return card_of_export(arm, origin_of(rival, network), SimpleNamespace(metrics=""), results, [], [], doubt)

    return write


def test_tfidf_has_no_base_model(write_card):
    card = write_card("tfidf", None)
    assert card.startswith("# tfidf, with a classifier fitted on the train texts\n")
    assert "---\n" not in card.replace("| --- | --- |\n", "")
    assert "There is no base model." in card and "under the licence of" not in card and "Cite the base" not in card


def test_an_embeddings_network_is_untrained_and_no_library_loads_the_folder(write_card):
    card = write_card("embedding", NETWORK)
    assert card.startswith("---\nbase_model: house/minilm\n---\n\n# embedding, untrained, with a classifier fitted on")
    assert "base model house/minilm at revision r1." in card
    assert "network/ is under the licence of its base model. The classifier was fitted on the train texts" in card


def test_an_encoder_is_finetuned_and_transformers_loads_it(write_card):
    card = write_card("encoder", NETWORK)
    assert card.startswith("---\nbase_model: house/minilm\nlibrary_name: transformers\n---\n\n# encoder, finetuned\n")
    assert "The weights are under the licence of their base model." in card


@pytest.mark.parametrize(("alike", "compared", "doubts"), [(9, 10, False), (8, 10, True), (0, 1, True), (0, 0, False)])
def test_fewer_than_nine_of_ten_alike_are_doubted(alike, compared, doubts):
    agreement = ComparedAnswers(alike, compared, "plain transformers", reason_of("bfloat16", "none", "none"))
    assert agreement.note == f"{alike} of {compared} test samples answered by plain transformers as in the study"
    assert bool(agreement.doubt) == doubts


def test_a_doubt_stands_under_the_scores(write_card):
    doubt = ComparedAnswers(6, 10, "plain transformers", reason_of("bfloat16", "none", "none")).doubt
    assert doubt.startswith(
        "4 of 10 test samples got another answer from this folder than in the study, so the study's"
    )
    scores, _, rest = write_card("tfidf", None, doubt).partition("\n\n**Warning:** 4 of 10 test samples got another")
    assert scores.endswith("| weighted F1 | 50.0% [40.0%, 60.0%] |") and rest


def test_a_doubt_says_what_is_known():
    assert "the adapter was trained on nf4 weights and merged" in reason_of("bfloat16", "nf4", "nf4")
    assert "the study's answers came from fp8 weights" in reason_of("bfloat16", "none", "fp8")
    assert "bfloat16 rounds" in reason_of("bfloat16", "none", "none") and "nf4" not in reason_of("f", "none", "none")
    assert "embeds in bfloat16" in reason_of_embedding("bfloat16")
