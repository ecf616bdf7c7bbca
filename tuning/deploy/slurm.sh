#!/usr/bin/env bash
# A search in one Slurm job. From the checkout, its environment active:
#
#   sbatch tuning/deploy/slurm.sh FLAGS...
#
# FLAGS are those of tuning.main, the same for all. --search_dir, --data_dir and --cache_dir have to
# be on a file system that all nodes see. Options of sbatch before the file's name win over these:

#SBATCH --job-name=tuning
# A task is a worker. The chief runs beside the first one, outside of any task: it needs no GPU,
# and a task of its own would hold one.
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
##SBATCH --gpus-per-task=1
# A preempted job, or one whose node failed, comes back under its number; one log for all its runs.
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time limit this script is told, and puts the job back into the queue.
#SBATCH --time=1-00:00:00
#SBATCH --signal=B:USR1@120
set -euo pipefail

# The number of the job is the same after a requeue and differs between jobs that share a node.
export KERASTUNER_ORACLE_PORT=$((20000 + SLURM_JOB_ID % 10000))
KERASTUNER_ORACLE_IP=${SLURMD_NODENAME:-$(hostname)} # the first node, where this script runs
export KERASTUNER_ORACLE_IP

# Runs a command until it is done. What was killed or lost is started again, the same id gets its
# trial back; an error in the first minute is one of flags, data or install, and comes again.
# shellcheck disable=SC2016 # text for the bash of each task
again='while SECONDS=0; do
  status=0
  "$@" || status=$?
  ((status == 0)) && exit 0
  ((status < 128 && SECONDS < 60)) && break
  echo "slurm.sh: $KERASTUNER_TUNER_ID ended with status $status, starts again in 10 s" >&2
  sleep 10
done
echo "slurm.sh: $KERASTUNER_TUNER_ID gave up with status $status" >&2
exit "$status"'
search=("${PYTHON:-python}" -m tuning.main "$@")

# Job control gives each of the two a process group, which ends as one, whatever it has started.
set -m
groups=()
trap 'trap "" INT TERM USR1; { kill -TERM -- "${groups[@]}" || :; wait; } 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'scontrol requeue "$SLURM_JOB_ID"; exit 143' USR1

# 0.0.0.0: a node's own name is often 127.0.1.1 to itself, where no other node would find the chief.
KERASTUNER_TUNER_ID=chief KERASTUNER_ORACLE_IP=0.0.0.0 CUDA_VISIBLE_DEVICES='' \
  bash -c "$again" chief "${search[@]}" &
chief=$! groups+=("-$!")
# SLURM_PROCID counts the tasks from 0, alike after a requeue. srun does not take the cores a task
# over from sbatch in all versions, and without --kill-on-bad-exit=0 a site's default may end all
# workers with the first that fails. A chief whose search is done ends within the minute that failed
# workers wait.
# shellcheck disable=SC2016
{
  srun --cpus-per-task="$SLURM_CPUS_PER_TASK" --kill-on-bad-exit=0 \
    bash -c 'export KERASTUNER_TUNER_ID=worker-$SLURM_PROCID; '"$again" worker "${search[@]}" ||
    { status=$?; sleep 60; exit "$status"; }
} &
workers=$! groups+=("-$!")

wait -n "$chief" "$workers" # a chief that failed, or no worker left, ends the search
wait "$chief"
