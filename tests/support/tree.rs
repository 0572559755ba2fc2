//! The source tree, parsed by `syn`: the files that are compiled into the library, and the tokens of these files outside
//! of tests.
//!
//! An item under `#[cfg(test)]` is left out. A file is left out if all `mod` declarations of the file are under
//! `#[cfg(test)]`. Comments are not tokens. A path is found even if it is written over several lines or renamed in
//! a `use`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The files of a crate.
pub struct Tree {
    /// Files of the library, in alphabetical order.
    pub files: Vec<File>,
    /// Names of the files that only tests use.
    pub tests: BTreeSet<String>,
    /// Names of the files that no `mod` declares.
    pub strays: BTreeSet<String>,
    /// Name of each library file, by the path of its module.
    pub modules: BTreeMap<Vec<String>, String>,
}

/// A file of the library, without its tests.
#[derive(Clone)]
pub struct File {
    /// Path below `src`, with slashes.
    pub name: String,
    /// Path of the module, such as `pool::policy`.
    pub module: Vec<String>,
    /// Contents of the file.
    pub text: String,
    /// Tokens outside of tests, in order.
    pub tokens: Vec<Token>,
    /// Number of lines with a token outside of tests.
    pub lines: usize,
}

/// One token: an identifier, a literal, a punctuation mark, or one bracket. `::` counts as one punctuation mark.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// A path in the code, such as `std::time::Instant::now`. A path into this crate begins with `crate`.
#[derive(Clone, Debug)]
pub struct Used {
    pub path: Vec<String>,
    pub line: usize,
}

impl Tree {
    /// Returns the tree of the files in `texts`, which are given by their names. `lib.rs` is the root.
    pub fn of(texts: &BTreeMap<String, String>) -> Self {
        let (mut files, mut tests) = (BTreeMap::new(), BTreeSet::new());
        let mut left = vec![("lib.rs".to_owned(), Vec::new())];
        while let Some((name, module)) = left.pop() {
            let text = texts.get(&name).unwrap_or_else(|| panic!("there is no src/{name}"));
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{name}: {error}"));
            for declared in declared(&parsed.items, &name, texts) {
                if declared.is_test {
                    tests.insert(declared.file);
                } else {
                    let mut module: Vec<String> = module.clone();
                    module.push(declared.module);
                    left.push((declared.file, module));
                }
            }
            files.insert(name.clone(), File::new(name, module, text));
        }
        // The modules that a test file declares are also test files.
        let mut below: Vec<_> = tests.iter().cloned().collect();
        while let Some(name) = below.pop() {
            let text = texts.get(&name).unwrap_or_else(|| panic!("there is no src/{name}"));
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{name}: {error}"));
            for declared in declared(&parsed.items, &name, texts) {
                if tests.insert(declared.file.clone()) {
                    below.push(declared.file);
                }
            }
        }
        tests.retain(|name| !files.contains_key(name));
        let is_stray = |name: &&String| !files.contains_key(*name) && !tests.contains(*name);
        let strays = texts.keys().filter(is_stray).cloned().collect();
        let files: Vec<_> = files.into_values().collect();
        let modules = files.iter().map(|file| (file.module.clone(), file.name.clone())).collect();
        Self { files, tests, strays, modules }
    }

    /// Returns the name of the file that a path leads into: the file of the longest module that the path begins
    /// with.
    pub fn file_of(&self, path: &[String]) -> Option<&str> {
        (0..=path.len()).rev().find_map(|length| Some(&**self.modules.get(&path[..length])?))
    }
}

impl File {
    /// Parses the text of one file and returns the file.
    pub fn new(name: String, module: Vec<String>, text: &str) -> Self {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{name}: {error}"));
        let mut tests = Tests::default();
        tests.visit_file(&parsed);
        let stream = text.parse().unwrap_or_else(|error| panic!("src/{name}: {error}"));
        let mut tokens = Vec::new();
        flatten(stream, &tests.found, &mut tokens);
        let lines = tokens.iter().map(|token| token.line).collect::<BTreeSet<_>>().len();
        Self { name, module, text: text.to_owned(), tokens, lines }
    }

    /// Returns every place in the file at which a sequence of tokens occurs, such as `Instant :: now`.
    pub fn find(&self, sought: &str) -> Vec<String> {
        let sought: Vec<_> = sought.split(' ').collect();
        let is_there = |at: &[Token]| at.iter().map(|token| &*token.text).eq(sought.iter().copied());
        let found = self.tokens.windows(sought.len()).filter(|at| is_there(at));
        found.map(|at| self.at(at[0].line)).collect()
    }

