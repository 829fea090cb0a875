"""A GGUF file in another quantisation: the peer's own best one, of the same weights.

llama.cpp has fast kernels for Q8_0 on processors and none for many rows of Q4_1.
"""

from pathlib import Path

import gguf
from gguf.quants import dequantize, quantize

_KEPT = frozenset(("F32", "F16"))
"""Tensors of these are norms and the like, which nobody quantises."""
_WRITERS_OWN = ("GGUF.", "general.architecture", "general.file_type")


def to_q8_0(source: Path, target: Path) -> Path:
    """`source` as Q8_0 in `target`, made once; some seconds per 100 MB."""
    if target.is_file():
        return target
    reader = gguf.GGUFReader(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".part")
    writer = gguf.GGUFWriter(unfinished, str(reader.fields["general.architecture"].contents()))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for name, field in reader.fields.items():
        if name.startswith(_WRITERS_OWN):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        if tensor.tensor_type.name in _KEPT:
            writer.add_tensor(tensor.name, tensor.data)
            continue
        numbers = dequantize(tensor.data, tensor.tensor_type)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(tensor.name, quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(target)
    return target
