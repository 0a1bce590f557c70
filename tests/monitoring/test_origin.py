"""Pages of other sites cannot use the gateway through a visitor's browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from trivet.core.models.scripted import Scripted
from trivet.core.store.events import Store
from trivet.monitoring.gateway.app import build_app
from trivet.monitoring.gateway.serve import Serving
from trivet.monitoring.gateway.settings import Settings
from trivet.monitoring.policy import Policy

ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def http(tmp_path: Path) -> Iterator[httpx.Client]:
    with Store.open(tmp_path / "trivet.db") as store:
        settings = Settings(hosts=("127.0.0.1", "gate.example"))
        app = build_app(Scripted("Hi."), Policy(), store, model_name="m", settings=settings)
        with Serving(app) as server, httpx.Client(base_url=server.url, timeout=20) as client:
            yield client


def test_a_rebound_name_reaches_nothing(http: httpx.Client) -> None:
    evil = {"host": "evil.example", "origin": "http://evil.example"}
    for path in ("/console/live.json", "/healthz", "/v1/models"):
        answer = http.get(path, headers=evil)
        assert (answer.status_code, answer.json()["error"]["code"]) == (421, "unknown_host")
    assert http.post("/console/review", headers=evil).status_code == 421


def test_a_page_of_another_site_cannot_ask_and_nothing_is_recorded(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json=ASK, headers={"origin": "http://evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_origin")
    assert http.get("/console/live.json").json()["exchanges"] == []


def test_programs_and_own_pages_are_served_under_every_allowed_name(http: httpx.Client) -> None:
    assert http.post("/v1/chat/completions", json=ASK).status_code == 200
    own = {"host": "gate.example:8443", "origin": "https://gate.example:8443"}
    assert http.post("/v1/chat/completions", json=ASK, headers=own).status_code == 200
    assert http.get("/healthz", headers={"host": "[::1"}).status_code in (400, 421)
