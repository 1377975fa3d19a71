//! Typed access to one TOML table. Every reading method returns a usable value and notes what was wrong, so that one
//! pass over a file finds every mistake.

use std::ops::{Range, RangeInclusive};

use toml_edit::{Item, TableLike, Value};

use crate::mistakes::Mistake;
use crate::named::Named;
use crate::words::{nearest, quoted, shown, shown_value};

/// Entries of a list or array of tables that are read; more are a mistake.
const ENTRIES_MAX: usize = 64;

/// Collects mistakes of one file.
pub(crate) struct Log<'t> {
    text: &'t str,
    list: Vec<Mistake>,
}

impl<'t> Log<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, list: Vec::new() }
    }

    pub(crate) fn add(&mut self, at: &At, message: impl Into<String>) {
        let line = at.span.as_ref().map_or(1, |span| self.line_of(span.start));
        self.list.push(Mistake { line, place: at.place.clone(), message: message.into() });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many mistakes there are so far.
    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    /// The mistakes in order of their lines.
    pub(crate) fn into_list(mut self) -> Vec<Mistake> {
        self.list.sort_by_key(|mistake| mistake.line);
        self.list
    }

    fn line_of(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }
}

/// Where something stands: for messages.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub(crate) place: String,
    pub(crate) span: Option<Range<usize>>,
}

/// One table, or the absence of one, which reads as a table without keys.
pub(crate) struct Section<'t> {
    table: Option<&'t dyn TableLike>,
    at: At,
    prefix: String,
    known: Vec<&'static str>,
    /// Keys that were told to be missing or wrong.
    told: Vec<String>,
}

impl<'t> Section<'t> {
    pub(crate) fn root(table: &'t dyn TableLike) -> Self {
        Self {
            table: Some(table),
            at: At { place: "the file".to_owned(), span: None },
            prefix: String::new(),
            known: Vec::new(),
            told: Vec::new(),
        }
    }

    fn new(table: Option<&'t dyn TableLike>, at: At) -> Self {
        let prefix = format!("{}.", at.place);
        Self { table, at, prefix, known: Vec::new(), told: Vec::new() }
    }

    /// Where a key of this section stands; the section itself if the key is absent.
    pub(crate) fn at_key(&self, name: &str) -> At {
        let span = self
            .table
            .and_then(|table| table.get_key_value(name))
            .and_then(|(key, item)| key.span().or_else(|| item.span()))
            .or_else(|| self.at.span.clone());
        At { place: format!("{}{name}", self.prefix), span }
    }

    /// Where the section itself stands.
    pub(crate) fn at(&self) -> &At {
        &self.at
    }

    /// Notes what is wrong with a key.
    pub(crate) fn tell(&mut self, log: &mut Log<'_>, name: &str, message: impl Into<String>) {
        log.add(&self.at_key(name), message);
        self.told.push(name.to_owned());
    }

    /// Whether nothing was told of these keys: only then can more be said about what they mean together.
    pub(crate) fn is_sound(&self, names: &[&str]) -> bool {
        !self.told.iter().any(|told| names.contains(&told.as_str()))
    }

