"""Attempts a second: Trivet's campaign beside garak 0.17.1 and PyRIT 1.1.0, and what it adds to a slow target.

    python bench/campaign.py --json OUT [--rounds N] [--attempts N] [--garak N] [--pyrit N] [--without garak|pyrit]

All sides ask a target in their own process that answers at once, half of the time with a refusal; all judge every reply for
refusal and store it with its verdict: Trivet in its SQLite store with `RefusalRules`, garak in its report with
`mitigation.MitigationBypass`, PyRIT in its SQLite memory with a regular expression, inverted. Prompts and replies are the same words on
all sides, the replies as long as those of real models. A side that does not store and judge all of them ends the bench. Each side runs in
a process and an environment of its own, in turns; what counts is the median over the rounds of the time from the moment at which everything is
loaded until everything is stored. Start-up is nobody's, but see `whole`.

Results: `attempts_per_s` (wall time), `ratio_vs_garak`, `ratio_vs_pyrit` (of wall times), and the same by processor time (`..._cpu`), which
another process on the machine disturbs less. `..._whole`: the same from the start of each process, where garak and Trivet were given
as many attempts: with start-up, imports and, for garak, the pages that it makes at its end; for Trivet with the closing of
its store. `overhead_at_200ms`: 64 at a time against a target that takes
200 ms, wall time over that of 64 workers in the same kind of event loop that do nothing else than to wait for the same target, minus one
(`overhead_over_ideal` is over attempts / 64 x 200 ms, which no event loop reaches: its timers are rounded up to milliseconds). Where the
bare workers miss the ideal by more than BUSY, `busy` says that the machine had other things to do and the figure is worth little.
A peer that cannot be installed leaves its key null, and `notes` says why.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import campaign_peer

HERE = Path(__file__).resolve().parent
SLOW = {"seconds": 0.2, "concurrency": 64}
BUSY = 0.006
"""Twice what the rounding of timers to milliseconds costs on an idle machine."""

Row = dict[str, Any]


def side(name: str, python: Path | str, given: Row) -> Row:
    """One run of one side in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="campaign-bench-") as place:
        folder = Path(place)
        task, result = folder / "task.json", folder / "result.json"
        task.write_text(json.dumps({**given, "folder": place, "started": time.time()}), encoding="utf-8")
        # Whatever a peer writes besides its results goes away with the folder.
        homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), place)
        env = {**os.environ, **homes, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        script = HERE / f"campaign_{name}.py"
        done = subprocess.run(
            [str(python), str(script), str(task), str(result)], cwd=HERE, env=env, capture_output=True, text=True
        )
        if done.returncode or not result.exists():
            raise SystemExit(f"the side {name} failed:\n{done.stderr[-2000:]}")
        row: Row = json.loads(result.read_text(encoding="utf-8"))
    attempts = given["attempts"]
    if (row["stored"], row["through"]) != (attempts, attempts // 2):
        raise SystemExit(
            f"the side {name} was given {attempts} prompts, half of which are refused; it stored {row['stored']} and "
            f"judged {row['through']} as not refused"
        )
    row["attempts"] = attempts
    kinds = {"per_s": "wall", "per_cpu_s": "cpu", "whole_per_s": "whole_wall", "whole_per_cpu_s": "whole_cpu"}
    return row | {key: attempts / row[f"{of}_seconds"] for key, of in kinds.items() if f"{of}_seconds" in row}


def middle(rows: list[Row], key: str) -> float:
    return statistics.median(float(row[key]) for row in rows)


def overhead(row: Row) -> Row:
    """What a campaign adds to the waiting for its target."""
    ideal = row["attempts"] / SLOW["concurrency"] * SLOW["seconds"]
    over_bare, cpu = row["wall_seconds"] / row["bare_seconds"] - 1, row["cpu_seconds"] / row["attempts"]
    busy = row["bare_seconds"] / ideal - 1 > BUSY
    return {
        "overhead_at_200ms": over_bare,
        "busy": busy,
        "overhead_over_ideal": row["wall_seconds"] / ideal - 1,
        "bare_over_ideal": row["bare_seconds"] / ideal - 1,
        "cpu_ms_per_attempt": cpu * 1e3,
    }


def compared(rounds: int, attempts: dict[str, int]) -> Row:
    """All sides in turns."""
    notes: list[str] = []
    pythons: dict[str, Path | str] = {}
    for name in attempts:
        pythons[name] = Path(sys.executable) if name == "ours" else campaign_peer.python(name)
        if isinstance(pythons[name], str):
            notes.append(str(pythons[name]))
    rows: dict[str, list[Row]] = {name: [] for name in attempts if isinstance(pythons[name], Path)}
    for number in range(rounds):
        for name, found in rows.items():
            found.append(side(name, pythons[name], {"attempts": attempts[name], "concurrency": 10}))
            print(f"round {number + 1}: {name} {found[-1]['per_s']:,.0f} a second", file=sys.stderr)
    ours = rows["ours"]
    result: Row = {
        f"attempts_{of}": middle(ours, of) for of in ("per_s", "per_cpu_s", "whole_per_s", "whole_per_cpu_s")
    }
    for peer in ("garak", "pyrit"):
        there = rows.get(peer)
        measures = [("", "per_s"), ("_cpu", "per_cpu_s")]
        if peer == "garak" and attempts["ours"] == attempts.get("garak"):
            measures += [("_whole", "whole_per_s"), ("_whole_cpu", "whole_per_cpu_s")]
        for key, of in measures:
            result[f"ratio_vs_{peer}{key}"] = middle(ours, of) / middle(there, of) if there else None
            result[f"{peer}_{of}"] = middle(there, of) if there else None
    return {**result, "rounds": rows, "notes": notes}


def main() -> None:
    parser = argparse.ArgumentParser(description="attempts a second beside garak and PyRIT")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--attempts", type=int, default=10_000, help="Trivet's, in each round")
    parser.add_argument("--garak", type=int, default=10_000, help="garak's")
    parser.add_argument("--pyrit", type=int, default=100, help="PyRIT's")
    parser.add_argument("--slow", type=int, default=3200, help="attempts against the target that takes 200 ms")
    parser.add_argument("--without", action="append", default=[], choices=["garak", "pyrit"], help="leave a peer out")
    given = parser.parse_args()
    counts = {"ours": given.attempts, "garak": given.garak, "pyrit": given.pyrit}
    load = os.getloadavg()[0]
    result = compared(given.rounds, {name: count for name, count in counts.items() if name not in given.without})
    result["notes"] += [f"{peer} was left out" for peer in given.without]
    slow = [side("ours", sys.executable, {"attempts": given.slow, **SLOW}) for _ in range(given.rounds)]
    each = [overhead(row) for row in slow]
    result |= {key: middle(each, key) for key in each[0] if key != "busy"} | {"busy": any(row["busy"] for row in each)}
    result |= {"slow": slow, "cores": os.cpu_count(), "load": [load, os.getloadavg()[0]]}
    for key, value in result.items():
        if key not in ("rounds", "slow"):
            print(f"{key:>22}: {f'{value:,.4g}' if isinstance(value, float) else value}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
