//! The size of a document with every fragment standing wherever it is spread, without ever spreading one: a fragment is
//! measured once, and what was measured is added wherever it is spread.

use std::collections::HashMap;

use async_graphql::{
    Name, Pos, Positioned, ServerError,
    parser::types::{Directive, ExecutableDocument, Field, FragmentDefinition, Selection, SelectionSet},
};
use chassis::graphql::request_error;

use super::{Limits, TOO_COMPLEX, within};

/// How deep selection sets may be nested, those of fragments included. The library walks them recursively and allows
/// as many.
const MAX_LEVELS: u32 = 32;

/// How deep lists may be nested in introspection: `types { fields { type { fields { name } } } }` has two. Each is as
/// long as the schema is wide. (The rule of graphql-js, `MaxIntrospectionDepthRule`.)
const MAX_INTROSPECTION_LISTS: u64 = 2;

/// About how many values introspection may answer. The query that tools send asks for 60,000 of this estimate, a tenth
/// of which our schema has.
const MAX_INTROSPECTION_VALUES: u64 = 200_000;

/// How much a document asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DocumentSize {
    /// Fields, inline fragments and fragment spreads, each wherever it stands.
    pub(crate) selections: u64,
    /// Fields within each other.
    pub(crate) depth: u64,
}

/// Refuses a document that is larger than the limits allow.
pub(super) fn check(document: &ExecutableDocument, limits: &Limits) -> Result<DocumentSize, ServerError> {
    let mut walk = Walk { fragments: &document.fragments, limits, measured: HashMap::new(), steps: 0 };
    walk.document(document)
}

/// What a selection set comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// Fields, inline fragments and fragment spreads.
    selections: u64,
    aliases: u64,
    /// The fields of the set itself.
    width: u64,
    /// Fields within each other.
    depth: u64,
    /// Selection sets within each other, the set itself not counted.
    levels: u32,
    /// Lists of introspection within each other.
    lists: u64,
    /// About how many values are answered, if this is introspection.
    values: u64,
    /// The values of the introspection that is complete.
    introspected: u64,
}

impl Size {
    /// This and another beside it. Doubling a hundred times must not come round to zero.
    fn and(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
            width: self.width.saturating_add(other.width),
            depth: self.depth.max(other.depth),
            levels: self.levels.max(other.levels),
            lists: self.lists.max(other.lists),
            values: self.values.saturating_add(other.values),
            introspected: self.introspected.saturating_add(other.introspected),
        }
    }

    /// A fragment with this content, where it is spread or stands.
    fn as_fragment(self) -> Self {
        Self { selections: self.selections.saturating_add(1), levels: self.levels + 1, ..self }
    }
}

struct Walk<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    limits: &'a Limits,
    /// What each fragment comes to; `None` as long as it is being measured.
    measured: HashMap<&'a Name, Option<Size>>,
    /// How many selections were looked at.
    steps: usize,
}

impl<'a> Walk<'a> {
    fn document(&mut self, document: &'a ExecutableDocument) -> Result<DocumentSize, ServerError> {
        let (mut selections, mut depth) = (0_u64, 0);
        for (_, operation) in document.operations.iter() {
            self.directives(&operation.node.directives)?;
            for variable in &operation.node.variable_definitions {
                self.directives(&variable.node.directives)?;
            }
            let size = self.set(&operation.node.selection_set.node, 0)?;
            within(TOO_COMPLEX, "root fields", size.width, self.limits.root_fields.into())?;
            within(TOO_COMPLEX, "levels of fields", size.depth, self.limits.depth.into())?;
            within(TOO_COMPLEX, "aliases", size.aliases, self.limits.aliases.into())?;
            within(TOO_COMPLEX, "values by introspection", size.introspected, MAX_INTROSPECTION_VALUES)?;
            selections = selections.saturating_add(size.selections);
            depth = depth.max(size.depth);
        }
        // Validation goes through all operations, whichever of them runs, and through fragments that nobody spreads.
        for (name, fragment) in &document.fragments {
            self.fragment(name, fragment.pos, 0)?;
        }
        within(TOO_COMPLEX, "selections", selections, self.limits.selections.into())?;
        Ok(DocumentSize { selections, depth })
    }

