"""The environments that garak and PyRIT live in: each made once, kept outside the repository, never mixed with Trivet's own.

garak needs torch; the exact pin is that of a build for the processor alone. PyRIT 1.1.0 does not name `aiohttp`, without which its
converters cannot be imported.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

WANTED = {
    "garak": ("torch==2.13.0", "garak==0.17.1"),
    "pyrit": ("pyrit==1.1.0", "aiohttp"),
}


def home() -> Path:
    """$XDG_CACHE_HOME/trivet/bench, or that folder in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trivet" / "bench"


@cache
def python(name: str) -> Path | str:
    """The interpreter of a peer, made when it is asked for first (a few minutes), or in words why there is none."""
    wanted = WANTED[name]
    key = hashlib.sha256(" ".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    folder = home() / f"{name}-{key}"
    found = folder / "bin" / "python"
    if (folder / "ready").exists():
        return found
    print(f"making an environment for {' '.join(wanted)} in {folder}", file=sys.stderr)
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps = [[sys.executable, "-m", "venv", "--clear", str(folder)]]
    steps += [[*pip, *wanted[: number + 1]] for number in range(len(wanted))]  # the pinned first and alone
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr or done.stdout).strip().splitlines()
            return f"{' '.join(wanted)} could not be installed here: {why[-1] if why else 'no word why'}"
    (folder / "ready").write_text("\n".join(wanted), encoding="utf-8")
    return found
