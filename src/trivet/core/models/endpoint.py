"""A model behind any OpenAI-compatible URL.

Retries with exponential back-off and full jitter what may pass (connection errors, 408, 409, 429, 5xx), honours
Retry-After, and always comes to an end: `timeout` bounds a whole reply with all its retries, and in a stream the wait for
the first words and for any later ones. Whatever goes wrong is a TargetError of one line that names the URL; a gateway's
block is a Blocked. Redirects are not followed, because the key would travel with them. Where somebody listens (traffic.py)
he is told of every answer, and retrying is left to him.

Not covered: tool calls, images, more than one choice.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from trivet.core.errors import Blocked, ModelNotFound, TargetError, UserError
from trivet.core.messages import TEXTS, Conversation, Message, Sampling, text_of
from trivet.core.models.options import along, steps_in
from trivet.core.models.sse import EventStream
from trivet.core.models.traffic import LISTENER, retry_after
from trivet.core.protocols import GREEDY

MAX_PAUSE = 20.0
"""The longest back-off between two tries, in seconds; only the server itself may ask for more."""

OPTION_TOKENS = 8
"""Tokens asked for where an option is to be chosen: enough for white space and the beginning of one."""

TOP_LOGPROBS = 20
"""Likeliest tokens asked for in each place: the most that public servers allow."""


_HERE = ("localhost", "127.0.0.1", "::1")


class _Link(NamedTuple):
    """What belongs to one event loop: connections and the queue for them cannot be shared between loops."""

    client: httpx.AsyncClient
    slots: asyncio.Semaphore
    lifetime: AsyncGenerator[None]


class Endpoint:
    """Continues conversations over HTTP. Usable from several event loops, one after another or at once.

    The key is the one given, else that of the environment: TRIVET_API_KEY, or OPENAI_API_KEY for api.openai.com only.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        concurrency: int = 16,
        headers: Mapping[str, str] | None = None,
        backoff: float = 0.5,
    ) -> None:
        self._address = _address(url)
        self.url = str(self._address.copy_with(userinfo=b"", query=None))
        """The address without user, password and query, as messages show it."""
        self.model = self.name = model
        self.timeout = timeout
        self.retries = retries
        self.concurrency = concurrency
        self.backoff = backoff
        self._headers = dict(headers or {})
        if key := _checked(key or _key_for(self._address.host)):
            self._headers.setdefault("Authorization", f"Bearer {key}")
        self._links: dict[asyncio.AbstractEventLoop, _Link] = {}

    async def reply(self, conversation: Conversation, sampling: Sampling = GREEDY) -> Message:
        return Message("assistant", self._content(await self._whole(self._body(conversation, sampling, stream=False))))

    async def option_logprobs(self, conversation: Conversation, options: Sequence[str]) -> list[float]:
        """How likely the reply is to begin with each option, read from `top_logprobs` along a greedy reply (options.py).

        Raises TargetError where the server sends no log-probabilities, or the reply begins with none of the options.
        """
        body = self._body(conversation, Sampling(max_tokens=OPTION_TOKENS), stream=False)
        raw = await self._whole({**body, "logprobs": True, "top_logprobs": TOP_LOGPROBS})
        self._content(raw)
        steps = steps_in(self._choice(_parse(raw), raw))
        if not steps:
            raise TargetError(f"{self} sends no log-probabilities; ask one that does, or count votes (labels: votes)")
        try:
            return along(steps, options)
        except ValueError as why:
            raise TargetError(f"{self} did not choose: {why}; word the question so, or count votes") from why

    async def _whole(self, body: dict[str, Any]) -> bytes:
        """The bytes of an answer that is not streamed."""
        try:
            async with asyncio.timeout(self.timeout), self._answer(body) as response:
                return await response.aread()
        except TimeoutError as error:
            raise TargetError(f"{self} did not answer within {self.timeout:g} s") from error
        except httpx.RequestError as error:
            raise _passing(TargetError(f"{self} broke off its answer: {_why(error)}")) from error

    async def stream(self, conversation: Conversation, sampling: Sampling = GREEDY) -> AsyncIterator[str]:
        """The reply in pieces as they arrive. Not retried once the answer has begun."""
        pieces = self._pieces(self._body(conversation, sampling, stream=True))
        try:
            while True:
                # The clock runs only while we wait for the server, not while our caller works on a piece.
                async with asyncio.timeout(self.timeout):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield piece
        except TimeoutError as error:
            raise TargetError(f"{self} sent nothing for {self.timeout:g} s") from error
        except httpx.RequestError as error:
            raise TargetError(f"{self} broke off its answer: {_why(error)}") from error
        finally:
            await pieces.aclose()

    async def aclose(self) -> None:
        """Closes the connections of the running loop. Those of other loops close when their loop ends."""
        link = self._links.pop(asyncio.get_running_loop(), None)
        if link:
            await link.lifetime.aclose()

    def __str__(self) -> str:
        return f"the model {self.model!r} at {self.url}"

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.model!r})"

    # Asking

    def _body(self, conversation: Conversation, sampling: Sampling, *, stream: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": conversation.rows(),
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
        }
        # Left away where they say nothing: some servers refuse what they do not know.
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if stream:
            body["stream"] = True
        return body

    @asynccontextmanager
    async def _answer(self, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """A response with status 200 whose body has not been read yet. Holds a slot for as long as it is used."""
        link = await self._link()
        async with link.slots:
            response = await self._ask(link.client, body)
            try:
                yield response
            finally:
                await response.aclose()

    async def _ask(self, client: httpx.AsyncClient, body: dict[str, Any]) -> httpx.Response:
        attempt, listener = 0, LISTENER.get()
        while True:
            last = listener is not None or attempt >= self.retries
            pause = random.uniform(0, min(MAX_PAUSE, self.backoff * 2**attempt))
            try:
                response = await client.send(client.build_request("POST", self._address, json=body), stream=True)
            except httpx.RequestError as error:
                if last:
                    raise _passing(TargetError(f"{self} could not be reached: {_why(error)}")) from error
            else:
                if listener is not None:
                    listener.answered(response.status_code, response.headers)
                if response.status_code == 200:
                    return response
                if last or not _may_pass(response.status_code):
                    raise await self._refusal(response)
                pause = max(pause, retry_after(response.headers))
                await response.aclose()
            if pause > self.timeout:
                raise TargetError(f"{self} asked to be left alone for {pause:.0f} s; repeat the command later")
            await asyncio.sleep(pause)
            attempt += 1

    async def _refusal(self, response: httpx.Response) -> TargetError:
        """The exception for a status other than 200."""
        try:
            raw = await response.aread()
        finally:
            await response.aclose()
        found = _error_in(_parse(raw))
        if response.status_code == 400 and (blocked := self._blocked(found)):
            return blocked
        said = found.get("message") or raw.decode("utf-8", "replace")
        hint = {401: "; check its key", 403: "; check its key", 404: "; check the URL and the model's name"}
        failure = TargetError(
            f"{self} answered {response.status_code}{hint.get(response.status_code, '')}: {_line(said) or 'nothing more'}"
        )
        return _passing(failure, retry_after(response.headers)) if _may_pass(response.status_code) else failure

    def _blocked(self, error: Mapping[str, Any]) -> Blocked | None:
        """A policy's block, where the error object is one."""
        if error.get("code") != "content_filter":
            return None
        said = _line(error.get("message", ""))
        # `param` names the place; gateways that leave it away tend to say it in words.
        where = f"{error.get('param') or said}".lower()
        output = any(word in where for word in ("output", "reply", "response", "completion"))
        return Blocked(f"{self} blocked this: {said}", "output" if output else "input")

    # Reading

    def _content(self, raw: bytes) -> str:
        """The text of a whole answer."""
        answer = _parse(raw)
        if error := _error_in(answer):
            raise self._blocked(error) or TargetError(f"{self} answered with an error: {_line(error.get('message'))}")
        choice = self._choice(answer, raw)
        if listener := LISTENER.get():
            listener.used(*_usage(answer))
        message = choice.get("message")
        if not isinstance(message, dict):
            raise TargetError(f"{self} sent a choice without a message: {_line(raw)}")
        text = _text(message.get("content")) or _text(message.get("refusal")) or ""
        if choice.get("finish_reason") == "content_filter" and not text:
            raise Blocked(f"{self} withheld its reply (finish_reason content_filter)", "output")
        if not text and not _says(message):
            # Taken for an empty reply, a broken server would look like a model that never gives in.
            raise TargetError(f"{self} sent a message without a text: its content is {_shown(message.get('content'))}")
        return text

    def _choice(self, answer: Any, raw: bytes | str) -> dict[str, Any]:
        choices = answer.get("choices") if isinstance(answer, dict) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise TargetError(f"{self} sent no choices, which is not the chat completions format: {_line(raw)}")
        return choices[0]

    async def _pieces(self, body: dict[str, Any]) -> AsyncGenerator[str]:
        async with self._answer(body) as response:
            if "json" in response.headers.get("content-type", ""):
                yield self._content(await response.aread())  # a server that does not stream answers all at once
                return
            finished = False
            async for data in _events(response):
                if data.strip() == "[DONE]":
                    return
                text, finish = self._delta(data)
                finished = finished or bool(finish)
                if text:
                    yield text
                if finish == "content_filter":
                    raise Blocked(f"{self} cut its reply off (finish_reason content_filter)", "output")
            if finished:
                return
            raise TargetError(f"{self} ended its stream in the middle of a reply")

    def _delta(self, data: str) -> tuple[str, str]:
        """The text and the finish reason of one streamed event."""
        chunk = _parse(data)
        if error := _error_in(chunk):
            raise self._blocked(error) or TargetError(f"{self} broke off with an error: {_line(error.get('message'))}")
        if isinstance(chunk, dict) and chunk.get("choices") == []:
            return "", ""  # the closing report on usage
        choice = self._choice(chunk, data)
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        text = _text(delta.get("content")) or _text(delta.get("refusal")) or ""
        if not text and delta.get("content") is not None and not _says(delta):
            raise TargetError(f"{self} streamed a piece without a text: its content is {_shown(delta['content'])}")
        return text, str(choice.get("finish_reason") or "")

    # Connections

    async def _link(self) -> _Link:
        loop = asyncio.get_running_loop()
        if loop not in self._links:
            for other in [known for known in self._links if known.is_closed()]:
                self._links.pop(other, None)
            client = httpx.AsyncClient(
                headers=self._headers,
                timeout=httpx.Timeout(self.timeout, connect=min(10.0, self.timeout)),
                limits=httpx.Limits(max_connections=self.concurrency),
                trust_env=self._address.host not in _HERE,  # a proxy of the environment cannot reach this machine
            )
            lifetime = _lifetime(client)
            self._links[loop] = _Link(client, asyncio.Semaphore(self.concurrency), lifetime)
            await anext(lifetime)
        return self._links[loop]


async def _lifetime(client: httpx.AsyncClient) -> AsyncGenerator[None]:
    """Lives as long as the loop: asyncio.run closes open generators while its loop still runs, and this its client."""
    try:
        yield
    finally:
        await client.aclose()


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of the response's server-sent events."""
    stream = EventStream()
    async for chunk in response.aiter_bytes():
        for data in stream.feed(chunk):
            yield data
    for data in stream.end():
        yield data


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions")
    except httpx.InvalidURL as error:
        raise ModelNotFound(f"{url!r} is no URL ({error}); give one like http://127.0.0.1:8000/v1") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise ModelNotFound(f"{url!r} is no http URL; give one like http://127.0.0.1:8000/v1")
    return address


def _key_for(host: str) -> str:
    names = ("TRIVET_API_KEY", "OPENAI_API_KEY") if host == "api.openai.com" else ("TRIVET_API_KEY",)
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _checked(key: str) -> str:
    """The key, without the line end that a key from a file tends to have. Refused here, where no message shows it."""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError("the API key holds characters that no HTTP header can carry; copy it again")
    return key


def _may_pass(status: int) -> bool:
    """Whether the same request may succeed a little later."""
    return status in (408, 409, 429) or status >= 500


def _passing(failure: TargetError, seconds: float = 0.0) -> TargetError:
    """The failure, marked as one that may be gone at the next try."""
    failure.passing, failure.retry_after = True, seconds
    return failure


def _usage(answer: dict[str, Any]) -> tuple[int, int]:
    """Tokens of prompt and reply by the server's count; 0 where it tells none."""
    usage = answer.get("usage")
    counts = [usage.get(key) if isinstance(usage, dict) else 0 for key in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (count if type(count) is int and count > 0 else 0 for count in counts)
    return prompt, completion


def _parse(raw: bytes | str) -> Any:
    """JSON, or None for anything else."""
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _error_in(answer: Any) -> dict[str, Any]:
    """The error object of an answer: OpenAI's `{"error": {...}}`, or a plain string there."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else {"message": str(error)} if error else {}


def _text(content: Any) -> str | None:
    """The text of a `content`, without the lone surrogates that JSON can smuggle in and UTF-8 cannot hold.

    None where it is neither a text nor has a text part: that is no reply, and not an empty one.
    """
    if isinstance(content, list) and not any(isinstance(part, dict) and part.get("type") in TEXTS for part in content):
        return None
    if not isinstance(content, (str, list)):
        return None
    try:
        return text_of(content).encode("utf-8", "replace").decode()
    except (AttributeError, TypeError):
        return None


def _says(message: Mapping[str, Any]) -> bool:
    """Whether a message says something where it has no words: an empty text or refusal, or calls of tools."""
    said = _text(message.get("content")) is not None or _text(message.get("refusal")) is not None
    return said or bool(message.get("tool_calls") or message.get("function_call"))


def _shown(content: Any) -> str:
    return _line(json.dumps(content))


def _line(said: Any) -> str:
    """The beginning of what a server said, on one line."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said or "")
    return " ".join(text.split())[:200]


def _why(error: Exception) -> str:
    return _line(str(error)) or type(error).__name__
