"""scripts/prompt.py: the prompt of a sample as the arm gets it."""

import yaml

from tests.workflow.small_study import program, run, write_study


def test_the_prompt_of_a_sample_is_shown_with_its_tokens(tmp_path):
    study = tmp_path / "study"
    write_study(study)
    assert "is not there yet: make it with `snakemake" in show(study, "llm/b").stderr
    code, output = run(study, "results/data/dataset.json", "results/models/b.json")
    assert code == 0, output[-2000:]
    done = show(study, "llm/b", "2")
    assert done.returncode == 0, done.stderr
    first, rest = done.stdout.split("\n", 1)
    assert first.startswith("llm/b, sample 2 of test (")
    assert " of 160 tokens" in first
    assert "Name the code." in rest
    assert rest.count("the label") == 1  # the form of the answer
    assert "--- right answer\n" in rest
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["generation"]["max_new_tokens"] = 130  # the model was made for 256 tokens, the prompt has 160 at most
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    assert " of 126 tokens" in show(study, "llm/b", "2").stdout
    assert "name one from 1 to" in show(study, "llm/b", "999").stderr
    assert "without a prompt" in show(study, "baseline/tfidf").stderr


def show(study, *words):
    return program(f"scripts/prompt.py {' '.join(words)} --study {study}")
