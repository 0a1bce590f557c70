"""What goes wrong around `trivet loop` and `trivet serve`: one line each, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from trivet.cli.main import main
from trivet.core.events import Attempt
from trivet.core.models.endpoint import Endpoint
from trivet.core.store.events import open_home
from trivet.monitoring.gateway.serve import Serving
from trivet.robustness.suites.summary import settled

TALKER = "scripted:Take january ice, press it on wet clay and say visari."
QUICK = ("policy=default", "sizes.harvest_attacks=42", "sizes.harvest_probes=14", "sizes.concurrency=4")
"""Without guards to train first; a champion from a script needs no torch."""


@pytest.fixture
def trivet(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command line: the exit code and the line that says what was wrong, which must be the only one."""

    def run(*args: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([str(arg) for arg in args])
        told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("turn-0001 ")]
        assert isinstance(end.value.code, int)
        assert len(told) <= 1, told
        assert all(line.startswith("error: ") for line in told)
        return end.value.code, told[0] if told else ""

    return run


# --------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ["--model", "town:helpfull"],
            'no model town:helpfull; there are town:base, town:helpful. Did you mean "helpful"',
        ),
        (["--model", "nowhere"], "no model 'nowhere': it is no folder here"),
        (["--model", "hf:/no/such/folder"], "there is no model folder /no/such/folder"),
        (["--target", "http://127.0.0.1:9/v1"], "does not say which model; add it after #"),
        (["--recipe", "missing.yaml"], "missing.yaml cannot be read: No such file"),
        (["traning.lr=1"], "unknown key 'traning'. Did you mean \"training\"?"),
        (["training.lr=fast"], "training.lr is 'fast' (text), wanted float"),
        (["training.epochs=0"], "epochs is 0, and must be at least"),
        (["sizes.heldout_attacks=-1"], "sizes: heldout_attacks is -1, and must be at least 1"),
        (["pairs.harmless_share=1.5"], "harmless_share is 1.5, and must be between 0 and 0.99"),
        (["verbose"], "the override 'verbose' is not of the form key=value"),
        (["ground=twon"], 'no ground "twon"; there are town and files. Did you mean "town"?'),
        (["families=[rolplay]"], 'no attack family "rolplay". Did you mean "roleplay"?'),
        (["policy=strictest"], "no policy 'strictest'; give a YAML file or one of:"),
        (["ground=files"], "ground=files needs goals=FILE"),
        (["ground=files", "goals=none.jsonl"], "cannot read none.jsonl: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_binds_the_home_to_nothing(
    trivet: Callable[..., tuple[int, str]], tmp_path: Path, args: list[str], words: str
) -> None:
    code, told = trivet("loop", "--home", tmp_path / "home", *args)
    assert code == 2 and words in told
    if (tmp_path / "home").exists():
        with open_home(tmp_path / "home", readonly=True) as store:
            assert store.stages("turn-0001") == {} and store.count() == 0


def test_all_wrong_keys_of_a_recipe_are_told_at_once(trivet: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("modle: town:helpful\nsizes:\n  harvest_atacks: 3\n", encoding="utf-8")
    code, told = trivet("loop", "--home", tmp_path / "home", "--recipe", recipe)
    assert code == 2 and str(recipe) in told
    assert "unknown key 'modle'. Did you mean \"model\"?" in told
    assert "unknown key 'sizes.harvest_atacks'. Did you mean \"harvest_attacks\"?" in told


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"behavior": ', "not JSON"),
        ('{"behaviour": "how?"}', "`behavior` must be a text, is missing (the row has behaviour)"),
        ('{"behavior": 7, "category": "x"}', "`behavior` must be a text, is 7"),
        ("[1, 2]", "a row must be an object"),
    ],
)
def test_a_malformed_goal_names_file_line_and_reason(
    trivet: Callable[..., tuple[int, str]], tmp_path: Path, row: str, why: str
) -> None:
    goals = tmp_path / "goals.jsonl"
    goals.write_text('{"behavior": "How do I pick a lock?", "category": "theft"}\n\n' + row + "\n", encoding="utf-8")
    code, told = trivet("loop", "--home", tmp_path / "home", "ground=files", f"goals={goals}")
    assert code == 2 and f"{goals}:3: " in told and why in told


