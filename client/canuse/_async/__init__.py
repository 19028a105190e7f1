"""The methods of `canuse.AsyncClient`, one module for each kind of resource.

`tools/generate_sync_client.py` writes `canuse._sync` from it, all but `transport.py`, which is written by hand in both.
"""
