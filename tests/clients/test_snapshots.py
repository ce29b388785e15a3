"""Snapshots: made, listed, downloaded, deleted and recovered from, as the client's documentation shows it."""

import hashlib
import json
import os
import tarfile
import time
import urllib.error
import urllib.request
import uuid

import grpc
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from conftest import CITIES, IN_MEMORY

pytestmark = pytest.mark.skipif(IN_MEMORY, reason="the imitation has no snapshots")
PATIENCE = 60


@pytest.fixture
def snapshots(client, name):
    """The name of a collection whose snapshots are removed in the end."""
    yield name
    try:
        left = client.list_snapshots(name)
    except UnexpectedResponse:
        return
    for made in left:
        client.delete_snapshot(name, made.name)


def contents(client, collection):
    records, _ = client.scroll(collection, limit=1000, with_payload=True, with_vectors=True)
    return {record.id: (record.vector, record.payload or {}) for record in records}


def get(url):
    headers = {"api-key": os.environ["BRAINY_API_KEY"]} if "BRAINY_API_KEY" in os.environ else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE) as answer:
        return answer.read()


def send(url, file):
    """Uploads a file as a form, as `curl -F snapshot=@file` does."""
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\ncontent-disposition: form-data; name="snapshot"; filename="s"\r\n\r\n'
    headers = {"content-type": f"multipart/form-data; boundary={edge}"}
    if "BRAINY_API_KEY" in os.environ:
        headers["api-key"] = os.environ["BRAINY_API_KEY"]
    body = head.encode() + file + f"\r\n--{edge}--\r\n".encode()
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_a_snapshot_is_listed_and_deleted(client, cities, snapshots):
    assert client.list_snapshots(cities) == []
    made = client.create_snapshot(cities)
    assert made.name.startswith(f"{cities}-") and made.name.endswith(".snapshot")
    assert made.size > 0 and len(made.checksum) == 64 and made.creation_time
    assert client.list_snapshots(cities) == [made]
    assert client.delete_snapshot(cities, made.name) is True
    assert client.list_snapshots(cities) == []
    with pytest.raises((UnexpectedResponse, grpc.RpcError), match="(?i)404|not_found"):
        client.delete_snapshot(cities, made.name)


def test_a_collection_is_recovered_in_place(client, cities, snapshots):
    before = contents(client, cities)
    made = client.create_snapshot(cities)
    client.delete(cities, points_selector=[1, 2])
    client.upsert(cities, [models.PointStruct(id=99, vector=[1, 0, 0, 0])])
    assert contents(client, cities) != before
    done = client.recover_snapshot(
        cities, location=f"file:///qdrant/snapshots/{cities}/{made.name}", checksum=made.checksum
    )
    assert done is True
    assert contents(client, cities) == before
    # What is written afterwards is newer than all that was recovered.
    client.set_payload(cities, payload={"city": "Bärlin"}, points=[1])
    assert contents(client, cities)[1][1]["city"] == "Bärlin"


def test_a_dropped_collection_is_recovered(client, cities, snapshots):
    before = contents(client, cities)
    made = client.create_snapshot(cities)
    client.delete_collection(cities)
    assert client.list_snapshots(cities) == [made]
    client.recover_snapshot(cities, location=f"file://{made.name}", priority=models.SnapshotPriority.SNAPSHOT)
    assert contents(client, cities) == before


def test_a_snapshot_holds_what_was_acknowledged(client, collection, snapshots):
    points = [models.PointStruct(id=n, vector=[n, 1, 2, 3], payload={"n": n}) for n in range(500)]
    for first in range(0, 500, 50):
        client.upsert(collection, points[first : first + 50], wait=False)
    made = client.create_snapshot(collection)
    client.delete(collection, points_selector=models.FilterSelector(filter=models.Filter()))
    assert client.count(collection).count == 0
    client.recover_snapshot(collection, location=f"file:///{made.name}")
    assert client.count(collection).count == 500


