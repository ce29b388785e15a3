"""llama-index-vector-stores-qdrant: nodes stored, found, filtered and deleted; vectors are counted words."""

import asyncio
import os
import uuid

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient

import words
from conftest import IN_MEMORY
from words import TEXTS

IDS = [str(uuid.UUID(int=i + 1)) for i in range(len(TEXTS))]


def nodes():
    """One node a text; the texts of a topic are of one document."""
    return [
        TextNode(
            id_=each,
            text=text,
            metadata=about,
            embedding=words.dense(text),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=about["topic"])},
        )
        for each, (text, about) in zip(IDS, TEXTS)
    ]


def encode(texts):
    """Sparse vectors as the store wants them: all indices, then all values."""
    indices, values = zip(*(words.sparse(text) for text in texts))
    return list(indices), list(values)


@pytest.fixture
def store(client, name):
    made = QdrantVectorStore(
        collection_name=name, client=client, enable_hybrid=True, sparse_doc_fn=encode, sparse_query_fn=encode
    )
    assert made.add(nodes()) == IDS
    return made


def query(text, k=2, mode=VectorStoreQueryMode.DEFAULT, filters=None):
    return VectorStoreQuery(
        query_embedding=words.dense(text), query_str=text, similarity_top_k=k, mode=mode, filters=filters
    )


def where(key, value, operator=FilterOperator.EQ):
    return MetadataFilter(key=key, value=value, operator=operator)


@pytest.mark.parametrize(
    "mode", [VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.HYBRID]
)
def test_nodes_are_found_by_similarity(store, mode):
    found = store.query(query("a fox in the hen house", mode=mode))
    assert found.ids[0] == IDS[1]
    assert found.nodes[0].get_content() == TEXTS[1][0]
    assert found.nodes[0].metadata == TEXTS[1][1]
    assert found.similarities[0] > found.similarities[1]


@pytest.mark.parametrize(
    "filters, expected",
    [
        ([where("topic", "animals")], {0, 1}),
        ([where("topic", "animals", FilterOperator.NE)], {2, 3, 4}),
        ([where("year", 2010, FilterOperator.GTE), where("year", 2021, FilterOperator.LT)], {2, 3}),
        ([where("topic", ["animals", "none"], FilterOperator.IN)], {0, 1}),
        ([where("topic", ["animals", "none"], FilterOperator.NIN)], {2, 3, 4}),
        ([where("topic", "trav", FilterOperator.TEXT_MATCH)], set()),
        ([where("topic", "travel", FilterOperator.TEXT_MATCH)], {2, 3, 4}),
        ([where("absent", None, FilterOperator.IS_EMPTY)], {0, 1, 2, 3, 4}),
    ],
)
def test_filters(store, filters, expected):
    found = store.query(query("night", k=10, filters=MetadataFilters(filters=filters)))
    assert {IDS.index(each) for each in found.ids} == expected


def test_filters_of_which_one_is_enough(store):
    filters = MetadataFilters(filters=[where("year", 2001), where("year", 2021)], condition=FilterCondition.OR)
    assert set(store.query(query("night", k=10, filters=filters)).ids) == {IDS[0], IDS[4]}


def test_nodes_are_read_and_deleted(store, client, name):
    assert [node.node_id for node in store.get_nodes(node_ids=IDS[:2])] == IDS[:2]
    store.delete_nodes(node_ids=[IDS[4]])
    store.delete("animals")
    assert {node.node_id for node in store.get_nodes()} == set(IDS[2:4])
    store.clear()
    assert not client.collection_exists(name)


@pytest.mark.skipif(IN_MEMORY, reason="a collection in memory belongs to one client")
def test_the_asynchronous_methods(url, client, name):
    async def run():
        made = AsyncQdrantClient(url=url, api_key=os.environ.get("BRAINY_API_KEY"), timeout=60)
        store = QdrantVectorStore(collection_name=name, client=client, aclient=made)
        await store.async_add(nodes())
        found = await store.aquery(query("sailing the seas", k=1))
        await store.adelete_nodes(node_ids=IDS[:1])
        left = await store.aget_nodes()
        await made.close()
        return found.ids, {node.node_id for node in left}

    assert asyncio.run(run()) == ([IDS[2]], set(IDS[1:]))
