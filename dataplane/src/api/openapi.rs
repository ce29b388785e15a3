//! The API as an OpenAPI 3.1 document, made from the table of routes and the types of its handlers.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::Bytes;
use schemars::Schema;
use serde_json::{Map, Value, json};

use super::describe::{Content, JSON, Schemas};
use super::events;
use super::guard::Class;
use super::routes::{Operation, Routes};

/// Where references to schemas lead.
const SCHEMAS: &str = "#/components/schemas/";

/// The document, as `GET /openapi.json` answers it.
#[must_use]
pub fn document() -> Value {
    of(&super::table())
}

/// The document as text, made once.
pub(super) fn text() -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    TEXT.clone()
}

fn of(table: &Routes) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: Map<String, Value> = Map::new();
    for operation in table.operations() {
        let described = describe(operation, &mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    let mut definitions = schemas.given.take_definitions(true);
    for (mut name, schema) in schemas.taken.take_definitions(true) {
        if definitions.get(&name).is_some_and(|given| *given != schema) {
            // Not one thing, although it has one name; the tests refuse such names.
            name.push('2');
        }
        definitions.insert(name, schema);
    }
    definitions.insert("Error".to_owned(), error_schema());
    definitions.sort_keys();
    let names: BTreeSet<String> = definitions.keys().cloned().collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Brainy",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A distributed vector database with Qdrant's REST API.",
            "description": "What is not described here is refused by name: unknown fields with 400, parts of Qdrant's API that Brainy lacks with 501. Numbers of limits are the defaults.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"api-key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": error_responses(),
            "parameters": parameters(),
            "securitySchemes": {
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    });
    polish(&mut document, &names);
    document
}

fn describe(operation: Operation, schemas: &mut Schemas) -> Value {
    let signature = (operation.signature)(schemas);
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
    });
    let mut parameters: Vec<Value> = path_parameters(operation.path).collect();
    let shared = operation.class.map_or([].as_slice(), shared_parameters);
    parameters.extend(shared.iter().map(|name| reference("parameters", name)));
    if operation.id == "recover_from_uploaded_snapshot" {
        let more = ["checksum", "priority"].map(|name| reference("parameters", name));
        parameters.extend(more);
    }
    if operation.id == events::ID {
        let more = ["events-after", "events-limit"].map(|name| reference("parameters", name));
        parameters.extend(more);
    }
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    let has_body = signature.takes.is_some();
    if let Some((content, required)) = signature.takes {
        described["requestBody"] = json!({"required": required, "content": media(content)});
    }
    let mut responses = Map::new();
    let mut success = json!({"description": "Done."});
    if let Some(content) = signature.gives {
        success["content"] = media(content);
    }
    if operation.class == Some(Class::Write) {
        success["headers"] = json!({
            "brainy-request-id": {
                "description": "Identity of the write: a repeat that presents it is applied once.",
                "schema": {"type": "string"},
            },
            "brainy-token": token(),
        });
    }
    if operation.class == Some(Class::Read) {
        success["headers"] = json!({"brainy-token": token()});
    }
    responses.insert("200".to_owned(), success);
    if operation.class == Some(Class::Transfer) && operation.method != "get" {
        responses.insert("202".to_owned(), accepted());
    }
    for status in errors_of(operation.class, has_body) {
        responses.insert((*status).to_owned(), reference("responses", status));
    }
    if operation.class.is_none() {
        described["security"] = json!([]);
    }
    if operation.path == "/readyz" {
        let text = json!({"text/plain": {"schema": {"type": "string"}}});
        responses.insert(
            "503".to_owned(),
            json!({"description": "Not ready; the text says what is missing.", "content": text}),
        );
    }
    described["responses"] = responses.into();
    described
}

/// The answer to who does not wait.
fn accepted() -> Value {
    let schema = json!({
        "type": "object",
        "required": ["status", "time"],
        "properties": {
            "status": {"const": "accepted"},
            "time": {"type": "number", "minimum": 0},
        },
    });
    json!({"description": "It has begun.", "content": {JSON: {"schema": schema}}})
}

fn media(content: Content) -> Value {
    let Content { media, schema } = content;
    if schema == Schema::default() {
        return json!({ media: {} });
    }
    json!({ media: {"schema": schema} })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// Every path parameter that the table uses, and what it is.
const PATH_PARAMETERS: &[(&str, &str)] = &[
    ("name", "Name of the collection, or an alias of it."),
    ("vector", "Name of the vector."),
    ("id", "Id of the point: a number or a UUID."),
    ("field", "Path of the payload field."),
    ("snapshot", "Name of the snapshot."),
];

fn path_parameters(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.trim_start_matches('*'))
    });
    names.map(|name| {
        let known = PATH_PARAMETERS.iter().find(|(known, _)| *known == name);
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": known.map(|(_, text)| *text),
            "schema": {"type": "string", "minLength": 1},
        })
    })
}

/// Parameters that all operations of a class have, by their names among the components.
fn shared_parameters(class: Class) -> &'static [&'static str] {
    match class {
        Class::Read => &[
            "timeout",
            "consistency",
            "brainy-consistency",
            "brainy-token",
        ],
        Class::Write => &[
            "timeout",
            "wait",
            "ordering",
            "brainy-request-id",
            "brainy-token",
        ],
        Class::Change => &["timeout"],
        Class::Transfer => &["transfer-timeout", "transfer-wait"],
    }
}

/// The header of answers that carries a session on.
fn token() -> Value {
    json!({
        "description": "What the session has written and read. Every write has it, and every read whose request had it.",
        "schema": {"type": "string"},
    })
}

