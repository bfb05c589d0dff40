//! From an HTTP request to a GraphQL request: the parameters `query`, `operationName`, `variables` and `extensions`
//! (GraphQL over HTTP, section 5), in a JSON body or in the query string.

use async_graphql::{Request, Value, Variables};
use axum::{
    extract::Request as HttpRequest,
    http::{Method, StatusCode},
};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::{http, identity::Caller, problem::Problem};

/// How many values a JSON text may have. Reading one costs a hundred times what its bytes do.
const MAX_VALUES: usize = 2_500;

/// Reads a request: its parameters for GET, its JSON body for POST; and takes its caller along, for the resolvers.
///
/// # Errors
/// As the endpoint answers them: 400, naming the parameter that is not as it must be, 413 and 415.
pub async fn read_request(request: HttpRequest) -> Result<Request, Problem> {
    let caller = request.extensions().get::<Caller>().cloned();
    let read = if request.method() == Method::POST {
        http::require_json(request.headers())?;
        from_body(&http::read_body(request, &()).await?)?
    } else {
        from_query(request.uri().query().unwrap_or_default())?
    };
    Ok(match caller {
        Some(caller) => read.data(caller),
        None => read,
    })
}

/// Reads a body.
///
/// # Errors
/// 400, naming the parameter that is not as it must be.
fn from_body(body: &[u8]) -> Result<Request, Problem> {
    match read_json("the body", body)? {
        Json::Object(parameters) => request_from(parameters),
        // The amplifier that every limit on a single operation would have to know of.
        Json::Array(_) => Err(malformed("batches are not accepted: send one operation a request")),
        other => Err(malformed(format!("the body must be a JSON object, not {}", kind(&other)))),
    }
}

/// Reads a query string.
///
/// # Errors
/// 400, naming the parameter that is not as it must be.
fn from_query(query: &str) -> Result<Request, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Texts {
        query: Option<String>,
        operation_name: Option<String>,
        variables: Option<String>,
        extensions: Option<String>,
    }
    let texts: Texts = serde_urlencoded::from_str(query).map_err(|e| malformed(format!("the query string: {e}")))?;
    let mut parameters = Map::new();
    for (name, text) in [("query", texts.query), ("operationName", texts.operation_name)] {
        parameters.extend(text.map(|text| (name.to_owned(), Json::String(text))));
    }
    for (name, text) in [("variables", texts.variables), ("extensions", texts.extensions)] {
        let Some(text) = text.filter(|text| !text.is_empty()) else { continue };
        parameters.insert(name.to_owned(), read_json(name, text.as_bytes())?);
    }
    request_from(parameters)
}

/// Reads JSON of a client, within a bound for the number of its values. `what` it is stands in the error.
///
/// # Errors
/// 400 for what is no JSON, and for too many values.
pub fn read_json(what: &str, text: &[u8]) -> Result<Json, Problem> {
    let values = values_in(text);
    if values > MAX_VALUES {
        return Err(malformed(format!("{what} may have {MAX_VALUES} values at most, not {values}")));
    }
    serde_json::from_slice(text).map_err(|e| malformed(format!("{what} is not JSON: {e}")))
}

