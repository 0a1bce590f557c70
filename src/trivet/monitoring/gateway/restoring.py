"""Values that the input's masks took out, put back into the reply: the model never saw them, the user gets them.

Done only where the settings say so (`restore`, for all of them) or a guard does (`reversible`, for its own), and after
the output's guards: what they judge, and what they mask themselves, is the text with placeholders. Tool arguments are
JSON, so values are escaped there.

Not covered: see `guards/vault.py` for placeholders that the model changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trivet.core.verdicts import Decision
from trivet.monitoring.gateway.formats.shape import Field, Stream
from trivet.monitoring.guards.vault import Placeholders, Restorer, json_escaped


def restored(text: str, names: Placeholders, field: Field) -> str:
    """A whole text with its values."""
    restorer = _restorer(names, field)
    return restorer.feed(text) + restorer.finish()


def _restorer(names: Placeholders, field: Field) -> Restorer:
    return Restorer(names, json_escaped) if field == "arguments" else Restorer(names)


class Step(NamedTuple):
    release: str
    stopped: bool


class Restored:
    """A guarded stream whose releases have their values again."""

    passthrough = False

    def __init__(self, inner: Stream, names: Placeholders, field: Field) -> None:
        self._inner: Any = inner
        self._restorer = _restorer(names, field)
        self._text: list[str] = []

    async def feed(self, delta: str) -> Step:
        step = await self._inner.feed(delta)
        return self._out(self._restorer.feed(step.release), step.stopped)

    async def finish(self) -> Step:
        step = await self._inner.finish()
        release = self._restorer.feed(step.release)
        return self._out(release if step.stopped else release + self._restorer.finish(), step.stopped)

    def _out(self, release: str, stopped: bool) -> Step:
        if release:
            self._text.append(release)
        return Step(release, stopped)

    @property
    def decision(self) -> Decision:
        found: Decision = self._inner.decision
        return found

    @property
    def text(self) -> str:
        return "".join(self._text)
