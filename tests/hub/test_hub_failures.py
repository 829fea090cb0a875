"""A hub that fails, lies, or is closed: one clear sentence, and nothing half installed."""

import pickle
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hub_models import gguf_bytes, text_model_files
from hub_server import Fault, HubServer, Repository

from zaffre.registry.download import MAX_ATTEMPTS, MAX_PAUSE_S, MAX_QUESTIONS
from zaffre.registry.errors import PullFailed
from zaffre.registry.hubpull import pull_from_hub
from zaffre.registry.huggingface import HubAccess, HuggingFaceHub, access_from
from zaffre.registry.references import parse_reference
from zaffre.registry.store import InstalledModel, ModelStore

Pull = Callable[..., InstalledModel]

MODEL = gguf_bytes()
LARGE = gguf_bytes(4096)
NAME = parse_reference("hf:tiny/one").store_name


@pytest.fixture
def one(hub: HubServer) -> Repository:
    """A repository with one model."""
    return hub.add("tiny/one", {"one.gguf": MODEL, "LICENSE": b"MIT"})


def refusal(pull: Pull, text: str = "hf:tiny/one", **options: str) -> PullFailed:
    with pytest.raises(PullFailed) as raised:
        pull(text, **options)
    return raised.value


def test_a_server_without_ranges_begins_again(hub: HubServer, pull: Pull) -> None:
    hub.ranges = False
    hub.add("tiny/one", {"one.gguf": LARGE})
    hub.faults["one.gguf"] = [Fault(cut_after=2 << 20)]

    assert pull("hf:tiny/one").path.read_bytes() == LARGE


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(
    hub: HubServer, pull: Pull, one: Repository, pauses: list[float], status: int
) -> None:
    hub.faults["one.gguf"] = [Fault(status=status)] * 2
    hub.faults["listing"] = [Fault(status=status)]

    pull("hf:tiny/one")

    assert pauses == [1.0, 1.0, 2.0]


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("86400", MAX_PAUSE_S), ("soon", 1.0)])
def test_retry_after_is_kept_within_a_bound(
    hub: HubServer, pull: Pull, one: Repository, pauses: list[float], asked: str, waited: float
) -> None:
    hub.faults["one.gguf"] = [Fault(status=429, retry_after=asked)]

    pull("hf:tiny/one")

    assert pauses == [waited]


@pytest.mark.parametrize(
    ("place", "most"), [("one.gguf", MAX_ATTEMPTS), ("listing", MAX_QUESTIONS)]
)
def test_what_does_not_pass_is_given_up(
    hub: HubServer, pull: Pull, one: Repository, pauses: list[float], place: str, most: int
) -> None:
    hub.faults[place] = [Fault(status=503)] * 100

    error = refusal(pull)

    assert error.code == "hub_unavailable"
    assert f"status 503. Gave up after {most} attempts" in error.message.replace(
        f" from {hub.endpoint}", ""
    )
    assert len(hub.faults[place]) == 100 - most
    assert len(pauses) == most - 1


def test_a_download_that_never_gets_on_is_given_up_and_kept(
    hub: HubServer, store: ModelStore, pull: Pull
) -> None:
    hub.add("tiny/one", {"one.gguf": LARGE})
    hub.faults["one.gguf"] = [Fault(cut_after=2 << 20)] + [Fault(cut_after=0)] * 20

    error = refusal(pull)

    assert error.code == "hub_unavailable"
    assert "goes on where this one stopped" in error.message
    assert store.begun()[NAME] >= 1 << 20
    hub.faults.clear()
    assert pull("hf:tiny/one").path.read_bytes() == LARGE
    assert hub.sent_bytes["one.gguf"] < 2 * len(LARGE)


def test_a_wrong_digest_installs_nothing_and_keeps_nothing(
    hub: HubServer, store: ModelStore, pull: Pull, one: Repository
) -> None:
    hub.announced["one.gguf"] = "0" * 64

    error = refusal(pull)

    assert "not the file that the hub announced: its digest is" in error.message
    assert store.installed() == []
    assert not any(piece.stat().st_size == len(MODEL) for piece in store.home.rglob("pieces/*"))


