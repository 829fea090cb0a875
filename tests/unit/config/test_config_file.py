"""The configuration file: what it may hold, and complaints with their line."""

from pathlib import Path

import pytest

from zaffre.config.documents import MAX_FILE_BYTES
from zaffre.config.file import ConfigFile, DeploymentDeclaration, read_config
from zaffre.config.settings import ConfigurationError

WHOLE = """\
settings:
  port: 9000
deployments:
  - name: chat
    model: smollm2-135m-instruct
    engine: llama
    options: {n_ctx: 2048, flash: true, rope: 1.5, kv: f16}
    slots: 4
    threads: 2
  - name: vectors.v1
    model: path:models/minilm
defaults:
  chat: Chat
  embed: vectors.v1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "zaffre.yaml"


def trouble(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        read_config(path)
    return caught.value.message.removeprefix(str(path))


def test_a_whole_file_is_read(path: Path):
    path.write_text(WHOLE)
    assert read_config(path) == ConfigFile(
        settings={"port": 9000},
        deployments=[
            DeploymentDeclaration(
                "chat",
                "smollm2-135m-instruct",
                "llama",
                {"n_ctx": 2048, "flash": True, "rope": 1.5, "kv": "f16"},
                4,
                2,
            ),
            DeploymentDeclaration("vectors.v1", "path:models/minilm"),
        ],
        defaults={"chat": "Chat", "embed": "vectors.v1"},
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}"])
def test_an_empty_file_says_nothing(path: Path, text: str):
    path.write_text(text)
    assert read_config(path) == ConfigFile()


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("- a\n", ":1:1: Expected `object`"),
        ("settings: 5\n", ":1:11: settings: Expected `object`"),
        ("# x\n\nsettings: []\n", ":3:1: settings: "),
        ("deployments: {}\n", ":1:1: deployments: "),
        (
            "deployments:\n  - name: a\n",
            ":2:5: deployments[0]: Object missing required field `model`",
        ),
        ("deployments:\n  - {name: a, model: b}\n  - {name: c}\n", ":3:5: deployments[1]: "),
        ("deployments:\n  - name: a\n    model: 5\n", ":3:12: deployments[0].model: "),
        (
            "deployments:\n  - name: a\n    model: b\n    slots: many\n",
            ":4:12: deployments[0].slots: ",
        ),
        ("deployments:\n- {name: a, model: b, slots: 0}\n", ":2:30: deployments[0].slots: "),
        ("deployments:\n- {name: a, model: b, threads: -1}\n", ":2:32: deployments[0].threads: "),
        (
            "deployments:\n  - name: a\n    model: b\n    options: {x: 1, y: [1]}\n",
            ":4:21: deployments[0].options.y: Expected",
        ),
        (
            "deployments:\n  - name: a\n    modle: b\n",
            ":3:5: deployments[0].modle: there is no such field; did you mean 'model'?",
        ),
        (
            "deploments: []\n",
            ":1:1: deploments: there is no such field; did you mean 'deployments'?",
        ),
        ("x: []\n", ":1:1: x: there is no such field."),
        (
            "deployments:\n  - {name: a b, model: m}\n",
            ":2:12: deployments[0].name: 'a b' cannot be a name",
        ),
        (
            "deployments:\n  - {name: /x, model: m}\n",
            ":2:12: deployments[0].name: '/x' cannot be a name",
        ),
        (
            "deployments:\n  - {name: '', model: m}\n",
            ":2:12: deployments[0].name: '' cannot be a name",
        ),
        (
            "deployments:\n  - {name: a, model: m}\n  - {name: A, model: m}\n",
            ":3:12: deployments[1].name: 'A' is declared",
        ),
        (
            "deployments: [{name: a, model: m}]\ndefaults:\n  talk: a\n",
            ":3:9: defaults.talk: 'talk' is no operation",
        ),
        (
            "deployments: [{name: a, model: m}]\ndefaults: {chat: b}\n",
            ":2:18: defaults.chat: no deployment is called",
        ),
        ("defaults: {chat: b}\n", ":1:18: defaults.chat: no deployment is called 'b'"),
        ("settings:\n\tport: 1\n", ":2:1: "),
        ("a: [1,\n", ":2:1: "),
        ("a: b: c\n", ":1:5: mapping values are not allowed here"),
        ("a: !!python/object/apply:os.system [ls]\n", ":1:4: "),
        ("a: &x [*x]\nb: *y\n", ":2:4: "),
        ("{}\n---\na: 1\n", ":3:1: only one document"),
    ],
)
def test_a_complaint_says_where(path: Path, text: str, start: str):
    assert trouble(path, text).startswith(start)


def test_a_file_that_cannot_be_read_is_reported(path: Path, tmp_path: Path):
    with pytest.raises(ConfigurationError, match="No such file"):
        read_config(path)
    with pytest.raises(ConfigurationError, match="directory"):
        read_config(tmp_path)


def test_a_file_that_is_no_text_is_reported(path: Path):
    assert "UTF-8" in trouble(path, b"\xff\xfe\x00")
    assert trouble(path, b"a: \x00\n")
    assert "larger" in trouble(path, b"#" * (MAX_FILE_BYTES + 1))


def test_a_file_that_unfolds_without_end_is_reported(path: Path):
    """A handful of aliases can stand for more values than there is memory."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert trouble(path, "settings:\n  " + "\n  ".join(rows) + "\nother: 1\n")
    assert "deeply" in trouble(path, "settings: " + "[" * 800 + "]" * 800 + "\n")


@pytest.mark.parametrize("value", ["!!int abc", "!!float abc", "!!timestamp 2024-13-45"])
def test_a_value_that_yaml_cannot_build_is_reported(path: Path, value: str):
    assert trouble(path, f"settings: {{port: {value}}}\n")
