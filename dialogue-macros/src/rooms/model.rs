//! The meaning of a declaration, and all rules about it that one expansion can check.

use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Expr, ExprLit, Ident, Lit, Meta, Path, Type, Visibility, ext::IdentExt};

use proc_macro2::{Span, TokenStream};

use super::{
    Sides,
    chain::Entry,
    names,
    options::{Described, Options},
    syntax::{self, EventRef, Header, List},
};
use crate::{
    diag::{self, Errors},
    path,
    retain::Retain,
};

/// The maximum of events in a room: the runtime's sets of events have as many bits.
const MOST_EVENTS: usize = 128;

pub(super) struct App {
    pub(super) krate: Path,
    pub(super) attrs: Vec<Attribute>,
    pub(super) vis: Visibility,
    pub(super) ident: Ident,
    pub(super) rooms: Vec<Room>,
}

pub(super) struct Room {
    /// The `#[cfg(…)]` attributes, which every item of the room gets.
    pub(super) cfgs: Vec<Attribute>,
    pub(super) docs: Vec<Attribute>,
    /// The other attributes, which the room's type gets.
    pub(super) attrs: Vec<Attribute>,
    /// The declared name: `chat`.
    pub(super) ident: Ident,
    /// The name of its type: `Chat`.
    pub(super) ty: Ident,
    /// The type's name as declared: `chat as Chat`.
    pub(super) named: Option<Ident>,
    /// The name on the wire.
    pub(super) name: String,
    pub(super) options: Options,
    /// The description that clients read.
    pub(super) description: Option<String>,
    /// The events to subscribe to by default.
    pub(super) subscribe: Option<Vec<Path>>,
    pub(super) key: Option<Type>,
    pub(super) events: Vec<Event>,
    pub(super) channels: Vec<(Ident, Channel)>,
    /// Every word in `via [..]`, known or not, so that an editor completes them.
    pub(super) words: Vec<Ident>,
    pub(super) two_way: bool,
    pub(super) with: Vec<Entry>,
    /// The place of its `with [..]`.
    pub(super) with_span: Span,
}

pub(super) struct Event {
    pub(super) path: Path,
    pub(super) variant: Ident,
    pub(super) with: Vec<Entry>,
    /// The place of its `with [..]`.
    pub(super) with_span: Span,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Channel {
    WebSocket,
    Sse,
    WebPush,
}

impl Channel {
    const NAMES: &[&str] = &["websocket", "sse", "webpush"];

    fn from_name(name: &str) -> Option<Channel> {
        Some(match name {
            "websocket" => Channel::WebSocket,
            "sse" => Channel::Sse,
            "webpush" => Channel::WebPush,
            _ => return None,
        })
    }

    /// Returns the variant of `Channel`, which is also the type in the module `channel`.
    pub(super) fn ty(self) -> &'static str {
        match self {
            Channel::WebSocket => "WebSocket",
            Channel::Sse => "Sse",
            Channel::WebPush => "WebPush",
        }
    }
}

pub(super) fn check(decl: syntax::Rooms, sides: Sides, errors: &mut Errors) -> App {
    let mut header = decl.header.unwrap_or_else(|| Header {
        attrs: Vec::new(),
        vis: Visibility::Inherited,
        ident: Ident::new(names::DEFAULT_APP, Span::call_site()),
        broken: false,
    });
    if decl.rooms.is_empty() && !decl.broken {
        errors
            .at(Span::call_site(), "no rooms declared; a room looks like `chat: [Message] via [websocket];`");
    }
    let (cfgs, attrs) = split(header.attrs, "cfg");
    if let Some(cfg) = cfgs.first() {
        errors.on(
            cfg,
            "a condition for all rooms goes on the macro's call: `#[cfg(..)] dialogue::rooms! { .. }`",
        );
    }
    let (options, attrs) = split(attrs, "room");
    if let Some(option) = options.first() {
        errors.on(option, "options go on a room, and hold for it alone");
    }
    let mut rooms = decl.rooms.into_iter().map(|room| Room::check(room, errors)).collect();
    names::check(&mut header.ident, &mut rooms, sides, errors);
    App { krate: decl.krate, attrs, vis: header.vis, ident: header.ident, rooms }
}

