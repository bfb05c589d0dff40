//! What series are told apart by. A label is a field of a type, and where its values are known they are an enum's, so that
//! nothing unbounded can become one by accident.

use std::{fmt, fmt::Debug, hash::Hash, sync::Arc};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder};

/// A label, for the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it can be, where that is known when the program is built.
    pub values: &'static [&'static str],
}

/// The labels of a family. Made with [`label_set!`](crate::label_set).
pub trait LabelSet: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static {
    /// All of them.
    const LABELS: &'static [Label];
}

/// No labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct NoLabels;

impl LabelSet for NoLabels {
    const LABELS: &'static [Label] = &[];
}

impl EncodeLabelSet for NoLabels {
    fn encode(&self, _: &mut LabelSetEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

/// The value of a label. Enums are made with [`label_value!`](crate::label_value).
pub trait LabelValue: EncodeLabelValue {
    /// All that it can be, where that is known when the program is built.
    const VALUES: &'static [&'static str] = &[];
}

impl LabelValue for &'static str {}
impl LabelValue for Arc<str> {}
impl LabelValue for u16 {}

/// Without a value the label is empty, which Prometheus takes for not there.
impl<T: LabelValue> LabelValue for Option<T> {
    const VALUES: &'static [&'static str] = T::VALUES;
}

/// For [`label_set!`](crate::label_set).
pub fn encode_label(encoder: &mut LabelSetEncoder<'_>, name: &'static str, value: &impl LabelValue) -> fmt::Result {
    struct Borrowed<'a, T>(&'a T);
    impl<T: LabelValue> EncodeLabelValue for Borrowed<'_, T> {
        fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
            self.0.encode(encoder)
        }
    }
    (name, Borrowed(value)).encode(encoder.encode_label())
}

/// For [`label_value!`](crate::label_value).
pub fn encode_value(encoder: &mut LabelValueEncoder<'_>, value: &str) -> fmt::Result {
    EncodeLabelValue::encode(&value, encoder)
}

/// A type for the labels of a family: a struct whose fields are the labels.
#[macro_export]
macro_rules! label_set {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $crate::metrics::LabelSet for $name {
            const LABELS: &'static [$crate::metrics::Label] = &[
                $($crate::metrics::Label {
                    name: stringify!($field),
                    values: <$type as $crate::metrics::LabelValue>::VALUES,
                }),*
            ];
        }

        impl $crate::metrics::encoding::EncodeLabelSet for $name {
            fn encode(&self, encoder: &mut $crate::metrics::encoding::LabelSetEncoder<'_>) -> std::fmt::Result {
                $($crate::metrics::encode_label(encoder, stringify!($field), &self.$field)?;)*
                Ok(())
            }
        }
    };
}

/// A type for a label whose values are known: an enum, and the text of each variant.
#[macro_export]
macro_rules! label_value {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident => $text:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name { $($(#[$variant_meta])* $variant),* }

        impl $name {
            /// All of them.
            #[allow(dead_code, reason = "not every enum is counted through")]
            $vis const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As the label has it.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl $crate::metrics::LabelValue for $name {
            const VALUES: &'static [&'static str] = &[$($text),*];
        }

        impl $crate::metrics::encoding::EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut $crate::metrics::encoding::LabelValueEncoder<'_>) -> std::fmt::Result {
                $crate::metrics::encode_value(encoder, self.as_str())
            }
        }
    };
}
