"""Azure's documents: what they mean here, what is ignored with a warning, what is refused."""

from pathlib import Path
from typing import Any

import pytest

from zaffre.config.declarations import apply, read_documents, read_files
from zaffre.config.documents import InvalidDeclaration
from zaffre.config.fields import LimitFields
from zaffre.core.plan import (
    DeploymentPlan,
    EndpointPlan,
    Limits,
    Plan,
    Probe,
    ServingOptions,
    Upstream,
)

SAMPLES = Path(__file__).parent / "samples"
SCHEMAS = "https://azuremlschemas.azureedge.net/latest/"

ENDPOINT = f"$schema: {SCHEMAS}managedOnlineEndpoint.schema.json\nname: shop\n"
BLUE = f"$schema: {SCHEMAS}managedOnlineDeployment.schema.json\nname: blue\nendpoint_name: shop\n"
MODEL = "model: smollm2-135m-instruct\n"

DOCS = EndpointPlan(
    name="docs-endpoint",
    traffic={"blue": 90, "green": 10},
    mirror_traffic={"green": 10},
    tags={"team": "search", "cost-center": "4711"},
)
BLUE_OF_DOCS = DeploymentPlan(
    name="blue",
    endpoint="docs-endpoint",
    model="phi-3-mini-4k-instruct",
    serving=ServingOptions(
        threads=4,
        memory_mib=14 * 1024,
        instance_type="Standard_DS3_v2",
        device="cpu",
        instances=2,
        request_timeout_s=90.0,
        max_calls_per_instance=10,
        liveness=Probe(30, 10, 2, 1, 3),
        readiness=Probe(initial_delay_s=5),
        environment={"OMP_WAIT_POLICY": "passive", "VERBOSITY": "3", "DEBUG": "false"},
    ),
)
GREEN_OF_DOCS = DeploymentPlan(
    name="green",
    endpoint="docs-endpoint",
    model=f"path:{SAMPLES}/../weights/phi-3.gguf",
    serving=ServingOptions(
        engine="llama",
        options={"n_ctx": 8192},
        slots=8,
        threads=6,
        memory_mib=220 * 1024,
        instance_type="Standard_NC24ads_A100_v4",
        device="gpu",
        instances=3,
        loading="first_use",
        idle_unload_s=600.0,
    ),
)
PHI = EndpointPlan(
    name="phi-3-mini",
    kind="serverless",
    hosts=("phi.example.com",),
    limits=Limits(tokens_per_minute=100_000),
    content_safety="default",
)
PHI_MODEL = DeploymentPlan(
    name="phi-3-mini",
    endpoint="phi-3-mini",
    model="azureml://registries/azureml/models/Phi-3-mini-4k-instruct",
    serving=ServingOptions(threads=2, instance_type="cpu-2", device="cpu", instances=2),
)
REMOTE = EndpointPlan(
    name="remote",
    kind="serverless",
    limits=Limits(requests_per_minute=60),
    content_safety="off",
    tags={"owner": "platform"},
)
REMOTE_MODEL = DeploymentPlan(
    name="remote",
    endpoint="remote",
    model="upstream:",
    upstreams=(
        Upstream(
            url="https://gpu.example.com:8000/v1",
            model="Qwen/Qwen2.5-7B-Instruct",
            key_file=str(SAMPLES / "keys/gpu"),
            max_calls=32,
        ),
        Upstream(
            url="https://contoso.openai.azure.com",
            dialect="azure-openai",
            model="gpt-4o-mini",
            api_version="2024-10-21",
            key_env="AZURE_OPENAI_KEY",
            priority=1,
        ),
    ),
)


def read(path: Path, text: str) -> Any:
    path.write_text(text)
    return read_files([path])


