"""Personal data: Trivet's finder beside Presidio's pattern recognisers, on the same entities and the same texts.

    python bench/guards_pii.py [--json OUT] [--data FOLDER] [--texts N] [--rounds N]

Texts of 4,096 characters: `dense` is made of sentences full of personal data (pii/presidio_templates), `plain` of prompts
with next to none. Two sets of entities: the eight that are best known, and all that both sides have. Presidio runs in an
environment of its own, without a language model and without context words (guards_pii_peer.py); its time is that
of its recognisers called one by one, which is less than its analyzer takes. Ours is `Pii.find`: reading, context, overlaps and
scores included. Each text is timed `rounds` times on either side and the least counts; figures are medians over the texts.
`agreement` compares what both find in the sentences with the marks that these carry (scores from 0.5 on ours, all of Presidio's).
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peer

PRESIDIO = "presidio-analyzer==2.2.366"
HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("TRIVET_DATA", "../shared/data"))
PLAIN = ("oasst_users", "self_instruct", "awesome_prompts", "gsm8k", "clinc_oos", "banking77")
CORE = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "URL", "CRYPTO")
SIZE = 4096


def environment() -> Path:
    """The interpreter of Presidio's environment, made when it is asked for first."""
    key = hashlib.sha256(f"{sys.version} {PRESIDIO}".encode()).hexdigest()[:12]
    folder = peer.home() / f"presidio-{key}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making an environment for {PRESIDIO} in {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PRESIDIO]
        subprocess.run(pip, check=True)
        (folder / "ready").write_text(PRESIDIO, encoding="utf-8")
    return python


