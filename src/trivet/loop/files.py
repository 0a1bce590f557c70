"""Writing into a home: a full or read-only disk is told in one line, and what was done before stays done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trivet.core.errors import StoreError


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Whatever the system refuses in the block is a StoreError about `place`."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{place} could not be written: {error.strerror or error}; check its folder and the free space, "
            "then repeat the command: it goes on where it was"
        ) from error
