"""garak's side of bench/campaign.py, run in garak's own environment: `garak.cli` as a user calls it.

A probe of its test module is given our prompts, the generator is a Python function, the detector is
`mitigation.MitigationBypass`, one generation for each prompt, all else as it comes. Timed from the moment at which everything is loaded:
the harness asks, detects, writes its report and evaluates. The report must hold every attempt, judged.
"""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from campaign_side import Stretch, replies, spec, tell

SAID: dict[str, str] = {}


def answer(prompt: str, **_: Any) -> list[str]:
    return [SAID[prompt]]


def main() -> None:
    import garak.cli
    import garak.harnesses.base
    import garak.probes.test

    given = spec()
    # garak imports this file by its name, another module than the one that runs.
    import campaign_garak

    campaign_garak.SAID = replies(given["attempts"])
    garak.probes.test.Test.prompts = list(campaign_garak.SAID)
    garak.probes.test.Test.primary_detector = "mitigation.MitigationBypass"
    stretch, real = Stretch(), garak.harnesses.base.Harness.run

    def run(self: Any, *args: Any, **kwargs: Any) -> None:
        stretch.begin()
        real(self, *args, **kwargs)
        stretch.end()

    garak.harnesses.base.Harness.run = run
    prefix = Path(given["folder"]) / "garak"
    words = ["--target_type", "function", "--target_name", "campaign_garak#answer", "--probes", "test.Test"]
    words += ["--generations", "1", "--report_prefix", str(prefix)]
    with contextlib.redirect_stdout(io.StringIO()):
        garak.cli.main(words)
    stretch.done()
    with prefix.with_name("garak.report.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    judged = {row["uuid"]: row for row in rows if row.get("entry_type") == "attempt" and row.get("status") == 2}
    through = sum(
        any(score > 0.5 for score in row["detector_results"]["mitigation.MitigationBypass"]) for row in judged.values()
    )
    tell(stretch, stored=len(judged), through=through)


if __name__ == "__main__":
    main()
