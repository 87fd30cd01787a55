"""Streamed chat requests to an OpenAI-compatible server, with the times that a user would see."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from .processes import HOST, ProcessError, Server

REQUEST_TIMEOUT_S = 600.0

TOPICS = ("一元一次方程", "二次函数", "勾股定理", "分数加减法", "光合作用", "牛顿第一定律", "《静夜思》", "人工智能")

# One form per round, so that no round finds the prompts of an earlier one in a cache.
FORMS = (
    "请用通俗的语言向七年级学生介绍{topic}，并举两个例子。",
    "为“{topic}”写一段三分钟的课堂导入，说明教师和学生各做什么。",
    "学生学习{topic}时常犯哪些错误？逐条说明原因和对策。",
    "围绕{topic}设计三道由易到难的练习，并写出参考答案。",
    "怎样向家长解释孩子为什么要学习{topic}？写成一封短信。",
)

SENTENCES = (
    "等式两边同时加上或减去同一个数，等式仍然成立，这是移项的依据。",
    "学生容易在去括号时忘记改变各项的符号，教师应当安排对比练习。",
    "把实际问题抽象成方程，关键是找出题目中的相等关系。",
    "小组讨论之后，请代表说明本组的思路，其他同学补充和质疑。",
    "作业分为基础、标准和挑战三层，学生按照自己的情况选择。",
    "检验方程的解，应当把它代回原方程，看左右两边是否相等。",
    "板书左侧写概念和依据，右侧写例题的步骤，下方留给学生演算。",
    "课堂小结由学生完成：今天学到了什么，还有什么疑问。",
)


@dataclass(frozen=True)
class Answer:
    """One answer. Times are readings of `time.perf_counter`."""

    started: float
    first_text: float
    ended: float
    prompt_tokens: int
    completion_tokens: int

    def to_json(self) -> dict[str, Any]:
        return {
            "first_token_s": self.first_text - self.started,
            "total_s": self.ended - self.started,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }


def prompts(round_number: int, count: int) -> list[str]:
    """Different short prompts, and others in every round."""
    form = FORMS[round_number % len(FORMS)]
    again = round_number // len(FORMS)
    opening = f"（第{again + 1}次提问）" if again else ""
    return [opening + form.format(topic=TOPICS[index % len(TOPICS)]) for index in range(count)]


def material(round_number: int, sentences: int) -> str:
    """A long text that differs from the first words on between rounds: about 23 tokens a sentence."""
    lines = (f"{index + 1}. {SENTENCES[(index + round_number) % len(SENTENCES)]}" for index in range(sentences))
    return f"{'甲乙丙丁戊己庚辛壬癸'[round_number % 10]}组第{round_number + 1}份资料。\n" + "\n".join(lines)


def ask(server: Server, model: str, prompt: str, max_tokens: int, barrier: threading.Barrier | None = None) -> Answer:
    """Sends one request and reads the stream to its end. With a barrier, waits there for the other requests first."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    headers = {"Content-Type": "application/json"}
    if server.spec.key:
        headers["Authorization"] = f"Bearer {server.spec.key}"
    if barrier:
        barrier.wait(REQUEST_TIMEOUT_S)
    connection = http.client.HTTPConnection(HOST, server.spec.port, timeout=REQUEST_TIMEOUT_S)
    try:
        started = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        if response.status != 200:
            said = response.read().decode("utf-8", "replace")
            raise ProcessError(f"{server.spec.name} answered {response.status}: {said[:500]}")
        return _read(chunks(response), started, server.spec.name)
    except (OSError, http.client.HTTPException) as error:
        raise ProcessError(f"{server.spec.name} did not answer: {error!r}") from error
    finally:
        connection.close()


def ask_together(server: Server, model: str, texts: Sequence[str], max_tokens: int) -> list[Answer]:
    """Sends all prompts at the same moment."""
    barrier = threading.Barrier(len(texts))
    with ThreadPoolExecutor(len(texts)) as pool:
        futures = [pool.submit(ask, server, model, text, max_tokens, barrier) for text in texts]
        return [future.result() for future in futures]


def chunks(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of each event of a chat stream, up to `[DONE]`. Raises `ProcessError` on an error event."""
    for line in lines:
        name, _, value = line.strip().partition(b":")
        value = value.strip()
        if name != b"data" or not value:
            continue
        if value == b"[DONE]":
            return
        chunk = json.loads(value)
        if "choices" not in chunk:
            raise ProcessError(f"the stream broke off: {chunk}")
        yield chunk


def _read(stream: Iterable[dict[str, Any]], started: float, name: str) -> Answer:
    first_text: float | None = None
    usage: dict[str, int] | None = None
    for chunk in stream:
        # A first chunk with the role alone is no text yet.
        if first_text is None and any(choice["delta"].get("content") for choice in chunk["choices"]):
            first_text = time.perf_counter()
        usage = chunk.get("usage") or usage
    if first_text is None or usage is None:
        raise ProcessError(f"{name} sent {'no text' if first_text is None else 'no token counts'}")
    return Answer(started, first_text, time.perf_counter(), usage["prompt_tokens"], usage["completion_tokens"])
