"""Settings: the command line overrides the environment, which overrides the file; errors name the source."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.main import get_command

from canuse_server.app.settings_problems import unknown_variables
from canuse_server.cli.main import app
from canuse_server.settings import Settings
from support import fork_server

TLS = ("tls_certificate", "tls_key", "tls_client_ca")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all settings except those of the test."""
    for name in os.environ:
        if name.startswith("CANUSE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def written(folder: Path, text: str | bytes) -> Path:
    """Write a settings file."""
    path = folder / "canuse.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(*options: str, **env: str) -> str:
    """Start `canuse serve`, which must not start: return the one line that it prints."""
    completed = fork_server.run("serve", *options, env={**os.environ, **env})
    said = [line for line in completed.stderr.splitlines() if not line.startswith("{")]  # The log stands apart.
    assert (completed.returncode, completed.stdout) == (1, "")
    assert len(said) == 1, completed.stderr
    assert said[0].startswith("canuse: ")
    return said[0]


def test_without_any_settings_everything_has_a_default() -> None:
    settings = Settings.load(None, {})
    assert (settings.listen, settings.transport, settings.clock) == ("127.0.0.1:50051", "auto", "system")
    assert (settings.data_dir, settings.redis_url) == (Path("canuse-data"), None)
    for field in Settings.model_fields.values():
        assert not field.is_required()
        assert field.description


def test_the_file_goes_before_the_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, 'listen = "0.0.0.0:1"\ndurability_replicas = 4\nstore_timeout_seconds = 2.5\n')
    settings = Settings.load(file, {})
    assert (settings.listen, settings.durability_replicas, settings.store_timeout_seconds) == ("0.0.0.0:1", 4, 2.5)
    assert settings.transport == "auto"


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANUSE_DURABILITY_REPLICAS", "5")
    settings = Settings.load(written(tmp_path, 'durability_replicas = 4\nlisten = "0.0.0.0:1"\n'), {})
    assert (settings.durability_replicas, settings.listen) == (5, "0.0.0.0:1")


def test_the_command_line_goes_before_the_environment_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANUSE_LISTEN", "0.0.0.0:2")
    settings = Settings.load(written(tmp_path, 'listen = "0.0.0.0:1"\n'), {"listen": "0.0.0.0:3"})
    assert settings.listen == "0.0.0.0:3"


