"""Bytes written as text: Base64 whole, in chunks and over lines, Base32, hex, binary, decimal, octal, percent signs, entities, escapes.

A stretch counts as encoded if what it decodes to can be read: UTF-8 without control characters, some of it letters. Base64 cut in pieces does
not tell where it begins, so all four phases of the stretch are decoded and what can be read for long enough is kept: random letters
give sixteen readable bytes in a row about once in a million places. Nothing decoded is longer than its code.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

import numpy as np
import re2

from trivet.monitoring.views.characters import readable
from trivet.monitoring.views.view import Change

SHORTEST = 12  # characters of Base64 that stand alone
READABLE = 14  # readable bytes in a row where nothing tells the phase
REACH = 40  # characters between two places where letters are mixed that belong together
_CASES = bytes(1 if 97 <= c <= 122 else 2 if 65 <= c <= 90 else 3 if 48 <= c <= 57 else 0 for c in range(256))
_MIXES = np.zeros(16, bool)
_MIXES[[1 << 2 | 2, 1 << 2 | 3, 3 << 2 | 1, 2 << 2 | 3, 3 << 2 | 2]] = True
_BOUNDS = bytes(97 if c < 128 and (chr(c).isalnum() or chr(c) in "+/=_-") else 32 for c in range(256))
_TOKEN = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_MIXED = re.compile(r"[a-z][A-Z0-9]|[A-Z][0-9]|[0-9][A-Za-z]|[A-Z]{2}[a-z]")
_BASE32 = re.compile(r"(?:[A-Z2-7]{8})*[A-Z2-7]{2,8}=*|(?:[a-z2-7]{8})*[a-z2-7]{2,8}=*")
_LINK = str.maketrans("-_", "+/")
_RUN = re.compile(
    rb"(?:[\x20-\x7e\t\r\n]|[\xc3-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}){%d,}"
    % READABLE
)
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ENTITY = re.compile(r"(?:&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,31});)+")
_ESCAPE = re.compile(
    r"(?:\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]{1,6}\}|\\U[0-9A-Fa-f]{8}|\\[0-3][0-7]{2}|U\+[0-9A-Fa-f]{4,6} ?)+"
)
_ESCAPED = re.compile(r"\\x(..)|\\u(....)|\\u\{(\w+)\}|\\U(.{8})|\\([0-3]..)|U\+(\w+) ?")
_HEX = re.compile(r"(?<![A-Za-z0-9])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}(?:[ :,;\n-]{1,2}|(?=[0-9A-Fa-f\\]|$|\W))){6,}+")
_HEX_DIGITS = re2.compile(r"(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ :,;\n-]{0,2}){6,}")
_BINARY = re.compile(r"(?<!\w)(?:[01]{8}[ ,;\n]{0,2}){4,}+(?!\w)")
_DECIMAL = re.compile(r"(?<!\w)(?:(?:3[2-9]|[4-9][0-9]|1[01][0-9]|12[0-6]|10|13)(?:[ ,;\n]{1,2}|(?!\w))){6,}+(?!\w)")
_HEX_NOISE = re.compile(r"\\x|0x|[^0-9A-Fa-f]")


def undone(text: str, kinds: set[str]) -> list[Change]:
    """Every encoded stretch of the kinds that a look at the text found possible, decoded; in order, not overlapping."""
    found: list[Change] = []
    for kind, decode in KINDS.items():
        if kind in kinds:
            found = merged(found, decode(text))
    return found


def merged(found: list[Change], more: Iterator[Change]) -> list[Change]:
    """Both, in order; where two overlap, the one found first."""
    taken = bytearray(max([c.end for c in found], default=0))
    for change in found:
        taken[change.start : change.end] = b"\x01" * (change.end - change.start)
    return sorted([*found, *(c for c in more if not any(taken[c.start : c.end]))])


def _percent(text: str) -> Iterator[Change]:
    for match in _PERCENT.finditer(text):
        if said := _visible(unquote_to_bytes(match.group())):
            yield Change(*match.span(), said)


def _entities(text: str) -> Iterator[Change]:
    for match in _ENTITY.finditer(text):
        said = html.unescape(match.group())
        if said != match.group() and _shown(said):
            yield Change(*match.span(), said)


def _escapes(text: str) -> Iterator[Change]:
    for match in _ESCAPE.finditer(text):
        points = [int(next(g for g in m.groups() if g), 8 if m[5] else 16) for m in _ESCAPED.finditer(match.group())]
        if all(point < 256 for point in points) and (said := _visible(bytes(points))):
            yield Change(*match.span(), said)
        elif all(point < 0x110000 for point in points):
            said = "".join(map(chr, points)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if _shown(said):
                yield Change(*match.span(), said)


def _hex(text: str) -> Iterator[Change]:
    for match in _hex_runs(text):
        run = match.group().rstrip(" :,;\n-")
        digits = _HEX_NOISE.sub("", run)
        if len(digits) >= 12 and len(digits) % 2 == 0 and (said := readable(bytes.fromhex(digits))):
            yield Change(match.start(), match.start() + len(run), said)


def _hex_runs(text: str) -> Iterator[re.Match[str]]:
    """What `_HEX.finditer` finds, tried only where an automaton sees digits enough: a long number is no rare thing."""
    free = 0
    for rough in _HEX_DIGITS.finditer(text):
        for place in range(max(free, rough.start()), rough.end()):
            if place >= free and (match := _HEX.match(text, place)):
                yield match
                free = match.end()


def _binary(text: str) -> Iterator[Change]:
    for match in _BINARY.finditer(text):
        bits = re.sub(r"[^01]", "", match.group())
        if said := readable(int(bits, 2).to_bytes(len(bits) // 8, "big")):
            yield Change(match.start(), match.start() + len(match.group().rstrip()), said)


def _decimal(text: str) -> Iterator[Change]:
    for match in _DECIMAL.finditer(text):
        said = readable(bytes(int(number) for number in re.findall(r"\d+", match.group())))
        if said and sum(c.isalpha() or c == " " for c in said) > 0.8 * len(said):
            yield Change(match.start(), match.start() + len(match.group().rstrip(" ,;\n")), said)


def _base64(text: str) -> Iterator[Change]:
    """Looks only where letters are mixed as in no word, and near it."""
    data = text.encode("ascii", "replace")
    codes = np.frombuffer(data.translate(_CASES), np.uint8)
    places = np.flatnonzero(_MIXES.take((codes[:-1] << 2) | codes[1:])).tolist()
    bounds = data.translate(_BOUNDS)
    free = 0
    for first, last in _groups(places):
        start, end = bounds.rfind(b" ", 0, first) + 1, bounds.find(b" ", last)
        end = end if end >= 0 else len(text)
        if end - start >= SHORTEST:
            start, end = max(free, bounds.rfind(b" ", 0, max(0, start - REACH)) + 1), min(len(text), end + REACH)
            if (cut := bounds.find(b" ", end)) != end:
                end = cut if cut >= 0 else len(text)
            yield from _in_region(text, start, end)
            free = end


def _groups(places: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of places that are never more than REACH apart."""
    first = last = -1
    for place in places:
        if place - last > REACH or first < 0:
            if first >= 0:
                yield first, last
            first = place
        last = place
    if first >= 0:
        yield first, last


