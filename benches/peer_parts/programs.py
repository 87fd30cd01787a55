"""The programs that are compared: where they are, how they are called, what they print."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .processes import HOST, Finished, ProcessError, ServerSpec, run_measured

PROCESS_TIMEOUT_S = 900.0

# Up to this length llama-bench warms up with the whole prompt, as it does by itself. For longer ones that would double
# the time, and a short prompt goes before instead.
FULL_WARM_UP = 512
SHORT_WARM_UP = 16

# The context of llama-server: this many sequences with this many tokens each.
SERVER_STREAMS = 8
SERVER_TOKENS_PER_STREAM = 4096

GET_LLAMA_CPP = """\
  llama.cpp's programs come with `brew install llama.cpp` or `nix profile install nixpkgs#llama-cpp`. A build from
  source uses all that this processor can do:
    git clone --depth 1 https://github.com/ggml-org/llama.cpp && cd llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON
    cmake --build build -j --target llama-bench llama-server
  Then put build/bin on PATH, or set LLAMA_BENCH and LLAMA_SERVER to the two files."""


class Missing(Exception):
    """Something that the comparison needs is not there; the text says how to get it."""


@dataclass(frozen=True)
class Cell:
    """One workload of the kernels: tokens of prompt, tokens generated, positions that stand before either."""

    prompt: int
    generate: int
    depth: int = 0

    def positions(self) -> int:
        return self.depth + max(self.prompt, self.generate)

    def __str__(self) -> str:
        parts = [f"prefill {self.prompt}"] * (self.prompt > 0) + [f"decode {self.generate}"] * (self.generate > 0)
        return " + ".join(parts) + f" at depth {self.depth}"


@dataclass(frozen=True)
class Model:
    """A model that both programs read from the same file."""

    name: str
    file: Path


@dataclass(frozen=True)
class Ours:
    """The `zhujiao` binary."""

    program: Path
    models_dir: Path
    # None: as many as it takes by itself.
    threads: int | None
    # The administrator's key of the servers that are started. One for all: they share a database.
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def bench(self, model: Model, cell: Cell, streams: int = 1) -> dict[str, Any]:
        """Measures one workload in a process of its own."""
        command = [
            str(self.program),
            "bench",
            "--model",
            model.name,
            "--prompt",
            str(cell.prompt),
            "--generate",
            str(cell.generate),
            "--depth",
            str(cell.depth),
            "--streams",
            str(streams),
            "--json",
        ]
        if self.threads:
            command += ["--threads", str(self.threads)]
        run = run_measured(command, self._environment(model), PROCESS_TIMEOUT_S)
        printed = _json(run, self.program)
        return _measured(
            run,
            printed,
            prefill=printed["prefill_tokens_per_s"] if cell.prompt else None,
            decode=printed["decode_tokens_per_s"] if cell.generate else None,
            load_s=printed["load_s"],
        )

    def server(self, model: Model, data_dir: Path, port: int) -> ServerSpec:
        command = [str(self.program), "serve", "--listen", f"{HOST}:{port}", "--data-dir", str(data_dir)]
        environment = {**self._environment(model), "ZHUJIAO_ADMIN_KEY": self.key}
        return ServerSpec("zhujiao", command, port, "/readyz", environment, self.key)

    def version(self) -> str:
        return run_measured([str(self.program), "--version"], {}, 60).stdout.strip()

    def _environment(self, model: Model) -> Mapping[str, str]:
        # The same file for both, and the processor even where a GPU is at hand.
        return {
            "ZHUJIAO_MODELS_DIR": str(self.models_dir),
            "ZHUJIAO_MODELS__GENERATOR": model.name,
            "ZHUJIAO_MODELS__DEVICE": "cpu",
        }


@dataclass(frozen=True)
class Theirs:
    """llama.cpp's `llama-bench` and `llama-server`."""

    bench_program: Path
    server_program: Path
    threads: int

    def bench(self, model: Model, cell: Cell) -> dict[str, Any]:
        """Measures one workload in a process of its own; prompt and generation are two tests of that process."""
        prompt, flags = str(cell.prompt), []
        if cell.prompt > FULL_WARM_UP:
            prompt, flags = f"{SHORT_WARM_UP},{cell.prompt}", ["--no-warmup"]
        command = [
            str(self.bench_program),
            "-m",
            str(model.file),
            "-p",
            prompt,
            "-n",
            str(cell.generate),
            "-d",
            str(cell.depth),
            "-t",
            str(self.threads),
            "-ngl",
            "0",
            "-r",
            "1",
            "-o",
            "json",
            *flags,
        ]
        run = run_measured(command, {}, PROCESS_TIMEOUT_S)
        tests = _json(run, self.bench_program)
        for test in tests:
            test["model_filename"] = model.file.name
        return _measured(
            run,
            tests,
            prefill=_llama_rate(tests, "n_prompt", cell.prompt),
            decode=_llama_rate(tests, "n_gen", cell.generate),
            load_s=None,
        )

    def server(self, model: Model, port: int) -> ServerSpec:
        context = SERVER_STREAMS * SERVER_TOKENS_PER_STREAM
        command = [
            str(self.server_program),
            "-m",
            str(model.file),
            "--host",
            HOST,
            "--port",
            str(port),
            "-ngl",
            "0",
            "-t",
            str(self.threads),
            "-np",
            str(SERVER_STREAMS),
            "-c",
            str(context),
        ]
        return ServerSpec("llama-server", command, port, "/health")


