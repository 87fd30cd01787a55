#!/usr/bin/env python3
"""Compares zhujiao with llama.cpp on this machine, in one run: kernels, streams, servers.

Absolute figures move from machine to machine and from minute to minute, so the two programs take turns (ours, theirs,
ours, theirs, ...), each turn gives a ratio, and the report gives the median of the ratios with their range. Every
single run is kept in the JSON file; the Markdown file is made from it (`--render` makes it again).

    make bench-peers                                  both models, about a quarter of an hour on two cores
    make bench-peers ARGS=--quick                     one turn of the shortest workloads
    python3 benches/peers.py --zhujiao target/release/zhujiao --model qwen2.5-coder-0.5b --repeat 5

Needs Python 3.9 and nothing outside its standard library. Exit status 2: something is missing, and it is said what.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Callable, NoReturn

from peer_parts import chat
from peer_parts.processes import ProcessError, Server, cpu_seconds, free_port, memory, serving, wait_until_idle
from peer_parts.programs import SERVER_STREAMS, Cell, Missing, Model, Ours, Theirs, find_models, find_ours, find_theirs
from peer_parts.report import FORMAT, render

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_MODELS = ("qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b")
# Workloads that reach beyond this position take minutes; they get fewer turns.
LONG = 1024


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often."""

    cells: Sequence[Cell]
    streams: Sequence[int]
    # Tokens that each stream generates.
    stream_tokens: int
    # Tokens of each of the concurrent answers.
    chat_tokens: int
    # Sentences of the long prompt, about 23 tokens each.
    prefix_sentences: int
    repeat: int
    repeat_long: int

    def turns(self, cell: Cell) -> int:
        return self.repeat_long if cell.positions() > LONG else self.repeat


def full_plan(repeat: int, repeat_long: int) -> Plan:
    cells = (Cell(128, 0), Cell(512, 64), Cell(2048, 0), Cell(0, 32, 512), Cell(0, 32, 4096))
    return Plan(cells, (1, 4, 8, 16), 32, 64, 65, repeat, repeat_long)


def quick_plan(repeat: int, repeat_long: int) -> Plan:
    return Plan((Cell(512, 16),), (1, 8), 16, 16, 20, repeat, repeat_long)


