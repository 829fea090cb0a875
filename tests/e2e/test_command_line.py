"""Azure's verbs on the command line, against a real server: what they change, print and refuse."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from servers import ZAFFRE, RunningServer, running_server
from zaffre.cli.main import main
from zaffre.registry.catalogue import starters

LIMIT_S = 60
ROOT = "deployments:\n  - {name: root, model: echo}\n"
ENDPOINT = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json
name: chat
auth_mode: key
"""
BLUE = """\
$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: chat
model: echo
instance_type: Standard_DS2_v2
instance_count: 1
"""
CARD = {"name": "model", "format": "echo", "operations": ["chat"], "provider": "zaffre"}
BROKEN = "zaffre.options.no_such_option=1"
"""The echo engine refuses all options: a worker that gets one does not come up."""

Done = subprocess.CompletedProcess[str]


class Shell:
    """Types commands in a folder, as a person with an admin key.

    They run in this process, which has the libraries loaded; `test_it_is_a_program` has a real one.
    """

    def __init__(self, server: RunningServer, folder: Path) -> None:
        self._folder = folder
        self.environ = {"ZAFFRE_URL": server.endpoint, "ZAFFRE_ADMIN_KEY": server.key}

    def run(self, *words: str, **environ: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            patch.chdir(self._folder)
            patch.setattr(sys, "argv", ["zaffre", *words])
            patch.setattr(sys, "stdin", io.StringIO())
            patch.delenv("ZAFFRE_KEY", raising=False)
            for name, value in (self.environ | environ).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        return Done(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def ok(self, *words: str) -> str:
        """What a command prints that has to go well."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str, **environ: str) -> str:
        """What a command says that must not go well."""
        done = self.run(*words, **environ)
        assert done.returncode == 1, done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def state(self) -> Any:
        """Everything that can be changed."""
        endpoints = json.loads(self.ok("online-endpoint", "list"))
        names = [endpoint["name"] for endpoint in endpoints]
        return endpoints, [self.ok("online-deployment", "list", "-e", name) for name in names]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command_line")
    (folder / "zaffre.yaml").write_text(ROOT)
    (folder / "endpoint.yml").write_text(ENDPOINT)
    (folder / "blue.yml").write_text(BLUE)
    (folder / "green.yml").write_text(BLUE.replace("blue", "green"))
    return folder


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[RunningServer]:
    options = ("-f", str(files / "zaffre.yaml"))
    with running_server(files / "home", files / "log", *options) as running:
        yield running


@pytest.fixture
def shell(server: RunningServer, files: Path) -> Iterator[Shell]:
    """A shell on a server with an endpoint `chat` that has one deployment, `blue`, and nothing
    else; gone afterwards."""
    shell = Shell(server, files)
    shell.ok("online-endpoint", "create", "-f", "endpoint.yml")
    shell.ok("online-deployment", "create", "-f", "blue.yml", "--all-traffic")
    yield shell
    shell.ok("online-endpoint", "delete", "-n", "chat", "--yes")


@pytest.fixture
def bare(server: RunningServer, files: Path) -> Shell:
    """A shell on the same server for those who change nothing."""
    return Shell(server, files)


def test_it_is_a_program(bare: Shell, files: Path):
    """Given the installed program, when a command goes well, cannot, or makes no sense, then its
    exit status says so, results are on one stream and troubles on the other."""

    def typed(*words: str) -> tuple[int, str, str]:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("ZAFFRE_")}
        done = subprocess.run(
            [ZAFFRE, *words],
            env=environ | bare.environ,
            cwd=files,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    show = ("online-endpoint", "show", "-n", "nobody")
    assert typed("ps", "-o", "tsv", "--query", "[].deployment") == (0, "root\n", "")
    assert typed(*show) == (1, "", "zaffre: Endpoint 'nobody' was not found.\n")
    assert typed(*show, "--nonsense")[0] == 2


def test_an_endpoint_is_shown_in_three_forms(shell: Shell, server: RunningServer):
    """Given an endpoint, when it is shown, then as JSON it is Azure's, as a table one line under a
    heading, and between tabs its values alone."""
    shown = json.loads(shell.ok("online-endpoint", "show", "-n", "CHAT"))
    table = shell.ok("online-endpoint", "show", "-n", "chat", "-o", "table").splitlines()
    values = shell.ok("online-endpoint", "show", "--name", "chat", "--output", "tsv")

    assert shown["name"] == "chat"
    assert shown["traffic"] == {"blue": 100}
    assert shown["provisioning_state"] == "Succeeded"
    assert shown["scoring_uri"] == f"{server.endpoint}/endpoints/chat"
    assert table[0].split()[:3] == ["name", "auth_mode", "traffic"]
    assert table[1].split()[:3] == ["chat", "key", "blue=100"]
    assert len(table) == 2
    assert values.rstrip("\n").split("\t")[:4] == ["chat", "Managed", "key", "blue=100"]


def test_lists_are_json_and_can_be_cut_down(shell: Shell):
    """Given deployments, when they are listed, then it is JSON, and a query leaves the names."""
    shell.ok("online-deployment", "create", "-f", "green.yml", "--no-wait")
    listed = json.loads(shell.ok("online-deployment", "list", "--endpoint-name", "chat"))
    names = shell.ok("online-deployment", "list", "-e", "chat", "--query", "[].name", "-o", "tsv")
    assert [deployment["name"] for deployment in listed] == ["blue", "green"]
    assert names == "blue\ngreen\n"
    assert json.loads(shell.ok("online-deployment", "list"))[0]["name"] == "root"


def test_create_makes_and_update_changes(shell: Shell):
    """Given a name that exists, when it is created, then it is refused; given one that does not,
    when it is updated, then that is refused."""
    again = shell.refused("online-endpoint", "create", "-n", "chat")
    deployment = shell.refused("online-deployment", "create", "-f", "blue.yml")
    missing = shell.refused("online-endpoint", "update", "-n", "nobody", "--traffic", "a=100")
    unknown = shell.refused("online-deployment", "update", "-f", "green.yml")

    assert "endpoint 'chat' exists already" in again
    assert "deployment 'chat/blue' exists already" in deployment
    assert "Endpoint 'nobody' was not found" in missing
    assert "Deployment 'green' of endpoint 'chat' was not found" in unknown


def test_single_fields_are_changed_without_a_file(shell: Shell):
    """Given an endpoint and a deployment, when fields are set, then those change and no others."""
    before = json.loads(shell.ok("online-deployment", "show", "-n", "blue", "-e", "chat"))
    update = ("online-deployment", "update", "-n", "blue", "-e", "chat")
    after = json.loads(shell.ok(*update, "--set", "instance_count=2", "--set", "tags.team=search"))
    endpoint = ("online-endpoint", "update", "-n", "chat", "--set", "tags.tier=gold")
    tags = json.loads(shell.ok(*endpoint, "--query", "tags"))

    assert after == before | {"instance_count": 2, "tags": {"team": "search"}}
    assert tags == {"tier": "gold"}
    shown = json.loads(shell.ok("online-endpoint", "show", "-n", "chat"))
    assert shown["traffic"] == {"blue": 100}


def test_traffic_is_shared_and_mirrored(shell: Shell):
    """Given two deployments, when shares are set in one command, then both rows have them, and
    shares that make no whole are refused."""
    shell.ok("online-deployment", "create", "-f", "green.yml")
    update = ("online-endpoint", "update", "-n", "chat")
    shares = ("--traffic", "blue=90 green=10", "--mirror-traffic", "green=5")
    shown = json.loads(shell.ok(*update, *shares))
    refused = shell.refused(*update, "--traffic", "blue=90 green=5")
    nonsense = shell.refused(*update, "--traffic", "blue:90")
    busy = shell.refused("online-deployment", "delete", "-n", "blue", "-e", "chat", "-y")

    assert shown["traffic"] == {"blue": 90, "green": 10}
    assert shown["mirror_traffic"] == {"green": 5}
    assert "add up to 95" in refused
    assert "blue=90 green=10" in nonsense
    assert "still gets 90 %" in busy


def test_a_deployment_that_fails_gets_no_traffic(shell: Shell):
    """Given a deployment that cannot start, when it is created with all traffic, then the command
    fails with the cause, and the traffic stays where it was."""
    create = ("online-deployment", "create", "-n", "red", "-e", "chat")
    said = shell.refused(*create, "--set", "model=echo", "--set", BROKEN, "--all-traffic")
    assert "chat/red has failed: The echo engine has no option 'no_such_option'" in said
    assert "zaffre online-deployment get-logs -n red -e chat" in said
    show = ("online-endpoint", "show", "-n", "chat", "--query")
    assert json.loads(shell.ok(*show, "traffic")) == {"blue": 100}


def test_an_update_that_fails_leaves_what_ran(shell: Shell):
    """Given a deployment that answers, when it is changed to what cannot start, then the command
    fails with the cause, and its replica is the same as before."""
    query = ("ps", "--query", "[].name", "-o", "tsv")
    before = shell.ok(*query)
    update = ("online-deployment", "update", "-n", "blue", "-e", "chat", "--set", BROKEN)
    assert "no_such_option" in shell.refused(*update)
    assert "chat/blue-1" in before
    assert shell.ok(*query) == before


def test_a_bad_file_changes_nothing(shell: Shell, files: Path):
    """Given a good and a bad file, when they are applied together, then every mistake is told with
    file, line and column, and everything is as before."""
    bad = files / "bad.yml"
    before = shell.state()
    bad.write_text(f"{ENDPOINT}traffic: {{blue: 50}}\nmirror_traffic:\n  nobody: 10\n")
    whole = shell.refused("apply", "-f", "green.yml", "-f", "bad.yml")
    bad.write_text(f"{ENDPOINT}trafic: {{}}\n")
    single = shell.refused("apply", "-f", "green.yml", "bad.yml")
    bad.write_text("name: [unclosed\n")
    syntax = shell.refused("online-endpoint", "update", "-f", "bad.yml")

    assert "bad.yml:4:1: traffic: the shares add up to 50" in whole
    assert "bad.yml:6:11: mirror_traffic.nobody: 'nobody' is no deployment" in whole
    assert "bad.yml:4:1: trafic: there is no such field" in single
    assert "bad.yml:2:1" in syntax
    assert shell.state() == before


def test_apply_makes_everything_true_at_once(shell: Shell):
    """Given files, when they are applied, then new things are there and ready, a second time
    changes nothing, and ignored fields are warned of with their place."""
    first = shell.run("apply", "-f", "endpoint.yml", "green.yml")
    state = shell.state()
    second = shell.ok("apply", "-f", "green.yml", "-f", "endpoint.yml", "-o", "json")

    assert [line.split() for line in first.stdout.splitlines()] == [
        ["kind", "name", "provisioning_state"],
        ["endpoint", "chat", "Succeeded"],
        ["deployment", "chat/green", "Succeeded"],
    ]
    assert shell.state() == state
    assert [part["name"] for part in json.loads(second)["deployments"]] == ["green"]


def test_ignored_fields_are_warned_of_with_their_place(shell: Shell, files: Path):
    """Given a field of Azure's alone, when its file is used, then there is one warning, and it is
    accepted."""
    (files / "more.yml").write_text(f"{ENDPOINT}description: of Azure alone\n")
    done = shell.run("online-endpoint", "update", "-f", "more.yml")
    assert done.returncode == 0
    assert done.stderr == (
        "warning: more.yml:4:1: description: is ignored: it means nothing here.\n"
    )


def test_paths_start_at_their_files_folder(shell: Shell, files: Path):
    """Given a model beside a file in another folder, when the file is used from here, then the
    server finds the model."""
    model = files / "elsewhere" / "model"
    model.mkdir(parents=True)
    (model / "card.json").write_text(json.dumps(CARD))
    declared = BLUE.replace("blue", "near").replace("model: echo", "model: path:model")
    (files / "elsewhere" / "near.yml").write_text(declared)

    shown = json.loads(shell.ok("online-deployment", "create", "-f", "elsewhere/near.yml"))

    assert shown["model"] == f"path:{model}"
    assert shown["provisioning_state"] == "Succeeded"


def test_a_file_for_another_command_is_told_apart(bare: Shell):
    said = bare.refused("online-endpoint", "create", "-f", "blue.yml")
    assert "blue.yml:1:1: this is for another command: zaffre online-deployment" in said


def test_deleting_asks_first(shell: Shell):
    """Given nobody to ask, when something is to be deleted without --yes, then it stays."""
    before = shell.state()
    done = shell.run("online-endpoint", "delete", "-n", "chat")
    assert done.returncode == 1
    assert "Delete endpoint 'chat'" in done.stdout
    assert shell.state() == before


def test_serverless_endpoints_have_the_same_verbs(shell: Shell):
    """Given a model, when a serverless endpoint is made of it, changed and deleted, then each can
    be seen, and the managed kind's commands leave it alone."""
    model = ("--model-id", "echo", "--set", "zaffre.content_safety=off")
    made = json.loads(shell.ok("serverless-endpoint", "create", "-n", "one", *model))
    changed = shell.ok(
        "serverless-endpoint", "update", "-n", "one", "--set", "tags.team=search", "--query", "tags"
    )
    other = shell.refused("online-endpoint", "delete", "-n", "one", "--yes")
    listed = shell.ok("serverless-endpoint", "list", "-o", "table").splitlines()
    shell.ok("serverless-endpoint", "delete", "-n", "one", "--yes")

    assert (made["model_id"], made["provisioning_state"]) == ("echo", "Succeeded")
    assert json.loads(changed) == {"team": "search"}
    assert "use zaffre serverless-endpoint" in other
    assert listed[1].split()[:2] == ["one", "echo"]
    assert json.loads(shell.ok("serverless-endpoint", "list")) == []


def test_ps_shows_what_runs(shell: Shell):
    """Given two deployments, when replicas are shown, then each is a line with its state and
    memory, and as JSON a record."""
    head, *rows = [line.split() for line in shell.ok("ps").splitlines()]
    records = json.loads(shell.ok("ps", "-o", "json"))

    assert head[:5] == ["deployment", "replica", "engine", "state", "pid"]
    assert [row[0] for row in rows] == ["root", "chat/blue"]
    assert all(row[3] == "ready" and row[6] == "MiB" for row in rows)
    assert {"calls", "tokens_per_s", "restarts", "memory_mib"} <= records[0].keys()


def test_logs_are_a_workers_last_lines(shell: Shell):
    """Given a worker, when its log is asked for, then it is plain lines, and never too many."""
    logs = ("online-deployment", "get-logs", "-n", "blue", "-e", "chat")
    assert len(shell.ok(*logs, "--lines", "1").splitlines()) <= 1
    assert "was not found" in shell.refused(*logs[:3], "nothing", "-e", "chat")
    assert shell.run(*logs, "-l", "0").returncode == 2


def test_who_cannot_be_reached_or_lets_nobody_in(bare: Shell):
    """Given no server, a wrong key or none, when a command is typed, then it says so."""
    assert "start one with 'zaffre serve'" in bare.refused("ps", ZAFFRE_URL="http://127.0.0.1:9")
    assert "refuses the key in ZAFFRE_ADMIN_KEY" in bare.refused("ps", ZAFFRE_ADMIN_KEY="wrong")
    assert "export ZAFFRE_ADMIN_KEY" in bare.refused("ps", ZAFFRE_ADMIN_KEY="")
    assert "is no address" in bare.refused("ps", "--url", "localhost")


@pytest.mark.parametrize(
    "words",
    [
        ("online-endpoint", "create"),
        ("online-endpoint", "update", "-n", "chat"),
        ("online-deployment", "create", "-n", "blue"),
        ("online-deployment", "create", "-f", "green.yml", "--all-traffic", "--no-wait"),
        ("serverless-endpoint", "create", "-n", "one"),
        ("online-endpoint", "show", "-n", "chat", "-o", "xml"),
        ("apply",),
    ],
)
def test_a_command_that_makes_no_sense_is_a_usage_error(bare: Shell, words: tuple[str, ...]):
    done = bare.run(*words)
    assert done.returncode == 2, done.stderr
    assert "Usage: zaffre" in done.stderr


def test_changes_outlive_a_restart_without_files(files: Path, tmp_path: Path):
    """Given a server whose endpoint was made by commands, when it is started again without a file,
    then what its file said is gone, and the endpoint is there as it was and answers."""
    home, log = tmp_path / "home", tmp_path / "log"
    for starter in starters():  # served where nothing else is declared; here they weigh nothing
        model = home / "models" / starter.name
        model.mkdir(parents=True)
        (model / "card.json").write_text(json.dumps(CARD | {"name": starter.name}))
    with running_server(home, log, "-f", str(files / "zaffre.yaml")) as server:
        shell = Shell(server, files)
        shell.ok("apply", "-f", "endpoint.yml", "blue.yml")
        show = ("online-endpoint", "update", "-n", "chat", "--traffic", "blue=100", "--query")
        before = shell.ok(*show, "traffic"), shell.ok("online-deployment", "list", "-e", "chat")

    with running_server(home, log) as server:
        shell = Shell(server, files)
        show = ("online-endpoint", "show", "-n", "chat", "--query")
        after = shell.ok(*show, "traffic"), shell.ok("online-deployment", "list", "-e", "chat")
        root = shell.ok("online-deployment", "list", "--query", "[].name", "-o", "tsv")
        assert after == before
        assert "root" not in root.splitlines()
        assert server.get("/endpoints/chat/info")["model_name"]
