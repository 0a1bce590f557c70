"""Policies in force: tenants, swaps by file and by call, files that are half there, history and roll-back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trivet.core.errors import ConfigError, UserError
from trivet.monitoring.live import Policies
from trivet.monitoring.policy import Policy

PII = "  - {name: pii, guard: pii, action: mask}\n"
WORDS = "  - {name: words, guard: blocklist, settings: {phrases: [poison]}}\n"
FILE_WORDS = "  - {name: words, guard: blocklist, settings: {file: words.txt}}\n"


def written(path: Path, text: str) -> Path:
    """Written in place, as an editor would that does not care."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))
    return path


def layers(policies: Policies, tenant: str = "") -> list[str]:
    return [layer.name for layer in policies.for_tenant(tenant).layers]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "p.yaml", f"layers:\n{PII}{WORDS}")


@pytest.fixture
def ticks() -> Iterator[int]:
    return iter(range(100, 1000))


def test_a_packaged_policy_and_a_policy_of_ones_own() -> None:
    assert Policies.load("default").for_tenant("anyone").name == "default"
    policy = Policy()
    policies = Policies.load(policy)
    assert policies.for_tenant("x") is policy and not policies.reload() and not policies.poll()
    assert policies.status()["ok"]


def test_a_changed_file_is_taken_once_it_stands_still(file: Path, ticks: Iterator[int]) -> None:
    policies = Policies.load(file, clock=lambda: next(ticks))
    held = policies.for_tenant()
    written(file, f"layers:\n{PII}")  # half of what is to be there: a policy all the same
    assert not policies.poll() and policies.for_tenant() is held
    written(file, f"layers:\n{PII}{WORDS}{FILE_WORDS.replace('words,', 'more,', 1)}")
    (file.parent / "words.txt").write_text("hemlock")
    assert not policies.poll() and policies.for_tenant() is held
    assert policies.poll() and layers(policies) == ["pii", "words", "more"]
    assert not policies.poll()
    assert [(v.cause, v.at) for v in policies.history] == [("start", 100), ("file", 101)]


def test_touching_a_file_changes_nothing(file: Path) -> None:
    policies = Policies.load(file)
    held = policies.for_tenant()
    written(file, file.read_text())
    assert not policies.poll() and not policies.poll() and not policies.reload()
    written(file, file.read_text() + "# a remark\n")
    assert not policies.reload() and policies.for_tenant() is held and len(policies.history) == 1


@pytest.mark.parametrize("broken", ["layers: [", "layers:\n  - {guard: blocklits}\n", "", "\x00", "- a"])
def test_the_last_good_one_is_kept_and_the_fault_told(file: Path, broken: str) -> None:
    policies = Policies.load(file)
    held = policies.for_tenant()
    written(file, broken)
    assert not policies.reload() and policies.for_tenant() is held
    status = policies.status()
    assert not status["ok"] and "p.yaml" in status["tenants"]["default"]["error"]
    written(file, f"layers:\n{WORDS}")
    assert policies.reload() and layers(policies) == ["words"] and policies.status()["ok"]


def test_a_file_that_goes_and_comes_back(file: Path) -> None:
    policies = Policies.load(file)
    text = file.read_text()
    file.unlink()
    assert not policies.reload() and layers(policies) == ["pii", "words"] and not policies.status()["ok"]
    written(file, text)
    policies.reload()
    assert policies.status()["ok"] and layers(policies) == ["pii", "words"]


def test_a_list_of_phrases_is_part_of_the_policy(tmp_path: Path) -> None:
    written(tmp_path / "words.txt", "poison\n")
    policies = Policies.load(written(tmp_path / "p.yaml", f"layers:\n{FILE_WORDS}"))
    assert not policies.for_tenant().check("hemlock").blocked
    written(tmp_path / "words.txt", "poison\nhemlock\n")
    assert policies.reload() and policies.for_tenant().check("hemlock").blocked


def test_the_first_load_must_succeed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="blocklits"):
        Policies.load(written(tmp_path / "p.yaml", "layers: [{guard: blocklits}]"))
    with pytest.raises(ConfigError, match="tenants"):
        Policies.load(written(tmp_path / "t.yaml", "tenants: [a, b]"))
    with pytest.raises(ConfigError, match='Did you mean "tenants"'):
        Policies.load(written(tmp_path / "t.yaml", "default: default\ntenant: {}"))
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        Policies.load(written(tmp_path / "t.yaml", "tenants: {acme: a.yaml}"))


def test_tenants_have_policies_of_their_own(tmp_path: Path) -> None:
    written(tmp_path / "policies" / "acme.yaml", f"name: acme\nlayers:\n{PII}")
    file = written(
        tmp_path / "t.yaml", "default: default\ntenants: {acme: policies/acme.yaml, ajax: policies/acme.yaml}"
    )
    policies = Policies.load(file)
    assert policies.tenants == ("default", "acme", "ajax")
    assert policies.for_tenant("acme") is policies.for_tenant("ajax")
    assert policies.for_tenant("nobody") is policies.for_tenant() and policies.for_tenant().name == "default"
    # One tenant's broken file leaves the others alone.
    written(tmp_path / "policies" / "new.yaml", "layers: [")
    written(file, "default: policies/acme.yaml\ntenants: {acme: policies/acme.yaml, new: policies/new.yaml}")
    assert policies.reload()
    assert policies.for_tenant("new").name == policies.for_tenant("ajax").name == "acme"
    assert "new.yaml" in policies.status()["not_loaded"]["new"]
    written(tmp_path / "policies" / "new.yaml", f"name: new\nlayers:\n{WORDS}")
    assert policies.reload() and policies.for_tenant("new").name == "new" and policies.status()["ok"]
    written(file, "tenants: {acme: 3}")
    assert not policies.reload() and policies.for_tenant("new").name == "new" and not policies.status()["ok"]


def test_by_call_and_back(file: Path) -> None:
    policies = Policies.load(file)
    first = policies.for_tenant()
    policies.put("default", {"name": "called", "layers": [{"guard": "pii", "action": "mask"}]})
    assert policies.for_tenant().name == "called"
    written(file, f"layers:\n{WORDS}")
    policies.reload()
    assert policies.for_tenant().name == "called"  # what was put in force by a call stays until the next
    assert policies.roll_back() is first and policies.for_tenant() is first
    assert [version.cause for version in policies.history] == ["start", "api", "rollback"]
    with pytest.raises(ConfigError):
        policies.put("default", {"layers": [{"guard": "blocklits"}]})
    assert policies.for_tenant() is first
    with pytest.raises(UserError, match='Did you mean "default"'):
        policies.roll_back("defualt")


def test_the_watcher_finds_a_change(file: Path) -> None:
    found = threading.Event()

    class Heard(Policies):
        def poll(self) -> bool:
            changed = super().poll()
            if changed:
                found.set()
            return changed

    policies = Heard.load(file, poll_seconds=0.001).start()
    written(file, f"layers:\n{WORDS}")
    assert found.wait(30) and layers(policies) == ["words"]
    policies.stop()
    policies.stop()


def test_a_watcher_that_stumbles_goes_on(file: Path) -> None:
    stumbled, again = threading.Event(), threading.Event()

    class Stumbles(Policies):
        def poll(self) -> bool:
            (again if stumbled.is_set() else stumbled).set()
            raise RuntimeError("no")

    policies = Stumbles.load(file, poll_seconds=0.001).start()
    assert again.wait(30)
    policies.stop()
    assert "RuntimeError" in policies.status()["tenants"]["default"]["error"]
