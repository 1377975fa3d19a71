//! Spans in OTLP's JSON encoding: ids in hexadecimal, 64-bit numbers as decimal strings, enumerations as numbers. What has no
//! value is left out. Of attributes' values only the four plain kinds are kept as they are; others are kept as text.

use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `STATUS_CODE_ERROR`
pub const STATUS_ERROR: i32 = 2;

/// What one process sent at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSpans {
    /// The process.
    #[serde(default)]
    pub resource: Resource,
    /// Its spans.
    #[serde(default)]
    pub scope_spans: Vec<ScopeSpans>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// `service.name`, `service.instance.id` and others.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
}

/// Spans of one library.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScopeSpans {
    /// The library.
    #[serde(default)]
    pub scope: Scope,
    /// Its spans.
    #[serde(default)]
    pub spans: Vec<Span>,
}

/// A library.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// A span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits; empty: it begins its trace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parent_span_id: String,
    /// What it is called.
    pub name: String,
    /// 1 internal, 2 server, 3 client.
    #[serde(default)]
    pub kind: i32,
    /// Unix nanoseconds.
    #[serde(with = "decimal")]
    pub start_time_unix_nano: u64,
    /// Unix nanoseconds.
    #[serde(with = "decimal")]
    pub end_time_unix_nano: u64,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
    /// What happened in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Event>,
    /// Other spans that it has to do with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Status::is_unset")]
    pub status: Status,
}

/// Something that happened in a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Unix nanoseconds.
    #[serde(with = "decimal")]
    pub time_unix_nano: u64,
    /// What.
    pub name: String,
    /// What is said of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

/// Another span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
}

/// How a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// [`STATUS_ERROR`] or less.
    #[serde(default)]
    pub code: i32,
}

/// Something that is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// About what.
    pub key: String,
    /// What.
    pub value: Value,
}

/// What can be said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// Text.
    StringValue(String),
    /// Yes or no.
    BoolValue(bool),
    /// A whole number.
    IntValue(#[serde(with = "decimal")] i64),
    /// Any number.
    DoubleValue(f64),
}

impl Status {
    fn is_unset(&self) -> bool {
        self.code == 0 && self.message.is_empty()
    }
}

impl Attribute {
    /// Says `value` about `key`.
    #[must_use]
    pub fn new(key: &str, value: Value) -> Self {
        Self { key: key.to_owned(), value }
    }
}

impl Resource {
    /// A text that is said of the process.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        text(&self.attributes, key)
    }
}

impl Span {
    /// What is said about `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }

    /// A text that is said about `key`.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        text(&self.attributes, key)
    }
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    match &attributes.iter().find(|attribute| attribute.key == key)?.value {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StringValue(text) => f.write_str(text),
            Self::BoolValue(yes) => write!(f, "{yes}"),
            Self::IntValue(number) => write!(f, "{number}"),
            Self::DoubleValue(number) => write!(f, "{number}"),
        }
    }
}

impl From<ProtoResource> for Resource {
    fn from(resource: ProtoResource) -> Self {
        Self { attributes: attributes(resource.attributes) }
    }
}

impl From<proto::Span> for Span {
    fn from(span: proto::Span) -> Self {
        let status = span.status.unwrap_or_default();
        Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_span_id: hex(&span.parent_span_id),
            name: span.name,
            kind: span.kind,
            start_time_unix_nano: span.start_time_unix_nano,
            end_time_unix_nano: span.end_time_unix_nano,
            attributes: attributes(span.attributes),
            events: span.events.into_iter().map(Event::from).collect(),
            links: span.links.into_iter().map(Link::from).collect(),
            status: Status { message: status.message, code: status.code },
        }
    }
}

impl From<proto::span::Event> for Event {
    fn from(event: proto::span::Event) -> Self {
        Self {
            time_unix_nano: event.time_unix_nano,
            name: event.name,
            attributes: attributes(event.attributes),
        }
    }
}

impl From<proto::span::Link> for Link {
    fn from(link: proto::span::Link) -> Self {
        Self { trace_id: hex(&link.trace_id), span_id: hex(&link.span_id) }
    }
}

fn attributes(said: Vec<KeyValue>) -> Vec<Attribute> {
    let one = |KeyValue { key, value, .. }| {
        value.and_then(|AnyValue { value }| value).map(|value| Attribute { key, value: plain(value) })
    };
    said.into_iter().filter_map(one).collect()
}

fn plain(value: ProtoValue) -> Value {
    match value {
        ProtoValue::StringValue(text) => Value::StringValue(text),
        ProtoValue::BoolValue(yes) => Value::BoolValue(yes),
        ProtoValue::IntValue(number) => Value::IntValue(number),
        ProtoValue::DoubleValue(number) => Value::DoubleValue(number),
        other => Value::StringValue(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
    bytes.iter().flat_map(digits).collect()
}

/// 64-bit numbers as decimal strings; plain numbers are read, too.
mod decimal {
    use super::{Deserialize, Deserializer, Serializer};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<N: Display, S: Serializer>(number: &N, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, N, D>(from: D) -> Result<N, D::Error>
    where
        N: FromStr<Err: Display> + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Either<N> {
            Text(String),
            Number(N),
        }
        match Either::<N>::deserialize(from)? {
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Either::Number(number) => Ok(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what is written is OTLP's JSON to the letter, and is read as it was written.
    #[test]
    fn to_the_letter() {
        let span = proto::Span {
            trace_id: vec![0x4b; 16],
            span_id: vec![1, 2, 3, 4, 5, 6, 7, 0xff],
            name: "rebuild".to_owned(),
            kind: 1,
            start_time_unix_nano: 1_700_000_000_000_000_001,
            end_time_unix_nano: 1_700_000_000_200_000_000,
            attributes: vec![
                KeyValue {
                    key: "herd.generation".to_owned(),
                    value: Some(AnyValue { value: Some(ProtoValue::IntValue(7)) }),
                    ..KeyValue::default()
                },
                KeyValue {
                    key: "herd.lock.wait_ms".to_owned(),
                    value: Some(AnyValue { value: Some(ProtoValue::DoubleValue(1.5)) }),
                    ..KeyValue::default()
                },
            ],
            ..proto::Span::default()
        };
        let span = Span::from(span);
        let text = serde_json::to_string(&span).unwrap();
        assert_eq!(
            text,
            r#"{"traceId":"4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b","spanId":"01020304050607ff","name":"rebuild","kind":1,"startTimeUnixNano":"1700000000000000001","endTimeUnixNano":"1700000000200000000","attributes":[{"key":"herd.generation","value":{"intValue":"7"}},{"key":"herd.lock.wait_ms","value":{"doubleValue":1.5}}]}"#
        );
        assert_eq!(serde_json::from_str::<Span>(&text).unwrap(), span);
        let lax = text.replace("\"7\"", "7").replace("\"1700000000000000001\"", "1700000000000000001");
        assert_eq!(serde_json::from_str::<Span>(&lax).unwrap(), span);
    }
}
