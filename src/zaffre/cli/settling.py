"""Settling: wait until the server has made true what it was told."""

import sys
import time
from collections.abc import Callable

from zaffre.cli.admin_client import AdminClient, AdminFailed, Shown, deployment_path

WAIT_LIMIT_S = 1800.0
"""A server gives up on its own well before, but one that is overloaded may take long."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
PATIENCE_S = 0.8
"""Once pauses are as long as this, people are told what they are waiting for."""


def settle(
    client: AdminClient,
    endpoint: str | None,
    deployment: str,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Shown:
    """A deployment as it is when its last change has gone through.

    Raises `AdminFailed` with the cause when it has not, or after `WAIT_LIMIT_S`.
    """
    path, name = deployment_path(endpoint, deployment), full_name(endpoint, deployment)
    end, pause_s, told = clock() + WAIT_LIMIT_S, FIRST_PAUSE_S, False
    while (shown := client.get(path))["provisioning_state"] == "Updating":
        if clock() >= end:
            raise AdminFailed(f"{name} is still not ready after {WAIT_LIMIT_S:g} seconds.")
        if not told and pause_s >= PATIENCE_S:
            print(f"{name}: waiting until it is ready", file=sys.stderr)
            told = True
        pause(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    if shown["provisioning_state"] == "Failed":
        cause = shown.get("provisioning_error") or "the server does not say why."
        where = f" -e {endpoint}" if endpoint else ""
        raise AdminFailed(
            f"{name} has failed: {cause}\n"
            f"Its log: zaffre online-deployment get-logs -n {deployment}{where}"
        )
    return dict(shown)


def full_name(endpoint: str | None, deployment: str) -> str:
    """What people call a deployment."""
    return f"{endpoint}/{deployment}" if endpoint else deployment
