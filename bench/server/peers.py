"""One peer in a process of its own: commands in as JSON lines, answers out. Called by `processes.py`.

The commands are those of the Rust worker (worker/src/protocol.rs). Clients are threads of this process: no peer pays for a
network, nor for encoding a request.
"""

import importlib.metadata
import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
from engines import EF_CONSTRUCTION, ENGINES, M


class QdrantEdge:
    def open(self, folder, dim, distance):
        import qdrant_edge

        self.q = qdrant_edge
        config = self.q.EdgeConfig(
            vectors=self.q.EdgeVectorParams(size=dim, distance=getattr(self.q.Distance, distance)),
            hnsw_config=self.q.HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCTION, full_scan_threshold=10),
            optimizers=self.q.EdgeOptimizersConfig(indexing_threshold=100, default_segment_number=1),
        )
        self.shard = self.q.EdgeShard.create(str(folder / "shard"), config)

    def insert(self, first, rows):
        points = [self.q.Point(id=first + i, vector=row.tolist()) for i, row in enumerate(rows)]
        self.shard.update(self.q.UpdateOperation.upsert_points(points))
        self.shard.flush()

    def index(self):
        self.shard.optimize()

    def searcher(self, k, width):
        params = self.q.SearchParams(hnsw_ef=width)

        def search(query):
            nearest = self.q.Query.Nearest(query.tolist())
            return [point.id for point in self.shard.search(self.q.SearchRequest(nearest, k, params=params))]

        return search


class LanceDb:
    def open(self, folder, dim, distance):
        import lancedb
        import pyarrow

        self.pa, self.metric = pyarrow, {"Cosine": "cosine", "Euclid": "l2"}[distance]
        self.dim = dim
        self.schema = pyarrow.schema([("id", pyarrow.int64()), ("vector", pyarrow.list_(pyarrow.float32(), dim))])
        self.table = lancedb.connect(str(folder)).create_table("bench", schema=self.schema)

    def insert(self, first, rows):
        vectors = self.pa.FixedSizeListArray.from_arrays(self.pa.array(rows.reshape(-1)), self.dim)
        ids = self.pa.array(np.arange(first, first + len(rows)))
        self.table.add(self.pa.table({"id": ids, "vector": vectors}, schema=self.schema))

    def index(self):
        from lancedb.index import HnswSq

        config = HnswSq(distance_type=self.metric, num_partitions=1, m=M, ef_construction=EF_CONSTRUCTION)
        self.table.create_index("vector", config=config)

    def searcher(self, k, width):
        def search(query):
            found = self.table.search(query).distance_type(self.metric).limit(k).nprobes(1).ef(width).refine_factor(2)
            return found.select(["id", "_distance"]).to_arrow()["id"].to_pylist()

        return search


class Chroma:
    def open(self, folder, dim, distance):
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))
        hnsw = {
            "space": {"Cosine": "cosine", "Euclid": "l2"}[distance],
            "ef_construction": EF_CONSTRUCTION,
            "max_neighbors": M,
            "num_threads": os.cpu_count(),
        }
        self.collection = client.create_collection("bench", configuration={"hnsw": hnsw}, embedding_function=None)

    def insert(self, first, rows):
        self.collection.add(ids=[str(first + i) for i in range(len(rows))], embeddings=rows)

    def index(self):
        """It is built as points come."""

    def searcher(self, k, width):
        self.collection.modify(configuration={"hnsw": {"ef_search": width}})

        def search(query):
            found = self.collection.query(query_embeddings=query[None], n_results=k, include=[])
            return [int(id) for id in found["ids"][0]]

        return search


class MilvusLite:
    def open(self, folder, dim, distance):
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(folder / "bench.db"))
        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        index = self.client.prepare_index_params()
        metric = {"Cosine": "COSINE", "Euclid": "L2"}[distance]
        params = {"M": M, "efConstruction": EF_CONSTRUCTION}
        index.add_index("vector", index_type="HNSW", metric_type=metric, params=params)
        self.client.create_collection("bench", schema=schema, index_params=index)

    def insert(self, first, rows):
        self.client.insert("bench", [{"id": first + i, "vector": row} for i, row in enumerate(rows)])

    def index(self):
        self.client.flush("bench")
        self.client.load_collection("bench")
        while self.client.describe_index("bench", "vector")["pending_index_rows"]:
            time.sleep(0.1)

    def searcher(self, k, width):
        params = {"params": {"ef": width}}

        def search(query):
            return [hit["id"] for hit in self.client.search("bench", data=[query], limit=k, search_params=params)[0]]

        return search


PEERS = {"qdrant-edge": QdrantEdge, "lancedb": LanceDb, "chroma": Chroma, "milvus-lite": MilvusLite}


def summary(wall, each):
    """As the Rust worker's: percentiles of the nearest rank, in seconds."""
    each = sorted(each)

    def percentile(share):
        return each[max(1, -int(-share * len(each) // 1)) - 1] if each else 0.0

    return {"wall": wall, "requests": len(each), "p50": percentile(0.50), "p99": percentile(0.99)}


class Worker:
    def __init__(self, name):
        self.peer = PEERS[name]()

    def open(self, folder, dim, distance, **_http):
        self.peer.open(Path(folder), dim, distance)
        return {}

    def ingest(self, base, batch, writers):
        assert writers == 1, "a peer in process has one writer"
        rows, each = np.load(base), []
        begun = time.perf_counter()
        for first in range(0, len(rows), batch):
            sent = time.perf_counter()
            self.peer.insert(first, rows[first : first + batch])
            each.append(time.perf_counter() - sent)
        return summary(time.perf_counter() - begun, each)

    def ready(self):
        begun = time.perf_counter()
        self.peer.index()
        return {"wall": time.perf_counter() - begun}

    def search(self, queries, k, width, clients, seconds, ids):
        queries, search = np.load(queries), self.peer.searcher(k, width)
        if ids:
            return self.found(queries, search, k, ids)
        begun = time.perf_counter()
        end, times, failed = begun + seconds, [[] for _ in range(clients)], []

        def client(number):
            at = number * len(queries) // clients
            try:
                while (sent := time.perf_counter()) < end:
                    search(queries[at % len(queries)])
                    times[number].append(time.perf_counter() - sent)
                    at += 1
            except Exception as error:  # raised again below: a thread's is only printed
                failed.append(error)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return summary(time.perf_counter() - begun, [each for client in times for each in client])

    def found(self, queries, search, k, path):
        begun, each, found = time.perf_counter(), [], np.full((len(queries), k), -1, dtype="<i8")
        for row, query in zip(found, queries):
            sent = time.perf_counter()
            hits = search(query)
            each.append(time.perf_counter() - sent)
            row[: len(hits)] = hits
        found.tofile(path)
        return summary(time.perf_counter() - begun, each)


def main():
    # What a library prints must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("op"))(**command)
        except Exception as error:  # told to the driver, which stops
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def version(name):
    package = ENGINES[name].package
    return importlib.metadata.version(package) if package else None


if __name__ == "__main__":
    main()
