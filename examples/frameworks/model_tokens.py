"""Tokens of a language model: reserved before the call, and settled for what it really used."""

from datetime import timedelta

import canuse

client = canuse.Client()
MAX_TOKENS = 500
MIN_TOKENS = 20
"""Below that an answer is not worth its call."""


def complete(prompt: str, max_tokens: int) -> tuple[str, int]:
    """Return a text and the tokens that it took, as a model does; this one repeats what it is told."""
    words = prompt.split()
    if not words:
        raise ValueError("the prompt is empty")
    answer = words[:max_tokens]
    return " ".join(answer), len(answer)


def answer_prompt(user_id: str, prompt: str) -> str:
    """Return the model's answer, which is shorter if few tokens are left; AccessDenied if there are too few.

    Several calls at once never use more than the budget together, and one that fails costs nothing.
    """
    lease = client.reserve(user_id, "tokens", MAX_TOKENS, min_amount=MIN_TOKENS, ttl=timedelta(minutes=5))
    lease.raise_if_denied()
    try:
        text, tokens = complete(prompt, max_tokens=lease.granted)
    except BaseException:
        client.settle(lease.lease_id, 0)
        raise
    client.settle(lease.lease_id, tokens)
    return text
