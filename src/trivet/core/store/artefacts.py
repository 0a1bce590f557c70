"""Files beside the store: where a home is, what is in a folder, and writing so that a crash leaves old or new.

A folder's digest covers the names and bytes of its files, so that a model is the same model wherever it lies. Hidden
files do not count: they are caches and the leftovers of editors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from trivet.core.errors import StoreError

CHUNK = 1 << 20


def home_or_default(home: str | Path | None = None) -> Path:
    """The home folder: the one given, else $TRIVET_HOME, else `.trivet` in the working directory."""
    return Path(home or os.environ.get("TRIVET_HOME") or ".trivet")


def folder_digest(folder: str | Path) -> str:
    """SHA-256 of the names and contents of the files in a folder, as 32 hexadecimal digits."""
    root = Path(folder)
    if not root.is_dir():
        raise StoreError(f"{root} is no folder, so it has no digest; check the path")
    whole = hashlib.sha256()
    for path in sorted(_files(root), key=lambda file: file.relative_to(root).as_posix()):
        whole.update(path.relative_to(root).as_posix().encode() + b"\0")
        whole.update(_file_digest(path))
    return whole.hexdigest()[:32]


def write_text(path: str | Path, text: str) -> Path:
    """Writes a file in one step: readers see the old text or the new one, and a crash leaves no half."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StoreError(
            f"{target} could not be written: {error.strerror}; check its folder and the free space"
        ) from error
    return target


def write_json(path: str | Path, value: Any) -> Path:
    """The value as indented JSON, in one step. NaN is refused, because JSON has none."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _files(root: Path) -> Iterator[Path]:
    for path in root.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _file_digest(path: Path) -> bytes:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.digest()