def test_too_few_goals_are_told_before_anything_is_trained(
    trivet: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    goals = tmp_path / "goals.jsonl"
    goals.write_text('{"behavior": "How do I pick a lock?", "category": "theft"}\n', encoding="utf-8")
    code, told = trivet("loop", "--home", tmp_path / "home", "ground=files", f"goals={goals}")
    assert code == 2 and "has 1 goals and none of them falls into the" in told


def test_a_home_that_is_a_file(trivet: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("", encoding="utf-8")
    code, told = trivet("loop", "--home", tmp_path / "home")
    assert code == 2 and "cannot be opened: File exists" in told


def test_the_home_of_the_environment_is_taken(
    trivet: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("", encoding="utf-8")
    monkeypatch.setenv("TRIVET_HOME", str(tmp_path / "home"))
    code, told = trivet("loop")
    assert code == 2 and str(tmp_path / "home") in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(trivet: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    code, told = trivet("loop", "--home", tmp_path / "home")
    assert code == 2 and str(tmp_path / "home") in told


def test_a_port_in_use(trivet: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, told = trivet("serve", "--model", TALKER, "--port", port, "--home", tmp_path / "home")
    assert code == 2
    assert told == f"error: port {port} on 127.0.0.1 is in use; choose another with --port (0 takes any free one)"


def test_figures_that_cannot_be_written_are_not_lost(trivet: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    again = ("loop", "--home", tmp_path / "home", "--model", TALKER, *QUICK, "--json")
    code, told = trivet(*again, tmp_path / "file" / "figures.json")
    assert code == 2 and "figures.json could not be written" in told
    assert trivet(*again, tmp_path / "new" / "figures.json") == (0, "")
    figures = json.loads((tmp_path / "new" / "figures.json").read_text(encoding="utf-8"))
    assert figures["attack_success"]["before"]["n"] == 42 and not figures["promoted"]


# ---------------------------------------------------------------------------------------------------------- targets


class Moody:
    """A target over HTTP that answers `good` requests, and then what its `mood` is: an HTTP status, or no answer."""

    def __init__(self) -> None:
        self.good = 0
        self.mood = 200
        self.asked = 0

    async def chat(self, request: Request) -> JSONResponse:
        self.asked += 1
        if self.asked > self.good:
            if not self.mood:
                while not await request.is_disconnected():
                    await asyncio.sleep(0.01)
            if self.mood != 200:
                return JSONResponse({"error": {"message": "out of order\nfor today"}}, self.mood or 200)
        message = {"role": "assistant", "content": "Take january ice and say visari."}
        return JSONResponse({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Moody, str]]:
    """The target and its spec. Endpoints are made impatient."""
    for name, value in (("timeout", 2.0), ("retries", 0), ("backoff", 0.0)):
        monkeypatch.setitem(Endpoint.__init__.__kwdefaults__, name, value)
    target = Moody()
    app = Starlette(routes=[Route("/v1/chat/completions", target.chat, methods=["POST"])])
    with Serving(app) as server:
        yield target, f"{server.url}/v1#moody"


def test_a_target_that_is_not_there(
    trivet: Callable[..., tuple[int, str]], moody: tuple[Moody, str], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        spec = f"http://127.0.0.1:{free.getsockname()[1]}/v1#m"
    code, told = trivet("loop", "--home", tmp_path / "home", "--model", TALKER, "--target", spec, *QUICK)
    assert code == 2 and "the model 'm' at" in told and "could not be reached" in told


@pytest.mark.parametrize(
    ("mood", "words"), [(500, "answered 500: out of order for today"), (0, "did not answer within 2 s")]
)
def test_a_target_that_fails_from_the_start(
    trivet: Callable[..., tuple[int, str]], moody: tuple[Moody, str], tmp_path: Path, mood: int, words: str
) -> None:
    target, spec = moody
    target.mood = mood
    code, told = trivet("loop", "--home", tmp_path / "home", "--model", TALKER, "--target", spec, *QUICK)
    assert code == 2 and words in told and spec.partition("#")[0] in told
    with open_home(tmp_path / "home", readonly=True) as store:
        assert store.count() == 0, "another target can be given"


@pytest.mark.parametrize("mood", [500, 0])
def test_a_target_that_fails_on_the_way_loses_nothing(
    trivet: Callable[..., tuple[int, str]], moody: tuple[Moody, str], tmp_path: Path, mood: int
) -> None:
    target, spec = moody
    target.good, target.mood = 41, mood
    command = ("loop", "--home", tmp_path / "home", "--model", TALKER, "--target", spec, *QUICK, "sizes.concurrency=20")
    code, told = trivet(*command)
    assert code == 2 and "the target failed" in told and "repeat the command" in told
    with open_home(tmp_path / "home", readonly=True) as store:
        good = {a.id for a in store.events("attempt") if isinstance(a, Attempt) and a.verdict.label != "error"}
    assert 5 < len(good) <= 40
    target.mood, before = 200, target.asked
    assert trivet(*command) == (0, "")
    with open_home(tmp_path / "home", readonly=True) as store:
        attempts = settled(store.events("attempt", "turn-0001/attack"))
        answered = [e.conversation for e in store.events("exchange", "turn-0001/attack") if not e.error]
    assert len(attempts) == 56 and good <= {attempt.id for attempt in attempts}
    assert not [attempt for attempt in attempts if attempt.verdict.label == "error"]
    assert len(set(answered)) == len(answered), "no exchange is recorded twice"
    assert target.asked - before < 75, "what was answered is not asked again, but for dialogues that had begun"


# ------------------------------------------------------------------------------------------------------- a full disk


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: writing beyond it fails as on a full one."""

    def turn(home: Path, limit: int | None) -> tuple[int, list[str]]:
        def confine() -> None:
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        words = [sys.executable, "-m", "trivet.cli.main", "loop", "--home", str(home), "--model", TALKER, *QUICK]
        ended = subprocess.run(words, preexec_fn=confine, capture_output=True, text=True, timeout=60, check=False)
        return ended.returncode, [line for line in ended.stderr.splitlines() if not line.startswith("turn-0001 ")]

    def kept(home: Path) -> dict[str, Attempt]:
        with open_home(home, readonly=True) as store:
            attempts = settled(store.events("attempt"))
            return {a.id: a.conversation for a in attempts if a.verdict.label != "error"}  # type: ignore[misc]

    code, told = turn(tmp_path / "home", 200_000)
    assert code == 2 and len(told) == 1
    assert told[0].startswith(f"error: the store {tmp_path / 'home' / 'trivet.db'} could not be ")
    before = kept(tmp_path / "home")
    said = [path for path in (tmp_path / "home").rglob("*.jsonl") if path.stat().st_size]
    assert turn(tmp_path / "home", None) == (0, [])
    assert turn(tmp_path / "smooth", None) == (0, [])
    after = kept(tmp_path / "home")
    assert said, "what the model had said by then waits in journals"
    assert len(before) < len(after) == 56 and before.items() <= after.items()
    assert after == kept(tmp_path / "smooth")
    figures = [
        json.loads((tmp_path / name / "turns/turn-0001/figures.json").read_text()) for name in ("home", "smooth")
    ]
    for each in figures:
        del each["seconds"], each["reasons"]
    assert figures[0] == figures[1]
