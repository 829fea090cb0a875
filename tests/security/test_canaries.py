"""Canaries: secrets are planted, everything is done and suffered, and then they are looked for."""

import contextlib
import http.client
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from leaky_upstream import MODES, LeakyUpstream

from servers import REQUEST_LIMIT_S, RunningServer, running_server

CONFIGURATION = """\
settings: {{log_level: debug, access_log: {access_log}, request_timeout_s: 2}}
endpoints:
  - {{name: strict, model: echo, content_safety: words}}
  - {{name: guarded, traffic: {{far: 100}}, content_safety: words}}
  - {{name: till, auth_mode: aml_token, traffic: {{only: 100}}}}
deployments:
  - {{name: echo, model: echo}}
  - {{name: fragile, model: echo}}
  - {{name: only, endpoint: till, model: echo}}
  - {{name: far, endpoint: guarded, model: upstream, upstreams: [{blocked}]}}
{foreign}
content_safety:
  blocklists: {{house: {{words: [grue bleen]}}}}
  policies: {{words: {{filters: [blocklist], blocklists: [house]}}}}
"""
UPSTREAM = "{{url: 'http://127.0.0.1:{port}', model: {mode}, key_env: CANARY_UPSTREAM_KEY}}"
BLOCKED = "grue bleen"
FOREIGN = {(mode, stream): f"{mode}-{stream}".lower() for mode in MODES for stream in (True, False)}
"""A deployment for each: one that failed is not asked for a while."""
DIALECTS = {
    "azure": "/chat/completions?api-version=2024-05-01-preview",
    "openai": "/openai/v1/chat/completions",
    "deployment": "/openai/deployments/{model}/chat/completions",
}


def canary(kind: str) -> str:
    """A word that nobody else says."""
    return f"canary{kind}{secrets.token_hex(16)}"


@dataclass
class Planted:
    """What must not be seen, by what it is."""

    secrets: dict[str, str]

    def found(self, content: bytes) -> set[str]:
        """Which of them are in `content`."""
        return {kind for kind, text in self.secrets.items() if text.encode() in content}


@dataclass
class Errands:
    """Does all there is to do, and keeps every refusal that it was told."""

    server: RunningServer
    prompt: str
    refusals: list[tuple[str, bytes]] = field(default_factory=list)

    def send(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, bytes]:
        """One request on a connection of its own; what came until its end, whatever that was."""
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        port = self.server.port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_LIMIT_S)
        with contextlib.closing(connection):
            connection.request(method, path, content, {"api-key": self.server.key, **shown})
            response = connection.getresponse()
            try:
                answer = response.read()
            except http.client.IncompleteRead as cut:
                answer = cut.partial
            told = str(response.getheaders()).encode() + answer
            if response.status >= 400:
                self.refusals.append((f"{method} {path}", told))
            return response.status, answer

    def chat(self, path: str, model: str, text: str = "", **fields: Any) -> int:
        """Say the prompt, with `text` before it."""
        messages = [
            {"role": "system", "content": f"Be kind. {self.prompt}"},
            {"role": "user", "content": f"{text} {self.prompt}".strip()},
        ]
        body: dict[str, Any] = {"messages": messages, **fields}
        if "deployments" not in path:
            body["model"] = model
        return self.send("POST", path.format(model=model), body)[0]

    def leave_in_mid_stream(self) -> None:
        """Go away after the first bytes of a stream."""
        body = {
            "messages": [{"role": "user", "content": f"/slow 50 {self.prompt} " + "word " * 40}],
            "stream": True,
            "model": "echo",
        }
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.port, timeout=REQUEST_LIMIT_S
        )
        with contextlib.closing(connection):
            headers = {"api-key": self.server.key}
            connection.request("POST", "/chat/completions", json.dumps(body), headers)
            assert connection.getresponse().read(10)


@pytest.fixture(scope="module")
def upstream() -> Iterator[LeakyUpstream]:
    with LeakyUpstream(canary("answer"), BLOCKED).listening() as listening:
        yield listening


