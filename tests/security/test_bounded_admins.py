"""Administrators within bounds: they manage what is theirs, and hand out no more than they have."""

from collections.abc import Iterator
from typing import Any

import pytest

from servers import RunningServer, running_server

PLAN = """\
endpoints:
  - {name: shop, traffic: {blue: 100}}
  - {name: lab, traffic: {white: 100}}
  - {name: till, auth_mode: aml_token, traffic: {only: 100}}
  - {name: office, auth_mode: aad_token, traffic: {desk: 100}}
deployments:
  - {name: blue, endpoint: shop, model: echo}
  - {name: white, endpoint: lab, model: echo}
  - {name: only, endpoint: till, model: echo}
  - {name: desk, endpoint: office, model: echo}
  - {name: alone, model: echo}
  - {name: other, model: echo}
"""
SAID = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("admins")
    (folder / "zaffre.yaml").write_text(PLAN)
    options = ("-f", str(folder / "zaffre.yaml"))
    with running_server(folder / "home", folder / "log", *options) as running:
        yield running


class Caller:
    """Somebody with a key."""

    def __init__(self, server: RunningServer, key: str) -> None:
        self._server = server
        self.key = key

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, content, _ = self._server.ask(method, path, body, api_key=self.key)
        return status, content

    def code(self, method: str, path: str, body: Any = None) -> str:
        """`done`, or the word for why not."""
        status, content = self.ask(method, path, body)
        return "done" if status == 200 else content["code"]

    def chat(self, endpoint: str) -> int:
        return self.ask("POST", f"/endpoints/{endpoint}/chat/completions", SAID)[0]


@pytest.fixture(scope="module")
def root(server: RunningServer) -> Caller:
    """Who may do everything."""
    return Caller(server, server.key)


def made(server: RunningServer, maker: Caller, name: str, **bounds: Any) -> Caller:
    """Whoever holds a key that `maker` has made."""
    status, content = maker.ask("POST", "/admin/keys", {"name": name, **bounds})
    assert status == 200, content
    return Caller(server, content["key"])


@pytest.fixture(scope="module")
def keeper(server: RunningServer, root: Caller) -> Caller:
    """The administrator of one endpoint."""
    return made(server, root, "keeper", permissions=["admin"], endpoints=["Shop"])


def test_it_manages_its_endpoint(server: RunningServer, keeper: Caller):
    """Given an administrator of one endpoint, when it does all there is to do there, then it may,
    and the keys that it makes open that endpoint."""
    own = "/admin/endpoints/shop"
    for method, path, body in (
        ("GET", own, None),
        ("PATCH", own, {"traffic": {"blue": 100}}),
        ("GET", f"{own}/deployments", None),
        ("GET", f"{own}/deployments/blue", None),
        ("GET", f"{own}/deployments/blue/logs", None),
        ("GET", f"{own}/keys", None),
    ):
        assert keeper.code(method, path, body) == "done", path
    assert keeper.code("DELETE", f"{own}/deployments/nothing") == "not_found"

    _, first = keeper.ask("POST", f"{own}/keys", {"key_type": "primary"})
    _, second = keeper.ask("POST", f"{own}/keys", {"key_type": "primary"})
    _, facts = keeper.ask("GET", f"{own}/keys")

    assert first["key_type"] == second["key_type"] == "primary"
    assert Caller(server, first["key"]).chat("shop") == 401
    assert Caller(server, second["key"]).chat("shop") == 200
    assert Caller(server, second["key"]).chat("lab") != 200
    assert facts["primary"]["ending"] == second["key"][-4:]
    assert facts["secondary"] is None
    assert second["key"] not in str(facts)


