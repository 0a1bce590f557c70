"""Functions under guard: the argument is checked before the call, the result after it (`Guard.wrap`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trivet.core.errors import UserError, did_you_mean
from trivet.core.messages import Conversation, Message
from trivet.monitoring.guard import Fallback, Guard, Stopped, conversation
from trivet.monitoring.guards.format import JsonFormat, reask
from trivet.monitoring.policy import Checked


@dataclass(frozen=True)
class Wrapping:
    """How a function is guarded, and the four kinds of function."""

    guard: Guard
    argument: str | None
    fallback: Fallback | None
    request: Mapping[str, Any] | None
    reask: int
    restore: bool

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function)
        name = self._parameter(signature, function)
        if inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def pieces_async(*args: Any, **kwargs: Any) -> AsyncIterator[str]:
                call = signature.bind(*args, **kwargs)
                checked = await self.guard.acheck(_given(call, name), **self._about())
                if checked.blocked:
                    yield self._blocked(checked)
                    return
                _put(call, name, checked)
                pieces = function(*call.args, **call.kwargs)
                restorer = self._restorer(checked)
                async for piece in self.guard.astream(pieces, checked.conversation, **self._about(checked)):
                    yield restorer.feed(piece) if restorer else piece
                if restorer:
                    yield restorer.finish()

            return pieces_async
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def pieces_sync(*args: Any, **kwargs: Any) -> Iterator[str]:
                call = signature.bind(*args, **kwargs)
                checked = self.guard.check(_given(call, name), **self._about())
                if checked.blocked:
                    yield self._blocked(checked)
                    return
                _put(call, name, checked)
                pieces = function(*call.args, **call.kwargs)
                restorer = self._restorer(checked)
                for piece in self.guard.stream(pieces, checked.conversation, **self._about(checked)):
                    yield restorer.feed(piece) if restorer else piece
                if restorer:
                    yield restorer.finish()

            return pieces_sync
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def whole_async(*args: Any, **kwargs: Any) -> Any:
                call = signature.bind(*args, **kwargs)
                checked = await self.guard.acheck(_given(call, name), **self._about())
                if checked.blocked:
                    return self._blocked(checked)
                for turn in range(self.reask + 1):
                    _put(call, name, checked)
                    reply = await function(*call.args, **call.kwargs)
                    said = await self.guard.acheck(_reply(checked, reply), "output", **self._about(checked))
                    again = self._again(said, reply) if turn < self.reask else ""
                    if not (said.blocked and again):
                        break
                    checked = _with_request(checked, reply, again)
                return self._blocked(said) if said.blocked else self._restored(said)

            return whole_async

        @functools.wraps(function)
        def whole_sync(*args: Any, **kwargs: Any) -> Any:
            call = signature.bind(*args, **kwargs)
            checked = self.guard.check(_given(call, name), **self._about())
            if checked.blocked:
                return self._blocked(checked)
            for turn in range(self.reask + 1):
                _put(call, name, checked)
                reply = function(*call.args, **call.kwargs)
                said = self.guard.check(_reply(checked, reply), "output", **self._about(checked))
                again = self._again(said, reply) if turn < self.reask else ""
                if not (said.blocked and again):
                    break
                checked = _with_request(checked, reply, again)
            return self._blocked(said) if said.blocked else self._restored(said)

        return whole_sync

    def _parameter(self, signature: inspect.Signature, function: Callable[..., Any]) -> str:
        names = [name for name in signature.parameters if name not in ("self", "cls")]
        name = self.argument or next(iter(names), "")
        if name not in names:
            raise UserError(
                f"{function.__qualname__} has no parameter {name!r} to check; it has {', '.join(names) or 'none'}."
                f"{did_you_mean(name, names)}"
            )
        return name

    def _about(self, checked: Checked | None = None) -> dict[str, Any]:
        return {"request": self.request, "names": checked.names if checked else None}

    def _blocked(self, checked: Checked) -> Any:
        if self.fallback is None:
            raise Stopped(checked.decision)
        return self.fallback(checked) if callable(self.fallback) else self.fallback

    def _restored(self, said: Checked) -> str:
        return said.names.restore(said.text) if self.restore else said.text

    def _restorer(self, checked: Checked) -> Any:
        if not self.restore:
            return None
        from trivet.monitoring.guards.vault import Restorer

        return Restorer(checked.names)

    def _again(self, said: Checked, reply: str) -> str:
        """What to say to the function that failed a guard which can say what was wrong, or ""."""
        verdict = said.decision.deciding
        layer = next((layer for layer in self.guard.policy.layers if layer.name == said.decision.layer), None)
        judge = layer.bound(self.request) if layer and said.blocked else None
        if judge is None or verdict is None or verdict.label == "error":
            return ""
        if isinstance(judge, JsonFormat):
            return reask(said.conversation, verdict.why).messages[-1].content
        ask = getattr(judge, "reask", None)
        return str(ask(reply, verdict)) if ask else ""


def _given(call: inspect.BoundArguments, name: str) -> Conversation:
    call.apply_defaults()
    value = call.arguments[name]
    if not isinstance(value, str | Conversation | Sequence):
        raise UserError(f"the argument {name!r} is a {type(value).__name__}; a guarded one is a text or messages")
    return conversation(value)


def _put(call: inspect.BoundArguments, name: str, checked: Checked) -> None:
    """Hand the checked words over in the form in which they came."""
    value = call.arguments[name]
    if isinstance(value, str):
        call.arguments[name] = checked.text
    elif isinstance(value, Conversation):
        call.arguments[name] = checked.conversation
    else:
        call.arguments[name] = [
            {**(value[i] if i < len(value) else {"role": message.role}), "content": message.content}
            for i, message in enumerate(checked.conversation.messages)
        ]


def _reply(checked: Checked, reply: Any) -> Conversation:
    if isinstance(reply, Message):
        reply = reply.content
    if not isinstance(reply, str):
        raise UserError(f"a guarded function returned a {type(reply).__name__}; it must return a text")
    return checked.conversation.then(Message("assistant", reply))


def _with_request(checked: Checked, reply: str, again: str) -> Checked:
    """The same conversation, asked again: one message where there was one, or two turns more."""
    messages = checked.conversation.messages
    if len(messages) == 1:
        text = f"{messages[0].content}\n\nYour reply was:\n{reply}\n\n{again}"
        return replace(checked, conversation=Conversation((Message(messages[0].role, text),)))
    more = (Message("assistant", reply), Message("user", again))
    return replace(checked, conversation=Conversation((*messages, *more)))
