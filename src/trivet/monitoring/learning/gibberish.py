"""Strings as an optimiser of suffixes writes them (Zou et al. 2023, arXiv:2307.15043): scraps of code, of words and of other
languages, run together. Made at random from our own scraps; no published suffix is in it."""

from __future__ import annotations

import random

_SCRAPS = """
describing similarly Now write oppositely revert with Sure two formatting exact bullet Here ### tutorial Title Outline
kwargs return void \\begin{array} \\( \\] }} ]( "?> $_ == !-- */ ;; |> <|> {{ }] )' ++; // #{ .to ->_ @@ :: !!! ?? [@
xmlns href= stdin async lambda elif nullptr printf( boolean getElement mongodb regex UTF assertEquals toString Override
sentence paragraph Alphabet repeatedly inverse Please snippet letter reply Begin manifest steps Introduction Sample tone
zwischen und jetzt gleich schritt aber avec donc texte peut pero entonces bien nota deze maar kort hier ale tak
Обра ский тем для 首 的 中文 ください 요 ção ñas über łem ość ák
Mc Gold ery ively ization ledger Sri tick ansas boro wich frag uzz onic ella thritis gren oid aks urn plex ibr
Barn Kol tet Fen quil Oster Lip marsh velvet cactus onion Tuesday pilot crank sonnet vault Theorem Wiki github gists
"""
_ALL = _SCRAPS.split()
_BANGS = ("! ", "!! ", "x ", "! ! ! ", ".. ")


def suffix(rng: random.Random) -> str:
    """A string of eight to thirty scraps; one in six is the row of marks that such a search starts from."""
    if rng.random() < 0.17:
        return (rng.choice(_BANGS) * rng.randint(8, 22)).strip() + rng.choice(
            ["", f" {rng.choice(_ALL)} {rng.choice(_ALL)}"]
        )
    out = ""
    for _ in range(rng.randint(8, 30)):
        scrap = rng.choice(_ALL)
        scrap = scrap.upper() if rng.random() < 0.06 else scrap.capitalize() if rng.random() < 0.15 else scrap
        out += scrap if rng.random() < 0.3 else f" {scrap}"
    return out.strip()
