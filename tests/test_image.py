"""The images contain everything that their modules import."""

import shutil
import subprocess
import sys
from pathlib import Path

from docker.utils.build import exclude_paths

ROOT = Path(__file__).parents[1]
IMPORT_ALL = """
import importlib, pkgutil, sys
context, root = sys.argv[1:]
sys.path[:] = [context, *(path for path in sys.path if path not in ("", root))]
for module in pkgutil.walk_packages([context]):
    importlib.import_module(module.name)
"""


def test_every_module_in_the_images_can_be_imported(tmp_path: Path) -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    for name in exclude_paths(str(ROOT), patterns):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    data = ("lake/sample/voices.yaml", "models/registry/card.md", "reports/templates/page.html")
    for name in ("cli/main.py", *data, "serving/rollout/traffic.sql"):
        assert (tmp_path / name).exists()
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(tmp_path), str(ROOT)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2_000:]