def test_it_manages_no_other_and_learns_of_none(keeper: Caller):
    """Given the same, when it asks of other endpoints, of none, or of the whole server, then it is
    refused alike."""
    for name in ("lab", "till", "nobody"):
        for method, path in (
            ("GET", f"/admin/endpoints/{name}"),
            ("DELETE", f"/admin/endpoints/{name}"),
            ("GET", f"/admin/endpoints/{name}/keys"),
            ("POST", f"/admin/endpoints/{name}/keys"),
            ("POST", f"/admin/endpoints/{name}/token"),
            ("GET", f"/admin/endpoints/{name}/deployments"),
            ("GET", f"/admin/endpoints/{name}/deployments/white/logs"),
            ("GET", f"/admin/deployments/{name}"),
        ):
            assert keeper.code(method, path, {}) == "permission_denied", path
    for method, path in (
        ("POST", "/admin/documents"),
        ("POST", "/admin/reload"),
        ("GET", "/admin/deployments"),
        ("GET", "/admin/replicas"),
        ("GET", "/health/replicas"),
        ("GET", "/admin/usage"),
    ):
        assert keeper.code(method, path, {"documents": []}) == "permission_denied", path
    _, listed = keeper.ask("GET", "/admin/endpoints")
    assert [endpoint["name"] for endpoint in listed] == ["shop"]
    assert keeper.ask("GET", "/admin/endpoints?kind=serverless") == (200, [])


def test_it_makes_no_key_that_reaches_further(server: RunningServer, keeper: Caller):
    """Given the same, when it makes keys, then it can within its bounds and not beyond them."""
    till = made(server, keeper, "clerk", endpoints=["shop"], operations=["chat"])
    assert till.chat("shop") == 200
    for wanted in (
        {},
        {"endpoints": ["lab"]},
        {"endpoints": ["shop", "lab"]},
        {"endpoints": ["shop"], "permissions": ["read_usage"]},
        {"endpoints": ["shop"], "permissions": ["call", "admin", "read_usage"]},
        {"permissions": ["admin"]},
    ):
        assert keeper.code("POST", "/admin/keys", {"name": "more", **wanted}) == "permission_denied"


def test_it_sees_and_ends_only_keys_that_it_could_have_made(
    server: RunningServer, root: Caller, keeper: Caller
):
    """Given keys of others, when it lists, rotates or revokes keys, then those do not exist."""
    made(server, root, "labs", endpoints=["lab"])
    guest = made(server, root, "guest", endpoints=["shop"])

    _, listed = keeper.ask("GET", "/admin/keys")
    assert {"guest", "keeper"} <= {key["name"] for key in listed}
    assert "labs" not in {key["name"] for key in listed}
    _, every = root.ask("GET", "/admin/keys")
    lab_id = next(key["id"] for key in every if key["name"] == "labs")
    for reference in ("labs", lab_id, "nobody"):
        assert keeper.code("DELETE", f"/admin/keys/{reference}") == "not_found"
        assert keeper.code("POST", f"/admin/keys/{reference}/rotate") == "not_found"

    assert guest.chat("shop") == 200
    _, renewed = keeper.ask("POST", "/admin/keys/guest/rotate")
    assert guest.chat("shop") == 401
    assert Caller(server, renewed["key"]).chat("shop") == 200
    assert keeper.ask("DELETE", "/admin/keys/GUEST")[1]["name"] == "guest"
    assert Caller(server, renewed["key"]).chat("shop") == 401


def test_bounds_on_operations_or_models_hand_out_nothing(server: RunningServer, root: Caller):
    """Given an administrator of one operation, when it wants the endpoint's keys, which open all of
    them, then it is refused; one of some models administers no endpoint."""
    some = made(
        server, root, "some", permissions=["admin"], endpoints=["shop"], operations=["chat"]
    )
    assert some.code("POST", "/admin/endpoints/shop/keys", {}) == "permission_denied"
    assert some.code("GET", "/admin/endpoints/shop/keys") == "permission_denied"
    models = made(server, root, "models", permissions=["admin"], models=["echo"])
    assert models.code("GET", "/admin/endpoints/shop") == "permission_denied"
    assert models.code("GET", "/admin/deployments/alone") == "permission_denied"


