"""Ears for the tiny Phi-3: an Ultravox projector of random weights, and sounds to hear."""

import io
import wave
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, LlamaFileType
from phi3 import WIDTH

_BANDS = 128
_FRAMES = 1500
_STACKED = 20
"""Frames that become one token. Ultravox has 8, with which this llama.cpp miscounts, and aborts."""
SOUND_TOKENS = _FRAMES // _STACKED
"""Tokens of 30 seconds, which is what a shorter clip is filled up to."""
_EAR_WIDTH = 32
_FEED_FORWARD = 64
_LAYERS = 1


def write_ears(path: Path, seed: int = 3) -> Path:
    """Write the projector as GGUF, about 0.5 MB."""
    writer = GGUFWriter(path, "clip")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_audio_encoder", True)
    writer.add_string("clip.projector_type", "ultravox")
    numbers = {
        "num_mel_bins": _BANDS,
        "embedding_length": _EAR_WIDTH,
        "feed_forward_length": _FEED_FORWARD,
        "projection_dim": WIDTH,
        "block_count": _LAYERS,
        "attention.head_count": 2,
        "projector.stack_factor": _STACKED,
    }
    for name, number in numbers.items():
        writer.add_uint32(f"clip.audio.{name}", number)
    writer.add_float32("clip.audio.attention.layer_norm_epsilon", 1e-5)
    _add_tensors(writer, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tensors(writer: GGUFWriter, random: np.random.Generator) -> None:
    def weights(name: str, *shape: int) -> None:
        fan_in = int(np.prod(shape[1:]))
        drawn = random.standard_normal(shape) * fan_in**-0.5
        writer.add_tensor(f"{name}.weight", drawn.astype(np.float32))

    def bias(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.bias", np.zeros(shape, np.float32))

    def norm(name: str, width: int, *, biased: bool = True) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
        if biased:
            bias(name, width)

    width, inner = _EAR_WIDTH, _FEED_FORWARD
    weights("a.conv1d.1", width, _BANDS, 3)
    bias("a.conv1d.1", width, 1)
    weights("a.conv1d.2", width, width, 3)
    bias("a.conv1d.2", width, 1)
    weights("a.position_embd", _FRAMES, width)
    norm("a.post_ln", width)
    for layer in range(_LAYERS):
        name = f"a.blk.{layer}"
        norm(f"{name}.ln1", width)
        norm(f"{name}.ln2", width)
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights(f"{name}.{part}", width, width)
            if part != "attn_k":  # Whisper's keys have none
                bias(f"{name}.{part}", width)
        weights(f"{name}.ffn_up", inner, width)
        bias(f"{name}.ffn_up", inner)
        weights(f"{name}.ffn_down", width, inner)
        bias(f"{name}.ffn_down", width)
    norm("mm.a.norm_pre", _STACKED * width, biased=False)
    weights("mm.a.mlp.1", 2 * WIDTH, _STACKED * width)
    norm("mm.a.norm_mid", WIDTH, biased=False)
    weights("mm.a.mlp.2", WIDTH, WIDTH)


def tone(frequency_hz: float, duration_s: float = 1.0) -> bytes:
    """A WAV file with one tone, 16 kHz and 16 bits."""
    times = np.arange(int(16_000 * duration_s)) / 16_000
    samples = (0.5 * np.sin(2 * np.pi * frequency_hz * times) * 32_767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(samples.tobytes())
    return file.getvalue()