@pytest.fixture(scope="module")
def traces(
    upstream: LeakyUpstream, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Planted, dict[str, bytes]]:
    """What was planted, and all that a server has left behind, by where."""
    folder = tmp_path_factory.mktemp("canaries")
    access_log = folder / "access.log"
    (folder / "zaffre.yaml").write_text(configured(upstream.port, access_log))
    planted = Planted({"credential": canary("credential"), "prompt": canary("prompt")})
    planted.secrets["answer"] = upstream.answer
    left: dict[str, bytes] = {}
    options = ("-f", str(folder / "zaffre.yaml"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY_UPSTREAM_KEY", planted.secrets["credential"])
        with running_server(folder / "home", folder / "log", *options) as server:
            errands = Errands(server, planted.secrets["prompt"])
            planted.secrets["key"] = server.key
            run_keys(errands, planted)
            run_calls(errands)
            run_refusals(errands)
            run_troubles(errands)
            assert upstream.credentials == {planted.secrets["credential"]}
            assert upstream.reached == set(FOREIGN)
            left |= read_pages(errands)
            server.process.terminate()
            assert server.process.stdout
            left["stdout"] = (server.greeting + server.process.stdout.read()).encode()
            left |= {f"refusal of {what}": told for what, told in errands.refusals}
            assert len(errands.refusals) > 60
    left["stderr"] = (folder / "log").read_bytes()
    left["access log"] = access_log.read_bytes()
    for file in (folder / "home").rglob("*"):
        if file.is_file():
            left[f"home/{file.name}"] = file.read_bytes()
    return planted, left


def configured(port: int, access_log: Path) -> str:
    """The configuration file, with everything that the upstream on `port` can do."""
    foreign = [
        f"  - {{name: {name}, model: upstream,"
        f" upstreams: [{UPSTREAM.format(port=port, mode=mode)}]}}"
        for (mode, _), name in FOREIGN.items()
    ]
    blocked = UPSTREAM.format(port=port, mode="blocked")
    return CONFIGURATION.format(access_log=access_log, blocked=blocked, foreign="\n".join(foreign))


def run_keys(errands: Errands, planted: Planted) -> None:
    """Everything that makes, shows and ends keys; and strangers with keys of their own."""
    for kind, path, body in (
        ("made key", "/admin/keys", {"name": "till"}),
        ("rotated key", "/admin/keys/till/rotate", None),
        ("endpoint key", "/admin/endpoints/strict/keys", {"key_type": "secondary"}),
    ):
        status, content = errands.send("POST", path, body)
        assert status == 200
        planted.secrets[kind] = json.loads(content)["key"]
    status, content = errands.send("POST", "/admin/endpoints/till/token", {})
    assert status == 200
    planted.secrets["bearer"] = json.loads(content)["accessToken"]
    planted.secrets["stranger's key"] = canary("stranger")
    planted.secrets["forged token"] = forged = f"e30.{canary('jwt')}.e30"
    said = {"messages": [{"role": "user", "content": errands.prompt}]}
    for endpoint, header in (
        ("strict", {"api_key": planted.secrets["endpoint key"]}),
        ("till", {"api_key": "", "authorization": f"Bearer {planted.secrets['bearer']}"}),
        ("strict", {"api_key": planted.secrets["rotated key"]}),
        ("strict", {"api_key": planted.secrets["made key"]}),
        ("strict", {"api_key": planted.secrets["bearer"]}),
        ("till", {"api_key": planted.secrets["endpoint key"]}),
        ("till", {"api_key": planted.secrets["stranger's key"]}),
        ("till", {"api_key": "", "authorization": f"Bearer {forged}"}),
    ):
        errands.send("POST", f"/endpoints/{endpoint}/chat/completions", said, **header)
    shares = {"traffic": {"far": 100}}
    assert errands.send("PATCH", "/admin/endpoints/guarded", shares)[0] == 200
    for path in ("/admin/keys", "/admin/replicas", "/chat/completions"):
        errands.send("GET", path, None, api_key=planted.secrets["stranger's key"])
        errands.send("GET", path, None, api_key=planted.secrets["rotated key"])
    errands.send("DELETE", "/admin/keys/till")


def run_calls(errands: Errands) -> None:
    """Calls that succeed, in every dialect and for every operation."""
    for path in DIALECTS.values():
        for stream in (True, False):
            for model in ("echo", FOREIGN["answer", stream], FOREIGN["blocked", stream]):
                assert errands.chat(path, model, stream=stream) == 200
    said = {"model": "echo", "input": errands.prompt}
    for path, body in (
        ("/openai/v1/responses", said),
        ("/openai/v1/responses", said | {"stream": True}),
        ("/embeddings", said),
        ("/openai/v1/embeddings", said),
        ("/completions", {"model": "echo", "prompt": errands.prompt}),
        ("/openai/v1/completions", {"model": "echo", "prompt": errands.prompt, "stream": True}),
        ("/images/embeddings", {"input": [{"image": IMAGE, "text": errands.prompt}]}),
    ):
        assert errands.send("POST", path, body)[0] == 200, path


def run_refusals(errands: Errands) -> None:
    """Calls that are refused: by schema, by name, by bounds, by content safety."""
    tool = {"type": "function", "function": {"name": "t", "description": errands.prompt}}
    for path in DIALECTS.values():
        for fields in (
            {"temperature": 99},
            {"top_p": "much"},
            {"n": 99},
            {"max_tokens": -1},
            {"unheard": 1},
            {"logit_bias": {"x": 1}},
            {"tools": [tool], "tool_choice": "sideways"},
            {"response_format": {"type": "poem"}},
            {"stop": [errands.prompt] * 9, "seed": "x"},
        ):
            assert errands.chat(path, "echo", **fields) >= 400
        assert errands.chat(path, "echo", "word " * 5000) == 400
        assert errands.chat(path, "nobody") >= 400
        assert errands.chat(f"/endpoints/strict{path}", "strict", BLOCKED) == 400
        assert errands.chat(f"/endpoints/strict{path}", "strict", BLOCKED, stream=True) == 400
        message = f'{{"messages": [{{"role": "user", "content": "{errands.prompt}"}}'
        errands.send("POST", path.format(model="echo"), message.encode())
        errands.send("POST", path.format(model="echo"), message.encode() + b"], \xff}")
    assert errands.send("PUT", "/chat/completions", {"messages": errands.prompt})[0] == 405
    assert errands.send("POST", "/nowhere", {"messages": errands.prompt})[0] == 404


def run_troubles(errands: Errands) -> None:
    """Engines that fail and crash, servers elsewhere that break, clients that leave."""
    for stream in (False, True):
        errands.chat("/endpoints/guarded/chat/completions", "far", stream=stream)
        for command in ("/fail", "/fail-after 3", "/hang"):
            errands.chat("/chat/completions", "echo", command, stream=stream)
    for (_, stream), name in FOREIGN.items():
        for path in DIALECTS.values():
            errands.chat(path, name, stream=stream)
    errands.leave_in_mid_stream()
    for command in ("/crash-after 2", "/crash"):
        errands.chat("/chat/completions", "fragile", command, stream=True)


def read_pages(errands: Errands) -> dict[str, bytes]:
    """Everything that a server tells of itself."""
    paths = [
        "/openapi.json",
        "/health",
        "/health/replicas",
        "/info?model=echo",
        "/models",
        "/openai/v1/models",
        "/admin/replicas",
        "/admin/keys",
        "/admin/endpoints",
        "/admin/endpoints/strict",
        "/admin/endpoints/strict/keys",
        "/admin/endpoints/guarded/deployments",
        "/admin/deployments",
        "/admin/usage?by=key",
        "/admin/usage?by=model",
        "/admin/endpoints/guarded/deployments/far/logs",
        "/admin/endpoints/till/deployments/only/logs",
        *(f"/admin/deployments/{name}/logs?lines=9999" for name in ("echo", "fragile")),
        *(f"/admin/deployments/{name}/logs" for name in FOREIGN.values()),
    ]
    pages = {}
    for path in paths:
        status, pages[path] = errands.send("GET", path)
        assert status == 200, path
    return pages


IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YA"
    "AAAASUVORK5CYII="
)


def test_no_canary_is_found_anywhere(traces: tuple[Planted, dict[str, bytes]]):
    """Given a server that has done and suffered everything, when what it has written and told is
    searched, then no key, token, credential, prompt or answer is in it."""
    planted, left = traces
    assert len(planted.secrets) == 10
    files = {f"home/{name}" for name in ("usage.db", "plan.json", "keys.json", "quota.db")}
    assert files | {"stdout", "stderr", "access log"} <= set(left)
    assert {place: found for place, c in left.items() if (found := planted.found(c))} == {}


def test_the_search_could_have_found_them(traces: tuple[Planted, dict[str, bytes]]):
    """Given the same, when it is looked for what may be there, then it is: what happened, by whom,
    and that a worker has crashed."""
    _, left = traces
    assert b"strict/secondary" in left["home/keys.json"]
    assert b'"Principal":"strict/secondary"' in left["access log"]
    assert b"fragile" in left["stderr"]
    assert b"garbage-true" in left["stderr"]
    assert b"azure-inference" in left["home/usage.db"]
    assert b"CANARY_UPSTREAM_KEY" in left["home/plan.json"]
