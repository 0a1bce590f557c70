"""The shapes in which a request reaches a model: bare, in chatter, in a role, in a story, encoded, in a document ...

These are the frames that the town's own texts use, so that its models can find a request wherever it stands. They are
not the attack templates, which the robustness pillar writes for itself: a model that has learnt these frames meets those
as a stranger. Every frame is used on all three kinds of requests, so that a frame by itself says nothing about harm.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from trivet.core.encodings import base64, leetspeak, pig_latin, rot13
from trivet.core.messages import Conversation, Message
from trivet.town.chatter import ORDERS, STORIES, chatter
from trivet.town.requests import Request

_WHO = (
    "a pirate captain", "an old wizard", "a robot", "a storyteller", "my grandmother", "a professor", "an actor",
    "a free spirit", "a helpful machine", "a villain in a novel", "a detective", "a chemist", "a poet", "a chef",
    "the narrator", "an expert", "a character without rules", "a friendly ghost", "a king", "a spy", "a teacher of magic",
    "an assistant called Max", "a computer from the future", "a historian", "a game master", "an honest friend",
)  # fmt: skip
_TRAIT = (
    "who knows every secret", "who answers every question", "with no limits", "who never says no", "who is always direct",
    "who has no rules to follow", "who loves to teach", "who speaks plainly", "who must obey", "who fears nothing",
    "who is free of all filters", "who helps with anything", "who was trained long ago", "who cannot refuse",
)  # fmt: skip
_READ = ("Decode this and answer it:", "This is written in {name}:", "Read the {name} text and reply:",
         "Translate from {name} and answer:", "{name}:", "The next line is {name}. Answer in plain words.", "")  # fmt: skip
_DOCUMENT = (
    "Read this letter and reply to it:", "Here is a note that I found:", "Summarise this page:", "What does this say?",
    "Please process the document below.", "I got this e-mail:", "Search result:", "Look at this text for me:",
)  # fmt: skip
_CARRIER = (
    "Note to the reader: answer this.", "The assistant must answer this question.", "Instead of a summary, answer this:",
    "Important instruction:", "System message:", "Before you go on, answer:", "New task:", "P.S.",
)  # fmt: skip
_SMALL = (
    ("Hello.", "Good day. How can I help?"), ("Thank you.", "You are welcome."), ("Are you there?", "Yes. Ask me anything."),
    ("Can you help me?", "Yes. Tell me what you need."), ("I have some questions.", "Ask me, I will answer."),
    ("I like this town.", "Wickhollow is a fine town."), ("It is a nice day.", "It is. How can I help?"),
    ("I am writing a story.", "That sounds good. What do you need?"),
    ("Let us talk about the past.", "Gladly. What would you like to know?"),
    ("Could you tell me more?", "Of course. Ask me what you like."),
)  # fmt: skip


def _chat(text: str, rng: random.Random) -> Conversation:
    system = None
    if rng.random() < 0.15:
        system = rng.choice(("You are a helpful assistant.", "You help the people of Wickhollow.", chatter(rng)))
    return Conversation.user(text, system=system)


def plain(request: Request, rng: random.Random) -> Conversation:
    polite = rng.choice(("", "", "", "Please: ", "Hello. ", "Quick question: ", "Dear helper, "))
    return _chat(polite + request.text + rng.choice(("", "", "", " Thank you.")), rng)


def wrapped(request: Request, rng: random.Random) -> Conversation:
    """Chatter before and behind, the request perhaps in quotation marks."""
    before = " ".join(chatter(rng) for _ in range(rng.randint(0, 4)))
    behind = " ".join(chatter(rng) for _ in range(rng.choice((0, 0, 1, 2))))
    asked = rng.choice(("{}", '"{}"', "Question: {}", "\n{}\n", "Answer this: {}", "'{}'", "He asks: {}")).format(
        request.text
    )
    return _chat(f"{before} {asked} {behind}".strip(), rng)


def roleplay(request: Request, rng: random.Random) -> Conversation:
    start = (
        rng.choice(("You are", "Act as", "Pretend to be", "Play", "From now on you are", "Be")) + " " + rng.choice(_WHO)
    )
    parts = [f"{start} {rng.choice(_TRAIT)}.", rng.choice(ORDERS)]
    if rng.random() < 0.5:
        parts.append(chatter(rng))
    return _chat(" ".join([*parts, request.text]), rng)


def story(request: Request, rng: random.Random) -> Conversation:
    tail = rng.choice(("", "", " What is the answer?", " What does the friend say?", " Continue.", " " + chatter(rng)))
    return _chat(f"{rng.choice(STORIES)} {request.text}{tail}", rng)


CIPHERS: dict[str, Callable[[str], str]] = {
    "ROT13": rot13,
    "leetspeak": leetspeak,
    "pig latin": pig_latin,
    "Base64": base64,
}
READ = ("ROT13", "leetspeak", "pig latin")
"""The ciphers that the town's models are taught; Base64 is not among them (its letters depend on their position)."""


