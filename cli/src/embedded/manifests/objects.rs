//! The objects in a file or folder, as kubectl finds them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

/// The files of a folder that kubectl reads.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Every object in a file, or in every .yaml, .yml and .json file of a folder; those of a list are
/// taken out of it.
///
/// # Errors
/// Says which file, and what is no object in it.
pub fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for file in files(path)? {
        let show = file.display();
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {show}"))?;
        let json = file
            .extension()
            .is_some_and(|extension| extension == "json");
        let found = parse(&text, json).with_context(|| format!("{show} cannot be applied"))?;
        objects.extend(found);
    }
    Ok(objects)
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The objects in a text of one or more documents: YAML, or where that is said JSON, which may
/// hold tabs.
pub fn parse(text: &str, json: bool) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = if json {
        let documents = serde_json::Deserializer::from_str(text).into_iter();
        documents.collect::<Result<_, _>>()?
    } else {
        serde_saphyr::from_multiple(text)?
    };
    let mut objects = Vec::new();
    for document in documents {
        unpack(document, &mut objects)?;
    }
    if objects.is_empty() {
        bail!("it holds no object");
    }
    Ok(objects)
}

fn unpack(mut document: Value, objects: &mut Vec<Value>) -> anyhow::Result<()> {
    // Between two lines of dashes there may be nothing.
    if document.is_null() {
        return Ok(());
    }
    for key in ["kind", "apiVersion"] {
        if field(&document, key).is_empty() {
            let start: String = document.to_string().chars().take(60).collect();
            bail!("what begins with {start} has no {key}");
        }
    }
    let list = field(&document, "kind").ends_with("List");
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if list => {
            items.into_iter().try_for_each(|item| unpack(item, objects))
        }
        _ if list => bail!("a {} has no items", field(&document, "kind")),
        _ => {
            objects.push(document);
            Ok(())
        }
    }
}

/// A text in an object; empty where there is none.
pub fn field<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<String> {
        let objects = parse(text, false).unwrap();
        let kinds = objects
            .iter()
            .map(|object| field(object, "kind").to_owned());
        kinds.collect()
    }

    #[test]
    fn a_list_is_its_items() {
        let list = "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: A}, \
             {apiVersion: v1, kind: QueueList, items: [{apiVersion: v1, kind: B}]}]}";
        assert_eq!(
            kinds(&format!("{list}\n---\n---\napiVersion: v1\nkind: C\n")),
            ["A", "B", "C"]
        );
        assert!(parse("{apiVersion: v1, kind: List}", false).is_err());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "# nothing\n", "a: 1", "- a", "kind: Queue", "text"] {
            assert!(parse(text, false).is_err(), "{text:?}");
        }
        assert!(parse("{\n\t\"kind\": \"A\", \"apiVersion\": \"v1\"}", true).is_ok());
    }

    #[test]
    fn a_folder_is_read_as_kubectl_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yml", "c.json", "d.txt"] {
            let text = format!("{{\"apiVersion\": \"v1\", \"kind\": \"{name}\"}}");
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let objects = read(folder.path()).unwrap();
        let kinds: Vec<&str> = objects.iter().map(|object| field(object, "kind")).collect();
        assert_eq!(kinds, ["a.yaml", "b.yml", "c.json"]);
        std::fs::write(folder.path().join("b.yml"), "").unwrap();
        let error = format!("{:#}", read(folder.path()).unwrap_err());
        assert!(
            error.contains("b.yml") && error.contains("no object"),
            "{error}"
        );
    }
}
