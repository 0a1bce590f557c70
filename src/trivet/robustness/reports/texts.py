"""Words that came from a target or an attacker, made fit for a file: nothing in them may act on who reads it."""

from __future__ import annotations

import re

LONGEST = 4000
"""Characters of one message that a report shows; the store has all of it."""

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 forbids or terminals obey: control characters but tab and line ends, lone surrogates, non-characters."""

_TURNED = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
"""Marks that turn the direction of writing: with them a text reads otherwise than it is."""


def fit(text: str, longest: int = LONGEST) -> str:
    """The text with what could act shown as a code, and cut where it is too long."""
    shown = _TURNED.sub(_code, _UNFIT.sub(_code, text[:longest]))
    return shown if len(text) <= longest else f"{shown} [... {len(text) - longest} more characters]"


def line(text: str, longest: int = 160) -> str:
    """The same on one line, for messages and titles."""
    return " ".join(fit(text, longest).split())


def _code(found: re.Match[str]) -> str:
    return f"\\x{ord(found.group()):02x}" if ord(found.group()) < 256 else f"\\u{ord(found.group()):04x}"
