"""OpenAI's embeddings: `POST /v1/embeddings`.

The input's texts are guarded as a user's; arrays of tokens are refused, because nobody here can read them. The reply is
numbers and is not guarded: an embedding can be inverted to something near its text, so it tells no more than the request did.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Annotated, Any

import msgspec

from trivet.core.errors import TargetError
from trivet.monitoring.gateway.formats import openai
from trivet.monitoring.gateway.formats.completions import texts_only
from trivet.monitoring.gateway.formats.shape import Ask, Closing, Open, Path, Piece, Told
from trivet.monitoring.gateway.formats.texts import converted, leaves, replaced
from trivet.monitoring.gateway.wire import Refused


class EmbeddingRequest(msgspec.Struct):
    """The fields of an embedding request that are looked at; others are kept and passed on."""

    model: str
    input: str | Annotated[list[str], msgspec.Meta(min_length=1, max_length=2048)]
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: str | None = None
    user: str | None = None


class Embeddings:
    route = "/v1/embeddings"
    error = staticmethod(openai.error)
    failure = staticmethod(openai.failure)
    rewritten = staticmethod(replaced)

    def read(self, body: dict[str, Any], *, unchecked: bool = False) -> Ask:
        texts_only(body, "input")
        form = converted(body, EmbeddingRequest)
        pieces = tuple(Piece(text, "user", path, "user") for path, text in leaves(form.input, ("input",)))
        return Ask(body, form.model, False, pieces, {}, openai.user_of(body))

    def said(self, reply: dict[str, Any]) -> tuple[Piece, ...]:
        if not isinstance(reply.get("data"), list):
            raise TargetError("the model's server sent no data, which is not the embeddings format")
        return ()

    def rewritten_reply(self, reply: dict[str, Any], changes: Mapping[Path, str]) -> dict[str, Any]:
        return reply

    def blocked_reply(self, reply: dict[str, Any], refused: Refused) -> dict[str, Any]:
        return refused.body

    async def guarded(
        self, frames: AsyncIterator[bytes], open_stream: Open, ask: Ask, told: Told, closing: Closing
    ) -> AsyncGenerator[bytes]:
        raise TargetError("embeddings are not streamed")
        yield b""


EMBEDDINGS = Embeddings()
