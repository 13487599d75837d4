//! [`AnyProvider`], the object-safe form of [`Provider`].

use std::pin::Pin;

use super::{Provider, PushMessage, PushTarget, SendOutcome};

/// A [`Provider`] as a trait object.
pub trait AnyProvider: Send + Sync {
    fn name(&self) -> &'static str;

    fn concurrency(&self) -> usize;

    fn origin(&self, target: &PushTarget) -> Option<String>;

    fn is_known_origin(&self, origin: &str) -> bool;

    fn application_key(&self) -> Option<String>;

    fn check(&self, target: &PushTarget) -> Result<(), String>;

    fn send<'a>(
        &'a self,
        target: &'a PushTarget,
        message: &'a PushMessage<'a>,
    ) -> Pin<Box<dyn Future<Output = SendOutcome> + Send + 'a>>;
}

impl<T: Provider> AnyProvider for T {
    fn name(&self) -> &'static str {
        Provider::name(self)
    }

    fn concurrency(&self) -> usize {
        Provider::concurrency(self).max(1)
    }

    fn origin(&self, target: &PushTarget) -> Option<String> {
        Provider::origin(self, target)
    }

    fn is_known_origin(&self, origin: &str) -> bool {
        Provider::is_known_origin(self, origin)
    }

    fn application_key(&self) -> Option<String> {
        Provider::application_key(self)
    }

    fn check(&self, target: &PushTarget) -> Result<(), String> {
        Provider::check(self, target)
    }

    fn send<'a>(
        &'a self,
        target: &'a PushTarget,
        message: &'a PushMessage<'a>,
    ) -> Pin<Box<dyn Future<Output = SendOutcome> + Send + 'a>> {
        Box::pin(Provider::send(self, target, message))
    }
}