def _in_region(text: str, start: int, end: int) -> Iterator[Change]:
    """Tokens that decode by themselves; between them, stretches of tokens that look like pieces."""
    rest: list[re.Match[str]] = []
    mixed: list[bool] = []
    for match in _TOKEN.finditer(text, start, end):
        if not any(map(str.isalnum, match.group())):
            continue  # a sign between pieces
        odd = _MIXED.search(match.group()) is not None
        if odd and len(match.group()) >= SHORTEST and (said := _whole(match.group())):
            yield from _pieces(text, rest, mixed)
            rest, mixed = [], []
            yield Change(*match.span(), said)
        else:
            rest.append(match)
            mixed.append(odd)
    yield from _pieces(text, rest, mixed)


def _whole(run: str) -> str:
    """A token decoded: Base64 in either alphabet, Base32; turned by 13 or written backwards where that is what makes it readable."""
    if said := _from_base64(run) or _from_base32(run):
        return said
    if len(run) >= 2 * SHORTEST:
        return _from_base64(codecs.encode(run, "rot13")) or _from_base64(run[::-1])
    return ""


def _from_base64(run: str) -> str:
    body = run.strip("=").translate(_LINK)
    whole = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return readable(base64.b64decode(whole + "=" * (-len(whole) % 4)))
    except binascii.Error:
        return ""


