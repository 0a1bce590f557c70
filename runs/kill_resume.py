"""Kill a turn of the loop at every stage, go on each time, and compare with a turn that nothing disturbed.

    python runs/kill_resume.py [--json PATH] [--home DIR] [--recipe FILE] [KEY=VALUE]...

A process is told where to die (`Moment`) and sends itself SIGKILL there, so nothing is flushed, closed or tidied up.
One home is killed at every moment in turn and resumed by the same command; another is left in peace. At the end each
stage's results, events, files and weights are compared by content: only times, speeds, random ids and the gateway's port
are left out.

Not covered: a power cut (a killed process loses nothing that the kernel had taken over), and kills from outside between
any two instructions; the moments are the start, the middle and the end of each stage's work.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOMENT = "TRIVET_DIE_AT"
TURN = "turn-0001"
STAGES = (
    "open",
    "attack",
    "harvest",
    "build",
    "train",
    "measure champion",
    "measure challenger",
    "gate",
    "measure champion behind guards",
    "measure challenger behind guards",
    "report",
)
LONG = ("attack", "train", "measure champion", "measure challenger", *STAGES[8:10])
"""The stages that have a middle."""

GUARDED = {name: f"{TURN}/{name.split()[1]}-behind-guards" for name in STAGES[8:10]}
_PORT = re.compile(r"(?<=127\.0\.0\.1):\d+")
SPEEDS = {"seconds", "stages", "pairs_per_second", "tokens_per_second"}


# ------------------------------------------------------------------------------------------------------------- dying


@dataclass(frozen=True)
class Moment:
    """Where a turn dies: at the `start` of a stage, in its `middle` (after `steps` of progress), or at its `end`, when
    the work is done and its result is about to be stored."""

    stage: str
    point: str
    steps: int = 0

    def __str__(self) -> str:
        return f"{self.stage}:{self.point}" + (f":{self.steps}" if self.point == "middle" else "")

    @classmethod
    def parse(cls, text: str) -> Moment:
        stage, point, *steps = text.split(":")
        return cls(stage, point, int(steps[0]) if steps else 0)


def moments(steps: Mapping[str, int]) -> list[Moment]:
    """Every moment of a turn, in order; `steps` says how far the middle of each long stage is."""
    found = []
    for stage in STAGES:
        found += [Moment(stage, "start"), *([Moment(stage, "middle", steps[stage])] if stage in LONG else [])]
        found.append(Moment(stage, "end"))
    return found


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: Moment) -> None:
    """Make this process die at the moment. Called before the command starts."""
    from trivet.core.store.events import Store
    from trivet.loop import board

    class Doomed(board.Board):
        at = ""
        begun: float | None = None

        def start(self, turn: str, stage: str) -> None:
            super().start(turn, stage)
            self.at, self.begun = stage, None
            if (stage, "start") == (moment.stage, moment.point):
                die()

        def _moved(self, to: float) -> None:
            if self.begun is None:
                self.begun = to
            if (self.at, "middle") == (moment.stage, moment.point) and to - self.begun >= moment.steps:
                die()

        def counted(self, done: int, total: int, hits: int) -> None:
            super().counted(done, total, hits)
            self._moved(done)

        def trained(self, row: Mapping[str, float]) -> None:
            super().trained(row)
            self._moved(row["step"])

    real = Store.finish_stage

    def finish_stage(self: Store, run: str, name: str, *args: Any, **kwargs: Any) -> None:
        if (name, "end") == (moment.stage, moment.point):
            die()
        real(self, run, name, *args, **kwargs)

    board.Board = Doomed  # type: ignore[misc]
    Store.finish_stage = finish_stage  # type: ignore[method-assign]


def command(home: Path, arguments: Sequence[str], moment: Moment | None = None, *, seconds: float = 1800.0) -> str:
    """Run `trivet loop` on a home in a process of its own, and say how it ended: done, killed, or its error."""
    env = {**os.environ, **({MOMENT: str(moment)} if moment else {})}
    words = [sys.executable, str(Path(__file__).absolute()), "--turn", "loop", "--home", str(home), *arguments]
    ended = subprocess.run(words, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    if ended.returncode == -signal.SIGKILL:
        return "killed"
    return "done" if ended.returncode == 0 else f"exit {ended.returncode}: {ended.stderr.strip()[-400:]}"


def series(
    home: Path, arguments: Sequence[str], deaths: Sequence[str], *, seconds: float = 600.0
) -> tuple[dict[str, str], str]:
    """As `command` for each moment and once without: how each ended. Every one is a process of its own, forked from one
    that has done the imports, which take longer than a small turn does."""
    words = [sys.executable, str(Path(__file__).absolute()), "--series", ",".join(deaths), "loop", "--home", str(home)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}  # no pool of threads that a fork would lose
    ended = subprocess.run([*words, *arguments], env=env, capture_output=True, text=True, timeout=seconds, check=False)
    return json.loads(ended.stdout.splitlines()[-1]) if ended.returncode == 0 else {}, ended.stderr


def _series(deaths: Sequence[str], words: Sequence[str]) -> None:
    """The process that forks."""
    import transformers.models.llama.modeling_llama  # noqa: F401

    import trivet.alignment.preference
    import trivet.core.models.local
    import trivet.loop.cycle
    from trivet.cli.main import main as trivet

    ends = {}
    for death in [*deaths, ""]:
        if not (child := os.fork()):
            sys.stdout = sys.stderr
            if death:
                arm(Moment.parse(death))
            try:
                trivet(list(words))
            except SystemExit as end:
                sys.stderr.flush()
                os._exit(int(end.code or 0))
            os._exit(70)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        ends[death] = {-signal.SIGKILL: "killed", 0: "done"}.get(code, f"exit {code}")
    print(json.dumps(ends))


# --------------------------------------------------------------------------------------------------------- comparing


def snapshot(home: Path) -> dict[str, Any]:
    """What a home holds of its first turn, stage by stage, without times, speeds and random ids."""
    from trivet.core.store.artefacts import folder_digest
    from trivet.core.store.events import open_home
    from trivet.core.store.registry import Registry

    folder = home / "turns" / TURN
    with open_home(home, readonly=True) as store:
        results = store.stages(TURN)
        found: dict[str, Any] = {stage: {"result": _plain(results.get(stage), home)} for stage in STAGES}
        measured = list(store.events("attempt", f"{TURN}/measure"))
        found["attack"]["attempts"] = _attempts(store.events("attempt", f"{TURN}/attack"))
        found["attack"]["exchanges"] = _exchanges(store.events("exchange", f"{TURN}/attack"))
        for stage in STAGES:
            if stage.startswith("measure "):
                who = stage.removeprefix("measure ")
                found[stage]["attempts"] = _attempts(event for event in measured if event.target == who)
        for stage, run in GUARDED.items():
            found[stage]["exchanges"] = _exchanges(store.events("exchange", run))
        found["gate"]["promotions"] = [
            (event.run, event.model, event.previous, event.outcome, event.reasons)
            for event in store.events("promotion")
        ]
        found["gate"]["registry"] = [(v.name, v.parent, v.digest, v.status) for v in Registry(store).versions()]
        found["report"]["runs"] = [_plain(event.figures, home) for event in store.events("run")]
    found["build"]["pairs"] = (folder / "pairs.jsonl").read_text(encoding="utf-8")
    found["train"]["weights"] = folder_digest(folder / "train" / "model")
    rows = (folder / "train" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found["train"]["metrics"] = [_plain(json.loads(row), home) for row in rows]
    found["report"]["figures"] = _plain(json.loads((folder / "figures.json").read_text(encoding="utf-8")), home)
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[str]]:
    """By stage, what is not the same in two snapshots, in words."""
    told: dict[str, list[str]] = {}
    for stage in STAGES:
        for part in one[stage]:
            a, b = one[stage][part], other[stage][part]
            if a != b:
                told.setdefault(stage, []).append(f"{part}: {_apart(a, b)}")
    return told


def _attempts(events: Iterable[Any]) -> dict[str, Any]:
    """By id; two with one id cannot be stored, two of one content would show as two ids."""
    return {event.id: (event.suite, event.task, event.attack, event.template, event.conversation, event.blocked,
                       event.verdict.label, event.verdict.score, _PORT.sub("", event.verdict.why)) for event in events}  # fmt: skip


def _exchanges(events: Iterable[Any]) -> Counter[Any]:
    """How often each was recorded, by content."""
    return Counter((e.conversation, e.reply, e.raw, e.finish, e.error, e.decisions) for e in events)


def _plain(value: Any, home: Path) -> Any:
    """Without times and speeds, and without where the home is."""
    if isinstance(value, Mapping):
        return {key: _plain(item, home) for key, item in value.items() if key not in SPEEDS}
    if isinstance(value, (list, tuple)):
        return [_plain(item, home) for item in value]
    return value.replace(str(home), "HOME") if isinstance(value, str) else value


def _apart(a: Any, b: Any) -> str:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = [key for key in {**a, **b} if a.get(key) != b.get(key)]
        return f"{len(keys)} of {len({**a, **b})} differ, first {str(keys[0])[:200]}: {str(a.get(keys[0]))[:200]} / {str(b.get(keys[0]))[:200]}"
    return f"{str(a)[:200]} / {str(b)[:200]}"


# ------------------------------------------------------------------------------------------------------- the command


def main() -> int:
    if sys.argv[1:2] == ["--turn"]:
        if moment := os.environ.get(MOMENT):
            arm(Moment.parse(moment))
        from trivet.cli.main import main as trivet

        trivet(sys.argv[2:])
    if sys.argv[1:2] == ["--series"]:
        _series(sys.argv[2].split(","), sys.argv[3:])
        return 0

    parser = argparse.ArgumentParser(description="kill -9 at each stage of a turn, then the same command")
    parser.add_argument("--json", type=Path, help="write the table here")
    parser.add_argument("--home", type=Path, help="keep both homes here (default: a temporary folder)")
    parser.add_argument("--recipe", type=Path, default=Path("configs/loop_full.yaml"))
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args()
    place = given.home or Path(tempfile.mkdtemp(prefix="kill-resume-"))
    try:
        table = _tried(place, ["--recipe", str(given.recipe), *given.overrides])
    finally:
        if not given.home:
            shutil.rmtree(place, ignore_errors=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    return 0 if table["same"] else 1


def _tried(place: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Both homes, the comparison, and its table on the terminal."""
    smooth, killed = place / "smooth", place / "killed"
    began = time.monotonic()
    if (ended := command(smooth, arguments)) != "done":
        raise SystemExit(f"error: the undisturbed turn did not end well: {ended}")
    calm = time.monotonic() - began
    print(f"undisturbed turn: {calm:.0f} s", flush=True)
    whole = snapshot(smooth)
    steps = {stage: max(1, len(whole[stage].get("attempts", ())) // 2) for stage in LONG}
    steps["train"] = max(1, whole["train"]["result"]["steps"] // 2)

    began, ends = time.monotonic(), {}
    for moment in moments(steps):
        ends[str(moment)] = command(killed, arguments, moment)
        print(f"  {moment!s:<45} {ends[str(moment)]}", flush=True)
    last = command(killed, arguments)
    print(f"  {'once more':<45} {last}, all in all {time.monotonic() - began:.0f} s", flush=True)
    if last != "done":
        raise SystemExit(f"error: the turn that was killed did not end well: {last}")

    apart = differences(whole, snapshot(killed))
    rows = []
    print(f"\n{'stage':<36}{'kills':>6}  same result")
    for stage in STAGES:
        kills = sum(end == "killed" for moment, end in ends.items() if moment.split(":")[0] == stage)
        rows.append({"stage": stage, "kills": kills, "same": stage not in apart, "apart": apart.get(stage, [])})
        print(f"{stage:<36}{kills:>6}  {'yes' if stage not in apart else 'NO: ' + '; '.join(apart[stage])}")
    survived = [moment for moment, end in ends.items() if end != "killed"]
    if survived:
        print(f"error: not killed where they should have been: {', '.join(survived)}")
    return {"same": not apart and not survived, "kills": len(ends) - len(survived), "seconds": calm, "stages": rows}


if __name__ == "__main__":
    sys.exit(main())
