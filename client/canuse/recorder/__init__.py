"""A recorder of uses: it takes them in microseconds, keeps them on disk, and sends them in batches.

`Client.recorder` and `AsyncClient.recorder` open one; docs/python.md describes what it promises.
"""

from canuse.recorder.async_recorder import AsyncRecorder
from canuse.recorder.events import RecorderFull, RefusedEvent, SpoolInUse
from canuse.recorder.recorder import Recorder

__all__ = ["AsyncRecorder", "Recorder", "RecorderFull", "RefusedEvent", "SpoolInUse"]
