"""The Markdown page of a comparison, made from nothing but its JSON file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Callable

# Version of the JSON file's layout.
FORMAT = 1

LARGE, SMALL = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
BOTH = (LARGE, SMALL)
MIB = 1024 * 1024

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Spread:
    """The median of some values, with the lowest and the highest."""

    middle: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """None without values, or when one of them could not be measured."""
        known = list(values)
        numbers = [value for value in known if value is not None]
        if not numbers or len(numbers) < len(known):
            return None
        return cls(median(numbers), min(numbers), max(numbers), len(numbers))

    def range(self) -> str:
        return f"{number(self.low)} to {number(self.high)}" if self.count > 1 else "one turn"


@dataclass(frozen=True)
class Target:
    """A row of the table that the comparison is made for."""

    label: str
    models: Sequence[str]
    floor: float
    aim: float
    measured: Callable[[Entry], Spread | None]
    # Whether higher ratios are better.
    rising: bool = True

    def verdict(self, ratio: float) -> str:
        # Turned round, so that higher is better for both kinds.
        sign = 1 if self.rising else -1
        if sign * ratio >= sign * self.aim:
            return "aim reached"
        return "floor reached" if sign * ratio >= sign * self.floor else "**misses the floor**"


def ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def kernel_runs(model: Entry, field: str, tokens: int, depth: int) -> list[tuple[float | None, float | None]]:
    """Ours and theirs of each turn, in tokens per second. `field` is `prompt` or `generate`; 0 `tokens` are any."""
    rate = {"prompt": "prefill_tokens_per_s", "generate": "decode_tokens_per_s"}[field]
    return [
        (pair["ours"][rate], pair["theirs"][rate])
        for measured in model.get("kernels", ())
        if measured["cell"]["depth"] == depth and measured["cell"][field] and tokens in (0, measured["cell"][field])
        for pair in measured["pairs"]
    ]


def prefill_ratio(model: Entry) -> Spread | None:
    return Spread.of(ratio(*pair) for pair in kernel_runs(model, "prompt", 512, 0))


def decode_ratio(model: Entry) -> Spread | None:
    return Spread.of(ratio(*pair) for pair in kernel_runs(model, "generate", 0, 0))


def streams_ratio(model: Entry, streams: str = "8") -> Spread | None:
    runs = [measured["runs"] for measured in model.get("streams", ())]
    return Spread.of(
        ratio(run[streams]["decode_tokens_per_s"], run["1"]["decode_tokens_per_s"])
        for run in runs
        if streams in run and "1" in run
    )


def chat_ratio(model: Entry) -> Spread | None:
    pairs = server(model, "chat")
    return Spread.of(ratio(pair["ours"]["tokens_per_s"], pair["theirs"]["tokens_per_s"]) for pair in pairs)


def prefix_ratio(model: Entry) -> Spread | None:
    return Spread.of(cached_part(pair["ours"]) for pair in server(model, "prefix"))


def memory_ratio(model: Entry) -> Spread | None:
    both = model.get("server", {}).get("memory") or {}
    values = [(both.get(side) or {}).get("rss_bytes") for side in ("ours", "theirs")]
    return Spread.of([ratio(*values)])


TARGETS = (
    Target("decode 1.5B Q4_K_M vs llama.cpp", (LARGE,), 1.15, 1.5, decode_ratio),
    Target("prefill 512, 1.5B Q4_K_M vs llama.cpp", (LARGE,), 1.25, 1.8, prefill_ratio),
    Target("decode 0.5B (Q5_0, Q8_0 blocks) vs llama.cpp", (SMALL,), 1.1, 1.5, decode_ratio),
    Target("prefill 512, 0.5B (Q5_0, Q8_0 blocks) vs llama.cpp", (SMALL,), 2.0, 3.0, prefill_ratio),
    Target("aggregate decode of 8 streams vs our one stream", BOTH, 3.5, 5, streams_ratio),
    Target("8 concurrent chat requests, tokens/s end to end vs `llama-server -np 8`", BOTH, 2.0, 4, chat_ratio),
    Target("time to first token on a cached long prefix vs uncached", BOTH, 0.1, 0.03, prefix_ratio, rising=False),
    Target("resident memory, 8 x 4k context, vs llama-server the same", (LARGE,), 1.0, 0.8, memory_ratio, rising=False),
)


def render(report: Entry) -> str:
    """The whole page. A report that broke off gives the tables that its runs fill."""
    parts = [head(report)]
    for model in report["models"]:
        tables = (kernel_table(model), stream_table(model), server_table(model))
        parts += [f"## {model['name']}", f"`{model['file']}`, {number(model['file_bytes'] / MIB)} MiB", *tables]
    parts += [METHOD, target_table(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def head(report: Entry) -> str:
    machine = report["machine"]
    facts = [
        (
            "machine",
            f"{machine.get('processor', machine['architecture'])}, {machine['threads']} threads"
            + (f", {machine['memory_bytes'] / MIB / 1024:.0f} GiB" if "memory_bytes" in machine else ""),
        ),
        ("instructions", ", ".join(machine.get("instructions", ())) or "unknown"),
        ("system", machine["system"]),
        ("zhujiao", f"{report['ours']}, commit {report['commit'] or 'unknown'}"),
        ("llama.cpp", llama_version(report)),
        ("run", f"{report['started_at']} to {report['finished_at']}"),
        ("load average", load_range(report)),
    ]
    lines = ["# zhujiao beside llama.cpp", ""]
    if not report["complete"]:
        lines += ["**The run broke off; what was measured until then is below.**", ""]
    if report["quick"]:
        lines += ["**A short run, to see that everything works; its figures are not for comparison.**", ""]
    lines += table(("", ""), facts)
    return "\n".join(lines)


def llama_version(report: Entry) -> str:
    """llama-bench prints what it was built from with every test."""
    tests = [
        test
        for model in report["models"]
        for measured in model.get("kernels", ())
        for pair in measured["pairs"]
        for test in pair["theirs"]["printed"]
    ]
    if not tests:
        return "unknown"
    facts = (
        f"{key.replace('_', ' ')} {tests[0][key]}"
        for key in ("build_number", "build_commit", "backends")
        if key in tests[0]
    )
    return ", ".join(facts)


def load_range(report: Entry) -> str:
    runs = [
        run
        for model in report["models"]
        for group in (
            *(measured["pairs"] for measured in model.get("kernels", ())),
            model.get("streams", ()),
            server(model, "chat"),
            server(model, "prefix"),
        )
        for run in group
    ]
    spread = Spread.of(run["load_average"] for run in runs)
    if spread is None:
        return "unknown"
    alone = report["machine"]["threads"]
    return f"{spread.low:.1f} to {spread.high:.1f} after the runs (these programs alone make {alone})"


def kernel_table(model: Entry) -> str:
    cells = [measured["cell"] for measured in model.get("kernels", ())]
    prefills = [cell for cell in cells if cell["prompt"]]
    decodes = [cell for cell in cells if cell["generate"]]
    wanted = [(f"prefill {run['prompt']}", "prompt", run["prompt"], run["depth"]) for run in prefills]
    wanted += [(f"decode at depth {run['depth']}", "generate", run["generate"], run["depth"]) for run in decodes]
    rows = []
    for label, field, tokens, depth in wanted:
        pairs = kernel_runs(model, field, tokens, depth)
        rows.append((label, *compared([ours for ours, _ in pairs], [theirs for _, theirs in pairs])))
    head = ("tokens/s", "zhujiao", "llama.cpp", "ratio", "range of the ratio", "turns")
    return section("Kernels", head, rows)


def stream_table(model: Entry) -> str:
    runs = [measured["runs"] for measured in model.get("streams", ())]
    rows = []
    for streams in runs[0] if runs else ():
        together = Spread.of(run[streams]["decode_tokens_per_s"] for run in runs)
        memory = Spread.of(run[streams]["peak_rss_bytes"] / MIB for run in runs)
        against_one = streams_ratio(model, streams)
        span = against_one.range() if against_one else "–"
        rows.append((streams, cell(together), cell(against_one), span, cell(memory)))
    head = ("streams", "tokens/s together", "against one", "range of the ratio", "highest resident MiB")
    return section("Streams of zhujiao", head, rows)


def server_table(model: Entry) -> str:
    found = model.get("server")
    if not found:
        return ""

    def row(label: str, runs: Sequence[Entry], value: Callable[[Entry], float | None]) -> tuple[str, ...]:
        ours, theirs = ([value(run[side]) for run in runs] for side in ("ours", "theirs"))
        return label, *compared(ours, theirs)

    chats, prefixes, start = found["chat"], found["prefix"], [found["start"]]
    both = found.get("memory") or {}
    memory = [both] if both and all(both.values()) else []
    count = len(chats[0]["ours"]["answers"]) if chats else 0
    tokens = prefixes[0]["ours"]["uncached"]["prompt_tokens"] if prefixes else 0
    rows = [
        row(f"{count} chats at once, tokens/s together", chats, lambda run: run["tokens_per_s"]),
        row("… seconds to the first token, median", chats, lambda run: median(first_tokens(run))),
        row("… seconds to the first token, slowest", chats, lambda run: max(first_tokens(run))),
        row(
            f"prompt of {tokens} tokens, seconds to the first token", prefixes, lambda run: first_token(run, "uncached")
        ),
        row("… when its text was read before", prefixes, lambda run: first_token(run, "cached")),
        row("… the latter as a part of the former", prefixes, cached_part),
        row(f"resident MiB after {count} chats", memory, lambda run: run["rss_bytes"] / MIB),
        row("highest resident MiB", memory, lambda run: run["peak_rss_bytes"] / MIB),
        row("seconds from start to ready", start, lambda run: run["ready_s"]),
    ]
    head = ("", "zhujiao", "llama-server", "ratio", "range of the ratio", "turns")
    return section("Servers", head, [row for row in rows if row[-1] != "0"]) + "\n\n" + load_line(model)


def load_line(model: Entry) -> str:
    """What the table of servers has no row for, as the two programs do not tell the same."""
    runs = [pair for measured in model.get("kernels", ()) for pair in measured["pairs"]]
    load = Spread.of(pair["ours"]["load_s"] for pair in runs)
    peaks = [Spread.of(pair[side]["peak_rss_bytes"] / MIB for pair in runs) for side in ("ours", "theirs")]
    if load is None or None in peaks:
        return ""
    highest = [number(peak.high) for peak in peaks if peak]
    return (
        f"`zhujiao bench` reads the weights and computes a first token in {number(load.middle)} s (median of "
        f"{load.count}; {load.range()}). Highest resident size of all kernel runs: zhujiao {highest[0]} MiB, "
        f"llama-bench {highest[1]} MiB."
    )


def first_token(run: Entry, which: str) -> float:
    seconds: float = run[which]["first_token_s"]
    return seconds


def cached_part(run: Entry) -> float | None:
    return ratio(first_token(run, "cached"), first_token(run, "uncached"))


def first_tokens(run: Entry) -> list[float]:
    return [answer["first_token_s"] for answer in run["answers"]]


def target_table(report: Entry) -> str:
    models = {model["name"]: model for model in report["models"]}
    rows = []
    for target in TARGETS:
        measured = [(name, target.measured(models[name])) for name in target.models if name in models]
        for name, spread in measured or [("", None)]:
            label = f"{target.label} ({name.rpartition('-')[2]})" if len(target.models) > 1 and name else target.label
            goals = (number(target.floor), number(target.aim))
            if spread is None:
                rows.append((label, *goals, "not measured", "", ""))
            else:
                rows.append((label, *goals, number(spread.middle), spread.range(), target.verdict(spread.middle)))
    head = ("ratio, ours by theirs", "floor", "aim", "measured, median", "range", "")
    return section("Floor, aim, measured", head, rows, level=2)


def compared(ours: Sequence[float | None], theirs: Sequence[float | None]) -> tuple[str, ...]:
    """Cells of a row: both medians, the median of the turns' ratios, its range, the number of turns."""
    ratios = Spread.of(ratio(*pair) for pair in zip(ours, theirs))
    span = ratios.range() if ratios else "–"
    return cell(Spread.of(ours)), cell(Spread.of(theirs)), cell(ratios), span, str(len(ours))