def _from_base32(run: str) -> str:
    body = run.rstrip("=")
    if len(body) < 2 * SHORTEST - 8 or not _BASE32.fullmatch(run):
        return ""
    try:
        return readable(base64.b32decode(body + "=" * (-len(body) % 8), casefold=True))
    except binascii.Error:
        return ""


def _pieces(text: str, tokens: list[re.Match[str]], mixed: list[bool]) -> Iterator[Change]:
    """Base64 cut in pieces: stretches in which tokens with letters mixed as no word mixes them are never far apart."""
    odd = [i for i, is_odd in enumerate(mixed) if is_odd]
    begin = 0
    for k, i in enumerate(odd):
        last = k + 1 == len(odd) or odd[k + 1] - i > 4 or tokens[i].group().endswith("=")
        if last:
            first = odd[begin]
            if sum(len(tokens[j].group()) for j in range(first, i + 1)) >= READABLE:
                yield from _phases(text, tokens[max(0, first - 2) : i + 3])
            begin = k + 1


def _phases(text: str, tokens: list[re.Match[str]]) -> Iterator[Change]:
    """What can be read for long enough in any of the four phases; the longest first, none overlapping."""
    letters, places, heads = [], list[int](), set[int]()
    for match in tokens:
        body = match.group().rstrip("=")
        heads.add(len(places))
        letters.append(body.translate(_LINK))
        places.extend(range(match.start(), match.start() + len(body)))
    whole, found = "".join(letters), list[tuple[int, int, str]]()
    for phase in range(4):
        code = whole[phase:]
        data = binascii.a2b_base64(code[: len(code) - len(code) % 4])
        for run in _RUN.finditer(data):
            said = _broken_at_heads(run, phase, heads)
            if sum(c.isalpha() or c.isspace() for c in said) >= 0.7 * len(said):
                found.append((phase + run.start() * 4 // 3, phase + (run.end() * 4 + 2) // 3, said))
    free = bytearray(len(places) + 4)
    chosen = []
    for first, last, said in sorted(found, key=lambda piece: piece[0] - piece[1]):
        if not any(free[first:last]):
            free[first:last] = b"\x01" * (last - first)
            chosen.append(Change(places[first], places[min(last, len(places)) - 1] + 1, said))
    yield from sorted(chosen)


def _broken_at_heads(match: re.Match[bytes], phase: int, heads: set[int]) -> str:
    """A run as text, with a line break where its first or last few bytes may belong to a neighbouring word instead."""
    start, end = match.span()
    data = match.group()

    def is_head(k: int) -> bool:
        return k % 3 == 0 and phase + k * 4 // 3 in heads

    cut = next((k for k in range(start, min(start + 7, end)) if is_head(k)), start)
    stop = next((k for k in range(end - 1, max(end - 7, cut), -1) if is_head(k)), end)
    parts = (data[: cut - start], data[cut - start : stop - start], data[stop - start :])
    return "\n".join(part.decode("utf-8", "ignore") for part in parts if part)


def _visible(data: bytes) -> str:
    try:
        said = data.decode()
    except UnicodeDecodeError:
        return ""
    return said if _shown(said) else ""


def _shown(said: str) -> bool:
    return all(c.isprintable() or c.isspace() for c in said)


KINDS: dict[str, Callable[[str], Iterator[Change]]] = {
    "percent": _percent,
    "entities": _entities,
    "escapes": _escapes,
    "binary": _binary,
    "decimal": _decimal,
    "hex": _hex,
    "base64": _base64,
}
