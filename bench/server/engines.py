"""The engines that are compared. Pure."""

from dataclasses import dataclass

M, EF_CONSTRUCTION = 16, 200


@dataclass(frozen=True)
class Engine:
    name: str
    package: str  # at PyPI; none for Brainy
    colour: str
    what: str
    durable: str  # what an acknowledged batch is, by the engine's own description


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("brainy", None, "#c0392b", "brainyd over HTTP, one process, local directory", "log file, synced to disk"),
        Engine(
            "brainy-s3", None, "#e67e22", "brainyd over HTTP, all data in an S3 server on the same machine", "log object in S3"
        ),
        Engine("brainy-grpc", None, "#d4ac0d", "brainyd over gRPC, one process, local directory", "log file, synced to disk"),
        Engine("qdrant-edge", "qdrant-edge-py", "#1f4e9e", "Qdrant Edge, in process", "log, and flush() after each batch"),
        Engine("lancedb", "lancedb", "#148f77", "LanceDB, in process, IVF_HNSW_SQ of one partition", "a new version"),
        Engine("chroma", "chromadb", "#7d3c98", "Chroma, in process, persistent client", "a transaction of SQLite"),
        Engine("milvus-lite", "milvus-lite", "#8e5a2b", "Milvus Lite, in process, HNSW", "its log"),
    )
}


def ours(name):
    """Whether it is brainyd: a process of its own, driven by the Rust worker."""
    return ENGINES[name].package is None
