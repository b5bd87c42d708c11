"""Fetches what the book's pages need, so that they ask nothing of the network.

require.js and the widget manager come as tarballs from the npm registry,
pinned by the sha512 that the registry publishes. They are fetched instead of committed:
nobody's code is copied into the course, and their licences stay beside them.
`python -m tools.offline_assets` (no node needed) fills assets_extra/_offline.
"""

import base64
import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "assets_extra" / "_offline"
REGISTRY = "https://registry.npmjs.org"


@dataclass(frozen=True)
class Package:
    """One npm package: the files taken from it, and the checksum that pins it."""

    name: str
    version: str
    integrity: str
    files: tuple[str, ...]

    @property
    def path(self) -> str:
        """The tarball's path below any npm registry."""
        return f"{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


PACKAGES = (
    Package(
        "requirejs",
        "2.3.7",
        "DouTG8T1WanGok6Qjg2SXuCMzszOo0eHeH9hDZ5Y4x8Je+9JB38HdTLT4/VA8OaUhBa0JPVHJ0py"
        "BkM1z+pDsw==",
        ("require.js", "package.json"),
    ),
    Package(
        "@jupyter-widgets/html-manager",
        "1.0.15",
        "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp"
        "47bCrJ3CQA==",
        (
            "dist/embed-amd.js",
            "dist/1551f4f60c37af51121f.woff2",
            "dist/7a3337626410ca2f4071.woff2",
            "dist/d878b0a6a1144760244f.woff2",
            "dist/embed.js.LICENSE.txt",
        ),
    ),
)


class AssetError(Exception):
    """A tarball could not be had, or is not the pinned one."""


def registry(npmrc: Path | None = None) -> str:
    """Return the npm registry: npm's own settings if there are any, else npm's.

    npm reads `npm_config_registry` in either case, then `registry` in ~/.npmrc.
    """
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/")
    npmrc = npmrc or Path.home() / ".npmrc"
    text = npmrc.read_text() if npmrc.is_file() else ""
    line = re.search(r"^\s*registry\s*=\s*(\S+)", text, re.MULTILINE)
    return line.group(1).strip("\"'").rstrip("/") if line else REGISTRY


def certificates() -> str | bool:
    """Return the file of certificates that this machine names, or the default."""
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT"):
        if os.environ.get(name):
            return os.environ[name]
    return True


def download(url: str) -> bytes:
    """Return the bytes at `url`, showing progress; raise `AssetError` if none come."""
    try:
        answer = requests.get(url, stream=True, timeout=30, verify=certificates())
        answer.raise_for_status()
        size = int(answer.headers.get("content-length", 0)) or None
        name = url.rpartition("/")[2]
        bar = tqdm(total=size, unit="B", unit_scale=True, desc=name, disable=None)
        with bar:
            parts = []
            for part in answer.iter_content(1 << 16):
                parts.append(part)
                bar.update(len(part))
        return b"".join(parts)
    except (requests.RequestException, OSError) as error:
        raise AssetError(
            f"{url} could not be fetched ({type(error).__name__}). The book needs it "
            "once, to work without network afterwards: connect, or set "
            "npm_config_registry to your mirror, and run the same command again."
        ) from error


def unpack(package: Package, tarball: bytes, folder: Path) -> None:
    """Write the package's files into `folder`; `AssetError` on a wrong checksum."""
    digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    if digest != package.integrity:
        raise AssetError(
            f"{package.name} {package.version} has sha512 {digest}, expected "
            f"{package.integrity}: the registry sent something else. Nothing was kept."
        )
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        files = {
            name.rpartition("/")[2]: archive.extractfile(f"package/{name}").read()
            for name in package.files
        }
    fonts = {name: data for name, data in files.items() if name.endswith(".woff2")}
    for name, data in files.items():
        if name in fonts:
            continue
        licence = "LICENSE" in name or name == "package.json"
        plain = package.name.rpartition("/")[2]
        target = folder / (f"licences/{plain}-{name}" if licence else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data if licence else with_fonts(data, fonts))


def with_fonts(script: bytes, fonts: dict[str, bytes]) -> bytes:
    """Return a webpack bundle that carries its fonts, instead of asking for files.

    The widget manager looks for them in a folder beside each *page*, which is never
    where they are. Raises `AssetError` if the bundle does not name a font.
    """
    for name, data in fonts.items():
        inline = b'"data:font/woff2;base64,' + base64.b64encode(data) + b'"'
        script, count = re.subn(rb'\w+\.p\+"' + name.encode() + b'"', inline, script)
        if not count:
            raise AssetError(f"The widget manager does not name its font {name}.")
    return script


def pins() -> str:
    """Return what identifies the wanted state of the folder: sources, and this file."""
    made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return "".join(f"{p.name} {p.version} {p.integrity}\n" for p in PACKAGES) + made_by


def fetch(folder: Path = FOLDER) -> bool:
    """Fill `folder` if it does not hold the pinned files; return whether it was filled.

    The folder appears whole or not at all, so an interrupted run leaves nothing behind.
    """
    stamp = folder / "pins.txt"
    if stamp.is_file() and stamp.read_text() == pins():
        return False
    fresh = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for package in PACKAGES:
        unpack(package, download(f"{registry()}/{package.path}"), fresh)
    (fresh / "pins.txt").write_text(pins())
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(fresh, folder)
    return True


def main() -> int:
    """Fill the folder; return an exit status."""
    try:
        fetch()
    except AssetError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
