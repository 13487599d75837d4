//! What `validator` found, as JSON Pointers (RFC 6901).

use validator::{ValidationErrors, ValidationErrorsKind};

use super::Detail;

/// Appends what is wrong below `path`; `names` gives the wire names of the fields on this level that have another one
/// in Rust.
pub(crate) fn details(errors: &ValidationErrors, path: &str, names: &[(&str, &str)], out: &mut Vec<Detail>) {
    let start = out.len();
    for (field, kind) in errors.errors() {
        let name = names.iter().find(|(rust, _)| rust == field).map_or(field.as_ref(), |(_, wire)| wire);
        // `__all__` is what validator calls the whole.
        let path = if name == "__all__" { path.to_owned() } else { format!("{path}/{}", escape(name)) };
        match kind {
            ValidationErrorsKind::Field(broken) => out.extend(broken.iter().map(|rule| Detail {
                path: path.clone(),
                message: rule.message.as_ref().map_or_else(|| describe(rule), |text| text.to_string()),
            })),
            ValidationErrorsKind::Struct(inner) => details(inner, &path, &[], out),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    details(inner, &format!("{path}/{index}"), &[], out);
                }
            }
        }
    }
    // validator keeps a hash map.
    if let Some(added) = out.get_mut(start..) {
        added.sort_by(|a, b| a.path.cmp(&b.path));
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn describe(rule: &validator::ValidationError) -> String {
    let bound = |name: &str| rule.params.get(name).map(ToString::to_string);
    let bounds = match (bound("min"), bound("max"), bound("equal")) {
        (_, _, Some(equal)) => format!("must be {equal}"),
        (Some(min), Some(max), _) => format!("must be between {min} and {max}"),
        (Some(min), None, _) => format!("must be at least {min}"),
        (None, Some(max), _) => format!("must be at most {max}"),
        (None, None, None) => String::new(),
    };
    match rule.code.as_ref() {
        "length" => format!("length {bounds}"),
        "range" => bounds,
        code => format!("breaks the rule `{code}`"),
    }
}
