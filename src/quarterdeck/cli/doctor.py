"""`quarterdeck doctor`: what this machine can do, measured by doing it."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from quarterdeck.cli.output import messages
from quarterdeck.confine import Confinement, Level, probe, run_command
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.llm.bundled_file import pull
from quarterdeck.settings import Settings
from quarterdeck.storage.db import SQLITE_VERSION

FREE_BYTES_MIN = 1_000_000_000
PROBE_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found, and what to do when it is not right."""

    name: str
    ok: bool
    found: str
    advice: str = ""


async def examine(settings: Settings) -> list[Check]:
    """Look at everything that a mission needs."""
    return [
        _python(),
        await _git(),
        await _confinement(settings),
        await _secret_stays_secret(settings),
        await _models(settings),
        _disk(settings.data_dir),
    ]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", True, f"{version}, SQLite {SQLITE_VERSION}")


async def _git() -> Check:
    git = shutil.which("git")
    if git is None:
        return Check("git", False, "not found", "Install git 2.38 or newer.")
    process = await asyncio.create_subprocess_exec(git, "version", stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    words = told.decode().split()
    version = tuple(int(part) for part in words[2].split(".")[:2])
    return Check("git", version >= (2, 38), words[2], "" if version >= (2, 38) else "Update git.")


async def _confinement(settings: Settings) -> Check:
    report = await asyncio.to_thread(probe)
    confined = report.level in {Level.NAMESPACE, Level.PROCESS}
    consent = settings.coding.allow_weak_confinement
    advice = "" if confined else "Use Linux 5.13 or newer with Landlock, or allow weak confinement."
    found = f"{report.level}: {report.reason}"
    return Check("confinement", confined or consent, found, advice)


async def _secret_stays_secret(settings: Settings) -> Check:
    """Start a real command and let it try to read a file it was not given."""
    with tempfile.TemporaryDirectory(prefix="quarterdeck-doctor-") as folder:
        root = Path(folder)
        secret, inside = root / "secret", root / "inside"
        secret.write_text("secret")
        inside.mkdir()
        script = f"print(open({str(secret)!r}).read())"
        try:
            result = await run_command(
                [sys.executable, "-c", script],
                cwd=inside,
                confinement=Confinement(
                    writable=(inside,), allow_weak=settings.coding.allow_weak_confinement
                ),
                timeout_s=PROBE_TIMEOUT_S,
            )
        except QuarterdeckError as error:
            return Check("confined command", False, str(error))
        denied = b"PermissionError" in result.output and b"secret\n" not in result.stdout
        found = f"level {result.level}, a foreign file was {'denied' if denied else 'readable'}"
        return Check("confined command", denied, found, "" if denied else "See confinement.")


async def _models(settings: Settings) -> Check:
    from quarterdeck.app import Orchestrator

    found = await Orchestrator(settings).discovered()
    names = [str(model.ref) for model in found.models if not model.embedding]
    if names:
        return Check("models", True, ", ".join(names[:5]))
    advice = "Start a model server, or get the bundled model with: quarterdeck model pull."
    return Check("models", False, "none answers", advice)


def _disk(data_dir: Path) -> Check:
    place = next(p for p in (data_dir, *data_dir.parents) if p.exists())
    free = shutil.disk_usage(place).free
    enough = free >= FREE_BYTES_MIN
    advice = "" if enough else "Make room, or choose another directory with --data."
    return Check("disk", enough, f"{free // 10**9} GB free at {data_dir}", advice)


async def pull_bundled(settings: Settings, *, quiet: bool) -> Path:
    """Fetch the bundled model, with a progress bar."""
    with Progress(console=messages, transient=True, disable=quiet) as bar:
        task = bar.add_task("model", total=1.0)

        def told(what: str, fraction: float | None) -> None:
            bar.update(task, description=what, completed=fraction or 0.0)

        return await pull(settings.data_dir / "models", told)
