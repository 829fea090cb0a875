"""Names of models and machines: what Azure's forms mean here."""

from pathlib import Path

import pytest

from zaffre.config.instances import INSTANCE_TYPES, UNKNOWN_SIZE, InstanceType, instance_type
from zaffre.config.names import absolute, model_reference

BASE = Path("/srv/models")
REGISTRY = "azureml://registries/azureml-meta/models"
ARM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
        ("echo", "echo"),
        ("path:x/y.gguf", "path:/srv/models/x/y.gguf"),
        ("path:./x.gguf", "path:/srv/models/x.gguf"),
        ("path:/x.gguf", "path:/x.gguf"),
        ("hf:owner/repo", "hf:owner/repo"),
        ("hf:owner/repo@main", "hf:owner/repo@main"),
        ("hf:o/r@refs/pr/1:sub/f.gguf", "hf:o/r@refs/pr/1:sub/f.gguf"),
        ("upstream", "upstream:"),
        ("upstream:", "upstream:"),
        ("azureml:Phi-4", "phi-4"),
        ("azureml:Phi-4@latest", "phi-4"),
        ("hf:gpt2", "hf:gpt2"),
        ("hf:owner/repo:Q4_K_M", "hf:owner/repo:Q4_K_M"),
        ("hf:owner/repo:*/q4 0.gguf", "hf:owner/repo:*/q4 0.gguf"),
        (f"{REGISTRY}/Phi-4", f"{REGISTRY}/Phi-4"),
        (f"{REGISTRY}/Phi-4/labels/latest", f"{REGISTRY}/Phi-4"),
        (f"azureml:{REGISTRY}/Phi-4/labels/latest", f"{REGISTRY}/Phi-4"),
    ],
)
def test_a_model_is_meant(written: str, meant: str):
    """Given a reference without a version, when it is read, then what it means, no warning."""
    assert model_reference(written, BASE) == (meant, "")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("azureml:Phi-4:7", "phi-4"),
        (f"{REGISTRY}/Phi-4/versions/7", f"{REGISTRY}/Phi-4"),
        (f"azureml:{ARM}/models/Phi-4/versions/7", "phi-4"),
        (f"{ARM}/models/Phi-4/versions/7", "phi-4"),
        ("azureml://locations/eastus/workspaces/1234/models/Phi-4/versions/7", "phi-4"),
        (
            "azureml://subscriptions/s/resourceGroups/g/workspaces/w/models/Phi-4/versions/7",
            "phi-4",
        ),
    ],
)
def test_a_version_is_not_looked_at(written: str, meant: str):
    """Given a version, when it is read, then it is told that Zaffre has one of each model."""
    model, warning = model_reference(written, BASE)
    assert model == meant
    assert warning.startswith("version 7 is not looked at: ")


@pytest.mark.parametrize(
    "written",
    [
        "",
        "a b",
        "../x",
        "hf:",
        "hf:/r",
        "hf:o/r/s",
        "hf:o/r@",
        "hf:o/r:",
        f"hf:o/r:{'x' * 400}",
        "path:",
        "path: ",
        "path:a\0b",
        "path:~nobody-of-this-name/x",
        "azureml:",
        "azureml:a:b:c",
        "azureml://datastores/d/paths/p",
        "azureml://registries/r/environments/e",
        "https://example.com/model",
    ],
)
def test_what_is_no_model_is_refused(written: str):
    """Given something else, when it is read, then a sentence says what it could be."""
    with pytest.raises(ValueError, match=r"[.]$"):
        model_reference(written, BASE)


def test_links_are_not_followed(tmp_path: Path):
    """Given a link to a file without an ending, when it is named, then the link's name stays."""
    (tmp_path / "blob").touch()
    (tmp_path / "x.gguf").symlink_to(tmp_path / "blob")
    assert absolute("x.gguf", tmp_path) == tmp_path / "x.gguf"


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Standard_DS3_v2", InstanceType(4, 14 * 1024, "cpu")),
        ("standard_ds1_V2", InstanceType(1, 3584, "cpu")),
        ("Standard_F4s_v2", InstanceType(4, 8 * 1024, "cpu")),
        ("Standard_E8s_v3", InstanceType(8, 64 * 1024, "cpu")),
        ("Standard_NC24ads_A100_v4", InstanceType(24, 220 * 1024, "gpu")),
        ("Standard_NC6s_v3", InstanceType(6, 112 * 1024, "gpu")),
        ("cpu-2", InstanceType(2, None, "cpu")),
        ("CPU", InstanceType(None, None, "cpu")),
        ("gpu-8", InstanceType(8, None, "gpu")),
        ("cpu-0", None),
        ("cpu-257", None),
        ("cpu-02", None),
        ("Standard_DS3", None),
        ("", None),
    ],
)
def test_a_size_is_known_by_its_name(name: str, size: InstanceType | None):
    """Given a machine's name in any case, when it is looked up, then its size."""
    assert instance_type(name) == size


def test_every_size_says_something():
    """Given the table, when it is read, then each row has threads, memory and a device."""
    for name, size in INSTANCE_TYPES.items():
        assert name == name.lower()
        assert size.threads is not None
        assert size.memory_mib is not None
        assert size.device == ("gpu" if name.startswith(("standard_n",)) else "cpu")
    assert InstanceType(None, None, None) == UNKNOWN_SIZE
