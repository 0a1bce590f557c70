"""Which API answers on which route, what a key needs for it, and how an upstream that does not speak one is made to."""

from __future__ import annotations

from trivet.monitoring.gateway.formats.chat import CHAT
from trivet.monitoring.gateway.formats.completions import COMPLETIONS
from trivet.monitoring.gateway.formats.embeddings import EMBEDDINGS
from trivet.monitoring.gateway.formats.messages import MESSAGES
from trivet.monitoring.gateway.formats.responses import RESPONSES
from trivet.monitoring.gateway.formats.shape import Format, Upstream
from trivet.monitoring.gateway.formats.translate import Translated
from trivet.monitoring.gateway.keys import Scope

FORMATS: tuple[tuple[Format, Scope], ...] = (
    (CHAT, "chat"),
    (COMPLETIONS, "chat"),
    (RESPONSES, "chat"),
    (MESSAGES, "chat"),
    (EMBEDDINGS, "embeddings"),
)


def speaking(upstream: Upstream) -> Upstream:
    """The upstream, or one that translates to chat completions what it does not speak itself."""
    missing = {CHAT.route, COMPLETIONS.route, RESPONSES.route, MESSAGES.route} - upstream.routes()
    return Translated(upstream) if missing and CHAT.route in upstream.routes() else upstream
