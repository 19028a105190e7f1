"""What helps to test code that uses canuse: the API of a server on a manual clock, `canuse.testing.v1`."""

from canuse.testing import v1

__all__ = ["v1"]
