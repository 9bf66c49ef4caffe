#!/bin/bash
# Trains on several nodes with Slurm: `sbatch docs/how-to/slurm.sh` in the project's folder, which all nodes must share.
# Adapt the resources. The job is queued again until the training is complete, and resumes from its last checkpoint.

#SBATCH --job-name=openmedq
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=train-%j.log

# One task per GPU, and SIGTERM to each 600 s before the time limit (and at a preemption with a grace time): time to write a checkpoint.

set -u

# The environment that torchrun would set. A task's rank and its GPU's number come from Slurm.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
WORLD_SIZE=$SLURM_NTASKS
OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
export MASTER_ADDR MASTER_PORT WORLD_SIZE OMP_NUM_THREADS

# If a task fails, Slurm ends the others.
srun --kill-on-bad-exit=1 bash -c \
  'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec .venv/bin/python -m openmedq train'
status=$?

if [ "$status" -eq 143 ]; then  # 128 + SIGTERM: a checkpoint was written, and updates are left
  scontrol requeue "$SLURM_JOB_ID"
elif [ "$status" -eq 0 ]; then
  .venv/bin/dvc commit --force train  # record the outputs, as `dvc repro` does for a stage that it runs
fi
exit "$status"
