"""For tests of code that uses canuse; docs/testing.md shows how.

`CanuseServer` is a real server, which the fixtures `canuse_server` and `canuse_client` of pytest start. `FakeClient`
and `FakeAsyncClient` need none. `v1` has the messages and stubs that control a server with a manual clock.
"""

from canuse.testing import v1
from canuse.testing.definitions import Definitions, Terms
from canuse.testing.fake.clients import FakeAsyncClient, FakeClient
from canuse.testing.server import CanuseServer, ServerNotStarted

__all__ = [
    "CanuseServer",
    "Definitions",
    "FakeAsyncClient",
    "FakeClient",
    "ServerNotStarted",
    "Terms",
    "v1",
]
