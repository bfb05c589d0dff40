//! What every operation of a REST API of ours has in common.

use utoipa::{
    IntoResponses, Modify, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
        path::{Operation, PathItem},
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::problem::Problem;

/// The media type of problems.
const PROBLEM: &str = "application/problem+json";

const BEARER: &str = "bearer";

/// Completes a document: the token that operations need, and the answers that each of them may give beside its own.
#[derive(Debug, Clone, Copy)]
pub struct CommonAnswers;

/// Status, name, description, code and detail, as the code answers them.
const ANSWERS: [(&str, &str, &str, &str, &str); 4] = [
    (
        "400",
        "BadRequest",
        "The header Authorization holds something else than one bearer token.",
        "BAD_AUTHORIZATION",
        "the request must have one header Authorization: Bearer <token>",
    ),
    (
        "401",
        "Unauthenticated",
        "There is no token, or none that is valid here; `detail` says why. A service without keys, as for development, \
         asks for none.",
        "UNAUTHENTICATED",
        "a token is needed: Authorization: Bearer <token>",
    ),
    ("500", "Internal", "A fault of ours.", "INTERNAL", "something went wrong on our side"),
    (
        "503",
        "Unavailable",
        "A part of the service is away for the moment: try again. A request with an `Idempotency-Key` may be repeated, and \
         so may those that have none to give.",
        "SERVICE_UNAVAILABLE",
        "a part of the service is unavailable; try again",
    ),
];

/// Parameters are not what they may be: all of them are named.
#[derive(Debug, IntoResponses)]
#[response(
    status = 422,
    content_type = "application/problem+json",
    example = json!({
        "status": 422,
        "title": "Unprocessable Entity",
        "detail": "the request is well-formed, but some fields are not allowed as they are",
        "code": "INVALID_INPUT",
        "errors": [{ "pointer": "?limit", "detail": "must be 1 to 100, not \"0\"" }]
    })
)]
#[expect(dead_code, reason = "only described here: `Problem::invalid` is what is answered")]
pub struct InvalidParameters(Problem);

impl Modify for CommonAnswers {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        for (status, name, description, code, detail) in ANSWERS {
            let response = response(status, description, code, detail);
            components.responses.insert(name.to_owned(), response.into());
        }
        components.schemas.insert(Problem::name().into_owned(), Problem::schema());
        let mut needed = Vec::new();
        Problem::schemas(&mut needed);
        components.schemas.extend(needed);
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("A customer's token, who sees and changes their own, or an operator's."))
            .build();
        components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(scheme).into());
        document.security = Some(vec![SecurityRequirement::new(BEARER, [] as [&str; 0])]);
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            for (status, name, ..) in ANSWERS {
                let common = RefOr::Ref(Ref::from_response_name(name));
                operation.responses.responses.entry(status.to_owned()).or_insert(common);
            }
        }
    }
}

fn response(status: &str, description: &str, code: &'static str, detail: &str) -> Response {
    let status = status.parse().unwrap_or_default();
    let mut example = Problem::new(status).code(code).detail(detail);
    if status.is_server_error() {
        example.trace_id = Some("5b8aa5a2d2c872e8321cf37308d69df2".to_owned());
    }
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Problem::name())))
        .example(serde_json::to_value(example).ok())
        .build();
    let response = ResponseBuilder::new().description(description).content(PROBLEM, content);
    let challenge =
        || HeaderBuilder::new().schema(Some(String::schema())).description(Some("RFC 6750, section 3.")).build();
    match status.as_u16() {
        401 => response.header("WWW-Authenticate", challenge()).build(),
        _ => response.build(),
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post].into_iter().flatten()
}
