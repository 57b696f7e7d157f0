//! Writes for each message what the codec must know to weigh it before it is decoded.

use std::fmt::Write;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

const PACKAGE: &str = ".roadstead.v1.";

/// Rust source: an `impl Shaped` for every message of the package.
pub fn of(descriptors: &FileDescriptorSet) -> Result<String, Box<dyn std::error::Error>> {
    let mut out = String::new();
    let files = descriptors.file.iter();
    for file in files.filter(|file| file.package() == "roadstead.v1") {
        for message in &file.message_type {
            let name = message.name();
            let shape = shape(message)?;
            writeln!(out, "impl Shaped for v1::{name} {{")?;
            writeln!(out, "const SHAPE: &'static Shape = {shape};")?;
            // It carries what many callers asked for, each of which was weighed where it came in.
            if name == "PeerFrame" {
                writeln!(out, "const WEIGHED: bool = false;")?;
            }
            writeln!(out, "}}")?;
        }
    }
    Ok(out)
}

/// The fields by number, with nothing where a number is free.
fn shape(message: &DescriptorProto) -> Result<String, String> {
    let last = message.field.iter().map(FieldDescriptorProto::number).max();
    let mut fields = vec!["Field::Nothing".to_owned(); last.unwrap_or(0).unsigned_abs() as usize];
    for described in &message.field {
        let number = described.number().unsigned_abs() as usize;
        fields[number - 1] = field(message, described)?;
    }
    Ok(format!("&Shape(&[{}])", fields.join(", ")))
}

fn field(message: &DescriptorProto, field: &FieldDescriptorProto) -> Result<String, String> {
    let repeated = field.label() == Label::Repeated;
    Ok(match (field.r#type(), repeated) {
        (Type::Message, _) => return of_messages(message, field, repeated),
        (Type::Group, _) => return Err(format!("{} is a group", field.name())),
        (Type::String, false) => "Field::Text".to_owned(),
        (Type::String | Type::Bytes, true) => "Field::Texts".to_owned(),
        (_, true) => "Field::Numbers".to_owned(),
        // Bytes are slices of what was received.
        (_, false) => "Field::Nothing".to_owned(),
    })
}

fn of_messages(
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
    repeated: bool,
) -> Result<String, String> {
    let full = field.type_name();
    let last = full.rsplit('.').next().unwrap_or(full);
    let mut nested = message.nested_type.iter();
    if let Some(entry) = nested.find(|nested| nested.name() == last) {
        return Ok(format!("Field::Many(MAP_ENTRY, {})", shape(entry)?));
    }
    match (full.strip_prefix(PACKAGE), repeated) {
        (Some(name), false) => Ok(format!("Field::One(v1::{name}::SHAPE)")),
        (Some(name), true) => {
            let size = format!("size_of::<v1::{name}>()");
            Ok(format!("Field::Many({size}, v1::{name}::SHAPE)"))
        }
        // google.protobuf.Duration and Timestamp: two numbers.
        (None, false) => Ok("Field::Nothing".to_owned()),
        (None, true) => Err(format!("{full} is repeated: say what it weighs")),
    }
}
