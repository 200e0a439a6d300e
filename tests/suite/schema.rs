//! Validates JSON against schemas: the keywords that the schemas of `docs/schemas` use.
//!
//! A crate for all of JSON Schema brings some 40 packages, and makes the tests' build of all that
//! uses `serde_json` another than the program's. A keyword that is not known here is an error, so
//! no schema is stricter than this.

use serde_json::{Map, Value};

/// Keywords that say nothing about a value.
const REMARKS: [&str; 4] = ["$schema", "$defs", "title", "description"];

/// A schema document.
pub struct Schema(Value);

impl Schema {
    pub fn parse(text: &str) -> Schema {
        Schema(serde_json::from_str(text).expect("a schema is JSON"))
    }

    /// Returns all reasons for which a value is not valid.
    pub fn errors(&self, value: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        self.check(&self.0, value, "$", &mut errors);
        errors
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, errors: &mut Vec<String>) {
        let schema = schema.as_object().expect("a schema is an object");
        for (keyword, given) in schema {
            match keyword.as_str() {
                remark if REMARKS.contains(&remark) => {}
                "$ref" => {
                    let pointer = given.as_str().and_then(|text| text.strip_prefix('#')).expect("within the document");
                    self.check(self.0.pointer(pointer).expect("it is defined"), value, at, errors);
                }
                "const" if given == value => {}
                "enum" if given.as_array().is_some_and(|all| all.contains(value)) => {}
                "type" if is_of_type(given, value) => {}
                "const" | "enum" | "type" => errors.push(format!("{at}: {value} is not {keyword} {given}")),
                "minimum" => {
                    let (number, least) = (value.as_f64(), given.as_f64().expect("a number"));
                    if number.is_some_and(|number| number < least) {
                        errors.push(format!("{at}: {value} is less than {least}"));
                    }
                }
                "items" => {
                    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(given, item, &format!("{at}[{number}]"), errors);
                    }
                }
                "properties" | "required" | "additionalProperties" => {
                    if let Some(object) = value.as_object() {
                        self.check_members(schema, keyword, object, at, errors);
                    }
                }
                "oneOf" => {
                    let choices = given.as_array().expect("a list");
                    let tried = choices.iter().map(|choice| {
                        let mut errors = Vec::new();
                        self.check(choice, value, at, &mut errors);
                        errors
                    });
                    let tried: Vec<_> = tried.collect();
                    if tried.iter().filter(|errors| errors.is_empty()).count() != 1 {
                        errors.push(format!("{at}: not one of the choices: {tried:#?}"));
                    }
                }
                other => panic!("the keyword `{other}` is not known here"),
            }
        }
    }

    fn check_members(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        object: &Map<String, Value>,
        at: &str,
        errors: &mut Vec<String>,
    ) {
        let given = &schema[keyword];
        let known = schema.get("properties").and_then(Value::as_object);
        match keyword {
            "required" => {
                let names = given.as_array().expect("a list").iter().filter_map(Value::as_str);
                let missing = names.filter(|name| !object.contains_key(*name));
                errors.extend(missing.map(|name| format!("{at}: `{name}` is missing")));
            }
            "properties" => {
                for (name, schema) in given.as_object().expect("an object") {
                    if let Some(value) = object.get(name) {
                        self.check(schema, value, &format!("{at}.{name}"), errors);
                    }
                }
            }
            _ => {
                for (name, value) in object.iter().filter(|(name, _)| !known.is_some_and(|k| k.contains_key(*name))) {
                    match given {
                        Value::Bool(false) => errors.push(format!("{at}: `{name}` is not described")),
                        Value::Bool(true) => {}
                        schema => self.check(schema, value, &format!("{at}.{name}"), errors),
                    }
                }
            }
        }
    }
}

fn is_of_type(given: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("there is no type `{other}`"),
    };
    match given {
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        name => is(name.as_str().expect("a name")),
    }
}

#[test]
fn values_are_held_to_their_schema() {
    let schema = Schema::parse(
        r##"{
            "type": "object", "required": ["a", "b"], "additionalProperties": false,
            "properties": {
                "a": { "type": ["integer", "null"], "minimum": 0 }, "b": { "type": "array", "items": { "enum": ["x"] } },
                "c": { "oneOf": [{ "$ref": "#/$defs/text" }, { "const": 1 }] }
            },
            "$defs": { "text": { "type": "string" } }
        }"##,
    );
    for valid in [r#"{"a":1,"b":[]}"#, r#"{"a":null,"b":["x","x"],"c":"t"}"#, r#"{"a":0,"b":[],"c":1}"#] {
        assert_eq!(schema.errors(&serde_json::from_str(valid).unwrap()), [""; 0], "{valid}");
    }
    for invalid in [
        "[]",
        r#"{"a":1}"#,
        r#"{"a":-1,"b":[]}"#,
        r#"{"a":1.5,"b":[]}"#,
        r#"{"a":1,"b":["y"]}"#,
        r#"{"a":1,"b":[],"c":2}"#,
        r#"{"a":1,"b":[],"d":1}"#,
    ] {
        assert_eq!(schema.errors(&serde_json::from_str(invalid).unwrap()).len(), 1, "{invalid}");
    }
}
