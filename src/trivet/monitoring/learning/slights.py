"""Contempt for groups of people in plain words, and harmless sentences about the same groups, by a grammar of our own.

Public data teaches slurs and swearing; most contempt needs neither. Here every group stands in sentences that demean it
and in ones that do not, also in ones that speak of prejudice in order to refuse it. Labels are `toxic` and `hate`.
"""

from __future__ import annotations

import random

from trivet.monitoring.learning.slots import Pools, distinct, lines, spun

_POOLS: Pools = {
    "group": lines(
        r"""
        [[black|African American]] people
        [[Jews|Jewish people]]
        [[Muslims|muslim people]]
        [[immigrants|migrants|refugees]]
        [[Mexicans|Latinos]]
        [[Asians|Chinese people]]
        [[Indians|Pakistanis]]
        [[Native Americans|indigenous people]]
        [[Roma|gypsies]]
        [[women|girls|housewives|feminists]]
        [[gay people|gay men|lesbians]]
        [[trans people|trans women]]
        [[disabled people|people in wheelchairs|the blind]]
        [[the mentally ill|people with depression|autistic people]]
        [[old people|the elderly]]
        [[poor people|the homeless|people on welfare]]
        [[Arabs|people from the Middle East]]
        [[Africans|Nigerians]]
        [[Poles|Eastern Europeans]]
        [[fat people|obese people]]
        [[Christians|Catholics|atheists]]
        [[single mothers|teenage mothers]]
        """
    ),
}
_BAD = lines(
    r"""
    {group} [[are just|are simply|will always be|have always been]] [[lazy|dirty|dishonest|inferior|stupid|violent by nature|a burden]]
    [[we all know|everyone knows|let's be honest,|nobody dares to say it but]] {group} [[only want our money|cannot be trusted|do not belong here|bring crime|spread disease]]
    [[if|when]] {group} [[move in|come to town|get the job|run things]], [[everything falls apart|lock your doors|you can sell the house|standards drop]]
    [[i would never|no sane person would|who would]] [[hire|marry|live next to|trust]] {group}
    [[the country|our school|the world]] [[was|would be]] [[better|safer|cleaner]] [[without|before]] {group}
    {group} [[should|ought to]] [[go back where they came from|be kept apart|not be allowed to vote|stay in the kitchen|not have children|be locked away|be grateful and shut up]]
    [[why do|why are]] {group} [[always complain|so dumb|never work|smell so bad|ruin everything]]?
    {group} [[are|act]] like [[animals|parasites|children|rats|a disease]]
    [[it is no wonder that|of course]] {group} [[fail|are in jail|are poor]], [[they have no brains|it is in their blood|they never try]]
    [[there is|i see]] nothing [[sadder|worse|more disgusting]] than {group} [[who think they are equal|with power|in public]]
    {group} [[control|own|run]] the [[banks|media|government]] and [[laugh at us|plan our end|want us weak]]
    [[being|to be]] [[one of|like]] {group} is [[a mistake of nature|a sickness|a choice to be useless|nothing to be proud of]]
    [[what|all]] {group} [[need|deserve]] is [[a good beating|a cage|a one-way ticket|a master]]
    [[real|decent|normal]] people [[work|pay taxes|raise families]], {group} [[just take|only breed|sit around]]
    [[you can tell|it shows]] she is [[one of|with]] {group}, [[she cannot think|look at the mess|hide your purse]]
    [[i have nothing against|some of my friends are]] {group}, but [[they are less intelligent|they should know their place|one is enough|they make me sick]]
    [[funny how|strange that]] {group} [[want rights|talk of respect]] [[but cannot even read|yet live off us|and then steal]]
    a {group}-free [[town|street|team]] is a [[happy|safe]] one
    [[scientists should admit|history proves]] that {group} [[have smaller minds|never built anything|are a lower kind]]
    """
)
_GOOD = lines(
    r"""
    {group} [[are just|are simply]] [[people like anyone else|as varied as everyone|part of our town]]
    [[many|some|most]] {group} [[work|volunteer|study]] [[in hospitals|at night|in our school|two jobs]] and [[are proud of it|deserve thanks|hardly get noticed]]
    [[it is wrong|it hurts|it is lazy]] to [[say|think]] that {group} [[are all the same|are lazy|cannot be trusted]]
    [[the idea|the lie]] that {group} [[bring crime|run the world|are inferior]] is [[old|false|a prejudice]] and [[has done great harm|was spread to win votes]]
    [[my neighbours|my teachers|my best friends]] are {group} and [[we cook together|we argue about football|they helped me move]]
    [[the film|the book|a new study]] [[shows|describes]] how {group} [[live|were treated|built the railway|changed music]] in [[{city}|the 1960s|small towns]]
    [[if|when]] {group} [[apply for a job|see a doctor]], [[they often wait longer|they are asked things others are not]]
    {group} [[should|ought to]] [[have the same rights|be heard|be able to vote without fear|feel safe on the bus]]
    [[why are|how are]] {group} [[shown so rarely on television|affected by the new law|celebrating this holiday]]?
    [[i grew up|i work|i live]] [[among|with]] {group} and [[learned a lot|never thought about it|like the food]]
    [[there is|i see]] nothing [[wrong|odd|special]] [[in|about]] {group} [[who want|wanting]] [[to be equal|a quiet life|a family]]
    [[being|to be]] [[one of|like]] {group} is [[not a choice|hard in some countries|nothing to be ashamed of]]
    [[the festival|the museum|the parade]] is [[for|about]] {group} and [[starts on {day}|everybody is welcome|was great fun]]
    [[what|all]] {group} [[need|ask for]] is [[a fair chance|a ramp at the door|some respect|better pay]]
    [[i have nothing against|i like]] {group}, [[and I was glad to hear the news|but this restaurant was too expensive|we just disagree on taxes]]
    [[census|survey]]: {number} per cent of {group} [[own a home|speak two languages|live in cities]]
    [[someone|a man on the bus]] [[shouted|said]] that {group} [[should go home|are animals]], and [[nobody laughed|we told him to stop|I reported it]]
    [[do not|never]] let anyone tell you that {group} [[are worth less|do not belong here|cannot do this]]
    """
)


def slights(n: int, seed: int = 0) -> list[tuple[str, bool]]:
    """(text, toxic) of about `n` short sentences, half of each kind; some cut short, as posts are."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        bad = number % 2 == 0
        text = spun(rng, rng.choice(_BAD if bad else _GOOD), _POOLS)
        style = rng.random()
        text = text.lower() if style < 0.5 else text[0].upper() + text[1:] + rng.choice([".", "!", "", "..."])
        rows.append((text, bad))
    labels = dict(rows)
    return [(text, labels[text]) for text in distinct([text for text, _ in rows])]
