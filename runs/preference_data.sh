#!/usr/bin/env bash
# The figures of docs/preference_data.md: what is said about public preference sets, and about labellers with known faults.
#
#   runs/preference_data.sh [--out FOLDER]
#
# The public sets are those of TRIVET_DATA (default: ../shared/data), folder preferences. Takes less than a minute.
set -euo pipefail

out=runs/out/preference_data
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out=$(realpath -m "$2"); shift 2 ;;
    *) echo "error: unknown option $1; see the top of $0" >&2; exit 2 ;;
  esac
done
cd "$(dirname "$0")/.."

python=.venv/bin/python
[ -x "$python" ] || python=python3
sets="${TRIVET_DATA:-../shared/data}/preferences"
[ -d "$sets" ] || { echo "error: no preference sets at $sets; set TRIVET_DATA" >&2; exit 2; }
mkdir -p "$out"

for name in hh_harmless_test oasst_en100 pandalm_human gptfuzz_pairs model_written_persona; do
  "$python" -m trivet.cli.main data report "$sets/$name.jsonl.gz" --json "$out/$name.json" --html "$out/$name.html"
  echo
done
"$python" -m trivet.cli.main data agreement "$sets/pandalm_human.jsonl.gz" --json "$out/votes.json" --html "$out/votes.html"
"$python" -m trivet.cli.main data import "$sets/pandalm_human.jsonl.gz" --as preferences --votes --out "$out/soft.jsonl.gz"
echo
"$python" runs/labellers_town.py --out "$out/labellers"
for code in length refusal; do
  echo
  "$python" -m trivet.cli.main data agreement "$out/labellers/$code.jsonl" --html "$out/labellers/$code.html"
done
