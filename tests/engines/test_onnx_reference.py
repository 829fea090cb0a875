"""The tiny two-tower models are still what transformers makes of them today.

Runs where torch and transformers are installed (`pip install torch transformers`), which the
default suite does not need: it compares with the vectors that were recorded.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_models import TOWERS

HERE = Path(__file__).parent


def test_recorded_vectors_are_the_reference_implementations(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="compares with PyTorch where it is installed")
    pytest.importorskip("transformers", reason="compares with transformers where it is installed")

    subprocess.run(
        [sys.executable, str(HERE / "make_towers.py"), str(tmp_path)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )

    recorded = json.loads((TOWERS / "vectors.json").read_text())
    fresh = json.loads((tmp_path / "vectors.json").read_text())
    for architecture, vectors in recorded.items():
        np.testing.assert_allclose(fresh[architecture]["texts"], vectors["texts"], atol=1e-5)
        for name, vector in vectors["images"].items():
            np.testing.assert_allclose(fresh[architecture]["images"][name], vector, atol=1e-5)