    /// Returns every place in the file at which one of these words occurs.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        words.iter().flat_map(|word| self.find(word)).collect()
    }

    /// Returns every path in the code, in `use` or elsewhere.
    pub fn paths(&self) -> Vec<Used> {
        let (mut found, mut at) = (Vec::new(), 0);
        let text = |at: Option<usize>| at.and_then(|at| self.tokens.get(at)).map_or("", |token| &*token.text);
        while at < self.tokens.len() {
            let (before, earlier) = (text(at.checked_sub(1)), text(at.checked_sub(2)));
            // A path may begin with `::`. The `crate` of `pub(crate)` does not begin a path.
            let is_start = before != "::" || !is_word(earlier) && earlier != ">";
            let is_visibility = before == "(" && earlier == "pub" || before == "in";
            if is_word(&self.tokens[at].text) && is_start && !is_visibility {
                at = self.path(at, &[], &mut found);
            } else {
                at += 1;
            }
        }
        for used in &mut found {
            self.make_absolute(used);
        }
        found
    }

    /// Returns the file name and the line, in the form that a failing test prints.
    pub fn at(&self, line: usize) -> String {
        let text = self.text.lines().nth(line - 1).unwrap_or_default().trim();
        format!("src/{}:{line}: {text}", self.name)
    }

    /// Adds the paths that begin at the token `at` to `found`, and follows the braces of a `use`. Returns the position of the
    /// first token after these paths.
    fn path(&self, mut at: usize, prefix: &[String], found: &mut Vec<Used>) -> usize {
        let text = |at: usize| self.tokens.get(at).map_or("", |token| &*token.text);
        let (mut path, line) = (prefix.to_vec(), self.tokens[at].line);
        loop {
            match text(at) {
                "{" => {
                    at += 1;
                    while text(at) != "}" && at < self.tokens.len() {
                        at = match text(at) {
                            word if is_word(word) || word == "*" || word == "{" => {
                                self.path(at, &path, found)
                            }
                            _ => at + 1,
                        };
                    }
                    return at + 1;
                }
                word if is_word(word) || word == "*" => path.push(word.to_owned()),
                _ => break,
            }
            at += 1;
            if text(at) != "::" || text(at - 1) == "*" {
                break;
            }
            at += 1;
        }
        if text(at) == "as" && is_word(text(at + 1)) && !prefix.is_empty() {
            at += 2;
        }
        found.push(Used { path, line });
        at
    }

    /// Rewrites a path that begins with `self` or `super` so that it begins with `crate`.
    fn make_absolute(&self, used: &mut Used) {
        let mut module: Vec<_> = std::iter::once("crate".to_owned()).chain(self.module.clone()).collect();
        if !used.path.first().is_some_and(|first| ["self", "super"].contains(&&**first)) {
            return;
        }
        let mut rest = used.path.as_slice();
        while let Some((first, behind)) = rest.split_first() {
            match &**first {
                "self" => {}
                "super" if module.len() > 1 => drop(module.pop()),
                _ => break,
            }
            rest = behind;
        }
        module.extend_from_slice(rest);
        used.path = module;
    }
}

impl Used {
    /// Whether the path begins with these names.
    pub fn starts_with(&self, names: &[&str]) -> bool {
        self.path.len() >= names.len() && self.path.iter().zip(names).all(|(name, other)| name == other)
    }
}

struct Declared {
    module: String,
    file: String,
    is_test: bool,
}

/// Returns the files that the `mod` declarations among `items` name.
fn declared(items: &[syn::Item], name: &str, texts: &BTreeMap<String, String>) -> Vec<Declared> {
    let mut found = Vec::new();
    for item in items {
        let syn::Item::Mod(declared) = item else { continue };
        if declared.content.is_some() {
            continue;
        }
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let module = declared.ident.to_string();
        let mut add = |file| {
            found.push(Declared { module: module.clone(), file, is_test: is_for_tests(item) });
        };
        let paths = paths_of(&declared.attrs);
        for (path, _) in &paths {
            add(join(folder, path));
        }
        if paths.iter().all(|(_, is_conditional)| *is_conditional) {
            let stem = name.rsplit('/').next().unwrap().trim_end_matches(".rs");
            let folder = if ["lib", "mod"].contains(&stem) { folder.to_owned() } else { join(folder, stem) };
            let flat = join(&folder, &format!("{module}.rs"));
            add(if texts.contains_key(&flat) { flat } else { join(&folder, &format!("{module}/mod.rs")) });
        }
    }
    found
}

/// Returns the files that `path` attributes name for a module, and for each whether its attribute has a condition.
fn paths_of(attributes: &[syn::Attribute]) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for attribute in attributes {
        let mut tokens = Vec::new();
        flatten(attribute.to_token_stream(), &[], &mut tokens);
        let is_conditional = attribute.path().is_ident("cfg_attr");
        for at in tokens.windows(3).filter(|at| at[0].text == "path" && at[1].text == "=") {
            found.push((at[2].text.trim_matches('"').to_owned(), is_conditional));
        }
    }
    found
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// Collects the places of items that are compiled for tests only.
#[derive(Default)]
struct Tests {
    /// Whether each node, from the root to the current node, has a `cfg` attribute.
    marks: Vec<bool>,
    found: Vec<Range<usize>>,
}

macro_rules! visit {
    ($($name:ident: $node:ident,)*) => {
        $(fn $name(&mut self, node: &'a syn::$node) {
            self.marks.push(false);
            visit::$name(self, node);
            // Turning a node into tokens is slow, so that only nodes with a `cfg` attribute are turned into tokens.
            if self.marks.pop() == Some(true) && is_for_tests(node) {
                self.found.push(node.span().byte_range());
            }
        })*
    };
}

