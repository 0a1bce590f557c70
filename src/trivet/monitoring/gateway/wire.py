"""What is the same in every API: JSON that comes in, errors that go out, and the report of a user.

What a chat request, a reply or an event looks like is the business of `formats/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

if TYPE_CHECKING:
    from starlette.responses import JSONResponse


class ReportRequest(msgspec.Struct):
    """A user's complaint about an exchange."""

    exchange: str
    reason: Literal["harmful", "wrongly_refused", "private_data", "inaccurate", "other"]
    comment: Annotated[str, msgspec.Meta(max_length=4000)] = ""


class Refused(Exception):  # noqa: N818
    """A request that is answered with an OpenAI error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        """Headers of the answer, such as Retry-After."""
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def after(self, seconds: float) -> Refused:
        """The same, and when to come again."""
        self.headers["retry-after"] = str(max(1, round(seconds)))
        return self

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """For the pages, which are Starlette's."""
        from starlette.responses import JSONResponse

        return JSONResponse(self.body, self.status, {**self.headers, **(headers or {})})


def filtered(place: str, layer: str) -> Refused:
    """The block: HTTP 400, code `content_filter`, the place as `param`."""
    message = f"The {place} was blocked by the safety policy (layer {layer!r})."
    return Refused(400, message, kind="content_filter", param=place, code="content_filter")


def parsed(body: bytes, form: type[Any]) -> Any:
    """The request in a body; raises Refused that says where it is wrong."""
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        field = str(error).partition("`$.")[2].partition("`")[0].partition("[")[0].partition(".")[0]
        raise Refused(400, f"The request is not valid: {error}", param=field or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"The body is not valid JSON: {error}", code="invalid_json") from error
