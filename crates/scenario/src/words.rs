//! How messages show what was found, list what is possible, and guess what was meant.

use std::fmt::Display;

use toml_edit::{Item, Value};

/// Names less alike than this (0 to 1, Jaro-Winkler) are not offered, however short they are.
const SIMILARITY_MIN: f64 = 0.6;

/// `; did you mean "x"?` for the nearest name, or nothing if none is near: at most two slips away, or a third of the longer of the
/// two names.
pub(crate) fn nearest<'n>(found: &str, names: impl Iterator<Item = &'n str>) -> String {
    let near = names
        .map(|name| (strsim::damerau_levenshtein(found, name), strsim::jaro_winkler(found, name), name))
        .filter(|(slips, alike, name)| {
            let longer = found.chars().count().max(name.chars().count());
            *slips <= (longer / 3).max(2) && *alike >= SIMILARITY_MIN
        })
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    near.map_or_else(String::new, |(_, _, name)| format!("; did you mean {name:?}?"))
}

/// `"a", "b" or "c"`.
pub(crate) fn quoted<T: Display>(names: &[T]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((only, _)) => only.clone(),
        None => "nothing".to_owned(),
    }
}

pub(crate) fn shown(item: &Item) -> String {
    match item {
        Item::Value(value) => shown_value(value),
        Item::Table(_) => "a table".to_owned(),
        Item::ArrayOfTables(_) => "a list of tables".to_owned(),
        Item::None => "nothing".to_owned(),
    }
}

pub(crate) fn shown_value(value: &Value) -> String {
    let text = value.to_string();
    let text = text.trim();
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(57).collect::<String>() + "..."
    }
}