    /// Keys that cannot be judged, since what decides about them is itself wrong.
    pub(crate) fn pass_over(&mut self, names: &[&'static str]) {
        self.known.extend_from_slice(names);
    }

    /// Whether the file gives this key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// A whole number within limits. Without a default it is required.
    pub(crate) fn integer(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        limits: RangeInclusive<u64>,
        default: Option<u64>,
    ) -> u64 {
        let fallback = default.unwrap_or(*limits.start());
        let Some(item) = self.take(log, name, default.is_some()) else { return fallback };
        let number = item.as_integer().and_then(|n| u64::try_from(n).ok()).filter(|n| limits.contains(n));
        number.unwrap_or_else(|| {
            let wanted = format!("must be a whole number from {} to {}", limits.start(), limits.end());
            self.tell(log, name, format!("{wanted}, not {}", shown(item)));
            fallback
        })
    }

    /// As [`Section::integer`], for limits that fit 32 bits.
    pub(crate) fn integer32(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        limits: RangeInclusive<u32>,
        default: Option<u32>,
    ) -> u32 {
        let wide = u64::from(*limits.start())..=u64::from(*limits.end());
        let number = self.integer(log, name, wide, default.map(u64::from));
        u32::try_from(number).expect("the limits fit 32 bits")
    }

    /// As [`Section::integer32`], for a key that may be absent.
    pub(crate) fn optional32(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        limits: RangeInclusive<u32>,
    ) -> Option<u32> {
        let start = *limits.start();
        let is_given = self.has(name);
        let number = self.integer32(log, name, limits, Some(start));
        is_given.then_some(number)
    }

    /// A number above zero and up to a limit.
    pub(crate) fn positive(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        most: f64,
        default: Option<f64>,
    ) -> f64 {
        let fallback = default.unwrap_or(most);
        let Some(item) = self.take(log, name, default.is_some()) else { return fallback };
        let number = item.as_float().or_else(|| item.as_integer().map(|n| n as f64));
        number.filter(|n| *n > 0.0 && *n <= most).unwrap_or_else(|| {
            self.tell(log, name, format!("must be a number above 0 up to {most}, not {}", shown(item)));
            fallback
        })
    }

    pub(crate) fn boolean(&mut self, log: &mut Log<'_>, name: &'static str, default: bool) -> bool {
        let Some(item) = self.take(log, name, true) else { return default };
        item.as_bool().unwrap_or_else(|| {
            self.tell(log, name, format!("must be true or false, not {}", shown(item)));
            default
        })
    }

    /// Text of 1 to `longest` bytes; required.
    pub(crate) fn text(&mut self, log: &mut Log<'_>, name: &'static str, longest: usize) -> String {
        let Some(item) = self.take(log, name, false) else { return String::new() };
        let text = item.as_str().filter(|text| !text.trim().is_empty() && text.len() <= longest);
        text.map(str::to_owned).unwrap_or_else(|| {
            self.tell(log, name, format!("must be text of 1 to {longest} bytes, not {}", shown(item)));
            String::new()
        })
    }

    /// As [`Section::text`], for a key that may be absent.
    pub(crate) fn optional_text(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        longest: usize,
    ) -> Option<String> {
        let is_given = self.has(name);
        if !is_given {
            self.known.push(name);
            return None;
        }
        Some(self.text(log, name, longest))
    }

    /// Text that can stand in file names and labels: `[a-z0-9-]`.
    pub(crate) fn label(&mut self, log: &mut Log<'_>, name: &'static str, longest: usize) -> String {
        let text = self.text(log, name, longest);
        if !text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
            let message = format!("must be 1 to {longest} characters of [a-z0-9-], not {text:?}");
            self.tell(log, name, message);
        }
        text
    }

    /// One of a fixed set of names. Without a default it is required.
    pub(crate) fn choice<T: Named>(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        default: Option<T>,
    ) -> T {
        let fallback = default.unwrap_or(T::NAMES[0].1);
        let Some(item) = self.take(log, name, default.is_some()) else { return fallback };
        self.named(log, name, item.as_str(), || shown(item)).unwrap_or(fallback)
    }

    /// As [`Section::choice`], required, for what others depend on: `None` where it is missing or wrong.
    pub(crate) fn required_choice<T: Named>(&mut self, log: &mut Log<'_>, name: &'static str) -> Option<T> {
        let item = self.take(log, name, false)?;
        self.named(log, name, item.as_str(), || shown(item))
    }

    /// As [`Section::choice`], for a key that may be absent.
    pub(crate) fn optional_choice<T: Named>(&mut self, log: &mut Log<'_>, name: &'static str) -> Option<T> {
        let item = self.take(log, name, true)?;
        self.named(log, name, item.as_str(), || shown(item))
    }

    /// A list of names of a fixed set, without repetition; empty if absent and not required.
    pub(crate) fn choices<T: Named + PartialEq>(&mut self, log: &mut Log<'_>, name: &'static str) -> Vec<T> {
        let Some(item) = self.take(log, name, false) else { return Vec::new() };
        let Some(array) = item.as_array() else {
            self.tell(log, name, format!("must be a list of names, not {}", shown(item)));
            return Vec::new();
        };
        let mut chosen: Vec<T> = Vec::new();
        for value in array.iter().take(ENTRIES_MAX) {
            let Some(one) = self.named(log, name, value.as_str(), || shown_value(value)) else { continue };
            if chosen.contains(&one) {
                self.tell(log, name, format!("names {} twice", shown_value(value)));
            } else {
                chosen.push(one);
            }
        }
        chosen
    }

