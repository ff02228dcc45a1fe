"""How long after an alias has moved do all workers of a service answer by the weights that it names?"""

import time
import urllib.request

import numpy as np
import pyarrow as pa
from serving_http import Server

from recsys.ports import ModelRegistry, Registration
from recsys.workflows.decision.promote import accept
from recsys.workflows.workspace import Workspace

WITHIN_SECONDS = 60.0
PAUSE_SECONDS = 0.05


def registered_again(registry: ModelRegistry, model: str) -> int:
    """Register a model's champion once more, with the sample that its load is checked against; return the number."""
    champion = registry.resolve(model, "champion")
    if champion is None:
        message = f"model {model}: no champion"
        raise SystemExit(message)
    ranker = registry.load(champion)
    texts = set(getattr(ranker, "categorical", ()))
    columns = {name: np.array(["a", "b"], dtype=object) if name in texts else np.arange(2.0) for name in ranker.columns}
    sample = pa.table({**columns, "score": ranker.score(columns)})
    made = Registration(champion.model_version, ranker, dict(champion.tags), {}, {}, {}, sample)
    return registry.register(made).number


def moved(workspace: Workspace, model: str, number: int) -> None:
    """Let other weights be champion, by alias and on record; registry and ledger are the service's own."""
    registry = workspace.registry
    registry.set_alias(next(each for each in registry.search(model) if each.number == number), "champion")
    accept(workspace, model)


def followed(server: Server, placement: str, number: int, workers: int) -> float:
    """Return the seconds until all workers say that they serve these weights and no others."""
    begun = time.perf_counter()
    while time.perf_counter() - begun < WITHIN_SECONDS:
        served = weights_of_workers(server, placement)
        if len(served) == workers and set(served.values()) == {number}:
            return time.perf_counter() - begun
        time.sleep(PAUSE_SECONDS)
    message = f"after {WITHIN_SECONDS:.0f} s the workers serve {served}, and the champion is {number}"
    raise SystemExit(message)


def weights_of_workers(server: Server, placement: str) -> dict[str, int]:
    """Return what each worker serves in a placement, by its process, as `/metrics` tells of all of them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    own = [line for line in lines if line.startswith("recsys_weights{") and f'placement="{placement}"' in line]
    values = [(line.partition('pid="')[2].partition('"')[0], float(line.rpartition(" ")[2])) for line in own]
    return {process: int(number) for process, number in values if number}
