"""Configuration of Envoy's rate limit service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimitRules:
    """The mapping of rate limit requests to an environment, users and features.

    `domain` selects the environment, `other_domain` the other one. `user_key` and `feature_key` are the keys of
    descriptor entries with the user and the feature; `record_key` is the key of the entry that marks a use as a fact.
    `deny_unknown`: unknown users and features are refused; otherwise they are not limited.
    """

    domain: str = "canuse"
    other_domain: str = "canuse-test"
    user_key: str = "user_id"
    feature_key: str = "feature_id"
    record_key: str = "record"
    deny_unknown: bool = True
