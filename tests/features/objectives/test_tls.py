"""Over https the certificate must be for the name that was asked for, whatever the address."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from quarterdeck.core.clock import SystemClock
from quarterdeck.features.objectives.fetch import Page
from quarterdeck.features.objectives.miss import Miss
from quarterdeck.features.objectives.scope import parse_url
from tests.features.objectives.sites import Sites, page

pytestmark = pytest.mark.req("RUN-1")


def certificate(folder: Path, name: str) -> Path:
    """A certificate of its own authority for one name, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = SystemClock().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.mark.parametrize(
    ("certified", "trusted", "fetched"),
    [("a.test", True, True), ("b.test", True, False), ("a.test", False, False)],
)
async def test_the_certificate_is_checked_against_the_name(
    fetching, tmp_path, monkeypatch, certified, trusted, fetched
):
    file = certificate(tmp_path, certified)
    told: list[str | None] = []
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(file)
    offered.sni_callback = lambda _socket, name, _context: told.append(name)
    if trusted:
        # The certificates that the machine trusts cannot be changed by a test.
        ours = ssl.create_default_context(cafile=str(file))
        monkeypatch.setattr(httpx2, "create_ssl_context", lambda **_: ours)
    sites = Sites({"a.test": {"/": page("T", "Secure")}})
    server = await asyncio.start_server(sites.answer, "127.0.0.1", 0, ssl=offered)
    port = server.sockets[0].getsockname()[1]
    try:
        async with fetching(f"a.test:{port}", ports=(port,)) as fetcher:
            found = await fetcher.get(parse_url(f"https://a.test:{port}/"))
    finally:
        server.close()
        await server.wait_closed()
    assert told == ["a.test"]
    assert isinstance(found, Page if fetched else Miss)
    assert bool(sites.asked) is fetched
    if isinstance(found, Miss):
        assert found.rule == "fetch.network"