impl<'a> Visit<'a> for Tests {
    visit! {
        visit_item: Item,
        visit_impl_item: ImplItem,
        visit_trait_item: TraitItem,
        visit_foreign_item: ForeignItem,
        visit_local: Local,
        visit_stmt_macro: StmtMacro,
        visit_expr: Expr,
        visit_field: Field,
        visit_field_value: FieldValue,
        visit_field_pat: FieldPat,
        visit_variant: Variant,
        visit_arm: Arm,
        visit_fn_arg: FnArg,
    }

    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        if let Some(mark) = self.marks.last_mut() {
            *mark |= attribute.path().is_ident("cfg");
        }
    }
}

/// Whether a node has an attribute of its own that leaves it out of the library: `cfg(test)`, or `cfg(all(test, ..))`.
/// Neither `cfg(any(test, ..))` nor `cfg(not(test))` leaves a node out.
fn is_for_tests(node: &impl ToTokens) -> bool {
    let mut tokens = node.to_token_stream().into_iter().peekable();
    while tokens.next_if(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == '#')).is_some() {
        let Some(TokenTree::Group(attribute)) = tokens.next() else { return false };
        let mut words = Vec::new();
        flatten(attribute.stream(), &[], &mut words);
        let words: Vec<_> = words.iter().map(|token| &*token.text).collect();
        if words == ["cfg", "(", "test", ")"] || words.starts_with(&["cfg", "(", "all", "(", "test", ","]) {
            return true;
        }
    }
    false
}

/// Appends the tokens of a stream to `out`, without those that lie in one of the ranges of `skipped`.
pub fn flatten(stream: TokenStream, skipped: &[Range<usize>], out: &mut Vec<Token>) {
    let mut is_joint = false;
    for token in stream {
        let (span, line) = (token.span().byte_range(), token.span().start().line);
        if skipped.iter().any(|range| range.contains(&span.start)) {
            is_joint = false;
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::None => ("", ""),
                };
                out.push(Token { text: open.to_owned(), line });
                flatten(group.stream(), skipped, out);
                out.push(Token { text: close.to_owned(), line: group.span_close().end().line });
                is_joint = false;
            }
            TokenTree::Punct(mark) => match out.last_mut() {
                Some(last) if is_joint && last.text == ":" && mark.as_char() == ':' => {
                    last.text.push(':');
                    is_joint = false;
                }
                _ => {
                    out.push(Token { text: mark.as_char().to_string(), line });
                    is_joint = mark.spacing() == Spacing::Joint;
                }
            },
            token => {
                out.push(Token { text: token.to_string(), line });
                is_joint = false;
            }
        }
    }
}

pub fn is_word(text: &str) -> bool {
    text.starts_with(|it: char| it.is_alphabetic() || it == '_')
}

/// Returns all Rust files below a folder.
pub fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the tests of a file that begin in paused time. Each test comes with a socket type that the test uses, or
/// that a function of the same file uses for the test. The type is `None` if there is none.
pub fn paused_tests(text: &str) -> Vec<(String, Option<String>)> {
    const SOCKETS: [&str; 6] =
        ["TcpListener", "TcpStream", "TcpSocket", "UdpSocket", "UnixListener", "UnixStream"];
    /// Words of each function, and the names of the functions that are tests in paused time.
    #[derive(Default)]
    struct Functions(BTreeMap<String, BTreeSet<String>>, Vec<String>);
    impl Functions {
        fn add(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], body: &impl ToTokens) {
            let mut tokens = Vec::new();
            flatten(body.to_token_stream(), &[], &mut tokens);
            let words = tokens.into_iter().map(|token| token.text).filter(|text| is_word(text));
            self.0.entry(name.to_string()).or_default().extend(words);
            let is_paused = |attribute: &syn::Attribute| {
                ToTokens::to_token_stream(attribute).to_string().contains("start_paused")
            };
            if attributes.iter().any(is_paused) {
                self.1.push(name.to_string());
            }
        }
    }
    impl<'a> Visit<'a> for Functions {
        fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
            self.add(&item.sig.ident, &item.attrs, &item.block);
            visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
            self.add(&item.sig.ident, &item.attrs, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }
    let mut functions = Functions::default();
    Visit::visit_file(&mut functions, &syn::parse_file(text).unwrap());
    let Functions(words, paused) = functions;
    let socket = |test: &String| {
        // A test that resumes time may use sockets.
        if words[test].contains("resume") {
            return None;
        }
        let (mut seen, mut left) = (BTreeSet::new(), vec![test]);
        while let Some(name) = left.pop() {
            if let Some(words) = words.get(name).filter(|_| seen.insert(name)) {
                if let Some(socket) = words.iter().find(|word| SOCKETS.contains(&&***word)) {
                    return Some(format!("{socket} in {name}"));
                }
                left.extend(words);
            }
        }
        None
    };
    paused.iter().map(|test| (test.clone(), socket(test))).collect()
}
