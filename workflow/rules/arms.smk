"""What each arm does: finetune where the treatment says so, predict, score. A model step is one process."""


rule finetune:
    "Train a LoRA adapter on the train split, and keep the best by validation."
    input:
        model=card_of,
        labels=RESULTS.data.labels,
        train=RESULTS.data.train,
        validation=RESULTS.data.validation,
    output:
        weights=ARM.adapter_weights,
        settings=ARM.adapter_settings,
        training=ARM.training,
        log=ARM.training_log,
        record=ARM.record("finetune"),
        process=ARM.process("finetune"),
    log:
        RESULTS.log("{arm}/finetune"),
    benchmark:
        RESULTS.benchmark("{arm}/finetune")
    wildcard_constraints:
        arm=one_of(FINETUNED),
    priority: PRIORITY_OF_FINETUNE
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        gpu=gpus_of_finetune,
        gpus_wanted=gpus_of_finetune,
        tries=tries_flags,
        mem_mb=mem_mb_of,
        runtime=runtime_of,
        hardware=hardware_flags,
        training=training_flags,
    params:
        **facts("finetune", "arm"),
        spec=spec("finetune", "arm"),
    shell:
        "launch --gpus {resources.gpu} --gpus-wanted {resources.gpus_wanted} {resources.tries} --step finetune"
        " --arm {wildcards.arm:q} --record {output.process:q} --log {log:q} --"
        " finetune.py --spec {params.spec:q} --arm {wildcards.arm:q} --model {input.model:q} --labels {input.labels:q}"
        ' --train {input.train:q} --validation {input.validation:q} --adapter "$(dirname {output.weights:q})"'
        " --training {output.training:q} --log {output.log:q} --record {output.record:q} --gpus {resources.gpus_wanted}"
        " {resources.hardware} {resources.training}"


rule choose:
    "Take the candidate of a sweep that does best on validation."
    input:
        files_of_candidates,
    output:
        weights=ARM.adapter_weights,
        settings=ARM.adapter_settings,
        training=ARM.training,
        log=ARM.training_log,
        record=ARM.record("finetune"),
        process=ARM.process("finetune"),
    log:
        RESULTS.log("{arm}/choose"),
    benchmark:
        RESULTS.benchmark("{arm}/choose")
    wildcard_constraints:
        arm=one_of(CHOSEN),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=2000,
        runtime=30,
    params:
        **facts("choose", "arm"),
        spec=spec("choose", "arm"),
    shell:
        "launch --step choose --arm {wildcards.arm:q} --lock {output.weights:q} --log {log:q} {resources.again} --"
        " choose.py --spec {params.spec:q} --arm {wildcards.arm:q} --results results"


rule choose_prompt:
    "Take the prompt of an untrained model that does best on validation."
    input:
        validation_of_candidates,
    output:
        choice=ARM.choice,
    log:
        RESULTS.log("{arm}/choose_prompt"),
    benchmark:
        RESULTS.benchmark("{arm}/choose_prompt")
    wildcard_constraints:
        arm=one_of(PROMPTED),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=2000,
        runtime=30,
    params:
        **facts("choose_prompt", "arm"),
        spec=spec("choose_prompt", "arm"),
    shell:
        "launch --step choose_prompt --arm {wildcards.arm:q} --lock {output.choice:q} --log {log:q} {resources.again} --"
        " choose_prompt.py --spec {params.spec:q} --arm {wildcards.arm:q} --results results"


rule predict:
    "Answer every dialogue of the test split."
    input:
        model=card_of,
        adapter=adapter_of,
        settings=settings_of,
        labels=RESULTS.data.labels,
        choice=choice_of,
        train=RESULTS.data.train,
        test=RESULTS.data.test,
    output:
        predictions=ARM.predictions,
        record=ARM.record("predict"),
        process=ARM.process("predict"),
    log:
        RESULTS.log("{arm}/predict"),
    benchmark:
        RESULTS.benchmark("{arm}/predict")
    wildcard_constraints:
        arm=one_of(PREDICTED if SHARDS == 1 else []),
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        gpu=gpus_of_predict,
        gpus_wanted=gpus_of_predict,
        tries=tries_flags,
        mem_mb=mem_mb_of,
        runtime=runtime_of,
        hardware=hardware_flags,
        shard=shard_flags,
        measured=str(RESULTS.measured),
    params:
        **facts("predict", "arm"),
        spec=spec("predict", "arm"),
    shell:
        "adapter={input.adapter:q}; choice={input.choice:q};"
        " launch --gpus {resources.gpu} --gpus-wanted {resources.gpus_wanted} {resources.tries} --step predict"
        " --arm {wildcards.arm:q} --record {output.process:q} --measured {resources.measured:q} --log {log:q} --"
        " predict.py --spec {params.spec:q} --arm {wildcards.arm:q} --model {input.model:q}"
        ' ${{adapter:+--adapter "${{adapter%/*}}"}} ${{choice:+--choice "$choice"}} --labels {input.labels:q} --train {input.train:q}'
        " --split {input.test:q}"
        " --predictions {output.predictions:q} --record {output.record:q} {resources.shard}"
        " --gpus {resources.gpus_wanted} {resources.hardware}"


