//! Reads Rust source just well enough to tell which paths it names. No more grammar lives here than the rules need.

use std::collections::HashMap;
use std::iter::Peekable;
use std::path::Path;

/// A path as the compiler would see it, with imports, `self` and `super` resolved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
}

/// One name a `use` brings into the file.
struct Import {
    line: usize,
    segments: Vec<String>,
    alias: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Joint,
    Mark(char),
}

type Tokens<'a> = Peekable<std::vec::IntoIter<(usize, Token<'a>)>>;

/// The paths that the shipped part of a file under `src/` names.
pub(crate) fn names(file: &str, source: &str) -> Vec<Named> {
    let code = shipped(source);
    let module = module_of(file);
    let (imports, mut inline, submodules) = scan(&code);
    let mut local: HashMap<String, Vec<String>> = HashMap::new();
    for module in submodules {
        local.insert(module.clone(), vec!["self".into(), module]);
    }
    for import in &imports {
        if let Some(name) = import.alias.as_ref().or(import.segments.last()) {
            local.insert(name.clone(), import.segments.clone());
        }
    }
    for path in &mut inline {
        if let Some(meant) = path.segments.first().and_then(|first| local.get(first)) {
            path.segments.splice(..1, meant.iter().cloned());
        }
    }
    let imports = imports.into_iter().map(|import| Named { line: import.line, segments: import.segments });
    imports.chain(inline).map(|path| Named { segments: absolute(path.segments, &module), ..path }).collect()
}

/// The names of the modules a file declares.
pub(crate) fn submodules(source: &str) -> Vec<String> {
    scan(&code(source)).2
}

/// Whether a file is Rust.
pub(crate) fn is_rust(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "rs")
}

/// The module a file under `src/` is, from the root of the crate.
pub(crate) fn module_of(file: &str) -> Vec<String> {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    inner.split('/').filter(|part| !matches!(*part, "lib" | "mod")).map(str::to_owned).collect()
}

fn absolute(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let supers = segments.iter().take_while(|segment| *segment == "super").count();
    let own = segments.first().is_some_and(|segment| segment == "self");
    if supers == 0 && !own {
        return segments;
    }
    let kept = module.iter().take(module.len().saturating_sub(supers)).cloned();
    std::iter::once("crate".to_owned()).chain(kept).chain(segments.into_iter().skip(supers.max(1))).collect()
}

// === code without what the compiler ignores ===

/// The code of a file without its test modules, its lines where they were.
fn shipped(source: &str) -> String {
    let mut rest = &*code(source);
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("#[cfg(test)]") {
        out.push_str(before);
        rest = after;
        if !is_module(after) {
            continue;
        }
        let mut depth = 0_usize;
        let end = after.char_indices().find_map(|(at, c)| {
            depth = match c {
                '{' => depth + 1,
                '}' => depth.saturating_sub(1),
                _ => depth,
            };
            (depth == 0 && matches!(c, '}' | ';')).then_some(at + 1)
        });
        let (module, following) = after.split_at(end.unwrap_or(after.len()));
        out.extend(module.chars().filter(|c| *c == '\n'));
        rest = following;
    }
    out + rest
}

/// Whether a module follows, behind whatever attributes and visibility it has.
fn is_module(code: &str) -> bool {
    let mut item = code.trim_start();
    while let Some((_, following)) = item.strip_prefix("#[").and_then(|attribute| attribute.split_once(']')) {
        item = following.trim_start();
    }
    ["mod ", "pub mod ", "pub(crate) mod "].iter().any(|start| item.starts_with(start))
}

/// The source without comments and without the contents of literals, its lines where they were.
pub(crate) fn code(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let (false, Some(length)) = (in_word, raw_string(rest)) {
            length
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_char_literal(rest) {
            quoted(rest, '\'')
        } else {
            out.push(first);
            in_word = first.is_alphanumeric() || first == '_';
            rest = rest.split_at(first.len_utf8()).1;
            continue;
        };
        let (gone, following) = rest.split_at(skipped);
        out.push(' ');
        out.extend(gone.chars().filter(|c| *c == '\n'));
        in_word = false;
        rest = following;
    }
    out
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        match (previous, c) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                previous = c;
                continue;
            }
        }
        previous = ' ';
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let opened = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let body = opened.trim_start_matches('#');
    let hashes = opened.len() - body.len();
    let body = body.strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let prefix = text.len() - body.len();
    Some(body.find(&closing).map_or(text.len(), |at| prefix + at + closing.len()))
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Tells `'a'` from the lifetime `'a`.
fn is_char_literal(text: &str) -> bool {
    let mut following = text.chars().skip(1);
    following.next().is_some_and(|c| c == '\\') || following.next().is_some_and(|c| c == '\'')
}

// === paths ===

