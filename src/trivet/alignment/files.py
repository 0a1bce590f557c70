"""Files that are seen whole or not at all: written beside their place, synced, renamed there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from trivet.core.errors import StoreError


def write_folder(place: Path, fill: Callable[[Path], Any]) -> None:
    """Fill a folder beside its place, sync it and rename it there; whoever looks sees all of it or none."""
    fresh = place.with_name(place.name + ".tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    with writing(place):
        fresh.mkdir(parents=True)
        fill(fresh)
        for path in fresh.rglob("*"):
            if path.is_file():
                sync(path)
        sync(fresh)
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
        sync(place.parent)


def write_file(place: Path, fill: Callable[[Path], Any]) -> None:
    """The same for one file."""
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        fill(fresh)
        sync(fresh)
        fresh.replace(place)
        sync(place.parent)


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """A full or read-only disk as one clear line."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as why:  # torch.save tells of a full disk by a RuntimeError
        raise StoreError(
            f"{place} cannot be written: {getattr(why, 'strerror', None) or why}; make room or give another out. "
            "Nothing is lost: the same command goes on from the last checkpoint."
        ) from why


def sync(path: Path) -> None:
    """A file or folder on the disk, not only in the system's memory."""
    handle = os.open(path, os.O_RDONLY)
    with suppress(OSError) if path.is_dir() else nullcontext():  # some file systems cannot sync folders
        os.fsync(handle)
    os.close(handle)
