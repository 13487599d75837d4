//! Three instances of the conformance server, and the door that leads to any of them.

use dialogue_tests::{Instance, Proxy, Result, until};

pub(crate) const INSTANCES: usize = 3;

pub(crate) struct Fleet {
    pub(crate) instances: Vec<Instance>,
    /// Whoever comes is let in at the next instance that accepts.
    pub(crate) door: Proxy,
}

impl Fleet {
    /// Starts them, each over what `BACKPLANE` is for it.
    pub(crate) async fn over(backplanes: &[String]) -> Result<Self> {
        let mut instances = Vec::new();
        for place in 0..INSTANCES {
            let backplane = &backplanes[place % backplanes.len()];
            instances.push(Instance::start(&[("BACKPLANE", backplane)]).await?);
        }
        let door = Proxy::among(instances.iter().map(|instance| instance.address).collect()).await?;
        Ok(Fleet { instances, door })
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.door.address)
    }

    /// Waits until each says that it is well.
    pub(crate) async fn is_well(&self) -> Result {
        until("all instances are well", async || {
            for instance in &self.instances {
                if !matches!(instance.health().await, Ok((200, _))) {
                    return false;
                }
            }
            true
        })
        .await
    }
}