def troubles(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "z.yaml"
    with pytest.raises(InvalidDeclaration) as caught:
        read(path, text)
    return [str(trouble).removeprefix(str(path)) for trouble in caught.value.troubles]


def test_a_rollout_as_an_azure_user_writes_it():
    """Given an endpoint and two deployments in one file, when it is read, then all that counts."""
    declared = read_files([SAMPLES / "rollout.yaml"])
    assert declared.plan == Plan(endpoints=(DOCS,), deployments=(BLUE_OF_DOCS, GREEN_OF_DOCS))


def test_what_means_nothing_is_told_once_each():
    """Given fields for Azure alone, when they are read, then one warning each with its place."""
    declared = read_files([SAMPLES / "rollout.yaml"])
    assert [(warning.line, warning.path) for warning in declared.warnings] == [
        (4, "description"),
        (18, "model"),
        (21, "egress_public_network_access"),
        (22, "app_insights_enabled"),
        (30, "request_settings.max_queue_wait_ms"),
        (41, "data_collector"),
        (50, "model.name"),
        (51, "environment"),
        (57, "scale_settings.polling_interval"),
        (58, "scale_settings.target_utilization_percentage"),
    ]
    assert all(warning.file.endswith("rollout.yaml") for warning in declared.warnings)
    assert "version 4" in next(w.text for w in declared.warnings if w.path == "model")


def test_serverless_endpoints_bring_their_deployment():
    """Given serverless documents, when they are read, then each is an endpoint with one model."""
    declared = read_files([SAMPLES / "serverless.yaml"])
    assert not declared.warnings
    assert declared.plan == Plan(endpoints=(PHI, REMOTE), deployments=(PHI_MODEL, REMOTE_MODEL))


@pytest.mark.parametrize(
    "head",
    [
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json\n",
        "$schema: http://azureml/sdk-2-0/ManagedOnlineEndpoint.schema.json\n",
        "$schema: https://mirror.example.com/1.2/managedOnlineEndpoint.schema.json#\n",
        "type: managedOnlineEndpoint\n",
        "type: managed_online_endpoint\n",
        "type: online\n",
        "kind: Managed\n",
        "",
    ],
)
def test_an_endpoint_is_known_by_schema_type_or_fields(tmp_path: Path, head: str):
    """Given an endpoint in any of Azure's spellings, when it is read, then it is one."""
    declared = read(tmp_path / "z.yaml", f"{head}name: shop\nauth_mode: Aad_Token\n")
    assert declared.plan.endpoints == (EndpointPlan(name="shop", auth_mode="aad_token"),)
    assert not declared.warnings


def test_deployments_come_before_or_after_and_from_other_files(tmp_path: Path):
    """Given a deployment in a file of its own, when both are read, then they belong together."""
    blue, endpoint = tmp_path / "blue.yaml", tmp_path / "endpoint.yaml"
    blue.write_text(f"name: Blue\nendpoint_name: SHOP\ntype: managed\n{MODEL}")
    endpoint.write_text(f"{ENDPOINT}traffic: {{blue: 100}}\n")
    plan = read_files([blue, endpoint]).plan
    assert plan.endpoints[0].traffic == {"Blue": 100}
    assert (plan.deployments[0].endpoint, plan.deployments[0].name) == ("shop", "Blue")


def test_null_as_endpoint_name_means_the_root(tmp_path: Path):
    """Given a deployment that says it has no endpoint, when it is read, then it is at the root."""
    declared = read(tmp_path / "z.yaml", f"name: phi-3.5\nendpoint_name: null\n{MODEL}")
    assert declared.plan.deployments[0].endpoint is None


def test_what_the_server_fills_in_is_accepted_silently(tmp_path: Path):
    """Given what `show` prints, when it is declared again, then nobody complains."""
    text = (
        f"{ENDPOINT}id: /subscriptions/x\nscoring_uri: https://x\nprovisioning_state: Succeeded\n"
    )
    text += "location: westus\nkind: Managed\nresourceGroup: g\nopenapi_uri: null\n"
    assert not read(tmp_path / "z.yaml", text).warnings


def test_an_unknown_size_is_told_and_left_to_the_settings(tmp_path: Path):
    """Given a machine that nobody knows, when it is read, then there is a warning and no size."""
    declared = read(
        tmp_path / "z.yaml", f"{ENDPOINT}---\n{BLUE}{MODEL}instance_type: Standard_Z9\n"
    )
    serving = declared.plan.deployments[0].serving
    assert (serving.threads, serving.memory_mib, serving.device) == (None, None, None)
    assert serving.instance_type == "Standard_Z9"
    assert [warning.path for warning in declared.warnings] == ["instance_type"]


def test_scaling_by_itself_is_told_and_left_out(tmp_path: Path):
    """Given a range of instances, when it is read, then the stated number runs, with a warning."""
    scale = "scale_settings: {type: target_utilization, min_instances: 2, max_instances: 5}\n"
    declared = read(tmp_path / "z.yaml", f"{ENDPOINT}---\n{BLUE}{MODEL}{scale}")
    assert declared.plan.deployments[0].serving.instances == 2
    assert [warning.path for warning in declared.warnings] == ["scale_settings.type"]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (f"{ENDPOINT}auth_mode: magic\n", ":3:12: auth_mode: 'magic' is no way"),
        (f"{ENDPOINT}compute: azureml:k8s\n", ":3:10: compute: Zaffre has no compute"),
        (f"{ENDPOINT}kind: Kubernetes\n", ":3:7: kind: Zaffre runs no Kubernetes"),
        (
            f"{ENDPOINT}trafic: {{}}\n",
            ":3:1: trafic: there is no such field; did you mean 'traffic'?",
        ),
        (f"{ENDPOINT}traffic: {{blue: 101}}\n", ":3:17: traffic.blue: Expected `int` <= 100"),
        (f"{ENDPOINT}traffic: {{blue: 1.5}}\n", ":3:17: traffic.blue: Expected `int`"),
        (f"{ENDPOINT}traffic: {{blue: 100}}\n", ":3:17: traffic.blue: 'blue' is no deployment"),
        (f"{ENDPOINT}mirror_traffic: {{blue: 10}}\n", ":3:24: mirror_traffic.blue: 'blue' is no"),
        (f"{ENDPOINT}zaffre: {{hosts: ['a:80']}}\n", ":3:18: zaffre.hosts[0]: 'a:80' is no host"),
        (f"{ENDPOINT}zaffre: {{slots: 2}}\n", ":3:10: zaffre.slots: there is no such field"),
        (
            f"{ENDPOINT}zaffre: {{limits: {{tokens_per_minute: 0}}}}\n",
            ":3:38: zaffre.limits.tokens",
        ),
        ("name: x\n", ":1:7: name: 'x' cannot be an endpoint's name; use 3 to 32"),
        ("name: shop-\n", ":1:7: name: 'shop-' cannot be"),
        ("name: 3shop\n", ":1:7: name: '3shop' cannot be"),
        ("name: my_shop\n", ":1:7: name: 'my_shop' cannot be"),
        (f"name: {'s' * 33}\n", ":1:7: name: "),
        ("name: 7\n", ":1:7: name: Expected `str`"),
        (f"{ENDPOINT}---\n{ENDPOINT}", ":5:7: name: 'shop' is declared twice; first at "),
        ("type: batch\nname: x\n", ":1:7: type: means nothing here"),
        ("kind: kubernetes\nname: x\n", ":1:7: kind: Zaffre runs no Kubernetes"),
        (f"$schema: {SCHEMAS}commandJob.schema.json\n", ":1:10: $schema: means nothing here"),
        (f"$schema: {SCHEMAS}kubernetesOnlineDeployment.schema.json\n", ":1:10: $schema: Zaffre"),
    ],
)
def test_an_endpoint_that_would_be_another_is_refused(tmp_path: Path, text: str, start: str | None):
    """Given an endpoint that cannot be served as written, then the place of the cause."""
    assert troubles(tmp_path, text)[0].startswith(start)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("instance_count: 1\n", ":4:1: Object missing required field `model`"),
        ("model: runs:/x/model\n", ":7:8: model: 'runs:/x/model' is no model"),
        ("model: azureml://datastores/x/paths/y\n", ":7:8: model: "),
        ("model: hf:a/b/c\n", ":7:8: model: write hf:OWNER/REPOSITORY"),
        ("model: {path: azureml://datastores/x}\n", ":7:15: model.path: must be a file"),
        ("model: {path: x, type: mlflow_model}\n", ":7:24: model.type: Zaffre cannot run"),
        ("model: {pth: x}\n", ":7:9: model.pth: there is no such field; did you mean 'path'?"),
        (f"{MODEL}code_configuration:\n  scoring_script: score.py\n", ":8:1: code_configuration: "),
        (f"{MODEL}environment:\n  image: mcr.example.com/x\n", ":9:10: environment.image: "),
        (f"{MODEL}environment: {{inference_config: {{x: 1}}}}\n", ":8:15: environment.inference_c"),
        (f"{MODEL}type: kubernetes\n", ":8:7: type: "),
        (f"{MODEL}resources: {{requests: {{cpu: '1'}}}}\n", ":8:1: resources: "),
        (f"{MODEL}instance_count: 0\n", ":8:17: instance_count: Expected `int` >= 1"),
        (f"{MODEL}instance_count: 65\n", ":8:17: instance_count: Expected `int` <= 64"),
        (f"{MODEL}request_settings: {{request_timeout_ms: 0}}\n", ":8:40: request_settings.req"),
        (f"{MODEL}liveness_probe: {{period: 0}}\n", ":8:26: liveness_probe.period: "),
        (f"{MODEL}environment_variables: {{LD_PRELOAD: x}}\n", ":8:37: environment_variables.LD"),
        (f"{MODEL}environment_variables: {{PYTHONPATH: x}}\n", ":8:37: environment_variables.PY"),
        (f"{MODEL}environment_variables: {{A: [x]}}\n", ":8:25: environment_variables.A: Expect"),
        (
            f"{MODEL}instance_count: 2\nscale_settings: {{type: target_utilization, "
            "min_instances: 3, max_instances: 3}\n",
            ":9:1: scale_settings: instance_count says 2",
        ),
        (f"{MODEL}scale_settings: {{type: magic}}\n", ":8:24: scale_settings.type: "),
        ("model: upstream\n", ":7:8: model: it is `upstream`, but there are no upstreams"),
        (
            f"{MODEL}zaffre: {{upstreams: [{{url: 'http://a'}}]}}\n",
            ":7:8: model: there are upstreams",
        ),
        (
            "model: upstream\nzaffre: {upstreams: [{url: 'http://u:p@a'}]}\n",
            ":8:28: zaffre.upstreams[0].url: must not hold a key",
        ),
        (
            "model: upstream\nzaffre: {upstreams: [{url: 'ftp://a'}]}\n",
            ":8:28: zaffre.upstreams[0].url: Expected",
        ),
        (
            "model: upstream\nzaffre: {upstreams: [{url: 'http://a:99999'}]}\n",
            ":8:28: zaffre.upstreams[0].url: is no URL",
        ),
        (
            "model: upstream\nzaffre: {upstreams: [{url: 'http://a?b'}]}\n",
            ":8:28: zaffre.upstreams[0].url: must be a base URL",
        ),
        (
            "model: upstream\nzaffre: {upstreams: [{url: 'http://a', key: secret}]}\n",
            ":8:40: zaffre.upstreams[0].key: there is no such field",
        ),
        (
            "model: upstream\nzaffre: {upstreams: [{url: 'http://a', key_env: A, key_file: b}]}\n",
            ":8:62: zaffre.upstreams[0].key_file: use either",
        ),
    ],
)
def test_a_deployment_that_would_be_another_is_refused(tmp_path: Path, text: str, start: str):
    """Given a deployment that cannot be served as written, then the place of the cause."""
    found = troubles(tmp_path, f"{ENDPOINT}---\n{BLUE}{text}")
    assert found[0].startswith(start)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("traffic: {blue: 90}\n", ":3:1: traffic: the shares add up to 90"),
        ("traffic: {blue: 100, BLUE: 0}\n", ":3:28: traffic.BLUE: 'BLUE' is here twice"),
        ("mirror_traffic: {blue: 51}\n", ":3:24: mirror_traffic.blue: 51 is too much"),
    ],
)
def test_shares_that_cannot_be_are_refused(tmp_path: Path, text: str, start: str):
    """Given shares for a deployment that is there, when they cannot be, then their place."""
    assert troubles(tmp_path, f"{ENDPOINT}{text}---\n{BLUE}{MODEL}")[0].startswith(start)