class Report:
    """The JSON file, written again after every run, so that a comparison that breaks off loses nothing."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        path.parent.mkdir(parents=True, exist_ok=True)

    def save(self) -> None:
        text = json.dumps(self.content, ensure_ascii=False, indent=1)
        self.path.write_text(text + "\n", encoding="utf-8")

    def add(self, runs: list[Any], run: dict[str, Any], said: str) -> None:
        """Adds a run to one of the lists inside the report."""
        runs.append({"at": now(), "load_average": load_average(), **run})
        self.save()
        print(f"{datetime.now():%H:%M:%S}  {said}", file=sys.stderr, flush=True)

    def finish(self) -> Path:
        """Writes the Markdown file beside the JSON file."""
        self.content["finished_at"] = now()
        self.save()
        page = self.path.with_suffix(".md")
        page.write_text(render(self.content), encoding="utf-8")
        return page


@dataclass(frozen=True)
class Comparison:
    """Both programs, the plan and the report that is filled."""

    ours: Ours
    theirs: Theirs
    plan: Plan
    report: Report

    def run(self, model: Model, work_dir: Path) -> None:
        entry: dict[str, Any] = {"name": model.name, "file": model.file.name, "file_bytes": model.file.stat().st_size}
        self.report.content["models"].append(entry)
        self.kernels(model, entry)
        self.streams(model, entry)
        self.servers(model, entry, work_dir)

    def kernels(self, model: Model, entry: dict[str, Any]) -> None:
        """Prefill and decode, ours and theirs in turns."""
        cells = entry["kernels"] = []
        for cell in self.plan.cells:
            pairs: list[Any] = []
            cells.append({"cell": asdict(cell), "pairs": pairs})
            for _ in range(self.plan.turns(cell)):
                pair = {"ours": self.ours.bench(model, cell), "theirs": self.theirs.bench(model, cell)}
                self.report.add(pairs, pair, f"{model.name}: {cell}: {rates(pair['ours'])} | {rates(pair['theirs'])}")

    def streams(self, model: Model, entry: dict[str, Any]) -> None:
        """Our aggregate decode with several streams, and with one in the same round."""
        rounds = entry["streams"] = []
        for _ in range(self.plan.repeat):
            runs = {
                str(count): self.ours.bench(model, Cell(0, self.plan.stream_tokens), count)
                for count in self.plan.streams
            }
            said = ", ".join(f"{count}: {rates(run)}" for count, run in runs.items())
            self.report.add(rounds, {"runs": runs}, f"{model.name}: streams {said}")

    def servers(self, model: Model, entry: dict[str, Any], work_dir: Path) -> None:
        """Both servers stay up, side by side; one is idle while the other is asked."""
        ours_spec = self.ours.server(model, work_dir / "data", free_port())
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(serving(ours_spec, work_dir))
            ours_idle = wait_until_idle(ours.pid)
            # Not earlier: the two must not slow each other's start.
            theirs = stack.enter_context(serving(self.theirs.server(model, free_port()), work_dir))
            both = {"ours": ours, "theirs": theirs}
            idle = {"ours": ours_idle, "theirs": wait_until_idle(theirs.pid)}
            result: dict[str, Any] = {
                "start": {side: {"ready_s": server.ready_s, "idle": idle[side]} for side, server in both.items()},
                "chat": [],
                "prefix": [],
            }
            entry["server"] = result
            for server in both.values():
                chat.ask(server, model.name, "你好", 4)
            self.concurrent_chats(model, both, result["chat"])
            result["memory"] = {side: memory(server.pid) for side, server in both.items()}
            self.shared_prefix(model, both, result["prefix"])

    def concurrent_chats(self, model: Model, both: dict[str, Server], rounds: list[Any]) -> None:
        for number in range(self.plan.repeat):
            texts = chat.prompts(number, SERVER_STREAMS)
            pair = in_turn(both, partial(self.one_crowd, model, texts))
            said = " | ".join(f"{run['tokens_per_s']:.1f}/s" for run in pair.values())
            self.report.add(rounds, pair, f"{model.name}: {len(texts)} chats at once: {said}")

    def one_crowd(self, model: Model, texts: Sequence[str], server: Server) -> dict[str, Any]:
        answers = chat.ask_together(server, model.name, texts, self.plan.chat_tokens)
        wall_s = max(answer.ended for answer in answers) - min(answer.started for answer in answers)
        tokens = sum(answer.completion_tokens for answer in answers)
        return {
            "tokens_per_s": tokens / wall_s,
            "completion_tokens": tokens,
            "wall_s": wall_s,
            "answers": [answer.to_json() for answer in answers],
        }

    def shared_prefix(self, model: Model, both: dict[str, Server], rounds: list[Any]) -> None:
        for number in range(self.plan.repeat):
            text = chat.material(number, self.plan.prefix_sentences)
            pair = in_turn(both, partial(two_questions, model, text))
            said = " | ".join(
                f"{run['uncached']['first_token_s']:.2f} s, then {run['cached']['first_token_s']:.2f} s"
                for run in pair.values()
            )
            self.report.add(rounds, pair, f"{model.name}: first token of a long prompt: {said}")


def two_questions(model: Model, text: str, server: Server) -> dict[str, Any]:
    """Two questions after the same long text: the second one finds the text's part in the cache."""
    first = chat.ask(server, model.name, f"{text}\n\n问题：这份资料的第一条讲了什么？", 4)
    second = chat.ask(server, model.name, f"{text}\n\n问题：作业分成哪几层？请简短回答。", 4)
    return {"uncached": first.to_json(), "cached": second.to_json()}


