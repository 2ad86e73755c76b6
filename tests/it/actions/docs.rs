//! `docs/actions.md` describes every action and every parameter that there is, and no other.

use pointsman::actions::Registry;

#[test]
fn every_action_and_parameter_is_described() {
    let text = include_str!("../../../docs/actions.md");
    let sections: Vec<(&str, &str)> = text.split("\n## `").skip(1).filter_map(|section| section.split_once('`')).collect();
    for spec in Registry::standard().specs() {
        let name = spec.name.as_str();
        let section = sections.iter().find(|(title, _)| *title == name);
        let (_, section) = section.unwrap_or_else(|| panic!("docs/actions.md has no section `{name}`"));
        let properties = spec.parameters["properties"].as_object().expect("a map");
        let described: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        for key in properties.keys() {
            assert!(described.contains(&key.as_str()), "docs/actions.md: `{name}` lacks the parameter `{key}`");
        }
        for key in described {
            assert!(properties.contains_key(key), "docs/actions.md: `{name}` has no parameter `{key}`");
        }
        assert!(section.contains("Dry run:"), "docs/actions.md: `{name}` does not say what a dry run does");
    }
    let known: Vec<String> = Registry::standard().specs().iter().map(|spec| spec.name.to_string()).collect();
    for (title, _) in sections {
        assert!(known.iter().any(|name| name == title), "docs/actions.md describes `{title}`, which is no action");
    }
}