def test_a_changed_small_file_is_noticed_too(
    hub: HubServer, store: ModelStore, pull: Pull, one: Repository
) -> None:
    hub.faults["LICENSE"] = [Fault(body=b"GPL")]

    assert "LICENSE is not the file that the hub announced" in refusal(pull).message
    assert store.installed() == []


def test_more_bytes_than_announced_are_not_taken(
    hub: HubServer, store: ModelStore, pull: Pull, one: Repository
) -> None:
    hub.faults["one.gguf"] = [Fault(body=MODEL + b"more")]

    assert "is longer than the" in refusal(pull).message
    assert store.installed() == []


def test_fewer_bytes_than_announced_are_asked_for_again(
    hub: HubServer, pull: Pull, one: Repository, pauses: list[float]
) -> None:
    hub.faults["one.gguf"] = [Fault(body=MODEL[:100])]

    assert pull("hf:tiny/one").path.read_bytes() == MODEL
    assert pauses == [1.0]


class Bomb:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("boom",)


PICKLES = {
    "protocol 5": pickle.dumps(Bomb(), 5),
    "protocol 4": pickle.dumps(Bomb(), 4),
    "protocol 2": pickle.dumps(Bomb(), 2),
    "protocol 0": pickle.dumps(Bomb(), 0),
    "zip of PyTorch": b"PK\x03\x04" + bytes(200),
}


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES.keys())
@pytest.mark.parametrize("path", ["onnx/model.onnx", "tokenizer.json", "LICENSE"])
def test_a_pickle_under_another_name_is_refused(
    hub: HubServer, store: ModelStore, pull: Pull, content: bytes, path: str
) -> None:
    hub.add("tiny/one", {**text_model_files(), path: content})

    error = refusal(pull)

    assert error.code == "file_refused"
    assert path.rpartition("/")[2] in error.message
    assert store.installed() == []
    assert store.begun() == {}


@pytest.mark.parametrize("content", PICKLES.values(), ids=PICKLES.keys())
def test_a_pickle_among_the_weights_is_refused(
    hub: HubServer, store: ModelStore, pull: Pull, content: bytes
) -> None:
    hub.add("tiny/one", {**text_model_files(), "onnx/model.onnx_data": content})

    assert refusal(pull).code == "file_refused"
    assert store.begun() == {}


@pytest.mark.parametrize(
    "file", ["pytorch_model.bin", "model.pth", "model.pt", "a.pkl", "modeling.py", "x.ckpt"]
)
def test_files_that_run_code_are_refused_unread(hub: HubServer, pull: Pull, file: str) -> None:
    hub.add("tiny/one", {file: b"\x80\x02}q\x00."})

    error = refusal(pull, f"hf:tiny/one:{file}")

    assert error.code == "file_refused"
    assert hub.requests == []


@pytest.mark.parametrize("content", [b"GGUF", MODEL[:-1], b"{}", b"GGUF" + bytes(100)])
def test_a_gguf_that_is_none_is_refused(
    hub: HubServer, store: ModelStore, pull: Pull, content: bytes
) -> None:
    hub.add("tiny/one", {"one.gguf": content})

    assert "one.gguf" in refusal(pull).message
    assert store.installed() == []


@pytest.mark.parametrize(
    "path", ["../escaped.gguf", "/escaped.gguf", "a/../../escaped.gguf", "a\\b.gguf"]
)
def test_a_path_out_of_the_folder_is_refused(
    hub: HubServer, store: ModelStore, pull: Pull, tmp_path: Path, path: str
) -> None:
    hub.add("tiny/one", {"one.gguf": MODEL, path: MODEL})

    assert refusal(pull).code == "file_refused"
    assert list(tmp_path.rglob("*escaped*")) == []
    assert store.installed() == []