/// About how many values a JSON text has, without reading it: each stands behind one of three characters.
fn values_in(text: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

/// A request with these parameters, which may have come over any transport.
///
/// # Errors
/// 400, naming the parameter that is not as it must be.
pub fn request_from(mut parameters: Map<String, Json>) -> Result<Request, Problem> {
    let extensions = object(&mut parameters, "extensions")?;
    let query = text(&mut parameters, "query")?.unwrap_or_default();
    // A client that sends a hash leaves the text out.
    if query.is_empty() && !extensions.contains_key("persistedQuery") {
        return Err(malformed("the parameter query is missing: the text of a GraphQL document"));
    }
    let mut request = Request::new(query);
    // Some clients send an empty name where they mean none.
    request.operation_name = text(&mut parameters, "operationName")?.filter(|name| !name.is_empty());
    request.variables = Variables::from_json(Json::Object(object(&mut parameters, "variables")?));
    for (name, value) in extensions {
        request.extensions.insert(name, Value::from_json(value).unwrap_or_default());
    }
    Ok(request)
}

fn text(parameters: &mut Map<String, Json>, name: &str) -> Result<Option<String>, Problem> {
    match parameters.remove(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(malformed(format!("{name} must be a string, not {}", kind(&other)))),
    }
}

fn object(parameters: &mut Map<String, Json>, name: &str) -> Result<Map<String, Json>, Problem> {
    match parameters.remove(name) {
        None | Some(Json::Null) => Ok(Map::new()),
        Some(Json::Object(object)) => Ok(object),
        Some(other) => Err(malformed(format!("{name} must be an object, not {}", kind(&other)))),
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// 400: this is no GraphQL request.
pub(super) fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).code("BAD_REQUEST").detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<Request, Problem>) -> String {
        result.err().and_then(|problem| problem.detail).unwrap()
    }

    #[test]
    fn what_is_no_request_is_named() {
        let many = ",".repeat(2_501);
        for (body, expected) in [
            ("{", "the body is not JSON: EOF while parsing an object at line 1 column 1"),
            ("7", "the body must be a JSON object, not a number"),
            ("[]", "batches are not accepted: send one operation a request"),
            ("{}", "the parameter query is missing: the text of a GraphQL document"),
            (&many, "the body may have 2500 values at most, not 2501"),
            (r#"{"query":""}"#, "the parameter query is missing: the text of a GraphQL document"),
            (r#"{"query":[]}"#, "query must be a string, not an array"),
            (r#"{"query":"{a}","operationName":1}"#, "operationName must be a string, not a number"),
            (r#"{"query":"{a}","variables":"{}"}"#, "variables must be an object, not a string"),
            (r#"{"query":"{a}","extensions":true}"#, "extensions must be an object, not a boolean"),
        ] {
            assert_eq!(refused(from_body(body.as_bytes())), expected, "{body}");
        }
        for (query, expected) in [
            ("", "the parameter query is missing: the text of a GraphQL document"),
            ("query={a}&variables=[]", "variables must be an object, not an array"),
            ("query={a}&extensions={", "extensions is not JSON: EOF while parsing an object at line 1 column 1"),
            ("query={a}&query={b}", "the query string: duplicate field `query`"),
        ] {
            assert_eq!(refused(from_query(query)), expected, "{query}");
        }
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        for (text, expected) in
            [(r#"{"a":1,"b":[2,{"c":null}]}"#, 5), (r#"{"a,[{":"\",[{","b":","}"#, 2), (r#"["\\",",",1"#, 3)]
        {
            assert_eq!(values_in(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let body = r#"{"query":"{a}","operationName":"A","variables":{"v":[1]},"extensions":{"e":null}}"#;
        let query = "query={a}&operationName=A&variables={%22v%22:[1]}&extensions={%22e%22:null}";
        for request in [from_body(body.as_bytes()).unwrap(), from_query(query).unwrap()] {
            assert_eq!((request.query.as_str(), request.operation_name.as_deref()), ("{a}", Some("A")));
            assert_eq!(serde_json::to_string(&request.variables).unwrap(), r#"{"v":[1]}"#);
            assert_eq!(request.extensions.get("e"), Some(&Value::Null));
        }
    }

    #[test]
    fn what_is_empty_is_not_there() {
        let request = from_body(br#"{"query":"{a}","operationName":"","variables":null,"extensions":null}"#).unwrap();
        assert_eq!((request.operation_name, request.variables.len()), (None, 0));
        assert!(from_body(br#"{"extensions":{"persistedQuery":{}}}"#).is_ok());
        assert!(from_query("extensions={%22persistedQuery%22:{}}&variables=").is_ok());
    }
}
