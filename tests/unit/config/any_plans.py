"""Plans for tests: any that declarations could make, for hypothesis."""

from hypothesis import strategies as st

from zaffre.config.instances import INSTANCE_TYPES, instance_type
from zaffre.config.plan_changes import PlanChange, merge
from zaffre.core.plan import (
    DeploymentPlan,
    EndpointPlan,
    Limits,
    Plan,
    Probe,
    ServingOptions,
    Upstream,
)

NAMES = ("alpha", "Beta-2", "gamma", "delta")
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
labels = st.dictionaries(texts.filter(bool), texts, max_size=3)
counts = st.none() | st.integers(1, 1000)
seconds = st.integers(1, 1000).map(float) | st.sampled_from([0.5, 1.25])
probes = st.builds(
    Probe,
    initial_delay_s=st.integers(0, 100).map(float),
    period_s=seconds,
    timeout_s=seconds,
    success_threshold=st.integers(1, 9),
    failure_threshold=st.integers(1, 9),
)
limits = st.builds(
    Limits, requests_per_minute=counts, tokens_per_minute=counts, tokens_per_day=counts
)
upstreams = st.builds(
    Upstream,
    url=st.sampled_from(["http://a", "https://b.example.com:8000/v1"]),
    dialect=st.sampled_from(["openai", "azure-inference", "azure-openai"]),
    model=st.none() | st.just("m"),
    key_file=st.none() | st.just("/run/key"),
    priority=st.integers(0, 3),
    weight=st.integers(1, 9),
    timeout_s=seconds,
    operations=st.sampled_from([(), ("chat",), ("embed", "chat")]),
    parameters=st.none() | st.just(()) | st.just(("temperature",)),
)


@st.composite
def servings(draw: st.DrawFn) -> ServingOptions:
    """Options whose size is the instance type's, unless they state their own."""
    name = draw(st.none() | st.sampled_from(["cpu-2", "gpu", "Standard_X", *INSTANCE_TYPES]))
    size = instance_type(name) if name else None
    return ServingOptions(
        engine=draw(st.none() | st.just("llama")),
        options=draw(
            st.dictionaries(
                texts.filter(bool),
                texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | seconds,
                max_size=2,
            )
        ),
        slots=draw(counts),
        threads=draw(counts) or (size.threads if size else None),
        memory_mib=draw(counts) or (size.memory_mib if size else None),
        instance_type=name,
        device=size.device if size else None,
        instances=draw(st.integers(1, 64)),
        loading=draw(st.sampled_from(["start", "first_use"])),
        idle_unload_s=draw(st.none() | seconds),
        hedge_after_s=draw(st.none() | seconds),
        request_timeout_s=draw(st.none() | st.integers(1, 10**6).map(lambda ms: ms / 1000)),
        max_calls_per_instance=draw(counts),
        liveness=draw(probes),
        readiness=draw(probes),
        environment=draw(st.dictionaries(st.sampled_from(["A", "B_C"]), texts, max_size=2)),
    )


@st.composite
def deployments(
    draw: st.DrawFn, endpoint: str | None, name: str, *, detailed: bool
) -> DeploymentPlan:
    """A deployment of a model here, or of upstreams."""
    if not detailed:
        return DeploymentPlan(name=name, endpoint=endpoint, model=draw(st.sampled_from("abc")))
    behind = tuple(draw(st.lists(upstreams, max_size=2)))
    model = st.sampled_from(["echo", "path:/m/x.gguf", "hf:o/r@main:f.gguf", "phi-3-mini"])
    return DeploymentPlan(
        name=name,
        endpoint=endpoint,
        model="upstream:" if behind else draw(model),
        serving=draw(servings()),
        upstreams=behind,
        tags={} if endpoint == name else draw(labels),
    )


@st.composite
def plans(draw: st.DrawFn, *, detailed: bool = True) -> Plan:
    """A plan that `check_plan` has nothing against; without details, only who is in it differs."""
    endpoints, pieces = [], []
    for number, name in enumerate(draw(st.lists(st.sampled_from(NAMES), unique=True))):
        kind = draw(st.sampled_from(["managed", "serverless"]))
        own = (
            [name] if kind == "serverless" else draw(st.lists(st.sampled_from(NAMES), unique=True))
        )
        share = draw(st.integers(0, 100))
        traffic = {} if kind == "serverless" or not own else {own[0]: 100}
        if len(own) > 1 and traffic:
            traffic = {own[0]: share, own[1]: 100 - share}
        mirror = kind == "managed" and bool(own) and draw(st.booleans())
        endpoints.append(
            EndpointPlan(
                name=name,
                kind=kind,
                auth_mode=draw(st.sampled_from(["key", "aml_token", "aad_token"])),
                traffic=traffic,
                mirror_traffic={own[-1]: draw(st.integers(0, 50))} if mirror else {},
                hosts=draw(st.sampled_from([(), (f"h{number}.example.com",)])),
                limits=draw(st.none() | limits) if detailed else None,
                content_safety=draw(st.sampled_from([None, "off", "strict"])),
                tags=draw(labels) if detailed else {},
            )
        )
        pieces += [draw(deployments(name, each, detailed=detailed)) for each in own]
    pieces += [
        draw(deployments(None, each, detailed=detailed))
        for each in draw(st.sampled_from([(), ("phi-3.5", "x")]))
    ]
    defaults = {"chat": "PHI-3.5"} if any(d.endpoint is None for d in pieces) else {}
    change = PlanChange(
        endpoints=tuple(endpoints),
        deployments=tuple(pieces),
        defaults=defaults,
    )
    return merge(Plan(), change)
