//! The contract of REST, put together: OpenAPI 3.1, as it is served at `/openapi.json` and committed in
//! `contracts/openapi/invoices.json`. The operations are described at their handlers, in [`rest`](crate::rest).

use chassis::docs::{
    CommonAnswers,
    schema::{self, AmountSchema, CustomerIdSchema},
};
use utoipa::{
    IntoParams, OpenApi, PartialSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{invoice::InvoiceStatus, rest};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Invoices",
        description = "Issues an invoice for every order, takes payments, voids and refunds.\n\nEvery answer that is no \
                       success is a `Problem` (RFC 9457) with a stable `code`. A path that is not listed here is 404 \
                       `NOT_FOUND`, a method 405 `METHOD_NOT_ALLOWED`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(rest::list, rest::find, rest::pay),
    components(schemas(AmountSchema, CustomerIdSchema)),
    modifiers(&CommonAnswers),
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(crate) struct Find;

impl IntoParams for Find {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![schema::path_id("invoice"), schema::if_none_match()]
    }
}

pub(crate) struct Pay;

impl IntoParams for Pay {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![schema::path_id("invoice")]
    }
}

pub(crate) struct List;

impl IntoParams for List {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = Vec::from(schema::page());
        parameters.push(schema::query("status", "Only invoices that stand there.", InvoiceStatus::schema()));
        parameters.push(schema::query("orderId", "Only that of this order.", schema::uuid()));
        parameters
    }
}
