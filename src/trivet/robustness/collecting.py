"""Fewer collections of garbage while a campaign keeps everything that it makes.

Python looks through its youngest objects whenever 700 more have been made than let go, and now and then through all of them. An
attempt is a few such objects that stay until the end, so all of that looking finds nothing, and the more attempts there
are the longer it takes. While the block lasts it looks after YOUNG of them. Collecting goes on, since what a target
or a judge leaves in circles must go; who has turned it off, or asked for more room himself, keeps what he has.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 100_000
_campaigns = 0
_before = (0, 0, 0)


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Campaigns may overlap: the first raises the threshold, and the last puts it back."""
    global _campaigns, _before
    if not _campaigns:
        _before = gc.get_threshold()
        young, *older = _before
        if 0 < young < YOUNG:
            gc.set_threshold(YOUNG, *older)
    _campaigns += 1
    try:
        yield
    finally:
        _campaigns -= 1
        if not _campaigns:
            gc.set_threshold(*_before)
