"""The board: what a turn is doing, live on a terminal and line by line anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

WORDS = {
    "open": "open the turn",
    "attack": "attack the champion through the gateway",
    "harvest": "harvest its failures",
    "build": "build preference pairs",
    "train": "train the challenger",
    "measure champion": "measure the champion",
    "measure challenger": "measure the challenger",
    "measure champion behind guards": "measure the champion behind the guards",
    "measure challenger behind guards": "measure the challenger behind the guards",
    "gate": "the gate decides",
    "report": "write the report",
}


class Board:
    """Use as a context manager; `start`, `tell`, `finish` one stage after the other."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._live = self.console.is_terminal
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<42}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._began = 0.0

    def start(self, turn: str, stage: str) -> None:
        self._stage, self._began = stage, time.monotonic()
        words = WORDS.get(stage, stage)
        if self._live:
            self._task = self._progress.add_task(words, total=None, note="")
        else:
            self.console.print(f"{turn}  {words} ...", highlight=False)

    def counted(self, done: int, total: int, hits: int) -> None:
        """Progress of a campaign."""
        if self._live and self._task is not None:
            note = f"{done}/{total}" + (f", {hits} through" if hits else "")
            self._progress.update(self._task, completed=done, total=total, note=note)

    def trained(self, row: Mapping[str, float]) -> None:
        """Progress of a training run, from a row of its metrics."""
        if self._live and self._task is not None and row.get("steps"):
            note = f"step {row['step']:g}/{row['steps']:g}, loss {row.get('loss', float('nan')):.3f}"
            self._progress.update(self._task, completed=row["step"], total=row["steps"], note=note)

    def finish(self, turn: str, note: str, *, known: bool = False) -> None:
        """The stage is done; `known` when it had been done before."""
        words = WORDS.get(self._stage, self._stage)
        if self._live and self._task is not None:
            self._progress.update(self._task, completed=1, total=1, note=note)
            self._progress.stop_task(self._task)
        else:
            seconds = "done before" if known else f"{time.monotonic() - self._began:.0f} s"
            self.console.print(f"{turn}  {words}: {note} ({seconds})", highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()
