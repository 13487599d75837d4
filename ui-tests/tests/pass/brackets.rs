//! Any brackets hold a declaration, with and without what may be left out.
use dialogue::Room;

#[dialogue::event]
pub struct Message {
    pub text: String,
}

mod braces {
    use super::Message;
    pub(super) const CHANNELS: &[dialogue::room::Channel] = <Chat as dialogue::Room>::CHANNELS;
    dialogue::rooms! { chat: [Message] via [websocket, sse] }
}

mod parentheses {
    use super::Message;
    pub(super) const CHANNELS: &[dialogue::room::Channel] = <Chat as dialogue::Room>::CHANNELS;
    dialogue::rooms!(chat: [Message] via [websocket, sse]);
}

mod squares {
    use super::Message;
    pub(super) const CHANNELS: &[dialogue::room::Channel] = <Chat as dialogue::Room>::CHANNELS;
    dialogue::rooms![chat: [Message,] via [websocket, sse,];];
}

mod angles {
    use super::Message;
    pub(super) const CHANNELS: &[dialogue::room::Channel] = <Chat as dialogue::Room>::CHANNELS;
    dialogue::rooms!(< chat: [Message] via [websocket, sse] >);
}

mod angles_with_all {
    use super::Message;
    pub(super) const CHANNELS: &[dialogue::room::Channel] = <Chat as dialogue::Room>::CHANNELS;
    dialogue::rooms! { <
        pub(super) struct Acme;
        chat: [Message] via [websocket];
        feed: [Message] via [sse];
    > }
}

#[test]
fn all_are_the_same() {
    for channels in [parentheses::CHANNELS, squares::CHANNELS, angles::CHANNELS] {
        assert_eq!(braces::CHANNELS, channels);
    }
    assert_eq!(angles_with_all::Feed::NAME, "feed");
}
