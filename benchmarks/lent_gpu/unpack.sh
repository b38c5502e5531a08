# Makes environments out of pack.py's parts, on the GPU machine: `bash benchmarks/lent_gpu/unpack.sh PARTS TARGET`.
# TARGET/ours (with the set ours: its own torch; with machine: the machine's), TARGET/flash (ours and flash-attn-4),
# TARGET/vllm, TARGET/unsloth, and TARGET/wheels for a study's models (PIP_NO_INDEX=1 PIP_FIND_LINKS=TARGET/wheels).
set -eu
parts=$1 target=$2 python=${PYTHON:-python3}
mkdir -p "$target/unpacked"
cat "$parts"/part.* | tar x -C "$target/unpacked"
rm -r "$parts"
wheels=$target/unpacked

site() { "$target/$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

machine_site=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])')

fill() { # environment, folders of wheels
    local name=$1
    shift
    "$python" -m venv --without-pip "$target/$name"
    local folder
    folder=$(site "$name")
    find "$@" -name '*.whl' -print0 | xargs -0 -P 16 -I {} "$python" -m zipfile -e {} "$folder"
    for data in "$folder"/*.data/purelib "$folder"/*.data/platlib; do
        [ -d "$data" ] && cp -r "$data/." "$folder/"
    done
    find "$folder" -path '*/bin/*' -type f -exec chmod +x {} + # zipfile leaves no executables, and Triton calls some
}

if [ -d "$wheels/ours" ]; then
    fill ours "$wheels/ours"
    ln -sfn "$machine_site/nvidia" "$(site ours)/nvidia" # torch looks for CUDA's libraries beside itself
elif [ -d "$wheels/machine" ]; then
    fill ours "$wheels/machine"
    echo "$machine_site" >"$(site ours)/machine.pth"
fi
if [ -d "$target/ours" ]; then
    "$target/ours/bin/python" -m ensurepip >/dev/null 2>&1 # fetch_model downloads by pip
fi
if [ -d "$wheels/flash" ]; then
    fill flash "$wheels/flash"
    site ours >"$(site flash)/ours.pth"
fi
for peer in vllm unsloth; do
    if [ -d "$wheels/$peer" ]; then
        fill "$peer" "$wheels/$peer"
        echo "$machine_site" >"$(site "$peer")/machine.pth"
    fi
done
mkdir -p "$target/wheels"
if [ -d "$wheels/models" ]; then mv "$wheels"/models/*.whl "$target/wheels/"; fi
rm -r "$wheels"

# NCCL of a machine with an older torch lacks functions that a newer torch names and one GPU never calls.
cat >"$target/nccl.c" <<'C'
#include <stdlib.h>
#define MISSING(name) void name(void) { abort(); }
MISSING(ncclCommMemStats)
MISSING(ncclCommResume)
MISSING(ncclCommSuspend)
MISSING(ncclGetLsaMultimemDevicePointer)
MISSING(ncclGetPeerDevicePointer)
MISSING(ncclPutSignal)
MISSING(ncclSignal)
MISSING(ncclWaitSignal)
C
cc -shared -fPIC -o "$target/nccl.so" "$target/nccl.c"

for name in ours flash vllm unsloth; do
    if [ -d "$target/$name" ]; then "$python" -m compileall -q -j 0 "$(site "$name")" >/dev/null 2>&1 || true; fi
done
