"""Folders for what lives as long as the process."""

import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path


def private_folder(stack: AsyncExitStack) -> Path:
    """Return a new folder for sockets, which only this user can enter."""
    folder = Path(tempfile.mkdtemp(prefix="canuse-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder
