"""From the source to train, validation and test; and the baseline that needs nothing else."""


rule prepare_data:
    "Read, clean, label and split the dialogues; report what leaks."
    output:
        train=RESULTS.data.train,
        validation=RESULTS.data.validation,
        test=RESULTS.data.test,
        labels=RESULTS.data.labels,
        dataset=RESULTS.data.dataset,
    log:
        RESULTS.log("prepare_data"),
    benchmark:
        RESULTS.benchmark("prepare_data")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        **facts("prepare_data"),
        spec=spec("prepare_data"),
    shell:
        "$RUN/prepare_data.py --spec {params.spec:q} --study . --train {output.train} --validation {output.validation}"
        " --test {output.test} --labels {output.labels} --dataset {output.dataset} 2>&1 | tee {log}"


rule baseline:
    "TF-IDF with a linear classifier: what needs no language model."
    input:
        train=rules.prepare_data.output.train,
        validation=rules.prepare_data.output.validation,
        test=rules.prepare_data.output.test,
        labels=rules.prepare_data.output.labels,
    output:
        predictions=RESULTS.arm("baseline/tfidf").predictions,
    log:
        RESULTS.log("baseline/tfidf"),
    benchmark:
        RESULTS.benchmark("baseline/tfidf")
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        **facts("baseline"),
        spec=spec("baseline"),
    shell:
        "$RUN/baseline.py --spec {params.spec:q} --train {input.train} --validation {input.validation}"
        " --test {input.test} --labels {input.labels} --predictions {output.predictions} 2>&1 | tee {log}"