impl App {
    pub(super) fn server(&self) -> Ident {
        format_ident!("{}Server", self.ident)
    }

    pub(super) fn client(&self) -> Ident {
        format_ident!("{}Client", self.ident)
    }
}

impl Room {
    fn check(decl: syntax::RoomDecl, errors: &mut Errors) -> Room {
        let mut options = Options::default();
        let (own, attrs) = split(decl.attrs, "room");
        own.iter().for_each(|attr| options.add(attr, errors));
        let (cfgs, attrs) = split(attrs, "cfg");
        let (docs, attrs) = split(attrs, "doc");
        let (with, with_span) = chain(decl.with);
        let mut room = Room {
            ty: decl.rename.clone().unwrap_or_else(|| names::pascal(&decl.ident, errors)),
            named: decl.rename,
            name: decl.ident.unraw().to_string(),
            description: description(&decl.ident, &options, &docs, errors),
            subscribe: None,
            key: decl.key,
            events: Vec::new(),
            channels: Vec::new(),
            words: Vec::new(),
            two_way: false,
            ident: decl.ident,
            cfgs,
            docs,
            attrs,
            options,
            with,
            with_span,
        };
        let whole = decl.events.as_ref().is_some_and(|list| !list.broken);
        room.events(decl.events, errors);
        room.subscribed(whole, errors);
        room.history(errors);
        room.channels(decl.via, decl.broken, errors);
        room
    }

    pub(super) fn conditional(&self) -> bool {
        !self.cfgs.is_empty()
    }

    /// Returns whether the room's events must be renderable as notifications.
    pub(super) fn pushes(&self) -> bool {
        self.channels.iter().any(|(_, channel)| *channel == Channel::WebPush)
    }

