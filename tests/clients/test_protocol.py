"""The definitions of the gRPC protocol agree with those that the client brings."""

import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from qdrant_client.grpc import (
    collections_pb2,
    collections_service_pb2,
    json_with_int_pb2,
    points_pb2,
    points_service_pb2,
    qdrant_common_pb2,
    qdrant_pb2,
    snapshots_service_pb2,
)

PROTO = Path(__file__).parents[2] / "dataplane" / "proto"
FILES = [
    collections_pb2,
    collections_service_pb2,
    json_with_int_pb2,
    points_pb2,
    points_service_pb2,
    qdrant_common_pb2,
    qdrant_pb2,
    snapshots_service_pb2,
]

FIELD = re.compile(r"(optional |repeated )?([\w.]+|map<(\w+), ([\w.]+)>) (\w+) = (\d+);")
VALUE = re.compile(r"(\w+) = (\d+);")
METHOD = re.compile(r"rpc (\w+)\((\w+)\) returns \((\w+)\);")


def ours():
    """Messages, enumerations and services as dataplane/proto defines them, by full name."""
    found = {}
    for path in sorted(PROTO.glob("*.proto")):
        inside = []
        for line in path.read_text().splitlines():
            line = line.split("//")[0].strip()
            if opened := re.match(r"(message|enum|service|oneof) (\w+) \{(\})?", line):
                kind, name, closed = opened.groups()
                if kind != "oneof":
                    full = ".".join([n for k, n in inside if k != "oneof"] + [name])
                    found[full] = {}
                if not closed:
                    inside.append((kind, name))
            elif line == "}":
                inside.pop()
            elif inside and not line.startswith("reserved"):
                kinds = [n for k, n in inside if k != "oneof"]
                members = found[".".join(kinds)]
                kind = [k for k, _ in inside if k != "oneof"][-1]
                if kind == "service":
                    name, asked, answered = METHOD.fullmatch(line).groups()
                    members[name] = (asked, answered)
                elif kind == "enum":
                    name, number = VALUE.fullmatch(line).groups()
                    members[name] = int(number)
                elif line:
                    label, plain, key, value, name, number = FIELD.fullmatch(line).groups()
                    oneof = inside[-1][1] if inside[-1][0] == "oneof" else None
                    what = f"map<{key}, {value}>" if key else plain
                    members[name] = (int(number), (label or "").strip(), what, oneof)
    return found


Field = descriptor_pb2.FieldDescriptorProto
TYPES = {
    Field.TYPE_BOOL: "bool",
    Field.TYPE_DOUBLE: "double",
    Field.TYPE_FLOAT: "float",
    Field.TYPE_INT64: "int64",
    Field.TYPE_STRING: "string",
    Field.TYPE_UINT32: "uint32",
    Field.TYPE_UINT64: "uint64",
}


def type_name(field, scope):
    if field.type in TYPES:
        return TYPES[field.type]
    full = field.type_name.removeprefix(".").removeprefix("qdrant.")
    return full.removeprefix(f"{scope}.")


def fields(message, scope):
    maps = {m.name: m.field for m in message.nested_type if m.options.map_entry}
    members = {}
    for field in message.field:
        label = "optional" if field.proto3_optional else ""
        what = type_name(field, scope)
        if field.label == Field.LABEL_REPEATED:
            if field.type == Field.TYPE_MESSAGE and what in maps:
                key, value = maps[what]
                what = f"map<{type_name(key, scope)}, {type_name(value, scope)}>"
            else:
                label = "repeated"
        in_oneof = field.HasField("oneof_index") and not field.proto3_optional
        oneof = message.oneof_decl[field.oneof_index].name if in_oneof else None
        members[field.name] = (field.number, label, what, oneof)
    return members


def theirs():
    """The same of the client."""
    found = {}

    def read(messages, enums, scope):
        for enum in enums:
            found[".".join([*scope, enum.name])] = {v.name: v.number for v in enum.value}
        for message in messages:
            if not message.options.map_entry:
                inner = [*scope, message.name]
                found[".".join(inner)] = fields(message, ".".join(inner))
                read(message.nested_type, message.enum_type, inner)

    for module in FILES:
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        read(file.message_type, file.enum_type, [])
        for service in file.service:
            short = {m.name: (m.input_type, m.output_type) for m in service.method}
            found[service.name] = {
                name: tuple(full.removeprefix(".qdrant.") for full in pair) for name, pair in short.items()
            }
    return found


def test_all_that_the_client_knows_is_defined_alike():
    own, client = ours(), theirs()
    assert len(client) > 200
    for name, members in client.items():
        assert own.get(name) == members, name


@pytest.mark.parametrize("service", ["Qdrant", "Collections", "Points", "Snapshots"])
def test_services_are_complete(service):
    assert ours()[service] == theirs()[service]