def test_a_repository_without_a_model_says_what_it_has(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/one", {"model.safetensors": b"x", "pytorch_model.bin": b"x"})

    error = refusal(pull)

    assert error.code == "not_on_hub"
    assert "files of the kinds bin, safetensors" in error.message


def test_a_missing_file_is_told_with_those_there_are(
    hub: HubServer, pull: Pull, one: Repository
) -> None:
    error = refusal(pull, "hf:tiny/one:Q2_K")

    assert error.code == "not_on_hub"
    assert ":one.gguf" in error.message


@pytest.mark.parametrize(
    ("text", "token", "code", "words"),
    [
        ("hf:tiny/none", "", "not_on_hub", "misspelt, or private: then set HF_TOKEN"),
        ("hf:tiny/none", "right", "not_on_hub", "no repository 'tiny/none'"),
        ("hf:tiny/private", "", "not_on_hub", "hf auth login"),
        ("hf:tiny/gated", "", "hub_access_denied", "Accept its terms at"),
        ("hf:tiny/one", "wrong", "hub_access_denied", "may not read it: check HF_TOKEN"),
        ("hf:tiny/one@v9", "", "not_on_hub", "no branch, tag or commit 'v9'"),
    ],
)
def test_a_closed_door_says_how_to_open_it(  # noqa: PLR0917
    hub: HubServer, pull: Pull, one: Repository, text: str, token: str, code: str, words: str
) -> None:
    hub.add("tiny/private", {"one.gguf": MODEL}, private=True)
    hub.add("tiny/gated", {"one.gguf": MODEL}, gated=True)

    error = refusal(pull, text, token=hub.token if token == "right" else token)

    assert error.code == code
    assert words in error.message
    assert "\n" not in error.message


def test_a_mirror_that_tells_no_sizes_is_told_off(
    hub: HubServer, pull: Pull, one: Repository
) -> None:
    hub.leave_out_sizes = True

    assert "does not tell how long one.gguf is" in refusal(pull).message


def test_offline_no_question_is_asked(hub: HubServer, store: ModelStore, one: Repository) -> None:
    access = access_from({"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "x"})

    with pytest.raises(PullFailed, match="HF_HUB_OFFLINE forbids asking") as raised:
        pull_from_hub(store, parse_reference("hf:tiny/one"), lambda: HuggingFaceHub(access))

    assert raised.value.code == "hub_unavailable"
    assert hub.requests == []


def test_nobody_at_home_is_told(store: ModelStore, hub: HubServer, pauses: list[float]) -> None:
    # A port that was free a moment ago: the hub's own, once it is closed.
    port = urlsplit(hub.endpoint).port
    access = HubAccess(f"http://127.0.0.2:{port}", "")

    with pytest.raises(PullFailed, match="cannot be reached") as raised:
        pull_from_hub(
            store,
            parse_reference("hf:tiny/one"),
            lambda: HuggingFaceHub(access),
            pause=pauses.append,
        )

    assert raised.value.code == "hub_unavailable"


def test_a_model_larger_than_the_disk_is_not_begun(hub: HubServer, pull: Pull) -> None:
    """Given 400 parts of 49 GB, when they are pulled, the numbers are told and none comes."""
    parts = {
        f"one-{part:05}-of-00400.gguf": bytes([part % 256, part // 256]) for part in range(1, 401)
    }
    hub.add("tiny/one", parts)
    hub.announced_bytes = dict.fromkeys(parts, 49_000_000_000)

    message = refusal(pull).message

    assert "needs 19600000 MB free under" in message
    assert "ZAFFRE_HOME" in message
    assert [request for request in hub.requests if "/resolve/" in request.path] == []


def test_a_file_too_large_for_the_hub_is_refused(hub: HubServer, pull: Pull) -> None:
    hub.add("tiny/one", {"one.gguf": MODEL})
    hub.announced_bytes = {"one.gguf": 60_000_000_000}

    assert "has 60.0 GB; files of its kind may have 50.0 GB" in refusal(pull).message
