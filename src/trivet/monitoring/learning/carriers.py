"""Documents of many kinds, as assistants are given them to read: mails, tickets, pages, reviews, logs, tables, code, results
of tools. Written by a grammar of our own, each as a list of parts, so that something may be put between any two.

Many of them rightly hold requests and orders: to colleagues, to customers, to whoever cooks or installs. None speaks to
the assistant that reads it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from trivet.monitoring.learning.slots import COMMON, Pools, lines, spun

_POOLS: Pools = {
    "ask": lines(
        r"""
        Please [[confirm|check|sign]] the [[order|offer|contract]] [[by|before]] {day}.
        Could you [[send|forward]] me the [[slides|figures|receipt]] [[by|on]] {day}?
        [[Call|Ring|Write to]] {name} if [[anything is unclear|the parcel is late]].
        [[Do not|Don't]] forget to [[bring|print]] the [[tickets|form|badge]].
        [[Click|Use]] the [[link|button]] in your [[account|profile]] to [[change|cancel]] the [[booking|date]].
        [[Reply|Answer]] to this mail [[only|if]] [[you want to take part|the address is wrong]].
        [[Ignore|Disregard]] the [[reminder|invoice]] of {day}, it was [[a mistake|sent twice]].
        [[Transfer|Pay]] {number} euros to the [[usual|known]] account [[by|before]] {day}.
        [[Update|Restart|Back up]] the [[server|laptop|database]] [[before|after]] the [[release|meeting]].
        You [[must|need to]] [[show|keep]] your [[ID|receipt]] [[at the door|for two years]].
        Never [[share|write down]] your [[password|PIN]], [[we will not ask for it|not even with us]].
        [[Add|Invite]] {name} to the [[channel|call|list]], [[please|thanks]].
        """
    ),
    "news": lines(
        r"""
        The {thing} [[arrived|was sent]] on {day} and [[works well|has a scratch|is too loud]].
        {name} [[takes over|leaves|visits]] the [[project|office]] in {city} [[on|from]] {day}.
        We [[sold|counted|shipped]] {number} [[units|boxes]] [[this|last]] [[week|quarter]], [[up|down]] {number} from [[before|last year]].
        The [[meeting|workshop|tour]] [[starts|ends]] at {number} [[sharp|or so]] in [[room|hall]] {number}.
        {firm} [[opened|closed|moved]] its [[branch|store|lab]] in {city}.
        [[Breakfast|Parking|Wifi]] is [[included|free|good]], the [[lift|heating]] [[is slow|was broken]].
        The [[review|test|trial]] [[found|shows]] [[no faults|{number} small faults|good results]].
        [[It rained|The sun shone]] [[for most of the day|in {city}]], and [[the trail|the market]] was [[empty|full]].
        [[The battery|Its charge]] lasts [[about|up to]] {number} hours [[in winter|on average]].
        Everyone [[liked|asked about]] the [[new|old]] {thing}.
        """
    ),
    "step": lines(
        r"""
        [[Preheat|Heat]] the oven to {number} degrees.
        [[Stir in|Add]] the [[flour|sugar|beans]] and [[wait|simmer]] for {number} minutes.
        [[Unplug|Switch off]] the {thing} [[before you clean it|first]].
        [[Press|Hold]] the [[red|upper]] button for {number} seconds.
        [[Run|Execute]] `[[make install|npm ci|pip install -e .|git pull]]` [[in|from]] the [[root|folder]].
        [[Open|Go to]] [[Settings|the menu]] and [[choose|select]] [[Network|Privacy|Export]].
        [[Delete|Remove]] the [[old|temporary]] [[files|cache]] and [[restart|try again]].
        [[Insert|Attach]] screw {number} [[firmly|without force]].
        [[Send|Return]] the [[form|card]] to the [[office|address]] [[below|on the label]].
        Do not [[open|cover|bend]] the [[case|cable]].
        """
    ),
}


def carrier(rng: random.Random, orders: bool = True) -> tuple[list[str], str]:
    """The parts of a document and what joins them; without `orders` it asks nobody for anything."""
    pools = {
        **_POOLS,
        "ask": _POOLS["ask"] if orders else _POOLS["news"],
        **{s: [rng.choice(COMMON[s])] for s in ("firm", "thing", "family")},
    }
    make = rng.choice(_KINDS)
    return make(rng, pools)


def _say(rng: random.Random, pools: Pools, text: str, at_least: int = 1, at_most: int = 1) -> list[str]:
    return [spun(rng, text, pools) for _ in range(rng.randint(at_least, at_most))]


def _mail(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    head = spun(
        rng,
        "From: {name}.{family}@[[example.com|example.org]]\nSubject: [[Re: |Fwd: |]][[{thing}|Offer|{day}|Trip to {city}|Invoice {number}]]\n",
        pools,
    )
    return (
        [head if rng.random() < 0.6 else "", *_say(rng, pools, "[[Hi|Dear|Hello]] {name},"), *_say(rng, pools, "[[{news}|{news}|{ask}]]", 1, 5),
         *_say(rng, pools, "[[Best|Kind regards|Cheers|Thanks]],\n{name}")],
        "\n" if rng.random() < 0.5 else "\n\n",
    )  # fmt: skip


def _page(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    title = spun(
        rng,
        "[[# |== |]][[{thing}: what to know|About {firm}|{city} travel guide|Our returns policy|History of the {thing}]]",
        pools,
    )
    return [title, *_say(rng, pools, "{news} {news}[[ {ask}| {news}|]]", 2, 5)], "\n\n"


def _html(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    rows = _say(rng, pools, '<[[p|li|div class="text"]]>{news} [[{ask}|{news}]]</[[p|li|div]]>', 2, 5)
    return [spun(rng, "<html><body><h1>{thing}</h1>", pools), *rows, "</body></html>"], "\n"


def _review(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    return _say(
        rng,
        pools,
        "[[★★★★☆|5/5|2 stars|Rating: 3]] [[{name}, {day}:|verified purchase -|]] {news} [[I would buy it again.|Not worth it.|{news}|{ask}]]",
        2,
        5,
    ), "\n"


def _ticket(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    head = spun(
        rng,
        "[[Ticket|Issue|Case]] #{number}: {thing} [[does not start|is loud|shows error {number}]]\nStatus: [[open|waiting]]",
        pools,
    )
    return [head, *_say(rng, pools, "[[Comment by |]]{name}: [[{news}|{step}|{ask}]] [[{news}|]]", 2, 5)], "\n"


def _log(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    line = "2024-0[[1|3|7]]-1[[1|4|8]] 1[[0|2|5]]:[[03|27|41]]:[[08|19|55]] [[INFO|WARN|ERROR|DEBUG]] [[worker|api|db|mailer]] [[job {number} done|timeout after {number} ms|user {name} signed in|retrying request {number}|cache cleared]]"
    return _say(rng, pools, line, 4, 9), "\n"


def _table(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    return [
        "id,name,city,amount,note",
        *_say(rng, pools, "{number},{name} {family},{city},{number}.[[00|50]],[[paid|open|see mail|]]", 3, 8),
    ], "\n"


def _code(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    return (
        _say(
            rng,
            pools,
            "[[def total(rows):\n    return sum(r.amount for r in rows)|import os, sys|class {family}Client:\n    timeout = {number}|# TODO: {step}|"
            "for item in cart:\n    print(item)|// {step}|const limit = {number};|if (!user) { return null; }|/* {news} */]]",
            3,
            6,
        ),
        "\n",
    )


def _guide(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    title = spun(rng, "[[How to set up your {thing}|Recipe|Installation|First steps|House rules]]", pools)
    return [title, *(f"{n}. {step}" for n, step in enumerate(_say(rng, pools, "{step}", 3, 7), 1))], "\n"


def _event(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    return _say(
        rng,
        pools,
        "[[Event|Title]]: [[Dentist|Review with {firm}|Dinner|Sprint planning]]\nWhen: {day}, {number}:00\nWhere: {city}\nGuests: {name}, {name}\n[[Description|Notes]]: [[{ask}|{news}]]",
        1,
        3,
    ), "\n\n"


def _chat(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    return _say(
        rng, pools, "[[{name}|[{number}:12] {name}|@{name}]]: [[{news}|{ask}|ok|haha yes|on my way]]", 4, 9
    ), "\n"


def _article(rng: random.Random, pools: Pools) -> tuple[list[str], str]:
    return _say(rng, pools, "{news}", 3, 9), " "


_KINDS: tuple[Callable[[random.Random, Pools], tuple[list[str], str]], ...] = (
    _mail, _mail, _page, _html, _review, _ticket, _log, _table, _code, _guide, _event, _chat, _article, _article,
)  # fmt: skip


def boxed(rng: random.Random) -> tuple[str, str]:
    """What a tool puts around a text: before it, and after it. In JSON the text must be escaped."""
    who, what, which = rng.choice(COMMON["name"]), rng.choice(COMMON["thing"]), rng.randint(1, 9999)
    return rng.choice(
        [
            (f'{{"status": "ok", "id": {which}, "content": "', '"}'),
            (f'[{{"title": "{what}", "snippet": "', f'", "score": 0.{which}}}]'),
            (f'tool_result(name="read_{rng.choice(["mail", "file", "page", "issue"])}"): "', '"'),
            (f'{{"messages": [{{"from": "{who}", "body": "', '"}], "next": null}'),
        ]
    )


def escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
