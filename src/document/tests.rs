//! What a document may be, and how its faults are told.

use std::time::{Duration, Instant};

use super::*;

const LIMITS: Limits = Limits { bytes: 64 * 1_024, depth: 16 };

fn document(text: &str) -> Document {
    Document::parse(text, Some(Path::new("a.yaml")), LIMITS).unwrap()
}

fn refused(text: &str) -> Vec<String> {
    let faults = Document::parse(text, Some(Path::new("a.yaml")), LIMITS).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

fn faults_of<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Vec<String> {
    let Err(faults) = document(text).read(read) else { panic!("`{text}` was accepted") };
    faults.iter().map(ToString::to_string).collect()
}

fn line_of(text: &str, path: &str) -> Option<usize> {
    document(text).outline.line_of(path)
}

#[test]
fn all_faults_are_reported_at_once_and_in_order() {
    let text = "name: 7\nsize: many\nrefresh:\n  rotates: sometimes\n  replay: true\nextra: 1\n";
    let faults = faults_of(text, |section| {
        section.required("name", Node::text);
        section.required("absent", Node::text);
        section.optional("size", |node| node.number(1..=10));
        section.section("refresh", |refresh| {
            refresh.optional("rotates", |node| node.one_of(&[("yes", 1), ("no", 0)]));
            refresh.optional("replays", Node::boolean);
        });
        Some(())
    });
    assert_eq!(
        faults,
        [
            "a.yaml:1: name: must be text — put the value in quotes",
            "a.yaml:2: size: must be a whole number from 1 to 10",
            "a.yaml:4: refresh.rotates: must be one of `yes`, `no`",
            "a.yaml:5: refresh.replay: is not a known key — did you mean `replays`?",
            "a.yaml:6: extra: is not a known key — known here: absent, name, refresh, size",
            "a.yaml: absent: must be given",
        ]
    );
}

#[test]
fn a_word_where_a_truth_value_is_wanted_explains_the_mend() {
    let read = |text: &str| faults_of(text, |section| section.optional("on", Node::boolean)).join("\n");
    assert!(read("\"on\": yes").contains("write `true`: in YAML 1.2"));
    assert!(read("\"on\": off").contains("write `false`: in YAML 1.2"));
    assert!(read("\"on\": 'true'").contains("remove the quotes"));
    assert!(read("\"on\": 1").contains("write `true` or `false`"));
}

#[test]
fn no_fault_repeats_a_value() {
    for text in ["key: hunter2", "key: [hunter2]", "key: {hunter2: 1}", "key: \"hunter2", "key: - hunter2"] {
        let faults = match Document::parse(text, None, LIMITS) {
            Ok(document) => document.read(|section| section.optional("key", |node| node.number(1..=2))).unwrap_err(),
            Err(faults) => faults,
        };
        assert!(!format!("{faults:?}").contains("hunter2"), "`{text}`: {faults:?}");
    }
}

#[test]
fn every_field_of_block_style_has_its_line() {
    let text = "# comment\n\na: 1\nb:\n  c: |\n    x: y\n    - z\n  d:\n  - one\n  - e: 2\n    f: 3\n  g: plain\n    goes on: here\n\"h i\": 'quoted\n  over: lines'\nj: 4\n";
    for (path, line) in
        [("a", 3), ("b.c", 5), ("b.d", 8), ("b.d[0]", 9), ("b.d[1].e", 10), ("b.d[1].f", 11), ("b.g", 12), ("h i", 14)]
    {
        let found = Outline::of(text, 16).unwrap_or_default().line_of(path);
        assert_eq!(found, Some(line), "{path}");
    }
    assert_eq!(Outline::of(text, 16).unwrap_or_default().line_of("j"), Some(16));
}

#[test]
fn every_field_of_flow_style_has_its_line() {
    let text = "a: {b: 1,\n  c: [x, {d: 2}],\n  'e': \"f\"}\r\ng: [\n  h, # i\n  j]\n";
    for (path, line) in
        [("a.b", 1), ("a.c", 2), ("a.c[1].d", 2), ("a.e", 3), ("g", 4), ("g[0]", 5), ("g[1]", 6), ("a.c[1].d.x", 2)]
    {
        assert_eq!(line_of(text, path), Some(line), "{path}");
    }
}

#[test]
fn a_key_given_twice_is_a_fault() {
    let twice = "a.yaml:3: b.c: is given twice — the first one is on line 2; keep one";
    assert_eq!(refused("b:\n  c: 1\n  c: 2\n"), [twice]);
    assert_eq!(refused("b: {\n  c: 1,\n  c: 2}\n"), [twice]);
    assert!(Document::parse("a: {x: 1}\nb: {x: 1}\nc:\n- x: 1\n- x: 1\n", None, LIMITS).is_ok());
}

#[test]
fn anchors_aliases_tags_and_directives_are_refused() {
    for text in [
        "a: &x 1",
        "a: *x",
        "- *x",
        "&x a: 1",
        "a:\n  &x b: 1",
        "a: [1, *x]",
        "a: {b: &x 1}",
        "? *x",
        "a: |\n  text\nb: *x",
        "a: \"q\n  q\"\nb: *x",
        "a:\n- b: c\n  d: *x",
        "--- *x",
    ] {
        let faults = refused(text).join("\n");
        assert!(faults.contains("anchor or alias") || faults.contains("`?`"), "`{text}`: {faults}");
    }
    assert!(refused("[]: *x").join("").contains("goes on after its closing bracket"));
    assert!(refused("a: !!binary aGk=").join("").contains("uses a tag"));
    assert!(refused("%YAML 1.1\n---\na: 1").join("").contains("directive"));
    assert!(refused("a: 1\n\tb: 2").join("").contains("tab"));
    assert!(Document::parse("a: x & y * z ! %\nb: '*x'\nc: |\n  *x &y\n", None, LIMITS).is_ok());
}

#[test]
fn hidden_characters_are_refused() {
    for text in ["a: 1 # x\u{2028}b: *x", "a: \u{202e}1", "a: 1\rb: 2", "a: \u{0}", "a: 1\u{85}b: 2", "a: \u{feff}1"] {
        assert!(refused(text).join("").contains("hidden character"), "{text:?}");
    }
    assert!(Document::parse("\u{feff}a: 1\r\nb: é\r\n", None, LIMITS).is_ok());
}

#[test]
fn hostile_documents_are_refused_quickly() {
    let began = Instant::now();
    let bomb: String = (1..9).fold("a0: &a0 [x]\n".into(), |text: String, level| {
        let aliases = vec![format!("*a{}", level - 1); 9].join(",");
        format!("{text}a{level}: &a{level} [{aliases}]\n")
    });
    assert!(refused(&bomb).join("").contains("anchor"));
    assert!(refused(&"[".repeat(60_000)).join("").contains("nested too deeply"));
    assert!(refused(&format!("a: {}", "{a: ".repeat(10_000))).join("").contains("nested too deeply"));
    assert!(refused(&"- ".repeat(30_000)).join("").contains("nested too deeply"));
    assert!(refused(&"a: 1\n".repeat(300_000)).join("").contains("larger than 64 KiB"));
    assert!(refused("a: 1\n---\nb: 2").join("").contains("more than one document"));
    assert!(refused("a: [1").join("").contains("is not valid YAML"));
    assert!(refused("just text").join("").contains("must be keys with values"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_syntax_fault_has_its_line_and_says_what_it_is() {
    let faults = refused("a: 1\nb: c: d\n").join("\n");
    assert!(faults.starts_with("a.yaml:2: is not valid YAML: mapping values are not allowed"), "{faults}");
}

#[test]
fn a_variable_overrides_the_file_and_is_named_in_faults() {
    let mut document = document("store:\n  kind: embedded\n");
    document.set(&["store", "kind"], "X_STORE__KIND", "memory");
    document.set(&["id"], "X_ID", "0123");
    document.set(&["listen"], "X_LISTEN", "[::1]:50051");
    let read = |section: &mut Section<'_>| {
        assert_eq!(section.optional("id", Node::text), Some("0123"));
        assert_eq!(section.optional("listen", Node::text), Some("[::1]:50051"));
        section
            .section("store", |store| store.optional("kind", |node| node.one_of(&[("embedded", ()), ("redis", ())])));
        Some(())
    };
    let faults = document.read(read).unwrap_err();
    assert_eq!(faults[0].to_string(), "X_STORE__KIND: store.kind: must be one of `embedded`, `redis`");
}

#[test]
fn expansion_attempts_stay_literal() {
    let document = document("a: ${HOME}\nb: $(id)\nc: '%{ENV}'\n");
    let read = |section: &mut Section<'_>| {
        assert_eq!(section.required("a", Node::text), Some("${HOME}"));
        assert_eq!(section.required("b", Node::text), Some("$(id)"));
        section.required("c", Node::text).map(str::to_owned)
    };
    assert_eq!(document.read(read).unwrap(), "%{ENV}");
}

#[test]
fn a_file_that_anybody_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, "a: 1\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(Document::load(&path, LIMITS).unwrap_err()[0].to_string().contains("may be written by anybody"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Document::load(&path, LIMITS).is_ok());
    std::fs::write(&path, vec![b'#'; 1_048_576]).unwrap();
    assert!(Document::load(&path, LIMITS).unwrap_err()[0].to_string().contains("larger than 64 KiB"));
    assert!(Document::load(folder.path(), LIMITS).unwrap_err()[0].to_string().contains("is not a file"));
}

/// Pieces of YAML that mean something together.
fn yaml_text() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let pieces = [
        "*zz", "&a ", "a", "b: ", "- ", ": ", "\n", "\n  ", "\n    ", " ", "[", "]", "{", "}", ", ", "\"", "'", "''",
        "#", " # ", "|\n", ">-\n", "? ", "! ", "---\n", "--- ", "...\n", "\t", "\\", "k:\n", "x:", ":", "-", "é",
    ];
    proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn no_alias_gets_past_the_outline(text in yaml_text()) {
        if Outline::of(&text, 16).is_ok() {
            let parsed: Result<Value, _> = serde_yaml::from_str(&text);
            let alias = parsed.is_err_and(|error| error.to_string().contains("unknown anchor"));
            proptest::prop_assert!(!alias, "the parser met an alias in {:?}", text);
        }
    }
}
