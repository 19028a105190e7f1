"""W3C's header `traceparent`, as callers of the tests send it."""


def trace_id(number: int) -> bytes:
    """Return the id of a trace of the test."""
    return (0xA0A0_0000_0000_0000_0000_0000_0000_0000 + number + 1).to_bytes(16, "big")


def traceparent(number: int, *, sampled: bool) -> tuple[str, str]:
    """Return the header of a call in a trace."""
    return "traceparent", f"00-{trace_id(number).hex()}-{number + 1:016x}-0{int(sampled)}"


def traced(number: int) -> tuple[str, str]:
    """Return the header of a call in a trace whose caller records it."""
    return traceparent(number, sampled=True)
