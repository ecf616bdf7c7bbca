#!/usr/bin/env bash
# A search on plain hosts over ssh: the chief here, a worker on each host.
#
#   tuning/deploy/hosts.sh ADDRESS:PORT HOST,HOST,... FLAGS...
#
#   ADDRESS  the IP address at which the hosts reach this machine; the chief listens there and
#            nowhere else. No name: many systems give their own name to 127.0.0.1 or 127.0.1.1.
#   PORT     any free one above 1023.
#   HOST     what ssh takes, without a password. A host that stands there twice gets two workers.
#   FLAGS    of tuning.main, the same for all; relative paths count from the checkout.
#   $PYTHON  the interpreter on all machines, if it is not `python`; .venv/bin/python, say.
#
# Each host has the checkout at the same path as here, and a built dataset of its own. Ctrl-C ends
# chief and workers; the same command goes on where the search was. Status: the chief's.
set -euo pipefail

if (($# < 2)) || [[ $1 != *:* || $2 == -* ]]; then
  echo "usage: $0 ADDRESS:PORT HOST,HOST,... FLAGS..." >&2
  exit 2
fi
address=${1%:*} port=${1##*:}
IFS=, read -ra hosts <<<"$2"
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# A word as the remote shell has to read it: quotes that sh, bash and zsh agree on.
quoted() {
  printf "'%s' " "${1//\'/\'\\\'\'}"
}

# The line that starts one process, named by its id.
line() {
  local word
  printf 'cd '
  quoted "$PWD"
  printf '&& exec env '
  for word in "KERASTUNER_TUNER_ID=$1" "KERASTUNER_ORACLE_IP=$address" \
    "KERASTUNER_ORACLE_PORT=$port" "${PYTHON:-python}" -m tuning.main "${@:2}"; do
    quoted "$word"
  done
}

# Runs a command until it is done. What was killed or lost is started again, the same id gets its
# trial back; an error in the first minute is one of flags, data or install, and comes again.
again() {
  local name=$1 status
  shift
  while SECONDS=0; do
    status=0
    "$@" || status=$?
    ((status == 0)) && return 0
    ((status < 128 && SECONDS < 60)) && break
    echo "hosts.sh: $name ended with status $status, starts again in 10 s" >&2
    sleep 10
  done
  echo "hosts.sh: $name gave up with status $status" >&2
  return "$status"
}

# -tt: with a terminal the remote process dies with the connection, else it would outlive Ctrl-C.
# BatchMode: nobody is there to answer. ServerAlive: a host that is gone is told after 2 minutes.
remote() {
  ssh -tt -o BatchMode=yes -o ServerAliveInterval=30 -o ServerAliveCountMax=4 "$@" \
    </dev/null 2>&1 | sed -u "s/^/$id: /"
}

# Fails when no worker came to the end. Ids are numbers: a host whose name holds "chief" would
# make its worker another chief.
workers() {
  local index id started=() status=1
  for index in "${!hosts[@]}"; do
    id=worker-$((index + 1))
    again "$id on ${hosts[index]}" remote "${hosts[index]}" "$(line "$id" "$@")" &
    started+=($!)
  done
  for index in "${started[@]}"; do
    wait "$index" && status=0
  done
  return "$status"
}

# Job control gives each of the two a process group, which ends as one, whatever it has started.
set -m
groups=()
trap 'trap "" INT TERM HUP; { kill -TERM -- "${groups[@]}" || :; wait; } 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
again chief bash -c "$(line chief "$@")" &
chief=$! groups+=("-$!")
workers "$@" &
workers=$! groups+=("-$!")

wait -n "$chief" "$workers" # a chief that failed, or no worker left, ends the search
wait "$chief"
