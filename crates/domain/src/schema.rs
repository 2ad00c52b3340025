//! How values that are written as text describe themselves to those who make programs for the API.
use utoipa::openapi::{
    RefOr, Schema,
    schema::{ObjectBuilder, Type},
};

/// The schema of a JSON text that fits `pattern` (ECMA 262) and has at most `longest` characters.
pub fn text(pattern: &str, longest: usize, description: &str, example: Option<&str>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .max_length(Some(longest))
        .description(Some(description))
        .examples(example)
        .into()
}

/// Describes a type that is written as text: its pattern, its most characters, what it is, an example.
#[macro_export]
macro_rules! text_schema {
    ($type:ident, $pattern:expr, $longest:expr, $description:expr, $example:expr) => {
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::schema::text($pattern, $longest, $description, Some($example))
            }
        }

        impl utoipa::ToSchema for $type {}
    };
}
