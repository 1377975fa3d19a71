//! Changes one field of a scenario's text and leaves the rest as it was written, comments too.
//!
//! A field is named by its path: `workload.rate_per_s`, `rung.fenced.lock.expiry_ms`, `fault.holder-paused.for_ms`,
//! `claim.0.at_most`. Where there are several tables of one name, the next step is a table's own name (for a fault without one, its kind)
//! or its number from 0. Whether the changed text still is a scenario is for [`Scenario::parse`](crate::Scenario::parse) to say.

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::words::{nearest, quoted};

const STEPS_MAX: usize = 8;

/// Why a field cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is no TOML.
    #[error("this is not TOML: {0}")]
    Toml(String),
    /// The path is no path: empty, an empty step, or too many.
    #[error("{0:?} does not name a field: write it as in workload.rate_per_s or fault.NAME.for_ms")]
    Path(String),
    /// A step of the path leads nowhere.
    #[error("{path}: {why}")]
    Place {
        /// The path up to the step that fails.
        path: String,
        /// What is wrong there, and what would be right.
        why: String,
    },
}

/// Tables that may be written where a file lacks them, by the tables around them.
const TABLES: &[(&str, &[&str])] = &[
    ("", &["fleet", "origin", "workload", "policy"]),
    ("origin", &["failing", "slow"]),
    ("workload", &["absent", "retry"]),
    (
        "rung",
        &[
            "lock", "waiter", "stale", "jitter", "negative", "xfetch", "shed", "l1", "pre-warm", "retry",
            "deploy",
        ],
    ),
    ("rung.shed", &["edge", "origin"]),
];

/// The text with one field set. `value` is a TOML value; what is none is taken as text, so that names need no quotes.
///
/// # Errors
/// If the text is no TOML, or the path leads to no place where a field can stand.
///
/// ```
/// let text = "[workload]\nrate_per_s = 100 # reads\n";
/// let faster = herd_scenario::set_field(text, "workload.rate_per_s", "200").unwrap();
/// assert_eq!(faster, "[workload]\nrate_per_s = 200 # reads\n");
/// ```
pub fn set_field(text: &str, path: &str, value: &str) -> Result<String, EditError> {
    let mut document = document(text)?;
    let (steps, field) = steps(path)?;
    let table = walk(document.as_table_mut(), &steps, true)?;
    let is_text = match table.get(field) {
        Some(Item::Value(old)) => old.is_str(),
        Some(Item::Table(_) | Item::ArrayOfTables(_)) => return Err(place(path, "is a table, not a field")),
        Some(Item::None) | None => false,
    };
    let mut new = match value.trim().parse::<Value>() {
        Ok(new) if new.is_str() || !is_text => new,
        _ => Value::from(value),
    };
    if let Some(Item::Value(old)) = table.get_mut(field) {
        *new.decor_mut() = old.decor().clone();
        *old = new;
    } else {
        table.insert(field, Item::Value(new.decorated(" ", "")));
    }
    Ok(document.to_string())
}

/// The value of one field: a text without its quotes, anything else as it is written.
///
/// # Errors
/// If the text is no TOML, or it does not give the field.
pub fn get_field(text: &str, path: &str) -> Result<String, EditError> {
    let mut document = document(text)?;
    let (steps, field) = steps(path)?;
    let table = walk(document.as_table_mut(), &steps, false)?;
    match table.get(field) {
        Some(Item::Value(Value::String(text))) => Ok(text.value().clone()),
        Some(Item::Value(value)) => Ok(value.clone().decorated("", "").to_string()),
        Some(Item::Table(_) | Item::ArrayOfTables(_)) => Err(place(path, "is a table, not a field")),
        Some(Item::None) | None => {
            let hint = nearest(field, table.iter().map(|(key, _)| key));
            Err(place(path, format!("is not given{hint}")))
        }
    }
}

fn document(text: &str) -> Result<DocumentMut, EditError> {
    text.parse::<DocumentMut>().map_err(|error| EditError::Toml(error.message().replace('\n', "; ")))
}

