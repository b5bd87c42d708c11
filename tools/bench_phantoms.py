"""How fast phantoms are made: slices a second on one core, and the default set.

    python -m tools.bench_phantoms

Prints CPU seconds, which a busy machine changes less than the clock, and the clock
beside them. Run it on a quiet machine: cores that share a cache slow each other down.
"""

import os
import tempfile
import time
from functools import partial

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

from helpers.config import PROFILES  # noqa: E402
from helpers.datasets import load_dataset  # noqa: E402
from helpers.phantoms import generate  # noqa: E402
from helpers.phantoms.head import reference_head  # noqa: E402

PIXELS, NUM_SLICES, NUM_BLOCKS = 128, 100, 9


def seconds(work) -> tuple[float, float]:
    """Return the CPU seconds and the seconds by the clock that `work()` takes."""
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - clock


def main() -> None:
    """Measure and print."""
    reference_head()
    blocks = [
        seconds(partial(generate, NUM_SLICES, PIXELS, seed, progress=False))
        for seed in range(NUM_BLOCKS)
    ]
    fastest, median = min(blocks)[0], sorted(blocks)[NUM_BLOCKS // 2][0]
    print(
        f"{PIXELS} px: {NUM_SLICES / fastest:.0f} slices per CPU second in the fastest "
        f"of {NUM_BLOCKS} blocks, {NUM_SLICES / median:.0f} in the median one"
    )
    quick = PROFILES["quick"]
    os.environ |= {"COURSE_PROFILE": "quick", "BRAIN_MRI_DATA": "phantom"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BRAIN_MRI_CACHE"] = folder
        taken = seconds(load_dataset)
        patients = load_dataset().table["patient"].nunique()
    print(
        f"the default set, {quick.num_phantoms} slices of {patients} patients at "
        f"{quick.pixels} px, made and cached: {taken[0]:.0f} CPU s, {taken[1]:.0f} s"
    )


if __name__ == "__main__":
    main()
