//! Rust source without what is not code.

/// The source with comments and the contents of strings blanked out; lines stay where they are.
pub fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' if !follows_name(&chars, at) => match raw_string_end(&chars, at) {
                Some(end) => end,
                None => at,
            },
            '\'' => char_end(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            blank(&chars[at..end], &mut out);
            at = end;
        }
    }
    out
}

/// The source without what is compiled for tests only: items behind `#[cfg(test)]`.
///
/// Expects what [`code_only`] gives.
pub fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, item) = rest.split_at(at);
        out.push_str(before);
        let end = item_end(item);
        blank(&item[..end].chars().collect::<Vec<_>>(), &mut out);
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

/// The modules that the source names without giving their text, each with whether it is behind
/// `#[cfg(test)]`. One named within an inline module `a` is `a/b`.
pub fn declared_modules(code: &str) -> Vec<(String, bool)> {
    let mut modules = Vec::new();
    let mut for_tests = false;
    let mut inline: Vec<(&str, i32)> = Vec::new();
    let mut depth = 0;
    for line in code.lines().map(str::trim) {
        if line.starts_with("#[") {
            for_tests |= line.contains("cfg(test)") || line.contains("cfg(any(test");
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["mod", name, "{"] | [_, "mod", name, "{"] => inline.push((name, depth)),
            ["mod", name] | [_, "mod", name] if name.ends_with(';') => {
                let mut path: Vec<&str> = inline.iter().map(|(outer, _)| *outer).collect();
                path.push(name.trim_end_matches(';'));
                modules.push((path.join("/"), for_tests));
            }
            _ => {}
        }
        for brace in line.chars() {
            depth += i32::from(brace == '{') - i32::from(brace == '}');
        }
        inline.retain(|(_, opened_at)| depth > *opened_at);
        for_tests = for_tests && line.is_empty();
    }
    modules
}

fn blank(chars: &[char], out: &mut String) {
    out.extend(chars.iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
}

fn follows_name(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b'
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..]
        .iter()
        .position(|c| *c == '\n')
        .map_or(chars.len(), |length| at + length)
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let start = at + 1 + hashes;
    if chars.get(start) != Some(&'"') {
        return None;
    }
    let quoted = |at: usize| {
        chars[at..]
            .iter()
            .take(hashes)
            .filter(|c| **c == '#')
            .count()
    };
    let closes = |end: &usize| chars[*end] == '"' && quoted(end + 1) == hashes;
    Some(
        (start + 1..chars.len())
            .find(closes)
            .map_or(chars.len(), |end| end + 1 + hashes),
    )
}

/// The end of a character literal; of a lifetime, its quote only.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let end = chars[at + 3..].iter().position(|c| *c == '\'');
            end.map_or(chars.len(), |length| at + 3 + length + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Where the item that begins here ends: at its `;` or at the brace that closes its first one.
fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_are_blanked_and_lines_stay() {
        let source =
            "let a = \"x // \\\" y\"; // z\nlet b = 'c'; /* d /* e */\n f */ let g: &'h str;";
        let code = code_only(source);
        assert_eq!(code.lines().count(), 3);
        for gone in ["x", "y", "z", "'c'", " d ", " e ", " f "] {
            assert!(!code.contains(gone), "{gone} is left in {code}");
        }
        for kept in ["let a", "let b", "let g: &'h str;"] {
            assert!(code.contains(kept), "{kept} is gone from {code}");
        }
        assert!(!code_only("r#\"a \" b\"#; c").contains('a'));
        assert!(code_only("r#\"a \" b\"#; c").contains("; c"));
    }

    #[test]
    fn what_tests_hold_is_left_out() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { c() } }\n\
                    #[cfg(test)]\nuse d;\nfn e() {}";
        let left = without_tests(code);
        assert!(left.contains("fn a") && left.contains("fn e"), "{left}");
        assert!(!left.contains("c()") && !left.contains("use d"), "{left}");
        assert_eq!(left.lines().count(), code.lines().count());
    }

    #[test]
    fn declared_modules_are_found() {
        let inline = declared_modules("mod a {\n    pub mod b;\n}\nmod c;\n");
        assert_eq!(inline, [("a/b".to_owned(), false), ("c".to_owned(), false)]);
        let code = "mod a;\npub mod b;\npub(crate) mod c;\nmod d { }\n#[cfg(test)]\nmod e;\nmod f;";
        let found = declared_modules(code);
        let expected = [
            ("a", false),
            ("b", false),
            ("c", false),
            ("e", true),
            ("f", false),
        ];
        assert_eq!(
            found,
            expected.map(|(name, tests)| (name.to_owned(), tests))
        );
    }
}
