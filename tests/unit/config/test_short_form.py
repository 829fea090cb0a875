"""The short form: settings, endpoints, deployments, defaults and sections in one document."""

from pathlib import Path

import pytest

from zaffre.config.auth_section import AuthDeclaration, KeyDeclaration
from zaffre.config.declarations import Declared, read_documents, read_files
from zaffre.config.documents import InvalidDeclaration
from zaffre.core.plan import DeploymentPlan, EndpointPlan, Limits, Plan, ServingOptions
from zaffre.core.safety import ContentSafety, RemoteFilterSettings

SAMPLES = Path(__file__).parent / "samples"

WHOLE = Plan(
    endpoints=(
        EndpointPlan(
            name="chat",
            auth_mode="aad_token",
            traffic={"blue": 100},
            hosts=("chat.example.com",),
            limits=Limits(tokens_per_minute=10_000, concurrent_requests=4),
        ),
        EndpointPlan(name="vectors", kind="serverless"),
    ),
    deployments=(
        DeploymentPlan(name="vectors", endpoint="vectors", model="all-minilm-l6-v2"),
        DeploymentPlan(
            name="blue",
            endpoint="chat",
            model="smollm2-135m-instruct",
            serving=ServingOptions(instances=2, request_timeout_s=5.0),
        ),
        DeploymentPlan(
            name="phi-3.5",
            model="hf:bartowski/Phi-3.5-mini-instruct-GGUF@main:Phi-3.5-mini-instruct-Q4_K_M.gguf",
            serving=ServingOptions(
                engine="llama",
                options={"n_ctx": 2048, "flash": True, "rope": 1.5, "kv": "f16"},
                slots=4,
                threads=2,
                memory_mib=4096,
            ),
        ),
    ),
    defaults={"chat": "Chat", "complete": "phi-3.5"},
)


def read(tmp_path: Path, *texts: str) -> Declared:
    paths = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    return read_files(paths)


def trouble(tmp_path: Path, *texts: str) -> str:
    with pytest.raises(InvalidDeclaration) as caught:
        read(tmp_path, *texts)
    return caught.value.message.replace(f"{tmp_path}/", "")


def test_a_whole_file_is_read():
    """Given everything in one document, when it is read, then it is a plan and settings."""
    declared = read_files([SAMPLES / "short.yaml"])
    assert declared.start.settings == {"port": 9000}
    assert not declared.warnings
    assert declared.plan == WHOLE


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}", "settings: {}\n"])
def test_an_empty_file_is_the_default(tmp_path: Path, text: str):
    """Given files that declare nothing, when they are read, then the default is the plan."""
    path = tmp_path / "z.yaml"
    path.write_text(text)
    starter = Plan(deployments=(DeploymentPlan(name="a", model="a"),), defaults={"chat": "a"})
    declared = read_files([path], default=starter)
    assert declared.plan == declared.said == starter


def test_both_forms_live_in_one_file(tmp_path: Path):
    """Given a document in each form, when they are read, then they make one plan."""
    azure = "---\nname: green\nendpoint_name: chat\nmodel: echo\n"
    text = "endpoints: [{name: chat, traffic: {green: 100}}]\n"
    plan = read(tmp_path, text + azure).plan
    assert plan.endpoints[0].traffic == {"green": 100}
    assert plan.deployments[0].key == ("chat", "green")


