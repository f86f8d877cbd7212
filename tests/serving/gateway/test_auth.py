"""The agents' keys: shown once, stored as hashes, and a key file that is invalid is refused with the reason."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from errors import SettingsError
from serving.gateway.auth import ApiKeys, key_digest, make_key, read_keys


def test_a_key_identifies_its_agent_and_no_other() -> None:
    jamie, bruno = make_key(), make_key()
    keys = ApiKeys(agents={key_digest(jamie): "jamie", key_digest(bruno): "bruno"})
    assert keys.agent_of(jamie) == "jamie"
    assert keys.agent_of(bruno) == "bruno"
    assert keys.agent_of(make_key()) is None
    assert keys.agent_of("") is None
    assert keys.agent_of(key_digest(jamie)) is None
    assert keys.agent_of("\ud800") is None


def test_the_command_shows_the_key_once_and_prints_the_line_for_the_key_file(tmp_path: Path) -> None:
    output = CliRunner().invoke(main, ["keys", "create", "jamie"]).output
    [key] = [line.strip() for line in output.splitlines() if line.strip().startswith("fl-")]
    line = output.splitlines()[-1]
    assert key not in line
    file = tmp_path / "keys.json"
    file.write_text(f"{{{line}}}")
    assert read_keys(file).agent_of(key) == "jamie"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read"),
        ("{", "is not JSON"),
        ("[]", "must hold"),
        (json.dumps({"fl-plain": "jamie"}), "must hold"),
        (json.dumps({"0" * 64: "jamy"}), "did you mean 'jamie'"),
    ],
)
def test_an_invalid_key_file_is_refused_with_the_reason(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=f"FUELLINE_KEYS: .*{reason}"):
        read_keys(file)
