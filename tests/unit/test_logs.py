"""Lines of the log: several processes write theirs to one pipe, and none is cut by another's."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from canuse_server.runtime.logs import MAX_LINE_BYTES

LINES = 40
WRITER = f"""
import sys, structlog
from canuse_server.runtime import logs, standard_error
standard_error.install()
logs.configure("info", share_stderr=True)
for number in range({LINES}):
    structlog.get_logger().info("line", who=sys.argv[1], number=number, text="<" + "é" * int(sys.argv[2]) + ">")
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_of_several_processes_do_not_mix_however_long_they_are(unbuffered: str) -> None:
    # Python wrote more than 8 KiB in two parts, and the pipe takes more than 4 KiB in parts while it is full.
    reader, writer = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(who), size],
            stderr=writer,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
        for who, size in enumerate(("5", "3000", "3000"))
    ]
    os.close(writer)
    with os.fdopen(reader, "rb") as read:
        lines = read.read().splitlines(keepends=True)
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for who in ("0", "1", "2"):
        assert [line["number"] for line in found if line["who"] == who] == list(range(LINES))
    assert all(len(line) <= MAX_LINE_BYTES for line in lines)
    # The longest text loses its middle, and no more than it must.
    texts = {line["who"]: line["text"] for line in found}
    assert texts["0"] == "<ééééé>"
    assert texts["1"].startswith("<éé")
    assert " … " in texts["1"]
    assert texts["1"].endswith("éé>")
