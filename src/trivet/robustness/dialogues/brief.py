"""The talk between a method and its attacker, read back: the goal, what is asked for, and what came of each move.

For attackers that are programs (template.py, writer.py). A language model reads the same words for itself. Only what
the method has written is believed: what the target has said stands between marks that it cannot close.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from trivet.core.errors import ConfigError
from trivet.core.messages import Conversation
from trivet.robustness.dialogues.attacker import asked_keys, within


class Played(NamedTuple):
    """One move of this talk: the attacker's own object, the message in it, and what came of that."""

    own: Mapping[str, Any]
    message: str
    score: float
    declined: bool
    blocked: bool


@dataclass(frozen=True)
class Brief:
    """`keys` are the texts that a move consists of, the message last."""

    request: str
    topic: str
    keys: tuple[str, ...]
    played: tuple[Played, ...]


def read(conversation: Conversation) -> Brief:
    """The talk so far; ConfigError for one that is not of this folder."""
    messages = conversation.messages
    text = messages[0].content if messages else ""
    keys, request = asked_keys(text), within("goal", text)
    if request is None:
        raise ConfigError(f"these instructions hold no goal, so they are none of robustness/dialogues: {text!r:.80}")
    played = []
    for said, heard in itertools.pairwise(messages):
        if said.role == "assistant" and heard.role == "user":
            own = json.loads(said.content)
            told = heard.content.rsplit("</reply>", 1)[-1]  # what stands before it are the target's words
            score = float(within("score", told) or 0.0)
            played.append(Played(own, own[keys[-1]], score, "<declined/>" in told, "<blocked>" in told))
    return Brief(request, within("topic", text) or "", keys, tuple(played))


def written(brief: Brief, message: str, note: str, **notes: str) -> str:
    """A move in the form that was asked for: the message, the same note under the other keys, and the attacker's own notes."""
    return json.dumps({**dict.fromkeys(brief.keys, note), **notes, brief.keys[-1]: message}, ensure_ascii=False)
