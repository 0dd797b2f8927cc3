#!/bin/bash
# Both stages on machines of a cloud, or any others, that share no file system. Run it on the first of them:
#
#     python -m pconv.params params/webdataset.yaml    # then edit data.folder in params.yaml
#     bash docs/cluster/cloud.sh HOST1 HOST2 ...
#
# HOST1 is this machine, by the name or address at which the others reach it. Each has the project in the same folder, with
# `make` run in it, GPUs of the same kind and number, and what reads data.folder (curl, aws or gsutil with its rights). This
# machine may ssh to the others, and between all of them every TCP port is open. Stopped by Ctrl-C or killed, it goes on from
# the last checkpoint when it is run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
first=${1:?usage: bash docs/cluster/cloud.sh HOST1 HOST2 ...}
others=("${@:2}")
export PATH="$PWD/.venv/bin:$PATH" PYTHONUTF8=1 OMP_NUM_THREADS=1
export WDS_CACHE="${WDS_CACHE:-/tmp/$(id -un)/pconv-shards}" WDS_CACHE_SIZE="${WDS_CACHE_SIZE:-200e9}" # a disk of each machine's own

trap 'exit 130' INT
trap 'exit 143' TERM
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT # a training that is asked to end saves a checkpoint first

dvc repro masks layer unet # the lists and the masks; trains nothing
mkdir -p models

for stage in 1 2; do
    command=(torchrun "--nnodes=$#" --nproc-per-node=gpu "--master-addr=$first" --master-port=29500)
    training=(-m pconv.train --stage "$stage" --keep-checkpoint)
    settings=(env "PATH=$PATH" PYTHONUTF8=1 OMP_NUM_THREADS=1 TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600
        "WDS_CACHE=$WDS_CACHE" "WDS_CACHE_SIZE=$WDS_CACHE_SIZE")
    started=()
    for host in ${others[@]+"${others[@]}"}; do
        # What this machine has made: lists, masks, the weights of stage 1, and the checkpoint to go on from.
        rsync --archive --delete --relative params.yaml data/images data/masks models "$host:$PWD/"
        rank="--node-rank=$((${#started[@]} + 1))"
        ssh "$host" "cd $(printf '%q' "$PWD") && $(printf '%q ' "${settings[@]}" "${command[@]}" "$rank" "${training[@]}")" &
        started+=($!)
    done
    "${command[@]}" --node-rank=0 "${training[@]}" & # the process of rank 0 writes the results: on this machine
    for each in $! ${started[@]+"${started[@]}"}; do wait "$each"; done
done

dvc repro # the notebooks; they take the results from the checkpoints
