//! The grammar. Takes whatever can be understood and records what cannot.
//!
//! ```text
//! rooms  = body | "<" body ">" ;
//! body   = [ {attr} [vis] "struct" IDENT ";" ] { room ";" } [ room ] ;
//! room   = {attr} IDENT [ "(" type ")" ] [ "as" IDENT ] ":" "[" event {"," event} [","] "]"
//!          { "via" "[" IDENT {"," IDENT} "]" | "with" chain } ;
//! event  = path [ "as" IDENT ] [ "with" chain ] ;
//! chain  = "[" entry {"," entry} "]" ;
//! entry  = type | a call of `Type::function` | "fn" path | closure ;
//! ```

use proc_macro2::{Span, TokenTree};
use syn::{
    Attribute, Ident, Path, Result, Token, Type, Visibility, bracketed, ext::IdentExt, parenthesized,
    parse::ParseStream, token,
};

use super::chain::Entry;
use crate::{
    diag::{Errors, unknown},
    options::skip_until,
    path,
};

mod kw {
    syn::custom_keyword!(via);
    syn::custom_keyword!(with);
}

const CLAUSES: &[&str] = &["via", "with"];

pub(super) struct Rooms {
    /// The path of the runtime.
    pub(super) krate: Path,
    pub(super) header: Option<Header>,
    pub(super) rooms: Vec<RoomDecl>,
    /// True if a room could not even be begun.
    pub(super) broken: bool,
}

pub(super) struct Header {
    pub(super) attrs: Vec<Attribute>,
    pub(super) vis: Visibility,
    pub(super) ident: Ident,
    /// True if tokens followed the name.
    pub(super) broken: bool,
}

pub(super) struct RoomDecl {
    pub(super) attrs: Vec<Attribute>,
    pub(super) ident: Ident,
    pub(super) key: Option<Type>,
    /// The name of the room's type, if `as` gives one.
    pub(super) rename: Option<Ident>,
    pub(super) events: Option<List<EventRef>>,
    pub(super) via: Option<List<Ident>>,
    pub(super) with: Option<List<Entry>>,
    /// True if a clause could not be parsed.
    pub(super) broken: bool,
}

pub(super) struct EventRef {
    pub(super) path: Path,
    pub(super) rename: Option<Ident>,
    pub(super) with: Option<List<Entry>>,
}

/// The elements of `[..]` that could be parsed.
pub(super) struct List<T> {
    pub(super) span: Span,
    pub(super) items: Vec<T>,
    /// True if an element could not be parsed, so that the list is incomplete.
    pub(super) broken: bool,
}

impl Rooms {
    /// Parses a declaration. Fails only before the first room.
    pub(super) fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Result<Rooms> {
        let content;
        parenthesized!(content in input);
        let krate = content.call(Path::parse_mod_style)?;
        let angled = input.parse::<Option<Token![<]>>()?.is_some();
        let done = |input: ParseStream<'_>| input.is_empty() || angled && input.peek(Token![>]);

        let mut rooms = Rooms { krate, header: None, rooms: Vec::new(), broken: false };
        while !done(input) {
            if Header::is_next(input) {
                rooms.header(input, errors, angled);
                continue;
            }
            match RoomDecl::parse(input, errors, angled) {
                Ok(room) => rooms.rooms.push(room),
                Err(error) => {
                    errors.push(error);
                    rooms.broken = true;
                    skip_past_semi(input, angled);
                }
            }
        }
        if angled && input.parse::<Token![>]>().is_err() {
            errors.push(input.error("expected `>` for the `<` at the beginning"));
        }
        if !input.is_empty() {
            errors.push(input.error("nothing comes after the closing `>`"));
            while input.parse::<TokenTree>().is_ok() {}
        }
        Ok(rooms)
    }

