"""Whether a downloaded file is what its name says, and nothing that could run code.

Names prove nothing: a pickle called `model.onnx` is still a pickle. Each kind of file is held
against its own format; those that have none (raw weights) against the formats that run code.
"""

import pickletools
import re
from pathlib import Path

import msgspec

from zaffre.core.errors import EngineFailed
from zaffre.registry.errors import FileRefused
from zaffre.registry.gguf import VERSIONS, read_header
from zaffre.registry.layouts import FileKind
from zaffre.registry.onnxfile import NotOnnx, read_outline

HEAD_BYTES = 64 * 1024
LOOKS_LIKE_PICKLE_OPCODES = 8

_CODE_HEADS: dict[bytes, str] = {
    b"PK\x03\x04": "a zip archive, as PyTorch's files are",
    b"\x93NUMPY": "a NumPy file, which may hold pickles",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"#!": "a script",
    b"\x1f\x8b\x08": "packed with gzip",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x89HDF": "an HDF5 file, which may hold code of Keras",
}
_GLOBAL = re.compile(rb"[ci][A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n")
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|net)\b")


def check_content(path: Path, kind: FileKind) -> None:
    """Raises `FileRefused` when the file at `path` is not of `kind`, or could run code."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    code = what_runs(head, raw=kind == "weights")
    if code is not None:
        raise FileRefused(
            f"{path.name} is {code}: it could run code when it is opened. Nothing was installed,"
            " and what came was deleted."
        )
    try:
        _check_format(path, kind, head)
    except (NotOnnx, EngineFailed, ValueError) as trouble:
        raise FileRefused(
            f"{path.name} is not what its name says: {trouble}. Nothing was installed, and what"
            " came was deleted."
        ) from trouble


def what_runs(head: bytes, raw: bool) -> str | None:
    """What the file that begins with `head` is, when that could run code.

    With `raw`, bytes mean numbers and may begin like anything by chance: a beginning of two bytes
    proves nothing then.
    """
    for magic, name in _CODE_HEADS.items():
        if head.startswith(magic) and not (raw and len(magic) < 3):
            return name
    return "a pickle" if _is_pickle(head) else None


def _check_format(path: Path, kind: FileKind, head: bytes) -> None:
    match kind:
        case "gguf":
            read_header(path)
        case "gguf-part":
            if head[:4] != b"GGUF" or int.from_bytes(head[4:8], "little") not in VERSIONS:
                raise ValueError("it does not begin as a GGUF file")
        case "onnx":
            read_outline(path)
        case "json":
            msgspec.json.decode(path.read_bytes())
        case "xml":
            if not _XML.match(head):
                raise ValueError("it does not begin as XML")
        case "text":
            path.read_bytes().decode("utf-8")
        case "weights":
            pass


def _is_pickle(head: bytes) -> bool:
    if re.match(rb"\x80[\x02-\x05]", head):
        return _opcodes(head) >= LOOKS_LIKE_PICKLE_OPCODES or head[2:3] in (b"\x8a", b"\x95")
    # Before protocol 2 there was no mark. What such a pickle needs to do harm is a name of
    # something to call, near its beginning and in plain letters.
    found = _GLOBAL.search(head[:256])
    return found is not None and _opcodes(head) > 1


def _opcodes(head: bytes) -> int:
    """How many instructions of a pickle `head` begins with."""
    count = 0
    try:
        for _ in pickletools.genops(head):
            count += 1
    # The fence: the opcodes' readers raise whatever they stumble over (struct, Unicode, Value...).
    except Exception:  # noqa: BLE001
        return count
    return count + LOOKS_LIKE_PICKLE_OPCODES
