"""kill -9 at random moments: the small form of runs/campaign_kill.py, and that it would see what it looks for."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import campaign_kill


def test_killed_and_resumed_is_the_same_file_and_nothing_heard_is_asked_again(tmp_path: Path) -> None:
    told = asyncio.run(campaign_kill.tried(tmp_path, kills=3, goals=10, concurrency=4, seed=1))
    assert told["same"]
    assert told["lost"] == told["repeated"] == told["leftovers"] == 0
    assert told["in_flight"] <= told["in_flight_at_most"] == 12
    assert told["attempts"] == 80


def test_what_was_heard_is_read_from_store_and_journal(tmp_path: Path) -> None:
    """A process that dies between reply and store has left its replies; when they are stored they count as before."""
    target = campaign_kill.Target()

    async def tried() -> tuple[Counter[str], Counter[str], Counter[str]]:
        server = await asyncio.start_server(target.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        path = tmp_path / "one.db"
        process = campaign_kill._start(path, url, 10, 4)
        while len(target.calls) < 30:
            await asyncio.sleep(0.002)
        process.kill()
        await asyncio.to_thread(process.wait)
        await asyncio.sleep(0.1)
        midway, asked = campaign_kill.heard(path), Counter(target.calls)
        await campaign_kill._ended(campaign_kill._start(path, url, 10, 4))
        server.close()
        return midway, asked, campaign_kill.heard(path)

    midway, asked, whole = asyncio.run(tried())
    assert not midway - asked, "nothing was heard that was not asked"
    assert sum(asked.values()) - 4 <= sum(midway.values()), "all but what was under way"
    assert not midway - whole
    assert sum(whole.values()) == sum(Counter(target.calls).values()) - sum((asked - midway).values())