/// The imports, the paths in the rest of the code, and the modules declared.
fn scan(code: &str) -> (Vec<Import>, Vec<Named>, Vec<String>) {
    let (mut imports, mut inline, mut submodules) = (Vec::new(), Vec::new(), Vec::new());
    let mut tokens: Tokens<'_> = tokens(code).into_iter().peekable();
    let mut previous = Token::Mark(' ');
    while let Some((line, token)) = tokens.next() {
        match token {
            Token::Word("use") if !matches!(tokens.peek(), Some((_, Token::Mark('<')))) => {
                use_tree(&mut tokens, &[], &mut imports);
            }
            Token::Word("mod") => {
                if let Some((_, Token::Word(name))) = tokens.peek() {
                    submodules.push((*name).to_owned());
                }
            }
            // What follows `>::` belongs to a type, and is not a path of its own.
            Token::Joint if previous == Token::Mark('>') => {
                tokens.next();
            }
            Token::Word(word) => {
                let mut segments = vec![word.to_owned()];
                while tokens.next_if(|(_, token)| *token == Token::Joint).is_some() {
                    let Some((_, Token::Word(next))) = tokens.next_if(|(_, token)| matches!(token, Token::Word(_)))
                    else {
                        break;
                    };
                    segments.push(next.to_owned());
                }
                if segments.len() > 1 {
                    inline.push(Named { line, segments });
                }
            }
            Token::Joint | Token::Mark(_) => {}
        }
        previous = token;
    }
    (imports, inline, submodules)
}

/// Reads one tree of a `use`, up to and without the mark that ends it.
fn use_tree(tokens: &mut Tokens<'_>, prefix: &[String], imports: &mut Vec<Import>) {
    let mut segments = prefix.to_vec();
    let mut alias = None;
    let mut at = 0;
    while let Some((line, token)) = tokens.next_if(|(_, token)| !matches!(token, Token::Mark(';' | ',' | '}'))) {
        at = line;
        match token {
            Token::Word("as") => {
                if let Some((_, Token::Word(name))) = tokens.next() {
                    alias = Some(name.to_owned());
                }
            }
            Token::Word("self") if !prefix.is_empty() => {}
            Token::Word(word) => segments.push(word.to_owned()),
            Token::Mark('{') => loop {
                use_tree(tokens, &segments, imports);
                if !matches!(tokens.next(), Some((_, Token::Mark(',')))) {
                    return;
                }
            },
            Token::Mark(mark) => segments.push(mark.to_string()),
            Token::Joint => {}
        }
    }
    if at != 0 {
        imports.push(Import { line: at, segments, alias });
    }
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match rest.find(|c| !is_word(c)) {
                Some(0) if rest.starts_with("::") => 2,
                Some(0) => first.len_utf8(),
                Some(length) => length,
                None => rest.len(),
            };
            let (text, following) = rest.split_at(length);
            let token = match text {
                "::" => Token::Joint,
                _ if is_word(first) => Token::Word(text),
                _ => Token::Mark(first),
            };
            tokens.push((number + 1, token));
            rest = following.trim_start();
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(file: &str, source: &str) -> Vec<String> {
        names(file, source).into_iter().map(|named| named.segments.join("::")).collect()
    }

    #[test]
    fn a_tree_of_imports_is_read_to_its_leaves() {
        let source = "use crate::{a::{self, B}, c::*, d as e};\npub(crate) use ::x::y;";
        assert_eq!(paths("src/lib.rs", source), ["crate::a", "crate::a::B", "crate::c::*", "crate::d", "x::y"]);
    }

    #[test]
    fn an_inline_path_is_read_through_the_import_it_begins_with() {
        let source = "use std::time::SystemTime as S;\nuse crate::store::redis;\nfn f() { S::now(); redis::get(); }";
        assert_eq!(paths("src/lib.rs", source)[2..], ["std::time::SystemTime::now", "crate::store::redis::get"]);
    }

    #[test]
    fn self_and_super_are_resolved_from_where_they_stand() {
        assert_eq!(
            paths("src/a/b.rs", "use super::super::c::D; use self::e::F;"),
            ["crate::c::D", "crate::a::b::e::F"]
        );
        assert_eq!(
            paths("src/a/mod.rs", "mod redis; fn f() { super::c::g(); redis::h(); }"),
            ["crate::c::g", "crate::a::redis::h"]
        );
    }

    #[test]
    fn comments_literals_and_test_modules_name_nothing() {
        let source = concat!(
            "//! [`a::b`]\n/* c::d /* e::f */ g::h */ fn f<'a>(x: &'a str) { (\"i::j \\\" k::l\", 'm', '\\'', r#\"n::o\" \"#); }\n",
            "#[cfg(test)]\nmod tests { use p::q; fn g() { if true {} } }\nfn h() { r::s(); }",
        );
        let found = names("src/lib.rs", source);
        assert_eq!(found, [Named { line: 5, segments: vec!["r".into(), "s".into()] }]);
    }

    #[test]
    fn a_test_module_is_one_behind_attributes_and_visibility_too() {
        for head in ["mod t", "#[expect(a::b, reason = \"[c]\")]\npub(crate) mod t"] {
            assert_eq!(paths("src/lib.rs", &format!("#[cfg(test)]\n{head} {{ use d::e; }}")), Vec::<String>::new());
        }
        assert_eq!(paths("src/lib.rs", "#[cfg(test)]\nuse d::e;"), ["d::e"]);
    }

    #[test]
    fn a_method_of_a_qualified_type_is_not_a_path_of_its_own() {
        assert_eq!(paths("src/lib.rs", "fn f() { <a::B as c::D>::e(); G::<a::H>::new(); }"), ["a::B", "c::D", "a::H"]);
    }
}
