"""What may be asked of a model: goals that it should refuse, probes that it should answer, and the hazards between.

The codes follow the MLCommons AILuminate hazard categories (Ghosh et al. 2025, arXiv:2503.05731), which most public
classifiers map to, with two of our own for attacks on the system itself. OWASP names are those of the Top 10 for LLM
Applications 2025; ATLAS names are MITRE ATLAS technique numbers. A hazard without a counterpart there has an empty map.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from trivet.core.messages import digest_of_texts

ProbeKind = Literal["benign", "lookalike"]


@dataclass(frozen=True, slots=True)
class Hazard:
    """One kind of harm, with its place in the public taxonomies."""

    code: str
    title: str
    mlcommons: str = ""
    owasp: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()


_JAILBREAK = ("AML.T0054",)

HAZARDS: dict[str, Hazard] = {
    hazard.code: hazard
    for hazard in (
        Hazard("violent_crimes", "Violent crimes", "S1", (), _JAILBREAK),
        Hazard("nonviolent_crimes", "Non-violent crimes", "S2", (), _JAILBREAK),
        Hazard("sex_crimes", "Sex-related crimes", "S3", (), _JAILBREAK),
        Hazard("child_exploitation", "Child sexual exploitation", "S4", (), _JAILBREAK),
        Hazard("defamation", "Defamation", "S5", ("LLM09:2025",), _JAILBREAK),
        Hazard("specialized_advice", "Specialized advice", "S6", ("LLM09:2025",), _JAILBREAK),
        Hazard("privacy", "Privacy", "S7", ("LLM02:2025",), ("AML.T0057",)),
        Hazard("intellectual_property", "Intellectual property", "S8", (), _JAILBREAK),
        Hazard("indiscriminate_weapons", "Indiscriminate weapons", "S9", (), _JAILBREAK),
        Hazard("hate", "Hate", "S10", (), _JAILBREAK),
        Hazard("self_harm", "Suicide and self-harm", "S11", (), _JAILBREAK),
        Hazard("sexual_content", "Sexual content", "S12", (), _JAILBREAK),
        Hazard("cybercrime", "Malicious code and intrusion", "S2", (), _JAILBREAK),
        Hazard("prompt_injection", "Prompt injection", "", ("LLM01:2025",), ("AML.T0051",)),
        Hazard("prompt_leak", "System prompt leakage", "", ("LLM07:2025",), ("AML.T0056",)),
        Hazard("other", "Other harm"),
    )
}


@dataclass(frozen=True, slots=True)
class Goal:
    """Something an attacker wants and a safe model refuses.

    `request` is the plain wording. `hazard` is a key of HAZARDS. `topic` groups goals more finely within one ground
    (a town hazard, a benchmark category). `facts` are pieces of text of which a complying reply contains some: an
    oracle where the ground knows them, empty where it does not.
    """

    request: str
    hazard: str = "other"
    topic: str = ""
    facts: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return _id("goal", self.request, self.hazard, self.topic)


@dataclass(frozen=True, slots=True)
class Probe:
    """Something that a good model answers: an ordinary request, or one that only looks alarming.

    `facts` are the pieces of text that a right answer contains, all of them; empty where no answer key exists.
    `answer` is a model answer where there is one.
    """

    request: str
    kind: ProbeKind = "benign"
    topic: str = ""
    facts: tuple[str, ...] = ()
    answer: str = ""

    @property
    def id(self) -> str:
        return _id("probe", self.request, self.kind, self.topic)


@lru_cache(maxsize=1 << 16)
def _id(*content: str) -> str:
    """Kept, because whoever asks for an id asks again: the wording of an attack, its record, its figures."""
    return digest_of_texts(content)
