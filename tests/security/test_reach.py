"""Who reaches what: over all ways to name a model, nobody reaches or learns of anybody else's."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from worlds import (
    ALL_OPERATIONS,
    ENDPOINTS,
    MODELS,
    Model,
    OneCaller,
    Reply,
    World,
    make_world,
    place_of,
)

from zaffre.auth.policy import judge
from zaffre.core.calls import Operation
from zaffre.core.principals import Grant, Principal

OPERATION_PATHS: dict[Operation, str] = {
    "chat": "chat/completions",
    "complete": "completions",
    "embed": "embeddings",
    "embed_images": "images/embeddings",
}
BODIES: dict[Operation, dict[str, object]] = {
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "complete": {"prompt": "hi"},
    "embed": {"input": ["hi"]},
    "embed_images": {"input": [{"image": "data:image/png;base64,AAAA"}]},
}
HOSTS = {
    "127.0.0.1": None,
    "store.example": "qshop",
    "Bench.example:8080": "qlab",
    "qtok.localhost": "qtok",
    "nobody.localhost": None,
}
TARGETS = sorted({m.name for m in MODELS if m.endpoint is None} | {e.name for e in ENDPOINTS})
NAMES = sorted({m.name for m in MODELS} | set(TARGETS))
MODEL_NAMES = sorted({m.model for m in MODELS})
FORBIDDEN = {"permission_denied", "insufficient_permissions"}
EXAMPLES = 300
LISTED_EXAMPLES = 100
"""Fewer: each looks at four lists in two worlds."""


@dataclass(frozen=True)
class Asked:
    """A request with everything that can name a model."""

    operation: Operation
    style: str
    """`azure`, `v1`, `shared` (both speak there), or `deployment` (the name is in the path)."""
    endpoint: str | None
    host: str
    path_name: str
    header: str | None
    model: str | None
    mesh: str | None
    session: str | None

    @property
    def target(self) -> str:
        """Path and query."""
        own = f"/endpoints/{self.endpoint}" if self.endpoint else ""
        operation = OPERATION_PATHS[self.operation]
        match self.style:
            case "azure":
                return f"{own}/{operation}?api-version=2024-05-01-preview"
            case "deployment":
                return f"{own}/openai/deployments/{self.path_name}/{operation}"
            case "shared":
                return f"{own}/v1/{operation}"
            case _:
                return f"{own}/openai/v1/{operation}"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All that are there."""
        named = {
            "host": self.host,
            "azureml-model-deployment": self.header,
            "x-ms-model-mesh-model-name": self.mesh,
            "x-zaffre-session": self.session,
        }
        return [(name, value) for name, value in named.items() if value is not None]

    @property
    def body(self) -> dict[str, object]:
        """The body, with a model or without."""
        return BODIES[self.operation] | ({} if self.model is None else {"model": self.model})

    @property
    def conflicts(self) -> bool:
        """Whether it names two things of one kind that differ."""
        host = HOSTS[self.host]
        path_name = self.path_name if self.style == "deployment" else None
        return bool(
            (host and self.endpoint and host != self.endpoint)
            or (path_name and self.header and path_name.lower() != self.header.lower())
        )


def _maybe(names: Sequence[str]) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from([*names, names[0].upper(), "nobody"])


asked = st.builds(
    Asked,
    operation=st.sampled_from(ALL_OPERATIONS),
    style=st.sampled_from(["azure", "v1", "shared", "deployment"]),
    endpoint=_maybe([e.name for e in ENDPOINTS]),
    host=st.sampled_from(sorted(HOSTS)),
    path_name=st.sampled_from([*NAMES, "nobody"]),
    header=_maybe(NAMES),
    model=_maybe([*NAMES, *MODEL_NAMES]),
    mesh=_maybe(NAMES),
    session=st.none() | st.sampled_from(["a", "b", "c"]),
)
grants = st.builds(
    Grant,
    permissions=st.frozensets(st.sampled_from(["call", "admin", "read_usage"])) | st.just({"call"}),
    endpoints=st.none() | st.frozensets(st.sampled_from(TARGETS), max_size=3),
    models=st.none() | st.frozensets(st.sampled_from(MODEL_NAMES), max_size=3),
    operations=st.none() | st.frozensets(st.sampled_from(ALL_OPERATIONS), min_size=1),
)
credentials = st.sampled_from(["server_key", "endpoint_key", "aml_token", "aad_token"])