    /// Measures a selection set that stands within `level` others.
    fn set(&mut self, set: &'a SelectionSet, level: u32) -> Result<Size, ServerError> {
        self.may_be_at(level)?;
        set.items.iter().try_fold(Size::default(), |size, selection| {
            self.steps += 1;
            self.directives(selection.node.directives())?;
            let more = match &selection.node {
                Selection::Field(field) => self.field(field, level)?,
                Selection::InlineFragment(fragment) => {
                    self.set(&fragment.node.selection_set.node, level + 1)?.as_fragment()
                }
                Selection::FragmentSpread(spread) => {
                    self.fragment(&spread.node.fragment_name.node, spread.pos, level + 1)?.as_fragment()
                }
            };
            Ok(size.and(more))
        })
    }

    fn field(&mut self, field: &'a Positioned<Field>, level: u32) -> Result<Size, ServerError> {
        let (name, set) = (field.node.name.node.as_str(), &field.node.selection_set.node);
        let has_fields = !set.items.is_empty();
        if name == "__typename" && (has_fields || !field.node.arguments.is_empty()) {
            return Err(refusal("__typename has no arguments and no fields".to_owned(), field.pos));
        }
        let below = if has_fields { self.set(set, level + 1)? } else { Size::default() };
        let list = list_of_introspection(name);
        let size = Size {
            selections: below.selections.saturating_add(1),
            aliases: below.aliases.saturating_add(u64::from(field.node.alias.is_some())),
            width: 1,
            depth: below.depth + 1,
            levels: below.levels + u32::from(has_fields),
            lists: below.lists + u64::from(list.is_some_and(|list| list.nests)),
            values: below.values.saturating_add(1).saturating_mul(list.map_or(1, |list| list.length)),
            introspected: below.introspected,
        };
        if !matches!(name, "__schema" | "__type") {
            return Ok(size);
        }
        within(TOO_COMPLEX, "nested lists of introspection", size.lists, MAX_INTROSPECTION_LISTS)?;
        let introspected = size.introspected.saturating_add(size.values);
        Ok(Size { depth: 1, lists: 0, values: 0, introspected, ..size })
    }

    /// What a fragment comes to that is spread at `place`. One that does not exist is for validation to refuse.
    fn fragment(&mut self, name: &'a Name, place: Pos, level: u32) -> Result<Size, ServerError> {
        let size = match self.measured.get(name) {
            Some(Some(size)) => *size,
            Some(None) => return Err(refusal(format!("the fragment {:?} spreads itself", name.as_str()), place)),
            None => {
                let Some(fragment) = self.fragments.get(name) else { return Ok(Size::default()) };
                self.measured.insert(name, None);
                self.directives(&fragment.node.directives)?;
                let size = self.set(&fragment.node.selection_set.node, level)?;
                self.measured.insert(name, Some(size));
                size
            }
        };
        // It may have been measured at a place that is not as deep as this one.
        self.may_be_at(level + size.levels)?;
        Ok(size)
    }

    fn directives(&self, directives: &[Positioned<Directive>]) -> Result<(), ServerError> {
        within(TOO_COMPLEX, "directives at one place", directives.len() as u64, self.limits.directives.into())
    }

    fn may_be_at(&self, level: u32) -> Result<(), ServerError> {
        within(TOO_COMPLEX, "nested selection sets", level.into(), MAX_LEVELS.into())
    }
}

/// A list that introspection answers.
#[derive(Debug, Clone, Copy)]
struct List {
    /// About as long as ours are at most. Only the magnitude counts.
    length: u64,
    /// Whether it leads to types that have such a list again.
    nests: bool,
}

fn list_of_introspection(field: &str) -> Option<List> {
    let (length, nests) = match field {
        "types" => (50, false),
        "fields" | "inputFields" => (10, true),
        "interfaces" | "possibleTypes" => (3, true),
        "enumValues" => (10, false),
        "args" => (5, false),
        "directives" => (5, false),
        _ => return None,
    };
    Some(List { length, nests })
}

fn refusal(message: String, place: Pos) -> ServerError {
    request_error("GRAPHQL_VALIDATION_FAILED", message, Some(place))
}

#[cfg(test)]
mod tests;
