"""The environment that TRL lives in: made once, kept, never mixed with Trivet's own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKED = ("transformers", "accelerate", "tokenizers", "numpy", "peft", "safetensors", "datasets", "pyarrow")
TRL = "trl==1.16.0"


def locked() -> dict[str, str]:
    """Exact versions of the lock file, so that both sides run on the same libraries."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    return {name: pins[name] for name in ("torch", *LOCKED) if name in pins}


def home() -> Path:
    """Where it is kept: $XDG_CACHE_HOME/trivet/bench where that is set, .trivet/bench in the repository elsewhere."""
    kept = os.environ.get("XDG_CACHE_HOME")
    return Path(kept) / "trivet" / "bench" if kept else ROOT / ".trivet" / "bench"


@cache  # one environment for a whole comparison, whatever becomes of the lock file meanwhile
def python() -> Path:
    """The interpreter of TRL's environment, which is made when it is asked for first (torch and TRL, a few minutes)."""
    pins = locked()
    wanted = [f"torch=={pins['torch']}", *(f"{name}=={pins[name]}" for name in LOCKED if name in pins), TRL]
    key = hashlib.sha256(" ".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    folder = home() / f"trl-{key}"
    found = folder / "bin" / "python"
    if (folder / "ready").exists():
        return found
    print(f"making an environment for {TRL} in {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, wanted[0]], check=True)  # first and alone, so that a wheel for this machine's device is kept
    subprocess.run([*pip, *wanted], check=True)
    (folder / "ready").write_text("\n".join(wanted), encoding="utf-8")
    return found
