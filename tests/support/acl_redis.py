"""A Redis with TLS, client certificates, and an ACL user for canuse with no more rights than the docs grant."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from redis import Redis

from support.certificates import Authority
from support.processes import RedisServer, free_port
from support.tools import ROOT, tool

PASSWORD: Final = "a-password"


def documented_user(page: str = "docs/storage.md", name: str = "acl") -> list[str]:
    """Return the ACL command that a page gives for canuse's user, or for another one, as words."""
    text = (ROOT / page).read_text()
    block = re.search(rf"<!-- {name}:begin -->\n```\n(.*?)```", text, re.DOTALL)
    assert block is not None
    words = block[1].replace(">the-password", f">{PASSWORD}").split()
    # The system's Redis does not know this command yet.
    return [word for word in words if word != "+waitaof"]


class AclRedis(RedisServer):
    """A Redis on two ports: `url` is the one without TLS, for tests that inspect it with all rights."""

    def __init__(self, folder: Path) -> None:
        self.tls_port = free_port()
        authority = Authority(folder / "certificates")
        server, client = authority.server(), authority.client()
        tls = {"tls-cert-file": server.certificate, "tls-key-file": server.key, "tls-ca-cert-file": authority.path}
        settings = ["--tls-port", str(self.tls_port), "--tls-auth-clients", "yes"]
        for name, value in tls.items():
            settings += [f"--{name}", str(value)]
        super().__init__(tool("redis-server"), folder / "redis", settings)
        self.ca = {"ssl_ca_certs": str(authority.path)}
        self.certificate = {"ssl_certfile": str(client.certificate), "ssl_keyfile": str(client.key)}

    def start(self) -> "AclRedis":
        """See RedisServer."""
        super().start()
        try:
            with Redis(port=self.port) as client:
                client.execute_command(*documented_user())
                client.execute_command(*documented_user("docs/operations.md", "acl-backup"))
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def acl_url(self) -> str:
        """The URL for canuse, with TLS and the restricted user."""
        return self._url_of("canuse")

    @property
    def backup_url(self) -> str:
        """The URL for backups, with TLS and the user that the docs give for them."""
        return self._url_of("canuse-backup")

    def _url_of(self, user: str) -> str:
        query = urlencode(self.ca | self.certificate)
        return f"rediss://{user}:{PASSWORD}@127.0.0.1:{self.tls_port}/0?{query}"
