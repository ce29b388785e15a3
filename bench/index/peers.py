"""One peer in a process of its own: commands in as JSON lines, answers out. Called by `processes.py`.

The commands are those of the Rust worker (worker/src/protocol.rs). The data stay a mapped file: what they take is file
memory, so that the growth of anonymous memory is the index and nothing else.
"""

import ctypes
import importlib
import importlib.metadata
import json
import os
import sys
import time

import numpy as np


class Hnswlib:
    package = "hnswlib"

    def build(self, base, measure, m, ef_construction, threads):
        space = {"cosine": "ip", "euclid": "l2"}[measure]
        self.index = self.module.Index(space=space, dim=base.shape[1])
        self.index.init_index(max_elements=len(base), ef_construction=ef_construction, M=m)
        self.index.add_items(base, num_threads=threads)

    def search(self, queries, k, ef):
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k=k, num_threads=1)[0]


class Usearch:
    package = "usearch"

    def build(self, base, measure, m, ef_construction, threads):
        self.index = importlib.import_module("usearch.index").Index(
            ndim=base.shape[1],
            metric={"cosine": "ip", "euclid": "l2sq"}[measure],
            dtype="f32",
            connectivity=m,
            expansion_add=ef_construction,
            enable_key_lookups=False,
        )
        self.index.add(np.arange(len(base)), base, threads=threads)

    def search(self, queries, k, ef):
        self.index.expansion_search = ef
        return self.index.search(queries, k, threads=1).keys


class Faiss:
    package = "faiss-cpu"

    def build(self, base, measure, m, ef_construction, threads):
        faiss = self.module
        faiss.omp_set_num_threads(threads)
        metric = {"cosine": faiss.METRIC_INNER_PRODUCT, "euclid": faiss.METRIC_L2}[measure]
        self.index = faiss.IndexHNSWFlat(base.shape[1], m, metric)
        self.index.hnsw.efConstruction = ef_construction
        self.index.add(base)
        faiss.omp_set_num_threads(1)

    def search(self, queries, k, ef):
        self.index.hnsw.efSearch = ef
        return self.index.search(queries, k)[1]


PEERS = {"hnswlib": Hnswlib, "usearch": Usearch, "faiss": Faiss}


def memory():
    """Bytes of anonymous and of file memory that this process holds."""
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/status", encoding="ascii") as lines:
        fields = dict(line.split(":", 1) for line in lines)
    return {"anon": int(fields["RssAnon"].split()[0]) * 1024, "file": int(fields["RssFile"].split()[0]) * 1024}


class Worker:
    def __init__(self, name):
        self.peer = PEERS[name]()
        self.peer.module = importlib.import_module(name)

    def load(self, base, queries, measure):
        self.base, self.queries, self.measure = np.load(base, mmap_mode="r"), np.load(queries), measure
        return {
            "rows": len(self.base),
            "dim": self.base.shape[1],
            "version": importlib.metadata.version(self.peer.package),
        }

    def build(self, engine, m, ef_construction, threads):
        before = memory()
        wall, cpu = time.perf_counter(), time.process_time()
        self.peer.build(self.base, self.measure, m, ef_construction, threads)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall": wall, "cpu": cpu, "before": before, "after": memory(), "exact_bytes": None}

    def search(self, k, ef, warmup, ids):
        if warmup:
            self.peer.search(self.queries[:warmup], k, ef)
        wall, cpu = time.perf_counter(), time.process_time()
        found = self.peer.search(self.queries, k, ef)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if ids:
            np.asarray(found).astype("<i8").tofile(ids)
        return {"wall": wall, "cpu": cpu, "queries": len(self.queries)}

    def memory(self):
        return memory()


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


if __name__ == "__main__":
    main()
