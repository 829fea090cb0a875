"""The tests and samples that azure-ai-inference ships, run live over https.

They come from its source distribution, which is downloaded and not kept. What they import of
Azure's test tooling is in sdk_suite/stand_in; what is left out, and why, in sdk_suite/suite_plugin
and below. It takes minutes: `scripts/test clients` runs it.
"""

import json
import os
import re
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from framework_environments import python_of, run_quietly
from openai_checks import ALL
from PIL import Image

from servers import ZAFFRE, started

FOLDER = Path(__file__).with_name("sdk_suite")
CHAT, EMBEDDER, TOWERS = (
    "smollm2-135m-instruct",
    "all-minilm-l6-v2",
    "conse-efficientnet-lite0-minilm",
)
API_VERSION = "2024-10-21"
SUITE_LIMIT_S = 900
SAMPLE_LIMIT_S = 180
ATTEMPTS = 3
"""Samples draw at temperature 1, where so small a model does not always come to an end."""
QUESTION = [{"role": "user", "content": "How many feet are in a mile?"}]
ENTRA = "needs a tenant of Entra ID"
MEDIA = "needs a model that sees or hears"
FILE = "reads a file that the source distribution lacks"
WILL = "needs a model that decides for itself to call a tool"
EXCLUDED_SAMPLES = {
    "sample_chat_completions_from_input_dict_with_image_url.py": MEDIA,
    "sample_chat_completions_from_input_prompty.py": FILE,
    "sample_chat_completions_streaming_with_entra_id_auth.py": ENTRA,
    "sample_chat_completions_streaming_with_tools.py": WILL,
    "sample_chat_completions_with_audio_data.py": MEDIA,
    "sample_chat_completions_with_azure_monitor_tracing.py": "sends its spans to Azure Monitor",
    "sample_chat_completions_with_entra_id_auth.py": ENTRA,
    "sample_chat_completions_with_image_data.py": MEDIA,
    "sample_chat_completions_with_image_url.py": MEDIA,
    "sample_chat_completions_with_model_extras.py": "passes on made-up keys, which are refused",
    "sample_embeddings_with_defaults.py": "wants 1024 dimensions; the starter model has 384",
}
pytestmark = pytest.mark.skipif(not ALL, reason="takes minutes: scripts/test clients runs it")


