"""Tests of `peers.py`, with small scripts in the place of the programs that it measures."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import peers
from peer_parts.chat import chunks, material, prompts
from peer_parts.processes import ProcessError, ServerSpec, free_port, run_measured, serving
from peer_parts.report import TARGETS, Spread, number

# Plays all three programs, by the name that it is called by.
FAKE = """\
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

def option(name):
    return sys.argv[sys.argv.index(name) + 1]

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/readyz", "/health") else 404)
        self.end_headers()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        for content in ("", "text"):
            self.send({"choices": [{"delta": {"content": content}}]})
        self.send({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
        self.wfile.write(b"data: [DONE]\\n\\n")

    def send(self, chunk):
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\\n\\n")

    def log_message(self, *_):
        pass

def serve(port):
    with open(Path(__file__).parent / "pids", "a") as pids:
        print(os.getpid(), file=pids)
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()

def llama_test(prompt, generate):
    return {"n_prompt": prompt, "n_gen": generate, "avg_ts": 10.0, "model_filename": "/somewhere/m.gguf"}

name = Path(sys.argv[0]).name
if name == "llama-server":
    serve(option("--port"))
elif name == "llama-bench":
    prompts = [int(count) for count in option("-p").split(",")]
    tests = [llama_test(count, 0) for count in prompts if count]
    print(json.dumps(tests + [llama_test(0, count) for count in [int(option("-n"))] if count]))
elif sys.argv[1] == "serve":
    assert len(os.environ["ZHUJIAO_ADMIN_KEY"]) >= 16
    serve(option("--listen").rpartition(":")[2])
elif sys.argv[1] == "bench":
    streams = int(option("--streams"))
    print(json.dumps({"prefill_tokens_per_s": 30.0, "decode_tokens_per_s": 12.0 * streams, "load_s": 0.5}))
else:
    print("zhujiao 0")
"""

MODEL = "qwen2.5-coder-1.5b"


class Comparing(unittest.TestCase):
    """Whole runs over the fake programs."""

    def setUp(self) -> None:
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("zhujiao", "llama-bench", "llama-server"):
            program = self.dir / name
            program.write_text(f"#!{sys.executable}\n{FAKE}")
            program.chmod(0o755)
        (self.dir / "models" / MODEL).mkdir(parents=True)
        (self.dir / "models" / MODEL / "m.gguf").write_bytes(b"GGUF")
        stack.enter_context(mock.patch.dict(os.environ, self.environment()))
        stack.enter_context(mock.patch("peer_parts.processes.IDLE_WINDOW_S", 0.2))

    def environment(self) -> dict[str, str]:
        programs = {"LLAMA_BENCH": str(self.dir / "llama-bench"), "LLAMA_SERVER": str(self.dir / "llama-server")}
        return {**programs, "ZHUJIAO_MODELS_DIR": str(self.dir / "models")}

    def run_peers(self, *more: str) -> tuple[int, str]:
        """Exit status, and what was said to standard error."""
        arguments = ["--zhujiao", str(self.dir / "zhujiao"), "--model", MODEL, "--out", str(self.dir / "out"), *more]
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            return peers.main(arguments), said.getvalue()

    def report(self, name: str) -> tuple[dict[str, Any], str]:
        path = self.dir / "out" / name
        return json.loads(path.with_suffix(".json").read_text()), path.with_suffix(".md").read_text()

    def check_servers_ended(self, count: int) -> None:
        pids = [int(line) for line in (self.dir / "pids").read_text().split()]
        self.assertEqual(len(pids), count)
        for pid in pids:
            with self.assertRaises(ProcessLookupError):
                os.kill(pid, 0)

    def test_a_full_run_keeps_every_turn_and_ends_its_servers(self) -> None:
        self.assertEqual(self.run_peers("--repeat", "2")[0], 0)
        report, page = self.report("peers")
        self.assertTrue(report["complete"])
        (model,) = report["models"]
        self.assertEqual([len(measured["pairs"]) for measured in model["kernels"]], [2, 2, 1, 2, 1])
        self.assertEqual(set(model["streams"][0]["runs"]), {"1", "4", "8", "16"})
        self.assertEqual(model["server"]["chat"][1]["theirs"]["completion_tokens"], 16)
        self.assertIn("| prefill 2048 | 30.0 | 10.0 | 3.00 | one turn | 1 |", page)
        self.assertIn("| decode 1.5B Q4_K_M vs llama.cpp | 1.15 | 1.50 | 1.20 | 1.20 to 1.20 | floor reached |", page)
        self.assertNotIn(str(self.dir), json.dumps(report) + page)
        self.assertNotIn("/somewhere", json.dumps(report))
        self.check_servers_ended(2)

    def test_a_run_that_breaks_off_keeps_what_it_has_and_ends_its_servers(self) -> None:
        with mock.patch("peer_parts.chat.ask_together", side_effect=ProcessError("no answer")):
            status, said = self.run_peers("--quick")
        self.assertEqual((status, "no answer" in said), (1, True))
        report, page = self.report("peers-quick")
        self.assertFalse(report["complete"])
        self.assertIn("broke off", page)
        self.assertIn("| prefill 512 | 30.0 |", page)
        self.check_servers_ended(2)

    def test_what_is_missing_is_named_with_the_way_to_get_it(self) -> None:
        with mock.patch.dict(os.environ, {"LLAMA_SERVER": str(self.dir / "nowhere")}):
            status, said = self.run_peers()
        self.assertEqual(status, 2)
        self.assertIn("llama-server is missing", said)
        self.assertNotIn("llama-bench is missing", said)
        self.assertIn("cmake --build", said)
        with mock.patch.dict(os.environ, {"ZHUJIAO_MODELS_DIR": str(self.dir)}):
            self.assertIn("zhujiao pull", self.run_peers()[1])


class Parts(unittest.TestCase):
    def test_a_program_that_fails_is_told_with_its_last_words(self) -> None:
        with self.assertRaisesRegex(ProcessError, "status 3: out of luck"):
            run_measured(["sh", "-c", "echo out of luck >&2; exit 3"], {}, 10)
        with self.assertRaisesRegex(ProcessError, "took too long"):
            run_measured(["sh", "-c", "sleep 60"], {}, 0.1)

    def test_a_server_that_ends_before_it_is_ready_is_told(self) -> None:
        spec = ServerSpec("server", ["sh", "-c", "echo bad weights; exit 1"], free_port(), "/health")
        with tempfile.TemporaryDirectory() as logs:
            server = serving(spec, Path(logs))
            with self.assertRaisesRegex(ProcessError, "bad weights"):
                server.__enter__()

    def test_streams_are_read_up_to_their_end(self) -> None:
        stream = [b": beat\n", b'data: {"choices": []}\n', b"\n", b"data: [DONE]\n", b'data: {"choices": [1]}\n']
        self.assertEqual(list(chunks(stream)), [{"choices": []}])
        with self.assertRaisesRegex(ProcessError, "queue_full"):
            list(chunks([b"event: error\n", b'data: {"code": "queue_full"}\n']))

    def test_no_prompt_comes_twice(self) -> None:
        texts = [text for number in range(12) for text in prompts(number, 8)]
        self.assertEqual(len(set(texts)), len(texts))
        self.assertNotEqual(material(0, 5)[0], material(1, 5)[0])

    def test_spreads(self) -> None:
        self.assertEqual(Spread.of([3.0, 1.0, 2.0]), Spread(2.0, 1.0, 3.0, 3))
        self.assertIsNone(Spread.of([]))
        self.assertIsNone(Spread.of([1.0, None]))

    def test_verdicts_know_which_way_is_better(self) -> None:
        decode, memory = TARGETS[0], TARGETS[-1]
        self.assertEqual([decode.verdict(ratio) for ratio in (1.5, 1.15)], ["aim reached", "floor reached"])
        self.assertEqual([memory.verdict(ratio) for ratio in (0.8, 1.0)], ["aim reached", "floor reached"])
        self.assertIn("misses", decode.verdict(1.14))
        self.assertIn("misses", memory.verdict(1.01))

    def test_numbers_keep_what_counts(self) -> None:
        shown = [number(value) for value in (1234.5, 99.94, 1.005, 0.1, 0.034, 0.0)]
        self.assertEqual(shown, ["1234", "99.9", "1.00", "0.10", "0.034", "0.00"])


if __name__ == "__main__":
    unittest.main()
