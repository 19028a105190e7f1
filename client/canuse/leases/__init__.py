"""Decisions that a client makes by itself, from units that it has reserved ahead: `Client(leases={…: Lease()})`.

docs/leases.md describes what they promise. What decides is in `units`, `holding`, `account` and `sizing`, without I/O.
`worker` makes the calls of all accounts in a thread, and `ending` settles them when the process ends.
"""

from canuse.leases.settings import NO_LEASES, Lease, check_leases
from canuse.leases.view import HeldLease, HeldLeases

__all__ = ["NO_LEASES", "HeldLease", "HeldLeases", "Lease", "check_leases"]
