//! A value outside of its range: WAS says so, and goes on with the default.

use super::ConfigWarning;
use super::check::OutOfRange;

/// WAS found a value outside its range.
const RANGE: u16 = 5041;
/// A property of the WWW service is outside its range.
const SERVICE_RANGE: u16 = 5067;

/// What is said of a value in a section of `system.applicationHost`.
///
/// Source: Microsoft `TechNet`, event 5041: "The '%1' '%2' failed range validation for property '%3'. The
/// configured value '%4' is outside of the range '%5' to '%6'. The value will default to '%7'."
/// Assumed: pools and sites, which have a name, are 5041; what the whole service has is 5067, in the same words.
pub(super) fn warning(section: &str, value: &OutOfRange) -> ConfigWarning {
    let (event, what, whose, name) = match section {
        "applicationPools" => (RANGE, "application pool", "AppPoolID", value.name()),
        "sites" => (RANGE, "site", "SiteName", value.name()),
        section => (SERVICE_RANGE, "service", "Name", section),
    };
    let OutOfRange {
        entry: _,
        property,
        value,
        min,
        max,
        default,
        step,
    } = value;
    let step = step
        .as_ref()
        .map(|s| format!(" in steps of '{s}'"))
        .unwrap_or_default();
    let text = format!(
        "The '{what}' '{name}' failed range validation for property '{property}'. The configured \
         value '{value}' is outside of the range '{min}' to '{max}'{step}. The value will default to \
         '{default}'."
    );
    let data = [
        ("Element", what),
        (whose, name),
        ("Property", property),
        ("Value", value),
        ("Minimum", min),
        ("Maximum", max),
        ("Default", default),
    ];
    let data = data.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ConfigWarning {
        event,
        text,
        place: String::new(),
        data: data.to_vec(),
    }
}
