"""Models, at their recorded revisions. The network is needed here and nowhere after."""


rule fetch_model:
    "Fetch one model and write its card; a GGUF or a cut network becomes safetensors beside it."
    output:
        card=RESULTS.model_card("{model}"),
    log:
        RESULTS.log("fetch_model/{model}"),
    benchmark:
        RESULTS.benchmark("fetch_model/{model}")
    wildcard_constraints:
        model=one_of([model for model in FETCHED if model not in SHARING]),
    priority: 3  # a network that cannot be fetched fails before anything is computed
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=8000,
        runtime=240,
    params:
        **facts("fetch_model", "model"),
        spec=spec("fetch_model", "model"),
    shell:
        "launch --step fetch_model --arm {wildcards.model:q} --lock {output.card:q} --log {log:q} {resources.again} --"
        " fetch_model.py --spec {params.spec:q} --study . --card {output.card:q}"


use rule fetch_model as fetch_sharing_model with:
    wildcard_constraints:
        model=one_of(SHARING),
    priority: 0  # it may hold a core while it waits for the other fetch, so all other jobs come first
