"""How does the core read features? From one Feast repository, whose stores are the ASOF and the packed ones.

- `reader`: `FeastFeatures`, the FeatureReader port
- `declared`: `DeclaredFeatures`, the same for definitions that were not applied
- `checks`: what `recsys doctor` asks
- `listed`: the registry's definitions, made into objects once a version
- `opening`: the configuration, and a replay's registry and online store
- `definitions`: Feast's objects in the core's words, and their digest
"""

from recsys.adapters.feast_features.checks import feast_registry_findings, online_store_findings
from recsys.adapters.feast_features.declared import DeclaredFeatures
from recsys.adapters.feast_features.opening import prepare_feast
from recsys.adapters.feast_features.reader import FeastFeatures

__all__ = ["DeclaredFeatures", "FeastFeatures", "feast_registry_findings", "online_store_findings", "prepare_feast"]
