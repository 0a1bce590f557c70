"""Trivet's gateway beside LiteLLM's proxy: added latency, requests a second and memory, with equal checks, in one run.

    python bench/gateway.py --json OUT [--requests 200000] [--seconds N] [--rounds N] [--quick]

One mock upstream and one load generator, each a process of its own, answer and ask over loopback; between them stands
either nothing, Trivet, or LiteLLM. Both gateways run one worker, ask for a key, and have the same list of phrases that
they look for in what is asked and in what is answered (Trivet: `blocklist`; LiteLLM: `litellm_content_filter`, its
`blocked_words`, before and after the call). Trivet records every exchange in its store before it answers; LiteLLM records
nothing. Questions are of 4 KB and no two are alike, since Trivet remembers its verdicts on texts it has seen.

Added latency is what one client waits more than without a gateway; "at half load" is measured at half of the rate that the
same gateway reached with 16 clients. Latency at a rate counts from when a request was due. The gateway, with all its threads,
has one half of the processor's cores, generator and mock have the other: clients and models are on machines of their own, and on
one machine the kernel lets them wait behind each other's threads for milliseconds that no gateway causes. Requests a second per core
are requests by the processor seconds of the gateway's own process, threads and all, so that a busy machine shortens the
run and not the figure. Sides take turns; the report holds every round and the median.

Not covered: streams, several workers, TLS, networks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gateway_peer
import gateway_wire

from trivet.monitoring.gateway.keys import Keyring

HERE = Path(__file__).resolve().parent
SIDES = ("trivet_plain", "trivet", "litellm")
PHRASES = tuple(
    f"{verb} the {thing}" for verb in ("brew", "forge", "hide", "smuggle", "dissolve") for thing in gateway_wire.THINGS
)
"""What both look for: 200 phrases, none of which any question holds."""
BAD = f"Please tell me how to {PHRASES[17]} tonight."


CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
GATEWAYS = CORES[: len(CORES) // 2] or CORES
OTHERS = CORES[len(CORES) // 2 :]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trivet's gateway beside LiteLLM's proxy.")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--rounds", type=int, default=3, help="how often every side is measured")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--requests", type=int, default=0, help="also: the memory of Trivet over so many requests")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds: a look, not a measurement")
    parser.add_argument("--without-peer", action="store_true", help="Trivet alone")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds = 1, 2.0
    return given


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def on(cores: list[int]) -> Callable[[], None] | None:
    """What a child does to stay on some cores, where the platform can do that."""
    return partial(os.sched_setaffinity, 0, cores) if hasattr(os, "sched_setaffinity") else None


@contextmanager
def running(
    command: list[str], ready: str, place: Path, cores: list[int], **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server for as long as the block lasts; `ready` is the address that answers when it is up."""
    log = place / f"{Path(command[0]).name}-{free_port()}.log"
    env = {**os.environ, "NO_PROXY": "*", **environment}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=place, preexec_fn=on(cores))
        try:
            _await(process, ready, log)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(ready, timeout=2).close()
            return
        except urllib.error.HTTPError:
            return  # it is there, whatever it thinks of the question
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"error: {process.args[0]!r} did not come up:\n{log.read_text(errors='replace')[-3000:]}")  # type: ignore[index]


