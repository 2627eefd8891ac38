"""Errors that tell of a dead actor, as Ray raises them."""

from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError

# As Ray 2.60 words them.
KILLED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file."
)
SHORT_OF_MEMORY = (
    "The actor is dead because its worker process has died. Worker exit type: NODE_OUT_OF_MEMORY "
    "Worker exit detail: Task was killed due to the node running low on memory."
)
NODE = "The actor died because its node has died. Node Id: 0123"
OWNER = "The actor is dead because its owner has died. Owner Id: 0123 Owner worker exit type: SYSTEM_ERROR"
ENDED = "The actor is dead because it was killed by `ray.kill`."


def died(name: str, message: str = KILLED) -> ActorDiedError:
    context = ActorDiedErrorContext(
        class_name=name,
        actor_id=bytes(16),
        pid=77,
        node_ip_address="10.0.0.3",
        error_message=message,
    )
    return ActorDiedError(context)
