"""What must stay light stays light: looked at in a fresh process, because this one has loaded everything."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "accelerate", "tokenizers"}


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running the code."""
    told = "\nimport sys, json\nsys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + told], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stderr))


@pytest.mark.parametrize(
    "module",
    [
        "trivet",
        "trivet.core.models.resolve",
        "trivet.core.models.endpoint",
        "trivet.core.judges.panel",
        "trivet.core.store.registry",
        "trivet.monitoring.gateway.app",
        "trivet.monitoring.policy",
        "trivet.robustness.campaign",
        "trivet.cli.models",
    ],
)
def test_no_torch(module: str) -> None:
    assert not modules_after(f"import {module}") & HEAVY


def test_the_front_door_loads_nothing_of_ours() -> None:
    assert {name for name in modules_after("import trivet") if name.startswith("trivet.")} == set()


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_help_loads_no_command(asked: str) -> None:
    code = f"from trivet.cli.main import main\ntry:\n    main([{asked!r}])\nexcept SystemExit as end:\n    assert not end.code"
    loaded = modules_after(code)
    assert {name for name in loaded if name.startswith("trivet.")} == {"trivet.cli", "trivet.cli.main"}
    assert not loaded & {*HEAVY, "numpy", "httpx", "rich", "yaml", "msgspec", "scipy"}
