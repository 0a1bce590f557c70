"""E-mail addresses and web addresses in a flat text (`pii_finder.flat`), found from their `@` and `://`.

Only a bounded stretch around each sign is looked at, so the time is linear whatever the text. Of web addresses, those count
that tell something about a person: a login, a token, a profile; all others score too low to be masked, or no link would
be left in a reply.

Not covered: addresses that are spelt out (`bob at example dot com`), bare domains without `http://` or `www.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LOCAL = re.compile(r"(?<![\w.%+\-'])[\w%+\-](?:[\w.%+\-']{0,62}[\w%+\-])?\Z")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9ÿ](?:[A-Za-z0-9ÿ\-]{0,61}[A-Za-z0-9ÿ])?\.){1,8}[A-Za-zÿ]{2,24}(?![\w\-])")
# Endings of files that look like domains after an `@2x`.
_NOT_DOMAINS = "png jpg jpeg gif svg webp js ts css json yaml yml html exe dll"
_FILES = frozenset(_NOT_DOMAINS.split())


def emails(plain: str) -> Iterator[tuple[int, int]]:
    """Every `@` with a local part of at most 64 characters before it and a domain behind it (RFC 5321)."""
    at = plain.find("@")
    while at >= 0:
        domain = _DOMAIN.match(plain, at + 1, at + 256)
        if domain and (local := _LOCAL.search(plain, max(0, at - 65), at)):
            start, end = local.start(), domain.end()
            shell = plain[start:at] == "git" and plain[end : end + 1] == ":"
            if not shell and domain.group().rpartition(".")[2].lower() not in _FILES:
                yield start, end
        at = plain.find("@", at + 1)


_URL = re.compile(r"(?:(?:https?|ftp)://|www\.)[^\s<>\"'`{}|\\^\[\]¿]{3,390}", re.IGNORECASE)
_SCHEME = re.compile(r"(?:https?|ftp)\Z", re.IGNORECASE)
_LOGIN = re.compile(r"\w+://[^/?#\s:@]{1,64}(?::[^/?#\s@]{0,64})?@")
_PERSONAL = re.compile(
    r"[?&;](?:e?mail|token|access_token|id_token|auth|api_?key|key|secret|password|passwd|pwd|session(?:id)?|sid|user(?:name|id|_id)?|"
    r"uid|customer(?:_?id)?|phone|tel|mobile|ssn|dob|name|first_?name|last_?name|sig|signature|code|otp)="
    r"|(?:linkedin\.com/in|facebook\.com|instagram\.com|twitter\.com|//x\.com|t\.me|wa\.me|tiktok\.com/@|vk\.com|xing\.com/profile|"
    r"medium\.com/@|reddit\.com/u(?:ser)?|venmo\.com|paypal\.me|calendly\.com|about\.me|linktr\.ee)/?[\w@.\-]{3,}"
    r"|/(?:users?|u|people|person|profiles?|members?|accounts?|customers?|patients?)/(?!me\b)[\w.\-]{2,}|/~\w{2,}",
    re.IGNORECASE,
)  # fmt: skip


def urls(plain: str) -> Iterator[tuple[int, int, float]]:
    """Addresses of pages; surer where a part of one is about a person: a login, a token, a profile."""
    done = 0
    for at in sorted((*_places(plain, "://"), *_places(plain, "www."))):
        scheme = _SCHEME.search(plain, max(0, at - 5), at)
        match = _URL.match(plain, scheme.start() if scheme else at) if at >= done else None
        if match is None:
            continue
        end = done = match.end()
        while plain[end - 1] in ".,;:!?)*_":
            end -= 1
        if end - match.start() > 6:
            yield match.start(), end, _about_person(plain, match.start(), end)


def _about_person(plain: str, start: int, end: int) -> float:
    if _LOGIN.match(plain, start, end):
        return 1.0
    return 0.7 if _PERSONAL.search(plain, start, end) else 0.3


def _places(text: str, wanted: str) -> Iterator[int]:
    at = text.find(wanted)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)
