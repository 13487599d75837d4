//! A room's log as a file.

use tokio::io::AsyncWrite;

use super::RoomHandle;
use crate::{
    ServerRoom,
    audit::{Anchor, Export, ExportError, Summary},
    hub::Said,
};

impl<R: ServerRoom> RoomHandle<R> {
    /// Writes the room's log, as it is now, as JSON Lines that [`verify`](crate::audit::verify) finds changes in. The room
    /// is declared with `audit`.
    ///
    /// Yields what was written: keep its [`through`](Summary::through) where whoever can write the file can't, and
    /// verify by it. Takes the memory of a page, however long the log is; the room goes on meanwhile.
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
    /// The room isn't audited, the log can't be read now, or the writer fails: what was written is no export then.
    pub async fn export(&self, writer: impl AsyncWrite + Unpin) -> Result<Summary, ExportError> {
        self.export_from(None, writer).await
    }

    /// Writes what was said after an event: where the last export ended.
    ///
    /// # Errors
    ///
    /// Those of [`export`](Self::export); or the log has another event there, or no longer all that came after it.
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
        let mut chain = Chain { last: anchor };
        let mut read = anchor.map_or(0, |anchor| anchor.seq.saturating_sub(1));
        while read < through.seq {
            let page = instance.chain(read).await?;
            read = page.last().map_or(through.seq, |last| last.seq);
            for said in page.into_iter().take_while(|said| said.seq <= through.seq) {
                if let Some((before, digest)) = chain.follow(&said, export.has_begun())? {
                    export.event(before, &digest, &said.frame).await?;
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

/// Where a chain is.
struct Chain {
    last: Option<Anchor>,
}

impl Chain {
    /// Takes the next event; yields what it follows and its digest, if it is to be exported.
    fn follow(&mut self, said: &Said, begun: bool) -> Result<Option<(Anchor, [u8; 32])>, ExportError> {
        let here = Anchor { seq: said.seq, digest: said.digest.unwrap_or_default() };
        let before = match self.last {
            Some(anchor) if anchor.seq == here.seq => {
                return if anchor == here { Ok(None) } else { Err(ExportError::other_log(anchor)) };
            }
            Some(before) => before,
            None if here.seq == 1 => Anchor::BEGINNING,
            // The oldest event of a log that was trimmed: nothing is left to check it by.
            None => here,
        };
        self.last = Some(here);
        if before == here {
            return Ok(None);
        }
        if here.seq != before.seq + 1 {
            return Err(ExportError::trimmed(before.seq + 1));
        }
        match said.digest {
            Some(digest) => Ok(Some((before, digest))),
            // From before the room was audited.
            None if !begun => Ok(None),
            None => Err(ExportError::unchained(said.seq)),
        }
    }
}
