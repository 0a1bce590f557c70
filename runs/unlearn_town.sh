#!/usr/bin/env bash
# Unlearning one hazard of the town by five losses, with relearning and quantisation attacks: see unlearn_town.py.
#
#   runs/unlearn_town.sh [--out FOLDER] [--json PATH] [--html PATH] [--losses ga,npo] [--quick] [--threads N]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python="$here/../.venv/bin/python"
[ -x "$python" ] || python=python3
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec "$python" "$here/unlearn_town.py" "$@"
