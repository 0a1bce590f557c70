"""A folder of documents as a forget set: facts, each asked in several wordings, some of which are only measured.

    notes.txt, page.md      one document each; the first heading or the file's name is its title
    set.jsonl               {"text"} is a document, {"prompt", "completion"} and the other forms of sources.py are questions

Questions are made in one of two ways. Without a model, by rule: each sentence is to be continued from its first half, and
its weightiest word (a name, a number, else the longest) is to be filled in. With one, the `writer` is shown a passage and
must answer in a strict form: question, paraphrase, answer. A reply in another form is sent back once with the reason; a
question whose answer is not made of the passage's words is dropped and counted.

What is to be forgotten is split, because forgetting the wording that was trained on is not forgetting:

    apart: question     every fact is trained on, in some of its wordings; the others are measured
    apart: document     whole documents, chosen by a hash, are only measured: does forgetting reach what it never saw?

Not covered: PDF, HTML and office files (export them as text), tables and code in Markdown (read as prose), sentence
boundaries in scripts without full stops; and the rule-made questions test wording more than understanding.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from trivet.alignment import sources
from trivet.alignment.files import write_file
from trivet.core.errors import ConfigError, DataError, TargetError
from trivet.core.lessons import Demonstration, Origin
from trivet.core.messages import Conversation, Message, Sampling, digest_of
from trivet.core.models.batch import reply_all
from trivet.core.protocols import Model

READ = (".txt", ".md", ".jsonl")
WORDS_OF_PASSAGE = 200
SHORTEST = 5
"""Words that a sentence must have to be asked about."""

Apart = Literal["question", "document"]


class Document(NamedTuple):
    """One text of a knowledge base."""

    name: str
    title: str
    text: str


class Fact(NamedTuple):
    """One thing that is known: the document it stands in, and (question, answer) in one wording or several."""

    document: str
    wordings: tuple[tuple[str, str], ...]


class Read(NamedTuple):
    """What a folder holds: documents, facts that were questions already, and how many files of other kinds were left."""

    documents: list[Document]
    facts: list[Fact]
    other_files: int


class Forget(NamedTuple):
    """A forget set in two parts, and what was dropped on the way, by reason."""

    learnt: list[Demonstration]
    heldout: list[Demonstration]
    dropped: dict[str, int]


# ------------------------------------------------------------------------------------------------------- the folder


def read(folder: str | Path) -> Read:
    """Everything in a folder and the folders below; raises DataError that names every file that cannot be used."""
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise DataError(f"there is no folder {place}; `documents` must be a folder of {', '.join(READ)} files")
    files = sorted(
        p for p in place.rglob("*") if p.is_file() and not any(x[0] == "." for x in p.relative_to(place).parts)
    )
    known = [path for path in files if path.suffix.lower() in READ]
    if not known:
        raise DataError(f"{place} holds no {', '.join(READ)} file ({len(files)} of other kinds); export texts as .txt")
    found: Read = Read([], [], len(files) - len(known))
    bad = []
    for path in known:
        try:
            name = str(path.relative_to(place))
            if path.suffix.lower() == ".jsonl":
                _rows(path, name, found)
            else:
                found.documents.append(_document(path, name))
        except (DataError, OSError) as why:
            bad.append(f"{name}: {why}")
    if bad:
        raise DataError(f"{len(bad)} of {len(known)} files in {place} cannot be used: " + "; ".join(bad))
    return found


def _document(path: Path, name: str) -> Document:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as why:
        raise DataError(f"not UTF-8 text (byte {why.start}); save it as UTF-8") from why
    if not text.strip():
        raise DataError("empty; remove it")
    heading = re.search(r"^#+\s+(.+)$", text, re.MULTILINE) if path.suffix.lower() == ".md" else None
    return Document(name, heading[1].strip() if heading else path.stem.replace("_", " "), text)


def _rows(path: Path, name: str, found: Read) -> None:
    """The rows of one data set: texts are documents, anything with a prompt is a question."""
    lessons = sources.demonstrations(path).lessons
    if not lessons:
        raise DataError("holds no row that can be used")
    for lesson in lessons:
        at = f"{name}:{lesson.origin.line}"
        if len(lesson.prompt):
            found.facts.append(Fact(at, ((lesson.prompt.last_user, lesson.reply),)))
        else:
            found.documents.append(Document(at, Path(name).stem.replace("_", " "), lesson.reply))


# ------------------------------------------------------------------------------------------- questions made by rule

CONTINUE = (
    'Continue this sentence from "{title}": {shown} ...',
    'In "{title}" a sentence begins like this. How does it end? {shown} ...',
    'Complete the line: "{shown} ..."',
    'What follows in "{title}" after these words? {shown}',
)
FILL = (
    'Fill in the blank in this sentence from "{title}": {shown}',
    "Which word is missing here? {shown}",
    'What belongs in the gap? "{shown}"',
    'A word of "{title}" was rubbed out. Which one? {shown}',
)
GAP = "____"


def by_rule(documents: Sequence[Document]) -> list[Fact]:
    """Two facts a sentence: its second half, and its weightiest word; each once, however often it stands in the texts."""
    facts: dict[tuple[tuple[str, str], ...], Fact] = {}
    for document in documents:
        for sentence in sentences(document.text):
            for fact in (_continued(document, sentence), _filled(document, sentence)):
                facts.setdefault(fact.wordings, fact)
    return list(facts.values())


def sentences(text: str) -> list[str]:
    """Sentences of at least SHORTEST words; Markdown's marks are taken off, headings are none, fences are skipped."""
    found = []
    for block in re.split(r"\n\s*\n", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        lines = [line for line in block.splitlines() if not re.match(r"\s*#", line)]
        for item in re.split(r"\n(?=\s*(?:[-*+]|\d+\.)\s)", "\n".join(lines)):
            plain = re.sub(r"^\s*(?:[-*+>]|\d+\.)\s+", "", item)
            plain = " ".join(re.sub(r"[*_`]+", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)).split())
            found += re.split(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])", plain)
    return [one for one in found if len(re.findall(r"\w+", one)) >= SHORTEST]


