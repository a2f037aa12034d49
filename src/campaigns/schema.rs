//! JSON Schemas of the definition files, from the same field tables that check them: editors complete keys and underline mistakes.

use super::fields::{Field, Shape, Table};
use super::tables::{campaign, condition, mapping, provider, workspace};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// File name → schema, as `posthaste schema` writes them to schema/.
pub fn schemas() -> BTreeMap<&'static str, String> {
    [
        ("posthaste.schema.json", "posthaste.yaml", &workspace::WORKSPACE),
        ("campaign.schema.json", "campaigns/KEY.yaml", &campaign::CAMPAIGN),
        ("segment.schema.json", "campaigns/segments/KEY.yaml", &campaign::SEGMENT),
        ("mapping.schema.json", "mappings/NAME.yaml", &mapping::MAPPING),
    ]
    .into_iter()
    .map(|(name, title, table)| {
        let mut writer = Writer::default();
        let mut schema = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "title": title });
        if let Value::Object(into) = &mut schema {
            into.extend(writer.table(table));
            if !writer.definitions.is_empty() {
                into.insert("$defs".into(), writer.definitions.into_iter().collect::<Map<_, _>>().into());
            }
        }
        (name, format!("{schema:#}\n"))
    })
    .collect()
}

#[derive(Default)]
struct Writer {
    /// Tables already written, by name.
    definitions: BTreeMap<String, Value>,
}

impl Writer {
    fn table(&mut self, table: &'static Table) -> Map<String, Value> {
        self.fields(table.fields)
    }

