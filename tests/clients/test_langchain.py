"""langchain-qdrant: what its documentation shows, with vectors of counted words in place of a model's."""

import asyncio
import uuid

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode
from langchain_qdrant.sparse_embeddings import SparseEmbeddings, SparseVector
from qdrant_client import models

import words
from words import TEXTS


class Dense(Embeddings):
    def embed_documents(self, texts):
        return [words.dense(text) for text in texts]

    def embed_query(self, text):
        return words.dense(text)


class Sparse(SparseEmbeddings):
    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text):
        indices, values = words.sparse(text)
        return SparseVector(indices=indices, values=values)


IDS = [str(uuid.UUID(int=i + 1)) for i in range(len(TEXTS))]


def store_of(client, name, mode):
    """A store over a new collection that has what `mode` needs, holding the texts."""
    size = models.VectorParams(size=words.DIMENSIONS, distance=models.Distance.COSINE)
    client.create_collection(
        name, vectors_config={"dense": size}, sparse_vectors_config={"words": models.SparseVectorParams()}
    )
    store = QdrantVectorStore(
        client=client,
        collection_name=name,
        embedding=Dense(),
        sparse_embedding=Sparse(),
        retrieval_mode=mode,
        vector_name="dense",
        sparse_vector_name="words",
    )
    documents = [Document(page_content=text, metadata=metadata) for text, metadata in TEXTS]
    assert store.add_documents(documents, ids=IDS) == IDS
    return store


def numbers(documents):
    texts = [text for text, _ in TEXTS]
    return [texts.index(document.page_content) for document in documents]


@pytest.mark.parametrize("mode", list(RetrievalMode))
def test_texts_are_found_by_similarity(client, name, mode):
    store = store_of(client, name, mode)
    found = store.similarity_search_with_score("a fox in the hen house", k=2)
    assert numbers(document for document, _ in found)[0] == 1
    assert found[0][0].metadata["topic"] == "animals"
    assert found[0][1] > found[1][1]
    travel = models.Filter(
        must=[
            models.FieldCondition(key="metadata.topic", match=models.MatchValue(value="travel")),
            models.FieldCondition(key="metadata.year", range=models.Range(gt=2010)),
        ]
    )
    assert sorted(numbers(store.similarity_search("night boat", k=5, filter=travel))) == [3, 4]


def test_texts_go_into_a_collection_that_langchain_makes(url, client, name):
    if url == ":memory:":
        pytest.skip("a collection in memory belongs to one client")
    store = QdrantVectorStore.from_texts(
        [text for text, _ in TEXTS], Dense(), metadatas=[about for _, about in TEXTS], url=url, collection_name=name
    )
    assert numbers(store.similarity_search("sailing seas", k=1)) == [2]
    again = QdrantVectorStore.from_existing_collection(collection_name=name, embedding=Dense(), url=url)
    assert numbers(again.similarity_search("lazy dog", k=1)) == [0]
    assert client.count(name).count == len(TEXTS)


def test_documents_are_read_and_deleted_by_id(client, name):
    store = store_of(client, name, RetrievalMode.DENSE)
    assert numbers(store.get_by_ids([IDS[3], IDS[0]])) == [3, 0]
    assert store.delete([IDS[3]]) is True
    assert store.get_by_ids([IDS[3]]) == []
    assert 3 not in numbers(store.similarity_search("a boat on the lake at night", k=5))


def test_diverse_results(client, name):
    store = store_of(client, name, RetrievalMode.DENSE)
    store.add_texts(["A fox and a hen live in the hen house too"], ids=[str(uuid.UUID(int=99))])
    nearest = store.similarity_search("a fox and a hen", k=2)
    diverse = store.max_marginal_relevance_search("a fox and a hen", k=2, fetch_k=6, lambda_mult=0.9)
    assert all("hen house" in document.page_content for document in nearest)
    assert diverse[0].page_content == nearest[0].page_content
    assert "hen house" not in diverse[1].page_content


def test_a_retriever(client, name):
    store = store_of(client, name, RetrievalMode.HYBRID)
    retriever = store.as_retriever(search_kwargs={"k": 1})
    assert numbers(retriever.invoke("the night train")) == [4]


def test_the_asynchronous_methods(client, name):
    store = store_of(client, name, RetrievalMode.DENSE)

    async def search():
        await store.aadd_texts(["whales sing"], ids=[str(uuid.UUID(int=100))])
        return await store.asimilarity_search("whales", k=1)

    [found] = asyncio.run(search())
    assert found.page_content == "whales sing"
