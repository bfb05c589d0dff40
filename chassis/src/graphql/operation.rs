//! From a request to the operation that runs: the document is parsed, the operation chosen, its variables are there.
//!
//! What fails here is a *request error* (GraphQL specification, section 7.1): nothing was executed, the error has no
//! path, and the answer has no `data`.

use async_graphql::{
    Pos, ServerError, Value, Variables,
    parser::{
        parse_query,
        types::{DocumentOperations, ExecutableDocument, OperationDefinition},
    },
};

use super::typename;

/// A request error with a code for programs.
pub fn request_error(code: &str, message: impl Into<String>, place: Option<Pos>) -> ServerError {
    let mut error = ServerError::new(message, place);
    error.extensions.get_or_insert_default().set("code", code);
    error
}

/// Parses a document, and moves what validation would overlook to where it does not ([`super::typename`]).
///
/// # Errors
/// `GRAPHQL_PARSE_FAILED` in one sentence, with the place.
pub fn parse(text: &str) -> Result<ExecutableDocument, ServerError> {
    let mut document = parse_query(text).map_err(|error| {
        let error = ServerError::from(error);
        request_error("GRAPHQL_PARSE_FAILED", last_line(&error.message), error.locations.first().copied())
    })?;
    typename::wrap(&mut document);
    Ok(document)
}

/// The parser draws the place with an arrow over several lines; a client wants the sentence, which comes last.
fn last_line(message: &str) -> String {
    let line = message.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("syntax error");
    format!("syntax error: {}", line.trim_start_matches(['=', ' ', '|']))
}

/// The operation that runs: the one of this name, or the only one.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED` where the name decides for none.
pub fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a OperationDefinition, ServerError> {
    let found = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Multiple(all), None) if all.len() == 1 => all.values().next(),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name),
        _ => None,
    };
    found.map(|operation| &operation.node).ok_or_else(|| {
        let message = match name {
            Some(name) => {
                let shown: String = name.chars().take(100).collect();
                format!("the document has no operation named {shown:?}")
            }
            None => "the document has several operations: name one of them as operationName".to_owned(),
        };
        request_error("GRAPHQL_VALIDATION_FAILED", message, None)
    })
}

/// The name of the operation that runs, where it has one: `given`, or that of the only one.
pub fn operation_name<'a>(document: &'a ExecutableDocument, given: Option<&'a str>) -> Option<&'a str> {
    match &document.operations {
        DocumentOperations::Single(_) => None,
        DocumentOperations::Multiple(all) => given.or_else(|| all.keys().next().map(|name| name.as_str())),
    }
}

/// Puts the defaults of the operation's variables where a client gave no value, and checks that none is missing.
///
/// The library knows the defaults in arguments, but not in `@skip` and `@include`; and it reports a missing variable
/// in the middle of the execution, as if it were a fault of ours.
///
/// # Errors
/// `BAD_USER_INPUT`, naming the variable and its type (GraphQL specification, `CoerceVariableValues`).
pub fn complete_variables(operation: &OperationDefinition, variables: &mut Variables) -> Result<(), ServerError> {
    for definition in &operation.variable_definitions {
        let (name, ty) = (&definition.node.name.node, &definition.node.var_type.node);
        if !variables.contains_key(name)
            && let Some(default) = &definition.node.default_value
        {
            variables.insert(name.clone(), default.node.clone());
        }
        let fault = match variables.get(name) {
            _ if ty.nullable => continue,
            None => "is missing",
            Some(Value::Null) => "must not be null",
            Some(_) => continue,
        };
        let message = format!("variable ${name} of type {ty} {fault}");
        return Err(request_error("BAD_USER_INPUT", message, Some(definition.pos)));
    }
    Ok(())
}
