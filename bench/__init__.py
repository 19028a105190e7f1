"""How fast canuse is, beside others: load of its own making, candidates in turns, medians of rounds."""
