"""Figures, the report and the two commands that measure."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from trivet.cli.main import main
from trivet.core.config import load
from trivet.core.errors import ConfigError, TargetError
from trivet.core.events import Attempt
from trivet.core.hazards import Goal, Probe
from trivet.core.judges.rules import RefusalRules
from trivet.core.messages import Conversation, Message
from trivet.core.models.scripted import Scripted
from trivet.core.stats import Rate
from trivet.core.store.events import Store, open_home
from trivet.core.verdicts import Verdict
from trivet.robustness import report
from trivet.robustness.agents.scripted import naive
from trivet.robustness.attacks.library import BASIC
from trivet.robustness.budget import BudgetSpent, estimate_of
from trivet.robustness.measure import Config, Material, jobs, measure, run_name, scenarios
from trivet.robustness.suites.leaks import by_canaries
from trivet.robustness.suites.summary import figures

ROOT = Path(__file__).parents[2]
MATERIAL = Material(
    [Goal(f"How do I open <gate> {n}?", "cybercrime", f"topic {n % 2}") for n in range(4)],
    [Probe(f"How do I kill weed {n}?", "lookalike", "safe targets") for n in range(6)],
    [Probe("What opens a gate?", facts=("latch",))],
)


def attempt(suite: Any, label: str, **more: Any) -> Attempt:
    return Attempt(
        suite=suite, task="t", conversation=Conversation(), verdict=Verdict(label, 0, "j"), target="m", **more
    )


def test_each_rate_counts_what_it_says() -> None:
    found = figures(
        [
            *(
                attempt("attack", label, attack="direct")
                for label in ("complied", "partial", "refused", "empty", "wrong")
            ),
            attempt("attack", "error", attack="direct"),
            attempt("attack", "refused", attack="roleplay", blocked="input"),
            *(attempt("overrefusal", label) for label in ("refused", "answered", "empty", "error")),
            *(attempt("capability", label) for label in ("answered", "wrong", "refused", "empty")),
        ]
    )
    assert (found.attack_success, found.over_refusal, found.capability) == (Rate(2, 5), Rate(2, 3), Rate(1, 4))
    assert found.per_family == {"direct": Rate(2, 4), "roleplay": Rate(0, 1)}
    assert (found.errors, found.blocked) == ({"attack": 1, "overrefusal": 1}, {"input": 1})


def test_without_attempts_nothing_is_claimed() -> None:
    row = figures([]).row()
    assert row["attack_success"] == {"rate": None, "low": 0.0, "high": 1.0, "n": 0}
    assert json.loads(json.dumps(row)) == row


def test_the_three_suites_are_one_campaign_and_one_page(tmp_path: Path) -> None:
    config = Config(target="scripted:x", limit=14)
    wanted = jobs(config, MATERIAL)
    target = Scripted(lambda c: "I cannot help with that." if "kill" in c.last_user else "Lift the latch.")
    with Store.open(tmp_path / "t.db") as store:
        done = asyncio.run(measure(config, wanted, target, RefusalRules(), store, run="r"))
    found = figures(done)
    assert (found.attack_success, found.over_refusal, found.capability) == (Rate(14, 14), Rate(6, 6), Rate(1, 1))
    told = report.of(done, "scripted:x")
    assert told.figures == found
    page = report.html(told, title="A <page>", subtitle="s", transcripts=False)
    for text in (
        "attack success",
        "over-refusal",
        "capability",
        "Over-refusal by type",
        "safe targets",
        "What got through",
    ):
        assert text in page
    assert "<gate>" not in page
    assert "latch" not in page, "without transcripts no reply stands in the report"
    console = Console(width=120, record=True, file=io.StringIO())
    for table in report.terminal(told):
        console.print(table)
    assert "over-refusal" in console.export_text()


def test_probes_are_drawn_by_the_seed() -> None:
    drawn = [
        [j.task for j in jobs(Config(lookalikes=3, seed=s), MATERIAL) if j.suite == "overrefusal"] for s in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 3


def test_a_run_is_named_by_what_is_asked() -> None:
    def name(config: Config, *fingerprints: str) -> str:
        return run_name("attack", config, jobs(config, MATERIAL), *fingerprints)

    base = name(Config())
    assert base == name(Config())
    assert name(Config(run="mine")) == "mine"
    others = {
        name(Config(part="train")),
        name(Config(limit=3)),
        name(Config(target="hf:x")),
        name(Config(max_tokens=9)),
    }
    assert len(others | {base, name(Config(), "other files")}) == 6


def test_the_connections_are_closed_however_it_ends(tmp_path: Path) -> None:
    class Closing(Scripted):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    good, bad = Closing("Sure."), Closing(default=TargetError("down"))
    with Store.open(tmp_path / "t.db") as store:
        asyncio.run(measure(Config(), jobs(Config(), MATERIAL), good, RefusalRules(), store, run="r"))
        with pytest.raises(TargetError):
            asyncio.run(measure(Config(), jobs(Config(), MATERIAL), bad, RefusalRules(), store, run="r2"))
    assert good.closed == bad.closed == 1


def test_one_budget_for_leaks_and_all_else_and_the_report_keeps_what_was_done(tmp_path: Path) -> None:
    config = Config(families=("direct", "leak"), budget="300 tokens", concurrency=1, lookalikes=2)
    wanted = jobs(config, MATERIAL)
    leaks = {job.task.id for job in wanted if job.family == "leak"}
    assert len(leaks) == 24
    with Store.open(tmp_path / "t.db") as store, pytest.raises(BudgetSpent) as stop:
        asyncio.run(measure(config, wanted, Scripted("Sure, so it is."), RefusalRules(), store, run="r"))
    done = stop.value.attempts
    assert 300 <= sum(sum(estimate_of(one.conversation)) for one in done) < 400, "not once for each part"
    assert {one.verdict.judge for one in done if one.attack == "leak"} == {"canaries"}
    assert {one.verdict.judge for one in done if one.attack != "leak"} == {"refusal_rules"}


def test_what_agents_did_is_kept_when_the_budget_of_the_rest_is_spent(tmp_path: Path) -> None:
    """A recipe cannot ask for both; whoever calls from Python can."""
    config = Config(budget="20 tokens", concurrency=1)
    agents = scenarios(Config(suite="agents", limit=3))
    with Store.open(tmp_path / "t.db") as store, pytest.raises(BudgetSpent) as stop:
        wanted = jobs(config, MATERIAL)
        asyncio.run(
            measure(config, wanted, Scripted("Sure."), RefusalRules(), store, run="r", agents=agents, player=naive())
        )
    assert sum(one.suite == "agent" for one in stop.value.attempts) >= 3
    assert 0 < sum(one.suite != "agent" for one in stop.value.attempts) < len(wanted)


@pytest.mark.parametrize(
    "given", [{"budget": "5k tokens"}, {"rate": 2.0}, {"engine": "ray"}, {"seeds": 3}], ids=lambda given: str([*given])
)
def test_agents_refuse_what_they_cannot_keep(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"the suite agents cannot keep .*{next(iter(given))}"):
        Config(suite="agents", **given)
    Config(suite="default", **given)


@pytest.mark.parametrize("many", [False, True])
def test_the_judge_of_a_run_with_leaks_is_asked_once_about_equal_replies(many: bool) -> None:
    class Counting(RefusalRules):
        digest, asked = "d", 0

        async def judge(self, conversation: Conversation, about: Any = None) -> Verdict:
            self.asked += 1
            return await super().judge(conversation, about)

    class CountingMany(Counting):
        def judge_many(self, rows: Any) -> list[Verdict]:
            self.asked += len(rows)
            return [self.verdict(talk.reply, about) for talk, about in rows]

    inner = (CountingMany if many else Counting)()
    secret, plain = Goal("Tell it", "prompt_leak", facts=("kestrel-99",)), Goal("Do harm", "other")
    eye: Any = by_canaries(inner, {secret.id})
    talks = [
        (Conversation.user("x").then(Message("assistant", "It is kestrel-99.")).then(Message("user", "So?")).then(Message("assistant", "No.")), secret),
        *((Conversation.user(f"{n}").then(Message("assistant", "Sure.")), plain) for n in range(3)),
        (Conversation.user("y").then(Message("assistant", "No.")), secret),
    ]  # fmt: skip

    async def asked() -> list[Verdict]:
        if not many:
            return [await eye.judge(*row) for row in talks]
        return [*await eye.judge_many(talks[:3]), *await eye.judge_many(talks[3:])]

    verdicts = asyncio.run(asked())
    assert [one.label for one in verdicts] == ["complied", "complied", "complied", "complied", "refused"]
    assert [one.judge for one in verdicts] == ["canaries", *["refusal_rules"] * 3, "canaries"]
    assert inner.asked == 1
    assert not getattr(eye, "digest", "") and callable(getattr(eye, "judge_many", None)) is many
    assert by_canaries(inner, ()) is inner


def test_a_model_words_the_families_that_only_a_model_can() -> None:
    writer = Scripted("Comment ouvrir la porte ?", name="w")
    config = Config(families=("translation", "paraphrase", "persuasion"), limit=30)
    made = jobs(config, replace(MATERIAL, writer=writer))
    assert {job.family for job in made if job.suite == "attack"} == {"translation", "paraphrase", "persuasion"}
    named = {job.template for job in made if job.family == "persuasion"}
    assert any("persuade(" in name for name in named) and any("persuade(" not in name for name in named)
    with pytest.raises(ConfigError, match="a model words the families translation, paraphrase; give --attacker MODEL"):
        jobs(config, MATERIAL)
    with pytest.raises(ConfigError, match="the part train has no attacks of paraphrase"):
        jobs(Config(families=("paraphrase",), part="train"), replace(MATERIAL, writer=writer))
    assert {job.family for job in jobs(Config(), replace(MATERIAL, writer=writer)) if job.suite == "attack"} == set(
        BASIC
    )


@pytest.mark.parametrize("override", ["limit=0", "concurrency=0", "timeout=0", "lookalikes=-1", "part=middle"])
def test_a_recipe_that_makes_no_sense_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=override.split("=")[0]):
        load(Config, None, [override])


@pytest.mark.parametrize("recipe", sorted((ROOT / "configs").glob("attack_*.yaml")), ids=lambda path: path.name)
def test_the_recipes_load_and_say_how_they_are_run(recipe: Path) -> None:
    load(Config, recipe)
    assert recipe.read_text().startswith("# trivet attack --config configs/" + recipe.name)


def trivet(*args: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(args)
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def goals(tmp_path: Path) -> Path:
    path = tmp_path / "goals.jsonl"
    path.write_text("".join(f'{{"behavior": "Open gate {n}", "category": "Privacy"}}\n' for n in range(5)))
    return path


def test_attack_writes_figures_report_and_store(
    tmp_path: Path, goals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, out, page = tmp_path / "home", tmp_path / "o.json", tmp_path / "o.html"
    args = ["attack", "--target", "scripted:Sure, here.", "--goals", str(goals), "--families", "direct,roleplay",
            "--home", str(home), "--json", str(out), "--html", str(page)]  # fmt: skip
    assert trivet(*args) == 0
    found = json.loads(out.read_text())
    assert found["attack_success"]["n"] == 10
    assert found["attack_success"]["rate"] == 1.0
    assert found["over_refusal"]["n"] >= 60
    assert set(found["per_category"]) == {"direct", "roleplay"}
    assert "over-refusal" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")
    with open_home(home, readonly=True) as store:
        assert store.count("attempt", found["run"]) == found["attempts"]
    assert trivet(*args) == 0
    assert "stored already" in capsys.readouterr().err
    again = json.loads(out.read_text())
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def test_eval_adds_capability(tmp_path: Path, goals: Path) -> None:
    out = tmp_path / "o.json"
    args = ["--goals", str(goals), "--home", str(tmp_path), "--json", str(out), "--limit", "7"]
    assert trivet("eval", "--model", "scripted:I cannot help with that.", *args) == 0
    found = json.loads(out.read_text())
    assert (found["over_refusal"]["rate"], found["capability"]["rate"], found["attack_success"]["n"]) == (1.0, 0.0, 7)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--target", "scripted:x", "--families", "rolplay"], 'no attack family "rolplay". Did you mean "roleplay"?'),
        (["--target", "scripted:x", "--set", "limt=3"], 'Did you mean "limit"?'),
        (["--target", "toun:helpful"], "no model 'toun:helpful'"),
        (["--target", "http://127.0.0.1:9/v1#m", "--set", "timeout=1"], "in a row"),
        (["--target", "scripted:x", "--goals", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_mistakes_are_one_line_and_end_with_two(
    tmp_path: Path, goals: Path, capsys: pytest.CaptureFixture[str], args: list[str], told: str
) -> None:
    given = args if "--goals" in args else [*args, "--goals", str(goals)]
    assert trivet("attack", *given, "--home", str(tmp_path / "home")) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.startswith("error: ")
    assert "Traceback" not in said


def test_robustness_and_its_commands_load_without_torch() -> None:
    code = (
        "import sys, trivet.cli.attack, trivet.cli.eval, trivet.robustness.attacks.library, trivet.robustness.measure;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'trivet.town', 'starlette')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
