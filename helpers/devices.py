"""What training needs to know of the device: precision, several GPUs, full memory."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras

from helpers.config import CourseError

_NO_MEMORY = re.compile(
    r"resource.?exhausted|out.?of.?memory|\bOOM\b|failed to allocate|MemoryError", re.I
)
_NO_DISK = re.compile(r"no space left|disk quota", re.I)


class DeviceFull(CourseError):
    """The device's memory did not hold a batch; `half`: the size to try, or None."""

    def __init__(self, message: str, half: int | None):
        super().__init__(message)
        self.half = half


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Build layers with this dtype policy, as "mixed_float16", and then as before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def mixed_precision() -> str:
    """Return the precision in which this machine trains fast.

    "mixed_bfloat16" on GPUs from compute capability 8.0 (Ampere) and on CPUs that have
    instructions for it, "mixed_float16" on older GPUs such as Colab's T4, else
    "float32": without such instructions, 16 bits cost a CPU time.
    """
    if not keras.distribution.list_devices("gpu"):
        try:
            known = Path("/proc/cpuinfo").read_text()
        except OSError:  # not Linux
            known = ""
        fast = "avx512_bf16" in known or "amx_bf16" in known
        return "mixed_bfloat16" if fast else "float32"
    if keras.backend.backend() == "jax":
        import jax

        capability = float(jax.devices("gpu")[0].compute_capability)
    else:
        import tensorflow as tf

        gpu = tf.config.list_physical_devices("GPU")[0]
        details = tf.config.experimental.get_device_details(gpu)
        capability = details.get("compute_capability", (0, 0))[0]
    return "mixed_bfloat16" if capability >= 8 else "mixed_float16"


def several(devices: Sequence[str] | None = None) -> list[str]:
    """Return the devices to share each batch out to, none if one does the work.

    `devices`: names as `keras.distribution.list_devices()` returns them; None: all GPUs
    (or TPUs) of this machine.
    """
    if devices is None:
        devices = keras.distribution.list_devices()
        devices = [name for name in devices if not name.lower().startswith("cpu")]
    return list(devices) if len(devices) > 1 else []


@contextmanager
def spread(devices: Sequence[str]) -> Iterator[None]:
    """Build and train models on all of these devices, each batch in equal parts.

    The weights are on every device, and gradients are averaged after every batch:
    `tf.distribute.MirroredStrategy` on TensorFlow, `keras.distribution.DataParallel` on
    JAX. With no devices, nothing changes. Source:
    https://keras.io/guides/distributed_training_with_tensorflow/ and
    https://keras.io/guides/distribution/
    """
    if not devices:
        yield
    elif keras.backend.backend() == "jax":
        before = keras.distribution.distribution()
        parallel = keras.distribution.DataParallel(devices=list(devices))
        keras.distribution.set_distribution(parallel)
        try:
            yield
        finally:
            keras.distribution.set_distribution(before)
    else:
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy([name.upper() for name in devices])
        with strategy.scope():
            yield


def check_parts(batch_size: int, devices: Sequence[str]) -> None:
    """Raise `CourseError` if a batch cannot be shared out in equal parts."""
    if devices and batch_size % len(devices):
        raise CourseError(
            f"a batch of {batch_size} cannot be shared out equally to {len(devices)} "
            f"devices ({', '.join(devices)}). Set a batch_size that "
            f"{len(devices)} divides, or name fewer devices."
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory is full, on whichever backend.

    TensorFlow raises `ResourceExhaustedError`, JAX a `JaxRuntimeError` that begins with
    RESOURCE_EXHAUSTED, Python a `MemoryError`; a full disk is another matter.
    """
    text = f"{type(error).__name__}: {error}"
    return bool(_NO_MEMORY.search(text)) and not _NO_DISK.search(text)
