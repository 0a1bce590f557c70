"""Keys: hashed at rest, good for what they say and as long as they say."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from trivet.cli.keys import keys
from trivet.core.errors import StoreError, UserError
from trivet.monitoring.gateway import keys as module
from trivet.monitoring.gateway.keys import Key, Keyring, Limits
from trivet.monitoring.gateway.wire import Refused


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return Keyring(tmp_path / "keys.json")


def test_a_key_is_found_and_never_kept(ring: Keyring) -> None:
    token, key = ring.create("app")
    assert token.startswith(f"tv-{key.id}-") and len(token) > 50
    assert ring.find(token) == key
    text = ring.path.read_text()
    assert token not in text and token.rpartition("-")[2] not in text and key.hash in text
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600


def test_what_is_nearly_a_key_is_none(ring: Keyring) -> None:
    token, _ = ring.create("app")
    for wrong in ("", "tv-", token[:-1], token + "x", token.swapcase(), f"tv-{'0' * 10}-{token[14:]}", "sk-abc"):
        assert ring.find(wrong) is None


def test_a_key_ends_when_it_expires_or_is_revoked(ring: Keyring) -> None:
    token, key = ring.create("app", seconds=3600)
    assert key.state(key.created) == "active" and key.state(key.created + 3601) == "expired"
    gone, _ = ring.create("short", seconds=-1)
    assert ring.find(gone) is None
    # Another process revokes it; the running gateway sees the file change.
    Keyring(ring.path).revoke(key.id)
    assert ring.find(token) is None
    with pytest.raises(UserError, match="trivet keys list"):
        ring.revoke("nope")


def test_a_broken_file_leaves_the_last_good_keys_in_force(ring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    token, key = ring.create("app")
    ring.path.write_text('[{"id": "half')
    assert ring.find(token) == key and "stay in force" in caplog.text
    ring.path.unlink()
    assert ring.find(token) == key
    ring.path.write_text("[")
    with pytest.raises(StoreError, match="restore the file"):
        Keyring(ring.path)


@pytest.mark.parametrize("broken", [b'[{"id": "half', b"", b"\xff\xfe"])
def test_a_first_file_that_cannot_be_read_lets_nobody_in(ring: Keyring, broken: bytes) -> None:
    assert not ring.asks()
    ring.path.write_bytes(broken)
    assert ring.asks() and ring.find("tv-0123456789-x") is None
    ring.path.unlink()
    assert ring.asks()  # gone again: it may have held keys
    ring.path.write_text("[]")
    assert not ring.asks()
    token, key = ring.create("app")
    assert ring.asks() and ring.find(token) == key


def test_scopes_must_be_known(ring: Keyring) -> None:
    with pytest.raises(UserError, match="chat, embeddings"):
        ring.create("app", scopes=["root"])  # type: ignore[list-item]
    with pytest.raises(UserError):
        ring.create("app", scopes=[])


def key_with(**limits: int) -> Key:
    return Key(id="k", hash="", name="k", created=0.0, **limits)


def test_the_bucket_empties_and_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    limits, key = Limits(), key_with(requests_per_minute=3)
    left = [limits.take(key, 0)["x-ratelimit-remaining-requests"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    with pytest.raises(Refused) as refused:
        limits.take(key, 0)
    assert refused.value.status == 429
    assert refused.value.headers["retry-after"] == "20"
    assert refused.value.headers["x-ratelimit-limit-requests"] == "3"
    now[0] += 20.0
    assert limits.take(key, 0)["x-ratelimit-remaining-requests"] == "0"


def test_tokens_are_estimated_and_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    limits, key = Limits(), key_with(tokens_per_minute=600)
    limits.take(key, 100)
    limits.settle(key, 100, 700)  # a debt of 100
    with pytest.raises(Refused):
        limits.take(key, 1)
    now[0] += 11.0
    limits.take(key, 1)
    # A request larger than the whole limit waits for a full bucket, not for ever.
    now[0] += 120.0
    limits.take(key, 10_000)


def test_a_refused_request_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    limits, key = Limits(), key_with(requests_per_minute=2, tokens_per_minute=100)
    limits.take(key, 100)
    for _ in range(3):
        with pytest.raises(Refused, match="tokens"):
            limits.take(key, 50)
    limits.settle(key, 100, 0)
    assert limits.take(key, 50)["x-ratelimit-remaining-requests"] == "0"


def test_a_worker_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    limits, key = Limits(share=0.5), key_with(requests_per_minute=4)
    limits.take(key, 0)
    limits.take(key, 0)
    with pytest.raises(Refused):
        limits.take(key, 0)


def test_the_commands(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(keys, [*words, "--home", str(tmp_path)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    token = run("create", "app", "--scope", "chat", "--tenant", "acme", "--requests-per-minute", "5").strip()
    key = Keyring.of_home(tmp_path).find(token)
    assert key and (key.tenant, key.scopes, key.requests_per_minute) == ("acme", ("chat",), 5)
    listed = run("list", "--json")
    assert '"state": "active"' in listed and token not in listed and key.hash not in listed
    assert "tenant=acme" in run("list")
    assert "revoked" in run("revoke", key.id)
    assert '"state": "revoked"' in run("list", "--json")
