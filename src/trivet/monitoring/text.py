"""Read a text once, in every way a model might read it, with offsets back to what was typed.

Attackers write the same words so that a filter does not see them: look-alike letters, zero-width characters, hidden tag
characters, leetspeak, letters spaced apart, Base64 whole or in pieces, hex, percent signs, ciphers, pig latin. `read(text)` undoes
each into a *view*: a plain string that knows, for every character in it, the stretch of the original that it came from. Guards
match on the views and report spans of the original, so a mask lands on what was typed.

How it stays cheap: one pass of a linear-time automaton (re2) and one of table look-ups say which disguises a text can hold at
all; only those are undone, and what changes little is a view of the changed neighbourhoods, not of the whole text again (views/view.py).
An ordinary prompt has no view but itself, and views are made when somebody asks. How it stays bounded: decoding goes DEPTH deep,
nothing decoded is longer than its code, a text has at most about thirty views, each made in one pass. Nothing is cut off.

Not covered: Morse, Braille, semaphore and other alphabets of signs; words in other languages or in acrostics; Vigenere and other
ciphers with a key; compression; images; Caesar's cipher and text written backwards of fewer than about 25 letters; Base64 in
pieces of fewer than 14 bytes; leetspeak with more than two readings of one sign in a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Generic, TypeVar

import re2

from trivet.monitoring.views import ciphers, encoded, letters
from trivet.monitoring.views.characters import cleaned, folded, hidden, invisible
from trivet.monitoring.views.view import Change, View, patched, replaced

__all__ = ["DEPTH", "Reading", "View", "invisible", "read"]

Made = TypeVar("Made")
DEPTH = 3
SHORT = 8192
_LETTER, _FAR = r"[0-9A-Za-z@$!|]", r"[^\x00-\x7f]"
_BETWEEN, _PLAIN = (
    r"[^0-9A-Za-z]",
    r"[\t\n -/_]",
)  # between letters of ASCII anything else; between others, signs of ASCII
_MIX = r"(?:[a-z][A-Z0-9]|[A-Z][0-9]|[0-9][A-Za-z])"
# What a text must hold for a disguise to be possible. Cheap and generous: what is found here is looked at properly after.
SIGNS = {
    "leet": r"[A-Za-z][0-9@$(<€£¥§¢µ∂ƒ×†℮]|[0-9@$(<€£¥§¢µ∂ƒ×†℮][A-Za-z]|[A-Za-z][!|+][A-Za-z0-9]|[!|][A-Za-z]",
    "drawn": r"\|_\||\|-\||\|\\\||/\\|\\/|\|v\||\|<|\|\)|\|>|\|3|\|2|\}\{|><",
    "spaced": rf"(?:^|{_BETWEEN}){_LETTER}{_BETWEEN}{{1,3}}{_LETTER}{_BETWEEN}{{1,3}}{_LETTER}(?:{_BETWEEN}|$)"
    rf"|(?:^|{_PLAIN}){_FAR}{_PLAIN}{{1,3}}{_FAR}{_PLAIN}{{1,3}}{_FAR}(?:{_PLAIN}|$)",
    "broken": r"(?:[A-Za-z]|[^\x00-\x7f])[-_.*~^·•+=/\\|]{1,2}(?:[A-Za-z]|[^\x00-\x7f])",
    "base64": rf"{_MIX}[0-9A-Za-z+/=_-]*[^0-9A-Za-z+/=_-]{{0,4}}[0-9A-Za-z+/=_-]*{_MIX}",
    "hex": r"(?:(?:0x|\\x)?[2-7c-fC-F][0-9A-Fa-f][ :,;\n-]{0,2}){6}",
    "binary": r"(?:[01]{8}[ ,;\n]{0,2}){4}",
    "decimal": r"(?:(?:[3-9][0-9]|1[0-2][0-9]|10|13)[ ,;\n]{1,2}){5}",
    "percent": r"%[0-9A-Fa-f]{2}",
    "entities": r"&#?[0-9A-Za-z]+;",
    "escapes": r"\\[xuU0-3][0-9A-Fa-f{]|U\+[0-9A-Fa-f]{4}",
    "pig latin": r"(?i)ay[^a-z]+(?:[a-z]+ )?[a-z]*ay[^a-z]+(?:[a-z]+ )?[a-z]*ay(?:[^a-z]|$)",
}


def _survey() -> Callable[[bytes], list[int]]:
    found = re2.Set.SearchSet()
    for pattern in SIGNS.values():
        found.Add(pattern)
    found.Compile()
    match: Callable[[bytes], list[int]] = found.Match
    return match


_NAMES = tuple(SIGNS)
_match = _survey()


class lazy(Generic[Made]):  # noqa: N801  (used as a decorator)
    """A property made once, when it is first asked for. `functools.cached_property` of Python 3.11 holds one lock for all
    instances meanwhile: whoever reads a novel in a thread would keep the event loop waiting for its own short text."""

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, reading: Any, owner: type) -> Made:
        made = reading.__dict__[self._name] = self._make(reading)
        return made


class Reading:
    """A text in all its views: `clean` keeps case and script, `folded` is plain lower case, the rest undo disguises.

    Iterating yields the lower-case views that words are matched on; those after the first are made when they are asked for, once.
    """

    def __init__(self, original: str) -> None:
        self.original = original

    @lazy
    def clean(self) -> View:
        """NFKC without what shows nothing."""
        return cleaned(self.original)

    @lazy
    def folded(self) -> View:
        """Lower case, no accents, look-alikes turned Latin."""
        return folded(self.clean, "folded")

    @lazy
    def near(self) -> tuple[View, ...]:
        """`folded` and the views that a character's neighbours decide: leetspeak, spacing. A window of the text shows them too."""
        return tuple(_different([self.folded, *_near(self.folded, self._possible)]))

    @lazy
    def others(self) -> tuple[View, ...]:
        """All views but `folded`."""
        far = [view for base, possible in self._far for view in (base, *_near(base, possible))]
        return tuple(_different([*self.near, *far]))[1:]

    @lazy
    def near_glued(self) -> tuple[View, ...]:
        """Letters that were set apart, without gaps, as `folded` and leetspeak have them. Not among the views: no words."""
        return tuple(_glued(self.folded, self._possible))

    @lazy
    def glued(self) -> tuple[View, ...]:
        """`near_glued`, and the same of what was encoded."""
        return (*self.near_glued, *(view for base, possible in self._far for view in _glued(base, possible)))

    @lazy
    def _possible(self) -> set[str]:
        return _possible(self.clean.text)

    @lazy
    def _far(self) -> tuple[tuple[View, set[str]], ...]:
        return tuple(
            (folded(view, view.name), _possible(view.text)) for view in _far(self.original, self.clean, self._possible)
        )

    def __iter__(self) -> Iterator[View]:
        """The views to match lower-case words on."""
        yield self.folded
        yield from self.others

    def __repr__(self) -> str:
        return f"Reading({[view.name for view in self]})"


