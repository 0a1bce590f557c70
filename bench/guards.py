"""The cheap tier of guards beside LLM Guard's BanSubstrings and Regex: the same rules, the same texts, one run.

    python bench/guards.py --json OUT [--rounds N] [--quick] [--data FOLDER]

5,000 phrases of two to four words and 60 regular expressions, none of which occurs in the texts (that is what a guard sees nearly always);
every phrase and pattern is looked for in texts of 512 bytes, 4 KB and 64 KB of prompts in English, ASCII, as people wrote them
(--data; made-up prose where that is missing, and a few in other scripts for our side alone). Each side runs in a process and an environment of
its own, taking turns. Trivet's figure holds its whole reading of the text in every view, which LLM Guard does not do at
all; where both look at plain text they must find the same, and that is checked with the phrases put in.

LLM Guard 0.3.16 is installed in $XDG_CACHE_HOME/trivet/bench or .trivet/bench, torch first because it asks for it; if all of its
requirements cannot be had, without them, and the two scanners are taken from their own files: the table says which. `bench/guards_pii.py`,
where it is there, adds its own part. Figures: milliseconds, the median over texts; ratios: LLM Guard's time by Trivet's, text by text.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peer

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("TRIVET_DATA", "../shared/data"))
SETS = ("oasst_users", "self_instruct", "awesome_prompts", "gsm8k", "clinc_oos")
VERSION = "llm-guard==0.3.16"
PARTS = ("structlog>=24", "presidio-anonymizer==2.2.358")
PHRASES, SIZES, TEXTS = 5000, {"512": 512, "4096": 4096, "65536": 65536}, {"512": 200, "4096": 120, "65536": 6}
FEW = {"512": 60, "4096": 40, "65536": 4}  # texts for LLM Guard; two of each where it matches words
SIDES = ("trivet", "trivet_and_secrets", "llm_guard", "llm_guard_words")
SHAPES = (
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", r"\bghp_[A-Za-z0-9]{36}\b", r"\bsk_live_[A-Za-z0-9]{24}\b", r"\bxox[bp]-[0-9]{10,12}-[A-Za-z0-9]{24}\b",
    r"\bAIza[A-Za-z0-9_-]{35}\b", r"-----BEGIN [A-Z ]{3,30}PRIVATE KEY-----", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\b", r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
    r"\b4[0-9]{3}(?:[ -][0-9]{4}){3}\b", r"\b5[1-5][0-9]{2}(?:[ -][0-9]{4}){3}\b", r"\b[A-Z]{2}[0-9]{2}(?: [A-Z0-9]{4}){4,7}\b", r"\b[\w.+-]{1,64}@example-[a-z]+\.com\b",
    r"\b(?:10|127)(?:\.[0-9]{1,3}){3}\b", r"\+[0-9]{2}[ -][0-9]{3}[ -][0-9]{6,8}\b", r"\bglpat-[A-Za-z0-9_-]{20}\b", r"\bnpm_[A-Za-z0-9]{36}\b",
    r"(?i)\bignore (?:all |any )?(?:previous|prior|earlier) (?:instructions|prompts)\b", r"(?i)\bdisregard (?:your|the) (?:rules|guidelines|training)\b",
    r"(?i)\byou are now (?:DAN|free of|an unfiltered)\b", r"(?i)\b(?:print|reveal|repeat) (?:your|the) (?:system|hidden|initial) prompt\b",
    r"(?i)\bdeveloper mode (?:enabled|on)\b", r"(?i)\bjail ?broken (?:mode|assistant)\b", r"(?i)<\|(?:im_start|system|endoftext)\|>", r"(?i)\[/?INST\]",
    r"(?i)\bdrop table [a-z_]+;", r"(?i)\bunion (?:all )?select\b.{0,40}\bfrom information_schema", r"(?i)<script[^>]{0,80}>", r"(?i)javascript:[a-z]+\(",
    r"\brm -rf /(?:\s|$)", r"(?i)\bcurl [^|\n]{1,120}\| ?(?:ba)?sh\b", r"/etc/(?:passwd|shadow)\b", r"\.\./\.\./\.\./", r"(?i)powershell -e(?:nc)? [A-Za-z0-9+/=]{20,}",
)  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Trivet's cheap guards beside LLM Guard's, on the same rules and texts."
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--rounds", type=int, default=3, help="how often every side runs, taking turns")
    parser.add_argument("--passes", type=int, default=9, help="scans of each text within a run; the least time counts")
    parser.add_argument("--quick", action="store_true", help="one round of few texts: a look, not a measurement")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with benign/*.jsonl.gz, rows with a text")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.passes = 1, 2
    return given


# The world: rules and texts


def prompts(folder: Path, draw: random.Random) -> list[str]:
    """What people asked, in ASCII; made-up prose where there is no such folder."""
    found = []
    for name in SETS:
        file = folder / "benign" / f"{name}.jsonl.gz"
        if file.is_file():
            with gzip.open(file, "rt", encoding="utf-8") as rows:
                found += [row["text"] for row in map(json.loads, rows)]
    found = [text for text in found if text.isascii()]
    if not found:
        words = english()[:2000]
        found = [" ".join(draw.choices(words, k=40)).capitalize() + "." for _ in range(4000)]
    draw.shuffle(found)
    return found


def english() -> list[str]:
    return (HERE.parent / "src/trivet/monitoring/views/english.txt").read_text(encoding="ascii").split()


def cut(found: list[str], size: int, count: int) -> Iterator[str]:
    """Texts of a size: prompts one after the other, from another place each time."""
    at = 0
    for _ in range(count):
        parts: list[str] = []
        while sum(map(len, parts)) + len(parts) < size:
            parts.append(found[at % len(found)])
            at += 1
        yield "\n".join(parts)[:size]


def world(given: argparse.Namespace) -> dict[str, Any]:
    draw = random.Random(given.seed)
    found = prompts(given.data, draw)
    counts = {"512": 80, "4096": 80, "65536": 4} if given.quick else TEXTS
    texts = {name: list(cut(found, size, counts[name])) for name, size in SIZES.items()}
    everything = "\n".join(text for some in texts.values() for text in some).lower()
    words = [word for word in english() if len(word) > 2]
    phrases: list[str] = []
    while len(phrases) < PHRASES:
        phrase = " ".join(draw.choices(words, k=draw.choice((2, 2, 3, 3, 4))))
        if phrase not in everything:
            phrases.append(phrase)
    pairs = (draw.choices(words[500:], k=2) for _ in range(1000))
    own = (rf"\b{a}s? (?:of|in|with|for) (?:the )?{b}\w{{0,3}}\b" for a, b in pairs)
    patterns = [shape for shape in (*SHAPES, *(next(own) for _ in range(60))) if not re.search(shape, everything)][:60]
    for name, some in texts.items():  # where a phrase stands both sides must say so
        texts[name] = [*some, f"{some[0][: SIZES[name] // 2]} {phrases[-1]}. {some[1][: SIZES[name] // 2]}"]
    return {"rules": {"phrases": phrases, "patterns": patterns}, "texts": texts}


# The sides


def peer_python() -> tuple[Path, str]:
    """The interpreter of LLM Guard's environment, which is made when it is asked for first, and how much of it is there."""
    folder = peer.home() / "llm-guard-0.3.16"
    found, note = folder / "bin" / "python", folder / "ready"
    if note.exists():
        return found, note.read_text(encoding="utf-8")
    print(f"making an environment for {VERSION} in {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    whole = subprocess.run([*pip, "torch==2.13.0"]).returncode == 0 and subprocess.run([*pip, VERSION]).returncode == 0
    if not whole:
        subprocess.run([*pip, *PARTS], check=True)
        subprocess.run([*pip, "--no-deps", VERSION], check=True)
    note.write_text("whole" if whole else "the two scanners without its other requirements", encoding="utf-8")
    return found, note.read_text(encoding="utf-8")


def measure(side: str, made: dict[str, Any], passes: int, folder: Path) -> dict[str, Any]:
    """One run of one side; stops the whole with the side's own words where it fails."""
    texts = made["texts"]
    if side.startswith("llm_guard"):  # at its pace all texts would take the better part of an hour
        few = FEW if side == "llm_guard" else dict.fromkeys(SIZES, 2)
        texts = {size: [*some[: few[size]], some[-1]] for size, some in texts.items()}
    task = {"side": side, "rules": made["rules"], "texts": texts, "passes": passes if side.startswith("trivet") else 1}
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    python = str(peer_python()[0]) if side.startswith("llm_guard") else sys.executable
    command = [python, str(HERE / "guards_side.py"), str(folder / "task.json"), str(folder / "result.json")]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, encoding="utf-8")
    if ended.returncode:
        raise SystemExit(f"error: {side} failed:\n{ended.stderr[-3000:]}")
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def compare(made: dict[str, Any], given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for number in range(given.rounds):
        for side in SIDES[number % len(SIDES) :] + SIDES[: number % len(SIDES)]:
            if side == "llm_guard_words" and number:
                continue  # once: half a minute for a few texts
            runs[side].append(measure(side, made, given.passes, folder))
            print(f"  round {number + 1}, {side}", file=sys.stderr, flush=True)
    return {size: {side: summary(some, size) for side, some in runs.items()} | ratios(runs, size) for size in SIZES}


def least(runs: list[dict[str, Any]], size: str) -> list[float]:
    """Of every text without a finding, the least seconds over all rounds."""
    return [min(times) for times in zip(*(run["sizes"][size]["seconds"][:-1] for run in runs), strict=True)]


def summary(runs: list[dict[str, Any]], size: str) -> dict[str, Any]:
    times = sorted(1000 * seconds for seconds in least(runs, size))
    found = runs[0]["sizes"][size]["found"]
    if not found[-1]:
        raise SystemExit(f"error: a side did not find the phrase that was put into a text of {size} characters")
    return {
        "median_ms": statistics.median(times),
        "p95_ms": times[min(len(times) - 1, int(0.95 * len(times)))],
        "texts": len(times),
        "flagged": sum(found[:-1]),
        "resident": max(run["resident"] for run in runs),
    }


def ratios(runs: dict[str, list[dict[str, Any]]], size: str) -> dict[str, Any]:
    """LLM Guard's time by Trivet's, text by text: the median, the smallest, the largest."""
    found = {}
    mine = least(runs["trivet"], size)
    for side in ("llm_guard", "llm_guard_words"):
        theirs = least(runs[side], size)
        each = [b / a for a, b in zip(mine[: len(theirs)], theirs, strict=True)]
        found[f"ratio_vs_{side}"] = {"median": statistics.median(each), "smallest": min(each), "largest": max(each)}
    return found


OTHERS = {
    "Russian": "Москва — столица России, город федерального значения, административный центр. Он стоит на реке. ",
    "Greek": "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας και ο μεγαλύτερος δήμος της χώρας, με πολλούς κατοίκους. ",
    "Chinese": "北京是中华人民共和国的首都，位于华北平原的北部，背靠燕山。它有许多名胜古迹，例如故宫、长城。",
    "English with accents": "The café on the rue de l’Église — “naïve”, they said — opens at nine, and closes when it likes. ",
}


def other_scripts(made: dict[str, Any]) -> dict[str, float]:
    """Our own side on 4,096 characters of other scripts, milliseconds."""
    import guards_side

    scan = guards_side.trivet(made["rules"])
    found = {}
    for name, said in OTHERS.items():
        texts = [(f"{i} " + said * 99)[:4096] for i in range(80)]
        found[name] = 1000 * statistics.median(guards_side.timed(scan, texts, 5)[0])
    return found


def table(report: dict[str, Any]) -> None:
    print(
        f"\n{PHRASES} phrases, {report['settings']['patterns']} patterns; LLM Guard 0.3.16: {report['settings']['llm_guard']}"
    )
    print(f"{'':22}" + "".join(f"{size + ' characters':>20}" for size in SIZES) + f"{'resident MB':>14}")
    for side in SIDES:
        rows = [report["sizes"][size][side] for size in SIZES]
        cells = "".join(f"{row['median_ms']:>13.3f} ms    " for row in rows)
        print(f"{side:22}{cells}{max(row['resident'] for row in rows) / 1e6:>12.0f}")
    for side in ("llm_guard", "llm_guard_words"):
        found = [report["sizes"][size][f"ratio_vs_{side}"] for size in SIZES]
        print(f"{side + ' / trivet':22}" + "".join(f"{one['median']:>13.0f} x     " for one in found))
    print("4,096 characters of  " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in report["other_scripts_ms"].items()))


def pii_part(given: argparse.Namespace) -> dict[str, Any] | None:
    """What the bench of personal data says, where there is one."""
    spec = importlib.util.find_spec("guards_pii")
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.measure()


def main() -> None:
    given = arguments()
    note = peer_python()[1]
    made = world(given)
    with tempfile.TemporaryDirectory(prefix="bench") as place:
        sizes = compare(made, given, Path(place))
    middle = sizes["4096"]
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    report: dict[str, Any] = {
        "cheap_tier_4kb_ms": middle["trivet_and_secrets"]["median_ms"],
        "blocklist_4kb_ms": middle["trivet"]["median_ms"],
        "ratio_vs_llm_guard": middle["ratio_vs_llm_guard"]["median"],
        "sizes": sizes,
        "other_scripts_ms": other_scripts(made),
        "settings": {
            "phrases": PHRASES, "patterns": len(made["rules"]["patterns"]), "rounds": given.rounds, "passes": given.passes,
            "seed": given.seed, "llm_guard": note, "data": (given.data / "benign").is_dir(), "machine": machine,
        },
    }  # fmt: skip
    table(report)
    if not given.quick and (found := pii_part(given)) is not None:
        report["pii"] = found
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
