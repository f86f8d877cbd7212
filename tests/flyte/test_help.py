"""``pyflyte run FILE --help`` and ``pyflyte run FILE NAME --help``, as users type them, for every workflow."""

import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from launchplans.registry import registered_workflows

ROOT = Path(__file__).parents[2]
FILES = sorted(file.name for file in (ROOT / "workflows").glob("*.py") if file.name != "__init__.py")


@pytest.mark.filterwarnings("ignore:The parameter .* is used more than once")  # how flytekit declares a flag
@pytest.mark.parametrize("file", FILES)
def test_help_lists_the_workflows_of_a_module_and_describes_each(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its command line reads click's version
        from flytekit.clis.sdk_in_container.pyflyte import main
    monkeypatch.chdir(ROOT)
    module = f"workflows.{file.removesuffix('.py')}"
    names = [name.rpartition(".")[2] for name in registered_workflows() if name.startswith(f"{module}.")]
    assert names
    for arguments in ([], *([name] for name in names)):
        result = CliRunner().invoke(main, ["run", f"workflows/{file}", *arguments, "--help"])
        assert result.exit_code == 0, result.output
        assert "not supported" not in result.output
    listed = CliRunner().invoke(main, ["run", f"workflows/{file}", "--help"]).output
    assert all(name in listed for name in names)
