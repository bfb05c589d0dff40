//! The limits that an operator may set. Generous for what people write, and for GraphiQL; small for a machine.

use clap::{Args, value_parser};

/// How much a GraphQL request may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Limits of a GraphQL request")]
pub struct Limits {
    /// Bytes of the document.
    #[arg(long = "graphql-max-document-bytes", env = "GRAPHQL_MAX_DOCUMENT_BYTES", value_name = "BYTES")]
    #[arg(default_value = "16384", value_parser = value_parser!(u32).range(1..=131_072))]
    pub document_bytes: u32,

    /// Tokens of the document: names, values, punctuation.
    #[arg(long = "graphql-max-tokens", env = "GRAPHQL_MAX_TOKENS", value_name = "TOKENS")]
    #[arg(default_value = "1000", value_parser = value_parser!(u32).range(1..=10_000))]
    pub tokens: u32,

    /// Fields, inline fragments and fragment spreads, each counted wherever its fragment is spread.
    #[arg(long = "graphql-max-selections", env = "GRAPHQL_MAX_SELECTIONS", value_name = "SELECTIONS")]
    #[arg(default_value = "1000", value_parser = value_parser!(u32).range(1..=10_000))]
    pub selections: u32,

    /// Fields within each other. Introspection has limits of its own.
    #[arg(long = "graphql-max-depth", env = "GRAPHQL_MAX_DEPTH", value_name = "FIELDS")]
    #[arg(default_value = "12", value_parser = value_parser!(u32).range(1..=32))]
    pub depth: u32,

    /// Aliases, each counted wherever its fragment is spread.
    #[arg(long = "graphql-max-aliases", env = "GRAPHQL_MAX_ALIASES", value_name = "ALIASES")]
    #[arg(default_value = "15", value_parser = value_parser!(u32).range(0..=1_000))]
    pub aliases: u32,

    /// Root fields of an operation: each may cost a call of every service.
    #[arg(long = "graphql-max-root-fields", env = "GRAPHQL_MAX_ROOT_FIELDS", value_name = "FIELDS")]
    #[arg(default_value = "20", value_parser = value_parser!(u32).range(1..=1_000))]
    pub root_fields: u32,

    /// Directives at one place.
    #[arg(long = "graphql-max-directives", env = "GRAPHQL_MAX_DIRECTIVES", value_name = "DIRECTIVES")]
    #[arg(default_value = "5", value_parser = value_parser!(u32).range(0..=100))]
    pub directives: u32,

    /// Values in the variables, those in lists and objects included.
    #[arg(long = "graphql-max-variable-values", env = "GRAPHQL_MAX_VARIABLE_VALUES", value_name = "VALUES")]
    #[arg(default_value = "250", value_parser = value_parser!(u32).range(0..=2_000))]
    pub variable_values: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            document_bytes: 16 * 1024,
            tokens: 1000,
            selections: 1000,
            depth: 12,
            aliases: 15,
            root_fields: 20,
            directives: 5,
            variable_values: 250,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        limits: Limits,
    }

    #[test]
    fn the_defaults_of_the_command_line_are_those_of_the_code() {
        assert_eq!(Program::parse_from(["bff"]).limits, Limits::default());
    }

    #[test]
    fn a_limit_that_is_not_allowed_is_refused_with_what_is() {
        let error = Program::try_parse_from(["bff", "--graphql-max-depth", "33"]).err().unwrap().to_string();
        assert!(error.contains("'33' for '--graphql-max-depth <FIELDS>': 33 is not in 1..=32"), "{error}");
    }
}