def principal_of(held: Sequence[Grant], credential: str = "server_key") -> Principal:
    """Whoever holds these grants."""
    first = structs.asdict(held[0])
    first["permissions"] = frozenset(first["permissions"])
    return Principal("p", "p", **first, also=tuple(held[1:]), credential=credential)  # type: ignore[arg-type]


principals = st.builds(principal_of, st.lists(grants, min_size=1, max_size=3), credentials)


def visible(principal: Principal) -> set[Model]:
    """What the caller may know of: where it may call, or could with another kind of credential."""
    return {m for m in MODELS if judge(principal, "call", place_of(m)) in ("yes", "credential")}


def hidden_names(principal: Principal) -> set[str]:
    """All names that the caller must not read anywhere."""
    seen = visible(principal)
    known = {name for model in seen for name in model.names} | {m.endpoint for m in seen}
    names = {name for model in MODELS for name in model.names} | {e.name for e in ENDPOINTS}
    hosts = {h for e in ENDPOINTS if e.name not in known for h in e.hosts}
    return (names | hosts) - {name for name in known if name}


def leaked(principal: Principal, reply: Reply, said: str) -> set[str]:
    """Hidden names in an answer that the caller has not said itself."""
    shown = set(re.findall(r"[a-z][a-z.-]*", reply.shown.lower()))
    return {name for name in hidden_names(principal) & shown if name not in said.lower()}


def both_worlds(principal: Principal, request: Asked) -> tuple[World, World]:
    """The whole world, and one without what the caller may not know of. Host names are in both:
    everybody can look them up."""
    seen = visible(principal)
    door = OneCaller(principal)
    known = [model for model in MODELS if model in seen]
    return make_world(door), make_world(door, known, HOSTS[request.host])


@given(principals, asked)
@settings(max_examples=EXAMPLES, deadline=None)
async def test_nobody_reaches_what_is_not_granted(principal: Principal, request: Asked):
    """Given any grants and any request, when it is answered, then whoever was reached is one whom
    the caller may use for that, in the place that the request names; else nobody was."""
    world = make_world(OneCaller(principal))
    reply = await world.ask("POST", request.target, request.body, request.headers)

    assert (reply.status == 200) == (len(world.reached) == 1)
    for model in world.reached:
        assert judge(principal, "call", place_of(model), request.operation) == "yes"
        assert not request.conflicts
        inside = request.endpoint or HOSTS[request.host]
        if inside:
            assert model.endpoint == inside.lower()
        named = request.path_name if request.style == "deployment" else request.header
        if named:
            assert named.lower() in (model.name, model.endpoint)
    assert leaked(principal, reply, f"{request}") == set()


@given(principals, asked)
@settings(max_examples=EXAMPLES, deadline=None)
async def test_a_refusal_is_the_same_as_if_the_rest_did_not_exist(
    principal: Principal, request: Asked
):
    """Given a world without whatever the caller may not know of, when it asks there, then it gets
    the answer of the whole world: nothing tells the two apart."""
    seen = visible(principal)
    split = {m.endpoint for m in MODELS if m not in seen} & {m.endpoint for m in seen} - {None}
    whole, less = both_worlds(principal, request)

    answers = [
        await world.ask("POST", request.target, request.body, request.headers)
        for world in (whole, less)
    ]

    if any(reply.code in FORBIDDEN for reply in answers) and split:
        return  # the endpoint's own traffic led to what the caller may not use: that it may know
    assert _told(answers[0]) == _told(answers[1])
    assert whole.reached == less.reached


@given(principals, asked, st.sampled_from(["/info", "/models", "/openai/v1/models", "/v1/models"]))
@settings(max_examples=LISTED_EXAMPLES, deadline=None)
async def test_lists_show_what_may_be_used_and_nothing_else(
    principal: Principal, request: Asked, path: str
):
    """Given any grants, when models are listed or described, then no other name is in the answer,
    and it is that of a world without the others."""
    own = f"/endpoints/{request.endpoint}" if request.endpoint else ""
    targets = [f"{own}{path}"]
    targets += [f"{own}/info?model={request.model}", f"{own}/v1/models/{request.path_name}"]
    targets += ["/openapi.json"] if not own else []
    for target in targets:
        worlds = both_worlds(principal, request)
        replies = [await world.ask("GET", target, None, request.headers) for world in worlds]
        assert leaked(principal, replies[0], f"{request} {target}") == set(), target
        assert _told(replies[0]) == _told(replies[1]), target


def _told(reply: Reply) -> tuple[int, str]:
    """An answer without what differs each time."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|(chatcmpl|cmpl|resp)-\w+", "ID", reply.shown)
    return reply.status, re.sub(r'"created":\d+', '"created":0', text)
