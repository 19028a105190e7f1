"""A backend in Ruby that was written for Kana."""

import os
import subprocess
from pathlib import Path

import pytest

from support.authenticated_server import authenticated_server
from support.load import used
from support.processes import Canuse
from support.resources import subscriber
from support.tools import tool

SCRIPT = Path(__file__).parent / "create_usage_event.rb"


@pytest.mark.extended
def test_a_script_in_ruby_records_usage(tmp_path: Path) -> None:
    ruby = tool("ruby")
    canuse = Canuse(tmp_path, env={"CANUSE_HTTP_LISTEN": "127.0.0.1:0"})
    with authenticated_server(canuse) as server, server.client() as client:
        user_id, feature_id = subscriber(client, 5)
        ids = {"USER_ID": user_id, "FEATURE_ID": feature_id}
        env = {**os.environ, "KANA_URL": f"{canuse.http_url}/graphql", "KANA_KEY": server.admin, **ids}
        done = subprocess.run([ruby, SCRIPT], env=env, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "true\n", "")
        assert used(client, user_id, feature_id) == 2
        env["KANA_KEY"] = "prv_live_x"
        done = subprocess.run([ruby, SCRIPT], env=env, capture_output=True, text=True, timeout=120, check=False)
        assert "Unauthenticated" in done.stderr
        assert used(client, user_id, feature_id) == 2
