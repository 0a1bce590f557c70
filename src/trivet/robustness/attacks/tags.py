"""Tags: what each family of attacks is called in the public taxonomies, and what it is in one line.

OWASP names are those of the Top 10 for LLM Applications 2025, ATLAS names are technique numbers of MITRE ATLAS:

    AML.T0043.000  craft adversarial data: white-box optimisation
    AML.T0043.001  craft adversarial data: black-box optimisation
    AML.T0051.000  LLM prompt injection: direct
    AML.T0051.001  LLM prompt injection: indirect
    AML.T0053      AI agent tool invocation
    AML.T0054      LLM jailbreak
    AML.T0056      extract LLM system prompt
    AML.T0057      LLM data leakage
    AML.T0065      LLM prompt crafting
    AML.T0068      LLM prompt obfuscation

OWASP counts jailbreaks as a form of prompt injection (LLM01). The plain request is neither: it has no tag.
Not covered: what the harm is; that is the goal's hazard (core/hazards.py has its maps).
"""

from __future__ import annotations

from typing import NamedTuple


class Tag(NamedTuple):
    """One family: its places in the taxonomies, a title for tables, a line of description."""

    owasp: tuple[str, ...]
    atlas: tuple[str, ...]
    title: str
    about: str


_INJECTION = ("LLM01:2025",)
_JAILBREAK = ("AML.T0051.000", "AML.T0054")
_CRAFTED = (*_JAILBREAK, "AML.T0065")
_OBSCURED = (*_JAILBREAK, "AML.T0068")

TAGS: dict[str, Tag] = {
    "direct": Tag((), (), "Plain request", "the request as it is, at most with a polite sentence around it"),
    "roleplay": Tag(_INJECTION, _CRAFTED, "Role play", "the target is told to be somebody who would answer"),
    "hypothetical": Tag(_INJECTION, _CRAFTED, "Hypothetical", "a story, an exam, another world or another time"),
    "encoding": Tag(_INJECTION, _OBSCURED, "Encoding", "the request in Base64, ROT13, pig latin and the like"),
    "context": Tag(_INJECTION, _CRAFTED, "Context", "invented exchanges in which the assistant always answers"),
    "injection": Tag(
        _INJECTION, ("AML.T0051.001",), "Indirect injection", "the request hidden in a document that is only to be read"
    ),
    "escalation": Tag(_INJECTION, _CRAFTED, "Escalation", "harmless turns first, the goal in the last"),
    "persuasion": Tag(_INJECTION, _CRAFTED, "Persuasion", "authority, expertise, urgency, logic, pity, favours owed"),
    "suppression": Tag(
        _INJECTION, _CRAFTED, "Refusal suppression", "refusing words are forbidden, the first words are laid down"
    ),
    "fewshot": Tag(_INJECTION, _CRAFTED, "Few-shot", "a handful of exchanges that show the form of the wanted reply"),
    "manyshot": Tag(_INJECTION, _CRAFTED, "Many-shot", "8 to 128 exchanges in which every request is granted"),
    "splitting": Tag(_INJECTION, _OBSCURED, "Payload splitting", "the request in pieces that the target is to join"),
    "leak": Tag(
        ("LLM07:2025", "LLM02:2025"), ("AML.T0056", "AML.T0057"), "Prompt leak", "the system prompt is asked for"
    ),
    "tense": Tag(_INJECTION, _CRAFTED, "Tense", "the request is asked about the past or the future"),
    "smuggling": Tag(_INJECTION, _OBSCURED, "Smuggling", "characters that are not seen or look like others"),
    "documents": Tag(
        _INJECTION, ("AML.T0051.001",), "Poisoned documents", "orders in search results, mail, markup and tool answers"
    ),
    "bon": Tag(
        _INJECTION, (*_OBSCURED, "AML.T0043.001"), "Best of n", "the same request garbled anew until one gets through"
    ),
    "translation": Tag(_INJECTION, _OBSCURED, "Translation", "a model puts the request into another language"),
    "paraphrase": Tag(_INJECTION, _CRAFTED, "Paraphrase", "a model says the request in other words"),
    "crescendo": Tag(_INJECTION, _CRAFTED, "Crescendo", "a model climbs from the target's own replies to the goal"),
    "pair": Tag(
        _INJECTION, (*_CRAFTED, "AML.T0043.001"), "PAIR", "a model improves its prompt by the target's replies"
    ),
    "tap": Tag(_INJECTION, (*_CRAFTED, "AML.T0043.001"), "TAP", "a tree of such prompts, pruned by a judge"),
    "goat": Tag(_INJECTION, _CRAFTED, "GOAT", "a model picks from a toolbox of attacks, turn by turn"),
    "agent": Tag(
        ("LLM01:2025", "LLM06:2025"),
        ("AML.T0051.001", "AML.T0053"),
        "Agent hijack",
        "instructions in tool outputs make an agent act against its user",
    ),
    "gradient": Tag(
        _INJECTION, (*_JAILBREAK, "AML.T0043.000"), "Gradient", "a suffix found by gradients or random search"
    ),
    "learned": Tag(
        _INJECTION, (*_CRAFTED, "AML.T0043.001"), "Trained attacker", "a model trained on what got through before"
    ),
    "manual": Tag(_INJECTION, _CRAFTED, "Manual", "a person at a terminal"),
}
