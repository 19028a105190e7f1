"""Things break while calls are made. Each script counts what was acknowledged, and tells it in a line of figures.

`make test-all` does each a few times, `make soak` up to a hundred, as the time allows. SOAK_SEED chooses another seed.
"""