    fn header(&mut self, input: ParseStream<'_>, errors: &mut Errors, angled: bool) {
        let first = self.rooms.is_empty() && self.header.is_none() && !self.broken;
        match Header::parse(input, errors) {
            Ok(header) => {
                self.broken |= header.broken;
                if !first {
                    errors.at(
                        header.ident.span(),
                        "the application's name comes first and once: `pub struct Acme;`",
                    );
                }
                self.header.get_or_insert(header);
            }
            Err(error) => {
                errors.push(error);
                skip_past_semi(input, angled);
            }
        }
    }
}

impl Header {
    fn is_next(input: ParseStream<'_>) -> bool {
        let ahead = input.fork();
        ahead.call(Attribute::parse_outer).is_ok()
            && ahead.parse::<Visibility>().is_ok()
            && ahead.peek(Token![struct])
    }

    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Result<Header> {
        let mut broken = false;
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        input.parse::<Token![struct]>()?;
        let ident: Ident = input.parse()?;
        if input.parse::<Option<Token![;]>>()?.is_none() {
            let message = format!("the application's name has nothing but a `;` after it: `struct {ident};`");
            errors.at(ident.span(), message);
            if input.peek(token::Brace) || input.peek(token::Paren) {
                let _ = input.parse::<TokenTree>();
                let _ = input.parse::<Option<Token![;]>>();
                // The rooms may have been in the skipped tokens.
                broken = true;
            }
        }
        Ok(Header { attrs, vis, ident, broken })
    }
}

impl RoomDecl {
    /// Parses a room. Fails only before the room's name is known; after that it returns the parts that could be parsed.
    fn parse(input: ParseStream<'_>, errors: &mut Errors, angled: bool) -> Result<RoomDecl> {
        let attrs = input.call(Attribute::parse_outer)?;
        if let Ok(vis @ (Visibility::Public(_) | Visibility::Restricted(_))) = input.parse::<Visibility>() {
            let message =
                "rooms are as visible as the application; that is declared once, first: `pub struct Acme;`";
            errors.on(vis, message);
        }
        let mut room = RoomDecl {
            attrs,
            ident: name(input, errors)?,
            key: None,
            rename: None,
            events: None,
            via: None,
            with: None,
            broken: false,
        };
        if let Err(error) = room.rest(input, errors, angled) {
            errors.push(error);
            room.broken = true;
            skip_past_semi(input, angled);
        }
        Ok(room)
    }

    fn rest(&mut self, input: ParseStream<'_>, errors: &mut Errors, angled: bool) -> Result<()> {
        if input.peek(token::Paren) {
            self.key = key(input, errors)?;
        }
        if input.peek(Token![as]) {
            self.rename(input, errors)?;
        }
        if !input.peek(Token![:]) || input.peek(Token![::]) {
            return Err(input.error(self.colon(input)));
        }
        input.parse::<Token![:]>()?;
        if !input.peek(token::Bracket) {
            return Err(input.error("a room's events stand in brackets: `[Message, Typing]`"));
        }
        self.events = Some(List::parse(input, errors, EventRef::parse)?);
        while !self.clause(input, errors, angled)? {}
        Ok(())
    }

    /// Returns the message for a missing `:`.
    fn colon(&self, input: ParseStream<'_>) -> String {
        let name = &self.ident;
        if input.peek(Token![<]) {
            return format!("a room's key stands in parentheses: `{name}(u64): [..]`");
        }
        if input.peek(Token![-]) {
            return "a room's name has no `-`; words are joined with `_`: `lobby_chat`".to_owned();
        }
        format!("expected `:` and the room's events: `{name}: [Message] via [websocket]`")
    }

    /// Parses `as TicketRoom`.
    fn rename(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        let word = input.parse::<Token![as]>()?;
        let form = || format!("the name of the room's type comes after `as`: `{} as ..: [..]`", self.ident);
        let name = input.parse().map_err(|_| syn::Error::new(word.span, form()))?;
        self.rename = Some(name);
        if self.key.is_none() && input.peek(token::Paren) {
            errors.push(
                input.error(format_args!("the key comes before `as`: `{}(..) as ..: [..]`", self.ident)),
            );
            self.key = key(input, errors)?;
        }
        Ok(())
    }

