"""Fault injection under load. Each script counts what was acknowledged and reports its figures in a line.

`make test-all` runs each a few times, `make soak` up to a hundred times, as time allows. SOAK_SEED chooses another
seed.
"""
