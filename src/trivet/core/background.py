"""Threads that work behind those that answer people.

Where the processors are all taken, a thread that stores or folds what was acknowledged long ago would run for a scheduler's whole
slice while a request waits for its turn. `give_way` lets the kernel prefer the others. Linux alone has priorities for single
threads; elsewhere nothing happens, and nothing but waiting times depends on it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

NICE = 5
"""About a quarter of a core even where another thread wants all of it: a recorder that got nothing would fall behind until
nobody is served any more, and who folds the store's log may for a moment keep its writer out."""


def give_way() -> None:
    """The calling thread stands back behind the others, until its end."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it; then it runs like the others
            os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE))