@dataclass(frozen=True)
class Suite:
    """What is needed to run a part of it."""

    sources: Path
    python: Path
    environ: dict[str, str]

    def run(self, *arguments: str | Path, folder: Path, limit_s: int) -> tuple[int, str]:
        """Run Python in `folder`; its status, and all that it has said."""
        done = subprocess.run(
            [self.python, *arguments],
            cwd=folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit_s,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked, with files of ours where it lacks its own."""
    folder = tmp_path_factory.mktemp("sources")
    options = ("--no-deps", "--no-binary", ":all:", "--require-hashes", "--quiet")
    wanted = ("--requirement", str(FOLDER / "sources.txt"), "--dest", str(folder))
    run_quietly(sys.executable, "-m", "pip", "download", *options, *wanted)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    drawn = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
    drawn.save(unpacked / "tests" / "test_image1.png")
    drawn.save(unpacked / "samples" / "sample1.png")
    body = json.dumps({"messages": QUESTION, "temperature": 0})
    for place in ("tests/chat.test.json", "samples/example_chat.json"):
        (unpacked / place).write_text(body)
    (unpacked / "samples" / "async_samples" / "example_chat.json").write_text(body)
    return unpacked


@pytest.fixture(scope="module")
def suite(
    sources: Path, zaffre_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Suite]:
    """Three servers over https, as serverless endpoints are: each has one model."""
    folder = tmp_path_factory.mktemp("sdk_suite")
    run_quietly(str(ZAFFRE), "dev-cert", "--folder", str(folder))
    key = secrets.token_hex(16)
    with ExitStack() as servers:
        addresses = []
        for model in (CHAT, EMBEDDER, TOWERS):
            file = folder / f"{model}.yaml"
            file.write_text(f"deployments: [{{name: {model}, model: {model}}}]\n")
            tls = ("--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))
            options = ("-f", str(file), "--key", key, *tls)
            _, greeting = servers.enter_context(started(zaffre_home, folder / "log", *options))
            found = re.search(r"https://127\.0\.0\.1:(\d+)", greeting)
            assert found, greeting
            addresses.append(f"https://localhost:{found[1]}")
        environ = _settings(addresses, key) | _ways(folder / "ca.pem")
        python = python_of("azure_ai_inference", FOLDER / "requirements.txt")
        yield Suite(sources, python, environ)


def _settings(addresses: list[str], key: str) -> dict[str, str]:
    """The variables that the SDK's tests and samples read."""
    chat, embeddings, images = addresses
    deployment = f"{chat}/openai/deployments/{CHAT}"
    endpoints = {
        "AZURE_AI_CHAT": chat,
        "AZURE_AI_EMBEDDINGS": embeddings,
        "AZURE_AI_IMAGE_EMBEDDINGS": images,
        "AZURE_OPENAI_CHAT": deployment,
        "AZURE_OPENAI_CHAT_AUDIO": deployment,
        "AZURE_OPENAI_EMBEDDINGS": f"{embeddings}/openai/deployments/{EMBEDDER}",
    }
    found = {f"{name}_ENDPOINT": address for name, address in endpoints.items()}
    found |= {f"{name}_KEY": key for name in endpoints}
    found |= {f"{name}_API_VERSION": API_VERSION for name in endpoints}
    models = ("AZURE_AI_CHAT_MODEL", "AZURE_AI_CHAT_DEPLOYMENT_NAME")
    return found | dict.fromkeys(models, CHAT)


def _ways(authority: Path) -> dict[str, str]:
    """Our authority for requests and aiohttp, and the stand-in and the plugin for Python."""
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("AZURE_", "PYTHON"))}
    return {
        **inherited,
        "REQUESTS_CA_BUNDLE": str(authority),
        "SSL_CERT_FILE": str(authority),
        "PYTHONPATH": os.pathsep.join((str(FOLDER / "stand_in"), str(FOLDER))),
    }


def test_the_sdks_own_tests(suite: Suite, capsys: pytest.CaptureFixture[str]):
    """Given three servers over https, when the SDK's tests run against them, then all pass."""
    plugins = ("-p", "suite_plugin", "-p", "no:cacheprovider", "-p", "no:logging")
    options = ("-q", "--tb=short", "-c", os.devnull, f"--rootdir={suite.sources}")
    command = ("-m", "pytest", *options, *plugins, "-o", "asyncio_mode=auto", "tests")
    status, said = suite.run(*command, folder=suite.sources, limit_s=SUITE_LIMIT_S)
    _tell(capsys, *re.findall(r"^sdk tests: .*$", said, re.MULTILINE))
    assert status == 0, said[-20_000:]


def test_the_sdks_own_samples(suite: Suite, capsys: pytest.CaptureFixture[str]):
    """Given three servers over https, when the SDK's samples run, then all come to their end."""
    folder = suite.sources / "samples"
    samples = sorted([*folder.glob("*.py"), *folder.glob("async_samples/*.py")])
    failures = {}
    wanted = [path for path in samples if path.name not in EXCLUDED_SAMPLES]
    for path in wanted:
        for _ in range(ATTEMPTS):
            status, said = suite.run(path, folder=folder, limit_s=SAMPLE_LIMIT_S)
            if status == 0:
                break
        else:
            failures[path.name] = said[-3000:]
    passed, excluded = len(wanted) - len(failures), len(samples) - len(wanted)
    _tell(capsys, f"sdk samples: {passed} passed, {len(failures)} failed, {excluded} excluded")
    assert not failures, "\n".join(f"{name}:\n{said}" for name, said in failures.items())
    assert excluded == len(EXCLUDED_SAMPLES), "a sample that is excluded is not there any more"


def _tell(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")