    /// Parses a clause; returns whether the room is at its end.
    fn clause(&mut self, input: ParseStream<'_>, errors: &mut Errors, angled: bool) -> Result<bool> {
        if input.peek(kw::via) {
            let word = input.parse::<kw::via>()?;
            brackets(input, "channels stand in brackets: `via [websocket]`")?;
            let list = List::parse(input, errors, |input, _| {
                word_of(input, "channels are listed by their names: `via [websocket, sse]`")
            })?;
            List::merge(&mut self.via, list, "via", word.span, errors);
        } else if input.peek(kw::with) {
            chain(input, errors, &mut self.with)?;
        } else if input.peek(Token![;]) {
            input.parse::<Token![;]>()?;
            return Ok(true);
        } else if input.is_empty() || angled && input.peek(Token![>]) {
            return Ok(true);
        } else if input.peek(Token![,]) {
            let clause = input.peek2(kw::via) || input.peek2(kw::with);
            let message = match clause {
                true => "no `,` comes before `via` or `with`",
                false => "rooms are separated by `;`",
            };
            errors.push(input.error(message));
            input.parse::<Token![,]>()?;
            return Ok(!clause);
        } else if input.peek(Token![#]) && is_last_attribute(input) {
            errors.push(input.error("attributes go before the room: `#[room(..)] chat: [..]`"));
            input.call(Attribute::parse_outer)?;
        } else if input.peek(Token![#])
            || input.peek(Ident)
                && (input.peek2(Token![:])
                    || input.peek2(Token![as])
                    || input.peek2(token::Paren) && !self.has_clause(input))
        {
            // The next room has begun: the missing `;` is reported, and the room is parsed.
            errors.push(input.error("expected `;` between rooms"));
            return Ok(true);
        } else if let Ok(word) = input.fork().call(Ident::parse_any) {
            let message = unknown("clause", &word.to_string(), CLAUSES);
            return Err(syn::Error::new(word.span(), message));
        } else {
            return Err(input.error("expected `via [..]`, `with [..]` or `;`"));
        }
        Ok(false)
    }

    /// Returns whether the next tokens are a clause in the wrong brackets rather than a room with a key.
    fn has_clause(&self, input: ParseStream<'_>) -> bool {
        let ahead = input.fork();
        let _ = ahead.call(Ident::parse_any);
        let _ = ahead.parse::<TokenTree>();
        !ahead.peek(Token![:]) && !ahead.peek(Token![as])
    }
}

/// Returns whether no room comes after the attributes.
fn is_last_attribute(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    ahead.call(Attribute::parse_outer).is_ok()
        && (ahead.is_empty() || ahead.peek(Token![;]) || ahead.peek(Token![>]))
}

fn word_of(input: ParseStream<'_>, form: &str) -> Result<Ident> {
    let at = input.span();
    input.call(Ident::parse_any).map_err(|_| syn::Error::new(at, form))
}

/// Parses the name of a room.
fn name(input: ParseStream<'_>, errors: &mut Errors) -> Result<Ident> {
    if input.peek(Ident) {
        return input.parse();
    }
    let at = input.span();
    match input.call(Ident::parse_any) {
        Ok(word) if syn::parse_str::<Ident>(&format!("r#{word}")).is_ok() => {
            errors.at(
                at,
                format_args!("`{word}` is a word of Rust; a room of that name is written `r#{word}`"),
            );
            Ok(Ident::new_raw(&word.to_string(), at))
        }
        Ok(word) => Err(syn::Error::new(at, format_args!("`{word}` can't be the name of a room"))),
        Err(_) => Err(syn::Error::new(at, "expected a room, such as `chat: [Message] via [websocket];`")),
    }
}

/// Parses `(ProjectId)`.
fn key(input: ParseStream<'_>, errors: &mut Errors) -> Result<Option<Type>> {
    let content;
    let parens = parenthesized!(content in input);
    if content.is_empty() {
        errors.at(
            parens.span.join(),
            "the type of the room's key is missing; a room without a key has no parentheses",
        );
        return Ok(None);
    }
    let mut ty = content.parse()?;
    if content.peek(Token![:]) && !content.peek(Token![::]) {
        errors.push(content.error("a room's key has no name, only a type: `(u64)`"));
        content.parse::<Token![:]>()?;
        ty = content.parse()?;
    }
    if !content.is_empty() {
        errors.push(content.error("a room has one key; a type of your own can hold several parts"));
        while content.parse::<TokenTree>().is_ok() {}
    }
    Ok(Some(ty))
}

impl EventRef {
    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Result<EventRef> {
        if input.peek(Token![#]) {
            errors.on(
                input.call(Attribute::parse_outer)?.first(),
                "attributes go on a room or on the event's own type",
            );
        }
        if !input.peek(Ident::peek_any) && !input.peek(Token![::]) {
            return Err(input.error("events are listed by their types: `[Message, Typing]`"));
        }
        let path = path::of_type(input)?;
        if input.peek(token::Brace) || input.peek(token::Paren) {
            return Err(input.error(
                "an event is listed by its name alone, and declared elsewhere: `#[dialogue::event] struct Message { .. }`",
            ));
        }
        if input.peek(Token![.]) {
            return Err(input.error("the parts of a path are joined with `::`"));
        }
        if input.peek(Token![<]) {
            return Err(
                input.error("an event can't be generic, for it has one name and one form on the wire")
            );
        }
        let rename = match input.parse::<Option<Token![as]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        let mut with = None;
        while input.peek(kw::with) {
            chain(input, errors, &mut with)?;
        }
        Ok(EventRef { path, rename, with })
    }
}

fn chain(input: ParseStream<'_>, errors: &mut Errors, into: &mut Option<List<Entry>>) -> Result<()> {
    let word = input.parse::<kw::with>()?;
    brackets(input, "middleware stands in brackets: `with [Type]`")?;
    let list = List::parse(input, errors, Entry::parse)?;
    if list.items.is_empty() && !list.broken {
        errors.at(list.span, "no middleware listed; leave the `with` out");
    }
    List::merge(into, list, "with", word.span, errors);
    Ok(())
}

fn brackets(input: ParseStream<'_>, message: &str) -> Result<()> {
    match input.peek(token::Bracket) {
        true => Ok(()),
        false => Err(input.error(message)),
    }
}

impl<T> List<T> {
    fn parse(
        input: ParseStream<'_>,
        errors: &mut Errors,
        item: impl Fn(ParseStream<'_>, &mut Errors) -> Result<T>,
    ) -> Result<List<T>> {
        let content;
        let bracket = bracketed!(content in input);
        let mut list = List { span: bracket.span.join(), items: Vec::new(), broken: false };
        while !content.is_empty() {
            let parsed = item(&content, errors).and_then(|item| {
                list.items.push(item);
                match content.is_empty() || content.peek(Token![,]) {
                    true => Ok(()),
                    false => Err(content.error("expected `,`")),
                }
            });
            if errors.ok(parsed).is_none() {
                list.broken = true;
                skip_until(&content, ',');
            }
            let _ = content.parse::<Token![,]>();
        }
        Ok(list)
    }

    /// Appends a list to an earlier one of the same clause, and reports the repetition.
    fn merge(into: &mut Option<List<T>>, list: List<T>, clause: &str, at: Span, errors: &mut Errors) {
        match into {
            None => *into = Some(list),
            Some(first) => {
                errors.at(
                    at,
                    format_args!("a second `{clause}`; put everything into the first one's brackets"),
                );
                first.items.extend(list.items);
                first.broken |= list.broken;
            }
        }
    }
}

/// Skips past the next `;`, or to the `>` that ends the declaration.
fn skip_past_semi(input: ParseStream<'_>, angled: bool) {
    let last = |input: ParseStream<'_>| {
        let ahead = input.fork();
        angled && ahead.parse::<Token![>]>().is_ok() && ahead.is_empty()
    };
    while !input.is_empty() && !input.peek(Token![;]) && !last(input) {
        let _ = input.parse::<TokenTree>();
    }
    let _ = input.parse::<Token![;]>();
}
