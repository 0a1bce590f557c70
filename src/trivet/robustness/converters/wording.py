"""Wording: noise, case and games with words that a person still reads, and changes of tense by rule.

The seeded ones (`capitals(3)`, `scrambled(3)`, `noise(3)`, `typos(3)`, `perturbed(3)`) give another text for every seed
and the same one for the same seed. `perturbed` is the augmentation of best-of-n sampling (Hughes et al. 2024,
arXiv:2412.03556): a scramble, capitals and a few changed characters together.

Not covered: synonyms, translation and rewriting, which need a model (written.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from trivet.robustness.converters import tense
from trivet.robustness.converters.base import ANY, ASCII, LOWER, Converter, Tunable, dice, partly, whole

_FACES = "🙂🌿🎈🍀🎵🌙🐟🍎⭐🧩"
_SPOTS = "*~^|_="
_NEAR = {
    "a": "qsz", "b": "vgn", "c": "xdv", "d": "sfe", "e": "wrd", "f": "dgr", "g": "fht", "h": "gjy", "i": "uok",
    "j": "hku", "k": "jli", "l": "kop", "m": "njk", "n": "bmh", "o": "ipl", "p": "ol", "q": "wa", "r": "etf",
    "s": "adw", "t": "ryg", "u": "yij", "v": "cbf", "w": "qes", "x": "zcs", "y": "tuh", "z": "xas",
}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")


def _seeded(
    name: str,
    rewrite: Callable[[str, str], str],
    about: str,
    decode: Callable[[str], str] | None = None,
    domain: str = "",
) -> Callable[[str], Converter]:
    """A maker for a rewriting that takes (text, seed)."""

    def make(argument: str) -> Converter:
        seed = whole(name, argument, 0, 1_000_000)
        return partly(f"{name}({seed})", lambda text: rewrite(text, str(seed)), decode, domain, about)

    return make


def _capitals(text: str, seed: str) -> str:
    chance = dice("capitals", seed, text)
    return "".join(letter.upper() if chance.random() < 0.5 else letter.lower() for letter in text)


def _scrambled(text: str, seed: str) -> str:
    """The inner letters of every longer word in another order; first and last stay."""
    chance = dice("scrambled", seed, text)

    def mixed(found: re.Match[str]) -> str:
        word = found.group()
        inner = list(word[1:-1])
        if len(set(inner)) < 2:
            return word
        while inner == list(word[1:-1]):
            chance.shuffle(inner)
        return word[0] + "".join(inner) + word[-1]

    return _WORD.sub(mixed, text)


def _noise(text: str, seed: str) -> str:
    """A sign of ASCII after about every third character."""
    chance = dice("noise", seed, text)
    return "".join(letter + (chance.choice(_SPOTS) if chance.random() < 0.3 else "") for letter in text)


def _quiet(text: str) -> str:
    return "".join(letter for letter in text if letter not in _SPOTS)


def _typos(text: str, seed: str) -> str:
    """About one letter in twelve becomes its neighbour on the keyboard, never none in a text of five letters or more."""
    chance = dice("typos", seed, text)
    places = [at for at, letter in enumerate(text) if letter.lower() in _NEAR]
    if len(places) < 5:
        return text
    wrong = set(chance.sample(places, max(1, len(places) // 12)))
    return "".join(chance.choice(_NEAR[letter.lower()]) if at in wrong else letter for at, letter in enumerate(text))


def _perturbed(text: str, seed: str) -> str:
    """Words scrambled and letters made capitals, each with probability 0.6, and one character in sixteen moved by one."""
    chance = dice("perturbed", seed, text)
    words = [
        _scrambled(word, f"{seed} {at}") if chance.random() < 0.6 else word for at, word in enumerate(text.split(" "))
    ]
    letters = [letter.swapcase() if chance.random() < 0.6 else letter for letter in " ".join(words)]
    return "".join(
        chr(ord(letter) + chance.choice((-1, 1))) if "!" < letter < "~" and chance.random() < 1 / 16 else letter
        for letter in letters
    )


def _alternating(text: str) -> str:
    return "".join(letter.upper() if at % 2 else letter.lower() for at, letter in enumerate(text))


def _emoji(text: str) -> str:
    """A picture behind every word, in turn."""
    return " ".join(word + _FACES[at % len(_FACES)] for at, word in enumerate(text.split(" ")))


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter not in _FACES)


def _stuttered(text: str) -> str:
    return _WORD.sub(lambda found: f"{found.group()[0]}-{found.group()}", text)


def _fluent(text: str) -> str:
    return re.sub(r"\b[A-Za-z]-(?=[A-Za-z])", "", text)


def _ubbi_dubbi(text: str) -> str:
    """`ub` before every run of vowels, y not among them."""
    return re.sub("([aeiouAEIOU]+)", r"ub\1", text)


def _unubbed(text: str) -> str:
    return re.sub("ub([aeiouAEIOU]+)", r"\1", text)


CONVERTERS: dict[str, Converter] = {
    converter.name: converter
    for converter in (
        partly("swapped_case", str.swapcase, str.swapcase, ASCII, "capitals small and small letters capital"),
        partly("alternating", _alternating, str.lower, LOWER, "every second letter a capital"),
        partly("shouted", str.upper, str.lower, LOWER, "all capitals", readable=True),
        partly("disemvowelled", lambda text: re.sub("[aeiouAEIOU]", "", text), None, "", "without vowels"),
        partly("emoji", _emoji, _plain, ASCII, "a picture behind every word"),
        partly("stuttered", _stuttered, _fluent, LOWER, "the first letter of each word said twice"),
        partly("ubbi_dubbi", _ubbi_dubbi, _unubbed, LOWER, "`ub` before every vowel"),
        Converter(
            "doubled",
            lambda text: "".join(letter * 2 for letter in text),
            lambda text: text[::2],
            True,
            "every letter twice",
            ANY,
        ),
        partly("past", tense.past, None, "", "asked about the past, by rule", readable=True),
        partly("future", tense.future, None, "", "asked about the future, by rule", readable=True),
    )
}

TUNABLES: dict[str, Tunable] = {
    one.name: one
    for one in (
        Tunable(
            "capitals",
            _seeded("capitals", _capitals, "capitals at random", str.lower, LOWER),
            "1",
            "capitals at random",
        ),
        Tunable(
            "scrambled",
            _seeded("scrambled", _scrambled, "inner letters of words shuffled"),
            "1",
            "inner letters shuffled",
        ),
        Tunable(
            "noise",
            _seeded("noise", _noise, "signs between the letters", _quiet, r"[A-Za-z0-9 .,?!]*"),
            "1",
            "signs between the letters",
        ),
        Tunable("typos", _seeded("typos", _typos, "a few neighbouring keys"), "1", "a few neighbouring keys"),
        Tunable(
            "perturbed",
            _seeded("perturbed", _perturbed, "scramble, capitals and slips together"),
            "1",
            "scramble, capitals and slips together",
        ),
    )
}
