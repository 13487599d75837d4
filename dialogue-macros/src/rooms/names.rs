//! The names of what a declaration makes, and whom they would get in the way of.

use std::collections::HashMap;

use quote::format_ident;
use syn::{Ident, ext::IdentExt};

use super::{Sides, chain::Entry, model::Room};
use crate::diag::Errors;

/// Methods of `Server`, of `Client` and of traits that their generated companions have: a room's method would hide them.
/// Some are not there yet, or only with a feature.
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

/// `lobby_chat` to `LobbyChat`, at the same place in the source.
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

/// Whose a generated type is.
#[derive(Clone, Copy)]
enum Of<'a> {
    App(&'a Ident),
    Room(&'a Ident),
}

/// Takes out the rooms whose names are taken.
pub(super) fn check(app: &Ident, rooms: &mut Vec<Room>, sides: Sides, errors: &mut Errors) {
    let mut taken: HashMap<Ident, Of<'_>> = HashMap::new();
    for ident in types(app, sides, ["Server", "Client"]) {
        taken.insert(ident, Of::App(app));
    }
    let mut free = Vec::with_capacity(rooms.len());
    for (index, room) in rooms.iter().enumerate() {
        let own = room.types(sides);
        // Where both are conditional, rustc says whether both are there.
        let clash = own.iter().find_map(|ident| match taken.get(ident) {
            Some(Of::Room(first))
                if room.conditional() && rooms.iter().any(|r| r.ident == **first && r.conditional()) =>
            {
                None
            }
            Some(of) => Some((ident, *of)),
            None => None,
        });
        match clash {
            Some((ident, of)) => {
                errors.at(room.ident.span(), clash_text(&room.ident, ident, of));
                continue;
            }
            None => free.push(index),
        }
        if let Some(what) = room.uses(&own) {
            errors.at(
                room.ident.span(),
                format_args!("room `{}` makes a type `{what}`, which is the name of a type that it uses; rename the room, or write the other type with its path", room.ident),
            );
            free.pop();
            continue;
        }
        if METHODS.iter().any(|method| room.ident.unraw() == method) {
            errors.at(
                room.ident.span(),
                format_args!(
                    "a room can't be called `{0}`: its method would hide `{0}` of the server or the client",
                    room.ident
                ),
            );
        }
        for ident in own {
            taken.insert(ident, Of::Room(&room.ident));
        }
    }
    let mut index = 0;
    rooms.retain(|_| {
        index += 1;
        free.contains(&(index - 1))
    });
}

impl Room {
    fn types(&self, sides: Sides) -> Vec<Ident> {
        let mut own = types(&self.ty, Sides { server: false, ..sides }, ["", "Client"]);
        own.push(format_ident!("{}Event", self.ty));
        own
    }

    /// The one of `names` that the declaration itself means something else by.
    fn uses<'a>(&self, names: &'a [Ident]) -> Option<&'a Ident> {
        let events = self.events.iter().filter_map(|event| event.path.get_ident());
        let with =
            self.with.iter().chain(self.events.iter().flat_map(|event| &event.with)).filter_map(Entry::ty);
        let types = with.chain(&self.key).chain(&self.options.identity).filter_map(|ty| match ty {
            syn::Type::Path(path) => path.path.get_ident(),
            _ => None,
        });
        let mut used = events.chain(types);
        used.find_map(|used| names.iter().find(|name| *name == used))
    }
}

fn types(ident: &Ident, sides: Sides, [server, client]: [&str; 2]) -> Vec<Ident> {
    let mut own = vec![ident.clone()];
    own.extend(sides.server.then(|| format_ident!("{ident}{server}")));
    own.extend(sides.client.then(|| format_ident!("{ident}{client}")));
    own
}

fn clash_text(room: &Ident, ident: &Ident, of: Of<'_>) -> String {
    match of {
        Of::Room(first) if first == room => format!("room `{first}` is declared twice"),
        Of::Room(first) => format!(
            "room `{room}` would make a type `{ident}`, which room `{first}` makes already; rename one"
        ),
        Of::App(app) => format!(
            "room `{room}` would make a type `{ident}`, which application `{app}` makes already; rename one"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use syn::{ImplItem, Item, Type, Visibility};

    use super::METHODS;

    /// The public methods of `ty` in `folder` of the runtime.
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
