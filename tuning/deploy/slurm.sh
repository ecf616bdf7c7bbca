#!/usr/bin/env bash
# A search as one Slurm job: Ray on every node, the search itself on the first of them. From the
# checkout, its environment active (flags of sbatch come before the file's name):
#
#   sbatch --nodes=8 tuning/deploy/slurm.sh --classes=4 --task_gpus=1 --data_dir=DIR --search_dir=DIR
#
# DIR is absolute and on a file system that every node sees, as the environment is.

#SBATCH --job-name=tuning
# Whole nodes: `ray symmetric-run` refuses a node where the user runs Ray already, and stops all of
# the user's Ray processes on the node in the end.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
# Cores and GPUs of one node.
#SBATCH --cpus-per-task=4
##SBATCH --gpus-per-task=1
# A job that was preempted, or lost a node, comes back and goes on; one log for all its runs.
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(umask 077 && ray get-auth-token --generate) # srun hands it to all nodes
export RAY_AUTH_TOKEN
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # 30 s are short for Python on a network disk

# The script runs on the first node. Its address, since a node's name is often 127.0.1.1 to itself.
address=$(hostname -I | cut -d' ' -f1)
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  ray symmetric-run --address="$address:6379" --min-nodes="$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" -- python -m tuning.main --cluster=auto "$@"
