"""What the tests share: real servers and real stores, each a process of its own."""