def server(model: Entry, part: str) -> Sequence[Entry]:
    found: Sequence[Entry] = model.get("server", {}).get(part, ())
    return found


def section(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], level: int = 3) -> str:
    """A table under its title; nothing without rows."""
    return "\n".join([f"{'#' * level} {title}", "", *table(columns, rows)]) if rows else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [tuple(columns), tuple("---" for _ in columns), *map(tuple, rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def cell(spread: Spread | None) -> str:
    return number(spread.middle) if spread else "–"


def number(value: float) -> str:
    """Three digits that count, and no more decimals than two or what a small value needs."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"


METHOD = """\
## Method

- Both programs read the same GGUF file, on the processor only, and take turns: ours, theirs, ours, theirs. A ratio is
  ours by theirs within one turn; the tables give the median of the turns' ratios and their range, and for each program
  the median of its own figures. Every single run is in the JSON file beside this page.
- Kernels: `zhujiao bench` and `llama-bench -r 1`, a process each. llama-bench warms up with the whole prompt up to 512
  tokens and with a prompt of 16 tokens before longer ones; zhujiao warms up with two tokens. Workloads beyond 1,024
  positions have fewer turns.
- Streams: `zhujiao bench` with several sequences in one batch, against one sequence in the same round.
- Servers: `zhujiao serve` and `llama-server -np 8 -c 32768`, all else at their defaults, both up and the other one idle
  (its processor time meanwhile is in the JSON file). Requests are OpenAI-compatible, streamed, at temperature 0. Tokens
  are those that the servers count in `usage`. The first token is the first chunk with text.
- Resident memory is the process as it is, nothing subtracted. zhujiao's holds more than the language model: the
  sentence encoder, the knowledge graph and the search index. Pages of the mapped model file count where resident.

Known gaps:

- The 8 x 4k tokens of context are there for both, but eight short chats do not fill them. llama-server takes the memory
  for all of them at its start; of zhujiao's blocks only those count that have been written.
- Answers differ in wording between the programs, and so in length when the model ends one before the limit; the rate
  counts the tokens that came.
- Others may use the machine at the same time: see the load average, and the ranges."""
