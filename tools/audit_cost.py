"""Measure what an audit costs as the number of images grows, and record it.

    python tools/audit_cost.py              # two to fifty thousand images, an hour
    python tools/audit_cost.py 2000 7019    # these sizes; others stay as recorded

The images are phantoms of 224 x 224 pixels, each bent anew so that none is a twin of
another: the dearest case, because nothing can be skipped. Every size runs in its own
process, which reports its peak memory. Timings are of the machine as it was: the load
at the start is recorded with them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, map_coordinates

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import audit  # noqa: E402
from helpers.datasets import Dataset  # noqa: E402
from helpers.experiments.records import commit, cpu_name  # noqa: E402
from helpers.phantoms import generate  # noqa: E402

SIZES = (2000, 7019, 14000, 28000, 50000)
PIXELS = 224
PHANTOMS = 400
TARGET = ROOT / "data" / "recorded" / "audit-cost.json"


def make_images(path: Path, count: int) -> None:
    """Write `count` images as one .npy file: phantoms, bent by smooth random warps."""
    originals = generate(PHANTOMS, PIXELS, progress=False).images
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, PIXELS, PIXELS))
    grid = np.mgrid[:PIXELS, :PIXELS].astype(np.float32)
    for index in range(count):
        rng = np.random.default_rng(index)
        noise = rng.standard_normal((2, 28, 28)).astype(np.float32)
        drift = gaussian_filter(noise, (0, 3, 3))
        drift *= 5 / drift.std()
        moved = grid + np.kron(drift, np.ones((1, 8, 8), np.float32))
        images[index] = map_coordinates(originals[index % PHANTOMS], moved, order=1)
    images.flush()


def peak_memory() -> int:
    """Return this process's peak memory in bytes, on Linux.

    Not `getrusage`: its number starts at the size of the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(path: Path, count: int) -> dict:
    """Audit the first `count` images and return seconds and peak memory."""
    images = np.load(path, mmap_mode="r")[:count]
    files = [f"image-{index:05d}" for index in range(count)]
    columns = {"file": files, "split": pd.NA, "class": "phantom", "mode": "L"}
    table = pd.DataFrame(columns | {"width": PIXELS, "height": PIXELS})
    labels, nothing = np.zeros(count, int), pd.DataFrame(columns=["file", "reason"])
    data = Dataset(
        "cost", images, labels, ("phantom",), table, nothing, True, fingerprint=""
    )
    load, cpu, started = os.getloadavg()[0], time.process_time(), time.perf_counter()
    found = audit.audit(data)
    return {
        "num_images": count,
        "wall_seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_gb": round(peak_memory() / 1e9, 2),
        "load_at_start": round(load, 1),
        "groups": int(found.files["group"].nunique()),
    }


def write(run: dict) -> None:
    """Put one size into the record; the sizes that are there already stay."""
    earlier = json.loads(TARGET.read_text())["runs"] if TARGET.exists() else []
    kept = [r for r in earlier if r["num_images"] != run["num_images"]]
    runs = sorted([*kept, run], key=lambda r: r["num_images"])
    record = {
        "name": TARGET.stem,
        "dataset": {
            "name": "phantoms (synthetic)",
            "copy": f"{PIXELS} x {PIXELS} pixels, warped, no two alike",
        },
        "manifest_sha256": None,
        "plan_sha256": None,
        "looks": 0,
        "protocol": "helpers.audit.audit on the first n images, a process each. CPU "
        "seconds add up both cores and are the steadier measure on a busy machine.",
        "weights": None,
        "profile": None,
        "seeds": [],
        "backend": "numpy",
        "device": f"{os.cpu_count()} CPU cores, {cpu_name()}, other work too",
        "versions": {name: version(name) for name in ("numpy", "scipy", "pillow")},
        "commit": commit(),
        "recorded_on": date.today().isoformat(),
        "wall_seconds": round(sum(r["wall_seconds"] for r in runs), 1),
        "runs": runs,
    }
    np.savez_compressed(TARGET.with_suffix(".npz"), **pd.DataFrame(runs))
    TARGET.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="SIZE")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "COUNT"), help="one size")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), int(options.one[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        make_images(path, max(options.sizes))
        for count in options.sizes:
            command = [sys.executable, __file__, "--one", str(path), str(count)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            write(json.loads(done.stdout))
            print(done.stdout.decode(), flush=True)


if __name__ == "__main__":
    main()
