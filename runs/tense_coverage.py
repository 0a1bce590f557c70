"""What share of requests the rules for the past tense take, by rule, for files of goals.

    .venv/bin/python runs/tense_coverage.py behaviors/*.jsonl.gz [--show N]

A file holds JSON Lines with `behavior`, plain or gzipped. `--show N` prints N examples of what no rule takes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from trivet.core.stats import Rate
from trivet.robustness.converters.tense import rule
from trivet.robustness.goals import load_goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--show", type=int, default=0)
    given = parser.parse_args()
    for path in given.files:
        requests = [goal.request for goal in load_goals(path)]
        rules = Counter(map(rule, requests))
        taken = Rate(len(requests) - rules["reported"], len(requests))
        print(f"{path.name:<32} {taken}   {', '.join(f'{name} {count}' for name, count in rules.most_common())}")
        for text in [text for text in requests if rule(text) == "reported"][: given.show]:
            print(f"    {text}")


if __name__ == "__main__":
    main()
