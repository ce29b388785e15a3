"""The asynchronous client: the same calls, many at a time."""

import asyncio
import os

import pytest
from grpc import RpcError
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from conftest import CITIES, IN_MEMORY, REQUEST_SECONDS

pytestmark = pytest.mark.skipif(IN_MEMORY, reason="a collection in memory belongs to one client")

POINTS = [models.PointStruct(id=i, vector=vector, payload=payload) for i, vector, payload in CITIES]
GERMAN = models.Filter(must=[models.FieldCondition(key="country", match=models.MatchValue(value="DE"))])


@pytest.fixture(params=["rest", "grpc"])
def run(request, url, grpc_port):
    """Runs a function of the client to its end."""
    over = {"prefer_grpc": request.param == "grpc", "grpc_port": grpc_port}

    def run(work):
        async def whole():
            key = os.environ.get("BRAINY_API_KEY")
            client = AsyncQdrantClient(url=url, api_key=key, timeout=REQUEST_SECONDS, **over)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(whole())

    return run


def test_a_collection_from_beginning_to_end(run, name):
    async def work(client):
        config = models.VectorParams(size=4, distance=models.Distance.COSINE)
        assert await client.create_collection(name, vectors_config=config)
        assert await client.collection_exists(name)
        assert (await client.upsert(name, points=POINTS)).status == models.UpdateStatus.COMPLETED
        await client.set_payload(name, payload={"eu": True}, points=GERMAN)

        found = (await client.query_points(name, query=CITIES[3][1], limit=2)).points
        assert (found[0].id, found[0].score) == (4, pytest.approx(1.0))
        assert found[0].payload["eu"] is True
        page, following = await client.scroll(name, scroll_filter=GERMAN, limit=1)
        assert ([point.id for point in page], following) == ([1], 4)
        assert (await client.count(name, count_filter=GERMAN)).count == 2
        [point] = await client.retrieve(name, ids=[2], with_vectors=True)
        assert point.payload == CITIES[1][2]

        await client.create_payload_index(name, "country", models.PayloadSchemaType.KEYWORD)
        assert (await client.get_collection(name)).payload_schema.keys() == {"country"}
        await client.delete(name, points_selector=[1, 2])
        assert (await client.count(name)).count == 4
        assert await client.delete_collection(name)
        with pytest.raises((UnexpectedResponse, RpcError), match="(?i)404|not_found"):
            await client.get_collection(name)

    run(work)


def test_many_calls_at_once(run, collection):
    """Each writes a point and reads it back; searches meanwhile find only what is whole."""

    async def work(client):
        async def write(i):
            vector = [1.0, i, 0.0, 0.0]
            await client.upsert(collection, points=[models.PointStruct(id=i, vector=vector, payload={"i": i})])
            [point] = await client.retrieve(collection, ids=[i])
            assert point.payload == {"i": i}

        async def search(i):
            for point in (await client.query_points(collection, query=[1.0, i, 0.0, 0.0], limit=5)).points:
                assert point.payload == {"i": point.id}

        await asyncio.gather(*(step(i) for i in range(100) for step in (write, search)))
        assert (await client.count(collection)).count == 100

    run(work)
