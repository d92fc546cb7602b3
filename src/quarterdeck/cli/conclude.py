"""What the demo says at its end: the commit, its signature, where everything is, and how to go on."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from quarterdeck.cli.output import plain, say
from quarterdeck.storage.artifacts import write_durably

SIGNER = "quarterdeck"
_GIT_TIMEOUT_S = 20.0


def program() -> str:
    """How this program is called from a shell here."""
    if shutil.which("quarterdeck"):
        return "quarterdeck"
    return shlex.quote(str(Path(sys.argv[0]).absolute()))


def say_how_to_go_on(view: Mapping[str, Any], root: Path, *, on: Console) -> None:
    """The mission waits and nobody answered: say what it waits for, and the commands that answer."""
    data = shlex.quote(str(root / "data"))
    question = view["awaiting"][0]["question"] if view["awaiting"] else "an answer"
    on.print(f"\nThe mission {view['id']} waits for you: {escape(plain(question))}")
    choices = [choice["id"] for one in view["awaiting"] for choice in one["choices"]]
    if "promote" in choices:
        on.print(f"  look at the change: {program()} mission diff {view['id']} --data {data}")
        on.print(f"  yes:                {program()} mission promote {view['id']} --data {data}")
    elif choices:
        on.print(f"  its choices: {program()} mission show {view['id']} --data {data}")
    on.print(f"  no:                 {program()} mission reject {view['id']} --data {data}")
    on.print("Nothing was changed in the repository.")


async def conclude(view: Mapping[str, Any], result: Mapping[str, Any], *, root: Path) -> None:
    """Say how it ended, and how to see that it is true."""
    data = shlex.quote(str(root / "data"))
    if not result["promoted_commit"]:
        say(f"\nThe mission ended as [bold]{escape(plain(result['status']))}[/]; nothing changed.")
        if view["error"]:
            say(escape(plain(view["error"])))
        say(f"  what happened: {program()} mission show {view['id']} --data {data}")
        return
    record = view["outputs"]["promote"]["record"]
    git = f"git -C {shlex.quote(str(record['delivered_to']))}"
    signers = root / "allowed_signers"
    line = f'{SIGNER} namespaces="git" {record["public_key"]}\n'
    await asyncio.to_thread(write_durably, signers, line.encode())
    verify = f"{git} -c gpg.ssh.allowedSignersFile={shlex.quote(str(signers))} verify-commit"
    say(f"\n[bold green]✓[/] Commit [bold]{record['commit']}[/] is on {escape(record['branch'])}.")
    _say_tests(result)
    if view["outputs"].get("target", {}).get("new"):
        say(f"  It is a new repository; take it: {escape(_clone(record))}")
    say("\n[bold]See for yourself[/]")
    say(f"  the commits:    {escape(git)} log --stat -2 {record['branch']}")
    say(f"  its signature:  {escape(verify)} {record['commit']}")
    say(f"                  [dim]{escape(await _verified(verify, str(record['commit'])))}[/]")
    kept = root / "data" / "storage" / "memory" / "learning"
    say(f"  what was kept:  {escape(str(kept))}")
    say(f"  the proof:      {program()} mission show {view['id']} --data {escape(data)}")
    say(f"  take it back:   {program()} mission rollback {view['id']} --data {escape(data)}")
    say("\n[bold]The same on your own repository[/]")
    say(f'  {program()} mission submit "what is wrong, and which test shows it" --repo PATH --auto')
    say(
        f"\nThat took {result['duration_s']} s. All of it is in {escape(str(root))}; remove it when"
    )
    say("you have seen enough.")


def _clone(record: Mapping[str, Any]) -> str:
    return f"git clone {shlex.quote(str(record['delivered_to']))} my-project"


def _say_tests(result: Mapping[str, Any]) -> None:
    before, after = result["tests_before"], result["tests_after"]
    told = f"{before['passed']} of {before['total']} passed" if before else "there were none"
    if after:
        say(f"  Tests before: {told}; now: {after['passed']} of {after['total']} pass.")


async def _verified(command: str, commit: str) -> str:
    """What git itself says of the signature; it needs ssh-keygen for that."""
    if shutil.which("ssh-keygen") is None:
        return "(git needs ssh-keygen for this, and it is not installed here)"
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        commit,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
    )
    try:
        async with asyncio.timeout(_GIT_TIMEOUT_S):
            told, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return "(git did not answer)"
    lines = plain(told.decode(errors="replace")).strip().splitlines()
    return lines[0] if lines else "(git said nothing)"
