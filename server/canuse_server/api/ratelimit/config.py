"""What is set for Envoy's rate limit service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimitRules:
    """How the requests of an environment are read.

    `domain` is the one that stands for the environment, `other_domain` that of the other one; `user_key` and
    `feature_key` are the entries of a descriptor that say who uses what, `record_key` is the one that says whether the
    use has happened already. `deny_unknown` is whether a user or a feature that is not known is refused or let through.
    """

    domain: str = "canuse"
    other_domain: str = "canuse-test"
    user_key: str = "user_id"
    feature_key: str = "feature_id"
    record_key: str = "record"
    deny_unknown: bool = True
