"""Streams made of choices and deltas: chat completions, and the older completions.

Every text of every choice goes through a stream of its own: content, refusal, reasoning, and the arguments of each tool
call. Log-probabilities spell the text out token by token, so they leave only with text that left unchanged, and never
before it. A field of a delta that nobody here knows is guarded like content if it is a string; if it is more than that
it is left out wherever an output layer could change or stop the reply.
"""

from __future__ import annotations

from typing import Any

from trivet.core.errors import TargetError
from trivet.core.models.sse import Frame
from trivet.monitoring.gateway import wire
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.shape import Field, Open, Path, Told
from trivet.monitoring.gateway.formats.streaming import FAREWELL_EVENTS, Texts, as_sent, event, failed, is_name, parsed
from trivet.monitoring.gateway.formats.texts import is_word, leaves

TEXT_FIELDS: dict[str, Field] = {
    "content": "content",
    "text": "content",
    "refusal": "refusal",
    "reasoning_content": "reasoning",
    "reasoning": "reasoning",
}
"""What a message or delta holds, and as what it is guarded."""

CHUNK = frozenset(("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"))
_PLAIN = frozenset(("role", "name", "id", "tool_call_id", "object", "type", "index"))
_TEXT_OF = {"function": "arguments", "custom": "input"}
MOST_CHOICES = 128


def field_of(path: Path) -> Field:
    """What a text of a message is, by where it stands in it."""
    name = str(path[0]) if path else ""
    if name in ("tool_calls", "function_call"):
        return "arguments"
    return TEXT_FIELDS.get(name, "reasoning" if "reasoning" in name else "content")


