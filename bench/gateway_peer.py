"""The environment that LiteLLM lives in: made once, kept, never mixed with Trivet's own.

The newest release whose proxy can be installed: that of 1.110.2 needs a package `litellm-proxy` that no index has.
1.107 is left out, since its wheels were taken down.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import peer

WANTED = "litellm[proxy]>=1.106,<1.110.2,!=1.107.*"
QUIET = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "DISABLE_ADMIN_UI": "True",
}


@cache
def folder() -> Path:
    """Made when it is asked for first (a few minutes)."""
    place = peer.home() / "litellm"
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        print(f"making an environment for {WANTED} in {place}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        subprocess.run([*pip, WANTED], check=True)
        (place / "ready").write_text(WANTED, encoding="utf-8")
    return place


def program() -> Path:
    return folder() / "bin" / "litellm"


@cache
def version() -> str:
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    asked = subprocess.run([str(folder() / "bin" / "python"), "-c", code], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def config(upstream: int, phrases: Sequence[str]) -> dict[str, Any]:
    """LiteLLM's configuration: the mock, and its own list of words before and after the call."""
    model = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    guardrail = {
        "guardrail": "litellm_content_filter",
        "mode": ["pre_call", "post_call"],
        "default_on": True,
        "blocked_words": [{"keyword": phrase, "action": "BLOCK"} for phrase in phrases],
    }
    return {
        "model_list": [{"model_name": "mock", "litellm_params": model}],
        "guardrails": [{"guardrail_name": "list", "litellm_params": guardrail}],
        "litellm_settings": {"telemetry": False},
    }
