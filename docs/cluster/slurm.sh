#!/bin/bash
# Both stages on the GPUs of several machines under Slurm. All of them see the project's folder, and `make` has been run in it:
#
#     python -m pconv.params params/webdataset.yaml    # then edit data.folder in params.yaml
#     sbatch docs/cluster/slurm.sh
#
# Submitted again, it goes on from the last checkpoint; so three jobs in a row, for more time than one may take:
#
#     for job in 1 2 3; do sbatch --dependency=singleton docs/cluster/slurm.sh; done
#
#SBATCH --job-name=pconv
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=36
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --output=slurm-%j.txt

# One task is torchrun, which starts a process for each GPU, and that train.workers (8) loader processes. Two minutes before
# the time is over torchrun gets SIGTERM, so that a checkpoint is saved.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
export PATH="$PWD/.venv/bin:$PATH" PYTHONUTF8=1 OMP_NUM_THREADS=1
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=110 # seconds that torchrun leaves for the step that ends and the checkpoint
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"      # srun does not take it over from sbatch
export WDS_CACHE="${SLURM_TMPDIR:-/tmp/$(id -un)}/pconv-shards" # a disk of each machine's own, for shards by URL
export WDS_CACHE_SIZE=200e9                           # bytes

dvc repro masks layer unet # the lists and the masks, on the first machine; trains nothing

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${hosts%%$'\n'*} # no `head`: what ends early breaks the pipe, and pipefail the job
for stage in 1 2; do
    srun torchrun --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node=gpu --rdzv-id="$SLURM_JOB_ID-$stage" \
        --rdzv-backend=c10d --rdzv-endpoint="$first:29500" -m pconv.train --stage "$stage" --keep-checkpoint
done

dvc repro # the notebooks, on the first machine; they take the results from the checkpoints