    /// Returns the conditions of all `#[cfg(…)]` attributes as one.
    pub(super) fn conditions(&self) -> TokenStream {
        let conditions = self.cfgs.iter().filter_map(|cfg| match &cfg.meta {
            Meta::List(list) => Some(&list.tokens),
            _ => None,
        });
        quote!(all(#(#conditions),*))
    }

    /// Returns the name of the enum of its events: `ChatEvent`.
    pub(super) fn event(&self) -> Ident {
        format_ident!("{}Event", self.ty)
    }

    /// Returns the name of its client: `ChatClient`.
    pub(super) fn client(&self) -> Ident {
        format_ident!("{}Client", self.ty)
    }

    fn events(&mut self, list: Option<List<EventRef>>, errors: &mut Errors) {
        let Some(list) = list else { return };
        if list.items.is_empty() && !list.broken {
            errors.at(list.span, format_args!("room `{}` carries no events", self.ident));
        }
        if let Some(one_more) = list.items.get(MOST_EVENTS) {
            errors.on(
                &one_more.path,
                format_args!(
                    "a room carries at most {MOST_EVENTS} events, and `{}` lists {}; make it two rooms",
                    self.ident,
                    list.items.len()
                ),
            );
        }
        for EventRef { path, rename, with } in list.items.into_iter().take(MOST_EVENTS) {
            let spelled = spell(&path);
            let Some(last) = path.segments.last() else { continue };
            let variant = rename.unwrap_or_else(|| last.ident.clone());
            if let Some(first) = self.events.iter().find(|event| spell(&event.path) == spelled) {
                errors.on(
                    &path,
                    format_args!("event `{}` is listed twice in room `{}`", spell(&first.path), self.ident),
                );
            } else if let Some(first) = self.events.iter().find(|event| event.variant == variant) {
                let message = format!(
                    "`{}` and `{spelled}` would both be `{}Event::{variant}`; rename one: `{spelled} as ..`",
                    spell(&first.path),
                    self.ty,
                );
                errors.on(&path, message);
            } else {
                let (with, with_span) = chain(with);
                self.events.push(Event { path, variant, with, with_span });
            }
        }
    }

    /// Checks that the default subscription names events of the room, by path or by the name after `as`.
    fn subscribed(&mut self, whole: bool, errors: &mut Errors) {
        let Some(paths) = self.options.subscribe.take() else { return };
        let mut subscribed: Vec<Path> = Vec::new();
        for path in paths {
            let found = self.events.iter().find(|event| {
                spell(&event.path) == spell(&path)
                    || path.get_ident().is_some_and(|ident| *ident == event.variant)
            });
            match found {
                Some(event) if subscribed.iter().any(|path| spell(path) == spell(&event.path)) => {
                    errors.on(&path, format_args!("`{}` is subscribed to twice", spell(&path)));
                }
                Some(event) => subscribed.push(event.path.clone()),
                None if whole => {
                    let names: Vec<String> = self.events.iter().map(|event| spell(&event.path)).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    errors.on(
                        &path,
                        format!(
                            "room `{}` does not carry `{}`; {}",
                            self.ident,
                            spell(&path),
                            diag::meant(&spell(&path), &names)
                        ),
                    );
                }
                None => {}
            }
        }
        self.subscribe = Some(subscribed);
    }

    fn history(&self, errors: &mut Errors) {
        // The same rule as in the runtime's `Retention`.
        let retained = match &self.options.retain {
            None => 1_000,
            Some(Retain { events: Some(events), .. }) => events.value,
            Some(Retain { events: None, bytes: None, age: Some(_), .. }) => 100_000,
            Some(_) => u64::MAX,
        };
        if let Some(sync) = self.options.sync.filter(|sync| sync.value > retained) {
            errors.at(
                sync.span,
                format_args!("a join can't be sent {} events of the {retained} that the room retains: `retain(events = {})`", sync.value, sync.value),
            );
        }
    }

    fn channels(&mut self, via: Option<List<Ident>>, broken: bool, errors: &mut Errors) {
        let Some(list) = via else {
            self.two_way = true;
            if !broken {
                let message = format!(
                    "room `{0}` doesn't say how it is served: `{0}: [..] via [websocket]`",
                    self.ident
                );
                errors.at(self.ident.span(), message);
            }
            return;
        };
        if list.items.is_empty() && !list.broken {
            errors.at(
                list.span,
                format_args!("room `{}` is served over nothing; try `via [websocket]`", self.ident),
            );
            self.two_way = true;
        }
        self.words = list.items.iter().filter(|word| path::is_plain(word)).cloned().collect();
        for word in list.items {
            let name = word.to_string();
            match Channel::from_name(&name) {
                Some(channel) if self.channels.iter().any(|(_, seen)| *seen == channel) => {
                    errors.at(word.span(), format_args!("channel `{word}` is listed twice"));
                }
                Some(channel) => self.channels.push((word, channel)),
                None => {
                    errors.at(word.span(), diag::unknown("channel", &name, Channel::NAMES));
                    // The unknown word may have been meant for the two-way channel: no second error about sending.
                    self.two_way = true;
                }
            }
        }
        self.two_way |=
            list.broken || self.channels.iter().any(|(_, channel)| *channel == Channel::WebSocket);
    }
}

/// Returns a path as it is usually written.
pub(super) fn spell(path: &Path) -> String {
    path.to_token_stream().to_string().replace(' ', "")
}

fn chain(with: Option<List<Entry>>) -> (Vec<Entry>, Span) {
    with.map_or_else(|| (Vec::new(), Span::call_site()), |list| (list.items, list.span))
}

/// Splits attributes into those of that name and the others.
fn split(attrs: Vec<Attribute>, name: &str) -> (Vec<Attribute>, Vec<Attribute>) {
    attrs.into_iter().partition(|attr| attr.path().is_ident(name))
}

/// Returns the text of `description = ".."`, or that of the doc comment for `description`.
fn description(room: &Ident, options: &Options, docs: &[Attribute], errors: &mut Errors) -> Option<String> {
    match options.description.as_ref()? {
        Described::As(text) => Some(text.value()),
        Described::ByDocs(at) => {
            let text = paragraph(docs);
            if text.is_none() {
                errors.at(
                    *at,
                    format_args!(
                        "room `{room}` has no doc comment to be described by; write one, or `description = \"..\"`"
                    ),
                );
            }
            text
        }
    }
}

/// Returns the first paragraph of a doc comment, on one line.
fn paragraph(docs: &[Attribute]) -> Option<String> {
    let text = docs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(meta) => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let text: Vec<String> = text.collect();
    let text = text.join("\n");
    let lines = text.lines().map(|line| line.trim().trim_start_matches('*').trim());
    let first = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
    let first = first.collect::<Vec<_>>().join(" ");
    (!first.is_empty()).then_some(first)
}
