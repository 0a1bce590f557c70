"""What an instruction to an assistant looks like, where none belongs: rules for retrieved documents and tool results.

Each rule is a shape with a weight: the chance we give it, alone, of being meant for a model and not for the reader.
Weights of different rules in one sentence and its neighbours add up as independent chances do (noisy or), so an order to
send mail is nothing by itself (manuals are full of them), and much beside "dear AI" or "do not tell the user".

Not covered: an instruction that is worded as any reader's task ("What is the capital of Germany?" in the middle of an
e-mail), languages other than English but for the commonest override phrases, instructions in pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from trivet.monitoring.text import Reading, View

_AI = r"(?:ai|a\.i\.|llms?|language models?|chat ?bots?|assistants?|agents?|gpt(?:-?\d\w*)?|chatgpt|claude|gemini|copilot|bard|llama|mistral)"
_OLD = r"(?:previous|prior|above|earlier|preceding|foregoing|existing|original|initial|former|system|old|other|your|all|any|these|those)"
_RULES_OF = r"(?:instructions?|prompts?|directions?|directives?|guidelines?|commands?|orders?|rules|context|tasks?|constraints?)"
_DROP = r"(?:ignore|disregard|forget|override|overrule|bypass|discard|neglect|skip|do not follow|don't follow|stop following|set aside|pay no attention to)"
_SEND = (
    r"(?:send|forward|e-?mail|post|upload|submit|transmit|exfiltrate|leak|share|transfer|wire|pay|copy|deliver|report)"
)
_SECRETS = r"(?:conversation|chat history|passwords?|credentials?|api keys?|tokens?|secrets?|personal (?:data|information)|private (?:data|information)|inbox|contacts?|files?|bank details|credit card|system prompt|codes?|money|funds)"


class Rule(NamedTuple):
    """A shape, on lower-case views, and how telling it is. A text without any word of `needs` cannot have it, which is
    found out a hundred times faster."""

    name: str
    weight: float
    needs: tuple[str, ...]
    shape: re.Pattern[str]


class Hit(NamedTuple):
    """Where a rule fits, in offsets of the original."""

    start: int
    end: int
    rule: str
    weight: float


def _rule(name: str, weight: float, needs: str, shape: str) -> Rule:
    return Rule(name, weight, tuple(needs.split("|")), re.compile(shape))


RULES: tuple[Rule, ...] = (
    # Overriding what stands before.
    _rule(
        "override",
        0.85,
        "instruction|prompt|direction|directive|guideline|command|orders|rules|context|task|constraint",
        rf"\b{_DROP}(?: \w+){{0,3}} {_OLD}(?: \w+){{0,3}} {_RULES_OF}\b",
    ),
    _rule(
        "override",
        0.85,
        "ignor|disregard|forget|override|overrule|bypass|discard|neglect|skip|follow|set aside|pay no",
        rf"\b{_DROP} (?:all of |everything |what(?:ever)? )?(?:(?:the |that )?(?:above|was said|you were told|i said|came before)|(?:that )?you(?:'ve| have| were) been (?:told|given|instructed))",
    ),
    _rule(
        "override",
        0.8,
        "anweisung|instruc|istruzion|instructie",
        r"\b(?:ignorez?|oubliez?|ignorieren? sie|ignoriere|vergiss|vergessen sie|ignora|ignore|olvida|dimentica|esque[cç]a|negeer|vergeet)\b(?: \w+){0,3} (?:instructions?|anweisungen|instrucciones|istruzioni|instru[cç][oõ]es|instructies)\b",
    ),
    _rule(
        "new orders",
        0.6,
        "instruction|task|role|goal|objective|mission|prompt|directive",
        r"\b(?:your|the) (?:new|real|actual|true|updated|only|primary) (?:instructions?|task|role|goal|objective|mission|prompt|directive)s?\b(?: is| are|:)",
    ),
    _rule(
        "new orders",
        0.55,
        "new instruction|new task|new orders|new directive|new system prompt",
        r"\bnew (?:instructions?|task|orders|directive|system prompt)s?(?: for (?:you|the \w+))? ?[:!]",
    ),
    _rule(
        "new orders",
        0.6,
        "from now on|henceforth|starting now|for the rest of",
        r"\b(?:from now on|henceforth|starting now|for the rest of (?:this|the|our) (?:conversation|chat|session)),? (?:you|your|act|answer|respond|reply|speak|pretend)\b",
    ),
    _rule(
        "new self",
        0.6,
        "you are now|you are no longer|you are going to",
        r"\byou are (?:now|no longer|going to (?:act|pretend|be))\b(?! (?:able|ready|logged|signed|subscribed|registered|entitled|eligible|connected|free|in the|on the|at the))",
    ),
    _rule(
        "new self",
        0.4,
        "pretend|act as if|imagine|roleplay",
        r"\b(?:pretend|act as if|imagine|roleplay) (?:that )?(?:you are|you're|to be)\b",
    ),
    # Who is spoken to.
    _rule(
        "to the ai",
        0.45,
        "dear|hey|hello|hi|attention|note|message|instruction|memo|notice|calling",
        rf"\b(?:dear|hey|hello|hi|attention|note (?:to|for)|message (?:to|for)|instructions? (?:to|for)|for the attention of|memo to|notice to|calling)[ ,:]{{1,2}}(?:all |any |the |this |an? |my |our )?(?:\w+ )?{_AI}\b",
    ),
    _rule(
        "to the ai",
        0.55,
        "if you are a|if you're a|as a",
        rf"\b(?:if you are|if you're|as) an? (?:\w+ ){{0,3}}{_AI}\b,? (?:you (?:must|should|need|have to|will|are)|please|then|reading|processing|summari[sz]ing|do|send|ignore|add|include|print|say)\b",
    ),
    _rule(
        "to the ai",
        0.6,
        "ai|a.i.|llm|model|bot|assistant|agent|gpt|claude|gemini|copilot|bard|llama|mistral",
        rf"(?:^|[.!?:\n] *)(?:the |this )?{_AI}[,:] (?:please |you (?:must|should|need to|have to|will) )?(?:ignore|do|send|print|say|add|include|reply|answer|respond|tell|reveal|call|execute|run|write|use|stop|forget|delete|visit|open|recommend|rate|give)\b",
    ),
    _rule(
        "to the ai",
        0.55,
        "must|should|needs to|has to|is required|is instructed|is ordered|shall",
        rf"\b(?:the )?{_AI} (?:must|should|needs to|has to|is (?:required|instructed|ordered) to|shall) (?:now |always |never |immediately )?(?:ignore|send|print|say|add|include|reply|respond|tell|reveal|call|execute|forward|delete|visit|recommend|output|comply)\b",
    ),
    # What is asked for.
    _rule(
        "secrecy",
        0.6,
        "do not|don't|never|without",
        r"\b(?:do not|don't|never|without) (?:tell(?:ing)?|mention(?:ing)?|inform(?:ing)?|reveal(?:ing)?|notify(?:ing)?|alert(?:ing)?|let(?:ting)?|disclos(?:e|ing)|show(?:ing)?|say(?:ing)?)(?: \w+){0,3} (?:user|users|human|this (?:instruction|message|to)|anyone about this|them about this)\b",
    ),
    _rule(
        "secrecy",
        0.5,
        "secret|hidden from|silently|covertly|without the user",
        r"\b(?:keep this (?:secret|hidden|from the user)|secretly|silently|covertly|without the user(?:'s)? (?:knowing|knowledge|consent|noticing))\b",
    ),
    _rule(
        "prompt leak",
        0.75,
        "prompt|instruction|message|rules|guidelines|configuration",
        r"\b(?:reveal|print|repeat|output|show|leak|display|disclose|share|reproduce|tell me|give me|copy|spell out|write down|summari[sz]e)(?: \w+){0,3} (?:(?:your|the) (?:\w+ )?(?:system|initial|hidden|secret|original|internal|developer) (?:prompt|instructions?|message|rules)|your (?:prompt|instructions|rules|guidelines|configuration))\b",
    ),
    _rule(
        "exfiltration",
        0.4,
        "conversation|chat history|password|credential|api key|token|secret|personal|private|inbox|contact|file|bank details|credit card|system prompt|code|money|funds",
        rf"\b{_SEND}(?: \w+){{0,5}} {_SECRETS}(?: \w+){{0,6}} (?:to|at|via|into|with)\b",
    ),
    _rule(
        "exfiltration",
        0.35,
        "http|@|the following|the attacker|account|iban",
        rf"\b{_SEND}(?: \S+){{0,8}} to:? (?:https?://|[\w.+-]{{1,64}}@|the (?:following|attacker)|account|iban)",
    ),
    _rule("exfiltration", 0.8, "![", r"!\[[^\]\n]{0,80}\]\(\s?https?://[^)\s]{1,200}[?&=/](?:\{|\$|<|%7b|\[)"),
    _rule(
        "exfiltration",
        0.5,
        "url|link|query string|image|parameter",
        r"\b(?:append|add|include|put|encode|insert)(?: \w+){0,8} (?:in|into|to|as|at the end of) (?:the |this |an? )?(?:url|link|query string|image (?:link|url|tag)|parameter)\b",
    ),
    _rule(
        "tool call",
        0.4,
        "tool|function|api|plugin|command",
        r"\b(?:call|use|invoke|execute|trigger|run) (?:the |your |a )?[`'\"]?\w+(?:[._]\w+)*[`'\"]? (?:tool|function|api|plugin|command)\b",
    ),
    _rule(
        "tool call",
        0.6,
        "_",
        r"\b(?:call|use|invoke|execute|run|trigger)(?: the)? [`'\"]?\w+(?:_\w+)+[`'\"]?(?:\(| with\b| to\b)",
    ),
    _rule(
        "tool call",
        0.7,
        "tool_|function_call|invoke",
        r"<\|?(?:tool_call|function_call|invoke|function_calls|tool_use)\b|\"(?:tool_calls?|function_call)\" ?:",
    ),
    _rule(
        "answer with",
        0.45,
        "only|exactly|nothing else|\"|'|\u201c|\u2018",
        r"\b(?:say|print|output|respond|reply|answer|write|state)(?: back)?(?: only| just| exactly| simply| nothing but)?(?: with)?(?: the (?:word|words|phrase|sentence|text|following))? ?[:]? ?(?:only|exactly|nothing else|[\"'\u201c\u2018][^\"'\u201d\u2019\n]{2,80}[\"'\u201d\u2019])",
    ),
    _rule(
        "answer with",
        0.5,
        "your ",
        r"\b(?:in|to|at the (?:end|beginning|start|top|bottom) of) your (?:final |next |own )?(?:answer|response|summary|output)\b",
    ),
    _rule(
        "answer with",
        0.4,
        "your ",
        r"\b(?:in|to|at the (?:end|beginning|start|top|bottom) of) your (?:final |next |own )?(?:reply|report|review|message)\b",
    ),
    _rule(
        "answer with",
        0.55,
        "before|after|instead of|while|when",
        r"\b(?:before|after|instead of|while|when) (?:you )?(?:answer(?:ing)?|respond(?:ing)?|summari[sz](?:e|ing)|complet(?:e|ing)|continu(?:e|ing)|process(?:ing)?|solv(?:e|ing))(?: \w+){0,5},? (?:you (?:must|should|need to|have to|can)|first|please|also|do|send|make sure|say|print|write)\b",
    ),
    _rule(
        "first do",
        0.7,
        "before you can|important|urgent",
        r"\bbefore you can (?:solve|complete|do|answer|finish|continue)\b|\b(?:important|urgent) (?:message|instructions?|notice) (?:from|for) (?:me|you|the (?:user|developer|system|ai|assistant))\b",
    ),
    # Borrowed authority and broken frames.
    _rule(
        "authority",
        0.55,
        "system|admin|developer|root|operator",
        r"(?:^|[\n\[(*#<] *)(?:system|admin(?:istrator)?|developer|root|operator)(?: (?:message|prompt|override|update|instruction|alert|command|note))?s?[\])*]{0,2} ?[:>]",
    ),
    _rule(
        "frame",
        0.9,
        "<|[inst|[/inst|<start_of_turn",
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id)\|>|\[/?inst\]|<</?sys>>|<\|?end_of_turn\|?>|<start_of_turn>",
    ),
    _rule(
        "frame",
        0.6,
        "human|assistant|user|system|instruction",
        r"(?:^|\n) *(?:#{2,} ?)?(?:human|assistant|user|system|instruction)s? ?(?:#{2,}|:) ?\n? *(?:ignore|you|please|now|print|say|do|send|forget)\b",
    ),
    _rule(
        "frame",
        0.75,
        "</",
        r"</(?:document|documents|tool_result|tool_response|context|user_input|untrusted|retrieved|search_results?|system|instructions?|function_results?)>\s{0,4}(?:\S+\s+){0,6}?(?:you|please|now|ignore|<|new|system|human|user|send|say)",
    ),
    _rule("frame", 0.6, "<", r"</?(?:information|important|system|instructions?|admin|override|secret)>"),
)

_COMMENT = re.compile(r"<!--(.{1,2000}?)-->|/\*(.{1,1000}?)\*/", re.DOTALL)
_HIDDEN = re.compile(
    r"<[a-z][^<>]{0,300}?(?:display\s{0,3}:\s{0,3}none|visibility\s{0,3}:\s{0,3}hidden|font-size\s{0,3}:\s{0,3}0(?![.\d])|opacity\s{0,3}:\s{0,3}0(?![.\d])"
    r"|color\s{0,3}:\s{0,3}(?:white|#fff(?:fff)?|transparent)|text-indent\s{0,3}:\s{0,3}-\d{3,}|aria-hidden|\bhidden\b)[^<>]{0,300}>(?P<text>[^<>]{12,2000})",
    re.IGNORECASE,
)
_IMPERATIVE = re.compile(
    r"\b(?:ignore|forget|send|print|say|tell|reply|respond|answer|call|use|visit|open|click|add|include|write|recommend|rate|reveal|you must|you should|you are|please|instead|assistant|ai)\b"
)


def hits(reading: Reading) -> Iterator[Hit]:
    """Every place where a rule fits, in any view of the text."""
    for view in reading:
        for rule in RULES:
            if not any(word in view.text for word in rule.needs):
                continue
            for match in rule.shape.finditer(view.text):
                yield Hit(*view.origin(*match.span()), rule.name, rule.weight)
        if view.name in ("tags", "selectors"):
            # Nobody sees this text but a model.
            yield Hit(*view.origin(0, len(view.text)), "hidden text", 0.9)
    yield from _out_of_sight(reading.clean)


def _out_of_sight(view: View) -> Iterator[Hit]:
    """Words in comments and in elements that are not shown, where they tell somebody to do something."""
    for match in _COMMENT.finditer(view.text):
        words = match.group(1) or match.group(2)
        if len(words) >= 12 and len(_IMPERATIVE.findall(words.lower())) >= 2:
            yield Hit(*view.origin(*match.span()), "comment", 0.5)
    for match in _HIDDEN.finditer(view.text):
        words = match.group("text")
        strong = bool(_IMPERATIVE.search(words.lower()))
        yield Hit(*view.origin(*match.span()), "hidden text", 0.6 if strong else 0.25)