use rule predict as predict_validation with:
    input:
        model=card_of,
        adapter=adapter_of,
        settings=settings_of,
        labels=RESULTS.data.labels,
        choice=[],
        train=RESULTS.data.train,
        test=RESULTS.data.validation,
    output:
        predictions=ARM.validation.predictions,
        record=ARM.validation.record("predict"),
        process=ARM.validation.process("predict"),
    log:
        RESULTS.log("{arm}/predict_validation"),
    benchmark:
        RESULTS.benchmark("{arm}/predict_validation")
    wildcard_constraints:
        arm=one_of([path for path in VALIDATED if path in arms_by_step("predict")]),


use rule predict as predict_shard with:
    output:
        predictions=temp(str(SHARD.predictions)),
        record=temp(str(SHARD.record("predict"))),
        process=temp(str(SHARD.process("predict"))),
    log:
        RESULTS.log("{arm}/predict.{shard}"),
    benchmark:
        RESULTS.benchmark("{arm}/predict.{shard}")
    wildcard_constraints:
        arm=one_of(PREDICTED if SHARDS > 1 else []),
        shard=r"\d+",


rule ask:
    "Put every dialogue of the test split to an endpoint."
    input:
        labels=RESULTS.data.labels,
        choice=choice_of,
        train=RESULTS.data.train,
        test=RESULTS.data.test,
    output:
        predictions=ARM.predictions,
        record=ARM.record("predict"),
        process=ARM.process("predict"),
    log:
        RESULTS.log("{arm}/ask"),
    benchmark:
        RESULTS.benchmark("{arm}/ask")
    wildcard_constraints:
        arm=one_of(ASKED),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        api=1,
        mem_mb=2000,
        runtime=runtime_of,
        asking=asking_flags,
    params:
        **facts("ask", "arm"),
        spec=spec("ask", "arm"),
        cache=lambda wildcards: RESULTS.cache(ARMS[wildcards.arm].model),
    shell:
        "choice={input.choice:q};"
        " launch --step ask --arm {wildcards.arm:q} --record {output.process:q} --log {log:q} {resources.again} --"
        ' ask.py --spec {params.spec:q} --arm {wildcards.arm:q} ${{choice:+--choice "$choice"}}'
        " --labels {input.labels:q} --train {input.train:q}"
        " --split {input.test:q} --predictions {output.predictions:q} --record {output.record:q}"
        " --cache {params.cache:q} {resources.asking}"


use rule ask as ask_validation with:
    input:
        labels=RESULTS.data.labels,
        choice=[],
        train=RESULTS.data.train,
        test=RESULTS.data.validation,
    output:
        predictions=ARM.validation.predictions,
        record=ARM.validation.record("predict"),
        process=ARM.validation.process("predict"),
    log:
        RESULTS.log("{arm}/ask_validation"),
    benchmark:
        RESULTS.benchmark("{arm}/ask_validation")
    wildcard_constraints:
        arm=one_of([path for path in VALIDATED if path in ASKED]),


rule gather:
    "Put the shards of an arm's predictions together, as one job would have written them."
    input:
        files_of_shards,
    output:
        predictions=ARM.predictions,
        record=ARM.record("predict"),
        process=ARM.process("predict"),
    log:
        RESULTS.log("{arm}/gather"),
    benchmark:
        RESULTS.benchmark("{arm}/gather")
    wildcard_constraints:
        arm=one_of(PREDICTED if SHARDS > 1 else []),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=4000,
        runtime=60,
    params:
        **facts("gather"),
        spec=spec("gather"),
    shell:
        "launch --step gather --arm {wildcards.arm:q} --lock {output.predictions:q} --log {log:q} {resources.again} --"
        " gather.py --spec {params.spec:q} --arm {wildcards.arm:q} --results results"


rule score:
    "Score an arm's answers, each score with its interval."
    input:
        predictions=ARM.predictions,
        test=RESULTS.data.test,
        labels=RESULTS.data.labels,
        training=training_of,
    output:
        metrics=ARM.metrics,
    log:
        RESULTS.log("{arm}/score"),
    benchmark:
        RESULTS.benchmark("{arm}/score")
    wildcard_constraints:
        arm=one_of(SCORED),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=4000,
        runtime=60,
    params:
        **facts("score", "arm"),
        spec=spec("score", "arm"),
    shell:
        "training={input.training:q};"
        " launch --step score --arm {wildcards.arm:q} --lock {output.metrics:q} --log {log:q} {resources.again} --"
        " score.py --spec {params.spec:q} --predictions {input.predictions:q} --test {input.test:q}"
        ' --labels {input.labels:q} ${{training:+--training "$training"}} --metrics {output.metrics:q}'
