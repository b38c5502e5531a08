"""An export of plain labels, whose prompt lists them: the folder alone asks as the study asked."""

from __future__ import annotations

import re

import pytest
import yaml
from transformers import AutoTokenizer

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.splits import read_samples
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, write_json
from slingshot.deployment import export as exporting
from slingshot.deployment.export import ExportJob, export
from slingshot.deployment.plain import choose_plainly, plain_prompts, write_plainly
from slingshot.deployment.prompt_files import read_exported_prompt, render_messages
from slingshot.study.shown_prompt import show_prompt
from tests.workflow import small_study

LISTED = "- E119\n- I10\n- J069\n- M545"
ARMS = ("llm/b", "slm/c", "slm/d")  # with worked examples, without, with a head over labels


@pytest.fixture(scope="module")
def study(tmp_path_factory, house):
    folder = tmp_path_factory.mktemp("listed") / "study"
    small_study.write_study(folder)
    rows = [
        f"{complaint.split()[-1]} by the {small_study.WORDS[number % 15]} {number},{label}\n"
        for number, (label, (_, complaint)) in enumerate(list(small_study.FINDINGS.items()) * 18)
    ]
    (folder / "dialogues.csv").write_text("text,label\n" + "".join(rows))
    (folder / "prompt.yaml").write_text("system: |-\n  Labels:\n  {{ labels }}\nuser: '{{ text }} {{ answer_form }}'\n")
    config = small_study.config()
    config["data"]["columns"] = {}
    config["prompt"]["max_tokens"] = config["finetune"]["max_tokens"] = 400
    config["llm"].pop("a")
    config["llm"]["b"]["few_shot"] = {"k": 1}
    config["slm"]["d"]["finetune"] = {"head": "classify"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    targets = [f"results/{arm}/export" for arm in ARMS]
    code, output = small_study.run(folder, "--cores", "2", "--", *targets, house=house)
    assert code == 0, output[-3000:]
    return folder


def exported(study, arm):
    results = ResultFiles(study / "results")
    folder = results.arm(arm).export
    return folder, [sample["text"] for sample in read_samples(results.data.test, ("text",))]


@pytest.mark.parametrize("arm", ARMS)
def test_only_the_text_is_open_and_the_labels_are_listed(study, arm):
    folder, texts = exported(study, arm)
    prompt = read_exported_prompt(folder)
    assert prompt.system == f"Labels:\n{LISTED}" and prompt.user == "{{ text }} the label"
    asked = render_messages(AutoTokenizer.from_pretrained(folder), prompt.messages(texts[0]))
    assert asked in show_prompt(study, arm, 1) and LISTED in asked
    assert len(prompt.examples) == (arm == "llm/b")


@pytest.mark.parametrize("arm", ["llm/b", "slm/c"])
def test_the_modelfile_asks_alike(study, arm):
    folder, texts = exported(study, arm)
    file = (folder / "Modelfile").read_text()
    [template] = re.findall(r'^TEMPLATE """(.*)"""$', file, flags=re.MULTILINE | re.DOTALL)
    assert template.replace("{{ .Prompt }}", texts[0]) in show_prompt(study, arm, 1)
    assert re.findall(r"{{.*?}}", template) == ["{{ .Prompt }}"]


@pytest.mark.parametrize("arm", ARMS)
def test_the_folder_alone_answers_as_the_study(study, arm):
    folder, texts = exported(study, arm)
    answer = choose_plainly if arm == "slm/d" else write_plainly
    expected = [each.raw for each in read_predictions(ResultFiles(study / "results").arm(arm).predictions)]
    assert answer(folder, plain_prompts(folder, texts[:5]), "float32") == expected[:5]
    assert "10 of 10 test samples answered by plain transformers as in the study" in (folder / "README.md").read_text()


def test_the_cards_lines_make_the_prompts_messages(study):
    folder, texts = exported(study, "llm/b")
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    names = {"text": texts[0]}
    exec(code.replace('"prompt.yaml"', repr(str(folder / "prompt.yaml"))), names)
    assert names["messages"] == read_exported_prompt(folder).messages(texts[0])


def test_the_check_reads_the_folder_and_refuses_a_prompt_that_is_not_filled_in(study, tmp_path, monkeypatch):
    def leave_open(spec, *given):
        return fill(spec, *given).model_copy(update={"system": spec.prompt.system, "user": spec.prompt.user})

    fill = exporting.fill_prompt
    monkeypatch.setattr(exporting, "fill_prompt", leave_open)
    with pytest.raises(StudyError, match=r"slm/c cannot be exported: transformers makes another prompt .*18 of 18"):
        export(ExportJob(study=study, arm="slm/c", folder=tmp_path / "exported"))
    assert not (tmp_path / "exported").exists()


def test_other_answers_in_16_bits_are_a_warning(study, tmp_path, monkeypatch, caplog):
    """The study's record says bfloat16, and four answers of ten differ."""
    other = small_study.copy(study, tmp_path / "other")
    record = ResultFiles(other / "results").arm("slm/c").record("predict")
    write_json(record, read_json(record) | {"dtype": "bfloat16"})
    expected = [each.raw for each in read_predictions(ResultFiles(other / "results").arm("slm/c").predictions)]
    found = [*expected[:6], *["?" * 9] * 4]
    monkeypatch.setattr(exporting, "write_plainly", lambda folder, prompts, dtype: found)
    export(ExportJob(study=other, arm="slm/c", folder=tmp_path / "exported"))
    doubt = "4 of 10 test samples got another answer from this folder than in the study"
    assert f"**Warning:** {doubt}" in (tmp_path / "exported/README.md").read_text()
    warned = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert any(doubt in line and "bfloat16 rounds" in line for line in warned)
