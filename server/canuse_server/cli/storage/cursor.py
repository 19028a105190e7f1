"""The file that tells an export where the last one stopped."""

import json
import os
import tempfile
from pathlib import Path

from canuse_server.cli.connection import Refused
from canuse_server.store.keys import BUCKETS
from canuse_server.store.repositories.ledger import Place


class Cursor:
    """The place of the last exported event of each bucket. `path` None: nothing is remembered."""

    def __init__(self, path: Path | None, environment: str) -> None:
        """Read the file, if there is one. Raises Refused if it is not a cursor of the environment, and OSError."""
        self._path = path
        self._environment = environment
        self.places: dict[int, Place] = {}
        if path is None or not path.exists():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            of = str(content["environment"])
            self.places = {int(bucket): Place.parse(place) for bucket, place in content["exported"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(f"--cursor: {path} was not written by this command") from error
        if of != environment or not all(0 <= bucket < BUCKETS for bucket in self.places):
            raise Refused(f"--cursor: {path} is that of an export of {of}: use another file for {environment}")

    def advance(self, bucket: int, place: Place) -> None:
        """Note that the events of a bucket up to a place are exported. Raises OSError."""
        self.places[bucket] = place
        if self._path is None:
            return
        exported = {str(bucket): str(place) for bucket, place in sorted(self.places.items())}
        content = json.dumps({"environment": self._environment, "exported": exported})
        descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content + "\n")
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
