"""Engines for the `onnx` tests: on the starter models and on the tiny two-tower exports."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zaffre.core.cards import ModelCard
from zaffre.core.deltas import Embeddings
from zaffre.core.engine import EngineSpec
from zaffre.engines.onnx.engine import OnnxEngine
from zaffre.registry.store import ModelStore, default_home

TOWERS = Path(__file__).with_name("towers")

Options = dict[str, str | int | float | bool]


def starter(name: str, **options: str | int) -> EngineSpec:
    """How to run an installed starter model."""
    model = ModelStore(default_home(os.environ)).find(name)
    return EngineSpec(card=model.card, path=str(model.path), threads=2, options={**options})


def towers(architecture: str, folder: Path | None = None) -> EngineSpec:
    """How to run a tiny two-tower model, or a changed copy of it in `folder`."""
    card = ModelCard(
        name=f"tiny-{architecture}",
        format="onnx",
        operations=("embed_images", "embed"),
        architecture=architecture,
    )
    return EngineSpec(card=card, path=str(folder or TOWERS / architecture), threads=1)


@asynccontextmanager
async def running(spec: EngineSpec) -> AsyncIterator[OnnxEngine]:
    """The engine of `spec`, started, and closed at the end."""
    engine = OnnxEngine(spec)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.aclose()


def matrix(embeddings: Embeddings) -> NDArray[np.float32]:
    """The vectors as rows."""
    return np.stack([np.frombuffer(vector, "<f4") for vector in embeddings.vectors])
