"""How text that is to be judged is shown to a language model: as evidence that cannot speak to its judge.

It stands as JSON lines between marks that are drawn anew for each call, so that it can neither close the frame nor open
another turn; and a verdict counts only with a code drawn for that call, which the text cannot know.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from typing import Any


def code() -> str:
    """What a verdict must begin with."""
    return secrets.token_hex(4)


def mark() -> str:
    """What evidence stands between."""
    return secrets.token_hex(8)


def framed(rows: Iterable[dict[str, Any]], mark: str) -> str:
    """Rows as JSON lines between two marks; what could close them is written as an escape."""
    lines = "\n".join(json.dumps(row, ensure_ascii=False).replace("<<", "<\\u003c") for row in rows)
    return f"<<{mark}>>\n{lines}\n<</{mark}>>"