fn parameters() -> Value {
    let one = |place: &str, name: &str, text: &str, schema: Value| json!({"name": name, "in": place, "description": text, "schema": schema});
    json!({
        "timeout": one(
            "query",
            "timeout",
            "Seconds after which the request is given up; can only shorten the server's limit.",
            json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}),
        ),
        "consistency": one(
            "query",
            "consistency",
            "How many replicas have to agree. 'majority', 'quorum' and 'all' ask for a strong read, a number for the cluster's default.",
            json!({"anyOf": [
                {"enum": ["majority", "quorum", "all"]},
                {"type": "integer", "minimum": 1, "maximum": u32::MAX},
            ]}),
        ),
        "wait": one(
            "query",
            "wait",
            "Writes are always durable when they are answered: it only chooses the word 'completed' in place of 'acknowledged'.",
            json!({"type": "boolean", "default": false}),
        ),
        "transfer-timeout": one(
            "query",
            "timeout",
            "Seconds after which the request is given up; what it began goes on.",
            json!({"type": "integer", "minimum": 1, "maximum": u32::MAX}),
        ),
        "transfer-wait": one(
            "query",
            "wait",
            "Whether to answer when it is done; false: when it has begun, with status 202.",
            json!({"type": "boolean", "default": true}),
        ),
        "checksum": one(
            "query",
            "checksum",
            "SHA-256 that the file must have.",
            json!({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}),
        ),
        "events-after": one(
            "query",
            "after",
            "Only events with a greater number, oldest first; without it the newest.",
            json!({"type": "integer", "minimum": 0, "maximum": i64::MAX}),
        ),
        "events-limit": one(
            "query",
            "limit",
            "Most events of the answer.",
            json!({"type": "integer", "minimum": 1, "maximum": events::MAX_LIMIT, "default": events::DEFAULT_LIMIT}),
        ),
        "priority": one(
            "query",
            "priority",
            "Which of several copies counts. There is one, so all mean the same.",
            json!({"enum": ["no_sync", "snapshot", "replica"]}),
        ),
        "ordering": one(
            "query",
            "ordering",
            "Every level is met by the strongest.",
            json!({"enum": ["weak", "medium", "strong"]}),
        ),
        "brainy-consistency": one(
            "header",
            "brainy-consistency",
            "How fresh a read is: 'eventual', 'bounded:<milliseconds>' or 'strong'.",
            json!({"type": "string", "pattern": "^(eventual|strong|bounded:[0-9]{1,15})$"}),
        ),
        "brainy-token": one(
            "header",
            "brainy-token",
            "What the last answer of the session had in this header: a read sees all that the session wrote and read. 'new' begins one.",
            json!({"type": "string"}),
        ),
        "brainy-request-id": one(
            "header",
            "brainy-request-id",
            "Identity of the write, 32 hexadecimal digits or a UUID: repeats are applied once.",
            json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
        ),
    })
}

/// Errors with their meaning.
const ERRORS: &[(&str, &str)] = &[
    (
        "400",
        "The request is malformed; the text names the field and the rule.",
    ),
    ("401", "A key is needed, or the key is unknown."),
    (
        "403",
        "The key does not allow this, or a web page asks while no key is set.",
    ),
    ("404", "There is no such collection, point or route."),
    ("409", "In conflict with what there is."),
    ("413", "The body is larger than the limit."),
    ("415", "The body is not plain JSON."),
    (
        "421",
        "The node that was asked no longer has the partition.",
    ),
    ("429", "Too busy: ask again after Retry-After."),
    (
        "501",
        "A part of Qdrant's API that Brainy lacks; the text names it.",
    ),
    ("503", "Not available now: ask again after Retry-After."),
    (
        "504",
        "No answer in time; a write may have happened or not.",
    ),
];

fn errors_of(class: Option<Class>, has_body: bool) -> impl Iterator<Item = &'static &'static str> {
    let statuses = ERRORS.iter().map(|(status, _)| status);
    statuses.filter(move |status| match **status {
        _ if class.is_none() => false,
        "413" | "415" => has_body,
        _ => true,
    })
}

fn error_responses() -> Value {
    let responses = ERRORS.iter().map(|(status, text)| {
        let mut response = json!({
            "description": text,
            "content": {JSON: {"schema": reference("schemas", "Error")}},
        });
        if matches!(*status, "429" | "503") {
            response["headers"] = json!({
                "retry-after": {
                    "description": "Seconds after which a repeat makes sense.",
                    "schema": {"type": "integer", "minimum": 1},
                },
            });
        }
        ((*status).to_owned(), response)
    });
    Value::Object(responses.collect())
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["status", "time", "result"],
        "properties": {
            "status": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}},
            },
            "time": {"type": "number", "minimum": 0},
            "result": {"type": "null"},
        },
    })
}

/// The name that a schema gets: types of the code that stand for requests and answers end in `Dto`. Where another type has the
/// name without, it is the request that asks for one.
fn public_name(name: &str, names: &BTreeSet<String>) -> String {
    match name.strip_suffix("Dto") {
        Some(short) if names.contains(short) => format!("{short}Request"),
        _ => name.replace("Dto", ""),
    }
}

/// Gives schemas their public names, and writes schemas for anything as objects.
fn polish(value: &mut Value, names: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                // The same, in a form that all tools read.
                if *value == true && key != "required" && key != "additionalProperties" {
                    *value = json!({});
                }
                match value {
                    Value::String(text) if key == "$ref" => {
                        if let Some(name) = text.strip_prefix(SCHEMAS) {
                            *text = format!("{SCHEMAS}{}", public_name(name, names));
                        }
                    }
                    Value::Object(definitions) if key == "schemas" => {
                        *definitions = std::mem::take(definitions)
                            .into_iter()
                            .map(|(name, schema)| (public_name(&name, names), schema))
                            .collect();
                    }
                    _ => {}
                }
                polish(value, names);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| polish(item, names)),
        _ => {}
    }
}
