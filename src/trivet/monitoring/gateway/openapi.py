"""What the gateway answers to, as an OpenAPI 3.1 document: served at `/openapi.json`, and what the fuzzing tests go by.

Request bodies are made from the types that requests are validated with, so that they cannot drift apart. Replies name what a
client may count on; whatever else the model's server sends is passed on.

Not covered: what a field is for; the APIs are OpenAI's and Anthropic's, and their documents say it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from trivet.monitoring.gateway.formats.chat import CHAT, ChatRequest
from trivet.monitoring.gateway.formats.completions import COMPLETIONS, CompletionRequest
from trivet.monitoring.gateway.formats.embeddings import EMBEDDINGS, EmbeddingRequest
from trivet.monitoring.gateway.formats.messages import MESSAGES, MessageRequest
from trivet.monitoring.gateway.formats.moderations import MODERATIONS, ModerationRequest
from trivet.monitoring.gateway.formats.responses import RESPONSES, ResponseRequest
from trivet.monitoring.gateway.wire import ReportRequest

_REQUESTS: tuple[tuple[str, type[Any], str, str], ...] = (
    (CHAT.route, ChatRequest, "ChatCompletion", "A reply to a conversation, whole or streamed"),
    (COMPLETIONS.route, CompletionRequest, "Completion", "A text that goes on, whole or streamed"),
    (RESPONSES.route, ResponseRequest, "Response", "OpenAI's Responses, whole or streamed"),
    (MESSAGES.route, MessageRequest, "Message", "Anthropic's Messages, whole or streamed"),
    (EMBEDDINGS.route, EmbeddingRequest, "Embeddings", "Texts as vectors"),
    (MODERATIONS.route, ModerationRequest, "Moderations", "What the policy's classifiers say about texts"),
    ("/v1/reports", ReportRequest, "Report", "A user's complaint about an exchange"),
)
_STREAMED = (CHAT.route, COMPLETIONS.route, RESPONSES.route, MESSAGES.route)

_MISTAKES = {
    "400": "The request cannot be, or a policy blocked it (code `content_filter`, param `input` or `output`)",
    "401": "No key, or one that is not known",
    "403": "The key may not do this, or a page of another site asks",
    "404": "No such model, exchange or route",
    "405": "The route knows other methods",
    "408": "The request came too slowly",
    "413": "The body is too large",
    "421": "This server has another name",
    "422": "The model's server cannot take the request",
    "429": "Too many requests for this key, or for the model's server; Retry-After says when to come again",
    "502": "The model's server failed",
    "503": "Not recorded, overloaded or draining; Retry-After says when to come again",
    "504": "The model's server did not answer in time",
}
"""Every status beside success. 5xx tell of what is behind the gateway or of its store, never of a request."""

_KEEP = {"additionalProperties": True}


def _object(required: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **more}, "required": list(required), **_KEEP}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: dict[str, Any] = {"type": "string"}
_MAYBE_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_USAGE: dict[str, Any] = {"type": ["object", "null"]}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_REPLIES: dict[str, dict[str, Any]] = {
    "ChatCompletion": _object(
        {
            "id": _TEXT,
            "object": {"const": "chat.completion"},
            "choices": _list(
                _object(
                    {"index": _COUNT, "message": _object({"role": {"const": "assistant"}}, content=_MAYBE_TEXT)},
                    finish_reason=_MAYBE_TEXT,
                )
            ),
        },
        created=_COUNT,
        model=_TEXT,
        usage=_USAGE,
    ),
    "Completion": _object(
        {"id": _TEXT, "choices": _list(_object({"index": _COUNT, "text": _TEXT}, finish_reason=_MAYBE_TEXT))},
        usage=_USAGE,
    ),
    "Response": _object(
        {"id": _TEXT, "object": {"const": "response"}, "output": _list(_object({"type": _TEXT}))},
        status=_TEXT,
        usage=_USAGE,
    ),
    "Message": _object(
        {
            "id": _TEXT,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "content": _list(_object({"type": _TEXT})),
        },
        stop_reason=_MAYBE_TEXT,
        usage=_USAGE,
    ),
    "Embeddings": _object({"data": _list(_object({"index": _COUNT, "embedding": {"type": ["array", "string"]}}))}),
    "Moderations": _object(
        {
            "id": _TEXT,
            "model": _TEXT,
            "results": _list(
                _object(
                    {
                        "flagged": {"type": "boolean"},
                        "categories": {"type": "object", "additionalProperties": {"type": ["boolean", "null"]}},
                        "category_scores": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
                        "category_applied_input_types": {"type": "object", "additionalProperties": _list(_TEXT)},
                    }
                )
            ),
        }
    ),
    "Report": _object({"id": _TEXT, "object": {"const": "report"}, "exchange": _TEXT}),
    "Model": _object({"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT}),
    "Models": _object({"object": {"const": "list"}, "data": _list(_ref("Model"))}),
    "State": _object({"status": _TEXT}),
    "Error": _object({"error": _object({"message": _TEXT, "type": _TEXT, "param": _MAYBE_TEXT, "code": _MAYBE_TEXT})}),
    "MessagesError": _object({"type": {"const": "error"}, "error": _object({"type": _TEXT, "message": _TEXT})}),
}


@cache
def document() -> dict[str, Any]:
    """The whole document. One value for all: do not change it."""
    types = [form for _, form, _, _ in _REQUESTS]
    bodies, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, Any] = {}
    for (route, _, reply, summary), body in zip(_REQUESTS, bodies, strict=True):
        success = "201" if route == "/v1/reports" else "200"
        paths[route] = {"post": _operation(summary, reply, route, body, success)}
    for route, reply, summary in (
        ("/v1/models", "Models", "The models behind the gateway"),
        ("/v1/models/{model}", "Model", "One of them"),
        ("/healthz", "State", "Whether the process is well"),
        ("/readyz", "State", "Whether to send requests here"),
        ("/admin/status", "State", "Policies, upstreams and what is in flight; needs the scope `admin`"),
    ):
        paths[route] = {"get": _operation(summary, reply, route)}
    paths["/v1/models/{model}"]["get"]["parameters"] = [
        {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    ]
    for route in ("/healthz", "/readyz"):
        paths[route]["get"]["responses"]["503"]["content"] = {"application/json": {"schema": _ref("State")}}
    reload = _operation("Read the policy files again; needs the scope `admin`", "State", "/admin/policy/reload")
    reload["responses"]["409"] = _failure(
        "The policy cannot be read or used; the last good one stays in force", "Error"
    )
    paths["/admin/policy/reload"] = {"post": reload}
    paths["/metrics"] = {"get": _operation("Prometheus' text format", "", "/metrics")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trivet gateway", "version": "1", "description": "Models behind policies. See docs/api.md."},
        "paths": paths,
        "components": {
            "schemas": {**schemas, **_REPLIES},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"header": []}],
    }


def _operation(
    summary: str, reply: str, route: str, body: dict[str, Any] | None = None, success: str = "200"
) -> dict[str, Any]:
    content: dict[str, Any] = (
        {"application/json": {"schema": _ref(reply)}} if reply else {"text/plain": {"schema": _TEXT}}
    )
    if route in _STREAMED:
        content["text/event-stream"] = {"schema": _object({"data": _TEXT}, event=_TEXT)}
    error = "MessagesError" if route == MESSAGES.route else "Error"
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {success: {"description": "What was asked for", "content": content}},
    }
    for status, why in _MISTAKES.items():
        # What is refused before a route is chosen is refused in OpenAI's words.
        early = error == "MessagesError" and status in ("403", "404", "405", "408", "421", "503")
        operation["responses"][status] = _failure(why, error, "Error") if early else _failure(why, error)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _failure(why: str, *errors: str) -> dict[str, Any]:
    schema = _ref(errors[0]) if len(errors) == 1 else {"anyOf": [_ref(error) for error in errors]}
    return {"description": why, "content": {"application/json": {"schema": schema}}}