def test_the_command_reads_all_three_in_this_order(tmp_path: Path) -> None:
    """A wrong value is not read if a source with priority sets the setting; otherwise it is reported."""
    file = written(tmp_path, 'transport = "file"\nclock = "file"\ndurability_replicas = 999\n')
    said = refused("--config", str(file), "--transport", "option", CANUSE_TRANSPORT="env", CANUSE_CLOCK="system")
    assert "transport: " in said
    assert "durability_replicas: " in said
    assert "clock" not in said
    # Nothing is wrong any more but the certificate, once each source has put right what comes after it.
    settings = {
        "CANUSE_CONFIG": str(file),
        "CANUSE_DURABILITY_REPLICAS": "2",
        "CANUSE_CLOCK": "system",
        "CANUSE_TRANSPORT": "env",
    }
    settings |= {"CANUSE_TLS_CERTIFICATE": "no-such.pem", "CANUSE_TLS_KEY": "no-such.pem"}
    assert "no-such.pem" in refused("--transport", "grpcio", **settings)


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is not str])
def test_every_setting_can_be_given_in_the_environment_and_a_wrong_one_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = {"data_dir": "x", "bootstrap_key": "x", "redis_url": "redis://x", **dict.fromkeys(TLS, "x")}.get(name)
    if name in TLS:
        for other in TLS:  # None is accepted without the others.
            monkeypatch.setenv(f"CANUSE_{other.upper()}", "x")
    monkeypatch.setenv(f"CANUSE_{name.upper()}", accepted or "nonsense")
    if accepted:
        assert str(getattr(Settings.load(None, {}), name)) == accepted
        return
    with pytest.raises(ValidationError) as raised:
        Settings.load(None, {})
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("durability_replicas = 0", "durability_replicas"),
        ("durability_replicas = 101", "durability_replicas"),
        ("store_timeout_seconds = 0", "store_timeout_seconds"),
        ("grace_seconds = -1", "grace_seconds"),
        ("dedupe_ttl_seconds = 0", "dedupe_ttl_seconds"),
        ("ledger_max_age_seconds = 0", "ledger_max_age_seconds"),
        ("past_periods_max_age_days = 401", "past_periods_max_age_days"),
        ('fsync = "never"', "fsync"),
        ('log_level = "loud"', "log_level"),
        ("lane = 2", "lane"),
        ('ratelimit_live_domain = ""', "ratelimit_live_domain"),
        ('ratelimit_user_key = ""', "ratelimit_user_key"),
        ('ratelimit_feature_key = "user_id"', "ratelimit_feature_key"),
        ('ratelimit_user_key = "id"\nratelimit_feature_key = "id"', "ratelimit_feature_key"),
        ('ratelimit_unknown = "maybe"', "ratelimit_unknown"),
        ('ratelimit_record_key = ""', "ratelimit_record_key"),
        ('ratelimit_record_key = "user_id"', "ratelimit_record_key"),
        ('ratelimit_feature_key = "record"', "ratelimit_record_key"),
        (f'default_package = "{"x" * 129}"', "default_package"),
        (r'default_package = "a\nb"', "default_package"),
    ],
)
def test_a_wrong_value_and_an_unknown_name_in_the_file_are_named(tmp_path: Path, text: str, name: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.load(written(tmp_path, text), {})
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_a_wrong_value_is_one_line_that_names_the_setting() -> None:
    assert refused(CANUSE_DURABILITY_REPLICAS="many").startswith("canuse: durability_replicas: ")
    assert refused("--clock", "sundial").startswith("canuse: clock: ")


def test_a_wrong_value_is_reported_with_its_source(tmp_path: Path) -> None:
    """pydantic's message names neither."""
    assert refused(CANUSE_DURABILITY_REPLICAS="many").endswith("; 'many' was given in CANUSE_DURABILITY_REPLICAS")
    assert "must be 'system' or 'manual'; 'sundial' was given with --clock" in refused("--clock", "sundial")
    assert "; 'nowhere' was given with --listen" in refused("--listen", "nowhere")
    file = written(tmp_path, "durability_replicas = 999\nlisten = 5")
    said = refused("--config", str(file))
    assert f"durability_replicas: must be at most 100; 999 was given in {file}" in said
    assert f"listen: must be a valid string; 5 was given in {file}" in said
    assert "Input" not in said


def test_two_settings_that_contradict_each_other_are_reported(tmp_path: Path) -> None:
    said = refused("--workers", "2", "--clock", "manual")
    assert said.startswith("canuse: workers must be 1 with the manual clock")
    assert refused("--tls-key", str(tmp_path)).startswith("canuse: tls_key: must be given together with")


@pytest.mark.parametrize(
    ("text", "wrong", "meant"),
    [
        ('lisen = "127.0.0.1:1"', "lisen", "; did you mean listen?"),
        ("store_timeout = 1", "store_timeout", "; did you mean store_timeout_seconds?"),
        ("[server]\ndurability_replicas = 1", "server", ""),
    ],
)
def test_an_unknown_name_in_the_file_is_reported_with_the_file_and_the_closest_setting(
    tmp_path: Path, text: str, wrong: str, meant: str
) -> None:
    """`lisen: Extra inputs are not permitted` named no file, and looked like a defect of the command."""
    file = written(tmp_path, text)
    assert refused("--config", str(file)) == f"canuse: {file}: {wrong}: unknown setting{meant}"


def test_an_unknown_variable_is_reported_at_start(tmp_path: Path) -> None:
    """A misspelt one was silently ignored."""
    command = ("serve", "--tls-certificate", "none.pem", "--tls-key", "none.pem")
    env = os.environ | {"CANUSE_LISTN": "127.0.0.1:1", "CANUSE_NONSENSE": "1", "CANUSE_SERVICE_HOST": "10.0.0.1"}
    completed = fork_server.run(*command, env=env, folder=tmp_path)
    log = [json.loads(line) for line in completed.stderr.splitlines() if line.startswith("{")]
    assert [(each["level"], each["name"], each["closest"]) for each in log] == [
        ("warning", "CANUSE_LISTN", "CANUSE_LISTEN"),
        ("warning", "CANUSE_NONSENSE", None),
    ]


def test_only_what_is_neither_a_setting_nor_of_the_command_nor_of_kubernetes_is_unknown() -> None:
    kubernetes = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_GRPC", "PORT", "PORT_50051_TCP", "PORT_50051_TCP_ADDR")
    known = [f"CANUSE_{name.upper()}" for name in Settings.model_fields]
    known += ["canuse_durability_replicas", "PATH", "OTHER_LISTEN", *(f"CANUSE_{name}" for name in kubernetes)]
    known += [f"CANUSE_REDIS_{name}" for name in kubernetes]
    known += sorted(variables_of_commands(get_command(app)))
    assert list(unknown_variables(dict.fromkeys(known, "x"))) == []
    assert {"CANUSE_CONFIG", "CANUSE_SERVER", "CANUSE_API_KEY"} <= set(known)
    misspelt = {"CANUSE_REDIS_URI": "x", "CANUSE_": "x", "CANUSE_API_KEYS": "x"}
    assert [each.name for each in unknown_variables(misspelt)] == sorted(misspelt)
    assert next(unknown_variables({"CANUSE_REDIS_URI": "x"})).closest == "CANUSE_REDIS_URL"


def variables_of_commands(command: Any) -> set[str]:
    """Return the environment variables of the options of a command and its subcommands."""
    found = {name for option in command.params for name in (option.envvar or "").split() if name}
    for each in getattr(command, "commands", {}).values():
        found |= variables_of_commands(each)
    return found


def test_a_file_that_is_not_there_or_no_toml_is_one_line_that_names_it(tmp_path: Path) -> None:
    assert "nowhere.toml" in refused("--config", "nowhere.toml")
    file = written(tmp_path, "durability_replicas = ")
    assert str(file) in refused("--config", str(file))


def test_a_file_that_is_no_text_is_one_line_that_names_it(tmp_path: Path) -> None:
    file = written(tmp_path, b"\xff\xfe = 1")
    assert str(file) in refused("--config", str(file))


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://:s3cret@127.0.0.1:port", "127.0.0.1:6379"])
def test_a_url_that_is_none_of_a_redis_is_one_line_that_names_the_setting_and_tells_no_password(url: str) -> None:
    said = refused("--redis-url", url)
    assert "redis_url" in said
    assert "s3cret" not in said


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_an_address_that_is_taken_is_one_line_that_names_it(transport: str) -> None:
    """The server built for the native transport printed errors when it was discarded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert listen in refused("--listen", listen, "--transport", transport)


def test_a_port_that_is_none_is_one_line_and_not_another_port() -> None:
    """The transport grpcio took port 99999 for 34463."""
    assert "listen" in refused("--listen", "127.0.0.1:99999", "--transport", "grpcio")


def test_settings_do_not_show_the_password_of_the_store() -> None:
    assert "s3cret" not in repr(Settings.load(None, {"redis_url": "redis://:s3cret@127.0.0.1"}))
