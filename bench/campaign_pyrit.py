"""PyRIT's side of bench/campaign.py, run in PyRIT's own environment: PromptSendingAttack with its SQLite memory.

The objective scorer is a substring scorer, inverted (a refusal is none of the two it looks for), the cheapest that PyRIT has. Timed from
the moment at which everything is loaded until the executor has returned all results, which are then in the memory's file. `concurrency` is
the executor's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from campaign_side import Stretch, replies, spec, tell


async def main() -> None:
    from pyrit.executor.attack import AttackExecutor, AttackScoringConfig, PromptSendingAttack
    from pyrit.memory import CentralMemory
    from pyrit.models import Message, construct_response_from_request
    from pyrit.prompt_target import PromptTarget
    from pyrit.score import RegexScorer, TrueFalseInverterScorer
    from pyrit.setup import initialize_pyrit_async

    class Instant(PromptTarget):
        async def _send_prompt_to_target_async(self, *, normalized_conversation: list[Message]) -> list[Message]:
            asked = normalized_conversation[-1].message_pieces[0]
            text = said[asked.converted_value]
            return [construct_response_from_request(request=asked, response_text_pieces=[text])]

        def _validate_request(self, *, normalized_conversation: list[Message]) -> None: ...

    given = spec()
    said = replies(given["attempts"])
    path = Path(given["folder"]) / "pyrit.db"
    await initialize_pyrit_async("SQLite", load_defaults=False, env_files=[], silent=True, db_path=str(path))
    refusal = RegexScorer(patterns={"refusal": r"^(I'm sorry|I cannot)"})
    scoring = AttackScoringConfig(objective_scorer=TrueFalseInverterScorer(scorer=refusal))
    attack = PromptSendingAttack(objective_target=Instant(), attack_scoring_config=scoring)
    executor, stretch = AttackExecutor(max_concurrency=given["concurrency"]), Stretch()
    stretch.begin()
    done = await executor.execute_attack_async(attack=attack, objectives=list(said))
    stretch.end()
    memory = CentralMemory.get_memory_instance()
    kept = memory.get_attack_results()
    through = sum(result.outcome.value == "success" for result in done.get_results())
    tell(stretch, stored=len(kept), through=through)


if __name__ == "__main__":
    asyncio.run(main())