def test_a_root_deployment_can_have_its_administrator(server: RunningServer, root: Caller):
    """Given an administrator of a deployment outside endpoints, when it asks for that and for
    another, then it gets the one."""
    one = made(server, root, "one", permissions=["admin"], endpoints=["alone"])
    assert one.code("GET", "/admin/deployments/alone") == "done"
    assert one.code("GET", "/admin/deployments/other") == "permission_denied"
    assert one.code("GET", "/admin/endpoints/shop/deployments/blue") == "permission_denied"


def test_tokens_are_for_those_who_administer(server: RunningServer, root: Caller, keeper: Caller):
    """Given an endpoint whose callers show tokens, when its administrator asks for one, then it
    opens that endpoint; new ones end it, and other endpoints have none."""
    cashier = made(server, root, "cashier", permissions=["admin"], endpoints=["till"])
    assert keeper.code("POST", "/admin/endpoints/till/token") == "permission_denied"
    _, token = cashier.ask("POST", "/admin/endpoints/till/token", {"lifetime_s": 60})
    _, shown = cashier.ask("GET", "/admin/endpoints/till/keys")
    bearers = [token["accessToken"], shown["accessToken"]]

    def opened(bearer: str, endpoint: str = "till") -> int:
        path = f"/endpoints/{endpoint}/chat/completions"
        return server.ask("POST", path, SAID, api_key="", authorization=f"Bearer {bearer}")[0]

    assert [opened(bearer) for bearer in bearers] == [200, 200]
    assert opened(bearers[0], "shop") != 200
    _, made_anew = cashier.ask("POST", "/admin/endpoints/till/keys", {})
    assert [opened(bearer) for bearer in bearers] == [401, 401]
    assert opened(made_anew["key"]) == 200

    assert cashier.code("POST", "/admin/endpoints/till/token", {"lifetime_s": 10**6}) == (
        "invalid_request"
    )
    assert keeper.code("POST", "/admin/endpoints/shop/token") == "conflict"
    assert root.code("GET", "/admin/endpoints/office/keys") == "conflict"
    assert root.code("POST", "/admin/endpoints/office/keys", {}) == "conflict"


def test_usage_is_for_those_who_may_read_it(server: RunningServer, root: Caller):
    """Given a key that may read usage, when it asks, then it gets it and nothing else; one of one
    endpoint does not get everybody's."""
    reader = made(server, root, "reader", permissions=["read_usage"])
    assert reader.code("GET", "/admin/usage?by=endpoint") == "done"
    assert reader.code("GET", "/admin/keys") == "permission_denied"
    assert reader.chat("shop") == 401
    admin = made(server, root, "chief", permissions=["admin"])
    assert admin.code("GET", "/admin/usage") == "permission_denied"
    some = made(server, root, "part", permissions=["read_usage"], endpoints=["shop"])
    assert some.code("GET", "/admin/usage") == "permission_denied"


def test_an_endpoint_made_again_does_not_know_the_old_keys(server: RunningServer, root: Caller):
    """Given an endpoint with a key, when it is deleted and made again, then the key is none."""
    documents = [
        {"type": "managedOnlineEndpoint", "name": "again", "auth_mode": "key"},
        {
            "type": "managedOnlineDeployment",
            "name": "only",
            "endpoint_name": "again",
            "model": "echo",
        },
    ]
    shares = {"traffic": {"only": 100}}
    for _ in range(2):
        assert root.code("POST", "/admin/documents", {"documents": documents}) == "done"
        assert root.code("PATCH", "/admin/endpoints/again", shares) == "done"
        _, pair = root.ask("GET", "/admin/endpoints/again/keys")
        assert pair == {"primary": None, "secondary": None}
        _, renewed = root.ask("POST", "/admin/endpoints/again/keys", {})
        caller = Caller(server, renewed["key"])
        assert caller.chat("again") == 200
        assert root.code("DELETE", "/admin/endpoints/again") == "done"
        assert caller.chat("again") == 401
