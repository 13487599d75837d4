//! Fuzz tests: no input makes the macros panic, and their output parses as Rust. Mutates the declarations of `ui-tests`
//! for `DIALOGUE_FUZZ_SECONDS` (5); `DIALOGUE_FUZZ_SEED` repeats a run.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fastrand::Rng;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, DeriveInput, Item, Meta};

use super::{BOTH, expand_event, expand_rooms, expand_rules};
use crate::rooms::Sides;

/// An input of one of the macros.
#[derive(Clone)]
enum Input {
    Rooms(TokenStream),
    Event(TokenStream, TokenStream),
}

#[test]
fn no_input_makes_the_macros_panic() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let end = Instant::now() + Duration::from_secs(number("DIALOGUE_FUZZ_SECONDS").unwrap_or(5));
    let seed = number("DIALOGUE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut rng = Rng::with_seed(seed);
    let corpus = corpus();
    let words = words(&corpus);
    assert!(corpus.len() > 50, "the cases are not where they were");
    corpus.iter().for_each(|input| survive(input, seed));
    while Instant::now() < end {
        let Some(input) = rng.choice(&corpus) else { return };
        let changes = rng.usize(1..6);
        let input = (0..changes).fold(input.clone(), |input, _| input.mutated(&words, &mut rng));
        survive(&input, seed);
    }
}

fn survive(input: &Input, seed: u64) {
    let result = catch_unwind(AssertUnwindSafe(|| input.expand()));
    assert!(result.unwrap_or(false), "seed {seed}:\n{}", input.text());
}

impl Input {
    /// Expands the input; returns whether the output is free of errors.
    fn expand(&self) -> bool {
        match self {
            Input::Rooms(tokens) => [BOTH, Sides { server: false, client: false }]
                .into_iter()
                .all(|sides| syn::parse2::<syn::File>(expand_rooms(tokens, sides)).is_ok()),
            Input::Event(options, item) => {
                let code = expand_event(options.clone(), item.clone());
                // The compiler passes only such items to a derive.
                let rules = syn::parse2::<DeriveInput>(item.clone()).is_err()
                    || syn::parse2::<syn::File>(expand_rules(item.clone())).is_ok();
                syn::parse2::<Item>(item.clone()).is_err() || syn::parse2::<syn::File>(code).is_ok() && rules
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Input::Rooms(tokens) => format!("rooms! {{ {tokens} }}"),
            Input::Event(options, item) => format!("#[event({options})] {item}"),
        }
    }

    fn mutated(self, words: &[TokenTree], rng: &mut Rng) -> Input {
        match self {
            Input::Rooms(tokens) => Input::Rooms(mutate(tokens, words, rng)),
            Input::Event(options, item) if rng.bool() => Input::Event(mutate(options, words, rng), item),
            Input::Event(options, item) => Input::Event(options, mutate(item, words, rng)),
        }
    }
}

/// Makes one change at a random place and depth.
fn mutate(tokens: TokenStream, words: &[TokenTree], rng: &mut Rng) -> TokenStream {
    let mut trees: Vec<TokenTree> = tokens.into_iter().collect();
    let word = rng.choice(words).cloned();
    if trees.is_empty() {
        return word.into_iter().collect();
    }
    let at = rng.usize(..trees.len());
    if let TokenTree::Group(group) = &trees[at]
        && rng.u8(..4) > 0
    {
        trees[at] = Group::new(group.delimiter(), mutate(group.stream(), words, rng)).into();
        return trees.into_iter().collect();
    }
    match rng.u8(..6) {
        0 => drop(trees.remove(at)),
        1 => trees.insert(at, trees[at].clone()),
        2 => {
            let other = rng.usize(..trees.len());
            trees.swap(at, other);
        }
        3 => trees.truncate(at),
        4 => {
            const DELIMITERS: [Delimiter; 4] =
                [Delimiter::Parenthesis, Delimiter::Brace, Delimiter::Bracket, Delimiter::None];
            let inner = match &trees[at] {
                TokenTree::Group(group) => group.stream(),
                tree => tree.to_token_stream(),
            };
            trees[at] = Group::new(DELIMITERS[rng.usize(..4)], inner).into();
        }
        _ => trees.splice(at..at, word).for_each(drop),
    }
    trees.into_iter().collect()
}

/// Returns the declarations in the cases of `ui-tests`.
fn corpus() -> Vec<Input> {
    let cases: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "ui-tests"].iter().collect();
    let mut inputs = Vec::new();
    for folder in ["fail", "tests/pass"] {
        let entries = fs::read_dir(cases.join(folder)).into_iter().flatten().flatten();
        entries.for_each(|entry| declarations(&entry.path(), &mut inputs));
    }
    inputs
}

fn declarations(path: &Path, inputs: &mut Vec<Input>) {
    let Some(file) = fs::read_to_string(path).ok().and_then(|text| syn::parse_file(&text).ok()) else {
        return;
    };
    let mut items = file.items;
    while let Some(mut item) = items.pop() {
        match &mut item {
            Item::Macro(item) => inputs.push(Input::Rooms(item.mac.tokens.clone())),
            Item::Mod(item) => items.extend(item.content.take().into_iter().flat_map(|(_, items)| items)),
            Item::Struct(syn::ItemStruct { attrs, .. })
            | Item::Enum(syn::ItemEnum { attrs, .. })
            | Item::Union(syn::ItemUnion { attrs, .. })
            | Item::Fn(syn::ItemFn { attrs, .. }) => {
                if let Some(options) = options(attrs) {
                    inputs.push(Input::Event(options, item.into_token_stream()));
                }
            }
            _ => {}
        }
    }
}

/// Removes `#[dialogue::event]`, and returns its options.
fn options(attrs: &mut Vec<Attribute>) -> Option<TokenStream> {
    let is_event =
        |attr: &Attribute| attr.path().segments.last().is_some_and(|segment| segment.ident == "event");
    let at = attrs.iter().position(is_event)?;
    match attrs.remove(at).meta {
        Meta::List(list) => Some(list.tokens),
        _ => Some(TokenStream::new()),
    }
}

/// Returns every token of the corpus, and some that it lacks.
fn words(corpus: &[Input]) -> Vec<TokenTree> {
    fn collect(tokens: TokenStream, words: &mut Vec<TokenTree>) {
        for tree in tokens {
            if let TokenTree::Group(group) = &tree {
                collect(group.stream(), words);
            }
            words.push(tree);
        }
    }
    let more = "self Self super crate _ __ r#type 'a 1.5 0 18446744073709551616 7s 64KiB b'x' \"\" $ < > :: => .. = ! r#\"x\"# é";
    let mut words = Vec::new();
    collect(more.parse().unwrap_or_default(), &mut words);
    for input in corpus {
        match input {
            Input::Rooms(tokens) => collect(tokens.clone(), &mut words),
            Input::Event(options, item) => {
                collect(options.clone(), &mut words);
                collect(item.clone(), &mut words);
            }
        }
    }
    words
}
