//! JSON in the one form that a digest can be taken of: RFC 8785.

use serde_json::Value;

/// The value as RFC 8785 writes it: no white space, keys in the order of their UTF-16 code units.
///
/// Only for values without fractions: RFC 8785's form of those is not implemented, as policies write them as text.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            let fields = fields.into_iter().map(|(key, value)| format!("{}:{}", text(key), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(",")),
        // serde_json escapes what RFC 8785 escapes, and in the same way.
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => value.to_string(),
    }
}

fn text(key: &str) -> String {
    Value::from(key).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_as_the_rfc_sorts_them() {
        // RFC 8785, section 3.2.3
        let value = json!({ "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis" });
        let expected = "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
            \"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\
            \"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}";
        assert_eq!(canonical(&value), expected);
    }

    #[test]
    fn strings_are_escaped_as_the_rfc_escapes_them() {
        // RFC 8785, section 3.2.2.2
        let value = json!(["\u{20ac}$\u{f}\nA'B\"\\\\\"/", 7, true, null]);
        assert_eq!(canonical(&value), "[\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\",7,true,null]");
    }
}