def find_theirs(threads: int) -> Theirs:
    """llama.cpp's programs, from LLAMA_BENCH and LLAMA_SERVER or else from PATH. Raises `Missing`."""
    found = {
        name: _program(os.environ.get(name.upper().replace("-", "_")) or name)
        for name in ("llama-bench", "llama-server")
    }
    missing = [
        f"{name} is missing: it is not on PATH, and {name.upper().replace('-', '_')} names no program."
        for name, path in found.items()
        if path is None
    ]
    bench, server = found["llama-bench"], found["llama-server"]
    if bench is None or server is None:
        raise Missing("\n".join([*missing, GET_LLAMA_CPP]))
    return Theirs(bench, server, threads)


def find_ours(program: str, threads: int | None) -> Ours:
    """The binary under test. Raises `Missing`."""
    path = _program(program)
    if path is None:
        raise Missing(f"{program} is missing: `make build` makes it.")
    return Ours(path, models_dir(), threads)


def models_dir() -> Path:
    """Where the binary keeps model files, by the same rules."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ZHUJIAO_MODELS_DIR") or Path(cache) / "zhujiao/models").absolute()


def find_models(names: Sequence[str]) -> list[Model]:
    """The GGUF files of the manifests named. Raises `Missing`."""
    found = {name: sorted((models_dir() / name).glob("*.gguf")) for name in names}
    missing = [
        f"the model {name} is missing in {models_dir()}: `zhujiao pull {name}` fetches it."
        for name, files in found.items()
        if not files
    ]
    if missing:
        raise Missing("\n".join(missing))
    return [Model(name, files[0]) for name, files in found.items()]


def _program(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).absolute() if found else None


def _json(run: Finished, program: Path) -> Any:
    try:
        return json.loads(run.stdout)
    except ValueError as error:
        raise ProcessError(f"{program.name} printed no JSON ({error}): {run.stdout[:300]}") from error


def _measured(
    run: Finished, printed: Any, *, prefill: float | None, decode: float | None, load_s: float | None
) -> dict[str, Any]:
    return {
        "prefill_tokens_per_s": prefill,
        "decode_tokens_per_s": decode,
        "load_s": load_s,
        "peak_rss_bytes": run.peak_rss_bytes,
        "wall_s": run.wall_s,
        "printed": printed,
    }


def _llama_rate(tests: Sequence[Mapping[str, Any]], field: str, tokens: int) -> float | None:
    """Tokens per second of the test with this many tokens; None when none are asked for."""
    if tokens == 0:
        return None
    return next(float(test["avg_ts"]) for test in tests if test[field] == tokens)