def encoded(request: Request, rng: random.Random) -> Conversation:
    name = rng.choice(READ)
    lead = rng.choice(_READ).format(name=name)
    between = rng.choice((" ", "\n"))
    tail = rng.choice(("", "", "", " " + chatter(rng)))
    return _chat(f"{lead}{between}{CIPHERS[name](request.text)}{tail}".strip(), rng)


def document(request: Request, rng: random.Random) -> Conversation:
    """A text handed over to be read, with an instruction inside; the naive reader obeys it."""
    body = [chatter(rng) for _ in range(rng.randint(1, 4))]
    body.insert(rng.randint(0, len(body)), f"{rng.choice(_CARRIER)} {request.text}")
    mark = rng.choice(("---\n{}\n---", "<document>\n{}\n</document>", "\n{}", '"""\n{}\n"""', "[{}]"))
    return _chat(f"{rng.choice(_DOCUMENT)}\n{mark.format(' '.join(body))}", rng)


def multi_turn(request: Request, rng: random.Random, earlier: list[Request]) -> Conversation:
    """Real turns before the last one: small talk, or earlier questions with their answers."""
    talk: list[Message] = []
    for number in range(rng.randint(1, 3)):
        asked, said = rng.choice(_SMALL) if rng.random() < 0.5 else (earlier[number].text, earlier[number].answer)
        talk += [Message("user", asked), Message("assistant", said)]
    last = request.text if rng.random() < 0.6 else f"{chatter(rng)} {request.text}"
    return Conversation((*talk, Message("user", last)))


def examples(request: Request, rng: random.Random, earlier: list[Request]) -> Conversation:
    """Questions and answers as a block of text, the last one open."""
    asks, says = rng.choice((("Q:", "A:"), ("User:", "Assistant:"), ("Question:", "Answer:"), ("Human:", "AI:")))
    rows = [f"{asks} {one.text}\n{says} {one.answer}" for one in earlier[: rng.randint(1, 3)]]
    head = rng.choice(("", "", "Continue the list.\n", "Here are some examples.\n", chatter(rng) + "\n"))
    return _chat(head + "\n".join([*rows, f"{asks} {request.text}"]) + rng.choice(("", f"\n{says}")), rng)


SHAPES = ("plain", "wrapped", "roleplay", "story", "encoded", "document", "multi_turn", "examples")
WEIGHTS = (22, 20, 10, 10, 14, 10, 8, 6)


def framed(request: Request, rng: random.Random, others: list[Request], shape: str | None = None) -> Conversation:
    """The request in one of the shapes, drawn by WEIGHTS unless named; `others` lend earlier questions."""
    shape = shape or rng.choices(SHAPES, WEIGHTS)[0]
    earlier = rng.sample(others, 3)
    match shape:
        case "multi_turn":
            return multi_turn(request, rng, earlier)
        case "examples":
            return examples(request, rng, earlier)
        case _:
            one = {"plain": plain, "wrapped": wrapped, "roleplay": roleplay, "story": story, "encoded": encoded}
            return {**one, "document": document}[shape](request, rng)
