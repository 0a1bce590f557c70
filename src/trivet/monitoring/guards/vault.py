"""Names for the values of one request, and the way back: `ann@example.com` is `<EMAIL_1>` for the model, and itself again
in the reply.

A vault lives as long as its request and belongs to one tenant. It is never shared between requests (LLM Guard keeps one
for the whole process, so that one user's values come out in another's reply), never pickled, and never shows a value
when it is printed. The same value has the same name everywhere in the request, whatever its case.

Three rules keep the way back safe. What a user wrote as a placeholder of their own is *reserved*: it is never given out,
and never restored. What is named after `seal` (personal data that the model made up, masked in its reply) stays masked.
And a `Restorer` puts values back in a stream however the placeholders are cut, holding back at most one name.

Not covered: a placeholder that the model rewrites (`<email 1>`), translates or spells in JSON escapes stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NoReturn

from trivet.core.errors import ConfigError
from trivet.core.verdicts import Span
from trivet.monitoring.text import read

WORDS = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "IBAN_CODE": "IBAN",
    "US_SSN": "SSN",
    "IP_ADDRESS": "IP",
    "MAC_ADDRESS": "MAC",
}
"""Short words for the placeholders of some types; all others are called as they are."""

_NAME = re.compile(r"<[A-Z][A-Z0-9_]*_[0-9]+>")
_LIKE_A_NAME = re.compile(r"<[^<>]*_[0-9]+>")
"""Whatever a name could be, that of a type of another script too."""


class Placeholders:
    """`mask` gives names, `restore` takes them back. One for each request; `tenant` says whose it is."""

    def __init__(self, tenant: str = "") -> None:
        self.tenant = tenant
        self._names: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._reserved: set[str] = set()
        self._reversible: set[str] = set()
        self._sealed: frozenset[str] | None = None

    def __repr__(self) -> str:
        return f"Placeholders({len(self._values)} values)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("placeholders hold personal data of one request: they are not pickled or copied")

    def for_tenant(self, tenant: str) -> Placeholders:
        """These placeholders, if they are the tenant's; ConfigError if they are another's."""
        if tenant != self.tenant:
            raise ConfigError("these placeholders belong to another tenant; make new ones for each request")
        return self

    def reserve(self, text: str) -> None:
        """Take note of what already looks like a placeholder in a text as it came in: it means something else there.

        Call it with every text of a request before the first `mask`."""
        if "<" in text:
            self._reserved.update(_NAME.findall(text))

    def seal(self, *, every: bool = True) -> None:
        """From now on new names are for good: `restore` knows only those given out before, and of those without `every`
        only the ones of masks that were `reversible`."""
        if self._sealed is None:
            self._sealed = frozenset(self._values if every else self._reversible)

    def mask(self, text: str, spans: Sequence[Span], *, reversible: bool = False) -> str:
        """The text with every span replaced by its name. Where spans overlap, the earlier one covers both."""
        out, at = [], 0
        # Looked up once: to search the text for each new name takes the square of its length.
        held = frozenset(_LIKE_A_NAME.findall(text)) if spans and "<" in text else frozenset()
        for span in sorted(spans, key=lambda s: (s.start, -s.end)):
            if span.start >= at:
                name = self._name(span.label, text[span.start : span.end], held)
                if reversible:
                    self._reversible.add(name)
                out += [text[at : span.start], name]
            at = max(at, span.end)
        return "".join(out) + text[at:]

    def restorable(self) -> Mapping[str, str]:
        """Every name that `restore` takes back, with its value."""
        kept = self._values if self._sealed is None else self._sealed
        return {name: self._values[name] for name in kept if name not in self._reserved}

    def restore(self, text: str) -> str:
        """The text with every name that was given out replaced by the value behind it, as it was first written."""
        return _restored(text, self.restorable(), str)

    def _name(self, label: str, value: str, held: Set[str]) -> str:
        label = WORDS.get(label) or re.sub(r"\W+", "_", label).upper()
        key = (label, value.lower() if value.isascii() else read(value).folded.text)
        while key not in self._names:
            self._counts[label] = self._counts.get(label, 0) + 1
            name = f"<{label}_{self._counts[label]}>"
            # A placeholder that the text already holds means something else there.
            if name not in held and name not in self._reserved:
                self._names[key] = name
                self._values[name] = value
        return self._names[key]


def json_escaped(value: str) -> str:
    """A value as it stands inside a JSON string: what `Restorer(names, escape=json_escaped)` puts into tool arguments."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


class Restorer:
    """Restores a stream. The pieces joined are what `restore` makes of the whole, wherever the stream was cut.

    It knows the names that were given out before it was made, so masks of the reply itself stay."""

    def __init__(self, names: Placeholders, escape: Callable[[str], str] = str) -> None:
        self._values = dict(names.restorable())
        self._escape = escape
        self._beginnings = {name[:size] for name in self._values for size in range(1, len(name))}
        self._held = ""

    def feed(self, delta: str) -> str:
        """All that is certain by now: everything but the beginning of a name at the very end."""
        if not self._values:
            return delta
        text = self._held + delta
        at = text.rfind("<")
        self._held = text[at:] if at >= 0 and text[at:] in self._beginnings else ""
        return _restored(text[: len(text) - len(self._held)], self._values, self._escape)

    def finish(self) -> str:
        """What was held back: it was no name after all."""
        held, self._held = self._held, ""
        return held


def _restored(text: str, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
    if "<" not in text or not values:
        return text

    def value(match: re.Match[str]) -> str:
        found = values.get(match.group())
        return match.group() if found is None else escape(found)

    return _NAME.sub(value, text)
