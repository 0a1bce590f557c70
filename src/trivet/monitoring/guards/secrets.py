"""Keys and passwords in a text: by shape, by the name they are given, in connection strings, and by looking like nothing else.

Four ways, from sure to less so: some seventy shapes that makers gave their keys (secret_kinds.py); private keys and JSON Web Tokens; what is
assigned to a name such as `password` or stands in a URL before an @; and strings with the disorder of a key, which are no hash,
UUID, picture, path, name of a program or Base64 of something readable. One pass of an automaton says which may occur at all.

Not covered: keys of bare hex or letters that no name stands before (they look like hashes); passwords made of plain words;
secrets cut in pieces, spelt in another alphabet or encoded (a policy that minds puts a blocklist in front);
keys longer than their makers' formats; certificates and public keys, which are no secrets.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache

from trivet.core.errors import ConfigError, did_you_mean
from trivet.core.hazards import Goal, Probe
from trivet.core.messages import Conversation, digest_of
from trivet.core.verdicts import Span, Verdict
from trivet.monitoring.guards.patterns import Patterns
from trivet.monitoring.guards.secret_kinds import (
    ASSIGNED,
    AUTHORIZATION,
    CONNECTION,
    LONGEST,
    PLACEHOLDER,
    SHAPES,
    Shape,
)
from trivet.monitoring.guards.shared import aside, newest
from trivet.monitoring.text import read
from trivet.monitoring.views.characters import readable
from trivet.monitoring.views.english import known_share

ENTROPY = "HIGH_ENTROPY"
SHORTEST, WIDEST = 24, 200
BITS = 3.8
_ALL: tuple[Shape, ...] = (*SHAPES, AUTHORIZATION, CONNECTION, ASSIGNED)
_LONG = Shape(ENTROPY, rf"[A-Za-z0-9+/_\-]{{{SHORTEST}}}")
KINDS = tuple(dict.fromkeys((*(shape.kind for shape in _ALL), ENTROPY)))
_TOKEN = re.compile(rf"(?<![A-Za-z0-9+/_=.\-])[A-Za-z0-9+/_\-]{{{SHORTEST},{WIDEST}}}+={{0,2}}(?![A-Za-z0-9+/_\-])")
_HEX = re.compile(r"(?:0x)?[0-9a-f]+|(?:0X)?[0-9A-F]+")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_WORDS = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z])")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[a-z]+(?:[_-][a-z]+)+|[A-Z]+(?:_[A-Z]+)+")
_SNAKE = re.compile(r"[a-z]+[a-z0-9]*(?:_[a-z]+[a-z0-9]*)+")
_WORDLIKE = re.compile(r"[a-z]{8}|[A-Z]{8}")
_FILE = re.compile(r"(?:iVBORw0K|/9j/|R0lGOD|UklGR|JVBERi|PHN2Zy|AAAB|d09G|T2dnUw|SUkq|Qk[0-9]|MII[A-Z])")
_INTRODUCED = ("base64,", "sha1-", "sha256-", "sha384-", "sha512-", "md5-", "integrity=")


def find(view_text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of every secret in a text that still has its case, in order, none overlapping another."""
    return _finder(KINDS).find(view_text)


class Finder:
    """Looks for some kinds. Shapes that come earlier are surer, and win where two overlap."""

    def __init__(self, kinds: Iterable[str]) -> None:
        chosen = set(kinds)
        self._shapes = [shape for shape in (*_ALL, _LONG) if shape.kind in chosen]
        self._patterns = Patterns([shape.pattern for shape in self._shapes], "secrets", ignore_case=False)

    @property
    def reach(self) -> int:
        """The longest that a finding can be."""
        return max(LONGEST.get(shape.kind, LONGEST[""]) for shape in self._shapes) if self._shapes else 0

    def find(self, text: str) -> Iterator[tuple[int, int, str]]:
        found: list[tuple[int, int, str]] = []
        taken: bytearray | None = None
        for start, end, kind in self._all(text):
            taken = taken or bytearray(len(text))
            if not any(taken[start:end]):
                taken[start:end] = b"\x01" * (end - start)
                found.append((start, end, kind))
        return iter(sorted(found))

    def _all(self, text: str) -> Iterator[tuple[int, int, str]]:
        long = False
        for start, end, number in self._patterns.find(text, inner=True):
            shape = self._shapes[number]
            if shape is _LONG:
                long = True
                continue
            if shape is ASSIGNED and text[start - 1] not in "\"'`":
                end = start + len(text[start:end].rstrip(".!?:"))
            if shape not in (ASSIGNED, CONNECTION, AUTHORIZATION) or _is_value(text, start, end, shape):
                yield start, end, shape.kind
        if long:
            for match in _TOKEN.finditer(text):
                if _disordered(match.group()) and not _introduced(text, match.start()):
                    yield *match.span(), ENTROPY


