//! `docs/actions*.md` describe every action and every parameter that there is, each once, and no other.

use pointsman::actions::Registry;

fn pages() -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("actions")));
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).expect("readable")).collect()
}

/// The parameters in the first cell of a table's row: one or several, `expect.status` as `expect`.
fn keys_of_row(line: &str) -> Vec<&str> {
    let cell = line.strip_prefix("| `").and_then(|rest| rest.split('|').next());
    cell.map(|cell| cell.split('`').step_by(2).map(|key| key.split('.').next().unwrap_or(key)).collect()).unwrap_or_default()
}

#[test]
fn every_action_and_parameter_is_described() {
    let text = pages();
    let sections: Vec<(&str, &str)> = text.split("\n## `").skip(1).filter_map(|section| section.split_once('`')).collect();
    let specs = Registry::standard().specs();
    for spec in &specs {
        let name = spec.name.as_str();
        let found: Vec<&str> = sections.iter().filter(|(title, _)| *title == name).map(|(_, section)| *section).collect();
        let [section] = found.as_slice() else { panic!("docs/actions*.md have {} sections `{name}`, not one", found.len()) };
        let properties = spec.parameters["properties"].as_object().expect("a map");
        let described: Vec<&str> = section.lines().flat_map(keys_of_row).collect();
        for key in properties.keys() {
            assert!(described.contains(&key.as_str()), "docs/actions*.md: `{name}` lacks the parameter `{key}`");
        }
        for key in described {
            assert!(properties.contains_key(key), "docs/actions*.md: `{name}` has no parameter `{key}`");
        }
        assert!(section.contains("Dry run"), "docs/actions*.md: `{name}` does not say what a dry run does");
    }
    for (title, _) in sections {
        assert!(specs.iter().any(|spec| spec.name.as_str() == title), "docs/actions*.md describe `{title}`, which is no action");
    }
}
