"""One side of bench/guards.py: the rules made into its scanner, every text scanned, each scan timed. Runs in that side's own Python.

    python guards_side.py TASK.json RESULT.json

Every text is scanned `passes` times, all texts between two scans of the same, so that nothing remembered from the last scan is timed
(Trivet keeps the readings of 64 texts); of a text's times the least counts, since what else the machine did can only add.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Scan = Callable[[str], bool]


def trivet(rules: dict[str, Any]) -> Scan:
    """Blocklist: all rules, on every view of the text."""
    from trivet.monitoring.guards.blocklist import Blocklist

    guard = Blocklist(rules["phrases"], rules["patterns"])
    return lambda text: guard.scan(text).score > 0


def trivet_and_secrets(rules: dict[str, Any]) -> Scan:
    """The whole cheap tier: the same and the search for secrets, sharing one reading."""
    from trivet.monitoring.guards.blocklist import Blocklist
    from trivet.monitoring.guards.secrets import Secrets

    guard, secrets = Blocklist(rules["phrases"], rules["patterns"]), Secrets()
    return lambda text: guard.scan(text).score > 0 or secrets.scan(text).score > 0


def llm_guard(rules: dict[str, Any], match: str = "str") -> Scan:
    """BanSubstrings (its default, substrings in any case) and then Regex, both with their defaults; log lines off."""
    whole = _llm_guard_modules()
    ban = whole["BanSubstrings"](rules["phrases"], match_type=match)
    regex = whole["Regex"](rules["patterns"])

    def scan(text: str) -> bool:
        return not (ban.scan(text)[1] and regex.scan(text)[1])

    return scan


def llm_guard_words(rules: dict[str, Any]) -> Scan:
    """The same, matching whole words as Trivet does."""
    return llm_guard(rules, "word")


def _llm_guard_modules() -> dict[str, Any]:
    """The two scanners; where not all of LLM Guard is installed, from their own files without the package's other imports."""
    try:
        from llm_guard.input_scanners import BanSubstrings, Regex
    except ImportError:
        import types

        import llm_guard

        package = types.ModuleType("llm_guard.input_scanners")
        package.__path__ = [str(Path(llm_guard.__file__).parent / "input_scanners")]
        sys.modules["llm_guard.input_scanners"] = package
        from llm_guard.input_scanners.ban_substrings import BanSubstrings
        from llm_guard.input_scanners.regex import Regex
    from llm_guard.util import configure_logger

    configure_logger(log_level="CRITICAL")
    return {"BanSubstrings": BanSubstrings, "Regex": Regex}


SIDES: dict[str, Callable[[dict[str, Any]], Scan]] = {
    "trivet": trivet,
    "trivet_and_secrets": trivet_and_secrets,
    "llm_guard": llm_guard,
    "llm_guard_words": llm_guard_words,
}


def timed(scan: Scan, texts: list[str], passes: int) -> tuple[list[float], list[bool]]:
    """The least seconds of each text, and what was said of it."""
    least, said = [float("inf")] * len(texts), [False] * len(texts)
    for _ in range(passes):
        for number, text in enumerate(texts):
            begun = time.perf_counter()
            said[number] = scan(text)
            least[number] = min(least[number], time.perf_counter() - begun)
    return least, said


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    begun = time.perf_counter()
    scan = SIDES[task["side"]](task["rules"])
    result: dict[str, Any] = {"load_seconds": time.perf_counter() - begun, "sizes": {}}
    for size, texts in task["texts"].items():
        seconds, said = timed(scan, texts, task["passes"])
        result["sizes"][size] = {"seconds": seconds, "found": said}
    result["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
