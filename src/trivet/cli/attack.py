"""`trivet attack`: what gets through to a model, family by family, and how often it refuses what is harmless."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from trivet.core.config import load
from trivet.robustness.measure import Config

FILE = click.Path(path_type=Path, dir_okay=False)
HOME = click.option(
    "--home", type=click.Path(path_type=Path), help="The home folder.  [default: $TRIVET_HOME or .trivet]"
)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every measuring command shares."""
    for option in reversed(
        (
            click.option("--goals", metavar="FILE", help="JSON Lines of goals, or `town`, or `packaged`."),
            click.option(
                "--judge", help="auto, oracle, classifier, rules, a .npz of yours, or a model as for the target."
            ),
            click.option("--limit", type=int, help="At most so many attacks, evenly chosen."),
            click.option("--config", "--recipe", "recipe", type=FILE, help="A recipe; the options here come after it."),
            click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any key of the recipe."),
            click.option("--concurrency", type=int, help="Requests to an endpoint at the same time."),
            click.option("--run", help="The name of the run; the same name goes on where it stopped."),
            HOME,
            click.option("--json", "json_path", type=FILE, help="Write the figures to this file."),
            click.option("--html", "html_path", type=FILE, help="Write the report to this file."),
        )
    ):
        command = option(command)
    return command


def attack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `trivet attack` alone."""
    for option in reversed(
        (
            click.option("--target", help="The model: town:NAME, hf:NAME_OR_PATH, a folder, http://HOST/v1#MODEL ..."),
            click.option("--suite", help="What is asked: see `trivet attack list`.  [default: default]"),
            click.option("--families", help="Attack families, with commas between; default: those of the suite."),
            click.option(
                "--part",
                type=click.Choice(["train", "heldout"]),
                help="Which half of the templates.  [default: heldout]",
            ),
            click.option("--probes", type=FILE, help="Over-refusal probes: ours, XSTest, OR-Bench, OKTest, NotInject."),
            click.option("--cases", type=FILE, help="Regression cases.  [default: regression.jsonl in the home]"),
            click.option(
                "--attacker", help="Who writes dialogues and wordings: template, or a model as for the target."
            ),
            click.option("--judge-card", type=FILE, help="The judge's card, by `trivet judge eval --card`."),
            click.option("--seeds", type=int, help="Samples of each attack, for hit@k."),
            click.option(
                "--temperature", type=float, help="How replies are drawn.  [default: 0; 1 with several seeds]"
            ),
            click.option("--budget", help="What it may cost, like '200k tokens' or '$5'; what is done is kept."),
            click.option("--engine", type=click.Choice(["local", "ray"]), help="Where attempts are made."),
        )
    ):
        command = option(command)
    return command


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is written, what must be kept, and how often."""
    for option in reversed(
        (
            click.option("--jsonl", "jsonl_path", type=FILE, help="Write every attempt with its transcript."),
            click.option("--junit", "junit_path", type=FILE, help="Write JUnit XML."),
            click.option("--sarif", "sarif_path", type=FILE, help="Write SARIF 2.1.0."),
            click.option("--avid", "avid_path", type=FILE, help="Write a report for the AI Vulnerability Database."),
            click.option(
                "--threshold", "thresholds", multiple=True, metavar="NAME=VALUE",
                help="Leave with 1 beyond it: asr=0.05, overrefusal=0.1, asr.roleplay=0.2 ... May be repeated.",
            ),
            click.option("--every", metavar="TIME", help="Again and again, like 6h; a significant rise raises an alert."),
            click.option("--times", type=click.IntRange(1), help="With --every: so often, then end."),
            click.option(
                "--keep-cases/--no-cases", "keep_cases", default=True, show_default=True,
                help="Whether what got through becomes a regression case.",
            ),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@attack_options
@output_options
@report_options
@click.pass_context
def attack(
    ctx: click.Context, recipe: Path | None, overrides: tuple[str, ...], families: str | None, home: Path | None,
    thresholds: tuple[str, ...], every: str | None, times: int | None, keep_cases: bool, **given: Any,
) -> None:  # fmt: skip
    """Attack a model or an endpoint and measure what gets through.

    Every attempt is stored in the home folder; the same command goes on where it was stopped. Over-refusal is measured
    in the same run. Leaves with 0 where all is well, 1 where a threshold or a regression case failed, 2 where the command
    or the target did.
    """
    if ctx.invoked_subcommand is not None:
        return
    from trivet.cli.attack_measure import Outputs, measured
    from trivet.cli.attack_schedule import again
    from trivet.robustness.suites.catalogue import suite

    paths = {name: given.pop(f"{name}_path") for name in Outputs._fields}
    if families is not None:
        given["families"] = "[" + families + "]"
    config = load(Config, recipe, [*as_overrides(given), *overrides])
    if not suite(config.suite).benign and not any(text.startswith("benign=") for text in overrides):
        config = replace(config, benign=0)  # that is what `trivet eval` is for
    outputs = Outputs(**paths)
    if every is not None:
        ctx.exit(again(config, home, outputs, thresholds, keep_cases, every, times))
    ctx.exit(measured("attack", config, home, outputs, thresholds, keep_cases=keep_cases).code)


def as_overrides(given: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in given.items() if value is not None]


@attack.command("compare", short_help="Compare two runs, question by question.")
@click.argument("before")
@click.argument("after")
@HOME
@click.option("--json", "json_path", type=FILE, help="Write the comparison to this file.")
@click.pass_context
def compare(ctx: click.Context, before: str, after: str, home: Path | None, json_path: Path | None) -> None:
    """Compare two runs over the same questions: names of runs, or files written with --json or --jsonl.

    Leaves with 1 where the second is significantly worse, on these goals (McNemar) and by goal.
    """
    from trivet.cli.attack_compare import compared

    ctx.exit(compared(before, after, home, json_path))


@attack.command("chat", short_help="Talk to a target, with converters at hand.")
@click.option("--target", default="scripted", show_default=True, help="The model, as for `trivet attack`.")
@click.option("--judge", default="auto", show_default=True, help="Who judges each turn.")
@click.option("--goal", "request", default="", help="What is wanted, for the judge.")
@click.option("--hazard", default="other", show_default=True, help="The hazard of the goal.")
@click.option("--run", default="", help="The name under which turns are stored.")
@HOME
def chat(target: str, judge: str, request: str, hazard: str, run: str, home: Path | None) -> None:
    """Attack by hand: a session in which each turn is judged and stored. Type /help for what there is."""
    from trivet.cli.attack_chat import talk

    talk(target, judge, request, hazard, run, home)


@attack.command("list", short_help="List suites, families, dialogues and converters.")
@click.option("--json", "json_path", type=FILE, help="Write the lists to this file.")
def listed(json_path: Path | None) -> None:
    """List the suites, the attack families, the dialogues and the converters."""
    from trivet.cli.attack_list import show

    show(json_path)
