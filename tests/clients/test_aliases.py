"""Aliases: other names of collections, switched all at once."""

import pytest
from qdrant_client import models

from conftest import CITIES


def create(alias, collection):
    return models.CreateAliasOperation(create_alias=models.CreateAlias(alias_name=alias, collection_name=collection))


def delete(alias):
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def rename(old, new):
    return models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name=old, new_alias_name=new))


@pytest.fixture
def alias(client, cities):
    """Another name of the cities."""
    made = f"{cities}-alias"
    assert client.update_collection_aliases([create(made, cities)])
    return made


def pairs(answer):
    return {(each.alias_name, each.collection_name) for each in answer.aliases}


def test_an_alias_stands_for_its_collection(client, cities, alias):
    assert pairs(client.get_collection_aliases(cities)) == {(alias, cities)}
    assert (alias, cities) in pairs(client.get_aliases())

    found = client.query_points(alias, query=CITIES[0][1], limit=1).points
    assert [point.id for point in found] == [1]
    client.upsert(alias, points=[models.PointStruct(id=7, vector=[1.0, 0.0, 0.0, 0.0], payload={"city": "Oslo"})])
    assert client.retrieve(cities, ids=[7])[0].payload == {"city": "Oslo"}
    assert client.count(alias).count == 7
    assert client.get_collection(alias).points_count == 7
    assert alias not in [each.name for each in client.get_collections().collections]


def test_aliases_change_together(client, cities, alias, name):
    other = f"{name}-other"
    client.create_collection(other, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    try:
        client.update_collection_aliases([delete(alias), create(alias, other), create(f"{alias}-2", cities)])
        assert client.count(alias).count == 0
        assert client.count(f"{alias}-2").count == 6
        client.update_collection_aliases([rename(f"{alias}-2", f"{alias}-3")])
        assert pairs(client.get_collection_aliases(cities)) == {(f"{alias}-3", cities)}
    finally:
        client.delete_collection(other)
    assert alias not in {each.alias_name for each in client.get_aliases().aliases}


def test_a_change_that_fails_changes_nothing(client, cities, alias):
    with pytest.raises(Exception, match="nowhere"):
        client.update_collection_aliases([delete(alias), create("x", "nowhere")])
    assert pairs(client.get_collection_aliases(cities)) == {(alias, cities)}
