//! Whether a service still has what this build asks it for.
//!
//! This build was made and tested against the schema that is committed in `contracts/`. A service may have more: fields,
//! types, optional arguments. It may not have less, nor ask for more than we give, nor answer null where it never did.

use std::collections::HashMap;

use async_graphql::Positioned;
use async_graphql::parser::{
    parse_schema,
    types::{BaseType, InputValueDefinition, Type, TypeKind, TypeSystemDefinition},
};

/// What we never ask a service for: it is served from the bus.
const NOT_ASKED: &str = "Subscription";

/// In what `actual`, the schema that a service has, falls short of `expected`. Each entry is a sentence.
///
/// # Errors
/// When one of both is no schema.
pub(crate) fn differences(expected: &str, actual: &str) -> Result<Vec<String>, String> {
    let (expected, actual) = (types(expected)?, types(actual)?);
    let mut found = Vec::new();
    for (name, expected) in &expected {
        match actual.get(name) {
            None => found.push(format!("the type {name} is missing")),
            Some(actual) => compare(name, expected, actual, &mut found),
        }
    }
    found.sort();
    Ok(found)
}

/// The parts of a type that matter, its extensions included.
#[derive(Default)]
struct Shape {
    fields: HashMap<String, Field>,
    inputs: HashMap<String, Input>,
    values: Vec<String>,
}

struct Field {
    ty: Type,
    arguments: HashMap<String, Input>,
}

struct Input {
    ty: Type,
    has_default: bool,
}

fn types(sdl: &str) -> Result<HashMap<String, Shape>, String> {
    let document = parse_schema(sdl).map_err(|error| error.to_string())?;
    let mut shapes: HashMap<String, Shape> = HashMap::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let name = definition.node.name.node.to_string();
        if name == NOT_ASKED {
            continue;
        }
        let shape = shapes.entry(name).or_default();
        let fields = match definition.node.kind {
            TypeKind::Object(object) => object.fields,
            TypeKind::Interface(interface) => interface.fields,
            TypeKind::Enum(values) => {
                shape.values.extend(values.values.iter().map(|value| value.node.value.node.to_string()));
                continue;
            }
            TypeKind::InputObject(input) => {
                shape.inputs.extend(inputs(&input.fields));
                continue;
            }
            TypeKind::Scalar | TypeKind::Union(_) => continue,
        };
        for field in fields {
            let (ty, arguments) = (field.node.ty.node.clone(), inputs(&field.node.arguments).collect());
            shape.fields.insert(field.node.name.node.to_string(), Field { ty, arguments });
        }
    }
    Ok(shapes)
}

fn inputs(values: &[Positioned<InputValueDefinition>]) -> impl Iterator<Item = (String, Input)> {
    values.iter().map(|value| {
        let input = Input { ty: value.node.ty.node.clone(), has_default: value.node.default_value.is_some() };
        (value.node.name.node.to_string(), input)
    })
}

fn compare(name: &str, expected: &Shape, actual: &Shape, found: &mut Vec<String>) {
    for (field, expected) in &expected.fields {
        let place = format!("{name}.{field}");
        match actual.fields.get(field) {
            None => found.push(format!("the field {place} is missing")),
            Some(actual) => {
                if !answers(&actual.ty, &expected.ty) {
                    found.push(format!("{place} is {}, not {}", actual.ty, expected.ty));
                }
                compare_inputs(&place, &expected.arguments, &actual.arguments, found);
            }
        }
    }
    compare_inputs(name, &expected.inputs, &actual.inputs, found);
    for value in expected.values.iter().filter(|value| !actual.values.contains(value)) {
        found.push(format!("the value {name}.{value} is missing"));
    }
}

fn compare_inputs(
    place: &str,
    expected: &HashMap<String, Input>,
    actual: &HashMap<String, Input>,
    found: &mut Vec<String>,
) {
    for (name, expected) in expected {
        match actual.get(name) {
            None => found.push(format!("the argument {place}.{name} is missing")),
            Some(actual) if !answers(&expected.ty, &actual.ty) => {
                found.push(format!("the argument {place}.{name} is {}, not {}", actual.ty, expected.ty));
            }
            Some(_) => {}
        }
    }
    for (name, actual) in actual {
        if !expected.contains_key(name) && !actual.ty.nullable && !actual.has_default {
            found.push(format!("the argument {place}.{name} is new and required"));
        }
    }
}

/// Whether a value of type `given` may stand where one of type `wanted` is wanted: the same type, and null only where
/// null may be.
fn answers(given: &Type, wanted: &Type) -> bool {
    (wanted.nullable || !given.nullable)
        && match (&given.base, &wanted.base) {
            (BaseType::Named(given), BaseType::Named(wanted)) => given == wanted,
            (BaseType::List(given), BaseType::List(wanted)) => answers(given, wanted),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use contracts::schemas::{INVOICES, ORDERS};

    use super::*;

    fn check(change: (&str, &str), expected: &[&str]) {
        let (from, to) = change;
        assert!(ORDERS.contains(from), "{from}");
        assert_eq!(differences(ORDERS, &ORDERS.replacen(from, to, 1)).unwrap(), expected, "{change:?}");
    }

    #[test]
    fn a_service_is_compatible_with_its_own_schema_and_with_more() {
        for schema in [ORDERS, INVOICES] {
            assert_eq!(differences(schema, schema).unwrap(), Vec::<String>::new());
        }
        check(("customerId: ID!", "customerId: ID! note: String"), &[]);
        check(("cancelOrder(id: ID!)", "cancelOrder(id: ID!, why: String)"), &[]);
        check(("cancelOrder(id: ID!)", "cancelOrder(id: ID!, why: String! = \"\")"), &[]);
        check(("cancelOrder(id: ID!)", "cancelOrder(id: ID)"), &[]);
        check(("orderUpdated(id: ID): Order!", "another: Int"), &[]);
    }

    #[test]
    fn what_is_missing_or_another_is_named() {
        check(("customerId: ID!", "customer: ID!"), &["the field Order.customerId is missing"]);
        check(("customerId: ID!", "customerId: ID"), &["Order.customerId is ID, not ID!"]);
        check(
            ("timeline: [OrderEvent!]!", "timeline: [OrderEvent]!"),
            &["Order.timeline is [OrderEvent]!, not [OrderEvent!]!"],
        );
        check(
            ("cancelOrder(id: ID!)", "cancelOrder(key: ID!)"),
            &[
                "the argument Mutation.cancelOrder.id is missing",
                "the argument Mutation.cancelOrder.key is new and required",
            ],
        );
        check(
            ("cancelOrder(id: ID!)", "cancelOrder(id: Int!)"),
            &["the argument Mutation.cancelOrder.id is Int!, not ID!"],
        );
        check(("AMOUNT_ASC", ""), &["the value OrderSort.AMOUNT_ASC is missing"]);
        check(
            ("idempotencyKey: String", "idempotencyKey: String!"),
            &["the argument CreateOrderInput.idempotencyKey is String!, not String"],
        );
        let missing = differences(ORDERS, "type Query { a: Int }").unwrap();
        for sentence in ["the type Order is missing", "the field Query.orders is missing"] {
            assert!(missing.iter().any(|one| one == sentence), "{missing:?}");
        }
        assert!(differences(ORDERS, "no schema").is_err());
    }
}
