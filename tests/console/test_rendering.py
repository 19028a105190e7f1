"""A long page is written in steps, between which the thread that does it may pause."""

from pathlib import Path

import httpx
import pytest

from canuse_server.transport.http.console import rendering
from support.in_process import served_in_process
from support.processes import RedisServer
from support.tools import VALKEY_SERVER


async def test_a_page_is_written_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0

    def note() -> None:
        nonlocal taken
        taken += 1

    store = RedisServer(VALKEY_SERVER, tmp_path).start()
    monkeypatch.setattr(rendering, "pause_if_due", note)
    try:
        async with served_in_process("grpcio", store.url, http_listen="127.0.0.1:0", ops_listen="") as ready:
            assert ready.http is not None
            features = [{"id": f"feature-{number:02}", "type": "FEATURE_TYPE_BINARY"} for number in range(50)]
            async with httpx.AsyncClient(base_url=ready.http, timeout=60) as http:
                created = await http.post("/canuse.v1.CatalogService/ApplyCatalog", json={"features": features})
                page = await http.get("/console/features")
    finally:
        store.stop()
    assert created.status_code == page.status_code == 200
    assert all(feature["id"] in page.text for feature in features)
    assert taken > len(features)
