"""Sizes: what a model will take of this machine, before it was ever measured."""

from zaffre.core.plan import DeploymentPlan
from zaffre.service.runs import MIB, Placement

LOADED_PER_FILE_BYTE = 1.5
LOADED_EXTRA_BYTES = 250 * MIB
"""A model's memory before it was ever measured: its files, what grows around them (KV cache,
buffers), and the engine's libraries. Measured with the starter models: 98 MB of GGUF take 360 to
630 MiB in llama.cpp and openvino, 23 MB of ONNX take 190 MiB."""


def declares_memory(plan: DeploymentPlan) -> bool:
    """Whether the plan says what a replica takes: an instance type says what a machine has."""
    return plan.serving.memory_mib is not None and plan.serving.instance_type is None


def estimate_bytes(plan: DeploymentPlan, placement: Placement) -> int:
    """What one replica will hold, before it was measured. Upstreams hold nothing here."""
    if plan.upstreams:
        return 0
    guess = int(placement.size_bytes * LOADED_PER_FILE_BYTE) + LOADED_EXTRA_BYTES
    bound = (plan.serving.memory_mib or 0) * MIB
    if declares_memory(plan):
        return bound
    return min(guess, bound) if bound else guess
