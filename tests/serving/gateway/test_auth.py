"""The agents' keys: made once, kept as hashes, refused by name when their file is wrong."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from errors import SettingsError
from serving.gateway.auth import Keys, digest, make_key, read_keys


def test_a_key_opens_its_agent_and_no_other() -> None:
    jamie, bruno = make_key(), make_key()
    keys = Keys(agents={digest(jamie): "jamie", digest(bruno): "bruno"})
    assert keys.agent_of(jamie) == "jamie"
    assert keys.agent_of(bruno) == "bruno"
    assert keys.agent_of(make_key()) is None
    assert keys.agent_of("") is None
    assert keys.agent_of(digest(jamie)) is None
    assert keys.agent_of("\ud800") is None


def test_the_command_shows_the_key_once_and_prints_the_line_that_lets_it_in(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["keys", "create", "jamie"]).output
    [key] = [line.strip() for line in said.splitlines() if line.strip().startswith("fl-")]
    line = said.splitlines()[-1]
    assert key not in line
    file = tmp_path / "keys.json"
    file.write_text(f"{{{line}}}")
    assert read_keys(file).agent_of(key) == "jamie"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "cannot read"),
        ("{", "is not JSON"),
        ("[]", "must hold"),
        (json.dumps({"fl-plain": "jamie"}), "must hold"),
        (json.dumps({"0" * 64: "jamy"}), "did you mean 'jamie'"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(tmp_path: Path, content: str | None, fault: str) -> None:
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=f"FUELLINE_KEYS: .*{fault}"):
        read_keys(file)