    /// A list of 1 to `most` texts of 1 to `longest` bytes; required.
    pub(crate) fn texts(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        most: usize,
        longest: usize,
    ) -> Vec<String> {
        let Some(item) = self.take(log, name, false) else { return Vec::new() };
        let array = item.as_array().filter(|array| (1..=most).contains(&array.len()));
        let Some(array) = array else {
            self.tell(log, name, format!("must be a list of 1 to {most} texts, not {}", shown(item)));
            return Vec::new();
        };
        let mut texts = Vec::new();
        for value in array {
            match value.as_str().filter(|text| !text.is_empty() && text.len() <= longest) {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    let message =
                        format!("must be texts of 1 to {longest} bytes, not {}", shown_value(value));
                    self.tell(log, name, message);
                }
            }
        }
        texts
    }

    /// A list of different whole numbers from 0, each below `limit`; at least one, where the key is given.
    pub(crate) fn optional_numbers(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        limit: u32,
    ) -> Option<Vec<u32>> {
        let item = self.raw(name)?;
        let number = |value: &Value| {
            value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|number| *number < limit)
        };
        let numbers: Option<Vec<u32>> = item.as_array().and_then(|array| array.iter().map(number).collect());
        let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty() && numbers.len() <= limit as usize)
        else {
            let wanted = format!("must be a list of whole numbers from 0 to {}", limit - 1);
            self.tell(log, name, format!("{wanted}, not {}", shown(item)));
            return None;
        };
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            self.tell(log, name, format!("names {} twice", pair[0]));
        }
        Some(numbers)
    }

    /// Reports keys that make no sense here, where the file gives them; `why` says what they belong to.
    pub(crate) fn refuse(&mut self, log: &mut Log<'_>, names: &[&'static str], why: &str) {
        for name in names {
            if self.raw(name).is_some() {
                self.tell(log, name, why);
            }
        }
    }

    /// Anything, for keys with more than one type.
    pub(crate) fn raw(&mut self, name: &'static str) -> Option<&'t Item> {
        self.known.push(name);
        self.table.and_then(|table| table.get(name))
    }

    /// A table below this one; reads as empty if absent.
    pub(crate) fn section(&mut self, log: &mut Log<'_>, name: &'static str) -> Section<'t> {
        self.known.push(name);
        let at = self.at_key(name);
        let item = self.table.and_then(|table| table.get(name));
        let table = item.and_then(Item::as_table_like);
        if let (Some(item), None) = (item, table) {
            log.add(&at, format!("must be a table [{}], not {}", at.place, shown(item)));
        }
        Section::new(table, at)
    }

    /// A table below this one that may be absent.
    pub(crate) fn optional_section(&mut self, log: &mut Log<'_>, name: &'static str) -> Option<Section<'t>> {
        let is_given = self.has(name);
        let section = self.section(log, name);
        is_given.then_some(section)
    }

    /// Tables of the form `[[name]]`, at least one.
    pub(crate) fn sections(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        most: usize,
    ) -> Vec<Section<'t>> {
        self.known.push(name);
        let at = self.at_key(name);
        let Some(item) = self.table.and_then(|table| table.get(name)) else {
            log.add(&at, format!("is missing: at least one [[{name}]] is needed"));
            return Vec::new();
        };
        let tables: Vec<&'t dyn TableLike> = match item {
            Item::ArrayOfTables(tables) => tables.iter().map(|table| table as &dyn TableLike).collect(),
            Item::Value(Value::Array(array)) => {
                array.iter().filter_map(Value::as_inline_table).map(|table| table as &dyn TableLike).collect()
            }
            _ => Vec::new(),
        };
        if tables.is_empty() || tables.len() > most {
            log.add(&at, format!("must be 1 to {most} tables [[{name}]]"));
        }
        let spans = spans_of(item);
        let numbered = tables.into_iter().take(most).enumerate();
        numbered
            .map(|(index, table)| {
                let span = spans.get(index).cloned().flatten().or_else(|| at.span.clone());
                Section::new(Some(table), At { place: format!("{}[{}]", at.place, index + 1), span })
            })
            .collect()
    }

    /// As [`Section::sections`], for tables that may be absent.
    pub(crate) fn optional_sections(
        &mut self,
        log: &mut Log<'_>,
        name: &'static str,
        most: usize,
    ) -> Vec<Section<'t>> {
        if self.has(name) {
            return self.sections(log, name, most);
        }
        self.known.push(name);
        Vec::new()
    }

    /// Reports the keys that nobody read, each with the nearest name that would have been.
    pub(crate) fn finish(self, log: &mut Log<'_>) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter() {
            if !self.known.contains(&key) {
                let hint = nearest(key, self.known.iter().copied());
                log.add(&self.at_key(key), format!("unknown key{hint}"));
            }
        }
    }

    fn take(&mut self, log: &mut Log<'_>, name: &'static str, optional: bool) -> Option<&'t Item> {
        let item = self.raw(name);
        if item.is_none() && !optional {
            self.tell(log, name, "is missing");
        }
        item
    }

    fn named<T: Named>(
        &mut self,
        log: &mut Log<'_>,
        name: &str,
        text: Option<&str>,
        found: impl Fn() -> String,
    ) -> Option<T> {
        let value = text.and_then(|text| T::NAMES.iter().find(|(known, _)| *known == text));
        if value.is_none() {
            let names: Vec<&str> = T::NAMES.iter().map(|(known, _)| *known).collect();
            let hint = text.map_or_else(String::new, |text| nearest(text, names.iter().copied()));
            let message = format!("must be one of {}, not {}{hint}", quoted(&names), found());
            self.tell(log, name, message);
        }
        value.map(|(_, value)| *value)
    }
}

fn spans_of(item: &Item) -> Vec<Option<Range<usize>>> {
    match item {
        Item::ArrayOfTables(tables) => tables.iter().map(|table| table.span()).collect(),
        Item::Value(Value::Array(array)) => {
            array.iter().filter_map(Value::as_inline_table).map(|table| table.span()).collect()
        }
        _ => Vec::new(),
    }
}
