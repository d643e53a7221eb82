//! How a record is declared: once, and from that come its type, its writer, its reader and its description.
//!
//! Invariant: what is written has one line, begins with `{"kind":"bench-`, and has every field, known or not.

use alloc::borrow::Cow;
use core::fmt;

use crate::json::{self, Object};

/// A text, borrowed where a record is made and owned where one is read.
pub type Text<'a> = Cow<'a, str>;
/// Numbers in their order, borrowed or owned as [`Text`] is.
pub type List<'a> = Cow<'a, [u64]>;

/// One field, described.
#[derive(Clone, Copy, Debug)]
pub struct FieldDoc {
    /// Its name.
    pub name: &'static str,
    /// `number`, `text`, `truth` or `numbers`, with `, or null` where it may be unknown.
    pub shape: &'static str,
    /// What it means, in lines.
    pub doc: &'static [&'static str],
}

/// A kind of line.
pub trait Record {
    /// What its `kind` says.
    const KIND: &'static str;
    /// What it is, in lines.
    const DOC: &'static [&'static str];
    /// Its fields in their order.
    const FIELDS: &'static [FieldDoc];

    /// Writes the fields.
    fn fill(&self, object: &mut Object<'_>);

    /// Writes the line, and a line end.
    ///
    /// # Errors
    ///
    /// The writer's.
    fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        json::line(out, |object| {
            object.text("kind", Self::KIND);
            self.fill(object);
        })
    }
}

/// What a field may hold.
pub trait Field {
    /// See [`FieldDoc::shape`].
    const SHAPE: &'static str;

    /// Writes it.
    fn put(&self, object: &mut Object<'_>, name: &str);
}

impl Field for u64 {
    const SHAPE: &'static str = "number";

    fn put(&self, object: &mut Object<'_>, name: &str) {
        object.number(name, *self);
    }
}

impl Field for bool {
    const SHAPE: &'static str = "truth";

    fn put(&self, object: &mut Object<'_>, name: &str) {
        object.boolean(name, *self);
    }
}

impl Field for Text<'_> {
    const SHAPE: &'static str = "text";

    fn put(&self, object: &mut Object<'_>, name: &str) {
        object.text(name, self);
    }
}

impl Field for List<'_> {
    const SHAPE: &'static str = "numbers";

    fn put(&self, object: &mut Object<'_>, name: &str) {
        object.list(name, self);
    }
}

impl<F: Optional> Field for Option<F> {
    const SHAPE: &'static str = F::OPTIONAL_SHAPE;

    fn put(&self, object: &mut Object<'_>, name: &str) {
        match self {
            Some(value) => value.put(object, name),
            None => object.null(name),
        }
    }
}

/// What may be unknown.
pub trait Optional: Field {
    /// The shape of an `Option` of it.
    const OPTIONAL_SHAPE: &'static str;
}

impl Optional for u64 {
    const OPTIONAL_SHAPE: &'static str = "number, or null";
}

impl Optional for Text<'_> {
    const OPTIONAL_SHAPE: &'static str = "text, or null";
}

/// Declares a record.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $kind:literal => $name:ident<$life:lifetime> {
            $($(#[doc = $field_doc:literal])* $field:ident: $type:ty,)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "read", derive(serde::Deserialize))]
        pub struct $name<$life> {
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        impl<$life> $crate::record::Record for $name<$life> {
            const KIND: &'static str = $kind;
            const DOC: &'static [&'static str] = &[$($doc),*];
            const FIELDS: &'static [$crate::record::FieldDoc] = &[$($crate::record::FieldDoc {
                name: stringify!($field),
                shape: <$type as $crate::record::Field>::SHAPE,
                doc: &[$($field_doc),*],
            }),*];

            fn fill(&self, object: &mut $crate::json::Object<'_>) {
                $($crate::record::Field::put(&self.$field, object, stringify!($field));)*
            }
        }
    };
}

pub(crate) use record;