@cache
def _finder(kinds: tuple[str, ...]) -> Finder:
    return Finder(kinds)


def _is_value(text: str, start: int, end: int, shape: Shape) -> bool:
    """Whether what stands where a secret would is one: not a placeholder, a variable, a type or a plain word."""
    value = text[start:end]
    if PLACEHOLDER.search(value):
        return False
    if shape is CONNECTION:
        return value not in ("password", "pass", "pw", "secret") and not value.isdigit()
    classes = sum((any(c.isdigit() for c in value), any(c.islower() for c in value), any(c.isupper() for c in value)))
    signs = any(not c.isalnum() and c not in "._-" for c in value)
    if shape is AUTHORIZATION:
        return classes >= 2
    before, after = text[start - 1 : start], text[end : end + 1]
    quoted = before == after != "" and before in "\"'`"
    if value.isalpha() or _NAME.fullmatch(value) or (not quoted and _SNAKE.fullmatch(value)):
        return False
    if after in ("(", "[") or value[0] in "/~.":
        return False
    return ((classes >= 2 or (quoted and signs)) and any(c.isdigit() for c in value)) or (
        signs and classes >= 2 and len(value) >= 8
    )


@lru_cache(maxsize=4096)
def _disordered(token: str) -> bool:
    """Whether a string has the disorder of a key and is none of the well-known strings that have it as well."""
    body = token.rstrip("=")
    counts = Counter(body)
    bits = -sum(n / len(body) * math.log2(n / len(body)) for n in counts.values())
    digits, upper = sum(c.isdigit() for c in body), sum(c.isupper() for c in body)
    lower = len(body) - digits - upper
    if bits < BITS or digits < 3 or not upper or not lower or _HEX.fullmatch(body) or _UUID.fullmatch(body):
        return False
    if body.count("/") > len(body) // 12 + 1 or body.count("-") + body.count("_") > len(body) // 10 + 1:
        return False  # paths, and names put together
    if sum(len(word) for word in _WORDS.findall(body) if known_share([word.lower()])) > 0.45 * len(body):
        return False
    if _turns(body) < 0.36 or _WORDLIKE.search(body) or _FILE.match(body) or body.lower().startswith(_INTRODUCED):
        return False
    return not _decodes(token)


def _introduced(text: str, start: int) -> bool:
    """Whether what stands before a string says that it is data, a checksum, or part of an address."""
    before = text[max(0, start - WIDEST) : start]
    near = before.split()[-1] if before and not before[-1].isspace() else ""
    return near.lower().endswith(_INTRODUCED) or "://" in near or near.lower().startswith("www.")


def _turns(body: str) -> float:
    """How often one kind of character follows another: in keys at every second or third place, in names seldom."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" if c.islower() else "s" for c in body]
    return sum(a != b for a, b in itertools.pairwise(kinds)) / len(body)


def _decodes(token: str) -> bool:
    """Whether it is Base64 of something readable: then it is judged as that and not as a key."""
    body = token.rstrip("=").translate({45: "+", 95: "/"})
    try:
        return bool(readable(base64.b64decode(body[: len(body) - (len(body) % 4 == 1)] + "=" * (-len(body) % 4))))
    except binascii.Error:
        return False


REACH = 512


class Secrets:
    """A guard that finds secrets. `Secrets(kinds=["AWS_ACCESS_KEY", "PASSWORD"])` looks for those only.

    In a stream a key is known by its beginning: what is longer than `reach` is followed to its end (see windows.py).
    """

    threshold = 0.5
    cheap = True
    lookahead = 96

    def __init__(self, kinds: Iterable[str] = KINDS) -> None:
        self.kinds = tuple(dict.fromkeys(kinds))
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"no kind of secret {kind!r}; known: {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
        self._finder = _finder(self.kinds)
        self.reach = min(REACH, self._finder.reach)
        self.digest = digest_of(["secrets-1", self.kinds])

    async def judge(self, conversation: Conversation, about: Goal | Probe | None = None) -> Verdict:
        return await aside(self.scan, newest(conversation))

    def scan(self, text: str) -> Verdict:
        """What is found; `why` names the kinds, never the text."""
        clean = read(text).clean
        spans = tuple(Span(*clean.origin(start, end), kind) for start, end, kind in self._finder.find(clean.text))
        if not spans:
            return Verdict("safe", 0.0, "secrets")
        return Verdict(
            "secret", 1.0, "secrets", "privacy", f"found {', '.join(sorted({s.label for s in spans}))}", spans
        )
