# Runs groups of measurements on the GPU machine: `bash measure.sh ENVIRONMENTS OUT answering peers finetuning ...`.
# ENVIRONMENTS is unpack.sh's target; beside it lie code, data and tok (a tokenizer's folder with a chat template).
# Results and logs go to OUT. Rates are alone on the card; `rivals` runs its studies side by side.
set -u
environments=$(realpath -m "$1") out=$(realpath -m "$2")
shift 2
here=$(dirname "$environments")
benchmarks=$here/code/benchmarks
export HF_HUB_OFFLINE=1 PIP_NO_INDEX=1 PIP_FIND_LINKS=$environments/wheels
ours=(env "LD_PRELOAD=$environments/nccl.so" "$environments/ours/bin/python")
flash=(env "LD_PRELOAD=$environments/nccl.so" "$environments/flash/bin/python")
mkdir -p "$out"
cd "$here/code" || exit 1

said() { # a name, then a command: its last lines, all of them in OUT
    local name=$1
    shift
    echo "== $name [$(date +%T)]"
    "$@" >"$out/$name.log" 2>&1
    echo "exit code $?"
    tail -n 12 "$out/$name.log" | cut -c 1-1800
}

study() { # name, data, seed, targets: one of benchmarks/rivals.py, with GPU locks of its own
    local name=$1 data=$2 seed=$3
    shift 3
    mkdir -p "$here/locks/$name" "$here/rivals"
    SLINGSHOT_LOCKS=$here/locks/$name said "$name" timeout 400 "${ours[@]}" "$benchmarks/rivals.py" \
        --shared "$here/data" --folder "$here/rivals/$name" --data "$data" --seed "$seed" --wheels "$environments/wheels" \
        --targets "$@"
    (cd "$here/rivals" && find "$name" -name metrics.json -o -name training.json -o -name 'predict*.json' |
        while read -r file; do cp "$file" "$out/${file//\//_}"; done)
}

answering() {
    local generation=("${ours[@]}" "$benchmarks/generation.py" --tokenizer "$here/tok" --work "$here/weights")
    said answers "${generation[@]}" --out "$out/answers.json" --prompts 512 \
        --parts checkpoint ceiling check start_bf16 ours study
    said long "${generation[@]}" --out "$out/long.json" --prompts 256 --parts long
}

quantized() { # after `answering`, whose weights it takes, as do the next three
    said quantized "${ours[@]}" "$benchmarks/generation.py" --tokenizer "$here/tok" --work "$here/weights" \
        --out "$out/quantized.json" --prompts 512 --no-peers --parts fp8 fp8_12gb nf4 nf4_8gb nf4_24gb bf16_24gb
}

constrained() {
    said constrained "${ours[@]}" "$benchmarks/generation.py" --tokenizer "$here/tok" --work "$here/weights" \
        --out "$out/constrained.json" --prompts 256 --parts constrained agreement
}

generate() { # an adapter applied and merged, and transformers' generate
    said generate "${ours[@]}" "$benchmarks/generation.py" --tokenizer "$here/tok" --work "$here/weights" \
        --out "$out/generate.json" --prompts 512 --parts adapter peers
}

two_gpus() {
    said two_gpus "${ours[@]}" "$benchmarks/generation.py" --tokenizer "$here/tok" --work "$here/weights" \
        --out "$out/two_gpus.json" --parts study study_two_gpus
}

peers() {
    said vllm "$environments/vllm/bin/python" "$benchmarks/vllm_rows.py" --work "$here/weights" --seconds 250 \
        --out "$out/vllm.json" --rows bf16 fp8 study
}

parts() {
    said parts "${ours[@]}" "$benchmarks/engine_parts.py" --out "$out/parts.json" --groups answering training \
        --prompts 256 --steps 4
}

