"""For tests of code that uses canuse: `canuse.testing.v1` controls a server with a manual clock."""

from canuse.testing import v1

__all__ = ["v1"]
