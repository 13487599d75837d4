//! The export of an audited room's log as JSON Lines, with the hash chain of its events.

use tokio::io::AsyncWrite;

use super::RoomHandle;
use crate::{
    audit::{Anchor, Export, ExportError, Summary},
    live::AuditedEvent,
    room::ServerRoom,
};

impl<R: ServerRoom> RoomHandle<R> {
    /// Writes the current log of the room as JSON Lines, in which [`verify`](crate::audit::verify) detects changes. The
    /// room must be declared with `audit`.
    ///
    /// Returns a summary of the written events. Keep its [`through`](Summary::through) in a place that those with write
    /// access to the file can't change, and verify the file against it. The call needs the memory of one page whatever
    /// the length of the log, and doesn't block the room.
    ///
    /// ```
    /// #[dialogue::event(from = server)]
    /// pub struct Entry { pub text: String }
    ///
    /// dialogue::rooms! {
    ///     pub struct Bank;
    ///     #[room(audit)]
    ///     ledger: [Entry] via [websocket];
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Bank::server().build().await?;
    /// for text in ["100 to alice", "30 from alice"] {
    ///     server.ledger().trigger(Entry { text: text.into() }).await?;
    /// }
    /// let mut file = Vec::new();
    /// let written = server.ledger().export(&mut file).await?;
    /// assert_eq!(dialogue::audit::verify(&*file)?, written);
    ///
    /// let forged = String::from_utf8(file)?.replace("30 from", "90 from");
    /// let tampered = dialogue::audit::verify(forged.as_bytes()).unwrap_err();
    /// assert_eq!(tampered.seq(), Some(2));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The room isn't audited, the log can't be read now, or the writer fails. The written part is not a valid export
    /// then.
    pub async fn export(&self, writer: impl AsyncWrite + Unpin) -> Result<Summary, ExportError> {
        self.export_from(None, writer).await
    }

    /// Writes the events after an anchor: the last event of the previous export.
    ///
    /// # Errors
    ///
    /// Those of [`export`](Self::export); or the log has another event at the anchor, or events after it were trimmed.
    pub async fn export_after(
        &self,
        anchor: Anchor,
        writer: impl AsyncWrite + Unpin,
    ) -> Result<Summary, ExportError> {
        self.export_from(Some(anchor), writer).await
    }

    async fn export_from(
        &self,
        anchor: Option<Anchor>,
        writer: impl AsyncWrite + Unpin,
    ) -> Result<Summary, ExportError> {
        let instance = self.instance()?;
        if !instance.room.options.audit {
            return Err(ExportError::not_audited(self.id()));
        }
        let (epoch, through) = instance.chain_end().await?;
        let mut export = Export::new(writer, self.id(), &epoch, through);
        let mut chain = ChainCursor { last: anchor };
        let mut read = anchor.map_or(0, |anchor| anchor.seq.saturating_sub(1));
        while read < through.seq {
            let page = instance.chain(read).await?;
            read = page.last().map_or(through.seq, |last| last.seq);
            for event in page.into_iter().take_while(|event| event.seq <= through.seq) {
                if let Some((before, digest)) = chain.advance(&event, export.has_begun())? {
                    export.event(before, &digest, &event.frame).await?;
                }
            }
        }
        let last = chain.last.unwrap_or(Anchor::BEGINNING);
        if last.seq > through.seq || (last.seq == through.seq && last != through) {
            return Err(ExportError::other_log(last));
        }
        if last != through {
            return Err(ExportError::trimmed(last.seq + 1));
        }
        Ok(export.finish(last).await?)
    }
}

/// The position of the export in the hash chain.
struct ChainCursor {
    last: Option<Anchor>,
}

impl ChainCursor {
    /// Advances to the next event. Returns the anchor before it and its digest, or `None` if it isn't exported.
    fn advance(
        &mut self,
        event: &AuditedEvent,
        has_begun: bool,
    ) -> Result<Option<(Anchor, [u8; 32])>, ExportError> {
        let here = Anchor { seq: event.seq, digest: event.digest.unwrap_or_default() };
        let before = match self.last {
            Some(anchor) if anchor.seq == here.seq => {
                return if anchor == here { Ok(None) } else { Err(ExportError::other_log(anchor)) };
            }
            Some(before) => before,
            None if here.seq == 1 => Anchor::BEGINNING,
            // The oldest event of a trimmed log: its predecessor's digest is unknown, so the chain starts after it.
            None => here,
        };
        self.last = Some(here);
        if before == here {
            return Ok(None);
        }
        if here.seq != before.seq + 1 {
            return Err(ExportError::trimmed(before.seq + 1));
        }
        match event.digest {
            Some(digest) => Ok(Some((before, digest))),
            // Appended before the room was declared with `audit`.
            None if !has_begun => Ok(None),
            None => Err(ExportError::unchained(event.seq)),
        }
    }
}
