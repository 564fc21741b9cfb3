//! Every rule has its page, and every page its rule.

use std::collections::BTreeSet;
use std::path::Path;

fn names(folder: &str, kind: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let of_kind = files.filter(|file| file.extension().is_some_and(|found| found == kind));
    of_kind.map(|file| file.file_stem().unwrap().to_str().unwrap().replace('_', "-")).collect()
}

#[test]
fn every_rule_has_its_page_and_every_page_its_rule() {
    let mut rules = names("src/rules", "rs");
    assert!(rules.remove("mod") && rules.remove("levels"));
    let mut pages = names("../../docs/rules", "md");
    assert!(pages.remove("README"));
    assert_eq!(rules, pages);
    let index =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules/README.md")).unwrap();
    let steps: BTreeSet<String> = assay_verifier::FIRST_STEPS.iter().map(|(rule, _)| (*rule).to_owned()).collect();
    assert_eq!(steps, rules, "and its first steps");
    for rule in &rules {
        assert!(index.contains(&format!("[`{rule}`]({rule}.md)")), "{rule} is not in the table");
    }
}
