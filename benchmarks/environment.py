"""The environment of the peers, ``.venv-peers``: packages for comparison, which Fuelline must never install.

It uses Fuelline's packages after its own, so that both sides run on the same torch, transformers, pandas and pyiceberg,
and two gigabytes are not installed twice. If a peer needs another version, its own is used there; Fuelline's
environment is never changed.
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
PEER_PACKAGES = ("great_expectations", "trl")


def ensure_peers() -> None:
    """Create the environment of the peers, unless it exists for the present ``constraints-peers.txt``.

    Raises:
        subprocess.CalledProcessError: it cannot be created; the output of pip has the reason.
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
    subprocess.run([*pip, "--constraint", str(CONSTRAINTS), *PEER_PACKAGES], check=True)
    ready.touch()