def without_tokens(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice without log-probabilities, which are dealt with by themselves."""
    return {name: value for name, value in choice.items() if name != "logprobs"}


class ChatReader:
    """One streamed chat completion."""

    def __init__(self, open_stream: Open, told: Told, expected: int = 1) -> None:
        self.over = False
        self.texts = Texts(open_stream, told)
        self._told = told
        self._expected = expected
        self._going: dict[int, bool] = {}  # by choice
        self._tokens: dict[int, dict[str, list[Any]]] = {}
        self._last: dict[str, Any] = {"object": "chat.completion.chunk", "choices": []}
        self._kept: list[bytes] = []

    # How a choice holds its delta: the older API keeps the text in the choice itself.

    def _of(self, choice: dict[str, Any]) -> Any:
        return choice.get("delta") or {}

    def _with(self, choice: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
        return {**choice, "delta": delta}

    async def take(self, frame: Frame) -> bytes:
        if frame.data.strip() == "[DONE]":
            self.over = True
            for number in [number for number, going in self._going.items() if going]:
                self._keep(self._made(number, tail) if (tail := await self._rest(number)) else None)
            return b""
        chunk = parsed(frame)
        if chunk.get("error"):
            raise failed(chunk["error"])
        choices = chunk.get("choices") or []
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise TargetError("the model's server sent choices that are none")
        if isinstance(chunk.get("usage"), dict):
            self._told.usage = chunk["usage"]
        self._last = self.texts.plain(chunk, "choices")
        ended = self._has_ended()
        out = await self._chunk(frame, chunk, choices)
        if self.texts.stopped:
            self.over = True
        elif ended or self._has_ended():
            # Before [DONE] comes the report on usage, and all of it belongs to the end.
            self._keep(out)
            return b""
        return out

    def end(self) -> None:
        if not self._going or any(self._going.values()):
            raise TargetError("the model's server ended its stream in the middle of a reply")

    def farewell(self) -> bytes:
        if (slot := self._told.blocked) is None:
            return b"".join(self._kept) + openai.DONE
        going = sorted({slot.choice, *(number for number, going in self._going.items() if going)})
        out = [*self._kept, *(self._made(number, {}, "content_filter") for number in going)]
        return b"".join(out) + openai.failure(wire.filtered("output", slot.stream.decision.layer))

    def _has_ended(self) -> bool:
        return len(self._going) >= self._expected and not any(self._going.values())

    def _keep(self, out: bytes | None) -> None:
        if out:
            self._kept.append(out)
        if len(self._kept) > FAREWELL_EVENTS:
            raise TargetError("the model's server does not end a stream whose reply has ended")

    def _made(self, number: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        """A chunk of our own, in the words of the last."""
        choice = self._with({"index": number, "logprobs": None, "finish_reason": finish}, delta)
        return event({**{name: value for name, value in self._last.items() if name != "usage"}, "choices": [choice]})

    async def _chunk(self, frame: Frame, chunk: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
        """The chunk as it may leave, after the tails of the choices that it ends."""
        out, changed, left = [], self._last is not chunk, []
        for choice in choices:
            number = choice.get("index") or 0
            if not isinstance(number, int) or not 0 <= number < MOST_CHOICES:
                raise TargetError("the model's server sent a choice without a number")
            new, tail = await self._choice(number, choice)
            if tail:
                out.append(self._made(number, tail))
            changed = changed or new is not choice
            if new is not None:
                left.append(new)
        if not changed:
            out.append(as_sent(frame))
        elif left or chunk.get("usage"):
            out.append(event({**self._last, "choices": left}))
        return b"".join(out)

    async def _choice(self, number: int, choice: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """The choice as it may leave (itself where nothing changed, None where nothing is left), and a tail before it."""
        plain = self.texts.plain(choice, "delta", "text", "logprobs")
        given = self._of(plain)
        if not isinstance(given, dict):
            raise TargetError("the model's server sent a delta that is none")
        going = self._going.setdefault(number, True)
        delta = await self._delta(number, given)
        finish, tail = plain.get("finish_reason"), dict[str, Any]()
        if finish and going:
            tail = await self._rest(number)
            self._going[number] = self.texts.stopped
            if number == 0 and not self.texts.stopped:
                self._told.finish = str(finish)
        if self.texts.stopped:
            finish = None
        logprobs = self._logprobs(number, choice.get("logprobs"))
        if (delta, finish, logprobs) == (given, plain.get("finish_reason"), plain.get("logprobs")):
            return plain, tail
        if not delta and not finish and not logprobs:
            return None, tail
        return self._with({**plain, "logprobs": logprobs, "finish_reason": finish or None}, delta), tail

    async def _delta(self, number: int, delta: dict[str, Any]) -> dict[str, Any]:
        """What of a delta may leave."""
        new: dict[str, Any] = {}
        for name, value in delta.items():
            if name == "tool_calls" and isinstance(value, list):
                if calls := [one for call in value if (one := await self._call(number, call))]:
                    new[name] = calls
            elif name == "function_call" and isinstance(value, dict):
                if called := await self._called((number, name), value, "arguments"):
                    new[name] = called
            elif not value or isinstance(value, (bool, int, float)) or (name in _PLAIN and is_word(value)):
                new[name] = value
            elif isinstance(value, str):
                if text := await self.texts.feed((number, name), value, number, field_of((name,))):
                    new[name] = text
            elif self.texts.free:
                new[name] = value
            elif name in TEXT_FIELDS:
                raise TargetError(f"the model's server sent a {name} that is no text and cannot be checked")
        return new

    async def _call(self, number: int, call: Any) -> dict[str, Any]:
        """What of a tool call's delta may leave."""
        if not isinstance(call, dict) or not isinstance(call.get("index") or 0, int):
            raise TargetError("the model's server sent a tool call that is none")
        new: dict[str, Any] = {}
        for name, value in call.items():
            if name in _TEXT_OF and isinstance(value, dict):
                key = (number, "tool_calls", call.get("index") or 0, name)
                if called := await self._called(key, value, _TEXT_OF[name]):
                    new[name] = called
            elif not any(leaves({name: value})) or self.texts.free:
                new[name] = value
        return new if new.keys() - {"index"} else {}

    async def _called(self, key: tuple[Any, ...], called: dict[str, Any], text: str) -> dict[str, Any]:
        new: dict[str, Any] = {}
        for name, value in called.items():
            if name == text and value and isinstance(value, str):
                if released := await self.texts.feed(key, value, key[0], "arguments", json=text == "arguments"):
                    new[name] = released
            elif not value or (name == "name" and is_name(value)) or self.texts.free:
                new[name] = value
            else:
                raise TargetError(f"the model's server sent a {name} of a tool call that cannot be checked")
        return new

    async def _rest(self, number: int) -> dict[str, Any]:
        """What was still held of a choice, as one delta."""
        tail: dict[str, Any] = {}
        for key in [key for key in self.texts.known() if key[0] == number]:
            if not (text := await self.texts.finish(key)):
                continue
            if key[1] == "tool_calls":
                call = {"index": key[2], key[3]: {_TEXT_OF[key[3]]: text}}
                tail.setdefault("tool_calls", []).append(call)
            else:
                tail[key[1]] = {"arguments": text} if key[1] == "function_call" else text
        return tail

    def _logprobs(self, number: int, logprobs: Any) -> Any:
        """The log-probabilities that may leave now: those of text that has left as it came."""
        if self.texts.free or (not logprobs and not self._tokens.get(number)):
            return logprobs
        kept = self._tokens.setdefault(number, {})
        given = logprobs if isinstance(logprobs, dict) else {}
        for name, entries in given.items():
            if isinstance(entries, list):
                kept.setdefault(name, []).extend(entries)
        slots = [slot for name in TEXT_FIELDS if (slot := self.texts.find((number, name)))]
        if self.texts.stopped or any(slot.changed for slot in slots):
            kept.clear()
            return None
        if not all(slot.clean for slot in slots) or not any(kept.values()):
            return None
        self._tokens[number] = {}
        return {**dict.fromkeys(given), **kept}


class CompletionReader(ChatReader):
    """One streamed completion of the older API."""

    def _of(self, choice: dict[str, Any]) -> Any:
        return {"text": choice["text"]} if choice.get("text") is not None else {}

    def _with(self, choice: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
        return {**choice, "text": delta.get("text", "")}
