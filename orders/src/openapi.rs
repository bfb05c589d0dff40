//! The contract of REST, put together: OpenAPI 3.1, as it is served at `/openapi.json` and committed in
//! `contracts/openapi/orders.json`. The operations are described at their handlers, in [`rest`](crate::rest).

use std::borrow::Cow;

use chassis::docs::{
    CommonAnswers,
    schema::{self, AmountSchema, CustomerIdSchema},
};
use serde_json::json;
use utoipa::{
    IntoParams, Modify, OpenApi, PartialSchema, ToSchema,
    openapi::{
        Deprecated, ObjectBuilder, OneOfBuilder, PathItem, Ref, RefOr, Schema, Type,
        path::{Parameter, ParameterIn},
        schema::AdditionalProperties,
    },
};

use crate::{order::OrderStatus, rest};

/// 1 to 255 printable ASCII characters, bare or as a quoted string.
const IDEMPOTENCY_KEY: &str = r#"^("[ -~]{1,255}"|[!#-~]([ -~]{0,253}[!-~])?)$"#;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Orders",
        description = "Places and cancels orders, and follows what becomes of their invoices.\n\nEvery answer that is no \
                       success is a `Problem` (RFC 9457) with a stable `code`. A path that is not listed here is 404 \
                       `NOT_FOUND`, a method 405 `METHOD_NOT_ALLOWED`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(rest::place, rest::list, rest::find, rest::cancel),
    components(schemas(AmountSchema, CustomerIdSchema)),
    modifiers(&Alias, &CommonAnswers),
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The path that a gateway made once, which stripped the first segment. Clients still use it.
struct Alias;

impl Modify for Alias {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let Some(mut place) = document.paths.paths.get("/orders").and_then(|path| path.post.clone()) else { return };
        place.operation_id = Some("placeOrderByOldPath".to_owned());
        place.summary = Some("Place an order by its old path".to_owned());
        place.description = Some("The same as `POST /orders`. Only gateways have this path.".to_owned());
        place.deprecated = Some(Deprecated::True);
        let mut path = PathItem::default();
        path.post = Some(place);
        document.paths.paths.insert("/orders/orders".to_owned(), path);
    }
}

/// The body of a request to place an order. [`NewOrder::check`](crate::order::NewOrder::check) reads it field by field, so
/// that a client learns of all that are at fault; there is no type to derive this from.
pub(crate) struct PlaceOrderSchema;

impl PartialSchema for PlaceOrderSchema {
    fn schema() -> RefOr<Schema> {
        let customer = "Whose order it is. Without it, that of the customer whose token it is; without tokens, of the \
                        default customer of the service. An operator names one.";
        let customer = OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Null))
            .item(Ref::from_schema_name(CustomerIdSchema::name()))
            .description(Some(customer));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("amount", Ref::from_schema_name(AmountSchema::name()))
            .required("amount")
            .property("customerId", customer)
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .examples([json!({ "amount": 1999 }), json!({ "amount": 1999, "customerId": "customer-123" })])
            .into()
    }
}

impl ToSchema for PlaceOrderSchema {
    fn name() -> Cow<'static, str> {
        "PlaceOrder".into()
    }
}

pub(crate) struct Place;

impl IntoParams for Place {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let key = ObjectBuilder::new().schema_type(Type::String).pattern(Some(IDEMPOTENCY_KEY)).build();
        let about = "A client's own name for the request, best a UUID: 1 to 255 printable ASCII characters, bare or in \
                     quotes. Each customer has names of their own. It is kept for a week.";
        vec![schema::header("Idempotency-Key", about, key)]
    }
}

pub(crate) struct Find;

impl IntoParams for Find {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![schema::path_id("order"), schema::if_none_match()]
    }
}

pub(crate) struct Cancel;

impl IntoParams for Cancel {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![schema::path_id("order")]
    }
}

pub(crate) struct List;

impl IntoParams for List {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = Vec::from(schema::page());
        parameters.push(schema::query("status", "Only orders that stand there.", OrderStatus::schema()));
        parameters.push(schema::query("customerId", "Only those of this customer.", CustomerIdSchema::schema()));
        parameters
    }
}
