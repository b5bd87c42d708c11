"""Several machines: what chapter 7 says that Keras can do, on loopback."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("two_processes.py")


def losses(count: int) -> list[dict]:
    """Return what each of so many processes printed that trained one model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Without what another test of this process may have set: one device a program.
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(number), str(count), str(port)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    try:
        found = [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(p.returncode == 0 for p in processes), found[0][1][-2000:]
    return [json.loads(output.splitlines()[-1]) for output, _ in found]


@pytest.mark.slow
def test_two_processes_on_jax_give_the_same_loss_as_one():
    (alone,), both = losses(1), losses(2)
    assert [process["devices"] for process in both] == [2, 2]
    for process in both:
        np.testing.assert_allclose(process["loss"], alone["loss"], rtol=1e-5)
