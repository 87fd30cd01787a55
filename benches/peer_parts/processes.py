"""Child processes: run one to its end and measure it, or keep a server alive for a block of code.

Every child gets a session of its own and is ended with its whole group, also when the caller fails or is interrupted.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
# How long a server may take from SIGTERM to its end.
STOP_GRACE_S = 5.0
# A process below this share of one processor, for this long, counts as idle.
IDLE_SHARE = 0.03
IDLE_WINDOW_S = 2.0


class ProcessError(Exception):
    """A program that failed, did not answer, or printed what cannot be read."""


@dataclass(frozen=True)
class Finished:
    """A child that ended with status 0."""

    stdout: str
    wall_s: float
    # Highest resident size in bytes, as the system counted it for this child alone.
    peak_rss_bytes: int


@dataclass(frozen=True)
class ServerSpec:
    """How to start a server and how to see that it is ready."""

    name: str
    command: Sequence[str]
    port: int
    # Answers 200 once requests can be served.
    ready_path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    spec: ServerSpec
    pid: int
    # From the start of the process until it was ready.
    ready_s: float


def run_measured(command: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> Finished:
    """Runs a program to its end. Raises `ProcessError` when it fails or takes longer than `timeout_s`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        child = _spawn(command, environment, out, err)
        try:
            usage = _wait(child, started + timeout_s)
        finally:
            _end(child)
        wall_s = time.perf_counter() - started
        if usage is None or child.returncode != 0:
            reason = "took too long" if usage is None else f"ended with status {child.returncode}"
            raise ProcessError(f"{Path(command[0]).name} {reason}: {_tail(err)}")
        out.seek(0)
        # Linux counts kilobytes, macOS bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return Finished(out.read().decode("utf-8", "replace"), wall_s, usage.ru_maxrss * unit)


@contextlib.contextmanager
def serving(spec: ServerSpec, log_dir: Path, timeout_s: float = 300.0) -> Iterator[Server]:
    """A server, ready to answer, for the length of a `with` block."""
    with open(log_dir / f"{spec.name}-{spec.port}.log", "w+b") as log:
        started = time.perf_counter()
        child = _spawn(spec.command, spec.environment, log, log)
        try:
            while not _is_ready(spec):
                if child.poll() is not None:
                    raise ProcessError(f"{spec.name} ended with status {child.returncode}: {_tail(log)}")
                if time.perf_counter() - started > timeout_s:
                    raise ProcessError(f"{spec.name} was not ready after {timeout_s:.0f} s: {_tail(log)}")
                time.sleep(0.1)
            yield Server(spec, child.pid, time.perf_counter() - started)
        finally:
            _end(child)


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def memory(pid: int) -> dict[str, int] | None:
    """Resident bytes of a process, now and at its highest; None where there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if name in ("VmRSS", "VmHWM")
    }
    return {"rss_bytes": kilobytes["VmRSS"] * 1024, "peak_rss_bytes": kilobytes["VmHWM"] * 1024}


def cpu_seconds(pid: int) -> float | None:
    """Processor time that a process has used; None where there is no /proc."""
    try:
        # The second field is a name in brackets that may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_until_idle(pid: int, limit_s: float = 240.0) -> dict[str, float | None]:
    """Waits for background work to end. Returns how long that took and the last share of a processor that was used."""
    started = time.perf_counter()
    share: float | None = None
    while time.perf_counter() - started < limit_s:
        before = cpu_seconds(pid)
        time.sleep(IDLE_WINDOW_S)
        after = cpu_seconds(pid)
        if before is None or after is None:
            break
        share = (after - before) / IDLE_WINDOW_S
        if share < IDLE_SHARE:
            break
    return {"waited_s": time.perf_counter() - started, "processor_share": share}


def _spawn(command: Sequence[str], environment: Mapping[str, str], out: Any, err: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    except OSError as error:
        raise ProcessError(f"cannot start {command[0]}: {error}") from error


def _wait(child: subprocess.Popen[bytes], deadline: float) -> Any:
    """Resource usage of the child once it has ended; None at the deadline. `Popen.wait` would drop the usage."""
    while time.perf_counter() < deadline:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return usage
        time.sleep(0.02)
    return None


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child, first politely. Does nothing when it has been waited for already."""
    if child.poll() is not None:
        return
    for number, grace in ((signal.SIGTERM, STOP_GRACE_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)
            return


def _is_ready(spec: ServerSpec) -> bool:
    connection = http.client.HTTPConnection(HOST, spec.port, timeout=5)
    try:
        connection.request("GET", spec.ready_path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(file: Any) -> str:
    file.seek(0)
    lines = file.read().decode("utf-8", "replace").strip().splitlines()
    return "\n".join(lines[-15:]) or "it printed nothing"