finetuning() {
    said attention "${flash[@]}" "$benchmarks/attention_kernels.py"
    said ours "${ours[@]}" "$benchmarks/finetuning.py" --out "$out/ours" --variants ours --cards
    said flash "${flash[@]}" "$benchmarks/finetuning.py" --out "$out/flash" --variants ours --cards
    said unsloth "$environments/unsloth/bin/python" "$benchmarks/finetuning.py" --out "$out/unsloth" \
        --variants unsloth --seconds 200
}

cards() { # smaller cards, and what trades speed for something
    said cards "${ours[@]}" "$benchmarks/finetuning.py" --out "$out/cards" --variants ours nf4 --cards 32 24 16 \
        --seconds 280
    said deterministic "${ours[@]}" "$benchmarks/finetuning.py" --out "$out/deterministic" \
        --variants deterministic --cards
    said checkpointing "$environments/unsloth/bin/python" "$benchmarks/finetuning.py" --out "$out/checkpointing" \
        --variants unsloth_checkpointing --seconds 200
}

rehearsal() { # 43 GB of weights in main memory
    said build "${ours[@]}" "$benchmarks/rehearsal/build.py" "$here/rehearsal" --share 0.1 --epochs 1 --test-only \
        --processes 4
    SLINGSHOT_LOCKS=$here/locks said rehearsal "${ours[@]}" "$benchmarks/rehearsal/run.py" "$here/rehearsal" \
        --output "$out/rehearsal.json" --cores 4
    said build24 "${ours[@]}" "$benchmarks/rehearsal/build.py" "$here/rehearsal24" --share 0.03 --epochs 1 --test-only \
        --models llama8b llama3b --weights "$here/rehearsal/models"
    SLINGSHOT_LOCKS=$here/locks said rehearsal24 "${ours[@]}" "$benchmarks/rehearsal/run.py" "$here/rehearsal24" \
        results/slm/llama3b/metrics.json results/llm/llama8b/metrics.json \
        --output "$out/rehearsal24.json" --cores 4 --memory-gb 24
}

mts() { # the splits of MTS-Dialog and SmolLM2, for the next two
    study fp8_mts mts 42 results/data/train.parquet results/models/smollm2.json
}

fp8() { # finetuning with frozen weights in e4m3: rates alone on the card, then losses
    said fp8 "${ours[@]}" "$benchmarks/finetuning.py" --out "$out/fp8" --variants ours fp8 --seconds 200 --cards
    mts
    said fp8_loss "${ours[@]}" "$benchmarks/fp8_training.py" --study "$here/rivals/fp8_mts/mts" \
        --out "$out/fp8_loss.json" --steps 200 --seeds 0 1 2 --together 6
}

shapes() {
    mts
    local results=$here/rivals/fp8_mts/mts/results dtype
    for dtype in float32 bfloat16; do
        said "shapes_$dtype" timeout 200 "${ours[@]}" "$benchmarks/batch_shapes.py" --dtype "$dtype" --device cuda \
            --split "$results"/data/{train,validation,test}.parquet --model "$results"/models/files-*/ \
            --samples 1000 --padded 200 --alone 50
    done
}

small() {
    said 135m "${ours[@]}" "$benchmarks/finetuning.py" --out "$out/135m" --size 135m --cards --variants ours no_graphs
    said 1b "${ours[@]}" "$benchmarks/finetuning.py" --out "$out/1b" --size 1b --cards --variants ours
}

starts() {
    said starts "${ours[@]}" "$benchmarks/engine_parts.py" --out "$out/starts.json" --groups starting --starts 2
}

rivals() {
    local writes=results/slm/smollm2 encoder=results/encoder/minilm_tuned/metrics.json
    study codiesp_encoder codiesp 42 "$encoder" &
    study codiesp_head codiesp 42 "$writes/classify/metrics.json" &
    study mts_43 mts 43 "$writes/metrics.json" "$writes/classify/metrics.json" "$encoder" &
    study demo_43 demo 43 "$writes/metrics.json" "$writes/classify/metrics.json" "$encoder" &
    wait
}

for group in "$@"; do "$group"; done