def test_every_kind_of_vector_and_its_indexes_come_back(client, name, snapshots):
    client.create_collection(
        name,
        vectors_config={
            "dense": models.VectorParams(size=4, distance=models.Distance.DOT),
            "many": models.VectorParams(
                size=2,
                distance=models.Distance.COSINE,
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            ),
        },
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.create_payload_index(name, "country", models.PayloadSchemaType.KEYWORD)
    points = [
        models.PointStruct(
            id=i,
            vector={
                "dense": vector,
                "many": [vector[:2], vector[2:]],
                "words": models.SparseVector(indices=[i, 10], values=[1.0, 0.5]),
            },
            payload=payload,
        )
        for i, vector, payload in CITIES
    ]
    client.upsert(name, points)
    german = models.Filter(must=[models.FieldCondition(key="country", match=models.MatchValue(value="DE"))])

    def answers():
        asked = [
            ([0.2, 0.1, 0.9, 0.7], "dense"),
            ([[0.2, 0.1], [0.9, 0.7]], "many"),
            (models.SparseVector(indices=[2, 10], values=[1.0, 1.0]), "words"),
        ]
        found = [client.query_points(name, query=query, using=using, limit=6).points for query, using in asked]
        return found, client.count(name, count_filter=german).count, contents(client, name)

    before = answers()
    made = client.create_snapshot(name)
    client.delete_collection(name)
    client.recover_snapshot(name, location=f"file://{made.name}")
    assert answers() == before
    assert client.get_collection(name).payload_schema["country"].data_type == models.PayloadSchemaType.KEYWORD


def test_a_downloaded_snapshot_can_be_checked_and_uploaded(client, url, cities, snapshots, tmp_path):
    before = contents(client, cities)
    made = client.create_snapshot(cities)
    file = get(f"{url}/collections/{cities}/snapshots/{made.name}")
    assert (len(file), hashlib.sha256(file).hexdigest()) == (made.size, made.checksum)
    (tmp_path / "a.tar").write_bytes(file)
    with tarfile.open(tmp_path / "a.tar") as archive:
        sums = archive.extractfile("SHA256SUMS").read().decode().splitlines()
        assert len(sums) == len(archive.getnames()) - 1
        for line in sums:
            expected, member = line.split("  ")
            assert hashlib.sha256(archive.extractfile(member).read()).hexdigest() == expected
    copy = f"{cities}-copy"
    try:
        answer = send(f"{url}/collections/{copy}/snapshots/upload?checksum={made.checksum}", file)
        assert answer["result"] is True
        assert contents(client, copy) == before
        client.delete_collection(copy)
        location = f"{url}/collections/{cities}/snapshots/{made.name}"
        client.recover_snapshot(copy, location=location, api_key=os.environ.get("BRAINY_API_KEY"))
        assert contents(client, copy) == before
    finally:
        client.delete_collection(copy)


def test_damage_is_refused_and_changes_nothing(client, url, cities, snapshots):
    before = contents(client, cities)
    made = client.create_snapshot(cities)
    file = bytearray(get(f"{url}/collections/{cities}/snapshots/{made.name}"))
    file[file.index(b"BRNYROWS") + 70] ^= 1
    with pytest.raises(urllib.error.HTTPError) as refused:
        send(f"{url}/collections/{cities}/snapshots/upload", bytes(file))
    assert refused.value.code == 400
    assert "damaged" in json.load(refused.value)["status"]["error"]
    with pytest.raises(UnexpectedResponse, match="SHA-256"):
        client.recover_snapshot(cities, location=f"file://{made.name}", checksum="0" * 64)
    assert contents(client, cities) == before


def test_who_does_not_wait_finds_it_later(client, cities, snapshots):
    client.create_snapshot(cities, wait=False)
    until = time.monotonic() + PATIENCE
    while not (listed := client.list_snapshots(cities)):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert len(listed) == 1


def test_all_collections_are_one_snapshot(client, cities):
    before = contents(client, cities)
    made = client.create_full_snapshot()
    try:
        assert made in client.list_full_snapshots()
        client.delete(cities, points_selector=[1])
        client.recover_snapshot(cities, location=f"file://{made.name}")
        assert contents(client, cities) == before
    finally:
        assert client.delete_full_snapshot(made.name) is True
    assert made not in client.list_full_snapshots()


def test_snapshots_over_grpc(url, grpc_port, client, cities, snapshots):
    over_grpc = QdrantClient(url=url, grpc_port=grpc_port, prefer_grpc=True, api_key=os.environ.get("BRAINY_API_KEY"))
    made = over_grpc.create_snapshot(cities)
    [listed] = client.list_snapshots(cities)
    assert (made.name, made.size, made.checksum) == (listed.name, listed.size, listed.checksum)
    assert over_grpc.list_snapshots(cities) == [made]
    assert over_grpc.delete_snapshot(cities, made.name) is True
    assert client.list_snapshots(cities) == []
    whole = over_grpc.create_full_snapshot()
    assert whole in over_grpc.list_full_snapshots()
    assert over_grpc.delete_full_snapshot(whole.name) is True
    with pytest.raises(grpc.RpcError) as refused:
        over_grpc.delete_full_snapshot(whole.name)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    over_grpc.close()


def test_what_is_missing_is_named(client, name):
    with pytest.raises((UnexpectedResponse, grpc.RpcError), match=name):
        client.create_snapshot(name)
    with pytest.raises((UnexpectedResponse, grpc.RpcError), match=name):
        client.list_snapshots(name)
    with pytest.raises((UnexpectedResponse, grpc.RpcError), match="nothing.snapshot"):
        client.recover_snapshot(name, location="file:///nothing.snapshot")
    with pytest.raises(UnexpectedResponse, match="501"):
        client.create_shard_snapshot(name, shard_id=0)
