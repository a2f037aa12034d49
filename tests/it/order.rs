//! `src/lib.rs` lists the modules in dependency order: each uses only modules listed before it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
fn each_module_uses_only_modules_listed_before_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let lib = std::fs::read_to_string(root.join("lib.rs")).unwrap();
    let order: Vec<&str> = lib.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(order.len() > 15, "lib.rs lists the modules with `pub mod`");
    let rank: BTreeMap<&str, usize> = order.iter().enumerate().map(|(rank, module)| (*module, rank)).collect();
    let mut wrong = Vec::new();
    for module in &order {
        for file in files_of(&root, module) {
            let text = std::fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                if line.trim_start().starts_with("//") {
                    continue;
                }
                for used in line.split("crate::").skip(1).flat_map(names) {
                    if let Some(used_rank) = rank.get(used.as_str())
                        && *used_rank > rank[module]
                    {
                        wrong.push(format!("{}:{} uses {used}, which is listed later", file.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first names behind `crate::`, also of `crate::{a, b::c}`.
fn names(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    match rest.strip_prefix('{') {
        None => vec![word(rest)],
        Some(list) => list.split(',').map(word).collect(),
    }
}

fn files_of(root: &Path, module: &str) -> Vec<PathBuf> {
    let single = root.join(format!("{module}.rs"));
    let mut found = if single.exists() { vec![single] } else { Vec::new() };
    let mut folders = vec![root.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
