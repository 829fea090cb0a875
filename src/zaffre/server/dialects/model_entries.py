"""How a deployment looks in lists of models; all dialects list the same."""

from zaffre.routing.deployments import Deployment
from zaffre.wire import codec
from zaffre.wire.models import ModelEntry


def model_type(deployment: Deployment) -> str:
    """The word for what a deployment does that every client and recording accepts (6.2)."""
    operations = deployment.operations
    if "chat" in operations:
        return "chat-completion"
    if "embed_images" in operations:
        return "image-embeddings"
    return "embeddings" if "embed" in operations else "completion"


def model_entry(name: str, deployment: Deployment) -> ModelEntry:
    """The row of a deployment under a name; capabilities are empty until its engine has started."""
    return ModelEntry(
        id=name,
        created=deployment.created,
        owned_by=deployment.card.provider,
        model_type=model_type(deployment),
        capabilities=codec.plain(deployment.capabilities) or {},
    )