def presidio(request: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [str(environment()), str(HERE / "guards_pii_peer.py")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"Presidio's side failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def rows_of(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise SystemExit(f"{path} is not there; name the folder with the data sets by --data or TRIVET_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pieces(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Texts put together and cut into pieces of SIZE."""
    texts = list(texts)
    random.Random(seed).shuffle(texts)
    whole = "\n".join(texts)
    return [whole[at : at + SIZE] for at in range(0, len(whole) - SIZE + 1, SIZE)][:count]


def ours(kinds: Sequence[str], texts: Sequence[str], rounds: int) -> list[float]:
    """Microseconds for each text. The reading is made anew each time: nothing is remembered from the round before."""
    from trivet.monitoring import text as reading
    from trivet.monitoring.guards.pii import Pii

    guard = Pii(kinds)
    for one in texts:
        guard.find(one)
    times = []
    for one in texts:
        best = float("inf")
        for _ in range(rounds):
            reading._read_short.cache_clear()
            start = time.perf_counter()
            guard.find(one)
            best = min(best, time.perf_counter() - start)
        times.append(best * 1e6)
    return times


def template(row: dict[str, Any]) -> str:
    """A sentence without its values: rows of one template belong to one half."""
    text, out, at = row["text"], "", 0
    for span in sorted(row["spans"], key=lambda span: span["start"]):
        out += text[at : span["start"]] + "{" + span["type"] + "}"
        at = span["end"]
    return out + text[at:]


def held_out(row: dict[str, Any]) -> bool:
    """Whether a row is of the half that nothing was tuned on."""
    return int(hashlib.sha256(template(row).encode()).hexdigest(), 16) % 2 == 1


def agreement(rows: list[dict[str, Any]], kinds: Sequence[str], theirs: list[list[Any]]) -> dict[str, Any]:
    """By type: how often it is marked, and what either side finds right and in all; exact spans."""
    from trivet.monitoring.guards.pii import Pii
    from trivet.monitoring.guards.pii_figures import SAME

    guard = Pii(kinds)
    table: dict[str, dict[str, int]] = {}

    def count(field: str, spans: set[tuple[int, int, str]]) -> None:
        for _, _, kind in spans:
            table.setdefault(kind, dict.fromkeys(FIELDS, 0))[field] += 1

    for row, found in zip(rows, theirs, strict=True):
        marks = {(s["start"], s["end"], SAME.get(s["type"], s["type"])) for s in row["spans"]}
        mine = {(f.start, f.end, SAME.get(f.kind, f.kind)) for f in guard.find(row["text"])}
        other = {(a, b, SAME.get(kind, kind)) for a, b, kind, _ in found}
        for field, spans in zip(FIELDS, (marks, mine, mine & marks, other, other & marks, mine & other), strict=True):
            count(field, spans)
    wanted = {SAME.get(kind, kind) for kind in kinds}
    return {kind: row for kind, row in sorted(table.items()) if kind in wanted}


def evasion(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The share of the marked values that are still found when each is written in disguise, of those found without."""
    from trivet.monitoring.guards.pii import Pii

    guard = Pii(CORE)
    found = [
        (row["text"], span["start"], span["end"])
        for row in rows
        for span in row["spans"]
        if span["type"] in CORE and _hit(guard, row["text"], span["start"], span["end"])
    ]
    shares = {}
    for name, disguise in DISGUISES.items():
        hits = 0
        for text, start, end in found:
            hidden = disguise(text[start:end])
            hits += _hit(guard, text[:start] + hidden + text[end:], start, start + len(hidden))
        shares[name] = {"of": len(found), "still_found": hits / len(found)}
    return shares


def _hit(guard: Any, text: str, start: int, end: int) -> bool:
    """Whether findings cover a stretch: what a mask would hide."""
    return all(
        any(one.start <= at < one.end for one in guard.find(text)) for at in (start, (start + end) // 2, end - 1)
    )


DISGUISES: dict[str, Callable[[str], str]] = {
    "zero_width": lambda value: "\u200b".join(value),
    "full_width": lambda value: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in value),
    "arabic_digits": lambda value: value.translate({48 + i: 0x660 + i for i in range(10)}),
    "dashes": lambda value: value.replace("-", "\u2013"),
    "tags_between": lambda value: "\U000e0041".join(value),
    "base64": lambda value: base64.b64encode(f"the value is {value} as asked".encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "percent": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
}

FIELDS = ("marked", "trivet", "trivet_right", "presidio", "presidio_right", "both_found")


def measure(data: Path = DATA, texts: int = 60, rounds: int = 7) -> dict[str, Any]:
    """All figures; `pii_ratio_vs_presidio` is the least of the ratios."""
    from trivet.monitoring.guards.pii import EVERY

    marked = rows_of(data / "pii" / "presidio_templates.jsonl.gz")
    plain = [row["text"] for name in PLAIN for row in rows_of(data / "benign" / f"{name}.jsonl.gz")]
    sets = {"dense": pieces([row["text"] for row in marked], texts, 0), "plain": pieces(plain, texts, 0)}
    both = presidio({"entities": list(EVERY), "list": PRESIDIO})["entities"]
    held = [row for row in marked if held_out(row)]
    report: dict[str, Any] = {
        "presidio": PRESIDIO,
        "size": SIZE,
        "texts": texts,
        "entities": {"core": list(CORE), "all": both},
    }
    ratios = []
    for label, kinds in (("core", CORE), ("all", tuple(both))):
        for name, given in sets.items():
            asked = {"entities": list(kinds), "texts": given, "rounds": rounds}
            if name == "dense":
                asked["rows"] = [row["text"] for row in held]
            before = ours(kinds, given, rounds)
            theirs = presidio(asked)
            after = ours(kinds, given, rounds)
            mine = [min(pair) for pair in zip(before, after, strict=True)]
            ratio = statistics.median(b / a for a, b in zip(mine, theirs["each"]["recognisers_us"], strict=True))
            ratios.append(ratio)
            report[f"{label}_{name}"] = {
                "trivet_us": statistics.median(mine),
                "trivet_us_max": max(mine),
                "presidio_recognisers_us": theirs["recognisers_us"],
                "presidio_analyzer_us": theirs["analyzer_us"],
                "ratio": ratio,
            }
            if name == "dense":
                report[f"{label}_agreement"] = agreement(held, kinds, theirs["rows"])
    every = ours(tuple(kind for kind in EVERY if kind != "DATE_TIME"), sets["plain"], rounds)
    report["default_plain_us"] = statistics.median(every)
    report["default_dense_us"] = statistics.median(
        ours(tuple(k for k in EVERY if k != "DATE_TIME"), sets["dense"], rounds)
    )
    report["evasion"] = evasion(marked)
    report["pii_ratio_vs_presidio"] = min(ratios)
    return report


def _print(report: dict[str, Any]) -> None:
    print(f"{report['presidio']}, {report['texts']} texts of {report['size']} characters, microseconds (median)")
    for label in ("core", "all"):
        print(f"{label}: {', '.join(report['entities'][label])}")
    print(f"{'':<14}{'Trivet':>10}{'recognisers':>14}{'analyzer':>12}{'ratio':>8}")
    for name in ("core_dense", "core_plain", "all_dense", "all_plain"):
        row = report[name]
        times = f"{row['trivet_us']:>10.0f}{row['presidio_recognisers_us']:>14.0f}{row['presidio_analyzer_us']:>12.0f}"
        print(f"{name:<14}{times}{row['ratio']:>8.1f}")
    print(
        f"the guard as it ships, every kind and keys: plain {report['default_plain_us']:.0f}, dense {report['default_dense_us']:.0f}"
    )
    for label in ("core", "all"):
        print(f"\n{label}, held-out half of the templates: marked, found (right) by Trivet and Presidio, found by both")
        for kind, row in report[f"{label}_agreement"].items():
            mine, other = (f"{row[side]:>6} ({row[side + '_right']})" for side in ("trivet", "presidio"))
            print(f"  {kind:<26}{row['marked']:>6}{mine:<14}{other:<14}{row['both_found']:>6}")

    print("\nstill found in disguise, of the values found without")
    for name, row in report["evasion"].items():
        print(f"  {name:<16}{100 * row['still_found']:6.1f} % of {row['of']}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Personal data: Trivet beside Presidio's pattern recognisers.")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with the data sets")
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    report = measure(given.data, given.texts, given.rounds)
    _print(report)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
