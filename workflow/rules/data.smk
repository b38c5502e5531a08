"""From the source to train, validation and test."""


rule prepare_data:
    "Read, clean, label and split the dialogues; report what leaks."
    output:
        train=RESULTS.data.train,
        validation=RESULTS.data.validation,
        test=RESULTS.data.test,
        labels=RESULTS.data.labels,
        dataset=RESULTS.data.dataset,
        examples=RESULTS.data.examples,
        test_sets=[RESULTS.data.test_set(name) for name in STUDY.data.test_sets],
    log:
        RESULTS.log("prepare_data"),
    benchmark:
        RESULTS.benchmark("prepare_data")
    priority: 4  # seconds that most steps wait for: beside the first fetch, not after the last
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=8000,
        runtime=120,
    params:
        **facts("prepare_data"),
        spec=spec("prepare_data"),
    shell:
        "launch --step prepare_data --lock {output.dataset:q} --log {log:q} {resources.again} --"
        ' prepare_data.py --spec {params.spec:q} --study . --data "$(dirname {output.dataset:q})"'


rule data_page:
    "The data to look at before any model runs: counts, lengths, what was dropped or changed, what leaks."
    input:
        dataset=rules.prepare_data.output.dataset,
        examples=rules.prepare_data.output.examples,
    output:
        page=RESULTS.data.page,
    log:
        RESULTS.log("data_page"),
    benchmark:
        RESULTS.benchmark("data_page")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=2000,
        runtime=10,
    params:
        **facts("data_page"),
        spec=spec("data_page"),
    shell:
        "launch --step data_page --lock {output.page:q} --log {log:q} {resources.again} --"
        ' data_page.py --spec {params.spec:q} --data "$(dirname {input.dataset:q})"'