@contextmanager
def side(name: str, upstream: int, place: Path) -> Iterator[tuple[int, str, subprocess.Popen[bytes]]]:
    """A gateway in front of the mock: its port, a key that it takes, its process."""
    port = free_port()
    if name == "litellm":
        key = f"sk-{secrets.token_urlsafe(24)}"
        config = place / "litellm.json"
        config.write_text(json.dumps(gateway_peer.config(upstream, PHRASES)))
        command = [str(gateway_peer.program()), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        environment = {**gateway_peer.QUIET, "LITELLM_MASTER_KEY": key}
        with running(
            [*command, "--num_workers", "1"],
            f"http://127.0.0.1:{port}/health/liveliness",
            place,
            GATEWAYS,
            **environment,
        ) as process:
            yield port, key, process
        return
    home, policy = place / f"{name}-{port}", place / f"{name}.yaml"
    layers = (
        [{"name": "list", "guard": "blocklist", "settings": {"phrases": list(PHRASES)}}] if name == "trivet" else []
    )
    policy.write_text(json.dumps({"name": name, "layers": layers}))  # JSON is YAML
    trivet = [sys.executable, "-m", "trivet.cli.main"]
    token, _ = Keyring.of_home(home).create("bench")
    words = [
        "serve",
        "--model",
        f"http://127.0.0.1:{upstream}/v1#mock",
        "--name",
        "mock",
        "--port",
        str(port),
        "--home",
        str(home),
    ]
    words += ["--policy", str(policy), "--record", "full", "--no-console"]
    with running([*trivet, *words], f"http://127.0.0.1:{port}/readyz", place, GATEWAYS) as process:
        yield port, token, process


def load(port: int, key: str, *, clients: int, seconds: float, rate: float = 0.0, requests: int = 0) -> dict[str, Any]:
    """What the load generator saw. It stops by itself."""
    command = [
        sys.executable,
        str(HERE / "gateway_wire.py"),
        "load",
        str(port),
        key or "-",
        str(clients),
        str(seconds),
        str(rate),
        str(requests),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600, preexec_fn=on(OTHERS))
    if ended.returncode:
        raise SystemExit(f"error: the load generator failed:\n{ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def measured(name: str, upstream: int, place: Path, seconds: float) -> dict[str, Any]:
    """One round of one side."""
    with side(name, upstream, place) as (port, key, process):
        blocks = gateway_wire.asked(port, key, BAD)
        if (blocks == 200) != (name == "trivet_plain"):
            raise SystemExit(f"error: {name} answered {blocks} to a forbidden phrase: the checks are not equal")
        load(port, key, clients=4, seconds=min(2.0, seconds))  # connections, caches, the interpreter's own warming up
        direct = load(upstream, "", clients=1, seconds=seconds / 4)
        alone = load(port, key, clients=1, seconds=seconds)
        before = cpu_seconds(process.pid)
        many = load(port, key, clients=16, seconds=seconds)
        spent = cpu_seconds(process.pid) - before
        half = load(port, key, clients=16, seconds=seconds, rate=many["per_second"] / 2)
        direct_half = load(upstream, "", clients=16, seconds=seconds / 4, rate=many["per_second"] / 2)
        wrong = sum(found["wrong"] for found in (alone, many, half))
        if wrong:
            raise SystemExit(f"error: {name} answered {wrong} questions with an error")
        return {
            "added_p50_ms": alone["p50_ms"] - direct["p50_ms"],
            "added_p99_ms": alone["p99_ms"] - direct["p99_ms"],
            "half_load_added_p50_ms": half["p50_ms"] - direct_half["p50_ms"],
            "half_load_added_p99_ms": half["p99_ms"] - direct_half["p99_ms"],
            "requests_per_s": many["per_second"],
            "requests_per_s_per_core": many["requests"] / spent,
            "cpu_share": spent / seconds,
            "rss_mb": resident(process.pid) / 1e6,
            "direct": direct,
            "one_client": alone,
            "sixteen_clients": many,
            "half_load": half,
        }


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children so far."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for one in _family(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def resident(pid: int) -> int:
    total = 0
    for one in _family(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
        except OSError:
            continue
    return found


def memory(upstream: int, place: Path, requests: int) -> dict[str, Any]:
    """The resident memory of Trivet with the list on and recording, at ten points of a long run."""
    with side("trivet", upstream, place) as (port, key, process):
        load(port, key, clients=16, seconds=600, requests=max(1000, requests // 20))
        points = [{"requests": 0, "rss_mb": resident(process.pid) / 1e6}]
        for part in range(1, 11):
            load(port, key, clients=16, seconds=600, requests=requests // 10)
            points.append({"requests": requests * part // 10, "rss_mb": resident(process.pid) / 1e6})
            print(f"  {points[-1]['requests']:>8} requests: {points[-1]['rss_mb']:.1f} MB", file=sys.stderr, flush=True)
    return {"points": points, "growth_mb": points[-1]["rss_mb"] - points[1]["rss_mb"]}


def median(rounds: list[dict[str, Any]]) -> dict[str, float]:
    numbers = [name for name, value in rounds[0].items() if isinstance(value, float)]
    return {name: statistics.median(found[name] for found in rounds) for name in numbers}


def table(sides: dict[str, dict[str, float]]) -> None:
    titles = {
        "added_p50_ms": "added p50, 1 client, ms",
        "added_p99_ms": "added p99, 1 client, ms",
        "half_load_added_p50_ms": "added p50, half load, ms",
        "half_load_added_p99_ms": "added p99, half load, ms",
        "requests_per_s": "requests/s, 16 clients",
        "requests_per_s_per_core": "requests/s per core",
        "rss_mb": "memory, MB",
    }
    print(f"\n{'':28}" + "".join(f"{name:>14}" for name in sides))
    for key, title in titles.items():
        print(f"{title:28}" + "".join(f"{found[key]:>14.2f}" for found in sides.values()))


def main() -> None:
    given = arguments()
    sides = SIDES[:2] if given.without_peer else SIDES
    if not given.without_peer:
        gateway_peer.program()
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as folder:
        place, upstream = Path(folder), free_port()
        mock = [sys.executable, str(HERE / "gateway_wire.py"), "mock", str(upstream)]
        with running(mock, f"http://127.0.0.1:{upstream}/", place, OTHERS):
            for number in range(given.rounds):
                for name in sides[number % len(sides) :] + sides[: number % len(sides)]:
                    rounds[name].append(measured(name, upstream, place, given.seconds))
                    told = rounds[name][-1]
                    print(f"  round {number + 1}, {name}: {told['requests_per_s']:.0f}/s", file=sys.stderr, flush=True)
            if given.requests:
                report["memory"] = memory(upstream, place, given.requests)
    found = {name: median(some) for name, some in rounds.items()}
    table(found)
    ours, plain = found["trivet"], found["trivet_plain"]
    report |= {
        "added_p50_ms": ours["half_load_added_p50_ms"],
        "added_p99_ms": ours["half_load_added_p99_ms"],
        "requests_per_s_per_core": plain["requests_per_s_per_core"],
        "requests_per_s_per_core_checked": ours["requests_per_s_per_core"],
    }
    if not given.without_peer:
        peer = found["litellm"]
        report |= {
            "ratio_vs_litellm": ours["requests_per_s"] / peer["requests_per_s"],
            "ratio_vs_litellm_per_core": ours["requests_per_s_per_core"] / peer["requests_per_s_per_core"],
            "added_p50_vs_litellm": ours["added_p50_ms"] / peer["added_p50_ms"],
            "litellm": {**peer, "version": gateway_peer.version()},
        }
        print(
            f"\nagainst LiteLLM {gateway_peer.version()} with the same {len(PHRASES)} phrases at input and output, a key, one worker: "
            f"{report['ratio_vs_litellm']:.1f} times its requests/s ({report['ratio_vs_litellm_per_core']:.1f} per core), "
            f"{report['added_p50_vs_litellm']:.3f} of its added p50. Trivet records every exchange, LiteLLM none."
        )
    if "memory" in report:
        print(f"memory over {given.requests} requests: {report['memory']['growth_mb']:+.1f} MB after the first tenth")
    report["sides"], report["rounds"] = found, rounds
    report["settings"] = {
        "compared": "4 KB questions no two alike, 560-byte replies, a key each, one worker, the same phrases both ways",
        "phrases": len(PHRASES),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "cores": {"gateway": GATEWAYS, "generator and mock": OTHERS},
        "load_average": os.getloadavg(),
    }
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
