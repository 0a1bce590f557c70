#!/usr/bin/env bash
# Which attacks break the naive model of the town, which survive alignment, and which survive the gateway.
#
#   runs/redteam_town.sh [--aligned SPEC] [--limit N] [--out FOLDER] [--port N]
#
# The suite `full` on town:helpful alone, behind `trivet serve` with its default policy, and on an aligned model where one is
# given (registry:champion, a folder). The same questions each time, judged by the town's oracle, then compared pair by pair.
# In the folder: a report in HTML and the figures in JSON for each, and the comparisons. About four minutes on two cores
# with the default limit, without --aligned.
set -euo pipefail

aligned="" limit=240 out=.trivet/redteam_town port=8977
while [ $# -gt 0 ]; do
  case "$1" in
    --aligned) aligned=$2; shift 2 ;;
    --limit) limit=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --port) port=$2; shift 2 ;;
    *) echo "error: unknown option $1; see the top of $0" >&2; exit 2 ;;
  esac
done
mkdir -p "$out"
out=$(realpath "$out")
home=$(realpath -m "${TRIVET_HOME:-.trivet}")
cd "$(dirname "$0")/.."
trivet=.venv/bin/trivet
[ -x "$trivet" ] || trivet=trivet

ask() {  # ask NAME TARGET
  "$trivet" attack --target "$2" --goals town --judge oracle --suite full --limit "$limit" --set max_tokens=64 \
    --home "$home" --no-cases --json "$out/$1.json" --html "$out/$1.html"
}

differ() {  # differ NAME: what changed from the naive model to this one; being worse somewhere is a result and no failure
  "$trivet" attack compare "$out/naive.json" "$out/$1.json" --json "$out/naive_to_$1.json" || [ $? -eq 1 ]
}

echo "== town:helpful alone"
ask naive town:helpful
if [ -n "$aligned" ]; then
  echo "== $aligned alone"
  ask aligned "$aligned"
  differ aligned
fi

echo "== town:helpful behind the gateway"
"$trivet" serve --model town:helpful --name naive --port "$port" --home "$out/gateway" --no-console > "$out/gateway.log" 2>&1 &
server=$!
trap 'kill "$server" 2> /dev/null || true' EXIT
for _ in $(seq 120); do
  grep -q "^serving" "$out/gateway.log" && break
  kill -0 "$server" || { cat "$out/gateway.log" >&2; exit 2; }
  sleep 0.5
done
ask guarded "http://127.0.0.1:$port/v1#naive"
differ guarded
