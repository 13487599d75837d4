//! Keeps secrets out of tickets.

use dialogue::prelude::*;

use crate::{app::App, rooms::Message};

/// Middleware that replaces words which look like secrets, before anybody sees or stores them.
#[derive(Debug)]
pub struct Redact {
    prefixes: Vec<String>,
}

impl FromState<App> for Redact {
    fn from_state(app: &App) -> Self {
        Redact { prefixes: app.secret_prefixes().to_vec() }
    }
}

impl<R: Room> Middleware<R, Message> for Redact {
    async fn handle(&self, cx: &Cx<R>, mut event: Message, next: impl Next<R, Message>) -> Flow {
        event.text = self.redacted(&event.text);
        next.run(cx, event).await
    }
}

impl Redact {
    fn redacted(&self, text: &str) -> String {
        let secret = |word: &str| self.prefixes.iter().any(|prefix| word.starts_with(prefix));
        text.split_inclusive(char::is_whitespace)
            .map(|piece| {
                let word = piece.trim_end();
                if secret(word) { format!("[redacted]{}", &piece[word.len()..]) } else { piece.to_owned() }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_begin_like_a_secret_are_replaced_and_the_space_around_them_stays() {
        let redact = Redact { prefixes: vec!["sk_live_".into(), "ghp_".into()] };
        assert_eq!(redact.redacted("my key sk_live_1\nand  ghp_2"), "my key [redacted]\nand  [redacted]");
        assert_eq!(redact.redacted("nothing secret, ask_live_ "), "nothing secret, ask_live_ ");
    }
}