def in_turn(both: dict[str, Server], measure: Callable[[Server], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Measures one server after the other, and what processor time the idle one takes meanwhile."""
    pair = {}
    for side, server in both.items():
        idle = next(other for other in both.values() if other is not server)
        before = cpu_seconds(idle.pid)
        pair[side] = measure(server)
        after = cpu_seconds(idle.pid)
        pair[side]["idle_server_cpu_s"] = None if before is None or after is None else after - before
    return pair


def rates(run: dict[str, Any]) -> str:
    values = (run["prefill_tokens_per_s"], run["decode_tokens_per_s"])
    return " and ".join(f"{value:.1f}/s" for value in values if value is not None)


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def load_average() -> float | None:
    """Processes that wanted to run in the last minute, these runs included: shows whether others were busy."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def available_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the figures depend on, without anything that names the machine."""
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "threads": available_threads(),
        "python": platform.python_version(),
    }
    with contextlib.suppress(OSError):
        found.update(processor(Path("/proc/cpuinfo").read_text()))
    with contextlib.suppress(OSError, ValueError):
        found["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return found


def processor(cpuinfo: str) -> dict[str, Any]:
    """Name and instruction sets from the text of /proc/cpuinfo, whose keys differ between architectures."""
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    flags = fields.get("flags", fields.get("Features", "")).split()
    known = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm", "sve")
    name = [fields.get("model name", platform.machine())]
    name += [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return {"processor": ", ".join(name), "instructions": [flag for flag in known if flag in flags]}


def commit() -> str | None:
    """The checked-out commit; `-dirty` when tracked files were changed since."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compares zhujiao with llama.cpp on this machine.")
    parser.add_argument("--zhujiao", default="target/release/zhujiao", help="our binary [%(default)s]")
    models = ", ".join(DEFAULT_MODELS)
    parser.add_argument("--model", action="append", help=f"a manifest's name, may be repeated [{models}]")
    parser.add_argument("--repeat", type=positive, help="turns of each workload [3; 1 with --quick]")
    parser.add_argument("--repeat-long", type=positive, default=1, help="turns of workloads beyond 1,024 positions [1]")
    parser.add_argument("--threads", type=positive, help="threads of both programs' benches and of llama-server [all]")
    parser.add_argument("--quick", action="store_true", help="the shortest workloads only")
    parser.add_argument("--out", type=Path, default=ROOT / "eval/reports", help="folder of the report [eval/reports]")
    parser.add_argument("--check", action="store_true", help="only say whether llama.cpp's programs are there")
    parser.add_argument("--render", type=Path, metavar="JSON", help="only make the page of an earlier run again")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def compare(options: argparse.Namespace) -> Path:
    """Runs everything and returns the path of the Markdown file."""
    theirs = find_theirs(options.threads or available_threads())
    ours = find_ours(options.zhujiao, options.threads)
    models = find_models(options.model or DEFAULT_MODELS)
    make_plan, repeat = (quick_plan, 1) if options.quick else (full_plan, 3)
    plan = make_plan(options.repeat or repeat, options.repeat_long)
    content: dict[str, Any] = {
        "format": FORMAT,
        "started_at": now(),
        "finished_at": None,
        "complete": False,
        "quick": options.quick,
        "machine": machine(),
        "commit": commit(),
        "ours": ours.version(),
        "plan": asdict(plan),
        "models": [],
    }
    report = Report(options.out / ("peers-quick.json" if options.quick else "peers.json"), content)
    comparison = Comparison(ours, theirs, plan, report)
    with tempfile.TemporaryDirectory(prefix="zhujiao-peers-") as work_dir:
        # Away from a zhujiao.toml in the working directory.
        os.chdir(work_dir)
        try:
            for model in models:
                comparison.run(model, Path(work_dir))
            content["complete"] = True
        finally:
            os.chdir(ROOT)
            page = report.finish()
    return page


def stop(number: int, _frame: Any) -> NoReturn:
    """Turns a signal into an exception, so that the servers are ended on the way out."""
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        if options.check:
            find_theirs(available_threads())
            return 0
        if options.render:
            page = options.render.with_suffix(".md")
            page.write_text(render(json.loads(options.render.read_text(encoding="utf-8"))), encoding="utf-8")
        else:
            options.out = options.out.absolute()
            page = compare(options)
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    except ProcessError as error:
        print(f"the comparison broke off: {error}", file=sys.stderr)
        return 1
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