def test_a_deployment_needs_its_endpoint(tmp_path: Path):
    """Given a deployment alone, when it is read, then the place of the endpoint's name."""
    assert troubles(tmp_path, f"{BLUE}{MODEL}") == [
        ":3:16: endpoint_name: there is no endpoint 'shop'."
    ]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("properties: {contentSafety: maybe}\n", ":3:29: properties.contentSafety: must be"),
        ("properties: {tokens_per_minute: 0}\n", ":3:33: properties.tokens_per_minute: must"),
        ("properties: {tokens_per_minute: true}\n", ":3:33: properties.tokens_per_minute: must"),
        (
            "properties: {tokens_per_minute: 5}\nzaffre: {limits: {}}\n",
            ":4:10: zaffre.limits: the limits are in `properties` already",
        ),
        (
            "properties: {contentSafety: Disabled}\nzaffre: {content_safety: strict}\n",
            ":4:26: zaffre.content_safety: is Disabled in `properties`",
        ),
        ("auth_mode: KeyAndAAD\n", ":3:12: auth_mode: "),
        ("zaffre: {upstreams: [{url: 'http://a'}]}\n", ":2:11: model_id: there are upstreams"),
    ],
)
def test_a_serverless_endpoint_that_would_be_another_is_refused(
    tmp_path: Path, text: str, start: str
):
    """Given properties that contradict, when they are read, then the place of the cause."""
    found = troubles(tmp_path, f"name: phi\nmodel_id: smollm2-135m-instruct\n{text}")
    assert found[0].startswith(start)