    fn fields(&mut self, fields: &'static [Field]) -> Map<String, Value> {
        let properties: Map<String, Value> = fields.iter().map(|field| (field.key.to_string(), self.field(field))).collect();
        let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.key).collect();
        let mut schema = Map::from_iter([
            ("type".to_string(), json!("object")),
            ("properties".to_string(), properties.into()),
            ("additionalProperties".to_string(), json!(false)),
        ]);
        if !required.is_empty() {
            schema.insert("required".into(), json!(required));
        }
        schema
    }

    fn field(&mut self, field: &'static Field) -> Value {
        if let Some(instead) = field.later {
            return json!({ "description": format!("{}. Not built yet: {instead}", field.about), "not": {} });
        }
        let mut schema = self.shape(&field.shape);
        let about = if field.default.is_empty() { field.about.to_string() } else { format!("{}. Default: {}", field.about, field.default) };
        if let Value::Object(into) = &mut schema {
            into.insert("description".into(), about.into());
        }
        schema
    }

    /// A table that may stand in several places, or inside itself.
    fn reference(&mut self, table: &'static Table) -> Value {
        let name = table.name.trim_start_matches("a ").trim_start_matches("an ").trim_start_matches("the ").replace(['`', ' '], "_");
        let name = name.trim_matches('_').to_string();
        if !self.definitions.contains_key(&name) {
            self.definitions.insert(name.clone(), Value::Null);
            let schema = self.table(table);
            self.definitions.insert(name.clone(), schema.into());
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn shape(&mut self, shape: &'static Shape) -> Value {
        match shape {
            Shape::Text
            | Shape::Secret
            | Shape::Every
            | Shape::Cron
            | Shape::Quartz
            | Shape::Reference(_)
            | Shape::Url
            | Shape::Host
            | Shape::Zone => {
                json!({ "type": "string" })
            }
            Shape::Email => json!({ "type": "string", "format": "email" }),
            Shape::Words => {
                json!({ "oneOf": [ { "type": "string" }, { "type": "object", "additionalProperties": { "type": "string" } } ] })
            }
            Shape::Key => json!({ "type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength": 64 }),
            Shape::Name => json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]*(\\.[a-z][a-z0-9_]*)*$" }),
            Shape::Duration => json!({ "type": "string", "pattern": "^[0-9]+ (second|minute|hour|day|week|month|year)s?$" }),
            Shape::DateTime => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T]" }),
            Shape::Time => json!({ "type": "string", "pattern": "^[0-9]{2}:[0-9]{2}" }),
            Shape::Dates => {
                json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}( to [0-9]{4}-[0-9]{2}-[0-9]{2})?$" })
            }
            Shape::Date => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" }),
            Shape::DateOrDateTime => json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}" }),
            Shape::Share => json!({ "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,2})?%$" }),
            Shape::Money | Shape::Price => json!({ "type": [ "string", "number" ] }),
            Shape::Rate => json!({ "type": "string", "pattern": "^[0-9]+ per (second|minute|hour|day)$" }),
            Shape::Hours => json!({ "type": "string", "pattern": "^[0-9]{2}:[0-9]{2} to [0-9]{2}:[0-9]{2}$" }),
            Shape::Weekdays => json!({ "type": "string" }),
            Shape::Whole { least, most: u64::MAX } => json!({ "type": "integer", "minimum": least }),
            Shape::Whole { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Language => json!({ "type": "string", "pattern": "^[a-z]{2}$" }),
            Shape::Country => json!({ "type": "string", "pattern": "^[A-Z]{2}$" }),
            Shape::Currency => json!({ "type": "string", "pattern": "^[A-Z]{3}$" }),
            Shape::Word(choice) => json!({ "enum": choice.words }),
            Shape::List(item) => json!({ "type": "array", "items": self.shape(item) }),
            Shape::OneOrList(item) => {
                let item = self.shape(item);
                json!({ "anyOf": [ item.clone(), { "type": "array", "items": item } ] })
            }
            Shape::Map(table) => self.reference(table),
            Shape::Each(_, value) => json!({ "type": "object", "additionalProperties": self.shape(value) }),
            Shape::Either(shapes) => {
                let choices: Vec<Value> = shapes.iter().filter(|shape| !is_only_later(shape)).map(|shape| self.shape(shape)).collect();
                json!({ "anyOf": choices })
            }
            Shape::Provider => self.provider(),
            Shape::Type => {
                let name = "type";
                self.definitions.entry(name.into()).or_insert_with(|| {
                    json!({ "anyOf": [
                        { "type": "string" },
                        { "type": "array", "items": { "$ref": "#/$defs/type" }, "minItems": 1, "maxItems": 1 },
                        { "type": "object", "additionalProperties": { "$ref": "#/$defs/type" } },
                    ] })
                });
                json!({ "$ref": "#/$defs/type" })
            }
            Shape::Condition => self.reference(&condition::CONDITION),
            Shape::Properties | Shape::Content => json!({ "type": "object" }),
            Shape::Anything => json!({}),
        }
    }

    /// One alternative for each kind: its own keys beside the common ones.
    fn provider(&mut self) -> Value {
        let mut choices = Vec::new();
        for (kind, own) in provider::kinds() {
            let mut schema = self.table(&provider::PROVIDER);
            let more = self.table(own);
            for (key, value) in more {
                match (schema.get_mut(&key), value) {
                    (Some(Value::Object(into)), Value::Object(more)) => into.extend(more),
                    (Some(Value::Array(into)), Value::Array(more)) => into.extend(more),
                    _ => {}
                }
            }
            if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                properties.insert("kind".into(), json!({ "const": kind, "description": "What it is" }));
            }
            choices.push(Value::Object(schema));
        }
        json!({ "oneOf": choices })
    }
}

fn is_only_later(shape: &Shape) -> bool {
    matches!(shape, Shape::Word(choice) if choice.words.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_reference_of_a_schema_leads_somewhere() {
        for (name, text) in super::schemas() {
            let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
            for reference in text.split("\"#/$defs/").skip(1) {
                let target = reference.split('"').next().unwrap();
                assert!(schema["$defs"][target].is_object(), "{name}: {target}");
            }
        }
    }
}
