//! What an object holds: the fields that were asked for ([`Asked`]) and what another service added ([`Joined`]).
//!
//! Invariant: before an object is built, its answer was compared with the selection ([`crate::selection`]). So a field
//! that a client selected is there, and reading one never fails in the middle of a list, where the library could not
//! keep the rest of the answer intact.

use std::borrow::Cow;

use async_graphql::{
    ContextSelectionSet, ErrorExtensions, OutputType, Positioned, Result, ServerResult, Value, parser::types::Field,
    registry::Registry,
};
use chassis::graphql::ApiError;
use serde::{Deserialize, Deserializer};

use crate::subgraph::SubgraphError;

/// A field's value, if the field was asked for. In the schema it is just `T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked<T>(Option<T>);

impl<T> Asked<T> {
    /// A value that is known.
    pub(crate) fn known(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, if the field was asked for.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// The value, if the field was asked for.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }
}

// Not derived: that would ask for `T: Default`.
impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// A field that is in the answer was asked for, also when it is null; `#[serde(default)]` stands for the others.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Asked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::known)
    }
}

impl<T: OutputType> OutputType for Asked<T> {
    fn type_name() -> Cow<'static, str> {
        T::type_name()
    }

    fn qualified_type_name() -> String {
        T::qualified_type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        T::create_type_info(registry)
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match &self.0 {
            Some(value) => value.resolve(ctx, field).await,
            None => {
                let cause = format_args!("{} is selected, but it was not fetched", field.node.name.node);
                Err(ctx.set_error_path(ApiError::internal(&cause).extend().into_server_error(field.pos)))
            }
        }
    }
}

/// An object of the other service, as it was found when this one was composed.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Joined<T> {
    /// Nobody asked for it, so nobody was called.
    #[default]
    NotAsked,
    /// The service answered: here it is, or there is none.
    Found(Option<Box<T>>),
    /// The service did not answer.
    Failed(SubgraphError),
}

impl<T> Joined<T> {
    /// The value of a nullable field. An error in it nulls this field and no other: `Option<Result<_>>`, never
    /// `Result<Option<_>>`, which the library would turn into a missing field.
    pub(crate) fn answer(&self) -> Option<Result<&T>> {
        match self {
            Self::NotAsked | Self::Found(None) => None,
            Self::Found(Some(object)) => Some(Ok(object)),
            Self::Failed(error) => Some(Err(error.to_client())),
        }
    }
}

impl<T> Joined<T> {
    /// Whether it is missing, or something in it, because a service did not answer.
    pub(crate) fn is_partial(&self, inside: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::NotAsked | Self::Found(None) => false,
            Self::Found(Some(object)) => inside(object),
            Self::Failed(_) => true,
        }
    }
}

impl<T> From<Result<Option<T>, SubgraphError>> for Joined<T> {
    fn from(found: Result<Option<T>, SubgraphError>) -> Self {
        match found {
            Ok(object) => Self::Found(object.map(Box::new)),
            Err(error) => Self::Failed(error),
        }
    }
}
