"""Any HTTP service that takes JSON and gives JSON, told by a small YAML file: `rest:FILE.yaml`.

    url: https://bot.example/ask
    headers: {Authorization: "Bearer ${BOT_KEY}"}     # ${NAME} comes from the environment
    body: {question: "{prompt}", history: "{messages}", limit: "{max_tokens}"}
    reply: answer.text                                # or choices.0.message.content
    blocked: answer.filtered                          # optional: where this is true, a guard stopped it
    name: bot                                         # optional: how records call it

In the body `{prompt}` is the last user message, `{system}` the system message, `{conversation}` the whole talk as lines,
`{messages}` the list of role and content, `{max_tokens}`, `{temperature}` and `{seed}` the sampling. A text that is
nothing but one of these becomes its value, list or number; within a longer text it is written out. What stands in a
prompt is never filled again, so an attack cannot reach into the body.

It is an Endpoint with its retries, time limits and one-line errors. Not covered: methods other than POST, forms and
multipart bodies, sessions that the service keeps by itself, streaming (the whole reply comes as one piece).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from trivet.core.config import read
from trivet.core.errors import Blocked, ConfigError, TargetError
from trivet.core.messages import Conversation, Sampling
from trivet.core.models.endpoint import Endpoint
from trivet.core.protocols import GREEDY

_NAMES = ("prompt", "system", "conversation", "messages", "max_tokens", "temperature", "seed")
_PLACE = re.compile(r"\{(" + "|".join(_NAMES) + r")\}")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_KEYS = {"url", "headers", "body", "reply", "blocked", "name"}


class Rest(Endpoint):
    """Continues conversations by a template; `load` reads one from its file."""

    def __init__(
        self,
        url: str,
        body: Mapping[str, Any],
        reply: str,
        *,
        blocked: str = "",
        name: str = "",
        headers: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(url, name or url, headers=headers, **settings)
        self._address: httpx.URL = httpx.URL(url)
        self.url = str(self._address.copy_with(userinfo=b"", query=None))
        if "Authorization" not in (headers or {}):
            self._headers.pop("Authorization", None)  # a key for other servers is none of this one's business
        self._template = body
        self._reply = reply
        self._blocked_at = blocked

    async def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> AsyncIterator[str]:
        yield (await self.reply(conversation, sampling)).content

    async def option_logprobs(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        raise TargetError(f"{self} sends no log-probabilities; count votes instead (labels: votes)")

    def _body(self, conversation: Conversation, sampling: Sampling, *, stream: bool) -> dict[str, Any]:
        values = {
            "prompt": conversation.last_user,
            "system": "\n\n".join(message.content for message in conversation if message.role == "system"),
            "conversation": "\n".join(f"{message.role}: {message.content}" for message in conversation),
            "messages": conversation.rows(),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": sampling.seed,
        }
        filled = _filled(self._template, values)
        assert isinstance(filled, dict)
        return filled

    def _content(self, raw: bytes) -> str:
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = None
        if self._blocked_at and _at(answer, self._blocked_at):
            raise Blocked(f"{self} blocked this ({self._blocked_at} is true)", "input")
        found = _at(answer, self._reply)
        if not isinstance(found, str):
            said = " ".join(raw.decode("utf-8", "replace").split())[:200]
            raise TargetError(f"{self} sent no text at {self._reply!r}: {said}")
        return found.encode("utf-8", "replace").decode()


def load(path: str | Path) -> Rest:
    """The service that a YAML file tells of. Raises ConfigError that says which key is wrong and how it should look."""
    rows = read(path)
    if unknown := set(rows) - _KEYS:
        raise ConfigError(f"{path}: unknown keys {', '.join(sorted(unknown))}; there are {', '.join(sorted(_KEYS))}")
    for key, kind, wanted in (
        ("url", str, "a URL"),
        ("body", dict, "a mapping"),
        ("reply", str, "a path like a.0.text"),
    ):
        if not isinstance(rows.get(key), kind):
            raise ConfigError(f"{path}: `{key}` must be {wanted}, is {rows.get(key)!r:.60}")
    if not _PLACE.search(json.dumps(rows["body"])):
        raise ConfigError(
            f"{path}: the body holds no {{prompt}}, {{messages}} or {{conversation}}, so nothing is asked"
        )
    headers = rows.get("headers") or {}
    if not isinstance(headers, dict):
        raise ConfigError(f"{path}: `headers` must be a mapping, is {headers!r:.60}")
    filled = {str(name): _from_environment(str(value), path) for name, value in headers.items()}
    return Rest(
        rows["url"],
        rows["body"],
        rows["reply"],
        blocked=str(rows.get("blocked") or ""),
        name=str(rows.get("name") or ""),
        headers=filled,
    )


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, Mapping):
        return {key: _filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, values) for value in template]
    if not isinstance(template, str):
        return template
    if whole := _PLACE.fullmatch(template):
        return values[whole.group(1)]
    return _PLACE.sub(lambda found: _written(values[found.group(1)]), template)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _at(answer: Any, path: str) -> Any:
    """What stands at `a.0.b`, or None."""
    for step in path.split("."):
        if isinstance(answer, dict):
            answer = answer.get(step)
        elif isinstance(answer, list) and step.isdigit() and int(step) < len(answer):
            answer = answer[int(step)]
        else:
            return None
    return answer


def _from_environment(text: str, path: str | Path) -> str:
    def value(found: re.Match[str]) -> str:
        if found.group(1) not in os.environ:
            raise ConfigError(f"{path}: a header needs ${{{found.group(1)}}}, which the environment does not hold")
        return os.environ[found.group(1)].strip()

    return _VARIABLE.sub(value, text)
