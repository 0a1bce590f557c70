"""Several upstreams as YAML: what they are called, how to reach them, and which answer for which model.

    upstreams:
      main:   {url: "https://api.openai.com/v1", model: gpt-4o-mini, key_env: OPENAI_API_KEY, retries: 2}
      backup: {url: "http://10.0.0.7:8000/v1", model: llama, routes: [/v1/chat/completions]}
    models:
      chat: [main, backup]          # what clients ask for: the upstreams to ask, in order

Keys are read from the environment (`key_env`), never from the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec
import yaml

from trivet.core.errors import ConfigError, did_you_mean
from trivet.monitoring.gateway.formats.shape import Upstream
from trivet.monitoring.gateway.pool import Waits
from trivet.monitoring.gateway.upstream import Breaker, Fallback, HttpUpstream

Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """One upstream. `routes` are those that it speaks itself; others are translated to chat completions."""

    url: str
    model: str = ""
    key_env: str = ""
    headers: dict[str, str] = {}
    routes: list[str] = []
    ca: str | None = None
    retries: Annotated[int, msgspec.Meta(ge=0)] = 2
    connect_seconds: Seconds = Waits.connect_seconds
    first_byte_seconds: Seconds = Waits.first_byte_seconds
    silent_seconds: Seconds = Waits.silent_seconds
    max_connections: Annotated[int, msgspec.Meta(ge=1)] = Waits.max_connections
    breaks: Annotated[int, msgspec.Meta(ge=1)] = 5
    pause_seconds: Seconds = 5.0


class File(msgspec.Struct, forbid_unknown_fields=True):
    upstreams: dict[str, Row]
    models: dict[str, list[str]]


def read_upstreams(path: Path) -> dict[str, Upstream]:
    """The models of a file, by the names that clients ask for. Raises ConfigError with every mistake found."""
    try:
        given = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), File)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"the upstreams {path} cannot be read: {' '.join(str(error).split())}") from error
    faults = [
        f"{name}: ${row.key_env} is not set"
        for name, row in given.upstreams.items()
        if row.key_env and row.key_env not in os.environ
    ]
    for model, names in given.models.items():
        if not names:
            faults.append(f"the model {model!r} names no upstream")
        faults += [
            f"the model {model!r} names {name!r}, which is no upstream.{did_you_mean(name, given.upstreams)}"
            for name in names
            if name not in given.upstreams
        ]
    if not given.models:
        faults.append("`models` names none, so nothing could be asked")
    if faults:
        raise ConfigError(f"the upstreams {path}: {'; '.join(faults)}")
    breakers = {name: Breaker(row.breaks, row.pause_seconds) for name, row in given.upstreams.items()}

    def made(name: str, model: str) -> HttpUpstream:
        # One for each model that asks it, since it calls them differently; the breaker is that of the server.
        row = given.upstreams[name]
        waits = Waits(
            row.connect_seconds, row.first_byte_seconds, row.silent_seconds, max_connections=row.max_connections
        )
        return HttpUpstream(
            row.url,
            name=model,
            model=row.model,
            key=os.environ.get(row.key_env, ""),
            headers=row.headers,
            routes=row.routes,
            retries=row.retries,
            waits=waits,
            ca=path.parent / row.ca if row.ca else None,
            breaker=breakers[name],
        )

    return {
        model: made(names[0], model) if len(names) == 1 else Fallback([made(name, model) for name in names], model)
        for model, names in given.models.items()
    }
