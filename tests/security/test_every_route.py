"""Every route of a server: closed to strangers, and with a permission that is really asked for."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import pytest
from worlds import World, make_world

from zaffre.auth.chain import AuthChain
from zaffre.auth.keystore import KeyStore
from zaffre.core.principals import Grant, Permission
from zaffre.server.admin import ADMIN, AdminRoutes
from zaffre.server.app import MODEL_ROUTES_NEED

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
NAMES = {"endpoint": "qshop", "deployment": "qecho", "key": "nobody"}
UNDER_DEPLOYMENTS = ("chat/completions", "completions", "embeddings", "responses")


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[AuthChain]:
    made = AuthChain(KeyStore(tmp_path))
    yield made
    await made.aclose()


@pytest.fixture
def world(chain: AuthChain) -> World:
    return make_world(chain)


def routes(world: World) -> dict[str, Permission | None]:
    """All paths of the server but the open one, and what each asks for."""
    found: dict[str, Permission | None] = {}
    for path in world.app._routes.paths():
        found[path.replace("*", "qecho")] = MODEL_ROUTES_NEED
    for operation in UNDER_DEPLOYMENTS:
        found[f"/openai/deployments/qecho/{operation}"] = MODEL_ROUTES_NEED
    for path in ("/chat/completions", "/info", "/models"):
        found[f"/endpoints/qshop{path}"] = MODEL_ROUTES_NEED
    for row in AdminRoutes.rows:
        found[ADMIN + row.path.format_map(NAMES)] = row.permission
    for path, own in world.app._own.items():
        found[path] = own.permission
    return found


def key_with(chain: AuthChain, *permissions: Permission) -> list[tuple[str, str]]:
    name = "-".join(("key", *permissions))
    return [("api-key", chain.keys.create(name, Grant(permissions=frozenset(permissions))).key)]


async def test_strangers_get_401_everywhere(world: World):
    """Given every path and method, and paths that do not exist, when somebody without a key asks,
    then it is told nothing but that it needs one; health alone is open."""
    paths = [*routes(world), "/", "/nothing", "/admin", "/admin/nothing"]
    assert len(paths) > 60
    for path in paths:
        for method in METHODS:
            for shown in ([], [("api-key", "wrong")], [("authorization", "Bearer a.b.c")]):
                reply = await world.ask(method, path, headers=shown)
                assert reply.status == 401, (method, path)
                assert "www-authenticate" in reply.headers
                assert "qshop" not in reply.shown
                assert "qecho" not in reply.shown
    for path in ("/health", "/endpoints/qshop/health", "/endpoints/nobody/health"):
        reply = await world.ask("GET", path)
        assert (reply.status, reply.body) == (200, b'{"status":"ok"}')
    assert world.reached == []


def test_every_route_says_what_it_asks_for(world: World):
    """Given all routes, when their permissions are read, then each is one that exists; only the
    description of the API is for whoever has a key at all."""
    assert {path for path, needed in routes(world).items() if needed not in PERMISSIONS} == {
        "/openapi.json"
    }
    assert {row.permission for row in AdminRoutes.rows} == {"admin", "read_usage"}


async def test_what_a_route_asks_for_is_what_it_takes(world: World, chain: AuthChain):
    """Given each path and method, when a key asks that may everything but that, then it is refused;
    and when one asks that may nothing but that, then it is not."""
    others: dict[Permission, list[tuple[str, str]]] = {
        needed: key_with(chain, *(p for p in PERMISSIONS if p != needed)) for needed in PERMISSIONS
    }
    alone = {needed: key_with(chain, needed) for needed in PERMISSIONS}
    methods = {(ADMIN + r.path.format_map(NAMES), r.method): r.permission for r in AdminRoutes.rows}
    for path, usual in routes(world).items():
        for method in METHODS[:-1]:
            if path.startswith(ADMIN) and (path, method) not in methods:
                continue  # no such route
            needed = methods.get((path, method), usual)
            if needed is None:
                continue
            refused = await world.ask(method, path, headers=others[needed])
            assert refused.code in ("permission_denied", "insufficient_permissions"), (method, path)
            let = await world.ask(method, path, headers=alone[needed])
            assert let.code not in ("permission_denied", "insufficient_permissions"), (method, path)


async def test_a_key_without_permission_learns_no_admin_route(world: World, chain: AuthChain):
    """Given a key that may call models, when it asks below /admin, then what is there and what is
    not look alike."""
    shown = key_with(chain, "call")
    there = await world.ask("GET", "/admin/keys", headers=shown)
    nowhere = await world.ask("GET", "/admin/nothing", headers=shown)
    assert there.code == nowhere.code == "permission_denied"
    assert there.body == nowhere.body
