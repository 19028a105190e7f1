"""The environment variables that stand for settings of a client which are not given. The command has the same ones."""

import os
from typing import Any, Final

from canuse._channel import DEFAULT_TARGET, Metadata, call_metadata, check_target
from canuse._tls import Tls
from canuse.errors import BadArgument

SERVER: Final = "CANUSE_SERVER"
API_KEY: Final = "CANUSE_API_KEY"
# They are not CANUSE_TLS_…: those are settings of the server.
TLS: Final = "CANUSE_CLIENT_TLS"
TLS_CA: Final = "CANUSE_CLIENT_TLS_CA"
TLS_CERTIFICATE: Final = "CANUSE_CLIENT_TLS_CERTIFICATE"
TLS_KEY: Final = "CANUSE_CLIENT_TLS_KEY"

_YES: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_NO: Final = frozenset({"0", "false", "f", "no", "n", "off"})


def target(given: Any) -> str:
    """Return the address of the server; BadArgument names the argument or the variable that has none."""
    if given is None and (value := os.environ.get(SERVER)):
        return check_target(SERVER, value)
    return check_target("target", DEFAULT_TARGET if given is None else given)


def metadata(api_key: Any, durability: Any) -> Metadata:
    """Return the metadata of each call; BadArgument names the argument or the variable that cannot be sent."""
    if api_key is None and (value := os.environ.get(API_KEY)):
        return call_metadata(value, durability, key_name=API_KEY)
    return call_metadata(api_key, durability)


def tls() -> Tls | bool:
    """Return the settings for TLS; BadArgument names a variable that cannot be used."""
    ca, certificate, key = (os.environ.get(name) or None for name in (TLS_CA, TLS_CERTIFICATE, TLS_KEY))
    if (certificate is None) != (key is None):
        raise BadArgument.of(TLS_KEY if key is None else TLS_CERTIFICATE, "certificate and key must be set together")
    if ca or certificate:
        return Tls(ca, certificate, key)
    value = os.environ.get(TLS, "").lower()
    if value and value not in _YES | _NO:
        raise BadArgument.of(TLS, f"{value!r} is not accepted; expected true or false")
    return value in _YES
