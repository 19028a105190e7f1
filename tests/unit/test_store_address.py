"""Store URLs: every valid form is parsed, and errors do not repeat the URL, which may contain a password."""

import pytest

from canuse_server.store.redis.address import Address, StoreAddress
from canuse_server.store.redis.replies import pack
from canuse_server.store.redis.url import check_redis_url

RIGHT = [
    "redis://h",
    "rediss://u:p@h:1/2?ssl_cert_reqs=none",
    "unix:///run/redis.sock",
    "redis+sentinel://a:1,b,[::1]:3/mymaster",
    "rediss+sentinel://u:p%40ss@a:1,b:2/mymaster/3?sentinel_password=s",
    "redis+cluster://a:1,b:2",
    "redis+cluster://:p@a",
]
WRONG = [
    ("http://h", "must be a URL that starts with"),
    ("redis+x://h", "must be a URL that starts with"),
    ("redis://", "must name a host"),
    ("redis://h:0", "must name a host"),
    ("redis://h/a", "number of a database"),
    ("redis+sentinel://a:1,b:2", "must name the master"),
    ("redis+sentinel://a:1,b:2/", "must name the master"),
    ("redis+sentinel://a:1,,b:2/m", "must name hosts and ports"),
    ("redis+sentinel://a:70000/m", "must name hosts and ports"),
    ("redis+sentinel://a:1/m/x", "number of a database"),
    ("redis+cluster://", "must name hosts and ports"),
    ("redis+cluster://a:0", "must name hosts and ports"),
    ("redis+cluster://a:1/1", "must have nothing after the addresses"),
]


@pytest.mark.parametrize("url", RIGHT)
def test_every_form_is_accepted(url: str) -> None:
    check_redis_url(url)
    StoreAddress.from_url(url)


@pytest.mark.parametrize(("url", "message"), WRONG)
def test_an_error_does_not_repeat_the_url(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        check_redis_url(url.replace("://", "://user:s3cret@", 1))
    assert "s3cret" not in str(refused.value)


def test_sentinels_are_parsed_with_their_own_credentials_and_those_of_the_master() -> None:
    url = "redis+sentinel://u:p%40ss@a:1,b,[::1]:3/my%20master/3?sentinel_username=x&sentinel_password=y"
    address = StoreAddress.from_url(url)
    assert address.sentinels is not None
    assert address.sentinels.addresses == (Address("a", 1), Address("b", 26379), Address("::1", 3))
    assert address.sentinels.master == "my master"
    sentinel_options = address.sentinels.options
    assert (sentinel_options["username"], sentinel_options["password"], sentinel_options["ssl"]) == ("x", "y", False)
    handshake = pack(("AUTH", "u", "p@ss")) + pack(("SELECT", "3")) + pack(("ROLE",))
    assert (address.handshake, address.handshake_replies) == (handshake, 3)
    assert address.address == "my master by the Sentinels a:1, b:26379, [::1]:3"
    assert "p@ss" not in repr(address)


def test_nodes_of_a_cluster_are_parsed_and_each_gets_the_same_handshake() -> None:
    address = StoreAddress.from_url("rediss+cluster://u:secret@a:1,b")
    assert address.seeds == (Address("a", 1), Address("b", 6379))
    node = address.at(Address("c", 5))
    assert (node.host, node.port, node.seeds, node.tls) == ("c", 5, (), address.tls)
    assert node.tls is not None
    assert node.handshake == pack(("AUTH", "u", "secret"))
    assert address.address == "the Cluster of a:1, b:6379"
    assert "secret" not in repr(address)
