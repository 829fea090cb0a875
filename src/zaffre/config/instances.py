"""Instance types: what Azure's names of machines mean for a worker process here.

The sizes are those of Azure's documentation on virtual machine sizes; the choice is the list that
managed online endpoints take. Zaffre's own names say what they are: `cpu-2` has two threads.
"""

import re
from collections.abc import Mapping

from msgspec import Struct

from zaffre.core.plan import Device

MIB_PER_GIB = 1024
MAX_THREADS = 256

_OWN = re.compile(r"(?P<device>cpu|gpu)(?:-(?P<threads>[1-9]\d{0,2}))?")


class InstanceType(Struct, frozen=True):
    """What one instance of a deployment may use. None: as the server's settings say."""

    threads: int | None = None
    memory_mib: int | None = None
    device: Device | None = "cpu"


UNKNOWN_SIZE = InstanceType(device=None)
"""Nothing is said: the server's settings decide."""


def _family(
    pattern: str, sizes: Mapping[int, float], device: Device = "cpu"
) -> dict[str, InstanceType]:
    """One family of machines: processors -> memory in GiB."""
    return {
        pattern.format(threads).lower(): InstanceType(threads, int(gib * MIB_PER_GIB), device)
        for threads, gib in sizes.items()
    }


_EVEN = {2: 8, 4: 16, 8: 32, 16: 64, 32: 128, 48: 192, 64: 256, 96: 384}
_COMPUTE = {2: 4, 4: 8, 8: 16, 16: 32, 32: 64, 48: 96, 64: 128, 72: 144}
_MEMORY = {2: 16, 4: 32, 8: 64, 16: 128, 32: 256, 48: 384, 64: 512}

INSTANCE_TYPES: dict[str, InstanceType] = {
    "standard_ds1_v2": InstanceType(1, int(3.5 * MIB_PER_GIB)),
    "standard_ds2_v2": InstanceType(2, 7 * MIB_PER_GIB),
    "standard_ds3_v2": InstanceType(4, 14 * MIB_PER_GIB),
    "standard_ds4_v2": InstanceType(8, 28 * MIB_PER_GIB),
    "standard_ds5_v2": InstanceType(16, 56 * MIB_PER_GIB),
    **_family("Standard_D{}a_v4", _EVEN),
    **_family("Standard_D{}as_v4", _EVEN),
    **_family("Standard_D{}s_v3", _EVEN),
    **_family("Standard_D{}s_v5", _EVEN),
    **_family("Standard_F{}s_v2", _COMPUTE),
    **_family("Standard_E{}s_v3", _MEMORY),
    **_family("Standard_FX{}mds", {4: 84, 12: 252, 24: 504, 36: 756, 48: 1008}),
    **_family("Standard_NC{}s_v2", {6: 112, 12: 224, 24: 448}, "gpu"),
    **_family("Standard_NC{}s_v3", {6: 112, 12: 224, 24: 448}, "gpu"),
    **_family("Standard_NC{}as_T4_v3", {4: 28, 8: 56, 16: 110, 64: 440}, "gpu"),
    **_family("Standard_NC{}ads_A100_v4", {24: 220, 48: 440, 96: 880}, "gpu"),
    **_family("Standard_NC{}ads_H100_v5", {40: 320}, "gpu"),
    **_family("Standard_NC{}adis_H100_v5", {80: 640}, "gpu"),
    **_family("Standard_ND{}rs_v2", {40: 672}, "gpu"),
    **_family("Standard_ND{}asr_v4", {96: 900}, "gpu"),
    **_family("Standard_ND{}amsr_A100_v4", {96: 1924}, "gpu"),
    **_family("Standard_ND{}isr_H100_v5", {96: 1900}, "gpu"),
    **_family("Standard_ND{}isr_H200_v5", {96: 1850}, "gpu"),
    **_family("Standard_NV{}ads_A10_v5", {6: 55, 12: 110, 18: 220, 36: 440, 72: 880}, "gpu"),
}
"""Azure's names in lower case. Of a machine with an accelerator the memory is the processors'."""


def instance_type(name: str) -> InstanceType | None:
    """What a name, in any case, stands for; None where nobody knows it."""
    own = _OWN.fullmatch(name.lower())
    if own is None:
        return INSTANCE_TYPES.get(name.lower())
    threads = int(own["threads"]) if own["threads"] else None
    if threads is not None and threads > MAX_THREADS:
        return None
    return InstanceType(threads, device="gpu" if own["device"] == "gpu" else "cpu")
