"""The surface under fire: requests made from our own OpenAPI document, right and wrong, and bodies that are nothing at all.

No answer is ever a 5xx of ours, whatever comes in, and every answer has the shape that the document promises.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from trivet.core.errors import TargetError
from trivet.core.models.scripted import Scripted
from trivet.core.store.events import Store
from trivet.monitoring.gateway.app import build_app
from trivet.monitoring.gateway.formats.shape import NAME, Format
from trivet.monitoring.gateway.openapi import document
from trivet.monitoring.gateway.routes import FORMATS
from trivet.monitoring.gateway.serve import Serving
from trivet.monitoring.gateway.wire import Refused
from trivet.monitoring.guards.blocklist import Blocklist
from trivet.monitoring.guards.pii import Pii
from trivet.monitoring.policy import Layer, Policy

POLICY = Policy.from_parts([Layer("list", Blocklist(["brew the poison"])), Layer("pii", Pii(), action="mask")])
FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _schema() -> Any:
    """The document as schemathesis reads it, with one model whose name is known."""
    raw = copy.deepcopy(document())
    for name in ("ChatRequest", "CompletionRequest", "ResponseRequest", "MessageRequest"):
        raw["components"]["schemas"][name]["properties"]["model"] = {"enum": ["scripted", "another"]}
    return schemathesis.openapi.from_dict(raw)


schema = _schema()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path: Path = tmp_path_factory.mktemp("fuzz") / "t.db"
    with Store.open(path) as store, Serving(build_app(Scripted(default="Good day."), POLICY, store)) as server:
        yield server.url


@schema.parametrize()
@FEW
def test_the_document_holds(case: Any, url: str) -> None:
    response = case.call(base_url=url, timeout=20)
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    case.validate_response(response, checks=[*checks, negative_data_rejection])


ROUTES = sorted(path for path, methods in document()["paths"].items() if "post" in methods)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["scripted", "text", "user"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "model",
                    "messages",
                    "role",
                    "content",
                    "type",
                    "text",
                    "input",
                    "prompt",
                    "stream",
                    "tools",
                    "max_tokens",
                    "system",
                    "n",
                    "documents",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@settings(FEW, max_examples=100)
@given(st.sampled_from(ROUTES), st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body(url: str, route: str, body: bytes) -> None:
    response = httpx.post(f"{url}{route}", content=body, headers={"content-type": "application/json"}, timeout=20)
    assert response.status_code < 500, response.text
    if response.status_code != 200 and response.status_code != 201:
        assert response.json()["error"]["message"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "scripted", "max_tokens": 5, "input": "x", "messages": [{"role": "user", "content": "x"}], "documents": ['
        + b"[" * 400
        + b"]" * 400
        + b"]}",
        b'{"model": "scripted", "n": 1e400}',
        b'{"model": "scripted", "n": ' + b"9" * 5000 + b"}",
        b'"\\ud800"',
        b'{"model": "\\ud800", "input": "\\ud800", "prompt": "\\udfff", "messages": [{"role": "user", "content": "\\ud83d"}], "max_tokens": 5}',
        b'{"model": "scripted", "model": "scripted", "messages": 1, "input": {}, "prompt": {}}',
        "é".encode("latin-1"),
        b"\x00" * 100,
        b"",
    ],
    ids=[
        "deep list",
        "deep object",
        "deep documents",
        "infinity",
        "long number",
        "half a pair",
        "halves",
        "doubled keys",
        "latin",
        "zeros",
        "empty",
    ],
)
def test_hard_bodies(url: str, route: str, body: bytes) -> None:
    response = httpx.post(f"{url}{route}", content=body, timeout=20)
    assert 400 <= response.status_code < 500, response.text
    assert response.json()["error"]["message"]


# The formats alone, where an answer takes microseconds


@pytest.mark.parametrize("format", [format for format, _ in FORMATS], ids=lambda format: format.route)
def test_any_request_is_read_or_refused(format: Format) -> None:
    content = st.none() | st.text(max_size=5) | st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "input_text", "image_url", "document", "tool_use", "tool_result", "refusal", "thinking", "x"])},
            optional={"text": JSON, "content": JSON, "source": JSON, "input": JSON, "refusal": JSON, "document": JSON},
        ) | JSON,
        max_size=3,
    )  # fmt: skip
    message = st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system", "other"])},
        optional={
            "content": content,
            "tool_calls": JSON,
            "type": st.sampled_from(["message", "function_call", "x_output"]),
        },
    )
    bodies = st.fixed_dictionaries(
        {"model": st.just("m") | JSON},
        optional={
            "messages": st.lists(message | JSON, max_size=3),
            "input": st.text(max_size=4) | st.lists(message | JSON, max_size=3),
            "prompt": JSON,
            "max_tokens": st.integers() | JSON,
            "system": content,
            "documents": JSON,
            "tools": JSON,
        },
    )

    @settings(FEW, max_examples=400)
    @given(bodies, st.booleans())
    def law(body: dict[str, Any], unchecked: bool) -> None:
        before = copy.deepcopy(body)
        try:
            ask = format.read(body, unchecked=unchecked)
        except Refused as refusal:
            assert refusal.status == 400 and json.loads(format.error(refusal))["error"]["message"]
            return
        assert all(piece.text for piece in ask.pieces)
        same = {piece.path: piece.text for piece in ask.pieces}
        assert format.rewritten(body, {}) == body
        for path in (path for path in same if path[-1] == NAME):  # the name of a field is read, and cannot be masked
            with pytest.raises(Refused, match="the name of a field"):
                format.rewritten(body, {path: "<>"})
        new = format.rewritten(body, {path: f"<{text}>" for path, text in same.items() if path[-1] not in ("\n", NAME)})
        texts = [piece.text for piece in format.read(new, unchecked=unchecked).pieces] if _is_plain(same) else []
        assert all(text.startswith("<") for text in texts)
        assert repr(body) == repr(before)  # nothing was changed in place

    law()


def _is_plain(same: dict[Any, str]) -> bool:
    """Whether no content of several parts, no arguments that are values and no names of fields stand among the pieces."""
    return not any(path[-1] in ("\n", "input", NAME) for path in same)


@pytest.mark.parametrize("format", [format for format, _ in FORMATS], ids=lambda format: format.route)
def test_any_reply_is_read_or_refused(format: Format) -> None:
    @settings(FEW, max_examples=300)
    @given(st.dictionaries(st.sampled_from(["choices", "output", "content", "data", "x"]), JSON, max_size=4))
    def law(reply: dict[str, Any]) -> None:
        try:
            pieces = format.said(reply)
        except TargetError:
            return
        assert all(piece.role == "assistant" and piece.text for piece in pieces)

    law()
