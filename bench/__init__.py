"""How fast canuse is: load from h2load, candidates in turns, medians of rounds."""
