#!/usr/bin/env python3
"""Writes what in charts/ follows from other files; with --check only says what is not current, and fails then.

scripts/chart_docs.py [--check]

charts/brainy-operator/files/brainycluster.yaml   a copy of crds/brainycluster.yaml: charts cannot reach beyond their directory
charts/brainy-operator/values.schema.json         its descriptions, from the comments in values.yaml; the rest is written by hand
charts/brainy-cluster/values.schema.json          all of it: values.yaml, and the schema of the CRD's spec
charts/*/README.md                                the table of values, from the comments in values.yaml
"""

import argparse
import copy
import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CRD = ROOT / "crds" / "brainycluster.yaml"
OPERATOR = ROOT / "charts" / "brainy-operator"
CLUSTER = ROOT / "charts" / "brainy-cluster"
BEGIN, END = "<!-- values: made from values.yaml by `make chart-docs` -->", "<!-- end of values -->"
KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9_]*):(?: |$)")

# Keywords of OpenAPI that say the same in JSON Schema.
SHARED_KEYWORDS = (
    "description", "enum", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength", "maxProperties", "maximum",
    "minItems", "minLength", "minProperties", "minimum", "pattern", "required", "type", "uniqueItems",
)  # fmt: skip
# A CEL rule that is nothing but a pattern.
CEL_PATTERN = re.compile(r"^self\.matches\('((?:[^'\\]|\\.)*)'\)$")


class Mistake(Exception):
    """Something in charts/ that a person has to mend."""


def read_comments(path):
    """The comment above each key, in the file's order: {("image", "tag"): "Tag of ..."}; keys without one have ""."""
    comments, stack, pending = {}, [], []
    for line in path.read_text().splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            pending.append(stripped[1:].strip())
        elif match := KEY.match(line):
            depth = len(match[1]) // 2
            stack[depth:] = [match[2]]
            comments[tuple(stack)] = " ".join(pending)
            pending = []
        else:
            pending = []  # a blank line ends a comment that belongs to the file
    return comments


def documented(path):
    """(key path, comment, default or None for a section) of each documented key of a values.yaml."""
    values, comments, rows = yaml.safe_load(path.read_text()), read_comments(path), []
    for key, comment in comments.items():
        value = values
        for part in key:
            value = value[part]
        section = any(comments[other] for other in comments if other[: len(key)] == key and len(other) > len(key))
        covered = any(comments[key[:end]] for end in range(1, len(key)))
        if comment:
            rows.append((key, comment, None if section else json.dumps(value)))
        elif not section and not covered:
            raise Mistake(f"{path.relative_to(ROOT)}: {'.'.join(key)} has no comment; write one above it")
    return rows


def described(schema, rows, path):
    """The schema with a description for each documented key."""
    schema = copy.deepcopy(schema)
    for key, comment, _ in rows:
        node = schema
        for part in key:
            node = node.get("properties", {}).get(part)
            if node is None:
                raise Mistake(f"{path.relative_to(ROOT)} does not know {'.'.join(key)}; add it there")
        items = [item for item in node.items() if item[0] != "description"]
        node.clear()
        node.update([("description", comment), *items])
    return schema


def json_schema(openapi):
    """A structural schema of a CRD as JSON Schema. Unknown fields are refused, where the API server would drop them."""
    result = {key: openapi[key] for key in SHARED_KEYWORDS if key in openapi}
    if openapi.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    for rule in openapi.get("x-kubernetes-validations", []):
        if (match := CEL_PATTERN.match(rule["rule"])) and "pattern" not in result:
            result["pattern"] = match[1].replace("\\\\", "\\")
    if "items" in openapi:
        result["items"] = json_schema(openapi["items"])
    if "properties" in openapi:
        result["properties"] = {name: json_schema(field) for name, field in openapi["properties"].items()}
        result["additionalProperties"] = bool(openapi.get("x-kubernetes-preserve-unknown-fields"))
    elif "additionalProperties" in openapi:
        result["additionalProperties"] = json_schema(openapi["additionalProperties"])
    return result


def cluster_schema(rows):
    """The schema of the chart brainy-cluster."""
    crd = yaml.safe_load(CRD.read_text())
    spec = json_schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    # `brainy-operator local` can do without a bucket, Kubernetes cannot.
    spec["required"] = ["storage"]
    spec["properties"]["storage"]["required"] = ["bucket"]
    string_map = {"type": "object", "additionalProperties": {"type": "string"}}
    optional_name = {"type": "string", "maxLength": 40, "pattern": "^([a-z]([-a-z0-9]*[a-z0-9])?)?$"}
    name = {"type": "string", "minLength": 1, "maxLength": 253}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart brainy-cluster. Made by `make chart-docs`; do not edit.",
        "type": "object",
        "additionalProperties": False,
        "required": ["spec"],
        "properties": {
            "name": optional_name,
            "labels": string_map,
            "annotations": string_map,
            "spec": spec,
            "secretAccess": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "create": {"type": "boolean"},
                    "serviceAccountName": name,
                    "serviceAccountNamespace": name,
                },
            },
            "global": {
                "type": "object",
                "description": "Values that Helm shares between charts; this chart reads none.",
            },
        },
    }
    return described(schema, rows, CLUSTER / "values.schema.json")


def table(rows):
    """The documented values as a table in Markdown."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for key, comment, default in rows:
        cell = "" if default is None else f"`{default}`"
        lines.append(f"| `{'.'.join(key)}` | {cell} | {comment.replace('|', chr(92) + '|')} |".replace("|  |", "| |"))
    return "\n".join(lines)


def readme(path, rows):
    """The README with its table made anew."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Mistake(
            f"{path.relative_to(ROOT)} needs the lines {BEGIN!r} and {END!r}: the table of values goes between them"
        )
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


def render():
    """What each file should hold."""
    files = {OPERATOR / "files" / "brainycluster.yaml": CRD.read_text()}
    for chart in (OPERATOR, CLUSTER):
        rows, schema = documented(chart / "values.yaml"), chart / "values.schema.json"
        content = cluster_schema(rows) if chart == CLUSTER else described(json.loads(schema.read_text()), rows, schema)
        files[schema] = json.dumps(content, indent=2) + "\n"
        files[chart / "README.md"] = readme(chart / "README.md", rows)
    return files


def main():
    parser = argparse.ArgumentParser(description="Writes what in charts/ follows from other files.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")
    args = parser.parse_args()
    try:
        files = render()
    except Mistake as mistake:
        sys.exit(f"chart_docs: {mistake}")
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if args.check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"chart_docs: not current: {names}\nRun `make chart-docs` and commit the result.")
    for path in stale:
        path.write_text(files[path])
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
