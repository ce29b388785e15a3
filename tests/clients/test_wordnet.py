"""The sample of real embeddings: search finds what an exact search finds."""

import json

import numpy as np
import pytest
from qdrant_client import models

from conftest import ROOT

DATA = ROOT / "examples" / "wordnet"
RECALL = 0.95


@pytest.fixture(scope="module")
def wordnet():
    """Base vectors, query vectors, exact neighbours."""
    shapes = {
        name: file.get("shape") for name, file in json.loads((DATA / "dataset.json").read_text())["files"].items()
    }

    def vectors(name):
        rows = np.fromfile(DATA / name, "<f2").reshape(shapes[name]).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    neighbors = np.fromfile(DATA / "neighbors.u32", "<u4").reshape(shapes["neighbors.u32"])
    return vectors("base.f16"), vectors("queries.f16"), neighbors


def test_recall_with_and_without_exact_search(client, name, wordnet):
    base, queries, neighbors = wordnet
    texts = (DATA / "base.txt").read_text(encoding="utf-8").splitlines()
    config = models.VectorParams(size=base.shape[1], distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=config)
    points = (models.PointStruct(id=i, vector=base[i].tolist(), payload={"text": texts[i]}) for i in range(len(base)))
    client.upload_points(name, points=points, batch_size=500, wait=True)
    assert client.count(name).count == len(base)

    def recall(exact):
        params = models.SearchParams(exact=exact)
        requests = [models.QueryRequest(query=query.tolist(), limit=10, params=params) for query in queries]
        answers = client.query_batch_points(name, requests=requests)
        hits = [
            len({point.id for point in answer.points} & set(row.tolist()))
            for answer, row in zip(answers, neighbors, strict=True)
        ]
        return sum(hits) / neighbors.size

    assert recall(exact=True) > 0.998  # rounding may swap the tenth and the eleventh
    assert recall(exact=False) >= RECALL
