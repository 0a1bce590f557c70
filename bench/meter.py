"""What a side measures of itself: time by part, and the memory of its process."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


class Meter:
    """Wall time by part and CPU time since it was made, seconds; resident memory, bytes; on a GPU the allocator's peak as well."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, int] = {}
        self._since = time.perf_counter()
        self._cpu = time.process_time()

    def part(self, name: str) -> None:
        """Everything since the last call belonged to this part."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def skip(self) -> None:
        """What happened since the last call is nobody's."""
        self._since = time.perf_counter()

    def remember(self, name: str) -> None:
        self.memory[name] = resident()

    def report(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        memory = {**self.memory, "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)}
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            memory["device_peak"] = torch.cuda.max_memory_allocated()
        return {"seconds": self.seconds, "memory": memory, "cpu_seconds": time.process_time() - self._cpu}


def resident() -> int:
    """Bytes in memory now; 0 where the system has no /proc."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0


def spec() -> dict[str, Any]:
    """The task of this side: a JSON file named on its command line."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def tell(result: dict[str, Any]) -> None:
    """The result of this side, for who started it."""
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")
