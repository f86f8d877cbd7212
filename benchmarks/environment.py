"""The peers' environment, ``.venv-peers``: what Fuelline is measured against and must never install.

It sees Fuelline's own packages behind its own, so that both sides run on the same torch, transformers, pandas and
pyiceberg and nothing of two gigabytes is installed twice. Where a peer needs another version, the peer's wins there,
and Fuelline's environment is never written to.
"""

import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers"
PEERS_PYTHON = PEERS / "bin" / "python"
CONSTRAINTS = ROOT / "constraints-peers.txt"
WANTED = ("great_expectations", "trl")


def ensure_peers() -> None:
    """Make the peers' environment, unless it is there as ``constraints-peers.txt`` wants it.

    Raises:
        subprocess.CalledProcessError: it cannot be made; pip's own output says why.
    """
    own = sysconfig.get_path("purelib")
    ready = PEERS / f"ready-{zlib.crc32(CONSTRAINTS.read_bytes() + own.encode()):08x}"
    if ready.exists():
        return
    print("[setup] Installing the peers into .venv-peers, pinned: half a minute, 60 MB", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
    packages = sysconfig.get_path("purelib", vars={"base": str(PEERS), "platbase": str(PEERS)})
    Path(packages, "fuelline.pth").write_text(own + "\n")
    pip = [str(PEERS_PYTHON), "-m", "pip", "install", "-qq", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(CONSTRAINTS), *WANTED], check=True)
    ready.touch()
