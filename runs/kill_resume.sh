#!/usr/bin/env bash
# kill -9 at the start, in the middle and at the end of each stage of a turn, then the same command: is the end the same?
#
#   runs/kill_resume.sh [--json PATH] [--home DIR] [--recipe FILE] [KEY=VALUE]...
#
# The recipe is that of `make loop` unless another is given. One home is left in peace, the other is killed at each of 28
# moments and resumed; the table says per stage how often it was killed and whether results, attempts, exchanges, pairs,
# weights and registry are the same. Takes about two turns and 28 starts: a quarter of an hour on two cores. Exits 1 where
# anything differs.
set -euo pipefail
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --json|--home|--recipe) arguments+=("$1" "$(realpath -m "${2:?$1 needs a path}")"); shift 2 ;;
    -*) echo "error: unknown option $1; see the top of $0" >&2; exit 2 ;;
    *) arguments+=("$1"); shift ;;
  esac
done
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" runs/kill_resume.py ${arguments[@]+"${arguments[@]}"}
