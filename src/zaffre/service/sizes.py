"""Sizes: what a model will take of this machine, before it was ever measured."""

from zaffre.core.plan import DeploymentPlan
from zaffre.service.runs import MIB, Placement

LOADED_PER_FILE_BYTE = 1.5
LOADED_EXTRA_BYTES = 250 * MIB
"""A model's memory before it was ever measured: its files, what grows around them (KV cache,
buffers), and the engine's libraries. Measured with the starter models: 98 MB of GGUF take 360 to
630 MiB in llama.cpp and openvino, 23 MB of ONNX take 190 MiB."""


def estimate_bytes(plan: DeploymentPlan, placement: Placement) -> int:
    """What one replica will hold, before it was measured. Upstreams hold nothing here."""
    if plan.upstreams:
        return 0
    guess = int(placement.size_bytes * LOADED_PER_FILE_BYTE) + LOADED_EXTRA_BYTES
    declared = plan.serving.memory_mib
    if declared is None:
        return guess
    # An instance type says what a machine has, not what a model takes.
    return declared * MIB if plan.serving.instance_type is None else min(guess, declared * MIB)
