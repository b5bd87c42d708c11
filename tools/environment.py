"""Makes .venv hold exactly what requirements.lock says; quick when it already does.

Run by the Makefile with the system's Python, so only the standard library is used:
`python tools/environment.py [--gpu]`. Nothing counts as installed before all of it is:
an interrupted run is continued by the next one.
"""

import ast
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "course-lock"
SUPPORTED = ((3, 11), (3, 13))

# pip's settings by their names, and uv's environment variables for the same.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
}


class SetupError(Exception):
    """A step of the setup failed; the message says what to do."""


def run(*command: object, env: dict[str, str] | None = None) -> int:
    """Run a command that may print, and return its exit status."""
    return subprocess.run([str(part) for part in command], env=env).returncode


def locked(package: str) -> str:
    """Return `package==version` as the lock pins it."""
    for line in LOCK.read_text().splitlines():
        if line.startswith(f"{package}=="):
            return line.split(";")[0].strip()
    raise SetupError(f"{LOCK.name} does not pin {package}; run make lock.")


def uv_settings(pip_config: str, environment: dict[str, str]) -> dict[str, str]:
    """Translate `pip config list` into uv's variables.

    uv does not read pip's configuration. What is already set for uv stays; pip's
    environment variables win over its files, and its [install] section over [global].
    """
    found: dict[str, tuple[int, str]] = {}
    order = {"global": 0, "install": 1, ":env:": 2}
    for line in pip_config.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in order and name in UV_NAMES:
            rank = order[section]
            if rank >= found.get(name, (-1, ""))[0]:
                found[name] = (rank, str(ast.literal_eval(value)))
    settings = {
        UV_NAMES[name]: " ".join(value.split())
        for name, (_, value) in found.items()
        if UV_NAMES[name] not in environment
    }
    if "UV_FIND_LINKS" in settings:
        settings["UV_FIND_LINKS"] = settings["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in settings:
        # pip takes the best version from any index, uv from the first that has one.
        settings.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return settings


def version_of(python: Path) -> tuple[int, ...] | None:
    """Return (major, minor) of an interpreter, or None if it does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError:
        return None
    return tuple(int(part) for part in answer.stdout.split()) or None


def moved() -> bool:
    """Tell whether .venv was made elsewhere: its programs name the old place."""
    try:
        head = (VENV / "bin" / "pip").read_text(errors="replace")[:1000]
    except OSError:
        return False
    # Behind #!, or in the second line, behind /bin/sh, if it is long or has spaces.
    named = re.search(r"(/[^\n\"']*/bin)/python", head)
    return bool(named) and Path(named[1]).resolve() != (VENV / "bin").resolve()


def make_venv() -> None:
    """Create .venv with pip in it, unless a sound one is there."""
    version = None if moved() else version_of(PYTHON)
    if version is None or not SUPPORTED[0] <= version <= SUPPORTED[1]:
        print(f"[1/3] Creating .venv with Python {sys.version.split()[0]}", flush=True)
        if run(sys.executable, "-m", "venv", "--clear", VENV):
            raise SetupError(
                f"{sys.executable} could not create .venv. On Debian and Ubuntu the "
                "package python3-venv is missing; any other Python 3.11 to 3.13 will "
                "do too: make PYTHON=/path/to/python ..."
            )
    if subprocess.run(
        [PYTHON, "-m", "pip", "--version"], capture_output=True
    ).returncode:
        run(PYTHON, "-m", "ensurepip")


def install(gpu: bool) -> None:
    """Install uv with pip, and the lock with uv; raise `SetupError` if either fails."""
    no_network = (
        "The packages could not be installed; the lines above say why. Without network "
        "there is no first setup: connect, or point pip at your mirror "
        "(PIP_INDEX_URL), and run the same command again; it goes on where it stopped."
    )
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check"]
    uv, uv_pin = VENV / "bin" / "uv", locked("uv")
    print("[2/3] Installing uv", flush=True)
    if run(*pip, "install", "--quiet", "--retries", "2", uv_pin):
        raise SetupError(no_network)
    listing = subprocess.run([*pip, "config", "list"], capture_output=True, text=True)
    env = {**os.environ, **uv_settings(listing.stdout, dict(os.environ))}
    env["VIRTUAL_ENV"] = str(VENV)
    print("[3/3] Installing what requirements.lock pins (2 GB, minutes)", flush=True)
    if run(uv, "pip", "sync", "--compile-bytecode", LOCK, env=env):
        raise SetupError(no_network)
    if gpu:
        tensorflow = locked("tensorflow").replace("==", "[and-cuda]==")
        run(uv, "pip", "uninstall", "--quiet", "tensorflow-cpu", env=env)
        command = (uv, "pip", "install", "--compile-bytecode", "--reinstall-package")
        if run(*command, "tensorflow", tensorflow, env=env):
            raise SetupError(no_network)


def main(arguments: list[str]) -> int:
    """Bring .venv to the lock and stamp it; return an exit status."""
    gpu = "--gpu" in arguments
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = STAMP.read_text().split() if STAMP.exists() else []
    # With CUDA's TensorFlow in place of the CPU build, all else works the same.
    if wanted in stamp and (not gpu or "gpu" in stamp) and not moved():
        return 0
    try:
        make_venv()
        STAMP.unlink(missing_ok=True)
        install(gpu)
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return 130
    STAMP.write_text(wanted + (" gpu" if gpu else "") + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
