"""Values that make no sense are refused, and the message says what to do."""

from typing import Any

import pytest

from support.chart import STORE, refusal

NATIVE = STORE | {"transport": "native"}
ENVOY: dict[str, Any] = STORE | {
    "envoy": {"enabled": True},
    "tls": {"existingSecret": "tls"},
    "http": {"enabled": False},
}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "redis.url or redis.existingSecret.name must be set"),
        ({"redis": {"url": "redis://a", "existingSecret": {"name": "b"}}}, "both set"),
        ({"redis": {"url": "redis://user:secret@valkey"}}, "/redis/url"),
        ({"redis": {"url": "http://valkey"}}, "/redis/url"),
        (STORE | {"replica": 3}, "'replica' not allowed"),
        (STORE | {"settings": {"colour": "red"}}, "'colour' not allowed"),
        (STORE | {"settings": {"listen": "0.0.0.0:1"}}, "'listen' not allowed"),
        (STORE | {"settings": {"workers": 0}}, "/settings/workers"),
        (STORE | {"settings": {"durability": "disk"}}, "/settings/durability"),
        (STORE | {"image": {"tag": "latest"}}, "/image/tag"),
        (STORE | {"extraArgs": ["workers=2"]}, "/extraArgs/0"),
        (STORE | {"bootstrapKey": {"sha256": "sk_live_0123"}}, "/bootstrapKey/sha256"),
        (STORE | {"bootstrapKey": {"sha256": f"sha256:{'0' * 64}", "existingSecret": {"name": "a"}}}, "both set"),
        (STORE | {"tls": {"clientCa": {"existingSecret": "a"}}}, "needs tls.existingSecret"),
        (STORE | {"podDisruptionBudget": {"minAvailable": 1}}, "set one of maxUnavailable and minAvailable"),
        (STORE | {"autoscaling": {"enabled": True, "minReplicas": 11}}, "at most autoscaling.maxReplicas"),
        (
            STORE | {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
            "resources.requests.cpu",
        ),
        (STORE | {"terminationGracePeriodSeconds": 15}, "must be more than 15"),
        (STORE | {"settings": {"grace_seconds": 30}, "terminationGracePeriodSeconds": 30}, "must be more than 35"),
        (ENVOY, "envoy.enabled needs bootstrapKey"),
        (ENVOY | {"tls": {}}, "envoy.enabled needs tls.existingSecret"),
        (ENVOY | {"http": {"enabled": True}}, "envoy.enabled needs http.enabled=false"),
        (ENVOY | {"tls": {"existingSecret": "a", "clientCa": {"existingSecret": "b"}}}, "envoy.enabled=false"),
    ],
)
def test_values_are_refused_with_what_to_do(values: dict[str, Any], message: str) -> None:
    assert message in refusal(values)


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"enabled": False},
        {"clients": []},
        {"clients": [{"namespaceSelector": {}}]},
        {"clients": [{"namespaceSelector": {}, "podSelector": {}}]},
        {"clients": [{"namespaceSelector": {"matchLabels": {}}}]},
        {"clients": [{"podSelector": {"matchLabels": {"app": "backend"}}}, {"ipBlock": {"cidr": "0.0.0.0/0"}}]},
        {"clients": [{"ipBlock": {"cidr": "::/0"}}]},
    ],
)
def test_the_native_transport_is_refused_where_strangers_can_reach_it(policy: dict[str, Any]) -> None:
    message = refusal(NATIVE | {"networkPolicy": policy})
    assert "transport=native is for trusted callers" in message
    assert "envoy.enabled=true or transport=grpcio" in message


def test_the_native_transport_is_refused_with_tls_of_its_own() -> None:
    assert "transport=native has no TLS" in refusal(NATIVE | {"tls": {"existingSecret": "tls"}})
