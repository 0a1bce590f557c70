"""Make the two tables that `trivet.monitoring.views` reads: English words by frequency, and Unicode's look-alikes.

    python runs/views_tables.py english LEXICON FILE.jsonl.gz ...   # rows with texts (FIELDS); writes views/english.txt
    python runs/views_tables.py confusables FOLDER            # the unpacked wheel of confusable_homoglyphs; views/confusables.txt

Words: those that at least FEWEST texts hold, the WORDS most frequent, without those that the lexicon of profanity calls more than
mild (what ships with a program should not be a list of slurs), one line; a word's place is all that is kept of the
texts. Look-alikes: the pairs of UTS 39 confusables.txt of one character outside ASCII and one ASCII letter, after NFKC
(which undoes full width and mathematical letters itself); for every letter one line.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

VIEWS = Path(__file__).parents[1] / "src" / "trivet" / "monitoring" / "views"
WORDS, FEWEST = 8000, 4
FIELDS = ("text", "prompt", "chosen", "rejected", "reply")
NOTICE = """\
# Characters that UTS 39 (confusables.txt, Unicode 15.1) holds to be confusable with an ASCII letter; one line a letter.
# Copyright (c) 1991-2023 Unicode, Inc.; Unicode License v3 (https://www.unicode.org/license.txt). Read through the
# package confusable_homoglyphs 3.3.1, Copyright (c) 2016-2018 Victor Felder, 2024 Elena Grandi; MIT License.
# Made by runs/views_tables.py.
"""


def english(lexicon: str, files: list[str]) -> None:
    with gzip.open(lexicon, "rt", encoding="utf-8") as rows:
        left_out = {row["text"].lower() for row in map(json.loads, rows) if row.get("severity_name", "") != "Mild"}
    texts, counts = Counter[str](), Counter[str]()
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as rows:
            for row in rows:
                said = " ".join(str(json.loads(row).get(field, "")) for field in FIELDS)
                words = re.findall(r"[a-z]+", said.lower())
                counts.update(words)
                texts.update(set(words))
    known = [
        word
        for word, _ in counts.most_common()
        if word not in left_out and texts[word] >= FEWEST and (len(word) > 1 or word in "ai")
    ]
    (VIEWS / "english.txt").write_text(" ".join(known[:WORDS]) + "\n", encoding="ascii")


def confusables(folder: str) -> None:
    data = json.loads((Path(folder) / "confusable_homoglyphs" / "confusables.json").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for seen, others in data.items():
        if len(seen) != 1 or seen.isascii() or unicodedata.normalize("NFKC", seen) != seen:
            continue
        letters = {other["c"].lower() for other in others if other["c"].isascii() and other["c"].isalpha()}
        letters = {letter for letter in letters if len(letter) == 1}
        if letters == {"i", "l"}:  # a bare stroke: capital I far more often than l
            letters = {"i"}
        if len(letters) == 1:
            found.setdefault(letters.pop(), set()).add(seen)
    lines = [f"{letter} {''.join(sorted(found[letter]))}\n" for letter in sorted(found)]
    (VIEWS / "confusables.txt").write_text(NOTICE + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("english", "confusables"):
        raise SystemExit(__doc__)
    english(sys.argv[2], sys.argv[3:]) if sys.argv[1] == "english" else confusables(sys.argv[2])