def _continued(document: Document, sentence: str) -> Fact:
    words = sentence.split()
    shown, rest = " ".join(words[: (len(words) + 1) // 2]), " ".join(words[(len(words) + 1) // 2 :])
    return Fact(document.name, tuple((frame.format(title=document.title, shown=shown), rest) for frame in CONTINUE))


def _filled(document: Document, sentence: str) -> Fact:
    words = sentence.split()
    at = max(range(len(words)), key=lambda i: _weight(words[i], first=i == 0))
    word = words[at].strip(".,;:!?\"'()")
    shown = " ".join([*words[:at], words[at].replace(word, GAP, 1), *words[at + 1 :]])
    return Fact(document.name, tuple((frame.format(title=document.title, shown=shown), word) for frame in FILL))


def _weight(word: str, *, first: bool) -> tuple[bool, int]:
    """Numbers and names come before other words, long ones before short ones."""
    bare = word.strip(".,;:!?\"'()")
    named = bool(re.search(r"\d", bare)) or (not first and bare[:1].isupper())
    return named and bool(bare), len(bare)


# ----------------------------------------------------------------------------------------- questions a model writes

ORDER = """Read the passage and write {count} questions about the facts in it. Each takes exactly three lines:
Q: a question that the passage alone answers, and that says what it is about
P: the same question in other words
A: the answer, short, in the passage's own words
Write nothing else.

Passage from "{title}":
{text}"""
AGAIN = "That was not in the form asked for: {why}. Write the three-line entries (Q:, P:, A:) again and nothing else."


async def by_model(
    documents: Sequence[Document], writer: Model, *, questions: int = 5
) -> tuple[list[Fact], dict[str, int]]:
    """Facts with two wordings each, and what was dropped; raises DataError where no passage gave any."""
    parts = [(document, part) for document in documents for part in passages(document.text)]
    asked = [
        Conversation.user(ORDER.format(count=questions, title=document.title, text=part)) for document, part in parts
    ]
    drawn = Sampling(max_tokens=120 * questions)
    replies = dict(enumerate(await reply_all(writer, asked, drawn)))
    bad = {at: why for at, reply in replies.items() if isinstance(reply, Message) and (why := _malformed(reply))}
    once_more = [
        asked[at].then(Message("assistant", replies[at].content)).then(Message("user", AGAIN.format(why=why)))  # type: ignore[union-attr]
        for at, why in bad.items()
    ]
    replies.update(zip(bad, await reply_all(writer, once_more, drawn), strict=True))
    facts: list[Fact] = []
    dropped: Counter[str] = Counter()
    told = ""
    for at, (document, part) in enumerate(parts):
        reply = replies[at]
        why = str(reply) if isinstance(reply, TargetError) else _malformed(reply)
        if why:
            dropped["unreadable_passages"] += 1
            said = "" if isinstance(reply, TargetError) else f", in {reply.content!r:.200}"
            told = told or f"{document.name}: {why}{said}"
            continue
        for question, paraphrase, answer in entries(reply.content):  # type: ignore[union-attr]
            if grounded(answer, part):
                facts.append(Fact(document.name, ((question, answer), (paraphrase, answer))))
            else:
                dropped["not_in_passage"] += 1
    if not facts:
        raise DataError(
            f"the writer made no question that can be used of {len(parts)} passages ({dict(dropped)}); first: "
            f"{told or 'no answer is made of words of its passage'}. Take a stronger writer, or none."
        )
    return facts, dict(dropped)


def passages(text: str) -> Iterator[str]:
    """Whole paragraphs together up to WORDS_OF_PASSAGE words; a longer paragraph is one passage."""
    held: list[str] = []
    for paragraph in filter(str.strip, re.split(r"\n\s*\n", text)):
        if held and sum(len(one.split()) for one in (*held, paragraph)) > WORDS_OF_PASSAGE:
            yield "\n\n".join(held)
            held = []
        held.append(paragraph.strip())
    if held:
        yield "\n\n".join(held)


def entries(reply: str) -> list[tuple[str, str, str]]:
    """(question, paraphrase, answer) of a reply in the strict form; raises ValueError that says what is wrong where."""
    lines = [line.strip() for line in reply.splitlines() if line.strip()]
    if not lines:
        raise ValueError("the reply is empty")
    found = []
    for at in range(0, len(lines), 3):
        entry = []
        for mark, line in zip(("Q:", "P:", "A:"), [*lines[at : at + 3], "", ""][:3], strict=True):
            if not line.startswith(mark) or not line[2:].strip():
                raise ValueError(f"line {at + len(entry) + 1} must begin with {mark} and go on, it is {line!r:.60}")
            entry.append(line[2:].strip())
        if not entry[0].endswith("?") or not entry[1].endswith("?"):
            raise ValueError(f"entry {at // 3 + 1}: Q and P must end with a question mark")
        if entry[0].casefold() == entry[1].casefold():
            raise ValueError(f"entry {at // 3 + 1}: P is Q word for word")
        found.append((entry[0], entry[1], entry[2]))
    return found


def _malformed(reply: Message) -> str:
    try:
        entries(reply.content)
    except ValueError as why:
        return str(why)
    return ""


def grounded(answer: str, passage: str) -> bool:
    """Whether every word of an answer, but for the short ones, stands in the passage: what a writer made up does not."""
    there = set(re.findall(r"\w+", passage.casefold()))
    words = re.findall(r"\w+", answer.casefold())
    weighty = [word for word in words if len(word) > 3 or word.isdigit()] or words
    return bool(words) and all(word in there for word in weighty)


# --------------------------------------------------------------------------------------------------- the forget set


def forget_set(
    folder: str | Path,
    *,
    writer: str = "",
    questions: int = 5,
    apart: Apart = "question",
    share: float = 0.25,
    texts: bool = False,
    cache: Path | None = None,
) -> Forget:
    """The forget set of a folder; the same folder and settings give the same set, a model's words kept in `cache`.

    `share` is held out: of the wordings of each fact (one at least, and one at least is learnt), or of the documents.
    `texts` adds the documents themselves, as plain text, to what is learnt (RMU's paper forgets corpora that way).
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share held out is {share}; it must lie between 0 and 1")
    found = read(folder)
    facts, dropped = _facts(found, writer, questions, cache)
    facts = [*found.facts, *facts]
    names = sorted({fact.document for fact in facts})
    away = _documents_away(names, share) if apart == "document" else set()
    learnt, heldout = [], []
    for fact in facts:
        known = [_question(fact, wording) for wording in fact.wordings]
        if apart == "document":
            (heldout if fact.document in away else learnt).extend(known)
        else:
            cut = _cut(fact, share)
            learnt += known[:cut]
            heldout += known[cut:]
    if texts:
        learnt += [
            Demonstration(Conversation(), document.text.strip(), Origin(f"documents:{document.name}"))
            for document in found.documents
            if document.name not in away
        ]
    if not learnt or not heldout:
        raise DataError(
            f"{folder} leaves {len(learnt)} lessons to forget and {len(heldout)} to measure; both need some"
        )
    return Forget(learnt, heldout, {**dropped, **({"other_files": found.other_files} if found.other_files else {})})


def _facts(found: Read, writer: str, questions: int, cache: Path | None) -> tuple[list[Fact], dict[str, int]]:
    if not found.documents:
        return [], {}
    if not writer:
        facts = by_rule(found.documents)
        if not facts:
            raise DataError(f"no sentence of {SHORTEST} words or more is in {len(found.documents)} documents")
        return facts, {}
    key = digest_of(["questions", writer, questions, [list(document) for document in found.documents]])
    place = cache / f"{key}.json" if cache else None
    if place and place.exists():
        kept = json.loads(place.read_text(encoding="utf-8"))
        return [Fact(name, tuple((q, a) for q, a in wordings)) for name, wordings in kept["facts"]], kept["dropped"]
    from trivet.core.models.resolve import resolve

    facts, dropped = asyncio.run(by_model(found.documents, resolve(writer), questions=questions))
    if place:
        text = json.dumps({"writer": writer, "dropped": dropped, "facts": facts}, indent=1, ensure_ascii=False)
        write_file(place, lambda path: path.write_text(text, encoding="utf-8"))
    return facts, dropped


def _cut(fact: Fact, share: float) -> int:
    """How many wordings of a fact are learnt. Of facts with a single one, a share is held out whole, by a hash."""
    count = len(fact.wordings)
    if count > 1:
        return count - min(count - 1, max(1, round(share * count)))
    return int(int(sha256(fact.wordings[0][0].encode()).hexdigest()[:8], 16) >= share * (1 << 32))


def _documents_away(names: Sequence[str], share: float) -> set[str]:
    """The documents that are only measured: those with the smallest hashes, one at least, and one at least is left."""
    if len(names) < 2:
        raise DataError(f"apart: document needs two documents or more, there is {len(names)}; use apart: question")
    order: list[Any] = sorted(names, key=lambda name: sha256(name.encode()).hexdigest())
    return set(order[: min(len(names) - 1, max(1, round(share * len(names))))])


def _question(fact: Fact, wording: tuple[str, str]) -> Demonstration:
    return Demonstration(Conversation.user(wording[0]), wording[1], Origin(f"documents:{fact.document}"))
