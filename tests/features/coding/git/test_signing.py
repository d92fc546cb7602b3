"""The signing key: made once for its owner alone, and signatures nothing else passes for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from quarterdeck.core.errors import InvalidInput
from quarterdeck.features.coding.git.signing import SigningKey, verify, verify_commit


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    first = SigningKey.load_or_create(tmp_path / "keys" / "key")
    assert (tmp_path / "keys" / "key").stat().st_mode & 0o777 == 0o600
    assert SigningKey.load_or_create(tmp_path / "keys" / "key").public == first.public
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["key"]


def test_an_open_a_broken_and_another_sort_of_key_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    SigningKey.load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match="read by others"):
        SigningKey.load_or_create(path)
    path.chmod(0o600)
    path.write_text("nonsense")
    with pytest.raises(InvalidInput, match="cannot be read"):
        SigningKey.load_or_create(path)
    curve = generate_private_key(SECP256R1())
    path.write_bytes(curve.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with pytest.raises(InvalidInput, match="not Ed25519"):
        SigningKey.load_or_create(path)


def test_openssh_verifies_our_signature_and_we_verify_its(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path / "key")
    (tmp_path / "allowed").write_text(f"me {key.public}\n")
    (tmp_path / "sig").write_text(key.sign(b"message"))
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", "me", "-n", "git", "-s", "sig"],
            input=b"message", cwd=tmp_path, capture_output=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    assert done.returncode == 0, done.stderr
    (tmp_path / "message").write_bytes(b"message")
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", "key", "-n", "git", "message"],
        cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    assert verify(b"message", (tmp_path / "message.sig").read_text(), key.public)
    assert (tmp_path / "message.sig").read_text() == key.sign(b"message")


def test_nothing_else_verifies(tmp_path: Path) -> None:
    key = SigningKey.load_or_create(tmp_path / "key")
    other = SigningKey.load_or_create(tmp_path / "other")
    armor = key.sign(b"message")
    assert verify(b"message", armor, key.public)
    assert not verify(b"messagE", armor, key.public)
    assert not verify(b"message", armor, other.public)
    assert not verify(b"message", other.sign(b"message"), key.public)
    for broken in ("", "x", armor[:-40], armor.replace("A", "B"), armor * 20):
        assert not verify(b"message", broken, key.public)
    for public in ("", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa AAAA"):
        assert not verify(b"message", armor, public)


@given(st.binary(max_size=300))
def test_arbitrary_commits_never_verify_and_never_fail(content: bytes) -> None:
    public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    assert not verify_commit(content, public)
    assert not verify_commit(b"tree x\ngpgsig " + content, public)