def read(text: str) -> Reading:
    """All views of a text. The newest are remembered, so that the guards of one request share the work."""
    return _read_short(text) if len(text) <= SHORT else _read_long(text)


# Two memories, so that a few very long texts cannot fill much of it.
_read_short = lru_cache(maxsize=64)(Reading)
_read_long = lru_cache(maxsize=2)(Reading)


def _possible(text: str) -> set[str]:
    """The disguises that a text may hold."""
    return {_NAMES[i] for i in _match(text.encode("utf-8", "replace")) or ()}


def _different(views: list[View]) -> Iterator[View]:
    """The first, and those that say something that none before them said."""
    seen = {""}
    for number, view in enumerate(views):
        if number == 0 or view.text not in seen:
            seen.add(view.text)
            yield view


def _near(base: View, possible: set[str]) -> Iterator[View]:
    """What a lower-case view says with letters put together and with signs read as letters."""
    bases = [base]
    if "drawn" in possible and (view := letters.drawn(base)):
        bases.append(view)
    if possible & {"spaced", "broken"}:
        bases += letters.joined(base, possible)
    yield from bases[1:]
    if possible & {"leet", "drawn", "spaced", "broken"}:
        for view in bases:
            yield from letters.leet(view, made=view is not base)


def _glued(base: View, possible: set[str]) -> Iterator[View]:
    if "spaced" in possible and (view := letters.glued(base)):
        yield view
        yield from letters.leet(view)


def _far(original: str, clean: View, known: set[str]) -> Iterator[View]:
    """Views that keep case: smuggled text, the text with encoded stretches decoded in place, and the decoded stretches alone."""
    start = View("clean", original)
    level = [clean, *hidden(start)]
    yield from level[1:]
    for _ in range(DEPTH):
        deeper = list[View]()
        for view in level:
            possible, seen = known if view is clean else _possible(view.text), ciphers.look(view.text)
            changes = encoded.undone(view.text, possible)
            if seen is not None:
                yield from ciphers.mirrored(view, seen)
                changes = encoded.merged(changes, ciphers.turned(view.text, seen))
            if "pig latin" in possible:
                changes = encoded.merged(changes, ciphers.pig_latin(view.text))
            if changes:
                deeper.append(patched(view, "decoded", changes))
                yield deeper[-1]
                if any(c.isalpha() for change in changes for c in change.text):
                    yield _payload(view, changes, "\n")
                    if len(changes) > 1:
                        yield _payload(view, changes, "")
        level = deeper


def _payload(view: View, changes: list[Change], between: str) -> View:
    """The decoded stretches alone, one after the other."""
    changes = [Change(start, end, text + between) for start, end, text in changes]
    gaps = [Change(a, b, "") for a, b in _between(changes, len(view.text))]
    return replaced(view, "payload", sorted([*changes, *gaps]))


def _between(changes: list[Change], size: int) -> Iterator[tuple[int, int]]:
    at = 0
    for change in changes:
        yield at, change.start
        at = change.end
    yield at, size
