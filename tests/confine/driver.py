"""Runs the attacks through the product's own path, as whoever starts it; prints the outcome.

Usage: driver.py ROOT NAMESPACES ABI. It only needs the standard library, so that any Python that an
ordinary user can reach will do.
"""

import asyncio
import dataclasses
import json
import os
import socket
import stat
import sys
from pathlib import Path

from quarterdeck.confine import Confinement, Level, Limits, probe
from quarterdeck.confine.process import start_at

HERE = Path(__file__).parent


def outside_of(root: Path) -> tuple[Path, list[socket.socket], dict[str, object]]:
    """A neighbour's directory with a secret, and servers that must not be reached."""
    outside = root / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (outside / "secret").chmod(0o600)
    servers = []
    for family, kind, address in (
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        (socket.AF_UNIX, socket.SOCK_STREAM, str(outside / "host.sock")),
        (socket.AF_UNIX, socket.SOCK_DGRAM, str(outside / "datagram.sock")),
        (socket.AF_UNIX, socket.SOCK_STREAM, f"\0quarterdeck-test-{os.getpid()}"),
    ):
        server = socket.socket(family, kind)
        server.bind(address)
        if kind == socket.SOCK_STREAM:
            server.listen()
        servers.append(server)
    facts = {
        "outside": str(outside),
        "tcp": servers[0].getsockname()[1],
        "udp": servers[1].getsockname()[1],
        "abstract": f"quarterdeck-test-{os.getpid()}",
        "server": os.getpid(),
    }
    return outside, servers, facts


async def main() -> None:
    root, namespaces, abi = Path(sys.argv[1]), sys.argv[2] == "own", int(sys.argv[3])
    outside, servers, facts = outside_of(root)
    readable, writable = root / "readable", root / "writable"
    readable.mkdir()
    writable.mkdir()
    (readable / "kept").write_text("kept")
    (readable / "attacks.py").write_text((HERE / "attacks.py").read_text())
    facts["readable"] = str(readable)
    real = probe()
    report = dataclasses.replace(real, landlock_abi=min(abi, real.landlock_abi))
    confinement = Confinement(
        readable=(readable,),
        writable=(writable,),
        namespaces=namespaces,
        limits=Limits(open_files=256),
    )
    argv = [sys.executable, str(readable / "attacks.py"), json.dumps(facts)]
    os.environ["SERVER_SECRET"] = "secret"
    async with await start_at(report, argv, cwd=writable, confinement=confinement) as process:
        said = await process.stdout.read()
        errors = await process.stderr.read()
        ending = await process.wait()
    for server in servers:
        server.close()
    outcome = json.loads(said) if said else {"worked": ["it crashed"], "secrets": [], "tried": 0}
    outcome["errors"] = errors.decode()
    outcome["exit_code"] = ending.exit_code
    outcome["own"] = ending.level is Level.NAMESPACE
    outcome["intact"] = (
        sorted(p.name for p in outside.iterdir()) == ["datagram.sock", "host.sock", "secret"]
        and (outside / "secret").read_text() == "secret"
        and stat.S_IMODE((outside / "secret").stat().st_mode) == 0o600
        and (readable / "kept").read_text() == "kept"
    )
    print(json.dumps(outcome))


asyncio.run(main())
