"""What takes part only where it is installed, and `--install`, which installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

#: What the installation of `npm` packages fills, in the project's root; git ignores it.
FOLDER = Path(__file__).parents[2] / ".benchmarks"
#: Installs everything that can be lacking.
FLAG = "--install"

#: Debian's packages, by the command or file that shows that one is there.
_DEBIAN = {
    "redis-server": "redis-server",
    "node": "nodejs",
    "npm": "npm",
}
#: Requirements of Python packages, by the module that shows that one is there.
_PYTHON = {"pylibmc": "pylibmc>=1.6.3", "starsessions": "starsessions[redis]>=2.2"}
_NPM = {"redis-sessions": "redis-sessions@4.0.0"}
#: What pip compiles pylibmc with, where there is none ready for this machine.
_TO_COMPILE_PYLIBMC = {
    "gcc": "gcc",
    "/usr/include/libmemcached/memcached.h": "libmemcached-dev",
    "/usr/include/zlib.h": "zlib1g-dev",
}


class Lacking(Exception):
    """Raised by a peer that cannot be here: its rows are left out, and the run says so by name."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what
        self.why = why


def install() -> None:
    """Install what is lacking, asking for root only where a Debian package is."""
    wanted = {**_DEBIAN, **(_TO_COMPILE_PYLIBMC if find_spec("pylibmc") is None else {})}
    packages = [
        package for sign, package in wanted.items() if not (shutil.which(sign) or Path(sign).exists())
    ]
    if packages:
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        _do([*as_root, "apt-get", "update", "-qq"])
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        _do([*as_root, "env", "DEBIAN_FRONTEND=noninteractive", *command])
    requirements = [requirement for module, requirement in _PYTHON.items() if find_spec(module) is None]
    if requirements:
        _do([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
        invalidate_caches()
    modules = [package for name, package in _NPM.items() if not (FOLDER / "node_modules" / name).exists()]
    if modules:
        FOLDER.mkdir(exist_ok=True)
        options = ["--prefix", str(FOLDER), "--no-audit", "--no-fund", "--loglevel=error"]
        _do(["npm", "install", *options, *modules])


def _do(command: list[str]) -> None:
    print(" ".join(command), file=sys.stderr, flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)
