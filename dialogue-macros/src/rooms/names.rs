//! The names that a declaration generates, and their clashes.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::{Ident, Type, ext::IdentExt};

use super::{Sides, model::Room, options::Options};
use crate::diag::Errors;

/// The name of an application that declares none.
pub(super) const DEFAULT_APP: &str = "Rooms";

/// Methods of `Server`, of `Client` and of traits that their generated companions have: a room's method would hide
/// them. Some are not there yet, or only with a feature.
const METHODS: &[&str] = &[
    "as_ref",
    "bind",
    "borrow",
    "clone",
    "clone_from",
    "clone_into",
    "close",
    "connect",
    "deref",
    "disconnect",
    "drain",
    "fmt",
    "from",
    "health",
    "into",
    "listen",
    "metrics",
    "pushes",
    "register_push",
    "forget_push",
    "unregister_push",
    "room",
    "rooms",
    "router",
    "schema",
    "serve",
    "serve_until",
    "shutdown",
    "authenticate",
    "serve_on",
    "status",
    "statuses",
    "to_owned",
    "try_from",
    "try_into",
    "type_id",
    "users",
    "visitor",
];

/// Converts `lobby_chat` to `LobbyChat`, at the same place in the source.
pub(super) fn pascal(ident: &Ident, errors: &mut Errors) -> Ident {
    let mut name = String::new();
    for word in ident.unraw().to_string().split('_') {
        let mut chars = word.chars();
        name.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(chars.as_str());
    }
    if syn::parse_str::<Ident>(&name).is_err() {
        errors.at(
            ident.span(),
            format_args!(
                "a room's name begins with a letter, for its type is named after it; `{ident}` doesn't"
            ),
        );
        name = format!("Room{name}");
    }
    match syn::parse_str::<Ident>(&name) {
        Ok(mut pascal) => {
            pascal.set_span(ident.span());
            pascal
        }
        Err(_) => Ident::new("Room", ident.span()),
    }
}

/// Renames generated types whose names are taken, and removes rooms that are declared twice.
pub(super) fn check(app: &mut Ident, rooms: &mut Vec<Room>, sides: Sides, errors: &mut Errors) {
    let used = rooms.iter().flat_map(Room::uses).collect();
    let mut names = Names { made: BTreeMap::new(), used };
    names.take_app(app, sides, errors);
    let mut declared: BTreeMap<Ident, bool> = BTreeMap::new();
    rooms.retain_mut(|room| {
        let twice = declared.insert(room.ident.unraw(), room.conditional());
        // If both are conditional, rustc decides whether both exist.
        if twice.is_some_and(|conditional| !conditional || !room.conditional()) {
            errors.at(room.ident.span(), format_args!("room `{}` is declared twice", room.ident));
            return false;
        }
        // A room without events may be a stray word.
        if !room.events.is_empty() && METHODS.iter().any(|method| room.ident.unraw() == method) {
            errors.at(
                room.ident.span(),
                format_args!(
                    "a room can't be called `{0}`: its method would hide `{0}` of the server or the client",
                    room.ident
                ),
            );
        }
        names.take(room, sides, errors);
        true
    });
}

/// The names of types that a declaration generates, and those that it uses.
struct Names {
    made: BTreeMap<Ident, Maker>,
    used: Vec<Used>,
}

#[derive(Clone)]
enum Maker {
    App(Ident),
    Room { ident: Ident, conditional: bool },
}

/// A type that a room names.
struct Used {
    ty: Ident,
    r#as: As,
    room: Ident,
    conditional: bool,
}

/// The role in which a room names a type, worded for an error about the room itself and for one about another room.
#[derive(Clone, Copy)]
struct As {
    own: &'static str,
    other: &'static str,
}

const EVENT: As = As { own: "one of its events", other: "an event" };
const MIDDLEWARE: As = As { own: "its middleware", other: "middleware" };
const KEY: As = As { own: "its key", other: "the key" };
const STATE: As = As { own: "its state", other: "the state" };
const IDENTITY: As = As { own: "its identity", other: "the identity" };

