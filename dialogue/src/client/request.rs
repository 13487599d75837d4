//! The client's requests, as the core keeps them until they are answered.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::wire::request::{
    Auth, ClientRequest, CreateRoom, DeleteRoom, GetHistory, GetMembers, Join, Leave, Raw, RegisterPush,
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

impl Raw<'static> {
    /// Returns a value as JSON.
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(value).map(Raw::from)
    }
}

impl From<Box<RawValue>> for Raw<'static> {
    fn from(json: Box<RawValue>) -> Self {
        Raw(std::borrow::Cow::Owned(json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Device;

    #[test]
    fn a_request_reads_as_the_protocol_writes_it() {
        let trigger = Trigger {
            room_id: "chat".into(),
            event: "message".into(),
            data: Raw::from(RawValue::from_string(r#"{"text":"hi"}"#.to_owned()).unwrap()),
            key: Some("k".into()),
            meta: None,
        };
        assert_eq!(
            Request::from(trigger).text(Some(4)).unwrap(),
            r#"{"type":"trigger","roomId":"chat","event":"message","data":{"text":"hi"},"key":"k","id":4}"#
        );
    }

    #[test]
    fn a_device_reads_as_the_protocol_writes_it() {
        let device = Device::fcm("t").language("de");
        assert_eq!(
            Request::from(device.registration(Some(vec!["alerts".to_owned()]))).text(Some(1)).unwrap(),
            r#"{"type":"registerPush","provider":"fcm","token":"t","language":"de","rooms":["alerts"],"id":1}"#
        );
        assert_eq!(
            Request::from(UnregisterPush(device.registration(None))).text(None).unwrap(),
            r#"{"type":"unregisterPush","provider":"fcm","token":"t","language":"de"}"#
        );
    }
}
