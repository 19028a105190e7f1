"""The first API key can be set before the first start, by its hash or in a file."""

import re
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from canuse import CanuseError, v1
from canuse_server.auth.bootstrap import BootstrapKeyError, read_digest
from support import fork_server
from support.authenticated_server import SCOPES
from support.load import running
from support.message_clients import Client
from support.processes import Canuse
from support.tools import ROOT, tool

SECRET = f"sk_live_{'0123456789abcdef' * 4}"
HASH = f"sha256:{sha256(SECRET.encode()).hexdigest()}"
ANYWHERE = {"CANUSE_LISTEN": "0.0.0.0:0"}


def asked_for(canuse: Canuse, secret: str | None) -> str:
    """Return the reason with which a call fails, empty if it succeeds."""
    with Client(canuse.address, api_key=secret) as client:
        try:
            list(client.list_users())
        except CanuseError as error:
            return error.reason
    return ""


@pytest.mark.extended
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_given_key_is_the_first_one_and_appears_nowhere(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    canuse = Canuse(tmp_path, "--workers", workers, env=ANYWHERE | {"CANUSE_BOOTSTRAP_KEY": str(file)})
    with running(canuse):
        assert canuse.startup_lines == []
        assert asked_for(canuse, SECRET) == ""
        assert asked_for(canuse, None) == "API_KEY_MISSING"
        with Client(canuse.address, api_key=SECRET) as client:
            [key] = client.list_api_keys()
            assert list(key.scopes) == sorted(SCOPES)
            assert key.id in canuse.log
            client.create_api_key("second", SCOPES, environment=v1.ENVIRONMENT_LIVE)
            client.revoke_api_key(key.id)
    # Nothing is created again, and the file is not needed any more.
    file.unlink()
    with running(canuse):
        assert asked_for(canuse, SECRET) == "API_KEY_INVALID"
    assert SECRET[8:] not in canuse.log
    assert HASH[7:] not in canuse.log


@pytest.mark.extended
def test_a_server_on_the_loopback_requires_a_given_key_too(tmp_path: Path) -> None:
    config = tmp_path / "canuse.toml"
    config.write_text(f'bootstrap_key = "{HASH}"\n')
    with running(Canuse(tmp_path, "--config", str(config))) as canuse:
        assert "access by API key" in canuse.ready_line
        assert [asked_for(canuse, SECRET), asked_for(canuse, None)] == ["", "API_KEY_MISSING"]


@pytest.mark.extended
def test_a_key_that_can_not_be_used_ends_the_start_and_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "x")
    for given, message in (
        (SECRET, "bootstrap_key: must be the hash of a key or the path of a file, not a key"),
        ("sha256:12", "bootstrap_key: must have 64 hexadecimal digits after sha256:"),
        (str(file), f"bootstrap_key: {file} must contain one API key, sk_live_ and 64 hexadecimal digits"),
        (str(tmp_path / "no"), f"bootstrap_key: {tmp_path / 'no'}: No such file"),
    ):
        env = ANYWHERE | {"CANUSE_BOOTSTRAP_KEY": given, "CANUSE_HTTP_LISTEN": "", "CANUSE_OPS_LISTEN": ""}
        started = fork_server.run("serve", "--data-dir", str(tmp_path / "data"), env=env)
        assert started.returncode == 1
        assert message in started.stderr
        assert SECRET[8:] not in started.stdout + started.stderr


@pytest.mark.extended
def test_the_documented_commands_make_a_key_and_its_hash(tmp_path: Path) -> None:
    tool("openssl")
    page = (ROOT / "docs" / "security.md").read_text()
    commands = re.findall(r"^  (echo .*?> first-\w+)", page, re.MULTILINE)
    subprocess.run(["/bin/sh", "-ec", "\n".join(commands)], cwd=tmp_path, check=True)
    secret = (tmp_path / "first-key").read_text().strip()
    digest = sha256(secret.encode()).digest()
    assert read_digest(str(tmp_path / "first-key")) == digest
    assert read_digest(str(tmp_path / "first-hash")) == digest
    assert read_digest(f"sha256:{digest.hex()}") == digest


@pytest.mark.parametrize("content", ["", "sk_live_short", f"sk_test_{'0' * 64}", f"{SECRET}\n{SECRET}", "sha256:0"])
def test_a_file_with_anything_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(BootstrapKeyError, match="must contain one API key"):
        read_digest(str(tmp_path / "key"))
