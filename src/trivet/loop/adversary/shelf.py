"""What has been done already: results of stages by the content of what went in.

Every stage has a name and a key of all that decides its result (settings, weights by their digest, goals). Whoever asks
again with the same key is given what is there; with another key it is done anew. So the same command goes on where it was
stopped, and after a change only what depends on it is repeated. Training runs resume within themselves as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trivet.core.messages import digest_of
from trivet.core.store.artefacts import folder_digest, write_text


class Shelf:
    """A folder of results. `told` hears of every stage: its name, and whether it was known."""

    def __init__(self, place: Path, told: Callable[[str, bool], None] | None = None) -> None:
        self.place = place
        self.told = told or (lambda name, known: None)
        self._digests: dict[str, str] = {}
        place.mkdir(parents=True, exist_ok=True)

    def once(self, name: str, key: Any, work: Callable[[], Any]) -> Any:
        """The stage's result, a value that JSON can hold: read back where the key is the same, else from `work`."""
        mark, path = digest_of(key), self.place / f"{name}.json"
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] == mark:
                self.told(name, True)
                return kept["value"]
        self.told(name, False)
        value = json.loads(json.dumps(work()))
        write_text(path, json.dumps({"key": mark, "value": value}, ensure_ascii=False))
        return value

    def digest(self, folder: str | Path) -> str:
        """What a model is, wherever it lies: the digest of its folder, or the name of one that is elsewhere."""
        name = str(folder)
        if name not in self._digests:
            self._digests[name] = folder_digest(folder) if Path(folder).is_dir() else name
        return self._digests[name]

    def room(self, name: str, key: Any) -> Path:
        """A folder for a training run with these inputs; another key has another folder."""
        return self.place / f"{name}-{digest_of(key)[:10]}"
