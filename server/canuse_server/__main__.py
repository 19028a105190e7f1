"""`python -m canuse_server` is the command `canuse`."""

from canuse_server import main

if __name__ == "__main__":
    main()
