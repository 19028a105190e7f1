"""Trimming: removes what is too old and what no call comes by to remove, such as the events of idle users."""
