//! Values and parameters that the REST APIs share, as their documents describe them.

use std::borrow::Cow;

use contracts::{Amount, CustomerId as Id};
use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Object, ObjectBuilder, RefOr, Required, Schema, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{KnownFormat, SchemaFormat},
    },
};

use crate::{graphql::DateTime, page};

/// No control character, and one that is no white space: what [`contracts::CustomerId`] checks.
pub const PRINTABLE: &str = concat!(
    r"^[^\u0000-\u001f\u007f-\u009f]*",
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    r"[^\u0000-\u001f\u007f-\u009f]*$"
);

/// Describes an amount.
#[derive(Debug)]
pub struct AmountSchema;

impl PartialSchema for AmountSchema {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .description(Some("Whole minor units: 1999 is 19.99."))
            .minimum(Some(*Amount::RANGE.start()))
            .maximum(Some(*Amount::RANGE.end()))
            .examples([json!(1999)])
            .into()
    }
}

impl ToSchema for AmountSchema {
    fn name() -> Cow<'static, str> {
        "Amount".into()
    }
}

/// Describes the id of a customer.
#[derive(Debug)]
pub struct CustomerIdSchema;

impl PartialSchema for CustomerIdSchema {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("1 to 255 printable characters, not only white space."))
            .min_length(Some(1))
            .max_length(Some(Id::MAX_CHARS))
            .pattern(Some(PRINTABLE))
            .examples([json!("customer-123")])
            .into()
    }
}

impl ToSchema for CustomerIdSchema {
    fn name() -> Cow<'static, str> {
        "CustomerId".into()
    }
}

impl PartialSchema for DateTime {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("An instant in UTC with milliseconds (RFC 3339)."))
            .pattern(Some(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"))
            .examples([json!("2026-11-03T10:30:00.000Z")])
            .into()
    }
}

impl ToSchema for DateTime {}

/// An id.
pub fn uuid() -> Object {
    let format = SchemaFormat::KnownFormat(KnownFormat::Uuid);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build()
}

/// A query parameter that may be left out.
pub fn query(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    optional(ParameterIn::Query, name, description, schema)
}

/// A header that may be left out.
pub fn header(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    optional(ParameterIn::Header, name, description, schema)
}

/// The id in the path, of an `order` for example.
pub fn path_id(name: &str) -> Parameter {
    ParameterBuilder::new()
        .parameter_in(ParameterIn::Path)
        .name("id")
        .required(Required::True)
        .description(Some(format!("The id of the {name}.")))
        .schema(Some(uuid()))
        .build()
}

/// `If-None-Match`.
pub fn if_none_match() -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).build();
    header("If-None-Match", "The `ETag` of the answer that the client has: it is not sent again.", schema)
}

/// `limit` and `cursor`, for a list.
pub fn page() -> [Parameter; 2] {
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(page::LIMIT))
        .default(Some(json!(page::DEFAULT)))
        .build();
    let cursor =
        ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom("cursor".to_owned()))).build();
    [
        query("limit", "How many items a page may have.", limit),
        query("cursor", "The `nextCursor` of the page before, as it is: others are refused.", cursor),
    ]
}

fn optional(parameter_in: ParameterIn, name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .parameter_in(parameter_in)
        .name(name)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}