def test_other_properties_of_serverless_endpoints_are_told(tmp_path: Path):
    """Given a property that nobody knows, when it is read, then there is a warning."""
    declared = read(tmp_path / "z.yaml", "name: phi\nmodel_id: m\nproperties: {offer: x}\n")
    assert [warning.path for warning in declared.warnings] == ["properties.offer"]


@pytest.mark.parametrize("name", LimitFields.__struct_fields__)
def test_limits_are_texts_in_properties(tmp_path: Path, name: str):
    """Given a limit as Azure's properties have it, when it is read, then it is a number."""
    declared = read(tmp_path / "z.yaml", f"name: phi\nmodel_id: m\nproperties: {{{name}: '7'}}\n")
    assert declared.plan.endpoints[0].limits == Limits(**{name: 7})


def test_all_troubles_are_told_at_once(tmp_path: Path):
    """Given two documents with a trouble each, when they are read, then both are told."""
    found = troubles(tmp_path, f"{ENDPOINT}auth_mode: x\n---\nname: b\nmodel_id: hf:/no\n")
    assert [trouble.split(": ")[1] for trouble in found] == ["auth_mode", "model_id"]


def test_json_is_read_alike():
    """Given the same as JSON, when it is read, then troubles have a path instead of a line."""
    declared = read_documents([{"name": "shop", "auth_mode": "key", "description": "x"}])
    assert apply(Plan(), declared).endpoints == (EndpointPlan(name="shop"),)
    assert [str(warning).partition(": is")[0] for warning in declared.warnings] == [
        "request: description"
    ]
    deployment = {"name": "blue", "endpoint_name": "nowhere", "model": "m"}
    with pytest.raises(InvalidDeclaration) as caught:
        apply(Plan(), read_documents([{"name": "shop"}, deployment], where="PUT"))
    assert caught.value.message == "PUT: [1].endpoint_name: there is no endpoint 'nowhere'."


@pytest.mark.parametrize("value", [None, 5, "x", [], [{}]])
def test_json_that_is_no_mapping_is_refused(value: object):
    """Given a request that is no mapping, when it is read, then it says so."""
    with pytest.raises(InvalidDeclaration, match="Expected `object`"):
        read_documents([value])


def test_relative_paths_in_requests_are_refused():
    """Given a path that starts nowhere, when it is read, then it is refused with the reason."""
    with pytest.raises(InvalidDeclaration, match="is relative, and nobody knows to what"):
        read_documents([{"name": "b", "endpoint_name": None, "model": "path:x.gguf"}])


def test_a_trouble_of_something_else_says_what():
    """Given a plan that a change breaks elsewhere, then the trouble names the piece."""
    plan = Plan(
        endpoints=(EndpointPlan(name="one", hosts=("a.example.com",)),),
    )
    declared = read_documents([{"name": "a.example.com", "endpoint_name": None, "model": "echo"}])
    assert apply(plan, declared).deployments
    broken = Plan(endpoints=(EndpointPlan(name="one", traffic={"gone": 100}),))
    with pytest.raises(InvalidDeclaration, match="the plan: endpoint 'one': 'gone' is no"):
        apply(broken, declared)
