"""Guarding the routes of an application of one's own: ASGI middleware for JSON bodies (Starlette, FastAPI, Django, ...).

    app = GuardedApp(app, Guard.load("default"), routes={"/chat": Fields(asks=["prompt"], answers=["reply"])})
    app.add_middleware(GuardedApp, guard=guard, routes={"/chat": Fields(["messages.*.content"], ["choices.*.text"])})

A route is a path or a pattern as of file names (`/chat/*`). `Fields` says where in the bodies the texts stand: keys joined by dots, `*` for every item of a list or every value of an
object. A text beside a key `role` in an entry of a list is a message of that role; others are the user's, whatever keys stand
beside them. What the policy masks or rewrites is
changed in place, everything else stays as it was; a block is a 400 with an error object, and the application never sees
a blocked request. A plain-text stream (`text/plain`) is checked as it comes.

On a guarded route nothing passes unread: a request that is no JSON, names a key twice, is larger than `most` bytes, or holds at a
place something else than a text (a string, or a list of parts with `text` and of images and the like) is refused, and so
is an answer that cannot be read (compressed, of another media type, larger than `most`) where a layer could stop it.
`unread="pass"` lets such answers through. Errors of the application (status 400 and above) pass as they are.

Not covered: web sockets, forms and multipart bodies, server-sent events of the application's own making (the gateway
knows those of the model APIs), query strings and headers; images and files, and keys of a part beside its `text`.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple, cast

from trivet.core.errors import ConfigError
from trivet.core.messages import ROLES, Conversation, Message, Role
from trivet.core.verdicts import Decision
from trivet.monitoring.guard import Guard
from trivet.monitoring.policy import Checked
from trivet.monitoring.stream import Stream

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
_OTHER_MEDIA = ("image", "image_url", "input_image", "audio", "input_audio", "video", "video_url", "file", "input_file")


@dataclass(frozen=True)
class Fields:
    """Where the texts of a route stand: `asks` in the request, `answers` in the response."""

    asks: Sequence[str] = ()
    answers: Sequence[str] = ()
    methods: Sequence[str] = ("POST", "PUT", "PATCH")


class _Place(NamedTuple):
    """A text in a body: the object or list that holds it, under which key, and whose words it is."""

    holder: Any
    key: Any
    text: str
    role: Role


class _Refused(Exception):  # noqa: N818
    """An answer in place of what was asked for."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class GuardedApp:
    """An application whose routes are guarded. Give it to a server as it is, or as middleware."""

    def __init__(
        self,
        app: App,
        guard: Guard,
        routes: Mapping[str, Fields],
        *,
        most: int = 1 << 20,
        unread: Literal["refuse", "pass"] = "refuse",
    ) -> None:
        for route, fields in routes.items():
            if not route.startswith("/") or not (fields.asks or fields.answers):
                raise ConfigError(f"the route {route!r} needs a path that starts with / and fields to check in it")
        self.app, self.guard, self.routes, self.most, self.unread = app, guard, dict(routes), most, unread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fields = self._fields(scope) if scope["type"] == "http" else None
        if fields is None or scope["method"] not in fields.methods:
            await self.app(scope, receive, send)
            return
        try:
            checked, body = await self._asked(fields, receive)
        except _Refused as refusal:
            await _answer(send, refusal)
            return
        # An answer that comes compressed could not be read.
        headers = [
            (name, value) for name, value in scope["headers"] if name not in (b"accept-encoding", b"content-length")
        ]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}
        reading = _Reply(self, fields, checked, send)
        await self.app(scope, _once(body, receive), reading.send)

    def _fields(self, scope: Scope) -> Fields | None:
        path = scope["path"].rstrip("/") or "/"
        exact = self.routes.get(path)
        return exact or next((fields for route, fields in self.routes.items() if fnmatchcase(path, route)), None)

    async def _asked(self, fields: Fields, receive: Receive) -> tuple[Checked | None, bytes]:
        """The request's texts through the input layers, and its body as it may go on."""
        body = await _body(receive, self.most)
        if not fields.asks:
            return None, body
        try:
            data = json.loads(body, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise _Refused(
                400, "The body is not plain JSON, and only that can be checked here.", "invalid_json"
            ) from error
        for path in fields.asks:
            if _unread(data, path.split(".")):
                raise _Refused(
                    400,
                    f"What stands at {path!r} cannot be checked; it must be a string or a list of parts with `text`.",
                    "unreadable",
                )
        places = list(_texts(data, fields.asks))
        if not places:
            return None, body
        checked = await self.guard.acheck(Conversation(tuple(Message(place.role, place.text) for place in places)))
        if checked.blocked:
            raise _blocked(checked.decision)
        return checked, _put(data, places, checked.conversation, body)


class _Reply:
    """The response on its way: held until it has been checked, or fed through a stream's check where it is plain text."""

    def __init__(self, app: GuardedApp, fields: Fields, checked: Checked | None, send: Send) -> None:
        self._app, self._fields, self._checked, self._send = app, fields, checked, send
        self._start: Event = {}
        self._body = bytearray()
        self._how: Literal["pass", "hold", "stream", "gone"] = "pass"
        self._stream: Stream | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def send(self, event: Event) -> None:
        if event["type"] == "http.response.start":
            await self._begin(event)
        elif event["type"] == "http.response.body" and self._how in ("hold", "stream"):
            data, more = event.get("body", b""), event.get("more_body", False)
            await (self._held(data, more) if self._how == "hold" else self._streamed(data, more))
        elif self._how != "gone":
            await self._send(event)

    async def _begin(self, event: Event) -> None:
        headers = {name.lower(): value for name, value in event.get("headers", [])}
        media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        packed = headers.get(b"content-encoding", b"identity") != b"identity"
        self._start = event
        if event["status"] >= 400 or not self._fields.answers:
            await self._send(event)
        elif not packed and (media == b"application/json" or media.endswith(b"+json")):
            self._how = "hold"
        elif not packed and media == b"text/plain":
            names = self._checked.names if self._checked else None
            self._stream = self._app.guard.open_stream(self._checked and self._checked.conversation, names=names)
            self._how = "stream"
            await self._send({**event, "headers": _without_length(event)})
        elif self._app.unread == "pass" or not self._app.guard.policy.holds("output"):
            await self._send(event)
        else:
            await self._refuse(_Refused(502, "The answer is of a kind that cannot be checked.", "unreadable"))

    async def _held(self, data: bytes, more: bool) -> None:
        self._body += data
        if len(self._body) > self._app.most:
            await self._refuse(_Refused(502, f"The answer is larger than {self._app.most} bytes.", "unreadable"))
            return
        if more:
            return
        try:
            body = await self._judged(bytes(self._body))
        except _Refused as refusal:
            await self._refuse(refusal)
            return
        headers = [*_without_length(self._start), (b"content-length", str(len(body)).encode())]
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _judged(self, body: bytes) -> bytes:
        """Every text of the answer through the output layers."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _Refused(502, "The answer is not the JSON that it claims to be.", "unreadable") from error
        places = list(_texts(data, self._fields.answers, "assistant"))
        talk = self._checked.conversation if self._checked else Conversation()
        names = self._checked.names if self._checked else None
        said = []
        for place in places:
            checked = await self._app.guard.acheck(talk.then(Message("assistant", place.text)), "output", names=names)
            if checked.blocked:
                raise _blocked(checked.decision)
            said.append(Message("assistant", checked.text))
        return _put(data, places, Conversation(tuple(said)), body)

    async def _streamed(self, data: bytes, more: bool) -> None:
        assert self._stream is not None
        step = await self._stream.feed(self._decoder.decode(data, final=not more))
        out = step.release
        if not more and not step.stopped:
            step = await self._stream.finish()
            out += step.release
        if step.stopped:
            # The status line is out, so the end of the body is all that can be said.
            self._how = "gone"
        await self._send({"type": "http.response.body", "body": out.encode(), "more_body": more and not step.stopped})

    async def _refuse(self, refusal: _Refused) -> None:
        self._how = "gone"
        await _answer(self._send, refusal)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. A key that stands twice would be one text for us and perhaps another for the application."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _texts(data: Any, paths: Iterable[str], role: Role = "user") -> Iterator[_Place]:
    """Every text at the paths, in the order of the paths. A text is a string, or a list of parts with `text`."""
    for path in paths:
        for holder, key, listed in _at(data, path.split(".")):
            value = holder[key]
            said = holder.get("role", role) if listed and isinstance(holder, dict) else role
            whose = cast(Role, said if isinstance(said, str) and said in ROLES else role)
            if isinstance(value, str):
                yield _Place(holder, key, value, whose)
            elif isinstance(value, list):
                for part in value:
                    if isinstance(part, dict) and isinstance(part.get("text"), str):
                        yield _Place(part, "text", part["text"], whose)


def _unread(data: Any, keys: Sequence[str]) -> bool:
    """Whether words stand at a path, or where it cannot be followed, that `_texts` does not read."""
    if not keys:
        return not _readable(data)
    first, rest = keys[0], keys[1:]
    if isinstance(data, list):
        return any(_unread(item, rest) for item in data) if first == "*" else bool(data)
    if isinstance(data, dict):
        found = list(data.values()) if first == "*" else [data[first]] if first in data else []
        return any(_unread(item, rest) for item in found)
    return isinstance(data, str)


def _readable(value: Any) -> bool:
    """A list of parts, or no list and no object. Numbers and such say nothing; a part of another medium is not read."""
    if isinstance(value, list):
        return all(
            isinstance(part, dict)
            and (isinstance(part["text"], str) if "text" in part else part.get("type") in _OTHER_MEDIA)
            for part in value
        )
    return not isinstance(value, dict)


def _at(data: Any, keys: Sequence[str], listed: bool = False) -> Iterator[tuple[Any, Any, bool]]:
    """Every (holder, key, whether the holder is an entry of a list) that a path leads to; what is not there is nowhere."""
    first, rest = keys[0], keys[1:]
    if isinstance(data, list):
        found: list[Any] = [*range(len(data))] if first == "*" else []
    elif isinstance(data, dict):
        found = list(data) if first == "*" else [first] if first in data else []
    else:
        return
    for key in found:
        if rest:
            yield from _at(data[key], rest, isinstance(data, list))
        else:
            yield data, key, listed


def _put(data: Any, places: Sequence[_Place], talk: Conversation, body: bytes) -> bytes:
    """The body with changed texts in their places; the very bytes that came where nothing changed."""
    changed = False
    for place, message in zip(places, talk.messages, strict=True):
        if message.content != place.text:
            place.holder[place.key] = message.content
            changed = True
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace") if changed else body


async def _body(receive: Receive, most: int) -> bytes:
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise _Refused(499, "The client hung up.", "client_gone")
        body += event.get("body", b"")
        if len(body) > most:
            raise _Refused(413, f"The body is larger than the {most} bytes allowed.", "request_too_large")
        if not event.get("more_body", False):
            return bytes(body)


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read, and after it whatever the client does."""
    left = [body]

    async def replay() -> Event:
        return {"type": "http.request", "body": left.pop()} if left else await receive()

    return replay


def _without_length(event: Event) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in event.get("headers", []) if name.lower() != b"content-length"]


def _blocked(decision: Decision) -> _Refused:
    return _Refused(400, f"The {decision.place} was blocked by the layer {decision.layer!r}.", "content_filter")


async def _answer(send: Send, refusal: _Refused) -> None:
    error = {"message": str(refusal), "type": "invalid_request_error", "param": None, "code": refusal.code}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
