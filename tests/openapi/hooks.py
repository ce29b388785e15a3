"""Requests reach something: names of collections that are there, vectors of their dimension, and no thousands of partitions."""

import schemathesis

COLLECTION = "fuzz"
DIMENSION = 2
VECTORS = {"vector", "query", "nearest"}
MADE_AND_DROPPED = {"create_collection", "delete_collection"}


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    if "name" in (case.path_parameters or {}):
        if operation in MADE_AND_DROPPED:
            case.path_parameters["name"] = f"scratch-{len(str(case.path_parameters['name'])) % 4}"
        else:
            case.path_parameters["name"] = COLLECTION
    if isinstance(case.body, dict):
        partitions = case.body.get("shard_number")
        # More than 32 bits are to be refused.
        if type(partitions) is int and 2 < partitions < 2**32:
            case.body["shard_number"] = 1 + partitions % 2
        case.body = fitted(case.body)


def fitted(value, key=None):
    if isinstance(value, dict):
        return {name: fitted(item, name) for name, item in value.items()}
    if isinstance(value, list):
        if key in VECTORS and value and all(type(item) in (int, float) for item in value):
            return (value * DIMENSION)[:DIMENSION]
        return [fitted(item) for item in value]
    return value
