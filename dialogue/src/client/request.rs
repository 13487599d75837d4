//! The client's requests, as the core keeps them until they are answered.

use serde::Serialize;

use crate::wire::request::{
    Auth, ClientRequest, CreateRoom, DeleteRoom, GetHistory, GetMembers, Join, Leave, RegisterPush,
    Subscribe, Trigger, UnregisterPush, Unsubscribe,
};

macro_rules! requests {
    ($($name:ident),* $(,)?) => {
        /// A request of the client. It is unchanged over reconnects; its id is added when it is serialised.
        #[derive(Debug, Clone, Serialize)]
        #[serde(untagged)]
        pub(crate) enum Request {
            $($name($name<'static>),)*
        }

        $(impl From<$name<'static>> for Request {
            fn from(request: $name<'static>) -> Self {
                Request::$name(request)
            }
        })*

        impl Request {
            /// Returns the `type` of the frame.
            fn kind(&self) -> &'static str {
                match self {
                    $(Request::$name(_) => $name::TYPE,)*
                }
            }
        }
    };
}

requests!(
    Auth,
    CreateRoom,
    DeleteRoom,
    GetHistory,
    GetMembers,
    Join,
    Leave,
    RegisterPush,
    Subscribe,
    Trigger,
    UnregisterPush,
    Unsubscribe,
);

impl Request {
    /// Serialises the frame. Without an `id` the server sends no `ok`.
    pub(crate) fn text(&self, id: Option<u64>) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Envelope<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            #[serde(flatten)]
            request: &'a Request,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<u64>,
        }
        serde_json::to_string(&Envelope { kind: self.kind(), request: self, id })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::{client::Device, wire::request::Raw};

    /// A request of each type, some with and without their optional fields, and their texts.
    fn requests() -> [(Request, &'static str); 15] {
        let raw = |json: &str| Raw::from(RawValue::from_string(json.to_owned()).unwrap());
        let device = Device::fcm("t").language("de");
        let browser = Device::browser(&serde_json::json!({ "endpoint": "https://e.example" })).unwrap();
        let room_id = || "chat".into();
        [
            (Auth { token: "t".into() }.into(), r#"{"type":"auth","token":"t","id":1}"#),
            (
                Join { room_id: room_id(), events: None, since: None }.into(),
                r#"{"type":"join","roomId":"chat","id":1}"#,
            ),
            (
                Join {
                    room_id: room_id(),
                    events: Some(vec!["a".into(), "\"".into()]),
                    since: Some(raw(r#"{"epoch":"k","seq":5,"eventId":"e"}"#)),
                }
                .into(),
                r#"{"type":"join","roomId":"chat","events":["a","\""],"since":{"epoch":"k","seq":5,"eventId":"e"},"id":1}"#,
            ),
            (Leave { room_id: room_id() }.into(), r#"{"type":"leave","roomId":"chat","id":1}"#),
            (
                Subscribe { room_id: room_id(), events: vec!["*".into()] }.into(),
                r#"{"type":"subscribe","roomId":"chat","events":["*"],"id":1}"#,
            ),
            (
                Unsubscribe { room_id: room_id(), events: Vec::new() }.into(),
                r#"{"type":"unsubscribe","roomId":"chat","events":[],"id":1}"#,
            ),
            (
                Trigger {
                    room_id: room_id(),
                    event: "message".into(),
                    data: raw(r#"{"text":"hi"}"#),
                    key: Some("k".into()),
                    meta: Some(raw(r#"{"a":1}"#)),
                }
                .into(),
                r#"{"type":"trigger","roomId":"chat","event":"message","data":{"text":"hi"},"key":"k","meta":{"a":1},"id":1}"#,
            ),
            (
                Trigger {
                    room_id: room_id(),
                    event: "message".into(),
                    data: raw("null"),
                    key: None,
                    meta: None,
                }
                .into(),
                r#"{"type":"trigger","roomId":"chat","event":"message","data":null,"id":1}"#,
            ),
            (
                GetHistory { room_id: room_id(), event: Some("a".into()), before: Some(9), limit: Some(5) }
                    .into(),
                r#"{"type":"getHistory","roomId":"chat","event":"a","before":9,"limit":5,"id":1}"#,
            ),
            (
                GetMembers { room_id: room_id(), limit: Some(5), after: Some("bob".into()) }.into(),
                r#"{"type":"members","roomId":"chat","limit":5,"after":"bob","id":1}"#,
            ),
            (
                CreateRoom {
                    room_id: "project:1".into(),
                    name: Some("One".into()),
                    description: Some("the first".into()),
                    max_size: Some(9),
                }
                .into(),
                r#"{"type":"createRoom","roomId":"project:1","name":"One","description":"the first","maxSize":9,"id":1}"#,
            ),
            (
                DeleteRoom { room_id: "project:1".into() }.into(),
                r#"{"type":"deleteRoom","roomId":"project:1","id":1}"#,
            ),
            (
                device.registration(Some(vec!["alerts".to_owned()])).into(),
                r#"{"type":"registerPush","provider":"fcm","token":"t","language":"de","rooms":["alerts"],"id":1}"#,
            ),
            (
                browser.registration(Some(vec!["alerts".to_owned()])).into(),
                r#"{"type":"registerPush","provider":"webpush","subscription":{"endpoint":"https://e.example"},"rooms":["alerts"],"id":1}"#,
            ),
            (
                UnregisterPush(device.registration(None)).into(),
                r#"{"type":"unregisterPush","provider":"fcm","token":"t","language":"de","id":1}"#,
            ),
        ]
    }

    #[test]
    fn each_request_has_the_text_of_the_protocol() {
        for (request, text) in requests() {
            assert_eq!(request.text(Some(1)).unwrap(), text);
            assert!(!request.text(None).unwrap().contains(r#""id""#));
        }
    }

    #[cfg(feature = "server")]
    #[test]
    fn a_server_reads_each_request() {
        use crate::session::Fields;

        macro_rules! read {
            ($request:ident, $text:ident: $($name:ident),*) => {
                match $request {
                    $(Request::$name(_) => Fields::parse($text).unwrap().read::<$name<'static>>().unwrap().into(),)*
                }
            };
        }
        for (request, text) in requests() {
            let read: Request = read!(
                request, text: Auth, CreateRoom, DeleteRoom, GetHistory, GetMembers, Join, Leave, RegisterPush,
                Subscribe, Trigger, UnregisterPush, Unsubscribe
            );
            assert_eq!(read.text(Some(1)).unwrap(), text);
        }
    }

    #[test]
    fn a_subscription_has_no_raw_newline() {
        let pretty = RawValue::from_string("{\n\"endpoint\": \"https://e.example\"\n}".to_owned()).unwrap();
        let device = Device::browser(&pretty).unwrap();
        assert!(!Request::from(device.registration(None)).text(None).unwrap().contains('\n'));
    }
}
