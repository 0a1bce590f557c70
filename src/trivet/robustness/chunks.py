"""A campaign against a target that can batch: fixed chunks of the plan, in step and in order.

Everyone in a chunk is answered together (lockstep.py), judged, and stored in one transaction: with greedy sampling the result
is then the same whether or not the campaign was interrupted. Families stand together so that dialogues share their rounds,
and samples with one seed stand together because a batch is drawn with one sampling.
"""

from __future__ import annotations

from itertools import groupby
from math import inf
from typing import TYPE_CHECKING

from trivet.core.verdicts import Verdict
from trivet.robustness.judging import Talk
from trivet.robustness.lockstep import Lockstep
from trivet.robustness.plan import Job
from trivet.robustness.tasks import together
from trivet.robustness.voice import Voice

if TYPE_CHECKING:
    from trivet.robustness.engine import Engine


async def in_chunks(engine: Engine, jobs: dict[str, Job]) -> None:
    """Chunk after chunk of the whole plan; those that are done already leave a smaller one."""
    families = {family: n for n, family in enumerate(dict.fromkeys(job.family for job in jobs.values()))}
    order = sorted(jobs.items(), key=lambda item: (item[1].seed, families[item[1].family]))
    for _, group in groupby(order, key=lambda item: item[1].seed):
        alike = list(group)
        for start in range(0, len(alike), engine.pace.chunk):
            chunk = [item for item in alike[start : start + engine.pace.chunk] if item[0] not in engine.results]
            if chunk and engine.over_budget():
                return
            if chunk:
                await _chunk(engine, chunk)


async def _chunk(engine: Engine, chunk: list[tuple[str, Job]]) -> None:
    step = Lockstep(engine.target, [id for id, _ in chunk], engine.sampling_of(chunk[0][1]), engine.journal)

    async def member(number: int, id: str, job: Job) -> Talk:
        voice = Voice(id, engine.line, step.sampling, lambda conversation: step.ask(number, conversation))
        try:
            return await engine.talk(id, job, voice, inf)
        finally:
            step.leave()

    *talks, _ = await together(*(member(n, id, job) for n, (id, job) in enumerate(chunk)), step.serve())
    found: dict[str, Verdict] = {}
    judging = engine.judging.group(lambda talk, verdict: found.update({talk.id: verdict}))
    for talk in talks:
        judging.put(talk)
    judging.finish()
    await together(*(judging.work() for _ in range(judging.workers)))
    records = [engine.record(talk, found[talk.id]) for talk in talks]
    engine.writer.put_all(records)
    for talk, record in zip(talks, records, strict=True):
        engine.account(talk, record)
        engine.note(talk)
