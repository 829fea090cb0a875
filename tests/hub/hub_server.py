"""A hub on this machine: the addresses, headers and habits of the Hugging Face hub, real bytes.

Two servers: the hub itself, and the place where it keeps large files, which is another origin and
must never see a token. Faults are queued per file and used up one after the other.
"""

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_FROM_BYTES = 1000
"""Larger files, and those that are no text, are in LFS."""
PIECE_BYTES = 64 * 1024


@dataclass
class Fault:
    """What goes wrong with one answer."""

    status: int = 0
    """Answer with this status and nothing else."""
    retry_after: str = ""
    cut_after: int = -1
    """Close the connection after so many bytes of the body."""
    hold_after: int = -1
    """After so many bytes, wait until the test lets go."""
    body: bytes | None = None
    """Serve these bytes instead."""


@dataclass
class Repository:
    """Files at one commit; `gated` ones want a token."""

    files: dict[str, bytes]
    license: str = "mit"
    gated: bool = False
    private: bool = False
    commit: str = ""
    old: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Commit -> files, of commits that the branch has left."""

    def __post_init__(self) -> None:
        self.commit = self.commit or commit_of(self.files)

    def replace(self, files: dict[str, bytes]) -> None:
        """The branch moves on."""
        self.old[self.commit] = self.files
        self.files, self.commit = files, commit_of(files)

    def at(self, revision: str) -> dict[str, bytes] | None:
        """The files at a branch or commit."""
        if revision in ("main", self.commit):
            return self.files
        return self.old.get(revision)


def commit_of(files: dict[str, bytes]) -> str:
    """A commit for these files."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()  # noqa: S324