def test_paths_start_at_their_file(tmp_path: Path):
    """Given relative paths in two folders, when they are read, then each starts at its own."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/z.yaml").write_text("deployments: [{name: a, model: 'path:./x.gguf'}]\n")
    (tmp_path / "z.yaml").write_text("deployments: [{name: b, model: 'path:/y.gguf'}]\n")
    plan = read_files([tmp_path / "sub/z.yaml", tmp_path / "z.yaml"]).plan
    assert [d.model for d in plan.deployments] == [f"path:{tmp_path}/sub/x.gguf", "path:/y.gguf"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("- a\n", "0.yaml:1:1: Expected `object`"),
        ("settings: 5\n", "0.yaml:1:11: settings: Expected `object`"),
        ("# x\n\ndeployments: {}\n", "0.yaml:3:1: deployments: Expected `array`"),
        ("settings:\n\tport: 1\n", "0.yaml:2:1: found character"),
        ("a: b: c\n", "0.yaml:1:5: mapping values are not allowed here."),
        ("settings: {port: !!int abc}\n", "0.yaml:1:1: a value cannot be read: "),
        (
            "deploments: []\nsettings: {}\n",
            "0.yaml:1:1: deploments: there is no such field; did you mean 'deployments'?",
        ),
        (
            "deployments:\n  - name: a\n    modle: b\n",
            "0.yaml:3:5: deployments[0].modle: there is no such field; did you mean 'model'?",
        ),
        (
            "deployments: [{name: a, model: b, options: {x: 1, y: [1]}}]\n",
            "0.yaml:1:51: deployments[0].options.y: Expected",
        ),
        (
            "deployments: [{name: a, model: b, threads: -1}]\n",
            "0.yaml:1:44: deployments[0].threads: ",
        ),
        ("deployments: [{name: /x, model: m}]\n", "0.yaml:1:22: deployments[0].name: '/x' cannot"),
        (
            "deployments: [{name: '', model: m}]\n",
            "0.yaml:1:22: deployments[0].name: Expected `str",
        ),
        ("settings: {prot: 1}\n", "0.yaml:1:18: settings.prot: there is no such setting"),
        ("deployments:\n  - name: a\n", "0.yaml:2:5: deployments[0]: Object missing required"),
        ("deployments: [{name: a, model: b, slots: 0}]\n", "0.yaml:1:42: deployments[0].slots: "),
        ("deployments: [{name: a b, model: m}]\n", "0.yaml:1:22: deployments[0].name: 'a b' can"),
        (
            "deployments: [{name: a, model: m}, {name: A, model: m}]\n",
            "0.yaml:1:43: deployments[1].name: 'A' is declared twice; first at 0.yaml:1.",
        ),
        (
            "deployments: [{name: a, model: m}]\ndefaults: {talk: a}\n",
            "0.yaml:2:18: defaults.talk: 'talk' is no operation; use chat,",
        ),
        ("defaults: {chat: b}\n", "0.yaml:1:18: defaults.chat: no deployment is called 'b'."),
        (
            "deployments: [{name: a, model: m, endpoint: b}]\n",
            "0.yaml:1:45: deployments[0].endpoint: there is no endpoint 'b'.",
        ),
        (
            "endpoints: [{name: abc}]\ndeployments: [{name: ABC, model: m}]\n",
            "0.yaml:2:22: deployments[0].name: an endpoint is called 'ABC' too",
        ),
        (
            "endpoints: [{name: abc, kind: managed, model: m}]\n",
            "0.yaml:1:47: endpoints[0].model: a managed endpoint has",
        ),
        (
            "endpoints: [{name: abc, kind: serverless}]\n",
            "0.yaml:1:31: endpoints[0].kind: a serverless endpoint has exactly one",
        ),
        (
            "endpoints: [{name: abc, model: m, traffic: {abc: 100}}]\n",
            "0.yaml:1:35: endpoints[0].traffic: a serverless endpoint has one model",
        ),
        ("auth: {keys: [{name: a}]}\n", "0.yaml:1:1: auth: keys: 'a' needs key_env or key_file."),
        ("content_safety: {policy: {}}\n", "0.yaml:1:18: content_safety.policy: there is no such"),
    ],
)
def test_a_complaint_has_its_place(tmp_path: Path, text: str, start: str):
    """Given a document that cannot be, when it is read, then the place of the cause."""
    assert trouble(tmp_path, text).startswith(start)


def test_what_is_said_in_two_files_is_refused(tmp_path: Path):
    """Given a setting and a default in two files, when they are read, then both are refused."""
    first = (
        "settings: {port: 1}\ndeployments: [{name: a, model: m}]\ndefaults: {chat: a}\nauth: {}\n"
    )
    second = "settings: {port: 2}\ndefaults: {chat: a}\nauth: {}\n"
    assert trouble(tmp_path, first, second).splitlines() == [
        "1.yaml:1:18: settings.port: 'port' is declared twice; first at 0.yaml:1.",
        "1.yaml:2:18: defaults.chat: 'chat' is declared twice; first at 0.yaml:3.",
        "1.yaml:3:1: auth: 'auth' is declared twice; first at 0.yaml:4.",
    ]


def test_sections_are_read_with_absolute_paths(tmp_path: Path):
    """Given sections with files in them, when they are read, then the files start at theirs."""
    text = "auth: {keys: [{name: a, key_file: k}]}\n"
    text += "content_safety: {remote: {url: 'https://a', key_file: r}}\n"
    start = read(tmp_path, text).start
    assert start.auth == AuthDeclaration(keys=(KeyDeclaration(name="a", key_file=f"{tmp_path}/k"),))
    assert start.content_safety == ContentSafety(
        remote=RemoteFilterSettings(url="https://a", key_file=f"{tmp_path}/r")
    )


def test_what_only_a_start_reads_is_told():
    """Given settings in a request, when it is read, then they are told as not taken."""
    declared = read_documents([{"settings": {"port": 1}, "auth": {}, "deployments": []}])
    assert [str(remark).partition(" is")[0] for remark in declared.start_only] == [
        "request: settings.port:",
        "request: auth:",
    ]
