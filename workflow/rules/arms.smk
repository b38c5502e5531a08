"""What each arm does: finetune where the treatment says so, predict, score. A model step is one process."""


rule finetune:
    "Train a LoRA adapter on the train split, and keep the best by validation."
    input:
        model=card_of,
        labels="results/data/labels.json",
        train="results/data/train.parquet",
        validation="results/data/validation.parquet",
    output:
        weights="results/{arm}/adapter/adapter_model.safetensors",
        settings="results/{arm}/adapter/adapter_config.json",
        training="results/{arm}/training.json",
        log="results/{arm}/training_log.jsonl",
        record="results/{arm}/finetune.json",
        process="results/{arm}/finetune.process.json",
    log:
        "results/logs/{arm}/finetune.log",
    benchmark:
        "results/benchmarks/{arm}/finetune.tsv"
    wildcard_constraints:
        arm=one_of(FINETUNED),
    retries: 2
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        gpu=gpus_of_finetune,
        gpus_wanted=gpus_of_finetune,
        mem_mb=mem_mb_of,
        runtime=runtime_of,
        hardware=hardware_flags,
        training=training_flags,
    params:
        **facts("finetune", "arm"),
        spec=spec("finetune", "arm"),
    shell:
        "$LAUNCH --gpus {resources.gpu} --gpus-wanted {resources.gpus_wanted} --step finetune --arm {wildcards.arm}"
        " --record {output.process} --"
        " $RUN/finetune.py --spec {params.spec:q} --arm {wildcards.arm} --model {input.model} --labels {input.labels}"
        " --train {input.train} --validation {input.validation} --adapter $(dirname {output.weights})"
        " --training {output.training} --log {output.log} --record {output.record} --gpus {resources.gpus_wanted}"
        " {resources.hardware} {resources.training} 2>&1 | tee -i {log}"


rule choose:
    "Take the candidate of a sweep that does best on validation."
    input:
        files_of_candidates,
    output:
        weights="results/{arm}/adapter/adapter_model.safetensors",
        settings="results/{arm}/adapter/adapter_config.json",
        training="results/{arm}/training.json",
        log="results/{arm}/training_log.jsonl",
        record="results/{arm}/finetune.json",
        process="results/{arm}/finetune.process.json",
    log:
        "results/logs/{arm}/choose.log",
    benchmark:
        "results/benchmarks/{arm}/choose.tsv"
    wildcard_constraints:
        arm=one_of(CHOSEN),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        **facts("choose", "arm"),
        spec=spec("choose", "arm"),
    shell:
        "$RUN/choose.py --spec {params.spec:q} --arm {wildcards.arm} --results results 2>&1 | tee {log}"


rule predict:
    "Answer every dialogue of the test split."
    input:
        model=card_of,
        adapter=adapter_of,
        labels="results/data/labels.json",
        train="results/data/train.parquet",
        test="results/data/test.parquet",
    output:
        predictions="results/{arm}/predictions.jsonl",
        record="results/{arm}/predict.json",
        process="results/{arm}/predict.process.json",
    log:
        "results/logs/{arm}/predict.log",
    benchmark:
        "results/benchmarks/{arm}/predict.tsv"
    wildcard_constraints:
        arm=one_of(PREDICTED if SHARDS == 1 else []),
    retries: 2
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        gpu=gpus_of_predict,
        gpus_wanted=gpus_of_predict,
        mem_mb=mem_mb_of,
        runtime=runtime_of,
        hardware=hardware_flags,
        shard=shard_flags,
    params:
        **facts("predict", "arm"),
        spec=spec("predict", "arm"),
    shell:
        "adapter={input.adapter};"
        " $LAUNCH --gpus {resources.gpu} --gpus-wanted {resources.gpus_wanted} --step predict --arm {wildcards.arm}"
        " --record {output.process} --"
        " $RUN/predict.py --spec {params.spec:q} --arm {wildcards.arm} --model {input.model}"
        " ${{adapter:+--adapter ${{adapter%/*}}}} --labels {input.labels} --train {input.train} --split {input.test}"
        " --predictions {output.predictions} --record {output.record} {resources.shard}"
        " {resources.hardware} 2>&1 | tee -i {log}"


use rule predict as predict_validation with:
    input:
        model=card_of,
        adapter=adapter_of,
        labels="results/data/labels.json",
        train="results/data/train.parquet",
        test="results/data/validation.parquet",
    output:
        predictions="results/{arm}/validation/predictions.jsonl",
        record="results/{arm}/validation/predict.json",
        process="results/{arm}/validation/predict.process.json",
    log:
        "results/logs/{arm}/predict_validation.log",
    benchmark:
        "results/benchmarks/{arm}/predict_validation.tsv"
    wildcard_constraints:
        arm=one_of(VALIDATED),


use rule predict as predict_shard with:
    output:
        predictions=temp(f"results/{{arm}}/shards/{{shard}}-of-{SHARDS}/predictions.jsonl"),
        record=temp(f"results/{{arm}}/shards/{{shard}}-of-{SHARDS}/predict.json"),
        process=temp(f"results/{{arm}}/shards/{{shard}}-of-{SHARDS}/predict.process.json"),
    log:
        "results/logs/{arm}/predict.{shard}.log",
    benchmark:
        "results/benchmarks/{arm}/predict.{shard}.tsv"
    wildcard_constraints:
        arm=one_of(PREDICTED if SHARDS > 1 else []),
        shard=r"\d+",


rule gather:
    "Put the shards of an arm's predictions together, as one job would have written them."
    input:
        predictions=shards_of("predictions.jsonl"),
        records=shards_of("predict.json"),
        processes=shards_of("predict.process.json"),
    output:
        predictions="results/{arm}/predictions.jsonl",
        record="results/{arm}/predict.json",
        process="results/{arm}/predict.process.json",
    log:
        "results/logs/{arm}/gather.log",
    benchmark:
        "results/benchmarks/{arm}/gather.tsv"
    wildcard_constraints:
        arm=one_of(PREDICTED if SHARDS > 1 else []),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    shell:
        "$RUN/gather.py --predictions {input.predictions} --records {input.records} --processes {input.processes}"
        " --into $(dirname {output.predictions}) 2>&1 | tee {log}"


rule score:
    "Score an arm's answers, each score with its interval."
    input:
        predictions="results/{arm}/predictions.jsonl",
        test="results/data/test.parquet",
        labels="results/data/labels.json",
        training=training_of,
    output:
        metrics="results/{arm}/metrics.json",
    log:
        "results/logs/{arm}/score.log",
    benchmark:
        "results/benchmarks/{arm}/score.tsv"
    wildcard_constraints:
        arm=one_of(SCORED),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        **facts("score", "arm"),
        spec=spec("score", "arm"),
    shell:
        "training={input.training};"
        " $RUN/score.py --spec {params.spec:q} --predictions {input.predictions} --test {input.test}"
        " --labels {input.labels} ${{training:+--training $training}} --metrics {output.metrics} 2>&1 | tee {log}"