def git_oid(content: bytes) -> str:
    """Git's name of a file."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()  # noqa: S324


def is_lfs(path: str, content: bytes) -> bool:
    """Whether the hub keeps it in LFS."""
    return len(content) > LFS_FROM_BYTES or path.endswith((".gguf", ".onnx", ".bin"))


@dataclass
class Request:
    """A request that was made."""

    origin: str
    """`hub` or `storage`."""
    method: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


class HubServer:
    """The stand-in. `endpoint` is what HF_ENDPOINT is set to."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.token = "hf_test_token"
        self.ranges = True
        self.announced: dict[str, str] = {}
        """Path -> SHA-256 that is announced although it is wrong."""
        self.announced_bytes: dict[str, int] = {}
        """Path -> size that is announced although it is wrong."""
        self.leave_out_sizes = False
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        """Path of a file, or `listing`."""
        self.requests: list[Request] = []
        self.sent_bytes: dict[str, int] = defaultdict(int)
        self.held = threading.Event()
        self.let_go = threading.Event()
        self._servers = [_Server(self, "hub"), _Server(self, "storage")]
        self._threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            for server in self._servers
        ]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def storage(self) -> str:
        # Another name than the hub's, as in life: another origin.
        return f"http://localhost:{self._servers[1].server_port}"

    def add(self, name: str, files: dict[str, bytes], **facts: Any) -> Repository:
        """A repository."""
        self.repositories[name] = Repository(files, **facts)
        return self.repositories[name]

    def downloads(self, path: str) -> list[Request]:
        """Requests for the bytes of a file."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith(f"/{path}")]

    @contextmanager
    def running(self) -> Iterator["HubServer"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self.let_go.set()
            for server in self._servers:
                server.shutdown()
                server.server_close()
            for thread in self._threads:
                thread.join()


class _Server(ThreadingHTTPServer):
    # Clients keep connections open; nobody waits for them to leave.
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: HubServer, origin: str) -> None:
        self.hub, self.origin = hub, origin
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_args: object) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_args: object) -> None:
        """Silence."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.server.hub
        address = urlsplit(self.path)
        path = unquote(address.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        hub.requests.append(Request(self.server.origin, self.command, path, headers))
        if self.server.origin == "storage":
            self._blob(path)
        elif path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._listing(name, revision or "main")
        else:
            name, _, rest = path.removeprefix("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._file(name, revision, file)

    def _listing(self, name: str, revision: str) -> None:
        hub = self.server.hub
        repository = self._open(name)
        if repository is None or self._failed("listing"):
            return
        files = repository.at(revision)
        if files is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        commit = repository.commit if files is repository.files else revision
        siblings = [self._sibling(path, content) for path, content in files.items()]
        answer = {
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": repository.private,
            "gated": "manual" if repository.gated else False,
            "tags": [f"license:{repository.license}"],
            "cardData": {"license": repository.license},
            "siblings": siblings,
        }
        if hub.leave_out_sizes:
            answer["siblings"] = [{"rfilename": path} for path in files]
        self._send(200, json.dumps(answer).encode(), {"content-type": "application/json"})

    def _sibling(self, path: str, content: bytes) -> dict[str, Any]:
        sibling: dict[str, Any] = {"rfilename": path, "size": len(content)}
        if not is_lfs(path, content):
            return {**sibling, "blobId": git_oid(content)}
        sha256 = self.server.hub.announced.get(path, hashlib.sha256(content).hexdigest())
        size_bytes = self.server.hub.announced_bytes.get(path, len(content))
        lfs = {"sha256": sha256, "size": size_bytes, "pointerSize": 134}
        return {"rfilename": path, "size": size_bytes, "blobId": git_oid(b"pointer"), "lfs": lfs}

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._open(name, closed_to_all=True)
        if repository is None:
            return
        content = (repository.at(revision) or {}).get(path)
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif is_lfs(path, content):
            digest = hashlib.sha256(content).hexdigest()
            location = f"{self.server.hub.storage}/{name}/{revision}/{path}"
            headers = {
                "location": location,
                "x-repo-commit": repository.commit,
                "x-linked-etag": f'"{digest}"',
                "x-linked-size": str(len(content)),
            }
            self._send(302, b"", headers)
        elif not self._failed(path):
            headers = {"x-repo-commit": repository.commit, "etag": f'"{git_oid(content)}"'}
            self._content(path, content, headers)

    def _blob(self, path: str) -> None:
        owner, name, commit, file = path.removeprefix("/").split("/", 3)
        files = self.server.hub.repositories[f"{owner}/{name}"].at(commit) or {}
        if not self._failed(file):
            self._content(file, files[file], {})

    def _content(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        hub = self.server.hub
        fault = hub.faults[path].pop(0) if hub.faults[path] else Fault()
        content = content if fault.body is None else fault.body
        status, start = 200, 0
        if hub.ranges:
            headers["accept-ranges"] = "bytes"
            if self.headers.get("range"):
                start = int(self.headers["range"].removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self._send(416, b"", {"content-range": f"bytes */{len(content)}"})
                    return
                status = 206
                headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._stream(path, content[start:], (status, headers), fault)

    def _stream(
        self, path: str, body: bytes, head: tuple[int, dict[str, str]], fault: Fault
    ) -> None:
        hub = self.server.hub
        status, headers = head
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for place in range(0, len(body), PIECE_BYTES):
            if 0 <= fault.cut_after <= place:
                self.close_connection = True
                return
            if 0 <= fault.hold_after <= place:
                hub.held.set()
                hub.let_go.wait(60)
            piece = body[place : place + PIECE_BYTES]
            self.wfile.write(piece)
            hub.sent_bytes[path] += len(piece)

    def _open(self, name: str, closed_to_all: bool = False) -> Repository | None:
        """The repository, if this caller may see it; the listing of a gated one is open."""
        hub = self.server.hub
        repository = hub.repositories.get(name)
        shown = self.headers.get("authorization", "").removeprefix("Bearer ")
        if shown and shown != hub.token:
            self._refuse(401, "", "Invalid credentials in Authorization header")
            return None
        if repository is None or (repository.private and not shown):
            # The hub does not tell the two apart to those who show no token.
            self._refuse(404 if shown else 401, "RepoNotFound", "Repository not found")
            return None
        if repository.gated and closed_to_all and not shown:
            self._refuse(401, "GatedRepo", f"Access to model {name} is restricted.")
            return None
        return repository

    def _failed(self, path: str) -> bool:
        """Answer with the next fault of `path`, if that is a status."""
        faults = self.server.hub.faults[path]
        if not faults or not faults[0].status:
            return False
        fault = faults.pop(0)
        headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
        self._send(fault.status, b"<html>sorry</html>", headers)
        return True

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"x-error-message": message, "content-type": "application/json"}
        if code:
            headers["x-error-code"] = code
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
