"""A Python callable as a target: `python:MODULE:NAME` or `python:FILE.py:NAME`.

The callable is given the messages as `[{"role": ..., "content": ...}]` and returns the reply as a text, or an awaitable of
one. A plain function runs in a thread, so that one that blocks does not hold up the others; an object with a `reply`
method is a Model already and is taken as it is. Whatever it raises is a TargetError of one line: the campaign counts it
as an error and not as safe.

It runs with all rights of this process: give it code that you trust. Not covered: streams, batches, interpreters other
than this one.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trivet.core.errors import ModelNotFound, TargetError, TrivetError
from trivet.core.messages import Conversation, Message, Sampling
from trivet.core.protocols import GREEDY, Model


class Function:
    """Replies with what a callable returns."""

    def __init__(self, call: Callable[[list[dict[str, str]]], Any], name: str) -> None:
        self._call = call
        self.name = name

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        try:
            if inspect.iscoroutinefunction(self._call):
                said = await self._call(conversation.rows())
            else:
                said = await asyncio.to_thread(self._call, conversation.rows())
                if inspect.isawaitable(said):
                    said = await said
        except TrivetError:
            raise  # it speaks our language: a Blocked is a Blocked
        except Exception as failure:
            raise TargetError(
                f"{self.name} raised {type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
            ) from failure
        if not isinstance(said, str):
            raise TargetError(f"{self.name} returned {type(said).__name__} {said!r:.80}; it must return a text")
        return Message("assistant", said.encode("utf-8", "replace").decode())


def load(spec: str) -> Model:
    """The model behind `MODULE:NAME` or `FILE.py:NAME`."""
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise ModelNotFound(
            f"python:{spec} does not say which callable; give python:MODULE:NAME or python:FILE.py:NAME"
        )
    found: Any = _module(place)
    for step in name.split("."):
        if not hasattr(found, step):
            raise ModelNotFound(f"{place} has no {name}; give the name of a function in it")
        found = getattr(found, step)
    if not inspect.isclass(found) and callable(getattr(found, "reply", None)):
        return found  # type: ignore[no-any-return]
    if not callable(found):
        raise ModelNotFound(f"{place}:{name} is {type(found).__name__} and cannot be called; give a function")
    return Function(found, f"python:{spec}")


def _module(place: str) -> Any:
    try:
        if place.endswith(".py"):
            path = Path(place)
            spec = importlib.util.spec_from_file_location(path.stem, path)
            if not path.is_file() or spec is None or spec.loader is None:
                raise ModelNotFound(f"there is no file {place} to take a callable from")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        return _imported(place)
    except TrivetError:
        raise
    except ModuleNotFoundError as missing:
        raise ModelNotFound(
            f"python:{place} cannot be imported: {missing}; run it from the folder of the module"
        ) from missing
    except Exception as failure:
        raise ModelNotFound(
            f"python:{place} failed while it was imported: {type(failure).__name__}: {failure}"
        ) from failure


def _imported(name: str) -> Any:
    """With the working directory in front, as `python -m` has it; a console script has not."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)