fn place(path: &str, why: impl Into<String>) -> EditError {
    EditError::Place { path: path.to_owned(), why: why.into() }
}

/// The tables that a path leads through, and the field at its end.
fn steps(path: &str) -> Result<(Vec<&str>, &str), EditError> {
    let mut steps: Vec<&str> = path.split('.').map(str::trim).collect();
    let is_path = steps.len() <= STEPS_MAX && steps.iter().all(|step| !step.is_empty());
    match steps.pop().filter(|_| is_path) {
        Some(field) => Ok((steps, field)),
        None => Err(EditError::Path(path.to_owned())),
    }
}

/// The table at the end of the steps. With `may_write`, a table that may stand there is written if it is missing.
fn walk<'d>(
    mut table: &'d mut dyn TableLike,
    steps: &[&str],
    may_write: bool,
) -> Result<&'d mut dyn TableLike, EditError> {
    let mut kind = String::new();
    let mut index = 0;
    while let Some(step) = steps.get(index) {
        let path = steps[..=index].join(".");
        if !table.contains_key(step) {
            let known =
                TABLES.iter().find(|(around, _)| *around == kind).map_or(&[][..], |(_, tables)| tables);
            if !may_write && known.contains(step) {
                return Err(place(&path, "the file has no such table"));
            }
            if !known.contains(step) {
                let given = table.iter().filter(|(_, item)| !is_field(item)).map(|(key, _)| key);
                let hint = nearest(step, given.chain(known.iter().copied()));
                return Err(place(&path, format!("there is no such table{hint}")));
            }
            table.insert(step, Item::Table(Table::new()));
        }
        let Some(item) = table.get_mut(step) else { return Err(place(&path, "there is no such table")) };
        kind = if kind.is_empty() { (*step).to_owned() } else { format!("{kind}.{step}") };
        index += 1;
        table = match item {
            Item::Table(table) => table,
            Item::Value(Value::InlineTable(table)) => table,
            Item::ArrayOfTables(_) | Item::Value(Value::Array(_)) => {
                let chosen = steps.get(index).copied();
                index += 1;
                one_of(item, chosen, &path)?
            }
            Item::Value(_) | Item::None => return Err(place(&path, "is a field, not a table")),
        };
    }
    Ok(table)
}

fn is_field(item: &Item) -> bool {
    !item.is_table_like() && !item.is_array_of_tables()
}

/// The table of this name or number.
fn one_of<'d>(
    item: &'d mut Item,
    chosen: Option<&str>,
    path: &str,
) -> Result<&'d mut dyn TableLike, EditError> {
    let tables = tables_of(item);
    let names: Vec<String> = tables.iter().map(|table| name_of(&**table)).collect();
    let count = tables.len();
    let Some(chosen) = chosen else {
        return Err(place(
            path,
            format!("there are {count} of them: say which, by name or by number from 0"),
        ));
    };
    let by_name = names.iter().position(|name| name == chosen);
    let number = by_name.or_else(|| chosen.parse::<usize>().ok()).filter(|number| *number < count);
    let table = number.and_then(|number| tables.into_iter().nth(number));
    table.ok_or_else(|| {
        let named: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        let hint = nearest(chosen, named.iter().copied());
        let which =
            if named.is_empty() { format!("{count} of them, counted from 0") } else { quoted(&named) };
        place(path, format!("there is no {chosen:?}, only {which}{hint}"))
    })
}

/// The tables of a list of tables, however it is written.
pub(crate) fn tables_of(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.iter_mut().map(|table| table as &mut dyn TableLike).collect(),
        Item::Value(Value::Array(array)) => array
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        _ => Vec::new(),
    }
}

/// A table's own name; a fault without one is called by its kind.
fn name_of(table: &dyn TableLike) -> String {
    let text = |key| table.get(key).and_then(Item::as_str);
    text("name").or_else(|| text("kind")).unwrap_or_default().to_owned()
}