impl Names {
    /// Reserves the names of the application's types.
    fn take_app(&mut self, app: &mut Ident, sides: Sides, errors: &mut Errors) {
        const SUFFIXES: [&str; 2] = ["Server", "Client"];
        let clash = types(app, sides, SUFFIXES)
            .into_iter()
            .find_map(|ty| self.used.iter().find(|used| used.ty == ty));
        if let Some(Used { ty, r#as: As { other, .. }, room, .. }) = clash {
            // The default name has no place in the source.
            let at = if *app == DEFAULT_APP { ty.span() } else { app.span() };
            let free = format_ident!("{app}App", span = app.span());
            errors.at(
                at,
                format_args!(
                    "application `{app}` makes a type `{ty}`, which is also the name of {other} of room `{room}`; \
                     give the application another name: `pub struct {free};`"
                ),
            );
            *app = free;
        }
        let types = types(app, sides, SUFFIXES);
        self.made.extend(types.into_iter().map(|ty| (ty, Maker::App(app.clone()))));
    }

    /// Reserves the names of a room's types, renaming those that clash.
    fn take(&mut self, room: &mut Room, sides: Sides, errors: &mut Errors) {
        let clash = room.types(sides).into_iter().find_map(|ty| Some((self.clash(&ty, room)?, ty)));
        if let Some((clash, ty)) = clash {
            while room.types(sides).iter().any(|ty| self.clash(ty, room).is_some()) {
                room.ty = format_ident!("{}Room", room.ty, span = room.ident.span());
            }
            let ident = &room.ident;
            let key = if room.key.is_some() { "(..)" } else { "" };
            let free = &room.ty;
            errors.at(
                room.named.as_ref().unwrap_or(ident).span(),
                format_args!(
                    "room `{ident}` makes a type `{ty}`, which {clash}; give the room's types another name: \
                     `{ident}{key} as {free}: [..]`"
                ),
            );
        }
        let maker = Maker::Room { ident: room.ident.clone(), conditional: room.conditional() };
        self.made.extend(room.types(sides).into_iter().map(|ty| (ty, maker.clone())));
    }

    /// Returns the reason why a type of `room` can't have the name.
    fn clash(&self, ty: &Ident, room: &Room) -> Option<String> {
        // If both are conditional, rustc decides whether both exist.
        match self.made.get(ty) {
            Some(Maker::App(app)) => return Some(format!("application `{app}` makes already")),
            Some(Maker::Room { ident, conditional }) if !(*conditional && room.conditional()) => {
                return Some(format!("room `{ident}` makes already"));
            }
            _ => {}
        }
        let is_own = |used: &&Used| used.room == room.ident;
        let mut uses = self.used.iter().filter(|used| used.ty == *ty);
        let own = uses.clone().find(is_own);
        let used = own.or_else(|| uses.find(|used| !(used.conditional && room.conditional())))?;
        Some(match is_own(&used) {
            true => format!("is also the name of {}", used.r#as.own),
            false => format!("is also the name of {} of room `{}`", used.r#as.other, used.room),
        })
    }
}

impl Room {
    fn types(&self, sides: Sides) -> Vec<Ident> {
        let mut own = types(&self.ty, Sides { server: false, ..sides }, ["", "Client"]);
        own.push(format_ident!("{}Event", self.ty));
        own
    }

    /// Returns the types that are written without a path: a generated type of the same name would shadow them.
    fn uses(&self) -> Vec<Used> {
        let events = self.events.iter().filter_map(|event| Some((EVENT, event.path.get_ident()?.clone())));
        let with = self.with.iter().chain(self.events.iter().flat_map(|event| &event.with));
        let with = with.filter_map(|entry| match entry.ty()? {
            Type::Path(ty) => Some((MIDDLEWARE, ty.path.get_ident()?.clone())),
            _ => None,
        });
        let Options { state, identity, .. } = &self.options;
        let own = [(KEY, &self.key), (STATE, state), (IDENTITY, identity)];
        let own = own
            .into_iter()
            .flat_map(|(r#as, ty)| bare(ty.to_token_stream()).into_iter().map(move |ident| (r#as, ident)));
        let used = |(r#as, ty)| Used { ty, r#as, room: self.ident.clone(), conditional: self.conditional() };
        own.chain(events).chain(with).map(used).collect()
    }
}

/// Returns the names in a type such as `Vec<Ticket>` that neither follow a `::` nor precede a `=`, as an associated
/// type does in `Iterator<Item = u8>`.
fn bare(tokens: TokenStream) -> Vec<Ident> {
    let mut idents = Vec::new();
    let mut after_path = false;
    let mut tokens = tokens.into_iter().peekable();
    while let Some(tree) = tokens.next() {
        let is_own =
            !after_path && !matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == '=');
        after_path = matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == ':');
        match tree {
            TokenTree::Group(group) => idents.extend(bare(group.stream())),
            TokenTree::Ident(ident) if is_own => idents.push(ident),
            _ => {}
        }
    }
    idents
}

fn types(ident: &Ident, sides: Sides, [server, client]: [&str; 2]) -> Vec<Ident> {
    let mut own = vec![ident.clone()];
    own.extend(sides.server.then(|| format_ident!("{ident}{server}")));
    own.extend(sides.client.then(|| format_ident!("{ident}{client}")));
    own
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use syn::{ImplItem, Item, Type, Visibility};

    use super::METHODS;

    /// Returns the public methods of `ty` in `folder` of the runtime.
    fn methods(folder: &str, ty: &str) -> Vec<String> {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../dialogue/src", folder].iter().collect();
        let entries = fs::read_dir(folder).expect("the runtime beside the macros").flatten();
        let files = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let items = files.flat_map(|text| syn::parse_file(&text).expect("Rust").items);
        let impls = items.filter_map(|item| match item {
            Item::Impl(item) if item.trait_.is_none() => match *item.self_ty {
                Type::Path(path) if path.path.is_ident(ty) => Some(item.items),
                _ => None,
            },
            _ => None,
        });
        let methods = impls.flatten().filter_map(|item| match item {
            ImplItem::Fn(method) if matches!(method.vis, Visibility::Public(_)) => Some(method.sig.ident),
            _ => None,
        });
        methods.map(|name| name.to_string()).collect()
    }

    #[test]
    fn no_room_hides_a_method_of_the_runtime() {
        let all = [methods("server", "Server"), methods("client", "Client")].concat();
        assert!(!all.is_empty(), "`Server` and `Client` are not where they were");
        let hidden: Vec<_> = all.iter().filter(|name| !METHODS.contains(&name.as_str())).collect();
        assert!(hidden.is_empty(), "rooms may still be called {hidden:?}: list them in METHODS");
    }
}
